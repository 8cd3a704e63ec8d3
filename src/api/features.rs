//! The features that clients negotiate (KIP-584): the levels that this broker supports and has finalized.
//! ApiVersions returns them, UpdateFeatures changes them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::kernel;

/// A feature and its levels. Clients rely on a level, so one is added here only when everything behind it
/// works.
pub struct Feature {
    pub name: &'static str,
    pub supported: RangeInclusive<i16>,
    /// The finalized level until an operator sets another one.
    pub initial: i16,
    /// Whether UpdateFeatures may set another level.
    pub may_change: bool,
}

pub const TRANSACTION_VERSION: &str = "transaction.version";

/// As in Kafka 4.4. The first one promises eligible leader replicas (KIP-966). Level 2 of the last one promises
/// transactions by KIP-890. The others promise nothing and are what tools print.
pub const FEATURES: &[Feature] = &[
    Feature { name: "eligible.leader.replicas.version", supported: 0..=1, initial: 1, may_change: false },
    Feature { name: "kraft.version", supported: 0..=1, initial: 1, may_change: false },
    Feature { name: "metadata.version", supported: 7..=33, initial: 33, may_change: false },
    Feature { name: TRANSACTION_VERSION, supported: 0..=2, initial: 2, may_change: true },
];

pub fn find(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

/// The finalized levels at one moment.
#[derive(Default)]
pub struct Finalized(Arc<kernel::Features>);

impl Finalized {
    pub fn new(set: Arc<kernel::Features>) -> Finalized {
        Finalized(set)
    }

    pub fn level(&self, feature: &Feature) -> i16 {
        self.0.level(feature.name).unwrap_or(feature.initial)
    }

    /// Rises with each change. Clients would ignore the finalized features if this were negative.
    pub fn epoch(&self) -> i64 {
        i64::try_from(self.0.changes()).unwrap_or(i64::MAX)
    }
}
