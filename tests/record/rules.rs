//! Batches that `check_produced` accepts, refuses and corrects. The expected outcomes were observed on Apache
//! Kafka 4.4.0; where ours differs, the name of the test says so.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use jackdaw::record::{
    Attributes, BatchBuilder, Checked, Codec, Header, RecordError, Rules, check_produced, check_within,
    crc_of,
};
use jackdaw::types::Timestamp;

use crate::forge::{Forged, NOW, keyed, raw_record, record, varint};
use crate::hostile::pack;
use crate::targets::rules;

const HOUR: i64 = 3_600_000;

fn check(batch: &Forged) -> Result<Checked, RecordError> {
    check_produced(batch.bytes(), &rules())
}

fn three() -> Forged {
    Forged::of(&[record(0, 0), record(1, 0), record(2, 0)])
}

fn gzip(records: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(records).unwrap();
    out.finish().unwrap()
}

fn gzipped(batch: Forged) -> Forged {
    Forged { attributes: batch.attributes | 1, payload: gzip(&batch.payload), ..batch }
}

#[track_caller]
fn assert_invalid(batch: &Forged) {
    let result = check(batch);
    assert!(matches!(result, Err(RecordError::Invalid(_))), "{result:?}");
}

#[track_caller]
fn assert_corrupt(batch: &Forged) {
    let result = check(batch);
    assert!(matches!(result, Err(RecordError::Corrupt(_))), "{result:?}");
}

#[track_caller]
fn assert_not_one_batch(bytes: &[u8]) {
    let result = check_produced(Bytes::copy_from_slice(bytes), &rules());
    assert!(matches!(result, Err(RecordError::NotOneBatch(_))), "{result:?}");
}

/// The batch is accepted, and none of its bytes is copied or changed.
#[track_caller]
fn assert_untouched(batch: &Forged) -> Checked {
    let bytes = batch.bytes();
    let checked = check_produced(bytes.clone(), &rules()).unwrap();
    assert_eq!(checked.bytes, bytes);
    assert_eq!(checked.bytes.as_ptr(), bytes.as_ptr());
    assert_eq!(checked.header, Header::parse(&bytes).unwrap());
    checked
}

/// The batch is accepted with another maximum timestamp and a valid CRC; nothing else changes.
#[track_caller]
fn assert_max_timestamp_made(batch: &Forged, max_timestamp: i64) -> Checked {
    let checked = check(batch).unwrap();
    assert_eq!(checked.bytes, Forged { max_timestamp, ..batch.clone() }.bytes());
    assert_eq!(checked.header, Header::parse(&checked.bytes).unwrap());
    assert_eq!(checked.header.crc, crc_of(&checked.bytes));
    checked
}

#[test]
fn a_sound_batch_passes_untouched() {
    assert_untouched(&three());
    assert_untouched(&gzipped(three()));
}

#[test]
fn p1_any_leader_epoch_passes() {
    for leader_epoch in [-1, 0, 7, i32::MIN, i32::MAX] {
        assert_untouched(&Forged { leader_epoch, ..three() });
    }
}

#[test]
fn a_base_offset_other_than_0_is_invalid_before_anything_else_is_looked_at() {
    assert_invalid(&Forged { base_offset: 5, ..three() });
    assert_invalid(&Forged { base_offset: 5, crc: Some(1), ..three() });
    assert_invalid(&Forged { base_offset: i64::MAX, ..three() });
}

#[test]
fn p2_timestamp_deltas_have_64_bits() {
    assert_untouched(&Forged::of(&[record(0, 0), record(1, -NOW.0)]));
    let spread = Forged { base_timestamp: 0, ..Forged::of(&[record(0, 0), record(1, NOW.0)]) };
    assert_eq!(assert_untouched(&spread).newest, Some(1));
}

#[test]
fn p3_a_wrong_max_timestamp_of_an_uncompressed_batch_is_made_true() {
    assert_max_timestamp_made(&Forged { max_timestamp: -1, ..three() }, NOW.0);
    assert_max_timestamp_made(&Forged { max_timestamp: NOW.0 + 5, ..three() }, NOW.0);
    assert_max_timestamp_made(&Forged { max_timestamp: NOW.0 + 2 * HOUR, ..three() }, NOW.0);
    let later = Forged::of(&[record(0, 0), record(1, 50), record(2, 50), record(3, 20)]);
    assert_eq!(assert_max_timestamp_made(&later, NOW.0 + 50).newest, Some(1));
}

