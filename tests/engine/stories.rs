//! Short scenarios of one store: each begins with an empty disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jackdaw::config::{BrokerSettings, Durability, Given};
use jackdaw::coordinator::{TimeLimit, TransactionRules, Transactions};
use jackdaw::kernel::{Applied, Command, EndTransaction, EndedBy, InitTransaction, Refusal, Scope};
use jackdaw::record::{BatchBuilder, Codec, Producer};
use jackdaw::storage::extent::ListedBatch;
use jackdaw::storage::groups::GroupStore;
use jackdaw::storage::local::fs::{Fault, Fs, Operation, SimFs, read_all};
use jackdaw::storage::{
    AppendError, Isolation, LogError, NewTopic, OpenError, Partition, ReadRange, Store, StoreError,
    StoreOptions, Topic, TopicError, Unavailable, Waiter,
};
use jackdaw::time::Clock;
use jackdaw::types::{LeaderEpoch, NodeId, Offset, Timestamp, TopicPartition, TransactionEnd};
use rustix::io::Errno;

use crate::disk::{batch, batch_of, checked, make_topic, now, open, options, values};

/// The log that most tests use.
fn log_of(store: &Store) -> Arc<Partition> {
    store.topics().by_name("t").unwrap().partition(0).cloned().unwrap()
}

/// A cleanly closed store, with one record in each of two partitions of `t`.
fn closed_with_a_record_in_each(seed: u64) -> SimFs {
    let fs = SimFs::new(seed);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 2);
    for partition in &topic.partitions {
        now(store.append(partition, batch(&["a"]))).unwrap();
    }
    store.close();
    fs
}

/// A store that has written much more than usual since its last snapshot.
fn with_a_record_in_each_of_150(fs: &SimFs) -> (Store, Arc<Topic>) {
    let mut options = options(fs, Durability::Fsync);
    options.tuning.snapshot_bytes = 1 << 20;
    let store = Store::open(options).unwrap();
    let topic = make_topic(&store, "t", 150);
    for partition in &topic.partitions {
        now(store.append(partition, batch(&["a"]))).unwrap();
    }
    (store, topic)
}

fn texts(found: Vec<(i64, String)>) -> Vec<String> {
    found.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn acknowledged_records_are_there_after_a_power_cut_at_their_offsets() {
    let fs = SimFs::new(1);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "orders", 2);
    for (partition, value) in [(0, "a"), (1, "b"), (0, "c")] {
        now(store.append(topic.partition(partition).unwrap(), batch(&[value]))).unwrap();
    }
    let fs = fs.crash(7);
    drop(store);
    let store = open(&fs).unwrap();
    let topic = store.topics().by_name("orders").cloned().unwrap();
    let log = |partition| values(topic.partition(partition).unwrap(), Offset(0)).unwrap();
    assert_eq!(log(0), [(0, "a".into()), (1, "c".into())]);
    assert_eq!(log(1), [(0, "b".into())]);
}

#[test]
fn a_read_from_memory_or_from_files_lists_its_batches_on_request() {
    let fs = SimFs::new(1);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    now(store.append(log, batch(&["a"]))).unwrap();
    now(store.append(log, batch_of(7, 3, 0, &["b", "c"]))).unwrap();
    let listed = |log: &Partition, from, listed| {
        let (max_bytes, isolation) = (1_000_000, Isolation::ReadUncommitted);
        let range = ReadRange { from: Offset(from), max_bytes, at_least_one_batch: true, isolation, listed };
        let answer = now(log.read(range)).unwrap();
        let facts = |one: &ListedBatch| {
            let producer = one.producer.map(|producer| (producer.id.0, producer.epoch.0));
            (one.base_offset.0, one.last_offset.0, one.records, producer)
        };
        answer.list.iter().map(facts).collect::<Vec<_>>()
    };
    let (first, second) = ((0, 0, 1, None), (1, 2, 2, Some((7, 3))));
    assert_eq!(listed(log, 0, true), [first, second]);
    assert_eq!(listed(log, 2, true), [second], "the batch that contains the offset");
    assert_eq!(listed(log, 0, false), []);
    // After a restart no batch is in memory.
    drop((topic, store));
    let store = open(&fs).unwrap();
    let topic = store.topics().by_name("t").cloned().unwrap();
    let log = topic.partition(0).unwrap();
    assert_eq!(listed(log, 0, true), [first, second]);
    assert_eq!(listed(log, 1, true), [second]);
    assert_eq!(listed(log, 0, false), []);
}

#[test]
fn segments_roll_snapshots_are_taken_and_the_journal_is_recycled() {
    let fs = SimFs::new(2);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    let long = "x".repeat(300);
    for _ in 0..400 {
        now(store.append(log, batch(&[&long]))).unwrap();
        store.run_background();
    }
    let count = |dir: &str, end: &str| {
        let entries = fs.list(&Path::new("data").join(dir)).unwrap();
        entries.iter().filter(|entry| entry.name.ends_with(end)).count()
    };
    assert!(count("topics/t-0", ".log") > 20);
    assert_eq!(count("snapshot", ".snapshot"), 2);
    assert!(count("journal", ".journal") < 6, "what a snapshot holds is not kept twice");
    assert_eq!(values(log, Offset(0)).unwrap().len(), 400);
}

#[test]
fn i3_nothing_is_shown_before_it_is_durable() {
    let fs = SimFs::new(3);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    fs.fail(Fault::next(Operation::SyncData));
    assert_eq!(
        now(store.append(log, batch(&["lost"]))),
        Err(AppendError::Unavailable(Unavailable::Poisoned))
    );
    assert_eq!(log.ends().high_watermark, Offset(0));
    assert_eq!(values(log, Offset(0)).unwrap(), []);
}

#[test]
fn i10_after_a_failed_sync_nothing_is_acknowledged_until_a_restart_and_reads_go_on() {
    let fs = SimFs::new(4);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    now(store.append(log, batch(&["kept"]))).unwrap();
    fs.fail(Fault::next(Operation::SyncData));
    assert_eq!(
        now(store.append(log, batch(&["lost"]))),
        Err(AppendError::Unavailable(Unavailable::Poisoned))
    );
    assert_eq!(
        now(store.append(log, batch(&["later"]))),
        Err(AppendError::Unavailable(Unavailable::Poisoned)),
        "the disk works again, it stays so"
    );
    assert!(!store.is_writable());
    assert_eq!(texts(values(log, Offset(0)).unwrap()), ["kept"]);
    let fs = fs.kill();
    drop(store);
    let store = open(&fs).unwrap();
    let topic = store.topics().by_name("t").cloned().unwrap();
    let found = texts(values(topic.partition(0).unwrap(), Offset(0)).unwrap());
    assert_eq!(found[0], "kept");
    assert!(now(store.append(topic.partition(0).unwrap(), batch(&["again"]))).is_ok());
}

