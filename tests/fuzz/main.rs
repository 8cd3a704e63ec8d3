//! The fuzz targets that belong to no other test, over the committed corpus. `fuzz/README.md` lists all targets.

mod corpus;
#[cfg(feature = "security")]
mod logins;
mod mutated;
#[cfg(feature = "security")]
mod security;
#[path = "../wire/source.rs"]
#[expect(dead_code, reason = "tests/wire uses the rest")]
mod source;
mod targets;

use corpus::{Seeds, replay};
use mutated::mutated;

fn properties() -> Seeds {
    let seeds = [
        ("plain", "node.id=3\nlog.dirs = /data\n"),
        ("separators", "a=1\nb: 2\nc 3\nd\n  e   =  4 \n"),
        ("comments", "# one\n! two\n\n#\\\nnode.id=1\n"),
        ("continued", "listeners=PLAINTEXT://:9092,\\\n    OTHER://:9093\\\n"),
        ("escapes", "a\\=b=c\\u0041\\t\\n\\:\\\\\n"),
        ("bad-escape", "a=\\u00g1\n"),
        ("lone-surrogate", "a=\\ud800\n"),
        ("cut-escape", "a=\\u12"),
        ("odd-backslashes", "a=\\\\\\\n b"),
        ("unicode", "größe=1 µs\r\nb=\u{2028}\n"),
    ];
    seeds.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into()
}

fn consumer_protocol() -> Seeds {
    let seeds: [(&str, &[u8]); 8] = [
        ("two-topics", b"\0\0\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff"),
        ("version-3", b"\0\x03\0\0\0\x01\0\x01a\xff\xff\xff\xff\0\0\0\0\0\0\0\x07\0\x01r"),
        ("assignment", b"\0\0\0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x01\xff\xff\xff\xff"),
        ("later-version", b"\0\x7f\0\0\0\x01\0\x01aand more"),
        ("negative-version", b"\xff\xff\0\0\0\0"),
        ("huge-count", b"\0\0\x7f\xff\xff\xff"),
        ("no-utf-8", b"\0\0\0\0\0\x01\0\x01\xff"),
        ("cut", b"\0\0\0\0\0\x01\0\x09a"),
    ];
    seeds.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).into()
}

/// The compression, and then a gauge with the attribute `topic`, a sum of differences, and a histogram.
fn telemetry() -> Seeds {
    let gauge = b"\x0a\x41\x12\x3f\x12\x3d\x0a\x1dorg.apache.kafka.consumer.lag\x2a\x1c\x0a\x1a\x21\0\0\0\0\0\0\x04\x40\x3a\x0f\x0a\x05topic\x12\x06\x0a\x04jobs";
    let sum = b"\x0a\x1a\x12\x18\x12\x16\x0a\x03a.b\x3a\x0f\x0a\x09\x21\0\0\0\0\0\0\xf0\x3f\x10\x01\x18\x01";
    let histogram = b"\x0a\x0b\x12\x09\x12\x07\x0a\x01h\x4a\x02\x0a\0";
    let seeds: [(&str, u8, &[u8]); 7] = [
        ("gauge", 0, gauge),
        ("sum", 0, sum),
        ("histogram", 0, histogram),
        ("cut", 0, &gauge[..40]),
        ("gzip", 1, b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xe3\x62\0\0\x75\xfa\x36\xbb\x02\0\0\0"),
        ("zstd-of-zeros", 4, &[0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xa0, 0x86, 0x01, 0x00, 0x03, 0x35, 0x0c, 0x00]),
        ("unknown-compression", 9, gauge),
    ];
    seeds.map(|(name, compression, metrics)| (name.to_owned(), [&[compression], metrics].concat())).into()
}

#[test]
fn metrics_of_the_corpus_stay_within_the_memory_and_have_names_that_prometheus_reads() {
    replay("telemetry", telemetry, targets::telemetry);
}

#[test]
fn mutated_metrics_stay_within_the_memory_and_have_names_that_prometheus_reads() {
    mutated(telemetry(), targets::telemetry);
}

fn pattern() -> Seeds {
    let seeds = [
        ("prefix", "orders-.*\0orders-1"),
        ("second-alternative", "a|ab\0ab"),
        ("part-of-the-text", "rder\0orders"),
        ("comment", "(?x) a b # c\0ab"),
        ("lines", "(?m)^a$\0a\nb"),
        ("classes", "[\\w&&[^\\d]]+\\b-\\p{N}?\0größe-1"),
        ("nested-counts", "((a{1,9}){1,9}){1,9}\0aaaa"),
        ("two-halves", "a)|(?:b\0b"),
        ("look-ahead", "a(?=b)\0a"),
        ("back-reference", "(a)\\1\0aa"),
        ("too-large", "a{1000}{1000}\0a"),
        ("unfinished", "[a-\0a"),
    ];
    seeds.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into()
}

#[test]
fn configuration_files_of_the_corpus_are_read_as_they_were_written() {
    replay("properties", properties, targets::properties);
}

#[test]
fn subscriptions_of_the_corpus_are_read_as_the_clients_codec_does() {
    replay("consumer_protocol", consumer_protocol, targets::consumer_protocol);
}

#[test]
fn patterns_of_the_corpus_match_a_whole_text_or_not_at_all() {
    replay("pattern", pattern, targets::pattern);
}

#[test]
fn mutated_patterns_match_a_whole_text_or_not_at_all() {
    mutated(pattern(), targets::pattern);
}
