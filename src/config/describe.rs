//! Settings as DescribeConfigs returns them: values, sources and synonyms.

use std::collections::BTreeSet;

use super::authorizer::{ALLOW_EVERYONE, SUPER_USERS, is_unknown_to_kafka};
use super::broker::MIN_INSYNC_REPLICAS;
use super::prefix::base_of;
use super::row::{Change, Row};
use super::value::Kind;
use super::{BrokerSettings, GroupSettings, Overrides, broker, client_metrics, group, topic};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// `None` also if it is sensitive.
    pub value: Option<String>,
    /// `None` if the name is unknown.
    pub kind: Option<Kind>,
    pub source: Source,
    pub read_only: bool,
    pub sensitive: bool,
    /// In order of precedence; the first one is in effect.
    pub synonyms: Vec<Synonym>,
    pub doc: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    pub value: Option<String>,
    pub source: Source,
}

/// The source of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic,
    /// Altered for this broker while it ran.
    DynamicBroker,
    /// Altered for all brokers while they ran.
    DynamicCluster,
    /// Set before the start.
    StaticBroker,
    Default,
    BrokerLogger,
    ClientMetrics,
    Group,
}

/// All settings of a topic with its own `overrides`, ordered by name.
pub fn describe_topic(overrides: &Overrides, settings: &BrokerSettings) -> impl Iterator<Item = Described> {
    topic::rows().iter().filter(|row| !row.is_ours()).map(|row| {
        let inherited = || row.twin.map_or_else(|| row.default_value(), |twin| settings.value(twin));
        let own = overrides.get(row.name).and_then(|own| row.read(own).ok());
        let value = own.unwrap_or_else(inherited).shown();
        let mut synonyms = row.twin.map_or_else(Vec::new, |twin| broker_synonyms(twin, settings));
        if overrides.contains_key(row.name) {
            synonyms.insert(0, Synonym::new(row.name, value.clone(), Source::Topic));
        }
        described(row, value, synonyms, false)
    })
}

/// The maximum number of settings of a topic.
pub fn topic_settings() -> usize {
    topic::rows().len()
}

