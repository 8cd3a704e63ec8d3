//! Snapshots of format 2, which had no compaction: all segments are as they were appended.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::format_3::{Placement3, placed};
use super::producer::Producer;
use super::producers::Producers;
use super::{Election, Group, Opened, Partition, Segment, Settings, Shard, Topic};
use crate::types::{LeaderEpoch, NodeId, Offset, ProducerId, SharedMap, Timestamp, TopicId};

#[derive(Deserialize)]
struct Shard2 {
    position: u64,
    hash: u64,
    next_producer: i64,
    topics: BTreeMap<TopicId, Topic2>,
    groups: SharedMap<String, Arc<Group>>,
    names: SharedMap<String, TopicId>,
    settings: Arc<Settings>,
    running: Vec<NodeId>,
}

#[derive(Deserialize)]
struct Topic2 {
    id: TopicId,
    name: String,
    overrides: BTreeMap<String, String>,
    partitions: Vec<Partition2>,
    placement: Vec<Placement3>,
}

/// Also used in format 1.
#[derive(Deserialize)]
pub struct Partition2 {
    log_start: Offset,
    end: Offset,
    epoch: LeaderEpoch,
    epochs: Vec<(LeaderEpoch, Offset)>,
    segments: Vec<Segment2>,
    producers: SharedMap<ProducerId, Producer>,
}

#[derive(Deserialize)]
struct Segment2 {
    base: Offset,
    bytes: u64,
    max_timestamp: Timestamp,
    opened: Timestamp,
    last_append: Timestamp,
}

pub fn read(state: &[u8]) -> Result<Shard, postcard::Error> {
    let shard: Shard2 = postcard::from_bytes(state)?;
    let Shard2 { position, hash, next_producer, topics, groups, names, settings, running } = shard;
    let topics = topics.into_iter().map(|(key, topic)| {
        let Topic2 { id, name, overrides, partitions, placement } = topic;
        let (partitions, placement) = (converted(partitions), placed(placement));
        (key, Arc::new(Topic { id, name, overrides, partitions, placement }))
    });
    let topics = topics.collect();
    Ok(Shard {
        position,
        hash,
        next_producer,
        topics,
        groups,
        names,
        settings,
        running,
        producers: Producers::default(),
        clock_trusted: None,
        election: Election::default(),
    })
}

pub fn converted(partitions: Vec<Partition2>) -> Vec<Arc<Partition>> {
    partitions.into_iter().map(|partition| Arc::new(partition.into())).collect()
}

impl From<Partition2> for Partition {
    fn from(old: Partition2) -> Partition {
        let Partition2 { log_start, end, epoch, epochs, segments, producers } = old;
        let segments = segments.into_iter().map(Segment::from).collect();
        Partition { log_start, end, epoch, epochs, segments, producers }
    }
}

impl From<Segment2> for Segment {
    fn from(old: Segment2) -> Segment {
        let Segment2 { base, bytes, max_timestamp, opened, last_append } = old;
        let opened = Opened::new(opened, opened);
        Segment { base, bytes, max_timestamp, opened, last_append, generation: 0, cleaned: false }
    }
}
