//! Batches of other implementations: Apache Kafka's own classes (`kafka/Batches.java`), and the crate
//! `kafka-protocol` in both directions, which uses the C libraries for lz4 and zstd. Headers are not compared
//! with that crate, because it loses repeated keys.

use bytes::{BufMut, Bytes, BytesMut};
use jackdaw::record::{BatchBuilder, Codec, Marker, Record, RecordError, check_produced, records};
use jackdaw::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TransactionEnd};
use kafka_protocol::records::{
    Compression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};

use crate::forge::{Forged, NOW, payload};
use crate::targets::rules;

/// The records in `kafka/Batches.java`.
fn of_kafka() -> Vec<Record> {
    let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    let record = |offset, timestamp, key, value| Record {
        offset: Offset(offset),
        timestamp: Timestamp(timestamp),
        key,
        value,
        headers: Vec::new(),
    };
    let mut all = vec![
        record(0, 1000, bytes("k"), bytes("v")),
        record(1, -1, None, None),
        record(2, 999, bytes(""), bytes("")),
    ];
    all[0].headers = vec![("h".into(), bytes("1")), ("h".into(), None), ("".into(), bytes(""))];
    for i in 0..400 {
        let value = format!("a value of record {i} and some more text");
        all.push(record(3 + i, 2000 - i, bytes(&format!("key-{}", i % 7)), bytes(&value)));
    }
    all.push(record(403, 1500, None, Some(vec![0; 70_000].into())));
    all
}

pub const OF_KAFKA: &[&[u8]] = &[
    include_bytes!("kafka/gzip.batch"),
    include_bytes!("kafka/snappy.batch"),
    include_bytes!("kafka/lz4.batch"),
    include_bytes!("kafka/zstd.batch"),
    // Names a window of 128 MiB, as the two highest levels do for a batch of any size.
    include_bytes!("kafka/zstd-level-22.batch"),
];

#[test]
fn batches_of_apache_kafka_are_read() {
    let codecs = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd, Codec::Zstd];
    for (batch, codec) in OF_KAFKA.iter().zip(codecs) {
        let checked = check_produced(Bytes::from_static(batch), &rules()).unwrap();
        assert_eq!(checked.header.attributes.codec(), Ok(codec));
        assert_eq!(checked.header.max_timestamp, Timestamp(2000));
        let read: Vec<_> = records(&checked.bytes).unwrap().map(Result::unwrap).collect();
        assert!(read == of_kafka(), "{codec:?}");
    }
}

fn marker(end: TransactionEnd) -> Marker {
    Marker {
        producer: ProducerId(4_000_000_001),
        epoch: ProducerEpoch(32_767),
        end,
        coordinator_epoch: 5,
        time: Timestamp(1_700_000_000_123),
    }
}

#[test]
fn f15_markers_have_the_bytes_of_apache_kafka_s() {
    let commit = marker(TransactionEnd::Commit).batch(Offset(1_234_567), LeaderEpoch(7));
    assert_eq!(commit, &include_bytes!("kafka/commit.batch")[..]);
    let abort = marker(TransactionEnd::Abort).batch(Offset(1_234_567), LeaderEpoch(7));
    assert_eq!(abort, &include_bytes!("kafka/abort.batch")[..]);
}

#[test]
fn markers_are_read_by_another_implementation() {
    for (end, kind) in [(TransactionEnd::Abort, 0), (TransactionEnd::Commit, 1)] {
        let mut batch = marker(end).batch(Offset(70), LeaderEpoch(7));
        let read = RecordBatchDecoder::decode(&mut batch).unwrap().records;
        let [record] = &read[..] else { panic!("{read:?}") };
        assert!(record.control && record.transactional);
        assert_eq!((record.offset, record.partition_leader_epoch, record.sequence), (70, 7, -1));
        assert_eq!((record.producer_id, record.producer_epoch), (4_000_000_001, 32_767));
        assert_eq!(record.key.as_deref(), Some(&[0, 0, 0, kind][..]));
        assert_eq!(record.value.as_deref(), Some(&[0, 0, 0, 0, 0, 5][..]));
    }
}

/// Our codecs and those of the crate.
const THEIRS: [(Codec, Compression); 5] = [
    (Codec::None, Compression::None),
    (Codec::Gzip, Compression::Gzip),
    (Codec::Snappy, Compression::Snappy),
    (Codec::Lz4, Compression::Lz4),
    (Codec::Zstd, Compression::Zstd),
];

