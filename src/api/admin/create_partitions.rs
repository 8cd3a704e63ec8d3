//! CreatePartitions (key 37): adds partitions to topics. There is one result per topic (rule A11), and
//! the new numbers follow the old ones without gaps (A12).

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::admin::create_topics::check_caps;
use crate::api::context::{Context, TopicRef, TopicView};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::queued::{self, Deadline, QueuedChange};
use crate::api::{Handler, Reply, replicas};
use crate::protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use crate::security::operations::Operation;
use crate::storage::{StoreError, Topic};
use crate::types::NodeId;

/// From this version on, partitions beyond the client's quota are refused.
const STRICT_QUOTA: i16 = 3;

impl Handler for CreatePartitionsRequest {
    const GAPS: &'static [&'static str] = &[
        "Results are in the order of the request.",
        "A broker holds 200,000 partitions; more are POLICY_VIOLATION.",
    ];

    fn named(&self) -> usize {
        self.topics.len()
    }

    async fn handle(self, ctx: Context) -> Reply<CreatePartitionsResponse> {
        let deadline = Deadline::of_request(self.timeout_ms);
        let planned = plan(&self.topics, &ctx.topics(), deadline, &ctx);
        let mut mutations = ctx.mutations(STRICT_QUOTA);
        let mut add = |asked, wanted: AddedPartitions| {
            mutations.take(wanted.count)?;
            begin(asked, wanted, self.validate_only, &ctx)
        };
        let queued = planned
            .into_iter()
            .map(|(asked, planned)| (&asked.name, planned.and_then(|wanted| add(asked, wanted))));
        let added = deadline.outcomes(queued.collect()).await;
        let results = added.into_iter().map(|(name, added)| result(name, added)).collect();
        Reply::Now(CreatePartitionsResponse { results, throttle_time_ms: mutations.throttle_time_ms() })
    }
}

fn begin(
    asked: &CreatePartitionsTopic,
    wanted: AddedPartitions,
    validate_only: bool,
    ctx: &Context,
) -> QueuedChange {
    if validate_only {
        return queued::done(());
    }
    let (topic, first) = (Arc::clone(&wanted.topic), wanted.first);
    let added = ctx.add_partitions(&topic, first, wanted.replicas(ctx));
    let (asked, ctx) = (asked.clone(), ctx.clone());
    Ok(Box::pin(async move { added.await.map_err(|error| not_added(&asked, &error, &ctx)) }))
}

/// The partitions to add to a topic.
struct AddedPartitions {
    topic: Arc<Topic>,
    /// The number of the first new partition, and the number of new partitions.
    first: i32,
    count: usize,
    /// The replicas, if the client assigns them.
    assigned: Option<Vec<Vec<NodeId>>>,
}

type PartitionsPlan<'a> = (&'a CreatePartitionsTopic, Result<AddedPartitions, Refusal>);

/// Returns one plan or refusal per name.
fn plan<'a>(
    asked: &'a [CreatePartitionsTopic],
    topics: &TopicView,
    deadline: Deadline,
    ctx: &Context,
) -> Vec<PartitionsPlan<'a>> {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for topic in asked {
        *times.entry(&topic.name).or_default() += 1;
    }
    let mut planned: Vec<PartitionsPlan<'a>> = Vec::with_capacity(asked.len());
    for topic in asked {
        let wanted = match times.remove(topic.name.as_str()) {
            None => continue,
            Some(_) if deadline.starts_nothing() => Err(ErrorCode::RequestTimedOut.into()),
            Some(1) => wanted(topic, topics, ctx),
            Some(_) => Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.")),
        };
        planned.push((topic, wanted));
    }
    let new = planned.iter().filter_map(|(_, wanted)| wanted.as_ref().ok()).map(|wanted| wanted.count).sum();
    // As in Kafka, an excess is the error of all topics, even of those refused for another reason.
    let excess = "Excessively large number of additional partitions per request.";
    if let Err(excess) = check_caps(new, topics.counted().1, excess) {
        let is_duplicate = |refusal: &Refusal| refusal.code == ErrorCode::InvalidRequest;
        for (_, wanted) in &mut planned {
            if !wanted.as_ref().is_err_and(is_duplicate) {
                *wanted = Err(excess.clone());
            }
        }
    }
    planned
}

fn wanted(
    asked: &CreatePartitionsTopic,
    topics: &TopicView,
    ctx: &Context,
) -> Result<AddedPartitions, Refusal> {
    let brokers = &ctx.services.cluster.brokers;
    let topic = topics.topic(TopicRef::Name(&asked.name), Operation::Alter).map_err(ErrorCode::from)?;
    let first = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let invalid = |why| Err(Refusal::new(ErrorCode::InvalidPartitions, why));
    if asked.count == first {
        return invalid(format!("Topic already has {first} partition(s)."));
    }
    let Some(count) = asked.count.checked_sub(first).and_then(|more| usize::try_from(more).ok()) else {
        return invalid(format!(
            "The topic {} currently has {first} partition(s); {} would not be an increase.",
            asked.name, asked.count
        ));
    };
    let assigned = match &asked.assignments {
        None => {
            replicas::check_factor(replicas::factor(topic), brokers)?;
            None
        }
        Some(assignments) if assignments.len() != count => {
            let why = format!(
                "Attempted to add {count} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
        }
        Some(assignments) => {
            let like = Some(replicas::factor(topic));
            let checked = assignments.iter().zip(first..).map(|(one, index)| {
                let checked = replicas::check(&one.broker_ids, brokers, like)?;
                replicas::check_one_runs(index, &checked, topics.running()).map(|()| checked)
            });
            Some(checked.collect::<Result<_, _>>()?)
        }
    };
    Ok(AddedPartitions { topic: Arc::clone(topic), first, count, assigned })
}

impl AddedPartitions {
    fn replicas(self, ctx: &Context) -> Vec<Vec<NodeId>> {
        self.assigned.unwrap_or_else(|| replicas::more(&self.topic, self.count, ctx))
    }
}

/// The error if the store refused. Another client may have been faster, so the request is checked again
/// against the current topics.
fn not_added(asked: &CreatePartitionsTopic, error: &StoreError, ctx: &Context) -> Refusal {
    let now = wanted(asked, &ctx.topics(), ctx);
    match (error, now) {
        (StoreError::Refused(_), Err(refusal)) => refusal,
        _ => error.into(),
    }
}

fn result(name: &str, outcome: Result<(), Refusal>) -> CreatePartitionsTopicResult {
    let (error_code, error_message) = match outcome {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(refusal) => (refusal.code.code(), refusal.message),
    };
    CreatePartitionsTopicResult { name: name.to_owned(), error_code, error_message }
}
