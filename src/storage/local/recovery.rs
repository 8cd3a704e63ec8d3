//! Recovery opens a data directory: it reads the newest valid snapshot, replays the journal and cuts a torn
//! tail. Above the synced mark, the first entry that is not valid ends the journal for every partition. Then
//! each segment is made to contain exactly the replayed records, and is synced. If it is needed and possible,
//! a new snapshot is written. Only after that requests are answered. A crash anywhere in here, even
//! repeatedly, leads to the same state.

mod drops;
mod gaps;
mod kept;
mod owners;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::directory::{Directory, Meta};
use super::fs::{Failure, File, Fs, Open};
use super::journal::{self, Journal, MemoryJournal, Replay, Replayed};
use super::layout;
use super::segment::{PartitionDir, Segment};
use super::snapshot;
use crate::kernel::{
    self, Applied, Command, ExtentId, Levels, Passed, Placed, PlacedMarker, Shard, StoreAgain, entry,
};
use crate::record::{self, Header};
use crate::storage::OpenError;
use crate::storage::extent::ExtentReader;
use crate::types::{AbortedTransaction, NodeId, Offset, Timestamp, TopicId, TopicPartition};
use drops::{DroppedState, Drops};
use kept::KeptFiles;
use owners::DirectoryOwners;
pub(super) use owners::with_ends;

/// The recovered content of a directory.
pub(super) struct Recovered {
    pub(super) shard: Shard,
    pub(super) journal: Box<dyn Journal>,
    /// Partitions whose files were longer than the replayed state. They get a new leader epoch.
    pub(super) cut: Vec<TopicPartition>,
    pub(super) damaged: BTreeMap<TopicPartition, String>,
    pub(super) unwritten: UnwrittenByPartition,
    /// The aborted transactions that ended since the snapshot.
    pub(super) aborted: Vec<EndedInSegment>,
    /// The last time at which the clock was trusted; `None` if it is not known.
    pub(super) last_time: Option<Timestamp>,
    pub(super) account: Account,
}

/// The findings of a start in the directories of partitions, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Damaged partitions, with the reason.
    pub out_of_service: BTreeMap<String, String>,
    /// Partitions with data at their end that was never acknowledged.
    pub cut: BTreeSet<String>,
    /// Directories of deleted topics, which are removed.
    pub deleted: BTreeSet<String>,
    /// Directories that belong to no topic, not even a deleted one; they stay as they are.
    pub unknown: BTreeSet<String>,
    /// Partitions whose `partition.metadata` was wrong and is written again.
    pub relabelled: BTreeSet<String>,
}

/// Does the same as a start, and returns the state that it would serve. Meant for a file system that keeps no
/// changes.
pub(super) fn try_start(fs: &Arc<dyn Fs>, root: &Path) -> Result<Recovered, OpenError> {
    let directory = Directory::open_offline(fs, root)?;
    recover(&directory, journal::Options::new(directory.salt), OnDamage::Refuse)
}

/// The state that the snapshots and the journal of a directory describe, whatever its segments hold.
pub(super) fn described(fs: &Arc<dyn Fs>, root: &Path, owner: &Meta) -> Result<Shard, OpenError> {
    let (snapshots, journal) = (root.join("snapshot"), root.join("journal"));
    let found = snapshot::read_newest(&**fs, &snapshots, Levels::KNOWN);
    let found = found.map_err(|error| OpenError::Io { path: snapshots, error })?;
    let mut shard = first_state(owner.node_id, &found, OnDamage::Refuse)?;
    let options = journal::Options::new(owner.salt);
    for entry in Replay::open(Arc::clone(fs), &journal, options, shard.position() + 1)? {
        apply(Levels::KNOWN, &mut shard, &entry?, |_, _, _| Ok(()))?;
    }
    Ok(shard)
}

impl Recovered {
    /// The empty state of a store in memory.
    pub(super) fn nothing(broker: NodeId) -> Recovered {
        Recovered {
            shard: Shard::new(broker),
            journal: Box::new(MemoryJournal::after(0)),
            cut: Vec::new(),
            damaged: BTreeMap::new(),
            unwritten: UnwrittenByPartition::new(),
            aborted: Vec::new(),
            last_time: None,
            account: Account::default(),
        }
    }
}

/// Batches of the journal that could not be written to their segments, by partition. They stay in the
/// journal.
pub(super) type UnwrittenByPartition = BTreeMap<TopicPartition, UnwrittenBatches>;

