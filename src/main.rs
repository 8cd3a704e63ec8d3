//! Reads the command line, runs, and turns the result into an exit code.

use std::process::ExitCode;

#[cfg(all(target_env = "musl", feature = "mimalloc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    jackdaw::cli::run()
}
