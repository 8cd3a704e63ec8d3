//! The codec against two other codecs and against hostile bytes.
//!
//! - [`vectors`]: bytes from Apache Kafka 4.4's own classes, for every message and version
//! - [`second_codec`]: random values, through an independent codec and back
//! - [`hostile`]: wrong lengths and truncated messages, and the memory that they take
//! - [`rules`]: two rules by example
//! - [`live`]: a running broker that gets all of these
//! - [`fuzz`]: mutations; its functions are fuzz targets, which run here for a short while

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
