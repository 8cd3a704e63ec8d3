//! A file system in memory that simulates power cuts, killed processes, failing writes and syncs, and a full
//! disk. Everything follows from seeds: the same calls give the same trace.
//!
//! A file has the bytes that the process sees (the page cache), the bytes on the medium, and an ordered list
//! of the changes between the two. A sync applies all of them to the medium. A power cut applies some: each
//! sector of 512 bytes keeps one of its versions since the last sync, and the length one of its values. A
//! `truncate` (shorter or longer) is metadata: it keeps its order relative to other truncates and to later
//! writes, as in a journalling file system. A sync of a directory makes its names durable. A power cut keeps
//! some of the other names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::io::Errno;

use super::{Entry, File, Fs, Lock, Metadata, Open, OpenDir, Space, Volume};
use crate::storage::seeded::Random;
use crate::time::Clock;

const SECTOR: usize = 512;
const BLOCK: u64 = 4096;

/// One process's view of the simulated disk. [`SimFs::kill`] and [`SimFs::crash`] return the view of the next
/// process. Every handle of the old view fails from then on.
#[derive(Clone)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
    boot: u64,
}

/// Operations that can be made to fail. [`Operation::changes`] says which ones count as changes of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Open,
    Create,
    Read,
    Write,
    Truncate,
    SyncData,
    SyncDir,
    SyncVolume,
    Rename,
    Remove,
    CreateDir,
    RemoveDir,
}

impl Operation {
    fn changes(self) -> bool {
        !matches!(self, Operation::Open | Operation::Read)
    }
}

/// A failure to inject.
#[derive(Clone, Debug)]
pub struct Fault {
    pub operation: Operation,
    /// Only paths that contain this fail; empty for all paths.
    pub path: String,
    /// The number of such calls that succeed first.
    pub after: u64,
    pub error: Errno,
    /// `true` if all later such calls fail too, `false` if only one fails.
    pub lasting: bool,
}

impl Fault {
    /// A failure of the next such call, with an input/output error.
    pub fn next(operation: Operation) -> Fault {
        Fault { operation, path: String::new(), after: 0, error: Errno::IO, lasting: false }
    }
}

impl SimFs {
    /// An empty disk with unlimited space.
    pub fn new(seed: u64) -> SimFs {
        let mut disk = Disk {
            boot: 0,
            random: Random(seed),
            nodes: BTreeMap::new(),
            next_node: 1,
            pending_names: Vec::new(),
            locked: Vec::new(),
            faults: Vec::new(),
            hang: None,
            capacity: None,
            read_only: false,
            changes: 0,
            off_at: None,
            trace: String::new(),
            handles: Arc::new(()),
            most_open: None,
        };
        disk.nodes.insert(ROOT, Node { linked: true, kind: Kind::Dir(Dir::default()) });
        SimFs { disk: Arc::new(Mutex::new(disk)), boot: 0 }
    }

    /// Kills the process. The page cache survives, but nothing more becomes durable.
    pub fn kill(&self) -> SimFs {
        let mut disk = self.locked();
        disk.note(format_args!("kill"));
        disk.new_boot();
        SimFs { disk: Arc::clone(&self.disk), boot: disk.boot }
    }

    /// Cuts the power and turns it on again. The seed decides which unsynced changes survive.
    pub fn crash(&self, seed: u64) -> SimFs {
        let mut disk = self.locked();
        disk.note(format_args!("crash {seed}"));
        let mut random = Random(seed);
        disk.lose(&mut random);
        disk.new_boot();
        SimFs { disk: Arc::clone(&self.disk), boot: disk.boot }
    }

    /// A copy of the disk in its current state, to try several continuations.
    pub fn fork(&self) -> SimFs {
        let mut disk = self.locked().clone();
        disk.handles = Arc::new(());
        SimFs { disk: Arc::new(Mutex::new(disk)), boot: self.boot }
    }

