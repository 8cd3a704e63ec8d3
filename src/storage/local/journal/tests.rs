//! The journal in files, with torn writes, flipped bits, full disks and failing calls.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::fs::{self, Fault, Fs, Open, Operation, SimFs};
use super::conformance::{append, check_entries, small};
use super::*;

const DIR: &str = "journal";

#[test]
fn a_torn_last_frame_ends_the_journal_wherever_it_tears() {
    let fs = SimFs::new(1);
    let mut journal = open(&fs, 1).0;
    append(&mut journal, &[1, 2]);
    sync(&mut journal);
    journal.mark().unwrap();
    append(&mut journal, &[3]);
    let fs = fs.kill();
    let (file, at) = {
        let entries = replay(&fs, 1).unwrap();
        (path_of(&entries[2]), entries[2].at)
    };
    let whole = fs::read_all(&fs, &file, u64::MAX).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    for tear in at..=end {
        let torn = fs.fork();
        zero(&torn, &file, tear, end + 1);
        check_entries(&replay(&torn, 1).unwrap(), 1..=2);
    }
}

#[test]
fn a_flipped_bit_is_harmless_or_in_the_last_round_or_refused_by_name() {
    let fs = SimFs::new(1);
    let mut journal = open(&fs, 1).0;
    for position in 1..=9 {
        append(&mut journal, &[position]);
        sync(&mut journal);
        if position % 3 == 0 {
            journal.mark().unwrap();
        }
    }
    let fs = fs.kill();
    let entries = replay(&fs, 1).unwrap();
    let mut refused = 0;
    for entry in fs.list(Path::new(DIR)).unwrap() {
        let path = Path::new(DIR).join(entry.name);
        let len = fs.metadata(&path).unwrap().len;
        for bit in (0..len).map(|byte| byte * 8 + byte % 8) {
            let flipped = fs.fork();
            flipped.flip_bit(&path, bit).unwrap();
            match replay(&flipped, 1) {
                // The mark after entry 9 says that it is synced.
                Ok(found) => check_entries(&found, 1..=9),
                Err(OpenError::Damage { file, at, .. }) => {
                    let hit = entries.iter().rfind(|entry| path_of(entry) == path && entry.at <= bit / 8);
                    assert_eq!((file, at), (path.clone(), hit.unwrap().at));
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(refused > 300, "{refused}");
}

#[test]
fn a_copy_ends_before_a_torn_frame_and_is_refused_where_a_frame_follows_a_broken_one() {
    let fs = SimFs::new(1);
    let mut journal = open(&fs, 1).0;
    append(&mut journal, &[1, 2]);
    sync(&mut journal);
    append(&mut journal, &[3]);
    let torn_at = |fs: &SimFs, entry: &Replayed| {
        let torn = fs.fork();
        zero(&torn, &path_of(entry), entry.at + 8, entry.at + 16);
        copied(&torn, 1)
    };
    let third = replay_all(&fs.fork().kill(), 1).remove(2);
    check_entries(&copied(&fs, 1).unwrap(), 1..=3);
    check_entries(&torn_at(&fs, &third).unwrap(), 1..=2);
    // The journal goes on in other files.
    for position in 4..=60 {
        append(&mut journal, &[position]);
    }
    check_entries(&copied(&fs, 1).unwrap(), 1..=60);
    check_entries(&copied(&fs, 58).unwrap(), 58..=60);
    let damage = torn_at(&fs, &third).unwrap_err();
    assert!(
        matches!(&damage, OpenError::Damage { file, at, .. } if *file == path_of(&third) && *at == third.at),
        "{damage}"
    );
    // Nobody writes: it was a power cut, and only two entries were synced, as a start finds too.
    let cut = fs.fork();
    zero(&cut, &path_of(&third), third.at + 8, third.at + 16);
    check_entries(&copied_at_rest(&cut, 1).unwrap(), 1..=2);
    check_entries(&replay_all(&cut, 1), 1..=2);
    // The end is gone, and the witness knows better.
    sync(&mut journal);
    let last = replay_all(&fs.fork().kill(), 1).pop().unwrap();
    fs.remove(&path_of(&last)).unwrap();
    assert!(matches!(copied(&fs, 1), Err(OpenError::Damage { .. })));
}

#[test]
fn a_mark_that_is_lost_takes_nothing_with_it() {
    let fs = SimFs::new(1);
    let mut journal = open(&fs, 1).0;
    append(&mut journal, &[1]);
    sync(&mut journal);
    let before = tail(&fs);
    journal.mark().unwrap();
    let after = tail(&fs);
    append(&mut journal, &[2]);
    let fs = fs.kill();
    zero(&fs, &first_file(), before, after);
    check_entries(&replay(&fs, 1).unwrap(), 1..=2);
}

#[test]
fn a_file_that_is_missing_below_the_mark_is_damage() {
    let fs = SimFs::new(1);
    let mut journal = open(&fs, 1).0;
    for position in 1..=60 {
        append(&mut journal, &[position]);
        sync(&mut journal);
    }
    let fs = fs.kill();
    let files = fs.list(Path::new(DIR)).unwrap();
    assert!(files.len() >= 4);
    for lost in &files[..files.len() - 1] {
        let fs = fs.fork();
        fs.remove(&Path::new(DIR).join(&lost.name)).unwrap();
        assert!(matches!(replay(&fs, 1), Err(OpenError::Damage { .. })), "{}", lost.name);
    }
    // A file below the requested position is not needed.
    fs.remove(&Path::new(DIR).join(&files[0].name)).unwrap();
    check_entries(&replay(&fs, 58).unwrap(), 58..=60);
}

#[test]
fn synced_entries_are_missed_wherever_the_end_of_the_journal_is_lost() {
    let fs = SimFs::new(1);
    let mut journal = open(&fs, 1).0;
    let mut earlier = None;
    for position in 1..=60 {
        append(&mut journal, &[position]);
        sync(&mut journal);
        if position == 57 {
            earlier = Some(fs.fork());
        }
    }
    let fs = fs.kill();
    let last = replay(&fs, 1).unwrap().pop().unwrap();
    let in_use = path_of(&last);
    let bytes = fs::read_all(&fs, &in_use, u64::MAX).unwrap();
    let old = fs::read_all(&earlier.unwrap(), &in_use, u64::MAX).unwrap();
    assert!(old != bytes);
    let other = in_use.with_file_name("00000000000000009999.journal");
    let put = |fs: &SimFs, bytes: &[u8]| {
        fs.open(&in_use, Open::Write).unwrap().write_at(&[io::IoSlice::new(bytes)], 0).unwrap()
    };
    type Loss<'a> = (&'a str, &'a dyn Fn(&SimFs));
    let losses: [Loss<'_>; 6] = [
        ("missing", &|fs| fs.remove(&in_use).unwrap()),
        ("renamed", &|fs| fs.rename(&in_use, &other).unwrap()),
        ("short", &|fs| fs.open(&in_use, Open::Write).unwrap().truncate(last.at + 8).unwrap()),
        ("empty", &|fs| fs.open(&in_use, Open::Write).unwrap().truncate(0).unwrap()),
        ("zeros", &|fs| put(fs, &vec![0; bytes.len()])),
        ("older", &|fs| put(fs, &old)),
    ];
    for (what, lose) in losses {
        let lost = fs.fork();
        lose(&lost);
        match replay(&lost, 1) {
            Err(OpenError::Damage { file, .. }) => assert_eq!(file, in_use, "{what}"),
            other => panic!("{what}: {:?}", other.map(|entries| entries.len())),
        }
        // With a snapshot of the end, nothing of it is needed.
        assert!(replay(&lost, 61).unwrap().is_empty(), "{what}");
        let left = Replay::open_what_is_left(Arc::new(lost), Path::new(DIR), small(), 1).unwrap();
        let left: Vec<Replayed> = left.map(Result::unwrap).collect();
        assert!(left.len() < 60, "{what}");
        check_entries(&left, 1..=left.len() as u64);
    }
}

#[test]
fn a_witness_that_is_damaged_or_gone_or_of_before_costs_nothing() {
    let fs = SimFs::new(1);
    let mut journal = open(&fs, 1).0;
    append(&mut journal, &[1, 2]);
    sync(&mut journal);
    let path = super::witness_path(Path::new(DIR));
    let old = fs::read_all(&fs, &path, u64::MAX).unwrap();
    append(&mut journal, &[3]);
    sync(&mut journal);
    let fs = fs.kill();
    for bit in 0..old.len() as u64 * 8 {
        let flipped = fs.fork();
        flipped.flip_bit(&path, bit).unwrap();
        check_entries(&replay(&flipped, 1).unwrap(), 1..=3);
    }
    fs.open(&path, Open::Write).unwrap().write_at(&[io::IoSlice::new(&old)], 0).unwrap();
    check_entries(&replay(&fs, 1).unwrap(), 1..=3);
    fs.remove(&path).unwrap();
    let (mut journal, entries) = open(&fs, 1);
    check_entries(&entries, 1..=3);
    append(&mut journal, &[4]);
    sync(&mut journal);
    assert_eq!(super::synced_by_witness(&fs, Path::new(DIR), small().salt), 4);
}

#[test]
fn cut_entries_never_come_back() {
    for (keep, reopen) in [(3, false), (5, true), (29, false), (29, true)] {
        let fs = SimFs::new(keep);
        let mut journal = open(&fs, 1).0;
        append(&mut journal, &(1..=30).collect::<Vec<_>>());
        let mut fs = fs.kill();
        let mut cut = opened(&fs, 1).unwrap();
        assert_eq!(cut.by_ref().count(), 30);
        cut.cut_at(keep + 1);
        let mut journal = cut.begin(keep + 1).unwrap();
        if reopen {
            fs = fs.crash(keep);
            let (again, entries) = open(&fs, 1);
            check_entries(&entries, 1..=keep);
            journal = again;
        }
        // Another entry at the position of the first one that was cut.
        journal.append(&other_entry(keep + 1)).unwrap();
        let fs = fs.kill();
        let entries = replay(&fs, 1).unwrap();
        check_entries(&entries[..entries.len() - 1], 1..=keep);
        assert_eq!(entries.last().unwrap().commands, b"other"[..]);
    }
}

#[test]
fn cut_entries_do_not_come_back_if_the_opening_was_killed() {
    for marked in [false, true] {
        let written = SimFs::new(1);
        let mut journal = open(&written, 1).0;
        append(&mut journal, &[1, 2]);
        if marked {
            sync(&mut journal);
            journal.mark().unwrap();
        }
        append(&mut journal, &(3..=30).collect::<Vec<_>>());
        kill_openings_in_the_middle(&written);
    }
}

fn kill_openings_in_the_middle(written: &SimFs) {
    let cut_and_begin = |fs: &SimFs| {
        let mut replay = opened(fs, 1)?;
        if replay.any(|entry| entry.is_ok_and(|entry| entry.position == 3)) {
            replay.cut_at(3);
        }
        replay.begin(3)
    };
    // The opening is killed at each of its changes, and the next one is followed by a power cut.
    for changes in 0.. {
        let fs = written.fork().kill();
        fs.off_after(changes);
        if cut_and_begin(&fs).is_ok() {
            assert!(changes > 10, "{changes}");
            break;
        }
        let fs = fs.kill();
        cut_and_begin(&fs).unwrap().append(&other_entry(3)).unwrap();
        for seed in 0..40 {
            let entries = replay(&fs.fork().crash(seed), 1).unwrap();
            check_entries(&entries[..2], 1..=2);
            assert!(entries.iter().skip(2).all(|entry| entry.commands == b"other"[..]), "seed {seed}");
            assert!(entries.len() <= 3);
        }
    }
}

#[test]
fn bytes_in_a_record_cannot_pose_as_a_frame() {
    // A client that does not know the salt could make this: a frame that says that everything is synced.
    let head = frame::Head {
        kind: frame::Kind::Entry,
        position: 2,
        synced: 99,
        time: Timestamp(0),
        hash: 0,
        incarnation: 9,
    };
    let stamp = frame::Stamp { generation: 1, salt: 0 };
    let forged = Bytes::copy_from_slice(&frame::encode(stamp, &head, &[], &[], 0));
    for shift in 0..8 {
        let fs = SimFs::new(1);
        let mut journal = open(&fs, 1).0;
        append(&mut journal, &[1]);
        sync(&mut journal);
        let data = [Bytes::from(vec![0; shift]), forged.clone()];
        journal.append(&conformance::entry_of(2, b"other", &data)).unwrap();
        let fs = fs.kill();
        let at = replay(&fs, 1).unwrap()[1].at;
        zero(&fs, &first_file(), at, at + 4);
        check_entries(&replay(&fs, 1).unwrap(), 1..=1);
    }
}

#[test]
fn recycled_files_hold_no_frame_that_parses() {
    let fs = SimFs::new(1);
    let mut journal = open(&fs, 1).0;
    let mut generations = std::collections::BTreeSet::new();
    for position in 1..=400 {
        append(&mut journal, &[position]);
        sync(&mut journal);
        journal.trim(position);
        work(&mut journal);
        let names = fs.list(Path::new(DIR)).unwrap();
        assert!(names.len() <= 4, "{names:?}");
        for entry in names {
            let generation = pool::generation(&entry.name).unwrap();
            generations.insert(generation);
            let bytes = fs::read_all(&fs, &Path::new(DIR).join(&entry.name), u64::MAX).unwrap();
            let stamp = frame::Stamp { generation, salt: small().salt };
            let frames: Vec<u64> = frame::all(&bytes, stamp).map(|frame| frame.head.position).collect();
            assert!(frames.is_sorted() && frames.iter().all(|found| *found <= position));
            assert!(frames.len() < 40, "only its own frames");
        }
    }
    assert!(generations.len() > 20);
    assert!(fs.used() <= 4 * 4096);
    check_entries(&replay(&fs.crash(3), 400).unwrap(), 400..=400);
}

#[test]
fn a_full_disk_refuses_the_entry_and_takes_it_later() {
    let fs = SimFs::new(1);
    let mut journal = open(&fs, 1).0;
    fs.set_capacity(Some(fs.used() + 2048));
    let mut position = 1;
    let refused = loop {
        let (commands, data) = conformance::content(position);
        let bytes = (commands.len() + data.iter().map(Bytes::len).sum::<usize>()) as u64;
        let entry = conformance::entry_of(position, &commands, &data);
        let fits = journal.room_for(bytes);
        match journal.append(&entry) {
            Ok(()) => assert!(fits),
            Err(error) => {
                assert!(!fits);
                break error;
            }
        }
        position += 1;
    };
    assert_eq!(refused, JournalError::Full);
    sync(&mut journal);
    let journal = &mut open(&fs.kill(), 1).0;
    assert_eq!(journal.last(), position - 1, "a start needs no space");
    let fs = fs.kill();
    let journal = &mut open(&fs, 1).0;
    assert!(journal.prepare().unwrap().run().is_err());
    fs.set_capacity(None);
    append(journal, &[position, position + 1]);
    assert_eq!(replay(&fs.kill(), 1).unwrap().len() as u64, position + 1);
}

#[test]
fn a_sync_that_failed_is_never_trusted_again() {
    let mut worst = 3;
    for seed in 0..20 {
        let fs = SimFs::new(seed);
        let mut journal = open(&fs, 1).0;
        append(&mut journal, &[1]);
        sync(&mut journal);
        append(&mut journal, &[2, 3]);
        fs.fail(Fault::next(Operation::SyncData));
        assert!(matches!(journal.sync_job().run(), Err(JournalError::Poisoned(_))));
        assert!(matches!(journal.sync_job().run(), Err(JournalError::Poisoned(_))));
        assert!(journal.mark().is_err() && journal.prepare().is_none());

        // Without an opening a power cut may lose entries 2 and 3. The page cache still has them, and an
        // opening makes them durable.
        let left = |fs: &SimFs| (0..20).map(|seed| replay(&fs.fork().crash(seed), 1).unwrap().len()).min();
        worst = worst.min(left(&fs).unwrap());
        let fs = fs.kill();
        let (_, entries) = open(&fs, 1);
        check_entries(&entries, 1..=3);
        assert!(entries[1].above_mark && entries[2].above_mark);
        assert_eq!(left(&fs), Some(3));
    }
    assert_eq!(worst, 1, "the simulated disk is too kind");
}

#[test]
fn a_snapshot_may_be_ahead_of_the_journal() {
    let fs = SimFs::new(1);
    let mut journal = open(&fs, 1).0;
    append(&mut journal, &[1, 2, 3]);
    let fs = fs.kill();
    let mut ahead = opened(&fs, 8).unwrap();
    assert!(ahead.next().is_none());
    assert_eq!(ahead.ends_at(), 3);
    let mut journal = ahead.begin(8).unwrap();
    append(&mut journal, &[8, 9]);
    sync(&mut journal);
    check_entries(&replay(&fs.crash(1), 8).unwrap(), 8..=9);
}

#[test]
fn unsynced_entries_are_not_trimmed() {
    let fs = SimFs::new(1);
    let mut journal = open(&fs, 1).0;
    append(&mut journal, &(1..=60).collect::<Vec<_>>());
    journal.trim(50);
    work(&mut journal);
    check_entries(&replay(&fs.kill(), 1).unwrap(), 1..=60);
}

#[test]
fn a_new_directory_starts_with_a_small_file() {
    let fs = SimFs::new(1);
    open(&fs, 1);
    assert_eq!(fs.used(), 2 * 4096, "and the witness");
    assert_eq!(fs.metadata(&first_file()).unwrap().len, small().first_file_bytes);
}

/// A journal through several runs, with every kind of end, checked against its contract.
#[test]
fn synced_entries_survive_every_end() {
    for seed in 0..600 {
        Life::new(seed).play();
    }
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in [3, 14, 159] {
        let (mut once, mut again) = (Life::new(seed), Life::new(seed));
        once.play();
        again.play();
        assert!(once.fs.trace() == again.fs.trace());
        assert!(once.fs.trace().len() > 1000);
    }
}

struct Life {
    fs: SimFs,
    dice: Dice,
    /// The hash of every entry from position 1, as far as this test knows.
    hashes: Vec<u64>,
    /// The last position that must survive everything.
    durable: u64,
    /// The end of the journal after the last opening.
    attempted: u64,
    snapshots: [u64; 2],
    fresh: u64,
}

impl Life {
    fn new(seed: u64) -> Life {
        Life {
            fs: SimFs::new(seed),
            dice: Dice(seed),
            hashes: Vec::new(),
            durable: 0,
            attempted: 0,
            snapshots: [0, 0],
            fresh: 0,
        }
    }

    fn play(&mut self) {
        for _ in 0..6 {
            if self.dice.below(4) == 0 {
                self.fs.off_after(self.dice.below(12));
            }
            if let Some(journal) = self.recover() {
                self.run(journal);
            }
            let seed = self.dice.next();
            // If the power is off, the process may also have been killed.
            self.fs = if self.dice.below(3) == 0 { self.fs.kill() } else { self.fs.crash(seed) };
        }
        self.fs.set_capacity(None);
        assert!(self.recover().is_some());
    }

    /// `None` if a fault prevented it.
    fn recover(&mut self) -> Option<FileJournal> {
        // Sometimes the older snapshot is used, as if the newer one were damaged.
        let from = self.snapshots[usize::from(self.dice.below(4) != 0)] + 1;
        let mut replay = match opened(&self.fs, from) {
            Ok(replay) => replay,
            Err(OpenError::Io { .. }) if self.fs.is_off() => return None,
            Err(error) => panic!("{error}"),
        };
        let mut cut = None;
        let mut last = from - 1;
        while let Some(entry) = replay.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(_) if self.fs.is_off() => return None,
                Err(error) => panic!("{error}"),
            };
            assert_eq!(entry.position, last + 1);
            assert_eq!(entry.hash, self.hashes[place(entry.position)], "entry {}", entry.position);
            assert_eq!(entry.commands, entry.hash.to_le_bytes().repeat(entry.commands.len() / 8));
            if !entry.above_mark && entry.position > self.durable {
                // An opening that did not finish had made it durable.
                assert!(entry.position <= self.attempted);
                self.durable = entry.position;
            }
            // The entry refers to missing data. This can happen only to entries that were never acknowledged.
            if entry.above_mark && entry.position > self.durable && self.dice.below(10) == 0 {
                replay.cut_at(entry.position);
                cut = Some(entry.position);
                break;
            }
            last = entry.position;
        }
        assert!(cut.is_some() || last == replay.ends_at());
        assert!(last >= self.durable, "{last} of {}", self.durable);
        self.attempted = last;
        let journal = match replay.begin(last + 1) {
            Ok(journal) => journal,
            Err(_) if self.fs.is_off() => return None,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(journal.last(), last);
        self.durable = last;
        self.hashes.truncate(usize::try_from(last).unwrap());
        Some(journal)
    }

    fn run(&mut self, mut journal: FileJournal) {
        match self.dice.below(5) {
            0 => self.fs.off_after(self.dice.below(60)),
            1 => self.fs.fail(Fault { after: self.dice.below(6), ..Fault::next(Operation::SyncData) }),
            2 => self.fs.fail(Fault { after: self.dice.below(20), ..Fault::next(Operation::Write) }),
            3 => self.fs.set_capacity(Some(self.fs.used() + self.dice.below(9000))),
            _ => self.fs.set_capacity(None),
        }
        let mut job = None;
        for _ in 0..self.dice.below(60) {
            let done = match self.dice.below(12) {
                0..6 => self.append(&mut journal),
                // A job is created, and run some appends later.
                6..8 => match job.take() {
                    None => {
                        job = Some(journal.sync_job());
                        Ok(())
                    }
                    Some(made) => made.run().map(|through| {
                        journal.synced(through);
                        self.durable = through;
                    }),
                },
                8 => journal.mark(),
                9 => {
                    if self.durable > self.snapshots[1] {
                        self.snapshots = [self.snapshots[1], self.durable];
                        journal.trim(self.snapshots[0] + 1);
                    }
                    Ok(())
                }
                _ => {
                    if let Some(work) = journal.prepare() {
                        // A failure only means that less space is ready; the journal continues.
                        let _ = work.run();
                    }
                    Ok(())
                }
            };
            match done {
                Ok(()) | Err(JournalError::Full) => {}
                Err(_) => {
                    assert!(journal.mark().is_err());
                    return;
                }
            }
        }
    }

    fn append(&mut self, journal: &mut FileJournal) -> Result<(), JournalError> {
        self.fresh += 1;
        let hash = self.fresh.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let commands = hash.to_le_bytes().repeat(usize::try_from(self.dice.below(200)).unwrap());
        let position = journal.last() + 1;
        let fits = journal.room_for(commands.len() as u64);
        // A failing write may have written all its bytes.
        self.hashes.truncate(place(position));
        self.hashes.push(hash);
        let entry = Entry { hash, ..conformance::entry_of(position, &commands, &[]) };
        let done = journal.append(&entry);
        assert!(!(fits && done == Err(JournalError::Full)));
        done
    }
}

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) ^ self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 8) % end
    }
}

