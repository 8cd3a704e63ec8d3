//! Requests that ask for too much, or are hostile: they get an error code that clients understand, and other
//! clients are not affected.

use bytes::Bytes;
use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::api_versions_request::ApiVersionsRequest;
use jackdaw::protocol::messages::heartbeat_request::HeartbeatRequest;
use jackdaw::protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use jackdaw::protocol::messages::join_group_response::JoinGroupResponse;
use jackdaw::protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};

use crate::alter_configs::{BROKER, SET, alter, set};
use crate::harness::{Client, Node, code, join};

async fn groups(settings: &[(&str, &str)]) -> Node {
    let mut all = vec![("group.initial.rebalance.delay.ms", "0"), ("group.min.session.timeout.ms", "1")];
    all.extend(settings);
    Node::with(&all).await
}

fn sync(group: &str, joined: &JoinGroupResponse) -> SyncGroupRequest {
    let assignment = Bytes::from_static(b"yours");
    let assign = |member_id: &String| SyncGroupRequestAssignment {
        member_id: member_id.clone(),
        assignment: assignment.clone(),
    };
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: joined.members.iter().map(|member| assign(&member.member_id)).collect(),
        ..Default::default()
    }
}

/// Joins and syncs as the only member.
async fn alone(client: &mut Client, group: &str) -> JoinGroupResponse {
    let joined = client.call(3, join(group, "")).await;
    assert_eq!(joined.error_code, 0);
    assert_eq!(client.call(3, sync(group, &joined)).await.error_code, 0);
    joined
}

async fn beat(client: &mut Client, group: &str, joined: &JoinGroupResponse) -> i16 {
    let request = HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..Default::default()
    };
    client.call(3, request).await.error_code
}

#[tokio::test]
async fn a_full_group_turns_newcomers_away_and_goes_on() {
    let node = groups(&[("group.max.size", "1")]).await;
    let (mut first, mut second) = (node.client().await, node.client().await);
    let joined = alone(&mut first, "g").await;
    let refused = second.call(3, join("g", "")).await;
    assert_eq!(refused.error_code, code(ErrorCode::GroupMaxSizeReached));
    assert_eq!(beat(&mut first, "g", &joined).await, 0, "nobody noticed");
    alone(&mut second, "another").await;
}

#[tokio::test]
async fn a_member_with_too_much_metadata_is_refused_and_the_group_continues() {
    let node = groups(&[]).await;
    let (mut good, mut hostile) = (node.client().await, node.client().await);
    let joined = alone(&mut good, "g").await;
    let large = |name: &str, bytes: usize| JoinGroupRequestProtocol {
        name: name.to_owned(),
        metadata: vec![0; bytes].into(),
    };
    let range = || join("g", "").protocols.remove(0);
    let refused = [
        vec![range(), large("x", 1 << 20)],
        vec![large("range", 7 << 20)],
        (0..65).map(|number| large(&number.to_string(), 0)).chain([range()]).collect(),
        (0..10_000).map(|number| large(&number.to_string(), 1)).collect(),
    ];
    for protocols in refused {
        let request = JoinGroupRequest { protocols, ..join("g", "") };
        assert_eq!(hostile.call(3, request).await.error_code, code(ErrorCode::InvalidRequest));
    }
    for protocols in [vec![], vec![large("nobody else knows it", 1)]] {
        let request = JoinGroupRequest { protocols, ..join("g", "") };
        let answer = hostile.call(3, request).await;
        assert_eq!(answer.error_code, code(ErrorCode::InconsistentGroupProtocol));
    }
    assert_eq!(beat(&mut good, "g", &joined).await, 0, "nobody noticed");
}

/// A subscription to as many topics as fit, and one that cannot be parsed.
#[tokio::test]
async fn a_member_of_many_topics_or_of_none_that_can_be_read_joins_like_any_other() {
    let node = groups(&[]).await;
    let many = 100_000_u32;
    let mut topics = vec![0, 0];
    topics.extend(many.to_be_bytes());
    for number in 0..many {
        topics.extend([0, 5]);
        topics.extend(format!("{number:05}").as_bytes());
    }
    topics.extend(u32::MAX.to_be_bytes());
    let promising = [&[0, 0][..], &i32::MAX.to_be_bytes(), b"\0\x01t"].concat();
    for metadata in [topics, promising, vec![0xff; 1000], vec![]] {
        let (mut good, mut hostile) = (node.client().await, node.client().await);
        let group = format!("g{}", metadata.len());
        let leader = alone(&mut good, &group).await;
        let protocols =
            vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata: metadata.clone().into() }];
        hostile.send(3, &JoinGroupRequest { protocols, ..join(&group, "") }).await;
        while beat(&mut good, &group, &leader).await == 0 {}
        let leader = good.call(3, join(&group, &leader.member_id)).await;
        let (_, stranger) = hostile.receive::<JoinGroupRequest>(3).await;
        assert_eq!((leader.error_code, stranger.error_code, leader.members.len()), (0, 0, 2));
        assert!(leader.members.iter().any(|member| member.metadata == metadata), "byte for byte");
        assert_eq!(good.call(3, sync(&group, &leader)).await.assignment, "yours");
    }
}