    pub fn fail(&self, fault: Fault) {
        self.locked().faults.push(fault);
    }

    /// The next such call takes this long by a manual clock.
    pub fn hang(&self, operation: Operation, how_long: Duration, clock: &Clock) {
        self.locked().hang = Some((operation, how_long, clock.clone()));
    }

    pub fn heal(&self) {
        self.locked().faults.clear();
    }

    /// Cuts the power in the middle of the change after the next `changes` changes. Every call fails from
    /// then on, until [`SimFs::crash`].
    pub fn off_after(&self, changes: u64) {
        let mut disk = self.locked();
        disk.off_at = Some(disk.changes + changes);
    }

    pub fn is_off(&self) -> bool {
        self.locked().is_off()
    }

    /// The number of changes of the disk that were requested so far.
    pub fn changes(&self) -> u64 {
        self.locked().changes
    }

    /// Sets the disk size in bytes. Each file takes whole blocks of 4 KiB. `None` means unlimited.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.locked().capacity = capacity;
    }

    /// Makes the disk behave like a file system that was remounted read-only after an error: nothing can be
    /// changed or opened for writing.
    pub fn set_read_only(&self, read_only: bool) {
        self.locked().read_only = read_only;
    }

    /// Limits the number of open files. `None` means unlimited.
    pub fn set_most_open(&self, most: Option<usize>) {
        self.locked().most_open = most;
    }

    pub fn used(&self) -> u64 {
        self.locked().used()
    }

    /// Flips one bit of a file, in the page cache and on the medium.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut disk = self.locked();
        let node = disk.find(path)?;
        let file = disk.file(node)?;
        let (byte, mask) = (place(bit / 8), 1u8 << (bit % 8));
        for image in [&mut file.live, &mut file.durable] {
            if let Some(byte) = image.get_mut(byte) {
                *byte ^= mask;
            }
        }
        Ok(())
    }

    /// All calls to the disk, one line each.
    pub fn trace(&self) -> String {
        self.locked().trace.clone()
    }

    fn locked(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("no call panics while it holds the disk")
    }

    /// The disk, for one call of this process.
    fn call(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.locked();
        if disk.boot != self.boot {
            return Err(io::Error::other("this process is dead"));
        }
        if disk.is_off() {
            return Err(off());
        }
        Ok(disk)
    }
}

