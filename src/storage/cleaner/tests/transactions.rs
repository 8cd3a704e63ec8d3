//! Compaction of a log with transactions.

use super::log::{KeptRecord, Log, RETENTION, committed};
use crate::storage::seeded::Random;

/// The memory for the keys of a run that is enough for one key.
const ONE_KEY: u64 = 150;

/// The memory for the keys of the largest batch, but not for all keys.
const FOUR_KEYS: u64 = 430;

const NONE: [i64; 0] = [];

/// Appends to a later extent, and compacts all before it.
fn compact(log: &mut Log) {
    log.close();
    log.compact();
    log.check("after a run");
}

#[test]
fn records_of_an_aborted_transaction_go_and_those_of_a_committed_one_beside_it_stay() {
    let mut log = Log::new();
    log.sends(1, "a", "aborted");
    log.sends(2, "a", "committed");
    log.sends(1, "b", "aborted");
    log.sends(2, "c", "committed");
    log.aborts(1);
    log.commits(2);
    compact(&mut log);
    assert_eq!(log.offsets(), [1, 3]);
    assert_eq!((log.markers(), log.listed()), (vec![4, 5], vec![(0, 4)]));
}

#[test]
fn an_aborted_record_replaces_nothing_and_the_next_committed_one_does() {
    let mut log = Log::new();
    log.plain("a", "first");
    log.sends(1, "a", "aborted");
    log.aborts(1);
    compact(&mut log);
    assert_eq!(log.offsets(), [0]);
    log.sends(1, "a", "committed");
    log.commits(1);
    compact(&mut log);
    assert_eq!(log.offsets(), [4]);
}

#[test]
fn a_tombstone_in_an_aborted_transaction_deletes_nothing() {
    let mut log = Log::new();
    log.plain("a", "stays");
    log.write(Some(1), &[("a", None)]);
    log.aborts(1);
    compact(&mut log);
    log.now.0 += RETENTION;
    compact(&mut log);
    assert_eq!(log.offsets(), [0]);
}

#[test]
fn a_tombstone_in_a_committed_transaction_goes_after_its_time_and_the_marker_after_it() {
    let mut log = Log::new();
    log.plain("a", "deleted");
    log.write(Some(1), &[("a", None)]);
    log.commits(1);
    compact(&mut log);
    assert_eq!(log.offsets(), [1]);
    log.now.0 += RETENTION;
    compact(&mut log);
    assert_eq!((log.offsets(), log.markers()), (vec![], vec![2]));
    compact(&mut log);
    log.now.0 += RETENTION;
    compact(&mut log);
    assert_eq!(log.markers(), NONE);
}

#[test]
fn a5_an_abort_marker_stays_for_delete_retention_after_a_run_that_met_no_record_of_it() {
    let mut log = Log::new();
    log.sends(1, "a", "aborted");
    log.aborts(1);
    compact(&mut log);
    assert_eq!(log.offsets(), NONE);
    assert_eq!((log.markers(), log.listed()), (vec![1], vec![(0, 1)]), "the run has met a record");
    log.now.0 += 10 * RETENTION;
    compact(&mut log);
    assert_eq!((log.markers(), log.listed()), (vec![1], vec![]), "its time begins");
    log.now.0 += RETENTION - 1;
    compact(&mut log);
    assert_eq!(log.markers(), [1]);
    log.now.0 += 1;
    compact(&mut log);
    assert_eq!(log.markers(), NONE);
}

#[test]
fn a5_a_commit_marker_stays_as_long_as_a_record_of_it() {
    let mut log = Log::new();
    log.sends(1, "a", "first");
    log.commits(1);
    for _ in 0..3 {
        log.now.0 += RETENTION;
        compact(&mut log);
        assert_eq!((log.offsets(), log.markers()), (vec![0], vec![1]));
    }
    log.plain("a", "second");
    compact(&mut log);
    assert_eq!((log.offsets(), log.markers()), (vec![5], vec![1]), "the run has met a record");
    compact(&mut log);
    assert_eq!(log.markers(), [1], "its time begins");
    log.now.0 += RETENTION;
    compact(&mut log);
    assert_eq!(log.markers(), NONE);
}

#[test]
fn a_transaction_that_began_before_the_log_start_is_still_an_aborted_one() {
    let mut log = Log::new();
    log.sends(1, "a", "aborted");
    log.sends(2, "a", "aborted");
    log.roll();
    log.plain("b", "stays");
    log.sends(1, "b", "aborted");
    log.aborts(1);
    log.aborts(2);
    log.delete_before(2);
    compact(&mut log);
    assert_eq!(log.offsets(), [2]);
    assert_eq!(log.listed(), [(0, 4)], "no record of the other one is left");
    assert_eq!(log.markers(), [4, 5]);
}

#[test]
fn a_transaction_whose_marker_is_in_a_later_extent_is_known_before_the_run_gets_there() {
    let mut log = Log::new();
    log.plain("a", "first");
    log.sends(1, "a", "aborted");
    log.roll();
    log.now.0 += 500;
    log.sends(1, "b", "aborted");
    log.aborts(1);
    log.close();
    log.compact_with(&[("min.compaction.lag.ms", "500")], 1 << 20);
    assert_eq!(log.offsets(), [0, 2], "the second extent is too young");
    assert_eq!(log.listed(), [(1, 3)]);
    log.check("after the first extent");
    compact(&mut log);
    assert_eq!(log.offsets(), [0]);
    assert_eq!((log.listed(), log.markers()), (vec![(1, 3)], vec![3]));
}

