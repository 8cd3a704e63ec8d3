//! Random histories with crashes: each seed is a sequence of runs of a data directory, ended by power cuts,
//! kills, failing disks and full ones, also in the middle of recovery. Each test run uses a thousand seeds;
//! `ENGINE_SEEDS=first..end` selects others.

use std::collections::BTreeMap;
use std::ops::Range;

use jackdaw::config::Durability;
use jackdaw::storage::local::fs::{Fault, Operation, SimFs};
use jackdaw::storage::{AppendError, Store, Topic, Unavailable};
use jackdaw::types::{NodeId, Offset, Uuid};

use crate::disk::{batch, batch_of, make_topic, now, options, values};
use crate::history::{History, LogHistory, Promise, STATIC_GROUP, TopicHistory, commit, submit};
use crate::random::Random;

#[test]
fn i1_i2_i3_i7_i14_i16_acknowledged_or_shown_records_survive_every_crash() {
    let seeds = seeds(0..1000);
    let mut counts = Counts::default();
    for seed in seeds.clone() {
        live(seed, Durability::Fsync, &mut counts);
    }
    println!("{seeds:?}: {counts:?}");
    if seeds.end - seeds.start >= 500 {
        counts.met_everything();
    }
}

#[test]
fn weaker_modes_lose_nothing_to_a_kill_and_only_a_tail_to_a_power_cut() {
    let mut counts = Counts::default();
    for seed in 0..300 {
        live(seed, [Durability::Os, Durability::Interval][seed as usize % 2], &mut counts);
    }
}

/// The seeds of `ENGINE_SEEDS`, if it is set.
pub fn seeds(usual: Range<u64>) -> Range<u64> {
    let given = std::env::var("ENGINE_SEEDS").ok();
    let parsed = given.map(|range| {
        let (first, end) = range.split_once("..").expect("ENGINE_SEEDS=first..end");
        first.parse().expect("a number")..end.parse().expect("a number")
    });
    parsed.unwrap_or(usual)
}

/// Counts of the events, because a run without any trouble proves nothing.
#[derive(Debug, Default)]
struct Counts {
    acknowledged: u64,
    refused: u64,
    unknown: u64,
    power_cuts: u64,
    kills: u64,
    crashes_in_recovery: u64,
    disk_errors: u64,
    full: u64,
    repeated: u64,
    grown: u64,
    altered: u64,
    shrunk: u64,
    handed_on: u64,
    returned: u64,
    tokens_created: u64,
    tokens_renewed: u64,
    tokens_removed: u64,
    tokens_expired: u64,
}

impl Counts {
    fn met_everything(&self) {
        let Counts { acknowledged, unknown, power_cuts, kills, crashes_in_recovery, .. } = self;
        let Counts {
            refused, disk_errors, full, repeated, grown, altered, shrunk, handed_on, returned, ..
        } = self;
        let Counts { tokens_created, tokens_renewed, tokens_removed, tokens_expired, .. } = self;
        let met = [
            acknowledged,
            unknown,
            power_cuts,
            kills,
            crashes_in_recovery,
            refused,
            disk_errors,
            full,
            repeated,
            grown,
            altered,
            shrunk,
            handed_on,
            returned,
            tokens_created,
            tokens_renewed,
            tokens_removed,
            tokens_expired,
        ];
        assert!(met.iter().all(|count| **count > 20), "{self:?}");
    }
}

/// Ends the broker by kill -9, sometimes while it closes, or by a power cut. Returns the disk after it, and whether it was
/// a kill.
pub fn die(fs: &SimFs, store: &Store, random: &mut Random) -> (SimFs, bool) {
    let killed = !fs.is_off() && random.one_in(2);
    if killed && random.one_in(3) {
        fs.heal();
        fs.set_capacity(None);
        store.close();
    }
    let after = if killed { fs.kill() } else { fs.crash(random.below(u64::MAX)) };
    (after, killed)
}

