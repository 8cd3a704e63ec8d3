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
use super::fs::{Failure, File};
use super::journal::{self, Journal, MemoryJournal, Replay, Replayed};
use super::segment::{self, PartitionDir, Segment};
use super::snapshot;
use crate::kernel::{self, Applied, Command, ReplaceSegments, SegmentId, Shard, StoreAgain};
use crate::record::{self, Header};
use crate::types::{NodeId, Offset, Timestamp, TopicId};

/// What a directory held.
pub(super) struct Recovered {
    pub(super) shard: Shard,
    pub(super) journal: Box<dyn Journal>,
    /// Their files are longer than what replay gives: they get a new leadership.
    pub(super) cut: Vec<PartitionKey>,
    pub(super) damaged: BTreeMap<PartitionKey, String>,
    pub(super) unwritten: Unwritten,
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
            unwritten: Unwritten::new(),
            last_time: None,
        }
    }
}

/// Batches of the journal that could not be written to their segments, by their position there: the
/// journal goes on to have them.
pub(super) type Unwritten = BTreeMap<PartitionKey, BTreeMap<(SegmentId, u64), Bytes>>;

/// An entry of the journal, and where its batches stand.
struct Round {
    entry: Replayed,
    commands: Vec<Command>,
    places: Vec<Place>,
}

