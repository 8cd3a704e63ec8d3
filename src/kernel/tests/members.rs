//! Tests of brokers that share a journal: their registrations, their entries and their batches.

use super::super::entry::{Data, Draft, Flags, Header};
use super::*;

mod model;

const SESSION: Duration = Duration::from_millis(1500);
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

type Outcomes = Result<Vec<Result<Applied, Refusal>>, Passed>;

/// A journal that several brokers share, with the state after it. Its clock only moves in the tests.
struct Journal {
    shard: Shard,
    clock: i64,
}

impl Journal {
    fn new() -> Journal {
        Journal { shard: Shard::shared(), clock: 1_000_000 }
    }

    fn store(&mut self, entry: &[u8]) -> Outcomes {
        let mut outcomes = Vec::new();
        let saw = |_: &Shard, _: &Command, outcome: &Result<Applied, Refusal>| outcomes.push(outcome.clone());
        self.shard.apply_entry(Levels::KNOWN, Timestamp(self.clock), entry, saw)?;
        Ok(outcomes)
    }

    /// Stores an entry of the author with one command.
    fn submit(&mut self, author: u64, command: Command) -> Result<Applied, Refusal> {
        let entry = entry(&self.shard, author, &[command]);
        self.store(&entry).unwrap().pop().unwrap()
    }

    /// Registers the broker and returns its incarnation.
    fn register(&mut self, node: NodeId) -> u64 {
        let register = registration(&self.shard, node);
        match self.submit(0, register) {
            Ok(Applied::Registered { incarnation, .. }) => incarnation,
            other => panic!("{other:?}"),
        }
    }

    /// The command with which another broker would declare this one gone now.
    fn gone(&self, node: NodeId) -> Command {
        let member = self.shard.members().unwrap().of(node).unwrap();
        Command::Gone(Gone { node, incarnation: member.incarnation, last: member.last })
    }
}

fn registration(shard: &Shard, node: NodeId) -> Command {
    let after = shard.members().unwrap().of(node).map_or(0, |member| member.incarnation);
    Command::Register(Register { node, after, nonce: 7, session: SESSION })
}

/// The next entry of the author, which has applied everything up to this state.
fn entry(shard: &Shard, author: u64, commands: &[Command]) -> Vec<u8> {
    let draft = shard.open_entry(Level(7), author, at(1), Flags::default());
    encoded(&draft, Data { length: 1000, crc: 0 }, commands)
}

fn encoded(draft: &Draft, data: Data, commands: &[Command]) -> Vec<u8> {
    let mut entry = draft.header(data).encode().to_vec();
    Levels::KNOWN.current().write(&commands.iter().collect::<Vec<_>>(), &mut entry);
    entry
}

fn refused(refusal: Refusal) -> Outcomes {
    Ok(vec![Err(refusal)])
}

#[test]
fn a_broker_writes_under_the_position_of_its_registration() {
    let mut journal = Journal::new();
    let stranger = entry(&journal.shard, 1, &[Command::NewProducer]);
    assert_eq!(journal.store(&stranger), Err(Passed::Fenced));
    let one = journal.register(ONE);
    assert_eq!((one, journal.shard.running()), (2, &[ONE][..]));
    assert!(journal.submit(one, Command::NewProducer).is_ok());
    assert_eq!(journal.register(TWO), 4);
    assert_eq!(journal.shard.running(), [ONE, TWO]);
}

#[test]
fn a_registration_is_alone_in_its_entry_and_its_author_writes_nothing_else() {
    let mut journal = Journal::new();
    let one = journal.register(ONE);
    let register = registration(&journal.shard, TWO);
    let before = journal.shard.clone();
    for (author, commands) in [
        (0, vec![Command::NewProducer]),
        (0, vec![]),
        (0, vec![register.clone(), Command::NewProducer]),
        (one, vec![register.clone()]),
        (one, vec![Command::NewProducer, register]),
    ] {
        let entry = entry(&journal.shard, author, &commands);
        assert_eq!(journal.store(&entry), Err(Passed::Malformed), "{author} {commands:?}");
    }
    assert_eq!(journal.shard.members(), before.members());
}

