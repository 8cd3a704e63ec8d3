//! Data directories of every released format are opened by this version. `format-1/` was made by
//! [`make`] below, in the state that kill -9 leaves: a snapshot and a journal behind it.

use std::fs;
use std::path::Path;

use jackdaw::config::{BrokerSettings, Given};
use jackdaw::kernel::Refusal;
use jackdaw::storage::groups::GroupStore;
use jackdaw::storage::{AppendError, Place, Store, StoreOptions};
use jackdaw::types::Offset;

use crate::disk::{SMALL, batch, batch_of, make_topic, now, values};
use crate::history::commit;

const FORMAT_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/format-1");

fn open(dir: &Path) -> Store {
    let settings = BrokerSettings::load(Given::default()).unwrap();
    let options =
        StoreOptions { tuning: SMALL, ..StoreOptions::new(Place::Directory(dir.into()), settings.into()) };
    Store::open(options).unwrap()
}

#[test]
fn i17_a_directory_of_format_1_is_opened_with_all_that_is_in_it() {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(Path::new(FORMAT_1), copy.path());
    check(copy.path());
}

/// The version that introduces a format keeps such a directory: `KEEP_FORMAT=DIR cargo test --test
/// engine this_version`.
#[test]
fn this_version_opens_what_it_makes() {
    let copy = tempfile::tempdir().unwrap();
    make(copy.path());
    if let Some(kept) = std::env::var_os("KEEP_FORMAT") {
        copy_tree(copy.path(), Path::new(&kept));
    }
    check(copy.path());
}

fn check(dir: &Path) {
    let store = open(dir);
    let topics = store.topics();
    let names: Vec<_> = topics.iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["orders", "payments"]);

    let orders = topics.by_name("orders").unwrap();
    let first: Vec<_> = (3..30).map(|number| (number, format!("order {number}"))).collect();
    assert_eq!(values(orders.partition(0).unwrap(), Offset(3)).unwrap(), first);
    assert_eq!(orders.partition(0).unwrap().ends().log_start, Offset(3));
    let second = values(orders.partition(1).unwrap(), Offset(0)).unwrap();
    assert_eq!(second, [(0, "idempotent".to_owned()), (1, "twice".to_owned()), (2, "large".repeat(1000))]);

    let repeated = now(orders.partition(1).unwrap().append(batch_of(7, 0, 0, &["idempotent", "twice"])));
    assert_eq!(repeated.unwrap().base_offset, Offset(0));
    let gap = now(orders.partition(1).unwrap().append(batch_of(7, 0, 5, &["gap"])));
    assert_eq!(gap, Err(AppendError::Refused(Refusal::OutOfOrderSequence { expected: 2, got: 5 })));

    let group = store.reload("group").unwrap();
    assert_eq!(group.offset((orders.id, 0)).unwrap().offset, Offset(17));
    assert!(now(orders.partition(0).unwrap().append(batch(&["goes on"]))).is_ok());
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn make(target: &Path) {
    let made = tempfile::tempdir().unwrap();
    let store = open(made.path());
    let orders = make_topic(&store, "orders", 2);
    let gone = make_topic(&store, "gone", 1);
    now(gone.partition(0).unwrap().append(batch(&["gone"]))).unwrap();
    for number in 0..20 {
        now(orders.partition(0).unwrap().append(batch(&[&format!("order {number}")]))).unwrap();
    }
    now(orders.partition(1).unwrap().append(batch_of(7, 0, 0, &["idempotent", "twice"]))).unwrap();
    store.close();
    drop(store);
    let store = open(made.path());
    let orders = store.topics().by_name("orders").cloned().unwrap();
    make_topic(&store, "payments", 1);
    now(store.delete_topic(store.topics().by_name("gone").unwrap().id)).unwrap();
    for number in 20..30 {
        now(orders.partition(0).unwrap().append(batch(&[&format!("order {number}")]))).unwrap();
    }
    now(orders.partition(1).unwrap().append(batch(&[&"large".repeat(1000)]))).unwrap();
    now(orders.partition(0).unwrap().delete_before(Offset(3))).unwrap();
    now(store.submit("group", commit(orders.id, 17))).unwrap();
    copy_tree(made.path(), target);
}
