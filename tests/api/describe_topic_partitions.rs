//! DescribeTopicPartitions: pages of topics, in the order of their names.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::describe_topic_partitions_request::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use jackdaw::protocol::messages::describe_topic_partitions_response::{
    self as response, DescribeTopicPartitionsResponse,
};

use crate::harness::{Client, Node, code};

const LIMIT: i32 = 2_000;

fn of(names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> DescribeTopicPartitionsRequest {
    DescribeTopicPartitionsRequest {
        topics: names.iter().map(|name| TopicRequest { name: (*name).to_owned() }).collect(),
        response_partition_limit: limit,
        cursor: cursor.map(|(topic_name, partition_index)| Cursor {
            topic_name: topic_name.to_owned(),
            partition_index,
        }),
    }
}

async fn ask(
    client: &mut Client,
    names: &[&str],
    limit: i32,
    cursor: Option<(&str, i32)>,
) -> DescribeTopicPartitionsResponse {
    client.call(0, of(names, limit, cursor)).await
}

/// Topic, error and the indexes of its partitions.
fn topics_of(answer: &DescribeTopicPartitionsResponse) -> Vec<(&str, i16, Vec<i32>)> {
    let partitions = |topic: &response::DescribeTopicPartitionsResponseTopic| {
        topic.partitions.iter().map(|one| one.partition_index).collect()
    };
    let topics = answer.topics.iter();
    topics.map(|topic| (topic.name.as_deref().unwrap(), topic.error_code, partitions(topic))).collect()
}

fn cursor(answer: &DescribeTopicPartitionsResponse) -> Option<(&str, i32)> {
    answer.next_cursor.as_ref().map(|cursor| (cursor.topic_name.as_str(), cursor.partition_index))
}

#[tokio::test]
async fn m9_a_topic_is_returned_whole_with_empty_lists_where_there_is_nothing() {
    let node = Node::start().await;
    let id = node.topic("t", 2).await;
    node.topic("__consumer_offsets", 1).await;
    let answer = ask(&mut node.client().await, &["t", "t", "__consumer_offsets"], LIMIT, None).await;
    assert_eq!(topics_of(&answer), [("__consumer_offsets", 0, vec![0]), ("t", 0, vec![0, 1])]);
    assert_eq!(cursor(&answer), None);
    let [offsets, topic] = &answer.topics[..] else { panic!("two topics") };
    assert_eq!((topic.topic_id, topic.is_internal, offsets.is_internal), (id, false, true));
    assert_eq!(topic.topic_authorized_operations, 3576);
    for partition in &topic.partitions {
        assert_eq!((partition.error_code, partition.leader_id, partition.leader_epoch), (0, 1, 0));
        assert_eq!((&partition.replica_nodes[..], &partition.isr_nodes[..]), (&[1][..], &[1][..]));
        assert!(partition.offline_replicas.is_empty());
        assert_eq!(partition.eligible_leader_replicas, Some(vec![]), "null makes Java admin clients throw");
        assert_eq!(partition.last_known_elr, Some(vec![]));
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps_whatever_their_limit() {
    let node = Node::start().await;
    for (name, partitions) in [("c", 1), ("a", 3), ("b", 4)] {
        node.topic(name, partitions).await;
    }
    let mut client = node.client().await;
    for limit in [1, 2, 3, 4, 7, 8, LIMIT] {
        for names in [&[][..], &["b", "c", "a"]] {
            let mut seen = Vec::new();
            let mut from: Option<(String, i32)> = None;
            loop {
                let at = from.as_ref().map(|(name, partition)| (name.as_str(), *partition));
                let answer = ask(&mut client, names, limit, at).await;
                let page = topics_of(&answer);
                let partitions: usize = page.iter().map(|(_, _, partitions)| partitions.len()).sum();
                assert!((1..=limit as usize).contains(&partitions));
                for (name, error, partitions) in page {
                    assert_eq!(error, 0);
                    seen.extend(partitions.into_iter().map(|one| (name.to_owned(), one)));
                }
                from = cursor(&answer).map(|(name, partition)| (name.to_owned(), partition));
                if from.is_none() {
                    break;
                }
            }
            let all = [("a", 3), ("b", 4), ("c", 1)];
            let all = all.iter().flat_map(|(name, n)| (0..*n).map(|one| ((*name).to_owned(), one)));
            assert_eq!(seen, all.collect::<Vec<_>>(), "limit {limit}");
        }
    }
}

#[tokio::test]
async fn a_limit_that_is_none_or_too_high_is_brought_within_bounds() {
    let node = Node::start().await;
    node.topic("t", 3).await;
    node.topic("large", 2_001).await;
    let mut client = node.client().await;
    for limit in [0, -1, i32::MIN] {
        let answer = ask(&mut client, &["t"], limit, None).await;
        assert_eq!((topics_of(&answer), cursor(&answer)), (vec![("t", 0, vec![0])], Some(("t", 1))));
    }
    let answer = ask(&mut client, &["large"], i32::MAX, None).await;
    assert_eq!((answer.topics[0].partitions.len(), cursor(&answer)), (2_000, Some(("large", 2_000))));
}

#[tokio::test]
async fn m11_unknown_names_are_returned_and_take_no_memory() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let (unknown, illegal) =
        (code(ErrorCode::UnknownTopicOrPartition), code(ErrorCode::InvalidTopicException));
    let answer = ask(&mut client, &["nope", "t", "a b"], 1, None).await;
    assert_eq!(topics_of(&answer), [("a b", illegal, vec![]), ("nope", unknown, vec![]), ("t", 0, vec![0])]);
    assert_eq!(cursor(&answer), None);
    assert!(answer.topics[0].topic_id.is_zero());
}

#[tokio::test]
async fn a_cursor_at_a_topic_that_is_gone_goes_on_behind_it() {
    let node = Node::start().await;
    node.topic("a", 1).await;
    node.topic("c", 1).await;
    let answer = ask(&mut node.client().await, &[], LIMIT, Some(("b", 7))).await;
    assert_eq!(topics_of(&answer), [("c", 0, vec![0])]);
}

#[tokio::test]
async fn a_cursor_that_makes_no_sense_is_an_invalid_request() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let invalid = code(ErrorCode::InvalidRequest);
    for cursor in [("t", -1), ("t", i32::MIN), ("other", 0)] {
        let answer = ask(&mut client, &["t"], LIMIT, Some(cursor)).await;
        assert_eq!(topics_of(&answer), [("t", invalid, vec![])]);
    }
}
