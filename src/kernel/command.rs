//! The commands of the kernel, and their results.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::credentials::CredentialChange;
use super::group::Change;
use super::offsets::CommittedOffset;
use super::partition::{AbortedList, Extent, ExtentId};
use super::placement::Election;
use super::transaction::{EndedBy, ProducerAt};
use crate::config::{Changes, Overrides};
use crate::record::Marker;
use crate::types::{
    AbortedTransaction, AclBinding, DelegationToken, LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId,
    QuotaChanges, QuotaEntity, Timestamp, TopicId, TopicPartition, TransactionEnd,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    CreateTopic(CreateTopic),
    DropTopic {
        topic: TopicId,
    },
    /// Appends a batch to a partition.
    Commit(Commit),
    /// Moves the log start offset, for retention or DeleteRecords.
    SetLogStart {
        topic: TopicId,
        partition: i32,
        offset: Offset,
    },
    /// Begins a new leader epoch, because recovery has truncated the partition.
    RaiseEpoch {
        topic: TopicId,
        partition: i32,
    },
    /// Assigns a producer id that was never used.
    NewProducer,
    /// Forgets the producers that have not written since then.
    ExpireProducers {
        idle_since: Timestamp,
    },
    /// Changes a group and the state beside it. Refused unless the group has the version `after`, on which
    /// the changes were decided.
    Group {
        group: String,
        after: u64,
        changes: Vec<Change>,
    },
    /// Adds partitions after the last one, each with its replicas. `first` is the number of the first new
    /// one, so that one of two concurrent commands is refused.
    AddPartitions {
        topic: TopicId,
        first: i32,
        replicas: Vec<Vec<NodeId>>,
    },
    /// Alters settings of a topic: `Some` sets a value, `None` removes it. The changes are merged here,
    /// so that concurrent commands both take effect.
    AlterTopic {
        topic: TopicId,
        changes: Changes,
    },
    /// Alters the settings of other resources.
    AlterSettings {
        scope: Scope,
        changes: Changes,
    },
    /// A reassignment: the new replicas of a partition. Leader and ISR follow from them.
    SetReplicas {
        topic: TopicId,
        partition: i32,
        replicas: Vec<NodeId>,
    },
    /// These brokers are running. Leaders, ISRs and ELRs of all partitions follow from it, by these rules
    /// unless the topic or the cluster has its own.
    SetBrokers {
        running: Vec<NodeId>,
        election: Election,
    },
    /// Makes the preferred (first) replica the leader again, if it runs and is in the ISR.
    ElectPreferred {
        topic: TopicId,
        partition: i32,
    },
    /// Replaces extents by those that compaction has written.
    ReplaceExtents(ReplaceExtents),
    /// Sets the memory for producers of all partitions. It is in the journal because it decides which
    /// producer is forgotten.
    SetProducerMemory {
        bytes: u64,
    },
    /// The clock is trusted at this time. The next start compares its clock with it.
    ClockTrusted,
    /// An unclean election: makes any running replica the leader of a partition without one.
    ElectUnclean {
        topic: TopicId,
        partition: i32,
    },
    /// Stores the bytes of a batch in the journal again, because they could not be written to their
    /// segment. The entry is after a snapshot, so that the batch's first entry is no longer needed.
    StoreAgain(StoreAgain),
    /// Registers a broker in a shared journal. It is the only command of its entry, which has no author.
    Register(Register),
    /// A broker of a shared journal has been silent for too long. Others lead its partitions.
    Gone(Gone),
    InitTransaction(InitTransaction),
    JoinTransaction(JoinTransaction),
    TransactionOffsets(TransactionOffsets),
    EndTransaction(EndTransaction),
    WriteMarker(WriteMarker),
    /// Removes the transactional ids that were not used since this time.
    ExpireTransactions {
        idle_since: Timestamp,
    },
    /// Sets the finalized level of a feature.
    SetFeature {
        name: String,
        level: i16,
    },
    /// Alters the quotas of entities, all of them at once.
    AlterQuotas {
        changes: Vec<(QuotaEntity, QuotaChanges)>,
    },
    /// Changes SCRAM credentials of users, all or none.
    AlterCredentials {
        changes: Vec<CredentialChange>,
    },
    /// Adds access control lists. Those that are there already stay as they are.
    AddAcls {
        bindings: Vec<AclBinding>,
    },
    /// Removes access control lists. Those that are not there are passed over.
    RemoveAcls {
        bindings: Vec<AclBinding>,
    },
    /// Adds a delegation token, with an id that was never used.
    CreateToken {
        id: String,
        token: Box<DelegationToken>,
    },
    /// Sets the time at which a delegation token expires; `None` removes it.
    ChangeToken {
        id: String,
        expires: Option<Timestamp>,
    },
    /// Removes the delegation tokens that are expired at this time.
    ExpireTokens {
        now: Timestamp,
    },
}

