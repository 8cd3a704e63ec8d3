//! The operations that a client needs a right for, with Kafka's numbers, and the bit fields in which responses list
//! them (KIP-430).

use crate::types::acl::{AclOperation, ResourceType};

/// An operation on a topic, a group, a transactional id or the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i8)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
    CreateTokens = 13,
    DescribeTokens = 14,
    TwoPhaseCommit = 15,
}

impl Operation {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        AclOperation(self as i8).name()
    }
}

/// The value if the client did not ask for operations (rule Z11).
pub const NOT_ASKED: i32 = i32::MIN;

/// The operations on a resource, of which a response lists the allowed ones.
pub const ON_TOPICS: &[Operation] = &[
    Operation::Read,
    Operation::Write,
    Operation::Create,
    Operation::Delete,
    Operation::Alter,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];
pub const ON_GROUPS: &[Operation] = &[
    Operation::Read,
    Operation::Delete,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];
pub const ON_THE_CLUSTER: &[Operation] = &[
    Operation::Create,
    Operation::Alter,
    Operation::Describe,
    Operation::ClusterAction,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
    Operation::IdempotentWrite,
];

pub const ON_TRANSACTIONAL_IDS: &[Operation] =
    &[Operation::Describe, Operation::Write, Operation::TwoPhaseCommit];
pub const ON_TOKENS: &[Operation] = &[Operation::Describe];
pub const ON_USERS: &[Operation] = &[Operation::CreateTokens, Operation::DescribeTokens];

/// The operations that a type of resources has.
pub fn operations_on(resource_type: ResourceType) -> &'static [Operation] {
    match resource_type {
        ResourceType::TOPIC => ON_TOPICS,
        ResourceType::GROUP => ON_GROUPS,
        ResourceType::CLUSTER => ON_THE_CLUSTER,
        ResourceType::TRANSACTIONAL_ID => ON_TRANSACTIONAL_IDS,
        ResourceType::DELEGATION_TOKEN => ON_TOKENS,
        ResourceType::USER => ON_USERS,
        _ => &[],
    }
}

/// The bit field of some operations.
pub fn bits(allowed: impl Iterator<Item = Operation>) -> i32 {
    allowed.fold(0, |bits, operation| bits | (1 << operation as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z11_the_bits_are_those_of_kafka_without_an_authorizer() {
        let all = |on: &[Operation]| bits(on.iter().copied());
        assert_eq!((all(ON_TOPICS), all(ON_THE_CLUSTER), all(ON_GROUPS)), (3576, 8096, 3400));
    }
}
