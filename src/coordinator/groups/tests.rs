//! Tests of the handle, over a store in memory. The test decides when records become durable.

mod kinds;
mod moves;

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::coordinator::group::made::MadeTopics;
use crate::coordinator::group::{Identity, OffsetToCommit};
use crate::coordinator::{NotStored, Now, Settled, Settler};
use crate::kernel;
use crate::kernel::group::{Change, Generation, GroupRecord, KeptGroup, Opaque};
use crate::kernel::offsets::{CommittedOffset, OffsetChange, Offsets};
use crate::storage::groups::Seen;
use crate::types::{Offset, ProducerId, Timestamp, TopicId, TopicPartition, TransactionEnd, Uuid};
use std::sync::Mutex;

const TOPIC: TopicId = Uuid([7; 16]);

/// `durable` is the state after a crash; `waiting` has the submitted records.
#[derive(Default)]
struct Memory {
    durable: Mutex<kernel::Groups>,
    waiting: Mutex<Vec<Submitted>>,
    /// Records become durable only when the test calls `settle`.
    holds: AtomicBool,
    broken: AtomicBool,
    clock: Clock,
    /// The clock is not trusted.
    untrusted: AtomicBool,
    /// The settings of every group.
    settings: Mutex<BTreeMap<String, String>>,
    /// How many submits there were.
    submitted: Arc<AtomicU64>,
}

struct Submitted {
    group: String,
    after: u64,
    changes: Vec<Change>,
    settler: Settler,
}

impl GroupStore for Memory {
    fn groups(&self) -> kernel::Groups {
        self.durable.lock().unwrap().clone()
    }

    fn group(&self, name: &str) -> Option<KeptGroup> {
        self.durable.lock().unwrap().get(name)
    }

    fn offsets(&self, group: &str) -> Offsets {
        self.durable.lock().unwrap().offsets(group).cloned().unwrap_or_default()
    }

    fn group_bytes(&self) -> usize {
        self.durable.lock().unwrap().bytes()
    }

    fn submit(&self, group: &str, after: u64, changes: Vec<Change>) -> Settled {
        let (settler, settled) = Settled::pair();
        self.submitted.fetch_add(1, Ordering::SeqCst);
        self.waiting.lock().unwrap().push(Submitted { group: group.to_owned(), after, changes, settler });
        if !self.holds.load(Ordering::SeqCst) {
            self.settle();
        }
        settled
    }

    fn is_serving(&self) -> bool {
        !self.broken.load(Ordering::SeqCst)
    }

    fn now(&self) -> Now {
        let time = self.clock.now();
        Now { time, trusted: (!self.untrusted.load(Ordering::SeqCst)).then_some(time) }
    }

    fn seen(&self) -> Arc<dyn Seen> {
        let settings = self.settings.lock().unwrap().clone();
        Arc::new(MadeTopics {
            topics: BTreeMap::from([(TOPIC, "t".to_owned())]),
            settings,
            ..MadeTopics::default()
        })
    }
}

impl Memory {
    /// A sync: all waiting records become durable.
    fn settle(&self) {
        self.settle_first(usize::MAX);
    }

    fn settle_first(&self, count: usize) {
        let mut waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        let left = waiting.split_off(count.min(waiting.len()));
        *self.waiting.lock().unwrap() = left;
        for submitted in waiting {
            let Submitted { group, after, changes, settler } = submitted;
            let changed = self.durable.lock().unwrap().change(&group, after, &changes);
            let expires = changes.contains(&GroupRecord::Expired.into());
            assert!(changed.is_ok() || expires, "the commands of a group form a chain");
            settler.settle(changed.map_err(|_| NotStored));
        }
    }

    /// A sync that failed.
    fn lose(&self) {
        for submitted in std::mem::take(&mut *self.waiting.lock().unwrap()) {
            submitted.settler.settle(Err(NotStored));
        }
    }

    fn hold(&self) {
        self.holds.store(true, Ordering::SeqCst);
    }

    fn let_go(&self) {
        self.holds.store(false, Ordering::SeqCst);
        self.settle();
    }
}

struct Stage {
    groups: Groups,
    store: Arc<Memory>,
    clock: Clock,
}

