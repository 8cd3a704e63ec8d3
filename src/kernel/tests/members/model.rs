//! All histories of two processes that want to be one broker and of a third that declares it gone, with answers
//! that get lost and copies of entries that are stored later. Each rule of the kernel is needed: if the late
//! copies are changed so that the rule accepts them, a history has a fault.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::entries::with_header;
use super::*;

/// The number of answers that get lost in one history.
const LOST: u32 = 1;

#[derive(Clone, Hash)]
struct Process {
    node: NodeId,
    nonce: u64,
    incarnation: Option<u64>,
    /// The entry without an outcome. It is appended until it is seen.
    sent: Option<Vec<u8>>,
    /// The number of its entries that were applied.
    done: u64,
    ended: bool,
}

#[derive(Clone)]
struct World {
    shard: Shard,
    processes: Vec<Process>,
    /// Lost copies, which may be stored at any time.
    late: Vec<Vec<u8>>,
    lost: u32,
    /// Author and sequence of the applied entries.
    applied: BTreeSet<(u64, u64)>,
    /// The nonces of the accepted registrations.
    registered: BTreeSet<u64>,
}

/// Changes a late copy so that one rule has no effect.
type Change = fn(&Shard, Header, Vec<Command>) -> (Header, Vec<Command>);

impl World {
    fn new() -> World {
        let process =
            |node, nonce| Process { node, nonce, incarnation: None, sent: None, done: 0, ended: false };
        World {
            shard: Shard::shared(),
            processes: vec![process(ONE, 1), process(ONE, 2), process(TWO, 3)],
            late: Vec::new(),
            lost: 0,
            applied: BTreeSet::new(),
            registered: BTreeSet::new(),
        }
    }

    /// Worlds with the same digest have the same futures.
    fn digest(&self) -> u64 {
        let Shard { position, next_producer, members, .. } = &self.shard;
        let state = postcard::to_stdvec(&(position, next_producer, members)).unwrap();
        let mut digest = DefaultHasher::new();
        (state, &self.processes, &self.late, self.lost).hash(&mut digest);
        digest.finish()
    }

    /// All worlds that one step leads to, or the fault of one of them.
    fn next(&self, change: Change) -> Result<Vec<World>, String> {
        let mut worlds = Vec::new();
        for (at, process) in self.processes.iter().enumerate().filter(|(_, process)| !process.ended) {
            let Some(sent) = &process.sent else {
                if let Some(commands) = self.wants(process) {
                    let mut world = self.clone();
                    let author = process.incarnation.unwrap_or(0);
                    // Without the position and the hash that it has seen there are fewer different worlds.
                    let sent = with_header(&entry(&self.shard, author, &commands), |header| {
                        (header.seen, header.seen_hash) = (0, 0);
                    });
                    world.processes[at].sent = Some(sent);
                    worlds.push(world);
                }
                continue;
            };
            let mut stored = self.clone();
            stored.store(sent, sent)?;
            worlds.push(stored);
            if self.lost < LOST {
                let mut world = self.clone();
                world.lost += 1;
                world.late.push(sent.clone());
                world.late.sort();
                worlds.push(world);
            }
        }
        for at in 0..self.late.len() {
            let mut world = self.clone();
            let copy = world.late.remove(at);
            let (header, _) = Header::split(&copy).unwrap();
            let (header, commands) = change(&self.shard, header, commands_of(&copy));
            let mut changed = header.encode().to_vec();
            Levels::KNOWN.current().write(&commands.iter().collect::<Vec<_>>(), &mut changed);
            world.store(&copy, &changed)?;
            worlds.push(world);
        }
        Ok(worlds)
    }

    /// The next entry of a process: it registers, writes twice, and broker 2 declares broker 1 gone once.
    fn wants(&self, process: &Process) -> Option<Vec<Command>> {
        if process.incarnation.is_none() {
            let Command::Register(register) = registration(&self.shard, process.node) else { unreachable!() };
            let register = Register { nonce: process.nonce, session: Duration::ZERO, ..register };
            return Some(vec![Command::Register(register)]);
        }
        match process.node {
            TWO if process.done == 0 => {
                let member = self.shard.members().unwrap().of(ONE)?;
                let (incarnation, last) = (member.incarnation, member.last);
                Some(vec![Command::Gone(Gone { node: ONE, incarnation, last })])
            }
            ONE if process.done < 2 => Some(vec![Command::NewProducer]),
            _ => None,
        }
    }

