//! A topic is deleted and created again under the same name, while the keeper still has work for the old one.
//! That work does not touch the new topic, and nothing fails because the old one is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use jackdaw::config::{BrokerSettings, Durability};
use jackdaw::record::BatchBuilder;
use jackdaw::storage::local::fs::{Fault, Fs, Operation, SimFs};
use jackdaw::storage::{Location, NewTopic, Partition, Store, StoreOptions};
use jackdaw::types::{Offset, Timestamp, TransactionEnd};
use rustix::io::Errno;

use crate::damage::{PAYER, pay};
use crate::disk::{batch, checked, make_topic, now, options, producer_of, values};

/// The keeper's pending work for the topic `t` when it is deleted.
#[derive(Clone, Copy, Debug)]
enum Ask {
    RemoveSegments,
    /// Files that could not be removed before.
    RemoveLeft,
    Snapshot,
    /// The list of an aborted transaction is written with the snapshot.
    AbortedList,
    Compact,
    EmptyTrash,
    Nothing,
}

/// The way the store ends before it is opened again.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    Kill,
    PowerCut,
}

fn log_of(store: &Store) -> Arc<Partition> {
    store.topics().by_name("t").unwrap().partition(0).cloned().unwrap()
}

fn make(store: &Store) -> Arc<Partition> {
    make_topic(store, "t", 1);
    log_of(store)
}

fn delete(store: &Store) {
    now(store.delete_topic(store.topics().by_name("t").unwrap().id)).unwrap();
}

/// A compacted topic with several segments of two keys each.
fn make_compacted(store: &Store) -> Arc<Partition> {
    let overrides = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];
    let overrides = overrides.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    now(store.create_topic(NewTopic { name: "t".into(), partitions: 1, overrides })).unwrap();
    let log = log_of(store);
    for number in 0..12 {
        let value = format!("{number} {}", "x".repeat(900));
        let key = Bytes::copy_from_slice(&[b'a' + number % 2]);
        let batch = BatchBuilder::new().record(Timestamp(999_000), Some(&key), Some(value.as_bytes()), &[]);
        now(store.append(&log, checked(batch.build()))).unwrap();
    }
    log
}

fn ask(fs: &SimFs, store: &Store, ask: Ask, value: &str) {
    match ask {
        Ask::Compact => {
            make_compacted(store);
            store.run_background();
            store.compact();
        }
        Ask::RemoveSegments => {
            let log = make(store);
            for _ in 0..3 {
                now(store.append(&log, batch(&[value]))).unwrap();
            }
            store.run_background();
            now(store.delete_before(&log, Offset(3))).unwrap();
        }
        Ask::RemoveLeft => {
            let log = make(store);
            for _ in 0..3 {
                now(store.append(&log, batch(&[value]))).unwrap();
            }
            store.run_background();
            let kept = Fault { path: "topics/t-0".into(), lasting: true, ..Fault::next(Operation::Remove) };
            fs.fail(kept);
            now(store.delete_before(&log, Offset(3))).unwrap();
            store.run_background();
            fs.heal();
            store.housekeep();
        }
        Ask::AbortedList => {
            let log = make(store);
            let mut payer = producer_of(store, PAYER);
            for _ in 0..8 {
                payer = pay(store, &log, payer, TransactionEnd::Abort);
            }
            store.request_snapshot();
        }
        Ask::Snapshot => {
            now(store.append(&make(store), batch(&[value]))).unwrap();
            store.run_background();
            store.request_snapshot();
        }
        Ask::EmptyTrash => {
            now(store.append(&make(store), batch(&[value]))).unwrap();
            delete(store);
            now(store.append(&make(store), batch(&[value]))).unwrap();
        }
        Ask::Nothing => {
            now(store.append(&make(store), batch(&[value]))).unwrap();
        }
    }
}