/// Rates of replication, which Kafka shows only if they were altered.
const ONLY_ALTERED: &[&str] = &[
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

/// All settings of this broker that Kafka also has, and unknown settings that were set, ordered by name.
pub fn describe_broker(settings: &BrokerSettings) -> Vec<Described> {
    let is_shown = |row: &&Row| {
        let is_set = || {
            settings.altered.cluster.contains_key(row.name) || settings.altered.broker.contains_key(row.name)
        };
        let is_kafkas = !row.is_ours() && !is_unknown_to_kafka(row.name);
        is_kafkas && (!ONLY_ALTERED.contains(&row.name) || is_set())
    };
    let known = broker::rows().iter().filter(is_shown).map(|row| {
        let value = match row.name {
            "node.id" | "broker.id" => Some(settings.node_id.to_string()),
            _ => settings.own_value(row).shown(),
        };
        described(row, value, broker_synonyms(row.name, settings), row.change == Change::AtStart)
    });
    let set = settings.given.unknown().map(|unknown| unknown.0);
    let set = set.chain(settings.given.of_listeners().map(|(name, _)| name));
    let set = set.chain(settings.given.of_providers());
    let of_authorizer = [SUPER_USERS, ALLOW_EVERYONE];
    let of_authorizer = of_authorizer.into_iter().filter(|name| settings.given.get(name).is_some());
    let altered = settings.altered.cluster.keys().chain(settings.altered.broker.keys()).map(String::as_str);
    let unknown = set.chain(of_authorizer).chain(altered.filter(|name| broker::row(name).is_none()));
    let mut unknown: Vec<&str> = unknown.filter(|name| !is_ours(name)).collect();
    unknown.sort_unstable();
    unknown.dedup();
    let unknown = unknown.into_iter().map(|name| without_row(name, broker_synonyms(name, settings)));
    let mut all: Vec<Described> = known.chain(unknown).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// The settings that were altered for all brokers of the cluster.
pub fn describe_cluster(settings: &BrokerSettings) -> Vec<Described> {
    let names = settings.altered.cluster.keys().map(String::as_str).chain([MIN_INSYNC_REPLICAS]);
    let altered = names.collect::<BTreeSet<_>>().into_iter().filter_map(|name| {
        let value = altered_for_all(name, settings)?;
        let is_hidden = kafkas_row(base_of(name)).is_none_or(|row| row.kind == Kind::Password);
        let shown = (!is_hidden).then(|| value.clone());
        let synonyms = vec![Synonym::new(name, shown.clone(), Source::DynamicCluster)];
        Some(match broker::row(name) {
            Some(row) => described(row, shown, synonyms, row.change == Change::AtStart),
            None => without_row(name, synonyms),
        })
    });
    altered.collect()
}

/// The value that a setting has for all brokers of the cluster. As in Kafka with ELR, `min.insync.replicas` always has one,
/// which at first is that of the start.
fn altered_for_all(name: &str, settings: &BrokerSettings) -> Option<String> {
    let altered = settings.altered.cluster.get(name).cloned();
    altered.or_else(|| {
        let row = broker::row(name).filter(|row| row.name == MIN_INSYNC_REPLICAS)?;
        settings.given.get(name).or(row.default).map(str::to_owned)
    })
}

/// All settings of a group with its own settings `own`. The group need not exist.
pub fn describe_group(own: &Overrides, settings: &BrokerSettings) -> impl Iterator<Item = Described> {
    group::rows().iter().map(|row| {
        let value = GroupSettings::new(Some(own), settings).value(row).shown();
        let default =
            || row.default.map(|default| Synonym::new(row.name, Some(default.to_owned()), Source::Default));
        let mut synonyms = match row.twin {
            Some(twin) => broker_synonyms(twin, settings),
            None => default().into_iter().collect(),
        };
        if own.contains_key(row.name) {
            synonyms.insert(0, Synonym::new(row.name, value.clone(), Source::Group));
        }
        described(row, value, synonyms, false)
    })
}

/// All settings of a client metrics subscription with its own settings `own`.
pub fn describe_client_metrics(own: &Overrides) -> impl Iterator<Item = Described> {
    client_metrics::rows().iter().map(|row| {
        let set = own.get(row.name).and_then(|own| row.read(own).ok());
        let value = set.unwrap_or_else(|| row.default_value()).shown();
        let own = own.get(row.name).map(|_| Synonym::new(row.name, value.clone(), Source::ClientMetrics));
        described(row, value, own.into_iter().collect(), false)
    })
}

impl Synonym {
    fn new(name: &str, value: Option<String>, source: Source) -> Synonym {
        Synonym { name: name.to_owned(), value, source }
    }
}

fn described(row: &Row, value: Option<String>, synonyms: Vec<Synonym>, read_only: bool) -> Described {
    let sensitive = row.kind == Kind::Password;
    Described {
        name: row.name.to_owned(),
        value: value.filter(|_| !sensitive),
        kind: Some(row.kind),
        source: synonyms.first().map_or(Source::Default, |first| first.source),
        read_only,
        sensitive,
        synonyms,
        doc: Some(row.doc.trim()),
    }
}

/// A setting with a listener in front, or an unknown one. As in Kafka the latter is sensitive, because it could be a
/// secret.
fn without_row(name: &str, synonyms: Vec<Synonym>) -> Described {
    let row = kafkas_row(base_of(name));
    let sensitive = row.is_none_or(|row| row.kind == Kind::Password);
    Described {
        name: name.to_owned(),
        value: synonyms.first().and_then(|first| first.value.clone()).filter(|_| !sensitive),
        kind: row.map(|row| row.kind),
        source: synonyms.first().map_or(Source::Default, |first| first.source),
        read_only: true,
        sensitive,
        synonyms,
        doc: None,
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("jackdaw.") || name.starts_with("internal.")
}

/// The row of a setting; `None` if Kafka's broker does not know it.
fn kafkas_row(name: &str) -> Option<&'static Row> {
    broker::row(name).filter(|row| !is_unknown_to_kafka(row.name))
}

/// A layer of settings that are looked up by name.
type Layer<'a> = (&'a dyn Fn(&str) -> Option<String>, Source);

/// The values for this broker, for all brokers, from the start, and the defaults; each for the name and
/// its other names. As in Kafka, the list begins with the name itself or is empty.
fn broker_synonyms(name: &str, settings: &BrokerSettings) -> Vec<Synonym> {
    let row = kafkas_row(name);
    let base = base_of(name);
    let is_hidden = kafkas_row(base).is_none_or(|row| row.kind == Kind::Password);
    // Kafka does not list the other names of these two as synonyms.
    let stand_ins =
        row.filter(|_| !["node.id", "log.dirs"].contains(&name)).map_or(&[][..], |row| row.stands_in);
    let listener_base = Some(base).filter(|base| *base != name);
    let names: Vec<&str> =
        std::iter::once(name).chain(stand_ins.iter().map(|(other, _)| *other)).chain(listener_base).collect();
    let node_id = settings.node_id.to_string();
    let started = |name: &str| match name {
        "node.id" | "broker.id" => Some(node_id.clone()),
        _ => settings.given.get(name).map(str::to_owned),
    };
    let layers: [Layer<'_>; 4] = [
        (&|name| settings.altered.broker.get(name).cloned(), Source::DynamicBroker),
        (&|name| altered_for_all(name, settings), Source::DynamicCluster),
        (&started, Source::StaticBroker),
        (&|name| Some(kafkas_row(name)?.default?.to_owned()).filter(|_| name != "node.id"), Source::Default),
    ];
    let mut synonyms = Vec::new();
    for (value, source) in layers {
        for name in &names {
            if let Some(value) = value(name) {
                synonyms.push(Synonym::new(name, Some(value).filter(|_| !is_hidden), source));
            }
        }
    }
    let own = synonyms.iter().position(|synonym| synonym.name == name).unwrap_or(synonyms.len());
    synonyms.drain(..own);
    synonyms
}
