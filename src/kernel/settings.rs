//! The settings of all resources but topics, by Kafka's names, and their size.

use serde::{Deserialize, Serialize};

use super::command::Scope;
use super::topic;
use crate::config::{Changes, Overrides};
use crate::types::SharedMap;

type ByScope = SharedMap<Scope, Overrides>;

/// A clone costs O(1). A change costs O(log n) and the size of its scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "ByScope", into = "ByScope")]
pub struct Settings {
    by_scope: ByScope,
    bytes: usize,
}

impl Settings {
    pub fn get(&self, scope: &Scope) -> Option<&Overrides> {
        self.by_scope.get(scope)
    }

    /// The resources that have settings, in order.
    pub fn scopes(&self) -> impl ExactSizeIterator<Item = &Scope> {
        self.by_scope.keys()
    }

    /// The size of all names and values in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn alter(&mut self, scope: &Scope, changes: &Changes) {
        let mut of_scope = self.get(scope).cloned().unwrap_or_default();
        self.bytes -= bytes_of(&of_scope);
        topic::alter(&mut of_scope, changes);
        self.bytes += bytes_of(&of_scope);
        if of_scope.is_empty() {
            self.by_scope.remove_mut(scope);
        } else {
            self.by_scope.insert_mut(scope.clone(), of_scope);
        }
    }
}

fn bytes_of(settings: &Overrides) -> usize {
    settings.iter().map(|(name, value)| name.len() + value.len()).sum()
}

impl From<ByScope> for Settings {
    fn from(by_scope: ByScope) -> Settings {
        Settings { bytes: by_scope.values().map(bytes_of).sum(), by_scope }
    }
}

impl From<Settings> for ByScope {
    fn from(settings: Settings) -> ByScope {
        settings.by_scope
    }
}
