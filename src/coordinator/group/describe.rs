//! The description of a group for clients.

use crate::kernel::group::{MemberId, Opaque};

/// Kafka's names for a group's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl GroupState {
    pub const ALL: [GroupState; 4] = [
        GroupState::Empty,
        GroupState::PreparingRebalance,
        GroupState::CompletingRebalance,
        GroupState::Stable,
    ];

    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub state: GroupState,
    pub protocol_type: Option<String>,
    /// Only while the group is stable.
    pub protocol: Option<String>,
    pub members: Vec<MemberDescription>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemberDescription {
    pub id: MemberId,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Only while the group is stable.
    pub metadata: Opaque,
    pub assignment: Opaque,
}
