//! The state of a decision of a classic group while it is made.

use std::sync::Arc;
use std::time::Duration;

use super::join::JoinReply;
use super::soft::{Joining, Soft};
use crate::coordinator::group::{self, Decision, GroupError, Identity, JoinRefusal, View, weight};
use crate::coordinator::machine::Occasion;
use crate::coordinator::reply::Reply;
use crate::kernel::Group;
use crate::kernel::group::{GroupRecord, MemberId, Phase};
use crate::kernel::offsets::OffsetChange;

pub(super) struct Step<'a> {
    pub view: &'a View<'a>,
    pub hard: &'a mut Arc<Group>,
    pub soft: &'a mut Soft,
    pub occasion: Occasion,
    pub decision: &'a mut Decision,
}

impl<'a> Step<'a> {
    pub fn new(step: &'a mut group::Step<'_>, soft: &'a mut Soft) -> Step<'a> {
        let group::Step { view, hard, occasion, decision } = step;
        Step { view, hard, soft, occasion: *occasion, decision }
    }

    /// Applies and keeps a record. A decision changes the hard state only through this function.
    pub fn record(&mut self, record: GroupRecord) {
        self.decision.record(self.view.name, self.hard, record);
    }

    /// Keeps a change of the offsets, by which their memory grows.
    pub fn change_offsets(&mut self, change: OffsetChange, grown: usize) {
        self.decision.grown += grown.cast_signed();
        self.decision.change_offsets(self.view.name, self.hard, change);
    }

    pub fn answer<A: Send + 'static>(&mut self, reply: Reply<A>, answer: A) {
        self.decision.answer(reply, answer);
    }

    pub fn refuse_join(&mut self, reply: JoinReply, error: GroupError, member: MemberId) {
        self.answer(reply, Err(JoinRefusal { error, member }));
    }

    /// Whether the groups may take `bytes` more.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        bytes <= self.occasion.room
    }

    /// Fails unless this is a member and, if static, the current holder of its instance id.
    pub fn check_identity(&self, who: &Identity) -> Result<(), GroupError> {
        if let Some(instance) = &who.instance {
            let holder = self.hard.instance(instance).ok_or(GroupError::UnknownMember)?;
            if *holder != who.member {
                return Err(GroupError::FencedInstance);
            }
        }
        if self.hard.member(&who.member).is_none() {
            return Err(GroupError::UnknownMember);
        }
        Ok(())
    }

    /// Restarts the member's session, unless its own request is waiting for us.
    pub fn renew_session(&mut self, id: &str) {
        if self.soft.joining.contains_key(id) || self.soft.syncing.contains_key(id) {
            return;
        }
        if let Some(member) = self.hard.member(id) {
            self.soft.sessions.set(id.to_owned(), self.occasion.session + member.session_timeout);
        }
    }

    /// Expects a newcomer that has got its id to join with it.
    pub fn expect_member(&mut self, id: MemberId, session_timeout: Duration) {
        self.decision.resized = true;
        self.soft.pending_bytes += weight::of_pending(&id);
        self.soft.pending.set(id, self.occasion.session + session_timeout);
    }

    /// Removes a pending id. Returns whether it was pending.
    pub fn expect_no_more(&mut self, id: &str) -> bool {
        let was_expected = self.soft.pending.remove(id);
        if was_expected {
            self.decision.resized = true;
            self.soft.pending_bytes -= weight::of_pending(id);
        }
        was_expected
    }

    /// Lets a member's JoinGroup wait for the end of the round. An earlier JoinGroup of the same
    /// member, probably from a connection it gave up, is answered with an error.
    pub fn park_join(&mut self, id: MemberId, reply: JoinReply, newcomer: bool) {
        let joining = Joining { reply, newcomer };
        if let Some(earlier) = self.soft.joining.insert(id.clone(), joining) {
            self.refuse_join(earlier.reply, GroupError::RebalanceInProgress, id.clone());
        }
        if !newcomer {
            self.soft.sessions.remove(&id);
        }
    }

    /// Removes members from the group. The caller continues with [`Step::after_departure`].
    pub fn remove(&mut self, ids: Vec<MemberId>) {
        for id in &ids {
            self.forget(id, GroupError::UnknownMember, "");
        }
        self.record(GroupRecord::Left { members: ids });
    }

    /// Drops a member's soft state. If its request is waiting, it is answered with `why`.
    pub fn forget(&mut self, id: &str, why: GroupError, id_from_now_on: &str) {
        self.soft.sessions.remove(id);
        self.soft.held.remove(id);
        self.soft.unsynced.remove(id);
        if let Some(joining) = self.soft.joining.remove(id) {
            self.refuse_join(joining.reply, why, id_from_now_on.to_owned());
        }
        if let Some(reply) = self.soft.syncing.remove(id) {
            self.answer(reply, Err(why));
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.hard.phase(), Phase::Empty { .. })
    }
}
