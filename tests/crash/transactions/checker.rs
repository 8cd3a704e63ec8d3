//! Checks a history of transactions: compares the answers that clients got with the content of the log at the
//! end. A violation names a promise of `docs/promises.md`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::checker::{ByOffset, Log, Place, Violate, Violation};
use crate::value::Value;

/// One transaction of a client, which numbers its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transaction {
    pub client: u32,
    pub number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Commit,
    Abort,
}

/// Producer id and epoch of a transactional id. Later ones are higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub producer: i64,
    pub epoch: i16,
}

/// The events in the order in which the clients saw them. Clients take notes before they send a request and
/// after they get its answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A record of a transaction. The amounts of a transaction add up to zero. A pipeline sends the record
    /// `from` its input on to its output.
    Sent {
        transaction: Transaction,
        value: Value,
        to: Place,
        amount: i64,
        from: Option<Value>,
    },
    Acked {
        value: Value,
        at: Place,
        offset: i64,
    },
    /// A group commits an offset in a transaction. Each group has one client, whose number is its name.
    Staged {
        transaction: Transaction,
        at: Place,
        offset: i64,
    },
    Ending {
        transaction: Transaction,
        end: End,
    },
    /// Acknowledged.
    Ended {
        transaction: Transaction,
        end: End,
    },
    /// The client has a new identity, so the transaction is over, one way or the other.
    Over {
        transaction: Transaction,
    },
    /// The answer to InitProducerId.
    Took {
        client: u32,
        identity: Identity,
    },
    /// A client acts with an identity, which another one may have replaced.
    Acting {
        client: u32,
        identity: Identity,
        request: u64,
    },
    Acted {
        request: u64,
    },
    /// A reader begins to read every partition up to its last stable offset.
    Pass {
        reader: u32,
    },
    Looking {
        reader: u32,
        at: Place,
    },
    /// The last stable offset and the high watermark.
    Looked {
        reader: u32,
        at: Place,
        stable: i64,
        high: i64,
    },
    /// A read_committed reader got a record.
    Polled {
        reader: u32,
        at: Place,
        offset: i64,
        value: Option<Value>,
    },
    /// The next record of the reader need not follow its last one.
    Positioned {
        reader: u32,
        at: Place,
    },
    AskedForOffset {
        group: u32,
        at: Place,
    },
    FoundOffset {
        group: u32,
        at: Place,
        offset: Option<i64>,
    },
}

/// All records at the end: those that read_committed shows, and those of aborted transactions too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    pub committed: Log,
    pub all: Log,
}

/// When the markers of a transaction are in its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markers {
    /// Before the end is acknowledged, and in all partitions at once.
    AtOnce,
    /// At any time after, as in Apache Kafka.
    Later,
}

/// The client that copies the records of [`Setting::input`], each exactly once.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    pub markers: Markers,
    pub pipeline: u32,
    pub input: &'a [Place],
}

pub fn check(history: &[Event], truth: &Truth, setting: Setting<'_>) -> Vec<Violation> {
    let known = KnownHistory::of(history, truth);
    let mut found = Vec::new();
    let mut violation = |check, what| found.push(Violation { check, what });
    only_what_was_sent(&known, truth, &mut violation);
    acknowledged_and_shown(history, truth, &mut violation);
    all_or_nothing(&known, &mut violation);
    offsets_with_their_records(history, &known, &mut violation);
    nothing_dirty(history, &known, &mut violation);
    gap_free_reading(history, truth, &mut violation);
    exactly_once(history, &known, truth, setting, &mut violation);
    fenced(history, &mut violation);
    money(&known, truth, &mut violation);
    if setting.markers == Markers::AtOnce {
        both_legs(history, &known, &mut violation);
        nothing_stuck(history, &known, &mut violation);
    }
    found
}

/// One record, as its client sent it.
#[derive(Clone, Copy)]
struct Sent {
    transaction: Transaction,
    to: Place,
    amount: i64,
    from: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    Aborted,
    /// A commit was requested, and the client never got to know its outcome.
    Unknown,
}

