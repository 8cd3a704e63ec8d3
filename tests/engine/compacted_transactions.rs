//! Compaction of a log with transactions on a simulated disk: consumers see the same values before and after, through
//! every crash of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jackdaw::config::Durability;
use jackdaw::kernel::{Applied, Command, EndTransaction, EndedBy, ProducerAt};
use jackdaw::record::{self, BatchBuilder, Header, Marker};
use jackdaw::storage::local::fs::{Fs, Open, SimFs};
use jackdaw::storage::{Isolation, NewTopic, Partition, ReadRange, Store, StoreOptions};
use jackdaw::time::Clock;
use jackdaw::types::{AbortedTransaction, Offset, ProducerId, Timestamp, TransactionEnd};

use crate::disk::{checked, files, look, now, options, producer_of};
use crate::random::Random;

/// The newest value of each key.
type Values = BTreeMap<String, String>;

struct Log {
    fs: SimFs,
    clock: Clock,
    store: Store,
    /// The producers, with their next sequence.
    producers: Vec<(ProducerAt, i32)>,
    sent: Vec<Sent>,
}

struct Sent {
    of: usize,
    key: String,
    value: String,
    /// `None` while its transaction is open.
    end: Option<TransactionEnd>,
}

impl Log {
    fn new(seed: u64) -> Log {
        let fs = SimFs::new(seed);
        let clock = Clock::manual(Timestamp(1_000_000));
        let store = open(&fs, &clock);
        let given = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0"),
            ("delete.retention.ms", "1000"),
        ];
        let overrides = given.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        now(store.create_topic(NewTopic { name: "t".into(), partitions: 1, overrides })).unwrap();
        let producers = ["one", "two", "three"].map(|id| (producer_of(&store, id), 0)).into();
        Log { fs, clock, store, producers, sent: Vec::new() }
    }

    fn partition(&self) -> Arc<Partition> {
        self.store.topics().by_name("t").unwrap().partition(0).cloned().unwrap()
    }

    /// Appends one record, in the open transaction of a producer or in a new one.
    fn send(&mut self, of: usize, key: &str, value: &str) {
        let (ProducerAt { id, epoch }, sequence) = self.producers[of];
        let batch = BatchBuilder::new()
            .producer(record::Producer { id, epoch, base_sequence: sequence })
            .transactional()
            .record(Timestamp(999_000), Some(key.as_bytes()), Some(value.as_bytes()), &[]);
        now(self.store.append_and_join(&self.partition(), checked(batch.build()))).unwrap();
        self.producers[of].1 += 1;
        self.sent.push(Sent { of, key: key.into(), value: value.into(), end: None });
    }

    fn end(&mut self, of: usize, end: TransactionEnd) {
        let open: Vec<&mut Sent> =
            self.sent.iter_mut().filter(|sent| sent.of == of && sent.end.is_none()).collect();
        if open.is_empty() {
            return;
        }
        open.into_iter().for_each(|sent| sent.end = Some(end));
        let (producer, _) = self.producers[of];
        let id = ["one", "two", "three"][of].into();
        let end_it =
            EndTransaction { id, producer, began: None, end, by: EndedBy::ClientWithNewEpoch, rolls: vec![] };
        match now(self.store.transact(Command::EndTransaction(end_it))).unwrap() {
            Applied::TransactionEnded(ended) => self.producers[of] = (ended.producer, 0),
            other => panic!("{other:?}"),
        }
    }

    /// What a consumer with read_committed has to see once nothing is open.
    fn committed(&self) -> Values {
        let committed = self.sent.iter().filter(|sent| sent.end == Some(TransactionEnd::Commit));
        committed.map(|sent| (sent.key.clone(), sent.value.clone())).collect()
    }

    /// Appends records of interleaved transactions, in several segments. At the end none is open.
    fn fill(&mut self, random: &mut Random) {
        for number in 0..60 {
            let of = random.below(3) as usize;
            let key = format!("key {}", random.below(8));
            self.send(of, &key, &format!("{number} {}", "x".repeat(200)));
            if random.one_in(4) {
                let end = [TransactionEnd::Commit, TransactionEnd::Abort][random.below(2) as usize];
                self.end(random.below(3) as usize, end);
            }
        }
        for of in 0..3 {
            self.end(of, TransactionEnd::Abort);
        }
        self.store.run_background();
    }

    /// The next offset of a consumer with read_committed that reads from `from`, and whether it gets records.
    fn read_from(&self, from: i64) -> (i64, bool) {
        let isolation = Isolation::ReadCommitted;
        let from = Offset(from);
        let range = ReadRange { from, max_bytes: 700, at_least_one_batch: true, isolation, listed: false };
        let answer = now(self.partition().read(range)).unwrap();
        (answer.next.0, !answer.records.is_empty())
    }

    fn compact(&self) {
        self.store.compact();
        self.store.run_background();
    }

    fn reopened(self, fs: SimFs) -> Log {
        drop(self.store);
        let store = open(&fs, &self.clock);
        Log { store, fs, ..self }
    }

    /// What a consumer with read_committed sees.
    fn seen(&self) -> Values {
        let partition = self.partition();
        let mut seen = Values::new();
        let mut next = Offset(0);
        loop {
            let isolation = Isolation::ReadCommitted;
            let range =
                ReadRange { from: next, max_bytes: 700, at_least_one_batch: true, isolation, listed: false };
            let answer = now(partition.read(range)).unwrap();
            if answer.records.is_empty() {
                return seen;
            }
            let aborted = now(partition.aborted(next..answer.next)).unwrap();
            seen.extend(visible(&answer.to_bytes().unwrap(), aborted));
            next = answer.next;
        }
    }

    /// The numbers of data batches, of markers, and of aborted transactions in the lists of compacted segments.
    fn stored(&self) -> (usize, usize, usize) {
        let (mut records, mut markers, mut aborted) = (0, 0, 0);
        for path in files(&self.fs, "data/topics/t-0".as_ref()) {
            let file = self.fs.open(&path, Open::Read).unwrap();
            let bytes = Bytes::from(file.read_new(file.len().unwrap() as usize, 0).unwrap());
            match path.extension().and_then(|suffix| suffix.to_str()) {
                Some("log") => {
                    let headers = record::batches(&bytes).map(|batch| batch.unwrap().0);
                    let control: Vec<bool> = headers.map(|header| header.attributes.control()).collect();
                    markers += control.iter().filter(|control| **control).count();
                    records += control.iter().filter(|control| !**control).count();
                }
                Some("txnindex") if path.with_extension("").extension().is_some() => {
                    aborted += bytes.len() / AbortedTransaction::SIZE;
                }
                _ => {}
            }
        }
        (records, markers, aborted)
    }
}

