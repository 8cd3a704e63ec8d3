//! Identities, and the decision what an identity may do.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use super::operations::Operation;

/// An identity that has rights, such as `User:alice`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    kind: Arc<str>,
    name: Arc<str>,
}

impl Principal {
    pub fn user(name: &str) -> Principal {
        Principal { kind: "User".into(), name: name.into() }
    }

    /// A client of a listener that asks for no login.
    pub fn anonymous() -> Principal {
        static ANONYMOUS: LazyLock<Principal> = LazyLock::new(|| Principal::user("ANONYMOUS"));
        ANONYMOUS.clone()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

/// A resource that a client needs a right to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
    Cluster,
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
}

/// Allows everything, as Kafka does without an authorizer.
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn allows(&self, _: &Principal, _: IpAddr, _: Operation, _: Resource<'_>) -> bool {
        true
    }
}

/// A right that the client lacks. It decides the error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    Topic,
    Group,
    TransactionalId,
    Cluster,
}

impl From<Resource<'_>> for Forbidden {
    fn from(resource: Resource<'_>) -> Forbidden {
        match resource {
            Resource::Topic(_) => Forbidden::Topic,
            Resource::Group(_) => Forbidden::Group,
            Resource::TransactionalId(_) => Forbidden::TransactionalId,
            Resource::Cluster => Forbidden::Cluster,
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
