//! Rules P as far as a client sees them. The tests of `record` check the content of batches, those of
//! `kernel` the producer's window.

use std::collections::BTreeMap;

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::api_versions_request::ApiVersionsRequest;
use jackdaw::protocol::messages::produce_request::{PartitionProduceData, ProduceRequest};
use jackdaw::record::{Attributes, BatchBuilder, Codec, Header, Producer, records as records_of};
use jackdaw::time::Clock;
use jackdaw::types::{LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId};

use crate::harness::{Node, batch, batch_at, batches, code, produce_to, records, the_partition};

/// A batch of an idempotent producer.
fn sequenced(id: i64, epoch: i16, base_sequence: i32, values: &[&str]) -> bytes::Bytes {
    let producer = Producer { id: ProducerId(id), epoch: ProducerEpoch(epoch), base_sequence };
    let now = Clock::machine().now();
    values.iter().fold(BatchBuilder::new().producer(producer), |batch, value| batch.value(now, value)).build()
}

#[tokio::test]
async fn an_answer_tells_the_base_offset_and_the_log_start() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    let answer = client.produce("t", 0, batch(&["c"])).await;
    assert_eq!((answer.index, answer.error_code, answer.base_offset), (0, 0, 2));
    assert_eq!((answer.log_append_time_ms, answer.log_start_offset), (-1, 0));
    assert_eq!((answer.record_errors.len(), answer.error_message), (0, None));
}

#[tokio::test]
async fn every_partition_is_answered_in_its_place_and_fails_alone() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    let mut request = produce_to("t", 0, batch(&["a"]));
    let more = [(7, batch(&["b"])), (-1, batch(&["c"])), (1, batch(&["d", "e"]))];
    request.topic_data[0].partition_data.extend(
        more.into_iter().map(|(index, batch)| PartitionProduceData { index, records: Some(batch.into()) }),
    );
    request.topic_data.extend(produce_to("unknown", 0, batch(&["f"])).topic_data);
    let answer = client.call(9, request).await;
    let seen: Vec<_> = answer
        .responses
        .iter()
        .flat_map(|topic| topic.partition_responses.iter().map(|one| (topic.name.as_str(), one)))
        .map(|(topic, one)| (topic, one.index, one.error_code, one.base_offset, one.log_start_offset))
        .collect();
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    let expected = [
        ("t", 0, 0, 0, 0),
        ("t", 7, unknown, -1, -1),
        ("t", -1, unknown, -1, -1),
        ("t", 1, 0, 0, 0),
        ("unknown", 0, unknown, -1, -1),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn topics_are_named_by_id_from_v13_on() {
    let node = Node::start().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    let mut request = produce_to("", 0, batch(&["a"]));
    request.topic_data[0].topic_id = id;
    let answer = client.call(13, request.clone()).await;
    assert_eq!(answer.responses[0].topic_id, id);
    assert_eq!(the_partition(answer).error_code, 0);
    for stranger in [jackdaw::types::Uuid([5; 16]), jackdaw::types::Uuid::ZERO] {
        request.topic_data[0].topic_id = stranger;
        let answer = client.call(13, request.clone()).await;
        assert_eq!(answer.responses[0].topic_id, stranger);
        assert_eq!(the_partition(answer).error_code, code(ErrorCode::UnknownTopicId));
    }
}

#[tokio::test]
async fn unknown_acks_are_refused() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    for acks in [2, -2, i16::MAX] {
        let answer = client.call(9, ProduceRequest { acks, ..produce_to("t", 0, batch(&["a"])) }).await;
        assert_eq!(the_partition(answer).error_code, code(ErrorCode::InvalidRequiredAcks));
    }
    assert_eq!(client.fetch("t", 0, 0).await.high_watermark, 0);
}

#[tokio::test]
async fn acks_all_needs_no_more_replicas_than_there_are() {
    let node = Node::start().await;
    node.topic_with("t", 1, &[("min.insync.replicas", "2")]).await;
    let mut client = node.client().await;
    assert_eq!(client.produce("t", 0, batch(&["a"])).await.error_code, 0);
}

