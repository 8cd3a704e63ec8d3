//! `jackdaw log`: inspects the files of a data directory, and repairs them.

use std::io::{self, BufRead, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::sources::DataDir;
use super::{Exit, exit_of_open, fail};
use crate::storage::OpenError;
use crate::storage::local::fs::{DiskFs, Fs};
use crate::storage::local::inspect::{self, NextStart, Report};
use crate::storage::local::repair::{self, Plan};
use crate::storage::local::skip::{self, SkipError};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the content of segment, journal and snapshot files, one line per batch, entry or snapshot
    #[command(after_help = "Example:\n  jackdaw log dump /var/lib/jackdaw --records")]
    Dump {
        /// Files, or directories with such files
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Also print all records, all commands of the journal and the topics of snapshots
        #[arg(long)]
        records: bool,
    },
    /// Predict the next start of a data directory, and check every record that it would serve. While a
    /// broker is running only the files of topics are checked, and the end of a file may be incomplete
    #[command(
        after_help = "Examples:\n  jackdaw log verify /var/lib/jackdaw\n  jackdaw log verify --config server.properties"
    )]
    Verify {
        #[command(flatten)]
        place: Place,
    },
    /// List the losses of a damaged data directory, and with --accept-loss repair it, so that the next
    /// start serves the rest. The old files are kept in the directory, in a folder below `aside`
    #[command(after_help = "Example:\n  jackdaw log repair /var/lib/jackdaw --accept-loss")]
    Repair {
        #[command(flatten)]
        place: Place,
        /// Repair the directory and give up damaged data, after a confirmation
        #[arg(long)]
        accept_loss: bool,
        /// Do not ask for confirmation
        #[arg(long, requires = "accept_loss")]
        yes: bool,
    },
    /// Give up one entry of the journal: the last one, if it makes every start fail although the disk is
    /// sound. Everything in it is lost. The old journal is kept in a folder below `aside`
    #[command(after_help = "Example:\n  jackdaw log skip 42 /var/lib/jackdaw")]
    Skip {
        /// The number of the entry, from the message of the failed start
        entry: u64,
        #[command(flatten)]
        place: Place,
    },
}

/// The data directory: the path, else that of the settings.
#[derive(Debug, Args)]
struct Place {
    /// The same as --data-dir
    #[arg(value_name = "DIR", conflicts_with = "data_dir")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    settings: DataDir,
}

impl Place {
    /// Does the work in the data directory.
    fn with(&self, work: impl FnOnce(&Path) -> Exit) -> Exit {
        match self.settings.find(self.dir.as_deref()) {
            Ok(data_dir) => work(&data_dir),
            Err((exit, why)) => fail(exit, why),
        }
    }
}

pub(super) fn run(options: Options) -> Exit {
    let mut out = BufWriter::new(io::stdout().lock());
    let exit = match options.command {
        Command::Dump { paths, records } => dump(&paths, records, &mut out),
        Command::Verify { place } => place.with(|data_dir| verify(data_dir, &mut out)),
        Command::Repair { place, accept_loss, yes } => place.with(|data_dir| {
            let consent = || accept_loss && (yes || is_agreed(&mut io::stdin().lock()));
            repair(data_dir, accept_loss, consent, &mut out)
        }),
        Command::Skip { entry, place } => place.with(|data_dir| skip(data_dir, entry, &mut out)),
    };
    // Ignored: the reader may stop reading.
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
        Err(error) => return fail(Exit::Data, error),
    };
    match print(&report, out) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return fail(Exit::InputOutput, error),
        _ => {}
    }
    match &report.next_start {
        NextStart::Refused(error) => exit_of_open(error),
        _ if !report.is_sound() => fail(Exit::Data, format_args!("{} is damaged", data_dir.display())),
        NextStart::InUse | NextStart::Serves(_) => Exit::Fine,
    }
}

