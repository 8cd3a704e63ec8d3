//! Quotas at work, over sockets. The throttle times are those of Apache Kafka 4.4 for the same requests. Most tests move
//! the broker's clock; a client that is held back waits in real time, so each request has its own connection.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::Message;
use jackdaw::protocol::Writer;
use jackdaw::protocol::messages::{
    AlterClientQuotasRequest, ApiVersionsRequest, CreatableTopic, CreatePartitionsRequest,
    CreatePartitionsTopic, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicState, DeleteTopicsRequest,
    FetchResponse, HeartbeatRequest, ListGroupsRequest, ProduceRequest, SyncGroupRequest, WritableTxnMarker,
    WritableTxnMarkerTopic, WriteTxnMarkersRequest,
    alter_client_quotas_request::{EntityData, EntryData, OpData},
};
use jackdaw::security::quota::QuotaKind;
use jackdaw::storage::Location;
use jackdaw::time::Clock;
use jackdaw::types::{EntityName, QuotaEntity, Timestamp};

use crate::harness::{Client, Node, batch, code, fetch_from, join, only, produce_to, records};

/// The client id of all requests.
const CLIENT: (&str, Option<&str>) = ("client-id", Some("api test"));
const PRODUCER: &str = "producer_byte_rate";
const CONSUMER: &str = "consumer_byte_rate";
const MUTATIONS: &str = "controller_mutation_rate";

async fn timed() -> (Node, Clock) {
    // The records have the time of this machine.
    let clock = Clock::manual(Clock::machine().now());
    (Node::timed(Location::Memory, &[], clock.clone()).await, clock)
}

fn later(clock: &Clock, by: Duration) {
    clock.set(Timestamp(clock.now().0 + i64::try_from(by.as_millis()).unwrap()));
}

/// Sets a quota, or removes it.
async fn set(node: &Node, entity: &[(&str, Option<&str>)], key: &str, value: Option<f64>) {
    let parts = entity.iter().map(|(kind, name)| EntityData {
        entity_type: (*kind).to_owned(),
        entity_name: name.map(str::to_owned),
    });
    let op = OpData { key: key.to_owned(), value: value.unwrap_or_default(), remove: value.is_none() };
    let entry = EntryData { entity: parts.collect(), ops: vec![op] };
    let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false };
    let answer = node.client().await.call(1, request).await;
    assert_eq!(answer.entries[0].error_code, 0, "{:?}", answer.entries[0].error_message);
}

fn large(bytes: usize) -> Bytes {
    batch(&[&"x".repeat(bytes)])
}

/// The throttle time of a Produce request from a new connection.
async fn produced(node: &Node, version: i16, request: ProduceRequest) -> i32 {
    node.client().await.call(version, request).await.throttle_time_ms
}

/// The wait for a request of this size at 10,000 bytes per second, if nothing was sent before.
fn wait_for(version: i16, request: &ProduceRequest) -> i32 {
    const HEADER: usize = 10 + "api test".len();
    let mut body = Writer::new();
    request.encode(&mut body, version).unwrap();
    let bytes = HEADER + body.into_bytes().len();
    i32::try_from(bytes / 10).unwrap() - 10_000
}

#[tokio::test]
async fn z5_produce_beyond_the_quota_is_stored_and_answered_with_kafkas_throttle_time() {
    let (node, clock) = timed().await;
    node.topic("t", 1).await;
    set(&node, &[CLIENT], PRODUCER, Some(10_000.0)).await;
    for version in [3, 8, 9, 12] {
        let request = produce_to("t", 0, large(150_000));
        let wait = wait_for(version, &request);
        assert!((5_000..5_050).contains(&wait), "Kafka says 5 s to 150 kB");
        let throttle = produced(&node, version, request).await;
        assert!((wait..=wait + 1).contains(&throttle), "version {version}: {throttle} instead of {wait}");
        let small = produced(&node, version, produce_to("t", 0, batch(&["v"]))).await;
        assert!(
            (5_000..5_100).contains(&small),
            "version {version}: other connections are measured together"
        );
        later(&clock, Duration::from_secs(12));
    }
    assert_eq!(produced(&node, 12, produce_to("t", 0, batch(&["v"]))).await, 0);
    assert_eq!(node.partition("t", 0).ends().high_watermark.0, 9);
}

