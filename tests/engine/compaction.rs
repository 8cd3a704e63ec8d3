//! Compaction on a simulated disk keeps the newest record of each key at its offset, through every crash.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jackdaw::config::{BrokerSettings, Durability, Given};
use jackdaw::record::{self, BatchBuilder, Codec};
use jackdaw::storage::local::fs::{Fault, Fs, Open, Operation, SimFs};
use jackdaw::storage::local::inspect::verify;
use jackdaw::storage::{Isolation, LogError, NewTopic, Partition, ReadRange, Store, StoreOptions};
use jackdaw::time::Clock;
use jackdaw::types::{Offset, Timestamp};

use crate::crashes::{killed_after_a_failed_sync, starts_that_end_early};
use crate::disk::{checked, now, options};
use crate::random::Random;

/// Offset, key and value.
type KeptRecord = (i64, String, Option<String>);

struct Log {
    fs: SimFs,
    clock: Clock,
    store: Store,
    /// All acknowledged records.
    sent: Vec<KeptRecord>,
}

impl Log {
    /// A topic `t` of one partition, which is compacted whenever it has new segments.
    fn new(seed: u64) -> Log {
        let log = Log::with(seed, &[]);
        log.make_topic(&[]);
        log
    }

    fn with(seed: u64, settings: &[(&str, &str)]) -> Log {
        let fs = SimFs::new(seed);
        let clock = Clock::manual(Timestamp(1_000_000));
        let store = open(&fs, &clock, settings, Durability::Fsync);
        Log { fs, clock, store, sent: Vec::new() }
    }

    fn make_topic(&self, more: &[(&str, &str)]) {
        let given = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];
        let overrides = given.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into()));
        let new = NewTopic { name: "t".into(), partitions: 1, overrides: overrides.collect() };
        now(self.store.create_topic(new)).unwrap();
    }

    fn partition(&self) -> Arc<Partition> {
        self.store.topics().by_name("t").unwrap().partition(0).cloned().unwrap()
    }

    /// Appends one batch with a record for each key. `None` if it was not acknowledged.
    fn send(&mut self, codec: Codec, records: &[(&str, Option<&str>)]) -> Option<()> {
        let batch = records.iter().fold(BatchBuilder::new().codec(codec), |batch, (key, value)| {
            batch.record(Timestamp(999_000), Some(key.as_bytes()), value.map(str::as_bytes), &[])
        });
        let first = now(self.store.append(&self.partition(), checked(batch.build()))).ok()?.base_offset.0;
        let owned = records.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)));
        self.sent.extend((first..).zip(owned).map(|(offset, (key, value))| (offset, key, value)));
        Some(())
    }

    /// Appends n rounds of one record for each of ten keys, in several segments.
    fn fill(&mut self, rounds: u64) {
        for round in 0..rounds {
            for key in 0..10 {
                let value = format!("{round} {}", "x".repeat(300));
                let codec = if key % 2 == 0 { Codec::None } else { Codec::Lz4 };
                let _ = self.send(codec, &[(&format!("key {key}"), Some(&value))]);
            }
            self.store.run_background();
        }
    }

    fn compact(&self) {
        self.store.compact();
        self.store.run_background();
    }

    fn found(&self) -> Vec<KeptRecord> {
        found(&self.partition(), Offset(0))
    }

    fn reopened(self, fs: SimFs) -> Log {
        drop(self.store);
        let store = open(&fs, &self.clock, &[], Durability::Fsync);
        Log { store, fs, ..self }
    }

    /// The base offset of the newest segment; it and later records are not compacted.
    fn newest_segment(&self) -> i64 {
        let names = self.fs.list(std::path::Path::new("data/topics/t-0")).unwrap();
        let bases =
            names.iter().filter_map(|entry| entry.name.strip_suffix(".log")?.split('.').next()?.parse().ok());
        bases.max().unwrap()
    }

    /// The newest record of each key before the newest segment, and all records from there on.
    fn compacted(&self) -> Vec<KeptRecord> {
        let from = self.newest_segment();
        let newest: BTreeMap<&str, i64> = self
            .sent
            .iter()
            .filter(|(offset, ..)| *offset < from)
            .map(|(offset, key, _)| (key.as_str(), *offset))
            .collect();
        let kept = |(offset, key, _): &&KeptRecord| *offset >= from || newest[key.as_str()] == *offset;
        self.sent.iter().filter(kept).cloned().collect()
    }
}

