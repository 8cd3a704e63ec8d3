//! Records on their way through the command line: as they were read from a broker, and as they are written to one.

pub mod json;
pub mod layout;
pub mod native;

/// A record to write. `None` as key or value is null; a null value is a tombstone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    pub topic: Option<String>,
    pub partition: Option<i32>,
    /// In milliseconds since 1970; the producer's clock if there is none.
    pub timestamp: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<NewHeader>,
}

/// The name and the value, which may be null.
pub type NewHeader = (String, Option<Vec<u8>>);

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// Names are text in Kafka, but no broker checks it.
    pub headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

#[cfg(test)]
pub const EXAMPLE: ReadRecord<'static> = ReadRecord {
    topic: "orders",
    partition: 3,
    offset: 42,
    timestamp: Some(1_700_000_000_123),
    key: Some(b"anna"),
    value: Some(b"one coffee"),
    headers: Vec::new(),
};
