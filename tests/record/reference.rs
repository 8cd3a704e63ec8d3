//! The rules for batches of clients once more, as plainly as possible: `check_produced` must agree.

use crate::forge::Forged;

/// The outcome for a batch that is accepted: its maximum timestamp, and the number of the first record with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    pub max_timestamp: i64,
    pub newest: Option<i32>,
}

/// `None` if the uncompressed batch is refused. If the topic is `compacted`, every record needs a key. Timestamps are
/// valid from `earliest` on.
pub fn judge(batch: &Forged, compacted: bool, earliest: i64) -> Option<Accepted> {
    const CONTROL: i16 = 1 << 5;
    let is_wrong = batch.count <= 0
        || i64::from(batch.last_offset_delta) != i64::from(batch.count) - 1
        || batch.attributes & CONTROL != 0
        || (batch.producer_id >= 0 && (batch.producer_epoch < 0 || batch.base_sequence < 0));
    if is_wrong {
        return None;
    }
    let mut rest = &batch.payload[..];
    let mut accepted = Accepted { max_timestamp: -1, newest: None };
    let mut is_refused = false;
    for number in 0..batch.count {
        let length = varint(&mut rest)?;
        let mut record = take(&mut rest, length)?;
        take(&mut record, 1)?;
        let timestamp = batch.base_timestamp.wrapping_add(varlong(&mut record)?);
        if varint(&mut record)? != i64::from(number) {
            return None;
        }
        let key = varint(&mut record)?;
        take(&mut record, key.max(0))?;
        let value = varint(&mut record)?;
        take(&mut record, value.max(0))?;
        let headers = varint(&mut record)?;
        if headers < 0 {
            return None;
        }
        for _ in 0..headers {
            let name = varint(&mut record)?;
            take(&mut record, name)?;
            let value = varint(&mut record)?;
            take(&mut record, value.max(0))?;
        }
        if !record.is_empty() {
            return None;
        }
        is_refused |= (compacted && key < 0) || (timestamp != -1 && timestamp < earliest);
        if timestamp > accepted.max_timestamp {
            accepted = Accepted { max_timestamp: timestamp, newest: Some(number) };
        }
    }
    (rest.is_empty() && !is_refused).then_some(accepted)
}

/// None if the length is negative or more than is left.
fn take<'a>(rest: &mut &'a [u8], length: i64) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(taken)
}

/// A zigzag number of at most 32 bits.
fn varint(rest: &mut &[u8]) -> Option<i64> {
    let bits = groups(rest, 5)? & 0xffff_ffff;
    Some(i64::from((bits >> 1) as i32 ^ -((bits & 1) as i32)))
}

/// A zigzag number of at most 64 bits.
fn varlong(rest: &mut &[u8]) -> Option<i64> {
    let bits = groups(rest, 10)?;
    Some((bits >> 1) as i64 ^ -((bits & 1) as i64))
}

/// Groups of seven bits, the lowest first; all but the last one have their highest bit set.
fn groups(rest: &mut &[u8], most: usize) -> Option<u64> {
    let mut bits = 0u128;
    for group in 0..most {
        let byte = take(rest, 1)?[0];
        bits |= u128::from(byte & 0x7f) << (7 * group);
        if byte < 0x80 {
            return Some(bits as u64);
        }
    }
    None
}
