//! DeleteTopics (key 20): by name, since v6 also by id. There is one result per topic (rule A13).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::api::context::{Context, NoTopic, TopicRef, TopicView};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::queued::{Deadline, queue};
use crate::api::{Handler, Reply};
use crate::protocol::messages::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::security::operations::Operation;
use crate::storage::Topic;
use crate::types::TopicId;

/// From this version on, topics beyond the client's quota are refused.
const STRICT_QUOTA: i16 = 5;

impl Handler for DeleteTopicsRequest {
    fn named(&self) -> usize {
        self.topics.len() + self.topic_names.len()
    }

    async fn handle(self, ctx: Context) -> Reply<DeleteTopicsResponse> {
        let deadline = Deadline::of_request(self.timeout_ms);
        let named = self.topic_names.into_iter();
        let by_name = named.map(|name| DeleteTopicState { name: Some(name), topic_id: TopicId::ZERO });
        let asked: Vec<DeleteTopicState> = self.topics.into_iter().chain(by_name).collect();
        let planned = if !ctx.services.settings().delete_topics {
            refuse_all(asked, switched_off(ctx.version))
        } else if deadline.starts_nothing() {
            refuse_all(asked, ErrorCode::RequestTimedOut.into())
        } else {
            // As in Kafka, the right to delete on the cluster includes all topics.
            plan(asked, &ctx.topics_or_all(Operation::Delete))
        };
        let mut mutations = ctx.mutations(STRICT_QUOTA);
        let queued = planned.into_iter().map(|(asked, planned)| match planned {
            Ok(topic) => {
                let of = DeleteTopicState { name: Some(topic.name.to_string()), topic_id: topic.id };
                let within = mutations.take(topic.partitions.len());
                (of, within.and_then(|()| queue(ctx.delete_topic(&topic))))
            }
            Err(refusal) => (asked, Err(refusal)),
        });
        let deleted = deadline.outcomes(queued.collect()).await;
        let responses = deleted.into_iter().map(|(topic, deleted)| result(topic, deleted.err())).collect();
        Reply::Now(DeleteTopicsResponse { responses, throttle_time_ms: mutations.throttle_time_ms() })
    }
}

/// A topic as the answer names it, and the topic itself unless it is refused.
type DeletionPlan = (DeleteTopicState, Result<Arc<Topic>, Refusal>);

fn refuse_all(asked: Vec<DeleteTopicState>, refusal: Refusal) -> Vec<DeletionPlan> {
    asked.into_iter().map(|one| (one, Err(refusal.clone()))).collect()
}

fn plan(asked: Vec<DeleteTopicState>, topics: &TopicView) -> Vec<DeletionPlan> {
    // The number of times that each name and each id is in the request.
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut ids: HashMap<TopicId, usize> = HashMap::new();
    for one in &asked {
        match &one.name {
            Some(name) => *names.entry(name).or_default() += 1,
            None => *ids.entry(one.topic_id).or_default() += 1,
        }
    }
    let mut planned = Vec::with_capacity(asked.len());
    let mut seen = HashSet::new();
    for one in &asked {
        let is_repetition = !seen.insert((&one.name, one.topic_id));
        if is_repetition {
            continue;
        }
        let mut of = one.clone();
        let refuse = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
        let plan = match &one.name {
            Some(_) if !one.topic_id.is_zero() => refuse("You may not specify both topic name and topic id."),
            Some(name) if names.get(name.as_str()).is_some_and(|times| *times > 1) => {
                refuse("Duplicate topic name.")
            }
            Some(name) => match deletable(name, topics) {
                Ok(topic) if ids.contains_key(&topic.id) => {
                    of.topic_id = topic.id;
                    refuse("The provided topic name maps to an ID that was already supplied.")
                }
                found => found.cloned().map_err(not_found),
            },
            None if one.topic_id.is_zero() => refuse("Neither topic name nor id were specified."),
            None if ids.get(&one.topic_id).is_some_and(|times| *times > 1) => refuse("Duplicate topic id."),
            None => match topics.topic(TopicRef::Id(one.topic_id), Operation::Delete) {
                // The topic's name is also in the request, and has the result for both.
                Ok(topic) if names.contains_key(&*topic.name) => continue,
                found => {
                    let quiet = topics.quietly();
                    let described = quiet.topic(TopicRef::Id(one.topic_id), Operation::Describe);
                    of.name = described.ok().map(|topic| topic.name.to_string());
                    found.cloned().map_err(not_found)
                }
            },
        };
        planned.push((of, plan));
    }
    planned
}

/// As in Kafka, a name also needs the right to describe it. With that right alone the client learns whether the topic
/// exists.
fn deletable<'a>(name: &str, topics: &'a TopicView) -> Result<&'a Arc<Topic>, NoTopic> {
    topics.topic(TopicRef::Name(name), Operation::Describe)?;
    topics.topic(TopicRef::Name(name), Operation::Delete)
}

fn not_found(error: NoTopic) -> Refusal {
    match error {
        NoTopic::Forbidden(forbidden) => forbidden.into(),
        NoTopic::UnknownName => Refusal::new(error.into(), "This server does not host this topic-partition."),
        NoTopic::UnknownId => Refusal::new(error.into(), "This server does not host this topic ID."),
    }
}

fn switched_off(version: i16) -> Refusal {
    // v3 introduced an error code for this.
    let code = if version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled };
    Refusal::new(code, "delete.topic.enable is false")
}

fn result(topic: DeleteTopicState, refusal: Option<Refusal>) -> DeletableTopicResult {
    let DeleteTopicState { name, topic_id } = topic;
    let refusal = refusal.unwrap_or_else(|| ErrorCode::None.into());
    DeletableTopicResult { name, topic_id, error_code: refusal.code.code(), error_message: refusal.message }
}
