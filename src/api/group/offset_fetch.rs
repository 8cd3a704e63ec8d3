//! OffsetFetch (key 9): the committed offsets of groups.
//! Since v2, null instead of topics asks for all offsets. v5 has leader epochs. v7 can ask for stable
//! offsets only: a partition for which an open transaction has an offset is UNSTABLE_OFFSET_COMMIT. Since v8
//! a request can have several groups. v9 has the member that asks, v10 topic ids instead of names.

use std::sync::Arc;

use crate::api::context::{Context, NoTopic, TopicRef, TopicView};
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply, Size, Weight};
use crate::kernel::offsets::{CommittedOffset, Offsets};
use crate::protocol::messages::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::security::operations::Operation;
use crate::storage::Topic;
use crate::types::TopicPartition;

/// The first version with topic ids.
const TOPIC_IDS: i16 = 10;

impl Handler for OffsetFetchRequest {
    const GAPS: &'static [&'static str] = &[
        "An answer is limited to 7/8 of `jackdaw.answer.max.bytes`, at about 256 bytes an offset; groups beyond that are INVALID_REQUEST.",
    ];

    /// The memory of the offsets is charged by [`allowed`].
    fn weigh(&self, size: Size, _: &Context) -> Weight {
        Weight::asked(3 * size.decoded)
    }

    async fn handle(self, ctx: Context) -> Reply<OffsetFetchResponse> {
        let version = ctx.version;
        let asks = Asks { version, stable: self.require_stable };
        let asked = match version {
            8.. => self.groups,
            _ => vec![one_group(self.group_id, self.topics)],
        };
        Reply::later(async move {
            let mut found = Vec::with_capacity(asked.len());
            for group in asked {
                let offsets = offsets(&group.group_id, &ctx).await;
                found.push((group, offsets));
            }
            let view = ctx.topics();
            let allowed = allowed(&found, &ctx, &view).await;
            let mut groups = Vec::with_capacity(found.len());
            for (at, (group, offsets)) in found.into_iter().enumerate() {
                groups.push(if at < allowed {
                    answer(group, offsets, asks, &view)
                } else {
                    OffsetFetchResponseGroup {
                        group_id: group.group_id,
                        error_code: ErrorCode::InvalidRequest.code(),
                        ..OffsetFetchResponseGroup::default()
                    }
                });
            }
            match version {
                8.. => OffsetFetchResponse { groups, ..OffsetFetchResponse::default() },
                _ => groups.pop().map(|group| only_group(group, version)).unwrap_or_default(),
            }
        })
    }
}

/// The properties of the request that apply to all groups.
#[derive(Clone, Copy)]
struct Asks {
    version: i16,
    /// Whether a partition for which an open transaction has an offset is an error.
    stable: bool,
}

/// The committed offsets of a group, or the error of its answer.
type GroupOffsets = Result<Offsets, ErrorCode>;

async fn offsets(group: &str, ctx: &Context) -> GroupOffsets {
    Ok(ctx.group(group, Operation::Describe)?.offsets().await?)
}

/// The number of groups that fit into the memory for the response, which is charged here. The first group
/// is always answered if it asks for all its offsets.
async fn allowed(
    found: &[(OffsetFetchRequestGroup, GroupOffsets)],
    ctx: &Context,
    view: &TopicView,
) -> usize {
    let mut bytes = 0;
    let mut allowed = 0;
    let view = &view.quietly();
    for (group, offsets) in found {
        // Partitions of unknown topics are in the response as well.
        let named: usize = group.topics.iter().flatten().map(|topic| topic.partition_indexes.len()).sum();
        let offsets = offsets.as_ref().map_or(0, |offsets| weigh(group, offsets, ctx.version, view));
        bytes += 2 * offsets + 128 * named;
        if bytes > ctx.room.left() && (allowed > 0 || group.topics.is_some()) {
            break;
        }
        allowed += 1;
    }
    ctx.room.hold(bytes.min(ctx.room.left())).await;
    allowed
}

/// The memory of the requested offsets of a group; their encoded form takes as much.
fn weigh(asked: &OffsetFetchRequestGroup, offsets: &Offsets, version: i16, view: &TopicView) -> usize {
    const OFFSET: usize = 128;
    let metadata = |committed: &CommittedOffset| committed.metadata.len();
    match &asked.topics {
        Some(topics) => {
            let keys = topics.iter().flat_map(|topic| keys(topic, version, view));
            keys.map(|of| OFFSET + offsets.get(of).map_or(0, metadata)).sum()
        }
        None => offsets.all().values().map(|committed| OFFSET + metadata(committed)).sum(),
    }
}

fn answer(
    asked: OffsetFetchRequestGroup,
    found: GroupOffsets,
    asks: Asks,
    view: &TopicView,
) -> OffsetFetchResponseGroup {
    let error_code = found.as_ref().err().map_or(0, |error| error.code());
    let topics = match (asked.topics, found) {
        // As in Kafka; v1 has the error in the partitions only.
        (Some(_), Err(ErrorCode::GroupAuthorizationFailed)) if asks.version >= 2 => Vec::new(),
        (Some(topics), found) => {
            let some = topics.into_iter().map(|topic| some_offsets(topic, &found, asks, view));
            some.collect()
        }
        (None, Ok(offsets)) => all_offsets(&offsets, asks, view),
        (None, Err(_)) => Vec::new(),
    };
    OffsetFetchResponseGroup { group_id: asked.group_id, topics, error_code }
}

