//! LeaveGroup: members leave, or an administrator removes them.

use std::collections::BTreeSet;

use super::step::Step;
use crate::coordinator::group::{GroupError, GroupRequest, Leave, Leaver};
use crate::kernel::group::MemberId;

pub(super) fn decide(step: &mut Step, request: GroupRequest<Leave>) {
    let GroupRequest { body: Leave(leavers), reply } = request;
    let mut answers = Vec::with_capacity(leavers.len());
    let mut gone = BTreeSet::new();
    let mut somebody_left = false;
    for leaver in &leavers {
        let found = find(step, leaver, &gone);
        somebody_left |= found.is_ok();
        answers.push(found.map(|member| gone.extend(member)));
    }
    if !gone.is_empty() {
        step.remove(gone.into_iter().collect());
    }
    if somebody_left {
        step.after_departure();
    }
    step.answer(reply, answers);
}

/// Finds the member; `None` if it only had an id and had not joined yet.
fn find(step: &mut Step, leaver: &Leaver, gone: &BTreeSet<MemberId>) -> Result<Option<MemberId>, GroupError> {
    let member = match leaver {
        Leaver::Nobody => return Err(GroupError::UnknownMember),
        Leaver::Instance(instance) => step.hard.instance(instance).ok_or(GroupError::UnknownMember)?.clone(),
        Leaver::Member(who) if step.expect_no_more(&who.member) => return Ok(None),
        Leaver::Member(who) => {
            step.check_identity(who)?;
            who.member.clone()
        }
    };
    if gone.contains(&member) {
        return Err(GroupError::UnknownMember);
    }
    Ok(Some(member))
}
