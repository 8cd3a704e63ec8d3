//! Every kind of damage to every kind of file.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::{Path, PathBuf};

use jackdaw::storage::local::fs::{Fs, Open, SimFs, read_all};
use jackdaw::storage::local::inspect::NextStart;

use crate::damage::{Ended, Life, Outcomes, check, life, write_whole};
use crate::disk::{batch, files, look, make_topic, now, open};

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

fn try_all(ended: Ended) -> Outcomes {
    let life = life(ended);
    let all = files(&life.fs, Path::new("data"));
    let kinds: BTreeSet<String> =
        all.iter().filter_map(|path| path.extension()?.to_str().map(str::to_owned)).collect();
    for kind in ["journal", "snapshot", "log", "txnindex", "metadata", "synced"] {
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
fn i9_after_a_clean_end_verify_predicts_the_effect_of_damage_to_any_file() {
    let outcomes = try_all(Ended::Closed);
    assert!(
        outcomes.refused > 10 && outcomes.out_at_start > 50 && outcomes.out_when_read > 50,
        "{outcomes:?}"
    );
}

#[test]
fn i9_after_kill_9_verify_predicts_the_effect_of_damage_to_any_file() {
    let outcomes = try_all(Ended::Killed);
    assert!(
        outcomes.refused > 20 && outcomes.out_at_start > 50 && outcomes.out_when_read > 50,
        "{outcomes:?}"
    );
}

#[test]
fn after_a_power_cut_verify_predicts_a_start_that_serves_everything() {
    for seed in 0..60 {
        let fs = SimFs::new(seed);
        let store = open(&fs).unwrap();
        let topics = [make_topic(&store, "a", 2), make_topic(&store, "b", 1)];
        for number in 0..40 {
            let value = format!("{number} {}", "x".repeat(100 + 90 * (number % 20)));
            for partition in topics.iter().flat_map(|topic| &topic.partitions) {
                let _ = now(store.append(partition, batch(&[&value])));
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