/// The history and the truth, arranged for look-ups.
#[derive(Default)]
struct KnownHistory {
    sent: HashMap<Value, Sent>,
    values: BTreeMap<Transaction, Vec<Value>>,
    outcomes: HashMap<Transaction, Outcome>,
    /// The position of the event from which a transaction is over.
    over: HashMap<Transaction, usize>,
    /// Committed records.
    stands: HashMap<Value, (Place, i64)>,
    /// Every record.
    holds: HashMap<(Place, i64), Value>,
}

impl KnownHistory {
    fn of(history: &[Event], truth: &Truth) -> KnownHistory {
        let mut known = KnownHistory::default();
        for (nth, event) in history.iter().enumerate() {
            known.note(nth, *event);
        }
        for (at, offset, value) in records(&truth.committed) {
            known.stands.insert(value, (at, offset));
        }
        known.holds = records(&truth.all).map(|(at, offset, value)| ((at, offset), value)).collect();
        known
    }

    fn note(&mut self, nth: usize, event: Event) {
        match event {
            Event::Sent { transaction, value, to, amount, from } => {
                self.sent.insert(value, Sent { transaction, to, amount, from });
                self.values.entry(transaction).or_default().push(value);
            }
            Event::Ending { transaction, end: End::Commit } => {
                self.outcomes.insert(transaction, Outcome::Unknown);
            }
            Event::Ended { transaction, end } => {
                let outcome = match end {
                    End::Commit => Outcome::Committed,
                    End::Abort => Outcome::Aborted,
                };
                self.outcomes.insert(transaction, outcome);
                self.over.entry(transaction).or_insert(nth);
            }
            Event::Over { transaction } => {
                self.over.entry(transaction).or_insert(nth);
            }
            _ => {}
        }
    }

    /// A transaction that nobody tried to commit is aborted.
    fn outcome(&self, transaction: Transaction) -> Outcome {
        self.outcomes.get(&transaction).copied().unwrap_or(Outcome::Aborted)
    }

    /// Whether records of the transaction are committed.
    fn is_committed(&self, transaction: Transaction) -> bool {
        let values = self.values.get(&transaction);
        values.is_some_and(|values| values.iter().any(|value| self.stands.contains_key(value)))
    }
}

/// The records that a client may have sent, with their places.
fn records(log: &Log) -> impl Iterator<Item = (Place, i64, Value)> {
    let partitions = log.iter().enumerate();
    partitions.flat_map(|(at, partition)| {
        partition.iter().filter_map(move |(offset, value)| Some((at, *offset, (*value)?)))
    })
}

/// H3 and H4.
fn only_what_was_sent(known: &KnownHistory, truth: &Truth, violation: Violate<'_>) {
    for (at, partition) in truth.all.iter().enumerate() {
        for (offset, _) in partition.iter().filter(|(_, value)| value.is_none()) {
            violation("H3", format!("nobody's bytes at {at}/{offset}"));
        }
    }
    let mut seen = HashSet::new();
    for (at, offset, value) in records(&truth.all) {
        if known.sent.get(&value).is_none_or(|sent| sent.to != at) {
            violation("H3", format!("{value:?} at {at}/{offset} was never sent there"));
        }
        if !seen.insert(value) {
            violation("H4", format!("{value:?} is at {at}/{offset} once more"));
        }
    }
    for (at, offset, value) in records(&truth.committed) {
        if known.holds.get(&(at, offset)) != Some(&value) {
            violation("H2", format!("{value:?} at {at}/{offset} is only shown to read_committed"));
        }
    }
}

/// H1 and H2.
fn acknowledged_and_shown(history: &[Event], truth: &Truth, violation: Violate<'_>) {
    let (all, committed) = (ByOffset::of(&truth.all), ByOffset::of(&truth.committed));
    for event in history {
        match event {
            Event::Acked { value, at, offset } => all.must_have_acked(*value, *at, *offset, violation),
            Event::Polled { at, offset, value, .. } => {
                committed.must_have_shown(*value, *at, *offset, violation);
            }
            _ => {}
        }
    }
}

