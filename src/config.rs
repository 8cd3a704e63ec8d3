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
mod authorizer;
mod broker;
mod client_metrics;
mod describe;
mod environment;
mod file;
mod given;
mod group;
mod ignored;
mod initial_topics;
pub mod jaas;
mod listener;
mod listing;
mod logins;
pub mod machine;
mod mechanism;
mod oauth;
mod page;
mod providers;
mod reload;
mod row;
mod rules;
mod table;
mod tls;
mod topic;
mod unknown;

#[cfg(test)]
mod tests;

pub use alter::{AlterError, Change as Alteration, Changes, Operation, Overrides, Resource, alter, replace};
pub use authorizer::AuthorizerSettings;
pub use broker::{Altered, BrokerSettings, Durability, HTTP_CONNECTIONS, listeners_of};
pub use client_metrics::{ClientProperty, ClientSubscription, LONGEST_CLIENT_INTERVAL};
pub use describe::{
    Described, Source, Synonym, describe_broker, describe_client_metrics, describe_cluster, describe_group,
    describe_topic, topic_settings,
};
pub use environment::SECRETS;
pub use file::Properties;
pub use given::{Given, Origin, Written};
pub use group::GroupSettings;
pub use ignored::{IgnoredSetting, invalid_of_client_metrics, invalid_of_group};
pub use initial_topics::{INITIAL_TOPICS, InitialTopic};
pub use listener::{Listener, SecurityProtocol, with_host};
pub use listing::{is_sensitive, listing};
pub use logins::{Logins, is_about_who_logs_in};
pub use mechanism::Mechanism;
pub use oauth::{HttpsAddress, KeyPlace, KeySource, SignedTokens, TokenSettings, UnsecuredTokens};
pub use page::page;
pub use reload::{Difference, Reloaded};
pub use row::{Change, Check, Kind, Row};
pub use tls::{ClientAuth, KeyStoreSettings, Named, TlsSettings, TrustStoreSettings, is_about_tls};
pub use topic::TopicSettings;
pub use unknown::{Meant, UnknownName};

use crate::types::HIDDEN;

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

impl ConfigError {
    /// The same error, without a value that a provider gave.
    fn hiding_provided(self, given: &Given) -> ConfigError {
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

    fn invalid(name: &str, value: impl Into<String>, why: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { name: name.to_owned(), value: value.into(), why: why.into() }
    }
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
