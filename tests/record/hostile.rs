//! Hostile bytes: each is refused or read, within a limit of memory.

use std::io::Write;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use jackdaw::record::{
    BatchBuilder, Cleaned, Codec, RecordError, Rules, batches, check_produced, clean, first_since, keys,
    newest, records,
};
use jackdaw::types::{Offset, Timestamp};

use crate::allocations::most_held_by;
use crate::forge::{Forged, NOW, raw_record, record, varint};
use crate::targets::rules;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Every operation on a batch: all of them must end without a panic and within `limit` bytes of memory.
#[track_caller]
fn survives(batch: Bytes, limit: usize) -> Result<(), RecordError> {
    let (result, peak) = most_held_by(|| {
        let compacted = Rules { compacted: true, ..rules() };
        let checked = check_produced(batch.clone(), &rules()).map(|_| ());
        let opened = check_produced(batch.clone(), &compacted).map(|_| ());
        let _ = first_since(&batch, Timestamp(i64::MAX), Offset(0));
        let _ = newest(&batch, Offset(0));
        for found in batches(&batch) {
            let Ok((header, _)) = found else { continue };
            let _ = (header.next_offset(), header.producer(), header.attributes.codec());
        }
        let read = match records(&batch) {
            Ok(records) => records.filter_map(Result::err).next().map_or(Ok(()), Err),
            Err(error) => Err(error),
        };
        checked.and(read).and(opened)
    });
    assert!(peak <= limit, "{peak} bytes held, {limit} allowed");
    result
}

#[track_caller]
fn is_refused(batch: Bytes, limit: usize) {
    assert!(survives(batch, limit).is_err());
}

/// A compressed batch whose header says one record.
fn bomb(codec: Codec, payload: Vec<u8>) -> Bytes {
    Forged { attributes: codec.id().into(), count: 1, last_offset_delta: 0, payload, ..Forged::empty() }
        .bytes()
}

#[test]
fn w9_more_records_than_bytes() {
    for count in [i32::MAX, 20_000_000] {
        let last_offset_delta = count - 1;
        is_refused(Forged { count, last_offset_delta, ..Forged::empty() }.bytes(), 4 * KIB);
        let one = Forged { count, last_offset_delta, ..Forged::of(&[record(0, 0)]) };
        is_refused(one.bytes(), 4 * KIB);
    }
}

#[test]
fn w9_more_headers_than_bytes() {
    for count in [(1 << 30) - 1, 200_000_000, i64::from(i32::MAX)] {
        let record = raw_record(None, &[&[0, 0, 0, 1, 1], &varint(count)]);
        is_refused(Forged::of(&[record]).bytes(), 4 * KIB);
    }
}

#[test]
fn w9_keys_values_and_headers_longer_than_the_batch() {
    for length in [1, 100, i64::from(i32::MAX)] {
        let length = varint(length);
        for parts in
            [[&[0, 0, 0][..], &length], [&[0, 0, 0, 1][..], &length], [&[0, 0, 0, 1, 1, 2][..], &length]]
        {
            is_refused(Forged::of(&[raw_record(None, &parts)]).bytes(), 4 * KIB);
        }
        is_refused(Forged::of(&[length]).bytes(), 4 * KIB);
    }
}

#[test]
fn a_record_inside_a_compressed_batch_that_claims_2_gib() {
    let mut plain = varint(i32::MAX.into());
    plain.extend_from_slice(&[0, 0, 0]);
    plain.extend_from_slice(&varint(i64::from(i32::MAX) - 30));
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Snappy, Codec::Zstd] {
        is_refused(bomb(codec, pack(codec, &plain)), 16 * MIB);
    }
}

pub fn pack(codec: Codec, plain: &[u8]) -> Vec<u8> {
    match codec {
        Codec::None => plain.to_vec(),
        Codec::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(plain).unwrap();
            out.finish().unwrap()
        }
        Codec::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
        Codec::Lz4 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(plain).unwrap();
            out.finish().unwrap()
        }
        Codec::Zstd => ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest),
    }
}

