//! A partition's log as readers see it: records, start and end offsets, waiters.
//!
//! The engine is the only writer. It *publishes* records once they are durable. Until then they are not
//! visible here, so no client ever sees records that a power cut could remove. Changes are submitted to the
//! [`Line`](super::line::Line).
//!
//! ```text
//! log start ≤ last stable ≤ high watermark = published end ≤ the kernel's end
//! ```

mod aborted;
mod search;

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use bytes::Bytes;

use super::counts::Traffic;
use super::extent::{Batches, ExtentRange, ExtentReader, ListedBatch, ReadError};
use super::failure::Failure;
use super::waiter::{Waiter, Waiters};
use super::{LogError, Unavailable};
use crate::config::TopicSettings;
use crate::disk_threads;
use crate::kernel::{ExtentId, LeaderEpochs, Placed};
use crate::record::{self, Header};
use crate::types::{IgnorePoison, LeaderEpoch, Offset, Piece, Timestamp, TopicId, TopicPartition};

pub struct Partition {
    pub topic: TopicId,
    pub topic_name: Arc<str>,
    pub index: i32,
    home: Home,
    settings: RwLock<Arc<TopicSettings>>,
    pub traffic: Traffic,
    log_start: AtomicI64,
    high_watermark: AtomicI64,
    /// It is below the log start offset if DeleteRecords has passed it; `ends` corrects that.
    last_stable: AtomicI64,
    /// Whether an extent has or had aborted transactions.
    has_aborted: AtomicBool,
    leader_epoch: AtomicI32,
    serving: AtomicU8,
    /// The reason why the partition is out of service.
    damage: OnceLock<String>,
    log: RwLock<Log>,
    /// Whether `log.unwritable` is set. Checks of all partitions read it without a lock.
    is_unwritable: AtomicBool,
    waiters: Waiters,
}

/// A partition's log as the engine opens it.
pub(super) struct OpenedLog {
    pub(super) home: Home,
    pub(super) extents: VecDeque<Arc<dyn ExtentReader>>,
}

/// The engine's own data of a partition, such as its directory.
pub(super) type Home = Arc<dyn Any + Send + Sync>;

/// The data for readers: extents, leader epochs and the newest batches.
#[derive(Default)]
pub(super) struct Log {
    pub(super) epochs: LeaderEpochs,
    pub(super) extents: VecDeque<Arc<dyn ExtentReader>>,
    /// The newest batches, without a gap up to the published end.
    recent: VecDeque<Recent>,
    /// `Some` while the segments lack records at the end of the log.
    unwritable: Option<Unwritable>,
}

/// The partition cannot be written: from this offset on its records are only in the journal and in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unwritable {
    pub(super) from: Offset,
    pub(super) failure: Failure,
}

/// An extent, and the offset at which the next one begins.
#[derive(Clone)]
struct Part {
    extent: Arc<dyn ExtentReader>,
    end: Offset,
}

/// A batch as it was appended: exactly the bytes that were written to the disk.
#[derive(Clone)]
pub(super) struct Recent {
    pub(super) base: Offset,
    pub(super) end: Offset,
    pub(super) pieces: Pieces,
}

/// A batch with its final offset and epoch, in one buffer, or as a new prefix and the rest of the client's
/// bytes.
#[derive(Clone)]
pub(super) enum Pieces {
    One(Bytes),
    Two(Bytes, Bytes),
}

impl Traffic {
    pub(super) fn took(&self, placed: &Placed, pieces: &Pieces) {
        self.bytes_in.add(pieces.len() as u64);
        self.records_in.add(placed.end.0.saturating_sub(placed.base_offset.0).unsigned_abs());
    }
}

impl Pieces {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        let (one, two) = match self {
            Pieces::One(whole) => (whole, None),
            Pieces::Two(prefix, rest) => (prefix, Some(rest)),
        };
        std::iter::once(one).chain(two)
    }

    pub(super) fn len(&self) -> usize {
        self.iter().map(Bytes::len).sum()
    }

    /// `None` if it cannot be read; it was checked when the batch arrived.
    fn header(&self) -> Option<Header> {
        let start: Vec<u8> = self.iter().flatten().take(Header::LENGTH).copied().collect();
        Header::parse(&start).ok()
    }

    fn whole(&self) -> Bytes {
        match self {
            Pieces::One(whole) => whole.clone(),
            Pieces::Two(prefix, rest) => [&**prefix, rest].concat().into(),
        }
    }
}

