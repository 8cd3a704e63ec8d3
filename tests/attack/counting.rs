//! Counts what the whole process holds, so that a test can say what an attack may cost.

#[path = "../counting/mod.rs"]
mod allocator;

use std::sync::atomic::{AtomicIsize, Ordering};

use allocator::Counting;

#[global_allocator]
static COUNTING: Counting = Counting(count);

static HELD: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

fn count(taken: usize, given: usize) {
    let both = HELD.fetch_add(taken.cast_signed(), Ordering::Relaxed) + taken.cast_signed();
    MOST.fetch_max(both, Ordering::Relaxed);
    HELD.fetch_sub(given.cast_signed(), Ordering::Relaxed);
}

/// The bytes that the process holds now.
pub fn held() -> isize {
    HELD.load(Ordering::Relaxed)
}

/// Watches the most that is held from now on, beyond what is held now.
pub struct Watch(isize);

impl Watch {
    pub fn new() -> Watch {
        let held = held();
        MOST.store(held, Ordering::Relaxed);
        Watch(held)
    }

    pub fn most(&self) -> usize {
        usize::try_from(MOST.load(Ordering::Relaxed) - self.0).unwrap_or(0)
    }
}