/// Such batches of one partition, by their position in its segments. Unless the partition is out of service, they follow
/// each other up to the end of the log (`gaps.rs`).
pub(super) struct UnwrittenBatches {
    pub(super) batches: BTreeMap<(ExtentId, u64), Bytes>,
    pub(super) failure: Failure,
    /// Some of them are not in the journal, which only refers to them.
    is_referred: bool,
}

/// An entry of the journal, with the outcome of its commands.
struct Round {
    entry: Replayed,
    /// The places of its batches.
    places: Vec<BatchPlace>,
    aborted: Vec<EndedInSegment>,
    drops: Vec<Drops>,
}

impl Round {
    /// The topics that it deletes, with their names.
    fn dropped_topics(&self) -> impl Iterator<Item = (TopicId, &str)> {
        self.drops.iter().filter_map(|drops| match drops {
            Drops::Topic { id, name } => Some((*id, name.as_str())),
            Drops::Before(..) | Drops::Segments(..) => None,
        })
    }
}

/// How to handle damage to durable data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnDamage {
    Refuse,
    /// Continue with the readable rest; an operator has accepted the loss.
    GiveUp,
}

pub(super) fn recover(
    directory: &Directory,
    options: journal::Options,
    on_damage: OnDamage,
) -> Result<Recovered, OpenError> {
    let fs = &*directory.fs;
    let io = |path: PathBuf| move |error| OpenError::Io { path, error };
    let snapshots = directory.snapshots();
    let levels = directory.levels;
    let found = snapshot::read_newest(fs, &snapshots, levels).map_err(io(snapshots.clone()))?;
    let start = first_state(directory.node_id, &found, on_damage)?;
    let snapshot = start.position();
    let (journal, mut rounds, shard, unreadable) = replay(directory, options, start, on_damage)?;
    if on_damage == OnDamage::Refuse {
        holds_what_was_safe(directory, &found, &shard)?;
    }
    let last_time = shard.clock_trusted();

    let (kept, kept_rounds) = KeptFiles::read(directory, &shard).map_err(io(directory.kept()))?;
    rounds.splice(..0, kept_rounds);
    let topics = |error| OpenError::Io { path: directory.topics(), error };
    let mut owned = owners::look(directory, &shard, &rounds).map_err(topics)?;
    owned.damaged.extend(kept.unreadable(directory, &shard));
    owned.damaged.extend(unreadable);
    drops::make_durable(directory, &journal, &rounds)?;
    // From here on files are removed.
    owned.clear(directory).map_err(topics)?;
    let mut unwritten = write_again(directory, &shard, &rounds, &mut owned)?;
    gaps::fill(directory, &shard, &mut unwritten, &mut owned.damaged)?;
    let cut = owned.settle(directory, &shard, &unwritten).map_err(topics)?;
    // Before anything is written in the form of this version.
    directory.raise_format().map_err(io(directory.root().to_owned()))?;
    kept.settle(directory, &shard, &rounds, &owned.damaged, &mut unwritten)?;
    directory.trash.settle().map_err(topics)?;
    let mut journal = journal.begin(shard.position() + 1)?;
    let aborted: Vec<EndedInSegment> =
        rounds.iter().flat_map(|round| round.aborted.iter().copied()).collect();
    // Without a new snapshot the next start only replays more. There must be no new one while some records
    // are only in the journal.
    if unwritten.is_empty() {
        // The next start no longer replays their ends.
        store_lists(directory, &shard, &aborted, &owned.damaged).map_err(io(directory.root().to_owned()))?;
        match snapshot::renew(fs, &snapshots, levels, &shard, &found) {
            Ok(oldest) => journal.trim(oldest + 1),
            Err(error) => {
                tracing::warn!(dir = %snapshots.display(), %error, "cannot write a snapshot; trying again later");
            }
        }
    } else if let Err(error) = snapshot::remove_wrong(fs, &snapshots, &found) {
        tracing::warn!(dir = %snapshots.display(), %error, "cannot remove a damaged snapshot; the next start tries again");
    }
    let account = owned.account(&shard, &cut);
    let replayed = shard.position() - snapshot;
    tracing::info!(snapshot, replayed, cut_partitions = cut.len(), "recovered");
    let damaged = owned.damaged;
    let journal = Box::new(journal);
    Ok(Recovered { shard, journal, cut, damaged, unwritten, aborted, last_time, account })
}