/// InitProducerId with a transactional id. An open transaction is aborted; then the client has to ask again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitTransaction {
    pub id: String,
    /// The producer that the client knows from before.
    pub known: Option<ProducerAt>,
    pub timeout_ms: i32,
    /// The transactions are ended only by their producer, never by time.
    pub two_phase: bool,
    /// See [`EndTransaction::rolls`], for the open transaction.
    pub rolls: Vec<TopicPartition>,
}

/// Adds partitions and groups to a transaction, which is opened if it is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinTransaction {
    pub id: String,
    pub producer: ProducerAt,
    pub partitions: Vec<TopicPartition>,
    pub groups: Vec<String>,
}

/// Stores offsets of a group that will be committed with the transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransactionOffsets {
    pub id: String,
    pub producer: ProducerAt,
    /// Whether the group is added to the transaction if it is not in it yet (TxnOffsetCommit from version 5 on).
    pub joins: bool,
    pub group: String,
    /// The version of the group that the request was checked against.
    pub after: u64,
    pub offsets: Vec<(TopicPartition, CommittedOffset)>,
}

/// Ends a transaction: writes a marker into each of its partitions, commits or drops its offsets, and begins the
/// next epoch (an old client keeps its epoch). All of it happens, or nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndTransaction {
    pub id: String,
    pub producer: ProducerAt,
    /// The transaction that is meant, by the position at which it was opened. `None` means the open one.
    pub began: Option<u64>,
    pub end: TransactionEnd,
    pub by: EndedBy,
    /// The partitions in which the marker starts a new segment file, in ascending order.
    pub rolls: Vec<TopicPartition>,
}

/// Writes one marker, for an operator who ends a transaction in one partition (WriteTxnMarkers).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteMarker {
    pub partition: TopicPartition,
    pub producer: ProducerAt,
    pub end: TransactionEnd,
    pub coordinator_epoch: i32,
    /// Whether a marker that ends an open transaction must have a new epoch (`transaction.version` 2).
    pub new_epoch_only: bool,
    /// Whether the marker starts a new segment file.
    pub roll: bool,
}

/// A resource other than a topic that settings are stored for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// The default of all brokers.
    DefaultBroker,
    Broker(NodeId),
    Group(String),
    ClientMetrics(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateTopic {
    pub id: TopicId,
    pub name: String,
    /// The settings of the topic itself, by Kafka's names.
    pub overrides: Overrides,
    /// The brokers of each partition; the first one is the preferred leader.
    pub replicas: Vec<Vec<NodeId>>,
}

/// The properties of a batch that the kernel needs; the engine handles its bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub topic: TopicId,
    pub partition: i32,
    pub bytes: u32,
    pub last_offset_delta: i32,
    pub max_timestamp: Timestamp,
    pub producer: Option<ProducerStamp>,
    pub flags: BatchFlags,
    /// The leader epoch in which the batch was accepted. Once another leader has begun, it is refused.
    pub leadership: LeaderEpoch,
    /// A segment file is refused in a shared journal, any other place in a data directory.
    pub place: Place,
}

/// Properties of a batch that change how it is committed. A batch with an unknown one is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFlags(pub u8);

impl BatchFlags {
    /// The batch belongs to a transaction.
    pub const TRANSACTIONAL: BatchFlags = BatchFlags(1);
    /// The batch adds its partition to the transaction (Produce from version 12 on, KIP-890).
    pub const JOINS: BatchFlags = BatchFlags(2);

    pub fn has(self, flag: BatchFlags) -> bool {
        self.0 & flag.0 == flag.0
    }

    #[must_use]
    pub fn with(self, flag: BatchFlags) -> BatchFlags {
        BatchFlags(self.0 | flag.0)
    }

    pub(super) fn are_known(self) -> bool {
        self.0 & !(BatchFlags::TRANSACTIONAL.0 | BatchFlags::JOINS.0) == 0
    }
}

