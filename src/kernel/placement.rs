//! The placement of a partition: its replicas, leader, ISR and ELR. All brokers of a process share one
//! copy of the log, so a running replica is in the ISR as soon as there is a leader. Otherwise the rules
//! are those of Kafka's controller (`PartitionChangeBuilder`, KIP-966).
//!
//! Brokers that share a journal can all read all bytes. So any running replica may lead, and if none runs,
//! another broker leads and is the only one in the ISR. The ELR is always empty.
//!
//! Invariant: replicas are distinct, and there is at least one. With a leader, the leader runs and the
//! ISR has the running replicas, or only the leader if none runs. Without one, the ISR is empty and the last
//! leader is known. Then none of the ELR runs, and in one process the ELR is not empty. ELR and ISR have no
//! common member.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::Refusal;
use super::mix;
use crate::config::{Changes, Overrides};
use crate::types::{NodeId, TopicId};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Placement {
    /// The first one is the preferred leader.
    pub replicas: Vec<NodeId>,
    pub leader: Option<NodeId>,
    pub isr: Vec<NodeId>,
    /// Eligible leader replicas, in ascending order. They left the ISR when it was too small for
    /// acknowledgements without them, so they may lead without a loss.
    pub elr: Vec<NodeId>,
    /// The last leader before the partition had none.
    pub last_leader: Option<NodeId>,
}

/// The settings for elections; a topic's own settings take precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Election {
    /// `min.insync.replicas`
    pub min_insync: u32,
    /// `unclean.leader.election.enable`: whether a replica that is neither in the ISR nor in the ELR may
    /// lead.
    pub unclean: bool,
}

impl Default for Election {
    /// Kafka's defaults.
    fn default() -> Election {
        Election { min_insync: 1, unclean: false }
    }
}

const MIN_INSYNC: &str = "min.insync.replicas";
const UNCLEAN: &str = "unclean.leader.election.enable";

impl Election {
    /// Whether the changes include a setting for elections.
    pub(super) fn is_decided_by(changes: &Changes) -> bool {
        changes.contains_key(MIN_INSYNC) || changes.contains_key(UNCLEAN)
    }

    /// These rules, overridden by `settings`.
    pub(super) fn under(self, settings: &Overrides) -> Election {
        let min_insync = settings.get(MIN_INSYNC).and_then(|number| number.trim().parse().ok());
        let unclean = settings.get(UNCLEAN).map(|flag| flag.trim().eq_ignore_ascii_case("true"));
        Election {
            min_insync: min_insync.unwrap_or(self.min_insync),
            unclean: unclean.unwrap_or(self.unclean),
        }
    }
}

impl Placement {
    /// A new placement: all running replicas are in the ISR, and the first of them leads.
    pub(super) fn new(replicas: &[NodeId], running: &[NodeId]) -> Result<Placement, Refusal> {
        let distinct: BTreeSet<NodeId> = replicas.iter().copied().collect();
        if replicas.is_empty() || distinct.len() != replicas.len() {
            return Err(Refusal::Malformed);
        }
        let isr = among(replicas, running);
        let leader = *isr.first().ok_or(Refusal::NoReplicaRuns)?;
        let replicas = replicas.to_vec();
        Ok(Placement { replicas, leader: Some(leader), isr, elr: Vec::new(), last_leader: None })
    }

    /// The placement after a change of the running brokers or of the rules.
    pub(super) fn follow(&self, running: &[NodeId], rules: Election) -> Placement {
        let mut next = self.clone();
        next.set_isr(among(&self.isr, running), rules);
        next.elect(running, rules.unclean);
        if next.leader.is_some() {
            next.set_isr(among(&self.replicas, running), rules);
        }
        next
    }

    /// The placement after a change of the running brokers, all of which can read the partition's bytes.
    pub(super) fn follow_with_shared_bytes(
        &self,
        partition: (TopicId, i32),
        running: &[NodeId],
    ) -> Placement {
        let isr = among(&self.replicas, running);
        let stays = self.leader.filter(|leader| isr.contains(leader));
        let another = || {
            let guest = self.leader.filter(|leader| running.contains(leader));
            guest.or_else(|| running.iter().copied().max_by_key(|node| weight(partition, *node)))
        };
        let leader = stays.or(isr.first().copied()).or_else(another);
        let last_leader = if leader.is_some() { None } else { self.leader.or(self.last_leader) };
        let isr = if isr.is_empty() { leader.into_iter().collect() } else { isr };
        Placement { replicas: self.replicas.clone(), leader, isr, elr: Vec::new(), last_leader }
    }

    /// Sets the ISR. If it becomes smaller than `min.insync.replicas`, the replicas that leave it stay
    /// eligible.
    fn set_isr(&mut self, isr: Vec<NodeId>, rules: Election) {
        let enough = usize::try_from(rules.min_insync).unwrap_or(usize::MAX).clamp(1, self.replicas.len());
        let eligible: BTreeSet<NodeId> = if isr.len() < enough {
            self.elr.iter().chain(&self.isr).copied().filter(|node| !isr.contains(node)).collect()
        } else {
            BTreeSet::new()
        };
        self.elr = eligible.into_iter().collect();
        self.isr = isr;
    }

