//! Several virtual brokers in one process. Each serves the partitions that it leads and returns the leader of
//! the others. When one stops, others take over its partitions; when it starts again, it is in the ISR.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use jackdaw::api::error::ErrorCode;
use jackdaw::broker::{Broker, VirtualBrokerError};
use jackdaw::config::Given;
use jackdaw::protocol::Request;
use jackdaw::protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use jackdaw::protocol::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use jackdaw::protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use jackdaw::protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use jackdaw::protocol::messages::create_topics_response::CreatableTopicResult;
use jackdaw::protocol::messages::delete_groups_request::DeleteGroupsRequest;
use jackdaw::protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use jackdaw::protocol::messages::describe_cluster_request::DescribeClusterRequest;
use jackdaw::protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use jackdaw::protocol::messages::describe_groups_request::DescribeGroupsRequest;
use jackdaw::protocol::messages::describe_producers_request::{self, DescribeProducersRequest};
use jackdaw::protocol::messages::describe_quorum_request::{self, DescribeQuorumRequest};
use jackdaw::protocol::messages::describe_topic_partitions_request::{
    DescribeTopicPartitionsRequest, TopicRequest,
};
use jackdaw::protocol::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use jackdaw::protocol::messages::fetch_request::{FetchRequest, FetchTopic};
use jackdaw::protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use jackdaw::protocol::messages::heartbeat_request::HeartbeatRequest;
use jackdaw::protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use jackdaw::protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use jackdaw::protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use jackdaw::protocol::messages::list_groups_request::ListGroupsRequest;
use jackdaw::protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use jackdaw::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use jackdaw::protocol::messages::metadata_response::{MetadataResponse, MetadataResponsePartition};
use jackdaw::protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use jackdaw::protocol::messages::offset_delete_request::OffsetDeleteRequest;
use jackdaw::protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use jackdaw::protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use jackdaw::protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use jackdaw::protocol::messages::sync_group_request::SyncGroupRequest;
use jackdaw::protocol::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use jackdaw::protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest,
    InitProducerIdRequest, ListTransactionsRequest,
};
use jackdaw::record::{self, BatchBuilder};
use jackdaw::time;
use jackdaw::types::{NodeId, ProducerEpoch, ProducerId, Timestamp, TopicId};
use tokio::net::TcpStream;

use crate::harness::{
    Client, Node, PATIENCE, batch, batches, code, fetch_from, only, partition_from, produce_to, records,
};
use crate::harness::{fetch_topics, join, the_partition};

/// A process with the three virtual brokers 1, 2 and 3.
struct Three(Broker);

impl Three {
    async fn start() -> Three {
        Three::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Three {
        let builder = Broker::builder().ephemeral().brokers(3).set("group.initial.rebalance.delay.ms", "0");
        let builder = settings.iter().fold(builder, |builder, (name, value)| builder.set(name, *value));
        Three(builder.start().await.unwrap())
    }

    fn address(&self, broker: i32) -> String {
        self.0.brokers().find(|(id, _)| id.0 == broker).unwrap().1.to_owned()
    }

    async fn client(&self, broker: i32) -> Client {
        Client::of(&self.address(broker)).await
    }

    async fn stop(&self, broker: i32) {
        self.0.stop_one(NodeId(broker)).await.unwrap();
    }

    async fn begin(&self, broker: i32) {
        self.0.start_one(NodeId(broker)).await.unwrap();
    }

    /// A topic whose partitions have these replicas.
    async fn topic(&self, name: &str, replicas: &[&[i32]], settings: &[(&str, &str)]) -> TopicId {
        let running = self.0.brokers().next().unwrap().0;
        let made = create(&mut self.client(running.0).await, assigned(name, replicas, settings)).await;
        assert_eq!((made.error_code, made.error_message), (0, None));
        made.topic_id
    }
}

fn assigned(name: &str, replicas: &[&[i32]], settings: &[(&str, &str)]) -> CreatableTopic {
    let assignments = replicas.iter().zip(0..).map(|(brokers, partition_index)| CreatableReplicaAssignment {
        partition_index,
        broker_ids: brokers.to_vec(),
    });
    let configs = settings.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
    });
    let (assignments, configs) = (assignments.collect(), configs.collect());
    CreatableTopic { assignments, configs, ..spread(name, -1, -1) }
}

fn spread(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions, replication_factor, ..Default::default() }
}

async fn create(client: &mut Client, topic: CreatableTopic) -> CreatableTopicResult {
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, validate_only: false };
    client.call(7, request).await.topics.remove(0)
}

fn metadata_of(topic: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(topic.to_owned()), topic_id: TopicId::ZERO };
    MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: true, ..Default::default() }
}

async fn partition(client: &mut Client, topic: &str, index: usize) -> MetadataResponsePartition {
    client.call(12, metadata_of(topic)).await.topics.remove(0).partitions.swap_remove(index)
}

/// Leader, epoch, replicas, ISR, offline replicas.
fn standing(partition: &MetadataResponsePartition) -> (i32, i32, Vec<i32>, Vec<i32>, Vec<i32>) {
    let MetadataResponsePartition { replica_nodes, isr_nodes, offline_replicas, .. } = partition.clone();
    (partition.leader_id, partition.leader_epoch, replica_nodes, isr_nodes, offline_replicas)
}

#[tokio::test]
async fn every_broker_names_all_of_them_where_the_client_can_reach_them() {
    let three = Three::with(&[("broker.rack", "r")]).await;
    assert_eq!(three.0.listening().len(), 3);
    assert_eq!(three.0.bootstrap(), three.0.listening().join(","));
    let expected: Vec<_> = three.0.brokers().map(|(id, address)| (id.0, address.to_owned())).collect();
    for broker in 1..=3 {
        let answer = three.client(broker).await.call(12, metadata_of("t")).await;
        let found = answer.brokers.iter().map(|one| (one.node_id, format!("{}:{}", one.host, one.port)));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert!(answer.brokers.iter().all(|one| one.rack.as_deref() == Some("r")));
        assert_eq!(answer.controller_id, 1);
    }
}

