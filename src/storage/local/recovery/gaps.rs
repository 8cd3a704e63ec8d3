//! Batches of a partition that wait in memory for their segment **follow each other up to the end of the log**. Readers
//! take whatever memory has next, so a batch that is missing there would be skipped.
//!
//! A batch that was too large for the journal is only in its segment. If it is between or after batches that wait, it is
//! read into memory too. If that is not possible, the partition is out of service.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use super::{UnwrittenBatches, UnwrittenByPartition};
use crate::kernel::{self, ExtentId, Shard};
use crate::record::{self, Header};
use crate::storage::OpenError;
use crate::storage::local::directory::Directory;
use crate::storage::local::fs::{Failure, Fs, Open};
use crate::storage::local::layout;
use crate::types::TopicPartition;

/// The maximum bytes that a start reads for this, for all partitions together: as many as may wait in a running broker.
const MOST: u64 = 32 << 20;

/// Reads the batches that are missing between and after those that wait.
pub(super) fn fill(
    directory: &Directory,
    shard: &Shard,
    unwritten: &mut UnwrittenByPartition,
    damaged: &mut BTreeMap<TopicPartition, String>,
) -> Result<(), OpenError> {
    let mut left = MOST;
    for (key, waiting) in unwritten {
        let Some(topic) = shard.topic(key.topic) else { continue };
        let Some(partition) = shard.partition(key.topic, key.partition) else { continue };
        if damaged.contains_key(key) {
            continue;
        }
        let dir = directory.partition(&topic.name, key.partition);
        if let Some(why) = fill_one(&*directory.fs, &dir, partition, waiting, &mut left)? {
            damaged.insert(*key, why);
        }
    }
    Ok(())
}

/// Returns the reason why not all missing batches are there.
fn fill_one(
    fs: &dyn Fs,
    dir: &Path,
    partition: &kernel::Partition,
    waiting: &mut UnwrittenBatches,
    left: &mut u64,
) -> Result<Option<String>, OpenError> {
    for (id, range) in gaps(partition, &waiting.batches) {
        let path = layout::log_path(dir, id);
        let next_step = waiting.failure.next_step();
        let Some(rest) = left.checked_sub(range.end - range.start) else {
            let path = path.display();
            return Ok(Some(format!(
                "{path} cannot be written: {}; {next_step}, then restart",
                waiting.failure
            )));
        };
        *left = rest;
        match read(fs, &path, &range) {
            Ok(batches) => {
                waiting.batches.extend(batches.into_iter().map(|(at, batch)| ((id, at), batch)));
            }
            Err(error) if Failure::of(&error) == Failure::NoDescriptors => {
                return Err(OpenError::Io { path, error });
            }
            Err(error) => {
                let (path, at) = (path.display(), range.start);
                let why = format!("{path} cannot be read at byte {at}: {error}; {next_step}, then restart");
                return Ok(Some(why));
            }
        }
    }
    let is_whole = follow_each_other(partition, &waiting.batches);
    Ok((!is_whole)
        .then(|| format!("{}: the offsets in the segments are not the expected ones", dir.display())))
}

/// The parts of the segments after the first batch that waits in which no other one does.
fn gaps(
    partition: &kernel::Partition,
    waiting: &BTreeMap<(ExtentId, u64), Bytes>,
) -> Vec<(ExtentId, Range<u64>)> {
    let Some((first, mut at)) = waiting.keys().next().copied() else { return Vec::new() };
    let mut gaps = Vec::new();
    for state in partition.extents().iter().skip_while(|state| state.id() != first) {
        let id = state.id();
        for ((_, begin), batch) in waiting.range((id, at)..=(id, u64::MAX)) {
            if at < *begin {
                gaps.push((id, at..*begin));
            }
            at = begin + batch.len() as u64;
        }
        if at < state.bytes {
            gaps.push((id, at..state.bytes));
        }
        at = 0;
    }
    gaps
}

/// The batches in a part of a segment, with their positions. Fails if they do not fill it, or if one is damaged.
fn read(fs: &dyn Fs, path: &Path, range: &Range<u64>) -> io::Result<Vec<(u64, Bytes)>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    let length = usize::try_from(range.end - range.start).map_err(|_| io::ErrorKind::InvalidData)?;
    let bytes = Bytes::from(fs.open(path, Open::Read)?.read_new(length, range.start)?);
    let mut at = range.start;
    let mut found = Vec::new();
    for batch in record::batches(&bytes) {
        let (header, batch) = batch.map_err(|error| invalid(&error.to_string()))?;
        if record::crc_of(&batch) != header.crc {
            return Err(invalid("the checksum of a batch is wrong"));
        }
        found.push((at, batch));
        at += header.size() as u64;
    }
    if at < range.end {
        return Err(invalid("batches are missing"));
    }
    Ok(found)
}

/// Whether the batches have all offsets from the first one up to the end of the log. Compaction leaves some out.
fn follow_each_other(partition: &kernel::Partition, waiting: &BTreeMap<(ExtentId, u64), Bytes>) -> bool {
    let mut expected = None;
    for ((id, _), batch) in waiting {
        let Ok(header) = Header::parse(batch) else { return false };
        let follows = |expected| match id.generation {
            0 => header.base_offset == expected,
            _ => header.base_offset >= expected,
        };
        if !expected.is_none_or(follows) {
            return false;
        }
        let Some(next) = header.next_offset() else { return false };
        expected = Some(next);
    }
    expected == Some(partition.end())
}
