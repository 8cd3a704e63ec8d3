//! DescribeClientQuotas (key 48): the quotas of the entities that match a filter. v1 is the flexible encoding.

use super::{EntityType, parts};
use crate::api::admin::configs::invalid_request;
use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Reply, Size, Weight};
use crate::protocol::messages::{
    DescribeClientQuotasRequest, DescribeClientQuotasResponse,
    describe_client_quotas_request::ComponentData,
    describe_client_quotas_response::{EntityData, EntryData, ValueData},
};
use crate::security::operations::Operation;
use crate::types::{EntityName, QuotaEntity, QuotaValues};

const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

impl Handler for DescribeClientQuotasRequest {
    fn named(&self) -> usize {
        self.components.len()
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        let stored = ctx.cluster(Operation::DescribeConfigs).map_or(0, |cluster| cluster.quotas().bytes());
        Weight::asked(size.echoed()).and_held(2 * stored)
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeClientQuotasResponse> {
        let quotas = match ctx.cluster(Operation::DescribeConfigs) {
            Ok(cluster) => cluster.quotas(),
            // As in Kafka, without a message.
            Err(forbidden) => return Reply::Now(refuse(ErrorCode::from(forbidden).into())),
        };
        let filter = match Filter::of_request(&self) {
            Ok(filter) => filter,
            Err(refusal) => return Reply::Now(refuse(refusal)),
        };
        let matching = quotas.iter().filter(|(entity, _)| filter.matches(entity));
        Reply::Now(DescribeClientQuotasResponse {
            error_message: Some(String::new()),
            entries: Some(matching.map(|(entity, values)| entry(entity, values)).collect()),
            ..DescribeClientQuotasResponse::default()
        })
    }
}

fn refuse(refusal: Refusal) -> DescribeClientQuotasResponse {
    DescribeClientQuotasResponse {
        error_code: refusal.code.code(),
        error_message: refusal.message,
        entries: None,
        ..DescribeClientQuotasResponse::default()
    }
}

fn entry(entity: &QuotaEntity, values: &QuotaValues) -> EntryData {
    let part = |(kind, name): (EntityType, &EntityName)| EntityData {
        entity_type: kind.name().to_owned(),
        entity_name: name.text().map(str::to_owned),
    };
    EntryData {
        entity: parts(entity).into_iter().map(part).collect(),
        values: values.iter().map(|(key, value)| ValueData { key: key.clone(), value: *value }).collect(),
    }
}

/// The parts that an entity must have.
struct Filter {
    parts: Vec<(EntityType, Match)>,
    /// Whether it may have no others.
    is_strict: bool,
}

enum Match {
    Name(EntityName),
    Any,
}

impl Filter {
    fn of_request(request: &DescribeClientQuotasRequest) -> Result<Filter, Refusal> {
        let mut parts: Vec<(EntityType, Match)> = Vec::new();
        for asked in &request.components {
            let name = asked.entity_type.as_str();
            let kind = EntityType::named(name);
            if name.is_empty() {
                return Err(invalid_request("Invalid empty entity type."));
            }
            if parts.iter().any(|(known, _)| Some(*known) == kind) {
                let why = format!("Entity type {name} cannot appear more than once in the filter.");
                return Err(invalid_request(why));
            }
            let Some(kind) = kind else {
                let why = format!("Unsupported entity type {name}");
                return Err(Refusal::new(ErrorCode::UnsupportedVersion, why));
            };
            parts.push((kind, Match::of_request(asked)?));
        }
        let has = |kind| parts.iter().any(|(known, _)| *known == kind);
        if has(EntityType::Ip) && (has(EntityType::User) || has(EntityType::ClientId)) {
            return Err(invalid_request(
                "Invalid entity filter component combination. IP filter component should not be used with user or \
                 clientId filter component.",
            ));
        }
        Ok(Filter { parts, is_strict: request.strict })
    }

    fn matches(&self, entity: &QuotaEntity) -> bool {
        let of_entity = parts(entity);
        let has = |(kind, wanted): &(EntityType, Match)| {
            of_entity.iter().any(|(known, name)| known == kind && wanted.holds(name))
        };
        (!self.is_strict || of_entity.len() == self.parts.len()) && self.parts.iter().all(has)
    }
}

impl Match {
    fn of_request(asked: &ComponentData) -> Result<Match, Refusal> {
        let without_name = |kind: &str, wanted| match asked.r#match {
            None => Ok(wanted),
            Some(_) => Err(invalid_request(format!(
                "Request specified MATCH_TYPE_{kind}, but also specified a match string."
            ))),
        };
        match (asked.match_type, &asked.r#match) {
            (EXACT, Some(name)) => Ok(Match::Name(EntityName::named(name))),
            (EXACT, None) => {
                Err(invalid_request("Request specified MATCH_TYPE_EXACT, but set match string to null."))
            }
            (DEFAULT, _) => without_name("DEFAULT", Match::Name(EntityName::Default)),
            (ANY, _) => without_name("SPECIFIED", Match::Any),
            (other, _) => Err(invalid_request(format!("Unknown match type {other}"))),
        }
    }

    fn holds(&self, name: &EntityName) -> bool {
        match self {
            Match::Name(wanted) => wanted == name,
            Match::Any => true,
        }
    }
}
