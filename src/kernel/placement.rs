//! Where a partition is said to be: its replicas, who of them leads, who is in step. All brokers of
//! a process share one copy of the log, so a replica that runs is in step at once; otherwise the
//! rules are those of Kafka's controller (`PartitionChangeBuilder`) without unclean elections.
//!
//! Invariant: replicas are distinct and there is one at least; the leader runs and is in the ISR;
//! while nobody leads the ISR holds those who were last in step, and none of them runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::Refusal;
use crate::types::NodeId;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Placement {
    /// The first one is the preferred leader.
    pub replicas: Vec<NodeId>,
    pub leader: Option<NodeId>,
    pub isr: Vec<NodeId>,
}

impl Placement {
    /// Placed anew: whoever runs is in step, the first of them leads.
    pub(super) fn new(replicas: &[NodeId], running: &[NodeId]) -> Result<Placement, Refusal> {
        let distinct: BTreeSet<NodeId> = replicas.iter().copied().collect();
        if replicas.is_empty() || distinct.len() != replicas.len() {
            return Err(Refusal::Malformed);
        }
        let isr = among(replicas, running);
        let leader = *isr.first().ok_or(Refusal::NoReplicaRuns)?;
        Ok(Placement { replicas: replicas.to_vec(), leader: Some(leader), isr })
    }

    /// What becomes of it when other brokers run.
    pub(super) fn follow(&self, running: &[NodeId]) -> Placement {
        let in_step = among(&self.isr, running);
        if in_step.is_empty() {
            return Placement { leader: None, ..self.clone() };
        }
        let stays = self.leader.filter(|leader| in_step.contains(leader));
        let next = self.replicas.iter().find(|replica| in_step.contains(replica)).copied();
        Placement {
            replicas: self.replicas.clone(),
            leader: stays.or(next),
            isr: among(&self.replicas, running),
        }
    }

    /// A reassignment. A leader that remains leads on.
    pub(super) fn moved_to(&self, replicas: &[NodeId], running: &[NodeId]) -> Result<Placement, Refusal> {
        let moved = Placement::new(replicas, running)?;
        let stays = self.leader.filter(|leader| moved.isr.contains(leader));
        Ok(Placement { leader: stays.or(moved.leader), ..moved })
    }

    /// The first replica leads again; none where it does already.
    pub(super) fn led_by_preferred(&self) -> Result<Option<Placement>, Refusal> {
        let preferred = self.replicas.first().copied();
        match preferred.filter(|preferred| self.isr.contains(preferred) && self.leader.is_some()) {
            None => Err(Refusal::PreferredNotAvailable),
            leader if leader == self.leader => Ok(None),
            leader => Ok(Some(Placement { leader, ..self.clone() })),
        }
    }

    /// Whether this is another leadership: as in Kafka also where a replica was taken away.
    pub(super) fn begins_an_epoch_after(&self, before: &Placement) -> bool {
        let one_is_gone = || before.replicas.iter().any(|replica| !self.replicas.contains(replica));
        self.leader != before.leader || one_is_gone()
    }
}

pub(super) fn among(these: &[NodeId], others: &[NodeId]) -> Vec<NodeId> {
    these.iter().filter(|node| others.contains(node)).copied().collect()
}

/// Equal placements are one in memory: there may be a hundred thousand partitions.
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

/// Replicas for new partitions, as Kafka spreads them: leaders go round the brokers, and each time
/// round the followers stand at another distance, so that the load of a broker that stops falls on
/// all others. `start` says who begins. `factor` is at most the number of brokers.
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
