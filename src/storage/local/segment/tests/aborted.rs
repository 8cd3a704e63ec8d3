//! The list of aborted transactions beside a segment: it is stored, and made again from the records after damage.

use super::*;
use crate::kernel::AbortedList;
use crate::record::{Marker, Producer};
use crate::types::{LeaderEpoch, ProducerEpoch, ProducerId, TransactionEnd};
use TransactionEnd::{Abort, Commit};

const LIST: &str = "topics/t-0/00000000000000000000.txnindex";

/// Segments of one partition, the list of each, and the open transactions.
struct Log {
    f: Fixture,
    segments: Vec<(Arc<Segment>, Vec<AbortedTransaction>)>,
    open: Vec<(i64, Offset)>,
    end: Offset,
}

impl Log {
    fn new() -> Log {
        let mut log = Log { f: fixture(0, 0), segments: Vec::new(), open: Vec::new(), end: Offset(0) };
        log.roll();
        log
    }

    fn roll(&mut self) {
        self.segments.push((Arc::new(Segment::new(&self.f.dir, self.end, 4096)), Vec::new()));
    }

    fn newest(&self) -> &Segment {
        &self.segments.last().unwrap().0
    }

    /// Appends one record of a transaction.
    fn send(&mut self, producer: i64) {
        let of = Producer { id: ProducerId(producer), epoch: ProducerEpoch(0), base_sequence: 0 };
        let batch = BatchBuilder::new().base_offset(self.end).producer(of).transactional();
        append_bytes(self.newest(), &batch.value(Timestamp(1), "v").build());
        if !self.open.iter().any(|(open, _)| *open == producer) {
            self.open.push((producer, self.end));
        }
        self.end.0 += 1;
    }

    fn end(&mut self, producer: i64, end: TransactionEnd) {
        let marker = Marker {
            producer: ProducerId(producer),
            epoch: ProducerEpoch(0),
            end,
            coordinator_epoch: 0,
            time: Timestamp(1),
        };
        append_bytes(self.newest(), &marker.batch(self.end, LeaderEpoch(0)));
        let last = self.end;
        self.end.0 += 1;
        let Some(at) = self.open.iter().position(|(open, _)| *open == producer) else { return };
        let (_, first) = self.open.remove(at);
        if end == Abort {
            let last_stable = self.open.iter().map(|(_, first)| *first).min().unwrap_or(self.end);
            let aborted = AbortedTransaction { producer: marker.producer, first, last, last_stable };
            self.newest().append_aborted(&aborted);
            self.segments.last_mut().unwrap().1.push(aborted);
        }
    }

    /// A segment as the next start opens it.
    fn reopened(&self, at: usize) -> Arc<Segment> {
        let (segment, list) = &self.segments[at];
        let state = kernel::Extent {
            base: segment.base,
            bytes: segment.size(),
            aborted: AbortedList::of(list),
            ..self.f.state()
        };
        Arc::new(Segment::existing(&self.f.dir, &state))
    }

    fn sync(&self) {
        self.segments.iter().for_each(|(segment, _)| segment.sync().unwrap());
    }

    /// The list of a segment after a restart, made again if it is damaged.
    fn listed(&self, at: usize) -> Vec<AbortedTransaction> {
        let segment = self.reopened(at);
        match segment.read_aborted() {
            Err(ReadError::Unlisted) => {
                let before: Vec<_> = (0..at).map(|before| self.reopened(before)).collect();
                segment.remake_aborted(&before, Offset(0)).unwrap();
                segment.read_aborted().unwrap()
            }
            read => read.unwrap(),
        }
    }

    fn file(&self) -> Vec<u8> {
        fs::read_all(&*self.f.fs, Path::new(LIST), 1 << 20).unwrap()
    }

    fn overwrite(&self, bytes: &[u8]) {
        let file = self.f.fs.open(Path::new(LIST), Open::WriteOrNew).unwrap();
        file.truncate(0).unwrap();
        file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
    }
}

