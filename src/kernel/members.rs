//! The brokers that share a journal. A broker registers, and the position of its registration is its
//! *incarnation*: the author number of its entries until it registers again or is declared gone.
//!
//! The same entry can be stored twice, the second time much later. So a registration names the incarnation
//! before it, and the removal of a broker names its incarnation and the newest of its entries that was seen.
//!
//! # Every running broker writes at least once a second
//!
//! A broker without work has to write an empty entry, a *beat*. When the journal has had no entries for more than a
//! second (`GAP`), no broker is declared gone for the next five (`GRACE`), because all of them may only have waited
//! for the journal. If the last running broker wrote less often than once a second, each of its entries would come
//! after such a gap, and the others could never be declared gone. So the interval of beats is less than `GAP`, and a
//! setting for it must not allow more. Kafka's default of `broker.heartbeat.interval.ms`, two seconds, is too long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::{Gone, Refusal, Register};
use super::entry::Passed;
use crate::types::{NodeId, SharedMap, Timestamp};

/// If the journal had no entries for longer than this, silent brokers may only have waited for it. The interval of
/// beats has to be shorter.
const GAP: Duration = Duration::from_secs(1);
/// The time after a gap in which no broker is declared gone.
const GRACE: Duration = Duration::from_secs(5);

/// All brokers that ever registered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Members {
    by_node: SharedMap<NodeId, Member>,
    /// The journal's time of the last entry; `None` before the first.
    time: Option<Timestamp>,
    /// The journal's time of the first entry after the last gap; `None` if there was no gap.
    resumed: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The position of its last registration. It stays when the broker is gone.
    pub incarnation: u64,
    /// The random number of its last registration, by which the broker recognises it.
    pub nonce: u64,
    pub runs: bool,
    session: Duration,
    /// The sequence of its last entry; 0 before the first.
    pub sequence: u64,
    /// The position of its last entry, at first of its registration.
    pub last: u64,
    /// The journal's time of that entry.
    last_time: Timestamp,
}

impl Members {
    pub fn of(&self, node: NodeId) -> Option<&Member> {
        self.by_node.get(&node)
    }

    /// The running brokers, in ascending order.
    pub fn running(&self) -> Vec<NodeId> {
        self.by_node.iter().filter(|(_, member)| member.runs).map(|(node, _)| *node).collect()
    }

    /// The sequence of the author's last entry; `None` if the incarnation was replaced or is gone.
    pub(super) fn sequence_of(&self, incarnation: u64) -> Option<u64> {
        self.by_node.get(&self.node_of(incarnation)?).map(|member| member.sequence)
    }

    /// Whether an entry of this author may be applied.
    pub(super) fn judge(&self, author: u64, sequence: u64) -> Result<(), Passed> {
        let last = match author {
            // A broker that is not registered yet.
            0 => 0,
            incarnation => self.sequence_of(incarnation).ok_or(Passed::Fenced)?,
        };
        follows(last, sequence)
    }

    /// Called before an entry is applied. The journal stored it at the time `at`.
    pub(super) fn begin_entry(&mut self, at: Timestamp) {
        if self.time.is_some_and(|last| apart(last, at) > GAP) {
            self.resumed = Some(at);
        }
        self.time = Some(at);
    }

    /// Called after the entry of this author was applied.
    pub(super) fn end_entry(&mut self, author: u64, sequence: u64, position: u64) {
        let time = self.now();
        if let Some(member) = self.node_of(author).and_then(|node| self.by_node.get_mut(&node)) {
            (member.sequence, member.last, member.last_time) = (sequence, position, time);
        }
    }

    /// Registers a broker, in the entry at `position`.
    pub(super) fn register(&mut self, register: &Register, position: u64) -> Result<(), Refusal> {
        let Register { node, after, nonce, session } = *register;
        let before = self.by_node.get(&node);
        if before.map_or(0, |member| member.incarnation) != after {
            return Err(Refusal::OtherIncarnation);
        }
        let now = self.now();
        if before.is_some_and(|member| member.runs && apart(member.last_time, now) < member.session) {
            return Err(Refusal::BrokerRuns);
        }
        let member = Member {
            incarnation: position,
            nonce,
            runs: true,
            session,
            sequence: 0,
            last: position,
            last_time: now,
        };
        self.by_node.insert_mut(node, member);
        Ok(())
    }

    /// Declares a silent broker gone.
    pub(super) fn remove(&mut self, gone: &Gone) -> Result<(), Refusal> {
        let Gone { node, incarnation, last } = *gone;
        let now = self.now();
        let waited = self.resumed.is_some_and(|resumed| apart(resumed, now) < GRACE);
        let member =
            self.by_node.get(&node).filter(|member| member.runs && member.incarnation == incarnation);
        let member = member.ok_or(Refusal::OtherIncarnation)?;
        if member.last > last || waited {
            return Err(Refusal::BrokerRuns);
        }
        self.by_node.insert_mut(node, Member { runs: false, ..member.clone() });
        Ok(())
    }

    /// The running broker with this incarnation.
    fn node_of(&self, incarnation: u64) -> Option<NodeId> {
        let is_it = |member: &Member| member.runs && member.incarnation == incarnation;
        self.by_node.iter().find(|(_, member)| is_it(member)).map(|(node, _)| *node)
    }

    fn now(&self) -> Timestamp {
        self.time.unwrap_or_default()
    }
}

/// Whether this is the sequence after `last`.
pub(super) fn follows(last: u64, sequence: u64) -> Result<(), Passed> {
    match sequence {
        repeated if repeated <= last => Err(Passed::Repeated),
        next if next == last + 1 => Ok(()),
        _ => Err(Passed::Gap),
    }
}

/// The distance between two times of the journal in either direction, because its clock can go back.
fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}
