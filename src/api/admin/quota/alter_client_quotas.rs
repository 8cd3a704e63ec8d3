//! AlterClientQuotas (key 49): sets and removes quotas. Entries that are refused change nothing, and all others are
//! altered at once. v1 is the flexible encoding.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::EntityType;
use crate::api::admin::configs::invalid_request;
use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Reply};
use crate::protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse,
    alter_client_quotas_request::{self as request, OpData},
    alter_client_quotas_response::{EntityData, EntryData},
};
use crate::security::operations::Operation;
use crate::security::quota::QuotaKind;
use crate::types::{EntityName, QuotaChanges, QuotaEntity};

/// The most memory for stored quotas.
const MOST_BYTES: usize = 8 << 20;
/// The most memory that an entity takes without its names.
const ENTITY: usize = 1 << 10;

impl Handler for AlterClientQuotasRequest {
    const GAPS: &'static [&'static str] = &[
        "Results are in the order of the request.",
        "An IP entity is an address in its usual form, or `localhost`; Kafka also takes names of hosts, which it resolves, and forms such as `127.1`.",
        "All quotas together take at most 8 MiB of memory; more are POLICY_VIOLATION.",
        "A new quota counts only what is used from then on; Kafka sometimes also counts the seconds before.",
    ];

    fn named(&self) -> usize {
        self.entries.iter().map(|entry| 1 + entry.entity.len() + entry.ops.len()).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<AlterClientQuotasResponse> {
        if let Err(forbidden) = ctx.cluster(Operation::AlterConfigs) {
            return Reply::Now(refuse_all(self, &forbidden.into()));
        }
        let mut judged = judge_all(&self.entries);
        check_room(&mut judged, ctx.stored_quotas_bytes());
        let changes: Vec<_> = judged.iter_mut().filter_map(|one| one.changes.take()).collect();
        let altered = if self.validate_only || changes.is_empty() {
            Ok(())
        } else {
            ctx.alter_quotas(changes).await.map_err(|error| Refusal::from(&error))
        };
        let entries = judged.into_iter().map(|one| one.answer(&altered)).collect();
        Reply::Now(AlterClientQuotasResponse { entries, ..AlterClientQuotasResponse::default() })
    }
}

fn refuse_all(request: AlterClientQuotasRequest, refusal: &Refusal) -> AlterClientQuotasResponse {
    let named = |part: request::EntityData| EntityData {
        entity_type: part.entity_type,
        entity_name: part.entity_name,
    };
    let entries = request.entries.into_iter().map(|entry| EntryData {
        error_code: refusal.code.code(),
        error_message: refusal.message.clone(),
        entity: entry.entity.into_iter().map(named).collect(),
    });
    AlterClientQuotasResponse { entries: entries.collect(), ..AlterClientQuotasResponse::default() }
}

/// The names of an entity by their types, as the client sent them.
type Names = BTreeMap<String, Option<String>>;

/// An entity of a request.
struct RequestedEntity {
    names: Names,
    /// Its changes, if they may be made and there are any.
    changes: Option<(QuotaEntity, QuotaChanges)>,
    refusal: Option<Refusal>,
}

impl RequestedEntity {
    fn new(names: Names, judged: Result<(QuotaEntity, QuotaChanges), Refusal>) -> RequestedEntity {
        let (changes, refusal) = match judged {
            Ok((entity, changes)) => {
                (Some((entity, changes)).filter(|(_, changes)| !changes.is_empty()), None)
            }
            Err(refusal) => (None, Some(refusal)),
        };
        RequestedEntity { names, changes, refusal }
    }

    fn answer(self, altered: &Result<(), Refusal>) -> EntryData {
        let refusal =
            self.refusal.or_else(|| altered.clone().err()).unwrap_or_else(|| ErrorCode::None.into());
        let named = |(kind, name): (&String, &Option<String>)| EntityData {
            entity_type: kind.clone(),
            entity_name: name.clone(),
        };
        EntryData {
            error_code: refusal.code.code(),
            error_message: refusal.message,
            entity: in_order(&self.names).map(named).collect(),
        }
    }
}

/// The names in the order of Kafka's answers.
fn in_order(names: &Names) -> impl Iterator<Item = (&String, &Option<String>)> {
    let mut all: Vec<_> = names.iter().collect();
    all.sort_by_key(|(kind, _)| (EntityType::named(kind).is_none(), EntityType::named(kind)));
    all.into_iter()
}

/// One result for each entity. As in Kafka, the last name of a type counts, and an entity that comes again is refused
/// although its first changes are made. Changes that name a value twice are refused in the same words.
fn judge_all(entries: &[request::EntryData]) -> Vec<RequestedEntity> {
    let mut places: HashMap<Names, usize> = HashMap::new();
    let mut judged: Vec<RequestedEntity> = Vec::with_capacity(entries.len());
    for entry in entries {
        let names: Names =
            entry.entity.iter().map(|part| (part.entity_type.clone(), part.entity_name.clone())).collect();
        if let Some(place) = places.get(&names) {
            judged[*place].refusal = Some(repeated(&names));
            continue;
        }
        places.insert(names.clone(), judged.len());
        let changes: QuotaChanges = entry.ops.iter().map(change).collect();
        let outcome =
            if changes.len() < entry.ops.len() { Err(repeated(&names)) } else { judge(&names, changes) };
        judged.push(RequestedEntity::new(names, outcome));
    }
    judged
}

