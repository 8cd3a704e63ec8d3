//! A log in memory with transactions, which runs of the cleaner compact, and its consumers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use super::*;
use crate::kernel::AbortedList;
use crate::record::{BatchBuilder, Marker, Producer};
use crate::storage::extent::{AbortedPart, Batches, ExtentRange, ExtentRead};
use crate::storage::line::{Barrier, Work};
use crate::storage::partition::OpenedLog;
use crate::types::{ProducerEpoch, ProducerId, TransactionEnd};

/// Offset, key and value.
pub(super) type KeptRecord = (i64, String, Option<String>);

/// The `delete.retention.ms` of the log.
pub(super) const RETENTION: i64 = 1_000;

/// An extent in memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredExtent {
    id: ExtentId,
    pub(super) batches: Vec<Bytes>,
    pub(super) aborted: Vec<AbortedTransaction>,
}

/// A record as it was sent.
struct SentRecord {
    kept: KeptRecord,
    /// The number of its transaction.
    transaction: Option<usize>,
}

pub(super) struct Log {
    shard: Arc<Mutex<Shard>>,
    pub(super) extents: Vec<StoredExtent>,
    sent: Vec<SentRecord>,
    /// How each transaction ended; `None` while it is open.
    transactions: Vec<Option<TransactionEnd>>,
    /// The number and the first offset of each producer's open transaction.
    open: BTreeMap<i64, (usize, Offset)>,
    pub(super) now: Timestamp,
    /// The next batch begins an extent.
    rolls: bool,
    /// The maximum size of an extent that a run writes.
    pub(super) most: u64,
    pub(super) log_start: Offset,
}

impl Log {
    pub(super) fn new() -> Log {
        let mut shard = Shard::new(NodeId(1));
        let replicas = vec![vec![NodeId(1)]];
        let create = CreateTopic { id: TOPIC, name: "t".into(), overrides: BTreeMap::new(), replicas };
        shard.apply(Timestamp(0), &Command::CreateTopic(create)).unwrap();
        Log {
            shard: Arc::new(Mutex::new(shard)),
            extents: Vec::new(),
            sent: Vec::new(),
            transactions: Vec::new(),
            open: BTreeMap::new(),
            now: NOW,
            rolls: true,
            most: 1 << 20,
            log_start: Offset(0),
        }
    }

    fn state(&self) -> kernel::Partition {
        self.shard.lock().unwrap().partition(TOPIC, 0).unwrap().clone()
    }

    pub(super) fn end(&self) -> Offset {
        self.state().end()
    }

    pub(super) fn last_stable(&self) -> Offset {
        let first_open = self.open.values().map(|(_, first)| *first).min();
        first_open.unwrap_or(self.end()).max(self.log_start)
    }

    pub(super) fn has_open(&self, producer: i64) -> bool {
        self.open.contains_key(&producer)
    }

    pub(super) fn plain(&mut self, key: &str, value: &str) {
        self.write(None, &[(key, Some(value))]);
    }

    pub(super) fn sends(&mut self, producer: i64, key: &str, value: &str) {
        self.write(Some(producer), &[(key, Some(value))]);
    }

