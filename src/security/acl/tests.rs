use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::types::AclBinding;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A binding such as `allow User:a Read Topic orders`. A name that ends in `…` is a prefix.
fn binding(text: &str) -> AclBinding {
    let words: Vec<&str> = text.split(' ').collect();
    let &[permission, principal, operation, resource_type, name] = words.as_slice() else { panic!("{text}") };
    let (principal, host) = principal.split_once('@').unwrap_or((principal, "*"));
    let prefix = name.strip_suffix('…');
    AclBinding {
        resource_type: named(ResourceType::NAMED, ResourceType::name, resource_type),
        pattern_type: if prefix.is_some() { PatternType::PREFIXED } else { PatternType::LITERAL },
        name: prefix.unwrap_or(name).into(),
        principal: principal.into(),
        host: host.into(),
        operation: named(AclOperation::NAMED, AclOperation::name, operation),
        permission: named(Permission::NAMED, Permission::name, permission),
    }
}

/// The value whose name is `text`, without case and underscores.
fn named<T: Copy>(all: &[T], name: fn(T) -> &'static str, text: &str) -> T {
    let is = |one: &&T| name(**one).replace('_', "").eq_ignore_ascii_case(text);
    *all.iter().find(is).unwrap_or_else(|| panic!("{text}"))
}

fn acls(bindings: &[&str]) -> Acls {
    bindings.iter().map(|text| binding(text)).collect::<Vec<_>>().into()
}

/// The decision about `User:a` without super users.
fn decide(bindings: &[&str], operation: Operation, resource: Resource<'_>) -> Verdict {
    let client = Client { principal: &Principal::user("a"), host: HERE };
    verdict(&acls(bindings), client, operation, resource)
}

