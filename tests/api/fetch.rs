//! Rules F: the content and the time of a fetch response.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use jackdaw::protocol::messages::fetch_response::FetchResponse;
use jackdaw::record::BatchBuilder;
use jackdaw::storage::Location;
use jackdaw::types::{Offset, Timestamp};

use crate::harness::{Node, batch, batches, code, fetch_from, fetch_topics, only, partition_from, records};

/// Longer than any test: a fetch that waits this long was not woken.
const VERY_LONG: i32 = 10 * 60 * 1_000;

fn waiting(request: FetchRequest) -> FetchRequest {
    FetchRequest { max_wait_ms: VERY_LONG, ..request }
}

fn of_partitions(topic: &str, partitions: Vec<FetchPartition>) -> FetchRequest {
    fetch_topics(vec![FetchTopic { topic: topic.to_owned(), partitions, ..Default::default() }])
}

/// Partition, error and bytes of records.
fn sizes(answer: &FetchResponse) -> Vec<(i32, i16, usize)> {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|one| (one.partition_index, one.error_code, records(one).len())).collect()
}

#[tokio::test]
async fn f1_an_offset_within_a_batch_gives_the_batch() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a", "b", "c"])).await;
    client.produce("t", 0, batch(&["d"])).await;
    for offset in 0..3 {
        assert_eq!(batches(&client.fetch("t", 0, offset).await), [(0, 3), (3, 1)]);
    }
    assert_eq!(batches(&client.fetch("t", 0, 3).await), [(3, 1)]);
}

#[tokio::test]
async fn one_answer_has_the_batches_of_several_segments() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::at(Location::Directory(dir.path().into()), &[]).await;
    node.topic_with("t", 1, &[("internal.segment.bytes", "250")]).await;
    let mut client = node.client().await;
    for value in ["a", "b", "c"] {
        let produced = client.produce("t", 0, batch(&[value, &"x".repeat(60)])).await;
        assert_eq!(produced.error_code, 0);
    }
    assert_eq!(node.partition("t", 0).extents(), 3);
    node.store.close();
    drop((client, node));
    // After a restart no batch is in memory.
    let node = Node::at(Location::Directory(dir.path().into()), &[]).await;
    let mut client = node.client().await;
    assert_eq!(batches(&client.fetch("t", 0, 0).await), [(0, 2), (2, 2), (4, 2)]);
}

#[tokio::test]
async fn f2_no_records_are_empty_bytes_and_never_null() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let partitions = vec![partition_from(0, 0), partition_from(0, 77), partition_from(9, 0)];
    for version in [4, 11, 12] {
        let answer = client.call(version, of_partitions("t", partitions.clone())).await;
        for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            assert!(partition.records.as_ref().is_some_and(|records| records.is_empty()));
        }
    }
}

#[tokio::test]
async fn f8_limits_are_counted_in_bytes_and_each_partition_has_its_own() {
    let node = Node::start().await;
    node.topic("t", 3).await;
    let mut client = node.client().await;
    let size = batch(&["0123456789"]).len();
    for partition in [0, 0, 0, 1, 1] {
        client.produce("t", partition, batch(&["0123456789"])).await;
    }
    let limited = |partition, bytes: usize| FetchPartition {
        partition_max_bytes: i32::try_from(bytes).unwrap(),
        ..partition_from(partition, 0)
    };
    // Exactly two batches fit; with one byte less, only one fits.
    let answer =
        client.call(12, of_partitions("t", vec![limited(0, 2 * size), limited(1, 2 * size - 1)])).await;
    assert_eq!(sizes(&answer), [(0, 0, 2 * size), (1, 0, size)]);
    // A small first partition does not reduce the limit of the next one.
    let answer = client.call(12, of_partitions("t", vec![limited(0, size), limited(1, 2 * size)])).await;
    assert_eq!(sizes(&answer), [(0, 0, size), (1, 0, 2 * size)]);
    // The limit of the request applies to all partitions together.
    let all = of_partitions("t", vec![partition_from(0, 0), partition_from(1, 0), partition_from(2, 0)]);
    let max_bytes = i32::try_from(4 * size).unwrap();
    let answer = client.call(12, FetchRequest { max_bytes, ..all }).await;
    assert_eq!(sizes(&answer), [(0, 0, 3 * size), (1, 0, size), (2, 0, 0)]);
}

