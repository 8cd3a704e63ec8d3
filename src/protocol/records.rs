//! The bytes of a records field: any number of record batches, in pieces that need not be copied
//! together. Only `record` looks inside.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::types::Piece;

#[derive(Clone, Default)]
pub struct Records {
    pieces: Pieces,
}

/// Received records are a single piece, which must not cost a list.
#[derive(Clone)]
enum Pieces {
    One(Piece),
    Many(Vec<Piece>),
}

impl Default for Pieces {
    fn default() -> Pieces {
        Pieces::Many(Vec::new())
    }
}

impl Records {
    pub fn len(&self) -> usize {
        self.pieces().iter().map(Piece::len).fold(0, usize::saturating_add)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn pieces(&self) -> &[Piece] {
        match &self.pieces {
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(pieces) => pieces,
        }
    }

    /// The bytes in one piece, copied only if there are several. Decoded records are one piece in memory.
    /// Returns no bytes for records in a file.
    pub fn into_bytes(self) -> Bytes {
        self.in_memory().unwrap_or_default()
    }

    /// `None` if some of it is in a file.
    fn in_memory(&self) -> Option<Bytes> {
        match self.pieces() {
            [] => return Some(Bytes::new()),
            [piece] => return piece.as_bytes().cloned(),
            _ => {}
        }
        let mut all = BytesMut::with_capacity(self.len());
        for piece in self.pieces() {
            all.extend_from_slice(piece.as_bytes()?);
        }
        Some(all.freeze())
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        Records { pieces: Pieces::One(bytes.into()) }
    }
}

impl From<Vec<Piece>> for Records {
    fn from(pieces: Vec<Piece>) -> Records {
        Records { pieces: Pieces::Many(pieces) }
    }
}

/// Compares the bytes, however they are divided; for ranges of files it compares the pieces.
impl PartialEq for Records {
    fn eq(&self, other: &Records) -> bool {
        match (self.in_memory(), other.in_memory()) {
            (Some(one), Some(other)) => one == other,
            _ => self.pieces() == other.pieces(),
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of records", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_equal_by_their_bytes_however_they_are_cut() {
        let whole = Records::from(Bytes::from_static(b"abcd"));
        let pieces = [&b"a"[..], b"", b"bcd"].map(|piece| Piece::Memory(Bytes::from_static(piece)));
        let cut = Records::from(pieces.to_vec());
        assert_eq!(whole, cut);
        assert_eq!(cut.clone().into_bytes(), whole.clone().into_bytes());
        assert_ne!(whole, Records::from(Bytes::from_static(b"abce")));
        assert_ne!(whole, Records::from(Bytes::from_static(b"abc")));
        assert_eq!(Records::default(), Records::from(Vec::new()));
    }
}
