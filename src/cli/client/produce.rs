//! `jackdaw produce TOPIC`: a record for each line of standard input.

use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use serde_json::json;

use super::{Connect, Done, Exit, Failure, Heard, Output, Progress, Session, run, said, shown};
use crate::cli::serve::name_and_value;

/// Lines that are read ahead.
const AHEAD: usize = 1000;
/// How long the loop waits before it looks around.
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    topic: String,
    /// What stands between key and value in a line; without it a line is a value
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// A header of every record; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = name_and_value)]
    headers: Vec<(String, String)>,
    /// [default: by the key, or any]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    #[arg(long, value_name = "CODEC", value_parser = ["none", "gzip", "snappy", "lz4", "zstd"], default_value = "none")]
    compression: String,
}

pub fn execute(options: Options) -> Exit {
    let connect = options.connect.clone();
    run(&connect, |session, out| produce(session, &options, out))
}

fn produce(session: &Session, options: &Options, out: &mut Output<'_>) -> Done {
    let outcomes = Outcomes { heard: session.heard.clone(), ..Outcomes::default() };
    let told = outcomes.told.clone();
    let mut settings = session.settings(&[
        ("enable.idempotence", "true"),
        ("compression.codec", &options.compression),
        ("message.timeout.ms", &session.timeout().as_millis().to_string()),
    ]);
    // A topic that is not there may be made by the broker, if it is set to.
    settings.remove("allow.auto.create.topics");
    let producer: BaseProducer<Outcomes> =
        settings.create_with_context(outcomes).map_err(|error| session.failed(&error))?;

    session.listen_for_signals();
    let lines = read_lines();
    let mut progress = Progress::new("records", None, true);
    let mut sent: u64 = 0;
    let mut unread = None;
    while !session.is_stopped() && told.first_failure().is_none() {
        match lines.recv_timeout(TICK) {
            Ok(Ok(line)) => {
                send(session, &producer, options, &line)?;
                sent += 1;
                producer.poll(Duration::ZERO);
            }
            Ok(Err(error)) => {
                unread = Some(error);
                break;
            }
            Err(RecvTimeoutError::Timeout) => producer.poll(Duration::ZERO),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        progress.at(told.written());
    }
    // What is not delivered within its time is told as a failure, so that this comes to an end.
    while producer.in_flight_count() > 0 {
        producer.poll(TICK);
        progress.at(told.written());
    }
    progress.end();

    let written = told.written();
    if session.json() {
        writeln!(out, "{}", json!({ "topic": options.topic, "written": written, "failed": sent - written }))?;
    }
    if let Some(code) = told.first_failure() {
        let missing = sent - written;
        let failure = session.failed(&KafkaError::MessageProduction(code));
        return Err(match failure {
            Failure::Unavailable(why) => Failure::Unavailable(format!("{missing} of {sent} records: {why}")),
            _ if code == RDKafkaErrorCode::MessageTimedOut => Failure::Unavailable(format!(
                "{missing} of {sent} records: no answer from {}",
                session.connect.bootstrap
            )),
            _ => Failure::refused(format_args!(
                "{missing} of {sent} records were not written to {}: {}",
                shown(&options.topic),
                said(code)
            )),
        });
    }
    unread.map_or(Ok(()), |error| Err(error.into()))
}

/// Reads standard input where waiting for it holds nothing up.
fn read_lines() -> Receiver<io::Result<Vec<u8>>> {
    let (lines, read) = mpsc::sync_channel(AHEAD);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let result = match input.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => Ok(without_end(line)),
                Err(error) => Err(error),
            };
            let is_over = result.is_err();
            if lines.send(result).is_err() || is_over {
                return;
            }
        }
    });
    read
}

fn without_end(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    line
}

fn send(session: &Session, producer: &BaseProducer<Outcomes>, options: &Options, line: &[u8]) -> Done {
    let (key, value) = match &options.key_separator {
        None => (None, line),
        Some(separator) => split(line, separator.as_bytes())
            .ok_or_else(|| Failure::Usage(format!("a line without \"{}\" has no key", shown(separator))))?,
    };
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&options.topic).payload(value);
    if let Some(key) = key {
        record = record.key(key);
    }
    if let Some(partition) = options.partition {
        record = record.partition(partition);
    }
    if !options.headers.is_empty() {
        let mut headers = OwnedHeaders::new();
        for (name, value) in &options.headers {
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
        record = record.headers(headers);
    }
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                producer.poll(TICK);
                record = again;
            }
            Err((error, _)) => return Err(session.failed(&error)),
        }
    }
}

/// Key and value of a line.
fn split<'a>(line: &'a [u8], separator: &[u8]) -> Option<(Option<&'a [u8]>, &'a [u8])> {
    let at = line.windows(separator.len()).position(|window| window == separator)?;
    Some((line.get(..at), line.get(at + separator.len()..)?))
}

#[derive(Default)]
struct Outcomes {
    heard: Heard,
    told: Told,
}

/// What became of the records.
#[derive(Clone, Default)]
struct Told {
    written: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<RDKafkaErrorCode>>>,
}

impl Told {
    fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    fn first_failure(&self) -> Option<RDKafkaErrorCode> {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Outcomes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.heard.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard.error(error, reason);
    }
}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.told.written.fetch_add(1, Ordering::SeqCst);
            }
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                self.told.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(code);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator_and_loses_its_end() {
        assert_eq!(split(b"a=>b=>c", b"=>"), Some((Some(&b"a"[..]), &b"b=>c"[..])));
        assert_eq!(split(b":value", b":"), Some((Some(&b""[..]), &b"value"[..])));
        assert_eq!(split(b"value", b":"), None);
        for (line, value) in [("a\n", "a"), ("a\r\n", "a"), ("a\r", "a\r"), ("\n", ""), ("a", "a")] {
            assert_eq!(without_end(line.into()), value.as_bytes());
        }
    }
}
