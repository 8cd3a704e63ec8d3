//! Fetch (key 1): record batches from an offset on, with an optional wait for new ones.
//! v7 adds sessions ([`session`]), v12 the epoch of the last fetched record, v13 topic ids. v15 moves
//! the replica id, which is irrelevant because no broker fetches from us.
//!
//! A poll ends when there are enough bytes, when a partition has an error, or when its time is over.
//! Changes of the partitions wake it (`Partition::watch`); it does not poll with a timer.

pub mod session;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::api::context::{Context, NoTopic, SeenTopic, TopicRef, TopicView, isolation};
use crate::api::error::ErrorCode;
use crate::api::leadership::{Endpoints, Leader, is_about_the_leader, led_here};
use crate::api::throttle::{self, Fetched};
use crate::api::{Handler, Reply, Size, Weight};
use crate::budget::{Charge, LEAST_POLL};
use crate::protocol::Records;
use crate::protocol::messages::{
    FetchRequest, FetchResponse, FetchableTopicResponse,
    fetch_response::{self, EpochEndOffset, LeaderIdAndEpoch, NodeEndpoint, PartitionData},
};
use crate::security::operations::Operation;
use crate::security::principal::Forbidden;
use crate::storage::{Ends, Isolation, Partition, ReadRange, Topic, Waiter};
use crate::time::{self, Moment, within};
use crate::types::{AbortedTransaction, LeaderEpoch, NodeId, Offset, Piece, TopicId};
use session::{Ask, FetchTopicRef, Opening, PartitionRef, PartitionResult, Plan};

/// The first version with topic ids.
const TOPIC_IDS: i16 = 13;
/// The memory for a partition of a poll, without its records and its part of the response.
const PARTITION: usize = 512;
/// The number of bytes that are read even if responses fill the memory.
const LEAST_ROOM: usize = 64 << 10;

impl Handler for FetchRequest {
    const GAPS: &'static [&'static str] = &[
        "Only whole batches are returned; Kafka cuts the last one at the limit.",
        "An unknown isolation level and a limit below 0 are INVALID_REQUEST; Kafka says UNKNOWN_SERVER_ERROR.",
        "KIP-392: no preferred read replica, there is only the leader.",
        "A fetch waits at most connections.max.idle.ms, even if it asks for more.",
        "A batch that is larger than a quota allows at once is sent, and the client is held back afterwards; Kafka never sends it.",
        "All fetch sessions together hold 500,000 partitions; further clients are served without a session.",
    ];

    fn named(&self) -> usize {
        self.topics.iter().map(|topic| topic.partitions.len().max(1)).sum()
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        let followed = match self.session_id {
            0 => 0,
            id => ctx.services.fetch_sessions.partitions_of(id),
        };
        Weight::asked(size.echoed().saturating_add(size.elements * PARTITION))
            .and_held(followed * 2 * PARTITION)
    }

    async fn handle(self, mut ctx: Context) -> Reply<FetchResponse> {
        let plan = match open(&self, &ctx) {
            Ok(plan) => plan,
            Err(error) => {
                let error_code = error.code();
                return Reply::Now(FetchResponse { error_code, ..FetchResponse::default() });
            }
        };
        let isolation = isolation(self.isolation_level);
        let mut poll = Poll::new(&self, &plan, isolation.unwrap_or(Isolation::ReadUncommitted), &ctx);
        // As in Kafka, the isolation level does not matter if there is nothing to read.
        if isolation.is_none() && poll.readings.iter().any(PartitionRead::is_of_something) {
            return Reply::Now(refuse(self));
        }
        let begun = Moment::now();
        poll.read(&ctx).await;
        if poll.is_enough() {
            return Reply::Now(answer(poll, plan, &ctx));
        }
        // The poll may wait for a long time. It has copied all that it needs of the request. Its wait is a future of its own,
        // which takes much less memory than this one.
        ctx.note_dropped_request();
        Reply::later(async move {
            poll.wait(begun, &ctx).await;
            answer(poll, plan, &ctx)
        })
    }
}

/// The response to a poll that is over.
fn answer(poll: Poll, plan: Plan, ctx: &Context) -> FetchResponse {
    let held = match ctx.metered.as_ref().map(|metered| metered.fetch(poll.answer_bytes())) {
        None | Some(Fetched::InTime) => Duration::ZERO,
        Some(Fetched::AndHeld(held)) => held,
        Some(Fetched::Instead(held)) => return throttled(&plan, held),
    };
    FetchResponse { throttle_time_ms: throttle::ms(held), ..close(poll, plan, ctx) }
}

