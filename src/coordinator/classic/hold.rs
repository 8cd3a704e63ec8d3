//! A member whose connection is held back cannot send anything (rule C18). That time does not count for its session. A
//! rebalance, also one that begins meanwhile, waits until the member could have joined afterwards. Nothing is stored.

use std::time::Duration;

use super::step::Step;
use crate::kernel::group::MemberId;

pub(super) fn decide(step: &mut Step, id: MemberId, time: Duration) {
    let Some(member) = step.hard.member(&id) else { return };
    let held_until = step.occasion.session + time;
    let until = held_until + member.session_timeout;
    step.soft.sessions.prolong(&id, time);
    let held = step.soft.held.entry(id.clone()).or_default();
    *held = held_until.max(*held);
    if let Some(round) = step.soft.join_round.as_mut().filter(|_| !step.soft.joining.contains_key(&id)) {
        round.ends = round.ends.max(until);
    }
    if step.soft.unsynced.contains(&id) {
        step.soft.sync_deadline = step.soft.sync_deadline.map(|deadline| deadline.max(until));
    }
}

impl Step<'_> {
    /// The end of a join round that begins now: `ends`, or later because of members that are held back.
    pub(super) fn with_held(&self, ends: Duration) -> Duration {
        let now = self.occasion.session;
        let missing = self.soft.held.iter().filter(|(id, _)| !self.soft.joining.contains_key(*id));
        let held = missing.filter(|(_, until)| **until > now);
        let can_join = held.filter_map(|(id, until)| Some(*until + self.hard.member(id)?.session_timeout));
        can_join.fold(ends, Duration::max)
    }
}