/// Checks the new topic's records before and after the keeper's work, and after a restart.
fn play(durability: Durability, asked: Ask, length: usize, end: End) {
    let context = format!("{durability:?} {asked:?} {length} {end:?}");
    let fs = SimFs::new(length as u64);
    let store = Store::open(options(&fs, durability)).unwrap();
    ask(&fs, &store, asked, &format!("old {}", "x".repeat(length)));
    delete(&store);
    let log = make(&store);
    let text = |number| format!("{number} {}", "y".repeat(length));
    for number in 0..2 {
        now(store.append(&log, batch(&[&text(number)])))
            .unwrap_or_else(|error| panic!("{context}: {error:?}"));
    }
    store.run_background();
    now(store.append(&log, batch(&[&text(2)]))).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    store.request_snapshot();
    store.run_background();
    now(store.append(&log, batch(&[&text(3)]))).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let expected: Vec<(i64, String)> = (0..4).map(|number| (number, text(number))).collect();
    assert_eq!(values(&log, Offset(0)).unwrap(), expected, "{context}");
    assert!(store.is_writable(), "{context}");
    let fs = match end {
        End::Close => {
            store.close();
            fs.kill()
        }
        End::Kill => fs.kill(),
        End::PowerCut => fs.crash(7),
    };
    drop((log, store));
    let store = Store::open(options(&fs, durability)).unwrap();
    assert!(!log_of(&store).is_damaged(), "{context}");
    assert_eq!(values(&log_of(&store), Offset(0)).unwrap(), expected, "{context}");
}

#[test]
fn i1_i14_pending_work_of_the_keeper_for_a_deleted_topic_takes_nothing_from_the_next_one() {
    use Ask::*;
    for asked in [RemoveSegments, RemoveLeft, Snapshot, AbortedList, Compact, EmptyTrash, Nothing] {
        // Small batches go through the journal; large ones are written directly to their segment.
        for length in [10, 2_000, 3_500] {
            for end in [End::Close, End::Kill, End::PowerCut] {
                play(Durability::Fsync, asked, length, end);
            }
            for end in [End::Close, End::Kill] {
                play(Durability::Interval, asked, length, end);
                play(Durability::Os, asked, length, end);
            }
        }
    }
}

#[test]
fn i14_where_the_directory_of_a_deleted_topic_cannot_be_moved_the_next_one_waits_until_it_can() {
    let fs = SimFs::new(1);
    let store = Store::open(options(&fs, Durability::Fsync)).unwrap();
    for _ in 0..3 {
        now(store.append(&make(&store), batch(&["old", &"x".repeat(3_500)]))).unwrap();
        let stuck = Fault { path: "topics/t-0".into(), lasting: true, ..Fault::next(Operation::Rename) };
        fs.fail(stuck);
        delete(&store);
        fs.heal();
        store.run_background();
    }
    let log = make(&store);
    now(store.append(&log, batch(&["new"]))).unwrap();
    assert_eq!(values(&log, Offset(0)).unwrap(), [(0, "new".into())]);
    store.close();
    drop((log, store));
    let store = Store::open(options(&fs.kill(), Durability::Fsync)).unwrap();
    assert_eq!(values(&log_of(&store), Offset(0)).unwrap(), [(0, "new".into())]);
}

#[test]
fn i14_a_deleted_topic_does_not_come_back_where_a_kill_and_then_a_power_cut_follow() {
    for seed in 0..200 {
        let fs = SimFs::new(seed);
        let store = Store::open(options(&fs, Durability::Fsync)).unwrap();
        now(store.append(&make(&store), batch(&["old"]))).unwrap();
        delete(&store);
        // The directory has been moved to the trash, and the move is not synced.
        let fs = fs.kill();
        drop(store);
        let store = Store::open(options(&fs, Durability::Fsync)).unwrap();
        // By now there is a snapshot without the old topic.
        make(&store);
        let fs = fs.crash(seed);
        drop(store);
        let store = Store::open(options(&fs, Durability::Fsync)).unwrap();
        let log = log_of(&store);
        assert!(!log.is_damaged(), "seed {seed}: the old directory is back");
        now(store.append(&log, batch(&["new"]))).unwrap();
        assert_eq!(values(&log, Offset(0)), Ok(vec![(0, "new".into())]), "seed {seed}");
    }
}