impl Fs for SimFs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut disk = self.call()?;
        // One of them is the disk's own.
        if disk.most_open.is_some_and(|most| Arc::strong_count(&disk.handles) > most) {
            return Err(Errno::MFILE.into());
        }
        let found = disk.find(path);
        let exists = !matches!(&found, Err(error) if error.kind() == io::ErrorKind::NotFound);
        let node = match (how, exists) {
            (Open::New, true) => return Err(Errno::EXIST.into()),
            (Open::New | Open::WriteOrNew, false) => {
                disk.begin(Operation::Create, path)?;
                let (dir, name) = disk.place_of(path)?;
                let node = disk.add(Kind::File(Content::default()));
                disk.change_names(NameChange::Set { dir, name, node })?;
                node
            }
            _ => {
                disk.begin(Operation::Open, path)?;
                let node = found?;
                if disk.read_only && how != Open::Read {
                    return Err(Errno::ROFS.into());
                }
                disk.file(node)?;
                node
            }
        };
        let writable = how != Open::Read;
        let handle = Arc::clone(&disk.handles);
        Ok(Arc::new(SimFile { fs: self.clone(), node, path: path.to_owned(), writable, _handle: handle }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.call()?;
        disk.begin(Operation::Rename, from)?;
        disk.note(format_args!("  to {}", to.display()));
        let node = disk.find(from)?;
        let (from_dir, from_name) = disk.place_of(from)?;
        let (to_dir, to_name) = disk.place_of(to)?;
        if let Ok(taken) = disk.find(to) {
            if taken == node {
                return Ok(());
            }
            if let Kind::Dir(dir) = &disk.nodes[&taken].kind
                && !dir.live.is_empty()
            {
                return Err(Errno::NOTEMPTY.into());
            }
        }
        disk.change_names(NameChange::Move { from_dir, from_name, to_dir, to_name, node })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.call()?;
        disk.begin(Operation::Remove, path)?;
        let node = disk.find(path)?;
        disk.file(node)?;
        let (dir, name) = disk.place_of(path)?;
        disk.change_names(NameChange::Unset { dir, name, node })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.call()?;
        disk.begin(Operation::CreateDir, path)?;
        if disk.find(path).is_ok() {
            return Err(Errno::EXIST.into());
        }
        let (dir, name) = disk.place_of(path)?;
        let node = disk.add(Kind::Dir(Dir::default()));
        disk.change_names(NameChange::Set { dir, name, node })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.call()?;
        disk.begin(Operation::RemoveDir, path)?;
        let node = disk.find(path)?;
        if !disk.dir(node)?.live.is_empty() {
            return Err(Errno::NOTEMPTY.into());
        }
        let (dir, name) = disk.place_of(path)?;
        disk.change_names(NameChange::Unset { dir, name, node })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut disk = self.call()?;
        disk.begin(Operation::Read, dir)?;
        let node = disk.find(dir)?;
        let names: Vec<_> = disk.dir(node)?.live.iter().map(|(name, node)| (name.clone(), *node)).collect();
        let is_dir = |node| matches!(disk.nodes[&node].kind, Kind::Dir(_));
        Ok(names.into_iter().map(|(name, node)| Entry { name, is_dir: is_dir(node) }).collect())
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn OpenDir>> {
        let mut disk = self.call()?;
        disk.begin(Operation::Open, dir)?;
        let node = disk.find(dir)?;
        disk.dir(node)?;
        Ok(Box::new(SimDir { fs: self.clone(), node, path: dir.to_owned() }))
    }

    fn volume(&self, _dir: &Path) -> io::Result<Option<Box<dyn Volume>>> {
        Ok(Some(Box::new(self.clone())))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let disk = self.call()?;
        let node = disk.find(path)?;
        Ok(match &disk.nodes[&node].kind {
            Kind::File(file) => Metadata { len: file.live.len() as u64, is_dir: false },
            Kind::Dir(_) => Metadata { len: 0, is_dir: true },
        })
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let disk = self.call()?;
        let total = disk.capacity.unwrap_or(1 << 40);
        Ok(Space { free: total.saturating_sub(disk.used()), total })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.open(path, Open::WriteOrNew)?;
        let mut disk = self.call()?;
        let node = disk.find(path)?;
        if disk.locked.contains(&node) {
            return Ok(None);
        }
        disk.locked.push(node);
        Ok(Some(Lock { _held: Box::new(SimLock { fs: self.clone(), node }) }))
    }
}

impl Volume for SimFs {
    fn sync(&self) -> io::Result<()> {
        let mut disk = self.call()?;
        let begun = disk.begin(Operation::SyncVolume, Path::new("/"));
        let mut random = Random(disk.random.next());
        if begun.is_ok() {
            for change in std::mem::take(&mut disk.pending_names) {
                disk.apply(&change, Side::Durable);
            }
        }
        for node in disk.nodes.values_mut() {
            match &mut node.kind {
                Kind::File(file) if begun.is_ok() => file.sync(),
                Kind::File(file) => file.lose_some(&mut random),
                Kind::Dir(_) => {}
            }
        }
        begun
    }
}

struct SimDir {
    fs: SimFs,
    node: u64,
    path: PathBuf,
}

impl OpenDir for SimDir {
    fn sync(&self) -> io::Result<()> {
        let mut disk = self.fs.call()?;
        disk.begin(Operation::SyncDir, &self.path)?;
        let (safe, still): (Vec<_>, Vec<_>) =
            std::mem::take(&mut disk.pending_names).into_iter().partition(|change| change.touches(self.node));
        disk.pending_names = still;
        for change in safe {
            disk.apply(&change, Side::Durable);
        }
        Ok(())
    }
}

struct SimLock {
    fs: SimFs,
    node: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = self.fs.locked();
        if disk.boot == self.fs.boot {
            disk.locked.retain(|node| *node != self.node);
        }
    }
}

