//! The settings of a client metrics subscription (KIP-714).

use std::time::Duration;

use super::row::{Row, int, list, settings};
use super::value::Value;
use super::{AlterError, Overrides};
use crate::types::WholePattern;

settings! {
    /// A subscription: the metrics that selected clients push.
    #[derive(Clone, Debug)]
    pub struct ClientSubscription {
        /// The interval between two pushes of a client. If several subscriptions select it, the shortest counts, and
        /// 300000 is always one of them.
        interval: Duration = Value::millis, int("interval.ms", "300000").dynamic();
        /// The clients that are selected, as `property=regular expression`. The properties are `client_instance_id`,
        /// `client_id`, `client_software_name`, `client_software_version`, `client_source_address` and
        /// `client_source_port`. Every expression has to match the whole value. Empty: all clients.
        selected: Selection = Selection::of, list("match", "").dynamic();
        /// The beginnings of the names of the metrics; `*` means all.
        metrics: Vec<String> = Value::list, list("metrics", "").dynamic();
    }
    const ROWS
}

/// The interval of a client that no subscription selects.
pub const LONGEST_CLIENT_INTERVAL: Duration = Duration::from_mins(5);

impl ClientSubscription {
    /// The subscription with these settings. Settings that are no longer valid are ignored.
    pub fn of(own: &Overrides) -> ClientSubscription {
        let stored = |row: &Row| own.get(row.name).and_then(|written| row.read(written).ok());
        ClientSubscription::from_values(|row| stored(row).unwrap_or_else(|| row.default_value()))
    }
}

/// A property of a client by which it is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientProperty {
    InstanceId,
    ClientId,
    SoftwareName,
    SoftwareVersion,
    SourceAddress,
    SourcePort,
}

impl ClientProperty {
    fn named(name: &str) -> Option<ClientProperty> {
        Some(match name {
            "client_instance_id" => ClientProperty::InstanceId,
            "client_id" => ClientProperty::ClientId,
            "client_software_name" => ClientProperty::SoftwareName,
            "client_software_version" => ClientProperty::SoftwareVersion,
            "client_source_address" => ClientProperty::SourceAddress,
            "client_source_port" => ClientProperty::SourcePort,
            _ => return None,
        })
    }
}

/// The clients that a subscription selects.
#[derive(Clone, Debug, Default)]
pub struct Selection(Vec<(ClientProperty, WholePattern)>);

impl Selection {
    /// As in Kafka, the last expression of a property counts.
    fn of(value: &Value) -> Selection {
        let mut selection = Selection::default();
        for (property, expression) in value.list().iter().filter_map(|text| expression(text)) {
            selection.0.retain(|(other, _)| *other != property);
            selection.0.push((property, expression));
        }
        selection
    }

    /// Whether a client with these properties is selected.
    pub fn holds<'a>(&self, value: impl Fn(ClientProperty) -> &'a str) -> bool {
        self.0.iter().all(|(property, expression)| expression.matches(value(*property)))
    }
}

/// The memory of one compiled expression, at most.
const MOST_COMPILED: usize = 64 << 10;

/// Reads `property=regular expression`. The expression has to match the whole value.
fn expression(text: &str) -> Option<(ClientProperty, WholePattern)> {
    let (name, written) = text.split_once('=').filter(|(_, written)| !written.contains('='))?;
    let property = ClientProperty::named(name.trim())?;
    if written.is_empty() {
        return None;
    }
    Some((property, WholePattern::of_client(written.trim(), MOST_COMPILED).ok()?))
}

/// All settings of a subscription, by name.
pub(super) fn rows() -> &'static [Row] {
    ROWS
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
                if let Some(illegal) = patterns.iter().find(|text| expression(text).is_none()) {
                    return Err(AlterError::Config(format!("Illegal client matching pattern: {illegal}")));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
