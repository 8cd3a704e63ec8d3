//! The journal without a disk: for brokers without a data directory, and for tests.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;

use super::frame::LARGEST_ENTRY;
use super::{Entry, Journal, JournalError, Poison, Prepare, Replayed, SyncJob};

/// Keeps only the position, or (for tests) every entry.
#[derive(Default)]
pub struct MemoryJournal {
    last: u64,
    kept: Option<Arc<Mutex<Vec<Replayed>>>>,
    poison: Poison,
}

impl MemoryJournal {
    /// A journal whose next entry has the position `last` + 1. It does not keep entries.
    pub fn after(last: u64) -> MemoryJournal {
        MemoryJournal { last, ..MemoryJournal::default() }
    }

    /// A journal that keeps its entries; [`MemoryJournal::entries`] returns them.
    pub fn keeping() -> MemoryJournal {
        MemoryJournal { kept: Some(Arc::default()), ..MemoryJournal::default() }
    }

    /// The entries that were appended and not trimmed; empty if entries are not kept.
    pub fn entries(&self) -> Vec<Replayed> {
        self.kept.iter().flat_map(|kept| kept.lock().expect("no panic while held").clone()).collect()
    }

    /// Makes every later call fail, as after a failed write.
    pub fn break_down(&self, why: &str) {
        self.poison.set(why.to_owned());
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, entry: &Entry<'_>) -> Result<(), JournalError> {
        self.poison.check()?;
        assert_eq!(entry.position, self.last + 1, "positions are consecutive");
        let bytes = entry.bytes();
        if bytes > LARGEST_ENTRY {
            return Err(JournalError::TooLarge { bytes });
        }
        self.last = entry.position;
        if let Some(kept) = &self.kept {
            let mut data = BytesMut::new();
            entry.data.iter().for_each(|piece| data.extend_from_slice(piece));
            kept.lock().expect("no panic while held").push(Replayed {
                position: entry.position,
                time: entry.time,
                hash: entry.hash,
                commands: entry.commands.to_vec().into(),
                data: data.freeze(),
                above_mark: false,
                file: 0,
                at: 0,
            });
        }
        Ok(())
    }

    #[cfg(test)]
    fn last(&self) -> u64 {
        self.last
    }

    fn sync_job(&self) -> SyncJob {
        SyncJob { files: Vec::new(), through: self.last, poison: self.poison.clone() }
    }

    fn synced(&mut self, _position: u64) {}

    fn mark(&mut self) -> Result<(), JournalError> {
        self.poison.check()
    }

    fn make_room(&mut self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn room_for(&self, _bytes: u64) -> bool {
        true
    }

    fn trim(&mut self, below: u64) {
        if let Some(kept) = &self.kept {
            kept.lock().expect("no panic while held").retain(|entry| entry.position >= below);
        }
    }

    fn prepare(&mut self) -> Option<Prepare> {
        None
    }
}
