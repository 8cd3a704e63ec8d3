//! Acknowledged records that a start cannot write to their segment. They are kept in a file until a start can
//! write them.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use jackdaw::config::Durability;
use jackdaw::storage::local::fs::{Fault, Fs, Open, Operation, SimFs, read_all};
use jackdaw::storage::local::inspect::{NextStart, verify};
use jackdaw::storage::{AppendError, OpenError, Store};
use jackdaw::types::Offset;
use rustix::io::Errno;

use crate::disk::{batch, look, make_topic, now, open, options, values};

const SEGMENT: &str = "data/topics/t-0/00000000000000000000.log";

fn append(store: &Store, index: i32, value: &str) -> Result<(), AppendError> {
    let topic = store.topics().by_name("t").cloned().unwrap();
    now(store.append(topic.partition(index).unwrap(), batch(&[value]))).map(drop)
}

/// The first word of each record; `None` if the partition is out of service.
fn words(store: &Store, index: i32) -> Option<Vec<String>> {
    let topic = store.topics().by_name("t").cloned().unwrap();
    let found = values(topic.partition(index).unwrap(), Offset(0)).ok()?;
    Some(found.into_iter().map(|(_, text)| text.split(' ').next().unwrap_or_default().to_owned()).collect())
}

fn write_whole(fs: &SimFs, path: &str, bytes: &[u8]) {
    let file = fs.open(Path::new(path), Open::WriteOrNew).unwrap();
    file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new(path).parent().unwrap()).unwrap();
}

/// A disk that lost a partition's segment while some of its records were also in the journal, and an older
/// copy of that segment.
fn without_its_segment() -> (SimFs, Vec<u8>) {
    let fs = SimFs::new(1);
    let store = open(&fs).unwrap();
    make_topic(&store, "t", 2);
    append(&store, 0, "old").unwrap();
    store.request_snapshot();
    store.run_background();
    let copy = read_all(&fs, Path::new(SEGMENT), 1 << 20).unwrap();
    ["late", "later"].iter().for_each(|value| append(&store, 0, value).unwrap());
    let fs = fs.kill();
    drop(store);
    fs.remove(Path::new(SEGMENT)).unwrap();
    fs.sync_dir(Path::new("data/topics/t-0")).unwrap();
    (fs, copy)
}

/// Writes so much that the journal's files are recycled several times.
fn write_much(store: &Store) {
    for _ in 0..120 {
        append(store, 1, &"x".repeat(800)).unwrap();
        store.run_background();
    }
}

#[test]
fn i11_records_of_a_partition_that_is_out_of_service_are_there_when_its_files_are_back() {
    let (fs, copy) = without_its_segment();
    for _ in 0..2 {
        let store = open(&fs).unwrap();
        assert_eq!(words(&store, 0), None, "out of service");
        write_much(&store);
        store.close();
    }
    let fs = fs.crash(3);
    write_whole(&fs, SEGMENT, &copy);
    let store = open(&fs).unwrap();
    assert_eq!(words(&store, 0).unwrap(), ["old", "late", "later"]);
    assert!(fs.list(Path::new("data/kept")).unwrap().is_empty(), "the segment has them now");
    append(&store, 0, "new").unwrap();
    let fs = fs.crash(3);
    drop(store);
    assert_eq!(words(&open(&fs).unwrap(), 0).unwrap(), ["old", "late", "later", "new"]);
}

#[test]
fn i11_a_power_cut_anywhere_in_such_starts_loses_none_of_its_records() {
    let (disk, copy) = without_its_segment();
    for is_back in [false, true] {
        let mut changes = 0;
        loop {
            let fs = disk.fork();
            if is_back {
                drop(open(&fs).unwrap());
                write_whole(&fs, SEGMENT, &copy);
            }
            fs.off_after(changes);
            if let Ok(store) = open(&fs) {
                store.request_snapshot();
                store.run_background();
            }
            let was_off = fs.is_off();
            let fs = fs.crash(changes);
            write_whole(&fs, SEGMENT, &copy);
            let store = open(&fs).unwrap_or_else(|error| panic!("{is_back} {changes}: {error}"));
            assert_eq!(words(&store, 0).unwrap(), ["old", "late", "later"], "{is_back} {changes}");
            if !was_off {
                break;
            }
            changes += 1;
        }
        assert!(changes > 10, "only {changes} changes");
    }
}

