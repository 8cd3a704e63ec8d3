//! AlterPartitionReassignments (key 45): changes the replicas of a partition. All brokers of this
//! process share one copy of the log, so nothing is moved, and a reassignment is complete when it is
//! answered.
//! v1 can forbid a change of the replication factor.

use crate::api::context::{Context, TopicRef, TopicView};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::queued::{self, QueuedChange, queue};
use crate::api::{Handler, Reply, replicas};
use crate::protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::security::operations::Operation;
use crate::types::NodeId;

impl Handler for AlterPartitionReassignmentsRequest {
    const GAPS: &'static [&'static str] = &[
        "A reassignment is done at once: none is ever under way, and none can be cancelled.",
        "One to brokers that are all stopped is INVALID_REPLICA_ASSIGNMENT; Kafka waits for them.",
    ];

    fn named(&self) -> usize {
        self.topics.iter().map(|topic| 1 + topic.partitions.len()).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<AlterPartitionReassignmentsResponse> {
        let topics = match ctx.cluster_or_reason(Operation::Alter) {
            Ok(cluster) => cluster.topics(),
            Err(refusal) => return Reply::Now(refuse(self, refusal)),
        };
        let may_resize = self.allow_replication_factor_change;
        // As in Kafka, a request with a timeout of 0 or less starts nothing.
        let is_too_late = self.timeout_ms <= 0;
        // All are queued before the first wait, so that they share a sync.
        let begun: Vec<_> = self
            .topics
            .into_iter()
            .map(|topic| {
                let partitions = topic.partitions.into_iter().map(|asked| {
                    let moving = if is_too_late {
                        Err(ErrorCode::RequestTimedOut.into())
                    } else {
                        begin(&topics, &topic.name, &asked, may_resize, &ctx)
                    };
                    (asked.partition_index, moving)
                });
                let partitions: Vec<_> = partitions.collect();
                (topic.name, partitions)
            })
            .collect();
        let mut answer = AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: may_resize,
            error_code: if is_too_late { ErrorCode::RequestTimedOut } else { ErrorCode::None }.code(),
            // Kafka's message for an empty request.
            error_message: begun.is_empty().then(String::new),
            ..AlterPartitionReassignmentsResponse::default()
        };
        for (name, moving) in begun {
            let mut partitions = Vec::with_capacity(moving.len());
            for (partition_index, outcome) in queued::outcomes(moving).await {
                let refusal = outcome.err().unwrap_or_else(|| ErrorCode::None.into());
                let (error_code, error_message) = (refusal.code.code(), refusal.message);
                partitions.push(ReassignablePartitionResponse { partition_index, error_code, error_message });
            }
            answer.responses.push(ReassignableTopicResponse { name, partitions });
        }
        Reply::Now(answer)
    }
}

fn begin(
    topics: &TopicView,
    name: &str,
    asked: &ReassignablePartition,
    may_resize: bool,
    ctx: &Context,
) -> QueuedChange {
    let index = asked.partition_index;
    let unknown = |why| Refusal::new(ErrorCode::UnknownTopicOrPartition, why);
    let topic = topics.topic(TopicRef::Name(name), Operation::Alter);
    let topic = topic.map_err(|_| unknown(format!("Unable to find a topic named {name}.")))?;
    let placement =
        topic.placement(index).ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
    let Some(wanted) = &asked.replicas else {
        return Err(ErrorCode::NoReassignmentInProgress.into());
    };
    let wanted: Vec<NodeId> = replicas::check(wanted, &ctx.services.cluster.brokers, None)?;
    let current = &placement.replicas;
    if !may_resize && wanted.len() != current.len() {
        let why = format!("The replication factor is changed from {} to {}", current.len(), wanted.len());
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, why));
    }
    if wanted == *current {
        return queued::done(());
    }
    replicas::check_one_runs(index, &wanted, topics.running())?;
    queue(ctx.set_replicas(topic, index, wanted))
}

/// As in Kafka, each partition of the request has the error, too.
fn refuse(
    request: AlterPartitionReassignmentsRequest,
    refusal: Refusal,
) -> AlterPartitionReassignmentsResponse {
    let error_code = refusal.code.code();
    let responses = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| ReassignablePartitionResponse {
            partition_index: asked.partition_index,
            error_code,
            error_message: refusal.message.clone(),
        });
        ReassignableTopicResponse { name: topic.name, partitions: partitions.collect() }
    });
    let responses = responses.collect();
    AlterPartitionReassignmentsResponse {
        error_code,
        error_message: refusal.message,
        responses,
        ..AlterPartitionReassignmentsResponse::default()
    }
}
