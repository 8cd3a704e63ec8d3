//! Runs the machines of one type: each in a slot with its own lock, its alarm and its watchers, and all of
//! them within one memory limit.
//!
//! A slot is a place for soft state. A machine without a slot is in the kernel, or does not exist; its slot
//! is loaded when a command comes, and unloaded a while after the kernel has all of it.
//!
//! The kernel's state is read as it is published, without waiting for a round. What is published is durable, and
//! a record is published before it settles. A slot stays until its last record has settled. So the published state
//! has all of a machine that has no slot, and all of one whose last record has settled.
//!
//! Lock order: the map of slots, a slot, then the small locks (alarms, idle machines, jobs, the session
//! clock) and the store. No code waits while it holds one.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::idle::Idle;
use super::jobs::Jobs;
use super::machine::{Job, Keeper, Machine, Occasion, Restored};
use super::reply::{AwaitedAnswer, Reply, SettledAnswer};
use super::session_clock::{Growth, SessionClock, SessionMoment};
use super::{NotStored, Settled};
use crate::storage::{ChangeSignal, Waiter, Waiters};
use crate::time::Clock;
use crate::types::IgnorePoison;

/// The delay before checking again whether the last record of a slot is durable.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a slot stays after the last change. Clients that commit offsets come back every few seconds.
const REST: Duration = Duration::from_mins(1);

/// How many alarms ring before others get their turn on this thread.
const ALARMS_AT_ONCE: usize = 1000;

/// The number of idle machines that are tried to free memory.
const CANDIDATES: usize = 8;

/// The number of threads that may work on jobs.
const WORKERS: usize = 2;

pub(super) struct Runtime<M: Machine> {
    keeper: Box<dyn Keeper<M>>,
    limits: Limits,
    clock: Clock,
    session: SessionClock,
    slots: RwLock<Slots<M>>,
    /// The slots by the time of their next alarm.
    alarms: Mutex<BTreeSet<(Duration, M::Key)>>,
    alarm_moved: Notify,
    /// The dispensable machines.
    idle: Mutex<Idle<M::Key>>,
    jobs: Jobs<M::Key, M::Command>,
    workers: AtomicUsize,
    /// The memory of all slots.
    slot_bytes: AtomicUsize,
    /// The number of machines that only their slots have, not the kernel.
    unkept: AtomicUsize,
    /// The last number of a caller or of a machine that became idle.
    numbers: AtomicU64,
    /// Something was decided.
    changes: ChangeSignal,
}

/// The limits of all machines together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Over it a dispensable machine is deleted for a new one. If there is none, the new one is refused.
    pub machines: usize,
    /// Over it, requests that need more memory are refused.
    pub bytes: usize,
}

/// The outcome of a command to a machine that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    Create,
    Refuse,
}

/// The reasons why the runtime does not serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unserved {
    Absent,
    /// Another broker is the machine's home, or this one in another epoch.
    NotHome,
    /// All machines together have reached their memory limit.
    NoRoom,
    /// The change cannot be stored at present, or it is unknown whether it was stored.
    NotStored,
}

/// A request whose command is decided or waits in its machine.
pub(super) struct PendingCommand<M: Machine, A> {
    runtime: Arc<Runtime<M>>,
    slot: Arc<Slot<M>>,
    awaited: AwaitedAnswer<A>,
}

/// A machine that was found: in its slot, or as it was in the kernel.
pub(super) enum FoundMachine<M: Machine> {
    Slot(Arc<Slot<M>>),
    Kept(M::Key, M),
}

/// A job that a thread has taken. When it is dropped, the next job of its key may begin.
pub(super) struct RunningJob<M: Machine> {
    runtime: Arc<Runtime<M>>,
    key: M::Key,
    job: Option<Job<M::Command>>,
}

struct Slots<M: Machine> {
    by_key: BTreeMap<M::Key, Arc<Slot<M>>>,
    /// How many slots were removed so far.
    removed: u64,
}

pub(super) struct Slot<M: Machine> {
    key: M::Key,
    state: Mutex<State<M>>,
}

