//! The differences between two answers, and whether they are allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value as Json;

use super::script::{Difference, Script, Versions};

/// Path, Kafka's value, Jackdaw's value.
pub type Found = (String, String, String);

/// Fields that identify the elements of a list, if the two lists differ in length.
const NAMES: &[&str] = &[
    "api_key",
    "name",
    "topic",
    "group_id",
    "partition_index",
    "partition",
    "member_id",
    "resource_name",
    "topic_name",
    "feature",
];

pub fn between(kafka: &Json, ours: &Json) -> Vec<Found> {
    let mut found = Vec::new();
    walk("", Some(kafka), Some(ours), &mut found);
    found
}

fn walk(path: &str, kafka: Option<&Json>, ours: Option<&Json>, found: &mut Vec<Found>) {
    if kafka == ours {
        return;
    }
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (kafka, ours) {
        (Some(Json::Object(kafka)), Some(Json::Object(ours))) => {
            let names: BTreeSet<&String> = kafka.keys().chain(ours.keys()).collect();
            for name in names {
                walk(&below(name), kafka.get(name), ours.get(name), found);
            }
        }
        (Some(Json::Array(kafka)), Some(Json::Array(ours))) if kafka.len() == ours.len() => {
            for (index, (kafka, ours)) in kafka.iter().zip(ours).enumerate() {
                walk(&below(&index.to_string()), Some(kafka), Some(ours), found);
            }
        }
        (Some(Json::Array(kafka)), Some(Json::Array(ours))) => match by_name(kafka).zip(by_name(ours)) {
            Some((kafka, ours)) => {
                let names: BTreeSet<&String> = kafka.keys().chain(ours.keys()).collect();
                for name in names {
                    walk(&below(name), kafka.get(name).copied(), ours.get(name).copied(), found);
                }
            }
            None => found.push((path.to_owned(), written(kafka), written(ours))),
        },
        (kafka, ours) => {
            let path = if path.is_empty() { "answer" } else { path };
            let text = |value: Option<&Json>| value.map_or_else(|| "absent".to_owned(), Json::to_string);
            found.push((path.to_owned(), text(kafka), text(ours)));
        }
    }
}

fn written(items: &[Json]) -> String {
    Json::Array(items.to_vec()).to_string()
}

fn by_name(items: &[Json]) -> Option<BTreeMap<String, &Json>> {
    let name_of = |item: &Json| {
        let name = NAMES.iter().find(|name| item.get(**name).is_some())?;
        Some(item[*name].as_str().map_or_else(|| item[*name].to_string(), str::to_owned))
    };
    let named: Option<BTreeMap<String, &Json>> =
        items.iter().map(|item| Some((name_of(item)?, item))).collect();
    named.filter(|named| named.len() == items.len())
}

/// Differences without a reason, and reasons without a difference.
pub fn unreasoned(found: &[Found], allowed: &[Difference], version: Option<i16>) -> Vec<String> {
    let allowed: Vec<&Difference> = allowed.iter().filter(|one| one.versions.holds(version)).collect();
    let is = |one: &Difference, (path, kafka, ours): &Found| {
        &one.path == path && &one.kafka == kafka && &one.ours == ours
    };
    let wrong = found.iter().filter(|found| !allowed.iter().any(|one| is(one, found)));
    let mut wrong: Vec<String> =
        wrong.map(|(path, kafka, ours)| format!("{path}: {kafka} -> {ours}")).collect();
    let unused = allowed.iter().filter(|one| !found.iter().any(|found| is(one, found)));
    wrong.extend(unused.map(|one| format!("{} does not differ (any more)", one.path)));
    wrong
}

/// Differences that no request shows.
const TLS: &str = "With `ssl.client.auth=required`, a client without a certificate gets the alert \
                   `certificate_required` (116) of TLS 1.3, with TLS 1.2 too; Kafka sends `bad_certificate` (42).\n\n\
                   A client that has a certificate cannot resume a TLS session: it does a whole handshake each time, \
                   so that an expired certificate does not get in. Kafka lets it resume for a day.\n\n\
                   In `ssl.principal.mapping.rules`, `\\w`, `\\d`, `\\s`, `\\b` and `(?i)` include letters beyond ASCII; in \
                   Java they do not. A pattern such as `.*` replaces the whole name once; Java's `replaceAll` also \
                   replaces the empty rest behind it, so that the replacement is there twice.";

