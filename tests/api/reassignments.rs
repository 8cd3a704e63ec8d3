//! Replicas and leaders: ElectLeaders, AlterPartitionReassignments and ListPartitionReassignments; error
//! messages are Kafka's, word for word.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use jackdaw::protocol::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use jackdaw::protocol::messages::elect_leaders_response::ElectLeadersResponse;
use jackdaw::protocol::messages::list_partition_reassignments_request::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};

use crate::harness::{Client, Node, code};

fn elect(election_type: i8, topics: Option<&[(&str, &[i32])]>) -> ElectLeadersRequest {
    let topics = topics.map(|topics| {
        let topics = topics.iter().map(|(topic, partitions)| TopicPartitions {
            topic: (*topic).to_owned(),
            partitions: partitions.to_vec(),
        });
        topics.collect()
    });
    ElectLeadersRequest { election_type, topic_partitions: topics, timeout_ms: 30_000 }
}

fn elected(answer: &ElectLeadersResponse) -> Vec<(&str, i32, i16, Option<&str>)> {
    let mut found = Vec::new();
    for topic in &answer.replica_election_results {
        for one in &topic.partition_result {
            found.push((
                topic.topic.as_str(),
                one.partition_id,
                one.error_code,
                one.error_message.as_deref(),
            ));
        }
    }
    found
}

#[tokio::test]
async fn where_the_preferred_replica_leads_no_election_is_needed() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    let (not_needed, unknown) =
        (code(ErrorCode::ElectionNotNeeded), code(ErrorCode::UnknownTopicOrPartition));
    for version in 0..=2 {
        let answer = client.call(version, elect(0, Some(&[("t", &[0, 2, -1]), ("nope", &[0])]))).await;
        assert_eq!(answer.error_code, 0);
        assert_eq!(
            elected(&answer),
            [
                ("t", 0, not_needed, Some("Leader election not needed for topic partition.")),
                ("t", 2, unknown, Some("No such partition as t-2")),
                ("t", -1, unknown, Some("No such partition as t--1")),
                ("nope", 0, unknown, Some("No such topic as nope")),
            ]
        );
        let all = client.call(version, elect(0, None)).await;
        assert_eq!((all.error_code, elected(&all)), (0, vec![]), "who asks for all hears of changes only");
        assert_eq!(all.replica_election_results.len(), 1);
    }
    let unclean = client.call(2, elect(1, Some(&[("t", &[1])]))).await;
    assert_eq!(elected(&unclean)[0].2, not_needed);
}

#[tokio::test]
async fn an_unknown_type_of_election_is_refused() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let invalid = code(ErrorCode::InvalidRequest);
    for kind in [2, -1, i8::MAX] {
        let answer = client.call(2, elect(kind, Some(&[("t", &[0])]))).await;
        let message = format!("Unknown election type {kind}");
        assert_eq!(
            (answer.error_code, elected(&answer)),
            (invalid, vec![("t", 0, invalid, Some(&*message))])
        );
        assert_eq!(client.call(2, elect(kind, None)).await.error_code, invalid);
    }
}

#[tokio::test]
async fn who_waits_for_nothing_gets_nothing() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let late = code(ErrorCode::RequestTimedOut);
    for timeout_ms in [0, -1, i32::MIN] {
        let asked = ElectLeadersRequest { timeout_ms, ..elect(0, Some(&[("t", &[0])])) };
        let answer = client.call(2, asked).await;
        assert_eq!((answer.error_code, elected(&answer)), (late, vec![("t", 0, late, None)]));
        let asked = AlterPartitionReassignmentsRequest { timeout_ms, ..reassign("t", &[(0, Some(&[1]))]) };
        let answer = client.call(1, asked).await;
        assert_eq!((answer.error_code, answer.responses[0].partitions[0].error_code), (late, late));
    }
}

fn reassign(name: &str, partitions: &[(i32, Option<&[i32]>)]) -> AlterPartitionReassignmentsRequest {
    let partitions = partitions.iter().map(|(partition_index, replicas)| ReassignablePartition {
        partition_index: *partition_index,
        replicas: replicas.map(<[i32]>::to_vec),
    });
    AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic { name: name.to_owned(), partitions: partitions.collect() }],
        ..Default::default()
    }
}

/// The outcome for one partition.
async fn outcome(
    client: &mut Client,
    version: i16,
    request: AlterPartitionReassignmentsRequest,
) -> (i16, Option<String>) {
    let answer = client.call(version, request).await;
    assert_eq!((answer.error_code, answer.error_message), (0, None));
    let [topic] = &answer.responses[..] else { panic!("one topic") };
    let [partition] = &topic.partitions[..] else { panic!("one partition") };
    (partition.error_code, partition.error_message.clone())
}

/// Topic, partition and requested replicas; code and message of the answer.
type Case<'a> = (&'a str, i32, Option<&'a [i32]>, ErrorCode, &'a str);

#[tokio::test]
async fn every_field_of_a_reassignment_that_is_wrong_has_its_refusal() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let (assignment, unknown) = (ErrorCode::InvalidReplicaAssignment, ErrorCode::UnknownTopicOrPartition);
    let cases: [Case<'_>; 6] = [
        ("nope", 0, Some(&[1]), unknown, "Unable to find a topic named nope."),
        ("t", 3, Some(&[1]), unknown, "Unable to find partition t:3."),
        ("t", -1, None, unknown, "Unable to find partition t:-1."),
        ("t", 0, Some(&[]), assignment, "The manual partition assignment includes an empty replica list."),
        (
            "t",
            0,
            Some(&[1, 9]),
            assignment,
            "The manual partition assignment includes broker 9, but no such broker is registered.",
        ),
        (
            "t",
            0,
            Some(&[1, 1]),
            assignment,
            "The manual partition assignment includes the broker 1 more than once.",
        ),
    ];
    for (name, partition, replicas, error, message) in cases {
        for version in [0, 1] {
            let found = outcome(&mut client, version, reassign(name, &[(partition, replicas)])).await;
            assert_eq!(found, (code(error), Some(message.to_owned())));
        }
    }
    let cancelled = outcome(&mut client, 1, reassign("t", &[(0, None)])).await;
    assert_eq!(cancelled, (code(ErrorCode::NoReassignmentInProgress), None));
    assert_eq!(outcome(&mut client, 1, reassign("t", &[(0, Some(&[1]))])).await, (0, None), "where it is");
}

#[tokio::test]
async fn no_reassignment_is_ever_under_way() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let some = vec![ListPartitionReassignmentsTopics { name: "t".to_owned(), partition_indexes: vec![0, 9] }];
    for topics in [None, Some(vec![]), Some(some)] {
        let asked = ListPartitionReassignmentsRequest { topics, ..Default::default() };
        let answer = client.call(0, asked).await;
        assert_eq!((answer.error_code, answer.error_message.as_deref(), answer.topics.len()), (0, None, 0));
    }
}
