//! Random commands by many clients, some of them hostile, with restarts and the passing of time.
//! The invariants are checked after every step.

use super::*;
use crate::coordinator::group::weight;
use crate::kernel::group::Phase;
use crate::types::TopicPartition;

/// A small random number generator (xorshift64*), so that a seed identifies a run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(usize::try_from(self.roll(from.len() as u64)).unwrap()) }
    }
}

/// The knowledge of the clients, which they mix up.
struct Clients {
    play: Play,
    dice: Dice,
    /// Every id that was ever given to a client.
    ids: Vec<MemberId>,
    /// The leader of each generation.
    leaders: BTreeMap<Generation, MemberId>,
    /// The member that may get each assignment.
    owners: BTreeMap<Vec<u8>, MemberId>,
    generation: Generation,
    tokens: u64,
}

impl Clients {
    fn step(&mut self) {
        match self.dice.roll(20) {
            0..6 => self.join(),
            6..10 => self.sync(),
            10..12 => self.beat(),
            12 => self.leave(),
            13..15 => self.commit(),
            15 => self.administer(),
            16 => {
                let seconds = self.dice.roll(20);
                self.play.wait(seconds);
            }
            17..20 => self.play.wait(1),
            _ => unreachable!("the die has 20 sides"),
        }
        self.look();
    }

    fn join(&mut self) {
        let mut join = match self.known_id() {
            Some(id) if !self.dice.one_in(3) => again(&id),
            _ => newcomer("n"),
        };
        if self.dice.one_in(3) {
            join.instance = Some(["i", "j", "k"][usize::try_from(self.dice.roll(3)).unwrap()].to_owned());
        }
        join.confirms_its_id = self.dice.one_in(2);
        join.can_skip_assignment = self.dice.one_in(2);
        join.session_timeout = Duration::from_secs(5 + self.dice.roll(10));
        join.rebalance_timeout = Duration::from_secs(self.dice.roll(20));
        if self.dice.one_in(20) {
            join.protocol_type = "connect".to_owned();
        }
        let wishes: [&[&str]; 5] = [&["x", "y"], &["y", "x"], &["x"], &["y"], &["x", "y", "z"]];
        join = speaking(join, wishes[usize::try_from(self.dice.roll(8)).unwrap().min(4)]);
        self.play.join(join);
    }

    fn sync(&mut self) {
        let Some(id) = self.known_id() else { return };
        let generation = self.some_generation();
        let mut assignments = Vec::new();
        if self.dice.one_in(2) {
            for member in self.play.group.hard().members().keys() {
                self.tokens += 1;
                let token = self.tokens.to_be_bytes().to_vec();
                self.owners.insert(token.clone(), member.clone());
                assignments.push((member.clone(), Opaque::copy_of(&token)));
            }
        }
        let sync = Sync { who: who(&id), generation, protocol_type: None, protocol: None, assignments };
        let caller = self.play.sync_with(sync);
        if let Some(Answer::Sync(Ok(synced))) = self.play.answers.get(&caller) {
            let owner = self.owners.get(&synced.assignment.bytes()[..]);
            assert!(owner.is_none_or(|owner| self.is_or_was(owner, &id)), "{id} got the part of {owner:?}");
        }
    }

    /// Whether `id` has taken over from `owner`, possibly through several static members in
    /// between.
    fn is_or_was(&self, owner: &MemberId, id: &MemberId) -> bool {
        let mut holder = owner.clone();
        for record in &self.play.log {
            if let Change::Group(GroupRecord::Replaced { old, new }) = record
                && *old == holder
            {
                holder = new.clone();
            }
        }
        holder == *id || owner == id
    }

    fn beat(&mut self) {
        let Some(id) = self.known_id() else { return };
        let generation = self.some_generation();
        let _ = self.play.beat(who(&id), generation.0);
    }

    fn leave(&mut self) {
        let Some(id) = self.known_id() else { return };
        self.play.leave(vec![Leaver::Member(who(&id)), Leaver::Instance("i".to_owned())]);
    }

    fn commit(&mut self) {
        let partition = i32::try_from(self.dice.roll(4)).unwrap();
        let value = i64::try_from(self.dice.roll(100)).unwrap();
        let offsets = vec![offset(partition, value)];
        let _ = match self.known_id() {
            Some(id) if !self.dice.one_in(3) => {
                let generation = self.some_generation();
                self.play.commit(by(&id, generation.0, offsets))
            }
            _ => self.play.commit(simple(offsets)),
        };
    }

