//! The journal: the one ordered, durable list that every fact comes from.
//!
//! **Contract** (the suite in `journal/conformance.rs` holds every implementation to it):
//! - One committer appends; positions are consecutive. An entry is one of its rounds: commands for
//!   the kernel, and the record bytes that lie nowhere else.
//! - `append` writes; what it wrote is durable once a [`SyncJob`] made after it has run without
//!   error. The committer reports that by [`Journal::synced`], and later frames and the *witness*
//!   carry it: the *synced mark*, by which recovery tells a torn tail from damage.
//! - After a crash the journal is a prefix of what was appended, and contains everything that was
//!   synced; or opening it names the damage. What opening has cut never comes back.
//! - A write or sync that fails poisons the journal: every later call fails. Only opening it anew
//!   heals it. Want of space while a file is made ([`JournalError::Full`]) poisons nothing.

#[cfg(test)]
mod conformance;
mod file;
mod frame;
mod memory;
mod pool;
mod replay;
#[cfg(test)]
mod tests;
mod witness;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;

pub use file::{FileJournal, Options};
pub use memory::MemoryJournal;
pub use replay::{OpenError, Replay, frames, salt_of};
pub use witness::path as witness_path;

use super::fs::{File, Fs};
use crate::types::Timestamp;

/// The position up to which the journal was synced, as its witness says; 0 where that is silent.
pub fn synced_by_witness(fs: &dyn Fs, dir: &Path, salt: u64) -> u64 {
    witness::read(fs, dir, salt).map_or(0, |synced| synced.position)
}

pub trait Journal: Send {
    /// Writes the entry behind the last one. It is not durable yet.
    fn append(&mut self, entry: &Entry<'_>) -> Result<(), JournalError>;

    /// The position of the last entry; 0 before the first.
    fn last(&self) -> u64;

    /// What makes everything appended so far durable, to be run where waiting is allowed.
    fn sync_job(&self) -> SyncJob;

    /// Everything up to this position is durable: what a [`SyncJob`] returned.
    fn synced(&mut self, position: u64);

    /// Tells the medium how far it is synced where no frame says so yet: called when nothing waits
    /// to be appended. Not synced itself.
    fn mark(&mut self) -> Result<(), JournalError>;

    /// Whether an entry with that many bytes (commands and data) finds room on the medium that is
    /// ours already. Where not, `append` makes room, slowly, or says `Full`.
    fn room_for(&self, bytes: u64) -> bool;

    /// Makes room for an entry with that many bytes, slowly, where there is none: then `append`
    /// needs nothing new from the medium. An error harms nothing that was appended.
    fn make_room(&mut self, bytes: u64) -> io::Result<()>;

    /// Nobody needs the entries below this position any more. Costs nothing: the work is for
    /// [`Journal::prepare`].
    fn trim(&mut self, below: u64);

    /// Work that keeps room ready ahead of need, and gives back what was trimmed; `None` where all
    /// is well. To be run where waiting is allowed, while appends go on.
    fn prepare(&mut self) -> Option<Prepare>;

    /// Fails where this journal may not be written any more: poisoned, or (where several could
    /// write it) taken over by another.
    fn barrier(&self) -> Result<(), JournalError>;

    fn limits(&self) -> Limits;
}

/// One round of the committer.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// From 1, without gaps.
    pub position: u64,
    pub time: Timestamp,
    /// The rolling hash of the kernel's state after the entry.
    pub hash: u64,
    /// What the kernel applies; opaque here.
    pub commands: &'a [u8],
    /// Record bytes that lie nowhere else, one behind the other.
    pub data: &'a [Bytes],
}

impl Entry<'_> {
    /// What counts against [`Limits::entry_bytes`] and [`Journal::room_for`].
    pub fn bytes(&self) -> u64 {
        self.commands.len() as u64 + self.data.iter().map(|piece| piece.len() as u64).sum::<u64>()
    }
}

/// An entry as the journal gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    pub position: u64,
    pub time: Timestamp,
    pub hash: u64,
    pub commands: Bytes,
    pub data: Bytes,
    /// Nothing says that it was ever synced: it may be cut, and must not be called durable.
    pub above_mark: bool,
    /// Where it lies: the generation of the file, and the byte.
    pub file: u64,
    pub at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes (commands and data) of one entry.
    pub entry_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// The disk has no space for another journal file. The entry was not written, and can be
    /// appended again later.
    Full,
    /// More than [`Limits::entry_bytes`]; not written.
    TooLarge { bytes: u64 },
    /// A write or a sync failed, now or earlier.
    Poisoned(String),
}

impl std::fmt::Display for JournalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            JournalError::Full => write!(f, "no space for another journal file"),
            JournalError::TooLarge { bytes } => write!(f, "a journal entry of {bytes} bytes is too large"),
            JournalError::Poisoned(why) => write!(f, "the journal failed: {why}"),
        }
    }
}

impl std::error::Error for JournalError {}

/// Makes everything durable that was appended before it was made.
pub struct SyncJob {
    files: Vec<Arc<dyn File>>,
    through: u64,
    poison: Poison,
}

impl SyncJob {
    /// The position that [`SyncJob::run`] will return.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// Blocks until the disk is done. Returns the position up to which the journal is durable.
    pub fn run(self) -> Result<u64, JournalError> {
        // One at a time: the system tells an error once, and it counts for whoever syncs.
        let _alone = self.poison.0.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.poison.check()?;
        for file in &self.files {
            file.sync_data().map_err(|error| self.poison.set(format!("sync: {error}")))?;
        }
        // A write may have failed meanwhile.
        self.poison.check()?;
        Ok(self.through)
    }
}

/// See [`Journal::prepare`].
pub struct Prepare(Box<dyn FnOnce() -> io::Result<()> + Send>);

impl Prepare {
    /// Blocks until the disk is done. An error harms nothing that was appended: there is only less
    /// room than wished for.
    pub fn run(self) -> io::Result<()> {
        (self.0)()
    }
}

/// The first failure of a write or sync, shared by the journal and its jobs.
#[derive(Clone, Default)]
struct Poison(Arc<Poisoned>);

#[derive(Default)]
struct Poisoned {
    why: OnceLock<String>,
    syncing: Mutex<()>,
}

impl Poison {
    fn check(&self) -> Result<(), JournalError> {
        match self.0.why.get() {
            None => Ok(()),
            Some(why) => Err(JournalError::Poisoned(why.clone())),
        }
    }

    /// Sets the failure and returns it, or the one that came before.
    fn set(&self, why: String) -> JournalError {
        JournalError::Poisoned(self.0.why.get_or_init(|| why).clone())
    }
}
