//! The features that clients negotiate (KIP-584): what this broker supports, and at which level it
//! runs. ApiVersions tells them, UpdateFeatures would change them.

use std::ops::RangeInclusive;

/// A feature and its levels. A level is a promise that clients decide on, so one stands here only
/// when everything behind it works.
pub struct Feature {
    pub name: &'static str,
    pub supported: RangeInclusive<i16>,
    pub finalized: i16,
}

/// As Kafka 4.4. The first one promises that answers have room for eligible leader replicas, which
/// are always none; the others promise nothing and are what tools print.
pub const FEATURES: &[Feature] = &[
    Feature { name: "eligible.leader.replicas.version", supported: 0..=1, finalized: 1 },
    Feature { name: "kraft.version", supported: 0..=1, finalized: 1 },
    Feature { name: "metadata.version", supported: 7..=33, finalized: 33 },
];

/// Below 0 clients would ignore the finalized features. Ours change with the version only.
pub const FINALIZED_EPOCH: i64 = 0;

pub fn find(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}
