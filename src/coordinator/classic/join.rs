//! JoinGroup: a member asks to be in the next generation.

use super::rebalance::elect_protocol;
use super::step::Step;
use crate::coordinator::group::{GroupError, GroupRequest, Identity, Join, JoinRefusal, Joined, weight};
use crate::coordinator::reply::Reply;
use crate::kernel::group::{Group, GroupRecord, Member, MemberId, Phase};

use std::time::Duration;

/// The longest wait of a newcomer. It does not know its id before the answer, so it cannot send
/// heartbeats. If it gives up, its retry counts as another newcomer.
const NEWCOMER_WAITS: Duration = Duration::from_secs(5 * 60);

pub(super) type JoinReply = Reply<Result<Joined, JoinRefusal>>;

pub(super) fn decide(step: &mut Step, request: GroupRequest<Join>, new_id: MemberId) {
    let GroupRequest { body: join, reply } = request;
    let member = join.member.clone().unwrap_or_default();
    if !step.view.rules.session_timeout.contains(&join.session_timeout) {
        return step.refuse_join(reply, GroupError::SessionTimeoutOutOfRange, member);
    }
    let bytes: usize = join.protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum();
    if bytes > step.view.rules.member_bytes || join.protocols.len() > step.view.rules.member_protocols {
        return step.refuse_join(reply, GroupError::MemberTooLarge, member);
    }
    if !has_place_for(step, join.member.as_deref()) {
        step.refuse_join(reply, GroupError::GroupFull, MemberId::new());
        if let Some(id) = join.member {
            turn_away(step, id);
        }
        return;
    }
    match join.member.clone() {
        None => newcomer(step, join, new_id, reply),
        Some(id) => known(step, id, join, reply),
    }
}

/// There is no place for a member, or for a newcomer with its id: the others no longer wait for it.
fn turn_away(step: &mut Step, id: MemberId) {
    if step.hard.member(&id).is_some() {
        step.remove(vec![id]);
        step.after_departure();
    } else if step.expect_no_more(&id) {
        step.complete_if_all_joined();
    }
}

fn newcomer(step: &mut Step, join: Join, id: MemberId, reply: JoinReply) {
    if !shares_a_protocol(step.hard, &join) {
        return step.refuse_join(reply, GroupError::InconsistentProtocol, MemberId::new());
    }
    if let Some(instance) = &join.instance {
        return match step.hard.instance(instance).cloned() {
            Some(twin) => super::static_member::take_over(step, &twin, id, join, reply),
            None => add(step, id, join, reply),
        };
    }
    if !join.confirms_its_id {
        return add(step, id, join, reply);
    }
    if step.soft.pending.len() >= step.view.rules.max_size || !step.has_room_for(weight::of_pending(&id)) {
        return step.refuse_join(reply, GroupError::NoRoom, MemberId::new());
    }
    step.expect_member(id.clone(), join.session_timeout);
    step.refuse_join(reply, GroupError::MemberIdRequired, id);
}

fn known(step: &mut Step, id: MemberId, join: Join, reply: JoinReply) {
    let exists = step.hard.exists() || !step.soft.pending.is_empty();
    if !exists {
        return step.refuse_join(reply, GroupError::UnknownMember, id);
    }
    if !shares_a_protocol(step.hard, &join) {
        return step.refuse_join(reply, GroupError::InconsistentProtocol, id);
    }
    if step.soft.pending.contains(&id) && join.instance.is_none() {
        return add(step, id, join, reply);
    }
    let who = Identity { member: id, instance: join.instance.clone() };
    if let Err(error) = step.check_identity(&who) {
        return step.refuse_join(reply, error, who.member);
    }
    let id = who.member;
    let unchanged = step.hard.member(&id).is_some_and(|member| member.protocols == join.protocols);
    match step.hard.phase() {
        Phase::PreparingRebalance => update(step, id, join, reply),
        // The first answer may have been lost, so the member gets the same one again.
        Phase::CompletingRebalance if unchanged => {
            step.renew_session(&id);
            let joined = step.joined(&id);
            step.answer(reply, Ok(joined));
        }
        // A leader that rejoins wants a rebalance, for example because of new partitions.
        Phase::Stable if unchanged && step.hard.leader() != Some(&id) => {
            step.renew_session(&id);
            let joined = step.joined(&id);
            step.answer(reply, Ok(joined));
        }
        Phase::CompletingRebalance | Phase::Stable => update(step, id, join, reply),
        Phase::Empty { .. } => step.refuse_join(reply, GroupError::UnknownMember, id),
    }
}