/// The offsets at which a log starts and ends for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub log_start: Offset,
    pub last_stable: Offset,
    pub high_watermark: Offset,
    pub leader_epoch: LeaderEpoch,
}

impl Ends {
    /// The error of a request for an offset that is not between them.
    pub(super) fn out_of_range(self, asked: Offset) -> LogError {
        LogError::OutOfRange { asked, start: self.log_start, end: self.high_watermark }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ReadRange {
    pub from: Offset,
    pub max_bytes: usize,
    /// The first batch is returned even when it is larger than `max_bytes` (KIP-74).
    pub at_least_one_batch: bool,
    pub isolation: Isolation,
    /// Whether [`ReadAnswer::list`] is filled.
    pub listed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

impl Isolation {
    /// The offset at which this isolation level must stop reading.
    pub fn end_of(self, ends: Ends) -> Offset {
        match self {
            Isolation::ReadUncommitted => ends.high_watermark,
            Isolation::ReadCommitted => ends.last_stable,
        }
    }
}

#[derive(Clone, Debug)]
pub struct ReadAnswer {
    /// Whole batches; the first may begin before the requested offset.
    pub records: Vec<Piece>,
    /// The batches in `records`; empty unless they were asked for.
    pub list: Vec<ListedBatch>,
    /// The offset after them, at which to continue reading.
    pub next: Offset,
    pub ends: Ends,
}

impl ReadAnswer {
    /// No records below `next`.
    fn nothing(next: Offset, ends: Ends) -> ReadAnswer {
        ReadAnswer { records: Vec::new(), list: Vec::new(), next, ends }
    }

    /// The records in memory. May wait for the disk.
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        let pieces = self.records.iter().map(Piece::to_bytes).collect::<io::Result<Vec<Bytes>>>()?;
        Ok(Bytes::from(pieces.concat()))
    }
}

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub leader_epoch: LeaderEpoch,
}

const SERVING: u8 = 0;
const DELETED: u8 = 1;
const QUARANTINED: u8 = 2;

impl Partition {
    pub(super) fn new(
        topic: (TopicId, &Arc<str>, &Arc<TopicSettings>),
        state: &crate::kernel::Partition,
        index: i32,
        OpenedLog { home, extents }: OpenedLog,
    ) -> Partition {
        let (id, name, settings) = topic;
        Partition {
            topic: id,
            topic_name: Arc::clone(name),
            index,
            home,
            settings: RwLock::new(Arc::clone(settings)),
            traffic: Traffic::default(),
            log_start: AtomicI64::new(state.log_start().0),
            high_watermark: AtomicI64::new(state.end().0),
            last_stable: AtomicI64::new(state.last_stable().0),
            has_aborted: AtomicBool::new(state.extents().iter().any(|extent| extent.aborted.count > 0)),
            leader_epoch: AtomicI32::new(state.epoch().0),
            serving: AtomicU8::new(SERVING),
            damage: OnceLock::new(),
            log: RwLock::new(Log { epochs: state.epochs().clone(), extents, ..Log::default() }),
            is_unwritable: AtomicBool::new(false),
            waiters: Waiters::default(),
        }
    }

    pub fn key(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.index)
    }

    /// Takes no lock. The offsets are read in ascending order, so that none is above the next one.
    pub fn ends(&self) -> Ends {
        let log_start = Offset(self.log_start.load(Ordering::Acquire));
        let last_stable = Offset(self.last_stable.load(Ordering::Acquire)).max(log_start);
        let leader_epoch = LeaderEpoch(self.leader_epoch.load(Ordering::Acquire));
        let high_watermark = Offset(self.high_watermark.load(Ordering::Acquire));
        Ends { log_start, last_stable, high_watermark, leader_epoch }
    }

    /// The current settings; they may be altered at any time.
    pub fn settings(&self) -> Arc<TopicSettings> {
        Arc::clone(&self.settings.read().ignoring_poison())
    }

