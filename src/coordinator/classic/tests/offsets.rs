//! Committed offsets and their expiration.

use super::*;
use crate::kernel::offsets::OffsetChange;
use crate::types::{ProducerId, TopicPartition, TransactionEnd};

fn committed(play: &Play, partition: i32) -> Option<i64> {
    play.replayed.offsets.get(TopicPartition::new(TOPIC, partition)).map(|committed| committed.offset.0)
}

fn retention_check(play: &mut Play, topic: &'static str) {
    play.topics.insert(TOPIC, topic);
    play.decide(Command::Expire { by_age_at: Some(play.wall()) });
}

const HOURS: u64 = 3600;
const WEEK: u64 = 7 * 24 * HOURS;

#[test]
fn c14_a_commit_without_a_generation_makes_the_group() {
    let mut play = Play::default();
    assert_eq!(play.commit(simple(vec![offset(0, 5)])), Ok(vec![Ok(())]));
    assert_eq!(committed(&play, 0), Some(5));
    assert!(play.group.exists());
    assert_eq!(play.group.describe().protocol_type, None);
}

#[test]
fn a_commit_with_a_generation_to_an_unknown_group_is_refused_in_the_words_the_client_knows() {
    let mut play = Play::default();
    assert_eq!(play.commit(by("a", 1, vec![offset(0, 5)])), Err(GroupError::NoSuchGroup));
    let older = Commit { knows_group_not_found: false, ..by("a", 1, vec![offset(0, 5)]) };
    assert_eq!(play.commit(older), Err(GroupError::IllegalGeneration));
    assert!(!play.group.exists());
}

#[test]
fn a_commit_from_outside_is_refused_while_the_group_has_members() {
    let (mut play, members) = Play::stable(vec![static_newcomer("i")]);
    assert_eq!(play.commit(simple(vec![offset(0, 5)])), Err(GroupError::UnknownMember));
    let of_a_member = Commit { who: who(&members[0]), ..simple(vec![offset(0, 5)]) };
    assert_eq!(play.commit(of_a_member), Err(GroupError::IllegalGeneration));
    assert_eq!(play.leave(vec![Leaver::Member(who(&members[0]))]), [Ok(())]);
    assert_eq!(play.commit(simple(vec![offset(0, 5)])), Ok(vec![Ok(())]));
    assert_eq!(play.commit(by(&members[0], 2, vec![offset(0, 9)])), Err(GroupError::UnknownMember));
}

#[test]
fn a_commit_of_another_generation_or_of_a_twin_changes_nothing() {
    let (mut play, members) = Play::stable(vec![static_newcomer("i")]);
    let member = &members[0];
    assert_eq!(play.commit(by(member, 1, vec![offset(0, 5)])), Ok(vec![Ok(())]));
    for (commit, error) in [
        (by(member, 0, vec![offset(0, 1)]), GroupError::IllegalGeneration),
        (by(member, 2, vec![offset(0, 1)]), GroupError::IllegalGeneration),
        (by("stranger", 1, vec![offset(0, 1)]), GroupError::UnknownMember),
        (
            Commit { who: who_static("old", "i"), ..by(member, 1, vec![offset(0, 1)]) },
            GroupError::FencedInstance,
        ),
        (
            Commit { who: who_static(member, "k"), ..by(member, 1, vec![offset(0, 1)]) },
            GroupError::UnknownMember,
        ),
    ] {
        assert_eq!(play.commit(commit), Err(error));
        assert_eq!(committed(&play, 0), Some(5));
    }
}

#[test]
fn a_commit_waits_for_the_end_of_a_rebalance_that_completes_and_not_of_one_that_begins() {
    let (mut play, members) = Play::stable(vec![newcomer("a"), newcomer("b")]);
    let (first, second) = (play.join(again(&members[0])), members[1].clone());
    assert_eq!(play.commit(by(&second, 1, vec![offset(0, 5)])), Ok(vec![Ok(())]), "before it joins again");
    let second_joins = play.join(again(&second));
    play.joined(first);
    play.joined(second_joins);
    assert_eq!(play.commit(by(&second, 2, vec![offset(0, 6)])), Err(GroupError::RebalanceInProgress));
    assert_eq!(play.commit(by(&second, 1, vec![offset(0, 6)])), Err(GroupError::IllegalGeneration));
}