    /// Elects a leader. A leader in the ISR stays. Otherwise the first running replica in ISR or ELR
    /// becomes leader, or in an unclean election the first running replica.
    fn elect(&mut self, running: &[NodeId], unclean: bool) {
        if self.leader.is_some_and(|leader| self.isr.contains(&leader)) {
            return;
        }
        let run = among(&self.replicas, running);
        let has_all = |node: &&NodeId| self.isr.contains(node) || self.elr.contains(node);
        let clean = run.iter().find(has_all).copied();
        let leader = clean.or(run.first().copied().filter(|_| unclean));
        match leader {
            Some(node) if self.isr.contains(&node) => {}
            Some(node) => {
                self.elr.retain(|other| clean.is_some() && *other != node);
                self.isr = vec![node];
            }
            None => self.last_leader = self.leader.or(self.last_leader),
        }
        if leader.is_some() {
            self.last_leader = None;
        }
        self.leader = leader;
    }

    /// The placement after a reassignment. The leader stays if it is still a replica.
    pub(super) fn moved_to(
        &self,
        replicas: &[NodeId],
        running: &[NodeId],
        rules: Election,
    ) -> Result<Placement, Refusal> {
        let new = Placement::new(replicas, running)?;
        let stays = self.leader.filter(|leader| new.isr.contains(leader));
        let mut moved = Placement {
            leader: stays.or(new.leader),
            isr: Vec::new(),
            elr: among(&self.elr, replicas),
            ..new
        };
        moved.set_isr(among(replicas, running), rules);
        Ok(moved)
    }

    /// Makes the first replica the leader; `None` if it already is.
    pub(super) fn led_by_preferred(&self) -> Result<Option<Placement>, Refusal> {
        let preferred = self.replicas.first().copied();
        match preferred.filter(|preferred| self.isr.contains(preferred) && self.leader.is_some()) {
            None => Err(Refusal::PreferredNotAvailable),
            leader if leader == self.leader => Ok(None),
            leader => Ok(Some(Placement { leader, ..self.clone() })),
        }
    }

    /// An unclean election: makes any running replica the leader if there is none; `None` if there is
    /// one.
    pub(super) fn led_by_any(
        &self,
        running: &[NodeId],
        rules: Election,
    ) -> Result<Option<Placement>, Refusal> {
        if self.leader.is_some() {
            return Ok(None);
        }
        let elected = self.follow(running, Election { unclean: true, ..rules });
        elected.leader.ok_or(Refusal::NoEligibleLeader)?;
        Ok(Some(elected))
    }

    /// Whether this begins a new leader epoch. As in Kafka, the removal of a replica does so too.
    pub(super) fn begins_an_epoch_after(&self, before: &Placement) -> bool {
        let one_is_gone = || before.replicas.iter().any(|replica| !self.replicas.contains(replica));
        self.leader != before.leader || one_is_gone()
    }
}

/// The broker with the highest weight leads a partition whose replicas are away (rendezvous hashing).
fn weight((topic, index): (TopicId, i32), node: NodeId) -> u64 {
    let words = [&topic.0[..], &index.to_be_bytes(), &node.0.to_be_bytes()];
    // A checksum alone would order the brokers in the same way for all partitions.
    mix(0, u64::from(words.into_iter().fold(0, crc32c::crc32c_append)))
}

pub(super) fn among(these: &[NodeId], others: &[NodeId]) -> Vec<NodeId> {
    these.iter().filter(|node| others.contains(node)).copied().collect()
}

/// Shares equal placements in memory, because there may be a hundred thousand partitions.
#[derive(Default)]
pub(super) struct Shared(BTreeSet<Arc<Placement>>);

impl Shared {
    pub(super) fn one(&mut self, placement: Placement) -> Arc<Placement> {
        match self.0.get(&placement) {
            Some(known) => Arc::clone(known),
            None => {
                let fresh = Arc::new(placement);
                self.0.insert(Arc::clone(&fresh));
                fresh
            }
        }
    }
}

/// Replicas for new partitions, distributed as in Kafka. The leaders go round the brokers. In each round
/// the followers have another distance from the leader, so that the load of a stopped broker is
/// distributed over all others. `start` selects the first leader. `factor` is at most the number of
/// brokers.
pub fn spread(brokers: &[NodeId], partitions: u32, factor: usize, start: u64) -> Vec<Vec<NodeId>> {
    let n = brokers.len();
    let at = |place: usize| brokers.get(place % n.max(1)).copied();
    let first = usize::try_from(start % (n.max(1) as u64)).unwrap_or(0);
    let place = |partition: usize| {
        let leader = first + partition;
        let shift = if n > 1 { (first + partition / n) % (n - 1) } else { 0 };
        let follower = move |nth: usize| leader + 1 + (shift + nth) % (n - 1).max(1);
        let places = std::iter::once(leader).chain((1..factor).map(move |nth| follower(nth - 1)));
        places.filter_map(at).collect()
    };
    (0..partitions as usize).map(place).collect()
}