/// Two segments. Transactions are open over the border of both, and of one only the marker is in the second.
fn two_segments() -> Log {
    let mut log = Log::new();
    (1..5).for_each(|producer| log.send(producer));
    log.end(2, Abort);
    log.end(3, Commit);
    log.send(2);
    log.end(2, Abort);
    log.end(9, Abort); // a marker without a transaction
    log.roll();
    log.end(1, Abort);
    log.send(3);
    log.end(4, Commit);
    log.end(3, Abort);
    log
}

fn stored(list: &[AbortedTransaction]) -> Vec<u8> {
    list.iter().flat_map(AbortedTransaction::to_bytes).collect()
}

#[test]
fn a_list_is_there_before_the_sync_and_stored_after_it_as_kafka_stores_it() {
    let log = two_segments();
    let (first, list) = &log.segments[0];
    assert_eq!((first.read_aborted().unwrap(), list.len()), (list.clone(), 2));
    assert!(log.f.fs.open(Path::new(LIST), Open::Read).is_err(), "not yet");
    log.sync();
    assert_eq!(log.file(), stored(list));
    for at in 0..2 {
        let segment = log.reopened(at);
        assert_eq!(segment.aborted_within(&(Offset(0)..log.end), false), Err(ReadError::MustWait));
        assert_eq!(segment.read_aborted().unwrap(), log.segments[at].1);
        let part = segment.aborted_within(&(Offset(0)..log.end), false).unwrap();
        assert_eq!(part.list, log.segments[at].1, "it is in memory now");
    }
    assert_eq!(log.f.files.open_count(), 2, "only the segments themselves");
}

#[test]
fn a_list_goes_on_where_it_ended_before_a_restart() {
    let mut log = two_segments();
    log.sync();
    log.segments[1].0 = log.reopened(1);
    log.send(7);
    log.end(7, Abort);
    assert_eq!(log.newest().read_aborted().unwrap(), log.segments[1].1);
    log.sync();
    assert_eq!(log.listed(1), log.segments[1].1);
    assert_eq!(log.segments[1].1.len(), 3);
}

#[test]
fn transactions_that_ended_after_the_snapshot_are_not_listed_twice() {
    let log = two_segments();
    let (written, list) = &log.segments[0];
    for (is_stored, since_the_snapshot) in [(false, 2), (true, 2), (true, 1), (true, 0)] {
        if is_stored {
            written.sync().unwrap();
        }
        let segment = log.reopened(0);
        let newest = &list[list.len() - since_the_snapshot..];
        newest.iter().for_each(|aborted| segment.restore_aborted(aborted));
        assert_eq!(segment.read_aborted().unwrap(), *list, "{is_stored} {since_the_snapshot}");
        segment.sync().unwrap();
        assert_eq!(log.file(), stored(list));
    }
    // Its records are only in the journal, and are written again later.
    let segment = Segment::new(&log.f.dir, Offset(0), 4096);
    list.iter().for_each(|aborted| segment.restore_aborted(aborted));
    assert_eq!(segment.read_aborted().unwrap(), *list);
}

#[test]
fn any_damage_of_a_list_is_noticed_and_mended_from_the_records() {
    let log = two_segments();
    log.sync();
    let whole = log.file();
    let mut damaged = Vec::new();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        damaged.push(flipped);
        damaged.push(whole[..at].to_vec());
    }
    damaged.push([&whole[34..], &whole[..34]].concat());
    for bytes in damaged {
        log.overwrite(&bytes);
        assert_eq!(log.reopened(0).read_aborted(), Err(ReadError::Unlisted), "{bytes:?}");
        assert_eq!(log.listed(0), log.segments[0].1);
        assert_eq!(log.file(), whole);
    }
    log.f.fs.remove(Path::new(LIST)).unwrap();
    assert_eq!(log.listed(0), log.segments[0].1);
    assert_eq!(log.file(), whole);
}

