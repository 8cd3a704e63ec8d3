//! Tests of entries: which are applied, which are passed over, and their time.

use super::super::entry::{Data, Flags, Header};
use super::*;

const LEVEL: Level = Level(7);

/// An entry of an author with these commands, which follows `shard`.
fn entry(shard: &Shard, author: u64, seconds: i64, commands: &[Command]) -> Vec<u8> {
    let beside = commands.iter().map(|command| match command {
        Command::Commit(commit) => commit.bytes,
        _ => 0,
    });
    let data = Data { length: beside.sum(), crc: 0 };
    let draft = shard.open_entry(LEVEL, author, at(seconds), Flags::default());
    encoded(draft.header(data), commands)
}

fn encoded(header: Header, commands: &[Command]) -> Vec<u8> {
    let mut entry = header.encode().to_vec();
    Levels::KNOWN.current().write(&commands.iter().collect::<Vec<_>>(), &mut entry);
    entry
}

/// Applies the entry at a time at which the clock of the journal is far ahead.
fn apply(shard: &mut Shard, entry: &[u8]) -> Result<Vec<Result<Applied, Refusal>>, Passed> {
    let mut outcomes = Vec::new();
    shard.apply_entry(Levels::KNOWN, at(i64::MAX >> 12), entry, |_, _, outcome| {
        outcomes.push(outcome.clone())
    })?;
    Ok(outcomes)
}

pub(super) fn with_header(entry: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let (mut header, commands) = Header::split(entry).unwrap();
    change(&mut header);
    [&header.encode()[..], commands].concat()
}

#[test]
fn an_entry_comes_back_as_it_was_encoded() {
    let data = Data { length: 7, crc: 8 };
    let header = Header {
        level: Level(1),
        flags: Flags::SKIPPED.with(Flags::CLOCK_TRUSTED),
        author: 2,
        sequence: 3,
        clock: Timestamp(-4),
        seen: 5,
        seen_hash: 6,
        data,
    };
    let commands = [create(TOPIC, "orders", 2), Command::NewProducer];
    let entry = encoded(header, &commands);
    let (again, encoded) = Header::split(&entry).unwrap();
    assert_eq!(again, header);
    assert_eq!(Levels::KNOWN.current().read(encoded).unwrap(), commands);
    assert_eq!(Header::split(&entry[..Header::LENGTH - 1]), None);
}

#[test]
fn an_entry_that_is_passed_over_moves_only_the_position_and_the_hash() {
    let mut shard = with_topic();
    for author in [3, 4] {
        let written = entry(&shard, author, 1, &[Command::NewProducer]);
        apply(&mut shard, &written).unwrap();
    }
    let good = entry(&shard, 4, 9, &[Command::NewProducer]);
    let longer = [&good[..], &[0]].concat();
    let newer = with_header(&good, |header| header.level = Level(8));
    let passed = [
        (with_header(&newer, |header| header.flags = Flags::SKIPPED), Passed::Skipped),
        (newer, Passed::Malformed),
        (with_header(&good, |header| header.level = Level(6)), Passed::Malformed),
        (good[..good.len() - 1].to_vec(), Passed::Malformed),
        (longer, Passed::Malformed),
        (b"short".to_vec(), Passed::Malformed),
        (with_header(&good, |header| header.author = 3), Passed::Fenced),
        (with_header(&good, |header| header.sequence = 1), Passed::Repeated),
        (with_header(&good, |header| header.sequence = 3), Passed::Gap),
        (entry(&with_topic(), 5, 1, &[]), Passed::Gap),
    ];
    for (entry, why) in passed {
        // The last one is the second entry of an author without a first one.
        let entry = match why {
            Passed::Gap => with_header(&entry, |header| header.sequence = header.sequence.max(2)),
            _ => entry,
        };
        let before = shard.clone();
        assert_eq!(apply(&mut shard, &entry), Err(why));
        assert_ne!(shard.hash(), before.hash());
        assert_eq!(shard, Shard { position: before.position + 1, hash: shard.hash, ..before });
    }
    let outcome = Applied::Producer { id: ProducerId(2), epoch: ProducerEpoch(0) };
    assert_eq!(apply(&mut shard, &good), Ok(vec![Ok(outcome)]), "it still follows");
    assert_eq!(apply(&mut shard, &good), Err(Passed::Repeated));
    let next_author = with_header(&good, |header| (header.author, header.sequence) = (7, 1));
    assert!(apply(&mut shard, &next_author).is_ok(), "a later author begins with 1");
    assert_eq!(apply(&mut shard, &good), Err(Passed::Fenced));
}

