//! Produce (key 0): appends one batch to each partition in the request.
//! Versions 0–2 are advertised and refused (rule W4). v7 allows zstd, v8 returns the records that were
//! refused, v11 knows TRANSACTION_ABORTABLE. From v12 on, a transactional batch adds its partition to the transaction.
//! v13 has topic ids instead of names.
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

use crate::api::context::{Context, SeenTopic, TopicRef, TransactionalId};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::leadership::{Endpoints, Leader, led_here};
use crate::api::off_thread::on_one_of;
use crate::api::throttle::RequestMeter;
use crate::api::transaction::check_level;
use crate::api::{Handler, Reply, internal_topics, throttle};
use crate::coordinator::TransactionError;
use crate::kernel::{self, ProducerAt};
use crate::protocol::messages::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceData, TopicProduceResponse,
    produce_response::{LeaderIdAndEpoch, NodeEndpoint},
};
use crate::protocol::{Records, Request};
use crate::record::{self, Checked, Codec, NAMED_REFUSALS, RecordError, RecordRefusal, Rules};
use crate::security::operations::Operation;
use crate::security::principal::Forbidden;
use crate::storage::{Append, AppendError, Appended, CopyRoom, NewAppend, Partition, Topic};
use crate::types::{Offset, Timestamp, TopicId, TopicPartition};

/// The first version that knows TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 11;
/// The first version in which a transactional batch adds its partition to the transaction.
const JOINS: i16 = 12;
/// The first version with topic ids.
const TOPIC_IDS: i16 = 13;

impl Handler for ProduceRequest {
    const GAPS: &'static [&'static str] = &[
        "Every transactional batch is checked against its transaction, whatever `transaction.partition.verification.enable` says.",
        "The transactional id is compared with the producer of every transactional batch; Kafka does so only for the first one of a transaction in a partition.",
        "A transactional batch in a request without a transactional id refuses itself; Kafka refuses the whole request.",
        "From version 12 on, a batch that is refused for its sequence does not add its partition to the transaction; other refused batches do, as in Kafka.",
        "A partition named twice in one request gets both batches; Kafka drops the first one.",
        "Null instead of records is INVALID_RECORD; Kafka does not answer at all.",
        "A compressed batch of more than 2,147,483,639 bytes when decompressed, or with a zstd window of more than 32 MiB, is INVALID_RECORD; Kafka limits each record instead of the batch, and the window to 128 MiB.",
        "Bytes behind the batch are INVALID_RECORD; Kafka drops an incomplete batch and acknowledges the one before it.",
        "Offsets inside an uncompressed batch that are not 0, 1, 2 … are INVALID_RECORD; Kafka stores them.",
        "An unknown codec is UNSUPPORTED_COMPRESSION_TYPE, and what cannot be decompressed INVALID_RECORD; Kafka says UNKNOWN_SERVER_ERROR.",
        "A producer id with an epoch below 0 is INVALID_RECORD; Kafka takes −1 and says INVALID_PRODUCER_EPOCH to others.",
        "Of the records refused in one request at most 1,000 are named; Kafka names all.",
        "When `jackdaw.producers.max.bytes` is used up, the idempotent producer that has been silent longest is forgotten; if all wrote within the last 15 minutes, or the clock is not trusted, a new one gets NOT_ENOUGH_REPLICAS, which producers retry. Producers with an open transaction are never forgotten; when they have used up half of it, the same answer refuses a transaction's first batch in a partition. Kafka remembers all until `producer.id.expiration.ms`.",
    ];

    fn named(&self) -> usize {
        self.topic_data.iter().map(|topic| topic.partition_data.len().max(1)).sum()
    }

    async fn handle(self, ctx: Context) -> Reply<ProduceResponse> {
        let acks = Acks::of_request(self.acks);
        let transactional_id = match self.transactional_id.as_deref() {
            None => Ok(None),
            Some(id) => may_use(id, &self.topic_data, &ctx),
        };
        let view = ctx.topics();
        let mut batches = Batches { transactional_id, acks, now: ctx.now().time, ctx: &ctx, turn: 0 };
        let mut begun = Vec::with_capacity(self.topic_data.len());
        let mut may_be_named = NAMED_REFUSALS;
        for TopicProduceData { name, topic_id, partition_data } in each_topic_once(self.topic_data) {
            let topic = view.topic(TopicRef::of(ctx.version, TOPIC_IDS, &name, topic_id), Operation::Write);
            let mut partitions = Vec::with_capacity(partition_data.len());
            for PartitionProduceData { index, records } in partition_data {
                batches.end_turn().await;
                let mut outcome = match (topic, batches.transactional_id) {
                    (_, Err(forbidden)) => Err(ErrorCode::from(forbidden).into()),
                    (Ok(topic), Ok(None)) => batches.append(topic, index, records).await,
                    (Ok(topic), Ok(Some(id))) => {
                        // Boxed, so that a request without transactions takes less memory.
                        Box::pin(batches.append_in(id, topic, index, records)).await
                    }
                    (Err(error), Ok(_)) => Err(ErrorCode::from(error).into()),
                };
                if let Err(refused) = &mut outcome {
                    refused.name_at_most(&mut may_be_named);
                }
                partitions.push((index, outcome));
            }
            let seen = topic.ok().map(|topic| SeenTopic::of(topic));
            begun.push(BegunTopic { name, topic_id, seen, partitions });
        }
        // Counted now: what is queued is written, even if the connection ends before the answer.
        let held = ctx.metered.as_ref().map_or(Duration::ZERO, |metered| metered.produce());
        match acks {
            Some(Acks::None) => unanswered(begun, held, &ctx),
            _ if begun.iter().all(BegunTopic::is_refused) => {
                Reply::Now(Box::pin(answer(begun, held, ctx)).await)
            }
            _ if held.is_zero() => Reply::Later(Box::pin(answer(begun, held, ctx))),
            // Otherwise the requests behind it would be counted at once, and each would wait for all before it.
            _ => Reply::LaterAndHeld { mute: held, answer: Box::pin(answer(begun, held, ctx)) },
        }
    }
}

