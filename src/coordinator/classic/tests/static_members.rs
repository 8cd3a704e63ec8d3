//! Members with an instance id (KIP-345, KIP-814).

use super::*;

#[test]
fn c16_a_twin_takes_over_without_a_rebalance_and_fences_the_older_one_once() {
    let (mut play, members) = Play::stable(vec![static_newcomer("i"), static_newcomer("j")]);
    let twin = play.join(static_newcomer("j"));
    let joined = play.joined(twin);
    assert_eq!((joined.generation, joined.skip_assignment, joined.members), (Generation(1), false, vec![]));
    assert_eq!(play.group.state(), GroupState::Stable);

    let old = &members[1];
    assert_eq!(play.beat(who_static(old, "j"), 1), Err(GroupError::FencedInstance));
    let rejoin = play.join(Join { member: Some(old.clone()), ..static_newcomer("j") });
    assert_eq!(play.join_refused(rejoin), (GroupError::FencedInstance, old.clone()));
    assert_eq!(play.beat(who_static(&joined.member, "j"), 1), Ok(()), "the new one is left in peace");
    let assignment = play.sync(&joined.member, 1, &[]);
    assert_eq!(play.synced(assignment), Opaque::copy_of(old.as_bytes()), "and has the old one's part");
}

#[test]
fn c16_a_leader_that_comes_back_is_asked_to_keep_the_assignment() {
    let (mut play, members) = Play::stable(vec![static_newcomer("i"), static_newcomer("j")]);
    let twin = play.join(static_newcomer("i"));
    let joined = play.joined(twin);
    assert!(joined.skip_assignment);
    assert_eq!(joined.leader, joined.member);
    assert_eq!(joined.members.len(), 2);
    let new_id = joined.member;

    let twin = play.join(Join { can_skip_assignment: false, ..static_newcomer("i") });
    let joined = play.joined(twin);
    assert!(!joined.skip_assignment);
    assert_eq!(
        (joined.leader, joined.members),
        (new_id, vec![]),
        "an older client is told somebody else leads"
    );
    assert_eq!(play.group.hard().leader(), Some(&joined.member));
    assert_eq!(play.group.hard().member(&members[0]), None);
}

#[test]
fn c16_a_twin_that_changes_the_protocol_brings_a_rebalance() {
    let both = |instance| speaking(static_newcomer(instance), &["x", "y"]);
    let (mut play, members) = Play::stable(vec![both("i"), both("j")]);
    let twin = play.join(speaking(static_newcomer("j"), &["y"]));
    assert!(play.is_waiting(twin));
    let other = play.join(Join { member: Some(members[0].clone()), ..both("i") });
    assert_eq!(play.joined(other).protocol.as_deref(), Some("y"));
    play.joined(twin);
}

#[test]
fn c21_of_two_that_wait_with_one_instance_id_the_older_is_fenced() {
    let (mut play, _) = Play::stable(vec![static_newcomer("i"), static_newcomer("j")]);
    let leader = play.group.hard().leader().unwrap().clone();
    let first = play.join(Join { member: Some(leader.clone()), ..static_newcomer("i") });
    let twin = play.join(static_newcomer("i"));
    assert_eq!(play.join_refused(first), (GroupError::FencedInstance, leader));
    assert!(play.is_waiting(twin));
}

#[test]
fn c21_a_twin_in_the_middle_of_a_rebalance_fences_the_one_that_waits_for_its_assignment() {
    let mut play = Play::default();
    let (i, j) = (play.join(static_newcomer("i")), play.join(static_newcomer("j")));
    play.wait(6);
    let (_, j) = (play.joined(i).member, play.joined(j).member);
    let waiting = play.sync(&j, 1, &[]);
    let twin = play.join(static_newcomer("j"));
    assert_eq!(play.sync_refused(waiting), GroupError::FencedInstance);
    assert!(play.is_waiting(twin));
    assert_eq!(play.group.state(), GroupState::PreparingRebalance, "the leader knew only the old one");
}

#[test]
fn a_static_member_may_miss_a_rebalance_and_keeps_its_place_until_its_session_ends() {
    let patient = |instance| Join { session_timeout: Duration::from_secs(300), ..static_newcomer(instance) };
    let (mut play, members) = Play::stable(vec![patient("i"), patient("j")]);
    let back = play.join(Join { member: Some(members[0].clone()), ..patient("i") });
    play.wait(60);
    let joined = play.joined(back);
    assert_eq!(joined.members.len(), 2, "the absent one has its part assigned");
    let assigned = play.sync(&members[0], 2, &[(&members[1], b"for j")]);
    play.synced(assigned);
    let twin = play.join(patient("j"));
    let twin = play.joined(twin);
    let part = play.sync(&twin.member, 2, &[]);
    assert_eq!(play.synced(part), Opaque::copy_of(b"for j"));
}

#[test]
fn c5_where_only_absent_static_members_are_left_the_group_looks_again_until_their_sessions_end() {
    let patient = |instance| Join { session_timeout: Duration::from_secs(300), ..static_newcomer(instance) };
    let (mut play, members) = Play::stable(vec![patient("i"), patient("j")]);
    assert_eq!(play.leave(vec![Leaver::Instance("i".to_owned())]), [Ok(())]);
    play.wait(200);
    assert_eq!(play.group.state(), GroupState::PreparingRebalance);
    assert!(play.group.hard().member(&members[1]).is_some());
    play.wait(120);
    assert_eq!(play.group.state(), GroupState::Empty);
}

#[test]
fn c5_of_two_absent_static_members_the_one_that_comes_back_does_not_wait_for_the_others_session() {
    let patient = |instance| Join { session_timeout: Duration::from_secs(1800), ..static_newcomer(instance) };
    let (mut play, _) = Play::stable(vec![patient("i"), patient("j"), patient("k")]);
    assert_eq!(play.leave(vec![Leaver::Instance("k".to_owned())]), [Ok(())]);
    play.wait(100);
    let back = play.join(patient("i"));
    play.wait(60);
    assert_eq!(play.joined(back).members.len(), 2);
}

#[test]
fn a_twin_of_a_member_that_had_yet_to_sync_syncs_in_its_stead() {
    let mut play = Play::default();
    let (i, j) = (play.join(static_newcomer("i")), play.join(static_newcomer("j")));
    play.wait(6);
    let (i, j) = (play.joined(i).member, play.joined(j).member);
    let assigned = play.sync(&i, 1, &[(&j, b"for j")]);
    play.synced(assigned);
    let twin = play.join(static_newcomer("j"));
    let twin = play.joined(twin).member;
    let part = play.sync(&twin, 1, &[]);
    assert_eq!(play.synced(part), Opaque::copy_of(b"for j"));
    for _ in 0..40 {
        play.wait(2);
        assert_eq!(play.beat(who(&i), 1), Ok(()));
        assert_eq!(play.beat(who(&twin), 1), Ok(()));
    }
}

#[test]
fn c16_the_leader_sees_static_members_in_a_stable_order() {
    let (mut play, _) = Play::stable(vec![static_newcomer("b"), static_newcomer("a"), static_newcomer("c")]);
    let order =
        |joined: Joined| joined.members.into_iter().filter_map(|member| member.instance).collect::<Vec<_>>();
    for _ in 0..3 {
        let twin = play.join(static_newcomer("b"));
        assert_eq!(order(play.joined(twin)), ["a", "b", "c"]);
    }
}
