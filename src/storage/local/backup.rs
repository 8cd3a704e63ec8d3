//! `jackdaw backup`: copies a data directory, also of a running broker. Its start serves what the broker had when the copy
//! of the journal ended, as a start after kill -9 at that moment would.
//!
//! **The order.** Snapshots, then the journal, then the segments that the two describe. The journal is read after the
//! snapshots, so it continues them. An entry is written after the records that it refers to, and record bytes never
//! change, so the segments that are read after the journal have at least its records. Each file is copied up to
//! the length that the journal gives it.
//!
//! **Effect on the broker.** It goes on. While the first two are copied, it keeps its old snapshots and with them its journal.
//! Until all segments are copied, it keeps those that retention deleted or compaction replaced, and deleted topics in
//! the trash (`hold.rs`), but not for a backup that makes no progress, and not on a full disk. The directory of a
//! stopped broker is locked instead.
//!
//! **A backup that dies** leaves a directory that no start accepts: it has `backup.unfinished` from the first moment until
//! all of it is durable, and a start on trial (on an overlay in memory) has reached the last entry.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{self, META, Meta, UNFINISHED};
use super::fs::{self, File, Fs, Lock, Open, OverlayFs};
pub use super::hold::NoHold;
use super::hold::{Hold, Standing};
use super::journal::copy;
use super::layout;
use super::recovery;
use super::snapshot;
use crate::kernel::{Extent, Levels, Shard};
use crate::storage::OpenError;
use crate::types::TopicId;

/// The number of bytes that are copied at a time.
const CHUNK: u64 = 1 << 20;
/// The number of bytes after which a copy is synced. A backup shows no progress during a sync, so a sync has to be short.
const SYNC_EVERY: u64 = 64 << 20;
const JOURNAL: &str = "journal";
const SNAPSHOT: &str = "snapshot";
const TOPICS: &str = "topics";
const TRASH: &str = "trash";
const KEPT: &str = "kept";

/// A complete backup.
#[derive(Debug, PartialEq, Eq)]
pub struct Backup {
    /// The last entry of the journal in it.
    pub entry: u64,
    pub topics: usize,
    pub partitions: usize,
    /// The bytes of the copied segments.
    pub bytes: u64,
    /// Partitions that are damaged, in the backup and most likely in the source, with the reason.
    pub out_of_service: BTreeMap<String, String>,
}

/// Why there is no backup. Nothing of it is left, unless the copy could not be removed.
#[derive(Debug)]
pub enum BackupError {
    /// It can be tried again soon.
    NoHold(NoHold),
    /// The target has something in it.
    NotEmpty(PathBuf),
    /// The target is in the directory that is to be copied.
    Inside(PathBuf),
    NoRoom {
        to: PathBuf,
        wanted: u64,
        free: u64,
    },
    /// The broker was restarted meanwhile, or took the files away and could not store that. It may have removed files that
    /// were not copied yet.
    Restarted,
    /// The broker took the files away that it kept for the backup, and may have removed them.
    TakenAway,
    /// The copy cannot be opened, or the source is damaged.
    Open(OpenError),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackupError::NoHold(NoHold::Taken) => write!(f, "another backup of this directory is running"),
            BackupError::NoHold(NoHold::NotServing) => write!(
                f,
                "a broker is starting in the data directory, or a `jackdaw log` command works on it: try again"
            ),
            BackupError::NotEmpty(to) => write!(f, "{} is not empty: name a new directory", to.display()),
            BackupError::Inside(to) => {
                write!(f, "{} is in the data directory: choose a place outside", to.display())
            }
            BackupError::NoRoom { to, wanted, free } => {
                write!(f, "{} has room for {free} bytes, and the backup takes {wanted}", to.display())
            }
            BackupError::Restarted => write!(
                f,
                "the broker was restarted during the backup, or has removed files that it kept for it: make it again"
            ),
            BackupError::TakenAway => write!(
                f,
                "the broker has taken away the files that it kept for the backup, because the backup made no progress \
                 for five minutes or the disk of the broker is full: see its log, and make the backup again"
            ),
            BackupError::Open(error) => write!(f, "{error}"),
        }
    }
}

impl From<OpenError> for BackupError {
    fn from(error: OpenError) -> BackupError {
        BackupError::Open(error)
    }
}

impl From<super::journal::OpenError> for BackupError {
    fn from(error: super::journal::OpenError) -> BackupError {
        BackupError::Open(error.into())
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |error| BackupError::Open(OpenError::Io { path: path.to_owned(), error })
}

/// A directory on a file system.
#[derive(Clone, Copy)]
pub struct FsDir<'a> {
    pub fs: &'a Arc<dyn Fs>,
    pub dir: &'a Path,
}

