//! The classic group APIs: keys 8, 9, 11–16, 42 and 47.

use bytes::{Buf, Bytes};
use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::delete_groups_request::DeleteGroupsRequest;
use jackdaw::protocol::messages::delete_topics_request::DeleteTopicsRequest;
use jackdaw::protocol::messages::describe_groups_request::DescribeGroupsRequest;
use jackdaw::protocol::messages::heartbeat_request::HeartbeatRequest;
use jackdaw::protocol::messages::join_group_request::JoinGroupRequest;
use jackdaw::protocol::messages::join_group_response::JoinGroupResponse;
use jackdaw::protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use jackdaw::protocol::messages::list_groups_request::ListGroupsRequest;
use jackdaw::protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use jackdaw::protocol::messages::offset_commit_response::OffsetCommitResponse;
use jackdaw::protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use jackdaw::protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use jackdaw::protocol::messages::offset_fetch_response::OffsetFetchResponsePartitions;
use jackdaw::protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use jackdaw::types::{TopicId, Uuid};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::Decodable;

use crate::harness::{Client, Node, code, join};
use crate::versions::each;

/// A broker whose groups do not wait for more members.
async fn node() -> Node {
    Node::with(&[("group.initial.rebalance.delay.ms", "0")]).await
}

/// Joins as the only member, like a client that may have to repeat the join with its member id.
pub async fn joined(client: &mut Client, group: &str, version: i16) -> JoinGroupResponse {
    let first = client.call(version, join(group, "")).await;
    match first.error_code {
        79 => client.call(version, join(group, &first.member_id)).await,
        _ => first,
    }
}

pub fn sync(
    group: &str,
    member: &str,
    generation: i32,
    assignments: &[(&str, &'static [u8])],
) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: generation,
        member_id: member.to_owned(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: assignments
            .iter()
            .map(|(member, bytes)| SyncGroupRequestAssignment {
                member_id: (*member).to_owned(),
                assignment: Bytes::from_static(bytes),
            })
            .collect(),
        ..Default::default()
    }
}

fn beat(group: &str, member: &str, generation_id: i32) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id,
        member_id: member.to_owned(),
        ..Default::default()
    }
}

/// A commit without a member; topics as (name, id, partitions).
fn commit(group: &str, topics: &[(&str, TopicId, &[i32])]) -> OffsetCommitRequest {
    let topics = topics.iter().map(|(name, topic_id, partitions)| OffsetCommitRequestTopic {
        name: (*name).to_owned(),
        topic_id: *topic_id,
        partitions: partitions
            .iter()
            .map(|index| OffsetCommitRequestPartition {
                partition_index: *index,
                committed_offset: 40 + i64::from(*index),
                committed_leader_epoch: 3,
                committed_metadata: Some("noted: ü".to_owned()),
            })
            .collect(),
    });
    OffsetCommitRequest { group_id: group.to_owned(), topics: topics.collect(), ..Default::default() }
}

/// A commit of one partition without a member.
pub fn commit_at(
    group: &str,
    topic: &str,
    topic_id: TopicId,
    index: i32,
    offset: i64,
) -> OffsetCommitRequest {
    let mut request = commit(group, &[(topic, topic_id, &[index])]);
    request.topics[0].partitions[0].committed_offset = offset;
    request
}

fn codes(answer: &OffsetCommitResponse) -> Vec<(i32, i16)> {
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| (partition.partition_index, partition.error_code)).collect()
}

/// The committed offsets of a group, requested in the format of the version.
fn fetch(version: i16, group: &str, topic: Option<(&str, TopicId, &[i32])>) -> OffsetFetchRequest {
    let group_id = group.to_owned();
    if version < 8 {
        let topics = topic.map(|(name, _, partitions)| {
            vec![OffsetFetchRequestTopic { name: name.to_owned(), partition_indexes: partitions.to_vec() }]
        });
        return OffsetFetchRequest { group_id, topics, ..Default::default() };
    }
    let topics = topic.map(|(name, topic_id, partitions)| {
        vec![OffsetFetchRequestTopics {
            name: name.to_owned(),
            topic_id,
            partition_indexes: partitions.to_vec(),
        }]
    });
    let groups = vec![OffsetFetchRequestGroup { group_id, topics, ..Default::default() }];
    OffsetFetchRequest { groups, require_stable: true, ..Default::default() }
}

