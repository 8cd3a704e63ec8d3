//! `jackdaw config`: the settings of topics and brokers.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use rdkafka::admin::{AlterConfig, ConfigEntry, ConfigSource, ResourceSpecifier};
use serde_json::json;

use super::table::Table;
use super::{Connect, Done, Exit, Failure, Output, Session, run, said, shown};
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
    /// What is set
    Get {
        #[command(flatten)]
        of: Of,
        /// Only this setting; may be repeated
        #[arg(value_name = "SETTING")]
        settings: Vec<String>,
        /// Also what has its default
        #[arg(long)]
        all: bool,
    },
    /// Set something
    Set {
        #[command(flatten)]
        of: Of,
        #[arg(required = true, value_name = "SETTING=VALUE", value_parser = name_and_value)]
        settings: Vec<(String, String)>,
    },
    /// Let the default hold again
    Unset {
        #[command(flatten)]
        of: Of,
        #[arg(required = true, value_name = "SETTING")]
        settings: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct Of {
    kind: Kind,
    /// The topic, or the number of the broker
    name: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Topic,
    Broker,
}

pub fn execute(options: Options) -> Exit {
    let Options { connect, command } = options;
    run(&connect, |session, out| match command {
        Command::Get { of, settings, all } => get(session, of.resource()?, &settings, all, out),
        Command::Set { of, settings } => change(session, of.resource()?, &settings, &[], out),
        Command::Unset { of, settings } => change(session, of.resource()?, &[], &settings, out),
    })
}

impl Of {
    fn resource(&self) -> Done<ResourceSpecifier<'_>> {
        match self.kind {
            Kind::Topic => Ok(ResourceSpecifier::Topic(&self.name)),
            Kind::Broker => {
                let number = self.name.parse();
                let number =
                    number.map_err(|_| Failure::Usage("a broker is named by its number".to_owned()))?;
                Ok(ResourceSpecifier::Broker(number))
            }
        }
    }
}

fn get(
    session: &Session,
    of: ResourceSpecifier<'_>,
    wanted: &[String],
    all: bool,
    out: &mut Output<'_>,
) -> Done {
    let mut found = entries(session, of)?;
    if let Some(unknown) = wanted.iter().find(|name| found.iter().all(|entry| entry.name != **name)) {
        return Err(Failure::refused(format_args!("there is no setting {}", shown(unknown))));
    }
    found.retain(|entry| match wanted.is_empty() {
        true => all || entry.source != ConfigSource::Default,
        false => wanted.contains(&entry.name),
    });
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let mut table = Table::new(&["setting", "value", "source"]);
    for entry in found {
        let value = match entry.is_sensitive {
            true => json!("(hidden)"),
            false => json!(entry.value),
        };
        table.row([json!(entry.name), value, json!(source(&entry.source))]);
    }
    Ok(table.print(session.json(), out)?)
}

fn source(source: &ConfigSource) -> &'static str {
    match source {
        ConfigSource::Unknown => "unknown",
        ConfigSource::DynamicTopic => "topic",
        ConfigSource::DynamicBroker => "broker",
        ConfigSource::DynamicDefaultBroker => "all brokers",
        ConfigSource::StaticBroker => "start of the broker",
        ConfigSource::Default => "default",
    }
}

/// Whether it was set for this topic or broker.
pub fn is_own(entry: &ConfigEntry) -> bool {
    matches!(entry.source, ConfigSource::DynamicTopic | ConfigSource::DynamicBroker)
}

/// All settings of a topic or a broker.
pub fn entries(session: &Session, of: ResourceSpecifier<'_>) -> Done<Vec<ConfigEntry>> {
    let admin = session.admin()?;
    let results = session.wait(admin.describe_configs([&of], &session.admin_options()))?;
    match results.into_iter().next() {
        Some(Ok(resource)) => Ok(resource.entries),
        Some(Err(code)) => Err(Failure::Refused(said(code))),
        None => Err(Failure::refused("the broker did not answer for it")),
    }
}

/// Sets and unsets. librdkafka's binding only knows the request that replaces everything, so what
/// is set is read first; who changes the same topic or broker in between is overwritten.
pub fn change(
    session: &Session,
    of: ResourceSpecifier<'_>,
    set: &[(String, String)],
    unset: &[String],
    out: &mut Output<'_>,
) -> Done {
    if set.is_empty() && unset.is_empty() {
        return Err(Failure::Usage("nothing to set or unset".to_owned()));
    }
    let known = entries(session, of)?;
    if let Some(hidden) = known.iter().find(|entry| is_own(entry) && entry.is_sensitive) {
        return Err(Failure::refused(format_args!(
            "{} is set and cannot be read, so that it would be lost: use kafka-configs",
            hidden.name
        )));
    }
    let own: Vec<(&str, &str)> = known
        .iter()
        .filter(|entry| is_own(entry) && !unset.contains(&entry.name))
        .filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)))
        .collect();
    let given = set.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all = own.into_iter().chain(given);
    let request = all.fold(AlterConfig::new(of), |request, (name, value)| request.set(name, value));
    let admin = session.admin()?;
    let results = session.wait(admin.alter_configs([&request], &session.admin_options()))?;
    for result in results {
        result.map_err(|(_, code)| Failure::Refused(said(code)))?;
    }
    if session.json() {
        let set: serde_json::Map<_, _> =
            set.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        writeln!(out, "{}", json!({ "set": set, "unset": unset }))?;
        return Ok(());
    }
    for (name, value) in set {
        writeln!(out, "set {}={}", shown(name), shown(value))?;
    }
    for name in unset {
        writeln!(out, "unset {}", shown(name))?;
    }
    Ok(())
}