impl FsDir<'_> {
    fn join(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Copies the data directory `from` to `to`, which must be missing or empty. `before` is called before each file.
pub fn back_up(from: FsDir<'_>, to: FsDir<'_>, before: &mut dyn FnMut(&Path)) -> Result<Backup, BackupError> {
    if to.dir.starts_with(from.dir) {
        return Err(BackupError::Inside(to.dir.to_owned()));
    }
    let owner = Meta::read(&**from.fs, from.dir, Levels::KNOWN)?;
    let meta = fs::read_all(&**from.fs, &from.join(META), 64 << 10).map_err(failed(&from.join(META)))?;
    let claim = Claim::of(from)?;
    begin(to)?;
    let mut copy = Copy { from, to, before, claim, bytes: 0 };
    // A lost claim is the reason to report: files that are missing because of it are no damage.
    let copied = copy.everything(&owner).map_err(|error| copy.claim.check(from).err().unwrap_or(error));
    // The start on trial needs nothing of the broker, which can remove its files meanwhile.
    drop(copy);
    let finished = copied.and_then(|backup| {
        let out_of_service = finish(to, &meta, backup.entry)?;
        Ok(Backup { out_of_service, ..backup })
    });
    if finished.is_err() {
        // The error to return is the first one.
        drop(discard(to));
    }
    finished
}

/// The locks that keep the files that the backup needs.
enum Claim {
    /// Of a broker that is stopped. A directory without a lock file, such as a backup, cannot be locked.
    Stopped {
        lock: Option<Lock>,
    },
    Running(Hold),
}

impl Claim {
    fn of(from: FsDir<'_>) -> Result<Claim, BackupError> {
        let root = failed(from.dir);
        match directory::lock(&**from.fs, from.dir) {
            Err(error) => Err(root(error)),
            Ok(Some(lock)) => Ok(Claim::Stopped { lock }),
            Ok(None) => match Hold::take(&**from.fs, from.dir) {
                Err(error) => Err(root(error)),
                Ok(held) => held.map(Claim::Running).map_err(BackupError::NoHold),
            },
        }
    }

    /// The journal is copied.
    fn release_journal(&mut self) {
        if let Claim::Running(hold) = self {
            hold.release_journal();
        }
    }

    fn show_progress(&mut self) {
        if let Claim::Running(hold) = self {
            hold.show_progress();
        }
    }

    fn check(&self, from: FsDir<'_>) -> Result<(), BackupError> {
        match self {
            Claim::Stopped { lock: Some(_) } => Ok(()),
            // A broker that has started meanwhile has made the lock file.
            Claim::Stopped { lock: None } => match directory::lock(&**from.fs, from.dir) {
                Ok(Some(None)) => Ok(()),
                Ok(_) => Err(BackupError::Restarted),
                Err(error) => Err(failed(from.dir)(error)),
            },
            Claim::Running(hold) => match hold.standing(&**from.fs, from.dir) {
                Ok(Standing::Counts) => Ok(()),
                Ok(Standing::Restarted) => Err(BackupError::Restarted),
                Ok(Standing::TakenAway) => Err(BackupError::TakenAway),
                Err(error) => Err(failed(from.dir)(error)),
            },
        }
    }
}

/// Marks the target as unfinished.
fn begin(to: FsDir<'_>) -> Result<(), BackupError> {
    let io = || failed(to.dir);
    fs::create_dirs(&**to.fs, to.dir).map_err(io())?;
    if to.fs.list(to.dir).map_err(io())?.iter().any(|entry| entry.name != "lost+found") {
        return Err(BackupError::NotEmpty(to.dir.to_owned()));
    }
    to.fs.open(&to.join(UNFINISHED), Open::New).map(drop).map_err(io())
}

/// Removes what was copied, the marker last. If something cannot be removed, the marker stays, too.
fn discard(to: FsDir<'_>) -> io::Result<()> {
    for part in [JOURNAL, SNAPSHOT, TOPICS, TRASH, KEPT] {
        fs::remove_tree(&**to.fs, &to.join(part))?;
    }
    for file in ["journal.synced", META, UNFINISHED] {
        match to.fs.remove(&to.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

struct Copy<'a> {
    from: FsDir<'a>,
    to: FsDir<'a>,
    before: &'a mut dyn FnMut(&Path),
    claim: Claim,
    bytes: u64,
}

impl Copy<'_> {
    /// Copies what a start needs. The copy is not complete before [`finish`].
    fn everything(&mut self, owner: &Meta) -> Result<Backup, BackupError> {
        let (from, to) = (self.from, self.to);
        for part in [JOURNAL, SNAPSHOT, TOPICS, TRASH] {
            to.fs.create_dir(&to.join(part)).map_err(failed(to.dir))?;
        }
        to.fs.sync_dir(to.dir).map_err(failed(to.dir))?;
        let oldest = self.snapshots()?;
        self.begins(&from.join(JOURNAL));
        let (source, target) = (from.join(JOURNAL), to.join(JOURNAL));
        let target = copy::At { fs: to.fs, dir: &target };
        let is_written_to = matches!(self.claim, Claim::Running(_));
        let source = copy::At { fs: from.fs, dir: &source };
        let progress = &mut || self.claim.show_progress();
        copy::copy(source, target, owner.salt, oldest + 1, is_written_to, progress)?;
        to.fs.sync_dir(target.dir).map_err(failed(target.dir))?;
        self.claim.check(from)?;
        self.claim.release_journal();

        let shard = recovery::described(to.fs, to.dir, owner)?;
        self.fits(&shard)?;
        self.all_of(KEPT)?;
        let mut partitions = 0;
        for topic in shard.topics() {
            for (partition, index) in topic.partitions().zip(0..) {
                self.partition(&directory::partition_dir(&topic.name, index), topic.id, partition.extents())?;
                partitions += 1;
            }
            self.claim.check(from)?;
        }
        to.fs.sync_dir(&to.join(TOPICS)).map_err(failed(&to.join(TOPICS)))?;
        self.claim.check(from)?;
        let (entry, topics) = (shard.position(), shard.topics().count());
        Ok(Backup { entry, topics, partitions, bytes: self.bytes, out_of_service: BTreeMap::new() })
    }

    fn begins(&mut self, path: &Path) {
        (self.before)(path);
        self.claim.show_progress();
    }

    /// Copies the newest snapshots. Returns the position of the oldest one, after which the journal is needed; 0 if that is
    /// the whole journal.
    fn snapshots(&mut self) -> Result<u64, BackupError> {
        let (source, target) = (self.from.join(SNAPSHOT), self.to.join(SNAPSHOT));
        let all = snapshot::positions(&**self.from.fs, &source).map_err(failed(&source))?;
        let newest = &all[all.len().saturating_sub(snapshot::KEPT)..];
        for position in newest {
            self.file(&snapshot::path_of(&source, *position), &snapshot::path_of(&target, *position), None)?;
        }
        self.to.fs.sync_dir(&target).map_err(failed(&target))?;
        Ok(if newest.len() == snapshot::KEPT { newest[0] } else { 0 })
    }

    /// Fails if the target has no room for the segments.
    fn fits(&self, shard: &Shard) -> Result<(), BackupError> {
        let partitions = shard.topics().flat_map(|topic| topic.partitions());
        let wanted = partitions.flat_map(|partition| partition.extents()).map(|extent| extent.bytes).sum();
        let space = self.to.fs.space(self.to.dir).map_err(failed(self.to.dir))?;
        if space.free < wanted {
            return Err(BackupError::NoRoom { to: self.to.dir.to_owned(), wanted, free: space.free });
        }
        Ok(())
    }

    /// Copies all files of a directory that changes only at a start; it may be missing.
    fn all_of(&mut self, name: &str) -> Result<(), BackupError> {
        let (source, target) = (self.from.join(name), self.to.join(name));
        let entries = match self.from.fs.list(&source) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed.map_err(failed(&source))?,
        };
        self.to.fs.create_dir(&target).map_err(failed(&target))?;
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            self.file(&source.join(&entry.name), &target.join(&entry.name), None)?;
        }
        self.to.fs.sync_dir(&target).map_err(failed(&target))
    }

    /// Copies the segments of a partition. Files that are missing or too short are copied as they are: the start on
    /// trial judges them, and the journal may have their records.
    fn partition<'e>(
        &mut self,
        name: &str,
        topic: TopicId,
        extents: impl IntoIterator<Item = &'e Extent>,
    ) -> Result<(), BackupError> {
        let extents: Vec<&Extent> = extents.into_iter().collect();
        let Some(newest) = extents.last().map(|extent| extent.id()) else { return Ok(()) };
        let Some(mut dir) = self.find(name, topic)? else { return Ok(()) };
        let target = self.to.join(TOPICS).join(name);
        self.to.fs.create_dir(&target).map_err(failed(&target))?;
        self.moving(&mut dir, name, topic, layout::METADATA, None)?;
        for extent in extents {
            let file = |path: fn(&Path, _) -> PathBuf| name_of(&path(Path::new(""), extent.id()));
            let bytes = Some(extent.bytes);
            self.bytes += self.moving(&mut dir, name, topic, &file(layout::log_path), bytes)?;
            // Those of the newest segment are still written to. Without them a start reads more.
            if extent.id() != newest {
                self.moving(&mut dir, name, topic, &file(layout::index_path), None)?;
                self.moving(&mut dir, name, topic, &file(layout::aborted_path), None)?;
            }
        }
        self.to.fs.sync_dir(&target).map_err(failed(&target))
    }

    /// Copies a file of a partition, if there is one. `dir` changes when the topic is deleted meanwhile. Returns the
    /// number of its bytes.
    fn moving(
        &mut self,
        dir: &mut PathBuf,
        partition: &str,
        topic: TopicId,
        name: &str,
        most: Option<u64>,
    ) -> Result<u64, BackupError> {
        let target = self.to.join(TOPICS).join(partition).join(name);
        loop {
            let path = dir.join(name);
            self.begins(&path);
            let opened = self.from.fs.open(&path, Open::Read);
            // A topic that was made again has files of the same names. The directory of a topic only ever moves away from
            // its place, so the open file is this topic's if the directory is still its own.
            match self.find(partition, topic)? {
                Some(found) if found == *dir => {}
                Some(found) => {
                    *dir = found;
                    continue;
                }
                None => return Ok(0),
            }
            return match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
                opened => self.copied(&*opened.map_err(failed(&path))?, &path, &target, most),
            };
        }
    }

    /// The directory of a partition: in its place, or in the trash if its topic was deleted meanwhile. One with a damaged
    /// `partition.metadata` is found by its name.
    fn find(&self, name: &str, topic: TopicId) -> Result<Option<PathBuf>, BackupError> {
        let fs = &**self.from.fs;
        let is_it = |dir: &Path| layout::topic_of(fs, dir).map(|found| found == Some(topic));
        let (place, trash) = (self.from.join(TOPICS).join(name), self.from.join(TRASH));
        let owner = layout::topic_of(fs, &place).unwrap_or(None);
        if owner == Some(topic) {
            return Ok(Some(place));
        }
        for entry in fs.list(&trash).map_err(failed(&trash))? {
            let is_named = entry.name.split_once('.').is_some_and(|(_, rest)| rest == name);
            let dir = trash.join(&entry.name);
            if is_named && is_it(&dir).map_err(failed(&dir))? {
                return Ok(Some(dir));
            }
        }
        Ok((owner.is_none() && fs.metadata(&place).is_ok()).then_some(place))
    }

    fn file(&mut self, from: &Path, to: &Path, most: Option<u64>) -> Result<u64, BackupError> {
        self.begins(from);
        let source = self.from.fs.open(from, Open::Read).map_err(failed(from))?;
        self.copied(&*source, from, to, most)
    }

    /// Copies an open file, at most `most` bytes of it, and makes the copy durable. Returns the number of bytes.
    fn copied(
        &mut self,
        source: &dyn File,
        from: &Path,
        to: &Path,
        most: Option<u64>,
    ) -> Result<u64, BackupError> {
        let len = source.len().map_err(failed(from))?;
        let len = most.map_or(len, |most| most.min(len));
        let target = self.to.fs.open(to, Open::WriteOrNew).map_err(failed(to))?;
        let (mut at, mut synced) = (0, 0);
        while at < len {
            let bytes = read(source, at, (len - at).min(CHUNK)).map_err(failed(from))?;
            if bytes.is_empty() {
                break;
            }
            target.write_at(&[IoSlice::new(&bytes)], at).map_err(failed(to))?;
            at += bytes.len() as u64;
            if at - synced >= SYNC_EVERY {
                target.sync_data().map_err(failed(to))?;
                synced = at;
            }
            self.claim.show_progress();
        }
        target.sync_data().map_err(failed(to))?;
        Ok(at)
    }
}

/// Completes the backup, if a start of it reaches the last entry. Returns the damaged partitions.
fn finish(to: FsDir<'_>, meta: &[u8], entry: u64) -> Result<BTreeMap<String, String>, BackupError> {
    let io = || failed(to.dir);
    fs::replace(&**to.fs, &to.join(META), &[IoSlice::new(meta)]).map_err(io())?;
    let trial: Arc<dyn Fs> = Arc::new(OverlayFs::new(Arc::clone(to.fs), to.dir));
    trial.remove(&to.join(UNFINISHED)).map_err(io())?;
    let started = recovery::try_start(&trial, to.dir)?;
    if started.shard.position() < entry {
        let reached = started.shard.position();
        let what = format!("{} opens up to entry {reached} instead of {entry}", to.dir.display());
        return Err(OpenError::Damaged { what }.into());
    }
    to.fs.remove(&to.join(UNFINISHED)).map_err(io())?;
    to.fs.sync_dir(to.dir).map_err(io())?;
    Ok(started.account.out_of_service)
}

fn read(file: &dyn File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    file.read_new(usize::try_from(len).unwrap_or(usize::MAX), at)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
