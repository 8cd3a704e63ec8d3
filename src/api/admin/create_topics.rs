//! CreateTopics (key 19). v5 answers with the topic's settings, v7 with its id.
//!
//! Checks and error messages are Kafka's, and so are the limits of 10,000 partitions and records per
//! request. There is also a limit of partitions for the whole broker.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::api::admin::describe_configs;
use crate::api::context::{Context, NameTaken, NewReplicas, NewTopic, TopicView};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::queued::{self, Deadline, QueuedChange};
use crate::api::{Handler, Reply, Size, Weight, replicas};
use crate::config::{self, BrokerSettings, Described, Overrides, TopicSettings};
use crate::protocol::messages::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
use crate::security::operations::Operation;
use crate::security::principal::Resource;
use crate::storage::TopicError;
use crate::time::random_uuid;
use crate::types::{NodeId, TopicId, topic_name};

/// The maximum number of partitions in one request (rule A18).
const PER_REQUEST: usize = 10_000;
/// The maximum number of partitions of this broker.
const PER_BROKER: usize = 200_000;

/// The memory that one setting of a topic takes in the response.
const SETTING: usize = 256;
/// From this version on an answer has the settings of each topic.
const HAS_SETTINGS: i16 = 5;
/// From this version on, topics beyond the client's quota are refused.
const STRICT_QUOTA: i16 = 6;

impl Handler for CreateTopicsRequest {
    const GAPS: &'static [&'static str] = &[
        "Results are in the order of the request.",
        "A broker holds 200,000 partitions; more are POLICY_VIOLATION.",
        "Two names of one request that collide (`a.b`, `a_b`) are refused; Kafka creates both.",
        "An answer is limited to 7/8 of `jackdaw.answer.max.bytes`; further topics are created, and have TopicConfigErrorCode INVALID_REQUEST instead of their settings.",
    ];

    fn named(&self) -> usize {
        self.topics.len()
    }

    /// The settings of the topics are weighed by [`settings_that_fit`].
    fn weigh(&self, size: Size, _: &Context) -> Weight {
        Weight::asked(size.echoed())
    }

    async fn handle(self, ctx: Context) -> Reply<CreateTopicsResponse> {
        let deadline = Deadline::of_request(self.timeout_ms);
        let validate_only = self.validate_only;
        let settings = ctx.services.settings();
        let planned = if deadline.starts_nothing() {
            // Kafka's controller checks the timeout before it begins.
            too_late(self.topics)
        } else {
            plan(self.topics, &settings, &ctx)
        };
        let new = planned.iter().filter(|(_, planned)| planned.is_ok()).count();
        let described = settings_that_fit(new, &ctx).await;
        let mut mutations = ctx.mutations(STRICT_QUOTA);
        let mut create = |new: PlannedTopic| {
            mutations.take(new.partitions as usize)?;
            begin(new, validate_only, &ctx)
        };
        let queued = planned.into_iter().map(|(name, planned)| (name, planned.and_then(&mut create)));
        let created = deadline.outcomes(queued.collect()).await;
        let mut results = Results { settings: &settings, described };
        let results = created.into_iter().map(|(name, created)| match created {
            Ok((new, id)) => results.of(&new, id),
            Err(refusal) => refused(name, refusal),
        });
        let topics = results.collect();
        Reply::Now(CreateTopicsResponse { topics, throttle_time_ms: mutations.throttle_time_ms() })
    }
}

/// Creates a topic, or only draws an id for it, as Kafka does for a request that only validates.
fn begin(new: PlannedTopic, validate_only: bool, ctx: &Context) -> QueuedChange<(PlannedTopic, TopicId)> {
    if validate_only {
        return queued::done((new, random_uuid()));
    }
    let created = ctx.create_topic(&new.topic);
    Ok(Box::pin(async move {
        match created.await {
            Ok(topic) => Ok((new, topic.id)),
            Err(error) => Err(not_made(new.topic.name.as_str(), &error)),
        }
    }))
}

