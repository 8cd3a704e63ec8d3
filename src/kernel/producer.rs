//! The state of an idempotent or transactional producer in a partition: its epoch, its last five batches and its
//! open transaction (KIP-98, KIP-360, KIP-890; Kafka's `ProducerStateEntry` and `ProducerAppendInfo`).

use serde::{Deserialize, Serialize};

use super::command::{BatchFlags, ProducerStamp, Refusal};
use crate::record::Marker;
use crate::types::{Offset, ProducerEpoch, Timestamp, TransactionEnd};

/// A client has at most five batches in flight, so a duplicate is among the last five.
const WINDOW: usize = 5;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Producer {
    epoch: ProducerEpoch,
    window: Window,
    last_write: Timestamp,
    /// The first offset of the open transaction.
    transaction: Option<Offset>,
    /// The highest coordinator epoch of a marker; −1 if there was none.
    coordinator_epoch: i32,
    /// The window is that of an aborted transaction. The client may use its sequences again, so its batches are no
    /// duplicates.
    aborted: bool,
}

/// The facts about a producer that DescribeProducers shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerFacts {
    pub epoch: ProducerEpoch,
    /// −1 if no batch of the epoch is known.
    pub last_sequence: i32,
    pub last_write: Timestamp,
    pub coordinator_epoch: i32,
    /// The first offset of the open transaction.
    pub transaction: Option<Offset>,
}

/// The last batches, the oldest first. Its memory does not depend on their number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<SentBatch>", into = "Vec<SentBatch>")]
struct Window {
    sent: [SentBatch; WINDOW],
    len: u8,
}

/// One batch of the window, with its first and last sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct SentBatch {
    first: i32,
    last: i32,
    base_offset: Offset,
}

/// The relation of a batch to the producer's window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Next,
    Duplicate { base_offset: Offset },
}

impl Producer {
    pub fn last_write(&self) -> Timestamp {
        self.last_write
    }

    pub fn set_last_write(&mut self, at: Timestamp) {
        self.last_write = at;
    }

    pub fn transaction(&self) -> Option<Offset> {
        self.transaction
    }

    pub fn facts(&self) -> ProducerFacts {
        ProducerFacts {
            epoch: self.epoch,
            last_sequence: self.window.batches().last().map_or(-1, |newest| newest.last),
            last_write: self.last_write,
            coordinator_epoch: self.coordinator_epoch,
            transaction: self.transaction,
        }
    }

    /// A producer without a batch.
    pub fn new(epoch: ProducerEpoch, now: Timestamp) -> Producer {
        Producer {
            epoch,
            window: Window::default(),
            last_write: now,
            transaction: None,
            coordinator_epoch: -1,
            aborted: false,
        }
    }

    /// Checks the first batch of a producer without state, which may have expired. Any sequence is accepted, except
    /// that a batch that adds its partition to its transaction must begin with 0.
    pub fn check_first(stamp: ProducerStamp, flags: BatchFlags) -> Result<Verdict, Refusal> {
        if flags.has(BatchFlags::JOINS) { expect(0, stamp.sequence) } else { Ok(Verdict::Next) }
    }

    pub fn check(
        &self,
        stamp: ProducerStamp,
        last_offset_delta: i32,
        flags: BatchFlags,
    ) -> Result<Verdict, Refusal> {
        let verdict = self.check_sequence(stamp, last_offset_delta)?;
        if self.transaction.is_some() && !flags.has(BatchFlags::TRANSACTIONAL) {
            return Err(Refusal::InvalidTransactionState);
        }
        Ok(verdict)
    }

    fn check_sequence(&self, stamp: ProducerStamp, last_offset_delta: i32) -> Result<Verdict, Refusal> {
        if stamp.epoch < self.epoch {
            return Err(Refusal::StaleProducerEpoch { current: self.epoch, got: stamp.epoch });
        }
        if stamp.epoch > self.epoch {
            return expect(0, stamp.sequence);
        }
        let newest = self.window.batches().last();
        let next = newest.map_or(0, |newest| advance(newest.last, 1));
        if self.aborted && !cfg!(feature = "bug-duplicates-of-aborted") {
            return if is_ahead(stamp.sequence, next) {
                expect(next, stamp.sequence)
            } else {
                Ok(Verdict::Next)
            };
        }
        let last = advance(stamp.sequence, last_offset_delta);
        let sent_before =
            self.window.batches().iter().find(|sent| sent.first == stamp.sequence && sent.last == last);
        if let Some(sent) = sent_before {
            return Ok(Verdict::Duplicate { base_offset: sent.base_offset });
        }
        expect(next, stamp.sequence)
    }