/// The place of a batch's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A segment file.
    Segment {
        /// Whether the batch starts a new file.
        roll: bool,
        /// Whether the journal entry has the bytes too, in the order of its commands. Otherwise they were
        /// written to the segment before the entry.
        inline: bool,
        /// The batch's own checksum, with which recovery compares the bytes in the segment.
        crc: u32,
    },
    /// The data beside the journal entry, from byte `at` on.
    Journal { at: u32 },
}

/// Replaces consecutive extents. The new ones are already durable. The old ones are named by their number
/// and a hash, because a list of them could be long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplaceExtents {
    pub topic: TopicId,
    pub partition: i32,
    /// The base offset of the first replaced one.
    pub first: Offset,
    /// The base offset of the first one that stays.
    pub end: Offset,
    /// The number of replaced ones.
    pub count: u32,
    /// [`mix_of`](super::mix_of) the replaced ones.
    pub mix: u64,
    /// Not empty. The first one begins at `first`. The generation of all is one higher than the largest of
    /// the replaced ones.
    pub outputs: Vec<Rewritten>,
}

/// The position of a batch. The journal entry has its bytes, in the order of the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreAgain {
    pub topic: TopicId,
    pub partition: i32,
    pub segment: ExtentId,
    pub at: u64,
    pub bytes: u32,
}

/// Registers a broker that shares the journal. Refused if `after` is not its newest incarnation, and while that
/// incarnation still writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    pub node: NodeId,
    /// The broker's newest incarnation; 0 if it never registered.
    pub after: u64,
    /// A random number, by which the broker recognises its own registration.
    pub nonce: u64,
    /// For this long after its last entry the new incarnation cannot be replaced.
    pub session: Duration,
}

/// Declares a broker gone. Refused if it has registered again, or has written after the entry `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    pub node: NodeId,
    pub incarnation: u64,
    pub last: u64,
}

/// A segment that compaction has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewritten {
    pub base: Offset,
    pub bytes: u64,
    pub max_timestamp: Timestamp,
    /// See [`Extent::cleaned`].
    pub cleaned: bool,
    /// See [`Extent::aborted`].
    pub aborted: AbortedList,
}

/// The producer's fields in an idempotent batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerStamp {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub sequence: i32,
}

/// The result of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    TopicCreated {
        topic: TopicId,
    },
    TopicDropped {
        topic: TopicId,
        name: String,
    },
    Appended(Placed),
    /// The producer has sent the batch before. This is its offset; nothing changed.
    Duplicate {
        base_offset: Offset,
        log_start: Offset,
    },
    LogStart {
        topic: TopicId,
        partition: i32,
        offset: Offset,
        /// The extents that have no records from `offset` on.
        dropped: Vec<Extent>,
    },
    EpochRaised {
        topic: TopicId,
        partition: i32,
        epoch: LeaderEpoch,
    },
    Producer {
        id: ProducerId,
        epoch: ProducerEpoch,
    },
    ProducersExpired(usize),
    GroupChanged,
    PartitionsAdded {
        topic: TopicId,
    },
    TopicAltered {
        topic: TopicId,
    },
    SettingsAltered {
        scope: Scope,
    },
    ReplicasSet {
        topic: TopicId,
    },
    BrokersSet,
    LeaderElected {
        topic: TopicId,
        /// Whether another broker led before.
        moved: bool,
    },
    ExtentsReplaced {
        topic: TopicId,
        partition: i32,
        replaced: Vec<Extent>,
        by: Vec<Extent>,
        /// The base offset of the next extent.
        end: Offset,
    },
    ProducerMemorySet {
        forgotten: usize,
    },
    ClockTrusted,
    StoredAgain,
    /// The broker is registered. Its incarnation is the position of this entry.
    Registered {
        node: NodeId,
        incarnation: u64,
    },
    BrokerGone {
        node: NodeId,
    },
    /// The producer may begin a transaction.
    TransactionInitialized {
        producer: ProducerAt,
    },
    TransactionJoined,
    OffsetsStaged,
    /// The request was a repetition; nothing changed.
    TransactionUnchanged {
        producer: ProducerAt,
    },
    TransactionEnded(Box<TransactionEnded>),
    MarkerWritten {
        marker: Marker,
        placed: PlacedMarker,
    },
    TransactionsExpired(usize),
    FeatureSet {
        level: i16,
    },
    QuotasAltered {
        /// Whether there were other values before.
        changed: bool,
    },
    CredentialsAltered,
    /// This number of access control lists was added or removed.
    AclsChanged {
        count: usize,
    },
    /// This number of delegation tokens was added, changed or removed.
    TokensChanged {
        count: usize,
    },
}

