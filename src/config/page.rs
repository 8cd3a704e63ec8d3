//! Prints `docs/settings.md` from the rows.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::check::Check;
use super::row::{Change, Row};
use super::{broker, client_metrics, group, topic};

/// The page as it has to be committed.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    let (ours, kafkas): (Vec<&Row>, Vec<&Row>) = broker::rows().iter().partition(|row| row.is_ours());
    section(&mut page, "Of the broker, as in Kafka", &kafkas, of_broker, " *");
    section(&mut page, "Of the broker, ours alone", &ours, of_broker, "");
    section(&mut page, "Of a topic", &topic::rows().iter().collect::<Vec<_>>(), of_topic, "");
    let subscription: Vec<&Row> = client_metrics::rows().iter().collect();
    section(&mut page, "Of a client metrics subscription", &subscription, of_broker, "");
    page.push_str(IDLE);
    idle(&mut page, "Of the broker", broker::rows());
    idle(&mut page, "Of a topic", topic::rows());
    idle(&mut page, "Of a group", group::rows());
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

A name with a * may be altered while the broker runs (`kafka-configs`, any admin client): for all brokers or for one.
What is altered for one broker goes before what is altered for all, and that before what it was started with. All of
a topic's settings may be altered. What is altered holds at once, also for what was there before, and is still there
after a restart.
";

const IDLE: &str = "
## Accepted, no effect here

Settings of Kafka's that nothing depends on here. They are checked, shown to clients and stored as in Kafka, so that
files and programs written for Kafka need no change.
";

fn section(page: &mut String, title: &str, rows: &[&Row], explain: fn(&Row) -> String, mark: &str) {
    let _ = writeln!(page, "\n## {title}\n\n| name | type | default | accepted | |\n|---|---|---|---|---|");
    for row in rows.iter().filter(|row| row.acts) {
        let (name, kind) = (row.name, row.kind.name().to_lowercase());
        let mark = if row.change == Change::Dynamic { mark } else { "" };
        let _ = writeln!(
            page,
            "| `{name}`{mark} | {kind} | {} | {} | {} |",
            default(row),
            accepted(row),
            explain(row)
        );
    }
}

/// Settings without an effect, grouped by the reason.
fn idle(page: &mut String, title: &str, rows: &[Row]) {
    let mut by_why: Vec<(&str, Vec<&Row>)> = Vec::new();
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.acts) {
        let place = *at.entry(row.doc).or_insert_with(|| {
            by_why.push((row.doc, Vec::new()));
            by_why.len() - 1
        });
        by_why[place].1.push(row);
    }
    let _ = writeln!(page, "\n### {title}");
    for (why, rows) in by_why {
        let why = why.rsplit_once("here: ").map_or(why, |(_, why)| why);
        let names: Vec<String> = rows.iter().map(|row| format!("`{}`", row.name)).collect();
        let _ = writeln!(page, "\n- {why} {}", names.join(", "));
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
        Check::Any | Check::GzipLevel | Check::Replicas | Check::OffsetReset | Check::PerAddress => {
            String::new()
        }
        Check::AtLeast(least) | Check::Threads(least) => format!("≥ {least}"),
        Check::Between(least, most) => format!("{least} to {most}"),
        Check::OneOf(known) => known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
    }
}

fn of_broker(row: &Row) -> String {
    if let Some(topics) = row.twin {
        return format!("The value of `{topics}` for topics that do not set it.");
    }
    let mut text = row.doc.trim().to_owned();
    if !row.stands_in.is_empty() {
        let others: Vec<String> = row.stands_in.iter().map(|(name, _)| format!("`{name}`")).collect();
        text.push_str(&format!(" If it is not set, {} is used.", others.join(", else ")));
    }
    text
}

fn of_topic(row: &Row) -> String {
    let twin = row.twin.map(|twin| format!(" Else the broker's `{twin}`.")).unwrap_or_default();
    row.doc.trim().to_owned() + &twin
}