#[test]
fn p3_a_wrong_max_timestamp_of_a_compressed_batch_is_made_true() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let times = [NOW.0, NOW.0 + 50, NOW.0 + 20];
        let builder = BatchBuilder::new().codec(codec);
        let sent = times.iter().fold(builder, |batch, time| batch.value(Timestamp(*time), "v")).build();
        for claimed in [-1, 0, NOW.0 - 1, NOW.0 + 5, NOW.0 + 49, NOW.0 + 51, NOW.0 + 2 * HOUR, i64::MAX] {
            let mut lying = sent.to_vec();
            lying[35..43].copy_from_slice(&claimed.to_be_bytes());
            let crc = crc_of(&lying);
            lying[17..21].copy_from_slice(&crc.to_be_bytes());
            let checked = check_produced(lying.into(), &rules()).unwrap();
            assert_eq!(checked.bytes, sent, "{codec:?} {claimed}");
            assert_eq!(checked.newest, Some(1));
        }
    }
}

#[test]
fn a_batch_that_opens_to_more_than_a_check_may_take_is_left_for_later() {
    for codec in Codec::ALL {
        let of = |length| BatchBuilder::new().codec(codec).value(NOW, vec![7; length]).build();
        let small = check_within(&of(900_000), &rules(), 1 << 20).expect("it is quick");
        assert_eq!(small.unwrap().bytes, of(900_000), "{codec:?}");
        let rules = Rules { max_message_bytes: u32::MAX, ..rules() };
        let large = check_within(&of(1 << 21), &rules, 1 << 20);
        assert_eq!(large.is_none(), codec != Codec::None, "{codec:?}");
        assert!(check_produced(of(1 << 21), &rules).is_ok(), "{codec:?}");
    }
}

#[test]
fn a_batch_of_very_many_streams_is_left_for_later() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let of = |empty: usize| {
            let payload = [pack(codec, &record(0, 0)), pack(codec, b"").repeat(empty)].concat();
            Forged { attributes: codec.id().into(), payload, ..Forged::of(&[record(0, 0)]) }.bytes()
        };
        let quick = |batch| check_within(&batch, &rules(), 1 << 20).is_some_and(|checked| checked.is_ok());
        assert!(quick(of(5)), "{codec:?}");
        assert!(!quick(of(300)), "{codec:?}");
        assert!(check_produced(of(300), &rules()).is_ok(), "{codec:?}");
    }
}

#[test]
fn a_record_of_a_compressed_batch_has_a_largest_size_and_one_of_another_batch_has_not() {
    let check = |codec, length| {
        // Together with the seven other bytes of a record.
        let batch = BatchBuilder::new().codec(codec).value(NOW, vec![7; length]).build();
        check_produced(batch, &Rules { max_decompressed_bytes: 100, ..rules() }).map(|_| ())
    };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        assert_eq!(check(codec, 93), Ok(()), "{codec:?}");
        assert!(matches!(check(codec, 94), Err(RecordError::Invalid(_))), "{codec:?}");
    }
    assert_eq!(check(Codec::None, 500), Ok(()));
}

#[test]
fn records_without_any_timestamp_pass() {
    let none = Forged { base_timestamp: -1, max_timestamp: -1, ..three() };
    assert_eq!(assert_untouched(&none).newest, None);
    assert_eq!(assert_untouched(&gzipped(none)).newest, None);
}

#[test]
fn p7_a_batch_may_have_exactly_max_message_bytes() {
    let size = three().bytes().len() as u32;
    let at = |max_message_bytes, batch: &Forged| {
        check_produced(batch.bytes(), &Rules { max_message_bytes, ..rules() }).map(|_| ())
    };
    assert_eq!(at(size, &three()), Ok(()));
    let too_large = Err(RecordError::TooLarge { size: size as usize, limit: size as usize - 1 });
    assert_eq!(at(size - 1, &three()), too_large);
    assert_eq!(at(size - 1, &Forged { crc: Some(1), ..three() }), too_large);
}

