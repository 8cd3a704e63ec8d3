//! The wire: frames, headers and messages of every version, bounded.
//!
//! This room does not know the meaning of a field. The messages are generated from the facts in
//! `protocol/schema` (`build/schema.rs` says how to read those). One struct serves all versions of
//! a message, and `Default` gives every field Kafka's own default.
//!
//! - [`messages`]: a module per message, named and spelt as in Kafka
//! - [`Reader`] and [`Writer`]: reading within bounds, writing without copying records
//! - [`RequestHeader`], [`write_response_header`]: the header before a body, and its version
//! - [`Records`]: the bytes of record batches, in pieces
//!
//! **Client input cannot do harm here.** A length is checked against the bytes that remain, the
//! allocations of one frame have a budget, and nothing panics. Decoding is strict where Kafka is
//! (null, lengths, counts), and also in cases that Kafka leaves open: duplicate tags, tags out of
//! order and text that is not UTF-8 are refused. Unknown tagged fields are dropped.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::panic
)]

mod error;
mod field;
mod header;
pub mod messages;
mod reader;
mod records;
mod writer;

use std::fmt::Debug;
use std::ops::RangeInclusive;

pub use error::WireError;
pub use field::{At, Field};
pub use header::{
    RequestHeader, read_response_header, request_header_version, response_header_version,
    write_response_header,
};
pub use reader::{Reader, decoded_at_most};
pub use records::Records;
pub use writer::Writer;

/// A request, a response, or the content of a bytes field (`ConsumerProtocolSubscription`).
pub trait Message: Field + Default + Clone + Debug + PartialEq {
    /// The versions that Kafka 4.4 defines. `api.rs` has the versions that are served.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields; `i16::MAX` if there is none.
    const FIRST_FLEXIBLE: i16;

    /// Decodes one message. Fields that the version lacks have their default. Call
    /// [`Reader::finish`] if no bytes may follow.
    fn decode(input: &mut Reader, version: i16) -> Result<Self, WireError> {
        Self::read(input, Self::at(version)?)
    }

    /// Encodes the message. Fields that the version lacks are left out, whatever their value.
    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), WireError> {
        self.write(out, Self::at(version)?)
    }

    /// How long a client is held back after this response, whether the version has the field or not.
    fn throttle_time_ms(&self) -> i32 {
        0
    }

    /// Raises this time to `ms`. A response without the field stays as it is.
    fn hold_back(&mut self, _ms: i32) {}

    /// Makes a refusal of a response: its error codes are replaced. If there is none, the whole response gets the code, if it
    /// has a field for it.
    fn refuse(&mut self, code: i16) {
        if !self.replace_errors(code) {
            self.set_error_code(code);
        }
    }

    /// Sets the error code of the whole response. A response without such a field stays as it is.
    fn set_error_code(&mut self, _code: i16) {}

    #[doc(hidden)]
    fn at(version: i16) -> Result<At, WireError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(WireError::Version(version));
        }
        Ok(At { version, flexible: version >= Self::FIRST_FLEXIBLE })
    }
}

pub trait Request: Message {
    type Response: Message;
    const KEY: i16;
    /// Kafka's name of the API, such as `Fetch`.
    const NAME: &'static str;
}

/// Differences from Apache Kafka's bytes and limits, for `docs/apis.md`.
pub const GAPS: &[&str] = &[
    "A request closes its connection where Kafka reads on: text that is not UTF-8 (in a client id it is replaced, \
     as in Kafka), a tagged field twice, out of order or of another size than it says, a negative length other than −1.",
    "A request may take 10 times its size and 64 KiB in memory, at most 32 MiB, beside its own bytes.",
];
