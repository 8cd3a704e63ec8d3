//! The data directory: its files and folders, its owner, and the free space of its disk.

mod left;

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use self::left::Leftovers;
use super::fs::{self, Fs, Lock, Open, Volume};
use super::hold;
use super::journal;
use super::segment::{Files, PartitionDir, Segment, SyncError};
use super::trash::Trash;
use crate::kernel::Levels;
use crate::storage::OpenError;
use crate::time;
use crate::types::{ClusterId, IgnorePoison, NodeId, TopicPartition, Uuid};

/// The prefix of the last line of `meta`: the checksum of all lines before it.
const CHECKSUM: &str = "checksum=";

/// The first format in which `meta` has a checksum. It was never released, like those before it.
const CHECKED: u32 = 4;

const LOCK: &str = "LOCK";
pub(super) const META: &str = "meta";

/// In a backup until it is complete.
pub(super) const UNFINISHED: &str = "backup.unfinished";

/// The directories that every start creates if they are missing.
const PARTS: [&str; 4] = ["journal", "snapshot", "topics", "trash"];

/// From this many files on, one sync of the whole volume is cheaper, although it also writes other unsynced
/// data.
const SYNC_VOLUME_FROM: usize = 100;

pub struct Directory {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) files: Arc<Files>,
    pub(super) trash: Arc<Trash>,
    root: PathBuf,
    /// Opened at the start, so that it reports every failed write since then.
    volume: Option<Box<dyn Volume>>,
    pub(super) cluster_id: ClusterId,
    pub(super) node_id: NodeId,
    /// The stored forms that this version knows. The format of a directory is the level in force when it was
    /// last opened.
    pub(super) levels: Levels,
    /// The format of the directory when it was opened.
    format: u32,
    /// Written into the journal's frames; never leaves this directory.
    pub(super) salt: u64,
    full: AtomicBool,
    /// Whether a test fills the disk. Locked while the free space is checked.
    filled: Mutex<bool>,
    /// Files that are not needed any more and could not be removed yet.
    left: Mutex<Leftovers>,
    /// Held while files are removed, or are taken away from a backup.
    removing: Mutex<()>,
    lock: Mutex<Option<Lock>>,
}