struct SimFile {
    fs: SimFs,
    node: u64,
    path: PathBuf,
    writable: bool,
    _handle: Arc<()>,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(Errno::BADF.into()) }
    }
}

impl File for SimFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        self.check_writable()?;
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let mut disk = self.fs.call()?;
        let begun = disk.begin(Operation::Write, &self.path);
        disk.note(format_args!("  {} bytes at {at}, crc {:08x}", bytes.len(), crc32c::crc32c(&bytes)));
        // A failing write may have written the first part of its bytes.
        let fits = disk.fits(self.node, at, bytes.len())?;
        let wanted = match &begun {
            Ok(()) => fits,
            Err(_) => fits.min(disk.random.below(bytes.len() as u64 + 1).try_into().unwrap_or(0)),
        };
        disk.file(self.node)?.write(&bytes[..wanted], at);
        begun?;
        if wanted < bytes.len() {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let bytes = self.read_new(into.len(), at)?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn read_new(&self, len: usize, at: u64) -> io::Result<Vec<u8>> {
        let mut disk = self.fs.call()?;
        disk.begin(Operation::Read, &self.path)?;
        let file = disk.file(self.node)?;
        let rest = file.live.get(place(at)..).unwrap_or_default();
        Ok(rest[..rest.len().min(len)].to_vec())
    }

    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        if self.fs.call()?.random.below(4) == 0 {
            return Ok(None);
        }
        self.read_at(into, at).map(Some)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.fs.call()?;
        let begun = disk.begin(Operation::SyncData, &self.path);
        let mut random = Random(disk.random.next());
        let file = disk.file(self.node)?;
        match begun {
            Ok(()) => file.sync(),
            Err(_) => file.lose_some(&mut random),
        }
        begun
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut disk = self.fs.call()?;
        disk.begin(Operation::Truncate, &self.path)?;
        disk.note(format_args!("  to {len}"));
        let file = disk.file(self.node)?;
        file.live.resize(place(len), 0);
        file.pending.push(Change::Resize(len));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.fs.call()?.file(self.node)?.live.len() as u64)
    }
}

const ROOT: u64 = 0;

#[derive(Clone)]
struct Disk {
    boot: u64,
    random: Random,
    nodes: BTreeMap<u64, Node>,
    next_node: u64,
    /// Changes of names that are not synced yet, in order.
    pending_names: Vec<NameChange>,
    locked: Vec<u64>,
    faults: Vec<Fault>,
    /// The next call of this kind takes this long.
    hang: Option<(Operation, Duration, Clock)>,
    capacity: Option<u64>,
    read_only: bool,
    changes: u64,
    off_at: Option<u64>,
    trace: String,
    /// Each open file of the process has a clone.
    handles: Arc<()>,
    most_open: Option<usize>,
}

#[derive(Clone)]
struct Node {
    /// The process sees a name for it, so its blocks count as used.
    linked: bool,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    File(Content),
    Dir(Dir),
}

#[derive(Clone, Default)]
struct Dir {
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
}

#[derive(Clone)]
enum NameChange {
    Set { dir: u64, name: String, node: u64 },
    Unset { dir: u64, name: String, node: u64 },
    Move { from_dir: u64, from_name: String, to_dir: u64, to_name: String, node: u64 },
}

