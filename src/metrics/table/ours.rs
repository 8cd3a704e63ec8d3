//! Metrics without a usual name.

#[cfg(feature = "security")]
use std::iter;

use super::super::family::Family;
use super::super::look::Look;
use super::exporter::of_standings;
use super::{GROUP_PARTITION, PARTITION, counter, gauge, histogram};
use crate::api::requests::Denial;
use crate::security::principal::{DenialReason, Forbidden};
use crate::security::quota::QuotaKind;
use crate::server::{Connections, Reason};
use crate::storage::TroubleKind;
use crate::telemetry;

pub const FAMILIES: &[Family] = &[
    gauge(
        "jackdaw_info",
        &["version", "cluster_id", "durability"],
        "Always 1. The labels have the version, the cluster id and the durability.",
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
        "The age of the oldest record that a group has not committed, in seconds, by the largest timestamp of its batch \
         (of the first batch there is, if that record was deleted). 0 if the group is at the end. Timestamps are \
         the producers' own. There is no row if they left them out.",
        |look, rows| of_standings(look, rows, |standing| standing.lag_seconds),
    ),
    gauge(
        "jackdaw_transactional_ids",
        &[],
        "Transactional ids, with and without an open transaction.",
        |look, rows| rows.gauge(&[], look.transactions.len()),
    ),
    gauge("jackdaw_transactions_open", &[], "Open transactions.", |look, rows| {
        rows.gauge(&[], look.transactions.count_open())
    }),
    counter(
        "jackdaw_transactions_ended",
        &["how"],
        "Transactions that ended. `committed` and `aborted`: by their producers. `timed_out`: aborted by the broker \
         because they were open for longer than their timeout. A transaction that a new producer with the same \
         transactional id has aborted counts as `aborted`.",
        |look, rows| {
            let counts = look.store().counts();
            rows.counter(&["committed".into()], counts.transactions_committed.get())?;
            rows.counter(&["aborted".into()], counts.transactions_aborted.get())?;
            rows.counter(&["timed_out".into()], counts.transactions_timed_out.get())
        },
    ),
    gauge(
        "jackdaw_transaction_oldest_open_seconds",
        PARTITION,
        "The age of the oldest open transaction that has records in a partition. Consumers of committed records wait \
         there. The time in which the broker did not run counts, unlike for the timeout. There is no row for a partition \
         without such a transaction.",
        |look, rows| {
            look.oldest_open.iter().try_for_each(|((topic, partition), age)| {
                rows.gauge(&[(&**topic).into(), (*partition).into()], age.as_secs_f64())
            })
        },
    ),
    #[cfg(feature = "security")]
    counter(
        "jackdaw_logins",
        &["listener", "mechanism", "outcome", "reason"],
        "Logins of clients by SASL, repeated ones included, and requests to the HTTP port with a user and a password \
         (listener `HTTP`, mechanism `BASIC`): `succeeded`, or `failed` with a reason. `credentials`: no such user, or another \
         password. `token`: it is expired, for others, or not of the issuer. `other_user`: the client wants to act as another \
         user than it logs in as, or has logged in as before. `malformed`: the mechanism expects another message. \
         `too_large`: the message is longer than sasl.server.max.receive.size. `not_offered`: the listener does not have the \
         mechanism, which counts as `other`.",
        |look, rows| {
            for ((listener, mechanism), logins) in look.broker.first().services.logins.all() {
                let failed = logins.failed().map(|(fault, count)| ("failed", fault.name(), count));
                for (outcome, reason, count) in iter::once(("succeeded", "", logins.succeeded)).chain(failed)
                {
                    let labels = [(&listener).into(), mechanism.into(), outcome.into(), reason.into()];
                    rows.counter(&labels, count)?;
                }
            }
            Ok(())
        },
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
        "1 while the journal works, also on a full disk; 0 after it has failed, until a restart.",
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
         `retention_halted`: records that should be deleted are kept. `backup_stalled`: files that are not needed any \
         more wait for a backup that makes no progress.",
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
    gauge(
        "jackdaw_disk_bytes",
        &[],
        "The size of the volume with the data directory, in bytes.",
        |look, rows| look.store().log_dir().space.map_or(Ok(()), |space| rows.gauge(&[], space.total)),
    ),
    gauge("jackdaw_disk_free_bytes", &[], "The free space of that volume, in bytes.", |look, rows| {
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
        "Connections that ended, by the reason. `too_large_before_login`: a request before the login was larger \
         than sasl.server.max.receive.size.",
        |look, rows| {
            Reason::ALL.iter().try_for_each(|reason| {
                let count = of_connections(look, |connections| connections.closed_for(*reason));
                rows.counter(&[reason.name().into()], count)
            })
        },
    ),
    #[cfg(feature = "security")]
    gauge(
        "jackdaw_tls_handshakes",
        &[],
        "TLS handshakes that are under way: from the whole first message of the client on, those that wait for their turn \
         included.",
        |look, rows| rows.gauge(&[], of_connections(look, Connections::handshakes)),
    ),
    counter(
        "jackdaw_tls_handshakes_failed",
        &["node_id", "listener", "reason"],
        "TLS handshakes that failed, by the reason. The HTTP server is the listener `HTTP` of the first broker.",
        |look, rows| {
            look.tls().try_for_each(|(node, tls)| {
                tls.failed().into_iter().try_for_each(|(listener, reason, count)| {
                    rows.counter(&[node.as_str().into(), listener.as_str().into(), reason.into()], count)
                })
            })
        },
    ),
    gauge(
        "jackdaw_tls_certificate_expiry_timestamp_seconds",
        &["node_id", "listener", "subject"],
        "The time at which a certificate expires: the broker's certificates, their issuers and, if clients are asked for \
         certificates, the first 100 of each trust store to expire. Of several with the same name only the earliest is shown.",
        |look, rows| {
            look.tls().try_for_each(|(node, tls)| {
                let mut expiries = tls.expiries();
                expiries.sort_by(|(a, one), (b, other)| {
                    (a, &one.subject, one.expires).cmp(&(b, &other.subject, other.expires))
                });
                expiries.dedup_by(|(a, one), (b, other)| a == b && one.subject == other.subject);
                expiries.into_iter().try_for_each(|(listener, expiry)| {
                    let labels =
                        [node.as_str().into(), listener.as_str().into(), expiry.subject.as_str().into()];
                    rows.gauge(&labels, expiry.expires.0 / 1000)
                })
            })
        },
    ),
    counter(
        "jackdaw_denials",
        &["listener", "resource", "reason"],
        "Accesses that were denied because the client lacks the right, by the kind of the resource. `not_allowed`: no access \
         control list allows it. `denied`: one denies it. The log has a line for each of them, but repeated ones are left out.",
        |look, rows| {
            let services = &look.broker.first().services;
            let denials = services.requests.denials();
            // Also those that did not happen yet, so that the first one shows in a rate.
            for listener in &services.settings().listeners {
                for (forbidden, reason) in all_denials() {
                    let denial = Denial { listener: listener.name.clone(), forbidden, reason };
                    let labels = [(&listener.name).into(), forbidden.name().into(), reason.name().into()];
                    rows.counter(&labels, denials.get(&denial).copied().unwrap_or(0))?;
                }
            }
            Ok(())
        },
    ),
    gauge(
        "jackdaw_memory_bytes",
        &["budget"],
        "Memory held for clients, in bytes: requests that are not answered (`small_requests` and `large_requests`), \
         `answers` that are not read, `groups`, idempotent `producers`, transactional ids (`transactions`) and the \
         metrics that clients push (`client_metrics`).",
        |look, rows| {
            look.budgets().into_iter().try_for_each(|(name, held, _)| rows.gauge(&[name.into()], held))
        },
    ),
    gauge(
        "jackdaw_memory_limit_bytes",
        &["budget"],
        "The limit of each budget of `jackdaw_memory_bytes`, in bytes.",
        |look, rows| {
            look.budgets().into_iter().try_for_each(|(name, _, most)| rows.gauge(&[name.into()], most))
        },
    ),
    counter(
        "jackdaw_throttled",
        &["quota"],
        "Answers after which a client was held back, or changes that were refused, because the client used more than \
         this quota. `connection_creation_rate`: connections that were closed after a wait.",
        |look, rows| {
            let throttles = &look.broker.first().services.throttles;
            QuotaKind::ALL
                .into_iter()
                .try_for_each(|kind| rows.counter(&[kind.name().into()], throttles.throttled(kind)))
        },
    ),
    gauge(
        "jackdaw_client_metrics_clients",
        &[],
        "Clients whose pushed metrics are on this page.",
        |look, rows| rows.gauge(&[], look.pushed.clients.len()),
    ),
    counter(
        "jackdaw_client_metrics_left_out",
        &[],
        "Values that clients pushed and that are not on this page: there was no room, a name was too long, or it was a histogram.",
        |look, rows| rows.counter(&[], look.pushed.left_out),
    ),
    gauge(
        "jackdaw_metrics_left_out",
        &["what"],
        "Rows that are not on this page: there are too many, a time could not be found, or clients push the metric with another kind.",
        |look, rows| {
            let left_out = &look.left_out;
            rows.gauge(&["partitions".into()], left_out.partitions)?;
            rows.gauge(&["transaction_partitions".into()], left_out.transaction_partitions)?;
            rows.gauge(&["group_partitions".into()], left_out.group_partitions)?;
            rows.gauge(&["lag_seconds".into()], left_out.lag_seconds)?;
            rows.gauge(&["client_metrics".into()], left_out.client_metrics)
        },
    ),
];

fn all_denials() -> impl Iterator<Item = (Forbidden, DenialReason)> {
    let of_resource = |forbidden: &Forbidden| {
        let forbidden = *forbidden;
        DenialReason::ALL.iter().map(move |reason| (forbidden, *reason))
    };
    Forbidden::ALL.iter().flat_map(of_resource)
}

fn of_connections(look: &Look, value: impl Fn(&Connections) -> u64) -> u64 {
    // All servers of a process share one counter.
    look.servers().first().map_or(0, |server| value(&server.connections))
}