struct State<M: Machine> {
    machine: M,
    fence: M::Fence,
    /// The state of the last record that was submitted. Earlier ones have settled before it.
    last: Settled,
    /// A decision panicked, so the machine may be incomplete.
    broken: bool,
    /// When it was; `None` if the machine has not changed since it was loaded.
    changed: Option<Duration>,
    alarm: Option<Duration>,
    /// Its part of [`Runtime::slot_bytes`].
    bytes: usize,
    /// Its number in the list of idle machines.
    idle: Option<u64>,
    watchers: Waiters,
    /// The reason for dropping the requests that were waiting.
    dropped: Unserved,
    /// Whether it is counted in [`Runtime::unkept`].
    unkept: bool,
    /// No longer in the map. A thread that still holds it has to look it up again.
    gone: bool,
}

impl<M: Machine> Runtime<M> {
    /// A runtime with slots for those machines that cannot do without.
    pub fn load(keeper: Box<dyn Keeper<M>>, limits: Limits, clock: Clock) -> Runtime<M> {
        let runtime = Runtime {
            session: SessionClock::new(clock.clone()),
            keeper,
            limits,
            clock,
            slots: RwLock::new(Slots { by_key: BTreeMap::new(), removed: 0 }),
            alarms: Mutex::default(),
            alarm_moved: Notify::new(),
            idle: Mutex::default(),
            jobs: Jobs::new(),
            workers: AtomicUsize::new(0),
            slot_bytes: AtomicUsize::new(0),
            unkept: AtomicUsize::new(0),
            numbers: AtomicU64::new(0),
            changes: ChangeSignal::default(),
        };
        runtime.load_active(runtime.keeper.all());
        runtime
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn is_serving(&self) -> bool {
        self.keeper.is_serving()
    }

    /// Resolves after the next decision about any machine, as [`ChangeSignal::next`] does.
    pub fn changed(&self) -> impl Future<Output = ()> {
        self.changes.next()
    }

    /// Decides a command of a client.
    pub fn ask<A: Send + 'static>(
        self: &Arc<Runtime<M>>,
        name: &M::Name,
        absent: Absent,
        command: impl FnOnce(Reply<A>) -> M::Command,
    ) -> Result<PendingCommand<M, A>, Unserved> {
        if !self.is_serving() {
            return Err(Unserved::NotStored);
        }
        let at = self.session.look();
        self.keep_some_room(at);
        let (reply, awaited) = Reply::pair(self.next_number());
        let slot = self.with(name, absent, at, |slot, state| {
            self.decide(slot, state, at, command(reply));
            Arc::clone(slot)
        })?;
        Ok(PendingCommand { runtime: self.clone(), slot, awaited })
    }

    /// Decides a command of our own, if there is one for the machine.
    pub fn command(&self, name: &M::Name, command: impl FnOnce(&M) -> Option<M::Command>) {
        let at = self.session.look();
        // An error means that there is nothing to do: the machine does not exist here.
        let _ = self.with(name, Absent::Refuse, at, |slot, state| {
            if let Some(command) = command(&state.machine).filter(|_| self.is_serving()) {
                self.decide(slot, state, at, command);
            }
        });
    }

    /// The last record of the machine, if it has not settled. Once it has, the published state is what the
    /// machine was when this was called, or newer.
    pub fn unsettled(&self, name: &M::Name) -> Result<Option<Settled>, Unserved> {
        if !self.is_serving() {
            return Err(Unserved::NotStored);
        }
        self.keeper.home(name).ok_or(Unserved::NotHome)?;
        let last = self.slot(name).map(|slot| slot.lock().last.clone());
        Ok(last.filter(|last| last.peek().is_none()))
    }