fn place(position: u64) -> usize {
    usize::try_from(position - 1).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_open_as_a_prefix_or_are_refused(
        changes in prop::collection::vec((0..3u64, 0..2048usize, prop::collection::vec(any::<u8>(), 0..200)), 1..6),
        cut in prop::option::of((0..3u64, 0..4096u64)),
        from in 1..40u64,
    ) {
        let fs = SimFs::new(1);
        let mut journal = open(&fs, 1).0;
        append(&mut journal, &(1..=20).collect::<Vec<_>>());
        sync(&mut journal);
        append(&mut journal, &[21, 22]);
        let fs = fs.kill();
        for (file, at, bytes) in changes {
            if let Ok(file) = fs.open(&pool::path(Path::new(DIR), file + 1), Open::Write) {
                file.write_at(&[std::io::IoSlice::new(&bytes)], at as u64).unwrap();
            }
        }
        if let Some((file, len)) = cut
            && let Ok(file) = fs.open(&pool::path(Path::new(DIR), file + 1), Open::Write)
        {
            file.truncate(len).unwrap();
        }
        if let Ok(replay) = opened(&fs, from) {
            let last = replay.ends_at();
            let entries = replay.collect::<Result<Vec<_>, _>>().unwrap();
            check_entries(&entries, from..=last);
            let again = opened(&fs, from).unwrap();
            let next = (again.ends_at() + 1).max(from);
            let mut journal = again.begin(next).unwrap();
            journal.append(&other_entry(next)).unwrap();
            let entries = replay_all(&fs.kill(), from);
            prop_assert_eq!(&entries.last().unwrap().commands[..], b"other");
        }
    }

    #[test]
    fn nonsense_is_no_frame(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..300usize) {
        let stamp = frame::Stamp { generation: 0, salt: 0 };
        prop_assert!(frame::parse(&bytes, at, stamp).is_none());
        frame::begins(&bytes, at, stamp);
        frame::length(&bytes);
    }
}

