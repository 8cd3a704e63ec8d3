//! The cluster, for a principal with a right on it.

use std::sync::Arc;

use super::{Context, TopicView};
use crate::api::error::Refusal;
use crate::config::Overrides;
use crate::kernel::{Quotas, Scope, Settings};
use crate::security::operations::Operation;
use crate::security::principal::{Forbidden, Resource};
use crate::storage::LogDir;

/// The cluster with all its topics, which the right on the cluster includes.
pub struct Cluster<'a>(pub(super) &'a Context);

impl Context {
    pub fn cluster(&self, operation: Operation) -> Result<Cluster<'_>, Forbidden> {
        self.authorize(operation, Resource::Cluster)?;
        Ok(Cluster(self))
    }

    /// As [`Context::cluster`], for requests whose refusal says in Kafka which right they need.
    pub fn cluster_or_reason(&self, operation: Operation) -> Result<Cluster<'_>, Refusal> {
        self.cluster(operation).map_err(|forbidden| {
            // Kafka has the text of a Java object in place of the name.
            let why = format!("Request {} needs {} permission.", self.request, operation.name());
            Refusal::new(forbidden.into(), why)
        })
    }

    /// The cluster, for a client with one of two rights. Only the lack of both is a denial.
    pub fn cluster_with_either(&self, one: Operation, other: Operation) -> Result<Cluster<'_>, Forbidden> {
        if self.may(one, Resource::Cluster) {
            return Ok(Cluster(self));
        }
        self.cluster(other)
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

    /// The quotas of all users, client ids and addresses.
    pub fn quotas(&self) -> Arc<Quotas> {
        self.0.services.store.quotas()
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
