//! The names that were given, compared with the rows: settings without an effect, settings of single listeners, and
//! unknown names with the likely reason why they are set.

use super::prefix::base_of;
use super::providers::OF_PROVIDERS;
use super::row::Row;
use super::{Given, broker};

/// Settings of Kafka's brokers with ZooKeeper beside those that begin with `zookeeper.`. Kafka 4 has none of them.
const OF_ZOOKEEPER: &[&str] = &[
    "broker.id.generation.enable",
    "control.plane.listener.name",
    "password.encoder.cipher.algorithm",
    "password.encoder.iterations",
    "password.encoder.key.length",
    "password.encoder.keyfactory.algorithm",
    "password.encoder.old.secret",
    "password.encoder.secret",
    "reserved.broker.max.id",
];

/// The settings of other vendors' brokers and plugins begin so.
const OF_VENDORS: &[&str] = &["confluent.", "cruise.control.", "redpanda.", "strimzi."];

impl Given {
    /// Kafka's settings that are set but have no effect here.
    pub fn idle(&self) -> Vec<&'static str> {
        let idle = broker::rows().iter().filter(|row| !row.acts && self.get(row.name).is_some());
        idle.map(|row| row.name).collect()
    }

    /// The settings with a listener in front, each with the row of the setting without it.
    pub(super) fn of_listeners(&self) -> impl Iterator<Item = (&str, &'static Row)> {
        let names = self.names().filter(|name| base_of(name) != *name);
        names.filter_map(|name| Some((name, broker::row(base_of(name))?)))
    }

    /// The names that are no settings here. As in Kafka they are only worth a warning, because plugins and clients
    /// share such files.
    pub fn unknown(&self) -> impl Iterator<Item = UnknownName<'_>> {
        let is_unknown =
            |name: &&str| broker::row(base_of(name)).is_none() && !name.starts_with(OF_PROVIDERS);
        self.names().filter(is_unknown).map(UnknownName)
    }
}

/// A name that is no setting here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName<'a>(pub &'a str);

/// The thing that is meant by an unknown name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// ZooKeeper, which Kafka 4 and Jackdaw do without.
    ZooKeeper,
    OtherVendor,
    /// Perhaps this setting.
    Known(&'static str),
    Nothing,
}

impl UnknownName<'_> {
    pub fn meant(self) -> Meant {
        let name = self.0;
        if name.starts_with("zookeeper.") || OF_ZOOKEEPER.contains(&name) {
            return Meant::ZooKeeper;
        }
        if OF_VENDORS.iter().any(|vendor| name.starts_with(vendor)) {
            return Meant::OtherVendor;
        }
        nearest(name).map_or(Meant::Nothing, Meant::Known)
    }
}

/// The known name that takes the fewest changes, unless it takes too many.
fn nearest(name: &str) -> Option<&'static str> {
    let known = broker::rows().iter().map(|row| (distance(name, row.name), row.name));
    known.min().filter(|(changes, _)| *changes <= name.len() / 3).map(|(_, known)| known)
}

/// The number of letters to add, remove or replace.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other_letter) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != other_letter);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_reported_with_the_nearest_known_one() {
        let mut given = Given::default();
        let of_listener = "listener.name.internal.ssl.keystore.location";
        for name in ["num.partition", "num.partitions", "my.plugin.thing", of_listener] {
            given.set(name, "3");
        }
        let unknown: Vec<_> = given.unknown().map(|unknown| (unknown.0, unknown.meant())).collect();
        let expected =
            [("my.plugin.thing", Meant::Nothing), ("num.partition", Meant::Known("num.partitions"))];
        assert_eq!(unknown, expected);
    }

    #[test]
    fn names_of_zookeeper_and_of_other_vendors_are_not_compared_with_known_ones() {
        for name in [
            "zookeeper.connect",
            "zookeeper.connection.timeout.ms",
            "zookeeper.set.acl",
            "reserved.broker.max.id",
        ] {
            assert_eq!(UnknownName(name).meant(), Meant::ZooKeeper, "{name}");
        }
        for name in
            ["confluent.metrics.enable", "confluent.log.placement.constraints", "redpanda.storage.mode"]
        {
            assert_eq!(UnknownName(name).meant(), Meant::OtherVendor, "{name}");
        }
    }

    #[test]
    fn no_setting_of_kafka_is_taken_for_another() {
        for name in OF_ZOOKEEPER {
            assert!(broker::row(name).is_none(), "{name}");
        }
        let is_of_vendor = |name: &str| OF_VENDORS.iter().any(|vendor| name.starts_with(vendor));
        assert!(broker::rows().iter().all(|row| !is_of_vendor(row.name)));
    }
}