fn open(fs: &SimFs, clock: &Clock) -> Store {
    Store::open(StoreOptions { clock: clock.clone(), ..options(fs, Durability::Fsync) }).unwrap()
}

/// The records that a consumer with read_committed keeps of an answer.
fn visible(answer: &Bytes, mut aborted: Vec<AbortedTransaction>) -> Vec<(String, String)> {
    aborted.sort_by_key(|transaction| transaction.first);
    let mut aborted = aborted.into_iter().peekable();
    let mut hidden: Vec<ProducerId> = Vec::new();
    let mut visible = Vec::new();
    for batch in record::batches(answer) {
        let (header, batch): (Header, Bytes) = batch.unwrap();
        while let Some(begun) = aborted.next_if(|one| Some(one.first) <= header.last_offset()) {
            hidden.push(begun.producer);
        }
        match Marker::of_batch(&batch) {
            Some(marker) if marker.end == TransactionEnd::Abort => {
                hidden.retain(|producer| *producer != marker.producer);
            }
            Some(_) => {}
            None if hidden.contains(&header.producer_id) => {}
            None => {
                for record in record::records(&batch).unwrap().map(Result::unwrap) {
                    let text = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
                    visible.push((text(record.key), text(record.value)));
                }
            }
        }
    }
    visible
}

