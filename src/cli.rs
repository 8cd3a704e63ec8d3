//! The command line. `jackdaw` alone means `jackdaw serve`.

mod address;
mod backup;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "security")]
mod format;
mod generate;
mod health;
mod log;
mod log_level;
mod notify;
mod readiness;
mod serve;
mod sources;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::storage::OpenError;
use crate::telemetry;

/// The exit code of the process. `jackdaw --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Fine = 0,
    #[cfg(any(feature = "client", feature = "security"))]
    Refused = 1,
    Usage = 64,
    Data = 65,
    Unavailable = 69,
    InputOutput = 74,
    InUse = 75,
    Settings = 78,
}

const EXIT_CODES: &str = "Exit codes:
   0  success
   1  a client command was refused or only partly done, or a data directory is formatted already
  64  wrong command line
  65  the data directory is damaged, is not this broker's or is from a newer version
  69  an address is not available, or no broker answers
  74  a file cannot be read or written
  75  the data directory is in use
  78  a setting is refused, or the limit of open files is too low";

/// A Kafka-compatible server in one small binary.
#[derive(Debug, Parser)]
#[command(name = "jackdaw", version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(flatten)]
    serve: serve::Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker (the default command)
    #[command(
        after_help = "Example:\n  jackdaw serve --data-dir /var/lib/jackdaw --listen :9092 --http 9644"
    )]
    Serve(serve::Options),
    /// Check that a broker answers: exits with 0 if it does, with 69 if not
    ///
    /// Without an address it asks the first listener in the settings.
    Health(health::Options),
    /// Inspect and repair the files of a data directory
    Log(log::Options),
    /// Copy a data directory, also while its broker runs
    Backup(backup::Options),
    /// Write files for other programs: completions, man pages, dashboards and alert rules
    Generate(generate::Options),
    /// Make a data directory with its first users, as kafka-storage.sh format --add-scram does
    #[cfg(feature = "security")]
    Format(format::Options),
    /// List, describe, create, alter, place and delete topics, on any Kafka broker
    #[cfg(feature = "client")]
    Topic(client::Topic),
    /// List, describe, watch, reset and delete groups
    #[cfg(feature = "client")]
    Group(client::Group),
    /// List and describe transactions, find those that hang, and abort one
    #[cfg(feature = "client")]
    Transaction(client::Transaction),
    /// Show the brokers, the controllers, the features and the log directories of a cluster
    #[cfg(feature = "client")]
    Cluster(client::Cluster),
    /// List, set and remove quotas of users, client ids and addresses
    #[cfg(feature = "client")]
    Quota(client::Quota),
    /// List, add and delete users who log in with SCRAM, also before the first start of a broker
    #[cfg(all(feature = "client", feature = "security"))]
    User(client::User),
    /// Write a record for each line of standard input
    #[cfg(feature = "client")]
    Produce(client::Produce),
    /// Print records
    #[cfg(feature = "client")]
    Consume(client::Consume),
    /// Show and alter settings of topics, brokers, groups and client metrics
    #[cfg(feature = "client")]
    Config(client::Config),
    /// List, add and remove access control lists
    #[cfg(feature = "client")]
    Acl(client::Acl),
}

pub fn run() -> ExitCode {
    run_with(std::env::args_os()).into()
}

fn run_with(arguments: impl Iterator<Item = OsString>) -> Exit {
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            // `--help` and `--version` also come this way. A failed print cannot be reported
            // anywhere.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Fine };
        }
    };
    match line.command {
        None => serve::run(line.serve),
        Some(Command::Serve(options)) => serve::run(options),
        Some(Command::Health(options)) => health::run(&options),
        Some(Command::Log(options)) => log::run(options),
        Some(Command::Backup(options)) => backup::run(&options),
        #[cfg(feature = "security")]
        Some(Command::Format(options)) => format::run(&options),
        #[cfg(feature = "client")]
        Some(Command::Topic(options)) => client::topic(options),
        #[cfg(feature = "client")]
        Some(Command::Group(options)) => client::group(options),
        #[cfg(feature = "client")]
        Some(Command::Transaction(options)) => client::transaction(options),
        #[cfg(feature = "client")]
        Some(Command::Cluster(options)) => client::cluster(options),
        #[cfg(all(feature = "client", feature = "security"))]
        Some(Command::User(options)) => client::user(options),
        #[cfg(feature = "client")]
        Some(Command::Quota(options)) => client::quota(options),
        #[cfg(feature = "client")]
        Some(Command::Produce(options)) => client::produce(options),
        #[cfg(feature = "client")]
        Some(Command::Consume(options)) => client::consume(options),
        #[cfg(feature = "client")]
        Some(Command::Config(options)) => client::config(options),
        #[cfg(feature = "client")]
        Some(Command::Acl(options)) => client::acl(options),
        Some(Command::Generate(options)) => generate::run(&options, CommandLine::command()),
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// The exit code for a data directory that cannot be opened.
fn exit_of_open(error: &OpenError) -> Exit {
    match error {
        OpenError::InUse { .. } => Exit::InUse,
        OpenError::Io { .. } => Exit::InputOutput,
        OpenError::NotOurs { .. }
        | OpenError::NotADirectory { .. }
        | OpenError::Newer { .. }
        | OpenError::Older { .. }
        | OpenError::OtherNode { .. }
        | OpenError::OtherCluster { .. }
        | OpenError::Damaged { .. } => Exit::Data,
    }
}

/// Prints the error for the user and returns the exit code.
fn fail(exit: Exit, why: impl std::fmt::Display) -> Exit {
    telemetry::say(&format!("jackdaw: {why}"));
    exit
}

#[cfg(all(test, feature = "client", feature = "security"))]
mod tests;
