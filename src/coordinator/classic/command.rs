//! The commands of a group and their answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::kernel::group::{Generation, MemberId, Opaque, PartitionKey};
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicId};

/// Identifies a request that waits for an answer. Later callers have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller(pub u64);

/// The caller, times and limits of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    pub caller: Caller,
    /// The wall clock, for times that are stored.
    pub wall: Timestamp,
    /// The session clock, for all deadlines. It stops while the journal is stalled.
    pub session: Duration,
    /// The number of bytes by which all groups together may still grow.
    pub room: usize,
}

#[derive(Clone, Debug)]
pub enum Command {
    Join {
        join: Join,
        /// The member id to use if the member needs one.
        new_id: MemberId,
    },
    Sync(Sync),
    Heartbeat(Heartbeat),
    Leave(Vec<Leaver>),
    Commit(Commit),
    DeleteOffsets(Vec<OffsetToDelete>),
    Delete,
    /// Topics were deleted: their offsets are removed.
    ForgetTopics(Arc<BTreeSet<TopicId>>),
    /// Removes expired offsets.
    Expire {
        /// The current names of the topics that the group has offsets of; `None` for deleted
        /// topics.
        topics: BTreeMap<TopicId, Option<String>>,
        /// The time for the age of offsets; `None` while the clock is not trusted.
        by_age_at: Option<Timestamp>,
    },
    /// A deadline has passed.
    Tick,
}

/// The identity that a member sends: its id and, for a static member, its instance id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub member: MemberId,
    pub instance: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Join {
    /// `None` for a newcomer without an id.
    pub member: Option<MemberId>,
    pub instance: Option<String>,
    /// Whether a newcomer gets its id and has to join again with it (JoinGroup 4 and up).
    pub confirms_its_id: bool,
    /// Whether a leader understands `skip_assignment` (JoinGroup 9).
    pub can_skip_assignment: bool,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocol_type: String,
    pub protocols: Vec<(String, Opaque)>,
}

#[derive(Clone, Debug)]
pub struct Sync {
    pub who: Identity,
    pub generation: Generation,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// Only set by the leader.
    pub assignments: Vec<(MemberId, Opaque)>,
}

#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub who: Identity,
    pub generation: Generation,
}

#[derive(Clone, Debug)]
pub enum Leaver {
    Member(Identity),
    /// An administrator removes the member with this instance id.
    Instance(String),
    /// Neither a member id nor an instance id was sent.
    Nobody,
}

#[derive(Clone, Debug)]
pub struct Commit {
    /// `None` for a commit from outside the group, such as an administrator's.
    pub generation: Option<Generation>,
    pub who: Identity,
    /// Whether the client knows GROUP_ID_NOT_FOUND (OffsetCommit 9 and up). Others get
    /// ILLEGAL_GENERATION.
    pub knows_group_not_found: bool,
    /// The retention time in the commit itself (OffsetCommit 2 to 4).
    pub retention: Option<Duration>,
    pub offsets: Vec<OffsetToCommit>,
}

#[derive(Clone, Debug)]
pub struct OffsetToCommit {
    pub partition: PartitionKey,
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
}

#[derive(Clone, Debug)]
pub struct OffsetToDelete {
    pub partition: PartitionKey,
    /// The current name of the topic: members subscribe by name.
    pub topic: Arc<str>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Join(Result<Joined, JoinRefusal>),
    Sync(Result<Synced, GroupError>),
    Heartbeat(Result<(), GroupError>),
    /// One result for each leaver, in the order of the request.
    Leave(Vec<Result<(), GroupError>>),
    /// One result for each offset, in the order of the request.
    Offsets(Result<Vec<Result<(), GroupError>>, GroupError>),
    Delete(Result<(), GroupError>),
    /// The answer to commands of the broker itself.
    Done,
}

/// The member is in the generation and should ask for its assignment now.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    pub member: MemberId,
    pub generation: Generation,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: MemberId,
    /// The leader must not compute an assignment; the current one stays.
    pub skip_assignment: bool,
    /// Only for the leader.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct JoinedMember {
    pub id: MemberId,
    pub instance: Option<String>,
    pub metadata: Opaque,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefusal {
    pub error: GroupError,
    /// The member id to use from now on; empty if there is none.
    pub member: MemberId,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Synced {
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Opaque,
}

/// The reasons why a group refuses a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// Another broker is the group's coordinator.
    NotCoordinator,
    /// This request needs a group id.
    NoGroupId,
    NoSuchGroup,
    UnknownMember,
    /// Another member holds this instance id.
    FencedInstance,
    IllegalGeneration,
    RebalanceInProgress,
    /// The member shares no protocol with all others, or expects another one than the group's.
    InconsistentProtocol,
    SessionTimeoutOutOfRange,
    /// The newcomer has an id now and has to join again with it.
    MemberIdRequired,
    GroupFull,
    /// The member's protocols exceed [`Rules::member_bytes`](super::Rules::member_bytes) or
    /// [`Rules::member_protocols`](super::Rules::member_protocols).
    MemberTooLarge,
    OffsetMetadataTooLarge,
    /// The group has members.
    NotEmpty,
    /// A member reads the topic.
    SubscribedToTopic,
    /// All groups together have reached their memory limit.
    NoRoom,
    /// The change cannot be stored at present, or it is unknown whether it was stored.
    NotStored,
}
