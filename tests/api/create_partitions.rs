//! CreatePartitions; error messages are Kafka's, word for word.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use jackdaw::protocol::messages::create_partitions_response::CreatePartitionsTopicResult;

use crate::harness::{Client, Node, batch, code};

fn to(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic { name: name.to_owned(), count, assignments: None }
}

fn assigned(name: &str, count: i32, brokers: &[&[i32]]) -> CreatePartitionsTopic {
    let assignments = brokers.iter().map(|ids| CreatePartitionsAssignment { broker_ids: ids.to_vec() });
    CreatePartitionsTopic { assignments: Some(assignments.collect()), ..to(name, count) }
}

fn request(topics: Vec<CreatePartitionsTopic>) -> CreatePartitionsRequest {
    CreatePartitionsRequest { topics, timeout_ms: 30_000, validate_only: false }
}

async fn add(client: &mut Client, topics: Vec<CreatePartitionsTopic>) -> Vec<CreatePartitionsTopicResult> {
    client.call(3, request(topics)).await.results
}

fn outcomes(results: &[CreatePartitionsTopicResult]) -> Vec<(&str, i16, Option<&str>)> {
    results.iter().map(|one| (one.name.as_str(), one.error_code, one.error_message.as_deref())).collect()
}

fn count(node: &Node, topic: &str) -> usize {
    node.store.topics().by_name(topic).unwrap().partitions.len()
}

#[tokio::test]
async fn a12_new_partitions_are_numbered_on_and_the_old_ones_keep_their_records() {
    let node = Node::start().await;
    let id = node.topic("t", 2).await;
    let mut client = node.client().await;
    client.produce("t", 1, batch(&["a"])).await;
    let before = node.partition("t", 1);
    for (more, version) in [(4, 0), (5, 1), (6, 2), (9, 3)] {
        let answer = client.call(version, request(vec![to("t", more)])).await;
        assert_eq!(outcomes(&answer.results), [("t", 0, None)]);
        let topics = node.store.topics();
        let topic = topics.by_name("t").unwrap();
        let numbers: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
        assert_eq!(numbers, (0..more).collect::<Vec<_>>());
        assert_eq!(topic.id, id);
    }
    assert!(std::sync::Arc::ptr_eq(&before, &node.partition("t", 1)), "who waits there is still woken");
    assert_eq!(before.ends().high_watermark.0, 1);
    // The new partitions accept records at once.
    let produced = client.produce("t", 8, batch(&["b", "c"])).await;
    assert_eq!((produced.error_code, produced.base_offset), (0, 0));
    assert_eq!(client.fetch("t", 8, 0).await.high_watermark, 2);
}

#[tokio::test]
async fn a11_every_topic_asked_has_its_result_and_one_refusal_stops_no_other() {
    let node = Node::start().await;
    node.topic("t", 3).await;
    node.topic("one", 1).await;
    let mut client = node.client().await;
    let results = add(&mut client, vec![to("t", 4), to("nope", 3), to("one", 2)]).await;
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    let expected = [("t", 0, None), ("nope", unknown, None), ("one", 0, None)];
    assert_eq!(outcomes(&results), expected);
    assert_eq!((count(&node, "t"), count(&node, "one")), (4, 2));
    assert_eq!(outcomes(&add(&mut client, vec![]).await), []);
}

#[tokio::test]
async fn a_topic_named_twice_is_refused_once_and_stays_as_it_is() {
    let node = Node::start().await;
    node.topic("t", 3).await;
    let mut client = node.client().await;
    let results = add(&mut client, vec![to("t", 5), to("t", 6)]).await;
    assert_eq!(outcomes(&results), [("t", code(ErrorCode::InvalidRequest), Some("Duplicate topic name."))]);
    assert_eq!(count(&node, "t"), 3);
}

#[tokio::test]
async fn validating_adds_nothing() {
    let node = Node::start().await;
    node.topic("t", 3).await;
    let mut client = node.client().await;
    let validate = |topic| CreatePartitionsRequest { validate_only: true, ..request(vec![topic]) };
    assert_eq!(outcomes(&client.call(3, validate(to("t", 5))).await.results), [("t", 0, None)]);
    let refused = client.call(3, validate(to("t", 2))).await.results;
    assert_eq!(refused[0].error_code, code(ErrorCode::InvalidPartitions));
    assert_eq!(count(&node, "t"), 3);
}

