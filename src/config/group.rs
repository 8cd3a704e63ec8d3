//! The settings of a group (KIP-848, KIP-932). They can be set before the group exists, and stay when it
//! is deleted.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::row::{Kind, Row, Value};
use super::{BrokerSettings, ConfigError, broker, table};

/// All settings of a group, by name.
pub(super) fn rows() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| table::rows(table::GROUP));
    &ROWS
}

pub(super) fn row(name: &str) -> Option<&'static Row> {
    rows().iter().find(|row| row.name == name)
}

/// The value from the broker's settings, for a group that does not set its own.
pub(super) fn inherited(row: &Row, settings: &BrokerSettings) -> Value {
    let Some(twin) = row.twin else { return row.default_value() };
    match settings.value(twin) {
        // The broker's value is a list of choices; the first one is the default.
        Value::List(all) if row.kind == Kind::Text => Value::Text(all.into_iter().next().unwrap_or_default()),
        value => value,
    }
}

/// Checks all settings of a group together.
pub(super) fn check(own: &BTreeMap<String, String>, settings: &BrokerSettings) -> Result<(), ConfigError> {
    for name in own.keys() {
        if row(name).is_none() {
            return Err(ConfigError::Conflict(format!("Unknown group config name: {name}")));
        }
    }
    let mut values = BTreeMap::new();
    for row in rows() {
        if let Some(written) = own.get(row.name) {
            values.insert(row.name, row.read(written)?);
        }
    }
    for (name, value) in &values {
        if let Value::Number(number) = value {
            within_bounds(name, *number, settings).map_err(ConfigError::Conflict)?;
        }
    }
    for kind in ["consumer", "share", "streams"] {
        let (session, heartbeat) =
            (format!("{kind}.session.timeout.ms"), format!("{kind}.heartbeat.interval.ms"));
        if !values.contains_key(session.as_str()) && !values.contains_key(heartbeat.as_str()) {
            continue;
        }
        let number = |name: &str| match (values.get(name), row(name)) {
            (Some(value), _) => value.number::<i64>(),
            (None, Some(row)) => inherited(row, settings).number(),
            (None, None) => 0,
        };
        if number(&session) <= number(&heartbeat) {
            return Err(ConfigError::Conflict(format!("{session} must be greater than {heartbeat}")));
        }
    }
    if let Some(name) = own.get("streams.assignor.name") {
        let known = settings.value("group.streams.assignors").list();
        if !known.contains(name) {
            return Err(ConfigError::Conflict(format!(
                "streams.assignor.name '{name}' is not a registered task assignor. Registered assignors are: [{}].",
                known.join(", ")
            )));
        }
    }
    match own.get("errors.deadletterqueue.topic.name") {
        Some(name) if name.starts_with("__") => Err(ConfigError::Conflict(
            "errors.deadletterqueue.topic.name: DLQ topic name must not start with '__'".to_owned(),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Checks a value against the broker's limits: `group.share.min.session.timeout.ms` and `…max…` for
/// `share.session.timeout.ms`.
fn within_bounds(name: &str, number: i64, settings: &BrokerSettings) -> Result<(), String> {
    let Some((kind, what)) = name.split_once('.') else { return Ok(()) };
    let what = what.strip_prefix("num.").unwrap_or(what);
    let bound = |which: &str| {
        let bound = broker::row(&format!("group.{kind}.{which}.{what}"))?;
        Some(settings.value(bound.name).number::<i64>())
    };
    match (bound("min"), bound("max")) {
        (Some(least), Some(most)) if !(least..=most).contains(&number) => {
            Err(format!("{name} must be in the range {least} to {most} inclusive."))
        }
        (None, Some(most)) if number > most => Err(format!("{name} must be less than or equal to {most}")),
        (Some(least), None) if number < least => {
            Err(format!("{name} must be greater than or equal to {least}"))
        }
        _ => Ok(()),
    }
}
