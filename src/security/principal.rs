//! Identities, and the decision what an identity may do.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use super::acl::CLUSTER_NAME;
use super::operations::Operation;
use crate::types::acl::ResourceType;

/// The type of all principals that can log in.
pub const USER: &str = "User";

/// The type and the name of a principal, as in `User:alice`.
pub fn split(principal: &str) -> (&str, &str) {
    principal.split_once(':').unwrap_or((principal, ""))
}

/// An identity that has rights, such as `User:alice`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The type, a colon and the name.
    text: Arc<str>,
}

impl Principal {
    pub fn user(name: &str) -> Principal {
        Principal::of(USER, name)
    }

    pub fn of(principal_type: &str, name: &str) -> Principal {
        Principal { text: format!("{principal_type}:{name}").into() }
    }

    /// The form in ACLs and settings, such as `User:alice`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name without its type, such as `alice`.
    pub fn name(&self) -> &str {
        split(&self.text).1
    }

    /// A client of a listener that asks for no login.
    pub fn anonymous() -> Principal {
        static ANONYMOUS: LazyLock<Principal> = LazyLock::new(|| Principal::user("ANONYMOUS"));
        ANONYMOUS.clone()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A resource that a client needs a right to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
    Cluster,
    /// A delegation token, by its id.
    DelegationToken(&'a str),
    /// The delegation tokens of a principal, such as `User:alice`.
    User(&'a str),
}

impl<'a> Resource<'a> {
    pub fn resource_type(self) -> ResourceType {
        match self {
            Resource::Topic(_) => ResourceType::TOPIC,
            Resource::Group(_) => ResourceType::GROUP,
            Resource::TransactionalId(_) => ResourceType::TRANSACTIONAL_ID,
            Resource::Cluster => ResourceType::CLUSTER,
            Resource::DelegationToken(_) => ResourceType::DELEGATION_TOKEN,
            Resource::User(_) => ResourceType::USER,
        }
    }

    pub fn name(self) -> &'a str {
        match self {
            Resource::Topic(name)
            | Resource::Group(name)
            | Resource::TransactionalId(name)
            | Resource::DelegationToken(name)
            | Resource::User(name) => name,
            Resource::Cluster => CLUSTER_NAME,
        }
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource_type().name(), self.name())
    }
}

/// Decides what a principal may do. It is asked for every topic of every request, so it must be fast and must not
/// wait.
pub trait Authorizer: Send + Sync {
    fn allows(
        &self,
        principal: &Principal,
        host: IpAddr,
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool;

    /// Whether there may be a topic that the principal may carry out the operation on.
    fn allows_on_any_topic(&self, principal: &Principal, host: IpAddr, operation: Operation) -> bool;

    /// Why an operation is refused. Asked only afterwards, for the log and metrics.
    fn why_not(&self, _: &Principal, _: IpAddr, _: Operation, _: Resource<'_>) -> DenialReason {
        DenialReason::NotAllowed
    }

    /// A number that changes whenever a decision may change. Decisions that are asked for afterwards may be remembered
    /// as long as it stays the same; with `None` none is remembered.
    fn version(&self) -> Option<u64> {
        None
    }
}

/// Allows everything, as Kafka does without an authorizer.
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn allows(&self, _: &Principal, _: IpAddr, _: Operation, _: Resource<'_>) -> bool {
        true
    }

    fn allows_on_any_topic(&self, _: &Principal, _: IpAddr, _: Operation) -> bool {
        true
    }
}

/// Why an authorizer refuses an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenialReason {
    /// No access control list allows it.
    NotAllowed,
    /// An access control list denies it.
    Denied,
}

impl DenialReason {
    pub const ALL: &[DenialReason] = &[DenialReason::NotAllowed, DenialReason::Denied];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            DenialReason::NotAllowed => "not_allowed",
            DenialReason::Denied => "denied",
        }
    }

    /// The reason for operators, and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            DenialReason::NotAllowed => {
                "no access control list allows it; if the principal should have the right, add one"
            }
            DenialReason::Denied => {
                "an access control list denies it; if the principal should have the right, delete that one"
            }
        }
    }
}

/// A right that the client lacks. It decides the error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forbidden {
    Topic,
    Group,
    TransactionalId,
    Cluster,
    /// A delegation token, or those of a principal.
    DelegationToken,
}

impl Forbidden {
    pub const ALL: &[Forbidden] = &[
        Forbidden::Topic,
        Forbidden::Group,
        Forbidden::TransactionalId,
        Forbidden::Cluster,
        Forbidden::DelegationToken,
    ];

    /// The kind of the resource, for a metric.
    pub fn name(self) -> &'static str {
        match self {
            Forbidden::Topic => "topic",
            Forbidden::Group => "group",
            Forbidden::TransactionalId => "transactional_id",
            Forbidden::Cluster => "cluster",
            Forbidden::DelegationToken => "delegation_token",
        }
    }
}

impl From<Resource<'_>> for Forbidden {
    fn from(resource: Resource<'_>) -> Forbidden {
        match resource {
            Resource::Topic(_) => Forbidden::Topic,
            Resource::Group(_) => Forbidden::Group,
            Resource::TransactionalId(_) => Forbidden::TransactionalId,
            Resource::Cluster => Forbidden::Cluster,
            Resource::DelegationToken(_) | Resource::User(_) => Forbidden::DelegationToken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_a_login_is_kafkas_anonymous_user() {
        assert_eq!(Principal::anonymous().to_string(), "User:ANONYMOUS");
        assert_ne!(Principal::anonymous(), Principal::user("alice"));
    }
}