async fn fetched(client: &mut Client, request: OffsetFetchRequest) -> Vec<OffsetFetchResponsePartitions> {
    let answer = client.call(9, request).await;
    assert!(answer.groups.iter().all(|group| group.error_code == 0));
    answer.groups.into_iter().flat_map(|group| group.topics).flat_map(|topic| topic.partitions).collect()
}

fn named(groups: &[&str]) -> DescribeGroupsRequest {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    DescribeGroupsRequest { groups, include_authorized_operations: true }
}

#[tokio::test]
async fn every_version_of_the_group_keys_answers_and_two_codecs_read_it() {
    let node = node().await;
    let id = node.topic("t", 2).await;
    let mut client = node.client().await;

    let commits = |_| commit("offsets", &[("t", id, &[0, 1])]);
    each::<_, theirs::OffsetCommitResponse>(&mut client, 2, commits, |answer, _| {
        assert_eq!(codes(answer), [(0, 0), (1, 0)]);
    })
    .await;

    let fetches = |version| fetch(version, "offsets", Some(("t", id, &[1])));
    each::<_, theirs::OffsetFetchResponse>(&mut client, 1, fetches, |answer, version| {
        assert_eq!(answer.error_code, 0);
        let (offset, epoch, metadata) = match version {
            ..8 => {
                let found = &answer.topics[0].partitions[0];
                (found.committed_offset, found.committed_leader_epoch, found.metadata.clone())
            }
            _ => {
                let found = &answer.groups[0].topics[0].partitions[0];
                (found.committed_offset, found.committed_leader_epoch, found.metadata.clone())
            }
        };
        // The last commit was at version 10; the answer has the epoch from version 5 on.
        assert_eq!((offset, epoch), (41, if version < 5 { -1 } else { 3 }), "version {version}");
        assert_eq!(metadata.as_deref(), Some("noted: ü"), "c10: in old and new versions");
    })
    .await;

    let joins = |version| join(&format!("join-{version}"), "");
    each::<_, theirs::JoinGroupResponse>(&mut client, 0, joins, |answer, version| {
        let expected = if version < 4 { ErrorCode::None } else { ErrorCode::MemberIdRequired };
        assert_eq!(answer.error_code, code(expected), "version {version}");
        assert!(answer.member_id.starts_with("api test-"), "{}", answer.member_id);
        // A missing name is empty in versions where it cannot be null.
        assert_eq!(answer.protocol_name.is_none(), version >= 7, "version {version}");
    })
    .await;

    let member = joined(&mut client, "g", 9).await;
    let syncs = |_| sync("g", &member.member_id, 1, &[(&member.member_id, b"assigned")]);
    each::<_, theirs::SyncGroupResponse>(&mut client, 0, syncs, |answer, version| {
        assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"assigned"[..]));
        assert_eq!(answer.protocol_name.as_deref(), (version >= 5).then_some("range"));
    })
    .await;

    let beats = |_| beat("g", &member.member_id, 1);
    each::<_, theirs::HeartbeatResponse>(&mut client, 0, beats, |answer, _| assert_eq!(answer.error_code, 0))
        .await;

    let describes = |_| named(&["g", "nobody"]);
    each::<_, theirs::DescribeGroupsResponse>(&mut client, 0, describes, |answer, version| {
        let [group, nobody] = &answer.groups[..] else { panic!("two groups were asked for") };
        assert_eq!((group.error_code, group.group_state.as_str()), (0, "Stable"));
        assert_eq!((group.protocol_type.as_str(), group.protocol_data.as_str()), ("consumer", "range"));
        assert_eq!((&group.members[0].member_assignment[..]), b"assigned");
        assert_eq!(group.members[0].client_host, "/127.0.0.1");
        assert_eq!(group.authorized_operations, if version < 3 { i32::MIN } else { 3400 });
        let not_found = if version < 6 { 0 } else { code(ErrorCode::GroupIdNotFound) };
        assert_eq!((nobody.error_code, nobody.group_state.as_str()), (not_found, "Dead"));
        assert_eq!(nobody.error_message.as_deref(), (version >= 6).then_some("Group nobody not found."));
    })
    .await;

    let lists = |_| ListGroupsRequest::default();
    each::<_, theirs::ListGroupsResponse>(&mut client, 0, lists, |answer, version| {
        let listed = answer.groups.iter().find(|group| group.group_id == "g").unwrap();
        assert_eq!(listed.protocol_type, "consumer");
        assert_eq!(listed.group_state, if version < 4 { "" } else { "Stable" });
        assert_eq!(listed.group_type, if version < 5 { "" } else { "classic" });
    })
    .await;

    let leaves = |_| LeaveGroupRequest {
        group_id: "g".to_owned(),
        member_id: "stranger".to_owned(),
        members: vec![MemberIdentity { member_id: "stranger".to_owned(), ..Default::default() }],
    };
    each::<_, theirs::LeaveGroupResponse>(&mut client, 0, leaves, |answer, version| {
        let unknown = code(ErrorCode::UnknownMemberId);
        match version {
            ..3 => assert_eq!(answer.error_code, unknown),
            _ => assert_eq!((answer.error_code, answer.members[0].error_code), (0, unknown)),
        }
    })
    .await;

    let deletes =
        |_| DeleteGroupsRequest { groups_names: vec!["g".to_owned(), "nobody".to_owned(), "g".to_owned()] };
    each::<_, theirs::DeleteGroupsResponse>(&mut client, 0, deletes, |answer, _| {
        let codes: Vec<i16> = answer.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [code(ErrorCode::NonEmptyGroup), code(ErrorCode::GroupIdNotFound)]);
    })
    .await;

    let offset_deletes = |_| delete_offsets("g", "t", &[0]);
    each::<_, theirs::OffsetDeleteResponse>(&mut client, 0, offset_deletes, |answer, _| {
        let subscribed = code(ErrorCode::GroupSubscribedToTopic);
        assert_eq!((answer.error_code, answer.topics[0].partitions[0].error_code), (0, subscribed));
    })
    .await;
}