#[tokio::test]
async fn f9_the_first_batch_comes_whatever_the_limits_are() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    let size = batch(&["0123456789"]).len();
    for partition in [0, 0, 1] {
        client.produce("t", partition, batch(&["0123456789"])).await;
    }
    for limit in [0, 1] {
        let partition = |index| FetchPartition { partition_max_bytes: limit, ..partition_from(index, 0) };
        let answer = client.call(12, of_partitions("t", vec![partition(0), partition(1)])).await;
        assert_eq!(sizes(&answer), [(0, 0, size), (1, 0, 0)], "partition limit {limit}");
        let request = of_partitions("t", vec![partition_from(0, 0), partition_from(1, 0)]);
        let answer = client.call(12, FetchRequest { max_bytes: limit, ..request }).await;
        assert_eq!(sizes(&answer), [(0, 0, size), (1, 0, 0)], "request limit {limit}");
    }
}

#[tokio::test]
async fn f13_an_offset_beyond_the_end_or_before_the_start_is_out_of_range() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    for offset in [3, -1, i64::MAX, i64::MIN] {
        let answer = client.fetch("t", 0, offset).await;
        assert_eq!(answer.error_code, code(ErrorCode::OffsetOutOfRange), "{offset}");
        assert_eq!((answer.high_watermark, answer.last_stable_offset, answer.log_start_offset), (-1, -1, -1));
    }
    let at_the_end = client.fetch("t", 0, 2).await;
    assert_eq!((at_the_end.error_code, records(&at_the_end).len()), (0, 0));

    node.store.delete_before(&node.partition("t", 0), Offset(1)).await.unwrap();
    assert_eq!(client.fetch("t", 0, 0).await.error_code, code(ErrorCode::OffsetOutOfRange));
    assert_eq!(batches(&client.fetch("t", 0, 1).await), [(0, 2)]);
}

#[tokio::test]
async fn f14_an_emptied_log_has_its_true_ends() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    node.store.delete_before(&node.partition("t", 0), Offset(2)).await.unwrap();
    let answer = client.fetch("t", 0, 2).await;
    assert_eq!(answer.error_code, 0);
    assert_eq!((answer.log_start_offset, answer.last_stable_offset, answer.high_watermark), (2, 2, 2));
    assert_eq!(client.produce("t", 0, batch(&["c"])).await.base_offset, 2);
}

#[tokio::test]
async fn f10_f11_read_committed_ends_at_the_last_stable_offset_and_alone_lists_aborted_transactions() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    let committed = FetchRequest { isolation_level: 1, ..fetch_from("t", 0, 0) };
    let committed = only(client.call(12, committed).await);
    assert_eq!((committed.high_watermark, committed.last_stable_offset), (2, 2));
    assert_eq!(batches(&committed), [(0, 2)]);
    assert_eq!(committed.aborted_transactions, Some(vec![]));
    let uncommitted = client.fetch("t", 0, 0).await;
    assert_eq!(uncommitted.aborted_transactions, None);
    assert_eq!(uncommitted.preferred_read_replica, -1);
}

#[tokio::test]
async fn an_unknown_isolation_level_is_refused() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let refused = code(ErrorCode::InvalidRequest);
    let request = FetchRequest { isolation_level: 7, ..fetch_from("t", 0, 0) };
    let answer = client.call(12, request).await;
    assert_eq!((answer.error_code, answer.responses[0].partitions[0].error_code), (refused, refused));
    let request = FetchRequest { isolation_level: 7, ..fetch_from("missing", 0, 0) };
    let unknown = only(client.call(12, request).await).error_code;
    assert_eq!(unknown, code(ErrorCode::UnknownTopicOrPartition), "there is nothing to isolate");
}

#[tokio::test]
async fn limits_below_0_are_refused() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a"])).await;
    let refused = code(ErrorCode::InvalidRequest);
    let limited = FetchPartition { partition_max_bytes: -1, ..partition_from(0, 0) };
    let answer = client.call(12, of_partitions("t", vec![limited, partition_from(1, 0)])).await;
    assert_eq!(sizes(&answer), [(0, refused, 0), (1, 0, 0)]);
    let all = of_partitions("t", vec![partition_from(0, 0), partition_from(1, 0)]);
    let answer = client.call(12, FetchRequest { max_bytes: -1, ..all }).await;
    assert_eq!(sizes(&answer), [(0, refused, 0), (1, refused, 0)]);
}

