//! Joining, syncing, staying, leaving.

use super::*;

#[test]
fn a_newcomer_gets_an_id_and_joins_with_it() {
    let mut play = Play::default();
    let first = play.join(Join { confirms_its_id: true, ..newcomer("a") });
    let (error, id) = play.join_refused(first);
    assert_eq!((error, id.as_str()), (GroupError::MemberIdRequired, "a-1"));
    assert_eq!(play.log, [], "nothing is stored for somebody who may never come back");
    assert!(play.group.exists(), "and yet the group is there, as in Kafka");

    let second = play.join(again(&id));
    play.wait(3);
    assert_eq!(play.joined(second).member, id);
}

#[test]
fn an_id_that_was_handed_out_and_not_used_is_forgotten_after_its_session_timeout() {
    let mut play = Play::default();
    let first = play.join(Join { confirms_its_id: true, ..newcomer("a") });
    let (_, id) = play.join_refused(first);
    play.wait(10);
    assert!(!play.group.exists());
    let late = play.join(again(&id));
    assert_eq!(play.join_refused(late), (GroupError::UnknownMember, id));
}

#[test]
fn a_rebalance_waits_for_newcomers_that_have_got_an_id() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    let call = play.join(Join { confirms_its_id: true, ..newcomer("b") });
    let (_, b) = play.join_refused(call);
    let leader = play.join(again(&members[0]));
    assert!(play.is_waiting(leader));
    let second = play.join(again(&b));
    assert_eq!(play.joined(leader).members.len(), 2);
    assert_eq!(play.joined(second).generation, Generation(2));
}

#[test]
fn of_two_protocols_of_one_name_the_first_counts_where_kafka_would_not_answer() {
    let mut play = Play::default();
    let protocol = |metadata: &str| ("range".to_owned(), Opaque::copy_of(metadata.as_bytes()));
    let protocols = vec![protocol("one"), protocol("two")];
    let join = play.join(Join { protocols, ..newcomer("a") });
    play.wait(3);
    let joined = play.joined(join);
    assert_eq!(joined.protocol.as_deref(), Some("range"));
    assert_eq!(joined.members[0].metadata, Opaque::copy_of(b"one"));
}

#[test]
fn a_second_member_waits_until_the_first_has_rejoined() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    let second = play.join(newcomer("b"));
    assert!(play.is_waiting(second));
    assert_eq!(play.beat(who(&members[0]), 1), Err(GroupError::RebalanceInProgress));

    let first = play.join(again(&members[0]));
    let (first, second) = (play.joined(first), play.joined(second));
    assert_eq!((first.generation, second.generation), (Generation(2), Generation(2)));
    assert_eq!(first.leader, members[0]);
    assert_eq!(first.members.len(), 2, "the leader is told who there is");
    assert_eq!(second.members, [], "and nobody else is");
}

#[test]
fn everybody_gets_their_own_part_of_the_leaders_assignment() {
    let mut play = Play::default();
    let (a, b) = (play.join(newcomer("a")), play.join(newcomer("b")));
    play.wait(6);
    let (a, b) = (play.joined(a).member, play.joined(b).member);
    let follower = play.sync(&b, 1, &[]);
    assert!(play.is_waiting(follower));
    let leader = play.sync(&a, 1, &[(&b, b"for b"), (&a, b"for a"), ("nobody", b"x")]);
    assert_eq!(play.synced(leader), Opaque::copy_of(b"for a"));
    assert_eq!(play.synced(follower), Opaque::copy_of(b"for b"));
    let late = play.sync(&b, 1, &[]);
    assert_eq!(play.synced(late), Opaque::copy_of(b"for b"), "as often as it asks");
}