fn delete_offsets(group: &str, topic: &str, partitions: &[i32]) -> OffsetDeleteRequest {
    let partitions =
        partitions.iter().map(|index| OffsetDeleteRequestPartition { partition_index: *index }).collect();
    let topics = vec![OffsetDeleteRequestTopic { name: topic.to_owned(), partitions }];
    OffsetDeleteRequest { group_id: group.to_owned(), topics }
}

#[tokio::test]
async fn c11_a_partition_without_a_commit_has_offset_minus_one_and_empty_metadata() {
    let node = node().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    client.call(9, commit("g", &[("t", id, &[0])])).await;
    // A partition that exists, one that does not, and an unknown topic: requests by name do not distinguish
    // them.
    for (topic, partitions) in [("t", &[1, 7][..]), ("unknown", &[0])] {
        for found in fetched(&mut client, fetch(9, "g", Some((topic, id, partitions)))).await {
            assert_eq!((found.committed_offset, found.committed_leader_epoch), (-1, -1));
            assert_eq!((found.metadata.as_deref(), found.error_code), (Some(""), 0));
        }
    }
}

#[tokio::test]
async fn c12_c13_an_unknown_topic_or_partition_fails_alone_and_nothing_is_stored_for_it() {
    let node = node().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    let by_name = commit("g", &[("unknown", id, &[0]), ("t", id, &[5, 0, -1])]);
    let answer = client.call(9, by_name).await;
    assert_eq!(codes(&answer), [(0, unknown), (5, unknown), (-1, unknown), (0, 0)], "as in Kafka");

    let stranger = Uuid([9; 16]);
    let by_id = commit("g", &[("", stranger, &[0]), ("", id, &[0]), ("", Uuid::ZERO, &[0])]);
    let answer = client.call(10, by_id).await;
    let unknown_id = code(ErrorCode::UnknownTopicId);
    assert_eq!(codes(&answer), [(0, unknown_id), (0, unknown_id), (0, 0)]);

    let all = client.call(9, fetch(9, "g", None)).await;
    assert_eq!((all.groups[0].topics.len(), all.groups[0].topics[0].partitions.len()), (1, 1));
    let strange = client.call(10, fetch(10, "g", Some(("", stranger, &[0])))).await;
    assert_eq!(strange.groups[0].topics[0].partitions[0].error_code, unknown_id);
}