/// The transactional id of a request. As in Kafka, it needs no right if none of the batches is transactional.
fn may_use<'a>(
    id: &'a str,
    topics: &[TopicProduceData],
    ctx: &'a Context,
) -> Result<Option<TransactionalId<'a>>, Forbidden> {
    let forbidden = match ctx.transactional_id(id, Operation::Write) {
        Ok(id) => return Ok(Some(id)),
        Err(forbidden) => forbidden,
    };
    let mut partitions = topics.iter().flat_map(|topic| &topic.partition_data);
    let is_transactional = |partition: &PartitionProduceData| {
        let header = partition.records.as_ref().and_then(header_of);
        header.is_some_and(|header| header.attributes.transactional())
    };
    if partitions.any(is_transactional) { Err(forbidden) } else { Ok(None) }
}

/// The header of the first batch; `None` if it cannot be read.
fn header_of(records: &Records) -> Option<record::Header> {
    record::Header::parse(&records.clone().into_bytes()).ok()
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
struct Batches<'a> {
    transactional_id: Result<Option<TransactionalId<'a>>, Forbidden>,
    acks: Option<Acks>,
    now: Timestamp,
    ctx: &'a Context,
    /// The decompressed size of the batches that were checked since other requests had their turn.
    turn: u64,
}

impl Batches<'_> {
    /// Called before each batch. Other requests get their turn when those before took as long as the largest quick one.
    async fn end_turn(&mut self) {
        if self.turn >= QUICK {
            self.turn = 0;
            tokio::task::yield_now().await;
        }
        self.turn += EACH;
    }

    /// As [`Batches::append`], for a request with a transactional id. Kafka asks the transaction before it checks the
    /// batch. Here a refused batch asks afterwards, so it has joined the transaction too, or gets the transaction's
    /// error.
    async fn append_in(
        &mut self,
        id: TransactionalId<'_>,
        topic: &Topic,
        index: i32,
        records: Option<Records>,
    ) -> Result<QueuedBatch, RefusedBatch> {
        let asking = self.asking(topic, index, records.as_ref());
        if asking.is_some() && self.joins() {
            check_level(self.ctx)?;
        }
        let refused = match self.append(topic, index, records).await {
            Ok(queued) => return Ok(queued),
            Err(refused) => refused,
        };
        if let Some((producer, partition)) = asking {
            let allowed = if self.joins() {
                id.join_by_itself(producer, partition).await
            } else {
                id.verify_one(producer, partition)
            };
            allowed.map_err(|error| RefusedBatch::of_transaction(&error, self.ctx.version))?;
        }
        Err(refused)
    }

    /// Whether batches add their partitions to the transaction.
    fn joins(&self) -> bool {
        self.ctx.version >= JOINS
    }

    /// The producer and the partition to ask the transaction about; `None` if the batch is not transactional, or if
    /// Kafka refuses it before it asks.
    fn asking(
        &self,
        topic: &Topic,
        index: i32,
        records: Option<&Records>,
    ) -> Option<(ProducerAt, TopicPartition)> {
        let records = records?;
        let header = header_of(records).filter(|header| header.size() == records.len())?;
        let producer = header.producer().filter(|_| header.attributes.transactional())?;
        let partition = led_here(topic, index, self.ctx.node(), None).ok()?;
        let is_internal = internal_topics::is_internal(&topic.name);
        let producer = ProducerAt { id: producer.id, epoch: producer.epoch };
        (!is_internal).then(|| (producer, partition.key()))
    }

    /// Returns when the batch is queued behind all earlier ones, or is refused.
    async fn append(
        &mut self,
        topic: &Topic,
        index: i32,
        records: Option<Records>,
    ) -> Result<QueuedBatch, RefusedBatch> {
        let (partition, checked) = self.check(topic, index, records)?;
        self.turn += match &checked {
            Ok(Ok(batch)) => batch.opened as u64,
            // Where it was found to be wrong is unknown.
            Ok(Err(_)) => QUICK,
            Err(_) => 0,
        };
        let (checked, room) = match checked {
            Ok(checked) if !is_copy(&checked) => (checked, None),
            // Boxed, so that a request whose batches are checked at once takes less memory.
            checked => Box::pin(check_and_hold(checked, self.ctx)).await,
        };
        self.queue(topic, partition, checked, room)
    }

    /// Checks the partition, and the batch too, unless that may take long.
    fn check<'a>(
        &self,
        topic: &'a Topic,
        index: i32,
        records: Option<Records>,
    ) -> Result<(&'a Arc<Partition>, Result<CheckedBatch, UncheckedBatch>), RefusedBatch> {
        let acks = self.acks.ok_or(ErrorCode::InvalidRequiredAcks)?;
        if internal_topics::is_internal(&topic.name) {
            return Err(ErrorCode::InvalidTopicException.into());
        }
        let partition = led_here(topic, index, self.ctx.node(), None)?;
        if acks == Acks::All && !has_enough_in_step(topic, partition) {
            return Err(ErrorCode::NotEnoughReplicas.into());
        }
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
        let bytes = records.unwrap_or_default().into_bytes();
        // A batch that will be another one than the client's waits for memory first.
        let may_copy = !rules.change_batches() || self.ctx.copies().has_room();
        let checked = may_copy.then(|| record::check_within(&bytes, &rules, QUICK)).flatten();
        Ok((partition, checked.ok_or(UncheckedBatch { bytes, rules })))
    }

    fn queue(
        &self,
        topic: &Topic,
        partition: &Arc<Partition>,
        checked: CheckedBatch,
        room: Option<CopyRoom>,
    ) -> Result<QueuedBatch, RefusedBatch> {
        let log_start = partition.ends().log_start;
        let batch = checked.map_err(|error| RefusedBatch::of_record(error, log_start))?;
        let attributes = batch.header.attributes;
        if self.ctx.version < 7 && attributes.codec() == Ok(Codec::Zstd) {
            return Err(ErrorCode::UnsupportedCompressionType.into());
        }
        let is_transactional = attributes.transactional();
        if is_transactional {
            // As in Kafka, a missing transactional id is a missing right.
            let id =
                self.transactional_id.ok().flatten().ok_or(ErrorCode::TransactionalIdAuthorizationFailed)?;
            if let Some(producer) = batch.header.producer() {
                let joins = self.joins().then(|| partition.key());
                let allowed = id.check_batch(producer.id, joins);
                allowed.map_err(|error| RefusedBatch::of_transaction(&error, self.ctx.version))?;
            }
        }
        let time = if attributes.log_append_time() { batch.header.max_timestamp } else { NO_APPEND_TIME };
        // Not the present one, in which another broker may lead.
        let leadership = topic.epoch(partition.index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let new = NewAppend { batch, leadership, joins: self.joins(), room };
        let append = self.ctx.append(partition, new);
        Ok(QueuedBatch { append, partition: Arc::clone(partition), is_transactional, time })
    }
}