/// Syncs of segments whose files were closed, because other files were opened meanwhile.
#[test]
fn i10_a_file_that_cannot_be_opened_to_be_synced_is_no_failed_sync() {
    use Errno as E;
    let files = [E::MFILE, E::NFILE, E::NOENT, E::IO, E::ACCESS, E::ROFS].map(|error| (error, ".log"));
    let others = ["partition.metadata", "t-1", "topics"].map(|what| (E::MFILE, what));
    for (error, what) in files.into_iter().chain(others) {
        let fs = SimFs::new(1);
        let mut given = options(&fs, Durability::Fsync);
        given.tuning.snapshot_bytes = 64 << 20;
        let store = Store::open(given).unwrap();
        let topic = make_topic(&store, "t", 700);
        for partition in &topic.partitions {
            now(store.append(partition, batch(&["a"]))).unwrap();
        }
        store.request_snapshot();
        store.run_background();
        // 50 segments that are not synced, and then 600 others that take the descriptors.
        let (some, others) = topic.partitions.split_at(50);
        for partition in some {
            now(store.append(partition, batch(&["b"]))).unwrap();
        }
        for partition in others {
            assert_eq!(values(partition, Offset(0)).unwrap(), [(0, "a".into())]);
        }
        let fault = Fault { path: what.into(), error, lasting: true, ..Fault::next(Operation::Open) };
        fs.fail(fault);
        store.request_snapshot();
        store.run_background();
        fs.heal();
        assert!(store.is_writable(), "{error:?} {what}");
        now(store.append(&some[0], batch(&["c"]))).unwrap();
        let fs = fs.crash(3);
        drop(store);
        let store = Store::open(options(&fs, Durability::Fsync)).unwrap();
        let texts = values(store.topics().by_name("t").unwrap().partition(0).unwrap(), Offset(0));
        let texts: Vec<String> = texts.unwrap().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["a", "b", "c"], "{error:?} {what}");
    }
}

/// On a real disk, with the threads of a real store. One task creates, writes to and deletes a topic again
/// and again, another takes snapshots and compacts, a third one reads.
#[test]
fn i10_a_topic_that_comes_and_goes_under_everybodys_hands_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Arc::new(BrokerSettings::default());
    let opened = || {
        let mut given = StoreOptions::new(Location::Directory(dir.path().to_owned()), Arc::clone(&settings));
        given.tuning = crate::disk::SMALL;
        given.tuning.snapshot_bytes = 1 << 16;
        Store::open(given).unwrap()
    };
    let store = opened();
    make_topic(&store, "steady", 1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (store, stop) = (&store, &stop);
        let others = [
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    store.request_snapshot();
                    store.compact();
                    std::thread::yield_now();
                }
            }),
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(topic) = store.topics().by_name("t") {
                        let _ = values(topic.partition(0).unwrap(), Offset(0));
                    }
                }
            }),
        ];
        for round in 0..150 {
            let log = make(store);
            for number in 0..4 {
                let value = format!("{round} {number} {}", "x".repeat(1_000 * number));
                now(store.append(&log, batch(&[&value]))).unwrap();
            }
            let found = values(&log, Offset(0)).unwrap();
            assert!(found.len() == 4 && found.iter().all(|(_, text)| text.starts_with(&format!("{round} "))));
            now(store.delete_before(&log, Offset(2))).unwrap();
            delete(store);
        }
        now(store.append(&make(store), batch(&["last"]))).unwrap();
        stop.store(true, Ordering::Relaxed);
        others.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(store.is_writable());
    store.close();
    drop(store);
    assert_eq!(values(&log_of(&opened()), Offset(0)).unwrap(), [(0, "last".into())]);
}

#[test]
fn the_directory_that_a_crash_left_empty_goes_with_its_topic() {
    let fs = SimFs::new(77);
    let store = Store::open(options(&fs, Durability::Fsync)).unwrap();
    make(&store);
    fs.create_dir(std::path::Path::new("data/topics/t-0")).unwrap();
    delete(&store);
    assert_eq!(fs.list(std::path::Path::new("data/topics")).unwrap().len(), 0);
}