#[test]
fn a_list_of_transactions_that_began_in_an_earlier_segment_is_made_again() {
    let log = two_segments();
    log.sync();
    let second = "topics/t-0/00000000000000000009.txnindex";
    assert_eq!(log.segments[1].0.base, Offset(9));
    log.f.fs.remove(Path::new(second)).unwrap();
    assert_eq!(log.reopened(1).read_aborted(), Err(ReadError::Unlisted));
    assert_eq!(log.listed(1), log.segments[1].1);
    let file = fs::read_all(&*log.f.fs, Path::new(second), 1000).unwrap();
    assert_eq!(file, stored(&log.segments[1].1));
}

#[test]
fn bytes_after_the_list_in_its_file_are_ignored_and_cut_by_the_next_write() {
    let mut log = two_segments();
    log.sync();
    let torn = [&log.file()[..], b"torn"].concat();
    log.overwrite(&torn);
    assert_eq!(log.reopened(0).read_aborted().unwrap(), log.segments[0].1);
    log.segments.truncate(1);
    log.segments[0].0 = log.reopened(0);
    log.open.clear();
    let unwritten = AbortedTransaction { first: Offset(20), last: Offset(21), ..log.segments[0].1[0] };
    log.segments[0].1.push(unwritten);
    log.overwrite(&[&torn[..], &[7; 100]].concat());
    log.segments[0].0.append_aborted(&unwritten);
    log.sync();
    assert_eq!(log.file(), stored(&log.segments[0].1));
}

#[test]
fn without_the_records_of_their_beginning_transactions_are_listed_from_their_first_record_on() {
    let mut log = two_segments();
    log.send(5);
    log.roll();
    log.send(5);
    log.end(5, Abort);
    log.sync();
    let (base, original) = (log.segments[2].0.base, log.segments[2].1[0]);
    log.f.fs.remove(&log.f.dir.aborted_path(log.segments[2].0.id())).unwrap();
    let segment = log.reopened(2);
    // The segments before it were removed with the log start.
    segment.remake_aborted(&[], base).unwrap();
    let from_here = AbortedTransaction { first: base, ..original };
    assert_eq!(segment.read_aborted().unwrap(), [from_here]);
    let later = AbortedTransaction { first: Offset(90), last: Offset(91), ..original };
    segment.append_aborted(&later);
    segment.sync().unwrap();
    assert_eq!(segment.read_aborted().unwrap(), [from_here, later]);
}

#[test]
fn a_damaged_record_makes_no_list() {
    let log = two_segments();
    log.sync();
    log.f.fs.remove(Path::new(LIST)).unwrap();
    let producer_id = 43 + 7;
    log.f.fs.flip_bit(Path::new("topics/t-0/00000000000000000000.log"), producer_id * 8).unwrap();
    let made = log.reopened(0).remake_aborted(&[], Offset(0));
    assert!(matches!(made, Err(ReadError::Damaged(_))), "{made:?}");
    log.reopened(0).remake_aborted(&[], Offset(1)).unwrap();
}

#[test]
fn i1_a_list_that_was_synced_survives_a_power_cut_and_another_is_made_again() {
    for seed in 0..60 {
        let mut log = two_segments();
        log.f.fs.sync_dir(fs::parent(Path::new("topics"))).unwrap();
        if seed % 2 == 0 {
            log.sync();
        } else {
            // The records are durable, their lists are not.
            log.segments.iter().for_each(|(segment, _)| drop(segment.write_aborted().unwrap()));
            log.segments.iter().for_each(|(segment, _)| segment.try_to_sync().unwrap());
        }
        let fs = Arc::new(log.f.fs.crash(seed));
        let files = Arc::new(Files::new(Arc::clone(&fs) as Arc<dyn Fs>, 4));
        log.f.dir = Arc::new(PartitionDir::new(&files, &log.f.trash, "topics/t-0".into(), KEY));
        log.f.fs = fs;
        for at in 0..2 {
            if seed % 2 == 0 {
                assert_eq!(log.reopened(at).read_aborted().unwrap(), log.segments[at].1);
            }
            assert_eq!(log.listed(at), log.segments[at].1, "seed {seed}");
        }
    }
}

