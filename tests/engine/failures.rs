//! File system calls that fail, one after the other and each with several errors. Nothing is acknowledged and
//! then missing, only a failed journal write or sync stops everything, and other failures heal by themselves.
//! `FAULTS=all` tries every error at every call.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use jackdaw::config::Durability;
use jackdaw::kernel::{Applied, Command, EndTransaction, EndedBy, InitTransaction, Scope};
use jackdaw::record::{self, BatchBuilder};
use jackdaw::storage::local::fs::{Failure, Fault, Fs, Open, Operation, SimFs};
use jackdaw::storage::{AppendError, NewTopic, Partition, Store, StoreError, Topic, Unavailable};
use jackdaw::types::{LeaderEpoch, Offset, Timestamp, TopicId, TransactionEnd};
use rustix::io::Errno;

use crate::damage::PAYER;
use crate::disk::{batch, checked, committed_offsets, now, open, options, values};
use crate::history::{commit, committed, submit};

const ERRORS: [Errno; 7] =
    [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::MFILE, Errno::NOENT, Errno::ACCESS, Errno::ROFS];

const OPERATIONS: [Operation; 12] = [
    Operation::Open,
    Operation::Create,
    Operation::Read,
    Operation::Write,
    Operation::Truncate,
    Operation::SyncData,
    Operation::SyncDir,
    Operation::SyncVolume,
    Operation::Rename,
    Operation::Remove,
    Operation::CreateDir,
    Operation::RemoveDir,
];

/// The records that were sent, and their outcomes.
#[derive(Default)]
struct Sent {
    number: u64,
    acknowledged: BTreeMap<(TopicId, i32), Vec<(i64, String)>>,
    /// Refused records must never appear.
    refused: Vec<String>,
    /// The places of transactional records, with the acknowledged ends of their transactions.
    paid: Vec<(TopicId, i32, i64, TransactionEnd)>,
    committed: i64,
}

impl Sent {
    fn append(&mut self, store: &Store, topic: &Topic, index: i32, length: usize) -> Result<(), AppendError> {
        self.number += 1;
        let value = format!("{} {}", self.number, "x".repeat(length));
        // A key, for topics that are compacted.
        let key = self.number.to_string();
        let key = Some(key.as_bytes());
        let built = BatchBuilder::new().record(Timestamp(999_000), key, Some(value.as_bytes()), &[]).build();
        let appended = now(store.append(topic.partition(index).unwrap(), checked(built)));
        match appended {
            Ok(appended) => {
                let of = self.acknowledged.entry((topic.id, index)).or_default();
                of.push((appended.base_offset.0, value));
                Ok(())
            }
            Err(error) => {
                if matches!(
                    error,
                    AppendError::Unavailable(Unavailable::Full)
                        | AppendError::Unavailable(Unavailable::Unwritable(_))
                ) {
                    self.refused.push(value);
                }
                Err(error)
            }
        }
    }

    /// A transaction with one record.
    fn pay(&mut self, store: &Store, topic: &Topic, index: i32, end: TransactionEnd) {
        let (known, rolls) = (None, vec![]);
        let init = InitTransaction { id: PAYER.into(), known, timeout_ms: 60_000, two_phase: false, rolls };
        let begun = now(store.transact(Command::InitTransaction(init)));
        // Another answer ends an open transaction; the next call begins.
        let Ok(Applied::TransactionInitialized { producer }) = begun else { return };
        let sender = record::Producer { id: producer.id, epoch: producer.epoch, base_sequence: 0 };
        let payment = BatchBuilder::new().producer(sender).transactional();
        let payment = payment.record(Timestamp(999_000), Some(b"payment"), Some(b"payment"), &[]);
        let payment = checked(payment.build());
        let appended = now(store.append_and_join(topic.partition(index).unwrap(), payment));
        let (began, by, rolls) = (None, EndedBy::ClientWithNewEpoch, vec![]);
        let ended = EndTransaction { id: PAYER.into(), producer, began, end, by, rolls };
        let ended = now(store.transact(Command::EndTransaction(ended)));
        if let (Ok(appended), Ok(Applied::TransactionEnded(_))) = (appended, ended) {
            self.paid.push((topic.id, index, appended.base_offset.0, end));
        }
    }

    fn commit(&mut self, store: &Store, topic: TopicId) -> bool {
        let offset = self.committed + 1;
        let is_stored = now(submit(store, "group", commit(topic, offset))).is_ok();
        if is_stored {
            self.committed = offset;
        }
        is_stored
    }

