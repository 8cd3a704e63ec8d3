//! Opens a data directory: newest readable snapshot, replay, cut. What is above the synced mark
//! and does not hold ends the journal, for every partition; then segments are made to hold exactly
//! what replay gives, synced, and a fresh snapshot is written before anybody is answered. Crashing
//! anywhere in here, repeatedly, ends in the same state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::OpenError;
use super::directory::{Directory, PartitionKey, parse_partition_dir};
use super::journal::{self, Journal, MemoryJournal, Replay, Replayed};
use super::segment::{self, PartitionDir, Segment};
use super::snapshot;
use crate::kernel::{self, Applied, Command, Commit, ReplaceSegments, SegmentId, Shard};
use crate::record::{self, Header};
use crate::types::{NodeId, Offset, Timestamp, TopicId};

/// What a directory held.
pub(super) struct Recovered {
    pub(super) shard: Shard,
    pub(super) journal: Box<dyn Journal>,
    /// Their files are longer than what replay gives: they get a new leadership.
    pub(super) cut: Vec<PartitionKey>,
    pub(super) damaged: BTreeMap<PartitionKey, String>,
    /// By which time the clock was believed last, as far as it is known.
    pub(super) last_time: Option<Timestamp>,
}

impl Recovered {
    /// A store in memory begins with nothing.
    pub(super) fn nothing(broker: NodeId) -> Recovered {
        Recovered {
            shard: Shard::new(broker),
            journal: Box::new(MemoryJournal::after(0)),
            cut: Vec::new(),
            damaged: BTreeMap::new(),
            last_time: None,
        }
    }
}

/// An entry of the journal, and where its batches stand.
struct Round {
    entry: Replayed,
    commands: Vec<Command>,
    places: Vec<Place>,
}

pub(super) fn recover(directory: &Directory, options: journal::Options) -> Result<Recovered, OpenError> {
    let fs = &*directory.fs;
    let io = |error| OpenError::Io { path: directory.journal(), error };
    let found = snapshot::read_newest(fs, &directory.snapshots(), directory.node_id)
        .map_err(|error| OpenError::Io { path: directory.snapshots(), error })?;
    for unreadable in &found.unreadable {
        tracing::warn!(path = %unreadable.path.display(), why = %unreadable.why, "a snapshot cannot be read; using an older state");
    }
    let mut shard = match (found.newest, found.unreadable.is_empty()) {
        (Some(shard), _) => shard,
        (None, true) => Shard::new(directory.node_id),
        (None, false) => {
            let paths: Vec<_> = found.unreadable.iter().map(|bad| bad.path.display().to_string()).collect();
            return Err(OpenError::Damaged {
                what: format!("no readable snapshot among {}", paths.join(", ")),
            });
        }
    };
    let snapshot = shard.position();

    let mut journal = Replay::open(Arc::clone(&directory.fs), &directory.journal(), options, snapshot + 1)?;
    let mut entries = Vec::new();
    let mut ahead = shard.clone();
    while let Some(entry) = journal.next().transpose()? {
        let commands = decode(&entry)?;
        let places = places(&ahead, directory, &commands, &entry)?;
        apply(&mut ahead, &commands, &entry)?;
        entries.push(Round { entry, commands, places });
    }
    let kept = first_torn(directory, &entries);
    if let Some(torn) = entries.get(kept) {
        journal.cut_at(torn.entry.position);
        entries.truncate(kept);
        for Round { entry, commands, .. } in &entries {
            apply(&mut shard, commands, entry)?;
        }
    } else {
        shard = ahead;
    }
    // Before format 4 nobody noted it.
    let last_time = shard.clock_believed().or(entries.last().map(|round| round.entry.time));

    let mut damaged = BTreeMap::new();
    write_again(directory, &shard, &entries).map_err(io)?;
    let cut = settle_files(directory, &shard, &mut damaged).map_err(io)?;
    directory.raise_format().map_err(io)?;
    let journal = journal.begin(shard.position() + 1)?;
    snapshot::write(fs, &directory.snapshots(), &shard).map_err(io)?;
    let position = shard.position();
    tracing::info!(snapshot, replayed = position - snapshot, cut_partitions = cut.len(), "recovered");
    Ok(Recovered { shard, journal: Box::new(journal), cut, damaged, last_time })
}

