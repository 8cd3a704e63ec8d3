//! What shells and `man` know of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use crate::cli::{Exit, fail};

pub(super) fn completions(shell: Shell, mut program: Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "jackdaw", &mut script);
    // Ignored: the reader may stop reading.
    let _ = io::stdout().write_all(&script);
    Exit::Fine
}

pub(super) fn man(dir: &Path, program: Command) -> Exit {
    match fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(program, dir)) {
        Ok(()) => Exit::Fine,
        Err(error) => fail(Exit::InputOutput, format_args!("{}: {error}", dir.display())),
    }
}
