//! The state of a decision while it is made, for all kinds of group.

use std::sync::Arc;

use super::{Decision, View, weight};
use crate::coordinator::machine::Occasion;
use crate::coordinator::reply::{After, Reply};
use crate::kernel;
use crate::kernel::group::GroupRecord;

pub struct Step<'a> {
    pub view: &'a View,
    pub hard: &'a mut Arc<kernel::Group>,
    pub occasion: Occasion,
    pub decision: Decision,
}

impl Decision {
    /// Applies a record to the coordinator's copy of the group, and keeps it for the journal.
    pub fn record(&mut self, hard: &mut Arc<kernel::Group>, record: GroupRecord) {
        let before = weight::touched_by(hard, &record);
        Arc::make_mut(hard).apply(&record);
        let after = weight::touched_by(hard, &record);
        self.grown += after.cast_signed() - before.cast_signed();
        self.changes.push(record);
    }

    /// All answers of a group wait for its last record, also refusals: they say something of the group.
    pub fn answer<A: Send + 'static>(&mut self, reply: Reply<A>, answer: A) {
        self.answers.push(reply.answer(answer, After::LastRecord));
    }
}
