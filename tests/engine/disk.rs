//! Stores on simulated disks, and batches for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jackdaw::config::{BrokerSettings, Durability, Given};
use jackdaw::kernel::{Applied, Command, InitTransaction, ProducerAt};
use jackdaw::record::{self, BatchBuilder, Checked, Header, Marker, Rules};
use jackdaw::storage::local::fs::{Fs, SimFs};
use jackdaw::storage::local::inspect::{Report, verify};
use jackdaw::storage::{
    Isolation, Location, LogError, NewTopic, OpenError, Partition, ReadRange, Store, StoreOptions, Topic,
    Tuning,
};
use jackdaw::time::Clock;
use jackdaw::types::{
    AbortedTransaction, Offset, ProducerEpoch, ProducerId, Timestamp, TransactionEnd, Uuid,
};

/// Small enough that short histories roll segments, take snapshots and recycle journal files.
pub const SMALL: Tuning = Tuning {
    snapshot_bytes: 6_000,
    journal_file_bytes: 16_384,
    recent_bytes: 2_000,
    inline_below: 3_000,
    segment_bytes: 4_000,
    open_segments: 8,
};

pub fn options(fs: &SimFs, durability: Durability) -> StoreOptions {
    let settings = Arc::new(BrokerSettings::load(Given::default()).expect("the defaults are valid"));
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    StoreOptions {
        durability,
        clock: Clock::manual(Timestamp(1_000_000)),
        tuning: SMALL,
        new_id,
        ..StoreOptions::new(Location::Simulated(fs, PathBuf::from("data")), settings)
    }
}

pub fn open(fs: &SimFs) -> Result<Store, OpenError> {
    Store::open(options(fs, Durability::Fsync))
}

/// Unique ids, which are the same in every run of a single test.
fn new_id() -> Uuid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0x11; 16];
    id[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Uuid(id)
}

/// Runs a future to its end. A store without threads has finished its work when the call returns.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

pub fn make_topic(store: &Store, name: &str, partitions: u32) -> Arc<Topic> {
    now(store.create_topic(NewTopic { name: name.into(), partitions, overrides: BTreeMap::new() })).unwrap()
}

pub fn checked(bytes: Bytes) -> Checked {
    record::check_produced(bytes, &Rules::LENIENT).expect("the builder's batches are valid")
}

/// A batch of `values`, one record each.
pub fn batch(values: &[&str]) -> Checked {
    let batch =
        values.iter().fold(BatchBuilder::new(), |batch, value| batch.value(Timestamp(999_000), value));
    checked(batch.build())
}

pub fn batch_of(producer: i64, epoch: i16, base_sequence: i32, values: &[&str]) -> Checked {
    let producer = record::Producer { id: ProducerId(producer), epoch: ProducerEpoch(epoch), base_sequence };
    let start = BatchBuilder::new().producer(producer);
    let batch = values.iter().fold(start, |batch, value| batch.value(Timestamp(999_000), value));
    checked(batch.build())
}

/// Every batch from the one that contains `from` to the end.
pub fn batches(partition: &Partition, from: Offset) -> Result<Vec<(Header, Bytes)>, LogError> {
    let mut next = from;
    let mut found = Vec::new();
    loop {
        let range = ReadRange {
            from: next,
            max_bytes: 700,
            at_least_one_batch: true,
            isolation: Isolation::ReadUncommitted,
            listed: false,
        };
        let answer = now(partition.read(range))?;
        let bytes = answer.to_bytes().unwrap();
        if bytes.is_empty() {
            assert_eq!(next, answer.ends.high_watermark, "an answer is only empty at the end");
            return Ok(found);
        }
        for batch in record::batches(&bytes) {
            let (header, batch) = batch.expect("whole batches");
            next = header.next_offset().expect("there are offsets left");
            found.push((header, batch));
        }
    }
}

/// Every value from `from` to the end, with its offset.
pub fn values(partition: &Partition, from: Offset) -> Result<Vec<(i64, String)>, LogError> {
    let mut found = Vec::new();
    for (_, batch) in batches(partition, from)? {
        for record in record::records(&batch).expect("readable") {
            let record = record.expect("readable");
            if record.offset >= from {
                let value = record.value.expect("every value is there");
                found.push((record.offset.0, String::from_utf8(value.to_vec()).unwrap()));
            }
        }
    }
    Ok(found)
}

/// Starts the producer of a transactional id that has no open transaction.
pub fn producer_of(store: &Store, id: &str) -> ProducerAt {
    let (known, rolls) = (None, vec![]);
    let init = InitTransaction { id: id.into(), known, timeout_ms: 60_000, two_phase: false, rolls };
    match now(store.transact(Command::InitTransaction(init))).unwrap() {
        Applied::TransactionInitialized { producer } => producer,
        other => panic!("{other:?}"),
    }
}

/// All files below a directory; none where there is no such directory.
pub fn files(fs: &SimFs, dir: &Path) -> Vec<PathBuf> {
    let entries = fs.list(dir).unwrap_or_default().into_iter();
    entries
        .flat_map(|entry| {
            let path = dir.join(entry.name);
            if entry.is_dir { files(fs, &path) } else { vec![path] }
        })
        .collect()
}

/// The report of `jackdaw log verify`.
pub fn look(fs: &SimFs) -> Report {
    verify(&(Arc::new(fs.clone()) as Arc<dyn Fs>), Path::new("data")).unwrap()
}

/// The offsets of the records that a consumer with read_committed keeps.
pub fn committed_offsets(
    partition: &Arc<Partition>,
    from: i64,
    most: usize,
) -> Result<BTreeSet<i64>, LogError> {
    let (mut seen, mut next) = (BTreeSet::new(), Offset(from));
    loop {
        let isolation = Isolation::ReadCommitted;
        let range =
            ReadRange { from: next, max_bytes: most, at_least_one_batch: true, isolation, listed: false };
        let answer = now(partition.read(range))?;
        if answer.records.is_empty() {
            return Ok(seen);
        }
        let aborted = now(partition.aborted(next..answer.next))?;
        seen.extend(kept(&answer.to_bytes().unwrap(), aborted).into_iter().filter(|offset| *offset >= from));
        next = answer.next;
    }
}

/// The filter of every client (the Java client's `CompletedFetch`).
fn kept(answer: &Bytes, mut aborted: Vec<AbortedTransaction>) -> Vec<i64> {
    assert!(aborted.is_sorted_by_key(|transaction| transaction.last), "in the order of the markers");
    aborted.sort_by_key(|transaction| transaction.first);
    let mut aborted = aborted.into_iter().peekable();
    let (mut skipped, mut kept) = (BTreeSet::<ProducerId>::new(), Vec::new());
    for batch in record::batches(answer) {
        let (header, batch) = batch.unwrap();
        let last = header.last_offset().unwrap();
        while let Some(transaction) = aborted.next_if(|transaction| transaction.first <= last) {
            skipped.insert(transaction.producer);
        }
        if let Some(marker) = Marker::of_batch(&batch) {
            if marker.end == TransactionEnd::Abort {
                skipped.remove(&marker.producer);
            }
        } else if !skipped.contains(&header.producer_id) {
            kept.extend(header.base_offset.0..=last.0);
        }
    }
    kept
}
