//! The file systems behind one interface: the real one ([`DiskFs`]), and a simulated one in memory
//! (`SimFs`, for tests) that loses, tears and reorders unsynced writes according to a seed.
//!
//! All of them guarantee the following, and callers must not rely on anything else:
//! - Bytes survive a power cut once [`File::sync_data`] of their file has returned. Before that any part of
//!   them may survive, in any order, torn at sectors of 512 bytes.
//! - A created, renamed or removed name survives once [`Fs::sync_dir`] of its directory has returned.
//! - The death of the process alone loses no written bytes, but makes nothing durable either.
//! - Closing a file syncs nothing.
//! - After a failed `sync_data` its bytes may never reach the disk, although reads still show them and later
//!   syncs succeed. So a later successful sync does not prove that they are durable.
//!
//! Every call blocks. Calls that may wait for the disk belong on a thread that may wait.

mod disk;
mod memory;
mod overlay;
#[cfg(any(test, feature = "simulated-disk"))]
mod sim;

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::storage::{Failure, Space};
pub use disk::DiskFs;
pub use memory::MemoryFs;
pub use overlay::OverlayFs;
#[cfg(any(test, feature = "simulated-disk"))]
pub use sim::{Fault, Operation, SimFs};

/// The distance between the bytes that [`File::is_cached`] checks. Linux reads ahead 128 KiB by default.
const PROBE_EVERY: u64 = 128 << 10;

/// A directory tree.
pub trait Fs: Send + Sync {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// Replaces `to` if it exists. Both directories need a [`Fs::sync_dir`] afterwards.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Fails with `AlreadyExists` if the name exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// The entries of the directory, sorted by name. Names that are not UTF-8 are left out; the broker never
    /// creates one.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Opens a directory, so that its names can be synced.
    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn OpenDir>>;

    /// Makes the names in this directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync()
    }

    /// A handle to sync the whole volume of `dir` at once; `None` if the system has no such call.
    fn volume(&self, dir: &Path) -> io::Result<Option<Box<dyn Volume>>>;

    /// Fails with `NotFound` if the name does not exist.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// The space of the volume that contains `dir`.
    fn space(&self, dir: &Path) -> io::Result<Space>;

    /// Locks the file (created if missing) for this process; `None` if another process holds the lock. The
    /// lock ends when the [`Lock`] is dropped or the process ends.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
}

/// A mounted file system.
pub trait Volume: Send + Sync {
    /// Makes all bytes and names written to the volume so far durable, also those of other processes. Fails
    /// if any write since this handle was opened failed.
    fn sync(&self) -> io::Result<()>;
}

/// An open directory. It stays the same directory if it is renamed.
pub trait OpenDir: Send + Sync {
    /// Makes the names in it durable.
    fn sync(&self) -> io::Result<()>;
}

/// An open file without a cursor: callers pass positions.
pub trait File: Send + Sync {
    /// Writes all pieces, one after the other. After an error a part may have been written.
    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<()>;

    /// Fills `into` with the bytes from `at` on; returns less only at the end of the file.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;

    /// Like [`File::read_at`] if it need not wait for the disk; otherwise `None`, and the content of `into`
    /// is undefined. Systems other than Linux cannot tell, and just read.
    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<Option<usize>>;

    /// Reads `len` bytes from `at` on into new memory, which is not zeroed first; fewer only at the end of
    /// the file.
    fn read_new(&self, len: usize, at: u64) -> io::Result<Vec<u8>>;

    /// Whether these bytes can be read without waiting for the disk. It checks only some pages, because the
    /// system reads and evicts neighbouring pages together.
    fn is_cached(&self, len: usize, at: u64) -> io::Result<bool> {
        let end = at.saturating_add(len as u64);
        let mut probe = at;
        while probe < end {
            if self.read_cached_at(&mut [0], probe)?.is_none() {
                return Ok(false);
            }
            // The last page is checked too: the pages after the last probe may never have been read.
            probe = if probe == end - 1 { end } else { (probe + PROBE_EVERY).min(end - 1) };
        }
        Ok(true)
    }

    /// Switches off the system's read-ahead for this handle. Only a hint.
    fn read_nothing_ahead(&self) {}

    /// Tells the system that these bytes are not needed soon. Only a hint.
    fn forget_cached(&self, _len: u64, _at: u64) {}

    /// The file descriptor; `None` if the file is not a file of the operating system.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Makes the written bytes and the length of the file durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Shortens the file, or extends it with zeros. Durable after the next sync.
    fn truncate(&self, len: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading only; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; it must not exist.
    New,
    /// For reading and writing; created if missing.
    WriteOrNew,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub len: u64,
    pub is_dir: bool,
}

/// A held lock file; dropping it releases the lock.
pub struct Lock {
    _held: Box<dyn Send + Sync>,
}

/// Reads a whole file; fails with `InvalidData` if it has more than `most` bytes.
pub fn read_all(fs: &dyn Fs, path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = fs.open(path, Open::Read)?;
    read_whole(&*file, most).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io::Error::new(error.kind(), format!("{}: {error}", path.display())),
        _ => error,
    })
}

/// Like [`read_all`], for an open file.
pub fn read_whole(file: &dyn File, most: u64) -> io::Result<Vec<u8>> {
    let len = file.len()?;
    if len > most {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is {len} bytes long, more than the {most} it may be"),
        ));
    }
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidData)?;
    file.read_new(len, 0)
}

/// Replaces a whole file; durable when this returns. The bytes go to a temporary file beside it, which is
/// synced and renamed over it; then the directory is synced. After a crash the old or the new file is there,
/// and perhaps the temporary one (its name ends with [`TEMPORARY`]).
pub fn replace(fs: &dyn Fs, path: &Path, pieces: &[IoSlice<'_>]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY);
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let file = fs.open(&temporary, Open::WriteOrNew)?;
        file.truncate(0)?;
        file.write_at(pieces, 0)?;
        file.sync_data()
    })();
    if let Err(error) = written {
        // The file would only take space. The error to return is the first one.
        let _ = fs.remove(&temporary);
        return Err(error);
    }
    fs.rename(&temporary, path)?;
    fs.sync_dir(parent(path))
}

/// The suffix of files that [`replace`] has not finished.
pub const TEMPORARY: &str = ".new";

/// Creates the directory and its parents if they are missing. Its name is durable when this returns.
pub fn create_dirs(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let above = parent(dir);
    match fs.metadata(dir) {
        // A process may have been killed between creating it and the sync.
        Ok(found) if found.is_dir => return fs.sync_dir(above),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && above != dir => {}
        Err(error) => return Err(error),
    }
    create_dirs(fs, above)?;
    match fs.create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs.sync_dir(above)
}

/// Removes a directory and everything in it; a missing one is no error. The directory above needs a
/// [`Fs::sync_dir`] afterwards.
pub fn remove_tree(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let entries = match fs.list(dir) {
        Err(error) if gone(&error) => return Ok(()),
        listed => listed?,
    };
    for entry in entries {
        let path = dir.join(&entry.name);
        let removed = if entry.is_dir { remove_tree(fs, &path) } else { fs.remove(&path) };
        removed.or_else(|error| if gone(&error) { Ok(()) } else { Err(error) })?;
    }
    fs.remove_dir(dir)
}

/// The directory that contains a path: `.` for a bare name, `/` for itself.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        None if path.has_root() => path,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
