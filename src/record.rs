//! Record batches: the header over borrowed bytes, the rules for what clients send, the records,
//! the codecs. The only room that looks inside record bytes; it knows nothing of topics or files.
//!
//! - [`Header`], [`batches`], [`prefix`]: the 61 bytes in front of every batch.
//! - [`check_produced`]: what a client may append (BEHAVIOUR.md, rules P).
//! - [`records`]: what is in a batch; [`BatchBuilder`] makes one.
//!
//! Parsing panics on no input: these files deny indexing, unwrapping and plain arithmetic.

mod builder;
#[deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]
mod check;
mod compression;
mod error;
#[deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]
mod header;
#[deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]
mod records;
#[deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]
mod search;
#[deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]
mod source;

pub use builder::BatchBuilder;
pub use check::{Checked, Rules, check_produced};
pub use error::{RecordError, RecordRefusal};
pub use header::{Attributes, Batches, CRC_FROM, Codec, Header, PREFIX_LENGTH, Producer, batches, prefix};
pub use records::{Record, Records, records};
pub use search::{Found, first_since, newest};