    fn administer(&mut self) {
        match self.dice.roll(7) {
            0 => drop(self.play.delete()),
            1 => drop(self.play.delete_offsets(&[
                (TopicPartition::new(TOPIC, 0), "t"),
                (TopicPartition::new(TOPIC, 1), "u"),
            ])),
            2 => {
                self.play.topics.remove(&TOPIC);
                self.play.decide(Command::Expire { by_age_at: None });
            }
            3 => {
                self.play.topics.insert(TOPIC, "t");
                self.play.decide(Command::Expire { by_age_at: Some(self.play.wall()) });
            }
            4 => self.play.restart(),
            5 => self.play.room = if self.dice.one_in(2) { 2000 } else { usize::MAX },
            6 => drop(self.play.rebalance()),
            _ => unreachable!("the die has 7 sides"),
        }
    }

    /// A member, a former or pending member, or an unknown id.
    fn known_id(&mut self) -> Option<MemberId> {
        let members: Vec<MemberId> = self.play.group.hard().members().keys().cloned().collect();
        if self.dice.one_in(5) {
            self.dice.pick(&self.ids).cloned()
        } else {
            self.dice.pick(&members).cloned()
        }
    }

    fn some_generation(&mut self) -> Generation {
        let now = self.play.group.hard().generation();
        if self.dice.one_in(8) { Generation(now.0 - 1) } else { now }
    }

    fn look(&mut self) {
        let hard = self.play.group.hard().clone();
        let soft = self.play.soft();
        if hard.exists() {
            assert!(hard.generation() >= self.generation, "a generation went back");
        } else {
            self.leaders.clear();
        }
        self.generation = hard.generation();

        assert!(soft.joining.keys().all(|id| hard.member(id).is_some()));
        assert!(soft.joining.is_empty() || hard.phase() == Phase::PreparingRebalance);
        assert!(soft.syncing.is_empty() || hard.phase() == Phase::CompletingRebalance);
        let pending = soft.pending.keys().map(|id| weight::of_pending(id));
        assert_eq!(soft.pending_bytes, pending.sum::<usize>());
        let is_empty = matches!(hard.phase(), Phase::Empty { .. });
        assert!(!is_empty || hard.members().is_empty());
        assert!(is_empty || self.play.group.next_deadline().is_some(), "nobody would look after the group");
        for (id, member) in hard.members() {
            let holds = |instance: &String| hard.instance(instance) == Some(id);
            assert!(member.instance.as_ref().is_none_or(holds), "two members hold one instance id");
            let has_session = soft.sessions.contains(id);
            let waits = soft.joining.contains_key(id) || soft.syncing.contains_key(id);
            assert!(has_session || waits, "{id} could never be lost");
        }
        for answer in self.play.answers.values() {
            if let Answer::Join(Ok(joined)) = answer
                && joined.leader == joined.member
                && !joined.skip_assignment
            {
                let leader = self.leaders.entry(joined.generation).or_insert_with(|| joined.member.clone());
                assert_eq!(*leader, joined.member, "two leaders in {:?}", joined.generation);
            }
            if let Answer::Join(Err(refusal)) = answer
                && refusal.error == GroupError::MemberIdRequired
            {
                self.ids.push(refusal.member.clone());
            }
        }
        self.ids
            .extend(hard.members().keys().filter(|id| !self.ids.contains(id)).cloned().collect::<Vec<_>>());
        // A caller with an answer no longer waits, and a waiting caller is parked in the soft
        // state.
        let parked = |caller: &Caller| {
            soft.joining.values().any(|joining| joining.reply.number() == caller.0)
                || soft.syncing.values().any(|reply| reply.number() == caller.0)
        };
        assert!(self.play.answers.keys().all(|caller| !parked(caller)));
        self.play.answers.clear();
    }
}

#[test]
fn whatever_clients_do_the_group_stays_whole_and_everybody_is_answered_in_the_end() {
    for seed in 1..=600 {
        let mut clients = Clients {
            play: Play { rules: Rules { max_size: 6, ..rules() }, ..Play::default() },
            dice: Dice(seed),
            ids: Vec::new(),
            leaders: BTreeMap::new(),
            owners: BTreeMap::new(),
            generation: Generation(0),
            tokens: 0,
        };
        for _ in 0..150 {
            clients.step();
        }
        let waiting: Vec<Caller> = {
            let soft = clients.play.soft();
            let joining = soft.joining.values().map(|joining| joining.reply.number());
            joining.chain(soft.syncing.values().map(|reply| reply.number())).map(Caller).collect()
        };
        // All clients fall silent, and the timers alone end all waits.
        clients.play.wait(3600);
        for caller in waiting {
            assert!(clients.play.answers.contains_key(&caller), "seed {seed}: {caller:?} waits for ever");
        }
        assert_eq!(clients.play.group.state(), GroupState::Empty, "seed {seed}");
        assert_eq!(clients.play.group.next_deadline(), None, "seed {seed}");
    }
}
