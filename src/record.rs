//! Record batches: the header over borrowed bytes, the rules for batches from clients, the records,
//! the codecs. This is the only room that looks inside record bytes. It knows nothing of topics or
//! files.
//!
//! - [`Header`], [`batches`], [`prefix`]: the 61 bytes at the start of every batch.
//! - [`check_produced`], [`check_within`]: what a client may append (`docs/rules.md`, P).
//! - [`clean()`], [`clean_marker`]: the batch that compaction keeps.
//! - [`records()`], [`keys`]: the records of a batch; [`BatchBuilder`] makes one.
//! - [`Marker`]: the end of a transaction.
//! - [`first_since`], [`newest`]: records by timestamp. [`batch_line`], [`record_line`], [`marker_line`]: text for
//!   people.
//!
//! Client input cannot panic here: indexing, unwrapping and plain arithmetic are denied.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

#[expect(clippy::expect_used, clippy::arithmetic_side_effects, reason = "is given our own records only")]
mod builder;
mod check;
mod clean;
mod compress;
mod decompress;
mod describe;
mod error;
mod header;
mod libzstd;
mod marker;
mod records;
mod search;
mod source;

use std::io::{self, Read};

use bytes::Bytes;

pub use builder::BatchBuilder;
pub use check::{Checked, NAMED_REFUSALS, Rules, check_produced, check_within};
pub use clean::{Cleaned, clean, clean_marker};
pub use describe::{batch_line, marker_line, record_line};
pub use error::{RecordError, RecordRefusal};
pub use header::{
    Attributes, Batches, CHECKED_FROM, Codec, Header, PREFIX_LENGTH, Producer, batches, crc_of, prefix,
};
pub use marker::Marker;
pub use records::{Record, Records, keys, records};
pub use search::{TimedOffset, first_since, newest};

/// Decompresses data that is not a batch. Fails with [`io::ErrorKind::FileTooLarge`] if it has more than `most` bytes.
pub fn opened(codec: Codec, packed: Bytes, most: u64) -> io::Result<Bytes> {
    let mut opened = Vec::new();
    decompress::open(codec, packed, most, decompress::Dialect::Any).read_to_end(&mut opened)?;
    Ok(opened.into())
}
