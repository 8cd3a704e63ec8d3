//! Tests that play commands and check the answers. After each step the log is replayed and must
//! give the same hard state.

mod fuzz;
mod life;
mod membership;
mod offsets;
mod static_members;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot::error::TryRecvError;

use super::Soft;
use crate::coordinator::group::made::MadeTopics;
use crate::coordinator::group::*;
use crate::coordinator::machine::{Machine, Occasion};
use crate::coordinator::reply::{AwaitedAnswer, Reply};
use crate::coordinator::{GroupStore, Now, Settled};
use crate::kernel::group::{Change, Generation, GroupRecord, KeptGroup, MemberId, Opaque};
use crate::kernel::offsets::Offsets;
use crate::kernel::{self, weigh_group};
use crate::storage::groups::Seen;
use crate::types::{Offset, Timestamp, TopicId, TopicPartition, Uuid};

/// A group under test.
struct Play {
    rules: Rules,
    topics: BTreeMap<TopicId, &'static str>,
    group: Group,
    log: Vec<Change>,
    /// The group that results from replaying the log.
    replayed: KeptGroup,
    now: Duration,
    callers: u64,
    joining: BTreeMap<Caller, AwaitedAnswer<Result<Joined, JoinRefusal>>>,
    syncing: BTreeMap<Caller, AwaitedAnswer<Result<Synced, GroupError>>>,
    /// The answers to JoinGroup and SyncGroup that nobody has looked at.
    answers: BTreeMap<Caller, Answer>,
    room: usize,
    /// Whether the kernel has all that was decided before.
    settled: bool,
}

/// Identifies a request that may have to wait. Later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Caller(u64);

#[derive(Clone, Debug)]
enum Answer {
    Join(Result<Joined, JoinRefusal>),
    Sync(Result<Synced, GroupError>),
}

impl Default for Play {
    fn default() -> Play {
        Play {
            rules: rules(),
            topics: BTreeMap::from([(TOPIC, "t")]),
            group: Group::default(),
            log: Vec::new(),
            replayed: KeptGroup::default(),
            now: Duration::ZERO,
            callers: 0,
            joining: BTreeMap::new(),
            syncing: BTreeMap::new(),
            answers: BTreeMap::new(),
            room: usize::MAX,
            settled: true,
        }
    }
}

/// Kafka's defaults.
fn rules() -> Rules {
    Rules::from(&crate::config::BrokerSettings::default())
}

impl Play {
    fn decide(&mut self, command: Command) {
        let store = Published { topics: self.topics.clone(), kept: self.replayed.clone(), now: self.wall() };
        let view = View::new("", &self.rules, &store);
        let occasion = Occasion { session: self.now, room: self.room, settled: self.settled };
        let slot = self.group.weigh("");
        let decision = self.group.decide(&view, occasion, command);
        let is_weighed = decision.resized || !decision.changes.is_empty();
        assert!(is_weighed || self.group.weigh("") == slot, "its slot is not weighed again");
        assert_eq!(decision.after, self.replayed.group.version());
        let before = weigh_kept(&self.replayed.group);
        self.replayed.apply(&decision.changes);
        if decision.changes.iter().all(|change| matches!(change, Change::Group(_))) {
            assert_eq!(decision.grown, weigh_kept(&self.replayed.group) - before);
        }
        self.log.extend(decision.changes);
        decision.answers.into_iter().for_each(|answer| answer.send(&Settled::known(Ok(()))));
        self.joining.retain(|caller, awaited| match awaited.try_recv() {
            Ok(answered) => self.answers.insert(*caller, Answer::Join(answered.answer)).is_some(),
            Err(error) => error == TryRecvError::Empty,
        });
        self.syncing.retain(|caller, awaited| match awaited.try_recv() {
            Ok(answered) => self.answers.insert(*caller, Answer::Sync(answered.answer)).is_some(),
            Err(error) => error == TryRecvError::Empty,
        });
        assert_eq!(&self.replayed.group, self.group.hard());
    }

    /// A request whose answer comes at once.
    fn ask<Q: Request>(&mut self, body: Q, command: impl FnOnce(GroupRequest<Q>) -> Command) -> Q::Answer {
        let (_, reply, mut awaited) = self.call();
        self.decide(command(GroupRequest { body, reply }));
        awaited.try_recv().expect("an answer").answer
    }

