//! Segment files: `topics/<name>-<partition>/<base offset, 20 digits>.log`. They are append-only and contain
//! record batches byte for byte in Kafka's format. The journal decides which batches belong to a segment;
//! this module writes, finds and reads them. Every batch that is read was checked against its checksum since
//! the file was opened.
//!
//! Compaction does not change a file but writes another one, `<base offset>.<generation>.log`. Offsets can be
//! missing in it; a read of a missing offset starts at the next batch.
//!
//! An unused segment has no open file and, until it is read, no index in memory.

mod aborted;
mod dir;
mod files;
mod index;
mod lent;
mod read;
mod verified;
mod walk;

use std::any::Any;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use bytes::Bytes;

pub use aborted::each_entry as each_aborted_entry;
pub use dir::PartitionDir;
pub use files::Files;
pub use index::{Appendage, DEFAULT_INTERVAL};
pub use walk::{End, Expected, FoundBatch, SegmentCheck, check, walk_file};

use super::fs::{self, File, Open};
use super::layout::Names;
use crate::disk_threads;
use crate::kernel::{self, ExtentId};
use crate::record::{self, Header};
use crate::storage::extent::{AbortedPart, Batches, ExtentRange, ExtentRead, ExtentReader, ReadError};
use crate::storage::partition::Partition;
use crate::types::{AbortedTransaction, IgnorePoison, Offset, Piece, Timestamp, TopicId};
use aborted::StoredAbortedList;
use index::{Index, Scan};
use lent::LentFile;
use read::Places;
use verified::{Verified, follows};

/// Shared by the committer, which appends, and by readers.
pub struct Segment {
    dir: Arc<PartitionDir>,
    base: Offset,
    /// The number of times compaction has rewritten it. In a rewritten segment offsets may be missing.
    generation: u32,
    size: AtomicU64,
    max_timestamp: AtomicI64,
    /// The file and the directories on its path exist.
    made: AtomicBool,
    names_are_safe: AtomicBool,
    /// The error of a failed sync, if there was one.
    sync_failed: Mutex<Option<String>>,
    /// The segment is no longer needed; its file is removed or will be.
    abandoned: AtomicBool,
    /// The open file, and whether it can be written to.
    open: Mutex<Option<(Weak<dyn File>, bool)>>,
    index: Mutex<Index>,
    /// Held while the index is rebuilt, so that only one reader does it.
    making_index: Mutex<()>,
    verified: Mutex<Verified>,
    places: Mutex<Places>,
    lent: Mutex<Weak<LentFile>>,
    /// The number of bytes that the saved index beside the segment covers.
    saved: Mutex<u64>,
    aborted: Mutex<StoredAbortedList>,
    /// Held while that list is made again.
    making_aborted: Mutex<()>,
}

/// The saved index is updated once it lacks this many bytes of the segment. After a restart their headers
/// have to be read.
const SAVE_EVERY: u64 = 256 << 10;

/// Saved indexes are small; a longer file is ignored.
const LONGEST_COPY: u64 = 1 << 20;

/// The reason why a segment could not be made durable.
#[derive(Debug)]
pub enum SyncError {
    /// A file or directory could not be opened. Nothing is lost, and the sync can be tried again.
    Open(io::Error),
    /// The sync itself failed: the system may have dropped the bytes that it could not write.
    Sync(io::Error),
}

impl std::fmt::Display for SyncError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SyncError::Open(error) => write!(f, "cannot open a segment to sync it: {error}"),
            SyncError::Sync(error) => write!(f, "the sync of a segment failed: {error}"),
        }
    }
}

impl Segment {
    /// A new segment. It has no file until its first append.
    pub fn new(dir: &Arc<PartitionDir>, base: Offset, index_interval: u32) -> Segment {
        Segment {
            dir: Arc::clone(dir),
            base,
            generation: 0,
            size: AtomicU64::new(0),
            max_timestamp: AtomicI64::new(i64::MIN),
            made: AtomicBool::new(false),
            names_are_safe: AtomicBool::new(false),
            sync_failed: Mutex::default(),
            abandoned: AtomicBool::new(false),
            open: Mutex::default(),
            index: Mutex::new(Index::of_nothing(base, index_interval)),
            making_index: Mutex::default(),
            verified: Mutex::default(),
            places: Mutex::default(),
            lent: Mutex::default(),
            saved: Mutex::default(),
            aborted: Mutex::new(StoredAbortedList::of_nothing()),
            making_aborted: Mutex::default(),
        }
    }

