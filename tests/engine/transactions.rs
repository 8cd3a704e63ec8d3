//! Random histories of transactions with crashes. A model, written a second time, predicts the state after every
//! request. After each crash the store has exactly the state of the model, or that after the one request whose answer
//! is missing: markers in all partitions or in none, offsets with them, the last stable offset at the first record of
//! an open transaction, the aborted transactions in the order of their markers. Virtual brokers stop and start in the
//! middle of transactions, an operator ends the records of a transaction in one partition, records are deleted below
//! an offset, and one topic is deleted and created again. A transfer between partitions and a pipeline that commits
//! offsets are such transactions, so the comparison of the whole state covers them, too.
//!
//! `ENGINE_SEEDS=first..end` selects other seeds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jackdaw::config::Durability;
use jackdaw::kernel::{
    Applied, Command, EndTransaction, EndedBy, InitTransaction, JoinTransaction, Phase, ProducerAt,
    TransactionOffsets, WriteMarker,
};
use jackdaw::record::{self, BatchBuilder, Checked};
use jackdaw::storage::groups::GroupStore;
use jackdaw::storage::local::fs::{Fault, Operation, SimFs};
use jackdaw::storage::{
    AppendError, LogError, Partition, Store, StoreError, StoreOptions, Topic, TopicError, Unavailable,
};
use jackdaw::types::{
    AbortedTransaction, NodeId, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition,
    TransactionEnd,
};

use crate::crashes::{die, seeds};
use crate::disk::{batch, batches, checked, make_topic, now, options, producer_of};
use crate::history::{commit as commit_offset, submit};
use crate::random::Random;

/// The partitions of the topic that stays. The one after them is the only one of the topic that is deleted and created
/// again.
const STAYING: usize = 3;
const PASSING: usize = STAYING;
const PARTITIONS: usize = STAYING + 1;
const GROUP: &str = "group";

/// The clients. Each has one transactional id and speaks one version of the protocol.
const CLIENTS: [(&str, Protocol); 3] = [("one", Protocol::V2), ("two", Protocol::V2), ("old", Protocol::V1)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    V1,
    V2,
}

#[test]
fn i5_i6_transactions_and_their_offsets_survive_every_crash_whole() {
    let seeds = seeds(0..300);
    let mut counts = Counts::default();
    for seed in seeds.clone() {
        live(seed, &mut counts);
    }
    println!("{seeds:?}: {counts:?}");
    if seeds.end - seeds.start >= 300 {
        counts.met_everything();
    }
}

#[test]
fn a_transaction_over_many_partitions_needs_few_open_files() {
    let fs = SimFs::new(1);
    fs.set_most_open(Some(20));
    let store = Store::open(options(&fs, Durability::Fsync)).unwrap();
    let topic = make_topic(&store, "t", 500);
    let partitions: Vec<_> = topic.partitions.iter().map(|partition| partition.key()).collect();
    let (id, producer) = ("one".to_owned(), producer_of(&store, "one"));
    let groups = Vec::new();
    let join = JoinTransaction { id: id.clone(), producer, partitions, groups };
    now(store.transact(Command::JoinTransaction(join))).unwrap();
    let (began, end, by, rolls) = (None, TransactionEnd::Abort, EndedBy::ClientWithNewEpoch, vec![]);
    let end = EndTransaction { id, producer, began, end, by, rolls };
    now(store.transact(Command::EndTransaction(end))).unwrap();
    store.request_snapshot();
    store.run_background();
    // A partition whose marker could not be written refuses the record.
    for partition in &topic.partitions {
        assert_eq!(now(store.append(partition, batch(&["x"]))).unwrap().base_offset, Offset(1));
    }
    let fs = fs.kill();
    drop((store, topic));
    let store = Store::open(options(&fs, Durability::Fsync)).unwrap();
    let topic = store.topics().by_name("t").cloned().unwrap();
    assert!(topic.partitions.iter().all(|partition| partition.ends().high_watermark == Offset(2)));
}

/// Counts of the events, because a run without any trouble proves nothing.
#[derive(Debug, Default)]
struct Counts {
    acknowledged: u64,
    /// Requests without an answer, by whether they were carried out.
    happened: u64,
    did_not: u64,
    power_cuts: u64,
    kills: u64,
    crashes_in_recovery: u64,
    disk_errors: u64,
    committed: u64,
    aborted: u64,
    fenced: u64,
    /// Starts of a producer that knows its id and epoch.
    known: u64,
    timed_out: u64,
    repeated: u64,
    zombies: u64,
    open_at_a_start: u64,
    /// Markers of an operator that ended records of an open transaction.
    marked: u64,
    /// Changes of the running brokers during a transaction.
    handed_on: u64,
    /// Records of an open transaction that were deleted, by DeleteRecords and with their topic.
    trimmed: u64,
    dropped: u64,
}