    fn call<A: Send + 'static>(&mut self) -> (Caller, Reply<A>, AwaitedAnswer<A>) {
        self.callers += 1;
        let (reply, awaited) = Reply::pair(self.callers);
        (Caller(self.callers), reply, awaited)
    }

    fn soft(&self) -> &Soft {
        let Kind::Classic(soft) = self.group.kind() else { panic!("another kind of group") };
        soft
    }

    fn wall(&self) -> Timestamp {
        Timestamp(i64::try_from(self.now.as_millis()).unwrap())
    }

    /// Lets time pass; every timer fires when it is due.
    fn wait(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(deadline) = self.group.next_deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.decide(Command::Tick);
        }
        self.now = until;
    }

    /// A crash and a restart: soft state and waiting requests are lost.
    fn restart(&mut self) {
        self.group = restored(self.replayed.group.clone(), self.now);
        self.answers.clear();
    }

    fn join(&mut self, join: Join) -> Caller {
        let called = join.instance.clone().unwrap_or_else(|| join.client_id.clone());
        let new_id = format!("{called}-{}", self.callers + 1);
        let (caller, reply, awaited) = self.call();
        self.joining.insert(caller, awaited);
        self.decide(Command::Join { request: GroupRequest { body: join, reply }, new_id });
        caller
    }

    fn joined(&mut self, caller: Caller) -> Joined {
        match self.answers.remove(&caller) {
            Some(Answer::Join(Ok(joined))) => joined,
            other => panic!("{caller:?} has not joined: {other:?}"),
        }
    }

    fn join_refused(&mut self, caller: Caller) -> (GroupError, MemberId) {
        match self.answers.remove(&caller) {
            Some(Answer::Join(Err(refusal))) => (refusal.error, refusal.member),
            other => panic!("{caller:?} was not refused: {other:?}"),
        }
    }

    fn is_waiting(&self, caller: Caller) -> bool {
        !self.answers.contains_key(&caller)
    }

    fn synced(&mut self, caller: Caller) -> Opaque {
        match self.answers.remove(&caller) {
            Some(Answer::Sync(Ok(synced))) => synced.assignment,
            other => panic!("{caller:?} has no assignment: {other:?}"),
        }
    }

    fn sync_refused(&mut self, caller: Caller) -> GroupError {
        match self.answers.remove(&caller) {
            Some(Answer::Sync(Err(error))) => error,
            other => panic!("{caller:?} was not refused: {other:?}"),
        }
    }

    fn sync(&mut self, member: &str, generation: i32, assignments: &[(&str, &[u8])]) -> Caller {
        self.sync_with(Sync {
            who: who(member),
            generation: Generation(generation),
            protocol_type: None,
            protocol: None,
            assignments: assignments
                .iter()
                .map(|(id, bytes)| ((*id).to_owned(), Opaque::copy_of(bytes)))
                .collect(),
        })
    }

    fn sync_with(&mut self, sync: Sync) -> Caller {
        let (caller, reply, awaited) = self.call();
        self.syncing.insert(caller, awaited);
        self.decide(Command::Sync(GroupRequest { body: sync, reply }));
        caller
    }

    fn beat(&mut self, who: Identity, generation: i32) -> Result<(), GroupError> {
        self.ask(Heartbeat { who, generation: Generation(generation) }, Command::Heartbeat)
    }

    fn leave(&mut self, leavers: Vec<Leaver>) -> Each {
        self.ask(Leave(leavers), Command::Leave)
    }

    fn commit(&mut self, commit: Commit) -> Result<Each, GroupError> {
        self.ask(commit, Command::Commit)
    }

    fn check_commit(&mut self, commit: Commit) -> Result<CheckedCommit, GroupError> {
        self.ask(StagedCommit(commit), Command::CheckCommit)
    }

    fn delete(&mut self) -> Result<(), GroupError> {
        self.ask(Delete, Command::Delete)
    }

    fn rebalance(&mut self) -> Result<(), GroupError> {
        self.ask(Rebalance, Command::Rebalance)
    }

    fn delete_offsets(&mut self, offsets: &[(TopicPartition, &str)]) -> Result<Each, GroupError> {
        let offsets = offsets
            .iter()
            .map(|(partition, topic)| OffsetToDelete { partition: *partition, topic: (*topic).into() })
            .collect();
        self.ask(DeleteOffsets(offsets), Command::DeleteOffsets)
    }

    /// A stable group in generation 1 with these members. The first one leads, and each is assigned
    /// its own id.
    fn stable(joins: Vec<Join>) -> (Play, Vec<MemberId>) {
        let mut play = Play::default();
        let callers: Vec<Caller> = joins.into_iter().map(|join| play.join(join)).collect();
        play.wait(6);
        let members: Vec<MemberId> = callers.into_iter().map(|caller| play.joined(caller).member).collect();
        play.all_sync(&members, 1);
        (play, members)
    }

    /// All members sync; the leader assigns each its own id.
    fn all_sync(&mut self, members: &[MemberId], generation: i32) {
        let assignments: Vec<(&str, &[u8])> = members.iter().map(|id| (id.as_str(), id.as_bytes())).collect();
        let callers: Vec<Caller> = members.iter().map(|id| self.sync(id, generation, &assignments)).collect();
        for (id, caller) in members.iter().zip(callers) {
            assert_eq!(self.synced(caller), Opaque::copy_of(id.as_bytes()));
        }
        assert_eq!(self.group.state(), GroupState::Stable);
    }
}

