//! Tests of topics and partitions, and random commands.

use std::collections::BTreeMap;

use std::time::Duration;

use super::*;
use crate::config::Changes;
use crate::types::{
    AclBinding, EntityName, LeaderEpoch, QuotaChanges, QuotaEntity, ScramCredential, Secret, TopicPartition,
};

mod acls;
mod entries;
mod groups;
mod members;
mod placement;
mod remembered;
mod tokens;
mod transactions;

const TOPIC: TopicId = crate::types::Uuid([7; 16]);
const BROKER: NodeId = NodeId(1);

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1000)
}

fn create(id: TopicId, name: &str, partitions: u32) -> Command {
    let replicas = (0..partitions).map(|_| vec![BROKER]).collect();
    Command::CreateTopic(CreateTopic { id, name: name.into(), overrides: BTreeMap::new(), replicas })
}

fn with_topic() -> Shard {
    let mut shard = Shard::new(BROKER);
    shard.apply(at(0), &create(TOPIC, "orders", 2)).unwrap();
    shard
}

fn batch(records: i32) -> Commit {
    Commit {
        topic: TOPIC,
        partition: 0,
        bytes: 100,
        last_offset_delta: records - 1,
        max_timestamp: at(0),
        producer: None,
        flags: BatchFlags::default(),
        leadership: LeaderEpoch(0),
        place: Place::Segment { roll: false, inline: true, crc: 0 },
    }
}

/// A batch that begins a segment file.
fn rolling(records: i32) -> Commit {
    Commit { place: Place::Segment { roll: true, inline: true, crc: 0 }, ..batch(records) }
}

/// The commit as it is accepted in the present leader epoch of its partition.
fn in_epoch(shard: &Shard, commit: Commit) -> Commit {
    let partition = shard.partition(commit.topic, commit.partition);
    Commit { leadership: partition.map_or(LeaderEpoch(0), Partition::epoch), ..commit }
}

fn stamped(epoch: i16, sequence: i32, records: i32) -> Commit {
    let producer = ProducerStamp { id: ProducerId(9), epoch: ProducerEpoch(epoch), sequence };
    Commit { producer: Some(producer), ..batch(records) }
}

/// Applies the commit and returns its offset.
fn offset_of(shard: &mut Shard, commit: Commit) -> Result<i64, Refusal> {
    let commit = in_epoch(shard, commit);
    shard.apply(at(1), &Command::Commit(commit)).map(|applied| match applied {
        Applied::Appended(placed) => placed.base_offset.0,
        Applied::Duplicate { base_offset, .. } => base_offset.0,
        other => panic!("a commit is not answered by {other:?}"),
    })
}

fn partition(shard: &Shard) -> &Partition {
    shard.partition(TOPIC, 0).unwrap()
}

#[test]
fn offsets_start_at_0_and_have_no_gaps() {
    let mut shard = with_topic();
    assert_eq!(offset_of(&mut shard, batch(3)), Ok(0));
    assert_eq!(offset_of(&mut shard, batch(1)), Ok(3));
    assert_eq!(offset_of(&mut shard, batch(2)), Ok(4));
    assert_eq!(partition(&shard).end(), Offset(6));
    assert_eq!(shard.partition(TOPIC, 1).unwrap().end(), Offset(0));
}

#[test]
fn batches_lie_behind_each_other_in_a_segment_until_one_rolls() {
    let mut shard = with_topic();
    offset_of(&mut shard, batch(1)).unwrap();
    let second = shard.apply(at(2), &Command::Commit(batch(1))).unwrap();
    let Applied::Appended(second) = second else { panic!("appended") };
    assert_eq!((second.segment, second.at), (Offset(0), 100));

    let rolled = shard.apply(at(3), &Command::Commit(rolling(1))).unwrap();
    let Applied::Appended(rolled) = rolled else { panic!("appended") };
    assert_eq!((rolled.segment, rolled.at), (Offset(2), 0));
    assert_eq!(partition(&shard).extents().len(), 2);
}

