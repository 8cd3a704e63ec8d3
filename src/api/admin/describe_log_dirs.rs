//! DescribeLogDirs (key 35): the directory and size of partitions. There is only one directory.
//! v3 adds an error for the whole request, v4 the size of the disk, v5 whether the directory takes new
//! partitions.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::context::{Context, TopicRef};
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply, Size, Weight, replicas};
use crate::protocol::messages::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::security::operations::Operation;
use crate::storage::Topic;

impl Handler for DescribeLogDirsRequest {
    const GAPS: &'static [&'static str] = &[
        "A broker that keeps everything in memory calls its directory `memory` and its space unknown.",
        "No directory is ever cordoned.",
    ];

    fn named(&self) -> usize {
        let topics = self.topics.iter().flatten();
        topics.map(|topic| 1 + topic.partitions.len()).sum()
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        let all = || replicas::weigh_all(ctx);
        Weight::asked(size.echoed()).and_held(if self.topics.is_none() { all() } else { 0 })
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeLogDirsResponse> {
        let cluster = match ctx.cluster(Operation::Describe) {
            Ok(cluster) => cluster,
            Err(forbidden) => {
                let error_code = ErrorCode::from(forbidden).code();
                return Reply::Now(DescribeLogDirsResponse {
                    error_code,
                    ..DescribeLogDirsResponse::default()
                });
            }
        };
        let topics = cluster.topics();
        let named = |name: &str| topics.topic(TopicRef::Name(name), Operation::Describe).ok();
        let described: Vec<_> = match self.topics {
            None => {
                topics.visible(Operation::Describe).filter_map(|topic| describe(topic, None, &ctx)).collect()
            }
            // Unknown partitions are left out without an error.
            Some(asked) => each_once(asked)
                .iter()
                .filter_map(|(name, indexes)| describe(named(name)?, Some(indexes), &ctx))
                .collect(),
        };
        let directory = cluster.log_dir();
        let bytes = |known: Option<u64>| known.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let result = DescribeLogDirsResult {
            log_dir: directory.path.to_string_lossy().into_owned(),
            topics: described,
            total_bytes: bytes(directory.space.map(|space| space.total)),
            usable_bytes: bytes(directory.space.map(|space| space.free)),
            ..DescribeLogDirsResult::default()
        };
        Reply::Now(DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() })
    }
}

fn each_once(asked: Vec<DescribableLogDirTopic>) -> BTreeMap<String, BTreeSet<i32>> {
    let mut once: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for topic in asked {
        once.entry(topic.topic).or_default().extend(topic.partitions);
    }
    once
}

/// The partitions of the topic that this broker holds, or those of them that were asked for.
fn describe(topic: &Topic, asked: Option<&BTreeSet<i32>>, ctx: &Context) -> Option<DescribeLogDirsTopic> {
    let holds = |index| replicas::holds(topic, index, ctx.node());
    let is_asked = |index| asked.is_none_or(|asked| asked.contains(&index));
    let partitions = topic.partitions.iter().filter(|one| is_asked(one.index) && holds(one.index));
    let partitions: Vec<_> = partitions
        .map(|partition| DescribeLogDirsPartition {
            partition_index: partition.index,
            partition_size: i64::try_from(partition.size()).unwrap_or(i64::MAX),
            // Readers see the whole log, so there is no lag. Replicas never move to another directory.
            offset_lag: 0,
            is_future_key: false,
        })
        .collect();
    (!partitions.is_empty()).then(|| DescribeLogDirsTopic { name: topic.name.to_string(), partitions })
}