    /// The journal stores an entry, or a late copy that was changed.
    fn store(&mut self, entry: &[u8], changed: &[u8]) -> Result<(), String> {
        let last = self.shard.members().unwrap().of(ONE).map_or(0, |member| member.last);
        let mut outcomes = Vec::new();
        let saw = |_: &Shard, _: &Command, outcome: &Result<Applied, Refusal>| outcomes.push(outcome.clone());
        let passed = self.shard.apply_entry(Levels::KNOWN, at(1), changed, saw).err();
        let (header, _) = Header::split(entry).unwrap();
        for (command, outcome) in commands_of(entry).iter().zip(&outcomes) {
            let is_fine = match (command, outcome) {
                (_, Err(_)) => true,
                (Command::Register(register), Ok(_)) => self.registered.insert(register.nonce),
                (Command::Gone(gone), Ok(_)) => gone.last >= last,
                (_, Ok(_)) => self.applied.insert((header.author, header.sequence)),
            };
            if !is_fine {
                return Err(format!("{command:?} of {header:?} is applied: {outcome:?}"));
            }
        }
        for process in self.processes.iter_mut().filter(|process| process.sent.as_deref() == Some(entry)) {
            process.sent = None;
            match outcomes.first() {
                Some(Ok(Applied::Registered { incarnation, .. })) => process.incarnation = Some(*incarnation),
                Some(Ok(_)) => process.done += 1,
                Some(Err(_)) => process.ended = true,
                None if passed == Some(Passed::Fenced) => process.ended = true,
                None => return Err(format!("{header:?} is passed over: {passed:?}")),
            }
        }
        Ok(())
    }
}

fn commands_of(entry: &[u8]) -> Vec<Command> {
    super::super::super::entry::read(Levels::KNOWN, entry).unwrap().1
}

/// Goes through all histories. Returns the number of worlds, or the first fault.
fn explore(change: Change) -> Result<usize, String> {
    let mut known = BTreeSet::new();
    let mut left = VecDeque::from([World::new()]);
    while let Some(world) = left.pop_front() {
        for world in world.next(change)? {
            if known.insert(world.digest()) {
                left.push_back(world);
            }
        }
    }
    Ok(known.len())
}

#[test]
fn no_history_applies_an_entry_twice_or_fences_a_broker_by_a_late_copy() {
    let worlds = explore(|_, header, commands| (header, commands)).unwrap();
    assert!(worlds > 10_000, "{worlds}");
}

#[test]
fn without_the_sequence_an_entry_is_applied_twice() {
    let wrong = explore(|shard, header, commands| {
        let last = shard.members().and_then(|members| members.sequence_of(header.author));
        (Header { sequence: last.unwrap_or(0) + 1, ..header }, commands)
    });
    assert!(wrong.unwrap_err().contains("NewProducer"));
}

#[test]
fn without_the_last_incarnation_a_late_registration_is_accepted() {
    let wrong = explore(|shard, header, mut commands| {
        if let [Command::Register(register)] = &mut commands[..] {
            register.after = shard.members().unwrap().of(register.node).map_or(0, |known| known.incarnation);
        }
        (header, commands)
    });
    assert!(wrong.unwrap_err().contains("Register"));
}

#[test]
fn without_the_last_entry_a_broker_that_has_written_since_is_declared_gone() {
    let wrong = explore(|_, header, mut commands| {
        if let [Command::Gone(gone)] = &mut commands[..] {
            gone.last = u64::MAX;
        }
        (header, commands)
    });
    assert!(wrong.unwrap_err().contains("Gone"));
}

#[test]
fn without_the_incarnation_a_late_removal_ends_the_next_incarnation() {
    let wrong = explore(|shard, header, mut commands| {
        if let [Command::Gone(gone)] = &mut commands[..]
            && let Some(known) = shard.members().unwrap().of(gone.node)
        {
            (gone.incarnation, gone.last) = (known.incarnation, known.last);
        }
        (header, commands)
    });
    assert!(wrong.unwrap_err().contains("Gone"));
}
