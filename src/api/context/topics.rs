//! Topics as one principal sees them.

use std::sync::Arc;

use super::{Context, Viewer};
use crate::security::operations::Operation;
use crate::security::principal::{Forbidden, Resource};
use crate::storage::{Topic, Topics};
use crate::types::{NodeId, TopicId};

/// A topic as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef<'a> {
    Name(&'a str),
    Id(TopicId),
}

impl<'a> TopicRef<'a> {
    /// From version `ids_since` of its API on, a request has ids instead of names.
    pub fn of(version: i16, ids_since: i16, name: &'a str, id: TopicId) -> TopicRef<'a> {
        if version >= ids_since { TopicRef::Id(id) } else { TopicRef::Name(name) }
    }
}

/// The reason why a client does not get a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTopic {
    /// The client lacks the right, whether the topic exists or not.
    Forbidden(Forbidden),
    UnknownName,
    UnknownId,
}

/// The topics at one moment, as far as a principal may see them.
#[derive(Clone)]
pub struct TopicView {
    image: Arc<Topics>,
    /// `None` if a right on the cluster includes all topics.
    viewer: Option<Viewer>,
}

/// A topic that the client has seen. It may see its later states, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenTopic(TopicId);

impl Context {
    /// The topics now, for the principal of this request.
    pub fn topics(&self) -> TopicView {
        TopicView { image: self.services.store.topics(), viewer: Some(self.viewer()) }
    }

    /// As [`Context::topics`], but all topics for a client with this right on the cluster.
    pub fn topics_or_all(&self, on_the_cluster: Operation) -> TopicView {
        let has_right = self.may(on_the_cluster, Resource::Cluster);
        TopicView { image: self.services.store.topics(), viewer: (!has_right).then(|| self.viewer()) }
    }

    /// One topic. A request for several takes a [`Context::topics`], so that it sees all at the same moment.
    pub fn topic(&self, named: TopicRef<'_>, operation: Operation) -> Result<Arc<Topic>, NoTopic> {
        self.topics().topic(named, operation).cloned()
    }
}

impl TopicView {
    /// All topics at one moment.
    pub(super) fn unfiltered(image: Arc<Topics>) -> TopicView {
        TopicView { image, viewer: None }
    }

    /// As in Kafka, a client without the right gets the same answer for all names, but learns whether an id exists.
    pub fn topic(&self, named: TopicRef<'_>, operation: Operation) -> Result<&Arc<Topic>, NoTopic> {
        match named {
            TopicRef::Name(name) => {
                self.authorize(operation, name)?;
                self.image.by_name(name).ok_or(NoTopic::UnknownName)
            }
            TopicRef::Id(id) => {
                let topic = self.image.by_id(id).ok_or(NoTopic::UnknownId)?;
                self.authorize(operation, &topic.name)?;
                Ok(topic)
            }
        }
    }

    /// All topics with the right to `operation`, sorted by name. The others are left out without an error.
    pub fn visible(&self, operation: Operation) -> impl Iterator<Item = &Arc<Topic>> {
        let may = move |name: &str| {
            self.viewer.as_ref().is_none_or(|viewer| viewer.may(operation, Resource::Topic(name)))
        };
        self.image.iter().filter(move |topic| may(&topic.name))
    }

    /// The same, but a missing right is neither counted nor logged: to weigh, or to leave topics out.
    pub fn quietly(&self) -> TopicView {
        let viewer = self.viewer.clone().map(|viewer| Viewer { is_quiet: true, ..viewer });
        TopicView { image: Arc::clone(&self.image), viewer }
    }

    /// The present state of a topic that was found before.
    pub fn again(&self, seen: SeenTopic) -> Option<&Arc<Topic>> {
        self.image.by_id(seen.0)
    }

    /// The ids of the running virtual brokers, ascending.
    pub fn running(&self) -> &[NodeId] {
        self.image.running()
    }

    /// The number of topics, and of all their partitions, whether the principal may see them or not.
    pub fn counted(&self) -> (usize, usize) {
        (self.image.iter().len(), self.image.partitions())
    }

    /// The image itself, for the parts of the door.
    pub(super) fn image(&self) -> &Arc<Topics> {
        &self.image
    }

    fn authorize(&self, operation: Operation, name: &str) -> Result<(), Forbidden> {
        match &self.viewer {
            Some(viewer) => viewer.authorize(operation, Resource::Topic(name)),
            None => Ok(()),
        }
    }
}

impl SeenTopic {
    pub fn of(topic: &Topic) -> SeenTopic {
        SeenTopic(topic.id)
    }

    pub fn id(self) -> TopicId {
        self.0
    }
}

impl From<Forbidden> for NoTopic {
    fn from(forbidden: Forbidden) -> NoTopic {
        NoTopic::Forbidden(forbidden)
    }
}