#[test]
fn i11_on_a_full_disk_appends_are_refused_reads_go_on_and_room_heals_it() {
    let fs = SimFs::new(5);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    now(store.append(log, batch(&["first"]))).unwrap();
    fs.set_capacity(Some(fs.used()));
    store.housekeep();
    let long = "y".repeat(500);
    assert_eq!(now(store.append(log, batch(&[&long]))), Err(AppendError::Unavailable(Unavailable::Full)));
    assert_eq!(texts(values(log, Offset(0)).unwrap()), ["first"]);
    fs.set_capacity(None);
    assert!(now(store.append(log, batch(&["second"]))).is_ok());
    assert_eq!(texts(values(log, Offset(0)).unwrap()), ["first", "second"]);
}

/// Their disk refuses writes, and the journal's does not.
#[test]
fn records_that_no_segment_takes_are_held_up_to_32_mib_and_are_written_when_it_does() {
    const MIB: usize = 1 << 20;
    let fs = SimFs::new(15);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 40);
    let refused = Fault {
        path: "topics/t-".into(),
        error: Errno::NOSPC,
        lasting: true,
        ..Fault::next(Operation::Write)
    };
    fs.fail(refused);
    let value = "y".repeat(MIB);
    let full = AppendError::Unavailable(Unavailable::Full);
    let taken =
        topic.partitions.iter().take_while(|log| now(store.append(log, batch(&[&value]))).is_ok()).count();
    assert_eq!(taken, 32, "the one that exceeds 32 MiB is still taken");
    let next = topic.partition(39).unwrap();
    assert_eq!(now(store.append(next, batch(&["small"]))), Err(full.clone()));
    assert_eq!(now(store.append(topic.partition(0).unwrap(), batch(&["small"]))), Err(full));
    for log in &topic.partitions[..taken] {
        assert_eq!(values(log, Offset(0)).unwrap().len(), 1, "it is read from memory");
    }
    fs.heal();
    assert!(now(store.append(next, batch(&["small"]))).is_ok());
    let fs = fs.crash(3);
    drop((topic, store));
    let store = open(&fs).unwrap();
    let topic = store.topics().by_name("t").cloned().unwrap();
    for log in &topic.partitions[..taken] {
        assert_eq!(values(log, Offset(0)).unwrap().len(), 1);
    }
}

#[test]
fn a12_added_partitions_are_there_after_a_power_cut_and_lie_nowhere_before_their_first_batch() {
    let fs = SimFs::new(7);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    now(store.append(topic.partition(0).unwrap(), batch(&["a"]))).unwrap();
    now(store.add_partitions(topic.id, 1, vec![vec![NodeId(1)]; 3])).unwrap();
    let grown = store.topics().by_name("t").cloned().unwrap();
    assert!(Arc::ptr_eq(topic.partition(0).unwrap(), grown.partition(0).unwrap()));
    now(store.append(grown.partition(2).unwrap(), batch(&["b"]))).unwrap();
    let dirs = |fs: &SimFs| {
        let entries = fs.list(Path::new("data/topics")).unwrap();
        entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
    };
    assert_eq!(dirs(&fs), ["t-0", "t-2"]);
    // This request counted the partitions before that.
    let late = now(store.add_partitions(topic.id, 1, vec![vec![NodeId(1)]]));
    assert_eq!(late, Err(StoreError::Refused(Refusal::NotTheNextPartition { next: 4 })));
    let fs = fs.crash(3);
    drop(store);
    let store = open(&fs).unwrap();
    let topic = store.topics().by_name("t").cloned().unwrap();
    let logs = topic.partitions.iter().map(|log| texts(values(log, Offset(0)).unwrap()));
    assert_eq!(logs.collect::<Vec<_>>(), [vec!["a".to_owned()], vec![], vec!["b".to_owned()], vec![]]);
    now(store.delete_topic(topic.id)).unwrap();
    assert_eq!(dirs(&fs), [""; 0]);
}

#[test]
fn i11_on_a_full_disk_deletions_continue() {
    let fs = SimFs::new(5);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 2);
    let other = make_topic(&store, "u", 1);
    let log = topic.partition(0).unwrap();
    let long = "y".repeat(1000);
    for _ in 0..20 {
        now(store.append(log, batch(&[&long]))).unwrap();
        store.run_background();
    }
    // Segments cannot be written either, so these records are only in the journal.
    fs.fail(Fault { path: ".log".into(), lasting: true, ..Fault::next(Operation::Write) });
    now(store.append(topic.partition(1).unwrap(), batch(&["in the journal"]))).unwrap();
    fs.set_capacity(Some(fs.used()));
    store.housekeep();
    assert_eq!(now(store.append(log, batch(&[&long]))), Err(AppendError::Unavailable(Unavailable::Full)));
    assert_eq!(now(store.delete_before(log, Offset(15))), Ok(Offset(15)));
    assert_eq!(now(store.delete_before(topic.partition(1).unwrap(), Offset(1))), Ok(Offset(1)));
    assert_eq!(now(store.delete_topic(other.id)), Ok(()));
    let used = fs.used();
    store.run_background();
    assert!(fs.used() < used, "the files are gone");
    let fs = fs.crash(2);
    drop(store);
    let store = open(&fs).unwrap();
    let topic = store.topics().by_name("t").cloned().unwrap();
    let starts: Vec<_> = topic.partitions.iter().map(|log| log.ends().log_start).collect();
    assert_eq!((starts, store.topics().by_name("u").is_some()), (vec![Offset(15), Offset(1)], false));
}