impl Stage {
    fn new(rules: Rules) -> Stage {
        let clock = Clock::manual(Timestamp(1_000_000));
        let store = Arc::new(Memory { clock: clock.clone(), ..Memory::default() });
        Stage { groups: Groups::start(store.clone(), rules, clock.clone()), store, clock }
    }

    /// A restart with the durable state.
    fn restarted(self) -> Stage {
        let groups = Groups::start(self.store.clone(), self.groups.rules().clone(), self.clock.clone());
        Stage { groups, ..self }
    }

    /// Lets time pass in steps of a second, and fires the timers that are due.
    fn wait(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.set(Timestamp(self.clock.now().0 + 1000));
            while self.groups.runtime.ring() == Some(Duration::ZERO) {}
        }
    }

    /// A group with one member in generation 1.
    fn with_member(&self, group: &str) -> MemberId {
        let mut joins = pin!(self.groups.join(group, newcomer("a")));
        assert!(peek(joins.as_mut()).is_none());
        self.wait(3);
        let member = peek(joins.as_mut()).unwrap().unwrap().member;
        now(self.groups.sync(group, sync(&member, 1, b"part"))).unwrap();
        member
    }
}

/// The result of the future, if it is ready now.
fn peek<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    peek(pin!(future)).expect("nothing to wait for")
}

fn rules() -> Rules {
    Rules::from(&crate::config::BrokerSettings::default())
}

fn newcomer(client: &str) -> Join {
    Join {
        member: None,
        instance: None,
        confirms_its_id: false,
        can_skip_assignment: true,
        client_id: client.to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(60),
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Opaque::default())],
    }
}

fn sync(member: &str, generation: i32, part: &[u8]) -> Sync {
    Sync {
        who: Identity { member: member.to_owned(), instance: None },
        generation: Generation(generation),
        protocol_type: None,
        protocol: None,
        assignments: vec![(member.to_owned(), Opaque::copy_of(part))],
    }
}

fn beat(member: &str, generation: i32) -> Heartbeat {
    let who = Identity { member: member.to_owned(), instance: None };
    Heartbeat { who, generation: Generation(generation) }
}

fn commit(value: i64) -> Commit {
    let offset = OffsetToCommit {
        partition: TopicPartition::new(TOPIC, 0),
        offset: Offset(value),
        leader_epoch: None,
        metadata: String::new(),
    };
    Commit {
        generation: None,
        who: Identity::default(),
        knows_group_not_found: true,
        retention: None,
        offsets: vec![offset],
    }
}

fn offset_of(stage: &Stage, group: &str) -> Option<i64> {
    let offsets = now(stage.groups.offsets(group)).unwrap();
    offsets.get(TopicPartition::new(TOPIC, 0)).map(|committed| committed.offset.0)
}

#[test]
fn nothing_is_answered_before_it_is_durable() {
    let stage = Stage::new(rules());
    stage.store.hold();
    let mut commits = pin!(stage.groups.commit("g", commit(5)));
    let mut fetches = pin!(stage.groups.offsets("g"));
    let mut refused = pin!(stage.groups.heartbeat("g", beat("stranger", 1)));
    let mut lists = pin!(stage.groups.list());
    assert!(peek(commits.as_mut()).is_none());
    assert!(peek(fetches.as_mut()).is_none(), "the offset is not to be seen yet");
    assert!(peek(refused.as_mut()).is_none(), "a refusal speaks of the group too");
    assert!(peek(lists.as_mut()).is_none());
    assert!(peek(pin!(stage.groups.heartbeat("other", beat("a", 1)))).is_some(), "others need not wait");
    stage.store.settle();
    assert_eq!(peek(commits).unwrap(), Ok(vec![Ok(())]));
    assert_eq!(peek(fetches).unwrap().unwrap().len(), 1);
    assert_eq!(peek(refused).unwrap(), Err(GroupError::UnknownMember));
    assert_eq!(peek(lists).unwrap().unwrap().len(), 1);
}

