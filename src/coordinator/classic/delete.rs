//! DeleteGroups: removes a group without members, with its offsets.

use super::command::{Answer, GroupError};
use super::step::Step;
use crate::kernel::group::GroupRecord;

pub(super) fn decide(step: &mut Step) {
    let answer = if !step.hard.exists() && step.soft.pending.is_empty() {
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
    };
    step.answer(Answer::Delete(answer));
}
