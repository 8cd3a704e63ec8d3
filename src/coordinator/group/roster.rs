//! A trivial second kind of group, for tests only. It shows that a group can change its kind while requests
//! wait, and that the result of a job may come too late.
//!
//! A roster is assigned by the broker: each change begins a generation, a job computes the assignment, and
//! JoinGroup and SyncGroup wait for it. Members are *enlisted*, or they are members of a classic group that
//! know the protocol `roster`. The group becomes a roster with its first enlisted member. It becomes classic
//! again once it has no enlisted member left, or when a member joins that does not know the protocol.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Command, Description, Flow, Group, GroupError, GroupRequest, GroupState, Join, JoinRefusal, Joined, Kind,
    Request, Rulebook, Step, Sync, Synced, weight,
};
use crate::coordinator::classic::{self, Parked};
use crate::coordinator::deadlines::Deadlines;
use crate::coordinator::machine::{Job, Restored};
use crate::coordinator::reply::Reply;
use crate::kernel;
use crate::kernel::group::{Generation, GroupRecord, Member, MemberId, Opaque, Phase};

const ROSTER: &str = "roster";
/// The memory that a job takes for a member.
pub const ASSIGNMENT: usize = 100;

/// A member enlists, or says that it is still there.
#[derive(Clone, Debug)]
pub struct Enlist(pub MemberId);

impl Request for Enlist {
    type Answer = Result<Generation, GroupError>;
}

#[derive(Debug, Default)]
pub struct Roster {
    /// The enlisted members.
    sessions: Deadlines<MemberId>,
    joins: BTreeMap<MemberId, Reply<Result<Joined, JoinRefusal>>>,
    syncs: BTreeMap<MemberId, Reply<Result<Synced, GroupError>>>,
}

pub fn is_roster(hard: &kernel::Group) -> bool {
    hard.protocol_type() == Some(ROSTER)
}

pub fn restored(hard: Arc<kernel::Group>, now: Duration) -> Restored<Group> {
    let mut roster = Roster::default();
    for (id, member) in hard.members().iter().filter(|(_, member)| is_enlisted(member)) {
        roster.sessions.set(id.clone(), now + member.session_timeout);
    }
    let jobs = match hard.phase() {
        Phase::CompletingRebalance => vec![assignment(&hard)],
        _ => Vec::new(),
    };
    Restored { machine: Group { hard, kind: Kind::Roster(roster) }, jobs }
}

/// A classic group becomes a roster.
pub fn upgrade(parked: Parked, request: GroupRequest<Enlist>) -> Flow {
    let Parked { joins, syncs } = parked;
    let (joins, syncs) = (joins.into_iter().collect(), syncs.into_iter().collect());
    let roster = Roster { sessions: Deadlines::default(), joins, syncs };
    Flow::Becomes(Box::new((Kind::Roster(roster), Command::Enlist(request))))
}

impl Rulebook for Roster {
    fn decide(&mut self, step: &mut Step, command: Command) -> Flow {
        match command {
            Command::Enlist(request) => self.enlist(step, request),
            Command::Join { request, new_id } => return self.join(step, request, new_id),
            Command::Sync(request) => self.sync(step, request),
            Command::Computed { generation, assignments } => self.computed(step, generation, assignments),
            Command::Tick => return self.tick(step),
            Command::Heartbeat(request) => {
                let known = step.hard.member(&request.body.who.member).is_some();
                step.decision.answer(request.reply, known.then_some(()).ok_or(GroupError::UnknownMember));
            }
            Command::Leave(request) => {
                let refused = vec![Err(GroupError::UnknownMember); request.body.0.len()];
                step.decision.answer(request.reply, refused);
            }
            Command::Commit(request) => {
                step.decision.answer(request.reply, Err(GroupError::IllegalGeneration));
            }
            Command::CheckCommit(request) => {
                step.decision.answer(request.reply, Err(GroupError::IllegalGeneration));
            }
            Command::DeleteOffsets(request) => step.decision.answer(request.reply, Err(GroupError::NotEmpty)),
            Command::Delete(request) => step.decision.answer(request.reply, Err(GroupError::NotEmpty)),
            Command::Rebalance(request) => {
                step.decision.answer(request.reply, Err(GroupError::UnknownMember));
            }
            Command::MakeRoom | Command::Expire { .. } | Command::Hold { .. } => {}
        }
        Flow::Done
    }

    fn state(&self, hard: &kernel::Group) -> GroupState {
        match hard.phase() {
            Phase::Stable => GroupState::Stable,
            _ => GroupState::CompletingRebalance,
        }
    }

    fn describe(&self, hard: &kernel::Group) -> Description {
        let protocol_type = Some(ROSTER.to_owned());
        Description { state: self.state(hard), protocol_type, protocol: None, members: Vec::new() }
    }

    fn weigh_description(&self, _: &kernel::Group) -> usize {
        0
    }

    fn expects_members(&self) -> bool {
        false
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.sessions.next()
    }

    fn weigh(&self, hard: &kernel::Group) -> usize {
        weight::of_members(hard)
    }

    fn dismiss(&mut self) {
        self.joins.clear();
        self.syncs.clear();
    }
}

