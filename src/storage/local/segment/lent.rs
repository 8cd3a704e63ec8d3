//! Open segment files that answers are sent from. An answer keeps its file open until its client has read
//! it, so the number of files that are lent at a time is limited.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::super::fs::File;
use crate::types::Source;

/// A file that is lent to any number of answers.
pub struct LentFile {
    file: Arc<dyn File>,
    _lease: Lease,
}

/// Limits the number of files that are lent at the same time.
#[derive(Debug)]
pub struct Leases {
    most: usize,
    taken: AtomicUsize,
}

struct Lease(Arc<Leases>);

impl Leases {
    pub fn new(most: usize) -> Arc<Leases> {
        Arc::new(Leases { most, taken: AtomicUsize::new(0) })
    }

    /// `None` if no more files may be lent, or if the file system cannot send from this one.
    pub fn lend(self: &Arc<Leases>, file: &Arc<dyn File>) -> Option<Arc<LentFile>> {
        file.descriptor()?;
        let one_more = |taken: usize| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Arc::new(LentFile { file: Arc::clone(file), _lease: Lease(Arc::clone(self)) }))
    }

    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LentFile {
    pub fn is_of(&self, file: &Arc<dyn File>) -> bool {
        Arc::ptr_eq(&self.file, file)
    }
}

impl Source for LentFile {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.descriptor()
    }

    fn is_cached(&self, at: u64, len: usize) -> io::Result<bool> {
        self.file.is_cached(len, at)
    }

    fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
        self.file.read_new(len, at).map(Bytes::from)
    }
}