fn live(seed: u64, durability: Durability, counts: &mut Counts) {
    let mut random = Random(seed);
    let mut fs = SimFs::new(seed);
    let mut history = History::default();
    let mut promise = Promise::Nothing;
    let mut number = 0;
    for life in 0..4 + random.below(4) {
        let context = format!("seed {seed} life {life}");
        if random.one_in(3) {
            fs.off_after(random.below(60));
        }
        let mut opened_with = options(&fs, durability);
        opened_with.brokers = (1..=1 + random.below(3) as i32).map(NodeId).collect();
        let store = match Store::open(opened_with) {
            Ok(store) => store,
            Err(_) if fs.is_off() => {
                counts.crashes_in_recovery += 1;
                fs = fs.crash(random.below(u64::MAX));
                if durability != Durability::Fsync {
                    promise = Promise::ATail;
                }
                continue;
            }
            Err(error) => panic!("{context}: {error}"),
        };
        if !fs.is_off() {
            history.check(&store, promise, &context);
            promise = Promise::Nothing;
        }
        if random.one_in(3) {
            fs.off_after(random.below(80));
        }
        for _ in 0..5 + random.below(40) {
            number += 1;
            step(&store, &fs, &mut history, &mut random, number, counts);
            if !random.one_in(4) {
                store.run_background();
            }
        }
        let killed;
        (fs, killed) = die(&fs, &store, &mut random);
        *(if killed { &mut counts.kills } else { &mut counts.power_cuts }) += 1;
        if !killed && durability != Durability::Fsync {
            promise = Promise::ATail;
        }
        fs.heal();
        fs.set_capacity(None);
    }
    counts.tokens_created += history.tokens.created;
    counts.tokens_renewed += history.tokens.renewed;
    counts.tokens_removed += history.tokens.removed;
    counts.tokens_expired += history.tokens.expired;
}

fn step(
    store: &Store,
    fs: &SimFs,
    history: &mut History,
    random: &mut Random,
    number: u64,
    counts: &mut Counts,
) {
    let names: Vec<String> = history.topics.keys().cloned().collect();
    let name = match names.get(random.below(names.len().max(1) as u64) as usize) {
        Some(name) if !random.one_in(12) => name.clone(),
        _ => return create(store, history, ["a", "b", "c"][random.below(3) as usize], fs),
    };
    let topic = history.topics.get_mut(&name).expect("it was just chosen");
    let partitions = topic.logs.len();
    let index = random.below(partitions as u64) as usize;
    let log = &mut topic.logs[index];
    let Some(partition) =
        store.topics().by_id(topic.id).and_then(|found| found.partition(index as i32).cloned())
    else {
        return;
    };
    match random.below(30) {
        0 => {
            topic.may_be_gone = true;
            if now(store.delete_topic(topic.id)).is_ok() {
                let gone = history.topics.remove(&name).expect("it was just chosen");
                history.deleted.insert(gone.id);
            }
        }
        1 => {
            let offset = log.log_start + random.below((log.end - log.log_start + 1) as u64) as i64;
            log.tried_log_start = log.tried_log_start.max(offset);
            if let Ok(start) = now(store.delete_before(&partition, Offset(offset))) {
                counts.shrunk += u64::from(start.0 > log.log_start);
                log.log_start = log.log_start.max(start.0);
            }
        }
        2 | 3 => {
            history.tried_to_commit += 1;
            let id = topic.id;
            if now(submit(store, "group", commit(id, history.tried_to_commit))).is_ok() {
                topic.committed = history.tried_to_commit;
            }
        }
        4 => store.request_snapshot(),
        5 => store.housekeep(),
        6 => {
            // The records were shown to a reader, so they must not disappear.
            let start = partition.ends().log_start;
            if let Ok(found) = values(&partition, start) {
                log.end = log.end.max(start.0 + found.len() as i64);
                log.known.extend(found);
            }
        }
        7 if random.one_in(3) => {
            let operation =
                [Operation::Write, Operation::SyncData, Operation::Rename][random.below(3) as usize];
            fs.fail(Fault { after: random.below(6), ..Fault::next(operation) });
            counts.disk_errors += 1;
        }
        8 if random.one_in(3) => {
            fs.set_capacity(Some(fs.used() + random.below(40_000)));
            counts.full += 1;
        }
        9 => fs.set_capacity(None),
        10 if partitions < 5 => grow(store, topic, random, counts),
        12 => {
            let running = (1..=3).filter(|_| random.one_in(2)).map(NodeId).chain([NodeId(2)]).collect();
            counts.handed_on += u64::from(now(store.set_brokers(running)).is_ok());
        }
        11 => alter(store, topic, number, counts),
        13 => static_member(store, history, number, counts),
        14 | 15 => history.tokens.step(store, random, number),
        _ => append(store, &partition, log, random, number, counts),
    }
}

fn create(store: &Store, history: &mut History, name: &str, fs: &SimFs) {
    if history.topics.contains_key(name) || fs.is_off() || !store.is_writable() {
        return;
    }
    // A topic whose creation was not answered, or whose deletion failed in the middle.
    if let Some(found) = store.topics().by_name(name) {
        drop(now(store.delete_topic(found.id)));
        return;
    }
    let new = jackdaw::storage::NewTopic { name: name.into(), partitions: 2, overrides: Default::default() };
    if let Ok(topic) = now(store.create_topic(new)) {
        history.topics.insert(name.into(), TopicHistory::new(topic.id, 2));
    }
}

