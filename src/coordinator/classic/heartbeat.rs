//! Heartbeat: keeps a member's session alive and tells it when to rejoin. Nothing is stored.

use super::step::Step;
use crate::coordinator::group::{GroupError, GroupRequest, Heartbeat};
use crate::kernel::group::Phase;

pub(super) fn decide(step: &mut Step, request: GroupRequest<Heartbeat>) {
    let answer = answer(step, &request.body);
    step.answer(request.reply, answer);
}

fn answer(step: &mut Step, beat: &Heartbeat) -> Result<(), GroupError> {
    step.check_identity(&beat.who)?;
    if beat.generation != step.hard.generation() {
        return Err(GroupError::IllegalGeneration);
    }
    match step.hard.phase() {
        Phase::Empty { .. } => Err(GroupError::UnknownMember),
        Phase::PreparingRebalance => {
            step.renew_session(&beat.who.member);
            Err(GroupError::RebalanceInProgress)
        }
        Phase::CompletingRebalance | Phase::Stable => {
            step.renew_session(&beat.who.member);
            Ok(())
        }
    }
}
