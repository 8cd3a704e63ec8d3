//! What can be asked of the kernel, and what it answers. Commands are stored in the journal:
//! a variant, once released, keeps its place and its fields; change comes as a new variant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::group::GroupRecord;
use super::partition::{Segment, SegmentId};
use super::placement::Election;
use crate::types::{LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// One replica for every partition, on the first broker that runs. Only in old journals: what is
    /// made now is a [`Command::CreatePlacedTopic`].
    CreateTopic(CreateTopic),
    DropTopic {
        topic: TopicId,
    },
    /// A batch takes its place in a partition.
    Commit(Commit),
    /// Retention or DeleteRecords moved the start of the log.
    SetLogStart {
        topic: TopicId,
        partition: i32,
        offset: Offset,
    },
    /// Recovery cut the partition: what follows belongs to another leadership.
    RaiseEpoch {
        topic: TopicId,
        partition: i32,
    },
    /// Hands out a producer id that was never used.
    NewProducer,
    /// Forgets the producers that did not write since then.
    ExpireProducers {
        idle_since: Timestamp,
    },
    Group {
        group: String,
        records: Vec<GroupRecord>,
    },
    /// A topic whose replicas were said.
    CreatePlacedTopic(CreatePlacedTopic),
    /// New partitions behind the last one, each with its replicas. `first` is the number of the first
    /// of them: of two who want to add to the same topic, one is refused.
    AddPartitions {
        topic: TopicId,
        first: i32,
        replicas: Vec<Vec<NodeId>>,
    },
    /// Settings of a topic: `Some` sets, `None` takes away. Merged here, so that two who alter at
    /// once both count.
    AlterTopic {
        topic: TopicId,
        changes: BTreeMap<String, Option<String>>,
    },
    /// The same for what is no topic.
    AlterSettings {
        scope: Scope,
        changes: BTreeMap<String, Option<String>>,
    },
    /// A reassignment: the new replicas of a partition; leader and ISR follow.
    SetReplicas {
        topic: TopicId,
        partition: i32,
        replicas: Vec<NodeId>,
    },
    /// These brokers run now. Only in old journals: now a [`Command::RunBrokers`] is written.
    SetBrokers {
        running: Vec<NodeId>,
    },
    /// The preferred (first) replica leads again, if it runs and is in the ISR.
    ElectPreferred {
        topic: TopicId,
        partition: i32,
    },
    /// Compaction has written segments anew.
    ReplaceSegments(ReplaceSegments),
    /// The memory for producers of all partitions. In the journal, because it decides which producer is
    /// forgotten.
    SetProducerMemory {
        bytes: u64,
    },
    /// The clock is believed at this time. The next start compares its clock with it.
    ClockBelieved,
    /// These brokers run now: leaders, ISRs and ELRs of all partitions follow, by these rules where neither
    /// the topic nor the cluster has its own.
    RunBrokers {
        running: Vec<NodeId>,
        election: Election,
    },
    /// An unclean election: any running replica becomes leader of a partition without one.
    ElectUnclean {
        topic: TopicId,
        partition: i32,
    },
    /// A batch that has its place already, but could not be written to its segment, is in the journal
    /// once more: behind a snapshot, so that the entry that it came with is not needed any more.
    StoreAgain(StoreAgain),
}

