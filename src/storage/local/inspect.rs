//! `jackdaw log dump` and `jackdaw log verify`: print the files of a data directory, check them, and predict
//! the next start, without changing anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::directory::{self, parse_partition_dir, partition_dir};
use super::fs::{Fs, OverlayFs};
use super::journal;
use super::layout;
use super::recovery;
pub use super::recovery::Account;
use super::segment::{self, End, Expected, Met, walk_file};
use super::snapshot;
use crate::kernel::{Levels, SegmentId, Shard, entry};
use crate::record;
use crate::storage::OpenError;
use crate::types::TopicId;

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
        Ok((state, account)) => {
            report.snapshots = verify_snapshots(&**fs, root, &mut report.findings).map_err(io(root))?;
            account_for(root, &account, &mut report.findings);
            verify_records(&*tried, root, &state, &account, &mut report).map_err(io(root))?;
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

/// Checks the segments while a broker is running. Bytes that its newest snapshot covers must be valid; it may
/// be writing the bytes after them.
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
    let known = known_lengths(dir, layout::topic_of(fs, dir)?, newest);
    for id in layout::ids(fs, dir)? {
        let path = layout::log_path(dir, id);
        let safe = known.get(&id).copied().unwrap_or(0);
        let mut finding = |at, what: String| {
            report.findings.push(Finding { path: path.clone(), at: Some(at), what, damage: at < safe });
        };
        let (mut batches, mut bytes) = (0, 0);
        let walked = walk_file(fs, &path, |_, Met { at, header, is_sound }| {
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
    }
    Ok(())
}

/// The minimum lengths of a partition's segments, from the newest snapshot.
fn known_lengths(dir: &Path, topic: Option<TopicId>, newest: Option<&Shard>) -> BTreeMap<SegmentId, u64> {
    let partition = dir
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(parse_partition_dir)
        .and_then(|(_, index)| newest?.partition(topic?, index));
    let segments = partition.map(|partition| partition.extents()).unwrap_or_default();
    segments.iter().map(|segment| (segment.id(), segment.bytes)).collect()
}

/// Prints a file (a segment or a journal file), or all such files in a directory: a line for each batch or
/// entry, and with `deep` also their records or commands. Returns whether everything could be read to the
/// end.
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
        _ => dump_segment(fs, path, deep, out),
    }
}

fn can_dump(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log" || extension == "journal")
}

fn dump_segment(fs: &dyn Fs, path: &Path, deep: bool, out: &mut dyn Write) -> io::Result<bool> {
    let mut whole = true;
    let end = walk_file(fs, path, |file, Met { at, header, is_sound }| {
        whole &= is_sound;
        let batch = Bytes::from(file.read_new(header.size(), at)?);
        writeln!(out, "at={at} {}", record::batch_line(&header, &batch))?;
        if !deep {
            return Ok(());
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
                commands.iter().try_for_each(|command| writeln!(out, "  {command:?}"))?;
            }
            Err(why) => {
                whole = false;
                writeln!(out, "  {why}")?;
            }
        }
    }
    Ok(whole)
}
