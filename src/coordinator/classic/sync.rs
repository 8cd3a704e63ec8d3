//! SyncGroup: the leader sends the assignments, and every member gets its own.

use std::collections::BTreeMap;

use super::step::Step;
use super::subscription;
use crate::coordinator::group::{GroupError, GroupRequest, Sync, Synced};
use crate::coordinator::reply::Reply;
use crate::kernel::group::{GroupRecord, MemberId, Opaque, Phase};

pub(super) type SyncReply = Reply<Result<Synced, GroupError>>;

pub(super) fn decide(step: &mut Step, request: GroupRequest<Sync>) {
    let GroupRequest { body: sync, reply } = request;
    if let Err(error) = check(step, &sync) {
        return step.answer(reply, Err(error));
    }
    match step.hard.phase() {
        Phase::Empty { .. } => step.answer(reply, Err(GroupError::UnknownMember)),
        Phase::PreparingRebalance => step.answer(reply, Err(GroupError::RebalanceInProgress)),
        Phase::CompletingRebalance => take_part(step, sync, reply),
        Phase::Stable => {
            has_synced(step, &sync.who.member);
            step.renew_session(&sync.who.member);
            let synced = synced(step, &sync.who.member);
            step.answer(reply, Ok(synced));
        }
    }
}

fn check(step: &Step, sync: &Sync) -> Result<(), GroupError> {
    step.check_identity(&sync.who)?;
    if sync.generation != step.hard.generation() {
        return Err(GroupError::IllegalGeneration);
    }
    let differs = |sent: Option<&str>, agreed: Option<&str>| matches!((sent, agreed), (Some(sent), Some(agreed)) if sent != agreed);
    if differs(sync.protocol_type.as_deref(), step.hard.protocol_type())
        || differs(sync.protocol.as_deref(), step.hard.protocol())
    {
        return Err(GroupError::InconsistentProtocol);
    }
    Ok(())
}

/// Lets a SyncGroup wait for the leader's, or completes the generation if this is the leader's.
fn take_part(step: &mut Step, sync: Sync, reply: SyncReply) {
    let id = sync.who.member;
    let leads = step.hard.leader() == Some(&id);
    let bytes: usize = sync.assignments.iter().map(|(_, assignment)| assignment.len()).sum();
    if leads && !step.has_room_for(bytes) {
        return step.answer(reply, Err(GroupError::NoRoom));
    }
    has_synced(step, &id);
    step.soft.sessions.remove(&id);
    if let Some(earlier) = step.soft.syncing.insert(id, reply) {
        step.answer(earlier, Err(GroupError::RebalanceInProgress));
    }
    if !leads {
        return;
    }
    let assignments = complete(step, sync.assignments);
    step.record(GroupRecord::Assigned { assignments });
    for (id, reply) in std::mem::take(&mut step.soft.syncing) {
        let synced = synced(step, &id);
        step.answer(reply, Ok(synced));
        step.renew_session(&id);
    }
}

/// One assignment for each member, and none for others. Consumers decode their assignment, so a
/// consumer without one gets an encoded empty assignment (rule C1).
fn complete(step: &Step, given: Vec<(MemberId, Opaque)>) -> Vec<(MemberId, Opaque)> {
    let mut given: BTreeMap<MemberId, Opaque> = given.into_iter().collect();
    let nothing = match step.hard.protocol_type() {
        Some(subscription::CONSUMER) => Opaque::copy_of(subscription::EMPTY_ASSIGNMENT),
        _ => Opaque::default(),
    };
    let assignment_of = |id: &MemberId| {
        let assignment = given.remove(id).filter(|assignment| !assignment.is_empty());
        (id.clone(), assignment.unwrap_or_else(|| nothing.clone()))
    };
    step.hard.members().keys().map(assignment_of).collect()
}

fn synced(step: &Step, id: &str) -> Synced {
    Synced {
        protocol_type: step.hard.protocol_type().map(str::to_owned),
        protocol: step.hard.protocol().map(str::to_owned),
        assignment: step.hard.member(id).map(|member| member.assignment.clone()).unwrap_or_default(),
    }
}

fn has_synced(step: &mut Step, id: &str) {
    step.soft.unsynced.remove(id);
    if step.soft.unsynced.is_empty() {
        step.soft.sync_deadline = None;
    }
}
