//! The part of a store that the coordinators use, and the notification that records are durable.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use super::clocks::Now;
use crate::config::GroupSettings;
use crate::kernel::Groups;
use crate::kernel::group::{Change, KeptGroup};
use crate::kernel::offsets::Offsets;
use crate::types::{IgnorePoison, TopicId};

/// The groups' part of a store.
pub trait GroupStore: Send + Sync {
    /// The published groups: the kernel's state after the last round. A change is in it before its submit
    /// settles, and once it is as durable as the store's settings ask. Does not wait for a running round.
    fn groups(&self) -> Groups;

    /// One of the published groups.
    fn group(&self, name: &str) -> Option<KeptGroup>;

    /// The published offsets of a group; none if it does not exist.
    fn offsets(&self, group: &str) -> Offsets;

    /// The memory of the published groups.
    fn group_bytes(&self) -> usize;

    /// Queues changes of a group that were decided on its version `after`. All of them are one command, with a
    /// place in the queue when the call returns. The store makes it durable whether or not anyone waits for
    /// it. The commands of a group settle in the order of their submits. Does not block.
    fn submit(&self, group: &str, after: u64, changes: Vec<Change>) -> Settled;

    /// Whether a submit can succeed. Always `false` once the journal has failed.
    fn is_serving(&self) -> bool;

    /// The time for submitted commands, and the time for expiry.
    fn now(&self) -> Now;

    /// The published topics and settings.
    fn seen(&self) -> Arc<dyn Seen>;
}

/// The topics and settings at one time, as coordinators see them.
pub trait Seen: Send + Sync {
    /// The version. Topics or settings have changed only if the version is higher.
    fn version(&self) -> u64;

    /// All topics, ordered by name.
    fn topics(&self) -> Vec<SeenTopic<'_>>;

    /// `None` if the topic was deleted.
    fn topic(&self, id: TopicId) -> Option<SeenTopic<'_>>;

    /// The topic that has this name now.
    fn named(&self, name: &str) -> Option<SeenTopic<'_>>;

    /// The racks of the brokers with replicas of a partition, one for each that has a rack.
    fn racks(&self, topic: TopicId, partition: i32) -> Vec<&str>;

    fn settings(&self, group: &str) -> GroupSettings<'_>;
}

/// A topic as a coordinator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenTopic<'a> {
    pub id: TopicId,
    pub name: &'a str,
    pub partitions: usize,
}

/// The records were not made durable, or it is unknown whether they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStored;

/// A future that is ready once the submitted records are durable, or known not to be. Any number of tasks can
/// wait for it.
#[derive(Clone, Debug)]
pub struct Settled(Arc<Mutex<Settlement>>);

/// The store's end of a [`Settled`]. Dropping it without an outcome means [`NotStored`].
#[derive(Debug)]
pub struct Settler(Option<Arc<Mutex<Settlement>>>);

#[derive(Debug)]
enum Settlement {
    Open(Vec<Waker>),
    Known(Result<(), NotStored>),
}

impl Settled {
    pub fn pair() -> (Settler, Settled) {
        let outcome = Arc::new(Mutex::new(Settlement::Open(Vec::new())));
        (Settler(Some(outcome.clone())), Settled(outcome))
    }

    /// A settled outcome, for records that are durable already or were refused at once.
    pub fn known(result: Result<(), NotStored>) -> Settled {
        Settled(Arc::new(Mutex::new(Settlement::Known(result))))
    }

    /// The outcome, if it is known by now.
    pub fn peek(&self) -> Option<Result<(), NotStored>> {
        match *lock(&self.0) {
            Settlement::Open(_) => None,
            Settlement::Known(result) => Some(result),
        }
    }
}

impl Future for Settled {
    type Output = Result<(), NotStored>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *lock(&self.0) {
            Settlement::Known(result) => Poll::Ready(*result),
            Settlement::Open(waiting) => {
                if !waiting.iter().any(|known| known.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl Settler {
    pub fn settle(mut self, result: Result<(), NotStored>) {
        self.set(result);
    }

    fn set(&mut self, result: Result<(), NotStored>) {
        let Some(outcome) = self.0.take() else { return };
        let before = std::mem::replace(&mut *lock(&outcome), Settlement::Known(result));
        if let Settlement::Open(waiting) = before {
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.set(Err(NotStored));
    }
}

fn lock(outcome: &Mutex<Settlement>) -> MutexGuard<'_, Settlement> {
    outcome.lock().ignoring_poison()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_waiter_learns_the_outcome() {
        let (settler, settled) = Settled::pair();
        let early = tokio::spawn(settled.clone());
        tokio::task::yield_now().await;
        assert_eq!(settled.peek(), None);
        settler.settle(Ok(()));
        assert_eq!(early.await.unwrap(), Ok(()));
        assert_eq!(settled.await, Ok(()));
    }

    #[tokio::test]
    async fn a_store_that_goes_away_has_stored_nothing() {
        let (settler, settled) = Settled::pair();
        drop(settler);
        assert_eq!(settled.await, Err(NotStored));
    }
}
