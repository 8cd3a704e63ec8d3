//! `jackdaw backup`: copies a data directory, also of a running broker.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustix::fs::Mode;

use super::sources::DataDir;
use super::{Exit, exit_of_open, fail};
use crate::storage::local::backup::{Backup, BackupError, FsDir, NoHold, back_up};
use crate::storage::local::fs::{DiskFs, Fs};
use crate::time;

/// The time that another backup, a start or a removal of files may take until a backup begins.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  jackdaw backup /backups/monday --data-dir /var/lib/jackdaw")]
pub(super) struct Options {
    #[command(flatten)]
    from: DataDir,
    /// The directory for the copy, which must be missing or empty
    #[arg(value_name = "TO")]
    to: PathBuf,
}

pub(super) fn run(options: &Options) -> Exit {
    let data_dir = match options.from.find(None) {
        Ok(data_dir) => data_dir,
        Err((exit, why)) => return fail(exit, why),
    };
    // Records and credentials are nobody else's business, whoever makes the copy.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    match patiently(&resolved(&data_dir), &resolved(&options.to)) {
        Ok(backup) => print(&backup, &options.to),
        Err(error) => fail(exit_of(&error), format_args!("cannot back up {}: {error}", data_dir.display())),
    }
}

/// The path without links, so that a target in the data directory is seen as such. Its end need not exist.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = path.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    // `join` with nothing would end in a slash.
    let resolved = existing
        .and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?).components().collect()));
    resolved.unwrap_or(path)
}

/// Tries again while another process has what it needs.
fn patiently(data_dir: &Path, to: &Path) -> Result<Backup, BackupError> {
    let disk: Arc<dyn Fs> = Arc::new(DiskFs);
    let (from, to) = (FsDir { fs: &disk, dir: data_dir }, FsDir { fs: &disk, dir: to });
    let mut waited = Duration::ZERO;
    loop {
        match back_up(from, to, &mut |_| {}) {
            Err(BackupError::NoHold(_)) if waited < PATIENCE => {
                waited += PAUSE;
                pause();
            }
            other => return other,
        }
    }
}

fn pause() {
    // Without a runtime it is tried again at once.
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() {
        runtime.block_on(time::sleep(PAUSE));
    }
}

fn print(backup: &Backup, to: &Path) -> Exit {
    let Backup { entry, topics, partitions, bytes, out_of_service } = backup;
    // Ignored: the reader may stop reading, and the backup is complete.
    let _ = writeln!(
        io::stdout(),
        "{} is complete: {topics} topics, {partitions} partitions, {bytes} bytes of records, up to entry {entry} of the \
         journal",
        to.display()
    );
    for (partition, why) in out_of_service {
        let _ = writeln!(io::stdout(), "out of service in it: {partition}: {why}");
    }
    match out_of_service.len() {
        0 => Exit::Fine,
        damaged => fail(
            Exit::Data,
            format_args!(
                "the backup has everything else, but {damaged} partitions are damaged: `jackdaw log verify {}` lists the \
                 damage",
                to.display()
            ),
        ),
    }
}

fn exit_of(error: &BackupError) -> Exit {
    match error {
        BackupError::NoHold(NoHold::Taken | NoHold::NotServing)
        | BackupError::Restarted
        | BackupError::TakenAway => Exit::InUse,
        BackupError::NotEmpty(_) | BackupError::Inside(_) => Exit::Usage,
        BackupError::NoRoom { .. } => Exit::InputOutput,
        BackupError::Open(error) => exit_of_open(error),
    }
}
