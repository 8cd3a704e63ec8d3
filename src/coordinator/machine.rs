//! The state machines that a [`Runtime`](super::runtime::Runtime) runs: one for each key. A machine decides;
//! it does not wait, lock, send or read a clock.
//!
//! A machine's state has two parts. The *kept* part is in the kernel and changes only through the changes
//! that a decision returns. *Soft* state (waiting requests, sessions, deadlines) may be lost at any time.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::time::Duration;

use super::reply::Answer;
use super::{Now, Settled};
use crate::types::Timestamp;

pub trait Machine: Default + Send + 'static {
    /// Names a machine.
    type Key: Clone + Ord + fmt::Debug + Send + Sync + 'static;
    /// Its state in the kernel.
    type Kept: Send + 'static;
    /// The epoch of its home. Soft state of another epoch is dropped.
    type Fence: Copy + PartialEq + fmt::Debug + Send + Sync + 'static;
    /// What it may see of the rest of the broker.
    type View: 'static;
    type Command: Send + 'static;
    /// A part of what the kernel applies.
    type Change: Send + 'static;

    /// A machine with the kernel's state. No request is waiting, and every deadline starts anew.
    fn restored(view: &Self::View, kept: Self::Kept, now: Duration) -> Restored<Self>;

    fn decide(&mut self, view: &Self::View, occasion: Occasion, command: Self::Command) -> Decision<Self>;

    /// The command of a deadline that has passed.
    fn tick() -> Self::Command;

    /// The command that deletes a machine to make room for others.
    fn delete() -> Self::Command;

    /// Whether requests find it. A machine that does not exist has no state.
    fn exists(&self) -> bool;

    /// Whether the kernel has a part of it.
    fn is_kept(&self) -> bool;

    /// Whether it can be deleted to make room, because its clients lose nothing that they need.
    fn is_dispensable(&self) -> bool;

    /// Whether the kernel has all of it, so that the slot can be unloaded.
    fn is_at_rest(&self) -> bool;

    /// The time of the next tick on the session clock. It may be too early, but never too late.
    fn next_deadline(&self) -> Option<Duration>;

    /// The approximate memory of a machine with this key.
    fn weigh(&self, key: &Self::Key) -> Weight;

    /// Drops all requests that wait.
    fn dismiss(&mut self);

    /// Says in the log that a decision could not be stored.
    fn warn_not_stored(key: &Self::Key);
}

/// The store, as the machines of one type see it.
pub trait Keeper<M: Machine>: Send + Sync + 'static {
    /// All machines in the published state of the kernel, ordered by key.
    fn all(&self) -> Vec<(M::Key, M::Kept)>;

    /// The published state of one machine.
    fn find(&self, key: &M::Key) -> Option<M::Kept>;

    /// The epoch of the machine's home; `None` if another broker is its home.
    fn home(&self, key: &M::Key) -> Option<M::Fence>;

    /// Queues the changes, which were decided on the version `after`. They stay together, after all earlier
    /// submits, and are published before they settle. Does not block.
    fn submit(&self, key: &M::Key, after: u64, changes: Vec<M::Change>) -> Settled;

    /// Whether a submit can succeed. Always `false` once the journal has failed.
    fn is_serving(&self) -> bool;

    /// The time for submitted commands, and the time for expiry.
    fn now(&self) -> Now;

    /// What a machine may see now.
    fn view(&self) -> M::View;
}

/// The times and limits of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// The wall clock, for times that are stored.
    pub wall: Timestamp,
    /// The session clock, for all deadlines. It stops while the journal is stalled.
    pub session: Duration,
    /// The number of bytes by which all machines together may still grow.
    pub room: usize,
}

/// The result of a command.
#[derive(Debug)]
pub struct Decision<M: Machine> {
    /// The version of the kept part that the changes were decided on.
    pub after: u64,
    /// The changes for the journal. They are already applied to the machine.
    pub changes: Vec<M::Change>,
    /// The answers that are given now. All other callers wait for a later decision.
    pub answers: Vec<Answer>,
    pub jobs: Vec<Job<M::Command>>,
    /// The change of the machine's weight.
    pub grown: isize,
    /// Whether long polls that watch the machine have to look again.
    pub wakes: bool,
}

/// A machine that was restored, and the jobs that it needs.
pub struct Restored<M: Machine> {
    pub machine: M,
    pub jobs: Vec<Job<M::Command>>,
}

/// Work that takes too long for a slot's lock. Its result is a command, which has to name the state that it
/// was computed on, because the machine may have changed meanwhile.
pub struct Job<C>(Box<dyn FnOnce() -> C + Send>);

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// The kernel's part.
    pub kept: usize,
    /// The slot's part, which is freed when the slot is unloaded.
    pub slot: usize,
}

impl<C> Job<C> {
    pub fn new(work: impl FnOnce() -> C + Send + 'static) -> Job<C> {
        Job(Box::new(work))
    }

    pub fn work(self) -> C {
        (self.0)()
    }
}

impl<C> fmt::Debug for Job<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("job")
    }
}

impl Weight {
    pub fn sum(self) -> usize {
        self.kept + self.slot
    }
}

impl Add for Weight {
    type Output = Weight;

    fn add(self, other: Weight) -> Weight {
        Weight { kept: self.kept + other.kept, slot: self.slot + other.slot }
    }
}

impl Sum for Weight {
    fn sum<I: Iterator<Item = Weight>>(all: I) -> Weight {
        all.fold(Weight::default(), Add::add)
    }
}

impl<M: Machine> From<M> for Restored<M> {
    fn from(machine: M) -> Restored<M> {
        Restored { machine, jobs: Vec::new() }
    }
}

impl<M: Machine> Default for Decision<M> {
    fn default() -> Decision<M> {
        let (changes, answers, jobs) = (Vec::new(), Vec::new(), Vec::new());
        Decision { after: 0, changes, answers, jobs, grown: 0, wakes: false }
    }
}
