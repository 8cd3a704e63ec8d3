//! `jackdaw config`: the settings of topics, brokers, groups and subscriptions of client metrics.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::answers::Refusals;
use super::brokers::Brokers;
use super::peer::{Peer, reason};
use super::table::Table;
use super::{CommandOutcome, Connect, Exit, Failure, Output, Session, run, shown};
use crate::cli::serve::name_and_value;
use crate::protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use crate::protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::protocol::messages::{DescribeConfigsRequest, DescribeConfigsResource};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show settings that are set
    #[command(after_help = "Example:\n  jackdaw config get topic orders retention.ms")]
    Get {
        #[command(flatten)]
        of: ConfigResource,
        /// Only this setting; may be repeated
        #[arg(value_name = "SETTING")]
        settings: Vec<String>,
        /// Also show settings with their default values
        #[arg(long)]
        all: bool,
    },
    /// Set settings: all of them, or none if one is refused
    #[command(
        after_help = "Example:\n  jackdaw config set topic orders retention.ms=3600000 cleanup.policy=delete"
    )]
    Set {
        #[command(flatten)]
        of: ConfigResource,
        #[arg(required = true, value_name = "SETTING=VALUE", value_parser = name_and_value)]
        settings: Vec<(String, String)>,
        /// Only ask the broker whether it would accept them
        #[arg(long)]
        dry_run: bool,
    },
    /// Reset settings to their defaults
    #[command(after_help = "Example:\n  jackdaw config unset broker default log.retention.ms")]
    Unset {
        #[command(flatten)]
        of: ConfigResource,
        #[arg(required = true, value_name = "SETTING")]
        settings: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct ConfigResource {
    kind: Kind,
    /// The topic, the group, the subscription, the id of the broker, or `default` for all brokers
    name: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Topic,
    Broker,
    Group,
    ClientMetrics,
}

/// The thing that has the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    Topic(String),
    Broker(i32),
    AllBrokers,
    Group(String),
    ClientMetrics(String),
}

pub fn execute(options: Options) -> Exit {
    let Options { connect, command } = options;
    run(&connect, |session, out| {
        let mut brokers = Brokers::of(session)?;
        match command {
            Command::Get { of, settings, all } => {
                get(session, &mut brokers, &of.resource()?, &settings, all, out)
            }
            Command::Set { of, settings, dry_run } => {
                let change = Change { set: &settings, unset: &[], dry_run };
                change.make(session, &mut brokers, &of.resource()?, out)
            }
            Command::Unset { of, settings } => {
                let change = Change { set: &[], unset: &settings, dry_run: false };
                change.make(session, &mut brokers, &of.resource()?, out)
            }
        }
    })
}

impl ConfigResource {
    fn resource(&self) -> CommandOutcome<Resource> {
        let name = self.name.clone();
        match self.kind {
            Kind::Topic => Ok(Resource::Topic(name)),
            Kind::Group => Ok(Resource::Group(name)),
            Kind::ClientMetrics => Ok(Resource::ClientMetrics(name)),
            Kind::Broker if name == "default" => Ok(Resource::AllBrokers),
            Kind::Broker => match name.parse() {
                Ok(number) => Ok(Resource::Broker(number)),
                Err(_) => {
                    Err(Failure::Usage("a broker is named by its number, or `default` for all".to_owned()))
                }
            },
        }
    }
}

impl Resource {
    /// Kafka's number of the kind, and the name.
    fn kind_and_name(&self) -> (i8, String) {
        match self {
            Resource::Topic(name) => (2, name.clone()),
            Resource::Broker(id) => (4, id.to_string()),
            Resource::AllBrokers => (4, String::new()),
            Resource::ClientMetrics(name) => (16, name.clone()),
            Resource::Group(name) => (32, name.clone()),
        }
    }

