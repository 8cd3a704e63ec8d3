//! Properties of all records, and the fuzz targets over random bytes and damaged batches.

use bytes::Bytes;
use jackdaw::record::{
    BatchBuilder, Codec, Header, Producer, Record, check_produced, first_since, newest, records,
};
use jackdaw::types::{Offset, ProducerEpoch, ProducerId, Timestamp};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::codecs::OF_KAFKA;
use crate::forge::NOW;
use crate::targets::{any_bytes, any_records, any_time};

fn some_bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        1 => (any::<u8>(), 0usize..40_000).prop_map(|(byte, count)| vec![byte; count].into()),
    ]
}

fn some_timestamp() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        4 => (NOW.0 - 100_000..NOW.0).prop_map(Timestamp),
        1 => Just(Timestamp(-1)),
        1 => any::<i64>().prop_map(Timestamp),
    ]
}

fn some_records() -> impl Strategy<Value = Vec<Record>> {
    let header = (some_bytes(), of(some_bytes()));
    let record = (some_timestamp(), of(some_bytes()), of(some_bytes()), vec(header, 0..4));
    vec(record, 1..30).prop_map(|records| {
        let place = |(index, (timestamp, key, value, headers))| Record {
            offset: Offset(index as i64),
            timestamp,
            key,
            value,
            headers,
        };
        records.into_iter().enumerate().map(place).collect()
    })
}

fn some_codec() -> impl Strategy<Value = Codec> {
    (0u8..5).prop_map(|id| Codec::from_id(id).unwrap())
}

fn built(codec: Codec, records: &[Record]) -> BatchBuilder {
    records.iter().fold(BatchBuilder::new().codec(codec), |batch, record| {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        batch.record(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers)
    })
}

fn read(batch: &Bytes) -> Vec<Record> {
    records(batch).unwrap().map(Result::unwrap).collect()
}

proptest! {
    // PROPTEST_CASES sets the number of cases.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn built_batches_are_read_again_as_they_were(codec in some_codec(), written in some_records(), base in 0..i64::MAX / 2) {
        prop_assert_eq!(&read(&built(codec, &written).build()), &written);
        let placed = built(codec, &written).base_offset(Offset(base)).build();
        for (read, written) in read(&placed).iter().zip(&written) {
            prop_assert_eq!(read.offset, Offset(base + written.offset.0));
        }
    }

    #[test]
    fn built_batches_keep_the_rules_and_pass_uncopied(codec in some_codec(), written in some_records()) {
        let producer = Producer { id: ProducerId(9), epoch: ProducerEpoch(1), base_sequence: i32::MAX };
        let batch = built(codec, &written).producer(producer).transactional().build();
        prop_assume!(written.iter().all(|record| record.timestamp.0 > i64::MIN + 1));
        let checked = check_produced(batch.clone(), &any_time()).unwrap();
        prop_assert_eq!(&checked.bytes, &batch);
        prop_assert_eq!(checked.bytes.as_ptr(), batch.as_ptr());
        prop_assert_eq!(checked.header.producer(), Some(producer));
        prop_assert_eq!(checked.header.count as usize, written.len());
        if let Some(delta) = checked.newest {
            prop_assert_eq!(newest(&batch, Offset(0)).unwrap().unwrap().offset.0, i64::from(delta));
        }
    }

    #[test]
    fn a_search_finds_what_a_look_at_every_record_finds(
        codec in some_codec(),
        written in some_records(),
        time in some_timestamp(),
        from in 0i64..30,
    ) {
        let batch = built(codec, &written).build();
        let expected = written.iter().find(|record| record.timestamp >= time && record.offset >= Offset(from));
        let found = first_since(&batch, time, Offset(from)).unwrap();
        prop_assert_eq!(found.map(|found| found.offset), expected.map(|record| record.offset));
        let latest = written.iter().map(|record| record.timestamp).max().unwrap();
        let expected = written.iter().find(|record| record.timestamp == latest);
        prop_assert_eq!(newest(&batch, Offset(0)).unwrap().map(|found| found.offset), expected.map(|record| record.offset));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..300)) {
        any_bytes(&bytes);
    }

    #[test]
    fn arbitrary_records_do_no_harm(codec in 0u8..8, count in 1i32..20, bytes in vec(any::<u8>(), 0..300)) {
        any_records(codec, count, &bytes);
    }

    #[test]
    fn damaged_records_do_no_harm(
        codec in some_codec(),
        written in some_records(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let batch = built(codec, &written);
        let mut payload = batch.build()[Header::LENGTH..].to_vec();
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        any_records(codec.id(), written.len() as i32, &payload);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_batches_of_kafka_do_no_harm(
        batch in prop::sample::select(OF_KAFKA),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let header = Header::parse(batch).unwrap();
        let mut payload = batch[Header::LENGTH..].to_vec();
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        any_records(header.attributes.codec().unwrap().id(), header.count, &payload);
    }
}
