//! The fuzz targets. Their bodies are in `tests`, where `cargo test` runs them over the corpus; see README.md.

#![expect(dead_code, reason = "the tests use the rest of these files")]

use std::sync::LazyLock;

use inspect::Codec;

// The names that the files use for each other.
#[path = "../../tests/engine/damage.rs"]
mod damage;
#[path = "../../tests/engine/disk.rs"]
mod disk;
#[path = "../../tests/record/forge.rs"]
mod forge;
#[path = "../../tests/engine/history.rs"]
mod history;
#[path = "../../tests/wire/inspect.rs"]
mod inspect;
#[path = "../../tests/engine/random.rs"]
mod random;
#[path = "../../tests/record/reference.rs"]
mod reference;
#[path = "../../tests/wire/source.rs"]
mod source;
#[path = "../../tests/engine/tokens.rs"]
mod tokens;

#[path = "../../tests/record/targets.rs"]
mod batches;
#[path = "../../tests/engine/targets.rs"]
mod files;
#[path = "../../tests/wire/recode.rs"]
mod recode;
#[path = "../../tests/fuzz/security.rs"]
mod security;
#[path = "../../tests/fuzz/targets.rs"]
mod texts;

pub use batches::{batch, walk};
pub use files::{index, recovery, snapshot};
pub use security::{jaas, jwt, keystore, principal_rules, sasl};
pub use texts::{consumer_protocol, pattern, properties, telemetry};

static CODECS: LazyLock<Vec<Codec>> = LazyLock::new(inspect::all);

pub fn frame(data: &[u8]) -> bool {
    recode::frame(data, &CODECS)
}