/// Determines the partitions of the request.
fn open(request: &FetchRequest, ctx: &Context) -> Result<Plan, ErrorCode> {
    let by_id = ctx.version >= TOPIC_IDS;
    let topic_ref = |name: &str, id: TopicId| match TopicRef::of(ctx.version, TOPIC_IDS, name, id) {
        TopicRef::Id(id) => FetchTopicRef::Id(id),
        TopicRef::Name(name) => FetchTopicRef::Name(name.into()),
    };
    let known_epoch = |epoch: i32| (epoch >= 0).then_some(LeaderEpoch(epoch));
    let mut asks = Vec::new();
    for topic in &request.topics {
        let named = topic_ref(&topic.topic, topic.topic_id);
        asks.extend(topic.partitions.iter().map(|asked| Ask {
            of: PartitionRef { topic: named.clone(), partition: asked.partition },
            known_as: None,
            offset: Offset(asked.fetch_offset),
            max_bytes: usize::try_from(asked.partition_max_bytes).ok(),
            current_epoch: known_epoch(asked.current_leader_epoch),
            last_fetched_epoch: known_epoch(asked.last_fetched_epoch),
        }));
    }
    if ctx.version < 7 {
        return Ok(Plan::sessionless(asks));
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let named = topic_ref(&topic.topic, topic.topic_id);
        let partitions = topic.partitions.iter();
        forgotten.extend(partitions.map(|&partition| PartitionRef { topic: named.clone(), partition }));
    }
    let opening = Opening::of_request(request.session_id, request.session_epoch);
    ctx.services.fetch_sessions.open(opening, by_id, asks, &forgotten, ctx.services.clock.monotonic())
}

/// A request while it is served: the results so far, and the limits that end it.
struct Poll {
    readings: Vec<PartitionRead>,
    isolation: Isolation,
    min_bytes: usize,
    max_bytes: usize,
    max_wait: Duration,
    /// The bytes of all reads, and the charge for their memory until the server charges the response.
    size: usize,
    held: Charge,
}

/// Why no partition of a request is read.
#[derive(Clone, Copy)]
enum PollRefusal {
    /// The client pretends to be a follower without the right to be one. It learns nothing about topics.
    Everything,
    /// The error of each partition that exists.
    Partitions(ErrorCode),
}

/// One partition of a poll.
struct PartitionRead {
    ask: Ask,
    /// `None` if the client did not get the topic.
    seen: Option<SeenTopic>,
    state: State,
}

enum State {
    /// The partition does not exist, or this request may not read it. This does not end a wait.
    Unknown(ErrorCode),
    Open(Progress),
    /// With the leader, if the client has to find a new one.
    Failed(ErrorCode, Option<Leader>),
    /// The client's log differs from ours after some offset (KIP-320).
    Diverged {
        ends: Ends,
        epoch: LeaderEpoch,
        end: Offset,
    },
}

struct Progress {
    partition: Arc<Partition>,
    /// The number of bytes that the client wants at most.
    most: usize,
    /// The leader epoch of the read.
    epoch: LeaderEpoch,
    ends: Ends,
    /// The offset after the records that were read.
    next: Offset,
    records: Vec<Piece>,
    /// The aborted transactions with records among them.
    aborted: Vec<AbortedTransaction>,
    size: usize,
    /// There are more records, but the partition's or the request's limit is reached.
    is_full: bool,
}

impl Poll {
    fn new(request: &FetchRequest, plan: &Plan, isolation: Isolation, ctx: &Context) -> Poll {
        let from_replica = request.replica_id >= 0 || request.replica_state.replica_id >= 0;
        let (view, refused) = if from_replica {
            match ctx.cluster(Operation::ClusterAction) {
                // A client that pretends to be a broker (CVE-2018-1288).
                Ok(cluster) => {
                    (cluster.topics(), Some(PollRefusal::Partitions(ErrorCode::NotLeaderOrFollower)))
                }
                Err(_) => (ctx.topics(), Some(PollRefusal::Everything)),
            }
        } else {
            let is_invalid = request.max_bytes < 0;
            (ctx.topics(), is_invalid.then_some(PollRefusal::Partitions(ErrorCode::InvalidRequest)))
        };
        let readings =
            plan.asks.iter().map(|ask| PartitionRead::new(ask, refused, &view, ctx.node())).collect();
        let limit = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
        let settings = ctx.services.settings();
        let most = ctx.metered.as_ref().map_or(usize::MAX, |metered| metered.most_fetched());
        let max_bytes = limit(request.max_bytes).min(settings.fetch_max_bytes as usize).min(most);
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        Poll {
            readings,
            isolation,
            min_bytes: limit(request.min_bytes).min(max_bytes),
            max_bytes,
            // A client that waits for days may be gone without notice.
            max_wait: wait.min(settings.max_idle),
            size: 0,
            held: ctx.services.answers.take(0),
        }
    }

