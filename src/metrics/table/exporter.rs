//! Partitions and groups, under the names that kafka_exporter gives them.

use std::fmt;

use prometheus_client::encoding::EncodeGaugeValue;

use super::super::family::{Family, Rows};
use super::super::look::{Look, Standing, TopicSum};
use super::kafka::of_partitions;
use super::{GROUP, GROUP_PARTITION, GROUP_TOPIC, PARTITION, TOPIC, gauge};

pub const FAMILIES: &[Family] = &[
    gauge("kafka_brokers", &[], "Brokers that clients are told of.", |look, rows| {
        rows.gauge(&[], look.servers().len())
    }),
    gauge("kafka_topic_partitions", TOPIC, "Partitions of a topic.", |look, rows| {
        look.topics.iter().try_for_each(|topic| rows.gauge(&[(&*topic.name).into()], topic.partitions.len()))
    }),
    gauge(
        "kafka_topic_partition_current_offset",
        PARTITION,
        "The end of a partition: the offset that its next record gets.",
        |look, rows| of_partitions(look, rows, |partition| partition.ends().high_watermark.0.unsigned_abs()),
    ),
    gauge(
        "kafka_topic_partition_oldest_offset",
        PARTITION,
        "The first offset that a partition still holds.",
        |look, rows| of_partitions(look, rows, |partition| partition.ends().log_start.0.unsigned_abs()),
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

/// A row for each partition that a group has an offset of and `value` something to say.
pub(super) fn of_standings<V: EncodeGaugeValue>(
    look: &Look,
    rows: &mut Rows<'_>,
    value: fn(&Standing) -> Option<V>,
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
