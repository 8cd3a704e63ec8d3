//! Alters settings while the broker runs: computes the changes to store, and changes nothing itself.
//!
//! The rules for each resource and the error messages are Kafka's.

use std::collections::{BTreeMap, BTreeSet};

use super::row::{Change as When, Check, Kind, Row, Value, numbers_per_address};
use super::{Altered, BrokerSettings, ConfigError, TopicSettings, broker, client_metrics, group, topic};

/// The maximum size of the names and values of one resource.
const MOST_BYTES: usize = 1 << 20;

/// The resource that the settings belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Topic,
    Group,
    ClientMetrics,
    /// All brokers.
    Cluster,
    /// One broker: the one that serves the request.
    Broker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

/// A requested change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub name: String,
    pub operation: Operation,
    /// Ignored if the setting is deleted.
    pub value: String,
}

/// The changes to store: `Some` sets a value, `None` removes it.
pub type Changes = BTreeMap<String, Option<String>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlterError {
    /// An invalid request in Kafka's terms.
    Request(String),
    /// An invalid configuration in Kafka's terms.
    Config(String),
    TooLarge,
}

impl From<ConfigError> for AlterError {
    fn from(error: ConfigError) -> AlterError {
        AlterError::Config(error.to_string())
    }
}

/// The changes of a resource whose settings are `own`. `changes` has each name only once.
pub fn alter(
    resource: Resource,
    own: &BTreeMap<String, String>,
    changes: &[Change],
    settings: &BrokerSettings,
) -> Result<Changes, AlterError> {
    let mut after = own.clone();
    for change in changes {
        let name = &change.name;
        match change.operation {
            Operation::Set => drop(after.insert(name.clone(), change.value.clone())),
            Operation::Delete => drop(after.remove(name)),
            Operation::Append | Operation::Subtract => {
                let row = list_row(resource, name, change.operation)?;
                let old = own.get(name).map(String::as_str).or(row.default).unwrap_or_default();
                let mut all: Vec<&str> = old.split(',').filter(|one| !one.is_empty()).collect();
                for one in change.value.split(',') {
                    match change.operation {
                        Operation::Append if !all.contains(&one) => all.push(one),
                        Operation::Subtract => {
                            if let Some(at) = all.iter().position(|old| *old == one) {
                                all.remove(at);
                            }
                        }
                        Operation::Append | Operation::Set | Operation::Delete => {}
                    }
                }
                after.insert(name.clone(), all.join(","));
            }
        }
    }
    allowed(resource, &after, settings)?;
    let named = changes.iter().any(|change| change.name == broker::MIN_INSYNC_REPLICAS);
    replicas_in_step(resource, named, own, &after)?;
    Ok(difference(own, &after))
}

/// The changes if `all` replaces all settings of the resource.
pub fn replace(
    resource: Resource,
    own: &BTreeMap<String, String>,
    all: BTreeMap<String, String>,
    settings: &BrokerSettings,
) -> Result<Changes, AlterError> {
    allowed(resource, &all, settings)?;
    replicas_in_step(resource, all.contains_key(broker::MIN_INSYNC_REPLICAS), own, &all)?;
    Ok(difference(own, &all))
}

fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Changes {
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), None));
    let set = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    gone.chain(set.map(|(name, value)| (name.clone(), Some(value.clone())))).collect()
}

/// The row of a setting that is a list. Fails if nothing can be appended or subtracted.
fn list_row(resource: Resource, name: &str, operation: Operation) -> Result<&'static Row, AlterError> {
    let row = match resource {
        Resource::Topic => topic::row(name),
        // In Kafka only topics and brokers have lists.
        Resource::Group | Resource::ClientMetrics => None,
        Resource::Cluster | Resource::Broker => {
            let Some(row) = broker::row(name) else {
                return Err(AlterError::Config(format!("Unknown config name: {name}")));
            };
            Some(row)
        }
    };
    let append = operation == Operation::Append;
    match (row.filter(|row| row.kind == Kind::List), resource) {
        (Some(row), _) => Ok(row),
        (None, Resource::Cluster | Resource::Broker) => {
            let verb = if append { "append" } else { "subtract" };
            Err(AlterError::Config(format!("Config value {verb} is not allowed for config key: {name}")))
        }
        (None, Resource::Topic | Resource::Group | Resource::ClientMetrics) => {
            let verb = if append { "APPEND" } else { "SUBTRACT" };
            Err(AlterError::Config(format!("Can't {verb} to key {name} because its type is not LIST.")))
        }
    }
}

fn allowed(
    resource: Resource,
    after: &BTreeMap<String, String>,
    settings: &BrokerSettings,
) -> Result<(), AlterError> {
    if after.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MOST_BYTES {
        return Err(AlterError::TooLarge);
    }
    match resource {
        Resource::Topic => Ok(TopicSettings::resolve(after, settings).map(drop)?),
        Resource::Group => Ok(group::check(after, settings)?),
        Resource::ClientMetrics => client_metrics::check(after),
        Resource::Cluster | Resource::Broker => {
            of_broker(resource, after, settings).map_err(AlterError::Request)
        }
    }
}

