//! The scrub finds damage that appears while the broker runs, in records that no client reads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jackdaw::config::{BrokerSettings, Durability};
use jackdaw::storage::local::fs::{Fs, SimFs};
use jackdaw::storage::local::inspect::verify;
use jackdaw::storage::{Location, LogError, Store, StoreOptions, Topic};
use jackdaw::types::Offset;

use crate::disk::{batch, make_topic, now, open, options, values};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Appends 20 records of 1,000 bytes to each of three partitions, in several segments.
fn filled(store: &Store) -> Arc<Topic> {
    let topic = make_topic(store, "t", 3);
    for partition in &topic.partitions {
        for _ in 0..20 {
            now(store.append(partition, batch(&[&"x".repeat(1000)]))).unwrap();
        }
    }
    topic
}

fn size(topic: &Topic) -> u64 {
    topic.partitions.iter().map(|partition| partition.size()).sum()
}

fn damaged(topic: &Topic) -> Vec<bool> {
    topic.partitions.iter().map(|partition| partition.is_damaged()).collect()
}

#[test]
fn a_bit_that_flips_under_a_running_broker_takes_its_partition_out_of_service_within_a_pass() {
    let fs = SimFs::new(31);
    let store = open(&fs).unwrap();
    let topic = filled(&store);
    let dir = Path::new("data/topics/t-1");
    let logs: Vec<_> =
        fs.list(dir).unwrap().into_iter().filter(|entry| entry.name.ends_with(".log")).collect();
    assert!(logs.len() > 2, "several segments");
    store.scrub(WEEK, WEEK);
    assert_eq!((damaged(&topic), store.last_scrub().is_some()), (vec![false; 3], true));
    assert_eq!(store.counts().scrubbed.get(), size(&topic));
    for log in [&logs[1].name, &logs[logs.len() - 1].name] {
        let fs = fs.fork();
        let store = Store::open(options(&fs.kill(), Durability::Fsync)).unwrap();
        let topic = store.topics().by_name("t").cloned().unwrap();
        assert!(values(topic.partition(1).unwrap(), Offset(0)).is_ok(), "it is read once before");
        fs.flip_bit(&dir.join(log), 100 * 8).unwrap();
        store.scrub(WEEK, WEEK);
        assert_eq!(damaged(&topic), [false, true, false], "{log}");
        assert_eq!(values(topic.partition(1).unwrap(), Offset(0)), Err(LogError::Damaged));
        assert!(values(topic.partition(2).unwrap(), Offset(0)).is_ok());
    }
}

#[test]
fn on_a_real_disk_too() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let settings = Arc::new(BrokerSettings::default());
    let place = Location::Directory(dir.path().join("data"));
    let store = Store::open(StoreOptions::new(place, settings)).unwrap();
    let topic = filled(&store);
    store.scrub(WEEK, WEEK);
    assert_eq!(damaged(&topic), [false; 3]);
    let log = dir.path().join("data/topics/t-2/00000000000000000000.log");
    let file = std::fs::OpenOptions::new().write(true).open(log).unwrap();
    file.write_all_at(b"y", 1500).unwrap();
    store.scrub(WEEK, WEEK);
    assert_eq!(damaged(&topic), [false, false, true]);
}

#[test]
fn a_pass_is_spread_over_its_interval_and_goes_on_after_a_restart() {
    let fs = SimFs::new(32);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 3);
    for partition in &topic.partitions {
        for _ in 0..40 {
            now(store.append(partition, batch(&[&"x".repeat(100_000)]))).unwrap();
        }
    }
    let all = size(&topic);
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let mut done = 0;
    for _ in 0..6 {
        store.scrub(WEEK, hours(14));
        let scrubbed = store.counts().scrubbed.get();
        assert!(scrubbed - done <= all / 6, "no more than is due, and a step of it");
        done = scrubbed;
    }
    assert!((all / 3..=all / 2 + (1 << 20)).contains(&done), "{done} of {all} in half the time");
    assert_eq!(store.last_scrub(), None);
    store.close();
    drop(store);
    let store = open(&fs).unwrap();
    store.scrub(WEEK, hours(84));
    let rest = store.counts().scrubbed.get();
    assert!(store.last_scrub().is_some(), "the pass ends within the time that it may take");
    assert!(done + rest >= all && rest < all, "{done} and {rest} of {all}");
}

#[test]
fn no_more_than_64_mib_are_read_in_a_second() {
    let fs = SimFs::new(33);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    for _ in 0..80 {
        now(store.append(&topic.partitions[0], batch(&[&"x".repeat(1_000_000)]))).unwrap();
    }
    store.scrub(Duration::from_secs(1), Duration::from_secs(1));
    assert!(store.counts().scrubbed.get() <= 66 << 20);
    assert_eq!(store.last_scrub(), None);
    store.scrub(Duration::from_secs(1), Duration::from_secs(1));
    assert!(store.last_scrub().is_some());
}

#[test]
fn damage_before_the_log_start_takes_nothing_out_of_service_as_verify_says() {
    let fs = SimFs::new(34);
    let store = open(&fs).unwrap();
    let topic = filled(&store);
    let log = topic.partition(1).unwrap();
    now(store.delete_before(log, Offset(1))).unwrap();
    store.run_background();
    let first = Path::new("data/topics/t-1/00000000000000000000.log");
    fs.flip_bit(first, 500 * 8).unwrap();
    store.scrub(WEEK, WEEK);
    assert_eq!((damaged(&topic), store.last_scrub().is_some()), (vec![false; 3], true));
    store.close();
    let overlaid: Arc<dyn Fs> = Arc::new(fs.clone());
    assert!(verify(&overlaid, Path::new("data")).unwrap().is_sound());
    let len = fs.metadata(first).unwrap().len;
    fs.flip_bit(first, (len - 10) * 8).unwrap();
    let store = open(&fs).unwrap();
    let topic = store.topics().by_name("t").cloned().unwrap();
    store.scrub(WEEK, WEEK);
    assert_eq!(damaged(&topic), [false, true, false], "the end of the same file is read");
}
