//! Fetch and ListOffsets with librdkafka: reads from any offset, and waits for new records.

use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::support::{DEADLINE, Read, Record, Server, now, numbered, poll, read, taken, values};

#[test]
fn f1_a_consumer_starts_at_any_offset_also_inside_a_batch() {
    let server = Server::start();
    for codec in ["none", "lz4"] {
        let topic = server.topic(codec, 1);
        // Batches of eight: most offsets are inside a batch.
        let settings = [("compression.codec", codec), ("batch.num.messages", "8")];
        server.producer(&settings).send_all(&topic, 0, &numbered("", 40));
        for from in 0..40 {
            let got = server.read(&topic, 0, Offset::Offset(from), 1);
            assert_eq!((got[0].offset, values(&got)), (from, vec![from.to_string()]), "{codec}");
        }
    }
}

#[test]
fn a_consumer_starts_at_the_beginning_the_end_or_some_records_before_it() {
    let server = Server::start();
    let topic = server.topic("ends", 1);
    let producer = server.producer(&[]);
    producer.send_all(&topic, 0, &numbered("", 20));
    assert_eq!(values(&server.read(&topic, 0, Offset::Beginning, 20))[0], "0");
    assert_eq!(values(&server.read(&topic, 0, Offset::OffsetTail(3), 3)), ["17", "18", "19"]);

    let at_end = server.assigned(&topic, 0, Offset::End, &[("enable.partition.eof", "true")]);
    assert_eq!(next_error(&at_end), KafkaError::PartitionEOF(0));
    producer.send_all(&topic, 0, &numbered("later ", 1));
    assert_eq!(read(&at_end, 1)[0].offset, 20);
}

#[test]
fn an_offset_out_of_range_resets_or_is_an_error() {
    let server = Server::start();
    let topic = server.topic("range", 1);
    server.producer(&[]).send_all(&topic, 0, &numbered("", 5));

    let strict = server.assigned(&topic, 0, Offset::Offset(6), &[("auto.offset.reset", "error")]);
    let error = next_error(&strict);
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::AutoOffsetReset));
    let resets = server.assigned(&topic, 0, Offset::Offset(6), &[("auto.offset.reset", "earliest")]);
    assert_eq!(read(&resets, 5)[0].offset, 0);
}

#[test]
fn f16_an_append_wakes_a_fetch_that_would_wait_for_minutes() {
    let server = Server::start();
    let topic = server.topic("woken", 1);
    let settings = [("fetch.wait.max.ms", "300000"), ("socket.timeout.ms", "300000")];
    let waiting = server.assigned(&topic, 0, Offset::Beginning, &settings);
    let producer = server.producer(&[]);
    for number in 0..10 {
        producer.send_all(&topic, 0, &numbered("", 1));
        assert_eq!(read(&waiting, 1)[0].offset, number);
    }
}

#[test]
fn f9_a_batch_above_every_limit_of_the_fetch_still_comes() {
    let server = Server::start();
    let topic = server.topic("limits", 1);
    let sent: Vec<Record> = (0..20).map(|number| Record::of(format!("{number:020000}"))).collect();
    server.producer(&[("batch.num.messages", "2")]).send_all(&topic, 0, &sent);
    let limits =
        [("fetch.message.max.bytes", "1000"), ("fetch.max.bytes", "1000"), ("message.max.bytes", "1000")];
    let consumer = server.assigned(&topic, 0, Offset::Beginning, &limits);
    assert_eq!(read(&consumer, 20).into_iter().map(|one| one.record).collect::<Vec<_>>(), sent);
}

