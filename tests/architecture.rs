//! Rooms use only the rooms and the external crates that they may use: every path in the code is checked against
//! one table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Each room with the rooms that it may use, and the crates of `[dependencies]`. All rooms may use `types`, `time` and
/// `telemetry`, except the kernel: it gets the time as a field of what it applies, and it neither logs nor waits.
const ROOMS: &[(&str, &[&str], &[&str])] = &[
    ("types", &[], &["bytes", "regex", "rpds", "serde"]),
    ("time", &[], &["getrandom", "rustix", "tokio"]),
    ("telemetry", &[], &["tokio", "tracing", "tracing_subscriber"]),
    ("record", &[], &["bytes", "crc32c", "flate2", "lz4_flex", "ruzstd", "snap", "zstd_safe"]),
    ("budget", &[], &["tokio"]),
    ("disk_threads", &[], &["rustix", "tokio"]),
    ("stop", &[], &["tokio"]),
    ("faults", &[], &["tokio"]),
    ("config", &[], &["rustix"]),
    ("protocol", &[], &["bytes"]),
    ("kernel", &["record", "config"], &["bytes", "crc32c", "postcard", "rpds", "serde"]),
    (
        "storage",
        &["kernel", "record", "config", "disk_threads"],
        &["bytes", "crc32c", "postcard", "rustix", "tokio", "tracing"],
    ),
    ("coordinator", &["kernel", "storage", "record", "config"], &["postcard", "tokio", "tracing"]),
    (
        "security",
        &["config"],
        &[
            "base64",
            "p12_keystore",
            "pkcs8",
            "regex",
            "ring",
            "rustls",
            "rustls_native_certs",
            "serde",
            "serde_json",
            "x509_parser",
        ],
    ),
    (
        "api",
        &[
            "protocol",
            "kernel",
            "storage",
            "coordinator",
            "security",
            "record",
            "config",
            "budget",
            "stop",
            "faults",
        ],
        &["bytes", "crc32c", "tokio", "tracing"],
    ),
    (
        "server",
        &["api", "protocol", "security", "config", "budget", "disk_threads", "stop"],
        &["base64", "bytes", "rustix", "rustls", "tokio", "tokio_rustls", "tracing"],
    ),
    ("hooks", &["api", "coordinator", "faults", "kernel", "storage"], &["serde", "serde_json", "tokio"]),
    (
        "http",
        EVERYTHING,
        &["http_body_util", "hyper", "hyper_util", "serde_json", "tokio", "tokio_rustls", "tracing"],
    ),
    ("metrics", EVERYTHING, &["crc32c", "prometheus_client", "rustix", "tokio"]),
    ("broker", EVERYTHING, &["tokio", "tracing"]),
    (
        "cli",
        EVERYTHING,
        &[
            "base64",
            "bytes",
            "clap",
            "clap_complete",
            "clap_mangen",
            "rdkafka",
            "regex",
            "rustix",
            "serde_json",
            "tokio",
            "tracing",
        ],
    ),
    ("main", EVERYTHING, &["mimalloc"]),
    ("lib", EVERYTHING, &[]),
];

/// The parts of the store, each with the parts that it may use. Those are above it in the table, so there is no circle.
const STORAGE: &[(&str, &[&str])] = &[
    ("failure", &[]),
    ("seeded", &[]),
    ("error", &["failure"]),
    ("waiter", &[]),
    ("counts", &[]),
    ("clocks", &[]),
    ("stalls", &[]),
    ("copies", &[]),
    ("troubles", &[]),
    ("live", &[]),
    ("upkeep", &[]),
    ("extent", &[]),
    ("groups", &["clocks"]),
    ("partition", &["counts", "error", "extent", "failure", "waiter"]),
    ("topics", &["partition"]),
    ("seen", &["groups", "topics"]),
    ("published", &["clocks", "counts", "extent", "live", "partition", "seen", "stalls", "topics", "waiter"]),
    ("line", &["copies", "error", "partition"]),
    ("retention", &["error", "topics"]),
    ("cleaner", &["error", "extent", "line", "partition"]),
    (
        "local",
        &[
            "cleaner",
            "clocks",
            "counts",
            "error",
            "extent",
            "failure",
            "line",
            "live",
            "partition",
            "published",
            "seeded",
            "topics",
            "upkeep",
        ],
    ),
    (
        "cluster",
        &[
            "clocks",
            "error",
            "extent",
            "line",
            "live",
            "partition",
            "published",
            "seeded",
            "topics",
            "upkeep",
        ],
    ),
    (
        "store",
        &[
            "clocks",
            "cluster",
            "copies",
            "counts",
            "error",
            "groups",
            "line",
            "local",
            "partition",
            "published",
            "retention",
            "topics",
            "troubles",
            "upkeep",
        ],
    ),
];

