//! Appended records are found by offset and by time, and damage is noticed.

use std::path::Path;

use super::super::fs::{Failure, Fault, Fs, Operation, SimFs};
use super::super::layout;
use super::super::trash::Trash;
use super::*;
use crate::record::BatchBuilder;
use crate::types::{Piece, TopicPartition, Uuid};
use rustix::io::Errno;

mod aborted;

const KEY: TopicPartition = TopicPartition { topic: Uuid([5; 16]), partition: 0 };

struct Fixture {
    fs: Arc<SimFs>,
    files: Arc<Files>,
    trash: Arc<Trash>,
    dir: Arc<PartitionDir>,
    segment: Segment,
    batches: Vec<Bytes>,
}

/// `count` batches of three records from offset 100 on, with the timestamps 1000, 1001 …
fn fixture(count: i64, value: usize) -> Fixture {
    let fs = Arc::new(SimFs::new(1));
    ["topics", "trash"].iter().for_each(|dir| fs.create_dir(Path::new(dir)).unwrap());
    let files = Arc::new(Files::new(Arc::clone(&fs) as Arc<dyn Fs>, 4));
    let trash = Arc::new(Trash::open(Arc::clone(&fs) as Arc<dyn Fs>, "trash".into()).unwrap());
    let dir = Arc::new(PartitionDir::new(&files, &trash, "topics/t-0".into(), KEY));
    let segment = Segment::new(&dir, Offset(100), 4096);
    let mut batches = Vec::new();
    for _ in 0..count {
        append_to(&segment, &mut batches, value);
    }
    Fixture { fs, files, trash, dir, segment, batches }
}

/// Appends another batch of three records.
fn append_to(segment: &Segment, batches: &mut Vec<Bytes>, value: usize) {
    let number = batches.len() as i64;
    let mut batch = BatchBuilder::new().base_offset(Offset(100 + 3 * number));
    for record in 0..3 {
        batch = batch.value(Timestamp(1000 + 3 * number + record), vec![b'x'; value]);
    }
    let batch = batch.build();
    append_bytes(segment, &batch);
    batches.push(batch);
}

fn append_bytes(segment: &Segment, batch: &Bytes) {
    let header = Header::parse(batch).unwrap();
    let appendage = Appendage {
        base_offset: header.base_offset,
        bytes: batch.len() as u32,
        max_timestamp: header.max_timestamp,
        aborted: None,
    };
    segment.append(std::slice::from_ref(batch), segment.size(), &[appendage]).unwrap();
}

impl Fixture {
    fn end(&self) -> Offset {
        Offset(100 + 3 * self.batches.len() as i64)
    }

    fn state(&self) -> kernel::Extent {
        kernel::Extent {
            base: Offset(100),
            bytes: self.segment.size(),
            max_timestamp: self.segment.max_timestamp(),
            opened: kernel::OpenedAt::new(Timestamp(0), Timestamp(0)),
            last_append: Timestamp(0),
            cleaned: false,
            aborted: kernel::AbortedList::default(),
            place: kernel::ExtentPlace::File { generation: 0 },
        }
    }

    fn reopened(&self) -> Segment {
        Segment::existing(&self.dir, &self.state())
    }
}

fn batches_in(
    segment: &Segment,
    from: Offset,
    end: Offset,
    max_bytes: usize,
    at_least_one: bool,
) -> Result<Batches, ReadError> {
    segment.read_within(&ExtentRange { from, end, max_bytes, at_least_one, listed: false }, true)
}

fn read(segment: &Segment, from: i64, end: Offset, max: usize) -> Vec<u8> {
    segment.read_bytes(Offset(from), end, max).unwrap().to_vec()
}

#[test]
fn a_read_while_a_batch_is_appended_ends_before_it_and_says_so() {
    let f = fixture(2, 5000);
    // The second batch is in the index, but not yet in the size.
    f.segment.size.store(f.batches[0].len() as u64, Ordering::Release);
    let Batches { pieces, next, .. } =
        batches_in(&f.segment, Offset(100), f.end(), usize::MAX, true).unwrap();
    assert_eq!(pieces[0].to_bytes().unwrap(), f.batches[0]);
    assert_eq!(next, Offset(103));
}

