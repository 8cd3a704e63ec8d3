//! A partition's log as readers see it: records, start and end offsets, waiters.
//!
//! The engine is the only writer. It *publishes* records once they are durable. Until then they are not
//! visible here, so no client ever sees records that a power cut could remove. The way in is the
//! [`Line`](super::line::Line).
//!
//! ```text
//! log start ≤ last stable ≤ high watermark = published end ≤ the kernel's end
//! ```

mod search;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use bytes::Bytes;

use super::counts::Traffic;
use super::failure::Failure;
use super::local::segment::{Batches, PartitionDir, ReadError, Segment};
use super::waiter::{Waiter, Waiters};
use super::{LogError, Unavailable};
use crate::config::TopicSettings;
use crate::kernel::{LeaderEpochs, Placed, SegmentId};
use crate::record::{self, Header};
use crate::types::{IgnorePoison, LeaderEpoch, Offset, Piece, Timestamp, TopicId};

pub struct Partition {
    pub topic: TopicId,
    pub topic_name: Arc<str>,
    pub index: i32,
    dir: Arc<PartitionDir>,
    settings: RwLock<Arc<TopicSettings>>,
    pub traffic: Traffic,
    log_start: AtomicI64,
    high_watermark: AtomicI64,
    leader_epoch: AtomicI32,
    serving: AtomicU8,
    /// The reason why the partition is out of service.
    damage: OnceLock<String>,
    log: RwLock<Log>,
    /// Whether `log.unwritable` is set, for those who look at all partitions.
    is_unwritable: AtomicBool,
    waiters: Waiters,
}

/// A partition's log as the engine opens it.
pub(super) struct Opened {
    pub(super) dir: Arc<PartitionDir>,
    pub(super) segments: VecDeque<Arc<Segment>>,
}