impl NameChange {
    fn touches(&self, dir: u64) -> bool {
        match self {
            NameChange::Set { dir: one, .. } | NameChange::Unset { dir: one, .. } => *one == dir,
            NameChange::Move { from_dir, to_dir, .. } => *from_dir == dir || *to_dir == dir,
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Live,
    Durable,
}

/// The extent of the loss in a power cut.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Nothing,
    Everything,
    Some,
    Most,
}

impl Disk {
    fn is_off(&self) -> bool {
        self.off_at.is_some_and(|at| self.changes > at)
    }

    fn note(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.trace, "{line}").expect("a string takes everything");
    }

    /// Records the call in the trace, and fails if an injected fault applies.
    fn begin(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        self.note(format_args!("{operation:?} {}", path.display()));
        if operation.changes() {
            self.changes += 1;
        }
        if let Some((_, how_long, clock)) = self.hang.take_if(|(hangs, ..)| *hangs == operation) {
            clock.turn(how_long);
        }
        if self.is_off() {
            return Err(off());
        }
        if self.read_only && operation.changes() {
            return Err(Errno::ROFS.into());
        }
        let shown = path.to_string_lossy().into_owned();
        let mut failed = None;
        self.faults.retain_mut(|fault| {
            let hit = fault.operation == operation && shown.contains(&fault.path);
            if !hit || failed.is_some() {
                return true;
            }
            if fault.after > 0 {
                fault.after -= 1;
                return true;
            }
            failed = Some(fault.error);
            fault.lasting
        });
        match failed {
            Some(error) => {
                self.note(format_args!("  fails: {error}"));
                Err(error.into())
            }
            None => Ok(()),
        }
    }

    fn new_boot(&mut self) {
        self.boot += 1;
        self.locked.clear();
        self.faults.clear();
        self.off_at = None;
        self.handles = Arc::new(());
    }

    fn lose(&mut self, random: &mut Random) {
        let pending = std::mem::take(&mut self.pending_names);
        let style = Style::draw(random);
        // Most file systems keep changes of names in order, but POSIX does not require it.
        let in_order = random.below(2) == 0;
        let kept = random.below(pending.len() as u64 + 1);
        for (at, change) in pending.iter().enumerate() {
            let survives = match style {
                Style::Nothing => false,
                Style::Everything => true,
                Style::Some | Style::Most if in_order => (at as u64) < kept,
                Style::Some => random.below(2) == 0,
                Style::Most => random.below(8) != 0,
            };
            if survives {
                self.apply(change, Side::Durable);
            }
        }
        for node in self.nodes.values_mut() {
            match &mut node.kind {
                Kind::Dir(dir) => dir.live = dir.durable.clone(),
                Kind::File(file) => {
                    let style = Style::draw(random);
                    file.durable = file.survivors(random, style);
                    file.live = file.durable.clone();
                    file.pending.clear();
                }
            }
        }
        let mut reached = vec![ROOT];
        let mut look_at = vec![ROOT];
        while let Some(node) = look_at.pop() {
            if let Kind::Dir(dir) = &self.nodes[&node].kind {
                reached.extend(dir.live.values());
                look_at.extend(dir.live.values());
            }
        }
        self.nodes.retain(|node, _| reached.contains(node));
        for node in self.nodes.values_mut() {
            node.linked = true;
        }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut node = ROOT;
        for name in names(path)? {
            let Kind::Dir(dir) = &self.nodes[&node].kind else { return Err(Errno::NOTDIR.into()) };
            node = *dir.live.get(name).ok_or(Errno::NOENT)?;
        }
        Ok(node)
    }

    /// The directory that contains a path, and the path's name in it.
    fn place_of(&self, path: &Path) -> io::Result<(u64, String)> {
        let mut names = names(path)?;
        let name = names.pop().ok_or(Errno::INVAL)?.to_owned();
        let mut node = ROOT;
        for above in names {
            let Kind::Dir(dir) = &self.nodes[&node].kind else { return Err(Errno::NOTDIR.into()) };
            node = *dir.live.get(above).ok_or(Errno::NOENT)?;
        }
        match &self.nodes[&node].kind {
            Kind::Dir(_) => Ok((node, name)),
            Kind::File(_) => Err(Errno::NOTDIR.into()),
        }
    }