#[test]
fn i11_transactions_that_never_end_hold_no_room_and_are_ended_on_a_full_disk() {
    let fs = SimFs::new(5);
    let store = open(&fs).unwrap();
    let overrides = BTreeMap::from([("retention.bytes".to_owned(), "8000".to_owned())]);
    let topic = now(store.create_topic(NewTopic { name: "t".into(), partitions: 1, overrides })).unwrap();
    let log = topic.partition(0).unwrap();
    let init = |store: &Store, id: &str| {
        let (known, rolls) = (None, Vec::new());
        let init = InitTransaction { id: id.to_owned(), known, timeout_ms: i32::MAX, two_phase: true, rolls };
        now(store.transact(Command::InitTransaction(init)))
    };
    for id in ["one", "two"] {
        let Ok(Applied::TransactionInitialized { producer }) = init(&store, id) else { panic!("it is new") };
        let producer = Producer { id: producer.id, epoch: producer.epoch, base_sequence: 0 };
        let batch = BatchBuilder::new().producer(producer).transactional().value(Timestamp(999_000), id);
        now(store.append_and_join(log, checked(batch.build()))).unwrap();
    }
    let long = "y".repeat(1000);
    let journal = |fs: &SimFs| fs.list(Path::new("data/journal")).unwrap().len();
    let mut most = 0;
    for number in 0..200 {
        now(store.append(log, batch(&[&long]))).unwrap();
        store.housekeep();
        store.run_background();
        if number == 50 {
            most = fs.used();
        }
    }
    assert!(
        fs.used() < most + 8_000 && journal(&fs) < 6,
        "{} bytes after {most}, {}",
        fs.used(),
        journal(&fs)
    );
    let ends = log.ends();
    assert!(ends.log_start > Offset(100), "retention goes on behind the transactions: {ends:?}");
    assert_eq!(ends.last_stable, ends.log_start);
    fs.set_capacity(Some(fs.used() + 3_000));
    while now(store.append(log, batch(&[&long]))).is_ok() {
        store.run_background();
    }
    fs.set_capacity(Some(fs.used()));
    assert_eq!(now(store.append(log, batch(&[&long]))), Err(AppendError::Unavailable(Unavailable::Full)));
    assert!(values(log, log.ends().log_start).unwrap().len() > 5, "reads go on");
    let producer = store.transactions().get("one").unwrap().producer;
    let end = EndTransaction {
        id: "one".to_owned(),
        producer,
        began: None,
        end: TransactionEnd::Commit,
        by: EndedBy::ClientWithNewEpoch,
        rolls: Vec::new(),
    };
    let ended = now(store.transact(Command::EndTransaction(end)));
    assert!(matches!(ended, Ok(Applied::TransactionEnded(_))), "{ended:?}");
    let aborted = init(&store, "two");
    assert!(matches!(aborted, Ok(Applied::TransactionEnded(_))), "{aborted:?}");
    let again = init(&store, "two");
    assert!(matches!(again, Ok(Applied::TransactionInitialized { .. })), "{again:?}");
    let ends = log.ends();
    assert_eq!(ends.last_stable, ends.high_watermark);
    let fs = fs.crash(3);
    drop(store);
    let store = open(&fs).unwrap();
    assert_eq!(log_of(&store).ends(), ends);
    assert_eq!(store.transactions().count_open(), 0);
}

#[test]
fn i11_a_segment_without_room_leaves_its_records_in_the_journal_and_loses_nothing() {
    let fs = SimFs::new(6);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    let full = Errno::NOSPC;
    fs.fail(Fault { path: ".log".into(), lasting: true, error: full, ..Fault::next(Operation::Write) });
    assert!(
        now(store.append(log, batch(&["in the journal"]))).is_ok(),
        "it is safe in the journal, so it is acknowledged"
    );
    assert_eq!(texts(values(log, Offset(0)).unwrap()), ["in the journal"]);
    assert_eq!(now(store.append(log, batch(&["refused"]))), Err(AppendError::Unavailable(Unavailable::Full)));
    let fs = fs.crash(1);
    drop(store);
    let store = open(&fs).unwrap();
    let topic = store.topics().by_name("t").cloned().unwrap();
    assert_eq!(texts(values(topic.partition(0).unwrap(), Offset(0)).unwrap()), ["in the journal"]);
}

#[test]
fn i11_a_partition_that_cannot_be_written_is_a_trouble_with_its_reason_until_it_can() {
    let fs = SimFs::new(6);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 2);
    let troubles = |store: &Store| {
        let named = |trouble: jackdaw::storage::Trouble| (trouble.kind.name(), trouble.count, trouble.why);
        store.troubles().into_iter().map(named).collect::<Vec<_>>()
    };
    assert_eq!(troubles(&store), []);
    let denied = Fault {
        path: "topics/t-1".into(),
        lasting: true,
        error: Errno::ACCESS,
        ..Fault::next(Operation::Create)
    };
    fs.fail(denied.clone());
    for log in &topic.partitions {
        now(store.append(log, batch(&["a"]))).unwrap();
    }
    let why = "t-1: access is denied: records from offset 0 on are only in the journal; \
               give the broker's user permission to read and write it";
    assert_eq!(troubles(&store), [("partitions_not_writable", 1, why.to_owned())]);

    let fs = fs.kill();
    fs.fail(denied);
    drop((store, topic));
    let store = open(&fs).unwrap();
    assert_eq!(troubles(&store), [("partitions_not_writable", 1, why.to_owned())], "after a start too");
    fs.heal();
    store.housekeep();
    assert_eq!(troubles(&store), []);
}

#[test]
fn p10_a_repeated_batch_is_recognised_after_a_restart() {
    let fs = SimFs::new(7);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let first = now(store.append(topic.partition(0).unwrap(), batch_of(1, 0, 0, &["a", "b"]))).unwrap();
    let fs = fs.crash(3);
    drop(store);
    let store = open(&fs).unwrap();
    let log = log_of(&store);
    let again = now(store.append(&log, batch_of(1, 0, 0, &["a", "b"]))).unwrap();
    assert_eq!(again.base_offset, first.base_offset);
    assert_eq!(texts(values(&log, Offset(0)).unwrap()), ["a", "b"]);
    let gap = now(store.append(&log, batch_of(1, 0, 7, &["z"])));
    assert_eq!(gap, Err(AppendError::Refused(Refusal::OutOfOrderSequence { expected: 2, got: 7 })));
}

