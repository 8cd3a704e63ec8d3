//! Actions of test hooks as librdkafka meets them.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use jackdaw::hooks::HookError;
use jackdaw::types::NodeId;
use rdkafka::Offset;
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::groups::{Event, History, Member, What, changes_of, owners};
use crate::support::{DEADLINE, Record, Server, numbered, values};

const HOUR: Duration = Duration::from_hours(1);

fn refused<T>(why: &str) -> Result<T, HookError> {
    Err(HookError::Refused(why.to_owned()))
}

// --- groups -------------------------------------------------------------------------------------

#[test]
fn all_members_join_again_in_a_forced_rebalance() {
    let Some(server) = Server::with_hooks(1) else { return };
    let (topic, group) = (server.topic("shared", 4), server.name("shared"));
    let history = Arc::new(History::default());
    let join = |name| Member::join(&server, &topic, &history, name, &[("group.id", &group)]);
    let members = [0, 1].map(join);
    history.wait_until("both own partitions", is_shared_by(&[0, 1]));
    let before = [0, 1].map(|name| changes_of(name, &history.events()));
    server.hook(async |hooks| hooks.rebalance(&group).await);
    history.wait_until("both have released and got partitions", |events| {
        [0, 1].iter().all(|name| changes_of(*name, events) >= before[*name] + 2)
            && is_shared_by(&[0, 1])(events)
    });
    members.into_iter().for_each(Member::leave);
    let hooks = server.hooks();
    assert_eq!(server.wait(hooks.rebalance(&group)), refused(&format!("the group {group} has no members")));
    assert_eq!(server.wait(hooks.rebalance("none")), refused("the group none does not exist"));
}

#[test]
fn a_member_whose_session_expires_loses_its_partitions_and_joins_again() {
    let Some(server) = Server::with_hooks(1) else { return };
    let (topic, group) = (server.topic("shared", 4), server.name("shared"));
    let history = Arc::new(History::default());
    let join = |name: usize, more: (&str, &str)| {
        Member::join(&server, &topic, &history, name, &[("group.id", &group), more])
    };
    let members = [join(0, ("client.id", "cook")), join(1, ("group.instance.id", "waiter"))];
    history.wait_until("both own partitions", is_shared_by(&[0, 1]));
    let hooks = server.hooks();
    for (name, called) in [(0, "cook"), (1, "waiter")] {
        let (ids, seen) = (members_of(&server, &group), history.events().len());
        server.hook(async |hooks| hooks.expire_session(&group, called).await);
        history.wait_until("it has lost its partitions and got some again", |events| {
            let released = |event: &Event| event.member == name && matches!(event.what, What::Revoked(_));
            events[seen..].iter().any(released) && is_shared_by(&[0, 1])(events)
        });
        assert_eq!(members_of(&server, &group).difference(&ids).count(), 1, "it has a new member id");
    }
    let nobody = server.wait(hooks.expire_session(&group, "guest"));
    assert_eq!(nobody, refused(&format!("the group {group} has no member guest")));
    members.into_iter().for_each(Member::leave);
}

fn is_shared_by(names: &[usize]) -> impl Fn(&[Event]) -> bool {
    move |events| {
        let owners = owners(events);
        let present: BTreeSet<usize> = owners.values().copied().collect();
        owners.len() == 4 && names.iter().all(|name| present.contains(name))
    }
}

fn members_of(server: &Server, group: &str) -> BTreeSet<String> {
    let list = server.consumer(&[]).fetch_group_list(Some(group), DEADLINE).unwrap();
    list.groups()[0].members().iter().map(|member| member.id().to_owned()).collect()
}

// --- transactions -------------------------------------------------------------------------------

/// A producer with an open transaction that has one record.
fn in_transaction(server: &Server, id: &str, topic: &str) -> BaseProducer {
    let producer: BaseProducer = server.config(&[("transactional.id", id)]).create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), str>::to(topic).partition(0).payload("open")).unwrap();
    producer.flush(DEADLINE).unwrap();
    producer
}