    /// Reads from a machine without changing it. The answer that it no longer exists also waits until that
    /// is durable.
    pub fn read<T>(
        &self,
        name: &M::Name,
        read: impl FnOnce(&M) -> T,
    ) -> Result<SettledAnswer<Option<T>>, Unserved> {
        if !self.is_serving() {
            return Err(Unserved::NotStored);
        }
        if self.keeper.home(name).is_some()
            && let Some(found) = self.kept_without_slot(name)
        {
            return Ok(SettledAnswer { answer: found.as_ref().map(read), settled: None });
        }
        let found = self.with(name, Absent::Refuse, self.session.look(), |_, state| {
            let answer = state.machine.exists().then(|| read(&state.machine));
            SettledAnswer { answer, settled: Some(state.last.clone()) }
        });
        match found {
            Err(Unserved::Absent) => Ok(SettledAnswer { answer: None, settled: None }),
            found => found,
        }
    }

    /// Reads from a machine for internal use, without waiting until the state is durable.
    pub fn peek<T>(&self, name: &M::Name, read: impl FnOnce(&M) -> T) -> Option<T> {
        match self.slot(name) {
            Some(slot) => Some(read(&slot.lock().machine)),
            None => {
                let kept = self.keeper.find(name)?;
                Some(read(&self.restored(name, kept, self.session.now()).machine))
            }
        }
    }

    /// Wakes `waiter` at the next decision that says so. Fails if the machine does not exist here.
    #[cfg_attr(not(test), expect(dead_code, reason = "no kind of group has long polls yet"))]
    pub fn watch(&self, name: &M::Name, waiter: &Arc<Waiter>) -> Result<(), Unserved> {
        self.with(name, Absent::Refuse, self.session.look(), |_, state| state.watchers.add(waiter))
    }

    /// All machines, ordered by key.
    pub fn all(&self) -> Vec<FoundMachine<M>> {
        // The slots first: the kernel has all of a machine whose slot is gone by now.
        let slots = self.all_slots();
        let mut kept: BTreeMap<M::Key, M::KernelState> = self.keeper.all().into_iter().collect();
        slots.iter().for_each(|slot| drop(kept.remove::<M::Key>(&slot.key)));
        let now = self.session.now();
        let kept = kept.into_iter().map(|(key, kept)| {
            let machine = self.restored(key.borrow(), kept, now).machine;
            (key.clone(), FoundMachine::Kept(key, machine))
        });
        let mut found: BTreeMap<M::Key, FoundMachine<M>> = kept.collect();
        found.extend(slots.into_iter().map(|slot| (slot.key.clone(), FoundMachine::Slot(slot))));
        let are_here = found.into_iter().filter(|(key, _)| self.keeper.home(key.borrow()).is_some());
        are_here.map(|(_, found)| found).collect()
    }

    pub fn keys(&self) -> BTreeSet<M::Key> {
        let kept = self.keeper.all().into_iter().map(|(key, _)| key);
        kept.chain(self.slots().by_key.keys().cloned()).collect()
    }

    /// Fires the alarms that are due. Returns the time until the next one.
    pub fn ring(&self) -> Option<Duration> {
        if !self.is_serving() {
            // The store has failed, so nobody who waits can ever be answered.
            self.all_slots().iter().for_each(|slot| slot.lock().machine.dismiss());
            return Some(LOOK_AGAIN);
        }
        let now = self.session.now();
        let due: Vec<M::Key> = lock(&self.alarms)
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(ALARMS_AT_ONCE)
            .map(|(_, key)| key.clone())
            .collect();
        for key in due {
            self.command(key.borrow(), |_| Some(M::tick()));
        }
        let now = self.session.now();
        lock(&self.alarms).first().map(|(at, _)| at.saturating_sub(now))
    }

    /// Homes have changed: drops the soft state of machines that have another home or epoch now, and loads
    /// those that have to be looked after here.
    #[cfg_attr(not(test), expect(dead_code, reason = "a group always has its home in this process"))]
    pub fn rehome(&self) {
        for slot in self.all_slots() {
            let fence = slot.lock().fence;
            if self.keeper.home(slot.name()) != Some(fence) {
                self.give_up(&slot, self.session.look());
            }
        }
        self.load_active(self.keeper.all());
    }

    /// Fires the alarms that are due since a test turned the clock forward.
    pub fn clock_turned(&self) {
        while self.ring() == Some(Duration::ZERO) {}
        self.alarm_moved.notify_one();
    }

