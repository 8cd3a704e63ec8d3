//! The scrub: reads all segments once per interval and checks every batch against its checksum. A read by a
//! client checks a batch only once after each time that its file is opened. The scrub also finds later
//! damage, and damage in records that no client reads, and takes the partition out of service. A damaged list of
//! aborted transactions is written again.
//!
//! A pass is spread over the interval: a little is due every second. Its position is saved in the file
//! `scrub`, so that the next start continues there. Only time in which the broker runs counts. If the file is
//! damaged, a new pass begins.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use super::directory::Directory;
use super::fs;
use super::segment;
use crate::kernel::ExtentId;
use crate::storage::counts::Counts;
use crate::storage::extent::ExtentReader;
use crate::storage::partition::Partition;
use crate::storage::topics::Topics;
use crate::types::{IgnorePoison, Offset, Timestamp, TopicPartition, Uuid};

/// The bytes read between two checks whether the store closes. If less is due, the scrub waits.
const STEP: u64 = 1 << 20;

/// The maximum bytes read per second.
const MOST_PER_SECOND: u64 = 64 << 20;

/// The interval at which the position is saved.
const NOTE_EVERY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Scrub {
    pass: Mutex<Pass>,
}

/// One pass over everything that was stored when it began, or when the broker last started.
#[derive(Default)]
struct Pass {
    /// The time that the broker ran since the pass began.
    ran: Duration,
    /// The time since the position was saved.
    unnoted: Duration,
    /// The time at which the last complete pass ended.
    last_end: Option<Timestamp>,
    /// The partitions still to read, sorted by key; `None` before the first call.
    left: Option<VecDeque<Weak<Partition>>>,
    /// The position at which to continue.
    next: Position,
    total: u64,
    done: u64,
}

/// A position in the data: everything before it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Position {
    partition: TopicPartition,
    place: LogPosition,
}

/// A position in a log: a byte of a segment, or the first segment from `base` on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct LogPosition {
    base: Offset,
    of: Option<(ExtentId, u64)>,
}

impl Default for LogPosition {
    fn default() -> LogPosition {
        LogPosition { base: Offset(0), of: None }
    }
}

/// The parts of the store that a call needs.
pub(super) struct Surroundings<'a> {
    pub(super) topics: &'a Topics,
    pub(super) directory: &'a Directory,
    pub(super) counts: &'a Counts,
    pub(super) closing: &'a AtomicBool,
    pub(super) now: Timestamp,
}

impl Scrub {
    /// Continues at the position that an earlier run of the broker saved.
    pub(super) fn load(directory: &Directory) -> Scrub {
        let bytes = fs::read_all(&*directory.fs, &directory.scrub(), 4096).unwrap_or_default();
        let pass = Pass::parse(&String::from_utf8_lossy(&bytes)).unwrap_or_default();
        Scrub { pass: Mutex::new(pass) }
    }

    /// Reads the bytes that are due after `elapsed` more time, in a pass that takes `interval`.
    pub(super) fn run(&self, interval: Duration, elapsed: Duration, around: &Surroundings<'_>) {
        let mut pass = self.pass();
        pass.ran += elapsed;
        pass.unnoted += elapsed;
        if pass.left.is_none() && (pass.is_begun() || pass.last_end.is_none() || pass.ran >= interval) {
            pass.look_around(around.topics, elapsed);
        }
        let ended = pass.work_off(interval, elapsed, around);
        if ended || pass.unnoted >= NOTE_EVERY {
            pass.unnoted = Duration::ZERO;
            // After a failure the next start continues from an older position.
            if let Err(error) = pass.note(around.directory) {
                tracing::debug!(%error, "cannot save the position of the scrub");
            }
        }
    }

    /// The time at which the last complete pass ended; `None` if there was none.
    pub(super) fn last_end(&self) -> Option<Timestamp> {
        self.pass().last_end
    }

    fn pass(&self) -> MutexGuard<'_, Pass> {
        self.pass.lock().ignoring_poison()
    }
}

impl Pass {
    /// Whether a pass was in progress before a restart.
    fn is_begun(&self) -> bool {
        self.next != Position::default()
    }

    /// Lists the partitions to read.
    fn look_around(&mut self, topics: &Topics, elapsed: Duration) {
        let mut partitions: Vec<&Arc<Partition>> =
            topics.iter().flat_map(|topic| &topic.partitions).collect();
        partitions.sort_unstable_by_key(|partition| partition.key());
        if !self.is_begun() {
            self.ran = elapsed;
        }
        self.total = partitions.iter().map(|partition| partition.size()).sum();
        let next = self.next.partition;
        let (before, left) =
            partitions.split_at(partitions.partition_point(|partition| partition.key() < next));
        self.done = before.iter().map(|partition| partition.size()).sum();
        self.left = Some(left.iter().map(|partition| Arc::downgrade(partition)).collect());
    }

    /// The number of bytes of the pass that must be done by now. At its end these are all bytes, including
    /// those written since it began.
    fn due(&self, interval: Duration) -> u64 {
        let fraction = self.ran.as_secs_f64() / interval.as_secs_f64().max(f64::MIN_POSITIVE);
        if fraction >= 1.0 { u64::MAX } else { (self.total as f64 * fraction) as u64 }
    }