#[tokio::test]
async fn unknown_topics_are_returned_behind_the_known_ones() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    let answer = client.call(12, of_partitions("t", vec![partition_from(7, 0), partition_from(0, 0)])).await;
    assert_eq!(sizes(&answer), [(0, 0, 0), (7, unknown, 0)]);
}

#[tokio::test]
async fn f16_an_append_wakes_the_fetch_that_waits_for_it() {
    let node = Node::start().await;
    node.topic("t", 3).await;
    let (mut consumer, mut producer) = (node.client().await, node.client().await);
    let partitions = vec![partition_from(0, 0), partition_from(1, 0), partition_from(2, 0)];
    for round in 0..20 {
        let mut partitions = partitions.clone();
        partitions[1].fetch_offset = round;
        consumer.send(12, &waiting(of_partitions("t", partitions))).await;
        // When the other client has its answer, the fetch has had its chance.
        assert_eq!(producer.produce("t", 0, b"no batch".as_slice()).await.error_code, 87);
        assert!(!consumer.has_received(), "nothing to tell yet");
        producer.produce("t", 1, batch(&["a"])).await;
        let (_, answer) = consumer.receive::<FetchRequest>(12).await;
        assert_eq!(sizes(&answer), [(0, 0, 0), (1, 0, batch(&["a"]).len()), (2, 0, 0)]);
        assert_eq!(answer.responses[0].partitions[1].high_watermark, round + 1);
    }
}

#[tokio::test]
async fn f12_a_fetch_waits_until_its_minimum_of_bytes_is_there_and_returns_all_of_them() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let (mut consumer, mut producer) = (node.client().await, node.client().await);
    let size = i32::try_from(batch(&["0123456789"]).len()).unwrap();
    let partitions = vec![partition_from(0, 0), partition_from(1, 0)];
    for isolation_level in [0, 1] {
        let mut partitions = partitions.clone();
        for partition in &mut partitions {
            partition.fetch_offset = 2 * i64::from(isolation_level);
        }
        let request = waiting(of_partitions("t", partitions));
        consumer.send(12, &FetchRequest { min_bytes: 4 * size, isolation_level, ..request }).await;
        for partition in [0, 1, 1] {
            producer.produce("t", partition, batch(&["0123456789"])).await;
            assert!(!consumer.has_received(), "not enough yet");
        }
        producer.produce("t", 0, batch(&["0123456789"])).await;
        let (_, answer) = consumer.receive::<FetchRequest>(12).await;
        let twice = 2 * usize::try_from(size).unwrap();
        assert_eq!(sizes(&answer), [(0, 0, twice), (1, 0, twice)]);
    }
}

#[tokio::test]
async fn a_fetch_is_over_when_its_time_is_and_returns_what_there_is() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let empty = FetchRequest { max_wait_ms: 1, ..fetch_from("t", 0, 0) };
    assert_eq!(sizes(&client.call(12, empty.clone()).await), [(0, 0, 0)]);
    client.produce("t", 0, batch(&["a"])).await;
    let too_much = FetchRequest { min_bytes: 1 << 20, ..empty };
    assert_eq!(sizes(&client.call(12, too_much).await), [(0, 0, batch(&["a"]).len())]);
}

#[tokio::test]
async fn no_fetch_outlasts_an_idle_connection() {
    let node = Node::with(&[("connections.max.idle.ms", "300")]).await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    assert_eq!(sizes(&client.call(12, waiting(fetch_from("t", 0, 0))).await), [(0, 0, 0)]);
}

#[tokio::test]
async fn fetches_that_need_not_wait_are_answered_at_once() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let nothing = of_partitions("t", vec![]);
    assert!(client.call(12, waiting(nothing)).await.responses.is_empty());
    let no_minimum = FetchRequest { min_bytes: 0, ..fetch_from("t", 0, 0) };
    assert_eq!(sizes(&client.call(12, waiting(no_minimum)).await), [(0, 0, 0)]);
    // A minimum above the maximum can never be reached.
    client.produce("t", 0, batch(&["a"])).await;
    let impossible = FetchRequest { min_bytes: 1 << 20, max_bytes: 10, ..fetch_from("t", 0, 0) };
    assert_eq!(sizes(&client.call(12, waiting(impossible)).await).len(), 1);
    // An error of a known partition is returned at once. An unknown one beside others may wait.
    let out_of_range = of_partitions("t", vec![partition_from(0, 77)]);
    let error = code(ErrorCode::OffsetOutOfRange);
    assert_eq!(sizes(&client.call(12, waiting(out_of_range)).await), [(0, error, 0)]);
    let unknown = of_partitions("t", vec![partition_from(9, 0)]);
    let error = code(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(sizes(&client.call(12, waiting(unknown)).await), [(9, error, 0)]);
}