#[test]
fn c1_a_consumer_that_the_leader_gave_nothing_gets_a_valid_empty_assignment() {
    let mut play = Play::default();
    let (a, b) = (play.join(newcomer("a")), play.join(newcomer("b")));
    play.wait(6);
    let (a, b) = (play.joined(a).member, play.joined(b).member);
    let follower = play.sync(&b, 1, &[]);
    let leader = play.sync(&a, 1, &[(&a, b"")]);
    let empty = Opaque::copy_of(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(play.synced(leader), empty);
    assert_eq!(play.synced(follower), empty);
}

#[test]
fn c1_members_of_another_kind_of_group_get_the_bytes_the_leader_gave_even_if_there_are_none() {
    let mut play = Play::default();
    let connect = |name| Join { protocol_type: "connect".to_owned(), ..newcomer(name) };
    let worker = play.join(connect("w"));
    play.wait(6);
    let worker = play.joined(worker).member;
    let caller = play.sync(&worker, 1, &[]);
    assert_eq!(play.synced(caller), Opaque::default());
}

#[test]
fn c2_members_that_come_back_again_and_again_are_never_unknown_and_never_there_twice() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    for round in 2..30 {
        let newcomer = play.join(newcomer("c"));
        // A member joins twice over two connections, which ends the first wait.
        let lost = play.join(again(&members[0]));
        let first = play.join(again(&members[0]));
        assert_eq!(play.join_refused(lost), (GroupError::RebalanceInProgress, members[0].clone()));
        let second = play.join(again(&members[1]));
        assert_eq!(play.joined(second).generation.0, 2 * (round - 1));
        assert_eq!(play.joined(first).members.len(), 3);
        let c = play.joined(newcomer).member;
        play.all_sync(&[members[0].clone(), members[1].clone(), c.clone()], 2 * (round - 1));

        assert_eq!(play.leave(vec![Leaver::Member(who(&c))]), [Ok(())]);
        for caller in [play.join(again(&members[0])), play.join(again(&members[1]))] {
            if !play.is_waiting(caller) {
                play.joined(caller);
            }
        }
        play.answers.clear();
        assert_eq!(play.group.hard().members().size(), 2);
        play.all_sync(&members, 2 * (round - 1) + 1);
    }
}

#[test]
fn c3_the_generation_rises_when_a_rebalance_completes_and_not_with_each_join() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    let joins: Vec<Caller> = (0..5).map(|_| play.join(newcomer("c"))).collect();
    assert_eq!(play.group.hard().generation(), Generation(1));
    play.join(again(&members[0]));
    assert_eq!(play.group.hard().generation(), Generation(1));
    play.join(again(&members[1]));
    assert_eq!(play.group.hard().generation(), Generation(2));
    for caller in joins {
        assert_eq!(play.joined(caller).generation, Generation(2));
    }
}

#[test]
fn c4_the_protocol_is_elected_by_votes_among_those_all_support() {
    let elected = |wishes: &[&[&str]]| {
        let mut play = Play::default();
        let names = ["a", "b", "c", "d"];
        let callers: Vec<Caller> =
            wishes.iter().zip(names).map(|(wish, name)| play.join(speaking(newcomer(name), wish))).collect();
        play.wait(6);
        play.joined(callers[0]).protocol.unwrap()
    };
    assert_eq!(elected(&[&["x", "y"], &["y", "x"], &["y", "x"]]), "y", "most like y best");
    assert_eq!(elected(&[&["x", "y"], &["z", "y"], &["z", "y", "x"]]), "y", "only y is known to all");
    assert_eq!(elected(&[&["new", "old"], &["new", "old"], &["old"]]), "old");
    assert_eq!(elected(&[&["x", "y"], &["y", "x"]]), "x", "a draw goes to who was voted for first");
}

#[test]
fn a_member_that_shares_no_protocol_with_all_others_is_refused() {
    let mut play = Play::default();
    let first = play.join(speaking(newcomer("a"), &["x", "y"]));
    let outsider = play.join(speaking(newcomer("b"), &["z"]));
    assert_eq!(play.join_refused(outsider), (GroupError::InconsistentProtocol, String::new()));
    let other_kind =
        play.join(Join { protocol_type: "connect".to_owned(), ..speaking(newcomer("b"), &["x"]) });
    assert_eq!(play.join_refused(other_kind), (GroupError::InconsistentProtocol, String::new()));
    play.wait(3);
    let id = play.joined(first).member;
    let changed = play.join(speaking(again(&id), &["z"]));
    assert_eq!(play.join_refused(changed), (GroupError::InconsistentProtocol, id));
    for nothing in [
        Join { protocol_type: String::new(), ..newcomer("c") },
        Join { protocols: Vec::new(), ..newcomer("c") },
    ] {
        let mut empty = Play::default();
        let caller = empty.join(nothing);
        assert_eq!(empty.join_refused(caller), (GroupError::InconsistentProtocol, String::new()));
        assert!(!empty.group.exists());
    }
}

