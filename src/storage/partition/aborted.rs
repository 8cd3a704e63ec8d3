//! The aborted transactions that a reader of committed records has to skip.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Partition, off_thread};
use crate::storage::LogError;
use crate::storage::extent::{AbortedPart, ExtentReader, ReadError};
use crate::types::{AbortedTransaction, Offset};

impl Partition {
    /// Whether [`aborted`](Self::aborted) may find something. Takes no lock.
    pub fn may_have_aborted(&self) -> bool {
        self.has_aborted.load(Ordering::Acquire)
    }

    /// The aborted transactions that overlap `range`, in the order of their markers. A marker may be after the
    /// range, and a transaction may have begun before it (Kafka's `LocalLog.collectAbortedTransactions`).
    ///
    /// Call it after the records were read. It fails if the beginning of the range was deleted meanwhile.
    pub async fn aborted(
        self: &Arc<Self>,
        range: Range<Offset>,
    ) -> Result<Vec<AbortedTransaction>, LogError> {
        let mut found: Vec<AbortedTransaction> = Vec::new();
        if !self.may_have_aborted() {
            return Ok(found);
        }
        let mut at = range.start;
        let mut gone: Option<Arc<dyn ExtentReader>> = None;
        loop {
            let Some(part) = self.log().part_of(at) else {
                self.serving()?;
                return Err(self.ends().out_of_range(range.start));
            };
            // After a compaction an extent may begin before `at`.
            let start = found.last().map_or(range.start, |last| Offset(last.last.0.saturating_add(1)));
            let within = start..range.end;
            let mut read = part.extent.aborted_within(&within, false);
            if matches!(read, Err(ReadError::MustWait)) {
                let (partition, extent) = (Arc::clone(self), Arc::clone(&part.extent));
                read = off_thread(move || partition.aborted_within(&extent, &within)).await?;
            }
            // A removed or replaced extent is looked up again, unless the look-up has just returned it again.
            let is_new = gone.as_ref().is_none_or(|gone| !Arc::ptr_eq(gone, &part.extent));
            if matches!(read, Err(ReadError::Gone)) && is_new {
                gone = Some(part.extent);
                continue;
            }
            let AbortedPart { list, is_last } = self.judged(read)?;
            let is_listed = |one: &AbortedTransaction| {
                !cfg!(feature = "bug-aborted-list-from-fetch") || one.first >= range.start
            };
            found.extend(list.into_iter().filter(is_listed));
            if is_last || part.end == Offset(i64::MAX) {
                return Ok(found);
            }
            at = part.end;
        }
    }

    /// All aborted transactions whose markers are in an extent of this partition. Blocks.
    pub(in crate::storage) fn aborted_in(
        &self,
        extent: &Arc<dyn ExtentReader>,
    ) -> Result<Arc<[AbortedTransaction]>, ReadError> {
        self.listed(extent, || extent.aborted())
    }

    fn aborted_within(
        &self,
        extent: &Arc<dyn ExtentReader>,
        range: &Range<Offset>,
    ) -> Result<AbortedPart, ReadError> {
        self.listed(extent, || extent.aborted_within(range, true))
    }

    /// Reads the list of an extent. A damaged list is made again. Blocks.
    pub(in crate::storage) fn listed<T>(
        &self,
        extent: &Arc<dyn ExtentReader>,
        read: impl Fn() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        match read() {
            Err(ReadError::Unlisted) => {}
            read => return read,
        }
        let before = {
            let log = self.log();
            if log.unwritable.is_some() {
                let why = "the list of aborted transactions cannot be made again while records are only in the journal";
                return Err(ReadError::Io(why.to_owned()));
            }
            let before = log.extents.iter().take_while(|other| other.base() < extent.base());
            before.cloned().collect()
        };
        extent.remake_aborted(before, self.ends().log_start)?;
        read()
    }
}
