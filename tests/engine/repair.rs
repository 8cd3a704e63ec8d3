//! `jackdaw log repair`: damaged data is given up on purpose, the rest is served again, and the old files are
//! kept.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jackdaw::storage::local::fs::{Fs, Open, SimFs, read_all};
use jackdaw::storage::local::repair::{Plan, plan, repair};
use jackdaw::storage::{OpenError, Store};
use jackdaw::types::Offset;

use crate::disk::{batch, files, look, make_topic, now, open, values};
use crate::history::{commit, submit};

const ROOT: &str = "data";

fn shared(fs: &SimFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn plan_for(fs: &SimFs) -> Plan {
    plan(&shared(fs), Path::new(ROOT)).unwrap()
}

/// A killed store with a topic with a record, a snapshot after it, and then records, a topic and a commit
/// that are only in the journal.
fn killed() -> SimFs {
    let fs = SimFs::new(1);
    let store = open(&fs).unwrap();
    let orders = make_topic(&store, "orders", 2);
    append(&store, "orders", 0, "safe");
    store.request_snapshot();
    store.run_background();
    append(&store, "orders", 0, "late");
    append(&store, "orders", 1, "late");
    make_topic(&store, "payments", 1);
    append(&store, "payments", 0, "late");
    now(submit(&store, "kitchen", commit(orders.id, 1))).unwrap();
    let fs = fs.kill();
    drop(store);
    fs
}

fn append(store: &Store, topic: &str, partition: i32, value: &str) {
    let topic = store.topics().by_name(topic).cloned().unwrap();
    now(store.append(topic.partition(partition).unwrap(), batch(&[value]))).unwrap();
}

fn texts(store: &Store, topic: &str, partition: i32) -> Vec<String> {
    let topic = store.topics().by_name(topic).cloned().unwrap();
    let partition = topic.partition(partition).unwrap();
    let found = values(partition, partition.ends().log_start).unwrap();
    found.into_iter().map(|(_, text)| text).collect()
}

fn journal_in_use(fs: &SimFs) -> PathBuf {
    let dir = Path::new("data/journal");
    let used = |path: &PathBuf| read_all(fs, path, u64::MAX).unwrap().iter().any(|byte| *byte != 0);
    fs.list(dir).unwrap().iter().map(|entry| dir.join(&entry.name)).rfind(used).unwrap()
}

#[test]
fn a_sound_directory_needs_no_repair_and_one_in_use_is_left_alone() {
    let fs = killed();
    assert!(plan_for(&fs).is_empty());
    let store = open(&fs).unwrap();
    assert!(matches!(plan(&shared(&fs), Path::new(ROOT)), Err(OpenError::InUse { .. })));
    drop(store);
}

#[test]
fn a_journal_that_is_gone_is_given_up_with_what_it_held_and_the_old_files_are_kept() {
    let fs = killed();
    let in_use = journal_in_use(&fs);
    fs.remove(&in_use).unwrap();
    let refusal = open(&fs).err().unwrap();
    assert!(matches!(refusal, OpenError::Damaged { .. }));
    let message = refusal.to_string();
    assert!(
        message.contains(in_use.to_str().unwrap()) && message.contains("jackdaw log repair"),
        "{message}"
    );

    let planned = plan_for(&fs);
    let text = planned.losses.join("\n");
    assert!(planned.refusal.is_some() && text.contains("journal: entries 4 to 8"), "{text}");
    assert!(
        text.contains("payments-0: the directory") && text.contains("5 entries that cannot be read"),
        "{text}"
    );
    assert!(open(&fs).is_err(), "a plan changes nothing");

    let aside = repair(&shared(&fs), Path::new(ROOT)).unwrap();
    let kept = |name: &str| read_all(&fs, &aside.join(name), u64::MAX).unwrap();
    assert!(!kept("topics/payments-0/00000000000000000000.log").is_empty());
    assert!(!kept("topics/orders-1/00000000000000000000.log").is_empty());
    assert!(!kept("topics/orders-0/00000000000000000000.log").is_empty(), "the tail that was cut off");
    let snapshots = fs.list(&aside.join("snapshot")).unwrap();
    assert!(!snapshots.is_empty());
    assert!(plan_for(&fs).is_empty());
    let store = open(&fs).unwrap();
    assert_eq!(texts(&store, "orders", 0), ["safe"]);
    assert_eq!(texts(&store, "orders", 1), [""; 0]);
    append(&store, "orders", 0, "goes on");
    store.close();
    drop(store);
    assert_eq!(texts(&open(&fs).unwrap(), "orders", 0), ["safe", "goes on"]);
}

#[test]
fn of_a_journal_with_a_damaged_entry_the_part_before_it_is_kept_and_the_part_after_it_is_named() {
    let fs = killed();
    let path = journal_in_use(&fs);
    let frames = jackdaw::storage::local::journal::frames(&fs, &path).unwrap();
    let hit =
        frames.iter().find(|frame| frame.entry.as_ref().is_some_and(|entry| entry.position == 5)).unwrap();
    fs.flip_bit(&path, (hit.at + 80) * 8).unwrap();
    assert!(matches!(open(&fs), Err(OpenError::Damaged { .. })));
    let text = plan_for(&fs).losses.join("\n");
    for part in [
        "entries 5 to 8",
        "the topic payments",
        "payments-0: 1 records",
        "group kitchen",
        "1 entries that cannot",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    repair(&shared(&fs), Path::new(ROOT)).unwrap();
    let store = open(&fs).unwrap();
    assert_eq!(texts(&store, "orders", 0), ["safe", "late"]);
    assert_eq!(store.topics().iter().count(), 1);
}

#[test]
fn without_a_snapshot_that_can_be_read_every_directory_is_kept_aside() {
    let fs = killed();
    for _ in 0..2 {
        // The journal is trimmed up to the older snapshot.
        let store = open(&fs).unwrap();
        append(&store, "orders", 0, "more");
        store.close();
    }
    let fs = fs.kill();
    for entry in fs.list(Path::new("data/snapshot")).unwrap() {
        fs.flip_bit(&Path::new("data/snapshot").join(entry.name), 300).unwrap();
    }
    let message = open(&fs).err().unwrap().to_string();
    assert!(message.contains("no snapshot can be read"), "{message}");
    let aside = repair(&shared(&fs), Path::new(ROOT)).unwrap();
    open(&fs).unwrap();
    let kept = read_all(&fs, &aside.join("topics/orders-0/00000000000000000000.log"), u64::MAX);
    let in_place = read_all(&fs, Path::new("data/topics/orders-0/00000000000000000000.log"), u64::MAX);
    assert!(kept.is_ok() || in_place.is_ok());
}

#[test]
fn lost_records_of_a_topic_whose_creation_was_only_in_the_snapshots_are_listed_by_its_name() {
    let fs = killed();
    let store = open(&fs).unwrap();
    for _ in 0..60 {
        append(&store, "orders", 0, &"x".repeat(900));
        store.run_background();
    }
    let fs = fs.kill();
    for entry in fs.list(Path::new("data/snapshot")).unwrap() {
        fs.flip_bit(&Path::new("data/snapshot").join(entry.name), 300).unwrap();
    }
    let text = plan_for(&fs).losses.join("\n");
    assert!(text.contains("\n  orders-0: "), "{text}");
}

#[test]
fn a_damaged_meta_is_put_right_from_its_copy_without_a_loss() {
    for with_copy in [true, false] {
        let fs = killed();
        let cluster = open(&fs).unwrap().cluster_id();
        let fs = fs.kill();
        fs.flip_bit(Path::new("data/meta"), 8 * 70).unwrap();
        if !with_copy {
            fs.flip_bit(Path::new("data/LOCK"), 8 * 30).unwrap();
        }
        let message = open(&fs).err().unwrap().to_string();
        assert!(message.contains("data/meta: its checksum is wrong"), "{message}");
        let planned = plan_for(&fs);
        assert_eq!((planned.refusal.is_some(), planned.losses.len()), (true, usize::from(!with_copy)));
        repair(&shared(&fs), Path::new(ROOT)).unwrap();
        let store = open(&fs).unwrap();
        assert_eq!(store.cluster_id() == cluster, with_copy);
        assert_eq!(texts(&store, "orders", 0), ["safe", "late"]);
        assert_eq!(texts(&store, "payments", 0), ["late"]);
    }
}

#[test]
fn i17_a_damaged_meta_of_another_version_is_left_to_that_version() {
    let fs = killed();
    open(&fs).unwrap().close();
    let fs = fs.kill();
    let lock = Path::new("data/LOCK");
    let text = String::from_utf8(read_all(&fs, lock, 1000).unwrap()).unwrap();
    let (covered, _) = text.split_once("checksum=").unwrap();
    let covered = covered.replace("format=7\n", "format=8\n");
    let text = format!("{covered}checksum={:08x}\n", crc32c::crc32c(covered.as_bytes()));
    fs.open(lock, Open::Write).unwrap().write_at(&[IoSlice::new(text.as_bytes())], 0).unwrap();
    fs.flip_bit(Path::new("data/meta"), 8 * 70).unwrap();
    let before = files(&fs, Path::new("data/journal"));
    assert!(matches!(plan(&shared(&fs), Path::new(ROOT)), Err(OpenError::Newer { format: 8, .. })));
    assert!(matches!(repair(&shared(&fs), Path::new(ROOT)), Err(OpenError::Newer { format: 8, .. })));
    assert_eq!(read_all(&fs, Path::new("data/meta"), 1000).unwrap(), text.as_bytes());
    assert_eq!(files(&fs, Path::new("data/journal")), before);
}

#[test]
fn a_partition_that_is_out_of_service_is_served_again_from_behind_the_damage() {
    let fs = SimFs::new(1);
    let store = open(&fs).unwrap();
    make_topic(&store, "t", 1);
    for number in 0..20 {
        append(&store, "t", 0, &format!("{number} {}", "x".repeat(500)));
    }
    store.close();
    drop(store);
    let second = fs
        .list(Path::new("data/topics/t-0"))
        .unwrap()
        .into_iter()
        .filter(|entry| entry.name.ends_with(".log"))
        .nth(1)
        .unwrap();
    let path = Path::new("data/topics/t-0").join(second.name);
    let file = fs.open(&path, Open::Write).unwrap();
    file.write_at(&[IoSlice::new(&[7; 9])], 100).unwrap();
    let text = plan_for(&fs).losses.join("\n");
    assert!(text.starts_with("t-0: offsets 0 to "), "{text}");
    let aside = repair(&shared(&fs), Path::new(ROOT)).unwrap();
    assert!(fs.metadata(&path).is_err());
    assert_eq!(fs.list(&aside.join("topics/t-0")).unwrap().len(), 2);
    let report = look(&fs);
    assert!(report.is_sound(), "{report:?}");
    let store = open(&fs).unwrap();
    let left = texts(&store, "t", 0);
    assert!(left.len() > 4 && left.last().unwrap().starts_with("19 "), "{left:?}");
    let log = store.topics().by_name("t").unwrap().partition(0).cloned().unwrap();
    assert_eq!(now(store.append(&log, batch(&["next"]))).unwrap().base_offset, Offset(20));
}

#[test]
fn i16_a_repair_that_is_cut_off_anywhere_is_finished_by_the_next_one() {
    let damaged = killed();
    damaged.remove(&journal_in_use(&damaged)).unwrap();
    damaged.volume(Path::new(ROOT)).unwrap().unwrap().sync().unwrap();
    let mut steps = 0;
    loop {
        let fs = damaged.fork();
        fs.off_after(steps);
        let done = repair(&shared(&fs), Path::new(ROOT)).is_ok();
        let fs = fs.crash(steps);
        if !plan_for(&fs).is_empty() {
            repair(&shared(&fs), Path::new(ROOT)).unwrap();
        }
        let store = open(&fs).unwrap();
        assert_eq!(texts(&store, "orders", 0), ["safe"], "after {steps} steps");
        drop(store);
        let kept = files(&fs, Path::new("data/aside"));
        assert!(kept.iter().any(|path| path.to_str().unwrap().contains("payments-0")), "after {steps} steps");
        if done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 30, "{steps}");
}
