//! Tests of groups and of the state beside them.

use super::*;
use crate::kernel::group::{Change, Generation, GroupRecord};
use crate::kernel::offsets::{CommittedOffset, OffsetChange};

fn committed(offset: i64) -> Change {
    committed_of(TOPIC, offset)
}

pub(super) fn committed_of(topic: TopicId, offset: i64) -> Change {
    let committed = CommittedOffset {
        offset: Offset(offset),
        leader_epoch: None,
        metadata: String::new(),
        committed_at: at(0),
        expires_at: None,
    };
    OffsetChange::Committed(vec![((topic, 0), committed)]).into()
}

fn emptied(generation: i32) -> Change {
    GroupRecord::Emptied { generation: Generation(generation), at: at(0) }.into()
}

fn change(shard: &mut Shard, after: u64, changes: Vec<Change>) -> Result<Applied, Refusal> {
    shard.apply(at(0), &Command::Group { group: "g".to_owned(), after, changes })
}

fn version(shard: &Shard) -> u64 {
    shard.group("g").map_or(0, |kept| kept.group.version())
}

#[test]
fn a_command_that_was_decided_on_another_version_of_the_group_is_refused() {
    let mut shard = with_topic();
    change(&mut shard, 0, vec![emptied(1)]).unwrap();
    let first = version(&shard);
    assert_ne!(first, 0);
    change(&mut shard, first, vec![emptied(2)]).unwrap();
    let before = shard.clone();
    assert_eq!(change(&mut shard, first, vec![emptied(3)]), Err(Refusal::OtherVersion));
    assert_eq!(change(&mut shard, first, vec![committed(5)]), Err(Refusal::OtherVersion));
    assert_eq!(shard, before);
    let other = Command::Group { group: "new".to_owned(), after: first, changes: vec![committed(5)] };
    assert_eq!(shard.apply(at(0), &other), Err(Refusal::OtherVersion), "a new group has version 0");
    assert_eq!(shard, before);
}

#[test]
fn the_version_follows_from_the_records_and_offsets_leave_it() {
    let version_after = |generation: i32| {
        let mut shard = with_topic();
        change(&mut shard, 0, vec![emptied(generation)]).unwrap();
        version(&shard)
    };
    assert_eq!(version_after(1), version_after(1));
    assert_ne!(version_after(1), version_after(2));
    let mut shard = with_topic();
    change(&mut shard, 0, vec![committed(5)]).unwrap();
    assert_eq!(version(&shard), 0, "a group that only has offsets");
    change(&mut shard, 0, vec![committed(6), emptied(1)]).unwrap();
    assert_eq!(version(&shard), version_after(1));
    assert_eq!(shard.group("g").unwrap().offsets.get((TOPIC, 0)).unwrap().offset, Offset(6));
}

#[test]
fn offsets_go_with_their_topic_and_with_their_group() {
    let mut shard = with_topic();
    change(&mut shard, 0, vec![committed(5)]).unwrap();
    shard.apply(at(0), &Command::DropTopic { topic: TOPIC }).unwrap();
    assert!(shard.group("g").unwrap().offsets.is_empty());
    assert!(shard.group("g").unwrap().group.exists());

    let mut shard = with_topic();
    change(&mut shard, 0, vec![committed(5)]).unwrap();
    change(&mut shard, 0, vec![GroupRecord::Deleted.into()]).unwrap();
    assert_eq!(shard.group("g"), None);
    assert_eq!(shard.offsets().of("g"), None);
}
