//! Records that a start could not write to their segment. The next snapshot allows the journal to drop them,
//! so they are kept in one file per partition until a later start can write them:
//! `kept/<topic id>-<partition>.kept`.
//!
//! - A partition that is out of service is not written to. Its records stay here until its files are back.
//! - If the journal only refers to records in a segment that cannot be written, they may only be in the page
//!   cache. They are written and synced here before a client can read them.
//!
//! ```text
//!  0 crc32c of everything behind it    4 level of the commands' form
//!  6 length of the commands           10 commands (`StoreAgain`), then the bytes of the batches
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};

use super::{BatchPlace, Round, UnwrittenBatches, UnwrittenByPartition, is_there, stored_again};
use crate::kernel::{Command, ExtentId, Level, Levels, Shard, StoreAgain};
use crate::storage::OpenError;
use crate::storage::local::directory::Directory;
use crate::storage::local::fs::{self, Failure};
use crate::storage::local::journal::Replayed;
use crate::types::{Timestamp, TopicPartition};

const SUFFIX: &str = ".kept";
/// The suffix that a damaged file is renamed to; from the second one of a partition on, a number follows it.
const DAMAGED: &str = ".damaged";
const HEADER: usize = 10;
/// Larger than the journal ever gets between two snapshots.
const LARGEST: u64 = 16 << 30;

type Batches = BTreeMap<(ExtentId, u64), Bytes>;

/// The existing files.
#[derive(Default)]
pub(super) struct KeptFiles {
    /// Their content, by their paths.
    files: BTreeMap<PathBuf, Bytes>,
    /// Files that cannot be read, with the reason. They must not be replaced, so their partitions are out of
    /// service.
    unreadable: BTreeMap<PathBuf, String>,
}

impl KeptFiles {
    /// Reads the files of earlier starts. The rounds contain the batches that are still part of their logs.
    pub fn read(directory: &Directory, shard: &Shard) -> io::Result<(KeptFiles, Vec<Round>)> {
        let (fs, dir) = (&*directory.fs, directory.kept());
        let mut kept = KeptFiles::default();
        let mut rounds = Vec::new();
        let entries = match fs.list(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((kept, rounds)),
            listed => listed?,
        };
        let names: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        for name in names.iter().filter(|name| name.ends_with(SUFFIX)) {
            let path = dir.join(name);
            let bytes = match fs::read_all(fs, &path, LARGEST) {
                Ok(bytes) => Bytes::from(bytes),
                // Other files could not be opened either.
                Err(error) if Failure::of(&error) == Failure::NoDescriptors => return Err(error),
                Err(error) => {
                    let next_step = Failure::of(&error).next_step();
                    let why = format!(
                        "{}: {error}; {next_step}, or move the file away to give up its records; then restart",
                        path.display()
                    );
                    kept.unreadable.insert(path, why);
                    continue;
                }
            };
            match parse(directory, shard, bytes.clone()) {
                Ok(round) => {
                    rounds.extend(round);
                    kept.files.insert(path, bytes);
                }
                Err(why) => {
                    let aside = dir.join(aside_name(name, &names));
                    tracing::warn!(
                        file = %path.display(), to = %aside.display(), %why,
                        "damaged: the records of a partition that was out of service cannot be read; the file is renamed, not removed"
                    );
                    fs.rename(&path, &aside)?;
                    fs.sync_dir(&dir)?;
                }
            }
        }
        Ok((kept, rounds))
    }

    /// The partitions whose file cannot be read, with the reason.
    pub fn unreadable(&self, directory: &Directory, shard: &Shard) -> BTreeMap<TopicPartition, String> {
        if self.unreadable.is_empty() {
            return BTreeMap::new();
        }
        let keys = shard.topics().flat_map(|topic| {
            (0..).zip(topic.partitions()).map(|(partition, _)| TopicPartition { topic: topic.id, partition })
        });
        keys.filter_map(|key| Some((key, self.unreadable.get(&path(directory, key))?.clone()))).collect()
    }

    /// Writes a file for each partition that needs one, and removes the others. `damaged` contains the
    /// partitions that are out of service.
    pub fn settle(
        mut self,
        directory: &Directory,
        shard: &Shard,
        rounds: &[Round],
        damaged: &BTreeMap<TopicPartition, String>,
        unwritten: &mut UnwrittenByPartition,
    ) -> Result<(), OpenError> {
        let mut wanted = in_the_journal(shard, rounds, damaged);
        for (key, held) in &*unwritten {
            if held.is_referred || damaged.contains_key(key) {
                wanted.entry(*key).or_default().extend(held.batches.clone());
            }
        }
        for (key, batches) in wanted {
            let path = path(directory, key);
            let bytes = encode(directory.levels, key, &batches);
            let known = self.files.remove(&path);
            let written = match (self.unreadable.get(&path), known == Some(bytes.clone())) {
                (Some(why), _) => Err(io::Error::other(why.clone())),
                (None, true) => Ok(()),
                (None, false) => write(directory, &path, &bytes),
            };
            match written {
                Ok(()) if damaged.contains_key(&key) => drop(unwritten.remove(&key)),
                Ok(()) => {}
                Err(error) if damaged.contains_key(&key) => {
                    tracing::warn!(
                        file = %path.display(), %error,
                        "cannot keep the records of a partition that is out of service in a file: they stay in memory and in the journal; {}",
                        Failure::of(&error).next_step()
                    );
                    let failure = Failure::of(&error);
                    unwritten.insert(key, UnwrittenBatches { batches, failure, is_referred: false });
                }
                Err(error) => return Err(OpenError::Io { path, error }),
            }
        }
        // An unneeded file must not stay: a later start would write it over a log that has changed since.
        let needed: BTreeSet<PathBuf> = unwritten.keys().map(|key| path(directory, *key)).collect();
        for path in self.files.into_keys().filter(|path| !needed.contains(path)) {
            let removed = directory.fs.remove(&path).and_then(|()| directory.fs.sync_dir(&directory.kept()));
            removed.map_err(|error| OpenError::Io { path, error })?;
        }
        Ok(())
    }
}