#[test]
fn i11_if_they_cannot_be_kept_in_a_file_they_stay_in_the_journal() {
    let (fs, copy) = without_its_segment();
    fs.fail(Fault { path: "data/kept".into(), lasting: true, ..Fault::next(Operation::CreateDir) });
    let store = open(&fs).unwrap();
    write_much(&store);
    store.close();
    drop(store);
    fs.heal();
    write_whole(&fs, SEGMENT, &copy);
    assert_eq!(words(&open(&fs).unwrap(), 0).unwrap(), ["old", "late", "later"]);
}

#[test]
fn a_damaged_file_of_kept_records_stays_and_its_partition_is_out_of_service() {
    let (fs, copy) = without_its_segment();
    open(&fs).unwrap().close();
    let kept = fs.list(Path::new("data/kept")).unwrap().remove(0).name;
    fs.flip_bit(&Path::new("data/kept").join(&kept), 1_000).unwrap();
    write_whole(&fs, SEGMENT, &copy);
    let store = open(&fs).unwrap();
    assert_eq!(words(&store, 0), None);
    assert_eq!(append(&store, 1, "served"), Ok(()));
    let left: Vec<String> =
        fs.list(Path::new("data/kept")).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(left, [format!("{kept}.damaged")]);
}

#[test]
fn a_second_damaged_file_of_a_partition_does_not_replace_the_first() {
    let (fs, _) = without_its_segment();
    open(&fs).unwrap().close();
    let kept = Path::new("data/kept").join(fs.list(Path::new("data/kept")).unwrap().remove(0).name);
    let kept = kept.to_str().unwrap();
    for damaged in ["the first", "the second", "the third"] {
        fs.remove(Path::new(kept)).unwrap_or_default();
        write_whole(&fs, kept, damaged.as_bytes());
        open(&fs).unwrap().close();
    }
    for (suffix, content) in [("", "the first"), ("-2", "the second"), ("-3", "the third")] {
        let aside = format!("{kept}.damaged{suffix}");
        assert_eq!(read_all(&fs, Path::new(&aside), 100).unwrap(), content.as_bytes());
    }
}

#[test]
fn i11_a_file_of_kept_records_that_cannot_be_read_stops_its_partition_alone() {
    for operation in [Operation::Open, Operation::Read] {
        let (fs, copy) = without_its_segment();
        open(&fs).unwrap().close();
        write_whole(&fs, SEGMENT, &copy);
        fs.fail(Fault { path: "data/kept/".into(), lasting: true, ..Fault::next(operation) });
        for _ in 0..2 {
            let store = open(&fs).unwrap_or_else(|refusal| panic!("{operation:?}: {refusal}"));
            assert_eq!(words(&store, 0), None, "{operation:?}");
            write_much(&store);
            store.close();
        }
        fs.heal();
        assert_eq!(words(&open(&fs).unwrap(), 0).unwrap(), ["old", "late", "later"], "{operation:?}");
    }
}

#[test]
fn a_file_of_kept_records_that_cannot_be_read_is_not_replaced_by_what_the_journal_has() {
    let (fs, copy) = without_its_segment();
    open(&fs).unwrap().close();
    let kept = Path::new("data/kept").join(fs.list(Path::new("data/kept")).unwrap().remove(0).name);
    // The start uses the older snapshot, and finds the records in the journal again.
    let newest = fs.list(Path::new("data/snapshot")).unwrap().into_iter().map(|entry| entry.name).max();
    fs.flip_bit(&Path::new("data/snapshot").join(newest.unwrap()), 300).unwrap();
    write_whole(&fs, kept.to_str().unwrap(), b"perhaps more than that");
    let before = read_all(&fs, &kept, 1 << 20).unwrap();
    fs.fail(Fault { path: "data/kept/".into(), lasting: true, ..Fault::next(Operation::Read) });
    let store = open(&fs).unwrap();
    assert_eq!(words(&store, 0), None);
    write_much(&store);
    store.close();
    fs.heal();
    assert_eq!(read_all(&fs, &kept, 1 << 20).unwrap(), before);
    drop(store);
    write_whole(&fs, SEGMENT, &copy);
    assert_eq!(
        words(&open(&fs).unwrap(), 0).unwrap(),
        ["old", "late", "later"],
        "the journal has them still"
    );
}

