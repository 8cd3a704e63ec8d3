//! The waiters of long polls. A long poll registers its waiter with every partition that it reads, and the
//! first one that changes wakes it. There is no timer.

use std::sync::{Arc, Mutex, Weak};

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

    #[test]
    fn a_wait_that_was_given_up_takes_no_room() {
        let waiters = Waiters::default();
        for _ in 0..10_000 {
            waiters.add(&Waiter::new());
        }
        assert!(waiters.0.lock().unwrap().len() <= 8);
    }
}