fn open(fs: &SimFs, clock: &Clock, settings: &[(&str, &str)], durability: Durability) -> Store {
    let mut given = Given::default();
    for (name, value) in settings {
        given.set(*name, *value);
    }
    let settings = Arc::new(BrokerSettings::load(given).unwrap());
    Store::open(StoreOptions { clock: clock.clone(), settings, ..options(fs, durability) }).unwrap()
}

/// All records from an offset on. Ends even if some are missing.
fn found(partition: &Partition, from: Offset) -> Vec<KeptRecord> {
    let mut found = Vec::new();
    let mut next = from;
    loop {
        let isolation = Isolation::ReadUncommitted;
        let range =
            ReadRange { from: next, max_bytes: 700, at_least_one_batch: true, isolation, listed: false };
        let answer = now(partition.read(range)).unwrap();
        if answer.records.is_empty() {
            assert_eq!(next, answer.ends.high_watermark);
            return found;
        }
        for batch in record::batches(&answer.to_bytes().unwrap()) {
            for record in record::records(&batch.unwrap().1).unwrap() {
                let record = record.unwrap();
                let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                if record.offset >= from {
                    found.push((record.offset.0, text(record.key.unwrap()), record.value.map(text)));
                }
            }
        }
        assert!(answer.next > next);
        next = answer.next;
    }
}

#[test]
fn of_every_key_the_newest_record_stays_at_its_offset() {
    let mut log = Log::new(1);
    log.fill(20);
    let before = log.partition().size();
    log.compact();
    assert_eq!(log.found(), log.compacted());
    assert!(log.found().len() < 40 && log.partition().size() * 5 < before, "{:?}", log.partition().size());
    log.compact();
    assert_eq!(log.found(), log.compacted(), "nothing is new");
    log.fill(20);
    log.compact();
    assert_eq!(log.found(), log.compacted(), "what an earlier run kept is replaced by what is new");
    let found = verify(&(Arc::new(log.fs.clone()) as Arc<dyn Fs>), "data".as_ref()).unwrap();
    assert!(found.is_sound(), "{found:?}");
    log.store.close();
    let found = verify(&(Arc::new(log.fs.clone()) as Arc<dyn Fs>), "data".as_ref()).unwrap();
    assert_eq!(found.findings, []);
}

#[test]
fn a_read_from_a_removed_offset_returns_the_next_records() {
    let mut log = Log::new(2);
    log.fill(20);
    log.compact();
    let left = log.found();
    for offset in 0..log.sent.len() as i64 {
        let expected: Vec<KeptRecord> = left.iter().filter(|(at, ..)| *at >= offset).cloned().collect();
        assert_eq!(found(&log.partition(), Offset(offset)), expected, "from {offset}");
    }
    assert_eq!(now(log.partition().offset_for_time(Timestamp(0))).unwrap().unwrap().offset.0, left[0].0);
    let newest = now(log.partition().max_timestamp()).unwrap().unwrap();
    assert_eq!((newest.offset.0, newest.timestamp), (left[0].0, Timestamp(999_000)));
    assert!(log.partition().time_of(Offset(0)).unwrap().is_some());
}