impl Roster {
    fn enlist(&mut self, step: &mut Step, request: GroupRequest<Enlist>) {
        let GroupRequest { body: Enlist(id), reply } = request;
        // A setting of the group that may change while it lives.
        let session_timeout = step.view.settings().number("consumer.session.timeout.ms").unwrap_or(0);
        let session_timeout = Duration::from_millis(session_timeout.unsigned_abs());
        self.sessions.set(id.clone(), step.occasion.session + session_timeout);
        if step.hard.member(&id).is_none() {
            let protocols = vec![(ROSTER.to_owned(), Opaque::default())];
            add(step, id, Member { protocols, session_timeout, ..Member::default() });
        }
        step.decision.answer(reply, Ok(step.hard.generation()));
    }

    fn join(&mut self, step: &mut Step, request: GroupRequest<Join>, new_id: MemberId) -> Flow {
        if !request.body.protocols.iter().any(|(name, _)| name == ROSTER) {
            let enlisted = self.sessions.keys().cloned().collect();
            return self.downgrade(step, enlisted, Command::Join { request, new_id });
        }
        let GroupRequest { body: join, reply } = request;
        let id = join.member.unwrap_or(new_id);
        if step.hard.member(&id).is_none() {
            let Join { client_id, client_host, session_timeout, rebalance_timeout, protocols, .. } = join;
            let (instance, assignment) = (join.instance, Opaque::default());
            let member = Member {
                instance,
                client_id,
                client_host,
                session_timeout,
                rebalance_timeout,
                protocols,
                assignment,
            };
            add(step, id.clone(), member);
        }
        self.joins.insert(id, reply);
        self.answer_if_assigned(step);
        Flow::Done
    }

    fn sync(&mut self, step: &mut Step, request: GroupRequest<Sync>) {
        let GroupRequest { body: sync, reply } = request;
        if sync.generation != step.hard.generation() {
            return step.decision.answer(reply, Err(GroupError::IllegalGeneration));
        }
        self.syncs.insert(sync.who.member, reply);
        self.answer_if_assigned(step);
    }

    /// A result for another generation comes too late: the job of the current one is still to come.
    fn computed(&mut self, step: &mut Step, of: Generation, assignments: Vec<(MemberId, Opaque)>) {
        if of == step.hard.generation() {
            step.record(GroupRecord::Assigned { assignments });
            step.decision.wakes = true;
            self.answer_if_assigned(step);
        }
    }

    fn answer_if_assigned(&mut self, step: &mut Step) {
        if step.hard.phase() != Phase::Stable {
            return;
        }
        let generation = step.hard.generation();
        for (member, reply) in std::mem::take(&mut self.joins) {
            let joined = Joined {
                member,
                generation,
                protocol_type: Some(ROSTER.to_owned()),
                protocol: Some(ROSTER.to_owned()),
                leader: MemberId::new(),
                skip_assignment: true,
                members: Vec::new(),
            };
            step.decision.answer(reply, Ok(joined));
        }
        for (id, reply) in std::mem::take(&mut self.syncs) {
            let assignment = step.hard.member(&id).map(|member| member.assignment.clone());
            let assignment = assignment.unwrap_or_default();
            step.decision.answer(reply, Ok(Synced { protocol_type: None, protocol: None, assignment }));
        }
    }

    fn tick(&mut self, step: &mut Step) -> Flow {
        let silent = self.sessions.passed(step.occasion.session);
        if silent.is_empty() {
            return Flow::Done;
        }
        for id in &silent {
            self.sessions.remove(id);
        }
        if self.sessions.is_empty() {
            return self.downgrade(step, silent, Command::Tick);
        }
        step.record(GroupRecord::Left { members: silent });
        begin(step);
        Flow::Done
    }

    /// The group goes on as a classic one, without these members.
    fn downgrade(&mut self, step: &mut Step, without: Vec<MemberId>, then: Command) -> Flow {
        step.record(GroupRecord::Left { members: without });
        if let Some((id, member)) = step.hard.members().first() {
            let (id, member) = (id.clone(), member.clone());
            let protocol_type = "consumer".to_owned();
            step.record(GroupRecord::Joined { id, protocol_type, member });
        }
        let joins = std::mem::take(&mut self.joins).into_iter().collect();
        let syncs = std::mem::take(&mut self.syncs).into_iter().collect();
        let kind = Kind::Classic(classic::begin(step, Parked { joins, syncs }));
        Flow::Becomes(Box::new((kind, then)))
    }
}

fn is_enlisted(member: &Member) -> bool {
    matches!(&member.protocols[..], [(only, _)] if only == ROSTER)
}

fn add(step: &mut Step, id: MemberId, member: Member) {
    step.record(GroupRecord::Joined { id, protocol_type: ROSTER.to_owned(), member });
    begin(step);
}

fn begin(step: &mut Step) {
    let generation = Generation(step.hard.generation().0 + 1);
    let (protocol, leader) = (ROSTER.to_owned(), MemberId::new());
    step.record(GroupRecord::GenerationBegun { generation, protocol, leader });
    step.decision.jobs.push(assignment(step.hard));
}

/// The job of the current generation.
fn assignment(hard: &kernel::Group) -> Job<Command> {
    let generation = hard.generation();
    let members: Vec<MemberId> = hard.members().keys().cloned().collect();
    Job::new(members.len() * ASSIGNMENT, move || {
        let part = |(number, id): (usize, MemberId)| {
            (id, Opaque::copy_of(format!("part {number} of generation {}", generation.0).as_bytes()))
        };
        Command::Computed { generation, assignments: members.into_iter().enumerate().map(part).collect() }
    })
}
