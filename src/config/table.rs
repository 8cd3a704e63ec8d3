//! Kafka's settings that have no effect here. They are accepted, checked and shown. They are in
//! `tables/*.txt`, one per line:
//!
//! ```text
//! # why those below have no effect
//! name   type   default   when it may change   what it takes   =the broker's setting behind it
//! ```
//!
//! The default may be `null` or `""`. The time of changes is empty (only at start), `cluster`, `broker`
//! (not for all of a cluster at once) or `listener` (only with the name of a listener in front).

use super::check::Check;
use super::row::{Change, Row};
use super::value::Kind;

pub(super) const BROKER: &str = include_str!("tables/broker.txt");
pub(super) const TOPIC: &str = include_str!("tables/topic.txt");
pub(super) const GROUP: &str = include_str!("tables/group.txt");

/// The rows of a table. Call it once per table: its memory is never freed.
pub(super) fn rows(table: &'static str) -> Vec<Row> {
    let mut doc = "";
    let mut rows = Vec::new();
    for line in table.lines() {
        if let Some(why) = line.strip_prefix("# ") {
            doc = format!("Accepted, no effect here: {why}").leak();
        } else if !line.is_empty() {
            rows.push(row(line, doc));
        }
    }
    rows
}

fn row(line: &'static str, doc: &'static str) -> Row {
    let mut words = line.split_ascii_whitespace();
    let mut next = || words.next().unwrap_or_else(|| panic!("a name, a type and a default: {line}"));
    let (name, kind, default) = (next(), kind(next()), next());
    let default = match default {
        "null" => None,
        "\"\"" => Some(""),
        other => Some(other),
    };
    let mut row = Row {
        name,
        kind,
        default,
        check: Check::Any,
        change: Change::AtStart,
        acts: false,
        stands_in: &[],
        twin: None,
        doc,
    };
    for word in words {
        match word {
            "cluster" => row.change = Change::Dynamic,
            "broker" => row.change = Change::PerBroker,
            "listener" => row.change = Change::PerListener,
            _ => match word.strip_prefix('=') {
                Some(twin) => row.twin = Some(twin),
                None => row.check = check(word),
            },
        }
    }
    row
}

fn kind(word: &str) -> Kind {
    match word {
        "boolean" => Kind::Boolean,
        "string" => Kind::Text,
        "int" => Kind::Int,
        "short" => Kind::Short,
        "long" => Kind::Long,
        "double" => Kind::Double,
        "list" => Kind::List,
        "class" => Kind::Class,
        "password" => Kind::Password,
        other => panic!("a type of Kafka's: {other}"),
    }
}

fn check(word: &'static str) -> Check {
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("a number: {text}"));
    match word {
        "gzip-level" => Check::GzipLevel,
        "replicas" => Check::Replicas,
        "offset-reset" => Check::OffsetReset,
        _ => {
            if let Some(least) = word.strip_prefix("threads>=") {
                Check::Threads(number(least))
            } else if let Some(least) = word.strip_prefix(">=") {
                Check::AtLeast(number(least))
            } else if let Some((least, most)) = word.split_once("..") {
                Check::Between(number(least), number(most))
            } else if let Some(words) = word.strip_prefix("one-of:") {
                Check::OneOf(words.split(',').collect::<Vec<_>>().leak())
            } else {
                panic!("what a setting takes: {word}")
            }
        }
    }
}
