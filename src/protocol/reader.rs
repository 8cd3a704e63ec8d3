//! Decodes one frame. Every length is checked against the rest of the frame before it is used, and all
//! allocations for the frame are charged to one budget.

use bytes::{Buf, Bytes};

use super::field::{At, Field};
use super::{Records, WireError};

/// Kafka's own limits for decoding, since 4.3.
pub(super) const MAX_ELEMENTS: usize = 1_000_000;
pub(super) const MAX_TAGS: usize = 10_000;
/// The maximum length of a string in bytes, in both encodings.
pub(super) const MAX_STRING: usize = 32_767;

/// Structs take more memory than bytes on the wire: three to five times for typical requests, nine times
/// for topic names of three letters, twenty times in an array of empty names. A short request may have a
/// high factor throughout, such as a request for the offsets of a hundred groups with names of one
/// letter.
const DECODED_PER_BYTE: usize = 10;
const DECODED_FIXED: usize = 64 << 10;
const DECODED_MOST: usize = 32 << 20;

/// The maximum memory for decoding a frame of this length, beside the frame itself. A request that only
/// has structs comes close to it; records need none.
pub fn decoded_at_most(length: usize) -> usize {
    length.saturating_mul(DECODED_PER_BYTE).saturating_add(DECODED_FIXED).min(DECODED_MOST)
}

/// The maximum that is reserved for an array before its first element is read.
const FIRST_ELEMENTS: usize = 1024;
const FIRST_BYTES: usize = 32 << 10;

/// The rest of a frame. Bytes and records that are read share the frame's buffer.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
    budget: usize,
    elements: usize,
}

impl Reader {
    pub fn new(frame: Bytes) -> Reader {
        let budget = decoded_at_most(frame.len());
        Reader { rest: frame, budget, elements: 0 }
    }

    /// The memory that may still be allocated. The difference between two calls is the memory allocated
    /// in between.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// The number of array elements read so far.
    pub fn elements_read(&self) -> usize {
        self.elements
    }

    /// Fails if bytes are left.
    pub fn finish(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::LeftOver(self.rest.len())) }
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub fn read<T: Field>(&mut self, at: At) -> Result<T, WireError> {
        T::read(self, at)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let Some(found) = self.rest.first_chunk() else { return Err(WireError::Truncated) };
        let found = *found;
        self.rest.advance(N);
        Ok(found)
    }

    /// 7 bits per byte, lowest first. More bytes than needed are allowed, more than 32 bits are not.
    pub(super) fn varint(&mut self) -> Result<u32, WireError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            value |= bits << shift;
            if shift == 28 && bits > 0xf {
                break;
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Varint)
    }

    /// The length of a string: 16 bits, or a compact length. `None` is null.
    pub(super) fn string_length(&mut self, at: At) -> Result<Option<usize>, WireError> {
        let length = if at.flexible {
            self.compact_length()?
        } else {
            checked(i16::from_be_bytes(self.array()?).into())?
        };
        match length {
            Some(length) if length > MAX_STRING => {
                Err(WireError::Length(i64::try_from(length).unwrap_or(i64::MAX)))
            }
            length => Ok(length),
        }
    }

    /// The length of bytes or an array: 32 bits, or a compact length. `None` is null.
    pub(super) fn length(&mut self, at: At) -> Result<Option<usize>, WireError> {
        if at.flexible { self.compact_length() } else { checked(i32::from_be_bytes(self.array()?).into()) }
    }

    /// The wire has the length plus one; 0 is null.
    fn compact_length(&mut self) -> Result<Option<usize>, WireError> {
        let Some(length) = self.varint()?.checked_sub(1) else { return Ok(None) };
        checked(length.into())
    }

    pub fn take(&mut self, length: usize) -> Result<Bytes, WireError> {
        if length > self.rest.len() {
            return Err(WireError::Truncated);
        }
        Ok(self.rest.split_to(length))
    }

    pub(super) fn text(&mut self, length: usize) -> Result<String, WireError> {
        let Some(bytes) = self.rest.get(..length) else { return Err(WireError::Truncated) };
        let text = std::str::from_utf8(bytes).map_err(|_| WireError::Utf8)?;
        self.budget = self.budget.checked_sub(length).ok_or(WireError::Budget)?;
        let text = text.to_owned();
        self.rest.advance(length);
        Ok(text)
    }

    /// A list for the elements of an array. All elements are charged; memory is only reserved for the
    /// first ones.
    pub(super) fn elements<T>(&mut self, count: usize) -> Result<Vec<T>, WireError> {
        if count > MAX_ELEMENTS {
            return Err(WireError::TooMany(count));
        }
        if count > self.rest.len() {
            return Err(WireError::Truncated);
        }
        let each = size_of::<T>().max(1);
        let cost = count.checked_mul(each).ok_or(WireError::Budget)?;
        self.budget = self.budget.checked_sub(cost).ok_or(WireError::Budget)?;
        self.elements = self.elements.saturating_add(count);
        let first = FIRST_BYTES.checked_div(each).unwrap_or(1);
        Ok(Vec::with_capacity(count.min(FIRST_ELEMENTS).min(first)))
    }

    /// The tagged fields at the end of a struct. `known` reads the value of a tag from a reader that has
    /// nothing else, or returns `false` for an unknown tag.
    pub(super) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if count > MAX_TAGS {
            return Err(WireError::TooMany(count));
        }
        let mut last = None;
        for _ in 0..count {
            let tag = self.varint()?;
            if last.is_some_and(|last| tag <= last) {
                return Err(WireError::TagOrder(tag));
            }
            last = Some(tag);
            let size = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
            let mut value = Reader { rest: self.take(size)?, budget: self.budget, elements: self.elements };
            if known(tag, &mut value)? {
                value.finish()?;
            }
            self.budget = value.budget;
            self.elements = value.elements;
        }
        Ok(())
    }

    pub(super) fn skip_tags(&mut self) -> Result<(), WireError> {
        self.tags(|_, _| Ok(false))
    }

    pub(super) fn records(&mut self, length: usize) -> Result<Records, WireError> {
        Ok(Records::from(self.take(length)?))
    }
}

/// −1 is null; other negative lengths are errors.
fn checked(length: i64) -> Result<Option<usize>, WireError> {
    match length {
        -1 => Ok(None),
        length if length > i64::from(i32::MAX) => Err(WireError::Length(length)),
        length => usize::try_from(length).map(Some).map_err(|_| WireError::Length(length)),
    }
}
