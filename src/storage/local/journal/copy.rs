//! Copies a journal to another directory, also while a broker writes to it.
//!
//! A file that is read while it is written to may show a frame in part, and a whole one after it. Therefore the copy
//! ends at the first gap. Everything that was written before the copy began is before that gap. If there are frames after
//! it, the journal is read once more: they are complete, so everything before them has to be there now. A gap that is
//! still there is damage.

use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::super::fs::{Fs, Open};
use super::frame::{self, Kind, Stamp};
use super::pool;
use super::replay::{self, JournalFile, OpenError, Sequence};
use super::witness::{self, Witness};

/// The number of times the files are listed. A broker may rename one that is not needed between the list and its use.
const ATTEMPTS: usize = 10;

/// A directory with a journal.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub fs: &'a Arc<dyn Fs>,
    pub dir: &'a Path,
}

/// Copies the entries from the position `from` on, which must stay meanwhile. The bytes of the copy are durable when this
/// returns, its names after a sync of `to`. Where nobody writes, frames after a gap are those of a power cut: as at a start,
/// only entries that were synced have to be there. `progress` is called after each file.
pub fn copy(
    source: At<'_>,
    to: At<'_>,
    salt: u64,
    from: u64,
    is_written_to: bool,
    progress: &mut dyn FnMut(),
) -> Result<(), OpenError> {
    // Before the entries, so that the copy is not shorter than its witness says.
    let synced = witness::read(&**source.fs, source.dir, salt).unwrap_or_default();
    let mut pass = copy_once(source, to, salt, from, progress)?;
    let mut wanted = synced.position.max(pass.synced);
    if pass.seen > pass.last && is_written_to {
        wanted = wanted.max(pass.seen);
        pass = copy_once(source, to, salt, from, progress)?;
    }
    if pass.last < wanted && wanted >= from {
        let (missing, path, at) = (pass.last + 1, pool::path(source.dir, pass.ended.0), pass.ended.1);
        let what = format!("entry {missing} is missing, though the journal has entry {wanted}");
        return Err(OpenError::Damage { file: path, at: at as u64, what });
    }
    drop(Witness::begin(&**to.fs, to.dir, salt, synced));
    Ok(())
}

/// The result of reading all files once.
struct Pass {
    /// The last entry before the first gap.
    last: u64,
    /// The last entry of all.
    seen: u64,
    /// The last entry that a later frame says is synced.
    synced: u64,
    /// The generation and the byte at which the frames before the gap end.
    ended: (u64, usize),
}

fn copy_once(
    source: At<'_>,
    to: At<'_>,
    salt: u64,
    from: u64,
    progress: &mut dyn FnMut(),
) -> Result<Pass, OpenError> {
    for _ in 1..ATTEMPTS {
        match try_copy(source, to, salt, from, progress) {
            Err(OpenError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => {}
            copied => return copied,
        }
    }
    try_copy(source, to, salt, from, progress)
}

fn try_copy(
    source: At<'_>,
    to: At<'_>,
    salt: u64,
    from: u64,
    progress: &mut dyn FnMut(),
) -> Result<Pass, OpenError> {
    let files = list(&**source.fs, source.dir, salt)?;
    let start = replay::first_needed(&files, from);
    let mut sequence = Sequence::new(from, u64::MAX);
    let mut pass = Pass { last: 0, seen: 0, synced: 0, ended: (0, 0) };
    for file in files.iter().skip(start) {
        let bytes = file.read(&**source.fs)?;
        let mut end = None;
        for frame in frame::all(&bytes, file.stamp) {
            if sequence.is_void(&frame.head) {
                continue;
            }
            pass.synced = pass.synced.max(frame.head.synced);
            if sequence.take(&frame.head) {
                end = Some(frame.next.min(bytes.len()));
            }
            if frame.head.kind == Kind::Entry {
                pass.seen = pass.seen.max(frame.head.position);
            }
        }
        if let Some(end) = end {
            pass.ended = (file.stamp.generation, end);
            write(to, file.stamp.generation, &bytes[..end])?;
        }
        progress();
    }
    pass.last = sequence.reached();
    Ok(pass)
}

fn write(to: At<'_>, generation: u64, bytes: &[u8]) -> Result<(), OpenError> {
    let path = pool::path(to.dir, generation);
    let written = || {
        let file = to.fs.open(&path, Open::WriteOrNew)?;
        file.write_at(&[IoSlice::new(bytes)], 0)?;
        file.truncate(bytes.len() as u64)?;
        file.sync_data()
    };
    written().map_err(|error| OpenError::io(&path, error))
}

/// The journal files in the order of their generations. Unlike an opening, it changes nothing.
fn list(fs: &dyn Fs, dir: &Path, salt: u64) -> Result<Vec<JournalFile>, OpenError> {
    let mut files = Vec::new();
    for entry in fs.list(dir).map_err(|error| OpenError::io(dir, error))? {
        if let Some(generation) = pool::generation(&entry.name) {
            let path = dir.join(&entry.name);
            files.push(JournalFile::find(fs, path, Stamp { generation, salt })?);
        }
    }
    files.sort_unstable_by_key(|file| file.stamp.generation);
    Ok(files)
}
