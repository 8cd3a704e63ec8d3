//! A member whose connection is held back cannot send anything (rule C18). That time does not count for its session. A
//! rebalance waits for it until it could have joined afterwards. Nothing is stored.

use std::time::Duration;

use super::step::Step;
use crate::kernel::group::MemberId;

pub(super) fn decide(step: &mut Step, id: MemberId, time: Duration) {
    let Some(member) = step.hard.member(&id) else { return };
    let until = step.occasion.session + time + member.session_timeout;
    step.soft.sessions.prolong(&id, time);
    if let Some(round) = step.soft.join_round.as_mut().filter(|_| !step.soft.joining.contains_key(&id)) {
        round.ends = round.ends.max(until);
    }
    if step.soft.unsynced.contains(&id) {
        step.soft.sync_deadline = step.soft.sync_deadline.map(|deadline| deadline.max(until));
    }
}
