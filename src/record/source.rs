//! The source of record bytes: an uncompressed batch, whose parts are borrowed, or a decompressor, from
//! which they are copied. Every read is checked against the bytes that are left.

use std::io::{BufRead, BufReader, Read};

use bytes::Bytes;

use super::decompress::Dialect;
use super::{Codec, RecordError, decompress};

/// Boxed, because a large error in every step would double the cost of a walk.
pub(super) type WalkResult<T> = Result<T, Box<RecordError>>;

pub(super) trait Source {
    /// The number of bytes read so far.
    fn position(&self) -> usize;
    fn byte(&mut self) -> WalkResult<u8>;
    fn take(&mut self, length: usize) -> WalkResult<Bytes>;
    fn skip(&mut self, length: usize) -> WalkResult<()>;
    /// Copies between 1 and `length` bytes into `out`, and returns their number.
    fn copy(&mut self, length: usize, out: &mut [u8]) -> WalkResult<usize>;
    fn at_end(&mut self) -> WalkResult<bool>;

    /// The maximum length of a record.
    fn longest_record(&self) -> usize {
        usize::MAX
    }

    /// A zigzag varint of 32 bits.
    #[inline]
    fn varint(&mut self) -> WalkResult<i32> {
        let mut bits: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            bits |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((bits >> 1) as i32 ^ (bits as i32 & 1).wrapping_neg());
            }
        }
        Err(broken("a varint is longer than five bytes"))
    }

    /// A zigzag varint of 64 bits.
    #[inline]
    fn varlong(&mut self) -> WalkResult<i64> {
        let mut bits: u64 = 0;
        for shift in [0, 7, 14, 21, 28, 35, 42, 49, 56, 63] {
            let byte = self.byte()?;
            bits |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((bits >> 1) as i64 ^ (bits as i64 & 1).wrapping_neg());
            }
        }
        Err(broken("a varint is longer than ten bytes"))
    }
}

/// The records of an uncompressed batch.
pub(super) struct Plain {
    bytes: Bytes,
    at: usize,
}

impl Plain {
    pub(super) fn new(bytes: Bytes) -> Plain {
        Plain { bytes, at: 0 }
    }

    /// Skips `length` bytes and returns the position after them.
    #[inline]
    fn pass(&mut self, length: usize) -> WalkResult<usize> {
        match self.at.checked_add(length) {
            Some(end) if end <= self.bytes.len() => {
                self.at = end;
                Ok(end)
            }
            _ => Err(ended()),
        }
    }
}

impl Source for Plain {
    #[inline]
    fn position(&self) -> usize {
        self.at
    }

    #[inline]
    fn byte(&mut self) -> WalkResult<u8> {
        let Some(byte) = self.bytes.get(self.at) else { return Err(ended()) };
        self.at = self.at.saturating_add(1);
        Ok(*byte)
    }

    fn take(&mut self, length: usize) -> WalkResult<Bytes> {
        let from = self.at;
        let to = self.pass(length)?;
        Ok(self.bytes.slice(from..to))
    }

    #[inline]
    fn skip(&mut self, length: usize) -> WalkResult<()> {
        self.pass(length).map(|_| ())
    }

    fn copy(&mut self, length: usize, out: &mut [u8]) -> WalkResult<usize> {
        let taken = self.take(length.min(out.len()))?;
        let Some(to) = out.get_mut(..taken.len()).filter(|to| !to.is_empty()) else { return Err(ended()) };
        to.copy_from_slice(&taken);
        Ok(taken.len())
    }

    fn at_end(&mut self) -> WalkResult<bool> {
        Ok(self.at == self.bytes.len())
    }
}

/// The decompressed records of a batch, limited by [`decompress::open`] and never held as a whole.
pub(super) struct DecompressedRecords {
    inner: BufReader<Box<dyn Read + Send>>,
    position: usize,
    longest_record: usize,
}

/// The maximum length of a key, value or header of a compressed batch, because each is held as a whole.
const LONGEST_FIELD: usize = 64 << 20;

impl DecompressedRecords {
    pub(super) fn new(codec: Codec, packed: Bytes) -> DecompressedRecords {
        let opened = decompress::open(codec, packed, decompress::MOST, Dialect::Any);
        DecompressedRecords { inner: BufReader::new(opened), position: 0, longest_record: usize::MAX }
    }