#[test]
fn the_end_of_a_group_is_not_answered_before_it_is_durable() {
    let stage = Stage::new(rules());
    now(stage.groups.commit("g", commit(5))).unwrap();
    stage.store.hold();
    let mut deletes = pin!(stage.groups.delete("g"));
    assert!(peek(deletes.as_mut()).is_none());
    let mut fetches = pin!(stage.groups.offsets("g"));
    let mut describes = pin!(stage.groups.describe("g"));
    assert!(peek(fetches.as_mut()).is_none());
    assert!(peek(describes.as_mut()).is_none());
    stage.store.let_go();
    assert_eq!(peek(deletes).unwrap(), Ok(()));
    assert_eq!(peek(fetches).unwrap(), Ok(Offsets::default()));
    assert_eq!(peek(describes).unwrap(), Err(GroupError::NoSuchGroup));
    stage.wait(2);
    assert!(stage.groups.runtime.keys().is_empty(), "and then nothing is left of it");
}

#[test]
fn w19_the_first_request_takes_effect_first_however_late_it_is_awaited() {
    let stage = Stage::new(rules());
    let first = stage.groups.commit("g", commit(1));
    let second = stage.groups.commit("g", commit(2));
    assert_eq!(offset_of(&stage, "g"), Some(2));
    now(second).unwrap();
    now(first).unwrap();
    assert_eq!(offset_of(&stage, "g"), Some(2));
}

#[test]
fn offsets_are_those_of_the_store_also_if_they_change_without_the_group() {
    let stage = Stage::new(rules());
    now(stage.groups.commit("g", commit(5))).unwrap();
    let (of, committed) = {
        let kept = stage.store.group("g").unwrap();
        let (of, committed) = kept.offsets.all().first().unwrap();
        (*of, CommittedOffset { offset: Offset(9), ..committed.clone() })
    };
    let change = OffsetChange::Committed(vec![(of, committed)]).into();
    stage.store.durable.lock().unwrap().change("g", 0, &[change]).unwrap();
    assert_eq!(offset_of(&stage, "g"), Some(9));
    let topic = OffsetToDelete { partition: TopicPartition::new(TOPIC, 0), topic: "t".into() };
    assert_eq!(now(stage.groups.delete_offsets("g", vec![topic])), Ok(vec![Ok(())]));
    assert_eq!(offset_of(&stage, "g"), None);
}

#[tokio::test]
async fn x13_a_group_stays_that_gets_offsets_of_a_transaction_while_it_expires() {
    let stage = Stage::new(rules());
    now(stage.groups.commit("g", commit(5))).unwrap();
    let (producer, checked) = (ProducerId(1), now(stage.groups.check_commit("g", commit(6))).unwrap());
    stage.clock.set(Timestamp(stage.clock.now().0 + 14 * 24 * 3_600_000));
    stage.store.hold();
    stage.groups.expire().await;
    let staged = OffsetChange::Staged { producer, offsets: checked.offsets }.into();
    stage.store.durable.lock().unwrap().change("g", checked.after, &[staged]).unwrap();
    stage.store.let_go();
    let of = TopicPartition::new(TOPIC, 0);
    assert!(stage.store.offsets("g").is_staged(of));
    assert_eq!(
        now(stage.groups.commit("g", commit(7))),
        Ok(vec![Ok(())]),
        "the coordinator knows that it is there"
    );
    let end = OffsetChange::Ended { producer, end: TransactionEnd::Commit }.into();
    stage.store.durable.lock().unwrap().change("g", 0, &[end]).unwrap();
    assert_eq!(offset_of(&stage, "g"), Some(7), "it was written last");
}

#[test]
fn deleting_an_offset_waits_for_a_commit_that_came_before_it() {
    let stage = Stage::new(rules());
    now(stage.groups.commit("g", commit(4))).unwrap();
    stage.clock.set(Timestamp(stage.clock.now().0 + 1));
    stage.store.hold();
    let mut commits = pin!(stage.groups.commit("g", commit(5)));
    let topic = OffsetToDelete { partition: TopicPartition::new(TOPIC, 0), topic: "t".into() };
    let mut deletes = pin!(stage.groups.delete_offsets("g", vec![topic]));
    assert!(peek(commits.as_mut()).is_none() && peek(deletes.as_mut()).is_none());
    stage.store.let_go();
    assert_eq!(peek(commits).unwrap(), Ok(vec![Ok(())]));
    assert_eq!(peek(deletes).unwrap(), Ok(vec![Ok(())]));
    assert_eq!(offset_of(&stage, "g"), None);
}