#[test]
fn i14_a_deleted_topic_never_returns_and_its_name_begins_anew() {
    let fs = SimFs::new(8);
    let store = open(&fs).unwrap();
    let old = make_topic(&store, "t", 1);
    now(store.append(old.partition(0).unwrap(), batch(&["old"]))).unwrap();
    now(store.delete_topic(old.id)).unwrap();
    assert_eq!(now(store.append(old.partition(0).unwrap(), batch(&["late"]))), Err(AppendError::NotServing));
    assert_eq!(values(old.partition(0).unwrap(), Offset(0)), Err(LogError::NotServing));
    let new = make_topic(&store, "t", 1);
    assert_ne!(new.id, old.id);
    now(store.append(new.partition(0).unwrap(), batch(&["new"]))).unwrap();
    let fs = fs.kill();
    drop(store);
    let store = open(&fs).unwrap();
    let log = log_of(&store);
    assert_eq!(values(&log, Offset(0)).unwrap(), [(0, "new".into())]);
    assert_eq!(now(store.delete_topic(old.id)), Err(TopicError::Unknown));
}

#[test]
fn o4_the_log_start_moves_for_good_and_files_below_it_go() {
    let fs = SimFs::new(9);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    let long = "x".repeat(1000);
    for _ in 0..20 {
        now(store.append(log, batch(&[&long]))).unwrap();
    }
    assert_eq!(now(store.delete_before(log, Offset(11))), Ok(Offset(11)));
    assert_eq!(now(store.delete_before(log, Offset(4))), Ok(Offset(11)), "never back");
    store.run_background();
    let beyond = now(store.delete_before(log, Offset(21)));
    assert!(matches!(beyond, Err(LogError::OutOfRange { .. })));
    assert!(matches!(values(log, Offset(10)), Err(LogError::OutOfRange { .. })));
    let fs = fs.crash(1);
    drop(store);
    let store = open(&fs).unwrap();
    let log = log_of(&store);
    assert_eq!(log.ends().log_start, Offset(11));
    assert_eq!(values(&log, Offset(11)).unwrap().len(), 9);
    let files = fs.list(Path::new("data/topics/t-0")).unwrap();
    assert!(files.iter().all(|file| file.name != "00000000000000000000.log"));
}

#[test]
fn files_that_could_not_be_removed_are_removed_by_the_next_housekeeping() {
    let fs = SimFs::new(10);
    let store = open(&fs).unwrap();
    let (topic, gone) = (make_topic(&store, "t", 1), make_topic(&store, "gone", 1));
    let log = topic.partition(0).unwrap();
    (0..30).for_each(|_| drop(now(store.append(log, batch(&[&"x".repeat(900)])))));
    now(store.append(gone.partition(0).unwrap(), batch(&["a"]))).unwrap();
    let files = |dir: &str| fs.list(Path::new(dir)).unwrap().len();
    let before = files("data/topics/t-0");
    fs.fail(Fault { lasting: true, ..Fault::next(Operation::Remove) });
    now(store.delete_before(log, Offset(25))).unwrap();
    now(store.delete_topic(gone.id)).unwrap();
    for _ in 0..2 {
        store.housekeep();
        store.run_background();
        assert_eq!((files("data/topics/t-0"), files("data/trash")), (before, 1));
    }
    fs.heal();
    store.housekeep();
    store.run_background();
    assert!(files("data/topics/t-0") < before / 2);
    assert_eq!(files("data/trash"), 0);
}

#[test]
fn f14_an_emptied_log_keeps_its_end() {
    let fs = SimFs::new(10);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    now(store.append(log, batch(&["a", "b", "c"]))).unwrap();
    now(store.delete_before(log, Offset(3))).unwrap();
    let fs = fs.crash(1);
    drop(store);
    let store = open(&fs).unwrap();
    let log = log_of(&store);
    assert_eq!((log.ends().log_start, log.ends().high_watermark), (Offset(3), Offset(3)));
    assert_eq!(now(store.append(&log, batch(&["d"]))).unwrap().base_offset, Offset(3));
    assert_eq!(values(&log, Offset(3)).unwrap(), [(3, "d".into())]);
}

#[test]
fn o8_a_partition_that_lost_its_tail_has_a_new_leader_epoch_and_keeps_it() {
    let fs = SimFs::new(11);
    let store = Store::open(options(&fs, Durability::Os)).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    now(store.append(log, batch(&["a"]))).unwrap();
    store.request_snapshot();
    store.run_background();
    // Records in the segment that are not in the journal, as after a power cut in `os` mode.
    lengthen(&fs, "data/topics/t-0/00000000000000000000.log");
    let fs = fs.kill();
    drop(store);
    for _ in 0..2 {
        let store = open(&fs).unwrap();
        let log = log_of(&store);
        assert_eq!(log.ends().leader_epoch, LeaderEpoch(1));
        assert_eq!(log.end_of_epoch(LeaderEpoch(0)), Some((LeaderEpoch(0), Offset(1))));
        assert_eq!(log.end_of_epoch(LeaderEpoch(1)), Some((LeaderEpoch(1), Offset(1))));
        assert_eq!(log.end_of_epoch(LeaderEpoch(5)), None);
    }
}

#[test]
fn o6_a_record_is_found_with_the_leader_epoch_that_wrote_it() {
    let fs = SimFs::new(19);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    now(store.append(topic.partition(0).unwrap(), batch(&["before"]))).unwrap();
    lengthen(&fs, "data/topics/t-0/00000000000000000000.log");
    let fs = fs.kill();
    drop(store);
    let store = open(&fs).unwrap();
    let log = log_of(&store);
    let later = jackdaw::record::BatchBuilder::new().value(Timestamp(999_500), "after");
    now(store.append(&log, crate::disk::checked(later.build()))).unwrap();
    let epoch = |time| now(log.offset_for_time(Timestamp(time))).unwrap().unwrap().leader_epoch;
    assert_eq!((epoch(0), epoch(999_500)), (LeaderEpoch(0), LeaderEpoch(1)));
    assert_eq!(log.end_of_epoch(LeaderEpoch(0)), Some((LeaderEpoch(0), Offset(1))), "O7");
}

/// Appends bytes to a segment that are not in the journal.
fn lengthen(fs: &SimFs, path: &str) {
    let file = fs.open(Path::new(path), jackdaw::storage::local::fs::Open::Write).unwrap();
    let size = file.len().unwrap();
    file.write_at(&[std::io::IoSlice::new(b"half a batch")], size).unwrap();
}