    /// Checks that every acknowledged record is at its offset, and that no refused one exists.
    fn check(&self, store: &Store, context: &str) {
        assert!(committed(store) >= self.committed, "{context}: a commit is lost");
        for ((id, index), expected) in &self.acknowledged {
            let topics = store.topics();
            let topic = topics.by_id(*id).unwrap_or_else(|| panic!("{context}: a topic is lost"));
            self.check_log(topic.partition(*index).unwrap(), expected, context);
        }
        for (id, index, offset, end) in &self.paid {
            let topics = store.topics();
            let log = topics.by_id(*id).and_then(|topic| topic.partition(*index)).unwrap();
            let ends = log.ends();
            if (ends.log_start.0..ends.last_stable.0).contains(offset) {
                let seen = committed_offsets(log, ends.log_start.0, 20_000);
                let is_seen = seen.map(|seen| seen.contains(offset));
                assert_eq!(is_seen, Ok(*end == TransactionEnd::Commit), "{context}: {end:?} of {offset}");
            }
        }
    }

    fn check_log(&self, log: &Partition, expected: &[(i64, String)], context: &str) {
        let start = log.ends().log_start;
        let found = values(log, start);
        let found =
            found.unwrap_or_else(|error| panic!("{context} {}-{}: {error:?}", log.topic_name, log.index));
        for (offset, value) in expected.iter().filter(|(offset, _)| *offset >= start.0) {
            let there = found.iter().any(|(at, text)| at == offset && text == value);
            assert!(there, "{context}: {value:.10} at {offset} of {}-{} is lost", log.topic_name, log.index);
        }
        for (_, value) in &found {
            assert!(!self.refused.contains(value), "{context}: {value:.10} was refused");
        }
    }
}

fn create(store: &Store, name: &str, partitions: u32) -> Option<Arc<Topic>> {
    let compacted = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];
    let overrides = if name == "compacted" { &compacted[..] } else { &[] };
    let overrides = overrides.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    now(store.create_topic(NewTopic { name: name.into(), partitions, overrides })).ok()
}

/// Uses everything that writes, syncs, renames and removes. Failures are ignored.
fn play(store: &Store, sent: &mut Sent) {
    let (Some(a), Some(compacted)) = (create(store, "a", 2), create(store, "compacted", 1)) else { return };
    for round in 0..4 {
        let Some(b) = create(store, "b", 1) else { return };
        for (topic, index, length) in
            [(&a, 0, 10), (&a, 1, 700), (&b, 0, 10), (&a, 0, 3_500), (&compacted, 0, 1_200), (&b, 0, 3_500)]
        {
            let _ = sent.append(store, topic, index, length);
        }
        let end = if round % 2 == 0 { TransactionEnd::Abort } else { TransactionEnd::Commit };
        sent.pay(store, &a, 1, end);
        store.run_background();
        sent.commit(store, a.id);
        let changes = BTreeMap::from([("retention.ms".to_owned(), Some(format!("1000000{round}")))]);
        let _ = now(store.alter_topic(a.id, changes));
        let log = b.partition(0).unwrap();
        let _ = now(store.delete_before(log, log.ends().high_watermark));
        store.request_snapshot();
        store.compact();
        // The topic may be deleted whatever the answer is.
        sent.acknowledged.remove(&(b.id, 0));
        let _ = now(store.delete_topic(b.id));
        store.housekeep();
        store.run_background();
    }
}

/// Returns whether the call was reached.
fn fails_once(fault: Fault, end: fn(&SimFs) -> SimFs) -> bool {
    let context = format!("{fault:?}");
    let fs = SimFs::new(1);
    let mut sent = Sent::default();
    let store = open(&fs).unwrap();
    fs.fail(fault.clone());
    play(&store, &mut sent);
    let trace = fs.trace();
    let Some(failed) = trace.find("  fails:") else { return false };
    fs.heal();
    sent.check(&store, &context);
    let call = trace[..failed].lines().last().unwrap_or_default().to_owned();
    if store.is_writable() {
        store.run_background();
        store.housekeep();
        let again = store.topics().by_name("a").cloned().or_else(|| create(&store, "a", 2)).unwrap();
        for index in 0..2 {
            let healed = sent.append(&store, &again, index, 10);
            assert_eq!(healed, Ok(()), "{context}, {call}: it does not heal");
        }
    } else {
        let is_sync = call.starts_with("Sync");
        let is_journal_write = call.starts_with("Write") && call.contains("/journal/");
        assert!(is_sync || is_journal_write, "{context}, {call}: nothing can be written any more");
    }
    let fs = end(&fs);
    drop(store);
    let store = open(&fs).unwrap_or_else(|error| panic!("{context}, {call}: {error}"));
    sent.check(&store, &format!("{context}, {call}, opened again"));
    true
}