#[tokio::test]
async fn replicas_and_leaders_are_spread_and_more_replicas_than_brokers_are_refused() {
    let three = Three::with(&[("default.replication.factor", "2")]).await;
    let mut client = three.client(2).await;
    let made = create(&mut client, spread("t", 6, 3)).await;
    assert_eq!((made.error_code, made.num_partitions, made.replication_factor), (0, 6, 3));
    let answer = client.call(12, metadata_of("t")).await;
    let mut leaders = BTreeMap::new();
    for partition in &answer.topics[0].partitions {
        assert_eq!(partition.replica_nodes.iter().collect::<BTreeSet<_>>().len(), 3);
        assert_eq!((partition.error_code, &partition.isr_nodes), (0, &partition.replica_nodes));
        assert_eq!(partition.leader_id, partition.replica_nodes[0]);
        *leaders.entry(partition.leader_id).or_insert(0) += 1;
    }
    assert_eq!(leaders, BTreeMap::from([(1, 2), (2, 2), (3, 2)]));

    assert_eq!(create(&mut client, spread("default", 1, -1)).await.replication_factor, 2);
    let made_by_asking = async {
        loop {
            let answer = client.call(12, metadata_of("made-by-asking")).await.topics.remove(0);
            if answer.error_code == 0 {
                return answer.partitions[0].replica_nodes.len();
            }
        }
    };
    assert_eq!(time::within(PATIENCE, made_by_asking).await, Some(2));
    let refused = create(&mut client, spread("many", 1, 4)).await;
    assert_eq!(refused.error_code, code(ErrorCode::InvalidReplicationFactor));
    assert!(refused.error_message.unwrap().contains("because only 3 broker(s) are registered"));
    let refused = create(&mut client, assigned("strange", &[&[1, 4]], &[])).await;
    assert_eq!(refused.error_code, code(ErrorCode::InvalidReplicaAssignment));
}

#[tokio::test]
async fn a_broker_that_does_not_lead_accepts_no_records_and_from_v10_on_names_the_leader() {
    let three = Three::start().await;
    let id = three.topic("t", &[&[2, 1]], &[]).await;
    for (asked, version) in [(1, 9), (1, 10), (3, 13)] {
        let request = ProduceRequest {
            acks: -1,
            topic_data: vec![TopicProduceData {
                name: "t".to_owned(),
                topic_id: id,
                partition_data: vec![PartitionProduceData { index: 0, records: Some(batch(&["a"]).into()) }],
            }],
            ..Default::default()
        };
        let answer = three.client(asked).await.call(version, request).await;
        let found: Vec<_> = answer
            .node_endpoints
            .iter()
            .map(|one| (one.node_id, format!("{}:{}", one.host, one.port)))
            .collect();
        let refused = the_partition(answer);
        assert_eq!(refused.error_code, code(ErrorCode::NotLeaderOrFollower));
        match version {
            9 => assert!(found.is_empty()),
            _ => {
                assert_eq!((refused.current_leader.leader_id, refused.current_leader.leader_epoch), (2, 0));
                assert_eq!(found, [(2, three.address(2))]);
            }
        }
    }
    let mut leader = three.client(2).await;
    assert_eq!(leader.produce("t", 0, batch(&["a"])).await.error_code, 0);
    assert_eq!(batches(&leader.fetch("t", 0, 0).await), [(0, 1)], "nothing was taken but this");
}

#[tokio::test]
async fn a_broker_that_does_not_lead_returns_no_records_and_from_v16_on_names_the_leader() {
    let three = Three::start().await;
    let id = three.topic("t", &[&[2, 1]], &[]).await;
    assert_eq!(three.client(2).await.produce("t", 0, batch(&["a"])).await.error_code, 0);
    for (asked, version) in [(1, 12), (1, 15), (3, 16)] {
        let topic = FetchTopic {
            topic: if version < 13 { "t".to_owned() } else { String::new() },
            topic_id: id,
            partitions: vec![partition_from(0, 0)],
        };
        let answer = three.client(asked).await.call(version, fetch_topics(vec![topic])).await;
        let found: Vec<_> = answer
            .node_endpoints
            .iter()
            .map(|one| (one.node_id, format!("{}:{}", one.host, one.port)))
            .collect();
        let refused = only(answer);
        assert_eq!(refused.error_code, code(ErrorCode::NotLeaderOrFollower));
        match version {
            16 => {
                assert_eq!((refused.current_leader.leader_id, refused.current_leader.leader_epoch), (2, 0));
                assert_eq!(found, [(2, three.address(2))]);
            }
            _ => assert!(found.is_empty()),
        }
    }
}

#[tokio::test]
async fn offsets_and_epochs_are_returned_by_the_leader_only() {
    let three = Three::start().await;
    three.topic("t", &[&[2, 1]], &[]).await;
    for (broker, epoch, expected) in [
        (2, -1, ErrorCode::None),
        (2, 7, ErrorCode::UnknownLeaderEpoch),
        (1, -1, ErrorCode::NotLeaderOrFollower),
        // A follower knows the epoch; a broker without a replica does not.
        (1, 7, ErrorCode::UnknownLeaderEpoch),
        (3, 7, ErrorCode::NotLeaderOrFollower),
    ] {
        let mut client = three.client(broker).await;
        let partitions =
            vec![ListOffsetsPartition { partition_index: 0, current_leader_epoch: epoch, timestamp: -1 }];
        let topics = vec![ListOffsetsTopic { name: "t".to_owned(), partitions }];
        let answer =
            client.call(7, ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, code(expected), "{broker} {epoch}");
        let partitions =
            vec![OffsetForLeaderPartition { partition: 0, current_leader_epoch: epoch, leader_epoch: 0 }];
        let topics = vec![OffsetForLeaderTopic { topic: "t".to_owned(), partitions }];
        let answer = client.call(4, OffsetForLeaderEpochRequest { replica_id: -1, topics }).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, code(expected), "{broker} {epoch}");
    }
}

#[tokio::test]
async fn every_broker_describes_itself_by_its_own_id_and_refuses_to_speak_for_another() {
    let three = Three::start().await;
    for (asked, named) in [(1, 1), (2, 2), (3, 3), (3, 1)] {
        let key = DescribeConfigsResource {
            resource_type: 4,
            resource_name: named.to_string(),
            configuration_keys: Some(vec!["node.id".to_owned()]),
        };
        let request = DescribeConfigsRequest { resources: vec![key], ..Default::default() };
        let answer = three.client(asked).await.call(4, request).await;
        let shown = answer.results[0].configs.first().and_then(|config| config.value.clone());
        assert_eq!(shown, (asked == named).then(|| named.to_string()), "broker {asked} of {named}");
    }
}

