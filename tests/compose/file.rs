//! The part of a compose file that the tests need: variables and mounts of the first service.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A service as its container would be started.
pub struct Service {
    pub environment: BTreeMap<String, String>,
    /// Path in the container → path on this machine; named volumes are left out.
    pub mounts: BTreeMap<PathBuf, PathBuf>,
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose")
}

impl Service {
    /// The first service of a file in this folder. It understands only the YAML that such files use: one
    /// entry per line, as `name: value` or `- item`, with or without quotes.
    pub fn read(name: &str) -> Service {
        let text = fs::read_to_string(folder().join(name)).expect("the file is there");
        let mut service = Service { environment: BTreeMap::new(), mounts: BTreeMap::new() };
        let mut section = (0, String::new());
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let depth = line.len() - line.trim_start().len();
            let entry = line.trim();
            if !section.1.is_empty() && depth <= section.0 && !entry.starts_with('-') {
                section.1.clear();
            }
            match section.1.as_str() {
                "environment" => {
                    let (variable, value) = match entry.strip_prefix("- ") {
                        Some(item) => item.split_once('='),
                        None => entry.split_once(": "),
                    }
                    .expect("a variable and its value");
                    service.environment.insert(unquoted(variable), unquoted(value));
                }
                "volumes" => {
                    let item = unquoted(entry.trim_start_matches("- "));
                    let (here, there) = item.split_once(':').expect("a mount");
                    if here.starts_with('.') {
                        service.mounts.insert(there.into(), folder().join(here));
                    }
                }
                _ => {
                    let is_new = !service.environment.is_empty() && entry == "environment:";
                    if is_new {
                        return service;
                    }
                    if let Some(name) = entry.strip_suffix(':') {
                        section = (depth, name.to_owned());
                    }
                }
            }
        }
        service
    }
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches(['\'', '"']).to_owned()
}
