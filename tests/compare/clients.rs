//! Clients with single rights, which come from addresses of their own: the broker has no other principal than
//! `User:ANONYMOUS`. The client from 127.0.0.1 has all rights, and so has the oracle itself.
//!
//! ```text
//! @no-rights           none of the rights of `rights`
//! @may-read            the right to read, for all resources, and no other
//! @not-read            all rights but this one, which is denied
//! @127.0.3.1           rights that the script gives to this address; `@127.0.3.1/2` is another connection from it
//! ```

use std::net::Ipv4Addr;

/// The operations, by Kafka's numbers.
const OPERATIONS: &[(&str, u8)] = &[
    ("read", 3),
    ("write", 4),
    ("create", 5),
    ("delete", 6),
    ("alter", 7),
    ("describe", 8),
    ("cluster-action", 9),
    ("describe-configs", 10),
    ("alter-configs", 11),
    ("idempotent-write", 12),
    ("two-phase-commit", 15),
];

/// Topics, groups, the cluster and transactional ids.
const EVERYTHING: [(u8, &str); 4] = [(2, "*"), (3, "*"), (4, "kafka-cluster"), (5, "*")];
const DENY: u8 = 2;
const ALLOW: u8 = 3;
const ALL: u8 = 2;

/// The address of a client with rights of its own; `None` for other connections.
pub fn address(connection: &str) -> Option<Ipv4Addr> {
    if connection == "no-rights" {
        return Some(Ipv4Addr::new(127, 0, 0, 2));
    }
    let number = |name: &str| OPERATIONS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let may = connection.strip_prefix("may-").and_then(number).map(only);
    let not = connection.strip_prefix("not-").and_then(number).map(all_but);
    may.or(not).or_else(|| connection.split('/').next()?.parse().ok())
}

/// The client id of a connection.
pub fn id(connection: &str) -> Option<&str> {
    let Some(named) = connection.strip_prefix("client-") else { return Some("compare") };
    named.split('/').next().filter(|id| *id != "null")
}

fn only(operation: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, operation)
}

fn all_but(operation: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 2, operation)
}

/// The elements of a CreateAcls request that give all rights to 127.0.0.1.
pub fn administrator() -> Vec<String> {
    for_everything(Ipv4Addr::LOCALHOST, ALL, ALLOW).into()
}

/// The elements of a CreateAcls request that make the other clients.
pub fn acls() -> Vec<String> {
    let of_one = |(_, operation): &(&str, u8)| {
        let allowed = for_everything(only(*operation), *operation, ALLOW);
        let others = for_everything(all_but(*operation), ALL, ALLOW);
        [allowed, others, for_everything(all_but(*operation), *operation, DENY)].concat()
    };
    OPERATIONS.iter().flat_map(of_one).collect()
}

fn for_everything(host: Ipv4Addr, operation: u8, permission: u8) -> [String; 4] {
    EVERYTHING.map(|(resource_type, name)| {
        format!(
            "{{resource_type: {resource_type}, resource_name: \"{name}\", resource_pattern_type: 3, \
             principal: \"User:ANONYMOUS\", host: \"{host}\", operation: {operation}, permission_type: {permission}}}"
        )
    })
}

/// The fields of a DescribeAcls request for one of these elements.
pub fn filter(acl: &str) -> String {
    let fields = acl.trim_matches(['{', '}']).replace("resource_pattern_type:", "pattern_type_filter:");
    ["resource_type", "resource_name", "principal", "host"]
        .iter()
        .fold(fields, |fields, name| fields.replace(&format!("{name}:"), &format!("{name}_filter:")))
}
