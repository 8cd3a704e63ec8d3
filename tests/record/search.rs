//! Records found by their timestamp, and batches by walking over headers.

use bytes::Bytes;
use jackdaw::record::{
    BatchBuilder, Codec, Header, PREFIX_LENGTH, RecordError, TimedOffset, batches, crc_of, first_since,
    newest, prefix,
};
use jackdaw::types::{LeaderEpoch, Offset, Timestamp};

use crate::forge::{Forged, record};

fn batch(codec: Codec) -> Bytes {
    let times = [100, 300, 200, 300];
    let builder = BatchBuilder::new().codec(codec).base_offset(Offset(40));
    times.into_iter().fold(builder, |builder, time| builder.value(Timestamp(time), "value")).build()
}

fn found(offset: i64, timestamp: i64) -> Result<Option<TimedOffset>, RecordError> {
    Ok(Some(TimedOffset { offset: Offset(offset), timestamp: Timestamp(timestamp) }))
}

#[test]
fn o1_the_first_record_that_is_not_older_is_found() {
    for codec in Codec::ALL {
        let batch = batch(codec);
        let since = |time, from| first_since(&batch, Timestamp(time), Offset(from));
        assert_eq!(since(0, 0), found(40, 100));
        assert_eq!(since(100, 0), found(40, 100));
        assert_eq!(since(101, 0), found(41, 300));
        assert_eq!(since(200, 42), found(42, 200));
        assert_eq!(since(201, 42), found(43, 300));
        assert_eq!(since(301, 0), Ok(None));
        assert_eq!(since(0, 44), Ok(None));
    }
}

#[test]
fn o10_the_first_of_the_newest_records_is_found() {
    for codec in Codec::ALL {
        assert_eq!(newest(&batch(codec), Offset(0)), found(41, 300));
    }
}

#[test]
fn o4_records_before_the_log_start_are_not_found() {
    assert_eq!(newest(&batch(Codec::Gzip), Offset(42)), found(43, 300));
    assert_eq!(newest(&batch(Codec::Gzip), Offset(44)), Ok(None));
}

#[test]
fn a_compressed_batch_that_cannot_be_decompressed_is_found_as_a_whole() {
    let mut forged = Forged::of(&[record(0, 0), record(1, 0), record(2, 0)]);
    forged.attributes = Codec::Zstd.id().into();
    forged.base_offset = 40;
    forged.max_timestamp = 77;
    let batch = forged.bytes();
    assert_eq!(first_since(&batch, Timestamp(77), Offset(0)), found(40, 77));
    assert_eq!(first_since(&batch, Timestamp(77), Offset(42)), found(42, 77));
    assert_eq!(first_since(&batch, Timestamp(77), Offset(43)), Ok(None));
    assert_eq!(first_since(&batch, Timestamp(78), Offset(0)), Ok(None));
    assert_eq!(newest(&batch, Offset(41)), found(41, 77));
}

#[test]
fn with_log_append_time_every_record_has_the_time_of_the_batch() {
    let mut forged = Forged::of(&[record(0, 5), record(1, 9)]);
    forged.attributes = 1 << 3;
    forged.max_timestamp = 77;
    assert_eq!(first_since(&forged.bytes(), Timestamp(77), Offset(1)), found(1, 77));
    assert_eq!(newest(&forged.bytes(), Offset(0)), found(0, 77));
}

#[test]
fn a_fresh_prefix_places_a_batch_and_its_crc_still_holds() {
    let sent = batch(Codec::Gzip);
    let header = Header::parse(&sent).unwrap();
    let prefix = prefix(Offset(7), header.batch_length, LeaderEpoch(3));
    let placed = Bytes::from([&prefix[..], &sent[PREFIX_LENGTH..]].concat());
    let now = Header::parse(&placed).unwrap();
    assert_eq!(now, Header { base_offset: Offset(7), leader_epoch: LeaderEpoch(3), ..header });
    assert_eq!(crc_of(&placed), now.crc);
    assert_eq!(now.next_offset(), Some(Offset(11)));
    assert_eq!(newest(&placed, Offset(0)), found(8, 300));
}

#[test]
fn the_end_of_a_read_may_cut_a_batch() {
    let bytes = Bytes::from([batch(Codec::None), batch(Codec::Lz4)].concat());
    let first = batch(Codec::None).len();
    for cut in 0..=bytes.len() {
        let whole: Vec<_> = batches(&bytes.slice(..cut)).map(Result::unwrap).collect();
        assert_eq!(
            whole.len(),
            if cut < first { 0 } else { 1 + usize::from(cut == bytes.len()) },
            "cut at {cut}"
        );
    }
}

#[test]
fn damaged_bytes_are_reported_once() {
    let bytes = Bytes::from([&batch(Codec::None)[..], &[0xff; 200]].concat());
    let found: Vec<_> = batches(&bytes).collect();
    assert_eq!(found.len(), 2);
    assert!(matches!(found[1], Err(RecordError::Corrupt(_))));
}
