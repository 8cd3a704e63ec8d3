//! What can be wrong with record bytes. `api/error.rs` gives each variant its Kafka code.

use std::fmt;

/// Why a batch was refused, or could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The bytes are damaged: a wrong length, a wrong CRC, a format nobody knows.
    Corrupt(String),
    /// Not exactly one whole batch. (Kafka finds this out before it looks at the log: unlike for
    /// the other invalid ones, its answer then has no log start offset.)
    NotOneBatch(String),
    /// A format from before Kafka 0.11, which is no longer accepted. (Found out as early.)
    OldFormat(i8),
    /// Sound bytes that break a rule: a wrong count, a control batch, records that do not add up.
    Invalid(String),
    /// Some records break a rule that is reported record by record.
    InvalidRecords { message: String, refused: Vec<RecordRefusal> },
    /// Some records lie outside the topic's timestamp bounds.
    InvalidTimestamps { message: String, refused: Vec<RecordRefusal> },
    /// The batch is larger than `max.message.bytes`.
    TooLarge { size: usize, limit: usize },
    /// The batch is larger than a whole segment may be.
    LargerThanSegment { size: usize, limit: u64 },
    /// More comes out of the compressed batch than its reader wants to see.
    OpensTooLarge,
    /// A codec id that no version of the format knows.
    UnknownCodec(u8),
}

/// One record that was refused: its place in the batch, from 0, and why.
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
