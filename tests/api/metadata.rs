//! Rules M: the brokers and topics that a client gets.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::fetch_request::FetchRequest;
use jackdaw::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use jackdaw::protocol::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};
use jackdaw::time;
use jackdaw::types::TopicId;

use crate::harness::{Client, Node, PATIENCE, batch, code, fetch_from, only};

fn of(names: &[&str]) -> MetadataRequest {
    let topics = names
        .iter()
        .map(|name| MetadataRequestTopic { name: Some((*name).to_owned()), topic_id: TopicId::ZERO });
    MetadataRequest { topics: Some(topics.collect()), allow_auto_topic_creation: true, ..Default::default() }
}

fn by_id(ids: &[TopicId]) -> MetadataRequest {
    let topics = ids.iter().map(|id| MetadataRequestTopic { name: None, topic_id: *id });
    MetadataRequest { topics: Some(topics.collect()), ..Default::default() }
}

async fn topics(client: &mut Client, version: i16, request: MetadataRequest) -> Vec<MetadataResponseTopic> {
    client.call(version, request).await.topics
}

/// Repeats the request until all of the topics exist.
pub async fn known(client: &mut Client, names: &[&str]) -> Vec<MetadataResponseTopic> {
    let asked = async {
        loop {
            let answer = topics(client, 12, of(names)).await;
            if answer.iter().all(|topic| topic.error_code == 0) {
                return answer;
            }
        }
    };
    time::within(PATIENCE, asked).await.expect("the topics are created")
}

/// Name, error and number of partitions.
fn seen(topics: &[MetadataResponseTopic]) -> Vec<(Option<&str>, i16, usize)> {
    topics.iter().map(|topic| (topic.name.as_deref(), topic.error_code, topic.partitions.len())).collect()
}

#[tokio::test]
async fn the_broker_is_where_the_client_reached_it() {
    let node = Node::with(&[("broker.rack", "r1"), ("node.id", "7")]).await;
    let mut client = node.client().await;
    let answer = client.call(12, of(&[])).await;
    let broker = &answer.brokers[0];
    assert_eq!((broker.node_id, broker.host.as_str(), broker.rack.as_deref()), (7, "127.0.0.1", Some("r1")));
    assert_eq!(broker.port, i32::from(node.address.port()));
    assert_eq!(answer.controller_id, 7);
    assert_eq!(answer.cluster_id, Some(node.store.cluster_id().to_string()));
    assert!(answer.topics.is_empty(), "an empty list asks for no topics");
}

#[tokio::test]
async fn null_and_in_v0_an_empty_list_ask_for_all_topics() {
    let node = Node::start().await;
    node.topic("b", 2).await;
    node.topic("a", 1).await;
    let mut client = node.client().await;
    let all = MetadataRequest { topics: None, ..Default::default() };
    let expected = [(Some("a"), 0, 1), (Some("b"), 0, 2)];
    for version in [1, 5, 13] {
        assert_eq!(seen(&topics(&mut client, version, all.clone()).await), expected);
    }
    assert_eq!(seen(&topics(&mut client, 0, of(&[])).await), expected);
    assert_eq!(seen(&topics(&mut client, 1, of(&[])).await), []);
}

#[tokio::test]
async fn m1_a_topic_is_created_by_asking_for_it_where_both_sides_allow_it() {
    let node = Node::with(&[("num.partitions", "3")]).await;
    let mut client = node.client().await;
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    // As in Kafka, the topic is not in the same answer. Versions below 4 have no flag and always create.
    assert_eq!(seen(&topics(&mut client, 1, of(&["old"])).await), [(Some("old"), unknown, 0)]);
    assert_eq!(seen(&known(&mut client, &["old"]).await), [(Some("old"), 0, 3)]);
    assert_eq!(seen(&topics(&mut client, 12, of(&["new", "new"])).await), [(Some("new"), unknown, 0)]);
    assert_eq!(seen(&known(&mut client, &["new"]).await), [(Some("new"), 0, 3)]);
    let no = MetadataRequest { allow_auto_topic_creation: false, ..of(&["none"]) };
    assert_eq!(seen(&topics(&mut client, 12, no).await), [(Some("none"), unknown, 0)]);

    let strict = Node::with(&[("auto.create.topics.enable", "false")]).await;
    let answer = topics(&mut strict.client().await, 12, of(&["t"])).await;
    assert_eq!(seen(&answer), [(Some("t"), unknown, 0)]);
    assert_eq!(strict.store.topics().iter().count(), 0);
}