#[test]
fn o1_o4_records_are_found_by_their_time() {
    let fs = SimFs::new(12);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    assert_eq!(now(log.max_timestamp()), Ok(None));
    for seconds in [10, 30, 20, 40] {
        let builder = jackdaw::record::BatchBuilder::new().value(Timestamp(seconds * 1000), "x".repeat(1500));
        now(store.append(log, crate::disk::checked(builder.build()))).unwrap();
    }
    let at = |seconds: i64| {
        now(log.offset_for_time(Timestamp(seconds * 1000))).unwrap().map(|found| found.offset.0)
    };
    assert_eq!(
        [at(0), at(10), at(11), at(30), at(31), at(41)],
        [Some(0), Some(0), Some(1), Some(1), Some(3), None]
    );
    assert_eq!(now(log.max_timestamp()).unwrap().unwrap().offset, Offset(3));
    now(store.delete_before(log, Offset(2))).unwrap();
    assert_eq!(at(0), Some(2), "O4: not below the log start");
}

#[test]
fn o1_records_that_are_not_in_their_segment_yet_are_found_by_their_time() {
    let fs = SimFs::new(12);
    let mut store = open(&fs).unwrap();
    let log = Arc::clone(make_topic(&store, "t", 1).partition(0).unwrap());
    let built = |times: &[i64]| {
        let record = |batch: BatchBuilder, time: &i64| batch.value(Timestamp(time * 1000), "x");
        checked(times.iter().fold(BatchBuilder::new(), record).build())
    };
    now(store.append(&log, built(&[10]))).unwrap();
    let no_write = Fault {
        path: "topics/t-0".into(),
        lasting: true,
        error: Errno::NOSPC,
        ..Fault::next(Operation::Write)
    };
    fs.fail(no_write.clone());
    now(store.append(&log, built(&[30, 20, 40, 35]))).unwrap();
    assert_eq!(now(store.append(&log, built(&[50]))), Err(AppendError::Unavailable(Unavailable::Full)));
    let check = |log: &Partition, context: &str| {
        let at = |seconds: i64| {
            let found = now(log.offset_for_time(Timestamp(seconds * 1000)));
            found.unwrap_or_else(|error| panic!("{context}: {error:?}")).map(|found| found.offset.0)
        };
        let found = [at(10), at(11), at(31), at(41)];
        assert_eq!(found, [Some(0), Some(1), Some(3), None], "{context}");
        let newest = now(log.max_timestamp()).unwrap().unwrap();
        assert_eq!((newest.offset, newest.timestamp), (Offset(3), Timestamp(40_000)), "{context}");
        assert_eq!(log.time_of(Offset(2)), Ok(Some(Timestamp(40_000))), "{context}");
    };
    check(&log, "in the journal alone");
    let fs = fs.crash(1);
    fs.fail(no_write);
    drop((store, log));
    store = open(&fs).unwrap();
    check(&log_of(&store), "after a start that cannot write them either");
    fs.heal();
    store.housekeep();
    check(&log_of(&store), "written");

    // A log start offset among records that no segment has.
    let fs = SimFs::new(13);
    let store = open(&fs).unwrap();
    let log = Arc::clone(make_topic(&store, "t", 1).partition(0).unwrap());
    now(store.append(&log, built(&[10]))).unwrap();
    fs.fail(Fault { path: "topics/t-0".into(), lasting: true, ..Fault::next(Operation::Write) });
    now(store.append(&log, built(&[30, 20, 40, 35]))).unwrap();
    now(store.delete_before(&log, Offset(4))).unwrap();
    assert_eq!(now(log.max_timestamp()).unwrap().unwrap().offset, Offset(4));
    assert_eq!(now(log.offset_for_time(Timestamp(0))).unwrap().unwrap().offset, Offset(4));
    assert_eq!(log.time_of(Offset(0)), Ok(Some(Timestamp(40_000))));
}

/// 31 daily records that are written at once, in topics whose segments last a week.
#[test]
fn segments_end_by_the_time_of_their_records_and_retention_goes_by_them() {
    const DAY: i64 = 24 * 3_600_000;
    let fs = SimFs::new(14);
    let options = options(&fs, Durability::Fsync);
    options.clock.set(Timestamp(31 * DAY));
    let store = Store::open(options).unwrap();
    for codec in [Codec::None, Codec::Gzip] {
        let topic = make_topic(&store, codec.name(), 1);
        let log = topic.partition(0).unwrap();
        for day in 0..31 {
            let batch = BatchBuilder::new().codec(codec).value(Timestamp(day * DAY), "of the day");
            now(store.append(log, checked(batch.build()))).unwrap();
        }
        assert_eq!(log.extents(), 4, "from the days 0, 8, 16 and 24 on");
        store.housekeep();
        assert_eq!(log.ends().log_start, Offset(24), "{codec:?}: as in Kafka a week stays");
    }
    let timeless = make_topic(&store, "timeless", 1);
    let log = timeless.partition(0).unwrap();
    for _ in 0..31 {
        now(store.append(log, checked(BatchBuilder::new().value(Timestamp(-1), "no time").build()))).unwrap();
    }
    assert_eq!(log.extents(), 1, "without timestamps the clock counts");
}

#[test]
fn a_damaged_segment_takes_only_its_partition_out_of_service() {
    let fs = closed_with_a_record_in_each(13);
    fs.flip_bit(Path::new("data/topics/t-0/00000000000000000000.log"), 65 * 8).unwrap();
    let store = open(&fs).unwrap();
    let topic = store.topics().by_name("t").cloned().unwrap();
    let (bad, good) = (topic.partition(0).unwrap(), topic.partition(1).unwrap());
    assert_eq!(values(bad, Offset(0)), Err(LogError::Damaged));
    assert_eq!(now(store.append(bad, batch(&["b"]))), Err(AppendError::Damaged));
    assert_eq!(texts(values(good, Offset(0)).unwrap()), ["a"]);
    assert!(now(store.append(good, batch(&["b"]))).is_ok());
    let files = fs.list(Path::new("data/topics/t-0")).unwrap();
    assert!(files.iter().any(|file| file.name.ends_with(".log")), "nothing is deleted");
}

