//! Notes that the clients of a round share: threads change them and wait for each other's changes.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use jackdaw::time::Clock;

#[derive(Default)]
pub struct Board<T> {
    inner: Mutex<Inner<T>>,
    more: Condvar,
}

#[derive(Default)]
struct Inner<T> {
    notes: T,
    /// Set when a client saw something that must never happen; the round then fails.
    broken: Option<String>,
}

impl<T> Board<T> {
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.inner.lock().unwrap().notes);
        self.more.notify_all();
        result
    }

    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.inner.lock().unwrap().notes)
    }

    pub fn broken(&self, what: String) {
        self.inner.lock().unwrap().broken.get_or_insert(what);
        self.more.notify_all();
    }

    /// Waits for this time, or until the round fails.
    pub fn wait_or_quit(&self, time: Duration) {
        self.wait(time, |_| false);
    }

    /// Whether it was so within the limit.
    pub fn wait(&self, limit: Duration, is_so: impl Fn(&T) -> bool) -> bool {
        let clock = Clock::machine();
        let give_up = clock.monotonic() + limit;
        let mut inner = self.inner.lock().unwrap();
        while inner.broken.is_none() {
            let left = give_up.saturating_sub(clock.monotonic());
            if is_so(&inner.notes) || left.is_zero() {
                return is_so(&inner.notes);
            }
            inner = self.more.wait_timeout(inner, left).unwrap().0;
        }
        let broken = inner.broken.clone();
        drop(inner); // other threads still note what they see
        panic!("{broken:?}");
    }
}
