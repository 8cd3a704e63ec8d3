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
use crate::kernel::group::{CommittedOffset, GroupRecord, PartitionKey, Phase};
use crate::types::{Timestamp, TopicId};

/// Removes the offsets of topics that no longer exist.
pub(super) fn forget_topics(step: &mut Step) {
    for topic in step.hard.topics() {
        if step.topics.name(topic).is_none() {
            step.record(GroupRecord::TopicForgotten { topic });
        }
    }
}

pub(super) fn decide(step: &mut Step, by_age_at: Option<Timestamp>) {
    forget_topics(step);
    let Some(now) = by_age_at else { return };
    let partitions = expired(step, now);
    if !partitions.is_empty() {
        step.record(GroupRecord::OffsetsRemoved { partitions });
    }
    let nothing_left = step.is_empty() && step.hard.offsets().is_empty() && step.soft.pending.is_empty();
    if nothing_left && step.hard.exists() {
        step.record(GroupRecord::Deleted);
    }
}

fn expired(step: &Step, now: Timestamp) -> Vec<PartitionKey> {
    let subscribed = subscription::of_group(step.hard);
    let counts_from = match (step.hard.protocol_type(), step.hard.phase()) {
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
    let offsets = step.hard.offsets().iter();
    offsets
        .filter(|((topic, _), committed)| is_over(committed) && !is_read(topic))
        .map(|(partition, _)| *partition)
        .collect()
}
