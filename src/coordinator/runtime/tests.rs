//! A trivial machine with another key, home and fence than groups have: the locks of a group on the records of
//! one partition. Its home is the leader of the partition, and its fence is the leader epoch. The kernel keeps
//! the acknowledged records beside the group; locks are soft state.

mod moves;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use super::super::Settler;
use super::super::deadlines::Deadlines;
use super::super::machine::Decision;
use super::super::reply::After;
use super::*;
use crate::types::{LeaderEpoch, Timestamp, TopicId, Uuid};

const LOCKED_FOR: Duration = Duration::from_secs(30);
const ALL: Limits = Limits { machines: 10, bytes: 10_000 };

/// Group, topic and partition.
type Key = (Arc<str>, TopicId, i32);
type Acknowledged = Arc<BTreeSet<i64>>;

#[derive(Default)]
struct Locks {
    acknowledged: Acknowledged,
    /// The end of the partition's log.
    end: i64,
    locked: Deadlines<i64>,
    waiting: Vec<Reply<i64>>,
}

enum Command {
    /// Locks the next record, if there is one.
    Acquire(Reply<Option<i64>>),
    /// Locks the next record once there is one.
    Await(Reply<i64>),
    /// Acknowledges a locked record.
    Acknowledge(i64, Reply<bool>),
    /// The partition has grown.
    Grew(i64),
    /// A bug.
    Panic,
    Tick,
    MakeRoom,
}

impl Locks {
    fn free(&self) -> Option<i64> {
        (0..self.end).find(|offset| !self.acknowledged.contains(offset) && !self.locked.contains(offset))
    }

    fn lock(&mut self, now: Duration) -> Option<i64> {
        let free = self.free()?;
        self.locked.set(free, now + LOCKED_FOR);
        Some(free)
    }

    fn answer_waiting(&mut self, now: Duration, decision: &mut Decision<Locks>) {
        while !self.waiting.is_empty() && self.free().is_some() {
            let reply = self.waiting.remove(0);
            decision.answers.extend(self.lock(now).map(|offset| reply.answer(offset, After::Nothing)));
        }
        decision.wakes = self.free().is_some();
    }
}

impl Machine for Locks {
    type Key = Key;
    type Name = Key;
    type KernelState = Acknowledged;
    type Fence = LeaderEpoch;
    type View<'a> = ();
    type Command = Command;
    type Change = i64;

    fn key(name: &Key) -> Key {
        name.clone()
    }

    fn restored(_: &(), acknowledged: Acknowledged, _: Duration) -> Restored<Locks> {
        let end = acknowledged.last().map_or(0, |last| last + 1);
        Restored::from(Locks { acknowledged, end, ..Locks::default() })
    }

    fn decide(&mut self, _: &(), occasion: Occasion, command: Command) -> Decision<Locks> {
        let mut decision = Decision::default();
        match command {
            Command::Acquire(reply) => {
                decision.answers.push(reply.answer(self.lock(occasion.session), After::Nothing));
            }
            Command::Await(reply) => {
                self.waiting.push(reply);
                self.answer_waiting(occasion.session, &mut decision);
            }
            Command::Acknowledge(offset, reply) => {
                let locked = self.locked.remove(&offset);
                if locked {
                    Arc::make_mut(&mut self.acknowledged).insert(offset);
                    decision.changes.push(offset);
                    decision.grown = if self.acknowledged.len() == 1 { 58 } else { 8 };
                }
                decision.answers.push(reply.answer(locked, After::LastRecord));
            }
            Command::Grew(end) => {
                self.end = end;
                self.answer_waiting(occasion.session, &mut decision);
            }
            Command::Tick => {
                for offset in self.locked.passed(occasion.session) {
                    self.locked.remove(&offset);
                }
                self.answer_waiting(occasion.session, &mut decision);
            }
            Command::MakeRoom => {}
            Command::Panic => {
                self.locked = Deadlines::default();
                panic!("a decision that does not come to its end");
            }
        }
        decision
    }

    fn tick() -> Command {
        Command::Tick
    }

    fn delete() -> Command {
        Command::MakeRoom
    }

    fn exists(&self) -> bool {
        self.is_kept() || self.end > 0 || !self.waiting.is_empty()
    }

    fn is_kept(&self) -> bool {
        !self.acknowledged.is_empty()
    }

    fn is_unused(&self) -> bool {
        false
    }

    fn has_nothing_beside(&self, (): &()) -> bool {
        true
    }

    fn is_at_rest(&self) -> bool {
        self.is_kept() && self.locked.is_empty() && self.waiting.is_empty() && self.free().is_none()
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.locked.next()
    }

    fn weigh(&self, _: &Key) -> usize {
        100
    }