#[test]
fn the_assignment_is_refused_for_another_protocol_or_generation() {
    let mut play = Play::default();
    let a = play.join(newcomer("a"));
    play.wait(3);
    let a = play.joined(a).member;
    let sync = |generation, protocol_type: Option<&str>, protocol: Option<&str>| Sync {
        who: who(&a),
        generation: Generation(generation),
        protocol_type: protocol_type.map(str::to_owned),
        protocol: protocol.map(str::to_owned),
        assignments: Vec::new(),
    };
    for (sync, error) in [
        (sync(2, None, None), GroupError::IllegalGeneration),
        (sync(1, Some("connect"), None), GroupError::InconsistentProtocol),
        (sync(1, Some("consumer"), Some("sticky")), GroupError::InconsistentProtocol),
    ] {
        let caller = play.sync_with(sync);
        assert_eq!(play.sync_refused(caller), error);
    }
    let caller = play.sync_with(sync(1, Some("consumer"), Some("range")));
    play.synced(caller);
}

#[test]
fn a_follower_that_joins_again_unchanged_causes_no_rebalance_and_a_leader_does() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    let follower = play.join(again(&members[1]));
    let joined = play.joined(follower);
    assert_eq!(
        (joined.generation, joined.leader, joined.members),
        (Generation(1), members[0].clone(), vec![])
    );
    assert_eq!(play.group.state(), GroupState::Stable);

    let leader = play.join(again(&members[0]));
    assert!(play.is_waiting(leader));
    assert_eq!(play.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_follower_that_wants_something_else_brings_a_rebalance() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    let changed = Join { protocols: vec![("range".into(), subscription(&["t", "u"]))], ..again(&members[1]) };
    let follower = play.join(changed);
    assert!(play.is_waiting(follower));
    let leader = play.join(again(&members[0]));
    let joined = play.joined(leader);
    assert_eq!(joined.members[1].metadata, subscription(&["t", "u"]));
}

#[test]
fn a_member_that_lost_the_answer_to_its_join_gets_the_same_again() {
    let mut play = Play::default();
    let (a, b) = (play.join(newcomer("a")), play.join(newcomer("b")));
    play.wait(6);
    let (a, b) = (play.joined(a), play.joined(b));
    let (a_again, b_again) = (play.join(again(&a.member)), play.join(again(&b.member)));
    assert_eq!(play.joined(a_again), a);
    assert_eq!(play.joined(b_again), b);
    let changed =
        play.join(Join { protocols: vec![("range".into(), subscription(&["u"]))], ..again(&b.member) });
    assert!(play.is_waiting(changed), "but a change begins a new round");
    assert_eq!(play.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn c5_every_rebalance_has_its_whole_time() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    for round in 0..3 {
        let newcomer = play.join(newcomer("c"));
        for _ in 0..59 {
            play.wait(1);
            assert!(play.is_waiting(newcomer), "round {round}");
            for member in &members {
                let _ = play.beat(who(member), play.group.hard().generation().0);
            }
        }
        let (first, second) = (play.join(again(&members[0])), play.join(again(&members[1])));
        play.joined(first);
        play.joined(second);
        let c = play.joined(newcomer).member;
        let everybody = [members[0].clone(), members[1].clone(), c.clone()];
        let generation = play.group.hard().generation().0;
        play.all_sync(&everybody, generation);
        assert_eq!(play.leave(vec![Leaver::Member(who(&c))]), [Ok(())]);
        for member in &members {
            play.join(again(member));
        }
        play.answers.clear();
        play.all_sync(&members, generation + 1);
    }
}

#[test]
fn a_member_that_does_not_join_again_in_time_is_removed() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    let first = play.join(again(&members[0]));
    for _ in 0..30 {
        play.wait(2);
        let _ = play.beat(who(&members[1]), 1);
    }
    let joined = play.joined(first);
    assert_eq!((joined.generation, joined.members.len()), (Generation(2), 1));
    assert_eq!(play.beat(who(&members[1]), 1), Err(GroupError::UnknownMember));
}

