//! What may go: segments past a topic's age or size, producers that fell silent. Works segment by
//! segment and only proposes commands; the journal decides.
//!
//! A clock that jumped must not delete anything (RELIABILITY.md rule 15): where the wall and the
//! monotonic clock disagree, or the wall clock at start is far past the last record, everything
//! that goes by age pauses until a start confirms the clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::topics::Topics;
use crate::config::BrokerSettings;
use crate::kernel::{Command, Partition, Shard};
use crate::time::Clock;
use crate::types::{Offset, Timestamp};

/// How far the two clocks may drift apart before neither is believed.
const DRIFT: Duration = Duration::from_secs(5 * 60);

/// How long a broker may have been away before its clock needs a second start to be believed.
const AWAY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Watches whether the wall clock can be trusted with deleting by age.
pub(super) struct Clocks {
    clock: Clock,
    wall: Timestamp,
    monotonic: Duration,
    trusted: AtomicBool,
}

impl Clocks {
    pub(super) fn start(clock: Clock, last_record: Option<Timestamp>) -> Clocks {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let away = last_record.map_or(Duration::ZERO, |last| wall.since(last));
        let went_back = last_record.map_or(Duration::ZERO, |last| last.since(wall));
        let trusted = away <= AWAY && went_back <= DRIFT;
        if !trusted {
            tracing::warn!(
                now = wall.0,
                last_record = last_record.map(|last| last.0),
                "the clock is far from the last record: nothing is deleted by age; if it is right, restart"
            );
        }
        Clocks { clock, wall, monotonic, trusted: AtomicBool::new(trusted) }
    }

    /// The wall clock, after comparing it with the other one.
    pub(super) fn look(&self) -> Timestamp {
        let now = self.clock.now();
        let ran = self.clock.monotonic().saturating_sub(self.monotonic);
        let expected =
            Timestamp(self.wall.0.saturating_add(i64::try_from(ran.as_millis()).unwrap_or(i64::MAX)));
        let drifted = now.since(expected).max(expected.since(now)) > DRIFT;
        if drifted && self.trusted.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                now = now.0,
                expected = expected.0,
                "the clock jumped: nothing is deleted by age until a restart confirms it"
            );
        }
        now
    }

    pub(super) fn trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }
}

/// The commands that retention asks for at `now`.
pub(super) fn due(
    shard: &Shard,
    topics: &Topics,
    settings: &BrokerSettings,
    now: Timestamp,
    clock_is_trusted: bool,
) -> Vec<Command> {
    let mut commands = Vec::new();
    for topic in topics.iter().filter(|topic| topic.settings.cleanup.delete) {
        for (index, handle) in (0..).zip(&topic.partitions) {
            // What is out of service keeps its files, for whoever puts it right.
            if handle.is_damaged() {
                continue;
            }
            let Some(partition) = shard.partition(topic.id, index) else { continue };
            let age = topic.settings.retention.filter(|_| clock_is_trusted);
            let keep_from = first_kept(partition, now, age, topic.settings.retention_bytes);
            // What is not durable yet is nobody's past.
            let offset = keep_from.min(handle.ends().high_watermark);
            if offset > partition.log_start() {
                commands.push(Command::SetLogStart { topic: topic.id, partition: index, offset });
            }
        }
    }
    if clock_is_trusted {
        let silence = i64::try_from(settings.producer_expiration.as_millis()).unwrap_or(i64::MAX);
        let idle_since = Timestamp(now.0.saturating_sub(silence));
        if shard.producers().oldest().is_some_and(|oldest| oldest.last_write < idle_since) {
            commands.push(Command::ExpireProducers { idle_since });
        }
    }
    commands
}

