//! Locks whose holder panicked.

use std::sync::{LockResult, PoisonError};

/// Takes a lock even if a holder of it has panicked. A panic ends one connection or one background job; all others must
/// still be able to take the locks that it held.
pub trait IgnorePoison {
    type Guard;

    fn ignoring_poison(self) -> Self::Guard;
}

impl<T> IgnorePoison for LockResult<T> {
    type Guard = T;

    fn ignoring_poison(self) -> T {
        self.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_lock_is_taken_after_a_panic_of_its_holder() {
        let lock = Mutex::new(1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut held = lock.lock().unwrap();
            *held = 2;
            panic!("while the lock is held");
        }));
        assert!(panicked.is_err() && lock.is_poisoned());
        assert_eq!(*lock.lock().ignoring_poison(), 2);
    }
}