#[test]
fn i10_each_call_that_fails_once_loses_nothing_and_stops_only_what_it_must() {
    let failed = at_each_call(|fault, is_even| {
        if is_even { fails_once(fault, |fs| fs.crash(5)) } else { fails_once(fault, |fs| fs.kill()) }
    });
    assert!(failed > 300, "only {failed} calls were reached");
}

#[test]
fn i10_a_start_that_fails_at_any_call_loses_nothing() {
    let failed = at_each_call(|fault, is_even| {
        if is_even {
            start_fails_once(fault, |fs| fs.kill())
        } else {
            start_fails_once(fault, |fs| fs.crash(9))
        }
    });
    assert!(failed > 70, "only {failed} calls were reached");
}

/// Makes each call of each operation fail, until `reached` says that there are no more. Every other call is even.
/// Returns the number of calls that were reached.
fn at_each_call(reached: impl Fn(Fault, bool) -> bool) -> u32 {
    let mut failed = 0;
    for operation in OPERATIONS {
        for after in 0.. {
            let at = usize::try_from(after).unwrap();
            let faults =
                errors_at(at).into_iter().map(|error| Fault { after, error, ..Fault::next(operation) });
            if faults.filter(|fault| reached(fault.clone(), at % 2 == 0)).count() == 0 {
                break;
            }
            failed += 1;
        }
    }
    failed
}

/// Whether the call was reached.
fn start_fails_once(fault: Fault, end: fn(&SimFs) -> SimFs) -> bool {
    let context = format!("{fault:?}");
    let fs = SimFs::new(2);
    let mut sent = Sent::default();
    let store = open(&fs).unwrap();
    play(&store, &mut sent);
    let fs = end(&fs);
    drop(store);
    let before = fs.trace().len();
    fs.fail(fault);
    let opened = open(&fs);
    let reached = fs.trace()[before..].contains("  fails:");
    fs.heal();
    if let Ok(store) = &opened {
        store.run_background();
        store.housekeep();
        // A partition whose files could not be opened is out of service until the next start.
        if store.topics().iter().all(|topic| topic.partitions.iter().all(|log| !log.is_damaged())) {
            sent.check(store, &context);
        }
    }
    let fs = fs.kill();
    drop(opened);
    let store = open(&fs).unwrap_or_else(|error| panic!("{context}: {error}"));
    sent.check(&store, &format!("{context}, opened again"));
    reached
}

/// The errors with which the call of this number fails.
fn errors_at(call: usize) -> Vec<Errno> {
    let all = std::env::var("FAULTS").is_ok_and(|which| which == "all");
    if all { ERRORS.to_vec() } else { vec![ERRORS[call % ERRORS.len()]] }
}

/// All calls for one partition's files fail: it alone stops, for as long as that lasts, over restarts
/// and snapshots, and what it acknowledged can be read.
#[test]
fn i11_a_partition_whose_files_cannot_be_written_stops_alone_and_heals() {
    let operations =
        [Operation::Open, Operation::Create, Operation::Write, Operation::CreateDir, Operation::Truncate];
    for operation in operations {
        for error in ERRORS {
            for (made_before, length) in [(false, 10), (true, 10), (true, 3_500)] {
                let context = format!("{operation:?} {error:?} {made_before} {length}");
                let fs = SimFs::new(3);
                let mut sent = Sent::default();
                let store = open(&fs).unwrap();
                let topics = [create(&store, "a", 1).unwrap(), create(&store, "b", 1).unwrap()];
                if made_before {
                    sent.append(&store, &topics[0], 0, 10).unwrap();
                }
                let fault =
                    Fault { path: "topics/a-0".into(), error, lasting: true, ..Fault::next(operation) };
                fs.fail(fault.clone());
                let mut refusals = 0;
                for _ in 0..40 {
                    if let Err(refusal) = sent.append(&store, &topics[0], 0, length) {
                        let is_his = matches!(
                            refusal,
                            AppendError::Unavailable(Unavailable::Full)
                                | AppendError::Unavailable(Unavailable::Unwritable(_))
                        );
                        assert!(is_his, "{context}: {refusal:?}");
                        refusals += 1;
                    }
                    assert_eq!(sent.append(&store, &topics[1], 0, 900), Ok(()), "{context}");
                    assert!(sent.commit(&store, topics[1].id), "{context}");
                    store.run_background();
                }
                assert!(store.is_writable(), "{context}");
                // While no file can be opened, closed files cannot be read either.
                if operation != Operation::Open {
                    sent.check(&store, &context);
                }
                let journal = fs.list(Path::new("data/journal")).unwrap().len();
                assert!(journal < 8, "{context}: {journal} journal files");

                let fs = fs.kill();
                drop((store, topics));
                // Without descriptors nothing can be opened, and the start reports that. A file that is
                // missing at a start is damage.
                if error != Errno::MFILE && (operation, error) != (Operation::Open, Errno::NOENT) {
                    fs.fail(fault);
                }
                let store = open(&fs).unwrap_or_else(|error| panic!("{context}: {error}"));
                let topic = |name| store.topics().by_name(name).cloned().unwrap();
                if operation != Operation::Open {
                    sent.check(&store, &format!("{context}, opened again"));
                }
                assert_eq!(sent.append(&store, &topic("b"), 0, 10), Ok(()), "{context}");
                fs.heal();
                if !topic("a").partition(0).unwrap().is_damaged() {
                    sent.append(&store, &topic("a"), 0, 10)
                        .unwrap_or_else(|error| panic!("{context}: {error:?}"));
                }
                store.close();
                let fs = fs.crash(4);
                drop(store);
                let store = open(&fs).unwrap_or_else(|error| panic!("{context}: {error}"));
                sent.check(&store, &format!("{context}, healed"));
                let is_met = made_before || matches!(operation, Operation::Open | Operation::Truncate);
                assert!(refusals > 0 || is_met, "{context}: no call failed");
            }
        }
    }
}

