//! Fetch (key 1): record batches from where the client stands, waiting for them if it likes.
//! v7 knows sessions ([`session`]), v12 leader epochs of what was fetched, v13 topic ids; v15 moves
//! the replica id, which makes no difference: no broker fetches here.
//!
//! A poll ends when enough bytes are there, when a partition has an error to tell, or when its time
//! is over. What it waits for wakes it (`Partition::watch`); no timer looks again.

pub mod session;

use std::sync::Arc;
use std::time::Duration;

use crate::api::budget::{Charge, LEAST_POLL};
use crate::api::context::{Context, isolation};
use crate::api::error::ErrorCode;
use crate::api::leadership::{Endpoints, Leader, is_about_the_leader, led_here};
use crate::api::{Handler, Reply, Size, Weight};
use crate::protocol::Records;
use crate::protocol::messages::fetch_request::FetchRequest;
use crate::protocol::messages::fetch_response::{
    EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use crate::storage::{Ends, Isolation, Partition, ReadRange, Topic, Topics, Waiter};
use crate::time::{self, Moment, within};
use crate::types::{LeaderEpoch, NodeId, Offset, Piece, TopicId};
use session::{Ask, Opening, PartitionRef, Plan, Told, TopicRef};

/// The memory for a partition of a poll, without its records and its part of the answer.
const PARTITION: usize = 512;
/// So much is read even where answers fill the memory.
const LEAST_ROOM: usize = 64 << 10;

impl Handler for FetchRequest {
    const GAPS: &'static [&'static str] = &[
        "Only whole batches are returned; Kafka cuts the last one at the limit.",
        "An isolation level that nobody knows and a limit below 0 are INVALID_REQUEST; Kafka says UNKNOWN_SERVER_ERROR.",
        "KIP-392: no preferred read replica, there is only the leader.",
        "No fetch waits for longer than connections.max.idle.ms, whatever it asks for.",
        "All fetch sessions together hold 500,000 partitions; who does not fit is served without a session.",
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

    async fn handle(self, ctx: Context) -> Reply<FetchResponse> {
        let plan = match open(&self, &ctx) {
            Ok(plan) => plan,
            Err(error) => {
                let error_code = error.code();
                return Reply::Now(FetchResponse { error_code, ..FetchResponse::default() });
            }
        };
        let isolation = isolation(self.isolation_level);
        let mut poll = Poll::new(&self, &plan, isolation.unwrap_or(Isolation::ReadUncommitted), &ctx);
        // As in Kafka it does not matter where there is nothing to read.
        if isolation.is_none() && poll.readings.iter().any(Reading::is_of_something) {
            return Reply::Now(refuse(self));
        }
        // It may wait for long; what is still needed of the request, the poll has.
        drop(self);
        poll.run(&ctx).await;
        Reply::Now(close(poll, plan, &ctx))
    }
}

/// Finds out which partitions the request is about.
fn open(request: &FetchRequest, ctx: &Context) -> Result<Plan, ErrorCode> {
    let by_id = ctx.version >= 13;
    let topic_ref = |name: &str, id: TopicId| match by_id {
        true => TopicRef::Id(id),
        false => TopicRef::Name(name.into()),
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

/// One request at work: what it has so far, and when that is enough.
struct Poll {
    readings: Vec<Reading>,
    isolation: Isolation,
    min_bytes: usize,
    max_bytes: usize,
    max_wait: Duration,
    /// Bytes of all reads, and the charge for their memory until the server charges the answer.
    size: usize,
    held: Charge,
}

/// One partition of a poll.
struct Reading {
    ask: Ask,
    topic_id: TopicId,
    state: State,
}

enum State {
    /// No such partition, or none that this request may read. Not worth ending a wait for.
    Unknown(ErrorCode),
    Open(Progress),
    /// With who leads, where the client is to look for another leadership.
    Failed(ErrorCode, Option<Leader>),
    /// The client's log is not ours from some point on (KIP-320).
    Diverged {
        ends: Ends,
        epoch: LeaderEpoch,
        end: Offset,
    },
}

struct Progress {
    partition: Arc<Partition>,
    /// Bytes that the client wants of it.
    most: usize,
    /// The leadership that it is read under.
    epoch: LeaderEpoch,
    ends: Ends,
    /// What comes after what was read.
    next: Offset,
    records: Vec<Piece>,
    size: usize,
    /// There is more, which its limit or that of the request leaves no room for.
    is_full: bool,
}

impl Poll {
    fn new(request: &FetchRequest, plan: &Plan, isolation: Isolation, ctx: &Context) -> Poll {
        let from_replica = request.replica_id >= 0 || request.replica_state.replica_id >= 0;
        let refused = match from_replica {
            // A client that poses as a broker (CVE-2018-1288).
            true => Some(ErrorCode::NotLeaderOrFollower),
            false if request.max_bytes < 0 => Some(ErrorCode::InvalidRequest),
            false => None,
        };
        let image = ctx.services.store.topics();
        let readings = plan.asks.iter().map(|ask| Reading::new(ask, refused, &image, ctx.node())).collect();
        let limit = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
        let max_bytes = limit(request.max_bytes).min(ctx.services.settings().fetch_max_bytes as usize);
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        Poll {
            readings,
            isolation,
            min_bytes: limit(request.min_bytes).min(max_bytes),
            max_bytes,
            // Nobody knows whether a client that waits for days is still there.
            max_wait: wait.min(ctx.services.settings().max_idle),
            size: 0,
            held: ctx.services.answers.take(0),
        }
    }

    /// Reads until it is enough.
    async fn run(&mut self, ctx: &Context) {
        let begun = Moment::now();
        self.read(ctx).await;
        while !self.is_enough() {
            // A fresh waiter each round: partitions that did not change still hold the old one.
            let waiter = Waiter::new();
            for partition in self.open_partitions() {
                partition.watch(&waiter);
            }
            // What came before the watch wakes nobody.
            self.read(ctx).await;
            let left = self.max_wait.saturating_sub(begun.elapsed());
            if self.is_enough() || left.is_zero() {
                return;
            }
            let changed = async {
                tokio::select! {
                    biased;
                    () = waiter.woken() => true,
                    () = ctx.services.stopping.begun() => false,
                    () = ctx.room.is_wanted(begun), if self.max_wait > LEAST_POLL => false,
                }
            };
            if within(left, changed).await != Some(true) {
                return;
            }
            self.read(ctx).await;
        }
    }

    /// Reads on in every partition, as far as limits allow. The first batch of all comes whatever
    /// its size (rule F9); every partition has its own limit (F8).
    async fn read(&mut self, ctx: &Context) {
        // Everything that is read may have to be held until the client has read it. The charge for ranges
        // that are sent from their file is released below.
        let already = self.size;
        let wanted = self.max_bytes.saturating_sub(already);
        let mut held = ctx.services.answers.take(wanted);
        let max_bytes = already + wanted.min(held.bytes().max(LEAST_ROOM));
        for reading in &mut self.readings {
            reading.follow_the_leader(ctx);
            let State::Open(progress) = &mut reading.state else { continue };
            // One read ends with a segment file at the latest.
            loop {
                let left = max_bytes.saturating_sub(self.size);
                let range = ReadRange {
                    from: progress.next,
                    max_bytes: progress.most.saturating_sub(progress.size).min(left),
                    at_least_one_batch: self.size == 0,
                    isolation: self.isolation,
                };
                match progress.read(range).await {
                    Ok(0) => {
                        progress.is_full = progress.next < self.isolation.end_of(progress.ends);
                        break;
                    }
                    Ok(bytes) => self.size += bytes,
                    Err(error) => {
                        reading.state = State::Failed(error, None);
                        break;
                    }
                }
            }
        }
        held.shrink(self.memory().saturating_sub(self.held.bytes()));
        self.held.absorb(held);
    }

    /// The bytes that are held in memory.
    fn memory(&self) -> usize {
        let progress = self.readings.iter().filter_map(|reading| match &reading.state {
            State::Open(progress) => Some(progress),
            State::Unknown(_) | State::Failed(..) | State::Diverged { .. } => None,
        });
        progress.flat_map(|progress| &progress.records).map(Piece::memory).sum()
    }

    /// Whether the answer may leave: there is enough, or something to tell, or nothing to wait for.
    fn is_enough(&self) -> bool {
        let is_urgent = |reading: &Reading| match reading.state {
            State::Failed(..) | State::Diverged { .. } => true,
            State::Unknown(_) | State::Open(_) => false,
        };
        // Where no more fits, the limit counts as reached, or the wait would be for nothing.
        let counted = |reading: &Reading| match &reading.state {
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

impl Reading {
    fn new(ask: &Ask, refused: Option<ErrorCode>, topics: &Topics, node: NodeId) -> Reading {
        let (topic, known_as) = match &ask.of.topic {
            TopicRef::Name(name) => (topics.by_name(name), None),
            TopicRef::Id(id) => {
                let topic = topics.by_id(*id);
                let name = topic.map(|topic| Arc::clone(&topic.name));
                (topic, name.or_else(|| ask.known_as.clone()))
            }
        };
        let topic_id = topic.map_or(TopicId::ZERO, |topic| topic.id);
        let state = match (topic, refused) {
            (None, _) => State::missing(&ask.of.topic, known_as.as_deref(), topics),
            (Some(topic), _) if topic.partition(ask.of.partition).is_none() => {
                State::Unknown(ErrorCode::UnknownTopicOrPartition)
            }
            (Some(_), Some(error)) => State::Failed(error, None),
            (Some(topic), None) => State::of_partition(topic, ask, node),
        };
        Reading { ask: Ask { known_as, ..ask.clone() }, topic_id, state }
    }

    /// A poll that waits here while the leadership is handed on learns of it. What was read before
    /// still stands.
    fn follow_the_leader(&mut self, ctx: &Context) {
        let State::Open(progress) = &self.state else { return };
        let is_another = progress.partition.ends().leader_epoch != progress.epoch;
        if is_another && progress.records.is_empty() {
            let topics = ctx.services.store.topics();
            self.state = match topics.by_id(self.topic_id) {
                Some(topic) => State::of_partition(topic, &self.ask, ctx.node()),
                None => State::Failed(ErrorCode::UnknownTopicOrPartition, None),
            };
        }
    }
}

impl State {
    /// A topic that was there earlier in the session is missed by its name, as in Kafka.
    fn missing(asked: &TopicRef, known_as: Option<&str>, topics: &Topics) -> State {
        match (asked, known_as) {
            (TopicRef::Id(_), None) => State::Unknown(ErrorCode::UnknownTopicId),
            (TopicRef::Id(_), Some(name)) if topics.by_name(name).is_some() => {
                State::Failed(ErrorCode::InconsistentTopicId, None)
            }
            (TopicRef::Id(_), Some(_)) | (TopicRef::Name(_), _) => {
                State::Unknown(ErrorCode::UnknownTopicOrPartition)
            }
        }
    }

    /// Judges what the client believes to know of the partition.
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
            size: 0,
            is_full: false,
        })
    }
}

impl Progress {
    /// Reads on, and says how many bytes came.
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
            // What was read before still stands; the client hears of this when it asks again.
            Err(_) if !self.records.is_empty() => Ok(0),
            Err(error) => Err(ErrorCode::from(&error)),
        }
    }
}

/// What Kafka says to a request that makes no sense: the error everywhere, and nothing else.
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

/// A partition of which nothing is known. As in Kafka its aborted transactions are an empty list,
/// whatever is read.
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

/// Ends the request: notes in the session what the client is told, and leaves out the rest.
fn close(poll: Poll, plan: Plan, ctx: &Context) -> FetchResponse {
    let told: Vec<Told> = poll.readings.iter().map(Reading::told).collect();
    let services = &ctx.services;
    let fresh_id = || i32::from_be_bytes(time::random_bytes());
    let (session_id, heard) =
        services.fetch_sessions.close(plan, &told, services.clock.monotonic(), fresh_id);

    let mut answer = FetchResponse { session_id, ..FetchResponse::default() };
    let mut node_endpoints = Endpoints::new();
    let heard = poll.readings.into_iter().zip(heard).filter(|(_, heard)| *heard);
    let mut heard: Vec<Reading> = heard.map(|(reading, _)| reading).collect();
    // As in Kafka what is not there comes last.
    heard.sort_by_key(|reading| !reading.is_of_something());
    for reading in heard {
        let (topic, topic_id) = match &reading.ask.of.topic {
            TopicRef::Name(name) => (name.to_string(), TopicId::ZERO),
            TopicRef::Id(id) => (String::new(), *id),
        };
        // KIP-951: the client learns of another leadership without asking again.
        if let State::Failed(_, Some(leader)) = reading.state
            && ctx.version >= 16
        {
            node_endpoints.tell(leader, ctx, |node, host, port| {
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

impl Reading {
    fn is_of_something(&self) -> bool {
        !matches!(self.state, State::Unknown(_))
    }

    fn told(&self) -> Told {
        let nowhere = (Offset(-1), Offset(-1));
        let ((high_watermark, log_start), has_records, is_urgent) = match &self.state {
            State::Unknown(_) | State::Failed(..) => (nowhere, false, true),
            State::Diverged { ends, .. } => ((ends.high_watermark, ends.log_start), false, true),
            State::Open(progress) => {
                let ends = progress.ends;
                ((ends.high_watermark, ends.log_start), !progress.records.is_empty(), false)
            }
        };
        let (of, topic_id, known_as) = (self.ask.of.clone(), self.topic_id, self.ask.known_as.clone());
        Told { of, topic_id, known_as, high_watermark, log_start, has_records, is_urgent }
    }

    fn into_data(self, isolation: Isolation, ctx: &Context) -> PartitionData {
        let empty = PartitionData {
            // Rule F11: only who reads committed records hears of aborted ones.
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
        // As in Kafka without a word on aborted transactions, whatever is read.
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
                let sent = progress.size as u64;
                if sent > 0 {
                    progress.partition.traffic.bytes_out.add(sent);
                    ctx.services.store.counts().traffic.bytes_out.add(sent);
                }
                PartitionData { records: Some(progress.records.into()), ..with_ends(progress.ends) }
            }
        }
    }
}
