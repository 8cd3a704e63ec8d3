//! DeleteRecords: the log start moves forward, and nothing else changes.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use jackdaw::protocol::messages::delete_records_response::DeleteRecordsResponse;
use jackdaw::protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};

use crate::harness::{Client, Node, batch, batches, code};

fn before(topics: &[(&str, &[(i32, i64)])]) -> DeleteRecordsRequest {
    let topics = topics.iter().map(|(name, partitions)| DeleteRecordsTopic {
        name: (*name).to_owned(),
        partitions: partitions
            .iter()
            .map(|(partition_index, offset)| DeleteRecordsPartition {
                partition_index: *partition_index,
                offset: *offset,
            })
            .collect(),
    });
    DeleteRecordsRequest { topics: topics.collect(), timeout_ms: 30_000 }
}

/// Topic, partition, low watermark and error of every result, sorted.
fn results_of(answer: &DeleteRecordsResponse) -> Vec<(&str, i32, i64, i16)> {
    let mut results = Vec::new();
    for topic in &answer.topics {
        for one in &topic.partitions {
            results.push((topic.name.as_str(), one.partition_index, one.low_watermark, one.error_code));
        }
    }
    results.sort_unstable();
    results
}

/// Four batches: records 0–1, 2, 3–5 and 6.
async fn fill(client: &mut Client, topic: &str, partition: i32) {
    for values in [&["a", "b"][..], &["c"], &["d", "e", "f"], &["g"]] {
        assert_eq!(client.produce(topic, partition, batch(values)).await.error_code, 0);
    }
}

async fn earliest(client: &mut Client, topic: &str, partition_index: i32) -> i64 {
    let partitions = vec![ListOffsetsPartition { partition_index, current_leader_epoch: -1, timestamp: -2 }];
    let topics = vec![ListOffsetsTopic { name: topic.to_owned(), partitions }];
    let answer = client.call(7, ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }).await;
    answer.topics[0].partitions[0].offset
}

#[tokio::test]
async fn o4_the_log_starts_where_records_were_deleted_before() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    fill(&mut client, "t", 0).await;
    fill(&mut client, "t", 1).await;
    for (version, offset) in [(0, 1), (1, 4), (2, 4)] {
        let answer = client.call(version, before(&[("t", &[(0, offset)])])).await;
        assert_eq!(results_of(&answer), [("t", 0, offset, 0)]);
        assert_eq!(earliest(&mut client, "t", 0).await, offset);
    }
    assert_eq!(client.fetch("t", 0, 3).await.error_code, code(ErrorCode::OffsetOutOfRange));
    let rest = client.fetch("t", 0, 4).await;
    assert_eq!((rest.log_start_offset, rest.high_watermark), (4, 7));
    assert_eq!(batches(&rest), [(3, 3), (6, 1)], "whole batches, also where one holds deleted records");
    assert_eq!(earliest(&mut client, "t", 1).await, 0, "the neighbour is left alone");
}

#[tokio::test]
async fn minus_one_deletes_all_records_and_later_ones_continue_from_there() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    assert_eq!(
        results_of(&client.call(2, before(&[("t", &[(0, -1)])])).await),
        [("t", 0, 0, 0)],
        "nothing yet"
    );
    fill(&mut client, "t", 0).await;
    assert_eq!(results_of(&client.call(2, before(&[("t", &[(0, -1)])])).await), [("t", 0, 7, 0)]);
    let empty = client.fetch("t", 0, 7).await;
    assert_eq!((empty.error_code, empty.log_start_offset, empty.high_watermark), (0, 7, 7));
    assert_eq!(node.partition("t", 0).size(), 0);
    assert_eq!(client.produce("t", 0, batch(&["h"])).await.base_offset, 7);
}

#[tokio::test]
async fn a_log_start_ahead_of_the_request_is_returned_and_does_not_go_back() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    fill(&mut client, "t", 0).await;
    client.call(2, before(&[("t", &[(0, 5)])])).await;
    for offset in [0, 4, 5] {
        assert_eq!(results_of(&client.call(2, before(&[("t", &[(0, offset)])])).await), [("t", 0, 5, 0)]);
    }
}

#[tokio::test]
async fn every_field_that_is_wrong_has_its_code_and_moves_nothing() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    fill(&mut client, "t", 0).await;
    let (unknown, range) = (ErrorCode::UnknownTopicOrPartition, ErrorCode::OffsetOutOfRange);
    let cases = [
        ("nope", 0, 0, unknown),
        ("", 0, 0, unknown),
        ("a b", 0, 0, unknown),
        ("t", 1, 0, unknown),
        ("t", -1, 0, unknown),
        ("t", i32::MAX, 0, unknown),
        ("t", 0, 8, range),
        ("t", 0, i64::MAX, range),
        ("t", 0, -2, range),
        ("t", 0, i64::MIN, range),
    ];
    for (topic, partition, offset, error) in cases {
        let answer = client.call(2, before(&[(topic, &[(partition, offset)])])).await;
        assert_eq!(results_of(&answer), [(topic, partition, -1, code(error))]);
        assert_eq!(earliest(&mut client, "t", 0).await, 0);
    }
    // A wrong partition does not affect the others, and every partition has its result.
    let answer = client.call(2, before(&[("nope", &[(0, 0)]), ("t", &[(3, 1), (0, 2)])])).await;
    assert_eq!(
        results_of(&answer),
        [("nope", 0, -1, code(unknown)), ("t", 0, 2, 0), ("t", 3, -1, code(unknown))]
    );
    for nothing in [before(&[]), before(&[("t", &[])])] {
        assert_eq!(client.call(2, nothing).await.topics, []);
    }
}

#[tokio::test]
async fn a_partition_named_twice_has_one_result_of_its_last_offset() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    fill(&mut client, "t", 0).await;
    let answer = client.call(2, before(&[("t", &[(0, 6), (0, 2)]), ("t", &[(0, 3)])])).await;
    assert_eq!(results_of(&answer), [("t", 0, 3, 0)]);
}

#[tokio::test]
async fn records_that_never_expire_can_be_deleted_and_those_of_compacted_or_internal_topics_cannot() {
    let node = Node::start().await;
    node.topic_with("kept", 1, &[("cleanup.policy", "")]).await;
    node.topic("__consumer_offsets", 1).await;
    let mut client = node.client().await;
    let answer = client.call(2, before(&[("kept", &[(0, 0)])])).await;
    assert_eq!(results_of(&answer), [("kept", 0, 0, 0)]);
    node.topic_with("compacted", 1, &[("cleanup.policy", "compact")]).await;
    node.topic_with("both", 1, &[("cleanup.policy", "compact,delete")]).await;
    let answer = client.call(2, before(&[("compacted", &[(0, 0)]), ("both", &[(0, 0)])])).await;
    let violation = code(ErrorCode::PolicyViolation);
    assert_eq!(results_of(&answer), [("both", 0, 0, 0), ("compacted", 0, -1, violation)]);
    let answer = client.call(2, before(&[("__consumer_offsets", &[(0, 0)])])).await;
    assert_eq!(results_of(&answer), [("__consumer_offsets", 0, -1, code(ErrorCode::InvalidTopicException))]);
}

#[tokio::test]
async fn a_request_without_patience_is_answered_all_the_same() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    fill(&mut client, "t", 0).await;
    for (timeout_ms, offset) in [(0, 1), (-1, 2), (i32::MIN, 3)] {
        let asked = DeleteRecordsRequest { timeout_ms, ..before(&[("t", &[(0, offset)])]) };
        assert_eq!(results_of(&client.call(2, asked).await), [("t", 0, offset, 0)]);
    }
}