#[test]
fn verify_foretells_what_damage_to_a_file_of_kept_records_does() {
    let (fs, copy) = without_its_segment();
    open(&fs).unwrap().close();
    let kept = Path::new("data/kept").join(fs.list(Path::new("data/kept")).unwrap().remove(0).name);
    write_whole(&fs, SEGMENT, &copy);
    let len = fs.metadata(&kept).unwrap().len;
    let mut outcomes = [0, 0];
    for mutation in 0..=len + 2 {
        let fs = fs.fork();
        let file = fs.open(&kept, Open::Write).unwrap();
        match mutation {
            // No mutation.
            0 => {}
            1 => fs.remove(&kept).unwrap(),
            2 => file.write_at(&[IoSlice::new(&vec![0; len as usize])], 0).unwrap(),
            cut if cut % 2 == 0 => file.truncate(cut - 3).unwrap(),
            flip => fs.flip_bit(&kept, (flip - 3) * 8 + flip % 8).unwrap(),
        }
        let disk: Arc<dyn Fs> = Arc::new(fs.clone());
        let NextStart::Serves(foretold) = verify(&disk, Path::new("data")).unwrap().next_start else {
            panic!("mutation {mutation}: it is refused")
        };
        let store = open(&fs).unwrap();
        let found = words(&store, 0);
        assert_eq!(foretold.out_of_service.contains_key("t-0"), found.is_none(), "mutation {mutation}");
        let all = ["old", "late", "later"];
        assert!(found.as_ref().is_none_or(|found| *found == all), "mutation {mutation}: {found:?}");
        outcomes[usize::from(found.is_some())] += 1;
    }
    assert_eq!(outcomes, [len + 2, 1]);
}

/// A batch that was written directly to its segment has no copy in the journal, and its segment may not be
/// synced.
#[test]
fn i11_a_segment_that_cannot_be_written_at_a_start_stops_its_partition_alone() {
    for error in [Errno::ACCESS, Errno::ROFS, Errno::NOSPC, Errno::IO] {
        let fs = SimFs::new(2);
        let store = Store::open(options(&fs, Durability::Os)).unwrap();
        make_topic(&store, "t", 2);
        for index in 0..2 {
            append(&store, index, &format!("first {}", "x".repeat(500))).unwrap();
            append(&store, index, &format!("second {}", "x".repeat(500))).unwrap();
        }
        let fs = fs.kill();
        drop(store);
        fs.fail(Fault { path: "topics/t-0".into(), error, lasting: true, ..Fault::next(Operation::Write) });
        let store = open(&fs).unwrap_or_else(|refusal| panic!("{error}: {refusal}"));
        assert_eq!(words(&store, 0).unwrap(), ["first", "second"], "{error}");
        assert!(append(&store, 0, "refused").is_err());
        assert_eq!(append(&store, 1, "third"), Ok(()));

        // The page cache is lost.
        let fs = fs.crash(7);
        drop(store);
        let store = open(&fs).unwrap_or_else(|refusal| panic!("{error}: {refusal}"));
        assert_eq!(words(&store, 0).unwrap(), ["first", "second"], "{error}");
        assert_eq!(words(&store, 1).unwrap(), ["first", "second", "third"], "{error}");
        assert_eq!(append(&store, 0, "third"), Ok(()));
    }
}

#[test]
fn i11_such_a_partition_goes_on_without_a_restart_and_keeps_the_file_that_names_its_topic() {
    let fs = SimFs::new(2);
    let store = open(&fs).unwrap();
    make_topic(&store, "t", 1);
    append(&store, 0, "first").unwrap();
    let fs = fs.kill();
    drop(store);
    let metadata = Path::new("data/topics/t-0/partition.metadata");
    let named = read_all(&fs, metadata, 100).unwrap();
    let error = Errno::ACCESS;
    fs.fail(Fault { path: "topics/t-0".into(), error, lasting: true, ..Fault::next(Operation::Write) });
    let store = open(&fs).unwrap();
    assert!(append(&store, 0, "refused").is_err());
    assert_eq!(read_all(&fs, metadata, 100).unwrap(), named);
    fs.heal();
    assert_eq!(append(&store, 0, "second"), Ok(()));
    let fs = fs.crash(7);
    drop(store);
    assert_eq!(words(&open(&fs).unwrap(), 0).unwrap(), ["first", "second"]);
}

