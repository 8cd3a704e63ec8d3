//! A timer is a command that comes later: it handles all deadlines that have passed.

use super::step::Step;
use crate::kernel::group::MemberId;

pub(super) fn decide(step: &mut Step) {
    let now = step.occasion.session;
    pending_ids_expire(step);
    sessions_expire(step);
    if let Some(round) = step.soft.join_round.filter(|round| round.ends <= now) {
        step.join_round_ends(round);
    }
    if step.soft.sync_deadline.is_some_and(|deadline| deadline <= now) {
        those_who_never_synced_go(step);
    }
}

/// Drops ids whose newcomers have not joined in time.
fn pending_ids_expire(step: &mut Step) {
    let late = step.soft.pending.passed(step.occasion.session);
    for id in &late {
        step.expect_no_more(id);
    }
    if !late.is_empty() {
        step.complete_if_all_joined();
    }
}

fn sessions_expire(step: &mut Step) {
    let silent = step.soft.sessions.passed(step.occasion.session);
    if !silent.is_empty() {
        step.remove(silent);
        step.after_departure();
    }
}

/// Members that have not synced would block the partitions of the others for ever (rule C6).
fn those_who_never_synced_go(step: &mut Step) {
    step.soft.sync_deadline = None;
    let silent: Vec<MemberId> = std::mem::take(&mut step.soft.unsynced).into_iter().collect();
    if !silent.is_empty() {
        step.remove(silent);
        step.begin_rebalance();
    }
}
