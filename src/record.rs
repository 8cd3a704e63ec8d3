//! Record batches: the header over borrowed bytes, the rules for what clients send, the records,
//! the codecs. The only room that looks inside record bytes; it knows nothing of topics or files.
//!
//! - [`Header`], [`batches`], [`prefix`]: the 61 bytes in front of every batch.
//! - [`check_produced`]: what a client may append (BEHAVIOUR.md, rules P).

mod check;
mod error;
mod header;

pub use check::{Checked, Rules, check_produced};
pub use error::{RecordError, RecordRefusal};
pub use header::{Attributes, Batches, Codec, Header, PREFIX_LENGTH, Producer, batches, prefix};