/// H11 for records.
fn all_or_nothing(known: &KnownHistory, violation: Violate<'_>) {
    for (transaction, values) in &known.values {
        let there = values.iter().filter(|value| known.stands.contains_key(value)).count();
        let outcome = known.outcome(*transaction);
        let is_right = match outcome {
            Outcome::Committed => there == values.len(),
            Outcome::Aborted => there == 0,
            Outcome::Unknown => there == 0 || there == values.len(),
        };
        if !is_right {
            let all = values.len();
            violation("H11", format!("{transaction:?}, {outcome:?}: {there} of {all} records are committed"));
        }
    }
}

/// H11 for offsets. The offset of an answer is the last one of a committed transaction: one that may have been
/// committed by then, and not one before the last that was acknowledged when the question was sent.
fn offsets_with_their_records(history: &[Event], known: &KnownHistory, violation: Violate<'_>) {
    type Staged = BTreeMap<i64, Transaction>;
    let mut staged: HashMap<(u32, Place), Staged> = HashMap::new();
    let mut ending: HashSet<Transaction> = HashSet::new();
    let mut ended: HashSet<Transaction> = HashSet::new();
    let mut floors: HashMap<(u32, Place), Option<i64>> = HashMap::new();
    let last = |staged: Option<&Staged>, among: &HashSet<Transaction>| {
        let mut found = staged?.iter().rev();
        found.find(|(_, transaction)| among.contains(transaction)).map(|(offset, _)| *offset)
    };
    for event in history {
        match event {
            Event::Staged { transaction, at, offset } => {
                staged.entry((transaction.client, *at)).or_default().insert(*offset, *transaction);
            }
            Event::Ending { transaction, end: End::Commit } => {
                ending.insert(*transaction);
            }
            Event::Ended { transaction, end: End::Commit } => {
                ended.insert(*transaction);
            }
            Event::AskedForOffset { group, at } => {
                floors.insert((*group, *at), last(staged.get(&(*group, *at)), &ended));
            }
            Event::FoundOffset { group, at, offset } => {
                let staged = staged.get(&(*group, *at));
                let floor = floors.get(&(*group, *at)).copied().flatten();
                if *offset < floor {
                    violation(
                        "H11",
                        format!("group {group} at {at}: {offset:?}, after {floor:?} was committed"),
                    );
                }
                let Some(offset) = offset else { continue };
                let by = staged.and_then(|staged| staged.get(offset));
                let is_committed = by.is_some_and(|by| ending.contains(by) && known.is_committed(*by));
                if !is_committed {
                    violation("H11", format!("group {group} at {at}: {offset} of {by:?}, not committed"));
                }
            }
            _ => {}
        }
    }
}

/// H12. No record is shown before its client has asked to commit it.
fn nothing_dirty(history: &[Event], known: &KnownHistory, violation: Violate<'_>) {
    let mut ending: HashSet<Transaction> = HashSet::new();
    for event in history {
        match event {
            Event::Ending { transaction, end: End::Commit } => {
                ending.insert(*transaction);
            }
            Event::Polled { at, offset, value: Some(value), .. } => {
                let by = known.sent.get(value).map(|sent| sent.transaction);
                if by.is_some_and(|by| !ending.contains(&by)) {
                    violation("H12", format!("{value:?} of {by:?} shown at {at}/{offset} before its commit"));
                }
            }
            _ => {}
        }
    }
}

/// H10. Between two records that a reader got there is no other committed one.
fn gap_free_reading(history: &[Event], truth: &Truth, violation: Violate<'_>) {
    let offsets: Vec<Vec<i64>> = truth
        .committed
        .iter()
        .map(|partition| partition.iter().map(|(offset, _)| *offset).collect())
        .collect();
    let mut next: HashMap<(u32, Place), usize> = HashMap::new();
    for event in history {
        match event {
            Event::Positioned { reader, at } => {
                next.remove(&(*reader, *at));
            }
            Event::Polled { reader, at, offset, .. } => {
                // H2 reports an offset that is not there.
                let Ok(nth) = offsets[*at].binary_search(offset) else { continue };
                if let Some(expected) = next.insert((*reader, *at), nth + 1)
                    && expected != nth
                {
                    let expected = offsets[*at].get(expected);
                    violation("H10", format!("reader {reader} at {at} got {offset} instead of {expected:?}"));
                }
            }
            _ => {}
        }
    }
}

