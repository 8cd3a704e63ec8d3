//! Log levels by logger, which can be changed while the process runs.
//!
//! A logger is a room (`jackdaw::storage`) or the root. A logger without its own level has its parent's.
//! Names and levels are as clients use them (KIP-412). Kafka's common loggers are other names of the room
//! that does the same work.

use std::collections::BTreeMap;
use std::sync::{OnceLock, RwLock};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Registry, reload};

use crate::types::IgnorePoison;

/// The parent of all other loggers.
pub const ROOT: &str = "root";

/// The name of a room's logger, in two parts so that the architecture test does not count it as a use of
/// the room.
macro_rules! room {
    ($room:literal) => {
        concat!("jackdaw", "::", $room)
    };
}

/// The loggers whose level can be set.
const LOGGERS: &[&str] = &[
    "jackdaw",
    room!("api"),
    room!("broker"),
    room!("cli"),
    room!("config"),
    room!("coordinator"),
    room!("http"),
    room!("server"),
    room!("storage"),
    ROOT,
];

/// Kafka's loggers, each with the corresponding one here.
const KAFKA_LOGGERS: &[(&str, &str)] = &[
    ("kafka.cluster.Partition", room!("storage")),
    ("kafka.log.LogCleaner", room!("storage")),
    ("kafka.network.ConnectionQuotas", room!("server")),
    ("kafka.network.DataPlaneAcceptor", room!("server")),
    ("kafka.network.Processor", room!("server")),
    ("kafka.network.RequestChannel$", room!("api")),
    ("kafka.network.SocketServer", room!("server")),
    ("kafka.request.logger", room!("api")),
    ("kafka.server.BrokerServer", room!("broker")),
    ("kafka.server.ConfigAdminManager", room!("config")),
    ("kafka.server.KafkaApis", room!("api")),
    ("kafka.server.KafkaRaftServer", room!("broker")),
    ("kafka.server.KafkaRequestHandler", room!("api")),
    ("kafka.server.ReplicaManager", room!("storage")),
    ("org.apache.kafka.controller.QuorumController", room!("storage")),
    ("org.apache.kafka.controller.ReplicationControlManager", room!("storage")),
    ("org.apache.kafka.coordinator.group.GroupCoordinatorService", room!("coordinator")),
    ("org.apache.kafka.coordinator.group.GroupCoordinatorShard", room!("coordinator")),
    ("org.apache.kafka.coordinator.group.GroupMetadataManager", room!("coordinator")),
    ("org.apache.kafka.coordinator.group.OffsetMetadataManager", room!("coordinator")),
    ("org.apache.kafka.server.DefaultAutoTopicCreationManager", room!("api")),
    ("org.apache.kafka.server.FetchSessionCacheShard", room!("api")),
    ("org.apache.kafka.storage.internals.log.LogCleaner", room!("storage")),
    ("org.apache.kafka.storage.internals.log.LogLoader", room!("storage")),
    ("org.apache.kafka.storage.internals.log.LogManager", room!("storage")),
    ("org.apache.kafka.storage.internals.log.LogSegment", room!("storage")),
    ("org.apache.kafka.storage.internals.log.ProducerStateManager", room!("storage")),
    ("org.apache.kafka.storage.internals.log.UnifiedLog", room!("storage")),
    ("state.change.logger", room!("storage")),
];

