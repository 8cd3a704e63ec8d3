//! Alters settings while the broker runs: computes the changes to store, and changes nothing itself.
//!
//! The rules for each resource and the error messages are Kafka's.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::check::numbers_per_address;
use super::logins;
use super::prefix::base_of;
use super::row::{Change as When, Row};
use super::rules::{self, Candidate};
use super::value::Kind;
use super::{
    AlterError, Altered, BrokerSettings, Changes, Overrides, TopicSettings, broker, client_metrics, group,
    topic,
};

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

/// A requested change of one setting. The value may be a secret, so the `Debug` form has none.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    pub name: String,
    pub operation: Operation,
    /// Ignored if the setting is deleted.
    pub value: String,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.operation, self.name)
    }
}

/// The changes of a resource whose settings are `own`. `changes` has each name only once.
pub fn alter(
    resource: Resource,
    own: &Overrides,
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
                let all = match change.operation {
                    Operation::Append => appended(old, &change.value),
                    _ => subtracted(old, &change.value),
                };
                after.insert(name.clone(), all.join(","));
            }
        }
    }
    allowed(resource, &after, settings)?;
    let named = changes.iter().any(|change| change.name == broker::MIN_INSYNC_REPLICAS);
    replicas_in_step(resource, named, named && !after.contains_key(broker::MIN_INSYNC_REPLICAS))?;
    Ok(difference(own, &after))
}

/// The elements of a list.
fn elements(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|one| !one.is_empty())
}

/// The list with those elements of `more` that it does not have yet.
fn appended<'a>(list: &'a str, more: &'a str) -> Vec<&'a str> {
    let mut all: Vec<&str> = elements(list).collect();
    let mut known: HashSet<&str> = all.iter().copied().collect();
    all.extend(more.split(',').filter(|one| known.insert(one)));
    all
}

/// The list without the first occurrence of each element of `less`.
fn subtracted<'a>(list: &'a str, less: &'a str) -> Vec<&'a str> {
    let mut gone: HashMap<&str, usize> = HashMap::new();
    less.split(',').for_each(|one| *gone.entry(one).or_default() += 1);
    let stays = |one: &&'a str| {
        let left = gone.get_mut(one).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_none()
    };
    elements(list).filter(stays).collect()
}

/// The changes if `all` replaces all settings of the resource.
pub fn replace(
    resource: Resource,
    own: &Overrides,
    all: Overrides,
    settings: &BrokerSettings,
) -> Result<Changes, AlterError> {
    allowed(resource, &all, settings)?;
    let named = all.contains_key(broker::MIN_INSYNC_REPLICAS);
    replicas_in_step(resource, named, !named)?;
    Ok(difference(own, &all))
}

fn difference(before: &Overrides, after: &Overrides) -> Changes {
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

fn allowed(resource: Resource, after: &Overrides, settings: &BrokerSettings) -> Result<(), AlterError> {
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
fn replicas_in_step(resource: Resource, is_named: bool, is_removed: bool) -> Result<(), AlterError> {
    let name = broker::MIN_INSYNC_REPLICAS;
    match resource {
        Resource::Broker if is_named => {
            Err(AlterError::Config(format!("Broker-level {name} cannot be altered while ELR is enabled.")))
        }
        Resource::Cluster if is_removed => {
            Err(AlterError::Config(format!("Cluster-level {name} cannot be removed while ELR is enabled.")))
        }
        _ => Ok(()),
    }
}

fn of_broker(resource: Resource, after: &Overrides, settings: &BrokerSettings) -> Result<(), String> {
    let named = after.iter().filter_map(|(name, value)| {
        let row = broker::row(name).or_else(|| broker::row(base_of(name)))?;
        let differs = settings.altered.broker.get(name) != Some(value);
        Some(AlteredName { name, row, resource, differs })
    });
    let named: Vec<AlteredName> = named.collect();
    may_be_altered(&named, BEFORE_VALUES)?;
    let mut own = BTreeMap::new();
    for (name, value) in after {
        let base = base_of(name);
        if base == broker::CONNECTIONS_OF {
            // As in Kafka, the message does not contain the name.
            numbers_per_address(base, value)?;
        }
        let Some(row) = broker::row(base) else { continue };
        let read = row.read(value).map_err(|error| error.to_string())?;
        // The only class is Kafka's default.
        if row.kind == Kind::Class && !value.trim().is_empty() && row.default != Some(value.trim()) {
            return Err(format!(
                "Invalid value {value} for configuration {base}: Class {value} could not be found."
            ));
        }
        if base == name {
            own.insert(row.name, read);
        }
    }
    may_be_altered(&named, AFTER_VALUES)?;
    let present = |name: &str| broker::row(name).map(|row| settings.value(row.name));
    let candidate = Candidate { own: &own, inherited: &present };
    candidate.keeps(rules::ALTERED_BROKER).map_err(|error| error.to_string())?;
    let altered = match resource {
        Resource::Cluster => Altered { cluster: after.clone(), ..settings.altered.clone() },
        _ => Altered { broker: after.clone(), ..settings.altered.clone() },
    };
    settings.altered(altered).map(drop).map_err(|error| error.to_string())
}

/// A setting of a broker in a request, perhaps with the prefix of a listener.
struct AlteredName<'a> {
    name: &'a str,
    row: &'static Row,
    resource: Resource,
    /// Whether the value is not the one that the broker already has.
    differs: bool,
}

impl AlteredName<'_> {
    fn has_no_prefix(&self) -> bool {
        self.name == self.row.name
    }
}

/// The settings that may not be altered, and Kafka's words for them.
type NameRule = (fn(&AlteredName<'_>) -> bool, &'static str);

const BEFORE_VALUES: &[NameRule] = &[
    (|it| it.has_no_prefix() && it.row.change == When::AtStart, "Cannot update these configs dynamically"),
    (
        |it| it.has_no_prefix() && it.row.change == When::PerListener,
        "These security configs can be dynamically updated only per-listener using the listener prefix",
    ),
];

const AFTER_VALUES: &[NameRule] = &[
    (
        |it| {
            let is_of_a_listener = !it.has_no_prefix() && it.row.change == When::AtStart;
            let is_per_broker =
                [When::PerBroker, When::PerListener].contains(&it.row.change) || is_of_a_listener;
            it.resource == Resource::Cluster && is_per_broker
        },
        "Cannot update these configs at default cluster level, broker id must be specified",
    ),
    (
        |it| {
            let is_about_tokens = logins::is_about_tokens(it.name);
            let acts_at_once = logins::is_about_who_logs_in(it.row.name) && !is_about_tokens;
            let at_start = it.row.change == When::PerBroker || is_about_tokens;
            it.row.acts && at_start && it.differs && !acts_at_once
        },
        "These take effect at the start only, here",
    ),
];

fn may_be_altered(named: &[AlteredName<'_>], rules: &[NameRule]) -> Result<(), String> {
    for (is_refused, why) in rules {
        let refused: Vec<&str> = named.iter().filter(|it| is_refused(it)).map(|it| it.name).collect();
        if !refused.is_empty() {
            return Err(format!("{why}: [{}]", refused.join(", ")));
        }
    }
    Ok(())
}
