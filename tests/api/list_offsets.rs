//! Rules O: offsets by timestamp, and the end offsets of leader epochs.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use jackdaw::protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use jackdaw::protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use jackdaw::record::{BatchBuilder, Codec, crc_of};
use jackdaw::types::{Offset, Timestamp};

use crate::harness::{Client, Node, batch, batch_at, code};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

fn asking(topic: &str, partitions: &[(i32, i64)]) -> ListOffsetsRequest {
    let partitions = partitions.iter().map(|(partition_index, timestamp)| ListOffsetsPartition {
        partition_index: *partition_index,
        current_leader_epoch: -1,
        timestamp: *timestamp,
    });
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: topic.to_owned(), partitions: partitions.collect() }],
        ..Default::default()
    }
}

async fn ask(
    client: &mut Client,
    version: i16,
    request: ListOffsetsRequest,
) -> Vec<ListOffsetsPartitionResponse> {
    client.call(version, request).await.topics.into_iter().flat_map(|topic| topic.partitions).collect()
}

/// Offset, timestamp and leader epoch of partition 0, at version 11.
async fn at(client: &mut Client, time: i64) -> (i64, i64, i32) {
    let [found] = &ask(client, 11, asking("t", &[(0, time)])).await[..] else { panic!("one partition") };
    assert_eq!(found.error_code, 0, "time {time}");
    (found.offset, found.timestamp, found.leader_epoch)
}

/// Times 1000, 3000, 2000 in one batch and 2500, 4000 in the next.
async fn filled() -> (Node, Client) {
    let node = Node::start().await;
    node.topic_with("t", 2, &[("retention.ms", "-1")]).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch_at(&[1_000, 3_000, 2_000])).await;
    client.produce("t", 0, batch_at(&[2_500, 4_000])).await;
    (node, client)
}

#[tokio::test]
async fn o1_by_time_it_is_the_first_record_at_or_after_it() {
    let (_node, mut client) = filled().await;
    let first = [(0, 0, 1_000), (1_000, 0, 1_000), (1_001, 1, 3_000), (2_600, 1, 3_000), (3_001, 4, 4_000)];
    for (time, offset, timestamp) in first {
        assert_eq!(at(&mut client, time).await, (offset, timestamp, 0), "time {time}");
    }
}

#[tokio::test]
async fn o2_none_is_minus_one_throughout() {
    let (_node, mut client) = filled().await;
    assert_eq!(at(&mut client, 4_001).await, (-1, -1, -1));
    assert_eq!(at(&mut client, i64::MAX).await, (-1, -1, -1));
    let empty = ask(&mut client, 11, asking("t", &[(1, 0)])).await;
    assert_eq!(
        (empty[0].error_code, empty[0].offset, empty[0].timestamp, empty[0].leader_epoch),
        (0, -1, -1, -1)
    );
}

#[tokio::test]
async fn o10_the_ends_and_the_largest_timestamp() {
    let (_node, mut client) = filled().await;
    assert_eq!(at(&mut client, LATEST).await, (5, -1, 0));
    assert_eq!(at(&mut client, EARLIEST).await, (0, -1, 0));
    assert_eq!(at(&mut client, EARLIEST_LOCAL).await, (0, -1, 0));
    assert_eq!(at(&mut client, MAX_TIMESTAMP).await, (4, 4_000, 0));
    for tiered in [LATEST_TIERED, EARLIEST_PENDING_UPLOAD] {
        assert_eq!(at(&mut client, tiered).await, (-1, -1, -1), "nothing is tiered");
    }
    for (time, offset) in [(LATEST, 0), (EARLIEST, 0), (MAX_TIMESTAMP, -1)] {
        let empty = ask(&mut client, 11, asking("t", &[(1, time)])).await;
        assert_eq!((empty[0].error_code, empty[0].offset, empty[0].timestamp), (0, offset, -1));
    }
}

