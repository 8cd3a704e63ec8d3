//! DeleteGroups: removes a group without members, with its offsets.

use super::step::Step;
use crate::coordinator::group::{Asked, Delete, GroupError};
use crate::kernel::group::GroupRecord;

pub(super) fn decide(step: &mut Step, asked: Asked<Delete>) {
    let answer = delete(step);
    step.answer(asked.reply, answer);
}

pub(super) fn delete(step: &mut Step) -> Result<(), GroupError> {
    if !step.kept.group.exists() && step.soft.pending.is_empty() {
        Err(GroupError::NoSuchGroup)
    } else if !step.is_empty() {
        Err(GroupError::NotEmpty)
    } else {
        for id in step.soft.pending.keys().cloned().collect::<Vec<_>>() {
            step.expect_no_more(&id);
        }
        if step.kept.group.exists() {
            step.record(GroupRecord::Deleted);
        }
        Ok(())
    }
}