/// Kafka's levels. FATAL means ERROR here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub fn parse(name: &str) -> Option<LogLevel> {
        const ALL: [LogLevel; 6] = [
            LogLevel::Fatal,
            LogLevel::Error,
            LogLevel::Warn,
            LogLevel::Info,
            LogLevel::Debug,
            LogLevel::Trace,
        ];
        ALL.into_iter().find(|level| level.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Fatal => "FATAL",
            LogLevel::Error => "ERROR",
            LogLevel::Warn => "WARN",
            LogLevel::Info => "INFO",
            LogLevel::Debug => "DEBUG",
            LogLevel::Trace => "TRACE",
        }
    }

    fn of(level: Level) -> LogLevel {
        match level {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            Level::TRACE => LogLevel::Trace,
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            LogLevel::Fatal | LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

/// The levels that were set for loggers. They are global, because a process has one log.
static OWN: RwLock<BTreeMap<&'static str, LogLevel>> = RwLock::new(BTreeMap::new());
/// The filter of the log, if it is ours.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// The filter of the process's log lines, which follows [`set`].
pub(super) fn filter(level: Level) -> reload::Layer<Targets, Registry> {
    let mut own = OWN.write().ignoring_poison();
    own.insert(ROOT, LogLevel::of(level));
    let (filter, handle) = reload::Layer::new(targets(&own));
    // Only the first filter of a process is used.
    let _ = FILTER.set(handle);
    filter
}

pub fn is_logger(name: &str) -> bool {
    ours(name).is_some()
}

/// All loggers with their effective levels: our own, then Kafka's.
pub fn all() -> Vec<(&'static str, LogLevel)> {
    let own = OWN.read().ignoring_poison();
    let names = LOGGERS.iter().map(|logger| (*logger, *logger)).chain(KAFKA_LOGGERS.iter().copied());
    names.map(|(name, logger)| (name, level_of(logger, &own))).collect()
}

/// Our logger for a name.
fn ours(name: &str) -> Option<&'static str> {
    let kafkas = KAFKA_LOGGERS.iter().find(|(known, _)| *known == name).map(|(_, logger)| *logger);
    kafkas.or_else(|| LOGGERS.iter().find(|known| **known == name).copied())
}

/// Sets or removes the level of a logger. Does nothing for an unknown name.
pub fn set(logger: &str, level: Option<LogLevel>) {
    let Some(logger) = ours(logger) else { return };
    let mut own = OWN.write().ignoring_poison();
    match level {
        Some(level) => drop(own.insert(logger, level)),
        None => drop(own.remove(logger)),
    }
    if let Some(filter) = FILTER.get() {
        // It fails if the subscriber is gone. The lines are then not used any more.
        let _ = filter.reload(targets(&own));
    }
}

fn level_of(logger: &str, own: &BTreeMap<&'static str, LogLevel>) -> LogLevel {
    let parent = logger.rsplit_once("::").map_or(ROOT, |(parent, _)| parent);
    match own.get(logger) {
        Some(level) => *level,
        None if logger == ROOT => LogLevel::Info,
        None => level_of(parent, own),
    }
}

fn targets(own: &BTreeMap<&'static str, LogLevel>) -> Targets {
    let named = own.iter().filter(|(logger, _)| **logger != ROOT);
    Targets::new()
        .with_default(level_of(ROOT, own).filter())
        .with_targets(named.map(|(logger, level)| (*logger, level.filter())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logger_has_the_level_of_its_parent_until_it_gets_its_own() {
        let own = BTreeMap::from([(ROOT, LogLevel::Warn), (room!("storage"), LogLevel::Debug)]);
        assert_eq!(level_of(room!("server"), &own), LogLevel::Warn);
        assert_eq!(level_of(room!("storage"), &own), LogLevel::Debug);
        let targets = targets(&own);
        assert!(targets.would_enable(room!("storage::local::engine"), &Level::DEBUG));
        assert!(!targets.would_enable(room!("server"), &Level::INFO));
        assert!(targets.would_enable("hyper", &Level::WARN));
    }

    #[test]
    fn a_logger_of_kafka_is_another_name_of_one_of_ours() {
        assert!(KAFKA_LOGGERS.iter().all(|(_, logger)| LOGGERS.contains(logger)));
        assert_eq!(ours("kafka.server.KafkaApis"), Some(room!("api")));
        assert_eq!(ours(room!("api")), Some(room!("api")));
        assert!(!is_logger("kafka.server.NoSuchClass"));
    }

    #[test]
    fn every_level_of_kafka_is_known_and_nothing_else() {
        for level in ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"] {
            assert_eq!(LogLevel::parse(level).unwrap().name(), level);
        }
        assert_eq!(LogLevel::parse("info"), None);
        assert_eq!(LogLevel::parse("OFF"), None);
    }
}
