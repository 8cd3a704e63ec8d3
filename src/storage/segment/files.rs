//! Where segment files lie, whose they are, and which of them are open: a bounded number, the
//! least used closed first, so that a partition that rests costs no descriptor.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::fs::{self, File, Fs, Open};
use super::lent::Leases;
use crate::kernel::SegmentId;
use crate::types::{Offset, TopicId, Uuid};

/// Kafka's own file and form: its tools find the topic id there, and so do we.
const METADATA: &str = "partition.metadata";

pub struct Files {
    fs: Arc<dyn Fs>,
    most: usize,
    open: Mutex<OpenFiles>,
    /// Files that answers are sent from. They stay open, so that there are no more descriptors by them.
    pub(super) leases: Arc<Leases>,
}

/// One of so many open files may be lent to answers.
const LENT_SHARE: usize = 4;

#[derive(Default)]
struct OpenFiles {
    by_path: BTreeMap<PathBuf, (Arc<dyn File>, u64)>,
    uses: u64,
}

impl Files {
    pub fn new(fs: Arc<dyn Fs>, most: usize) -> Files {
        Files { fs, most, open: Mutex::default(), leases: Leases::new(most / LENT_SHARE) }
    }

    pub fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    pub fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut open = self.lock();
        open.uses += 1;
        let uses = open.uses;
        if let Some((file, used)) = open.by_path.get_mut(path) {
            *used = uses;
            return Ok(Arc::clone(file));
        }
        let file = self.fs.open(path, how)?;
        if open.by_path.len() >= self.most {
            // Closing one that is in use frees no descriptor.
            let idle = open.by_path.iter().filter(|(_, (file, _))| Arc::strong_count(file) == 1);
            let least = idle.min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone());
            least.and_then(|path| open.by_path.remove(&path));
        }
        open.by_path.insert(path.to_owned(), (Arc::clone(&file), uses));
        Ok(file)
    }

    /// Closes the file of that name, or all files in the directory of that name.
    pub fn forget(&self, path: &Path) {
        self.lock().by_path.retain(|known, _| !known.starts_with(path));
    }

    /// Makes the directory of a partition, and in it the file that says whose it is.
    pub fn make_dir(&self, dir: &Path, topic: TopicId) -> io::Result<()> {
        make_dir(&*self.fs, dir)?;
        match topic_of(&*self.fs, dir)? == Some(topic) {
            true => Ok(()),
            false => write_metadata(&*self.fs, dir, topic),
        }
    }

    /// Makes the names in the directory of a partition durable, its own, and whose it is.
    pub fn sync_names(&self, dir: &Path) -> io::Result<()> {
        self.fs.open(&dir.join(METADATA), Open::Write)?.sync_data()?;
        self.fs.sync_dir(dir)?;
        self.fs.sync_dir(fs::parent(dir))
    }

    #[cfg(test)]
    pub fn open_count(&self) -> usize {
        self.lock().by_path.len()
    }

    fn lock(&self) -> MutexGuard<'_, OpenFiles> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `<base offset, 20 digits>.log`; `<base offset>.<generation>.log` once compaction has written it anew.
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

/// Opens the file of a segment for recovery: everything on the way to it is made where missing, and
/// what is there already is written again, as the page cache may be all that has it. The names want
/// a sync.
pub fn recreate(fs: &dyn Fs, dir: &Path, topic: TopicId, id: SegmentId) -> io::Result<Arc<dyn File>> {
    make_dir(fs, dir)?;
    write_metadata(fs, dir, topic)?;
    fs.open(&log_path(dir, id), Open::WriteOrNew)
}

fn make_dir(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    match fs.create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn write_metadata(fs: &dyn Fs, dir: &Path, topic: TopicId) -> io::Result<()> {
    let text = format!("version: 0\ntopic_id: {topic}");
    let file = fs.open(&dir.join(METADATA), Open::WriteOrNew)?;
    file.write_at(&[IoSlice::new(text.as_bytes())], 0)?;
    file.truncate(text.len() as u64)
}

/// The topic that a partition's directory says it belongs to; `None` where it does not say.
pub fn topic_of(fs: &dyn Fs, dir: &Path) -> io::Result<Option<TopicId>> {
    match fs::read_all(fs, &dir.join(METADATA), 4096) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let id = text.lines().find_map(|line| line.strip_prefix("topic_id:"));
            Ok(id.and_then(|id| Uuid::parse(id.trim())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The segments that have a file in the directory, in order.
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

/// Removes a segment's file and its index; gone already is fine. The names want a sync.
pub fn remove_files(fs: &dyn Fs, dir: &Path, id: SegmentId) -> io::Result<()> {
    for path in [index_path(dir, id), log_path(dir, id)] {
        match fs.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
