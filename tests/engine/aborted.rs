//! Consumers of committed records see exactly those, from every offset on, whatever happens to the broker and to its
//! lists of aborted transactions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jackdaw::config::Durability;
use jackdaw::kernel::{Applied, Command, EndTransaction, EndedBy, ProducerAt};
use jackdaw::record::{self, BatchBuilder};
use jackdaw::storage::local::fs::{Fault, Fs, Open, Operation, SimFs};
use jackdaw::storage::local::inspect;
use jackdaw::storage::{Isolation, LogError, Partition, ReadRange, Store};
use jackdaw::types::{Offset, Timestamp, TransactionEnd};

use crate::damage::write_whole;
use crate::disk::{checked, committed_offsets, files, look, make_topic, now, options, producer_of};
use crate::random::Random;

const IDS: [&str; 4] = ["one", "two", "three", "four"];

struct Log {
    fs: SimFs,
    store: Store,
    durability: Durability,
    /// The producers, with their next sequence.
    producers: Vec<(ProducerAt, i32)>,
    sent: Vec<Sent>,
}

/// A record in a transaction.
struct Sent {
    of: usize,
    offset: i64,
    /// `None` while the transaction is open.
    end: Option<TransactionEnd>,
}

impl Log {
    fn new(seed: u64, durability: Durability) -> Log {
        let fs = SimFs::new(seed);
        let store = Store::open(options(&fs, durability)).unwrap();
        make_topic(&store, "t", 1);
        let producers = IDS.map(|id| (producer_of(&store, id), 0)).into();
        Log { fs, store, durability, producers, sent: Vec::new() }
    }

    fn partition(&self) -> Arc<Partition> {
        self.store.topics().by_name("t").unwrap().partition(0).cloned().unwrap()
    }

    fn send(&mut self, of: usize, bytes: usize) {
        let (ProducerAt { id, epoch }, sequence) = self.producers[of];
        let batch = BatchBuilder::new()
            .producer(record::Producer { id, epoch, base_sequence: sequence })
            .transactional()
            .value(Timestamp(999_000), "x".repeat(bytes));
        let batch = checked(batch.build());
        let offset = now(self.store.append_and_join(&self.partition(), batch)).unwrap().base_offset.0;
        self.producers[of].1 += 1;
        self.sent.push(Sent { of, offset, end: None });
    }

    fn end(&mut self, of: usize, end: TransactionEnd) {
        let open = self.sent.iter_mut().filter(|sent| sent.of == of && sent.end.is_none());
        if open.map(|sent| sent.end = Some(end)).count() == 0 {
            return;
        }
        let (id, producer) = (IDS[of].into(), self.producers[of].0);
        let (began, by, rolls) = (None, EndedBy::ClientWithNewEpoch, vec![]);
        let end = EndTransaction { id, producer, began, end, by, rolls };
        match now(self.store.transact(Command::EndTransaction(end))).unwrap() {
            Applied::TransactionEnded(ended) => self.producers[of] = (ended.producer, 0),
            other => panic!("{other:?}"),
        }
    }

    /// Records and ends of transactions at random.
    fn fill(&mut self, random: &mut Random, steps: u64) {
        for _ in 0..steps {
            let of = random.below(4) as usize;
            // The last producer keeps its transactions open for long.
            if random.one_in(if of == 3 { 20 } else { 3 }) {
                let end = if random.one_in(3) { TransactionEnd::Commit } else { TransactionEnd::Abort };
                self.end(of, end);
            } else {
                self.send(of, 10 + random.below(600) as usize);
            }
            if random.one_in(8) {
                self.store.run_background();
            }
        }
    }

    fn restarted(self, fs: SimFs) -> Log {
        drop(self.store);
        let store = Store::open(options(&fs, self.durability)).unwrap();
        Log { store, fs, ..self }
    }

    fn lists(&self) -> Vec<PathBuf> {
        let is_list = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "txnindex");
        files(&self.fs, Path::new("data")).into_iter().filter(is_list).collect()
    }

    /// Damages every list in some way.
    fn damage(&self, random: &mut Random) {
        for path in self.lists() {
            let file = self.fs.open(&path, Open::Read).unwrap();
            let len = file.len().unwrap();
            let bytes = file.read_new(len as usize, 0).unwrap();
            match random.below(4) {
                _ if len == 0 => {}
                0 => self.fs.remove(&path).unwrap(),
                1 => write_whole(&self.fs, &path, &bytes[..random.below(len) as usize]),
                2 => self.fs.flip_bit(&path, random.below(len * 8)).unwrap(),
                _ => {}
            }
        }
    }

    /// A consumer that begins at any offset sees the committed records from there on, and no others.
    fn check(&self, random: &mut Random, context: &str) {
        let ends = self.partition().ends();
        for _ in 0..4 {
            let length = (ends.high_watermark.0 - ends.log_start.0 + 1).unsigned_abs();
            let from = ends.log_start.0 + random.below(length) as i64;
            let is_seen = |sent: &&Sent| {
                let is_committed = sent.end == Some(TransactionEnd::Commit);
                is_committed && sent.offset >= from && sent.offset < ends.last_stable.0
            };
            let expected: BTreeSet<i64> = self.sent.iter().filter(is_seen).map(|sent| sent.offset).collect();
            let most = [100, 1_500, 20_000][random.below(3) as usize];
            assert_eq!(
                committed_offsets(&self.partition(), from, most).unwrap(),
                expected,
                "{context}, from {from}"
            );
        }
    }
}