#[test]
fn c19_an_unknown_group_has_no_offsets_and_that_is_no_error() {
    let stage = Stage::new(rules());
    assert_eq!(offset_of(&stage, "nobody"), None);
    assert!(stage.groups.runtime.keys().is_empty(), "and none is made");
}

#[test]
fn asking_for_an_unknown_group_is_refused_and_makes_none() {
    let stage = Stage::new(rules());
    let unknown = GroupError::UnknownMember;
    assert_eq!(now(stage.groups.heartbeat("g", beat("a", 1))), Err(unknown));
    assert_eq!(now(stage.groups.sync("g", sync("a", 1, b""))), Err(unknown));
    assert_eq!(now(stage.groups.leave("g", vec![Leaver::Nobody, Leaver::Nobody])), Ok(vec![Err(unknown); 2]));
    assert_eq!(now(stage.groups.delete("g")), Err(GroupError::NoSuchGroup));
    assert_eq!(now(stage.groups.delete_offsets("g", vec![])), Err(GroupError::NoSuchGroup));
    let rejoin = now(stage.groups.join("g", Join { member: Some("a".into()), ..newcomer("a") }));
    assert_eq!(rejoin, Err(JoinRefusal { error: unknown, member: "a".into() }));
    let with_generation = Commit { generation: Some(Generation(1)), ..commit(1) };
    assert_eq!(now(stage.groups.commit("g", with_generation.clone())), Err(GroupError::NoSuchGroup));
    let older = Commit { knows_group_not_found: false, ..with_generation };
    assert_eq!(now(stage.groups.commit("g", older)), Err(GroupError::IllegalGeneration));
    let refused = now(stage.groups.join("g", Join { protocols: vec![], ..newcomer("a") }));
    assert_eq!(refused.unwrap_err().error, GroupError::InconsistentProtocol);
    assert!(stage.groups.runtime.keys().is_empty());
}

#[test]
fn members_need_a_group_with_a_name_and_offsets_do_not() {
    let stage = Stage::new(rules());
    let nameless = Err(GroupError::NoGroupId);
    assert_eq!(now(stage.groups.join("", newcomer("a"))).unwrap_err().error, GroupError::NoGroupId);
    assert_eq!(now(stage.groups.heartbeat("", beat("a", 1))), nameless);
    assert_eq!(now(stage.groups.leave("", vec![])), Err(GroupError::NoGroupId));
    assert_eq!(now(stage.groups.delete_offsets("", vec![])), Err(GroupError::NoGroupId));
    now(stage.groups.commit("", commit(5))).unwrap();
    assert_eq!(offset_of(&stage, ""), Some(5));
    assert_eq!(now(stage.groups.delete("")), Ok(()));
}

#[test]
fn groups_do_not_disturb_each_other() {
    let stage = Stage::new(rules());
    let member = stage.with_member("quiet");
    let mut waiting = pin!(stage.groups.join("busy", newcomer("b")));
    assert!(peek(waiting.as_mut()).is_none());
    assert_eq!(now(stage.groups.heartbeat("quiet", beat(&member, 1))), Ok(()));
    stage.wait(3);
    assert!(peek(waiting).unwrap().is_ok());
    assert_eq!(now(stage.groups.heartbeat("quiet", beat(&member, 1))), Ok(()));
    let states: Vec<_> =
        now(stage.groups.list()).unwrap().into_iter().map(|listed| (listed.group, listed.state)).collect();
    assert_eq!(
        states,
        [("busy".to_owned(), GroupState::CompletingRebalance), ("quiet".to_owned(), GroupState::Stable)]
    );
}

#[test]
fn c9_answered_commits_are_there_after_a_restart() {
    let stage = Stage::new(rules());
    let member = stage.with_member("g");
    now(stage.groups.commit("simple", commit(5))).unwrap();
    let stage = stage.restarted();
    assert_eq!(now(stage.groups.heartbeat("g", beat(&member, 1))), Ok(()));
    assert_eq!(
        now(stage.groups.sync("g", sync(&member, 1, b""))).unwrap().assignment,
        Opaque::copy_of(b"part")
    );
    assert_eq!(offset_of(&stage, "simple"), Some(5));
    stage.wait(11);
    assert_eq!(now(stage.groups.describe("g")).unwrap().state, GroupState::Empty, "sessions run again");
}

