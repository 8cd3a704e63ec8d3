//! A classic group becomes one of another kind, and the other way round. Requests that wait go along.

use super::join::JoinReply;
use super::soft::{Joining, Soft};
use super::step::Step;
use super::sync::SyncReply;
use crate::coordinator::group::{self, GroupError};
use crate::kernel::group::{GroupRecord, MemberId};

/// The requests that wait in a group.
#[derive(Debug, Default)]
pub struct Parked {
    pub joins: Vec<(MemberId, JoinReply)>,
    pub syncs: Vec<(MemberId, SyncReply)>,
}

impl Soft {
    pub fn take_parked(&mut self) -> Parked {
        let joins = std::mem::take(&mut self.joining).into_iter();
        let syncs = std::mem::take(&mut self.syncing).into_iter();
        Parked { joins: joins.map(|(id, joining)| (id, joining.reply)).collect(), syncs: syncs.collect() }
    }
}

/// Makes the group classic. Its members have to rejoin, and those whose JoinGroup waits have done so.
pub fn begin(step: &mut group::Step, parked: Parked) -> Soft {
    step.record(GroupRecord::RebalanceBegun);
    let mut soft = Soft::restored(step.hard, step.occasion.session);
    let mut step = Step::new(step, &mut soft);
    for (id, reply) in parked.joins {
        step.soft.sessions.remove(&id);
        step.soft.joining.insert(id, Joining { reply, newcomer: false });
    }
    for (_, reply) in parked.syncs {
        step.answer(reply, Err(GroupError::RebalanceInProgress));
    }
    step.complete_if_all_joined();
    soft
}