/// A valid topic that can be created.
struct PlannedTopic {
    topic: NewTopic,
    partitions: u32,
    factor: usize,
    /// Whether the client may see its settings.
    is_describable: bool,
}

impl PlannedTopic {
    /// The number of records that Kafka would write for the topic.
    fn records(&self) -> usize {
        1 + self.topic.overrides.len() + self.partitions as usize
    }
}

type TopicPlan = Result<PlannedTopic, Refusal>;

/// Returns one plan or refusal per name, in the order of the request.
fn plan(asked: Vec<CreatableTopic>, settings: &BrokerSettings, ctx: &Context) -> Vec<(String, TopicPlan)> {
    let mut times: HashMap<String, usize> = HashMap::new();
    for topic in &asked {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let counts =
        |topic: &&CreatableTopic| times[&topic.name] == 1 && topic.name != topic_name::CLUSTER_METADATA;
    let wanted = asked.iter().filter(counts).map(|topic| partitions_wanted(topic, settings)).sum::<usize>();
    let policy = |why| Refusal::new(ErrorCode::PolicyViolation, why);
    let excess = policy("Excessively large number of partitions per request.");
    let topics = ctx.topics();
    let rules = Rules { ctx, settings, brokers: &ctx.services.cluster.brokers, topics: &topics };
    let mut planned: Vec<(String, TopicPlan)> = Vec::with_capacity(asked.len());
    for topic in asked {
        let plan = match times.remove(&topic.name) {
            None => continue,
            // As in Kafka, an excess is the error of all topics, even of those refused for another
            // reason.
            Some(1) if wanted > PER_REQUEST && topic.name != topic_name::CLUSTER_METADATA => {
                Err(excess.clone())
            }
            Some(1) => rules.plan(&topic),
            Some(_) => Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.")),
        };
        planned.push((topic.name, plan));
    }
    let new = || planned.iter().filter_map(|(_, plan)| plan.as_ref().ok());
    if new().map(PlannedTopic::records).sum::<usize>() > PER_REQUEST {
        let excess = policy("Unable to perform excessively large batch operation.");
        return planned.into_iter().map(|(name, _)| (name, Err(excess.clone()))).collect();
    }
    let partitions = new().map(|new| new.partitions as usize).sum();
    if let Err(full) = check_caps(partitions, topics.counted().1, "") {
        for (_, plan) in planned.iter_mut().filter(|(_, plan)| plan.is_ok()) {
            *plan = Err(full.clone());
        }
    }
    planned
}

/// The number of partitions, as far as the request itself shows it.
fn partitions_wanted(asked: &CreatableTopic, settings: &BrokerSettings) -> usize {
    match (asked.assignments.len(), asked.num_partitions) {
        (0, -1) => settings.num_partitions,
        (0, wanted) => wanted,
        (assigned, _) => return assigned,
    }
    .try_into()
    .unwrap_or(0)
}

/// Refuses all topics, because the timeout is 0 or less.
fn too_late(asked: Vec<CreatableTopic>) -> Vec<(String, TopicPlan)> {
    let names: BTreeSet<String> = asked.into_iter().map(|topic| topic.name).collect();
    names.into_iter().map(|name| (name, Err(ErrorCode::RequestTimedOut.into()))).collect()
}

/// Fails if a request would add too many partitions. It then changes nothing.
pub fn check_caps(new: usize, held: usize, excess: &str) -> Result<(), Refusal> {
    let excess = match () {
        () if new > PER_REQUEST => excess.to_owned(),
        () if held + new > PER_BROKER => {
            format!("this broker holds {held} of at most {PER_BROKER} partitions")
        }
        () => return Ok(()),
    };
    Err(Refusal::new(ErrorCode::PolicyViolation, excess))
}

/// The facts that a new topic is checked against.
struct Rules<'a> {
    ctx: &'a Context,
    settings: &'a BrokerSettings,
    brokers: &'a [NodeId],
    topics: &'a TopicView,
}

