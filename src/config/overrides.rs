//! The settings that a resource sets itself, as they are stored.

use std::collections::BTreeMap;

use super::ConfigError;

/// The settings that a topic or another resource sets itself, by Kafka's names. Others have their defaults.
pub type Overrides = BTreeMap<String, String>;

/// The changes to store: `Some` sets a value, `None` removes it.
pub type Changes = BTreeMap<String, Option<String>>;

/// A stored setting that is ignored, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredSetting {
    pub name: String,
    pub error: ConfigError,
}