#[test]
fn entries_of_several_authors_follow_each_other_and_a_late_copy_of_one_changes_nothing() {
    let mut journal = Journal::new();
    let (one, two) = (journal.register(ONE), journal.register(TWO));
    let first = entry(&journal.shard, one, &[Command::NewProducer]);
    assert!(journal.store(&first).is_ok());
    assert!(journal.submit(two, Command::NewProducer).is_ok());
    let second = entry(&journal.shard, one, &[Command::NewProducer]);
    let (mut header, commands) = Header::split(&second).unwrap();
    header.sequence += 1;
    let third = [&header.encode()[..], commands].concat();
    assert_eq!(journal.store(&third), Err(Passed::Gap));
    assert!(journal.store(&second).is_ok());
    assert!(journal.submit(two, Command::NewProducer).is_ok());
    let before = journal.shard.clone();
    for late in [&first, &second] {
        assert_eq!(journal.store(late), Err(Passed::Repeated));
    }
    let (position, hash) = (before.position() + 2, journal.shard.hash());
    assert_eq!(journal.shard, Shard { position, hash, ..before });
    assert!(journal.store(&third).is_ok(), "it follows now");
}

#[test]
fn a_late_copy_of_a_registration_fences_no_broker() {
    let mut journal = Journal::new();
    let early = entry(&journal.shard, 0, &[registration(&journal.shard, ONE)]);
    assert!(journal.store(&early).unwrap()[0].is_ok());
    assert_eq!(journal.store(&early), refused(Refusal::OtherIncarnation));
    journal.clock += 2_000;
    let one = journal.register(ONE);
    journal.clock += 2_000;
    assert_eq!(journal.store(&early), refused(Refusal::OtherIncarnation));
    let gone = journal.gone(ONE);
    assert!(journal.submit(one, Command::NewProducer).is_ok());
    journal.clock += 6_000;
    let two = journal.register(TWO);
    assert_eq!(journal.submit(two, gone), Err(Refusal::BrokerRuns));
}

#[test]
fn the_second_of_two_new_processes_with_one_id_is_refused() {
    let mut journal = Journal::new();
    let both = [8, 9].map(|nonce| {
        let register = Register { node: ONE, after: 0, nonce, session: SESSION };
        entry(&journal.shard, 0, &[Command::Register(register)])
    });
    assert!(journal.store(&both[0]).unwrap()[0].is_ok());
    journal.clock += 9_000;
    assert_eq!(journal.store(&both[1]), refused(Refusal::OtherIncarnation));
    let known = journal.shard.members().unwrap().of(ONE).unwrap();
    assert_eq!((known.incarnation, known.nonce), (1, 8));
}

#[test]
fn a_broker_that_writes_is_not_replaced_by_another_process_with_its_id() {
    let mut journal = Journal::new();
    let first = journal.register(ONE);
    journal.clock += 1_000;
    assert!(journal.submit(first, Command::NewProducer).is_ok());
    for waited in [0, 1_499] {
        let second = registration(&journal.shard, ONE);
        journal.clock += waited;
        assert_eq!(journal.submit(0, second), Err(Refusal::BrokerRuns));
    }
    journal.clock += 1;
    let second = journal.register(ONE);
    let zombie = entry(&journal.shard, first, &[Command::NewProducer]);
    assert_eq!(journal.store(&zombie), Err(Passed::Fenced));
    assert!(journal.submit(second, Command::NewProducer).is_ok());
}

#[test]
fn the_journals_clock_may_be_put_back_without_locking_a_broker_out() {
    let mut journal = Journal::new();
    journal.register(ONE);
    journal.clock -= 900_000;
    journal.register(ONE);
}

#[test]
fn a_silent_broker_is_declared_gone_but_not_if_it_wrote_an_entry_in_between() {
    let mut journal = Journal::new();
    let (one, two) = (journal.register(ONE), journal.register(TWO));
    let early = journal.gone(ONE);
    assert!(journal.submit(one, Command::NewProducer).is_ok());
    assert_eq!(journal.submit(two, early), Err(Refusal::BrokerRuns));
    let decided = journal.gone(ONE);
    assert_eq!(journal.submit(two, decided.clone()), Ok(Applied::BrokerGone { node: ONE }));
    assert_eq!(journal.shard.running(), [TWO]);
    let zombie = entry(&journal.shard, one, &[Command::NewProducer]);
    assert_eq!(journal.store(&zombie), Err(Passed::Fenced));
    assert_eq!(journal.submit(two, decided.clone()), Err(Refusal::OtherIncarnation), "it is gone already");
    let again = journal.register(ONE);
    assert_eq!(journal.submit(two, decided), Err(Refusal::OtherIncarnation), "it came back");
    assert!(journal.submit(again, Command::NewProducer).is_ok());
}

