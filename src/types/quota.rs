//! Quotas as they are set: for an entity, some values by Kafka's names (KIP-546).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The clients that a quota is set for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QuotaEntity {
    User(EntityName),
    ClientId(EntityName),
    UserAndClientId(EntityName, EntityName),
    Ip(EntityName),
}

/// One user, client id or address, or all that have no quota of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EntityName {
    Default,
    Named(String),
}

/// The values of an entity, such as `producer_byte_rate`.
pub type QuotaValues = BTreeMap<String, f64>;

/// Changes of an entity: `Some` sets a value, `None` removes it.
pub type QuotaChanges = BTreeMap<String, Option<f64>>;

impl EntityName {
    pub fn named(name: &str) -> EntityName {
        EntityName::Named(name.to_owned())
    }

    /// `None` for the default.
    pub fn text(&self) -> Option<&str> {
        match self {
            EntityName::Default => None,
            EntityName::Named(name) => Some(name),
        }
    }
}
