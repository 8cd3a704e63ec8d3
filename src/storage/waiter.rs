//! The waiters of long polls. A long poll registers its waiter with every partition that it reads, and the
//! first one that changes wakes it. There is no timer.

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::sync::Notify;

use crate::types::IgnorePoison;

/// One waiting request. A wake-up before [`Waiter::woken`] is called is not lost. So register first, then
/// check the partitions, then wait.
#[derive(Default)]
pub struct Waiter {
    notify: Notify,
}

impl Waiter {
    pub fn new() -> Arc<Waiter> {
        Arc::default()
    }

    pub async fn woken(&self) {
        self.notify.notified().await;
    }

    pub fn wake(&self) {
        self.notify.notify_one();
    }
}

/// The waiters of one partition or of a coordinator's slot. Waiters that gave up are removed
/// when the list would have to grow.
#[derive(Default)]
pub struct Waiters(Mutex<Vec<Weak<Waiter>>>);

impl Waiters {
    pub fn add(&self, waiter: &Arc<Waiter>) {
        let mut waiting = self.0.lock().ignoring_poison();
        if waiting.len() == waiting.capacity() {
            waiting.retain(|waiter| waiter.strong_count() > 0);
        }
        waiting.push(Arc::downgrade(waiter));
    }

    pub fn is_empty(&self) -> bool {
        let waiting = self.0.lock().ignoring_poison();
        waiting.iter().all(|waiter| waiter.strong_count() == 0)
    }

    pub fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.0.lock().ignoring_poison());
        for waiter in waiting.iter().filter_map(Weak::upgrade) {
            waiter.wake();
        }
    }
}

/// A signal of every change, for observers that then look at everything again, as the waits of tests do. Without an
/// observer it costs next to nothing.
#[derive(Default)]
pub struct ChangeSignal(OnceLock<Notify>);

impl ChangeSignal {
    pub fn happened(&self) {
        if let Some(observers) = self.0.get() {
            observers.notify_waiters();
        }
    }

    /// The next change after this call, also one before the first poll.
    pub fn next(&self) -> impl Future<Output = ()> {
        self.0.get_or_init(Notify::new).notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_up_before_the_wait_is_not_lost() {
        let (waiters, waiter) = (Waiters::default(), Waiter::new());
        waiters.add(&waiter);
        waiters.wake_all();
        waiter.woken().await;
    }

    #[tokio::test]
    async fn a_change_before_the_first_poll_is_seen_and_an_earlier_one_is_not() {
        let changes = ChangeSignal::default();
        changes.happened();
        let next = changes.next();
        changes.happened();
        next.await;
        let mut next = std::pin::pin!(changes.next());
        std::future::poll_fn(|context| {
            assert!(next.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }

    #[test]
    fn a_wait_that_was_given_up_takes_no_room() {
        let waiters = Waiters::default();
        for _ in 0..10_000 {
            waiters.add(&Waiter::new());
        }
        assert!(waiters.0.lock().unwrap().len() <= 8);
    }
}