#[test]
fn p4_a_repeated_batch_among_the_last_five_stands_at_its_first_offset() {
    let mut shard = with_topic();
    for sequence in 0..6 {
        assert_eq!(offset_of(&mut shard, stamped(0, sequence * 2, 2)), Ok(i64::from(sequence) * 2));
    }
    let before = shard.clone();
    for sequence in 1..6 {
        let repeated = offset_of(&mut shard, stamped(0, sequence * 2, 2));
        assert_eq!(repeated, Ok(i64::from(sequence) * 2));
    }
    assert_eq!(partition(&shard), partition(&before), "a duplicate changes nothing");

    let forgotten = offset_of(&mut shard, stamped(0, 0, 2));
    assert_eq!(forgotten, Err(Refusal::OutOfOrderSequence { expected: 12, got: 0 }));
}

#[test]
fn p5_a_producer_without_state_may_start_anywhere() {
    let mut shard = with_topic();
    assert_eq!(offset_of(&mut shard, stamped(3, 77, 1)), Ok(0));
    assert_eq!(offset_of(&mut shard, stamped(3, 78, 1)), Ok(1));
}

#[test]
fn a_gap_in_the_sequence_is_refused() {
    let mut shard = with_topic();
    offset_of(&mut shard, stamped(0, 0, 2)).unwrap();
    let refused = offset_of(&mut shard, stamped(0, 3, 1));
    assert_eq!(refused, Err(Refusal::OutOfOrderSequence { expected: 2, got: 3 }));
}

#[test]
fn p6_the_window_belongs_to_the_producer_epoch() {
    let mut shard = with_topic();
    offset_of(&mut shard, stamped(0, 0, 1)).unwrap();
    offset_of(&mut shard, stamped(0, 1, 1)).unwrap();
    let not_from_0 = offset_of(&mut shard, stamped(1, 2, 1));
    assert_eq!(not_from_0, Err(Refusal::OutOfOrderSequence { expected: 0, got: 2 }));
    assert_eq!(offset_of(&mut shard, stamped(1, 0, 1)), Ok(2), "same sequence, new epoch: not a duplicate");
}

#[test]
fn p9_an_older_producer_epoch_is_refused() {
    let mut shard = with_topic();
    offset_of(&mut shard, stamped(4, 0, 1)).unwrap();
    let stale = offset_of(&mut shard, stamped(3, 1, 1));
    assert_eq!(stale, Err(Refusal::StaleProducerEpoch { current: ProducerEpoch(4), got: ProducerEpoch(3) }));
}

#[test]
fn sequences_wrap_at_the_largest_32_bit_number() {
    let mut shard = with_topic();
    assert_eq!(offset_of(&mut shard, stamped(0, i32::MAX - 1, 2)), Ok(0));
    assert_eq!(offset_of(&mut shard, stamped(0, 0, 3)), Ok(2));
    assert_eq!(offset_of(&mut shard, stamped(0, i32::MAX - 1, 2)), Ok(0), "a duplicate across the wrap");

    let mut shard = with_topic();
    assert_eq!(offset_of(&mut shard, stamped(0, i32::MAX, 3)), Ok(0), "the wrap inside a batch");
    assert_eq!(offset_of(&mut shard, stamped(0, 2, 1)), Ok(3));
}

#[test]
fn p11_producer_windows_die_with_the_topic() {
    let mut shard = with_topic();
    offset_of(&mut shard, stamped(0, 0, 1)).unwrap();
    shard.apply(at(2), &Command::DropTopic { topic: TOPIC }).unwrap();
    shard.apply(at(3), &create(TOPIC, "orders", 1)).unwrap();
    assert_eq!(offset_of(&mut shard, stamped(0, 5, 1)), Ok(0));
}

#[test]
fn idle_producers_are_forgotten() {
    let mut shard = with_topic();
    offset_of(&mut shard, stamped(0, 0, 1)).unwrap();
    let kept = shard.apply(at(5), &Command::ExpireProducers { idle_since: at(1) }).unwrap();
    assert_eq!(kept, Applied::ProducersExpired(0));
    let expired = shard.apply(at(5), &Command::ExpireProducers { idle_since: at(2) }).unwrap();
    assert_eq!(expired, Applied::ProducersExpired(1));
    assert_eq!(partition(&shard).producers(), 0);
}

