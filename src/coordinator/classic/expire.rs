//! Expiration of offsets, by age and after the deletion of topics (KIP-211).
//!
//! The start of an offset's retention time depends on the group:
//!
//! - In a group without members it starts when the last member left or at the commit, whichever is later.
//! - In a group that never had members it starts at the commit.
//! - In a stable group of consumers it starts at the commit, and only topics without a subscriber expire.
//!
//! A group without members and offsets is deleted.

use std::collections::{BTreeMap, BTreeSet};

use super::step::Step;
use super::subscription;
use crate::kernel::group::{GroupRecord, Phase};
use crate::kernel::offsets::{CommittedOffset, OffsetChange};
use crate::types::{Timestamp, TopicId, TopicPartition};

pub(super) fn decide(step: &mut Step, by_age_at: Option<Timestamp>) {
    let gone = of_deleted_topics(step).chain(by_age_at.into_iter().flat_map(|now| expired(step, now)));
    let gone: BTreeMap<TopicPartition, Timestamp> = gone.collect();
    let offsets = step.view.offsets();
    // Offsets of open transactions do not expire (rule X13). The view may lack some until the last record has settled.
    let has_staged = offsets.staged().next().is_some();
    let nothing_left = gone.len() == offsets.len() && !has_staged && step.occasion.settled;
    if !gone.is_empty() {
        step.change_offsets(OffsetChange::Removed(gone.into_iter().collect()), 0);
    }
    if by_age_at.is_some()
        && nothing_left
        && step.is_empty()
        && step.soft.pending.is_empty()
        && step.hard.exists()
    {
        step.record(GroupRecord::Expired);
    }
}

/// The offsets of deleted topics, with the times of their commits. The kernel removes them with the topic, so
/// these were committed while it was deleted.
fn of_deleted_topics<'a>(step: &'a Step) -> impl Iterator<Item = (TopicPartition, Timestamp)> + 'a {
    let is_deleted = |topic: &TopicId| step.view.seen().topic(*topic).is_none();
    let deleted: BTreeSet<TopicId> = step.view.offsets().topics().into_iter().filter(is_deleted).collect();
    let offsets = step.view.offsets().all().iter();
    offsets
        .filter(move |(partition, _)| deleted.contains(&partition.topic))
        .map(|(partition, committed)| (*partition, committed.committed_at))
}

/// The expired offsets, with the times of their commits.
fn expired(step: &Step, now: Timestamp) -> Vec<(TopicPartition, Timestamp)> {
    let counts_from = match (step.hard.protocol_type(), step.hard.phase()) {
        (None, _) => None,
        (Some(_), Phase::Empty { since }) => since,
        (Some(subscription::CONSUMER), Phase::Stable) => None,
        (Some(_), _) => return Vec::new(),
    };
    let is_over = |committed: &CommittedOffset| match committed.expires_at {
        Some(expires_at) => now >= expires_at,
        None => {
            let from = counts_from.unwrap_or(Timestamp(i64::MIN)).max(committed.committed_at);
            now.since(from) >= step.view.rules.offsets_retention
        }
    };
    let over = step.view.offsets().all().iter().filter(|(_, committed)| is_over(committed));
    let over: Vec<_> = over
        .filter_map(|(of, committed)| {
            Some((step.view.seen().topic(of.topic)?.name, (*of, committed.committed_at)))
        })
        .collect();
    if over.is_empty() {
        return Vec::new();
    }
    let subscribed = subscription::of_group(step.hard, over.iter().map(|(topic, _)| *topic));
    over.into_iter().filter(|(topic, _)| !subscribed.includes(topic)).map(|(_, offset)| offset).collect()
}