    /// Reads on until there is enough, or the time is over.
    async fn wait(&mut self, begun: Moment, ctx: &Context) {
        while !self.is_enough() {
            // A new waiter for each round: unchanged partitions still have the old one.
            let waiter = Waiter::new();
            for partition in self.open_partitions() {
                partition.watch(&waiter);
            }
            // Changes before `watch` do not wake the waiter, so read again.
            self.read(ctx).await;
            let left = self.max_wait.saturating_sub(begun.elapsed());
            if self.is_enough() || left.is_zero() {
                return;
            }
            if !self.is_changed(&waiter, begun, left, ctx).await {
                return;
            }
            self.read(ctx).await;
        }
    }

    /// Waits for a change of a partition; returns `false` if the poll ends without one.
    async fn is_changed(&self, waiter: &Waiter, begun: Moment, left: Duration, ctx: &Context) -> bool {
        // Pinned here, because otherwise `select!` and `within` would each reserve memory for them again.
        let woken = pin!(waiter.woken());
        let stops = pin!(ctx.services.stopping.begun());
        let wanted = pin!(ctx.room.is_wanted(begun));
        let changed = async {
            tokio::select! {
                biased;
                () = woken => true,
                () = stops => false,
                () = wanted, if self.max_wait > LEAST_POLL => false,
            }
        };
        within(left, changed).await == Some(true)
    }

    /// Reads on in all partitions, within the limits. The first batch of the response is read whatever
    /// its size (rule F9), and every partition has its own limit (F8).
    async fn read(&mut self, ctx: &Context) {
        // All bytes that are read may have to stay in memory until the client has received them. The
        // charge for ranges that are sent from their file is released below.
        let already = self.size;
        let wanted = self.max_bytes.saturating_sub(already);
        let mut held = ctx.services.answers.take(wanted);
        let max_bytes = already + wanted.min(held.bytes().max(LEAST_ROOM));
        let mut listed = 0;
        for reading in &mut self.readings {
            reading.follow_the_leader(ctx);
            let State::Open(progress) = &mut reading.state else { continue };
            let from = progress.next;
            // One read ends at the end of an extent.
            loop {
                let left = max_bytes.saturating_sub(self.size);
                let range = ReadRange {
                    from: progress.next,
                    max_bytes: progress.most.saturating_sub(progress.size).min(left),
                    at_least_one_batch: self.size == 0,
                    isolation: self.isolation,
                    listed: false,
                };
                match progress.read(range).await {
                    Ok(bytes) => {
                        self.size += bytes;
                        let has_more = progress.next < self.isolation.end_of(progress.ends);
                        progress.is_full = has_more && bytes == 0;
                        if bytes == 0 || !has_more {
                            break;
                        }
                    }
                    Err(error) => {
                        reading.state = State::Failed(error, None);
                        break;
                    }
                }
            }
            if self.isolation == Isolation::ReadCommitted {
                listed += reading.list_aborted(from).await;
            }
        }
        held.shrink(self.memory().saturating_sub(self.held.bytes()));
        held.at_least(listed * size_of::<AbortedTransaction>());
        self.held.absorb(held);
    }

    /// The bytes of the answer, for the quota: the records, and about as much as the rest takes.
    fn answer_bytes(&self) -> usize {
        const REST: usize = 48;
        let with_records = self.readings.iter().filter(
            |reading| matches!(&reading.state, State::Open(progress) if !progress.records.is_empty()),
        );
        self.size.saturating_add(with_records.count() * REST)
    }

    /// The bytes that are held in memory.
    fn memory(&self) -> usize {
        let progress = self.readings.iter().filter_map(|reading| match &reading.state {
            State::Open(progress) => Some(progress),
            State::Unknown(_) | State::Failed(..) | State::Diverged { .. } => None,
        });
        let memory = |progress: &Progress| {
            let records: usize = progress.records.iter().map(Piece::memory).sum();
            records.saturating_add(progress.aborted.len() * size_of::<AbortedTransaction>())
        };
        progress.map(memory).fold(0, usize::saturating_add)
    }