#[test]
fn a_missing_segment_is_reported_at_start_and_only_that_partition_is_out() {
    let fs = closed_with_a_record_in_each(14);
    fs.remove(Path::new("data/topics/t-1/00000000000000000000.log")).unwrap();
    let store = open(&fs).unwrap();
    let topic = store.topics().by_name("t").cloned().unwrap();
    assert_eq!(texts(values(topic.partition(0).unwrap(), Offset(0)).unwrap()), ["a"]);
    assert_eq!(values(topic.partition(1).unwrap(), Offset(0)), Err(LogError::Damaged));
}

#[test]
fn a_flipped_bit_in_partition_metadata_costs_nothing_and_is_put_right() {
    let whole = closed_with_a_record_in_each(24);
    let path = Path::new("data/topics/t-0/partition.metadata");
    let before = read_all(&whole, path, 4096).unwrap();
    for bit in 0..before.len() as u64 * 8 {
        let fs = whole.fork();
        fs.flip_bit(path, bit).unwrap();
        let store = open(&fs).unwrap();
        let topic = store.topics().by_name("t").cloned().unwrap();
        assert_eq!(texts(values(topic.partition(0).unwrap(), Offset(0)).unwrap()), ["a"], "bit {bit}");
        // Bytes outside the id may stay as they are, and only two bits of its last letter count.
        let after = read_all(&fs, path, 4096).unwrap();
        assert!(after == before || bit / 8 < 11 || bit / 8 == 42, "bit {bit}: {after:?}");
    }
}

#[test]
fn a_directory_that_says_it_is_another_topics_is_out_of_service_and_nothing_in_it_is_touched() {
    let fs = SimFs::new(25);
    let store = open(&fs).unwrap();
    for (name, value) in [("a", "of a"), ("b", "of b")] {
        now(store.append(make_topic(&store, name, 1).partition(0).unwrap(), batch(&[value]))).unwrap();
    }
    store.close();
    drop(store);
    let of = |name: &str, to: &str| {
        fs.rename(Path::new(&format!("data/topics/{name}")), Path::new(&format!("data/topics/{to}"))).unwrap()
    };
    of("a-0", "c-0");
    of("b-0", "a-0");
    of("c-0", "b-0");
    let store = open(&fs).unwrap();
    for name in ["a", "b"] {
        let topic = store.topics().by_name(name).cloned().unwrap();
        assert_eq!(values(topic.partition(0).unwrap(), Offset(0)), Err(LogError::Damaged));
    }
    // Deleting one topic keeps files that may belong to the other one.
    now(store.delete_topic(store.topics().by_name("a").unwrap().id)).unwrap();
    store.run_background();
    assert!(fs.metadata(Path::new("data/topics/a-0/00000000000000000000.log")).is_ok());
}

#[test]
fn an_unknown_directory_stays_and_is_moved_for_a_new_topic_without_being_removed() {
    let fs = SimFs::new(26);
    let store = open(&fs).unwrap();
    now(store.append(make_topic(&store, "t", 1).partition(0).unwrap(), batch(&["a"]))).unwrap();
    store.close();
    drop(store);
    fs.rename(Path::new("data/topics/t-0"), Path::new("data/topics/kept-0")).unwrap();
    for _ in 0..3 {
        let store = open(&fs).unwrap();
        store.run_background();
        store.close();
        assert!(fs.metadata(Path::new("data/topics/kept-0/00000000000000000000.log")).is_ok());
    }
    let store = open(&fs).unwrap();
    let kept = make_topic(&store, "kept", 1);
    now(store.append(kept.partition(0).unwrap(), batch(&["new"]))).unwrap();
    assert_eq!(texts(values(kept.partition(0).unwrap(), Offset(0)).unwrap()), ["new"]);
    assert!(fs.metadata(Path::new("data/aside/0.kept-0/00000000000000000000.log")).is_ok());
    assert!(fs.metadata(Path::new("data/topics/kept-0/00000000000000000000.log")).is_ok());
}

#[test]
fn a_deleted_topic_leaves_nothing_behind_whenever_the_power_goes() {
    for seed in 0..120 {
        let fs = SimFs::new(seed);
        let store = open(&fs).unwrap();
        let other = make_topic(&store, "other", 1);
        for _ in 0..4 {
            let topic = make_topic(&store, "t", 2);
            now(store.append(topic.partition(0).unwrap(), batch(&["a"]))).unwrap();
            now(store.delete_topic(topic.id)).unwrap();
            if seed % 3 == 0 {
                store.request_snapshot();
                store.run_background();
            }
            now(store.append(other.partition(0).unwrap(), batch(&[&"x".repeat(2500)]))).unwrap();
        }
        if seed % 2 == 0 {
            store.run_background();
        }
        let fs = if seed % 5 == 0 { fs.kill() } else { fs.crash(seed) };
        drop(store);
        open(&fs).unwrap();
        let names: Vec<_> =
            fs.list(Path::new("data/topics")).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["other-0"], "seed {seed}");
    }
}

#[test]
fn starts_and_ends_leave_two_snapshots_however_many_there_are_and_none_where_nothing_changed() {
    let fs = SimFs::new(27);
    let snapshots = |fs: &SimFs| fs.list(Path::new("data/snapshot")).unwrap().len();
    let mut fs_now = fs;
    let mut written = 0;
    for round in 0..12 {
        let store = open(&fs_now).unwrap();
        assert!(snapshots(&fs_now) <= 2, "round {round}");
        if round < 4 {
            make_topic(&store, &format!("t{round}"), 1);
        }
        if round % 2 == 0 {
            store.close();
        }
        fs_now = fs_now.kill();
        drop(store);
        let now_written = fs_now.trace().matches(".snapshot.new").count();
        assert!(round < 6 || now_written == written, "round {round}: a snapshot of what is there already");
        written = now_written;
    }
    assert_eq!(snapshots(&fs_now), 2);
    let used = fs_now.used();
    for _ in 0..40 {
        drop(open(&fs_now).unwrap());
        fs_now = fs_now.kill();
    }
    assert_eq!(fs_now.used(), used, "a loop of restarts takes no room");
}

