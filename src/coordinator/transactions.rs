//! The handle of transactional ids: requests of clients become commands of the kernel, which decides.
//!
//! The state is the kernel's, so the outcome of a command is the answer. Only the clocks of timeouts are kept here. A
//! command is queued when a method returns; the returned future waits until its outcome is durable. Reads use the
//! published state, which is durable.
//!
//! [`Transactions::run`] aborts the transactions that are open for too long and forgets unused ids.

mod timeouts;

use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::warn;

use super::Groups;
use super::group::{CheckedCommit, Commit, Each, GroupError};
use crate::config::BrokerSettings;
use crate::kernel::{
    self, Applied, Command, EndTransaction, EndedBy, InitTransaction, JoinTransaction, ProducerAt, Refusal,
    Transaction, TransactionOffsets, WriteMarker,
};
use crate::storage::{Store, StoreError};
use crate::telemetry::Shown;
use crate::time::{self, Clock};
use crate::types::{IgnorePoison, ProducerId, Timestamp, TopicPartition, TransactionEnd};
use timeouts::{Overdue, Timeouts};

/// The aborts of overdue transactions that wait for the journal at the same time.
const ABORTED_AT_ONCE: usize = 1000;

/// All transactional ids of a broker; a handle, cheap to clone.
#[derive(Clone)]
pub struct Transactions(Arc<Inner>);

struct Inner {
    store: Store,
    rules: TransactionRules,
    clock: Clock,
    timeouts: Mutex<Timeouts>,
}

/// The limits and intervals of transactions.
#[derive(Clone, Debug)]
pub struct TransactionRules {
    /// The timeouts that a producer may ask for.
    pub timeout_ms: RangeInclusive<i32>,
    /// The memory limit for all transactional ids. Over it, requests that need more are refused; new ids are refused
    /// earlier.
    pub most_bytes: usize,
    pub timeout_check: Duration,
    /// The time after which an unused id is forgotten.
    pub expiration: Duration,
    pub expiration_check: Duration,
}

/// The reasons why a request about a transaction is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionError {
    /// Another broker coordinates the transactional id.
    NotCoordinator,
    /// The transactional id is empty.
    NoId,
    TimeoutOutOfRange,
    NoSuchId,
    /// An open transaction was aborted. The client has to ask again.
    Aborted,
    /// All transactional ids together have reached their memory limit.
    NoRoom,
    /// The group refuses the offsets.
    Group(GroupError),
    /// The kernel refuses the change.
    Refused(Refusal),
    /// The change cannot be stored at present, or it is unknown whether it was stored.
    NotStored,
}

/// How long a transaction may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {
    Millis(i32),
    /// Until its producer ends it: a two-phase commit (KIP-939).
    None,
}

/// The offsets that a request commits for a group within a transaction.
pub struct StagedOffsets<'a> {
    pub id: &'a str,
    pub producer: ProducerAt,
    /// Whether the group is added to the transaction if it is not in it yet.
    pub joins: bool,
    pub group: &'a str,
    pub commit: Commit,
}

impl Transactions {
    /// The caller has to run [`Transactions::run`].
    pub fn start(store: Store, rules: TransactionRules, clock: Clock) -> Transactions {
        let now = session_time(&clock, &store);
        let timeouts = Mutex::new(Timeouts::start(store.position(), store.resumed_at(), now));
        Transactions(Arc::new(Inner { store, rules, clock, timeouts }))
    }

    /// Aborts transactions that are open for too long and forgets unused ids, as long as it is polled.
    pub async fn run(&self) {
        let rules = &self.0.rules;
        let mut next_expiry = self.0.clock.monotonic() + rules.expiration_check;
        loop {
            time::sleep(rules.timeout_check.min(rules.expiration_check)).await;
            self.abort_overdue().await;
            let now = self.0.clock.monotonic();
            if next_expiry <= now {
                self.expire().await;
                next_expiry = now + rules.expiration_check;
            }
        }
    }

    /// Turns the clock forward for a test, and ends what is overdue then.
    pub async fn turn_clock(&self, by: Duration) {
        self.0.clock.turn(by);
        self.abort_overdue().await;
        self.expire().await;
    }

    /// The transactional ids as they are published.
    pub fn published(&self) -> kernel::Transactions {
        self.0.store.transactions()
    }