    /// A segment that the journal describes, and whose first records could not be written yet.
    pub fn without_file(dir: &Arc<PartitionDir>, state: &kernel::Extent) -> Segment {
        let mut segment = Segment::new(dir, state.base, index::DEFAULT_INTERVAL);
        segment.generation = state.id().generation;
        segment.aborted = Mutex::new(StoredAbortedList::stored(state.aborted));
        segment
    }

    /// A segment with an existing file, as the journal describes it. Opens nothing.
    pub fn existing(dir: &Arc<PartitionDir>, state: &kernel::Extent) -> Segment {
        dir.note_made();
        let mut segment = Segment::new(dir, state.base, index::DEFAULT_INTERVAL);
        segment.generation = state.id().generation;
        segment.size.store(state.bytes, Ordering::Release);
        segment.max_timestamp.store(state.max_timestamp.0, Ordering::Release);
        segment.made.store(true, Ordering::Release);
        segment.names_are_safe.store(true, Ordering::Release);
        *segment.index() = Index::unknown(state.base, index::DEFAULT_INTERVAL);
        segment.aborted = Mutex::new(StoredAbortedList::stored(state.aborted));
        segment
    }

    pub fn key(&self) -> (TopicId, i32, Offset) {
        (self.dir.topic(), self.dir.partition(), self.base)
    }

    /// The path of its file, for messages.
    pub fn path(&self) -> PathBuf {
        self.dir.log_path(self.id())
    }

    /// The number of bytes appended, durable or not.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Writes `pieces` at `at`, the current end of the segment. `batches` describes them.
    pub fn append(&self, pieces: &[Bytes], at: u64, batches: &[Appendage]) -> io::Result<()> {
        let file = self.file_to_write()?;
        let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        file.write_at(&slices, at)?;
        let mut index = self.index();
        let mut end = at;
        for batch in batches {
            index.appended(batch, end);
            end += u64::from(batch.bytes);
            self.max_timestamp.fetch_max(batch.max_timestamp.0, Ordering::AcqRel);
        }
        // They were checked against their checksums when they arrived (`record::check_produced`).
        self.verified().add(at..end);
        // Under the lock of the index, so that a reader that rebuilds it misses nothing.
        self.size.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// Makes everything appended so far durable, including the file's name. After a failure every later call
    /// fails too: the system may have dropped bytes that it could not write, and a second sync would succeed
    /// without them. Succeeds if the segment is no longer needed.
    pub fn sync(&self) -> Result<(), SyncError> {
        match self.try_to_sync() {
            Err(_) if self.is_gone() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.sync_aborted();
                Ok(())
            }
        }
    }

    fn try_to_sync(&self) -> Result<(), SyncError> {
        let file = self.opened(Open::Write).map_err(SyncError::Open)?;
        let names = if self.names_are_safe.load(Ordering::Acquire) {
            None
        } else {
            Some(self.dir.names().map_err(SyncError::Open)?)
        };
        // One sync at a time: the system reports a write error to one sync only. The lock makes sure that
        // every later sync sees it.
        let mut failed = self.sync_failed.lock().ignoring_poison();
        if let Some(why) = &*failed {
            return Err(SyncError::Sync(io::Error::other(format!("an earlier sync failed: {why}"))));
        }
        let synced = file.sync_data().and_then(|()| names.as_ref().map_or(Ok(()), Names::sync));
        match synced {
            Ok(()) => self.names_are_safe.store(true, Ordering::Release),
            Err(error) => {
                *failed = Some(error.to_string());
                return Err(SyncError::Sync(error));
            }
        }
        Ok(())
    }

    /// Takes over the outcome of a sync of the whole volume. It must have begun after everything that it has
    /// to cover was written.
    pub fn synced_with_volume(&self, outcome: &io::Result<()>) -> io::Result<()> {
        let mut failed = self.sync_failed.lock().ignoring_poison();
        if let Err(error) = outcome {
            failed.get_or_insert_with(|| error.to_string());
        }
        if let Some(why) = &*failed
            && !self.is_gone()
        {
            return Err(io::Error::other(format!("the sync of the volume or an earlier one failed: {why}")));
        }
        self.names_are_safe.store(true, Ordering::Release);
        Ok(())
    }

