//! Holds: files in the data directory that a backup beside a running broker locks, so that nothing it still has to copy
//! is removed meanwhile. The system releases the lock of a process that ends, however it ends.
//!
//! - `journal.hold`: while it is locked, no snapshot is removed. So the journal is not trimmed, and its files are not
//!   reused.
//! - `topics.hold`: while it is locked, no segment file is removed, and the trash is not emptied.
//!
//! A start cannot wait for a backup, and it removes files. Therefore `topics.hold` has the id of the start from which
//! the holds count: it is zero until recovery is over, and a backup at whose end there is another id has failed.
//!
//! A backup that is suspended would keep its locks for ever. So it shows its progress in `topics.hold`, and a broker
//! takes the files away from one that makes none ([`Watch`]): it writes another id into the file and creates both files
//! anew, so that the next backup does not meet the old locks.

mod watch;

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use self::watch::Watch;
use super::fs::{self, File, Fs, Lock, Open};
use crate::types::Uuid;

/// Instead of the id of a start, while no hold counts.
const NO_START: Uuid = Uuid([0; 16]);

/// The content of `topics.hold`: two ids, and the progress of the backup.
#[derive(Clone, Copy)]
struct Content {
    /// The start from which holds count.
    start: Uuid,
    /// The id in `start` before the broker last took the files away from a backup.
    taken_away: Uuid,
    progress: u64,
}

impl Content {
    const BYTES: usize = 40;
    const PROGRESS_AT: u64 = 32;

    fn read(fs: &dyn Fs, root: &Path) -> io::Result<Option<Content>> {
        let bytes = match fs::read_all(fs, &HeldFiles::Topics.path(root), 64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let mut whole = [0; Content::BYTES];
        // A full disk may have left the file empty or short: the rest counts as zeros.
        let read = bytes.len().min(whole.len());
        whole[..read].copy_from_slice(&bytes[..read]);
        let part = |at: usize| Uuid(*whole[at..].first_chunk().expect("both ids are in the content"));
        let progress = u64::from_be_bytes(*whole.last_chunk().expect("the content is longer than that"));
        Ok(Some(Content { start: part(0), taken_away: part(16), progress }))
    }

    /// Writes in place, because a full disk has no room for a new block.
    fn write(&self, fs: &dyn Fs, root: &Path) -> io::Result<()> {
        let Content { start, taken_away, progress } = self;
        let progress = progress.to_be_bytes();
        let pieces = [IoSlice::new(&start.0), IoSlice::new(&taken_away.0), IoSlice::new(&progress)];
        open(fs, &HeldFiles::Topics.path(root))?.write_at(&pieces, 0)
    }
}

/// The files that a hold keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldFiles {
    Journal,
    Topics,
}

impl HeldFiles {
    fn path(self, root: &Path) -> PathBuf {
        root.join(match self {
            HeldFiles::Journal => "journal.hold",
            HeldFiles::Topics => "topics.hold",
        })
    }
}

/// At the beginning of a start, before anything is removed: no hold counts any more.
pub(super) fn void(fs: &dyn Fs, root: &Path) -> io::Result<()> {
    let path = HeldFiles::Topics.path(root);
    match fs.metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // As empty as a full disk left it.
        Ok(found) if found.len == 0 => Ok(()),
        // A backup finds that it is gone.
        _ => stop(fs, root, NO_START).or_else(|_| fs.remove(&path)),
    }
}

/// From now on no hold counts.
fn stop(fs: &dyn Fs, root: &Path, taken_away: Uuid) -> io::Result<()> {
    Content { start: NO_START, taken_away, progress: 0 }.write(fs, root)
}

/// After recovery: holds count from now on.
pub(super) fn announce(fs: &dyn Fs, root: &Path, start: Uuid) -> io::Result<()> {
    // Made before they are needed: on a full disk, where files have to be removed, they could not be created.
    begin(fs, root, start, NO_START)
}

fn begin(fs: &dyn Fs, root: &Path, start: Uuid, taken_away: Uuid) -> io::Result<()> {
    open(fs, &HeldFiles::Journal.path(root))?;
    Content { start, taken_away, progress: 0 }.write(fs, root)
}

