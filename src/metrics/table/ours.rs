//! Metrics without a usual name.

use super::super::family::Family;
use super::super::look::Look;
use super::exporter::of_standings;
use super::{GROUP_PARTITION, counter, gauge, histogram};
use crate::server::{Connections, Reason};
use crate::storage::TroubleKind;
use crate::telemetry;

pub const FAMILIES: &[Family] = &[
    gauge(
        "jackdaw_info",
        &["version", "cluster_id", "durability"],
        "1: what this broker is, and when it acknowledges.",
        |look, rows| {
            let services = &look.broker.first().services;
            let cluster = services.cluster.cluster_id.to_string();
            let durability = services.settings().durability.to_string();
            rows.gauge(&[env!("CARGO_PKG_VERSION").into(), (&cluster).into(), (&durability).into()], 1i64)
        },
    ),
    gauge(
        "jackdaw_consumergroup_lag_seconds",
        GROUP_PARTITION,
        "How long what a group has not read has been waiting: the time since the largest timestamp of the batch \
         that holds the first record which the group has not committed (of the first batch there is, where that \
         record was deleted); 0 where the group is at the end. Timestamps are the producers' own. There is no row \
         where they left them out.",
        |look, rows| of_standings(look, rows, |standing| standing.lag_seconds),
    ),
    histogram(
        "jackdaw_request_duration_seconds",
        &["request"],
        "From when a request was begun until its answer was ready to leave, the waits for records, members and the \
         disk included.",
        |look, rows| {
            let asked = look.requests().filter(|of| of.versions().next().is_some());
            for of in asked {
                rows.histogram(&[of.row.name.into()], &of.took)?;
            }
            Ok(())
        },
    ),
    histogram(
        "jackdaw_sync_duration_seconds",
        &[],
        "How long it took the disk to make written records durable.",
        |look, rows| rows.histogram(&[], &look.store().counts().syncs),
    ),
    counter(
        "jackdaw_journal_rounds",
        &[],
        "Entries of the journal: what arrived together and became durable together.",
        |look, rows| rows.counter(&[], look.store().counts().rounds.get()),
    ),
    counter("jackdaw_journal_bytes", &[], "Bytes written to the journal.", |look, rows| {
        rows.counter(&[], look.store().counts().journal_bytes.get())
    }),
    counter("jackdaw_snapshots", &[], "Snapshots of the state.", |look, rows| {
        rows.counter(&[], look.store().counts().snapshots.get())
    }),
    counter(
        "jackdaw_scrub_bytes",
        &[],
        "Bytes of stored records that the scrub has checked against their checksums.",
        |look, rows| rows.counter(&[], look.store().counts().scrubbed.get()),
    ),
    gauge(
        "jackdaw_scrub_last_pass_timestamp_seconds",
        &[],
        "When the scrub last finished a pass over all stored records. There is no row before the first pass.",
        |look, rows| {
            let last = look.store().last_scrub();
            last.map_or(Ok(()), |last| rows.gauge(&[], last.0 as f64 / 1000.0))
        },
    ),
    gauge(
        "jackdaw_writable",
        &[],
        "1 while writes have a prospect; 0 once the journal has failed, until a restart.",
        |look, rows| rows.gauge(&[], i64::from(look.store().is_writable())),
    ),
    gauge(
        "jackdaw_disk_full",
        &[],
        "1 while writes are refused because the disk has no room.",
        |look, rows| rows.gauge(&[], i64::from(look.store().is_full())),
    ),
    gauge(
        "jackdaw_trouble",
        &["state"],
        "Problems of the broker; `/health` has the reasons. 0 means no problem. `journal_failed`: nothing is written \
         until a restart. `disk_full`: writes are refused until there is room. `partitions_out_of_service`: the \
         number of partitions with damaged files. `partitions_not_writable`: the number of partitions that refuse \
         records until their segments can be written again. `clock_untrusted`: the clock looks wrong. \
         `retention_halted`: records that should be deleted are kept.",
        |look, rows| {
            let troubles = look.store().troubles();
            TroubleKind::ALL.iter().try_for_each(|kind| {
                let count = troubles.iter().find(|trouble| trouble.kind == *kind).map_or(0, |one| one.count);
                rows.gauge(&[kind.name().into()], count)
            })
        },
    ),
    counter(
        "jackdaw_log_lines_dropped",
        &[],
        "Log lines that were dropped because earlier lines were not read, or because they could not be written.",
        |_, rows| rows.counter(&[], telemetry::dropped_lines()),
    ),
    gauge("jackdaw_disk_bytes", &[], "What the volume of the data directory holds.", |look, rows| {
        look.store().log_dir().space.map_or(Ok(()), |space| rows.gauge(&[], space.total))
    }),
    gauge("jackdaw_disk_free_bytes", &[], "What is free of it.", |look, rows| {
        look.store().log_dir().space.map_or(Ok(()), |space| rows.gauge(&[], space.free))
    }),
    gauge("jackdaw_connections", &[], "Connections of clients.", |look, rows| {
        rows.gauge(&[], of_connections(look, Connections::open))
    }),
    counter("jackdaw_connections_opened", &[], "Connections that clients opened.", |look, rows| {
        rows.counter(&[], of_connections(look, Connections::opened))
    }),
    counter(
        "jackdaw_connections_closed",
        &["reason"],
        "Connections that ended, by who or what ended them.",
        |look, rows| {
            Reason::ALL.iter().try_for_each(|reason| {
                let count = of_connections(look, |connections| connections.closed_for(*reason));
                rows.counter(&[reason.name().into()], count)
            })
        },
    ),
    gauge(
        "jackdaw_memory_bytes",
        &["budget"],
        "Memory held for clients: requests that are not answered, answers that are not read, groups, idempotent producers.",
        |look, rows| {
            look.budgets().into_iter().try_for_each(|(name, held, _)| rows.gauge(&[name.into()], held))
        },
    ),
    gauge("jackdaw_memory_limit_bytes", &["budget"], "What may be held for clients.", |look, rows| {
        look.budgets().into_iter().try_for_each(|(name, _, most)| rows.gauge(&[name.into()], most))
    }),
    gauge(
        "jackdaw_metrics_left_out",
        &["what"],
        "Rows that are not on this page: there are too many, or a time could not be found.",
        |look, rows| {
            let left_out = &look.left_out;
            rows.gauge(&["partitions".into()], left_out.partitions)?;
            rows.gauge(&["group_partitions".into()], left_out.group_partitions)?;
            rows.gauge(&["lag_seconds".into()], left_out.lag_seconds)
        },
    ),
];

fn of_connections(look: &Look, value: impl Fn(&Connections) -> u64) -> u64 {
    // All servers of a process share one counter.
    look.servers().first().map_or(0, |server| value(&server.connections))
}
