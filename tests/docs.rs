//! The pages of `docs` that are printed from the code match the code. `UPDATE_DOCS=1 cargo test --test docs`
//! writes them.

use std::collections::{BTreeMap, BTreeSet};
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
    let rules = page("rules.md") + &page("promises.md");
    let mut seen = 0;
    for (label, rule) in labelled(&rules) {
        seen += 1;
        let label = format!("{}_", label.to_lowercase());
        let tested = names.iter().any(|name| name.starts_with(&label) || name.contains(&format!("_{label}")));
        let excused = rule.ends_with(".*");
        assert!(tested || excused, "no test is called {label}…: {rule}");
    }
    assert!(seen > 100, "{seen} rules were read");
}

#[test]
fn the_rules_of_an_area_are_numbered_without_a_gap() {
    let rules = page("rules.md");
    let mut areas: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (label, _) in labelled(&rules) {
        let (area, number) = label.split_at(1);
        areas.entry(area).or_default().push(number);
    }
    assert!(areas.len() > 8, "{areas:?}");
    for (area, numbers) in areas {
        let expected: Vec<String> = (1..=numbers.len()).map(|number| number.to_string()).collect();
        assert_eq!(numbers, expected, "docs/rules.md leaves out a rule of {area}");
    }
}

fn page(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    fs::read_to_string(path).expect("the page is there")
}

/// The labels of a page with their rules.
fn labelled(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("** "))
}

/// The texts between single backquotes.
fn quoted(page: &str) -> BTreeSet<&str> {
    page.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn operations_md_has_every_metric_and_no_other() {
    let page = page("operations.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Metrics")).expect("the section");
    let is_metric = |word: &&str| {
        ["kafka_", "jackdaw_", "process_"].iter().any(|room| word.starts_with(room)) && !word.contains('=')
    };
    let named: BTreeSet<&str> = quoted(section).into_iter().filter(is_metric).collect();
    let printed = metrics::page();
    let rows = printed.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let known: BTreeSet<&str> = rows.collect();
    let missing: Vec<_> = known.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}, unknown: {unknown:?}");
    let everywhere: Vec<_> =
        quoted(&page).into_iter().filter(is_metric).filter(|name| !known.contains(name)).collect();
    assert!(everywhere.is_empty(), "{everywhere:?}");
}

#[test]
fn operations_md_has_every_line_at_warn_and_error() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let page = page("operations.md");
    let mut seen = BTreeSet::new();
    for source in sources(&root) {
        let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = code.replace("compile_error!(", "");
        for call in ["warn!(", "error!("].iter().flat_map(|call| code.split(call).skip(1)) {
            let Some(text) = message(call) else { continue };
            assert!(page.contains(&*text), "docs/operations.md lacks the log line {text:?}");
            seen.insert(text);
        }
    }
    assert!(seen.len() > 90, "{} lines", seen.len());
    let (_, lines) = page.split_once("## Log lines").expect("the section");
    let rows = lines.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    for row in rows.filter(|row| *row != "line") {
        assert!(seen.iter().any(|text| row.starts_with(&**text)), "no log line begins with {row:?}");
    }
}

/// The beginning of the message of a log line: the longest literal in the call, up to its first field or stop. `None` if
/// it is put together elsewhere.
fn message(call: &str) -> Option<String> {
    let (mut depth, mut literals, mut rest) = (1, Vec::new(), call);
    while depth > 0 {
        let at = rest.find(['(', ')', '"'])?;
        let (sign, behind) = rest[at..].split_at(1);
        rest = behind;
        match sign {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {
                let end = rest.match_indices('"').find(|(at, _)| !rest[..*at].ends_with('\\'))?.0;
                literals.push(&rest[..end]);
                rest = &rest[end + 1..];
            }
        }
    }
    let longest = literals.into_iter().max_by_key(|literal| literal.len())?;
    let words: Vec<&str> = longest.split("\\\n").map(str::trim_start).collect();
    let text = words.concat();
    let text = text.split(['{', ';']).next()?.trim_end_matches([',', ' ', ':']);
    (text.len() > 10)
        .then(|| text.split(": ").next().filter(|head| head.len() > 10).unwrap_or(text).to_owned())
}

fn sources(dir: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The engine for several processes is in no broker.
        if path.is_dir() && name != "tests" && !path.ends_with("storage/cluster") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") && name != "tests.rs" {
            found.push(fs::read_to_string(&path).expect("a source"));
        }
    }
    found
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