#[test]
fn the_leader_may_be_lost_and_the_member_that_waited_longest_leads() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b"), newcomer("c")]);
    assert_eq!(play.group.hard().leader(), Some(&members[0]));
    assert_eq!(play.leave(vec![Leaver::Member(who(&members[0]))]), [Ok(())]);
    let c = play.join(again(&members[2]));
    let b = play.join(again(&members[1]));
    assert_eq!(play.joined(c).members.len(), 2);
    assert_eq!(play.joined(b).leader, members[2]);
}

#[test]
fn c6_members_that_never_sync_are_removed() {
    let mut play = Play::default();
    let (a, b) = (play.join(newcomer("a")), play.join(newcomer("b")));
    play.wait(6);
    let (a, b) = (play.joined(a).member, play.joined(b).member);
    let assigned = play.sync(&a, 1, &[(&a, b"a"), (&b, b"b")]);
    play.synced(assigned);
    for _ in 0..30 {
        play.wait(2);
        let _ = play.beat(who(&a), 1);
        let _ = play.beat(who(&b), 1);
    }
    assert_eq!(play.beat(who(&b), 1), Err(GroupError::UnknownMember));
    assert_eq!(play.beat(who(&a), 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn c6_a_leader_that_never_syncs_is_removed_and_its_followers_have_to_join_again() {
    let mut play = Play::default();
    let (a, b) = (play.join(newcomer("a")), play.join(newcomer("b")));
    play.wait(6);
    let (a, b) = (play.joined(a).member, play.joined(b).member);
    let follower = play.sync(&b, 1, &[]);
    for _ in 0..30 {
        play.wait(2);
        let _ = play.beat(who(&a), 1);
    }
    assert_eq!(play.sync_refused(follower), GroupError::RebalanceInProgress);
    let follower = play.join(again(&b));
    assert_eq!(play.joined(follower).leader, b);
}

#[test]
fn c7_the_first_rebalance_waits_for_company_and_longer_while_it_comes() {
    let mut play = Play::default();
    let first = play.join(newcomer("a"));
    play.wait(2);
    assert!(play.is_waiting(first), "not before the delay is over");
    let second = play.join(newcomer("b"));
    play.wait(3);
    assert!(play.is_waiting(first), "somebody came, so once more");
    play.wait(1);
    assert_eq!(play.joined(first).members.len(), 2);
    play.joined(second);
}

#[test]
fn c7_the_first_rebalance_never_waits_longer_than_the_rebalance_timeout() {
    let mut play = Play::default();
    let first = play.join(newcomer("a"));
    for _ in 0..60 {
        assert!(play.is_waiting(first));
        play.join(newcomer("more"));
        play.wait(1);
    }
    assert_eq!(play.joined(first).generation, Generation(1));
}

#[test]
fn c7_without_a_delay_the_first_member_is_alone_at_once() {
    let mut play = Play { rules: Rules { initial_delay: Duration::ZERO, ..rules() }, ..Play::default() };
    let first = play.join(newcomer("a"));
    play.wait(0);
    assert_eq!(play.joined(first).generation, Generation(1));
}

#[test]
fn a_member_that_is_silent_for_its_session_timeout_is_removed_and_the_others_rebalance() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    for _ in 0..4 {
        play.wait(3);
        let _ = play.beat(who(&members[0]), 1);
    }
    assert_eq!(play.beat(who(&members[1]), 1), Err(GroupError::UnknownMember));
    assert_eq!(play.beat(who(&members[0]), 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    for _ in 0..10 {
        play.wait(9);
        assert_eq!(play.commit(by(&members[0], 1, vec![offset(0, 5)])), Ok(vec![Ok(())]));
    }
}

#[test]
fn a_member_that_waits_for_an_answer_needs_no_heartbeat() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    let waiting = play.join(again(&members[0]));
    for _ in 0..5 {
        play.wait(9);
        let _ = play.beat(who(&members[1]), 1);
    }
    assert!(play.is_waiting(waiting), "45 seconds with a session timeout of 10");
}

#[test]
fn a_newcomer_waits_for_five_minutes_at_most() {
    let (mut play, members) =
        Play::stable(vec![Join { rebalance_timeout: Duration::from_secs(3600), ..newcomer("a") }]);
    let newcomer = play.join(newcomer("b"));
    for _ in 0..33 {
        play.wait(9);
        let _ = play.beat(who(&members[0]), 1);
    }
    assert!(play.is_waiting(newcomer));
    play.wait(3);
    assert_eq!(play.join_refused(newcomer), (GroupError::UnknownMember, String::new()));
}

#[test]
fn c20_timeouts_are_bounded_by_the_settings_and_nothing_else() {
    let day = Duration::from_secs(24 * 3600);
    let mut play =
        Play { rules: Rules { session_timeout: Duration::from_secs(1)..=day, ..rules() }, ..Play::default() };
    for (seconds, accepted) in [(0, false), (1, true), (24 * 3600, true), (24 * 3600 + 1, false)] {
        let session_timeout = Duration::from_secs(seconds);
        let caller = play.join(Join { session_timeout, rebalance_timeout: day * 7, ..newcomer("a") });
        if accepted {
            assert!(play.is_waiting(caller));
        } else {
            assert_eq!(play.join_refused(caller), (GroupError::SessionTimeoutOutOfRange, String::new()));
        }
    }
    assert_eq!(super::super::soft::rebalance_timeout(play.group.hard()), day * 7);
}

#[test]
fn a_member_that_leaves_is_gone_at_once() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    assert_eq!(play.leave(vec![Leaver::Member(who(&members[1]))]), [Ok(())]);
    let rest = play.join(again(&members[0]));
    assert_eq!(play.joined(rest).members.len(), 1);
    assert_eq!(play.leave(vec![Leaver::Member(who(&members[0]))]), [Ok(())]);
    assert_eq!(play.group.state(), GroupState::Empty);
    assert_eq!(play.group.hard().generation(), Generation(3));
}

#[test]
fn each_of_many_members_that_leave_has_an_answer() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), static_newcomer("i"), static_newcomer("j")]);
    let call = play.join(Join { confirms_its_id: true, ..newcomer("pending") });
    let (_, pending) = play.join_refused(call);
    let answers = play.leave(vec![
        Leaver::Member(who("stranger")),
        Leaver::Member(who(&members[0])),
        Leaver::Member(who(&members[0])),
        Leaver::Instance("i".to_owned()),
        Leaver::Instance("nobody".to_owned()),
        Leaver::Member(who_static("stranger", "j")),
        Leaver::Member(who(&pending)),
        Leaver::Nobody,
    ]);
    let unknown = Err(GroupError::UnknownMember);
    assert_eq!(
        answers,
        [unknown, Ok(()), unknown, Ok(()), unknown, Err(GroupError::FencedInstance), Ok(()), unknown]
    );
    assert_eq!(play.group.hard().members().size(), 1);
}

