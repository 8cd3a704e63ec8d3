//! The journal in files: `journal/<generation, 20 digits>.journal`. A file is created full of zeros and then
//! filled with frames, one after the other. `replay.rs` opens the journal.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::super::fs::File;
use super::frame::{self, Head, Kind, Stamp};
use super::pool::{Pool, Spare};
use super::witness::{SyncedMark, Witness};
use super::{Entry, Journal, JournalError, Poison, Prepare, SyncJob};
use crate::types::Timestamp;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A random number of this data directory that no client ever sees. It separates frames from record bytes
    /// that look like frames.
    pub salt: u64,
    /// Length of the first file of a new directory: small, so that a first start is quick.
    pub first_file_bytes: u64,
    /// Length of every later file. A larger entry gets a larger file.
    pub file_bytes: u64,
    /// The number of ready files to keep; more are removed.
    pub spare_files: usize,
}

impl Options {
    pub fn new(salt: u64) -> Options {
        Options { salt, first_file_bytes: 1 << 20, file_bytes: 32 << 20, spare_files: 2 }
    }
}

/// Created by [`super::Replay`].
pub struct FileJournal {
    salt: u64,
    incarnation: u32,
    /// Older files that may still have entries that are needed, the oldest first.
    behind: Vec<Behind>,
    current: Spare,
    /// The byte position of the next frame.
    at: u64,
    last: u64,
    synced: u64,
    /// The synced mark in the newest frame.
    written_mark: u64,
    pool: Arc<Pool>,
    witness: Option<Witness>,
    poison: Poison,
}

pub(super) struct Behind {
    pub generation: u64,
    /// The position of its last entry.
    pub last: u64,
    /// The file stays open until everything in it is known to be synced.
    pub unsynced: Option<Arc<dyn File>>,
}

/// The state that an opening found, all of it durable.
pub(super) struct Start {
    pub behind: Vec<Behind>,
    pub current: Spare,
    pub at: u64,
    pub last: u64,
    pub incarnation: u32,
}

impl FileJournal {
    /// Continues at the end that an opening found. The new incarnation makes frames after it void.
    pub(super) fn start(start: Start, salt: u64, pool: Arc<Pool>) -> Result<FileJournal, JournalError> {
        let Start { behind, current, at, last, incarnation } = start;
        let mut journal = FileJournal {
            salt,
            incarnation,
            behind,
            current,
            at,
            last,
            synced: last,
            written_mark: 0,
            pool,
            witness: None,
            poison: Poison::default(),
        };
        if !journal.fits(0) {
            match journal.roll(frame_bytes(0)) {
                // There is no space for the mark. The first entry will start the incarnation once there is
                // space.
                Err(JournalError::Full) => return Ok(journal.witnessed()),
                rolled => rolled?,
            }
        }
        journal.write_mark()?;
        let synced = journal.current.file.sync_data();
        synced.map_err(|error| journal.poison.set(format!("sync: {error}")))?;
        Ok(journal.witnessed())
    }

    /// Starts to keep the witness up to date.
    fn witnessed(mut self) -> FileJournal {
        self.witness = Some(self.pool.begin_witness(self.salt, self.known()));
        self
    }

    fn known(&self) -> SyncedMark {
        SyncedMark { position: self.synced, generation: self.current.generation, at: self.at }
    }

    fn write_mark(&mut self) -> Result<(), JournalError> {
        let head = Head {
            kind: Kind::Mark,
            position: self.last,
            synced: self.synced,
            time: Timestamp::default(),
            hash: 0,
            incarnation: self.incarnation,
        };
        self.write(&head, &[], &[], 0)
    }

    /// Whether an entry of n bytes fits into the file in use.
    fn fits(&self, bytes: u64) -> bool {
        self.at + frame_bytes(bytes) <= self.current.len
    }

    /// Makes every later call fail, as after a failed write. For callers with a failure of their own after
    /// which nothing may be acknowledged.
    pub fn break_down(&self, why: &str) {
        self.poison.set(why.to_owned());
    }