/// Prints the losses of a repair, and repairs the directory after consent.
fn repair(data_dir: &Path, accept_loss: bool, consent: impl FnOnce() -> bool, out: &mut dyn Write) -> Exit {
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    let plan = match repair::plan(&fs, data_dir) {
        Ok(plan) => plan,
        Err(error) => return fail(exit_of_open(&error), error),
    };
    if plan.is_empty() {
        drop(writeln!(out, "nothing to repair: the next start serves all data"));
        return Exit::Fine;
    }
    if let Err(error) = print_plan(&plan, accept_loss, out) {
        return fail(Exit::InputOutput, error);
    }
    if !consent() {
        return fail(Exit::Data, "nothing was changed");
    }
    match repair::repair(&fs, data_dir) {
        Ok(aside) => {
            drop(writeln!(out, "repaired; the old files are in {}", aside.display()));
            Exit::Fine
        }
        Err(error) => fail(exit_of_open(&error), error),
    }
}

fn skip(data_dir: &Path, entry: u64, out: &mut dyn Write) -> Exit {
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    match skip::skip(&fs, data_dir, entry) {
        Ok(aside) => {
            let aside = aside.display();
            drop(writeln!(out, "a start passes over entry {entry} now; the old journal is in {aside}"));
            Exit::Fine
        }
        Err(SkipError::Open(error)) => fail(exit_of_open(&error), error),
        Err(SkipError::Refused(why)) => fail(Exit::Data, format_args!("{why}; nothing was changed")),
    }
}

fn print_plan(plan: &Plan, accept_loss: bool, out: &mut dyn Write) -> io::Result<()> {
    if let Some(refusal) = &plan.refusal {
        writeln!(out, "the next start is refused: {refusal}")?;
    }
    if plan.losses.is_empty() {
        writeln!(out, "a repair loses nothing")?;
    } else {
        writeln!(out, "a repair loses:")?;
    }
    plan.losses.iter().try_for_each(|loss| writeln!(out, "  {loss}"))?;
    if accept_loss {
        write!(out, "repair it? The old files are kept. Type yes: ")?;
    } else {
        writeln!(out, "run it again with --accept-loss to repair it; the old files are kept")?;
    }
    out.flush()
}

fn is_agreed(answer: &mut dyn BufRead) -> bool {
    let mut line = String::new();
    answer.read_line(&mut line).is_ok() && line.trim() == "yes"
}

fn print(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{finding}")?;
    }
    let Report { partitions, segments, batches, bytes, snapshots, next_start, findings: _, out_when_read } =
        report;
    writeln!(
        out,
        "{partitions} partitions, {segments} segments, {batches} batches, {bytes} bytes; {snapshots} snapshots"
    )?;
    match next_start {
        NextStart::InUse => {
            writeln!(out, "a broker is running here: only the files of its topics were checked")
        }
        NextStart::Refused(error) => {
            writeln!(out, "the next start is refused with exit code {}: {error}", exit_of_open(error) as u8)
        }
        NextStart::Serves(account) => {
            let names = |names: &mut dyn Iterator<Item = &String>| {
                let names: Vec<&str> = names.map(String::as_str).collect();
                if names.is_empty() { "none".to_owned() } else { names.join(" ") }
            };
            writeln!(
                out,
                "the next start serves; out of service from the start: {}; out of service once read: {}",
                names(&mut account.out_of_service.keys()),
                names(&mut out_when_read.iter()),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_cannot_be_inspected_have_exit_codes_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.log");
        let run = |command| run(Options { command });
        let place = Place { dir: Some(dir.path().to_owned()), settings: DataDir::default() };
        assert_eq!(run(Command::Verify { place }), Exit::Data);
        assert_eq!(run(Command::Dump { paths: vec![missing.clone()], records: true }), Exit::InputOutput);
        std::fs::write(&missing, "no batch at all").unwrap();
        assert_eq!(run(Command::Dump { paths: vec![missing], records: true }), Exit::Data);
    }
}