/// The state of the newest snapshot, or the empty state of a new directory.
fn first_state(
    broker: NodeId,
    found: &snapshot::NewestSnapshot,
    on_damage: OnDamage,
) -> Result<Shard, OpenError> {
    for wrong in &found.wrong {
        tracing::warn!(path = %wrong.path.display(), why = %wrong.why, "a snapshot is damaged; the other one is used, if it can be read");
    }
    match &found.newest {
        Some(shard) => Ok(shard.clone()),
        None if found.wrong.is_empty() || on_damage == OnDamage::GiveUp => Ok(Shard::new(broker)),
        None => {
            let wrong: Vec<_> = found.wrong.iter().map(ToString::to_string).collect();
            Err(OpenError::Damaged { what: format!("no snapshot can be read: {}", wrong.join("; ")) })
        }
    }
}

/// Partitions with batches that cannot be read, with the reason.
type Unreadable = BTreeMap<TopicPartition, String>;

/// Replays the journal as far as it is valid. Returns the state after the last valid entry.
fn replay(
    directory: &Directory,
    options: journal::Options,
    start: Shard,
    on_damage: OnDamage,
) -> Result<(Replay, Vec<Round>, Shard, Unreadable), OpenError> {
    let (fs, dir, from) = (Arc::clone(&directory.fs), directory.journal(), start.position() + 1);
    let mut journal = match on_damage {
        OnDamage::Refuse => Replay::open(fs, &dir, options, from)?,
        OnDamage::GiveUp => Replay::open_what_is_left(fs, &dir, options, from)?,
    };
    let mut rounds = Vec::new();
    let mut ahead = start.clone();
    let mut is_whole = true;
    while let Some(entry) = journal.next().transpose()? {
        let position = entry.position;
        match read_round(directory, &mut ahead, entry) {
            Ok(round) => rounds.push(round),
            Err(_) if on_damage == OnDamage::GiveUp => {
                journal.give_up_from(position);
                is_whole = false;
                break;
            }
            Err(damage) => return Err(damage),
        }
    }
    let (kept, unreadable) = first_torn(directory, &rounds)?;
    if let Some(torn) = rounds.get(kept) {
        journal.cut_at(torn.entry.position);
        rounds.truncate(kept);
        is_whole = false;
    }
    if is_whole {
        return Ok((journal, rounds, ahead, unreadable));
    }
    let mut shard = start;
    for Round { entry, .. } in &rounds {
        apply(directory.levels, &mut shard, entry, |_, _, _| Ok(()))?;
    }
    Ok((journal, rounds, shard, unreadable))
}

fn read_round(directory: &Directory, ahead: &mut Shard, entry: Replayed) -> Result<Round, OpenError> {
    let (places, aborted, drops) = (Vec::new(), Vec::new(), Vec::new());
    let mut outcomes = Outcomes { directory, data: entry.data.clone(), places, aborted, drops };
    apply(directory.levels, ahead, &entry, |state, command, applied| outcomes.note(state, command, applied))?;
    let Outcomes { places, aborted, drops, .. } = outcomes;
    Ok(Round { entry, places, aborted, drops })
}

/// Fails if durable data is missing, so that it is never given up silently.
fn holds_what_was_safe(
    directory: &Directory,
    found: &snapshot::NewestSnapshot,
    shard: &Shard,
) -> Result<(), OpenError> {
    let end = shard.position();
    if let Some(wrong) = found.wrong.iter().find(|wrong| wrong.position > end) {
        let what = format!("{wrong}, and the journal ends with entry {end}");
        return Err(OpenError::Damaged { what });
    }
    if found.newest.is_some() || end > 0 {
        return Ok(());
    }
    let topics = directory.topics();
    let entries =
        directory.fs.list(&topics).map_err(|error| OpenError::Io { path: topics.clone(), error })?;
    if entries.is_empty() {
        Ok(())
    } else {
        let (path, topics) = (directory.snapshots(), topics.display());
        Err(OpenError::Damaged { what: format!("{} is empty, and {topics} is not", path.display()) })
    }
}

