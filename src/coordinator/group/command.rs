//! The commands of a group and their answers.

use std::sync::Arc;
use std::time::Duration;

use crate::coordinator::reply::Reply;
use crate::kernel::group::{Generation, MemberId, Opaque};
use crate::kernel::offsets::CommittedOffset;
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};

/// A request of a client, and the place for its answer.
#[derive(Debug)]
pub struct GroupRequest<Q: Request> {
    pub body: Q,
    pub reply: Reply<Q::Answer>,
}

/// A request to a group; each has its own type of answer.
pub trait Request {
    type Answer: Send + 'static;
}

/// The commands of all kinds of group. Each kind answers each of them; a request that belongs to another kind
/// gets the error that Kafka returns for it.
#[derive(Debug)]
pub enum Command {
    Join {
        request: GroupRequest<Join>,
        /// The member id to use if the member needs one.
        new_id: MemberId,
    },
    Sync(GroupRequest<Sync>),
    Heartbeat(GroupRequest<Heartbeat>),
    Leave(GroupRequest<Leave>),
    Commit(GroupRequest<Commit>),
    /// Checks a commit that a transaction will store.
    CheckCommit(GroupRequest<StagedCommit>),
    DeleteOffsets(GroupRequest<DeleteOffsets>),
    Delete(GroupRequest<Delete>),
    /// Makes all members join again, as a test wants.
    Rebalance(GroupRequest<Rebalance>),
    /// Deletes the group to make room for others, if it is dispensable.
    MakeRoom,
    /// Removes expired offsets, and those of deleted topics that are left.
    Expire {
        /// The time for the age of offsets; `None` while the clock is not trusted.
        by_age_at: Option<Timestamp>,
    },
    /// The broker reads nothing from a member for this time, because the member used more than its quota.
    Hold {
        member: MemberId,
        time: Duration,
    },
    /// A deadline has passed.
    Tick,
    #[cfg(test)]
    Enlist(GroupRequest<super::roster::Enlist>),
    /// The result of a job: the assignment of the members of this generation.
    #[cfg(test)]
    Computed {
        generation: Generation,
        assignments: Vec<(MemberId, Opaque)>,
    },
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
pub struct Leave(pub Vec<Leaver>);

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

/// A commit that a transaction will store (TxnOffsetCommit).
#[derive(Clone, Debug)]
pub struct StagedCommit(pub Commit);

/// The offsets of a [`StagedCommit`] that may be stored while the group has the version `after`.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedCommit {
    pub after: u64,
    /// One result for each offset of the request, in the same order.
    pub outcomes: Each,
    pub offsets: Vec<(TopicPartition, CommittedOffset)>,
}

#[derive(Clone, Debug)]
pub struct OffsetToCommit {
    pub partition: TopicPartition,
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
}

#[derive(Clone, Debug)]
pub struct DeleteOffsets(pub Vec<OffsetToDelete>);

#[derive(Clone, Debug)]
pub struct OffsetToDelete {
    pub partition: TopicPartition,
    /// The current name of the topic: members subscribe by name.
    pub topic: Arc<str>,
}

#[derive(Clone, Copy, Debug)]
pub struct Delete;

#[derive(Clone, Copy, Debug)]
pub struct Rebalance;

/// One result for each part of the request, in the same order.
pub type Each = Vec<Result<(), GroupError>>;

impl Request for Join {
    type Answer = Result<Joined, JoinRefusal>;
}

impl Request for Sync {
    type Answer = Result<Synced, GroupError>;
}

impl Request for Heartbeat {
    type Answer = Result<(), GroupError>;
}

impl Request for Leave {
    type Answer = Each;
}

impl Request for Commit {
    type Answer = Result<Each, GroupError>;
}

impl Request for StagedCommit {
    type Answer = Result<CheckedCommit, GroupError>;
}

impl Request for DeleteOffsets {
    type Answer = Result<Each, GroupError>;
}

impl Request for Delete {
    type Answer = Result<(), GroupError>;
}

impl Request for Rebalance {
    type Answer = Result<(), GroupError>;
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
