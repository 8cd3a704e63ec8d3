//! All metrics, declared once: name, help, and the source of their rows.

mod exporter;
mod kafka;
mod ours;
mod process;

use std::fmt;

use super::family::{Family, Kind, Rows};
use super::look::Look;

/// A section of the page in `docs`.
pub struct Section {
    pub title: &'static str,
    pub about: &'static str,
    pub families: &'static [Family],
}

pub const SECTIONS: &[Section] = &[
    Section {
        title: "Kafka's metrics",
        about: "Metrics that Kafka has too, with the names that the usual JMX exporter rules give them, so that existing \
                dashboards work. A counter of topics has a row with an empty topic that counts all topics, also deleted \
                ones.",
        families: kafka::FAMILIES,
    },
    Section {
        title: "kafka_exporter's metrics",
        about: "Partitions and groups, with the names of the exporter that often runs beside Kafka.",
        families: exporter::FAMILIES,
    },
    Section {
        title: "Jackdaw's metrics",
        about: "Metrics that have no established name.",
        families: ours::FAMILIES,
    },
    Section {
        title: "The process",
        about: "The names are those of Prometheus' client libraries. Only on Linux, except the start time.",
        families: process::FAMILIES,
    },
];

pub fn families() -> impl Iterator<Item = &'static Family> {
    SECTIONS.iter().flat_map(|section| section.families)
}

type Write = fn(&Look, &mut Rows<'_>) -> fmt::Result;

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    rows: Write,
) -> Family {
    Family { name, kind: Kind::Counter, labels, help, rows }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    rows: Write,
) -> Family {
    Family { name, kind: Kind::Gauge, labels, help, rows }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    rows: Write,
) -> Family {
    Family { name, kind: Kind::Histogram, labels, help, rows }
}

const TOPIC: &[&str] = &["topic"];
const PARTITION: &[&str] = &["topic", "partition"];
const GROUP: &[&str] = &["consumergroup"];
const GROUP_TOPIC: &[&str] = &["consumergroup", "topic"];
const GROUP_PARTITION: &[&str] = &["consumergroup", "topic", "partition"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_declared_once_and_can_be_read_by_prometheus() {
        let names: BTreeSet<&str> = families().map(|family| family.name).collect();
        assert_eq!(names.len(), families().count());
        let is_plain = |name: &str| {
            name.starts_with(|letter: char| letter.is_ascii_lowercase())
                && name
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
        };
        for family in families() {
            assert!(
                is_plain(family.name) && family.labels.iter().all(|label| is_plain(label)),
                "{}",
                family.name
            );
            assert!(!family.name.ends_with("_total"), "{}: the page adds it", family.name);
            assert!(!family.help.contains(['\\', '\n']) && family.help.ends_with('.'), "{}", family.name);
        }
    }
}