/// `docs/differences.md`
pub fn page(scripts: &[Script], count: &str) -> String {
    let mut page = format!(
        "# Where answers differ from Kafka's\n\n\
         Printed from `tests/compare`, which sends the same requests to Apache Kafka 4.4 and to Jackdaw and \
         compares every field of the answers; `UPDATE_DOCS=1 cargo test --test compare` writes it. {count}\n\n\
         All other answers were the same. `docs/apis.md` also names the differences that no answer shows.\n"
    );
    let mut by_api: BTreeMap<&str, BTreeMap<&str, Vec<String>>> = BTreeMap::new();
    for script in scripts {
        let mut sent = BTreeMap::new();
        for step in &script.steps {
            if let Some(request) = step.request() {
                sent.insert(&step.connection, request);
            }
            for one in step.differs.iter().filter(|one| !one.is_again) {
                let request = sent.get(&step.connection).expect("what is answered was sent");
                let versions = match request.version {
                    Some(version) => version.to_string(),
                    None => range_of(step.only, one.versions),
                };
                let line = format!(
                    "| {} | {versions} | `{}` | {} | {} |",
                    step.title,
                    one.path,
                    cell(&one.kafka),
                    cell(&one.ours)
                );
                by_api.entry(&request.api).or_default().entry(&one.reason).or_default().push(line);
            }
        }
    }
    let _ = writeln!(page, "\n## TLS\n\n{TLS}");
    for (api, reasons) in by_api {
        let _ = writeln!(page, "\n## {api}");
        for (reason, lines) in reasons {
            let _ = writeln!(
                page,
                "\n{reason}\n\n| asked | version | field | Kafka | Jackdaw |\n|---|---|---|---|---|"
            );
            for line in lines {
                let _ = writeln!(page, "{line}");
            }
        }
    }
    page
}

fn cell(value: &str) -> String {
    if value == "absent" { value.to_owned() } else { format!("`{}`", value.replace('|', "\\|")) }
}

fn range_of(sent: Versions, differs: Versions) -> String {
    let (first, last) = sent.and(differs).ends();
    match (first, last) {
        (None, None) => "all".to_owned(),
        (None, Some(last)) => format!("up to {last}"),
        (Some(first), None) => format!("from {first}"),
        (Some(first), Some(last)) if first == last => first.to_string(),
        (Some(first), Some(last)) => format!("{first}–{last}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_that_differs_is_named() {
        let kafka = json!({"a": 1, "b": [{"name": "x", "c": 1}, {"name": "y", "c": 2}], "d": null, "e": [1]});
        let ours = json!({"a": 2, "b": [{"name": "y", "c": 3}], "d": "", "e": [1, 2]});
        let found: Vec<String> =
            between(&kafka, &ours).iter().map(|(path, a, b)| format!("{path}: {a} -> {b}")).collect();
        let expected = [
            "a: 1 -> 2",
            r#"b.x: {"c":1,"name":"x"} -> absent"#,
            "b.y.c: 2 -> 3",
            r#"d: null -> """#,
            "e: [1] -> [1,2]",
        ];
        assert_eq!(found, expected);
        assert_eq!(between(&kafka, &kafka), []);
        assert_eq!(between(&json!("closes"), &ours)[0].0, "answer");
    }

    #[test]
    fn a_difference_needs_a_reason_and_a_reason_a_difference() {
        let script = "Metadata v\n  differs 2-3 a: 1 -> 2 | because";
        let script = crate::script::parse("s", script);
        let allowed = &script.steps[0].differs;
        let found = [("a".to_owned(), "1".to_owned(), "2".to_owned())];
        assert_eq!(unreasoned(&found, allowed, Some(2)), Vec::<String>::new());
        assert_eq!(unreasoned(&found, allowed, Some(1)), ["a: 1 -> 2"]);
        assert_eq!(unreasoned(&[], allowed, Some(2)), ["a does not differ (any more)"]);
        let another = [("a".to_owned(), "1".to_owned(), "3".to_owned())];
        assert_eq!(unreasoned(&another, allowed, Some(2)).len(), 2);
    }
}
