//! Reading of whole batches from an offset on, as a range of the file or as bytes. Every batch that is
//! returned was checked against its checksum since the file was opened. Checked ranges are remembered, so
//! each is checked once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;

use super::index::Scan;
use super::verified::{self, Verified};
use super::walk::Stop;
use super::{File, Segment};
use crate::storage::extent::{Batches, ExtentRange, ExtentReader, ListedBatch, ReadError};
use crate::types::{FileRange, IgnorePoison, Offset, Piece};

/// The range of whole batches in the file.
struct Span {
    at: Range<u64>,
    next: Offset,
}

/// A shorter range is read into memory: that is cheaper than sending it from its file, and its neighbours can
/// be sent with it.
const SENT_FROM_FILE: usize = 32 << 10;

/// A larger range is checked only on a thread that may block, because it takes a millisecond.
const VERIFIED_AT_ONCE: u64 = 4 << 20;

/// The positions at which readers stopped, so that they can continue without a look-up.
#[derive(Default)]
pub(super) struct Places(VecDeque<(Offset, u64)>);

/// The number of readers of one segment whose positions are remembered.
const PLACES: usize = 16;

impl Places {
    fn of(&self, offset: Offset) -> Option<u64> {
        self.0.iter().find(|(known, _)| *known == offset).map(|(_, at)| *at)
    }

    fn remember(&mut self, offset: Offset, at: u64) {
        if self.of(offset).is_some() {
            return;
        }
        if self.0.len() >= PLACES {
            self.0.pop_front();
        }
        self.0.push_back((offset, at));
    }
}

/// The resolution of [`cold_parts`].
const PART: u64 = 128 << 10;
const PAGE: u64 = 4 << 10;

/// Few batches are larger.
const LARGE_BATCH: u64 = 1 << 20;

/// The parts of a range that are not in the page cache.
fn cold_parts(file: &dyn File, range: Range<u64>) -> Vec<Range<u64>> {
    let is_cold = |at: u64| matches!(file.read_cached_at(&mut [0], at), Ok(None));
    let mut cold: Vec<Range<u64>> = Vec::new();
    let mut start = range.start / PAGE * PAGE;
    while start < range.end {
        let end = ((start / PART + 1) * PART).min(range.end);
        if is_cold(start) && is_cold(end - 1) {
            match cold.last_mut().filter(|last| last.end == start) {
                Some(last) => last.end = end,
                None => cold.push(start..end),
            }
        }
        start = end;
    }
    cold
}

impl Segment {
    /// Without `may_wait` it fails with `MustWait` if something is not in the page cache.
    pub(super) fn read_within(&self, range: &ExtentRange, may_wait: bool) -> Result<Batches, ReadError> {
        let file = self.file()?;
        let Some(Span { at, next }) = self.span(&*file, range, may_wait)? else {
            return Ok(Batches { pieces: Vec::new(), list: Vec::new(), next: range.from });
        };
        self.verify(&*file, at.clone(), may_wait)?;
        let piece = self.piece(&file, at.clone(), may_wait)?;
        self.places().remember(next, at.end);
        let list = if range.listed { self.list(&*file, at, may_wait)? } else { Vec::new() };
        Ok(Batches { pieces: vec![piece], list, next })
    }

    /// The batches in a range of whole batches.
    fn list(&self, file: &dyn File, at: Range<u64>, may_wait: bool) -> Result<Vec<ListedBatch>, ReadError> {
        let mut scan = Scan::new(file, may_wait);
        let mut list = Vec::new();
        let mut next = at.start;
        while next < at.end {
            let header = scan.header(next)?.ok_or_else(|| self.damaged(next, "it is cut short"))?;
            list.push(ListedBatch::from(&header));
            next += header.size() as u64;
        }
        Ok(list)
    }

    /// Checks whole batches against their checksums, even if they were checked before: those from `at` on,
    /// about `bytes` of them. A wrong checksum before `log_start` is ignored, unless compaction has rewritten
    /// the segment. Parts that were not in the page cache before are removed from it again.
    pub fn scrub(&self, at: u64, bytes: u64, log_start: Offset) -> Result<Range<u64>, ReadError> {
        let at = at..self.size();
        // The file may not exist yet.
        if at.is_empty() {
            return Ok(at);
        }
        // A handle of its own: readers want the system to read ahead.
        let file = match self.dir.open_alone(self.id()) {
            Ok(file) => file,
            Err(_) => self.file()?,
        };
        self.scrub_file(&*file, at, bytes, log_start)
    }