fn their_records() -> Vec<TheirRecord> {
    let record = |offset: i64, key: Option<&'static [u8]>, value: Option<Bytes>| TheirRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: offset as i32, // the crate begins a new batch unless these count up
        timestamp: NOW.0 + offset,
        key: key.map(Bytes::from_static),
        value,
        headers: Default::default(),
    };
    let noise: Vec<u8> = (0u32..100_000).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        record(0, Some(b"k"), Some("v".into())),
        record(1, None, None),
        record(2, Some(b""), Some("".into())),
        record(3, None, Some(noise.into())),
        record(4, None, Some(vec![7; 300_000].into())),
    ]
}

fn same(ours: &Record, theirs: &TheirRecord) -> bool {
    let place = (ours.offset.0, ours.timestamp.0) == (theirs.offset, theirs.timestamp);
    place && (&ours.key, &ours.value) == (&theirs.key, &theirs.value)
}

#[test]
fn batches_of_another_implementation_are_read() {
    for (codec, compression) in THEIRS {
        let written = their_records();
        let mut batch = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression };
        RecordBatchEncoder::encode(&mut batch, &written, &options).unwrap();
        let checked = check_produced(batch.freeze(), &rules()).unwrap();
        assert_eq!(checked.header.attributes.codec(), Ok(codec));
        let read: Vec<_> = records(&checked.bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(read.len(), written.len());
        assert!(read.iter().zip(&written).all(|(ours, theirs)| same(ours, theirs)), "{codec:?}");
    }
}

#[test]
fn batches_of_ours_are_read_by_another_implementation() {
    for (codec, _) in THEIRS {
        let written = their_records();
        let batch = written.iter().fold(BatchBuilder::new().codec(codec), |batch, record| {
            batch.record(Timestamp(record.timestamp), record.key.as_deref(), record.value.as_deref(), &[])
        });
        let read = RecordBatchDecoder::decode(&mut batch.build()).unwrap().records;
        let ours: Vec<_> = records(&batch.build()).unwrap().map(Result::unwrap).collect();
        assert_eq!(read.len(), written.len());
        assert!(ours.iter().zip(&read).all(|(ours, theirs)| same(ours, theirs)), "{codec:?}");
        assert!(ours.iter().zip(&written).all(|(ours, theirs)| same(ours, theirs)), "{codec:?}");
    }
}

/// A batch of two records whose payload is compressed by `pack`.
fn packed(codec: Codec, pack: impl FnOnce(&[u8]) -> Vec<u8>) -> Bytes {
    let plain = payload(&BatchBuilder::new().value(NOW, "one").value(NOW, vec![b'x'; 50_000]));
    let payload = pack(&plain);
    Forged { attributes: codec.id().into(), count: 2, last_offset_delta: 1, payload, ..Forged::empty() }
        .bytes()
}

fn sizes(batch: &Bytes) -> Vec<usize> {
    records(batch).unwrap().map(|record| record.unwrap().value.unwrap().len()).collect()
}

#[test]
fn p14_snappy_without_frames_is_read_as_librdkafka_sends_it() {
    let batch = packed(Codec::Snappy, |plain| snap::raw::Encoder::new().compress_vec(plain).unwrap());
    assert_eq!(sizes(&batch), [3, 50_000]);
}

#[test]
fn zstd_frames_one_after_the_other_and_skippable_ones_are_read() {
    let zstd =
        |bytes: &[u8]| ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
    let batch = packed(Codec::Zstd, |plain| {
        let (first, second) = plain.split_at(5);
        let mut out = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        out.put_slice(&zstd(first));
        out.put_slice(&zstd(b""));
        out.put_slice(&zstd(second));
        out
    });
    assert_eq!(sizes(&batch), [3, 50_000]);
}

/// Kafka refuses them at produce, but they may be stored.
#[test]
fn lz4_blocks_that_refer_to_earlier_ones_are_read_but_not_accepted() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let batch = packed(Codec::Lz4, |plain| {
        let info = FrameInfo::new()
            .block_mode(BlockMode::Linked)
            .block_size(BlockSize::Max64KB)
            .block_checksums(true)
            .content_checksum(true);
        let mut out = FrameEncoder::with_frame_info(info, Vec::new());
        std::io::Write::write_all(&mut out, plain).unwrap();
        out.finish().unwrap()
    });
    assert_eq!(sizes(&batch), [3, 50_000]);
    assert_refused(batch, "the blocks of the lz4 frame are linked");
}

