//! A file system that keeps all changes in memory and only reads the file system below it. With it a start
//! can be tried on a data directory without changing it.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Entry, File, Fs, Lock, Metadata, Open, OpenDir, Space, Volume, parent};
use crate::types::IgnorePoison;

pub struct OverlayFs {
    below: Arc<dyn Fs>,
    /// The directory that can be changed. Everything outside it is only read.
    root: PathBuf,
    tree: Arc<Mutex<Dir>>,
}

struct Dir {
    /// The directory below; `None` if this is a new one.
    below: Option<PathBuf>,
    /// Entries that were read or changed; `None` if an entry was removed.
    known: BTreeMap<String, Option<Node>>,
}

#[derive(Clone)]
enum Node {
    File(Arc<Content>),
    Dir(Arc<Mutex<Dir>>),
}

/// A file: the one below, with the written blocks on top.
struct Content {
    below: Option<PathBuf>,
    changed: Mutex<Changed>,
}

#[derive(Default)]
struct Changed {
    /// The number of bytes of the file below that are still visible.
    shown: u64,
    len: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

struct Unsynced;

impl OpenDir for Unsynced {
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

struct OpenFile {
    content: Arc<Content>,
    below: Option<Arc<dyn File>>,
    writable: bool,
}

const BLOCK: usize = 4096;

impl OverlayFs {
    pub fn new(below: Arc<dyn Fs>, root: &Path) -> OverlayFs {
        let dir = Dir { below: Some(root.to_owned()), known: BTreeMap::new() };
        OverlayFs { below, root: root.to_owned(), tree: Arc::new(Mutex::new(dir)) }
    }

    fn find(&self, path: &Path) -> io::Result<Node> {
        let inside = path.strip_prefix(&self.root).map_err(|_| not_found(path))?;
        let mut node = Node::Dir(Arc::clone(&self.tree));
        for name in inside {
            let Node::Dir(dir) = &node else { return Err(io::ErrorKind::NotADirectory.into()) };
            let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
            let child = lock(dir).child(&*self.below, name)?;
            node = child.ok_or_else(|| not_found(path))?;
        }
        Ok(node)
    }