    fn weigh_new(_: &Key) -> usize {
        150
    }

    fn dismiss(&mut self) {
        self.waiting.clear();
    }

    fn warn_not_stored(_: &Key) {}
}

/// The kernel, and who leads the partition. Changes are durable when the test calls `settle`.
#[derive(Default)]
struct Store {
    kept: Mutex<BTreeMap<Key, Acknowledged>>,
    /// `None` while another broker leads.
    epoch: Mutex<Option<LeaderEpoch>>,
    submitted: Mutex<Vec<(Key, Vec<i64>, Settler)>>,
    /// Happens once after all machines were read.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    clock: Clock,
}

impl Keeper<Locks> for Arc<Store> {
    fn all(&self) -> Vec<(Key, Acknowledged)> {
        let kept = lock(&self.kept).clone().into_iter().collect();
        let meanwhile = lock(&self.meanwhile).take();
        meanwhile.into_iter().for_each(|happens| happens());
        kept
    }

    fn find(&self, key: &Key) -> Option<Acknowledged> {
        lock(&self.kept).get(key).cloned()
    }

    fn count(&self) -> usize {
        lock(&self.kept).len()
    }

    fn bytes(&self) -> usize {
        lock(&self.kept).values().map(|acknowledged| 50 + 8 * acknowledged.len()).sum()
    }

    fn home(&self, _: &Key) -> Option<LeaderEpoch> {
        *lock(&self.epoch)
    }

    fn submit(&self, key: &Key, _: u64, changes: Vec<i64>) -> Settled {
        let (settler, settled) = Settled::pair();
        lock(&self.submitted).push((key.clone(), changes, settler));
        settled
    }

    fn is_serving(&self) -> bool {
        true
    }

    fn view(&self, _: &Key) {}
}

impl Store {
    fn settle(&self) {
        for (key, changes, settler) in std::mem::take(&mut *lock(&self.submitted)) {
            Arc::make_mut(lock(&self.kept).entry(key).or_default()).extend(changes);
            settler.settle(Ok(()));
        }
    }

    fn wait(&self, runtime: &Runtime<Locks>, seconds: i64) {
        self.clock.set(Timestamp(self.clock.now().0 + 1000 * seconds));
        while runtime.ring() == Some(Duration::ZERO) {}
    }
}

struct Stage {
    runtime: Arc<Runtime<Locks>>,
    store: Arc<Store>,
    key: Key,
}

impl Stage {
    /// This broker leads a partition with `end` records, in epoch 1.
    fn new(end: i64) -> Stage {
        let clock = Clock::manual(Timestamp(0));
        let store = Arc::new(Store { clock: clock.clone(), ..Store::default() });
        let runtime = Arc::new(Runtime::load(Box::new(store.clone()), ALL, clock));
        let stage = Stage { runtime, store, key: ("g".into(), Uuid([7; 16]), 0) };
        stage.leads(Some(1));
        stage.grew(end);
        stage
    }

    fn leads(&self, epoch: Option<i32>) {
        *lock(&self.store.epoch) = epoch.map(LeaderEpoch);
    }

    fn grew(&self, end: i64) {
        let at = self.runtime.session.look();
        let done = self.runtime.with(&self.key, Absent::Create, at, |slot, state| {
            self.runtime.decide(slot, state, at, Command::Grew(end));
        });
        done.unwrap();
    }

    fn acquire(&self) -> Result<Option<i64>, Unserved> {
        now(self.runtime.ask(&self.key, Absent::Create, Command::Acquire)?.answer())
    }

    fn acknowledge(&self, offset: i64) -> impl Future<Output = Result<bool, Unserved>> + use<> {
        let command = |reply| Command::Acknowledge(offset, reply);
        self.runtime.ask(&self.key, Absent::Refuse, command).unwrap().answer()
    }

    fn settle(&self) {
        self.store.settle();
    }

    fn wait(&self, seconds: i64) {
        self.store.wait(&self.runtime, seconds);
    }

    fn panic(&self) {
        let panics = || self.runtime.command(&self.key, |_| Some(Command::Panic));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
        assert!(result.is_err());
    }

    fn has_slot(&self) -> bool {
        self.runtime.slot(&self.key).is_some()
    }
}

fn peek<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    peek(pin!(future)).expect("nothing to wait for")
}

#[test]
fn locks_are_lost_with_the_leadership_and_what_the_kernel_has_is_not() {
    let stage = Stage::new(3);
    assert_eq!([stage.acquire(), stage.acquire()], [Ok(Some(0)), Ok(Some(1))]);
    let acknowledged = stage.acknowledge(0);
    stage.settle();
    assert_eq!(now(acknowledged), Ok(true));

    stage.leads(None);
    stage.runtime.rehome();
    assert!(!stage.has_slot());
    assert_eq!(stage.acquire(), Err(Unserved::NotHome));

    stage.leads(Some(3));
    stage.grew(3);
    assert_eq!(stage.acquire(), Ok(Some(1)), "its lock is gone, and record 0 stays acknowledged");
}

