//! The fuzz targets of record batches: functions of bytes that panic if a batch is judged or read wrongly, and return
//! whether it was accepted.

use std::time::Duration;

use bytes::Bytes;
use jackdaw::record::{
    Codec, Record, RecordError, Rules, batches, check_produced, clean, first_since, keys, newest, records,
};
use jackdaw::types::{Offset, Timestamp};

use crate::forge::{Forged, NOW};
use crate::reference::{self, Accepted};

/// A topic with Kafka's default settings.
pub fn rules() -> Rules {
    const HOUR: u64 = 3_600_000;
    Rules {
        max_message_bytes: 1_048_588,
        segment_bytes: 1 << 30,
        max_decompressed_bytes: 2_147_483_639,
        compression: None,
        compacted: false,
        log_append_time: false,
        now: NOW,
        timestamp_before_max: Duration::from_millis(i64::MAX as u64),
        timestamp_after_max: Duration::from_millis(HOUR),
    }
}

/// Rules that accept every timestamp.
pub fn any_time() -> Rules {
    Rules { now: Timestamp(0), timestamp_after_max: Duration::MAX, max_message_bytes: u32::MAX, ..rules() }
}

/// The validator: a batch with the fields of the first bytes, and the rest as its records. An uncompressed one is judged
/// as the reference does, and if it is accepted, then also in every codec.
pub fn batch(data: &[u8]) -> bool {
    let Some((fields, payload)) = data.split_first_chunk::<8>() else { return false };
    let [attributes, count, delta, producer_id, producer_epoch, base_sequence, base, flags] = *fields;
    let signed = |byte: u8| byte.cast_signed();
    let batch = Forged {
        attributes: i16::from(attributes),
        count: signed(count).into(),
        last_offset_delta: i32::from(signed(count)) - 1 + i32::from(signed(delta)),
        producer_id: signed(producer_id).into(),
        producer_epoch: signed(producer_epoch).into(),
        base_sequence: signed(base_sequence).into(),
        base_timestamp: i64::from(signed(base)),
        max_timestamp: -1,
        payload: payload.to_vec(),
        ..Forged::empty()
    };
    let compacted = flags & 1 != 0;
    let rules = Rules { compacted, ..any_time() };
    let checked = check_produced(batch.bytes(), &rules);
    if attributes & 7 != 0 {
        return checked.is_ok();
    }
    let found = checked
        .map(|checked| Accepted { max_timestamp: checked.header.max_timestamp.0, newest: checked.newest });
    let expected = reference::judge(&batch, compacted, -i64::MAX);
    assert_eq!(found.ok(), expected, "{batch:?}");
    let Some(expected) = expected else { return false };
    for codec in Codec::ALL {
        let rules = Rules { compression: Some(codec), ..rules };
        let packed = check_produced(batch.bytes(), &rules).expect("it fits in every codec");
        let again = check_produced(packed.bytes, &rules).expect("our own batch is valid");
        assert_eq!(again.newest, expected.newest, "{codec:?}");
        assert_eq!(again.header.attributes.codec(), Ok(codec));
    }
    true
}

/// The walkers of records: any bytes in place of a batch, and in place of the records of a valid header.
pub fn walk(data: &[u8]) -> bool {
    any_bytes(data);
    let Some(([codec, count], payload)) = data.split_first_chunk() else { return false };
    any_records(codec & 7, i32::from(count & 31) + 1, payload)
}

/// Any bytes in place of a batch.
pub fn any_bytes(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = check_produced(bytes.clone(), &rules());
    for found in batches(&bytes) {
        let Ok((_, batch)) = found else { continue };
        if let Ok(records) = records(&batch) {
            records.for_each(drop);
        }
    }
}

/// Any bytes in place of the records of a batch, with a valid header and CRC. All readers must agree on the
/// result.
pub fn any_records(codec: u8, count: i32, bytes: &[u8]) -> bool {
    let batch = Forged {
        attributes: codec.into(),
        count,
        last_offset_delta: count - 1,
        max_timestamp: -1,
        payload: bytes.to_vec(),
        ..Forged::empty()
    };
    let batch = batch.bytes();
    let checked = check_produced(batch.clone(), &any_time());
    let read: Result<Vec<Record>, _> = records(&batch).and_then(|records| records.collect());
    let in_order =
        |records: &Vec<Record>| records.iter().enumerate().all(|(at, record)| record.offset.0 == at as i64);
    let found = first_since(&batch, Timestamp(i64::MAX), Offset(i64::MAX));
    let _ = clean(&batch, Timestamp(i64::MAX), Some(Duration::ZERO), |offset, _| offset.0 % 2 == 0);
    let checked = match checked {
        Ok(checked) => checked,
        // Readers here can read it.
        Err(RecordError::Invalid(why)) if why.contains("Kafka's consumers cannot read") => return false,
        Err(_) => {
            let too_old = |records: &Vec<Record>| records.iter().any(|record| record.timestamp.0 < -1);
            assert!(read.as_ref().map_or(true, |read| !in_order(read) || too_old(read)), "{read:?}");
            return false;
        }
    };
    let read = read.unwrap();
    assert!(in_order(&read));
    assert_eq!(read.len(), count as usize);
    let latest = read.iter().map(|record| record.timestamp).max().unwrap();
    assert_eq!(checked.header.max_timestamp, latest.max(Timestamp(-1)));
    assert_eq!(found, Ok(None));
    let of_keys: Vec<_> = keys(&batch).unwrap().map(Result::unwrap).collect();
    let of_records: Vec<_> = read.iter().map(|record| (record.offset, record.key.clone())).collect();
    assert_eq!(of_keys, of_records);
    assert_eq!(newest(&batch, Offset(0)).unwrap().map(|found| found.timestamp), Some(latest));
    true
}
