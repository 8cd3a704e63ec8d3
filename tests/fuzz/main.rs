//! The fuzz targets that belong to no other test, over the committed corpus. `fuzz/README.md` lists all targets.

mod corpus;
#[cfg(feature = "security")]
mod logins;
#[cfg(feature = "security")]
mod security;
#[cfg(feature = "security")]
#[path = "../wire/source.rs"]
#[expect(dead_code, reason = "tests/wire uses the rest")]
mod source;
mod targets;

use corpus::replay;

fn properties() -> Vec<(String, Vec<u8>)> {
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

fn consumer_protocol() -> Vec<(String, Vec<u8>)> {
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

#[test]
fn configuration_files_of_the_corpus_are_read_as_they_were_written() {
    replay("properties", properties, targets::properties);
}

#[test]
fn subscriptions_of_the_corpus_are_read_as_the_clients_codec_does() {
    replay("consumer_protocol", consumer_protocol, targets::consumer_protocol);
}