    fn write(
        &mut self,
        head: &Head,
        commands: &[u8],
        data: &[bytes::Bytes],
        data_crc: u32,
    ) -> Result<(), JournalError> {
        let stamp = Stamp { generation: self.current.generation, salt: self.salt };
        let header = frame::encode(stamp, head, commands, data, data_crc);
        let mut pieces = Vec::with_capacity(2 + data.len());
        pieces.push(IoSlice::new(&header));
        pieces.push(IoSlice::new(commands));
        pieces.extend(data.iter().map(|piece| IoSlice::new(piece)));
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.current
            .file
            .write_at(&pieces, self.at)
            .map_err(|error| self.poison.set(format!("write: {error}")))?;
        self.at += frame::padded(length) as u64;
        self.written_mark = head.synced;
        Ok(())
    }

    /// Continues in the next file.
    fn roll(&mut self, needed: u64) -> Result<(), JournalError> {
        let next = self.pool.take(needed).map_err(|error| {
            if is_full(&error) { JournalError::Full } else { self.poison.set(format!("next file: {error}")) }
        })?;
        let left = std::mem::replace(&mut self.current, next);
        self.at = 0;
        let unsynced = if self.last > self.synced { Some(left.file) } else { None };
        self.behind.push(Behind { generation: left.generation, last: self.last, unsynced });
        Ok(())
    }
}

impl Journal for FileJournal {
    fn append(&mut self, entry: &Entry<'_>) -> Result<(), JournalError> {
        self.poison.check()?;
        assert_eq!(entry.position, self.last + 1, "positions are consecutive");
        let bytes =
            entry.data.iter().map(|piece| piece.len() as u64).sum::<u64>() + entry.commands.len() as u64;
        if bytes > frame::LARGEST_ENTRY {
            return Err(JournalError::TooLarge { bytes });
        }
        if !self.fits(bytes) {
            self.roll(frame_bytes(bytes))?;
        }
        let head = Head {
            kind: Kind::Entry,
            position: entry.position,
            synced: self.synced,
            time: entry.time,
            hash: entry.hash,
            incarnation: self.incarnation,
        };
        self.write(&head, entry.commands, entry.data, entry.data_crc)?;
        self.last = entry.position;
        Ok(())
    }

    #[cfg(test)]
    fn last(&self) -> u64 {
        self.last
    }

    fn sync_job(&self) -> SyncJob {
        let mut files = Vec::new();
        if self.last > self.synced {
            files.extend(self.behind.iter().filter_map(|behind| behind.unsynced.clone()));
            files.push(Arc::clone(&self.current.file));
        }
        SyncJob { files, through: self.last, poison: self.poison.clone() }
    }

    fn synced(&mut self, position: u64) {
        let position = position.min(self.last);
        if position <= self.synced {
            return;
        }
        self.synced = position;
        let known = self.known();
        if let Some(witness) = &mut self.witness {
            witness.record(known);
        }
        for behind in &mut self.behind {
            if behind.last <= self.synced {
                behind.unsynced = None;
            }
        }
    }

    fn mark(&mut self) -> Result<(), JournalError> {
        self.poison.check()?;
        if self.written_mark >= self.synced || !self.fits(0) {
            return Ok(());
        }
        self.write_mark()
    }

    fn room_for(&self, bytes: u64) -> bool {
        self.fits(bytes) || self.pool.has_room(frame_bytes(bytes))
    }

    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if self.room_for(bytes) { Ok(()) } else { self.pool.make_room(frame_bytes(bytes)) }
    }

    fn trim(&mut self, below: u64) {
        let below = below.min(self.synced + 1);
        let free = self.behind.iter().take_while(|behind| behind.last < below).count();
        self.pool.retire(self.behind.drain(..free).map(|behind| behind.generation));
    }

    fn prepare(&mut self) -> Option<Prepare> {
        if !self.pool.wants_work() || self.poison.check().is_err() {
            return None;
        }
        let pool = Arc::clone(&self.pool);
        Some(Prepare(Box::new(move || pool.work())))
    }
}

/// The space that an entry of n bytes takes in a file.
fn frame_bytes(bytes: u64) -> u64 {
    let length = usize::try_from(bytes).map_or(usize::MAX >> 1, |bytes| bytes.saturating_add(frame::HEADER));
    frame::padded(length) as u64
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
