//! The conformance suite of a store: what clients may rely on with every engine. Each fact is written once, over a
//! [`Subject`], and holds in memory, on a simulated disk and over a shared journal with faults that a seed decides.

pub(crate) mod client;
pub(crate) mod subject;
mod transactions;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Producer, append_in, batch_of, values_on};
use subject::{Local, Shared, Subject};
use transactions::{
    a_producer_that_was_replaced_changes_nothing, a_transaction_ends_in_all_partitions_at_once,
    offsets_of_a_transaction_are_committed_or_dropped_with_it,
    the_aborted_transactions_of_a_partition_are_known_everywhere,
};

use super::cluster::Faults;
use super::groups::{GroupStore, NotStored};
use super::line::Work;
use super::{AppendError, LogError, NewTopic, Store, StoreError, TopicError};
use crate::kernel::group::{Change, Generation, GroupRecord, KeptGroup};
use crate::kernel::offsets::{CommittedOffset, OffsetChange};
use crate::kernel::{Command, Refusal, Scope};
use crate::types::{LeaderEpoch, NodeId, Offset, ProducerEpoch, Timestamp, TopicId, TopicPartition};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// The number of seeds of the shared journal for each fact. The first seed has no faults.
const SEEDS: u64 = 40;

macro_rules! conformance {
    ($($fact:ident,)*) => {
        mod in_memory {
            use super::*;
            $(#[tokio::test]
            async fn $fact() {
                super::$fact(&mut Local::in_memory().await).await;
            })*
        }

        mod on_files {
            use super::*;
            $(#[tokio::test]
            async fn $fact() {
                super::$fact(&mut Local::on_files().await).await;
            })*
        }

        mod over_a_shared_journal {
            use super::*;
            $(#[tokio::test]
            async fn $fact() {
                for seed in 0..SEEDS {
                    let mut subject = Shared::new(seed, faults_of(seed)).await;
                    super::$fact(&mut subject).await;
                    subject.check().await;
                }
            })*
        }
    };
}

conformance! {
    records_are_read_back_in_order_on_every_broker,
    records_are_found_by_their_time_on_every_broker,
    batches_that_were_sent_without_waiting_keep_their_order,
    a_repeated_batch_is_appended_once,
    a_gap_in_the_sequence_and_an_old_producer_epoch_are_refused,
    a_batch_of_an_earlier_leadership_is_refused_and_its_retry_is_appended_once,
    the_next_leader_has_all_that_was_acknowledged,
    records_before_the_log_start_are_gone_everywhere,
    a_topic_is_created_once_and_known_everywhere,
    a_topic_that_is_deleted_is_gone_everywhere_and_its_name_is_free,
    partitions_are_added_once,
    settings_of_several_requests_are_all_kept,
    producer_ids_are_given_once,
    the_changes_of_a_group_form_a_chain,
    a_coordinator_that_was_replaced_changes_nothing,
    producers_whose_brokers_stop_lose_nothing_and_duplicate_nothing,
    a_transaction_ends_in_all_partitions_at_once,
    the_aborted_transactions_of_a_partition_are_known_everywhere,
    offsets_of_a_transaction_are_committed_or_dropped_with_it,
    a_producer_that_was_replaced_changes_nothing,
}

fn faults_of(seed: u64) -> Faults {
    if seed == 0 { Faults::NONE } else { Faults::MANY }
}

/// Creates a topic whose partitions have these replicas.
async fn placed(subject: &impl Subject, name: &str, replicas: &[&[NodeId]]) -> TopicId {
    let replicas = replicas.iter().map(|one| one.to_vec()).collect();
    subject.client().any().create_placed_topic(name.to_owned(), BTreeMap::new(), replicas).await.unwrap().id
}

/// The values of a partition, which have to be the same on every broker.
async fn values(subject: &impl Subject, topic: TopicId, index: i32) -> Vec<String> {
    let mut found = Vec::new();
    for store in subject.client().all() {
        store.barrier().await.unwrap();
        found.push(values_on(&store, topic, index).await);
    }
    assert!(found.iter().all(|values| *values == found[0]), "{found:?}");
    found.swap_remove(0)
}