#[tokio::test]
async fn an_advertised_port_of_0_is_the_one_that_each_broker_took() {
    let three = Three::with(&[("advertised.listeners", "PLAINTEXT://kafka.example:0")]).await;
    let port_of = |broker| three.address(broker).rsplit_once(':').unwrap().1.to_owned();
    let expected = [1, 2, 3].map(|broker| (broker, format!("kafka.example:{}", port_of(broker))));
    for broker in 1..=3 {
        let answer = three.client(broker).await.call(12, metadata_of("t")).await;
        let found = answer.brokers.iter().map(|one| (one.node_id, format!("{}:{}", one.host, one.port)));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn every_broker_describes_the_listeners_that_are_its_own() {
    let three = Three::with(&[("advertised.listeners", "PLAINTEXT://kafka.example:19092")]).await;
    for (broker, port) in [(1, 19092), (2, 19093), (3, 19094)] {
        let mut client = three.client(broker).await;
        let shown = described(&mut client, broker, "advertised.listeners").await;
        assert_eq!(shown, Some(format!("PLAINTEXT://kafka.example:{port}")));
        // Also after a setting was altered.
        let change = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 4,
                resource_name: broker.to_string(),
                configs: vec![AlterableConfig {
                    name: "log.retention.ms".to_owned(),
                    config_operation: 0,
                    value: Some("86400000".to_owned()),
                }],
            }],
            ..Default::default()
        };
        assert_eq!(client.call(1, change).await.responses[0].error_code, 0);
        assert_eq!(described(&mut client, broker, "log.retention.ms").await.as_deref(), Some("86400000"));
        assert_eq!(described(&mut client, broker, "advertised.listeners").await, shown);
    }
}

/// A setting of a broker, described by that broker.
async fn described(client: &mut Client, broker: i32, name: &str) -> Option<String> {
    let key = DescribeConfigsResource {
        resource_type: 4,
        resource_name: broker.to_string(),
        configuration_keys: Some(vec![name.to_owned()]),
    };
    let request = DescribeConfigsRequest { resources: vec![key], ..Default::default() };
    client.call(4, request).await.results.remove(0).configs.remove(0).value
}

#[tokio::test]
async fn any_broker_lists_the_settings_of_all_of_them_whether_they_run_or_not() {
    let three = Three::start().await;
    three.stop(3).await;
    for kind in [4, 8] {
        let request = ListConfigResourcesRequest { resource_types: vec![kind] };
        let answer = three.client(2).await.call(1, request).await;
        let found: Vec<_> = answer.config_resources.iter().map(|one| one.resource_name.as_str()).collect();
        assert_eq!(found, ["1", "2", "3"]);
    }
}

#[tokio::test]
async fn every_broker_names_the_same_controller_and_keeper_of_the_metadata() {
    let three = Three::start().await;
    for (controller, stops) in [(1, 1), (2, 1)] {
        let mut third = three.client(3).await;
        let asked = describe_quorum_request::TopicData {
            topic_name: "__cluster_metadata".to_owned(),
            partitions: vec![describe_quorum_request::PartitionData { partition_index: 0 }],
        };
        let answer = third.call(2, DescribeQuorumRequest { topics: vec![asked] }).await;
        let quorum = &answer.topics[0].partitions[0];
        assert_eq!((quorum.leader_id, quorum.current_voters[0].replica_id), (controller, controller));
        let listener = &answer.nodes[0].listeners[0];
        assert_eq!(answer.nodes[0].node_id, controller);
        assert_eq!(format!("{}:{}", listener.host, listener.port), three.address(controller));
        let nope = FeatureUpdateKey {
            feature: "nope".to_owned(),
            max_version_level: 3,
            upgrade_type: 1,
            ..Default::default()
        };
        let request =
            UpdateFeaturesRequest { feature_updates: vec![nope], timeout_ms: 1000, ..Default::default() };
        let why = third.call(2, request).await.error_message.unwrap();
        assert!(why.contains(&format!("Local controller {controller} does not")), "{why}");
        three.stop(stops).await;
    }
}

#[tokio::test]
async fn producers_are_described_by_every_replica() {
    let three = Three::start().await;
    three.topic("t", &[&[2, 1]], &[]).await;
    for (broker, expected) in
        [(1, ErrorCode::None), (2, ErrorCode::None), (3, ErrorCode::NotLeaderOrFollower)]
    {
        let topic =
            describe_producers_request::TopicRequest { name: "t".to_owned(), partition_indexes: vec![0] };
        let topics = vec![topic];
        let answer = three.client(broker).await.call(0, DescribeProducersRequest { topics }).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, code(expected), "{broker}");
    }
}

#[tokio::test]
async fn records_are_deleted_by_the_leader_only() {
    let three = Three::start().await;
    three.topic("t", &[&[2, 1]], &[]).await;
    for (broker, expected) in
        [(1, ErrorCode::NotLeaderOrFollower), (2, ErrorCode::None), (3, ErrorCode::NotLeaderOrFollower)]
    {
        let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: -1 }];
        let topics = vec![DeleteRecordsTopic { name: "t".to_owned(), partitions }];
        let request = DeleteRecordsRequest { topics, timeout_ms: 1000 };
        let answer = three.client(broker).await.call(2, request).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, code(expected), "{broker}");
    }
}

#[tokio::test]
async fn a_long_poll_ends_when_another_broker_leads() {
    let node = Node::start().await;
    node.store.set_brokers(vec![NodeId(1), NodeId(2)]).await.unwrap();
    let placed = vec![vec![NodeId(1), NodeId(2)]];
    let topic = node.store.create_placed_topic("t".to_owned(), BTreeMap::new(), placed).await.unwrap();
    let mut client = node.client().await;
    let waits = FetchRequest { max_wait_ms: 25_000, ..fetch_from("t", 0, 0) };
    client.send(12, &waits).await;
    // Connections are served in turn: when this client has its answer, the poll of the first has begun.
    let mut other = node.client().await;
    other.fetch("t", 0, 0).await;
    assert!(!client.has_received());
    node.store.set_replicas(topic.id, 0, vec![NodeId(2)]).await.unwrap();
    let (_, answer) = client.receive::<FetchRequest>(12).await;
    assert_eq!(only(answer).error_code, code(ErrorCode::NotLeaderOrFollower));
}