    /// Those of a producer. Fails if Kafka's consumers could not read them, if there are more than `most` bytes, or if a
    /// record is longer than `longest_record`.
    pub(super) fn of_producer(
        codec: Codec,
        packed: Bytes,
        most: u64,
        longest_record: usize,
    ) -> DecompressedRecords {
        let opened = decompress::open(codec, packed, most, Dialect::OfKafka);
        DecompressedRecords { inner: BufReader::new(opened), position: 0, longest_record }
    }

    fn buffered(&mut self) -> WalkResult<&[u8]> {
        self.inner.fill_buf().map_err(unreadable)
    }

    fn consume(&mut self, length: usize) {
        self.inner.consume(length);
        self.position = self.position.saturating_add(length);
    }
}

impl Source for DecompressedRecords {
    fn position(&self) -> usize {
        self.position
    }

    fn byte(&mut self) -> WalkResult<u8> {
        let byte = *self.buffered()?.first().ok_or_else(ended)?;
        self.consume(1);
        Ok(byte)
    }

    fn take(&mut self, length: usize) -> WalkResult<Bytes> {
        if length > LONGEST_FIELD {
            return Err(broken("a key, value or header is too long to be held"));
        }
        let mut taken = Vec::new(); // grows with what arrives, not with what is claimed
        let most = u64::try_from(length).unwrap_or(u64::MAX);
        let read = self.inner.by_ref().take(most).read_to_end(&mut taken).map_err(unreadable)?;
        if read < length {
            return Err(ended());
        }
        self.position = self.position.saturating_add(length);
        Ok(taken.into())
    }

    fn skip(&mut self, length: usize) -> WalkResult<()> {
        let mut left = length;
        while left > 0 {
            let here = self.buffered()?.len().min(left);
            if here == 0 {
                return Err(ended());
            }
            self.consume(here);
            left = left.saturating_sub(here);
        }
        Ok(())
    }

    fn copy(&mut self, length: usize, out: &mut [u8]) -> WalkResult<usize> {
        let here = self.buffered()?;
        let copied = here.len().min(length).min(out.len());
        let (Some(from), Some(to)) = (here.get(..copied), out.get_mut(..copied)) else { return Err(ended()) };
        to.copy_from_slice(from);
        if copied == 0 {
            return Err(ended());
        }
        self.consume(copied);
        Ok(copied)
    }

    fn at_end(&mut self) -> WalkResult<bool> {
        Ok(self.buffered()?.is_empty())
    }

    fn longest_record(&self) -> usize {
        self.longest_record
    }
}

/// A source of either kind.
pub(super) enum AnySource {
    Plain(Plain),
    Packed(DecompressedRecords),
}

impl AnySource {
    pub(super) fn new(codec: Codec, records: Bytes) -> AnySource {
        match codec {
            Codec::None => AnySource::Plain(Plain::new(records)),
            codec => AnySource::Packed(DecompressedRecords::new(codec, records)),
        }
    }
}

impl Source for AnySource {
    #[inline]
    fn position(&self) -> usize {
        match self {
            AnySource::Plain(source) => source.position(),
            AnySource::Packed(source) => source.position(),
        }
    }

    #[inline]
    fn byte(&mut self) -> WalkResult<u8> {
        match self {
            AnySource::Plain(source) => source.byte(),
            AnySource::Packed(source) => source.byte(),
        }
    }

    fn take(&mut self, length: usize) -> WalkResult<Bytes> {
        match self {
            AnySource::Plain(source) => source.take(length),
            AnySource::Packed(source) => source.take(length),
        }
    }

    #[inline]
    fn skip(&mut self, length: usize) -> WalkResult<()> {
        match self {
            AnySource::Plain(source) => source.skip(length),
            AnySource::Packed(source) => source.skip(length),
        }
    }

    fn copy(&mut self, length: usize, out: &mut [u8]) -> WalkResult<usize> {
        match self {
            AnySource::Plain(source) => source.copy(length, out),
            AnySource::Packed(source) => source.copy(length, out),
        }
    }

    fn at_end(&mut self) -> WalkResult<bool> {
        match self {
            AnySource::Plain(source) => source.at_end(),
            AnySource::Packed(source) => source.at_end(),
        }
    }
}

#[cold]
fn ended() -> Box<RecordError> {
    broken("a record runs past the end of its batch")
}

#[cold]
pub(super) fn broken(why: &str) -> Box<RecordError> {
    Box::new(RecordError::Invalid(why.into()))
}

#[cold]
fn unreadable(error: std::io::Error) -> Box<RecordError> {
    if error.kind() == std::io::ErrorKind::FileTooLarge {
        return Box::new(RecordError::OpensTooLarge);
    }
    Box::new(RecordError::Invalid(format!("the batch cannot be decompressed: {error}")))
}
