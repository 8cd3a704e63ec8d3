//! Groups with librdkafka: the owners of partitions, and that every record is delivered once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::support::{DEADLINE, Server, numbered, read};

#[test]
fn a_group_of_one_commits_and_resumes_where_it_stood() {
    let server = Server::start();
    let (topic, group) = (server.topic("resume", 1), server.name("resume"));
    server.producer(&[]).send_all(&topic, 0, &numbered("", 20));
    let settings = [("group.id", group.as_str()), ("auto.offset.reset", "earliest")];
    for (first, count) in [(0, 7), (7, 3), (10, 10)] {
        let consumer = server.consumer(&settings);
        consumer.subscribe(&[&topic]).unwrap();
        let got = read(&consumer, count);
        assert_eq!(got[0].offset, first);
        commit(&consumer, &topic, first + i64::try_from(count).unwrap(), "");
    }
}

#[test]
fn c10_a_commit_keeps_its_metadata_and_c11_none_is_no_offset() {
    let server = Server::start();
    let (topic, group) = (server.topic("metadata", 2), server.name("metadata"));
    server.producer(&[]).send_all(&topic, 0, &numbered("", 5));
    let consumer = server.consumer(&[("group.id", &group)]);
    commit(&consumer, &topic, 3, "what the client noted: ü");
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&topic, 0);
    asked.add_partition(&topic, 1);
    let found = consumer.committed_offsets(asked, DEADLINE).unwrap();
    let found: Vec<_> =
        found.elements().iter().map(|one| (one.offset(), one.metadata().to_string())).collect();
    let expected =
        [(Offset::Offset(3), "what the client noted: ü".to_string()), (Offset::Invalid, String::new())];
    assert_eq!(found, expected);
}

#[test]
fn c14_a_client_that_never_joined_commits_forwards_and_backwards() {
    let server = Server::start();
    let (topic, group) = (server.topic("simple", 1), server.name("simple"));
    server.producer(&[]).send_all(&topic, 0, &numbered("", 9));
    for offset in [9, 2, 5] {
        commit(&server.consumer(&[("group.id", &group)]), &topic, offset, "");
        assert_eq!(committed(&server, &group, &topic), Offset::Offset(offset));
    }
}

#[test]
fn c12_a_commit_to_an_unknown_topic_fails_alone() {
    let server = Server::start();
    let (topic, group) = (server.topic("alone", 1), server.name("alone"));
    let consumer = server.consumer(&[("group.id", &group)]);
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&topic, 0, Offset::Offset(0)).unwrap();
    offsets.add_partition_offset(&server.name("unknown"), 0, Offset::Offset(0)).unwrap();
    let refused = consumer.commit(&offsets, CommitMode::Sync);
    assert_eq!(refused.unwrap_err().rdkafka_error_code(), Some(RDKafkaErrorCode::UnknownTopicOrPartition));
    assert_eq!(committed(&server, &group, &topic), Offset::Offset(0));
}

#[test]
fn two_groups_read_the_same_topic_without_knowing_of_each_other() {
    let server = Server::start();
    let topic = server.topic("shared", 1);
    server.producer(&[]).send_all(&topic, 0, &numbered("", 10));
    for group in [server.name("one"), server.name("two")] {
        let consumer = server.consumer(&[("group.id", &group), ("auto.offset.reset", "earliest")]);
        consumer.subscribe(&[&topic]).unwrap();
        assert_eq!(read(&consumer, 10)[0].offset, 0);
    }
}

#[test]
fn two_members_coming_and_going_get_every_message_exactly_once() {
    come_and_go(2, 6, "range");
}

#[test]
fn two_cooperative_members_coming_and_going_get_every_message_exactly_once() {
    come_and_go(2, 6, "cooperative-sticky");
}

#[test]
fn ten_members_coming_and_going_get_every_message_exactly_once() {
    come_and_go(10, 20, "roundrobin");
}

#[test]
fn ten_cooperative_members_coming_and_going_get_every_message_exactly_once() {
    come_and_go(10, 20, "cooperative-sticky");
}