    fn file(&mut self, node: u64) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&node).map(|node| &mut node.kind) {
            Some(Kind::File(file)) => Ok(file),
            Some(Kind::Dir(_)) => Err(Errno::ISDIR.into()),
            None => Err(Errno::BADF.into()),
        }
    }

    fn dir(&mut self, node: u64) -> io::Result<&mut Dir> {
        match self.nodes.get_mut(&node).map(|node| &mut node.kind) {
            Some(Kind::Dir(dir)) => Ok(dir),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    fn add(&mut self, kind: Kind) -> u64 {
        let node = self.next_node;
        self.next_node += 1;
        self.nodes.insert(node, Node { linked: false, kind });
        node
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        self.apply(&change, Side::Live);
        self.pending_names.push(change);
        Ok(())
    }

    fn apply(&mut self, change: &NameChange, side: Side) {
        match change {
            NameChange::Set { dir, name, node } => self.set_name(*dir, name, Some(*node), side),
            NameChange::Unset { dir, name, node } => {
                if self.name(*dir, name, side) == Some(*node) {
                    self.set_name(*dir, name, None, side);
                }
            }
            NameChange::Move { from_dir, from_name, to_dir, to_name, node } => {
                if self.name(*from_dir, from_name, side) == Some(*node) {
                    self.set_name(*from_dir, from_name, None, side);
                }
                self.set_name(*to_dir, to_name, Some(*node), side);
            }
        }
    }

    fn name(&mut self, dir: u64, name: &str, side: Side) -> Option<u64> {
        let dir = self.dir(dir).ok()?;
        match side {
            Side::Live => dir.live.get(name).copied(),
            Side::Durable => dir.durable.get(name).copied(),
        }
    }

    fn set_name(&mut self, dir: u64, name: &str, node: Option<u64>, side: Side) {
        let Ok(held) = self.dir(dir) else { return };
        let names = match side {
            Side::Live => &mut held.live,
            Side::Durable => &mut held.durable,
        };
        let before = match node {
            Some(node) => names.insert(name.to_owned(), node),
            None => names.remove(name),
        };
        if let Side::Live = side {
            for (node, linked) in
                before.map(|node| (node, false)).into_iter().chain(node.map(|node| (node, true)))
            {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.linked = linked;
                }
            }
        }
    }

    fn used(&self) -> u64 {
        let blocks = |node: &Node| match &node.kind {
            Kind::File(file) if node.linked => (file.live.len() as u64).div_ceil(BLOCK),
            _ => 0,
        };
        self.nodes.values().map(blocks).sum::<u64>() * BLOCK
    }

    /// The number of bytes, of `len` written at `at`, for which there is space.
    fn fits(&mut self, node: u64, at: u64, len: usize) -> io::Result<usize> {
        let Some(capacity) = self.capacity else { return Ok(len) };
        let free = capacity.saturating_sub(self.used());
        let held = (self.file(node)?.live.len() as u64).div_ceil(BLOCK) * BLOCK;
        let room = (held + free).saturating_sub(at);
        Ok(len.min(
            usize::try_from(room / BLOCK * BLOCK).unwrap_or(usize::MAX).max(place(held.saturating_sub(at))),
        ))
    }
}

/// The bytes of one file.
#[derive(Clone, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    /// A sector after a write, and the length of the file at that time.
    Sector {
        sector: usize,
        bytes: Box<[u8; SECTOR]>,
        len: usize,
    },
    Resize(u64),
}

