//! A data directory, and the check of a start after damage: `log verify` predicts it, acknowledged records are served
//! or their loss is reported, and no valid data is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jackdaw::config::Durability;
use jackdaw::kernel::{Applied, Command, EndTransaction, EndedBy, ProducerAt};
use jackdaw::record::{self, BatchBuilder};
use jackdaw::storage::local::fs::{Fs, Open, SimFs, read_all};
use jackdaw::storage::local::inspect::{NextStart, verify};
use jackdaw::storage::{LogError, NewTopic, Partition, Store, StoreOptions};
use jackdaw::time::Clock;
use jackdaw::types::{Offset, Timestamp, TransactionEnd};

use crate::disk::{
    batch, checked, committed_offsets, files, make_topic, now, open, options, producer_of, values,
};
use crate::history::{commit, committed, submit};

/// A data directory, and the records that were acknowledged before its end.
pub struct Life {
    pub fs: SimFs,
    /// The same directory at an earlier time.
    pub earlier: SimFs,
    /// By the names of partition directories.
    records: BTreeMap<String, Vec<(i64, String)>>,
    /// The offsets of the records of committed transactions.
    paid: BTreeSet<i64>,
    committed: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ended {
    Closed,
    Killed,
}

/// A directory with topics of several segments, a compacted one, one of transactions, a deleted one and one that was created
/// again, a moved log start offset, batches in the journal and others only in segments, two snapshots, and
/// several journal files.
pub fn life(ended: Ended) -> Life {
    let fs = SimFs::new(1);
    let settings =
        StoreOptions { clock: Clock::manual(Timestamp(1_000_000)), ..options(&fs, Durability::Fsync) };
    let store = Store::open(settings).unwrap();
    let orders = make_topic(&store, "orders", 2);
    let gone = make_topic(&store, "gone", 1);
    let again = make_topic(&store, "again", 1);
    let given = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];
    let overrides = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let new = NewTopic { name: "compacted".into(), partitions: 1, overrides };
    let compacted = now(store.create_topic(new)).unwrap();
    let payments = make_topic(&store, "payments", 1);
    let payments = payments.partition(0).unwrap();
    let mut payer = producer_of(&store, PAYER);
    let append = |topic: &jackdaw::storage::Topic, index, value: &str| {
        now(store.append(topic.partition(index).unwrap(), batch(&[value, "second"]))).unwrap();
    };
    for number in 0..14 {
        append(&orders, 0, &format!("orders 0 {number} {}", "x".repeat(500 + number)));
        append(&orders, 1, &format!("orders 1 {number} {}", "y".repeat(300 + 7 * number)));
        append(&gone, 0, "gone");
        append(&again, 0, &format!("the first {number}"));
        let value = format!("{number} {}", "z".repeat(700));
        let record = BatchBuilder::new().record(
            Timestamp(1),
            Some(&[b'a' + number as u8 % 3]),
            Some(value.as_bytes()),
            &[],
        );
        now(store.append(compacted.partition(0).unwrap(), checked(record.build()))).unwrap();
        let end = if number % 3 == 0 { TransactionEnd::Commit } else { TransactionEnd::Abort };
        payer = pay(&store, payments, payer, end);
        store.run_background();
    }
    store.compact();
    now(store.delete_before(orders.partition(1).unwrap(), Offset(5))).unwrap();
    now(submit(&store, "group", commit(orders.id, 11))).unwrap();
    store.request_snapshot();
    store.run_background();
    let earlier = fs.fork();
    now(store.delete_topic(gone.id)).unwrap();
    now(store.delete_topic(again.id)).unwrap();
    let again = make_topic(&store, "again", 1);
    for number in 0..4 {
        append(&again, 0, &format!("the second {number}"));
        append(&orders, 0, &format!("orders 0 late {number} {}", "x".repeat(400 + number)));
    }
    append(&orders, 1, &"large".repeat(800));
    payer = pay(&store, payments, payer, TransactionEnd::Abort);
    store.request_snapshot();
    store.run_background();
    append(&orders, 0, "small, at the end");
    pay(&store, payments, payer, TransactionEnd::Abort);
    append(&orders, 1, &"large, at the end".repeat(250));
    now(submit(&store, "group", commit(orders.id, 17))).unwrap();
    let mut records = BTreeMap::new();
    for topic in store.topics().iter() {
        for partition in &topic.partitions {
            let found = values(partition, partition.ends().log_start).unwrap();
            assert!(found.len() > 4, "{} {}", topic.name, found.len());
            records.insert(format!("{}-{}", topic.name, partition.index), found);
        }
    }
    let paid = committed_offsets(payments, 0, 700).unwrap();
    assert_eq!(paid.len(), 5, "of 16 payments");
    if ended == Ended::Closed {
        store.close();
    }
    let fs = fs.kill();
    drop(store);
    Life { fs, earlier, records, paid, committed: 17 }
}