/// Two members with 600 KB each do not fit into one of Kafka's records, in which Kafka stores a group.
#[tokio::test]
async fn a_group_that_kafka_could_not_store_gets_its_assignment() {
    let node = groups(&[]).await;
    let (mut one, mut other) = (node.client().await, node.client().await);
    let large = |id: &str| {
        let metadata = Bytes::from(vec![0; 600 << 10]);
        let protocols = vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata }];
        JoinGroupRequest { protocols, ..join("g", id) }
    };
    let leader = alone(&mut one, "g").await;
    other.send(3, &large("")).await;
    while beat(&mut one, "g", &leader).await == 0 {}
    let leader = one.call(3, large(&leader.member_id)).await;
    let (_, second) = other.receive::<JoinGroupRequest>(3).await;
    assert_eq!((leader.error_code, second.error_code, leader.members.len()), (0, 0, 2));
    for (client, member) in [(&mut one, &leader), (&mut other, &second)] {
        assert_eq!(client.call(3, sync("g", member)).await.assignment, "yours");
    }
}

#[tokio::test]
async fn where_groups_have_no_room_left_newcomers_are_to_try_later_and_members_go_on() {
    let node = groups(&[("jackdaw.groups.max.bytes", "1048576")]).await;
    let mut client = node.client().await;
    let first = alone(&mut client, "first").await;
    let mut refused = 0;
    for number in 0..4 {
        let metadata = Bytes::from(vec![0; 400 << 10]);
        let protocols = vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata }];
        let request = JoinGroupRequest { protocols, ..join(&format!("g{number}"), "") };
        let answer = client.call(3, request).await;
        if answer.error_code != 0 {
            assert_eq!(answer.error_code, code(ErrorCode::CoordinatorNotAvailable), "which clients retry");
            refused += 1;
        }
    }
    assert!((1..4).contains(&refused));
    assert_eq!(beat(&mut client, "first", &first).await, 0);
}

/// Whether the broker serves the connection instead of closing it at once.
async fn is_served(client: &mut Client) -> bool {
    client.send(0, &ApiVersionsRequest::default()).await;
    client.receive_bytes_or_close().await.is_some()
}

#[tokio::test]
async fn the_number_of_connections_is_altered_while_they_are_there() {
    let node = Node::start().await;
    let mut client = node.client().await;
    set(&mut client, BROKER, "", "max.connections", "1").await;
    let mut second = node.client().await;
    second.send(0, &ApiVersionsRequest::default()).await;
    set(&mut client, BROKER, "1", "max.connections", "1").await;
    assert!(!second.has_received(), "it waits");
    set(&mut client, BROKER, "1", "max.connections", "2").await;
    assert!(second.receive_bytes_or_close().await.is_some());
    // A lower limit closes no open connection.
    set(&mut client, BROKER, "1", "max.connections", "1").await;
    assert!(is_served(&mut second).await && is_served(&mut client).await);
    let mut third = node.client().await;
    third.send(0, &ApiVersionsRequest::default()).await;
    drop(second);
    assert!(is_served(&mut client).await);
    assert!(!third.has_received(), "there is still one too many");
    drop(client);
    assert!(third.receive_bytes_or_close().await.is_some());
}

#[tokio::test]
async fn the_number_of_connections_of_a_listener_is_altered_while_they_are_there() {
    const OF_LISTENER: &str = "listener.name.plaintext.max.connections";
    let node = Node::start().await;
    let mut client = node.client().await;
    set(&mut client, BROKER, "", OF_LISTENER, "1").await;
    let mut second = node.client().await;
    second.send(0, &ApiVersionsRequest::default()).await;
    set(&mut client, BROKER, "1", OF_LISTENER, "1").await;
    assert!(!second.has_received(), "it waits");
    set(&mut client, BROKER, "1", OF_LISTENER, "2").await;
    assert!(second.receive_bytes_or_close().await.is_some());
}

#[tokio::test]
async fn how_many_connections_an_address_has_is_altered_while_they_are_there() {
    let node = Node::start().await;
    let mut client = node.client().await;
    set(&mut client, BROKER, "", "max.connections.per.ip", "1").await;
    assert!(!is_served(&mut node.client().await).await);
    assert!(is_served(&mut client).await);
    let overrides = "10.1.2.3:0, 127.0.0.1:2";
    set(&mut client, BROKER, "", "max.connections.per.ip.overrides", overrides).await;
    let mut second = node.client().await;
    assert!(is_served(&mut second).await);
    assert!(!is_served(&mut node.client().await).await);
    set(&mut client, BROKER, "", "max.connections.per.ip", "5").await;
    assert!(!is_served(&mut node.client().await).await, "the address's own number holds");
    set(&mut client, BROKER, "", "max.connections.per.ip.overrides", "10.1.2.3:0").await;
    assert!(is_served(&mut node.client().await).await);
}

#[tokio::test]
async fn invalid_limits_of_addresses_are_refused_in_kafkas_words() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let name = "max.connections.per.ip.overrides";
    let cases = [
        (
            "x",
            "Error parsing configuration property 'max.connections.per.ip.overrides': begin 0, end -1, length 1",
        ),
        ("a:b", "For input string: \"b\""),
        ("1.2.3.4:5,1.2.3.4:99999999999", "For input string: \"99999999999\""),
    ];
    for (value, why) in cases {
        let answer = alter(&mut client, BROKER, "", &[(name, SET, Some(value))]).await;
        assert_eq!(answer, (code(ErrorCode::InvalidRequest), Some(why.to_owned())));
    }
    for value in ["1.2.3.4:-1", "::1:5", " 1.2.3.4 : 5 , 1.2.3.5:6,", "no.such.host.invalid:5", ""] {
        set(&mut client, BROKER, "", name, value).await;
    }
}