impl Applied {
    /// Whether the command changed the state. If not, it is not written to the journal.
    pub fn changed_something(&self) -> bool {
        !matches!(
            self,
            Applied::Duplicate { .. }
                | Applied::LeaderElected { moved: false, .. }
                | Applied::QuotasAltered { changed: false }
                | Applied::TransactionUnchanged { .. }
                | Applied::TransactionsExpired(0)
                | Applied::AclsChanged { count: 0 }
                | Applied::TokensChanged { count: 0 }
        )
    }

    /// The markers that the command placed, in the order of the partitions.
    pub fn markers(&self) -> Option<(&Marker, &[PlacedMarker])> {
        match self {
            Applied::TransactionEnded(ended) => Some((&ended.marker, &ended.placed)),
            Applied::MarkerWritten { marker, placed } => Some((marker, std::slice::from_ref(placed))),
            _ => None,
        }
    }
}

/// A transaction that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionEnded {
    /// The producer that may use the id from now on.
    pub producer: ProducerAt,
    /// `false` if there was nothing to abort.
    pub was_open: bool,
    /// Whether it was open for too long, and the broker ended it.
    pub timed_out: bool,
    /// Whether offsets of groups were committed or dropped.
    pub has_offsets: bool,
    pub marker: Marker,
    /// One for each partition of the transaction that still exists.
    pub placed: Vec<PlacedMarker>,
}

/// A marker in one partition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlacedMarker {
    pub placed: Placed,
    /// The transaction, if it had records here and is aborted.
    pub aborted: Option<AbortedTransaction>,
}

/// The position of an appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub topic: TopicId,
    pub partition: i32,
    pub base_offset: Offset,
    /// The offset after its last record: the new end of the log.
    pub end: Offset,
    pub epoch: LeaderEpoch,
    pub log_start: Offset,
    /// The last stable offset after the batch.
    pub last_stable: Offset,
    /// The base offset of the segment file or other extent, and the batch's position in it.
    pub segment: Offset,
    pub at: u64,
}

/// The reasons why a command was refused. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    UnknownTopic,
    UnknownPartition,
    TopicExists,
    NameCollides {
        with: String,
    },
    /// The sequence does not follow the producer's last one.
    OutOfOrderSequence {
        expected: i32,
        got: i32,
    },
    /// A newer epoch of the producer has written.
    StaleProducerEpoch {
        current: ProducerEpoch,
        got: ProducerEpoch,
    },
    /// The transactional id is unknown, or belongs to another producer.
    UnknownTransactionalId,
    /// A newer producer uses the transactional id.
    ProducerFenced,
    /// The transaction is in a state in which this cannot be done.
    InvalidTransactionState,
    /// The partition or group was not added to the transaction.
    NotInTransaction,
    /// The marker is from an older coordinator.
    CoordinatorFenced,
    /// The memory for producers is used up by producers that may still retry.
    TooManyProducers,
    /// Producers with an open transaction have used up their share of that memory.
    TooManyOpenTransactions,
    /// The new log start offset is beyond the end of the log.
    OffsetOutOfRange,
    /// The batch would exceed the largest offset.
    OffsetsExhausted,
    /// The batch was accepted in an earlier leader epoch.
    NotLeader,
    /// The extents to replace are not the current ones.
    OtherExtents,
    /// Other partitions were added in the meantime.
    NotTheNextPartition {
        next: i32,
    },
    /// None of the replicas of a partition is running.
    NoReplicaRuns,
    /// The preferred replica is not running, or not in the ISR.
    PreferredNotAvailable,
    /// There is no leader, and no running replica may become one.
    NoEligibleLeader,
    /// The level in force does not have the command yet.
    NotYet,
    /// The group has changed since the command was decided.
    OtherVersion,
    /// The broker has registered since the command was decided, or is gone already.
    OtherIncarnation,
    /// The broker still writes to the shared journal, or may only have waited for it.
    BrokerRuns,
    /// There is no delegation token with this id.
    UnknownToken,
    /// An invalid command, which is a bug of the broker.
    Malformed,
}
