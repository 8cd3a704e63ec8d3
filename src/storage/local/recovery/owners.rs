//! Finds the owner of each directory below `topics`, and makes each directory match the state.
//!
//! A directory is created only after the journal durably has its partition, and a snapshot without a topic is
//! written only after the topic's directories are durably in the trash. So a directory belongs either to a
//! partition of the state or to a topic whose deletion was just replayed. Any other directory is a sign of
//! damage and is not touched. A directory with the name of a known partition is never given up just because
//! its `partition.metadata` disagrees.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::{Account, BatchPlace, MissingBatches, Round, UnwrittenByPartition, is_there, written_lengths};
use crate::kernel::{self, ExtentId, Shard};
use crate::storage::local::directory::{Directory, parse_partition_dir, partition_dir};
use crate::storage::local::fs::{Failure, Fs, Open};
use crate::storage::local::layout;
use crate::storage::local::segment::{self, Expected};
use crate::types::{Offset, TopicId, TopicPartition};

/// The owners of the directories.
#[derive(Default)]
pub(super) struct DirectoryOwners {
    /// Partitions with a directory that belongs to them.
    pub ours: BTreeSet<TopicPartition>,
    /// Partitions that are out of service, with the reason.
    pub damaged: BTreeMap<TopicPartition, String>,
    /// Directories of deleted topics.
    pub deleted: Vec<PathBuf>,
    /// Directories that belong to no known partition.
    pub unknown: Vec<PathBuf>,
    /// Directories with a wrong `partition.metadata` but correct segments.
    pub relabelled: Vec<(PathBuf, TopicId)>,
}

/// Finds the owner of each directory; changes nothing.
pub(super) fn look(directory: &Directory, shard: &Shard, rounds: &[Round]) -> io::Result<DirectoryOwners> {
    let fs = &*directory.fs;
    let ids: BTreeMap<&str, TopicId> = shard.topics().map(|topic| (topic.name.as_str(), topic.id)).collect();
    let dropped: BTreeMap<TopicId, &str> = rounds.iter().flat_map(Round::dropped_topics).collect();
    let mut owned = DirectoryOwners::default();
    for entry in fs.list(&directory.topics())?.iter().filter(|entry| entry.is_dir) {
        let dir = directory.topics().join(&entry.name);
        let named = parse_partition_dir(&entry.name);
        let known = named.and_then(|(topic, index)| {
            let key = TopicPartition { topic: *ids.get(topic)?, partition: index };
            Some((key, shard.partition(key.topic, index)?))
        });
        let owner = match layout::topic_of(fs, &dir) {
            // The others would fail too.
            Err(error) if Failure::of(&error) == Failure::NoDescriptors => return Err(error),
            owner => owner,
        };
        if let Ok(Some(topic)) = owner
            && dropped.contains_key(&topic)
        {
            owned.deleted.push(dir);
            continue;
        }
        let Some((key, partition)) = known else {
            let name_was_dropped =
                named.is_some_and(|(topic, _)| dropped.values().any(|name| *name == topic));
            match owner {
                // A crash came before its metadata was durable.
                Ok(None) if name_was_dropped => owned.deleted.push(dir),
                Ok(_) | Err(_) => owned.unknown.push(dir),
            }
            continue;
        };
        let doubt = match owner {
            Ok(Some(topic)) if topic == key.topic => None,
            // There is no metadata before the first segment is created.
            Ok(None) if partition.extents().is_empty() => None,
            Ok(None) => Some("does not name its topic".to_owned()),
            Ok(Some(topic)) => Some(format!("belongs to topic {topic}")),
            Err(error) => Some(format!("cannot be read: {error}")),
        };
        let Some(doubt) = doubt else {
            owned.ours.insert(key);
            continue;
        };
        let is_another_known =
            matches!(layout::topic_of(fs, &dir), Ok(Some(topic)) if shard.topic(topic).is_some());
        if !is_another_known && has_its_segments(fs, &dir, key, partition, shard, rounds)? {
            owned.ours.insert(key);
            owned.relabelled.push((dir, key.topic));
            continue;
        }
        let why = format!("{} {doubt}", dir.join(layout::METADATA).display());
        owned.damaged.insert(key, why);
        owned.unknown.push(dir);
    }
    Ok(owned)
}