#[test]
fn a_list_that_cannot_be_written_stays_in_memory() {
    let log = two_segments();
    log.f.fs.fail(Fault { path: ".txnindex".into(), lasting: true, ..Fault::next(Operation::Write) });
    log.sync();
    assert_eq!(log.segments[0].0.read_aborted().unwrap(), log.segments[0].1);
    log.f.fs.heal();
    log.sync();
    assert_eq!(log.file(), stored(&log.segments[0].1));
}

#[test]
fn a_list_that_cannot_be_read_is_made_again_from_the_records() {
    let log = two_segments();
    log.sync();
    let segment = log.reopened(0);
    log.f.fs.fail(Fault { path: ".txnindex".into(), lasting: true, ..Fault::next(Operation::Open) });
    assert_eq!(segment.read_aborted(), Err(ReadError::Unlisted));
    segment.remake_aborted(&[], Offset(0)).unwrap();
    assert_eq!(segment.read_aborted().unwrap(), log.segments[0].1);
}

#[test]
fn a_long_list_is_written_before_the_sync_and_read_from_its_file() {
    let mut log = Log::new();
    for _ in 0..5_000 {
        log.send(1);
        log.end(1, Abort);
    }
    let (segment, list) = &log.segments[0];
    assert_eq!(log.file(), stored(&list[..4096]));
    let newest = Offset(9_990)..log.end;
    assert_eq!(segment.aborted_within(&newest, false), Err(ReadError::MustWait), "it is too long to be kept");
    assert_eq!(segment.aborted_within(&newest, true).unwrap().list, list[4_995..]);
    log.sync();
    assert_eq!(log.listed(0), *list);
}

#[test]
fn a_long_list_is_read_in_pieces_and_only_the_wanted_part_is_kept() {
    let mut log = Log::new();
    for _ in 0..5_000 {
        log.send(1);
        log.end(1, Abort);
    }
    log.sync();
    let (list, segment) = (&log.segments[0].1, log.reopened(0));
    let is_read = |line: &&str| line.starts_with("Read ") && line.contains(LIST);
    let reads = || log.f.fs.trace().lines().filter(is_read).count();
    for (from, until) in [(0, 1), (1, 2), (3_000, 3_011), (8_191, 8_195), (9_999, 10_000), (0, 10_000)] {
        let (range, before) = (Offset(from)..Offset(until), reads());
        let part = segment.aborted_within(&range, true).unwrap();
        assert_eq!(part, AbortedPart::of(list, &range), "{from}");
        assert_eq!(reads() - before, 5, "a thousand of them at once");
        assert_eq!(segment.aborted_within(&range, false), Err(ReadError::MustWait));
    }
    log.f.fs.flip_bit(Path::new(LIST), 34 * 8 * 4_999 + 100).unwrap();
    assert_eq!(segment.aborted_within(&(Offset(0)..Offset(1)), true), Err(ReadError::Unlisted));
}

#[test]
fn a_removed_segment_leaves_no_list_behind() {
    let log = two_segments();
    log.sync();
    let segment = &log.segments[0].0;
    let more = AbortedTransaction { first: Offset(90), last: Offset(91), ..log.segments[0].1[0] };
    segment.append_aborted(&more);
    segment.remove().unwrap();
    drop(segment.sync());
    assert!(log.f.fs.open(Path::new(LIST), Open::Read).is_err());
    let all = segment.read_aborted().unwrap();
    assert_eq!(all.len(), 3, "readers that have it go on");
    let never_read = log.reopened(0);
    never_read.abandon();
    assert_eq!(never_read.read_aborted(), Err(ReadError::Gone));
}
