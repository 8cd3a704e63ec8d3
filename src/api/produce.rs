//! Produce (key 0): appends one batch to each partition in the request.
//! Versions 0–2 are advertised and refused (rule W4). v7 allows zstd, v8 returns the records that were
//! refused, v13 has topic ids instead of names.
//!
//! Every batch is queued when the ordered part ends. The response follows when all of them are durable.
//! acks=1 waits like acks=all, because no earlier point is safe.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZero;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::api::context::{Context, SeenTopic, TopicRef};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::leadership::{Endpoints, Leader, led_here};
use crate::api::operations::Operation;
use crate::api::requests::Requests;
use crate::api::{Handler, Reply, internal_topics};
use crate::kernel;
use crate::protocol::messages::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
    TopicProduceResponse,
    produce_response::{LeaderIdAndEpoch, NodeEndpoint},
};
use crate::protocol::{Records, Request};
use crate::record::{self, Checked, Codec, RecordError, RecordRefusal, Rules};
use crate::storage::{Append, AppendError, Appended, Partition, Topic};
use crate::types::{Offset, Timestamp, TopicId};

/// The first version with topic ids.
const TOPIC_IDS: i16 = 13;

impl Handler for ProduceRequest {
    const GAPS: &'static [&'static str] = &[
        "Transactional batches are INVALID_TXN_STATE: no transactions yet.",
        "A partition named twice in one request gets both batches; Kafka drops the first one.",
        "Null instead of records is INVALID_RECORD; Kafka does not answer at all.",
        "A compressed batch of more than 2,147,483,639 bytes when decompressed, or with a zstd window of more than 32 MiB, is INVALID_RECORD; Kafka limits each record instead of the batch, and the window to 128 MiB.",
        "Bytes behind the batch are INVALID_RECORD; Kafka drops an incomplete batch and acknowledges the one before it.",
        "Offsets inside an uncompressed batch that are not 0, 1, 2 … are INVALID_RECORD; Kafka stores them.",
        "An unknown codec is UNSUPPORTED_COMPRESSION_TYPE, and what cannot be decompressed INVALID_RECORD; Kafka says UNKNOWN_SERVER_ERROR.",
        "A producer id with an epoch below 0 is INVALID_RECORD; Kafka takes −1 and says INVALID_PRODUCER_EPOCH to others.",
        "Of the records refused in one batch at most 1,000 are named; Kafka names all.",
        "When `jackdaw.producers.max.bytes` is used up, the idempotent producer that has been silent longest is forgotten; if all wrote within the last 15 minutes, or the clock is not trusted, a new one gets NOT_ENOUGH_REPLICAS, which producers retry. Kafka remembers all until `producer.id.expiration.ms`.",
    ];

    fn named(&self) -> usize {
        self.topic_data.iter().map(|topic| topic.partition_data.len().max(1)).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<ProduceResponse> {
        let acks = Acks::of_request(self.acks);
        let transactional_id = self.transactional_id.as_deref();
        let view = ctx.topics();
        let batches = Batches { transactional_id, acks, now: ctx.now().time, ctx: &ctx };
        let mut begun = Vec::with_capacity(self.topic_data.len());
        for data in each_topic_once(self.topic_data) {
            let TopicProduceData { name, topic_id, partition_data } = data;
            let topic = view.topic(TopicRef::of(ctx.version, TOPIC_IDS, &name, topic_id), Operation::Write);
            let mut partitions = Vec::with_capacity(partition_data.len());
            for data in partition_data {
                let outcome = match topic {
                    Ok(topic) => batches.append(topic, data.index, data.records).await,
                    Err(error) => Err(ErrorCode::from(error).into()),
                };
                partitions.push((data.index, outcome));
            }
            let seen = topic.ok().map(|topic| SeenTopic::of(topic));
            begun.push(BegunTopic { name, topic_id, seen, partitions });
        }
        match acks {
            Some(Acks::None) => unanswered(begun, &ctx.services.requests),
            _ if begun.iter().all(BegunTopic::is_refused) => Reply::Now(answer(begun, ctx).await),
            _ => Reply::Later(Box::pin(answer(begun, ctx))),
        }
    }
}

