//! Every kind of damage to every kind of file. `log verify` predicts the next start. Acknowledged records are
//! served, or their loss is reported. No valid data is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jackdaw::config::Durability;
use jackdaw::record::BatchBuilder;
use jackdaw::storage::fs::{Fs, Open, SimFs, read_all};
use jackdaw::storage::groups::GroupStore;
use jackdaw::storage::inspect::{NextStart, verify};
use jackdaw::storage::{LogError, NewTopic, Store, StoreOptions};
use jackdaw::time::Clock;
use jackdaw::types::{Offset, Timestamp};

use crate::disk::{batch, checked, files, look, make_topic, now, open, options, values};
use crate::history::{commit, committed};

/// A data directory, and the records that were acknowledged before its end.
struct Life {
    fs: SimFs,
    /// The same directory at an earlier time.
    earlier: SimFs,
    /// By the names of partition directories.
    records: BTreeMap<String, Vec<(i64, String)>>,
    committed: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ended {
    Closed,
    Killed,
}

/// A directory with topics of several segments, a compacted one, a deleted one and one that was created
/// again, a moved log start offset, batches in the journal and others only in segments, two snapshots, and
/// several journal files.
fn life(ended: Ended) -> Life {
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
    let append = |topic: &jackdaw::storage::Topic, index, value: &str| {
        now(topic.partition(index).unwrap().append(batch(&[value, "second"]))).unwrap();
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
        now(compacted.partition(0).unwrap().append(checked(record.build()))).unwrap();
        store.run_background();
    }
    store.compact();
    now(orders.partition(1).unwrap().delete_before(Offset(5))).unwrap();
    now(store.submit("group", commit(orders.id, 11))).unwrap();
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
    store.request_snapshot();
    store.run_background();
    append(&orders, 0, "small, at the end");
    append(&orders, 1, &"large, at the end".repeat(250));
    now(store.submit("group", commit(orders.id, 17))).unwrap();
    let mut records = BTreeMap::new();
    for topic in store.topics().iter() {
        for partition in &topic.partitions {
            let found = values(partition, partition.ends().log_start).unwrap();
            assert!(found.len() > 4, "{} {}", topic.name, found.len());
            records.insert(format!("{}-{}", topic.name, partition.index), found);
        }
    }
    if ended == Ended::Closed {
        store.close();
    }
    let fs = fs.kill();
    drop(store);
    Life { fs, earlier, records, committed: 17 }
}

type Mutation = (String, Box<dyn Fn(&SimFs)>);

/// All mutations of one file.
fn mutations(life: &Life, path: &Path, all: &[PathBuf]) -> Vec<Mutation> {
    let mut mutations: Vec<Mutation> = Vec::new();
    let mut add = |what: String, how: Box<dyn Fn(&SimFs)>| {
        mutations.push((format!("{} {what}", path.display()), how));
    };
    let bytes = read_all(&life.fs, path, u64::MAX).unwrap();
    let len = bytes.len() as u64;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
    let mut bytes_hit: BTreeSet<u64> = [0, 4, 9, 13, 17, 23, 40, 61, 75].into();
    bytes_hit
        .extend((0..8).map(|part| used * part / 8).chain([used.saturating_sub(1), used.saturating_sub(40)]));
    for byte in bytes_hit.into_iter().filter(|byte| *byte < len) {
        let owned = path.to_owned();
        add(
            format!("a bit of byte {byte} flipped"),
            Box::new(move |fs| fs.flip_bit(&owned, byte * 8 + byte % 8).unwrap()),
        );
    }
    for left in [0, used / 2, used.saturating_sub(1), len / 2].into_iter().filter(|left| *left < len) {
        let owned = path.to_owned();
        add(
            format!("cut to {left} bytes"),
            Box::new(move |fs| fs.open(&owned, Open::Write).unwrap().truncate(left).unwrap()),
        );
    }
    for (from, to) in [(0, len), (used / 3, used / 3 + 64), (used.saturating_sub(100), len)] {
        let owned = path.to_owned();
        let zeros = vec![0; (to.min(len) - from.min(len)) as usize];
        add(format!("zeros from {from} to {to}"), Box::new(move |fs| put(fs, &owned, from, &zeros)));
    }
    for more in [vec![0; 100], b"rubbish".repeat(20)] {
        let owned = path.to_owned();
        add(format!("longer by {} bytes", more.len()), Box::new(move |fs| put(fs, &owned, len, &more)));
    }
    let owned = path.to_owned();
    add("missing".into(), Box::new(move |fs| fs.remove(&owned).unwrap()));
    if let Ok(old) = read_all(&life.earlier, path, u64::MAX)
        && old != bytes
    {
        let owned = path.to_owned();
        add("as it was earlier".into(), Box::new(move |fs| write_whole(fs, &owned, &old)));
    }
    for other in other_names(path).into_iter().filter(|other| !all.contains(other)) {
        let (from, to) = (path.to_owned(), other.clone());
        add(format!("renamed to {}", other.display()), Box::new(move |fs| fs.rename(&from, &to).unwrap()));
        let copy = bytes.clone();
        add(format!("copied to {}", other.display()), Box::new(move |fs| write_whole(fs, &other, &copy)));
    }
    let is_like = |other: &&PathBuf| *other > &path.to_owned() && other.extension() == path.extension();
    for other in all.iter().filter(is_like).take(6) {
        let (one, other) = (path.to_owned(), other.clone());
        let what = format!("swapped with {}", other.display());
        let how = move |fs: &SimFs| {
            let (first, second) =
                (read_all(fs, &one, u64::MAX).unwrap(), read_all(fs, &other, u64::MAX).unwrap());
            write_whole(fs, &one, &second);
            write_whole(fs, &other, &first);
        };
        add(what, Box::new(how));
    }
    mutations
}

/// Names that files of this kind may have.
fn other_names(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let Some((number, rest)) = name.split_once('.') else { return vec![path.with_file_name("other")] };
    match number.parse::<u64>() {
        Ok(parsed) if number.len() == 20 => {
            let numbers = [parsed + 1, parsed + 1000, parsed.saturating_sub(1)];
            let mut names: Vec<String> =
                numbers.iter().map(|number| format!("{number:020}.{rest}")).collect();
            if rest == "log" {
                names.push(format!("{number}.7.log"));
            }
            names.into_iter().map(|name| path.with_file_name(name)).collect()
        }
        _ => vec![path.with_file_name("other")],
    }
}

fn put(fs: &SimFs, path: &Path, at: u64, bytes: &[u8]) {
    fs.open(path, Open::Write).unwrap().write_at(&[IoSlice::new(bytes)], at).unwrap();
}

fn write_whole(fs: &SimFs, path: &Path, bytes: &[u8]) {
    let file = fs.open(path, Open::WriteOrNew).unwrap();
    file.truncate(0).unwrap();
    file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
}

/// The number of mutations for each outcome, so that no outcome is missing.
#[derive(Debug, Default)]
struct Outcomes {
    refused: u64,
    out_at_start: u64,
    out_when_read: u64,
    served: u64,
}

/// Verifies, starts, reads everything, and compares.
fn check(life: &Life, fs: &SimFs, outcomes: &mut Outcomes) -> Result<(), String> {
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
    same("topics", topics.iter().count(), 3)?;
    for (name, known) in &life.records {
        let (topic, index) = name.rsplit_once('-').unwrap();
        let topic = topics.by_name(topic).ok_or_else(|| format!("{topic} is gone"))?;
        let partition = topic.partition(index.parse().unwrap()).unwrap();
        if partition.is_damaged() {
            out_at_start.insert(name.clone());
            continue;
        }
        match values(partition, partition.ends().log_start) {
            Ok(found) => same(name, &found, known)?,
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
    match foretold == found {
        true => Ok(()),
        false => Err(format!("{what}: {foretold:.300?} is not {found:.300?}")),
    }
}

/// Segment files and their contents.
fn logs(fs: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    let logs = files(fs, Path::new("data/topics"));
    let logs = logs.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.map(|path| (path.clone(), read_all(fs, &path, u64::MAX).unwrap())).collect()
}

fn try_all(ended: Ended) -> Outcomes {
    let life = life(ended);
    let all = files(&life.fs, Path::new("data"));
    let kinds: BTreeSet<String> =
        all.iter().filter_map(|path| path.extension()?.to_str().map(str::to_owned)).collect();
    for kind in ["journal", "snapshot", "log", "metadata", "synced"] {
        assert!(kinds.contains(kind), "{kind}: {all:?}");
    }
    assert!(all.iter().any(|path| path.to_str().unwrap().ends_with(".1.log")), "compacted: {all:?}");
    let mut outcomes = Outcomes::default();
    check(&life, &life.fs.fork(), &mut outcomes).unwrap();
    assert_eq!(outcomes.served, 1);
    let mut wrong = Vec::new();
    for path in &all {
        for (what, mutate) in mutations(&life, path, &all) {
            let fs = life.fs.fork();
            mutate(&fs);
            wrong.extend(check(&life, &fs, &mut outcomes).err().map(|why| format!("{what}: {why}")));
        }
    }
    println!("{ended:?}: {outcomes:?}");
    assert!(wrong.is_empty(), "{} of them are wrong:\n{}", wrong.len(), wrong.join("\n"));
    outcomes
}

#[test]
fn r7_after_a_clean_end_verify_foretells_what_damage_to_any_file_does() {
    let outcomes = try_all(Ended::Closed);
    assert!(
        outcomes.refused > 10 && outcomes.out_at_start > 50 && outcomes.out_when_read > 50,
        "{outcomes:?}"
    );
}

#[test]
fn r7_i9_after_kill_9_verify_foretells_what_damage_to_any_file_does() {
    let outcomes = try_all(Ended::Killed);
    assert!(
        outcomes.refused > 20 && outcomes.out_at_start > 50 && outcomes.out_when_read > 50,
        "{outcomes:?}"
    );
}

#[test]
fn after_a_power_cut_verify_foretells_a_start_that_serves_everything() {
    for seed in 0..60 {
        let fs = SimFs::new(seed);
        let store = open(&fs).unwrap();
        let topics = [make_topic(&store, "a", 2), make_topic(&store, "b", 1)];
        for number in 0..40 {
            let value = format!("{number} {}", "x".repeat(100 + 90 * (number % 20)));
            for partition in topics.iter().flat_map(|topic| &topic.partitions) {
                let _ = now(partition.append(batch(&[&value])));
            }
            if number == seed as usize % 40 {
                let _ = now(store.delete_topic(topics[1].id));
                make_topic(&store, "b", 1);
            }
            if !number.is_multiple_of(3) {
                store.run_background();
            }
        }
        let fs = fs.crash(seed);
        drop(store);
        let report = look(&fs);
        assert!(report.is_sound(), "seed {seed}: {report:?}");
        let NextStart::Serves(account) = report.next_start else { panic!("seed {seed}") };
        let before: Vec<String> =
            fs.list(Path::new("data/topics")).unwrap().into_iter().map(|dir| dir.name).collect();
        drop(open(&fs).unwrap());
        let after: Vec<String> =
            fs.list(Path::new("data/topics")).unwrap().into_iter().map(|dir| dir.name).collect();
        let gone: BTreeSet<String> = before.into_iter().filter(|name| !after.contains(name)).collect();
        assert!(gone.is_subset(&account.deleted), "seed {seed}: {gone:?} {account:?}");
        assert_eq!(account.unknown, BTreeSet::new(), "seed {seed}");
    }
}