    /// Wakes `waiter` at the next change: an append, a new log start offset or leader epoch, the topic's
    /// deletion.
    pub fn watch(&self, waiter: &Arc<Waiter>) {
        self.waiters.add(waiter);
    }

    /// Reads whole batches, from the one that contains `range.from` on, or the next one if compaction removed
    /// it.
    pub async fn read(&self, range: ReadRange) -> Result<ReadAnswer, LogError> {
        self.serving()?;
        let mut ends = self.ends();
        let mut end = range.isolation.end_of(ends);
        if range.from < ends.log_start || range.from > ends.high_watermark {
            return Err(ends.out_of_range(range.from));
        }
        if range.from >= end {
            return Ok(ReadAnswer::nothing(range.from, ends));
        }
        let mut part = {
            let log = self.log();
            if let Some(Batches { pieces, list, next }) = log.read_recent(&range, end) {
                return Ok(ReadAnswer { records: pieces, list, next, ends });
            }
            log.part_of(range.from)
        }
        .ok_or_else(|| self.why_missing(range.from))?;
        let mut batches;
        loop {
            let within = ExtentRange {
                from: range.from,
                end: end.min(part.end),
                max_bytes: range.max_bytes,
                at_least_one: range.at_least_one_batch,
                listed: range.listed,
            };
            batches = part.extent.read_now(&within);
            if matches!(batches, Err(ReadError::MustWait)) {
                batches = Arc::clone(&part.extent).read(within).await;
            }
            let why = batches.as_ref().err();
            match why.and_then(|why| self.log().instead_of(&part.extent, range.from, why)) {
                Some(other) => part = other,
                None => break,
            }
            // Compaction goes up to the last stable offset, which may have moved meanwhile.
            ends = self.ends();
            end = range.isolation.end_of(ends);
            if part.extent.base() >= end {
                return Ok(ReadAnswer::nothing(end, ends));
            }
        }
        if matches!(batches, Err(ReadError::Gone)) {
            return Err(self.why_missing(range.from));
        }
        let Batches { pieces, list, next } = self.judged(batches)?;
        Ok(ReadAnswer { records: pieces, list, next, ends })
    }

    /// The largest leader epoch that is not above `asked`, and the offset at which the next one begins
    /// (KIP-101, KIP-279; Kafka's `LeaderEpochFileCache.endOffsetFor`). `None` if it is unknown.
    pub fn end_of_epoch(&self, asked: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let ends = self.ends();
        if asked == ends.leader_epoch {
            return Some((asked, ends.high_watermark));
        }
        let log = self.log();
        let next = log.epochs.after(asked);
        // A leader epoch without records begins at the end of the log.
        let next = next.or((ends.leader_epoch > asked).then_some((ends.leader_epoch, ends.high_watermark)));
        let (_, next_start) = next?;
        Some((log.epochs.floor(asked).unwrap_or(asked), next_start))
    }

    /// The leader epoch that wrote the record at `offset`.
    pub fn epoch_of(&self, offset: Offset) -> LeaderEpoch {
        self.log().epochs.of(offset).unwrap_or(self.ends().leader_epoch)
    }

    /// The first extent that begins at or after `base`.
    pub(super) fn extent_from(&self, base: Offset) -> Option<Arc<dyn ExtentReader>> {
        let log = self.log();
        let first = log.extents.partition_point(|extent| extent.base() < base);
        log.extents.get(first).cloned()
    }

    /// The size of its stored bytes.
    pub fn size(&self) -> u64 {
        self.log().extents.iter().map(|extent| extent.bytes()).sum()
    }

    /// The number of its extents; on local files, of its segments.
    pub fn extents(&self) -> usize {
        self.log().extents.len()
    }

    /// Whether the partition is out of service because its files are damaged.
    pub fn is_damaged(&self) -> bool {
        self.serving() == Err(LogError::Damaged)
    }

    /// The damage of its files; `None` if they are not damaged.
    pub(super) fn damage(&self) -> Option<&str> {
        self.is_damaged().then(|| self.damage.get().map_or("", String::as_str))
    }

