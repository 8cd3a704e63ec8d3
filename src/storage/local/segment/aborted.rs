//! The aborted transactions that end in a segment, in the order of their markers. They are stored beside the segment in
//! `<base>.txnindex`, in Kafka's format: 34 bytes each (`AbortedTxn`).
//!
//! The journal has the number of entries and their checksum, so a damaged file is noticed. It is then written again
//! from the records of the log. Therefore a failed write or sync of the file is no failure of the segment. A new entry
//! is in memory before its marker is published. A sync of the segment writes it to the file.
//!
//! An unused segment has no open file and, until it is read, no list in memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, IoSlice};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;

use super::super::fs::{Failure, File, Open};
use super::verified::{OUT_OF_PLACE, follows};
use super::walk::{FoundBatch, Stop, walk};
use super::{PartitionDir, Segment};
use crate::kernel::{AbortedList, ExtentId};
use crate::record::Marker;
use crate::storage::extent::{AbortedPart, ExtentReader, ReadError};
use crate::types::{AbortedTransaction, IgnorePoison, Offset, ProducerId, TransactionEnd};

const SIZE: u64 = AbortedTransaction::SIZE as u64;

/// A longer list is not kept in memory after it was read.
const MOST_KEPT: usize = 4096;

/// The number of entries that are read from a file at once.
const PIECE: u64 = 1024;

/// The number of new entries that are written without waiting for a sync.
const MOST_UNWRITTEN: usize = 1024;

pub(super) struct StoredAbortedList {
    /// The whole list.
    whole: AbortedList,
    /// The newest entries, which the file lacks.
    unwritten: Vec<AbortedTransaction>,
    /// The file has entries that may not be durable.
    is_unsynced: bool,
    /// The file is new, so its name may not be durable either.
    is_new: bool,
    /// The list is being made from the records. New entries stay in memory until it is there.
    is_being_made: bool,
    known: ListInMemory,
}

enum ListInMemory {
    /// The list has to be read.
    Nothing,
    All(Vec<AbortedTransaction>),
    /// Made from the records, but the records of some transactions are no longer there. So it differs from the list of
    /// the journal and is not stored.
    MadeAgain(Vec<AbortedTransaction>),
}

impl StoredAbortedList {
    pub(super) fn of_nothing() -> StoredAbortedList {
        StoredAbortedList {
            whole: AbortedList::default(),
            unwritten: Vec::new(),
            is_unsynced: false,
            is_new: false,
            is_being_made: false,
            known: ListInMemory::All(Vec::new()),
        }
    }

    /// The stored list that the journal describes.
    pub(super) fn stored(whole: AbortedList) -> StoredAbortedList {
        let known = if whole.count == 0 { ListInMemory::All(Vec::new()) } else { ListInMemory::Nothing };
        StoredAbortedList { whole, known, ..StoredAbortedList::of_nothing() }
    }

    fn add(&mut self, aborted: &AbortedTransaction) {
        self.whole = self.whole.with(aborted);
        match &mut self.known {
            ListInMemory::Nothing => self.unwritten.push(*aborted),
            ListInMemory::All(all) => {
                all.push(*aborted);
                if all.len() > MOST_KEPT {
                    self.known = ListInMemory::Nothing;
                }
                self.unwritten.push(*aborted);
            }
            ListInMemory::MadeAgain(all) => all.push(*aborted),
        }
    }

    /// The number of entries that the file has to have.
    fn in_file(&self) -> u64 {
        u64::from(self.whole.count).saturating_sub(self.unwritten.len() as u64)
    }
}

impl Segment {
    /// Adds an aborted transaction that ends in this segment. Called before its marker is published.
    pub fn append_aborted(&self, aborted: &AbortedTransaction) {
        let is_much = {
            let mut list = self.aborted_list();
            list.add(aborted);
            !list.unwritten.is_empty() && list.unwritten.len().is_multiple_of(MOST_UNWRITTEN)
        };
        if is_much {
            self.save_aborted();
        }
    }

    /// Writes new entries to the file, without a sync.
    pub fn save_aborted(&self) {
        if let Err(error) = self.write_aborted() {
            tracing::debug!(%error, "cannot write the aborted transactions of a segment; it is tried again");
        }
    }

