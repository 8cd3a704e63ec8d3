//! What is appended is found again, by offset and by time, and damage is noticed.

use std::path::Path;

use super::super::fs::{Fs, SimFs};
use super::*;
use crate::record::BatchBuilder;
use crate::types::Uuid;

const KEY: (TopicId, i32) = (Uuid([5; 16]), 0);

struct Fixture {
    fs: Arc<SimFs>,
    files: Arc<Files>,
    segment: Segment,
    batches: Vec<Bytes>,
}

/// `count` batches of three records from offset 100 on, with the timestamps 1000, 1001 …
fn fixture(count: i64, value: usize) -> Fixture {
    let fs = Arc::new(SimFs::new(1));
    fs.create_dir(Path::new("topics")).unwrap();
    let files = Arc::new(Files::new(Arc::clone(&fs) as Arc<dyn Fs>, 4));
    let segment = Segment::new(&files, "topics/t-0".into(), KEY, Offset(100), 4096);
    let mut batches = Vec::new();
    let mut at = 0;
    for number in 0..count {
        let mut batch = BatchBuilder::new().base_offset(Offset(100 + 3 * number));
        for record in 0..3 {
            batch = batch.value(Timestamp(1000 + 3 * number + record), vec![b'x'; value]);
        }
        let batch = batch.build();
        let header = Header::parse(&batch).unwrap();
        let appendage = Appendage {
            base_offset: header.base_offset,
            bytes: batch.len() as u32,
            max_timestamp: header.max_timestamp,
        };
        segment.append(std::slice::from_ref(&batch), at, &[appendage]).unwrap();
        at += batch.len() as u64;
        batches.push(batch);
    }
    Fixture { fs, files, segment, batches }
}

impl Fixture {
    fn end(&self) -> Offset {
        Offset(100 + 3 * self.batches.len() as i64)
    }

    fn state(&self) -> kernel::Segment {
        kernel::Segment {
            base: Offset(100),
            bytes: self.segment.size(),
            max_timestamp: self.segment.max_timestamp(),
            opened: Timestamp(0),
            last_append: Timestamp(0),
        }
    }

    fn reopened(&self) -> Segment {
        Segment::existing(&self.files, "topics/t-0".into(), KEY, &self.state())
    }
}

fn read(segment: &Segment, from: i64, end: Offset, max: usize) -> Vec<u8> {
    segment.read(Offset(from), end, max, true, true).unwrap().concat()
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
    let nothing = f.segment.read(Offset(100), f.end(), 100, false, true).unwrap();
    assert!(nothing.is_empty(), "unless the caller has a batch already");
}

#[test]
fn what_is_not_published_is_not_read() {
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
fn i9_a_flipped_bit_is_noticed_and_only_in_the_batch_it_is_in() {
    let f = fixture(3, 50);
    let path = Path::new("topics/t-0/00000000000000000100.log");
    f.fs.flip_bit(path, (f.batches[0].len() as u64 + 80) * 8).unwrap();
    assert_eq!(read(&f.segment, 100, Offset(103), usize::MAX), f.batches[0]);
    let damaged = f.segment.read(Offset(103), f.end(), usize::MAX, true, true);
    assert!(matches!(damaged, Err(ReadError::Damaged(_))), "{damaged:?}");
    assert_eq!(read(&f.segment, 106, f.end(), usize::MAX), f.batches[2]);
}

#[test]
fn a_removed_segment_is_gone_for_who_comes_later() {
    let f = fixture(1, 50);
    let later = f.reopened();
    f.segment.remove().unwrap();
    assert_eq!(later.read(Offset(100), f.end(), 10, true, true), Err(ReadError::Gone));
}

#[test]
fn no_more_files_are_open_than_allowed() {
    let f = fixture(1, 50);
    for base in 0..10 {
        let other = Segment::new(&f.files, "topics/t-0".into(), KEY, Offset(base), 4096);
        let appendage = Appendage { base_offset: Offset(base), bytes: 1, max_timestamp: Timestamp(0) };
        other.append(&[Bytes::from_static(b"x")], 0, &[appendage]).unwrap();
    }
    assert_eq!(f.files.open_count(), 4);
    assert_eq!(read(&f.segment, 100, f.end(), usize::MAX), f.batches[0], "a closed one is opened again");
}

#[test]
fn a_directory_says_whose_it_is_as_kafka_writes_it() {
    let f = fixture(1, 50);
    let dir = Path::new("topics/t-0");
    let text = super::super::fs::read_all(&*f.fs, &dir.join("partition.metadata"), 100).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "version: 0\ntopic_id: BQUFBQUFBQUFBQUFBQUFBQ");
    assert_eq!(topic_of(&*f.fs, dir).unwrap(), Some(KEY.0));
    assert_eq!(bases(&*f.fs, dir).unwrap(), [Offset(100)]);
}
