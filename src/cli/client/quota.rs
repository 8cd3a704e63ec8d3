//! `jackdaw quota`: lists, sets and removes quotas of users, client ids and addresses. librdkafka has no requests for
//! this, so the program sends them itself.

use std::io::Write;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

use super::peer::bootstrap;
use super::table::Table;
use super::{CommandOutcome, Connect, Exit, Failure, Output, Session, run, shown};
use crate::protocol::messages::alter_client_quotas_request::{
    AlterClientQuotasRequest, EntityData, EntryData, OpData,
};
use crate::protocol::messages::describe_client_quotas_request::{ComponentData, DescribeClientQuotasRequest};
use crate::protocol::messages::describe_client_quotas_response::EntryData as Described;
use crate::security::quota::QuotaKind;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List quotas: all, or those that are set for exactly the entity of the options
    #[command(after_help = "Example:\n  jackdaw quota list --for-user ann")]
    List(Entity),
    /// Set quotas of an entity
    #[command(after_help = "Example:\n  jackdaw quota set --for-user ann producer_byte_rate=1048576")]
    Set {
        #[command(flatten)]
        entity: Entity,
        /// producer_byte_rate, consumer_byte_rate (bytes per second), request_percentage,
        /// controller_mutation_rate (partitions per second), or connection_creation_rate (per second, with --for-ip)
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = named_rate)]
        values: Vec<(String, f64)>,
    },
    /// Remove quotas of an entity
    #[command(after_help = "Example:\n  jackdaw quota remove --for-user ann producer_byte_rate")]
    Remove {
        #[command(flatten)]
        entity: Entity,
        #[arg(required = true, value_name = "NAME", value_parser = name)]
        names: Vec<String>,
    },
}

/// The clients that a quota is for: a user, a client id, both, or an address.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("user_part").args(["user", "default_user"])))]
#[command(group(ArgGroup::new("client_part").args(["client_id", "default_client_id"])))]
#[command(group(ArgGroup::new("ip_part").args(["ip", "default_ip"]).conflicts_with_all(["user_part", "client_part"])))]
struct Entity {
    /// A user, without User:
    #[arg(long = "for-user", value_name = "NAME")]
    user: Option<String>,
    /// All users without a quota of their own
    #[arg(long = "for-default-user")]
    default_user: bool,
    /// A client id
    #[arg(long = "for-client-id", value_name = "ID")]
    client_id: Option<String>,
    /// All client ids without a quota of their own
    #[arg(long = "for-default-client-id")]
    default_client_id: bool,
    /// An address of clients
    #[arg(long = "for-ip", value_name = "ADDRESS")]
    ip: Option<String>,
    /// All addresses without a quota of their own
    #[arg(long = "for-default-ip")]
    default_ip: bool,
}

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";
/// The name of a default in tables.
const DEFAULT_NAME: &str = "<default>";

fn name(written: &str) -> Result<String, String> {
    let names = QuotaKind::ALL.map(QuotaKind::name);
    if names.contains(&written) {
        Ok(written.to_owned())
    } else {
        Err(format!("expected {}", names.join(", ")))
    }
}

fn named_rate(written: &str) -> Result<(String, f64), String> {
    let (of, value) = written.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = value.parse().map_err(|_| format!("{value} is not a number"))?;
    Ok((name(of)?, value))
}

pub fn execute(options: Options) -> Exit {
    let Options { connect, command } = options;
    run(&connect, |session, out| match command {
        Command::List(entity) => list(session, &entity, out),
        Command::Set { entity, values } => {
            let set = |(key, value)| OpData { key, value, remove: false };
            alter(session, &entity, values.into_iter().map(set), out)
        }
        Command::Remove { entity, names } => {
            let remove = |key| OpData { key, value: 0.0, remove: true };
            alter(session, &entity, names.into_iter().map(remove), out)
        }
    })
}