#[tokio::test]
async fn a_topic_that_is_deleted_ends_the_wait_for_it() {
    let node = Node::start().await;
    let mut client = node.client().await;
    // By name and by id, uncommitted and committed: Kafka answers the same each time.
    for (version, isolation_level) in [(12, 0), (12, 1), (13, 0), (17, 1)] {
        let id = node.topic("t", 1).await;
        let mut request = waiting(fetch_from("t", 0, 0));
        request.isolation_level = isolation_level;
        request.topics[0].topic_id = id;
        client.send(version, &request).await;
        node.client().await.produce("t", 0, b"no batch".as_slice()).await;
        assert!(!client.has_received());
        node.store.delete_topic(id).await.unwrap();
        let (_, answer) = client.receive::<FetchRequest>(version).await;
        let unknown = code(ErrorCode::UnknownTopicOrPartition);
        assert_eq!(sizes(&answer), [(0, unknown, 0)], "version {version}");
        assert_eq!(only(answer).aborted_transactions, None, "version {version}");
        assert_eq!(client.fetch("t", 0, 0).await.error_code, unknown);
    }
}

#[tokio::test]
async fn records_that_a_fetch_has_gathered_are_returned_even_if_the_log_start_passes_them() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    let request = FetchRequest { min_bytes: 1 << 20, ..fetch_from("t", 0, 2) };
    client.send(12, &waiting(request)).await;
    let mut producer = node.client().await;
    producer.produce("t", 0, batch(&["c"])).await;
    assert!(!client.has_received());
    // Records that were already collected are returned, although they are no longer in the log.
    node.store.delete_before(&node.partition("t", 0), Offset(3)).await.unwrap();
    let large = "x".repeat(1 << 19);
    for _ in 0..2 {
        assert_eq!(producer.produce("t", 0, batch(&[&large])).await.error_code, 0);
    }
    let (_, answer) = client.receive::<FetchRequest>(12).await;
    // The third batch does not fit below the limit, so the limit counts as reached.
    assert_eq!(batches(&only(answer)), [(2, 1), (3, 1)]);
}

#[tokio::test]
async fn a_fetch_does_not_wait_for_bytes_that_its_limits_leave_no_room_for() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    let size = batch(&["0123456789"]).len();
    for _ in 0..2 {
        client.produce("t", 0, batch(&["0123456789"])).await;
    }
    let just_short = i32::try_from(2 * size - 1).unwrap();
    let partition = FetchPartition { partition_max_bytes: just_short, ..partition_from(0, 0) };
    let request = of_partitions("t", vec![partition, partition_from(1, 0)]);
    let answer = client.call(12, waiting(FetchRequest { min_bytes: just_short, ..request })).await;
    assert_eq!(sizes(&answer), [(0, 0, size), (1, 0, 0)]);
    let both = of_partitions("t", vec![partition_from(0, 0), partition_from(1, 0)]);
    let (min_bytes, max_bytes) = (just_short, just_short);
    let answer = client.call(12, waiting(FetchRequest { min_bytes, max_bytes, ..both })).await;
    assert_eq!(sizes(&answer), [(0, 0, size), (1, 0, 0)]);
}

#[tokio::test]
async fn o9_leader_epochs_of_clients_are_compared_with_ours_and_no_leader_is_named_where_none_is_newer() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    let claiming = |current_leader_epoch| {
        let partition = FetchPartition { current_leader_epoch, ..partition_from(0, 0) };
        of_partitions("t", vec![partition])
    };
    for (epoch, expected) in [(-1, ErrorCode::None), (0, ErrorCode::None), (1, ErrorCode::UnknownLeaderEpoch)]
    {
        for version in [9, 12] {
            let answer = only(client.call(version, claiming(epoch)).await);
            assert_eq!(answer.error_code, code(expected), "{epoch}");
            // Rule O9: with 0/0 clients would move to broker 0.
            assert_eq!((answer.current_leader.leader_id, answer.current_leader.leader_epoch), (-1, -1));
        }
    }
}

