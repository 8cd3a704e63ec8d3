//! Metrics that Kafka also has, with the usual names of its JMX beans.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeGaugeValue;

use super::super::family::{Family, Rows};
use super::super::look::Look;
use super::{PARTITION, TOPIC, counter, gauge};
use crate::coordinator::group::GroupState;
use crate::kernel::Placement;
use crate::storage::{Partition, Traffic};

/// As in Kafka, a transaction is late only some time after the longest timeout.
const LATE: Duration = Duration::from_mins(5);

pub const FAMILIES: &[Family] = &[
    counter(
        "kafka_server_brokertopicmetrics_messagesin",
        TOPIC,
        "Records that were appended.",
        |look, rows| of_topics(look, rows, |traffic| traffic.records_in.get()),
    ),
    counter(
        "kafka_server_brokertopicmetrics_bytesin",
        TOPIC,
        "Bytes of the record batches that were appended.",
        |look, rows| of_topics(look, rows, |traffic| traffic.bytes_in.get()),
    ),
    counter(
        "kafka_server_brokertopicmetrics_bytesout",
        TOPIC,
        "Bytes of the record batches that were put into answers.",
        |look, rows| of_topics(look, rows, |traffic| traffic.bytes_out.get()),
    ),
    counter(
        "kafka_network_requestmetrics_requests",
        &["request", "version"],
        "Requests that were begun.",
        |look, rows| {
            for of in look.requests() {
                for (version, count) in of.versions() {
                    rows.counter(&[of.row.name.into(), version.into()], count)?;
                }
            }
            Ok(())
        },
    ),
    counter(
        "kafka_network_requestmetrics_errors",
        &["request", "error"],
        "Error codes in answers, one for each topic, partition, group … that has one; NONE is not counted. \
         A refused batch with acks=0 counts under the code that its answer would have had.",
        |look, rows| {
            for of in look.requests() {
                for (code, count) in of.refused() {
                    rows.counter(&[of.row.name.into(), code.name().into()], count)?;
                }
            }
            Ok(())
        },
    ),
    gauge("kafka_server_replicamanager_partitioncount", &[], "Partitions.", |look, rows| {
        rows.gauge(&[], look.topics.partitions())
    }),
    gauge("kafka_server_replicamanager_leadercount", &[], "Partitions that have a leader.", |look, rows| {
        count(look, rows, |_, placement| placement.leader.is_some())
    }),
    gauge(
        "kafka_server_replicamanager_underreplicatedpartitions",
        &[],
        "Partitions with a replica that is not in sync: with virtual brokers, while one is stopped.",
        |look, rows| count(look, rows, |_, placement| is_under_replicated(placement)),
    ),
    gauge(
        "kafka_server_replicamanager_offlinereplicacount",
        &[],
        "Partitions that are out of service because their files are damaged.",
        |look, rows| count(look, rows, |partition, _| partition.is_damaged()),
    ),
    gauge(
        "kafka_server_replicamanager_partitionswithlatetransactionscount",
        &[],
        "Partitions with a transaction that has been open for five minutes longer than `transaction.max.timeout.ms`.",
        |look, rows| {
            let latest = look.broker.first().services.settings().transaction_max_timeout + LATE;
            rows.gauge(&[], look.oldest_open.values().filter(|age| **age > latest).count())
        },
    ),
    gauge(
        "kafka_cluster_partition_laststableoffsetlag",
        PARTITION,
        "Offsets of a partition that consumers of committed records cannot read yet, because a transaction is open.",
        |look, rows| {
            of_partitions(look, rows, |partition, _| {
                let ends = partition.ends();
                ends.high_watermark.0.saturating_sub(ends.last_stable.0).max(0)
            })
        },
    ),
    gauge(
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        &[],
        "Partitions without a leader.",
        |look, rows| count(look, rows, |_, placement| placement.leader.is_none()),
    ),
    gauge("kafka_controller_kafkacontroller_activecontrollercount", &[], "Controllers: one.", |_, rows| {
        rows.gauge(&[], 1i64)
    }),
    gauge("kafka_controller_kafkacontroller_globaltopiccount", &[], "Topics.", |look, rows| {
        rows.gauge(&[], look.topics.iter().len())
    }),
    gauge("kafka_controller_kafkacontroller_globalpartitioncount", &[], "Partitions.", |look, rows| {
        rows.gauge(&[], look.topics.partitions())
    }),
    gauge("kafka_coordinator_group_groupmetadatamanager_numgroups", &[], "Groups.", |look, rows| {
        rows.gauge(&[], look.groups.len())
    }),
    gauge(
        "kafka_coordinator_group_groupmetadatamanager_numgroupsempty",
        &[],
        "Groups without members.",
        |look, rows| of_groups(look, rows, GroupState::Empty),
    ),
    gauge(
        "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance",
        &[],
        "Groups whose members are asked to join again.",
        |look, rows| of_groups(look, rows, GroupState::PreparingRebalance),
    ),
    gauge(
        "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance",
        &[],
        "Groups that wait for the assignment of their leader.",
        |look, rows| of_groups(look, rows, GroupState::CompletingRebalance),
    ),
    gauge(
        "kafka_coordinator_group_groupmetadatamanager_numgroupsstable",
        &[],
        "Groups in which nothing moves.",
        |look, rows| of_groups(look, rows, GroupState::Stable),
    ),
    gauge(
        "kafka_server_fetchsessioncache_numincrementalfetchsessions",
        &[],
        "Incremental fetch sessions.",
        |look, rows| rows.gauge(&[], look.sum(|server| server.services.fetch_sessions.len())),
    ),
    gauge("kafka_log_log_size", PARTITION, "Bytes of the segment files of a partition.", |look, rows| {
        of_partitions(look, rows, |partition, _| partition.size())
    }),
    gauge("kafka_log_log_numlogsegments", PARTITION, "Segment files of a partition.", |look, rows| {
        of_partitions(look, rows, |partition, _| partition.extents())
    }),
];

/// One row for all topics together, and one for each existing topic. For Prometheus an empty label is a
/// missing one, as in Kafka's row for all topics.
fn of_topics(look: &Look, rows: &mut Rows<'_>, value: fn(&Traffic) -> u64) -> fmt::Result {
    rows.counter(&["".into()], value(&look.store().counts().traffic))?;
    for topic in look.topics.iter() {
        let sum = topic.partitions.iter().map(|partition| value(&partition.traffic)).sum();
        rows.counter(&[(&*topic.name).into()], sum)?;
    }
    Ok(())
}

fn of_groups(look: &Look, rows: &mut Rows<'_>, state: GroupState) -> fmt::Result {
    rows.gauge(&[], look.groups.iter().filter(|group| group.state == state).count())
}

fn count(look: &Look, rows: &mut Rows<'_>, counts: fn(&Partition, &Placement) -> bool) -> fmt::Result {
    rows.gauge(
        &[],
        look.all_partitions().filter(|(partition, placement)| counts(partition, placement)).count(),
    )
}

pub(super) fn is_under_replicated(placement: &Placement) -> bool {
    placement.isr.len() < placement.replicas.len()
}

pub(super) fn of_partitions<V: EncodeGaugeValue>(
    look: &Look,
    rows: &mut Rows<'_>,
    value: fn(&Partition, &Placement) -> V,
) -> fmt::Result {
    look.partitions().try_for_each(|(partition, placement)| {
        let labels = [(&*partition.topic_name).into(), partition.index.into()];
        rows.gauge(&labels, value(partition, placement))
    })
}