/// Appends until the disk has no byte left.
fn fill(fs: &SimFs, store: &Store, topic: &Topic, sent: &mut Sent) {
    fs.set_capacity(Some(fs.used() + 6_000));
    let refused = (0..200).any(|_| {
        store.run_background();
        sent.append(store, topic, 0, 900).is_err()
    });
    assert!(refused);
    assert!(store.is_writable());
    fs.set_capacity(Some(fs.used()));
}

#[test]
fn i11_with_no_byte_free_it_starts_reads_commits_and_what_frees_room_is_taken() {
    for end in [|fs: &SimFs| fs.kill(), |fs: &SimFs| fs.crash(8)] {
        let fs = SimFs::new(6);
        let mut sent = Sent::default();
        let store = open(&fs).unwrap();
        let (a, b) = (create(&store, "a", 1).unwrap(), create(&store, "b", 1).unwrap());
        for _ in 0..10 {
            sent.append(&store, &a, 0, 900).unwrap();
            sent.append(&store, &b, 0, 900).unwrap();
            store.run_background();
        }
        fill(&fs, &store, &a, &mut sent);
        let used = fs.used();
        let fs = end(&fs);
        drop((store, a, b));
        fs.set_capacity(Some(used));
        let store = open(&fs).unwrap();
        sent.check(&store, "no byte free");
        let topic = |name| store.topics().by_name(name).cloned().unwrap();
        assert_eq!(sent.append(&store, &topic("b"), 0, 10), Err(AppendError::Unavailable(Unavailable::Full)));
        let new = NewTopic { name: "c".into(), partitions: 1, overrides: BTreeMap::new() };
        assert!(now(store.create_topic(new)).is_err(), "a topic takes room");
        assert!(sent.commit(&store, topic("a").id), "a commit has its reserve");
        let changes = BTreeMap::from([("retention.ms".to_owned(), Some("1000".to_owned()))]);
        now(store.alter_topic(topic("a").id, changes.clone())).unwrap();
        let broker = BTreeMap::from([("log.retention.ms".to_owned(), Some("1000".to_owned()))]);
        now(store.alter_settings(Scope::DefaultBroker, broker)).unwrap();
        let other = BTreeMap::from([("max.message.bytes".to_owned(), Some("1000".to_owned()))]);
        assert_eq!(
            now(store.alter_topic(topic("a").id, other)),
            Err(StoreError::Unavailable(Unavailable::Full))
        );
        let log = topic("b").partition(0).cloned().unwrap();
        now(store.delete_before(&log, Offset(3))).unwrap();
        now(store.delete_topic(topic("b").id)).unwrap();
        sent.acknowledged.retain(|(id, _), _| *id == topic("a").id);
        store.run_background();
        fs.set_capacity(None);
        sent.append(&store, &topic("a"), 0, 10).unwrap();
        sent.check(&store, "room again");
    }
}

