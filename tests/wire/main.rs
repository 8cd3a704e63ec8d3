//! The codec against two other codecs and against hostile bytes.
//!
//! - [`vectors`]: bytes from Apache Kafka 4.4's own classes, for every message and version
//! - [`second_codec`]: random values, through an independent codec and back
//! - [`hostile`]: wrong lengths and truncated messages, and the memory that they take
//! - [`rules`]: two rules by example
//! - [`live`]: a running broker that gets all of these
//! - [`recode`]: the fuzz targets; [`fuzz`]: mutations for them, and their corpus

#[path = "../counting/by_thread.rs"]
mod allocations;
#[path = "../fuzz/corpus.rs"]
mod corpus;
mod fuzz;
mod hostile;
mod inspect;
mod live;
mod recode;
mod rules;
mod second_codec;
mod source;
mod vectors;