/// The parts of the engine on local files, in the same form.
const LOCAL: &[(&str, &[&str])] = &[
    ("fs", &[]),
    ("tuning", &[]),
    ("layout", &["fs"]),
    ("trash", &["fs", "layout"]),
    ("segment", &["fs", "layout", "trash"]),
    ("rewrite", &["fs", "segment"]),
    ("journal", &["fs"]),
    ("snapshot", &["fs"]),
    ("job", &["journal", "segment"]),
    ("author", &["journal"]),
    ("hold", &["fs"]),
    ("directory", &["fs", "hold", "journal", "segment", "snapshot", "trash"]),
    ("scrub", &["directory", "fs", "segment"]),
    ("recovery", &["directory", "fs", "journal", "layout", "segment", "snapshot"]),
    ("engine", &["author", "directory", "fs", "job", "journal", "recovery", "segment", "snapshot", "tuning"]),
    ("committer", &["engine"]),
    ("keeper", &["committer", "directory", "engine", "job", "journal", "segment", "snapshot"]),
    ("inspect", &["directory", "fs", "journal", "layout", "recovery", "segment", "snapshot"]),
    (
        "repair",
        &[
            "author",
            "directory",
            "fs",
            "inspect",
            "journal",
            "layout",
            "recovery",
            "segment",
            "snapshot",
            "trash",
        ],
    ),
    ("skip", &["directory", "fs", "journal", "repair", "snapshot"]),
    ("backup", &["directory", "fs", "hold", "journal", "layout", "recovery", "snapshot"]),
];

/// The files of the settings, in the same form. `src/config.rs` says what is in them.
const CONFIG: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("machine", &[]),
    ("mechanism", &[]),
    ("jaas", &[]),
    ("file", &["error"]),
    ("prefix", &["mechanism"]),
    ("listener", &["error"]),
    ("authorizer", &["error"]),
    ("initial_topics", &["error"]),
    ("given", &["error", "file"]),
    ("environment", &["error", "given", "initial_topics", "jaas"]),
    ("providers", &["error", "file", "given", "listener"]),
    ("overrides", &["error"]),
    ("value", &[]),
    ("check", &[]),
    ("row", &["check", "error", "value"]),
    ("table", &["check", "row", "value"]),
    ("tls", &["error", "prefix"]),
    ("oauth", &["error", "jaas", "tls", "value"]),
    ("logins", &["jaas", "mechanism", "oauth", "prefix", "tls"]),
    ("topic", &["row", "table", "value"]),
    (
        "broker",
        &[
            "authorizer",
            "check",
            "given",
            "initial_topics",
            "jaas",
            "listener",
            "logins",
            "oauth",
            "overrides",
            "prefix",
            "providers",
            "row",
            "table",
            "topic",
            "value",
        ],
    ),
    ("client_metrics", &["error", "overrides", "row", "value"]),
    (
        "rules",
        &["authorizer", "broker", "check", "error", "logins", "oauth", "prefix", "row", "topic", "value"],
    ),
    (
        "listener_logins",
        &["broker", "error", "jaas", "listener", "logins", "mechanism", "oauth", "tls", "value"],
    ),
    ("listener_tls", &["broker", "error", "tls", "value"]),
    (
        "load",
        &[
            "authorizer",
            "broker",
            "error",
            "given",
            "initial_topics",
            "listener",
            "listener_logins",
            "logins",
            "overrides",
            "prefix",
            "row",
            "rules",
            "value",
        ],
    ),
    ("resolve", &["broker", "error", "overrides", "row", "rules", "topic", "value"]),
    ("group", &["broker", "error", "overrides", "row", "rules", "table", "value"]),
    ("unknown", &["broker", "given", "prefix", "providers", "row"]),
    ("shares", &["broker", "machine"]),
    ("unprotected", &["broker", "listener", "tls"]),
    ("ignored", &["client_metrics", "error", "group", "overrides", "row"]),
    ("reload", &["broker", "error", "given", "logins", "row", "rules", "value"]),
    (
        "alter",
        &[
            "broker",
            "check",
            "client_metrics",
            "error",
            "group",
            "logins",
            "overrides",
            "prefix",
            "row",
            "rules",
            "topic",
            "value",
        ],
    ),
    (
        "describe",
        &["authorizer", "broker", "client_metrics", "group", "overrides", "prefix", "row", "topic", "value"],
    ),
    ("listing", &["broker", "prefix", "providers", "row", "unknown", "value"]),
    ("page", &["broker", "check", "client_metrics", "group", "logins", "row", "topic"]),
];