#[test]
fn c10_an_offset_comes_back_with_its_metadata() {
    let mut play = Play::default();
    let offset = OffsetToCommit {
        metadata: "näher".to_owned(),
        leader_epoch: Some(crate::types::LeaderEpoch(3)),
        ..offset(4, 9)
    };
    play.commit(simple(vec![offset])).unwrap().remove(0).unwrap();
    let there = play.replayed.offsets.get(TopicPartition::new(TOPIC, 4)).unwrap();
    assert_eq!(
        (there.metadata.as_str(), there.offset, there.leader_epoch.unwrap().0),
        ("näher", Offset(9), 3)
    );
    assert_eq!(play.replayed.offsets.get(TopicPartition::new(TOPIC, 5)), None);
    assert_eq!(play.replayed.offsets.len(), 1);
}

#[test]
fn metadata_that_is_too_long_fails_alone() {
    let mut play = Play::default();
    let long = |text: &str| OffsetToCommit { metadata: text.to_owned(), ..offset(1, 9) };
    let answers = play.commit(simple(vec![offset(0, 5), long(&"x".repeat(4097)), long(&"é".repeat(4096))]));
    assert_eq!(answers, Ok(vec![Ok(()), Err(GroupError::OffsetMetadataTooLarge), Ok(())]));
    assert_eq!(committed(&play, 0), Some(5));
}

#[test]
fn of_two_offsets_for_one_partition_the_last_holds() {
    let mut play = Play::default();
    assert_eq!(play.commit(simple(vec![offset(0, 5), offset(0, 3)])), Ok(vec![Ok(()), Ok(())]));
    assert_eq!(committed(&play, 0), Some(3));
}

#[test]
fn a_group_with_members_is_not_deleted_and_one_without_goes_with_its_offsets() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    play.commit(by(&members[0], 1, vec![offset(0, 5)])).unwrap().remove(0).unwrap();
    assert_eq!(play.delete(), Err(GroupError::NotEmpty));
    play.leave(vec![Leaver::Member(who(&members[0]))]);
    assert_eq!(play.delete(), Ok(()));
    assert!(!play.group.exists());
    assert_eq!(play.delete(), Err(GroupError::NoSuchGroup));
}

#[test]
fn a_member_whose_session_has_ended_holds_neither_its_group_nor_its_offsets_although_its_timer_is_late() {
    let left_alone = || {
        let (mut play, members) = Play::stable(vec![static_newcomer("i")]);
        play.commit(by(&members[0], 1, vec![offset(0, 5)])).unwrap().remove(0).unwrap();
        play.now += Duration::from_millis(9_999);
        play
    };
    let mut play = left_alone();
    assert_eq!(play.delete(), Err(GroupError::NotEmpty));
    play.now += Duration::from_millis(1);
    assert_eq!(play.delete(), Ok(()));
    assert!(!play.group.exists());

    let mut play = left_alone();
    let read = (TopicPartition::new(TOPIC, 0), "t");
    assert_eq!(play.delete_offsets(&[read]), Ok(vec![Err(GroupError::SubscribedToTopic)]));
    play.now += Duration::from_millis(1);
    assert_eq!(play.delete_offsets(&[read]), Ok(vec![Ok(())]));
    assert_eq!((committed(&play, 0), play.group.state()), (None, GroupState::Empty));
}

#[test]
fn offsets_of_topics_that_members_read_are_not_deleted() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    play.commit(by(&members[0], 1, vec![offset(0, 5), offset(1, 5)])).unwrap();
    let offsets =
        [(0, "t"), (1, "other"), (9, "other")].map(|(at, name)| (TopicPartition::new(TOPIC, at), name));
    assert_eq!(play.delete_offsets(&offsets), Ok(vec![Err(GroupError::SubscribedToTopic), Ok(()), Ok(())]));
    assert_eq!((committed(&play, 0), committed(&play, 1)), (Some(5), None));
    play.leave(vec![Leaver::Member(who(&members[0]))]);
    assert_eq!(play.delete_offsets(&offsets[..1]), Ok(vec![Ok(())]));
    assert!(play.group.exists(), "a group without offsets is still one");
}

