//! The view of a group on the rest of the broker.

use std::cell::OnceCell;
use std::sync::Arc;

use super::Rules;
use crate::config::GroupSettings;
use crate::kernel::offsets::Offsets;
use crate::storage::groups::{GroupStore, Seen};
use crate::types::Timestamp;

/// The state that a decision of a group may use. The store is asked at the first use, because most decisions need
/// nothing of it, and answers with what is published.
pub struct View<'a> {
    pub name: &'a str,
    pub rules: &'a Rules,
    store: &'a dyn GroupStore,
    seen: OnceCell<Arc<dyn Seen>>,
    offsets: OnceCell<Offsets>,
}

impl<'a> View<'a> {
    pub fn new(name: &'a str, rules: &'a Rules, store: &'a dyn GroupStore) -> View<'a> {
        View { name, rules, store, seen: OnceCell::new(), offsets: OnceCell::new() }
    }

    /// The time for what is stored.
    pub fn now(&self) -> Timestamp {
        self.store.now().time
    }

    /// Topics and settings.
    pub fn seen(&self) -> &dyn Seen {
        &**self.seen.get_or_init(|| self.store.seen())
    }

    /// The current settings of the group.
    pub fn settings(&self) -> GroupSettings<'_> {
        self.seen().settings(self.name)
    }

    /// The committed offsets of the group, as they are published. Commits that have not settled are missing, so a
    /// decision on offsets must do no harm to them.
    pub fn offsets(&self) -> &Offsets {
        self.offsets.get_or_init(|| self.store.offsets(self.name))
    }
}
