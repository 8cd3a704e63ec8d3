//! The settings of a topic, each as a row. `resolve.rs` gives them their values.

use std::sync::LazyLock;
use std::time::Duration;

use super::row::{Row, boolean, double, int, list, long, settings, text};
use super::table;
use super::value::{Millionths, Value};

settings! {
    /// The settings of a partition. Kafka's settings that have no effect here are in [`table`]: accepted,
    /// checked and shown.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TopicSettings {
        /// The handling of old records: `delete` removes them by age and size, `compact` removes records
        /// whose key has a newer record. With `compact` every record needs a key. An empty list keeps all
        /// records.
        cleanup: Cleanup = Cleanup::of,
            list("cleanup.policy", "delete").dynamic().twin("log.cleanup.policy").one_of(&["compact", "delete"]);
        /// The age at which the segment of a record may be deleted; −1 keeps records for ever.
        retention: Option<Duration> = Value::millis_or_ever,
            long("retention.ms", "604800000").dynamic().at_least(-1).twin("log.retention.ms");
        /// The size of a partition from which on its oldest segments are deleted; −1 sets no limit.
        retention_bytes: Option<u64> = Value::limit,
            long("retention.bytes", "-1").dynamic().twin("log.retention.bytes");
        /// The size at which a new segment file is started.
        segment_bytes: u64 = Value::number,
            int("segment.bytes", "1073741824").dynamic().at_least(1024 * 1024).twin("log.segment.bytes");
        /// The age at which a new segment file is started even if the old one is not full.
        segment_age: Duration = Value::millis,
            long("segment.ms", "604800000").dynamic().at_least(1).twin("log.roll.ms");
        /// The maximum reduction of `segment.ms`. It differs between partitions, so that they do not all
        /// start a new segment at once.
        segment_jitter: Duration = Value::millis,
            long("segment.jitter.ms", "0").dynamic().at_least(0).twin("log.roll.jitter.ms");
        /// The time that compaction keeps a tombstone (a record without a value), or the marker of a transaction
        /// without records, after it first met it.
        delete_retention: Duration = Value::millis,
            long("delete.retention.ms", "86400000").dynamic().at_least(0).twin("log.cleaner.delete.retention.ms");
        /// The fraction of a log, in bytes, that must have been written since its last compaction before
        /// it is compacted again.
        min_dirty: Millionths = Value::millionths,
            double("min.cleanable.dirty.ratio", "0.5").dynamic().between(0, 1)
                .twin("log.cleaner.min.cleanable.ratio");
        /// The minimum age of a record before compaction may remove it.
        min_compaction_lag: Duration = Value::millis,
            long(MIN_COMPACTION_LAG, "0").dynamic().at_least(0).twin("log.cleaner.min.compaction.lag.ms");
        /// The age at which a segment is compacted at the latest, even if little of the log is new.
        max_compaction_lag: Duration = Value::millis,
            long(MAX_COMPACTION_LAG, "9223372036854775807").dynamic().at_least(1)
                .twin("log.cleaner.max.compaction.lag.ms");
        /// The maximum size of a record batch as the client sends it.
        max_message_bytes: u32 = Value::number,
            int("max.message.bytes", "1048588").dynamic().at_least(0).twin("message.max.bytes");
        /// The maximum size of a record inside a compressed batch, without the bytes of its length. A
        /// batch is decompressed as a stream and never held in memory as a whole. All of its records
        /// together may take at most 2147483639 bytes.
        max_decompressed_bytes: u32 = Value::number,
            int("max.decompressed.message.bytes", "2147483639").dynamic().at_least(1)
                .twin("max.decompressed.message.bytes");
        /// The maximum time that a record's timestamp may be before the broker's clock.
        timestamp_before_max: Duration = Value::millis,
            long("message.timestamp.before.max.ms", "9223372036854775807").dynamic().at_least(0)
                .twin("log.message.timestamp.before.max.ms");
        /// The maximum time that a record's timestamp may be ahead of the broker's clock.
        timestamp_after_max: Duration = Value::millis,
            long("message.timestamp.after.max.ms", "3600000").dynamic().at_least(0)
                .twin("log.message.timestamp.after.max.ms");
        /// The source of a record's timestamp: `CreateTime` is the producer's clock, `LogAppendTime` the
        /// broker's, when the record arrives.
        log_append_time: bool = |v| v.text() == "LogAppendTime",
            text("message.timestamp.type", "CreateTime").dynamic().twin("log.message.timestamp.type")
                .one_of(&["CreateTime", "LogAppendTime"]);
        /// The codec for stored batches: `producer` keeps the producer's choice, `uncompressed` means
        /// none. With any other value, batches with another codec are compressed again.
        compression: String = Value::text,
            text("compression.type", "producer").dynamic().twin("compression.type")
                .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);
        /// The index of offsets and timestamps has one entry for about this many bytes of records.
        index_interval_bytes: u32 = Value::number,
            int("index.interval.bytes", "4096").dynamic().at_least(0).twin("log.index.interval.bytes");
        /// The minimum number of in-sync replicas for `acks=all`, limited to the number of replicas. All
        /// virtual brokers of a process share one copy of the data.
        min_insync_replicas: u32 = Value::number,
            int("min.insync.replicas", "1").dynamic().at_least(1).twin("min.insync.replicas");
        /// Whether a replica that is neither in the ISR nor in the ELR may become leader if no other one
        /// runs. No data is lost by it here, because there is one copy of the data.
        unclean_leader_election: bool = Value::flag,
            boolean("unclean.leader.election.enable", "false").dynamic().twin("unclean.leader.election.enable");
    }
    more {
        /// `flush.messages`, if the topic itself sets it.
        flush_messages: Option<u64>,
        /// `flush.ms`, if the topic itself sets it.
        flush_after: Option<Duration>,
    }
    const ACTING
}

