//! Where the directories of deleted topics go before they are removed: out of the way at once, by a
//! rename, under a name that nothing else ever has.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fs::{self, Fs};
use crate::types::TopicId;

pub struct Trash {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    next: AtomicU64,
    /// Deleted topics of which a directory could not be moved and is still in its place.
    left_behind: Mutex<BTreeSet<TopicId>>,
}

impl Trash {
    /// A crash may have left something in `dir`; new entries get other names.
    pub fn open(fs: Arc<dyn Fs>, dir: PathBuf) -> io::Result<Trash> {
        let left = fs.list(&dir)?;
        let numbers = left.iter().filter_map(|entry| entry.name.split_once('.')?.0.parse::<u64>().ok());
        let next = AtomicU64::new(numbers.max().map_or(0, |last| last + 1));
        Ok(Trash { fs, dir, next, left_behind: Mutex::default() })
    }

    /// Moves a directory here.
    pub fn take(&self, dir: &Path) -> io::Result<()> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.fs.rename(dir, &self.dir.join(format!("{number}.{name}")))
    }

    /// A directory of this deleted topic could not be moved: whoever finds it may move it.
    pub fn leave_behind(&self, topic: TopicId) {
        self.left_behind().insert(topic);
    }

    /// Whether a directory that says it belongs to this topic may be moved here.
    pub fn may_take(&self, topic: TopicId) -> bool {
        self.left_behind().contains(&topic)
    }

    /// Removes everything in it. An entry that cannot be removed keeps no other one here.
    pub fn empty(&self) -> io::Result<()> {
        let mut emptied = Ok(());
        for entry in self.fs.list(&self.dir)? {
            emptied = emptied.and(fs::remove_tree(&*self.fs, &self.dir.join(&entry.name)));
        }
        emptied
    }

    fn left_behind(&self) -> MutexGuard<'_, BTreeSet<TopicId>> {
        self.left_behind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