#[tokio::test]
async fn p1_the_clients_leader_epoch_is_not_looked_at_and_ours_stands_in_the_batch() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let now = Clock::machine().now();
    for epoch in [-1, 0, 99, i32::MAX] {
        let sent = BatchBuilder::new().leader_epoch(LeaderEpoch(epoch)).value(now, "v").build();
        assert_eq!(client.produce("t", 0, sent).await.error_code, 0, "{epoch}");
    }
    let stored = records(&client.fetch("t", 0, 0).await);
    for batch in jackdaw::record::batches(&stored) {
        assert_eq!(batch.unwrap().0.leader_epoch, LeaderEpoch(0));
    }
}

#[tokio::test]
async fn a_batch_that_opens_to_much_is_checked_as_any_other() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    node.topic_with("small", 1, &[("max.decompressed.message.bytes", "100")]).await;
    let mut client = node.client().await;
    let now = Clock::machine().now();
    let of = |codec, length| BatchBuilder::new().codec(codec).value(now, vec![b'x'; length]).build();
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let sent = of(codec, 5_000_000);
        assert_eq!(client.produce("t", 0, sent.clone()).await.error_code, 0, "{codec:?}");
        let mut of_two = sent.to_vec();
        of_two[23..27].copy_from_slice(&1_i32.to_be_bytes());
        of_two[57..61].copy_from_slice(&2_i32.to_be_bytes());
        let crc = jackdaw::record::crc_of(&of_two);
        of_two[17..21].copy_from_slice(&crc.to_be_bytes());
        let refused = client.produce("t", 0, bytes::Bytes::from(of_two)).await;
        assert_eq!(refused.error_code, code(ErrorCode::InvalidRecord), "{codec:?}");
        assert_eq!(client.produce("small", 0, of(codec, 90)).await.error_code, 0);
        let refused = client.produce("small", 0, of(codec, 100)).await;
        assert_eq!(refused.error_code, code(ErrorCode::InvalidRecord), "{codec:?}");
    }
    assert_eq!(client.produce("small", 0, of(Codec::None, 500)).await.error_code, 0, "as in Kafka");
}

#[tokio::test]
async fn p4_each_of_the_last_five_batches_sent_again_succeeds_with_its_own_offset() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let sent: Vec<_> = (0..5).map(|n| sequenced(9, 0, 2 * n, &["a", "b"])).collect();
    for (n, batch) in (0..).zip(&sent) {
        assert_eq!(client.produce("t", 0, batch.clone()).await.base_offset, 2 * n);
    }
    for (n, batch) in (0..).zip(&sent) {
        let again = client.produce("t", 0, batch.clone()).await;
        assert_eq!((again.error_code, again.base_offset), (0, 2 * n));
    }
    assert_eq!(client.fetch("t", 0, 0).await.high_watermark, 10, "nothing was written twice");
}

#[tokio::test]
async fn p5_an_unknown_producer_may_begin_anywhere_and_then_has_to_continue_there() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    assert_eq!(client.produce("t", 0, sequenced(9, 0, 1_000, &["a"])).await.error_code, 0);
    let gap = client.produce("t", 0, sequenced(9, 0, 1_005, &["b"])).await;
    assert_eq!(gap.error_code, code(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(client.produce("t", 0, sequenced(9, 0, 1_001, &["b"])).await.base_offset, 1);
}

#[tokio::test]
async fn p6_a_new_epoch_begins_a_new_window() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    assert_eq!(client.produce("t", 0, sequenced(9, 0, 0, &["a"])).await.base_offset, 0);
    assert_eq!(client.produce("t", 0, sequenced(9, 1, 0, &["b"])).await.base_offset, 1);
}

#[tokio::test]
async fn p7_max_message_bytes_is_for_the_whole_batch() {
    let node = Node::start().await;
    let small = batch(&["0123456789"]);
    let limit = small.len().to_string();
    node.topic_with("t", 1, &[("max.message.bytes", &limit)]).await;
    let mut client = node.client().await;
    assert_eq!(client.produce("t", 0, small).await.error_code, 0);
    let large = client.produce("t", 0, batch(&["0123456789a"])).await;
    assert_eq!(large.error_code, code(ErrorCode::MessageTooLarge));
}

