//! The shared journal: an ordered list of entries, to which several brokers append.

use std::pin::Pin;

use bytes::Bytes;

use crate::types::Timestamp;

/// An implementation never returns an entry that may still be taken back.
pub trait SharedJournal: Send + Sync {
    /// Appends an entry with the record bytes beside it, and reads the entries behind `known`, those of others too.
    /// After `Ok` the entry is stored, although it may not be among the first ones that are returned. After `Unknown`
    /// it may be stored now, later or never: the caller appends it again until it has read it. An author has one
    /// append at a time.
    fn append(&self, entry: Bytes, data: Bytes, known: u64) -> Answer<Vec<StoredEntry>>;

    /// Reads the entries behind a position, or only the first of them. The result is empty only if there are none. An
    /// entry whose append was answered before the call counts as stored.
    fn read(&self, behind: u64) -> Answer<Vec<StoredEntry>>;

    /// Reads ranges of the record bytes beside entries.
    fn data(&self, ranges: Vec<DataRange>) -> Answer<Vec<Bytes>>;
}

pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send>>;

/// An entry that is stored for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    pub position: u64,
    /// The journal's clock when it was stored.
    pub at: Timestamp,
    pub entry: Bytes,
}

/// A range of the record bytes beside an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRange {
    pub position: u64,
    pub at: u32,
    pub length: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// There was no answer. An append is perhaps stored. The caller tries again at once, so an implementation that
    /// cannot reach its journal waits before it returns this error.
    Unknown(String),
}
