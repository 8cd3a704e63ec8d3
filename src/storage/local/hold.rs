//! Holds: files in the data directory that a backup beside a running broker locks, so that nothing it still has to copy
//! is removed meanwhile. The system releases the lock of a process that ends, however it ends.
//!
//! - `journal.hold`: while it is locked, no snapshot is removed. So the journal is not trimmed, and its files are not
//!   reused.
//! - `topics.hold`: while it is locked, no segment file is removed, and the trash is not emptied.
//!
//! A start cannot wait for a backup, and it removes files. Therefore `topics.hold` has the id of the start from which
//! the holds count: it is zero until recovery is over, and a backup at whose end there is another id has failed.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fs::{self, File, Fs, Lock, Open};
use crate::types::Uuid;

/// Instead of the id of a start, while no hold counts.
const NO_START: Uuid = Uuid([0; 16]);

/// The files that a hold keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Journal,
    Topics,
}

impl Kept {
    fn path(self, root: &Path) -> PathBuf {
        root.join(match self {
            Kept::Journal => "journal.hold",
            Kept::Topics => "topics.hold",
        })
    }
}

/// At the beginning of a start, before anything is removed: no hold counts any more.
pub(super) fn void(fs: &dyn Fs, root: &Path) -> io::Result<()> {
    let path = Kept::Topics.path(root);
    match fs.metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // As empty as a full disk left it.
        Ok(found) if found.len == 0 => Ok(()),
        // A backup finds that it is gone.
        _ => write_start(fs, root, NO_START).or_else(|_| fs.remove(&path)),
    }
}

/// After recovery: holds count from now on.
pub(super) fn announce(fs: &dyn Fs, root: &Path, start: Uuid) -> io::Result<()> {
    // Both files exist from here on: on a full disk none can be created, and files have to be removed.
    open(fs, &Kept::Journal.path(root))?;
    write_start(fs, root, start)
}

/// Written in place, because a full disk has no room for a new block.
fn write_start(fs: &dyn Fs, root: &Path, start: Uuid) -> io::Result<()> {
    open(fs, &Kept::Topics.path(root))?.write_at(&[IoSlice::new(&start.0)], 0)
}

/// A file that another user owns, perhaps since a restore, is replaced.
fn open(fs: &dyn Fs, path: &Path) -> io::Result<Arc<dyn File>> {
    fs.open(path, Open::WriteOrNew).or_else(|_| {
        fs.remove(path)?;
        fs.open(path, Open::New)
    })
}

/// Permission of the broker to remove such files while it has the lock; `None` while a backup holds them.
pub(super) fn may_remove(fs: &dyn Fs, root: &Path, kept: Kept) -> Option<Permission> {
    let path = kept.path(root);
    match fs.lock(&path) {
        Ok(lock) => lock.map(|lock| Permission { _lock: Some(lock) }),
        // Nobody can hold a file that does not exist.
        Err(_) if fs.metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) => {
            Some(Permission { _lock: None })
        }
        Err(_) => None,
    }
}

pub(super) struct Permission {
    _lock: Option<Lock>,
}

/// The locks of a backup.
pub(super) struct Hold {
    /// The start from which the hold counts.
    start: Vec<u8>,
    journal: Option<Lock>,
    _topics: Lock,
}

/// Why there is no hold at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHold {
    /// Another backup has it, or the broker is removing files.
    Taken,
    /// The process that has the directory is no broker that serves.
    NotServing,
}

impl Hold {
    pub fn take(fs: &dyn Fs, root: &Path) -> io::Result<Result<Hold, NoHold>> {
        let Some(start) = start_of(fs, root)? else { return Ok(Err(NoHold::NotServing)) };
        let locks = (fs.lock(&Kept::Topics.path(root))?, fs.lock(&Kept::Journal.path(root))?);
        let (Some(topics), Some(journal)) = locks else { return Ok(Err(NoHold::Taken)) };
        let hold = Hold { start, journal: Some(journal), _topics: topics };
        Ok(if hold.counts(fs, root)? { Ok(hold) } else { Err(NoHold::NotServing) })
    }

    /// Whether nothing was removed since the hold was taken.
    pub fn counts(&self, fs: &dyn Fs, root: &Path) -> io::Result<bool> {
        Ok(start_of(fs, root)?.as_ref() == Some(&self.start))
    }

    /// Lets the broker trim its journal again.
    pub fn release_journal(&mut self) {
        self.journal = None;
    }
}

/// The id of the start from which holds count; `None` while none does.
fn start_of(fs: &dyn Fs, root: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read_all(fs, &Kept::Topics.path(root), 64) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(|id| Some(id).filter(|id| !id.is_empty() && id[..] != NO_START.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::local::fs::{Fault, Operation, SimFs};

    #[test]
    fn a_hold_keeps_files_until_it_is_dropped_and_counts_until_the_next_start() {
        let (fs, root) = (SimFs::new(1), Path::new("data"));
        fs::create_dirs(&fs, root).unwrap();
        let take = || Hold::take(&fs, root).unwrap();
        assert_eq!(take().err(), Some(NoHold::NotServing));
        assert!(may_remove(&fs, root, Kept::Topics).is_some());
        announce(&fs, root, Uuid([1; 16])).unwrap();
        let removing = may_remove(&fs, root, Kept::Topics).unwrap();
        assert_eq!(take().err(), Some(NoHold::Taken));
        drop(removing);
        let mut hold = take().unwrap();
        assert_eq!(take().err(), Some(NoHold::Taken));
        assert!(may_remove(&fs, root, Kept::Journal).is_none());
        hold.release_journal();
        assert!(may_remove(&fs, root, Kept::Journal).is_some());
        assert!(may_remove(&fs, root, Kept::Topics).is_none());
        assert!(hold.counts(&fs, root).unwrap());
        void(&fs, root).unwrap();
        assert!(!hold.counts(&fs, root).unwrap());
        announce(&fs, root, Uuid([2; 16])).unwrap();
        assert!(!hold.counts(&fs, root).unwrap());
        drop(hold);
        assert!(take().is_ok());
    }

    #[test]
    fn a_start_goes_on_where_a_full_disk_has_left_an_empty_file_or_takes_no_write() {
        let (fs, root) = (SimFs::new(1), Path::new("data"));
        fs::create_dirs(&fs, root).unwrap();
        fs.open(&Kept::Topics.path(root), Open::New).unwrap();
        fs.set_capacity(Some(0));
        void(&fs, root).unwrap();
        assert_eq!(Hold::take(&fs, root).unwrap().err(), Some(NoHold::NotServing));

        fs.set_capacity(None);
        announce(&fs, root, Uuid([1; 16])).unwrap();
        let hold = Hold::take(&fs, root).unwrap().unwrap();
        fs.fail(Fault::next(Operation::Write));
        void(&fs, root).unwrap();
        assert!(!hold.counts(&fs, root).unwrap());
    }

    #[test]
    fn files_that_nobody_can_hold_may_be_removed_although_the_disk_is_full() {
        let (fs, root) = (SimFs::new(1), Path::new("data"));
        fs::create_dirs(&fs, root).unwrap();
        fs.set_read_only(true);
        assert!(may_remove(&fs, root, Kept::Topics).is_some());
    }
}
