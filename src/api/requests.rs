//! Counters of requests: the number of each key and version, the time they took, and their error codes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::error::ErrorCode;
use super::{Row, TABLE};
use crate::security::principal::{DenialReason, Forbidden};
use crate::telemetry::{Count, Durations};
use crate::types::IgnorePoison;

/// Counters since the start of the broker.
pub struct Requests {
    /// The counters by key; `None` for keys that are not served.
    by_key: Vec<Option<Box<OfKey>>>,
    denied: Mutex<BTreeMap<Denial, u64>>,
}

/// A kind of accesses that were denied. The number of kinds is bounded by the listeners.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    pub listener: String,
    pub forbidden: Forbidden,
    pub reason: DenialReason,
}

/// The counters of one key.
pub struct OfKey {
    pub row: &'static Row,
    versions: Vec<Count>,
    /// The time from the beginning of a request until its response is ready.
    pub took: Durations,
    /// The counters by error code, for each of [`ErrorCode::ALL`].
    refused: Vec<Count>,
}

impl Requests {
    pub fn new() -> Requests {
        let last = TABLE.last().map_or(-1, |row| row.key);
        let mut by_key: Vec<Option<Box<OfKey>>> = (0..=last).map(|_| None).collect();
        for row in TABLE {
            if let Some(place) = usize::try_from(row.key).ok().and_then(|key| by_key.get_mut(key)) {
                *place = Some(Box::new(OfKey::new(row)));
            }
        }
        Requests { by_key, denied: Default::default() }
    }

    /// The counters in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = &OfKey> {
        self.by_key.iter().flatten().map(AsRef::as_ref)
    }

    pub fn begun(&self, key: i16, version: i16) {
        let counts = self.of(key).and_then(|of| of.versions.get(usize::try_from(version).ok()?));
        if let Some(count) = counts {
            count.one();
        }
    }

    pub fn answered(&self, key: i16, took: Duration) {
        if let Some(of) = self.of(key) {
            of.took.add(took);
        }
    }

    /// Counts an error code that is `times` in a response, or would be if there were one.
    pub fn refused(&self, key: i16, code: i16, times: u64) {
        if let Some(of) = self.of(key) {
            of.refused[place_of(code)].add(times);
        }
    }

    /// Counts an access for which the client lacks the right.
    pub fn denied(&self, denial: Denial) {
        *self.denied.lock().ignoring_poison().entry(denial).or_default() += 1;
    }

    /// The number of denied accesses of each kind that there was.
    pub fn denials(&self) -> BTreeMap<Denial, u64> {
        self.denied.lock().ignoring_poison().clone()
    }

    fn of(&self, key: i16) -> Option<&OfKey> {
        self.by_key.get(usize::try_from(key).ok()?)?.as_deref()
    }
}

impl Default for Requests {
    fn default() -> Requests {
        Requests::new()
    }
}

impl OfKey {
    fn new(row: &'static Row) -> OfKey {
        OfKey {
            row,
            versions: (0..=row.highest()).map(|_| Count::new()).collect(),
            took: Durations::default(),
            refused: ErrorCode::ALL.iter().map(|_| Count::new()).collect(),
        }
    }

    /// The versions of the requests, and the number of each.
    pub fn versions(&self) -> impl Iterator<Item = (i16, u64)> {
        (0..).zip(self.versions.iter().map(Count::get)).filter(|(_, count)| *count > 0)
    }

    /// The error codes of the responses, and the number of each.
    pub fn refused(&self) -> impl Iterator<Item = (ErrorCode, u64)> {
        let counts = self.refused.iter().map(Count::get);
        ErrorCode::ALL.iter().copied().zip(counts).filter(|(_, count)| *count > 0)
    }
}

/// The index of a code. Codes are the numbers from −1 on without a gap; an unknown number counts as
/// UNKNOWN_SERVER_ERROR.
fn place_of(code: i16) -> usize {
    let place = usize::try_from(i32::from(code) + 1).unwrap_or(0);
    if place < ErrorCode::ALL.len() { place } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_place_of_its_number() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::ALL[place_of(code.code())], *code);
        }
        assert_eq!(ErrorCode::ALL[place_of(i16::MAX)], ErrorCode::UnknownServerError);
    }

    #[test]
    fn counts_are_returned_under_their_key_and_the_rest_is_zero() {
        let requests = Requests::new();
        requests.begun(18, 3);
        requests.begun(18, 3);
        requests.begun(18, i16::MAX);
        requests.begun(i16::MAX, 0);
        requests.refused(18, 35, 2);
        requests.refused(-1, 35, 1);
        requests.answered(18, Duration::from_millis(2));
        let of = requests.iter().find(|of| of.row.key == 18).unwrap();
        assert_eq!(of.versions().collect::<Vec<_>>(), [(3, 2)]);
        assert_eq!(of.refused().collect::<Vec<_>>(), [(ErrorCode::UnsupportedVersion, 2)]);
        assert_eq!(of.took.sum(), Duration::from_millis(2));
        assert!(requests.iter().filter(|of| of.row.key != 18).all(|of| of.versions().next().is_none()));
    }
}