    /// The transactional id as it is published.
    pub fn get(&self, id: &str) -> Option<Transaction> {
        self.published().get(id).cloned()
    }

    /// Fails unless a producer may ask for this timeout.
    pub fn check_timeout(&self, limit: TimeLimit) -> Result<(), TransactionError> {
        match limit {
            TimeLimit::Millis(timeout) if !self.0.rules.timeout_ms.contains(&timeout) => {
                Err(TransactionError::TimeoutOutOfRange)
            }
            TimeLimit::Millis(_) | TimeLimit::None => Ok(()),
        }
    }

    /// Starts a producer: fences earlier ones and aborts their open transaction. `known` is the producer that the
    /// client knows from before. The caller has checked the limit with [`check_timeout`](Self::check_timeout).
    pub fn init(
        &self,
        id: &str,
        known: Option<ProducerAt>,
        limit: TimeLimit,
    ) -> impl Future<Output = Result<ProducerAt, TransactionError>> + Send + use<> {
        let is_new = self.published().get(id).is_none();
        let room = if is_new { self.has_room_for_ids() } else { Ok(()) };
        let id = id.to_owned();
        let begun = room.map(|()| {
            let (timeout_ms, two_phase) = match limit {
                TimeLimit::Millis(timeout) => (timeout, false),
                // The timeout that Kafka shows.
                TimeLimit::None => (i32::MAX, true),
            };
            let rolls = Vec::new();
            self.begin(Command::InitTransaction(InitTransaction { id, known, timeout_ms, two_phase, rolls }))
        });
        async move {
            match begun?.await? {
                Applied::TransactionInitialized { producer } => Ok(producer),
                Applied::TransactionEnded(_) => Err(TransactionError::Aborted),
                other => unreachable!("a new producer is not answered by {other:?}"),
            }
        }
    }

    /// Adds partitions and groups to a transaction, which begins if none is open.
    pub fn join(
        &self,
        id: &str,
        producer: ProducerAt,
        partitions: Vec<TopicPartition>,
        groups: Vec<String>,
    ) -> impl Future<Output = Result<(), TransactionError>> + Send + use<> {
        let adds = |transaction: &Transaction| {
            !transaction.is_open()
                || partitions.iter().any(|one| !transaction.has(one))
                || groups.iter().any(|one| !transaction.has_group(one))
        };
        let grows = self.published().get(id).is_some_and(adds);
        let checked = if grows { self.has_room() } else { Ok(()) };
        let id = id.to_owned();
        let begun = checked.map(|()| {
            self.begin(Command::JoinTransaction(JoinTransaction { id, producer, partitions, groups }))
        });
        async move { begun?.await.map(drop) }
    }

    /// Commits or aborts. Returns the producer for the next transaction.
    pub fn end(
        &self,
        id: &str,
        producer: ProducerAt,
        end: TransactionEnd,
        by: EndedBy,
    ) -> impl Future<Output = Result<ProducerAt, TransactionError>> + Send + use<> {
        let ended = self.end_that(id, producer, None, end, by);
        async move {
            match ended.await? {
                Applied::TransactionEnded(ended) => Ok(ended.producer),
                Applied::TransactionUnchanged { producer } => Ok(producer),
                other => unreachable!("the end of a transaction is not answered by {other:?}"),
            }
        }
    }

    /// Stores offsets of a group that are committed with the transaction. The group's coordinator checks them.
    pub async fn commit_offsets(
        &self,
        groups: &Groups,
        staged: StagedOffsets<'_>,
    ) -> Result<Each, TransactionError> {
        let StagedOffsets { id, producer, joins, group, commit } = staged;
        let is_in = |known: &Transaction| known.has_group(group);
        // This comes first, because the check below creates a group that does not exist.
        self.look(id, producer, |known| joins || is_in(known))?;
        if !self.published().get(id).is_some_and(is_in) {
            self.has_room()?;
        }
        loop {
            let checked = groups.check_commit(group, commit.clone()).await;
            let (after, outcomes, offsets) = match checked {
                Ok(CheckedCommit { after, outcomes, offsets }) => (after, outcomes, offsets),
                // As in Kafka, the group has joined the transaction before it refuses the offsets.
                Err(refused) => {
                    self.join_group(id, producer, joins, group).await?;
                    return Err(TransactionError::Group(refused));
                }
            };
            if offsets.is_empty() {
                self.join_group(id, producer, joins, group).await?;
                return Ok(outcomes);
            }
            let (id, group) = (id.to_owned(), group.to_owned());
            let command = TransactionOffsets { id, producer, joins, group, after, offsets };
            match self.begin(Command::TransactionOffsets(command)).await {
                // The group has changed meanwhile.
                Err(TransactionError::Refused(Refusal::OtherVersion)) => {}
                stored => return stored.map(|_| outcomes),
            }
        }
    }