#[test]
fn a3_a_tombstone_goes_a_while_after_the_run_that_met_it_and_what_it_stands_for_at_once() {
    let mut log = Log::with(3, &[]);
    log.make_topic(&[("delete.retention.ms", "60000")]);
    let _ = log.send(Codec::None, &[("gone", Some("value")), ("stays", Some("value"))]);
    let _ = log.send(Codec::Gzip, &[("gone", None)]);
    log.fill(3);
    log.compact();
    let of_gone = |log: &Log| log.found().into_iter().filter(|(_, key, _)| key == "gone").collect::<Vec<_>>();
    assert_eq!(of_gone(&log), [(2, "gone".into(), None)]);
    log.clock.set(Timestamp(1_000_000 + 59_999));
    log.fill(3);
    log.compact();
    assert_eq!(of_gone(&log), [(2, "gone".into(), None)], "somebody may still have to hear of it");
    log.clock.set(Timestamp(1_000_000 + 60_000));
    log.fill(3);
    log.compact();
    assert_eq!(of_gone(&log), []);
    assert_eq!(log.found()[0], (1, "stays".into(), Some("value".into())));
}

#[test]
fn a_run_that_has_no_room_for_all_keys_does_a_part_and_the_next_ones_the_rest() {
    let mut log = Log::with(4, &[("log.cleaner.dedupe.buffer.size", "1")]);
    log.make_topic(&[]);
    // Keys of more than two megabytes in total, while the minimum memory of a run is one.
    let keys: Vec<String> = (0..1200).map(|key| format!("{key} {}", "k".repeat(2000))).collect();
    for round in 0..2 {
        for key in &keys {
            let _ = log.send(Codec::None, &[(key, Some(&round.to_string()))]);
        }
        log.store.run_background();
    }
    log.compact();
    let once = log.found().len();
    assert!(once > 1300, "it cannot have seen that all are there twice: {once}");
    for _ in 0..6 {
        log.compact();
    }
    assert_eq!(log.found(), log.compacted());
}

#[test]
fn without_a_cleaner_or_a_policy_or_anything_new_nothing_is_compacted() {
    let mut off = Log::with(5, &[("log.cleaner.enable", "false")]);
    off.make_topic(&[]);
    let mut delete = Log::with(6, &[]);
    delete.make_topic(&[("cleanup.policy", "delete")]);
    let mut young = Log::with(7, &[]);
    young.make_topic(&[("min.compaction.lag.ms", "1001")]);
    for log in [&mut off, &mut delete, &mut young] {
        log.fill(10);
        log.compact();
        assert_eq!(log.found(), log.sent);
    }
    young.clock.set(Timestamp(1_000_001));
    young.compact();
    assert_eq!(young.found(), young.compacted(), "a millisecond later all of it is old enough");
}

#[test]
fn i11_a_log_that_has_no_room_beside_itself_waits_and_appends_go_on() {
    let mut log = Log::new(9);
    log.fill(12);
    log.fs.set_capacity(Some(log.fs.used() + log.partition().size() / 2));
    log.compact();
    assert_eq!(log.found(), log.sent);
    assert!(log.send(Codec::None, &[("key 1", Some("goes on"))]).is_some());
    log.fs.set_capacity(None);
    log.compact();
    assert_eq!(log.found(), log.compacted());
}

#[test]
fn h17_a_crash_anywhere_in_a_run_leaves_the_old_log_or_the_new_one() {
    let mut replaced = 0;
    for steps in 0..60 {
        let mut log = Log::new(100 + steps);
        log.fill(12);
        if steps % 2 == 1 {
            // All of it is durable. Later appends do not wait for the disk.
            log.store.close();
            log.store = open(&log.fs, &log.clock, &[], Durability::Os);
        }
        let (old, new) = (log.found(), log.compacted());
        log.fs.off_after(steps);
        log.compact();
        let fs = if steps % 3 == 0 { log.fs.kill() } else { log.fs.crash(steps) };
        let mut log = log.reopened(fs);
        let found = log.found();
        assert!(found == old || found == new, "after {steps} steps: {} records", found.len());
        replaced += u64::from(found == new);
        log.compact();
        assert_eq!(log.found(), new, "after {steps} steps the next run does it");
        assert!(log.send(Codec::None, &[("key 1", Some("goes on"))]).is_some());
    }
    assert!((5..55).contains(&replaced), "{replaced} of 60 were done");
}