#[test]
fn moving_the_log_start_drops_the_segments_below_it() {
    let mut shard = with_topic();
    for _ in 0..4 {
        offset_of(&mut shard, rolling(10)).unwrap();
    }
    let mut start_at = |offset| {
        let move_start = Command::SetLogStart { topic: TOPIC, partition: 0, offset: Offset(offset) };
        match shard.apply(at(9), &move_start) {
            Ok(Applied::LogStart { dropped, .. }) => {
                Ok(dropped.iter().map(|segment| segment.base.0).collect::<Vec<_>>())
            }
            Ok(other) => panic!("answered by {other:?}"),
            Err(refusal) => Err(refusal),
        }
    };
    assert_eq!(start_at(9), Ok(vec![]));
    assert_eq!(start_at(10), Ok(vec![0]));
    assert_eq!(start_at(35), Ok(vec![10, 20]));
    assert_eq!(start_at(34), Err(Refusal::OffsetOutOfRange), "it never goes back");
    assert_eq!(start_at(41), Err(Refusal::OffsetOutOfRange));
    assert_eq!(start_at(40), Ok(vec![30]), "an empty log has no segment");
    assert_eq!(offset_of(&mut shard, batch(1)), Ok(40), "and goes on where it was");
}

#[test]
fn a_batch_can_be_stored_again_in_the_place_it_has_and_in_no_other() {
    let mut shard = with_topic();
    offset_of(&mut shard, batch(10)).unwrap();
    let before = partition(&shard).clone();
    let segment = ExtentId { base: Offset(0), generation: 0 };
    let again = StoreAgain { topic: TOPIC, partition: 0, segment, at: 0, bytes: 100 };
    let mut apply = |again| shard.apply(at(9), &Command::StoreAgain(again));
    assert_eq!(apply(again), Ok(Applied::StoredAgain));
    assert_eq!(apply(StoreAgain { at: 1, ..again }), Err(Refusal::OtherExtents), "past its end");
    let other = ExtentId { base: Offset(10), generation: 0 };
    assert_eq!(apply(StoreAgain { segment: other, ..again }), Err(Refusal::OtherExtents));
    assert_eq!(apply(StoreAgain { partition: 5, ..again }), Err(Refusal::UnknownPartition));
    assert_eq!(*partition(&shard), before);
}

#[test]
fn extents_are_replaced_where_they_are_those_that_were_meant_and_the_newest_never() {
    let mut shard = with_topic();
    for time in 1..5 {
        let commit = Command::Commit(rolling(10));
        shard.apply(at(time), &commit).unwrap();
    }
    let id = |base, generation| ExtentId { base: Offset(base), generation };
    let aborted = AbortedList { count: 2, crc: 7 };
    let anew =
        |base, cleaned| Rewritten { base: Offset(base), bytes: 5, max_timestamp: at(2), cleaned, aborted };
    let known = partition(&shard).extents().to_vec();
    let mut replace = |first: i64, end: i64, meant: &[Extent], outputs: &[Rewritten]| {
        let replace = ReplaceExtents {
            topic: TOPIC,
            partition: 0,
            first: Offset(first),
            end: Offset(end),
            count: meant.len() as u32,
            mix: mix_of(meant),
            outputs: outputs.to_vec(),
        };
        let applied = shard.apply(at(9), &Command::ReplaceExtents(replace));
        let extents: Vec<_> = partition(&shard).extents().iter().map(|one| (one.id(), one.cleaned)).collect();
        applied.map(|_| extents)
    };
    let other = Err(Refusal::OtherExtents);
    assert_eq!(replace(20, 40, &known[2..], &[anew(20, true)]), other, "the log goes on in the newest");
    assert_eq!(replace(0, 30, &[known[0], known[2]], &[anew(0, true)]), other);
    assert_eq!(replace(0, 0, &[], &[anew(0, true)]), other);
    assert_eq!(replace(20, 0, &[], &[anew(20, true)]), other);
    let grown = [known[0], Extent { bytes: 101, ..known[1] }];
    assert_eq!(replace(0, 20, &grown, &[anew(0, true)]), other, "one of them is not as it was read");
    let two = &known[..2];
    assert_eq!(replace(0, 20, two, &[]), Err(Refusal::Malformed));
    let later = replace(0, 20, two, &[anew(1, true)]);
    assert_eq!(later, Err(Refusal::Malformed), "it no longer holds the log start");
    let longer = replace(0, 20, two, &[anew(0, true), anew(20, true)]);
    assert_eq!(longer, Err(Refusal::Malformed), "one follows there");

    let after = replace(0, 20, two, &[anew(0, true)]).unwrap();
    assert_eq!(after, [(id(0, 1), true), (id(20, 0), false), (id(30, 0), false)]);
    assert_eq!(replace(0, 20, two, &[anew(0, true)]), other, "not twice");
    let place = ExtentPlace::File { generation: 1 };
    let first = Extent { bytes: 5, cleaned: true, aborted, place, ..known[0] };
    let after = replace(0, 30, &[first, known[2]], &[anew(0, true), anew(25, false)]).unwrap();
    assert_eq!(after, [(id(0, 2), true), (id(25, 2), false), (id(30, 0), false)]);
    let first = partition(&shard).extents()[0];
    assert_eq!((first.bytes, first.opened.time(), first.last_append), (5, at(0), at(3)));
    assert_eq!(first.aborted, aborted);
    assert_eq!(offset_of(&mut shard, batch(1)), Ok(40), "offsets go on where they were");
}