/// Adds one or two partitions. It reads the current number first, because an earlier outcome may be unknown.
fn grow(store: &Store, topic: &mut TopicHistory, random: &mut Random, counts: &mut Counts) {
    let Some(there) = store.topics().by_id(topic.id).map(|found| found.partitions.len()) else { return };
    let more = 1 + random.below(2) as usize;
    topic.tried_partitions = topic.tried_partitions.max(there + more);
    let replicas = vec![vec![NodeId(1)]; more];
    if now(store.add_partitions(topic.id, there as i32, replicas)).is_ok() {
        topic.logs.resize_with(there + more, LogHistory::default);
        counts.grown += 1;
    }
}

/// Sets one setting and removes another.
fn alter(store: &Store, topic: &mut TopicHistory, number: u64, counts: &mut Counts) {
    let (set, unset) = match number % 2 {
        0 => ("retention.ms", "retention.bytes"),
        _ => ("retention.bytes", "retention.ms"),
    };
    let value = (1_000_000_000 + number).to_string();
    let changes = BTreeMap::from([(set.to_owned(), Some(value.clone())), (unset.to_owned(), None)]);
    let after = BTreeMap::from([(set.to_owned(), value)]);
    match now(store.alter_topic(topic.id, changes)) {
        Ok(_) => {
            (topic.overrides, topic.tried_overrides) = (after, Vec::new());
            counts.altered += 1;
        }
        Err(_) => topic.tried_overrides.push(after),
    }
}

/// Joins, or comes back under another member id.
fn static_member(store: &Store, history: &mut History, number: u64, counts: &mut Counts) {
    let statics = &mut history.statics;
    // A join with an unknown outcome is looked for after the next start.
    let records =
        if statics.ids.is_empty() { Some(statics.join(number)) } else { statics.come_back(store, number) };
    let Some(records) = records else { return };
    if now(submit(store, STATIC_GROUP, records)).is_ok() {
        statics.acknowledged = statics.ids.len();
        counts.returned += 1;
    }
}