    /// Appends a batch. One with a producer belongs to the producer's transaction.
    pub(super) fn write(&mut self, producer: Option<i64>, records: &[(&str, Option<&str>)]) {
        let first = self.end();
        let mut batch = BatchBuilder::new().base_offset(first);
        let transaction = producer.map(|id| {
            let next = self.transactions.len();
            let (number, _) = *self.open.entry(id).or_insert((next, first));
            self.transactions.resize(next.max(number + 1), None);
            number
        });
        if let Some(id) = producer {
            let producer = Producer { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence: 0 };
            batch = batch.producer(producer).transactional();
        }
        for (at, (key, value)) in (first.0..).zip(records) {
            batch = batch.record(self.now, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
            let kept = (at, (*key).to_owned(), value.map(str::to_owned));
            self.sent.push(SentRecord { kept, transaction });
        }
        self.append(batch.build(), records.len() as i32 - 1);
    }

    pub(super) fn commits(&mut self, producer: i64) {
        self.ends(producer, TransactionEnd::Commit);
    }

    pub(super) fn aborts(&mut self, producer: i64) {
        self.ends(producer, TransactionEnd::Abort);
    }

    /// Ends the open transaction of a producer.
    fn ends(&mut self, producer: i64, end: TransactionEnd) {
        let last = self.end();
        let (number, first) = self.open.remove(&producer).unwrap();
        self.transactions[number] = Some(end);
        let producer = ProducerId(producer);
        let marker = Marker { producer, epoch: ProducerEpoch(0), end, coordinator_epoch: 0, time: self.now };
        self.append(marker.batch(last, LeaderEpoch(0)), 0);
        if end == TransactionEnd::Abort {
            let last_stable = self.last_stable();
            let aborted = AbortedTransaction { producer, first, last, last_stable };
            self.extents.last_mut().unwrap().aborted.push(aborted);
        }
    }

    /// The next batch begins an extent.
    pub(super) fn roll(&mut self) {
        self.rolls = true;
    }

    /// Appends something after an end of all extents, because no run compacts the newest one.
    pub(super) fn close(&mut self) {
        self.roll();
        self.plain("newest", "");
        self.roll();
    }

    fn append(&mut self, batch: Bytes, last_offset_delta: i32) {
        let id = ExtentId { base: self.end(), generation: 0 };
        let commit = Commit {
            topic: TOPIC,
            partition: 0,
            bytes: batch.len() as u32,
            last_offset_delta,
            max_timestamp: self.now,
            producer: None,
            flags: BatchFlags::default(),
            leadership: LeaderEpoch(0),
            place: Place::Segment { roll: self.rolls, inline: true, crc: 0 },
        };
        self.shard.lock().unwrap().apply(self.now, &Command::Commit(commit)).unwrap();
        if std::mem::take(&mut self.rolls) {
            self.extents.push(StoredExtent { id, batches: Vec::new(), aborted: Vec::new() });
        }
        self.extents.last_mut().unwrap().batches.push(batch);
    }

    /// Moves the log start offset, and removes the extents before it.
    pub(super) fn delete_before(&mut self, offset: i64) {
        let set = Command::SetLogStart { topic: TOPIC, partition: 0, offset: Offset(offset) };
        self.shard.lock().unwrap().apply(self.now, &set).unwrap();
        self.log_start = Offset(offset);
        let left = self.state().extents().len();
        self.extents.drain(..self.extents.len() - left);
        self.rolls |= left == 0;
    }

    pub(super) fn compact(&mut self) {
        self.compact_with(&[], 1 << 20);
    }

    /// Compacts with these settings, and with so much memory for keys.
    pub(super) fn compact_with(&mut self, given: &[(&str, &str)], memory: u64) {
        let state = self.state();
        let retention = RETENTION.to_string();
        let usual = [("min.cleanable.dirty.ratio", "0"), ("delete.retention.ms", &*retention)];
        let mut settings = settings(&[&usual[..], given].concat());
        settings.segment_bytes = self.most;
        let Some(due) = due(&state, &settings, self.last_stable(), self.now) else { return };
        let extents = self.extents.iter().map(|one| Arc::new(one.clone()) as Arc<dyn ExtentReader>);
        let opened = OpenedLog { home: Arc::new(()), extents: extents.collect() };
        let partition = Partition::new((TOPIC, &"t".into(), &Arc::new(settings)), &state, 0, opened);
        let line = Direct { shard: Arc::clone(&self.shard), now: self.now };
        let stop = AtomicBool::new(false);
        let mut sink = InMemory::default();
        Cleaner { line: &line, now: self.now, memory, stop: &stop }.run(&partition, &state, due, &mut sink);
        self.replace(sink.made);
    }

    /// Takes over the extents that a run has written.
    fn replace(&mut self, made: Vec<StoredExtent>) {
        let all = self.extents.drain(..).chain(made);
        let all: BTreeMap<ExtentId, StoredExtent> = all.map(|one| (one.id, one)).collect();
        for extent in self.state().extents() {
            let stored = all[&extent.id()].clone();
            assert_eq!(extent.bytes, stored.bytes());
            if extent.id().generation > 0 {
                assert_eq!(extent.aborted, AbortedList::of(&stored.aborted));
            }
            self.extents.push(stored);
        }
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = (Header, Bytes)> {
        self.extents.iter().flat_map(|extent| extent.batches.iter().map(with_header))
    }

    /// All records in the log, also those of open and aborted transactions.
    pub(super) fn records(&self) -> Vec<KeptRecord> {
        let data = self.batches().filter(|(header, _)| !header.attributes.control());
        data.flat_map(|(_, batch)| kept(&batch)).collect()
    }

    /// The offsets of all records but that of [`Log::close`].
    pub(super) fn offsets(&self) -> Vec<i64> {
        let others = self.records().into_iter().filter(|(_, key, _)| key != "newest");
        others.map(|(offset, ..)| offset).collect()
    }

    /// The offsets of all markers.
    pub(super) fn markers(&self) -> Vec<i64> {
        let markers = self.batches().filter(|(header, _)| header.attributes.control());
        markers.map(|(header, _)| header.base_offset.0).collect()
    }

    /// The first and last offsets of the aborted transactions in the lists.
    pub(super) fn listed(&self) -> Vec<(i64, i64)> {
        let all = self.extents.iter().flat_map(|extent| &extent.aborted);
        all.map(|aborted| (aborted.first.0, aborted.last.0)).collect()
    }

    /// The number of records that only a consumer with read_uncommitted gets below the last stable offset.
    pub(super) fn aborted(&self) -> usize {
        let visible = self.log_start.0..self.last_stable().0;
        let there = self.records().iter().filter(|(offset, ..)| visible.contains(offset)).count();
        there - self.committed(self.log_start.0).len()
    }

    /// The records that a consumer with read_committed gets from an offset on.
    pub(super) fn committed(&self, from: i64) -> Vec<KeptRecord> {
        committed(&self.extents, &self.extents, Offset(from), self.last_stable())
    }

    /// Fails unless consumers see what they should see.
    pub(super) fn check(&self, context: &str) {
        for from in self.log_start.0..=self.last_stable().0 {
            self.check_seen(from, &self.committed(from), context);
        }
        let sent: BTreeSet<&KeptRecord> = self.sent.iter().map(|sent| &sent.kept).collect();
        assert!(self.records().iter().all(|record| sent.contains(record)), "{context}: another record");
        self.check_markers(context);
    }

    /// Fails unless a consumer with read_committed may have seen this from an offset on.
    pub(super) fn check_seen(&self, from: i64, seen: &[KeptRecord], context: &str) {
        let context = format!("{context}, from {from}");
        assert!(seen.is_sorted_by(|one, next| one.0 < next.0), "{context}: out of order: {seen:?}");
        let stable = self.last_stable().0;
        let there = self.sent.iter().filter(|sent| (from..stable).contains(&sent.kept.0));
        let is_committed =
            |number: usize| self.transactions[number].is_some_and(|end| end == TransactionEnd::Commit);
        let committed = there.filter(|sent| sent.transaction.is_none_or(is_committed));
        let committed: BTreeSet<&KeptRecord> = committed.map(|sent| &sent.kept).collect();
        for record in seen {
            assert!(committed.contains(record), "{context}: {record:?} was not committed");
        }
        assert_eq!(newest(seen), newest(committed), "{context}");
    }

    /// Fails unless each record of an ended transaction has its marker, and each listed transaction too.
    fn check_markers(&self, context: &str) {
        let markers: BTreeSet<i64> = self.markers().into_iter().collect();
        for (_, last) in self.listed() {
            assert!(markers.contains(&last), "{context}: the marker at {last} is gone");
        }
        let mut open = BTreeMap::new();
        for (header, _) in self.batches() {
            let (producer, attributes) = (header.producer_id, header.attributes);
            if attributes.control() {
                open.remove(&producer);
            } else if attributes.transactional() {
                let sent = self.sent.iter().find(|sent| sent.kept.0 == header.base_offset.0);
                let number = sent.and_then(|sent| sent.transaction).expect("it was sent in a transaction");
                let before = open.insert(producer, number);
                assert!(before.is_none_or(|before| before == number), "{context}: a marker is gone");
            }
        }
        for number in open.into_values() {
            assert_eq!(self.transactions[number], None, "{context}: a marker is gone");
        }
    }
}

/// The newest value of each key that has one.
fn newest<'a>(records: impl IntoIterator<Item = &'a KeptRecord>) -> BTreeMap<&'a str, (i64, &'a str)> {
    let mut newest = BTreeMap::new();
    for (offset, key, value) in records {
        match value {
            Some(value) => newest.insert(key.as_str(), (*offset, value.as_str())),
            None => newest.remove(key.as_str()),
        };
    }
    newest
}

