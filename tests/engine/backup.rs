//! Backups of a store on a simulated disk, also in the middle of its work: each one opens and has everything that was
//! acknowledged before it began.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jackdaw::config::{BrokerSettings, Durability, Given};
use jackdaw::record::{self, BatchBuilder};
use jackdaw::storage::local::backup::{Backup, BackupError, FsDir, NoHold, back_up};
use jackdaw::storage::local::fs::{Fault, Fs, Open, Operation, SimFs};
use jackdaw::storage::{Location, NewTopic, OpenError, Partition, Store, StoreOptions, TroubleKind};
use jackdaw::time::Clock;
use jackdaw::types::{Offset, Timestamp, TopicId};
use rustix::io::Errno;

use crate::crashes::seeds;
use crate::disk::{batches, checked, files, make_topic, now, options, values};
use crate::history::{commit, committed, submit};
use crate::random::Random;

const TO: &str = "backup";

/// The operations that the histories must have met while a backup copied.
#[derive(Debug, Default)]
struct Counts {
    appended: u64,
    deleted: u64,
    shrunk: u64,
    compacted: u64,
    snapshots: u64,
    stuck: u64,
    found_deleted: u64,
}

/// The records of a topic by partition, offset and key.
type Known = BTreeMap<(i32, i64), (String, String)>;

#[derive(Clone, Default)]
struct TopicModel {
    known: Known,
    tried: BTreeSet<String>,
    is_compacted: bool,
}

/// The knowledge of the clients.
#[derive(Clone, Default)]
struct Model {
    topics: BTreeMap<TopicId, TopicModel>,
    names: BTreeMap<String, TopicId>,
    log_starts: BTreeMap<(TopicId, i32), i64>,
    deleted: BTreeSet<TopicId>,
    committed: i64,
    number: u64,
}

#[test]
fn i1_a_backup_at_any_moment_opens_and_has_everything_that_was_acknowledged_before_it_began() {
    let seeds = seeds(0..60);
    let mut counts = Counts::default();
    for seed in seeds.clone() {
        let durability = [Durability::Fsync, Durability::Interval, Durability::Os][seed as usize % 3];
        history(seed, durability, &mut counts);
    }
    println!("{seeds:?}: {counts:?}");
    if seeds.end - seeds.start >= 60 {
        let Counts { appended, deleted, shrunk, compacted, snapshots, stuck, found_deleted } = counts;
        let met = [appended, deleted, shrunk, compacted, snapshots, stuck, found_deleted];
        assert!(met.iter().all(|count| *count > 5), "{met:?}");
    }
}

fn history(seed: u64, durability: Durability, counts: &mut Counts) {
    let mut random = Random(seed);
    let mut fs = SimFs::new(seed);
    let mut model = Model::default();
    let mut store = Store::open(options(&fs, durability)).unwrap();
    for _ in 0..random.below(3) {
        work(&store, &mut model, &mut random, 30, counts);
        if random.one_in(2) {
            store.close();
        }
        fs = fs.kill();
        store = Store::open(options(&fs, durability)).unwrap();
    }
    work(&store, &mut model, &mut random, 40, counts);
    let is_stuck = random.one_in(3);
    if is_stuck {
        let fault = Fault { path: "topics/a-0/".into(), lasting: true, ..Fault::next(Operation::Write) };
        fs.fail(Fault { error: Errno::NOSPC, ..fault });
        work(&store, &mut model, &mut random, 10, counts);
    }

    let before = model.clone();
    let target = SimFs::new(seed);
    let mut during = Counts::default();
    let copied = copy(&fs, &target, &mut |_| {
        let steps = random.below(6);
        work(&store, &mut model, &mut random, steps, &mut during);
    });
    let backup = copied.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!(backup.out_of_service, BTreeMap::new(), "seed {seed}");
    counts.add(&during);
    counts.stuck += u64::from(is_stuck);

    let target = target.crash(random.below(u64::MAX));
    let restored = open(&target, durability).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    check(&restored, &before, &model, counts, &format!("seed {seed}"));
    restored.close();
    // The source goes on, and removes what it kept for the backup.
    fs.heal();
    work(&store, &mut model, &mut random, 20, counts);
    store.housekeep();
    store.run_background();
    check(&store, &model, &model, counts, &format!("seed {seed}, the source"));
    assert_eq!(files(&fs, Path::new("data/trash")), Vec::<PathBuf>::new(), "seed {seed}");
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.appended += other.appended;
        self.deleted += other.deleted;
        self.shrunk += other.shrunk;
        self.compacted += other.compacted;
        self.snapshots += other.snapshots;
    }
}