pub const PAYER: &str = "payer";

/// A transaction with one record.
pub fn pay(store: &Store, payments: &Arc<Partition>, payer: ProducerAt, end: TransactionEnd) -> ProducerAt {
    let ProducerAt { id, epoch } = payer;
    let batch = BatchBuilder::new()
        .producer(record::Producer { id, epoch, base_sequence: 0 })
        .transactional()
        .value(Timestamp(999_000), "p".repeat(700));
    now(store.append_and_join(payments, checked(batch.build()))).unwrap();
    let (began, by, rolls) = (None, EndedBy::ClientWithNewEpoch, vec![]);
    let end = EndTransaction { id: PAYER.into(), producer: payer, began, end, by, rolls };
    match now(store.transact(Command::EndTransaction(end))).unwrap() {
        Applied::TransactionEnded(ended) => ended.producer,
        other => panic!("{other:?}"),
    }
}

pub fn write_whole(fs: &SimFs, path: &Path, bytes: &[u8]) {
    let file = fs.open(path, Open::WriteOrNew).unwrap();
    file.truncate(0).unwrap();
    file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
}

/// The number of mutations for each outcome, so that no outcome is missing.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub refused: u64,
    pub out_at_start: u64,
    pub out_when_read: u64,
    pub served: u64,
}

/// Verifies, starts, reads everything, and compares.
pub fn check(life: &Life, fs: &SimFs, outcomes: &mut Outcomes) -> Result<(), String> {
    let changes = fs.changes();
    let report = verify(&(Arc::new(fs.clone()) as Arc<dyn Fs>), Path::new("data"));
    let report = report.map_err(|error| format!("verify: {error}"))?;
    same("changes by verify", fs.changes(), changes)?;
    let logs_before = logs(fs);
    let (account, store) = match (report.next_start, open(fs)) {
        (NextStart::Refused(foretold), Err(refusal)) => {
            outcomes.refused += 1;
            same("the refusal", foretold.to_string(), refusal.to_string())?;
            return same("segments after a refusal", logs(fs) == logs_before, true);
        }
        (NextStart::Serves(account), Ok(store)) => (account, store),
        (foretold, started) => return Err(format!("{foretold:?}, but {:?}", started.err())),
    };
    let mut out_at_start = BTreeSet::new();
    let mut out_when_read = BTreeSet::new();
    let topics = store.topics();
    same("topics", topics.iter().count(), 4)?;
    for (name, known) in &life.records {
        let (topic, index) = name.rsplit_once('-').unwrap();
        let topic = topics.by_name(topic).ok_or_else(|| format!("{topic} is gone"))?;
        let partition = topic.partition(index.parse().unwrap()).unwrap();
        if partition.is_damaged() {
            out_at_start.insert(name.clone());
            continue;
        }
        match values(partition, partition.ends().log_start) {
            Ok(found) => {
                same(name, &found, known)?;
                if &*topic.name == "payments" {
                    let found =
                        committed_offsets(partition, 0, 700).map_err(|error| format!("{name}: {error:?}"))?;
                    same("committed payments", &found, &life.paid)?;
                }
            }
            Err(LogError::Damaged) => drop(out_when_read.insert(name.clone())),
            Err(error) => return Err(format!("{name}: {error:?}")),
        }
    }
    same("the commit of the group", committed(&store), life.committed)?;
    let foretold: BTreeSet<String> = account.out_of_service.keys().cloned().collect();
    same("out of service from the start", foretold, out_at_start.clone())?;
    same("out of service when read", report.out_when_read, out_when_read.clone())?;
    let after = logs(fs);
    for (path, bytes) in logs_before {
        let dir = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let stays = out_at_start.contains(&dir) || account.unknown.contains(&dir);
        if stays && after.get(&path) != Some(&bytes) {
            return Err(format!("{} was changed", path.display()));
        }
    }
    outcomes.out_at_start += u64::from(!out_at_start.is_empty());
    outcomes.out_when_read += u64::from(!out_when_read.is_empty());
    outcomes.served += u64::from(out_at_start.is_empty() && out_when_read.is_empty());
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, foretold: T, found: T) -> Result<(), String> {
    if foretold == found { Ok(()) } else { Err(format!("{what}: {foretold:.300?} is not {found:.300?}")) }
}

/// Segment files and their contents.
fn logs(fs: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    let logs = files(fs, Path::new("data/topics"));
    let logs = logs.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.map(|path| (path.clone(), read_all(fs, &path, u64::MAX).unwrap())).collect()
}