#[test]
fn there_is_nothing_to_scrub_in_a_segment_without_a_file() {
    let f = fixture(1, 100);
    let fresh = Segment::new(&f.dir, Offset(103), 4096);
    assert_eq!(fresh.scrub(0, u64::MAX, Offset(0)), Ok(0..0));
}

#[test]
fn f1_an_offset_in_the_middle_of_a_batch_gives_that_batch() {
    let f = fixture(40, 500);
    for segment in [&f.segment, &f.reopened()] {
        for offset in 100..f.end().0 {
            let batch = &f.batches[(offset as usize - 100) / 3];
            assert_eq!(read(segment, offset, f.end(), 1), *batch, "offset {offset}");
        }
    }
}

#[test]
fn f8_f9_as_many_whole_batches_as_the_limit_allows_but_one_in_any_case() {
    let f = fixture(10, 500);
    let two = f.batches[..2].concat();
    assert_eq!(read(&f.segment, 100, f.end(), two.len()), two);
    assert_eq!(read(&f.segment, 100, f.end(), two.len() - 1), f.batches[0]);
    assert_eq!(read(&f.segment, 100, f.end(), usize::MAX), f.batches.concat());
    let nothing = batches_in(&f.segment, Offset(100), f.end(), 100, false).unwrap();
    assert_eq!(
        nothing,
        Batches { pieces: vec![], list: vec![], next: Offset(100) },
        "unless the caller has a batch already"
    );
}

#[test]
fn unpublished_batches_are_not_read() {
    let f = fixture(10, 500);
    assert_eq!(read(&f.segment, 100, Offset(106), usize::MAX), f.batches[..2].concat());
}

#[test]
fn a_batch_larger_than_every_buffer_is_read_whole() {
    let f = fixture(2, 300_000);
    assert_eq!(read(&f.reopened(), 103, f.end(), 10), f.batches[1]);
}

#[test]
fn o1_by_time_the_first_record_at_or_after_it() {
    let f = fixture(40, 500);
    for segment in [&f.segment, &f.reopened()] {
        let at = |time, start| segment.find_by_time(Timestamp(time), Offset(start), f.end()).unwrap();
        assert_eq!(at(0, 100).unwrap().offset, Offset(100));
        assert_eq!(at(1050, 100).unwrap().offset, Offset(150));
        assert_eq!(at(1050, 170).unwrap().offset, Offset(170), "not below the log start");
        assert_eq!(at(1119, 100).unwrap().offset, Offset(219));
        assert_eq!(at(1120, 100), None);
        let newest = segment.find_max_timestamp(Offset(100), f.end()).unwrap().unwrap();
        assert_eq!((newest.offset, newest.timestamp), (Offset(219), Timestamp(1119)));
    }
}

#[test]
fn o4_the_newest_record_is_looked_for_behind_the_log_start() {
    let f = fixture(0, 0);
    let times = [[900, 100, 200], [300, 300, 150]];
    for (number, times) in times.into_iter().enumerate() {
        let base = Offset(100 + 3 * number as i64);
        let batch = BatchBuilder::new().base_offset(base);
        let batch = times.into_iter().fold(batch, |batch, time| batch.value(Timestamp(time), "x")).build();
        append_bytes(&f.segment, &batch);
    }
    let newest = |start| f.segment.find_max_timestamp(Offset(start), Offset(106)).unwrap().unwrap();
    assert_eq!((newest(100).offset, newest(100).timestamp), (Offset(100), Timestamp(900)));
    assert_eq!((newest(101).offset, newest(101).timestamp), (Offset(103), Timestamp(300)));
    assert_eq!((newest(104).offset, newest(104).timestamp), (Offset(104), Timestamp(300)));
}

#[test]
fn a_compressed_batch_that_cannot_be_decompressed_is_not_damage() {
    let f = fixture(0, 0);
    let sound = BatchBuilder::new().base_offset(Offset(100)).value(Timestamp(500), "x").build();
    // A client may send these bytes: their checksum is valid, and the broker does not decompress batches.
    let mut batch = sound.to_vec();
    batch[22] = 4;
    let crc = record::crc_of(&batch).to_be_bytes();
    batch[17..21].copy_from_slice(&crc);
    append_bytes(&f.segment, &batch.into());
    let found = Some(record::TimedOffset { offset: Offset(100), timestamp: Timestamp(500) });
    assert_eq!(f.segment.find_by_time(Timestamp(1), Offset(100), Offset(101)), Ok(found));
    assert_eq!(f.segment.find_max_timestamp(Offset(100), Offset(101)), Ok(found));
}

