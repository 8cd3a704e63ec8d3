//! Resolves the settings of a topic: its own values, else the broker's.

use std::collections::BTreeMap;

use super::row::Row;
use super::rules::{self, Candidate};
use super::topic::{FLUSH_MESSAGES, FLUSH_MS, SMALL_SEGMENT, TopicSettings, row, rows};
use super::value::Value;
use super::{BrokerSettings, ConfigError, Overrides};

impl TopicSettings {
    /// The settings of a topic with its own `overrides`. The errors are Kafka's.
    pub fn resolve(overrides: &Overrides, broker: &BrokerSettings) -> Result<TopicSettings, ConfigError> {
        // As in Kafka, all names are checked before any value.
        for name in overrides.keys() {
            if row(name).is_none() {
                return Err(ConfigError::UnknownTopicSetting { name: name.clone() });
            }
        }
        let mut own = BTreeMap::new();
        for row in rows() {
            if let Some(written) = overrides.get(row.name) {
                own.insert(row.name, row.read(written)?);
            }
        }
        let inherited = |name: &str| row(name).map(|row| inherited(row, broker));
        Candidate { own: &own, inherited: &inherited }.keeps(rules::TOPIC)?;
        Ok(TopicSettings::from(&own, broker))
    }

    /// The settings from `overrides` that were checked when they were stored. A value that is no longer
    /// valid, because of a later version or the broker's own settings, is left out and returned as an
    /// error.
    pub fn of_stored(overrides: &Overrides, broker: &BrokerSettings) -> (TopicSettings, Vec<ConfigError>) {
        let mut invalid = Vec::new();
        let mut own = BTreeMap::new();
        for (name, written) in overrides {
            let read = row(name).ok_or_else(|| ConfigError::UnknownTopicSetting { name: name.clone() });
            match read.and_then(|row| Ok((row.name, row.read(written)?))) {
                Ok((name, value)) => drop(own.insert(name, value)),
                Err(error) => invalid.push(error),
            }
        }
        (TopicSettings::from(&own, broker), invalid)
    }

    fn from(own: &BTreeMap<&'static str, Value>, broker: &BrokerSettings) -> TopicSettings {
        let mut settings = TopicSettings::from_values(
            |row| own.get(row.name).cloned().unwrap_or_else(|| inherited(row, broker)),
            (own.get(FLUSH_MESSAGES.name).map(Value::number), own.get(FLUSH_MS.name).map(Value::millis)),
        );
        let small_segment = own.get(SMALL_SEGMENT.name).and_then(Value::limit);
        settings.segment_bytes = small_segment.unwrap_or(settings.segment_bytes);
        settings
    }
}

fn inherited(row: &Row, broker: &BrokerSettings) -> Value {
    row.twin.map_or_else(|| row.default_value(), |twin| broker.value(twin))
}
