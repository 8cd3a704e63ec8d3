//! What the coordinators need of a store, and how they learn that a record is durable.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::clocks::Now;
use crate::kernel::group::{Group, GroupRecord};
use crate::types::TopicId;

/// The groups' part of a store.
pub trait GroupStore: Send + Sync {
    /// Every group there is, at start.
    fn load(&self) -> Vec<(String, Arc<Group>)>;

    /// One group as the kernel has it now; after a submit that failed.
    fn reload(&self, group: &str) -> Option<Arc<Group>>;

    /// The records have their place in line when the call returns: all of them together, after all
    /// earlier submits. They are made durable whether or not anybody waits for it, and the records
    /// of one group settle in the order of their submits. Waits for nothing.
    fn submit(&self, group: &str, records: Vec<GroupRecord>) -> Settled;

    /// Whether a submit has any prospect. `false` for good once the journal has failed.
    fn is_serving(&self) -> bool;

    /// The time for submitted commands, and the time for expiry.
    fn now(&self) -> Now;

    /// What a topic is called; none once it is gone.
    fn topic_name(&self, topic: TopicId) -> Option<String>;
}

/// The records were not made durable, or nobody can say whether they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStored;

/// Becomes ready when what was submitted is durable, or is known not to be. Any number of waiters.
#[derive(Clone, Debug)]
pub struct Settled(Arc<Mutex<Outcome>>);

/// The store's end of a [`Settled`]. Dropped without a word it means [`NotStored`].
#[derive(Debug)]
pub struct Settler(Option<Arc<Mutex<Outcome>>>);

#[derive(Debug)]
enum Outcome {
    Open(Vec<Waker>),
    Known(Result<(), NotStored>),
}

impl Settled {
    pub fn pair() -> (Settler, Settled) {
        let outcome = Arc::new(Mutex::new(Outcome::Open(Vec::new())));
        (Settler(Some(outcome.clone())), Settled(outcome))
    }

    /// What is durable already, or was refused at once.
    pub fn known(result: Result<(), NotStored>) -> Settled {
        Settled(Arc::new(Mutex::new(Outcome::Known(result))))
    }

    /// The outcome, if it is known by now.
    pub fn peek(&self) -> Option<Result<(), NotStored>> {
        match *lock(&self.0) {
            Outcome::Open(_) => None,
            Outcome::Known(result) => Some(result),
        }
    }
}

impl Future for Settled {
    type Output = Result<(), NotStored>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *lock(&self.0) {
            Outcome::Known(result) => Poll::Ready(*result),
            Outcome::Open(waiting) => {
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
        self.tell(result);
    }

    fn tell(&mut self, result: Result<(), NotStored>) {
        let Some(outcome) = self.0.take() else { return };
        let before = std::mem::replace(&mut *lock(&outcome), Outcome::Known(result));
        if let Outcome::Open(waiting) = before {
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.tell(Err(NotStored));
    }
}

fn lock(outcome: &Mutex<Outcome>) -> MutexGuard<'_, Outcome> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
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
