//! What can be asked of a group, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::kernel::group::{Generation, MemberId, Opaque, PartitionKey};
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicId};

/// Who waits for an answer. Later callers have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller(pub u64);

/// By whom, when and within what a command is decided.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    pub caller: Caller,
    /// The wall clock, for what is stored.
    pub wall: Timestamp,
    /// The session clock, for all deadlines; it stands while the journal is stalled.
    pub session: Duration,
    /// How many bytes all groups together may still grow by.
    pub room: usize,
}

#[derive(Clone, Debug)]
pub enum Command {
    Join {
        join: Join,
        /// The id it gets if it needs one.
        new_id: MemberId,
    },
    Sync(Sync),
    Heartbeat(Heartbeat),
    Leave(Vec<Leaver>),
    Commit(Commit),
    DeleteOffsets(Vec<OffsetToDelete>),
    Delete,
    /// Topics were deleted: their offsets go.
    ForgetTopics(Arc<BTreeSet<TopicId>>),
    /// Time to look for offsets that nobody will want any more.
    Expire {
        /// What the topics are called now whose offsets the group holds; none where a topic is gone.
        topics: BTreeMap<TopicId, Option<String>>,
        /// The time by which offsets are old; none while the clock is doubted.
        by_age_at: Option<Timestamp>,
    },
    /// A deadline has passed.
    Tick,
}

/// Who a member says it is: its id and, if it is static, its instance id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub member: MemberId,
    pub instance: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Join {
    /// None: a newcomer without an id.
    pub member: Option<MemberId>,
    pub instance: Option<String>,
    /// Whether a newcomer is told its id and asked to come again with it (JoinGroup 4 and up).
    pub confirms_its_id: bool,
    /// Whether a leader understands that it is to leave the assignment as it is (JoinGroup 9).
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
    /// From the leader only.
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
    /// An administrator removes whoever holds the instance id.
    Instance(String),
    /// Neither was given.
    Nobody,
}

#[derive(Clone, Debug)]
pub struct Commit {
    /// None: somebody who takes no part in the group.
    pub generation: Option<Generation>,
    pub who: Identity,
    /// Whether an unknown group is told from a wrong generation (OffsetCommit 9 and up).
    pub knows_group_not_found: bool,
    /// How long the commit itself asks to be kept (OffsetCommit 2 to 4).
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
    /// What the partition's topic is called: members subscribe by name.
    pub topic: Arc<str>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Join(Result<Joined, JoinRefusal>),
    Sync(Result<Synced, GroupError>),
    Heartbeat(Result<(), GroupError>),
    /// One for each who was to leave, in the order asked.
    Leave(Vec<Result<(), GroupError>>),
    /// One for each offset, in the order asked.
    Offsets(Result<Vec<Result<(), GroupError>>, GroupError>),
    Delete(Result<(), GroupError>),
    /// To what nobody asked from outside.
    Done,
}

/// A member is in the generation, and is to ask for its assignment now.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    pub member: MemberId,
    pub generation: Generation,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: MemberId,
    /// The leader is to leave the assignment as it is.
    pub skip_assignment: bool,
    /// For the leader only.
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
    /// The id to use from now on; empty: none.
    pub member: MemberId,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Synced {
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Opaque,
}

/// Why a group does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// Another broker answers for the group.
    NotCoordinator,
    /// A group needs a name here.
    NoGroupId,
    NoSuchGroup,
    UnknownMember,
    /// Another member holds this instance id.
    FencedInstance,
    IllegalGeneration,
    RebalanceInProgress,
    /// The member shares no protocol with all others, or means another one than was agreed on.
    InconsistentProtocol,
    SessionTimeoutOutOfRange,
    /// The newcomer has an id now and is to come again with it.
    MemberIdRequired,
    GroupFull,
    /// What the member says of itself exceeds [`Rules::member_bytes`].
    MemberTooLarge,
    OffsetMetadataTooLarge,
    /// The group has members.
    NotEmpty,
    /// A member reads the topic.
    SubscribedToTopic,
    /// The groups together hold as much as they may.
    NoRoom,
    /// Nothing can be stored at present, or nobody knows whether this was.
    NotStored,
}
