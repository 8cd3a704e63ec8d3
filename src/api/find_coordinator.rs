//! FindCoordinator (key 10): the broker that serves a group or a transactional id. v4 asks for several at once.
//!
//! There are no share groups yet. A request for their coordinator is refused with a code that no client retries
//! (`docs/rules.md`, M7).

use crate::api::connection::HostPort;
use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::internal_topics::{self, CONSUMER_OFFSETS, InternalTopic, TRANSACTION_STATE};
use crate::api::{Handler, Reply, Size, Weight};
use crate::protocol::messages::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::security::operations::Operation;
use crate::security::principal::Forbidden;
use crate::types::NodeId;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

impl Handler for FindCoordinatorRequest {
    const GAPS: &'static [&'static str] = &[
        "The coordinator of a share group is INVALID_REQUEST: no share groups yet.",
        "The first one who asks gets its answer at once; Kafka makes it ask again while it creates `__consumer_offsets` or `__transaction_state`.",
    ];

    fn named(&self) -> usize {
        self.coordinator_keys.len()
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        // The response has the coordinator's address for each key.
        let host = ctx.connection.advertised().host.len();
        Weight::asked(size.echoed() + (1 + self.coordinator_keys.len()) * 3 * host)
    }

    async fn handle(self, ctx: Context) -> Reply<FindCoordinatorResponse> {
        let keys = if ctx.version >= 4 { self.coordinator_keys } else { vec![self.key] };
        let found = |key: String| {
            let coordinator = coordinator_of(self.key_type, &key, &ctx);
            (key, coordinator)
        };
        let found: Vec<_> = keys.into_iter().map(found).collect();
        // A client without a right causes nothing.
        let is_allowed = found.iter().any(|(_, coordinator)| coordinator.is_ok());
        let served = if is_allowed { serve(self.key_type, &ctx).await } else { Ok(()) };
        let answered = |(key, coordinator): (String, Result<_, Refusal>)| {
            let address = coordinator.and_then(|node| served.clone().and(address_of(node, &ctx)));
            match address {
                Ok((node, address)) => Coordinator {
                    key,
                    node_id: node.0,
                    host: address.host,
                    port: address.port.into(),
                    error_code: ErrorCode::None.code(),
                    error_message: Some(String::new()),
                },
                Err(refusal) => no_coordinator(key, refusal),
            }
        };
        let mut coordinators = found.into_iter().map(answered);
        Reply::Now(match ctx.version {
            4.. => FindCoordinatorResponse {
                coordinators: coordinators.collect(),
                ..FindCoordinatorResponse::default()
            },
            _ => coordinators.next().map(one).unwrap_or_default(),
        })
    }
}

/// The broker that coordinates this key; `None` if there is none. Fails without the right to know it.
fn coordinator_of(key_type: i8, key: &str, ctx: &Context) -> Result<Option<NodeId>, Refusal> {
    // As in Kafka, without a message if there may be several keys.
    let forbidden = |forbidden: Forbidden| match ctx.version {
        4.. => ErrorCode::from(forbidden).into(),
        _ => Refusal::from(forbidden),
    };
    Ok(match key_type {
        GROUP => ctx.find_coordinator(key).map_err(forbidden)?,
        TRANSACTION => ctx.find_transaction_coordinator(key).map_err(forbidden)?,
        SHARE => ctx.cluster(Operation::ClusterAction).map(|_| None)?,
        _ => None,
    })
}

/// Fails if there are no coordinators of this type.
async fn serve(key_type: i8, ctx: &Context) -> Result<(), Refusal> {
    match key_type {
        GROUP => serve_with(&CONSUMER_OFFSETS, ctx).await,
        TRANSACTION => serve_with(&TRANSACTION_STATE, ctx).await,
        SHARE => Err(Refusal::new(ErrorCode::InvalidRequest, "this broker has no share groups yet")),
        _ => Err(Refusal::malformed()),
    }
}

/// Fails if coordinators cannot serve. Creates `topic`, in which Kafka's coordinators have their state.
async fn serve_with(topic: &InternalTopic, ctx: &Context) -> Result<(), Refusal> {
    if !ctx.is_writable() {
        return Err(ErrorCode::CoordinatorNotAvailable.into());
    }
    Ok(internal_topics::ensure(topic, ctx).await?)
}

fn address_of(coordinator: Option<NodeId>, ctx: &Context) -> Result<(NodeId, HostPort), Refusal> {
    let node = coordinator.ok_or(ErrorCode::CoordinatorNotAvailable)?;
    Ok((node, ctx.endpoint(node).ok_or(ErrorCode::CoordinatorNotAvailable)?))
}

fn no_coordinator(key: String, refusal: Refusal) -> Coordinator {
    Coordinator {
        key,
        node_id: -1,
        host: String::new(),
        port: -1,
        error_code: refusal.code.code(),
        error_message: Some(refusal.message.unwrap_or_default()),
    }
}

fn one(found: Coordinator) -> FindCoordinatorResponse {
    let succeeded = found.error_code == ErrorCode::None.code();
    FindCoordinatorResponse {
        error_code: found.error_code,
        // Kafka's message for success.
        error_message: if succeeded { Some("NONE".to_owned()) } else { found.error_message },
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..FindCoordinatorResponse::default()
    }
}