async fn records_are_read_back_in_order_on_every_broker(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE, TWO], &[TWO, THREE], &[THREE]]).await;
    let client = subject.client();
    for round in 0..4 {
        for index in 0..3 {
            let values = [format!("{index}-{round}-a"), format!("{index}-{round}-b")];
            let (store, partition) = client.leader(topic, index).await;
            let batch = client::batch(&values);
            let appended = store.append(&partition, batch).await.unwrap();
            assert_eq!((appended.base_offset, appended.repeated), (Offset(round * 2), false));
            assert_eq!(partition.ends().high_watermark, Offset(round * 2 + 2), "it is read at once here");
        }
    }
    for index in 0..3 {
        let all: Vec<String> =
            (0..4).flat_map(|round| ["a", "b"].map(|part| format!("{index}-{round}-{part}"))).collect();
        assert_eq!(values(subject, topic, index).await, all);
    }
}

async fn records_are_found_by_their_time_on_every_broker(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE]]).await;
    let client = subject.client();
    let (store, partition) = client.leader(topic, 0).await;
    for time in [10, 30, 20] {
        store.append(&partition, client::batch_at(Timestamp(time), &[time.to_string()])).await.unwrap();
    }
    for store in client.all() {
        store.barrier().await.unwrap();
        let topics = store.topics();
        let partition = topics.by_id(topic).unwrap().partition(0).unwrap();
        for (time, offset) in [(0, Some(0)), (11, Some(1)), (30, Some(1)), (31, None)] {
            let found = partition.offset_for_time(Timestamp(time)).await.unwrap();
            assert_eq!(found.map(|found| found.offset), offset.map(Offset), "{time}");
        }
        let newest = partition.max_timestamp().await.unwrap().unwrap();
        assert_eq!((newest.offset, newest.timestamp), (Offset(1), Timestamp(30)));
        assert_eq!(partition.time_of(Offset(2)), Ok(Some(Timestamp(20))));
    }
}

async fn batches_that_were_sent_without_waiting_keep_their_order(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE], &[ONE]]).await;
    let (store, _) = subject.client().leader(topic, 0).await;
    let topics = store.topics();
    let partitions = &topics.by_id(topic).unwrap().partitions;
    let sent: Vec<_> = (0..30)
        .map(|number| store.append(&partitions[number % 2], client::batch(&[number.to_string()])))
        .collect();
    for (number, sent) in (0..).zip(sent) {
        assert_eq!(sent.await.unwrap().base_offset, Offset(number / 2));
    }
    for index in 0..2 {
        let expected: Vec<String> = (0..15).map(|number| (number * 2 + index).to_string()).collect();
        assert_eq!(values(subject, topic, index).await, expected);
    }
}

async fn a_repeated_batch_is_appended_once(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE, TWO]]).await;
    let client = subject.client();
    let mut producer = Producer::new(&client.any()).await;
    let first = producer.batch(&["a".to_owned(), "b".to_owned()]);
    let second = producer.batch(&["c".to_owned()]);
    let (store, partition) = client.leader(topic, 0).await;
    for batch in [&first, &second] {
        assert!(!store.append(&partition, batch.clone()).await.unwrap().repeated);
    }
    let again = store.append(&partition, first.clone()).await.unwrap();
    assert_eq!((again.base_offset, again.repeated), (Offset(0), true));
    subject.stop(ONE).await;
    let (store, partition) = client.leader(topic, 0).await;
    let again = store.append(&partition, second).await.unwrap();
    assert_eq!((again.base_offset, again.repeated), (Offset(2), true), "the next leader knows it too");
    assert_eq!(values(subject, topic, 0).await, ["a", "b", "c"]);
}

async fn a_gap_in_the_sequence_and_an_old_producer_epoch_are_refused(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE]]).await;
    let (store, partition) = subject.client().leader(topic, 0).await;
    let (id, _) = store.new_producer().await.unwrap();
    let send = |epoch, sequence| {
        store.append(&partition, batch_of((id, ProducerEpoch(epoch), sequence), &["x".to_owned()]))
    };
    send(1, 0).await.unwrap();
    let gap = Refusal::OutOfOrderSequence { expected: 1, got: 2 };
    assert_eq!(send(1, 2).await, Err(AppendError::Refused(gap)));
    let old = Refusal::StaleProducerEpoch { current: ProducerEpoch(1), got: ProducerEpoch(0) };
    assert_eq!(send(0, 1).await, Err(AppendError::Refused(old)));
    assert_eq!(send(1, 1).await.unwrap().base_offset, Offset(1));
    assert_eq!(values(subject, topic, 0).await, ["x", "x"]);
}

