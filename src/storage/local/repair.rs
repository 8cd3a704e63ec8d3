//! `jackdaw log repair`: gives up damaged data, so that the next start serves the rest. The losses are found
//! first, on an overlay in memory. Every file that is changed or given up is kept in `aside`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::author::Author;
use super::directory::{self, Directory, Meta, parse_partition_dir, partition_dir};
use super::fs::{self, Fs, Open, OverlayFs};
use super::inspect::{self, NextStart, Report};
use super::journal::{self, Journal};
use super::layout;
use super::recovery::{self, OnDamage, Recovered};
use super::segment::{self, Expected};
use super::snapshot;
use super::trash::ASIDE;
use crate::kernel::{self, Command, Levels, Shard, entry};
use crate::storage::OpenError;
use crate::storage::clocks::Now;
use crate::time::Clock;
use crate::types::{Offset, TopicId};

/// The data that a repair would give up.
#[derive(Debug, Default)]
pub struct Plan {
    /// The reason why the next start is refused; `None` if it is not.
    pub refusal: Option<String>,
    /// One line for each loss.
    pub losses: Vec<String>,
}

impl Plan {
    /// Whether nothing is lost and the next start serves everything.
    pub fn is_empty(&self) -> bool {
        self.refusal.is_none() && self.losses.is_empty()
    }
}

/// Finds the data that a repair would give up. Changes nothing.
pub fn plan(fs: &Arc<dyn Fs>, root: &Path) -> Result<Plan, OpenError> {
    let Report { next_start, out_when_read, .. } = inspect::verify(fs, root)?;
    let mut plan = Plan::default();
    match next_start {
        NextStart::InUse => return Err(OpenError::InUse { path: root.to_owned() }),
        NextStart::Refused(refusal @ OpenError::Damaged { .. }) => plan.refusal = Some(refusal.to_string()),
        NextStart::Refused(other) => return Err(other),
        NextStart::Serves(account) if account.out_of_service.is_empty() && account.unknown.is_empty() => {
            if out_when_read.is_empty() {
                return Ok(plan);
            }
        }
        NextStart::Serves(_) => {}
    }
    let tried: Arc<dyn Fs> = Arc::new(OverlayFs::new(Arc::clone(fs), root));
    plan.losses = repair_on(&tried, root, None)?;
    Ok(plan)
}

/// Gives up the data that [`plan`] lists. Returns the directory with the old files.
pub fn repair(fs: &Arc<dyn Fs>, root: &Path) -> Result<PathBuf, OpenError> {
    let io = |error| OpenError::Io { path: root.to_owned(), error };
    let aside = Aside::new(fs, root).map_err(io)?;
    repair_on(fs, root, Some(&aside))?;
    Ok(aside.dir)
}

/// The directory in which the old files are kept.
pub(super) struct Aside {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    dir: PathBuf,
}

impl Aside {
    pub(super) fn new(fs: &Arc<dyn Fs>, root: &Path) -> io::Result<Aside> {
        let above = root.join(ASIDE);
        fs::create_dirs(&**fs, &above)?;
        let taken: BTreeSet<String> = fs.list(&above)?.into_iter().map(|entry| entry.name).collect();
        let name = (1..).map(|number| format!("repair-{number}")).find(|name| !taken.contains(name));
        let dir = above.join(name.unwrap_or_default());
        fs::create_dirs(&**fs, &dir)?;
        Ok(Aside { fs: Arc::clone(fs), root: root.to_owned(), dir })
    }

    pub(super) fn into_dir(self) -> PathBuf {
        self.dir
    }

    /// The path for the copy of a file of the data directory.
    fn place_of(&self, path: &Path) -> io::Result<PathBuf> {
        let place = self.dir.join(path.strip_prefix(&self.root).unwrap_or(path));
        fs::create_dirs(&*self.fs, fs::parent(&place))?;
        Ok(place)
    }

