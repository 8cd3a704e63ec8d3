//! Retention: finds segments past a topic's age or size, and producers that no longer write. It works segment
//! by segment and only proposes commands. Nothing expires by age while the clock is not trusted
//! (`clocks.rs`).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::topics::Topics;
use super::{StoreError, Unavailable};
use crate::config::BrokerSettings;
use crate::kernel::{Command, Partition, Shard};
use crate::types::{IgnorePoison, Offset, Timestamp};

/// The commands for the current state. `trusted` is the time, or `None` while the clock is not trusted.
pub(super) fn due(
    shard: &Shard,
    topics: &Topics,
    settings: &BrokerSettings,
    trusted: Option<Timestamp>,
) -> Vec<Command> {
    let mut commands = Vec::new();
    for topic in topics.iter().filter(|topic| topic.settings.cleanup.delete) {
        for (index, handle) in (0..).zip(&topic.partitions) {
            // A partition that is out of service keeps its files, so that it can be repaired.
            if handle.is_damaged() {
                continue;
            }
            let Some(partition) = shard.partition(topic.id, index) else { continue };
            let age = trusted.zip(topic.settings.retention);
            let keep_from = first_kept(partition, age, topic.settings.retention_bytes);
            // Records that are not durable yet never expire.
            let offset = keep_from.min(handle.ends().high_watermark);
            if offset > partition.log_start() {
                commands.push(Command::SetLogStart { topic: topic.id, partition: index, offset });
            }
        }
    }
    if let Some(now) = trusted {
        let silence = i64::try_from(settings.producer_expiration.as_millis()).unwrap_or(i64::MAX);
        let idle_since = Timestamp(now.0.saturating_sub(silence));
        if shard.producers().oldest().is_some_and(|oldest| oldest.last_write < idle_since) {
            commands.push(Command::ExpireProducers { idle_since });
        }
    }
    commands
}

/// Why retention could not delete records, for [`Store::troubles`](super::Store::troubles).
pub(super) type LastRefusal = Mutex<Option<String>>;

/// One pass of retention. It ends with the last of its commands, and then publishes whether any was refused.
pub(super) struct Pass {
    refused: LastRefusal,
    published: Arc<LastRefusal>,
}

impl Pass {
    pub(super) fn begin(published: &Arc<LastRefusal>) -> Arc<Pass> {
        Arc::new(Pass { refused: Mutex::default(), published: Arc::clone(published) })
    }

    pub(super) fn note(&self, error: &StoreError) {
        // The records may already be gone, and a store that stops deletes nothing.
        match error {
            StoreError::Refused(_) | StoreError::Unavailable(Unavailable::Stopped) => {}
            StoreError::Unavailable(why) => {
                *self.refused.lock().ignoring_poison() =
                    Some(format!("the journal takes no changes: {why:?}"));
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let refused = self.refused.get_mut().ignoring_poison().take();
        *self.published.lock().ignoring_poison() = refused;
    }
}

/// The offset from which segments are kept (Kafka's `UnifiedLog.deleteOldSegments`). From the oldest on, a
/// segment is deleted if its newest record is too old, or if the log has at least `size` bytes without it.
/// `age` is the current time and the maximum age.
fn first_kept(partition: &Partition, age: Option<(Timestamp, Duration)>, size: Option<u64>) -> Offset {
    let segments = partition.extents();
    let ends = segments.iter().skip(1).map(|next| next.base).chain([partition.end()]);
    let mut over =
        size.map(|size| segments.iter().map(|segment| segment.bytes).sum::<u64>().saturating_sub(size));
    let mut keep_from = partition.log_start();
    for (segment, end) in segments.iter().zip(ends) {
        let too_old = age.is_some_and(|(now, age)| now.since(segment.newest_time()) > age);
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
    use crate::kernel::{BatchFlags, Commit, CreateTopic, Place};
    use crate::types::{LeaderEpoch, Uuid};

    const TOPIC: Uuid = Uuid([1; 16]);

    /// Three segments of 10 records and 100 bytes, with the given timestamps in seconds.
    fn partition(newest: [i64; 3]) -> Partition {
        let mut shard = Shard::new(crate::types::NodeId(1));
        let replicas = vec![vec![crate::types::NodeId(1)]];
        let create = CreateTopic { id: TOPIC, name: "t".into(), overrides: Default::default(), replicas };
        shard.apply(Timestamp(0), &Command::CreateTopic(create)).unwrap();
        for seconds in newest {
            let commit = Commit {
                topic: TOPIC,
                partition: 0,
                bytes: 100,
                last_offset_delta: 9,
                max_timestamp: Timestamp(seconds * 1000),
                producer: None,
                flags: BatchFlags::default(),
                leadership: LeaderEpoch(0),
                place: Place::Segment { roll: true, inline: true, crc: 0 },
            };
            shard.apply(Timestamp(50_000), &Command::Commit(commit)).unwrap();
        }
        shard.partition(TOPIC, 0).unwrap().clone()
    }

    #[test]
    fn a_pass_in_which_one_command_is_refused_is_refused_until_a_later_pass_is_not() {
        let published = Arc::default();
        let first = Pass::begin(&published);
        let of_another_partition = Arc::clone(&first);
        first.note(&StoreError::Unavailable(Unavailable::Full));
        drop(first);
        assert_eq!(*published.lock().unwrap(), None, "it is not over");
        of_another_partition.note(&StoreError::Unavailable(Unavailable::Stopped));
        drop(of_another_partition);
        assert!(published.lock().unwrap().is_some());
        drop(Pass::begin(&published));
        assert_eq!(*published.lock().unwrap(), None);
    }

    fn kept_from(partition: &Partition, now: i64, age: Option<u64>, size: Option<u64>) -> i64 {
        let now = Timestamp(now * 1000);
        first_kept(partition, age.map(|age| (now, Duration::from_secs(age))), size).0
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
}
