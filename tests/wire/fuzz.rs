//! Fuzz targets: plain functions of bytes that panic if the codec is wrong. A fuzzer can call them; here they
//! run for a moment on mutations of the vectors, the same ones in every run.

use std::collections::BTreeMap;

use bytes::Bytes;
use jackdaw::protocol::messages::APIS;
use jackdaw::protocol::{Reader, RequestHeader};

use crate::inspect::{Codec, Kind, all};
use crate::source::Source;
use crate::vectors;

/// A request from a socket, without its size. Every request that can be read can be written again, and is
/// then read as the same message.
pub fn frame(data: &[u8], codecs: &[Codec]) -> bool {
    let mut input = Reader::new(Bytes::copy_from_slice(data));
    let Ok(header) = RequestHeader::read(&mut input) else { return false };
    let request =
        codecs.iter().find(|codec| codec.kind == Kind::Request && codec.key == Some(header.api_key));
    let body = data.len() - input.remaining();
    request.is_some_and(|codec| message(&data[body..], codec, header.api_version))
}

/// The body of any message.
pub fn message(data: &[u8], codec: &Codec, version: i16) -> bool {
    let Ok(once) = (codec.recode)(Bytes::copy_from_slice(data), version) else { return false };
    assert!(once.len() <= data.len(), "{} {version} grows", codec.name);
    let twice = (codec.recode)(once.clone(), version);
    assert_eq!(twice, Ok(once), "{} {version}", codec.name);
    true
}

/// One to four small changes: a bit, a byte, a wrong number, a piece removed, moved or doubled.
pub fn mutate(data: &mut Vec<u8>, source: &mut Source) {
    const NUMBERS: [u8; 7] = [0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe, 0x0f];
    for _ in 0..=source.below(4) {
        if data.is_empty() {
            return;
        }
        let at = source.below(data.len());
        let end = (at + 1 + source.below(8)).min(data.len());
        match source.below(6) {
            0 => data[at] ^= 1 << source.below(8),
            1 => data[at] = source.number() as u8,
            2 => data[at..end].fill(NUMBERS[source.below(NUMBERS.len())]),
            3 => drop(data.drain(at..end)),
            4 => data.truncate(at),
            _ => {
                let piece = data[at..end].to_vec();
                let place = source.below(data.len());
                data.splice(place..place, piece);
            }
        }
    }
}

#[test]
fn mutated_messages_never_panic_and_read_as_they_were_written() {
    let codecs = all();
    let mut source = Source::new(1);
    let mut accepted = 0;
    let mut tried = 0;
    for vector in vectors::all().iter().filter(|vector| vector.bytes.len() < 2000) {
        let Some(codec) = codecs.iter().find(|codec| codec.name == vector.name) else { continue };
        for _ in 0..10 {
            let mut data = vector.bytes.to_vec();
            mutate(&mut data, &mut source);
            tried += 1;
            accepted += usize::from(message(&data, codec, vector.version));
        }
    }
    // The mutations cover both cases: some are still messages, many are not.
    assert!(accepted > tried / 20 && accepted < tried, "{accepted} of {tried}");
}

#[test]
fn mutated_frames_of_every_key_never_panic_and_read_as_they_were_written() {
    let codecs = all();
    let mut source = Source::new(2);
    // By key: how many mutations were still requests of any key, and how many were not.
    let mut targets: BTreeMap<i16, (usize, usize)> = BTreeMap::new();
    for vector in vectors::all().iter().filter(|vector| vector.bytes.len() < 2000) {
        let (Some(key), Some(header)) = (vector.key, vector.header) else { continue };
        if !vector.name.ends_with("Request") {
            continue;
        }
        let mut frame =
            [&key.to_be_bytes()[..], &vector.version.to_be_bytes(), &[0, 0, 0, 7, 0, 1, b'c']].concat();
        frame.extend((header == 2).then_some(0));
        frame.extend(&vector.bytes);
        assert!(self::frame(&frame, &codecs), "{} {}", vector.name, vector.version);
        let (accepted, refused) = targets.entry(key).or_default();
        for _ in 0..10 {
            let mut data = frame.clone();
            mutate(&mut data, &mut source);
            if self::frame(&data, &codecs) {
                *accepted += 1;
            } else {
                *refused += 1;
            }
        }
    }
    let keys: Vec<i16> = targets.keys().copied().collect();
    assert_eq!(keys, APIS.iter().map(|api| api.key).collect::<Vec<_>>(), "every request body is a target");
    for (key, (accepted, refused)) in targets {
        assert!(accepted > 0 && refused > 0, "key {key}: {accepted} read, {refused} refused");
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    let codecs = all();
    let mut source = Source::new(3);
    for codec in &codecs {
        for version in codec.versions.clone() {
            for _ in 0..50 {
                let length = source.below(200);
                message(&source.bytes(length), codec, version);
            }
        }
    }
}
