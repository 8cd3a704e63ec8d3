//! Tests of the memory for idempotent producers: which ones are forgotten, refused or always kept.

use super::super::producers::{MAY_RETRY, PRODUCER_BYTES};
use super::*;

const MINUTE: i64 = 60;

/// A topic of two partitions, and memory for this many producers.
fn with_memory_for(producers: u64) -> Shard {
    let mut shard = with_topic();
    let bound = Command::SetProducerMemory { bytes: producers * PRODUCER_BYTES };
    shard.apply(at(0), &bound).unwrap();
    shard
}

/// A batch of a producer, at a time when the clock is trusted.
fn write(
    shard: &mut Shard,
    seconds: i64,
    producer: i64,
    partition: i32,
    sequence: i32,
) -> Result<Applied, Refusal> {
    shard.apply(at(seconds), &Command::ClockTrusted).unwrap();
    write_in_doubt(shard, seconds, producer, partition, sequence)
}

fn write_in_doubt(
    shard: &mut Shard,
    seconds: i64,
    producer: i64,
    partition: i32,
    sequence: i32,
) -> Result<Applied, Refusal> {
    let stamp = ProducerStamp { id: ProducerId(producer), epoch: ProducerEpoch(0), sequence };
    let commit = Commit { producer: Some(stamp), partition, ..batch(1) };
    shard.apply(at(seconds), &Command::Commit(commit))
}

/// The ids of the producers of a partition.
fn known(shard: &Shard, partition: i32) -> Vec<i64> {
    shard.partition(TOPIC, partition).unwrap().producers.keys().map(|id| id.0).collect()
}

#[test]
fn over_the_memory_the_producer_that_was_silent_for_longest_is_forgotten_wherever_it_wrote() {
    let mut shard = with_memory_for(3);
    write(&mut shard, 0, 7, 0, 0).unwrap();
    write(&mut shard, 1, 8, 1, 0).unwrap();
    write(&mut shard, 2, 9, 0, 0).unwrap();
    write(&mut shard, 3, 7, 0, 1).unwrap();
    write(&mut shard, 20 * MINUTE, 10, 0, 0).unwrap();
    assert_eq!((known(&shard, 0), known(&shard, 1)), (vec![7, 9, 10], vec![]), "8 wrote last at 1 s");
    write(&mut shard, 20 * MINUTE, 11, 1, 0).unwrap();
    assert_eq!((known(&shard, 0), known(&shard, 1)), (vec![7, 10], vec![11]));
    assert_eq!(shard.producers().bytes(), 3 * PRODUCER_BYTES);
}

#[test]
fn a_new_producer_is_refused_where_all_others_wrote_within_15_minutes_and_only_there() {
    let mut shard = with_memory_for(2);
    write(&mut shard, 0, 7, 0, 0).unwrap();
    write(&mut shard, 1, 8, 0, 0).unwrap();
    shard.apply(at(15 * MINUTE - 1), &Command::ClockTrusted).unwrap();
    let before = shard.clone();
    let fresh = write_in_doubt(&mut shard, 15 * MINUTE - 1, 9, 0, 0);
    assert_eq!(fresh, Err(Refusal::TooManyProducers));
    assert_eq!(shard, before, "a refusal changes nothing");
    assert!(shard.apply(at(15 * MINUTE - 1), &Command::Commit(batch(1))).is_ok(), "others write on");
    assert!(write(&mut shard, 15 * MINUTE - 1, 8, 0, 1).is_ok(), "those that are known, too");
    assert!(write(&mut shard, 15 * MINUTE, 9, 0, 0).is_ok());
    assert_eq!(known(&shard, 0), [8, 9]);
}

#[test]
fn no_producer_is_forgotten_while_the_clock_is_not_trusted() {
    let mut shard = with_memory_for(2);
    write(&mut shard, 0, 7, 0, 0).unwrap();
    write(&mut shard, 1, 8, 0, 0).unwrap();
    assert_eq!(write_in_doubt(&mut shard, 60 * MINUTE, 9, 0, 0), Err(Refusal::TooManyProducers));
    let bound = Command::SetProducerMemory { bytes: PRODUCER_BYTES };
    let set = shard.apply(at(60 * MINUTE), &bound);
    assert_eq!(set, Ok(Applied::ProducerMemorySet { forgotten: 0 }));
    assert!(matches!(write(&mut shard, 60 * MINUTE, 7, 0, 0), Ok(Applied::Duplicate { .. })));
    write(&mut shard, 60 * MINUTE, 9, 0, 0).unwrap();
    assert_eq!(known(&shard, 0), [9], "now the smaller bound holds, too");
}

#[test]
fn producers_that_wrote_while_the_clock_was_far_ahead_are_forgotten_in_time_once_it_is_right() {
    const IN_2100: i64 = 4_102_444_800;
    let mut shard = with_memory_for(2);
    write_in_doubt(&mut shard, IN_2100, 7, 0, 0).unwrap();
    write_in_doubt(&mut shard, IN_2100 + 1, 8, 1, 0).unwrap();
    assert_eq!(write(&mut shard, 60, 9, 0, 0), Err(Refusal::TooManyProducers), "they may still retry");
    assert_eq!(write(&mut shard, 60 + 15 * MINUTE - 1, 9, 0, 0), Err(Refusal::TooManyProducers));
    write(&mut shard, 60 + 15 * MINUTE, 9, 0, 0).unwrap();
    let all = Command::ExpireProducers { idle_since: at(60 + 16 * MINUTE) };
    assert_eq!(shard.apply(at(60 + 16 * MINUTE), &all), Ok(Applied::ProducersExpired(2)));
}