#[test]
fn a_change_that_was_not_stored_did_not_happen_and_waiting_requests_fail() {
    let stage = Stage::new(rules());
    let member = stage.with_member("g");
    stage.store.hold();
    let mut waits = pin!(stage.groups.join("g", newcomer("b")));
    assert!(peek(waits.as_mut()).is_none());
    let mut commits = pin!(
        stage.groups.leave("g", vec![Leaver::Member(Identity { member: member.clone(), instance: None })])
    );
    stage.store.lose();
    assert_eq!(peek(commits.as_mut()).unwrap(), Err(GroupError::NotStored));
    assert_eq!(peek(waits).unwrap().unwrap_err().error, GroupError::NotStored);
    stage.store.let_go();
    assert_eq!(
        now(stage.groups.heartbeat("g", beat(&member, 1))),
        Ok(()),
        "generation 1 is at work as before"
    );
    assert_eq!(now(stage.groups.describe("g")).unwrap().members.len(), 1);
}

#[test]
fn a_change_that_was_stored_before_one_that_was_not_stays() {
    let stage = Stage::new(rules());
    let member = stage.with_member("g");
    stage.store.hold();
    let who = Identity { member: member.clone(), instance: None };
    let committed = Commit { generation: Some(Generation(1)), who: who.clone(), ..commit(5) };
    let mut commits = pin!(stage.groups.commit("g", committed));
    let mut second = pin!(stage.groups.join("g", newcomer("b")));
    assert!(peek(commits.as_mut()).is_none() && peek(second.as_mut()).is_none());
    let mut leaves = pin!(stage.groups.leave("g", vec![Leaver::Member(who)]));
    assert!(peek(leaves.as_mut()).is_none());
    stage.store.settle_first(2);
    stage.store.lose();
    stage.store.let_go();
    assert_eq!(peek(commits).unwrap(), Ok(vec![Ok(())]));
    assert_eq!(peek(leaves).unwrap(), Err(GroupError::NotStored));
    let rebalance = Err(GroupError::RebalanceInProgress);
    assert_eq!(now(stage.groups.heartbeat("g", beat(&member, 1))), rebalance, "the other one has joined");
    assert_eq!(offset_of(&stage, "g"), Some(5));
}

#[test]
fn a_stalled_journal_costs_no_member_its_place() {
    let stage = Stage::new(rules());
    let member = stage.with_member("g");
    stage.store.hold();
    let mut commits = pin!(stage.groups.commit("other", commit(5)));
    assert!(peek(commits.as_mut()).is_none());
    stage.wait(60);
    stage.store.let_go();
    assert_eq!(now(stage.groups.heartbeat("g", beat(&member, 1))), Ok(()), "after six session timeouts");
    stage.wait(9);
    assert_eq!(now(stage.groups.heartbeat("g", beat(&member, 1))), Ok(()));
    stage.wait(11);
    assert_eq!(now(stage.groups.heartbeat("g", beat(&member, 1))), Err(GroupError::UnknownMember));
}

#[tokio::test(start_paused = true)]
async fn sessions_end_on_time_also_shortly_after_one_another() {
    let stage = Stage::new(rules());
    let (first, second) = (stage.with_member("first"), stage.with_member("second"));
    let pass = |time: Duration| stage.clock.turn(time);
    now(stage.groups.heartbeat("first", beat(&first, 1))).unwrap();
    pass(Duration::from_millis(3));
    now(stage.groups.heartbeat("second", beat(&second, 1))).unwrap();
    let states = || ["first", "second"].map(|name| stage.groups.runtime.peek(name, Group::state).unwrap());

    let groups = stage.groups.clone();
    tokio::spawn(async move { groups.run().await });
    pass(Duration::from_millis(9_997));
    time::sleep(Duration::from_millis(1)).await;
    assert_eq!(states(), [GroupState::Empty, GroupState::Stable]);
    pass(Duration::from_millis(3));
    time::sleep(Duration::from_millis(3)).await;
    assert_eq!(states(), [GroupState::Empty, GroupState::Empty]);
}