#[test]
fn i11_a_start_removes_no_old_segment_before_the_entry_that_replaces_it_is_durable() {
    let mut log = Log::new(10);
    log.fill(12);
    let (old, new) = (log.found(), log.compacted());
    let disk = killed_after_a_failed_sync(&log.fs, "data/journal/", || log.compact());
    starts_that_end_early(&disk, Durability::Fsync, |store, context| {
        let partition = store.topics().by_name("t").unwrap().partition(0).cloned().unwrap();
        assert!(!partition.is_damaged(), "{context}");
        let found = found(&partition, Offset(0));
        assert!(found == old || found == new, "{context}: {} records", found.len());
    });
}

#[test]
fn a_log_whose_topic_was_deleted_or_cut_meanwhile_is_left_alone() {
    let mut log = Log::new(8);
    log.fill(12);
    now(log.store.delete_before(&log.partition(), Offset(55))).unwrap();
    log.compact();
    let left = found(&log.partition(), Offset(55));
    let expected: Vec<KeptRecord> =
        log.compacted().into_iter().filter(|(offset, ..)| *offset >= 55).collect();
    assert_eq!(left, expected);
    now(log.store.delete_topic(log.partition().topic)).unwrap();
    log.compact();
    log.sent.clear();
    log.make_topic(&[]);
    log.fill(12);
    log.compact();
    assert_eq!(log.found(), log.compacted(), "one of the same name is another");
}

/// Several runs of a log, each ended by a power cut, a kill or a failing disk, with compaction from time to
/// time.
#[test]
fn h17_the_newest_acknowledged_record_of_every_key_survives_every_crash() {
    let mut runs = 0;
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut log = Log::new(seed);
        let (mut tried, mut number) = (BTreeSet::new(), 0);
        for life in 0..5 {
            let context = format!("seed {seed} life {life}");
            if random.one_in(2) {
                log.fs.off_after(random.below(200));
            }
            for _ in 0..random.below(60) {
                number += 1;
                let key = format!("key {}", random.below(6));
                let value = (!random.one_in(8)).then(|| format!("{number} {}", "x".repeat(400)));
                tried.insert((key.clone(), value.clone()));
                let _ = log.send(Codec::ALL[number % 4], &[(&key, value.as_deref())]);
                match random.below(8) {
                    0 => {
                        let before = log.partition().size();
                        log.store.compact();
                        runs += u64::from(log.partition().size() < before);
                    }
                    1 => log.store.request_snapshot(),
                    2 if random.one_in(4) => {
                        let operation = [Operation::Write, Operation::SyncData][random.below(2) as usize];
                        log.fs.fail(Fault { after: random.below(6), ..Fault::next(operation) });
                    }
                    3 => log.clock.set(Timestamp(1_000_000 + 20_000 * number as i64)),
                    _ => log.store.run_background(),
                }
            }
            let fs = if !log.fs.is_off() && random.one_in(2) {
                log.fs.kill()
            } else {
                log.fs.crash(random.below(u64::MAX))
            };
            fs.heal();
            log = log.reopened(fs);
            check(&mut log, &tried, &context);
        }
    }
    assert!(runs > 200, "{runs} runs have made logs smaller");
}