impl Counts {
    fn met_everything(&self) {
        let Counts { acknowledged, happened, did_not, power_cuts, kills, crashes_in_recovery, .. } = self;
        let Counts { disk_errors, committed, aborted, fenced, known, timed_out, .. } = self;
        let Counts { repeated, zombies, open_at_a_start, marked, handed_on, .. } = self;
        let Counts { trimmed, dropped, .. } = self;
        let often = [acknowledged, power_cuts, kills, crashes_in_recovery, disk_errors, did_not];
        let ends = [committed, aborted, fenced, known, timed_out];
        let more = [repeated, zombies, open_at_a_start, marked, handed_on, trimmed, dropped];
        assert!(
            often.iter().chain(&ends).chain(&more).all(|count| **count > 20) && *happened > 5,
            "{self:?}"
        );
    }
}

// --- the model ----------------------------------------------------------------------------------

/// The state as clients see it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    /// With the deleted records.
    logs: [Vec<Entry>; PARTITIONS],
    starts: [i64; PARTITIONS],
    has_passing: bool,
    ids: BTreeMap<&'static str, Id>,
    committed: Option<i64>,
    /// In the order of writing.
    staged: Vec<Staged>,
    next_producer: i64,
}

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Record { value: Text, transaction: Option<ProducerId> },
    Marker { producer: ProducerAt, end: TransactionEnd },
}

/// The value of a record, which can be long.
#[derive(Clone, PartialEq)]
struct Text(String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.12}", self.0)
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Id {
    producer: ProducerAt,
    phase: IdPhase,
    /// The next sequence in each partition, and as it was when the transaction began.
    sequences: [i32; PARTITIONS],
    before: [i32; PARTITIONS],
    /// The last end with version 2: its epoch may repeat it.
    ended: Option<(ProducerAt, TransactionEnd)>,
}

#[derive(Clone, Debug, PartialEq)]
enum IdPhase {
    Empty,
    Ongoing(Open),
    Complete(TransactionEnd),
}