/// The acknowledgement that the producer waits for.
#[derive(Clone, Copy, PartialEq)]
enum Acks {
    None,
    Leader,
    All,
}

impl Acks {
    fn of_request(acks: i16) -> Option<Acks> {
        match acks {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        }
    }
}

/// As in Kafka, a topic that is named twice gets one result, and a topic without partitions none.
fn each_topic_once(named: Vec<TopicProduceData>) -> Vec<TopicProduceData> {
    if let [only] = named.as_slice()
        && !only.partition_data.is_empty()
    {
        return named;
    }
    let mut places: HashMap<(String, TopicId), usize> = HashMap::new();
    let mut topics: Vec<TopicProduceData> = Vec::with_capacity(named.len());
    for topic in named.into_iter().filter(|topic| !topic.partition_data.is_empty()) {
        match places.entry((topic.name.clone(), topic.topic_id)) {
            Entry::Vacant(place) => {
                place.insert(topics.len());
                topics.push(topic);
            }
            Entry::Occupied(place) => {
                if let Some(first) = topics.get_mut(*place.get()) {
                    first.partition_data.extend(topic.partition_data);
                }
            }
        }
    }
    topics
}

/// The facts that apply to every batch of a request.
#[derive(Clone, Copy)]
struct Batches<'a> {
    transactional_id: Option<&'a str>,
    acks: Option<Acks>,
    now: Timestamp,
    ctx: &'a Context,
}

impl Batches<'_> {
    /// Returns when the batch is queued behind all earlier ones, or is refused.
    async fn append(
        self,
        topic: &Topic,
        index: i32,
        records: Option<Records>,
    ) -> Result<QueuedBatch, RefusedBatch> {
        let acks = self.acks.ok_or(ErrorCode::InvalidRequiredAcks)?;
        if internal_topics::is_internal(&topic.name) {
            return Err(ErrorCode::InvalidTopicException.into());
        }
        let partition = led_here(topic, index, self.ctx.node(), None)?;
        if acks == Acks::All && !has_enough_in_step(topic, partition) {
            return Err(ErrorCode::NotEnoughReplicas.into());
        }
        let batch = self.check(partition, records.unwrap_or_default()).await?;
        let time = if batch.header.attributes.log_append_time() {
            batch.header.max_timestamp
        } else {
            NO_APPEND_TIME
        };
        Ok(QueuedBatch { append: self.ctx.append(partition, batch), partition: Arc::clone(partition), time })
    }

    async fn check(self, partition: &Partition, records: Records) -> Result<Checked, RefusedBatch> {
        let settings = partition.settings();
        let rules = Rules {
            max_message_bytes: settings.max_message_bytes,
            segment_bytes: settings.segment_bytes,
            max_decompressed_bytes: settings.max_decompressed_bytes,
            compression: Codec::of_setting(&settings.compression),
            compacted: settings.cleanup.compact,
            log_append_time: settings.log_append_time,
            now: self.now,
            timestamp_before_max: settings.timestamp_before_max,
            timestamp_after_max: settings.timestamp_after_max,
        };
        let log_start = partition.ends().log_start;
        let bytes = records.into_bytes();
        let checked = match record::check_within(&bytes, &rules, QUICK) {
            Some(checked) => checked,
            None => check_at_leisure(bytes, rules).await,
        };
        let checked = checked.map_err(|error| RefusedBatch::of_record(error, log_start))?;
        let attributes = checked.header.attributes;
        if self.ctx.version < 7 && attributes.codec() == Ok(Codec::Zstd) {
            return Err(ErrorCode::UnsupportedCompressionType.into());
        }
        if attributes.transactional() {
            // As in Kafka, a missing transactional id is a missing right.
            let id = self.transactional_id.ok_or(ErrorCode::TransactionalIdAuthorizationFailed)?;
            self.ctx.transactional_id(id, Operation::Write).map_err(ErrorCode::from)?;
            return Err(ErrorCode::InvalidTxnState.into());
        }
        Ok(checked)
    }
}

