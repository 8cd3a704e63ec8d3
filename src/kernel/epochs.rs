//! The leader epochs of a log (Kafka's `LeaderEpochFileCache`), for the kernel and for readers.

use serde::{Deserialize, Serialize};

use crate::types::{LeaderEpoch, Offset};

/// Each leader epoch with records, with its first offset. Both increase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderEpochs(Vec<(LeaderEpoch, Offset)>);

impl LeaderEpochs {
    pub fn starts(&self) -> &[(LeaderEpoch, Offset)] {
        &self.0
    }

    /// A batch was written at this offset.
    pub fn wrote(&mut self, epoch: LeaderEpoch, offset: Offset) {
        if self.0.last().is_none_or(|(newest, _)| *newest < epoch) {
            self.0.push((epoch, offset));
        }
    }

    /// The log begins at `start` now, and so does the epoch of that offset.
    pub fn forget_before(&mut self, start: Offset) {
        let Some(holder) = self.0.iter().rposition(|(_, first)| *first <= start) else { return };
        self.0.drain(..holder);
        self.0[0].1 = self.0[0].1.max(start);
    }

    /// The epoch that wrote the record at `offset`.
    pub fn of(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.0.iter().rev().find(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch)
    }

    /// The largest epoch that is not above `asked`.
    pub fn floor(&self, asked: LeaderEpoch) -> Option<LeaderEpoch> {
        self.0.iter().rev().find(|(epoch, _)| *epoch <= asked).map(|(epoch, _)| *epoch)
    }

    /// The first epoch above `asked`, with its first offset.
    pub fn after(&self, asked: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.0.iter().find(|(epoch, _)| *epoch > asked).copied()
    }
}
