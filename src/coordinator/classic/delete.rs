//! DeleteGroups: removes a group without members, with its offsets.

use super::step::Step;
use crate::coordinator::group::{Asked, Delete, GroupError};
use crate::kernel::group::GroupRecord;

pub(super) fn decide(step: &mut Step, asked: Asked<Delete>) {
    let answer = delete(step);
    step.answer(asked.reply, answer);
}

/// Deletes the group if it has no members and no offsets.
pub(super) fn make_room(step: &mut Step) {
    // While a record has not settled, it may be a commit.
    if step.occasion.settled && step.view.offsets().is_empty() {
        // A group with members stays.
        let _ = delete(step);
    }
}

fn delete(step: &mut Step) -> Result<(), GroupError> {
    if !step.hard.exists() && step.soft.pending.is_empty() {
        Err(GroupError::NoSuchGroup)
    } else if !step.is_empty() {
        Err(GroupError::NotEmpty)
    } else {
        for id in step.soft.pending.keys().cloned().collect::<Vec<_>>() {
            step.expect_no_more(&id);
        }
        if step.hard.exists() {
            step.record(GroupRecord::Deleted);
        }
        Ok(())
    }
}
