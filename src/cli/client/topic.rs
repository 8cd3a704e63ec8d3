//! `jackdaw topic`: lists, describes, creates, alters and deletes topics, and places their replicas.

mod change;
mod placement;
mod records;
mod show;

use clap::{Args, Subcommand};

use super::brokers::Brokers;
use super::config::{Change, Resource};
use super::{Connect, Exit, position, run};
use crate::cli::client::position::Position;
use crate::cli::serve::name_and_value;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List topics with their sizes
    #[command(after_help = "Example:\n  jackdaw topic list --pattern 'orders.*'")]
    List {
        /// Also list topics that begin with two underscores
        #[arg(long)]
        all: bool,
        /// Only topics whose whole name matches this regular expression
        #[arg(long)]
        pattern: Option<String>,
    },
    /// Partitions, offsets, sizes and settings of topics
    #[command(after_help = "Example:\n  jackdaw topic describe orders")]
    Describe {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
    },
    /// Create topics
    #[command(
        after_help = "Example:\n  jackdaw topic create orders --partitions 3 --set retention.ms=3600000"
    )]
    Create(change::Create),
    /// Delete topics and all their records
    ///
    /// Topics that are found by a pattern are deleted after a question on the terminal.
    #[command(after_help = "Example:\n  jackdaw topic delete --pattern 'test-.*' --yes")]
    Delete(change::Delete),
    /// Change settings of a topic: all of them, or none if one is refused
    #[command(
        after_help = "Example:\n  jackdaw topic alter orders --set retention.ms=3600000 --unset segment.ms"
    )]
    Alter {
        topic: String,
        /// Set a setting; may be repeated
        #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        set: Vec<(String, String)>,
        /// Reset a setting to the broker's value; may be repeated
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
    },
    /// Increase the number of partitions of a topic to COUNT
    #[command(after_help = "Example:\n  jackdaw topic partitions orders 6")]
    Partitions { topic: String, count: u16 },
    /// Delete the records of a topic before a position
    #[command(
        after_help = "Example:\n  jackdaw topic delete-records orders --before @2026-11-25T08:00:00Z --dry-run"
    )]
    DeleteRecords {
        topic: String,
        /// The first record to keep in each partition
        #[arg(long, value_name = "POSITION", allow_hyphen_values = true, long_help = position::HELP)]
        before: Position,
        /// Only in this partition; may be repeated
        #[arg(long = "partition", value_name = "NUMBER")]
        partitions: Vec<i32>,
        /// Only show what would be deleted
        #[arg(long)]
        dry_run: bool,
        /// Do not ask on the terminal
        #[arg(long)]
        yes: bool,
    },
    /// Elect the preferred replica of partitions as their leader, or with --unclean a replica that is not in sync
    #[command(after_help = "Example:\n  jackdaw topic elect orders --partition 0")]
    Elect(placement::Elect),
    /// Place the partitions of a topic on other brokers
    #[command(after_help = "Example:\n  jackdaw topic reassign orders --replicas 1,2,3")]
    Reassign(placement::Reassign),
    /// List the partitions that are being moved
    #[command(after_help = "Example:\n  jackdaw topic reassignments")]
    Reassignments {
        /// Only those of these topics
        #[arg(value_name = "TOPIC")]
        topics: Vec<String>,
    },
}

pub fn execute(options: Options) -> Exit {
    let Options { connect, command } = options;
    run(&connect, |session, out| {
        let mut brokers = Brokers::of(session)?;
        match command {
            Command::List { all, pattern } => show::list(session, &mut brokers, all, pattern.as_deref(), out),
            Command::Describe { topics } => show::describe(session, &mut brokers, &topics, out),
            Command::Create(create) => create.run(session, &mut brokers, out),
            Command::Delete(delete) => delete.run(session, &mut brokers, out),
            Command::Alter { topic, set, unset } => {
                let change = Change { set: &set, unset: &unset, dry_run: false };
                change.make(session, &mut brokers, &Resource::Topic(topic), out)
            }
            Command::Partitions { topic, count } => {
                change::partitions(session, &mut brokers, &topic, count, out)
            }
            Command::DeleteRecords { topic, before, partitions, dry_run, yes } => {
                let wanted = records::Deletion { topic, before, partitions, dry_run, yes };
                wanted.run(session, &mut brokers, out)
            }
            Command::Elect(elect) => elect.run(session, &mut brokers, out),
            Command::Reassign(reassign) => reassign.run(session, &mut brokers, out),
            Command::Reassignments { topics } => placement::list(session, &mut brokers, &topics, out),
        }
    })
}