/// The batches of these partitions that are in the journal, or were kept by an earlier start.
fn in_the_journal(
    shard: &Shard,
    rounds: &[Round],
    damaged: &BTreeMap<TopicPartition, String>,
) -> BTreeMap<TopicPartition, Batches> {
    let mut found: BTreeMap<TopicPartition, Batches> = BTreeMap::new();
    for place in rounds.iter().flat_map(|round| &round.places) {
        let key = place.key();
        if let Some(bytes) = &place.inline
            && damaged.contains_key(&key)
            && is_there(shard, place)
        {
            found.entry(key).or_default().insert((place.segment, place.at), bytes.clone());
        }
    }
    found
}

/// The name for a damaged file; no earlier one has it.
fn aside_name(name: &str, taken: &BTreeSet<&str>) -> String {
    let more = (2..).map(|number| format!("{name}{DAMAGED}-{number}"));
    let mut names = std::iter::once(format!("{name}{DAMAGED}")).chain(more);
    names.find(|name| !taken.contains(name.as_str())).unwrap_or_default()
}

fn path(directory: &Directory, TopicPartition { topic, partition }: TopicPartition) -> PathBuf {
    directory.kept().join(format!("{topic}-{partition}{SUFFIX}"))
}

fn write(directory: &Directory, path: &Path, bytes: &Bytes) -> io::Result<()> {
    fs::create_dirs(&*directory.fs, &directory.kept())?;
    fs::replace(&*directory.fs, path, &[IoSlice::new(bytes)])?;
    tracing::warn!(
        file = %path.display(),
        "the records of a partition whose segments cannot be written are kept in this file until a start can write them"
    );
    Ok(())
}

fn encode(levels: Levels, TopicPartition { topic, partition }: TopicPartition, batches: &Batches) -> Bytes {
    let again = batches.iter().map(|((segment, at), bytes)| {
        let bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Command::StoreAgain(StoreAgain { topic, partition, segment: *segment, at: *at, bytes })
    });
    let again: Vec<Command> = again.collect();
    let mut commands = Vec::new();
    levels.current().write(&again.iter().collect::<Vec<_>>(), &mut commands);
    let level = levels.in_force().0.to_be_bytes();
    let length = u32::try_from(commands.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut covered = [&level[..], &length, &commands].concat();
    batches.values().for_each(|bytes| covered.extend_from_slice(bytes));
    [&crc32c::crc32c(&covered).to_be_bytes()[..], &covered].concat().into()
}

/// The batches of a file that are still part of their log, as a round; `None` if there are none.
fn parse(directory: &Directory, shard: &Shard, mut bytes: Bytes) -> Result<Option<Round>, String> {
    if bytes.len() < HEADER {
        return Err("it is too short".to_owned());
    }
    if bytes.get_u32() != crc32c::crc32c(&bytes) {
        return Err("its checksum is wrong".to_owned());
    }
    let level = Level(bytes.get_u16());
    let length = bytes.get_u32() as usize;
    if bytes.len() < length {
        return Err("it is too short".to_owned());
    }
    let form = directory.levels.form(level).ok_or_else(|| format!("its level is {level}"))?;
    let encoded = bytes.split_to(length);
    let mut again = Vec::new();
    for command in form.read(&encoded).map_err(|error| error.to_string())? {
        let Command::StoreAgain(command) = command else { return Err("it has another command".to_owned()) };
        again.push(command);
    }
    let mut data = bytes.clone();
    let entry = Replayed {
        position: 0,
        time: Timestamp(0),
        hash: 0,
        commands: encoded,
        data: bytes,
        above_mark: false,
        file: 0,
        at: 0,
    };
    if again.iter().any(|again| shard.partition(again.topic, again.partition).is_none()) {
        return Ok(None);
    }
    let places = again.iter().map(|again| stored_again(shard, directory, again, &mut data));
    let mut places = places.collect::<Result<Vec<BatchPlace>, String>>()?;
    places.retain(|place| is_within(shard, place));
    Ok((!places.is_empty()).then_some(Round { entry, places, aborted: Vec::new(), drops: Vec::new() }))
}

/// Whether the batch is still within the log, whose end may have been cut.
fn is_within(shard: &Shard, place: &BatchPlace) -> bool {
    let segments = shard.partition(place.topic, place.partition).map(|partition| partition.extents());
    let state = segments.and_then(|all| all.iter().find(|state| state.id() == place.segment));
    state.is_some_and(|state| place.at + u64::from(place.length) <= state.bytes)
}
