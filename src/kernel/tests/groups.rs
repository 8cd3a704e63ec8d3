//! Tests of groups and of the state beside them.

use super::*;
use crate::kernel::group::{Change, Generation, Group, GroupRecord, Member, Opaque};
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

#[test]
fn the_supporters_of_a_protocol_are_counted_change_by_change() {
    const NAMES: [&str; 4] = ["range", "roundrobin", "sticky", "cooperative-sticky"];
    let mut random = Random(1);
    let mut group = Arc::default();
    let mut by_all = [0; 2];
    for _ in 0..2000 {
        let id = |random: &mut Random| format!("{}", random.below(4));
        let record = match random.below(20) {
            0..12 => {
                // One may be there twice.
                let protocols = NAMES.iter().chain([&NAMES[0]]).filter(|_| random.below(4) > 0);
                let protocols = protocols.map(|name| ((*name).to_owned(), Opaque::default())).collect();
                let instance = (random.below(4) == 0).then(|| id(&mut random));
                let member = Member { protocols, instance, ..Member::default() };
                GroupRecord::Joined { id: id(&mut random), protocol_type: "consumer".to_owned(), member }
            }
            12..16 => GroupRecord::Left { members: vec![id(&mut random), id(&mut random)] },
            16..19 => GroupRecord::Replaced { old: id(&mut random), new: id(&mut random) },
            _ => GroupRecord::Emptied { generation: Generation(1), at: at(0) },
        };
        Group::change(&mut group, &record.into());
        for name in NAMES {
            let all = group.members().values().all(|member| member.metadata(name).is_some());
            assert_eq!(group.all_support(name), all, "{name} {:?}", group.members());
            by_all[usize::from(all)] += 1;
        }
        let stored = postcard::to_stdvec(&*group).unwrap();
        assert_eq!(postcard::from_bytes(&stored), Ok(Group::clone(&group)), "also the memory");
    }
    assert!(by_all.iter().all(|count| *count > 1000), "{by_all:?}");
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
