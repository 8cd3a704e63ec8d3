//! Generates the checks of all messages, as the build script of the main package does for its tests.

use std::path::Path;
use std::{env, fs};

#[path = "../build/checks.rs"]
mod checks;
#[expect(dead_code, reason = "the build script of the main package uses the rest")]
#[path = "../build/messages.rs"]
mod messages;
#[path = "../build/schema.rs"]
mod schema;

const SCHEMAS: &str = "../src/protocol/schema";

fn main() {
    println!("cargo::rerun-if-changed={SCHEMAS}");
    let checks = checks::generate(&schema::read_all(Path::new(SCHEMAS)));
    let out = env::var_os("OUT_DIR").expect("cargo names the folder for generated files");
    fs::write(Path::new(&out).join("checks.rs"), checks).expect("the generated checks");
}