#[test]
fn a_batch_larger_than_a_segment_is_refused() {
    let size = three().bytes().len();
    let at = |segment_bytes| check_produced(three().bytes(), &Rules { segment_bytes, ..rules() }).map(|_| ());
    assert_eq!(at(size as u64), Ok(()));
    assert_eq!(at(size as u64 - 1), Err(RecordError::LargerThanSegment { size, limit: size as u64 - 1 }));
}

#[test]
fn p8_records_without_a_key_are_named_on_a_compacted_topic() {
    let mixed = Forged::of(&[keyed(0), record(1, 0), keyed(2), record(3, 0)]);
    for batch in [mixed.clone(), gzipped(mixed)] {
        let result = check_produced(batch.bytes(), &Rules { compacted: true, ..rules() });
        let Err(RecordError::InvalidRecords { refused, .. }) = result else { panic!("{result:?}") };
        assert_eq!(refused.iter().map(|record| record.index).collect::<Vec<_>>(), [1, 3]);
        assert!(check(&batch).is_ok());
    }
    let all_keyed = Forged::of(&[keyed(0), keyed(1)]);
    assert!(check_produced(all_keyed.bytes(), &Rules { compacted: true, ..rules() }).is_ok());
}

#[test]
fn a_refusal_names_a_bounded_number_of_records() {
    let batch = Forged::of(&(0..5_000).map(|delta| record(delta, 0)).collect::<Vec<_>>());
    let result = check_produced(batch.bytes(), &Rules { compacted: true, ..rules() });
    let Err(RecordError::InvalidRecords { refused, message }) = result else { panic!("{result:?}") };
    assert_eq!(refused.len(), 1_000);
    assert!(message.contains("5000"), "{message}");
}

#[test]
fn records_too_far_in_the_future_are_named() {
    let batch = Forged::of(&[record(0, 0), record(1, HOUR), record(2, HOUR + 1), record(3, 3 * HOUR)]);
    let compressed = gzipped(Forged { max_timestamp: NOW.0 + 3 * HOUR, ..batch.clone() });
    for batch in [batch, compressed] {
        let result = check(&batch);
        let Err(RecordError::InvalidTimestamps { refused, .. }) = result else { panic!("{result:?}") };
        assert_eq!(refused.iter().map(|record| record.index).collect::<Vec<_>>(), [2, 3]);
    }
}

#[test]
fn a_compressed_batch_whose_header_alone_is_in_the_future_is_made_true() {
    let batch = gzipped(Forged { max_timestamp: NOW.0 + 2 * HOUR, ..three() });
    assert_max_timestamp_made(&batch, NOW.0);
}

#[test]
fn records_that_are_too_old_are_named_and_those_without_a_timestamp_are_not() {
    let rules = Rules { timestamp_before_max: Duration::from_secs(10), ..rules() };
    let batch = Forged::of(&[record(0, 0), record(1, -10_000), record(2, -10_001), record(3, -1 - NOW.0)]);
    for batch in [batch.clone(), gzipped(batch)] {
        let result = check_produced(batch.bytes(), &rules);
        let Err(RecordError::InvalidTimestamps { refused, .. }) = result else { panic!("{result:?}") };
        assert_eq!(refused.iter().map(|record| record.index).collect::<Vec<_>>(), [2]);
    }
}