    /// Ready when the next alarm is earlier than it was.
    pub async fn alarm_moved(&self) {
        self.alarm_moved.notified().await;
    }

    /// Ready when [`Runtime::start_workers`] may have something to do.
    pub async fn jobs_ready(&self) {
        self.jobs.ready().await;
    }

    /// Gives the waiting jobs to threads of their own.
    pub fn start_workers(self: &Arc<Runtime<M>>) {
        let one_more = |workers: usize| (workers < WORKERS).then_some(workers + 1);
        while self.workers.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok() {
            let Some(first) = self.take_job() else {
                self.workers.fetch_sub(1, Ordering::AcqRel);
                return;
            };
            let works = Works(Arc::clone(self));
            tokio::task::spawn_blocking(move || {
                first.finish();
                while let Some(next) = works.0.take_job() {
                    next.finish();
                }
            });
        }
    }

    pub fn take_job(self: &Arc<Runtime<M>>) -> Option<RunningJob<M>> {
        let (key, job) = self.jobs.take()?;
        Some(RunningJob { runtime: self.clone(), key, job: Some(job) })
    }

    /// The memory that all machines take.
    pub fn held(&self) -> usize {
        self.held_at(self.session.look())
    }

    /// The memory in the kernel, that of records on their way there, and that of slots and jobs.
    fn held_at(&self, at: SessionMoment) -> usize {
        let there = self.keeper.bytes().saturating_add_signed(at.in_flight.bytes);
        there + self.slot_bytes.load(Ordering::Relaxed) + self.jobs.bytes()
    }

    /// The number of machines: those in the kernel, those on their way there, and those that only a slot has.
    pub fn count(&self) -> usize {
        let in_flight = self.session.look().in_flight.machines;
        self.keeper.count().saturating_add_signed(in_flight) + self.unkept.load(Ordering::Relaxed)
    }

    fn decide(&self, slot: &Slot<M>, state: &mut State<M>, at: SessionMoment, command: M::Command) {
        let settled = state.last.peek() == Some(Ok(()));
        let occasion = Occasion { session: at.now, room: self.room(at), settled };
        let was_kept = state.machine.is_kept();
        let decision = state.machine.decide(&self.keeper.view(slot.name()), occasion, command);
        if decision.resized || !decision.changes.is_empty() {
            self.weigh(slot, state);
        }
        if !decision.changes.is_empty() {
            state.last = self.keeper.submit(slot.name(), decision.after, decision.changes);
            state.changed = Some(at.now);
            let machines = isize::from(state.machine.is_kept()) - isize::from(was_kept);
            self.session.submitted(&state.last, Growth { machines, bytes: decision.grown });
        }
        decision.answers.into_iter().for_each(|answer| answer.send(&state.last));
        decision.jobs.into_iter().for_each(|job| self.jobs.push(&slot.key, job));
        if decision.wakes {
            state.watchers.wake_all();
        }
        self.changes.happened();
    }

    /// Finds, loads or creates the machine and acts on it under its lock.
    fn with<T>(
        &self,
        name: &M::Name,
        absent: Absent,
        at: SessionMoment,
        act: impl FnOnce(&Arc<Slot<M>>, &mut State<M>) -> T,
    ) -> Result<T, Unserved> {
        loop {
            let Some(fence) = self.keeper.home(name) else {
                if let Some(slot) = self.slot(name) {
                    self.give_up(&slot, at);
                }
                return Err(Unserved::NotHome);
            };
            let slot = self.find(name, absent, fence, at)?;
            let mut state = slot.lock();
            if state.gone {
                continue;
            }
            if state.fence != fence {
                drop(state);
                if !self.give_up(&slot, at) {
                    // Its records of the earlier epoch are still on their way.
                    return Err(Unserved::NotHome);
                }
                continue;
            }
            self.mend(&slot, &mut state, at)?;
            let done = act(&slot, &mut state);
            let looks_soon = self.note(&slot, &mut state, at);
            let may_go = self.may_go(&slot, &mut state, at, looks_soon);
            drop(state);
            if may_go {
                self.unload(&slot, at);
            }
            return Ok(done);
        }
    }

