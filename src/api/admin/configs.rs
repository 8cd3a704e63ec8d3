//! Shared by the APIs of settings: kinds of resources, and the steps of an alteration.
//!
//! All resources of a request are checked and queued before the first wait. Each succeeds or fails on its
//! own.

pub mod loggers;
#[cfg(all(test, feature = "security"))]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::api::context::{Context, NoTopic, TopicRef};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::queued::{self, QueuedChange, queue};
use crate::config::{
    self, Alteration, BrokerSettings, Changes, ConfigError, Operation as ConfigOperation, Overrides, Resource,
};
use crate::kernel::Scope;
use crate::security::operations::Operation;
use crate::security::tls::Replacement;
use crate::storage::Topic;
use crate::types::{NodeId, topic_name};

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const BROKER_LOGGER: i8 = 8;
pub const CLIENT_METRICS: i8 = 16;
pub const GROUP: i8 = 32;
pub const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

/// The maximum size of the stored names and values of all resources but topics.
const MOST_BYTES: usize = 16 << 20;

/// One resource of a request, and its changes.
pub struct AlterRequest {
    pub kind: i8,
    pub name: String,
    pub wish: Wish,
}

pub enum Wish {
    /// Name, Kafka's number of the operation, value.
    Alter(Vec<(String, i8, Option<String>)>),
    /// The complete new settings; all others are removed.
    Replace(Vec<(String, Option<String>)>),
}

/// The result of one resource, for both APIs.
pub struct AlterOutcome {
    pub kind: i8,
    pub name: String,
    pub error_code: i16,
    pub error_message: Option<String>,
}

/// The resource whose stored settings change.
enum Target {
    Topic(Arc<Topic>),
    Other(Scope),
}

/// Alters the settings. Returns one outcome for each resource, in the order of the request.
pub async fn alter(asked: Vec<AlterRequest>, validate_only: bool, ctx: &Context) -> Vec<AlterOutcome> {
    let mut times: HashMap<(i8, &str), usize> = HashMap::new();
    for one in &asked {
        *times.entry((one.kind, &one.name)).or_default() += 1;
    }
    let has_the_right = || ctx.quietly().cluster(Operation::AlterConfigs).is_ok();
    let needs_turn = asked.iter().any(AlterRequest::may_change_logins) && has_the_right();
    let turn = if needs_turn { Some(ctx.services.turn_to_change_logins().await) } else { None };
    let mut queued = Vec::with_capacity(asked.len());
    for one in &asked {
        let change = match times.get(&(one.kind, one.name.as_str())) {
            Some(1) => begin(one, validate_only, ctx),
            _ => Err(invalid_request("Each resource must appear at most once.")),
        };
        queued.push(((one.kind, one.name.clone()), change));
    }
    let outcomes = queued::to_the_end(queued::outcomes(queued), turn).await;
    let outcomes = outcomes.into_iter().map(|((kind, name), altered)| {
        let refusal = altered.err().unwrap_or_else(|| ErrorCode::None.into());
        AlterOutcome { kind, name, error_code: refusal.code.code(), error_message: refusal.message }
    });
    outcomes.collect()
}

/// Checks one resource and queues its changes.
fn begin(asked: &AlterRequest, validate_only: bool, ctx: &Context) -> QueuedChange {
    asked.wish.check()?;
    if asked.kind == BROKER_LOGGER {
        return match &asked.wish {
            Wish::Alter(changes) => {
                ctx.cluster(Operation::AlterConfigs).map_err(ErrorCode::from)?;
                loggers::alter(&asked.name, changes, validate_only, ctx)?;
                queued::done(())
            }
            Wish::Replace(_) => Err(unknown_resource(asked.kind)),
        };
    }
    let (target, changes) = judge(asked, ctx)?;
    let certificates = certificates(asked, &target, &changes, ctx)?;
    #[cfg(feature = "security")]
    keep_a_way_in(&target, &changes, &certificates, ctx)?;
    if validate_only {
        return queued::done(());
    }
    if changes.is_empty() {
        certificates.into_iter().for_each(Replacement::install);
        return queued::done(());
    }
    match target {
        Target::Topic(topic) => queue(ctx.alter_topic(&topic, changes)),
        Target::Other(scope) => {
            let kept = ctx.stored_settings_bytes();
            let new: usize =
                changes.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len)).sum();
            if kept + new > MOST_BYTES {
                return Err(Refusal::new(
                    ErrorCode::PolicyViolation,
                    "this broker keeps 16 MiB of altered settings at most",
                ));
            }
            let altered = ctx.alter_settings(scope, changes);
            queue(async move {
                let altered = altered.await;
                if altered.is_ok() {
                    certificates.into_iter().for_each(Replacement::install);
                }
                altered
            })
        }
    }
}