/// Modules that only tests have. They may use everything.
const TESTS: &[&str] = &["conformance", "levels", "tests"];

const EVERYTHING: &[&str] = &["*"];
const FOR_ALL: &[&str] = &["types", "time", "telemetry"];
const FOR_THE_KERNEL: &[&str] = &["types"];

#[test]
fn every_room_uses_only_what_it_may() {
    let mut wrong = Vec::new();
    for file in sources(&source_dir()) {
        let room = room_of(&file);
        let text = fs::read_to_string(&file).expect("a source file can be read");
        let used = used_rooms(&code_of(&text), depth_of(&file));
        for used in used.iter().filter(|used| !may_use(&room, used)) {
            wrong.push(format!("{}: {room} must not use {used}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_uses_only_the_crates_that_it_may() {
    let crates = dependencies();
    let mut wrong = Vec::new();
    for file in sources(&source_dir()) {
        let room = room_of(&file);
        let (_, _, allowed) = entry(&room);
        let text = fs::read_to_string(&file).expect("a source file can be read");
        let used = used_crates(&code_of(&text), &crates);
        for name in used.iter().filter(|name| !allowed.contains(&name.as_str())) {
            wrong.push(format!("{}: {room} must not use the crate {name}", file.display()));
        }
    }
    assert!(crates.len() > 15, "{crates:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pinned_toolchain_is_the_oldest_that_is_supported() {
    let read = |name: &str| fs::read_to_string(source_dir().with_file_name(name)).expect("the file is there");
    let between = |text: &str, before: &str, after: char| {
        text.split_once(before)
            .and_then(|(_, rest)| rest.split_once(after))
            .map(|(value, _)| value.to_owned())
            .expect("the version is there")
    };
    let oldest = between(&read("Cargo.toml"), "rust-version = \"", '"');
    let pinned = between(&read("rust-toolchain.toml"), "channel = \"", '"');
    let of_the_image = between(&read("packaging/Dockerfile"), "FROM rust:", '-');
    assert_eq!((format!("{oldest}.0"), &of_the_image), (pinned, &oldest));
}

#[test]
fn every_room_is_in_the_table() {
    let rooms: BTreeSet<String> = sources(&source_dir()).iter().map(|file| room_of(file)).collect();
    let known: BTreeSet<String> = ROOMS.iter().map(|(room, ..)| (*room).to_owned()).collect();
    assert_eq!(rooms, known);
}

#[test]
fn the_parts_of_the_store_use_each_other_without_a_circle() {
    check_parts("storage", STORAGE);
    check_parts("storage/local", LOCAL);
}

#[test]
fn the_files_of_the_settings_use_each_other_without_a_circle() {
    check_parts("config", CONFIG);
}

/// Checks the uses of all parts in a folder against the table.
fn check_parts(folder: &str, table: &[(&str, &[&str])]) {
    let names: Vec<&str> = table.iter().map(|(part, _)| *part).collect();
    for (at, (part, uses)) in table.iter().enumerate() {
        let later = uses.iter().find(|used| !names[..at].contains(used));
        assert_eq!(later, None, "{folder}: {part} uses a part that is below it in the table");
    }
    let root = source_dir().join(folder);
    let exported = exports(&fs::read_to_string(root.with_extension("rs")).expect("the root of the folder"));
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    for file in sources(&root).into_iter().filter(|file| !is_for_tests(file)) {
        let inside = file.strip_prefix(&root).expect("it is in the folder");
        let first = inside.components().next().expect("a file has a name");
        let part = first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        assert!(names.contains(&&*part), "{folder}: the table lacks {part}");
        let code = code_of(&fs::read_to_string(&file).expect("a source file can be read"));
        let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let absolute = format!("crate::{}::", folder.replace('/', "::"));
        let found = names_after(code, &[&absolute, &"super::".repeat(inside.components().count())]);
        let used = found.into_iter().filter_map(|name| {
            let part = exported.iter().find(|(_, exports)| exports.contains(&name));
            names.contains(&&*name).then(|| name.clone()).or_else(|| part.map(|(part, _)| part.clone()))
        });
        seen.extend(used.filter(|used| *used != part).map(|used| (part.clone(), used)));
    }
    let allowed =
        table.iter().flat_map(|(part, uses)| uses.iter().map(|used| (part.to_string(), used.to_string())));
    assert_eq!(seen, allowed.collect(), "{folder}");
}

/// Whether the file is a module that only tests have.
fn is_for_tests(file: &Path) -> bool {
    file.components().any(|part| TESTS.contains(&part.as_os_str().to_string_lossy().trim_end_matches(".rs")))
}

/// The names that `pub use part::{…}` exports, by part.
fn exports(root: &str) -> Vec<(String, Vec<String>)> {
    let uses = root.split("pub use ").skip(1).filter_map(|rest| rest.split_once(';'));
    let parts = uses.filter_map(|(path, _)| path.split_once("::"));
    let names = |list: &str| {
        let list = list.trim_matches(['{', '}']);
        // Of `a as b` the second word counts; nothing is behind the last comma.
        let words = list.split(',').filter_map(|name| name.split_whitespace().next_back());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    parts.map(|(part, list)| (part.to_owned(), names(list))).collect()
}

#[test]
fn a_forbidden_use_is_found_however_it_is_written() {
    let text = "//! crate::cli\nuse crate::time::{self, Clock};\nuse crate::{\n    api::Row, // crate::http\n    \
                config::{Row, Kind},\n};\nfn f() { crate::storage::open() }\nuse jackdaw::broker;\n\
                use super::super::kernel::Shard;\nuse super::record;";
    let used: Vec<String> = used_rooms(&code_of(text), 2).into_iter().collect();
    assert_eq!(used, ["api", "broker", "config", "kernel", "storage", "time"]);
    assert!(!may_use("kernel", "time") && !may_use("api", "server") && may_use("api", "time"));
}

#[test]
fn a_used_crate_is_found_however_it_is_written() {
    let crates = ["bytes", "hyper_util", "serde", "tokio", "tracing"].map(str::to_owned);
    let text = "use tokio::sync::{Mutex, mpsc};\nuse {serde::Serialize};\nfn f() { tracing::warn!(\"\") } // hyper_util::rt\n\
                use crate::bytes::Bytes;\nfn g(my_bytes: u8) {}";
    let used: Vec<String> = used_crates(&code_of(text), &crates).into_iter().collect();
    assert_eq!(used, ["serde", "tokio", "tracing"]);
}

fn entry(room: &str) -> &'static (&'static str, &'static [&'static str], &'static [&'static str]) {
    ROOMS.iter().find(|(name, ..)| *name == room).expect("the room is in the table")
}

/// The crates of `[dependencies]`, as the code writes them.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(source_dir().with_file_name("Cargo.toml")).expect("the manifest");
    let (_, section) = manifest.split_once("[dependencies]\n").expect("there are dependencies");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.replace('-', "_")).collect()
}

/// Those of `crates` that the code has a path into.
fn used_crates(code: &str, crates: &[String]) -> BTreeSet<String> {
    let begins_a_path = |(at, name): (usize, &str)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || "_:.".contains(letter))
            && code[at + name.len()..].starts_with("::")
    };
    crates.iter().filter(|name| code.match_indices(name.as_str()).any(begins_a_path)).cloned().collect()
}

