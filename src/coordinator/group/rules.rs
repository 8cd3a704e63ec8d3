//! The limits and timeouts of groups.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::BrokerSettings;

#[derive(Clone, Debug)]
pub struct Rules {
    pub session_timeout: RangeInclusive<Duration>,
    /// The time that the first member of a group waits for others.
    pub initial_delay: Duration,
    pub max_size: usize,
    pub offset_metadata_max: usize,
    pub offsets_retention: Duration,
    pub retention_check: Duration,
    /// The maximum size of a member's protocols and their metadata.
    pub member_bytes: usize,
    pub member_protocols: usize,
    /// The maximum number of groups. Over it a group without members and offsets is removed for a
    /// new one. If there is none, the new group is refused.
    pub max_groups: usize,
    /// The memory limit for all groups together. Over it, requests that need more memory are
    /// refused.
    pub total_bytes: usize,
}

impl From<&BrokerSettings> for Rules {
    fn from(settings: &BrokerSettings) -> Rules {
        Rules {
            session_timeout: settings.group_min_session..=settings.group_max_session,
            initial_delay: settings.group_initial_delay,
            max_size: settings.group_max_size as usize,
            offset_metadata_max: settings.offset_metadata_max as usize,
            offsets_retention: settings.offsets_retention,
            retention_check: settings.offsets_retention_check,
            member_bytes: 1024 * 1024,
            member_protocols: 64,
            max_groups: 100_000,
            total_bytes: settings.group_memory(),
        }
    }
}