#[test]
fn a_clock_that_went_back_makes_no_producer_old() {
    let mut shard = with_memory_for(1);
    write(&mut shard, 60 * MINUTE, 7, 0, 0).unwrap();
    assert_eq!(write(&mut shard, 0, 8, 0, 0), Err(Refusal::TooManyProducers));
}

#[test]
fn a_deleted_topic_gives_its_producers_memory_back() {
    let mut shard = with_memory_for(2);
    write(&mut shard, 0, 7, 0, 0).unwrap();
    write(&mut shard, 0, 7, 1, 0).unwrap();
    shard.apply(at(1), &Command::DropTopic { topic: TOPIC }).unwrap();
    assert_eq!(shard.producers().bytes(), 0);
    shard.apply(at(1), &create(TOPIC, "orders", 2)).unwrap();
    assert!(write(&mut shard, 1, 8, 0, 0).is_ok() && write(&mut shard, 1, 8, 1, 0).is_ok());
}

#[test]
fn a_smaller_bound_forgets_those_that_are_old_enough_at_once() {
    let mut shard = with_memory_for(9);
    for producer in 0..5 {
        write(&mut shard, producer * MINUTE, producer, 0, 0).unwrap();
    }
    let bound = Command::SetProducerMemory { bytes: PRODUCER_BYTES };
    shard.apply(at(17 * MINUTE), &Command::ClockTrusted).unwrap();
    let set = shard.apply(at(17 * MINUTE), &bound);
    assert_eq!(set, Ok(Applied::ProducerMemorySet { forgotten: 3 }));
    assert_eq!(known(&shard, 0), [3, 4]);
}

/// Producers that write, retry and start anew, compared with a list of all their writes.
#[test]
fn p4_a_producer_that_wrote_within_15_minutes_is_remembered_and_no_retry_of_it_is_stored_twice() {
    for seed in 0..100 {
        let mut random = Random(seed);
        let most = 1 + random.below(6);
        let mut shard = with_memory_for(most);
        let mut wrote: BTreeMap<(i32, i64), Wrote> = BTreeMap::new();
        let mut seconds = 0;
        let (mut refused, mut forgotten) = (0, 0);
        for _ in 0..300 {
            seconds += random.below(6 * MINUTE as u64) as i64;
            let key = (random.below(2) as i32, random.below(8) as i64);
            let is_retry = random.below(3) == 0;
            let last = wrote.get(&key).copied();
            let sequence = last.map_or(0, |last| if is_retry { last.sequence } else { last.sequence + 1 });
            let may_be_forgotten = |last: &Wrote| at(seconds).since(at(last.seconds)) >= MAY_RETRY;
            let end = shard.partition(TOPIC, key.0).unwrap().end();
            match write(&mut shard, seconds, key.1, key.0, sequence) {
                Ok(Applied::Duplicate { base_offset, .. }) => {
                    assert_eq!(Some(base_offset), last.map(|last| last.offset), "seed {seed}");
                }
                Ok(Applied::Appended(placed)) => {
                    assert_eq!(placed.base_offset, end);
                    let known = last.filter(|last| !may_be_forgotten(last));
                    assert!(!is_retry || known.is_none(), "seed {seed}: a retry was stored twice");
                    wrote.insert(key, Wrote { seconds, sequence, offset: placed.base_offset });
                }
                Err(Refusal::TooManyProducers) => {
                    refused += 1;
                    let all_fresh = shard.producers().oldest().unwrap().last_write;
                    assert!(at(seconds).since(all_fresh) < MAY_RETRY, "seed {seed}");
                }
                other => panic!("seed {seed}: {other:?}"),
            }
            for (&(partition, producer), last) in &wrote {
                let is_known = shard.partition(TOPIC, partition).unwrap().resting_since(ProducerId(producer));
                assert!(is_known.is_none_or(|known| known == at(last.seconds)), "seed {seed}");
                assert!(is_known.is_some() || may_be_forgotten(last), "seed {seed}: forgotten too early");
                forgotten += u32::from(is_known.is_none());
            }
            // The list of last writes matches the partitions.
            let in_partitions = shard.topics().flat_map(|topic| topic.partitions()).map(Partition::producers);
            let held = shard.producers().bytes() / PRODUCER_BYTES;
            assert_eq!(held, in_partitions.sum::<usize>() as u64, "seed {seed}");
            assert!(held <= most, "seed {seed}");
            let oldest = wrote.iter().filter_map(|(&(partition, producer), _)| {
                shard.partition(TOPIC, partition).unwrap().resting_since(ProducerId(producer))
            });
            assert_eq!(shard.producers().oldest().map(|oldest| oldest.last_write), oldest.min());
        }
        assert!(most > 3 || (refused > 0 && forgotten > 0), "seed {seed}: nothing happened");
    }
}

#[derive(Clone, Copy)]
struct Wrote {
    seconds: i64,
    sequence: i32,
    offset: Offset,
}