    /// Reads the bytes that are due. Returns whether the pass ended.
    fn work_off(&mut self, interval: Duration, elapsed: Duration, around: &Surroundings<'_>) -> bool {
        let due = self.due(interval);
        let mut most = (elapsed.as_secs_f64() * MOST_PER_SECOND as f64) as u64;
        while due == u64::MAX || due.saturating_sub(self.done) >= STEP {
            let Some(left) = &mut self.left else { return false };
            let Some(partition) = left.front() else {
                *self = Pass { last_end: Some(around.now), ..Pass::default() };
                return true;
            };
            if most == 0 || around.closing.load(Ordering::Relaxed) {
                return false;
            }
            let Some(partition) = partition.upgrade() else {
                left.pop_front();
                continue;
            };
            if self.next.partition != partition.key() {
                self.next = Position { partition: partition.key(), place: LogPosition::default() };
            }
            let (bytes, place) = scrub(&partition, self.next.place, STEP.min(most));
            around.counts.scrubbed.add(bytes);
            self.done += bytes;
            most = most.saturating_sub(bytes);
            match place {
                Some(place) => self.next.place = place,
                None => drop(left.pop_front()),
            }
        }
        false
    }

    fn note(&self, directory: &Directory) -> io::Result<()> {
        let text = self.to_string();
        fs::replace(&*directory.fs, &directory.scrub(), &[IoSlice::new(text.as_bytes())])
    }

    /// Parses the output of `Display`.
    fn parse(text: &str) -> Option<Pass> {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| value(name)?.parse::<i64>().ok();
        let topic = Uuid::parse(value("topic")?)?;
        let partition = i32::try_from(number("partition")?).ok()?;
        let partition = TopicPartition { topic, partition };
        let place = LogPosition { base: Offset(number("base")?), of: None };
        Some(Pass {
            ran: Duration::from_secs(u64::try_from(number("seconds")?).ok()?),
            last_end: Some(Timestamp(number("last.end.ms")?)).filter(|end| end.0 >= 0),
            next: Position { partition, place },
            ..Pass::default()
        })
    }
}

impl std::fmt::Display for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Position { partition: TopicPartition { topic, partition }, place } = self.next;
        let last_end = self.last_end.map_or(-1, |end| end.0);
        write!(
            f,
            "seconds={}\nlast.end.ms={last_end}\ntopic={topic}\npartition={partition}\nbase={}\n",
            self.ran.as_secs(),
            place.base
        )
    }
}

/// Checks about `bytes` of a log against their checksums, from a position on. Returns the number of
/// bytes checked, and the position to continue at: `None` at the end, or if the partition is out of
/// service.
fn scrub(partition: &Partition, from: LogPosition, bytes: u64) -> (u64, Option<LogPosition>) {
    let extent = partition.extent_from(from.base).filter(|_| partition.serving().is_ok());
    let Some(segment) = extent.map(segment::segment_of) else { return (0, None) };
    let at = from.of.filter(|(id, _)| *id == segment.id()).map_or(0, |(_, at)| at);
    let behind = LogPosition { base: Offset(segment.base().0.saturating_add(1)), of: None };
    // An unreadable segment is reported and skipped; the next one may be readable.
    let scrubbed = segment.scrub(at, bytes, partition.ends().log_start);
    let Ok(scrubbed) = partition.judged(scrubbed) else { return (0, Some(behind)) };
    let here = LogPosition { base: segment.base(), of: Some((segment.id(), scrubbed.end)) };
    let is_all = scrubbed.end >= segment.size();
    if is_all {
        let extent = Arc::clone(&segment) as Arc<dyn ExtentReader>;
        // A failure is logged. It takes the partition out of service if a record is damaged.
        drop(partition.judged(partition.listed(&extent, || segment.scrub_aborted())));
    }
    (scrubbed.end - scrubbed.start, Some(if is_all { behind } else { here }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_pass_stands_is_read_back() {
        let place = LogPosition { base: Offset(7), of: None };
        let pass = Pass {
            ran: Duration::from_secs(90),
            last_end: Some(Timestamp(5)),
            next: Position { partition: TopicPartition { topic: Uuid([3; 16]), partition: 2 }, place },
            ..Pass::default()
        };
        let read = Pass::parse(&pass.to_string()).unwrap();
        assert_eq!((read.ran, read.last_end, read.next), (pass.ran, pass.last_end, pass.next));
        let first = Pass::parse(&Pass::default().to_string()).unwrap();
        assert_eq!((first.last_end, first.is_begun()), (None, false));
        assert!(Pass::parse("seconds=1\ntopic=x").is_none());
    }

    #[test]
    fn the_due_bytes_grow_evenly_over_the_interval_and_are_all_at_its_end() {
        let due = |seconds| {
            let pass = Pass { total: 1000, ran: Duration::from_secs(seconds), ..Pass::default() };
            pass.due(Duration::from_secs(100))
        };
        assert_eq!([due(0), due(1), due(50), due(100)], [0, 10, 500, u64::MAX]);
    }
}
