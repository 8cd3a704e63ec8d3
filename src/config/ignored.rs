//! Stored settings that are no longer valid, for example since an update. Each of them is ignored alone.

use super::row::Row;
use super::{ConfigError, IgnoredSetting, Overrides, client_metrics, group};

/// The settings of a group that are ignored.
pub fn invalid_of_group(own: &Overrides) -> Vec<IgnoredSetting> {
    invalid(own, group::row, "Unknown group config name")
}

/// The settings of a client metrics subscription that are ignored.
pub fn invalid_of_client_metrics(own: &Overrides) -> Vec<IgnoredSetting> {
    invalid(own, client_metrics::row, "Unknown client metrics configuration")
}

fn invalid(own: &Overrides, row: fn(&str) -> Option<&'static Row>, unknown: &str) -> Vec<IgnoredSetting> {
    let ignored = own.iter().filter_map(|(name, written)| {
        let error = match row(name) {
            Some(row) => row.read(written).err()?,
            None => ConfigError::Conflict(format!("{unknown}: {name}")),
        };
        Some(IgnoredSetting { name: name.clone(), error })
    });
    ignored.collect()
}