/// Two topics on a disk that the first one has filled. The second one has a record of this length.
fn on_a_full_disk(length: usize) -> (SimFs, Store, [Arc<Topic>; 2], Sent) {
    let fs = SimFs::new(7);
    let mut sent = Sent::default();
    let store = open(&fs).unwrap();
    let [a, b] = ["a", "b"].map(|name| create(&store, name, 1).unwrap());
    sent.append(&store, &b, 0, length).unwrap();
    fill(&fs, &store, &a, &mut sent);
    (fs, store, [a, b], sent)
}

#[test]
fn i11_what_commits_may_use_of_the_journal_is_less_than_what_deletions_may_use() {
    let (fs, store, [a, b], mut sent) = on_a_full_disk(900);
    let commits = (0..1_000).take_while(|_| {
        store.run_background();
        sent.commit(&store, a.id)
    });
    let commits = commits.count();
    assert!((3..1_000).contains(&commits), "{commits}");
    assert!(store.is_writable());
    now(store.delete_topic(b.id)).unwrap();
    sent.acknowledged.remove(&(b.id, 0));
    store.close();
    let fs = fs.kill();
    drop(store);
    let store = open(&fs).unwrap();
    sent.check(&store, "opened again");
    assert!(store.topics().by_name("b").is_none());
}

#[test]
fn o8_a_partition_that_lost_its_tail_has_a_new_leader_epoch_once_the_journal_has_room_for_it() {
    let (fs, store, [a, _], mut sent) = on_a_full_disk(10);
    while sent.commit(&store, a.id) {
        store.run_background();
    }
    let fs = fs.kill();
    drop(store);
    let segment = Path::new("data/topics/b-0/00000000000000000000.log");
    let end = fs.metadata(segment).unwrap().len;
    fs.open(segment, Open::Write).unwrap().write_at(&[IoSlice::new(b"never acknowledged")], end).unwrap();
    fs.set_capacity(Some(fs.used()));
    let store = open(&fs).unwrap();
    let epoch = || store.topics().by_name("b").unwrap().partition(0).unwrap().ends().leader_epoch;
    store.housekeep();
    assert_eq!(epoch(), LeaderEpoch(0), "there is no room yet");
    fs.set_capacity(None);
    store.housekeep();
    assert_eq!(epoch(), LeaderEpoch(1));
    store.housekeep();
    assert_eq!(epoch(), LeaderEpoch(1), "once is enough");
}

#[test]
fn i11_on_a_disk_that_became_read_only_everything_acknowledged_can_be_read() {
    let fs = SimFs::new(8);
    let mut sent = Sent::default();
    let store = open(&fs).unwrap();
    let a = create(&store, "a", 3).unwrap();
    for round in 0..30 {
        sent.append(&store, &a, round % 3, 900).unwrap();
    }
    store.close();
    let fs = fs.kill();
    drop((store, a));
    let store = open(&fs).unwrap();
    fs.set_read_only(true);
    // No file is open yet.
    sent.check(&store, "read-only");
    let refused =
        now(store.append(store.topics().by_name("a").unwrap().partition(0).unwrap(), batch(&["x"])));
    assert!(refused.is_err());
    sent.check(&store, "read-only, after a write");
}

#[test]
fn errors_with_different_remedies_have_different_messages() {
    let of = |error: Errno| Failure::of(&error.into());
    assert_eq!((of(Errno::NOSPC), of(Errno::DQUOT)), (Failure::NoSpace, Failure::NoSpace));
    assert_eq!((of(Errno::MFILE), of(Errno::NFILE)), (Failure::NoDescriptors, Failure::NoDescriptors));
    assert_eq!((of(Errno::NOENT), of(Errno::ROFS)), (Failure::Missing, Failure::ReadOnly));
    assert_eq!((of(Errno::ACCESS), of(Errno::IO)), (Failure::Denied, Failure::Device));
    let fs = SimFs::new(9);
    let store = Store::open(options(&fs, Durability::Fsync)).unwrap();
    let a = create(&store, "a", 1).unwrap();
    let fault = Fault { path: "topics/a-0".into(), lasting: true, ..Fault::next(Operation::CreateDir) };
    for (error, refusal) in [
        (Errno::ACCESS, AppendError::Unavailable(Unavailable::Unwritable(Failure::Denied))),
        (Errno::ROFS, AppendError::Unavailable(Unavailable::Unwritable(Failure::ReadOnly))),
        (Errno::NOSPC, AppendError::Unavailable(Unavailable::Full)),
    ] {
        fs.heal();
        fs.fail(Fault { error, ..fault.clone() });
        // The first record is in the journal, so it is acknowledged.
        let _ = now(store.append(a.partition(0).unwrap(), batch(&["x"])));
        assert_eq!(now(store.append(a.partition(0).unwrap(), batch(&["x"]))), Err(refusal));
    }
}
