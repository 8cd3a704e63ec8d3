//! Settings as DescribeConfigs shows them: value, where it comes from, and what else would give it.

use std::collections::BTreeMap;

use super::row::{Change, Kind, Row};
use super::{BrokerSettings, broker, topic};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub name: &'static str,
    pub value: Option<String>,
    pub kind: Kind,
    pub source: Source,
    pub read_only: bool,
    pub sensitive: bool,
    /// In order of precedence; the first one holds.
    pub synonyms: Vec<Synonym>,
    pub doc: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    pub value: Option<String>,
    pub source: Source,
}

/// Where a value was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic,
    StaticBroker,
    Default,
}

/// Every setting of a topic that sets `overrides` itself, in the order of their names.
pub fn describe_topic(
    overrides: &BTreeMap<String, String>,
    settings: &BrokerSettings,
) -> impl Iterator<Item = Described> {
    topic::rows().iter().filter(|row| !row.is_ours()).map(|row| {
        let mut synonyms = row.twin.map_or_else(Vec::new, |twin| broker_synonyms(twin, settings));
        if let Some(own) = overrides.get(row.name) {
            let own = Synonym { name: row.name.to_owned(), value: Some(own.clone()), source: Source::Topic };
            synonyms.insert(0, own);
        }
        let value = match overrides.get(row.name).and_then(|own| row.read(own).ok()) {
            Some(own) => own,
            None => row.twin.map_or_else(|| row.default_value(), |twin| settings.value(twin)),
        };
        described(row, value.shown(), synonyms, false)
    })
}

/// Every setting of the broker that Kafka has too, in the order of their names.
pub fn describe_broker(settings: &BrokerSettings) -> impl Iterator<Item = Described> {
    broker::rows().iter().filter(|row| !row.is_ours()).map(|row| {
        let value = match settings.given.get(row.name) {
            Some(set) => Some(set.to_owned()),
            None => row.default_value().shown(),
        };
        described(row, value, broker_synonyms(row.name, settings), row.change == Change::AtStart)
    })
}

fn described(row: &Row, value: Option<String>, synonyms: Vec<Synonym>, read_only: bool) -> Described {
    let source = synonyms.first().map_or(Source::Default, |first| first.source);
    Described {
        name: row.name,
        value,
        kind: row.kind,
        source,
        read_only,
        sensitive: false,
        synonyms,
        doc: row.doc,
    }
}

/// What is set, then what is default, each for the name and those that stand in for it. As in
/// Kafka the list begins with the name itself or is empty.
fn broker_synonyms(name: &str, settings: &BrokerSettings) -> Vec<Synonym> {
    let Some(row) = broker::row(name) else { return Vec::new() };
    let names: Vec<&str> =
        std::iter::once(row.name).chain(row.stands_in.iter().map(|(other, _)| *other)).collect();
    let set = names.iter().filter_map(|name| Some((*name, settings.given.get(name)?, Source::StaticBroker)));
    let default = names.iter().filter_map(|name| Some((*name, broker::row(name)?.default?, Source::Default)));
    set.chain(default)
        .skip_while(|(other, _, _)| *other != name)
        .map(|(name, value, source)| Synonym { name: name.to_owned(), value: Some(value.to_owned()), source })
        .collect()
}
