//! Metadata (key 3): the brokers, the topics and their partitions. An unknown topic is created after the
//! response, if both the client and the broker allow it.
//! v1: null asks for all topics, an empty list for none (in v0 it means all). v10 returns topic ids, and
//! since v12 a request can have them. The tags of v9 and the top-level error of v13 are not used here.

pub mod auto_create;

use std::collections::HashSet;

use crate::api::context::{Context, NoTopic, TopicRef, TopicView};
use crate::api::error::ErrorCode;
use crate::api::replicas::{self, PartitionState};
use crate::api::{Handler, Reply, Size, Weight, internal_topics};
use crate::protocol::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::security::operations::{NOT_ASKED, ON_TOPICS, Operation};
use crate::security::principal::Resource;
use crate::storage::Topic;
use crate::types::{TopicId, topic_name};

impl Handler for MetadataRequest {
    const GAPS: &'static [&'static str] = &[
        "Topics are created on demand in bursts of 1,000, then 100 per second, up to 100,000 partitions; beyond that they stay unknown.",
        "Topics that are created on demand do not use the quota controller_mutation_rate.",
        "Of Kafka's internal topics only `__consumer_offsets` is auto-created.",
    ];

    fn named(&self) -> usize {
        self.topics.as_ref().map_or(0, Vec::len)
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        let topics = ctx.topics();
        let asks_for_all = |named: &[MetadataRequestTopic]| ctx.version == 0 && named.is_empty();
        let held: usize = match &self.topics {
            Some(named) if !asks_for_all(named) => {
                let found = named.iter().filter_map(|one| {
                    let named = match &one.name {
                        Some(name) => TopicRef::Name(name),
                        None => TopicRef::Id(one.topic_id),
                    };
                    topics.topic(named, Operation::Describe).ok()
                });
                let mut seen = HashSet::new();
                let each_once = found.filter(|topic| seen.insert(topic.id));
                replicas::weigh(each_once.map(|topic| topic.partitions.len()), ctx)
            }
            Some(_) | None => replicas::weigh_all(ctx),
        };
        Weight::asked(size.echoed()).and_held(held)
    }

    async fn handle(mut self, ctx: Context) -> Reply<MetadataResponse> {
        let wanted = match WantedTopics::of(self.topics.take(), ctx.version) {
            Ok(wanted) => wanted,
            Err(topics) => return Reply::Now(refuse(topics)),
        };
        let view = ctx.topics();
        let mut answer = MetadataResponse {
            brokers: brokers(&ctx, &view),
            cluster_id: Some(ctx.services.cluster.cluster_id.to_string()),
            controller_id: ctx.controller(&view).0,
            topics: topics(wanted, &self, &view, &ctx),
            cluster_authorized_operations: NOT_ASKED,
            ..MetadataResponse::default()
        };
        if self.include_cluster_authorized_operations {
            answer.cluster_authorized_operations = ctx.allowed_on_the_cluster();
        }
        Reply::Now(answer)
    }
}

/// The topics of the request, each once.
#[derive(Debug, PartialEq)]
enum WantedTopics {
    All,
    Names(Vec<String>),
    Ids(Vec<TopicId>),
}

impl WantedTopics {
    /// `Err` has the topics of an invalid request.
    fn of(
        topics: Option<Vec<MetadataRequestTopic>>,
        version: i16,
    ) -> Result<WantedTopics, Vec<MetadataRequestTopic>> {
        let Some(topics) = topics else { return Ok(WantedTopics::All) };
        if version == 0 && topics.is_empty() {
            return Ok(WantedTopics::All);
        }
        let has_ids = topics.iter().any(|topic| !topic.topic_id.is_zero());
        if has_ids && version >= 12 {
            // As in Kafka, if one topic has an id, topics without an id are ignored.
            let ids = topics.iter().map(|topic| topic.topic_id).filter(|id| !id.is_zero());
            return Ok(WantedTopics::Ids(each_once(ids)));
        }
        if has_ids || topics.iter().any(|topic| topic.name.is_none()) {
            return Err(topics);
        }
        Ok(WantedTopics::Names(each_once(topics.into_iter().filter_map(|topic| topic.name))))
    }
}

fn each_once<T: Clone + Eq + std::hash::Hash>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    all.filter(|one| seen.insert(one.clone())).collect()
}

fn topics(
    wanted: WantedTopics,
    request: &MetadataRequest,
    view: &TopicView,
    ctx: &Context,
) -> Vec<MetadataResponseTopic> {
    // Kafka returns the operations whether the topic exists or not.
    let authorized = |name: &str| {
        if request.include_topic_authorized_operations {
            ctx.allowed(ON_TOPICS, Resource::Topic(name))
        } else {
            NOT_ASKED
        }
    };
    let shown = |topic: &Topic| MetadataResponseTopic {
        topic_authorized_operations: authorized(&topic.name),
        ..describe(topic, view, ctx.version)
    };
    match wanted {
        WantedTopics::All => view.visible(Operation::Describe).map(|topic| shown(topic)).collect(),
        WantedTopics::Ids(ids) => ids
            .into_iter()
            .map(|id| match view.topic(TopicRef::Id(id), Operation::Describe) {
                Ok(topic) => shown(topic),
                Err(error) => unknown(None, id, error.into()),
            })
            .collect(),
        WantedTopics::Names(names) => {
            // Versions below 4 lack this field; its default is true.
            let may_create = request.allow_auto_topic_creation && ctx.services.settings().auto_create_topics;
            let answer = |name: String| {
                let error = match view.topic(TopicRef::Name(&name), Operation::Describe) {
                    Ok(topic) => return shown(topic),
                    Err(NoTopic::Forbidden(forbidden)) => {
                        let unknown = unknown(Some(name), TopicId::ZERO, forbidden.into());
                        return MetadataResponseTopic { is_internal: false, ..unknown };
                    }
                    Err(NoTopic::UnknownName | NoTopic::UnknownId) => missing(&name, may_create, view, ctx),
                };
                MetadataResponseTopic {
                    topic_authorized_operations: authorized(&name),
                    ..unknown(Some(name), TopicId::ZERO, error)
                }
            };
            names.into_iter().map(answer).collect()
        }
    }
}

