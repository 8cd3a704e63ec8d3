//! Tests of access control lists.

use super::*;
use crate::types::AclBinding;
use crate::types::acl::{AclOperation, PatternType, Permission, ResourceType};

pub fn binding(topic: &str, principal: &str) -> AclBinding {
    AclBinding {
        resource_type: ResourceType::TOPIC,
        pattern_type: PatternType::LITERAL,
        name: topic.into(),
        principal: principal.into(),
        host: "*".into(),
        operation: AclOperation::READ,
        permission: Permission::ALLOW,
    }
}

fn add(shard: &mut Shard, bindings: &[AclBinding]) -> Applied {
    shard.apply(at(0), &Command::AddAcls { bindings: bindings.to_vec() }).unwrap()
}

fn remove(shard: &mut Shard, bindings: &[AclBinding]) -> Applied {
    shard.apply(at(0), &Command::RemoveAcls { bindings: bindings.to_vec() }).unwrap()
}

#[test]
fn a_list_that_is_there_already_is_not_added_again_and_an_absent_one_is_not_removed() {
    let mut shard = Shard::new(BROKER);
    let [one, two] = ["a", "b"].map(|topic| binding(topic, "User:ann"));
    let both = [one.clone(), two.clone()];
    assert_eq!(add(&mut shard, &[one.clone(), one.clone()]), Applied::AclsChanged { count: 1 });
    assert_eq!(add(&mut shard, &both), Applied::AclsChanged { count: 1 });
    assert!(!add(&mut shard, &both).changed_something(), "nothing is written to the journal");
    assert_eq!(shard.acls().all().iter().collect::<Vec<_>>(), both);
    assert_eq!(remove(&mut shard, &[one]), Applied::AclsChanged { count: 1 });
    assert_eq!(remove(&mut shard, &both), Applied::AclsChanged { count: 1 });
    assert!(!remove(&mut shard, &[two]).changed_something());
    assert_eq!(shard.acls(), &StoredAcls::default(), "their memory is free again");
}

#[test]
fn lists_are_weighed_with_their_texts() {
    let mut shard = Shard::new(BROKER);
    let (short, long) = (binding("a", "User:a"), binding(&"a".repeat(1000), "User:a"));
    add(&mut shard, std::slice::from_ref(&short));
    let of_short = shard.acls().bytes();
    add(&mut shard, std::slice::from_ref(&long));
    let of_long = shard.acls().bytes() - of_short;
    assert!(of_short > 100 && of_long > of_short + 900, "{of_short} {of_long}");
    assert_eq!(of_short + of_long, [&short, &long].into_iter().map(weigh_acl).sum::<usize>());
}
