//! Tests of every file system, and of the failures that the simulated one injects.

use std::collections::BTreeSet;

use super::*;

macro_rules! fs_tests {
    ($($fact:ident),* $(,)?) => {
        mod disk {
            $(#[test] fn $fact() {
                let dir = tempfile::tempdir().unwrap();
                super::$fact(&super::DiskFs, dir.path());
            })*
        }
        mod simulated { $(#[test] fn $fact() { super::$fact(&super::SimFs::new(1), super::Path::new("/")) })* }
        mod memory {
            $(#[test] fn $fact() {
                let fs = super::MemoryFs::default();
                super::Fs::create_dir(&fs, super::Path::new("root")).unwrap();
                super::$fact(&fs, super::Path::new("root"));
            })*
        }
        mod overlay {
            $(#[test] fn $fact() {
                let below = super::MemoryFs::default();
                super::Fs::create_dir(&below, super::Path::new("root")).unwrap();
                let root = super::Path::new("root");
                super::$fact(&super::OverlayFs::new(super::Arc::new(below), root), root);
            })*
        }
    };
}

fs_tests!(
    pieces_are_written_one_behind_the_other,
    more_pieces_than_a_call_takes_are_written,
    a_read_is_short_only_at_the_end,
    a_cut_file_grows_again_with_zeros,
    an_open_asks_for_what_it_says,
    a_rename_takes_the_place_of_what_was_there,
    a_directory_lists_its_names_in_order,
    a_removed_file_lives_while_it_is_open,
    a_directory_that_holds_something_stays,
    a_whole_file_is_put_in_place,
    directories_are_made_on_the_way_and_a_tree_is_removed,
);

fn pieces_are_written_one_behind_the_other(fs: &dyn Fs, dir: &Path) {
    let file = fs.open(&dir.join("a"), Open::New).unwrap();
    let pieces = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cdef")];
    file.write_at(&pieces, 3).unwrap();
    file.write_at(&[IoSlice::new(b"XY")], 5).unwrap();
    assert_eq!(contents(fs, &dir.join("a")), b"\0\0\0abXYef");
    file.sync_data().unwrap();
    fs.sync_dir(dir).unwrap();
}

fn more_pieces_than_a_call_takes_are_written(fs: &dyn Fs, dir: &Path) {
    let bytes: Vec<u8> = (0..5000u32).map(|at| at.to_le_bytes()[0]).collect();
    let pieces: Vec<IoSlice<'_>> = bytes.chunks(2).map(IoSlice::new).collect();
    fs.open(&dir.join("a"), Open::New).unwrap().write_at(&pieces, 0).unwrap();
    assert_eq!(contents(fs, &dir.join("a")), bytes);
}

fn a_read_is_short_only_at_the_end(fs: &dyn Fs, dir: &Path) {
    let file = fs.open(&dir.join("a"), Open::New).unwrap();
    file.write_at(&[IoSlice::new(b"0123456789")], 0).unwrap();
    let mut into = [0; 4];
    for (at, read) in [(0, 4), (6, 4), (7, 3), (10, 0), (99, 0)] {
        assert_eq!(file.read_at(&mut into, at).unwrap(), read);
        let cached = (0..100).find_map(|_| file.read_cached_at(&mut into, at).unwrap());
        assert!(cached.is_none_or(|cached| cached == read));
    }
    assert_eq!(file.read_at(&mut into, 6).unwrap(), 4);
    assert_eq!(&into, b"6789");
    assert_eq!((file.len().unwrap(), file.is_empty().unwrap()), (10, false));
}

fn a_cut_file_grows_again_with_zeros(fs: &dyn Fs, dir: &Path) {
    let file = fs.open(&dir.join("a"), Open::New).unwrap();
    file.write_at(&[IoSlice::new(b"0123456789")], 0).unwrap();
    file.truncate(4).unwrap();
    file.truncate(6).unwrap();
    file.write_at(&[IoSlice::new(b"8")], 8).unwrap();
    assert_eq!(contents(fs, &dir.join("a")), b"0123\0\0\0\x008");
}

fn an_open_asks_for_what_it_says(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let kind = |how| fs.open(&path, how).err().map(|error| error.kind());
    assert_eq!(kind(Open::Read), Some(io::ErrorKind::NotFound));
    assert_eq!(kind(Open::Write), Some(io::ErrorKind::NotFound));
    assert_eq!(kind(Open::New), None);
    assert_eq!(kind(Open::New), Some(io::ErrorKind::AlreadyExists));
    fs.open(&path, Open::Write).unwrap().write_at(&[IoSlice::new(b"x")], 0).unwrap();
    assert_eq!(kind(Open::WriteOrNew), None, "and cuts nothing");
    assert_eq!(contents(fs, &path), b"x");
    assert!(matches!(fs.metadata(&path), Ok(Metadata { len: 1, is_dir: false })));
    assert!(matches!(fs.metadata(dir), Ok(Metadata { is_dir: true, .. })));
    assert!(fs.space(dir).unwrap().free <= fs.space(dir).unwrap().total);
}