impl Directory {
    /// Opens the directory for this process, and creates it if it is missing. Fails if it is in use, not a
    /// data directory, of another node or cluster, or of an unknown format. `open_segments` is the maximum
    /// number of open segment files of all partitions together.
    pub fn open(
        fs: Arc<dyn Fs>,
        root: &Path,
        node_id: NodeId,
        cluster_id: Option<ClusterId>,
        new_id: fn() -> Uuid,
        open_segments: usize,
        levels: Levels,
    ) -> Result<Directory, OpenError> {
        let io = |error| OpenError::Io { path: root.to_owned(), error };
        fs::create_dirs(&*fs, root).map_err(|error| match file_in_the_way(&*fs, root) {
            Some(file) => OpenError::NotADirectory { path: root.to_owned(), file },
            None => io(error),
        })?;
        let entries = fs.list(root).map_err(io)?;
        let is_ours = entries.iter().any(|entry| entry.name == META);
        let only_ours = |entry: &fs::Entry| {
            [LOCK, "meta.new", "lost+found"].contains(&entry.name.as_str()) || entry.name.starts_with('.')
        };
        if entries.iter().any(|entry| entry.name == UNFINISHED) {
            return Err(unfinished(root));
        }
        let parts = entries.iter().filter(|entry| PARTS.contains(&entry.name.as_str())).count();
        if !is_ours && parts == PARTS.len() {
            return Err(Meta::missing(root));
        }
        if !is_ours && !entries.iter().all(only_ours) {
            return Err(OpenError::NotOurs { path: root.to_owned() });
        }
        let lock = fs.lock(&root.join(LOCK)).map_err(io)?;
        let lock = lock.ok_or_else(|| OpenError::InUse { path: root.to_owned() })?;
        hold::void(&*fs, root).map_err(io)?;
        let meta = if is_ours {
            Meta::read(&*fs, root, levels)?
        } else {
            let salt = u64::from_be_bytes(*new_id().0.first_chunk().expect("an id has 16 bytes"));
            let cluster_id = cluster_id.clone().unwrap_or_else(|| new_id().into());
            let meta = Meta { format: format_of(levels), cluster_id, node_id, salt };
            meta.write(&*fs, root).map_err(io)?;
            meta
        };
        if meta.node_id != node_id {
            return Err(OpenError::OtherNode { path: root.to_owned(), theirs: meta.node_id, ours: node_id });
        }
        if let Some(ours) = cluster_id.filter(|ours| *ours != meta.cluster_id) {
            return Err(OpenError::OtherCluster { path: root.to_owned(), theirs: meta.cluster_id, ours });
        }
        for part in PARTS {
            match fs.create_dir(&root.join(part)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
                _ => {}
            }
        }
        meta.copy_into_lock_file(&*fs, root);
        // One sync for all of them, and for those that an earlier, killed start created.
        fs.sync_dir(root).map_err(io)?;
        let files = Arc::new(Files::new(Arc::clone(&fs), open_segments));
        let trash = Arc::new(Trash::open(Arc::clone(&fs), root.join("trash")).map_err(io)?);
        let Meta { format, cluster_id, salt, .. } = meta;
        let full = AtomicBool::new(false);
        let volume = fs.volume(root).map_err(io)?;
        let (root, lock) = (root.to_owned(), Mutex::new(Some(lock)));
        let (left, removing) = Default::default();
        Ok(Directory {
            fs,
            files,
            trash,
            root,
            volume,
            cluster_id,
            node_id,
            levels,
            format,
            salt,
            full,
            filled: Mutex::default(),
            left,
            removing,
            lock,
        })
    }

    /// Opens a directory of any node for the `jackdaw log` commands.
    pub(super) fn open_offline(fs: &Arc<dyn Fs>, root: &Path) -> Result<Directory, OpenError> {
        const FILES: usize = 64;
        let node_id = Meta::read(&**fs, root, Levels::KNOWN)?.node_id;
        Directory::open(Arc::clone(fs), root, node_id, None, time::random_uuid, FILES, Levels::KNOWN)
    }

    /// Writes the current format into `meta`, so that older versions refuse the directory with a clear error.
    pub(super) fn raise_format(&self) -> io::Result<()> {
        let format = format_of(self.levels);
        if self.format == format {
            return Ok(());
        }
        let (cluster_id, node_id, salt) = (self.cluster_id.clone(), self.node_id, self.salt);
        tracing::info!(from = self.format, to = format, "raising the format of the data directory");
        let meta = Meta { format, cluster_id, node_id, salt };
        meta.write(&*self.fs, &self.root)?;
        meta.copy_into_lock_file(&*self.fs, &self.root);
        Ok(())
    }