#[test]
fn an_epoch_begins_where_it_wrote_first_and_shrinks_with_the_log_start() {
    let mut shard = with_topic();
    offset_of(&mut shard, batch(10)).unwrap();
    let raise = Command::RaiseEpoch { topic: TOPIC, partition: 0 };
    let raised = |epoch| Applied::EpochRaised { topic: TOPIC, partition: 0, epoch: LeaderEpoch(epoch) };
    assert_eq!(shard.apply(at(2), &raise), Ok(raised(1)));
    assert_eq!(shard.apply(at(2), &raise), Ok(raised(2)));
    offset_of(&mut shard, batch(10)).unwrap();
    assert_eq!(
        partition(&shard).epochs().starts(),
        [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(2), Offset(10))]
    );

    shard.apply(at(3), &Command::SetLogStart { topic: TOPIC, partition: 0, offset: Offset(4) }).unwrap();
    assert_eq!(
        partition(&shard).epochs().starts(),
        [(LeaderEpoch(0), Offset(4)), (LeaderEpoch(2), Offset(10))]
    );
    shard.apply(at(3), &Command::SetLogStart { topic: TOPIC, partition: 0, offset: Offset(15) }).unwrap();
    assert_eq!(partition(&shard).epochs().starts(), [(LeaderEpoch(2), Offset(15))]);
}

#[test]
fn a17_names_that_differ_in_dots_and_underscores_collide() {
    let mut shard = with_topic();
    let other = crate::types::Uuid([8; 16]);
    shard.apply(at(1), &create(other, "a.b", 1)).unwrap();
    let third = crate::types::Uuid([9; 16]);
    let refused = shard.apply(at(1), &create(third, "a_b", 1));
    assert_eq!(refused, Err(Refusal::NameCollides { with: "a.b".into() }));
    assert_eq!(shard.apply(at(1), &create(third, "a.b", 1)), Err(Refusal::TopicExists));
    shard.apply(at(1), &Command::DropTopic { topic: other }).unwrap();
    assert_eq!(shard.apply(at(1), &create(third, "a_b", 1)), Ok(Applied::TopicCreated { topic: third }));
}

#[test]
fn no_offset_passes_the_largest_number() {
    assert_eq!(next_offset(Offset(i64::MAX - 1), 0), Some(Offset(i64::MAX)));
    assert_eq!(next_offset(Offset(i64::MAX), 0), None);
    assert_eq!(next_offset(Offset(i64::MAX - 1), 1), None);
}

#[test]
fn producer_ids_are_never_handed_out_twice() {
    let mut shard = Shard::new(BROKER);
    for id in 0..3 {
        let handed_out = shard.apply(at(0), &Command::NewProducer);
        assert_eq!(handed_out, Ok(Applied::Producer { id: ProducerId(id), epoch: ProducerEpoch(0) }));
    }
}

/// Random commands: nothing panics, a refusal changes nothing, a snapshot at any point and the commands
/// after it give the same state and hash, and the invariants of a partition hold.
#[test]
fn arbitrary_commands_keep_the_invariants_and_replay_to_the_same_state() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut shard = Shard::new(BROKER);
        let mut snapshot = None;
        let mut since = Vec::new();
        for step in 0..150 {
            let mut command = random.command();
            if let Command::Commit(commit) = &mut command
                && random.below(8) > 0
            {
                *commit = in_epoch(&shard, commit.clone());
            }
            let before = shard.clone();
            // Several at one time, as in a round.
            let time = at(step / 8 * 60);
            let outcome = shard.apply(time, &command);
            match outcome {
                Ok(applied) if applied.changed_something() => since.push((time, command)),
                Ok(_) => {}
                Err(_) => assert_eq!(shard, before, "a refusal changes nothing"),
            }
            shard.topics().flat_map(|topic| topic.partitions()).for_each(check_partition);
            shard.topics().for_each(|topic| placement::check(topic, shard.running()));
            if random.below(20) == 0 {
                snapshot = Some(Levels::KNOWN.current().write_state(&shard));
                since.clear();
            }
        }
        let mut replayed: Shard = match snapshot {
            None => Shard::new(BROKER),
            Some(state) => Levels::KNOWN.read_state(Level(7), &state).unwrap().unwrap(),
        };
        for (time, command) in &since {
            replayed.apply(*time, command).unwrap();
        }
        assert_eq!(replayed, shard, "seed {seed}");
    }
}