#[test]
fn a_damaged_snapshot_costs_a_longer_replay_and_nothing_else() {
    let fs = SimFs::new(15);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    for _ in 0..3 {
        now(store.append(topic.partition(0).unwrap(), batch(&["a"]))).unwrap();
        store.request_snapshot();
        store.run_background();
    }
    let fs = fs.kill();
    drop(store);
    let snapshots = fs.list(Path::new("data/snapshot")).unwrap();
    let newest = Path::new("data/snapshot").join(&snapshots.last().unwrap().name);
    fs.flip_bit(&newest, 200).unwrap();
    let damaged = read_all(&fs, &newest, u64::MAX).unwrap();
    let unfinished = Path::new("data/snapshot/7.snapshot.new");
    fs.open(unfinished, jackdaw::storage::local::fs::Open::New).unwrap();
    let store = open(&fs).unwrap();
    let log = log_of(&store);
    assert_eq!(values(&log, Offset(0)).unwrap().len(), 3);
    assert_ne!(read_all(&fs, &newest, u64::MAX).ok(), Some(damaged), "a damaged snapshot is removed");
    assert!(read_all(&fs, unfinished, u64::MAX).is_err(), "a snapshot that was never finished is removed");
}

#[test]
fn a_directory_in_use_of_a_newer_format_of_another_node_or_not_ours_is_refused() {
    let fs = SimFs::new(16);
    let store = open(&fs).unwrap();
    assert!(matches!(open(&fs), Err(OpenError::InUse { .. })));
    store.close();
    drop(store);

    let mut other_node = options(&fs, Durability::Fsync);
    let mut settings = (*other_node.settings).clone();
    settings.node_id = NodeId(7);
    other_node.settings = settings.into();
    assert!(matches!(Store::open(other_node), Err(OpenError::OtherNode { .. })));

    let meta = fs.open(Path::new("data/meta"), jackdaw::storage::local::fs::Open::Write).unwrap();
    let text = "format=9\n";
    let newer = format!("{text}checksum={:08x}\n", crc32c::crc32c(text.as_bytes()));
    meta.truncate(0).unwrap();
    meta.write_at(&[std::io::IoSlice::new(newer.as_bytes())], 0).unwrap();
    assert!(matches!(open(&fs), Err(OpenError::Newer { format: 9, .. })));

    let fs = SimFs::new(17);
    fs.create_dir(Path::new("data")).unwrap();
    fs.open(Path::new("data/holiday.jpg"), jackdaw::storage::local::fs::Open::New).unwrap();
    assert!(matches!(open(&fs), Err(OpenError::NotOurs { .. })));
}

#[test]
fn a_clean_end_leaves_nothing_to_replay_and_refuses_later_work() {
    let fs = SimFs::new(18);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    now(store.append(log, batch(&["a"]))).unwrap();
    store.close();
    assert_eq!(now(store.append(log, batch(&["late"]))), Err(AppendError::Unavailable(Unavailable::Stopped)));
    drop(store);
    let store = open(&fs).unwrap();
    let log = log_of(&store);
    assert_eq!(texts(values(&log, Offset(0)).unwrap()), ["a"]);
    assert_eq!(log.ends().leader_epoch, LeaderEpoch(0));
}

#[test]
fn a_clean_end_waits_for_a_snapshot_that_is_under_way_and_takes_one_of_the_very_end() {
    let fs = SimFs::new(21);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let with_topic = store.position();
    store.request_snapshot();
    now(store.append(topic.partition(0).unwrap(), batch(&["a"]))).unwrap();
    store.close();
    let snapshots = fs.list(Path::new("data/snapshot")).unwrap();
    let positions: Vec<u64> = snapshots
        .iter()
        .map(|entry| entry.name.strip_suffix(".snapshot").unwrap().parse().unwrap())
        .collect();
    assert_eq!(positions.last(), Some(&(with_topic + 1)), "with the record: {positions:?}");
    assert!(positions.contains(&with_topic));
}

#[test]
fn many_segments_are_made_durable_with_one_sync_of_the_volume() {
    let fs = SimFs::new(22);
    let (store, topic) = with_a_record_in_each_of_150(&fs);
    now(store.append(topic.partition(7).unwrap(), batch(&["b"]))).unwrap();
    let whole = fs.fork();
    store.close();
    assert!(fs.trace().contains("SyncVolume"));
    let failing = whole;
    failing.fail(Fault::next(Operation::SyncVolume));
    for (seed, ended) in (0..8).flat_map(|seed| [(seed, &fs), (seed, &failing)]) {
        let store = open(&ended.fork().crash(seed)).unwrap();
        let topic = store.topics().by_name("t").cloned().unwrap();
        for partition in &topic.partitions {
            let expected: &[&str] = if partition.index == 7 { &["a", "b"] } else { &["a"] };
            assert_eq!(texts(values(partition, Offset(0)).unwrap()), expected, "seed {seed}");
        }
    }
}

#[test]
fn i10_after_a_failed_sync_of_the_volume_nothing_more_is_acknowledged_and_nothing_is_lost() {
    let fs = SimFs::new(23);
    let (store, topic) = with_a_record_in_each_of_150(&fs);
    fs.fail(Fault::next(Operation::SyncVolume));
    store.request_snapshot();
    store.run_background();
    let refused = now(store.append(topic.partition(0).unwrap(), batch(&["late"])));
    assert_eq!(refused, Err(AppendError::Unavailable(Unavailable::Poisoned)));
    store.close();
    let store = open(&fs.crash(3)).unwrap();
    let topic = store.topics().by_name("t").cloned().unwrap();
    for partition in &topic.partitions {
        assert_eq!(texts(values(partition, Offset(0)).unwrap()), ["a"]);
    }
}

#[test]
fn a_group_id_of_32_kib_in_any_script_survives_a_power_cut() {
    let fs = SimFs::new(20);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    let id = format!("\u{0}\n🦜{}", "€".repeat(10_900));
    now(crate::history::submit(&store, &id, crate::history::commit(topic.id, 5))).unwrap();
    let fs = fs.crash(2);
    drop(store);
    let store = open(&fs).unwrap();
    let groups = store.groups();
    assert_eq!(groups.iter().map(|(id, _)| &**id).collect::<Vec<_>>(), [id.as_str()]);
    assert_eq!(
        store.group(&id).unwrap().offsets.get(TopicPartition::new(topic.id, 0)).unwrap().offset,
        Offset(5)
    );
}

