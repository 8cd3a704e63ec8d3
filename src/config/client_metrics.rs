//! The settings of a client metrics subscription (KIP-714).

use std::sync::LazyLock;

use super::Overrides;
use super::alter::AlterError;
use super::row::{Row, Value};
use super::table;

/// The properties that clients can be selected by.
const MATCHES: &[&str] = &[
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// All settings of a subscription, by name.
pub(super) fn rows() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| table::rows(table::CLIENT_METRICS));
    &ROWS
}

pub(super) fn row(name: &str) -> Option<&'static Row> {
    rows().iter().find(|row| row.name == name)
}

/// Checks all settings of a subscription together.
pub(super) fn check(own: &Overrides) -> Result<(), AlterError> {
    for name in own.keys() {
        if row(name).is_none() {
            return Err(AlterError::Request(format!("Unknown client metrics configuration: {name}")));
        }
    }
    for row in rows() {
        let Some(written) = own.get(row.name) else { continue };
        match row.read(written)? {
            Value::Number(interval) if !(100..=3_600_000).contains(&interval) => {
                return Err(AlterError::Request(format!(
                    "Invalid value {interval} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
                )));
            }
            Value::List(patterns) if row.name == "match" => {
                for pattern in patterns {
                    let mut parts = pattern.split('=');
                    let (name, value, more) = (parts.next(), parts.next(), parts.next());
                    let is_known = name.is_some_and(|name| MATCHES.contains(&name.trim()));
                    if !is_known || value.is_none_or(str::is_empty) || more.is_some() {
                        return Err(AlterError::Config(format!(
                            "Illegal client matching pattern: {pattern}"
                        )));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
