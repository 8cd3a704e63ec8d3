//! An allocator that tells what it takes and gives back, so that a test can say what work may cost in
//! memory. A test program names a function that counts: `static COUNTING: Counting = Counting(count);`.

#![expect(unsafe_code, reason = "an allocator is unsafe code")]

use std::alloc::{GlobalAlloc, Layout, System};

/// The function gets the bytes that were taken and those that were given back; it may not allocate.
pub struct Counting(pub fn(usize, usize));

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        (self.0)(layout.size(), 0);
        // SAFETY: the caller keeps the rules of the trait.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        (self.0)(0, layout.size());
        // SAFETY: the caller keeps the rules of the trait.
        unsafe { System.dealloc(at, layout) }
    }

    /// Both are held for a moment.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        (self.0)(size, layout.size());
        // SAFETY: the caller keeps the rules of the trait.
        unsafe { System.realloc(at, layout, size) }
    }
}