/// Applies an entry with a valid checksum. Its author has applied it before, so a refusal or another hash means
/// that it was written for another state. An entry that an operator skips has no state of its author.
fn apply(
    levels: Levels,
    shard: &mut Shard,
    entry: &Replayed,
    mut each: impl FnMut(&Shard, &Command, &Applied) -> Result<(), String>,
) -> Result<(), OpenError> {
    let mut wrong = None;
    let replaying = ReplayGuard { position: entry.position };
    let passed = shard.apply_entry(levels, entry.time, &entry.commands, |state, command, outcome| {
        let noted = match outcome {
            Ok(applied) if applied.changed_something() => each(state, command, applied),
            other => Err(format!("{command:?} is answered by {other:?}")),
        };
        if let Err(why) = noted {
            wrong.get_or_insert(why);
        }
    });
    drop(replaying);
    if let Some(why) = wrong {
        return Err(damaged(entry, &why));
    }
    let is_as_written = shard.hash() == entry.hash || passed == Err(Passed::Skipped);
    if shard.position() == entry.position && is_as_written {
        return Ok(());
    }
    Err(damaged(
        entry,
        &match passed {
            Err(Passed::Malformed) => entry::read(levels, &entry.commands).err().unwrap_or_default(),
            Err(passed) => format!("it does not follow the entries before it ({passed:?})"),
            Ok(()) => "replay gives another state than the one it was written after".to_owned(),
        },
    ))
}

/// Logs the next step if an entry makes the state machine panic.
struct ReplayGuard {
    position: u64,
}

impl Drop for ReplayGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                entry = self.position,
                "this entry of the journal makes the broker panic at every start: start the version that wrote it, \
                 or give the entry up with `jackdaw log skip`"
            );
        }
    }
}

fn damaged(entry: &Replayed, why: &str) -> OpenError {
    OpenError::Damaged {
        what: format!("journal entry {} (file {}, byte {}): {why}", entry.position, entry.file, entry.at),
    }
}

/// The place of a batch in its segment.
struct BatchPlace {
    topic: TopicId,
    partition: i32,
    /// For a commit it has generation 0, because compaction never rewrites the newest segment.
    segment: ExtentId,
    at: u64,
    dir: PathBuf,
    base_offset: Offset,
    end: Offset,
    length: u32,
    crc: u32,
    inline: Option<Bytes>,
}

impl BatchPlace {
    fn key(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.partition)
    }
}

/// Collects the outcomes of an entry's commands.
struct Outcomes<'a> {
    directory: &'a Directory,
    /// The record bytes of the entry that no earlier command has.
    data: Bytes,
    places: Vec<BatchPlace>,
    aborted: Vec<EndedInSegment>,
    drops: Vec<Drops>,
}

/// An aborted transaction, and the segment that has its marker.
pub(super) type EndedInSegment = ((TopicPartition, ExtentId), AbortedTransaction);

impl Outcomes<'_> {
    /// `state` is the state after the command.
    fn note(&mut self, state: &Shard, command: &Command, applied: &Applied) -> Result<(), String> {
        match applied {
            Applied::Appended(placed) => {
                let Command::Commit(commit) = command else {
                    return Err(format!("{command:?} is answered by {applied:?}"));
                };
                let place = self.place_of(state, commit, placed)?;
                self.places.push(place);
            }
            Applied::StoredAgain => {
                let Command::StoreAgain(again) = command else {
                    return Err(format!("{command:?} is answered by {applied:?}"));
                };
                self.places.push(stored_again(state, self.directory, again, &mut self.data)?);
            }
            Applied::TopicDropped { topic, name } => {
                self.drops.push(Drops::Topic { id: *topic, name: name.clone() });
            }
            Applied::LogStart { topic, partition, offset, .. } => {
                self.drops.push(Drops::Before(TopicPartition::new(*topic, *partition), *offset));
            }
            Applied::ExtentsReplaced { topic, partition, replaced, .. } => {
                let ids = replaced.iter().map(kernel::Extent::id).collect();
                self.drops.push(Drops::Segments(TopicPartition::new(*topic, *partition), ids));
            }
            Applied::TransactionEnded(_) | Applied::MarkerWritten { .. } => {
                self.note_markers(state, applied)?
            }
            Applied::TopicCreated { .. }
            | Applied::TransactionInitialized { .. }
            | Applied::TransactionJoined
            | Applied::OffsetsStaged
            | Applied::TransactionUnchanged { .. }
            | Applied::TransactionsExpired(_)
            | Applied::Duplicate { .. }
            | Applied::EpochRaised { .. }
            | Applied::Producer { .. }
            | Applied::ProducersExpired(_)
            | Applied::ProducerMemorySet { .. }
            | Applied::GroupChanged
            | Applied::PartitionsAdded { .. }
            | Applied::TopicAltered { .. }
            | Applied::SettingsAltered { .. }
            | Applied::ReplicasSet { .. }
            | Applied::BrokersSet
            | Applied::Registered { .. }
            | Applied::BrokerGone { .. }
            | Applied::LeaderElected { .. }
            | Applied::FeatureSet { .. }
            | Applied::QuotasAltered { .. }
            | Applied::CredentialsAltered
            | Applied::AclsChanged { .. }
            | Applied::TokensChanged { .. }
            | Applied::ClockTrusted => {}
        }
        Ok(())
    }

    /// Markers are made again from the outcome, so they count as batches that the journal has.
    fn note_markers(&mut self, state: &Shard, applied: &Applied) -> Result<(), String> {
        let Some((marker, placed)) = applied.markers() else { return Ok(()) };
        for PlacedMarker { placed, aborted } in placed {
            let bytes = marker.batch(placed.base_offset, placed.epoch);
            let segment = ExtentId { base: placed.segment, generation: 0 };
            self.places.push(BatchPlace {
                dir: dir_of(state, self.directory, placed.topic, placed.partition)?,
                topic: placed.topic,
                partition: placed.partition,
                segment,
                at: placed.at,
                base_offset: placed.base_offset,
                end: placed.end,
                length: u32::try_from(bytes.len()).map_err(|error| error.to_string())?,
                crc: Header::parse(&bytes).map_err(|error| error.to_string())?.crc,
                inline: Some(bytes),
            });
            let key = (TopicPartition::new(placed.topic, placed.partition), segment);
            self.aborted.extend(aborted.map(|aborted| (key, aborted)));
        }
        Ok(())
    }

    fn place_of(
        &mut self,
        state: &Shard,
        commit: &kernel::Commit,
        placed: &Placed,
    ) -> Result<BatchPlace, String> {
        let (inline, crc) = match commit.place {
            kernel::Place::Segment { inline, crc, .. } => (inline, crc),
            kernel::Place::Journal { .. } => {
                return Err("its record bytes are in a shared journal".to_owned());
            }
        };
        Ok(BatchPlace {
            dir: dir_of(state, self.directory, placed.topic, placed.partition)?,
            topic: placed.topic,
            partition: placed.partition,
            segment: ExtentId { base: placed.segment, generation: 0 },
            at: placed.at,
            base_offset: placed.base_offset,
            end: placed.end,
            length: commit.bytes,
            crc,
            inline: if inline { Some(take(&mut self.data, commit.bytes)?) } else { None },
        })
    }
}