#[test]
fn a_new_epoch_of_the_same_leader_is_noticed_by_the_next_request() {
    let stage = Stage::new(3);
    assert_eq!(stage.acquire(), Ok(Some(0)));
    stage.leads(Some(2));
    stage.grew(3);
    assert_eq!(stage.acquire(), Ok(Some(0)), "no lock of epoch 1 counts");
}

#[test]
fn a_waiting_request_is_answered_when_the_leadership_goes() {
    let stage = Stage::new(0);
    let mut waits = pin!(stage.runtime.ask(&stage.key, Absent::Create, Command::Await).unwrap().answer());
    assert_eq!(peek(waits.as_mut()), None);
    stage.leads(None);
    stage.runtime.rehome();
    assert_eq!(peek(waits), Some(Err(Unserved::NotHome)));
}

#[test]
fn a_record_that_waits_is_given_out_when_the_partition_grows() {
    let stage = Stage::new(0);
    let mut waits = pin!(stage.runtime.ask(&stage.key, Absent::Create, Command::Await).unwrap().answer());
    assert_eq!(peek(waits.as_mut()), None);
    stage.grew(1);
    assert_eq!(peek(waits), Some(Ok(0)));
}

#[test]
fn records_of_an_earlier_epoch_settle_before_the_machine_is_used_again() {
    let stage = Stage::new(2);
    assert_eq!(stage.acquire(), Ok(Some(0)));
    let mut acknowledged = pin!(stage.acknowledge(0));
    assert_eq!(peek(acknowledged.as_mut()), None);
    stage.leads(Some(2));
    stage.runtime.rehome();
    assert!(stage.has_slot());
    assert_eq!(stage.acquire(), Err(Unserved::NotHome), "the kernel may lack the acknowledgement");
    stage.settle();
    assert_eq!(peek(acknowledged), Some(Ok(true)));
    assert_eq!(stage.acquire(), Ok(None));
    stage.grew(2);
    assert_eq!(stage.acquire(), Ok(Some(1)));
}

#[test]
fn an_answer_waits_for_the_last_record_only_if_it_says_so() {
    let stage = Stage::new(2);
    assert_eq!(stage.acquire(), Ok(Some(0)));
    let mut acknowledged = pin!(stage.acknowledge(0));
    assert_eq!(peek(acknowledged.as_mut()), None, "nothing is durable yet");
    assert_eq!(stage.acquire(), Ok(Some(1)), "a lock needs nothing to be durable");
    stage.settle();
    assert_eq!(peek(acknowledged), Some(Ok(true)));
}

#[tokio::test]
async fn a_long_poll_is_woken_by_the_partition_by_the_end_of_a_lock_and_by_the_loss_of_the_leadership() {
    let stage = Stage::new(1);
    assert_eq!([stage.acquire(), stage.acquire()], [Ok(Some(0)), Ok(None)]);
    let polls = Waiter::new();
    stage.runtime.watch(&stage.key, &polls).unwrap();
    assert_eq!(peek(pin!(polls.woken())), None);
    stage.grew(2);
    polls.woken().await;
    assert_eq!([stage.acquire(), stage.acquire()], [Ok(Some(1)), Ok(None)]);

    stage.runtime.watch(&stage.key, &polls).unwrap();
    stage.wait(30);
    polls.woken().await;
    assert_eq!(stage.acquire(), Ok(Some(0)));

    stage.runtime.watch(&stage.key, &polls).unwrap();
    stage.leads(None);
    stage.runtime.rehome();
    polls.woken().await;
    assert_eq!(stage.acquire(), Err(Unserved::NotHome));
}

#[test]
fn a_machine_without_a_slot_is_still_there_and_is_loaded_when_asked_for() {
    let stage = Stage::new(1);
    assert_eq!(stage.acquire(), Ok(Some(0)));
    let acknowledged = stage.acknowledge(0);
    let loaded = stage.runtime.held();
    assert!(stage.has_slot(), "its record is not durable");
    stage.settle();
    assert_eq!(now(acknowledged), Ok(true));
    stage.wait(59);
    assert!(stage.has_slot(), "its clients may come back");
    stage.wait(1);
    assert!(!stage.has_slot(), "the kernel has all of it");
    assert_eq!((stage.runtime.count(), stage.runtime.held()), (1, loaded - 100));
    let read = stage.runtime.read(&stage.key, |locks| locks.acknowledged.len()).unwrap();
    assert_eq!(read.answer, Some(1));
    assert_eq!(stage.runtime.keys(), BTreeSet::from([stage.key.clone()]));
    stage.grew(2);
    assert_eq!(stage.runtime.held(), loaded);
    assert_eq!(stage.acquire(), Ok(Some(1)));
}