    /// The reason why records are refused until its segments can be written again; `None` if they are
    /// accepted.
    pub(super) fn why_not_writable(&self) -> Option<String> {
        if !self.is_unwritable.load(Ordering::Relaxed) {
            return None;
        }
        let Unwritable { from, failure } = self.log().unwritable.filter(|_| self.serving().is_ok())?;
        let next_step = failure.next_step();
        Some(format!("{failure}: records from offset {from} on are only in the journal; {next_step}"))
    }

    /// The largest timestamp of the batch that contains `offset`, or of the first batch if `offset` is before
    /// the log start offset. `None` at the end of the log. May wait for the disk.
    pub fn time_of(&self, offset: Offset) -> Result<Option<Timestamp>, LogError> {
        self.serving()?;
        let ends = self.ends();
        let offset = offset.max(ends.log_start);
        if offset >= ends.high_watermark {
            return Ok(None);
        }
        let mut extent = {
            let log = self.log();
            if let Some(recent) = log.unwritten().find(|recent| recent.end > offset) {
                return Ok(recent.pieces.header().map(|header| header.max_timestamp));
            }
            log.part_of(offset)
        }
        .ok_or_else(|| self.why_missing(offset))?
        .extent;
        loop {
            let time = extent.time_of(offset);
            let other = time.as_ref().err().and_then(|why| self.log().instead_of(&extent, offset, why));
            match other {
                Some(other) => extent = other.extent,
                None => return self.judged(time).map(Some),
            }
        }
    }

    /// The largest timestamp of the batch that contains `offset`; −1 if it cannot be read.
    pub async fn batch_time(self: &Arc<Self>, offset: Offset) -> Timestamp {
        let partition = Arc::clone(self);
        let found = off_thread(move || partition.time_of(offset)).await;
        found.ok().and_then(Result::ok).flatten().unwrap_or(Timestamp(-1))
    }

    /// Fails if the partition is out of service, or its topic deleted.
    pub(super) fn serving(&self) -> Result<(), LogError> {
        match self.serving.load(Ordering::Acquire) {
            SERVING => Ok(()),
            DELETED => Err(LogError::NotServing),
            _ => Err(LogError::Damaged),
        }
    }

    /// The reason why no extent has an offset that was readable a moment ago.
    fn why_missing(&self, offset: Offset) -> LogError {
        let ends = self.ends();
        match self.serving() {
            Err(why) => why,
            Ok(()) if offset < ends.log_start => ends.out_of_range(offset),
            Ok(()) => LogError::Damaged,
        }
    }

    /// Turns a read error into a log error. Bytes that are not as written take the partition out of service:
    /// nothing is deleted, and no wrong bytes are served.
    pub(super) fn judged<T>(&self, read: Result<T, ReadError>) -> Result<T, LogError> {
        read.map_err(|error| match error {
            // `MustWait` and `Unlisted` are handled by the caller. `Behind` without a next segment means that
            // batches are missing.
            ReadError::MustWait | ReadError::Unlisted | ReadError::Behind => LogError::Damaged,
            ReadError::Gone => LogError::NotServing,
            ReadError::Stopped => Unavailable::Stopped.into(),
            ReadError::Io(why) => {
                tracing::warn!(topic = %self.topic_name, partition = self.index, %why, "cannot read a segment; check the disk");
                LogError::Damaged
            }
            ReadError::Damaged(why) => {
                self.quarantine(&why);
                LogError::Damaged
            }
        })
    }