#[test]
fn a_member_that_is_removed_while_it_waits_gets_an_answer() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    let waiting = play.join(again(&members[0]));
    assert_eq!(play.leave(vec![Leaver::Member(who(&members[0]))]), [Ok(())]);
    assert_eq!(play.join_refused(waiting), (GroupError::UnknownMember, String::new()));
    let rest = play.join(again(&members[1]));
    play.joined(rest);
    let newcomer = play.join(newcomer("c"));
    let rest = play.join(again(&members[1]));
    let c = play.joined(newcomer).member;
    play.joined(rest);
    let waiting = play.sync(&c, 3, &[]);
    assert_eq!(play.leave(vec![Leaver::Member(who(&c))]), [Ok(())]);
    assert_eq!(play.sync_refused(waiting), GroupError::UnknownMember);
}

#[test]
fn a_group_is_full_at_its_largest_size() {
    let mut play = Play { rules: Rules { max_size: 2, ..rules() }, ..Play::default() };
    let (a, b) = (play.join(newcomer("a")), play.join(newcomer("b")));
    let c = play.join(newcomer("c"));
    assert_eq!(play.join_refused(c), (GroupError::GroupFull, String::new()));
    play.wait(6);
    let members = [play.joined(a).member, play.joined(b).member];
    play.all_sync(&members, 1);
    let c = play.join(newcomer("c"));
    assert_eq!(play.join_refused(c), (GroupError::GroupFull, String::new()));
    let a = play.join(again(&members[0]));
    assert!(play.is_waiting(a), "members still have their place");
}

