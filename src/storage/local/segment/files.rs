//! The paths and owners of segment files, and the set of open files. The set is bounded, and the least
//! recently used file is closed first, so an unused partition needs no file descriptor. The key of an open
//! file is its topic and segment, not its path, because a later topic may reuse the path.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::fs::{self, Failure, File, Fs, Open, OpenDir};
use super::lent::Leases;
use crate::kernel::SegmentId;
use crate::types::{IgnorePoison, Offset, TopicId, Uuid};

/// The name and format are Kafka's. Kafka's tools and this broker read the topic id from it.
pub const METADATA: &str = "partition.metadata";

pub struct Files {
    fs: Arc<dyn Fs>,
    most: usize,
    open: Mutex<OpenFiles>,
    /// Files that answers are sent from. They count as open files, so they need no extra descriptors.
    pub(super) leases: Arc<Leases>,
}

/// One in [`LENT_SHARE`] open files may be lent to answers.
const LENT_SHARE: usize = 4;

#[derive(Default)]
struct OpenFiles {
    by_segment: BTreeMap<SegmentKey, OpenFile>,
    uses: u64,
}

type SegmentKey = (TopicId, i32, SegmentId);

struct OpenFile {
    file: Arc<dyn File>,
    is_writable: bool,
    used: u64,
}

impl Files {
    pub fn new(fs: Arc<dyn Fs>, most: usize) -> Files {
        Files { fs, most, open: Mutex::default(), leases: Leases::new(most / LENT_SHARE) }
    }

    pub fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    /// The file of a segment, opened as `how` says unless it already is. If the process has no file
    /// descriptor left, other segment files are closed.
    pub fn open(&self, key: SegmentKey, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut open = self.lock();
        open.uses += 1;
        let (used, is_writable) = (open.uses, how != Open::Read);
        if let Some(known) = open.by_segment.get_mut(&key).filter(|known| known.is_writable || !is_writable) {
            known.used = used;
            return Ok(Arc::clone(&known.file));
        }
        let file = match self.fs.open(path, how) {
            Err(error) if Failure::of(&error) == Failure::NoDescriptors && open.close_half() => {
                self.fs.open(path, how)?
            }
            opened => opened?,
        };
        if open.by_segment.len() >= self.most {
            // Closing a file that is in use frees no descriptor.
            let idle = open.by_segment.iter().filter(|(_, known)| Arc::strong_count(&known.file) == 1);
            let least = idle.min_by_key(|(_, known)| known.used).map(|(key, _)| *key);
            least.and_then(|key| open.by_segment.remove(&key));
        }
        open.by_segment.insert(key, OpenFile { file: Arc::clone(&file), is_writable, used });
        Ok(file)
    }

    /// Closes the file of a segment.
    pub fn forget(&self, key: SegmentKey) {
        self.lock().by_segment.remove(&key);
    }

    /// Closes all files of a partition.
    pub fn forget_partition(&self, topic: TopicId, partition: i32) {
        let first = SegmentId { base: Offset(i64::MIN), generation: 0 };
        let last = SegmentId { base: Offset(i64::MAX), generation: u32::MAX };
        let mut open = self.lock();
        let of_it = open.by_segment.range((topic, partition, first)..=(topic, partition, last));
        let of_it: Vec<SegmentKey> = of_it.map(|(key, _)| *key).collect();
        of_it.iter().for_each(|key| drop(open.by_segment.remove(key)));
    }

    /// Makes durable: the names in a partition's directory, its own name, and its metadata file.
    pub fn sync_names(&self, dir: &Path) -> io::Result<()> {
        Names::open(&*self.fs, dir)?.sync()
    }

    #[cfg(test)]
    pub fn open_count(&self) -> usize {
        self.lock().by_segment.len()
    }

    fn lock(&self) -> MutexGuard<'_, OpenFiles> {
        self.open.lock().ignoring_poison()
    }
}