/// `min.insync.replicas` is part of the election rules, and so it must be the same for all brokers
/// (KIP-966).
fn replicas_in_step(
    resource: Resource,
    is_named: bool,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Result<(), AlterError> {
    let name = broker::MIN_INSYNC_REPLICAS;
    match resource {
        Resource::Broker if is_named => {
            Err(AlterError::Config(format!("Broker-level {name} cannot be altered while ELR is enabled.")))
        }
        Resource::Cluster if before.contains_key(name) && !after.contains_key(name) => {
            Err(AlterError::Config(format!("Cluster-level {name} cannot be removed while ELR is enabled.")))
        }
        _ => Ok(()),
    }
}

fn of_broker(
    resource: Resource,
    after: &BTreeMap<String, String>,
    settings: &BrokerSettings,
) -> Result<(), String> {
    let named = |is_meant: &dyn Fn(&str, &Row) -> bool| -> BTreeSet<&str> {
        let known = after.keys().filter_map(|name| {
            let row = broker::row(name).or_else(|| broker::row(broker::without_listener(name)?))?;
            is_meant(name, row).then_some(name.as_str())
        });
        known.collect()
    };
    let none = |names: BTreeSet<&str>, why: &str| match names.is_empty() {
        true => Ok(()),
        false => Err(format!("{why}: [{}]", names.into_iter().collect::<Vec<_>>().join(", "))),
    };
    none(
        named(&|name, row| row.name == name && row.change == When::AtStart),
        "Cannot update these configs dynamically",
    )?;
    none(
        named(&|name, row| row.name == name && row.change == When::PerListener),
        "These security configs can be dynamically updated only per-listener using the listener prefix",
    )?;
    for (name, value) in after {
        let base = broker::without_listener(name).unwrap_or(name);
        if base == broker::CONNECTIONS_OF {
            // As in Kafka, the message does not contain the name.
            numbers_per_address(base, value)?;
        }
        if let Some(row) = broker::row(base) {
            row.read(value).map_err(|error| error.to_string())?;
            // The only class is Kafka's default.
            if row.kind == Kind::Class && !value.trim().is_empty() && row.default != Some(value.trim()) {
                return Err(format!(
                    "Invalid value {value} for configuration {base}: Class {value} could not be found."
                ));
            }
        }
    }
    if resource == Resource::Cluster {
        none(
            named(&|_, row| [When::PerBroker, When::PerListener].contains(&row.change)),
            "Cannot update these configs at default cluster level, broker id must be specified",
        )?;
    }
    none(
        named(&|name, row| {
            row.acts && row.change == When::PerBroker && settings.altered.broker.get(name) != after.get(name)
        }),
        "These take effect at the start only, here",
    )?;
    for kind in ["consumer", "share", "streams"] {
        let name = format!("group.{kind}.assignment.interval.ms");
        let (least, most) = (
            format!("group.{kind}.min.assignment.interval.ms"),
            format!("group.{kind}.max.assignment.interval.ms"),
        );
        let Some(Ok(wanted)) = after.get(&name).map(|value| value.trim().parse::<i64>()) else { continue };
        if wanted > settings.value(&most).number() {
            return Err(format!("{name} must be less than or equal to {most}"));
        }
        if wanted < settings.value(&least).number() {
            return Err(format!("{name} must be greater than or equal to {least}"));
        }
    }
    for (name, value) in after {
        if let Some(row) = broker::row(name)
            && let (Check::Threads(_), Ok(Value::Number(wanted))) = (row.check, row.read(value))
        {
            threads(name, settings.value(name).number(), wanted).map_err(|why| {
                // This is Kafka's message.
                let class = "org.apache.kafka.common.config.ConfigException";
                format!("Invalid value {class}: {why} for configuration Invalid dynamic configuration")
            })?;
        }
    }
    let altered = match resource {
        Resource::Cluster => Altered { cluster: after.clone(), ..settings.altered.clone() },
        _ => Altered { broker: after.clone(), ..settings.altered.clone() },
    };
    settings.altered(altered).map(drop).map_err(|error| error.to_string())
}

/// Kafka only allows a new number of threads between half and double the old one.
fn threads(name: &str, now: i64, wanted: i64) -> Result<(), String> {
    if name == "log.cleaner.threads" && wanted != now {
        return match wanted {
            wanted if wanted < 1 => Err("Log cleaner threads should be at least 1".to_owned()),
            wanted if wanted < now / 2 => Err(format!(
                "Log cleaner threads cannot be reduced to less than half the current value {now}"
            )),
            wanted if wanted > now.saturating_mul(2) => Err(format!(
                "Log cleaner threads cannot be increased to more than double the current value {now}"
            )),
            _ => Ok(()),
        };
    }
    let failed = format!("Dynamic thread count update validation failed for {name}={wanted}");
    match wanted {
        wanted if wanted == now => Ok(()),
        wanted if wanted <= 0 => Err(format!("{failed}, value should be at least 1")),
        wanted if wanted < now / 2 => {
            Err(format!("{failed}, value should be at least half the current value {now}"))
        }
        wanted if wanted > now.saturating_mul(2) => {
            Err(format!("{failed}, value should not be greater than double the current value {now}"))
        }
        _ => Ok(()),
    }
}