/// The error for an unknown topic. Rule M1: as in Kafka, the topic is created after the response, and the
/// client asks again (`docs/decisions/0017-topics-on-demand-come-behind-the-answer.md`).
fn missing(name: &str, may_create: bool, topics: &TopicView, ctx: &Context) -> ErrorCode {
    let creatable = match may_create.then(|| ctx.creatable(name)).transpose() {
        Ok(creatable) => creatable,
        Err(forbidden) => return forbidden.into(),
    };
    if !topic_name::is_legal(name) {
        return ErrorCode::InvalidTopicException;
    }
    if let Some(creatable) = creatable {
        let (_, partitions) = topics.counted();
        auto_create::create_behind(creatable, partitions, ctx);
    }
    ErrorCode::UnknownTopicOrPartition
}

fn brokers(ctx: &Context, topics: &TopicView) -> Vec<MetadataResponseBroker> {
    let brokers = ctx.brokers(topics).into_iter().map(|(node, endpoint)| MetadataResponseBroker {
        node_id: node.0,
        host: endpoint.host,
        port: endpoint.port.into(),
        rack: ctx.services.settings().rack.clone(),
    });
    brokers.collect()
}

fn describe(topic: &Topic, topics: &TopicView, version: i16) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        let standing = PartitionState::of(topic, partition, topics);
        let mut shown = MetadataResponsePartition {
            error_code: standing.error.code(),
            partition_index: partition.index,
            leader_id: standing.leader,
            leader_epoch: standing.leader_epoch,
            replica_nodes: standing.replicas,
            isr_nodes: standing.isr,
            offline_replicas: standing.offline,
        };
        // Version 0 has no list of offline replicas.
        if version == 0 && !shown.offline_replicas.is_empty() {
            let offline = std::mem::take(&mut shown.offline_replicas);
            shown.replica_nodes.retain(|node| !offline.contains(node));
            shown.isr_nodes.retain(|node| !offline.contains(node));
            if standing.error == ErrorCode::None {
                shown.error_code = ErrorCode::ReplicaNotAvailable.code();
            }
        }
        shown
    });
    MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: internal_topics::is_internal(&topic.name),
        partitions: partitions.collect(),
        topic_authorized_operations: NOT_ASKED,
    }
}

fn unknown(name: Option<String>, topic_id: TopicId, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        is_internal: name.as_deref().is_some_and(internal_topics::is_internal),
        name,
        topic_id,
        partitions: Vec::new(),
        topic_authorized_operations: NOT_ASKED,
    }
}

/// Kafka's answer to an invalid request: the error for all topics, and nothing else.
fn refuse(topics: Vec<MetadataRequestTopic>) -> MetadataResponse {
    let refused = topics.into_iter().map(|topic| {
        // Before version 12 the name cannot be null.
        let name = topic.name.unwrap_or_default();
        unknown(Some(name), topic.topic_id, ErrorCode::InvalidRequest)
    });
    MetadataResponse {
        cluster_id: None,
        controller_id: -1,
        topics: refused.collect(),
        cluster_authorized_operations: NOT_ASKED,
        error_code: ErrorCode::InvalidRequest.code(),
        ..MetadataResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Uuid;

    fn by_name(name: &str) -> MetadataRequestTopic {
        MetadataRequestTopic { name: Some(name.to_owned()), topic_id: Uuid::ZERO }
    }

    fn by_id(id: u8) -> MetadataRequestTopic {
        MetadataRequestTopic { name: None, topic_id: Uuid([id; 16]) }
    }

    #[test]
    fn null_asks_for_all_topics_and_an_empty_list_for_none_but_in_v0() {
        assert_eq!(WantedTopics::of(None, 1), Ok(WantedTopics::All));
        assert_eq!(WantedTopics::of(Some(vec![]), 1), Ok(WantedTopics::Names(vec![])));
        assert_eq!(WantedTopics::of(Some(vec![]), 0), Ok(WantedTopics::All));
    }

    #[test]
    fn m5_a_topic_asked_for_twice_by_name_and_by_id_counts_once() {
        let names = Some(vec![by_name("b"), by_name("a"), by_name("b")]);
        assert_eq!(WantedTopics::of(names, 9), Ok(WantedTopics::Names(vec!["b".into(), "a".into()])));
        let both = Some(vec![by_name("a"), by_id(7), by_id(0), by_id(7)]);
        assert_eq!(WantedTopics::of(both, 12), Ok(WantedTopics::Ids(vec![Uuid([7; 16])])));
    }

    #[test]
    fn ids_before_v12_and_topics_without_any_name_are_refused() {
        assert!(WantedTopics::of(Some(vec![by_id(7)]), 10).is_err());
        assert!(WantedTopics::of(Some(vec![by_id(7), by_name("a")]), 11).is_err());
        assert!(WantedTopics::of(Some(vec![by_id(0)]), 12).is_err());
    }
}
