//! The settings of a topic: its own where it has them, else the broker's.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use super::row::{Millionths, Row, Value, boolean, double, int, list, long, settings, text};
use super::{BrokerSettings, ConfigError, table};

settings! {
    /// What a partition needs to know. Settings that Kafka also has, but that change nothing
    /// here, stand in [`table`]: accepted, checked and shown.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TopicSettings {
        /// What happens to old records: `delete` removes them by age and size, `compact` those whose key has
        /// a newer one, and asks every record for a key; an empty list keeps them all.
        cleanup: Cleanup = Cleanup::of,
            list("cleanup.policy", "delete").dynamic().twin("log.cleanup.policy").one_of(&["compact", "delete"]);
        /// How long a record is kept before its segment may be deleted; −1 keeps it for ever.
        retention: Option<Duration> = Value::millis_or_ever,
            long("retention.ms", "604800000").dynamic().at_least(-1).twin("log.retention.ms");
        /// How large a partition may grow before its oldest segments are deleted; −1 sets no limit.
        retention_bytes: Option<u64> = Value::limit,
            long("retention.bytes", "-1").dynamic().twin("log.retention.bytes");
        /// The size at which a new segment file is begun.
        segment_bytes: u64 = Value::number,
            int("segment.bytes", "1073741824").dynamic().at_least(1024 * 1024).twin("log.segment.bytes");
        /// The age at which a new segment file is begun even though the old one is not full.
        segment_age: Duration = Value::millis,
            long("segment.ms", "604800000").dynamic().at_least(1).twin("log.roll.ms");
        /// At most this much is taken off `segment.ms`, differently for each partition, so that
        /// partitions do not all begin a new segment at once.
        segment_jitter: Duration = Value::millis,
            long("segment.jitter.ms", "0").dynamic().at_least(0).twin("log.roll.jitter.ms");
        /// How long a record without a value, which says that its key is gone, outlives the compaction that
        /// first met it.
        delete_retention: Duration = Value::millis,
            long("delete.retention.ms", "86400000").dynamic().at_least(0).twin("log.cleaner.delete.retention.ms");
        /// The part of a log, in bytes, that has to be new since its last compaction before the next one.
        min_dirty: Millionths = Value::millionths,
            double("min.cleanable.dirty.ratio", "0.5").dynamic().between(0, 1)
                .twin("log.cleaner.min.cleanable.ratio");
        /// How long a record stays as it is before compaction may remove it.
        min_compaction_lag: Duration = Value::millis,
            long(MIN_COMPACTION_LAG, "0").dynamic().at_least(0).twin("log.cleaner.min.compaction.lag.ms");
        /// How long after it was written a segment is compacted at the latest, however little of the log is new.
        max_compaction_lag: Duration = Value::millis,
            long(MAX_COMPACTION_LAG, "9223372036854775807").dynamic().at_least(1)
                .twin("log.cleaner.max.compaction.lag.ms");
        /// The largest record batch that is accepted, as it comes over the wire.
        max_message_bytes: u32 = Value::number,
            int("max.message.bytes", "1048588").dynamic().at_least(0).twin("message.max.bytes");
        /// The largest record that is accepted inside a compressed batch, without the bytes of its length. A
        /// batch is decompressed as a stream and never held in memory as a whole. All of its records together
        /// may take at most 2147483639 bytes.
        max_decompressed_bytes: u32 = Value::number,
            int("max.decompressed.message.bytes", "2147483639").dynamic().at_least(1)
                .twin("max.decompressed.message.bytes");
        /// How far a record's timestamp may lie behind the broker's clock.
        timestamp_before_max: Duration = Value::millis,
            long("message.timestamp.before.max.ms", "9223372036854775807").dynamic().at_least(0)
                .twin("log.message.timestamp.before.max.ms");
        /// How far a record's timestamp may lie ahead of the broker's clock.
        timestamp_after_max: Duration = Value::millis,
            long("message.timestamp.after.max.ms", "3600000").dynamic().at_least(0)
                .twin("log.message.timestamp.after.max.ms");
        /// Whose clock a record's timestamp comes from: `CreateTime` is the producer's, `LogAppendTime` the
        /// broker's, as the record arrives.
        log_append_time: bool = |v| v.text() == "LogAppendTime",
            text("message.timestamp.type", "CreateTime").dynamic().twin("log.message.timestamp.type")
                .one_of(&["CreateTime", "LogAppendTime"]);
        /// The codec that batches are stored with: `producer` keeps what each producer chose, `uncompressed`
        /// none; with another, batches that come in a different one are compressed anew.
        compression: String = Value::text,
            text("compression.type", "producer").dynamic().twin("compression.type")
                .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);
        /// One entry of the offset and time index is made for about this many bytes of records.
        index_interval_bytes: u32 = Value::number,
            int("index.interval.bytes", "4096").dynamic().at_least(0).twin("log.index.interval.bytes");
        /// How many replicas have to be in step for `acks=all`, of as many as there are. One process
        /// that poses as several brokers has one copy all the same.
        min_insync_replicas: u32 = Value::number,
            int("min.insync.replicas", "1").dynamic().at_least(1).twin("min.insync.replicas");
        /// Whether a replica that is neither in the ISR nor in the ELR may become leader if no other one runs.
        /// Nothing is lost by it here, because there is one copy of the data.
        unclean_leader_election: bool = Value::flag,
            boolean("unclean.leader.election.enable", "false").dynamic().twin("unclean.leader.election.enable");
    }
    more {
        /// `flush.messages`, where the topic itself sets it.
        flush_messages: Option<u64>,
        /// `flush.ms`, where the topic itself sets it.
        flush_after: Option<Duration>,
    }
    const ACTING
}

