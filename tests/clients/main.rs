//! A broker in this process as librdkafka sees it (through the crate rdkafka).
//!
//! `BOOTSTRAP=host:port cargo test --test clients` tests a running broker instead: all of these tests also
//! pass with Apache Kafka 4.4.

mod admin;
mod consume;
mod groups;
mod hooks;
mod produce;
#[cfg(feature = "security")]
mod sasl;
mod support;
mod virtual_brokers;
