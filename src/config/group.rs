//! The settings of a group (KIP-848, KIP-932). They can be set before the group exists, and stay when it
//! is deleted.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::row::Row;
use super::rules::{self, Candidate};
use super::value::{Kind, Value};
use super::{BrokerSettings, ConfigError, Overrides, broker, table};

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

/// The current settings of a group: its own, and the broker's for the others.
#[derive(Clone, Copy, Debug)]
pub struct GroupSettings<'a> {
    own: Option<&'a Overrides>,
    broker: &'a BrokerSettings,
}

impl<'a> GroupSettings<'a> {
    pub fn new(own: Option<&'a Overrides>, broker: &'a BrokerSettings) -> GroupSettings<'a> {
        GroupSettings { own, broker }
    }

    /// The value of a setting that is a number; `None` if there is no such setting.
    pub fn number(&self, name: &str) -> Option<i64> {
        let value = self.value(row(name)?);
        if let Value::Number(number) = value { Some(number) } else { None }
    }

    /// A stored value that is no longer valid is ignored.
    pub(super) fn value(&self, row: &Row) -> Value {
        let own = self.own.and_then(|own| row.read(own.get(row.name)?).ok());
        own.unwrap_or_else(|| inherited(row, self.broker))
    }
}

/// Checks all settings of a group together.
pub(super) fn check(own: &Overrides, settings: &BrokerSettings) -> Result<(), ConfigError> {
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
    let inherited = |name: &str| match row(name) {
        Some(row) => Some(inherited(row, settings)),
        None => broker::row(name).map(|row| settings.value(row.name)),
    };
    Candidate { own: &values, inherited: &inherited }.keeps(rules::GROUP)
}
