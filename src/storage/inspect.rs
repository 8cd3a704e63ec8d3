//! Looks into a data directory without changing it: what lies in its files, and whether that is
//! what was written. Behind `jackdaw log dump` and `jackdaw log verify`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::OpenError;
use super::directory::{Meta, parse_partition_dir};
use super::fs::Fs;
use super::journal::{self, Replay};
use super::segment::{self, End, walk};
use super::snapshot;
use crate::kernel::{Command, SegmentId, Shard};
use crate::record;
use crate::types::{NodeId, Offset, TopicId};

/// What [`verify`] saw.
#[derive(Debug, Default)]
pub struct Report {
    pub partitions: u64,
    pub segments: u64,
    pub batches: u64,
    pub bytes: u64,
    pub snapshots: u64,
    pub journal: Seen,
    pub findings: Vec<Finding>,
}

impl Report {
    /// Nothing that was acknowledged is damaged, as far as the files can tell.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| !finding.damage)
    }
}

/// What could be seen of the journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// A running broker has it.
    #[default]
    InUse,
    Damaged,
    /// All of it, to its last entry.
    UpTo(u64),
}

/// Something that is not as it was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    pub at: Option<u64>,
    pub what: String,
    /// Something durable is hit. Otherwise it lies behind what the newest snapshot vouches for:
    /// what a crash leaves there the next start puts right from the journal, and a running broker
    /// is just writing it.
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

/// Holds every batch, snapshot and journal frame of a data directory against its checksum, and them
/// against each other. A running broker keeps its journal to itself: then only the files of its
/// topics are looked at.
pub fn verify(fs: &Arc<dyn Fs>, root: &Path) -> Result<Report, OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::Io { path, error }
    };
    if fs.metadata(&root.join("meta")).is_err() {
        return Err(OpenError::NotOurs { path: root.to_owned() });
    }
    let meta = Meta::read(&**fs, root)?;
    let lock = fs.lock(&root.join("LOCK")).map_err(io(root))?;
    let mut report = Report::default();
    let newest = verify_snapshots(&**fs, root, meta.node_id, &mut report).map_err(io(root))?;
    let mut settled = None;
    if lock.is_some() {
        let position = newest.as_ref().map_or(0, Shard::position);
        if verify_journal(fs, root, meta.salt, position, &mut report)? == Some(position) {
            settled = newest.as_ref();
        }
    }
    let topics = root.join("topics");
    for entry in fs.list(&topics).map_err(io(&topics))? {
        let dir = topics.join(&entry.name);
        verify_partition(&**fs, &dir, newest.as_ref(), settled.is_some(), &mut report).map_err(io(&dir))?;
    }
    if let Some(state) = settled {
        missing_partitions(&**fs, &topics, state, &mut report);
    }
    Ok(report)
}

/// The state that the newest readable one holds.
fn verify_snapshots(
    fs: &dyn Fs,
    root: &Path,
    broker: NodeId,
    report: &mut Report,
) -> io::Result<Option<Shard>> {
    let mut newest = None;
    for (path, read) in snapshot::read_all(fs, &root.join("snapshot"), broker)? {
        report.snapshots += 1;
        match read {
            Ok(shard) => newest = Some(shard),
            Err(what) => report.findings.push(Finding { path, at: None, what, damage: true }),
        }
    }
    Ok(newest)
}