#[test]
fn where_the_largest_size_shrank_the_last_to_come_back_are_left_outside() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b"), newcomer("c")]);
    play.rules.max_size = 2;
    let a = play.join(again(&members[0]));
    let b = play.join(again(&members[1]));
    let c = play.join(again(&members[2]));
    assert_eq!(play.join_refused(c), (GroupError::GroupFull, String::new()));
    assert_eq!(play.joined(a).members.len(), 2, "and nobody waits for them");
    play.joined(b);
}

#[test]
fn a_newcomer_that_finds_no_place_is_not_waited_for() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    play.rules.max_size = 3;
    let [c, d, e] = ["c", "d", "e"].map(|client| {
        let caller = play.join(Join { confirms_its_id: true, ..newcomer(client) });
        let (error, member) = play.join_refused(caller);
        assert_eq!(error, GroupError::MemberIdRequired);
        Join { member: Some(member), ..newcomer(client) }
    });
    let joined = [c, d, again(&members[0])].map(|join| play.join(join));
    for refused in [e, again(&members[1])] {
        let caller = play.join(refused);
        assert_eq!(play.join_refused(caller), (GroupError::GroupFull, String::new()));
    }
    joined.into_iter().for_each(|caller| drop(play.joined(caller)));
}

#[test]
fn the_metadata_of_a_member_has_bounds() {
    let mut play = Play::default();
    let much = Opaque::copy_of(&vec![0; 1024 * 1024]);
    let caller = play.join(Join { protocols: vec![("x".into(), much)], ..newcomer("a") });
    assert_eq!(play.join_refused(caller).0, GroupError::MemberTooLarge);
    let many = (0..65).map(|number| (number.to_string(), Opaque::default())).collect();
    let caller = play.join(Join { protocols: many, ..newcomer("a") });
    assert_eq!(play.join_refused(caller).0, GroupError::MemberTooLarge);
}

#[test]
fn without_room_nothing_new_is_admitted_and_existing_members_continue() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    assert_eq!(play.commit(by(&members[0], 1, vec![offset(0, 1)])), Ok(vec![Ok(())]));
    play.room = 0;
    let caller = play.join(newcomer("b"));
    assert_eq!(play.join_refused(caller).0, GroupError::NoRoom);
    let caller = play.join(Join { confirms_its_id: true, ..newcomer("b") });
    assert_eq!(play.join_refused(caller).0, GroupError::NoRoom);
    let more = Join {
        protocols: vec![("range".into(), subscription(&["t", "a-topic-with-a-name-that-takes-more-room"]))],
        ..again(&members[0])
    };
    let caller = play.join(more);
    assert_eq!(play.join_refused(caller).0, GroupError::NoRoom);

    let offsets = play.commit(by(&members[0], 1, vec![offset(0, 2), offset(1, 2)]));
    assert_eq!(offsets, Ok(vec![Ok(()), Err(GroupError::NoRoom)]));
    assert_eq!(play.beat(who(&members[0]), 1), Ok(()));
}

#[test]
fn heartbeats_of_strangers_and_of_other_generations_are_refused() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    assert_eq!(play.beat(who("stranger"), 1), Err(GroupError::UnknownMember));
    assert_eq!(play.beat(who(&members[0]), 0), Err(GroupError::IllegalGeneration));
    assert_eq!(play.beat(who(&members[0]), 2), Err(GroupError::IllegalGeneration));
    assert_eq!(play.beat(who_static(&members[0], "i"), 1), Err(GroupError::UnknownMember));
    let records = play.log.len();
    assert_eq!(play.beat(who(&members[0]), 1), Ok(()));
    assert_eq!(play.log.len(), records, "a heartbeat stores nothing");
}