    pub(super) fn log(&self) -> std::sync::RwLockReadGuard<'_, Log> {
        self.log.read().ignoring_poison()
    }

    fn log_mut(&self) -> std::sync::RwLockWriteGuard<'_, Log> {
        self.log.write().ignoring_poison()
    }

    /// The engine's own data.
    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    // The methods below are for the engine, which publishes.

    /// The extent that begins at `base`. If it is a new one, `make` creates it.
    pub(super) fn extent_at(
        &self,
        base: Offset,
        make: impl FnOnce() -> Arc<dyn ExtentReader>,
    ) -> Arc<dyn ExtentReader> {
        if let Some(newest) = self.log().extents.back()
            && newest.base() == base
        {
            return Arc::clone(newest);
        }
        let extent = make();
        self.log_mut().extents.push_back(Arc::clone(&extent));
        extent
    }

    /// Shows a durable batch to readers. The waiters are woken by `wake`, once per round.
    pub(super) fn publish(&self, placed: &Placed, pieces: Pieces) {
        self.traffic.took(placed, &pieces);
        {
            let mut log = self.log_mut();
            log.epochs.wrote(placed.epoch, placed.base_offset);
            log.recent.push_back(Recent { base: placed.base_offset, end: placed.end, pieces });
        }
        self.high_watermark.store(placed.end.0, Ordering::Release);
        self.last_stable.store(placed.last_stable.0, Ordering::Release);
    }

    /// Adds a batch that was published before a restart and is in no segment. It follows the cached batches.
    pub(super) fn hold(&self, header: &record::Header, bytes: &Bytes) {
        let end = header.next_offset().unwrap_or(header.base_offset);
        let recent = Recent { base: header.base_offset, end, pieces: Pieces::One(bytes.clone()) };
        self.log_mut().recent.push_back(recent);
    }

    /// Sets the first offset that is missing in its segments; `None` if nothing is missing.
    pub(super) fn set_unwritable(&self, unwritable: Option<Unwritable>) {
        let mut log = self.log_mut();
        log.unwritable = unwritable;
        self.is_unwritable.store(unwritable.is_some(), Ordering::Relaxed);
    }

    /// Sets the settings, which apply from the next batch on.
    pub(super) fn publish_settings(&self, settings: &Arc<TopicSettings>) {
        *self.settings.write().ignoring_poison() = Arc::clone(settings);
    }

    /// Notes that an extent has an aborted transaction. Called before its marker is published.
    pub(super) fn note_aborted(&self) {
        self.has_aborted.store(true, Ordering::Release);
    }

    pub(super) fn wake(&self) {
        self.waiters.wake_all();
    }

    /// Drops the oldest cached batch. Returns `false` if it stays because no segment has it.
    pub(super) fn forget_oldest(&self) -> bool {
        let mut log = self.log_mut();
        let is_unwritten = match (log.unwritable, log.recent.front()) {
            (Some(stuck), Some(oldest)) => oldest.base >= stuck.from,
            _ => false,
        };
        if !is_unwritten {
            log.recent.pop_front();
        }
        !is_unwritten
    }

    /// Drops the cached batches before an offset and returns their number.
    pub(super) fn forget_before(&self, offset: Offset) -> usize {
        let mut log = self.log_mut();
        let count = log.recent.partition_point(|recent| recent.base < offset);
        log.recent.drain(..count).count()
    }

    /// Publishes a new log start offset. Returns the extents that new readers will not use any more.
    pub(super) fn publish_log_start(&self, start: Offset, dropped: usize) -> Vec<Arc<dyn ExtentReader>> {
        let dropped = {
            let mut log = self.log_mut();
            // Before the extents are missing to readers.
            self.log_start.store(start.0, Ordering::Release);
            let known = dropped.min(log.extents.len());
            log.epochs.forget_before(start);
            log.extents.drain(..known).collect()
        };
        self.wake();
        dropped
    }

    /// The extents with these ids; `None` if not all of them are there.
    pub(super) fn extents_of(&self, ids: &[ExtentId]) -> Option<Vec<Arc<dyn ExtentReader>>> {
        let log = self.log();
        let first = log.extents.iter().position(|extent| Some(&extent.id()) == ids.first())?;
        let found: Vec<_> = log.extents.iter().skip(first).take(ids.len()).cloned().collect();
        found.iter().map(|extent| extent.id()).eq(ids.iter().copied()).then_some(found)
    }

    /// Replaces extents that compaction rewrote. Returns the old ones, which new readers will not use any
    /// more.
    pub(super) fn publish_replaced(
        &self,
        replaced: &[ExtentId],
        by: Vec<Arc<dyn ExtentReader>>,
    ) -> Vec<Arc<dyn ExtentReader>> {
        let mut log = self.log_mut();
        let Some(first) = log.extents.iter().position(|extent| replaced.first() == Some(&extent.id())) else {
            return Vec::new();
        };
        let last = (first + replaced.len()).min(log.extents.len());
        let behind = log.extents.split_off(last);
        let dropped = log.extents.split_off(first);
        log.extents.extend(by);
        log.extents.extend(behind);
        dropped.into()
    }

    /// Publishes a new leader epoch. The waiters are woken by `wake`.
    pub(super) fn publish_epoch(&self, epoch: LeaderEpoch) {
        self.leader_epoch.store(epoch.0, Ordering::Release);
    }

    pub(super) fn publish_deleted(&self) -> Vec<Arc<dyn ExtentReader>> {
        self.serving.store(DELETED, Ordering::Release);
        let mut log = self.log_mut();
        log.recent.clear();
        let dropped = log.extents.drain(..).collect();
        drop(log);
        self.wake();
        dropped
    }

    pub(super) fn quarantine(&self, why: &str) {
        let _ = self.damage.set(why.to_owned());
        // A topic that was deleted meanwhile stays deleted.
        let was_serving =
            self.serving.compare_exchange(SERVING, QUARANTINED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if was_serving {
            tracing::error!(
                topic = %self.topic_name, partition = self.index, %why,
                "damaged: the partition is out of service, nothing was deleted; stop the broker and run `jackdaw log verify` \
                 with its data directory"
            );
        }
        self.wake();
    }
}