fn check_partition(partition: &Partition) {
    assert!(partition.log_start() <= partition.end());
    assert_eq!(partition.extents().is_empty(), partition.log_start() == partition.end());
    if let Some(first) = partition.extents().first() {
        assert!(first.base <= partition.log_start());
    }
    assert!(partition.extents().is_sorted_by(|one, next| one.base < next.base));
    assert!(partition.epochs().starts().is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1));
}

/// A small generator of our own, so that a seed gives the same history for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0, 0x5eed) % bound
    }

    fn topic(&mut self) -> TopicId {
        crate::types::Uuid([self.below(3) as u8; 16])
    }

    /// Up to four of three brokers, so there may be none and duplicates.
    fn brokers(&mut self) -> Vec<NodeId> {
        (0..self.below(5)).map(|_| NodeId(1 + self.below(3) as i32)).collect()
    }

    fn changes(&mut self) -> Changes {
        let change = |random: &mut Random| {
            let names = ["x", "min.insync.replicas", "unclean.leader.election.enable"];
            let name = names[random.below(3) as usize].to_owned();
            (name, (random.below(2) == 0).then(|| random.below(9).to_string()))
        };
        (0..self.below(3)).map(|_| change(self)).collect()
    }

    fn token_id(&mut self) -> String {
        ["t", "u", "v"][self.below(3) as usize].to_owned()
    }

    fn bindings(&mut self) -> Vec<AclBinding> {
        (0..self.below(4)).map(|_| acls::binding(["a", "b"][self.below(2) as usize], "User:a")).collect()
    }

    fn command(&mut self) -> Command {
        let (topic, partition) = (self.topic(), self.below(3) as i32 - 1);
        match self.below(33) {
            0 | 1 => create(topic, ["a", "b.c", "b_c"][self.below(3) as usize], self.below(3) as u32),
            2 => Command::DropTopic { topic },
            3 => Command::SetLogStart { topic, partition, offset: Offset(self.below(30) as i64 - 1) },
            4 => Command::RaiseEpoch { topic, partition },
            5 => Command::NewProducer,
            6 => Command::ExpireProducers { idle_since: at(self.below(150) as i64) },
            7 => Command::CreateTopic(CreateTopic {
                id: topic,
                name: ["a", "b.c", "b_c"][self.below(3) as usize].into(),
                overrides: BTreeMap::new(),
                replicas: (0..self.below(3)).map(|_| self.brokers()).collect(),
            }),
            8 => Command::AddPartitions {
                topic,
                first: self.below(4) as i32,
                replicas: (0..self.below(3)).map(|_| self.brokers()).collect(),
            },
            9 => Command::AlterTopic { topic, changes: self.changes() },
            10 => {
                let scope = [Scope::DefaultBroker, Scope::Broker(BROKER), Scope::Group("g".into())];
                let changes = self.changes();
                Command::AlterSettings { scope: scope[self.below(3) as usize].clone(), changes }
            }
            11 => Command::SetReplicas { topic, partition, replicas: self.brokers() },
            12 => {
                let election = Election { min_insync: 1 + self.below(3) as u32, unclean: self.below(4) == 0 };
                Command::SetBrokers { running: self.brokers(), election }
            }
            13 => Command::ElectPreferred { topic, partition },
            14 => Command::SetProducerMemory { bytes: self.below(3) * producers::PRODUCER_BYTES },
            15 => Command::ElectUnclean { topic, partition },
            21 => {
                let level = self.below(3) as i16;
                if partition < 0 {
                    let value = (level > 0).then_some(f64::from(level));
                    let changes = QuotaChanges::from([("request_percentage".to_owned(), value)]);
                    Command::AlterQuotas { changes: vec![(QuotaEntity::User(EntityName::Default), changes)] }
                } else {
                    Command::SetFeature { name: "transaction.version".into(), level }
                }
            }
            17 if partition < 0 => {
                let credential = ScramCredential {
                    iterations: 4096,
                    salt: Secret::new([self.below(2) as u8]),
                    stored_key: Secret::default(),
                    server_key: Secret::default(),
                };
                let change = CredentialChange {
                    user: ["alice", "ben"][self.below(2) as usize].into(),
                    mechanism: self.below(3) as i8,
                    credential: (self.below(2) == 0).then_some(credential),
                };
                Command::AlterCredentials { changes: vec![change] }
            }
            25 => match self.below(3) {
                0 => Command::CreateToken {
                    id: self.token_id(),
                    token: Box::new(tokens::token(at(self.below(9) as i64))),
                },
                1 => {
                    let expires = (self.below(2) == 0).then(|| at(self.below(9) as i64));
                    Command::ChangeToken { id: self.token_id(), expires }
                }
                _ => Command::ExpireTokens { now: at(self.below(9) as i64) },
            },
            23 => Command::AddAcls { bindings: self.bindings() },
            24 => Command::RemoveAcls { bindings: self.bindings() },
            17 => Command::ClockTrusted,
            19 => Command::Register(Register {
                node: NodeId(1 + self.below(3) as i32),
                after: self.below(3),
                nonce: self.below(9),
                session: Duration::ZERO,
            }),
            20 => {
                let node = NodeId(1 + self.below(3) as i32);
                Command::Gone(Gone { node, incarnation: self.below(3), last: self.below(60) })
            }
            18 => Command::Group {
                group: ["g", "h"][self.below(2) as usize].to_owned(),
                after: self.below(2) * 5,
                changes: vec![match self.below(3) {
                    0 => group::GroupRecord::Deleted.into(),
                    1 => offsets::OffsetChange::Removed(vec![(TopicPartition::new(topic, 0), at(0))]).into(),
                    _ => groups::committed_of(topic, self.below(9) as i64),
                }],
            },
            16 => {
                let ids = (0..self.below(3)).map(|_| self.below(9) as i64);
                let bases: Vec<Offset> = ids.map(Offset).collect();
                let anew = |base: &Offset| Rewritten {
                    base: *base,
                    bytes: 1,
                    max_timestamp: at(1),
                    cleaned: true,
                    aborted: AbortedList::default(),
                };
                Command::ReplaceExtents(ReplaceExtents {
                    topic,
                    partition,
                    first: bases.first().copied().unwrap_or_default(),
                    end: bases.last().copied().unwrap_or_default(),
                    count: bases.len() as u32,
                    mix: self.below(2),
                    outputs: bases.iter().take(1).map(anew).collect(),
                })
            }
            _ => {
                let producer = (self.below(2) == 0).then(|| ProducerStamp {
                    id: ProducerId(self.below(2) as i64),
                    epoch: ProducerEpoch(self.below(3) as i16),
                    sequence: self.below(4) as i32,
                });
                let last_offset_delta = self.below(4) as i32 - 1;
                let (bytes, roll) = (self.below(3) as u32, self.below(3) == 0);
                Command::Commit(Commit {
                    topic,
                    partition,
                    bytes,
                    last_offset_delta,
                    producer,
                    place: Place::Segment { roll, inline: true, crc: 0 },
                    ..batch(1)
                })
            }
        }
    }
}

#[test]
fn the_age_of_a_segment_is_that_of_its_records_and_of_the_clock_only_where_they_have_none() {
    let of_records = OpenedAt::new(at(100), at(5_000));
    assert_eq!(of_records.time(), at(100));
    assert_eq!(of_records.age(at(130), at(9_000)), Duration::from_secs(30));
    assert_eq!(of_records.age(at(50), at(9_000)), Duration::ZERO, "older records");
    assert_eq!(of_records.age(Timestamp(-1), at(9_000)), Duration::ZERO, "a batch without a time");
    let of_the_clock = OpenedAt::new(Timestamp(-1), at(5_000));
    assert_eq!(of_the_clock.time(), at(5_000));
    assert_eq!(of_the_clock.age(at(130), at(5_007)), Duration::from_secs(7));
}