#[tokio::test]
async fn timers_fire_while_the_offsets_of_many_groups_are_checked() {
    let stage = Stage::new(Rules { retention_check: Duration::ZERO, ..rules() });
    for group in 0..100 {
        now(stage.groups.commit(&format!("offsets {group}"), commit(1))).unwrap();
    }
    let mut joins = pin!(stage.groups.join("g", newcomer("a")));
    assert_eq!(peek(joins.as_mut()), None);
    let mut runs = pin!(stage.groups.run());
    assert!(peek(runs.as_mut()).is_none(), "the first group is checked");
    stage.clock.turn(Duration::from_secs(3));
    assert!(peek(runs).is_none(), "and the second one");
    assert!(peek(joins).unwrap().is_ok());
}

#[test]
fn m7_once_the_journal_has_failed_no_group_is_served() {
    let stage = Stage::new(rules());
    let member = stage.with_member("g");
    assert!(stage.groups.is_serving());
    let mut waits = pin!(stage.groups.join("g", newcomer("b")));
    assert!(peek(waits.as_mut()).is_none());
    stage.store.broken.store(true, Ordering::SeqCst);
    assert!(!stage.groups.is_serving());
    let not_stored = GroupError::NotStored;
    assert_eq!(now(stage.groups.heartbeat("g", beat(&member, 1))), Err(not_stored));
    assert_eq!(now(stage.groups.commit("g", commit(1))), Err(not_stored));
    assert_eq!(now(stage.groups.offsets("g")), Err(not_stored));
    assert_eq!(now(stage.groups.describe("g")), Err(not_stored));
    assert_eq!(now(stage.groups.list()), Err(not_stored));
    stage.store.hold();
    stage.wait(60);
    assert_eq!(peek(waits).unwrap().unwrap_err().error, not_stored);
    assert!(stage.store.waiting.lock().unwrap().is_empty(), "timers ask nothing of it either");
}

#[test]
fn groups_that_hold_nothing_make_room_for_new_ones_and_others_do_not() {
    let stage = Stage::new(Rules { max_groups: 3, ..rules() });
    now(stage.groups.commit("offsets", commit(1))).unwrap();
    let joined = |group: &str| now(stage.groups.join(group, Join { confirms_its_id: true, ..newcomer("a") }));
    for attempt in 0..50 {
        let refusal = joined(&format!("made up {attempt}")).unwrap_err();
        assert_eq!(refusal.error, GroupError::MemberIdRequired);
        assert!(stage.groups.runtime.keys().len() <= 3);
    }
    let member = stage.with_member("real");
    assert_eq!(now(stage.groups.heartbeat("real", beat(&member, 1))), Ok(()));
    now(stage.groups.commit("more offsets", commit(1))).unwrap();
    assert_eq!(stage.groups.runtime.keys().len(), 3);
    assert_eq!(joined("one too many").unwrap_err().error, GroupError::NoRoom);
    assert_eq!(now(stage.groups.commit("one too many", commit(1))), Err(GroupError::NoRoom));
    assert_eq!(now(stage.groups.commit("offsets", commit(2))), Ok(vec![Ok(())]), "who is there goes on");
}

#[test]
fn all_groups_together_take_no_more_than_they_may() {
    let stage = Stage::new(Rules { total_bytes: 15_000, ..rules() });
    let big = || Join { protocols: vec![("range".into(), Opaque::copy_of(&[0; 4000]))], ..newcomer("a") };
    let _first = stage.groups.join("a", big());
    let _second = stage.groups.join("b", big());
    assert_eq!(now(stage.groups.join("c", big())).unwrap_err().error, GroupError::NoRoom);
    stage.wait(600);
    let _later = stage.groups.join("c", big());
    assert_eq!(
        now(stage.groups.describe("c")).unwrap().members.len(),
        1,
        "there is room again when they are gone"
    );
    let stage = stage.restarted();
    let _more = stage.groups.join("d", big());
    assert_eq!(
        now(stage.groups.join("e", big())).unwrap_err().error,
        GroupError::NoRoom,
        "also after a restart"
    );
}