/// Set on a topic, these two relax its durability; a broker-wide value does not.
const FLUSH_MESSAGES: Row = long("flush.messages", "9223372036854775807")
    .dynamic()
    .at_least(1)
    .twin("log.flush.interval.messages")
    .doc(
        "More than 1, set on a topic itself, relaxes its durability: acknowledgements do not wait for the disk, \
         records are synced soon after. Otherwise the broker's durability holds; other values are only shown.",
    );
const FLUSH_MS: Row = long("flush.ms", "9223372036854775807")
    .dynamic()
    .at_least(0)
    .twin("log.flush.interval.ms")
    .doc(
        "More than 0, set on a topic itself, relaxes its durability: acknowledgements do not wait for the disk, \
         records are synced soon after. Otherwise the broker's durability holds; other values are only shown.",
    );

/// As in Kafka a way to segments smaller than `segment.bytes` allows, for tests; shown to nobody.
const SMALL_SEGMENT: Row =
    int("internal.segment.bytes", "-1").doc("Replaces `segment.bytes`, without its lower bound. For tests.");

const MIN_COMPACTION_LAG: &str = "min.compaction.lag.ms";
const MAX_COMPACTION_LAG: &str = "max.compaction.lag.ms";

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
    /// The age at which a segment of the topic ends: what is to be compacted in time may not stay in the
    /// newest one, which is never compacted.
    pub fn roll_after(&self) -> Duration {
        match self.cleanup.compact {
            true => self.segment_age.min(self.max_compaction_lag),
            false => self.segment_age,
        }
    }

    /// The settings of a topic that sets `overrides` itself; refused as Kafka refuses them.
    pub fn resolve(
        overrides: &BTreeMap<String, String>,
        broker: &BrokerSettings,
    ) -> Result<TopicSettings, ConfigError> {
        // Kafka looks at all names before it looks at any value.
        for name in overrides.keys() {
            if row(name).is_none() {
                return Err(ConfigError::UnknownTopicSetting { name: name.clone() });
            }
        }
        let mut own = BTreeMap::new();
        for row in rows() {
            if let Some(written) = overrides.get(row.name) {
                own.insert(row.name, row.read(written)?);
            }
        }
        conflicts(&own, broker)?;
        Ok(TopicSettings::from(&own, broker))
    }

    /// What `overrides` come to that were checked when they were stored. One that is not valid any
    /// more, because a later version or the broker's own settings think otherwise, is left out and
    /// reported.
    pub fn of_stored(
        overrides: &BTreeMap<String, String>,
        broker: &BrokerSettings,
    ) -> (TopicSettings, Vec<ConfigError>) {
        let mut invalid = Vec::new();
        let mut own = BTreeMap::new();
        for (name, written) in overrides {
            let read = row(name).ok_or_else(|| ConfigError::UnknownTopicSetting { name: name.clone() });
            match read.and_then(|row| Ok((row.name, row.read(written)?))) {
                Ok((name, value)) => drop(own.insert(name, value)),
                Err(error) => invalid.push(error),
            }
        }
        (TopicSettings::from(&own, broker), invalid)
    }

    fn from(own: &BTreeMap<&'static str, Value>, broker: &BrokerSettings) -> TopicSettings {
        let mut settings = TopicSettings::from_values(
            |row| own.get(row.name).cloned().unwrap_or_else(|| inherited(row, broker)),
            own.get(FLUSH_MESSAGES.name).map(Value::number),
            own.get(FLUSH_MS.name).map(Value::millis),
        );
        let small_segment = own.get(SMALL_SEGMENT.name).and_then(Value::limit);
        settings.segment_bytes = small_segment.unwrap_or(settings.segment_bytes);
        settings
    }
}

/// Values that are right one by one and not together.
fn conflicts(own: &BTreeMap<&'static str, Value>, broker: &BrokerSettings) -> Result<(), ConfigError> {
    let number = |name: &str| match own.get(name) {
        Some(value) => value.number::<i64>(),
        None => row(name).map_or(0, |row| inherited(row, broker).number()),
    };
    let (least, most) = (number(MIN_COMPACTION_LAG), number(MAX_COMPACTION_LAG));
    if least > most {
        return Err(ConfigError::Conflict(format!(
            "conflict topic config setting {MIN_COMPACTION_LAG} ({least}) > {MAX_COMPACTION_LAG} ({most})"
        )));
    }
    if own.get("remote.storage.enable").is_some_and(Value::flag) {
        return Err(ConfigError::Conflict(
            "Tiered Storage functionality is disabled in the broker. \
             Topic cannot be configured with remote log storage."
                .to_owned(),
        ));
    }
    Ok(())
}

/// Every setting of a topic, by name; `internal.…` ones are not shown to clients.
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

fn inherited(row: &Row, broker: &BrokerSettings) -> Value {
    row.twin.map_or_else(|| row.default_value(), |twin| broker.value(twin))
}