fn dir_of(state: &Shard, directory: &Directory, topic: TopicId, partition: i32) -> Result<PathBuf, String> {
    let topic = state.topic(topic).ok_or("it writes to a topic that is not there")?;
    Ok(directory.partition(&topic.name, partition))
}

fn take(data: &mut Bytes, bytes: u32) -> Result<Bytes, String> {
    let bytes = bytes as usize;
    if bytes > data.len() {
        return Err("it holds fewer record bytes than its commands say".to_owned());
    }
    Ok(data.split_to(bytes))
}

/// The place of a batch that is stored again.
fn stored_again(
    state: &Shard,
    directory: &Directory,
    again: &StoreAgain,
    data: &mut Bytes,
) -> Result<BatchPlace, String> {
    let StoreAgain { topic, partition, segment, at, bytes } = *again;
    let inline = take(data, bytes)?;
    let header = Header::parse(&inline).map_err(|error| error.to_string())?;
    Ok(BatchPlace {
        dir: dir_of(state, directory, topic, partition)?,
        topic,
        partition,
        segment,
        at,
        base_offset: header.base_offset,
        end: header.next_offset().ok_or("its offsets pass the largest")?,
        length: bytes,
        crc: header.crc,
        inline: Some(inline),
    })
}

/// The number of valid entries. Above the mark, the first entry whose bytes are not in their segments ends
/// the journal. Bytes that a later valid entry drops need not be there: files are removed once the entry that
/// drops them is durable, and then all earlier entries are durable too.
///
/// If a segment cannot be read, it is unknown whether its bytes are there. The entry is kept, because other
/// partitions may have acknowledged records in it and after it, and the segment's partition is returned: it
/// must not be served.
fn first_torn(directory: &Directory, rounds: &[Round]) -> Result<(usize, Unreadable), OpenError> {
    let mut kept = rounds.len();
    loop {
        let dropped = DroppedState::by(rounds.get(..kept).unwrap_or_default());
        let mut torn = None;
        let mut unreadable = Unreadable::new();
        for (at, round) in rounds.iter().take(kept).enumerate().filter(|(_, round)| round.entry.above_mark) {
            let referred = round.places.iter().filter(|place| place.inline.is_none());
            for place in referred.filter(|place| !dropped.after(round.entry.position, place)) {
                match read_range(directory, place)? {
                    Batch::Whole(_) => {}
                    Batch::Missing => torn = torn.or(Some(at)),
                    Batch::Unreadable(why) => {
                        unreadable.entry(place.key()).or_insert(why);
                    }
                }
            }
            if torn.is_some() {
                break;
            }
        }
        match torn {
            Some(torn) => kept = torn,
            None => return Ok((kept, unreadable)),
        }
    }
}

