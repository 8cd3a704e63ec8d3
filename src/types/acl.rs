//! Access control lists (ACLs): bindings, and the ordered collection of all of them.

pub mod host;

use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::host::Host;
use super::{SharedMap, SharedSet};

/// A number of Kafka's with names for its values. A value that has no name here can be stored as well, because a later
/// version may have written it.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($constant:ident = $code:literal $text:literal)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub i8);

        impl $name {
            $(pub const $constant: $name = $name($code);)+

            /// The values with a name, in the order of their numbers.
            pub const NAMED: &[$name] = &[$($name::$constant,)+];

            /// Kafka's name; `UNKNOWN` if there is none.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($code => $text,)+
                    _ => "UNKNOWN",
                }
            }
        }
    };
}

codes! {
    ResourceType {
        ANY = 1 "ANY"
        TOPIC = 2 "TOPIC"
        GROUP = 3 "GROUP"
        CLUSTER = 4 "CLUSTER"
        TRANSACTIONAL_ID = 5 "TRANSACTIONAL_ID"
        DELEGATION_TOKEN = 6 "DELEGATION_TOKEN"
        USER = 7 "USER"
    }
}

codes! {
    /// How the name of a binding is compared with the name of a resource.
    PatternType {
        ANY = 1 "ANY"
        MATCH = 2 "MATCH"
        LITERAL = 3 "LITERAL"
        PREFIXED = 4 "PREFIXED"
    }
}

codes! {
    AclOperation {
        ANY = 1 "ANY"
        ALL = 2 "ALL"
        READ = 3 "READ"
        WRITE = 4 "WRITE"
        CREATE = 5 "CREATE"
        DELETE = 6 "DELETE"
        ALTER = 7 "ALTER"
        DESCRIBE = 8 "DESCRIBE"
        CLUSTER_ACTION = 9 "CLUSTER_ACTION"
        DESCRIBE_CONFIGS = 10 "DESCRIBE_CONFIGS"
        ALTER_CONFIGS = 11 "ALTER_CONFIGS"
        IDEMPOTENT_WRITE = 12 "IDEMPOTENT_WRITE"
        CREATE_TOKENS = 13 "CREATE_TOKENS"
        DESCRIBE_TOKENS = 14 "DESCRIBE_TOKENS"
        TWO_PHASE_COMMIT = 15 "TWO_PHASE_COMMIT"
    }
}

codes! {
    Permission {
        ANY = 1 "ANY"
        DENY = 2 "DENY"
        ALLOW = 3 "ALLOW"
    }
}

/// The name of a literal binding that applies to all resources of its type.
pub const EVERY_NAME: &str = "*";

/// One access control list: a principal may, or may not, carry out an operation on some resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AclBinding {
    pub resource_type: ResourceType,
    pub pattern_type: PatternType,
    pub name: Arc<str>,
    /// As text, for example `User:alice`.
    pub principal: Arc<str>,
    pub host: Arc<str>,
    pub operation: AclOperation,
    pub permission: Permission,
}

/// The rest of a binding beside its resources and its principal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub host: Host,
    pub operation: AclOperation,
    pub permission: Permission,
}

/// The bindings of one resource pattern, by principal.
pub type Grants = SharedMap<Arc<str>, SharedSet<Grant>>;

type ByName = SharedMap<Arc<str>, Grants>;

/// All bindings. A clone costs O(1) and a change O(log n), although there are clones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<AclBinding>", into = "Vec<AclBinding>")]
pub struct Acls {
    patterns: SharedMap<(ResourceType, PatternType), ByName>,
    len: usize,
}

impl Acls {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn contains(&self, binding: &AclBinding) -> bool {
        let grants = self.grants(binding.resource_type, binding.pattern_type, &binding.name);
        let of_principal = grants.and_then(|grants| grants.get(&*binding.principal));
        of_principal.is_some_and(|grants| grants.contains(&Grant::of(binding)))
    }

    /// Adds a binding. Returns whether it was missing.
    pub fn insert(&mut self, binding: &AclBinding) -> bool {
        self.change(binding, |grants, grant| {
            let is_new = !grants.contains(&grant);
            if is_new {
                grants.insert_mut(grant);
            }
            is_new
        })
    }

    /// Removes a binding. Returns whether it was there.
    pub fn remove(&mut self, binding: &AclBinding) -> bool {
        self.change(binding, |grants, grant| grants.remove_mut(&grant))
    }

    /// All bindings, ordered by the fields of [`AclBinding`].
    pub fn iter(&self) -> impl Iterator<Item = AclBinding> {
        self.patterns.iter().flat_map(|(pattern, by_name)| {
            by_name.iter().flat_map(move |(name, grants)| bindings(*pattern, name, grants))
        })
    }