#[test]
fn f11_consumers_see_exactly_the_committed_records_through_crashes_and_damaged_lists() {
    let (mut restarts, mut lists) = (0, 0);
    for seed in 0..25 {
        let mut random = Random(seed);
        let durability = [Durability::Fsync, Durability::Interval][random.below(2) as usize];
        let mut log = Log::new(seed, durability);
        for life in 0..4 {
            let context = format!("seed {seed}, life {life}");
            let steps = 20 + random.below(120);
            log.fill(&mut random, steps);
            log.check(&mut random, &context);
            if random.one_in(3) {
                let ends = log.partition().ends();
                let length = (ends.high_watermark.0 - ends.log_start.0 + 1).unsigned_abs();
                let offset = Offset(ends.log_start.0 + random.below(length) as i64);
                assert_eq!(now(log.store.delete_before(&log.partition(), offset)), Ok(offset));
                log.check(&mut random, &context);
            }
            // With `interval` a power cut may lose acknowledged records.
            let fs = match random.below(3) {
                0 if durability == Durability::Fsync => log.fs.crash(seed),
                1 => log.fs.kill(),
                _ => {
                    log.store.close();
                    log.fs.kill()
                }
            };
            log = log.restarted(fs);
            if random.one_in(2) {
                lists += log.lists().len();
                log.damage(&mut random);
            }
            log.check(&mut random, &format!("{context}, restarted"));
            restarts += 1;
        }
    }
    assert!(restarts == 100 && lists > 50, "{lists}");
}

#[test]
fn a_damaged_list_is_written_again_when_it_is_read() {
    let (log, lists, before) = restarted_with_lists();
    lists.iter().for_each(|path| write_whole(&log.fs, path, b"no list at all"));
    log.check(&mut Random(2), "damaged");
    committed_offsets(&log.partition(), 0, 20_000).unwrap();
    same_lists(&lists, &log.fs, &before);
}

/// A log whose transactions have ended, after a restart; its lists; and its files.
fn restarted_with_lists() -> (Log, Vec<PathBuf>, SimFs) {
    let mut log = Log::new(1, Durability::Fsync);
    log.fill(&mut Random(1), 300);
    (0..4).for_each(|of| log.end(of, TransactionEnd::Commit));
    log.store.close();
    let fs = log.fs.kill();
    let log = log.restarted(fs);
    let (lists, before) = (log.lists(), log.fs.fork());
    assert!(lists.len() > 3, "{lists:?}");
    (log, lists, before)
}

fn same_lists(lists: &[PathBuf], fs: &SimFs, before: &SimFs) {
    let read = |fs: &SimFs, path: &Path| {
        let file = fs.open(path, Open::Read).unwrap();
        file.read_new(file.len().unwrap() as usize, 0).unwrap()
    };
    for path in lists {
        assert_eq!(read(fs, path), read(before, path), "{}", path.display());
    }
}

#[test]
fn the_scrub_writes_damaged_lists_again_whether_they_are_in_memory_or_not() {
    let week = Duration::from_secs(7 * 24 * 3600);
    let (log, lists, before) = restarted_with_lists();
    for is_in_memory in [false, true] {
        if is_in_memory {
            committed_offsets(&log.partition(), 0, 20_000).unwrap();
        }
        for path in &lists {
            log.fs.flip_bit(path, 34 * 8 - 3).unwrap();
        }
        log.store.scrub(week, week);
        same_lists(&lists, &log.fs, &before);
        assert!(!log.partition().is_damaged());
    }
    log.fs.remove(&lists[0]).unwrap();
    log.store.scrub(week, week);
    same_lists(&lists, &log.fs, &before);
    log.check(&mut Random(1), "scrubbed");
}

#[test]
fn kills_and_power_cuts_leave_every_list_complete() {
    let mut log = Log::new(7, Durability::Fsync);
    let mut random = Random(7);
    for life in 0..6 {
        // No snapshot is taken but those of the starts.
        log.fill(&mut random, 10);
        (0..4).for_each(|of| log.end(of, TransactionEnd::Abort));
        for again in 0..2 {
            let fs = if (life + again) % 2 == 0 { log.fs.kill() } else { log.fs.crash(life) };
            log = log.restarted(fs);
        }
        let partition = log.partition();
        let stable = partition.ends().last_stable;
        // A list that lacks something would be made again from all records.
        log.fs.fail(Fault { path: ".log".into(), lasting: true, ..Fault::next(Operation::Read) });
        let listed = now(partition.aborted(Offset(0)..stable)).unwrap();
        log.fs.heal();
        let aborted = log.sent.iter().filter(|sent| sent.end == Some(TransactionEnd::Abort));
        let aborted: BTreeSet<i64> = aborted.map(|sent| sent.offset).collect();
        let firsts: BTreeSet<i64> = listed.iter().map(|transaction| transaction.first.0).collect();
        assert!(firsts.len() == listed.len() && firsts.is_subset(&aborted), "life {life}: {listed:?}");
        assert!(aborted.first().is_none_or(|first| firsts.contains(first)), "life {life}");
        log.check(&mut random, &format!("life {life}"));
    }
    assert!(now(log.partition().aborted(Offset(0)..Offset(i64::MAX))).unwrap().len() > 10);
}

