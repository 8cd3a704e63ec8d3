//! AlterReplicaLogDirs (key 34): moves replicas to another log directory of the broker. There is only
//! one, so it is the only valid target.

use std::collections::BTreeMap;

use crate::api::context::{Context, TopicRef, TopicView};
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply, replicas};
use crate::protocol::messages::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use crate::security::operations::Operation;

/// While Kafka moves a replica, its directory has a longer name that must also be valid:
/// `<topic>-<partition>.<32 digits>-future` (KAFKA-4893).
const LONGEST_NAME: usize = 255 - ".".len() - 32 - "-future".len();

impl Handler for AlterReplicaLogDirsRequest {
    fn named(&self) -> usize {
        let topics = self.dirs.iter().flat_map(|dir| &dir.topics);
        topics.map(|topic| 1 + topic.partitions.len()).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<AlterReplicaLogDirsResponse> {
        let cluster = ctx.cluster(Operation::Alter);
        let ours = cluster.as_ref().ok().map(|cluster| cluster.log_dir().path);
        // As in Kafka, the last directory counts if a replica is named twice.
        let mut asked: BTreeMap<String, BTreeMap<i32, bool>> = BTreeMap::new();
        for dir in self.dirs {
            let is_ours = ours.as_ref().is_some_and(|ours| ours.as_os_str() == dir.path.as_str());
            for topic in dir.topics {
                let partitions = topic.partitions.into_iter().map(|index| (index, is_ours));
                asked.entry(topic.name).or_default().extend(partitions);
            }
        }
        let topics = cluster.map(|cluster| cluster.topics());
        asked.retain(|_, partitions| !partitions.is_empty());
        let results = asked.into_iter().map(|(name, partitions)| AlterReplicaLogDirTopicResult {
            partitions: partitions
                .into_iter()
                .map(|(index, is_ours)| AlterReplicaLogDirPartitionResult {
                    partition_index: index,
                    error_code: match &topics {
                        Ok(topics) => outcome(topics, &name, index, is_ours, &ctx).code(),
                        Err(forbidden) => ErrorCode::from(*forbidden).code(),
                    },
                })
                .collect(),
            topic_name: name,
        });
        Reply::Now(AlterReplicaLogDirsResponse {
            results: results.collect(),
            ..AlterReplicaLogDirsResponse::default()
        })
    }
}

fn outcome(topics: &TopicView, name: &str, index: i32, is_ours: bool, ctx: &Context) -> ErrorCode {
    if name.len() + 1 + index.to_string().len() > LONGEST_NAME {
        return ErrorCode::InvalidTopicException;
    }
    if !is_ours {
        return ErrorCode::LogDirNotFound;
    }
    let topic = topics.topic(TopicRef::Name(name), Operation::Alter).ok();
    let Some(topic) = topic.filter(|topic| topic.partition(index).is_some()) else {
        return ErrorCode::UnknownTopicOrPartition;
    };
    if replicas::holds(topic, index, ctx.node()) { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower }
}