/// Also takes over records that were stored without an answer.
fn check(log: &mut Log, tried: &BTreeSet<(String, Option<String>)>, context: &str) {
    let found = log.found();
    assert!(found.is_sorted_by(|one, next| one.0 < next.0), "{context}: out of order");
    let mut newest = BTreeMap::new();
    for (offset, key, value) in &log.sent {
        newest.insert(key.clone(), (*offset, value.clone()));
    }
    for (key, (offset, value)) in newest {
        let of_key = found.iter().rev().find(|(_, other, _)| *other == key);
        let is_there = of_key.is_some_and(|(at, _, held)| *at > offset || (*at == offset && *held == value));
        // A tombstone may have been removed.
        assert!(is_there || value.is_none(), "{context}: {key} lost what it had at {offset}: {of_key:?}");
    }
    for (offset, key, value) in &found {
        assert!(tried.contains(&(key.clone(), value.clone())), "{context}: nobody sent what is at {offset}");
        match log.sent.iter().find(|(at, ..)| at == offset) {
            Some(known) => {
                assert_eq!((&known.1, &known.2), (key, value), "{context}: another record at {offset}")
            }
            None => log.sent.push((*offset, key.clone(), value.clone())),
        }
    }
    log.sent.sort_by_key(|(offset, ..)| *offset);
}

/// The first file that compaction has written, and the position of its last batch.
fn last_compacted_batch(log: &Log) -> (PathBuf, u64) {
    let dir = Path::new("data/topics/t-0");
    let names = log.fs.list(dir).unwrap();
    let compacted = names.iter().find(|entry| entry.name.ends_with(".1.log")).unwrap();
    let path = dir.join(&compacted.name);
    let file = log.fs.open(&path, Open::Read).unwrap();
    let bytes = Bytes::from(file.read_new(file.len().unwrap() as usize, 0).unwrap());
    let sizes = record::batches(&bytes).map(|batch| batch.unwrap().1.len() as u64);
    let last = bytes.len() as u64 - sizes.last().unwrap();
    (path, last)
}

#[test]
fn a_base_offset_that_became_too_large_ends_a_run_and_takes_the_partition_out_of_service() {
    let mut log = Log::new(78);
    log.fill(4);
    log.compact();
    log.fill(4);
    let (path, last) = last_compacted_batch(&log);
    // The checksum does not cover it, and gaps are normal after compaction.
    log.fs.flip_bit(&path, (last + 3) * 8).unwrap();
    log.compact();
    assert!(log.partition().is_damaged());
}

#[test]
fn i9_such_a_base_offset_is_damage_for_readers_and_not_an_empty_answer() {
    let mut log = Log::new(79);
    log.fill(4);
    log.compact();
    let (path, last) = last_compacted_batch(&log);
    let base = log.fs.open(&path, Open::Read).unwrap().read_new(8, last).unwrap();
    let base = u64::from_be_bytes(base.try_into().unwrap());
    log.store.close();
    let disk = log.fs.kill();
    let (mut flipped, mut log) = (0, log);
    for bit in (0..64).filter(|bit| (base ^ 1 << bit) > base + 9) {
        let fs = disk.fork();
        fs.flip_bit(&path, last * 8 + (7 - bit / 8) * 8 + bit % 8).unwrap();
        log = log.reopened(fs);
        let partition = log.partition();
        let range = ReadRange {
            from: Offset(base as i64),
            max_bytes: 700,
            at_least_one_batch: true,
            isolation: Isolation::ReadUncommitted,
            listed: false,
        };
        let error = now(partition.read(range)).map(|answer| (answer.next, answer.records.len()));
        assert_eq!(error, Err(LogError::Damaged), "bit {bit} of {base}");
        assert!(partition.is_damaged());
        flipped += 1;
    }
    assert!(flipped > 50, "{flipped}");
}

#[test]
fn damage_before_the_log_start_does_not_end_a_run() {
    let mut log = Log::new(80);
    log.fill(4);
    now(log.store.delete_before(&log.partition(), Offset(5))).unwrap();
    log.store.close();
    let fs = log.fs.kill();
    // A byte in the records of the second batch.
    fs.flip_bit(Path::new("data/topics/t-0/00000000000000000000.log"), 500 * 8).unwrap();
    let mut log = log.reopened(fs);
    log.compact();
    assert!(!log.partition().is_damaged());
    log.sent.retain(|(offset, ..)| *offset >= 5);
    assert_eq!(found(&log.partition(), Offset(5)), log.compacted());
}