fn may_use(room: &str, used: &str) -> bool {
    let (_, allowed, _) = entry(room);
    let everybodys = if room == "kernel" { FOR_THE_KERNEL } else { FOR_ALL };
    room == used || allowed == &EVERYTHING || allowed.contains(&used) || everybodys.contains(&used)
}

/// The names after each path to the top, alone or in braces; `depth` is the number of `super::` in such a
/// path.
fn used_rooms(code: &str, depth: usize) -> BTreeSet<String> {
    let found = names_after(code, &["crate::", "jackdaw::", &"super::".repeat(depth)]);
    found.into_iter().filter(|name| ROOMS.iter().any(|(room, ..)| room == name)).collect()
}

/// The first names of the paths that begin with one of `starts`.
fn names_after(code: &str, starts: &[&str]) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for path in starts.iter().flat_map(|start| code.split(start).skip(1)) {
        match path.strip_prefix('{') {
            None => found.push(name(path)),
            Some(list) => found.extend(top_level(list).map(|item| name(item.trim()))),
        }
    }
    found
}

/// The items of a list in braces, without the items of nested braces.
fn top_level(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let end = list.find(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth < 0
    });
    let mut depth = 0;
    list[..end.unwrap_or(list.len())].split(move |c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth == 0 && c == ','
    })
}

/// The text without comments.
fn code_of(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// `src/server/input.rs` belongs to `server`.
fn room_of(file: &Path) -> String {
    let inside = file.strip_prefix(source_dir()).expect("a file of ours");
    let first = inside.components().next().expect("a file has a name");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The number of modules between a file and the top.
fn depth_of(file: &Path) -> usize {
    file.strip_prefix(source_dir()).expect("a file of ours").components().count()
}

fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