/// The records that a consumer gets from some extents with the lists of others. A read ends with
/// its extent. Its transactions are those of Kafka's `UnifiedLog.collectAbortedTransactions`, and the
/// consumer does with them what Kafka's does.
pub(super) fn committed(
    records: &[StoredExtent],
    lists: &[StoredExtent],
    from: Offset,
    stable: Offset,
) -> Vec<KeptRecord> {
    let mut seen = Vec::new();
    let mut next = from;
    for extent in records {
        let all = extent.batches.iter().map(with_header);
        let read: Vec<(Header, Bytes)> = all
            .filter(|(header, _)| header.last_offset() >= Some(next) && header.base_offset < stable)
            .collect();
        let Some(end) = read.last().and_then(|(header, _)| header.next_offset()) else { continue };
        let mut aborted = collected(lists, next, end);
        aborted.sort_by_key(|transaction| transaction.first);
        let mut aborted = VecDeque::from(aborted);
        let mut hidden = BTreeSet::new();
        for (header, batch) in read {
            let last = header.last_offset().unwrap();
            while aborted.front().is_some_and(|transaction| transaction.first <= last) {
                hidden.extend(aborted.pop_front().map(|transaction| transaction.producer));
            }
            if let Some(marker) = Marker::of_batch(&batch) {
                if marker.end == TransactionEnd::Abort {
                    hidden.remove(&marker.producer);
                }
            } else if !(header.attributes.transactional() && hidden.contains(&header.producer_id)) {
                seen.extend(kept(&batch).into_iter().filter(|(at, ..)| *at >= from.0));
            }
        }
        next = end;
    }
    seen
}

