//! Jackdaw: a Kafka-compatible server.
//!
//! The modules ("rooms"), from the outside in. `docs/architecture.md` describes them;
//! `tests/architecture.rs` fails if a room uses another one that it may not use.
//!
//! - [`cli`] reads the command line; [`broker`] builds every room and stops them again.
//! - [`server`] owns the sockets: requests in, responses out, in order, within budgets.
//! - [`protocol`] is the wire: headers and messages of every version, bounded.
//! - [`api`] is the table of API keys, one file per key.
//! - [`coordinator`] decides for groups; [`kernel`] is the pure state machine that everything
//!   durable goes through; [`storage`] is the journal, the segments and the partition store.
//! - [`record`] looks inside record batches; [`config`] declares every setting once.
//! - [`http`] answers health checks and scrapes of [`metrics`].
//! - [`budget`] limits the memory for clients; [`stop`] is the signal that ends long polls.
//! - [`types`], [`time`], [`telemetry`] and [`background`] are used by all.

pub mod api;
pub mod background;
pub mod broker;
pub mod budget;
pub mod cli;
pub mod config;
pub mod coordinator;
pub mod http;
pub mod kernel;
pub mod metrics;
pub mod protocol;
pub mod record;
pub mod server;
pub mod stop;
pub mod storage;
pub mod telemetry;
pub mod time;
pub mod types;
