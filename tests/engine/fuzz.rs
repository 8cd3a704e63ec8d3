//! The fuzz targets of stored files over the committed corpus.

use crate::corpus::replay;
use crate::targets;

/// Edits of each kind, in files of each kind.
fn edited_files() -> Vec<(String, Vec<u8>)> {
    const KINDS: [&str; 5] = ["bit", "fill", "remove", "cut", "append"];
    let mut seeds = vec![("nothing".to_owned(), vec![0])];
    for file in 0..12u8 {
        let kind = file % 5;
        let name = format!("{}-in-file-{file}", KINDS[usize::from(kind)]);
        seeds.push((name, vec![file, kind, 3, 0, file, 100, 20]));
    }
    seeds.push(("two-edits".to_owned(), vec![2, 0, 1, 0, 0, 30, 0, 4, 0xff, 0, 0, 0, 90]));
    seeds
}

/// The state as it is, with one wrong byte in several places, and cut.
fn states(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut seeds =
        vec![("whole".to_owned(), bytes.to_vec()), ("cut".to_owned(), bytes[..bytes.len() / 2].to_vec())];
    for part in 0..6 {
        let mut wrong = bytes.to_vec();
        wrong[bytes.len() * part / 6] ^= 0x81;
        seeds.push((format!("wrong-in-part-{part}"), wrong));
    }
    seeds
}

/// The saved index as it is, cut, and with a wrong number in an entry that the target uses.
fn indexes() -> Vec<(String, Vec<u8>)> {
    // The format is described in src/storage/local/segment/index.rs; the checksum is not a part of the input.
    let saved = targets::saved_index();
    let entry = |offset: u32| {
        let at = |place: usize| u32::from_le_bytes(saved[place..place + 4].try_into().expect("four bytes"));
        (76..saved.len()).step_by(20).rfind(|place| at(*place) <= offset).expect("the first entry")
    };
    let wrong = |at: usize| {
        let mut wrong = saved.clone();
        wrong[at] ^= 0x55;
        wrong
    };
    let seeds = [
        ("whole", saved.clone()),
        ("cut", saved[..entry(190)].to_vec()),
        ("wrong-offset", wrong(entry(17))),
        ("wrong-position", wrong(entry(200) + 4)),
        ("wrong-position-far-away", wrong(entry(399) + 6)),
        ("wrong-length", wrong(48)),
    ];
    seeds.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

#[test]
fn i9_edited_files_of_the_corpus_are_served_or_named() {
    replay("recovery", edited_files, targets::recovery);
}

#[test]
fn snapshots_of_the_corpus_read_as_they_were_written() {
    replay("snapshot", || states(&targets::state()), targets::snapshot);
}

#[test]
fn i9_indexes_of_the_corpus_never_lead_to_wrong_bytes() {
    replay("index", indexes, targets::index);
}