fn copy(fs: &SimFs, target: &SimFs, before: &mut dyn FnMut(&Path)) -> Result<Backup, BackupError> {
    let (from, to): (Arc<dyn Fs>, Arc<dyn Fs>) = (Arc::new(fs.clone()), Arc::new(target.clone()));
    back_up(FsDir { fs: &from, dir: Path::new("data") }, FsDir { fs: &to, dir: Path::new(TO) }, before)
}

fn open(target: &SimFs, durability: Durability) -> Result<Store, OpenError> {
    let settings = Arc::new(BrokerSettings::load(Given::default()).unwrap());
    let fs: Arc<dyn Fs> = Arc::new(target.clone());
    let place = Location::Simulated(fs, PathBuf::from(TO));
    let given = options(target, durability);
    Store::open(StoreOptions {
        durability,
        clock: given.clock,
        tuning: given.tuning,
        new_id: given.new_id,
        ..StoreOptions::new(place, settings)
    })
}

fn work(store: &Store, model: &mut Model, random: &mut Random, steps: u64, counts: &mut Counts) {
    for _ in 0..steps {
        step(store, model, random, counts);
        if !random.one_in(3) {
            store.run_background();
        }
    }
}

fn step(store: &Store, model: &mut Model, random: &mut Random, counts: &mut Counts) {
    let name = ["a", "b", "c"][random.below(3) as usize];
    let Some(id) = model.names.get(name).copied() else { return create(store, model, name) };
    let index = random.below(2) as i32;
    let partition = store.topics().by_id(id).unwrap().partition(index).cloned().unwrap();
    match random.below(24) {
        0 => {
            now(store.delete_topic(id)).unwrap();
            model.names.remove(name);
            model.deleted.insert(id);
            counts.deleted += 1;
        }
        1 if !model.topics[&id].is_compacted => {
            let ends = partition.ends();
            let (start, end) = (ends.log_start.0, ends.high_watermark.0);
            let offset = start + random.below((end - start + 1) as u64) as i64;
            if now(store.delete_before(&partition, Offset(offset))).is_ok() {
                model.log_starts.insert((id, index), offset);
                counts.shrunk += u64::from(offset > start);
            }
        }
        2 => {
            let wanted = model.committed + 1;
            if now(submit(store, "group", commit(id, wanted))).is_ok() {
                model.committed = wanted;
            }
        }
        3 | 4 => {
            let taken = store.counts().snapshots.get();
            store.request_snapshot();
            store.run_background();
            counts.snapshots += store.counts().snapshots.get() - taken;
        }
        5 => store.housekeep(),
        6 => {
            let removed = partition.extents();
            store.compact();
            counts.compacted += u64::from(partition.extents() != removed || name == "c");
        }
        _ => append(store, &partition, model, random, counts),
    }
}

fn create(store: &Store, model: &mut Model, name: &str) {
    let is_compacted = name == "c";
    let mut overrides = BTreeMap::new();
    if is_compacted {
        overrides.insert("cleanup.policy".into(), "compact".into());
        overrides.insert("min.cleanable.dirty.ratio".into(), "0".into());
    }
    let topic = now(store.create_topic(NewTopic { name: name.into(), partitions: 2, overrides })).unwrap();
    model.names.insert(name.to_owned(), topic.id);
    model.topics.insert(topic.id, TopicModel { is_compacted, ..TopicModel::default() });
}

