//! The pages of `docs` that are printed from the code match the code. `UPDATE_DOCS=1 cargo test --test docs`
//! writes them.

use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

use jackdaw::api::{self, Row, TABLE};
use jackdaw::config;
use jackdaw::metrics;
use jackdaw::protocol;
use jackdaw::protocol::messages::{APIS, KafkaApi};

fn agrees(page: &str, printed: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, printed).expect("the page can be written");
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if let Some((line, _)) =
        printed.lines().enumerate().find(|(at, line)| committed.lines().nth(*at) != Some(line))
    {
        panic!(
            "docs/{page} differs from line {} on: UPDATE_DOCS=1 cargo test --test docs writes it",
            line + 1
        );
    }
    assert_eq!(committed, printed, "docs/{page}: UPDATE_DOCS=1 cargo test --test docs writes it");
}

#[test]
fn apis_md_is_what_is_served() {
    agrees("apis.md", &apis());
}

#[test]
fn every_row_of_the_table_is_a_part_of_kafkas_range() {
    assert!(TABLE.is_sorted_by(|a, b| a.key < b.key), "the keys ascend");
    for row in TABLE {
        let kafka = KafkaApi::find(row.key).expect("a key of Kafka's");
        assert_eq!(row.name, kafka.name);
        assert!(row.min_version <= row.served_from && row.served_from <= row.max_version, "{}", row.name);
        assert!((kafka.first_version..=kafka.last_version).contains(&row.served_from), "{}", row.name);
        assert!(row.max_version <= kafka.last_version, "{}", row.name);
    }
}

#[test]
fn settings_md_is_what_can_be_set() {
    agrees("settings.md", &config::page());
}

#[test]
fn metrics_md_is_what_can_be_scraped() {
    agrees("metrics.md", &metrics::page());
}

/// Versions in the schemas that Kafka 4.4 does not offer: InitProducerId 6 is unstable there.
const UNSTABLE: [(i16, i16); 1] = [(22, 6)];

fn apis() -> String {
    let mut page = String::from(
        "# The APIs\n\n\
         Printed from the table in `src/api.rs`; `cargo test --test docs` compares. Kafka is Apache Kafka 4.4.\n\n\
         | key | API | versions here | Kafka's |\n|--:|---|---|---|\n",
    );
    for row in TABLE {
        let kafka = KafkaApi::find(row.key).map_or_else(String::new, |api| {
            let is_unstable = UNSTABLE.contains(&(api.key, api.last_version));
            range(api.first_version, api.last_version - i16::from(is_unstable))
        });
        let _ = writeln!(page, "| {} | {} | {} | {kafka} |", row.key, row.name, served(row));
    }
    let _ = writeln!(page, "\n## What differs from Kafka\n");
    for gap in protocol::GAPS.iter().chain(api::GAPS) {
        let _ = writeln!(page, "- Every API: {gap}");
    }
    for row in TABLE {
        for gap in row.gaps {
            let _ = writeln!(page, "- {}: {gap}", row.name);
        }
    }
    let missing = APIS.iter().filter(|api| TABLE.iter().all(|row| row.key != api.key));
    let names: Vec<String> = missing.map(|api| format!("{} ({})", api.name, api.key)).collect();
    if !names.is_empty() {
        let _ = writeln!(page, "\n## Not there\n\n{}.", names.join(", "));
    }
    page
}

fn served(row: &Row) -> String {
    let advertised = range(row.min_version, row.max_version);
    if row.served_from == row.min_version {
        return advertised;
    }
    format!("{advertised}, of which {} refused", range(row.min_version, row.served_from - 1))
}

fn range(first: i16, last: i16) -> String {
    if first == last { first.to_string() } else { format!("{first}–{last}") }
}

#[test]
fn every_rule_and_promise_has_a_test_that_names_it_or_a_word_on_why_not() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    for dir in ["src", "tests"] {
        collect(&root.join(dir), &mut sources);
    }
    let names: Vec<&str> =
        sources.lines().filter_map(|line| line.split_once("fn ")?.1.split('(').next()).collect();
    let page = |name| fs::read_to_string(root.join("docs").join(name)).expect("the page is there");
    let rules = page("rules.md") + &page("promises.md");
    let mut seen = 0;
    for line in rules.lines() {
        let Some((label, rule)) = line.strip_prefix("- **").and_then(|rest| rest.split_once("** ")) else {
            continue;
        };
        seen += 1;
        let label = format!("{}_", label.to_lowercase());
        let tested = names.iter().any(|name| name.starts_with(&label) || name.contains(&format!("_{label}")));
        let excused = rule.ends_with(".*");
        assert!(tested || excused, "no test is called {label}…: {rule}");
    }
    assert!(seen > 100, "{seen} rules were read");
}

fn collect(dir: &std::path::Path, into: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&fs::read_to_string(path).expect("a source"));
        }
    }
}