impl Log {
    #[cfg(test)]
    pub(super) fn cached(&self) -> usize {
        self.recent.len()
    }

    /// The batches below `end`; `None` if `range.from` is before the cached batches.
    fn read_recent(&self, range: &ReadRange, end: Offset) -> Option<Batches> {
        if self.recent.front()?.base > range.from {
            return None;
        }
        let first = self.recent.partition_point(|recent| recent.end <= range.from);
        let mut batches = Batches { pieces: Vec::new(), list: Vec::new(), next: range.from };
        let mut size = 0;
        for recent in self.recent.range(first..).take_while(|recent| recent.end <= end) {
            size += recent.pieces.len();
            if size > range.max_bytes && !(batches.pieces.is_empty() && range.at_least_one_batch) {
                break;
            }
            if range.listed {
                batches.list.extend(recent.pieces.header().as_ref().map(ListedBatch::from));
            }
            batches.pieces.extend(recent.pieces.iter().cloned().map(Piece::Memory));
            batches.next = recent.end;
        }
        Some(batches)
    }

    /// The batches that are only in memory and in the journal.
    fn unwritten(&self) -> impl Iterator<Item = &Recent> {
        let from = self.unwritable.map_or(Offset(i64::MAX), |stuck| stuck.from);
        let first = self.recent.partition_point(|recent| recent.base < from);
        self.recent.range(first..)
    }

    /// The extent to read instead, if this one has no batch from `offset` on because compaction removed them,
    /// or if compaction replaced this extent.
    fn instead_of(&self, extent: &Arc<dyn ExtentReader>, offset: Offset, why: &ReadError) -> Option<Part> {
        match why {
            ReadError::Behind => self.part(self.extents_to(extent.base())),
            ReadError::Gone => self.part_of(offset).filter(|now| !Arc::ptr_eq(&now.extent, extent)),
            ReadError::MustWait
            | ReadError::Unlisted
            | ReadError::Stopped
            | ReadError::Io(_)
            | ReadError::Damaged(_) => None,
        }
    }

    fn part_of(&self, offset: Offset) -> Option<Part> {
        self.part(self.extents_to(offset).checked_sub(1)?)
    }

    /// The number of extents that begin at or before an offset.
    fn extents_to(&self, offset: Offset) -> usize {
        self.extents.partition_point(|extent| extent.base() <= offset)
    }

    fn part(&self, at: usize) -> Option<Part> {
        let extent = Arc::clone(self.extents.get(at)?);
        let end = self.extents.get(at + 1).map_or(Offset(i64::MAX), |next| next.base());
        Some(Part { extent, end })
    }
}

/// Runs a job that may wait for the disk on a thread for blocking work.
async fn off_thread<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, LogError> {
    disk_threads::read(job).await.map_err(|_| LogError::Unavailable(Unavailable::Stopped))
}