#[tokio::test]
async fn c14_c19_a_commit_makes_the_group_that_was_unknown_and_had_no_offsets_before() {
    let node = node().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    for version in 1..=10 {
        let answer = client.call(version, fetch(version, "new", Some(("t", id, &[0])))).await;
        assert_eq!(answer.error_code, 0, "version {version}");
        let offset = match version {
            ..8 => answer.topics[0].partitions[0].committed_offset,
            _ => answer.groups[0].topics[0].partitions[0].committed_offset,
        };
        assert_eq!(offset, -1, "version {version}");
    }
    let mut with_generation = commit("new", &[("t", id, &[0])]);
    with_generation.generation_id_or_member_epoch = 1;
    let refused = client.call(9, with_generation.clone()).await;
    assert_eq!(codes(&refused), [(0, code(ErrorCode::GroupIdNotFound))]);
    let refused = client.call(8, with_generation).await;
    assert_eq!(codes(&refused), [(0, code(ErrorCode::IllegalGeneration))]);
    assert_eq!(codes(&client.call(9, commit("new", &[("t", id, &[0])])).await), [(0, 0)]);
    assert_eq!(fetched(&mut client, fetch(9, "new", None)).await[0].committed_offset, 40);
}

#[tokio::test]
async fn several_groups_are_fetched_at_once_each_in_its_place() {
    let node = node().await;
    let id = node.topic("t", 2).await;
    let mut client = node.client().await;
    client.call(9, commit("a", &[("t", id, &[0])])).await;
    client.call(9, commit("b", &[("t", id, &[1])])).await;
    let mut request = fetch(10, "b", None);
    request.groups.extend(fetch(10, "nobody", None).groups);
    request.groups.extend(fetch(10, "a", Some(("", id, &[0, 1]))).groups);
    let answer = client.call(10, request).await;
    let seen: Vec<_> = answer
        .groups
        .iter()
        .map(|group| {
            let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
            let offsets: Vec<_> =
                partitions.map(|found| (found.partition_index, found.committed_offset)).collect();
            (group.group_id.as_str(), group.error_code, offsets)
        })
        .collect();
    assert_eq!(seen, [("b", 0, vec![(1, 41)]), ("nobody", 0, vec![]), ("a", 0, vec![(0, 40), (1, -1)])]);
    assert_eq!(answer.groups[0].topics[0].topic_id, id);
}

#[tokio::test]
async fn a_deleted_topic_takes_its_offsets_along() {
    let node = node().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    client.call(9, commit("g", &[("t", id, &[0])])).await;
    let delete =
        DeleteTopicsRequest { topic_names: vec!["t".to_owned()], timeout_ms: 10_000, ..Default::default() };
    assert_eq!(client.call(5, delete).await.responses[0].error_code, 0);
    let again = node.topic("t", 1).await;
    assert_ne!(again, id);
    assert_eq!(fetched(&mut client, fetch(9, "g", Some(("t", again, &[0])))).await[0].committed_offset, -1);
    assert!(fetched(&mut client, fetch(9, "g", None)).await.is_empty());
}