    /// Whether the response can be sent: there is enough, there is an error, or there is nothing to wait
    /// for.
    fn is_enough(&self) -> bool {
        let is_urgent = |reading: &PartitionRead| match reading.state {
            State::Failed(..) | State::Diverged { .. } => true,
            State::Unknown(_) | State::Open(_) => false,
        };
        // If no more fits, the limit counts as reached; otherwise the wait would be useless.
        let counted = |reading: &PartitionRead| match &reading.state {
            State::Open(progress) if progress.is_full => progress.size.max(progress.most.min(self.max_bytes)),
            State::Open(progress) => progress.size,
            State::Unknown(_) | State::Failed(..) | State::Diverged { .. } => 0,
        };
        self.readings.iter().map(counted).fold(0, usize::saturating_add) >= self.min_bytes
            || self.max_wait.is_zero()
            || self.open_partitions().next().is_none()
            || self.readings.iter().any(is_urgent)
    }

    fn open_partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.readings.iter().filter_map(|reading| match &reading.state {
            State::Open(progress) => Some(&progress.partition),
            State::Unknown(_) | State::Failed(..) | State::Diverged { .. } => None,
        })
    }
}

impl PartitionRead {
    fn new(ask: &Ask, refused: Option<PollRefusal>, topics: &TopicView, node: NodeId) -> PartitionRead {
        let found = match refused {
            Some(PollRefusal::Everything) => Err(NoTopic::Forbidden(Forbidden::Topic)),
            Some(PollRefusal::Partitions(_)) | None => topics.topic(ask.of.topic.named(), Operation::Read),
        };
        let known_as = match (&ask.of.topic, found) {
            (FetchTopicRef::Name(_), _) => None,
            (FetchTopicRef::Id(_), Ok(topic)) => Some(Arc::clone(&topic.name)),
            (FetchTopicRef::Id(_), Err(_)) => ask.known_as.clone(),
        };
        let state = match (found, refused) {
            (Err(error), _) => State::missing(error, known_as.as_deref(), topics),
            (Ok(topic), _) if topic.partition(ask.of.partition).is_none() => {
                State::Unknown(ErrorCode::UnknownTopicOrPartition)
            }
            (Ok(_), Some(PollRefusal::Partitions(error))) => State::Failed(error, None),
            (Ok(topic), Some(PollRefusal::Everything) | None) => State::of_partition(topic, ask, node),
        };
        let seen = found.ok().map(|topic| SeenTopic::of(topic));
        PartitionRead { ask: Ask { known_as, ..ask.clone() }, seen, state }
    }

    /// Notices a new leader epoch while a poll waits. Records that were already read stay valid.
    fn follow_the_leader(&mut self, ctx: &Context) {
        let State::Open(progress) = &self.state else { return };
        let is_another = progress.partition.ends().leader_epoch != progress.epoch;
        if is_another && progress.records.is_empty() {
            let topics = ctx.topics();
            self.state = match self.seen.and_then(|seen| topics.again(seen)) {
                Some(topic) => State::of_partition(topic, &self.ask, ctx.node()),
                None => State::Failed(ErrorCode::UnknownTopicOrPartition, None),
            };
        }
    }

    /// Adds the aborted transactions with records among those that were read from `from` on (rule F11), and returns
    /// their number. If they cannot be read, the records are not returned either. Called directly after the read:
    /// compaction keeps a transaction in the list for one run after it has removed its records, but not for two.
    async fn list_aborted(&mut self, from: Offset) -> usize {
        let State::Open(progress) = &mut self.state else { return 0 };
        if progress.next == from || !progress.partition.may_have_aborted() {
            return 0;
        }
        let partition = Arc::clone(&progress.partition);
        // Boxed, so that a poll takes less memory while it waits.
        match Box::pin(partition.aborted(from..progress.next)).await {
            Ok(mut aborted) => {
                // Those with earlier records were listed with them.
                aborted.retain(|one| one.first >= from || from == self.ask.offset);
                let listed = aborted.len();
                progress.aborted.append(&mut aborted);
                progress.aborted.sort_by_key(|one| one.last);
                listed
            }
            Err(error) => {
                self.state = State::Failed(ErrorCode::from(&error), None);
                0
            }
        }
    }
}