#[test]
fn groups_that_hold_nothing_take_no_room_from_those_that_do() {
    let stage = Stage::new(Rules { total_bytes: 60_000, ..rules() });
    let member = stage.with_member("real");
    for attempt in 0..200 {
        let made_up = format!("made up {attempt}");
        let joined = now(stage.groups.join(&made_up, Join { confirms_its_id: true, ..newcomer("a") }));
        assert_eq!(joined.unwrap_err().error, GroupError::MemberIdRequired, "{made_up}");
    }
    for partition in 0..10 {
        let mut commit = Commit {
            generation: Some(Generation(1)),
            who: Identity { member: member.clone(), instance: None },
            ..commit(1)
        };
        commit.offsets[0].partition.partition = partition;
        assert_eq!(now(stage.groups.commit("real", commit)), Ok(vec![Ok(())]), "{partition}");
    }
}

#[test]
fn a_newcomer_finds_its_group_again_although_memory_gets_short() {
    const BYTES: usize = 320_000;
    let stage = Stage::new(Rules { total_bytes: BYTES, ..rules() });
    let mut full = 0;
    while stage.groups.runtime.held() < BYTES / 16 * 15 {
        now(stage.groups.commit(&format!("full {full}"), commit(1))).unwrap();
        full += 1;
    }
    let refused = now(stage.groups.join("g", Join { confirms_its_id: true, ..newcomer("a") })).unwrap_err();
    assert_eq!(refused.error, GroupError::MemberIdRequired);
    now(stage.groups.commit("full 0", commit(2))).unwrap();
    let mut joins = pin!(stage.groups.join("g", Join { member: Some(refused.member), ..newcomer("a") }));
    assert_eq!(peek(joins.as_mut()), None);
    stage.wait(3);
    assert!(peek(joins).unwrap().is_ok());
}

#[tokio::test]
async fn groups_that_are_left_with_nothing_are_removed_at_the_check() {
    let stage = Stage::new(rules());
    now(stage.groups.commit("old", commit(1))).unwrap();
    stage.wait(1);
    stage.clock.set(Timestamp(stage.clock.now().0 + 7 * 24 * 3600 * 1000));
    now(stage.groups.commit("new", commit(1))).unwrap();
    let names =
        || -> Vec<_> { now(stage.groups.list()).unwrap().into_iter().map(|listed| listed.group).collect() };
    stage.store.untrusted.store(true, Ordering::SeqCst);
    stage.groups.expire().await;
    assert_eq!(names(), ["new", "old"], "not by a clock that is not trusted");
    stage.store.untrusted.store(false, Ordering::SeqCst);
    stage.groups.expire().await;
    assert_eq!(names(), ["new"]);
}

#[test]
fn group_and_client_names_may_be_as_long_and_strange_as_the_wire_allows() {
    let stage = Stage::new(rules());
    let name = "\u{1f600}\n\0ü".repeat(4000);
    let client = "€".repeat(10_922);
    let member = now(stage.groups.join(&name, Join { confirms_its_id: true, ..newcomer(&client) }))
        .unwrap_err()
        .member;
    assert!(member.starts_with("€€€") && member.len() <= 32_767, "{} bytes", member.len());
    let mut joins =
        pin!(stage.groups.join(&name, Join { member: Some(member.clone()), ..newcomer(&client) }));
    assert!(peek(joins.as_mut()).is_none());
    stage.wait(3);
    assert_eq!(peek(joins).unwrap().unwrap().member, member);
    let stage = stage.restarted();
    assert_eq!(now(stage.groups.list()).unwrap()[0].group, name);
    assert_eq!(now(stage.groups.describe(&name)).unwrap().members[0].client_id, client);
}

#[test]
fn a_member_id_is_the_clients_name_and_a_random_part_as_java_writes_it() {
    let id = member_id("cli-ent");
    let random = id.strip_prefix("cli-ent-").unwrap();
    let lengths: Vec<usize> = random.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
    assert_eq!(random.as_bytes()[14], b'4', "{random}");
    assert_ne!(member_id("cli-ent"), id);
}