#[tokio::test]
async fn p3_o1_o10_a_compressed_batch_is_found_by_its_records_whatever_its_header_says() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let node = Node::start().await;
        node.topic_with("t", 1, &[("retention.ms", "-1")]).await;
        let mut client = node.client().await;
        let claimed = [500, -1_000, 0, 499, 60_000];
        for (base, claimed) in (1..).map(|n| n * 1_000).zip(claimed) {
            let batch = BatchBuilder::new().codec(codec);
            let batch = batch.value(Timestamp(base), "v").value(Timestamp(base + 500), "v").build();
            let mut lying = batch.to_vec();
            lying[35..43].copy_from_slice(&i64::to_be_bytes(base + claimed));
            let crc = crc_of(&lying);
            lying[17..21].copy_from_slice(&crc.to_be_bytes());
            assert_eq!(client.produce("t", 0, bytes::Bytes::from(lying)).await.error_code, 0);
        }
        for n in 1..=5 {
            let first = 2 * (n - 1);
            assert_eq!(at(&mut client, n * 1_000).await, (first, n * 1_000, 0), "{codec:?}");
            assert_eq!(at(&mut client, n * 1_000 + 1).await, (first + 1, n * 1_000 + 500, 0), "{codec:?}");
        }
        assert_eq!(at(&mut client, 5_501).await, (-1, -1, -1));
        assert_eq!(at(&mut client, MAX_TIMESTAMP).await, (9, 5_500, 0));
    }
}

#[tokio::test]
async fn special_times_are_refused_below_their_version_and_if_they_are_unknown() {
    let (_node, mut client) = filled().await;
    let unsupported = code(ErrorCode::UnsupportedVersion);
    for (time, version) in [(MAX_TIMESTAMP, 6), (EARLIEST_LOCAL, 7), (LATEST_TIERED, 8), (-6, 10), (-7, 11)] {
        let answer = ask(&mut client, version, asking("t", &[(0, time)])).await;
        assert_eq!((answer[0].error_code, answer[0].offset), (unsupported, -1), "time {time}");
    }
}

#[tokio::test]
async fn o3_both_isolation_levels_are_served_and_no_third() {
    let (_node, mut client) = filled().await;
    for (isolation_level, expected) in [(0, (0, 5)), (1, (0, 5)), (7, (code(ErrorCode::InvalidRequest), -1))]
    {
        let request = ListOffsetsRequest { isolation_level, ..asking("t", &[(0, LATEST)]) };
        let answer = ask(&mut client, 11, request).await;
        assert_eq!((answer[0].error_code, answer[0].offset), expected);
    }
}

#[tokio::test]
async fn o4_no_offset_is_below_the_log_start() {
    let (node, mut client) = filled().await;
    node.store.delete_before(&node.partition("t", 0), Offset(2)).await.unwrap();
    assert_eq!(at(&mut client, EARLIEST).await, (2, -1, 0));
    assert_eq!(at(&mut client, EARLIEST_LOCAL).await, (2, -1, 0));
    // The batch still contains offsets 0 and 1, but clients do not see them.
    assert_eq!(at(&mut client, 0).await, (2, 2_000, 0));
    assert_eq!(at(&mut client, 2_600).await, (4, 4_000, 0));
    node.store.delete_before(&node.partition("t", 0), Offset(5)).await.unwrap();
    assert_eq!(at(&mut client, EARLIEST).await, (5, -1, 0));
    assert_eq!(at(&mut client, LATEST).await, (5, -1, 0));
    assert_eq!(at(&mut client, 0).await, (-1, -1, -1));
    assert_eq!(at(&mut client, MAX_TIMESTAMP).await, (-1, -1, -1));
}

