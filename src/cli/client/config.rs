//! `jackdaw config`: the settings of topics and brokers.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use rdkafka::admin::{ConfigEntry, ConfigSource, ResourceSpecifier};
use serde_json::json;

use super::alter::{self, Change, alter};
use super::table::Table;
use super::{CommandOutcome, Connect, Exit, Failure, Output, Session, reason_of, run, shown};
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
    /// Show settings that are set
    Get {
        #[command(flatten)]
        of: Of,
        /// Only this setting; may be repeated
        #[arg(value_name = "SETTING")]
        settings: Vec<String>,
        /// Also show settings with their default values
        #[arg(long)]
        all: bool,
    },
    /// Set settings
    Set {
        #[command(flatten)]
        of: Of,
        #[arg(required = true, value_name = "SETTING=VALUE", value_parser = name_and_value)]
        settings: Vec<(String, String)>,
    },
    /// Reset settings to their defaults
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
    /// The topic, or the id of the broker
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
    fn resource(&self) -> CommandOutcome<ResourceSpecifier<'_>> {
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
) -> CommandOutcome {
    let mut found = entries(session, of)?;
    all_known(wanted, &found)?;
    found.retain(|entry| {
        if wanted.is_empty() {
            all || entry.source != ConfigSource::Default
        } else {
            wanted.contains(&entry.name)
        }
    });
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let mut table = Table::new(&["setting", "value", "source"]);
    for entry in found {
        let value = if entry.is_sensitive { json!("(hidden)") } else { json!(entry.value) };
        table.row([json!(entry.name), value, json!(source(&entry.source))]);
    }
    Ok(table.print(session.json(), out)?)
}

fn all_known(names: &[String], known: &[ConfigEntry]) -> CommandOutcome {
    match names.iter().find(|name| known.iter().all(|entry| entry.name != **name)) {
        Some(unknown) => Err(Failure::refused(format_args!("there is no setting {}", shown(unknown)))),
        None => Ok(()),
    }
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

/// Whether the setting was set for this topic or broker itself.
pub fn is_own(entry: &ConfigEntry) -> bool {
    matches!(entry.source, ConfigSource::DynamicTopic | ConfigSource::DynamicBroker)
}

/// All settings of a topic or a broker.
pub fn entries(session: &Session, of: ResourceSpecifier<'_>) -> CommandOutcome<Vec<ConfigEntry>> {
    let admin = session.admin()?;
    let results = session.wait(admin.describe_configs([&of], &session.admin_options()))?;
    match results.into_iter().next() {
        // The binding does not return the broker's error. Every existing resource has settings.
        Some(Ok(resource)) if resource.entries.is_empty() => Err(match of {
            ResourceSpecifier::Topic(name) => {
                Failure::refused(format_args!("there is no topic {}", shown(name)))
            }
            ResourceSpecifier::Broker(_) | ResourceSpecifier::Group(_) => {
                Failure::refused("the broker did not return its settings")
            }
        }),
        Some(Ok(resource)) => Ok(resource.entries),
        Some(Err(code)) => Err(Failure::Refused(reason_of(code))),
        None => Err(Failure::refused("the broker did not answer for it")),
    }
}

/// Sets and resets settings. If the broker refuses one of them, none is changed.
pub fn change(
    session: &Session,
    of: ResourceSpecifier<'_>,
    set: &[(String, String)],
    unset: &[String],
    out: &mut Output<'_>,
) -> CommandOutcome {
    if set.is_empty() && unset.is_empty() {
        return Err(Failure::Usage("nothing to set or unset".to_owned()));
    }
    if !unset.is_empty() {
        // Brokers ignore an unknown name without an error.
        all_known(unset, &entries(session, of)?)?;
    }
    let set_all = set.iter().map(|(name, value)| Change { name, value: Some(value) });
    let unset_all = unset.iter().map(|name| Change { name, value: None });
    let changes: Vec<Change<'_>> = set_all.chain(unset_all).collect();
    let admin = session.admin()?;
    alter(admin.inner(), of, &changes, session.timeout()).map_err(|error| match error {
        alter::Error::Refused(why) => Failure::Refused(shown(&why)),
        alter::Error::Failed(error) => session.failed(&error),
    })?;
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
