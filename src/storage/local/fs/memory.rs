//! A file system in memory, for `--ephemeral`. There is nothing to sync, and it ends with the process.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Entry, File, Fs, Lock, Metadata, Open, OpenDir, Space, Volume, parent};
use crate::types::IgnorePoison;

#[derive(Default)]
pub struct MemoryFs(Mutex<Tree>);

#[derive(Default)]
struct Tree {
    files: BTreeMap<PathBuf, Arc<MemoryFile>>,
    dirs: BTreeSet<PathBuf>,
}

struct MemoryDir;

impl OpenDir for MemoryDir {
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Stored in chunks, so that growing copies nothing.
#[derive(Default)]
struct MemoryFile(Mutex<Content>);

#[derive(Default)]
struct Content {
    chunks: Vec<Vec<u8>>,
    len: u64,
}

const CHUNK: u64 = 64 << 10;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().ignoring_poison()
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl Fs for MemoryFs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut tree = lock(&self.0);
        let there = tree.files.get(path).cloned();
        match (there, how) {
            (Some(_), Open::New) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), _) => Ok(file),
            (None, Open::Read | Open::Write) => Err(not_found(path)),
            (None, Open::New | Open::WriteOrNew) => {
                let file = Arc::<MemoryFile>::default();
                tree.files.insert(path.to_owned(), Arc::clone(&file));
                Ok(file)
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = lock(&self.0);
        if let Some(file) = tree.files.remove(from) {
            tree.files.insert(to.to_owned(), file);
            return Ok(());
        }
        if !tree.dirs.remove(from) {
            return Err(not_found(from));
        }
        tree.dirs.insert(to.to_owned());
        // Paths are sorted, so all paths below a directory directly follow it.
        let moved = |path: &Path| path.strip_prefix(from).ok().map(|rest| to.join(rest));
        let below = |path: &&PathBuf| path.starts_with(from);
        let files: Vec<_> =
            tree.files.range(from.to_owned()..).map(|(path, _)| path).take_while(below).cloned().collect();
        for path in files {
            if let (Some(file), Some(to)) = (tree.files.remove(&path), moved(&path)) {
                tree.files.insert(to, file);
            }
        }
        let dirs: Vec<_> = tree.dirs.range(from.to_owned()..).take_while(below).cloned().collect();
        for path in dirs {
            tree.dirs.remove(&path);
            tree.dirs.extend(moved(&path));
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        lock(&self.0).files.remove(path).map(drop).ok_or_else(|| not_found(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if lock(&self.0).dirs.insert(path.to_owned()) {
            Ok(())
        } else {
            Err(io::ErrorKind::AlreadyExists.into())
        }
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let empty = self.list(path)?.is_empty();
        if empty && lock(&self.0).dirs.remove(path) {
            Ok(())
        } else {
            Err(io::ErrorKind::DirectoryNotEmpty.into())
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let tree = lock(&self.0);
        if !tree.dirs.contains(dir) {
            return Err(not_found(dir));
        }
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let below = |path: &&PathBuf| path.starts_with(dir);
        let files = tree
            .files
            .range(dir.to_owned()..)
            .map(|(path, _)| path)
            .take_while(below)
            .filter(|path| parent(path) == dir)
            .filter_map(|path| name(path))
            .map(|name| Entry { name, is_dir: false });
        let dirs = tree
            .dirs
            .range(dir.to_owned()..)
            .take_while(below)
            .filter(|path| parent(path) == dir)
            .filter_map(|path| name(path))
            .map(|name| Entry { name, is_dir: true });
        let mut entries: Vec<Entry> = files.chain(dirs).collect();
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn OpenDir>> {
        if self.metadata(dir)?.is_dir {
            Ok(Box::new(MemoryDir))
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    fn volume(&self, _dir: &Path) -> io::Result<Option<Box<dyn Volume>>> {
        Ok(None)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let tree = lock(&self.0);
        match tree.files.get(path) {
            Some(file) => Ok(Metadata { len: lock(&file.0).len, is_dir: false }),
            // A path that is its own parent always exists: `/` and `.`.
            None if tree.dirs.contains(path) || parent(path) == path => Ok(Metadata { len: 0, is_dir: true }),
            None => Err(not_found(path)),
        }
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        Ok(Space { free: u64::MAX, total: u64::MAX })
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Lock>> {
        Ok(Some(Lock { _held: Box::new(()) }))
    }
}

impl File for MemoryFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut content = lock(&self.0);
        let mut at = at;
        for piece in pieces {
            content.write(piece, at);
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        lock(&self.0).each_part(at, into.len(), |part| {
            into[done..done + part.len()].copy_from_slice(part);
            done += part.len();
        });
        Ok(done)
    }

    fn read_new(&self, len: usize, at: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        lock(&self.0).each_part(at, len, |part| bytes.extend_from_slice(part));
        Ok(bytes)
    }

    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        self.read_at(into, at).map(Some)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut content = lock(&self.0);
        content.reach(len);
        content.len = len;
        content.chunks.truncate(usize::try_from(len.div_ceil(CHUNK)).unwrap_or(usize::MAX));
        let within = (len % CHUNK) as usize;
        if within > 0
            && let Some(last) = content.chunks.last_mut()
        {
            last[within..].fill(0);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len)
    }
}

impl Content {
    fn write(&mut self, mut bytes: &[u8], mut at: u64) {
        self.reach(at + bytes.len() as u64);
        while !bytes.is_empty() {
            let within = (at % CHUNK) as usize;
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK as usize - within));
            self.chunks[(at / CHUNK) as usize][within..within + now.len()].copy_from_slice(now);
            (bytes, at) = (later, at + now.len() as u64);
        }
    }

    /// Calls `visit` with the bytes from `at` on, at most `len` of them, chunk by chunk.
    fn each_part(&self, at: u64, len: usize, mut visit: impl FnMut(&[u8])) {
        let end = self.len.min(at.saturating_add(len as u64));
        let mut at = at;
        while at < end {
            let within = (at % CHUNK) as usize;
            let take = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK as usize - within);
            let chunk = self.chunks.get((at / CHUNK) as usize);
            visit(
                chunk.and_then(|chunk| chunk.get(within..within + take)).expect("chunks reach to the length"),
            );
            at += take as u64;
        }
    }

    fn reach(&mut self, len: u64) {
        let chunks = usize::try_from(len.div_ceil(CHUNK)).unwrap_or(usize::MAX);
        while self.chunks.len() < chunks {
            self.chunks.push(vec![0; CHUNK as usize]);
        }
        self.len = self.len.max(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_are_read_across_chunks_and_after_a_cut() {
        let fs = MemoryFs::default();
        let file = fs.open(Path::new("a"), Open::New).unwrap();
        let bytes: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        file.write_at(&[IoSlice::new(&bytes[..70_000]), IoSlice::new(&bytes[70_000..])], 5).unwrap();
        let mut read = vec![1; 200_100];
        assert_eq!(file.read_at(&mut read, 5).unwrap(), 200_000);
        assert_eq!(read[..200_000], bytes);
        file.truncate(100_000).unwrap();
        file.truncate(150_000).unwrap();
        assert_eq!(file.read_at(&mut read, 99_999).unwrap(), 50_001);
        assert_eq!((read[0], read[1], read[50_000]), (bytes[99_994], 0, 0));
    }

    #[test]
    fn a_directory_moves_with_what_is_in_it() {
        let fs = MemoryFs::default();
        for dir in ["a", "b"] {
            fs.create_dir(Path::new(dir)).unwrap();
        }
        fs.open(Path::new("a/x"), Open::New).unwrap();
        fs.rename(Path::new("a"), Path::new("b/c")).unwrap();
        assert_eq!(fs.list(Path::new("b")).unwrap(), [Entry { name: "c".into(), is_dir: true }]);
        assert!(fs.open(Path::new("b/c/x"), Open::Read).is_ok());
        assert!(fs.list(Path::new("a")).is_err());
    }
}
