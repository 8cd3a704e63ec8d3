//! Three virtual brokers with librdkafka: topics with three replicas, and a broker that stops and starts
//! while a producer and a group use it.

use std::collections::BTreeSet;

use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::{DEADLINE, Server, numbered, poll, values};

const QUICK: [(&str, &str); 2] = [("reconnect.backoff.ms", "10"), ("reconnect.backoff.max.ms", "100")];

#[test]
fn three_brokers_carry_replication_factor_three() {
    let Some(server) = Server::of_virtual_brokers(3) else { return };
    let topic = replicated(&server, "carried", 6);
    let metadata = server.consumer(&[]).fetch_metadata(Some(&topic), DEADLINE).unwrap();
    assert_eq!(metadata.brokers().len(), 3);
    let partitions = metadata.topics()[0].partitions();
    let leaders: BTreeSet<i32> = partitions.iter().map(|partition| partition.leader()).collect();
    assert_eq!(leaders, BTreeSet::from([1, 2, 3]));
    assert!(partitions.iter().all(|partition| partition.replicas().len() == 3 && partition.isr().len() == 3));
    let producer = server.producer(&[("acks", "all")]);
    for partition in 0..6 {
        producer.send_all(&topic, partition, &numbered("", 20));
        assert_eq!(server.read(&topic, partition, Offset::Beginning, 20).len(), 20);
    }
}

#[test]
fn an_idempotent_producer_and_a_group_get_over_each_broker_that_stops_and_comes_back() {
    let Some(server) = Server::of_virtual_brokers(3) else { return };
    let (topic, group) = (replicated(&server, "moved", 3), server.name("moved"));
    let mut settings = QUICK.to_vec();
    settings.extend([("enable.idempotence", "true"), ("acks", "all")]);
    let producer = server.producer(&settings);
    let mut settings = QUICK.to_vec();
    settings.extend([("group.id", group.as_str()), ("auto.offset.reset", "earliest")]);
    let consumer = server.consumer(&settings);
    consumer.subscribe(&[&topic]).unwrap();

    let mut delivered = BTreeSet::new();
    let mut sent = 0;
    let mut expected: Vec<String> = Vec::new();
    for broker in [1, 2, 3, 2] {
        for step in ["stops", "is back"] {
            let records = numbered(&format!("{broker} {step} "), 50);
            std::thread::scope(|scope| {
                scope.spawn(|| match step {
                    "stops" => server.stop_one(broker),
                    _ => server.start_one(broker),
                });
                for partition in 0..3 {
                    producer.send_all(&topic, partition, &records);
                }
            });
            sent += 3 * records.len();
            expected.extend(records.iter().map(|one| String::from_utf8(one.value.clone().unwrap()).unwrap()));
            while delivered.len() < sent {
                delivered.extend(next(&consumer));
            }
        }
    }
    for partition in 0..3 {
        let log = server.read(&topic, partition, Offset::Beginning, expected.len());
        assert_eq!(values(&log), expected, "each record once, in the order of sending");
        assert_eq!(server.ends(&topic, partition), (0, i64::try_from(expected.len()).unwrap()));
    }
}

#[test]
fn a_transaction_goes_on_when_its_coordinator_stops() {
    let Some(server) = Server::of_virtual_brokers(3) else { return };
    let (topic, from) = (replicated(&server, "written", 3), replicated(&server, "from", 1));
    let (id, group) = (server.name("id"), server.name("group"));
    let mut settings = QUICK.to_vec();
    settings.push(("transactional.id", &id));
    let consumer = server.consumer(&[("group.id", &group)]);
    let mut expected = Vec::new();
    // One of the three coordinates the id.
    for broker in [1, 2, 3] {
        // A new client each time: librdkafka waits for a broker that it knows as the group's coordinator.
        let producer: BaseProducer = server.config(&settings).create().unwrap();
        producer.init_transactions(DEADLINE).unwrap();
        producer.begin_transaction().unwrap();
        for step in ["before", "without"] {
            if step == "without" {
                server.stop_one(broker);
            }
            let value = format!("{step} {broker}");
            for partition in 0..3 {
                let record = BaseRecord::<(), str>::to(&topic).partition(partition).payload(&value);
                producer.send(record).unwrap();
            }
            producer.flush(DEADLINE).unwrap();
            expected.push(value);
        }
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&from, 0, Offset::Offset(broker.into())).unwrap();
        let group = consumer.group_metadata().unwrap();
        producer.send_offsets_to_transaction(&offsets, &group, DEADLINE).unwrap();
        producer.commit_transaction(DEADLINE).unwrap();
        server.start_one(broker);
    }
    for partition in 0..3 {
        // librdkafka reads committed records only.
        let log = server.read(&topic, partition, Offset::Beginning, expected.len());
        assert_eq!(values(&log), expected);
        assert_eq!(server.ends(&topic, partition), (0, 9), "three transactions with a marker each");
    }
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition(&from, 0);
    // The group has gone back to the broker that was started last. librdkafka looks for it, and gives this question up.
    let committed = loop {
        match consumer.committed_offsets(wanted.clone(), DEADLINE) {
            Err(KafkaError::MetadataFetch(RDKafkaErrorCode::NotCoordinator)) => {}
            answer => break answer.unwrap(),
        }
    };
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(3));
}

fn replicated(server: &Server, what: &str, partitions: i32) -> String {
    let name = server.name(what);
    let made = server.admin().create(&[NewTopic::new(&name, partitions, TopicReplication::Fixed(3))]);
    assert_eq!(made, [Ok(())]);
    name
}

/// Partition and offset of the next record; `None` if the client only reports a broker that is gone.
fn next(consumer: &BaseConsumer) -> Option<(i32, i64)> {
    match poll(consumer) {
        Ok(message) => Some((message.partition(), message.offset())),
        Err(KafkaError::MessageConsumption(
            RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
        )) => None,
        Err(other) => panic!("{other:?}"),
    }
}
