//! The files that entries of the journal drop: those of a deleted topic, of records before a new log start offset,
//! and of segments that compaction replaced.
//!
//! **A file is removed only once the entry that drops it is durable, and every entry before it**
//! (`docs/decisions/0004-recovery-looks-ahead.md`). A running broker waits for the sync. A start can find such an
//! entry above the synced mark, perhaps in the page cache only, because the process was killed or the sync failed.
//! If the files went first and the power then failed, the next start would need files that are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::{Batch, BatchPlace, Round, read_range};
use crate::kernel::ExtentId;
use crate::storage::OpenError;
use crate::storage::local::directory::Directory;
use crate::storage::local::fs::{Failure, Open};
use crate::storage::local::journal::Replay;
use crate::storage::local::layout::{self, Names};
use crate::types::{Offset, TopicId, TopicPartition};

/// A part of the log that an entry makes unneeded.
pub(super) enum Drops {
    Topic { id: TopicId, name: String },
    Before(TopicPartition, Offset),
    Segments(TopicPartition, Vec<ExtentId>),
}

/// Makes all entries durable if one of those above the mark drops something. The mark stays where it is, because the
/// records of the entries are not in their segments yet.
pub(super) fn make_durable(
    directory: &Directory,
    journal: &Replay,
    rounds: &[Round],
) -> Result<(), OpenError> {
    let above_mark = || rounds.iter().filter(|round| round.entry.above_mark);
    if above_mark().all(|round| round.drops.is_empty()) {
        return Ok(());
    }
    let places = above_mark().flat_map(|round| &round.places);
    make_batches_durable(directory, places.filter(|place| place.inline.is_none()))?;
    journal.keep()?;
    Ok(())
}

/// Makes the batches durable that the journal only refers to: without one of them the next start would end the journal
/// before the entry that drops something.
fn make_batches_durable<'a>(
    directory: &Directory,
    places: impl Iterator<Item = &'a BatchPlace>,
) -> Result<(), OpenError> {
    let mut by_file: BTreeMap<PathBuf, Vec<&BatchPlace>> = BTreeMap::new();
    for place in places {
        by_file.entry(layout::log_path(&place.dir, place.segment)).or_default().push(place);
    }
    let mut is_all_synced = true;
    let mut dirs = BTreeSet::new();
    for (path, places) in &by_file {
        is_all_synced &= write_and_sync(directory, path, places)?;
        dirs.extend(places.first().map(|place| &place.dir));
    }
    for dir in dirs {
        let failed = |error| OpenError::Io { path: dir.clone(), error };
        match Names::open(&*directory.fs, dir) {
            Ok(names) => names.sync().map_err(failed)?,
            Err(error) if Failure::of(&error) == Failure::NoDescriptors => return Err(failed(error)),
            Err(_) => is_all_synced = false,
        }
    }
    if is_all_synced {
        return Ok(());
    }
    directory.sync_everything().map_err(|error| OpenError::Io { path: directory.root().to_owned(), error })
}

/// Writes batches of one file again, with the bytes that are there, and syncs it. After a failed sync only that makes
/// them durable. Returns `false` if the file cannot be written.
fn write_and_sync(directory: &Directory, path: &Path, places: &[&BatchPlace]) -> Result<bool, OpenError> {
    let failed = |error| OpenError::Io { path: path.to_owned(), error };
    let file = match directory.fs.open(path, Open::Write) {
        Ok(file) => file,
        // Its entry drops it, or a later one, and a start before this one has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) if Failure::of(&error) == Failure::NoDescriptors => return Err(failed(error)),
        Err(_) => return Ok(false),
    };
    for place in places {
        let written = match read_range(directory, place)? {
            Batch::Whole(bytes) => file.write_at(&[IoSlice::new(&bytes)], place.at).is_ok(),
            Batch::Missing => true,
            Batch::Unreadable(_) => false,
        };
        if !written {
            return Ok(false);
        }
    }
    file.sync_data().map_err(failed)?;
    Ok(true)
}

/// Topics, offsets and segments that are no longer needed, with the position of the entry that drops them.
#[derive(Default)]
pub(super) struct DroppedState {
    topics: BTreeMap<TopicId, u64>,
    log_starts: BTreeMap<TopicPartition, (u64, Offset)>,
    replaced: BTreeMap<(TopicPartition, ExtentId), u64>,
}

impl DroppedState {
    pub fn by(rounds: &[Round]) -> DroppedState {
        let mut dropped = DroppedState::default();
        for Round { entry, drops, .. } in rounds {
            for drops in drops {
                dropped.note(entry.position, drops);
            }
        }
        dropped
    }

    fn note(&mut self, position: u64, drops: &Drops) {
        match drops {
            Drops::Topic { id, .. } => {
                self.topics.insert(*id, position);
            }
            Drops::Before(key, offset) => {
                self.log_starts.insert(*key, (position, *offset));
            }
            Drops::Segments(key, ids) => {
                self.replaced.extend(ids.iter().map(|id| ((*key, *id), position)));
            }
        }
    }

    pub fn after(&self, position: u64, place: &BatchPlace) -> bool {
        let topic_goes = self.topics.get(&place.topic).is_some_and(|dropped| *dropped >= position);
        let key = place.key();
        let start = self.log_starts.get(&key);
        let replaced = self.replaced.get(&(key, place.segment));
        topic_goes
            || start.is_some_and(|(moved, start)| *moved >= position && place.end <= *start)
            || replaced.is_some_and(|replaced| *replaced >= position)
    }
}
