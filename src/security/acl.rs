//! What access control lists (ACLs) allow, as decided by Kafka's StandardAuthorizer: a deny wins over an allow, and
//! without any of them for a resource it is refused, or allowed with `allow.everyone.if.no.acl.found`.

mod filter;

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::operations::Operation;
use super::principal::{DenialReason, Principal, Resource};
use crate::config::AuthorizerSettings;
use crate::types::Acls;
use crate::types::acl::{AclOperation, EVERY_NAME, Grants, PatternType, Permission, ResourceType};
pub use filter::Filter;

/// The only name of the cluster as a resource.
pub const CLUSTER_NAME: &str = "kafka-cluster";
/// The principal of a binding for all principals.
const EVERYONE: &str = "User:*";

/// The bindings, and the rules beside them.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    pub acls: &'a Acls,
    pub rules: &'a AuthorizerSettings,
}

/// A client that wants to do something.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    pub principal: &'a Principal,
    pub host: IpAddr,
}

/// The bindings of a resource say this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// There are none, not even for other clients or operations.
    NoAcl,
    Allowed,
    /// There are some, but none allows it.
    NotAllowed,
    Denied,
}

impl Policy<'_> {
    pub fn allows(self, client: Client<'_>, operation: Operation, resource: Resource<'_>) -> bool {
        if self.rules.super_users.contains(client.principal.as_str()) {
            return true;
        }
        match verdict(self.acls, client, operation, resource) {
            Verdict::Allowed => true,
            Verdict::NotAllowed | Verdict::Denied => false,
            Verdict::NoAcl => self.rules.allow_everyone_if_no_acl_found,
        }
    }

    /// Why [`Policy::allows`] refuses.
    pub fn why_not(self, client: Client<'_>, operation: Operation, resource: Resource<'_>) -> DenialReason {
        match verdict(self.acls, client, operation, resource) {
            Verdict::Denied => DenialReason::Denied,
            Verdict::NoAcl | Verdict::Allowed | Verdict::NotAllowed => DenialReason::NotAllowed,
        }
    }

    /// Whether the client may carry out an operation on any topic, whether or not it exists. A literal or prefixed
    /// allow counts unless a deny covers all of it.
    pub fn allows_on_any_topic(self, client: Client<'_>, operation: Operation) -> bool {
        // As in Kafka, this name stands for those without an ACL.
        if self.allows(client, operation, Resource::Topic("hardcode")) {
            return true;
        }
        let (literal, prefixed) = (PatternType::LITERAL, PatternType::PREFIXED);
        let is = |permission: Permission, grants: &Grants| {
            of_client(grants, client)
                .any(|(of, ace)| of == permission && (ace == AclOperation::ALL || is_same(ace, operation)))
        };
        let named = |pattern_type, permission| {
            let patterns = self.acls.patterns(ResourceType::TOPIC, pattern_type);
            patterns.filter(move |(_, grants)| is(permission, grants)).map(|(name, _)| name)
        };
        let denied: BTreeSet<&str> = named(literal, Permission::DENY).collect();
        let denied_prefixes: BTreeSet<&str> = named(prefixed, Permission::DENY).collect();
        if denied.contains(EVERY_NAME) {
            return false;
        }
        let has_denied_prefix = |name: &str| {
            let mut ends = name.char_indices().map(|(at, letter)| at + letter.len_utf8());
            ends.any(|end| denied_prefixes.contains(&name[..end]))
        };
        let may_literally =
            |name: &str| name == EVERY_NAME || !denied.contains(name) && !has_denied_prefix(name);
        named(literal, Permission::ALLOW).any(may_literally)
            || named(prefixed, Permission::ALLOW).any(|name| !has_denied_prefix(name))
    }
}

fn verdict(acls: &Acls, client: Client<'_>, operation: Operation, resource: Resource<'_>) -> Verdict {
    let mut verdict = Verdict::NoAcl;
    let mut is_allowed = false;
    for grants in acls.of_resource(resource.resource_type(), resource.name()) {
        verdict = Verdict::NotAllowed;
        for (permission, ace) in of_client(grants, client) {
            match permission {
                Permission::DENY if ace == AclOperation::ALL || is_same(ace, operation) => {
                    return Verdict::Denied;
                }
                Permission::ALLOW => is_allowed |= implies(ace, operation),
                _ => {}
            }
        }
    }
    if is_allowed { Verdict::Allowed } else { verdict }
}

/// The grants for a client: permission and operation.
fn of_client<'a>(
    grants: &'a Grants,
    client: Client<'a>,
) -> impl Iterator<Item = (Permission, AclOperation)> + 'a {
    let of = [client.principal.as_str(), EVERYONE];
    let of = of.into_iter().filter_map(|principal| grants.get(principal)).flat_map(|grants| grants.iter());
    let here = of.filter(move |grant| grant.host.matches(client.host));
    here.map(|grant| (grant.permission, grant.operation))
}

fn is_same(ace: AclOperation, operation: Operation) -> bool {
    ace.0 == operation as i8
}

/// Whether the right to one operation includes another. This holds for allows only: a deny of Read does not deny
/// Describe.
fn implies(ace: AclOperation, operation: Operation) -> bool {
    if ace == AclOperation::ALL || is_same(ace, operation) {
        return true;
    }
    match operation {
        Operation::Describe => {
            [AclOperation::READ, AclOperation::WRITE, AclOperation::DELETE, AclOperation::ALTER]
                .contains(&ace)
        }
        Operation::DescribeConfigs => ace == AclOperation::ALTER_CONFIGS,
        Operation::Read
        | Operation::Write
        | Operation::Create
        | Operation::Delete
        | Operation::Alter
        | Operation::ClusterAction
        | Operation::AlterConfigs
        | Operation::IdempotentWrite
        | Operation::CreateTokens
        | Operation::DescribeTokens
        | Operation::TwoPhaseCommit => false,
    }
}

#[cfg(test)]
mod tests;