#[test]
fn no_broker_is_declared_gone_for_five_seconds_after_the_journal_stood_still() {
    let mut journal = Journal::new();
    let two = { (journal.register(ONE), journal.register(TWO)).1 };
    journal.clock += 1_001;
    for _ in 0..10 {
        let gone = journal.gone(ONE);
        assert_eq!(journal.submit(two, gone), Err(Refusal::BrokerRuns));
        journal.clock += 500;
    }
    let gone = journal.gone(ONE);
    assert_eq!(journal.submit(two, gone), Ok(Applied::BrokerGone { node: ONE }));
}

/// The last running broker tries to declare the other one gone with each of its entries.
#[test]
fn a_broker_is_declared_gone_only_if_the_last_one_writes_at_least_once_a_second() {
    for (interval, expected) in [(500, true), (1_000, true), (1_001, false), (4_900, false), (60_000, false)]
    {
        let mut journal = Journal::new();
        let two = { (journal.register(ONE), journal.register(TWO)).1 };
        let mut is_gone = false;
        for _ in 0..100 {
            journal.clock += interval;
            let gone = journal.gone(ONE);
            is_gone |= journal.submit(two, gone).is_ok();
        }
        assert_eq!(is_gone, expected, "an entry every {interval} ms");
    }
}

/// Leader, ISR and leader epoch of a partition.
fn shown(shard: &Shard, index: i32) -> (Option<NodeId>, Vec<NodeId>, i32) {
    let topic = shard.topic(TOPIC).unwrap();
    let placement = &topic.placement()[index as usize];
    assert!(placement.elr.is_empty());
    (placement.leader, placement.isr.clone(), topic.partition(index).unwrap().epoch().0)
}

#[test]
fn any_running_replica_leads_and_if_none_runs_another_broker_leads_until_one_is_back() {
    let mut journal = Journal::new();
    let (_, two) = (journal.register(ONE), journal.register(TWO));
    let three = journal.register(NodeId(3));
    let replicas = vec![vec![ONE, TWO], vec![ONE], vec![TWO, ONE]];
    let (name, overrides) = ("orders".to_owned(), BTreeMap::new());
    journal.submit(two, Command::CreateTopic(CreateTopic { id: TOPIC, name, overrides, replicas })).unwrap();
    let gone = journal.gone(ONE);
    journal.submit(two, gone).unwrap();
    assert_eq!(shown(&journal.shard, 0), (Some(TWO), vec![TWO], 1));
    let guest = shown(&journal.shard, 1).0.unwrap();
    assert_eq!(shown(&journal.shard, 1), (Some(guest), vec![guest], 1));
    assert_eq!(shown(&journal.shard, 2), (Some(TWO), vec![TWO], 0));
    let gone = journal.gone(TWO);
    journal.submit(three, gone).unwrap();
    for index in 0..3 {
        assert_eq!(shown(&journal.shard, index).0, Some(NodeId(3)));
    }
    journal.register(ONE);
    for index in 0..3 {
        assert_eq!(shown(&journal.shard, index).1, [ONE], "1 has all bytes, although it was not in the ISR");
    }
    let epochs = [0, 1, 2].map(|index| shown(&journal.shard, index).2);
    journal.register(TWO);
    assert_eq!(shown(&journal.shard, 0), (Some(ONE), vec![ONE, TWO], epochs[0]), "the leader stays");
}

#[test]
fn partitions_without_a_running_replica_are_spread_over_all_brokers() {
    let leaders = |nodes: &[i32]| {
        let running: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
        let away = Placement::new(&[NodeId(9)], &[NodeId(9)]).unwrap();
        let leader = |index| away.follow_with_shared_bytes((TOPIC, index), &running).leader.unwrap();
        (0..200).map(leader).collect::<Vec<_>>()
    };
    let (three, two) = (leaders(&[1, 2, 3]), leaders(&[1, 3]));
    for node in [1, 2, 3] {
        let leads = three.iter().filter(|leader| leader.0 == node).count();
        assert!((40..100).contains(&leads), "{node} leads {leads}");
    }
    let moved = three.iter().zip(&two).filter(|(before, after)| before != after);
    assert!(moved.into_iter().all(|(before, _)| *before == TWO), "only the partitions of broker 2 move");
}

/// A journal with a broker and a topic of two partitions.
fn with_broker() -> (Journal, u64) {
    let mut journal = Journal::new();
    let one = journal.register(ONE);
    journal.submit(one, create(TOPIC, "orders", 2)).unwrap();
    (journal, one)
}