/// Stores the aborted transactions that ended since the snapshot in the lists of their segments. Damaged partitions are
/// not changed.
fn store_lists(
    directory: &Directory,
    shard: &Shard,
    aborted: &[EndedInSegment],
    damaged: &BTreeMap<TopicPartition, String>,
) -> io::Result<()> {
    let mut by_segment: BTreeMap<(TopicPartition, ExtentId), Vec<AbortedTransaction>> = BTreeMap::new();
    for (of, aborted) in aborted.iter().filter(|((key, _), _)| !damaged.contains_key(key)) {
        by_segment.entry(*of).or_default().push(*aborted);
    }
    let segment = |((key, id), aborted): (_, Vec<AbortedTransaction>)| {
        let TopicPartition { topic, partition } = key;
        let dir = directory.partition_dir(&shard.topic(topic)?.name, key);
        let state = shard.partition(topic, partition)?.extents().iter().find(|state| state.id() == id)?;
        let segment = Segment::existing(&dir, state);
        aborted.iter().for_each(|aborted| segment.restore_aborted(aborted));
        Some(segment)
    };
    let segments: Vec<Segment> = by_segment.into_iter().filter_map(segment).collect();
    directory.sync_lists(&segments)
}

/// A batch that the journal refers to, as it is found in its segment.
enum Batch {
    Whole(Bytes),
    Missing,
    /// The file cannot be opened or read, so it is unknown whether the batch is there.
    Unreadable(String),
}

/// Reads the batch at this place. Fails if no other file could be read either.
fn read_range(directory: &Directory, place: &BatchPlace) -> Result<Batch, OpenError> {
    let path = layout::log_path(&place.dir, place.segment);
    let mut bytes = vec![0; place.length as usize];
    let read = directory.fs.open(&path, Open::Read).and_then(|file| file.read_at(&mut bytes, place.at));
    let read = match read {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Batch::Missing),
        Err(error) if Failure::of(&error) == Failure::NoDescriptors => {
            return Err(OpenError::Io { path, error });
        }
        Err(error) => {
            let (path, next_step) = (path.display(), Failure::of(&error).next_step());
            let why =
                format!("{path} cannot be read at byte {}: {error}; {next_step}, then restart", place.at);
            return Ok(Batch::Unreadable(why));
        }
    };
    let Ok(header) = Header::parse(&bytes) else { return Ok(Batch::Missing) };
    let holds = read == bytes.len()
        && header.size() == bytes.len()
        && header.base_offset == place.base_offset
        && header.crc == place.crc
        && record::crc_of(&bytes) == place.crc;
    Ok(if holds { Batch::Whole(bytes.into()) } else { Batch::Missing })
}

