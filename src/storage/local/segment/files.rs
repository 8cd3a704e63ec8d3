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
use crate::kernel::ExtentId;
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
    /// Their keys, the least recently used first.
    by_use: BTreeMap<u64, SegmentKey>,
    uses: u64,
}

type SegmentKey = (TopicId, i32, ExtentId);

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
        if let Some(file) = open.known(key, how != Open::Read) {
            return Ok(file);
        }
        let file = match self.fs.open(path, how) {
            Err(error) if Failure::of(&error) == Failure::NoDescriptors && open.close_half() => {
                self.fs.open(path, how)?
            }
            opened => opened?,
        };
        if open.by_segment.len() >= self.most {
            open.close_one();
        }
        open.add(key, &file, how != Open::Read);
        Ok(file)
    }

    /// Closes the file of a segment.
    pub fn forget(&self, key: SegmentKey) {
        self.lock().remove(key);
    }

    /// Closes all files of a partition.
    pub fn forget_partition(&self, topic: TopicId, partition: i32) {
        let first = ExtentId { base: Offset(i64::MIN), generation: 0 };
        let last = ExtentId { base: Offset(i64::MAX), generation: u32::MAX };
        let mut open = self.lock();
        let of_it = open.by_segment.range((topic, partition, first)..=(topic, partition, last));
        let of_it: Vec<SegmentKey> = of_it.map(|(key, _)| *key).collect();
        of_it.into_iter().for_each(|key| open.remove(key));
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
    /// The file, if it is open as it is needed.
    fn known(&mut self, key: SegmentKey, is_written: bool) -> Option<Arc<dyn File>> {
        let known = self.by_segment.get_mut(&key).filter(|known| known.is_writable || !is_written)?;
        // One file that is used again and again stays where it is.
        if known.used != self.uses {
            self.uses += 1;
            self.by_use.remove(&std::mem::replace(&mut known.used, self.uses));
            self.by_use.insert(self.uses, key);
        }
        Some(Arc::clone(&known.file))
    }

    fn add(&mut self, key: SegmentKey, file: &Arc<dyn File>, is_writable: bool) {
        self.remove(key);
        self.uses += 1;
        self.by_use.insert(self.uses, key);
        self.by_segment.insert(key, OpenFile { file: Arc::clone(file), is_writable, used: self.uses });
    }

    fn remove(&mut self, key: SegmentKey) {
        if let Some(known) = self.by_segment.remove(&key) {
            self.by_use.remove(&known.used);
        }
    }

    /// Closes the least recently used file, but none that is in use: that would free no descriptor.
    fn close_one(&mut self) {
        let is_idle = |key: &&SegmentKey| {
            self.by_segment.get(key).is_some_and(|known| Arc::strong_count(&known.file) == 1)
        };
        let idle = self.by_use.values().find(is_idle).copied();
        idle.into_iter().for_each(|key| self.remove(key));
    }

    /// Closes the least recently used half. Returns `false` if no file was open.
    fn close_half(&mut self) -> bool {
        let half: Vec<SegmentKey> =
            self.by_use.values().take(self.by_use.len().div_ceil(2)).copied().collect();
        half.iter().for_each(|key| self.remove(*key));
        !half.is_empty()
    }
}