    /// The bindings with this pattern.
    pub fn with_pattern(
        &self,
        resource_type: ResourceType,
        pattern_type: PatternType,
        name: &str,
    ) -> impl Iterator<Item = AclBinding> {
        let by_name = self.patterns.get(&(resource_type, pattern_type));
        let found = by_name.and_then(|by_name| by_name.get_key_value(name));
        found
            .into_iter()
            .flat_map(move |(name, grants)| bindings((resource_type, pattern_type), name, grants))
    }

    /// The patterns of a type of resources with their names.
    pub fn patterns(
        &self,
        resource_type: ResourceType,
        pattern_type: PatternType,
    ) -> impl Iterator<Item = (&str, &Grants)> {
        let by_name = self.patterns.get(&(resource_type, pattern_type));
        by_name.into_iter().flatten().map(|(name, grants)| (&**name, grants))
    }

    /// The bindings of all patterns that a resource matches: those with its name, those with the name `*`, and those
    /// with a prefix of its name.
    pub fn of_resource(&self, resource_type: ResourceType, name: &str) -> impl Iterator<Item = &Grants> {
        let same = self.grants(resource_type, PatternType::LITERAL, name);
        let every = self.grants(resource_type, PatternType::LITERAL, EVERY_NAME);
        let every = every.filter(|_| name != EVERY_NAME);
        let prefixed = self.patterns.get(&(resource_type, PatternType::PREFIXED));
        let prefixes = prefixed.map(|by_name| Prefixes { by_name, name, at_most: Some(name) });
        same.into_iter().chain(every).chain(prefixes.into_iter().flatten())
    }

    fn grants(&self, resource_type: ResourceType, pattern_type: PatternType, name: &str) -> Option<&Grants> {
        self.patterns.get(&(resource_type, pattern_type))?.get(name)
    }

    /// Changes the grants of a binding's pattern and principal. Empty collections are removed.
    fn change(
        &mut self,
        binding: &AclBinding,
        change: impl FnOnce(&mut SharedSet<Grant>, Grant) -> bool,
    ) -> bool {
        let pattern = (binding.resource_type, binding.pattern_type);
        let mut by_name = self.patterns.get(&pattern).cloned().unwrap_or_default();
        let mut grants = by_name.get(&*binding.name).cloned().unwrap_or_default();
        let mut of_principal = grants.get(&*binding.principal).cloned().unwrap_or_default();
        let before = of_principal.size();
        if !change(&mut of_principal, Grant::of(binding)) {
            return false;
        }
        self.len = self.len - before + of_principal.size();
        put(&mut grants, &binding.principal, (!of_principal.is_empty()).then_some(of_principal));
        put(&mut by_name, &binding.name, (!grants.is_empty()).then_some(grants));
        put(&mut self.patterns, &pattern, (!by_name.is_empty()).then_some(by_name));
        true
    }
}

impl Grant {
    fn of(binding: &AclBinding) -> Grant {
        Grant {
            host: Host::new(Arc::clone(&binding.host)),
            operation: binding.operation,
            permission: binding.permission,
        }
    }
}

/// Sets or removes the value of a key.
fn put<K: Ord + Clone, V>(map: &mut SharedMap<K, V>, key: &K, value: Option<V>) {
    match value {
        Some(value) => map.insert_mut(key.clone(), value),
        None => {
            map.remove_mut(key);
        }
    }
}

fn bindings<'a>(
    (resource_type, pattern_type): (ResourceType, PatternType),
    name: &'a Arc<str>,
    grants: &'a Grants,
) -> impl Iterator<Item = AclBinding> + 'a {
    let of_principal = move |(principal, grants): (&'a Arc<str>, &'a SharedSet<Grant>)| {
        grants.iter().map(move |grant| AclBinding {
            resource_type,
            pattern_type,
            name: Arc::clone(name),
            principal: Arc::clone(principal),
            host: Arc::clone(grant.host.text()),
            operation: grant.operation,
            permission: grant.permission,
        })
    };
    grants.iter().flat_map(of_principal)
}

/// The patterns whose name is a prefix of a name, the longest first. Every step is one look-up, and the number of steps
/// is at most the length of the name, however many patterns there are.
struct Prefixes<'a, 'b> {
    by_name: &'a ByName,
    name: &'b str,
    /// The longest prefix that was not looked up yet.
    at_most: Option<&'b str>,
}

