//! The contract of a journal, tested for every implementation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::super::fs::{DiskFs, Fault, Fs, Operation, SimFs};
use super::*;

/// A journal that can be closed and opened again.
trait Bench {
    type Journal: Journal;

    /// Opens the journal or creates it. Returns the entries from this position on.
    fn open(&mut self, from: u64) -> (Self::Journal, Vec<Replayed>);

    /// Closes it, as a killed process would.
    fn close(&mut self, journal: Self::Journal);

    /// Makes the next write fail, or all later calls.
    fn break_down(&mut self, journal: &Self::Journal);
}

macro_rules! journal_tests {
    ($($fact:ident),* $(,)?) => {
        mod memory { $(#[test] fn $fact() { super::$fact(super::Memory::default()) })* }
        mod simulated_files { $(#[test] fn $fact() { super::$fact(super::Simulated::default()) })* }
        mod files { $(#[test] fn $fact() { super::$fact(super::Disk::default()) })* }
    };
}

journal_tests!(
    entries_come_back_as_they_were_appended,
    entries_appended_after_an_opening_follow,
    a_sync_job_tells_how_far_it_reached,
    a_sync_job_runs_elsewhere_while_appends_go_on,
    an_opening_returns_the_entries_from_a_position_on,
    trimmed_entries_are_not_missed,
    room_is_kept_ready_ahead_of_need,
    an_entry_may_be_larger_than_a_file,
    an_entry_that_is_too_large_changes_nothing,
    after_a_failure_every_call_fails,
);

fn entries_come_back_as_they_were_appended(mut bench: impl Bench) {
    let (mut journal, before) = bench.open(1);
    assert_eq!((before.len(), journal.last()), (0, 0));
    append(&mut journal, &[1, 2, 3, 4]);
    bench.close(journal);
    let (_, entries) = bench.open(1);
    check_entries(&entries, 1..=4);
}

fn entries_appended_after_an_opening_follow(mut bench: impl Bench) {
    for round in 0..5 {
        let (mut journal, entries) = bench.open(1);
        check_entries(&entries, 1..=round * 2);
        append(&mut journal, &[round * 2 + 1]);
        journal.mark().unwrap();
        append(&mut journal, &[round * 2 + 2]);
        bench.close(journal);
    }
}

fn a_sync_job_tells_how_far_it_reached(mut bench: impl Bench) {
    let (mut journal, _) = bench.open(1);
    append(&mut journal, &[1, 2]);
    let job = journal.sync_job();
    append(&mut journal, &[3]);
    assert_eq!(job.through(), 2);
    assert_eq!(job.run().unwrap(), 2);
    journal.synced(2);
    assert_eq!(journal.sync_job().run().unwrap(), 3);
    journal.synced(3);
    assert_eq!(journal.sync_job().run().unwrap(), 3, "nothing to do is done at once");
}

fn a_sync_job_runs_elsewhere_while_appends_go_on(mut bench: impl Bench) {
    let (mut journal, _) = bench.open(1);
    append(&mut journal, &[1]);
    for position in 2..20 {
        let job = journal.sync_job();
        std::thread::scope(|scope| {
            let synced = scope.spawn(|| job.run());
            append(&mut journal, &[position]);
            journal.synced(synced.join().expect("no panic").unwrap());
        });
        assert_eq!(journal.last(), position);
    }
}

fn an_opening_returns_the_entries_from_a_position_on(mut bench: impl Bench) {
    let (mut journal, _) = bench.open(1);
    append(&mut journal, &(1..=50).collect::<Vec<_>>());
    bench.close(journal);
    for from in [1, 2, 25, 50, 51] {
        let (journal, entries) = bench.open(from);
        check_entries(&entries, from..=50);
        assert_eq!(journal.last(), 50);
        bench.close(journal);
    }
}

fn trimmed_entries_are_not_missed(mut bench: impl Bench) {
    let (mut journal, _) = bench.open(1);
    for position in 1..=100 {
        append(&mut journal, &[position]);
        let synced = journal.sync_job().run().unwrap();
        journal.synced(synced);
        journal.trim(position.saturating_sub(10));
        if let Some(work) = journal.prepare() {
            work.run().unwrap();
        }
    }
    bench.close(journal);
    let (_, entries) = bench.open(91);
    check_entries(&entries, 91..=100);
}

fn room_is_kept_ready_ahead_of_need(mut bench: impl Bench) {
    let (mut journal, _) = bench.open(1);
    for position in 1..=100 {
        if let Some(work) = journal.prepare() {
            work.run().unwrap();
        }
        let (commands, data) = content(position);
        let bytes = commands.len() + data.iter().map(Bytes::len).sum::<usize>();
        assert!(journal.room_for(bytes as u64), "at entry {position}");
        append(&mut journal, &[position]);
    }
}

fn an_entry_may_be_larger_than_a_file(mut bench: impl Bench) {
    let (mut journal, _) = bench.open(1);
    let large = Bytes::from(vec![7; 100_000]);
    let data = [large.clone(), large];
    let entry = entry_of(1, b"c", &data);
    journal.append(&entry).unwrap();
    journal.append(&Entry { position: 2, ..entry }).unwrap();
    append(&mut journal, &[3]);
    bench.close(journal);
    let (_, entries) = bench.open(1);
    check_entries(&entries[2..], 3..=3);
    for entry in &entries[..2] {
        assert_eq!((entry.commands.as_ref(), entry.data.len()), (&b"c"[..], 200_000));
        assert!(entry.data.iter().all(|byte| *byte == 7));
    }
}

fn an_entry_that_is_too_large_changes_nothing(mut bench: impl Bench) {
    let (mut journal, _) = bench.open(1);
    append(&mut journal, &[1]);
    // The same megabyte many times, because only the length matters here.
    let piece = Bytes::from(vec![0; 1 << 20]);
    let pieces = vec![piece; usize::try_from(frame::LARGEST_ENTRY >> 20).unwrap() + 1];
    let refused = journal.append(&entry_of(2, &[], &pieces));
    assert!(matches!(refused, Err(JournalError::TooLarge { .. })));
    append(&mut journal, &[2]);
    bench.close(journal);
    check_entries(&bench.open(1).1, 1..=2);
}

fn after_a_failure_every_call_fails(mut bench: impl Bench) {
    let (mut journal, _) = bench.open(1);
    append(&mut journal, &[1]);
    let before = journal.sync_job();
    bench.break_down(&journal);
    let (commands, data) = content(2);
    let entry = entry_of(2, &commands, &data);
    assert!(matches!(journal.append(&entry), Err(JournalError::Poisoned(_))));
    assert!(matches!(journal.append(&entry), Err(JournalError::Poisoned(_))));
    assert!(matches!(journal.mark(), Err(JournalError::Poisoned(_))));
    assert!(matches!(journal.sync_job().run(), Err(JournalError::Poisoned(_))));
    assert!(matches!(before.run(), Err(JournalError::Poisoned(_))));
    assert_eq!(journal.last(), 1);
}

/// The content that the tests append at a position.
pub(super) fn content(position: u64) -> (Vec<u8>, Vec<Bytes>) {
    let byte = |shift: u64| (position.wrapping_mul(0x9e37_79b9).wrapping_add(shift) >> 3).to_le_bytes()[0];
    let some = |most: u64, shift: u64| {
        (0..(position * 37 + shift) % most).map(|at| byte(at + shift)).collect::<Vec<u8>>()
    };
    let pieces = (0..position % 4).map(|piece| Bytes::from(some(300, piece * 11))).collect();
    (some(200, 5), pieces)
}

pub(super) fn append(journal: &mut impl Journal, positions: &[u64]) {
    for position in positions {
        let (commands, data) = content(*position);
        let time = Timestamp(position.cast_signed());
        let entry = Entry { time, hash: position ^ 77, ..entry_of(*position, &commands, &data) };
        journal.append(&entry).unwrap();
    }
}

pub(super) fn entry_of<'a>(position: u64, commands: &'a [u8], data: &'a [Bytes]) -> Entry<'a> {
    Entry { position, time: Timestamp(0), hash: 0, commands, data, data_crc: crc_of(data) }
}

pub(super) fn check_entries(entries: &[Replayed], positions: std::ops::RangeInclusive<u64>) {
    let found: Vec<u64> = entries.iter().map(|entry| entry.position).collect();
    assert_eq!(found, positions.collect::<Vec<_>>());
    for entry in entries {
        let (commands, data) = content(entry.position);
        assert_eq!(entry.commands, commands);
        assert_eq!(entry.data, data.concat());
        assert_eq!(entry.hash, entry.position ^ 77);
        assert_eq!(entry.time, Timestamp(entry.position.cast_signed()));
    }
}

/// Options with files so small that every test uses several.
pub(super) fn small() -> Options {
    Options { salt: 99, first_file_bytes: 2048, file_bytes: 4096, spare_files: 2 }
}

fn open_files(fs: &Arc<dyn Fs>, dir: &Path, from: u64) -> (FileJournal, Vec<Replayed>) {
    let mut replay = Replay::open(Arc::clone(fs), dir, small(), from).unwrap();
    let entries = replay.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    let last = replay.ends_at();
    (replay.begin(last + 1).unwrap(), entries)
}

#[derive(Default)]
struct Memory(Option<MemoryJournal>);

impl Bench for Memory {
    type Journal = MemoryJournal;

    fn open(&mut self, from: u64) -> (MemoryJournal, Vec<Replayed>) {
        let journal = self.0.take().unwrap_or_else(MemoryJournal::keeping);
        let entries = journal.entries().into_iter().filter(|entry| entry.position >= from).collect();
        (journal, entries)
    }

    fn close(&mut self, journal: MemoryJournal) {
        self.0 = Some(journal);
    }

    fn break_down(&mut self, journal: &MemoryJournal) {
        journal.break_down("as the test wishes");
    }
}

struct Simulated(SimFs);

impl Default for Simulated {
    fn default() -> Simulated {
        Simulated(SimFs::new(1))
    }
}

impl Bench for Simulated {
    type Journal = FileJournal;

    fn open(&mut self, from: u64) -> (FileJournal, Vec<Replayed>) {
        let fs: Arc<dyn Fs> = Arc::new(self.0.clone());
        open_files(&fs, Path::new("journal"), from)
    }

    fn close(&mut self, _journal: FileJournal) {
        self.0 = self.0.kill();
    }

    fn break_down(&mut self, _journal: &FileJournal) {
        self.0.fail(Fault::next(Operation::Write));
    }
}

struct Disk {
    dir: tempfile::TempDir,
}

impl Default for Disk {
    fn default() -> Disk {
        Disk { dir: tempfile::tempdir().unwrap() }
    }
}

impl Disk {
    fn journal_dir(&self) -> PathBuf {
        self.dir.path().join("journal")
    }
}

impl Bench for Disk {
    type Journal = FileJournal;

    fn open(&mut self, from: u64) -> (FileJournal, Vec<Replayed>) {
        let fs: Arc<dyn Fs> = Arc::new(DiskFs);
        open_files(&fs, &self.journal_dir(), from)
    }

    fn close(&mut self, _journal: FileJournal) {}

    fn break_down(&mut self, journal: &FileJournal) {
        journal.break_down("as the test wishes");
    }
}