/// Members join one by one and all at once, and leave again, while messages are sent. After each step the
/// remaining members own all partitions and get all new messages.
fn come_and_go(members: usize, partitions: i32, assignor: &str) {
    let server = Server::start();
    let (topic, group) = (server.topic("sharing", partitions), server.name("sharing"));
    let history = Arc::new(History::default());
    let producer = server.producer(&[]);
    let mut sent = 0;
    let mut send_and_wait = |present: &[Member]| {
        let present: BTreeSet<usize> = present.iter().map(|member| member.name).collect();
        history.wait_until("each member owns partitions, and all are owned", |events| {
            let owners = owners(events);
            owners.len() == usize::try_from(partitions).unwrap()
                && owners.values().copied().collect::<BTreeSet<usize>>() == present
        });
        for partition in 0..partitions {
            producer.send_all(&topic, partition, &numbered("", 10));
            sent += 10;
        }
        history.wait_until("every message is delivered", |events| delivered(events).count() >= sent);
    };

    let mut present: Vec<Member> = Vec::new();
    let join = |name: usize| {
        Member::join(
            &server,
            &topic,
            &history,
            name,
            &[("group.id", &group), ("partition.assignment.strategy", assignor)],
        )
    };
    present.push(join(0));
    send_and_wait(&present);
    present.push(join(1));
    send_and_wait(&present);
    // The other members at once.
    present.extend((2..members).map(join));
    send_and_wait(&present);
    // The first member, which leads the group, leaves, and then half of the others.
    present.remove(0).leave();
    send_and_wait(&present);
    for member in present.drain(..present.len() / 2).collect::<Vec<_>>() {
        member.leave();
    }
    send_and_wait(&present);
    // One joins and one leaves at the same time.
    present.push(join(members));
    present.remove(0).leave();
    send_and_wait(&present);
    for member in present {
        member.leave();
    }

    let events = history.events();
    owners_never_overlap(&events);
    let mut seen = BTreeSet::new();
    for message in delivered(&events) {
        assert!(seen.insert(message), "partition {} offset {} came twice", message.0, message.1);
    }
    assert_eq!(seen.len(), sent);
}

#[test]
fn a_static_member_that_comes_back_in_time_causes_no_rebalance() {
    let server = Server::start();
    let (topic, group) = (server.topic("static", 4), server.name("static"));
    let history = Arc::new(History::default());
    let join = |name: usize, instance: &str| {
        let settings = [("group.id", group.as_str()), ("group.instance.id", instance)];
        Member::join(&server, &topic, &history, name, &settings)
    };
    let all_owned_by = |wanted: [usize; 2]| {
        history.wait_until("both own two partitions", |events| {
            let owners = owners(events);
            wanted.iter().all(|name| owners.values().filter(|owner| *owner == name).count() == 2)
        });
    };
    let (restless, calm) = (join(0, "a"), join(1, "b"));
    all_owned_by([0, 1]);
    let owned_before = partitions_of(0, &history.events());
    let changes_before = changes_of(1, &history.events());
    restless.leave();
    let back = join(2, "a");
    all_owned_by([2, 1]);
    assert_eq!(partitions_of(2, &history.events()), owned_before);
    assert_eq!(changes_of(1, &history.events()), changes_before, "the other member saw a rebalance");
    back.leave();
    calm.leave();
}

#[test]
fn c21_of_two_members_with_one_instance_id_the_older_is_fenced() {
    let server = Server::start();
    let (topic, group) = (server.topic("twins", 1), server.name("twins"));
    let history = Arc::new(History::default());
    let settings = [("group.id", group.as_str()), ("group.instance.id", "the one")];
    let older = Member::join(&server, &topic, &history, 0, &settings);
    history.wait_until("the older owns the partition", |events| owners(events).get(&0) == Some(&0));
    let younger = Member::join(&server, &topic, &history, 1, &settings);
    let fenced = Event { member: 0, what: What::Failed(RDKafkaErrorCode::FencedInstanceId) };
    history.wait_until("the older is fenced", |events| events.contains(&fenced));
    history.wait_until("the younger owns the partition", |events| owners(events).get(&0) == Some(&1));
    older.leave();
    younger.leave();
}