/// A batch up to this decompressed size is checked on the thread that received it.
const QUICK: u64 = 1 << 20;

/// Batches above this decompressed size share one thread, so that they delay only each other.
const LARGE: u64 = 16 << 20;

/// Checks a batch with a large decompressed size on a blocking thread, so that other requests are served
/// meanwhile. This uses at most half of the cores, and one more thread for the largest batches, because
/// producers choose the size.
async fn check_at_leisure(bytes: Bytes, rules: Rules) -> Result<Checked, RecordError> {
    static THREADS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Arc::new(Semaphore::new((cores / 2).max(1)))
    });
    static FOR_LARGER: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));
    let held = bytes.clone();
    match on_one_of(&THREADS, move || record::check_within(&held, &rules, LARGE)).await {
        Some(checked) => checked,
        None => on_one_of(&FOR_LARGER, move || record::check_produced(bytes, &rules)).await,
    }
}

async fn on_one_of<T: Send + 'static>(
    threads: &LazyLock<Arc<Semaphore>>,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let thread = Arc::clone(threads).acquire_owned().await;
    let done = spawn_blocking(move || {
        let _until_done = thread;
        work()
    });
    done.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Whether `min.insync.replicas` is met. As in Kafka it never requires more replicas than there are.
fn has_enough_in_step(topic: &Topic, partition: &Partition) -> bool {
    let wanted = partition.settings().min_insync_replicas as usize;
    topic
        .placement(partition.index)
        .is_some_and(|placement| placement.isr.len() >= wanted.min(placement.replicas.len()))
}

/// The time in the response if the records keep their producer's timestamps.
const NO_APPEND_TIME: Timestamp = Timestamp(-1);

/// A batch that is queued for the log.
struct QueuedBatch {
    append: Append,
    partition: Arc<Partition>,
    /// The broker's time, if the topic uses it.
    time: Timestamp,
}

impl QueuedBatch {
    async fn appended(self) -> Result<(Appended, Timestamp), RefusedBatch> {
        let appended = match self.append.await {
            Ok(appended) => appended,
            Err(error) => {
                let refusal = Refusal::from(&error);
                let is_of_the_producer = matches!(&error,
                    AppendError::Refused(refusal) if *refusal != kernel::Refusal::NotLeader);
                let log_start = is_of_the_producer.then(|| self.partition.ends().log_start);
                return Err(RefusedBatch { refusal, records: Vec::new(), log_start });
            }
        };
        // As in Kafka, a duplicate batch is answered with the time that is stored for it.
        let time =
            if appended.repeated { self.partition.batch_time(appended.base_offset).await } else { self.time };
        Ok((appended, time))
    }
}

/// A batch that was not appended.
struct RefusedBatch {
    refusal: Refusal,
    records: Vec<RecordRefusal>,
    log_start: Option<Offset>,
}

impl RefusedBatch {
    fn of_record(error: RecordError, log_start: Offset) -> RefusedBatch {
        let refusal = Refusal::from(&error);
        match error {
            RecordError::InvalidRecords { refused, .. } | RecordError::InvalidTimestamps { refused, .. } => {
                RefusedBatch { refusal, records: refused, log_start: Some(log_start) }
            }
            RecordError::Invalid(_) | RecordError::OpensTooLarge | RecordError::UnknownCodec(_) => {
                RefusedBatch { refusal, records: Vec::new(), log_start: Some(log_start) }
            }
            RecordError::Corrupt(_)
            | RecordError::NotOneBatch(_)
            | RecordError::OldFormat(_)
            | RecordError::TooLarge { .. }
            | RecordError::LargerThanSegment { .. } => refusal.into(),
        }
    }
}

impl From<ErrorCode> for RefusedBatch {
    fn from(code: ErrorCode) -> RefusedBatch {
        Refusal::from(code).into()
    }
}

