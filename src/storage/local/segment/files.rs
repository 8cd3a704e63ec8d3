//! The set of open segment files. The set is bounded, and the least recently used file is closed first, so an unused
//! partition needs no file descriptor. The key of an open file is its topic and segment, not its path, because a later
//! topic may reuse the path.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::fs::{Failure, File, Fs, Open};
use super::super::layout::Names;
use super::lent::Leases;
use crate::kernel::SegmentId;
use crate::types::{IgnorePoison, Offset, TopicId};

pub struct Files {
    fs: Arc<dyn Fs>,
    most: usize,
    open: Mutex<OpenFiles>,
    /// Files that answers are sent from. They count as open files, so they need no extra descriptors.
    pub(super) leases: Arc<Leases>,
}

/// One in [`LENT_SHARE`] open files may be lent to answers.
const LENT_SHARE: usize = 4;

#[derive(Default)]
struct OpenFiles {
    by_segment: BTreeMap<SegmentKey, OpenFile>,
    uses: u64,
}

type SegmentKey = (TopicId, i32, SegmentId);

struct OpenFile {
    file: Arc<dyn File>,
    is_writable: bool,
    used: u64,
}

impl Files {
    pub fn new(fs: Arc<dyn Fs>, most: usize) -> Files {
        Files { fs, most, open: Mutex::default(), leases: Leases::new(most / LENT_SHARE) }
    }

    pub fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    /// The file of a segment, opened as `how` says unless it already is. If the process has no file
    /// descriptor left, other segment files are closed.
    pub fn open(&self, key: SegmentKey, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut open = self.lock();
        open.uses += 1;
        let (used, is_writable) = (open.uses, how != Open::Read);
        if let Some(known) = open.by_segment.get_mut(&key).filter(|known| known.is_writable || !is_writable) {
            known.used = used;
            return Ok(Arc::clone(&known.file));
        }
        let file = match self.fs.open(path, how) {
            Err(error) if Failure::of(&error) == Failure::NoDescriptors && open.close_half() => {
                self.fs.open(path, how)?
            }
            opened => opened?,
        };
        if open.by_segment.len() >= self.most {
            // Closing a file that is in use frees no descriptor.
            let idle = open.by_segment.iter().filter(|(_, known)| Arc::strong_count(&known.file) == 1);
            let least = idle.min_by_key(|(_, known)| known.used).map(|(key, _)| *key);
            least.and_then(|key| open.by_segment.remove(&key));
        }
        open.by_segment.insert(key, OpenFile { file: Arc::clone(&file), is_writable, used });
        Ok(file)
    }

    /// Closes the file of a segment.
    pub fn forget(&self, key: SegmentKey) {
        self.lock().by_segment.remove(&key);
    }

    /// Closes all files of a partition.
    pub fn forget_partition(&self, topic: TopicId, partition: i32) {
        let first = SegmentId { base: Offset(i64::MIN), generation: 0 };
        let last = SegmentId { base: Offset(i64::MAX), generation: u32::MAX };
        let mut open = self.lock();
        let of_it = open.by_segment.range((topic, partition, first)..=(topic, partition, last));
        let of_it: Vec<SegmentKey> = of_it.map(|(key, _)| *key).collect();
        of_it.iter().for_each(|key| drop(open.by_segment.remove(key)));
    }

    /// Makes durable: the names in a partition's directory, its own name, and its metadata file.
    pub fn sync_names(&self, dir: &Path) -> io::Result<()> {
        Names::open(&*self.fs, dir)?.sync()
    }

    #[cfg(test)]
    pub fn open_count(&self) -> usize {
        self.lock().by_segment.len()
    }

    fn lock(&self) -> MutexGuard<'_, OpenFiles> {
        self.open.lock().ignoring_poison()
    }
}

impl OpenFiles {
    /// Closes the least recently used half. Returns `false` if no file was open.
    fn close_half(&mut self) -> bool {
        let mut used: Vec<u64> = self.by_segment.values().map(|known| known.used).collect();
        used.sort_unstable();
        let Some(&middle) = used.get(used.len() / 2) else { return false };
        self.by_segment.retain(|_, known| known.used > middle);
        true
    }
}
