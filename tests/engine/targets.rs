//! The fuzz targets of stored files: functions of bytes that panic if a start or a read goes wrong, and return whether
//! the bytes were taken.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use jackdaw::config::Durability;
use jackdaw::kernel::Levels;
use jackdaw::record;
use jackdaw::storage::local::fs::{SimFs, read_all};
use jackdaw::storage::{Isolation, LogError, ReadRange, Store, StoreOptions, Tuning};
use jackdaw::types::{Offset, Uuid};

use crate::damage::{Ended, Life, Outcomes, check, life, write_whole};
use crate::disk::{SMALL, batch, files, make_topic, now, options};

static KILLED: LazyLock<(Life, Vec<PathBuf>)> = LazyLock::new(|| {
    let life = life(Ended::Killed);
    let files = files(&life.fs, Path::new("data"));
    (life, files)
});

/// Recovery: one file of a killed broker's directory is edited. The first byte chooses the file, and every six bytes
/// after it are an edit. A start is refused with its reason, or serves all acknowledged records except those of
/// partitions that it names.
pub fn recovery(data: &[u8]) -> bool {
    let Some((file, edits)) = data.split_first() else { return false };
    let (life, files) = &*KILLED;
    let path = &files[usize::from(*file) % files.len()];
    let mut bytes = read_all(&life.fs, path, u64::MAX).unwrap();
    edits.chunks_exact(6).for_each(|edit| apply(edit, &mut bytes));
    let fs = life.fs.fork();
    write_whole(&fs, path, &bytes);
    let mut outcomes = Outcomes::default();
    check(life, &fs, &mut outcomes).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    outcomes.served == 1
}

/// A bit, some bytes, or the end of the file changes.
fn apply(edit: &[u8], bytes: &mut Vec<u8>) {
    let [kind, value, high, middle, low, count] = *edit else { return };
    if bytes.is_empty() {
        return;
    }
    let at = u32::from_be_bytes([0, high, middle, low]) as usize % bytes.len();
    let end = (at + 1 + usize::from(count)).min(bytes.len());
    match kind % 5 {
        0 => bytes[at] ^= 1 << (value % 8),
        1 => bytes[at..end].fill(value),
        2 => drop(bytes.drain(at..end)),
        3 => bytes.truncate(at),
        _ => bytes.extend(std::iter::repeat_n(value, end - at)),
    }
}

/// The state in a snapshot. A state that can be read is written and read again as the same.
pub fn snapshot(data: &[u8]) -> bool {
    let form = Levels::KNOWN.current();
    let read = |bytes: &[u8]| Levels::KNOWN.read_state(form.level(), bytes).expect("this level is known");
    let Ok(shard) = read(data) else { return false };
    let once = form.write_state(&shard);
    let again = read(&once).expect("a written state can be read");
    assert_eq!(form.write_state(&again), once);
    true
}

/// The state of the newest snapshot of a directory.
pub fn state() -> Vec<u8> {
    /// Magic, level, length and checksum.
    const BEFORE_THE_STATE: usize = 24;
    let (life, files) = &*KILLED;
    let is_snapshot = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "snapshot");
    let newest = files.iter().rfind(is_snapshot).expect("there are snapshots");
    read_all(&life.fs, newest, u64::MAX).unwrap()[BEFORE_THE_STATE..].to_vec()
}

/// One partition with a segment that is large enough for a saved index.
struct Indexed {
    fs: SimFs,
    /// The path of the saved index.
    path: PathBuf,
    batches: Vec<Vec<u8>>,
}

fn large_segments(fs: &SimFs) -> StoreOptions {
    let tuning = Tuning { segment_bytes: 8 << 20, journal_file_bytes: 1 << 20, ..SMALL };
    // The index has the topic's id, which has to be the one of the committed inputs.
    StoreOptions { tuning, new_id: || Uuid([0x22; 16]), ..options(fs, Durability::Fsync) }
}

static INDEXED: LazyLock<Indexed> = LazyLock::new(|| {
    let fs = SimFs::new(1);
    let store = Store::open(large_segments(&fs)).unwrap();
    let topic = make_topic(&store, "t", 1);
    let log = topic.partition(0).unwrap();
    let mut batches = Vec::new();
    for number in 0..400 {
        let checked = batch(&[&format!("{number} {}", "x".repeat(5_000))]);
        batches.push(checked.bytes[record::CHECKED_FROM..].to_vec());
        now(store.append(log, checked)).unwrap();
        store.run_background();
    }
    store.close();
    let fs = fs.kill();
    let is_index = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "idx");
    let path = files(&fs, Path::new("data")).into_iter().find(is_index).expect("an index is saved");
    Indexed { fs, path, batches }
});

/// The saved index of a segment, with a valid checksum over any bytes. A read returns whole batches of the log or an
/// error, whatever the index says. Returns whether every read returned the batch that was asked for.
pub fn index(data: &[u8]) -> bool {
    let Indexed { fs, path, batches } = &*INDEXED;
    let fs = fs.fork();
    write_whole(&fs, path, &[&crc32c::crc32c(data).to_le_bytes()[..], data].concat());
    let store = Store::open(large_segments(&fs)).unwrap();
    let log = Arc::clone(store.topics().by_name("t").unwrap().partition(0).unwrap());
    [0, 17, 200, 399].into_iter().all(|offset| {
        let range = ReadRange {
            from: Offset(offset),
            max_bytes: 1,
            at_least_one_batch: true,
            isolation: Isolation::ReadUncommitted,
            listed: false,
        };
        match now(log.read(range)) {
            Ok(answer) => {
                let bytes = answer.to_bytes().unwrap();
                let mut found = record::batches(&bytes).map(|found| found.expect("whole batches"));
                let Some((header, batch)) = found.next() else { return false };
                assert_eq!(batch[record::CHECKED_FROM..], batches[header.base_offset.0 as usize]);
                header.base_offset == Offset(offset)
            }
            Err(LogError::Damaged) => false,
            Err(error) => panic!("{error:?}"),
        }
    })
}

/// The bytes of the saved index after its checksum.
pub fn saved_index() -> Vec<u8> {
    read_all(&INDEXED.fs, &INDEXED.path, u64::MAX).unwrap()[4..].to_vec()
}
