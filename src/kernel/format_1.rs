//! Snapshots of format 1, which had one broker and only settings of topics. Every partition is on the
//! broker that the directory belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::format_2::{Partition2, converted};
use super::{Group, Placement, Shard, Topic};
use crate::types::{NodeId, SharedMap, TopicId};

#[derive(Deserialize)]
struct Shard1 {
    position: u64,
    hash: u64,
    next_producer: i64,
    topics: BTreeMap<TopicId, Topic1>,
    groups: SharedMap<String, Arc<Group>>,
    names: SharedMap<String, TopicId>,
}

#[derive(Deserialize)]
struct Topic1 {
    id: TopicId,
    name: String,
    overrides: BTreeMap<String, String>,
    partitions: Vec<Partition2>,
}

pub fn read(state: &[u8], broker: NodeId) -> Result<Shard, postcard::Error> {
    let Shard1 { position, hash, next_producer, topics, groups, names } = postcard::from_bytes(state)?;
    let here = Arc::new(Placement::without_elr(vec![broker], Some(broker), vec![broker]));
    let topics = topics.into_iter().map(|(key, topic)| {
        let Topic1 { id, name, overrides, partitions } = topic;
        let placement = partitions.iter().map(|_| Arc::clone(&here)).collect();
        (key, Arc::new(Topic { id, name, overrides, partitions: converted(partitions), placement }))
    });
    let topics = topics.collect();
    Ok(Shard { position, hash, next_producer, topics, groups, names, ..Shard::new(broker) })
}