/// The keys and certificates of listeners that the request names settings of, as they are after the changes. As in
/// Kafka, they are read again even if the settings stay the same, because the files may be others.
fn certificates(
    asked: &AlterRequest,
    target: &Target,
    changes: &Changes,
    ctx: &Context,
) -> Result<Vec<Replacement>, Refusal> {
    let named = asked.wish.names().chain(changes.keys().map(String::as_str));
    let named: Vec<&str> = named.filter(|name| config::is_about_tls(name)).collect();
    let Target::Other(Scope::Broker(_)) = target else { return Ok(Vec::new()) };
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let prepare = |after: BrokerSettings| {
        let mut prepared = ctx.services.tls.prepare(&after, named.iter().copied())?;
        prepared.extend(ctx.services.http_tls.prepare(&after, named.iter().copied())?);
        Ok(prepared)
    };
    let prepared = after(changes, ctx).and_then(prepare);
    prepared.map_err(|error| invalid_request(error.to_string()))
}

/// The settings of this broker after its changes.
fn after(changes: &Changes, ctx: &Context) -> Result<BrokerSettings, ConfigError> {
    let present = ctx.services.settings();
    let mut altered = present.altered.clone();
    for (name, value) in changes {
        match value {
            Some(value) => altered.broker.insert(name.clone(), value.clone()),
            None => altered.broker.remove(name),
        };
    }
    present.altered(altered)
}

/// Refuses changes after which no super user could log in, because then nobody could undo them. New certificates are a
/// change, too, although the settings may stay the same.
#[cfg(feature = "security")]
fn keep_a_way_in(
    target: &Target,
    changes: &Changes,
    certificates: &[Replacement],
    ctx: &Context,
) -> Result<(), Refusal> {
    let Target::Other(Scope::Broker(_)) = target else { return Ok(()) };
    if certificates.is_empty() && !changes.keys().any(|name| config::is_about_who_logs_in(name)) {
        return Ok(());
    }
    let after = after(changes, ctx).map_err(|error| invalid_request(error.to_string()))?;
    if !ctx.locks_super_users_out(&after, certificates) {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::PolicyViolation,
        "with these settings no super user could log in; first give a super user a way to log in that remains",
    ))
}

fn judge(asked: &AlterRequest, ctx: &Context) -> Result<(Target, Changes), Refusal> {
    let (kind, name) = (asked.kind, &asked.name);
    let settings = ctx.services.settings();
    let stored = |scope: &Scope| ctx.stored_settings(scope, Operation::AlterConfigs);
    match kind {
        TOPIC => {
            let topic = match ctx.topic(TopicRef::Name(name), Operation::AlterConfigs) {
                Err(NoTopic::Forbidden(forbidden)) => return Err(forbidden.into()),
                found => found.ok(),
            };
            if name.is_empty() {
                return Err(invalid_request("Default topic resources are not allowed."));
            }
            topic_name::check(name)?;
            let nothing = BTreeMap::new();
            let own = topic.as_ref().map_or(&nothing, |topic| &topic.overrides);
            // As in Kafka, a topic that does not exist is the last error.
            let changes = asked.wish.changes(Resource::Topic, own, &settings)?;
            match topic {
                Some(topic) => Ok((Target::Topic(topic), changes)),
                None => Err(Refusal::new(
                    ErrorCode::UnknownTopicOrPartition,
                    format!("The topic '{name}' does not exist."),
                )),
            }
        }
        BROKER => {
            // As in Kafka, without a message.
            ctx.cluster(Operation::AlterConfigs).map_err(ErrorCode::from)?;
            let (scope, resource) = if name.is_empty() {
                (Scope::DefaultBroker, Resource::Cluster)
            } else {
                (Scope::Broker(this_broker(name, ctx)?), Resource::Broker)
            };
            let acting = match resource {
                Resource::Cluster => &settings.altered.cluster,
                _ => &settings.altered.broker,
            };
            let own = asked.wish.own_of_broker(acting, stored(&scope)?);
            let changes = asked.wish.changes(resource, &own, &settings)?;
            Ok((Target::Other(scope), changes))
        }
        GROUP | CLIENT_METRICS => {
            let (scope, resource) = match kind {
                GROUP => (Scope::Group(name.clone()), Resource::Group),
                _ => (Scope::ClientMetrics(name.clone()), Resource::ClientMetrics),
            };
            let own = stored(&scope)?;
            if name.is_empty() {
                return Err(invalid_request(match kind {
                    GROUP => "Default group resources are not allowed.",
                    _ => "Subscription name can't be empty",
                }));
            }
            let changes = asked.wish.changes(resource, &own, &settings)?;
            Ok((Target::Other(scope), changes))
        }
        other => Err(unknown_resource(other)),
    }
}

