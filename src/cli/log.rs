//! `jackdaw log`: looks into the files of a data directory, and changes none of them.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::{Exit, fail};
use crate::storage::OpenError;
use crate::storage::fs::{DiskFs, Fs};
use crate::storage::inspect::{self, Report, Seen};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what segment and journal files hold, a line for each batch and entry
    Dump {
        /// Files, or directories of them
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Also print every record, and every command of the journal
        #[arg(long)]
        records: bool,
    },
    /// Hold everything in a data directory against its checksums. Beside a running broker the
    /// journal is left out, and the end of a file may be unfinished
    Verify {
        #[arg(default_value = "jackdaw-data")]
        data_dir: PathBuf,
    },
}

pub(super) fn run(options: Options) -> Exit {
    let mut out = BufWriter::new(io::stdout().lock());
    let exit = match options.command {
        Command::Dump { paths, records } => dump(&paths, records, &mut out),
        Command::Verify { data_dir } => verify(&data_dir, &mut out),
    };
    // Whoever stopped reading wants no more.
    drop(out.flush());
    exit
}

fn dump(paths: &[PathBuf], records: bool, out: &mut dyn Write) -> Exit {
    let mut exit = Exit::Fine;
    for path in paths {
        match inspect::dump(&DiskFs, path, records, out) {
            Ok(true) => {}
            Ok(false) => {
                exit = fail(Exit::Data, format_args!("{} does not hold what was written", path.display()))
            }
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return exit,
            Err(error) => return fail(Exit::InputOutput, format_args!("{}: {error}", path.display())),
        }
    }
    exit
}

fn verify(data_dir: &Path, out: &mut dyn Write) -> Exit {
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    let report = match inspect::verify(&fs, data_dir) {
        Ok(report) => report,
        Err(error @ OpenError::Io { .. }) => return fail(Exit::InputOutput, error),
        Err(OpenError::NotOurs { path }) => {
            return fail(Exit::Data, format_args!("{} is no data directory", path.display()));
        }
        Err(error) => return fail(Exit::Data, error),
    };
    let printed = print(&report, out);
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(Exit::InputOutput, error),
        _ if !report.is_sound() => fail(Exit::Data, format_args!("{} is damaged", data_dir.display())),
        _ => Exit::Fine,
    }
}

fn print(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{finding}")?;
    }
    let Report { partitions, segments, batches, bytes, snapshots, journal, findings: _ } = report;
    let journal = match journal {
        Seen::UpTo(last) => format!("journal up to entry {last}"),
        Seen::Damaged => "journal damaged".into(),
        Seen::InUse => "journal not read, as a broker is running".into(),
    };
    writeln!(
        out,
        "{partitions} partitions, {segments} segments, {batches} batches, {bytes} bytes; {snapshots} snapshots; {journal}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_at_has_its_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.log");
        let run = |command| run(Options { command });
        assert_eq!(run(Command::Verify { data_dir: dir.path().to_owned() }), Exit::Data);
        assert_eq!(run(Command::Dump { paths: vec![missing.clone()], records: true }), Exit::InputOutput);
        std::fs::write(&missing, "no batch at all").unwrap();
        assert_eq!(run(Command::Dump { paths: vec![missing], records: true }), Exit::Data);
    }
}