fn decode(entry: &Replayed) -> Result<Vec<Command>, OpenError> {
    postcard::from_bytes(&entry.commands)
        .map_err(|error| damaged(entry, &format!("its commands cannot be read: {error}")))
}

/// Applies an entry whose bytes hold; the journal only has what was accepted, so a refusal or
/// another hash means that this is not the state it was written against.
fn apply(shard: &mut Shard, commands: &[Command], entry: &Replayed) -> Result<(), OpenError> {
    for command in commands {
        let applied = shard.apply(entry.time, command);
        if !applied.as_ref().is_ok_and(Applied::changed_something) {
            return Err(damaged(entry, &format!("{command:?} is answered by {applied:?}")));
        }
    }
    shard.close_round(&entry.commands);
    if shard.position() != entry.position || shard.hash() != entry.hash {
        return Err(damaged(entry, "replay gives another state than the one it was written after"));
    }
    Ok(())
}

fn damaged(entry: &Replayed, why: &str) -> OpenError {
    OpenError::Damaged {
        what: format!("journal entry {} (file {}, byte {}): {why}", entry.position, entry.file, entry.at),
    }
}

/// Where a commit of an entry will stand once it is applied.
struct Place {
    topic: TopicId,
    partition: i32,
    /// One that compaction has not written: it never touches the newest.
    segment: SegmentId,
    at: u64,
    dir: PathBuf,
    base_offset: Offset,
    end: Offset,
    length: u32,
    crc: u32,
    inline: Option<Bytes>,
}

/// The places that applying the entry will give, worked out without applying it.
fn places(
    shard: &Shard,
    directory: &Directory,
    commands: &[Command],
    entry: &Replayed,
) -> Result<Vec<Place>, OpenError> {
    let mut ends: BTreeMap<PartitionKey, (Offset, u64, Offset)> = BTreeMap::new();
    let mut data = entry.data.clone();
    let mut places = Vec::new();
    for commit in commands.iter().filter_map(as_commit) {
        let key = (commit.topic, commit.partition);
        let state = ends.get(&key).copied().or_else(|| {
            let partition = shard.partition(commit.topic, commit.partition)?;
            let newest = partition.segments().last();
            Some(newest.map_or((partition.end(), 0, partition.end()), |newest| {
                (newest.base, newest.bytes, partition.end())
            }))
        });
        // A topic made in this very entry has nothing yet.
        let (mut segment, mut at, end) = state.unwrap_or_default();
        if commit.roll {
            (segment, at) = (end, 0);
        }
        let inline = match commit.inline {
            true if data.len() < commit.bytes as usize => {
                return Err(damaged(entry, "it holds fewer record bytes than its commands say"));
            }
            true => Some(data.split_to(commit.bytes as usize)),
            false => None,
        };
        let next = kernel::next_offset(end, commit.last_offset_delta)
            .ok_or_else(|| damaged(entry, "its offsets pass the largest"))?;
        ends.insert(key, (segment, at + u64::from(commit.bytes), next));
        let made_here = commands.iter().find_map(|command| match command {
            Command::CreateTopic(create) if create.id == commit.topic => Some(create.name.as_str()),
            Command::CreatePlacedTopic(create) if create.id == commit.topic => Some(create.name.as_str()),
            _ => None,
        });
        let name = shard.topic(commit.topic).map(|topic| topic.name.as_str()).or(made_here);
        let name = name.ok_or_else(|| damaged(entry, "it writes to a topic that is not there"))?;
        places.push(Place {
            dir: directory.partition(name, commit.partition),
            topic: commit.topic,
            partition: commit.partition,
            segment: SegmentId { base: segment, generation: 0 },
            at,
            base_offset: end,
            end: next,
            length: commit.bytes,
            crc: commit.crc,
            inline,
        });
    }
    Ok(places)
}

fn as_commit(command: &Command) -> Option<&Commit> {
    match command {
        Command::Commit(commit) => Some(commit),
        _ => None,
    }
}

/// How many entries hold: above the mark the first whose bytes are not in their segments ends the
/// journal. Bytes that a kept later entry drops need not be there: files go once the entry that
/// drops them is durable, and with it all before.
fn first_torn(directory: &Directory, rounds: &[Round]) -> usize {
    let mut kept = rounds.len();
    loop {
        let dropped = Dropped::by(rounds.get(..kept).unwrap_or_default());
        let torn = rounds.iter().take(kept).position(|round| {
            let referred = round.places.iter().filter(|place| place.inline.is_none());
            round.entry.above_mark
                && !referred.into_iter().all(|place| {
                    dropped.after(round.entry.position, place) || read_range(directory, place).is_some()
                })
        });
        match torn {
            Some(torn) => kept = torn,
            None => return kept,
        }
    }
}

