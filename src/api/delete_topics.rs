//! DeleteTopics (key 20): by name, since v6 also by id. There is one result per topic (rule A13).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::api::context::{Context, NoTopic, TopicRef, TopicView};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::operations::Operation;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::storage::Topic;
use crate::time::{Moment, within};
use crate::types::TopicId;

impl Handler for DeleteTopicsRequest {
    fn named(&self) -> usize {
        self.topics.len() + self.topic_names.len()
    }

    async fn handle(self, ctx: Context) -> Reply<DeleteTopicsResponse> {
        let begun = Moment::now();
        let timeout = Duration::from_millis(u64::try_from(self.timeout_ms).unwrap_or(0));
        let named = self.topic_names.into_iter();
        let by_name = named.map(|name| DeleteTopicState { name: Some(name), topic_id: TopicId::ZERO });
        let asked: Vec<DeleteTopicState> = self.topics.into_iter().chain(by_name).collect();
        let too_late = || Refusal::from(ErrorCode::RequestTimedOut);
        let planned = match ctx.services.settings().delete_topics {
            // As in Kafka, a request with a timeout of 0 or less starts nothing.
            true if timeout.is_zero() => asked.into_iter().map(|one| Err(refused(one, too_late()))).collect(),
            true => plan(asked, &deletable(&ctx)),
            false => asked.into_iter().map(|topic| Err(refused(topic, switched_off(ctx.version)))).collect(),
        };
        let known = planned.iter().filter_map(|plan| plan.as_ref().ok());
        // All are queued before the first wait, so that they share a sync.
        let deleting: Vec<_> = known.map(|topic| ctx.delete_topic(topic)).collect();
        let mut deleted = Vec::with_capacity(deleting.len());
        for topic in deleting {
            deleted.push(match within(timeout.saturating_sub(begun.elapsed()), topic).await {
                Some(deleted) => deleted.map_err(|error| Refusal::from(&error)),
                None => Err(ErrorCode::RequestTimedOut.into()),
            });
        }
        let mut deleted = deleted.into_iter();
        let results = planned.into_iter().map(|plan| match plan {
            Err(refused) => refused,
            Ok(topic) => {
                let outcome = deleted.next().expect("there is an outcome per topic to delete");
                result(Some(topic.name.to_string()), topic.id, outcome.err())
            }
        });
        let responses = results.collect();
        Reply::Now(DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() })
    }
}

/// As in Kafka, the right to delete on the cluster includes all topics.
fn deletable(ctx: &Context) -> TopicView {
    match ctx.cluster(Operation::Delete) {
        Ok(cluster) => cluster.topics(),
        Err(_) => ctx.topics(),
    }
}

type Planned = Result<Arc<Topic>, DeletableTopicResult>;

fn plan(asked: Vec<DeleteTopicState>, topics: &TopicView) -> Vec<Planned> {
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
        let refuse = |code, why: &str| refused(one.clone(), Refusal::new(code, why));
        let plan = match &one.name {
            Some(_) if !one.topic_id.is_zero() => {
                Err(refuse(ErrorCode::InvalidRequest, "You may not specify both topic name and topic id."))
            }
            Some(name) if names.get(name.as_str()).is_some_and(|times| *times > 1) => {
                Err(refuse(ErrorCode::InvalidRequest, "Duplicate topic name."))
            }
            Some(name) => match topics.topic(TopicRef::Name(name), Operation::Delete) {
                Ok(topic) if ids.contains_key(&topic.id) => Err(result(
                    Some(name.clone()),
                    topic.id,
                    Some(Refusal::new(
                        ErrorCode::InvalidRequest,
                        "The provided topic name maps to an ID that was already supplied.",
                    )),
                )),
                Ok(topic) => Ok(Arc::clone(topic)),
                Err(error) => Err(refused(one.clone(), not_found(error))),
            },
            None if one.topic_id.is_zero() => {
                Err(refuse(ErrorCode::InvalidRequest, "Neither topic name nor id were specified."))
            }
            None if ids.get(&one.topic_id).is_some_and(|times| *times > 1) => {
                Err(refuse(ErrorCode::InvalidRequest, "Duplicate topic id."))
            }
            None => match topics.topic(TopicRef::Id(one.topic_id), Operation::Delete) {
                // The topic's name is also in the request, and has the result for both.
                Ok(topic) if names.contains_key(&*topic.name) => continue,
                Ok(topic) => Ok(Arc::clone(topic)),
                Err(error) => Err(refused(one.clone(), not_found(error))),
            },
        };
        planned.push(plan);
    }
    planned
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

fn refused(asked: DeleteTopicState, refusal: Refusal) -> DeletableTopicResult {
    result(asked.name, asked.topic_id, Some(refusal))
}

fn result(name: Option<String>, topic_id: TopicId, refusal: Option<Refusal>) -> DeletableTopicResult {
    let refusal = refusal.unwrap_or(Refusal { code: ErrorCode::None, message: None });
    DeletableTopicResult { name, topic_id, error_code: refusal.code.code(), error_message: refusal.message }
}
