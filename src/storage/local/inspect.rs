//! `jackdaw log dump` and `jackdaw log verify`: print the files of a data directory, check them, and predict
//! the next start, without changing anything.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::directory::{self, parse_partition_dir, partition_dir};
use super::fs::{Fs, Open, OverlayFs};
use super::journal;
use super::layout;
use super::recovery;
pub use super::recovery::Account;
use super::recovery::{EndedInSegment, Recovered};
use super::segment::{self, End, Expected, FoundBatch, walk_file};
use super::snapshot;
use crate::config::may_be_secret;
use crate::kernel::{self, AbortedList, Command, ExtentId, Levels, Scope, Shard, entry};
use crate::record::{self, Marker};
use crate::storage::OpenError;
use crate::types::{AbortedTransaction, HIDDEN, TopicId, TopicPartition};

/// The result of [`verify`].
#[derive(Debug)]
pub struct Report {
    pub partitions: u64,
    pub segments: u64,
    pub batches: u64,
    pub bytes: u64,
    pub snapshots: u64,
    pub next_start: NextStart,
    pub findings: Vec<Finding>,
    /// Partitions, as `topic-index`, with damaged records that the next start does not notice. They serve
    /// until a damaged record is read, and are then out of service.
    pub out_when_read: BTreeSet<String>,
}

/// The outcome of the next start.
#[derive(Debug)]
pub enum NextStart {
    /// A running broker has the directory, so files that it is writing cannot be judged.
    InUse,
    Refused(OpenError),
    Serves(Account),
}

impl Report {
    /// Whether no acknowledged data is damaged, as far as the files show.
    pub fn is_sound(&self) -> bool {
        !matches!(self.next_start, NextStart::Refused(_))
            && self.findings.iter().all(|finding| !finding.damage)
    }
}

/// A part of a file that is not as it was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    pub at: Option<u64>,
    pub what: String,
    /// Durable records or a durable state are affected. `false` if the next start fixes it, or a running
    /// broker may be writing it.
    pub damage: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.damage { "DAMAGED" } else { "unfinished" };
        write!(f, "{kind} {}", self.path.display())?;
        if let Some(at) = self.at {
            write!(f, " at byte {at}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Whether the directory is a data directory, even an empty one.
pub fn is_formatted(fs: &dyn Fs, root: &Path) -> bool {
    directory::is_formatted(fs, root)
}

/// Whether it is a data directory, even a damaged one.
pub fn is_data_directory(fs: &dyn Fs, root: &Path) -> bool {
    directory::is_one(fs, root)
}

/// Predicts the next start of a data directory by running it on an overlay in memory. Then checks every batch
/// that it would serve against its checksum. If a broker is running, only the files of its topics are
/// checked.
pub fn verify(fs: &Arc<dyn Fs>, root: &Path) -> Result<Report, OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::Io { path, error }
    };
    if !directory::is_one(&**fs, root) {
        return Err(OpenError::NotOurs { path: root.to_owned() });
    }
    let mut report = Report {
        partitions: 0,
        segments: 0,
        batches: 0,
        bytes: 0,
        snapshots: 0,
        next_start: NextStart::InUse,
        findings: Vec::new(),
        out_when_read: BTreeSet::new(),
    };
    let Some(_held) = directory::lock(&**fs, root).map_err(io(root))? else {
        look_beside_a_broker(&**fs, root, &mut report)?;
        return Ok(report);
    };
    let tried: Arc<dyn Fs> = Arc::new(OverlayFs::new(Arc::clone(fs), root));
    match recovery::try_start(&tried, root) {
        Ok(Recovered { shard, account, aborted, .. }) => {
            report.snapshots = verify_snapshots(&**fs, root, &mut report.findings).map_err(io(root))?;
            account_for(root, &account, &mut report.findings);
            verify_records(&*tried, root, &shard, &account, &mut report).map_err(io(root))?;
            verify_lists(&*tried, root, &shard, &aborted, &mut report);
            report.next_start = NextStart::Serves(account);
        }
        Err(refusal) => report.next_start = NextStart::Refused(refusal),
    }
    Ok(report)
}

