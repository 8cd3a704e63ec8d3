//! What a coordinator may forget: who waits, who was heard from, and all deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::command::Caller;
use crate::kernel::group::{Group, MemberId, Phase};

/// Deadlines are times of the session clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Soft {
    /// Ids handed out to newcomers that have yet to join with them, and until when.
    pub pending: BTreeMap<MemberId, Duration>,
    /// Until when a member must be heard from. Who waits for an answer need not say anything, except
    /// a newcomer: it may be gone without ever having learnt its id.
    pub sessions: BTreeMap<MemberId, Duration>,
    /// Members whose JoinGroup waits; there are some in [`Phase::PreparingRebalance`] only.
    pub joining: BTreeMap<MemberId, Joining>,
    /// Members whose SyncGroup waits; in [`Phase::CompletingRebalance`] only.
    pub syncing: BTreeMap<MemberId, Caller>,
    /// Members that have not sent the SyncGroup of this generation.
    pub unsynced: BTreeSet<MemberId>,
    pub join_round: Option<JoinRound>,
    /// When those who are unsynced have had their time.
    pub sync_deadline: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Joining {
    pub caller: Caller,
    /// In no generation yet.
    pub newcomer: bool,
}

/// The time in which members are to join (again).
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinRound {
    pub ends: Duration,
    /// A group that was empty waits for company, even if all its members are there.
    pub first: Option<FirstRound>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FirstRound {
    /// How long this stretch of waiting is.
    pub stretch: Duration,
    /// How much more there may be.
    pub left: Duration,
    /// Somebody came during this stretch.
    pub grew: bool,
}

impl Soft {
    pub fn restored(hard: &Group, now: Duration) -> Soft {
        let mut soft = Soft::default();
        for (id, member) in hard.members() {
            soft.sessions.insert(id.clone(), now + member.session_timeout);
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

    pub fn next_deadline(&self) -> Option<Duration> {
        let sessions = self.sessions.values().chain(self.pending.values()).min().copied();
        let join = self.join_round.map(|round| round.ends);
        [sessions, join, self.sync_deadline].into_iter().flatten().min()
    }
}

/// How long members have to join or to sync: as long as the slowest of them asks for.
pub(super) fn rebalance_timeout(hard: &Group) -> Duration {
    hard.members().values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
}