async fn a_batch_of_an_earlier_leadership_is_refused_and_its_retry_is_appended_once(
    subject: &mut impl Subject,
) {
    let topic = placed(subject, "t", &[&[ONE, TWO]]).await;
    let client = subject.client();
    let mut producer = Producer::new(&client.any()).await;
    producer.send(&client, (topic, 0), &["a".to_owned()]).await;
    let (former, partition) = client.leader(topic, 0).await;
    let epoch = partition.ends().leader_epoch;
    client.store(TWO).set_replicas(topic, 0, vec![TWO]).await.unwrap();
    let batch = producer.batch(&["b".to_owned()]);
    let late = append_in(&former, &partition, epoch, batch.clone()).await;
    assert_eq!(late, Err(AppendError::Refused(Refusal::NotLeader)));
    let (store, partition) = client.leader(topic, 0).await;
    assert_eq!(partition.ends().leader_epoch, LeaderEpoch(epoch.0 + 1));
    let appended = store.append(&partition, batch).await.unwrap();
    assert_eq!((appended.base_offset, appended.repeated), (Offset(1), false));
    assert_eq!(values(subject, topic, 0).await, ["a", "b"]);
    let epochs = |epoch| partition.end_of_epoch(LeaderEpoch(epoch));
    assert_eq!(epochs(epoch.0), Some((epoch, Offset(1))), "the former leader wrote the first record");
}

async fn the_next_leader_has_all_that_was_acknowledged(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE, TWO, THREE], &[ONE]]).await;
    let client = subject.client();
    let mut producer = Producer::new(&client.any()).await;
    let mut all = Vec::new();
    for (number, stops) in [None, Some(ONE), Some(TWO)].into_iter().enumerate() {
        if let Some(node) = stops {
            subject.stop(node).await;
        }
        all.push(number.to_string());
        producer.send(&client, (topic, 0), &[number.to_string()]).await;
        assert_eq!(values(subject, topic, 0).await, all);
    }
    subject.start(ONE).await;
    assert_eq!(values(subject, topic, 0).await, all);
    let mut other = Producer::new(&client.any()).await;
    other.send(&client, (topic, 1), &["back".to_owned()]).await;
    assert_eq!(values(subject, topic, 1).await, ["back"]);
}

async fn records_before_the_log_start_are_gone_everywhere(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE]]).await;
    let client = subject.client();
    let mut producer = Producer::new(&client.any()).await;
    for value in ["a", "b", "c"] {
        producer.send(&client, (topic, 0), &[value.to_owned()]).await;
    }
    let (store, partition) = client.leader(topic, 0).await;
    assert_eq!(store.delete_before(&partition, Offset(2)).await, Ok(Offset(2)));
    assert_eq!(store.delete_before(&partition, Offset(1)).await, Ok(Offset(2)), "it never moves back");
    let beyond = store.delete_before(&partition, Offset(4)).await;
    assert!(matches!(beyond, Err(LogError::OutOfRange { .. })), "{beyond:?}");
    assert_eq!(values(subject, topic, 0).await, ["c"]);
}

fn new_topic(name: &str) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions: 2, overrides: BTreeMap::new() }
}

async fn a_topic_is_created_once_and_known_everywhere(subject: &mut impl Subject) {
    let client = subject.client();
    let (one, two) = (client.store(ONE), client.store(TWO));
    let (first, second) =
        tokio::join!(one.create_topic(new_topic("a.b")), two.create_topic(new_topic("a.b")));
    let created = match (first, second) {
        (Ok(topic), Err(TopicError::Exists)) | (Err(TopicError::Exists), Ok(topic)) => topic.id,
        other => panic!("{:?}", (other.0.map(|topic| topic.id), other.1.map(|topic| topic.id))),
    };
    for store in client.all() {
        store.barrier().await.unwrap();
        let topics = store.topics();
        let known = topics.by_name("a.b").unwrap();
        assert_eq!((known.id, known.partitions.len()), (created, 2));
        assert_eq!(topics.colliding_with("a_b"), Some("a.b"));
    }
    let collides = two.create_topic(new_topic("a_b")).await.map(|topic| topic.id);
    assert_eq!(collides, Err(TopicError::NameCollides { with: "a.b".to_owned() }));
}

