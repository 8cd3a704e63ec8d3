//! The fuzz targets over mutations of the vectors, the same ones in every run, and over the committed corpus.

use std::collections::BTreeMap;

use jackdaw::protocol::messages::APIS;

use crate::corpus::replay;
use crate::inspect::all;
use crate::recode::{self, message};
use crate::source::Source;
use crate::vectors::{self, Vector};

/// The frame of a request, and its key.
fn request_frame(vector: &Vector) -> Option<(i16, Vec<u8>)> {
    let (key, header) = (vector.key?, vector.header?);
    if !vector.name.ends_with("Request") {
        return None;
    }
    let mut frame =
        [&key.to_be_bytes()[..], &vector.version.to_be_bytes(), &[0, 0, 0, 7, 0, 1, b'c']].concat();
    frame.extend((header == 2).then_some(0));
    frame.extend(&vector.bytes);
    Some((key, frame))
}

/// The largest small request of each key, as it is and with wrong bytes.
fn frames() -> Vec<(String, Vec<u8>)> {
    let mut largest: BTreeMap<i16, (Vec<u8>, i16)> = BTreeMap::new();
    for vector in vectors::all().iter().filter(|vector| vector.bytes.len() < 300) {
        let Some((key, frame)) = request_frame(vector) else { continue };
        let known = largest.entry(key).or_default();
        if frame.len() > known.0.len() {
            *known = (frame, vector.version);
        }
    }
    let mut source = Source::new(4);
    let mut seeds = Vec::new();
    for (key, (mut frame, version)) in largest {
        seeds.push((format!("{key}-{version}"), frame.clone()));
        if key % 4 == 0 {
            source.mutate(&mut frame);
            seeds.push((format!("{key}-{version}-mutated"), frame));
        }
    }
    seeds
}

#[test]
fn the_frames_of_the_corpus_never_panic_and_read_as_they_were_written() {
    let codecs = all();
    replay("frame", frames, |data| recode::frame(data, &codecs));
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
            source.mutate(&mut data);
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
        let Some((key, frame)) = request_frame(vector) else { continue };
        assert!(recode::frame(&frame, &codecs), "{} {}", vector.name, vector.version);
        let (accepted, refused) = targets.entry(key).or_default();
        for _ in 0..10 {
            let mut data = frame.clone();
            source.mutate(&mut data);
            if recode::frame(&data, &codecs) {
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
