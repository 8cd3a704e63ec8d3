//! Heartbeat: keeps a member's session alive and tells it when to rejoin. Nothing is stored.

use super::step::Step;
use crate::coordinator::group::{Asked, GroupError, Heartbeat};
use crate::kernel::group::Phase;

pub(super) fn decide(step: &mut Step, asked: Asked<Heartbeat>) {
    let answer = answer(step, &asked.what);
    step.answer(asked.reply, answer);
}

fn answer(step: &mut Step, beat: &Heartbeat) -> Result<(), GroupError> {
    step.check_identity(&beat.who)?;
    if beat.generation != step.hard.generation() {
        return Err(GroupError::IllegalGeneration);
    }
    match step.hard.phase() {
        Phase::Empty { .. } => Err(GroupError::UnknownMember),
        Phase::PreparingRebalance => {
            step.heard_from(&beat.who.member);
            Err(GroupError::RebalanceInProgress)
        }
        Phase::CompletingRebalance | Phase::Stable => {
            step.heard_from(&beat.who.member);
            Ok(())
        }
    }
}