/// A zstd frame of `blocks` blocks of 128 KiB of one byte each: 4 bytes become 131,072.
fn zstd_of_zeros(window_descriptor: u8, blocks: usize) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window_descriptor];
    for block in 1..=blocks {
        let last = u32::from(block == blocks);
        let header = ((128 << 10) << 3) | (1 << 1) | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[test]
fn a_zstd_batch_of_zeros_that_would_become_more_than_2_gib() {
    // Two records, each with a value that fills its 1 GiB of zeros, except for the number of headers.
    let value = (1 << 30) - 1;
    let of = |number| raw_record(Some(value + 10), &[&[0, 0], &varint(number), &[1], &varint(value)]);
    let zeros = || zstd_of_zeros(0x58, 8192);
    let payload = [pack(Codec::Zstd, &of(0)), zeros(), pack(Codec::Zstd, &of(1)), zeros()].concat();
    let attributes = Codec::Zstd.id().into();
    let batch = Forged { attributes, count: 2, last_offset_delta: 1, payload, ..Forged::empty() }.bytes();
    assert!(batch.len() < 66_000);
    let (error, peak) = most_held_by(|| check_produced(batch.clone(), &rules()).unwrap_err());
    assert_eq!(error, RecordError::OpensTooLarge);
    assert!(peak <= 8 * MIB, "{peak}");
    // A reader of records is not given what would have to be held as a whole.
    let (read, peak) = most_held_by(|| records(&batch).unwrap().next().unwrap());
    assert!(read.is_err());
    assert!(peak <= 8 * MIB, "{peak}");
}

/// A batch of repeating log lines, which becomes many times larger in every codec that allows it.
#[test]
fn a_very_compressible_batch_is_taken_found_by_its_time_and_compacted_piece_by_piece() {
    let value = vec![b'x'; 23 * MIB];
    for (codec, limit) in [(Codec::Gzip, MIB), (Codec::Lz4, 16 * MIB), (Codec::Zstd, 4 * MIB)] {
        let batch = [b"a", b"b", b"c"]
            .into_iter()
            .fold(BatchBuilder::new().codec(codec), |batch, key| {
                batch.record(NOW, Some(key), Some(&value), &[])
            })
            .build();
        let ((), peak) = most_held_by(|| {
            let rules = Rules { compacted: true, ..rules() };
            assert_eq!(check_produced(batch.clone(), &rules).unwrap().bytes, batch, "{codec:?}");
            assert_eq!(newest(&batch, Offset(1)).unwrap().unwrap().offset, Offset(1));
            let keys: Result<Vec<_>, _> = keys(&batch).unwrap().collect();
            assert_eq!(keys.unwrap().len(), 3);
            let cleaned = clean(&batch, NOW, Some(Duration::MAX), |offset, _| offset != Offset(1));
            let Ok(Cleaned::Rewritten(cleaned)) = cleaned else { panic!("{codec:?}: {cleaned:?}") };
            let left: Vec<_> = jackdaw::record::keys(&cleaned).unwrap().map(|key| key.unwrap().0).collect();
            assert_eq!(left, [Offset(0), Offset(2)]);
        });
        assert!(peak <= limit + batch.len() * 2, "{codec:?}: {peak}");
    }
}

#[test]
fn zstd_windows_are_bounded_whatever_a_frame_names() {
    for descriptor in [0x78, 0x80, 0x88, 0xff] {
        // The ring that holds 32 MiB and a block grows by doubling.
        is_refused(bomb(Codec::Zstd, zstd_of_zeros(descriptor, 16_384)), 110 * MIB);
        // A small frame takes little memory, whatever window it names.
        let small = zstd_of_zeros(descriptor, 1);
        is_refused(bomb(Codec::Zstd, small), MIB);
    }
    // One segment of 1 GiB: the content size is the window.
    let mut single = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    single.put_u32_le(1 << 30);
    single.extend_from_slice(&zstd_of_zeros(0, 8_192)[6..]);
    is_refused(bomb(Codec::Zstd, single), MIB);
}

#[test]
fn large_zstd_windows_of_many_readers_are_opened_one_after_the_other() {
    // 24 MiB must be in memory before the first byte comes out; all readers finish.
    let batch = bomb(Codec::Zstd, zstd_of_zeros(0x78, 192));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let batch = batch.clone();
            std::thread::spawn(move || (0..3).all(|_| newest(&batch, Offset(0)).is_ok()))
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
}

#[test]
fn raw_snappy_that_claims_4_gib() {
    let mut payload = vec![0xff, 0xff, 0xff, 0xff, 0x0f];
    payload.extend_from_slice(&[0; 32]);
    is_refused(bomb(Codec::Snappy, payload.clone()), 64 * KIB);
    let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    framed.put_i32(payload.len() as i32);
    framed.extend_from_slice(&payload);
    is_refused(bomb(Codec::Snappy, framed), 64 * KIB);
}

#[test]
fn snappy_frames_cut_short_or_with_lying_lengths() {
    let magic = b"\x82SNAPPY\0";
    for length in [-1, 0, 1, 1000, i32::MAX, i32::MIN] {
        let mut framed = magic.to_vec();
        framed.extend_from_slice(&[0; 8]);
        framed.put_i32(length);
        for cut in 8..=framed.len() {
            is_refused(bomb(Codec::Snappy, framed[..cut].to_vec()), 64 * KIB);
        }
    }
}

#[test]
fn gzip_and_lz4_of_zeros() {
    let zeros = vec![0; 128 * MIB];
    for (codec, limit) in [(Codec::Gzip, MIB), (Codec::Lz4, 16 * MIB)] {
        let payload = pack(codec, &zeros);
        is_refused(bomb(codec, payload), limit);
    }
}

#[test]
fn a_few_bytes_of_lz4_do_not_reserve_the_largest_block_for_long() {
    let mut frame = pack(Codec::Lz4, b"");
    frame.truncate(7);
    is_refused(bomb(Codec::Lz4, frame), 16 * MIB);
}

#[test]
fn millions_of_records_in_a_compressed_batch_are_walked_not_kept() {
    let one = record(0, 0);
    let plain = one.repeat(200_000);
    let batch = Forged {
        attributes: Codec::Gzip.id().into(),
        count: i32::MAX,
        last_offset_delta: i32::MAX - 1,
        payload: pack(Codec::Gzip, &plain),
        ..Forged::empty()
    };
    is_refused(batch.bytes(), MIB);
}

#[test]
fn offsets_end_where_64_bits_end() {
    let batch = Forged { base_offset: i64::MAX, ..Forged::of(&[record(0, 0), record(1, 0)]) }.bytes();
    let header = batches(&batch).next().unwrap().unwrap().0;
    assert_eq!((header.last_offset(), header.next_offset()), (None, None));
    let read: Vec<_> = records(&batch).unwrap().collect();
    assert_eq!(read[0].as_ref().unwrap().offset, Offset(i64::MAX));
    assert!(matches!(read[1], Err(RecordError::Invalid(_))));
    assert!(newest(&batch, Offset(0)).is_err());
    is_refused(batch, 4 * KIB);
}

#[test]
fn timestamps_wrap_as_they_do_in_kafka() {
    let batch = Forged { base_timestamp: i64::MAX, ..Forged::of(&[record(0, 0), record(1, 1)]) }.bytes();
    let read: Vec<_> = records(&batch).unwrap().map(|record| record.unwrap().timestamp).collect();
    assert_eq!(read, [Timestamp(i64::MAX), Timestamp(i64::MIN)]);
    assert!(check_produced(batch, &Rules { now: Timestamp(i64::MAX), ..rules() }).is_err());
    let at_the_edge = Rules { now: Timestamp(i64::MIN), ..rules() };
    assert!(check_produced(Forged::of(&[record(0, 0)]).bytes(), &at_the_edge).is_err());
}

#[test]
fn every_cut_of_every_codec() {
    for codec in Codec::ALL {
        let plain = [record(0, 0), record(1, 5), record(2, 9)].concat();
        let whole = pack(codec, &plain);
        for cut in 0..whole.len() {
            let payload = whole[..cut].to_vec();
            let batch = Forged {
                attributes: codec.id().into(),
                count: 3,
                last_offset_delta: 2,
                max_timestamp: NOW.0 + 9,
                payload,
                ..Forged::empty()
            };
            let read = records(&batch.bytes()).unwrap().filter_map(Result::ok).count();
            // A codec may return the part of a cut stream that it can read: perhaps only the checksum is
            // missing.
            assert!(read <= 3);
            let _ = survives(batch.bytes(), 16 * MIB);
        }
    }
}