/// A running Kafka 4.4 says at most 98 ms to each of them: it reads the next one after the wait for the one before.
#[tokio::test]
async fn requests_that_are_sent_together_do_not_wait_for_each_other() {
    const COUNT: usize = 5;
    let node = Node::start().await;
    node.topic("t", 1).await;
    set(&node, &[CLIENT], PRODUCER, Some(100_000.0)).await;
    let throttle = produced(&node, 12, produce_to("t", 0, large(1_000_000))).await;
    assert!((0..=10).contains(&throttle), "ten seconds of the quota: {throttle}");
    let mut client = node.client().await;
    let request = produce_to("t", 0, large(10_000));
    for _ in 0..COUNT {
        client.send(12, &request).await;
    }
    let mut throttles = Vec::new();
    for _ in 0..COUNT {
        throttles.push(client.receive::<ProduceRequest>(12).await.1.throttle_time_ms);
    }
    assert!(throttles.iter().all(|throttle| *throttle <= 110), "{throttles:?}");
}

#[tokio::test]
async fn a_default_user_precedes_a_named_client_and_without_quotas_no_client_waits() {
    let (node, clock) = timed().await;
    node.topic("t", 1).await;
    assert_eq!(produced(&node, 12, produce_to("t", 0, large(150_000))).await, 0);
    set(&node, &[CLIENT], PRODUCER, Some(1.0)).await;
    set(&node, &[("user", None)], PRODUCER, Some(1e9)).await;
    assert_eq!(produced(&node, 12, produce_to("t", 0, large(150_000))).await, 0);
    set(&node, &[("user", Some("ANONYMOUS"))], PRODUCER, Some(10_000.0)).await;
    let throttle = produced(&node, 12, produce_to("t", 0, large(1_000))).await;
    assert!(throttle > 5_000, "the use of a user is measured whatever its quota is");
    later(&clock, Duration::from_secs(12));
    set(&node, &[("user", Some("ANONYMOUS"))], PRODUCER, None).await;
    set(&node, &[("user", None)], PRODUCER, None).await;
    assert!(produced(&node, 12, produce_to("t", 0, batch(&["v"]))).await > 10_000);
    later(&clock, Duration::from_secs(12));
    set(&node, &[CLIENT], PRODUCER, None).await;
    assert_eq!(produced(&node, 12, produce_to("t", 0, large(150_000))).await, 0);
}

async fn fetched(node: &Node) -> FetchResponse {
    node.client().await.call(12, fetch_from("t", 0, 0)).await
}

#[tokio::test]
async fn a_fetch_beyond_the_quota_is_empty_and_does_not_count() {
    let (node, clock) = timed().await;
    node.topic("t", 1).await;
    for _ in 0..3 {
        node.client().await.produce("t", 0, large(60_000)).await;
    }
    set(&node, &[CLIENT], CONSUMER, Some(10_000.0)).await;
    let first = only(fetched(&node).await);
    let bytes = records(&first).len();
    assert!((60_000..100_000).contains(&bytes), "{bytes}: no more than ten seconds of the quota");
    for _ in 0..5 {
        let second = fetched(&node).await;
        assert_eq!((second.error_code, second.responses.len()), (0, 0));
        assert!((2_000..2_100).contains(&second.throttle_time_ms), "{}", second.throttle_time_ms);
    }
    later(&clock, Duration::from_secs(12));
    assert_eq!(records(&only(fetched(&node).await)).len(), bytes);
}

#[tokio::test]
async fn a_batch_that_is_larger_than_the_quota_is_sent_before_the_client_is_held_back() {
    let (node, clock) = timed().await;
    node.topic("t", 1).await;
    node.client().await.produce("t", 0, large(150_000)).await;
    set(&node, &[CLIENT], CONSUMER, Some(10_000.0)).await;
    for _ in 0..2 {
        let first = fetched(&node).await;
        assert!((5_000..5_100).contains(&first.throttle_time_ms), "{}", first.throttle_time_ms);
        assert!(records(&only(first)).len() > 150_000);
        let second = fetched(&node).await;
        assert!(second.responses.is_empty() && second.throttle_time_ms > 20_000);
        later(&clock, Duration::from_secs(12));
    }
}