/// What nobody needs any more, and which entry says so.
#[derive(Default)]
struct Dropped {
    topics: BTreeMap<TopicId, u64>,
    log_starts: BTreeMap<PartitionKey, (u64, Offset)>,
    replaced: BTreeMap<(PartitionKey, SegmentId), u64>,
}

impl Dropped {
    fn by(rounds: &[Round]) -> Dropped {
        let mut dropped = Dropped::default();
        for Round { entry, commands, .. } in rounds {
            for command in commands {
                dropped.note(entry.position, command);
            }
        }
        dropped
    }

    fn note(&mut self, position: u64, command: &Command) {
        match command {
            Command::DropTopic { topic } => {
                self.topics.insert(*topic, position);
            }
            Command::SetLogStart { topic, partition, offset } => {
                self.log_starts.insert((*topic, *partition), (position, *offset));
            }
            Command::ReplaceSegments(ReplaceSegments { topic, partition, replaced, .. }) => {
                let key = (*topic, *partition);
                self.replaced.extend(replaced.iter().map(|id| ((key, *id), position)));
            }
            _ => {}
        }
    }

    fn after(&self, position: u64, place: &Place) -> bool {
        let topic_goes = self.topics.get(&place.topic).is_some_and(|dropped| *dropped >= position);
        let key = (place.topic, place.partition);
        let start = self.log_starts.get(&key);
        let replaced = self.replaced.get(&(key, place.segment));
        topic_goes
            || start.is_some_and(|(moved, start)| *moved >= position && place.end <= *start)
            || replaced.is_some_and(|replaced| *replaced >= position)
    }
}

/// The batch that should stand there, if it does.
fn read_range(directory: &Directory, place: &Place) -> Option<Bytes> {
    let path = segment::log_path(&place.dir, place.segment);
    let file = directory.fs.open(&path, super::fs::Open::Read).ok()?;
    let mut bytes = vec![0; place.length as usize];
    let read = file.read_at(&mut bytes, place.at).ok()?;
    let header = Header::parse(&bytes).ok()?;
    let holds = read == bytes.len()
        && header.size() == bytes.len()
        && header.base_offset == place.base_offset
        && header.crc == place.crc
        && record::crc_of(&bytes) == place.crc;
    holds.then(|| bytes.into())
}

/// Puts into the segments what the journal has of them, and what above the mark it only refers to.
/// Done whether or not it is there already: after kill -9 the page cache may show bytes that the
/// disk never got.
fn write_again(directory: &Directory, shard: &Shard, rounds: &[Round]) -> io::Result<()> {
    // File after file: there may be more of them than may be open. Within one the order stays.
    let mut all: Vec<_> =
        rounds.iter().flat_map(|round| round.places.iter().map(|place| (&round.entry, place))).collect();
    all.sort_by_key(|(_, place)| (place.topic, place.partition, place.segment));
    let mut dirs = BTreeSet::new();
    let mut open = None;
    for (entry, place) in all {
        let still_there = shard.partition(place.topic, place.partition).is_some_and(|partition| {
            partition.segments().iter().any(|segment| segment.id() == place.segment)
        });
        let bytes = match &place.inline {
            _ if !still_there => continue,
            Some(bytes) => bytes.clone(),
            None if !entry.above_mark => continue,
            None => match read_range(directory, place) {
                Some(bytes) => bytes,
                // Below a log start that moved since.
                None => continue,
            },
        };
        let key = (place.topic, place.partition, place.segment);
        let file = match open.take() {
            Some((of, file)) if of == key => file,
            another => {
                sync(another.as_ref())?;
                clear_foreign(directory, &place.dir, place.topic)?;
                dirs.insert(&place.dir);
                segment::recreate(&*directory.fs, &place.dir, place.topic, place.segment)?
            }
        };
        file.write_at(&[io::IoSlice::new(&bytes)], place.at)?;
        open = Some((key, file));
    }
    sync(open.as_ref())?;
    dirs.into_iter().try_for_each(|dir| directory.files.sync_names(dir))
}

fn sync<K>(open: Option<&(K, Arc<dyn super::fs::File>)>) -> io::Result<()> {
    open.map_or(Ok(()), |(_, file)| file.sync_data())
}

