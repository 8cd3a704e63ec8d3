//! The finalized levels of features that an operator has changed (UpdateFeatures). A feature without a stored level
//! has the level of this version. The kernel knows no names: `api/features.rs` has the list.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Features {
    levels: BTreeMap<String, i16>,
    /// The number of changes so far. Clients take the finalized features with the highest one.
    changes: u64,
}

impl Features {
    /// The level that was set; `None` if none was.
    pub fn level(&self, name: &str) -> Option<i16> {
        self.levels.get(name).copied()
    }

    pub fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn set(&mut self, name: &str, level: i16) {
        self.levels.insert(name.to_owned(), level);
        self.changes += 1;
    }
}