#[test]
fn a_record_without_a_key_and_one_from_the_future_are_refused_together() {
    let batch = Forged::of(&[record(0, 0), record(1, 2 * HOUR), keyed(2)]);
    let result = check_produced(batch.bytes(), &Rules { compacted: true, ..rules() });
    assert!(
        matches!(result, Err(RecordError::InvalidRecords { .. })),
        "a missing key comes first: {result:?}"
    );
    let late = raw_record(None, &[&[0], &varint(2 * HOUR), &varint(1), b"\x02k", b"\x02v", &[0]]);
    let result =
        check_produced(Forged::of(&[record(0, 0), late]).bytes(), &Rules { compacted: true, ..rules() });
    let Err(RecordError::InvalidTimestamps { refused, .. }) = result else { panic!("{result:?}") };
    assert_eq!(refused.iter().map(|record| record.index).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn p12_with_log_append_time_only_the_header_changes() {
    let rules = Rules { log_append_time: true, timestamp_before_max: Duration::from_secs(10), ..rules() };
    let late_and_early = Forged::of(&[record(0, 2 * HOUR), record(1, -HOUR), record(2, -1 - NOW.0)]);
    let no_times = Forged { max_timestamp: -1, ..three() };
    let from_a_client = Forged { attributes: Attributes::LOG_APPEND_TIME, ..three() };
    for plain in [three(), late_and_early, no_times, from_a_client] {
        for batch in [plain.clone(), gzipped(plain)] {
            let checked = check_produced(batch.bytes(), &rules).unwrap();
            let attributes = batch.attributes | Attributes::LOG_APPEND_TIME;
            let expected = Forged { attributes, max_timestamp: NOW.0, ..batch };
            assert_eq!(checked.bytes, expected.bytes());
            assert_eq!(checked.header, Header::parse(&checked.bytes).unwrap());
            assert_eq!(checked.newest, Some(0), "all records are equally new");
        }
    }
}

/// The records of a batch in order, and its header.
fn content(checked: &Checked) -> (Header, Vec<jackdaw::record::Record>) {
    let header = Header::parse(&checked.bytes).unwrap();
    assert_eq!(checked.header, header);
    assert_eq!(header.crc, crc_of(&checked.bytes));
    assert_eq!(header.size(), checked.bytes.len());
    (header, jackdaw::record::records(&checked.bytes).unwrap().map(Result::unwrap).collect())
}

#[test]
fn p14_a_batch_in_another_codec_than_the_topics_is_stored_in_that_one() {
    let values: Vec<_> = (0..2_000).map(|n| format!("value {n} {n}")).collect();
    let built =
        |codec| values.iter().fold(BatchBuilder::new().codec(codec), |batch, value| batch.value(NOW, value));
    let (_, plain) = content(&check_produced(built(Codec::None).build(), &rules()).unwrap());
    for codec in Codec::ALL {
        let sent = built(codec).build();
        for wanted in Codec::ALL {
            let rules = Rules { compression: Some(wanted), ..rules() };
            let stored = check_produced(sent.clone(), &rules).unwrap();
            let (header, records) = content(&stored);
            assert_eq!(header.attributes.codec(), Ok(wanted));
            assert_eq!((header.count, header.max_timestamp), (2_000, NOW));
            assert_eq!(records, plain, "{codec:?} to {wanted:?}");
            assert_eq!(
                stored.bytes.as_ptr() == sent.as_ptr(),
                codec == wanted,
                "copied only where it must be"
            );
        }
    }
}

#[test]
fn a_batch_that_grows_beyond_the_limit_by_its_topics_codec_is_too_large() {
    let limit = 100_000;
    let bomb = BatchBuilder::new().codec(Codec::Gzip).value(NOW, vec![0; 200_000]).build();
    let rules = Rules { compression: Some(Codec::None), max_message_bytes: limit, ..rules() };
    let result = check_produced(bomb, &rules);
    assert!(matches!(result, Err(RecordError::TooLarge { .. })), "{result:?}");
}

#[test]
fn a_topics_codec_and_log_append_time_go_together() {
    let rules = Rules { compression: Some(Codec::Zstd), log_append_time: true, ..rules() };
    let (header, records) = content(&check_produced(three().bytes(), &rules).unwrap());
    assert_eq!(header.attributes.codec(), Ok(Codec::Zstd));
    assert!(header.attributes.log_append_time());
    assert!(records.iter().all(|record| record.timestamp == NOW));
}

#[test]
fn p13_a_control_batch_is_invalid() {
    assert_invalid(&Forged { attributes: Attributes::CONTROL, ..three() });
    assert_invalid(&Forged {
        attributes: Attributes::CONTROL | Attributes::TRANSACTIONAL,
        producer_id: 1,
        ..three()
    });
}

#[test]
fn p14_every_codec_passes_as_sent() {
    for codec in Codec::ALL {
        let batch = BatchBuilder::new().codec(codec).value(NOW, "a").value(NOW, "b").build();
        let checked = check_produced(batch.clone(), &rules()).unwrap();
        assert_eq!(checked.bytes, batch);
        assert_eq!(checked.header.attributes.codec(), Ok(codec));
    }
}

#[test]
fn a_codec_that_does_not_exist_is_refused() {
    for id in [5, 6, 7] {
        let result = check(&Forged { attributes: id, ..three() });
        assert_eq!(result.map(|_| ()), Err(RecordError::UnknownCodec(id as u8)));
    }
}

#[test]
fn a_wrong_crc_is_corrupt() {
    assert_corrupt(&Forged { crc: Some(1), ..three() });
    assert_corrupt(&Forged { crc: Some(1), attributes: Attributes::CONTROL, ..three() });
}

#[test]
fn every_flipped_bit_of_a_batch_is_noticed_but_for_those_the_broker_overwrites() {
    let sound = three().bytes();
    for bit in 0..sound.len() * 8 {
        let mut bytes = sound.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let is_leader_epoch = (12..16).contains(&(bit / 8));
        assert_eq!(check_produced(bytes.into(), &rules()).is_ok(), is_leader_epoch, "bit {bit}");
    }
}

#[test]
fn old_formats_and_unknown_ones_are_distinguished() {
    for magic in [0, 1] {
        let result = check(&Forged { magic, ..three() });
        assert_eq!(result.map(|_| ()), Err(RecordError::OldFormat(magic)));
    }
    for magic in [-1, 3, 127] {
        assert_corrupt(&Forged { magic, ..three() });
    }
}

#[test]
fn anything_but_exactly_one_batch_is_refused() {
    let batch = three().bytes();
    assert_not_one_batch(b"");
    assert_not_one_batch(&[0; 10]);
    for cut in 0..batch.len() {
        assert_not_one_batch(&batch[..cut]);
    }
    assert_not_one_batch(&[&batch[..], &batch[..]].concat());
    assert_not_one_batch(&Forged { length: Some(1000), ..three() }.bytes());
}

#[test]
fn bytes_behind_the_batch_are_refused_where_kafka_drops_them_and_acknowledges() {
    let batch = three().bytes();
    assert_not_one_batch(&[&batch[..], &[0]].concat());
    assert_not_one_batch(&[&batch[..], &batch[..50]].concat());
}

#[test]
fn a_length_that_cuts_the_batch_short_is_corrupt() {
    for length in [i32::MIN, -1, 0, 10, 20, 48, 49, 50] {
        assert_corrupt(&Forged { length: Some(length), ..three() });
    }
}

#[test]
fn the_number_of_records_has_to_agree_with_the_offsets_and_with_the_records() {
    assert_invalid(&Forged { count: 4, ..three() });
    assert_invalid(&Forged { count: 2, last_offset_delta: 1, ..three() });
    assert_invalid(&Forged { count: 4, last_offset_delta: 3, ..three() });
    assert_invalid(&Forged { count: 0, last_offset_delta: 0, ..three() });
    assert_invalid(&Forged::empty());
    assert_invalid(&Forged { count: -1, last_offset_delta: -2, ..Forged::empty() });
    assert_invalid(&Forged { count: i32::MAX, last_offset_delta: i32::MAX - 1, ..Forged::empty() });
    assert_invalid(&Forged { count: i32::MIN, last_offset_delta: i32::MAX, ..Forged::empty() });
}

#[test]
fn offsets_inside_a_batch_count_up_from_0_which_kafka_does_not_check() {
    assert_invalid(&Forged::of(&[record(0, 0), record(0, 0), record(0, 0)]));
    assert_invalid(&Forged::of(&[record(0, 0), record(5, 0), record(9, 0)]));
    assert_invalid(&Forged::of(&[record(1, 0)]));
}

#[test]
fn lengths_inside_records_have_to_add_up() {
    let with = |last: Vec<u8>| Forged::of(&[record(0, 0), last]);
    let zero = varint(0);
    let one = varint(1);
    let none = varint(-1);
    assert_invalid(&with(raw_record(Some(60), &[&zero, &zero, &one, &none, &none, &zero])));
    assert_invalid(&with(raw_record(Some(3), &[&zero, &zero, &one, &none, &none, &zero])));
    assert_invalid(&with(raw_record(Some(-5), &[&zero, &zero, &one, &none, &none, &zero])));
    assert_invalid(&with(raw_record(None, &[&zero, &zero, &one, &varint(100), &none, &zero])));
    assert_invalid(&with(raw_record(None, &[&zero, &zero, &one, &none, &varint(i32::MAX.into()), &zero])));
    assert_invalid(&with(raw_record(None, &[&zero, &zero, &one, &none, &none, &varint(-1)])));
    assert_invalid(&with(raw_record(None, &[&zero, &zero, &one, &none, &none, &varint((1 << 30) - 1)])));
    assert_invalid(&with(raw_record(None, &[&zero, &zero, &one, &none, &none, &one])));
    assert_invalid(&with(raw_record(None, &[&zero, &zero, &one, &none, &none, &one, &none, &none])));
    assert_invalid(&with([&[0xff; 6][..], &[0; 10]].concat()));
    assert_invalid(&Forged::of(&[record(0, 0), [record(1, 0), b"xyz".to_vec()].concat()]));
    assert_invalid(&gzipped(Forged::of(&[[record(0, 0), b"x".to_vec()].concat()])));
}

#[test]
fn records_that_kafka_accepts_pass() {
    let (zero, none) = (varint(0), varint(-1));
    let headers = [&varint(2)[..], b"\x02x\x02y", b"\x02x\x01"].concat(); // the same key twice, then a null
    assert_untouched(&Forged::of(&[raw_record(None, &[&zero, &zero, &zero, &none, &none, &headers])]));
    let not_utf8 = [&varint(1)[..], b"\x04\xff\xfe", b"\x01"].concat();
    assert_untouched(&Forged::of(&[raw_record(None, &[&zero, &zero, &zero, &none, &none, &not_utf8])]));
    let attributes = [1];
    assert_untouched(&Forged::of(&[raw_record(None, &[&attributes, &zero, &zero, &none, &none, &zero])]));
    assert_untouched(&Forged::of(&[raw_record(None, &[&zero, &zero, &zero, &varint(-3), &none, &zero])]));
}

#[test]
fn a_client_cannot_say_log_append_time() {
    let batch = Forged { attributes: Attributes::LOG_APPEND_TIME, max_timestamp: NOW.0 + 9, ..three() };
    let truth = Forged { attributes: 0, max_timestamp: NOW.0, ..three() };
    let checked = check(&batch).unwrap();
    assert_eq!(checked.bytes, truth.bytes());
    assert_eq!(checked.header, Header::parse(&truth.bytes()).unwrap());
    assert_eq!(check(&gzipped(batch)).unwrap().bytes, gzipped(truth).bytes());
}

#[test]
fn a_producer_id_needs_an_epoch_and_a_sequence() {
    let producer = Forged { producer_id: 5, producer_epoch: 0, base_sequence: 0, ..three() };
    assert_untouched(&producer);
    assert_invalid(&Forged { base_sequence: -1, ..producer.clone() });
    assert_untouched(&Forged { producer_id: -1, base_sequence: 4, ..producer.clone() });
    assert_untouched(&Forged { attributes: Attributes::TRANSACTIONAL, ..producer });
}

#[test]
fn a_producer_epoch_below_0_is_invalid_which_kafka_lets_pass_as_minus_1() {
    assert_invalid(&Forged { producer_id: 5, producer_epoch: -1, base_sequence: 0, ..three() });
    assert_invalid(&Forged { producer_id: 5, producer_epoch: -5, base_sequence: 0, ..three() });
}

#[test]
fn records_that_cannot_be_decompressed_are_invalid_where_kafka_answers_unknown_server_error() {
    for codec in [1, 2, 3, 4] {
        assert_invalid(&Forged { attributes: codec, ..three() });
        for payload in [b"garbage".repeat(5), vec![0xff; 40], (0..60).collect(), Vec::new()] {
            assert_invalid(&Forged { attributes: codec, payload, ..three() });
        }
    }
    assert_invalid(&gzipped(Forged { count: 4, last_offset_delta: 3, ..three() }));
    assert_invalid(&gzipped(Forged { count: 2, last_offset_delta: 1, ..three() }));
    assert_invalid(&gzipped(Forged::of(&[record(0, 0), record(5, 0)])));
}

#[test]
fn a_negative_timestamp_leaves_the_batch_without_a_max_timestamp() {
    let batch = Forged { base_timestamp: -5, max_timestamp: -5, ..three() };
    assert_eq!(assert_max_timestamp_made(&batch, -1).newest, None);
}

#[test]
fn the_header_of_a_checked_batch_is_the_one_in_its_bytes() {
    let checked = check(&Forged { max_timestamp: 0, attributes: 0x80, ..three() }).unwrap();
    assert_eq!(checked.header.max_timestamp, Timestamp(NOW.0));
    assert_eq!(checked.header, Header::parse(&checked.bytes).unwrap());
}
