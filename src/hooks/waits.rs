//! Waits: for records, for a group, and until a group has read everything. They look again after each change of the
//! broker's state, and never on a timer.

use std::time::Duration;

use super::{HookError, TestHooks};
use crate::coordinator::group::GroupState;
use crate::storage::Topic;
use crate::time::{self, Moment};
use crate::types::TopicPartition;

impl TestHooks {
    /// Waits until a topic has at least this many records, and returns their number. Every offset counts, also that of a
    /// marker of a transaction.
    pub async fn wait_for_records(
        &self,
        topic: &str,
        records: u64,
        limit: Duration,
    ) -> Result<u64, HookError> {
        let look = move || async move {
            let topics = self.store.topics();
            let found = topics.by_name(topic).ok_or_else(|| format!("the topic {topic} does not exist"))?;
            let stored = records_of(found);
            if stored < records {
                return Err(format!("{topic} has {stored} of {records} records"));
            }
            Ok(stored)
        };
        self.until(limit, look).await
    }

    /// Waits until a group is in a state, by Kafka's name, and has this many members; `None` means any number.
    pub async fn wait_for_group(
        &self,
        group: &str,
        state: &str,
        members: Option<usize>,
        limit: Duration,
    ) -> Result<(), HookError> {
        let known = GroupState::ALL.into_iter().find(|known| known.name() == state);
        let state = known.ok_or_else(|| {
            HookError::Wrong(format!("{state} is no state of a group; expected Stable, Empty, PreparingRebalance or CompletingRebalance"))
        })?;
        let look = move || async move {
            let Ok(found) = self.coordinators.groups.describe(group).await else {
                return Err(format!("the group {group} does not exist"));
            };
            let is_reached =
                found.state == state && members.is_none_or(|members| found.members.len() == members);
            if is_reached {
                return Ok(());
            }
            Err(format!(
                "the group {group} is {} and has {} members",
                found.state.name(),
                found.members.len()
            ))
        };
        self.until(limit, look).await
    }

    /// Waits until a group has committed the end of each partition of a topic, or of all topics that it has committed
    /// offsets of.
    pub async fn wait_for_no_lag(
        &self,
        group: &str,
        topic: Option<&str>,
        limit: Duration,
    ) -> Result<(), HookError> {
        let look = move || async move {
            match self.lag(group, topic).await? {
                0 => Ok(()),
                lag => Err(format!("the group {group} is {lag} records behind")),
            }
        };
        self.until(limit, look).await
    }

    async fn lag(&self, group: &str, topic: Option<&str>) -> Result<u64, String> {
        let offsets = self.coordinators.groups.offsets(group).await.unwrap_or_default();
        let topics = self.store.topics();
        let read: Vec<_> = match topic {
            Some(name) => {
                vec![topics.by_name(name).ok_or_else(|| format!("the topic {name} does not exist"))?]
            }
            None => offsets.topics().into_iter().filter_map(|id| topics.by_id(id)).collect(),
        };
        if read.is_empty() {
            return Err(format!("the group {group} has committed nothing"));
        }
        let partitions = read
            .iter()
            .flat_map(|topic| (0..).zip(&topic.partitions).map(|(index, one)| (topic.id, index, one)));
        let behind = partitions.map(|(topic, index, partition)| {
            let ends = partition.ends();
            let committed = offsets.get(TopicPartition::new(topic, index));
            let next = committed.map_or(ends.log_start, |committed| committed.offset.max(ends.log_start));
            u64::try_from(ends.high_watermark.0 - next.0).unwrap_or(0)
        });
        Ok(behind.sum())
    }

    /// Looks until it succeeds, at least once; the error says what there is instead.
    async fn until<T, L: Future<Output = Result<T, String>>>(
        &self,
        limit: Duration,
        look: impl Fn() -> L,
    ) -> Result<T, HookError> {
        let end = Moment::now().after(limit);
        loop {
            // Before the look: a change during it is seen, too.
            let (stored, decided) = (self.store.changed(), self.coordinators.groups.changed());
            let missing = match look().await {
                Ok(found) => return Ok(found),
                Err(why) => why,
            };
            let changed = async {
                tokio::select! {
                    () = stored => {}
                    () = decided => {}
                }
            };
            let left = end.since(Moment::now());
            if left.is_zero() || time::within(left, changed).await.is_none() {
                return Err(HookError::TimedOut(missing));
            }
        }
    }
}

fn records_of(topic: &Topic) -> u64 {
    let ends = topic.partitions.iter().map(|partition| partition.ends());
    ends.map(|ends| u64::try_from(ends.high_watermark.0 - ends.log_start.0).unwrap_or(0)).sum()
}
