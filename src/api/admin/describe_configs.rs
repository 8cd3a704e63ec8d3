//! DescribeConfigs (key 32): all settings of a topic, a broker, a group and so on, with their sources
//! (rules A8–A10, A16). v3 adds types and documentation.

use std::collections::{HashMap, HashSet};

use crate::api::admin::configs::{
    self, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC, invalid_request,
};
use crate::api::context::{Context, NoTopic, TopicRef};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Reply, Size, Weight};
use crate::config::{self, BrokerSettings, Described, Kind, Source};
use crate::kernel::Scope;
use crate::protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::security::operations::Operation;
use crate::telemetry::levels;
use crate::types::{NodeId, topic_name};

impl Handler for DescribeConfigsRequest {
    const GAPS: &'static [&'static str] = &[
        "Documentation is our own; settings without effect say so.",
        "An answer is limited to 7/8 of `jackdaw.answer.max.bytes`; further resources are INVALID_REQUEST.",
    ];

    fn named(&self) -> usize {
        self.resources.len()
    }

    /// The memory of the settings is charged by [`allowed`].
    fn weigh(&self, size: Size, _: &Context) -> Weight {
        Weight::asked(size.echoed())
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeConfigsResponse> {
        let shape = Shape { synonyms: self.include_synonyms, docs: self.include_documentation };
        let mut results = Vec::with_capacity(self.resources.len());
        // As in Kafka, one resource of an unknown type fails the whole request.
        let is_unknown = |one: &DescribeConfigsResource| !configs::ALL.contains(&one.resource_type);
        let unknown = self.resources.iter().any(is_unknown).then(Refusal::malformed);
        let allowed = match unknown {
            Some(_) => 0,
            None => allowed(&self.resources, shape, &ctx).await,
        };
        for (at, resource) in self.resources.into_iter().enumerate() {
            let outcome = match &unknown {
                Some(refusal) => Err(refusal.clone()),
                None if at < allowed => describe(&resource, &ctx),
                None => Err(Refusal::new(ErrorCode::InvalidRequest, "too many settings for one answer")),
            };
            results.push(result(resource, outcome, shape));
            // There may be many resources, so other tasks get their turn.
            tokio::task::yield_now().await;
        }
        Reply::Now(DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() })
    }
}

/// The number of resources that fit into the memory for the response. The memory is charged here.
async fn allowed(resources: &[DescribeConfigsResource], shape: Shape, ctx: &Context) -> usize {
    let mut bytes = 0;
    let mut allowed = 0;
    let quiet = ctx.quietly();
    let weigh = |resource: &DescribeConfigsResource, asked: &Keys<'_>| {
        let settings = describe(resource, &quiet).unwrap_or_default();
        let asked = settings.iter().filter(|setting| asked.has(setting));
        asked.map(|setting| shape.weigh(setting)).sum::<usize>()
    };
    // All settings of a resource that is named repeatedly are described once, to weigh them.
    let mut known: HashMap<(i8, &str), usize> = HashMap::new();
    for resource in resources {
        let of = (resource.resource_type, resource.resource_name.as_str());
        bytes += match Keys::of(resource) {
            Keys::All => *known.entry(of).or_insert_with(|| weigh(resource, &Keys::All)),
            asked @ Keys::These(_) => weigh(resource, &asked),
        };
        if bytes > ctx.room.left() {
            break;
        }
        allowed += 1;
        tokio::task::yield_now().await;
    }
    ctx.room.hold(bytes.min(ctx.room.left())).await;
    allowed
}

/// The settings of a resource that the client wants to see.
enum Keys<'a> {
    All,
    These(HashSet<&'a str>),
}

impl Keys<'_> {
    fn of(resource: &DescribeConfigsResource) -> Keys<'_> {
        match &resource.configuration_keys {
            // As in Kafka an empty list of names asks for all.
            Some(keys) if !keys.is_empty() => Keys::These(keys.iter().map(String::as_str).collect()),
            Some(_) | None => Keys::All,
        }
    }

    fn has(&self, setting: &Described) -> bool {
        match self {
            Keys::All => true,
            Keys::These(names) => names.contains(setting.name.as_str()),
        }
    }
}

/// The parts of a setting that the client asked for.
#[derive(Clone, Copy)]
struct Shape {
    synonyms: bool,
    docs: bool,
}

impl Shape {
    /// The memory for a setting: collected, in the response, and encoded.
    fn weigh(self, setting: &Described) -> usize {
        const ROW: usize = 320;
        const SYNONYM: usize = 128;
        let length = |value: &Option<String>| value.as_ref().map_or(0, String::len);
        let doc = setting.doc.filter(|_| self.docs).map_or(0, str::len);
        let synonyms = setting.synonyms.iter().filter(|_| self.synonyms);
        let synonyms = synonyms.map(|one| SYNONYM + 2 * (one.name.len() + length(&one.value)));
        ROW + 2 * (setting.name.len() + length(&setting.value) + doc) + synonyms.sum::<usize>()
    }
}