/// The result of a batch's check.
type CheckedBatch = Result<Checked, RecordError>;

/// A batch whose check may take long, or has to wait.
struct UncheckedBatch {
    bytes: Bytes,
    rules: Rules,
}

/// A batch up to this decompressed size is checked on the thread that received it.
const QUICK: u64 = 1 << 20;

/// Every batch takes about as long as checking this many bytes, whatever its size.
const EACH: u64 = 8 << 10;

/// Batches above this decompressed size share one thread, so that they delay only each other.
const LARGE: u64 = 16 << 20;

/// Whether the bytes are not the client's, and not charged with its request.
fn is_copy(checked: &CheckedBatch) -> bool {
    checked.as_ref().is_ok_and(|batch| batch.is_copy)
}

/// Checks a batch, if that is not done yet. If its bytes are not the client's, waits until there is memory for them.
async fn check_and_hold(
    checked: Result<CheckedBatch, UncheckedBatch>,
    ctx: &Context,
) -> (CheckedBatch, Option<CopyRoom>) {
    let checked = match checked {
        Ok(checked) => checked,
        Err(unchecked) => {
            if unchecked.rules.change_batches() {
                ctx.copies().wait().await;
            }
            check_at_leisure(unchecked, ctx.metered.as_ref()).await
        }
    };
    let room = match &checked {
        Ok(batch) if batch.is_copy => Some(ctx.copies().hold(batch.bytes.len()).await),
        Ok(_) | Err(_) => None,
    };
    (checked, room)
}