#[tokio::test]
async fn o5_a_time_that_is_there_is_found_while_the_log_start_moves() {
    let node = Node::start().await;
    node.topic_with("t", 1, &[("retention.ms", "-1")]).await;
    let mut client = node.client().await;
    for time in 0..200 {
        client.produce("t", 0, batch_at(&[time])).await;
    }
    let partition = node.partition("t", 0);
    let moving = tokio::spawn({
        let (partition, store) = (partition.clone(), node.store.clone());
        async move {
            for start in 1..200 {
                store.delete_before(&partition, Offset(start)).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    while !moving.is_finished() {
        let before = partition.ends().log_start;
        let (offset, timestamp, _) = at(&mut client, 0).await;
        assert!(offset >= before.0, "{offset} lies before {before}");
        assert_eq!(timestamp, offset, "the record found is the one at that offset");
        let (newest, _, _) = at(&mut client, MAX_TIMESTAMP).await;
        assert_eq!(newest, 199);
    }
    moving.await.unwrap();
    assert_eq!(at(&mut client, 0).await, (199, 199, 0));
}

#[tokio::test]
async fn leader_epochs_of_clients_are_compared_with_ours() {
    let (_node, mut client) = filled().await;
    let cases = [
        (-1, ErrorCode::None),
        (0, ErrorCode::None),
        (1, ErrorCode::UnknownLeaderEpoch),
        (-2, ErrorCode::FencedLeaderEpoch),
    ];
    for (epoch, expected) in cases {
        for version in [4, 11] {
            let mut request = asking("t", &[(0, LATEST)]);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            assert_eq!(ask(&mut client, version, request).await[0].error_code, code(expected), "{epoch}");
        }
    }
}

#[tokio::test]
async fn every_partition_is_answered_once_and_fails_alone() {
    let (_node, mut client) = filled().await;
    let asked = asking("t", &[(9, LATEST), (0, LATEST), (-1, LATEST), (1, LATEST), (1, EARLIEST)]);
    let answer = ask(&mut client, 11, asked).await;
    let seen: Vec<_> = answer.iter().map(|one| (one.partition_index, one.error_code, one.offset)).collect();
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    // As in Kafka, a partition that is named twice is refused.
    assert_eq!(
        seen,
        [(9, unknown, -1), (0, 0, 5), (-1, unknown, -1), (1, code(ErrorCode::InvalidRequest), -1)]
    );
    assert_eq!(ask(&mut client, 11, asking("u", &[(0, LATEST)])).await[0].error_code, unknown);
    assert_eq!(ask(&mut client, 11, asking("a b", &[(0, LATEST)])).await[0].error_code, unknown);
}

#[tokio::test]
async fn o7_a_leadership_is_answered_for_as_it_was_asked_for() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    let cases = [
        // partition, claimed epoch, asked epoch → error, epoch, end
        ((0, -1, 0), (ErrorCode::None, 0, 2)),
        ((0, 0, 0), (ErrorCode::None, 0, 2)),
        ((1, -1, 0), (ErrorCode::None, 0, 0)),
        ((0, -1, 1), (ErrorCode::None, -1, -1)),
        ((0, -1, -1), (ErrorCode::None, -1, -1)),
        ((0, -1, -5), (ErrorCode::None, -5, 0)),
        ((0, 1, 0), (ErrorCode::UnknownLeaderEpoch, -1, -1)),
        ((0, -2, 0), (ErrorCode::FencedLeaderEpoch, -1, -1)),
        ((9, -1, 0), (ErrorCode::UnknownTopicOrPartition, -1, -1)),
    ];
    for ((partition, current_leader_epoch, leader_epoch), (error, epoch, end)) in cases {
        // −2 is the id of a debugging consumer, −1 of an ordinary consumer, 1 of a broker.
        for replica_id in [-2, -1, 1] {
            let partitions = vec![OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch }];
            let topics = vec![OffsetForLeaderTopic { topic: "t".to_owned(), partitions }];
            let answer = client.call(4, OffsetForLeaderEpochRequest { replica_id, topics }).await;
            let found = &answer.topics[0].partitions[0];
            let seen = (found.error_code, found.leader_epoch, found.end_offset);
            assert_eq!(seen, (code(error), epoch, end), "{partition} {current_leader_epoch} {leader_epoch}");
        }
    }
}