impl<'a> Iterator for Prefixes<'a, '_> {
    type Item = &'a Grants;

    fn next(&mut self) -> Option<&'a Grants> {
        loop {
            let at_most = self.at_most?;
            let range = (Bound::Unbounded, Bound::Included(at_most));
            let Some((found, grants)) = self.by_name.range::<str, _>(range).next_back() else {
                self.at_most = None;
                return None;
            };
            // Names in between have no common part with this one that is longer.
            let common = common_prefix(self.name, found);
            if common.len() == found.len() {
                self.at_most = common.char_indices().next_back().map(|(last, _)| &common[..last]);
                return Some(grants);
            }
            self.at_most = Some(common);
        }
    }
}

/// The beginning of `name` that `other` has, too.
fn common_prefix<'a>(name: &'a str, other: &str) -> &'a str {
    let differs = name.char_indices().zip(other.chars()).find(|((_, a), b)| a != b);
    let end = differs.map_or(name.len().min(other.len()), |((at, _), _)| at);
    &name[..end]
}

impl From<Vec<AclBinding>> for Acls {
    fn from(bindings: Vec<AclBinding>) -> Acls {
        bindings.iter().collect()
    }
}

impl<'a> FromIterator<&'a AclBinding> for Acls {
    fn from_iter<I: IntoIterator<Item = &'a AclBinding>>(bindings: I) -> Acls {
        let mut acls = Acls::default();
        for binding in bindings {
            acls.insert(binding);
        }
        acls
    }
}

impl From<Acls> for Vec<AclBinding> {
    fn from(acls: Acls) -> Vec<AclBinding> {
        acls.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn binding(pattern_type: PatternType, name: &str, principal: &str) -> AclBinding {
        AclBinding {
            resource_type: ResourceType::TOPIC,
            pattern_type,
            name: name.into(),
            principal: principal.into(),
            host: "*".into(),
            operation: AclOperation::READ,
            permission: Permission::ALLOW,
        }
    }

    /// The principals that the patterns for a topic name.
    fn principals(acls: &Acls, topic: &str) -> Vec<String> {
        let of_topic = acls.of_resource(ResourceType::TOPIC, topic);
        of_topic.flat_map(|grants| grants.keys()).map(|principal| principal.to_string()).collect()
    }

    #[test]
    fn a_binding_is_there_once_and_removed_without_a_trace() {
        let mut acls = Acls::default();
        let one = binding(PatternType::LITERAL, "t", "User:a");
        let others = [
            AclBinding { host: "::1".into(), ..one.clone() },
            AclBinding { operation: AclOperation::WRITE, ..one.clone() },
            AclBinding { permission: Permission::DENY, ..one.clone() },
            AclBinding { principal: "User:b".into(), ..one.clone() },
            AclBinding { pattern_type: PatternType::PREFIXED, ..one.clone() },
            AclBinding { resource_type: ResourceType::GROUP, ..one.clone() },
        ];
        assert!(acls.insert(&one) && !acls.insert(&one));
        assert!(others.iter().all(|other| !acls.contains(other) && acls.insert(other)));
        let all: BTreeSet<AclBinding> = others.iter().cloned().chain([one.clone()]).collect();
        assert_eq!(acls.iter().collect::<Vec<_>>(), all.iter().cloned().collect::<Vec<_>>());
        assert_eq!(acls.len(), 7);
        assert!(all.iter().all(|one| acls.remove(one)) && !acls.remove(&one));
        assert_eq!(acls, Acls::default());
    }

    #[test]
    fn a_resource_has_the_bindings_of_its_name_of_all_names_and_of_its_prefixes() {
        let bindings = [
            binding(PatternType::LITERAL, "orders", "same"),
            binding(PatternType::LITERAL, "order", "shorter"),
            binding(PatternType::LITERAL, "*", "every"),
            binding(PatternType::PREFIXED, "*", "star"),
            binding(PatternType::PREFIXED, "o", "o"),
            binding(PatternType::PREFIXED, "oo", "oo"),
            binding(PatternType::PREFIXED, "ord", "ord"),
            binding(PatternType::PREFIXED, "order-", "order-"),
            binding(PatternType::PREFIXED, "orders", "whole"),
            binding(PatternType::PREFIXED, "orders2", "longer"),
            binding(PatternType::PREFIXED, "", "all"),
            binding(PatternType::PREFIXED, "é", "accent"),
        ];
        let acls: Acls = bindings.iter().collect();
        assert_eq!(principals(&acls, "orders"), ["same", "every", "whole", "ord", "o", "all"]);
        assert_eq!(principals(&acls, "a"), ["every", "all"]);
        assert_eq!(principals(&acls, "*"), ["every", "star", "all"]);
        assert_eq!(principals(&acls, "éa"), ["every", "accent", "all"]);
        assert_eq!(principals(&acls, ""), ["every", "all"]);
        assert_eq!(acls.of_resource(ResourceType::GROUP, "orders").count(), 0);
    }
}