fn describe(resource: &DescribeConfigsResource, ctx: &Context) -> Result<Vec<Described>, Refusal> {
    let name = &resource.resource_name;
    let settings = ctx.services.settings();
    let stored = |scope| ctx.stored_settings(&scope, Operation::DescribeConfigs);
    match resource.resource_type {
        TOPIC => {
            let found = ctx.topic(TopicRef::Name(name), Operation::DescribeConfigs);
            if let Err(NoTopic::Forbidden(forbidden)) = found {
                return Err(forbidden.into());
            }
            topic_name::check(name)?;
            Ok(config::describe_topic(&found?.overrides, &settings).collect())
        }
        GROUP => {
            let own = stored(Scope::Group(name.clone()))?;
            if name.is_empty() {
                return Err(invalid_request("Group name must not be empty"));
            }
            Ok(config::describe_group(&own, &settings).collect())
        }
        CLIENT_METRICS => {
            let own = stored(Scope::ClientMetrics(name.clone()))?;
            if name.is_empty() {
                return Err(invalid_request("Client metrics subscription name must not be empty"));
            }
            Ok(config::describe_client_metrics(&own).collect())
        }
        kind @ (BROKER | BROKER_LOGGER) => {
            ctx.cluster(Operation::DescribeConfigs)?;
            describe_broker(kind, name, ctx.node(), &settings)
        }
        _ => Err(Refusal::malformed()),
    }
}

fn describe_broker(
    kind: i8,
    name: &str,
    node: NodeId,
    settings: &BrokerSettings,
) -> Result<Vec<Described>, Refusal> {
    let is_logger = kind == BROKER_LOGGER;
    if name.is_empty() {
        return if is_logger {
            Err(invalid_request("Broker id must not be empty"))
        } else {
            Ok(config::describe_cluster(settings))
        };
    }
    let is_another = broker_id(name)? != node.0;
    match (is_logger, is_another) {
        (true, true) => {
            Err(invalid_request(format!("Unexpected broker id, expected {node} but received {name}")))
        }
        (false, true) => Err(invalid_request(format!(
            "Unexpected broker id, expected {node} or empty string, but received {name}"
        ))),
        (true, false) => {
            Ok(levels::all().into_iter().map(|(logger, level)| of_logger(logger, level.name())).collect())
        }
        (false, false) => Ok(config::describe_broker(settings)),
    }
}

fn broker_id(name: &str) -> Result<i32, Refusal> {
    name.parse().map_err(|_| invalid_request(format!("Broker id must be an integer, but it is: {name}")))
}

fn of_logger(logger: &str, level: &str) -> Described {
    Described {
        name: logger.to_owned(),
        value: Some(level.to_owned()),
        kind: None,
        source: Source::BrokerLogger,
        read_only: false,
        sensitive: false,
        synonyms: Vec::new(),
        doc: None,
    }
}

fn result(
    resource: DescribeConfigsResource,
    outcome: Result<Vec<Described>, Refusal>,
    shape: Shape,
) -> DescribeConfigsResult {
    let (refusal, settings) = match outcome {
        Ok(settings) => (Refusal::from(ErrorCode::None), settings),
        Err(refusal) => (refusal, Vec::new()),
    };
    let asked = Keys::of(&resource);
    let settings = settings.into_iter().filter(|setting| asked.has(setting));
    let configs = settings.map(|setting| row(setting, shape)).collect();
    DescribeConfigsResult {
        error_code: refusal.code.code(),
        error_message: Some(refusal.message.unwrap_or_default()),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs,
    }
}

fn row(setting: Described, shape: Shape) -> DescribeConfigsResourceResult {
    let synonyms = if shape.synonyms { setting.synonyms } else { Vec::new() };
    DescribeConfigsResourceResult {
        name: setting.name,
        value: setting.value,
        read_only: setting.read_only,
        config_source: source(setting.source),
        is_sensitive: setting.sensitive,
        synonyms: synonyms
            .into_iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: synonym.name,
                value: synonym.value,
                source: source(synonym.source),
            })
            .collect(),
        config_type: setting.kind.map_or(UNKNOWN, kind),
        documentation: match setting.source {
            Source::BrokerLogger => Some(String::new()),
            _ => setting.doc.filter(|_| shape.docs).map(str::to_owned),
        },
    }
}

/// Kafka's numbers for the source of a value.
pub fn source(source: Source) -> i8 {
    match source {
        Source::Topic => 1,
        Source::DynamicBroker => 2,
        Source::DynamicCluster => 3,
        Source::StaticBroker => 4,
        Source::Default => 5,
        Source::BrokerLogger => 6,
        Source::ClientMetrics => 7,
        Source::Group => 8,
    }
}

const UNKNOWN: i8 = 0;

/// Kafka's numbers for the types of settings.
fn kind(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::Text => 2,
        Kind::Int => 3,
        Kind::Short => 4,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
        Kind::Class => 8,
        Kind::Password => 9,
    }
}