    /// Records a batch for which `check` returned `Next`.
    pub fn record(
        &mut self,
        stamp: ProducerStamp,
        last_offset_delta: i32,
        base_offset: Offset,
        now: Timestamp,
    ) {
        if stamp.epoch != self.epoch || self.aborted {
            self.epoch = stamp.epoch;
            self.window = Window::default();
            self.aborted = false;
        }
        let last = advance(stamp.sequence, last_offset_delta);
        self.window.push(SentBatch { first: stamp.sequence, last, base_offset });
        self.last_write = now;
    }

    /// The batch at `offset` belongs to a transaction. Returns whether it is the first one here.
    pub fn begin_transaction(&mut self, offset: Offset) -> bool {
        let is_first = self.transaction.is_none();
        self.transaction.get_or_insert(offset);
        is_first
    }

    /// Checks a marker that an operator wants (Kafka's `checkProducerEpoch` and `checkCoordinatorEpoch`).
    pub fn check_marker(
        &self,
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
        new_epoch_only: bool,
    ) -> Result<(), Refusal> {
        // As in Kafka, a marker without a transaction may repeat an earlier one.
        let has_open = epoch == self.epoch && self.transaction.is_some();
        if epoch < self.epoch || new_epoch_only && has_open {
            return Err(Refusal::StaleProducerEpoch { current: self.epoch, got: epoch });
        }
        if coordinator_epoch < self.coordinator_epoch { Err(Refusal::CoordinatorFenced) } else { Ok(()) }
    }

    /// Records a marker. Returns the first offset of the transaction that it ends.
    pub fn record_marker(&mut self, marker: &Marker) -> Option<Offset> {
        let ended = self.transaction.take();
        if marker.epoch > self.epoch {
            self.epoch = marker.epoch;
            self.window = Window::default();
            self.aborted = false;
        } else if marker.end == TransactionEnd::Abort && ended.is_some() {
            self.aborted = true;
        }
        // An operator's marker may have a higher epoch than those of the broker, which have 0. Markers that are older
        // than the operator's stay fenced.
        self.coordinator_epoch = self.coordinator_epoch.max(marker.coordinator_epoch);
        self.last_write = marker.time;
        ended
    }
}

impl Window {
    fn batches(&self) -> &[SentBatch] {
        &self.sent[..usize::from(self.len)]
    }

    /// Adds a batch; the oldest one is removed if there are five already.
    fn push(&mut self, sent: SentBatch) {
        if usize::from(self.len) == WINDOW {
            self.sent.rotate_left(1);
            self.len -= 1;
        }
        self.sent[usize::from(self.len)] = sent;
        self.len += 1;
    }
}

impl From<Vec<SentBatch>> for Window {
    fn from(batches: Vec<SentBatch>) -> Window {
        let mut window = Window::default();
        batches.into_iter().for_each(|sent| window.push(sent));
        window
    }
}

impl From<Window> for Vec<SentBatch> {
    fn from(window: Window) -> Vec<SentBatch> {
        window.batches().to_vec()
    }
}

fn expect(expected: i32, got: i32) -> Result<Verdict, Refusal> {
    if expected == got { Ok(Verdict::Next) } else { Err(Refusal::OutOfOrderSequence { expected, got }) }
}

/// Whether a sequence is after another one, and not before it.
fn is_ahead(sequence: i32, of: i32) -> bool {
    let distance = (i64::from(sequence) - i64::from(of)) & i64::from(i32::MAX);
    (1..1 << 30).contains(&distance)
}

/// Sequences go from 0 to 2³¹−1 and start again at 0.
fn advance(sequence: i32, by: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    i32::try_from(sum & i64::from(i32::MAX)).expect("masked to 31 bits")
}
