//! The journal: the one ordered, durable list of everything that changes the state.
//!
//! **Contract** (the tests in `journal/conformance.rs` check it for every implementation):
//! - One committer appends, and positions are consecutive. An entry is one round of the committer: an entry of
//!   the kernel, which the journal does not look into, and the record bytes that are stored nowhere else.
//! - `append` writes an entry. The entry is durable once a [`SyncJob`] made after it has run without an
//!   error. The committer reports that with [`Journal::synced`]. Later frames and the *witness* contain this
//!   *synced mark*, and recovery uses it to tell a torn tail from damage.
//! - After a crash the journal is a prefix of the appended entries and contains every synced one; otherwise
//!   opening it fails and names the damage. Entries that were cut at opening never come back.
//! - A failed write or sync poisons the journal: every later call fails until it is opened again. A lack of
//!   space for a new file ([`JournalError::Full`]) does not poison it.

#[cfg(test)]
mod conformance;
pub mod copy;
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
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

pub use file::{FileJournal, Options};
pub use memory::MemoryJournal;
pub use replay::{OpenError, Replay, frames, replace_commands, salt_of};
pub use witness::path as witness_path;

use super::fs::{File, Fs};
use crate::types::{IgnorePoison, Timestamp};

/// The position up to which the journal was synced, from its witness; 0 without a readable witness.
pub fn synced_by_witness(fs: &dyn Fs, dir: &Path, salt: u64) -> u64 {
    witness::read(fs, dir, salt).map_or(0, |synced| synced.position)
}

pub trait Journal: Send {
    /// Writes the entry after the last one. It is not durable yet.
    fn append(&mut self, entry: &Entry<'_>) -> Result<(), JournalError>;

    /// The position of the last entry; 0 if there is none.
    #[cfg(test)]
    fn last(&self) -> u64;

    /// A job that makes everything appended so far durable. It blocks, so run it on a thread that may wait.
    fn sync_job(&self) -> SyncJob;

    /// Reports that everything up to this position is durable. The position comes from a [`SyncJob`].
    fn synced(&mut self, position: u64);

    /// Writes the synced mark if no frame contains it yet. Called when nothing waits to be appended. The mark
    /// itself is not synced.
    fn mark(&mut self) -> Result<(), JournalError>;

    /// Whether an entry of n bytes (commands and data) fits into space that the journal already has. If not,
    /// `append` has to allocate space, which is slow, or returns `Full`.
    fn room_for(&self, bytes: u64) -> bool;

    /// Allocates space for an entry of n bytes if there is none. This is slow; afterwards `append` needs no
    /// new space. An error does not affect the entries already appended.
    fn make_room(&mut self, bytes: u64) -> io::Result<()>;

    /// Marks the entries below this position as no longer needed. It does no I/O; [`Journal::prepare`]
    /// removes them.
    fn trim(&mut self, below: u64);

    /// The pending background work: getting space ready in advance and releasing trimmed files. `None` if
    /// there is nothing to do. The work blocks, so run it on a thread that may wait; appends continue
    /// meanwhile.
    fn prepare(&mut self) -> Option<Prepare>;
}

/// One round of the committer.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Starts at 1, without gaps.
    pub position: u64,
    pub time: Timestamp,
    /// The rolling hash of the kernel's state after the entry.
    pub hash: u64,
    /// An entry of the kernel: its header and its commands.
    pub commands: &'a [u8],
    /// Record bytes that are stored nowhere else, concatenated.
    pub data: &'a [Bytes],
    /// [`crc_of`] the data. The caller needs it too, and it is computed once.
    pub data_crc: u32,
}

/// The CRC-32C of these pieces as one.
pub fn crc_of(pieces: &[Bytes]) -> u32 {
    pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece))
}

impl Entry<'_> {
    /// The bytes that count for [`frame::LARGEST_ENTRY`] and [`Journal::room_for`].
    pub fn bytes(&self) -> u64 {
        self.commands.len() as u64 + self.data.iter().map(|piece| piece.len() as u64).sum::<u64>()
    }
}

/// An entry read back from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    pub position: u64,
    pub time: Timestamp,
    pub hash: u64,
    pub commands: Bytes,
    pub data: Bytes,
    /// The entry is above the synced mark: it may be cut, and must not be treated as durable.
    pub above_mark: bool,
    /// The generation of the file that contains the entry, and the entry's byte position in it as `at`.
    pub file: u64,
    pub at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// The disk has no space for another journal file. The entry was not written and can be appended again
    /// later.
    Full,
    /// The entry exceeds [`frame::LARGEST_ENTRY`] and was not written.
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

/// Makes everything durable that was appended before this job was created.
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
        // One sync at a time: the system reports a write error to one sync only. The lock makes sure that
        // every later sync sees the poison.
        let _alone = self.poison.0.syncing.lock().ignoring_poison();
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
    /// Blocks until the disk is done. An error does not affect the entries already appended; it only means
    /// that less space is ready.
    pub fn run(self) -> io::Result<()> {
        (self.0)()
    }
}

/// The first failed write or sync, shared by the journal and its jobs.
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

    /// Records the failure and returns it, or the earlier one if there is one.
    fn set(&self, why: String) -> JournalError {
        JournalError::Poisoned(self.0.why.get_or_init(|| why).clone())
    }
}