/// Whether the files in the directory contain exactly the batches of the partition. Batches that are in the
/// journal are not checked, because they are written again.
fn has_its_segments(
    fs: &dyn Fs,
    dir: &Path,
    key: TopicPartition,
    partition: &kernel::Partition,
    shard: &Shard,
    rounds: &[Round],
) -> io::Result<bool> {
    if partition.extents().is_empty() {
        return Ok(layout::ids(fs, dir)?.is_empty());
    }
    let places = rounds.iter().flat_map(|round| &round.places);
    let mut written_again: BTreeMap<ExtentId, &BatchPlace> = BTreeMap::new();
    for place in places.filter(|place| place.key() == key && place.inline.is_some()) {
        if is_there(shard, place) {
            written_again.entry(place.segment).or_insert(place);
        }
    }
    for (state, end) in with_ends(partition) {
        let mut expected = Expected::of(state, end, partition.log_start());
        if let Some(place) = written_again.get(&state.id()) {
            (expected.bytes, expected.end) = (place.at, place.base_offset);
        }
        match segment::check(fs, &layout::log_path(dir, state.id()), &expected) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && expected.bytes == 0 => {}
            Ok(held) if held.wrong.is_empty() => {}
            Err(error) if Failure::of(&error) == Failure::NoDescriptors => return Err(error),
            Ok(_) | Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// The segments of a partition, each with the offset at which the next one begins.
pub fn with_ends(partition: &kernel::Partition) -> impl Iterator<Item = (&kernel::Extent, Offset)> {
    let ends = partition.extents().iter().skip(1).map(|next| next.base).chain([partition.end()]);
    partition.extents().iter().zip(ends)
}

impl DirectoryOwners {
    /// Moves the directories of deleted topics to the trash, prevents writes to those that belong to no
    /// topic, and corrects `partition.metadata`.
    pub fn clear(&self, directory: &Directory) -> io::Result<()> {
        self.deleted.iter().try_for_each(|dir| directory.trash.take(dir))?;
        for dir in &self.unknown {
            tracing::warn!(
                dir = %dir.display(),
                "this directory belongs to no topic, not even to a deleted one: it is not used and not changed; \
                 `jackdaw log repair --accept-loss` moves it aside"
            );
            directory.trash.keep_out_of(dir);
        }
        for (dir, topic) in &self.relabelled {
            tracing::warn!(
                dir = %dir.display(), %topic,
                "partition.metadata is damaged, the segments are not: the file is written again"
            );
            layout::write_metadata(&*directory.fs, dir, *topic)?;
            directory.files.sync_names(dir)?;
        }
        Ok(())
    }

    /// Makes every partition's directory match the state: removes files outside the log and cuts segments to
    /// their length. Returns the partitions that had more data at their end.
    pub fn settle(
        &mut self,
        directory: &Directory,
        shard: &Shard,
        unwritten: &UnwrittenByPartition,
    ) -> io::Result<Vec<TopicPartition>> {
        let mut cut = Vec::new();
        for topic in shard.topics() {
            for (partition, index) in topic.partitions().zip(0..) {
                let key = TopicPartition::new(topic.id, index);
                if self.damaged.contains_key(&key) {
                    continue;
                }
                let dir = directory.partition(&topic.name, index);
                let waiting = unwritten.get(&key);
                let settled = if self.ours.contains(&key) {
                    settle_partition(&*directory.fs, &dir, partition, waiting)
                } else if written_lengths(partition, waiting).is_empty() {
                    Ok(SettledPartition::AsItWas)
                } else {
                    Ok(SettledPartition::Damaged(format!("{} is missing", dir.display())))
                };
                let settled = match settled {
                    // The other partitions would fail too.
                    Err(error) if Failure::of(&error) == Failure::NoDescriptors => return Err(error),
                    Err(error) => {
                        let next_step = Failure::of(&error).next_step();
                        SettledPartition::Damaged(format!(
                            "{}: {error}; {next_step}, then restart",
                            dir.display()
                        ))
                    }
                    Ok(settled) => settled,
                };
                match settled {
                    SettledPartition::AsItWas => {}
                    SettledPartition::Cut => cut.push(key),
                    SettledPartition::Damaged(why) => drop(self.damaged.insert(key, why)),
                }
            }
        }
        Ok(cut)
    }
}

impl DirectoryOwners {
    /// The result by directory name, for reports.
    pub fn account(&self, shard: &Shard, cut: &[TopicPartition]) -> Account {
        let name = |TopicPartition { topic, partition: index }: &TopicPartition| {
            let topic = shard.topic(*topic).map(|topic| topic.name.as_str());
            partition_dir(topic.unwrap_or_default(), *index)
        };
        let names = |dirs: &[PathBuf]| {
            let names = dirs.iter().filter_map(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
            names.collect::<BTreeSet<String>>()
        };
        let out_of_service: BTreeMap<String, String> =
            self.damaged.iter().map(|(key, why)| (name(key), why.clone())).collect();
        let mut unknown = names(&self.unknown);
        unknown.retain(|name| !out_of_service.contains_key(name));
        let relabelled: Vec<PathBuf> = self.relabelled.iter().map(|(dir, _)| dir.clone()).collect();
        Account {
            out_of_service,
            cut: cut.iter().map(name).collect(),
            deleted: names(&self.deleted),
            unknown,
            relabelled: names(&relabelled),
        }
    }
}

enum SettledPartition {
    AsItWas,
    Cut,
    Damaged(String),
}

/// Checks everything first: if something is missing, nothing is changed.
fn settle_partition(
    fs: &dyn Fs,
    dir: &Path,
    partition: &kernel::Partition,
    waiting: MissingBatches<'_>,
) -> io::Result<SettledPartition> {
    let found = layout::ids(fs, dir)?;
    let mut too_long = Vec::new();
    let must_have = written_lengths(partition, waiting);
    for state in partition.extents() {
        let path = layout::log_path(dir, state.id());
        let least = must_have.get(&state.id());
        let len = match fs.metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match least {
                Some(_) => return Ok(SettledPartition::Damaged(format!("{} is missing", path.display()))),
                None => continue,
            },
            found => found?.len,
        };
        let least = least.copied().unwrap_or(0);
        if len < least {
            return Ok(SettledPartition::Damaged(format!("{} has {len} bytes of {least}", path.display())));
        }
        if len > state.bytes {
            too_long.push((path, state.bytes));
        }
    }
    let is_known = |id: &ExtentId| partition.extents().iter().any(|state| state.id() == *id);
    // Files before the log start offset were deleted. Files within the log are old ones that compaction
    // replaced, or new ones of a compaction that was not committed. Files at or after the end were never
    // acknowledged.
    let spare: Vec<ExtentId> = found.into_iter().filter(|id| !is_known(id)).collect();
    let is_cut = !too_long.is_empty() || spare.iter().any(|id| id.base >= partition.end());
    for (path, bytes) in too_long {
        let file = fs.open(&path, Open::Write)?;
        file.truncate(bytes)?;
        file.sync_data()?;
    }
    for id in &spare {
        layout::remove_files(fs, dir, *id)?;
    }
    if !spare.is_empty() {
        fs.sync_dir(dir)?;
    }
    Ok(if is_cut { SettledPartition::Cut } else { SettledPartition::AsItWas })
}