impl State {
    /// As in Kafka, a topic that existed earlier in the session is reported missing by name.
    fn missing(error: NoTopic, known_as: Option<&str>, topics: &TopicView) -> State {
        match (error, known_as) {
            (NoTopic::UnknownId, Some(name))
                if topics.quietly().topic(TopicRef::Name(name), Operation::Read).is_ok() =>
            {
                State::Failed(ErrorCode::InconsistentTopicId, None)
            }
            (NoTopic::UnknownId, Some(_)) => State::Unknown(ErrorCode::UnknownTopicOrPartition),
            (error, _) => State::Unknown(error.into()),
        }
    }

    /// Checks the client's epochs and offset of the partition.
    fn of_partition(topic: &Topic, ask: &Ask, node: NodeId) -> State {
        let index = ask.of.partition;
        let partition = match led_here(topic, index, node, ask.current_epoch) {
            Ok(partition) => partition,
            Err(error) => {
                let leader = Leader::of(topic, index).filter(|_| is_about_the_leader(error));
                return State::Failed(error, leader);
            }
        };
        let ends = partition.ends();
        if let Some(fetched) = ask.last_fetched_epoch {
            let known = partition.end_of_epoch(fetched).filter(|_| ask.offset >= ends.log_start);
            let Some((epoch, end)) = known else { return State::Failed(ErrorCode::OffsetOutOfRange, None) };
            if epoch < fetched || end < ask.offset {
                return State::Diverged { ends, epoch, end };
            }
        }
        let Some(most) = ask.max_bytes else { return State::Failed(ErrorCode::InvalidRequest, None) };
        let partition = Arc::clone(partition);
        State::Open(Progress {
            partition,
            most,
            epoch: ends.leader_epoch,
            ends,
            next: ask.offset,
            records: Vec::new(),
            aborted: Vec::new(),
            size: 0,
            is_full: false,
        })
    }
}

impl Progress {
    /// Reads on and returns the number of bytes read.
    async fn read(&mut self, range: ReadRange) -> Result<usize, ErrorCode> {
        match self.partition.read(range).await {
            Ok(answer) => {
                let bytes = answer.records.iter().map(Piece::len).sum();
                self.records.extend(answer.records);
                self.size += bytes;
                self.next = answer.next;
                self.ends = answer.ends;
                Ok(bytes)
            }
            // The records that were read before stay valid; the client gets this error at its next
            // request.
            Err(_) if !self.records.is_empty() => Ok(0),
            Err(error) => Err(ErrorCode::from(&error)),
        }
    }
}

/// Kafka's answer to a client over its quota: nothing is read, and its session stays as it is.
fn throttled(plan: &Plan, held: Duration) -> FetchResponse {
    let session_id = plan.session_id();
    FetchResponse { throttle_time_ms: throttle::ms(held), session_id, ..FetchResponse::default() }
}

/// Kafka's answer to an invalid request: the error for all partitions, and nothing else.
fn refuse(request: FetchRequest) -> FetchResponse {
    let error = ErrorCode::InvalidRequest;
    let responses = request.topics.into_iter().map(|topic| FetchableTopicResponse {
        topic: topic.topic,
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(|asked| failed(asked.partition, error)).collect(),
    });
    let responses = responses.collect();
    FetchResponse { error_code: error.code(), responses, ..FetchResponse::default() }
}

/// The result of a partition without data. As in Kafka its aborted transactions are an empty list,
/// whatever the isolation level.
fn failed(partition_index: i32, error: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index,
        error_code: error.code(),
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        aborted_transactions: Some(Vec::new()),
        preferred_read_replica: -1,
        // Rule F2: empty, never null.
        records: Some(Records::default()),
        ..PartitionData::default()
    }
}