    pub(super) fn scrub_file(
        &self,
        file: &dyn File,
        at: Range<u64>,
        bytes: u64,
        log_start: Offset,
    ) -> Result<Range<u64>, ReadError> {
        // The last batch may end behind `bytes`.
        let looked_at = at.start..at.end.min(at.start.saturating_add(bytes).saturating_add(LARGE_BATCH));
        let cold = cold_parts(file, looked_at.clone());
        let start = at.start;
        let checked = verified::check(file, at, bytes, self.is_gapless(), log_start, true);
        let end = checked.map_err(|error| self.judge(error))?;
        for part in cold {
            let is_last = part.end == looked_at.end;
            let to = if is_last { part.end.max(end) } else { part.end };
            file.forget_cached(to - part.start, part.start);
        }
        Ok(start..end)
    }

    fn span(&self, file: &dyn File, range: &ExtentRange, may_wait: bool) -> Result<Option<Span>, ReadError> {
        let ExtentRange { from, end, max_bytes, at_least_one, listed: _ } = *range;
        let known = self.places().of(from);
        let start = known.map_or_else(|| self.position_of(file, from, may_wait), Ok)?;
        let size = self.size();
        if start >= size {
            return if self.is_gapless() {
                Err(self.damaged(start, "the offset is not there"))
            } else {
                Err(ReadError::Behind)
            };
        }
        let limit = start.saturating_add(max_bytes as u64).min(size);
        // All batches before this position are complete and begin below `end`. The index is updated before
        // the size, so it covers all batches below `size`.
        let within = limit.min(size - 1);
        let mut at = self.indexed(file, may_wait, |index| index.last_within(within, end))?.max(start);
        let mut next = (at == start).then_some(from);
        let mut scan = Scan::new(file, may_wait);
        while at < size {
            let header = scan.header(at)?.ok_or_else(|| self.damaged(at, "it is cut short"))?;
            next.get_or_insert(header.base_offset);
            if at == start
                && known.is_some()
                && !verified::follows(header.base_offset, from, self.is_gapless())
            {
                return Err(self.damaged(at, verified::OUT_OF_PLACE));
            }
            // There is a batch below `end`. In a compacted segment this is the only sign of a base offset
            // that became too large.
            if at == start && header.base_offset >= end {
                return Err(self.damaged(at, verified::OUT_OF_PLACE));
            }
            let behind = at + header.size() as u64;
            if behind > size {
                return Err(self.damaged(at, "a batch runs past the end of the file"));
            }
            let fits = behind <= limit || (at == start && at_least_one);
            if !fits || header.base_offset >= end {
                break;
            }
            at = behind;
            next =
                Some(header.next_offset().ok_or_else(|| self.damaged(at, "its offsets pass the largest"))?);
        }
        let next = next.unwrap_or(from);
        Ok((at > start).then_some(Span { at: start..at, next }))
    }

    /// Checks whole batches against their checksums, unless they were checked before.
    fn verify(&self, file: &dyn File, at: Range<u64>, may_wait: bool) -> Result<(), ReadError> {
        if self.verified().contains(&at) {
            return Ok(());
        }
        if !may_wait && at.end - at.start > VERIFIED_AT_ONCE {
            return Err(ReadError::MustWait);
        }
        verified::check(file, at.clone(), u64::MAX, self.is_gapless(), Offset(0), may_wait)
            .map_err(|error| self.judge(error))?;
        self.verified().add(at);
        Ok(())
    }

    fn piece(&self, file: &Arc<dyn File>, at: Range<u64>, may_wait: bool) -> Result<Piece, ReadError> {
        let len = usize::try_from(at.end - at.start).unwrap_or(usize::MAX);
        if len >= SENT_FROM_FILE
            && let Some(lent) = self.lend(file)
        {
            return Ok(Piece::File(FileRange::new(lent, at.start, len)));
        }
        let io = |error: std::io::Error| ReadError::Io(error.to_string());
        if !may_wait && !file.is_cached(len, at.start).map_err(io)? {
            return Err(ReadError::MustWait);
        }
        let bytes = file.read_new(len, at.start).map_err(io)?;
        if bytes.len() == len {
            Ok(Piece::Memory(Bytes::from(bytes)))
        } else {
            Err(self.damaged(at.start, "it is cut short"))
        }
    }

    pub(super) fn judge(&self, stop: Stop) -> ReadError {
        match stop {
            Stop::Io(error) => ReadError::Io(format!("{}, {error}", self.path().display())),
            Stop::MustWait => ReadError::MustWait,
            Stop::Flaw { at, why } => self.damaged(at, &why),
        }
    }

    /// Whether every offset from the base on is there.
    pub(super) fn is_gapless(&self) -> bool {
        self.generation == 0
    }

    pub(super) fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().ignoring_poison()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().ignoring_poison()
    }
}