fn topics(names: &[&str], partitions: i32) -> CreateTopicsRequest {
    let topic = |name: &&str| CreatableTopic {
        name: (*name).to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    CreateTopicsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: 10_000,
        ..CreateTopicsRequest::default()
    }
}

fn outcome(answer: &CreateTopicsResponse) -> (Vec<i16>, i32) {
    (answer.topics.iter().map(|topic| topic.error_code).collect(), answer.throttle_time_ms)
}

#[tokio::test]
async fn new_partitions_beyond_the_quota_are_refused_and_older_clients_only_wait() {
    let (node, clock) = timed().await;
    set(&node, &[CLIENT], MUTATIONS, Some(1.0)).await;
    let exceeded = code(ErrorCode::ThrottlingQuotaExceeded);
    let create = async |version, names: &[&str], partitions| {
        outcome(&node.client().await.call(version, topics(names, partitions)).await)
    };
    // The bucket has eleven, and the last of those who find some may take more.
    assert_eq!(create(5, &["a"], 20).await, (vec![0], 9_000));
    assert_eq!(create(5, &["b"], 5).await, (vec![0], 14_000));
    assert_eq!(
        create(6, &["c", "a"], 1).await,
        (vec![exceeded, code(ErrorCode::TopicAlreadyExists)], 14_000)
    );
    later(&clock, Duration::from_secs(14));
    assert_eq!(create(7, &["c", "d"], 2).await, (vec![0, exceeded], 2_000));

    let delete = |version: i16| {
        let topic = DeleteTopicState { name: Some("b".to_owned()), ..DeleteTopicState::default() };
        let (topics, topic_names) =
            if version < 6 { (vec![], vec!["b".to_owned()]) } else { (vec![topic], vec![]) };
        DeleteTopicsRequest { topics, topic_names, timeout_ms: 10_000 }
    };
    let refused = node.client().await.call(5, delete(5)).await;
    assert_eq!((refused.responses[0].error_code, refused.throttle_time_ms), (exceeded, 2_000));
    let deleted = node.client().await.call(4, delete(4)).await;
    assert_eq!((deleted.responses[0].error_code, deleted.throttle_time_ms), (0, 7_000));

    let add = |count| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic { name: "c".to_owned(), count, assignments: None }],
        timeout_ms: 10_000,
        validate_only: false,
    };
    let refused = node.client().await.call(3, add(5)).await;
    assert_eq!((refused.results[0].error_code, refused.throttle_time_ms), (exceeded, 7_000));
    let added = node.client().await.call(2, add(5)).await;
    assert_eq!((added.results[0].error_code, added.throttle_time_ms), (0, 10_000));
    assert_eq!(node.store.topics().by_name("c").unwrap().partitions.len(), 5);
}

#[tokio::test]
async fn a_request_that_only_validates_uses_the_quota_too_as_in_kafka() {
    let (node, _) = timed().await;
    set(&node, &[CLIENT], MUTATIONS, Some(1.0)).await;
    let validate = CreateTopicsRequest { validate_only: true, ..topics(&["v"], 30) };
    assert_eq!(outcome(&node.client().await.call(4, validate).await), (vec![0], 19_000));
}

#[tokio::test]
async fn a_client_that_takes_too_much_time_of_threads_waits_for_a_second() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    set(&node, &[CLIENT], "request_percentage", Some(1e-6)).await;
    assert_eq!(node.client().await.call(2, ApiVersionsRequest::default()).await.throttle_time_ms, 1_000);
    assert_eq!(node.client().await.call(4, ListGroupsRequest::default()).await.throttle_time_ms, 1_000);
    assert_eq!(produced(&node, 12, produce_to("t", 0, batch(&["v"]))).await, 1_000);
    let fetch = fetched(&node).await;
    assert_eq!((fetch.throttle_time_ms, fetch.responses.len()), (1_000, 0));
    set(&node, &[CLIENT], "request_percentage", Some(1e6)).await;
    assert_eq!(node.client().await.call(4, ListGroupsRequest::default()).await.throttle_time_ms, 0);
}