#[test]
fn i9_a_flipped_bit_is_noticed_and_only_in_the_batch_it_is_in() {
    let f = fixture(3, 50);
    f.fs.flip_bit(Path::new(LOG), (f.batches[0].len() as u64 + 80) * 8).unwrap();
    let segment = f.reopened();
    assert_eq!(read(&segment, 100, Offset(103), usize::MAX), f.batches[0]);
    let damaged = batches_in(&segment, Offset(103), f.end(), usize::MAX, true);
    assert!(matches!(damaged, Err(ReadError::Damaged(_))), "{damaged:?}");
    assert_eq!(read(&segment, 106, f.end(), usize::MAX), f.batches[2]);
}

#[test]
fn i9_no_flipped_bit_is_served_but_in_the_leader_epoch_which_nothing_covers() {
    let f = fixture(4, 10);
    let place = f.batches[0].len() as u64;
    for bit in 0..f.batches[1].len() as u64 * 8 {
        if (12 * 8..16 * 8).contains(&bit) {
            continue;
        }
        f.fs.flip_bit(Path::new(LOG), place * 8 + bit).unwrap();
        for offset in 100..f.end().0 {
            let sound = &f.batches[(offset as usize - 100) / 3];
            match f.reopened().read_bytes(Offset(offset), f.end(), 1) {
                Ok(read) => assert_eq!(read, sound, "bit {bit}, offset {offset}"),
                Err(error) => assert!(matches!(error, ReadError::Damaged(_)), "bit {bit}: {error:?}"),
            }
        }
        f.fs.flip_bit(Path::new(LOG), place * 8 + bit).unwrap();
    }
}

/// Evicts the open file of the segment.
fn close(f: &Fixture) {
    for base in 0..10 {
        let other = Segment::new(&f.dir, Offset(base), 4096);
        let appendage =
            Appendage { base_offset: Offset(base), bytes: 1, max_timestamp: Timestamp(0), aborted: None };
        other.append(&[Bytes::from_static(b"x")], 0, &[appendage]).unwrap();
    }
}

#[test]
fn a_batch_is_held_against_its_checksum_once_for_each_time_that_its_file_is_opened() {
    let f = fixture(4, 50);
    let segment = f.reopened();
    let damage = || f.fs.flip_bit(Path::new(LOG), (f.batches[0].len() as u64 + 80) * 8).unwrap();
    assert_eq!(read(&segment, 100, f.end(), usize::MAX), f.batches.concat());
    damage();
    assert!(segment.read_bytes(Offset(103), f.end(), 1).is_ok(), "it was checked before");
    close(&f);
    let damaged = segment.read_bytes(Offset(103), f.end(), 1);
    assert!(matches!(damaged, Err(ReadError::Damaged(_))), "opened again, it is checked again: {damaged:?}");
    damage();
    assert_eq!(read(&segment, 103, f.end(), 1), f.batches[1]);
}

#[test]
fn appended_batches_count_as_checked_until_their_file_is_closed() {
    let f = fixture(4, 50);
    f.fs.flip_bit(Path::new(LOG), 80 * 8).unwrap();
    assert!(f.segment.read_bytes(Offset(100), f.end(), 1).is_ok());
    close(&f);
    let damaged = f.segment.read_bytes(Offset(100), f.end(), 1);
    assert!(matches!(damaged, Err(ReadError::Damaged(_))), "{damaged:?}");
}

#[test]
fn the_scrub_finds_what_a_reader_checked_before_and_names_file_and_byte() {
    let f = fixture(40, 500);
    let all = read(&f.segment, 100, f.end(), usize::MAX);
    let mut at = 0;
    while at < all.len() as u64 {
        let scrubbed = f.segment.scrub(at, 1000, Offset(0)).unwrap();
        assert!(scrubbed.start == at && scrubbed.end >= at + 1000 || scrubbed.end == all.len() as u64);
        at = scrubbed.end;
    }
    let place = f.batches[0].len() as u64;
    f.fs.flip_bit(Path::new(LOG), (place + 80) * 8).unwrap();
    let Err(ReadError::Damaged(why)) = f.segment.scrub(0, u64::MAX, Offset(0)) else {
        panic!("it is damaged")
    };
    assert_eq!(why, format!("{LOG}, byte {place}: its checksum is wrong"));
    assert_eq!(
        f.segment.scrub(place + f.batches[1].len() as u64, u64::MAX, Offset(0)).unwrap().end,
        all.len() as u64
    );
}

