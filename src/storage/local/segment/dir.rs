//! The directory of a partition. All access by path uses the [`PartitionDir`] of the topic that owns it. Once
//! the topic is deleted, its directory is moved away and every later call fails with `NotFound`. So a new
//! topic with the same name has the path to itself: code that still holds the old topic cannot open, write or
//! remove a file of the new one.
//!
//! Open files stay open: a handle follows its file and its directory into the trash.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use super::super::fs::{File, Open};
use super::super::trash::Trash;
use super::files::Files;
use super::lent::LentFile;
use crate::kernel::ExtentId;
use crate::storage::local::layout::{self, Names};
use crate::types::{IgnorePoison, TopicId, TopicPartition};

pub struct PartitionDir {
    files: Arc<Files>,
    trash: Arc<Trash>,
    path: PathBuf,
    topic: TopicId,
    partition: i32,
    /// The directory exists and has the topic's metadata.
    made: AtomicBool,
    /// Read-locked while a file is accessed by path.
    discarded: RwLock<bool>,
}

impl PartitionDir {
    pub fn new(
        files: &Arc<Files>,
        trash: &Arc<Trash>,
        path: PathBuf,
        TopicPartition { topic, partition }: TopicPartition,
    ) -> PartitionDir {
        PartitionDir {
            files: Arc::clone(files),
            trash: Arc::clone(trash),
            path,
            topic,
            partition,
            made: AtomicBool::new(false),
            discarded: RwLock::new(false),
        }
    }

    pub fn key(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.partition)
    }

    pub fn topic(&self) -> TopicId {
        self.topic
    }

    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The path of a segment, for messages.
    pub fn log_path(&self, id: ExtentId) -> PathBuf {
        layout::log_path(&self.path, id)
    }

    /// Whether the topic was deleted.
    pub fn is_discarded(&self) -> bool {
        *self.discarded.read().ignoring_poison()
    }

    /// Records that the directory exists, because a segment is in it.
    pub fn note_made(&self) {
        self.made.store(true, Ordering::Release);
    }

    /// Creates the directory and its metadata file with the topic id.
    pub fn make(&self) -> io::Result<()> {
        let _there = self.there()?;
        if self.made.load(Ordering::Acquire) {
            return Ok(());
        }
        let fs = self.files.fs();
        self.trash.make_way(&self.path)?;
        let is_named = !layout::make_dir(fs, &self.path)?
            && match layout::topic_of(fs, &self.path)? {
                Some(topic) if topic == self.topic => true,
                None if layout::ids(fs, &self.path)?.is_empty() => false,
                _ => return Err(self.holds_something_else()),
            };
        if let Err(error) = layout::write_metadata(fs, &self.path, self.topic) {
            // Without a topic id the next start could not tell which topic the directory belongs to. The
            // first error is returned.
            if !is_named {
                let _ = fs.remove(&self.path.join(layout::METADATA));
                let _ = fs.remove_dir(&self.path);
            }
            return Err(error);
        }
        self.note_made();
        Ok(())
    }

    fn holds_something_else(&self) -> io::Error {
        let path = self.path.display();
        let what = format!("{path} holds files that do not belong to this topic: move them away");
        io::Error::new(io::ErrorKind::AlreadyExists, what)
    }

    /// The file of a segment; [`Files`] keeps it open while it is in use.
    pub fn open(&self, id: ExtentId, how: Open) -> io::Result<Arc<dyn File>> {
        let _there = self.there()?;
        self.files.open((self.topic, self.partition, id), &self.log_path(id), how)
    }

    /// A handle of a segment's file that is not shared, without read-ahead.
    pub fn open_alone(&self, id: ExtentId) -> io::Result<Arc<dyn File>> {
        let _there = self.there()?;
        let file = self.files.fs().open(&self.log_path(id), Open::Read)?;
        file.read_nothing_ahead();
        Ok(file)
    }

    /// An open file, for sending answers from it; `None` if the bytes have to be read instead.
    pub fn lend(&self, file: &Arc<dyn File>) -> Option<Arc<LentFile>> {
        self.files.leases.lend(file)
    }

    /// An empty file for a new segment. Content from an earlier run is removed.
    pub fn create(&self, id: ExtentId) -> io::Result<Arc<dyn File>> {
        let _there = self.there()?;
        let file = self.files.fs().open(&self.log_path(id), Open::WriteOrNew)?;
        file.truncate(0)?;
        Ok(file)
    }

    /// The file with the saved index of a segment.
    pub fn open_index(&self, id: ExtentId, how: Open) -> io::Result<Arc<dyn File>> {
        let _there = self.there()?;
        self.files.fs().open(&layout::index_path(&self.path, id), how)
    }

    /// The path of a segment's list of aborted transactions, for messages.
    pub fn aborted_path(&self, id: ExtentId) -> PathBuf {
        layout::aborted_path(&self.path, id)
    }

    /// The file with the aborted transactions that end in a segment.
    pub fn open_aborted(&self, id: ExtentId, how: Open) -> io::Result<Arc<dyn File>> {
        let _there = self.there()?;
        self.files.fs().open(&self.aborted_path(id), how)
    }

    /// Removes a segment's file and those beside it; missing files are no error. The names need a sync afterwards.
    pub fn remove(&self, id: ExtentId) -> io::Result<()> {
        // The file was moved away with the directory.
        let Ok(_there) = self.there() else { return Ok(()) };
        self.files.forget((self.topic, self.partition, id));
        layout::remove_files(self.files.fs(), &self.path, id)
    }

    /// Handles to make its name, the names in it, and its metadata durable.
    pub fn names(&self) -> io::Result<Names> {
        let _there = self.there()?;
        Names::open(self.files.fs(), &self.path)
    }

    /// Ends all access because the topic is deleted, and moves the directory to the trash. If that fails, it
    /// is tried again before a snapshot without the topic is written. A directory that may belong to another
    /// topic stays.
    pub fn discard(&self) {
        let mut discarded = self.discarded.write().ignoring_poison();
        *discarded = true;
        self.files.forget_partition(self.topic, self.partition);
        if self.trash.keeps_out_of(&self.path) {
            return;
        }
        match self.is_ours().and_then(|ours| if ours { self.trash.take(&self.path) } else { Ok(()) }) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.trash.leave_behind(self.topic, &self.path);
                tracing::warn!(dir = %self.path.display(), %error, "cannot move a deleted topic to the trash; it is tried again");
            }
            _ => {}
        }
    }

    fn is_ours(&self) -> io::Result<bool> {
        let fs = self.files.fs();
        Ok(self.made.load(Ordering::Acquire)
            || match layout::topic_of(fs, &self.path)? {
                Some(topic) => topic == self.topic,
                // A crash came right after the directory was created.
                None => layout::ids(fs, &self.path)?.is_empty(),
            })
    }

    /// Blocks [`PartitionDir::discard`] while the guard lives. Fails with `NotFound` after it.
    fn there(&self) -> io::Result<RwLockReadGuard<'_, bool>> {
        let discarded = self.discarded.read().ignoring_poison();
        if *discarded {
            Err(io::Error::new(io::ErrorKind::NotFound, "the topic was deleted"))
        } else {
            Ok(discarded)
        }
    }
}