pub(super) fn recover(directory: &Directory, options: journal::Options) -> Result<Recovered, OpenError> {
    let fs = &*directory.fs;
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
    let kept = first_torn(directory, &entries)?;
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
    let unwritten = write_again(directory, &shard, &entries)?;
    let cut = settle_files(directory, &shard, &unwritten, &mut damaged)
        .map_err(|error| OpenError::Io { path: directory.topics(), error })?;
    directory.raise_format().map_err(|error| OpenError::Io { path: directory.root().to_owned(), error })?;
    let journal = journal.begin(shard.position() + 1)?;
    // Without one the next start only replays more. With records in the journal alone there must be none.
    if unwritten.is_empty()
        && let Err(error) = snapshot::write(fs, &directory.snapshots(), &shard)
    {
        tracing::warn!(dir = %directory.snapshots().display(), %error, "cannot write a snapshot; trying again later");
    }
    let position = shard.position();
    tracing::info!(snapshot, replayed = position - snapshot, cut_partitions = cut.len(), "recovered");
    Ok(Recovered { shard, journal: Box::new(journal), cut, damaged, unwritten, last_time })
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
    for command in commands {
        let commit = match command {
            Command::Commit(commit) => commit,
            Command::StoreAgain(again) => {
                places.push(stored_again(shard, directory, again, &mut data, entry)?);
                continue;
            }
            _ => continue,
        };
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

/// A batch that has its place already.
fn stored_again(
    shard: &Shard,
    directory: &Directory,
    again: &StoreAgain,
    data: &mut Bytes,
    entry: &Replayed,
) -> Result<Place, OpenError> {
    let StoreAgain { topic, partition, segment, at, bytes } = *again;
    if data.len() < bytes as usize {
        return Err(damaged(entry, "it holds fewer record bytes than its commands say"));
    }
    let inline = data.split_to(bytes as usize);
    let header = Header::parse(&inline).map_err(|error| damaged(entry, &error.to_string()))?;
    let end = header.next_offset().ok_or_else(|| damaged(entry, "its offsets pass the largest"))?;
    let name = shard.topic(topic).map(|topic| topic.name.as_str());
    let name = name.ok_or_else(|| damaged(entry, "it writes to a topic that is not there"))?;
    Ok(Place {
        dir: directory.partition(name, partition),
        topic,
        partition,
        segment,
        at,
        base_offset: header.base_offset,
        end,
        length: bytes,
        crc: header.crc,
        inline: Some(inline),
    })
}

/// How many entries hold: above the mark the first whose bytes are not in their segments ends the
/// journal. Bytes that a kept later entry drops need not be there: files go once the entry that
/// drops them is durable, and with it all before.
fn first_torn(directory: &Directory, rounds: &[Round]) -> Result<usize, OpenError> {
    let mut kept = rounds.len();
    loop {
        let dropped = Dropped::by(rounds.get(..kept).unwrap_or_default());
        let mut torn = None;
        for (at, round) in rounds.iter().take(kept).enumerate().filter(|(_, round)| round.entry.above_mark) {
            let referred = round.places.iter().filter(|place| place.inline.is_none());
            for place in referred.filter(|place| !dropped.after(round.entry.position, place)) {
                if read_range(directory, place)?.is_none() {
                    torn = torn.or(Some(at));
                }
            }
            if torn.is_some() {
                break;
            }
        }
        match torn {
            Some(torn) => kept = torn,
            None => return Ok(kept),
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

/// The batch that should stand there, if it does. A file that cannot be opened or read says nothing
/// about that.
fn read_range(directory: &Directory, place: &Place) -> Result<Option<Bytes>, OpenError> {
    let path = segment::log_path(&place.dir, place.segment);
    let mut bytes = vec![0; place.length as usize];
    let read =
        directory.fs.open(&path, super::fs::Open::Read).and_then(|file| file.read_at(&mut bytes, place.at));
    let read = match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| OpenError::Io { path, error })?,
    };
    let Ok(header) = Header::parse(&bytes) else { return Ok(None) };
    let holds = read == bytes.len()
        && header.size() == bytes.len()
        && header.base_offset == place.base_offset
        && header.crc == place.crc
        && record::crc_of(&bytes) == place.crc;
    Ok(holds.then(|| bytes.into()))
}

/// Puts into the segments what the journal has of them, and what above the mark it only refers to.
/// Done whether or not it is there already: after kill -9 the page cache may show bytes that the
/// disk never got.
/// What the journal holds itself need not be written: a partition where that fails, for want of room
/// above all, keeps it in memory.
fn write_again(directory: &Directory, shard: &Shard, rounds: &[Round]) -> Result<Unwritten, OpenError> {
    let mut touched = BTreeMap::new();
    let mut unwritten = Unwritten::new();
    for (entry, place) in
        rounds.iter().flat_map(|round| round.places.iter().map(|place| (&round.entry, place)))
    {
        let still_there = shard.partition(place.topic, place.partition).is_some_and(|partition| {
            partition.segments().iter().any(|segment| segment.id() == place.segment)
        });
        let bytes = match &place.inline {
            _ if !still_there => continue,
            Some(bytes) => bytes.clone(),
            None if !entry.above_mark => continue,
            None => match read_range(directory, place)? {
                Some(bytes) => bytes,
                // Below a log start that moved since.
                None => continue,
            },
        };
        let key = (place.topic, place.partition);
        // What follows it waits with it.
        if let Some(waiting) = unwritten.get_mut(&key) {
            waiting.insert((place.segment, place.at), bytes);
            continue;
        }
        match write_place(directory, place, &bytes, &mut touched) {
            Ok(()) => {}
            Err(error) if place.inline.is_none() => {
                return Err(OpenError::Io { path: segment::log_path(&place.dir, place.segment), error });
            }
            Err(error) => {
                let file = segment::log_path(&place.dir, place.segment);
                tracing::warn!(
                    file = %file.display(),
                    %error,
                    "cannot write to a segment: the journal keeps the records, the partition takes no more until it can be written; {}",
                    Failure::of(&error).next_step()
                );
                unwritten.insert(key, BTreeMap::from([((place.segment, place.at), bytes)]));
            }
        }
    }
    for ((_, _, id), (file, dir)) in &touched {
        file.sync_data().map_err(|error| OpenError::Io { path: segment::log_path(dir, *id), error })?;
    }
    let dirs: BTreeSet<_> = touched.values().map(|(_, dir)| dir).collect();
    for dir in dirs {
        directory.files.sync_names(dir).map_err(|error| OpenError::Io { path: dir.to_path_buf(), error })?;
    }
    Ok(unwritten)
}

/// Segments that were opened to be written to, and their directories.
type Touched<'a> = BTreeMap<(TopicId, i32, SegmentId), (Arc<dyn File>, &'a Path)>;

fn write_place<'a>(
    directory: &Directory,
    place: &'a Place,
    bytes: &Bytes,
    touched: &mut Touched<'a>,
) -> io::Result<()> {
    let key = (place.topic, place.partition, place.segment);
    let file = match touched.get(&key) {
        Some((file, _)) => file,
        None => {
            clear_foreign(directory, &place.dir, place.topic)?;
            let file = segment::recreate(&*directory.fs, &place.dir, place.topic, place.segment)?;
            &touched.entry(key).or_insert((file, &place.dir)).0
        }
    };
    file.write_at(&[io::IoSlice::new(bytes)], place.at)
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
    unwritten: &Unwritten,
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
        let settled = match segment::topic_of(fs, &dir) {
            Ok(Some(topic)) if topic == key.0 => {
                settle_partition(directory, &dir, partition, unwritten.get(&key))
            }
            // Nothing is said before the first segment is made.
            Ok(None) if written_lengths(partition, unwritten.get(&key)).is_empty() => {
                settle_partition(directory, &dir, partition, unwritten.get(&key))
            }
            Ok(Some(_)) => {
                directory.discard(&dir)?;
                continue;
            }
            Ok(None) => Ok(Settled::Damaged(format!("{} lost its topic id", dir.display()))),
            Err(error) => Err(error),
        };
        there.insert(key);
        match settled {
            Ok(Settled::AsItWas) => {}
            Ok(Settled::Cut) => cut.push(key),
            Ok(Settled::Damaged(why)) => drop(damaged.insert(key, why)),
            // The others would fare no better.
            Err(error) if Failure::of(&error) == Failure::NoDescriptors => return Err(error),
            Err(error) => {
                let next_step = Failure::of(&error).next_step();
                let why = format!("{}: {error}; {next_step}, then restart", dir.display());
                damaged.insert(key, why);
            }
        }
    }
    for topic in shard.topics() {
        for (partition, index) in topic.partitions().zip(0..) {
            let key = (topic.id, index);
            let must_be_there = !written_lengths(partition, unwritten.get(&key)).is_empty();
            if must_be_there && !there.contains(&key) && !damaged.contains_key(&key) {
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

/// The batches of a partition that its segments do not have.
type Waiting<'a> = Option<&'a BTreeMap<(SegmentId, u64), Bytes>>;

/// From where on the file of a segment lacks batches, if it does.
fn lacks_from(segment: &kernel::Segment, waiting: Waiting<'_>) -> Option<u64> {
    let ((id, at), _) = waiting?.range((segment.id(), 0)..).next()?;
    (*id == segment.id()).then_some(*at)
}

/// How long the segments are at least that must have a file.
fn written_lengths(partition: &kernel::Partition, waiting: Waiting<'_>) -> BTreeMap<SegmentId, u64> {
    let lengths = partition.segments().iter().filter_map(|segment| match lacks_from(segment, waiting) {
        Some(0) => None,
        lacks => Some((segment.id(), lacks.unwrap_or(segment.bytes))),
    });
    lengths.collect()
}

fn settle_partition(
    directory: &Directory,
    dir: &Path,
    partition: &kernel::Partition,
    waiting: Waiting<'_>,
) -> io::Result<Settled> {
    let fs = &*directory.fs;
    let mut settled = Settled::AsItWas;
    let mut removed = false;
    let known: BTreeMap<SegmentId, u64> =
        partition.segments().iter().map(|segment| (segment.id(), segment.bytes)).collect();
    let must_have = written_lengths(partition, waiting);
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
        let least = must_have.get(&id).copied().unwrap_or(0);
        if len < least {
            return Ok(Settled::Damaged(format!("{} has {len} bytes of {least}", path.display())));
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
    if let Some(missing) = must_have.keys().find(|id| !found.contains(id)) {
        return Ok(Settled::Damaged(format!("{} is missing", segment::log_path(dir, *missing).display())));
    }
    Ok(settled)
}

/// The segments of a partition as the state describes them; opens nothing. Of those that lack
/// batches, what their files have.
pub(super) fn segments_of(
    dir: &Arc<PartitionDir>,
    partition: &kernel::Partition,
    unwritten: &Unwritten,
) -> VecDeque<Arc<Segment>> {
    let waiting = unwritten.get(&(dir.topic(), dir.partition()));
    let segments = partition.segments().iter().map(|state| match lacks_from(state, waiting) {
        None => Segment::existing(dir, state),
        Some(0) => Segment::new(dir, state.base, segment::DEFAULT_INTERVAL),
        Some(bytes) => Segment::existing(dir, &kernel::Segment { bytes, ..*state }),
    });
    segments.map(Arc::new).collect()
}