/// What settings are stored for, other than a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// All brokers that do not say otherwise.
    DefaultBroker,
    Broker(NodeId),
    Group(String),
    ClientMetrics(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateTopic {
    pub id: TopicId,
    pub name: String,
    pub partitions: u32,
    /// The settings given for this topic, by Kafka's names.
    pub overrides: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreatePlacedTopic {
    pub id: TopicId,
    pub name: String,
    /// The settings given for this topic, by Kafka's names.
    pub overrides: BTreeMap<String, String>,
    /// The brokers of each partition; the first one is its preferred leader.
    pub replicas: Vec<Vec<NodeId>>,
}

/// What the kernel must know of a batch; its bytes are the engine's matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub topic: TopicId,
    pub partition: i32,
    pub bytes: u32,
    pub last_offset_delta: i32,
    pub max_timestamp: Timestamp,
    pub producer: Option<ProducerStamp>,
    /// The batch opens a new segment file.
    pub roll: bool,
    /// The bytes travel in the journal entry, in the order of its commits; else they were
    /// written to the segment before the entry.
    pub inline: bool,
    /// The batch's own checksum, against which recovery holds the bytes in the segment.
    pub crc: u32,
}

/// Segments that lie behind each other, and what takes their place: files that are safe already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplaceSegments {
    pub topic: TopicId,
    pub partition: i32,
    pub replaced: Vec<SegmentId>,
    /// Not empty; the first one begins where the first of the replaced did. All have the generation
    /// that follows the largest of the replaced.
    pub by: Vec<Rewritten>,
}

/// Where the batch belongs. Its bytes travel in the journal entry, in the order of the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreAgain {
    pub topic: TopicId,
    pub partition: i32,
    pub segment: SegmentId,
    pub at: u64,
    pub bytes: u32,
}

/// A segment that compaction has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewritten {
    pub base: Offset,
    pub bytes: u64,
    pub max_timestamp: Timestamp,
    /// See [`Segment::cleaned`].
    pub cleaned: bool,
}

/// What an idempotent producer puts on a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerStamp {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub sequence: i32,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    TopicCreated,
    TopicDropped,
    Appended(Placed),
    /// The producer sent it before: it stands at its first place, and nothing changed.
    Duplicate {
        base_offset: Offset,
        log_start: Offset,
    },
    LogStart {
        offset: Offset,
        /// The segments that hold nothing from `offset` on.
        dropped: Vec<Segment>,
    },
    Epoch(LeaderEpoch),
    Producer {
        id: ProducerId,
        epoch: ProducerEpoch,
    },
    ProducersExpired(usize),
    GroupChanged,
    PartitionsAdded,
    TopicAltered,
    SettingsAltered,
    ReplicasSet,
    BrokersSet,
    /// Whether another one led before.
    LeaderElected {
        moved: bool,
    },
    SegmentsReplaced {
        replaced: Vec<Segment>,
        by: Vec<Segment>,
        /// Where the next segment begins.
        end: Offset,
    },
    ProducerMemorySet {
        forgotten: usize,
    },
    ClockBelieved,
    StoredAgain,
}

impl Applied {
    /// What leaves the state as it was is not written to the journal.
    pub fn changed_something(&self) -> bool {
        !matches!(self, Applied::Duplicate { .. } | Applied::LeaderElected { moved: false })
    }
}

/// Where a batch stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub base_offset: Offset,
    /// The offset after its last record: the new end of the log.
    pub end: Offset,
    pub epoch: LeaderEpoch,
    pub log_start: Offset,
    /// The base offset of the segment file, and the batch's position in it.
    pub segment: Offset,
    pub at: u64,
}

/// Why a command changed nothing.
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
    /// A newer incarnation of the producer has written.
    StaleProducerEpoch {
        current: ProducerEpoch,
        got: ProducerEpoch,
    },
    /// The memory for producers is used up by producers that may still retry.
    TooManyProducers,
    /// The log start was asked to move beyond the end.
    OffsetOutOfRange,
    /// No offset is left for the batch.
    OffsetsExhausted,
    /// The segments to be replaced are not those that are there now.
    OtherSegments,
    /// Other partitions were added meanwhile.
    NotTheNextPartition {
        next: i32,
    },
    /// None of the brokers that shall hold a partition runs.
    NoReplicaRuns,
    /// The preferred replica does not run, or is not in step.
    PreferredNotAvailable,
    /// There is no leader, and no running replica may become one.
    NoEligibleLeader,
    /// Our own code asked for what cannot be.
    Malformed,
}