#[tokio::test]
async fn z4_markers_are_held_back_only_for_clients_without_the_right_to_write_them() {
    let marker = || WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: 7,
            topics: vec![WritableTxnMarkerTopic { name: "t".to_owned(), partition_indexes: vec![0] }],
            ..Default::default()
        }],
    };
    let authorizer = ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
    // The quota is set directly: the client has no rights for it.
    for (settings, expected) in [(&[][..], 0), (&[authorizer][..], 1)] {
        let node = Node::with(settings).await;
        node.topic("t", 1).await;
        let mut client = node.client().await;
        let quota = BTreeMap::from([("request_percentage".to_owned(), Some(1e-6))]);
        let entity = QuotaEntity::ClientId(EntityName::named("api test"));
        node.store.alter_quotas(vec![(entity, quota)]).await.unwrap();
        client.call(1, marker()).await;
        assert_eq!(node.throttles.throttled(QuotaKind::RequestTime), expected, "{settings:?}");
    }
}

#[tokio::test]
async fn connections_of_an_address_beyond_its_rate_are_closed() {
    let (node, clock) = timed().await;
    set(&node, &[("ip", None)], "connection_creation_rate", Some(1.0)).await;
    set(&node, &[("ip", Some("localhost"))], "connection_creation_rate", Some(2.0)).await;
    // The connection that set the second quota counts too.
    for _ in 0..19 {
        node.client().await.call(2, ApiVersionsRequest::default()).await;
    }
    assert!(node.client().await.is_closed().await);
    later(&clock, Duration::from_secs(12));
    node.client().await.call(2, ApiVersionsRequest::default()).await;
}

/// The member of `held` sends nothing for longer than its session, because its connection is held back for a minute.
#[tokio::test]
async fn c18_a_member_whose_connection_is_held_back_stays_in_its_group() {
    let settings = [("group.min.session.timeout.ms", "1000"), ("group.initial.rebalance.delay.ms", "0")];
    let node = Node::with(&settings).await;
    node.topic("t", 1).await;
    set(&node, &[CLIENT], PRODUCER, Some(10_000.0)).await;
    let mut members = Vec::new();
    for group in ["held", "witness"] {
        let mut client = node.client().await;
        let mut join = join(group, "");
        join.session_timeout_ms = 3_000;
        let joined = client.call(3, join).await;
        let sync = SyncGroupRequest {
            group_id: group.to_owned(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            ..SyncGroupRequest::default()
        };
        assert_eq!(client.call(2, sync).await.error_code, 0);
        if group == "held" {
            assert!(client.call(12, produce_to("t", 0, large(800_000))).await.throttle_time_ms > 60_000);
        }
        members.push(HeartbeatRequest {
            group_id: group.to_owned(),
            generation_id: joined.generation_id,
            member_id: joined.member_id,
            ..HeartbeatRequest::default()
        });
    }
    let mut observer = node.client().await;
    while is_stable(&mut observer, "witness").await {
        tokio::task::yield_now().await;
    }
    assert!(is_stable(&mut observer, "held").await);
    assert_eq!(observer.call(3, members[0].clone()).await.error_code, 0);
}

async fn is_stable(observer: &mut Client, group: &str) -> bool {
    let groups = observer.call(4, ListGroupsRequest::default()).await.groups;
    groups.iter().any(|one| one.group_id == group && one.group_state == "Stable")
}

#[tokio::test]
async fn quotas_beyond_8_mib_are_refused_until_some_are_removed() {
    const ENTITIES: usize = 200;
    let node = Node::start().await;
    let mut client = node.client().await;
    // About 6 MB a request.
    let request = |letter: &str, remove: bool| AlterClientQuotasRequest {
        entries: (0..ENTITIES)
            .map(|number| EntryData {
                entity: vec![EntityData {
                    entity_type: "user".to_owned(),
                    entity_name: Some(format!("{number}{}", letter.repeat(30_000))),
                }],
                ops: vec![OpData { key: PRODUCER.to_owned(), value: 1.0, remove }],
            })
            .collect(),
        validate_only: false,
    };
    for (letter, remove, expected) in [
        ("a", false, ErrorCode::None),
        ("b", false, ErrorCode::PolicyViolation),
        ("a", true, ErrorCode::None),
        ("b", false, ErrorCode::None),
    ] {
        let answer = client.call(1, request(letter, remove)).await;
        assert_eq!(answer.entries.len(), ENTITIES);
        for entry in &answer.entries {
            assert_eq!(entry.error_code, code(expected), "{letter}: {:?}", entry.error_message);
        }
    }
}
