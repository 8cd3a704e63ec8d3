//! Snapshots of format 3, which had no memory limit for producers and no ELR.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::producers::Producers;
use super::{Election, Group, Partition, Placement, Settings, Shard, Topic, placement};
use crate::types::{NodeId, SharedMap, TopicId};

#[derive(Deserialize)]
struct Shard3 {
    position: u64,
    hash: u64,
    next_producer: i64,
    topics: BTreeMap<TopicId, Topic3>,
    groups: SharedMap<String, Arc<Group>>,
    names: SharedMap<String, TopicId>,
    settings: Arc<Settings>,
    running: Vec<NodeId>,
}

#[derive(Deserialize)]
struct Topic3 {
    id: TopicId,
    name: String,
    overrides: BTreeMap<String, String>,
    partitions: Vec<Arc<Partition>>,
    placement: Vec<Placement3>,
}

/// Also used in format 2.
#[derive(Deserialize)]
pub struct Placement3 {
    replicas: Vec<NodeId>,
    leader: Option<NodeId>,
    isr: Vec<NodeId>,
}

pub fn read(state: &[u8]) -> Result<Shard, postcard::Error> {
    let shard: Shard3 = postcard::from_bytes(state)?;
    let Shard3 { position, hash, next_producer, topics, groups, names, settings, running } = shard;
    let topics = topics.into_iter().map(|(key, topic)| {
        let Topic3 { id, name, overrides, partitions, placement } = topic;
        (key, Arc::new(Topic { id, name, overrides, partitions, placement: placed(placement) }))
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

pub fn placed(placement: Vec<Placement3>) -> Vec<Arc<Placement>> {
    let mut shared = placement::Shared::default();
    let with_elr = |Placement3 { replicas, leader, isr }| Placement::without_elr(replicas, leader, isr);
    placement.into_iter().map(|placement| shared.one(with_elr(placement))).collect()
}