#[tokio::test]
async fn a_broker_that_stops_hands_on_what_it_leads_and_comes_back_in_step() {
    let three = Three::start().await;
    three.topic("t", &[&[2, 3, 1], &[1, 2, 3]], &[]).await;
    let mut second = three.client(2).await;
    assert_eq!(second.produce("t", 0, batch(&["a"])).await.error_code, 0);
    three.stop(2).await;
    assert!(second.is_closed().await);
    assert!(TcpStream::connect(three.address(2)).await.is_err(), "its port is refused");

    let mut first = three.client(1).await;
    let answer: MetadataResponse = first.call(12, metadata_of("t")).await;
    assert_eq!(answer.brokers.iter().map(|one| one.node_id).collect::<Vec<_>>(), [1, 3]);
    let partitions = &answer.topics[0].partitions;
    assert_eq!(standing(&partitions[0]), (3, 1, vec![2, 3, 1], vec![3, 1], vec![2]));
    assert_eq!(standing(&partitions[1]), (1, 0, vec![1, 2, 3], vec![1, 3], vec![2]), "its leader stays");
    let mut third = three.client(3).await;
    assert_eq!(third.produce("t", 0, batch(&["b"])).await.base_offset, 1, "nothing is lost");

    three.begin(2).await;
    assert_eq!(standing(&partition(&mut first, "t", 0).await), (3, 1, vec![2, 3, 1], vec![2, 3, 1], vec![]));
    let mut second = three.client(2).await;
    let refused = second.produce("t", 0, batch(&["c"])).await;
    assert_eq!(refused.error_code, code(ErrorCode::NotLeaderOrFollower), "who leads now leads on");
    assert_eq!(batches(&third.fetch("t", 0, 0).await), [(0, 1), (1, 1)]);
    assert!(matches!(three.0.stop_one(NodeId(9)).await, Err(VirtualBrokerError::Unknown(NodeId(9)))));
}

#[tokio::test]
async fn a_partition_whose_replicas_all_stopped_has_no_leader_until_one_that_was_in_step_is_back() {
    let three = Three::start().await;
    three.topic("t", &[&[2, 3]], &[]).await;
    three.stop(2).await;
    three.stop(3).await;
    let mut first = three.client(1).await;
    let left = partition(&mut first, "t", 0).await;
    assert_eq!(left.error_code, code(ErrorCode::LeaderNotAvailable));
    assert_eq!(standing(&left), (-1, 2, vec![2, 3], vec![], vec![2, 3]));
    let refused = first.call(10, produce_to("t", 0, batch(&["a"]))).await;
    assert!(refused.node_endpoints.is_empty());
    let refused = the_partition(refused);
    assert_eq!(refused.error_code, code(ErrorCode::NotLeaderOrFollower));
    assert_eq!(refused.current_leader.leader_id, -1);

    three.begin(2).await;
    assert_eq!(partition(&mut first, "t", 0).await.leader_id, -1, "2 was not in step any more");
    three.begin(3).await;
    assert_eq!(standing(&partition(&mut first, "t", 0).await), (3, 3, vec![2, 3], vec![2, 3], vec![]));
    // Version 0 has no field for offline replicas.
    three.stop(2).await;
    let shown = first.call(0, metadata_of("t")).await.topics.remove(0).partitions.remove(0);
    assert_eq!(shown.error_code, code(ErrorCode::ReplicaNotAvailable));
    assert_eq!((shown.leader_id, shown.replica_nodes, shown.isr_nodes), (3, vec![3], vec![3]));
}

/// Leader, epoch, ISR, ELR and the last leader of the only partition.
async fn eligible(client: &mut Client, topic: &str) -> (i32, i32, Vec<i32>, Vec<i32>, Vec<i32>) {
    let topics = vec![TopicRequest { name: topic.to_owned() }];
    let request = DescribeTopicPartitionsRequest { topics, response_partition_limit: 2000, cursor: None };
    let found = client.call(0, request).await.topics.remove(0).partitions.remove(0);
    assert_eq!(found.error_code, 0, "also where nobody leads");
    let (elr, last) = (found.eligible_leader_replicas.unwrap(), found.last_known_elr.unwrap());
    (found.leader_id, found.leader_epoch, found.isr_nodes, elr, last)
}

#[tokio::test]
async fn eligible_replicas_and_the_last_leader_are_returned_and_an_eligible_one_leads_again() {
    let three = Three::start().await;
    three.topic("t", &[&[1, 2]], &[("min.insync.replicas", "2")]).await;
    let mut third = three.client(3).await;
    three.stop(1).await;
    assert_eq!(eligible(&mut third, "t").await, (2, 1, vec![2], vec![1], vec![]));
    three.stop(2).await;
    assert_eq!(eligible(&mut third, "t").await, (-1, 2, vec![], vec![1, 2], vec![2]));
    three.begin(1).await;
    assert_eq!(eligible(&mut third, "t").await, (1, 3, vec![1], vec![2], vec![]));
    three.begin(2).await;
    assert_eq!(eligible(&mut third, "t").await, (1, 3, vec![1, 2], vec![], vec![]));
}

#[tokio::test]
async fn a_replica_that_missed_the_end_leads_where_unclean_elections_are_on_or_asked_for() {
    let three = Three::with(&[("unclean.leader.election.enable", "true")]).await;
    three.topic("any", &[&[1, 2]], &[]).await;
    three.topic("safe", &[&[1, 2]], &[("unclean.leader.election.enable", "false")]).await;
    three.stop(1).await;
    assert_eq!(three.client(2).await.produce("any", 0, batch(&["a"])).await.error_code, 0);
    three.stop(2).await;
    let mut third = three.client(3).await;
    let elect = |kind| {
        let asked = TopicPartitions { topic: "safe".to_owned(), partitions: vec![0] };
        ElectLeadersRequest { election_type: kind, topic_partitions: Some(vec![asked]), timeout_ms: 30_000 }
    };
    let unclean = third.call(2, elect(1)).await.replica_election_results.remove(0).partition_result.remove(0);
    assert_eq!(unclean.error_code, code(ErrorCode::EligibleLeadersNotAvailable), "no replica runs");

    three.begin(1).await;
    assert_eq!(eligible(&mut third, "any").await, (1, 3, vec![1], vec![], vec![]));
    let mut first = three.client(1).await;
    assert_eq!(batches(&first.fetch("any", 0, 0).await), [(0, 1)], "nothing is lost: there is one copy");
    assert_eq!(first.produce("any", 0, batch(&["b"])).await.error_code, 0);

    assert_eq!(eligible(&mut third, "safe").await, (-1, 2, vec![], vec![2], vec![2]));
    for (kind, expected) in
        [(0, ErrorCode::PreferredLeaderNotAvailable), (1, ErrorCode::None), (1, ErrorCode::ElectionNotNeeded)]
    {
        let found = third.call(2, elect(kind)).await.replica_election_results.remove(0);
        assert_eq!(found.partition_result[0].error_code, code(expected), "{kind}");
    }
    assert_eq!(eligible(&mut third, "safe").await, (1, 3, vec![1], vec![], vec![]));
}

