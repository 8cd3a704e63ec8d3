//! A client that means well, of another author (librdkafka), beside the attacks: answers at the limits of
//! their sizes do not break it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::amplify::every_array;
use crate::victim::{MIB, Victim, alone, framed, play, unread};

/// Long enough for anything on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);
const PARTITIONS: i32 = 3;

/// Every error that the client reports, also those that it gets over by itself.
#[derive(Clone, Default)]
pub struct Complaints(Arc<Mutex<Vec<String>>>);

impl Complaints {
    fn add(&self, complaint: String) {
        self.0.lock().unwrap().push(complaint);
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl ClientContext for Complaints {
    fn error(&self, error: KafkaError, reason: &str) {
        self.add(format!("{error}: {reason}"));
    }
}

impl ConsumerContext for Complaints {}

impl ProducerContext for Complaints {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.add(error.to_string());
        }
    }
}

/// An idempotent producer, and the only member of a group.
struct Bystander {
    producer: BaseProducer<Complaints>,
    consumer: BaseConsumer<Complaints>,
    complaints: Complaints,
    rounds: usize,
}

impl Bystander {
    fn start(address: SocketAddr) -> Bystander {
        let complaints = Complaints::default();
        let config = |settings: &[(&str, &str)]| {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", address.to_string());
            for (name, value) in settings {
                config.set(*name, *value);
            }
            config
        };
        let producer = config(&[("enable.idempotence", "true")]);
        let consumer =
            config(&[("group.id", "beside"), ("auto.offset.reset", "earliest"), ("check.crcs", "true")]);
        let consumer: BaseConsumer<Complaints> = consumer.create_with_context(complaints.clone()).unwrap();
        consumer.subscribe(&["beside"]).unwrap();
        let producer = producer.create_with_context(complaints.clone()).unwrap();
        Bystander { producer, consumer, complaints, rounds: 0 }
    }

    /// One record for each partition goes in and comes out again, at the next offset.
    fn one_round(&mut self) {
        let value = self.rounds.to_string();
        for partition in 0..PARTITIONS {
            let record: BaseRecord<'_, str, str> =
                BaseRecord::to("beside").payload(value.as_str()).partition(partition);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(DEADLINE).unwrap();
        let mut found = Vec::new();
        let mut polls = DEADLINE.as_millis() / POLL.as_millis();
        while found.len() < 3 {
            polls = polls.checked_sub(1).expect("a record in time");
            // A poll also ends without a record, for example when partitions are assigned.
            let Some(message) = self.consumer.poll(POLL) else { continue };
            let message = message.unwrap();
            let text = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
            found.push((message.partition(), message.offset(), text));
        }
        found.sort();
        let offset = i64::try_from(self.rounds).unwrap();
        let sent: Vec<_> = (0..PARTITIONS).map(|partition| (partition, offset, value.clone())).collect();
        assert_eq!(found, sent);
        self.rounds += 1;
    }

    fn partitions_of(&self, topic: &str) -> usize {
        let metadata = self.consumer.fetch_metadata(None, DEADLINE).unwrap();
        let topic = metadata.topics().iter().find(|one| one.name() == topic).expect("it is there");
        topic.partitions().iter().filter(|partition| partition.leader() >= 0).count()
    }

    fn complaints(&self) -> Vec<String> {
        self.complaints.all()
    }
}

#[test]
fn librdkafka_reads_everything_once_and_gets_no_error_while_others_attack() {
    alone(async {
        let victim = Victim::start_furnished().await;
        victim.node.topic("beside", PARTITIONS.unsigned_abs()).await;
        let mut bystander = Bystander::start(victim.address());
        bystander.one_round();
        let (attacks, address) = (every_array(&victim.names, 64 << 10), victim.address());
        let attacking = tokio::spawn(async move {
            for attack in attacks {
                play(address, framed(attack.key, attack.version, &attack.body).into()).await;
            }
        });
        while !attacking.is_finished() {
            bystander.one_round();
            assert_eq!(bystander.partitions_of("a-topic-with-a-longer-name-7"), 2);
        }
        attacking.await.unwrap();
        bystander.one_round();
        println!("{} rounds", bystander.rounds);
        assert_eq!(bystander.complaints(), [""; 0]);
    });
}

#[test]
fn librdkafka_learns_of_20_000_partitions_while_unread_answers_fill_their_memory() {
    const ANSWERS: usize = 2 * MIB;
    alone(async {
        let victim = Victim::with(&[("jackdaw.answer.max.bytes", &ANSWERS.to_string())]).await;
        victim.node.topic("wide", 20_000).await;
        victim.node.topic("beside", PARTITIONS.unsigned_abs()).await;
        let everything = framed(3, 12, b"\0\x01\x01\0");
        let mut hoarders = Vec::new();
        for _ in 0..6 {
            hoarders.push(unread(victim.address(), &everything.repeat(10)).await);
        }
        let mut bystander = Bystander::start(victim.address());
        for _ in 0..3 {
            bystander.one_round();
            assert_eq!(bystander.partitions_of("wide"), 20_000);
        }
        assert_eq!(bystander.complaints(), [""; 0]);
    });
}