fn opened(fs: &SimFs, from: u64) -> Result<Replay, OpenError> {
    Replay::open(Arc::new(fs.clone()), Path::new(DIR), small(), from)
}

fn replay(fs: &SimFs, from: u64) -> Result<Vec<Replayed>, OpenError> {
    opened(fs, from)?.collect()
}

fn replay_all(fs: &SimFs, from: u64) -> Vec<Replayed> {
    replay(fs, from).unwrap()
}

/// The entries in a copy of the journal of a running broker. Its file system is another one.
fn copied(fs: &SimFs, from: u64) -> Result<Vec<Replayed>, OpenError> {
    copied_while(true, fs, from)
}

/// The entries in a copy of the journal of a stopped broker.
fn copied_at_rest(fs: &SimFs, from: u64) -> Result<Vec<Replayed>, OpenError> {
    copied_while(false, fs, from)
}

fn copied_while(is_written_to: bool, fs: &SimFs, from: u64) -> Result<Vec<Replayed>, OpenError> {
    let target = SimFs::new(9);
    fs::create_dirs(&target, Path::new(DIR)).unwrap();
    let (source, to): (Arc<dyn Fs>, Arc<dyn Fs>) = (Arc::new(fs.clone()), Arc::new(target.clone()));
    let at = |fs| copy::At { fs, dir: Path::new(DIR) };
    copy::copy(at(&source), at(&to), small().salt, from, is_written_to, &mut || {})?;
    replay(&target, from)
}

