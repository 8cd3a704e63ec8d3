//! FindCoordinator (key 10): the broker that serves a group. v4 asks for several groups at once.
//!
//! There are no transactions and share groups yet. A request for their coordinator is refused with a code
//! that no client retries (`docs/rules.md`, M7).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Reply, Size, Weight, group, replicas, topic_name, transactions};
use crate::protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use crate::protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use crate::storage::{Topic, TopicError};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

impl Handler for FindCoordinatorRequest {
    const GAPS: &'static [&'static str] = &[
        transactions::GAP,
        "The coordinator of a share group is INVALID_REQUEST: no share groups yet.",
        "The first one who asks gets its answer at once; Kafka makes it ask again while it creates `__consumer_offsets`.",
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
        let found = match self.key_type {
            GROUP => find_group_coordinator(&ctx).await,
            TRANSACTION => {
                Err(transactions::refuse(self.coordinator_keys.first().unwrap_or(&self.key), &ctx))
            }
            SHARE => Err(Refusal::new(ErrorCode::InvalidRequest, "this broker has no share groups yet")),
            _ => Err(Refusal::malformed()),
        };
        Reply::Now(if ctx.version >= 4 {
            let coordinators = self.coordinator_keys.into_iter().map(|key| coordinator(key, &found, &ctx));
            FindCoordinatorResponse {
                coordinators: coordinators.collect(),
                ..FindCoordinatorResponse::default()
            }
        } else {
            one(coordinator(self.key, &found, &ctx))
        })
    }
}

async fn find_group_coordinator(ctx: &Context) -> Result<(), Refusal> {
    let store = &ctx.services.store;
    if !store.is_writable() {
        return Err(ErrorCode::CoordinatorNotAvailable.into());
    }
    if store.topics().by_name(topic_name::CONSUMER_OFFSETS).is_some() {
        return Ok(());
    }
    match create_offsets_topic(ctx).await {
        Ok(_) | Err(TopicError::Exists) => Ok(()),
        Err(_) => Err(ErrorCode::CoordinatorNotAvailable.into()),
    }
}

/// As in Kafka the first look-up of a coordinator, or the first request for the topic, creates it.
pub fn create_offsets_topic(
    ctx: &Context,
) -> impl Future<Output = Result<Arc<Topic>, TopicError>> + Send + use<> {
    let partitions = u32::try_from(ctx.services.settings().offsets_topic_partitions).unwrap_or(1);
    // Nothing is stored in it, so it need not wait for more brokers.
    let factor = ctx.services.settings().offsets_topic_replication;
    let factor = usize::from(factor).min(ctx.services.cluster.brokers.len());
    let (name, replicas) = (topic_name::CONSUMER_OFFSETS, replicas::spread(ctx, partitions, factor));
    // Kafka's settings for it. Nothing is stored there, so they are only described.
    let segment_bytes = ctx.services.settings().offsets_topic_segment_bytes.to_string();
    let overrides = BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        ("compression.type".to_owned(), "producer".to_owned()),
        ("segment.bytes".to_owned(), segment_bytes),
    ]);
    ctx.services.store.create_placed_topic(name.to_owned(), overrides, replicas)
}

fn coordinator(key: String, found: &Result<(), Refusal>, ctx: &Context) -> Coordinator {
    match found {
        Ok(()) => {
            let node = group::coordinator_of(&key, &ctx.services.store.topics());
            match node.and_then(|node| Some((node, ctx.endpoint(node)?))) {
                Some((node, told)) => Coordinator {
                    key,
                    node_id: node.0,
                    host: told.host,
                    port: told.port.into(),
                    error_code: ErrorCode::None.code(),
                    error_message: Some(String::new()),
                },
                None => no_coordinator(key, &ErrorCode::CoordinatorNotAvailable.into()),
            }
        }
        Err(refusal) => no_coordinator(key, refusal),
    }
}

fn no_coordinator(key: String, refusal: &Refusal) -> Coordinator {
    Coordinator {
        key,
        node_id: -1,
        host: String::new(),
        port: -1,
        error_code: refusal.code.code(),
        error_message: Some(refusal.message.clone().unwrap_or_default()),
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
