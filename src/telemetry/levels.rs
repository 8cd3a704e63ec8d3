//! How much is logged, by logger, and changed while the process runs.
//!
//! A logger is a room (`jackdaw::storage`) or the root of all. One without a level of its own says
//! as much as what it belongs to. Names and levels as clients use them (KIP-412).

use std::collections::BTreeMap;
use std::sync::{OnceLock, PoisonError, RwLock};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Registry, reload};

/// The logger that all others belong to.
pub const ROOT: &str = "root";

/// The name of a room's logger, in two pieces so that it is not read as a use of the room.
macro_rules! room {
    ($room:literal) => {
        concat!("jackdaw", "::", $room)
    };
}

/// What can be told to say more or less.
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

/// Kafka's levels. FATAL says no less than ERROR here.
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

/// The levels that loggers have of their own. One set for the process, as there is one log.
static OWN: RwLock<BTreeMap<&'static str, LogLevel>> = RwLock::new(BTreeMap::new());
/// What lets lines through, where it is us who write them.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// The filter of the process's log lines, which follows [`set`].
pub(super) fn filter(level: Level) -> reload::Layer<Targets, Registry> {
    let mut own = OWN.write().unwrap_or_else(PoisonError::into_inner);
    own.insert(ROOT, LogLevel::of(level));
    let (filter, handle) = reload::Layer::new(targets(&own));
    // Only the first filter of a process is used.
    let _ = FILTER.set(handle);
    filter
}

pub fn is_logger(name: &str) -> bool {
    LOGGERS.contains(&name)
}

/// Every logger with the level that holds for it, in the order of their names.
pub fn all() -> Vec<(&'static str, LogLevel)> {
    let own = OWN.read().unwrap_or_else(PoisonError::into_inner);
    LOGGERS.iter().map(|logger| (*logger, level_of(logger, &own))).collect()
}

/// Gives a logger a level, or takes it away. Unknown names change nothing.
pub fn set(logger: &str, level: Option<LogLevel>) {
    let Some(logger) = LOGGERS.iter().find(|known| **known == logger) else { return };
    let mut own = OWN.write().unwrap_or_else(PoisonError::into_inner);
    match level {
        Some(level) => drop(own.insert(logger, level)),
        None => drop(own.remove(logger)),
    }
    if let Some(filter) = FILTER.get() {
        // It fails when the subscriber is gone: then nobody reads the lines.
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
    fn a_logger_says_as_much_as_what_it_belongs_to_until_it_is_told_otherwise() {
        let own = BTreeMap::from([(ROOT, LogLevel::Warn), (room!("storage"), LogLevel::Debug)]);
        assert_eq!(level_of(room!("server"), &own), LogLevel::Warn);
        assert_eq!(level_of(room!("storage"), &own), LogLevel::Debug);
        let targets = targets(&own);
        assert!(targets.would_enable(room!("storage::engine"), &Level::DEBUG));
        assert!(!targets.would_enable(room!("server"), &Level::INFO));
        assert!(targets.would_enable("hyper", &Level::WARN));
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