    /// Restores the machine from the kernel if its last decision was not stored, or panicked. Fails while the
    /// kernel may lack earlier records of a machine that has to be restored.
    fn mend(&self, slot: &Slot<M>, state: &mut State<M>, at: SessionMoment) -> Result<(), Unserved> {
        if slot.state.is_poisoned() {
            slot.state.clear_poison();
            state.broken = true;
        }
        match state.last.peek() {
            Some(Err(NotStored)) => {}
            Some(Ok(())) if state.broken => {}
            None if state.broken => {
                self.has_come(slot, state, at.now + LOOK_AGAIN, at);
                return Err(Unserved::NotStored);
            }
            Some(Ok(())) | None => return Ok(()),
        }
        state.broken = false;
        M::warn_not_stored(slot.name());
        state.dropped = Unserved::NotStored;
        let kept = self.keeper.find(slot.name());
        let restored = kept.map(|kept| self.restored(slot.name(), kept, at.now));
        state.machine = restored.map(|restored| self.begin(&slot.key, restored)).unwrap_or_default();
        self.weigh(slot, state);
        state.last = Settled::known(Ok(()));
        state.watchers.wake_all();
        Ok(())
    }

    /// The memory by which all machines together may still grow.
    fn room(&self, at: SessionMoment) -> usize {
        self.limits.bytes.saturating_sub(self.held_at(at))
    }