#[tokio::test]
async fn a_reload_that_turns_unclean_elections_on_gives_leaderless_partitions_a_leader() {
    let three = Three::start().await;
    three.topic("t", &[&[1, 2]], &[]).await;
    three.topic("safe", &[&[1, 2]], &[("unclean.leader.election.enable", "false")]).await;
    three.stop(1).await;
    three.stop(2).await;
    three.begin(1).await;
    let mut third = three.client(3).await;
    assert_eq!(eligible(&mut third, "t").await, (-1, 2, vec![], vec![2], vec![2]));
    let mut written = Given::default();
    written.set("unclean.leader.election.enable", "true");
    three.0.reload(written).await;
    assert_eq!(eligible(&mut third, "t").await, (1, 3, vec![1], vec![], vec![]));
    assert_eq!(eligible(&mut third, "safe").await, (-1, 2, vec![], vec![2], vec![2]));
}

#[tokio::test]
async fn min_insync_replicas_are_asked_for_where_acks_are_all() {
    let three = Three::start().await;
    three.topic("t", &[&[1, 2]], &[("min.insync.replicas", "2")]).await;
    three.topic("alone", &[&[1]], &[("min.insync.replicas", "2")]).await;
    let mut first = three.client(1).await;
    assert_eq!(first.produce("t", 0, batch(&["a"])).await.error_code, 0);
    three.stop(2).await;
    let refused = first.produce("t", 0, batch(&["b"])).await;
    assert_eq!(refused.error_code, code(ErrorCode::NotEnoughReplicas));
    let one = first.call(12, ProduceRequest { acks: 1, ..produce_to("t", 0, batch(&["c"])) }).await;
    assert_eq!(the_partition(one).base_offset, 1, "nothing was written but what the leader alone confirms");
    assert_eq!(first.produce("alone", 0, batch(&["a"])).await.error_code, 0, "no more than there are");
    three.begin(2).await;
    assert_eq!(first.produce("t", 0, batch(&["d"])).await.error_code, 0);
}

#[tokio::test]
async fn stopped_brokers_are_described_as_fenced_on_request() {
    let three = Three::start().await;
    three.stop(1).await;
    let mut client = three.client(2).await;
    for (version, include, expected) in
        [(1, false, vec![(2, false), (3, false)]), (2, true, vec![(1, true), (2, false), (3, false)])]
    {
        let request = DescribeClusterRequest {
            endpoint_type: 1,
            include_fenced_brokers: include,
            ..Default::default()
        };
        let answer = client.call(version, request).await;
        let found = answer.brokers.iter().map(|one| (one.broker_id, one.is_fenced)).collect::<Vec<_>>();
        assert_eq!((found, answer.controller_id), (expected, 2));
    }
}

#[tokio::test]
async fn a_broker_that_comes_back_knows_none_of_its_fetch_sessions() {
    let three = Three::start().await;
    three.topic("t", &[&[2]], &[]).await;
    let topic =
        FetchTopic { topic: "t".to_owned(), partitions: vec![partition_from(0, 0)], ..Default::default() };
    let mut second = three.client(2).await;
    let opens = FetchRequest { session_epoch: 0, ..fetch_topics(vec![topic]) };
    let session_id = second.call(12, opens).await.session_id;
    let goes_on = FetchRequest { session_id, session_epoch: 1, ..fetch_topics(vec![]) };
    assert_eq!(second.call(12, goes_on.clone()).await.error_code, 0);
    three.stop(2).await;
    three.begin(2).await;
    let mut second = three.client(2).await;
    let goes_on = FetchRequest { session_epoch: 2, ..goes_on };
    assert_eq!(second.call(12, goes_on).await.error_code, code(ErrorCode::FetchSessionIdNotFound));
}

/// Kafka's answer for a partition that no running broker could lead.
fn none_runs(partition: i32) -> (i16, Option<String>) {
    let why = format!(
        "All brokers specified in the manual partition assignment for partition {partition} are fenced or in controlled shutdown."
    );
    (code(ErrorCode::InvalidReplicaAssignment), Some(why))
}

#[tokio::test]
async fn a_topic_may_have_replicas_on_stopped_brokers_where_one_of_each_partition_runs() {
    let three = Three::start().await;
    three.stop(3).await;
    let mut client = three.client(1).await;
    let of_three = create(&mut client, spread("of-three", 6, 3)).await;
    assert_eq!((of_three.error_code, of_three.replication_factor), (0, 3));
    for index in 0..6 {
        let one = partition(&mut client, "of-three", index).await;
        assert_eq!((one.replica_nodes.len(), one.replica_nodes[2], one.isr_nodes.len()), (3, 3, 2));
    }
    let refused = create(&mut client, spread("of-four", 1, 4)).await;
    assert!(refused.error_message.unwrap().contains("because only 3 broker(s) are registered"));
    three.topic("led-by-the-second", &[&[3, 1]], &[]).await;
    let led = partition(&mut client, "led-by-the-second", 0).await;
    assert_eq!(standing(&led), (1, 0, vec![3, 1], vec![1], vec![3]));

    // The answer names the first partition with an error.
    for (replicas, expected) in [
        (&[&[3][..], &[9]][..], none_runs(0)),
        (&[&[1], &[3], &[3]], none_runs(1)),
        (&[&[3], &[1, 2]], none_runs(0)),
    ] {
        for validate_only in [true, false] {
            let topics = vec![assigned("t", replicas, &[])];
            let request = CreateTopicsRequest { topics, timeout_ms: 30_000, validate_only };
            let refused = client.call(7, request).await.topics.remove(0);
            assert_eq!((refused.error_code, refused.error_message), expected);
        }
    }
}

#[tokio::test]
async fn partitions_that_no_broker_could_lead_are_not_added() {
    let three = Three::start().await;
    three.topic("t", &[&[1]], &[]).await;
    three.stop(3).await;
    let mut client = three.client(1).await;
    let invalid = code(ErrorCode::InvalidReplicaAssignment);
    let unknown =
        "The manual partition assignment includes broker 9, but no such broker is registered.".to_owned();
    for (brokers, expected) in
        [([3, 9], none_runs(1)), ([9, 3], (invalid, Some(unknown))), ([2, 3], none_runs(2))]
    {
        let assignments = brokers.map(|broker| CreatePartitionsAssignment { broker_ids: vec![broker] });
        let topic =
            CreatePartitionsTopic { name: "t".to_owned(), count: 3, assignments: Some(assignments.to_vec()) };
        for validate_only in [true, false] {
            let request =
                CreatePartitionsRequest { topics: vec![topic.clone()], timeout_ms: 30_000, validate_only };
            let refused = client.call(3, request).await.results.remove(0);
            assert_eq!((refused.error_code, refused.error_message), expected);
        }
    }
}

