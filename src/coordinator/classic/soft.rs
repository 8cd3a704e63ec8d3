//! The soft state of a classic group, which a coordinator may lose: waiting requests, sessions and deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::join::JoinReply;
use super::sync::SyncReply;
use crate::coordinator::deadlines::Deadlines;
use crate::kernel::group::{Group, MemberId, Phase};

/// All deadlines are times of the session clock.
#[derive(Debug, Default)]
pub struct Soft {
    /// Member ids that were given to newcomers, who have to join with them before the deadline.
    pub(super) pending: Deadlines<MemberId>,
    /// The memory that they take.
    pub(super) pending_bytes: usize,
    /// The end of each member's session. A member that waits for an answer has none, because it
    /// cannot send heartbeats. A newcomer has one even then: it may be gone without knowing its id.
    pub(super) sessions: Deadlines<MemberId>,
    /// The end of the time in which a member is held back and cannot send anything.
    pub(super) held: BTreeMap<MemberId, Duration>,
    /// Members whose JoinGroup is waiting; only in [`Phase::PreparingRebalance`].
    pub(super) joining: BTreeMap<MemberId, Joining>,
    /// Members whose SyncGroup is waiting; only in [`Phase::CompletingRebalance`].
    pub(super) syncing: BTreeMap<MemberId, SyncReply>,
    /// Members that have not sent the SyncGroup of this generation.
    pub(super) unsynced: BTreeSet<MemberId>,
    pub(super) join_round: Option<JoinRound>,
    /// The deadline for the SyncGroup of the unsynced members.
    pub(super) sync_deadline: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Joining {
    pub reply: JoinReply,
    /// The member is in no generation yet.
    pub newcomer: bool,
}

/// The period in which members have to join or rejoin.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinRound {
    pub ends: Duration,
    /// Set if the group was empty: it then waits for other members even if all known ones have
    /// joined.
    pub first: Option<FirstRound>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FirstRound {
    /// The length of the current delay.
    pub stretch: Duration,
    /// The time that remains for further delays.
    pub left: Duration,
    /// A member joined during this delay.
    pub grew: bool,
}

impl Soft {
    pub fn restored(hard: &Group, now: Duration) -> Soft {
        let mut soft = Soft::default();
        for (id, member) in hard.members() {
            soft.sessions.set(id.clone(), now + member.session_timeout);
        }
        let rebalance_ends = now + rebalance_timeout(hard);
        match hard.phase() {
            Phase::Empty { .. } | Phase::Stable => {}
            Phase::PreparingRebalance => {
                soft.join_round = Some(JoinRound { ends: rebalance_ends, first: None });
            }
            Phase::CompletingRebalance => {
                soft.unsynced = hard.members().keys().cloned().collect();
                soft.sync_deadline = Some(rebalance_ends);
            }
        }
        soft
    }
}

/// The time that members have to join or to sync: the largest rebalance timeout of all members.
pub(super) fn rebalance_timeout(hard: &Group) -> Duration {
    hard.members().values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
}