/// H14. The group's offset says how far the input was copied: below it every record has one copy, and above it
/// none has.
fn exactly_once(
    history: &[Event],
    known: &KnownHistory,
    truth: &Truth,
    setting: Setting<'_>,
    violation: Violate<'_>,
) {
    let mut copies: HashMap<Value, usize> = HashMap::new();
    for value in known.stands.keys() {
        if let Some(from) = known.sent.get(value).and_then(|sent| sent.from) {
            *copies.entry(from).or_default() += 1;
        }
    }
    for at in setting.input {
        let done = history.iter().rev().find_map(|event| match event {
            Event::FoundOffset { group, at: found, offset } if (group, found) == (&setting.pipeline, at) => {
                Some(offset.unwrap_or(0))
            }
            _ => None,
        });
        for (offset, value) in &truth.committed[*at] {
            let Some(value) = value else { continue };
            let expected = usize::from(*offset < done.unwrap_or(0));
            let found = copies.remove(value).unwrap_or(0);
            if found != expected {
                violation("H14", format!("{value:?} at {at}/{offset}: {found} copies, not {expected}"));
            }
        }
    }
    for (value, times) in copies {
        violation("H14", format!("{times} copies of {value:?}, which is not committed"));
    }
}

/// H16. A request with an identity that was already replaced when it was sent is not acknowledged.
fn fenced(history: &[Event], violation: Violate<'_>) {
    let mut newest: HashMap<u32, Identity> = HashMap::new();
    let mut zombies: HashMap<u64, (u32, Identity, Identity)> = HashMap::new();
    for event in history {
        match event {
            Event::Took { client, identity } => {
                if let Some(before) = newest.insert(*client, *identity)
                    && before >= *identity
                {
                    violation("H16", format!("client {client} got {identity:?} after {before:?}"));
                }
            }
            Event::Acting { client, identity, request } => {
                if let Some(newer) = newest.get(client).filter(|newer| *newer > identity) {
                    zombies.insert(*request, (*client, *identity, *newer));
                }
            }
            Event::Acted { request } => {
                if let Some((client, identity, newer)) = zombies.get(request) {
                    violation("H16", format!("client {client} acted as {identity:?} after {newer:?}"));
                }
            }
            _ => {}
        }
    }
}

/// H21 at the end: the committed amounts add up to zero.
fn money(known: &KnownHistory, truth: &Truth, violation: Violate<'_>) {
    let amounts = records(&truth.committed).filter_map(|(_, _, value)| known.sent.get(&value));
    let sum: i64 = amounts.map(|sent| sent.amount).sum();
    if sum != 0 {
        violation("H21", format!("the committed amounts add up to {sum}"));
    }
}

/// H21 of every pass: a reader that got one record of a transaction before a pass has all of them after it. A
/// record may only be missing if another open transaction holds its partition back.
fn both_legs(history: &[Event], known: &KnownHistory, violation: Violate<'_>) {
    let mut readers: BTreeMap<u32, Seen> = BTreeMap::new();
    for (nth, event) in history.iter().enumerate() {
        match event {
            Event::Pass { reader } => {
                let seen = readers.entry(*reader).or_default();
                seen.end_of_pass(known, violation);
                seen.begin();
            }
            Event::Looking { reader, at } => {
                readers.entry(*reader).or_default().asked.insert(*at, nth);
            }
            Event::Looked { reader, at, stable, .. } => {
                readers.entry(*reader).or_default().stable.insert(*at, *stable);
            }
            Event::Polled { reader, value: Some(value), .. } => {
                if let Some(seen) = readers.get_mut(reader)
                    && let Some(sent) = known.sent.get(value)
                {
                    seen.missing(known, sent.transaction).remove(value);
                }
            }
            _ => {}
        }
    }
}

/// The knowledge of a reader. The last pass of a history may be cut off, so only the next one ends it.
#[derive(Default)]
struct Seen {
    /// The records that are still missing of the transactions that were seen, before this pass and in it.
    before: BTreeMap<Transaction, BTreeSet<Value>>,
    now: BTreeMap<Transaction, BTreeSet<Value>>,
    asked: HashMap<Place, usize>,
    stable: HashMap<Place, i64>,
}

