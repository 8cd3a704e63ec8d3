//! The bytes of a records field: any number of record batches, in pieces that nobody had to copy
//! together. `record` looks inside, nothing here does.

use std::fmt;

use bytes::{Bytes, BytesMut};

#[derive(Clone, Default)]
pub struct Records {
    pieces: Pieces,
}

/// What comes off the wire is one piece, and must not cost a list.
#[derive(Clone)]
enum Pieces {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Default for Pieces {
    fn default() -> Pieces {
        Pieces::Many(Vec::new())
    }
}

impl Records {
    pub fn len(&self) -> usize {
        self.pieces().iter().map(Bytes::len).fold(0, usize::saturating_add)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn pieces(&self) -> &[Bytes] {
        match &self.pieces {
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(pieces) => pieces,
        }
    }

    /// In one piece; copies only where there are several. What was decoded is one piece.
    pub fn into_bytes(self) -> Bytes {
        match self.pieces() {
            [] => return Bytes::new(),
            [piece] => return piece.clone(),
            _ => {}
        }
        let mut all = BytesMut::with_capacity(self.len());
        for piece in self.pieces() {
            all.extend_from_slice(piece);
        }
        all.freeze()
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        Records { pieces: Pieces::One(bytes) }
    }
}

impl From<Vec<Bytes>> for Records {
    fn from(pieces: Vec<Bytes>) -> Records {
        Records { pieces: Pieces::Many(pieces) }
    }
}

/// The same bytes, however they are cut.
impl PartialEq for Records {
    fn eq(&self, other: &Records) -> bool {
        let bytes = |records: &Records| records.clone().into_bytes();
        self.len() == other.len() && bytes(self) == bytes(other)
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
        let cut = Records::from(vec![Bytes::from_static(b"a"), Bytes::new(), Bytes::from_static(b"bcd")]);
        assert_eq!(whole, cut);
        assert_eq!(cut.clone().into_bytes(), whole.clone().into_bytes());
        assert_ne!(whole, Records::from(Bytes::from_static(b"abce")));
        assert_ne!(whole, Records::from(Bytes::from_static(b"abc")));
        assert_eq!(Records::default(), Records::from(Vec::new()));
    }
}
