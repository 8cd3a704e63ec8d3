//! The codec against two witnesses and against hostile bytes.
//!
//! - [`vectors`]: what Apache Kafka 4.4's own classes wrote, for every message and version
//! - [`second_codec`]: values that a test draws, through an independent codec and back
//! - [`hostile`]: lengths that lie, messages that are cut off, with what they cost in memory
//! - [`rules`]: two rules by example
//! - [`live`]: a running broker under all of that
//! - [`fuzz`]: mutations; its functions are fuzz targets, run here for a short while

#[path = "../counting/by_thread.rs"]
mod allocations;
mod fuzz;
mod hostile;
mod inspect;
mod live;
mod rules;
mod second_codec;
mod source;
mod vectors;