/// A directory of a topic that was deleted, of the same name, must not be written to.
fn clear_foreign(directory: &Directory, dir: &Path, topic: TopicId) -> io::Result<()> {
    match segment::topic_of(&*directory.fs, dir)? {
        Some(owner) if owner != topic => directory.discard(dir),
        _ => Ok(()),
    }
}

/// Makes every partition's directory hold what the state says: nothing of deleted topics, no file
/// beyond the end or below the start, and the newest segment cut to its length. Returns the
/// partitions that had more than that at their end.
fn settle_files(
    directory: &Directory,
    shard: &Shard,
    damaged: &mut BTreeMap<PartitionKey, String>,
) -> io::Result<Vec<PartitionKey>> {
    let fs = &*directory.fs;
    let ids: BTreeMap<&str, TopicId> = shard.topics().map(|topic| (topic.name.as_str(), topic.id)).collect();
    let mut there: BTreeSet<PartitionKey> = BTreeSet::new();
    let mut cut = Vec::new();
    for entry in fs.list(&directory.topics())?.iter().filter(|entry| entry.is_dir) {
        let dir = directory.topics().join(&entry.name);
        let owner = parse_partition_dir(&entry.name).and_then(|(topic, index)| {
            Some(((*ids.get(topic)?, index), shard.partition(*ids.get(topic)?, index)?))
        });
        let Some((key, partition)) = owner else {
            directory.discard(&dir)?;
            continue;
        };
        match segment::topic_of(fs, &dir)? {
            Some(topic) if topic == key.0 => {}
            // Nothing is said before the first segment is made.
            None if partition.segments().is_empty() => {}
            Some(_) => {
                directory.discard(&dir)?;
                continue;
            }
            None => {
                damaged.insert(key, format!("{} lost its topic id", dir.display()));
                continue;
            }
        }
        there.insert(key);
        match settle_partition(directory, &dir, partition)? {
            Settled::AsItWas => {}
            Settled::Cut => cut.push(key),
            Settled::Damaged(why) => drop(damaged.insert(key, why)),
        }
    }
    for topic in shard.topics() {
        for (partition, index) in topic.partitions().zip(0..) {
            let key = (topic.id, index);
            if !partition.segments().is_empty() && !there.contains(&key) && !damaged.contains_key(&key) {
                damaged.insert(key, "its directory is missing".into());
            }
        }
    }
    Ok(cut)
}

enum Settled {
    AsItWas,
    Cut,
    Damaged(String),
}

fn settle_partition(directory: &Directory, dir: &Path, partition: &kernel::Partition) -> io::Result<Settled> {
    let fs = &*directory.fs;
    let mut settled = Settled::AsItWas;
    let mut removed = false;
    let known: BTreeMap<SegmentId, u64> =
        partition.segments().iter().map(|segment| (segment.id(), segment.bytes)).collect();
    let mut found = BTreeSet::new();
    for id in segment::ids(fs, dir)? {
        let path = segment::log_path(dir, id);
        let Some(bytes) = known.get(&id) else {
            // Below the start, or compacted: its end was decided, or its beginning was not. At or beyond
            // the end: never acknowledged.
            segment::remove_files(fs, dir, id)?;
            removed = true;
            if id.base >= partition.end() {
                settled = Settled::Cut;
            }
            continue;
        };
        found.insert(id);
        let len = fs.metadata(&path)?.len;
        if len < *bytes {
            return Ok(Settled::Damaged(format!("{} has {len} bytes of {bytes}", path.display())));
        }
        if len > *bytes {
            let file = fs.open(&path, super::fs::Open::Write)?;
            file.truncate(*bytes)?;
            file.sync_data()?;
            settled = Settled::Cut;
        }
    }
    if removed {
        fs.sync_dir(dir)?;
    }
    if let Some(missing) = known.keys().find(|id| !found.contains(id)) {
        return Ok(Settled::Damaged(format!("{} is missing", segment::log_path(dir, *missing).display())));
    }
    Ok(settled)
}

/// The segments of a partition as the state describes them; opens nothing.
pub(super) fn segments_of(dir: &Arc<PartitionDir>, partition: &kernel::Partition) -> VecDeque<Arc<Segment>> {
    partition.segments().iter().map(|segment| Arc::new(Segment::existing(dir, segment))).collect()
}
