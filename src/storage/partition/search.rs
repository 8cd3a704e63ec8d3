//! Look-ups by time: in the extents, and in the batches that are only in memory.

use std::sync::Arc;

use super::{FoundRecord, Partition, Pieces, off_thread};
use crate::record;
use crate::storage::LogError;
use crate::storage::extent::{ExtentReader, ReadError};
use crate::types::{Offset, Timestamp};

/// The part of a log that a search reads: the extents up to `end`, and the batches that no extent has.
struct SearchedLog {
    start: Offset,
    end: Offset,
    extents: Vec<Arc<dyn ExtentReader>>,
    unwritten: Vec<Pieces>,
}

impl Partition {
    /// The first record at or after the log start offset whose timestamp is at least `timestamp`.
    pub async fn offset_for_time(&self, timestamp: Timestamp) -> Result<Option<FoundRecord>, LogError> {
        self.search(move |searched| searched.first_since(timestamp)).await
    }

    /// The first record with the largest timestamp.
    pub async fn max_timestamp(&self) -> Result<Option<FoundRecord>, LogError> {
        self.search(SearchedLog::newest).await
    }

    async fn search(
        &self,
        search: impl Fn(&SearchedLog) -> Result<Option<record::TimedOffset>, ReadError> + Copy + Send + 'static,
    ) -> Result<Option<FoundRecord>, LogError> {
        loop {
            self.serving()?;
            let searched = self.searched();
            let found = off_thread(move || search(&searched)).await?;
            let start = self.ends().log_start;
            // The log start offset moved during the search, or an extent was removed or replaced.
            let is_outdated = match &found {
                Ok(found) => found.is_some_and(|found| found.offset < start),
                Err(error) => *error == ReadError::Gone,
            };
            if !is_outdated {
                return Ok(self.judged(found)?.map(|found| self.found(found)));
            }
        }
    }

    fn searched(&self) -> SearchedLog {
        // The ends are read first: every record below them is in an extent or in memory when the lock is
        // taken.
        let ends = self.ends();
        let log = self.log();
        let end = log.unwritable.map_or(ends.high_watermark, |stuck| stuck.from.min(ends.high_watermark));
        let has_any = |extent: &&Arc<dyn ExtentReader>| extent.base() < end && ends.log_start < end;
        let extents = log.extents.iter().filter(has_any).cloned().collect();
        let unwritten = log.unwritten().map(|recent| recent.pieces.clone()).collect();
        SearchedLog { start: ends.log_start, end, extents, unwritten }
    }

    fn found(&self, found: record::TimedOffset) -> FoundRecord {
        let leader_epoch = self.epoch_of(found.offset);
        FoundRecord { offset: found.offset, timestamp: found.timestamp, leader_epoch }
    }
}

impl SearchedLog {
    fn first_since(&self, time: Timestamp) -> Result<Option<record::TimedOffset>, ReadError> {
        for extent in self.extents.iter().filter(|extent| extent.max_timestamp() >= time) {
            let found = extent.find_by_time(time, self.start, self.end)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        for batch in &self.unwritten {
            let found = record::first_since(&batch.whole(), time, self.start).map_err(unreadable)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn newest(&self) -> Result<Option<record::TimedOffset>, ReadError> {
        let mut candidates: Vec<&Arc<dyn ExtentReader>> = self.extents.iter().collect();
        candidates.sort_by_key(|extent| std::cmp::Reverse(extent.max_timestamp()));
        let mut best: Option<record::TimedOffset> = None;
        let consider = |best: &mut Option<record::TimedOffset>, found: Option<record::TimedOffset>| {
            if found.is_some_and(|found| best.is_none_or(|best| found.timestamp > best.timestamp)) {
                *best = found;
            }
        };
        for extent in candidates {
            // An extent's newest record may be before the log start offset; then another extent may have the
            // result.
            if best.is_some_and(|best| best.timestamp >= extent.max_timestamp()) {
                break;
            }
            consider(&mut best, extent.find_max_timestamp(self.start, self.end)?);
        }
        for batch in &self.unwritten {
            consider(&mut best, record::newest(&batch.whole(), self.start).map_err(unreadable)?);
        }
        Ok(best.filter(|best| best.timestamp.0 >= 0))
    }
}

fn unreadable(error: record::RecordError) -> ReadError {
    ReadError::Damaged(error.to_string())
}