    /// Marks the segment as no longer needed: nothing is written to it or synced any more. Readers can
    /// continue.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    fn is_gone(&self) -> bool {
        self.abandoned.load(Ordering::Acquire) || self.dir.is_discarded()
    }

    /// Updates the saved index beside the segment, if it lacks at least `SAVE_EVERY` bytes. Without it the
    /// next start only has to read more.
    pub fn save_index(&self) -> io::Result<()> {
        let mut saved = self.saved();
        let index = {
            let index = self.index();
            let worth_it = index.covered().is_some_and(|covered| covered >= *saved + SAVE_EVERY);
            // A removed file must not be created again.
            if !worth_it || self.is_gone() {
                return Ok(());
            }
            index.clone()
        };
        let log = self.opened(Open::Read)?;
        let copy = self.dir.open_index(self.id(), Open::WriteOrNew)?;
        index.save(self.dir.topic(), &*log, &*copy)?;
        *saved = index.covered().unwrap_or(0);
        Ok(())
    }

    /// Removes the file and those beside it. Readers that have it open can continue.
    pub fn remove(&self) -> io::Result<()> {
        self.abandon();
        let _no_copy_is_written = self.saved();
        self.dir.remove(self.id())
    }

    /// The position of the batch that contains `offset`, or of the next one.
    fn position_of(&self, file: &dyn File, offset: Offset, may_wait: bool) -> Result<u64, ReadError> {
        self.find(file, offset, may_wait).map(|(at, _)| at)
    }

    /// The batch that contains `offset`, or the next one if compaction removed it: its position and its
    /// header.
    fn find(&self, file: &dyn File, offset: Offset, may_wait: bool) -> Result<(u64, Header), ReadError> {
        let (mut at, known) = self.indexed(file, may_wait, |index| index.at_or_before(offset))?;
        let mut expected = known.or((at == 0).then_some(self.base));
        let mut scan = Scan::new(file, may_wait);
        loop {
            if at >= self.size() && !self.is_gapless() {
                return Err(ReadError::Behind);
            }
            let header = scan.header(at)?.ok_or_else(|| self.damaged(at, "the offset is not there"))?;
            let last = header.last_offset().filter(|last| *last >= header.base_offset);
            let last = last.ok_or_else(|| self.damaged(at, "its last offset cannot be"))?;
            let is_passed = self.is_gapless() && header.base_offset > offset.max(self.base);
            let is_in_place =
                expected.is_none_or(|expected| follows(header.base_offset, expected, self.is_gapless()));
            if is_passed || !is_in_place {
                return Err(self.damaged(at, verified::OUT_OF_PLACE));
            }
            if last >= offset {
                return Ok((at, header));
            }
            let behind = at + header.size() as u64;
            // In a compacted segment gaps are normal, so a corrupt header could look like one. Only the
            // checksum can tell.
            if !self.is_gapless() {
                verified::check(file, at..behind, u64::MAX, false, Offset(0), may_wait)
                    .map_err(|error| self.judge(error))?;
            }
            expected = header.next_offset();
            at = behind;
        }
    }

    /// The header at `at`, which then moves to the next batch. `None` at `end`.
    fn next_header(
        &self,
        scan: &mut Scan<'_>,
        at: &mut u64,
        end: Offset,
    ) -> Result<Option<(u64, Header)>, ReadError> {
        if *at >= self.size() {
            return Ok(None);
        }
        let header = scan.header(*at)?.ok_or_else(|| self.damaged(*at, "it is cut short"))?;
        if header.base_offset >= end {
            return Ok(None);
        }
        let place = *at;
        *at += header.size() as u64;
        Ok(Some((place, header)))
    }

    /// Reads and checks one batch.
    fn batch(&self, file: &dyn File, at: u64, header: &Header, end: Offset) -> Result<Bytes, ReadError> {
        let batch = file.read_new(header.size(), at).map_err(|error| ReadError::Io(error.to_string()))?;
        let batch = Bytes::from(batch);
        if self.check(&batch, at, end)? == header.size() {
            Ok(batch)
        } else {
            Err(self.damaged(at, "it is cut short"))
        }
    }

    /// Looks into the index, which is built first if necessary.
    fn indexed<T>(
        &self,
        file: &dyn File,
        may_wait: bool,
        look: impl Fn(&Index) -> T,
    ) -> Result<T, ReadError> {
        {
            let index = self.index();
            if index.covered().is_some() {
                return Ok(look(&index));
            }
        }
        if !may_wait {
            return Err(ReadError::MustWait);
        }
        self.make_index(file)?;
        Ok(look(&self.index()))
    }

    /// Builds the index from its saved copy and from the headers of the batches that the copy lacks. Appends
    /// continue meanwhile.
    fn make_index(&self, file: &dyn File) -> Result<(), ReadError> {
        let _one_at_a_time = self.making_index.lock().ignoring_poison();
        if self.index().covered().is_some() {
            return Ok(());
        }
        let mut made = self.index_from_copy(file).unwrap_or_else(|| self.index().clone());
        let mut scan = Scan::new(file, true);
        loop {
            made.extend(&mut scan, self.size(), self.is_gapless())?;
            let mut index = self.index();
            if made.covered() >= Some(self.size()) {
                *index = made;
                break;
            }
        }
        // It is only a copy; the next start works without it.
        if let Err(error) = self.save_index() {
            tracing::debug!(%error, "cannot save the index of a segment");
        }
        Ok(())
    }

    fn index_from_copy(&self, file: &dyn File) -> Option<Index> {
        let copy = self.dir.open_index(self.id(), Open::Read).ok()?;
        let bytes = fs::read_whole(&*copy, LONGEST_COPY).ok()?;
        let index = Index::load(&bytes, self.dir.topic(), self.base, file, self.size())?;
        *self.saved() = index.covered().unwrap_or(0);
        Some(index)
    }

    /// The number of bytes at the start of `bytes` that are whole batches below `end` with a valid checksum.
    fn check(&self, bytes: &Bytes, start: u64, end: Offset) -> Result<usize, ReadError> {
        let mut whole = 0;
        while let Some(rest) = bytes.get(whole..).filter(|rest| rest.len() >= Header::LENGTH) {
            let at = start + whole as u64;
            let header = self.header(rest, at)?;
            let Some(batch) = rest.get(..header.size()).filter(|_| header.base_offset < end) else { break };
            if record::crc_of(batch) != header.crc {
                return Err(self.damaged(at, "its checksum is wrong"));
            }
            whole += header.size();
        }
        Ok(whole)
    }

    fn header(&self, bytes: &[u8], at: u64) -> Result<Header, ReadError> {
        Header::parse(bytes).map_err(|error| self.damaged(at, &error.to_string()))
    }

    fn damaged(&self, at: u64, why: &str) -> ReadError {
        ReadError::Damaged(format!("{}, byte {at}: {why}", self.path().display()))
    }

    /// The open file; [`Files`] keeps it open while it is in use. Opened for reading only, so that it can be
    /// read on a disk that allows no writes.
    fn file(&self) -> Result<Arc<dyn File>, ReadError> {
        self.opened(Open::Read).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if self.is_gone() => ReadError::Gone,
            _ => ReadError::Io(format!("{}: {error}", self.path().display())),
        })
    }

    fn file_to_write(&self) -> io::Result<Arc<dyn File>> {
        if self.made.load(Ordering::Acquire) {
            return self.opened(Open::Write);
        }
        self.dir.make()?;
        let file = self.opened(Open::WriteOrNew)?;
        self.made.store(true, Ordering::Release);
        Ok(file)
    }

    fn opened(&self, how: Open) -> io::Result<Arc<dyn File>> {
        let mut open = self.open.lock().ignoring_poison();
        let is_writable = how != Open::Read;
        let known = open.as_ref().filter(|(_, can_be_written)| *can_be_written || !is_writable);
        if let Some(file) = known.and_then(|(file, _)| file.upgrade()) {
            return Ok(file);
        }
        let file = self.dir.open(self.id(), how)?;
        // The newly opened file has not been checked yet.
        self.verified().clear();
        *open = Some((Arc::downgrade(&file), is_writable));
        Ok(file)
    }

    /// The open file, for sending an answer from it; `None` if the bytes have to be read instead.
    fn lend(&self, file: &Arc<dyn File>) -> Option<Arc<LentFile>> {
        let mut lent = self.lent.lock().ignoring_poison();
        if let Some(known) = lent.upgrade().filter(|known| known.is_of(file)) {
            return Some(known);
        }
        let fresh = self.dir.lend(file)?;
        *lent = Arc::downgrade(&fresh);
        Some(fresh)
    }

    fn saved(&self) -> MutexGuard<'_, u64> {
        self.saved.lock().ignoring_poison()
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().ignoring_poison()
    }
}

