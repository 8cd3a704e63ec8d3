//! OffsetCommit: stores the offsets up to which a group has read.

use std::collections::BTreeMap;

use super::step::Step;
use crate::coordinator::group::{Asked, Commit, GroupError, OffsetToCommit};
use crate::kernel::group::Phase;
use crate::kernel::offsets::{CommittedOffset, OffsetChange};
use crate::types::{Timestamp, TopicPartition};

pub(super) fn decide(step: &mut Step, asked: Asked<Commit>) {
    let Asked { what: commit, reply } = asked;
    if let Err(error) = check(step, &commit) {
        return step.answer(reply, Err(error));
    }
    if matches!(step.hard.phase(), Phase::Stable | Phase::PreparingRebalance) {
        step.heard_from(&commit.who.member);
    }
    let now = step.view.now();
    let expires_at = commit.retention.map(|retention| {
        Timestamp(now.0.saturating_add(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)))
    });
    let mut answers = Vec::with_capacity(commit.offsets.len());
    let mut accepted: BTreeMap<TopicPartition, CommittedOffset> = BTreeMap::new();
    let mut grown = 0;
    for asked in commit.offsets {
        let answer = check_offset(step, &asked, &mut grown);
        answers.push(answer);
        if answer.is_ok() {
            let OffsetToCommit { partition, offset, leader_epoch, metadata } = asked;
            let committed = CommittedOffset { offset, leader_epoch, metadata, committed_at: now, expires_at };
            accepted.insert(partition, committed);
        }
    }
    if !accepted.is_empty() {
        step.change_offsets(OffsetChange::Committed(accepted.into_iter().collect()), grown);
    }
    step.answer(reply, Ok(answers));
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
    if !step.hard.exists() && step.soft.pending.is_empty() {
        return Err(if commit.knows_group_not_found {
            GroupError::NoSuchGroup
        } else {
            GroupError::IllegalGeneration
        });
    }
    step.check_identity(&commit.who)?;
    if generation != step.hard.generation() {
        return Err(GroupError::IllegalGeneration);
    }
    if step.hard.phase() == Phase::CompletingRebalance {
        return Err(GroupError::RebalanceInProgress);
    }
    Ok(())
}

/// Checks an offset, and adds to `grown` the memory that it takes beyond that of the one it replaces.
fn check_offset(step: &Step, asked: &OffsetToCommit, grown: &mut usize) -> Result<(), GroupError> {
    // As in Java, the length is counted in UTF-16 units.
    if asked.metadata.encode_utf16().count() > step.view.rules.offset_metadata_max {
        return Err(GroupError::OffsetMetadataTooLarge);
    }
    let replaced = step.view.offsets().get(asked.partition);
    let more = CommittedOffset::weigh(&asked.metadata)
        .saturating_sub(replaced.map_or(0, |replaced| CommittedOffset::weigh(&replaced.metadata)));
    if replaced.is_none() && !step.has_room_for(*grown + more) {
        return Err(GroupError::NoRoom);
    }
    *grown += more;
    Ok(())
}