/// That a commit fails, and that another producer with the same id goes on behind an aborted record.
fn is_fenced(server: &Server, producer: &BaseProducer, id: &str, topic: &str) {
    let Err(KafkaError::Transaction(error)) = producer.commit_transaction(DEADLINE) else {
        panic!("the commit of an aborted transaction succeeded")
    };
    assert!(error.is_fatal() || error.txn_requires_abort(), "{error:?}");
    let next = in_transaction(server, id, topic);
    next.commit_transaction(DEADLINE).unwrap();
    // librdkafka reads committed records only. The aborted record has offset 0, and its marker offset 1.
    let [committed] = &server.read(topic, 0, Offset::Beginning, 1)[..] else { panic!("one record was read") };
    assert_eq!(committed.offset, 2);
}

#[test]
fn a_fenced_producer_commits_nothing() {
    let Some(server) = Server::with_hooks(1) else { return };
    let (topic, id) = (server.topic("written", 1), server.name("id"));
    let producer = in_transaction(&server, &id, &topic);
    server.hook(async |hooks| hooks.fence_producer(&id).await);
    is_fenced(&server, &producer, &id, &topic);
    // Also without an open transaction.
    let idle: BaseProducer = server.config(&[("transactional.id", &id)]).create().unwrap();
    idle.init_transactions(DEADLINE).unwrap();
    server.hook(async |hooks| hooks.fence_producer(&id).await);
    idle.begin_transaction().unwrap();
    idle.send(BaseRecord::<(), str>::to(&topic).partition(0).payload("late")).unwrap();
    assert!(idle.commit_transaction(DEADLINE).is_err());
    let unknown = server.wait(server.hooks().fence_producer("nobody"));
    assert_eq!(unknown, refused("there is no transactional id nobody"));
}

#[test]
fn an_aborted_transaction_cannot_be_committed() {
    let Some(server) = Server::with_hooks(1) else { return };
    let (topic, id) = (server.topic("written", 1), server.name("id"));
    let producer = in_transaction(&server, &id, &topic);
    server.hook(async |hooks| hooks.abort_transaction(&id).await);
    let again = server.wait(server.hooks().abort_transaction(&id));
    assert_eq!(again, refused(&format!("{id} has no open transaction")));
    is_fenced(&server, &producer, &id, &topic);
}

// --- brokers ------------------------------------------------------------------------------------

#[test]
fn a_producer_waits_for_the_only_broker_that_stops_and_starts() {
    let Some(server) = Server::with_hooks(1) else { return };
    let topic = server.topic("kept", 1);
    let quick = [("reconnect.backoff.ms", "10"), ("reconnect.backoff.max.ms", "100")];
    let producer = server.producer(&quick);
    producer.send_all(&topic, 0, &numbered("before ", 1));
    let address = server.config(&[]).get("bootstrap.servers").unwrap().to_owned();
    server.hook(async |hooks| hooks.stop_broker(NodeId(1)).await);
    server.hook(async |hooks| hooks.stop_broker(NodeId(1)).await);
    assert!(TcpStream::connect(&address).is_err(), "its port is closed");
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| producer.send_all(&topic, 0, &numbered("meanwhile ", 1)));
        server.hook(async |hooks| hooks.start_broker(NodeId(1)).await);
        assert_eq!(sending.join().unwrap(), [1]);
    });
    let unknown = server.wait(server.hooks().stop_broker(NodeId(7)));
    assert_eq!(unknown, refused("this process has no broker 7"));
}

#[test]
fn hooks_that_outlive_the_process_start_no_broker() {
    let Some(server) = Server::with_hooks(1) else { return };
    let hooks = server.hooks();
    let gone = server.stopped(async move || hooks.start_broker(NodeId(1)).await);
    assert_eq!(gone, refused("the process has stopped"));
}

