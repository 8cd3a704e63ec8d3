//! The trash: directories of deleted topics before they are removed. A rename moves them out of the way at
//! once, under a name that is never used again. This file also moves other directories that are in the way of
//! a new topic.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::fs::{self, Fs};
use super::layout;
use crate::types::{IgnorePoison, TopicId};

/// The folder beside the trash for directories that belong to no topic. Nothing in it is ever removed.
pub const ASIDE: &str = "aside";

pub struct Trash {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    next: AtomicU64,
    in_place: Mutex<InPlace>,
}

/// Directories at topic paths that belong to no current topic, and moves that may not be durable.
#[derive(Default)]
struct InPlace {
    /// Directories of deleted topics that could not be moved and are still there.
    left_behind: BTreeMap<PathBuf, TopicId>,
    /// Directories that belong to no topic: nothing in them is written or removed.
    foreign: BTreeSet<PathBuf>,
    /// Directories were moved, and a crash could bring them back.
    moved: bool,
}

impl Trash {
    /// Opens the trash in `dir`. If a crash left something in it, new entries get other names.
    pub fn open(fs: Arc<dyn Fs>, dir: PathBuf) -> io::Result<Trash> {
        let left = fs.list(&dir)?;
        let numbers = left.iter().filter_map(|entry| entry.name.split_once('.')?.0.parse::<u64>().ok());
        let next = AtomicU64::new(numbers.max().map_or(0, |last| last + 1));
        // A killed process may have moved directories without a sync.
        let in_place = Mutex::new(InPlace { moved: true, ..InPlace::default() });
        Ok(Trash { fs, dir, next, in_place })
    }

    /// Moves a directory here.
    pub fn take(&self, dir: &Path) -> io::Result<()> {
        self.take_from(&mut self.in_place(), dir)
    }

    fn take_from(&self, in_place: &mut InPlace, dir: &Path) -> io::Result<()> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.fs.rename(dir, &self.dir.join(format!("{number}.{name}")))?;
        in_place.moved = true;
        Ok(())
    }

    /// Remembers that the directory of this deleted topic could not be moved. A new topic at its path may
    /// move it.
    pub fn leave_behind(&self, topic: TopicId, dir: &Path) {
        self.in_place().left_behind.insert(dir.to_owned(), topic);
    }

    /// Remembers that this directory belongs to no topic.
    pub fn keep_out_of(&self, dir: &Path) {
        self.in_place().foreign.insert(dir.to_owned());
    }

    pub fn keeps_out_of(&self, dir: &Path) -> bool {
        self.in_place().foreign.contains(dir)
    }

    /// Moves away a directory at the path of a new topic: the rest of a deleted topic to the trash, a
    /// directory that belongs to no topic to `aside`.
    pub fn make_way(&self, dir: &Path) -> io::Result<()> {
        let mut in_place = self.in_place();
        if let Some(topic) = in_place.left_behind.get(dir).copied() {
            self.take_left_behind(&mut in_place, dir, topic)?;
        }
        if in_place.foreign.contains(dir) {
            self.set_aside(dir)?;
            in_place.foreign.remove(dir);
        }
        Ok(())
    }

    fn take_left_behind(&self, in_place: &mut InPlace, dir: &Path, topic: TopicId) -> io::Result<()> {
        if layout::topic_of(&*self.fs, dir)? == Some(topic) {
            self.take_from(in_place, dir)?;
        }
        in_place.left_behind.remove(dir);
        Ok(())
    }

    fn set_aside(&self, dir: &Path) -> io::Result<()> {
        let aside = fs::parent(&self.dir).join(ASIDE);
        fs::create_dirs(&*self.fs, &aside)?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let taken = self.fs.list(&aside)?;
        let mut free = (0..).map(|number| format!("{number}.{name}"));
        let free = free.find(|name| taken.iter().all(|entry| entry.name != *name));
        let to = aside.join(free.unwrap_or_default());
        self.fs.rename(dir, &to)?;
        tracing::warn!(
            from = %dir.display(), to = %to.display(),
            "moved a directory that belongs to no topic aside, because a new topic needs its name"
        );
        self.fs.sync_dir(&aside)
    }

    /// Returns once no crash can bring back the directory of a deleted topic. A snapshot without these topics
    /// may be written only after that, because only the journal tells the next start which topic such a
    /// directory belonged to.
    pub fn settle(&self) -> io::Result<()> {
        let mut in_place = self.in_place();
        for (dir, topic) in in_place.left_behind.clone() {
            self.take_left_behind(&mut in_place, &dir, topic)?;
        }
        if !std::mem::take(&mut in_place.moved) {
            return Ok(());
        }
        drop(in_place);
        let topics = fs::parent(&self.dir).join("topics");
        let synced = self.fs.sync_dir(&topics).and_then(|()| self.fs.sync_dir(&self.dir));
        if synced.is_err() {
            self.in_place().moved = true;
        }
        synced
    }

    /// Removes everything in the trash. An entry that cannot be removed does not stop the others.
    pub fn empty(&self) -> io::Result<()> {
        let mut emptied = Ok(());
        for entry in self.fs.list(&self.dir)? {
            emptied = emptied.and(fs::remove_tree(&*self.fs, &self.dir.join(&entry.name)));
        }
        emptied
    }

    fn in_place(&self) -> MutexGuard<'_, InPlace> {
        self.in_place.lock().ignoring_poison()
    }
}
