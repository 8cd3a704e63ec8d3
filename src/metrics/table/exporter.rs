//! Metrics of partitions and groups, with the names of kafka_exporter.

use std::fmt;

use prometheus_client::encoding::EncodeGaugeValue;

use super::super::family::{Family, Rows};
use super::super::look::{GroupLag, Look, TopicSum};
use super::kafka::{is_under_replicated, of_partitions};
use super::{GROUP, GROUP_PARTITION, GROUP_TOPIC, PARTITION, TOPIC, gauge};

pub const FAMILIES: &[Family] = &[
    gauge("kafka_brokers", &[], "Brokers that run.", |look, rows| {
        rows.gauge(&[], look.topics.running().len())
    }),
    gauge("kafka_topic_partitions", TOPIC, "Partitions of a topic.", |look, rows| {
        look.topics.iter().try_for_each(|topic| rows.gauge(&[(&*topic.name).into()], topic.partitions.len()))
    }),
    gauge(
        "kafka_topic_partition_current_offset",
        PARTITION,
        "The end of a partition: the offset that its next record gets.",
        |look, rows| of_partitions(look, rows, |partition, _| partition.ends().high_watermark.0),
    ),
    gauge(
        "kafka_topic_partition_oldest_offset",
        PARTITION,
        "The first offset that a partition still holds.",
        |look, rows| of_partitions(look, rows, |partition, _| partition.ends().log_start.0),
    ),
    gauge(
        "kafka_topic_partition_leader",
        PARTITION,
        "The broker that leads a partition; -1 where none does.",
        |look, rows| of_partitions(look, rows, |_, placement| placement.leader.map_or(-1, |leader| leader.0)),
    ),
    gauge("kafka_topic_partition_replicas", PARTITION, "Replicas of a partition.", |look, rows| {
        of_partitions(look, rows, |_, placement| placement.replicas.len())
    }),
    gauge("kafka_topic_partition_in_sync_replica", PARTITION, "Replicas that are in sync.", |look, rows| {
        of_partitions(look, rows, |_, placement| placement.isr.len())
    }),
    gauge(
        "kafka_topic_partition_under_replicated_partition",
        PARTITION,
        "1 if not every replica of a partition is in sync.",
        |look, rows| of_partitions(look, rows, |_, placement| i64::from(is_under_replicated(placement))),
    ),
    gauge("kafka_consumergroup_members", GROUP, "Members of a group.", |look, rows| {
        look.groups.iter().try_for_each(|group| rows.gauge(&[(&group.name).into()], group.members))
    }),
    gauge(
        "kafka_consumergroup_current_offset",
        GROUP_PARTITION,
        "The offset that a group has committed.",
        |look, rows| of_standings(look, rows, |standing| Some(standing.committed.0)),
    ),
    gauge(
        "kafka_consumergroup_lag",
        GROUP_PARTITION,
        "Records from the committed offset of a group to the end of the partition.",
        |look, rows| of_standings(look, rows, |standing| Some(standing.lag)),
    ),
    gauge(
        "kafka_consumergroup_current_offset_sum",
        GROUP_TOPIC,
        "The committed offsets of a group, over all partitions of a topic.",
        |look, rows| of_sums(look, rows, |sum| sum.committed),
    ),
    gauge(
        "kafka_consumergroup_lag_sum",
        GROUP_TOPIC,
        "The lag of a group in records, over all partitions of a topic.",
        |look, rows| of_sums(look, rows, |sum| sum.lag),
    ),
];

/// One row for each partition with a committed offset for which `value` returns a value.
pub(super) fn of_standings<V: EncodeGaugeValue>(
    look: &Look,
    rows: &mut Rows<'_>,
    value: fn(&GroupLag) -> Option<V>,
) -> fmt::Result {
    for group in &look.groups {
        for standing in &group.partitions {
            let Some(value) = value(standing) else { continue };
            let labels = [(&group.name).into(), (&*standing.topic).into(), standing.partition.into()];
            rows.gauge(&labels, value)?;
        }
    }
    Ok(())
}

fn of_sums<V: EncodeGaugeValue>(look: &Look, rows: &mut Rows<'_>, value: fn(&TopicSum) -> V) -> fmt::Result {
    for group in &look.groups {
        for sum in &group.topics {
            rows.gauge(&[(&group.name).into(), (&*sum.topic).into()], value(sum))?;
        }
    }
    Ok(())
}
