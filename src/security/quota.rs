//! Quotas: which one applies to a client, and how much of it the client has used. Pure: the time is an argument.
//!
//! A quota is a rate. [`Rate`] measures the use in the last windows (`quota.window.num`); [`TokenBucket`] is for changes
//! of topics (KIP-599). [`Meters`] has one of them for each client that uses its quota.

mod bucket;
mod precedence;
mod rate;
mod used;

use std::time::Duration;

pub use bucket::TokenBucket;
pub use precedence::{Level, levels_of_client};
pub use rate::Rate;
pub use used::{IdleMeter, MOST_METERS, Meters};

use crate::config::BrokerSettings;

/// The use that a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaKind {
    /// Bytes of Produce requests per second.
    ProducerBytes,
    /// Bytes of Fetch responses per second.
    ConsumerBytes,
    /// The time that threads work for the client, in percent of one thread's time.
    RequestTime,
    /// Partitions that are created or deleted per second.
    ControllerMutations,
    /// New connections per second.
    ConnectionRate,
}

impl QuotaKind {
    pub const ALL: [QuotaKind; 5] = [
        QuotaKind::ProducerBytes,
        QuotaKind::ConsumerBytes,
        QuotaKind::RequestTime,
        QuotaKind::ControllerMutations,
        QuotaKind::ConnectionRate,
    ];

    /// Kafka's name of the value.
    pub fn name(self) -> &'static str {
        match self {
            QuotaKind::ProducerBytes => "producer_byte_rate",
            QuotaKind::ConsumerBytes => "consumer_byte_rate",
            QuotaKind::RequestTime => "request_percentage",
            QuotaKind::ControllerMutations => "controller_mutation_rate",
            QuotaKind::ConnectionRate => "connection_creation_rate",
        }
    }

    pub fn named(name: &str) -> Option<QuotaKind> {
        QuotaKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The windows in which use is measured. Both numbers are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    pub count: u32,
    pub size: Duration,
}

impl Windows {
    /// Those of all quotas, except that of created and deleted partitions.
    pub fn of_quotas(settings: &BrokerSettings) -> Windows {
        Windows { count: settings.quota_windows, size: settings.quota_window }
    }

    /// The time that all windows together cover.
    pub fn span(self) -> Duration {
        self.size.saturating_mul(self.count)
    }

    /// The time of the windows that are complete.
    pub fn complete(self) -> Duration {
        self.size.saturating_mul(self.count.saturating_sub(1))
    }
}

/// The wait that a rate asks for: whole milliseconds as in Kafka, and no more than a response can say.
fn rounded(seconds: f64) -> Duration {
    const MOST: Duration = Duration::from_millis(i32::MAX.unsigned_abs() as u64);
    Duration::try_from_secs_f64((seconds * 1000.0).round() / 1000.0).unwrap_or(MOST).min(MOST)
}
