//! The age of the records that a group has not read: the timestamp of the batch at its committed offset.

use std::collections::HashMap;
use std::time::Duration;

use crate::storage::Partition;
use crate::time::Moment;
use crate::types::{Offset, Timestamp, TopicId};

/// The time limit for reading batch headers in one scrape. Values that are still unknown then are left
/// out.
const PATIENCE: Duration = Duration::from_secs(1);

type CommittedPosition = (TopicId, i32, Offset);

/// The results of the last scrape. A group that has not moved is not looked up again.
#[derive(Default)]
pub struct Times(HashMap<CommittedPosition, Timestamp>);

/// The lookups of one scrape.
pub struct TimeLookups<'a> {
    begun: Moment,
    before: HashMap<CommittedPosition, Timestamp>,
    now: &'a mut Times,
}

impl Times {
    pub fn ask(&mut self) -> TimeLookups<'_> {
        TimeLookups { begun: Moment::now(), before: std::mem::take(&mut self.0), now: self }
    }
}

impl TimeLookups<'_> {
    /// The largest timestamp of the batch at `offset`, the first one that the group has not read.
    pub fn time_of(&mut self, partition: &Partition, offset: Offset) -> Option<Timestamp> {
        let offset = offset.max(partition.ends().log_start);
        let place = (partition.topic, partition.index, offset);
        let time = match self.before.get(&place).or_else(|| self.now.0.get(&place)) {
            Some(time) => *time,
            None if self.begun.elapsed() >= PATIENCE => return None,
            // Damage is reported by the code that finds it.
            None => partition.time_of(offset).ok()??,
        };
        self.now.0.insert(place, time);
        Some(time)
    }
}
