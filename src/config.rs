//! Every setting, declared once.
//!
//! A setting is one [`Row`]: name, type, default, check, who may change it, and its documentation
//! in our own words. The broker's rows are in `config/broker.rs`, those of a topic in
//! `config/topic.rs`. Each row names the typed field that it sets. The configuration file,
//! environment variables, `--set`, DescribeConfigs, the checks of CreateTopics and
//! `docs/settings.md` all come from the rows.
//!
//! Names, types, defaults and error messages are Kafka's. Settings that only Jackdaw has start with
//! `jackdaw.` and never appear in DescribeConfigs.

mod alter;
mod broker;
mod client_metrics;
mod describe;
mod environment;
mod file;
mod given;
mod group;
mod listener;
mod listing;
pub mod machine;
mod page;
mod reload;
mod row;
mod rules;
mod table;
mod topic;

#[cfg(test)]
mod tests;

pub use alter::{AlterError, Change as Alteration, Changes, Operation, Overrides, Resource, alter, replace};
pub use broker::{Altered, BrokerSettings, Durability, HTTP_CONNECTIONS};
pub use describe::{
    Described, Source, Synonym, describe_broker, describe_client_metrics, describe_cluster, describe_group,
    describe_topic, topic_settings,
};
pub use file::Properties;
pub use given::{Given, Origin, Written};
pub use group::GroupSettings;
pub use listener::Listener;
pub use listing::listing;
pub use page::page;
pub use reload::{Difference, Reloaded};
pub use row::{Change, Check, Kind, Row};
pub use topic::TopicSettings;

/// The reasons why settings are refused, in Kafka's words if Kafka has the same error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    UnknownTopicSetting {
        name: String,
    },
    Invalid {
        name: String,
        value: String,
        why: String,
    },
    /// Values that contradict each other.
    Conflict(String),
    Listeners(String),
    /// A node without the broker role, which would serve no clients.
    OnlyController,
    File(String),
}

impl std::error::Error for ConfigError {}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConfigError::UnknownTopicSetting { name } => write!(f, "Unknown topic config name: {name}"),
            ConfigError::Invalid { name, value, why } => {
                write!(f, "Invalid value {value} for configuration {name}: {why}")
            }
            ConfigError::OnlyController => f.write_str(
                "process.roles names the controller only: Jackdaw needs no controllers, leave this process out",
            ),
            ConfigError::Conflict(what) | ConfigError::Listeners(what) | ConfigError::File(what) => {
                f.write_str(what)
            }
        }
    }
}