/// The data for readers: segment files, leader epochs and the newest batches.
#[derive(Default)]
pub(super) struct Log {
    pub(super) epochs: LeaderEpochs,
    pub(super) segments: VecDeque<Arc<Segment>>,
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

/// A segment, and the offset at which the next one begins.
#[derive(Clone)]
struct Part {
    segment: Arc<Segment>,
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

#[derive(Clone, Copy, Debug)]
pub struct ReadRange {
    pub from: Offset,
    pub max_bytes: usize,
    /// The first batch is returned even when it is larger than `max_bytes` (KIP-74).
    pub at_least_one_batch: bool,
    pub isolation: Isolation,
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
    /// The offset after them, at which to continue reading.
    pub next: Offset,
    pub ends: Ends,
}

impl ReadAnswer {
    /// The records in memory. May wait for the disk.
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        let pieces = self.records.iter().map(Piece::to_bytes).collect::<io::Result<Vec<Bytes>>>()?;
        Ok(Bytes::from(pieces.concat()))
    }
}

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
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
        Opened { dir, segments }: Opened,
    ) -> Partition {
        let (id, name, settings) = topic;
        Partition {
            topic: id,
            topic_name: Arc::clone(name),
            index: dir.partition(),
            dir,
            settings: RwLock::new(Arc::clone(settings)),
            traffic: Traffic::default(),
            log_start: AtomicI64::new(state.log_start().0),
            high_watermark: AtomicI64::new(state.end().0),
            leader_epoch: AtomicI32::new(state.epoch().0),
            serving: AtomicU8::new(SERVING),
            damage: OnceLock::new(),
            log: RwLock::new(Log { epochs: state.epochs().clone(), segments, ..Log::default() }),
            is_unwritable: AtomicBool::new(false),
            waiters: Waiters::default(),
        }
    }

    /// Takes no lock. The log start offset is read first, so that it is never above the end.
    pub fn ends(&self) -> Ends {
        let log_start = Offset(self.log_start.load(Ordering::Acquire));
        let leader_epoch = LeaderEpoch(self.leader_epoch.load(Ordering::Acquire));
        let high_watermark = Offset(self.high_watermark.load(Ordering::Acquire));
        Ends { log_start, last_stable: high_watermark, high_watermark, leader_epoch }
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
        let ends = self.ends();
        let end = range.isolation.end_of(ends);
        if range.from < ends.log_start || range.from > ends.high_watermark {
            return Err(LogError::OutOfRange {
                asked: range.from,
                start: ends.log_start,
                end: ends.high_watermark,
            });
        }
        if range.from >= end {
            return Ok(ReadAnswer { records: Vec::new(), next: range.from, ends });
        }
        let mut part = {
            let log = self.log();
            if let Some((records, next)) = log.read_recent(&range, end) {
                return Ok(ReadAnswer { records, next, ends });
            }
            log.part_of(range.from).ok_or(LogError::Damaged)?
        };
        let read = move |part: &Part, may_wait: bool| {
            let end = end.min(part.end);
            part.segment.read(range.from, end, range.max_bytes, range.at_least_one_batch, may_wait)
        };
        let Batches { piece, next } = loop {
            let mut batches = read(&part, false);
            if matches!(batches, Err(ReadError::MustWait)) {
                let held = part.clone();
                batches = off_thread(move || read(&held, true)).await?;
            }
            let why = batches.as_ref().err();
            let other = why.and_then(|why| self.log().instead_of(&part.segment, range.from, why));
            match other {
                Some(other) => part = other,
                None => break self.judged(batches)?,
            }
        };
        Ok(ReadAnswer { records: piece.into_iter().collect(), next, ends })
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

    /// The first segment from an offset on.
    pub(super) fn segment_from(&self, base: Offset) -> Option<Arc<Segment>> {
        let log = self.log();
        let first = log.segments.partition_point(|segment| segment.base() < base);
        log.segments.get(first).cloned()
    }

    /// The size of its segment files in bytes.
    pub fn size(&self) -> u64 {
        self.log().segments.iter().map(|segment| segment.size()).sum()
    }

    /// The number of its segment files.
    pub fn segments(&self) -> usize {
        self.log().segments.len()
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
        let mut segment = {
            let log = self.log();
            if let Some(recent) = log.unwritten().find(|recent| recent.end > offset) {
                return Ok(Header::parse(&recent.pieces.whole()).ok().map(|header| header.max_timestamp));
            }
            log.part_of(offset).ok_or(LogError::Damaged)?.segment
        };
        loop {
            let time = segment.time_of(offset);
            let other = time.as_ref().err().and_then(|why| self.log().instead_of(&segment, offset, why));
            match other {
                Some(other) => segment = other.segment,
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

    /// Turns a read error into a log error. Bytes that are not as written take the partition out of service:
    /// nothing is deleted, and no wrong bytes are served.
    pub(super) fn judged<T>(&self, read: Result<T, ReadError>) -> Result<T, LogError> {
        read.map_err(|error| match error {
            // `MustWait` is handled by the caller. `Behind` without a next segment means that batches are
            // missing.
            ReadError::MustWait | ReadError::Behind => LogError::Damaged,
            ReadError::Gone => LogError::NotServing,
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

    /// The directory of its files.
    pub(super) fn dir(&self) -> &Arc<PartitionDir> {
        &self.dir
    }

    // The methods below are for the engine, which publishes.

    /// The segment for `placed`. A batch that is the first of its segment creates it.
    pub(super) fn segment_for(&self, placed: &Placed, make: impl FnOnce() -> Segment) -> Arc<Segment> {
        if let Some(newest) = self.log().segments.back()
            && newest.base() == placed.segment
        {
            return Arc::clone(newest);
        }
        let segment = Arc::new(make());
        self.log_mut().segments.push_back(Arc::clone(&segment));
        segment
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

    /// Publishes a new log start offset. Returns the segments that new readers will not use any more.
    pub(super) fn publish_log_start(&self, start: Offset, dropped: usize) -> Vec<Arc<Segment>> {
        let dropped = {
            let mut log = self.log_mut();
            let known = dropped.min(log.segments.len());
            log.epochs.forget_before(start);
            log.segments.drain(..known).collect()
        };
        self.log_start.store(start.0, Ordering::Release);
        self.wake();
        dropped
    }

    /// The segments with these ids; `None` if not all of them are there.
    pub(super) fn segments_of(&self, ids: &[SegmentId]) -> Option<Vec<Arc<Segment>>> {
        let log = self.log();
        let first = log.segments.iter().position(|segment| Some(&segment.id()) == ids.first())?;
        let found: Vec<_> = log.segments.iter().skip(first).take(ids.len()).cloned().collect();
        found.iter().map(|segment| segment.id()).eq(ids.iter().copied()).then_some(found)
    }

    /// Replaces segments that compaction rewrote. Returns the old ones, which new readers will not use any
    /// more.
    pub(super) fn publish_replaced(
        &self,
        replaced: &[SegmentId],
        by: Vec<Arc<Segment>>,
    ) -> Vec<Arc<Segment>> {
        let mut log = self.log_mut();
        let Some(first) = log.segments.iter().position(|segment| replaced.first() == Some(&segment.id()))
        else {
            return Vec::new();
        };
        let last = (first + replaced.len()).min(log.segments.len());
        let behind = log.segments.split_off(last);
        let dropped = log.segments.split_off(first);
        log.segments.extend(by);
        log.segments.extend(behind);
        dropped.into()
    }

    /// Publishes a new leader epoch. The waiters are woken by `wake`.
    pub(super) fn publish_epoch(&self, epoch: LeaderEpoch) {
        self.leader_epoch.store(epoch.0, Ordering::Release);
    }

    pub(super) fn publish_deleted(&self) -> Vec<Arc<Segment>> {
        self.serving.store(DELETED, Ordering::Release);
        let mut log = self.log_mut();
        log.recent.clear();
        let dropped = log.segments.drain(..).collect();
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
                "damaged: the partition is out of service, nothing was deleted; run `jackdaw log verify`"
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

    /// The batches and the offset after them; `None` if `range.from` is before the cached batches.
    fn read_recent(&self, range: &ReadRange, end: Offset) -> Option<(Vec<Piece>, Offset)> {
        if self.recent.front()?.base > range.from {
            return None;
        }
        let first = self.recent.partition_point(|recent| recent.end <= range.from);
        let (mut records, mut next) = (Vec::new(), range.from);
        let mut size = 0;
        for recent in self.recent.range(first..).take_while(|recent| recent.end <= end) {
            size += recent.pieces.len();
            if size > range.max_bytes && !(records.is_empty() && range.at_least_one_batch) {
                break;
            }
            records.extend(recent.pieces.iter().cloned().map(Piece::Memory));
            next = recent.end;
        }
        Some((records, next))
    }

    /// The batches that are only in memory and in the journal.
    fn unwritten(&self) -> impl Iterator<Item = &Recent> {
        let from = self.unwritable.map_or(Offset(i64::MAX), |stuck| stuck.from);
        let first = self.recent.partition_point(|recent| recent.base < from);
        self.recent.range(first..)
    }

    /// The segment to continue in, if this one has nothing from `offset` on: compaction removed the records,
    /// or replaced the file.
    fn instead_of(&self, segment: &Arc<Segment>, offset: Offset, why: &ReadError) -> Option<Part> {
        match why {
            ReadError::Behind => self.part(self.segments_to(segment.base())),
            ReadError::Gone => self.part_of(offset).filter(|now| !Arc::ptr_eq(&now.segment, segment)),
            ReadError::MustWait | ReadError::Io(_) | ReadError::Damaged(_) => None,
        }
    }

    fn part_of(&self, offset: Offset) -> Option<Part> {
        self.part(self.segments_to(offset).checked_sub(1)?)
    }

    /// The number of segments that begin at or before an offset.
    fn segments_to(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base() <= offset)
    }

    fn part(&self, at: usize) -> Option<Part> {
        let segment = Arc::clone(self.segments.get(at)?);
        let end = self.segments.get(at + 1).map_or(Offset(i64::MAX), |next| next.base());
        Some(Part { segment, end })
    }
}

/// Runs a job that may wait for the disk on a thread for blocking work.
async fn off_thread<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, LogError> {
    tokio::task::spawn_blocking(job).await.map_err(|_| LogError::Unavailable(Unavailable::Stopped))
}
