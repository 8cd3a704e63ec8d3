//! Bytes in scripts and in answers: record batches, subscriptions of consumers, hex.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value as Json, json};
use std::io::Write;

use super::value::Value;
#[cfg(feature = "security")]
use super::{scram, tokens};

pub type Entries = [(String, Value)];

/// The value of a script for a string, bytes or records.
pub fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Word(word) => word.as_bytes().to_vec(),
        Value::Call(name, entries) => match name.as_str() {
            "batch" => batch(entries),
            "repeat" => entries[0].1.word().repeat(entries[1].1.number() as usize).into_bytes(),
            "hex" => unhex(entries[0].1.word()),
            "join" => entries.iter().flat_map(|(_, value)| bytes_of(value)).collect(),
            "subscription" => subscription(entries),
            "plain" => entries.iter().map(|(_, part)| bytes_of(part)).collect::<Vec<_>>().join(&0),
            #[cfg(feature = "security")]
            "salted" => scram::salted(entries),
            #[cfg(feature = "security")]
            "proof" => scram::proof(entries),
            #[cfg(feature = "security")]
            "jwt" => tokens::jwt(entries),
            #[cfg(feature = "security")]
            "bearer" => tokens::bearer(entries),
            other => panic!("nothing is called {other}(…)"),
        },
        other => panic!("no bytes: {other:?}"),
    }
}

fn get<'a>(entries: &'a Entries, name: &str) -> Option<&'a Value> {
    entries.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn number(entries: &Entries, name: &str, default: i64) -> i64 {
    get(entries, name).map_or(default, Value::number)
}

/// `batch(values: [a, b], keys: [k, null], at: $now, producer: 5, epoch: 0, sequence: 0)`, with `gzip: 1` or
/// `transactional: 1`, any header
/// field that a client could set wrongly: `magic`, `count`, `crc`, `attributes` …; and `offsets: [0, 7]` if
/// the records have other offsets than 0, 1, 2 ….
fn batch(entries: &Entries) -> Vec<u8> {
    let list = |name| match get(entries, name) {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    let (values, keys, offsets) = (list("values"), list("keys"), list("offsets"));
    let at = number(entries, "at", 0);
    let step = number(entries, "step", 0);
    let mut payload = Vec::new();
    for (offset, value) in values.iter().enumerate() {
        let offset = offset as i64;
        let mut record = vec![0];
        signed(offset * step, &mut record);
        signed(offsets.get(offset as usize).map_or(offset, Value::number), &mut record);
        for part in [keys.get(offset as usize).unwrap_or(&Value::Null), value] {
            match part {
                Value::Null => signed(-1, &mut record),
                part => {
                    let bytes = bytes_of(part);
                    signed(bytes.len() as i64, &mut record);
                    record.extend(bytes);
                }
            }
        }
        record.push(0);
        signed(record.len() as i64, &mut payload);
        payload.extend(record);
    }
    let mut attributes = number(entries, "attributes", 0);
    if get(entries, "gzip").is_some() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&payload).expect("memory takes it");
        payload = encoder.finish().expect("memory takes it");
        attributes |= 1;
    }
    if get(entries, "transactional").is_some() {
        attributes |= 16;
    }
    if let Some(bytes) = get(entries, "payload") {
        payload = bytes_of(bytes);
    }
    let count = values.len() as i64;
    let mut bytes = Vec::new();
    let mut put = |size: usize, number: i64| bytes.extend(&number.to_be_bytes()[8 - size..]);
    put(8, number(entries, "offset", 0));
    put(4, number(entries, "length", 49 + payload.len() as i64));
    put(4, number(entries, "leader_epoch", -1));
    put(1, number(entries, "magic", 2));
    put(4, 0);
    put(2, attributes);
    put(4, number(entries, "last_delta", count - 1));
    put(8, at);
    put(8, number(entries, "max", at + step * (count - 1).max(0)));
    put(8, number(entries, "producer", -1));
    put(2, number(entries, "epoch", -1));
    put(4, number(entries, "sequence", -1));
    put(4, number(entries, "count", count));
    bytes.extend(payload);
    let crc = get(entries, "crc").map_or_else(|| crc32c::crc32c(&bytes[21..]), |crc| crc.number() as u32);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn signed(number: i64, out: &mut Vec<u8>) {
    super::codec::varint(((number << 1) ^ (number >> 63)) as u64, out);
}

/// `subscription(a, b)`: version 0 of a consumer's subscription.
fn subscription(topics: &Entries) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for (_, topic) in topics {
        let topic = bytes_of(topic);
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic);
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text as text, other bytes as hex.
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) => text.to_owned(),
        _ => format!("hex {}", hex(bytes)),
    }
}

/// Batches as a reader sees them: their headers, and the records unless they are compressed.
pub fn show(bytes: &[u8]) -> Json {
    let mut batches = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some((batch, after)) = one(rest) else {
            batches.push(json!(format!("{} bytes of a batch that is cut off", rest.len())));
            break;
        };
        batches.push(batch);
        rest = after;
    }
    Json::Array(batches)
}

fn one(bytes: &[u8]) -> Option<(Json, &[u8])> {
    let at = |from: usize, size: usize| {
        let bytes = bytes.get(from..from + size)?;
        let first = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        Some(bytes.iter().fold(first, |number, byte| number << 8 | i64::from(*byte)))
    };
    let end = 12 + usize::try_from(at(8, 4)?).ok()?;
    let body = bytes.get(61..end)?;
    let attributes = at(21, 2)?;
    let is_sound = crc32c::crc32c(bytes.get(21..end)?) == at(17, 4)? as u32;
    let mut batch = json!({
        "base_offset": at(0, 8)?, "leader_epoch": at(12, 4)?, "magic": at(16, 1)?, "attributes": attributes,
        "last_delta": at(23, 4)?, "base_timestamp": at(27, 8)?, "max_timestamp": at(35, 8)?,
        "producer": at(43, 8)?, "epoch": at(51, 2)?, "sequence": at(53, 4)?, "count": at(57, 4)?,
        "crc": if is_sound { "right" } else { "wrong" },
    });
    batch["body"] = if attributes & 7 == 0 { json!(readable(body)) } else { json!("packed") };
    Some((batch, &bytes[end..]))
}
