//! The state of an idempotent producer in a partition: its epoch and its last five batches (KIP-98,
//! KIP-360; Kafka's `ProducerStateEntry` and `ProducerAppendInfo`).

use serde::{Deserialize, Serialize};

use super::command::{ProducerStamp, Refusal};
use crate::types::{Offset, ProducerEpoch, Timestamp};

/// A client has at most five batches in flight, so a duplicate is among the last five.
const WINDOW: usize = 5;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Producer {
    epoch: ProducerEpoch,
    window: Window,
    last_write: Timestamp,
}

/// The last batches, the oldest first. Its memory does not depend on their number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Sent>", into = "Vec<Sent>")]
struct Window {
    sent: [Sent; WINDOW],
    len: u8,
}

/// One batch of the window, with its first and last sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sent {
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

    /// A partition without state for the producer takes any first sequence: the state may have
    /// expired.
    pub fn new(
        stamp: ProducerStamp,
        last_offset_delta: i32,
        base_offset: Offset,
        now: Timestamp,
    ) -> Producer {
        let mut producer = Producer { epoch: stamp.epoch, window: Window::default(), last_write: now };
        producer.record(stamp, last_offset_delta, base_offset, now);
        producer
    }

    pub fn check(&self, stamp: ProducerStamp, last_offset_delta: i32) -> Result<Verdict, Refusal> {
        if stamp.epoch < self.epoch {
            return Err(Refusal::StaleProducerEpoch { current: self.epoch, got: stamp.epoch });
        }
        if stamp.epoch > self.epoch {
            return expect(0, stamp.sequence);
        }
        let last = advance(stamp.sequence, last_offset_delta);
        let sent_before =
            self.window.batches().iter().find(|sent| sent.first == stamp.sequence && sent.last == last);
        if let Some(sent) = sent_before {
            return Ok(Verdict::Duplicate { base_offset: sent.base_offset });
        }
        match self.window.batches().last() {
            Some(newest) => expect(advance(newest.last, 1), stamp.sequence),
            None => Ok(Verdict::Next),
        }
    }

    /// Records a batch for which `check` returned `Next`.
    pub fn record(
        &mut self,
        stamp: ProducerStamp,
        last_offset_delta: i32,
        base_offset: Offset,
        now: Timestamp,
    ) {
        if stamp.epoch != self.epoch {
            self.epoch = stamp.epoch;
            self.window = Window::default();
        }
        let last = advance(stamp.sequence, last_offset_delta);
        self.window.push(Sent { first: stamp.sequence, last, base_offset });
        self.last_write = now;
    }
}

impl Window {
    fn batches(&self) -> &[Sent] {
        &self.sent[..usize::from(self.len)]
    }

    /// Adds a batch; the oldest one is removed if there are five already.
    fn push(&mut self, sent: Sent) {
        if usize::from(self.len) == WINDOW {
            self.sent.rotate_left(1);
            self.len -= 1;
        }
        self.sent[usize::from(self.len)] = sent;
        self.len += 1;
    }
}

impl From<Vec<Sent>> for Window {
    fn from(batches: Vec<Sent>) -> Window {
        let mut window = Window::default();
        batches.into_iter().for_each(|sent| window.push(sent));
        window
    }
}

impl From<Window> for Vec<Sent> {
    fn from(window: Window) -> Vec<Sent> {
        window.batches().to_vec()
    }
}

fn expect(expected: i32, got: i32) -> Result<Verdict, Refusal> {
    if expected == got { Ok(Verdict::Next) } else { Err(Refusal::OutOfOrderSequence { expected, got }) }
}

/// Sequences go from 0 to 2³¹−1 and start again at 0.
fn advance(sequence: i32, by: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    i32::try_from(sum & i64::from(i32::MAX)).expect("masked to 31 bits")
}
