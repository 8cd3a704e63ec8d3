//! The file system behind a seam: the real one ([`DiskFs`]), and a seeded one in memory
//! ([`SimFs`]) that loses, tears and reorders what was not synced.
//!
//! What both promise, and all that may be relied on:
//! - bytes are safe from a power cut once [`File::sync_data`] of their file returned; until then
//!   any part of them may survive, in any order, torn at sectors of 512 bytes;
//! - a name (created, renamed, removed) is safe once [`Fs::sync_dir`] of its directory returned;
//! - the death of the process alone loses nothing that was written, but makes nothing safe either;
//! - closing a file syncs nothing;
//! - after a `sync_data` that failed the bytes it covered may never reach the disk, though reads go
//!   on showing them and later syncs succeed: whoever gets the error must not sync again and believe it.
//!
//! Every call blocks. What may wait for the disk belongs on a thread that may wait.

mod disk;
mod failure;
mod memory;
mod overlay;
mod sim;

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use disk::DiskFs;
pub use failure::Failure;
pub use memory::MemoryFs;
pub use overlay::OverlayFs;
pub use sim::{Fault, Operation, SimFs};

/// How far apart [`File::is_cached`] looks. Linux reads ahead 128 KiB, unless it is told otherwise.
const PROBE_EVERY: u64 = 128 << 10;

/// A directory tree.
pub trait Fs: Send + Sync {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// Takes the place of `to` where that exists. Both directories want a [`Fs::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Fails with `AlreadyExists` where something of that name is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// What is in the directory, in the order of the names. Names that are not UTF-8 are left out:
    /// none of ours.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Opens a directory, to make the names in it safe.
    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn OpenDir>>;

    /// Makes the names in this directory safe.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync()
    }

    /// All that lies where `dir` lies, to be made safe at once; `None` where the system has no such call.
    fn volume(&self, dir: &Path) -> io::Result<Option<Box<dyn Volume>>>;

    /// `NotFound` where nothing of that name is there.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// The space of the volume that holds `dir`.
    fn space(&self, dir: &Path) -> io::Result<Space>;

    /// Locks the file (made where missing) for this process, or `None` where another holds it.
    /// The lock goes with the [`Lock`], and with the process.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
}

/// A mounted file system.
pub trait Volume: Send + Sync {
    /// Makes safe every byte and every name written to it so far, by anybody. Fails where anything
    /// since this handle was opened could not be written.
    fn sync(&self) -> io::Result<()>;
}

/// An open directory: the one that was opened, wherever it is moved.
pub trait OpenDir: Send + Sync {
    /// Makes the names in it safe.
    fn sync(&self) -> io::Result<()>;
}

/// An open file. Positions are the caller's: there is no cursor.
pub trait File: Send + Sync {
    /// Writes all the pieces, one behind the other, or fails; a part may have been written then.
    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<()>;

    /// Fills `into` from `at` on; less only at the end of the file.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;

    /// As [`File::read_at`] where that needs no wait for the disk; else `None`, and `into` holds
    /// anything. Where the system cannot tell (other than Linux) it just reads.
    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<Option<usize>>;

    /// The `len` bytes from `at` on, read into memory that was not written before; fewer only at the
    /// end of the file.
    fn read_new(&self, len: usize, at: u64) -> io::Result<Vec<u8>>;

    /// Whether these bytes can be read without waiting for the disk. Looks at some of the pages: the
    /// system reads and forgets neighbours together.
    fn is_cached(&self, len: usize, at: u64) -> io::Result<bool> {
        let end = at.saturating_add(len as u64);
        let mut probe = at;
        while probe < end {
            if self.read_cached_at(&mut [0], probe)?.is_none() {
                return Ok(false);
            }
            // The last page, too: the pages after it may never have been read.
            probe = if probe == end - 1 { end } else { (probe + PROBE_EVERY).min(end - 1) };
        }
        Ok(true)
    }

    /// From now on the system loads only the bytes that are read through this handle, and none ahead of them. Only a
    /// hint.
    fn read_nothing_ahead(&self) {}

    /// Lets the system forget these bytes, which are not needed soon. Only a hint.
    fn forget_cached(&self, _len: u64, _at: u64) {}

    /// The file as the system knows it; `None` where it knows of no such file.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Makes safe what was written and how long the file is.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros. Safe after the next sync.
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
    /// For reading and writing, made where missing.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this process may still use.
    pub free: u64,
    pub total: u64,
}

/// Holds a lock file while it lives.
pub struct Lock {
    _held: Box<dyn Send + Sync>,
}

/// Reads a whole file; `InvalidData` where it is longer than `most`.
pub fn read_all(fs: &dyn Fs, path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = fs.open(path, Open::Read)?;
    read_whole(&*file, most).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io::Error::new(error.kind(), format!("{}: {error}", path.display())),
        _ => error,
    })
}

/// The same of an open one.
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

/// Puts a whole file in place, safe when this returns: a temporary file beside it, synced, renamed
/// over it, directory synced. After a crash the old one or the new one is there, and perhaps the
/// temporary one (its name ends with [`TEMPORARY`]).
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
        // It would only fill the disk; the error to tell is the first one.
        let _ = fs.remove(&temporary);
        return Err(error);
    }
    fs.rename(&temporary, path)?;
    fs.sync_dir(parent(path))
}

/// What the names of files that [`replace`] has not finished end with.
pub const TEMPORARY: &str = ".new";

/// Makes the directory and those above it where missing, its name safe when this returns.
pub fn create_dirs(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let above = parent(dir);
    match fs.metadata(dir) {
        // A process may have been killed between making it and the sync.
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

/// Removes a directory and everything in it; gone already is fine. The name wants a
/// [`Fs::sync_dir`] of the directory above.
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

/// The directory a path stands in: `.` for a bare name, `/` for itself.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        None if path.has_root() => path,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