#[test]
fn leaders_isrs_and_epochs_follow_the_brokers_that_run_and_survive_a_power_cut() {
    let (one, two) = (NodeId(1), NodeId(2));
    let fs = SimFs::new(91);
    let store = open(&fs).unwrap();
    now(store.set_brokers(vec![one, two])).unwrap();
    let topic = now(store.create_placed_topic("t".into(), Default::default(), vec![vec![two, one]])).unwrap();
    now(store.append(topic.partition(0).unwrap(), batch(&["a"]))).unwrap();
    let waiter = Waiter::new();
    topic.partition(0).unwrap().watch(&waiter);
    now(store.set_brokers(vec![one])).unwrap();
    now(waiter.woken());
    now(store.append(topic.partition(0).unwrap(), batch(&["b"]))).unwrap();

    let shown = |store: &Store| {
        let topics = store.topics();
        let topic = topics.by_name("t").unwrap();
        let placement = topic.placement(0).unwrap();
        (placement.leader, placement.isr.clone(), topic.partitions[0].ends().leader_epoch)
    };
    assert_eq!(shown(&store), (Some(one), vec![one], LeaderEpoch(1)));
    assert_eq!(topic.partition(0).unwrap().epoch_of(Offset(0)), LeaderEpoch(0));
    assert_eq!(topic.partition(0).unwrap().epoch_of(Offset(1)), LeaderEpoch(1));
    now(store.set_brokers(vec![two, one])).unwrap();
    assert_eq!(store.topics().running(), [one, two]);
    assert_eq!(now(store.elect_preferred(topic.id, 0)), Ok(true));
    assert_eq!(now(store.elect_preferred(topic.id, 0)), Ok(false), "and nothing is written for it");
    let settled = (Some(two), vec![two, one], LeaderEpoch(2));
    assert_eq!(shown(&store), settled);
    assert_eq!(now(store.set_replicas(topic.id, 0, vec![NodeId(9)])), refused(Refusal::NoReplicaRuns));

    let fs = fs.crash(5);
    drop(store);
    let mut both = options(&fs, Durability::Fsync);
    both.brokers = vec![one, two];
    assert_eq!(shown(&Store::open(both).unwrap()), settled);
    // With fewer brokers, the remaining one is the leader.
    assert_eq!(shown(&open(&fs.crash(6)).unwrap()), (Some(one), vec![one], LeaderEpoch(3)));
}

#[test]
fn settings_of_brokers_are_shown_at_once_and_survive_a_power_cut() {
    let fs = SimFs::new(92);
    let store = open(&fs).unwrap();
    let value = |store: &Store| store.settings().get(&Scope::DefaultBroker)?.get("log.retention.ms").cloned();
    let retention = |value: Option<&str>| [("log.retention.ms".to_owned(), value.map(str::to_owned))].into();
    now(store.alter_settings(Scope::DefaultBroker, retention(Some("7")))).unwrap();
    assert_eq!(value(&store).as_deref(), Some("7"));
    let fs = fs.crash(5);
    drop(store);
    let store = open(&fs).unwrap();
    assert_eq!(value(&store).as_deref(), Some("7"));
    now(store.alter_settings(Scope::DefaultBroker, retention(None))).unwrap();
    assert_eq!(value(&store), None);
}

fn refused<T>(refusal: Refusal) -> Result<T, StoreError> {
    Err(StoreError::Refused(refusal))
}

#[test]
fn i2_the_producers_that_are_forgotten_are_the_same_after_a_replay_and_new_ones_are_refused_until_then() {
    const MOST: i64 = (1 << 20) / jackdaw::kernel::producers::PRODUCER_BYTES as i64;
    const MINUTE: i64 = 60_000;
    let fs = SimFs::new(92);
    let clock = Clock::manual(Timestamp(1_000_000));
    let open = |fs: &SimFs| {
        let mut given = Given::default();
        given.set("jackdaw.producers.max.bytes", "1048576");
        let settings = Arc::new(BrokerSettings::load(given).unwrap());
        Store::open(StoreOptions { clock: clock.clone(), settings, ..options(fs, Durability::Fsync) })
            .unwrap()
    };
    let store = open(&fs);
    make_topic(&store, "t", 1);
    let write = |store: &Store, producer, sequence| {
        let written = now(store.append(&log_of(store), batch_of(producer, 0, sequence, &["x"])));
        written.map(|appended| (appended.base_offset.0, appended.repeated))
    };
    for producer in 0..MOST {
        assert_eq!(write(&store, producer, 0), Ok((producer, false)));
    }
    assert_eq!(write(&store, MOST, 0), Err(AppendError::Refused(Refusal::TooManyProducers)));
    clock.set(Timestamp(1_000_000 + 15 * MINUTE));
    assert_eq!(write(&store, MOST, 0), Ok((MOST, false)), "0 is forgotten for it");
    let fs = fs.crash(3);
    drop(store);

    let store = open(&fs);
    assert_eq!(write(&store, 1, 0), Ok((1, true)), "a retry is known");
    assert_eq!(write(&store, 0, 0), Ok((MOST + 1, false)), "the one that was forgotten begins anew");
    assert_eq!(write(&store, 1, 0), Ok((MOST + 2, false)), "and 1 was forgotten for it, 15 minutes after");
}

#[test]
fn x11_a_hanging_sync_does_not_count_for_the_timeout_of_a_transaction() {
    let (fs, clock) = (SimFs::new(93), Clock::manual(Timestamp(1_000_000)));
    let store =
        Store::open(StoreOptions { clock: clock.clone(), ..options(&fs, Durability::Fsync) }).unwrap();
    let partition = make_topic(&store, "t", 1).partitions[0].clone();
    let rules = TransactionRules::from(&BrokerSettings::default());
    let transactions = Transactions::start(store.clone(), rules, clock.clone());
    let pass = |seconds| now(transactions.turn_clock(Duration::from_secs(seconds)));
    let mut producer = now(transactions.init("tx", None, TimeLimit::Millis(10_000))).unwrap();
    for was_seen in [true, false] {
        now(transactions.join("tx", producer, vec![partition.key()], Vec::new())).unwrap();
        if was_seen {
            pass(1);
        }
        fs.hang(Operation::SyncData, Duration::from_secs(30), &clock);
        now(store.append(&partition, batch(&["x"]))).unwrap();
        pass(0);
        let end = transactions.end("tx", producer, TransactionEnd::Commit, EndedBy::ClientWithNewEpoch);
        producer = now(end).expect("the producer is not fenced");
    }
    now(transactions.join("tx", producer, vec![partition.key()], Vec::new())).unwrap();
    pass(10);
    assert!(transactions.get("tx").unwrap().is_open());
    pass(1);
    assert!(!transactions.get("tx").unwrap().is_open());
}
