//! `jackdaw log skip`: marks an entry of the journal, so that a start passes over it. It is for an entry with a
//! valid checksum that makes every start fail. An entry that was applied before a later one was written cannot
//! be skipped: the later ones rely on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::Directory;
use super::fs::Fs;
use super::journal::{self, Replay, Replayed};
use super::repair::Aside;
use super::snapshot;
use crate::kernel::entry::{self, Header};
use crate::storage::OpenError;

/// The reason why an entry is not skipped. Nothing was changed.
#[derive(Debug)]
pub enum SkipError {
    Open(OpenError),
    Refused(String),
}

impl From<OpenError> for SkipError {
    fn from(error: OpenError) -> SkipError {
        SkipError::Open(error)
    }
}

/// Marks the entry. Returns the folder with the journal as it was.
pub fn skip(fs: &Arc<dyn Fs>, root: &Path, position: u64) -> Result<PathBuf, SkipError> {
    let io = |error| OpenError::Io { path: root.to_owned(), error };
    let directory = Directory::open_offline(fs, root)?;
    let entry = last_entry(&directory, position)?;
    let Some(skipped) = entry::skipped(&entry.commands) else {
        return Err(SkipError::Refused(format!("entry {position} is too short to be marked")));
    };
    let aside = Aside::new(fs, root).map_err(io)?;
    aside.copy_all(&directory.journal()).map_err(io)?;
    journal::replace_commands(&**fs, &directory.journal(), &entry, &skipped).map_err(io)?;
    directory.release();
    Ok(aside.into_dir())
}

/// The entry at this position, if no later one relies on it.
fn last_entry(directory: &Directory, position: u64) -> Result<Replayed, SkipError> {
    let (fs, snapshots) = (&*directory.fs, directory.snapshots());
    let newest = snapshot::read_newest(fs, &snapshots, directory.levels);
    let newest = newest.map_err(|error| OpenError::Io { path: snapshots, error })?.newest;
    let applied = newest.map_or(0, |state| state.position());
    if position <= applied {
        let why = format!("entry {position} is a part of the snapshot of entry {applied}");
        return Err(SkipError::Refused(why));
    }
    let options = journal::Options::new(directory.salt);
    let replay = Replay::open(Arc::clone(&directory.fs), &directory.journal(), options, applied + 1);
    let mut found = None;
    for entry in replay.map_err(OpenError::from)? {
        let entry = entry.map_err(OpenError::from)?;
        let seen = Header::split(&entry.commands).map_or(0, |(header, _)| header.seen);
        if entry.position == position {
            found = Some(entry);
        } else if entry.position > position && seen >= position {
            let why = format!(
                "entry {position} was applied before entry {} was written, which relies on it: start the version that wrote them",
                entry.position
            );
            return Err(SkipError::Refused(why));
        }
    }
    found.ok_or_else(|| SkipError::Refused(format!("the journal has no entry {position}")))
}
