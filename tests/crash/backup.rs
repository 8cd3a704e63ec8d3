//! Copies of the data directory while the real process is under load. `jackdaw backup` always gives one that opens and has
//! every record that was acknowledged before it began. `cp -r` gives such a one, or one that is refused.
//!
//! Each round makes three; `CRASH_SEED` and `CRASH_MINUTES` choose the rounds as in the other tests.

use crate::checker::{Log, Place};
use crate::child::{Home, Running};
use crate::load::{Load, SHRINKING, read_everything};
use crate::value::{Random, Value};
use crate::{DEADLINE, rounds};

const COPIES: usize = 3;

#[test]
fn a_backup_under_load_opens_and_has_every_record_that_was_acknowledged_before_it_began() {
    rounds(|seed| {
        copies_under_load(seed, Home::becomes_a_backup_of, |copy, acknowledged| {
            copy.verifies();
            serves(copy, acknowledged);
        });
    });
}

#[test]
fn a_plain_copy_under_load_opens_with_everything_or_is_refused_by_name() {
    rounds(|seed| {
        let mut refused = 0;
        copies_under_load(seed, Home::becomes_a_copy_of, |copy, acknowledged| {
            let verdict = copy.verdict();
            if verdict.status.success() {
                return serves(copy, acknowledged);
            }
            let said = [verdict.stdout, verdict.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.contains(&*copy.data().to_string_lossy()), "the refusal names the file: {said}");
            refused += 1;
        });
        println!("seed {seed}: {refused} of {COPIES} plain copies were refused");
    });
}

/// Makes copies at random moments of a load. Each one is checked, with the records that were acknowledged before it began,
/// after the load has ended.
fn copies_under_load(
    seed: u64,
    make: fn(&Home, &Home),
    mut check: impl FnMut(&Home, &[(Value, Place, i64)]),
) {
    let mut random = Random::new(seed);
    for _ in 0..COPIES {
        let (source, copy) = (Home::of_one(), Home::of_one());
        let running: Running = source.start().ready(DEADLINE);
        let load = Load::start(running.addresses(), seed);
        load.history.wait_for_acks(1 + random.below(2_000), DEADLINE);
        let acknowledged = load.history.acknowledged();
        make(&copy, &source);
        load.stop(DEADLINE);
        running.stops_cleanly(DEADLINE);
        check(&copy, &acknowledged);
    }
}

/// A broker on the copy has all of these records.
fn serves(copy: &Home, acknowledged: &[(Value, Place, i64)]) {
    let running = copy.start().ready(DEADLINE);
    has_all_of(acknowledged, &read_everything(running.addresses(), DEADLINE));
    running.stops_cleanly(DEADLINE);
}

fn has_all_of(acknowledged: &[(Value, Place, i64)], log: &Log) {
    for (value, at, offset) in acknowledged {
        let records = &log[*at];
        let is_deleted = *at == SHRINKING && records.first().is_none_or(|(first, _)| offset < first);
        if is_deleted {
            continue;
        }
        let found = records.binary_search_by_key(offset, |(offset, _)| *offset).map(|found| records[found].1);
        assert_eq!(found, Ok(Some(*value)), "partition {at}, offset {offset}");
    }
}
