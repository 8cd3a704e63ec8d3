//! The errors of record bytes. `api/error.rs` maps each to a Kafka error code.

use std::fmt;

/// The reasons why a batch was refused or could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The bytes are damaged: a wrong length, a wrong CRC or an unknown format.
    Corrupt(String),
    /// Not exactly one whole batch. (Kafka checks this before it looks up the log. So the response has no
    /// log start offset, unlike for other invalid batches.)
    NotOneBatch(String),
    /// A format from before Kafka 0.11, which is no longer accepted. (Kafka checks this as early.)
    OldFormat(i8),
    /// Undamaged bytes that break a rule: a wrong count, a control batch, inconsistent records.
    Invalid(String),
    /// Some records break a rule whose violations are reported for each record.
    InvalidRecords { message: String, refused: Vec<RecordRefusal> },
    /// The timestamps of some records are outside the topic's limits.
    InvalidTimestamps { message: String, refused: Vec<RecordRefusal> },
    /// The batch is larger than `max.message.bytes`.
    TooLarge { size: usize, limit: usize },
    /// The batch is larger than a segment may be.
    LargerThanSegment { size: usize, limit: u64 },
    /// The decompressed batch exceeds the reader's limit.
    OpensTooLarge,
    /// An unknown codec id.
    UnknownCodec(u8),
}

/// A refused record: its index in the batch, from 0, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRefusal {
    pub index: i32,
    pub message: String,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Corrupt(why) | RecordError::NotOneBatch(why) | RecordError::Invalid(why) => {
                f.write_str(why)
            }
            RecordError::OldFormat(magic) => {
                write!(f, "batches of format {magic} are no longer accepted, only of format 2")
            }
            RecordError::InvalidRecords { message, .. } | RecordError::InvalidTimestamps { message, .. } => {
                f.write_str(message)
            }
            RecordError::TooLarge { size, limit } => {
                write!(f, "the batch has {size} bytes; max.message.bytes allows {limit}")
            }
            RecordError::LargerThanSegment { size, limit } => {
                write!(f, "the batch has {size} bytes; segment.bytes allows {limit}")
            }
            RecordError::OpensTooLarge => f.write_str("more comes out of the batch than a batch may hold"),
            RecordError::UnknownCodec(id) => write!(f, "unknown compression codec {id}"),
        }
    }
}

impl std::error::Error for RecordError {}

impl From<Box<RecordError>> for RecordError {
    fn from(boxed: Box<RecordError>) -> RecordError {
        *boxed
    }
}
