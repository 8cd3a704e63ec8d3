//! TxnOffsetCommit (key 28): stores offsets of a group that are committed with a transaction.
//! v3 has the member that commits. v4 knows TRANSACTION_ABORTABLE. From v5 on the group is added to the transaction
//! without AddOffsetsToTxn. v6 has topic ids instead of names.

use super::check_level;
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::group::offset_commit::{BegunCommit, generation, refuse};
use crate::api::{Handler, Reply};
use crate::coordinator::group::{Commit, GroupError, Identity, OffsetToCommit};
use crate::protocol::messages::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponseTopic,
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use crate::security::operations::Operation;

/// The first version that knows TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 4;
/// The first version in which a group is added by its offsets.
const JOINS: i16 = 5;
/// The first version with topic ids.
const TOPIC_IDS: i16 = 6;

impl Handler for TxnOffsetCommitRequest {
    const GAPS: &'static [&'static str] = &[
        "The transactional id is always compared with the producer; Kafka does so only until the offsets of the group are part of the transaction.",
    ];

    async fn handle(mut self, ctx: Context) -> Reply<TxnOffsetCommitResponse> {
        let topics = std::mem::take(&mut self.topics).into_iter().map(plain).collect();
        if let Err(forbidden) = ctx.transactional_id(&self.transactional_id, Operation::Write) {
            return Reply::Now(answer(refuse(topics, forbidden.into())));
        }
        if let Err(forbidden) = ctx.may_use_group(&self.group_id, Operation::Read) {
            return Reply::Now(answer(refuse(topics, forbidden.into())));
        }
        let (offsets, begun) = BegunCommit::of(topics, &ctx.topics(), ctx.version >= TOPIC_IDS);
        if offsets.is_empty() {
            return Reply::Now(answer(begun.ended(Ok::<_, ErrorCode>(Vec::new()))));
        }
        // It waits here, so that a later request of the connection finds the offsets.
        Reply::Now(answer(begun.ended(commit(self, offsets, &ctx).await)))
    }
}

async fn commit(
    request: TxnOffsetCommitRequest,
    offsets: Vec<OffsetToCommit>,
    ctx: &Context,
) -> Result<Vec<Result<(), GroupError>>, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(GroupError::NoGroupId.into());
    }
    let version = ctx.version;
    if version >= JOINS {
        check_level(ctx)?;
    }
    let group = ctx.group(&request.group_id, Operation::Read)?;
    let id = ctx.transactional_id(&request.transactional_id, Operation::Write)?;
    let commit = Commit {
        generation: generation(request.generation_id_or_member_epoch),
        who: Identity { member: request.member_id, instance: request.group_instance_id },
        knows_group_not_found: version >= TOPIC_IDS,
        retention: None,
        offsets,
    };
    let producer = super::producer(request.producer_id, request.producer_epoch);
    let stored = group.commit_in(id, producer, version >= JOINS, commit).await;
    stored.map_err(|error| {
        let code = if version >= ABORTABLE { ErrorCode::abortable(&error) } else { ErrorCode::from(&error) };
        // As in Kafka, a fenced producer gets the code of a stale epoch here, in all versions.
        code.before_fencing()
    })
}

/// The topic as a request without a transaction has it.
fn plain(topic: TxnOffsetCommitRequestTopic) -> OffsetCommitRequestTopic {
    let partitions = topic.partitions.into_iter().map(|partition| {
        let TxnOffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            committed_leader_epoch,
            committed_metadata,
        } = partition;
        OffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            committed_leader_epoch,
            committed_metadata,
        }
    });
    let partitions = partitions.collect();
    OffsetCommitRequestTopic { name: topic.name, topic_id: topic.topic_id, partitions }
}

fn answer(topics: Vec<OffsetCommitResponseTopic>) -> TxnOffsetCommitResponse {
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| TxnOffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: partition.error_code,
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic { name: topic.name, topic_id: topic.topic_id, partitions }
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..TxnOffsetCommitResponse::default() }
}