fn inline(partition: i32, at: u32) -> Command {
    Command::Commit(Commit { partition, place: Place::Journal { at }, ..batch(3) })
}

/// The base offset, bytes and place of each extent of a partition.
fn extents(shard: &Shard, index: i32) -> Vec<(i64, u64, u64, u32)> {
    let extents = shard.partition(TOPIC, index).unwrap().extents().iter();
    let place = |extent: &Extent| match extent.place {
        ExtentPlace::Journal { position, at } => (extent.base.0, extent.bytes, position, at),
        ExtentPlace::File { .. } | ExtentPlace::Marker { .. } => panic!("{extent:?}"),
    };
    extents.map(place).collect()
}

#[test]
fn batches_that_follow_each_other_in_an_entry_are_one_extent() {
    let (mut journal, one) = with_broker();
    let position = journal.shard.position() + 1;
    let commands = [inline(0, 0), inline(0, 100), inline(1, 200), inline(0, 300), inline(0, 500)];
    let written = entry(&journal.shard, one, &commands);
    let outcomes = journal.store(&written).unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let of_first = [(0, 200, position, 0), (6, 100, position, 300), (9, 100, position, 500)];
    assert_eq!(extents(&journal.shard, 0), of_first);
    assert_eq!(extents(&journal.shard, 1), [(0, 100, position, 200)]);
    let next = entry(&journal.shard, one, &[inline(1, 300)]);
    journal.store(&next).unwrap();
    let of_second = [(0, 100, position, 200), (3, 100, position + 1, 300)];
    assert_eq!(extents(&journal.shard, 1), of_second, "another entry");
    let Ok(Applied::Appended(placed)) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!((placed.segment, placed.at, placed.base_offset), (Offset(0), 100, Offset(3)));
}

#[test]
fn an_extent_ends_where_a_leader_epoch_begins() {
    let (mut journal, one) = with_broker();
    let raise = Command::RaiseEpoch { topic: TOPIC, partition: 0 };
    let Command::Commit(commit) = inline(0, 100) else { unreachable!() };
    let later = Command::Commit(Commit { leadership: LeaderEpoch(1), ..commit });
    let written = entry(&journal.shard, one, &[inline(0, 0), raise, later, inline(0, 200)]);
    let outcomes = journal.store(&written).unwrap();
    assert_eq!(outcomes[3], Err(Refusal::NotLeader));
    let position = journal.shard.position();
    assert_eq!(extents(&journal.shard, 0), [(0, 100, position, 0), (3, 100, position, 100)]);
}

#[test]
fn a_batch_must_be_within_the_data_of_its_entry() {
    let (mut journal, one) = with_broker();
    let commands = [inline(0, 901), inline(0, u32::MAX), inline(0, 900)];
    let written = entry(&journal.shard, one, &commands);
    let outcomes = journal.store(&written).unwrap();
    assert_eq!(outcomes[..2], [Err(Refusal::Malformed), Err(Refusal::Malformed)]);
    assert!(outcomes[2].is_ok());
}

#[test]
fn files_and_shared_bytes_do_not_mix() {
    let (mut journal, one) = with_broker();
    assert_eq!(journal.submit(one, Command::Commit(batch(1))), Err(Refusal::Malformed));
    let two = entry(&journal.shard, one, &[inline(0, 0), inline(0, 500), inline(1, 100)]);
    journal.store(&two).unwrap();
    let there = journal.shard.partition(TOPIC, 0).unwrap().extents().to_vec();
    let anew = Rewritten {
        base: Offset(0),
        bytes: 5,
        max_timestamp: at(2),
        cleaned: true,
        aborted: AbortedList::default(),
    };
    let replace = ReplaceExtents {
        topic: TOPIC,
        partition: 0,
        first: Offset(0),
        end: Offset(3),
        count: 1,
        mix: mix_of(&there[..1]),
        outputs: vec![anew],
    };
    assert_eq!(journal.submit(one, Command::ReplaceExtents(replace)), Err(Refusal::Malformed));
    let segment = there[0].id();
    let again = StoreAgain { topic: TOPIC, partition: 0, segment, at: 0, bytes: 100 };
    assert_eq!(journal.submit(one, Command::StoreAgain(again)), Err(Refusal::OtherExtents));
    let set = Command::SetBrokers { running: vec![TWO], election: Election::default() };
    assert_eq!(journal.submit(one, set), Err(Refusal::Malformed), "brokers register");
    assert!(!journal.shard.is_in_files());

    let mut files = with_topic();
    assert!(files.is_in_files());
    let before = files.clone();
    let register = registration(&Shard::shared(), ONE);
    let gone = Command::Gone(Gone { node: ONE, incarnation: 0, last: 9 });
    for command in [inline(0, 0), register, gone] {
        assert_eq!(files.apply(at(1), &command), Err(Refusal::Malformed));
    }
    assert_eq!(files, before);
}