#[tokio::test]
async fn a_preferred_leader_that_stopped_cannot_be_elected_nor_can_a_partition_move_to_it_alone() {
    let three = Three::start().await;
    three.topic("t", &[&[3, 1]], &[]).await;
    three.stop(3).await;
    let mut client = three.client(2).await;
    let asked = TopicPartitions { topic: "t".to_owned(), partitions: vec![0] };
    let request =
        ElectLeadersRequest { election_type: 0, topic_partitions: Some(vec![asked]), timeout_ms: 30_000 };
    let found = client.call(2, request).await.replica_election_results.remove(0).partition_result.remove(0);
    assert_eq!(found.error_code, code(ErrorCode::PreferredLeaderNotAvailable));
    assert_eq!(found.error_message.as_deref(), Some("The preferred leader was not available."));

    for (replicas, expected) in [(vec![3], none_runs(0)), (vec![2, 3], (0, None))] {
        let partitions = vec![ReassignablePartition { partition_index: 0, replicas: Some(replicas) }];
        let topics = vec![ReassignableTopic { name: "t".to_owned(), partitions }];
        let request = AlterPartitionReassignmentsRequest { topics, timeout_ms: 30_000, ..Default::default() };
        let found = client.call(1, request).await.responses.remove(0).partitions.remove(0);
        assert_eq!((found.error_code, found.error_message), expected);
    }
    assert_eq!(standing(&partition(&mut client, "t", 0).await), (2, 2, vec![2, 3], vec![2], vec![3]));
}

// --- groups -------------------------------------------------------------------------------------

fn coordinators_of(groups: &[&str]) -> FindCoordinatorRequest {
    let coordinator_keys = groups.iter().map(|group| (*group).to_owned()).collect();
    FindCoordinatorRequest { key_type: 0, coordinator_keys, ..Default::default() }
}

async fn coordinator_of(client: &mut Client, group: &str) -> i32 {
    client.call(6, coordinators_of(&[group])).await.coordinators[0].node_id
}

/// One group for each broker as coordinator.
async fn groups(three: &Three) -> BTreeMap<i32, String> {
    let mut client = three.client(1).await;
    let mut groups = BTreeMap::new();
    for number in 0.. {
        let group = format!("group-{number}");
        groups.entry(coordinator_of(&mut client, &group).await).or_insert(group);
        if groups.len() == 3 {
            break;
        }
    }
    groups
}

fn commit(group: &str, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: -1,
        retention_time_ms: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn committed(group: &str) -> OffsetFetchRequest {
    let topics = vec![OffsetFetchRequestTopics {
        name: "t".to_owned(),
        partition_indexes: vec![0],
        ..Default::default()
    }];
    let groups = vec![OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics: Some(topics),
        ..Default::default()
    }];
    OffsetFetchRequest { groups, ..Default::default() }
}

#[tokio::test]
async fn every_group_has_one_coordinator_and_every_broker_names_the_same() {
    let three = Three::start().await;
    let groups = groups(&three).await;
    assert_eq!(groups.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    let names: Vec<&str> = groups.values().map(String::as_str).collect();
    for broker in 1..=3 {
        let mut client = three.client(broker).await;
        let found = client.call(4, coordinators_of(&names)).await.coordinators;
        for (found, expected) in found.iter().zip(1..) {
            assert_eq!((found.error_code, found.node_id), (0, expected));
            assert_eq!(format!("{}:{}", found.host, found.port), three.address(expected));
        }
        let old = FindCoordinatorRequest { key: groups[&3].clone(), ..Default::default() };
        let old = client.call(3, old).await;
        assert_eq!((old.node_id, format!("{}:{}", old.host, old.port)), (3, three.address(3)));
    }
}

#[tokio::test]
async fn whoever_does_not_coordinate_a_group_says_so_to_every_request() {
    let three = Three::start().await;
    three.topic("t", &[&[1]], &[]).await;
    let group = groups(&three).await.remove(&2).unwrap();
    let not_here = code(ErrorCode::NotCoordinator);
    let mut here = three.client(2).await;
    assert_eq!(here.call(8, commit(&group, 5)).await.topics[0].partitions[0].error_code, 0);

    let mut other = three.client(1).await;
    assert_eq!(other.call(8, commit(&group, 9)).await.topics[0].partitions[0].error_code, not_here);
    assert_eq!(other.call(9, join(&group, "")).await.error_code, not_here);
    let group_id = group.clone();
    let sync = SyncGroupRequest {
        group_id,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    };
    assert_eq!(other.call(5, sync).await.error_code, not_here);
    let group_id = group.clone();
    assert_eq!(other.call(4, HeartbeatRequest { group_id, ..Default::default() }).await.error_code, not_here);
    let members = vec![MemberIdentity { member_id: "m".into(), ..Default::default() }];
    let leave = LeaveGroupRequest { group_id: group.clone(), members, ..Default::default() };
    assert_eq!(other.call(5, leave).await.error_code, not_here);
    assert_eq!(other.call(8, committed(&group)).await.groups[0].error_code, not_here);
    let old = OffsetFetchRequest { group_id: group.clone(), topics: None, ..Default::default() };
    assert_eq!(other.call(5, old).await.error_code, not_here);
    let group_id = group.clone();
    assert_eq!(other.call(0, OffsetDeleteRequest { group_id, topics: vec![] }).await.error_code, not_here);
    let describe = DescribeGroupsRequest { groups: vec![group.clone()], ..Default::default() };
    assert_eq!(other.call(5, describe).await.groups[0].error_code, not_here);
    let delete = DeleteGroupsRequest { groups_names: vec![group.clone()] };
    assert_eq!(other.call(2, delete).await.results[0].error_code, not_here);
    assert!(other.call(4, ListGroupsRequest::default()).await.groups.is_empty());

    let listed = here.call(4, ListGroupsRequest::default()).await.groups;
    assert_eq!(listed.iter().map(|one| &one.group_id).collect::<Vec<_>>(), [&group]);
    let found = here.call(8, committed(&group)).await.groups.remove(0);
    assert_eq!(found.topics[0].partitions[0].committed_offset, 5, "nothing was changed elsewhere");
}

#[tokio::test]
async fn a_group_whose_coordinator_stops_goes_on_with_another_one_in_its_generation() {
    let three = Three::start().await;
    three.topic("t", &[&[1]], &[]).await;
    let groups = groups(&three).await;
    let group = &groups[&2];
    let mut second = three.client(2).await;
    let member = second.call(9, join(group, "")).await.member_id;
    let joined = second.call(9, join(group, &member)).await;
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    let sync = SyncGroupRequest {
        group_id: group.clone(),
        generation_id: 1,
        member_id: member.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    };
    assert_eq!(second.call(5, sync).await.error_code, 0);

    three.stop(2).await;
    let mut first = three.client(1).await;
    let now = coordinator_of(&mut first, group).await;
    assert_ne!(now, 2);
    for unmoved in [1, 3] {
        assert_eq!(coordinator_of(&mut first, &groups[&unmoved]).await, unmoved);
    }
    let mut coordinator = three.client(now).await;
    let beat = HeartbeatRequest {
        group_id: group.clone(),
        generation_id: 1,
        member_id: member.clone(),
        ..Default::default()
    };
    assert_eq!(coordinator.call(4, beat.clone()).await.error_code, 0, "nobody has to join again");

    three.begin(2).await;
    assert_eq!(coordinator_of(&mut first, group).await, 2);
    assert_eq!(coordinator.call(4, beat.clone()).await.error_code, code(ErrorCode::NotCoordinator));
    assert_eq!(three.client(2).await.call(4, beat).await.error_code, 0);
}

// --- transactions -------------------------------------------------------------------------------

async fn coordinator_of_id(client: &mut Client, id: &str) -> i32 {
    let coordinator_keys = vec![id.to_owned()];
    let find = FindCoordinatorRequest { key_type: 1, coordinator_keys, ..Default::default() };
    client.call(6, find).await.coordinators[0].node_id
}

/// A transactional id for each broker as coordinator, with its producer id.
async fn transactional_ids(three: &Three) -> BTreeMap<i32, (String, i64)> {
    let mut client = three.client(1).await;
    let mut ids = BTreeMap::new();
    for number in 0.. {
        let id = format!("id-{number}");
        let coordinator = coordinator_of_id(&mut client, &id).await;
        if let Entry::Vacant(place) = ids.entry(coordinator) {
            let init = InitProducerIdRequest {
                transactional_id: Some(id.clone()),
                transaction_timeout_ms: 60_000,
                ..Default::default()
            };
            let found = three.client(coordinator).await.call(5, init).await;
            assert_eq!(found.error_code, 0);
            place.insert((id, found.producer_id));
        }
        if ids.len() == 3 {
            break;
        }
    }
    ids
}

fn add_partition(id: &str, producer: i64) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.to_owned(),
        v3_and_below_producer_id: producer,
        v3_and_below_topics: vec![AddPartitionsToTxnTopic { name: "t".to_owned(), partitions: vec![0] }],
        ..Default::default()
    }
}

