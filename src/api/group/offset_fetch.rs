//! OffsetFetch (key 9): the committed offsets of groups.
//! Since v2, null instead of topics asks for all offsets. v5 has leader epochs. v7 can ask for offsets
//! of finished transactions only, which all offsets are. Since v8 a request can have several groups. v9
//! has the member that asks, v10 topic ids instead of names.

use std::sync::Arc;

use super::{code, coordinates, later};
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply, Size, Weight};
use crate::coordinator::classic::GroupError;
use crate::kernel::group::{CommittedOffset, PartitionKey};
use crate::protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use crate::protocol::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::storage::{Topic, Topics};

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
        let image = ctx.services.store.topics();
        let allowed = allowed(&asked, &ctx, &image).await;
        later(async move {
            let mut groups = Vec::with_capacity(asked.len());
            for (at, group) in asked.into_iter().enumerate() {
                groups.push(match at < allowed {
                    true => fetch(group, &ctx, &image).await,
                    false => OffsetFetchResponseGroup {
                        group_id: group.group_id,
                        error_code: ErrorCode::InvalidRequest.code(),
                        ..OffsetFetchResponseGroup::default()
                    },
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
async fn allowed(asked: &[OffsetFetchRequestGroup], ctx: &Context, image: &Topics) -> usize {
    let mut bytes = 0;
    let mut allowed = 0;
    for group in asked {
        let keys = group.topics.as_ref().map(|topics| keys(topics, ctx.version, image));
        // The collected offsets and their encoded form. Partitions of unknown topics are in the response
        // as well.
        let named: usize = group.topics.iter().flatten().map(|topic| topic.partition_indexes.len()).sum();
        bytes += 2 * ctx.services.groups.weigh_offsets(&group.group_id, keys.as_deref()) + 128 * named;
        if bytes > ctx.room.left() && (allowed > 0 || group.topics.is_some()) {
            break;
        }
        allowed += 1;
    }
    ctx.room.hold(bytes.min(ctx.room.left())).await;
    allowed
}

type Found = Option<CommittedOffset>;

async fn fetch(asked: OffsetFetchRequestGroup, ctx: &Context, image: &Topics) -> OffsetFetchResponseGroup {
    let topics = match asked.topics {
        Some(topics) => fetch_some(&asked.group_id, topics, ctx, image).await,
        None => fetch_all(&asked.group_id, ctx, image).await,
    };
    let (topics, error_code) = match topics {
        Ok(topics) => (topics, 0),
        Err((topics, error)) => (topics, error.code()),
    };
    OffsetFetchResponseGroup { group_id: asked.group_id, topics, error_code }
}

/// The topics of a response without offsets, and the error.
type Refused = (Vec<OffsetFetchResponseTopics>, ErrorCode);

async fn fetch_some(
    group: &str,
    asked: Vec<OffsetFetchRequestTopics>,
    ctx: &Context,
    image: &Topics,
) -> Result<Vec<OffsetFetchResponseTopics>, Refused> {
    let version = ctx.version;
    let keys = keys(&asked, version, image);
    let found = match coordinates(ctx, group) {
        Ok(()) => ctx.services.groups.fetch_offsets(group, Some(keys)).await,
        Err(error) => Err(error),
    };
    let (found, error) = match found {
        Ok(found) => (found, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let mut found = found.into_iter().map(|(_, found)| found);
    let mut topics = Vec::with_capacity(asked.len());
    for topic in asked {
        let is_known = topic_of(&topic, version, image).is_some();
        // In versions with names, an unknown topic looks like a topic without a commit.
        let unknown = if version >= 10 { ErrorCode::UnknownTopicId } else { ErrorCode::None };
        let partitions = topic.partition_indexes.into_iter().map(|index| match is_known {
            true => partition(index, found.next().flatten(), error.map_or(0, |error| code(Err(error)))),
            false => partition(index, None, unknown.code()),
        });
        let partitions = partitions.collect();
        topics.push(OffsetFetchResponseTopics { name: topic.name, topic_id: topic.topic_id, partitions });
    }
    match error {
        None => Ok(topics),
        Some(error) => Err((topics, error.into())),
    }
}

fn topic_of<'a>(asked: &OffsetFetchRequestTopics, version: i16, image: &'a Topics) -> Option<&'a Arc<Topic>> {
    match version {
        10.. => image.by_id(asked.topic_id),
        _ => image.by_name(&asked.name),
    }
}

/// The partitions of known topics, in the order of the request.
fn keys(asked: &[OffsetFetchRequestTopics], version: i16, image: &Topics) -> Vec<PartitionKey> {
    let count = asked.iter().map(|topic| topic.partition_indexes.len()).sum();
    let mut keys = Vec::with_capacity(count);
    for topic in asked {
        let id = topic_of(topic, version, image).map(|topic| topic.id);
        keys.extend(topic.partition_indexes.iter().filter_map(|index| Some((id?, *index))));
    }
    keys
}

async fn fetch_all(
    group: &str,
    ctx: &Context,
    image: &Topics,
) -> Result<Vec<OffsetFetchResponseTopics>, Refused> {
    let refuse = |error: GroupError| (Vec::new(), error.into());
    coordinates(ctx, group).map_err(refuse)?;
    let found = ctx.services.groups.fetch_offsets(group, None).await.map_err(refuse)?;
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    let mut last: Option<&Topic> = None;
    for ((id, index), found) in found {
        let topic = match last.filter(|last| last.id == id) {
            Some(topic) => topic,
            // The topic was just deleted, and its offsets will be removed too.
            None => match image.by_id(id) {
                Some(topic) => {
                    let name = if ctx.version >= 10 { String::new() } else { topic.name.to_string() };
                    topics.push(OffsetFetchResponseTopics { name, topic_id: id, partitions: Vec::new() });
                    last.insert(topic)
                }
                None => continue,
            },
        };
        last = Some(topic);
        let Some(answer) = topics.last_mut() else { continue };
        answer.partitions.push(partition(index, found, 0));
    }
    Ok(topics)
}

/// Without a commit the offset is −1 and the metadata is empty, not null (rule C11).
fn partition(index: i32, found: Found, error_code: i16) -> OffsetFetchResponsePartitions {
    let (offset, epoch, metadata) = match found {
        Some(found) => (found.offset.0, found.leader_epoch.map_or(-1, |epoch| epoch.0), found.metadata),
        None => (-1, -1, String::new()),
    };
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: offset,
        committed_leader_epoch: epoch,
        metadata: Some(metadata),
        error_code,
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
