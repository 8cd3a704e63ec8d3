//! The settings from configuration files, environment variables and flags, with their sources.

use std::collections::BTreeMap;

use super::{ConfigError, Properties};
use crate::types::HIDDEN;

/// Names and values. A later source has precedence over an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    values: BTreeMap<String, Written>,
}

/// A value as it was written. It may be a secret, so its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Written {
    pub value: String,
    pub origin: Origin,
    /// The file, variable or flag; empty if the embedding program set it.
    pub place: String,
    /// Whether a provider gave the value or a part of it. Then the log and `--print-config` hide it.
    /// As in Kafka, DescribeConfigs shows it, unless the setting is a password or unknown.
    pub is_provided: bool,
}

/// The source of a value, in ascending order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Not set. In [`Given`] it is the default in a container or of an ephemeral broker, instead of the usual one.
    Default,
    File,
    Environment,
    /// A flag, or the program that embeds the broker.
    Flag,
}

impl Given {
    /// Sets a value over all earlier ones, as a flag or as the program that embeds the broker.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.set_from(Origin::Flag, "", name, value);
    }

    pub fn set_from(
        &mut self,
        origin: Origin,
        place: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<String>,
    ) {
        self.values.insert(
            name.into(),
            Written { value: value.into(), origin, place: place.into(), is_provided: false },
        );
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.written(name).map(|written| written.value.as_str())
    }

    /// The value and its source.
    pub fn written(&self, name: &str) -> Option<&Written> {
        self.values.get(name)
    }

    pub fn origin(&self, name: &str) -> Origin {
        self.written(name).map_or(Origin::Default, |written| written.origin)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Written)> {
        self.values.iter().map(|(name, written)| (name.as_str(), written))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Whether any value has this source.
    pub fn has_any_from(&self, origin: Origin) -> bool {
        self.values.values().any(|written| written.origin == origin)
    }

    /// Replaces a value, or removes it.
    pub(super) fn replace(&mut self, name: &str, written: Option<Written>) {
        match written {
            Some(written) => drop(self.values.insert(name.to_owned(), written)),
            None => drop(self.values.remove(name)),
        }
    }

    /// Leaves only the settings that `stays` holds for.
    pub(super) fn retain(&mut self, stays: impl Fn(&str) -> bool) {
        self.values.retain(|name, _| stays(name));
    }

    /// Sets all values of `other`, over earlier ones.
    pub fn merge(&mut self, other: Given) {
        self.values.extend(other.values);
    }

    /// Sets other defaults for a broker whose data is in memory. It is for tests, whose groups need not wait for more
    /// members.
    pub fn set_ephemeral_defaults(&mut self) {
        const DELAY: &str = "group.initial.rebalance.delay.ms";
        if self.get(DELAY).is_none() {
            self.set_from(Origin::Default, "of an ephemeral broker", DELAY, "0");
        }
    }

    /// Sets the values of a configuration file.
    pub fn set_all(&mut self, file: &Properties, path: &str) {
        for (name, value) in &file.0 {
            self.set_from(Origin::File, path, name, value);
        }
    }
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{HIDDEN} ({self})")
    }
}

impl std::fmt::Display for Written {
    /// The source: `environment KAFKA_NODE_ID`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.origin {
            Origin::Default => "default",
            Origin::File => "file",
            Origin::Environment => "environment",
            Origin::Flag => "flag",
        };
        f.write_str(kind)?;
        if self.place.is_empty() { Ok(()) } else { write!(f, " {}", self.place) }
    }
}

impl ConfigError {
    /// The same error, without a value that a provider gave.
    pub(super) fn hiding_provided(self, given: &Given) -> ConfigError {
        match self {
            ConfigError::Invalid { name, .. }
                if given.written(&name).is_some_and(|written| written.is_provided) =>
            {
                let why = "the value from its provider is not valid for this setting";
                ConfigError::Invalid { name, value: HIDDEN.to_owned(), why: why.to_owned() }
            }
            other => other,
        }
    }
}
