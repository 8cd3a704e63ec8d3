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
        title: "Named as Kafka's own",
        about: "What Kafka measures too, named as the usual rules for its JMX beans name it, so that dashboards made \
                for those find it. A counter of topics has a row with an empty topic that counts all of them, also those \
                that were deleted.",
        families: kafka::FAMILIES,
    },
    Section {
        title: "Named as by kafka_exporter",
        about: "Partitions and groups, under the names of the exporter that is often run beside Kafka.",
        families: exporter::FAMILIES,
    },
    Section { title: "Ours", about: "What has no usual name.", families: ours::FAMILIES },
    Section {
        title: "Of the process",
        about: "Named as by every Prometheus client library. On Linux only, but for the start.",
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