/// The last entry, where it opens.
fn verify_journal(
    fs: &Arc<dyn Fs>,
    root: &Path,
    salt: u64,
    snapshot: u64,
    report: &mut Report,
) -> Result<Option<u64>, OpenError> {
    let dir = root.join("journal");
    match Replay::look(Arc::clone(fs), &dir, journal::Options::new(salt), snapshot + 1) {
        Ok(replay) => {
            let last = replay.ends_at().max(snapshot);
            report.journal = Seen::UpTo(last);
            Ok(Some(last))
        }
        Err(journal::OpenError::Damage { file, at, what }) => {
            report.findings.push(Finding { path: file, at: Some(at), what, damage: true });
            report.journal = Seen::Damaged;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn verify_partition(
    fs: &dyn Fs,
    dir: &Path,
    newest: Option<&Shard>,
    settled: bool,
    report: &mut Report,
) -> io::Result<()> {
    let ids = match segment::ids(fs, dir) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(()),
        ids => ids?,
    };
    report.partitions += 1;
    let known = known_lengths(dir, segment::topic_of(fs, dir)?, newest);
    // Where compaction was at work there are gaps, and perhaps files that it has replaced or not yet put in place.
    let compacted = ids.iter().any(|id| id.generation > 0);
    let follows = |expected: Offset, base: Offset, gaps: bool| base == expected || gaps && base > expected;
    let mut expected = None;
    for id in &ids {
        let path = segment::log_path(dir, *id);
        if settled && compacted && !known.contains_key(id) {
            let what = "compaction left it, the next start removes it".into();
            report.findings.push(Finding { path, at: None, what, damage: false });
            continue;
        }
        // What no snapshot vouches for the journal may have to put right first.
        let safe = known.get(id).copied().unwrap_or(0);
        let mut finding = |at, what: String| {
            let damage = at < safe || settled;
            report.findings.push(Finding { path: path.clone(), at: Some(at), what, damage });
        };
        let (base, gaps) = (id.base, id.generation > 0);
        if (settled || !compacted) && expected.is_some_and(|expected| !follows(expected, base, compacted)) {
            finding(0, format!("it begins with offset {base}, the one before ends otherwise"));
        }
        let mut next = base;
        let (mut batches, mut bytes) = (0, 0);
        let walked = walk(fs, &path, |at, header, batch| {
            batches += 1;
            bytes += batch.len() as u64;
            if record::crc_of(batch) != header.crc {
                finding(at, format!("the batch of offset {next}: its checksum is wrong"));
            } else if !follows(next, header.base_offset, gaps) {
                finding(at, format!("offset {} where {next} follows", header.base_offset));
            }
            next = header.next_offset().unwrap_or(next);
            Ok(())
        });
        let End { at, len, why } = match walked {
            // A running broker may have removed it just now.
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
        expected = Some(next);
    }
    if settled {
        for id in known.keys().filter(|id| !ids.contains(id)) {
            let path = segment::log_path(dir, *id);
            report.findings.push(Finding { path, at: None, what: "it is missing".into(), damage: true });
        }
    }
    Ok(())
}

/// How long the segments of a partition are at least, as the newest snapshot has them.
fn known_lengths(dir: &Path, topic: Option<TopicId>, newest: Option<&Shard>) -> BTreeMap<SegmentId, u64> {
    let partition = dir
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(parse_partition_dir)
        .and_then(|(_, index)| newest?.partition(topic?, index));
    let segments = partition.map(|partition| partition.segments()).unwrap_or_default();
    segments.iter().map(|segment| (segment.id(), segment.bytes)).collect()
}

fn missing_partitions(fs: &dyn Fs, topics: &Path, state: &Shard, report: &mut Report) {
    for topic in state.topics() {
        for (index, partition) in topic.partitions().enumerate() {
            let path = topics.join(format!("{}-{index}", topic.name));
            if !partition.segments().is_empty() && fs.metadata(&path).is_err() {
                report.findings.push(Finding { path, at: None, what: "it is missing".into(), damage: true });
            }
        }
    }
}

/// Prints what lies in a file (a segment or a journal file) or in a directory of such files, a line
/// for each batch or entry; with `deep` also their records or commands. Whether all of it could be
/// read to its end.
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
    let end = walk(fs, path, |at, header, batch| {
        whole &= record::crc_of(batch) == header.crc;
        writeln!(out, "at={at} {}", record::batch_line(header, batch))?;
        if !deep {
            return Ok(());
        }
        // One at a time: what a batch opens to may be large.
        let (opened, unreadable) = match record::records(batch) {
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
        match postcard::from_bytes::<Vec<Command>>(&entry.commands) {
            Ok(commands) => commands.iter().try_for_each(|command| writeln!(out, "  {command:?}"))?,
            Err(error) => {
                whole = false;
                writeln!(out, "  its commands cannot be read: {error}")?;
            }
        }
    }
    Ok(whole)
}
