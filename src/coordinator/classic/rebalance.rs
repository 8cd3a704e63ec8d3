//! A rebalance: from one generation to the next.

use std::collections::BTreeSet;
use std::time::Duration;

use super::soft::{FirstRound, JoinRound, rebalance_timeout};
use super::step::Step;
use crate::coordinator::group::{GroupError, GroupRequest, Joined, JoinedMember, Rebalance};
use crate::kernel::group::{Generation, Group, GroupRecord, Member, MemberId, Phase};

/// The shortest wait before a group without present members checks again whether one is back.
const A_LITTLE: Duration = Duration::from_secs(1);

/// Starts a rebalance that a test wants; one that is under way goes on.
pub(super) fn decide(step: &mut Step, request: GroupRequest<Rebalance>) {
    let answer = match step.hard.phase() {
        Phase::Empty { .. } => Err(GroupError::UnknownMember),
        Phase::PreparingRebalance => Ok(()),
        Phase::CompletingRebalance | Phase::Stable => {
            step.begin_rebalance();
            Ok(())
        }
    };
    step.answer(request.reply, answer);
}

impl Step<'_> {
    /// A member joined, or changed its protocols.
    pub fn rebalance_or_complete(&mut self) {
        match self.hard.phase() {
            Phase::PreparingRebalance => self.complete_if_all_joined(),
            Phase::Empty { .. } | Phase::CompletingRebalance | Phase::Stable => self.begin_rebalance(),
        }
    }

    /// Members have left or were removed.
    pub fn after_departure(&mut self) {
        match self.hard.phase() {
            Phase::Empty { .. } => {}
            Phase::PreparingRebalance => self.complete_if_all_joined(),
            Phase::CompletingRebalance | Phase::Stable => self.begin_rebalance(),
        }
    }

    /// Starts a rebalance: all members have to rejoin.
    pub fn begin_rebalance(&mut self) {
        for (id, reply) in std::mem::take(&mut self.soft.syncing) {
            self.answer(reply, Err(GroupError::RebalanceInProgress));
            self.renew_session(&id);
        }
        self.soft.unsynced.clear();
        self.soft.sync_deadline = None;

        let now = self.occasion.session;
        let timeout = rebalance_timeout(self.hard);
        if self.is_empty() {
            let delay = self.view.rules.initial_delay;
            let first = FirstRound { stretch: delay, left: timeout.saturating_sub(delay), grew: false };
            self.soft.join_round = Some(JoinRound { ends: now + delay, first: Some(first) });
            self.record(GroupRecord::RebalanceBegun);
        } else {
            let ends = self.with_held(now + timeout);
            self.soft.join_round = Some(JoinRound { ends, first: None });
            self.record(GroupRecord::RebalanceBegun);
            self.complete_if_all_joined();
        }
    }

    /// Completes the round early if all members have joined. The first round of a group always
    /// takes its full delay.
    pub fn complete_if_all_joined(&mut self) {
        let waits_for_company = self.soft.join_round.is_some_and(|round| round.first.is_some());
        let all_joined =
            self.soft.joining.len() == self.hard.members().size() && self.soft.pending.is_empty();
        if self.hard.phase() == Phase::PreparingRebalance && !waits_for_company && all_joined {
            self.complete_join_round();
        }
    }

    /// A delay has passed. In the first round another delay follows if a member joined during this
    /// one, up to the rebalance timeout.
    pub fn join_round_ends(&mut self, round: JoinRound) {
        let now = self.occasion.session;
        match round.first {
            Some(first) if first.grew && !first.left.is_zero() => {
                let stretch = self.view.rules.initial_delay.min(first.left);
                let left = first.left.saturating_sub(first.stretch);
                let first = FirstRound { stretch, left, grew: false };
                self.soft.join_round = Some(JoinRound { ends: now + stretch, first: Some(first) });
            }
            _ => self.complete_join_round(),
        }
    }

    /// The members that have joined form the next generation. A missing static member keeps its
    /// place until its session ends; a missing dynamic member is removed.
    fn complete_join_round(&mut self) {
        let missing = |id: &&MemberId| !self.soft.joining.contains_key(*id);
        let dynamic = |id: &&MemberId| self.hard.member(id).is_some_and(|member| member.instance.is_none());
        let stragglers: Vec<MemberId> =
            self.hard.members().keys().filter(missing).filter(dynamic).cloned().collect();
        if !stragglers.is_empty() {
            self.remove(stragglers);
        }
        let generation = next(self.hard.generation());
        if self.hard.members().is_empty() {
            self.soft.join_round = None;
            self.record(GroupRecord::Emptied { generation, at: self.view.now() });
            return;
        }
        let now = self.occasion.session;
        let timeout = rebalance_timeout(self.hard);
        let Some(leader) = self.elect_leader() else {
            // Only static members are left and none has rejoined. They stay until their sessions
            // expire.
            self.soft.join_round = Some(JoinRound { ends: now + timeout.max(A_LITTLE), first: None });
            return;
        };
        self.soft.join_round = None;
        let protocol = elect_protocol(self.hard).unwrap_or_default();
        self.record(GroupRecord::GenerationBegun { generation, protocol, leader });
        self.soft.unsynced = self.hard.members().keys().cloned().collect();
        self.soft.sync_deadline = Some(now + timeout);
        for (id, joining) in std::mem::take(&mut self.soft.joining) {
            let joined = self.joined(&id);
            self.answer(joining.reply, Ok(joined));
        }
        for id in self.soft.unsynced.clone() {
            self.renew_session(&id);
        }
    }

    /// The old leader if it has joined, else the member that has waited longest.
    fn elect_leader(&self) -> Option<MemberId> {
        let joining = &self.soft.joining;
        if let Some(leader) = self.hard.leader()
            && joining.contains_key(leader)
        {
            return Some(leader.clone());
        }
        joining.iter().min_by_key(|(_, joining)| joining.reply.number()).map(|(id, _)| id.clone())
    }

    /// The JoinGroup answer for a member of the current generation.
    pub fn joined(&self, id: &str) -> Joined {
        let leader = self.hard.leader().cloned().unwrap_or_default();
        let members = if leader == id { self.members_for_leader() } else { Vec::new() };
        Joined {
            member: id.to_owned(),
            generation: self.hard.generation(),
            protocol_type: self.hard.protocol_type().map(str::to_owned),
            protocol: self.hard.protocol().map(str::to_owned),
            leader,
            skip_assignment: false,
            members,
        }
    }

    fn members_for_leader(&self) -> Vec<JoinedMember> {
        let protocol = self.hard.protocol().unwrap_or_default();
        let joined = |(id, member): (&MemberId, &Member)| JoinedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol).cloned().unwrap_or_default(),
        };
        self.hard.members().iter().map(joined).collect()
    }
}

/// The candidates are the protocols that all members support. Each member votes for its favourite.
/// If several have the most votes, the one that was voted for first wins; members vote in the order
/// of their ids.
pub(super) fn elect_protocol(group: &Group) -> Option<String> {
    let mut votes: Vec<(&str, usize)> = Vec::new();
    let first = group.members().values().next()?;
    let candidates: BTreeSet<&str> = first
        .protocols
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| group.all_support(name))
        .collect();
    for member in group.members().values() {
        let mut liked = member.protocols.iter().map(|(name, _)| name.as_str());
        let Some(choice) = liked.find(|name| candidates.contains(name)) else { continue };
        match votes.iter_mut().find(|(name, _)| *name == choice) {
            Some((_, count)) => *count += 1,
            None => votes.push((choice, 1)),
        }
    }
    let most = votes.iter().map(|(_, count)| *count).max()?;
    votes.iter().find(|(_, count)| *count == most).map(|(name, _)| (*name).to_owned())
}

fn next(generation: Generation) -> Generation {
    Generation(generation.0.checked_add(1).unwrap_or(1))
}