    /// Releases the lock, so that another process or another store can open the directory.
    pub(super) fn release(&self) {
        drop(self.lock.lock().ignoring_poison().take());
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The size and free space of its disk; `None` if unknown, or in memory.
    pub(super) fn space(&self) -> Option<fs::Space> {
        // The lock is not held meanwhile: a slow disk would hold writers up.
        let filled = *self.filled.lock().ignoring_poison();
        let space = self.measured(filled);
        space.ok().filter(|space| space.total < u64::MAX)
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(super) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshot")
    }

    /// Records of partitions whose segments could not be written at a start.
    pub(super) fn kept(&self) -> PathBuf {
        self.root.join("kept")
    }

    /// The file with the progress of the scrub.
    pub(super) fn scrub(&self) -> PathBuf {
        self.root.join("scrub")
    }

    pub(super) fn topics(&self) -> PathBuf {
        self.root.join("topics")
    }

    pub(super) fn partition(&self, topic: &str, index: i32) -> PathBuf {
        self.topics().join(partition_dir(topic, index))
    }

    /// The directory of a partition, usable as long as its topic exists.
    pub(super) fn partition_dir(&self, topic: &str, key: TopicPartition) -> Arc<PartitionDir> {
        let path = self.partition(topic, key.partition);
        Arc::new(PartitionDir::new(&self.files, &self.trash, path, key))
    }

    /// Makes everything that was appended to these segments durable, including their names.
    pub(super) fn sync(&self, segments: &[Arc<Segment>]) -> Result<(), SyncError> {
        if segments.len() >= SYNC_VOLUME_FROM && self.volume.is_some() {
            return self.sync_volume(segments);
        }
        for segment in segments {
            match segment.sync() {
                // The volume is already open, so a sync of the volume still works.
                Err(SyncError::Open(_)) if self.volume.is_some() => return self.sync_volume(segments),
                synced => synced?,
            }
        }
        Ok(())
    }

    /// Makes the lists of aborted transactions of these segments durable. A list that cannot be written is made again
    /// from the records.
    pub(super) fn sync_lists(&self, segments: &[Segment]) -> io::Result<()> {
        if segments.len() >= SYNC_VOLUME_FROM && self.volume.is_some() {
            segments.iter().for_each(Segment::save_aborted);
            return self.sync_everything();
        }
        segments.iter().for_each(Segment::sync_aborted);
        Ok(())
    }

    /// Makes everything written to the volume so far durable, whoever wrote it. Does nothing on systems without
    /// such a call.
    pub(super) fn sync_everything(&self) -> io::Result<()> {
        self.volume.as_ref().map_or(Ok(()), |volume| volume.sync())
    }

    fn sync_volume(&self, segments: &[Arc<Segment>]) -> Result<(), SyncError> {
        let Some(volume) = &self.volume else { return Ok(()) };
        segments.iter().for_each(|segment| segment.save_aborted());
        let outcome = volume.sync();
        // Every segment gets the outcome, so that a later sync does not hide a failure.
        let mut synced = Ok(());
        for segment in segments {
            synced = synced.and(segment.synced_with_volume(&outcome));
        }
        synced.map_err(SyncError::Sync)
    }

    /// From now on backups can hold files of this directory. Without it they are refused.
    pub(super) fn allow_holds(&self, start: Uuid) {
        if let Err(error) = hold::announce(&*self.fs, &self.root, start) {
            tracing::warn!(
                %error,
                "cannot write topics.hold: backups of the running broker are refused until the next start"
            );
        }
    }

    /// Whether the free space is below the floor. Then no more data is accepted, so that the broker itself
    /// can always start, answer and delete.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether `bytes` more can be written without filling the disk.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        self.space().is_none_or(|space| space.free.saturating_sub(bytes) >= floor_of(&space))
    }

    /// Checks the free space. Called every few megabytes, and before each write while the disk is full.
    pub(super) fn look_at_space(&self) {
        self.judge_space(*self.filled.lock().ignoring_poison());
    }

    /// Fills the disk for a test, without writing anything, or frees it again.
    pub(super) fn fill(&self, is_filled: bool) {
        let mut filled = self.filled.lock().ignoring_poison();
        *filled = is_filled;
        self.judge_space(*filled);
    }

    /// The space of the disk. None is free while a test fills it.
    fn measured(&self, is_filled: bool) -> io::Result<fs::Space> {
        let space = self.fs.space(&self.root)?;
        Ok(if is_filled { fs::Space { free: 0, ..space } } else { space })
    }

    fn judge_space(&self, is_filled: bool) {
        let Ok(space) = self.measured(is_filled) else { return };
        let floor = floor_of(&space);
        let full = space.free < floor;
        if self.full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::warn!(
                    free = space.free,
                    floor,
                    "the disk is full: writes are refused until there is room"
                );
            } else {
                tracing::info!(free = space.free, "the disk has room again: writes are accepted");
            }
        }
    }
}