/// Half of the batches come from an idempotent producer. A batch without an answer is sent again, unchanged,
/// until it has one.
fn append(
    store: &Store,
    partition: &std::sync::Arc<jackdaw::storage::Partition>,
    log: &mut LogHistory,
    random: &mut Random,
    number: u64,
    counts: &mut Counts,
) {
    let idempotent = random.one_in(2);
    let repeated = log.unanswered.clone().filter(|_| idempotent);
    let fresh = || {
        let size = [20, 200, 1500][number as usize % 3];
        (0..1 + number % 3)
            .map(|record| format!("{number}.{record}.{}", "x".repeat(size)))
            .collect::<Vec<_>>()
    };
    counts.repeated += u64::from(repeated.is_some());
    let texts = repeated.unwrap_or_else(fresh);
    log.tried.extend(texts.iter().cloned());
    let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
    let sent = if idempotent {
        batch_of(i64::from(partition.index), log.epoch, log.sequence, &borrowed)
    } else {
        batch(&borrowed)
    };
    match now(store.append(partition, sent)) {
        Ok(appended) => {
            counts.acknowledged += 1;
            let offsets = appended.base_offset.0..;
            log.end = log.end.max(appended.base_offset.0 + texts.len() as i64);
            log.known.extend(offsets.zip(texts.iter().cloned()));
            if idempotent {
                log.sequence += texts.len() as i32;
                log.unanswered = None;
            }
        }
        Err(
            AppendError::Unavailable(Unavailable::Full)
            | AppendError::Unavailable(Unavailable::Unwritable(_)),
        ) => {
            // It was definitely not written, so it must never appear.
            counts.refused += 1;
            if log.unanswered.as_ref() != Some(&texts) {
                log.tried.retain(|tried| !texts.contains(tried));
            }
        }
        Err(
            AppendError::Unavailable(Unavailable::Poisoned) | AppendError::Unavailable(Unavailable::Stopped),
        ) => {
            counts.unknown += 1;
            if idempotent {
                log.unanswered = Some(texts);
            }
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// The disk after a sync failed during a change and the process was then killed: the journal's entry of the change may
/// only be in the page cache.
pub fn killed_after_a_failed_sync(fs: &SimFs, of: &str, change: impl FnOnce()) -> SimFs {
    fs.fail(Fault { path: of.into(), ..Fault::next(Operation::SyncData) });
    change();
    assert!(fs.trace().contains("  fails:"), "no sync of {of} was reached");
    fs.kill()
}

/// Starts from this disk with a power cut at each change, or with a journal that cannot be synced. `check` gets the start
/// after that.
pub fn starts_that_end_early(disk: &SimFs, durability: Durability, check: impl Fn(&Store, &str)) {
    let again = |fs: SimFs, seed: u64, context: &str| {
        let fs = fs.crash(seed);
        let store = Store::open(options(&fs, durability));
        check(&store.unwrap_or_else(|error| panic!("{context}: {error}")), context);
    };
    for seed in 0..4 {
        let fs = disk.fork();
        fs.fail(Fault { path: "data/journal/".into(), lasting: true, ..Fault::next(Operation::SyncData) });
        assert!(Store::open(options(&fs, durability)).is_err());
        again(fs, seed, &format!("the journal cannot be synced, seed {seed}"));
    }
    let mut changes = 0;
    loop {
        let mut was_off = false;
        for seed in [changes, changes + 1_000] {
            let fs = disk.fork();
            fs.off_after(changes);
            if let Ok(store) = Store::open(options(&fs, durability)) {
                // It empties the trash.
                store.run_background();
            }
            was_off = fs.is_off();
            again(fs, seed, &format!("power cut after {changes} changes, seed {seed}"));
        }
        if !was_off {
            break;
        }
        changes += 1;
    }
    assert!(changes > 10, "only {changes} changes");
}

/// A log of several segments in the topics `t` and `other`, and the disk after a change whose sync failed. The last record
/// of `other` came after the snapshot.
fn after_a_failed_sync(
    durability: Durability,
    of: &str,
    change: impl FnOnce(&Store),
) -> (SimFs, Vec<String>) {
    let fs = SimFs::new(1);
    let store = Store::open(options(&fs, durability)).unwrap();
    let topics = ["t", "other"].map(|name| make_topic(&store, name, 1));
    let texts: Vec<String> = (0..=IN_T).map(|number| format!("{number} {}", "x".repeat(900))).collect();
    let append = |topic: &Topic, text: &str| {
        now(store.append(topic.partition(0).unwrap(), batch(&[text]))).unwrap();
    };
    for text in &texts[..IN_T] {
        topics.iter().for_each(|topic| append(topic, text));
    }
    store.request_snapshot();
    store.run_background();
    append(&topics[1], &texts[IN_T]);
    let fs = killed_after_a_failed_sync(&fs, of, || change(&store));
    (fs, texts)
}

const IN_T: usize = 12;

/// In `os` the sync of a segment fails, so an entry before the last one may be torn too.
const FAILED_SYNCS: [(Durability, &str); 2] =
    [(Durability::Fsync, "data/journal/"), (Durability::Os, "data/topics/")];

/// All records from the log start offset on; in `os` the end may be missing.
fn check_log(store: &Store, name: &str, texts: &[String], durability: Durability, context: &str) {
    let topics = store.topics();
    let log = topics.by_name(name).unwrap().partition(0).unwrap();
    let start = log.ends().log_start;
    let found = values(log, start).unwrap_or_else(|error| panic!("{context}: {name}: {error:?}"));
    let found: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
    let expected = &texts[start.0 as usize..];
    assert!(expected.starts_with(&found), "{context}: {name} from {start}");
    assert!(durability == Durability::Os || found == expected, "{context}: {name} from {start}");
}

#[test]
fn i11_a_start_removes_no_segment_before_the_entry_that_moves_the_log_start_is_durable() {
    for (durability, of) in FAILED_SYNCS {
        let (disk, texts) = after_a_failed_sync(durability, of, |store| {
            let log = store.topics().by_name("t").unwrap().partition(0).cloned().unwrap();
            assert!(now(store.delete_before(&log, Offset(9))).is_err());
        });
        starts_that_end_early(&disk, durability, |store, context| {
            let context = format!("{durability:?}, {context}");
            check_log(store, "t", &texts[..IN_T], durability, &context);
            check_log(store, "other", &texts, durability, &context);
        });
    }
}

#[test]
fn i11_a_start_removes_no_directory_before_the_entry_that_deletes_its_topic_is_durable() {
    for (durability, of) in FAILED_SYNCS {
        let (disk, texts) = after_a_failed_sync(durability, of, |store| {
            let topic = store.topics().by_name("t").unwrap().id;
            assert!(now(store.delete_topic(topic)).is_err());
        });
        starts_that_end_early(&disk, durability, |store, context| {
            let context = format!("{durability:?}, {context}");
            if store.topics().by_name("t").is_some() {
                check_log(store, "t", &texts[..IN_T], durability, &context);
            }
            check_log(store, "other", &texts, durability, &context);
        });
    }
}

#[test]
fn one_seed_is_one_history() {
    let trace = |seed| {
        let fs = SimFs::new(seed);
        let mut fixed = options(&fs, Durability::Fsync);
        fixed.new_id = || Uuid([3; 16]);
        let store = Store::open(fixed).unwrap();
        let topic = make_topic(&store, "t", 1);
        for _ in 0..30 {
            now(store.append(topic.partition(0).unwrap(), batch(&["same"]))).unwrap();
            store.run_background();
        }
        fs.trace()
    };
    assert_eq!(trace(5), trace(5));
}