    /// Counts the memory of the slot again.
    fn weigh(&self, slot: &Slot<M>, state: &mut State<M>) {
        let bytes = state.machine.weigh(slot.name());
        let before = std::mem::replace(&mut state.bytes, bytes);
        if bytes > before {
            self.slot_bytes.fetch_add(bytes - before, Ordering::Relaxed);
        } else if bytes < before {
            self.slot_bytes.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn all_slots(&self) -> Vec<Arc<Slot<M>>> {
        self.slots().by_key.values().cloned().collect()
    }

    fn slot(&self, name: &M::Name) -> Option<Arc<Slot<M>>> {
        self.slots().by_key.get(name).cloned()
    }

    /// The machine in the kernel, if it has no slot; `Some(None)` if it does not exist at all.
    fn kept_without_slot(&self, name: &M::Name) -> Option<Option<M>> {
        if self.slot(name).is_some() {
            return None;
        }
        let kept = self.keeper.find(name);
        if self.slot(name).is_some() {
            return None;
        }
        // There is no slot even now, so that was all of it.
        Some(kept.map(|kept| self.restored(name, kept, self.session.now()).machine))
    }

    fn restored(&self, name: &M::Name, kept: M::KernelState, now: Duration) -> Restored<M> {
        M::restored(&self.keeper.view(name), kept, now)
    }

    /// The machine for a slot. Its jobs begin.
    fn begin(&self, key: &M::Key, restored: Restored<M>) -> M {
        restored.jobs.into_iter().for_each(|job| self.jobs.push(key, job));
        restored.machine
    }

    /// The slot of the key: as it is, else loaded from the kernel, else new.
    fn find(
        &self,
        name: &M::Name,
        absent: Absent,
        fence: M::Fence,
        at: SessionMoment,
    ) -> Result<Arc<Slot<M>>, Unserved> {
        loop {
            let removed = {
                let slots = self.slots();
                if let Some(slot) = slots.by_key.get(name) {
                    return Ok(slot.clone());
                }
                slots.removed
            };
            let kept = self.keeper.find(name);
            if kept.is_none() && absent == Absent::Refuse {
                return Err(Unserved::Absent);
            }
            let restored = kept.map(|kept| self.restored(name, kept, at.now));
            let mut slots = self.slots_mut();
            if let Some(slot) = slots.by_key.get(name) {
                return Ok(slot.clone());
            }
            if slots.removed != removed {
                // It may have had a slot meanwhile, which changed it.
                continue;
            }
            let key = M::key(name);
            let slot = match restored {
                Some(restored) => self.loaded(key, restored, fence),
                None => self.created(&mut slots, key, fence, at)?,
            };
            slots.by_key.insert(slot.key.clone(), slot.clone());
            return Ok(slot);
        }
    }

    fn loaded(&self, key: M::Key, restored: Restored<M>, fence: M::Fence) -> Arc<Slot<M>> {
        let machine = self.begin(&key, restored);
        self.slot_of(key, machine, fence)
    }

    fn created(
        &self,
        slots: &mut Slots<M>,
        key: M::Key,
        fence: M::Fence,
        at: SessionMoment,
    ) -> Result<Arc<Slot<M>>, Unserved> {
        let is_full = self.count() >= self.limits.machines || self.room(at) < M::weigh_new(key.borrow());
        if is_full && !self.make_room(slots, at) {
            return Err(Unserved::NoRoom);
        }
        let slot = self.slot_of(key, M::default(), fence);
        // Also before its first command, so that others that are created meanwhile keep to the limit.
        self.set_unkept(&mut slot.lock(), true);
        Ok(slot)
    }

    fn slot_of(&self, key: M::Key, machine: M, fence: M::Fence) -> Arc<Slot<M>> {
        let slot = Slot::new(key, machine, fence);
        self.weigh(&slot, &mut slot.lock());
        slot
    }

    /// Loads the machines that have deadlines or could make room for others, because nothing else would look
    /// after them.
    fn load_active(&self, kept: Vec<(M::Key, M::KernelState)>) {
        let at = self.session.look();
        for (key, kept) in kept {
            let name = key.borrow();
            if self.keeper.home(name).is_none() {
                continue;
            }
            let machine = self.restored(name, kept, at.now).machine;
            let is_dispensable = machine.is_unused() && machine.has_nothing_beside(&self.keeper.view(name));
            if is_dispensable || !machine.is_at_rest() {
                let _ = self.with(name, Absent::Refuse, at, |_, _| ());
            }
        }
    }

    /// Deletes an idle machine when memory gets short, because others need it. As long as the idle ones take no more
    /// than what is left, they stay: a newcomer that has got its id has to find its group again.
    fn keep_some_room(&self, at: SessionMoment) {
        let room = self.room(at);
        if room < self.limits.bytes / 8 && lock(&self.idle).bytes() > room {
            self.make_room(&mut self.slots_mut(), at);
        }
    }

    /// Deletes one of the dispensable machines. Returns whether it found one.
    fn make_room(&self, slots: &mut Slots<M>, at: SessionMoment) -> bool {
        let candidates = lock(&self.idle).first(CANDIDATES);
        for key in candidates {
            let Some(slot) = slots.by_key.get::<M::Key>(&key).cloned() else { continue };
            let mut state = slot.lock();
            self.decide(&slot, &mut state, at, M::delete());
            if state.machine.exists() {
                continue;
            }
            self.no_longer_idle(&slot, &mut state);
            self.count_unkept(&mut state);
            if self.may_go(&slot, &mut state, at, true) {
                self.take_out(slots, &slot, &mut state);
            }
            return true;
        }
        false
    }

    /// Removes the slot, if it may go even now.
    fn unload(&self, slot: &Slot<M>, at: SessionMoment) {
        let mut slots = self.slots_mut();
        let mut state = slot.lock();
        if !state.gone && self.may_go(slot, &mut state, at, false) {
            self.take_out(&mut slots, slot, &mut state);
        }
    }

    /// Whether the slot can be removed: the kernel has all of the machine, that is durable, and the machine
    /// has not changed for a while. If only time is missing, an alarm looks again; soon, if it has to be known when
    /// the last record has settled.
    fn may_go(&self, slot: &Slot<M>, state: &mut State<M>, at: SessionMoment, looks_soon: bool) -> bool {
        let exists = state.machine.exists();
        // A dispensable machine has a slot so that it can make room.
        if exists && (state.idle.is_some() || !state.machine.is_at_rest()) {
            return false;
        }
        let rested = state.changed.filter(|_| exists).map_or(Duration::ZERO, |changed| changed + REST);
        let due = match state.is_settled() {
            true => rested,
            false if looks_soon => at.now + LOOK_AGAIN,
            // A client that commits again and again moves no alarm.
            false => rested.max(at.now + LOOK_AGAIN),
        };
        self.has_come(slot, state, due, at)
    }

    /// Whether it is that time. If not, an alarm rings then.
    fn has_come(&self, slot: &Slot<M>, state: &mut State<M>, due: Duration, at: SessionMoment) -> bool {
        if due > at.now && state.alarm.is_none_or(|alarm| alarm <= at.now || due < alarm) {
            self.set_alarm(slot, state, Some(due));
        }
        due <= at.now
    }

    /// Drops the soft state of a machine whose home or epoch changed. Returns whether its slot is gone; it
    /// stays as long as its last record has not settled.
    fn give_up(&self, slot: &Slot<M>, at: SessionMoment) -> bool {
        let mut slots = self.slots_mut();
        let mut state = slot.lock();
        if state.gone {
            return true;
        }
        // A broken machine needs no repair any more.
        let _ = self.mend(slot, &mut state, at);
        state.dropped = Unserved::NotHome;
        state.machine.dismiss();
        state.watchers.wake_all();
        let settled = state.is_settled();
        if settled {
            self.take_out(&mut slots, slot, &mut state);
        } else {
            self.has_come(slot, &mut state, at.now + LOOK_AGAIN, at);
        }
        settled
    }

    /// Removes the slot.
    fn take_out(&self, slots: &mut Slots<M>, slot: &Slot<M>, state: &mut State<M>) {
        self.set_unkept(state, false);
        self.slot_bytes.fetch_sub(std::mem::take(&mut state.bytes), Ordering::Relaxed);
        state.gone = true;
        self.set_alarm(slot, state, None);
        self.no_longer_idle(slot, state);
        slots.by_key.remove::<M::Key>(&slot.key);
        slots.removed += 1;
    }

    /// Updates the number of machines that only their slots have.
    fn count_unkept(&self, state: &mut State<M>) {
        let unkept = state.machine.exists() && !state.machine.is_kept();
        self.set_unkept(state, unkept);
    }

    fn set_unkept(&self, state: &mut State<M>, unkept: bool) {
        match (std::mem::replace(&mut state.unkept, unkept), unkept) {
            (false, true) => drop(self.unkept.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.unkept.fetch_sub(1, Ordering::Relaxed)),
            (true, true) | (false, false) => {}
        }
    }

    /// Updates the slot's alarm and its place in the list of idle machines. Returns whether that place will be known
    /// when the last record has settled.
    fn note(&self, slot: &Slot<M>, state: &mut State<M>, at: SessionMoment) -> bool {
        self.count_unkept(state);
        let next = state.machine.next_deadline();
        let wrong = match (state.alarm, next) {
            (None, next) => next.is_some(),
            // A later deadline is noticed when the alarm fires, so heartbeats move no alarm.
            (Some(alarm), next) => alarm <= at.now || next.is_some_and(|next| next < alarm),
        };
        if wrong {
            self.set_alarm(slot, state, next);
        }
        let is_dispensable = self.is_dispensable(slot, state);
        if is_dispensable == Some(true) {
            let number = *state.idle.get_or_insert_with(|| self.next_number());
            lock(&self.idle).set(number, &slot.key, state.bytes);
        } else {
            self.no_longer_idle(slot, state);
        }
        is_dispensable.is_none()
    }

    /// Whether the machine can be deleted to make room. `None` if that is known only when its last record has
    /// settled.
    fn is_dispensable(&self, slot: &Slot<M>, state: &State<M>) -> Option<bool> {
        if !state.machine.is_unused() {
            return Some(false);
        }
        // First, so that what is published is not older.
        let settled = state.is_settled();
        let has_nothing = state.machine.has_nothing_beside(&self.keeper.view(slot.name()));
        (settled || !has_nothing).then_some(has_nothing)
    }

    fn no_longer_idle(&self, slot: &Slot<M>, state: &mut State<M>) {
        if let Some(number) = state.idle.take() {
            lock(&self.idle).remove(number, &slot.key);
        }
    }

    fn set_alarm(&self, slot: &Slot<M>, state: &mut State<M>, at: Option<Duration>) {
        let mut alarms = lock(&self.alarms);
        if let Some(before) = state.alarm.take() {
            alarms.remove(&(before, slot.key.clone()));
        }
        let Some(at) = at else { return };
        state.alarm = Some(at);
        let is_first = alarms.first().is_none_or(|(first, _)| at < *first);
        alarms.insert((at, slot.key.clone()));
        if is_first {
            self.alarm_moved.notify_one();
        }
    }

    fn slots(&self) -> RwLockReadGuard<'_, Slots<M>> {
        self.slots.read().ignoring_poison()
    }

    fn slots_mut(&self) -> RwLockWriteGuard<'_, Slots<M>> {
        self.slots.write().ignoring_poison()
    }
}

