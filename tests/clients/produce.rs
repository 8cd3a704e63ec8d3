//! Produce with librdkafka: acknowledged records are read back as they were sent.

use rdkafka::Offset;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::{DEADLINE, Record, Server, now, numbered, values};

#[test]
fn p14_every_codec_comes_back_as_sent_with_acks_0_1_and_all() {
    let server = Server::start();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for acks in ["0", "1", "all"] {
            let topic = server.topic(&format!("{codec}-{acks}"), 1);
            // Few words and many records: they compress well and make several batches.
            let sent = numbered("some words that compress well, some words again: ", 500);
            let producer = server.producer(&[
                ("compression.codec", codec),
                ("acks", acks),
                ("batch.num.messages", "200"),
            ]);
            producer.send_all(&topic, 0, &sent);

            let got = server.read(&topic, 0, Offset::Beginning, sent.len());
            let offsets: Vec<i64> = got.iter().map(|one| one.offset).collect();
            assert_eq!(offsets, (0..500).collect::<Vec<i64>>(), "{codec}, acks={acks}");
            let got: Vec<Record> = got.into_iter().map(|one| one.record).collect();
            assert_eq!(got, sent, "{codec}, acks={acks}");
        }
    }
}

#[test]
fn an_acknowledged_record_stands_at_the_offset_of_its_acknowledgement() {
    let server = Server::start();
    let topic = server.topic("acked", 3);
    let producer = server.producer(&[("acks", "all"), ("batch.num.messages", "7")]);
    for partition in 0..3 {
        let sent = numbered(&format!("{partition}-"), 100);
        let offsets = producer.send_all(&topic, partition, &sent);
        let got = server.read(&topic, partition, Offset::Beginning, 100);
        for (at, offset) in offsets.iter().enumerate() {
            let found = &got[usize::try_from(*offset).unwrap()];
            assert_eq!((found.offset, &found.record), (*offset, &sent[at]));
        }
        assert_eq!(server.ends(&topic, partition), (0, 100));
    }
}

#[test]
fn an_idempotent_producer_writes_each_record_once_and_in_order() {
    let server = Server::start();
    let topic = server.topic("idempotent", 1);
    // Small batches, five requests in flight: sequences matter.
    let producer = server.producer(&[("enable.idempotence", "true"), ("batch.num.messages", "10")]);
    let sent = numbered("", 3000);
    assert_eq!(producer.send_all(&topic, 0, &sent), (0..3000).collect::<Vec<i64>>());
    let expected: Vec<String> = (0..3000).map(|number| number.to_string()).collect();
    assert_eq!(values(&server.read(&topic, 0, Offset::Beginning, 3000)), expected);
    assert_eq!(server.ends(&topic, 0), (0, 3000));
}

#[test]
fn a_transaction_is_seen_by_readers_of_committed_records_only_if_it_is_committed() {
    let server = Server::start();
    let topic = server.topic("transactions", 1);
    let producer: BaseProducer = server.config(&[("transactional.id", "t")]).create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    for (value, is_committed) in [("aborted", false), ("committed", true)] {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), str>::to(&topic).payload(value)).unwrap();
        if is_committed {
            producer.commit_transaction(DEADLINE).unwrap();
        } else {
            producer.flush(DEADLINE).unwrap();
            producer.abort_transaction(DEADLINE).unwrap();
        }
    }
    // librdkafka reads committed records only, unless it is told otherwise.
    assert_eq!(values(&server.read(&topic, 0, Offset::Beginning, 1)), ["committed"]);
    assert_eq!(server.ends(&topic, 0), (0, 4), "two records and two markers");
}

#[test]
fn a_record_of_one_megabyte_comes_back_as_sent() {
    let server = Server::start();
    let topic = server.topic("large", 1);
    let producer = server.producer(&[("message.max.bytes", "2000000")]);
    // max.message.bytes is 1,048,588: the other bytes are the headers of the batch and of the record.
    let large = Record::of(bytes(1_048_500));
    let sent = [Record::of("before"), large, Record::of("after")];
    producer.send_all(&topic, 0, &sent);
    let got = server.read(&topic, 0, Offset::Beginning, 3);
    assert!(got.into_iter().map(|one| one.record).eq(sent), "the records differ");
}

