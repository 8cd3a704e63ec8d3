//! The lines on standard output that the broker is ready, for people and for scripts that wait for them.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::broker::Broker;
use crate::telemetry::{self, LogFormat};

/// One line in the format of log lines, with the addresses that clients are given.
pub(super) fn line(broker: &Broker, format: LogFormat) -> String {
    match format {
        LogFormat::Text => format!("{}\n", sentence(broker)),
        LogFormat::Json => {
            let line = json!({
                "timestamp": telemetry::timestamp(),
                "level": "INFO",
                "message": sentence(broker),
                "advertised": broker.advertised(),
                "brokers": broker.brokers().len(),
                "data_dir": broker.data_dir().map(|path| absolute(path).to_string_lossy().into_owned()),
                "http": broker.http().map(|address| address.to_string()),
            });
            format!("{line}\n")
        }
    }
}

fn sentence(broker: &Broker) -> String {
    let advertised = broker.advertised().join(" ");
    let brokers = match broker.brokers().len() {
        1 => String::new(),
        several => format!("{several} brokers in one process with one copy of the data, "),
    };
    let data = match broker.data_dir() {
        Some(path) => {
            format!("data in {}, durability {}", absolute(path).display(), broker.settings().durability)
        }
        None => "data in memory, gone when it stops".to_owned(),
    };
    format!("jackdaw {} is ready at {advertised}, {brokers}{data}", env!("CARGO_PKG_VERSION"))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Pieces of Kafka's log lines, in any format of log lines. Tools that start Kafka's image, such as Testcontainers,
/// wait for one of them.
pub(super) fn in_words_of_kafka(broker: &Broker) -> String {
    let node = broker.settings().node_id;
    format!(
        "in the words of Kafka: [KafkaServer id={node}] started, Kafka Server started, \
         Transitioning from RECOVERY to RUNNING\n"
    )
}