/// Checks a batch with a large decompressed size on a blocking thread, so that other requests are served
/// meanwhile. This uses at most half of the cores, and one more thread for the largest batches, because
/// producers choose the size.
async fn check_at_leisure(unchecked: UncheckedBatch, metered: Option<&Arc<RequestMeter>>) -> CheckedBatch {
    static THREADS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Arc::new(Semaphore::new((cores / 2).max(1)))
    });
    static FOR_LARGER: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));
    let UncheckedBatch { bytes, rules } = unchecked;
    let held = bytes.clone();
    match on_one_of(&THREADS, metered, move || record::check_within(&held, &rules, LARGE)).await {
        Some(checked) => checked,
        None => on_one_of(&FOR_LARGER, metered, move || record::check_produced(bytes, &rules)).await,
    }
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
    is_transactional: bool,
    /// The broker's time, if the topic uses it.
    time: Timestamp,
}

impl QueuedBatch {
    async fn appended(self, version: i16) -> Result<(Appended, Timestamp), RefusedBatch> {
        let QueuedBatch { append, partition, is_transactional, time } = self;
        let appended = match append.await {
            Ok(appended) => appended,
            Err(AppendError::Refused(refusal)) if is_transactional && is_of_transaction(&refusal) => {
                return Err(RefusedBatch::of_transaction(&TransactionError::Refused(refusal), version));
            }
            Err(error) => {
                let refusal = Refusal::from(&error);
                let is_of_the_producer = matches!(&error,
                    AppendError::Refused(refusal) if *refusal != kernel::Refusal::NotLeader);
                let log_start = is_of_the_producer.then(|| partition.ends().log_start);
                return Err(RefusedBatch { refusal, records: Vec::new(), log_start });
            }
        };
        // As in Kafka, a duplicate batch is answered with the time that is stored for it.
        let time = if appended.repeated { partition.batch_time(appended.base_offset).await } else { time };
        Ok((appended, time))
    }
}

