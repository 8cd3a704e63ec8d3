//! What librdkafka (through the crate rdkafka) sees of a broker in this process.
//!
//! `BOOTSTRAP=host:port cargo test --test clients` judges a broker that already runs instead: every
//! fact here also holds for Apache Kafka 4.4.

mod admin;
mod consume;
mod groups;
mod posed;
mod produce;
mod support;
