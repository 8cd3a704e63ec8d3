//! The features that clients negotiate (KIP-584): the levels that this broker supports and has finalized.
//! ApiVersions returns them, UpdateFeatures would change them.

use std::ops::RangeInclusive;

/// A feature and its levels. Clients rely on a level, so one is added here only when everything behind it
/// works.
pub struct Feature {
    pub name: &'static str,
    pub supported: RangeInclusive<i16>,
    pub finalized: i16,
}

/// As in Kafka 4.4. The first one promises eligible leader replicas (KIP-966). The others promise nothing
/// and are what tools print.
pub const FEATURES: &[Feature] = &[
    Feature { name: "eligible.leader.replicas.version", supported: 0..=1, finalized: 1 },
    Feature { name: "kraft.version", supported: 0..=1, finalized: 1 },
    Feature { name: "metadata.version", supported: 7..=33, finalized: 33 },
];

/// Clients would ignore the finalized features if this were negative. Ours change only with the version
/// of Jackdaw.
pub const FINALIZED_EPOCH: i64 = 0;

pub fn find(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}
