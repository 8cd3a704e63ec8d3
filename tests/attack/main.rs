//! Clients that mean harm, or do it: each class of attack on a broker that plans with 256 MiB. It stays
//! alive, serves a client that means well, and holds no more than it planned with.
//!
//! The broker runs in this process, where every byte it holds is counted; `contained.rs` repeats the worst
//! of it on a process of its own that a control group limits to 256 MiB, where groups can be made. Files and
//! connections are counted on processes of their own (`descriptors.rs`, `connections.rs`).
//!
//! Other attacks: frames and batches with wrong lengths or counts are in `tests/wire/hostile.rs` and
//! `tests/record/hostile.rs`, caps of each API in `tests/api/caps.rs`, slow and silent clients in
//! `src/server/tests/limits.rs`.

mod amplified;
mod amplify;
mod bystander;
mod connections;
mod contained;
mod counting;
mod descriptors;
mod flood;
#[cfg(all(target_os = "linux", feature = "security"))]
mod handshakes;
#[path = "../api/harness.rs"]
#[expect(dead_code, reason = "tests/api uses the rest")]
mod harness;
mod hoarding;
mod injection;
mod lies;
#[cfg(feature = "security")]
mod login;
mod produce;
#[path = "../../build/schema.rs"]
#[expect(dead_code, reason = "build.rs uses the rest")]
mod schema;
mod stalled;
mod victim;
mod waiting;