    /// Copies the bytes of a file from `from` on; a missing file is no error.
    fn copy(&self, path: &Path, from: u64) -> io::Result<()> {
        const PIECE: usize = 1 << 20;
        let source = match self.fs.open(path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let place = self.place_of(path)?;
        let copy = self.fs.open(&place, Open::WriteOrNew)?;
        copy.truncate(0)?;
        let mut at = from;
        let mut piece = vec![0; PIECE];
        loop {
            let read = source.read_at(&mut piece, at)?;
            copy.write_at(&[IoSlice::new(piece.get(..read).unwrap_or_default())], at - from)?;
            at += read as u64;
            if read < PIECE {
                break;
            }
        }
        copy.sync_data()?;
        self.fs.sync_dir(fs::parent(&place))
    }

    pub(super) fn copy_all(&self, dir: &Path) -> io::Result<()> {
        for entry in self.fs.list(dir)?.iter().filter(|entry| !entry.is_dir) {
            self.copy(&dir.join(&entry.name), 0)?;
        }
        Ok(())
    }

    fn take(&self, path: &Path) -> io::Result<()> {
        let place = self.place_of(path)?;
        match self.fs.rename(path, &place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved?,
        }
        self.fs.sync_dir(fs::parent(&place))?;
        self.fs.sync_dir(fs::parent(path))
    }
}

/// Repairs the directory and returns one line for each loss. After a crash the next repair continues, and no
/// old file is lost: it is copied to `aside` before it is changed.
fn repair_on(fs: &Arc<dyn Fs>, root: &Path, aside: Option<&Aside>) -> Result<Vec<String>, OpenError> {
    let io = |error| OpenError::Io { path: root.to_owned(), error };
    let mut losses = Vec::new();
    if let Err(OpenError::Damaged { what }) = Meta::check(&**fs, root) {
        if let Some(aside) = aside {
            aside.copy(&root.join(directory::META), 0).map_err(io)?;
        }
        let whole = Meta::restore(&**fs, root, Levels::KNOWN).map_err(io)?;
        losses.extend((!whole).then(|| format!("{what}: the cluster id; clients see another cluster")));
    }
    let directory = Directory::open_offline(fs, root)?;
    let options = journal::Options::new(directory.salt);

    let lost = lost_entries(&directory).map_err(io)?;
    if let Some(aside) = aside {
        aside.copy_all(&directory.journal()).map_err(io)?;
        aside.copy(&journal::witness_path(&directory.journal()), 0).map_err(io)?;
        aside.copy_all(&directory.snapshots()).map_err(io)?;
        if fs.metadata(&directory.kept()).is_ok() {
            aside.copy_all(&directory.kept()).map_err(io)?;
        }
        // A start on an overlay shows what a start would cut off.
        let tried: Arc<dyn Fs> = Arc::new(OverlayFs::new(Arc::clone(fs), root));
        let tried = Directory::open_offline(&tried, root)?;
        let left = recovery::recover(&tried, options, OnDamage::GiveUp)?;
        keep_what_is_cut(&directory, &left, aside).map_err(io)?;
    }
    let recovered = recovery::recover(&directory, options, OnDamage::GiveUp)?;
    losses.extend(lost.since(&recovered.shard));
    losses.extend(give_up_partitions(&directory, recovered, aside)?);
    directory.release();
    Ok(losses)
}

/// The content of the journal, by the positions of its entries.
struct LostEntries {
    /// The highest position found in the journal, its witness and the snapshots.
    newest: u64,
    readable: BTreeMap<u64, Vec<Command>>,
    names: BTreeMap<TopicId, String>,
}

/// Reads every valid frame, whether or not it continues the sequence.
fn lost_entries(directory: &Directory) -> io::Result<LostEntries> {
    let (fs, dir) = (&*directory.fs, directory.journal());
    let newest = journal::synced_by_witness(fs, &dir, directory.salt);
    let mut lost = LostEntries { newest, readable: BTreeMap::new(), names: BTreeMap::new() };
    for entry in fs.list(&dir)?.iter().filter(|entry| entry.name.ends_with(".journal")) {
        for frame in journal::frames(fs, &dir.join(&entry.name))? {
            lost.newest = lost.newest.max(frame.synced);
            let Some(entry) = frame.entry else { continue };
            lost.newest = lost.newest.max(entry.position);
            let read = entry::read(directory.levels, &entry.commands);
            let commands = read.map(|(_, commands)| commands).unwrap_or_default();
            for command in &commands {
                if let Command::CreateTopic(create) = command {
                    lost.names.insert(create.id, create.name.clone());
                }
            }
            lost.readable.insert(entry.position, commands);
        }
    }
    // Topics whose creation was only in a snapshot.
    for entry in fs.list(&directory.topics())?.iter().filter(|entry| entry.is_dir) {
        let id = layout::topic_of(fs, &directory.topics().join(&entry.name));
        if let (Ok(Some(id)), Some((name, _))) = (id, parse_partition_dir(&entry.name)) {
            lost.names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    for wrong in snapshot::read_newest(fs, &directory.snapshots(), directory.levels)?.wrong {
        lost.newest = lost.newest.max(wrong.position);
    }
    Ok(lost)
}

impl LostEntries {
    /// One line for each known loss in the entries after the state.
    fn since(&self, state: &Shard) -> Vec<String> {
        let first = state.position() + 1;
        if self.newest < first {
            return Vec::new();
        }
        let mut lines = vec![format!("journal: entries {first} to {}", self.newest)];
        let name = |id: &TopicId| {
            let known = state.topic(*id).map(|topic| topic.name.clone());
            known.or_else(|| self.names.get(id).cloned()).unwrap_or_else(|| id.to_string())
        };
        let (mut records, mut groups, mut others) = (BTreeMap::new(), BTreeSet::new(), 0);
        let behind = self.readable.range(first..);
        let known = behind.clone().count() as u64;
        for command in behind.flat_map(|(_, commands)| commands) {
            match command {
                Command::Commit(commit) => {
                    let partition = partition_dir(&name(&commit.topic), commit.partition);
                    let count = i64::from(commit.last_offset_delta) + 1;
                    *records.entry(partition).or_insert(0) += count;
                }
                Command::Group { group, .. } => drop(groups.insert(group.as_str())),
                Command::CreateTopic(create) => lines.push(format!("  the topic {}", create.name)),
                _ => others += 1,
            }
        }
        lines.extend(records.iter().map(|(name, count)| format!("  {name}: {count} records")));
        lines.extend(groups.iter().map(|group| format!("  group {group}: commits and members since then")));
        lines.extend((others > 0).then(|| format!("  {others} other changes")));
        let unknown = self.newest + 1 - first - known;
        lines.extend((unknown > 0).then(|| {
            format!(
                "  {unknown} entries that cannot be read: records, commits of groups or changes of topics"
            )
        }));
        lines
    }
}

/// Copies the data that a recovery cuts off: the end of segments, and segments after the end of the log.
fn keep_what_is_cut(directory: &Directory, left: &Recovered, aside: &Aside) -> io::Result<()> {
    for topic in left.shard.topics() {
        for (partition, index) in topic.partitions().zip(0..) {
            let dir = directory.partition(&topic.name, index);
            if directory.fs.metadata(&dir).is_err() {
                continue;
            }
            for id in layout::ids(&*directory.fs, &dir)? {
                let path = layout::log_path(&dir, id);
                let kept = partition.extents().iter().find(|state| state.id() == id);
                let from = kept.map_or(0, |state| state.bytes);
                if directory.fs.metadata(&path)?.len > from {
                    aside.copy(&path, from)?;
                }
            }
        }
    }
    let deleted = &left.account.deleted;
    deleted.iter().try_for_each(|name| aside.copy_all(&directory.topics().join(name)))
}

/// Moves away directories that belong to no topic, and the damaged part of partitions that are out of service
/// or would be once they are read. Their logs then begin after the damage.
fn give_up_partitions(
    directory: &Directory,
    recovered: Recovered,
    aside: Option<&Aside>,
) -> Result<Vec<String>, OpenError> {
    let io = |error| OpenError::Io { path: directory.topics(), error };
    let Recovered { mut shard, mut journal, account, .. } = recovered;
    let mut losses = Vec::new();
    let move_away = |path: &Path| aside.map_or(Ok(()), |aside| aside.take(path));
    for name in &account.unknown {
        losses.push(format!("{name}: the directory, which belongs to no topic"));
        move_away(&directory.topics().join(name)).map_err(io)?;
    }
    let mut commands = Vec::new();
    for topic in shard.topics() {
        for (partition, index) in topic.partitions().zip(0..) {
            let name = partition_dir(&topic.name, index);
            let dir = directory.topics().join(&name);
            let is_foreign = directory.trash.keeps_out_of(&dir);
            let good_from = if is_foreign {
                Some(partition.end())
            } else {
                good_from(&*directory.fs, &dir, partition).map_err(io)?
            };
            let Some(good_from) = good_from else { continue };
            losses.push(format!("{name}: offsets {} to {}", partition.log_start(), good_from.0 - 1));
            if is_foreign {
                move_away(&dir).map_err(io)?;
            } else {
                let given_up = partition.extents().iter().filter(|state| state.base < good_from);
                for state in given_up {
                    move_away(&layout::log_path(&dir, state.id())).map_err(io)?;
                }
            }
            commands.push(Command::SetLogStart { topic: topic.id, partition: index, offset: good_from });
        }
    }
    if !commands.is_empty() {
        write_commands(directory.levels, &mut shard, &mut *journal, commands)
            .map_err(|why| OpenError::Io { path: directory.journal(), error: io::Error::other(why) })?;
    }
    Ok(losses)
}

/// The first offset from which all segments can be read to the end, or the end of the log if there is none.
/// `None` if nothing is damaged.
fn good_from(fs: &dyn Fs, dir: &Path, partition: &kernel::Partition) -> io::Result<Option<Offset>> {
    let mut good_from = None;
    for (state, end) in recovery::with_ends(partition) {
        let expected = Expected::of(state, end, partition.log_start());
        let path = layout::log_path(dir, state.id());
        let is_good = match segment::check(fs, &path, &expected) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // It may be readable later, so it is not given up.
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            Ok(held) => held.wrong.is_empty(),
        };
        if !is_good {
            good_from = Some(end);
        }
    }
    Ok(good_from)
}

/// Applies the commands and makes them durable, like a round of the committer.
fn write_commands(
    levels: Levels,
    shard: &mut Shard,
    journal: &mut dyn Journal,
    commands: Vec<Command>,
) -> Result<(), String> {
    let mut author = Author::after(shard, levels);
    let draft = author.open(shard, Now { time: Clock::machine().now(), trusted: None });
    let mut applied = Vec::new();
    for command in commands {
        let about = format!("{command:?}");
        let outcome = author.apply(shard, draft.time, command);
        applied.push(outcome.map_err(|refusal| format!("{about}: {refusal:?}"))?.0);
    }
    let commands: Vec<&Command> = applied.iter().collect();
    let entry = author.close(&draft, &commands, &[], shard);
    journal.append(&entry).map_err(|error| error.to_string())?;
    let synced = journal.sync_job().run().map_err(|error| error.to_string())?;
    journal.synced(synced);
    journal.mark().map_err(|error| error.to_string())
}
