//! `jackdaw group`: members, offsets and lags of groups, and resets of their offsets.

mod offsets;
mod reset;
mod show;
mod state;
mod watch;

use std::time::Duration;

use clap::{Args, Subcommand};

use super::answers::Answers;
use super::brokers::{Brokers, Coordinated};
use super::peer::reason;
use super::plan::TopicAndPartitions;
use super::position;
use super::{CommandOutcome, Connect, Exit, Failure, Output, Session, run, shown};
use crate::protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List groups with their states and lags
    #[command(after_help = "Example:\n  jackdaw group list --state Empty")]
    List {
        /// Only groups in this state; may be repeated
        #[arg(long = "state", value_name = "STATE", value_parser = state::named)]
        states: Vec<String>,
    },
    /// Show offsets, lags and members of groups
    #[command(after_help = "Example:\n  jackdaw group describe billing")]
    Describe {
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Show the lag of a group repeatedly, with its rate of change
    ///
    /// Rates are records per second since the line before: those that were written, and those that the group committed.
    /// Ends with Ctrl-C.
    #[command(after_help = "Example:\n  jackdaw group watch billing --every 5s")]
    Watch {
        group: String,
        /// The time between two tables
        #[arg(long, value_name = "TIME", default_value = "2s", value_parser = position::duration)]
        every: Duration,
        /// End after this many tables
        #[arg(long)]
        count: Option<u64>,
    },
    /// Set the offsets of a group without members
    #[command(after_help = "Examples:\n  jackdaw group reset billing --topic orders --to 2h --dry-run\n  \
                            jackdaw group reset billing --all-topics --shift -10")]
    Reset(reset::Reset),
    /// Delete the offsets of a group in topics that none of its members reads
    #[command(after_help = "Example:\n  jackdaw group delete-offsets billing --topic orders")]
    DeleteOffsets {
        group: String,
        /// A topic, or some of its partitions as in orders:0,1; may be repeated
        #[arg(long = "topic", required = true, value_name = "TOPIC")]
        topics: Vec<TopicAndPartitions>,
    },
    /// Delete groups without members, with their offsets
    #[command(after_help = "Example:\n  jackdaw group delete billing")]
    Delete {
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
}

pub fn execute(options: Options) -> Exit {
    let Options { connect, command } = options;
    run(&connect, |session, out| {
        let mut brokers = Brokers::of(session)?;
        match command {
            Command::List { states } => show::list(session, &mut brokers, &states, out),
            Command::Describe { groups } => show::describe(session, &mut brokers, &groups, out),
            Command::Watch { group, every, count } => {
                watch::watch(session, &mut brokers, &group, every, count, out)
            }
            Command::Reset(reset) => reset.run(session, &mut brokers, out),
            Command::DeleteOffsets { group, topics } => {
                offsets::delete(session, &mut brokers, &group, &topics, out)
            }
            Command::Delete { groups } => delete(session, &mut brokers, &groups, out),
        }
    })
}

fn no_group(name: &str) -> Failure {
    Failure::refused(format_args!("there is no group {}", shown(name)))
}

fn delete(
    session: &Session,
    brokers: &mut Brokers<'_>,
    groups: &[String],
    out: &mut Output<'_>,
) -> CommandOutcome {
    let mut answers = Answers::new(session);
    for name in groups {
        let request = DeleteGroupsRequest { groups_names: vec![name.clone()] };
        let answer = brokers.ask_coordinator(
            (Coordinated::Group, name),
            None,
            |answer: &DeleteGroupsResponse| answer.results.first().map_or(0, |result| result.error_code),
            |broker| broker.call(0..=3, &request),
        );
        let results = match answer {
            Ok((_, answer)) => answer.results,
            // The rows of the groups that are gone already are printed too.
            Err(failure) => return answers.end(out).and(Err(failure)),
        };
        for result in results {
            match result.error_code {
                0 => answers.done(&result.group_id, "deleted", out)?,
                code => answers.refused(&result.group_id, reason(code, result.error_message)),
            }
        }
    }
    answers.end(out)
}