fn unfinished(root: &Path) -> OpenError {
    let what = format!(
        "{} is a backup that was not finished: it cannot be used, delete it and make another one",
        root.display()
    );
    OpenError::Damaged { what }
}

fn file_in_the_way(fs: &dyn Fs, root: &Path) -> Option<PathBuf> {
    let is_file = |path: &&Path| fs.metadata(path).is_ok_and(|found| !found.is_dir);
    root.ancestors().find(is_file).map(Path::to_owned)
}

fn floor_of(space: &fs::Space) -> u64 {
    (space.total / 20).min(1 << 30)
}

/// The owner of a data directory, as `name=value` lines.
pub(super) struct Meta {
    format: u32,
    cluster_id: ClusterId,
    pub(super) node_id: NodeId,
    pub(super) salt: u64,
}

enum ParsedMeta {
    Known(Meta),
    /// An unknown format; its other fields may be unknown too.
    OtherFormat(u32),
}

impl Meta {
    pub(super) fn read(fs: &dyn Fs, root: &Path, levels: Levels) -> Result<Meta, OpenError> {
        let path = root.join(META);
        let bytes = fs::read_all(fs, &path, 64 << 10).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Meta::missing(root),
            _ => OpenError::Io { path: path.clone(), error },
        })?;
        let damaged = |why: String| OpenError::Damaged { what: format!("{}: {why}", path.display()) };
        let oldest = u32::from(levels.oldest().0);
        match Meta::parse(&String::from_utf8_lossy(&bytes), levels) {
            Err(why) => Err(damaged(why)),
            Ok(ParsedMeta::OtherFormat(format)) if format < oldest => {
                Err(OpenError::Older { path: root.to_owned(), format, known: oldest })
            }
            Ok(ParsedMeta::OtherFormat(format)) => {
                Err(OpenError::Newer { path: root.to_owned(), format, known: format_of(levels) })
            }
            Ok(ParsedMeta::Known(meta)) => Ok(meta),
        }
    }

    /// Fails if the file cannot be read.
    pub(super) fn check(fs: &dyn Fs, root: &Path) -> Result<(), OpenError> {
        Meta::read(fs, root, Levels::KNOWN).map(drop)
    }

    fn missing(root: &Path) -> OpenError {
        OpenError::Damaged { what: format!("{} is missing", root.join(META).display()) }
    }

    /// Repairs a damaged `meta`, from its copy in the lock file, or else from the readable parts of `meta`
    /// and of the journal. Returns `false` if something was lost.
    pub(super) fn restore(fs: &dyn Fs, root: &Path, levels: Levels) -> io::Result<bool> {
        let text = |name: &str| {
            let bytes = fs::read_all(fs, &root.join(name), 64 << 10).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let copy = text(LOCK);
        // Also a copy of another version: a repair of this one is then refused, as a start is.
        if Meta::parse(&copy, levels).is_ok() {
            fs::replace(fs, &root.join(META), &[IoSlice::new(copy.as_bytes())])?;
            return Ok(true);
        }
        let text = text(META);
        let node_id = value_of(&text, "node.id").and_then(|id| id.parse().ok()).map_or(NodeId(1), NodeId);
        let salt = match journal::salt_of(fs, &root.join("journal")) {
            Ok(Some(salt)) => salt,
            // Without frames any salt will do.
            Ok(None) | Err(_) => u64::from_be_bytes(*time::random_uuid().0.first_chunk().unwrap_or(&[1; 8])),
        };
        let (format, cluster_id) = (format_of(levels), time::random_uuid().into());
        Meta { format, cluster_id, node_id, salt }.write(fs, root)?;
        Ok(false)
    }

    fn parse(text: &str, levels: Levels) -> Result<ParsedMeta, String> {
        let value = |name: &str| value_of(text, name).ok_or_else(|| format!("it has no {name}"));
        let unreadable = |name: &str| format!("its {name} cannot be read");
        let format: u32 = value("format")?.parse().map_err(|_| unreadable("format"))?;
        match text.rsplit_once(CHECKSUM) {
            Some((covered, sum)) if sum.trim_end() == checksum_of(covered) => {}
            Some(_) => return Err("its checksum is wrong".to_owned()),
            None if format >= CHECKED => return Err("its checksum is missing".to_owned()),
            None => {}
        }
        if !(u32::from(levels.oldest().0)..=format_of(levels)).contains(&format) {
            return Ok(ParsedMeta::OtherFormat(format));
        }
        Ok(ParsedMeta::Known(Meta {
            format,
            cluster_id: ClusterId::parse(value("cluster.id")?).ok_or_else(|| unreadable("cluster.id"))?,
            node_id: value("node.id")?.parse().map(NodeId).map_err(|_| unreadable("node.id"))?,
            salt: u64::from_str_radix(value("salt")?, 16).map_err(|_| unreadable("salt"))?,
        }))
    }

    fn text(&self) -> String {
        let Meta { format, cluster_id, node_id, salt } = self;
        let covered =
            format!("format={format}\ncluster.id={cluster_id}\nnode.id={node_id}\nsalt={salt:016x}\n");
        let sum = checksum_of(&covered);
        format!("{covered}{CHECKSUM}{sum}\n")
    }

    /// Writes a copy for `log repair`. Without it a repair only has less to work with.
    fn copy_into_lock_file(&self, fs: &dyn Fs, root: &Path) {
        let (path, text) = (root.join(LOCK), self.text());
        let copied = || -> io::Result<()> {
            if fs::read_all(fs, &path, 64 << 10)? == text.as_bytes() {
                return Ok(());
            }
            let file = fs.open(&path, Open::Write)?;
            file.write_at(&[IoSlice::new(text.as_bytes())], 0)?;
            file.truncate(text.len() as u64)?;
            file.sync_data()
        };
        if let Err(error) = copied() {
            tracing::debug!(%error, "cannot copy meta into the lock file");
        }
    }

    fn write(&self, fs: &dyn Fs, root: &Path) -> io::Result<()> {
        fs::replace(fs, &root.join(META), &[IoSlice::new(self.text().as_bytes())])
    }
}