impl From<Refusal> for RefusedBatch {
    fn from(refusal: Refusal) -> RefusedBatch {
        RefusedBatch { refusal, records: Vec::new(), log_start: None }
    }
}

/// The batches of one topic, queued or refused.
struct BegunTopic {
    name: String,
    topic_id: TopicId,
    /// `None` if the client did not get the topic.
    seen: Option<SeenTopic>,
    partitions: Vec<(i32, Result<QueuedBatch, RefusedBatch>)>,
}

impl BegunTopic {
    fn is_refused(&self) -> bool {
        self.partitions.iter().all(|(_, outcome)| outcome.is_err())
    }

    /// The current leader of a partition.
    fn leader(&self, index: i32, ctx: &Context) -> Option<Leader> {
        Leader::of(ctx.topics().again(self.seen?)?, index)
    }
}

/// Rule W11: acks=0 never gets a response. An error closes the connection, so that the client refreshes
/// its metadata.
fn unanswered(begun: Vec<BegunTopic>, requests: &Arc<Requests>) -> Reply<ProduceResponse> {
    const WHY: &str = "a batch sent with acks=0 was refused";
    let mut appends = Vec::new();
    for (_, outcome) in begun.into_iter().flat_map(|topic| topic.partitions) {
        match outcome {
            Ok(in_line) => appends.push(in_line.append),
            Err(refused) => {
                requests.refused(ProduceRequest::KEY, refused.refusal.code.code(), 1);
                return Reply::Close(WHY);
            }
        }
    }
    let requests = Arc::clone(requests);
    Reply::Silence(Box::pin(async move {
        for append in appends {
            if let Err(error) = append.await {
                requests.refused(ProduceRequest::KEY, Refusal::from(&error).code.code(), 1);
                return Err(WHY);
            }
        }
        Ok(Duration::ZERO)
    }))
}

async fn answer(begun: Vec<BegunTopic>, ctx: Context) -> ProduceResponse {
    let mut responses = Vec::with_capacity(begun.len());
    let mut node_endpoints = Endpoints::new();
    for mut topic in begun {
        let mut partition_responses = Vec::with_capacity(topic.partitions.len());
        for (index, outcome) in std::mem::take(&mut topic.partitions) {
            let outcome = match outcome {
                Ok(in_line) => in_line.appended().await,
                Err(refused) => Err(refused),
            };
            let mut answer = partition_answer(index, outcome);
            if ctx.version >= 10
                && answer.error_code == ErrorCode::NotLeaderOrFollower.code()
                && let Some(leader) = topic.leader(index, &ctx)
            {
                answer.current_leader =
                    LeaderIdAndEpoch { leader_id: leader.id(), leader_epoch: leader.epoch.0 };
                node_endpoints.tell(leader, &ctx, |node, host, port| {
                    let rack = ctx.services.settings().rack.clone();
                    NodeEndpoint { node_id: node.0, host, port, rack }
                });
            }
            partition_responses.push(answer);
        }
        responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses,
        });
    }
    let node_endpoints = node_endpoints.into_vec();
    ProduceResponse { responses, node_endpoints, ..ProduceResponse::default() }
}

fn partition_answer(
    index: i32,
    outcome: Result<(Appended, Timestamp), RefusedBatch>,
) -> PartitionProduceResponse {
    match outcome {
        Ok((appended, time)) => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset.0,
            log_append_time_ms: time.0,
            log_start_offset: appended.log_start.0,
            error_message: None,
            ..PartitionProduceResponse::default()
        },
        Err(refused) => PartitionProduceResponse {
            index,
            error_code: refused.refusal.code.code(),
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: refused.log_start.map_or(-1, |offset| offset.0),
            record_errors: refused.records.into_iter().map(record_error).collect(),
            error_message: refused.refusal.message,
            ..PartitionProduceResponse::default()
        },
    }
}

fn record_error(refusal: RecordRefusal) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage { batch_index: refusal.index, batch_index_error_message: Some(refusal.message) }
}