async fn a_topic_that_is_deleted_is_gone_everywhere_and_its_name_is_free(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE]]).await;
    let client = subject.client();
    let mut producer = Producer::new(&client.any()).await;
    producer.send(&client, (topic, 0), &["old".to_owned()]).await;
    let (store, partition) = client.leader(topic, 0).await;
    let mut coordinator = Coordinator::load(&store).await;
    assert_eq!(coordinator.change(committed(topic, 5)).await, Ok(()));
    client.store(TWO).delete_topic(topic).await.unwrap();
    assert_eq!(client.store(THREE).delete_topic(topic).await, Err(TopicError::Unknown));
    store.barrier().await.unwrap();
    assert!(client.all()[2].group("g").unwrap().offsets.is_empty());
    let late = store.append(&partition, producer.batch(&["late".to_owned()])).await;
    assert_eq!(late, Err(AppendError::NotServing));
    let again = placed(subject, "t", &[&[TWO]]).await;
    assert_ne!(again, topic);
    assert_eq!(values(subject, again, 0).await, [""; 0]);
    assert!(client.all().iter().all(|store| store.topics().by_id(topic).is_none()));
}

async fn partitions_are_added_once(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE]]).await;
    let client = subject.client();
    let mut producer = Producer::new(&client.any()).await;
    producer.send(&client, (topic, 0), &["old".to_owned()]).await;
    let (one, two) = (client.store(ONE), client.store(TWO));
    let add = |store: &Store| store.add_partitions(topic, 1, vec![vec![TWO], vec![THREE]]);
    let both = tokio::join!(add(&one), add(&two));
    let refused = Err(StoreError::Refused(Refusal::NotTheNextPartition { next: 3 }));
    assert!(both == (Ok(()), refused.clone()) || both == (refused, Ok(())), "{both:?}");
    let mut another = Producer::new(&client.any()).await;
    another.send(&client, (topic, 2), &["new".to_owned()]).await;
    let mut found = Vec::new();
    for index in 0..3 {
        found.push(values(subject, topic, index).await);
    }
    assert_eq!(found, [vec!["old"], vec![], vec!["new"]]);
}

async fn settings_of_several_requests_are_all_kept(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE]]).await;
    let client = subject.client();
    let change = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), Some(value.to_owned()))]);
    let (one, two) = (client.store(ONE), client.store(TWO));
    let of_group = Scope::Group("g".to_owned());
    let done = tokio::join!(
        one.alter_topic(topic, change("max.message.bytes", "77")),
        two.alter_topic(topic, change("segment.ms", "88")),
        two.alter_settings(of_group.clone(), change("consumer.session.timeout.ms", "99")),
    );
    assert_eq!(done, (Ok(()), Ok(()), Ok(())));
    for store in client.all() {
        store.barrier().await.unwrap();
        let topics = store.topics();
        let known = topics.by_id(topic).unwrap();
        let expected = [("max.message.bytes", "77"), ("segment.ms", "88")];
        assert_eq!(known.overrides, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(known.partitions[0].settings().max_message_bytes, 77);
        assert!(store.settings().get(&of_group).is_some());
    }
}

async fn producer_ids_are_given_once(subject: &mut impl Subject) {
    let stores = subject.client().all();
    let mut given = Vec::new();
    for round in 0..4 {
        let asked: Vec<_> = stores.iter().map(Store::new_producer).collect();
        for asked in asked {
            given.push(asked.await.unwrap().0);
        }
        assert_eq!(given.len(), (round + 1) * stores.len());
    }
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 4 * stores.len());
}

fn emptied(generation: i32) -> Vec<Change> {
    vec![GroupRecord::Emptied { generation: Generation(generation), at: Timestamp(0) }.into()]
}