/// Writes to the segments the batches that the journal has, and those above the mark that it only refers to.
/// They are written even if they are already there: after kill -9 the page cache may show bytes that never
/// reached the disk. If a segment ends before the first of these batches, it has lost others. Then it is not
/// changed, and its partition is damaged.
///
/// If a segment cannot be written, only its partition is affected: its records are kept in memory, and those
/// that the journal only refers to are also kept in a file. Those of a damaged partition are not written; the
/// whole volume is synced instead, because a later start may find them in a file that can be read again.
fn write_again(
    directory: &Directory,
    shard: &Shard,
    rounds: &[Round],
    owned: &mut DirectoryOwners,
) -> Result<UnwrittenByPartition, OpenError> {
    let begins = first_writes(shard, rounds);
    // One file after the other, because not all may be open at once. The order within a file stays.
    let mut all: Vec<_> =
        rounds.iter().flat_map(|round| round.places.iter().map(|place| (&round.entry, place))).collect();
    all.sort_by_key(|(_, place)| (place.topic, place.partition, place.segment, place.at));
    let mut looked_at = BTreeSet::new();
    let mut rewriting = SegmentRewrite::default();
    let mut unwritten = UnwrittenByPartition::new();
    let mut is_all_written = true;
    for (entry, place) in all {
        if !is_there(shard, place) {
            continue;
        }
        let partition = place.key();
        let bytes = match &place.inline {
            Some(bytes) => bytes.clone(),
            None if !entry.above_mark => continue,
            None if owned.damaged.contains_key(&partition) => {
                is_all_written = false;
                continue;
            }
            None => match read_range(directory, place)? {
                Batch::Whole(bytes) => bytes,
                // The batch is below a log start offset that was moved later.
                Batch::Missing => continue,
                Batch::Unreadable(why) => {
                    owned.damaged.insert(partition, why);
                    is_all_written = false;
                    continue;
                }
            },
        };
        // Later batches of the partition wait too.
        if let Some(waiting) = unwritten.get_mut(&partition) {
            waiting.is_referred |= place.inline.is_none();
            waiting.batches.insert((place.segment, place.at), bytes);
            continue;
        }
        rewriting.turn_to((partition, place.segment))?;
        let outcome = if looked_at.insert(partition) && !owned.damaged.contains_key(&partition) {
            look_before(directory, shard, place, &begins, owned)
        } else {
            Ok(())
        };
        let outcome = outcome.and_then(|()| {
            if owned.damaged.contains_key(&partition) {
                Ok(())
            } else {
                rewriting.write(directory, place, &bytes, owned)
            }
        });
        if place.inline.is_none() && owned.damaged.contains_key(&partition) {
            is_all_written = false;
        }
        let Err(error) = outcome else { continue };
        let path = layout::log_path(&place.dir, place.segment);
        if Failure::of(&error) == Failure::NoDescriptors {
            return Err(OpenError::Io { path, error });
        }
        tracing::warn!(
            file = %path.display(),
            %error,
            "cannot write to a segment: its records are kept elsewhere, and its partition refuses more until it can be written; {}",
            Failure::of(&error).next_step()
        );
        let batches = BTreeMap::from([((place.segment, place.at), bytes)]);
        let is_referred = place.inline.is_none();
        unwritten.insert(partition, UnwrittenBatches { batches, failure: Failure::of(&error), is_referred });
    }
    rewriting.close()?;
    if !is_all_written {
        let failed = |error| OpenError::Io { path: directory.root().to_owned(), error };
        directory.sync_everything().map_err(failed)?;
    }
    for dir in rewriting.dirs {
        directory.files.sync_names(dir).map_err(|error| OpenError::Io { path: dir.to_path_buf(), error })?;
    }
    Ok(unwritten)
}

/// Checks a partition before the first write to it: if something is missing, nothing is written. Fails if its
/// directory cannot be read.
fn look_before(
    directory: &Directory,
    shard: &Shard,
    place: &BatchPlace,
    begins: &BTreeMap<(TopicPartition, ExtentId), u64>,
    owned: &mut DirectoryOwners,
) -> io::Result<()> {
    let fs = &*directory.fs;
    let key = place.key();
    layout::topic_of(fs, &place.dir)?;
    let Some(state) = shard.partition(place.topic, place.partition) else { return Ok(()) };
    if let Some(why) = lacks(fs, &place.dir, key, state, begins)? {
        owned.damaged.entry(key).or_insert(why);
    }
    Ok(())
}

/// The segment that is being rewritten, and the directories of all rewritten segments.
#[derive(Default)]
struct SegmentRewrite<'a> {
    open: Option<OpenSegment>,
    dirs: BTreeSet<&'a Path>,
}

struct OpenSegment {
    key: (TopicPartition, ExtentId),
    file: Arc<dyn File>,
    path: PathBuf,
}

