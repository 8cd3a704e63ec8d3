//! A static member rejoins without its member id, after a restart of its process. The new process
//! gets the place of the old one, which is fenced from then on (KIP-345).

use super::join::{JoinReply, change_what_it_asks, keeps_its_protocol};
use super::step::Step;
use crate::coordinator::group::{GroupError, Join};
use crate::kernel::group::{GroupRecord, MemberId, Phase};

pub(super) fn take_over(step: &mut Step, twin: &MemberId, id: MemberId, join: Join, reply: JoinReply) {
    let leader_before = step.hard.leader().cloned().unwrap_or_default();
    let unsynced = step.soft.unsynced.contains(twin);
    step.forget(twin, GroupError::FencedInstance, twin);
    if unsynced {
        step.soft.unsynced.insert(id.clone());
    }
    step.record(GroupRecord::Replaced { old: twin.clone(), new: id.clone() });
    step.renew_session(&id);
    if let Err(error) = change_what_it_asks(step, &id, &join) {
        return step.refuse_join(reply, error, id);
    }
    if step.hard.phase() == Phase::Stable && keeps_its_protocol(step.hard) {
        return step_into_generation(step, &id, leader_before, join.can_skip_assignment, reply);
    }
    step.park_join(id, reply, false);
    step.rebalance_or_complete();
}

/// No rebalance: the new process gets the assignment of the old one.
fn step_into_generation(
    step: &mut Step,
    id: &str,
    leader_before: MemberId,
    can_skip_assignment: bool,
    reply: JoinReply,
) {
    let mut joined = step.joined(id);
    if can_skip_assignment {
        joined.skip_assignment = step.hard.leader().is_some_and(|leader| leader == id);
    } else {
        // A leader would compute an assignment, so an old client gets the previous leader's id
        // instead of its own.
        joined.leader = leader_before;
        joined.members = Vec::new();
    }
    step.answer(reply, Ok(joined));
}
