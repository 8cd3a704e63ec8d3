//! One classic group: a pure state machine over opaque bytes.
//!
//! ```text
//!            join                     all are back, or time is up
//!   Empty ─────────▶ PreparingRebalance ─────────────▶ CompletingRebalance
//!     ▲                │    ▲      ▲                       │          │ the leader
//!     └────────────────┘    │      └── join, leave, death ─┘          ▼ assigned
//!        no members left    └──────────── join, leave, death ────── Stable
//! ```
//!
//! *Hard* state is the kernel's [`Group`]. A decision changes it only through `Group::apply`, with
//! the records that it returns. *Soft* state may be lost at any time: waiting requests and
//! sessions.

mod command;
mod commit;
mod delete;
mod delete_offsets;
mod describe;
mod expire;
mod heartbeat;
mod join;
mod leave;
mod rebalance;
mod rules;
mod soft;
mod static_member;
mod step;
mod subscription;
mod sync;
mod tick;
mod weight;

use std::sync::Arc;
use std::time::Duration;

pub use command::*;
pub use describe::{Description, GroupState, MemberDescription};
pub use rules::Rules;
use soft::Soft;
use step::Step;

use crate::kernel::group::{Group, GroupRecord};

/// A group in its coordinator.
#[derive(Clone, Debug, Default)]
pub struct ClassicGroup {
    hard: Arc<Group>,
    soft: Soft,
}

/// The result of a command.
#[derive(Debug, Default)]
pub struct Decision {
    /// The records for the journal. They are already applied to the group.
    pub records: Vec<GroupRecord>,
    /// The callers that get their answers now. All other callers wait for a later decision.
    pub answers: Vec<(Caller, Answer)>,
    /// The change of the group's size in bytes.
    pub grown: isize,
}

impl ClassicGroup {
    /// A group with the journal's state, after a start or a failed write. No request is waiting,
    /// and every member has its whole session timeout to send its next request.
    pub fn restored(hard: Arc<Group>, now: Duration) -> ClassicGroup {
        let soft = Soft::restored(&hard, now);
        ClassicGroup { hard, soft }
    }

    pub fn decide(&mut self, rules: &Rules, occasion: Occasion, command: Command) -> Decision {
        let mut step = Step::new(rules, &mut self.hard, &mut self.soft, occasion);
        match command {
            Command::Join { join, new_id } => join::decide(&mut step, join, new_id),
            Command::Sync(sync) => sync::decide(&mut step, sync),
            Command::Heartbeat(beat) => heartbeat::decide(&mut step, &beat),
            Command::Leave(leavers) => leave::decide(&mut step, &leavers),
            Command::Commit(commit) => commit::decide(&mut step, commit),
            Command::DeleteOffsets(asked) => delete_offsets::decide(&mut step, asked),
            Command::Delete => delete::decide(&mut step),
            Command::ForgetTopics(topics) => expire::forget_topics(&mut step, &topics),
            Command::Expire { topics, by_age_at } => expire::decide(&mut step, &topics, by_age_at),
            Command::Tick => tick::decide(&mut step),
        }
        step.decision
    }

    pub fn hard(&self) -> &Arc<Group> {
        &self.hard
    }

    /// Whether requests find the group.
    pub fn exists(&self) -> bool {
        self.hard.exists() || !self.soft.pending.is_empty()
    }

    /// Whether the group can be deleted at the cost only of members that have not joined yet.
    pub fn is_dispensable(&self) -> bool {
        self.hard.members().is_empty() && self.hard.offsets().is_empty()
    }

    /// The time of the next [`Command::Tick`], on the session clock.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.soft.next_deadline()
    }

    /// The approximate memory of the group in bytes.
    pub fn weight(&self) -> usize {
        weight::of_group(&self.hard)
            + self.soft.pending.keys().map(|id| weight::of_pending(id)).sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