/// The offset from which on segments stay (Kafka's `UnifiedLog.deleteOldSegments`): oldest first,
/// by age of their newest record, then while what is left is still over the size.
fn first_kept(partition: &Partition, now: Timestamp, age: Option<Duration>, size: Option<u64>) -> Offset {
    let segments = partition.segments();
    let ends = segments.iter().skip(1).map(|next| next.base).chain([partition.end()]);
    let mut over =
        size.map(|size| segments.iter().map(|segment| segment.bytes).sum::<u64>().saturating_sub(size));
    let mut keep_from = partition.log_start();
    for (segment, end) in segments.iter().zip(ends) {
        // Records without a timestamp age from when they were written.
        let newest = if segment.max_timestamp.0 < 0 { segment.last_append } else { segment.max_timestamp };
        let too_old = age.is_some_and(|age| now.since(newest) > age);
        let too_much = over.is_some_and(|over| over > 0 && over >= segment.bytes);
        if !too_old && !too_much {
            break;
        }
        over = over.map(|over| over.saturating_sub(segment.bytes));
        keep_from = end;
    }
    keep_from
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Commit, CreateTopic};
    use crate::types::Uuid;

    const TOPIC: Uuid = Uuid([1; 16]);

    /// Three segments of 10 records and 100 bytes, with the timestamps given in seconds.
    fn partition(newest: [i64; 3]) -> Partition {
        let mut shard = Shard::new(crate::types::NodeId(1));
        let create =
            CreateTopic { id: TOPIC, name: "t".into(), partitions: 1, overrides: Default::default() };
        shard.apply(Timestamp(0), &Command::CreateTopic(create)).unwrap();
        for seconds in newest {
            let commit = Commit {
                topic: TOPIC,
                partition: 0,
                bytes: 100,
                last_offset_delta: 9,
                max_timestamp: Timestamp(seconds * 1000),
                producer: None,
                roll: true,
                inline: true,
                crc: 0,
            };
            shard.apply(Timestamp(50_000), &Command::Commit(commit)).unwrap();
        }
        shard.partition(TOPIC, 0).unwrap().clone()
    }

    fn kept_from(partition: &Partition, now: i64, age: Option<u64>, size: Option<u64>) -> i64 {
        first_kept(partition, Timestamp(now * 1000), age.map(Duration::from_secs), size).0
    }

    #[test]
    fn a6_without_a_limit_everything_stays() {
        assert_eq!(kept_from(&partition([1, 2, 3]), 1_000_000, None, None), 0);
    }

    #[test]
    fn segments_go_when_their_newest_record_is_too_old_oldest_first() {
        let partition = partition([10, 20, 30]);
        assert_eq!(kept_from(&partition, 40, Some(30), None), 0);
        assert_eq!(kept_from(&partition, 41, Some(30), None), 10);
        assert_eq!(kept_from(&partition, 61, Some(30), None), 30, "the newest one too");
    }

    #[test]
    fn i13_a_young_segment_shields_the_ones_behind_it() {
        let partition = partition([1_000_000, 20, 30]);
        assert_eq!(kept_from(&partition, 500, Some(30), None), 0);
    }

    #[test]
    fn records_without_a_timestamp_age_from_their_append() {
        let partition = partition([-1, -1, -1]);
        assert_eq!(kept_from(&partition, 79, Some(30), None), 0);
        assert_eq!(kept_from(&partition, 81, Some(30), None), 30);
    }

    #[test]
    fn a_partition_shrinks_only_to_its_size_limit() {
        let partition = partition([1, 2, 3]);
        assert_eq!(kept_from(&partition, 5, None, Some(300)), 0);
        assert_eq!(kept_from(&partition, 5, None, Some(250)), 0, "half a segment is kept");
        assert_eq!(kept_from(&partition, 5, None, Some(200)), 10);
        assert_eq!(kept_from(&partition, 5, None, Some(99)), 20);
        assert_eq!(kept_from(&partition, 5, None, Some(0)), 30);
    }

    #[test]
    fn r19_a_clock_that_jumps_is_not_believed_until_the_next_start() {
        let clock = Clock::manual(Timestamp(1_000_000));
        let clocks = Clocks::start(clock.clone(), Some(Timestamp(900_000)));
        clocks.look();
        assert!(clocks.trusted());
        let month = 31 * 24 * 3_600_000;
        assert!(!Clocks::start(clock.clone(), Some(Timestamp(1_000_000 - month))).trusted());
        assert!(!Clocks::start(clock.clone(), Some(Timestamp(1_000_000 + 400_000))).trusted());
        assert!(Clocks::start(clock, None).trusted(), "a new directory has no past");
    }
}