/// Its partitions with the first offset of each, and whether it has offsets of the group.
#[derive(Clone, Debug, Default, PartialEq)]
struct Open {
    partitions: BTreeMap<usize, Option<i64>>,
    has_group: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Staged {
    producer: ProducerId,
    offset: i64,
    overtaken: bool,
}

/// A request that changes the state. `Mark` is an operator's: it aborts the records of a producer in one partition
/// (WriteTxnMarkers). A client that starts may know its producer (KIP-360). With `TimeOut` the broker aborts the open
/// transaction, which fences its producer.
#[derive(Clone, Debug, PartialEq)]
enum Request {
    Init { id: &'static str, knows: bool },
    Join { id: &'static str, partition: usize },
    Send { id: &'static str, partition: usize, sequence: i32, value: Text },
    SendPlain { partition: usize, value: Text },
    Stage { id: &'static str, offset: i64 },
    CommitPlain { offset: i64 },
    End { id: &'static str, end: TransactionEnd },
    TimeOut { id: &'static str },
    Mark { id: &'static str, partition: usize },
    DeleteRecords { partition: usize, before: i64 },
    DropTopic,
    CreateTopic,
}

impl Model {
    fn id(&mut self, id: &str) -> &mut Id {
        self.ids.get_mut(id).expect("its client has initialized it")
    }

    fn open(&self, id: &str) -> Option<&Open> {
        match &self.ids.get(id)?.phase {
            IdPhase::Ongoing(open) => Some(open),
            IdPhase::Empty | IdPhase::Complete(_) => None,
        }
    }

    fn opened(&mut self, id: &str) -> &mut Open {
        let id = self.id(id);
        if !matches!(id.phase, IdPhase::Ongoing(_)) {
            id.before = id.sequences;
            id.phase = IdPhase::Ongoing(Open::default());
        }
        match &mut id.phase {
            IdPhase::Ongoing(open) => open,
            IdPhase::Empty | IdPhase::Complete(_) => unreachable!("it was just opened"),
        }
    }

    fn apply(&mut self, request: &Request) {
        match request {
            Request::Init { id, .. } => self.init(id),
            Request::Join { id, partition } => {
                self.opened(id).partitions.entry(*partition).or_default();
            }
            Request::Send { id, partition, sequence, value } => {
                let offset = self.logs[*partition].len() as i64;
                self.opened(id).partitions.entry(*partition).or_default().get_or_insert(offset);
                let id = self.id(id);
                id.sequences[*partition] = sequence + 1;
                let transaction = Some(id.producer.id);
                self.logs[*partition].push(Entry::Record { value: value.clone(), transaction });
            }
            Request::SendPlain { partition, value } => {
                self.logs[*partition].push(Entry::Record { value: value.clone(), transaction: None });
            }
            Request::Stage { id, offset } => {
                self.opened(id).has_group = true;
                let producer = self.id(id).producer.id;
                self.staged.retain(|staged| staged.producer != producer);
                self.staged.push(Staged { producer, offset: *offset, overtaken: false });
            }
            Request::CommitPlain { offset } => {
                self.committed = Some(*offset);
                self.staged.iter_mut().for_each(|staged| staged.overtaken = true);
            }
            Request::End { id, end } => {
                let bumps = protocol(id) == Protocol::V2;
                self.end(id, *end, bumps);
            }
            Request::Mark { id, partition } => {
                let producer = self.id(id).producer;
                self.logs[*partition].push(Entry::Marker { producer, end: TransactionEnd::Abort });
                // The transaction stays open.
                if let IdPhase::Ongoing(open) = &mut self.id(id).phase
                    && let Some(first) = open.partitions.get_mut(partition)
                {
                    *first = None;
                }
            }
            Request::TimeOut { id } => self.end(id, TransactionEnd::Abort, true),
            Request::DeleteRecords { partition, before } => self.starts[*partition] = *before,
            Request::DropTopic => {
                (self.has_passing, self.starts[PASSING]) = (false, 0);
                self.logs[PASSING].clear();
                for id in self.ids.values_mut() {
                    (id.sequences[PASSING], id.before[PASSING]) = (0, 0);
                    if let IdPhase::Ongoing(open) = &mut id.phase {
                        open.partitions.remove(&PASSING);
                    }
                }
            }
            Request::CreateTopic => self.has_passing = true,
        }
    }

    fn init(&mut self, name: &'static str) {
        if self.open(name).is_some() {
            return self.end(name, TransactionEnd::Abort, true);
        }
        let next = ProducerAt { id: ProducerId(self.next_producer), epoch: ProducerEpoch(-1) };
        self.next_producer += i64::from(!self.ids.contains_key(name));
        let id = self.ids.entry(name).or_insert(Id {
            producer: next,
            phase: IdPhase::Empty,
            sequences: [0; PARTITIONS],
            before: [0; PARTITIONS],
            ended: None,
        });
        id.producer.epoch.0 += 1;
        (id.phase, id.sequences, id.ended) = (IdPhase::Empty, [0; PARTITIONS], None);
    }

    fn end(&mut self, name: &str, end: TransactionEnd, bumps: bool) {
        let open = self.open(name).cloned().unwrap_or_default();
        let id = self.id(name);
        let before = id.producer;
        if bumps {
            id.producer.epoch.0 += 1;
            (id.sequences, id.ended) = ([0; PARTITIONS], Some((before, end)));
        } else if end == TransactionEnd::Abort {
            // The client sends its next records with the sequences of the aborted ones.
            id.sequences = id.before;
        }
        id.phase = IdPhase::Complete(end);
        let producer = id.producer;
        for partition in open.partitions.keys() {
            self.logs[*partition].push(Entry::Marker { producer, end });
        }
        let Some(at) = self.staged.iter().position(|staged| staged.producer == producer.id) else { return };
        let Staged { offset, overtaken, .. } = self.staged.remove(at);
        if end == TransactionEnd::Commit && !overtaken {
            self.committed = Some(offset);
            self.staged[..at].iter_mut().for_each(|staged| staged.overtaken = true);
        }
    }

    fn last_stable(&self, partition: usize) -> i64 {
        let open = self.ids.keys().filter_map(|id| *self.open(id)?.partitions.get(&partition)?);
        open.min().unwrap_or(self.logs[partition].len() as i64).max(self.starts[partition])
    }

    fn partitions(&self) -> impl Iterator<Item = usize> + use<> {
        0..STAYING + usize::from(self.has_passing)
    }

    /// The aborted transactions of a partition, in the order of their markers.
    fn aborted(&self, partition: usize) -> Vec<AbortedTransaction> {
        let mut open: BTreeMap<ProducerId, i64> = BTreeMap::new();
        let mut aborted = Vec::new();
        for (offset, entry) in (0..).zip(&self.logs[partition]) {
            match entry {
                Entry::Record { transaction: Some(producer), .. } => {
                    open.entry(*producer).or_insert(offset);
                }
                Entry::Record { transaction: None, .. } => {}
                Entry::Marker { producer, end } => {
                    let first = open.remove(&producer.id);
                    let last_stable = open.values().min().copied().unwrap_or(offset + 1);
                    let first = first.filter(|_| *end == TransactionEnd::Abort);
                    aborted.extend(first.map(|first| AbortedTransaction {
                        producer: producer.id,
                        first: Offset(first),
                        last: Offset(offset),
                        last_stable: Offset(last_stable),
                    }));
                }
            }
        }
        aborted
    }

    /// The facts that the store has to agree with.
    fn seen(&self) -> Seen {
        let ids = self.ids.iter().map(|(name, id)| {
            let (state, open) = match &id.phase {
                IdPhase::Empty => ("Empty", Open::default()),
                IdPhase::Ongoing(open) => ("Ongoing", open.clone()),
                IdPhase::Complete(TransactionEnd::Commit) => ("CompleteCommit", Open::default()),
                IdPhase::Complete(TransactionEnd::Abort) => ("CompleteAbort", Open::default()),
            };
            ((*name).to_owned(), (id.producer, state, open))
        });
        Seen {
            logs: self.partitions().map(|at| self.logs[at][self.starts[at] as usize..].to_vec()).collect(),
            starts: self.starts[..STAYING + usize::from(self.has_passing)].to_vec(),
            last_stable: self.partitions().map(|partition| self.last_stable(partition)).collect(),
            ids: ids.collect(),
            committed: self.committed,
            is_staged: !self.staged.is_empty(),
        }
    }
}

fn protocol(id: &str) -> Protocol {
    CLIENTS.iter().find(|(name, _)| *name == id).expect("a client").1
}

// --- the store ----------------------------------------------------------------------------------

#[derive(Debug, PartialEq)]
struct Seen {
    /// From the log start on.
    logs: Vec<Vec<Entry>>,
    starts: Vec<i64>,
    last_stable: Vec<i64>,
    ids: BTreeMap<String, (ProducerAt, &'static str, Open)>,
    committed: Option<i64>,
    is_staged: bool,
}

impl Seen {
    fn of(store: &Store, topic: TopicId) -> Seen {
        let partitions: Vec<Arc<Partition>> = partitions(store, topic);
        let transactions = store.transactions();
        let ids = transactions.iter().map(|(id, transaction)| {
            let open = match &transaction.phase {
                Phase::Ongoing(ongoing) => Open {
                    partitions: ongoing
                        .partitions
                        .iter()
                        .filter_map(|(of, first)| {
                            let is_it = |one: &Arc<Partition>| one.key() == *of;
                            Some((partitions.iter().position(is_it)?, first.map(|first| first.0)))
                        })
                        .collect(),
                    has_group: ongoing.groups.contains_key(GROUP),
                },
                Phase::Empty | Phase::Complete(_) => Open::default(),
            };
            (id.to_string(), (transaction.producer, transaction.state_name(), open))
        });
        let (offsets, of) = (store.offsets(GROUP), TopicPartition::new(topic, 0));
        Seen {
            logs: partitions.iter().map(|partition| entries(partition)).collect(),
            starts: partitions.iter().map(|partition| partition.ends().log_start.0).collect(),
            last_stable: partitions.iter().map(|partition| partition.ends().last_stable.0).collect(),
            ids: ids.collect(),
            committed: offsets.get(of).map(|committed| committed.offset.0),
            is_staged: offsets.is_staged(of),
        }
    }
}

fn partitions(store: &Store, topic: TopicId) -> Vec<Arc<Partition>> {
    let topics = store.topics();
    let staying = topics.by_id(topic).expect("nobody deletes it");
    staying
        .partitions
        .iter()
        .chain(topics.by_name("passing").iter().flat_map(|topic| &topic.partitions))
        .cloned()
        .collect()
}

/// Everything in a partition, markers included.
fn entries(partition: &Partition) -> Vec<Entry> {
    let start = partition.ends().log_start;
    let (mut found, mut next) = (Vec::new(), start);
    for (header, batch) in batches(partition, start).expect("it can be read") {
        assert_eq!(header.base_offset, next, "there are no gaps");
        next = header.next_offset().expect("there are offsets left");
        let transaction = Some(header.producer_id).filter(|_| header.attributes.transactional());
        for one in record::records(&batch).expect("readable") {
            let one = one.expect("readable");
            let end = match one.key.as_deref() {
                Some([0, 0, 0, 0]) => TransactionEnd::Abort,
                _ => TransactionEnd::Commit,
            };
            found.push(if header.attributes.control() {
                let producer = ProducerAt { id: header.producer_id, epoch: header.producer_epoch };
                Entry::Marker { producer, end }
            } else {
                let value = one.value.expect("it has a value").to_vec();
                let value = Text(String::from_utf8(value).unwrap());
                Entry::Record { value, transaction }
            });
        }
    }
    found
}

/// The answer to a request.
#[derive(Debug, PartialEq)]
enum Answer {
    /// The producer of a transactional id after it, or the offset of a record.
    Producer(ProducerAt),
    Appended {
        offset: i64,
        repeated: bool,
    },
    Done,
    /// It breaks a rule; nothing has changed.
    Refused,
    /// The disk is full or broken; nothing has changed.
    NotNow,
    /// It may have happened.
    Unknown,
}

fn of_append(appended: Result<jackdaw::storage::Appended, AppendError>) -> Answer {
    match appended {
        Ok(done) => Answer::Appended { offset: done.base_offset.0, repeated: done.repeated },
        Err(AppendError::Refused(_)) => Answer::Refused,
        Err(AppendError::Unavailable(unavailable)) => of_unavailable(unavailable),
        Err(other) => panic!("{other:?}"),
    }
}

fn of_command(applied: Result<Applied, StoreError>) -> Answer {
    match applied {
        Ok(Applied::TransactionInitialized { producer } | Applied::TransactionUnchanged { producer }) => {
            Answer::Producer(producer)
        }
        Ok(Applied::TransactionEnded(ended)) => Answer::Producer(ended.producer),
        Ok(Applied::TransactionJoined | Applied::OffsetsStaged) => Answer::Done,
        Ok(Applied::MarkerWritten { placed, .. }) => {
            Answer::Appended { offset: placed.placed.base_offset.0, repeated: false }
        }
        Ok(other) => panic!("{other:?}"),
        Err(StoreError::Refused(_)) => Answer::Refused,
        Err(StoreError::Unavailable(unavailable)) => of_unavailable(unavailable),
    }
}

fn of_topic<T>(done: Result<T, TopicError>) -> Answer {
    match done {
        Ok(_) => Answer::Done,
        Err(TopicError::Store(StoreError::Unavailable(unavailable))) => of_unavailable(unavailable),
        Err(other) => panic!("{other:?}"),
    }
}

fn of_unavailable(unavailable: Unavailable) -> Answer {
    match unavailable {
        Unavailable::Full | Unavailable::Unwritable(_) => Answer::NotNow,
        Unavailable::Poisoned | Unavailable::Stopped => Answer::Unknown,
    }
}

fn transactional(producer: ProducerAt, base_sequence: i32, value: &Text) -> Checked {
    let ProducerAt { id, epoch } = producer;
    let batch = BatchBuilder::new().producer(record::Producer { id, epoch, base_sequence }).transactional();
    checked(batch.value(Timestamp(999_000), &value.0).build())
}

/// A store with the model that it has to agree with.
struct World<'a> {
    store: &'a Store,
    topic: TopicId,
    model: &'a mut Model,
    counts: &'a mut Counts,
    context: &'a str,
    /// The requests of the history with their answers, for the message of a failure.
    trace: &'a mut Vec<String>,
}

impl World<'_> {
    fn producer(&self, id: &str) -> ProducerAt {
        self.model
            .ids
            .get(id)
            .map_or(ProducerAt { id: ProducerId(-1), epoch: ProducerEpoch(-1) }, |id| id.producer)
    }

    fn partition(&self, partition: usize) -> Arc<Partition> {
        Arc::clone(&partitions(self.store, self.topic)[partition])
    }

    fn send(&self, id: &str, producer: ProducerAt, partition: usize, sequence: i32, value: &Text) -> Answer {
        let batch = transactional(producer, sequence, value);
        let partition = self.partition(partition);
        of_append(match protocol(id) {
            Protocol::V1 => now(self.store.append(&partition, batch)),
            Protocol::V2 => now(self.store.append_and_join(&partition, batch)),
        })
    }

    fn stage(&self, id: &str, producer: ProducerAt, offset: i64) -> Answer {
        let changes = commit_offset(self.topic, offset);
        let Some(jackdaw::kernel::group::Change::Offsets(jackdaw::kernel::offsets::OffsetChange::Committed(
            offsets,
        ))) = changes.into_iter().next()
        else {
            unreachable!("a commit of offsets")
        };
        of_command(now(self.store.transact(Command::TransactionOffsets(TransactionOffsets {
            id: id.to_owned(),
            producer,
            joins: true,
            group: GROUP.to_owned(),
            after: self.store.group(GROUP).map_or(0, |kept| kept.group.version()),
            offsets,
        }))))
    }

    fn end(&self, id: &str, producer: ProducerAt, end: TransactionEnd) -> Answer {
        let by = match protocol(id) {
            Protocol::V1 => EndedBy::Client,
            Protocol::V2 => EndedBy::ClientWithNewEpoch,
        };
        self.end_by(id, producer, None, end, by)
    }

    fn time_out(&self, id: &str) -> Answer {
        let transactions = self.store.transactions();
        let began = transactions.get(id).and_then(|known| Some(known.ongoing()?.began));
        self.end_by(id, self.producer(id), began, TransactionEnd::Abort, EndedBy::Timeout)
    }

    fn end_by(
        &self,
        id: &str,
        producer: ProducerAt,
        began: Option<u64>,
        end: TransactionEnd,
        by: EndedBy,
    ) -> Answer {
        let (id, rolls) = (id.to_owned(), Vec::new());
        let end = EndTransaction { id, producer, began, end, by, rolls };
        of_command(now(self.store.transact(Command::EndTransaction(end))))
    }

    fn ask(&self, request: &Request) -> Answer {
        match request {
            Request::Init { id, knows } => {
                let known = knows.then(|| self.producer(id));
                let (id, rolls) = ((*id).to_owned(), Vec::new());
                let init = InitTransaction { id, known, timeout_ms: 60_000, two_phase: false, rolls };
                of_command(now(self.store.transact(Command::InitTransaction(init))))
            }
            Request::Join { id, partition } => {
                let partitions = vec![self.partition(*partition).key()];
                let producer = self.producer(id);
                let id = (*id).to_owned();
                let join = JoinTransaction { id, producer, partitions, groups: Vec::new() };
                of_command(now(self.store.transact(Command::JoinTransaction(join))))
            }
            Request::Send { id, partition, sequence, value } => {
                self.send(id, self.producer(id), *partition, *sequence, value)
            }
            Request::SendPlain { partition, value } => {
                of_append(now(self.store.append(&self.partition(*partition), batch(&[&value.0]))))
            }
            Request::Stage { id, offset } => self.stage(id, self.producer(id), *offset),
            Request::CommitPlain { offset } => {
                let is_stored = now(submit(self.store, GROUP, commit_offset(self.topic, *offset))).is_ok();
                if is_stored { Answer::Done } else { Answer::Unknown }
            }
            Request::End { id, end } => self.end(id, self.producer(id), *end),
            Request::Mark { id, partition } => {
                of_command(now(self.store.transact(Command::WriteMarker(WriteMarker {
                    partition: self.partition(*partition).key(),
                    producer: self.producer(id),
                    end: TransactionEnd::Abort,
                    coordinator_epoch: 0,
                    new_epoch_only: false,
                    roll: false,
                }))))
            }
            Request::TimeOut { id } => self.time_out(id),
            Request::DeleteRecords { partition, before } => {
                match now(self.store.delete_before(&self.partition(*partition), Offset(*before))) {
                    Ok(_) => Answer::Done,
                    Err(LogError::Unavailable(unavailable)) => of_unavailable(unavailable),
                    Err(other) => panic!("{other:?}"),
                }
            }
            Request::DropTopic => of_topic(now(self.store.delete_topic(self.partition(PASSING).topic))),
            Request::CreateTopic => of_topic(now(create_passing(self.store))),
        }
    }

    /// The answer that the model expects.
    fn expected(&self, request: &Request, after: &Model) -> Answer {
        match request {
            Request::Init { id, .. } | Request::End { id, .. } | Request::TimeOut { id } => {
                Answer::Producer(after.ids[id].producer)
            }
            Request::Join { id, partition } => {
                let open = self.model.open(id);
                if open.is_some_and(|open| open.partitions.contains_key(partition)) {
                    Answer::Producer(self.producer(id))
                } else {
                    Answer::Done
                }
            }
            Request::Send { partition, .. }
            | Request::SendPlain { partition, .. }
            | Request::Mark { partition, .. } => {
                Answer::Appended { offset: self.model.logs[*partition].len() as i64, repeated: false }
            }
            Request::Stage { .. }
            | Request::CommitPlain { .. }
            | Request::DeleteRecords { .. }
            | Request::DropTopic
            | Request::CreateTopic => Answer::Done,
        }
    }

    /// Carries out a request. Returns it if its outcome is unknown.
    fn carry_out(&mut self, request: Request) -> Option<Request> {
        let mut after = self.model.clone();
        after.apply(&request);
        let expected = self.expected(&request, &after);
        let answer = self.ask(&request);
        self.trace.push(format!("{request:?}: {answer:?}"));
        match answer {
            Answer::Unknown => return Some(request),
            Answer::NotNow => return None,
            answer => assert_eq!(answer, expected, "{}: {request:?} with {:?}", self.context, self.model),
        }
        self.counts.acknowledged += 1;
        if let Request::End { end, .. } = request {
            self.counts.committed += u64::from(end == TransactionEnd::Commit);
            self.counts.aborted += u64::from(end == TransactionEnd::Abort);
        }
        if let Request::Init { id, knows } = request {
            self.counts.fenced += u64::from(self.model.open(id).is_some());
            self.counts.known += u64::from(knows);
        }
        if let Request::Mark { id, partition } = request {
            let open = self.model.open(id);
            self.counts.marked +=
                u64::from(open.is_some_and(|open| matches!(open.partitions.get(&partition), Some(Some(_)))));
        }
        self.counts.timed_out += u64::from(matches!(request, Request::TimeOut { .. }));
        let is_open = |at, before| {
            let mut open = CLIENTS.iter().filter_map(|(id, _)| *self.model.open(id)?.partitions.get(&at)?);
            open.any(|first| first < before)
        };
        match request {
            Request::DeleteRecords { partition, before } => {
                self.counts.trimmed += u64::from(is_open(partition, before));
            }
            Request::DropTopic => self.counts.dropped += u64::from(is_open(PASSING, i64::MAX)),
            _ => {}
        }
        *self.model = after;
        for (index, partition) in partitions(self.store, self.topic).iter().enumerate() {
            let last_stable = partition.ends().last_stable.0;
            assert_eq!(last_stable, self.model.last_stable(index), "{}: {request:?}", self.context);
        }
        None
    }

    /// Requests that change nothing: repetitions of the last one, and those of a replaced epoch.
    fn change_nothing(&mut self, random: &mut Random) {
        let (id, protocol) = CLIENTS[random.below(3) as usize];
        let Some(known) = self.model.ids.get(id).cloned() else { return };
        let partition = random.below(STAYING as u64) as usize;
        let mut zombie = known.producer;
        if zombie.epoch.0 == 0 {
            return;
        }
        zombie.epoch.0 -= 1;
        let (answer, expected) = match (random.below(4), known.ended) {
            (0, Some((before, end)))
                if protocol == Protocol::V2 && matches!(known.phase, IdPhase::Complete(_)) =>
            {
                self.counts.repeated += 1;
                (self.end(id, before, end), Answer::Producer(known.producer))
            }
            (1, Some((before, end))) if matches!(known.phase, IdPhase::Complete(_)) => {
                let opposite = match end {
                    TransactionEnd::Commit => TransactionEnd::Abort,
                    TransactionEnd::Abort => TransactionEnd::Commit,
                };
                (self.end(id, before, opposite), Answer::Refused)
            }
            (2, _) => (self.send(id, zombie, partition, 0, &Text("zombie".into())), Answer::Refused),
            _ => (self.stage(id, zombie, i64::MAX), Answer::Refused),
        };
        self.counts.zombies += u64::from(answer == Answer::Refused);
        let is_right = answer == expected || matches!(answer, Answer::Unknown | Answer::NotNow);
        assert!(is_right, "{}: {id} got {answer:?} with {known:?}", self.context);
    }

    /// A batch that was acknowledged is sent again in the same transaction.
    fn repeat(&mut self, random: &mut Random) {
        let (id, _) = CLIENTS[random.below(3) as usize];
        let Some(open) = self.model.open(id) else { return };
        let Some(partition) = open.partitions.iter().find_map(|(one, first)| first.map(|_| *one)) else {
            return;
        };
        let producer = self.producer(id);
        let mine = |entry: &Entry| matches!(entry, Entry::Record { transaction, .. } if *transaction == Some(producer.id));
        let log = &self.model.logs[partition];
        let Some(offset) = log.iter().rposition(mine) else { return };
        let Entry::Record { value, .. } = &log[offset] else { return };
        let sequence = self.model.ids[id].sequences[partition] - 1;
        let answer = self.send(id, producer, partition, sequence, value);
        let expected = Answer::Appended { offset: offset as i64, repeated: true };
        let is_right = answer == expected || matches!(answer, Answer::Unknown | Answer::NotNow);
        assert!(is_right, "{}: {answer:?} instead of {expected:?}", self.context);
        self.counts.repeated += 1;
    }

    fn request(&self, random: &mut Random, number: u64) -> Request {
        let (id, protocol) = CLIENTS[random.below(3) as usize];
        let (partition, value) = (random.below(PARTITIONS as u64) as usize, value(number));
        let offset = number as i64;
        if partition == PASSING && !self.model.has_passing {
            return Request::CreateTopic;
        }
        if !self.model.ids.contains_key(id) {
            return Request::Init { id, knows: false };
        }
        let open = self.model.open(id);
        let is_in = open.is_some_and(|open| open.partitions.contains_key(&partition));
        match random.below(23) {
            22 if partition == PASSING => Request::DropTopic,
            21 | 22 => {
                let (start, end) = (self.model.starts[partition], self.model.logs[partition].len() as i64);
                Request::DeleteRecords {
                    partition,
                    before: start + random.below((end - start + 1) as u64) as i64,
                }
            }
            20 => Request::Mark { id, partition },
            0 => Request::Init { id, knows: random.one_in(2) },
            1 if open.is_some() => Request::TimeOut { id },
            1 => Request::SendPlain { partition, value },
            2 => Request::CommitPlain { offset },
            3 | 4 => Request::Stage { id, offset },
            5 => Request::Join { id, partition },
            6..11 if open.is_some() => {
                let end = [TransactionEnd::Commit, TransactionEnd::Abort][random.below(2) as usize];
                Request::End { id, end }
            }
            _ if protocol == Protocol::V1 && !is_in => Request::Join { id, partition },
            _ => {
                let sequence = self.model.ids[id].sequences[partition];
                Request::Send { id, partition, sequence, value }
            }
        }
    }
}

fn value(number: u64) -> Text {
    Text(format!("{number}.{}", "x".repeat([5, 300, 1500][number as usize % 3])))
}

// --- a history ----------------------------------------------------------------------------------

fn live(seed: u64, counts: &mut Counts) {
    let mut random = Random(seed);
    let mut fs = SimFs::new(seed);
    let mut model = Model::default();
    let (mut pending, mut trace) = (None, Vec::new());
    let topic = begin(&fs, &mut model);
    let mut number = 0;
    for life in 0..4 + random.below(4) {
        let context = format!("seed {seed} life {life}");
        if random.one_in(3) {
            fs.off_after(random.below(60));
        }
        let store = match Store::open(of_three(&fs)) {
            Ok(store) => store,
            Err(_) if fs.is_off() => {
                counts.crashes_in_recovery += 1;
                fs = fs.crash(random.below(u64::MAX));
                continue;
            }
            Err(error) => panic!("{context}: {error}"),
        };
        if !fs.is_off() {
            let context = format!("{context}: {:#?}", &trace[trace.len().saturating_sub(20)..]);
            let unclear = agree(&fs, &store, topic, &mut model, pending.take(), counts, &context);
            if let Some(request) = unclear {
                pending = World {
                    store: &store,
                    topic,
                    model: &mut model,
                    counts,
                    context: &context,
                    trace: &mut trace,
                }
                .carry_out(request);
            }
        }
        if random.one_in(3) {
            fs.off_after(random.below(80));
        }
        for _ in 0..5 + random.below(40) {
            number += 1;
            trouble(&store, &fs, &mut random, counts);
            if random.one_in(20) {
                let running = (1..=3).filter(|_| random.one_in(2)).chain([2]).map(NodeId).collect();
                let is_open = CLIENTS.iter().any(|(id, _)| model.open(id).is_some());
                counts.handed_on += u64::from(now(store.set_brokers(running)).is_ok() && is_open);
            }
            let mut world = World {
                store: &store,
                topic,
                model: &mut model,
                counts,
                context: &context,
                trace: &mut trace,
            };
            match random.below(6) {
                // An unknown outcome may already have happened.
                _ if pending.is_some() => {}
                0 => world.change_nothing(&mut random),
                1 => world.repeat(&mut random),
                _ => pending = world.carry_out(world.request(&mut random, number)),
            }
            if !random.one_in(4) {
                store.run_background();
            }
        }
        let killed;
        (fs, killed) = die(&fs, &store, &mut random);
        *(if killed { &mut counts.kills } else { &mut counts.power_cuts }) += 1;
        fs.heal();
        fs.set_capacity(None);
    }
}

/// A store with three virtual brokers.
fn of_three(fs: &SimFs) -> StoreOptions {
    StoreOptions { brokers: (1..=3).map(NodeId).collect(), ..options(fs, Durability::Fsync) }
}

/// Creates the topic and the group, and learns the first producer id.
fn begin(fs: &SimFs, model: &mut Model) -> TopicId {
    let store = Store::open(of_three(fs)).unwrap();
    let replicas = vec![(1..=3).map(NodeId).collect(); STAYING];
    let topic = now(store.create_placed_topic("t".into(), BTreeMap::new(), replicas)).unwrap().id;
    now(create_passing(&store)).unwrap();
    model.has_passing = true;
    let (next, _) = now(store.new_producer()).unwrap();
    model.next_producer = next.0 + 1;
    // Offsets are only staged for a group that exists.
    now(submit(&store, GROUP, commit_offset(topic, 0))).unwrap();
    model.committed = Some(0);
    store.close();
    topic
}

fn create_passing(store: &Store) -> impl Future<Output = Result<Arc<Topic>, TopicError>> + use<> {
    store.create_placed_topic("passing".into(), BTreeMap::new(), vec![(1..=3).map(NodeId).collect()])
}

fn trouble(store: &Store, fs: &SimFs, random: &mut Random, counts: &mut Counts) {
    match random.below(20) {
        0 => store.request_snapshot(),
        1 => store.housekeep(),
        2 if random.one_in(4) => {
            let operation =
                [Operation::Write, Operation::SyncData, Operation::Rename][random.below(3) as usize];
            fs.fail(Fault { after: random.below(6), ..Fault::next(operation) });
            counts.disk_errors += 1;
        }
        3 if random.one_in(4) => fs.set_capacity(Some(fs.used() + random.below(20_000))),
        4 => fs.set_capacity(None),
        _ => {}
    }
}

/// The store has the state of the model, or that after the request without an answer. Returns the request if both
/// look the same: its client repeats it.
fn agree(
    fs: &SimFs,
    store: &Store,
    topic: TopicId,
    model: &mut Model,
    pending: Option<Request>,
    counts: &mut Counts,
    context: &str,
) -> Option<Request> {
    let seen = Seen::of(store, topic);
    let mut is_unclear = false;
    if let Some(request) = &pending {
        let mut after = model.clone();
        after.apply(request);
        is_unclear = after.seen() == model.seen();
        let happened = !is_unclear && seen == after.seen();
        counts.happened += u64::from(happened);
        counts.did_not += u64::from(!happened);
        if happened {
            *model = after;
        }
    }
    assert_eq!(seen, model.seen(), "{context}, after {pending:?}");
    for (index, partition) in partitions(store, topic).iter().enumerate() {
        aborted_agree(fs, partition, &model.aborted(index), context);
    }
    counts.open_at_a_start += u64::from(CLIENTS.iter().any(|(id, _)| model.open(id).is_some()));
    pending.filter(|_| is_unclear)
}

/// Readers get the aborted transactions of their range, also those that began before it or end after it.
fn aborted_agree(fs: &SimFs, partition: &Arc<Partition>, all: &[AbortedTransaction], context: &str) {
    let ends = partition.ends();
    let (start, end) = (ends.log_start.0, ends.high_watermark.0);
    for from in (start..end).step_by(3) {
        for until in [from + 1, end] {
            let (from, until) = (Offset(from), Offset(until));
            let found = now(partition.aborted(from..until));
            // A list that is missing is made again, which needs the disk.
            if fs.is_off() {
                return;
            }
            let found = found.unwrap_or_else(|error| panic!("{context}, {from:?}..{until:?}: {error:?}"));
            let wanted = all.iter().filter(|one| one.last >= from && one.first < until);
            assert_eq!(found, wanted.copied().collect::<Vec<_>>(), "{context}, {from:?}..{until:?}");
        }
    }
}
