//! Writes one frame as a list of pieces. Small data is collected in a buffer. Large data, mainly record
//! batches, becomes a piece without a copy, in memory or in its file.

use bytes::{BufMut, Bytes, BytesMut};

use super::WireError;
use super::field::{At, Field};
use super::reader::MAX_ELEMENTS;
use crate::types::Piece;

/// From this size on a separate piece is cheaper than a copy.
const COPIED_BELOW: usize = 512;

/// Enough for most responses.
const USUAL: usize = 512;

/// The size at which a buffer is closed and another one is begun: a growing buffer has to be copied, and
/// its bytes are then in memory twice. It is a little less than a power of two, because lengths are
/// written without a check of it.
const PIECE: usize = (64 << 10) - 64;

#[derive(Debug, Default)]
pub struct Writer {
    pieces: Vec<Piece>,
    buffer: BytesMut,
    /// The error codes other than 0 that were written, with the number of each.
    error_codes: Vec<(i16, u64)>,
}

impl Writer {
    pub fn new() -> Writer {
        Writer { buffer: BytesMut::with_capacity(USUAL), ..Writer::default() }
    }

    /// The number of bytes written so far.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Piece::len).fold(self.buffer.len(), usize::saturating_add)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes as pieces in order, without empty ones.
    pub fn into_pieces(mut self) -> Vec<Piece> {
        self.close_buffer();
        self.pieces
    }

    /// The bytes in one piece. Only for requests: these have no records in files.
    pub fn into_bytes(self) -> Bytes {
        if self.pieces.is_empty() {
            return self.buffer.freeze();
        }
        let mut all = BytesMut::with_capacity(self.len());
        for bytes in self.into_pieces().iter().filter_map(Piece::as_bytes) {
            all.extend_from_slice(bytes);
        }
        all.freeze()
    }

    /// The frame of a request in one piece: 4 bytes of length, then the written bytes.
    pub fn into_request(self) -> Result<Bytes, WireError> {
        let size = i32::try_from(self.len()).map_err(|_| WireError::Budget)?;
        Ok([&size.to_be_bytes()[..], &self.into_bytes()].concat().into())
    }

    /// The frame as pieces: 4 bytes of length, then the written bytes.
    pub fn into_frame(self) -> Result<Vec<Piece>, WireError> {
        let size = i32::try_from(self.len()).map_err(|_| WireError::Budget)?;
        let mut head = BytesMut::with_capacity(self.buffer.len().saturating_add(4));
        head.put_i32(size);
        if self.pieces.is_empty() {
            // The usual small response: one piece, one write.
            head.extend_from_slice(&self.buffer);
            return Ok(vec![head.freeze().into()]);
        }
        let mut frame = vec![head.freeze().into()];
        frame.extend(self.into_pieces());
        Ok(frame)
    }

