//! The decisions of the authorizer that a connection has got, so that a request for a known topic looks at no access
//! control list. They are forgotten when the lists change.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::security::operations::Operation;
use crate::security::principal::Resource;
use crate::types::IgnorePoison;

/// The memory for the names of one connection. If a new one does not fit, all are forgotten.
const MOST_BYTES: usize = 8 << 10;
/// The memory of a name beside its bytes.
const OF_NAME: usize = 64;

/// The decisions for the client of one connection.
#[derive(Debug, Default)]
pub(super) struct Rights(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// The version of the authorizer that has decided.
    version: u64,
    cluster: Decisions,
    any_topic: Decisions,
    named: HashMap<Box<str>, OfName>,
    bytes: usize,
}

/// The decisions about resources that have the same name.
#[derive(Clone, Copy, Debug, Default)]
struct OfName {
    topic: Decisions,
    group: Decisions,
    transactional_id: Decisions,
}

/// The decisions about one resource, with a bit for each operation.
#[derive(Clone, Copy, Debug, Default)]
struct Decisions {
    asked: u16,
    allowed: u16,
}

impl Rights {
    /// Whether the client may carry out an operation on a resource. `ask` decides, unless it has decided in this version
    /// already.
    pub(super) fn on(
        &self,
        version: u64,
        operation: Operation,
        resource: Resource<'_>,
        ask: impl FnOnce() -> bool,
    ) -> bool {
        self.decide(version, operation, ask, |remembered| remembered.about(resource))
    }

    /// Whether the client may carry out an operation on any topic.
    pub(super) fn on_any_topic(
        &self,
        version: u64,
        operation: Operation,
        ask: impl FnOnce() -> bool,
    ) -> bool {
        self.decide(version, operation, ask, |remembered| Some(&mut remembered.any_topic))
    }

    fn decide(
        &self,
        version: u64,
        operation: Operation,
        ask: impl FnOnce() -> bool,
        find: impl FnOnce(&mut Remembered) -> Option<&mut Decisions>,
    ) -> bool {
        let mut remembered = self.0.lock().ignoring_poison();
        if remembered.version != version {
            *remembered = Remembered { version, ..Remembered::default() };
        }
        match find(&mut remembered) {
            Some(known) => known.decide(operation, ask),
            None => ask(),
        }
    }
}

impl Remembered {
    /// The decisions about a resource; `None` if they are not remembered.
    fn about(&mut self, resource: Resource<'_>) -> Option<&mut Decisions> {
        let name = match resource {
            Resource::Cluster => return Some(&mut self.cluster),
            Resource::Topic(name) | Resource::Group(name) | Resource::TransactionalId(name) => name,
            // Each is asked for rarely.
            Resource::DelegationToken(_) | Resource::User(_) => return None,
        };
        if !self.named.contains_key(name) {
            self.make_room(name)?;
            self.named.insert(name.into(), OfName::default());
        }
        let known = self.named.get_mut(name)?;
        match resource {
            Resource::Topic(_) => Some(&mut known.topic),
            Resource::Group(_) => Some(&mut known.group),
            Resource::TransactionalId(_) => Some(&mut known.transactional_id),
            Resource::Cluster | Resource::DelegationToken(_) | Resource::User(_) => None,
        }
    }

    /// `None` if the name is too long to be remembered.
    fn make_room(&mut self, name: &str) -> Option<()> {
        let more = name.len() + OF_NAME;
        if more > MOST_BYTES {
            return None;
        }
        if self.bytes + more > MOST_BYTES {
            self.named.clear();
            self.bytes = 0;
        }
        self.bytes += more;
        Some(())
    }
}

impl Decisions {
    fn decide(&mut self, operation: Operation, ask: impl FnOnce() -> bool) -> bool {
        let bit = 1 << operation as u16;
        if self.asked & bit == 0 {
            self.asked |= bit;
            if ask() {
                self.allowed |= bit;
            }
        }
        self.allowed & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Asks for a decision, and returns it with whether the authorizer was asked.
    fn asked(
        rights: &Rights,
        version: u64,
        operation: Operation,
        resource: Resource<'_>,
        is_allowed: bool,
    ) -> (bool, bool) {
        let is_asked = Cell::new(false);
        let ask = || {
            is_asked.set(true);
            is_allowed
        };
        (rights.on(version, operation, resource, ask), is_asked.get())
    }

    #[test]
    fn a_decision_is_asked_for_once_in_each_version_of_the_lists() {
        let rights = Rights::default();
        let (topic, read, write) = (Resource::Topic("t"), Operation::Read, Operation::Write);
        assert_eq!(asked(&rights, 1, read, topic, true), (true, true));
        assert_eq!(asked(&rights, 1, read, topic, false), (true, false));
        assert_eq!(asked(&rights, 1, write, topic, false), (false, true), "another operation");
        assert_eq!(asked(&rights, 1, write, topic, true), (false, false), "refusals are remembered, too");
        assert_eq!(asked(&rights, 2, read, topic, false), (false, true), "the lists have changed");
        assert_eq!(asked(&rights, 2, write, topic, true), (true, true));
    }

    #[test]
    fn resources_of_the_same_name_are_not_taken_for_each_other() {
        let rights = Rights::default();
        let name = "kafka-cluster";
        let resources = [
            Resource::Topic(name),
            Resource::Group(name),
            Resource::TransactionalId(name),
            Resource::Cluster,
            Resource::Topic("other"),
        ];
        for (at, resource) in resources.iter().enumerate() {
            assert_eq!(asked(&rights, 1, Operation::Describe, *resource, at % 2 == 0), (at % 2 == 0, true));
        }
        assert!(rights.on_any_topic(1, Operation::Describe, || true));
        assert!(rights.on_any_topic(1, Operation::Describe, || false));
        for (at, resource) in resources.iter().enumerate() {
            assert_eq!(asked(&rights, 1, Operation::Describe, *resource, at % 2 == 1), (at % 2 == 0, false));
        }
    }

    #[test]
    fn tokens_are_asked_for_each_time() {
        let rights = Rights::default();
        for resource in [Resource::DelegationToken("id"), Resource::User("User:ann")] {
            for is_allowed in [true, false] {
                assert_eq!(asked(&rights, 1, Operation::Describe, resource, is_allowed), (is_allowed, true));
            }
        }
    }

    #[test]
    fn the_memory_for_names_has_a_bound() {
        let rights = Rights::default();
        for number in 0..10_000 {
            let name = format!("{number:0100}");
            assert_eq!(asked(&rights, 1, Operation::Read, Resource::Topic(&name), true), (true, true));
            let again = asked(&rights, 1, Operation::Read, Resource::Topic(&name), false);
            assert_eq!(again, (true, false), "the newest one is remembered");
        }
        let remembered = rights.0.lock().ignoring_poison();
        assert!(remembered.bytes <= MOST_BYTES);
        assert!((1..=MOST_BYTES / (100 + OF_NAME)).contains(&remembered.named.len()));
        drop(remembered);
        let long = "a".repeat(MOST_BYTES);
        for is_allowed in [true, false] {
            let group = Resource::Group(&long);
            assert_eq!(asked(&rights, 1, Operation::Read, group, is_allowed), (is_allowed, true));
        }
    }
}