#[tokio::test]
async fn m1_many_topics_at_once_are_created_up_to_a_burst_and_the_rest_later() {
    let node = Node::start().await;
    let names: Vec<String> = (0..1_200).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut client = node.client().await;
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    let answer = topics(&mut client, 12, of(&names)).await;
    assert!(answer.iter().all(|topic| topic.error_code == unknown));
    // After the answer: the burst, then more topics at the allowed rate.
    known(&mut client, &names[..1_000]).await;
    known(&mut client, &names).await;
    assert_eq!(node.store.topics().iter().count(), 1_200);
}

#[tokio::test]
async fn m1_a_topic_that_was_just_deleted_is_not_in_the_next_answer() {
    let node = Node::start().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    node.store.delete_topic(id).await.unwrap();
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(seen(&topics(&mut client, 12, of(&["t"])).await), [(Some("t"), unknown, 0)]);
    // The request has created another topic.
    assert_ne!(known(&mut client, &["t"]).await[0].topic_id, id);
}

#[tokio::test]
async fn m1_topics_that_cannot_be_created_stay_unknown() {
    let node = Node::with(&[("default.replication.factor", "3")]).await;
    let mut client = node.client().await;
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    for _ in 0..3 {
        let answer = topics(&mut client, 12, of(&["t", "__cluster_metadata", "__share_group_state"])).await;
        assert!(answer.iter().all(|topic| topic.error_code == unknown), "{answer:?}");
    }
    assert_eq!(node.store.topics().iter().count(), 0);
    topics(&mut client, 12, of(&["__consumer_offsets"])).await;
    assert!(known(&mut client, &["__consumer_offsets"]).await[0].is_internal);
}

#[tokio::test]
async fn m10_the_topic_of_transactions_has_kafkas_settings() {
    let node = Node::with(&[
        ("transaction.state.log.num.partitions", "7"),
        ("transaction.state.log.min.isr", "3"),
        ("transaction.state.log.segment.bytes", "1048577"),
    ])
    .await;
    let mut client = node.client().await;
    topics(&mut client, 12, of(&["__transaction_state"])).await;
    let known = known(&mut client, &["__transaction_state"]).await;
    assert_eq!((known[0].is_internal, known[0].partitions.len()), (true, 7));
    let topic = node.store.topics().by_name("__transaction_state").cloned().unwrap();
    let settings: Vec<_> = topic.overrides.iter().map(|(name, value)| (&**name, &**value)).collect();
    let expected = [
        ("cleanup.policy", "compact"),
        ("compression.type", "uncompressed"),
        ("min.insync.replicas", "3"),
        ("segment.bytes", "1048577"),
        ("unclean.leader.election.enable", "false"),
    ];
    assert_eq!(settings, expected);
}

#[tokio::test]
async fn m2_a_client_that_poses_as_a_replica_gets_not_leader() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let answer = client.call(12, FetchRequest { replica_id: 1, ..fetch_from("t", 0, 0) }).await;
    assert_eq!(only(answer).error_code, code(ErrorCode::NotLeaderOrFollower));
}

#[tokio::test]
async fn m3_no_topic_is_without_an_error_and_without_partitions() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let asked = MetadataRequest { allow_auto_topic_creation: false, ..of(&["t", "u", "a b", ""]) };
    for topic in topics(&mut client, 12, asked).await {
        assert_eq!(topic.error_code == 0, !topic.partitions.is_empty(), "{:?}", topic.name);
    }
}