fn committed(topic: TopicId, offset: i64) -> Vec<Change> {
    let committed = CommittedOffset {
        offset: Offset(offset),
        leader_epoch: None,
        metadata: String::new(),
        committed_at: Timestamp(0),
        expires_at: None,
    };
    vec![OffsetChange::Committed(vec![(TopicPartition::new(topic, 0), committed)]).into()]
}

/// A coordinator's copy of a group. Its changes go to the store at once, one after the other.
struct Coordinator {
    store: Store,
    kept: KeptGroup,
}

impl Coordinator {
    /// The coordinator with the state that the store has.
    async fn load(store: &Store) -> Coordinator {
        store.barrier().await.unwrap();
        Coordinator { store: store.clone(), kept: store.group("g").unwrap_or_default() }
    }

    fn change(&mut self, changes: Vec<Change>) -> impl Future<Output = Result<(), NotStored>> + use<> {
        let after = self.kept.group.version();
        self.kept.apply(&changes);
        self.store.submit("g", after, changes)
    }
}

async fn the_changes_of_a_group_form_a_chain(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE]]).await;
    let client = subject.client();
    let mut coordinator = Coordinator::load(&client.store(ONE)).await;
    let sent: Vec<_> = (1..6)
        .flat_map(|number| [emptied(number), committed(topic, i64::from(number))])
        .map(|changes| coordinator.change(changes))
        .collect();
    for sent in sent {
        assert_eq!(sent.await, Ok(()));
    }
    for store in client.all() {
        assert_eq!(Coordinator::load(&store).await.kept, coordinator.kept);
    }
}

async fn a_coordinator_that_was_replaced_changes_nothing(subject: &mut impl Subject) {
    let topic = placed(subject, "t", &[&[ONE]]).await;
    let client = subject.client();
    let mut former = Coordinator::load(&client.store(ONE)).await;
    assert_eq!(former.change(emptied(1)).await, Ok(()));
    let mut next = Coordinator::load(&client.store(TWO)).await;
    assert_eq!(next.kept, former.kept, "it continues with the state of the former one");
    assert_eq!(next.change(emptied(2)).await, Ok(()));
    let late = [emptied(3), committed(topic, 7), emptied(4)].map(|changes| former.change(changes));
    for late in late {
        assert_eq!(late.await, Err(NotStored));
    }
    assert_eq!(next.change(committed(topic, 5)).await, Ok(()));
    let former = Coordinator::load(&client.store(ONE)).await;
    assert_eq!(former.kept, next.kept);
    assert_eq!(former.kept.offsets.get(TopicPartition::new(topic, 0)).unwrap().offset, Offset(5));
}