    /// Adds a group to a transaction if it `joins` by itself, and checks otherwise that it was added.
    async fn join_group(
        &self,
        id: &str,
        producer: ProducerAt,
        joins: bool,
        group: &str,
    ) -> Result<(), TransactionError> {
        if joins {
            return self.join(id, producer, Vec::new(), vec![group.to_owned()]).await;
        }
        self.look(id, producer, |known| known.has_group(group))
    }

    /// Fails unless the partition was added to the producer's open transaction.
    pub fn verify(
        &self,
        id: &str,
        producer: ProducerAt,
        partition: TopicPartition,
    ) -> Result<(), TransactionError> {
        self.look(id, producer, |known| known.has(&partition))
    }

    /// Fails unless the published transaction belongs to the producer and is as `holds` asks.
    fn look(
        &self,
        id: &str,
        producer: ProducerAt,
        holds: impl FnOnce(&Transaction) -> bool,
    ) -> Result<(), TransactionError> {
        let published = self.published();
        let known = published.get(id).ok_or(Refusal::UnknownTransactionalId);
        let checked = known.and_then(|known| {
            known.check(producer)?;
            if holds(known) { Ok(()) } else { Err(Refusal::NotInTransaction) }
        });
        checked.map_err(TransactionError::Refused)
    }

    /// Checks a batch before it is appended: the id must belong to the producer, and there must be room for the
    /// partition if the batch adds it. All else is checked when it is appended.
    pub fn check_batch(
        &self,
        id: &str,
        producer: ProducerId,
        joins: Option<TopicPartition>,
    ) -> Result<(), TransactionError> {
        let published = self.published();
        let Some(known) = published.get(id).filter(|known| known.producer.id == producer) else {
            return Err(TransactionError::Refused(Refusal::UnknownTransactionalId));
        };
        if joins.is_some_and(|partition| !known.has(&partition)) { self.has_room() } else { Ok(()) }
    }

    /// Writes a marker into one partition, as an operator wants.
    pub fn write_marker(
        &self,
        write: WriteMarker,
    ) -> impl Future<Output = Result<(), TransactionError>> + Send + use<> {
        let written = self.begin(Command::WriteMarker(write));
        async move { written.await.map(drop) }
    }

    /// The memory that all transactional ids take, and its limit.
    pub fn memory(&self) -> (usize, usize) {
        (self.published().bytes(), self.0.rules.most_bytes)
    }

    /// A quarter of the memory is kept for the transactions of ids that are there already: a client with very many ids
    /// does not stop the others.
    fn has_room_for_ids(&self) -> Result<(), TransactionError> {
        let (held, most) = self.memory();
        if held < most - most / 4 {
            return Ok(());
        }
        warn!(
            ids = self.published().len(),
            "a new transactional id is refused: all that are known have used up three quarters of \
             jackdaw.transactions.max.bytes; see which clients make so many, raise it, or lower \
             transactional.id.expiration.ms"
        );
        Err(TransactionError::NoRoom)
    }

    fn has_room(&self) -> Result<(), TransactionError> {
        let (held, most) = self.memory();
        if held < most {
            return Ok(());
        }
        warn!(
            open = self.published().count_open(),
            "a transaction gets no more partitions or groups: jackdaw.transactions.max.bytes is used up; see \
             `jackdaw transaction list`, or raise it"
        );
        Err(TransactionError::NoRoom)
    }

    fn end_that(
        &self,
        id: &str,
        producer: ProducerAt,
        began: Option<u64>,
        end: TransactionEnd,
        by: EndedBy,
    ) -> impl Future<Output = Result<Applied, TransactionError>> + Send + use<> {
        let (id, rolls) = (id.to_owned(), Vec::new());
        self.begin(Command::EndTransaction(EndTransaction { id, producer, began, end, by, rolls }))
    }