#[test]
fn a_run_without_enough_memory_leaves_the_rest_of_an_aborted_transaction_with_its_marker() {
    let mut log = Log::new();
    log.sends(1, "a", "aborted");
    log.plain("a", "stays");
    log.plain("b", "first");
    log.sends(1, "a", "aborted");
    log.aborts(1);
    log.plain("b", "second");
    log.close();
    log.compact_with(&[], ONE_KEY);
    assert_eq!(log.offsets(), [1, 2, 3, 5]);
    assert_eq!((log.listed(), log.markers()), (vec![(0, 4)], vec![4]));
    log.check("after the first part");
    log.compact();
    assert_eq!(log.offsets(), [1, 5]);
    assert_eq!((log.listed(), log.markers()), (vec![(0, 4)], vec![4]));
    log.check("after the rest");
}

#[test]
fn a_deleted_key_stays_deleted_although_the_batch_of_its_tombstone_has_more_keys_than_there_is_memory_for() {
    let mut log = Log::new();
    log.plain("a", "deleted");
    log.write(None, &[("a", None), ("b", Some("stays")), ("c", Some("stays"))]);
    for memory in [ONE_KEY, ONE_KEY, ONE_KEY, ONE_KEY, 1 << 20, 1 << 20] {
        log.close();
        log.compact_with(&[], memory);
        log.check("after a run");
        log.now.0 += RETENTION;
    }
    assert_eq!(log.offsets(), [0, 1, 2, 3]);
    log.plain("a", "new");
    compact(&mut log);
    assert_eq!(log.offsets()[..2], [2, 3], "a newer record replaces both");
}

#[test]
fn nothing_from_the_last_stable_offset_on_is_compacted() {
    let mut log = Log::new();
    for value in ["first", "second"] {
        log.plain("a", value);
    }
    log.roll();
    log.plain("a", "third");
    log.sends(1, "b", "open");
    log.roll();
    log.plain("a", "fourth");
    compact(&mut log);
    assert_eq!(log.offsets(), [1, 2, 3, 4]);
    log.aborts(1);
    compact(&mut log);
    assert_eq!(log.offsets(), [4]);
}

/// The effects of all runs of the seeded test.
#[derive(Debug, Default)]
struct Effects {
    aborted_records: usize,
    markers: usize,
    listed: usize,
}

#[test]
fn a5_consumers_see_the_same_values_before_and_after_every_run() {
    let mut done = Effects::default();
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut log = Log::new();
        for step in 0..100 {
            let context = format!("seed {seed} step {step}");
            match random.below(16) {
                0 => log.roll(),
                1 => log.now.0 += random.below(RETENTION as u64) as i64,
                2 | 3 => run(&mut log, &mut random, &mut done, &context),
                4 if random.below(4) == 0 => {
                    let start = log.last_stable();
                    log.delete_before(start.0);
                }
                _ => write(&mut log, &mut random, step),
            }
        }
        finish(&mut log, &format!("seed {seed}"));
    }
    assert!(done.aborted_records > 200 && done.markers > 20 && done.listed > 20, "{done:?}");
}

/// Appends a batch, or ends a transaction.
fn write(log: &mut Log, random: &mut Random, step: u64) {
    let producer = random.below(4) as i64;
    if random.below(3) == 0 && log.has_open(producer) {
        return if random.below(2) == 0 { log.aborts(producer) } else { log.commits(producer) };
    }
    let keys = ["a", "b", "c", "d", "e"].map(|key| key.to_owned());
    let value = step.to_string();
    let records: Vec<(&str, Option<&str>)> = (0..=random.below(3))
        .map(|_| {
            let key = &keys[random.below(5) as usize];
            (key.as_str(), (random.below(5) > 0).then_some(value.as_str()))
        })
        .collect();
    log.write((producer > 0).then_some(producer), &records);
}

/// Compacts, and compares what consumers see before, meanwhile and after.
fn run(log: &mut Log, random: &mut Random, done: &mut Effects, context: &str) {
    let (extents, end) = (log.extents.clone(), log.end());
    let (records, markers, listed) = (log.records().len(), log.markers().len(), log.listed().len());
    let aborted = log.aborted();
    log.most = 100 + random.below(1_000);
    let memory = [FOUR_KEYS, 1 << 20][random.below(2) as usize];
    let lag = [("min.compaction.lag.ms", "300")];
    let settings: &[(&str, &str)] = if random.below(3) == 0 { &lag } else { &[] };
    log.compact_with(settings, memory);
    assert!(log.records().len() <= records && log.end() == end, "{context}");
    log.check(context);
    // A consumer may read the records of one log and the list of the other.
    let bases = log.batches().map(|(header, _)| header.base_offset);
    for from in bases.filter(|base| *base >= log.log_start) {
        for (records, lists) in [(&extents, &log.extents), (&log.extents, &extents)] {
            let seen = committed(records, lists, from, log.last_stable());
            log.check_seen(from.0, &seen, &format!("{context}, between two logs"));
        }
    }
    done.aborted_records += aborted - log.aborted();
    done.markers += markers - log.markers().len();
    done.listed += listed - log.listed().len();
}

/// Ends all transactions. After some runs nothing is left but the newest values.
fn finish(log: &mut Log, context: &str) {
    for producer in 1..4 {
        if log.has_open(producer) {
            log.aborts(producer);
        }
    }
    for _ in 0..3 {
        compact(log);
        log.now.0 += RETENTION;
        compact(log);
    }
    assert_eq!(log.aborted(), 0, "{context}");
    assert_eq!(log.listed(), [], "{context}");
    let values: Vec<KeptRecord> =
        log.committed(log.log_start.0).into_iter().filter(|(_, key, _)| key != "newest").collect();
    assert!(values.len() <= 5 && values.iter().all(|(.., value)| value.is_some()), "{context}: {values:?}");
}