/// Adds the start's findings about directories.
fn account_for(root: &Path, account: &Account, findings: &mut Vec<Finding>) {
    let topics = root.join("topics");
    let mut add = |path: PathBuf, what: String, damage| {
        findings.push(Finding { path, at: None, what, damage });
    };
    for (name, why) in &account.out_of_service {
        add(topics.join(name), format!("the next start takes it out of service: {why}"), true);
    }
    for name in &account.unknown {
        let what = "it belongs to no topic, not even to a deleted one: the next start leaves it as it is";
        add(topics.join(name), what.into(), true);
    }
    for name in &account.relabelled {
        let what = "its partition.metadata is wrong: the next start writes it anew";
        add(topics.join(name), what.into(), false);
    }
    for name in &account.cut {
        let what = "it holds more than was acknowledged: the next start cuts it off";
        add(topics.join(name), what.into(), false);
    }
    for name in &account.deleted {
        add(topics.join(name), "its topic was deleted: the next start removes it".into(), false);
    }
}

/// Damaged snapshots are no loss if the start succeeds, because it has the state from elsewhere.
fn verify_snapshots(fs: &dyn Fs, root: &Path, findings: &mut Vec<Finding>) -> io::Result<u64> {
    let all = snapshot::read_all(fs, &root.join("snapshot"), Levels::KNOWN)?;
    let count = all.len() as u64;
    for (path, what) in all.into_iter().filter_map(|(path, read)| Some((path, read.err()?))) {
        findings.push(Finding { path, at: None, what, damage: false });
    }
    Ok(count)
}

/// Reads every record that the next start would serve.
fn verify_records(
    fs: &dyn Fs,
    root: &Path,
    state: &Shard,
    account: &Account,
    report: &mut Report,
) -> io::Result<()> {
    for topic in state.topics() {
        for (partition, index) in topic.partitions().zip(0..) {
            let name = partition_dir(&topic.name, index);
            let dir = root.join("topics").join(&name);
            report.partitions += u64::from(fs.metadata(&dir).is_ok());
            for (segment, end) in recovery::with_ends(partition) {
                let path = layout::log_path(&dir, segment.id());
                let expected = Expected::of(segment, end, partition.log_start());
                let held = match segment::check(fs, &path, &expected) {
                    // The start reports missing files.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => {
                        let what = format!("it cannot be read: {error}");
                        report.findings.push(Finding { path, at: None, what, damage: true });
                        continue;
                    }
                    Ok(held) => held,
                };
                report.segments += 1;
                report.batches += held.batches;
                report.bytes += held.bytes;
                if !held.wrong.is_empty() && !account.out_of_service.contains_key(&name) {
                    report.out_when_read.insert(name.clone());
                }
                let found = held.wrong.into_iter().map(|(at, what)| Finding {
                    path: path.clone(),
                    at: Some(at),
                    what,
                    damage: true,
                });
                report.findings.extend(found);
            }
        }
    }
    Ok(())
}

/// Checks the lists of aborted transactions. `since_the_snapshot` are those that the next start adds to them.
fn verify_lists(
    fs: &dyn Fs,
    root: &Path,
    state: &Shard,
    since_the_snapshot: &[EndedInSegment],
    report: &mut Report,
) {
    for topic in state.topics() {
        for (partition, index) in topic.partitions().zip(0..) {
            let dir = root.join("topics").join(partition_dir(&topic.name, index));
            let key = TopicPartition::new(topic.id, index);
            for extent in partition.extents() {
                let newest = since_the_snapshot.iter().filter(|(of, _)| *of == (key, extent.id()));
                let newest: Vec<_> = newest.map(|(_, aborted)| *aborted).collect();
                let path = layout::aborted_path(&dir, extent.id());
                if !has_list(fs, &path, extent, &newest) {
                    report.findings.push(without_list(path));
                }
            }
        }
    }
}

fn without_list(path: PathBuf) -> Finding {
    let what = "it does not have the aborted transactions of its segment: it is written again from the records when it \
                is needed";
    Finding { path, at: None, what: what.to_owned(), damage: false }
}

/// Whether a file has the list of a segment. The newest entries may be missing.
fn has_list(fs: &dyn Fs, path: &Path, extent: &kernel::Extent, newest: &[AbortedTransaction]) -> bool {
    let in_file = u64::from(extent.aborted.count).saturating_sub(newest.len() as u64);
    let mut list = AbortedList::default();
    if in_file > 0 {
        let file = fs.open(path, Open::Read);
        let read = file.and_then(|file| {
            segment::each_aborted_entry(&*file, in_file, |aborted| list = list.with(aborted))
        });
        if read.is_err() {
            return false;
        }
    }
    newest.iter().fold(list, AbortedList::with) == extent.aborted
}