fn a_rename_takes_the_place_of_what_was_there(fs: &dyn Fs, dir: &Path) {
    let (one, other) = (dir.join("one"), dir.join("other"));
    fs.open(&one, Open::New).unwrap().write_at(&[IoSlice::new(b"1")], 0).unwrap();
    fs.open(&other, Open::New).unwrap();
    fs.rename(&one, &other).unwrap();
    assert_eq!(contents(fs, &other), b"1");
    assert_eq!(fs.list(dir).unwrap().len(), 1);
    assert_eq!(fs.rename(&one, &other).unwrap_err().kind(), io::ErrorKind::NotFound);
}

fn a_directory_lists_its_names_in_order(fs: &dyn Fs, dir: &Path) {
    for name in ["b", "a10", "a2"] {
        fs.open(&dir.join(name), Open::New).unwrap();
    }
    fs.create_dir(&dir.join("a3")).unwrap();
    let entries: Vec<_> = fs.list(dir).unwrap().into_iter().map(|entry| (entry.name, entry.is_dir)).collect();
    let expected = [("a10", false), ("a2", false), ("a3", true), ("b", false)];
    assert_eq!(entries, expected.map(|(name, is_dir)| (name.to_owned(), is_dir)));
}

fn a_removed_file_lives_while_it_is_open(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = fs.open(&path, Open::New).unwrap();
    file.write_at(&[IoSlice::new(b"x")], 0).unwrap();
    fs.remove(&path).unwrap();
    assert_eq!(fs.metadata(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(fs.remove(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(file.read_at(&mut [0], 0).unwrap(), 1);
}

fn a_directory_that_holds_something_stays(fs: &dyn Fs, dir: &Path) {
    let held = dir.join("held");
    fs.create_dir(&held).unwrap();
    assert_eq!(fs.create_dir(&held).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    fs.open(&held.join("a"), Open::New).unwrap();
    assert_eq!(fs.remove_dir(&held).unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
    fs.remove(&held.join("a")).unwrap();
    fs.remove_dir(&held).unwrap();
    assert_eq!(fs.list(&held).unwrap_err().kind(), io::ErrorKind::NotFound);
}

fn a_whole_file_is_put_in_place(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("whole");
    for text in [&b"the first, which is longer"[..], b"the second"] {
        replace(fs, &path, &[IoSlice::new(text)]).unwrap();
        assert_eq!(contents(fs, &path), text);
        assert_eq!(fs.list(dir).unwrap().len(), 1);
    }
    let too_long = read_all(fs, &path, 5).unwrap_err();
    assert_eq!(too_long.kind(), io::ErrorKind::InvalidData);
}

fn directories_are_made_on_the_way_and_a_tree_is_removed(fs: &dyn Fs, dir: &Path) {
    let deep = dir.join("a").join("b").join("c");
    create_dirs(fs, &deep).unwrap();
    create_dirs(fs, &deep).unwrap();
    fs.open(&deep.join("x"), Open::New).unwrap();
    fs.open(&dir.join("a").join("y"), Open::New).unwrap();
    assert!(create_dirs(fs, &deep.join("x")).is_err(), "a file is no directory");
    remove_tree(fs, &dir.join("a")).unwrap();
    remove_tree(fs, &dir.join("a")).unwrap();
    assert_eq!(fs.list(dir).unwrap(), []);
}

#[test]
fn a_second_process_does_not_get_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let sim = SimFs::new(1);
    for (fs, path) in [(&DiskFs as &dyn Fs, dir.path().join("LOCK")), (&sim, PathBuf::from("LOCK"))] {
        let held = fs.lock(&path).unwrap().expect("free");
        assert!(fs.lock(&path).unwrap().is_none());
        drop(held);
        let held = fs.lock(&path).unwrap();
        assert!(held.is_some());
        std::mem::forget(held);
    }
    assert!(sim.kill().lock(Path::new("LOCK")).unwrap().is_some(), "it dies with the process");
}

#[test]
fn synced_bytes_survive_every_power_cut() {
    for seed in 0..200 {
        let fs = SimFs::new(seed);
        let file = fs.open(Path::new("a"), Open::New).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        file.write_at(&[IoSlice::new(&[1; 3000])], 0).unwrap();
        file.sync_data().unwrap();
        let fs = fs.crash(seed).crash(seed + 1);
        assert_eq!(contents(&fs, Path::new("a")), [1; 3000]);
    }
}

#[test]
fn unsynced_bytes_are_kept_lost_or_torn_at_sectors() {
    let (mut kept, mut lost, mut torn, mut reordered, mut short) = (0, 0, 0, 0, 0);
    for seed in 0..400 {
        let fs = SimFs::new(seed);
        let file = fs.open(Path::new("a"), Open::New).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        file.write_at(&[IoSlice::new(&[1; 4096])], 0).unwrap();
        file.sync_data().unwrap();
        file.write_at(&[IoSlice::new(&[2; 1024])], 512).unwrap();
        file.write_at(&[IoSlice::new(&[3; 1024])], 1024).unwrap();
        file.write_at(&[IoSlice::new(&[4; 600])], 4000).unwrap();
        let left = contents(&fs.crash(seed), Path::new("a"));
        // Each sector has one of its versions since the sync.
        assert!(left.len() == 4096 || left.len() == 4600, "{}", left.len());
        assert!(all(&left[..512], &[1]) && all(&left[2048..3584], &[1]));
        assert!(all(&left[512..1024], &[1, 2]));
        assert!(all(&left[1024..1536], &[1, 2, 3]));
        assert!(all(&left[1536..2048], &[1, 3]));
        short += usize::from(left.len() == 4096);
        let sectors = [left[512], left[1024], left[1536]];
        match sectors {
            [1, 1, 1] => lost += 1,
            [2, 3, 3] => kept += 1,
            [1, ..] if sectors[2] == 3 => reordered += 1,
            _ => torn += 1,
        }
    }
    for (what, count) in
        [("kept", kept), ("lost", lost), ("torn", torn), ("reordered", reordered), ("short", short)]
    {
        assert!(count > 10, "{what}: {count}");
    }
}

#[test]
fn truncated_bytes_do_not_come_back_behind_later_ones() {
    for seed in 0..300 {
        let fs = SimFs::new(seed);
        let file = fs.open(Path::new("a"), Open::New).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        file.write_at(&[IoSlice::new(&[1; 2048])], 0).unwrap();
        file.sync_data().unwrap();
        file.truncate(512).unwrap();
        file.write_at(&[IoSlice::new(&[2; 1024])], 512).unwrap();
        let left = contents(&fs.crash(seed), Path::new("a"));
        let as_it_was = left == [1; 2048];
        let new = left.len() <= 1536 && left[512..].chunks(512).all(|sector| all(sector, &[0, 2]));
        assert!(as_it_was || new, "seed {seed}");
    }
}

#[test]
fn names_that_were_not_synced_may_be_lost_and_a_rename_is_done_or_not() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let fs = SimFs::new(seed);
        for name in ["old", "safe"] {
            fs.open(Path::new(name), Open::New).unwrap();
        }
        fs.sync_dir(Path::new("/")).unwrap();
        fs.rename(Path::new("old"), Path::new("new")).unwrap();
        let made = fs.open(Path::new("made"), Open::New).unwrap();
        made.sync_data().unwrap();
        fs.remove(Path::new("safe")).unwrap();
        let names: Vec<String> =
            fs.crash(seed).list(Path::new("/")).unwrap().into_iter().map(|entry| entry.name).collect();
        let count = names.iter().filter(|name| ["old", "new"].contains(&name.as_str())).count();
        assert_eq!(count, 1, "{names:?}");
        seen.extend(names);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["made", "new", "old", "safe"]);
}

#[test]
fn a_killed_process_loses_nothing_but_makes_nothing_safe() {
    let mut fewest = usize::MAX;
    for seed in 0..50 {
        let fs = SimFs::new(seed);
        let file = fs.open(Path::new("a"), Open::New).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        file.write_at(&[IoSlice::new(&[1; 1000])], 0).unwrap();
        let next = fs.kill();
        assert!(file.write_at(&[IoSlice::new(b"x")], 0).is_err() && file.sync_data().is_err());
        assert!(fs.list(Path::new("/")).is_err(), "the dead do nothing");
        assert_eq!(contents(&next, Path::new("a")), [1; 1000]);
        fewest = fewest.min(contents(&next.crash(seed), Path::new("a")).len());
    }
    assert_eq!(fewest, 0);
}

#[test]
fn after_a_failed_sync_reads_show_what_a_later_sync_does_not_save() {
    let mut lost = 0;
    for seed in 0..50 {
        let fs = SimFs::new(seed);
        let file = fs.open(Path::new("a"), Open::New).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        file.write_at(&[IoSlice::new(&[1; 1000])], 0).unwrap();
        fs.fail(Fault::next(Operation::SyncData));
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(contents(&fs, Path::new("a")), [1; 1000]);
        let fs = fs.kill();
        assert_eq!(contents(&fs, Path::new("a")), [1; 1000]);
        lost += usize::from(contents(&fs.crash(seed), Path::new("a")) != [1; 1000]);
    }
    assert!(lost > 20, "{lost}");
}

#[test]
fn a_full_disk_takes_what_fits_and_has_room_again_after_a_removal() {
    let fs = SimFs::new(1);
    fs.set_capacity(Some(3 * 4096));
    let file = fs.open(Path::new("a"), Open::New).unwrap();
    file.write_at(&[IoSlice::new(&[1; 8192])], 0).unwrap();
    let other = fs.open(Path::new("b"), Open::New).unwrap();
    let full = other.write_at(&[IoSlice::new(&[2; 5000])], 0).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(contents(&fs, Path::new("b")), [2; 4096], "a part may have been written");
    file.write_at(&[IoSlice::new(&[3; 8192])], 0).unwrap();
    assert_eq!(fs.space(Path::new("/")).unwrap(), Space { free: 0, total: 3 * 4096 });
    fs.remove(Path::new("a")).unwrap();
    other.write_at(&[IoSlice::new(&[2; 5000])], 0).unwrap();
}

#[test]
fn a_fault_hits_the_call_it_names() {
    let fs = SimFs::new(1);
    let (a, b) = (fs.open(Path::new("a"), Open::New).unwrap(), fs.open(Path::new("b"), Open::New).unwrap());
    let write = |file: &Arc<dyn File>| file.write_at(&[IoSlice::new(b"x")], 0).is_ok();
    fs.fail(Fault { path: "b".into(), after: 1, ..Fault::next(Operation::Write) });
    assert_eq!([write(&a), write(&b), write(&a), write(&b), write(&b)], [true, true, true, false, true]);
    fs.fail(Fault { lasting: true, ..Fault::next(Operation::Write) });
    assert_eq!([write(&a), write(&a)], [false, false]);
    fs.heal();
    assert!(write(&a));
    let changes = fs.changes();
    fs.off_after(1);
    assert!(write(&a) && !fs.is_off());
    assert!(!write(&a) && fs.is_off() && fs.changes() == changes + 2);
    assert!(a.read_at(&mut [0], 0).is_err() && fs.list(Path::new("/")).is_err());
    assert!(fs.crash(1).list(Path::new("/")).is_ok());
}

#[test]
fn through_an_overlay_the_files_below_are_seen_changed_and_stay_as_they_are() {
    let (below, root) = (Arc::new(MemoryFs::default()), Path::new("root"));
    let names = ["root", "root/dir"];
    names.iter().try_for_each(|dir| below.create_dir(Path::new(dir))).unwrap();
    let path = root.join("dir/file");
    let mut expected: Vec<u8> = (0..20_000u32).map(|at| (at % 251) as u8).collect();
    below.open(&path, Open::New).unwrap().write_at(&[IoSlice::new(&expected)], 0).unwrap();
    let before = expected.clone();

    let overlay = OverlayFs::new(Arc::clone(&below) as Arc<dyn Fs>, root);
    overlay.rename(&root.join("dir"), &root.join("moved")).unwrap();
    let file = overlay.open(&root.join("moved/file"), Open::Write).unwrap();
    for step in 0..200usize {
        let at = step * 7919 % (expected.len() + 3000);
        match step % 5 {
            0 => {
                file.truncate(at as u64).unwrap();
                expected.resize(at, 0);
            }
            _ => {
                let bytes = vec![step as u8; 1 + step * 31 % 9000];
                file.write_at(&[IoSlice::new(&bytes)], at as u64).unwrap();
                let end = expected.len().max(at + bytes.len());
                expected.resize(end, 0);
                expected[at..at + bytes.len()].copy_from_slice(&bytes);
            }
        }
        assert!(contents(&overlay, &root.join("moved/file")) == expected, "step {step}");
    }
    overlay.remove(&root.join("moved/file")).unwrap();
    overlay.remove_dir(&root.join("moved")).unwrap();
    assert!(overlay.list(root).unwrap().is_empty());
    assert_eq!(overlay.metadata(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(contents(&*below, &path), before);
}

fn contents(fs: &dyn Fs, path: &Path) -> Vec<u8> {
    read_all(fs, path, 1 << 20).unwrap()
}

fn all(bytes: &[u8], one_of: &[u8]) -> bool {
    bytes.iter().all(|byte| one_of.contains(byte) && *byte == bytes[0])
}