/// All words from each record on.
fn check_words(store: &Store, expected: &[&str], context: &str) {
    let topic = store.topics().by_name("t").cloned().unwrap();
    for from in 0..expected.len() {
        let found = values(topic.partition(0).unwrap(), Offset(from as i64));
        let found = found.unwrap_or_else(|error| panic!("{context}, from {from}: {error:?}"));
        let found: Vec<&str> = found.iter().map(|(_, text)| text.split(' ').next().unwrap()).collect();
        assert_eq!(found, expected[from..], "{context}, from {from}");
    }
}

/// Large batches are durable in their segment, and the journal only refers to them.
#[test]
fn i11_large_records_between_and_after_those_that_a_start_cannot_write_are_not_skipped() {
    const WORDS: [&str; 4] = ["first", "second", "third", "fourth"];
    let (small, large) = (20, 3_500);
    for sizes in [&[small, large, small][..], &[small, large], &[small, large, large, small]] {
        for error in [Errno::ACCESS, Errno::ROFS, Errno::NOSPC, Errno::IO] {
            let context = format!("{sizes:?} {error}");
            let words = &WORDS[..sizes.len()];
            let fs = SimFs::new(2);
            let store = open(&fs).unwrap();
            make_topic(&store, "t", 2);
            for (word, size) in words.iter().zip(sizes) {
                append(&store, 0, &format!("{word} {}", "x".repeat(*size))).unwrap();
            }
            let fs = fs.kill();
            drop(store);
            fs.fail(Fault {
                path: "topics/t-0".into(),
                error,
                lasting: true,
                ..Fault::next(Operation::Write)
            });
            let store = open(&fs).unwrap_or_else(|refusal| panic!("{context}: {refusal}"));
            check_words(&store, words, &context);
            assert!(append(&store, 0, "refused").is_err(), "{context}");
            fs.heal();
            store.housekeep();
            check_words(&store, words, &format!("{context}, healed"));
            assert_eq!(append(&store, 0, "fifth"), Ok(()), "{context}");
            let fs = fs.crash(7);
            drop(store);
            let all = [words, &["fifth"]].concat();
            check_words(&open(&fs).unwrap(), &all, &format!("{context}, opened again"));
        }
    }
}

#[test]
fn i11_records_after_those_in_a_file_of_kept_records_are_not_skipped() {
    let fault = || Fault {
        path: "topics/t-0".into(),
        error: Errno::ACCESS,
        lasting: true,
        ..Fault::next(Operation::Write)
    };
    let fs = SimFs::new(2);
    let store = Store::open(options(&fs, Durability::Os)).unwrap();
    make_topic(&store, "t", 1);
    append(&store, 0, "first").unwrap();
    let fs = fs.kill();
    drop(store);
    fs.fail(fault());
    let store = open(&fs).unwrap();
    assert!(append(&store, 0, "refused").is_err());
    fs.heal();
    append(&store, 0, "second").unwrap();
    // Later starts do not replay the first two.
    for _ in 0..2 {
        store.request_snapshot();
        store.run_background();
    }
    append(&store, 0, "third").unwrap();
    let fs = fs.kill();
    drop(store);
    assert_eq!(fs.list(Path::new("data/kept")).unwrap().len(), 1, "the next start removes it");
    fs.fail(fault());
    let store = open(&fs).unwrap();
    check_words(&store, &["first", "second", "third"], "not written");
    fs.heal();
    store.housekeep();
    check_words(&store, &["first", "second", "third"], "healed");
}

