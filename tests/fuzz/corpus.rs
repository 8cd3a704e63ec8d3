//! The inputs of the fuzz targets, in `fuzz/corpus`: a folder for each target, a file for each input.

use std::path::PathBuf;
use std::{env, fs};

/// Inputs with their names.
pub type Seeds = Vec<(String, Vec<u8>)>;

/// The number of inputs that a target accepted and refused.
#[derive(Debug, Default)]
pub struct Replayed {
    pub accepted: usize,
    pub refused: usize,
}

/// Runs the target over its corpus. `SEED_CORPUS=1` writes the seeds into it first.
pub fn replay(target: &str, seeds: impl FnOnce() -> Seeds, run: impl Fn(&[u8]) -> bool) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    if env::var_os("SEED_CORPUS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds() {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut replayed = Replayed::default();
    for path in paths {
        // The last line before a panic names the input.
        println!("{}", path.display());
        if run(&fs::read(&path).unwrap()) { replayed.accepted += 1 } else { replayed.refused += 1 }
    }
    assert!(replayed.accepted > 0 && replayed.refused > 0, "{target}: both happen: {replayed:?}");
}