/// Takes all files away from the backup that holds them. The id changes before anything can be removed, so the next
/// check of the backup fails. Later holds count from `next` on. May be repeated after an error.
pub(super) fn take_away(fs: &dyn Fs, root: &Path, next: Uuid) -> io::Result<()> {
    let of = Content::read(fs, root)?;
    let of = of.map_or(NO_START, |of| if of.start == NO_START { of.taken_away } else { of.start });
    stop(fs, root, of)?;
    for kept in [HeldFiles::Journal, HeldFiles::Topics] {
        match fs.remove(&kept.path(root)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    begin(fs, root, next, of)
}

/// A number that changes as long as the backup that holds the files makes progress, and when another one begins.
pub(super) fn progress(fs: &dyn Fs, root: &Path) -> u64 {
    Content::read(fs, root).ok().flatten().map_or(0, |content| content.progress)
}

/// A file that another user owns, perhaps since a restore, is replaced.
fn open(fs: &dyn Fs, path: &Path) -> io::Result<Arc<dyn File>> {
    fs.open(path, Open::WriteOrNew).or_else(|_| {
        fs.remove(path)?;
        fs.open(path, Open::New)
    })
}

/// Permission of the broker to remove such files while it has the lock; `None` while a backup holds them.
pub(super) fn may_remove(fs: &dyn Fs, root: &Path, kept: HeldFiles) -> Option<Permission> {
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
    start: Uuid,
    /// `topics.hold`, and the progress in it.
    file: Arc<dyn File>,
    progress: u64,
    journal: Option<Lock>,
    _topics: Lock,
}

/// Whether a hold still protects its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing was removed since it was taken.
    Counts,
    /// The broker was restarted, or took the files away and could not store that.
    Restarted,
    /// The broker needed the space, or the backup made no progress.
    TakenAway,
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
        let content = Content::read(fs, root)?.filter(|content| content.start != NO_START);
        let Some(Content { start, progress, .. }) = content else { return Ok(Err(NoHold::NotServing)) };
        let file = match fs.open(&HeldFiles::Topics.path(root), Open::Write) {
            // The broker is making it anew.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(NoHold::NotServing)),
            opened => opened?,
        };
        let locks = (fs.lock(&HeldFiles::Topics.path(root))?, fs.lock(&HeldFiles::Journal.path(root))?);
        let (Some(topics), Some(journal)) = locks else { return Ok(Err(NoHold::Taken)) };
        let hold = Hold { start, file, progress, journal: Some(journal), _topics: topics };
        // If the id has changed, the locks may be those of files that were removed.
        Ok(if hold.standing(fs, root)? == Standing::Counts { Ok(hold) } else { Err(NoHold::NotServing) })
    }

    pub fn standing(&self, fs: &dyn Fs, root: &Path) -> io::Result<Standing> {
        Ok(match Content::read(fs, root)? {
            Some(content) if content.start == self.start => Standing::Counts,
            Some(content) if content.taken_away == self.start => Standing::TakenAway,
            _ => Standing::Restarted,
        })
    }

    /// Shows the broker that the backup goes on.
    pub fn show_progress(&mut self) {
        self.progress += 1;
        let progress = self.progress.to_be_bytes();
        // If it cannot be written, the broker takes the files away, which the next check finds.
        drop(self.file.write_at(&[IoSlice::new(&progress)], Content::PROGRESS_AT));
    }

    /// Lets the broker trim its journal again.
    pub fn release_journal(&mut self) {
        self.journal = None;
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
        assert!(may_remove(&fs, root, HeldFiles::Topics).is_some());
        announce(&fs, root, Uuid([1; 16])).unwrap();
        let removing = may_remove(&fs, root, HeldFiles::Topics).unwrap();
        assert_eq!(take().err(), Some(NoHold::Taken));
        drop(removing);
        let mut hold = take().unwrap();
        assert_eq!(take().err(), Some(NoHold::Taken));
        assert!(may_remove(&fs, root, HeldFiles::Journal).is_none());
        hold.release_journal();
        assert!(may_remove(&fs, root, HeldFiles::Journal).is_some());
        assert!(may_remove(&fs, root, HeldFiles::Topics).is_none());
        let standing = || hold.standing(&fs, root).unwrap();
        assert_eq!(standing(), Standing::Counts);
        void(&fs, root).unwrap();
        assert_eq!(standing(), Standing::Restarted);
        announce(&fs, root, Uuid([2; 16])).unwrap();
        assert_eq!(standing(), Standing::Restarted);
        drop(hold);
        assert!(take().is_ok());
    }

    #[test]
    fn a_hold_that_was_taken_away_keeps_nothing_and_knows_it() {
        let (fs, root) = (SimFs::new(1), Path::new("data"));
        fs::create_dirs(&fs, root).unwrap();
        let take = || Hold::take(&fs, root).unwrap();
        announce(&fs, root, Uuid([1; 16])).unwrap();
        let mut old = take().unwrap();
        take_away(&fs, root, Uuid([2; 16])).unwrap();
        for kept in [HeldFiles::Journal, HeldFiles::Topics] {
            assert!(may_remove(&fs, root, kept).is_some());
        }
        assert_eq!(old.standing(&fs, root).unwrap(), Standing::TakenAway);
        // The old locks are still held, and the next backup does not meet them.
        let mut new = take().unwrap();
        assert_eq!(take().err(), Some(NoHold::Taken));
        assert_eq!(new.standing(&fs, root).unwrap(), Standing::Counts);
        // Only the progress of the new one is seen.
        new.show_progress();
        let seen = progress(&fs, root);
        (0..9).for_each(|_| old.show_progress());
        assert_eq!(progress(&fs, root), seen);
        new.show_progress();
        assert_ne!(progress(&fs, root), seen);
        drop(old);
        assert!(may_remove(&fs, root, HeldFiles::Topics).is_none());
    }

    #[test]
    fn the_progress_of_a_backup_is_not_that_of_one_before() {
        let (fs, root) = (SimFs::new(1), Path::new("data"));
        fs::create_dirs(&fs, root).unwrap();
        announce(&fs, root, Uuid([1; 16])).unwrap();
        let mut seen = vec![progress(&fs, root)];
        for _ in 0..3 {
            Hold::take(&fs, root).unwrap().unwrap().show_progress();
            assert!(!seen.contains(&progress(&fs, root)));
            seen.push(progress(&fs, root));
        }
    }

    #[test]
    fn files_that_could_not_be_taken_away_at_once_are_taken_away_later() {
        for operation in [Operation::Remove, Operation::Create] {
            let (fs, root) = (SimFs::new(1), Path::new("data"));
            fs::create_dirs(&fs, root).unwrap();
            announce(&fs, root, Uuid([1; 16])).unwrap();
            let hold = Hold::take(&fs, root).unwrap().unwrap();
            fs.fail(Fault { lasting: true, ..Fault::next(operation) });
            take_away(&fs, root, Uuid([2; 16])).unwrap_err();
            assert_ne!(hold.standing(&fs, root).unwrap(), Standing::Counts, "{operation:?}");
            fs.heal();
            take_away(&fs, root, Uuid([3; 16])).unwrap();
            assert!(may_remove(&fs, root, HeldFiles::Topics).is_some());
            assert!(Hold::take(&fs, root).unwrap().is_ok());
        }
    }

    #[test]
    fn a_start_goes_on_where_a_full_disk_has_left_an_empty_file_or_takes_no_write() {
        let (fs, root) = (SimFs::new(1), Path::new("data"));
        fs::create_dirs(&fs, root).unwrap();
        fs.open(&HeldFiles::Topics.path(root), Open::New).unwrap();
        fs.set_capacity(Some(0));
        void(&fs, root).unwrap();
        assert_eq!(Hold::take(&fs, root).unwrap().err(), Some(NoHold::NotServing));

        fs.set_capacity(None);
        announce(&fs, root, Uuid([1; 16])).unwrap();
        let hold = Hold::take(&fs, root).unwrap().unwrap();
        fs.fail(Fault::next(Operation::Write));
        void(&fs, root).unwrap();
        assert_eq!(hold.standing(&fs, root).unwrap(), Standing::Restarted);
    }

    #[test]
    fn files_that_nobody_can_hold_may_be_removed_although_the_disk_is_full() {
        let (fs, root) = (SimFs::new(1), Path::new("data"));
        fs::create_dirs(&fs, root).unwrap();
        fs.set_read_only(true);
        assert!(may_remove(&fs, root, HeldFiles::Topics).is_some());
    }
}
