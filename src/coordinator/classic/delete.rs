//! DeleteGroups: removes a group without members, with its offsets.

use super::step::Step;
use super::tick;
use crate::coordinator::group::{Delete, GroupError, GroupRequest};
use crate::kernel::group::GroupRecord;

pub(super) fn decide(step: &mut Step, request: GroupRequest<Delete>) {
    // A member whose session has ended does not keep the group, even if its timer has not fired yet.
    tick::decide(step);
    let answer = delete(step, GroupRecord::Deleted);
    step.answer(request.reply, answer);
}

/// Deletes the group if it has no members and no offsets. The view may lack some until the last record has settled.
pub(super) fn make_room(step: &mut Step) {
    if step.occasion.settled && step.view.offsets().is_empty() {
        // A group with members stays.
        let _ = delete(step, GroupRecord::Expired);
    }
}

fn delete(step: &mut Step, deletion: GroupRecord) -> Result<(), GroupError> {
    if !step.hard.exists() && step.soft.pending.is_empty() {
        Err(GroupError::NoSuchGroup)
    } else if !step.is_empty() {
        Err(GroupError::NotEmpty)
    } else {
        for id in step.soft.pending.keys().cloned().collect::<Vec<_>>() {
            step.expect_no_more(&id);
        }
        if step.hard.exists() {
            step.record(deletion);
        }
        Ok(())
    }
}
