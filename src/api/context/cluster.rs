//! The cluster, for a principal with a right on it.

use std::sync::Arc;

use super::{Context, TopicView};
use crate::api::operations::Operation;
use crate::api::principal::{Forbidden, Resource};
use crate::config::Overrides;
use crate::kernel::{Scope, Settings};
use crate::storage::LogDir;

/// The cluster with all its topics, which the right on the cluster includes.
pub struct Cluster<'a>(&'a Context);

impl Context {
    pub fn cluster(&self, operation: Operation) -> Result<Cluster<'_>, Forbidden> {
        self.authorize(operation, Resource::Cluster)?;
        Ok(Cluster(self))
    }

    /// The stored settings of a group, or of something that belongs to the cluster.
    pub fn stored_settings(&self, scope: &Scope, operation: Operation) -> Result<Overrides, Forbidden> {
        self.authorize(
            operation,
            match scope {
                Scope::Group(name) => Resource::Group(name),
                Scope::Broker(_) | Scope::DefaultBroker | Scope::ClientMetrics(_) => Resource::Cluster,
            },
        )?;
        Ok(self.services.store.settings().get(scope).cloned().unwrap_or_default())
    }
}

impl Cluster<'_> {
    /// All topics, because the right on the cluster includes them.
    pub fn topics(&self) -> TopicView {
        TopicView::unfiltered(self.0.services.store.topics())
    }

    /// The stored settings of everything except topics.
    pub fn settings(&self) -> Arc<Settings> {
        self.0.services.store.settings()
    }

    /// The path of the data directory, and the space of its disk.
    pub fn log_dir(&self) -> LogDir {
        self.0.services.store.log_dir()
    }

    /// The journal position of the last published round.
    pub fn position(&self) -> u64 {
        self.0.services.store.position()
    }
}
