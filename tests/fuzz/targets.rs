//! Fuzz targets: functions of bytes that panic if something is wrong, and return whether the bytes were accepted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jackdaw::api::client_metrics::{Caller, ClientMetrics, Properties as Client, Push};
use jackdaw::config::{BrokerSettings, Given, Properties};
use jackdaw::coordinator::subscribed_topics;
use jackdaw::protocol::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use jackdaw::protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use jackdaw::protocol::{Message, Reader};
use jackdaw::record::Codec;
use jackdaw::types::{Uuid, WholePattern};
use regex::Regex;

/// A configuration file. Its entries are read again as they were, and the settings are accepted or refused.
pub fn properties(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(read) = Properties::parse(text) else { return false };
    let written: String =
        read.0.iter().map(|(name, value)| format!("{}={}\n", escaped(name), escaped(value))).collect();
    assert_eq!(Properties::parse(&written).as_ref(), Ok(&read), "{written:?}");
    let mut given = Given::default();
    given.set_all(&read, "a file");
    // Refusing them is as good as taking them.
    let _ = BrokerSettings::load(given);
    true
}

/// The text with each character that is not a plain letter as an escape.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match u32::from(letter) {
            code @ 0..0x10000 if !letter.is_ascii_alphanumeric() => escaped += &format!("\\u{code:04x}"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A consumer's subscription and assignment, which other clients wrote. The coordinator finds the topics that the codec
/// finds.
pub fn consumer_protocol(data: &[u8]) -> bool {
    let Some((version, rest)) = data.split_first_chunk() else { return false };
    let version = i16::from_be_bytes(*version);
    let known = |last: i16| version.min(last);
    let input = || Reader::new(Bytes::copy_from_slice(rest));
    let _ = ConsumerProtocolAssignment::decode(
        &mut input(),
        known(*ConsumerProtocolAssignment::VERSIONS.end()).max(0),
    );
    let topics = subscribed_topics(data);
    if version >= 0
        && let Ok(subscription) = ConsumerProtocolSubscription::decode(
            &mut input(),
            known(*ConsumerProtocolSubscription::VERSIONS.end()),
        )
    {
        let expected: Vec<&str> = subscription.topics.iter().map(String::as_str).collect();
        assert_eq!(topics.as_ref(), Some(&expected));
    }
    topics.is_some()
}

/// Metrics that a client pushes; the first byte is the compression.
pub fn telemetry(data: &[u8]) -> bool {
    const MEMORY: usize = 2_000;
    let Some((compression, metrics)) = data.split_first() else { return false };
    let (clients, id) = (ClientMetrics::new(MEMORY), Uuid([7; 16]));
    let now = Duration::from_secs(1_000);
    let caller = Caller { properties: Client::default(), stored: Arc::default(), now };
    let subscribed = clients.ask(id, &caller).expect("the first question");
    let push = Push {
        subscription: subscribed.id,
        is_terminating: false,
        codec: Codec::from_id(*compression),
        metrics: Bytes::copy_from_slice(metrics),
    };
    let is_taken = clients.push(id, &caller, &push, 1 << 16).is_ok();
    let pushed = clients.pushed(now);
    assert!(pushed.bytes <= MEMORY);
    for (name, _) in pushed.clients.iter().flat_map(|client| &client.series) {
        assert!(name.metric.starts_with("kafka_client_"));
        for word in name.labels.keys().chain([&name.metric]) {
            let is_read = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            assert!(word.chars().all(is_read) && !word.starts_with("__"), "{word}");
            assert!(word.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_'), "{word}");
        }
    }
    is_taken
}

/// A regular expression, and after a zero byte a text. Patterns of clients and of operators match the same texts: a
/// search with the pattern finds something in each of them, and where it finds the whole text, they match.
pub fn pattern(data: &[u8]) -> bool {
    let Ok(data) = std::str::from_utf8(data) else { return false };
    let (pattern, text) = data.split_once('\0').unwrap_or((data, "orders-1"));
    let client = |pattern: &str| WholePattern::of_client(pattern, 128 << 10);
    let Ok(of_client) = client(pattern) else { return false };
    let of_operator = WholePattern::of_operator(pattern).expect("its limit is above that of clients");
    let search = Regex::new(pattern).expect("the same without its end");
    // The text, and all its beginnings and ends.
    let mut parts = vec![text];
    parts.extend(text.char_indices().map(|(at, _)| &text[at..]));
    parts.extend(text.char_indices().map(|(at, _)| &text[..at]));
    for part in parts {
        let is_match = of_client.matches(part);
        assert_eq!(of_operator.matches(part), is_match, "{part:?}");
        match search.find(part) {
            None => assert!(!is_match, "nothing is found in {part:?}"),
            Some(found) if found.len() == part.len() => assert!(is_match, "all is found of {part:?}"),
            Some(_) => {}
        }
    }
    // A text as a pattern of its own matches itself, whatever the other alternative is.
    let literal: String = text.chars().map(|letter| format!("\\x{{{:x}}}", u32::from(letter))).collect();
    if let Ok(either) = client(&format!("{literal}|{pattern}")) {
        assert!(either.matches(text));
    }
    true
}