fn change(op: &OpData) -> (String, Option<f64>) {
    (op.key.clone(), (!op.remove).then_some(op.value))
}

fn repeated(names: &Names) -> Refusal {
    let text =
        |(kind, name): (&String, &Option<String>)| format!("{kind}={}", name.as_deref().unwrap_or("null"));
    let names: Vec<String> = in_order(names).map(text).collect();
    invalid_request(format!("Ignoring duplicate entity ClientQuotaEntity(entries={{{}}})", names.join(", ")))
}

/// Checks an entity and the values that are set. As in Kafka, any name of a value can be removed.
fn judge(names: &Names, changes: QuotaChanges) -> Result<(QuotaEntity, QuotaChanges), Refusal> {
    let entity = entity(names)?;
    for (name, value) in &changes {
        if let Some(value) = value {
            check_value(&entity, name, *value)?;
        }
    }
    Ok((entity, changes))
}

fn entity(names: &Names) -> Result<QuotaEntity, Refusal> {
    let (mut user, mut client_id, mut ip) = (None, None, None);
    for (kind, name) in in_order(names) {
        let place = match EntityType::named(kind) {
            Some(EntityType::User) => &mut user,
            Some(EntityType::ClientId) => &mut client_id,
            Some(EntityType::Ip) => &mut ip,
            None => return Err(invalid_request(format!("Unhandled client quota entity type: {kind}"))),
        };
        if name.as_deref() == Some("") {
            return Err(invalid_request(format!("Empty {kind} not supported")));
        }
        *place = Some(name.as_deref().map_or(EntityName::Default, EntityName::named));
    }
    match (user, client_id, ip) {
        (None, None, None) => Err(invalid_request("Invalid empty client quota entity")),
        (Some(user), Some(client_id), None) => Ok(QuotaEntity::UserAndClientId(user, client_id)),
        (Some(user), None, None) => Ok(QuotaEntity::User(user)),
        (None, Some(client_id), None) => Ok(QuotaEntity::ClientId(client_id)),
        (None, None, Some(ip)) => {
            check_address(&ip)?;
            Ok(QuotaEntity::Ip(ip))
        }
        // Kafka's words, with its missing space.
        (_, _, Some(_)) => Err(invalid_request(
            "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId",
        )),
    }
}

fn check_address(ip: &EntityName) -> Result<(), Refusal> {
    match ip.text() {
        None | Some("localhost") => Ok(()),
        Some(text) if text.parse::<IpAddr>().is_ok() => Ok(()),
        Some(text) => Err(invalid_request(format!("{text} is not a valid IP or resolvable host."))),
    }
}

fn check_value(entity: &QuotaEntity, name: &str, value: f64) -> Result<(), Refusal> {
    let is_of_addresses = matches!(entity, QuotaEntity::Ip(_));
    let kind = QuotaKind::named(name).filter(|kind| (*kind == QuotaKind::ConnectionRate) == is_of_addresses);
    let Some(kind) = kind else {
        return Err(invalid_request(format!("Invalid configuration key {name}")));
    };
    if !value.is_finite() {
        return Err(invalid_request(format!("Quota {name} must be a finite number")));
    }
    if value <= 0.0 {
        return Err(invalid_request(format!("Quota {name} must be greater than 0")));
    }
    /// Java's largest `long`, as far as a fraction can say it.
    const MOST_LONG: f64 = 9_223_372_036_854_775_807.0;
    let (most, kafkas_type) = match kind {
        QuotaKind::RequestTime | QuotaKind::ControllerMutations => return Ok(()),
        QuotaKind::ProducerBytes | QuotaKind::ConsumerBytes => (MOST_LONG, "a LONG"),
        QuotaKind::ConnectionRate => (f64::from(i32::MAX), "an INT"),
    };
    if value > most {
        return Err(invalid_request(format!("Proposed value for {name} is too large for {kafkas_type}.")));
    }
    // As in Kafka, a very small fraction is taken for an error of calculation.
    if value % 1.0 > 1e-6 {
        return Err(invalid_request(format!("{name} cannot be a fractional value.")));
    }
    Ok(())
}

/// Refuses the entities that get values if all quotas together would take too much memory.
fn check_room(judged: &mut [RequestedEntity], stored: usize) {
    let sets = |one: &RequestedEntity| {
        one.changes.as_ref().is_some_and(|(_, changes)| changes.values().any(Option::is_some))
    };
    let names = |one: &RequestedEntity| one.names.values().flatten().map(String::len).sum::<usize>();
    let new: usize = judged.iter().filter(|one| sets(one)).map(|one| ENTITY + names(one)).sum();
    if stored.saturating_add(new) <= MOST_BYTES {
        return;
    }
    for one in judged.iter_mut().filter(|one| sets(one)) {
        let why = "this broker stores at most 8 MiB of quotas; remove some";
        one.changes = None;
        one.refusal = Some(Refusal::new(ErrorCode::PolicyViolation, why));
    }
}
