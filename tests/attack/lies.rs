//! Lengths that lie, on their way to other clients: batches of a producer that means harm, which the broker stores and
//! hands to librdkafka. A client that trusts a length reserves the memory, or reads records that are none. The answers of
//! the broker's own making are read back in `tests/wire/live.rs`, and Kafka's own bytes are in `tests/wire/vectors.rs`.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use jackdaw::record::{BatchBuilder, Codec, crc_of};
use jackdaw::time::Clock;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::bystander::Complaints;
use crate::victim::{Victim, alone};

/// Wrong lengths and counts as fixed numbers and as varints, which take the place of the right ones.
const LIES: [&[u8]; 7] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00],
    &[0x00],
    &[0x01],
    &[0x7e],
    &[0xfe, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];
/// The fields before it are set by the broker, or are not covered by the checksum and have checks of their own.
const ATTRIBUTES_AT: usize = 21;
const RECORDS_AT: usize = 61;
const POLL: Duration = Duration::from_millis(100);
const POLLS: usize = 900;

fn sound(codec: Codec) -> Vec<u8> {
    let now = Clock::machine().now();
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"name", Some(b"value")), (b"null", None)];
    let batch = BatchBuilder::new().codec(codec).record(now, Some(b"key"), Some(b"first"), &headers);
    batch.record(now, None, Some(b"second"), &[]).build().to_vec()
}

/// Corrects length and checksum, so that only the lie is wrong.
fn sealed(mut batch: Vec<u8>) -> Bytes {
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc_of(&batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

/// Each lie at each place of a batch: of its header, of its records, of records that are compressed behind it, and of
/// compressed bytes.
fn lying() -> Vec<Bytes> {
    let plain = sound(Codec::None);
    let with_lie = |batch: &[u8], place: usize, lie: &[u8]| {
        let rest = batch.get(place + lie.len().min(4)..).unwrap_or_default();
        [&batch[..place], lie, rest].concat()
    };
    let mut batches = Vec::new();
    for lie in LIES {
        let places = ATTRIBUTES_AT..plain.len();
        batches.extend(places.map(|place| sealed(with_lie(&plain, place, lie))));
        for place in RECORDS_AT..plain.len() {
            let mut packed = plain[..RECORDS_AT].to_vec();
            packed[ATTRIBUTES_AT + 1] |= Codec::Gzip.id();
            packed.extend(gzip(&with_lie(&plain, place, lie)[RECORDS_AT..]));
            batches.push(sealed(packed));
        }
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let packed = sound(codec);
            let places = (RECORDS_AT..packed.len()).step_by(3);
            batches.extend(places.map(|place| sealed(with_lie(&packed, place, lie))));
        }
    }
    batches
}

/// Reads a partition to its end; returns the offsets of the records.
fn read(address: &str, end: i64, complaints: &Complaints) -> Vec<i64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("group.id", "none").set("check.crcs", "true");
    config.set("enable.auto.commit", "false");
    let consumer: BaseConsumer<Complaints> = config.create_with_context(complaints.clone()).unwrap();
    let mut from_the_start = TopicPartitionList::new();
    from_the_start.add_partition_offset("t", 0, Offset::Beginning).unwrap();
    consumer.assign(&from_the_start).unwrap();
    let mut offsets = Vec::new();
    for _ in 0..POLLS {
        while let Some(message) = consumer.poll(POLL) {
            offsets.push(message.expect("a record that can be read").offset());
            if offsets.last() == Some(&(end - 1)) {
                return offsets;
            }
        }
    }
    panic!("{} of {end} records are read: {:?}", offsets.len(), complaints.all());
}

#[test]
fn of_batches_with_lying_lengths_librdkafka_gets_those_that_it_can_read_and_no_other() {
    alone(async {
        let victim = Victim::start().await;
        let mut attacker = victim.node.client().await;
        let mut refused = 0;
        for batch in lying() {
            let produced = attacker.produce("t", 0, batch).await;
            refused += usize::from(produced.error_code != 0);
        }
        let last = attacker.produce("t", 0, Bytes::from(sound(Codec::None))).await;
        assert_eq!(last.error_code, 0);
        let end = last.base_offset + 2;
        println!("{refused} batches are refused, {end} records are stored");
        // In the place of a value a wrong length is only another value, so that batch is stored.
        assert!(refused > 1_000 && end > 10, "{refused} {end}");

        let (address, complaints) = (victim.address().to_string(), Complaints::default());
        let heard = complaints.clone();
        let offsets = tokio::task::spawn_blocking(move || read(&address, end, &heard)).await.unwrap();
        assert_eq!(offsets, (0..end).collect::<Vec<_>>());
        assert_eq!(complaints.all(), [""; 0]);
    });
}
