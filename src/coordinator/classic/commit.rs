//! OffsetCommit: stores the offsets up to which a group has read. TxnOffsetCommit only asks for the check, because
//! its offsets are stored with a transaction.

use std::collections::BTreeMap;

use super::step::Step;
use crate::coordinator::group::{
    CheckedCommit, Commit, Each, GroupError, GroupRequest, Identity, OffsetToCommit, StagedCommit,
};
use crate::kernel::group::{Generation, Phase};
use crate::kernel::offsets::{CommittedOffset, OffsetChange, Offsets};
use crate::types::{Timestamp, TopicPartition};

pub(super) fn decide(step: &mut Step, request: GroupRequest<Commit>) {
    let GroupRequest { body: commit, reply } = request;
    if let Err(error) = check(step, &commit) {
        return step.answer(reply, Err(error));
    }
    if matches!(step.hard.phase(), Phase::Stable | Phase::PreparingRebalance) {
        step.renew_session(&commit.who.member);
    }
    let AcceptedOffsets { outcomes, offsets, grown } = accept(step, commit, Some(step.view.offsets()));
    if !offsets.is_empty() {
        step.change_offsets(OffsetChange::Committed(offsets), grown);
    }
    step.answer(reply, Ok(outcomes));
}

/// Checks a commit that a transaction will store. Only a group that does not exist changes: it is created.
pub(super) fn check_staged(step: &mut Step, request: GroupRequest<StagedCommit>) {
    let GroupRequest { body: StagedCommit(commit), reply } = request;
    let answer = may_stage(step, &commit).map(|()| {
        let after = step.hard.version();
        // A staged offset replaces nothing before its transaction ends.
        let AcceptedOffsets { outcomes, offsets, .. } = accept(step, commit, None);
        // A group is created by its coordinator, which counts it.
        if !step.hard.exists() && !offsets.is_empty() {
            step.change_offsets(OffsetChange::Committed(Vec::new()), 0);
        }
        CheckedCommit { after, outcomes, offsets }
    });
    step.answer(reply, answer);
}

/// The offsets of a commit that can be stored.
struct AcceptedOffsets {
    outcomes: Each,
    offsets: Vec<(TopicPartition, CommittedOffset)>,
    /// The memory by which the group's offsets grow.
    grown: usize,
}

/// `replaced` are the offsets that the new ones replace.
fn accept(step: &Step, commit: Commit, replaced: Option<&Offsets>) -> AcceptedOffsets {
    let now = step.view.now();
    let expires_at = commit.retention.map(|retention| {
        Timestamp(now.0.saturating_add(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)))
    });
    let mut outcomes = Vec::with_capacity(commit.offsets.len());
    let mut offsets: BTreeMap<TopicPartition, CommittedOffset> = BTreeMap::new();
    let mut grown = 0;
    for entry in commit.offsets {
        let outcome = check_offset(step, &entry, replaced, &mut grown);
        outcomes.push(outcome);
        if outcome.is_ok() {
            let OffsetToCommit { partition, offset, leader_epoch, metadata } = entry;
            let committed = CommittedOffset { offset, leader_epoch, metadata, committed_at: now, expires_at };
            offsets.insert(partition, committed);
        }
    }
    AcceptedOffsets { outcomes, offsets: offsets.into_iter().collect(), grown }
}

fn check(step: &Step, commit: &Commit) -> Result<(), GroupError> {
    let Some(generation) = commit.generation else {
        if step.is_empty() {
            return Ok(());
        }
        // A commit from outside, while the group has members of its own.
        step.check_identity(&commit.who)?;
        return Err(GroupError::IllegalGeneration);
    };
    check_member(step, commit, generation)?;
    if step.hard.phase() == Phase::CompletingRebalance {
        return Err(GroupError::RebalanceInProgress);
    }
    Ok(())
}

/// As in Kafka, a transactional producer may commit for a group with members without saying which one it is, and
/// also while the members wait for their assignments.
fn may_stage(step: &Step, commit: &Commit) -> Result<(), GroupError> {
    let Some(generation) = commit.generation else {
        if step.is_empty() || commit.who == Identity::default() {
            return Ok(());
        }
        step.check_identity(&commit.who)?;
        return Err(GroupError::IllegalGeneration);
    };
    check_member(step, commit, generation)
}

/// Fails unless the commit is from a member of the group's generation.
fn check_member(step: &Step, commit: &Commit, generation: Generation) -> Result<(), GroupError> {
    if !step.hard.exists() && step.soft.pending.is_empty() {
        return Err(if commit.knows_group_not_found {
            GroupError::NoSuchGroup
        } else {
            GroupError::IllegalGeneration
        });
    }
    step.check_identity(&commit.who)?;
    if generation == step.hard.generation() { Ok(()) } else { Err(GroupError::IllegalGeneration) }
}

/// Checks an offset, and adds to `grown` the memory that it takes beyond that of the one it replaces.
fn check_offset(
    step: &Step,
    entry: &OffsetToCommit,
    replaced: Option<&Offsets>,
    grown: &mut usize,
) -> Result<(), GroupError> {
    // As in Java, the length is counted in UTF-16 units.
    if entry.metadata.encode_utf16().count() > step.view.rules.offset_metadata_max {
        return Err(GroupError::OffsetMetadataTooLarge);
    }
    let replaced = replaced.and_then(|replaced| replaced.get(entry.partition));
    let more = CommittedOffset::weigh(&entry.metadata)
        .saturating_sub(replaced.map_or(0, |replaced| CommittedOffset::weigh(&replaced.metadata)));
    if replaced.is_none() && !step.has_room_for(*grown + more) {
        return Err(GroupError::NoRoom);
    }
    *grown += more;
    Ok(())
}
