//! The answers of each API, byte for byte over a socket: a broker in this process and in memory, and requests
//! with every field given. Every expected value was observed on Apache Kafka 4.4 or is listed as a difference
//! in `docs/apis.md`.

mod acls;
mod alter_configs;
mod caps;
mod client_metrics;
mod cluster;
mod committed;
mod config_facts;
mod configs;
mod coordinators;
mod create_partitions;
#[cfg(feature = "security")]
mod delegation_tokens;
mod delete_records;
mod describe_topic_partitions;
mod door;
mod faults;
mod fetch;
mod fetch_sessions;
mod groups;
mod harness;
mod hook_waits;
#[cfg(feature = "security")]
mod kept_out;
mod list_offsets;
mod log_dirs;
mod log_lines;
mod metadata;
mod negotiation;
mod produce;
mod quotas;
mod reassignments;
#[cfg(feature = "security")]
mod sasl;
#[cfg(feature = "security")]
mod scram_credentials;
#[cfg(feature = "security")]
mod tls;
#[cfg(feature = "security")]
mod tokens;
mod topics;
mod transactions;
mod versions;
mod virtual_brokers;
