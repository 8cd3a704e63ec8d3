//! Bytes from Apache Kafka 4.4's own classes, with the values that they stand for: every message in every
//! version. The file `vectors.jsonl.gz` beside this one has 12 samples of each (seed 1); `WIRE_VECTORS=FILE
//! cargo test --test wire` uses another file.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::{env, fs};

use bytes::Bytes;
use jackdaw::protocol::messages::APIS;
use jackdaw::protocol::{self, Reader, RequestHeader, Writer};
use serde_json::Value as Json;

use crate::inspect::{self, Codec, Kind, codec};

pub struct Vector {
    pub name: String,
    pub key: Option<i16>,
    pub version: i16,
    pub kind: String,
    pub header: Option<i16>,
    pub bytes: Bytes,
    /// The bytes without unknown tagged fields.
    pub known: Bytes,
    pub json: Json,
}

pub fn all() -> &'static [Vector] {
    static ALL: LazyLock<Vec<Vector>> = LazyLock::new(read);
    &ALL
}

fn read() -> Vec<Vector> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire/vectors.jsonl.gz");
    let path = env::var_os("WIRE_VECTORS").map_or(beside, PathBuf::from);
    let packed = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::MultiGzDecoder::new(packed.as_slice()).read_to_string(&mut text).expect("a gzip file");
    } else {
        text = String::from_utf8(packed).expect("a text file");
    }
    text.lines().map(vector).collect()
}

fn vector(line: &str) -> Vector {
    let mut line: Json = serde_json::from_str(line).expect("a line is JSON");
    let number = |name: &str| line[name].as_i64().map(|number| i16::try_from(number).expect("16 bits"));
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let suffix = match line["dir"].as_str() {
        Some("request") => "Request",
        Some("response") => "Response",
        _ => "",
    };
    let hex = text("hex").expect("the bytes");
    Vector {
        name: format!("{}{suffix}", text("name").expect("a name")),
        key: number("api"),
        version: number("version").expect("a version"),
        kind: text("kind").expect("a kind"),
        header: number("header"),
        known: unhex(&text("known_hex").unwrap_or_else(|| hex.clone())),
        bytes: unhex(&hex),
        json: line["json"].take(),
    }
}