    /// Adds a transaction that ended after the snapshot from which this start began. The journal's list has it; the
    /// file may lack it.
    pub fn restore_aborted(&self, aborted: &AbortedTransaction) {
        let mut list = self.aborted_list();
        if list.in_file() == 0 {
            list.add(aborted);
        } else {
            list.unwritten.push(*aborted);
        }
    }

    /// Makes the stored list durable. Without it, the list is made again from the records.
    pub fn sync_aborted(&self) {
        if let Err(error) = self.try_to_sync_aborted() {
            tracing::debug!(%error, "cannot store the aborted transactions of a segment; it is tried again");
        }
    }

    fn try_to_sync_aborted(&self) -> io::Result<()> {
        let written = self.write_aborted()?;
        let is_new = {
            let mut list = self.aborted_list();
            if !std::mem::take(&mut list.is_unsynced) {
                return Ok(());
            }
            std::mem::take(&mut list.is_new)
        };
        let file = written.map_or_else(|| self.dir.open_aborted(self.id(), Open::Write), Ok);
        let synced = file
            .and_then(|file| file.sync_data())
            .and_then(|()| if is_new { self.dir.names()?.sync() } else { Ok(()) });
        if synced.is_err() {
            let mut list = self.aborted_list();
            (list.is_unsynced, list.is_new) = (true, list.is_new || is_new);
        }
        synced
    }

    /// Writes the entries that the file lacks. Returns the file if there were any.
    pub(super) fn write_aborted(&self) -> io::Result<Option<Arc<dyn File>>> {
        // One at a time, and a removed file must not be created again.
        let _saving = self.saved();
        let is_idle = |list: &StoredAbortedList| list.unwritten.is_empty() || list.is_being_made;
        if is_idle(&self.aborted_list()) || self.is_gone() {
            return Ok(None);
        }
        let file = self.dir.open_aborted(self.id(), Open::WriteOrNew)?;
        let (at, entries) = {
            let list = self.aborted_list();
            if is_idle(&list) {
                return Ok(None);
            }
            (list.in_file() * SIZE, list.unwritten.clone())
        };
        let bytes: Vec<u8> = entries.iter().flat_map(AbortedTransaction::to_bytes).collect();
        file.write_at(&[IoSlice::new(&bytes)], at)?;
        let end = at + bytes.len() as u64;
        if file.len()? > end {
            file.truncate(end)?;
        }
        let mut list = self.aborted_list();
        list.unwritten.drain(..entries.len());
        list.is_unsynced = true;
        list.is_new |= at == 0;
        Ok(Some(file))
    }

    /// Calls `look` with the list. `None` if it is not in memory.
    pub(super) fn known_aborted<T>(&self, look: impl FnOnce(&[AbortedTransaction]) -> T) -> Option<T> {
        match &self.aborted_list().known {
            ListInMemory::Nothing => None,
            ListInMemory::All(all) | ListInMemory::MadeAgain(all) => Some(look(all)),
        }
    }

    /// Reads the list. Fails with [`ReadError::Unlisted`] if the file is missing or damaged.
    pub(super) fn read_aborted(&self) -> Result<Vec<AbortedTransaction>, ReadError> {
        if let Some(all) = self.known_aborted(<[_]>::to_vec) {
            return Ok(all);
        }
        let mut all = Vec::new();
        let whole = self.each_aborted(|aborted| all.push(*aborted))?;
        let mut list = self.aborted_list();
        if all.len() <= MOST_KEPT && list.whole == whole && matches!(list.known, ListInMemory::Nothing) {
            list.known = ListInMemory::All(all.clone());
        }
        Ok(all)
    }

    /// Reads a part of the list. A list that is not kept in memory is not held in memory here either.
    pub(super) fn read_aborted_within(&self, range: &Range<Offset>) -> Result<AbortedPart, ReadError> {
        if self.aborted_list().whole.count as usize <= MOST_KEPT {
            return Ok(AbortedPart::of(&self.read_aborted()?, range));
        }
        if let Some(part) = self.known_aborted(|all| AbortedPart::of(all, range)) {
            return Ok(part);
        }
        let mut part = AbortedPart::default();
        self.each_aborted(|aborted| part.add(aborted, range))?;
        Ok(part)
    }

