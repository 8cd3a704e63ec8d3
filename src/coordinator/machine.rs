//! The state machines that a [`Runtime`](super::runtime::Runtime) runs: one for each key. A machine decides;
//! it does not wait, lock, send or read a clock.
//!
//! A machine's state has two parts. The *kept* part is a copy of state in the kernel, which changes only through
//! the changes that a decision returns. *Soft* state (waiting requests, sessions, deadlines) may be lost at any time.
//! State of the kernel that also changes in other ways is in the view.

use std::borrow::Borrow;
use std::fmt;
use std::time::Duration;

use super::Settled;
use super::reply::Answer;

pub trait Machine: Default + Send + 'static {
    /// Names a machine.
    type Key: Clone + Ord + Borrow<Self::Name> + fmt::Debug + Send + Sync + 'static;
    /// A borrowed key, so that a look-up needs no memory.
    type Name: Ord + ?Sized + 'static;
    /// Its state in the kernel.
    type KernelState: Send + 'static;
    /// The epoch of its home. Soft state of another epoch is dropped.
    type Fence: Copy + PartialEq + fmt::Debug + Send + Sync + 'static;
    /// The state of the rest of the broker that a decision may use.
    type View<'a>;
    type Command: Send + 'static;
    /// A part of what the kernel applies.
    type Change: Send + 'static;

    fn key(name: &Self::Name) -> Self::Key;

    /// A machine with the kernel's state. No request is waiting, and every deadline starts anew.
    fn restored(view: &Self::View<'_>, kept: Self::KernelState, now: Duration) -> Restored<Self>;

    fn decide(&mut self, view: &Self::View<'_>, occasion: Occasion, command: Self::Command)
    -> Decision<Self>;

    /// The command of a deadline that has passed.
    fn tick() -> Self::Command;

    /// The command that deletes a machine to make room for others.
    fn delete() -> Self::Command;

    /// Whether requests find it. A machine that does not exist has no state.
    fn exists(&self) -> bool;

    /// Whether the kernel has a part of it.
    fn is_kept(&self) -> bool;

    /// Whether no client uses it at present. It can be deleted to make room if it also has nothing beside it.
    fn is_unused(&self) -> bool;

    /// Whether the kernel has no state beside it that its clients need, once all of its records have settled.
    fn has_nothing_beside(&self, view: &Self::View<'_>) -> bool;

    /// Whether the kernel has all of it, so that the slot can be unloaded.
    fn is_at_rest(&self) -> bool;

    /// The time of the next tick on the session clock. It may be too early, but never too late.
    fn next_deadline(&self) -> Option<Duration>;

    /// The approximate memory of a slot with this machine, without the state in the kernel.
    fn weigh(&self, name: &Self::Name) -> usize;

    /// The approximate memory of a new machine, in the slot and in the kernel.
    fn weigh_new(name: &Self::Name) -> usize;

    /// Drops all requests that wait.
    fn dismiss(&mut self);

    /// Says in the log that a decision could not be stored.
    fn warn_not_stored(name: &Self::Name);
}

/// The store, as the machines of one type see it.
pub trait Keeper<M: Machine>: Send + Sync + 'static {
    /// All machines in the published state of the kernel, ordered by key.
    fn all(&self) -> Vec<(M::Key, M::KernelState)>;

    /// The published state of one machine.
    fn find(&self, name: &M::Name) -> Option<M::KernelState>;

    /// The number of machines in the published state.
    fn count(&self) -> usize;

    /// The memory of the published state of all machines.
    fn bytes(&self) -> usize;

    /// The epoch of the machine's home; `None` if another broker is its home.
    fn home(&self, name: &M::Name) -> Option<M::Fence>;

    /// Queues the changes, which were decided on the version `after`. They stay together, after all earlier
    /// submits, and are published before they settle. Does not block.
    fn submit(&self, name: &M::Name, after: u64, changes: Vec<M::Change>) -> Settled;

    /// Whether a submit can succeed. Always `false` once the journal has failed.
    fn is_serving(&self) -> bool;

    /// The view of this machine. It costs next to nothing until it is used.
    fn view<'a>(&'a self, name: &'a M::Name) -> M::View<'a>;
}

/// The time and the limits of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// The session clock, for all deadlines. It stops while the journal is stalled.
    pub session: Duration,
    /// The number of bytes by which all machines together may still grow.
    pub room: usize,
    /// Whether the view shows all that was decided before: the last record has settled.
    pub settled: bool,
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
    /// The memory by which the changes make the kernel's state grow, approximately. It is counted until they have
    /// settled.
    pub grown: isize,
    /// Whether soft state grew or shrank although there are no changes, so that the slot has to be weighed.
    pub resized: bool,
    /// Whether long polls that watch the machine have to look again.
    pub wakes: bool,
}

/// A machine that was restored, and the jobs that it needs.
pub struct Restored<M: Machine> {
    pub machine: M,
    pub jobs: Vec<Job<M::Command>>,
}

/// Work that takes too long for a slot's lock. Its result is a command, which has to name the state that it
/// was computed on, because the machine may have changed meanwhile. A machine has one waiting job: a newer one
/// replaces it.
pub struct Job<C> {
    bytes: usize,
    work: Box<dyn FnOnce() -> C + Send>,
}

impl<C> Job<C> {
    /// `bytes` is the memory that it takes until it is done.
    pub fn new(bytes: usize, work: impl FnOnce() -> C + Send + 'static) -> Job<C> {
        Job { bytes, work: Box::new(work) }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn work(self) -> C {
        (self.work)()
    }
}

impl<C> fmt::Debug for Job<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("job")
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
        Decision { after: 0, changes, answers, jobs, grown: 0, resized: false, wakes: false }
    }
}
