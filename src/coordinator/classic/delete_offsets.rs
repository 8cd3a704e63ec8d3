//! OffsetDelete: removes offsets of topics that no member reads.

use super::step::Step;
use super::subscription::{self, CONSUMER};
use crate::coordinator::group::{Asked, DeleteOffsets, Each, GroupError, OffsetToDelete};
use crate::kernel::group::GroupRecord;

pub(super) fn decide(step: &mut Step, asked: Asked<DeleteOffsets>) {
    let answer = delete(step, &asked.what.0);
    step.answer(asked.reply, answer);
}

fn delete(step: &mut Step, asked: &[OffsetToDelete]) -> Result<Each, GroupError> {
    if !step.hard.exists() && step.soft.pending.is_empty() {
        return Err(GroupError::NoSuchGroup);
    }
    // Only consumers have subscriptions that we can read. For other members, any topic may be in
    // use.
    if !step.is_empty() && step.hard.protocol_type() != Some(CONSUMER) {
        return Err(GroupError::NotEmpty);
    }
    let subscribed = subscription::of_group(step.hard);
    let answers: Each = asked
        .iter()
        .map(|offset| match subscribed.includes(&offset.topic) {
            true => Err(GroupError::SubscribedToTopic),
            false => Ok(()),
        })
        .collect();
    let mut partitions: Vec<_> = asked
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.is_ok())
        .map(|(asked, _)| asked.partition)
        .collect();
    partitions.retain(|partition| step.hard.offset(*partition).is_some());
    partitions.sort_unstable();
    partitions.dedup();
    if !partitions.is_empty() {
        step.record(GroupRecord::OffsetsRemoved { partitions });
    }
    Ok(answers)
}
