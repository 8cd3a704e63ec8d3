//! Record batches: the header over borrowed bytes, the rules for what clients send, the records,
//! the codecs. The only room that looks inside record bytes; it knows nothing of topics or files.
//!
//! - [`Header`], [`batches`], [`prefix`]: the 61 bytes in front of every batch.
//! - [`check_produced`], [`check_within`]: what a client may append (`docs/rules.md`, P).
//! - [`clean`]: what compaction leaves of a batch.
//! - [`records`], [`keys`]: what is in a batch; [`BatchBuilder`] makes one.
//! - [`first_since`], [`newest`]: records by their time. [`batch_line`], [`record_line`]: for people.
//!
//! What a client sent can never panic here: indexing, unwrapping and plain arithmetic are denied.

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
mod records;
mod search;
mod source;

pub use builder::BatchBuilder;
pub use check::{Checked, Rules, check_produced, check_within};
pub use clean::{Cleaned, clean, is_cleaned};
pub use describe::{batch_line, record_line};
pub use error::{RecordError, RecordRefusal};
pub use header::{
    Attributes, Batches, CHECKED_FROM, Codec, Header, PREFIX_LENGTH, Producer, batches, crc_of, prefix,
};
pub use records::{Record, Records, keys, records};
pub use search::{Found, first_since, newest};
