//! OffsetDelete: removes offsets of topics that no member reads.

use super::step::Step;
use super::subscription::{self, CONSUMER};
use super::tick;
use crate::coordinator::group::{DeleteOffsets, Each, GroupError, GroupRequest, OffsetToDelete};
use crate::kernel::offsets::OffsetChange;
use crate::types::TopicPartition;

pub(super) fn decide(step: &mut Step, request: GroupRequest<DeleteOffsets>) {
    // The subscriptions of members whose sessions have ended do not count, even if their timers have not fired yet.
    tick::decide(step);
    let answer = delete(step, &request.body.0);
    step.answer(request.reply, answer);
}

fn delete(step: &mut Step, offsets: &[OffsetToDelete]) -> Result<Each, GroupError> {
    if !step.hard.exists() && step.soft.pending.is_empty() {
        return Err(GroupError::NoSuchGroup);
    }
    // Only consumers have subscriptions that we can read. For other members, any topic may be in
    // use.
    if !step.is_empty() && step.hard.protocol_type() != Some(CONSUMER) {
        return Err(GroupError::NotEmpty);
    }
    let subscribed = subscription::of_group(step.hard, offsets.iter().map(|offset| &*offset.topic));
    let answer = |offset: &OffsetToDelete| {
        if subscribed.includes(&offset.topic) { Err(GroupError::SubscribedToTopic) } else { Ok(()) }
    };
    let answers: Each = offsets.iter().map(answer).collect();
    let mut partitions: Vec<_> = offsets
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.is_ok())
        .map(|(offset, _)| offset.partition)
        .collect();
    partitions.sort_unstable();
    partitions.dedup();
    let committed = |of: TopicPartition| Some((of, step.view.offsets().get(of)?.committed_at));
    let removed: Vec<_> = partitions.iter().copied().filter_map(committed).collect();
    partitions.retain(|of| step.view.offsets().is_staged(*of));
    if !partitions.is_empty() {
        step.change_offsets(OffsetChange::StagedRemoved(partitions), 0);
    }
    if !removed.is_empty() {
        step.change_offsets(OffsetChange::Removed(removed), 0);
    }
    Ok(answers)
}
