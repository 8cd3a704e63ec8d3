//! Turns the message schemas in `src/protocol/schema` into Rust: the types of `protocol::messages`,
//! and for the tests a second file that looks at every field of them by name.

use std::path::Path;
use std::{env, fs};

#[path = "build/checks.rs"]
mod checks;
#[path = "build/messages.rs"]
mod messages;
#[path = "build/schema.rs"]
mod schema;

const SCHEMAS: &str = "src/protocol/schema";

fn main() {
    println!("cargo::rerun-if-changed={SCHEMAS}");
    let mut files: Vec<_> = fs::read_dir(SCHEMAS)
        .expect("the schema folder")
        .map(|entry| entry.expect("a schema").path())
        .collect();
    files.sort();

    let mut known = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("a schema is text");
        known.extend(schema::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    }

    let out = env::var_os("OUT_DIR").expect("cargo names the folder for generated files");
    fs::write(Path::new(&out).join("messages.rs"), messages::generate(&known)).expect("the generated types");
    fs::write(Path::new(&out).join("checks.rs"), checks::generate(&known)).expect("the generated checks");
}
