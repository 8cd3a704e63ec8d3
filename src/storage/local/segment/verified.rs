//! The bytes of a segment's file that were checked against their checksums since the file was opened.

use std::ops::{ControlFlow, Range};

use super::super::fs::File;
use super::walk::{FoundBatch, Stop, walk};
use crate::types::Offset;

/// Ranges of whole batches, ascending; no two of them touch.
#[derive(Default)]
pub struct Verified(Vec<Range<u64>>);

/// The maximum number of ranges. A forgotten range is checked again when it is read.
const MOST: usize = 64;

impl Verified {
    pub fn contains(&self, range: &Range<u64>) -> bool {
        let behind = self.0.partition_point(|known| known.end < range.end);
        self.0.get(behind).is_some_and(|known| known.start <= range.start)
    }

    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|known| known.end < range.start);
        let to = self.0.partition_point(|known| known.start <= range.end);
        let touched = self.0.get(from..to).unwrap_or_default();
        let start = touched.first().map_or(range.start, |first| first.start.min(range.start));
        let end = touched.last().map_or(range.end, |last| last.end.max(range.end));
        self.0.splice(from..to, std::iter::once(start..end));
        if self.0.len() > MOST
            && let Some(shortest) = (0..self.0.len()).min_by_key(|at| self.0[*at].end - self.0[*at].start)
        {
            self.0.remove(shortest);
        }
    }

    /// Forgets all ranges, because the file was opened again.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

/// Checks the batches of `range`, which must be whole, against their checksums, until at least `enough` bytes
/// are checked. Returns the position after them. In a segment without gaps (`gapless`) the offsets must also
/// be consecutive, because the checksum does not cover them. There a batch before `log_start` may be damaged:
/// it is never read.
pub fn check(
    file: &dyn File,
    range: Range<u64>,
    enough: u64,
    gapless: bool,
    log_start: Offset,
    may_wait: bool,
) -> Result<u64, Stop> {
    let mut expected: Option<Offset> = None;
    let start = range.start;
    walk(file, range, may_wait, |FoundBatch { at, header, is_sound }| {
        if expected.is_some_and(|expected| !follows(header.base_offset, expected, gapless)) {
            return Err(Stop::flaw(at, OUT_OF_PLACE));
        }
        let next = header.next_offset().ok_or_else(|| Stop::flaw(at, "its offsets pass the largest"))?;
        expected = Some(next);
        if !is_sound && (!gapless || next > log_start) {
            return Err(Stop::flaw(at, "its checksum is wrong"));
        }
        let is_enough = at + header.size() as u64 - start >= enough;
        Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}

pub const OUT_OF_PLACE: &str = "its base offset is not the one that has to follow";

/// Whether a batch with base offset `base` can be the next one, if `expected` is the next offset.
pub fn follows(base: Offset, expected: Offset, gapless: bool) -> bool {
    if gapless { base == expected } else { base >= expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_just(verified: &Verified, range: Range<u64>) -> bool {
        verified.0.len() == 1 && verified.0[0] == range
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let mut verified = Verified::default();
        verified.add(10..20);
        verified.add(30..40);
        let holds = |verified: &Verified, range: Range<u64>| verified.contains(&range);
        assert!(holds(&verified, 10..20) && holds(&verified, 31..32));
        assert!(!holds(&verified, 9..20) && !holds(&verified, 10..40) && !holds(&verified, 20..30));
        verified.add(20..30);
        assert!(is_just(&verified, 10..40));
        verified.add(0..5);
        verified.add(50..60);
        verified.add(3..55);
        assert!(is_just(&verified, 0..60));
        verified.add(70..70);
        assert!(is_just(&verified, 0..60));
        verified.clear();
        assert!(!holds(&verified, 3..9));
    }

    #[test]
    fn the_verified_ranges_are_right_and_bounded_whatever_is_added() {
        let mut verified = Verified::default();
        let mut added = vec![false; 4000];
        let mut random = 1u64;
        for _ in 0..2000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let start = (random >> 33) % 3990;
            let range = start..start + (random >> 20) % 8;
            verified.add(range.clone());
            range.for_each(|at| added[at as usize] = true);
            assert!(verified.0.len() <= MOST);
            assert!(verified.0.is_sorted_by(|one, other| one.end < other.start));
        }
        assert_eq!(verified.0.len(), MOST, "the bound was met");
        for at in 0..4000 {
            assert!(!verified.contains(&(at..at + 1)) || added[at as usize], "byte {at} was never added");
        }
    }
}
