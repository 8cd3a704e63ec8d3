//! Nothing is written into the files of a partition that is out of service: they may belong to another partition, or lack
//! records. A transaction that is open in it can end all the same; its marker is kept until a start finds the files whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jackdaw::kernel::{Command, EndTransaction, EndedBy, ProducerAt};
use jackdaw::record::{self, BatchBuilder};
use jackdaw::storage::local::fs::{Fs, Open, SimFs, read_all};
use jackdaw::storage::{Partition, Store};
use jackdaw::types::{Offset, Timestamp, TransactionEnd};

use crate::damage::{PAYER, pay, write_whole};
use crate::disk::{batch, checked, committed_offsets, files, make_topic, now, open, producer_of, values};

const SEGMENT: &str = "00000000000000000000.log";

fn partition(store: &Store, name: &str) -> Arc<Partition> {
    store.topics().by_name(name).unwrap().partition(0).unwrap().clone()
}

fn append(store: &Store, name: &str, value: &str) {
    now(store.append(&partition(store, name), batch(&[value]))).unwrap();
}

/// Appends a record of a transaction, which stays open.
fn begin_to_pay(store: &Store, name: &str, ProducerAt { id, epoch }: ProducerAt) {
    let payment = BatchBuilder::new()
        .producer(record::Producer { id, epoch, base_sequence: 0 })
        .transactional()
        .value(Timestamp(999_000), "open");
    now(store.append_and_join(&partition(store, name), checked(payment.build()))).unwrap();
}

fn end(store: &Store, producer: ProducerAt) {
    let (began, by, rolls) = (None, EndedBy::Client, vec![]);
    let end = TransactionEnd::Abort;
    let end = EndTransaction { id: PAYER.into(), producer, began, end, by, rolls };
    now(store.transact(Command::EndTransaction(end))).unwrap();
}

fn snapshot(store: &Store) {
    store.request_snapshot();
    store.run_background();
}

/// All files below a directory, with their contents.
fn contents(fs: &SimFs, dir: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let found = files(fs, Path::new(dir)).into_iter();
    found.map(|path| (path.clone(), read_all(fs, &path, u64::MAX).unwrap())).collect()
}

/// The values of the records that a consumer with read_committed keeps.
fn committed_values(store: &Store, name: &str) -> Vec<String> {
    let log = partition(store, name);
    let kept = committed_offsets(&log, 0, 700).unwrap();
    let all = values(&log, Offset(0)).unwrap().into_iter();
    all.filter(|(offset, _)| kept.contains(offset)).map(|(_, value)| value).collect()
}

#[test]
fn i11_the_end_of_a_transaction_leaves_a_segment_that_lost_its_end_as_it_is() {
    let fs = SimFs::new(1);
    let store = open(&fs).unwrap();
    make_topic(&store, "t", 1);
    let payer = producer_of(&store, PAYER);
    append(&store, "t", "old");
    snapshot(&store);
    let segment = Path::new("data/topics/t-0").join(SEGMENT);
    let copy = read_all(&fs, &segment, 1 << 20).unwrap();
    // An aborted one ends after the snapshot too, so the start has its entry for the list of the segment.
    let payer = pay(&store, &partition(&store, "t"), payer, TransactionEnd::Abort);
    begin_to_pay(&store, "t", payer);
    append(&store, "t", "late");
    let fs = fs.kill();
    drop(store);
    fs.open(&segment, Open::Write).unwrap().truncate(copy.len() as u64 - 9).unwrap();
    let damaged = contents(&fs, "data/topics/t-0");
    let store = open(&fs).unwrap();
    snapshot(&store);
    end(&store, payer);
    snapshot(&store);
    store.close();
    drop(store);
    let store = open(&fs).unwrap();
    assert!(partition(&store, "t").is_damaged(), "out of service still");
    assert!(contents(&fs, "data/topics/t-0") == damaged, "its files have changed");
    store.close();
    drop(store);
    write_whole(&fs, &segment, &copy);
    let store = open(&fs).unwrap();
    assert_eq!(committed_values(&store, "t"), ["old", "late"]);
    let log = partition(&store, "t");
    assert_eq!(log.ends().last_stable, log.ends().high_watermark);
    append(&store, "t", "new");
}

#[test]
fn i11_the_end_of_a_transaction_leaves_the_directory_of_another_topic_as_it_is() {
    let fs = SimFs::new(1);
    let store = open(&fs).unwrap();
    ["a", "b"].iter().for_each(|name| drop(make_topic(&store, name, 1)));
    let payer = producer_of(&store, PAYER);
    let payer = pay(&store, &partition(&store, "a"), payer, TransactionEnd::Abort);
    begin_to_pay(&store, "a", payer);
    (0..3).for_each(|number| append(&store, "b", &format!("b {number}")));
    store.close();
    drop(store);
    let swap = || {
        let [a, b, between] = ["data/topics/a-0", "data/topics/b-0", "data/topics/between"].map(Path::new);
        [(a, between), (b, a), (between, b)].iter().for_each(|(from, to)| fs.rename(from, to).unwrap());
        fs.sync_dir(Path::new("data/topics")).unwrap();
    };
    swap();
    let swapped = contents(&fs, "data/topics");
    let store = open(&fs).unwrap();
    assert!(partition(&store, "a").is_damaged() && partition(&store, "b").is_damaged());
    end(&store, payer);
    snapshot(&store);
    store.close();
    drop(store);
    assert!(contents(&fs, "data/topics") == swapped, "their files have changed");
    swap();
    let store = open(&fs).unwrap();
    assert_eq!(committed_values(&store, "b"), ["b 0", "b 1", "b 2"]);
    assert_eq!(committed_values(&store, "a"), [""; 0]);
    append(&store, "a", "new");
    assert_eq!(committed_values(&store, "a"), ["new"]);
}
