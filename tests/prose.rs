//! The parts of docs/style.md that can be counted: how comments begin, words that are gone, and citations that lead
//! somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The folders with code of this package. The checks leave out this file, which names what it forbids.
const CODE: &[&str] = &["src", "tests", "examples", "benches", "build", "fuzz"];

/// Pages for readers of the repository.
const PAGES: &[&str] = &["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs"];

struct Source {
    /// From the root of the repository, such as `src/lib.rs`.
    path: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files with this extension below the given places.
fn read_all(places: &[&str], extension: &str) -> Vec<Source> {
    let mut files = Vec::new();
    for place in places {
        collect(&root().join(place), &mut files);
    }
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    let this = root().join(file!());
    let files = files.into_iter().filter(|path| *path != this);
    let sources = files.map(|path| Source {
        path: path.strip_prefix(root()).expect("a file of ours").to_string_lossy().into_owned(),
        text: fs::read_to_string(&path).expect("a file with text"),
    });
    sources.collect()
}

fn collect(path: &Path, into: &mut Vec<PathBuf>) {
    if path.is_file() {
        return into.push(path.to_owned());
    }
    // Folders of builds and downloads are not ours.
    if path.file_name().is_some_and(|name| name == "target") {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten() {
        collect(&entry.expect("the folder can be read").path(), into);
    }
}

/// The lines of the comments, with their numbers.
fn comments(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(source.text.lines()).filter_map(|(number, line)| {
        let (_, comment) = line.split_once("//")?;
        Some((number, comment.trim_start_matches(['/', '!']).trim()))
    })
}

#[test]
fn comments_seldom_begin_with_what_or_who() {
    const RELATIVES: [&str; 5] = ["what", "who", "whose", "nobody", "somebody"];
    let (mut lines, mut found) = (0, Vec::new());
    for source in read_all(CODE, "rs") {
        for (number, comment) in comments(&source).filter(|(_, comment)| !comment.is_empty()) {
            lines += 1;
            let first = comment.split(|letter: char| !letter.is_alphabetic()).find(|word| !word.is_empty());
            if first.is_some_and(|word| RELATIVES.contains(&word.to_lowercase().as_str())) {
                found.push(format!("{}:{number}: {comment}", source.path));
            }
        }
    }
    assert!(lines > 1000, "{lines} lines of comments were read");
    let found_in_fifty = found.len() * 50;
    assert!(found_in_fifty <= lines, "{} of {lines} lines:\n{}", found.len(), found.join("\n"));
}

#[test]
fn words_with_a_plainer_one_are_gone() {
    const GONE: [(&str, &str); 3] = [("posed", "virtual"), ("posing", "virtual"), ("homeless", "leaderless")];
    let mut found = Vec::new();
    for source in read_all(CODE, "rs").iter().chain(&read_all(PAGES, "md")) {
        for (number, line) in (1..).zip(source.text.lines()) {
            let line = line.to_lowercase();
            let words = line.split(|letter: char| !letter.is_alphabetic());
            for word in words {
                if let Some((_, plainer)) = GONE.iter().find(|(gone, _)| *gone == word) {
                    found.push(format!("{}:{number}: {word} instead of {plainer}", source.path));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn names_are_plain() {
    // Plain in a sentence perhaps, but not in a name.
    const GONE: [(&str, &str); 4] = [
        ("believed", "trusted"),
        ("doubted", "untrusted"),
        ("foretold", "predicted"),
        ("told", "the thing that happens"),
    ];
    let mut found = Vec::new();
    for source in read_all(CODE, "rs") {
        for (number, line) in (1..).zip(source.text.lines()) {
            let names = line.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
            let words = names.filter(|name| name.contains('_')).flat_map(|name| name.split('_'));
            for (gone, plainer) in words.filter_map(|word| GONE.iter().find(|(gone, _)| *gone == word)) {
                found.push(format!("{}:{number}: {gone} in a name, instead of {plainer}", source.path));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_label_is_on_a_page() {
    let labels: BTreeSet<String> = ["docs/rules.md", "docs/promises.md"]
        .iter()
        .flat_map(|page| labels_of(&fs::read_to_string(root().join(page)).expect("the page is there")))
        .collect();
    let kinds: BTreeSet<char> = labels.iter().filter_map(|label| label.chars().next()).collect();
    let is_unknown = |word: &&str| {
        is_label(word) && kinds.contains(&word.chars().next().expect("a label")) && !labels.contains(*word)
    };
    let mut wrong = Vec::new();
    for source in read_all(&["src", "tests"], "rs") {
        for (number, comment) in comments(&source) {
            let words = comment.split(|letter: char| !letter.is_alphanumeric());
            let unknown = words.filter(is_unknown);
            wrong.extend(unknown.map(|label| format!("{}:{number}: {label}", source.path)));
        }
        for (number, line) in (1..).zip(source.text.lines()) {
            let Some(name) = test_name(line) else { continue };
            let named = name.split('_').map(str::to_uppercase).take_while(|word| is_label(word));
            let unknown = named.filter(|label| !labels.contains(label));
            wrong.extend(unknown.map(|label| format!("{}:{number}: {label} of {name}", source.path)));
        }
    }
    assert!(labels.len() > 90, "{} labels were read", labels.len());
    assert!(wrong.is_empty(), "not in docs/rules.md or docs/promises.md:\n{}", wrong.join("\n"));
}

/// The labels of a page: lines that begin with `- **A1** `.
fn labels_of(page: &str) -> Vec<String> {
    let labels = page.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("** "));
    labels.map(|(label, _)| label.to_owned()).collect()
}

/// A capital letter and a number, such as `W11`.
fn is_label(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|letter| letter.is_ascii_uppercase())
        && (1..=2).contains(&letters.as_str().len())
        && letters.all(|letter| letter.is_ascii_digit())
}

/// The name of a function without arguments, as tests are.
fn test_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split_once("()").map(|(name, _)| name)
}

#[test]
fn every_link_and_every_named_file_is_there() {
    let mut files = Vec::new();
    for place in [CODE, PAGES, &["compat", "packaging", ".ci", ".", "Cargo.toml"]].concat() {
        match place {
            "." => files.extend(top_level()),
            place => collect(&root().join(place), &mut files),
        }
    }
    let files: BTreeSet<String> = files
        .iter()
        .map(|path| path.strip_prefix(root()).expect("a file of ours").to_string_lossy().into_owned())
        .collect();
    let is_there = |name: &str| {
        let ending = format!("/{name}");
        files.contains(name) || files.iter().any(|file| file.ends_with(&ending))
    };
    let mut wrong = Vec::new();
    for source in read_all(PAGES, "md") {
        for target in links(&source.text) {
            let folder = Path::new(&source.path).parent().expect("a file is in a folder");
            if !root().join(folder).join(target).exists() {
                wrong.push(format!("{}: the link to {target}", source.path));
            }
        }
        let names = named_files(&source.text).filter(|name| !is_there(name));
        wrong.extend(names.map(|name| format!("{}: {name}", source.path)));
    }
    for source in read_all(CODE, "rs") {
        for (number, comment) in comments(&source) {
            let names = named_files(comment).filter(|name| !is_there(name));
            wrong.extend(names.map(|name| format!("{}:{number}: {name}", source.path)));
        }
    }
    assert!(files.len() > 500, "{} files were found", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn top_level() -> Vec<PathBuf> {
    let entries = fs::read_dir(root()).expect("the root can be read");
    entries.map(|entry| entry.expect("the root can be read").path()).filter(|path| path.is_file()).collect()
}

/// The targets of Markdown links that are not on the web, without their sections.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.map(|target| target.split('#').next().unwrap_or(target))
}

/// The words that are names of source files and pages.
fn named_files(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !(letter.is_alphanumeric() || "/._-".contains(letter)));
    let words = words.map(|word| word.trim_start_matches("../").trim_end_matches('.'));
    let is_file = |word: &&str| {
        let ending = [".rs", ".md", ".tsv"].iter().find_map(|ending| word.strip_suffix(ending));
        ending.is_some_and(|stem| stem.contains(|letter: char| letter.is_alphanumeric()))
    };
    words.filter(is_file).filter(|word| !word.contains("-N"))
}