fn end_of(id: &str, producer_id: i64) -> EndTxnRequest {
    EndTxnRequest { transactional_id: id.to_owned(), producer_id, producer_epoch: 0, committed: true }
}

#[tokio::test]
async fn whoever_does_not_coordinate_a_transactional_id_says_so_to_every_request() {
    let three = Three::start().await;
    three.topic("t", &[&[1]], &[]).await;
    let (id, producer) = transactional_ids(&three).await[&3].clone();
    let mut other = three.client(1).await;
    let not_here = code(ErrorCode::NotCoordinator);
    let init = InitProducerIdRequest {
        transactional_id: Some(id.clone()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    assert_eq!(other.call(5, init).await.error_code, not_here);
    let added = other.call(3, add_partition(&id, producer)).await.results_by_topic_v3_and_below;
    assert_eq!(added[0].results_by_partition[0].partition_error_code, not_here);
    let group = AddOffsetsToTxnRequest {
        transactional_id: id.clone(),
        producer_id: producer,
        producer_epoch: 0,
        group_id: "g".to_owned(),
    };
    assert_eq!(other.call(4, group).await.error_code, not_here);
    assert_eq!(other.call(5, end_of(&id, producer)).await.error_code, not_here);
    let describe = DescribeTransactionsRequest { transactional_ids: vec![id.clone()] };
    assert_eq!(other.call(0, describe).await.transaction_states[0].error_code, not_here);
    let list = || ListTransactionsRequest { duration_filter: -1, ..Default::default() };
    for broker in 1..=3 {
        let listed = three.client(broker).await.call(2, list()).await.transaction_states;
        assert_eq!(listed.len(), 1, "each id is listed by its coordinator");
        assert_eq!(listed[0].transactional_id == id, broker == 3);
    }
}

#[tokio::test]
async fn a_transaction_whose_coordinator_stops_goes_on_with_another_one() {
    let three = Three::start().await;
    three.topic("t", &[&[1]], &[]).await;
    let (id, producer) = transactional_ids(&three).await[&2].clone();
    let added = three.client(2).await.call(3, add_partition(&id, producer)).await;
    let added = &added.results_by_topic_v3_and_below[0].results_by_partition[0];
    assert_eq!(added.partition_error_code, 0);
    three.stop(2).await;
    let now = coordinator_of_id(&mut three.client(1).await, &id).await;
    assert_ne!(now, 2);
    let ended = three.client(now).await.call(5, end_of(&id, producer)).await;
    assert_eq!((ended.error_code, ended.producer_epoch), (0, 1));
}

/// A producer that keeps the coordinator and the leaders it found until one of them does not answer, or says that it is
/// the wrong one.
struct Moving {
    three: Three,
    running: BTreeSet<i32>,
    coordinator: i32,
    leaders: [i32; 3],
    producer: record::Producer,
    /// The times that it was at a wrong broker, and at one that did not run.
    wrong: usize,
    gone: usize,
}

/// An entry of a partition: the epoch of a record with its value, or that of a marker with its type.
#[derive(Debug, PartialEq)]
enum Placed {
    Record(i16, String),
    Marker(i16, bool),
}

impl Moving {
    async fn start() -> Moving {
        let three = Three::start().await;
        three.topic("t", &[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]], &[]).await;
        let producer = record::Producer { id: ProducerId(-1), epoch: ProducerEpoch(-1), base_sequence: 0 };
        let (running, leaders) = (BTreeSet::from([1, 2, 3]), [1, 2, 3]);
        let mut moving = Moving { three, running, coordinator: 1, leaders, producer, wrong: 0, gone: 0 };
        let init = InitProducerIdRequest {
            transactional_id: Some("moving".to_owned()),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let found = moving.ask_coordinator(5, init, |answer| answer.error_code).await;
        (moving.producer.id, moving.producer.epoch) = (ProducerId(found.producer_id), ProducerEpoch(0));
        moving
    }

    /// A client of this broker, if it runs.
    async fn at(&mut self, broker: i32) -> Option<Client> {
        if self.running.contains(&broker) {
            return Some(self.three.client(broker).await);
        }
        self.gone += 1;
        None
    }

    async fn anyone(&self) -> Client {
        self.three.client(*self.running.first().unwrap()).await
    }

    async fn ask_coordinator<R: Request + Clone>(
        &mut self,
        version: i16,
        request: R,
        code_of: impl Fn(&R::Response) -> i16,
    ) -> R::Response {
        loop {
            if let Some(mut client) = self.at(self.coordinator).await {
                let answer = client.call(version, request.clone()).await;
                if code_of(&answer) == 0 {
                    return answer;
                }
                assert_eq!(code_of(&answer), code(ErrorCode::NotCoordinator));
                self.wrong += 1;
            }
            self.coordinator = coordinator_of_id(&mut self.anyone().await, "moving").await;
        }
    }

    async fn send(&mut self, index: usize, sequence: i32, value: &str) {
        let producer = record::Producer { base_sequence: sequence, ..self.producer };
        let batch = BatchBuilder::new().producer(producer).transactional().value(Timestamp(1_000), value);
        let bytes = batch.build();
        loop {
            if let Some(mut client) = self.at(self.leaders[index]).await {
                let transactional_id = Some("moving".to_owned());
                let plain = produce_to("t", index as i32, bytes.clone());
                let found =
                    the_partition(client.call(12, ProduceRequest { transactional_id, ..plain }).await);
                if found.error_code == 0 {
                    return;
                }
                assert_eq!(found.error_code, code(ErrorCode::NotLeaderOrFollower));
                self.wrong += 1;
            }
            self.leaders[index] = partition(&mut self.anyone().await, "t", index).await.leader_id;
        }
    }

    async fn end(&mut self, committed: bool) {
        let request = EndTxnRequest {
            transactional_id: "moving".to_owned(),
            producer_id: self.producer.id.0,
            producer_epoch: self.producer.epoch.0,
            committed,
        };
        let found = self.ask_coordinator(5, request, |answer| answer.error_code).await;
        self.producer.epoch.0 += 1;
        assert_eq!((found.producer_id, found.producer_epoch), (self.producer.id.0, self.producer.epoch.0));
    }

    /// Stops or starts a broker; one always runs.
    async fn move_on(&mut self, broker: i32) {
        if !self.running.contains(&broker) {
            self.three.begin(broker).await;
            self.running.insert(broker);
        } else if self.running.len() > 1 {
            self.three.stop(broker).await;
            self.running.remove(&broker);
        }
    }

    async fn entries(&mut self, index: usize) -> Vec<Placed> {
        let leader = partition(&mut self.anyone().await, "t", index).await.leader_id;
        let data = only(self.three.client(leader).await.call(12, fetch_from("t", index as i32, 0)).await);
        assert_eq!(data.last_stable_offset, data.high_watermark);
        let mut entries = Vec::new();
        for batch in record::batches(&records(&data)) {
            let (header, bytes) = batch.unwrap();
            let record = record::records(&bytes).unwrap().next().unwrap().unwrap();
            let epoch = header.producer_epoch.0;
            entries.push(if header.attributes.control() {
                Placed::Marker(epoch, record.key.as_deref() == Some(&[0, 0, 0, 1]))
            } else {
                Placed::Record(epoch, String::from_utf8(record.value.unwrap().to_vec()).unwrap())
            });
        }
        entries
    }
}

#[tokio::test]
async fn a_producer_goes_on_in_its_transactions_while_coordinators_and_leaders_stop_and_come_back() {
    let mut moving = Moving::start().await;
    let mut seed = 7_u64;
    let mut below = move |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    let mut expected: [Vec<Placed>; 3] = Default::default();
    for number in 0..40 {
        let epoch = moving.producer.epoch.0;
        let mut sequences = [0; 3];
        for part in 0..1 + below(4) {
            moving.move_on(1 + below(3) as i32).await;
            let (index, value) = (below(3) as usize, format!("{number}.{part}"));
            moving.send(index, sequences[index], &value).await;
            sequences[index] += 1;
            expected[index].push(Placed::Record(epoch, value));
        }
        moving.move_on(1 + below(3) as i32).await;
        let committed = below(3) > 0;
        moving.end(committed).await;
        for (index, _) in sequences.iter().enumerate().filter(|(_, sent)| **sent > 0) {
            expected[index].push(Placed::Marker(epoch + 1, committed));
        }
    }
    for (index, expected) in expected.iter().enumerate() {
        assert_eq!(moving.entries(index).await, *expected, "partition {index}");
    }
    assert!(moving.wrong > 5 && moving.gone > 5, "{} and {}", moving.wrong, moving.gone);
}

// --- another number of brokers -------------------------------------------------------------------

#[tokio::test]
async fn a_directory_of_three_brokers_opens_with_one_and_with_three_again() {
    let dir = tempfile::tempdir().unwrap();
    let start = |brokers| Broker::builder().data_dir(dir.path()).brokers(brokers).start();
    let three = Three(start(3).await.unwrap());
    three.topic("t", &[&[1, 2], &[2, 3], &[3, 2]], &[]).await;
    for (index, leader) in [(0, 1), (1, 2), (2, 3)] {
        let sent = three.client(leader).await.produce("t", index, batch(&["a"])).await;
        assert_eq!(sent.error_code, 0);
    }
    three.0.stop().await;

    let one = Three(start(1).await.unwrap());
    let mut client = one.client(1).await;
    assert_eq!(standing(&partition(&mut client, "t", 0).await), (1, 0, vec![1, 2], vec![1], vec![2]));
    for index in 1..3 {
        let moved = partition(&mut client, "t", index).await;
        let (leader, _, replicas, isr, offline) = standing(&moved);
        assert_eq!((leader, replicas, isr, offline), (1, vec![1], vec![1], vec![]));
        let index = i32::try_from(index).unwrap();
        assert_eq!(batches(&client.fetch("t", index, 0).await), [(0, 1)], "what was written is there");
        assert_eq!(client.produce("t", index, batch(&["b"])).await.base_offset, 1);
    }
    one.0.stop().await;

    let three = Three(start(3).await.unwrap());
    let mut client = three.client(1).await;
    let whole = (1, 0, vec![1, 2], vec![1, 2], vec![]);
    assert_eq!(standing(&partition(&mut client, "t", 0).await), whole, "it has its replicas again");
    assert_eq!(partition(&mut client, "t", 2).await.replica_nodes, [1], "the move was for good");
}