#[test]
fn offsets_are_not_deleted_if_the_subscriptions_of_members_are_unknown() {
    let mut play = Play::default();
    assert_eq!(play.delete_offsets(&[(TopicPartition::new(TOPIC, 0), "t")]), Err(GroupError::NoSuchGroup));
    let nonsense = Join { protocols: vec![("range".into(), Opaque::copy_of(b"?"))], ..newcomer("a") };
    let (mut play, _) = Play::stable(vec![nonsense]);
    assert_eq!(
        play.delete_offsets(&[(TopicPartition::new(TOPIC, 0), "t")]),
        Ok(vec![Err(GroupError::SubscribedToTopic)])
    );
    let (mut play, _) = Play::stable(vec![Join { protocol_type: "connect".into(), ..newcomer("a") }]);
    assert_eq!(play.delete_offsets(&[(TopicPartition::new(TOPIC, 0), "t")]), Err(GroupError::NotEmpty));
}

#[test]
fn offsets_of_a_group_that_is_at_work_do_not_expire() {
    let (mut play, members) =
        Play::stable(vec![Join { session_timeout: Duration::from_secs(1800), ..newcomer("a") }]);
    play.commit(by(&members[0], 1, vec![offset(0, 5)])).unwrap();
    for _ in 0..3 * WEEK / 1000 {
        play.wait(1000);
        play.beat(who(&members[0]), 1).unwrap();
    }
    retention_check(&mut play, "t");
    assert_eq!(committed(&play, 0), Some(5), "three weeks old, and read");
    retention_check(&mut play, "renamed");
    assert_eq!(committed(&play, 0), None, "nobody reads it any more");
}

#[test]
fn offsets_expire_a_week_after_the_last_member_left_or_after_the_commit_if_that_is_later() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    play.commit(by(&members[0], 1, vec![offset(0, 5)])).unwrap();
    play.leave(vec![Leaver::Member(who(&members[0]))]);
    play.wait(WEEK - HOURS);
    retention_check(&mut play, "t");
    assert_eq!(committed(&play, 0), Some(5));
    play.commit(simple(vec![offset(1, 7)])).unwrap();
    play.wait(HOURS);
    retention_check(&mut play, "t");
    assert_eq!((committed(&play, 0), committed(&play, 1)), (None, Some(7)));
    play.wait(WEEK);
    retention_check(&mut play, "t");
    assert!(!play.group.exists(), "what is left with nothing goes");
}

#[test]
fn a_commit_that_says_how_long_it_is_to_be_kept_is_kept_so_long() {
    let mut play = Play::default();
    let short = Commit { retention: Some(Duration::from_secs(HOURS)), ..simple(vec![offset(0, 5)]) };
    play.commit(short).unwrap();
    play.wait(HOURS - 1);
    retention_check(&mut play, "t");
    assert_eq!(committed(&play, 0), Some(5));
    play.wait(1);
    retention_check(&mut play, "t");
    assert_eq!(committed(&play, 0), None);
}

#[test]
fn nothing_expires_by_a_clock_that_is_not_trusted() {
    let mut play = Play::default();
    play.commit(simple(vec![offset(0, 5)])).unwrap();
    play.wait(10 * WEEK);
    play.decide(Command::Expire { by_age_at: None });
    assert_eq!(committed(&play, 0), Some(5));
}

#[test]
fn an_offset_that_was_committed_while_its_topic_was_deleted_goes_at_the_check() {
    let mut play = Play::default();
    let other = Uuid([8; 16]);
    play.topics.insert(other, "u");
    let of_other = OffsetToCommit { partition: TopicPartition::new(other, 0), ..offset(0, 1) };
    play.commit(simple(vec![offset(0, 5), offset(1, 5), of_other])).unwrap();
    play.topics.remove(&TOPIC);
    play.decide(Command::Expire { by_age_at: None });
    assert_eq!(play.replayed.offsets.topics(), [other]);
    let records = play.log.len();
    play.decide(Command::Expire { by_age_at: None });
    assert_eq!(play.log.len(), records, "once");
}

#[test]
fn a_group_is_not_deleted_for_its_lack_of_offsets_while_a_commit_may_be_on_its_way() {
    for command in [|| Command::Expire { by_age_at: Some(Timestamp(0)) }, || Command::MakeRoom] {
        let mut play = Play::default();
        play.commit(simple(vec![offset(0, 5)])).unwrap();
        assert_eq!(play.delete_offsets(&[(TopicPartition::new(TOPIC, 0), "t")]), Ok(vec![Ok(())]));
        play.settled = false;
        play.decide(command());
        assert!(play.group.exists());
        play.settled = true;
        play.decide(command());
        assert!(!play.group.exists());
    }
}

