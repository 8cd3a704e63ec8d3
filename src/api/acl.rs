//! The APIs of access control lists, one file per key: 29–31. There is no authorizer yet, so
//! nothing is stored and every request hears what Kafka says without one (rule Z10, Z12).

//! As in Kafka, a request that says UNKNOWN where it must say something closes its connection (Z8).

mod create_acls;
mod delete_acls;
mod describe_acls;

/// Kafka's number for what is not known, in every field of a list or a filter that has numbers.
const UNKNOWN: i8 = 0;

const CLOSED: &str = "an access control list or a filter with an UNKNOWN element";
