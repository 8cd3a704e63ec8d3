//! The real file system. Written for Linux; macOS uses the same calls (its `sync_data` is F_FULLFSYNC, the
//! only one that reaches the medium there).

use std::fs::{File as StdFile, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::{pread, pwritev};

use super::{Entry, File, Fs, Lock, Metadata, Open, OpenDir, Space, Volume};

/// The maximum number of buffers in one `pwritev`, on the systems that we know.
const PIECES: usize = 1024;

#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFs;

impl Fs for DiskFs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true);
            }
            Open::New => {
                options.write(true).create_new(true);
            }
            Open::WriteOrNew => {
                options.write(true).create(true).truncate(false);
            }
        }
        Ok(Arc::new(DiskFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Like `metadata`, a link counts as its target. A broken link counts as a file.
            let is_dir = std::fs::metadata(entry.path()).is_ok_and(|found| found.is_dir());
            entries.push(Entry { name, is_dir });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn OpenDir>> {
        Ok(Box::new(DiskDir(StdFile::open(dir)?)))
    }

    #[cfg(target_os = "linux")]
    fn volume(&self, dir: &Path) -> io::Result<Option<Box<dyn Volume>>> {
        Ok(Some(Box::new(DiskVolume(StdFile::open(dir)?))))
    }

    #[cfg(not(target_os = "linux"))]
    fn volume(&self, _dir: &Path) -> io::Result<Option<Box<dyn Volume>>> {
        Ok(None)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let found = std::fs::metadata(path)?;
        Ok(Metadata { len: found.len(), is_dir: found.is_dir() })
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let volume = statvfs(dir)?;
        Ok(Space {
            free: volume.f_bavail.saturating_mul(volume.f_frsize),
            total: volume.f_blocks.saturating_mul(volume.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _held: Box::new(file) })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

struct DiskDir(StdFile);

impl OpenDir for DiskDir {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

#[cfg(target_os = "linux")]
struct DiskVolume(StdFile);

#[cfg(target_os = "linux")]
impl Volume for DiskVolume {
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

struct DiskFile(StdFile);

impl File for DiskFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut at = at;
        for pieces in pieces.chunks(PIECES) {
            let total: usize = pieces.iter().map(|piece| piece.len()).sum();
            let written = retry(|| pwritev(&self.0, pieces, at))?;
            at += written as u64;
            if written < total {
                at += self.write_rest(pieces, written, at)?;
            }
        }
        Ok(())
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.0.read_at(&mut into[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    #[cfg(target_os = "linux")]
    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let mut filled = 0;
        while filled < into.len() {
            let mut rest = [io::IoSliceMut::new(&mut into[filled..])];
            match preadv2(&self.0, &mut rest, at + filled as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                // The file system does not support it.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(filled))
    }

    #[cfg(not(target_os = "linux"))]
    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        self.read_at(into, at).map(Some)
    }

    fn read_new(&self, len: usize, at: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let place = at + bytes.len() as u64;
            if retry(|| pread(&self.0, spare_capacity(&mut bytes), place))? == 0 {
                break;
            }
        }
        // The allocator may have given more space than requested.
        bytes.truncate(len);
        Ok(bytes)
    }

    #[cfg(target_os = "linux")]
    fn read_nothing_ahead(&self) {
        // If it has no effect, more is cached than is needed.
        let _ = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::Random);
    }

    #[cfg(target_os = "linux")]
    fn forget_cached(&self, len: u64, at: u64) {
        use rustix::fs::{Advice, fadvise};
        if let Some(len) = std::num::NonZeroU64::new(len) {
            // If it fails, the bytes just stay in the cache.
            let _ = fadvise(&self.0, at, Some(len), Advice::DontNeed);
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl DiskFile {
    /// Writes the rest after the system took only the first `written` bytes. Returns the bytes written here.
    fn write_rest(&self, pieces: &[IoSlice<'_>], written: usize, at: u64) -> io::Result<u64> {
        let mut skip = written;
        let mut done = 0u64;
        for piece in pieces {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            self.0.write_all_at(&piece[skipped..], at + done)?;
            done += (piece.len() - skipped) as u64;
        }
        Ok(done)
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            done => return done,
        }
    }
}