/// Adds a new member, which will be in the next generation.
fn add(step: &mut Step, id: MemberId, join: Join, reply: JoinReply) {
    let protocol_type = join.protocol_type.clone();
    let member = Member {
        instance: join.instance,
        client_id: join.client_id,
        client_host: join.client_host,
        session_timeout: join.session_timeout,
        rebalance_timeout: join.rebalance_timeout,
        protocols: join.protocols,
        ..Member::default()
    };
    if !step.has_room_for(weight::of_member(&id, &member)) {
        return step.refuse_join(reply, GroupError::NoRoom, MemberId::new());
    }
    if let Some(first) = step.soft.join_round.as_mut().and_then(|round| round.first.as_mut()) {
        first.grew = true;
    }
    step.expect_no_more(&id);
    step.soft.sessions.set(id.clone(), step.occasion.session + NEWCOMER_WAITS);
    step.record(GroupRecord::Joined { id: id.clone(), protocol_type, member });
    step.park_join(id, reply, true);
    step.rebalance_or_complete();
}

/// A member rejoins in a way that needs a rebalance.
fn update(step: &mut Step, id: MemberId, join: Join, reply: JoinReply) {
    if let Err(error) = change_what_it_asks(step, &id, &join) {
        return step.refuse_join(reply, error, id);
    }
    let newcomer = step.soft.joining.get(&id).is_some_and(|joining| joining.newcomer);
    step.park_join(id, reply, newcomer);
    step.rebalance_or_complete();
}

/// Records the member's new timeouts and protocols, if they changed.
pub(super) fn change_what_it_asks(step: &mut Step, id: &str, join: &Join) -> Result<(), GroupError> {
    let Some(known) = step.hard.member(id) else { return Err(GroupError::UnknownMember) };
    let member = Member {
        session_timeout: join.session_timeout,
        rebalance_timeout: join.rebalance_timeout,
        protocols: join.protocols.clone(),
        ..known.clone()
    };
    if member == *known {
        return Ok(());
    }
    let more = weight::of_member(id, &member).saturating_sub(weight::of_member(id, known));
    if more > 0 && !step.has_room_for(more) {
        return Err(GroupError::NoRoom);
    }
    let protocol_type = join.protocol_type.clone();
    step.record(GroupRecord::Joined { id: id.to_owned(), protocol_type, member });
    Ok(())
}

/// Whether the group has a place for the member. During a rebalance only the members that have
/// joined count: if there are more members than the limit, the last ones are refused.
fn has_place_for(step: &Step, id: Option<&str>) -> bool {
    let max = step.view.rules.max_size;
    match step.hard.phase() {
        Phase::Empty { .. } => true,
        Phase::PreparingRebalance => {
            id.is_some_and(|id| step.soft.joining.contains_key(id)) || step.soft.joining.len() < max
        }
        Phase::CompletingRebalance | Phase::Stable => {
            id.is_some_and(|id| step.hard.member(id).is_some()) || step.hard.members().size() < max
        }
    }
}

/// Whether all members support one of its protocols, and the protocol type is the group's.
fn shares_a_protocol(group: &Group, join: &Join) -> bool {
    if matches!(group.phase(), Phase::Empty { .. }) {
        return !join.protocol_type.is_empty() && !join.protocols.is_empty();
    }
    group.protocol_type() == Some(join.protocol_type.as_str())
        && join.protocols.iter().any(|(name, _)| group.all_support(name))
}

/// Whether an election now would choose the current protocol again.
pub(super) fn keeps_its_protocol(group: &Group) -> bool {
    elect_protocol(group).as_deref() == group.protocol()
}
