//! Prints `docs/settings.md` from the rows.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::check::Check;
use super::row::{Change, Row};
use super::{broker, client_metrics, group, logins, topic};

/// The page as it has to be committed.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    let (ours, kafkas): (Vec<&Row>, Vec<&Row>) = broker::rows().iter().partition(|row| row.is_ours());
    section(&mut page, "Of the broker, as in Kafka", &kafkas, of_broker, mark);
    section(&mut page, "Of the broker, ours alone", &ours, of_broker, mark);
    let none = |_: &Row| "";
    section(&mut page, "Of a topic", &topic::rows().iter().collect::<Vec<_>>(), of_topic, none);
    let subscription: Vec<&Row> = client_metrics::rows().iter().collect();
    section(&mut page, "Of a client metrics subscription", &subscription, of_broker, none);
    page.push_str(IDLE);
    idle(&mut page, "Of the broker", broker::rows());
    idle(&mut page, "Of a topic", topic::rows());
    idle(&mut page, "Of a group", group::rows());
    page
}

const HEAD: &str = "\
# Settings

This page is generated from the rows in `src/config`; `cargo test --test docs` compares it. Names, types and defaults are
Apache Kafka's unless the text says otherwise. A setting that is not on this page has no effect, and the log warns of it; on
a topic it is refused.

Flags (`--set NAME=VALUE` and others) take precedence over environment variables, those over the file of `--config`, and the
file over the defaults. `--print-config` shows each value and its source. A variable is named as in the image
`apache/kafka`: `KAFKA_` and the name in capitals, with `_` for a dot, `__` for an underscore and `___` for a dash, as in
`KAFKA_LOG_RETENTION_MS`; `CLUSTER_ID` is the cluster id. Variables for a JVM (`KAFKA_HEAP_OPTS`, `KAFKA_JMX_…`) are accepted
and have no effect. `KAFKA_ADVERTISED_LISTENERS` without `KAFKA_LISTENERS` listens at the same ports, at every address.

A setting with * can be altered while the broker runs (`kafka-configs.sh`, any admin client): for all brokers or for one. A
setting with † can be altered for one broker, with the prefix of a listener (`listener.name.NAME.`). All settings of topics,
groups and client metrics subscriptions can be altered. A value for one broker takes precedence over one for all brokers,
and both over the values of the start. A change takes effect at once, also for existing topics and data, and survives a
restart.

SIGHUP reads the file again. Settings with * take effect at once, and so do settings with the prefix of a listener, except
those that decide which tokens are trusted. The log names the others, which take effect at the next start.
";

const IDLE: &str = "
## Accepted, no effect here

Settings of Kafka's that nothing depends on here. They are checked, shown to clients and stored as in Kafka, so that
files and programs written for Kafka need no change.
";

/// How the setting can be altered while the broker runs: the text at the beginning of the page explains the marks.
fn mark(row: &Row) -> &'static str {
    let has_effect_at_a_listener = [logins::MAX_REAUTH, broker::LOGIN_MAX_BYTES].contains(&row.name);
    if row.change == Change::Dynamic {
        " *"
    } else if logins::is_about_who_logs_in(row.name) || has_effect_at_a_listener {
        " †"
    } else {
        ""
    }
}

fn section(
    page: &mut String,
    title: &str,
    rows: &[&Row],
    explain: fn(&Row) -> String,
    mark: fn(&Row) -> &'static str,
) {
    let _ = writeln!(page, "\n## {title}\n\n| name | type | default | accepted | |\n|---|---|---|---|---|");
    for row in rows.iter().filter(|row| row.acts) {
        let (name, kind) = (row.name, row.kind.name().to_lowercase());
        let _ = writeln!(
            page,
            "| `{name}`{} | {kind} | {} | {} | {} |",
            mark(row),
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
