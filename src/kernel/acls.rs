//! The access control lists that clients have created, and their memory.

use std::sync::Arc;

use super::weight::{entry, shared_text};
use crate::types::acl::{Grant, Grants};
use crate::types::{AclBinding, Acls, SharedSet};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredAcls {
    acls: Acls,
    bytes: usize,
}

impl StoredAcls {
    /// Counts the memory again.
    pub(super) fn of(acls: Acls) -> StoredAcls {
        StoredAcls { bytes: acls.iter().map(|binding| weigh(&binding)).sum(), acls }
    }

    pub fn all(&self) -> &Acls {
        &self.acls
    }

    /// The memory of all of them; more than that if they have names and principals in common.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds bindings, and returns the number of those that were missing.
    pub(super) fn add(&mut self, bindings: &[AclBinding]) -> usize {
        let added = bindings.iter().filter(|binding| self.acls.insert(binding));
        let (count, bytes) = sum(added);
        self.bytes += bytes;
        count
    }

    /// Removes bindings, and returns the number of those that were there.
    pub(super) fn remove(&mut self, bindings: &[AclBinding]) -> usize {
        let removed = bindings.iter().filter(|binding| self.acls.remove(binding));
        let (count, bytes) = sum(removed);
        self.bytes -= bytes;
        count
    }
}

fn sum<'a>(bindings: impl Iterator<Item = &'a AclBinding>) -> (usize, usize) {
    bindings.fold((0, 0), |(count, bytes), binding| (count + 1, bytes + weigh(binding)))
}

/// The memory of a binding that has its name and principal alone.
pub fn weigh(binding: &AclBinding) -> usize {
    let AclBinding { name, principal, host, .. } = binding;
    let by_name = shared_text(name) + entry::<Arc<str>, Grants>();
    let by_principal = shared_text(principal) + entry::<Arc<str>, SharedSet<Grant>>();
    by_name + by_principal + shared_text(host) + entry::<Grant, ()>()
}