#[test]
fn c15_a_group_is_listed_with_its_members_and_without_them() {
    let server = Server::start();
    let (topic, group) = (server.topic("listed", 3), server.name("listed"));
    let history = Arc::new(History::default());
    let settings = [("group.id", group.as_str()), ("client.id", "watched")];
    let member = Member::join(&server, &topic, &history, 0, &settings);
    history.wait_until("it owns all", |events| owners(events).len() == 3);

    let asking = server.consumer(&[]);
    let list = asking.fetch_group_list(Some(&group), DEADLINE).unwrap();
    let described = &list.groups()[0];
    assert_eq!(
        (described.name(), described.state(), described.protocol_type(), described.protocol()),
        (group.as_str(), "Stable", "consumer", "range")
    );
    assert_eq!(described.members().len(), 1);
    assert_eq!(described.members()[0].client_id(), "watched");
    assert!(described.members()[0].assignment().is_some_and(|bytes| !bytes.is_empty()));

    assert_eq!(server.admin().delete_groups(&[&group]), [Err(RDKafkaErrorCode::NonEmptyGroup)]);
    member.leave();
    let list = asking.fetch_group_list(Some(&group), DEADLINE).unwrap();
    assert_eq!((list.groups()[0].state(), list.groups()[0].members().len()), ("Empty", 0));
    assert_eq!(server.admin().delete_groups(&[&group]), [Ok(())]);
    assert_eq!(server.admin().delete_groups(&[&group]), [Err(RDKafkaErrorCode::GroupIdNotFound)]);
}

#[test]
fn a_group_id_as_long_as_it_can_be_in_any_script_commits_and_is_listed() {
    let server = Server::start();
    let topic = server.topic("long", 1);
    let mut group = server.name("длинное 🐦 \u{0}\r\n\t");
    while group.len() < 32_765 {
        group.push('ü');
    }
    let group = group.replace('\0', ""); // librdkafka ends its strings at a zero
    commit(&server.consumer(&[("group.id", &group)]), &topic, 0, "");
    assert_eq!(committed(&server, &group, &topic), Offset::Offset(0));
    let list = server.consumer(&[]).fetch_group_list(None, DEADLINE).unwrap();
    assert!(list.groups().iter().any(|known| known.name() == group));
}

// --- small requests -----------------------------------------------------------------------------

fn commit(consumer: &BaseConsumer, topic: &str, offset: i64, metadata: &str) {
    let mut offsets = TopicPartitionList::new();
    let mut one = offsets.add_partition(topic, 0);
    one.set_offset(Offset::Offset(offset)).unwrap();
    one.set_metadata(metadata);
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
}

fn committed(server: &Server, group: &str, topic: &str) -> Offset {
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let found = server.consumer(&[("group.id", group)]).committed_offsets(asked, DEADLINE).unwrap();
    found.elements()[0].offset()
}

// --- the members' history -----------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub member: usize,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
    Got { partition: i32, offset: i64 },
    Failed(RDKafkaErrorCode),
}

/// The events of all members of a test, in the order in which they happened. A member notes an assignment
/// before it uses it, and a revocation before it tells the broker that it released the partitions.
#[derive(Default)]
pub struct History {
    events: Mutex<Vec<Event>>,
    more: Condvar,
}