impl Seen {
    fn missing(&mut self, known: &KnownHistory, transaction: Transaction) -> &mut BTreeSet<Value> {
        if self.before.contains_key(&transaction) {
            return self.before.entry(transaction).or_default();
        }
        let all = || known.values[&transaction].iter().copied().collect();
        self.now.entry(transaction).or_insert_with(all)
    }

    fn begin(&mut self) {
        self.before.append(&mut self.now);
        self.before.retain(|_, missing| !missing.is_empty());
        self.asked.clear();
        self.stable.clear();
    }

    fn end_of_pass(&self, known: &KnownHistory, violation: Violate<'_>) {
        for (transaction, missing) in &self.before {
            for value in missing {
                if !self.is_held_back(known, *transaction, *value) {
                    let stands = known.stands.get(value);
                    violation("H21", format!("{value:?} of {transaction:?} at {stands:?} was not shown"));
                }
            }
        }
    }

    fn is_held_back(&self, known: &KnownHistory, transaction: Transaction, value: Value) -> bool {
        let Some((at, offset)) = known.stands.get(&value) else { return false };
        // Without an answer about the partition, nothing is known.
        let (Some(stable), Some(asked)) = (self.stable.get(at), self.asked.get(at)) else { return true };
        let by = known.holds.get(&(*at, *stable)).map(|value| known.sent[value].transaction);
        let is_open = |by| by != transaction && known.over.get(&by).is_none_or(|over| over > asked);
        stable <= offset && by.is_some_and(is_open)
    }
}