#[test]
fn i11_a_damaged_snapshot_does_not_take_the_place_of_a_sound_one_while_a_segment_cannot_be_written() {
    let snapshot = |store: &Store, value: &str| {
        append(store, 1, value).unwrap();
        store.request_snapshot();
        store.run_background();
    };
    let damage_newest = |fs: &SimFs| {
        let newest = fs.list(Path::new("data/snapshot")).unwrap().into_iter().map(|entry| entry.name).max();
        fs.flip_bit(&Path::new("data/snapshot").join(newest.unwrap()), 300).unwrap();
    };
    let fs = SimFs::new(2);
    let store = open(&fs).unwrap();
    make_topic(&store, "t", 2);
    ["one", "two"].iter().for_each(|value| snapshot(&store, value));
    append(&store, 0, "waits").unwrap();
    let fs = fs.kill();
    drop(store);
    damage_newest(&fs);
    let error = Errno::ACCESS;
    fs.fail(Fault { path: "topics/t-0".into(), error, lasting: true, ..Fault::next(Operation::Write) });
    let store = open(&fs).unwrap();
    snapshot(&store, "three");
    let fs = fs.kill();
    drop(store);
    damage_newest(&fs);
    let store = open(&fs).unwrap();
    assert_eq!(words(&store, 0).unwrap(), ["waits"]);
    assert_eq!(words(&store, 1).unwrap(), ["one", "two", "three"]);
}

/// The journal only refers to a batch, above its synced mark, and a start cannot read the segment: it is unknown
/// whether the batch is there.
#[test]
fn i11_a_segment_that_cannot_be_read_at_a_start_stops_its_partition_alone() {
    for (operation, error) in
        [(Operation::Open, Errno::ACCESS), (Operation::Open, Errno::IO), (Operation::Read, Errno::IO)]
    {
        let context = format!("{operation:?} {error}");
        let fs = SimFs::new(2);
        let store = Store::open(options(&fs, Durability::Os)).unwrap();
        make_topic(&store, "t", 2);
        for word in ["first", "second"] {
            for index in 0..2 {
                append(&store, index, &format!("{word} {}", "x".repeat(500))).unwrap();
            }
        }
        let fs = fs.kill();
        drop(store);
        fs.fail(Fault { path: SEGMENT.into(), error, lasting: true, ..Fault::next(operation) });
        let NextStart::Serves(foretold) = look(&fs).next_start else { panic!("{context}: it is refused") };
        let why = &foretold.out_of_service["t-0"];
        assert!(why.contains(SEGMENT) && why.contains("at byte 0") && why.contains("then restart"), "{why}");
        let store = open(&fs).unwrap_or_else(|refusal| panic!("{context}: {refusal}"));
        assert_eq!(words(&store, 0), None, "{context}: out of service");
        assert_eq!(words(&store, 1).unwrap(), ["first", "second"], "{context}");
        assert_eq!(append(&store, 1, "third"), Ok(()), "{context}");

        // The records in the file are durable once it can be read, although the first start could not write them again.
        fs.heal();
        let fs = fs.crash(7);
        drop(store);
        let store = open(&fs).unwrap_or_else(|refusal| panic!("{context}: {refusal}"));
        assert_eq!(words(&store, 0).unwrap(), ["first", "second"], "{context}");
        assert_eq!(words(&store, 1).unwrap(), ["first", "second", "third"], "{context}");
        assert_eq!(append(&store, 0, "third"), Ok(()), "{context}");
    }
}

#[test]
fn a_journal_that_cannot_be_read_refuses_the_start_with_file_byte_and_next_step() {
    let (fs, _) = without_its_segment();
    for (error, next_step) in [(Errno::IO, "jackdaw log repair"), (Errno::ACCESS, "permission")] {
        fs.fail(Fault { path: "data/journal/".into(), error, lasting: true, ..Fault::next(Operation::Read) });
        let message = open(&fs).err().unwrap().to_string();
        assert!(
            message.contains(".journal: ") && message.contains("at byte 0") && message.contains(next_step),
            "{message}"
        );
        fs.heal();
    }
    open(&fs).unwrap();
}

#[test]
fn a_start_without_descriptors_is_no_damage() {
    let (fs, _) = without_its_segment();
    for place in ["data/journal/", "data/snapshot/", "data/topics/"] {
        fs.fail(Fault {
            path: place.into(),
            error: Errno::MFILE,
            lasting: true,
            ..Fault::next(Operation::Open)
        });
        let refusal = open(&fs).err().unwrap();
        assert!(matches!(refusal, OpenError::Io { .. }), "{refusal}");
        fs.heal();
    }
    open(&fs).unwrap();
}
