//! DescribeQuorum (key 55): the quorum of the cluster's metadata. It is this process and its journal:
//! the controller is the only voter and the leader, and the journal's position is the offset.
//! v2 adds directories and the voters' listeners.

use crate::api::context::{Cluster, Context};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Reply};
use crate::protocol::messages::{
    DescribeQuorumRequest, DescribeQuorumResponse, Node, describe_quorum_request,
    describe_quorum_response::{Listener, PartitionData, ReplicaState, TopicData},
};
use crate::security::operations::Operation;
use crate::types::topic_name;

/// There is always the same leader.
const LEADER_EPOCH: i32 = 1;

impl Handler for DescribeQuorumRequest {
    const GAPS: &'static [&'static str] = &[
        "The quorum is this process: its leader epoch is always 1, its offset is the position of the journal, its directory has no id.",
    ];

    fn named(&self) -> usize {
        self.topics.iter().map(|topic| 1 + topic.partitions.len()).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeQuorumResponse> {
        Reply::Now(match ctx.cluster(Operation::Describe) {
            Ok(cluster) if is_the_quorum(&self.topics) => describe(&cluster, &ctx),
            Ok(_) => refuse(self),
            Err(forbidden) => {
                let refusal = Refusal::from(forbidden);
                DescribeQuorumResponse {
                    error_code: refusal.code.code(),
                    error_message: refusal.message,
                    ..DescribeQuorumResponse::default()
                }
            }
        })
    }
}

/// Kafka only accepts a request for partition 0 of its metadata topic and nothing else.
fn is_the_quorum(topics: &[describe_quorum_request::TopicData]) -> bool {
    let [topic] = topics else { return false };
    let [partition] = &topic.partitions[..] else { return false };
    topic.topic_name == topic_name::CLUSTER_METADATA && partition.partition_index == 0
}

fn describe(cluster: &Cluster<'_>, ctx: &Context) -> DescribeQuorumResponse {
    let controller = ctx.controller(&ctx.topics());
    let node = controller.0;
    let end = i64::try_from(cluster.position()).unwrap_or(i64::MAX);
    let now = ctx.services.clock.now().0;
    let endpoint = ctx.endpoint(controller);
    let voter = ReplicaState {
        replica_id: node,
        log_end_offset: end,
        last_fetch_timestamp: now,
        last_caught_up_timestamp: now,
        ..ReplicaState::default()
    };
    let partition = PartitionData {
        leader_id: node,
        leader_epoch: LEADER_EPOCH,
        high_watermark: end,
        current_voters: vec![voter],
        ..PartitionData::default()
    };
    let name = &ctx.connection.listener.name;
    let listener =
        endpoint.map(|endpoint| Listener { name: name.clone(), host: endpoint.host, port: endpoint.port });
    DescribeQuorumResponse {
        topics: vec![TopicData {
            topic_name: topic_name::CLUSTER_METADATA.to_owned(),
            partitions: vec![partition],
        }],
        nodes: vec![Node { node_id: node, listeners: listener.into_iter().collect() }],
        ..DescribeQuorumResponse::default()
    }
}

fn refuse(request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = request.topics.into_iter().map(|topic| TopicData {
        topic_name: topic.topic_name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| PartitionData {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                error_message: Some("This server does not host this topic-partition.".to_owned()),
                ..PartitionData::default()
            })
            .collect(),
    });
    DescribeQuorumResponse { topics: topics.collect(), ..DescribeQuorumResponse::default() }
}
