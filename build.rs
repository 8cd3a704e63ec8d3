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
    let known = schema::read_all(Path::new(SCHEMAS));

    let out = env::var_os("OUT_DIR").expect("cargo names the folder for generated files");
    fs::write(Path::new(&out).join("messages.rs"), messages::generate(&known)).expect("the generated types");
    fs::write(Path::new(&out).join("checks.rs"), checks::generate(&known)).expect("the generated checks");
}
