//! Rooms use only the rooms that they may use: every `crate::` path in the code is checked against one table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Each room with the rooms that it may use. All rooms may use `types`, `background`, `time` and `telemetry`, except the
/// kernel: it gets the time as a field of what it applies, and it does not log.
const ROOMS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("background", &[]),
    ("time", &[]),
    ("telemetry", &[]),
    ("record", &[]),
    ("budget", &[]),
    ("stop", &[]),
    ("config", &[]),
    ("protocol", &[]),
    ("kernel", &["record", "config"]),
    ("storage", &["kernel", "record", "config"]),
    ("coordinator", &["kernel", "storage", "record", "config"]),
    ("api", &["protocol", "kernel", "storage", "coordinator", "record", "config", "budget", "stop"]),
    ("server", &["api", "protocol", "config", "budget", "stop"]),
    ("http", EVERYTHING),
    ("metrics", EVERYTHING),
    ("broker", EVERYTHING),
    ("cli", EVERYTHING),
    ("main", EVERYTHING),
    ("lib", EVERYTHING),
];

const EVERYTHING: &[&str] = &["*"];
const FOR_ALL: &[&str] = &["types", "background", "time", "telemetry"];
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
fn every_room_stands_in_the_table() {
    let rooms: BTreeSet<String> = sources(&source_dir()).iter().map(|file| room_of(file)).collect();
    let known: BTreeSet<String> = ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(rooms, known);
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

fn may_use(room: &str, used: &str) -> bool {
    let (_, allowed) = ROOMS.iter().find(|(name, _)| *name == room).expect("the room is in the table");
    let everybodys = if room == "kernel" { FOR_THE_KERNEL } else { FOR_ALL };
    room == used || allowed == &EVERYTHING || allowed.contains(&used) || everybodys.contains(&used)
}

/// The names after each path to the top, alone or in braces; `depth` is the number of `super::` in such a
/// path.
fn used_rooms(code: &str, depth: usize) -> BTreeSet<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for top in ["crate::", "jackdaw::", &"super::".repeat(depth)] {
        for path in code.split(top).skip(1) {
            match path.strip_prefix('{') {
                None => found.push(name(path)),
                Some(list) => found.extend(top_level(list).map(|item| name(item.trim()))),
            }
        }
    }
    found.into_iter().filter(|name| ROOMS.iter().any(|(room, _)| room == name)).collect()
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