#[tokio::test]
async fn w12_answers_that_were_waited_for_stand_in_the_order_of_their_requests() {
    let node = node().await;
    let (mut first, mut second) = (node.client().await, node.client().await);
    let member = joined(&mut first, "g", 3).await;
    // The join of the second member waits for the first; a request after it in the same connection waits too.
    let waiting = second.send(3, &join("g", "")).await;
    let behind = second.send(4, &beat("nobody", "x", 1)).await;
    let rebalance = code(ErrorCode::RebalanceInProgress);
    while first.call(4, beat("g", &member.member_id, 1)).await.error_code != rebalance {}
    assert!(!second.has_received());
    let rejoined = first.call(3, join("g", &member.member_id)).await;
    assert_eq!((rejoined.generation_id, rejoined.members.len()), (2, 2));
    let (id, answer) = second.receive::<JoinGroupRequest>(3).await;
    assert_eq!((id, answer.generation_id, answer.leader), (waiting, 2, member.member_id));
    let (id, answer) = second.receive::<HeartbeatRequest>(4).await;
    assert_eq!((id, answer.error_code), (behind, code(ErrorCode::UnknownMemberId)));
}

#[tokio::test]
async fn w19_a_commit_is_seen_by_the_fetch_behind_it_although_neither_was_waited_for() {
    let node = node().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    client.send(9, &commit("g", &[("t", id, &[0])])).await;
    client.send(9, &fetch(9, "g", None)).await;
    client.receive::<OffsetCommitRequest>(9).await;
    let (_, answer) = client.receive::<OffsetFetchRequest>(9).await;
    assert_eq!(answer.groups[0].topics[0].partitions[0].committed_offset, 40);
}

#[tokio::test]
async fn c21_of_two_members_with_one_instance_id_the_older_is_fenced() {
    let node = node().await;
    let mut client = node.client().await;
    let as_instance = || JoinGroupRequest { group_instance_id: Some("i".to_owned()), ..join("g", "") };
    let old = client.call(9, as_instance()).await;
    client
        .call(5, {
            let mut request = sync("g", &old.member_id, 1, &[]);
            request.group_instance_id = Some("i".to_owned());
            request
        })
        .await;
    let new = client.call(9, as_instance()).await;
    assert_eq!((new.error_code, new.generation_id, new.skip_assignment), (0, 1, true));
    let mut beat = beat("g", &old.member_id, 1);
    beat.group_instance_id = Some("i".to_owned());
    assert_eq!(client.call(4, beat).await.error_code, code(ErrorCode::FencedInstanceId));
}

#[tokio::test]
async fn c1_a_consumer_that_its_leader_gave_nothing_gets_a_valid_assignment() {
    let node = node().await;
    let mut client = node.client().await;
    let member = joined(&mut client, "g", 9).await;
    let answer = client.call(5, sync("g", &member.member_id, 1, &[])).await;
    let mut assignment = answer.assignment;
    assert_eq!(assignment.get_i16(), 0, "the version of what follows");
    let read = theirs::ConsumerProtocolAssignment::decode(&mut assignment, 0).unwrap();
    assert!(read.assigned_partitions.is_empty() && assignment.is_empty());
}

