//! Tests of transactional ids. Each one is a conversation of clients with the kernel.

use super::*;
use crate::kernel::group::GroupRecord;
use crate::kernel::offsets::{CommittedOffset, OffsetChange};
use crate::kernel::producers::PRODUCER_BYTES;
use crate::types::TransactionEnd::{self, Abort, Commit as Committed};

const GROUP: &str = "readers";

/// A shard with a topic of two partitions. Each command is an entry of its own.
struct Story {
    shard: Shard,
    entries: u64,
}

fn story() -> Story {
    Story { shard: with_topic(), entries: 0 }
}

fn producer(id: i64, epoch: i16) -> ProducerAt {
    ProducerAt { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}

impl Story {
    fn apply(&mut self, command: &Command) -> Result<Applied, Refusal> {
        let applied = self.shard.apply(at(1), command);
        self.entries += 1;
        self.shard.step(&self.entries.to_le_bytes());
        self.check();
        applied
    }

    /// Open transactions of the partitions and of the ids are the same, and a snapshot keeps all of it.
    fn check(&self) {
        for (index, partition) in
            (0..).zip(self.shard.topic(TOPIC).into_iter().flat_map(|topic| topic.partitions()))
        {
            let of = TopicPartition::new(TOPIC, index);
            let firsts = self.shard.transactions().open().filter_map(|(_, transaction)| {
                let first = transaction.ongoing()?.partitions.get(&of).copied()??;
                Some((first, transaction.producer.id))
            });
            let expected: BTreeMap<Offset, ProducerId> = firsts.collect();
            let open: BTreeMap<Offset, ProducerId> =
                partition.open.iter().map(|(at, id)| (*at, *id)).collect();
            assert_eq!(open, expected, "partition {index}");
        }
        let stored = self.shard.write_parts(PartsWriter::default());
        let read = Shard::of_parts(Parts::split(&stored).unwrap()).unwrap().with_all_producers();
        assert_eq!(read, self.shard);
    }

    fn init(&mut self, id: &str, known: Option<ProducerAt>) -> Result<Applied, Refusal> {
        let (id, rolls) = (id.to_owned(), Vec::new());
        self.apply(&Command::InitTransaction(InitTransaction {
            id,
            known,
            timeout_ms: 1000,
            two_phase: false,
            rolls,
        }))
    }

    /// Starts a producer. No transaction is open.
    fn start(&mut self, id: &str) -> ProducerAt {
        match self.init(id, None) {
            Ok(Applied::TransactionInitialized { producer }) => producer,
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, id: &str, producer: ProducerAt, partitions: &[i32]) -> Result<Applied, Refusal> {
        let partitions = partitions.iter().map(|index| TopicPartition::new(TOPIC, *index)).collect();
        let (id, groups) = (id.to_owned(), Vec::new());
        self.apply(&Command::JoinTransaction(JoinTransaction { id, producer, partitions, groups }))
    }

    /// Appends a batch of one record. Returns its offset.
    fn send(
        &mut self,
        producer: ProducerAt,
        partition: i32,
        sequence: i32,
        flags: BatchFlags,
    ) -> Result<i64, Refusal> {
        let ProducerAt { id, epoch } = producer;
        let producer = Some(ProducerStamp { id, epoch, sequence });
        let commit = Command::Commit(Commit { partition, producer, flags, ..batch(1) });
        self.apply(&commit).map(|applied| match applied {
            Applied::Appended(placed) => placed.base_offset.0,
            Applied::Duplicate { base_offset, .. } => base_offset.0,
            other => panic!("{other:?}"),
        })
    }

    fn end(
        &mut self,
        id: &str,
        producer: ProducerAt,
        end: TransactionEnd,
        by: EndedBy,
    ) -> Result<Applied, Refusal> {
        let (id, rolls) = (id.to_owned(), Vec::new());
        let command = EndTransaction { id, producer, began: None, end, by, rolls };
        self.apply(&Command::EndTransaction(command))
    }

    /// Stages an offset in the group, which is created if it does not exist.
    fn stage(&mut self, id: &str, producer: ProducerAt, offset: i64) -> Result<Applied, Refusal> {
        if self.shard.groups().get(GROUP).is_none() {
            self.change_group(OffsetChange::Committed(Vec::new()).into());
        }
        self.stage_in_known_group(id, producer, offset)
    }

    fn stage_in_known_group(
        &mut self,
        id: &str,
        producer: ProducerAt,
        offset: i64,
    ) -> Result<Applied, Refusal> {
        self.apply(&Command::TransactionOffsets(TransactionOffsets {
            id: id.to_owned(),
            producer,
            joins: true,
            group: GROUP.to_owned(),
            after: 0,
            offsets: vec![committed(offset)],
        }))
    }

    fn commit_plainly(&mut self, offset: i64) {
        self.change_group(OffsetChange::Committed(vec![committed(offset)]).into());
    }

    fn change_group(&mut self, change: group::Change) {
        let command = Command::Group { group: GROUP.to_owned(), after: 0, changes: vec![change] };
        self.apply(&command).unwrap();
    }

    /// The committed offset of the group, and whether another one is staged.
    fn offset(&self) -> (Option<i64>, bool) {
        let of = TopicPartition::new(TOPIC, 0);
        let offsets = self.shard.groups().offsets(GROUP).cloned().unwrap_or_default();
        (offsets.get(of).map(|committed| committed.offset.0), offsets.is_staged(of))
    }

    fn last_stable(&self, partition: i32) -> i64 {
        self.shard.partition(TOPIC, partition).unwrap().last_stable().0
    }
}

fn committed(offset: i64) -> (TopicPartition, CommittedOffset) {
    let (offset, committed_at) = (Offset(offset), at(1));
    let metadata = String::new();
    (
        TopicPartition::new(TOPIC, 0),
        CommittedOffset { offset, leader_epoch: None, metadata, committed_at, expires_at: None },
    )
}

const JOINS: BatchFlags = BatchFlags(3);
const IN: BatchFlags = BatchFlags::TRANSACTIONAL;

/// The offsets of the markers, and the next producer.
fn ended(outcome: Result<Applied, Refusal>) -> (Vec<(i32, i64)>, ProducerAt) {
    match outcome {
        Ok(Applied::TransactionEnded(ended)) => {
            let place = |one: &PlacedMarker| (one.placed.partition, one.placed.base_offset.0);
            (ended.placed.iter().map(place).collect(), ended.producer)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transaction_over_two_partitions_ends_in_both_at_once_and_begins_an_epoch() {
    let mut story = story();
    let one = story.start("a");
    assert_eq!(one, producer(0, 0));
    assert_eq!(story.send(one, 0, 0, JOINS), Ok(0));
    assert_eq!(story.send(one, 1, 0, JOINS), Ok(0));
    assert_eq!(story.send(one, 1, 1, JOINS), Ok(1));
    assert_eq!((story.last_stable(0), story.last_stable(1)), (0, 0));
    let outcome = story.end("a", one, Committed, EndedBy::ClientWithNewEpoch);
    assert_eq!(ended(outcome), (vec![(0, 1), (1, 2)], producer(0, 1)));
    assert_eq!((story.last_stable(0), story.last_stable(1)), (2, 3));
    assert_eq!(story.send(one, 0, 1, JOINS), Err(stale(1, 0)), "the old epoch is fenced");
}

fn stale(current: i16, got: i16) -> Refusal {
    Refusal::StaleProducerEpoch { current: ProducerEpoch(current), got: ProducerEpoch(got) }
}

#[test]
fn an_aborted_transaction_is_listed_with_its_first_record_and_its_marker() {
    let mut story = story();
    let (one, two) = (story.start("a"), story.start("b"));
    story.send(one, 0, 0, JOINS).unwrap();
    story.send(two, 0, 0, JOINS).unwrap();
    let aborted = |outcome: Result<Applied, Refusal>| match outcome {
        Ok(Applied::TransactionEnded(ended)) => {
            ended.placed[0].aborted.map(|it| (it.first.0, it.last.0, it.last_stable.0))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(aborted(story.end("b", two, Abort, EndedBy::ClientWithNewEpoch)), Some((1, 2, 0)));
    assert_eq!(story.last_stable(0), 0, "the first one is still open");
    assert_eq!(aborted(story.end("a", one, Abort, EndedBy::ClientWithNewEpoch)), Some((0, 3, 4)));
    assert_eq!(story.last_stable(0), 4);
    assert_eq!(partition(&story.shard).extents()[0].aborted.count, 2);
}

#[test]
fn a_repeated_end_has_the_same_answer_and_the_opposite_one_is_refused() {
    let mut story = story();
    let one = story.start("a");
    story.send(one, 0, 0, JOINS).unwrap();
    story.end("a", one, Committed, EndedBy::ClientWithNewEpoch).unwrap();
    let again = story.end("a", one, Committed, EndedBy::ClientWithNewEpoch);
    assert_eq!(again, Ok(Applied::TransactionUnchanged { producer: producer(0, 1) }));
    let opposite = story.end("a", one, Abort, EndedBy::ClientWithNewEpoch);
    assert_eq!(opposite, Err(Refusal::InvalidTransactionState));
    assert_eq!(story.end("a", one, Committed, EndedBy::Client), Err(Refusal::ProducerFenced), "version 4");
    story.send(producer(0, 1), 0, 0, JOINS).unwrap();
    let late = story.end("a", one, Committed, EndedBy::ClientWithNewEpoch);
    assert_eq!(late, Err(Refusal::ProducerFenced), "the next transaction is open");
}

#[test]
fn an_abort_of_nothing_begins_an_epoch_each_time_and_a_commit_of_nothing_is_refused() {
    let mut story = story();
    let one = story.start("a");
    assert_eq!(ended(story.end("a", one, Abort, EndedBy::ClientWithNewEpoch)), (vec![], producer(0, 1)));
    let one = producer(0, 1);
    assert_eq!(ended(story.end("a", one, Abort, EndedBy::ClientWithNewEpoch)), (vec![], producer(0, 2)));
    for end in [Abort, Committed] {
        let refused = story.end("b", one, end, EndedBy::Client);
        assert_eq!(refused, Err(Refusal::UnknownTransactionalId));
    }
    let two = story.start("b");
    for by in [EndedBy::Client, EndedBy::ClientWithNewEpoch] {
        assert_eq!(story.end("b", two, Committed, by), Err(Refusal::InvalidTransactionState));
    }
    assert_eq!(story.end("b", two, Abort, EndedBy::Client), Err(Refusal::InvalidTransactionState));
}

#[test]
fn a_second_producer_first_aborts_the_open_transaction_and_then_gets_its_epoch() {
    for (known, epoch) in [(None, 2), (Some(producer(0, 0)), 1)] {
        let mut story = story();
        let one = story.start("a");
        story.send(one, 0, 0, JOINS).unwrap();
        assert_eq!(ended(story.init("a", known)), (vec![(0, 1)], producer(0, 1)));
        let second = story.init("a", known);
        assert_eq!(second, Ok(Applied::TransactionInitialized { producer: producer(0, epoch) }));
        assert_eq!(story.send(one, 0, 1, JOINS), Err(stale(epoch, 0)));
    }
}

#[test]
fn a_zombie_may_abort_after_a_timeout_and_not_commit() {
    let mut story = story();
    let one = story.start("a");
    story.send(one, 0, 0, JOINS).unwrap();
    assert_eq!(ended(story.end("a", one, Abort, EndedBy::Timeout)), (vec![(0, 1)], producer(0, 1)));
    let abort = story.end("a", one, Abort, EndedBy::ClientWithNewEpoch);
    assert_eq!(abort, Ok(Applied::TransactionUnchanged { producer: producer(0, 1) }));
    let commit = story.end("a", one, Committed, EndedBy::ClientWithNewEpoch);
    assert_eq!(commit, Err(Refusal::InvalidTransactionState));
    let again = story.end("a", one, Abort, EndedBy::Timeout);
    assert_eq!(again, Err(Refusal::ProducerFenced), "a late copy of the timeout does nothing");
}

#[test]
fn an_end_with_epoch_minus_1_is_no_repetition() {
    let mut story = story();
    let one = story.start("a");
    story.send(one, 0, 0, JOINS).unwrap();
    story.end("a", one, Committed, EndedBy::Client).unwrap();
    let odd = story.end("a", producer(0, -1), Committed, EndedBy::ClientWithNewEpoch);
    assert_eq!(odd, Err(Refusal::ProducerFenced));
}

#[test]
fn an_end_that_names_another_transaction_does_nothing() {
    let mut story = story();
    let one = story.start("a");
    story.join("a", one, &[0]).unwrap();
    let began = story.shard.transactions().get("a").unwrap().ongoing().unwrap().began;
    assert_eq!(began, story.shard.position());
    story.end("a", one, Committed, EndedBy::Client).unwrap();
    story.join("a", one, &[1]).unwrap();
    let (id, rolls) = ("a".to_owned(), Vec::new());
    let end =
        EndTransaction { id, producer: one, began: Some(began), end: Committed, by: EndedBy::Client, rolls };
    assert_eq!(story.apply(&Command::EndTransaction(end)), Err(Refusal::OtherVersion));
}

#[test]
fn x6_after_the_last_epoch_comes_a_new_producer_id_also_when_the_end_is_repeated() {
    let mut story = story();
    let one = story.start("a");
    for _ in 0..32_766 {
        let id = "a".to_owned();
        let last = story.shard.transactions().get("a").unwrap().producer;
        let (end, by, rolls) = (Abort, EndedBy::ClientWithNewEpoch, Vec::new());
        let end = EndTransaction { id, producer: last, began: None, end, by, rolls };
        story.shard.apply(at(1), &Command::EndTransaction(end)).unwrap();
    }
    let last = producer(one.id.0, 32_766);
    story.send(last, 0, 0, JOINS).unwrap();
    let outcome = story.end("a", last, Committed, EndedBy::ClientWithNewEpoch);
    let Ok(Applied::TransactionEnded(end)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((end.marker.producer, end.marker.epoch), (one.id, ProducerEpoch(32_767)));
    assert_eq!(end.producer, producer(1, 0));
    let again = story.end("a", last, Committed, EndedBy::ClientWithNewEpoch);
    assert_eq!(again, Ok(Applied::TransactionUnchanged { producer: producer(1, 0) }));
    assert_eq!(story.start("b"), producer(2, 0), "ids are never used twice");
}

#[test]
fn a_repeated_start_gets_the_same_epoch_and_an_older_one_is_fenced() {
    let mut story = story();
    let zero = story.start("a");
    let known = |story: &mut Story, producer| story.init("a", Some(producer));
    let got = |epoch| Ok(Applied::TransactionInitialized { producer: producer(0, epoch) });
    assert_eq!(known(&mut story, zero), got(1));
    assert_eq!(known(&mut story, zero), got(1));
    assert_eq!(known(&mut story, producer(0, 1)), got(2));
    assert_eq!(known(&mut story, zero), Err(Refusal::ProducerFenced));
    assert_eq!(known(&mut story, producer(7, 2)), Err(Refusal::ProducerFenced), "a foreign producer");
}

#[test]
fn a_batch_needs_its_partition_in_the_transaction_unless_it_joins() {
    let mut story = story();
    let one = story.start("a");
    assert_eq!(story.send(one, 0, 0, IN), Err(Refusal::NotInTransaction));
    story.join("a", one, &[0]).unwrap();
    assert_eq!(story.send(one, 0, 0, IN), Ok(0));
    assert_eq!(story.send(one, 1, 0, IN), Err(Refusal::NotInTransaction));
    assert_eq!(story.send(one, 1, 0, JOINS), Ok(0));
    assert_eq!(story.send(producer(5, 0), 1, 0, JOINS), Err(Refusal::UnknownTransactionalId));
    assert_eq!(story.join("a", producer(0, 1), &[0]), Err(Refusal::ProducerFenced));
    assert_eq!(story.join("b", one, &[0]), Err(Refusal::UnknownTransactionalId));
}

#[test]
fn a_partition_without_a_record_gets_a_marker_and_holds_nothing_back() {
    let mut story = story();
    let one = story.start("a");
    story.join("a", one, &[0, 1]).unwrap();
    assert_eq!(story.join("a", one, &[1]), Ok(Applied::TransactionUnchanged { producer: one }));
    offset_of(&mut story.shard, batch(1)).unwrap();
    assert_eq!(story.last_stable(0), 1);
    assert_eq!(ended(story.end("a", one, Committed, EndedBy::Client)).0, [(0, 1), (1, 0)]);
}

#[test]
fn a_plain_batch_of_the_producer_is_refused_inside_its_transaction_only() {
    let mut story = story();
    let one = story.start("a");
    assert_eq!(story.send(one, 0, 0, BatchFlags::default()), Ok(0));
    story.join("a", one, &[0]).unwrap();
    story.send(one, 0, 1, IN).unwrap();
    assert_eq!(story.send(one, 0, 2, BatchFlags::default()), Err(Refusal::InvalidTransactionState));
}

#[test]
fn p6_a_sequence_of_an_aborted_transaction_may_be_used_again() {
    let mut story = story();
    let one = story.start("a");
    for (end, offset) in [(Abort, 2), (Committed, 2)] {
        story.join("a", one, &[0]).unwrap();
        story.send(one, 0, 0, IN).unwrap();
        story.end("a", one, end, EndedBy::Client).unwrap();
        story.join("a", one, &[0]).unwrap();
        assert_eq!(story.send(one, 0, 0, IN), Ok(offset), "after {end:?}");
        story.end("a", one, Committed, EndedBy::Client).unwrap();
    }
}

#[test]
fn the_sequences_run_on_after_an_abort_of_an_old_client() {
    let mut story = story();
    let one = story.start("a");
    story.send(one, 0, 0, JOINS).unwrap();
    story.end("a", one, Abort, EndedBy::Client).unwrap();
    let gap = Refusal::OutOfOrderSequence { expected: 1, got: 2 };
    assert_eq!(story.send(one, 0, 2, JOINS), Err(gap));
    assert_eq!(story.send(one, 0, 1, JOINS), Ok(2));
}

#[test]
fn the_first_sequence_of_a_batch_that_joins_is_0() {
    let mut story = story();
    let one = story.start("a");
    let refused = Refusal::OutOfOrderSequence { expected: 0, got: 3 };
    assert_eq!(story.send(one, 0, 3, JOINS), Err(refused));
    story.join("a", one, &[0]).unwrap();
    assert_eq!(story.send(one, 0, 3, IN), Ok(0));
}

#[test]
fn staged_offsets_are_committed_with_the_transaction_or_dropped_with_it() {
    for (end, after) in [(Committed, Some(5)), (Abort, None)] {
        let mut story = story();
        let one = story.start("a");
        assert_eq!(story.stage("a", one, 5), Ok(Applied::OffsetsStaged));
        assert_eq!(story.offset(), (None, true));
        assert_eq!(ended(story.end("a", one, end, EndedBy::ClientWithNewEpoch)).0, []);
        assert_eq!(story.offset(), (after, false));
    }
}

#[test]
fn x14_of_two_commits_the_order_of_writing_decides() {
    let mut plain_last = story();
    let one = plain_last.start("a");
    plain_last.stage("a", one, 5).unwrap();
    plain_last.commit_plainly(3);
    plain_last.end("a", one, Committed, EndedBy::Client).unwrap();
    assert_eq!(plain_last.offset(), (Some(3), false));

    let mut story = story();
    let (one, two) = (story.start("a"), story.start("b"));
    story.commit_plainly(3);
    story.stage("a", one, 5).unwrap();
    story.stage("b", two, 6).unwrap();
    story.end("b", two, Committed, EndedBy::Client).unwrap();
    assert_eq!(story.offset(), (Some(6), true));
    story.end("a", one, Committed, EndedBy::Client).unwrap();
    assert_eq!(story.offset(), (Some(6), false), "it was written before the other");
}

#[test]
fn x13_a_group_does_not_expire_with_offsets_that_a_transaction_has_or_had_in_it() {
    let mut story = story();
    let one = story.start("a");
    story.stage("a", one, 5).unwrap();
    let expires = vec![GroupRecord::Expired.into()];
    let expire = Command::Group { group: GROUP.to_owned(), after: 0, changes: expires };
    assert_eq!(story.apply(&expire), Err(Refusal::OtherVersion));
    story.end("a", one, Committed, EndedBy::Client).unwrap();
    assert_eq!(story.offset(), (Some(5), false));
    assert_eq!(story.apply(&expire), Err(Refusal::OtherVersion), "it was decided before the commit");
    let (partition, known) = committed(5);
    let removed = OffsetChange::Removed(vec![(partition, known.committed_at)]).into();
    let changes = vec![removed, GroupRecord::Expired.into()];
    story.apply(&Command::Group { group: GROUP.to_owned(), after: 0, changes }).unwrap();
    assert!(story.shard.groups().get(GROUP).is_none());
}

#[test]
fn the_deletion_of_group_or_topic_takes_staged_offsets_with_it() {
    let mut story = story();
    let one = story.start("a");
    story.stage("a", one, 5).unwrap();
    story.change_group(GroupRecord::Deleted.into());
    assert_eq!(story.stage_in_known_group("a", one, 6), Err(Refusal::OtherVersion));
    story.stage("a", one, 6).unwrap();
    story.send(one, 0, 0, JOINS).unwrap();
    story.apply(&Command::DropTopic { topic: TOPIC }).unwrap();
    assert_eq!(story.offset(), (None, false));
    assert_eq!(ended(story.end("a", one, Committed, EndedBy::Client)).0, [], "no marker for a deleted topic");
    assert_eq!(story.offset(), (None, false));
}

#[test]
fn a_marker_of_an_operator_ends_the_records_of_one_partition() {
    let mut story = story();
    let one = story.start("a");
    story.send(one, 0, 0, JOINS).unwrap();
    story.send(one, 1, 0, JOINS).unwrap();
    let write = WriteMarker {
        partition: TopicPartition::new(TOPIC, 0),
        producer: one,
        end: Abort,
        coordinator_epoch: 3,
        new_epoch_only: false,
        roll: false,
    };
    let mut apply = |write| story.apply(&Command::WriteMarker(write));
    assert_eq!(apply(WriteMarker { new_epoch_only: true, ..write }), Err(stale(0, 0)));
    assert!(matches!(apply(write), Ok(Applied::MarkerWritten { .. })));
    assert_eq!(apply(WriteMarker { coordinator_epoch: 2, ..write }), Err(Refusal::CoordinatorFenced));
    assert_eq!((story.last_stable(0), story.last_stable(1)), (2, 0));
    assert_eq!(ended(story.end("a", one, Abort, EndedBy::ClientWithNewEpoch)).0, [(0, 2), (1, 1)]);
}

#[test]
fn records_deleted_past_the_last_stable_offset_move_it_to_the_log_start() {
    let mut story = story();
    let one = story.start("a");
    story.send(one, 0, 0, JOINS).unwrap();
    story.send(one, 0, 1, JOINS).unwrap();
    let start = Command::SetLogStart { topic: TOPIC, partition: 0, offset: Offset(1) };
    story.apply(&start).unwrap();
    assert_eq!(story.last_stable(0), 1);
}

#[test]
fn a_producer_with_an_open_transaction_is_not_forgotten() {
    let mut story = story();
    let one = story.start("a");
    story.send(one, 0, 0, JOINS).unwrap();
    let forget = Command::ExpireProducers { idle_since: at(100) };
    assert_eq!(story.apply(&forget), Ok(Applied::ProducersExpired(0)));
    story.end("a", one, Committed, EndedBy::Client).unwrap();
    assert_eq!(story.apply(&forget), Ok(Applied::ProducersExpired(1)));
}

#[test]
fn ids_expire_unless_a_transaction_is_open() {
    let mut story = story();
    story.start("a");
    let two = story.start("b");
    story.join("b", two, &[]).unwrap();
    let expire = Command::ExpireTransactions { idle_since: at(100) };
    assert_eq!(story.apply(&expire), Ok(Applied::TransactionsExpired(1)));
    assert_eq!(story.shard.transactions().iter().map(|(id, _)| &**id).collect::<Vec<_>>(), ["b"]);
    assert!(story.shard.transactions().bytes() > 0);
    story.end("b", two, Abort, EndedBy::Client).unwrap();
    story.apply(&expire).unwrap();
    assert_eq!(story.shard.transactions().bytes(), 0);
}

#[test]
fn transactions_that_stay_open_take_half_of_the_producers_memory_and_leave_the_rest_to_others() {
    let mut story = story();
    story.apply(&Command::SetProducerMemory { bytes: 6 * PRODUCER_BYTES }).unwrap();
    let (one, two) = (story.start("a"), story.start("b"));
    story.send(one, 0, 0, JOINS).unwrap();
    story.send(one, 1, 0, JOINS).unwrap();
    story.send(two, 0, 0, JOINS).unwrap();
    let before = story.shard.transactions().clone();
    assert_eq!(story.send(two, 1, 0, JOINS), Err(Refusal::TooManyOpenTransactions));
    assert_eq!(*story.shard.transactions(), before, "a refused batch joins nothing");
    assert!(story.send(two, 0, 1, JOINS).is_ok(), "a transaction that is open here goes on");
    for other in [producer(101, 0), producer(102, 0)] {
        assert!(story.send(other, 0, 0, BatchFlags::default()).is_ok(), "half is left to others");
    }
    story.end("a", one, Committed, EndedBy::ClientWithNewEpoch).unwrap();
    assert!(story.send(two, 1, 0, JOINS).is_ok());
}

#[test]
fn a_hundred_thousand_open_transactions_fit_into_the_usual_memory() {
    let mut story = story();
    let id = "x".repeat(40);
    let one = story.start(&id);
    let idle = story.shard.transactions().bytes();
    story.send(one, 0, 0, JOINS).unwrap();
    let open = story.shard.transactions().bytes();
    assert!(100_000 * open < 96 << 20, "{idle} bytes, {open} with a partition");
}