    /// Reads the stored list in pieces, and calls `visit` with each entry. Fails with [`ReadError::Unlisted`] if the
    /// file is missing or damaged; the entries that were visited may be wrong then.
    fn each_aborted(&self, mut visit: impl FnMut(&AbortedTransaction)) -> Result<AbortedList, ReadError> {
        let (whole, in_file, unwritten) = {
            let list = self.aborted_list();
            (list.whole, list.in_file(), list.unwritten.clone())
        };
        let mut read = AbortedList::default();
        let mut visit = |aborted: &AbortedTransaction| {
            read = read.with(aborted);
            visit(aborted);
        };
        if in_file > 0 {
            self.each_stored(in_file, &mut visit)?;
        }
        unwritten.iter().for_each(visit);
        if read == whole { Ok(whole) } else { Err(ReadError::Unlisted) }
    }

    fn each_stored(&self, count: u64, visit: impl FnMut(&AbortedTransaction)) -> Result<(), ReadError> {
        let file = self.dir.open_aborted(self.id(), Open::Read);
        file.and_then(|file| each_entry(&*file, count, visit)).map_err(|error| {
            if Failure::of(&error) == Failure::NoDescriptors {
                ReadError::Io(format!("{}: {error}", self.dir.aborted_path(self.id()).display()))
            } else if self.is_gone() {
                ReadError::Gone
            } else {
                // A file that cannot be read is as good as none.
                ReadError::Unlisted
            }
        })
    }

    /// Checks the stored list, even if the list is in memory; then a damaged file is written again. Fails with
    /// [`ReadError::Unlisted`] if it is damaged and not in memory.
    pub fn scrub_aborted(&self) -> Result<(), ReadError> {
        match self.each_aborted(|_| {}) {
            Err(ReadError::Unlisted) => {}
            read => return read.map(drop),
        }
        {
            let _saving = self.saved();
            let mut list = self.aborted_list();
            match &list.known {
                ListInMemory::Nothing => return Err(ReadError::Unlisted),
                // It is never stored.
                ListInMemory::MadeAgain(_) => return Ok(()),
                ListInMemory::All(all) => list.unwritten = all.clone(),
            }
        }
        tracing::warn!(
            file = %self.dir.aborted_path(self.id()).display(),
            "the list of aborted transactions was missing or damaged: it is written again from memory"
        );
        self.sync_aborted();
        Ok(())
    }

    /// Makes the list from the records of the log, and stores it. `before` are all earlier segments of the log.
    pub(super) fn remake_aborted(&self, before: &[Arc<Segment>], log_start: Offset) -> Result<(), ReadError> {
        let _one_at_a_time = self.making_aborted.lock().ignoring_poison();
        if self.read_aborted() != Err(ReadError::Unlisted) {
            return Ok(());
        }
        self.aborted_list().is_being_made = true;
        let followed = self.follow_log(before, log_start);
        {
            let _saving = self.saved();
            let mut list = self.aborted_list();
            list.is_being_made = false;
            let log = followed?;
            let last = log.ended.last().map(|found| found.last);
            let newer = list.unwritten.iter().filter(|new| last.is_none_or(|last| new.last > last));
            let all: Vec<_> = log.ended.iter().chain(newer).copied().collect();
            if AbortedList::of(&all) == list.whole {
                // All of it is written again.
                list.unwritten = all;
                list.known = ListInMemory::Nothing;
            } else {
                list.unwritten = Vec::new();
                list.known = ListInMemory::MadeAgain(all);
            }
        }
        tracing::warn!(
            file = %self.dir.aborted_path(self.id()).display(),
            "the list of aborted transactions was missing or damaged: it was made again from the records"
        );
        self.sync_aborted();
        Ok(())
    }

    /// The aborted transactions of this segment, from the records of the log.
    fn follow_log(&self, before: &[Arc<Segment>], log_start: Offset) -> Result<TransactionsSoFar, ReadError> {
        let mut log = TransactionsSoFar::default();
        for segment in before {
            segment.follow_transactions(&mut log, log_start)?;
        }
        log.ended.clear();
        self.follow_transactions(&mut log, log_start)?;
        Ok(log)
    }