#[test]
fn a5_aborted_records_are_removed_then_their_lists_and_after_a_while_their_markers() {
    let mut log = Log::new(1);
    let mut random = Random(1);
    let mut left = Vec::new();
    for _ in 0..4 {
        log.fill(&mut random);
        log.compact();
        assert_eq!(log.seen(), log.committed());
        left.push(log.stored());
        log.clock.set(Timestamp(log.clock.now().0 + 1_000));
    }
    assert!(look(&log.fs).is_sound());
    // Each round has 60 records. What is left are those of the newest segment, and 8 keys.
    assert!(left.iter().all(|(records, ..)| *records < 40), "{left:?}");
    let (_, markers, aborted) = left[3];
    assert!(markers < 40 && aborted < 20, "the first ones are gone: {left:?}");
    assert!(left.iter().all(|(.., aborted)| *aborted > 0), "{left:?}");
}

#[test]
fn h17_a_crash_anywhere_in_a_run_hides_no_committed_record_and_shows_no_aborted_one() {
    for steps in (0..60).step_by(2) {
        let mut random = Random(steps);
        let mut log = Log::new(100 + steps);
        log.fill(&mut random);
        log.compact();
        log.fill(&mut random);
        log.fs.off_after(steps);
        log.compact();
        let fs = if steps % 3 == 0 { log.fs.kill() } else { log.fs.crash(steps) };
        let mut log = log.reopened(fs);
        assert_eq!(log.seen(), log.committed(), "after {steps} steps");
        log.compact();
        assert_eq!(log.seen(), log.committed(), "after {steps} steps and another run");
        log.fill(&mut random);
        assert_eq!(log.seen(), log.committed(), "after {steps} steps transactions go on");
    }
}

#[test]
fn an_open_transaction_holds_back_compaction_until_it_ends() {
    let mut log = Log::new(3);
    let mut random = Random(3);
    log.send(0, "open", "aborted");
    for _ in 0..30 {
        log.send(1, "key", &"x".repeat(300));
    }
    log.end(1, TransactionEnd::Commit);
    log.store.run_background();
    let before = log.stored();
    log.compact();
    assert_eq!(log.stored(), before);
    log.end(0, TransactionEnd::Abort);
    log.fill(&mut random);
    log.compact();
    assert!(log.stored().0 < before.0, "{:?}", log.stored());
    assert_eq!(log.seen(), log.committed());
}

#[test]
fn where_compaction_leaves_nothing_below_an_open_transaction_its_readers_wait() {
    let mut log = Log::new(4);
    let plain = BatchBuilder::new().record(Timestamp(999_000), Some(b"a"), Some(&[b'x'; 2_000]), &[]);
    now(log.store.append(&log.partition(), checked(plain.build()))).unwrap();
    log.send(0, "b", &"x".repeat(1_500));
    // This one begins the next segment.
    log.send(1, "c", &"x".repeat(1_500));
    log.end(0, TransactionEnd::Abort);
    log.store.run_background();
    assert_eq!(log.read_from(1), (2, true));
    log.compact();
    assert_eq!(log.stored().0, 2, "the aborted record is removed");
    assert_eq!(log.read_from(1), (2, false));
    assert_eq!(log.read_from(0), (1, true));
    log.end(1, TransactionEnd::Commit);
    assert_eq!(log.read_from(1), (3, true));
}

#[test]
fn committed_records_are_read_from_every_offset_while_transactions_are_open_and_after_each_run() {
    for seed in 0..30 {
        let mut random = Random(seed);
        let mut log = Log::new(200 + seed);
        for number in 0..80 {
            let key = format!("key {}", random.below(3));
            log.send(random.below(3) as usize, &key, &format!("{number} {}", "x".repeat(600)));
            if random.one_in(3) {
                let end = [TransactionEnd::Commit, TransactionEnd::Abort][random.below(2) as usize];
                log.end(random.below(3) as usize, end);
            }
            if random.one_in(10) {
                log.store.run_background();
                log.compact();
                let ends = log.partition().ends();
                for from in ends.log_start.0..ends.last_stable.0 {
                    let (next, has_records) = log.read_from(from);
                    let is_right = if has_records { next > from } else { next == ends.last_stable.0 };
                    assert!(is_right, "seed {seed}: {next} from {from} of {ends:?}");
                }
            }
        }
    }
}
