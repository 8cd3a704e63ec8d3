//! The command line: `jackdaw` means `jackdaw serve`.

use std::process::ExitCode;

pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
