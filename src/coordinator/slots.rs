//! Each group behind its own lock, with its waiting requests, its timers, and its share of the
//! memory of all groups.
//!
//! Lock order: the map of slots, a slot, then the small locks (alarms, idle groups, the session
//! clock) and the store. No code waits while it holds one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tracing::warn;

use super::classic::{Answer, Caller, ClassicGroup, Command, GroupError, Occasion, Rules};
use super::session_clock::SessionClock;
use super::{GroupStore, NotStored, Settled};
use crate::time::Clock;
use crate::types::{Timestamp, TopicId};

/// The delay before checking again whether the deletion of a group is durable.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long deleted topics are collected before their offsets are forgotten together.
const COLLECT: Duration = Duration::from_secs(1);

/// How many alarms ring before others get their turn on this thread.
const ALARMS_AT_ONCE: usize = 1000;

/// The number of idle groups that are tried to free memory.
const CANDIDATES: usize = 8;

pub(super) struct Slots {
    store: Arc<dyn GroupStore>,
    rules: Rules,
    clock: Clock,
    session: SessionClock,
    slots: RwLock<BTreeMap<Arc<str>, Arc<Slot>>>,
    /// The groups by the time of their next timer.
    alarms: Mutex<BTreeSet<(Duration, Arc<str>)>>,
    alarm_moved: Notify,
    /// Groups without members and offsets, the longest idle first.
    idle: Mutex<BTreeSet<(u64, Arc<str>)>>,
    gone: Mutex<Gone>,
    /// Bytes that all groups together take.
    held: AtomicIsize,
    /// The last number of a caller or of a group that became idle.
    numbers: AtomicU64,
}

/// Topics that were deleted and whose offsets are not forgotten yet.
#[derive(Default)]
struct Gone {
    topics: BTreeSet<TopicId>,
    /// When they are; `None` if there are none.
    due: Option<Duration>,
}

/// The outcome of a command to a group that does not exist.
#[derive(Clone, Copy)]
pub(super) enum Absent {
    Create,
    Refuse(GroupError),
}

/// An answer or a value that was read, and the records that must be durable before it is sent.
pub(super) struct Found<T> {
    what: T,
    settled: Settled,
}

/// The second stage of a command.
pub(super) struct Pending {
    slots: Arc<Slots>,
    group: Arc<str>,
    said: Said,
}

enum Said {
    Now(Box<Found<Answer>>),
    Later(oneshot::Receiver<Found<Answer>>),
}

struct Slot {
    name: Arc<str>,
    state: Mutex<State>,
}

struct State {
    group: ClassicGroup,
    parked: BTreeMap<Caller, oneshot::Sender<Found<Answer>>>,
    /// The state of the last record that was submitted.
    last: Settled,
    alarm: Option<Duration>,
    /// Its number in the list of idle groups.
    idle: Option<u64>,
    /// No longer in the map. A thread that still holds it has to look it up again.
    gone: bool,
}