#[tokio::test]
async fn a_client_with_another_log_gets_the_offset_where_they_diverge() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    let having = |last_fetched_epoch, offset| {
        let partition = FetchPartition { last_fetched_epoch, ..partition_from(0, offset) };
        waiting(of_partitions("t", vec![partition]))
    };
    let same = only(client.call(12, having(0, 1)).await);
    assert_eq!((same.error_code, batches(&same)), (0, vec![(0, 2)]));
    let beyond = only(client.call(12, having(0, 9)).await);
    assert_eq!((beyond.error_code, records(&beyond).len()), (0, 0));
    assert_eq!((beyond.diverging_epoch.epoch, beyond.diverging_epoch.end_offset), (0, 2));
    assert_eq!((beyond.high_watermark, beyond.log_start_offset), (2, 0));
    let from_the_future = only(client.call(12, having(5, 1)).await);
    assert_eq!(from_the_future.error_code, code(ErrorCode::OffsetOutOfRange));
}

#[tokio::test]
async fn a_partition_named_twice_is_answered_once_by_its_last_fields() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a"])).await;
    client.produce("t", 0, batch(&["b"])).await;
    let twice = of_partitions("t", vec![partition_from(0, 0), partition_from(0, 1)]);
    assert_eq!(batches(&only(client.call(12, twice).await)), [(1, 1)]);
}

#[tokio::test]
async fn topics_are_named_by_id_from_v13_on() {
    let node = Node::start().await;
    let topic_id = node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a"])).await;
    let by_id = |topic_id| {
        let partitions = vec![partition_from(0, 0)];
        fetch_topics(vec![FetchTopic { topic_id, partitions, ..Default::default() }])
    };
    let answer = client.call(13, by_id(topic_id)).await;
    assert_eq!(answer.responses[0].topic_id, topic_id);
    assert_eq!(batches(&only(answer)), [(0, 1)]);
    for stranger in [jackdaw::types::Uuid([5; 16]), jackdaw::types::Uuid::ZERO] {
        let answer = client.call(18, waiting(by_id(stranger))).await;
        assert_eq!(answer.responses[0].topic_id, stranger);
        assert_eq!(only(answer).error_code, code(ErrorCode::UnknownTopicId));
    }
}

#[tokio::test]
async fn f8_f9_old_batches_come_straight_from_their_file_whole_and_within_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    let place = || Location::Directory(dir.path().to_owned());
    let node = Node::at(place(), &[]).await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    // Some are sent from their file, some are too short for that.
    let sizes = [100_000, 50, 300_000, 10, 10, 70_000, 20_000, 200_000];
    let values = sizes.iter().map(|size| "x".repeat(*size));
    for (partition, value) in [0, 1].into_iter().flat_map(|one| values.clone().map(move |value| (one, value)))
    {
        let batch = BatchBuilder::new().value(Timestamp(1), value).build();
        assert_eq!(client.produce("t", partition, batch).await.error_code, 0);
    }
    let from_memory = [records(&client.fetch("t", 0, 0).await), records(&client.fetch("t", 1, 0).await)];
    node.store.close();
    drop(node);

    // After a restart the cache of recent batches is empty.
    let node = Node::at(place(), &[]).await;
    let mut client = node.client().await;
    for _ in 0..2 {
        let request = of_partitions("t", vec![partition_from(0, 0), partition_from(1, 0)]);
        let answer = client.call(12, request).await;
        let both: Vec<_> = answer.responses[0].partitions.iter().map(records).collect();
        assert!(both == from_memory, "the same bytes from the disk");
    }
    for limit in [1, 99_000, 101_000, 450_000, 700_000] {
        let mut next = 0;
        let mut all = Vec::new();
        while next < sizes.len() as i64 {
            let partition = FetchPartition { partition_max_bytes: limit, ..partition_from(0, next) };
            let data = only(client.call(12, of_partitions("t", vec![partition])).await);
            let read = records(&data);
            let first = batches(&data).len() == 1;
            assert!(first || read.len() <= limit as usize, "{} bytes of {limit}", read.len());
            next = batches(&data).iter().map(|(base, count)| base + i64::from(*count)).max().unwrap();
            all.extend_from_slice(&read);
        }
        assert!(all == from_memory[0], "limit {limit}");
    }
}