/// Of a batch of a few bytes, whose matches are near.
#[test]
fn zstd_frames_with_a_window_above_128_mib_are_read_but_not_accepted() {
    let with_window = |descriptor: u8| {
        packed(Codec::Zstd, |plain| {
            // Without the size of the content and without a checksum: one block as it is.
            let block = (u32::try_from(plain.len()).unwrap() << 3 | 1).to_le_bytes();
            [&[0x28, 0xb5, 0x2f, 0xfd, 0, descriptor], &block[..3], plain].concat()
        })
    };
    let (largest, larger) = (with_window(17 << 3), with_window(17 << 3 | 1));
    assert!(check_produced(largest, &rules()).is_ok());
    assert_eq!(sizes(&larger), [3, 50_000]);
    assert_refused(larger, "the zstd window is above 128 MiB");
}

fn assert_refused(batch: Bytes, why: &str) {
    match check_produced(batch, &rules()) {
        Err(RecordError::Invalid(reason)) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// Two records, compressed by `pack` each alone and both together, with bytes added or removed. The table has
/// whether Apache Kafka 4.4 accepts such a batch.
fn check_tails(codec: Codec, pack: impl Fn(&[u8]) -> Vec<u8>, tails: &[(&[u8], bool)], in_two: bool) {
    let of = |number: i64| crate::forge::record(number, 0);
    let accepted = |payload: Vec<u8>| {
        let attributes = codec.id().into();
        let batch = Forged { attributes, count: 2, last_offset_delta: 1, payload, ..Forged::empty() };
        check_produced(batch.bytes(), &rules()).is_ok()
    };
    let whole = pack(&[of(0), of(1)].concat());
    assert!(accepted(whole.clone()), "{codec:?}");
    for (tail, kafka_accepts) in tails {
        assert_eq!(accepted([&whole[..], tail].concat()), *kafka_accepts, "{codec:?} {tail:?}");
    }
    assert!(accepted([whole.clone(), pack(b"")].concat()), "{codec:?} and an empty stream");
    assert_eq!(accepted([pack(&of(0)), pack(&of(1))].concat()), in_two, "{codec:?} in two streams");
    for cut in [1, 4, 8, whole.len() / 2] {
        assert!(!accepted(whole[..whole.len() - cut].to_vec()), "{codec:?} without its last {cut} bytes");
    }
}

#[test]
fn bytes_after_compressed_records_are_accepted_as_in_kafka() {
    let gzip = |plain: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut out, plain).unwrap();
        out.finish().unwrap()
    };
    let (short, long, zeros) = (&[0xee; 4][..], &[0xee; 40][..], &[0; 40][..]);
    let begun = &gzip(b"anything")[..10];
    let broken_member = [begun, &[0xff; 10]].concat();
    let too_short_for_one = [begun, &[0xff; 8]].concat();
    let tails = [
        (short, true),
        (long, true),
        (zeros, true),
        (&begun[..6], true),
        (&too_short_for_one, true),
        (&broken_member, false),
        (&gzip(&crate::forge::record(1, 0)), false),
    ];
    check_tails(Codec::Gzip, gzip, &tails, true);

    let snappy = |plain: &[u8]| {
        let block = snap::raw::Encoder::new().compress_vec(plain).unwrap();
        let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        out.put_i32(block.len() as i32);
        out.put_slice(&block);
        out
    };
    check_tails(Codec::Snappy, snappy, &[(short, false), (long, false), (zeros, false)], true);

    let lz4 = |plain: &[u8]| {
        let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut out, plain).unwrap();
        out.finish().unwrap()
    };
    let another = lz4(&crate::forge::record(1, 0));
    let tails = [(short, true), (long, true), (zeros, true), (&another[..], true)];
    check_tails(Codec::Lz4, lz4, &tails, false);

    let zstd =
        |plain: &[u8]| ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest);
    check_tails(Codec::Zstd, zstd, &[(short, false), (long, false), (zeros, false)], true);
}

#[test]
fn a_wrong_checksum_of_a_codec_is_noticed() {
    let zstd =
        |plain: &[u8]| ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest);
    let batch = packed(Codec::Zstd, |plain| {
        let mut out = zstd(plain);
        *out.last_mut().unwrap() ^= 1;
        out
    });
    assert!(check_produced(batch, &rules()).is_err());
}