impl Rules<'_> {
    fn plan(&self, asked: &CreatableTopic) -> TopicPlan {
        let name = asked.name.as_str();
        if name == topic_name::CLUSTER_METADATA {
            let why = format!("Creation of internal topic {name} is prohibited.");
            return Err(Refusal::new(ErrorCode::InvalidRequest, why));
        }
        // As in Kafka, with the message of any lack of a right.
        let forbidden = |forbidden| Refusal::new(ErrorCode::from(forbidden), "Authorization failed.");
        let creatable = self.ctx.creatable(name).map_err(forbidden)?;
        topic_name::check(name)?;
        match self.topics.taken(&creatable) {
            Some(NameTaken::Exists) => return Err(exists(name)),
            Some(NameTaken::Collides { with }) => return Err(collides(name, with)),
            None => {}
        }
        let overrides = overrides(asked)?;
        TopicSettings::resolve(&overrides, self.settings)
            .map_err(|error| Refusal::new(ErrorCode::InvalidConfig, error.to_string()))?;
        let (partitions, factor, replicas) =
            if asked.assignments.is_empty() { self.spread(asked)? } else { self.assigned(asked)? };
        let describe = self.ctx.allowed(&[Operation::DescribeConfigs], Resource::Topic(name));
        let topic = NewTopic { name: creatable, overrides, replicas };
        Ok(PlannedTopic { topic, partitions, factor, is_describable: describe != 0 })
    }

    /// The number of partitions, the replication factor, and replicas that the broker assigns.
    fn spread(&self, asked: &CreatableTopic) -> Result<(u32, usize, NewReplicas), Refusal> {
        let factor = match asked.replication_factor {
            -1 => usize::from(self.settings.default_replication),
            factor => usize::try_from(factor).unwrap_or(0),
        };
        if factor == 0 {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ));
        }
        let partitions = match asked.num_partitions {
            -1 => self.settings.num_partitions,
            wanted => wanted,
        };
        let partitions = u32::try_from(partitions).ok().filter(|partitions| *partitions > 0);
        let Some(partitions) = partitions else {
            return Err(Refusal::new(
                ErrorCode::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        };
        replicas::check_factor(factor, self.brokers)?;
        Ok((partitions, factor, NewReplicas::Spread { partitions, factor }))
    }

    /// The number of partitions, the replication factor, and replicas that the client assigns.
    fn assigned(&self, asked: &CreatableTopic) -> Result<(u32, usize, NewReplicas), Refusal> {
        let not_both = |what: &str| {
            format!("A manual partition assignment was specified, but {what} was not set to -1.")
        };
        if asked.replication_factor != -1 {
            return Err(Refusal::new(ErrorCode::InvalidRequest, not_both("replication factor")));
        }
        if asked.num_partitions != -1 {
            return Err(Refusal::new(ErrorCode::InvalidRequest, not_both("numPartitions")));
        }
        let refuse = |why: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, why);
        let mut assigned = BTreeMap::new();
        let mut factor = None;
        for CreatableReplicaAssignment { partition_index, broker_ids } in &asked.assignments {
            if assigned.contains_key(partition_index) {
                return Err(refuse(format!(
                    "Found multiple manual partition assignments for partition {partition_index}"
                )));
            }
            let checked = replicas::check(broker_ids, self.brokers, factor)?;
            replicas::check_one_runs(*partition_index, &checked, self.topics.running())?;
            factor = Some(checked.len());
            assigned.insert(*partition_index, checked);
        }
        let is_sequence = (0..).zip(assigned.keys()).all(|(index, partition)| index == *partition);
        if !is_sequence {
            return Err(refuse("partitions should be a consecutive 0-based integer sequence".into()));
        }
        let partitions = u32::try_from(assigned.len()).unwrap_or(u32::MAX);
        let replicas = NewReplicas::Assigned(assigned.into_values().collect());
        Ok((partitions, factor.unwrap_or(1), replicas))
    }
}

