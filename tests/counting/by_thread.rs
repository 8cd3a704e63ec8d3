//! Counts what the current thread holds.

#[path = "mod.rs"]
mod counting;

use std::cell::Cell;

use counting::Counting;

#[global_allocator]
static COUNTING: Counting = Counting(count);

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(taken: usize, given: usize) {
    // A thread that is ending has no counters any more, and no test that asks.
    let _ = HELD.try_with(|held| {
        let both = held.get() + taken as isize;
        held.set(both - given as isize);
        MOST.try_with(|most| most.set(most.get().max(both)))
    });
}

/// The most bytes that this thread held at once while `work` ran, beyond what it held before.
pub fn most_held_by<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    (result, usize::try_from(MOST.get() - before).unwrap_or(0))
}

#[test]
fn what_is_held_is_counted() {
    let (kept, bytes) = most_held_by(|| {
        drop(vec![0u8; 3 << 20]);
        vec![0u8; 1 << 20]
    });
    assert_eq!(kept.len(), 1 << 20);
    assert!((3 << 20..4 << 20).contains(&bytes), "{bytes}");
}