    /// Follows the transactions through all batches of the segment.
    fn follow_transactions(&self, log: &mut TransactionsSoFar, log_start: Offset) -> Result<(), ReadError> {
        if self.size() == 0 {
            return Ok(());
        }
        let file = self.file()?;
        let mut expected = None;
        let walked = walk(&*file, 0..self.size(), true, |FoundBatch { at, header, is_sound }| {
            let next = header.next_offset().ok_or_else(|| Stop::flaw(at, OUT_OF_PLACE))?;
            let is_in_place = expected
                .replace(next)
                .is_none_or(|expected| follows(header.base_offset, expected, self.is_gapless()));
            if next <= log_start && !is_sound {
                return Ok(ControlFlow::Continue(()));
            }
            if !is_sound || !is_in_place {
                let why = if is_sound { OUT_OF_PLACE } else { "its checksum is wrong" };
                return Err(Stop::flaw(at, why));
            }
            if header.attributes.control() {
                let batch = Bytes::from(file.read_new(header.size(), at)?);
                log.end(Marker::of_batch(&batch), header.base_offset, next);
            } else if header.attributes.transactional() && header.producer_id.0 >= 0 {
                log.begin(header.producer_id, header.base_offset);
            }
            Ok(ControlFlow::Continue(()))
        });
        walked.map(drop).map_err(|stop| self.judge(stop))
    }

    fn aborted_list(&self) -> MutexGuard<'_, StoredAbortedList> {
        self.aborted.lock().ignoring_poison()
    }
}

/// Calls `visit` with the first entries of a file; with fewer if it is shorter or has others.
pub fn each_entry(file: &dyn File, count: u64, mut visit: impl FnMut(&AbortedTransaction)) -> io::Result<()> {
    let mut at = 0;
    while at < count {
        let wanted = (count - at).min(PIECE);
        let bytes = file.read_new(usize::try_from(wanted * SIZE).unwrap_or(usize::MAX), at * SIZE)?;
        let (entries, torn) = bytes.as_chunks::<{ AbortedTransaction::SIZE }>();
        for entry in entries {
            let Some(aborted) = AbortedTransaction::from_bytes(entry) else { return Ok(()) };
            visit(&aborted);
        }
        if !torn.is_empty() || (entries.len() as u64) < wanted {
            return Ok(());
        }
        at += wanted;
    }
    Ok(())
}

impl PartitionDir {
    /// Writes the list of a segment that compaction has written. Durable once the directory's names are synced.
    pub fn write_aborted(&self, id: ExtentId, list: &[AbortedTransaction]) -> io::Result<()> {
        let bytes: Vec<u8> = list.iter().flat_map(AbortedTransaction::to_bytes).collect();
        let file = self.open_aborted(id, Open::WriteOrNew)?;
        file.truncate(0)?;
        file.write_at(&[IoSlice::new(&bytes)], 0)?;
        file.sync_data()
    }
}

/// The open transactions at a place in the log, and the aborted ones before it.
#[derive(Default)]
struct TransactionsSoFar {
    first: BTreeMap<ProducerId, Offset>,
    by_first: BTreeMap<Offset, ProducerId>,
    ended: Vec<AbortedTransaction>,
}

impl TransactionsSoFar {
    fn begin(&mut self, producer: ProducerId, first: Offset) {
        if let Entry::Vacant(new) = self.first.entry(producer) {
            new.insert(first);
            self.by_first.insert(first, producer);
        }
    }

    fn end(&mut self, marker: Option<Marker>, at: Offset, next: Offset) {
        let Some(Marker { producer, end, .. }) = marker else { return };
        let Some(first) = self.first.remove(&producer) else { return };
        self.by_first.remove(&first);
        match end {
            TransactionEnd::Commit => {}
            TransactionEnd::Abort => {
                let last_stable = self.by_first.keys().next().copied().unwrap_or(next);
                self.ended.push(AbortedTransaction { producer, first, last: at, last_stable });
            }
        }
    }
}