impl ExtentReader for Segment {
    fn id(&self) -> ExtentId {
        ExtentId { base: self.base, generation: self.generation }
    }

    fn bytes(&self) -> u64 {
        self.size()
    }

    fn max_timestamp(&self) -> Timestamp {
        Timestamp(self.max_timestamp.load(Ordering::Acquire))
    }

    fn read_now(&self, range: &ExtentRange) -> Result<Batches, ReadError> {
        self.read_within(range, false)
    }

    fn read(self: Arc<Self>, range: ExtentRange) -> ExtentRead {
        Box::pin(async move {
            let read = disk_threads::read(move || self.read_within(&range, true));
            read.await.unwrap_or(Err(ReadError::Stopped))
        })
    }

    fn read_bytes(&self, from: Offset, end: Offset, max_bytes: usize) -> Result<Bytes, ReadError> {
        let range = ExtentRange { from, end, max_bytes, at_least_one: true, listed: false };
        let Batches { pieces, .. } = self.read_within(&range, true)?;
        let bytes = pieces.first().map_or(Ok(Bytes::new()), Piece::to_bytes);
        bytes.map_err(|error| ReadError::Io(error.to_string()))
    }

    fn find_by_time(
        &self,
        time: Timestamp,
        start: Offset,
        end: Offset,
    ) -> Result<Option<record::TimedOffset>, ReadError> {
        // The file may not exist yet.
        if self.size() == 0 {
            return Ok(None);
        }
        let file = self.file()?;
        let mut at = self.indexed(&*file, true, |index| index.before_time(time))?;
        let mut scan = Scan::new(&*file, true);
        while let Some((place, header)) = self.next_header(&mut scan, &mut at, end)? {
            let may_hold =
                header.max_timestamp >= time && header.last_offset().is_some_and(|last| last >= start);
            if !may_hold {
                continue;
            }
            let batch = self.batch(&*file, place, &header, end)?;
            let found = record::first_since(&batch, time, start.max(header.base_offset));
            if let Some(found) = found.map_err(|error| self.damaged(place, &error.to_string()))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn find_max_timestamp(
        &self,
        start: Offset,
        end: Offset,
    ) -> Result<Option<record::TimedOffset>, ReadError> {
        if self.size() == 0 {
            return Ok(None);
        }
        let file = self.file()?;
        let mut at = match self.position_of(&*file, start.max(self.base), true) {
            Err(ReadError::Behind) => return Ok(None),
            found => found?,
        };
        let mut scan = Scan::new(&*file, true);
        let mut newest: Option<(u64, Header, Timestamp)> = None;
        while let Some((place, header)) = self.next_header(&mut scan, &mut at, end)? {
            let mut timestamp = header.max_timestamp;
            // The newest record of the batch that contains `start` may be before `start`.
            if header.base_offset < start {
                let batch = self.batch(&*file, place, &header, end)?;
                let visible =
                    record::newest(&batch, start).map_err(|error| self.damaged(place, &error.to_string()))?;
                timestamp = visible.map_or(Timestamp(-1), |found| found.timestamp);
            }
            if newest.is_none_or(|(_, _, best)| timestamp > best) {
                newest = Some((place, header, timestamp));
            }
        }
        let Some((place, header, _)) = newest.filter(|(_, _, best)| best.0 >= 0) else {
            return Ok(None);
        };
        let batch = self.batch(&*file, place, &header, end)?;
        record::newest(&batch, start).map_err(|error| self.damaged(place, &error.to_string()))
    }

    fn time_of(&self, offset: Offset) -> Result<Timestamp, ReadError> {
        let file = self.file()?;
        let (_, header) = self.find(&*file, offset, true)?;
        Ok(header.max_timestamp)
    }

    fn aborted(&self) -> Result<Arc<[AbortedTransaction]>, ReadError> {
        self.read_aborted().map(Arc::from)
    }

    fn aborted_within(&self, range: &Range<Offset>, may_wait: bool) -> Result<AbortedPart, ReadError> {
        match self.known_aborted(|all| AbortedPart::of(all, range)) {
            Some(part) => Ok(part),
            None if !may_wait => Err(ReadError::MustWait),
            None => self.read_aborted_within(range),
        }
    }

    fn remake_aborted(&self, before: Vec<Arc<dyn ExtentReader>>, log_start: Offset) -> Result<(), ReadError> {
        self.remake_aborted(&segments_of(before), log_start)
    }

    fn describe(&self) -> String {
        self.path().display().to_string()
    }
}

/// The segment that this extent is. All extents of a store come from its one engine.
pub fn segment_of(extent: Arc<dyn ExtentReader>) -> Arc<Segment> {
    let any: Arc<dyn Any + Send + Sync> = extent;
    any.downcast().expect("the engine on files has only segments")
}

pub fn segments_of(extents: Vec<Arc<dyn ExtentReader>>) -> Vec<Arc<Segment>> {
    extents.into_iter().map(segment_of).collect()
}

/// The directory of a partition. This engine has stored it there as its `Home`.
pub fn dir_of(partition: &Partition) -> Arc<PartitionDir> {
    Arc::clone(partition.home()).downcast().expect("the engine on files gives it a directory")
}

#[cfg(test)]
mod tests;