#[tokio::test]
async fn every_field_that_is_wrong_has_its_refusal_and_changes_nothing() {
    let node = Node::start().await;
    node.topic("t", 3).await;
    let mut client = node.client().await;
    let (partitions, assignment) = (ErrorCode::InvalidPartitions, ErrorCode::InvalidReplicaAssignment);
    for unknown in ["nope", "", "a b", "__cluster_metadata"] {
        let results = add(&mut client, vec![to(unknown, 4)]).await;
        assert_eq!(outcomes(&results), [(unknown, code(ErrorCode::UnknownTopicOrPartition), None)]);
    }
    let cases = [
        (to("t", 3), partitions, "Topic already has 3 partition(s)."),
        (to("t", 2), partitions, "The topic t currently has 3 partition(s); 2 would not be an increase."),
        (to("t", 0), partitions, "The topic t currently has 3 partition(s); 0 would not be an increase."),
        (
            to("t", i32::MIN),
            partitions,
            "The topic t currently has 3 partition(s); -2147483648 would not be an increase.",
        ),
        (
            assigned("t", 5, &[&[1]]),
            assignment,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        ),
        (
            assigned("t", 4, &[]),
            assignment,
            "Attempted to add 1 additional partition(s), but only 0 assignment(s) were specified.",
        ),
        (
            assigned("t", 4, &[&[]]),
            assignment,
            "The manual partition assignment includes an empty replica list.",
        ),
        (
            assigned("t", 4, &[&[77]]),
            assignment,
            "The manual partition assignment includes broker 77, but no such broker is registered.",
        ),
        (
            assigned("t", 4, &[&[1, 1]]),
            assignment,
            "The manual partition assignment includes the broker 1 more than once.",
        ),
        (assigned("t", 3, &[&[1]]), partitions, "Topic already has 3 partition(s)."),
    ];
    for (asked, error, message) in cases {
        let name = asked.name.clone();
        let results = add(&mut client, vec![asked]).await;
        assert_eq!(outcomes(&results), [(name.as_str(), code(error), Some(message))]);
        assert_eq!(count(&node, "t"), 3);
    }
    let by_hand = add(&mut client, vec![assigned("t", 5, &[&[1], &[1]])]).await;
    assert_eq!(outcomes(&by_hand), [("t", 0, None)]);
    assert_eq!(count(&node, "t"), 5);
}

#[tokio::test]
async fn who_waits_for_nothing_gets_nothing() {
    let node = Node::start().await;
    node.topic("t", 3).await;
    let mut client = node.client().await;
    for timeout_ms in [0, -1, i32::MIN] {
        let asked = CreatePartitionsRequest { timeout_ms, ..request(vec![to("t", 5), to("nope", 5)]) };
        let results = client.call(3, asked).await.results;
        let late = code(ErrorCode::RequestTimedOut);
        assert_eq!(outcomes(&results), [("t", late, None), ("nope", late, None)]);
        assert_eq!(count(&node, "t"), 3);
    }
}

#[tokio::test]
async fn a18_more_than_ten_thousand_new_partitions_at_once_are_refused() {
    let node = Node::start().await;
    node.topic("t", 3).await;
    node.topic("u", 1).await;
    let mut client = node.client().await;
    let policy = code(ErrorCode::PolicyViolation);
    let excess = Some("Excessively large number of additional partitions per request.");
    for too_many in [10_004, i32::MAX] {
        assert_eq!(outcomes(&add(&mut client, vec![to("t", too_many)]).await), [("t", policy, excess)]);
    }
    let all = add(&mut client, vec![to("t", 6_003), to("u", 6_001), to("nope", 2)]).await;
    assert_eq!(outcomes(&all), [("t", policy, excess), ("u", policy, excess), ("nope", policy, excess)]);
    assert_eq!((count(&node, "t"), count(&node, "u")), (3, 1));
    assert_eq!(outcomes(&add(&mut client, vec![to("t", 10_003)]).await), [("t", 0, None)]);
}

#[tokio::test]
async fn a12_of_two_requests_at_once_for_the_same_number_one_is_refused() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(node.client().await);
    }
    let asking = clients.into_iter().map(|mut client| {
        tokio::spawn(async move { add(&mut client, vec![to("t", 4)]).await[0].error_code })
    });
    let mut errors = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        errors.push(asked.await.unwrap());
    }
    errors.sort_unstable();
    let mut expected = vec![0];
    expected.resize(8, code(ErrorCode::InvalidPartitions));
    assert_eq!((errors, count(&node, "t")), (expected, 4));
}
