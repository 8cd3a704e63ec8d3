//! The choice of the segments to compact.

mod log;
mod transactions;

use std::collections::BTreeMap;

use super::*;
use crate::config::BrokerSettings;
use crate::kernel::{BatchFlags, Commit, CreateTopic, Place, Shard};
use crate::types::{LeaderEpoch, NodeId, TopicId, Uuid};

const TOPIC: TopicId = Uuid([1; 16]);
const NOW: Timestamp = Timestamp(100_000);

/// Segments of 10 records and 100 bytes each, written at 1 s, 2 s and so on. The first `cleaned` of them
/// were compacted into one of 50 bytes.
fn partition(segments: i64, cleaned: usize) -> kernel::Partition {
    let mut shard = Shard::new(NodeId(1));
    let replicas = vec![vec![NodeId(1)]];
    let create = CreateTopic { id: TOPIC, name: "t".into(), overrides: BTreeMap::new(), replicas };
    shard.apply(Timestamp(0), &Command::CreateTopic(create)).unwrap();
    for number in 1..=segments {
        let commit = Commit {
            topic: TOPIC,
            partition: 0,
            bytes: 100,
            last_offset_delta: 9,
            max_timestamp: Timestamp(number * 1000),
            producer: None,
            flags: BatchFlags::default(),
            leadership: LeaderEpoch(0),
            place: Place::Segment { roll: true, inline: true, crc: 0 },
        };
        shard.apply(Timestamp(number * 1000), &Command::Commit(commit)).unwrap();
    }
    let partition = shard.partition(TOPIC, 0).unwrap();
    if cleaned > 0 {
        let replaced = &partition.extents()[..cleaned];
        let outputs = vec![Rewritten {
            base: Offset(0),
            bytes: 50,
            max_timestamp: Timestamp(cleaned as i64 * 1000),
            cleaned: true,
            aborted: AbortedList::default(),
        }];
        let replace = ReplaceExtents {
            topic: TOPIC,
            partition: 0,
            first: Offset(0),
            end: partition.extents()[cleaned].base,
            count: cleaned as u32,
            mix: kernel::mix_of(replaced),
            outputs,
        };
        shard.apply(NOW, &Command::ReplaceExtents(replace)).unwrap();
    }
    shard.partition(TOPIC, 0).unwrap().clone()
}

fn settings(given: &[(&str, &str)]) -> TopicSettings {
    let given = given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    TopicSettings::resolve(&given, &BrokerSettings::default()).unwrap()
}

/// The first segment that a run would clean, and the first one that it would not read.
fn looked_at(partition: &kernel::Partition, given: &[(&str, &str)]) -> Option<(usize, usize)> {
    due(partition, &settings(given), partition.end(), NOW).map(|due| (due.dirty_from, due.until))
}

#[test]
fn all_but_the_newest_segment_is_compacted_once_enough_of_it_is_new() {
    assert_eq!(looked_at(&partition(0, 0), &[]), None);
    assert_eq!(looked_at(&partition(1, 0), &[]), None, "the newest is never compacted");
    assert_eq!(looked_at(&partition(3, 0), &[]), Some((0, 2)));
    assert_eq!(looked_at(&partition(3, 2), &[]), None, "nothing is new");
    assert_eq!(looked_at(&partition(4, 2), &[]), Some((1, 2)), "two thirds are new");
    let ratio = [("min.cleanable.dirty.ratio", "0.7")];
    assert_eq!(looked_at(&partition(4, 2), &ratio), None);
    assert_eq!(looked_at(&partition(5, 2), &ratio), Some((1, 3)), "four fifths are new");
}

#[test]
fn records_that_are_too_young_or_not_durable_yet_are_not_compacted() {
    let lag = |ms| looked_at(&partition(5, 0), &[("min.compaction.lag.ms", ms)]);
    assert_eq!(lag("96000"), Some((0, 4)));
    assert_eq!(lag("97001"), Some((0, 2)));
    assert_eq!(lag("99001"), None);
    let durable_to = |offset| due(&partition(5, 0), &settings(&[]), Offset(offset), NOW).map(|due| due.until);
    assert_eq!((durable_to(50), durable_to(29), durable_to(9)), (Some(4), Some(2), None));
}

#[test]
fn after_the_longest_lag_little_is_enough() {
    let after = |ms| {
        let given = [("min.cleanable.dirty.ratio", "1"), ("max.compaction.lag.ms", ms)];
        looked_at(&partition(5, 3), &given)
    };
    assert_eq!(after("96000"), None, "it was written at 4 s");
    assert_eq!(after("95999"), Some((1, 2)));
}
