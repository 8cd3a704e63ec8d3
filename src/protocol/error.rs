//! The errors of decoding and encoding messages.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end before the message does.
    Truncated,
    /// The message ends before the bytes do.
    LeftOver(usize),
    /// The message does not exist in this version.
    Version(i16),
    /// Null in a version that does not allow it.
    Null,
    /// A length that is negative, or too long for its field.
    Length(i64),
    /// More array elements or tagged fields than any valid message has.
    TooMany(usize),
    /// A variable-length number of more than 32 bits.
    Varint,
    /// A string that is not UTF-8.
    Utf8,
    /// A duplicate tagged field, or one out of order.
    TagOrder(u32),
    /// A message that would need too much memory for its size.
    Budget,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Truncated => write!(f, "the message is cut off"),
            WireError::LeftOver(bytes) => write!(f, "{bytes} bytes are left over"),
            WireError::Version(version) => write!(f, "there is no version {version}"),
            WireError::Null => write!(f, "null where there must be a value"),
            WireError::Length(length) => write!(f, "a length of {length} is impossible"),
            WireError::TooMany(count) => write!(f, "{count} elements are too many"),
            WireError::Varint => write!(f, "a variable-length number is too long"),
            WireError::Utf8 => write!(f, "a string is not UTF-8"),
            WireError::TagOrder(tag) => write!(f, "tagged field {tag} comes twice or too late"),
            WireError::Budget => write!(f, "the message would take too much memory"),
        }
    }
}

impl std::error::Error for WireError {}