/// The marker of an abort is only in the journal, and the next start cannot write it to its segment either.
#[test]
fn aborted_records_stay_hidden_while_their_marker_cannot_be_written() {
    let fault = || Fault { path: "topics/t-0".into(), lasting: true, ..Fault::next(Operation::Write) };
    let mut log = Log::new(1, Durability::Fsync);
    log.send(0, 10);
    log.store.request_snapshot();
    log.store.run_background();
    log.fs.fail(fault());
    log.end(0, TransactionEnd::Abort);
    log.store.request_snapshot();
    log.store.run_background();
    let fs = log.fs.kill();
    fs.fail(fault());
    let log = log.restarted(fs);
    let partition = log.partition();
    let isolation = Isolation::ReadCommitted;
    let range =
        ReadRange { from: Offset(0), max_bytes: 1, at_least_one_batch: true, isolation, listed: false };
    let read = now(partition.read(range)).unwrap();
    let listed = now(partition.aborted(Offset(0)..read.next));
    let is_hidden = read.records.is_empty() || listed.as_ref().map_or(true, |listed| listed.len() == 1);
    assert!(is_hidden, "{listed:?}");
    log.fs.heal();
    log.store.housekeep();
    log.store.run_background();
    log.check(&mut Random(1), "written at last");
}

#[test]
fn verify_tells_of_a_damaged_list_and_dump_prints_a_sound_one() {
    let mut log = Log::new(3, Durability::Fsync);
    log.fill(&mut Random(3), 200);
    let killed = look(&log.fs.kill());
    assert_eq!(killed.findings, [], "what ended since the snapshot is in the journal");
    log.store.close();
    let fs = log.fs.kill();
    drop(log.store);
    assert_eq!(look(&fs).findings, []);
    let is_list = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "txnindex");
    let path = files(&fs, Path::new("data")).into_iter().find(is_list).unwrap();

    let mut out = Vec::new();
    assert!(inspect::dump(&fs, &path, false, &mut out).unwrap());
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("# {}", path.display()));
    assert!(lines[1].starts_with("at=0 aborted producer="), "{text}");
    assert!(lines[1].contains(" first=") && lines[1].contains(" last_stable="), "{text}");
    let mut all = Vec::new();
    assert!(inspect::dump(&fs, Path::new("data/topics"), true, &mut all).unwrap());
    let all = String::from_utf8(all).unwrap();
    assert!(all.contains(lines[1]), "a directory is printed with its lists");
    assert!(all.contains("  marker offset=") && all.contains(" end=abort coordinator_epoch="), "{all}");

    fs.flip_bit(&path, 5).unwrap();
    let report = look(&fs);
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert_eq!((&finding.path, finding.damage), (&path, false), "the records have it");
    assert!(report.is_sound());
    assert!(!inspect::dump(&fs, &path, false, &mut Vec::new()).unwrap(), "its version is unknown");
}

#[test]
fn verify_tells_of_a_damaged_list_beside_a_running_broker() {
    let mut log = Log::new(3, Durability::Fsync);
    log.fill(&mut Random(3), 200);
    log.store.request_snapshot();
    log.store.run_background();
    // The newest entries may not be in their file yet.
    log.fill(&mut Random(4), 20);
    assert_eq!(look(&log.fs).findings, []);
    let path = log.lists().remove(0);
    log.fs.flip_bit(&path, 5).unwrap();
    let report = look(&log.fs);
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert_eq!((&finding.path, finding.damage), (&path, false));
    assert!(report.is_sound() && matches!(report.next_start, inspect::NextStart::InUse));
}

#[test]
fn reading_from_deleted_offsets_fails_and_shows_no_aborted_records() {
    let mut log = Log::new(5, Durability::Fsync);
    log.fill(&mut Random(5), 300);
    (0..4).for_each(|of| log.end(of, TransactionEnd::Commit));
    let partition = log.partition();
    let end = partition.ends().high_watermark;
    assert!(now(partition.aborted(Offset(0)..end)).is_ok_and(|found| found.len() > 10));
    now(log.store.delete_before(&partition, end)).unwrap();
    let failed = now(partition.aborted(Offset(0)..end));
    assert_eq!(failed, Err(LogError::OutOfRange { asked: Offset(0), start: end, end }));
}
