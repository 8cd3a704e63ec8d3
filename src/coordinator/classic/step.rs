//! The state of a decision while it is made.

use std::sync::Arc;
use std::time::Duration;

use super::command::{Answer, Caller, GroupError, Identity, JoinRefusal, Occasion};
use super::rules::Rules;
use super::soft::{Joining, Soft};
use super::{Decision, weight};
use crate::kernel::group::{Group, GroupRecord, MemberId, Phase};

pub(super) struct Step<'a> {
    pub rules: &'a Rules,
    pub hard: &'a mut Arc<Group>,
    pub soft: &'a mut Soft,
    pub occasion: Occasion,
    pub decision: Decision,
}

impl<'a> Step<'a> {
    pub fn new(
        rules: &'a Rules,
        hard: &'a mut Arc<Group>,
        soft: &'a mut Soft,
        occasion: Occasion,
    ) -> Step<'a> {
        Step { rules, hard, soft, occasion, decision: Decision::default() }
    }

    /// Applies and keeps a record. A decision changes the hard state only through this function.
    pub fn record(&mut self, record: GroupRecord) {
        let before = weight::touched_by(self.hard, &record);
        Arc::make_mut(self.hard).apply(&record);
        let after = weight::touched_by(self.hard, &record);
        self.decision.grown += after.cast_signed() - before.cast_signed();
        self.decision.records.push(record);
    }

    /// Answers the caller of this command.
    pub fn answer(&mut self, answer: Answer) {
        self.answer_to(self.occasion.caller, answer);
    }

    pub fn answer_to(&mut self, caller: Caller, answer: Answer) {
        self.decision.answers.push((caller, answer));
    }

    pub fn refuse_join(&mut self, error: GroupError, member: MemberId) {
        self.refuse_join_of(self.occasion.caller, error, member);
    }

    pub fn refuse_join_of(&mut self, caller: Caller, error: GroupError, member: MemberId) {
        self.answer_to(caller, Answer::Join(Err(JoinRefusal { error, member })));
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
    pub fn heard_from(&mut self, id: &str) {
        if self.soft.joining.contains_key(id) || self.soft.syncing.contains_key(id) {
            return;
        }
        if let Some(member) = self.hard.member(id) {
            self.soft.sessions.insert(id.to_owned(), self.occasion.session + member.session_timeout);
        }
    }

    /// Expects a newcomer that has got its id to join with it.
    pub fn expect_member(&mut self, id: MemberId, session_timeout: Duration) {
        self.decision.grown += weight::of_pending(&id).cast_signed();
        self.soft.pending.insert(id, self.occasion.session + session_timeout);
    }

    /// Removes a pending id. Returns whether it was pending.
    pub fn expect_no_more(&mut self, id: &str) -> bool {
        let was_expected = self.soft.pending.remove(id).is_some();
        if was_expected {
            self.decision.grown -= weight::of_pending(id).cast_signed();
        }
        was_expected
    }

    /// Lets a member's JoinGroup wait for the end of the round. An earlier JoinGroup of the same
    /// member, probably from a connection it gave up, is answered with an error.
    pub fn park_join(&mut self, id: MemberId, newcomer: bool) {
        let joining = Joining { caller: self.occasion.caller, newcomer };
        if let Some(earlier) = self.soft.joining.insert(id.clone(), joining) {
            self.refuse_join_of(earlier.caller, GroupError::RebalanceInProgress, id.clone());
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
        self.soft.unsynced.remove(id);
        if let Some(joining) = self.soft.joining.remove(id) {
            self.refuse_join_of(joining.caller, why, id_from_now_on.to_owned());
        }
        if let Some(caller) = self.soft.syncing.remove(id) {
            self.answer_to(caller, Answer::Sync(Err(why)));
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.hard.phase(), Phase::Empty { .. })
    }
}
