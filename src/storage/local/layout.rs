//! The directory of a partition: the paths of its segments, and the file that names its topic.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fs::{self, File, Fs, Open, OpenDir};
use crate::kernel::ExtentId;
use crate::types::{Offset, TopicId, Uuid};

/// The name and format are Kafka's. Kafka's tools and this broker read the topic id from it.
pub const METADATA: &str = "partition.metadata";

/// The metadata file of a partition and the two directories above it, opened to be synced. A sync makes the names of
/// the partition's files durable.
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
pub fn log_path(dir: &Path, id: ExtentId) -> PathBuf {
    path_of(dir, id, "log")
}

pub fn index_path(dir: &Path, id: ExtentId) -> PathBuf {
    path_of(dir, id, "idx")
}

/// Kafka's transaction index: the aborted transactions that end in the segment.
pub fn aborted_path(dir: &Path, id: ExtentId) -> PathBuf {
    path_of(dir, id, ABORTED)
}

/// The suffix of Kafka's transaction index.
pub const ABORTED: &str = "txnindex";

fn path_of(dir: &Path, ExtentId { base, generation }: ExtentId, suffix: &str) -> PathBuf {
    dir.join(match generation {
        0 => format!("{:020}.{suffix}", base.0),
        generation => format!("{:020}.{generation}.{suffix}", base.0),
    })
}

/// Opens the file of a segment for recovery. Creates the directory and the file if they are missing, and
/// writes the metadata again, because it may only be in the page cache. The names need a sync afterwards.
pub fn recreate(fs: &dyn Fs, dir: &Path, topic: TopicId, id: ExtentId) -> io::Result<Arc<dyn File>> {
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
pub fn ids(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<ExtentId>> {
    let mut ids: Vec<ExtentId> = fs.list(dir)?.iter().filter_map(|entry| id_of(&entry.name)).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn id_of(name: &str) -> Option<ExtentId> {
    let name = name.strip_suffix(".log")?;
    let (base, generation) = name.split_once('.').unwrap_or((name, "0"));
    Some(ExtentId { base: Offset(base.parse().ok()?), generation: generation.parse().ok()? })
}

/// Removes a segment's file and those beside it; missing files are no error. The names need a sync afterwards.
pub fn remove_files(fs: &dyn Fs, dir: &Path, id: ExtentId) -> io::Result<()> {
    for path in [index_path(dir, id), aborted_path(dir, id), log_path(dir, id)] {
        match fs.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