    /// The broker that knows the settings, of which some are only in its own file.
    fn peer<'b>(&self, brokers: &'b mut Brokers<'_>) -> CommandOutcome<&'b mut Peer> {
        match self {
            Resource::Broker(id) => brokers.broker(*id),
            Resource::Topic(name) => {
                brokers.topic(name)?;
                Ok(brokers.any())
            }
            Resource::AllBrokers | Resource::Group(_) | Resource::ClientMetrics(_) => Ok(brokers.any()),
        }
    }
}

fn get(
    session: &Session,
    brokers: &mut Brokers<'_>,
    of: &Resource,
    wanted: &[String],
    all: bool,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let mut found = entries(brokers, of)?;
    let mut refusals = Refusals::default();
    unknown(wanted, &found).for_each(|why| refusals.add(why));
    found.retain(|entry| {
        if wanted.is_empty() { all || entry.source != DEFAULT } else { wanted.contains(&entry.name) }
    });
    refusals.end_with(&table(&found), session.json(), out)
}

/// A setting with its value and where the value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub name: String,
    /// `None` if it has none, or if it is secret.
    value: Option<String>,
    is_secret: bool,
    source: &'static str,
}

impl Setting {
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

const DEFAULT: &str = "default";

impl From<DescribeConfigsResourceResult> for Setting {
    fn from(entry: DescribeConfigsResourceResult) -> Setting {
        Setting {
            name: entry.name,
            value: entry.value,
            is_secret: entry.is_sensitive,
            source: source(entry.config_source),
        }
    }
}

/// Settings ordered by name, those with the default value last.
pub fn table(settings: &[Setting]) -> Table {
    let mut settings: Vec<&Setting> = settings.iter().collect();
    settings.sort_by_key(|setting| (setting.source == DEFAULT, &setting.name));
    let mut table = Table::new(&["setting", "value", "source"]);
    for setting in settings {
        let value = if setting.is_secret { json!("(hidden)") } else { json!(setting.value) };
        table.row([json!(setting.name), value, json!(setting.source)]);
    }
    table
}

/// The refusals of names that no setting has.
fn unknown(names: &[String], known: &[Setting]) -> impl Iterator<Item = String> {
    let unknown = names.iter().filter(|name| known.iter().all(|entry| entry.name != **name));
    unknown.map(|name| no_such_setting(name, known))
}

fn no_such_setting(unknown: &str, known: &[Setting]) -> String {
    let near = known.iter().map(|entry| (distance(unknown, &entry.name), &entry.name)).min();
    let near = near.filter(|(distance, _)| *distance <= 2).map(|(_, name)| format!("; is it {name}?"));
    format!("there is no setting {}{}", shown(unknown), near.unwrap_or_default())
}

/// The number of letters to insert, remove or replace to turn one word into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut costs: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.chars().enumerate() {
        let mut diagonal = row;
        let mut left = row + 1;
        costs[0] = left;
        for (column, known) in other.iter().enumerate() {
            let above = costs[column + 1];
            left = (left + 1).min(above + 1).min(diagonal + usize::from(letter != *known));
            diagonal = above;
            costs[column + 1] = left;
        }
    }
    costs[other.len()]
}

fn source(number: i8) -> &'static str {
    match number {
        1 => "topic",
        2 => "broker",
        3 => "all brokers",
        4 => "start of the broker",
        5 => DEFAULT,
        6 => "logger",
        7 => "client metrics",
        8 => "group",
        _ => "unknown",
    }
}

/// All settings of a topic or a broker.
pub fn entries(brokers: &mut Brokers<'_>, of: &Resource) -> CommandOutcome<Vec<Setting>> {
    let (resource_type, resource_name) = of.kind_and_name();
    let resource = DescribeConfigsResource { resource_type, resource_name, configuration_keys: None };
    let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let broker = of.peer(brokers)?;
    let answer = broker.call(1..=4, &request)?.results.into_iter().next();
    let answer = answer.ok_or_else(|| broker.refused("it did not answer for it"))?;
    if answer.error_code != 0 {
        return Err(Failure::Refused(reason(answer.error_code, answer.error_message)));
    }
    Ok(answer.configs.into_iter().map(Setting::from).collect())
}