#[tokio::test]
async fn groups_are_listed_by_state_and_by_type_in_any_case_of_letters() {
    let node = node().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    client.call(9, commit("empty", &[("t", id, &[0])])).await;
    joined(&mut client, "joining", 9).await;
    let filter = |states: &[&str], types: &[&str]| ListGroupsRequest {
        states_filter: states.iter().map(|state| (*state).to_owned()).collect(),
        types_filter: types.iter().map(|one| (*one).to_owned()).collect(),
    };
    for (states, types, expected) in [
        (&["empty"][..], &[][..], &["empty"][..]),
        (&["COMPLETINGREBALANCE", "Stable"], &["Classic"], &["joining"]),
        (&[], &["classic"], &["empty", "joining"]),
        (&[], &["consumer"], &[]),
        (&["nonsense"], &[], &[]),
    ] {
        let answer = client.call(5, filter(states, types)).await;
        let names: Vec<_> = answer.groups.iter().map(|group| group.group_id.as_str()).collect();
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn an_empty_group_name_is_refused_to_members_and_good_enough_for_offsets() {
    let node = node().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    let invalid = code(ErrorCode::InvalidGroupId);
    assert_eq!(client.call(9, join("", "")).await.error_code, invalid);
    assert_eq!(client.call(5, sync("", "m", 1, &[])).await.error_code, invalid);
    assert_eq!(client.call(4, beat("", "m", 1)).await.error_code, invalid);
    assert_eq!(client.call(5, LeaveGroupRequest::default()).await.error_code, invalid);
    assert_eq!(client.call(0, delete_offsets("", "t", &[0])).await.error_code, invalid);
    assert_eq!(codes(&client.call(9, commit("", &[("t", id, &[0])])).await), [(0, 0)]);
    assert_eq!(fetched(&mut client, fetch(9, "", None)).await.len(), 1);
}

#[tokio::test]
async fn from_version_5_on_a_member_must_say_which_protocol_its_assignment_is_for() {
    let node = node().await;
    let mut client = node.client().await;
    let member = joined(&mut client, "g", 9).await;
    let silent = SyncGroupRequest { protocol_name: None, ..sync("g", &member.member_id, 1, &[]) };
    let inconsistent = code(ErrorCode::InconsistentGroupProtocol);
    assert_eq!(client.call(5, silent.clone()).await.error_code, inconsistent);
    assert_eq!(client.call(4, silent).await.error_code, 0);
}

#[tokio::test]
async fn m8_a_member_that_waits_when_the_broker_stops_gets_not_coordinator() {
    let node = node().await;
    let (mut first, mut second) = (node.client().await, node.client().await);
    joined(&mut first, "g", 3).await;
    second.send(3, &join("g", "")).await;
    second.send(4, &beat("nobody", "x", 1)).await;
    first.call(4, beat("g", "x", 1)).await;
    node.begin_to_stop();
    let (_, answer) = second.receive::<JoinGroupRequest>(3).await;
    assert_eq!(answer.error_code, code(ErrorCode::NotCoordinator), "which every client retries");
}

#[tokio::test]
async fn c20_a_session_timeout_is_bounded_by_the_settings() {
    let node = Node::with(&[
        ("group.min.session.timeout.ms", "1000"),
        ("group.max.session.timeout.ms", "7200000"),
        ("group.initial.rebalance.delay.ms", "0"),
    ])
    .await;
    let mut client = node.client().await;
    let invalid = code(ErrorCode::InvalidSessionTimeout);
    for (session_timeout_ms, expected) in
        [(999, invalid), (1000, 0), (7_200_000, 0), (7_200_001, invalid), (-1, invalid)]
    {
        let group = format!("g{session_timeout_ms}");
        let answer = client.call(3, JoinGroupRequest { session_timeout_ms, ..join(&group, "") }).await;
        assert_eq!(answer.error_code, expected, "{session_timeout_ms} ms");
    }
}

#[tokio::test]
async fn a_member_that_falls_silent_is_found_out_by_the_clock() {
    let node =
        Node::with(&[("group.min.session.timeout.ms", "1"), ("group.initial.rebalance.delay.ms", "0")]).await;
    let mut client = node.client().await;
    let request = JoinGroupRequest { session_timeout_ms: 20, ..join("g", "") };
    let member = client.call(3, request).await;
    client.call(4, sync("g", &member.member_id, 1, &[])).await;
    let mut state = String::new();
    while state != "Empty" {
        state = client.call(4, named(&["g"])).await.groups.remove(0).group_state;
    }
    let late = client.call(4, beat("g", &member.member_id, 1)).await;
    assert_eq!(late.error_code, code(ErrorCode::UnknownMemberId));
}