impl Slots {
    pub fn load(store: Arc<dyn GroupStore>, rules: Rules, clock: Clock) -> Slots {
        let slots = Slots {
            session: SessionClock::new(clock.clone()),
            store,
            rules,
            clock,
            slots: RwLock::default(),
            alarms: Mutex::default(),
            alarm_moved: Notify::new(),
            idle: Mutex::default(),
            gone: Mutex::default(),
            held: AtomicIsize::new(0),
            numbers: AtomicU64::new(0),
        };
        let now = slots.session.now();
        let mut map = BTreeMap::new();
        for (name, hard) in slots.store.load() {
            let name: Arc<str> = name.into();
            let slot = Slot::new(name.clone(), ClassicGroup::restored(hard, now));
            let weight = weight_of_slot(&slot.name) + slot.lock().group.weight().cast_signed();
            slots.held.fetch_add(weight, Ordering::Relaxed);
            slots.note(&slot, &mut slot.lock());
            map.insert(name, Arc::new(slot));
        }
        Slots { slots: RwLock::new(map), ..slots }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn is_serving(&self) -> bool {
        self.store.is_serving()
    }

    /// The time by which offsets may expire; `None` while the clock is not trusted.
    pub fn believed_time(&self) -> Option<Timestamp> {
        self.store.now().believed
    }

    pub fn topic_name(&self, topic: TopicId) -> Option<String> {
        self.store.topic_name(topic)
    }

    pub fn names(&self) -> Vec<Arc<str>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Decides a command of a client.
    pub fn ask(
        self: &Arc<Slots>,
        group: &str,
        absent: Absent,
        command: Command,
    ) -> Result<Pending, GroupError> {
        if !self.is_serving() {
            return Err(GroupError::NotStored);
        }
        self.keep_some_room();
        self.with(group, absent, |slot, state| {
            let said = self.decide(slot, state, command);
            Pending { slots: self.clone(), group: slot.name.clone(), said }
        })
    }

    /// Decides a command of our own, if there is one for the group.
    pub fn tell(&self, group: &str, command: impl FnOnce(&ClassicGroup) -> Option<Command>) {
        // An error means that the group does not exist: there is nothing to do.
        let _ = self.with(group, Absent::Refuse(GroupError::NoSuchGroup), |slot, state| {
            if let Some(command) = command(&state.group).filter(|_| self.is_serving()) {
                self.decide(slot, state, command);
            }
        });
    }

    /// Reads from a group without changing it. The answer that a group no longer exists also waits
    /// until that is durable.
    pub fn look_at<T>(
        &self,
        group: &str,
        read: impl FnOnce(&ClassicGroup) -> T,
    ) -> Result<Found<Option<T>>, GroupError> {
        if !self.is_serving() {
            return Err(GroupError::NotStored);
        }
        let found = self.with(group, Absent::Refuse(GroupError::NoSuchGroup), |_, state| {
            let what = state.group.exists().then(|| read(&state.group));
            Found { what, settled: state.last.clone() }
        });
        match found {
            Err(GroupError::NoSuchGroup) => Ok(Found { what: None, settled: Settled::known(Ok(())) }),
            found => found,
        }
    }

    /// Reads from a group for internal use, without waiting until the state is durable.
    pub fn peek_at<T>(&self, group: &str, read: impl FnOnce(&ClassicGroup) -> T) -> Option<T> {
        let slot = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(group).cloned()?;
        let state = slot.lock();
        Some(read(&state.group))
    }

    pub fn len(&self) -> usize {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Reads from all groups. `Settled` is `None` for groups whose records are all durable.
    pub fn look_at_all(&self, mut read: impl FnMut(&str, &ClassicGroup, Option<&Settled>)) {
        for slot in self.all() {
            let state = slot.lock();
            let unsettled = Some(&state.last).filter(|last| last.peek() != Some(Ok(())));
            read(&slot.name, &state.group, unsettled);
        }
    }

    /// Reads from each group in turn. The results are returned without holding the locks.
    pub fn each<T>(&self, read: impl Fn(&Arc<str>, &ClassicGroup) -> T) -> impl Iterator<Item = T> {
        self.all().into_iter().map(move |slot| read(&slot.name, &slot.lock().group))
    }

    /// Fires the timers that are due. Returns the time until the next one.
    pub fn fire_due(&self) -> Option<Duration> {
        if !self.is_serving() {
            self.dismiss_all();
            return Some(LOOK_AGAIN);
        }
        let now = self.session.now();
        let due: Vec<Arc<str>> = lock(&self.alarms)
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(ALARMS_AT_ONCE)
            .map(|(_, name)| name.clone())
            .collect();
        for name in due {
            self.tell(&name, |_| Some(Command::Tick));
        }
        let now = self.session.now();
        lock(&self.alarms).first().map(|(at, _)| at.saturating_sub(now))
    }

    /// Fails all waiting requests: the store has failed, so they can never be answered.
    fn dismiss_all(&self) {
        for slot in self.all() {
            slot.lock().parked.clear();
        }
    }

    pub fn note_gone(&self, topics: BTreeSet<TopicId>) {
        if topics.is_empty() {
            return;
        }
        let mut gone = lock(&self.gone);
        gone.topics.extend(topics);
        if gone.due.is_none() {
            gone.due = Some(self.clock.monotonic() + COLLECT);
            self.alarm_moved.notify_one();
        }
    }

    /// When the topics that are gone are to be forgotten, if there are any.
    pub fn gone_due(&self) -> Option<Duration> {
        lock(&self.gone).due
    }

    pub fn take_gone(&self) -> BTreeSet<TopicId> {
        std::mem::take(&mut *lock(&self.gone)).topics
    }

    /// Ready when the next alarm is earlier than it was.
    pub async fn alarm_moved(&self) {
        self.alarm_moved.notified().await;
    }

    fn decide(&self, slot: &Slot, state: &mut State, command: Command) -> Said {
        let caller = Caller(self.numbers.fetch_add(1, Ordering::Relaxed));
        let occasion = Occasion {
            caller,
            wall: self.store.now().time,
            session: self.session.now(),
            room: usize::try_from(self.room()).unwrap_or(0),
        };
        let decision = state.group.decide(&self.rules, occasion, command);
        self.held.fetch_add(decision.grown, Ordering::Relaxed);
        if !decision.records.is_empty() {
            state.last = self.store.submit(&slot.name, decision.records);
            self.session.submitted(&state.last);
        }
        let mut own = None;
        for (whose, answer) in decision.answers {
            let found = Found { what: answer, settled: state.last.clone() };
            if whose == caller {
                own = Some(found);
            } else if let Some(waiting) = state.parked.remove(&whose) {
                // The receiver is gone if the client has disconnected.
                let _ = waiting.send(found);
            }
        }
        match own {
            Some(found) => Said::Now(Box::new(found)),
            None => {
                let (answer, waiting) = oneshot::channel();
                state.parked.insert(caller, answer);
                Said::Later(waiting)
            }
        }
    }

    /// Finds or creates the group and acts on it under its lock.
    fn with<T>(
        &self,
        group: &str,
        absent: Absent,
        act: impl FnOnce(&Slot, &mut State) -> T,
    ) -> Result<T, GroupError> {
        loop {
            let slot = self.find(group, absent)?;
            let mut state = slot.lock();
            if state.gone {
                continue;
            }
            if slot.state.is_poisoned() {
                // A decision that panicked may be incomplete.
                slot.state.clear_poison();
                state.last = Settled::known(Err(NotStored));
            }
            if state.last.peek() == Some(Err(NotStored)) {
                self.reload(&slot, &mut state);
            }
            let done = act(&slot, &mut state);
            self.note(&slot, &mut state);
            let is_over = !state.group.exists();
            drop(state);
            if is_over {
                self.drop_if_over(&slot);
            }
            return Ok(done);
        }
    }

    /// The memory that all groups together take.
    pub fn held(&self) -> usize {
        usize::try_from(self.held.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The memory by which all groups together may still grow.
    fn room(&self) -> isize {
        self.rules.total_bytes.cast_signed().saturating_sub(self.held.load(Ordering::Relaxed))
    }

    fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn find(&self, group: &str, absent: Absent) -> Result<Arc<Slot>, GroupError> {
        if let Some(slot) = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(group) {
            return Ok(slot.clone());
        }
        match absent {
            Absent::Refuse(error) => return Err(error),
            Absent::Create => {}
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(group) {
            return Ok(slot.clone());
        }
        let is_full = slots.len() >= self.rules.max_groups || self.room() < weight_of_slot(group);
        if is_full && !self.make_room(&mut slots) {
            return Err(GroupError::NoRoom);
        }
        let name: Arc<str> = group.into();
        let slot = Arc::new(Slot::new(name.clone(), ClassicGroup::default()));
        self.held.fetch_add(weight_of_slot(group), Ordering::Relaxed);
        slots.insert(name, slot.clone());
        Ok(slot)
    }

    /// Frees an idle group when memory gets short, because other groups need it for their offsets.
    fn keep_some_room(&self) {
        let is_tight = self.room() < self.rules.total_bytes.cast_signed() / 8;
        if is_tight && !lock(&self.idle).is_empty() {
            self.make_room(&mut self.slots.write().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Deletes one of the groups without members and offsets. Returns whether it found one.
    fn make_room(&self, slots: &mut BTreeMap<Arc<str>, Arc<Slot>>) -> bool {
        let candidates: Vec<Arc<str>> =
            lock(&self.idle).iter().take(CANDIDATES).map(|(_, name)| name.clone()).collect();
        for name in candidates {
            let Some(slot) = slots.get(&name).cloned() else { continue };
            let mut state = slot.lock();
            self.decide(&slot, &mut state, Command::Delete);
            if !state.group.exists() {
                self.take_out(&slot, &mut state);
                slots.remove(&name);
                return true;
            }
        }
        false
    }

    /// Removes the slot of a group that no longer exists, once that is durable.
    fn drop_if_over(&self, slot: &Slot) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let mut state = slot.lock();
        if state.gone || state.group.exists() {
            return;
        }
        if state.last.peek().is_none() {
            let at = self.session.now() + LOOK_AGAIN;
            return self.set_alarm(slot, &mut state, Some(at));
        }
        self.take_out(slot, &mut state);
        slots.remove(&slot.name);
    }

    fn take_out(&self, slot: &Slot, state: &mut State) {
        state.gone = true;
        self.held.fetch_sub(weight_of_slot(&slot.name), Ordering::Relaxed);
        self.set_alarm(slot, state, None);
        if let Some(number) = state.idle.take() {
            lock(&self.idle).remove(&(number, slot.name.clone()));
        }
    }

    /// Restores the group from the store after a decision that could not be stored. All waiting
    /// requests fail and have to be repeated.
    fn reload(&self, slot: &Slot, state: &mut State) {
        warn!(group = %slot.name.escape_debug(), "a change of the group was not stored, its members will join again");
        let hard = self.store.reload(&slot.name).unwrap_or_default();
        let before = state.group.weight().cast_signed();
        state.group = ClassicGroup::restored(hard, self.session.now());
        self.held.fetch_add(state.group.weight().cast_signed() - before, Ordering::Relaxed);
        state.parked.clear();
        state.last = Settled::known(Ok(()));
    }

    /// Updates the group's alarm and its place in the list of idle groups.
    fn note(&self, slot: &Slot, state: &mut State) {
        let next = state.group.next_deadline();
        let wrong = match (state.alarm, next) {
            (None, next) => next.is_some(),
            // A later deadline is noticed when the alarm fires, so heartbeats move no alarm.
            (Some(alarm), next) => alarm <= self.session.now() || next.is_some_and(|next| next < alarm),
        };
        if wrong {
            self.set_alarm(slot, state, next);
        }
        match (state.group.is_dispensable(), state.idle) {
            (true, None) => {
                let number = self.numbers.fetch_add(1, Ordering::Relaxed);
                state.idle = Some(number);
                lock(&self.idle).insert((number, slot.name.clone()));
            }
            (false, Some(number)) => {
                state.idle = None;
                lock(&self.idle).remove(&(number, slot.name.clone()));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn set_alarm(&self, slot: &Slot, state: &mut State, at: Option<Duration>) {
        let mut alarms = lock(&self.alarms);
        if let Some(before) = state.alarm.take() {
            alarms.remove(&(before, slot.name.clone()));
        }
        let Some(at) = at else { return };
        state.alarm = Some(at);
        let is_first = alarms.first().is_none_or(|(first, _)| at < *first);
        alarms.insert((at, slot.name.clone()));
        if is_first {
            self.alarm_moved.notify_one();
        }
    }
}

impl<T> Found<T> {
    pub async fn when_durable(self) -> Result<T, GroupError> {
        match self.settled.await {
            Ok(()) => Ok(self.what),
            Err(NotStored) => Err(GroupError::NotStored),
        }
    }
}

impl Pending {
    /// `take` extracts the answer that belongs to the command.
    pub async fn answer<T>(self, take: impl FnOnce(Answer) -> Option<T>) -> Result<T, GroupError> {
        let found = match self.said {
            Said::Now(found) => *found,
            // The sender is gone: the group was reloaded.
            Said::Later(waiting) => waiting.await.map_err(|_| GroupError::NotStored)?,
        };
        let Ok(answer) = found.when_durable().await else {
            // Reload the group now, so that its other waiting requests fail too.
            self.slots.tell(&self.group, |_| None);
            return Err(GroupError::NotStored);
        };
        Ok(take(answer).expect("a command is answered in its own kind"))
    }
}

impl Slot {
    fn new(name: Arc<str>, group: ClassicGroup) -> Slot {
        let state = State {
            group,
            parked: BTreeMap::new(),
            last: Settled::known(Ok(())),
            alarm: None,
            idle: None,
            gone: false,
        };
        Slot { name, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Waits until all of these are durable.
pub(super) async fn all_durable(unsettled: Vec<Settled>) -> Result<(), GroupError> {
    for settled in unsettled {
        settled.await.map_err(|NotStored| GroupError::NotStored)?;
    }
    Ok(())
}

/// The memory of an empty group: its name, here and in the kernel, and its entries in maps.
fn weight_of_slot(name: &str) -> isize {
    const SLOT: usize = 1408;
    (SLOT + 4 * name.len()).cast_signed()
}

/// Ignores poisoning. A panic only matters under a slot's lock, which is checked in `with`.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
