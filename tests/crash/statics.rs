//! Two static members of a group. One or the other restarts again and again and comes back without its member
//! id. Whatever is killed meanwhile, the group does not change:
//!
//! - its generation stays, and each member keeps its partitions
//! - the last id that a member got is its own; every earlier one stays fenced
//! - its commits are there

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::Request;
use jackdaw::protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use jackdaw::protocol::messages::heartbeat_request::HeartbeatRequest;
use jackdaw::protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use jackdaw::protocol::messages::join_group_response::JoinGroupResponse;
use jackdaw::protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use jackdaw::protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use jackdaw::protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};

use crate::load::History;
use crate::raw::Raw;
use crate::value::Random;

const GROUP: &str = "crash-static";
/// Longer than any round: only a restart of the broker could make it forget a member.
const SESSION_MS: i32 = 30 * 60 * 1_000;
const INSTANCES: [&str; 2] = ["first", "second"];
/// The generation with both members.
const GENERATION: i32 = 2;

pub struct Statics {
    history: Arc<History>,
    addresses: Vec<String>,
    coordinator: Option<Raw>,
    members: [Member; 2],
    counts: Counts,
}

/// The events of a round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Restarts in which a member took over its own place.
    pub returned: usize,
    /// Restarts whose answer was lost in a kill.
    pub unsure: usize,
    pub fenced: usize,
    pub committed: usize,
    /// How often the coordinator was looked up again.
    pub found: usize,
}

/// A member and what it knows.
#[derive(Default)]
struct Member {
    id: String,
    /// It requested another id and got no answer: `id` may be fenced.
    unsure: bool,
    /// Its earlier ids.
    fenced: Vec<String>,
    committed: i64,
    tried_to_commit: i64,
}

/// No answer, or one without information about the group.
struct Away;

impl From<io::Error> for Away {
    fn from(_: io::Error) -> Away {
        Away
    }
}

impl Statics {
    /// Returns when both have joined.
    pub fn start(addresses: &str, history: &Arc<History>) -> Statics {
        let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
        let (history, members) = (history.clone(), Default::default());
        let counts = Counts::default();
        let mut statics = Statics { history, addresses, coordinator: None, members, counts };
        statics.form().unwrap_or_else(|Away| panic!("the group was not formed"));
        statics
    }

    pub fn work(mut self, random: &mut Random, stopping: &AtomicBool) -> Counts {
        while !stopping.load(Ordering::SeqCst) {
            let nth = random.below(2);
            let outcome = match random.below(5) {
                0 => self.come_back(nth),
                1 => self.beat(nth),
                2 => self.meet_twin(nth, random),
                3 => self.commit(nth),
                _ => self.look(nth),
            };
            if outcome.is_err() {
                self.coordinator = None;
            }
            self.history.wait_or_quit(random.duration(Duration::from_millis(10)));
        }
        self.counts
    }

    /// The first member joins alone, the second asks to join, and the first joins again.
    fn form(&mut self) -> Result<(), Away> {
        let alone = self.call(9, &join(0, ""))?;
        assert_eq!((alone.error_code, alone.generation_id), (0, 1));
        self.members[0].id.clone_from(&alone.member_id);
        self.sync(0, 1, &["first"])?;
        // The join completes when both have joined, so the second one waits on its own connection.
        let address = self.find()?;
        let second = std::thread::spawn(move || Raw::of(&address)?.call(9, &join(1, "")));
        while self.heartbeat(0, 1, &alone.member_id)? != ErrorCode::RebalanceInProgress {}
        let first = self.call(9, &join(0, &alone.member_id))?;
        let second = second.join().unwrap()?;
        for (nth, joined) in [first, second].into_iter().enumerate() {
            assert_eq!((joined.error_code, joined.generation_id), (0, GENERATION));
            assert_eq!(joined.leader, self.members[0].id);
            self.members[nth].id = joined.member_id;
        }
        self.sync(0, GENERATION, &INSTANCES)?;
        self.sync(1, GENERATION, &[])
    }

    /// The member's process starts again and takes over its former place.
    fn come_back(&mut self, nth: usize) -> Result<(), Away> {
        self.reach()?;
        let asked = self.call(9, &join(nth, ""));
        let Some(joined) = asked.ok().filter(|joined| !says_nothing(joined.error_code)) else {
            self.members[nth].unsure = true;
            self.counts.unsure += 1;
            return Err(Away);
        };
        let JoinGroupResponse { error_code, generation_id, member_id, .. } = joined;
        self.holds((error_code, generation_id) == (0, GENERATION), || {
            format!("{} came back: error {error_code}, generation {generation_id}", INSTANCES[nth])
        });
        let member = &mut self.members[nth];
        let old = std::mem::replace(&mut member.id, member_id);
        member.fenced.push(old);
        member.unsure = false;
        self.counts.returned += 1;
        self.sync(nth, GENERATION, &[])
    }

    fn beat(&mut self, nth: usize) -> Result<(), Away> {
        let (id, unsure) = (self.members[nth].id.clone(), self.members[nth].unsure);
        let got = self.heartbeat(nth, GENERATION, &id)?;
        let is_right = got == ErrorCode::None || unsure && got == ErrorCode::FencedInstanceId;
        self.holds(is_right, || format!("a heartbeat of {id} was {got:?}"));
        Ok(())
    }