/// Whether the transaction refuses a transactional batch, not the partition.
fn is_of_transaction(refusal: &kernel::Refusal) -> bool {
    matches!(
        refusal,
        kernel::Refusal::NotInTransaction
            | kernel::Refusal::UnknownTransactionalId
            | kernel::Refusal::StaleProducerEpoch { .. }
    )
}

const NO_ROOM: &str = "The broker's memory for transactions (jackdaw.transactions.max.bytes) is used up until some of them end.";

/// A batch that was not appended.
struct RefusedBatch {
    refusal: Refusal,
    records: Vec<RecordRefusal>,
    log_start: Option<Offset>,
}

impl RefusedBatch {
    /// Transient errors of coordinators have another code here, because producers retry only some codes.
    fn of_transaction(error: &TransactionError, version: i16) -> RefusedBatch {
        let code = if version >= ABORTABLE { ErrorCode::abortable(error) } else { ErrorCode::from(error) };
        match code.before_fencing() {
            ErrorCode::CoordinatorNotAvailable => {
                let message = (*error == TransactionError::NoRoom).then(|| NO_ROOM.to_owned());
                Refusal { code: ErrorCode::NotEnoughReplicas, message }.into()
            }
            code @ ErrorCode::InvalidTxnState => {
                Refusal::new(code, "Partition was not added to the transaction").into()
            }
            code => code.into(),
        }
    }

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

    /// Forgets all but the first `left` refused records. One request can refuse millions of them.
    fn name_at_most(&mut self, left: &mut usize) {
        self.records.truncate(*left);
        self.records.shrink_to_fit();
        *left -= self.records.len();
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
fn unanswered(begun: Vec<BegunTopic>, mute: Duration, ctx: &Context) -> Reply<ProduceResponse> {
    let requests = Arc::clone(&ctx.services.requests);
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
    let work = async move {
        for append in appends {
            if let Err(error) = append.await {
                requests.refused(ProduceRequest::KEY, Refusal::from(&error).code.code(), 1);
                return Err(WHY);
            }
        }
        Ok(())
    };
    Reply::Silence { mute, work: Box::pin(work) }
}

async fn answer(begun: Vec<BegunTopic>, held: Duration, ctx: Context) -> ProduceResponse {
    let mut responses = Vec::with_capacity(begun.len());
    let mut node_endpoints = Endpoints::new();
    for mut topic in begun {
        let mut partition_responses = Vec::with_capacity(topic.partitions.len());
        for (index, outcome) in std::mem::take(&mut topic.partitions) {
            let outcome = match outcome {
                Ok(in_line) => in_line.appended(ctx.version).await,
                Err(refused) => Err(refused),
            };
            let mut answer = partition_answer(index, outcome);
            if ctx.version >= 10
                && answer.error_code == ErrorCode::NotLeaderOrFollower.code()
                && let Some(leader) = topic.leader(index, &ctx)
            {
                answer.current_leader =
                    LeaderIdAndEpoch { leader_id: leader.id(), leader_epoch: leader.epoch.0 };
                node_endpoints.add(leader, &ctx, |node, host, port| {
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
    ProduceResponse { responses, throttle_time_ms: throttle::ms(held), node_endpoints }
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