#[test]
fn an_offset_of_a_transaction_needs_room_even_if_it_will_replace_another() {
    let mut play = Play::default();
    play.commit(simple(vec![offset(0, 5)])).unwrap();
    play.room = 0;
    assert_eq!(play.commit(simple(vec![offset(0, 6)])), Ok(vec![Ok(())]));
    let checked = play.check_commit(simple(vec![offset(0, 7)])).unwrap();
    assert_eq!(checked.outcomes, [Err(GroupError::NoRoom)]);
}

#[test]
fn a_check_of_a_commit_changes_nothing_and_names_the_version_of_the_group() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    let before = play.replayed.clone();
    let checked = play.check_commit(by(&members[0], 1, vec![offset(0, 5), offset(1, 6)])).unwrap();
    assert_eq!(play.replayed, before);
    assert_eq!((checked.after, checked.outcomes), (before.group.version(), vec![Ok(()), Ok(())]));
    let offsets: Vec<_> = checked.offsets.iter().map(|(of, one)| (of.partition, one.offset.0)).collect();
    assert_eq!(offsets, [(0, 5), (1, 6)]);
}

#[test]
fn a_commit_in_a_transaction_may_come_from_outside_of_a_group_with_members() {
    let (mut play, members) = Play::stable(vec![static_newcomer("i")]);
    let member = &members[0];
    assert!(play.check_commit(simple(vec![offset(0, 5)])).is_ok(), "old clients do not name the member");
    let of_a_member = Commit { who: who(member), ..simple(vec![offset(0, 5)]) };
    assert_eq!(play.check_commit(of_a_member), Err(GroupError::IllegalGeneration));
    for (commit, error) in [
        (by(member, 2, vec![offset(0, 1)]), GroupError::IllegalGeneration),
        (by("stranger", 1, vec![offset(0, 1)]), GroupError::UnknownMember),
        (
            Commit { who: who_static("old", "i"), ..by(member, 1, vec![offset(0, 1)]) },
            GroupError::FencedInstance,
        ),
    ] {
        assert_eq!(play.check_commit(commit), Err(error));
    }
}

#[test]
fn a_commit_in_a_transaction_does_not_wait_for_the_end_of_a_rebalance() {
    let (mut play, members) = Play::stable(vec![newcomer("a")]);
    let joins = play.join(again(&members[0]));
    play.joined(joins);
    let commit = || by(&members[0], 2, vec![offset(0, 5)]);
    assert_eq!(play.commit(commit()), Err(GroupError::RebalanceInProgress));
    assert!(play.check_commit(commit()).is_ok());
}

#[test]
fn x9_a_checked_commit_with_a_generation_needs_a_group() {
    let mut play = Play::default();
    assert_eq!(play.check_commit(by("a", 1, vec![offset(0, 5)])), Err(GroupError::NoSuchGroup));
    let older = Commit { knows_group_not_found: false, ..by("a", 1, vec![offset(0, 5)]) };
    assert_eq!(play.check_commit(older), Err(GroupError::IllegalGeneration));
    assert!(!play.group.exists());
    assert!(play.check_commit(simple(vec![offset(0, 5)])).is_ok());
    assert!(play.group.exists(), "its coordinator counts it from now on");
}

#[test]
fn x13_offsets_of_an_open_transaction_do_not_expire_and_keep_their_group() {
    let mut play = Play::default();
    play.commit(simple(vec![offset(0, 5)])).unwrap();
    let (producer, partition) = (ProducerId(1), TopicPartition::new(TOPIC, 1));
    let staged = play.check_commit(simple(vec![offset(1, 6)])).unwrap().offsets;
    play.replayed.offsets.apply(&OffsetChange::Staged { producer, offsets: staged });
    play.wait(2 * WEEK);
    retention_check(&mut play, "t");
    assert_eq!(committed(&play, 0), None);
    assert!(play.group.exists() && play.replayed.offsets.is_staged(partition));
    play.replayed.offsets.apply(&OffsetChange::Ended { producer, end: TransactionEnd::Abort });
    retention_check(&mut play, "t");
    assert!(!play.group.exists());
}
