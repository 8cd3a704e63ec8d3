//! Restarts, and descriptions of groups.

use super::*;

#[test]
fn c8_a_restart_while_members_join_goes_on_with_the_rebalance() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    play.join(again(&members[0]));
    play.restart();
    assert_eq!(play.group.state(), GroupState::PreparingRebalance);
    assert_eq!(play.beat(who(&members[1]), 1), Err(GroupError::RebalanceInProgress));
    let (first, second) = (play.join(again(&members[0])), play.join(again(&members[1])));
    assert_eq!(play.joined(first).generation, Generation(2));
    play.joined(second);
}

#[test]
fn c8_a_restart_before_the_leader_assigned_does_not_bring_the_old_assignment_back() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    let (first, second) = (play.join(again(&members[0])), play.join(again(&members[1])));
    play.joined(first);
    play.joined(second);
    play.restart();
    assert_eq!(play.group.state(), GroupState::CompletingRebalance);
    let old = play.sync(&members[1], 1, &[]);
    assert_eq!(play.sync_refused(old), GroupError::IllegalGeneration);
    play.all_sync(&members, 2);
}

#[test]
fn c8_after_a_restart_members_that_are_gone_do_not_hold_the_rebalance_up_for_ever() {
    for rounds in 0..2 {
        let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
        let joins: Vec<Caller> = members.iter().take(1 + rounds).map(|id| play.join(again(id))).collect();
        play.restart();
        drop(joins);
        play.wait(20);
        assert_eq!(play.group.state(), GroupState::Empty);
    }
}

#[test]
fn c6_c8_after_a_restart_too_members_that_never_sync_are_removed() {
    let mut play = Play::default();
    let (a, b) = (play.join(newcomer("a")), play.join(newcomer("b")));
    play.wait(6);
    let members = [play.joined(a).member, play.joined(b).member];
    play.restart();
    for _ in 0..29 {
        play.wait(2);
        assert_eq!(play.beat(who(&members[0]), 1), Ok(()));
        assert_eq!(play.beat(who(&members[1]), 1), Ok(()));
    }
    play.wait(2);
    assert_eq!(play.group.state(), GroupState::Empty);
}

#[test]
fn c9_a_stable_group_goes_on_after_a_restart() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), static_newcomer("i")]);
    play.commit(by(&members[0], 1, vec![offset(0, 5)])).unwrap();
    play.restart();
    play.wait(9);
    assert_eq!(play.beat(who(&members[0]), 1), Ok(()), "with its whole session timeout before it");
    let assignment = play.sync(&members[1], 1, &[]);
    assert_eq!(play.synced(assignment), Opaque::copy_of(members[1].as_bytes()));
    assert_eq!(play.commit(by(&members[0], 1, vec![offset(0, 6)])), Ok(vec![Ok(())]));
    let twin = play.join(static_newcomer("i"));
    assert_eq!(play.joined(twin).generation, Generation(1), "without a rebalance");
}

#[test]
fn an_assignment_whose_generation_was_refused_makes_no_group_stable() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    play.join(again(&members[0]));
    let mut kernel = play.replayed.group.clone();
    let from = play.log.len();
    play.join(again(&members[1]));
    play.all_sync(&members, 2);
    for record in &play.log[from..] {
        if !matches!(record, Change::Group(GroupRecord::GenerationBegun { .. })) {
            kernel::Group::change(&mut kernel, record);
        }
    }
    let restored = super::restored(kernel, Duration::ZERO);
    assert_eq!(restored.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_group_survives_being_written_down_and_read_again() {
    let (mut play, members) = Play::stable(vec![newcomer("ä\u{1f600}"), static_newcomer("i")]);
    play.commit(by(&members[0], 1, vec![offset(0, 5)])).unwrap();
    let bytes = postcard::to_allocvec(&**play.group.hard()).unwrap();
    assert_eq!(postcard::from_bytes::<crate::kernel::Group>(&bytes).unwrap(), **play.group.hard());
    let bytes = postcard::to_allocvec(&play.log).unwrap();
    assert_eq!(postcard::from_bytes::<Vec<Change>>(&bytes).unwrap(), play.log);
}

#[test]
fn c15_a_group_without_members_can_be_described() {
    let mut play = Play::default();
    play.commit(simple(vec![offset(0, 5)])).unwrap();
    let empty =
        Description { state: GroupState::Empty, protocol_type: None, protocol: None, members: vec![] };
    assert_eq!(play.group.describe(), empty);
}

#[test]
fn c15_members_are_described_with_metadata_and_assignment_while_the_group_is_stable() {
    let (mut play, members) = Play::stable(vec![static_newcomer("i")]);
    let described = play.group.describe();
    assert_eq!((described.state, described.protocol.as_deref()), (GroupState::Stable, Some("range")));
    assert_eq!(described.protocol_type.as_deref(), Some("consumer"));
    let member = MemberDescription {
        id: members[0].clone(),
        instance: Some("i".to_owned()),
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        metadata: subscription(&["t"]),
        assignment: Opaque::copy_of(members[0].as_bytes()),
    };
    assert_eq!(described.members, std::slice::from_ref(&member));

    play.join(newcomer("b"));
    let described = play.group.describe();
    assert_eq!((described.state, described.protocol), (GroupState::PreparingRebalance, None));
    assert_eq!(described.members.len(), 2);
    let shown = described.members.iter().find(|shown| shown.id == members[0]);
    assert_eq!(shown, Some(&MemberDescription { metadata: Opaque::default(), ..member }));
}
