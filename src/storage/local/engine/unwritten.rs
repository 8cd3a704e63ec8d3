//! Acknowledged records that are durable in the journal but could not be written to their segment, because
//! the disk is full or the file cannot be opened. They stay in memory, where readers find them. Their
//! partition refuses more records until they are written, and joins no transaction. Other partitions are not affected.
//! Markers for a partition that is out of service are here too: they are not written before a start finds its files whole.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::fs::Failure;
use super::super::segment::{Appendage, Segment};
use super::RECENT_OVERHEAD;
use crate::kernel::StoreAgain;
use crate::storage::extent::ExtentReader;
use crate::storage::partition::{Partition, Unwritable};
use crate::types::{TopicId, TopicPartition};

/// The maximum bytes in memory for all partitions together. Above it every append is refused, and no partition is added
/// to a transaction. Only the markers of transactions that are open by then may exceed it.
pub const MOST: usize = 32 << 20;

/// The minimum time between two log lines about partitions that cannot be written.
const QUIET: Duration = Duration::from_secs(30);

/// Consecutive batches in one segment.
pub struct Run {
    pub segment: Arc<Segment>,
    pub at: u64,
    pub pieces: Vec<Bytes>,
    pub batches: Vec<Appendage>,
}

#[derive(Default)]
pub struct Unwritten {
    stuck: BTreeMap<TopicPartition, Stuck>,
    bytes: usize,
    logged: Option<Duration>,
    /// Parked batches of partitions that can be written again.
    released: Vec<(Arc<Partition>, usize)>,
}

struct Stuck {
    partition: Arc<Partition>,
    /// In the order of their offsets, without a gap up to the end of the log.
    runs: VecDeque<Run>,
    failure: Failure,
    /// The sizes of the batches that the cache of recent batches cannot drop.
    parked: Vec<usize>,
}

impl Run {
    pub fn write(&self) -> io::Result<()> {
        self.segment.append(&self.pieces, self.at, &self.batches)
    }

    /// Its size in memory.
    fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum::<usize>() + self.batches.len() * RECENT_OVERHEAD
    }

    /// A command for each of its batches, to write it to the journal again.
    fn again(&self) -> impl Iterator<Item = StoreAgain> {
        let (topic, partition, _) = self.segment.key();
        self.batches.iter().scan(self.at, move |at, batch| {
            let again =
                StoreAgain { topic, partition, segment: self.segment.id(), at: *at, bytes: batch.bytes };
            *at += u64::from(batch.bytes);
            Some(again)
        })
    }
}

impl Stuck {
    /// Publishes the first offset that is missing in the partition's segments, and the reason.
    fn show(&self) {
        let first = self.runs.front().and_then(|run| run.batches.first());
        let failure = self.failure;
        self.partition.set_unwritable(first.map(|first| Unwritable { from: first.base_offset, failure }));
    }

    /// Its parked batches.
    fn parked(self) -> impl Iterator<Item = (Arc<Partition>, usize)> {
        let Stuck { partition, parked, .. } = self;
        parked.into_iter().map(move |bytes| (Arc::clone(&partition), bytes))
    }
}

impl Unwritten {
    pub fn is_empty(&self) -> bool {
        self.stuck.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The reason why the partition cannot be written; `None` if it can.
    pub fn why(&self, key: TopicPartition) -> Option<Failure> {
        self.stuck.get(&key).map(|stuck| stuck.failure)
    }

    /// Adds a run, which must follow the partition's earlier runs.
    pub fn add(&mut self, partition: &Arc<Partition>, run: Run, failure: Failure) {
        self.bytes += run.bytes();
        let stuck = self.stuck.entry(partition.key());
        let partition = Arc::clone(partition);
        let stuck =
            stuck.or_insert_with(|| Stuck { partition, runs: VecDeque::new(), failure, parked: vec![] });
        stuck.runs.push_back(run);
        stuck.show();
    }

    /// Logs a failed write, at most once in `QUIET` for all partitions together.
    pub fn log(&mut self, partition: &Partition, segment: &Segment, error: &io::Error, now: Duration) {
        if self.logged.is_some_and(|logged| now.saturating_sub(logged) < QUIET) {
            return;
        }
        self.logged = Some(now);
        tracing::warn!(
            topic = %partition.topic_name,
            partition = partition.index,
            file = %segment.path().display(),
            %error,
            partitions = self.stuck.len(),
            "cannot write to a segment: its records are kept in the journal, and its partition refuses more until it can be written; {}",
            Failure::of(error).next_step()
        );
    }

    /// Tries to write the partition's runs. Returns the segments that were written.
    pub fn retry(&mut self, key: TopicPartition) -> Vec<Arc<Segment>> {
        // A partition out of service is left as it is until the next start.
        let stuck = self.stuck.get_mut(&key).filter(|stuck| !stuck.partition.is_damaged());
        let Some(stuck) = stuck else { return Vec::new() };
        let mut written = Vec::new();
        while let Some(run) = stuck.runs.pop_front() {
            if let Err(error) = run.write() {
                stuck.failure = Failure::of(&error);
                stuck.runs.push_front(run);
                break;
            }
            self.bytes -= run.bytes();
            written.push(run.segment);
        }
        stuck.show();
        if stuck.runs.is_empty() {
            let stuck = self.stuck.remove(&key).expect("it was just there");
            tracing::info!(topic = %stuck.partition.topic_name, partition = key.partition, "the partition can be written again");
            self.released.extend(stuck.parked());
        }
        written
    }

    pub fn retry_all(&mut self) -> Vec<Arc<Segment>> {
        let keys: Vec<TopicPartition> = self.stuck.keys().copied().collect();
        keys.into_iter().flat_map(|key| self.retry(key)).collect()
    }

    pub fn forget_topic(&mut self, topic: TopicId) {
        self.stuck.retain(|key, _| key.topic != topic);
        self.count();
    }

    /// Drops the runs of segments that are no longer needed.
    pub fn forget_segments(&mut self, gone: &[Arc<Segment>]) {
        if self.stuck.is_empty() {
            return;
        }
        for stuck in self.stuck.values_mut() {
            stuck.runs.retain(|run| !gone.iter().any(|gone| Arc::ptr_eq(gone, &run.segment)));
            stuck.show();
        }
        let written = self.stuck.extract_if(.., |_, stuck| stuck.runs.is_empty());
        self.released.extend(written.flat_map(|(_, stuck)| stuck.parked()));
        self.count();
    }

    /// Takes over a batch that the cache of recent batches cannot drop until the partition can be written.
    pub fn park(&mut self, partition: &Partition, bytes: usize) {
        if let Some(stuck) = self.stuck.get_mut(&partition.key()) {
            stuck.parked.push(bytes);
        }
    }

    /// The parked batches that the cache can drop again.
    pub fn take_released(&mut self) -> Vec<(Arc<Partition>, usize)> {
        std::mem::take(&mut self.released)
    }

    fn count(&mut self) {
        self.bytes = self.stuck.values().flat_map(|stuck| &stuck.runs).map(Run::bytes).sum();
    }

    /// For each partition: the commands and bytes that write its batches to the journal again.
    pub fn again(&self) -> Vec<(Vec<StoreAgain>, Vec<Bytes>)> {
        let of = |stuck: &Stuck| {
            let commands = stuck.runs.iter().flat_map(Run::again).collect();
            (commands, stuck.runs.iter().flat_map(|run| run.pieces.iter().cloned()).collect())
        };
        self.stuck.values().map(of).collect()
    }
}