fn unhex(text: &str) -> Bytes {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The codec of a vector; `None` for messages between brokers and for stored records.
fn codec_of(vector: &Vector) -> Option<Codec> {
    let found = codec(&vector.name);
    let ours = vector.key.is_some() || vector.name.starts_with("ConsumerProtocol");
    assert_eq!(found.is_some(), ours, "{}", vector.name);
    found
}

fn with_codecs(mut check: impl FnMut(&Codec, &Vector)) -> usize {
    let mut checked = 0;
    let mut last: Option<Codec> = None;
    for vector in all() {
        if last.as_ref().is_none_or(|codec| codec.name != vector.name) {
            last = codec_of(vector);
        }
        if let Some(codec) = &last {
            check(codec, vector);
            checked += 1;
        }
    }
    checked
}

#[test]
fn every_field_and_every_byte_is_as_kafka_wrote_it() {
    let mut wrong = Vec::new();
    let checked = with_codecs(|codec, vector| {
        let place = format!("{} version {} {}", vector.name, vector.version, vector.kind);
        match (codec.check)(vector.bytes.clone(), vector.version, &vector.json) {
            Err(error) => wrong.push(format!("{place}: {error}")),
            Ok(bytes) if bytes != vector.known => {
                let same =
                    bytes.iter().zip(&vector.known).take_while(|(ours, theirs)| ours == theirs).count();
                wrong.push(format!("{place}: wrote other bytes from {same} on"));
            }
            Ok(_) => {}
        }
    });
    assert!(
        wrong.is_empty(),
        "{} of {checked} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    assert!(checked > 0, "no vectors in the file");
    print(checked);
}

/// Prints the number of comparisons past the test harness, which captures other output.
fn print(checked: usize) {
    let codecs = inspect::all();
    let versions: usize = codecs.iter().map(|codec| codec.versions.clone().count()).sum();
    let line = format!(
        "wire: {} keys, {} messages in {versions} versions, {checked} vectors of Kafka's own bytes\n",
        APIS.len(),
        codecs.len()
    );
    io::stdout().write_all(line.as_bytes()).expect("a line can be printed");
}

#[test]
fn all_73_keys_that_a_client_may_send_are_here_both_ways() {
    let keys = |kind: Kind| -> Vec<i16> {
        inspect::all().iter().filter(|codec| codec.kind == kind).filter_map(|codec| codec.key).collect()
    };
    let all: Vec<i16> = APIS.iter().map(|api| api.key).collect();
    assert_eq!(all.len(), 73);
    assert_eq!(keys(Kind::Request), all);
    assert_eq!(keys(Kind::Response), all);
    // Kafka's file has a request and a response for each of them, too.
    let of_clients = |vector: &&Vector| vector.key.is_some();
    let named: BTreeSet<(i16, &str)> = self::all()
        .iter()
        .filter(of_clients)
        .map(|vector| (vector.key.unwrap_or_default(), vector.name.as_str()))
        .collect();
    assert_eq!(named.len(), 2 * all.len());
}

#[test]
fn every_message_and_version_has_vectors() {
    let mut missing: Vec<(&str, i16)> = Vec::new();
    let vectors = all();
    for codec in inspect::all() {
        for version in codec.versions.clone() {
            if !vectors.iter().any(|vector| vector.name == codec.name && vector.version == version) {
                missing.push((codec.name, version));
            }
        }
    }
    assert_eq!(missing, []);
    for vector in vectors {
        let Some(codec) = codec_of(vector) else { continue };
        assert!(codec.versions.contains(&vector.version), "{} {}", vector.name, vector.version);
    }
}

#[test]
fn a_message_in_which_nothing_is_set_holds_kafkas_defaults() {
    let mut checked = 0;
    with_codecs(|codec, vector| {
        if vector.kind == "default" {
            let fresh = (codec.fresh)(vector.version);
            assert_eq!(fresh.as_ref(), Ok(&vector.known), "{} {}", vector.name, vector.version);
            checked += 1;
        }
    });
    assert!(checked > 0);
}

#[test]
fn a_message_that_is_cut_off_is_refused() {
    with_codecs(|codec, vector| {
        let length = vector.bytes.len();
        for end in (0..length).filter(|end| *end < 300 || *end + 100 > length || end % 1009 == 0) {
            let cut = (codec.decode)(vector.bytes.slice(..end), vector.version);
            assert!(cut.is_err(), "{} {} at {end}", vector.name, vector.version);
        }
    });
}

#[test]
fn a_message_with_a_byte_too_many_is_refused() {
    with_codecs(|codec, vector| {
        let longer: Bytes = [&vector.bytes[..], &[0]].concat().into();
        let refused = (codec.decode)(longer, vector.version);
        assert_eq!(refused, Err(protocol::WireError::LeftOver(1)), "{} {}", vector.name, vector.version);
    });
}

#[test]
fn a_version_that_does_not_exist_is_refused() {
    for codec in inspect::all() {
        for version in [codec.versions.start() - 1, codec.versions.end() + 1, i16::MIN, i16::MAX] {
            assert_eq!((codec.decode)(Bytes::new(), version), Err(protocol::WireError::Version(version)));
            assert_eq!((codec.fresh)(version), Err(protocol::WireError::Version(version)));
        }
    }
}

#[test]
fn headers_have_the_version_that_kafka_gives_them() {
    for vector in all() {
        let (Some(key), Some(header)) = (vector.key, vector.header) else { continue };
        let ours = match codec_of(vector).map(|codec| codec.kind) {
            Some(Kind::Request) => protocol::request_header_version(key, vector.version),
            _ => Some(protocol::response_header_version(key, vector.version)),
        };
        assert_eq!(ours, Some(header), "{} {}", vector.name, vector.version);
    }
}

#[test]
fn request_headers_are_read_and_written_as_kafka_does() {
    // The vectors have random keys. Metadata has header 1 up to version 8, then 2.
    let mut checked = 0;
    for vector in all().iter().filter(|vector| vector.name == "RequestHeader") {
        let version: i16 = if vector.version == 1 { 8 } else { 9 };
        let place = [0, 3, 0, version as u8];
        let patched = |bytes: &Bytes| Bytes::from([&place[..], &bytes[4..]].concat());
        let mut input = Reader::new(patched(&vector.bytes));
        let header = RequestHeader::read(&mut input).expect("a header");
        input.finish().expect("the whole header");
        assert_eq!(Some(header.correlation_id.into()), vector.json["correlationId"].as_i64());
        assert_eq!(header.client_id.as_deref(), vector.json["clientId"].as_str());
        let mut out = Writer::new();
        header.write(&mut out).expect("can be written");
        assert_eq!(out.into_bytes(), patched(&vector.known));
        for end in 0..vector.bytes.len().min(300) {
            let mut cut = Reader::new(patched(&vector.bytes).slice(..end));
            assert!(RequestHeader::read(&mut cut).is_err(), "{end}");
        }
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn response_headers_are_read_and_written_as_kafka_does() {
    let mut checked = 0;
    for vector in all().iter().filter(|vector| vector.name == "ResponseHeader") {
        let version = if vector.version == 0 { 8 } else { 9 };
        let mut input = Reader::new(vector.bytes.clone());
        let correlation = protocol::read_response_header(&mut input, 3, version).expect("a header");
        input.finish().expect("the whole header");
        assert_eq!(Some(correlation.into()), vector.json["correlationId"].as_i64());
        let mut out = Writer::new();
        protocol::write_response_header(&mut out, 3, version, correlation);
        assert_eq!(out.into_bytes(), vector.known);
        checked += 1;
    }
    assert!(checked > 0);
}