#[test]
fn one_consumer_reads_many_partitions_each_in_order() {
    let server = Server::start();
    let topic = server.topic("many", 24);
    let producer = server.producer(&[("batch.num.messages", "5")]);
    for partition in 0..24 {
        producer.send_all(&topic, partition, &numbered("", 25));
    }
    let consumer = server.consumer(&[]);
    let mut all = TopicPartitionList::new();
    for partition in 0..24 {
        all.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut next = [0; 24];
    for _ in 0..24 * 25 {
        let message = poll(&consumer).unwrap();
        let place = usize::try_from(message.partition()).unwrap();
        assert_eq!(message.offset(), next[place]);
        next[place] += 1;
    }
    assert_eq!(next, [25; 24]);
}

#[test]
fn o1_a_time_finds_the_first_record_not_older() {
    let server = Server::start();
    for codec in ["none", "zstd"] {
        let topic = server.topic(codec, 1);
        let start = now() - 100_000;
        // Two records per second and three per batch, so that times are on, inside and between batches.
        let sent: Vec<Record> = (0..30)
            .map(|number| Record { timestamp: start + 1000 * (number / 2), ..Record::of(number.to_string()) })
            .collect();
        let settings = [("compression.codec", codec), ("batch.num.messages", "3")];
        server.producer(&settings).send_all(&topic, 0, &sent);

        for second in 0..15 {
            let exact = start + 1000 * second;
            assert_eq!(found(&server, &topic, exact), Offset::Offset(2 * second), "{codec}");
            assert_eq!(found(&server, &topic, exact - 500), Offset::Offset(2 * second), "{codec}");
        }
        assert_eq!(found(&server, &topic, 0), Offset::Offset(0));
        // If no record is that new, librdkafka returns "end".
        assert_eq!(found(&server, &topic, start + 14_001), Offset::End);
    }
}

#[test]
fn o1_a_time_in_an_unordered_log_finds_the_first_record_not_older() {
    let server = Server::start();
    let topic = server.topic("unordered", 1);
    let start = now() - 100_000;
    let times = [5, 3, 9, 1, 7];
    let sent: Vec<Record> =
        times.iter().map(|at| Record { timestamp: start + at, ..Record::of("x") }).collect();
    server.producer(&[("batch.num.messages", "1")]).send_all(&topic, 0, &sent);
    for (asked, offset) in [(0, 0), (5, 0), (6, 2), (9, 2)] {
        assert_eq!(found(&server, &topic, start + asked), Offset::Offset(offset), "time {asked}");
    }
    assert_eq!(found(&server, &topic, start + 10), Offset::End);
}

#[test]
fn o2_a_time_finds_nothing_in_an_empty_partition() {
    let server = Server::start();
    let topic = server.topic("empty", 1);
    assert_eq!(found(&server, &topic, 0), Offset::End);
    assert_eq!(server.ends(&topic, 0), (0, 0));
}

#[test]
fn f10_a_read_committed_consumer_reads_records_without_a_transaction() {
    let server = Server::start();
    let topic = server.topic("committed", 1);
    server.producer(&[]).send_all(&topic, 0, &numbered("", 10));
    for isolation in ["read_committed", "read_uncommitted"] {
        let consumer = server.assigned(&topic, 0, Offset::Beginning, &[("isolation.level", isolation)]);
        assert_eq!(read(&consumer, 10).len(), 10);
    }
}

#[test]
fn a_partition_that_is_not_there_is_an_error_and_the_others_are_read() {
    let server = Server::start();
    let topic = server.topic("there", 1);
    server.producer(&[]).send_all(&topic, 0, &numbered("", 1));
    let consumer = server.consumer(&[]);
    let mut wanted = TopicPartitionList::new();
    for partition in [0, 7] {
        wanted.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&wanted).unwrap();
    let (mut got, mut refused) = (Vec::<i64>::new(), false);
    while got.is_empty() || !refused {
        match poll(&consumer) {
            Ok(message) => got.push(message.offset()),
            Err(error) => {
                assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::UnknownPartition));
                refused = true;
            }
        }
    }
    assert_eq!(got, [0]);
}

#[test]
fn reading_twice_gives_the_same_bytes() {
    let server = Server::start();
    let topic = server.topic("twice", 1);
    server.producer(&[("compression.codec", "snappy")]).send_all(&topic, 0, &numbered("word ", 2000));
    let once: Vec<Read> = server.read(&topic, 0, Offset::Beginning, 2000);
    assert_eq!(once, server.read(&topic, 0, Offset::Beginning, 2000));
}

#[test]
fn a1_a_compacted_topic_keeps_the_newest_record_of_each_key_at_its_offset() {
    let server = Server::start();
    let topic = server.name("compacted");
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1))
        .set("cleanup.policy", "compact")
        .set("min.cleanable.dirty.ratio", "0.01")
        .set("internal.segment.bytes", "20000");
    assert_eq!(server.admin().create(&[new]), [Ok(())]);
    let producer = server.producer(&[("compression.codec", "lz4"), ("batch.num.messages", "7")]);
    let give_up = now() + 1000 * DEADLINE.as_secs() as i64;
    let (mut sent, mut left) = (Vec::new(), Vec::new());
    // Segments close when they are full, and are compacted some time later.
    while left.len() == sent.len() || left.iter().take(10).all(|one: &Read| one.offset < 10) {
        assert!(now() < give_up, "{} records, {} of them left", sent.len(), left.len());
        let round: Vec<Record> = (0..100)
            .map(|number| Record {
                key: Some(format!("key {}", number % 10).into()),
                headers: vec![("of".into(), Some(number.to_string().into()))],
                ..Record::of(format!("{} {}", sent.len() + number, "x".repeat(200)))
            })
            .collect();
        producer.send_all(&topic, 0, &round);
        sent.extend(round);
        left = all(&server, &topic);
    }
    let offsets: Vec<i64> = left.iter().map(|one| one.offset).collect();
    assert!(offsets.is_sorted_by(|one, next| one < next), "{offsets:?}");
    assert!(left.iter().all(|one| one.record == sent[one.offset as usize]), "what is left is as it was sent");
    for newest in sent.len() - 10..sent.len() {
        assert!(offsets.contains(&(newest as i64)), "{newest} is the newest of its key: {offsets:?}");
    }
}

/// All records of the first partition.
fn all(server: &Server, topic: &str) -> Vec<Read> {
    let consumer = server.assigned(topic, 0, Offset::Beginning, &[("enable.partition.eof", "true")]);
    let mut found = Vec::new();
    loop {
        match poll(&consumer) {
            Ok(message) => found.push(taken(&message)),
            Err(KafkaError::PartitionEOF(_)) => return found,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The offset that the broker returns for a time.
fn found(server: &Server, topic: &str, time: i64) -> Offset {
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset(topic, 0, Offset::Offset(time)).unwrap();
    let answer = server.consumer(&[]).offsets_for_times(asked, DEADLINE).unwrap();
    answer.elements()[0].error().unwrap();
    answer.elements()[0].offset()
}

fn next_error(consumer: &BaseConsumer) -> KafkaError {
    match poll(consumer) {
        Err(error) => error,
        Ok(message) => panic!("a record came: {message:?}"),
    }
}