fn append(
    store: &Store,
    partition: &Arc<Partition>,
    model: &mut Model,
    random: &mut Random,
    counts: &mut Counts,
) {
    model.number += 1;
    let number = model.number;
    let topic = model.topics.get_mut(&partition.topic).unwrap();
    let size = [20, 200, 3_500][random.below(3) as usize];
    let value = format!("{number:06}.{}", "x".repeat(size));
    let key = format!("key-{}", number % 5);
    let batch =
        BatchBuilder::new().record(Timestamp(999_000), Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    topic.tried.insert(value.clone());
    if let Ok(appended) = now(store.append(partition, checked(batch.build()))) {
        topic.known.insert((partition.index, appended.base_offset.0), (key, value));
        counts.appended += 1;
    }
}

/// Compares a store with the knowledge of clients at the beginning and at the end of a backup.
fn check(store: &Store, before: &Model, after: &Model, counts: &mut Counts, context: &str) {
    let topics = store.topics();
    assert!(
        before.deleted.iter().all(|id| topics.by_id(*id).is_none()),
        "{context}: a deleted topic is back"
    );
    for id in before.names.values() {
        let Some(topic) = topics.by_id(*id) else {
            assert!(after.deleted.contains(id), "{context}: an acknowledged topic is gone");
            continue;
        };
        counts.found_deleted += u64::from(after.deleted.contains(id));
        let (known, tried) = (&before.topics[id], &after.topics[id].tried);
        for partition in &topic.partitions {
            let start = partition.ends().log_start;
            let most = after.log_starts.get(&(*id, partition.index)).copied().unwrap_or(0);
            let least = before.log_starts.get(&(*id, partition.index)).copied().unwrap_or(0);
            assert!((least..=most).contains(&start.0), "{context}: log start {start:?}");
            let found = records(partition, start);
            assert!(
                found.values().all(|(_, value)| tried.contains(value)),
                "{context}: a record nobody sent"
            );
            let of_it = known
                .known
                .iter()
                .filter(|((index, offset), _)| *index == partition.index && *offset >= start.0);
            for ((_, offset), (key, value)) in of_it {
                let is_there = found.get(offset).is_some_and(|(_, there)| there == value);
                let is_replaced = known.is_compacted
                    && found.range(offset + 1..).any(|(_, (other, newer))| other == key && newer > value);
                assert!(is_there || is_replaced, "{context}: lost {value:.12} at {offset}");
            }
        }
    }
    let found = committed(store);
    assert!(found <= after.committed, "{context}: a commit nobody made");
}

fn records(partition: &Partition, from: Offset) -> BTreeMap<i64, (String, String)> {
    let text = |bytes: Option<bytes::Bytes>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    let mut found = BTreeMap::new();
    for (_, batch) in batches(partition, from).unwrap() {
        for record in record::records(&batch).unwrap() {
            let record = record.unwrap();
            if record.offset >= from {
                found.insert(record.offset.0, (text(record.key), text(record.value)));
            }
        }
    }
    found
}

/// A store with a topic of a hundred records, three segments and two snapshots.
fn some_store(fs: &SimFs) -> Store {
    let store = crate::disk::open(fs).unwrap();
    fill(&store, "x");
    store
}

fn fill(store: &Store, letter: &str) {
    let topic = make_topic(store, "t", 1);
    for number in 0..100 {
        let text = format!("{number} {}", letter.repeat(100));
        now(store.append(topic.partition(0).unwrap(), crate::disk::batch(&[&text]))).unwrap();
        store.run_background();
    }
}

fn count_in(store: &Store) -> usize {
    let topics = store.topics();
    let partition = topics.by_name("t").unwrap().partition(0).unwrap();
    values(partition, partition.ends().log_start).unwrap().len()
}

#[test]
fn a_backup_that_dies_at_any_moment_leaves_nothing_that_opens() {
    let source = SimFs::new(1);
    let _store = some_store(&source);
    let whole = SimFs::new(2);
    copy(&source, &whole, &mut |_| {}).unwrap();
    let changes = whole.changes();
    let mut refused = 0;
    for at in 0..changes {
        let target = SimFs::new(at);
        target.off_after(at);
        let copied = copy(&source, &target, &mut |_| {});
        let after = target.crash(at);
        // Without a single name it is a directory like any other.
        if files(&after, Path::new(TO)).is_empty() {
            continue;
        }
        match open(&after, Durability::Fsync) {
            Ok(store) => assert_eq!(count_in(&store), 100, "change {at}"),
            Err(error) => {
                assert!(copied.is_err(), "change {at}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 20, "{refused} of {changes}");
}

#[test]
fn the_refusal_names_an_unfinished_backup() {
    let (source, target) = (SimFs::new(1), SimFs::new(2));
    let _store = some_store(&source);
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut left = 4;
        let _ = copy(&source, &target, &mut |_| {
            left -= 1;
            assert!(left > 0, "the process ends here");
        });
    }));
    assert!(died.is_err());
    let refusal = open(&target, Durability::Fsync).err().unwrap().to_string();
    assert!(refusal.contains("backup is a backup that was not finished"), "{refusal}");
}

#[test]
fn a_failed_backup_is_removed_and_the_broker_removes_its_files_again() {
    let source = SimFs::new(1);
    let store = some_store(&source);
    let topics = store.topics();
    let partition = topics.by_name("t").unwrap().partition(0).unwrap();
    let target = SimFs::new(2);
    let logs = || files(&source, Path::new("data/topics")).len();
    let mut held = 0;
    let copied = copy(&source, &target, &mut |path| {
        if held == 0 && path.ends_with("topics/t-0/partition.metadata") {
            let before = logs();
            now(store.delete_before(partition, Offset(90))).unwrap();
            store.run_background();
            assert_eq!(logs(), before, "they stay while the backup runs");
            held = before;
            target.fail(Fault { lasting: true, error: Errno::NOSPC, ..Fault::next(Operation::Write) });
        }
    });
    assert!(matches!(copied, Err(BackupError::Open(OpenError::Io { .. }))), "{copied:?}");
    assert!(files(&target, Path::new(TO)).is_empty());
    store.housekeep();
    store.run_background();
    assert!(logs() < held, "{} files of {held}", logs());
}

#[test]
fn a_topic_that_is_made_again_meanwhile_is_copied_from_the_trash() {
    for nth in 0..4 {
        let (source, target) = (SimFs::new(1), SimFs::new(2));
        let store = some_store(&source);
        let mut logs = 0;
        copy(&source, &target, &mut |path| {
            if path.extension().is_some_and(|extension| extension == "log") {
                if logs == nth {
                    now(store.delete_topic(store.topics().by_name("t").unwrap().id)).unwrap();
                    fill(&store, "y");
                }
                logs += 1;
            }
        })
        .unwrap();
        let copied = open(&target, Durability::Fsync).unwrap();
        let topics = copied.topics();
        let values = values(topics.by_name("t").unwrap().partition(0).unwrap(), Offset(0)).unwrap();
        assert_eq!(values.len(), 100);
        assert!(values.iter().all(|(_, value)| value.ends_with('x')), "{values:?}");
    }
}

#[test]
fn a_broker_that_starts_on_a_directory_without_a_lock_file_makes_its_backup_fail() {
    let (source, target) = (SimFs::new(1), SimFs::new(2));
    some_store(&source).close();
    source.remove(Path::new("data/LOCK")).unwrap();
    let mut opened = None;
    let copied = copy(&source, &target, &mut |_| {
        opened.get_or_insert_with(|| crate::disk::open(&source).unwrap());
    });
    assert!(matches!(copied, Err(BackupError::Restarted)), "{copied:?}");
}

#[test]
fn a_broker_that_is_restarted_during_a_backup_makes_it_fail() {
    let source = SimFs::new(1);
    let mut store = Some(some_store(&source));
    let target = SimFs::new(2);
    let mut opened = None;
    let copied = copy(&source, &target, &mut |path| {
        if path.ends_with("partition.metadata") && opened.is_none() {
            store.take().unwrap().close();
            opened = Some(crate::disk::open(&source).unwrap());
        }
    });
    assert!(matches!(copied, Err(BackupError::Restarted)), "{copied:?}");
    assert!(files(&target, Path::new(TO)).is_empty());
    copy(&source, &target, &mut |_| {}).unwrap();
}

/// A backup that is suspended for `minutes` before the file `at`, while clients of the store go on. Returns whether it
/// was a trouble in each minute, the outcome of the backup, and its target.
fn suspended_at(
    at: &str,
    minutes: i64,
    source: &SimFs,
    (store, clock): (&Store, &Clock),
) -> (Vec<bool>, Result<Backup, BackupError>, SimFs) {
    let mut troubles = Vec::new();
    let target = SimFs::new(2);
    let copied = copy(source, &target, &mut |path| {
        if !path.ends_with(at) || !troubles.is_empty() {
            return;
        }
        for _ in 0..minutes {
            write_on(store);
            clock.set(Timestamp(clock.now().0 + 60_000));
            store.watch();
            store.run_background();
            troubles.push(is_stalled(store));
        }
    });
    (troubles, copied, target)
}

fn is_stalled(store: &Store) -> bool {
    store.troubles().iter().any(|trouble| trouble.kind == TroubleKind::BackupStalled)
}

fn stage() -> (SimFs, Store, Clock) {
    let (fs, clock) = (SimFs::new(1), Clock::manual(Timestamp(1_000_000)));
    let store =
        Store::open(StoreOptions { clock: clock.clone(), ..options(&fs, Durability::Fsync) }).unwrap();
    fill(&store, "x");
    (fs, store, clock)
}

/// Takes several snapshots, and leaves two segments that are not needed any more.
fn write_on(store: &Store) {
    let topics = store.topics();
    let partition = topics.by_name("t").unwrap().partition(0).unwrap();
    for _ in 0..100 {
        now(store.append(partition, crate::disk::batch(&["x".repeat(100).as_str()]))).unwrap();
        store.run_background();
    }
    now(store.delete_before(partition, partition.ends().high_watermark)).unwrap();
    store.run_background();
}

fn bytes_in(fs: &SimFs, dir: &str) -> u64 {
    files(fs, Path::new(dir)).iter().map(|file| fs.metadata(file).unwrap().len).sum()
}

#[test]
fn a_backup_that_makes_no_progress_is_a_trouble_and_loses_what_it_holds_after_five_minutes() {
    for at in ["journal", "topics/t-0/partition.metadata"] {
        let (source, store, clock) = stage();
        let usual = bytes_in(&source, "data");
        let (troubles, copied, target) = suspended_at(at, 7, &source, (&store, &clock));
        assert_eq!(troubles, [false, true, true, true, true, false, false], "{at}");
        assert!(matches!(copied, Err(BackupError::TakenAway)), "{at}: {copied:?}");
        assert!(files(&target, Path::new(TO)).is_empty(), "{at}");
        let left = bytes_in(&source, "data");
        assert!(left < 2 * usual, "{at}: {left} bytes instead of {usual}");

        let again = SimFs::new(3);
        copy(&source, &again, &mut |_| {}).unwrap();
        open(&again, Durability::Fsync).unwrap();
    }
}

#[test]
fn a_backup_that_was_suspended_for_a_while_goes_on() {
    for at in ["journal", "topics/t-0/partition.metadata"] {
        let (source, store, clock) = stage();
        let (troubles, copied, target) = suspended_at(at, 5, &source, (&store, &clock));
        assert_eq!(troubles, [false, true, true, true, true], "{at}");
        copied.unwrap();
        open(&target, Durability::Fsync).unwrap();
        // The files that waited for it are removed without a new snapshot, and so is the journal of the old snapshots.
        let journal = bytes_in(&source, "data/journal");
        store.housekeep();
        store.run_background();
        assert_eq!(files(&source, Path::new("data/snapshot")).len(), 2, "{at}");
        assert!(bytes_in(&source, "data/journal") < journal || at != "journal", "{at}");
        store.watch();
        assert!(!is_stalled(&store), "{at}");
    }
}

#[test]
fn a_slow_backup_that_makes_progress_keeps_its_files() {
    let (source, store, clock) = stage();
    let target = SimFs::new(2);
    copy(&source, &target, &mut |_| {
        write_on(&store);
        // The copy of a file takes less than five minutes, all of them take more.
        for _ in 0..4 {
            clock.set(Timestamp(clock.now().0 + 60_000));
            store.watch();
            store.run_background();
        }
    })
    .unwrap();
    open(&target, Durability::Fsync).unwrap();
}

#[test]
fn a_backup_loses_what_it_holds_when_the_disk_of_the_broker_is_full() {
    for can_create in [true, false] {
        let (source, store, _clock) = stage();
        let target = SimFs::new(2);
        let copied = copy(&source, &target, &mut |path| {
            if path.ends_with("topics/t-0/partition.metadata") {
                write_on(&store);
                source.set_capacity(Some(source.used() + 4096));
                if !can_create {
                    source.fail(Fault { lasting: true, ..Fault::next(Operation::Create) });
                }
                store.watch();
                assert!(store.is_full());
                store.run_background();
                source.heal();
                store.watch();
                assert!(!store.is_full(), "the files that waited were enough");
            }
        });
        // Without the new hold files the reason is not stored.
        let expected = if can_create { BackupError::TakenAway } else { BackupError::Restarted };
        assert_eq!(copied.unwrap_err().to_string(), expected.to_string());
        write_on(&store);
        copy(&source, &SimFs::new(3), &mut |_| {}).unwrap();
    }
}

#[test]
fn the_directory_of_a_stopped_broker_is_locked_while_it_is_copied() {
    let (source, target) = (SimFs::new(1), SimFs::new(2));
    some_store(&source).close();
    let mut refused = 0;
    copy(&source, &target, &mut |_| {
        refused += usize::from(matches!(crate::disk::open(&source).err(), Some(OpenError::InUse { .. })));
    })
    .unwrap();
    assert!(refused > 3);
    assert_eq!(count_in(&open(&target, Durability::Fsync).unwrap()), 100);
    assert_eq!(count_in(&crate::disk::open(&source).unwrap()), 100);
}

#[test]
fn two_backups_at_once_a_full_target_and_one_inside_the_source_are_refused() {
    let (source, target) = (SimFs::new(1), SimFs::new(2));
    let _store = some_store(&source);
    let mut second = None;
    copy(&source, &target, &mut |_| {
        second.get_or_insert_with(|| copy(&source, &SimFs::new(3), &mut |_| {}));
    })
    .unwrap();
    assert!(matches!(second, Some(Err(BackupError::NoHold(NoHold::Taken)))));
    assert!(matches!(copy(&source, &target, &mut |_| {}), Err(BackupError::NotEmpty(_))));
    let small = SimFs::new(4);
    small.set_capacity(Some(30_000));
    let full = copy(&source, &small, &mut |_| {});
    assert!(matches!(full, Err(BackupError::NoRoom { .. } | BackupError::Open(_))), "{full:?}");
    assert!(files(&small, Path::new(TO)).is_empty());
    let fs: Arc<dyn Fs> = Arc::new(source.clone());
    let (from, to) = (Path::new("data"), Path::new("data/backup"));
    let inside = back_up(FsDir { fs: &fs, dir: from }, FsDir { fs: &fs, dir: to }, &mut |_| {});
    assert!(matches!(inside, Err(BackupError::Inside(_))), "{inside:?}");
}

#[test]
fn a_damaged_journal_is_not_backed_up_and_a_damaged_partition_is_named() {
    let source = SimFs::new(1);
    let store = some_store(&source);
    let good = source.fork();
    for file in files(&source, Path::new("data/journal")) {
        source.flip_bit(&file, 8 * 100).unwrap();
    }
    let copied = copy(&source, &SimFs::new(2), &mut |_| {});
    assert!(matches!(copied, Err(BackupError::Open(OpenError::Damaged { .. }))), "{copied:?}");
    drop(store);
    let log = Path::new("data/topics/t-0/00000000000000000000.log");
    good.open(log, Open::Write).unwrap().truncate(10).unwrap();
    let backup = copy(&good, &SimFs::new(2), &mut |_| {}).unwrap();
    assert_eq!(backup.out_of_service.keys().collect::<Vec<_>>(), ["t-0"]);
}