fn open(fs: &SimFs, from: u64) -> (FileJournal, Vec<Replayed>) {
    let mut replay = opened(fs, from).unwrap();
    let entries = replay.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    let next = replay.ends_at() + 1;
    (replay.begin(next).unwrap(), entries)
}

fn sync(journal: &mut FileJournal) {
    let through = journal.sync_job().run().unwrap();
    journal.synced(through);
}

fn work(journal: &mut FileJournal) {
    if let Some(work) = journal.prepare() {
        work.run().unwrap();
    }
}

fn other_entry(position: u64) -> Entry<'static> {
    conformance::entry_of(position, b"other", &[])
}

fn first_file() -> std::path::PathBuf {
    pool::path(Path::new(DIR), 1)
}

fn path_of(entry: &Replayed) -> std::path::PathBuf {
    pool::path(Path::new(DIR), entry.file)
}

/// The end of the frames in the first file.
fn tail(fs: &SimFs) -> u64 {
    let bytes = fs::read_all(fs, &first_file(), u64::MAX).unwrap();
    frame::all(&bytes, frame::Stamp { generation: 1, salt: small().salt }).last().unwrap().next as u64
}

fn zero(fs: &SimFs, path: &Path, from: u64, to: u64) {
    let zeros = vec![0; usize::try_from(to - from).unwrap()];
    fs.open(path, Open::Write).unwrap().write_at(&[std::io::IoSlice::new(&zeros)], from).unwrap();
}