#[test]
fn z9_a_resource_is_decided_by_the_bindings_whose_name_or_prefix_is_its_own() {
    use Operation::{AlterConfigs, Describe, DescribeConfigs, Read, Write};
    use Verdict::{Allowed, Denied, NoAcl, NotAllowed};
    let topic = Resource::Topic("orders");
    #[rustfmt::skip]
    let table: &[(&[&str], Operation, Resource<'_>, Verdict)] = &[
        (&[], Read, topic, NoAcl),
        (&["allow User:a Read Topic other"], Read, topic, NoAcl),
        (&["allow User:a Read Group orders"], Read, topic, NoAcl),
        (&["allow User:a Read Topic orders"], Read, topic, Allowed),
        (&["allow User:a Read Topic orders"], Write, topic, NotAllowed),
        (&["allow User:b Read Topic orders"], Read, topic, NotAllowed),
        (&["allow User:* Read Topic orders"], Read, topic, Allowed),
        (&["allow Group:a Read Topic orders"], Read, topic, NotAllowed),
        (&["allow User:a All Topic orders"], Read, topic, Allowed),
        (&["allow User:a Read Topic *"], Read, topic, Allowed),
        (&["allow User:a Read Topic ord…"], Read, topic, Allowed),
        (&["allow User:a Read Topic orders…"], Read, topic, Allowed),
        (&["allow User:a Read Topic *…"], Read, topic, NoAcl),
        (&["allow User:a Read Topic ord"], Read, topic, NoAcl),
        // A deny wins, wherever it is, also if it is the only one.
        (&["deny User:b Read Topic orders"], Read, topic, NotAllowed),
        (&["allow User:a Read Topic orders", "deny User:a Read Topic ord…"], Read, topic, Denied),
        (&["allow User:a Read Topic orders", "deny User:* All Topic *"], Read, topic, Denied),
        (&["allow User:a Read Topic orders", "deny User:a Write Topic orders"], Read, topic, Allowed),
        // The right to some operations includes others; a deny does not.
        (&["allow User:a Read Topic orders"], Describe, topic, Allowed),
        (&["allow User:a Write Topic orders"], Describe, topic, Allowed),
        (&["allow User:a Delete Topic orders"], Describe, topic, Allowed),
        (&["allow User:a Alter Topic orders"], Describe, topic, Allowed),
        (&["allow User:a Create Topic orders"], Describe, topic, NotAllowed),
        (&["allow User:a DescribeConfigs Topic orders"], Describe, topic, NotAllowed),
        (&["allow User:a AlterConfigs Topic orders"], Describe, topic, NotAllowed),
        (&["allow User:a AlterConfigs Topic orders"], DescribeConfigs, topic, Allowed),
        (&["allow User:a DescribeConfigs Topic orders"], AlterConfigs, topic, NotAllowed),
        (&["allow User:a Write Topic orders", "deny User:a Read Topic orders"], Describe, topic, Allowed),
        (&["allow User:a Read Topic orders", "deny User:a Describe Topic orders"], Describe, topic, Denied),
        (&["allow User:a Read Topic orders", "deny User:a Describe Topic orders"], Read, topic, Allowed),
        // Hosts.
        (&["allow User:a@127.0.0.1 Read Topic orders"], Read, topic, Allowed),
        (&["allow User:a@127.0.0.0/8 Read Topic orders"], Read, topic, Allowed),
        (&["allow User:a@10.0.0.1 Read Topic orders"], Read, topic, NotAllowed),
        (&["allow User:a Read Topic orders", "deny User:*@127.0.0.1 Read Topic orders"], Read, topic, Denied),
        // Other resources.
        (&["allow User:a Read Group g"], Read, Resource::Group("g"), Allowed),
        (&["allow User:a Write TransactionalId tx…"], Write, Resource::TransactionalId("tx-1"), Allowed),
        (&["allow User:a Alter Cluster kafka-cluster"], Operation::Alter, Resource::Cluster, Allowed),
        (&["allow User:a Alter Cluster other"], Operation::Alter, Resource::Cluster, NoAcl),
    ];
    for (bindings, operation, resource, verdict) in table {
        assert_eq!(
            decide(bindings, *operation, *resource),
            *verdict,
            "{bindings:?}: {operation:?} {resource:?}"
        );
    }
}

#[test]
fn super_users_may_everything_and_others_may_use_what_no_acl_is_for_if_the_setting_says_so() {
    let acls = acls(&["deny User:* All Topic closed", "allow User:b Read Topic closed"]);
    let may = |rules: &AuthorizerSettings, name: &str, topic: &str| {
        let client = Client { principal: &Principal::user(name), host: HERE };
        Policy { acls: &acls, rules }.allows(client, Operation::Read, Resource::Topic(topic))
    };
    let strict = AuthorizerSettings {
        super_users: ["User:root".to_owned()].into(),
        allow_everyone_if_no_acl_found: false,
    };
    let open = AuthorizerSettings { allow_everyone_if_no_acl_found: true, ..strict.clone() };
    for rules in [&strict, &open] {
        assert!(may(rules, "root", "closed") && may(rules, "root", "other"));
        assert!(!may(rules, "b", "closed"));
    }
    assert_eq!((may(&strict, "b", "other"), may(&open, "b", "other")), (false, true));
}

#[test]
fn z6_the_right_to_any_topic_needs_an_allow_that_no_deny_covers() {
    for (bindings, may) in [
        (&[][..], false),
        (&["allow User:a Write Topic t"], true),
        (&["allow User:a All Topic t"], true),
        (&["allow User:a Read Topic t"], false),
        (&["allow User:b Write Topic t"], false),
        (&["allow User:a@10.0.0.1 Write Topic t"], false),
        (&["allow User:a Write Topic t…"], true),
        (&["allow User:a Write Group t"], false),
        (&["allow User:* Write Topic *"], true),
        (&["allow User:a Write Topic t", "deny User:a Write Topic t"], false),
        (&["allow User:a Write Topic t…", "deny User:a Write Topic t"], true),
        (&["allow User:a Write Topic tt", "deny User:* All Topic t…"], false),
        (&["allow User:a Write Topic tt…", "deny User:* All Topic t…"], false),
        (&["allow User:a Write Topic t…", "deny User:a Write Topic tt…"], true),
        (&["allow User:a Write Topic *", "deny User:a Write Topic h…"], true),
        (&["allow User:a Write Topic t", "deny User:a Write Topic *"], false),
    ] {
        let client = Client { principal: &Principal::user("a"), host: HERE };
        let acls = acls(bindings);
        let asked = |rules: &AuthorizerSettings| {
            Policy { acls: &acls, rules }.allows_on_any_topic(client, Operation::Write)
        };
        let (nobody, super_user) = (AuthorizerSettings::default(), super_user());
        assert_eq!(asked(&nobody), may, "{bindings:?}");
        assert!(asked(&super_user));
    }
    let open = AuthorizerSettings { allow_everyone_if_no_acl_found: true, ..AuthorizerSettings::default() };
    let client = Client { principal: &Principal::user("a"), host: HERE };
    let may = |bindings: &[&str]| {
        Policy { acls: &acls(bindings), rules: &open }.allows_on_any_topic(client, Operation::Write)
    };
    assert!(may(&["deny User:a Write Topic t"]) && !may(&["deny User:a Write Topic *"]));
}

fn super_user() -> AuthorizerSettings {
    AuthorizerSettings { super_users: ["User:a".to_owned()].into(), allow_everyone_if_no_acl_found: false }
}

/// The principals of the selected bindings.
fn selected(filter: &Filter) -> Vec<String> {
    let acls = acls(&[
        "allow User:same Read Topic orders",
        "allow User:every Read Topic *",
        "allow User:prefix Read Topic ord…",
        "deny User:other@127.0.0.1 Write Topic other",
        "allow User:group Read Group orders",
    ]);
    filter.select(&acls).map(|binding| binding.principal["User:".len()..].to_owned()).collect()
}

#[test]
fn a_filter_selects_by_each_of_its_parts() {
    const ALL: [&str; 5] = ["every", "same", "other", "prefix", "group"];
    let any = Filter::every();
    let sorted = |filter: &Filter| {
        let mut found = selected(filter);
        found.sort_by_key(|name| ALL.iter().position(|known| known == name));
        found
    };
    let with_name = |pattern_type, name: &str| Filter {
        resource_type: ResourceType::TOPIC,
        pattern_type,
        name: Some(name.to_owned()),
        ..any.clone()
    };
    assert_eq!(sorted(&any), ALL);
    assert_eq!(sorted(&Filter { pattern_type: PatternType::MATCH, ..any.clone() }), ALL);
    assert_eq!(sorted(&Filter { pattern_type: PatternType::PREFIXED, ..any.clone() }), ["prefix"]);
    assert_eq!(sorted(&Filter { resource_type: ResourceType::GROUP, ..any.clone() }), ["group"]);
    assert_eq!(sorted(&Filter { resource_type: ResourceType(77), ..any.clone() }), [""; 0]);
    assert_eq!(sorted(&Filter { operation: AclOperation::WRITE, ..any.clone() }), ["other"]);
    assert_eq!(sorted(&Filter { permission: Permission::DENY, ..any.clone() }), ["other"]);
    assert_eq!(sorted(&Filter { principal: Some("User:same".to_owned()), ..any.clone() }), ["same"]);
    assert_eq!(sorted(&Filter { host: Some("127.0.0.1".to_owned()), ..any.clone() }), ["other"]);
    assert_eq!(sorted(&Filter { host: Some("127.0.0.0/8".to_owned()), ..any.clone() }), [""; 0]);
    assert_eq!(sorted(&with_name(PatternType::ANY, "orders")), ["same"]);
    assert_eq!(sorted(&with_name(PatternType::LITERAL, "orders")), ["same"]);
    assert_eq!(sorted(&with_name(PatternType::LITERAL, "*")), ["every"]);
    assert_eq!(sorted(&with_name(PatternType::PREFIXED, "ord")), ["prefix"]);
    assert_eq!(sorted(&with_name(PatternType::PREFIXED, "orders")), [""; 0]);
    assert_eq!(sorted(&with_name(PatternType::MATCH, "orders")), ["every", "same", "prefix"]);
    assert_eq!(sorted(&with_name(PatternType::MATCH, "order")), ["every", "prefix"]);
    assert_eq!(sorted(&with_name(PatternType(77), "orders")), [""; 0]);
}

/// The same decision from the words of Kafka's documentation: looks at all bindings one by one.
fn naive(
    bindings: &[AclBinding],
    client: Client<'_>,
    operation: Operation,
    resource: Resource<'_>,
) -> Verdict {
    let is_of_resource = |one: &&AclBinding| {
        one.resource_type == resource.resource_type()
            && match one.pattern_type {
                PatternType::LITERAL => [resource.name(), "*"].contains(&&*one.name),
                _ => resource.name().starts_with(&*one.name),
            }
    };
    let of_resource: Vec<_> = bindings.iter().filter(is_of_resource).collect();
    let is_of_client = |one: &&&AclBinding| {
        [client.principal.as_str(), "User:*"].contains(&&*one.principal)
            && [client.host.to_string().as_str(), "*"].contains(&&*one.host)
    };
    let covers = |one: &AclBinding| match (one.operation, one.permission, operation) {
        (AclOperation::ALL, ..) => true,
        (AclOperation(3 | 4 | 6 | 7 | 8), Permission::ALLOW, Operation::Describe) => true,
        (AclOperation(10 | 11), Permission::ALLOW, Operation::DescribeConfigs) => true,
        (one, ..) => one.0 == operation as i8,
    };
    let of_client: Vec<_> = of_resource.iter().filter(is_of_client).filter(|one| covers(one)).collect();
    let has = |permission| of_client.iter().any(|one| one.permission == permission);
    match () {
        () if of_resource.is_empty() => Verdict::NoAcl,
        () if has(Permission::DENY) => Verdict::Denied,
        () if has(Permission::ALLOW) => Verdict::Allowed,
        () => Verdict::NotAllowed,
    }
}

fn some_binding() -> impl Strategy<Value = AclBinding> {
    let name = prop::sample::select(vec!["*", "a", "ab", "abc", "abd", "b", "ba", "é"]);
    let principal = prop::sample::select(vec!["User:a", "User:b", "User:*"]);
    let host = prop::sample::select(vec!["*", "127.0.0.1", "10.0.0.1"]);
    (2i8..5, 3i8..5, name, principal, host, 2i8..16, 2i8..4).prop_map(
        |(resource_type, pattern_type, name, principal, host, operation, permission)| AclBinding {
            resource_type: ResourceType(resource_type),
            pattern_type: PatternType(pattern_type),
            name: name.into(),
            principal: principal.into(),
            host: host.into(),
            operation: AclOperation(operation),
            permission: Permission(permission),
        },
    )
}

proptest! {
    #[test]
    fn z9_decisions_are_those_of_a_look_at_every_binding(
        bindings in prop::collection::vec(some_binding(), 0..12),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut kept = bindings.clone();
        let mut acls: Acls = bindings.into();
        for index in removed {
            if kept.is_empty() {
                break;
            }
            let gone = kept[index.index(kept.len())].clone();
            acls.remove(&gone);
            kept.retain(|one| *one != gone);
        }
        let operations = [Operation::Read, Operation::Describe, Operation::DescribeConfigs, Operation::Alter];
        for (operation, name) in operations.iter().flat_map(|one| ["a", "abcd", "bb", "*", "éa", "c"].map(|name| (*one, name))) {
            for resource in [Resource::Topic(name), Resource::Group(name), Resource::Cluster] {
                let client = Client { principal: &Principal::user("a"), host: HERE };
                let (ours, theirs) = (verdict(&acls, client, operation, resource), naive(&kept, client, operation, resource));
                prop_assert_eq!(ours, theirs, "{:?} {:?} of {:?}", operation, resource, kept);
            }
        }
    }
}