fn some_offsets(
    asked: OffsetFetchRequestTopics,
    found: &GroupOffsets,
    asks: Asks,
    view: &TopicView,
) -> OffsetFetchResponseTopics {
    let topic = topic_of(&asked, asks.version, view).map(|topic| topic.id);
    let answer = |index| match (topic, found) {
        (_, Err(error @ ErrorCode::GroupAuthorizationFailed)) => partition(index, None, *error),
        (Ok(topic), Ok(offsets)) => committed(TopicPartition { topic, partition: index }, offsets, asks),
        (Ok(_), Err(error)) => partition(index, None, *error),
        // In versions with names, an unknown topic looks like a topic without a commit.
        (Err(NoTopic::UnknownName), _) => partition(index, None, ErrorCode::None),
        (Err(error), _) => partition(index, None, error.into()),
    };
    let partitions = asked.partition_indexes.iter().copied().map(answer).collect();
    OffsetFetchResponseTopics { name: asked.name, topic_id: asked.topic_id, partitions }
}

fn topic_of<'a>(
    asked: &OffsetFetchRequestTopics,
    version: i16,
    view: &'a TopicView,
) -> Result<&'a Arc<Topic>, NoTopic> {
    view.topic(TopicRef::of(version, TOPIC_IDS, &asked.name, asked.topic_id), Operation::Describe)
}

/// The partitions, if the topic is known.
fn keys<'a>(
    asked: &'a OffsetFetchRequestTopics,
    version: i16,
    view: &TopicView,
) -> impl Iterator<Item = TopicPartition> + use<'a> {
    let topic = topic_of(asked, version, view).ok().map(|topic| topic.id);
    let key = move |partition: &i32| Some(TopicPartition::new(topic?, *partition));
    asked.partition_indexes.iter().filter_map(key)
}

/// The committed offset of a partition, or the error if the client asks for stable offsets and this one is not.
fn committed(of: TopicPartition, offsets: &Offsets, asks: Asks) -> OffsetFetchResponsePartitions {
    if asks.stable && offsets.is_staged(of) {
        return partition(of.partition, None, ErrorCode::UnstableOffsetCommit);
    }
    partition(of.partition, offsets.get(of), ErrorCode::None)
}

/// As in Kafka, a partition that only open transactions have an offset for is left out.
fn all_offsets(offsets: &Offsets, asks: Asks, view: &TopicView) -> Vec<OffsetFetchResponseTopics> {
    let view = view.quietly();
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    let mut last: Option<&Topic> = None;
    for of @ TopicPartition { topic: id, .. } in offsets.all().keys() {
        let topic = match last.filter(|last| last.id == *id) {
            Some(topic) => topic,
            None => match view.topic(TopicRef::Id(*id), Operation::Describe) {
                Ok(topic) => {
                    let name = if asks.version >= TOPIC_IDS { String::new() } else { topic.name.to_string() };
                    topics.push(OffsetFetchResponseTopics { name, topic_id: *id, partitions: Vec::new() });
                    last.insert(topic)
                }
                // The client may not see the topic, or it was just deleted, and its offsets are removed too.
                Err(_) => continue,
            },
        };
        last = Some(topic);
        let Some(answer) = topics.last_mut() else { continue };
        answer.partitions.push(committed(*of, offsets, asks));
    }
    topics
}

/// Without a commit the offset is −1 and the metadata is empty, not null (rule C11).
fn partition(index: i32, found: Option<&CommittedOffset>, error: ErrorCode) -> OffsetFetchResponsePartitions {
    let (offset, epoch, metadata) = match found {
        Some(found) => {
            (found.offset.0, found.leader_epoch.map_or(-1, |epoch| epoch.0), found.metadata.clone())
        }
        None => (-1, -1, String::new()),
    };
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: offset,
        committed_leader_epoch: epoch,
        metadata: Some(metadata),
        error_code: error.code(),
    }
}

/// A request of v7 or below, which has one group and topic names.
fn one_group(group_id: String, topics: Option<Vec<OffsetFetchRequestTopic>>) -> OffsetFetchRequestGroup {
    let topics = topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..OffsetFetchRequestTopics::default()
        });
        topics.collect()
    });
    OffsetFetchRequestGroup { group_id, topics, ..OffsetFetchRequestGroup::default() }
}

/// The response of v7 or below. Since v2 an error is at the top level, without topics; v1 only has it in
/// the partitions.
fn only_group(group: OffsetFetchResponseGroup, version: i16) -> OffsetFetchResponse {
    let topics = match (group.error_code, version) {
        (0, _) | (_, 1) => group.topics,
        _ => Vec::new(),
    };
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| OffsetFetchResponsePartition {
            partition_index: partition.partition_index,
            committed_offset: partition.committed_offset,
            committed_leader_epoch: partition.committed_leader_epoch,
            metadata: partition.metadata,
            error_code: partition.error_code,
        });
        OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() }
    });
    let topics = topics.collect();
    OffsetFetchResponse { topics, error_code: group.error_code, ..OffsetFetchResponse::default() }
}
