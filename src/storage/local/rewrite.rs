//! The segment files that compaction writes.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;

use super::fs::File;
use super::segment::PartitionDir;
use crate::kernel::ExtentId;
use crate::storage::cleaner::Sink;
use crate::types::AbortedTransaction;

/// The bytes that are collected before they are written.
const CHUNK: usize = 1 << 20;

pub(super) struct NewFiles {
    dir: Arc<PartitionDir>,
    ids: Vec<ExtentId>,
    newest: Option<NewFile>,
}

struct NewFile {
    id: ExtentId,
    file: Arc<dyn File>,
    written: u64,
    buffer: Vec<u8>,
    /// The aborted transactions that end in it.
    aborted: Vec<AbortedTransaction>,
}

impl NewFiles {
    pub(super) fn in_dir(dir: Arc<PartitionDir>) -> NewFiles {
        NewFiles { dir, ids: Vec::new(), newest: None }
    }

    /// Ends the newest file. It is not kept open, because a run may write any number of files.
    fn end_newest(&mut self) -> io::Result<()> {
        let Some(mut newest) = self.newest.take() else { return Ok(()) };
        newest.flush()?;
        newest.file.sync_data()?;
        if newest.aborted.is_empty() {
            return Ok(());
        }
        self.dir.write_aborted(newest.id, &newest.aborted)
    }
}

impl Sink for NewFiles {
    fn begin(&mut self, id: ExtentId) -> io::Result<()> {
        self.end_newest()?;
        let file = self.dir.create(id)?;
        self.ids.push(id);
        self.newest = Some(NewFile { id, file, written: 0, buffer: Vec::new(), aborted: Vec::new() });
        Ok(())
    }

    fn append(&mut self, batch: &Bytes) -> io::Result<()> {
        let Some(newest) = &mut self.newest else { return Ok(()) };
        newest.buffer.extend_from_slice(batch);
        if newest.buffer.len() >= CHUNK { newest.flush() } else { Ok(()) }
    }

    fn list_aborted(&mut self, transaction: &AbortedTransaction) {
        if let Some(newest) = &mut self.newest {
            newest.aborted.push(*transaction);
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.end_newest()?;
        self.dir.names()?.sync()
    }

    fn remove(&mut self) {
        self.newest = None;
        for id in &self.ids {
            if let Err(error) = self.dir.remove(*id) {
                tracing::debug!(%error, "cannot remove a compaction file; the next start removes it");
            }
        }
    }
}

impl NewFile {
    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&[IoSlice::new(&self.buffer)], self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