/// A file that is partly in the page cache, with the read-ahead of Linux.
struct PartlyCached {
    bytes: Vec<u8>,
    cached: Mutex<Vec<bool>>,
    reads_ahead: AtomicBool,
}

const PAGE: usize = 4 << 10;
const READ_AHEAD: usize = 2048;

impl File for PartlyCached {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let at = at as usize;
        let read = self.bytes[at..].len().min(into.len());
        into[..read].copy_from_slice(&self.bytes[at..at + read]);
        let mut cached = self.cached.lock().unwrap();
        let (first, last) = (at / PAGE, (at + read - 1) / PAGE);
        if !cached[first..=last].iter().all(|is_cached| *is_cached) {
            let ahead = if self.reads_ahead.load(Ordering::Relaxed) { READ_AHEAD } else { 0 };
            let ahead = (last + ahead).min(cached.len() - 1);
            cached[first..=ahead].fill(true);
        }
        Ok(read)
    }

    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        let is_cached = self.cached.lock().unwrap()[at as usize / PAGE];
        is_cached.then(|| self.read_at(into, at)).transpose()
    }

    fn read_nothing_ahead(&self) {
        self.reads_ahead.store(false, Ordering::Relaxed);
    }

    fn forget_cached(&self, len: u64, at: u64) {
        let (from, to) = ((at as usize).div_ceil(PAGE), (at + len) as usize / PAGE);
        self.cached.lock().unwrap()[from.min(to)..to].fill(false);
    }

    fn read_new(&self, _: usize, _: u64) -> io::Result<Vec<u8>> {
        unimplemented!()
    }

    fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<()> {
        unimplemented!()
    }

    fn sync_data(&self) -> io::Result<()> {
        unimplemented!()
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        unimplemented!()
    }

    fn len(&self) -> io::Result<u64> {
        unimplemented!()
    }
}

#[test]
fn the_scrub_leaves_the_page_cache_as_it_found_it() {
    let f = fixture(100, 20_000);
    let bytes = read(&f.segment, 100, f.end(), usize::MAX);
    let pages = bytes.len().div_ceil(PAGE);
    // One megabyte is in the cache, the next one is not, and so on.
    let was_cached = |page: usize| (page / 256).is_multiple_of(2);
    let cached = Mutex::new((0..pages).map(was_cached).collect::<Vec<bool>>());
    let file = PartlyCached { bytes, cached, reads_ahead: true.into() };
    file.read_nothing_ahead();
    let mut at = 0;
    while at < f.segment.size() {
        at = f.segment.scrub_file(&file, at..f.segment.size(), 150_000, Offset(0)).unwrap().end;
    }
    // The resolution of the scrub is not finer than this.
    let far_from_the_others = |page: &usize| (33..256 - 33).contains(&(page % 256));
    for page in (0..pages - 33).filter(far_from_the_others) {
        assert_eq!(file.cached.lock().unwrap()[page], was_cached(page), "page {page} of {pages}");
    }
}

