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
//!
//! The files, from the bottom up. Each uses only files that are named before it, as `tests/architecture.rs` checks.
//!
//! | files | contents |
//! |---|---|
//! | `error`, `machine`, `mechanism`, `jaas`, `file`, `prefix`, `listener`, `authorizer`, `initial_topics` | types, and the parsing of special forms |
//! | `given`, `environment`, `providers`, `overrides` | names and values as they were written: before the start, and by clients |
//! | `value`, `check`, `row`, `table` | the form of a row, and the parsing and checking of its value |
//! | `tls`, `oauth`, `logins` | types that several settings make together |
//! | `topic`, `broker`, `client_metrics` | the rows, and the fields that they set |
//! | `rules` | values that are refused together |
//! | `listener_logins`, `listener_tls`, `load`, `resolve`, `group` | the settings with their values |
//! | `unknown`, `shares`, `unprotected`, `ignored`, `reload`, `alter`, `describe`, `listing`, `page` | the uses of rows and settings |

mod alter;
mod authorizer;
mod broker;
mod check;
mod client_metrics;
mod describe;
mod environment;
mod error;
mod file;
mod given;
mod group;
mod ignored;
mod initial_topics;
pub mod jaas;
mod listener;
mod listener_logins;
mod listener_tls;
mod listing;
mod load;
mod logins;
pub mod machine;
mod mechanism;
mod oauth;
mod overrides;
mod page;
mod prefix;
mod providers;
mod reload;
mod resolve;
mod row;
mod rules;
mod shares;
mod table;
mod tls;
mod topic;
mod unknown;
mod unprotected;
mod value;

#[cfg(test)]
mod tests;

pub use alter::{Change as Alteration, Operation, Resource, alter, replace};
pub use authorizer::AuthorizerSettings;
pub use broker::{Altered, BrokerSettings, Durability};
pub use check::Check;
pub use client_metrics::{ClientProperty, ClientSubscription, LONGEST_CLIENT_INTERVAL};
pub use describe::{
    Described, Source, Synonym, describe_broker, describe_client_metrics, describe_cluster, describe_group,
    describe_topic, topic_settings,
};
pub use environment::SECRETS;
pub use error::{AlterError, ConfigError};
pub use file::Properties;
pub use given::{Given, Origin, Written};
pub use group::GroupSettings;
pub use ignored::{invalid_of_client_metrics, invalid_of_group};
pub use initial_topics::{INITIAL_TOPICS, InitialTopic};
pub use listener::{Listener, SecurityProtocol, listeners_at, with_host};
pub use listing::{listing, may_be_secret};
pub use load::listeners_of;
pub use logins::{Logins, is_about_who_logs_in};
pub use mechanism::Mechanism;
pub use oauth::{HttpsAddress, KeyPlace, KeySource, SignedTokens, TokenSettings, UnsecuredTokens};
pub use overrides::{Changes, IgnoredSetting, Overrides};
pub use page::page;
pub use reload::{Difference, Reloaded};
pub use row::{Change, Row};
pub use shares::HTTP_CONNECTIONS;
pub use tls::{ClientAuth, KeyStoreSettings, Named, TlsSettings, TrustStoreSettings, is_about_tls};
pub use topic::TopicSettings;
pub use unknown::{Meant, UnknownName};
pub use value::Kind;
