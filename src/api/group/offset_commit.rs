//! OffsetCommit (key 8): how far a group, or somebody in its name, has read.
//! v2–4 may say how long the offset is to be kept; v6 has leader epochs, v7 static members; from v9
//! on a group that does not exist is told from a wrong generation; v10 names topics by id.

use std::time::Duration;

use super::{code, coordinates, later};
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::coordinator::classic::{Commit, GroupError, Identity, OffsetToCommit};
use crate::kernel::group::Generation;
use crate::protocol::messages::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestTopic};
use crate::protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::storage::Topics;
use crate::types::{LeaderEpoch, Offset};

impl Handler for OffsetCommitRequest {
    const GAPS: &'static [&'static str] =
        &["Answers stand in the order of the request; Kafka puts those that failed first."];

    async fn handle(self, ctx: Context) -> Reply<OffsetCommitResponse> {
        let image = ctx.services.store.topics();
        let mut offsets = Vec::new();
        let named = self.topics.into_iter();
        let answers: Vec<OffsetCommitResponseTopic> =
            named.filter_map(|topic| look_up(topic, &image, ctx.version, &mut offsets)).collect();
        if offsets.is_empty() {
            return Reply::Now(answer(answers, Ok(Vec::new())));
        }
        if let Err(error) = coordinates(&ctx, &self.group_id) {
            return Reply::Now(answer(answers, Err(error)));
        }
        let commit = Commit {
            generation: Some(self.generation_id_or_member_epoch).filter(|id| *id >= 0).map(Generation),
            who: Identity { member: self.member_id, instance: self.group_instance_id },
            knows_group_not_found: ctx.version >= 9,
            retention: u64::try_from(self.retention_time_ms).ok().map(Duration::from_millis),
            offsets,
        };
        let committing = ctx.services.groups.commit(&self.group_id, commit);
        later(async move { answer(answers, committing.await) })
    }
}

/// An unknown topic or partition fails alone, and nothing is stored for it (BEHAVIOUR C12, C13).
/// The others go to `offsets`, in the order in which their answers have no error yet.
fn look_up(
    asked: OffsetCommitRequestTopic,
    image: &Topics,
    version: i16,
    offsets: &mut Vec<OffsetToCommit>,
) -> Option<OffsetCommitResponseTopic> {
    let (topic, unknown) = match version {
        10.. => (image.by_id(asked.topic_id), ErrorCode::UnknownTopicId),
        _ => (image.by_name(&asked.name), ErrorCode::UnknownTopicOrPartition),
    };
    // As in Kafka, of a topic that is there and of which nothing is named, nothing is told.
    if topic.is_some() && asked.partitions.is_empty() {
        return None;
    }
    let partitions = asked.partitions.into_iter().map(|partition| {
        let index = partition.partition_index;
        let error = match topic {
            None => unknown,
            Some(topic) if topic.partition(index).is_none() => ErrorCode::UnknownTopicOrPartition,
            Some(topic) => {
                offsets.push(OffsetToCommit {
                    partition: (topic.id, index),
                    offset: Offset(partition.committed_offset),
                    leader_epoch: Some(partition.committed_leader_epoch)
                        .filter(|epoch| *epoch >= 0)
                        .map(LeaderEpoch),
                    metadata: partition.committed_metadata.unwrap_or_default(),
                });
                ErrorCode::None
            }
        };
        OffsetCommitResponsePartition { partition_index: index, error_code: error.code() }
    });
    let partitions = partitions.collect();
    Some(OffsetCommitResponseTopic { name: asked.name, topic_id: asked.topic_id, partitions })
}

fn answer(
    mut topics: Vec<OffsetCommitResponseTopic>,
    committed: Result<Vec<Result<(), GroupError>>, GroupError>,
) -> OffsetCommitResponse {
    let asked = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    let mut passed_on = asked.filter(|partition| partition.error_code == ErrorCode::None.code());
    match committed {
        Ok(outcomes) => {
            for (partition, outcome) in passed_on.zip(outcomes) {
                partition.error_code = code(outcome);
            }
        }
        Err(error) => passed_on.by_ref().for_each(|partition| partition.error_code = code(Err(error))),
    }
    OffsetCommitResponse { topics, ..OffsetCommitResponse::default() }
}
