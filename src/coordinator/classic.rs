//! The classic kind of group: a pure state machine over opaque bytes.
//!
//! ```text
//!            join                     all are back, or time is up
//!   Empty ─────────▶ PreparingRebalance ─────────────▶ CompletingRebalance
//!     ▲                │    ▲      ▲                       │          │ the leader
//!     └────────────────┘    │      └── join, leave, death ─┘          ▼ assigned
//!        no members left    └──────────── join, leave, death ────── Stable
//! ```

mod commit;
#[cfg(test)]
mod convert;
mod delete;
mod delete_offsets;
mod describe;
mod expire;
mod heartbeat;
mod hold;
mod join;
mod leave;
mod rebalance;
mod soft;
mod static_member;
mod step;
mod subscription;
mod sync;
mod tick;

use std::time::Duration;

#[cfg(test)]
pub(super) use convert::{Parked, begin};
pub use soft::Soft;
use step::Step;
#[doc(hidden)]
pub use subscription::topics as subscribed_topics;

use super::group::{self, Command, Description, Flow, GroupState, Rulebook, weight};
use crate::kernel::Group;

impl Rulebook for Soft {
    fn decide(&mut self, step: &mut group::Step, command: Command) -> Flow {
        let mut step = Step::new(step, self);
        match command {
            Command::Join { request, new_id } => join::decide(&mut step, request, new_id),
            Command::Sync(request) => sync::decide(&mut step, request),
            Command::Heartbeat(request) => heartbeat::decide(&mut step, request),
            Command::Leave(request) => leave::decide(&mut step, request),
            Command::Commit(request) => commit::decide(&mut step, request),
            Command::CheckCommit(request) => commit::check_staged(&mut step, request),
            Command::DeleteOffsets(request) => delete_offsets::decide(&mut step, request),
            Command::Delete(request) => delete::decide(&mut step, request),
            Command::Rebalance(request) => rebalance::decide(&mut step, request),
            Command::MakeRoom => delete::make_room(&mut step),
            Command::Expire { by_age_at } => expire::decide(&mut step, by_age_at),
            Command::Hold { member, time } => hold::decide(&mut step, member, time),
            Command::Tick => tick::decide(&mut step),
            #[cfg(test)]
            Command::Enlist(request) => return group::roster::upgrade(step.soft.take_parked(), request),
            #[cfg(test)]
            Command::Computed { .. } => {}
        }
        Flow::Done
    }

    fn state(&self, hard: &Group) -> GroupState {
        describe::state(hard)
    }

    fn describe(&self, hard: &Group) -> Description {
        describe::describe(hard)
    }

    fn weigh_description(&self, hard: &Group) -> usize {
        describe::weigh(hard)
    }

    fn expects_members(&self) -> bool {
        !self.pending.is_empty()
    }

    fn next_deadline(&self) -> Option<Duration> {
        let join = self.join_round.map(|round| round.ends);
        let all = [self.sessions.next(), self.pending.next(), join, self.sync_deadline];
        all.into_iter().flatten().min()
    }

    fn weigh(&self, hard: &Group) -> usize {
        weight::of_members(hard) + self.pending_bytes
    }

    fn dismiss(&mut self) {
        self.joining.clear();
        self.syncing.clear();
    }
}

#[cfg(test)]
mod tests;
