//! `jackdaw user`: the users who log in with SCRAM. librdkafka without OpenSSL has no requests for this, so the program
//! sends them itself. `add --offline` writes to the data directory of a broker that does not run, which makes the first
//! user of a broker whose listeners all ask for a login.

use std::io::{self, BufRead};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::peer::bootstrap;
use super::table::Table;
use super::{CommandOutcome, Connect, Exit, Failure, Output, Session, run, shown};
use crate::cli::fail;
use crate::cli::format::store_users;
use crate::cli::sources::Sources;
use crate::kernel::CredentialChange;
use crate::protocol::messages::{
    AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest, ScramCredentialDeletion,
    ScramCredentialUpsertion, UserName,
};
use crate::security::sasl::scram::{self, LEAST_ITERATIONS, MOST_ITERATIONS};
use crate::time;
use crate::types::ScramHash;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List users with their mechanisms and iterations
    #[command(after_help = "Example:\n  jackdaw user list")]
    List {
        /// Only these users
        users: Vec<String>,
    },
    /// Add a user, or give one another password. The password is the first line of standard input
    #[command(after_help = "Example:\n  jackdaw user add ann --password-file ann.txt")]
    Add(Add),
    /// Delete a user, for one mechanism or for all
    #[command(after_help = "Example:\n  jackdaw user delete ann")]
    Delete {
        user: String,
        /// Only for this mechanism
        #[arg(long, value_parser = mechanism)]
        mechanism: Option<ScramHash>,
    },
}

#[derive(Debug, Args)]
struct Add {
    user: String,
    /// SCRAM-SHA-256 or SCRAM-SHA-512
    #[arg(long, default_value = "SCRAM-SHA-512", value_parser = mechanism)]
    mechanism: ScramHash,
    /// How often the hash function is applied to the password
    #[arg(long, default_value_t = LEAST_ITERATIONS,
          value_parser = clap::value_parser!(i32).range(i64::from(LEAST_ITERATIONS)..=i64::from(MOST_ITERATIONS)))]
    iterations: i32,
    /// Read the password from the first line of this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Write to the data directory of a broker that does not run; it is made if it does not exist
    #[arg(long)]
    offline: bool,
    /// The data directory, for --offline
    #[arg(long, value_name = "DIR", requires = "offline")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    sources: Sources,
}

fn mechanism(written: &str) -> Result<ScramHash, String> {
    let known = ScramHash::ALL.iter().copied().find(|hash| hash.name().eq_ignore_ascii_case(written));
    known.ok_or_else(|| "expected SCRAM-SHA-256 or SCRAM-SHA-512".to_owned())
}

pub fn execute(options: Options) -> Exit {
    let Options { connect, command } = options;
    match command {
        Command::Add(add) if add.offline => add_offline(&add),
        command => run(&connect, |session, out| match command {
            Command::List { users } => list(session, users, out),
            Command::Add(add) => add_online(session, &add),
            Command::Delete { user, mechanism } => delete(session, &user, mechanism),
        }),
    }
}

fn list(session: &Session, users: Vec<String>, out: &mut Output) -> CommandOutcome {
    let users = users.into_iter().map(|name| UserName { name }).collect();
    let mut broker = bootstrap(session)?;
    let answer = broker.call(0..=0, &DescribeUserScramCredentialsRequest { users: Some(users) })?;
    broker.accept(answer.error_code)?;
    let mut results = answer.results;
    results.sort_by(|one, other| one.user.cmp(&other.user));
    let mut table = Table::new(&["user", "mechanism", "iterations"]);
    let mut refused = Ok(());
    for result in results {
        refused = refused.and(broker.accept_with(result.error_code, result.error_message));
        for info in result.credential_infos {
            let mechanism = ScramHash::numbered(info.mechanism)
                .map_or_else(|| info.mechanism.to_string(), |hash| hash.name().to_owned());
            table.row([json!(result.user), json!(mechanism), json!(info.iterations)]);
        }
    }
    table.print(session.json(), out)?;
    refused
}

fn add_online(session: &Session, add: &Add) -> CommandOutcome {
    let (salt, salted) = salted(add)?;
    let upsertion = ScramCredentialUpsertion {
        name: add.user.clone(),
        mechanism: add.mechanism.number(),
        iterations: add.iterations,
        salt: salt.to_vec().into(),
        salted_password: salted.into(),
    };
    alter(session, AlterUserScramCredentialsRequest { deletions: Vec::new(), upsertions: vec![upsertion] })
}

/// As in Kafka, one request changes one mechanism of a user.
fn delete(session: &Session, user: &str, mechanism: Option<ScramHash>) -> CommandOutcome {
    let mechanisms = match mechanism {
        Some(hash) => vec![hash.number()],
        None => mechanisms_of(session, user)?,
    };
    for mechanism in mechanisms {
        let deletion = ScramCredentialDeletion { name: user.to_owned(), mechanism };
        alter(
            session,
            AlterUserScramCredentialsRequest { deletions: vec![deletion], upsertions: Vec::new() },
        )?;
    }
    Ok(())
}

fn mechanisms_of(session: &Session, user: &str) -> CommandOutcome<Vec<i8>> {
    let mut broker = bootstrap(session)?;
    let users = Some(vec![UserName { name: user.to_owned() }]);
    let answer = broker.call(0..=0, &DescribeUserScramCredentialsRequest { users })?;
    broker.accept(answer.error_code)?;
    let result = answer.results.into_iter().next();
    let result = result.ok_or_else(|| Failure::refused(format_args!("there is no user {}", shown(user))))?;
    broker.accept_with(result.error_code, result.error_message)?;
    Ok(result.credential_infos.iter().map(|info| info.mechanism).collect())
}

fn alter(session: &Session, request: AlterUserScramCredentialsRequest) -> CommandOutcome {
    let mut broker = bootstrap(session)?;
    let answer = broker.call(0..=0, &request)?;
    let mut results = answer.results.into_iter();
    results.try_for_each(|result| broker.accept_with(result.error_code, result.error_message))
}

/// A new salt, and the salted password.
fn salted(add: &Add) -> CommandOutcome<([u8; 32], Vec<u8>)> {
    let password = password(add.password_file.as_deref())?;
    let salt = time::random_bytes();
    let iterations = u32::try_from(add.iterations).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    Ok((salt, scram::salted_password(add.mechanism, &password, &salt, iterations)))
}

fn password(file: Option<&Path>) -> CommandOutcome<String> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)?,
        None => {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            line
        }
    };
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        return Err(Failure::Usage(
            "the password is empty: write it to standard input, or to --password-file".to_owned(),
        ));
    }
    Ok(password.to_owned())
}

fn add_offline(add: &Add) -> Exit {
    let (salt, salted) = match salted(add) {
        Ok(salted) => salted,
        Err(Failure::InputOutput(error)) => return fail(Exit::InputOutput, error),
        Err(Failure::Refused(why) | Failure::Unavailable(why) | Failure::Usage(why)) => {
            return fail(Exit::Usage, why);
        }
    };
    let data_dir = add.data_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
    let settings = match add.sources.of_broker(&[("--data-dir", "log.dirs", data_dir)]) {
        Ok(settings) => settings,
        Err((exit, why)) => return fail(exit, why),
    };
    let credential = scram::credential_of_salted(add.mechanism, &salted, &salt, add.iterations);
    let change = CredentialChange {
        user: add.user.clone(),
        mechanism: add.mechanism.number(),
        credential: Some(credential),
    };
    store_users(settings, vec![change])
}
