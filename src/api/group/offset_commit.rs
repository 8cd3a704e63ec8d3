//! OffsetCommit (key 8): stores the offsets up to which a group has read.
//! v2–4 have a retention time; v6 adds leader epochs, v7 static members; since v9 a missing group has
//! its own error code; v10 has topic ids instead of names.

use std::collections::HashMap;
use std::time::Duration;

use super::code;
use crate::api::context::{Context, NoGroup, TopicRef, TopicView};
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::coordinator::group::{Commit, GroupError, Identity, OffsetToCommit};
use crate::kernel::group::Generation;
use crate::protocol::messages::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::security::operations::Operation;
use crate::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

/// The value of a client that knows no leader epoch.
const NO_EPOCH: i32 = -1;
/// The first version with topic ids.
const TOPIC_IDS: i16 = 10;
/// The retention time of a client that uses `offsets.retention.minutes`.
const DEFAULT_RETENTION: i64 = -1;

impl Handler for OffsetCommitRequest {
    async fn handle(self, ctx: Context) -> Reply<OffsetCommitResponse> {
        let group = match ctx.group(&self.group_id, Operation::Read) {
            Err(NoGroup::Forbidden(forbidden)) => {
                return Reply::Now(answer(refuse(self.topics, forbidden.into())));
            }
            found => found,
        };
        let (offsets, begun) = BegunCommit::of(self.topics, &ctx.topics(), ctx.version >= TOPIC_IDS);
        if offsets.is_empty() {
            return Reply::Now(answer(begun.ended(Ok::<_, ErrorCode>(Vec::new()))));
        }
        let group = match group {
            Ok(group) => group,
            Err(error) => return Reply::Now(answer(begun.ended(Err(error)))),
        };
        let commit = Commit {
            generation: generation(self.generation_id_or_member_epoch),
            who: Identity { member: self.member_id, instance: self.group_instance_id },
            knows_group_not_found: ctx.version >= 9,
            retention: retention(self.retention_time_ms),
            offsets,
        };
        let committing = group.commit(commit);
        Reply::later(async move { answer(begun.ended(committing.await)) })
    }
}

/// The generation of a commit; `None` for one from outside the group.
pub fn generation(id: i32) -> Option<Generation> {
    Some(id).filter(|id| *id >= 0).map(Generation)
}

fn answer(topics: Vec<OffsetCommitResponseTopic>) -> OffsetCommitResponse {
    OffsetCommitResponse { topics, ..OffsetCommitResponse::default() }
}

/// The retention time of the offsets that the client asks for. As in Kafka, offsets whose time is already
/// over are removed at the next check.
fn retention(ms: i64) -> Option<Duration> {
    (ms != DEFAULT_RETENTION).then(|| Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// A commit while the group decides on it: the topics of the answer.
pub struct BegunCommit {
    refused: RefusedTopics,
    /// The partitions whose offsets were passed on to the group, in the same order.
    passed_on: Vec<OffsetCommitResponseTopic>,
}

impl BegunCommit {
    /// Looks up the topics, and returns the offsets that the group has to decide on.
    pub fn of(
        topics: Vec<OffsetCommitRequestTopic>,
        view: &TopicView,
        by_id: bool,
    ) -> (Vec<OffsetToCommit>, BegunCommit) {
        let mut offsets = Vec::new();
        let mut refused = RefusedTopics::default();
        let mut passed_on = Vec::with_capacity(topics.len());
        for topic in topics {
            passed_on.extend(look_up(topic, view, by_id, &mut refused, &mut offsets));
        }
        (offsets, BegunCommit { refused, passed_on })
    }

    /// The topics of the answer. As in Kafka, partitions that were refused before the commit come first.
    pub fn ended(
        self,
        committed: Result<Vec<Result<(), GroupError>>, impl Into<ErrorCode>>,
    ) -> Vec<OffsetCommitResponseTopic> {
        let BegunCommit { mut refused, mut passed_on } = self;
        let mut partitions = passed_on.iter_mut().flat_map(|topic| &mut topic.partitions);
        match committed {
            Ok(outcomes) => {
                for (partition, outcome) in partitions.zip(outcomes) {
                    partition.error_code = code(outcome);
                }
            }
            Err(error) => {
                let error_code = code(Err(error));
                partitions.by_ref().for_each(|partition| partition.error_code = error_code);
            }
        }
        // A topic that is named twice stays twice if nothing was refused.
        if refused.topics.is_empty() {
            return passed_on;
        }
        for topic in passed_on {
            refused.topic(&topic.name, topic.topic_id).partitions.extend(topic.partitions);
        }
        refused.topics
    }
}

/// Topics with partitions that were refused before the commit, each once.
#[derive(Default)]
struct RefusedTopics {
    topics: Vec<OffsetCommitResponseTopic>,
    places: HashMap<(String, TopicId), usize>,
}

impl RefusedTopics {
    fn topic(&mut self, name: &str, topic_id: TopicId) -> &mut OffsetCommitResponseTopic {
        let place = *self.places.entry((name.to_owned(), topic_id)).or_insert(self.topics.len());
        if place == self.topics.len() {
            let (name, partitions) = (name.to_owned(), Vec::new());
            self.topics.push(OffsetCommitResponseTopic { name, topic_id, partitions });
        }
        self.topics.get_mut(place).expect("a place is that of a topic")
    }
}

/// Looks up a topic. Unknown partitions are added to `refused`, and nothing is stored for them (rules
/// C12, C13). The others are added to `offsets`, and in the same order to the returned topic of the
/// response.
fn look_up(
    asked: OffsetCommitRequestTopic,
    view: &TopicView,
    by_id: bool,
    refused: &mut RefusedTopics,
    offsets: &mut Vec<OffsetToCommit>,
) -> Option<OffsetCommitResponseTopic> {
    let named = if by_id { TopicRef::Id(asked.topic_id) } else { TopicRef::Name(&asked.name) };
    let found = view.topic(named, Operation::Read);
    let OffsetCommitRequestTopic { name, topic_id, partitions, .. } = asked;
    let answered = |partition_index, error: ErrorCode| OffsetCommitResponsePartition {
        partition_index,
        error_code: error.code(),
    };
    let topic = match found {
        Ok(topic) => topic,
        Err(error) => {
            let partitions = partitions.iter().map(|one| answered(one.partition_index, error.into()));
            refused.topic(&name, topic_id).partitions.extend(partitions);
            return None;
        }
    };
    let mut passed_on = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let index = partition.partition_index;
        if topic.partition(index).is_none() {
            let unknown = answered(index, ErrorCode::UnknownTopicOrPartition);
            refused.topic(&name, topic_id).partitions.push(unknown);
            continue;
        }
        offsets.push(OffsetToCommit {
            partition: TopicPartition::new(topic.id, index),
            offset: Offset(partition.committed_offset),
            leader_epoch: Some(partition.committed_leader_epoch)
                .filter(|epoch| *epoch != NO_EPOCH)
                .map(LeaderEpoch),
            metadata: partition.committed_metadata.unwrap_or_default(),
        });
        passed_on.push(answered(index, ErrorCode::None));
    }
    // As in Kafka, an existing topic without partitions is not in the response.
    let partitions = Some(passed_on).filter(|passed_on| !passed_on.is_empty())?;
    Some(OffsetCommitResponseTopic { name, topic_id, partitions })
}

/// The same error for all partitions.
pub fn refuse(topics: Vec<OffsetCommitRequestTopic>, error: ErrorCode) -> Vec<OffsetCommitResponseTopic> {
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: error.code(),
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic { name: topic.name, topic_id: topic.topic_id, partitions }
    });
    topics.collect()
}
