//! Jackdaw: a Kafka-compatible server.
//!
//! A program that embeds a broker needs the types below, and no others:
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), jackdaw::StartError> {
//! let broker = jackdaw::Broker::builder().ephemeral().start().await?;
//! println!("bootstrap.servers={}", broker.bootstrap());
//! broker.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/` has whole programs: a broker in a test, and three virtual brokers.
//!
//! The modules ("rooms") are public for the tests of this package only, and not in its documentation:
//! `RUSTDOCFLAGS='--cfg internals' cargo doc --document-private-items` prints them. `docs/architecture.md` describes
//! them, and `tests/architecture.rs` fails if a room uses another one that it may not use. From the outside in:
//!
//! - `cli` reads the command line; `broker` builds every room and stops them again.
//! - `server` owns the sockets: requests in, responses out, in order, within budgets.
//! - `protocol` is the wire: headers and messages of every version, bounded.
//! - `api` is the table of API keys, one file per key.
//! - `coordinator` decides for groups; `kernel` is the pure state machine that everything durable goes
//!   through; `storage` is the journal, the segments and the partition store.
//! - `record` looks inside record batches; `config` declares every setting once.
//! - `security` has identities, and what they may do.
//! - `http` answers health checks and scrapes of `metrics`.
//! - `faults` are rules for requests that a test sets; `hooks` is what tests call.
//! - `budget` limits the memory for clients; `stop` is the signal that ends long polls; `disk_threads` runs what may wait for
//!   the disk.
//! - `types`, `time` and `telemetry` are used by all.

// Not in Cargo.toml, where it would hold for the helpers of the tests too.
#![warn(clippy::unwrap_used)]

#[cfg(all(feature = "planted-bug", not(debug_assertions)))]
compile_error!("the features bug-… are faults for tests, and are not built into a release");

#[cfg_attr(not(internals), doc(hidden))]
pub mod api;
#[cfg_attr(not(internals), doc(hidden))]
pub mod broker;
#[cfg_attr(not(internals), doc(hidden))]
pub mod budget;
#[cfg_attr(not(internals), doc(hidden))]
pub mod cli;
#[cfg_attr(not(internals), doc(hidden))]
pub mod config;
#[cfg_attr(not(internals), doc(hidden))]
pub mod coordinator;
#[cfg_attr(not(internals), doc(hidden))]
pub mod disk_threads;
#[cfg_attr(not(internals), doc(hidden))]
pub mod faults;
#[cfg_attr(not(internals), doc(hidden))]
pub mod hooks;
#[cfg_attr(not(internals), doc(hidden))]
pub mod http;
#[cfg_attr(not(internals), doc(hidden))]
pub mod kernel;
#[cfg_attr(not(internals), doc(hidden))]
pub mod metrics;
#[cfg_attr(not(internals), doc(hidden))]
pub mod protocol;
#[cfg_attr(not(internals), doc(hidden))]
pub mod record;
#[cfg_attr(not(internals), doc(hidden))]
pub mod security;
#[cfg_attr(not(internals), doc(hidden))]
pub mod server;
#[cfg_attr(not(internals), doc(hidden))]
pub mod stop;
#[cfg_attr(not(internals), doc(hidden))]
pub mod storage;
#[cfg_attr(not(internals), doc(hidden))]
pub mod telemetry;
#[cfg_attr(not(internals), doc(hidden))]
pub mod time;
#[cfg_attr(not(internals), doc(hidden))]
pub mod types;

pub use broker::{Broker, Builder, StartError, VirtualBrokerError};
pub use config::{BrokerSettings, Durability};
pub use hooks::{CutAt, Fault, FaultId, FaultInfo, HookError, TestHooks};
pub use types::NodeId;