/// Checks the segments and the lists of aborted transactions while a broker is running. The parts that its newest
/// snapshot covers must be valid; it may be writing the rest.
fn look_beside_a_broker(fs: &dyn Fs, root: &Path, report: &mut Report) -> Result<(), OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::Io { path, error }
    };
    let snapshots = root.join("snapshot");
    let all = snapshot::read_all(fs, &snapshots, Levels::KNOWN).map_err(io(&snapshots))?;
    report.snapshots = all.len() as u64;
    let mut newest = None;
    for (path, read) in all {
        match read {
            Ok(shard) => newest = Some(shard),
            Err(what) => report.findings.push(Finding { path, at: None, what, damage: false }),
        }
    }
    let topics = root.join("topics");
    for entry in fs.list(&topics).map_err(io(&topics))?.iter().filter(|entry| entry.is_dir) {
        let dir = topics.join(&entry.name);
        look_at_partition(fs, &dir, newest.as_ref(), report).map_err(io(&dir))?;
    }
    Ok(())
}

fn look_at_partition(fs: &dyn Fs, dir: &Path, newest: Option<&Shard>, report: &mut Report) -> io::Result<()> {
    report.partitions += 1;
    let known = known_extents(dir, layout::topic_of(fs, dir)?, newest);
    for id in layout::ids(fs, dir)? {
        let path = layout::log_path(dir, id);
        let extent = known.get(&id);
        let safe = extent.map_or(0, |extent| extent.bytes);
        let mut finding = |at, what: String| {
            report.findings.push(Finding { path: path.clone(), at: Some(at), what, damage: at < safe });
        };
        let (mut batches, mut bytes) = (0, 0);
        let walked = walk_file(fs, &path, |_, FoundBatch { at, header, is_sound }| {
            batches += 1;
            bytes += header.size() as u64;
            if !is_sound {
                finding(at, format!("the batch of offset {}: its checksum is wrong", header.base_offset));
            }
            Ok(())
        });
        let End { at, len, why } = match walked {
            // Retention or compaction may have removed it just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            walked => walked?,
        };
        match why {
            Some(why) => finding(at, why),
            None if len < safe => finding(len, format!("the last {} bytes are missing", safe - len)),
            None => {}
        }
        report.segments += 1;
        report.batches += batches;
        report.bytes += bytes;
        let list = layout::aborted_path(dir, id);
        let is_there = |path: &Path| fs.metadata(path).is_ok();
        if extent.is_some_and(|extent| !has_list(fs, &list, extent, &[])) && is_there(&path) {
            report.findings.push(without_list(list));
        }
    }
    Ok(())
}

/// The segments of a partition in the newest snapshot.
fn known_extents<'a>(
    dir: &Path,
    topic: Option<TopicId>,
    newest: Option<&'a Shard>,
) -> BTreeMap<ExtentId, &'a kernel::Extent> {
    let partition = dir
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(parse_partition_dir)
        .and_then(|(_, index)| newest?.partition(topic?, index));
    let segments = partition.map(|partition| partition.extents()).unwrap_or_default();
    segments.iter().map(|segment| (segment.id(), segment)).collect()
}

/// Prints a file (a segment, its aborted transactions or a journal file), or all such files in a directory: a
/// line for each batch or entry, and with `deep` also their records or commands. Returns whether everything
/// could be read to the end.
pub fn dump(fs: &dyn Fs, path: &Path, deep: bool, out: &mut dyn Write) -> io::Result<bool> {
    if fs.metadata(path)?.is_dir {
        let mut whole = true;
        for entry in fs.list(path)? {
            let inner = path.join(&entry.name);
            if entry.is_dir || can_dump(&inner) {
                whole &= dump(fs, &inner, deep, out)?;
            }
        }
        return Ok(whole);
    }
    writeln!(out, "# {}", path.display())?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("journal") => dump_journal(fs, path, deep, out),
        Some(layout::ABORTED) => dump_aborted(fs, path, out),
        Some(snapshot::ENDING) => dump_snapshot(fs, path, deep, out),
        _ => dump_segment(fs, path, deep, out),
    }
}

fn can_dump(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["log", "journal", layout::ABORTED, snapshot::ENDING].iter().any(|one| extension == *one)
    })
}

/// One line for the state, and if `deep` one for each topic.
fn dump_snapshot(fs: &dyn Fs, path: &Path, deep: bool, out: &mut dyn Write) -> io::Result<bool> {
    let state = match snapshot::read(fs, path, Levels::KNOWN) {
        Ok(state) => state,
        Err(why) => {
            writeln!(out, "WRONG {why}")?;
            return Ok(false);
        }
    };
    let partitions: usize = state.topics().map(|topic| topic.partitions().len()).sum();
    writeln!(
        out,
        "entry={} time={} hash={:016x} topics={} partitions={partitions} groups={}",
        state.position(),
        state.time(),
        state.hash(),
        state.topics().count(),
        state.groups().len(),
    )?;
    if deep {
        for topic in state.topics() {
            writeln!(
                out,
                "  topic={:?} id={} partitions={}",
                topic.name,
                topic.id,
                topic.partitions().len()
            )?;
        }
    }
    Ok(true)
}