/// The format of a directory that is opened with these levels.
fn format_of(levels: Levels) -> u32 {
    u32::from(levels.in_force().0)
}

fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::trim)
}

fn checksum_of(text: &str) -> String {
    format!("{:08x}", crc32c::crc32c(text.as_bytes()))
}

/// Whether it looks like a data directory, complete or not.
pub(super) fn is_one(fs: &dyn Fs, root: &Path) -> bool {
    let is_there = |name: &str| fs.metadata(&root.join(name)).is_ok();
    is_there(META) || PARTS.iter().all(|part| is_there(part))
}

/// Whether it is a data directory, even an empty one.
pub(super) fn is_formatted(fs: &dyn Fs, root: &Path) -> bool {
    fs.metadata(&root.join(META)).is_ok()
}

/// Locks a data directory; `None` if a broker is running on it. Creates nothing: without a lock file the
/// inner value is `None`.
pub(super) fn lock(fs: &dyn Fs, root: &Path) -> io::Result<Option<Option<Lock>>> {
    let path = root.join(LOCK);
    match fs.metadata(&path) {
        Ok(_) => Ok(fs.lock(&path)?.map(Some)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(None)),
        Err(error) => Err(error),
    }
}

/// `<topic>-<index>`.
pub(super) fn partition_dir(topic: &str, index: i32) -> String {
    format!("{topic}-{index}")
}

/// The topic name and index in the name of a partition's directory, `<topic>-<index>`.
pub(super) fn parse_partition_dir(name: &str) -> Option<(&str, i32)> {
    let (topic, index) = name.rsplit_once('-')?;
    Some((topic, index.parse().ok()?))
}