#[test]
fn a_refusal_in_an_entry_is_part_of_the_hash() {
    let mut shard = with_topic();
    let refused = entry(&shard, 1, 1, &[Command::DropTopic { topic: crate::types::Uuid([1; 16]) }]);
    let before = shard.hash();
    shard.apply_entry(Levels::KNOWN, at(1), &refused, |_, _, _| {}).unwrap();
    let mixed = Refusal::UnknownTopic.mixed_into(before);
    assert_eq!(shard.hash(), mix(mix(mixed, 1), u64::from(crc32c::crc32c(&refused))));
}

#[test]
fn a_command_may_not_take_bytes_beyond_the_data_of_its_entry() {
    let mut shard = with_topic();
    let two = [Command::Commit(batch(1)), Command::Commit(batch(1))];
    let written = entry(&shard, 1, 1, &two);
    let short = with_header(&written, |header| header.data.length -= 1);
    let outcomes = apply(&mut shard, &short).unwrap();
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1], Err(Refusal::Malformed));
    assert_eq!(partition(&shard).end(), Offset(1));
}

#[test]
fn the_time_of_an_entry_is_that_of_two_clocks_and_goes_back_only_with_a_clock_that_is_trusted() {
    let mut shard = with_topic();
    let mut time_of = |at_seconds: i64, clock: i64, flags: Flags| {
        let written = entry(&shard, 1, clock, &[Command::Commit(batch(1))]);
        let written = with_header(&written, |header| header.flags = flags);
        shard.apply_entry(Levels::KNOWN, at(at_seconds), &written, |_, _, _| {}).unwrap();
        partition(&shard).extents()[0].last_append
    };
    assert_eq!(time_of(10, 12, Flags::default()), at(10), "the author's clock is ahead");
    assert_eq!(time_of(99, 13, Flags::default()), at(13), "the journal's clock is ahead");
    assert_eq!(time_of(9, 9, Flags::default()), at(13), "both went back");
    assert_eq!(time_of(99, 14, Flags::default()), at(14));
    assert_eq!(time_of(11, 12, Flags::CLOCK_TRUSTED), at(11), "it was wrong before");
    assert_eq!(time_of(10, 10, Flags::default()), at(11));
}

#[test]
fn a_batch_that_was_accepted_under_an_earlier_leader_is_refused() {
    let mut shard = with_topic();
    offset_of(&mut shard, batch(1)).unwrap();
    let old = in_epoch(&shard, batch(1));
    shard.apply(at(1), &Command::RaiseEpoch { topic: TOPIC, partition: 0 }).unwrap();
    assert_eq!(shard.apply(at(2), &Command::Commit(old)), Err(Refusal::NotLeader));
    let early = Commit { leadership: LeaderEpoch(2), ..batch(1) };
    assert_eq!(shard.apply(at(2), &Command::Commit(early)), Err(Refusal::Malformed), "no such epoch yet");
    assert_eq!(offset_of(&mut shard, batch(1)), Ok(1));
    let unknown = Commit { flags: BatchFlags(1), ..in_epoch(&shard, batch(1)) };
    assert_eq!(shard.apply(at(2), &Command::Commit(unknown)), Err(Refusal::Malformed));
}

/// An author that applies before it writes, and a reader of what it wrote.
#[test]
fn a_reader_of_the_entries_gets_the_state_of_their_author() {
    for seed in 0..50 {
        let mut random = Random(seed);
        let (mut author, mut reader) = (Shard::new(BROKER), Shard::new(BROKER));
        for step in 0..60 {
            let clock = at(random.below(100) as i64);
            let flags = if random.below(2) == 0 { Flags::CLOCK_TRUSTED } else { Flags::default() };
            let draft = author.open_entry(LEVEL, 1 + step / 20, clock, flags);
            let mut written = Vec::new();
            for _ in 0..random.below(5) {
                let mut command = random.command();
                if let Command::Commit(commit) = &mut command {
                    *commit = in_epoch(&author, commit.clone());
                }
                if author.apply(draft.time, &command).is_ok_and(|applied| applied.changed_something()) {
                    written.push(command);
                }
            }
            let entry = encoded(draft.header(Data { length: u32::MAX, crc: 0 }), &written);
            author.close_entry(&draft, &entry);
            let mut refused = 0;
            let read = reader.apply_entry(Levels::KNOWN, clock, &entry, |_, _, outcome| {
                refused += u32::from(outcome.is_err());
            });
            assert_eq!((read, refused), (Ok(()), 0));
            assert_eq!(reader, author, "seed {seed}");
        }
    }
}
