//! `docs/settings.md`, printed from the rows.

use std::fmt::Write;

use super::row::{Check, Row};
use super::{broker, topic};

/// The page as it should be committed.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    let (ours, kafkas): (Vec<&Row>, Vec<&Row>) = broker::rows().iter().partition(|row| row.is_ours());
    section(&mut page, "Of the broker, as in Kafka", &kafkas, of_broker);
    section(&mut page, "Of the broker, ours alone", &ours, of_broker);
    let topics: Vec<&Row> = topic::rows().iter().collect();
    section(&mut page, "Of a topic", &topics, of_topic);
    page
}

const HEAD: &str = "\
# Settings

Printed from the rows in `src/config`; `cargo test --test docs` compares. Names, types and defaults are Apache
Kafka's unless the text says otherwise. A name that stands nowhere here is warned of and has no effect; on a topic it
is refused.

What is set by `--set NAME=VALUE` or another flag goes before environment variables, those before the file that
`--config` names, and that before the default; `--print-config` shows each value and where it comes from. A variable
is named as in the image `apache/kafka`: `KAFKA_` and the name in capitals, with `_` for a dot, `__` for an underscore
and `___` for a dash, as in `KAFKA_LOG_RETENTION_MS`; `CLUSTER_ID` is the cluster id. What is meant for a JVM
(`KAFKA_HEAP_OPTS`, `KAFKA_JMX_…` and their like) is accepted. `KAFKA_ADVERTISED_LISTENERS` without `KAFKA_LISTENERS`
listens at the same ports, at every address.
";

fn section(page: &mut String, title: &str, rows: &[&Row], explain: fn(&Row) -> String) {
    let _ = writeln!(page, "\n## {title}\n\n| name | type | default | accepted | |\n|---|---|---|---|---|");
    for row in rows {
        let (name, kind) = (row.name, row.kind.name().to_lowercase());
        let _ =
            writeln!(page, "| `{name}` | {kind} | {} | {} | {} |", default(row), accepted(row), explain(row));
    }
}

fn default(row: &Row) -> String {
    match row.default {
        Some("") | None => "–".to_owned(),
        Some(default) if default == i64::MAX.to_string() => "no limit".to_owned(),
        Some(default) => format!("`{default}`"),
    }
}

fn accepted(row: &Row) -> String {
    match row.check {
        Check::Any => String::new(),
        Check::AtLeast(least) => format!("≥ {least}"),
        Check::OneOf(known) => known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Check::OnlyYet { works, .. } => format!("`{works}`"),
    }
}

fn of_broker(row: &Row) -> String {
    if let Some(topics) = row.twin {
        return format!("What topics take that do not set `{topics}`.");
    }
    let mut text = row.doc.trim().to_owned();
    if !row.stands_in.is_empty() {
        let others: Vec<String> = row.stands_in.iter().map(|(name, _)| format!("`{name}`")).collect();
        text.push_str(&format!(" Without it {} is taken.", others.join(", else ")));
    }
    text
}

fn of_topic(row: &Row) -> String {
    let twin = row.twin.map(|twin| format!(" Else the broker's `{twin}`.")).unwrap_or_default();
    row.doc.trim().to_owned() + &twin
}
