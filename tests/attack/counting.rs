//! An allocator that counts what the whole process holds, so that a test can say what an attack may cost.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

fn count(taken: usize, given: usize) {
    // A reallocation holds both for a moment.
    let both = HELD.fetch_add(taken.cast_signed(), Ordering::Relaxed) + taken.cast_signed();
    MOST.fetch_max(both, Ordering::Relaxed);
    HELD.fetch_sub(given.cast_signed(), Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        unsafe { System.realloc(at, layout, size) }
    }
}

/// What the process holds now.
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