/// These two relax a topic's durability if the topic itself sets them; the broker's values do not.
pub(super) const FLUSH_MESSAGES: Row = long("flush.messages", "9223372036854775807")
    .dynamic()
    .at_least(1)
    .twin("log.flush.interval.messages")
    .doc(
        "A value above 1 that the topic itself sets relaxes its durability: acknowledgements do not wait for the \
         disk, and records are synced soon after. Otherwise the broker's durability applies, and the value is only shown.",
    );
pub(super) const FLUSH_MS: Row = long("flush.ms", "9223372036854775807")
    .dynamic()
    .at_least(0)
    .twin("log.flush.interval.ms")
    .doc(
        "A value above 0 that the topic itself sets relaxes its durability: acknowledgements do not wait for the \
         disk, and records are synced soon after. Otherwise the broker's durability applies, and the value is only shown.",
    );

/// As in Kafka, for tests: allows segments smaller than `segment.bytes`. It is never shown.
pub(super) const SMALL_SEGMENT: Row =
    int("internal.segment.bytes", "-1").doc("Replaces `segment.bytes`, without its lower bound. For tests.");

pub(super) const MIN_COMPACTION_LAG: &str = "min.compaction.lag.ms";
pub(super) const MAX_COMPACTION_LAG: &str = "max.compaction.lag.ms";

/// `cleanup.policy`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    pub delete: bool,
    pub compact: bool,
}

impl Cleanup {
    fn of(value: &Value) -> Cleanup {
        let has = |policy: &str| value.list().iter().any(|one| one == policy);
        Cleanup { delete: has("delete"), compact: has("compact") }
    }
}

impl TopicSettings {
    /// The age at which a segment of the topic ends. The newest segment is never compacted, so it must
    /// end in time for `max.compaction.lag.ms`.
    pub fn roll_after(&self) -> Duration {
        if self.cleanup.compact { self.segment_age.min(self.max_compaction_lag) } else { self.segment_age }
    }
}

/// All settings of a topic, by name. Clients do not see `internal.…` settings.
pub(super) fn rows() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
        let mut rows = [ACTING, &[FLUSH_MESSAGES, FLUSH_MS, SMALL_SEGMENT]].concat();
        rows.extend(table::rows(table::TOPIC));
        rows.sort_by_key(|row| row.name);
        rows
    });
    &ROWS
}

pub(super) fn row(name: &str) -> Option<&'static Row> {
    let at = rows().binary_search_by_key(&name, |row| row.name).ok()?;
    rows().get(at)
}
