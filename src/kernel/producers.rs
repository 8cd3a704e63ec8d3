//! The idempotent producers of all partitions, ordered by their last writes. When their memory is used
//! up, the producer with the oldest last write (by the journal's time) is forgotten, but never one that
//! may still retry, and none while the clock is not trusted. Kafka has no limit; here a client with invented
//! ids must not use up the memory.
//!
//! Invariant: there is one entry for each producer of each partition, with the time of its last write.

use std::time::Duration;

use rpds::RedBlackTreeSetSync;
use serde::{Deserialize, Serialize};

use super::Topic;
use crate::types::{ProducerId, Timestamp, TopicId};

/// The memory of a producer in one partition, for its window and its entry here, in the system's
/// allocator. `tests/growth` compares it with the allocator.
pub const PRODUCER_BYTES: u64 = 336;

/// The time for which a producer is never forgotten. A client gives up on a batch after two minutes
/// (`delivery.timeout.ms`), so a retry always finds its window.
pub const MAY_RETRY: Duration = Duration::from_secs(15 * 60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Producers {
    /// The memory limit for all producers together.
    most_bytes: u64,
    /// Not in snapshots: it is rebuilt from the partitions.
    #[serde(skip)]
    by_last_write: RedBlackTreeSetSync<Remembered>,
}

/// A producer of a partition, ordered by last write. The other fields only make the order total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remembered {
    pub last_write: Timestamp,
    pub topic: TopicId,
    pub partition: i32,
    pub id: ProducerId,
}

impl Default for Producers {
    /// Without a limit, until a command sets one.
    fn default() -> Producers {
        Producers { most_bytes: u64::MAX, by_last_write: RedBlackTreeSetSync::default() }
    }
}

impl Producers {
    pub fn most_bytes(&self) -> u64 {
        self.most_bytes
    }

    /// The memory of all producers together.
    pub fn bytes(&self) -> u64 {
        bytes_of(self.by_last_write.size())
    }

    /// The producer that has been silent for longest.
    pub fn oldest(&self) -> Option<&Remembered> {
        self.by_last_write.first()
    }

    pub(super) fn set_most_bytes(&mut self, most_bytes: u64) {
        self.most_bytes = most_bytes;
    }

    /// The one with the latest last write.
    pub(super) fn newest(&self) -> Option<&Remembered> {
        self.by_last_write.last()
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        bytes_of(self.by_last_write.size() + 1) <= self.most_bytes
    }

    /// Whether a new one may be remembered: there is room, or the oldest may be forgotten for it.
    pub(super) fn admits_one(&self, trusted: Option<Timestamp>) -> bool {
        self.has_room() || self.oldest().is_some_and(|oldest| may_be_forgotten(oldest, trusted))
    }

    /// A producer wrote at `wrote.last_write`; `before` is its last write before that.
    pub(super) fn wrote(&mut self, wrote: Remembered, before: Option<Timestamp>) {
        if let Some(last_write) = before {
            // Often both are in the same millisecond.
            if last_write == wrote.last_write {
                return;
            }
            self.forget(&Remembered { last_write, ..wrote });
        }
        self.by_last_write.insert_mut(wrote);
    }

    /// Adds a producer from a snapshot.
    pub(super) fn remember(&mut self, known: Remembered) {
        self.by_last_write.insert_mut(known);
    }

    pub(super) fn forget(&mut self, gone: &Remembered) {
        self.by_last_write.remove_mut(gone);
    }

    /// The producers of a topic.
    pub(super) fn of(topic: &Topic) -> impl Iterator<Item = Remembered> {
        let of = topic.id;
        (0..).zip(topic.partitions()).flat_map(move |(index, partition)| {
            let known = partition.producers.iter();
            known.map(move |(id, producer)| Remembered {
                last_write: producer.last_write(),
                topic: of,
                partition: index,
                id: *id,
            })
        })
    }
}

/// `trusted` is the time, or `None` while the clock is not trusted: then no producer is known to be old.
pub(super) fn may_be_forgotten(producer: &Remembered, trusted: Option<Timestamp>) -> bool {
    trusted.is_some_and(|now| now.since(producer.last_write) >= MAY_RETRY)
}

fn bytes_of(producers: usize) -> u64 {
    (producers as u64).saturating_mul(PRODUCER_BYTES)
}
