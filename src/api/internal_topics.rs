//! Kafka's own topics. Clients can read and describe them, but not write. Their data is in the journal here, so they
//! are empty; programs expect that they exist (rule M10).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use super::context::{Context, Creatable, NewReplicas, NewTopic};
use super::error::ErrorCode;
use crate::config::{BrokerSettings, Overrides};
use crate::storage::{Topic, TopicError};

/// One of Kafka's own topics.
pub struct InternalTopic {
    pub name: &'static str,
    /// `None` if the broker never creates it.
    shape: Option<fn(&BrokerSettings) -> Shape>,
}

/// The shape in which Kafka creates the topic.
struct Shape {
    partitions: i32,
    factor: u16,
    overrides: Overrides,
}

/// The topic in which Kafka's group coordinators store offsets.
pub static CONSUMER_OFFSETS: InternalTopic =
    InternalTopic { name: "__consumer_offsets", shape: Some(shape_of_consumer_offsets) };
/// The topic in which Kafka's transaction coordinators store transactional ids.
pub static TRANSACTION_STATE: InternalTopic =
    InternalTopic { name: "__transaction_state", shape: Some(shape_of_transaction_state) };
static SHARE_GROUP_STATE: InternalTopic = InternalTopic { name: "__share_group_state", shape: None };

static ALL: [&InternalTopic; 3] = [&CONSUMER_OFFSETS, &TRANSACTION_STATE, &SHARE_GROUP_STATE];

pub fn find(name: &str) -> Option<&'static InternalTopic> {
    ALL.into_iter().find(|topic| topic.name == name)
}

pub fn is_internal(name: &str) -> bool {
    find(name).is_some()
}

/// Creates the topic unless it exists, as Kafka does at the first look-up of a coordinator.
pub async fn ensure(topic: &InternalTopic, ctx: &Context) -> Result<(), ErrorCode> {
    if ctx.topics().has(topic) {
        return Ok(());
    }
    let Some(creating) = create(topic, ctx) else { return Ok(()) };
    match creating.await {
        Ok(_) | Err(TopicError::Exists) => Ok(()),
        Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
    }
}

/// Creates a topic with Kafka's settings; `None` if the broker never creates it.
pub fn create(
    topic: &InternalTopic,
    ctx: &Context,
) -> Option<impl Future<Output = Result<Arc<Topic>, TopicError>> + Send + use<>> {
    let Shape { partitions, factor, overrides } = topic.shape?(&ctx.services.settings());
    // Nothing is stored in it, so it need not wait for more brokers.
    let factor = usize::from(factor).min(ctx.services.cluster.brokers.len());
    let partitions = u32::try_from(partitions).unwrap_or(1);
    let replicas = NewReplicas::Spread { partitions, factor };
    Some(ctx.create_topic(&NewTopic { name: Creatable::internal(topic), overrides, replicas }))
}

/// Nothing is stored there, so the settings are only described.
fn shape_of_consumer_offsets(settings: &BrokerSettings) -> Shape {
    Shape {
        partitions: settings.offsets_topic_partitions,
        factor: settings.offsets_topic_replication,
        overrides: BTreeMap::from([
            ("cleanup.policy".to_owned(), "compact".to_owned()),
            ("compression.type".to_owned(), "producer".to_owned()),
            ("segment.bytes".to_owned(), settings.offsets_topic_segment_bytes.to_string()),
        ]),
    }
}

fn shape_of_transaction_state(settings: &BrokerSettings) -> Shape {
    Shape {
        partitions: settings.transaction_topic_partitions,
        factor: settings.transaction_topic_replication,
        overrides: BTreeMap::from([
            ("cleanup.policy".to_owned(), "compact".to_owned()),
            ("compression.type".to_owned(), "uncompressed".to_owned()),
            ("min.insync.replicas".to_owned(), settings.transaction_topic_min_isr.to_string()),
            ("segment.bytes".to_owned(), settings.transaction_topic_segment_bytes.to_string()),
            ("unclean.leader.election.enable".to_owned(), "false".to_owned()),
        ]),
    }
}