#[tokio::test]
async fn p9_a_stale_producer_epoch_is_an_error_of_the_producer() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, sequenced(9, 3, 0, &["a"])).await;
    let stale = client.produce("t", 0, sequenced(9, 2, 1, &["b"])).await;
    assert_eq!(stale.error_code, code(ErrorCode::InvalidProducerEpoch));
}

#[tokio::test]
async fn p11_a_new_topic_of_the_same_name_knows_no_producer() {
    let node = Node::start().await;
    let first = node.topic("t", 1).await;
    let mut client = node.client().await;
    client.produce("t", 0, sequenced(9, 0, 0, &["a"])).await;
    node.store.delete_topic(first).await.unwrap();
    node.topic("t", 1).await;
    let answer = client.produce("t", 0, sequenced(9, 0, 7, &["b"])).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 0));
}

#[tokio::test]
async fn p12_with_log_append_time_the_brokers_time_is_stored_and_answered() {
    let node = Node::start().await;
    node.topic_with("t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut client = node.client().await;
    let before = Clock::machine().now();
    let sent = batch_at(&[0, 1_000]);
    let answer = client.produce("t", 0, sent.clone()).await;
    assert!(answer.log_append_time_ms >= before.0 && answer.log_append_time_ms <= Clock::machine().now().0);
    let stored = records(&client.fetch("t", 0, 0).await);
    let (header, _) = jackdaw::record::batches(&stored).next().unwrap().unwrap();
    assert!(header.attributes.log_append_time());
    assert_eq!(header.max_timestamp.0, answer.log_append_time_ms);
    assert_eq!(header.base_timestamp, Header::parse(&sent).unwrap().base_timestamp, "as in Kafka");
}

#[tokio::test]
async fn p12_where_the_producers_time_counts_no_append_time_is_answered() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    assert_eq!(node.client().await.produce("t", 0, batch(&["a"])).await.log_append_time_ms, -1);
}

/// Observed with both timestamp types on Apache Kafka 4.4.0.
#[tokio::test]
async fn p12_a_batch_that_comes_again_is_answered_with_the_time_it_was_stored_with() {
    let node = Node::start().await;
    node.topic("created", 1).await;
    node.topic_with("appended", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut client = node.client().await;
    let sent = sequenced(9, 0, 0, &["a", "b"]);
    let created = Header::parse(&sent).unwrap().max_timestamp;
    assert_eq!(client.produce("created", 0, sent.clone()).await.log_append_time_ms, -1);
    assert_eq!(client.produce("created", 0, sent.clone()).await.log_append_time_ms, created.0);
    let first = client.produce("appended", 0, sent.clone()).await;
    let again = client.produce("appended", 0, sent).await;
    assert_eq!(again.log_append_time_ms, first.log_append_time_ms);
    assert_eq!(again.base_offset, 0);
}

#[tokio::test]
async fn p8_a_compacted_topic_refuses_the_records_without_a_key_and_names_them() {
    let node = Node::start().await;
    node.topic_with("t", 1, &[("cleanup.policy", "compact")]).await;
    let mut client = node.client().await;
    let now = Clock::machine().now();
    let mixed = BatchBuilder::new()
        .record(now, Some(b"k"), Some(b"v"), &[])
        .record(now, None, Some(b"v"), &[])
        .build();
    let answer = client.produce("t", 0, mixed).await;
    assert_eq!(answer.error_code, code(ErrorCode::InvalidRecord));
    assert_eq!(answer.record_errors.iter().map(|record| record.batch_index).collect::<Vec<_>>(), [1]);
    let keyed = BatchBuilder::new().record(now, Some(b"k"), None, &[]).build();
    assert_eq!(client.produce("t", 0, keyed).await.error_code, 0, "a tombstone");
}

#[tokio::test]
async fn of_the_records_that_a_request_refuses_1000_are_named() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let too_late = Clock::machine().now().0 + 7_200_000;
    let mut request = produce_to("t", 0, batch_at(&[too_late; 600]));
    let more = [batch_at(&[too_late; 600]), batch_at(&[too_late])].map(|batch| Some(batch.into()));
    let more = more.map(|records| PartitionProduceData { index: 0, records });
    request.topic_data[0].partition_data.extend(more);
    let answer = client.call(12, request).await;
    let answered = answer.responses[0].partition_responses.iter();
    let named: Vec<_> = answered.map(|one| (one.error_code, one.record_errors.len())).collect();
    let refused = code(ErrorCode::InvalidTimestamp);
    assert_eq!(named, [(refused, 600), (refused, 400), (refused, 0)]);
}