/// The memory of a group in the kernel.
fn weigh_kept(group: &kernel::Group) -> isize {
    if group.exists() { weigh_group("", group).cast_signed() } else { 0 }
}

/// A group as it is after a restart.
fn restored(hard: Arc<kernel::Group>, now: Duration) -> Group {
    Group::restored(&View::new("", &rules(), &Published::default()), hard, now).machine
}

/// The store as the group sees it. It gets no commands.
#[derive(Default)]
struct Published {
    topics: BTreeMap<TopicId, &'static str>,
    kept: KeptGroup,
    now: Timestamp,
}

impl GroupStore for Published {
    fn groups(&self) -> kernel::Groups {
        unreachable!("a group reads only itself")
    }

    fn group(&self, _: &str) -> Option<KeptGroup> {
        Some(self.kept.clone())
    }

    fn offsets(&self, _: &str) -> Offsets {
        self.kept.offsets.clone()
    }

    fn group_bytes(&self) -> usize {
        0
    }

    fn submit(&self, _: &str, _: u64, _: Vec<Change>) -> Settled {
        unreachable!("a group returns its changes")
    }

    fn is_serving(&self) -> bool {
        true
    }

    fn now(&self) -> Now {
        Now { time: self.now, trusted: None }
    }

    fn seen(&self) -> Arc<dyn Seen> {
        let topics = self.topics.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
        Arc::new(MadeTopics { topics, ..MadeTopics::default() })
    }
}

/// A newcomer with an old client, which joins without confirming its id.
fn newcomer(client: &str) -> Join {
    Join {
        member: None,
        instance: None,
        confirms_its_id: false,
        can_skip_assignment: true,
        client_id: client.to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(60),
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), subscription(&["t"]))],
    }
}

fn static_newcomer(instance: &str) -> Join {
    Join { instance: Some(instance.to_owned()), ..newcomer("client") }
}

/// A known member rejoins with its id.
fn again(member: &str) -> Join {
    Join { member: Some(member.to_owned()), ..newcomer("client") }
}

fn speaking(join: Join, protocols: &[&str]) -> Join {
    let protocols =
        protocols.iter().map(|name| ((*name).to_owned(), Opaque::copy_of(name.as_bytes()))).collect();
    Join { protocols, ..join }
}

fn subscription(topics: &[&str]) -> Opaque {
    let mut bytes = vec![0, 1];
    bytes.extend(u32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    Opaque::copy_of(&bytes)
}

fn who(member: &str) -> Identity {
    Identity { member: member.to_owned(), instance: None }
}

fn who_static(member: &str, instance: &str) -> Identity {
    Identity { member: member.to_owned(), instance: Some(instance.to_owned()) }
}

const TOPIC: TopicId = Uuid([7; 16]);

fn offset(partition: i32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        partition: TopicPartition::new(TOPIC, partition),
        offset: Offset(offset),
        leader_epoch: None,
        metadata: String::new(),
    }
}

/// A commit from outside the group.
fn simple(offsets: Vec<OffsetToCommit>) -> Commit {
    Commit { generation: None, who: who(""), knows_group_not_found: true, retention: None, offsets }
}

fn by(member: &str, generation: i32, offsets: Vec<OffsetToCommit>) -> Commit {
    Commit { generation: Some(Generation(generation)), who: who(member), ..simple(offsets) }
}