#[test]
fn c18_a_member_that_is_held_back_stays_until_it_could_have_sent_a_heartbeat() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    play.decide(Command::Hold { member: members[0].clone(), time: Duration::from_secs(60) });
    for _ in 0..13 {
        play.wait(5);
        assert_eq!(play.beat(who(&members[1]), 1), Ok(()));
    }
    assert_eq!(play.beat(who(&members[0]), 1), Ok(()), "5 s after it was let go");
    play.decide(Command::Hold { member: members[0].clone(), time: Duration::from_secs(60) });
    for _ in 0..13 {
        play.wait(5);
        assert_eq!(play.beat(who(&members[1]), 1), Ok(()));
    }
    play.wait(5);
    assert_eq!(play.beat(who(&members[0]), 1), Err(GroupError::UnknownMember), "it said nothing afterwards");
}

#[test]
fn c18_a_member_that_is_held_back_again_and_again_still_has_to_send_heartbeats() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    for state in [GroupState::Stable, GroupState::Stable, GroupState::Stable, GroupState::Empty] {
        play.decide(Command::Hold { member: members[0].clone(), time: Duration::from_secs(10) });
        play.wait(13);
        assert_eq!(play.group.state(), state);
    }
}

#[test]
fn c18_a_rebalance_waits_for_a_member_that_is_held_back() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    let first = play.join(again(&members[0]));
    play.decide(Command::Hold { member: members[1].clone(), time: Duration::from_secs(600) });
    play.wait(601);
    assert!(play.is_waiting(first));
    let second = play.join(again(&members[1]));
    assert_eq!(play.joined(first).generation, Generation(2));
    play.joined(second);
}

#[test]
fn c18_a_rebalance_waits_for_a_member_that_was_held_back_before_it_began() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    play.decide(Command::Hold { member: members[1].clone(), time: Duration::from_secs(900) });
    beat_for(&mut play, &members[0], 100);
    let first = play.join(again(&members[0]));
    play.wait(801);
    assert!(play.is_waiting(first), "it can send again since a second");
    let second = play.join(again(&members[1]));
    assert_eq!(play.joined(first).generation, Generation(2));
    play.joined(second);
}

#[test]
fn c18_a_rebalance_does_not_wait_for_a_member_whose_hold_is_over_when_it_begins() {
    let hasty = |join| Join { rebalance_timeout: Duration::from_secs(5), ..join };
    let (mut play, members) = Play::stable(vec![hasty(newcomer("a")), hasty(newcomer("b"))]);
    play.decide(Command::Hold { member: members[1].clone(), time: Duration::from_secs(3) });
    beat_for(&mut play, &members[0], 5);
    assert_eq!(play.beat(who(&members[1]), 1), Ok(()));
    let first = play.join(hasty(again(&members[0])));
    play.wait(6);
    let first = play.joined(first);
    assert_eq!((first.generation, first.members.len()), (Generation(2), 1));
}

fn beat_for(play: &mut Play, member: &MemberId, seconds: u64) {
    for _ in 0..seconds / 5 {
        play.wait(5);
        assert_eq!(play.beat(who(member), 1), Ok(()));
    }
}

#[test]
fn c18_holding_back_a_stranger_changes_nothing() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    play.decide(Command::Hold { member: "nobody".to_owned(), time: Duration::from_secs(60) });
    play.wait(11);
    assert_eq!(play.beat(who(&members[0]), 1), Err(GroupError::UnknownMember));
}

#[test]
fn a_forced_rebalance_makes_all_members_join_again_and_changes_none_under_way() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    assert_eq!(play.rebalance(), Ok(()));
    assert_eq!(play.beat(who(&members[1]), 1), Err(GroupError::RebalanceInProgress));
    let first = play.join(again(&members[0]));
    let records = play.log.len();
    assert_eq!(play.rebalance(), Ok(()));
    assert_eq!(play.log.len(), records);
    let second = play.join(again(&members[1]));
    assert_eq!(play.joined(first).generation, Generation(2));
    play.joined(second);

    let waits = play.sync(&members[1], 2, &[]);
    assert_eq!(play.rebalance(), Ok(()));
    assert_eq!(play.sync_refused(waits), GroupError::RebalanceInProgress);
    play.wait(60);
    assert_eq!((play.group.state(), play.rebalance()), (GroupState::Empty, Err(GroupError::UnknownMember)));
}