/// Ends the request: updates the session, and leaves unchanged partitions out of the response.
fn close(poll: Poll, plan: Plan, ctx: &Context) -> FetchResponse {
    let results: Vec<PartitionResult> = poll.readings.iter().map(PartitionRead::result).collect();
    let services = &ctx.services;
    let fresh_id = || i32::from_be_bytes(time::random_bytes());
    let (session_id, is_sent) =
        services.fetch_sessions.close(plan, &results, services.clock.monotonic(), fresh_id);

    let mut answer = FetchResponse { session_id, ..FetchResponse::default() };
    let mut node_endpoints = Endpoints::new();
    let sent = poll.readings.into_iter().zip(is_sent).filter(|(_, is_sent)| *is_sent);
    let mut sent: Vec<PartitionRead> = sent.map(|(reading, _)| reading).collect();
    // As in Kafka, missing partitions come last.
    sent.sort_by_key(|reading| !reading.is_of_something());
    for reading in sent {
        let (topic, topic_id) = match &reading.ask.of.topic {
            FetchTopicRef::Name(name) => (name.to_string(), TopicId::ZERO),
            FetchTopicRef::Id(id) => (String::new(), *id),
        };
        // KIP-951: the client learns of a new leader without another request.
        if let State::Failed(_, Some(leader)) = reading.state
            && ctx.version >= 16
        {
            node_endpoints.add(leader, ctx, |node, host, port| {
                let rack = services.settings().rack.clone();
                NodeEndpoint { node_id: node.0, host, port, rack }
            });
        }
        let data = reading.into_data(poll.isolation, ctx);
        match answer.responses.last_mut() {
            Some(last) if last.topic == topic && last.topic_id == topic_id => last.partitions.push(data),
            _ => answer.responses.push(FetchableTopicResponse { topic, topic_id, partitions: vec![data] }),
        }
    }
    answer.node_endpoints = node_endpoints.into_vec();
    answer
}

impl PartitionRead {
    fn is_of_something(&self) -> bool {
        !matches!(self.state, State::Unknown(_))
    }

    fn result(&self) -> PartitionResult {
        let nowhere = (Offset(-1), Offset(-1));
        let ((high_watermark, log_start), has_records, is_urgent) = match &self.state {
            State::Unknown(_) | State::Failed(..) => (nowhere, false, true),
            State::Diverged { ends, .. } => ((ends.high_watermark, ends.log_start), false, true),
            State::Open(progress) => {
                let ends = progress.ends;
                ((ends.high_watermark, ends.log_start), !progress.records.is_empty(), false)
            }
        };
        let (of, known_as) = (self.ask.of.clone(), self.ask.known_as.clone());
        let topic_id = self.seen.map_or(TopicId::ZERO, SeenTopic::id);
        PartitionResult { of, topic_id, known_as, high_watermark, log_start, has_records, is_urgent }
    }

    fn into_data(self, isolation: Isolation, ctx: &Context) -> PartitionData {
        let empty = PartitionData {
            // Rule F11: aborted transactions are only sent at READ_COMMITTED.
            aborted_transactions: match isolation {
                Isolation::ReadUncommitted => None,
                Isolation::ReadCommitted => Some(Vec::new()),
            },
            ..failed(self.ask.of.partition, ErrorCode::None)
        };
        let with_ends = |ends: Ends| PartitionData {
            high_watermark: ends.high_watermark.0,
            last_stable_offset: ends.last_stable.0,
            log_start_offset: ends.log_start.0,
            ..empty.clone()
        };
        // As in Kafka, without aborted transactions, whatever the isolation level.
        let failed_read =
            |error| PartitionData { aborted_transactions: None, ..failed(self.ask.of.partition, error) };
        match self.state {
            State::Unknown(error) => failed(self.ask.of.partition, error),
            State::Failed(error, Some(leader)) if ctx.version >= 16 => {
                let current_leader =
                    LeaderIdAndEpoch { leader_id: leader.id(), leader_epoch: leader.epoch.0 };
                PartitionData { current_leader, ..failed_read(error) }
            }
            State::Failed(error, _) => failed_read(error),
            State::Diverged { ends, epoch, end } => {
                let diverging_epoch = EpochEndOffset { epoch: epoch.0, end_offset: end.0 };
                PartitionData { diverging_epoch, ..with_ends(ends) }
            }
            State::Open(progress) => {
                let listed = |aborted: &AbortedTransaction| fetch_response::AbortedTransaction {
                    producer_id: aborted.producer.0,
                    first_offset: aborted.first.0,
                };
                let sent = progress.size as u64;
                if sent > 0 {
                    progress.partition.traffic.bytes_out.add(sent);
                    ctx.counts().traffic.bytes_out.add(sent);
                }
                PartitionData {
                    records: Some(progress.records.into()),
                    aborted_transactions: empty
                        .aborted_transactions
                        .as_ref()
                        .map(|_| progress.aborted.iter().map(listed).collect()),
                    ..with_ends(progress.ends)
                }
            }
        }
    }
}
