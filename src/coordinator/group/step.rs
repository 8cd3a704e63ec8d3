//! The state of a decision while it is made, for all kinds of group.

use std::sync::Arc;

use super::{Decision, View, weight};
use crate::coordinator::machine::Occasion;
use crate::coordinator::reply::{After, Reply};
use crate::kernel;
use crate::kernel::group::{Change, GroupRecord};
use crate::kernel::offsets::OffsetChange;

pub struct Step<'a> {
    pub view: &'a View<'a>,
    pub hard: &'a mut Arc<kernel::Group>,
    pub occasion: Occasion,
    pub decision: Decision,
}

impl Step<'_> {
    pub fn record(&mut self, record: GroupRecord) {
        self.decision.record(self.view.name, self.hard, record);
    }

    pub fn done(mut self) -> Decision {
        if !self.decision.changes.is_empty() {
            kernel::Group::end_command(self.hard, &self.decision.changes);
            self.decision.grown += weight::in_kernel(self.view.name, self.hard).cast_signed();
        }
        self.decision
    }
}

impl Decision {
    /// Applies a record to the coordinator's copy of the group, and keeps it for the journal.
    pub fn record(&mut self, name: &str, group: &mut Arc<kernel::Group>, record: GroupRecord) {
        self.keep(name, group, record.into());
    }

    /// Keeps a change of the group's offsets.
    pub fn change_offsets(&mut self, name: &str, group: &mut Arc<kernel::Group>, change: OffsetChange) {
        self.keep(name, group, change.into());
    }

    fn keep(&mut self, name: &str, group: &mut Arc<kernel::Group>, change: Change) {
        if self.changes.is_empty() {
            // `Step::done` adds the memory that the group takes in the end.
            self.grown -= weight::in_kernel(name, group).cast_signed();
        }
        kernel::Group::change(group, &change);
        self.changes.push(change);
    }

    /// All answers of a group wait for its last record, also refusals: they say something of the group.
    pub fn answer<A: Send + 'static>(&mut self, reply: Reply<A>, answer: A) {
        self.answers.push(reply.answer(answer, After::LastRecord));
    }
}
