//! The state of a decision while it is made, for all kinds of group.

use super::{Decision, View, weight};
use crate::coordinator::machine::Occasion;
use crate::coordinator::reply::{After, Reply};
use crate::kernel::group::{Change, KeptGroup};

pub struct Step<'a> {
    pub view: &'a View,
    pub kept: &'a mut KeptGroup,
    pub occasion: Occasion,
    pub decision: Decision,
}

impl Step<'_> {
    pub fn record(&mut self, change: impl Into<Change>) {
        self.decision.record(self.kept, change.into());
    }
}

impl Decision {
    /// Applies a change to the coordinator's copy of the group, and keeps it for the journal.
    pub fn record(&mut self, kept: &mut KeptGroup, change: Change) {
        let before = weight::touched_by(kept, &change);
        kept.apply_one(&change);
        let after = weight::touched_by(kept, &change);
        self.grown += after.cast_signed() - before.cast_signed();
        self.changes.push(change);
    }

    /// All answers of a group wait for its last record, also refusals: they say something of the group.
    pub fn answer<A: Send + 'static>(&mut self, reply: Reply<A>, answer: A) {
        self.answers.push(reply.answer(answer, After::LastRecord));
    }
}
