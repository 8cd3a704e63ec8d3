//! OffsetFetch (key 9): the committed offsets of groups.
//! Since v2, null instead of topics asks for all offsets. v5 has leader epochs. v7 can ask for offsets
//! of finished transactions only, which all offsets are. Since v8 a request can have several groups. v9
//! has the member that asks, v10 topic ids instead of names.

use std::sync::Arc;

use super::later;
use crate::api::context::{Context, NoTopic, TopicRef, TopicView};
use crate::api::error::ErrorCode;
use crate::api::operations::Operation;
use crate::api::{Handler, Reply, Size, Weight};
use crate::kernel::offsets::{CommittedOffset, PartitionKey};
use crate::protocol::messages::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::storage::Topic;

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
        let asked = match version {
            8.. => self.groups,
            _ => vec![one_group(self.group_id, self.topics)],
        };
        let view = ctx.topics();
        let allowed = allowed(&asked, &ctx, &view).await;
        later(async move {
            let mut groups = Vec::with_capacity(asked.len());
            for (at, group) in asked.into_iter().enumerate() {
                groups.push(if at < allowed {
                    fetch(group, &ctx, &view).await
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

/// The number of groups that fit into the memory for the response, which is charged here. The first group
/// is always answered if it asks for all its offsets.
async fn allowed(asked: &[OffsetFetchRequestGroup], ctx: &Context, view: &TopicView) -> usize {
    let mut bytes = 0;
    let mut allowed = 0;
    for group in asked {
        let keys = group.topics.as_ref().map(|topics| keys(topics, ctx.version, view));
        // The collected offsets and their encoded form. Partitions of unknown topics are in the response
        // as well.
        let named: usize = group.topics.iter().flatten().map(|topic| topic.partition_indexes.len()).sum();
        let found = match ctx.group(&group.group_id, Operation::Describe) {
            Ok(group) => group.weigh_offsets(keys.as_deref()),
            Err(_) => 0,
        };
        bytes += 2 * found + 128 * named;
        if bytes > ctx.room.left() && (allowed > 0 || group.topics.is_some()) {
            break;
        }
        allowed += 1;
    }
    ctx.room.hold(bytes.min(ctx.room.left())).await;
    allowed
}

async fn fetch(asked: OffsetFetchRequestGroup, ctx: &Context, view: &TopicView) -> OffsetFetchResponseGroup {
    let topics = match asked.topics {
        Some(topics) => fetch_some(&asked.group_id, topics, ctx, view).await,
        None => fetch_all(&asked.group_id, ctx, view).await,
    };
    let (topics, error_code) = match topics {
        Ok(topics) => (topics, 0),
        Err((topics, error)) => (topics, error.code()),
    };
    OffsetFetchResponseGroup { group_id: asked.group_id, topics, error_code }
}

/// The topics of a response without offsets, and the error.
type RefusedTopics = (Vec<OffsetFetchResponseTopics>, ErrorCode);

async fn fetch_some(
    group: &str,
    asked: Vec<OffsetFetchRequestTopics>,
    ctx: &Context,
    view: &TopicView,
) -> Result<Vec<OffsetFetchResponseTopics>, RefusedTopics> {
    let version = ctx.version;
    let keys = keys(&asked, version, view);
    let found = match ctx.group(group, Operation::Describe) {
        Ok(group) => group.fetch_offsets(Some(keys)).await.map_err(ErrorCode::from),
        Err(error) => Err(error.into()),
    };
    let (found, error) = match found {
        Ok(found) => (found, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let mut found = found.into_iter().map(|(_, found)| found);
    let mut topics = Vec::with_capacity(asked.len());
    for topic in asked {
        let refused = match topic_of(&topic, version, view) {
            Ok(_) => None,
            // In versions with names, an unknown topic looks like a topic without a commit.
            Err(NoTopic::UnknownName) => Some(ErrorCode::None),
            Err(error) => Some(error.into()),
        };
        let partitions = topic.partition_indexes.into_iter().map(|index| match refused {
            None => partition(index, found.next().flatten(), error.unwrap_or(ErrorCode::None)),
            Some(refused) => partition(index, None, refused),
        });
        let partitions = partitions.collect();
        topics.push(OffsetFetchResponseTopics { name: topic.name, topic_id: topic.topic_id, partitions });
    }
    match error {
        None => Ok(topics),
        Some(error) => Err((topics, error)),
    }
}

fn topic_of<'a>(
    asked: &OffsetFetchRequestTopics,
    version: i16,
    view: &'a TopicView,
) -> Result<&'a Arc<Topic>, NoTopic> {
    view.topic(TopicRef::of(version, TOPIC_IDS, &asked.name, asked.topic_id), Operation::Describe)
}

/// The partitions of known topics, in the order of the request.
fn keys(asked: &[OffsetFetchRequestTopics], version: i16, view: &TopicView) -> Vec<PartitionKey> {
    let count = asked.iter().map(|topic| topic.partition_indexes.len()).sum();
    let mut keys = Vec::with_capacity(count);
    for topic in asked {
        let id = topic_of(topic, version, view).ok().map(|topic| topic.id);
        keys.extend(topic.partition_indexes.iter().filter_map(|index| Some((id?, *index))));
    }
    keys
}

async fn fetch_all(
    group: &str,
    ctx: &Context,
    view: &TopicView,
) -> Result<Vec<OffsetFetchResponseTopics>, RefusedTopics> {
    let group = ctx.group(group, Operation::Describe).map_err(without_topics)?;
    let found = group.fetch_offsets(None).await.map_err(without_topics)?;
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    let mut last: Option<&Topic> = None;
    for ((id, index), found) in found {
        let topic = match last.filter(|last| last.id == id) {
            Some(topic) => topic,
            None => match view.topic(TopicRef::Id(id), Operation::Describe) {
                Ok(topic) => {
                    let name = if ctx.version >= 10 { String::new() } else { topic.name.to_string() };
                    topics.push(OffsetFetchResponseTopics { name, topic_id: id, partitions: Vec::new() });
                    last.insert(topic)
                }
                // The client may not see the topic, or it was just deleted, and its offsets will be removed too.
                Err(_) => continue,
            },
        };
        last = Some(topic);
        let Some(answer) = topics.last_mut() else { continue };
        answer.partitions.push(partition(index, found, ErrorCode::None));
    }
    Ok(topics)
}

fn without_topics(error: impl Into<ErrorCode>) -> RefusedTopics {
    (Vec::new(), error.into())
}

/// Without a commit the offset is −1 and the metadata is empty, not null (rule C11).
fn partition(index: i32, found: Option<CommittedOffset>, error: ErrorCode) -> OffsetFetchResponsePartitions {
    let (offset, epoch, metadata) = match found {
        Some(found) => (found.offset.0, found.leader_epoch.map_or(-1, |epoch| epoch.0), found.metadata),
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
