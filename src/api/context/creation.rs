//! The creation of topics: for a client that has the right, or for the broker itself.

use std::future::Future;
use std::sync::Arc;

use tracing::info;

use super::{Context, TopicView};
use crate::api::internal_topics::InternalTopic;
use crate::api::replicas;
use crate::config::Overrides;
use crate::security::operations::Operation;
use crate::security::principal::{Forbidden, Resource};
use crate::storage::{Topic, TopicError};
use crate::telemetry::Shown;
use crate::types::NodeId;

/// A topic to create. Its name and settings are checked already.
pub struct NewTopic {
    pub name: Creatable,
    pub overrides: Overrides,
    pub replicas: NewReplicas,
}

/// The replicas of the partitions of a new topic.
pub enum NewReplicas {
    /// The broker chooses them.
    Spread {
        partitions: u32,
        factor: usize,
    },
    Assigned(Vec<Vec<NodeId>>),
}

/// A topic name that the creator may use.
#[derive(Clone, Debug)]
pub struct Creatable(String);

impl Creatable {
    /// Needs no right of a client: the broker creates it for itself.
    pub fn internal(topic: &InternalTopic) -> Creatable {
        Creatable(topic.name.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Context {
    /// As in Kafka, either the right to create topics in the cluster or the right to create this topic is enough.
    pub fn creatable(&self, name: &str) -> Result<Creatable, Forbidden> {
        if !self.may(Operation::Create, Resource::Cluster) {
            self.authorize(Operation::Create, Resource::Topic(name))?;
        }
        Ok(Creatable(name.to_owned()))
    }

    /// Creates a topic, and logs that the client did. The command is queued when the call returns; the future waits until
    /// it is durable.
    pub fn create_topic(
        &self,
        new: &NewTopic,
    ) -> impl Future<Output = Result<Arc<Topic>, TopicError>> + Send + use<> {
        let replicas = match &new.replicas {
            NewReplicas::Spread { partitions, factor } => replicas::spread(self, *partitions, *factor),
            NewReplicas::Assigned(replicas) => replicas.clone(),
        };
        let partitions = replicas.len();
        let (name, overrides) = (new.name.0.clone(), new.overrides.clone());
        let created = self.services.store.create_placed_topic(name, overrides, replicas);
        let (peer, client_id) = (self.connection.peer, self.client_id.as_deref().map(shown));
        let software = self.connection.software.get().map(ToString::to_string);
        async move {
            let created = created.await;
            if let Ok(topic) = &created {
                info!(topic = &*topic.name, partitions, client_id, software, %peer, "a client has created a topic");
            }
            created
        }
    }
}

fn shown(client_id: &str) -> String {
    Shown(client_id).to_string()
}

/// An existing topic that rules out a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameTaken<'a> {
    Exists,
    /// The two names differ only in `.` and `_`, so they would share the names of metrics (rule A17).
    Collides {
        with: &'a str,
    },
}

impl TopicView {
    /// The reason why a topic with this name cannot be created.
    pub fn taken(&self, name: &Creatable) -> Option<NameTaken<'_>> {
        if self.image().by_name(&name.0).is_some() {
            return Some(NameTaken::Exists);
        }
        self.image().colliding_with(&name.0).map(|with| NameTaken::Collides { with })
    }

    pub fn has(&self, topic: &InternalTopic) -> bool {
        self.image().by_name(topic.name).is_some()
    }
}