#[test]
fn p7_a_record_above_max_message_bytes_is_refused_and_nothing_of_it_kept() {
    let server = Server::start();
    let topic = server.topic("too-large", 1);
    let producer = server.producer(&[("message.max.bytes", "3000000")]);
    let outcomes = producer.send(&topic, 0, &[Record::of(bytes(1_500_000))]);
    assert_eq!(outcomes, [Err(RDKafkaErrorCode::MessageSizeTooLarge)]);
    assert_eq!(producer.send(&topic, 0, &[Record::of("small")]), [Ok((0, 0))]);
    assert_eq!(values(&server.read(&topic, 0, Offset::Beginning, 1)), ["small"]);
}

#[test]
fn headers_keep_their_order_their_repeats_and_their_nulls() {
    let server = Server::start();
    let topic = server.topic("headers", 1);
    let header =
        |key: &str, value: Option<&str>| (key.to_string(), value.map(|text| text.as_bytes().to_vec()));
    let with = |headers| Record { headers, ..Record::of("value") };
    let sent = [
        with(vec![header("b", Some("1")), header("a", Some("2")), header("b", Some("3"))]),
        with(vec![header("null", None), header("empty", Some("")), header("", Some("no name"))]),
        with(vec![header("ключ 🐦", Some("значение"))]),
        with((0..100).map(|number| header("many", Some(&number.to_string()))).collect()),
        with(Vec::new()),
    ];
    for codec in ["none", "zstd"] {
        server.producer(&[("compression.codec", codec)]).send_all(&topic, 0, &sent);
    }
    let got: Vec<Record> =
        server.read(&topic, 0, Offset::Beginning, 10).into_iter().map(|one| one.record).collect();
    assert_eq!(got[..5], sent);
    assert_eq!(got[5..], sent);
}

#[test]
fn null_and_empty_keys_and_values_stay_apart() {
    let server = Server::start();
    let topic = server.topic("nulls", 1);
    let parts = [None, Some(Vec::new()), Some(b"x".to_vec())];
    let pairs = parts.iter().flat_map(|key| parts.iter().map(move |value| (key.clone(), value.clone())));
    let sent: Vec<Record> = pairs.map(|(key, value)| Record { key, value, ..Record::of("") }).collect();
    server.producer(&[]).send_all(&topic, 0, &sent);
    let got: Vec<Record> =
        server.read(&topic, 0, Offset::Beginning, 9).into_iter().map(|one| one.record).collect();
    assert_eq!(got, sent);
}

#[test]
fn p2_timestamps_far_apart_in_one_batch_are_kept() {
    let server = Server::start();
    let topic = server.topic("apart", 1);
    let times = [now(), 1, now() + 1000, 1_000_000_000_000];
    let sent: Vec<Record> = times.iter().map(|at| Record { timestamp: *at, ..Record::of("x") }).collect();
    server.producer(&[("linger.ms", "100")]).send_all(&topic, 0, &sent);
    let got = server.read(&topic, 0, Offset::Beginning, times.len());
    assert_eq!(got.iter().map(|one| one.record.timestamp).collect::<Vec<_>>(), times);
}

#[test]
fn a_timestamp_far_in_the_future_is_refused() {
    let server = Server::start();
    let topic = server.topic("future", 1);
    // message.timestamp.after.max.ms is one hour.
    let record = Record { timestamp: now() + 2 * 3_600_000, ..Record::of("x") };
    assert_eq!(server.producer(&[]).send(&topic, 0, &[record]), [Err(RDKafkaErrorCode::InvalidTimestamp)]);
}

#[test]
fn m1_a_message_makes_its_topic() {
    let server = Server::start();
    let topic = server.name("made");
    assert_eq!(server.producer(&[]).send(&topic, 0, &[Record::of("first")]), [Ok((0, 0))]);
    assert_eq!(values(&server.read(&topic, 0, Offset::Beginning, 1)), ["first"]);
}

#[test]
fn m11_an_illegal_topic_name_is_refused_at_once() {
    let server = Server::start();
    let long = "x".repeat(250);
    for illegal in ["no/slashes", "no spaces", "..", "ü", &long] {
        let outcomes = server.producer(&[]).send(illegal, -1, &[Record::of("x")]);
        assert_eq!(outcomes, [Err(RDKafkaErrorCode::InvalidTopic)], "{illegal}");
    }
}

/// Bytes that no codec compresses, the same each time.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut made = Vec::with_capacity(count + 8);
    while made.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        made.extend_from_slice(&state.to_le_bytes());
    }
    made.truncate(count);
    made
}