impl<'a> SegmentRewrite<'a> {
    /// Closes the open segment, unless it is the one with this key.
    fn turn_to(&mut self, key: (TopicPartition, ExtentId)) -> Result<(), OpenError> {
        match &self.open {
            Some(open) if open.key != key => self.close(),
            _ => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), OpenError> {
        let Some(OpenSegment { file, path, .. }) = self.open.take() else { return Ok(()) };
        file.sync_data().map_err(|error| OpenError::Io { path, error })
    }

    fn write(
        &mut self,
        directory: &Directory,
        place: &'a BatchPlace,
        bytes: &Bytes,
        owned: &mut DirectoryOwners,
    ) -> io::Result<()> {
        let partition = place.key();
        let path = layout::log_path(&place.dir, place.segment);
        let known = self.open.as_ref().map(|open| Arc::clone(&open.file));
        let Some(file) = known.map_or_else(|| open_again(directory, place), |file| Ok(Some(file)))? else {
            owned.damaged.insert(partition, format!("{} is missing", path.display()));
            return Ok(());
        };
        let len = file.len()?;
        if len < place.at {
            let why =
                format!("{} has {len} bytes, and had {} before a batch was added", path.display(), place.at);
            owned.damaged.insert(partition, why);
            return Ok(());
        }
        self.dirs.insert(&place.dir);
        owned.ours.insert(partition);
        self.open = Some(OpenSegment { key: (partition, place.segment), file: Arc::clone(&file), path });
        file.write_at(&[io::IoSlice::new(bytes)], place.at)
    }
}

/// For each segment: the position of the first batch that is written again.
fn first_writes(shard: &Shard, rounds: &[Round]) -> BTreeMap<(TopicPartition, ExtentId), u64> {
    let mut begins = BTreeMap::new();
    for Round { entry, places, .. } in rounds {
        for place in places.iter().filter(|place| place.inline.is_some() || entry.above_mark) {
            if is_there(shard, place) {
                let key = (place.key(), place.segment);
                let begin: &mut u64 = begins.entry(key).or_insert(place.at);
                *begin = place.at.min(*begin);
            }
        }
    }
    begins
}

/// The part of a partition that is missing before anything is written to it again; `None` if nothing is
/// missing.
fn lacks(
    fs: &dyn Fs,
    dir: &Path,
    key: TopicPartition,
    partition: &kernel::Partition,
    begins: &BTreeMap<(TopicPartition, ExtentId), u64>,
) -> io::Result<Option<String>> {
    for state in partition.extents() {
        let path = layout::log_path(dir, state.id());
        let begin = begins.get(&(key, state.id())).copied();
        let wanted = begin.unwrap_or(state.bytes);
        if wanted == 0 {
            continue;
        }
        let file = match fs.open(&path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(format!("{} is missing", path.display())));
            }
            opened => opened?,
        };
        let len = file.len()?;
        if len < wanted {
            return Ok(Some(format!("{} has {len} bytes of {wanted}", path.display())));
        }
        let mut head = [0; Header::LENGTH];
        file.read_at(&mut head, 0)?;
        if !Header::parse(&head).is_ok_and(|header| {
            header.base_offset == state.base || state.id().generation > 0 && header.base_offset > state.base
        }) {
            return Ok(Some(format!("{} does not begin with offset {}", path.display(), state.base)));
        }
    }
    Ok(None)
}

/// Whether the segment is still a part of the log.
fn is_there(shard: &Shard, place: &BatchPlace) -> bool {
    let partition = shard.partition(place.topic, place.partition);
    partition.is_some_and(|one| one.extents().iter().any(|segment| segment.id() == place.segment))
}

/// The file that the batch is written to again. It is created only if the batch is the first in it.
fn open_again(directory: &Directory, place: &BatchPlace) -> io::Result<Option<Arc<dyn File>>> {
    if place.at == 0 {
        return layout::recreate(&*directory.fs, &place.dir, place.topic, place.segment).map(Some);
    }
    match directory.fs.open(&layout::log_path(&place.dir, place.segment), Open::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// The batches of a partition that its segments lack.
pub(super) type MissingBatches<'a> = Option<&'a UnwrittenBatches>;

/// The position from which a segment's file lacks batches; `None` if it is complete.
fn lacks_from(segment: &kernel::Extent, waiting: MissingBatches<'_>) -> Option<u64> {
    let ((id, at), _) = waiting?.batches.range((segment.id(), 0)..).next()?;
    (*id == segment.id()).then_some(*at)
}

/// The minimum lengths of the segments that must have a file.
pub(super) fn written_lengths(
    partition: &kernel::Partition,
    waiting: MissingBatches<'_>,
) -> BTreeMap<ExtentId, u64> {
    let lengths = partition.extents().iter().filter_map(|segment| match lacks_from(segment, waiting) {
        Some(0) => None,
        lacks => Some((segment.id(), lacks.unwrap_or(segment.bytes))),
    });
    lengths.collect()
}

/// The segments of a partition as the state describes them. A segment that lacks batches has the length of
/// its file. Opens nothing.
pub(super) fn segments_of(
    dir: &Arc<PartitionDir>,
    partition: &kernel::Partition,
    unwritten: &UnwrittenByPartition,
) -> VecDeque<Arc<dyn ExtentReader>> {
    let waiting = unwritten.get(&dir.key());
    let segments = partition.extents().iter().map(|state| match lacks_from(state, waiting) {
        None => Segment::existing(dir, state),
        Some(0) => Segment::without_file(dir, state),
        Some(bytes) => Segment::existing(dir, &kernel::Extent { bytes, ..*state }),
    });
    segments.map(|segment| Arc::new(segment) as Arc<dyn ExtentReader>).collect()
}