#[tokio::test]
async fn other_clients_are_served_between_the_batches_of_a_request() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let (mut client, mut other) = (node.client().await, node.client().await);
    let large =
        BatchBuilder::new().codec(Codec::Gzip).value(Clock::machine().now(), vec![0; 900_000]).build();
    let mut request = produce_to("t", 0, large.clone());
    let one = PartitionProduceData { index: 0, records: Some(large.into()) };
    request.topic_data[0].partition_data = vec![one; 40];
    client.send(12, &request).await;
    other.call(3, ApiVersionsRequest::default()).await;
    assert!(!client.has_received(), "the connection is open");
    let (_, answer) = client.receive::<ProduceRequest>(12).await;
    let answered = answer.responses[0].partition_responses.iter();
    assert!(answered.map(|one| (one.error_code, one.base_offset)).eq((0..40).map(|offset| (0, offset))));
}

#[tokio::test]
async fn a_batch_that_was_sent_to_the_leader_is_refused_if_another_broker_leads_before_it_is_queued() {
    let node = Node::with(&[("jackdaw.brokers", "2")]).await;
    let settings = BTreeMap::from([("compression.type".to_owned(), "gzip".to_owned())]);
    let replicas = vec![vec![NodeId(1), NodeId(2)]; 2];
    let topic = node.store.create_placed_topic("t".to_owned(), settings, replicas).await.unwrap();
    let mut client = node.client().await;
    let mut request = produce_to("t", 0, batch(&["a"]));
    let more = PartitionProduceData { index: 1, records: Some(batch(&["b"]).into()) };
    request.topic_data[0].partition_data.push(more);
    // The batches are compressed here, so they wait for their memory.
    let all = node.store.copies().hold(usize::MAX).await;
    client.send(12, &request).await;
    let begun = || node.requests.iter().any(|of| of.row.key == 0 && of.versions().next().is_some());
    while !begun() {
        tokio::task::yield_now().await;
    }
    for index in [0, 1] {
        node.store.set_replicas(topic.id, index, vec![NodeId(2)]).await.unwrap();
    }
    drop(all);
    let (_, answer) = client.receive::<ProduceRequest>(12).await;
    let answered = answer.responses[0].partition_responses.iter();
    let seen: Vec<_> = answered.map(|one| (one.error_code, one.current_leader.leader_id)).collect();
    assert_eq!(seen, [(code(ErrorCode::NotLeaderOrFollower), 2); 2]);
    assert_eq!([0, 1].map(|index| node.partition("t", index).ends().high_watermark), [Offset(0); 2]);
}

#[tokio::test]
async fn p13_control_and_transactional_batches_of_clients_are_refused() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let now = Clock::machine().now();
    let control = BatchBuilder::new().flag(Attributes::CONTROL).value(now, "v").build();
    assert_eq!(client.produce("t", 0, control).await.error_code, code(ErrorCode::InvalidRecord));

    let producer = Producer { id: ProducerId(9), epoch: ProducerEpoch(0), base_sequence: 0 };
    let transactional = BatchBuilder::new().producer(producer).transactional().value(now, "v").build();
    let without_a_login = client.produce("t", 0, transactional.clone()).await;
    assert_eq!(without_a_login.error_code, code(ErrorCode::TransactionalIdAuthorizationFailed));
    let of_another =
        ProduceRequest { transactional_id: Some("x".to_owned()), ..produce_to("t", 0, transactional) };
    let answer = the_partition(client.call(9, of_another).await);
    assert_eq!(answer.error_code, code(ErrorCode::InvalidProducerIdMapping), "the id has another producer");
    assert_eq!(client.fetch("t", 0, 0).await.high_watermark, 0);
}