/// The id of the broker that serves the request; fails if `name` is another one.
pub fn this_broker(name: &str, ctx: &Context) -> Result<NodeId, Refusal> {
    let node = ctx.node();
    match name.parse::<i32>() {
        Ok(asked) if asked == node.0 => Ok(node),
        Ok(_) => Err(invalid_request(format!("Unexpected broker id, expected {node}, but received {name}"))),
        Err(_) => Err(invalid_request(format!("Node id must be an integer, but it is: {name}"))),
    }
}

pub fn invalid_request(why: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, why)
}

fn unknown_resource(kind: i8) -> Refusal {
    invalid_request(format!("Unknown resource type {kind}"))
}

impl AlterRequest {
    /// Whether it could change who logs in at a listener.
    fn may_change_logins(&self) -> bool {
        let is_concerned = match &self.wish {
            Wish::Alter(_) => self.wish.names().any(config::is_about_who_logs_in),
            // It removes the settings that it does not name.
            Wish::Replace(_) => true,
        };
        self.kind == BROKER && is_concerned
    }
}

impl Wish {
    fn names(&self) -> impl Iterator<Item = &str> {
        let (changed, replaced) = match self {
            Wish::Alter(changes) => (&changes[..], &[][..]),
            Wish::Replace(all) => (&[][..], &all[..]),
        };
        let changed = changed.iter().map(|(name, _, _)| name.as_str());
        changed.chain(replaced.iter().map(|(name, _)| name.as_str()))
    }

    /// The stored settings that the wish is about: those that act, and those that are ignored, because they are no longer
    /// valid, only if the wish changes or removes them.
    fn own_of_broker(&self, acting: &Overrides, mut stored: Overrides) -> Overrides {
        let named: BTreeSet<&str> = self.names().collect();
        let is_meant = |name: &str| named.contains(name) || matches!(self, Wish::Replace(_));
        stored.retain(|name, _| is_meant(name));
        stored.extend(acting.clone());
        stored
    }

    /// Fails on duplicate names and on missing values.
    fn check(&self) -> Result<(), Refusal> {
        let names: Vec<&String> = match self {
            Wish::Alter(changes) => changes.iter().map(|(name, _, _)| name).collect(),
            Wish::Replace(all) => all.iter().map(|(name, _)| name).collect(),
        };
        if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
            return Err(invalid_request("Error due to duplicate config keys"));
        }
        let null: Vec<&str> = match self {
            Wish::Alter(changes) => {
                let null =
                    changes.iter().filter(|(_, operation, value)| *operation != DELETE && value.is_none());
                null.map(|(name, _, _)| name.as_str()).collect()
            }
            Wish::Replace(all) => {
                all.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect()
            }
        };
        if null.is_empty() {
            Ok(())
        } else {
            Err(invalid_request(format!("Null value not supported for : {}", null.join(", "))))
        }
    }

    fn changes(
        &self,
        resource: Resource,
        own: &Overrides,
        settings: &BrokerSettings,
    ) -> Result<Changes, Refusal> {
        let changes = match self {
            Wish::Alter(changes) => {
                let changes: Result<Vec<Alteration>, Refusal> = changes
                    .iter()
                    .map(|(name, operation, value)| {
                        let value = value.clone().unwrap_or_default();
                        Ok(Alteration { name: name.clone(), operation: known_operation(*operation)?, value })
                    })
                    .collect();
                config::alter(resource, own, &changes?, settings)
            }
            Wish::Replace(all) => {
                let all = all.iter().map(|(name, value)| (name.clone(), value.clone().unwrap_or_default()));
                config::replace(resource, own, all.collect(), settings)
            }
        };
        changes.map_err(Refusal::from)
    }
}

const DELETE: i8 = 1;

fn known_operation(operation: i8) -> Result<ConfigOperation, Refusal> {
    match operation {
        0 => Ok(ConfigOperation::Set),
        DELETE => Ok(ConfigOperation::Delete),
        2 => Ok(ConfigOperation::Append),
        3 => Ok(ConfigOperation::Subtract),
        other => Err(invalid_request(format!("Unknown operations type {other}"))),
    }
}