impl History {
    fn note(&self, member: usize, what: What) {
        self.events.lock().unwrap().push(Event { member, what });
        self.more.notify_all();
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub fn wait_until(&self, what: &str, is_so: impl Fn(&[Event]) -> bool) {
        let mut events = self.events.lock().unwrap();
        while !is_so(&events) {
            let (guard, result) = self.more.wait_timeout(events, DEADLINE).unwrap();
            events = guard;
            assert!(!result.timed_out(), "nothing happened while waiting until {what}: {events:?}");
        }
    }
}

/// The owner of each partition after these events.
pub fn owners(events: &[Event]) -> BTreeMap<i32, usize> {
    let mut owners = BTreeMap::new();
    for event in events {
        match &event.what {
            What::Assigned(partitions) => owners.extend(partitions.iter().map(|one| (*one, event.member))),
            What::Revoked(partitions) => {
                owners.retain(|partition, owner| *owner != event.member || !partitions.contains(partition));
            }
            What::Got { .. } | What::Failed(_) => {}
        }
    }
    owners
}

/// A member gets a partition only after its former owner released it, and only the owner gets messages.
fn owners_never_overlap(events: &[Event]) {
    for (at, event) in events.iter().enumerate() {
        let before = owners(&events[..at]);
        match &event.what {
            What::Assigned(partitions) => {
                for partition in partitions {
                    assert_eq!(
                        before.get(partition),
                        None,
                        "partition {partition} given to {}",
                        event.member
                    );
                }
            }
            What::Got { partition, .. } => assert_eq!(before.get(partition), Some(&event.member)),
            What::Revoked(_) | What::Failed(_) => {}
        }
    }
}

fn delivered(events: &[Event]) -> impl Iterator<Item = (i32, i64)> + '_ {
    events.iter().filter_map(|event| match event.what {
        What::Got { partition, offset } => Some((partition, offset)),
        What::Assigned(_) | What::Revoked(_) | What::Failed(_) => None,
    })
}

fn partitions_of(member: usize, events: &[Event]) -> Vec<i32> {
    owners(events).into_iter().filter(|(_, owner)| *owner == member).map(|(partition, _)| partition).collect()
}

pub fn changes_of(member: usize, events: &[Event]) -> usize {
    let is_change =
        |event: &&Event| event.member == member && matches!(event.what, What::Assigned(_) | What::Revoked(_));
    events.iter().filter(is_change).count()
}

// --- a member -----------------------------------------------------------------------------------

/// A group consumer on its own thread. It commits its offsets whenever it releases partitions.
pub struct Member {
    name: usize,
    leaving: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Member {
    pub fn join(
        server: &Server,
        topic: &str,
        history: &Arc<History>,
        name: usize,
        settings: &[(&str, &str)],
    ) -> Member {
        let mut config = server.config(&[
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("heartbeat.interval.ms", "200"),
            ("session.timeout.ms", "30000"),
        ]);
        for (setting, value) in settings {
            config.set(*setting, *value);
        }
        let noting = Noting { name, history: history.clone() };
        let consumer: BaseConsumer<Noting> = config.create_with_context(noting).unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let leaving = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let leaving = leaving.clone();
            move || work(&consumer, &leaving)
        });
        Member { name, leaving, thread }
    }

    /// Returns once it has released its partitions and left the group.
    pub fn leave(self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
    }
}

fn work(consumer: &BaseConsumer<Noting>, leaving: &AtomicBool) {
    let Noting { name, history } = &**consumer.context();
    while !leaving.load(Ordering::SeqCst) {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                history.note(*name, What::Got { partition: message.partition(), offset: message.offset() });
                consumer.store_offset_from_message(&message).unwrap();
            }
            Some(Err(error)) => {
                let fatal = consumer.client().fatal_error().map(|(code, _)| code);
                history.note(*name, What::Failed(fatal.or(error.rdkafka_error_code()).unwrap()));
            }
            None => {}
        }
    }
}

struct Noting {
    name: usize,
    history: Arc<History>,
}

impl ClientContext for Noting {}

impl ConsumerContext for Noting {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Noting>, rebalance: &Rebalance<'_>) {
        let numbers = |list: &TopicPartitionList| list.elements().iter().map(|one| one.partition()).collect();
        match rebalance {
            Rebalance::Assign(list) => self.history.note(self.name, What::Assigned(numbers(list))),
            Rebalance::Revoke(list) => {
                if !consumer.assignment_lost() {
                    match consumer.commit_consumer_state(CommitMode::Sync) {
                        Ok(()) => {}
                        Err(error) => {
                            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::NoOffset))
                        }
                    }
                }
                self.history.note(self.name, What::Revoked(numbers(list)));
            }
            Rebalance::Error(error) => panic!("{error:?}"),
        }
    }
}