/// As in Kafka, the last value counts if a setting is given twice.
fn overrides(asked: &CreatableTopic) -> Result<Overrides, Refusal> {
    let mut overrides = BTreeMap::new();
    for setting in &asked.configs {
        let Some(value) = &setting.value else {
            let why = format!("Null value not supported for topic configs: {}", setting.name);
            return Err(Refusal::new(ErrorCode::InvalidConfig, why));
        };
        overrides.insert(setting.name.clone(), value.clone());
    }
    Ok(overrides)
}

/// The error if the store refused: another client may have been faster.
fn not_made(name: &str, error: &TopicError) -> Refusal {
    match error {
        TopicError::Exists => exists(name),
        TopicError::NameCollides { with } => collides(name, with),
        TopicError::Unknown | TopicError::Store(_) => error.into(),
    }
}

fn exists(name: &str) -> Refusal {
    Refusal::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists."))
}

/// Kafka uses topic names in metric names, in which `.` and `_` are equal (rule A17).
fn collides(name: &str, with: &str) -> Refusal {
    let why = format!("Topic '{name}' collides with existing topic: {with}");
    Refusal::new(ErrorCode::InvalidTopicException, why)
}

/// The number of new topics with their settings in the answer: as many as there is memory for. The memory is
/// charged here.
async fn settings_that_fit(new: usize, ctx: &Context) -> usize {
    if ctx.version < HAS_SETTINGS {
        return 0;
    }
    let topic = config::topic_settings() * SETTING;
    let described = new.min(ctx.room.left() / topic);
    ctx.room.hold(described * topic).await;
    described
}

/// The entries of the answer for created topics.
struct Results<'a> {
    settings: &'a BrokerSettings,
    /// The number of further topics with settings.
    described: usize,
}

impl Results<'_> {
    fn of(&mut self, new: &PlannedTopic, topic_id: TopicId) -> CreatableTopicResult {
        let name = new.topic.name.as_str().to_owned();
        let has_settings = self.described > 0;
        self.described = self.described.saturating_sub(1);
        if !new.is_describable {
            return CreatableTopicResult {
                name,
                topic_id,
                error_message: None,
                topic_config_error_code: ErrorCode::TopicAuthorizationFailed.code(),
                num_partitions: -1,
                replication_factor: -1,
                configs: Some(Vec::new()),
                ..CreatableTopicResult::default()
            };
        }
        let configs = has_settings.then(|| config::describe_topic(&new.topic.overrides, self.settings));
        CreatableTopicResult {
            name,
            topic_id,
            error_message: None,
            topic_config_error_code: if has_settings {
                ErrorCode::None.code()
            } else {
                ErrorCode::InvalidRequest.code()
            },
            num_partitions: i32::try_from(new.partitions).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(new.factor).unwrap_or(i16::MAX),
            configs: Some(configs.into_iter().flatten().map(row).collect()),
            ..CreatableTopicResult::default()
        }
    }
}

fn row(setting: Described) -> CreatableTopicConfigs {
    CreatableTopicConfigs {
        name: setting.name,
        value: setting.value,
        read_only: setting.read_only,
        config_source: describe_configs::source(setting.source),
        is_sensitive: setting.sensitive,
    }
}

fn refused(name: String, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: refusal.code.code(),
        error_message: refusal.message,
        num_partitions: -1,
        replication_factor: -1,
        // Null is allowed, but Java admin clients throw on it (rule M9).
        configs: Some(Vec::new()),
        ..CreatableTopicResult::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a18_a_broker_takes_so_many_partitions_at_once_and_so_many_in_all() {
        let code = |new, held| check_caps(new, held, "").err().map(|refusal| refusal.code);
        assert_eq!(code(PER_REQUEST, 0), None);
        assert_eq!(code(PER_REQUEST + 1, 0), Some(ErrorCode::PolicyViolation));
        assert_eq!(code(1, PER_BROKER - 1), None);
        assert_eq!(code(2, PER_BROKER - 1), Some(ErrorCode::PolicyViolation));
    }
}
