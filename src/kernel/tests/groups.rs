//! Tests of groups and of the state beside them.

use super::*;
use crate::kernel::group::{Change, Generation, GroupRecord, Member};
use crate::kernel::offsets::{CommittedOffset, OffsetChange};
use crate::types::TopicPartition;

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
    OffsetChange::Committed(vec![(TopicPartition::new(topic, 0), committed)]).into()
}

fn emptied(generation: i32) -> Change {
    GroupRecord::Emptied { generation: Generation(generation), at: at(0) }.into()
}

fn change(shard: &mut Shard, after: u64, changes: Vec<Change>) -> Result<Applied, Refusal> {
    shard.apply(at(0), &Command::Group { group: "g".to_owned(), after, changes })
}

fn version(shard: &Shard) -> u64 {
    shard.groups().get("g").map_or(0, |kept| kept.group.version())
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
    assert_eq!(
        shard.groups().get("g").unwrap().offsets.get(TopicPartition::new(TOPIC, 0)).unwrap().offset,
        Offset(6)
    );
}

#[test]
fn offsets_go_with_their_topic_and_with_their_group() {
    let mut shard = with_topic();
    change(&mut shard, 0, vec![committed(5)]).unwrap();
    shard.apply(at(0), &Command::DropTopic { topic: TOPIC }).unwrap();
    assert!(shard.groups().get("g").unwrap().offsets.is_empty());
    assert!(shard.groups().get("g").unwrap().group.exists());

    let mut shard = with_topic();
    change(&mut shard, 0, vec![committed(5)]).unwrap();
    change(&mut shard, 0, vec![GroupRecord::Deleted.into()]).unwrap();
    assert_eq!(shard.groups().get("g"), None);
    assert_eq!(shard.groups().offsets("g"), None);
}

/// Snapshots and readers hold an image of the groups, so a change must copy the changed part.
#[test]
fn a_change_copies_no_other_offset_and_no_other_member() {
    let mut shard = with_topic();
    let one = |partition: i32, offset: i64| match committed(offset) {
        Change::Offsets(OffsetChange::Committed(mut offsets)) => {
            offsets[0].0.partition = partition;
            OffsetChange::Committed(offsets).into()
        }
        other => panic!("not a commit: {other:?}"),
    };
    let joined = |id: i32| {
        let member = Member { client_id: "c".to_owned(), ..Member::default() };
        let (id, protocol_type) = (id.to_string(), "consumer".to_owned());
        Change::from(GroupRecord::Joined { id, protocol_type, member })
    };
    change(&mut shard, 0, (0..10_000).map(|partition| one(partition, 1)).collect()).unwrap();
    change(&mut shard, 0, (0..1000).map(joined).collect()).unwrap();
    let before = shard.groups().get("g").unwrap();
    let image = shard.groups().clone();
    let after = before.group.version();
    change(&mut shard, after, vec![one(5000, 2), joined(500)]).unwrap();
    let now = shard.groups().get("g").unwrap();
    let offsets = before.offsets.all().values().zip(now.offsets.all().values());
    assert_eq!(offsets.filter(|(before, now)| !std::ptr::eq(*before, *now)).count(), 1);
    let members = before.group.members().values().zip(now.group.members().values());
    assert_eq!(members.filter(|(before, now)| !std::ptr::eq(*before, *now)).count(), 1);
    assert_eq!(image.get("g"), Some(before));
}

#[test]
fn a_commit_leaves_the_group_itself_as_it_is() {
    let mut shard = with_topic();
    change(&mut shard, 0, vec![emptied(1)]).unwrap();
    let before = shard.groups().get("g").unwrap().group;
    change(&mut shard, before.version(), vec![committed(5)]).unwrap();
    assert!(Arc::ptr_eq(&before, &shard.groups().get("g").unwrap().group));
}
