//! DescribeConfigs (key 32): every setting of a topic or of this broker, with where it comes from
//! (BEHAVIOUR A8–A10). v3 adds types and documentation.

use std::collections::HashSet;

use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Reply, topic_name};
use crate::config::{self, Described, Kind, Source};
use crate::protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use crate::protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};

/// The most settings in one answer: a resource named again and again must not fill the memory.
const MOST_ROWS: usize = 200_000;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

impl Handler for DescribeConfigsRequest {
    const GAPS: &'static [&'static str] = &[
        "Settings of topics and of this broker only, and of those the ones that are known here (docs/settings.md).",
        "Behind 200,000 settings in one answer, further resources are INVALID_REQUEST.",
    ];

    fn named(&self) -> usize {
        self.resources.len()
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeConfigsResponse> {
        let shape = Shape { synonyms: self.include_synonyms, docs: self.include_documentation };
        let mut results = Vec::with_capacity(self.resources.len());
        let mut rows = 0;
        for resource in self.resources {
            let outcome = match rows < MOST_ROWS {
                true => describe(&resource, &ctx),
                false => Err(Refusal::new(ErrorCode::InvalidRequest, "too many settings for one answer")),
            };
            let result = result(resource, outcome, shape);
            rows += result.configs.len();
            results.push(result);
        }
        Reply::Now(DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() })
    }
}

/// What of a setting the client wants to see.
#[derive(Clone, Copy)]
struct Shape {
    synonyms: bool,
    docs: bool,
}

fn describe(resource: &DescribeConfigsResource, ctx: &Context) -> Result<Vec<Described>, Refusal> {
    let name = &resource.resource_name;
    let settings = &ctx.services.settings;
    match resource.resource_type {
        TOPIC => {
            topic_name::check(name).map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why))?;
            let topics = ctx.services.store.topics();
            let topic = topics.by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            Ok(config::describe_topic(&topic.overrides, settings).collect())
        }
        // What is set for all brokers of a cluster while they run: nothing can be, yet.
        BROKER if name.is_empty() => Ok(Vec::new()),
        BROKER => {
            let node = ctx.services.cluster.node_id.0;
            match name.parse::<i32>() {
                Ok(asked) if asked == node => Ok(config::describe_broker(settings).collect()),
                Ok(asked) => Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    format!("Unexpected broker id, expected {node} or empty string, but received {asked}"),
                )),
                Err(_) => Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    format!("Broker id must be an integer, but it is: {name}"),
                )),
            }
        }
        other => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("resources of type {other} have no settings here"),
        )),
    }
}

fn result(
    resource: DescribeConfigsResource,
    outcome: Result<Vec<Described>, Refusal>,
    shape: Shape,
) -> DescribeConfigsResult {
    // As in Kafka an empty list of names asks for all.
    let asked = resource.configuration_keys.filter(|keys| !keys.is_empty());
    let asked: Option<HashSet<String>> = asked.map(|keys| keys.into_iter().collect());
    let is_asked = |setting: &Described| asked.as_ref().is_none_or(|asked| asked.contains(setting.name));
    let (refusal, settings) = match outcome {
        Ok(settings) => (Refusal::from(ErrorCode::None), settings),
        Err(refusal) => (refusal, Vec::new()),
    };
    DescribeConfigsResult {
        error_code: refusal.code.code(),
        error_message: Some(refusal.message.unwrap_or_default()),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs: settings.into_iter().filter(is_asked).map(|setting| row(setting, shape)).collect(),
    }
}

fn row(setting: Described, shape: Shape) -> DescribeConfigsResourceResult {
    let synonyms = if shape.synonyms { setting.synonyms } else { Vec::new() };
    DescribeConfigsResourceResult {
        name: setting.name.to_owned(),
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
        config_type: kind(setting.kind),
        documentation: shape.docs.then(|| setting.doc.to_owned()),
    }
}

/// Kafka's numbers for where a value was set.
pub fn source(source: Source) -> i8 {
    match source {
        Source::Topic => 1,
        Source::StaticBroker => 4,
        Source::Default => 5,
    }
}

/// Kafka's numbers for types of settings.
fn kind(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::Text => 2,
        Kind::Int => 3,
        Kind::Long => 5,
        Kind::List => 7,
    }
}