#[test]
fn f8_f9_reads_that_go_on_where_they_ended_give_what_reads_from_anywhere_give() {
    // Batches of many sizes: some share an index entry, others are as large as several index intervals.
    let sizes = [10, 3000, 10, 10, 20_000, 100, 700, 5000, 1, 90_000, 40, 40, 40, 12_000];
    let mut f = fixture(0, 0);
    for size in sizes.iter().cycle().take(60) {
        append_to(&f.segment, &mut f.batches, *size);
    }
    for max in [1, 500, 9_000, 70_000, 400_000] {
        for end in [f.end(), Offset(f.end().0 - 30)] {
            let reopened = f.reopened();
            let mut next = Offset(100);
            while next < end {
                let first = (next.0 as usize - 100) / 3;
                let below = &f.batches[first..(end.0 as usize - 100) / 3];
                let mut size = 0;
                let fits = |batch: &&Bytes| {
                    size += batch.len();
                    size <= max
                };
                let expected = below[..below.iter().take_while(fits).count().max(1)].concat();
                for segment in [&f.segment, &reopened] {
                    let Batches { pieces, next: behind, .. } =
                        batches_in(segment, next, end, max, true).unwrap();
                    assert_eq!(pieces[0].to_bytes().unwrap(), expected, "{max} bytes from {next}");
                    assert_eq!(
                        behind.0,
                        next.0 + 3 * record::batches(&expected.clone().into()).count() as i64
                    );
                }
                next = Offset(next.0 + 3 * record::batches(&expected.into()).count() as i64);
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_not_called_damaged() {
    let f = fixture(4, 500);
    let segment = f.reopened();
    segment.scrub(0, u64::MAX, Offset(0)).unwrap();
    f.fs.fail(Fault { lasting: true, ..Fault::next(Operation::Read) });
    let failed = segment.scrub(0, u64::MAX, Offset(0));
    let Err(ReadError::Io(why)) = failed else { panic!("{failed:?}") };
    assert!(why.starts_with(&format!("{LOG}, byte 0: ")), "{why}");
}

/// A segment on a real disk, with `count` batches of 40,000 bytes.
fn on_disk(dir: &Path, files: &Arc<Files>, partition: i32, count: i64) -> (Segment, Vec<Bytes>) {
    let trash = dir.join("trash");
    std::fs::create_dir_all(&trash).unwrap();
    let trash = Arc::new(Trash::open(Arc::new(super::super::fs::DiskFs), trash).unwrap());
    let path = dir.join(format!("t-{partition}"));
    let dir = Arc::new(PartitionDir::new(files, &trash, path, TopicPartition { partition, ..KEY }));
    let segment = Segment::new(&dir, Offset(100), 4096);
    let mut batches = Vec::new();
    (0..count).for_each(|_| append_to(&segment, &mut batches, 13_000));
    (segment, batches)
}

#[test]
fn batches_at_rest_are_handed_out_as_a_range_of_their_file_which_outlives_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let files = Arc::new(Files::new(Arc::new(super::super::fs::DiskFs), 8));
    let (segment, batches) = on_disk(dir.path(), &files, 0, 3);
    let Batches { pieces, next, .. } = batches_in(&segment, Offset(103), Offset(109), 1 << 20, true).unwrap();
    let piece = &pieces[0];
    assert!(matches!(piece, Piece::File(_)) && piece.memory() < 1000);
    segment.remove().unwrap();
    assert_eq!((piece.to_bytes().unwrap(), next), (batches[1..].concat().into(), Offset(109)));
}

#[test]
fn answers_hold_a_bounded_number_of_files_and_give_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let files = Arc::new(Files::new(Arc::new(super::super::fs::DiskFs), 8));
    let logs: Vec<_> = (0..12).map(|partition| on_disk(dir.path(), &files, partition, 2)).collect();
    let read = |log: &(Segment, Vec<Bytes>)| {
        batches_in(&log.0, Offset(100), Offset(106), 1 << 20, true).unwrap().pieces.remove(0)
    };
    let held: Vec<Piece> = logs.iter().chain(&logs).map(read).collect();
    let in_files = held.iter().filter(|piece| matches!(piece, Piece::File(_))).count();
    assert_eq!((in_files, files.leases.taken()), (2 * 2, 2), "two files, each twice");
    assert!(
        held.iter()
            .zip(logs.iter().chain(&logs))
            .all(|(piece, log)| { piece.to_bytes().unwrap() == log.1.concat() })
    );
    assert!(files.open_count() <= 8);
    drop(held);
    assert_eq!(files.leases.taken(), 0);
    assert!(matches!(read(&logs[11]), Piece::File(_)));
}

#[test]
fn a_removed_segment_is_gone_for_later_readers() {
    let f = fixture(1, 50);
    let segment = f.reopened();
    segment.remove().unwrap();
    assert_eq!(segment.read_bytes(Offset(100), f.end(), 10), Err(ReadError::Gone));
}

#[test]
fn no_more_files_are_open_than_allowed() {
    let f = fixture(1, 50);
    close(&f);
    assert_eq!(f.files.open_count(), 4);
    assert_eq!(read(&f.segment, 100, f.end(), usize::MAX), f.batches[0], "a closed one is opened again");
}

#[test]
fn a_directory_says_whose_it_is_as_kafka_writes_it() {
    let f = fixture(1, 50);
    let dir = Path::new("topics/t-0");
    let text = super::super::fs::read_all(&*f.fs, &dir.join("partition.metadata"), 100).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "version: 0\ntopic_id: BQUFBQUFBQUFBQUFBQUFBQ");
    assert_eq!(layout::topic_of(&*f.fs, dir).unwrap(), Some(KEY.topic));
    assert_eq!(layout::ids(&*f.fs, dir).unwrap(), [f.segment.id()]);
}

const LOG: &str = "topics/t-0/00000000000000000100.log";
const COPY: &str = "topics/t-0/00000000000000000100.idx";

fn check_every_offset(f: &Fixture, segment: &Segment) {
    for (number, batch) in f.batches.iter().enumerate() {
        let offset = 101 + 3 * number as i64;
        assert_eq!(read(segment, offset, f.end(), 1), *batch);
        let found = segment.find_by_time(Timestamp(offset + 900), Offset(100), f.end()).unwrap().unwrap();
        assert_eq!(found.offset, Offset(offset));
    }
}

#[test]
fn after_a_restart_a_large_segment_is_not_walked_again() {
    let f = fixture(400, 500);
    f.segment.save_index().unwrap();
    // Reading all headers would fail here.
    let at: usize = f.batches[..200].iter().map(Bytes::len).sum();
    f.fs.flip_bit(Path::new(LOG), (at as u64 + 16) * 8).unwrap();
    let reopened = f.reopened();
    assert_eq!(read(&reopened, 100 + 3 * 350, f.end(), 1), f.batches[350]);
    f.fs.remove(Path::new(COPY)).unwrap();
    assert!(f.reopened().read_bytes(Offset(100 + 3 * 350), f.end(), 1).is_err(), "now it does");
}

#[test]
fn batches_appended_after_the_copy_are_found_too() {
    let mut f = fixture(300, 500);
    f.segment.save_index().unwrap();
    grow(&mut f, 40);
    f.segment.save_index().unwrap();
    let reopened = f.reopened();
    assert_eq!(read(&reopened, f.end().0 - 1, f.end(), 1), *f.batches.last().unwrap());
    check_every_offset(&f, &reopened);
}

#[test]
fn a_damaged_copy_of_the_index_is_not_used() {
    let f = fixture(300, 500);
    f.segment.save_index().unwrap();
    let len = f.fs.metadata(Path::new(COPY)).unwrap().len;
    assert!(len > 1000);
    for byte in (0..len).step_by(7) {
        f.fs.flip_bit(Path::new(COPY), byte * 8 + byte % 8).unwrap();
        let offset = 100 + (byte as i64 * 13) % 900;
        assert_eq!(read(&f.reopened(), offset, f.end(), 1), f.batches[(offset as usize - 100) / 3]);
    }
    f.fs.open(Path::new(COPY), Open::Write).unwrap().truncate(100).unwrap();
    check_every_offset(&f, &f.reopened());
    assert_eq!(f.fs.metadata(Path::new(COPY)).unwrap().len, len, "it is made again");
}

#[test]
fn the_copy_of_a_log_that_was_cut_and_went_on_otherwise_is_not_used() {
    let f = fixture(300, 500);
    f.segment.save_index().unwrap();
    let copy = super::super::fs::read_all(&*f.fs, Path::new(COPY), u64::MAX).unwrap();
    // Another log of the same topic, longer and with larger batches.
    let other = fixture(200, 900);
    assert!(other.segment.size() > f.segment.size());
    other.fs.open(Path::new(COPY), Open::WriteOrNew).unwrap().write_at(&[IoSlice::new(&copy)], 0).unwrap();
    check_every_offset(&other, &other.reopened());
}

#[test]
fn a_copy_that_covers_more_than_the_log_is_not_used() {
    let f = fixture(300, 500);
    f.segment.save_index().unwrap();
    let copy = super::super::fs::read_all(&*f.fs, Path::new(COPY), u64::MAX).unwrap();
    let log = f.fs.open(Path::new(LOG), Open::Read).unwrap();
    let load = |size| Index::load(&copy, KEY.topic, Offset(100), &*log, size).is_some();
    assert!(load(f.segment.size()) && !load(f.segment.size() - 1));
}

#[test]
fn a_removed_segment_takes_its_copy_along_for_good() {
    let f = fixture(300, 500);
    f.segment.save_index().unwrap();
    f.segment.remove().unwrap();
    f.segment.save_index().unwrap();
    assert_eq!(f.fs.list(Path::new("topics/t-0")).unwrap().len(), 1, "whose it is");
}

#[test]
fn an_index_stays_small_however_much_is_appended() {
    let mut index = Index::of_nothing(Offset(0), 1);
    let count = 100_000;
    for number in 0..count {
        let batch = Appendage {
            base_offset: Offset(number),
            bytes: 10,
            max_timestamp: Timestamp(number),
            aborted: None,
        };
        index.appended(&batch, number as u64 * 10);
    }
    assert!(index.entry_count() <= 4096);
    for offset in (0..count).step_by(97) {
        let (at, base) = index.at_or_before(Offset(offset));
        assert_eq!(base, Some(Offset(at as i64 / 10)));
        assert!(at <= offset as u64 * 10 && offset as u64 * 10 - at < 1000);
        let at = index.before_time(Timestamp(offset));
        assert!(at <= offset as u64 * 10 && offset as u64 * 10 - at < 1000);
    }
}

#[test]
fn appends_go_on_while_a_reader_makes_the_index() {
    let mut f = fixture(50, 50);
    for _ in 0..20 {
        f.segment = f.reopened();
        let (end, expected) = (f.end(), f.batches.clone());
        std::thread::scope(|scope| {
            let (segment, expected) = (&f.segment, &expected);
            let readers: Vec<_> = (0..3)
                .map(|reader| {
                    scope.spawn(move || {
                        for number in (reader..expected.len()).step_by(5) {
                            let offset = 100 + 3 * number as i64;
                            assert_eq!(read(segment, offset, end, 1), expected[number]);
                        }
                    })
                })
                .collect();
            for _ in 0..20 {
                append_to(segment, &mut f.batches, 50);
            }
            readers.into_iter().for_each(|reader| reader.join().expect("no reader fails"));
        });
        check_every_offset(&f, &f.segment);
    }
}

fn grow(f: &mut Fixture, count: usize) {
    for _ in 0..count {
        append_to(&f.segment, &mut f.batches, 500);
    }
}

#[test]
fn i10_a_sync_that_failed_fails_for_good() {
    let f = fixture(3, 50);
    f.segment.sync().unwrap();
    f.fs.fail(Fault::next(Operation::SyncData));
    assert!(f.segment.sync().is_err());
    assert!(f.segment.sync().is_err(), "the disk would say yes now");
}

#[test]
fn a_file_that_cannot_be_opened_to_be_synced_is_no_failed_sync() {
    for path in [LOG, "partition.metadata", "topics"] {
        let f = fixture(3, 50);
        let segment = f.segment;
        f.dir.open(ExtentId { base: Offset(100), generation: 0 }, Open::Write).unwrap();
        f.files.forget((KEY.topic, KEY.partition, segment.id()));
        let fault =
            Fault { error: Errno::MFILE, path: path.into(), lasting: true, ..Fault::next(Operation::Open) };
        f.fs.fail(fault);
        assert!(matches!(segment.sync(), Err(SyncError::Open(_))), "{path}");
        f.fs.heal();
        segment.sync().unwrap();
    }
}

#[test]
fn the_file_that_was_unused_for_the_longest_time_is_closed_first_unless_it_is_being_read() {
    let f = fixture(0, 0);
    let key = |base: i64| (KEY.topic, KEY.partition, ExtentId { base: Offset(base), generation: 0 });
    let path = |base: i64| std::path::PathBuf::from(format!("topics/{base}.log"));
    let open = |base: i64| f.files.open(key(base), &path(base), Open::WriteOrNew).unwrap();
    let opened = || f.fs.trace().lines().filter(|line| line.starts_with("Open ")).count();
    let read = open(0);
    (1..4).for_each(|base| drop(open(base)));
    drop(open(1));
    drop(open(4));
    let before = opened();
    [0, 1, 3, 4].into_iter().for_each(|base| drop(open(base)));
    assert_eq!((opened(), f.files.open_count()), (before, 4), "only the file of 2 was closed");
    drop(read);
    (5..1_000).for_each(|base| drop(open(base)));
    assert_eq!(f.files.open_count(), 4);
}

#[test]
fn without_a_descriptor_left_others_of_ours_are_closed() {
    let f = fixture(1, 50);
    let others: Vec<_> = (0..3).map(|base| Segment::new(&f.dir, Offset(base), 4096)).collect();
    let appendage =
        |base| Appendage { base_offset: Offset(base), bytes: 1, max_timestamp: Timestamp(0), aborted: None };
    for (base, other) in (0..).zip(&others) {
        other.append(&[Bytes::from_static(b"x")], 0, &[appendage(base)]).unwrap();
    }
    assert_eq!(f.files.open_count(), 4);
    f.fs.fail(Fault { error: Errno::MFILE, ..Fault::next(Operation::Create) });
    let one_more = Segment::new(&f.dir, Offset(3), 4096);
    one_more.append(&[Bytes::from_static(b"x")], 0, &[appendage(3)]).unwrap();
    assert!(f.files.open_count() < 4);
}

#[test]
fn batches_that_clients_cannot_write_any_more_can_still_be_read() {
    let f = fixture(40, 500);
    f.files.forget_partition(KEY.topic, KEY.partition);
    f.fs.set_read_only(true);
    let segment = f.reopened();
    assert_eq!(read(&segment, 100, f.end(), usize::MAX), f.batches.concat());
    let appendage = Appendage { base_offset: f.end(), bytes: 1, max_timestamp: Timestamp(0), aborted: None };
    let refused = segment.append(&[Bytes::from_static(b"x")], segment.size(), &[appendage]);
    assert_eq!(Failure::of(&refused.unwrap_err()), Failure::ReadOnly);
    f.fs.set_read_only(false);
    segment.append(&[Bytes::from_static(b"x")], segment.size(), &[appendage]).unwrap();
}

#[test]
fn i14_a_reader_of_a_deleted_topic_finds_no_file_of_the_next_one() {
    let f = fixture(300, 500);
    let id = f.segment.id();
    f.dir.discard();
    let dir = Arc::new(PartitionDir::new(
        &f.files,
        &f.trash,
        "topics/t-0".into(),
        TopicPartition { topic: Uuid([6; 16]), ..KEY },
    ));
    let mut batches = Vec::new();
    let next = Segment::new(&dir, Offset(100), 4096);
    (0..300).for_each(|_| append_to(&next, &mut batches, 500));
    next.save_index().unwrap();
    let files = || {
        let path = Path::new("topics/t-0");
        let names = f.fs.list(path).unwrap().into_iter().map(|entry| entry.name);
        let read = |name: String| {
            let bytes = super::super::fs::read_all(&*f.fs, &path.join(&name), u64::MAX).unwrap();
            (name, crc32c::crc32c(&bytes))
        };
        names.map(read).collect::<Vec<_>>()
    };
    let before = files();
    assert_eq!(before.len(), 3);

    let old = f.reopened();
    assert_eq!(old.read_bytes(Offset(100), f.end(), 10), Err(ReadError::Gone));
    let appendage = Appendage { base_offset: f.end(), bytes: 1, max_timestamp: Timestamp(0), aborted: None };
    assert!(old.append(&[Bytes::from_static(b"x")], old.size(), &[appendage]).is_err());
    let never_made = Segment::new(&f.dir, f.end(), 4096);
    assert!(never_made.append(&[Bytes::from_static(b"x")], 0, &[appendage]).is_err());
    old.sync().unwrap();
    f.segment.sync().unwrap();
    f.segment.save_index().unwrap();
    assert!(f.dir.create(id).is_err() && f.dir.open_index(id, Open::WriteOrNew).is_err());
    old.remove().unwrap();
    f.dir.remove(id).unwrap();
    assert_eq!(files(), before);
    assert_eq!(read(&next, 100, f.end(), usize::MAX), batches.concat());
}

#[test]
fn i14_files_of_something_else_in_the_place_of_a_directory_are_not_touched() {
    let f = fixture(1, 50);
    let other = Arc::new(PartitionDir::new(
        &f.files,
        &f.trash,
        "topics/t-0".into(),
        TopicPartition { topic: Uuid([6; 16]), ..KEY },
    ));
    assert_eq!(other.make().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    other.discard();
    assert_eq!(read(&f.reopened(), 100, f.end(), usize::MAX), f.batches.concat());
}