#[test]
fn a_machine_whose_slot_goes_while_all_are_read_is_read_with_its_last_change() {
    let stage = Stage::new(1);
    assert_eq!(stage.acquire(), Ok(Some(0)));
    let _acknowledged = stage.acknowledge(0);
    let (runtime, store, key) = (stage.runtime.clone(), stage.store.clone(), stage.key.clone());
    let unloaded = move || {
        store.settle();
        store.wait(&runtime, 61);
        assert!(runtime.slot(&key).is_none());
    };
    *lock(&stage.store.meanwhile) = Some(Box::new(unloaded));
    let all = stage.runtime.all();
    let acknowledged = all.iter().map(|found| found.read(|_, locks, _| locks.acknowledged.len()));
    assert_eq!(acknowledged.collect::<Vec<_>>(), [1]);
}

#[test]
fn a_decision_that_panics_is_forgotten_and_records_before_it_are_not() {
    let stage = Stage::new(2);
    assert_eq!(stage.acquire(), Ok(Some(0)));
    let mut acknowledged = pin!(stage.acknowledge(0));
    stage.panic();
    assert_eq!(stage.acquire(), Err(Unserved::NotStored), "the kernel lacks the acknowledgement");
    assert_eq!(peek(acknowledged.as_mut()), None);
    stage.settle();
    assert_eq!(peek(acknowledged), Some(Ok(true)));
    stage.grew(2);
    assert_eq!(stage.acquire(), Ok(Some(1)));
}

#[test]
fn machines_of_the_kernel_are_loaded_when_asked_for() {
    let stage = Stage::new(1);
    assert_eq!(stage.acquire(), Ok(Some(0)));
    let acknowledged = stage.acknowledge(0);
    stage.settle();
    assert_eq!(now(acknowledged), Ok(true));
    let keeper = Box::new(stage.store.clone());
    let runtime = Arc::new(Runtime::load(keeper, ALL, stage.store.clock.clone()));
    let stage = Stage { runtime, ..stage };
    assert!(!stage.has_slot());
    assert_eq!((stage.runtime.count(), stage.runtime.held()), (1, 58));
    assert_eq!(now(stage.acknowledge(0)), Ok(false), "its lock is gone");
    let read = stage.runtime.read(&stage.key, |locks| locks.acknowledged.len()).unwrap();
    assert_eq!(read.answer, Some(1));
}

#[test]
fn a_machine_counts_once_in_its_slot_on_its_way_to_the_kernel_and_there() {
    let stage = Stage::new(1);
    assert_eq!(stage.runtime.count(), 1, "only the slot has it");
    assert_eq!(stage.acquire(), Ok(Some(0)));
    let _acknowledged = stage.acknowledge(0);
    assert_eq!((stage.runtime.count(), lock(&stage.store.kept).len()), (1, 0), "it is on its way");
    stage.settle();
    assert_eq!(stage.runtime.count(), 1, "the kernel has it");
    lock(&stage.store.kept).insert(("other".into(), Uuid([7; 16]), 0), Acknowledged::default());
    assert_eq!(stage.runtime.count(), 2, "and one that came without the runtime");
}

#[test]
fn a_machine_whose_record_is_lost_is_not_counted() {
    let stage = Stage::new(1);
    assert_eq!(stage.acquire(), Ok(Some(0)));
    let acknowledged = stage.acknowledge(0);
    assert_eq!(stage.runtime.count(), 1);
    lock(&stage.store.submitted).clear();
    assert_eq!(stage.runtime.count(), 0);
    assert_eq!(now(acknowledged), Err(Unserved::NotStored));
    assert_eq!(stage.runtime.count(), 0);
}

#[test]
fn a_record_that_has_not_settled_needs_no_alarm_of_its_own() {
    let stage = Stage::new(1);
    assert_eq!(stage.acquire(), Ok(Some(0)));
    stage.wait(1);
    let _acknowledged = stage.acknowledge(0);
    let alarms = || -> Vec<Duration> { lock(&stage.runtime.alarms).iter().map(|(at, _)| *at).collect() };
    assert_eq!(alarms(), [LOCKED_FOR], "the one of the lock stays");
    stage.settle();
    stage.wait(29);
    assert_eq!(alarms(), [REST + Duration::from_secs(1)], "when the slot may go");
    stage.wait(31);
    assert!(!stage.has_slot());
}
