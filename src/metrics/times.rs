//! How old what a group has not read is: the time of the batch it stands at.

use std::collections::HashMap;
use std::time::Duration;

use crate::storage::Partition;
use crate::time::Moment;
use crate::types::{Offset, Timestamp, TopicId};

/// Reading batch headers may take so long in one scrape; what is not known then is left out of it.
const PATIENCE: Duration = Duration::from_secs(1);

type Place = (TopicId, i32, Offset);

/// What was found out in the last scrape: a group that does not move is not looked up again.
#[derive(Default)]
pub struct Times(HashMap<Place, Timestamp>);

/// One scrape's questions.
pub struct Asking<'a> {
    begun: Moment,
    before: HashMap<Place, Timestamp>,
    now: &'a mut Times,
}

impl Times {
    pub fn ask(&mut self) -> Asking<'_> {
        Asking { begun: Moment::now(), before: std::mem::take(&mut self.0), now: self }
    }
}

impl Asking<'_> {
    /// The largest timestamp of the first batch that somebody who stands at `offset` has not read.
    pub fn time_of(&mut self, partition: &Partition, offset: Offset) -> Option<Timestamp> {
        let offset = offset.max(partition.ends().log_start);
        let place = (partition.topic, partition.index, offset);
        let time = match self.before.get(&place).or_else(|| self.now.0.get(&place)) {
            Some(time) => *time,
            None if self.begun.elapsed() >= PATIENCE => return None,
            // Damage is reported where it is found.
            None => partition.time_of(offset).ok()??,
        };
        self.now.0.insert(place, time);
        Some(time)
    }
}