impl Content {
    fn write(&mut self, bytes: &[u8], at: u64) {
        if bytes.is_empty() {
            return;
        }
        let at = place(at);
        let end = at + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[at..end].copy_from_slice(bytes);
        for sector in at / SECTOR..end.div_ceil(SECTOR) {
            let mut held = Box::new([0; SECTOR]);
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(self.live.len());
            held[..to - from].copy_from_slice(&self.live[from..to]);
            self.pending.push(Change::Sector { sector, bytes: held, len: self.live.len() });
        }
    }

    /// A failed sync: lost changes count as clean afterwards and are not written again.
    fn lose_some(&mut self, random: &mut Random) {
        self.durable = self.survivors(random, Style::Some);
        self.pending.clear();
    }

    fn sync(&mut self) {
        let len = self.durable.len();
        let mut image = Image { bytes: std::mem::take(&mut self.durable), len };
        for change in self.pending.drain(..) {
            match change {
                Change::Sector { sector, bytes, len } => {
                    image.put(sector, &bytes);
                    image.len = image.len.max(len);
                }
                Change::Resize(len) => image.resize(place(len)),
            }
        }
        self.durable = image.finish();
    }

    /// The bytes of the file after a power cut.
    fn survivors(&self, random: &mut Random, style: Style) -> Vec<u8> {
        let pick = |random: &mut Random, versions: u64| match style {
            Style::Nothing => 0,
            Style::Everything => versions,
            Style::Some => random.below(versions + 1),
            Style::Most if random.below(8) != 0 => versions,
            Style::Most => random.below(versions + 1),
        };
        let resizes = self.pending.iter().filter(|change| matches!(change, Change::Resize(_))).count();
        let resizes = pick(random, resizes as u64);

        // Changes before the first resize that did not survive.
        let mut seen = 0;
        let considered = self.pending.iter().take_while(|change| {
            seen += u64::from(matches!(change, Change::Resize(_)));
            seen <= resizes
        });
        let considered: Vec<&Change> = considered.collect();

        let mut versions: BTreeMap<usize, u64> = BTreeMap::new();
        let mut growths = 0;
        for change in &considered {
            if let Change::Sector { sector, .. } = change {
                *versions.entry(*sector).or_default() += 1;
                growths += 1;
            }
        }
        let mut kept: BTreeMap<usize, u64> =
            versions.into_iter().map(|(sector, versions)| (sector, pick(random, versions))).collect();
        let mut growths = pick(random, growths);

        let mut image = Image { bytes: self.durable.clone(), len: self.durable.len() };
        for change in considered {
            match change {
                Change::Sector { sector, bytes, len } => {
                    if let Some(left) = kept.get_mut(sector).filter(|left| **left > 0) {
                        *left -= 1;
                        image.put(*sector, bytes);
                    }
                    if growths > 0 {
                        growths -= 1;
                        image.len = image.len.max(*len);
                    }
                }
                Change::Resize(len) => image.resize(place(*len)),
            }
        }
        image.finish()
    }
}

/// A file's bytes on the medium. It may have sectors after the end of the file.
struct Image {
    bytes: Vec<u8>,
    len: usize,
}

impl Image {
    fn put(&mut self, sector: usize, bytes: &[u8; SECTOR]) {
        let from = sector * SECTOR;
        if self.bytes.len() < from + SECTOR {
            self.bytes.resize(from + SECTOR, 0);
        }
        self.bytes[from..from + SECTOR].copy_from_slice(bytes);
    }

    fn resize(&mut self, len: usize) {
        self.bytes.truncate(self.len.min(len));
        self.bytes.resize(len, 0);
        self.len = len;
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.len, 0);
        self.bytes
    }
}

impl Style {
    fn draw(random: &mut Random) -> Style {
        match random.below(6) {
            0 => Style::Nothing,
            1 => Style::Everything,
            2 | 3 => Style::Some,
            _ => Style::Most,
        }
    }
}

fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or(Errno::INVAL)?),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL.into()),
        }
    }
    Ok(names)
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

fn place(at: u64) -> usize {
    usize::try_from(at).expect("simulated files are small")
}
