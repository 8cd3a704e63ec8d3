//! The APIs of access control lists (keys 29–31), one file per key. There is no authorizer yet, so
//! nothing is stored. Every request gets Kafka's answer for a broker without one (rules Z10, Z12).

//! As in Kafka, a request with UNKNOWN in a required field closes its connection (rule Z8).

mod create_acls;
mod delete_acls;
mod describe_acls;

/// Kafka's number for UNKNOWN, in all numeric fields of a list or a filter.
const UNKNOWN: i8 = 0;

const CLOSED: &str = "an access control list or a filter with an UNKNOWN element";