    fn find_dir(&self, path: &Path) -> io::Result<Arc<Mutex<Dir>>> {
        match self.find(path)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Replaces the entry of a name.
    fn set(&self, path: &Path, node: Option<Node>) -> io::Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        lock(&*self.find_dir(parent(path))?).known.insert(name.to_owned(), node);
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Dir {
    fn child(&mut self, below: &dyn Fs, name: &str) -> io::Result<Option<Node>> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        let Some(path) = self.below.as_ref().map(|dir| dir.join(name)) else { return Ok(None) };
        let found = match below.metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let node = if found.is_dir {
            Node::Dir(Arc::new(Mutex::new(Dir { below: Some(path), known: BTreeMap::new() })))
        } else {
            let changed = Changed { shown: found.len, len: found.len, blocks: BTreeMap::new() };
            Node::File(Arc::new(Content { below: Some(path), changed: Mutex::new(changed) }))
        };
        self.known.insert(name.to_owned(), Some(node.clone()));
        Ok(Some(node))
    }
}

impl Fs for OverlayFs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let content = match (self.exists(path)?, how) {
            (true, Open::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (true, _) => match self.find(path)? {
                Node::File(content) => content,
                Node::Dir(_) => return Err(io::ErrorKind::IsADirectory.into()),
            },
            (false, Open::Read | Open::Write) => return Err(not_found(path)),
            (false, Open::New | Open::WriteOrNew) => {
                let content = Arc::new(Content { below: None, changed: Mutex::default() });
                self.set(path, Some(Node::File(Arc::clone(&content))))?;
                content
            }
        };
        let below = content.below.as_ref().map(|path| self.below.open(path, Open::Read)).transpose()?;
        Ok(Arc::new(OpenFile { content, below, writable: how != Open::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        if let Ok(Node::Dir(_)) = self.find(to)
            && !self.list(to)?.is_empty()
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.set(to, Some(node))?;
        if from != to {
            self.set(from, None)?;
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.find(path)? {
            Node::File(_) => self.set(path, None),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if self.exists(path)? {
            Err(io::ErrorKind::AlreadyExists.into())
        } else {
            let dir = Dir { below: None, known: BTreeMap::new() };
            self.set(path, Some(Node::Dir(Arc::new(Mutex::new(dir)))))
        }
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if self.list(path)?.is_empty() {
            self.set(path, None)
        } else {
            Err(io::ErrorKind::DirectoryNotEmpty.into())
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let dir = self.find_dir(path)?;
        let dir = lock(&dir);
        let below = dir.below.as_ref().map(|below| self.below.list(below)).transpose()?;
        let unknown = below.into_iter().flatten().filter(|entry| !dir.known.contains_key(&entry.name));
        let known = dir.known.iter().filter_map(|(name, node)| {
            let is_dir = matches!(node.as_ref()?, Node::Dir(_));
            Some(Entry { name: name.clone(), is_dir })
        });
        let mut entries: Vec<Entry> = unknown.chain(known).collect();
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn OpenDir>> {
        self.metadata(dir)?;
        Ok(Box::new(Unsynced))
    }

    fn volume(&self, _dir: &Path) -> io::Result<Option<Box<dyn Volume>>> {
        Ok(None)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        if !path.starts_with(&self.root) {
            return self.below.metadata(path);
        }
        Ok(match self.find(path)? {
            Node::File(content) => Metadata { len: lock(&content.changed).len, is_dir: false },
            Node::Dir(_) => Metadata { len: 0, is_dir: true },
        })
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.below.space(dir)
    }

    /// Takes no real lock: no other process uses this overlay.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.open(path, Open::WriteOrNew)?;
        Ok(Some(Lock { _held: Box::new(()) }))
    }
}

impl File for OpenFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut changed = lock(&self.content.changed);
        let mut at = at;
        for piece in pieces {
            self.write(&mut changed, piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let changed = lock(&self.content.changed);
        let left = usize::try_from(changed.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        let mut done = 0;
        while done < wanted {
            let place = at + done as u64;
            let (block, within) = split(place);
            let rest = &mut into[done..wanted];
            done += match changed.blocks.get(&block) {
                Some(bytes) => {
                    let some = rest.len().min(BLOCK - within);
                    rest[..some].copy_from_slice(&bytes[within..within + some]);
                    some
                }
                None => {
                    let next = changed.blocks.range(block..).next().map(|(next, _)| next * BLOCK as u64);
                    let until = next.map_or(u64::MAX, |next| next - place);
                    let some = rest.len().min(usize::try_from(until).unwrap_or(usize::MAX));
                    self.read_below(&changed, &mut rest[..some], place)?;
                    some
                }
            };
        }
        Ok(wanted)
    }

    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        self.read_at(into, at).map(Some)
    }

    fn read_new(&self, len: usize, at: u64) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.len()?.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(left)];
        let read = self.read_at(&mut bytes, at)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut changed = lock(&self.content.changed);
        changed.shown = changed.shown.min(len);
        let (last, within) = split(len);
        changed.blocks.split_off(&(last + 1));
        if let Some(bytes) = changed.blocks.get_mut(&last) {
            bytes[within..].fill(0);
        }
        changed.len = len;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.content.changed).len)
    }
}

impl OpenFile {
    fn write(&self, changed: &mut Changed, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let (block, within) = split(at);
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - within));
            if !changed.blocks.contains_key(&block) {
                let mut whole = Box::new([0; BLOCK]);
                self.read_below(changed, &mut whole[..], block * BLOCK as u64)?;
                changed.blocks.insert(block, whole);
            }
            if let Some(whole) = changed.blocks.get_mut(&block) {
                whole[within..within + now.len()].copy_from_slice(now);
            }
            at += now.len() as u64;
            changed.len = changed.len.max(at);
            bytes = later;
        }
        Ok(())
    }

    /// Reads the visible bytes of the file below, and zeros after them.
    fn read_below(&self, changed: &Changed, into: &mut [u8], at: u64) -> io::Result<()> {
        let shown = usize::try_from(changed.shown.saturating_sub(at)).unwrap_or(usize::MAX);
        let shown = shown.min(into.len());
        let read = match &self.below {
            Some(below) if shown > 0 => below.read_at(&mut into[..shown], at)?,
            _ => 0,
        };
        into[read..].fill(0);
        Ok(())
    }
}

/// The block that contains a byte, and the byte's position in the block.
fn split(at: u64) -> (u64, usize) {
    (at / BLOCK as u64, (at % BLOCK as u64) as usize)
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().ignoring_poison()
}
