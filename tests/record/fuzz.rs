//! The fuzz targets of record batches over the committed corpus.

use crate::codecs::OF_KAFKA;
use crate::corpus::replay;
use crate::forge::{keyed, raw_record, record, varint};
use crate::targets;

/// The fields of an ordinary batch of `count` records, as the target reads them.
fn fields(count: u8) -> [u8; 8] {
    [0, count, 0, 0xff, 0xff, 0xff, 100, 0]
}

fn batches() -> Vec<(String, Vec<u8>)> {
    let plain = [record(0, 0), record(1, 5), record(2, 5)].concat();
    let with_keys = [keyed(0), keyed(1)].concat();
    let many_headers = raw_record(None, &[&[0, 0, 0, 1, 1], &varint(1 << 30)]);
    let with_headers = raw_record(None, &[&[0, 0, 0, 1, 1, 4], b"\x02h\x01", b"\x00\x04hi"]);
    let compacted = [0, 2, 0, 0xff, 0xff, 0xff, 0, 1];
    let idempotent = [0x10, 3, 0, 9, 1, 7, 0, 0];
    let seeds: [(&str, [u8; 8], &[u8]); 12] = [
        ("plain", fields(3), &plain),
        ("keys", compacted, &with_keys),
        ("no-keys", [0, 3, 0, 0xff, 0xff, 0xff, 0, 1], &plain),
        ("headers", fields(1), &with_headers),
        ("too-many-headers", fields(1), &many_headers),
        ("idempotent", idempotent, &plain),
        ("negative-sequence", [0x10, 3, 0, 9, 1, 0x80, 0, 0], &plain),
        ("control", [0x20, 3, 0, 9, 1, 7, 0, 0], &plain),
        ("wrong-count", fields(4), &plain),
        ("wrong-delta", [0, 3, 1, 0xff, 0xff, 0xff, 0, 0], &plain),
        ("no-records", fields(0), &[]),
        ("unknown-codec", [7, 3, 0, 0xff, 0xff, 0xff, 0, 0], &plain),
    ];
    let named = seeds.map(|(name, fields, records)| (name.to_owned(), [&fields[..], records].concat()));
    named.into()
}

fn walks() -> Vec<(String, Vec<u8>)> {
    let plain = [record(0, 0), record(1, 5), record(2, -3)].concat();
    let mut seeds = vec![
        ("plain".to_owned(), [&[0, 2][..], &plain].concat()),
        ("cut".to_owned(), [&[0, 2][..], &plain[..plain.len() - 1]].concat()),
        ("negative-length".to_owned(), [&[0, 0][..], &varint(-5)].concat()),
    ];
    for (batch, name) in OF_KAFKA.iter().zip(["gzip", "snappy", "lz4", "zstd"]) {
        // Kafka's batches have more records than the target counts.
        seeds.push((format!("of-kafka-{name}"), [&[batch[22] & 7, 31][..], &batch[61..]].concat()));
    }
    seeds
}

#[test]
fn the_batches_of_the_corpus_are_judged_as_the_reference_does() {
    replay("batch", batches, targets::batch);
}

#[test]
fn the_records_of_the_corpus_are_walked_by_all_readers_alike() {
    replay("walk", walks, targets::walk);
}
