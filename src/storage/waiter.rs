//! How a long poll waits: it leaves its waiter with every partition it is interested in and is
//! woken by the first that changes. Never by a timer.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// One waiting request. A wake-up before [`Waiter::woken`] is asked for is not lost, so: watch
/// first, then look, then wait.
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

/// Those who wait for one partition. Who gave up is dropped when the list would grow.
#[derive(Default)]
pub(super) struct Waiters(Mutex<Vec<Weak<Waiter>>>);

impl Waiters {
    pub(super) fn add(&self, waiter: &Arc<Waiter>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == waiting.capacity() {
            waiting.retain(|waiter| waiter.strong_count() > 0);
        }
        waiting.push(Arc::downgrade(waiter));
    }

    pub(super) fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
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
    fn who_gave_up_takes_no_room() {
        let waiters = Waiters::default();
        for _ in 0..10_000 {
            waiters.add(&Waiter::new());
        }
        assert!(waiters.0.lock().unwrap().len() <= 8);
    }
}
