//! Authorized operations (KIP-430): one bit per operation. Without an authorizer all operations are
//! allowed.

const CREATE: i32 = 1 << 5;
const DELETE: i32 = 1 << 6;
const ALTER: i32 = 1 << 7;
const DESCRIBE: i32 = 1 << 8;
const READ: i32 = 1 << 3;
const WRITE: i32 = 1 << 4;
const CLUSTER_ACTION: i32 = 1 << 9;
const DESCRIBE_CONFIGS: i32 = 1 << 10;
const ALTER_CONFIGS: i32 = 1 << 11;
const IDEMPOTENT_WRITE: i32 = 1 << 12;

/// The value if the client did not ask for operations (rule Z11).
pub const NOT_ASKED: i32 = i32::MIN;

/// All operations on a topic.
pub const TOPIC: i32 = READ | WRITE | CREATE | DELETE | ALTER | DESCRIBE | DESCRIBE_CONFIGS | ALTER_CONFIGS;

/// All operations on the cluster.
pub const CLUSTER: i32 =
    CREATE | ALTER | DESCRIBE | CLUSTER_ACTION | DESCRIBE_CONFIGS | ALTER_CONFIGS | IDEMPOTENT_WRITE;

/// All operations on a group.
pub const GROUP: i32 = READ | DELETE | DESCRIBE | DESCRIBE_CONFIGS | ALTER_CONFIGS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z11_the_bits_are_those_of_kafka_without_an_authorizer() {
        assert_eq!((TOPIC, CLUSTER, GROUP), (3576, 8096, 3400));
    }
}