fn collected(lists: &[StoredExtent], from: Offset, until: Offset) -> Vec<AbortedTransaction> {
    let first = lists.partition_point(|extent| extent.id.base <= from).saturating_sub(1);
    let mut found = Vec::new();
    for transaction in lists.iter().skip(first).flat_map(|extent| &extent.aborted) {
        if transaction.last >= from && transaction.first < until {
            found.push(*transaction);
        }
        if transaction.last_stable >= until {
            break;
        }
    }
    found
}

fn with_header(batch: &Bytes) -> (Header, Bytes) {
    (Header::parse(batch).unwrap(), batch.clone())
}

fn kept(batch: &Bytes) -> Vec<KeptRecord> {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let records = record::records(batch).unwrap().map(Result::unwrap);
    records.map(|one| (one.offset.0, text(one.key.unwrap()), one.value.map(text))).collect()
}

impl ExtentReader for StoredExtent {
    fn id(&self) -> ExtentId {
        self.id
    }

    fn bytes(&self) -> u64 {
        self.batches.iter().map(|batch| batch.len() as u64).sum()
    }

    fn max_timestamp(&self) -> Timestamp {
        NOW
    }

    fn read_bytes(&self, from: Offset, end: Offset, max_bytes: usize) -> Result<Bytes, ReadError> {
        let mut read = Vec::new();
        for (header, batch) in self.batches.iter().map(with_header) {
            if header.last_offset() < Some(from) {
                continue;
            }
            if header.base_offset >= end || (!read.is_empty() && read.len() + batch.len() > max_bytes) {
                break;
            }
            read.extend_from_slice(&batch);
        }
        if read.is_empty() { Err(ReadError::Behind) } else { Ok(read.into()) }
    }

    fn aborted(&self) -> Result<Arc<[AbortedTransaction]>, ReadError> {
        Ok(self.aborted.as_slice().into())
    }

    fn aborted_within(&self, _: &Range<Offset>, _: bool) -> Result<AbortedPart, ReadError> {
        unreachable!("the cleaner reads whole lists")
    }

    fn remake_aborted(&self, _: Vec<Arc<dyn ExtentReader>>, _: Offset) -> Result<(), ReadError> {
        unreachable!("no list is damaged")
    }

    fn read_now(&self, _: &ExtentRange) -> Result<Batches, ReadError> {
        unreachable!("the cleaner blocks")
    }

    fn read(self: Arc<Self>, _: ExtentRange) -> ExtentRead {
        unreachable!("the cleaner blocks")
    }

    fn find_by_time(
        &self,
        _: Timestamp,
        _: Offset,
        _: Offset,
    ) -> Result<Option<record::TimedOffset>, ReadError> {
        unreachable!("the cleaner looks for no time")
    }

    fn find_max_timestamp(&self, _: Offset, _: Offset) -> Result<Option<record::TimedOffset>, ReadError> {
        unreachable!("the cleaner looks for no time")
    }

    fn time_of(&self, _: Offset) -> Result<Timestamp, ReadError> {
        unreachable!("the cleaner looks for no time")
    }

    fn describe(&self) -> String {
        format!("{:?}", self.id)
    }
}

/// Applies commands at once.
struct Direct {
    shard: Arc<Mutex<Shard>>,
    now: Timestamp,
}

impl Line for Direct {
    fn submit(&self, work: Work) {
        let Work::Command { command, done } = work else { unreachable!("the cleaner appends nothing") };
        done(self.shard.lock().unwrap().apply(self.now, &command).map_err(StoreError::Refused));
    }

    fn barrier(&self) -> Barrier {
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self) {}
}

/// Collects the extents of a run.
#[derive(Default)]
struct InMemory {
    made: Vec<StoredExtent>,
}

impl Sink for InMemory {
    fn begin(&mut self, id: ExtentId) -> io::Result<()> {
        self.made.push(StoredExtent { id, batches: Vec::new(), aborted: Vec::new() });
        Ok(())
    }

    fn append(&mut self, batch: &Bytes) -> io::Result<()> {
        self.made.last_mut().unwrap().batches.push(batch.clone());
        Ok(())
    }

    fn list_aborted(&mut self, transaction: &AbortedTransaction) {
        self.made.last_mut().unwrap().aborted.push(*transaction);
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self) {
        self.made.clear();
    }
}
