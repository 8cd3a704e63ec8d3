//! Expiration of offsets, by age and after the deletion of topics (KIP-211).
//!
//! The start of an offset's retention time depends on the group:
//!
//! - In a group without members it starts when the last member left or at the commit, whichever is later.
//! - In a group that never had members it starts at the commit.
//! - In a stable group of consumers it starts at the commit, and only topics without a subscriber expire.
//!
//! A group without members and offsets is deleted.

use super::step::Step;
use super::subscription;
use crate::kernel::group::{GroupRecord, Phase};
use crate::kernel::offsets::{CommittedOffset, OffsetChange, PartitionKey};
use crate::types::{Timestamp, TopicId};

/// Removes the offsets of topics that no longer exist.
pub(super) fn forget_topics(step: &mut Step) {
    for topic in step.kept.offsets.topics() {
        if step.topics.name(topic).is_none() {
            step.record(OffsetChange::TopicForgotten(topic));
        }
    }
}

pub(super) fn decide(step: &mut Step, by_age_at: Option<Timestamp>) {
    forget_topics(step);
    let Some(now) = by_age_at else { return };
    let expired = expired(step, now);
    if !expired.is_empty() {
        step.record(OffsetChange::Removed(expired));
    }
    let nothing_left = step.is_empty() && step.kept.offsets.is_empty() && step.soft.pending.is_empty();
    if nothing_left && step.kept.group.exists() {
        step.record(GroupRecord::Deleted);
    }
}

/// The expired offsets, with the times of their commits.
fn expired(step: &Step, now: Timestamp) -> Vec<(PartitionKey, Timestamp)> {
    let subscribed = subscription::of_group(&step.kept.group);
    let counts_from = match (step.kept.group.protocol_type(), step.kept.group.phase()) {
        (None, _) => None,
        (Some(_), Phase::Empty { since }) => since,
        (Some(subscription::CONSUMER), Phase::Stable) => None,
        (Some(_), _) => return Vec::new(),
    };
    let is_read = |topic: &TopicId| step.topics.name(*topic).is_none_or(|name| subscribed.includes(name));
    let is_over = |committed: &CommittedOffset| match committed.expires_at {
        Some(expires_at) => now >= expires_at,
        None => {
            let from = counts_from.unwrap_or(Timestamp(i64::MIN)).max(committed.committed_at);
            now.since(from) >= step.rules.offsets_retention
        }
    };
    let offsets = step.kept.offsets.all().iter();
    offsets
        .filter(|((topic, _), committed)| is_over(committed) && !is_read(topic))
        .map(|(partition, committed)| (*partition, committed.committed_at))
        .collect()
}