#[tokio::test]
async fn m4_every_partition_has_a_leader_epoch() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    for topic in topics(&mut client, 7, of(&["t"])).await {
        for partition in topic.partitions {
            assert_eq!((partition.leader_id, partition.leader_epoch), (1, 0));
            assert_eq!((partition.replica_nodes, partition.isr_nodes), (vec![1], vec![1]));
            assert!(partition.offline_replicas.is_empty());
        }
    }
    client.produce("t", 0, batch(&["a"])).await;
}

#[tokio::test]
async fn m5_a_topic_asked_for_twice_by_name_and_by_id_is_returned_once() {
    let node = Node::start().await;
    let id = node.topic("t", 2).await;
    let mut client = node.client().await;
    let mut both = by_id(&[id, id]);
    both.topics.as_mut().unwrap().extend(of(&["t", "other"]).topics.unwrap());
    // As in Kafka, if one topic is requested by id, topics without an id are ignored.
    assert_eq!(seen(&topics(&mut client, 12, both).await), [(Some("t"), 0, 2)]);
    assert_eq!(seen(&topics(&mut client, 12, of(&["t", "t"])).await), [(Some("t"), 0, 2)]);
}

#[tokio::test]
async fn an_unknown_id_is_its_own_error_and_ids_came_with_v12() {
    let node = Node::start().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    let stranger = jackdaw::types::Uuid([5; 16]);
    let answer = topics(&mut client, 12, by_id(&[stranger])).await;
    assert_eq!(seen(&answer), [(None, code(ErrorCode::UnknownTopicId), 0)]);
    assert_eq!(answer[0].topic_id, stranger);

    for version in [10, 11] {
        let mut request = by_id(&[id]);
        request.topics.as_mut().unwrap()[0].name = Some("t".to_owned());
        let MetadataResponse { brokers, topics, controller_id, cluster_id, .. } =
            client.call(version, request).await;
        assert_eq!(seen(&topics), [(Some("t"), code(ErrorCode::InvalidRequest), 0)]);
        assert_eq!((brokers.len(), controller_id, cluster_id), (0, -1, None));
    }
    let nameless = by_id(&[TopicId::ZERO]);
    let answer = client.call(13, nameless).await;
    assert_eq!(answer.error_code, code(ErrorCode::InvalidRequest));
}

#[tokio::test]
async fn w14_a_topic_id_is_never_zero_and_a_new_topic_of_the_same_name_has_another() {
    let node = Node::start().await;
    let first = node.topic("t", 1).await;
    let mut client = node.client().await;
    assert_eq!(topics(&mut client, 12, of(&["t"])).await[0].topic_id, first);
    assert!(!first.is_zero());
    node.store.delete_topic(first).await.unwrap();
    let second = topics(&mut client, 12, of(&["t"])).await[0].topic_id;
    assert_ne!(second, first);
    let answer = topics(&mut client, 12, by_id(&[first])).await;
    assert_eq!(answer[0].error_code, code(ErrorCode::UnknownTopicId));
}

#[tokio::test]
async fn m11_an_illegal_name_is_an_invalid_topic_at_once() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a b", "a/b", "é", &long] {
        let answer = topics(&mut client, 12, of(&[name])).await;
        assert_eq!(answer[0].error_code, code(ErrorCode::InvalidTopicException), "{name}");
    }
    // The name collides with an existing topic: as in Kafka it stays unknown.
    node.topic("a.b", 1).await;
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    for _ in 0..3 {
        assert_eq!(seen(&topics(&mut client, 12, of(&["a_b"])).await), [(Some("a_b"), unknown, 0)]);
    }
}

#[tokio::test]
async fn z11_authorized_operations_are_returned_only_if_asked_for() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let answer = client.call(8, of(&["t"])).await;
    assert_eq!(answer.cluster_authorized_operations, i32::MIN);
    assert_eq!(answer.topics[0].topic_authorized_operations, i32::MIN);
    let asked = MetadataRequest {
        include_cluster_authorized_operations: true,
        include_topic_authorized_operations: true,
        ..of(&["t"])
    };
    let answer = client.call(8, asked).await;
    assert_eq!(answer.cluster_authorized_operations, 8096);
    assert_eq!(answer.topics[0].topic_authorized_operations, 3576);
}