#[test]
fn extents_of_the_same_size_in_other_places_have_another_hash() {
    let (mut journal, one) = with_broker();
    let written = entry(&journal.shard, one, &[inline(0, 0), inline(1, 100)]);
    journal.store(&written).unwrap();
    let [first, second] = [0, 1].map(|index| journal.shard.partition(TOPIC, index).unwrap().extents()[0]);
    assert_ne!(mix_of(&[first]), mix_of(&[second]));
    let place = ExtentPlace::Journal { position: 1, at: 0 };
    assert_ne!(mix_of(&[first]), mix_of(&[Extent { place, ..first }]));
}

#[test]
fn a_state_from_a_snapshot_has_the_brokers_and_continues_like_the_original() {
    let (mut journal, one) = with_broker();
    let state = Levels::KNOWN.current().write_state(&journal.shard);
    let mut read = Levels::KNOWN.read_state(Level(7), &state).unwrap().unwrap();
    assert_eq!(read, journal.shard);
    let next = entry(&journal.shard, one, &[Command::NewProducer]);
    journal.store(&next).unwrap();
    read.apply_entry(Levels::KNOWN, Timestamp(journal.clock), &next, |_, _, _| {}).unwrap();
    assert_eq!(read, journal.shard);
    let longer = [&state[..], &[0]].concat();
    assert!(Levels::KNOWN.read_state(Level(7), &longer).unwrap().is_err());
}

/// With random entries of three brokers, some stored twice, a reader that sometimes restarts from a snapshot has the
/// state of a reader that does not, and the invariants hold.
#[test]
fn all_brokers_have_the_same_state() {
    let mut with_records = 0;
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut journal = Journal::new();
        let mut reader = Shard::shared();
        let mut old = Vec::new();
        for _ in 0..80 {
            journal.clock += random.below(900) as i64;
            let node = NodeId(1 + random.below(3) as i32);
            let member = journal.shard.members().unwrap().of(node).filter(|member| member.runs);
            let author = member.map_or(0, |member| member.incarnation);
            let commands = match author {
                0 => vec![registration(&journal.shard, node)],
                _ => (0..random.below(4)).map(|_| shared_command(&mut random, &journal.shard)).collect(),
            };
            let entry = match random.below(6) {
                0 if !old.is_empty() => Vec::clone(&old[random.below(old.len() as u64) as usize]),
                _ => entry(&journal.shard, author, &commands),
            };
            let outcome = journal.store(&entry).map(drop);
            if random.below(9) == 0 {
                let state = Levels::KNOWN.current().write_state(&reader);
                reader = Levels::KNOWN.read_state(Level(7), &state).unwrap().unwrap();
            }
            let time = Timestamp(journal.clock);
            let read = reader.apply_entry(Levels::KNOWN, time, &entry, |_, _, _| {});
            assert_eq!(read, outcome);
            assert_eq!(reader, journal.shard, "seed {seed}");
            reader.topics().flat_map(|topic| topic.partitions()).for_each(check_partition);
            old.push(entry);
        }
        let has_records = reader.topics().any(|topic| topic.partitions().any(|one| one.end() > Offset(0)));
        with_records += u32::from(has_records);
    }
    assert!(with_records > 35, "{with_records} of 40 histories have records");
}

fn shared_command(random: &mut Random, shard: &Shard) -> Command {
    match random.command() {
        Command::Commit(commit) => {
            let place = Place::Journal { at: random.below(4) as u32 };
            Command::Commit(in_epoch(shard, Commit { place, bytes: commit.bytes + 1, ..commit }))
        }
        Command::Register(_) => Command::NewProducer,
        Command::Gone(gone) => match shard.members().unwrap().of(gone.node) {
            Some(known) => {
                let (incarnation, last) = (known.incarnation, known.last - random.below(2));
                Command::Gone(Gone { incarnation, last, ..gone })
            }
            None => Command::Gone(gone),
        },
        other => other,
    }
}