/// H22. A last stable offset below the high watermark is the first record of a transaction that is not over.
fn nothing_stuck(history: &[Event], known: &KnownHistory, violation: Violate<'_>) {
    let mut asked: HashMap<(u32, Place), usize> = HashMap::new();
    for (nth, event) in history.iter().enumerate() {
        match event {
            Event::Looking { reader, at } => {
                asked.insert((*reader, *at), nth);
            }
            Event::Looked { reader, at, stable, high } if stable < high => {
                let asked = asked.get(&(*reader, *at)).copied().unwrap_or(0);
                let by = known.holds.get(&(*at, *stable)).and_then(|value| known.sent.get(value));
                let Some(by) = by.map(|sent| sent.transaction) else {
                    violation("H22", format!("no record at the last stable offset {at}/{stable}"));
                    continue;
                };
                if known.over.get(&by).is_some_and(|over| *over < asked) {
                    violation("H22", format!("{at}/{stable} is held back by {by:?}, which is over"));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod planted {
    use super::*;

    const PIPELINE: u32 = 9;
    const SETTING: Setting<'_> = Setting { markers: Markers::AtOnce, pipeline: PIPELINE, input: &[0, 1] };
    /// The output of the pipeline.
    const OUTPUT: Place = 2;

    /// A history with its truth, as an ideal broker would make it.
    #[derive(Clone, Default)]
    struct World {
        history: Vec<Event>,
        truth: Truth,
        ends: [i64; 3],
        next: u32,
        positions: HashMap<(u32, Place), i64>,
    }

    impl World {
        fn send(&mut self, transaction: Transaction, to: Place, amount: i64, from: Option<Value>) -> Value {
            let value = Value { producer: transaction.client, seq: self.next };
            self.next += 1;
            self.history.push(Event::Sent { transaction, value, to, amount, from });
            self.truth.all[to].push((self.ends[to], Some(value)));
            self.history.push(Event::Acked { value, at: to, offset: self.ends[to] });
            self.ends[to] += 1;
            value
        }

        /// Ends a transaction with a marker in every partition that it wrote to.
        fn end(&mut self, transaction: Transaction, end: End) {
            self.history.push(Event::Ending { transaction, end });
            let known = KnownHistory::of(&self.history, &self.truth);
            let values = &known.values[&transaction];
            for at in 0..3 {
                let mine = |one: &&(i64, Option<Value>)| one.1.is_some_and(|value| values.contains(&value));
                let all: Vec<_> = self.truth.all[at].iter().filter(mine).copied().collect();
                self.ends[at] += i64::from(!all.is_empty());
                if end == End::Commit {
                    self.truth.committed[at].extend(all);
                    self.truth.committed[at].sort_unstable();
                }
            }
            self.history.push(Event::Ended { transaction, end });
        }

        /// A reader gets everything that is new in these places.
        fn pass(&mut self, reader: u32, places: &[Place]) {
            self.history.push(Event::Pass { reader });
            for at in places.iter().copied() {
                self.history.push(Event::Looking { reader, at });
                let (stable, high) = (self.ends[at], self.ends[at]);
                self.history.push(Event::Looked { reader, at, stable, high });
                let from = self.positions.insert((reader, at), stable).unwrap_or(0);
                for (offset, value) in self.truth.committed[at].iter().filter(|(offset, _)| *offset >= from) {
                    self.history.push(Event::Polled { reader, at, offset: *offset, value: *value });
                }
            }
        }

        fn found(&self) -> Vec<&'static str> {
            self.found_where(SETTING)
        }

        fn found_where(&self, setting: Setting<'_>) -> Vec<&'static str> {
            let violations = check(&self.history, &self.truth, setting);
            let mut checks: Vec<_> = violations.iter().map(|violation| violation.check).collect();
            checks.sort_unstable();
            checks.dedup();
            checks
        }
    }

    fn transaction(client: u32, number: u32) -> Transaction {
        Transaction { client, number }
    }

    const COMMITTED: Transaction = Transaction { client: 1, number: 0 };
    const ABORTED: Transaction = Transaction { client: 1, number: 1 };
    const LAST: Transaction = Transaction { client: 1, number: 2 };

    /// Three transfers, of which the second is aborted; a copy of the first with its offset; two passes of a
    /// reader.
    fn healthy() -> World {
        let truth = Truth { committed: vec![Vec::new(); 3], all: vec![Vec::new(); 3] };
        let mut world = World { truth, ..World::default() };
        let identity = Identity { producer: 70, epoch: 0 };
        world.history.push(Event::Took { client: 1, identity });
        for (one, end) in [(COMMITTED, End::Commit), (ABORTED, End::Abort), (LAST, End::Commit)] {
            for (to, amount) in [(0, -5), (1, 5)] {
                let request = u64::from(world.next);
                world.history.push(Event::Acting { client: 1, identity, request });
                world.send(one, to, amount, None);
                world.history.push(Event::Acted { request });
            }
            world.history.push(Event::Staged {
                transaction: one,
                at: 0,
                offset: 100 + i64::from(one.number),
            });
            world.end(one, end);
            world.pass(7, &[0, 1]);
        }
        world.history.push(Event::AskedForOffset { group: 1, at: 0 });
        world.history.push(Event::FoundOffset { group: 1, at: 0, offset: Some(102) });
        let copy = transaction(PIPELINE, 0);
        let input = [0, 1].map(|at| world.truth.committed[at][0]);
        for (at, (offset, from)) in input.into_iter().enumerate() {
            world.send(copy, OUTPUT, 0, from);
            world.history.push(Event::Staged { transaction: copy, at, offset: offset + 1 });
        }
        world.end(copy, End::Commit);
        for (at, (offset, _)) in input.into_iter().enumerate() {
            world.history.push(Event::AskedForOffset { group: PIPELINE, at });
            world.history.push(Event::FoundOffset { group: PIPELINE, at, offset: Some(offset + 1) });
        }
        world
    }

    #[test]
    fn a_correct_history_has_no_violations() {
        let mut world = healthy();
        assert_eq!(check(&world.history, &world.truth, SETTING), []);
        world.pass(8, &[0, 1, OUTPUT]);
        world.pass(8, &[]);
        assert_eq!(world.found(), [""; 0]);
    }

    #[test]
    fn h1_an_acknowledged_record_that_is_gone_is_found() {
        let mut world = healthy();
        // It belongs to the aborted transaction.
        world.truth.all[0].retain(|(offset, _)| *offset != 2);
        assert_eq!(world.found(), ["H1"]);
    }

    #[test]
    fn h3_h4_unknown_bytes_and_records_that_are_stored_twice_are_found() {
        let mut world = healthy();
        world.truth.all[0].push((100, None));
        assert_eq!(world.found(), ["H3"]);
        let mut world = healthy();
        let twice = world.truth.all[0][0].1;
        world.truth.all[0].push((100, twice));
        assert_eq!(world.found(), ["H4"]);
    }

    #[test]
    fn h10_a_committed_record_that_a_reader_left_out_is_found() {
        let mut world = healthy();
        let more = [3, 4].map(|number| transaction(1, number));
        for one in more {
            world.send(one, 1, 0, None);
            world.end(one, End::Commit);
        }
        let newest = world.truth.committed[1].last().unwrap().0;
        world.positions.insert((7, 1), newest);
        let mut skips = world.clone();
        skips.pass(7, &[1]);
        assert_eq!(skips.found(), ["H10"]);
        world.history.push(Event::Positioned { reader: 7, at: 1 });
        world.pass(7, &[1]);
        assert_eq!(world.found(), [""; 0]);
    }

    #[test]
    fn h11_half_of_a_transaction_is_found_whether_or_not_its_commit_was_acknowledged() {
        let mut world = healthy();
        let unequal = transaction(1, 3);
        for to in [0, 1] {
            world.send(unequal, to, 0, None);
        }
        world.end(unequal, End::Commit);
        let acknowledged = world.history.pop();
        for unsure in [false, true] {
            let mut half = world.clone();
            half.history.extend(acknowledged.filter(|_| !unsure));
            assert_eq!(half.found(), [""; 0]);
            half.truth.committed[1].pop();
            assert_eq!(half.found(), ["H11"]);
            half.truth.committed[0].pop();
            let nothing: &[&str] = if unsure { &[] } else { &["H11"] };
            assert_eq!(half.found(), nothing);
        }
    }

    #[test]
    fn h11_a_record_of_an_aborted_transaction_is_found() {
        let mut world = healthy();
        for at in [0, 1] {
            let aborted = world.truth.all[at][1];
            world.truth.committed[at].insert(1, aborted);
        }
        assert!(world.found().contains(&"H11"));
    }

    #[test]
    fn h11_an_offset_without_its_records_and_records_without_their_offset_are_found() {
        let found = |offset| {
            let mut world = healthy();
            world.history.push(Event::AskedForOffset { group: 1, at: 0 });
            world.history.push(Event::FoundOffset { group: 1, at: 0, offset });
            world.found()
        };
        assert_eq!(found(Some(102)), [""; 0]);
        assert_eq!(found(Some(101)), ["H11"], "of the aborted transaction");
        assert_eq!(found(Some(100)), ["H11"], "it went back");
        assert_eq!(found(Some(103)), ["H11"], "nobody committed it");
        assert_eq!(found(None), ["H11"]);
    }

    #[test]
    fn h11_an_offset_that_is_visible_before_its_transaction_commits_is_found() {
        let mut world = healthy();
        let open = transaction(1, 3);
        world.send(open, 0, 0, None);
        world.history.push(Event::Staged { transaction: open, at: 0, offset: 103 });
        world.history.push(Event::AskedForOffset { group: 1, at: 0 });
        world.history.push(Event::FoundOffset { group: 1, at: 0, offset: Some(103) });
        world.end(open, End::Commit);
        assert_eq!(world.found(), ["H11"]);
    }

    #[test]
    fn h12_a_record_that_is_shown_before_its_commit_is_found() {
        let mut world = healthy();
        let open = transaction(1, 3);
        let value = world.send(open, 0, 0, None);
        let offset = world.ends[0] - 1;
        world.history.push(Event::Polled { reader: 7, at: 0, offset, value: Some(value) });
        world.end(open, End::Commit);
        assert_eq!(world.found(), ["H12"]);
    }

    #[test]
    fn h14_an_input_that_is_copied_twice_or_not_at_all_is_found() {
        let copied = |end| {
            let mut world = healthy();
            let again = transaction(PIPELINE, 1);
            world.send(again, OUTPUT, 0, world.truth.committed[0][0].1);
            world.end(again, end);
            world.found()
        };
        assert_eq!(copied(End::Commit), ["H14"]);
        assert_eq!(copied(End::Abort), [""; 0]);
        let mut world = healthy();
        let skips = transaction(PIPELINE, 1);
        world.send(skips, OUTPUT, 0, world.truth.committed[0][1].1);
        world.history.push(Event::Staged { transaction: skips, at: 1, offset: 7 });
        world.end(skips, End::Commit);
        world.history.push(Event::AskedForOffset { group: PIPELINE, at: 1 });
        world.history.push(Event::FoundOffset { group: PIPELINE, at: 1, offset: Some(7) });
        assert_eq!(world.found(), ["H14"]);
    }

    #[test]
    fn h14_a_copy_of_an_aborted_record_is_found() {
        let mut world = healthy();
        let copy = transaction(PIPELINE, 1);
        world.send(copy, OUTPUT, 0, world.truth.all[0][1].1);
        world.end(copy, End::Commit);
        assert_eq!(world.found(), ["H14"]);
    }

    #[test]
    fn h16_a_request_with_a_replaced_identity_that_succeeds_is_found() {
        let mut world = healthy();
        let old = Identity { producer: 70, epoch: 0 };
        // Sent before the other one took over: it may succeed.
        world.history.push(Event::Acting { client: 1, identity: old, request: 500 });
        world.history.push(Event::Took { client: 1, identity: Identity { producer: 70, epoch: 1 } });
        world.history.push(Event::Acted { request: 500 });
        world.history.push(Event::Acting { client: 1, identity: old, request: 501 });
        assert_eq!(world.found(), [""; 0]);
        world.history.push(Event::Acted { request: 501 });
        assert_eq!(world.found(), ["H16"]);
    }

    #[test]
    fn h16_an_epoch_that_is_given_twice_is_found() {
        let mut world = healthy();
        world.history.push(Event::Took { client: 1, identity: Identity { producer: 70, epoch: 0 } });
        assert_eq!(world.found(), ["H16"]);
    }

    #[test]
    fn h21_money_that_is_made_is_found() {
        let mut world = healthy();
        let unequal = transaction(1, 3);
        world.send(unequal, 0, 5, None);
        world.end(unequal, End::Commit);
        assert_eq!(world.found(), ["H21"]);
    }

    /// A transfer of which a reader gets one half, and in the next pass not the other one.
    fn half_shown(hold: Option<End>) -> World {
        let mut world = healthy();
        let (transfer, other) = (transaction(1, 3), transaction(2, 0));
        if hold.is_some() {
            world.send(other, 1, 0, None);
        }
        let stable = world.ends[1] - i64::from(hold.is_some());
        world.send(transfer, 0, -5, None);
        world.send(transfer, 1, 5, None);
        world.end(transfer, End::Commit);
        if hold == Some(End::Abort) {
            world.end(other, End::Abort);
        }
        world.pass(7, &[0]);
        world.history.push(Event::Pass { reader: 7 });
        world.history.push(Event::Looking { reader: 7, at: 1 });
        let high = if hold.is_some() { world.ends[1] } else { stable };
        world.history.push(Event::Looked { reader: 7, at: 1, stable, high });
        world.history.push(Event::Pass { reader: 7 });
        world
    }

    #[test]
    fn h21_h22_a_half_that_is_not_shown_is_found_unless_an_open_transaction_holds_it_back() {
        assert_eq!(half_shown(Some(End::Commit)).found(), [""; 0], "the other one is open");
        assert_eq!(half_shown(None).found(), ["H21"]);
        assert_eq!(half_shown(Some(End::Abort)).found(), ["H21", "H22"], "the other one is over");
        let kafka = Setting { markers: Markers::Later, ..SETTING };
        assert_eq!(half_shown(Some(End::Abort)).found_where(kafka), [""; 0]);
    }

    #[test]
    fn h22_a_last_stable_offset_that_is_stuck_is_found() {
        let mut world = healthy();
        let open = transaction(1, 3);
        world.send(open, 0, 0, None);
        let (stable, high) = (world.ends[0] - 1, world.ends[0]);
        world.history.push(Event::Looking { reader: 7, at: 0 });
        world.history.push(Event::Looked { reader: 7, at: 0, stable, high });
        assert_eq!(world.found(), [""; 0]);
        world.history.push(Event::Over { transaction: open });
        world.history.push(Event::Looking { reader: 7, at: 0 });
        world.history.push(Event::Looked { reader: 7, at: 0, stable, high });
        assert_eq!(world.found(), ["H22"]);
    }
}
