//! Checks a history: compares the answers that clients got with the content of the log at the end.
//!
//! A violation names a promise of `docs/promises.md` (H1 to H6, H10, H13 and H18), or one of these checks:
//!
//! - epoch: a partition's leader epoch does not go back
//! - admin: a value that an administrator raised (the number of partitions, a setting) is seen by all later
//!   requests
//!
//! The tests below check that each of them finds its planted fault.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use crate::value::Value;

/// A partition of the round's topics.
pub type Place = usize;

/// Values that only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Raised {
    /// The log start, moved by DeleteRecords.
    Start(Place),
    /// A partition's leader epoch, which no client requests.
    Epoch(Place),
    /// The number of partitions of a topic.
    Partitions,
    /// The value of a topic's setting.
    Setting,
}

/// The events in the order in which the clients saw them. A request counts as sent when it is noted, so
/// clients take notes before they send and after they get the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    Sent {
        value: Value,
        to: Place,
        idempotent: bool,
    },
    Acked {
        value: Value,
        at: Place,
        offset: i64,
    },
    /// The broker answered that the record was not written and will not be written.
    Refused {
        value: Value,
    },
    /// A reader got a record; `value` is `None` if no producer sent these bytes.
    Polled {
        reader: u32,
        at: Place,
        offset: i64,
        value: Option<Value>,
    },
    /// A reader starts again, so its next offset need not follow the last one.
    Positioned {
        reader: u32,
        at: Place,
    },
    Committing {
        at: Place,
        offset: i64,
    },
    Committed {
        at: Place,
        offset: i64,
    },
    AskedForCommit {
        at: Place,
    },
    FoundCommit {
        at: Place,
        offset: Option<i64>,
    },
    Raising {
        what: Raised,
        to: i64,
    },
    /// Acknowledged.
    Raised {
        what: Raised,
        to: i64,
    },
    AskedFor {
        what: Raised,
    },
    Found {
        what: Raised,
        value: i64,
    },
}

/// The content of every partition at the end: the offset, and the record if its bytes are as sent.
pub type Log = Vec<Vec<(i64, Option<Value>)>>;

#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub check: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

/// Whether leaders change during a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaders {
    Stay,
    /// From broker to broker: a producer that is not idempotent sends its next record to the new leader while
    /// it waits for the old one's answer. So one request at a time does not keep the order.
    Move,
}

pub fn check(history: &[Event], log: &Log, leaders: Leaders) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut violation = |check, what| found.push(Violation { check, what });
    acknowledged_and_shown(history, log, &mut violation);
    only_what_was_sent(history, log, &mut violation);
    once_and_in_order(history, log, leaders, &mut violation);
    one_record_per_offset(history, log, &mut violation);
    gap_free_reading(history, &mut violation);
    commits(history, &mut violation);
    raised(history, &mut violation);
    found
}

/// The highest log starts that were requested.
fn furthest_starts(history: &[Event]) -> HashMap<Place, i64> {
    let mut furthest: HashMap<Place, i64> = HashMap::new();
    for event in history {
        if let Event::Raising { what: Raised::Start(at), to } = event {
            let start = furthest.entry(*at).or_default();
            *start = (*start).max(*to);
        }
    }
    furthest
}

/// The records of a log by their offsets.
pub struct ByOffset(Vec<HashMap<i64, Option<Value>>>);

impl ByOffset {
    pub fn of(log: &Log) -> ByOffset {
        ByOffset(log.iter().map(|partition| partition.iter().copied().collect()).collect())
    }

    /// H1: an acknowledged record.
    pub fn must_have_acked(&self, value: Value, at: Place, offset: i64, violation: Violate<'_>) {
        let holds = self.0[at].get(&offset);
        if holds != Some(&Some(value)) {
            violation("H1", format!("{value:?} acked at {at}/{offset}, which holds {holds:?}"));
        }
    }