    fn begin(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Applied, TransactionError>> + Send + use<> {
        let begun = self.0.store.transact(command);
        async move { Ok(begun.await?) }
    }

    /// Aborts the transactions that are open for longer than their timeout.
    async fn abort_overdue(&self) {
        let overdue = {
            let (now, time) = (session_time(&self.0.clock, &self.0.store), self.0.store.now().time);
            let mut timeouts = self.0.timeouts.lock().ignoring_poison();
            timeouts.overdue(&self.published(), now, time, &self.0.rules)
        };
        overdue.iter().filter(|one| one.is_news).for_each(|one| self.warn_of(one));
        let to_abort: Vec<&Overdue> = overdue.iter().filter(|one| !one.two_phase).collect();
        for some in to_abort.chunks(ABORTED_AT_ONCE) {
            let begin = |one: &&Overdue| {
                let (began, end) = (Some(one.began), TransactionEnd::Abort);
                (Arc::clone(&one.id), self.end_that(&one.id, one.producer, began, end, EndedBy::Timeout))
            };
            let begun: Vec<_> = some.iter().map(begin).collect();
            for (id, ended) in begun {
                if let Err(error @ TransactionError::NotStored) = ended.await {
                    warn!(
                        transactional_id = %Shown(&id), ?error,
                        "a transaction that is open for too long cannot be aborted yet; it is tried again"
                    );
                }
            }
        }
    }

    /// Logs a transaction that has become overdue.
    fn warn_of(&self, one: &Overdue) {
        let id = Shown(&one.id);
        let producer_id = one.producer.id.0;
        let open_for_ms = u64::try_from(one.open_for.as_millis()).unwrap_or(u64::MAX);
        let topics = self.0.store.topics();
        let held_back = one.held_back.and_then(|of| Some((topics.by_id(of.topic)?, of.partition)));
        match held_back {
            Some((topic, partition)) if one.two_phase => warn!(
                transactional_id = %id, producer_id, open_for_ms, topic = &*topic.name, partition,
                "a transaction in two phases is open for longer than transaction.max.timeout.ms and holds back the \
                 readers of committed records; no timeout ends it: let its producer end it, or use \
                 kafka-transactions.sh forceTerminateTransaction"
            ),
            Some((topic, partition)) => warn!(
                transactional_id = %id, producer_id, open_for_ms, topic = &*topic.name, partition,
                "a transaction is open for longer than its timeout and is aborted: it held back the readers of \
                 committed records; its producer has stopped, or needs a longer transaction.timeout.ms"
            ),
            // Its topic has been deleted since.
            None if one.two_phase => {}
            None => warn!(
                transactional_id = %id, producer_id, open_for_ms,
                "a transaction without records is open for longer than its timeout and is aborted; its producer has \
                 stopped, or needs a longer transaction.timeout.ms"
            ),
        }
    }

    /// Forgets the ids that were not used for a long time. Waits until the clock is trusted.
    async fn expire(&self) {
        let Some(now) = self.0.store.now().trusted else { return };
        let age = i64::try_from(self.0.rules.expiration.as_millis()).unwrap_or(i64::MAX);
        let idle_since = Timestamp(now.0.saturating_sub(age));
        if self.published().iter().any(|(_, known)| known.is_idle_since(idle_since)) {
            // If it is not stored, the next check tries it again.
            let _ = self.begin(Command::ExpireTransactions { idle_since }).await;
        }
    }
}

/// The monotonic clock, except that it stops while the journal is stalled: a producer whose answer is held back cannot
/// end its transaction.
fn session_time(clock: &Clock, store: &Store) -> Duration {
    clock.monotonic().saturating_sub(store.stalled_for())
}

impl From<&BrokerSettings> for TransactionRules {
    fn from(settings: &BrokerSettings) -> TransactionRules {
        let longest = i32::try_from(settings.transaction_max_timeout.as_millis()).unwrap_or(i32::MAX);
        TransactionRules {
            timeout_ms: 1..=longest,
            most_bytes: settings.transaction_memory(),
            timeout_check: settings.transaction_timeout_check,
            expiration: settings.transactional_id_expiration,
            expiration_check: settings.transactional_id_check,
        }
    }
}

impl From<StoreError> for TransactionError {
    fn from(error: StoreError) -> TransactionError {
        match error {
            StoreError::Refused(refusal) => TransactionError::Refused(refusal),
            StoreError::Unavailable(_) => TransactionError::NotStored,
        }
    }
}