fn dump_aborted(fs: &dyn Fs, path: &Path, out: &mut dyn Write) -> io::Result<bool> {
    let file = fs.open(path, Open::Read)?;
    let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::InvalidData)?;
    let bytes = file.read_new(len, 0)?;
    let (entries, torn) = bytes.as_chunks::<{ AbortedTransaction::SIZE }>();
    let mut whole = true;
    for (entry, nth) in entries.iter().zip(0..) {
        let at = nth * AbortedTransaction::SIZE;
        match AbortedTransaction::from_bytes(entry) {
            Some(AbortedTransaction { producer, first, last, last_stable }) => writeln!(
                out,
                "at={at} aborted producer={producer} first={first} last={last} last_stable={last_stable}"
            )?,
            None => {
                whole = false;
                writeln!(out, "at={at} is of an unknown version")?;
            }
        }
    }
    if !torn.is_empty() {
        whole = false;
        let at = len - torn.len();
        writeln!(out, "at={at} ends here, {} bytes before the end of the file: it is cut short", torn.len())?;
    }
    Ok(whole)
}

fn dump_segment(fs: &dyn Fs, path: &Path, deep: bool, out: &mut dyn Write) -> io::Result<bool> {
    let mut whole = true;
    let end = walk_file(fs, path, |file, FoundBatch { at, header, is_sound }| {
        whole &= is_sound;
        let batch = Bytes::from(file.read_new(header.size(), at)?);
        writeln!(out, "at={at} {}", record::batch_line(&header, &batch))?;
        if !deep {
            return Ok(());
        }
        if let Some(marker) = Marker::of_batch(&batch) {
            return writeln!(out, "  {}", record::marker_line(header.base_offset, &marker));
        }
        // One at a time, because a decompressed batch may be large.
        let (opened, unreadable) = match record::records(&batch) {
            Ok(records) => (Some(records), None),
            Err(error) => (None, Some(error)),
        };
        for record in opened.into_iter().flatten().chain(unreadable.map(Err)) {
            match record {
                Ok(record) => writeln!(out, "  {}", record::record_line(&record))?,
                Err(error) => {
                    whole = false;
                    writeln!(out, "  its records cannot be read: {error}")?;
                }
            }
        }
        Ok(())
    })?;
    if let Some(why) = end.why {
        whole = false;
        writeln!(
            out,
            "at={} ends here, {} bytes before the end of the file: {why}",
            end.at,
            end.len - end.at
        )?;
    }
    Ok(whole)
}

/// The command for a reader: settings that may be secrets are hidden, as credentials are by themselves.
fn without_secrets(command: &Command) -> Cow<'_, Command> {
    let Command::AlterSettings { scope: scope @ (Scope::DefaultBroker | Scope::Broker(_)), changes } =
        command
    else {
        return Cow::Borrowed(command);
    };
    let shown = |(name, value): (&String, &Option<String>)| {
        let shown =
            value.as_ref().map(|value| if may_be_secret(name) { HIDDEN.to_owned() } else { value.clone() });
        (name.clone(), shown)
    };
    let changes = changes.iter().map(shown).collect();
    Cow::Owned(Command::AlterSettings { scope: scope.clone(), changes })
}

fn dump_journal(fs: &dyn Fs, path: &Path, deep: bool, out: &mut dyn Write) -> io::Result<bool> {
    let mut whole = true;
    for frame in journal::frames(fs, path)? {
        let Some(entry) = frame.entry else {
            writeln!(out, "at={} mark synced={}", frame.at, frame.synced)?;
            continue;
        };
        writeln!(
            out,
            "at={} entry={} synced={} time={} hash={:016x} commands={} data={}",
            frame.at,
            entry.position,
            frame.synced,
            entry.time,
            entry.hash,
            entry.commands.len(),
            entry.data.len(),
        )?;
        if !deep {
            continue;
        }
        match entry::read(Levels::KNOWN, &entry.commands) {
            Ok((header, commands)) => {
                writeln!(out, "  {header:?}")?;
                commands.iter().try_for_each(|command| writeln!(out, "  {:?}", without_secrets(command)))?;
            }
            Err(why) => {
                whole = false;
                writeln!(out, "  {why}")?;
            }
        }
    }
    Ok(whole)
}