    /// H2: a record that a reader got.
    pub fn must_have_shown(&self, value: Option<Value>, at: Place, offset: i64, violation: Violate<'_>) {
        let holds = self.0[at].get(&offset);
        if holds != Some(&value) {
            violation("H2", format!("{value:?} shown at {at}/{offset}, which holds {holds:?}"));
        }
    }
}

/// Takes a check and what is wrong.
pub type Violate<'a> = &'a mut dyn FnMut(&'static str, String);

/// H1 and H2.
fn acknowledged_and_shown(history: &[Event], log: &Log, violation: &mut impl FnMut(&'static str, String)) {
    let there = ByOffset::of(log);
    let furthest = furthest_starts(history);
    // Below the highest requested log start a record may be missing, but not replaced.
    let may_be_gone = |at: &Place, offset: &i64| {
        furthest.get(at).is_some_and(|start| offset < start) && !there.0[*at].contains_key(offset)
    };
    for event in history {
        match event {
            Event::Acked { at, offset, .. } | Event::Polled { at, offset, .. } if may_be_gone(at, offset) => {
            }
            Event::Acked { value, at, offset } => there.must_have_acked(*value, *at, *offset, violation),
            Event::Polled { at, offset, value, .. } => {
                there.must_have_shown(*value, *at, *offset, violation);
            }
            _ => {}
        }
    }
}

/// H3.
fn only_what_was_sent(history: &[Event], log: &Log, violation: &mut impl FnMut(&'static str, String)) {
    let (mut sent, mut refused) = (HashMap::new(), HashSet::new());
    for event in history {
        match event {
            Event::Sent { value, to, .. } => {
                sent.insert(*value, *to);
            }
            Event::Refused { value } => {
                refused.insert(*value);
            }
            _ => {}
        }
    }
    for (at, partition) in log.iter().enumerate() {
        for (offset, holds) in partition {
            match holds {
                None => violation("H3", format!("nobody's bytes at {at}/{offset}")),
                Some(value) if sent.get(value) != Some(&at) => {
                    violation("H3", format!("{value:?} at {at}/{offset} was never sent there"));
                }
                Some(value) if refused.contains(value) => {
                    violation("H3", format!("{value:?} at {at}/{offset} was refused"));
                }
                Some(_) => {}
            }
        }
    }
}

/// H4 and H6. A producer that is not idempotent may leave duplicates when it retries. So only the order of
/// its acknowledged records counts, and only if leaders do not change.
fn once_and_in_order(
    history: &[Event],
    log: &Log,
    leaders: Leaders,
    violation: &mut impl FnMut(&'static str, String),
) {
    let idempotent: HashSet<u32> = history
        .iter()
        .filter_map(|event| match event {
            Event::Sent { value, idempotent: true, .. } => Some(value.producer),
            _ => None,
        })
        .collect();
    let mut seen = HashSet::new();
    for (at, partition) in log.iter().enumerate() {
        let mut last: HashMap<u32, u32> = HashMap::new();
        for (offset, holds) in partition {
            let Some(value) = holds else { continue };
            if !idempotent.contains(&value.producer) {
                continue;
            }
            if !seen.insert(*value) {
                violation("H4", format!("{value:?} stands at {at}/{offset} once more"));
                continue;
            }
            if let Some(before) = last.insert(value.producer, value.seq)
                && before > value.seq
            {
                violation("H6", format!("{value:?} at {at}/{offset} stands behind its number {before}"));
            }
        }
    }
    let mut acked: BTreeMap<(Place, u32), Vec<(u32, i64)>> = BTreeMap::new();
    for event in history {
        if let Event::Acked { value, at, offset } = event {
            acked.entry((*at, value.producer)).or_default().push((value.seq, *offset));
        }
    }
    let counts = |producer| leaders == Leaders::Stay || idempotent.contains(&producer);
    for ((at, producer), mut records) in acked {
        if !counts(producer) {
            continue;
        }
        records.sort_unstable();
        for pair in records.windows(2) {
            if pair[0].1 >= pair[1].1 {
                violation("H6", format!("producer {producer} at {at}: {:?} before {:?}", pair[0], pair[1]));
            }
        }
    }
}

/// H5.
fn one_record_per_offset(history: &[Event], log: &Log, violation: &mut impl FnMut(&'static str, String)) {
    let mut values: HashMap<(Place, i64), Option<Value>> = HashMap::new();
    let mut note = |at: Place, offset: i64, value: Option<Value>| {
        let before = *values.entry((at, offset)).or_insert(value);
        if before != value {
            violation("H5", format!("{at}/{offset} is told to hold {before:?} and {value:?}"));
        }
    };
    for event in history {
        match event {
            Event::Acked { value, at, offset } => note(*at, *offset, Some(*value)),
            Event::Polled { at, offset, value, .. } => note(*at, *offset, *value),
            _ => {}
        }
    }
    for (at, partition) in log.iter().enumerate() {
        for pair in partition.windows(2) {
            if pair[0].0 >= pair[1].0 {
                violation("H5", format!("{at}/{} is read after {at}/{}", pair[1].0, pair[0].0));
            }
        }
    }
}

/// H10. Nothing is compacted, expired or transactional here, so there are no gaps between offsets.
fn gap_free_reading(history: &[Event], violation: &mut impl FnMut(&'static str, String)) {
    let mut next: HashMap<(u32, Place), i64> = HashMap::new();
    for event in history {
        match event {
            Event::Positioned { reader, at } => {
                next.remove(&(*reader, *at));
            }
            Event::Polled { reader, at, offset, .. } => {
                if let Some(expected) = next.insert((*reader, *at), offset + 1)
                    && expected != *offset
                {
                    violation("H10", format!("reader {reader} at {at} got {offset} instead of {expected}"));
                }
            }
            _ => {}
        }
    }
}

/// H18 and admin. The value in an answer is at least the highest one acknowledged before the question, and at
/// most the highest one requested before the answer.
fn raised(history: &[Event], violation: &mut impl FnMut(&'static str, String)) {
    let mut asked: HashMap<Raised, i64> = HashMap::new();
    let mut acked: HashMap<Raised, i64> = HashMap::new();
    let mut floor: HashMap<Raised, i64> = HashMap::new();
    for event in history {
        match event {
            Event::Raising { what, to } => {
                let most = asked.entry(*what).or_insert(*to);
                *most = (*most).max(*to);
            }
            Event::Raised { what, to } => {
                let most = acked.entry(*what).or_insert(*to);
                *most = (*most).max(*to);
            }
            Event::AskedFor { what } => {
                floor.insert(*what, acked.get(what).copied().unwrap_or(0));
            }
            Event::Found { what, value } => {
                let check = match what {
                    Raised::Start(_) => "H18",
                    Raised::Epoch(_) => "epoch",
                    Raised::Partitions | Raised::Setting => "admin",
                };
                let at_least = floor.get(what).copied().unwrap_or(0);
                if *value < at_least {
                    violation(check, format!("{what:?} went back from {at_least} to {value}"));
                }
                let at_most = asked.get(what).copied().unwrap_or(0);
                if *value > at_most && check != "epoch" {
                    violation(
                        check,
                        format!("{what:?} is {value}, and nobody asked for more than {at_most}"),
                    );
                }
                // From now on other clients must see at least this value.
                let most = acked.entry(*what).or_insert(*value);
                *most = (*most).max(*value);
            }
            _ => {}
        }
    }
}

/// H13. One member commits rising offsets. So the offset in an answer is between the last commit acknowledged
/// before the question and the last commit sent before the answer.
fn commits(history: &[Event], violation: &mut impl FnMut(&'static str, String)) {
    let mut sent: HashMap<Place, i64> = HashMap::new();
    let mut acked: HashMap<Place, i64> = HashMap::new();
    let mut floor: HashMap<Place, Option<i64>> = HashMap::new();
    for event in history {
        match event {
            Event::Committing { at, offset } => {
                let most = sent.entry(*at).or_insert(*offset);
                *most = (*most).max(*offset);
            }
            Event::Committed { at, offset } => {
                let most = acked.entry(*at).or_insert(*offset);
                *most = (*most).max(*offset);
            }
            Event::AskedForCommit { at } => {
                floor.insert(*at, acked.get(at).copied());
            }
            Event::FoundCommit { at, offset } => {
                let at_least = floor.get(at).copied().flatten();
                if *offset < at_least {
                    violation("H13", format!("commit of {at} went back from {at_least:?} to {offset:?}"));
                }
                if *offset > sent.get(at).copied() {
                    violation("H13", format!("nobody committed {offset:?} for {at}"));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod planted {
    use super::*;

    /// A correct history: two producers, one of them idempotent, a reader, a group; and the log at its end.
    fn healthy() -> (Vec<Event>, Log) {
        let mut history = Vec::new();
        let mut log: Log = vec![Vec::new(), Vec::new()];
        for seq in 0..10 {
            for (producer, idempotent) in [(1, true), (2, false)] {
                let (value, to) = (Value { producer, seq }, (seq % 2) as usize);
                let offset = log[to].len() as i64;
                history.push(Event::Sent { value, to, idempotent });
                log[to].push((offset, Some(value)));
                history.push(Event::Acked { value, at: to, offset });
                history.push(Event::Polled { reader: 7, at: to, offset, value: Some(value) });
            }
        }
        for offset in [2, 4] {
            history.push(Event::Committing { at: 0, offset });
            history.push(Event::Committed { at: 0, offset });
            history.push(Event::AskedForCommit { at: 0 });
            history.push(Event::FoundCommit { at: 0, offset: Some(offset) });
        }
        (history, log)
    }

    /// The checks that report a violation in a history.
    fn found(history: &[Event], log: &Log) -> Vec<&'static str> {
        found_where(Leaders::Stay, history, log)
    }

    fn found_where(leaders: Leaders, history: &[Event], log: &Log) -> Vec<&'static str> {
        let mut checks: Vec<_> =
            check(history, log, leaders).iter().map(|violation| violation.check).collect();
        checks.sort_unstable();
        checks.dedup();
        checks
    }

    fn value(producer: u32, seq: u32) -> Value {
        Value { producer, seq }
    }

    #[test]
    fn a_healthy_history_is_left_alone() {
        let (history, log) = healthy();
        assert_eq!(found(&history, &log), [""; 0]);
    }

    #[test]
    fn h1_a_lost_acknowledged_record_is_found() {
        let (mut history, mut log) = healthy();
        let lost = log[1].pop().unwrap();
        history.retain(|event| !matches!(event, Event::Polled { at: 1, offset, .. } if *offset == lost.0));
        assert_eq!(found(&history, &log), ["H1"]);
    }

    #[test]
    fn h1_an_acknowledged_record_at_another_offset_is_found() {
        let (mut history, log) = healthy();
        history.push(Event::Acked { value: value(2, 8), at: 0, offset: 99 });
        assert!(found(&history, &log).contains(&"H1"));
    }

    #[test]
    fn h1_an_acknowledged_record_with_other_bytes_is_found() {
        let (history, mut log) = healthy();
        log[0][3].1 = None;
        assert_eq!(found(&history, &log), ["H1", "H2", "H3"]);
    }

    #[test]
    fn h2_a_record_that_was_shown_and_is_gone_is_found() {
        let (mut history, log) = healthy();
        history.push(Event::Sent { value: value(2, 50), to: 0, idempotent: false });
        history.push(Event::Polled { reader: 7, at: 0, offset: 10, value: Some(value(2, 50)) });
        assert_eq!(found(&history, &log), ["H2"]);
    }

    #[test]
    fn h3_a_record_that_no_client_sent_is_found() {
        let (history, mut log) = healthy();
        log[0].push((10, Some(value(9, 0))));
        assert_eq!(found(&history, &log), ["H3"]);
    }

    #[test]
    fn h3_a_record_in_another_partition_than_it_was_sent_to_is_found() {
        let (mut history, mut log) = healthy();
        history.push(Event::Sent { value: value(2, 50), to: 1, idempotent: false });
        log[0].push((10, Some(value(2, 50))));
        assert_eq!(found(&history, &log), ["H3"]);
    }

    #[test]
    fn h3_a_record_that_was_refused_is_found() {
        let (mut history, mut log) = healthy();
        history.push(Event::Sent { value: value(1, 50), to: 0, idempotent: true });
        history.push(Event::Refused { value: value(1, 50) });
        assert_eq!(found(&history, &log), [""; 0]);
        log[0].push((10, Some(value(1, 50))));
        assert_eq!(found(&history, &log), ["H3"]);
    }

    #[test]
    fn h4_a_duplicate_of_an_idempotent_producer_is_found_and_of_another_allowed() {
        let (history, mut log) = healthy();
        log[0].push((10, Some(value(2, 8))));
        assert_eq!(found(&history, &log), [""; 0]);
        log[0].push((11, Some(value(1, 8))));
        assert_eq!(found(&history, &log), ["H4"]);
    }

    #[test]
    fn h5_two_records_at_one_offset_are_found() {
        let (mut history, mut log) = healthy();
        // The reader got one record at this offset and later, after a crash, another one.
        history.push(Event::Sent { value: value(2, 50), to: 0, idempotent: false });
        history.push(Event::Sent { value: value(2, 51), to: 0, idempotent: false });
        history.push(Event::Polled { reader: 7, at: 0, offset: 10, value: Some(value(2, 50)) });
        history.push(Event::Positioned { reader: 7, at: 0 });
        history.push(Event::Polled { reader: 7, at: 0, offset: 10, value: Some(value(2, 51)) });
        log[0].push((10, Some(value(2, 51))));
        assert_eq!(found(&history, &log), ["H2", "H5"]);
    }

    #[test]
    fn h5_an_offset_that_is_read_twice_is_found() {
        let (history, mut log) = healthy();
        let again = log[0][9];
        log[0].push(again);
        assert!(found(&history, &log).contains(&"H5"));
    }

    #[test]
    fn h6_records_out_of_order_are_found() {
        let (mut history, mut log) = healthy();
        for seq in [50, 51] {
            history.push(Event::Sent { value: value(1, seq), to: 0, idempotent: true });
        }
        log[0].push((10, Some(value(1, 51))));
        log[0].push((11, Some(value(1, 50))));
        assert_eq!(found(&history, &log), ["H6"]);
    }

    #[test]
    fn h6_acknowledged_records_of_a_plain_producer_out_of_order_are_found() {
        let (mut history, mut log) = healthy();
        for (seq, offset) in [(50, 11), (51, 10)] {
            history.push(Event::Sent { value: value(2, seq), to: 0, idempotent: false });
            history.push(Event::Acked { value: value(2, seq), at: 0, offset });
        }
        log[0].push((10, Some(value(2, 51))));
        log[0].push((11, Some(value(2, 50))));
        assert_eq!(found(&history, &log), ["H6"]);
        assert_eq!(found_where(Leaders::Move, &history, &log), [""; 0]);
    }

    #[test]
    fn h6_acknowledged_records_of_an_idempotent_producer_are_in_order_wherever_leaders_move() {
        let (mut history, mut log) = healthy();
        for (seq, offset) in [(50, 11), (51, 10)] {
            history.push(Event::Sent { value: value(1, seq), to: 0, idempotent: true });
            history.push(Event::Acked { value: value(1, seq), at: 0, offset });
        }
        log[0].push((10, Some(value(1, 51))));
        log[0].push((11, Some(value(1, 50))));
        assert_eq!(found_where(Leaders::Move, &history, &log), ["H6"]);
    }

    #[test]
    fn h10_a_record_left_out_by_a_reader_is_found_and_a_new_position_allowed() {
        let (mut history, log) = healthy();
        let polled =
            |offset: i64| Event::Polled { reader: 7, at: 0, offset, value: log[0][offset as usize].1 };
        history.push(Event::Positioned { reader: 7, at: 0 });
        history.push(polled(3));
        assert_eq!(found(&history, &log), [""; 0]);
        history.push(polled(5));
        assert_eq!(found(&history, &log), ["H10"]);
    }

    /// The records before offset 4 were deleted, with an acknowledgement.
    fn shortened() -> (Vec<Event>, Log) {
        let (mut history, mut log) = healthy();
        let what = Raised::Start(0);
        history.push(Event::Raising { what, to: 4 });
        history.push(Event::Raised { what, to: 4 });
        history.push(Event::AskedFor { what });
        history.push(Event::Found { what, value: 4 });
        log[0].drain(..4);
        (history, log)
    }

    #[test]
    fn h18_records_that_were_deleted_may_be_gone_and_no_others() {
        let (mut history, mut log) = shortened();
        assert_eq!(found(&history, &log), [""; 0]);
        log[0].remove(0);
        assert_eq!(found(&history, &log), ["H1", "H2"]);
        // A deletion without an answer may have happened.
        history.push(Event::Raising { what: Raised::Start(0), to: 6 });
        assert_eq!(found(&history, &log), [""; 0]);
    }

    #[test]
    fn h18_a_start_that_went_back_or_further_than_asked_is_found() {
        let (mut history, log) = shortened();
        let what = Raised::Start(0);
        history.extend([Event::AskedFor { what }, Event::Found { what, value: 3 }]);
        assert_eq!(found(&history, &log), ["H18"]);
        let (mut history, log) = shortened();
        history.extend([Event::AskedFor { what }, Event::Found { what, value: 5 }]);
        assert_eq!(found(&history, &log), ["H18"]);
    }

    #[test]
    fn a_lost_change_of_an_administrator_is_found_and_an_unanswered_one_allowed() {
        let (mut history, log) = healthy();
        let what = Raised::Partitions;
        history.extend([Event::Raising { what, to: 3 }, Event::Raised { what, to: 3 }]);
        history.extend([Event::Raising { what, to: 4 }, Event::AskedFor { what }]);
        for value in [3, 4] {
            history.push(Event::Found { what, value });
            assert_eq!(found(&history, &log), [""; 0]);
        }
        history.extend([Event::AskedFor { what }, Event::Found { what, value: 3 }]);
        assert_eq!(found(&history, &log), ["admin"], "it was shown");
    }

    #[test]
    fn a_leader_epoch_that_went_back_is_found_and_one_that_rose_by_itself_allowed() {
        let (mut history, log) = healthy();
        let what = Raised::Epoch(0);
        for value in [0, 2, 2, 5] {
            history.extend([Event::AskedFor { what }, Event::Found { what, value }]);
        }
        assert_eq!(found(&history, &log), [""; 0]);
        history.extend([Event::AskedFor { what }, Event::Found { what, value: 4 }]);
        assert_eq!(found(&history, &log), ["epoch"]);
    }

    #[test]
    fn h13_a_commit_that_went_back_is_found() {
        let (mut history, log) = healthy();
        history.push(Event::AskedForCommit { at: 0 });
        history.push(Event::FoundCommit { at: 0, offset: Some(3) });
        assert_eq!(found(&history, &log), ["H13"]);
    }

    #[test]
    fn h13_a_commit_that_is_gone_is_found() {
        let (mut history, log) = healthy();
        history.push(Event::AskedForCommit { at: 0 });
        history.push(Event::FoundCommit { at: 0, offset: None });
        assert_eq!(found(&history, &log), ["H13"]);
    }

    #[test]
    fn h13_a_commit_that_no_client_made_is_found_and_an_unanswered_one_allowed() {
        let (mut history, log) = healthy();
        history.push(Event::Committing { at: 0, offset: 8 });
        history.push(Event::AskedForCommit { at: 0 });
        history.push(Event::FoundCommit { at: 0, offset: Some(8) });
        assert_eq!(found(&history, &log), [""; 0]);
        history.push(Event::FoundCommit { at: 0, offset: Some(9) });
        assert_eq!(found(&history, &log), ["H13"]);
    }
}