    pub fn put(&mut self, bytes: &[u8]) {
        if self.buffer.len().saturating_add(bytes.len()) > PIECE {
            self.close_buffer();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The error codes of a response except 0, each with the number of fields that have it.
    pub fn error_codes(&self) -> &[(i16, u64)] {
        &self.error_codes
    }

    /// Counts an error code that is being written.
    pub(super) fn note_error(&mut self, code: i16) {
        if code != 0 {
            self.note_errors(code, 1);
        }
    }

    fn note_errors(&mut self, code: i16, times: u64) {
        match self.error_codes.iter_mut().find(|(known, _)| *known == code) {
            Some((_, known)) => *known = known.saturating_add(times),
            None => self.error_codes.push((code, times)),
        }
    }

    pub(super) fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < COPIED_BELOW {
            self.put(bytes);
        } else {
            self.close_buffer();
            self.pieces.push(bytes.clone().into());
        }
    }

    pub(super) fn put_piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Memory(bytes) => self.put_shared(bytes),
            Piece::File(_) => {
                self.close_buffer();
                self.pieces.push(piece.clone());
            }
        }
    }

    pub(super) fn varint(&mut self, mut value: u32) {
        while value > 0x7f {
            self.buffer.put_u8(low_seven(value) | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(low_seven(value));
    }

    /// The length of a string: 16 bits, or compact. `None` is null.
    pub(super) fn string_length(&mut self, length: Option<usize>, at: At) -> Result<(), WireError> {
        let signed = signed::<i16>(length)?;
        if at.flexible {
            return self.compact_length(length);
        }
        self.buffer.put_i16(signed);
        Ok(())
    }

    /// The length of bytes or an array: 32 bits, or compact. `None` is null.
    pub(super) fn length(&mut self, length: Option<usize>, at: At) -> Result<(), WireError> {
        let signed = signed::<i32>(length)?;
        if at.flexible {
            return self.compact_length(length);
        }
        self.buffer.put_i32(signed);
        Ok(())
    }

    /// Fails on arrays that Kafka's own clients would reject.
    pub(super) fn count(&mut self, count: Option<usize>, at: At) -> Result<(), WireError> {
        match count {
            Some(count) if count > MAX_ELEMENTS => Err(WireError::TooMany(count)),
            count => self.length(count, at),
        }
    }

    fn compact_length(&mut self, length: Option<usize>) -> Result<(), WireError> {
        let one_more = length.map_or(Some(0), |length| length.checked_add(1));
        let Some(Ok(value)) = one_more.map(u32::try_from) else { return Err(WireError::Length(i64::MAX)) };
        self.varint(value);
        Ok(())
    }

    pub(super) fn tags(&mut self, tags: Tags) -> Result<(), WireError> {
        self.varint(tags.count);
        self.append(tags.body);
        Ok(())
    }

    fn append(&mut self, other: Writer) {
        if !other.pieces.is_empty() {
            self.close_buffer();
            self.pieces.extend(other.pieces);
        }
        self.buffer.extend_from_slice(&other.buffer);
        for (code, times) in other.error_codes {
            self.note_errors(code, times);
        }
    }

    fn close_buffer(&mut self) {
        if !self.buffer.is_empty() {
            self.pieces.push(self.buffer.split().freeze().into());
        }
    }
}

/// The tagged fields of a struct that differ from their defaults, in the order of their tags.
#[derive(Default)]
pub struct Tags {
    count: u32,
    body: Writer,
}

impl Tags {
    pub(super) fn put<T: Field>(&mut self, tag: u32, value: &T, at: At) -> Result<(), WireError> {
        let mut bytes = Writer::default();
        value.write(&mut bytes, at)?;
        let size = u32::try_from(bytes.len()).map_err(|_| WireError::Budget)?;
        self.count = self.count.saturating_add(1);
        self.body.varint(tag);
        self.body.varint(size);
        self.body.append(bytes);
        Ok(())
    }
}

/// A length as an integer of the wire: −1 for null.
fn signed<T: TryFrom<usize> + TryFrom<i8>>(length: Option<usize>) -> Result<T, WireError> {
    let too_long = |length: usize| WireError::Length(i64::try_from(length).unwrap_or(i64::MAX));
    match length {
        Some(length) => T::try_from(length).map_err(|_| too_long(length)),
        None => T::try_from(-1i8).map_err(|_| WireError::Length(-1)),
    }
}

fn low_seven(value: u32) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low & 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pieces: &[&Bytes]) -> Writer {
        let mut out = Writer::new();
        for piece in pieces {
            out.put(b"<");
            out.put_shared(piece);
        }
        out
    }

    fn in_memory(piece: &Piece) -> &Bytes {
        piece.as_bytes().expect("a piece in memory")
    }

    #[test]
    fn a_small_answer_is_one_piece_with_its_length_in_front() {
        let small = Bytes::from_static(b"ok");
        assert_eq!(written(&[&small]).into_frame(), Ok(vec![Bytes::from_static(b"\0\0\0\x03<ok").into()]));
        assert_eq!(Writer::new().into_frame(), Ok(vec![Bytes::from_static(&[0; 4]).into()]));
    }

    #[test]
    fn large_bytes_are_taken_along_and_small_ones_gathered() {
        let large = Bytes::from(vec![7; COPIED_BELOW]);
        let small = Bytes::from_static(b"small");
        let out = written(&[&large, &large, &small, &small]);
        let length = out.len();
        let frame = out.into_frame().expect("a frame");
        let lengths: Vec<usize> = frame.iter().map(Piece::len).collect();
        assert_eq!(lengths, [4, 1, COPIED_BELOW, 1, COPIED_BELOW, 12]);
        assert_eq!(frame.first().map(in_memory), Some(&Bytes::copy_from_slice(&1038u32.to_be_bytes())));
        assert_eq!(length, 1038);
        assert_eq!(frame.get(2).map(|piece| in_memory(piece).as_ptr()), Some(large.as_ptr()));
    }

    #[test]
    fn a_large_answer_of_small_things_is_cut_into_pieces_that_are_never_copied_to_grow() {
        let written = || {
            let mut out = Writer::new();
            (0..100_000).for_each(|_| out.put(b"something"));
            out
        };
        assert_eq!(written().len(), 900_000);
        let pieces = written().into_pieces();
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE), "{}", pieces.len());
        assert_eq!(written().into_bytes(), b"something".repeat(100_000));
    }

    #[test]
    fn pieces_and_one_piece_are_the_same_bytes() {
        let large = Bytes::from(vec![7; COPIED_BELOW]);
        let small = Bytes::from_static(b"small");
        for pieces in [&[&small, &small][..], &[&large], &[&large, &small], &[&small, &large, &small]] {
            let apart: Vec<Bytes> = written(pieces).into_pieces().iter().map(in_memory).cloned().collect();
            assert_eq!(apart.concat(), written(pieces).into_bytes());
            let framed = written(pieces).into_frame().expect("a frame");
            let framed: Vec<Bytes> = framed.iter().map(in_memory).cloned().collect();
            assert_eq!(written(pieces).into_request().expect("a request"), framed.concat());
        }
    }
}