/// Settings to set and to reset. If the broker refuses one of them, none is changed.
pub struct Change<'a> {
    pub set: &'a [(String, String)],
    pub unset: &'a [String],
    /// Only ask whether the broker would accept it.
    pub dry_run: bool,
}

impl Change<'_> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;

    pub fn make(
        &self,
        session: &Session,
        brokers: &mut Brokers<'_>,
        of: &Resource,
        out: &mut Output<'_>,
    ) -> CommandOutcome {
        if self.set.is_empty() && self.unset.is_empty() {
            return Err(Failure::Usage("nothing to set or unset".to_owned()));
        }
        if !self.unset.is_empty() && *of != Resource::AllBrokers {
            // Brokers ignore an unknown name without an error.
            if let Some(why) = unknown(self.unset, &entries(brokers, of)?).next() {
                return Err(Failure::Refused(why));
            }
        }
        let (resource_type, resource_name) = of.kind_and_name();
        let resource = AlterConfigsResource { resource_type, resource_name, configs: self.configs() };
        let request =
            IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: self.dry_run };
        for answer in of.peer(brokers)?.call(0..=1, &request)?.responses {
            if answer.error_code != 0 {
                return Err(Failure::Refused(reason(answer.error_code, answer.error_message)));
            }
        }
        self.print(session, out)
    }

    fn configs(&self) -> Vec<AlterableConfig> {
        let set = self.set.iter().map(|(name, value)| AlterableConfig {
            name: name.clone(),
            config_operation: Self::SET,
            value: Some(value.clone()),
        });
        let unset = self.unset.iter().map(|name| AlterableConfig {
            name: name.clone(),
            config_operation: Self::DELETE,
            value: None,
        });
        set.chain(unset).collect()
    }

    fn print(&self, session: &Session, out: &mut Output<'_>) -> CommandOutcome {
        if session.json() {
            let set: serde_json::Map<String, Value> =
                self.set.iter().map(|(name, value)| (name.clone(), json!(printed(name, value)))).collect();
            writeln!(out, "{}", json!({ "set": set, "unset": self.unset }))?;
            return Ok(());
        }
        let would = if self.dry_run { "would " } else { "" };
        for (name, value) in self.set {
            writeln!(out, "{would}set {}={}", shown(name), shown(printed(name, value)))?;
        }
        for name in self.unset {
            writeln!(out, "{would}unset {}", shown(name))?;
        }
        Ok(())
    }
}

/// The value, unless it looks like a secret: what a command prints is kept in logs.
fn printed<'a>(name: &str, value: &'a str) -> &'a str {
    let is_secret =
        ["password", "secret", "jaas", "keystore.key", "token"].iter().any(|word| name.contains(word));
    if is_secret { "(hidden)" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, source: &'static str) -> Setting {
        Setting { name: name.to_owned(), value: Some("1".to_owned()), is_secret: false, source }
    }

    #[test]
    fn an_unknown_setting_is_named_with_one_that_is_written_almost_so() {
        let known = [setting("retention.ms", DEFAULT), setting("retention.bytes", "topic")];
        assert_eq!(
            no_such_setting("retention.mss", &known),
            "there is no setting retention.mss; is it retention.ms?"
        );
        assert_eq!(no_such_setting("colour", &known), "there is no setting colour");
        for (one, other, expected) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("flaw", "lawn", 2), ("a", "b", 1)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn settings_with_a_default_value_come_last_and_secrets_are_hidden() {
        let secret = Setting { is_secret: true, value: None, ..setting("password", "broker") };
        let settings = [setting("a", DEFAULT), setting("z", "topic"), secret];
        let names: Vec<Value> = table(&settings).json().iter().map(|row| row["setting"].clone()).collect();
        assert_eq!(names, [json!("password"), json!("z"), json!("a")]);
        assert_eq!(table(&settings).json()[0]["value"], json!("(hidden)"));
    }
}