#[test]
fn the_leader_of_a_partition_moves_to_another_broker_and_producers_follow() {
    let Some(server) = Server::with_hooks(3) else { return };
    let leader = |topic: &str| {
        let metadata = server.consumer(&[]).fetch_metadata(Some(topic), DEADLINE).unwrap();
        metadata.topics()[0].partitions()[0].leader()
    };
    for replicas in [1, 3] {
        let topic = server.name("moved");
        let made = server.admin().create(&[NewTopic::new(&topic, 1, TopicReplication::Fixed(replicas))]);
        assert_eq!(made, [Ok(())]);
        let producer = server.producer(&[("enable.idempotence", "true")]);
        for broker in [1, 2, 3, 3, 1] {
            server.hook(async |hooks| hooks.move_leader(&topic, 0, NodeId(broker)).await);
            assert_eq!(leader(&topic), broker);
            producer.send_all(&topic, 0, &numbered("", 10));
        }
        assert_eq!(server.ends(&topic, 0), (0, 50));
        let metadata = server.consumer(&[]).fetch_metadata(Some(&topic), DEADLINE).unwrap();
        let partition = &metadata.topics()[0].partitions()[0];
        assert_eq!(partition.replicas().len(), usize::try_from(replicas).unwrap());
        assert_eq!(partition.isr().len(), partition.replicas().len());
    }
    let hooks = server.hooks();
    assert_eq!(
        server.wait(hooks.move_leader("t", 0, NodeId(1))),
        refused("the partition t-0 does not exist")
    );
    let topic = server.topic("stays", 1);
    server.hook(async |hooks| hooks.stop_broker(NodeId(2)).await);
    assert_eq!(server.wait(hooks.move_leader(&topic, 0, NodeId(2))), refused("no broker 2 is running"));
}

// --- disk and clock -----------------------------------------------------------------------------

#[test]
fn records_are_refused_while_the_disk_is_full() {
    let Some(server) = Server::with_hooks(1) else { return };
    let topic = server.topic("stored", 1);
    let producer = server.producer(&[("retries", "0"), ("enable.idempotence", "false")]);
    producer.send_all(&topic, 0, &numbered("before ", 1));
    server.hooks().fill_disk();
    let refused = producer.send(&topic, 0, &numbered("refused ", 1));
    assert_eq!(refused, [Err(RDKafkaErrorCode::KafkaStorageError)]);
    assert_eq!(server.ends(&topic, 0), (0, 1), "records can be read");
    server.hooks().free_disk();
    assert_eq!(producer.send_all(&topic, 0, &numbered("after ", 1)), [1]);
    assert_eq!(values(&server.read(&topic, 0, Offset::Beginning, 2)), ["before 0", "after 0"]);
}

#[test]
fn records_that_are_too_old_for_the_turned_clock_are_deleted() {
    let Some(server) = Server::with_hooks(1) else { return };
    let topic = server.name("expires");
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("retention.ms", "7200000");
    assert_eq!(server.admin().create(&[new]), [Ok(())]);
    let producer = server.producer(&[]);
    producer.send_all(&topic, 0, &numbered("", 5));
    server.hook(async |hooks| hooks.turn_clock(HOUR).await);
    assert_eq!(server.ends(&topic, 0), (0, 5));
    server.hook(async |hooks| hooks.turn_clock(HOUR).await);
    assert_eq!(server.ends(&topic, 0), (5, 5));
    // The time of a record is its client's. In the future of the client it is kept.
    let record = Record { timestamp: crate::support::now() + 7_200_000, ..Record::of("later") };
    producer.send_all(&topic, 0, &[record]);
    server.hook(async |hooks| hooks.turn_clock(HOUR).await);
    assert_eq!(server.ends(&topic, 0), (5, 6));
}

#[test]
fn a_transaction_that_is_too_old_for_the_turned_clock_is_aborted() {
    let Some(server) = Server::with_hooks(1) else { return };
    let (topic, id) = (server.topic("written", 1), server.name("id"));
    let producer = in_transaction(&server, &id, &topic);
    server.hook(async |hooks| hooks.turn_clock(HOUR).await);
    is_fenced(&server, &producer, &id, &topic);
}

#[test]
fn sessions_that_are_too_old_for_the_turned_clock_have_expired() {
    let Some(server) = Server::with_hooks(1) else { return };
    let (topic, group) = (server.topic("shared", 4), server.name("shared"));
    let history = Arc::new(History::default());
    let member = Member::join(&server, &topic, &history, 0, &[("group.id", &group)]);
    history.wait_until("it owns all", is_shared_by(&[0]));
    let (ids, seen) = (members_of(&server, &group), history.events().len());
    server.hook(async |hooks| hooks.turn_clock(Duration::from_secs(31)).await);
    history.wait_until("it has lost its partitions and got them again", |events| {
        changes_of(0, &events[seen..]) >= 2 && is_shared_by(&[0])(events)
    });
    assert_eq!(members_of(&server, &group).difference(&ids).count(), 1, "it has a new member id");
    member.leave();
}