impl<M: Machine, A> PendingCommand<M, A> {
    pub async fn answer(self) -> Result<A, Unserved> {
        let Ok(SettledAnswer { answer, settled }) = self.awaited.await else {
            return Err(self.slot.lock().dropped);
        };
        if let Some(settled) = settled
            && settled.await.is_err()
        {
            // Restore the machine now, so that its other waiting requests fail too.
            self.runtime.command(self.slot.name(), |_| None);
            return Err(Unserved::NotStored);
        }
        Ok(answer)
    }
}

impl<A> SettledAnswer<A> {
    /// The answer, once it may be sent.
    pub(super) async fn when_durable(self) -> Result<A, Unserved> {
        if let Some(settled) = self.settled {
            settled.await.map_err(|NotStored| Unserved::NotStored)?;
        }
        Ok(self.answer)
    }
}

impl<M: Machine> FoundMachine<M> {
    /// Reads from the machine. `Settled` is `None` if all its records are durable.
    pub fn read<T>(&self, read: impl FnOnce(&M::Key, &M, Option<&Settled>) -> T) -> T {
        match self {
            FoundMachine::Kept(key, machine) => read(key, machine, None),
            FoundMachine::Slot(slot) => {
                let state = slot.lock();
                let unsettled = Some(&state.last).filter(|last| last.peek() != Some(Ok(())));
                read(&slot.key, &state.machine, unsettled)
            }
        }
    }
}