#[tokio::test]
async fn p14_batches_of_any_codec_come_back_byte_for_byte() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let now = Clock::machine().now();
    let headers: [(&[u8], Option<&[u8]>); 3] = [(b"h", Some(b"1")), (b"h", None), (b"\xff", Some(b""))];
    let mut sent = Vec::new();
    for codec in Codec::ALL {
        let mut batch = BatchBuilder::new().codec(codec);
        for value in ["repeat repeat repeat repeat", "", "x"] {
            batch = batch.record(now, Some(b"k"), Some(value.as_bytes()), &headers);
        }
        sent.push(batch.record(now, None, None, &[]).build());
    }
    for batch in &sent {
        assert_eq!(client.produce("t", 0, batch.clone()).await.error_code, 0);
    }
    let stored = records(&client.fetch("t", 0, 0).await);
    let stored: Vec<_> = jackdaw::record::batches(&stored).map(|batch| batch.unwrap().1).collect();
    assert_eq!(stored.len(), sent.len());
    for (sent, stored) in sent.iter().zip(&stored) {
        // The broker sets base offset and leader epoch; all other bytes are the client's.
        assert_eq!((&sent[8..12], &sent[16..]), (&stored[8..12], &stored[16..]));
        let values: Vec<_> = records_of(stored).unwrap().map(|record| record.unwrap().value).collect();
        assert_eq!((values.len(), values.last()), (4, Some(&None)));
    }
}

#[tokio::test]
async fn zstd_needs_v7() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let zstd = BatchBuilder::new().codec(Codec::Zstd).value(Clock::machine().now(), "v").build();
    let old = the_partition(client.call(6, produce_to("t", 0, zstd.clone())).await);
    assert_eq!(old.error_code, code(ErrorCode::UnsupportedCompressionType));
    assert_eq!(the_partition(client.call(7, produce_to("t", 0, zstd)).await).error_code, 0);
}

#[tokio::test]
async fn bytes_that_are_no_batch_are_refused_with_kafkas_codes() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let good = batch(&["a"]);
    let changed = |at: usize| {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let mut magic_1 = good.to_vec();
    magic_1[16] = 1;
    let cases = [
        (Vec::new(), ErrorCode::InvalidRecord),
        (good[..40].to_vec(), ErrorCode::InvalidRecord),
        ([&good[..], &good[..]].concat(), ErrorCode::InvalidRecord),
        (magic_1, ErrorCode::InvalidRecord),
        (changed(20), ErrorCode::CorruptMessage),
        (changed(good.len() - 1), ErrorCode::CorruptMessage),
    ];
    for (bytes, expected) in cases {
        let answer = client.produce("t", 0, bytes).await;
        assert_eq!(answer.error_code, code(expected), "{:?}", answer.error_message);
        assert_eq!(answer.base_offset, -1);
    }
    assert_eq!(client.fetch("t", 0, 0).await.high_watermark, 0, "nothing of it was written");
}

#[tokio::test]
async fn m11_internal_topics_are_invalid_and_illegal_ones_unknown() {
    let node = Node::start().await;
    node.topic("__consumer_offsets", 1).await;
    let mut client = node.client().await;
    let answer = client.produce("__consumer_offsets", 0, batch(&["a"])).await;
    assert_eq!(answer.error_code, code(ErrorCode::InvalidTopicException));
    // A client first looks up the leader, and Metadata reports the illegal name.
    for name in ["a b", "", ".."] {
        let answer = client.produce(name, 0, batch(&["a"])).await;
        assert_eq!(answer.error_code, code(ErrorCode::UnknownTopicOrPartition), "{name}");
    }
}

#[tokio::test]
async fn nothing_asked_is_nothing_answered() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let none = ProduceRequest { acks: -1, ..Default::default() };
    assert!(client.call(9, none).await.responses.is_empty());
    client.produce("t", 0, batch(&["a", "b", "c"])).await;
    assert_eq!(batches(&client.fetch("t", 0, 0).await), [(0, 3)]);
}
