//! The idempotent producers of all partitions, ordered by their last writes. When their memory is used
//! up, the producer with the oldest last write (by the journal's time) is forgotten, but never one that
//! may still retry, and none while the clock is not trusted. Kafka has no limit; here a client with invented
//! ids must not use up the memory.
//!
//! Producers with an open transaction are never forgotten, so they may use only half of the memory.
//!
//! Invariant: there is one entry for each producer of each partition, with the time of its last write. Producers with
//! an open transaction have none.

use std::time::Duration;

use rpds::RedBlackTreeSetSync;
use serde::{Deserialize, Serialize};

use super::{Partition, Topic};
use crate::types::{ProducerId, Timestamp, TopicId};

/// The memory of a producer in one partition, for its window and its entry here, in the system's
/// allocator. `tests/growth` compares it with the allocator.
pub const PRODUCER_BYTES: u64 = 336;

/// The time for which a producer is never forgotten. A client gives up on a batch after two minutes
/// (`delivery.timeout.ms`), so a retry always finds its window.
pub const MAY_RETRY: Duration = Duration::from_secs(15 * 60);

/// Producers with an open transaction may use this fraction (1/2) of the memory.
const OPEN_SHARE: u64 = 2;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Producers {
    /// The memory limit for all producers together.
    most_bytes: u64,
    /// Not in snapshots: it is rebuilt from the partitions.
    #[serde(skip)]
    by_last_write: RedBlackTreeSetSync<RememberedProducer>,
    /// The number of producers with an open transaction, over all partitions.
    #[serde(skip)]
    in_transactions: usize,
}

/// A producer of a partition, ordered by last write. The other fields only make the order total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RememberedProducer {
    pub last_write: Timestamp,
    pub topic: TopicId,
    pub partition: i32,
    pub id: ProducerId,
}

/// Which producers the memory has room for.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// A new one: there is memory, or the oldest may be forgotten for it.
    pub new: bool,
    /// One that begins a transaction in a partition.
    pub in_transaction: bool,
}

impl Default for Producers {
    /// Without a limit, until a command sets one.
    fn default() -> Producers {
        Producers { most_bytes: u64::MAX, by_last_write: RedBlackTreeSetSync::default(), in_transactions: 0 }
    }
}

impl Producers {
    pub fn most_bytes(&self) -> u64 {
        self.most_bytes
    }

    /// The memory of all producers together.
    pub fn bytes(&self) -> u64 {
        bytes_of(self.len())
    }

    fn len(&self) -> usize {
        self.by_last_write.size() + self.in_transactions
    }

    /// The producer that has been silent for longest.
    pub fn oldest(&self) -> Option<&RememberedProducer> {
        self.by_last_write.first()
    }

    pub(super) fn set_most_bytes(&mut self, most_bytes: u64) {
        self.most_bytes = most_bytes;
    }

    /// The one with the latest last write.
    pub(super) fn newest(&self) -> Option<&RememberedProducer> {
        self.by_last_write.last()
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        bytes_of(self.len() + 1) <= self.most_bytes
    }

    pub(super) fn room(&self, trusted: Option<Timestamp>) -> Room {
        let forgets = || self.oldest().is_some_and(|oldest| may_be_forgotten(oldest, trusted));
        Room {
            new: self.has_room() || forgets(),
            in_transaction: bytes_of(self.in_transactions + 1) <= self.most_bytes / OPEN_SHARE,
        }
    }

    /// A producer wrote at `wrote.last_write`; `before` is its last write before that.
    pub(super) fn wrote(&mut self, wrote: RememberedProducer, before: Option<Timestamp>) {
        if let Some(last_write) = before {
            // Often both are in the same millisecond.
            if last_write == wrote.last_write {
                return;
            }
            self.forget(&RememberedProducer { last_write, ..wrote });
        }
        self.by_last_write.insert_mut(wrote);
    }

    /// A producer began a transaction; `resting` is its entry, if it was remembered.
    pub(super) fn began(&mut self, resting: Option<&RememberedProducer>) {
        if let Some(resting) = resting {
            self.forget(resting);
        }
        self.in_transactions += 1;
    }

    /// The transactions of this many producers have ended, or are gone with their topic.
    pub(super) fn ended(&mut self, count: usize) {
        self.in_transactions -= count;
    }

    /// Adds the producers of a topic from a snapshot.
    pub(super) fn remember_all(&mut self, topic: &Topic) {
        Producers::of(topic).for_each(|producer| self.remember(producer));
        self.in_transactions += open_in(topic);
    }

    /// Forgets the producers of a topic that is deleted.
    pub(super) fn forget_all(&mut self, topic: &Topic) {
        Producers::of(topic).for_each(|producer| self.forget(&producer));
        self.ended(open_in(topic));
    }

    /// Adds a producer from a snapshot.
    fn remember(&mut self, known: RememberedProducer) {
        self.by_last_write.insert_mut(known);
    }

    pub(super) fn forget(&mut self, gone: &RememberedProducer) {
        self.by_last_write.remove_mut(gone);
    }

    /// The producers of a topic without an open transaction.
    fn of(topic: &Topic) -> impl Iterator<Item = RememberedProducer> {
        let of = topic.id;
        (0..).zip(topic.partitions()).flat_map(move |(index, partition)| {
            let known = partition.producers.iter().filter(|(_, producer)| producer.transaction().is_none());
            known.map(move |(id, producer)| RememberedProducer {
                last_write: producer.last_write(),
                topic: of,
                partition: index,
                id: *id,
            })
        })
    }
}

/// `trusted` is the time, or `None` while the clock is not trusted: then no producer is known to be old.
pub(super) fn may_be_forgotten(producer: &RememberedProducer, trusted: Option<Timestamp>) -> bool {
    trusted.is_some_and(|now| now.since(producer.last_write) >= MAY_RETRY)
}

fn open_in(topic: &Topic) -> usize {
    topic.partitions().map(Partition::open_transactions).sum()
}

fn bytes_of(producers: usize) -> u64 {
    (producers as u64).saturating_mul(PRODUCER_BYTES)
}