impl<M: Machine> RunningJob<M> {
    /// Works, and gives the result to the machine.
    pub fn finish(mut self) {
        if let Some(job) = self.job.take() {
            let command = job.work();
            self.runtime.command(self.key.borrow(), |_| Some(command));
        }
    }
}

impl<M: Machine> Drop for RunningJob<M> {
    fn drop(&mut self) {
        self.runtime.jobs.done(&self.key);
    }
}

/// A thread that works on jobs.
struct Works<M: Machine>(Arc<Runtime<M>>);

impl<M: Machine> Drop for Works<M> {
    fn drop(&mut self) {
        self.0.workers.fetch_sub(1, Ordering::AcqRel);
        // A job may have come since this thread looked for one.
        self.0.jobs.look_again();
    }
}

impl<M: Machine> Slot<M> {
    fn new(key: M::Key, machine: M, fence: M::Fence) -> Arc<Slot<M>> {
        let state = State {
            machine,
            fence,
            last: Settled::known(Ok(())),
            broken: false,
            changed: None,
            alarm: None,
            bytes: 0,
            idle: None,
            watchers: Waiters::default(),
            dropped: Unserved::NotStored,
            unkept: false,
            gone: false,
        };
        Arc::new(Slot { key, state: Mutex::new(state) })
    }

    fn name(&self) -> &M::Name {
        self.key.borrow()
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        lock(&self.state)
    }
}

impl<M: Machine> State<M> {
    /// Whether the last record is durable and no long poll watches the slot.
    fn is_settled(&self) -> bool {
        self.last.peek() == Some(Ok(())) && self.watchers.is_empty()
    }
}

/// Ignores poisoning. A panic only matters under a slot's lock, which is checked in `mend`.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().ignoring_poison()
}

#[cfg(test)]
mod tests;
