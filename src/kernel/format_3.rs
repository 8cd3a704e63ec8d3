//! Snapshots of format 3, in which producers had no memory of their own.

use std::sync::Arc;

use serde::Deserialize;

use super::producers::Producers;
use super::{Group, Settings, Shard, Topic};
use crate::types::{NodeId, SharedMap, TopicId};

#[derive(Deserialize)]
struct Shard3 {
    position: u64,
    hash: u64,
    next_producer: i64,
    topics: SharedMap<TopicId, Arc<Topic>>,
    groups: SharedMap<String, Arc<Group>>,
    names: SharedMap<String, TopicId>,
    settings: Arc<Settings>,
    running: Vec<NodeId>,
}

pub fn read(state: &[u8]) -> Result<Shard, postcard::Error> {
    let shard: Shard3 = postcard::from_bytes(state)?;
    let Shard3 { position, hash, next_producer, topics, groups, names, settings, running } = shard;
    let producers = Producers::default();
    let clock_believed = None;
    Ok(Shard {
        position,
        hash,
        next_producer,
        topics,
        groups,
        names,
        settings,
        running,
        producers,
        clock_believed,
    })
}