/// Three producers send to two partitions while brokers stop and start.
async fn producers_whose_brokers_stop_lose_nothing_and_duplicate_nothing(subject: &mut impl Subject) {
    const BATCHES: usize = 12;
    let topic = placed(subject, "t", &[&[ONE, TWO], &[TWO, THREE]]).await;
    let client = subject.client();
    let mut tasks = Vec::new();
    for number in 0..3 {
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            let mut producer = Producer::new(&client.any()).await;
            for batch in 0..BATCHES {
                let index = number % 2;
                let values = [format!("{number}/{batch}/a"), format!("{number}/{batch}/b")];
                producer.send(&client, (topic, index), &values).await;
            }
        }));
    }
    for node in [ONE, TWO, THREE, ONE] {
        client::others_go_on(20).await;
        subject.stop(node).await;
        client::others_go_on(20).await;
        subject.start(node).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    for index in 0..2 {
        let found = values(subject, topic, index).await;
        for number in (0..3).filter(|number| number % 2 == index) {
            let of_one: Vec<&String> =
                found.iter().filter(|value| value.starts_with(&format!("{number}/"))).collect();
            let sent =
                (0..BATCHES).flat_map(|batch| ["a", "b"].map(|part| format!("{number}/{batch}/{part}")));
            assert_eq!(of_one, sent.collect::<Vec<_>>().iter().collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn a_seed_gives_the_same_journal_again() {
    let mut states = Vec::new();
    for seed in [7, 7, 8] {
        let mut subject = Shared::new(seed, Faults::MANY).await;
        producers_whose_brokers_stop_lose_nothing_and_duplicate_nothing(&mut subject).await;
        states.push(subject.check().await);
        assert!(subject.stored_late() > 0, "seed {seed}");
    }
    assert_eq!(states[0], states[1]);
    assert_ne!(states[0], states[2]);
}

#[tokio::test]
async fn batches_of_a_partition_that_are_stored_in_one_entry_are_one_extent() {
    let subject = Shared::new(3, Faults::NONE).await;
    let topic = placed(&subject, "t", &[&[ONE], &[ONE]]).await;
    let (store, _) = subject.client().leader(topic, 0).await;
    let topics = store.topics();
    let partitions = &topics.by_id(topic).unwrap().partitions;
    // The broker does not take work from the queue in between, so all of them are one entry.
    let sent: Vec<_> = (0..10)
        .map(|number| store.append(&partitions[number % 2], client::batch(&[number.to_string()])))
        .collect();
    for sent in sent {
        sent.await.unwrap();
    }
    assert_eq!([0, 1].map(|index| subject.extents(ONE, topic, index)), [1, 1]);
}

#[tokio::test]
async fn a_broker_that_was_declared_gone_by_mistake_registers_again() {
    let subject = Shared::new(3, Faults::NONE).await;
    let topic = placed(&subject, "t", &[&[ONE, TWO]]).await;
    let client = subject.client();
    let (one, partition) = client.leader(topic, 0).await;
    subject.declare_gone(TWO, ONE).await;
    let late = one.append(&partition, client::batch(&["late".to_owned()])).await;
    assert_eq!(late, Err(AppendError::Refused(Refusal::NotLeader)), "nothing of it was applied");
    one.barrier().await.unwrap();
    assert_eq!(one.topics().running(), [ONE, TWO, THREE]);
    let mut producer = Producer::new(&one).await;
    producer.send(&client, (topic, 0), &["a".to_owned()]).await;
    assert_eq!(values(&subject, topic, 0).await, ["a"]);
}

/// Notes an outcome when it is dropped: work in an entry that is given up has no answer.
struct Outcome {
    number: u64,
    is_stored: bool,
    done: Arc<Mutex<Vec<(u64, bool)>>>,
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.done.lock().unwrap().push((self.number, self.is_stored));
    }
}

#[tokio::test]
async fn work_that_comes_while_a_broker_closes_fails_after_earlier_work() {
    for seed in 0..SEEDS {
        let mut subject = Shared::new(seed, faults_of(seed)).await;
        let store = subject.client().store(ONE);
        let done = Arc::new(Mutex::new(Vec::new()));
        let submit = |numbers: Range<u64>| {
            for number in numbers {
                let not_stored = Outcome { number, is_stored: false, done: Arc::clone(&done) };
                let done = Box::new(move |outcome: Result<_, StoreError>| {
                    let mut known = not_stored;
                    known.is_stored = outcome.is_ok();
                });
                store.line().submit(Work::Command { command: Command::NewProducer, done });
            }
        };
        submit(0..3);
        // The first entry is not composed, on its way, or stored.
        client::others_go_on(usize::try_from(seed).unwrap()).await;
        submit(3..5);
        store.close();
        submit(5..7);
        subject.stop(ONE).await;
        submit(7..8);
        let (numbers, stored): (Vec<u64>, Vec<bool>) = done.lock().unwrap().iter().copied().unzip();
        assert_eq!(numbers, (0..8).collect::<Vec<_>>(), "seed {seed}");
        assert!(stored.is_sorted_by(|one, next| one >= next), "seed {seed}: {stored:?}");
        assert_eq!(stored[5..], [false; 3]);
    }
}

#[tokio::test]
async fn a_second_process_with_the_id_of_a_running_broker_is_refused() {
    let subject = Shared::new(3, Faults::NONE).await;
    let (node, session) = (NodeId(4), Duration::from_secs(900));
    let first = subject.join(node, session).await.unwrap();
    let refused = subject.join(node, session).await.err();
    assert_eq!(refused, Some(StoreError::Refused(Refusal::BrokerRuns)));
    assert!(first.0.new_producer().await.is_ok(), "the first one is not fenced");
}