fn list(session: &Session, entity: &Entity, out: &mut Output<'_>) -> CommandOutcome {
    const EXACT: i8 = 0;
    const DEFAULT: i8 = 1;
    let parts = entity.parts();
    let filter = |(kind, name): &(&str, Option<String>)| ComponentData {
        entity_type: (*kind).to_owned(),
        match_type: if name.is_some() { EXACT } else { DEFAULT },
        r#match: name.clone(),
    };
    let components: Vec<ComponentData> = parts.iter().map(filter).collect();
    let request = DescribeClientQuotasRequest { strict: !components.is_empty(), components };
    let mut broker = bootstrap(session)?;
    let answer = broker.call(0..=1, &request)?;
    broker.accept_with(answer.error_code, answer.error_message)?;
    let mut rows = Vec::new();
    for entry in answer.entries.unwrap_or_default() {
        let names = [USER, CLIENT_ID, IP].map(|kind| name_in(&entry, kind));
        rows.extend(entry.values.into_iter().map(|value| (names.clone(), value.key, value.value)));
    }
    rows.sort_by(|(names, quota, _), (others, other, _)| (names, quota).cmp(&(others, other)));
    let mut table = Table::new(&["user", "client_id", "ip", "quota", "value"]);
    for ([user, client_id, ip], quota, value) in rows {
        table.row([json!(user), json!(client_id), json!(ip), json!(quota), json!(value)]);
    }
    Ok(table.print(session.json(), out)?)
}

/// The name of a part of an entity; `None` if the entity has no such part.
fn name_in(entry: &Described, kind: &str) -> Option<String> {
    let part = entry.entity.iter().find(|part| part.entity_type == kind)?;
    Some(part.entity_name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned()))
}

fn alter(
    session: &Session,
    entity: &Entity,
    ops: impl Iterator<Item = OpData>,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let parts = entity.parts();
    if parts.is_empty() {
        return Err(Failure::Usage("name a user, a client id or an address: see --help".to_owned()));
    }
    let part = |(kind, name): &(&str, Option<String>)| EntityData {
        entity_type: (*kind).to_owned(),
        entity_name: name.clone(),
    };
    let entry = EntryData { entity: parts.iter().map(part).collect(), ops: ops.collect() };
    let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false };
    let mut broker = bootstrap(session)?;
    for entry in broker.call(0..=1, &request)?.entries {
        broker.accept_with(entry.error_code, entry.error_message)?;
    }
    let named = |(kind, name): &(&str, Option<String>)| {
        format!("{kind} {}", name.as_deref().map_or(DEFAULT_NAME.to_owned(), shown))
    };
    if session.json() {
        let entity: serde_json::Map<String, serde_json::Value> =
            parts.iter().map(|(kind, name)| ((*kind).to_owned(), json!(name))).collect();
        return Ok(writeln!(out, "{}", json!({ "entity": entity, "result": "altered" }))?);
    }
    let names: Vec<String> = parts.iter().map(named).collect();
    Ok(writeln!(out, "altered the quotas of {}", names.join(", "))?)
}

impl Entity {
    /// The parts of the entity; a default has no name.
    fn parts(&self) -> Vec<(&'static str, Option<String>)> {
        let all = [
            (USER, &self.user, self.default_user),
            (CLIENT_ID, &self.client_id, self.default_client_id),
            (IP, &self.ip, self.default_ip),
        ];
        let is_there = |(_, name, is_default): &(&str, &Option<String>, bool)| name.is_some() || *is_default;
        all.into_iter().filter(is_there).map(|(kind, name, _)| (kind, name.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }

    fn parts(args: &str) -> Option<Vec<(&'static str, Option<String>)>> {
        let words =
            ["quota", "set"].into_iter().chain(args.split_whitespace()).chain(["request_percentage=1"]);
        match Program::try_parse_from(words).ok()?.options.command {
            Command::Set { entity, .. } => Some(entity.parts()),
            Command::List(_) | Command::Remove { .. } => None,
        }
    }

    #[test]
    fn an_entity_is_a_user_a_client_id_both_or_an_address() {
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(parts("--for-user ann"), Some(vec![(USER, name("ann"))]));
        let both = vec![(USER, name("ann")), (CLIENT_ID, None)];
        assert_eq!(parts("--for-user ann --for-default-client-id"), Some(both));
        assert_eq!(parts("--for-default-ip"), Some(vec![(IP, None)]));
        assert_eq!(parts("--for-user ann --for-default-user"), None);
        assert_eq!(parts("--for-ip 192.0.2.1 --for-client-id one"), None);
        assert_eq!(parts("--for-default-ip --for-default-user"), None);
    }

    #[test]
    fn a_quota_has_one_of_kafkas_names_and_a_number() {
        assert_eq!(named_rate("request_percentage=0.5"), Ok(("request_percentage".to_owned(), 0.5)));
        assert!(named_rate("request_percentage=much").is_err());
        assert!(named_rate("producer_byte_rates=1").is_err_and(|why| why.contains("producer_byte_rate,")));
        assert!(named_rate("producer_byte_rate").is_err());
    }
}