    /// A process with an earlier id continues as if nothing had happened.
    fn meet_twin(&mut self, nth: usize, random: &mut Random) -> Result<(), Away> {
        if self.members[nth].fenced.is_empty() {
            return Ok(());
        }
        let fenced = &self.members[nth].fenced;
        let id = fenced[random.below(fenced.len())].clone();
        let beaten = self.heartbeat(nth, GENERATION, &id)?;
        self.holds(beaten == ErrorCode::FencedInstanceId, || format!("{id} is back: {beaten:?}"));
        let got = self.call(9, &commit(nth, &id, i64::MAX))?.topics[0].partitions[0].error_code;
        if !says_nothing(got) {
            let is_fenced = got == ErrorCode::FencedInstanceId.code();
            self.holds(is_fenced, || format!("a commit of {id} was {got}"));
        }
        self.counts.fenced += 1;
        Ok(())
    }

    fn commit(&mut self, nth: usize) -> Result<(), Away> {
        if self.members[nth].unsure {
            return Ok(());
        }
        let member = &mut self.members[nth];
        member.tried_to_commit += 1;
        let (id, offset) = (member.id.clone(), member.tried_to_commit);
        let got = self.call(9, &commit(nth, &id, offset))?.topics[0].partitions[0].error_code;
        if says_nothing(got) {
            return Err(Away);
        }
        self.holds(got == 0, || format!("a commit of {id} was {got}"));
        self.members[nth].committed = offset;
        self.counts.committed += 1;
        Ok(())
    }

    fn look(&mut self, nth: usize) -> Result<(), Away> {
        let topics = vec![OffsetFetchRequestTopics {
            name: TOPIC.into(),
            partition_indexes: vec![nth as i32],
            ..Default::default()
        }];
        let group =
            OffsetFetchRequestGroup { group_id: GROUP.into(), topics: Some(topics), ..Default::default() };
        let asked = OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
        let got = self.call(8, &asked)?.groups.remove(0);
        if says_nothing(got.error_code) {
            return Err(Away);
        }
        let found = &got.topics[0].partitions[0];
        let Member { committed, tried_to_commit, .. } = self.members[nth];
        // A missing commit is returned as −1.
        let offset = found.committed_offset.max(0);
        let is_right = (got.error_code, found.error_code) == (0, 0);
        self.holds(is_right && (committed..=tried_to_commit).contains(&offset), || {
            format!("{} committed {committed}, tried {tried_to_commit}, found {found:?}", INSTANCES[nth])
        });
        self.members[nth].committed = offset;
        Ok(())
    }

    /// Requests its assignment; the leader sends the assignments with it.
    fn sync(&mut self, nth: usize, generation_id: i32, assigned: &[&str]) -> Result<(), Away> {
        let assignments = assigned.iter().zip(&self.members).map(|(instance, member)| {
            let assignment = Bytes::from((*instance).to_owned());
            SyncGroupRequestAssignment { member_id: member.id.clone(), assignment }
        });
        let request = SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id,
            member_id: self.members[nth].id.clone(),
            group_instance_id: Some(INSTANCES[nth].into()),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: assignments.collect(),
        };
        let got = self.call(5, &request)?;
        if says_nothing(got.error_code) {
            return Err(Away);
        }
        let is_right = got.error_code == 0 && got.assignment == INSTANCES[nth];
        self.holds(is_right, || format!("{} is assigned {got:?}", INSTANCES[nth]));
        Ok(())
    }

    fn heartbeat(&mut self, nth: usize, generation_id: i32, id: &str) -> Result<ErrorCode, Away> {
        let request = HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id,
            member_id: id.into(),
            group_instance_id: Some(INSTANCES[nth].into()),
        };
        let got = self.call(4, &request)?.error_code;
        if says_nothing(got) {
            return Err(Away);
        }
        Ok(*ErrorCode::ALL.iter().find(|code| code.code() == got).expect("a code of Kafka's"))
    }

    /// The connection to the coordinator. After an error the group got no request.
    fn reach(&mut self) -> Result<&mut Raw, Away> {
        let found = match self.coordinator.take() {
            Some(coordinator) => coordinator,
            None => {
                let found = Raw::of(&self.find()?)?;
                self.counts.found += 1;
                found
            }
        };
        Ok(self.coordinator.insert(found))
    }

    fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, Away> {
        let answer = self.reach()?.call(version, request);
        if answer.is_err() {
            self.coordinator = None;
        }
        Ok(answer?)
    }

    /// The address of the group's coordinator, from the first broker that answers.
    fn find(&self) -> Result<String, Away> {
        let mut brokers = self.addresses.iter().filter_map(|address| Raw::of(address).ok());
        let asked = FindCoordinatorRequest { coordinator_keys: vec![GROUP.into()], ..Default::default() };
        let found = brokers.next().ok_or(Away)?.call(4, &asked)?.coordinators.remove(0);
        match found.error_code {
            0 => Ok(format!("{}:{}", found.host, found.port)),
            _ => Err(Away),
        }
    }

    fn holds(&self, is_so: bool, what: impl FnOnce() -> String) {
        if !is_so {
            self.history.broken(format!("static members: {}", what()));
        }
    }
}

const TOPIC: &str = "rolling";

/// Another broker has to be asked, or this one again later.
fn says_nothing(code: i16) -> bool {
    let codes =
        [ErrorCode::NotCoordinator, ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorLoadInProgress];
    codes.iter().any(|one| one.code() == code)
}

fn join(nth: usize, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: SESSION_MS,
        member_id: member.into(),
        group_instance_id: Some(INSTANCES[nth].into()),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"any"),
        }],
        reason: None,
    }
}

fn commit(nth: usize, id: &str, committed_offset: i64) -> OffsetCommitRequest {
    let partitions = vec![OffsetCommitRequestPartition {
        partition_index: nth as i32,
        committed_offset,
        ..Default::default()
    }];
    OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id_or_member_epoch: GENERATION,
        member_id: id.into(),
        group_instance_id: Some(INSTANCES[nth].into()),
        topics: vec![OffsetCommitRequestTopic { name: TOPIC.into(), partitions, ..Default::default() }],
        ..Default::default()
    }
}