impl OpenFiles {
    /// Closes the least recently used half. Returns `false` if no file was open.
    fn close_half(&mut self) -> bool {
        let mut used: Vec<u64> = self.by_segment.values().map(|known| known.used).collect();
        used.sort_unstable();
        let Some(&middle) = used.get(used.len() / 2) else { return false };
        self.by_segment.retain(|_, known| known.used > middle);
        true
    }
}

/// The names of a partition's files and directory, opened to be synced.
pub struct Names {
    metadata: Arc<dyn File>,
    dir: Box<dyn OpenDir>,
    above: Box<dyn OpenDir>,
}

impl Names {
    pub fn open(fs: &dyn Fs, dir: &Path) -> io::Result<Names> {
        Ok(Names {
            metadata: fs.open(&dir.join(METADATA), Open::Write)?,
            dir: fs.open_dir(dir)?,
            above: fs.open_dir(fs::parent(dir))?,
        })
    }

    pub fn sync(&self) -> io::Result<()> {
        self.metadata.sync_data()?;
        self.dir.sync()?;
        self.above.sync()
    }
}

/// `<base offset, 20 digits>.log`, or `<base offset>.<generation>.log` after compaction has rewritten it.
pub fn log_path(dir: &Path, id: SegmentId) -> PathBuf {
    path_of(dir, id, "log")
}

pub fn index_path(dir: &Path, id: SegmentId) -> PathBuf {
    path_of(dir, id, "idx")
}

fn path_of(dir: &Path, SegmentId { base, generation }: SegmentId, suffix: &str) -> PathBuf {
    dir.join(match generation {
        0 => format!("{:020}.{suffix}", base.0),
        generation => format!("{:020}.{generation}.{suffix}", base.0),
    })
}

/// Opens the file of a segment for recovery. Creates the directory and the file if they are missing, and
/// writes the metadata again, because it may only be in the page cache. The names need a sync afterwards.
pub fn recreate(fs: &dyn Fs, dir: &Path, topic: TopicId, id: SegmentId) -> io::Result<Arc<dyn File>> {
    make_dir(fs, dir)?;
    write_metadata(fs, dir, topic)?;
    fs.open(&log_path(dir, id), Open::WriteOrNew)
}

/// Creates the directory. Returns `false` if it existed.
pub fn make_dir(fs: &dyn Fs, dir: &Path) -> io::Result<bool> {
    match fs.create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        made => made.map(|()| true),
    }
}

pub fn write_metadata(fs: &dyn Fs, dir: &Path, topic: TopicId) -> io::Result<()> {
    let text = format!("version: 0\ntopic_id: {topic}");
    let file = fs.open(&dir.join(METADATA), Open::WriteOrNew)?;
    file.write_at(&[IoSlice::new(text.as_bytes())], 0)?;
    file.truncate(text.len() as u64)
}

/// The topic id in a partition's directory; `None` if there is none.
pub fn topic_of(fs: &dyn Fs, dir: &Path) -> io::Result<Option<TopicId>> {
    let file = match fs.open(&dir.join(METADATA), Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let bytes = fs::read_whole(&*file, 4096)?;
    let text = String::from_utf8_lossy(&bytes);
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id:"));
    Ok(id.and_then(|id| Uuid::parse(id.trim())))
}

/// The segments that have a file in the directory, sorted.
pub fn ids(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<SegmentId>> {
    let mut ids: Vec<SegmentId> = fs.list(dir)?.iter().filter_map(|entry| id_of(&entry.name)).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn id_of(name: &str) -> Option<SegmentId> {
    let name = name.strip_suffix(".log")?;
    let (base, generation) = name.split_once('.').unwrap_or((name, "0"));
    Some(SegmentId { base: Offset(base.parse().ok()?), generation: generation.parse().ok()? })
}

/// Removes a segment's file and its index; missing files are no error. The names need a sync afterwards.
pub fn remove_files(fs: &dyn Fs, dir: &Path, id: SegmentId) -> io::Result<()> {
    for path in [index_path(dir, id), log_path(dir, id)] {
        match fs.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
