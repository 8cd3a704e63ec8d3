//! `jackdaw produce TOPIC`: writes a record for each line of standard input.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use serde_json::json;

use super::{
    CommandOutcome, Connect, Exit, Failure, LastComplaint, Output, Progress, Session, reason_of, run, shown,
};
use crate::cli::serve::name_and_value;
use crate::types::IgnorePoison;

/// The maximum number of lines that are read ahead.
const AHEAD: usize = 1000;
/// The time that the loop waits before it checks for other events.
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    topic: String,
    /// The text between key and value in a line; without it the line is the value
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// A header for all records; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = name_and_value)]
    headers: Vec<(String, String)>,
    /// [default: chosen by the key, or any]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    #[arg(long, value_name = "CODEC", value_parser = ["none", "gzip", "snappy", "lz4", "zstd"], default_value = "none")]
    compression: String,
}

pub fn execute(options: Options) -> Exit {
    let connect = options.connect.clone();
    run(&connect, |session, out| produce(session, &options, out))
}

fn produce(session: &Session, options: &Options, out: &mut Output<'_>) -> CommandOutcome {
    let outcomes = Outcomes { complaint: session.complaint.clone(), ..Outcomes::default() };
    let results = outcomes.results.clone();
    let mut settings = session.settings(&[
        ("enable.idempotence", "true"),
        ("compression.codec", &options.compression),
        ("message.timeout.ms", &session.timeout().as_millis().to_string()),
    ]);
    // The broker may create a missing topic, if its settings allow it.
    settings.remove("allow.auto.create.topics");
    let producer: BaseProducer<Outcomes> =
        settings.create_with_context(outcomes).map_err(|error| session.failed(&error))?;

    session.listen_for_signals();
    let lines = read_lines();
    let mut progress = Progress::new("records", None, true);
    let mut read = 0;
    let mut unread = None;
    while !session.is_stopped() && !results.is_hopeless() {
        match lines.recv_timeout(TICK) {
            Ok(Ok(line)) => {
                read += 1;
                if let Err(why) = send(&producer, options, &line, read) {
                    results.missed(read, why);
                }
                producer.poll(Duration::ZERO);
            }
            Ok(Err(error)) => {
                unread = Some(error);
                break;
            }
            Err(RecvTimeoutError::Timeout) => producer.poll(Duration::ZERO),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        progress.at(results.written());
    }
    // librdkafka reports a record that is not delivered in time as a failure, so this loop ends.
    while producer.in_flight_count() > 0 {
        producer.poll(TICK);
        progress.at(results.written());
    }
    progress.end();

    let written = results.written();
    if session.json() {
        writeln!(out, "{}", json!({ "topic": options.topic, "written": written, "failed": read - written }))?;
    }
    match results.missing() {
        missing if missing.is_empty() => unread.map_or(Ok(()), |error| Err(error.into())),
        missing => Err(failure(session, options, &missing, read - written, read)),
    }
}

/// The failure with the lines that were not written, and the reasons.
fn failure(session: &Session, options: &Options, missing: &[Missing], lost: u64, read: u64) -> Failure {
    let mut is_unavailable = false;
    let mut reasons = Vec::new();
    for Missing { why, lines } in missing {
        let why = match why {
            Why::NoKey => {
                let separator = options.key_separator.as_deref().unwrap_or_default();
                format!("without \"{}\" there is no key", shown(separator))
            }
            Why::Failed(code) => match session.failed(&KafkaError::MessageProduction(*code)) {
                Failure::Unavailable(why) => {
                    is_unavailable = true;
                    why
                }
                _ if *code == RDKafkaErrorCode::MessageTimedOut => {
                    is_unavailable = true;
                    format!("no answer from {}", session.connect.bootstrap)
                }
                _ => reason_of(*code),
            },
        };
        let word = if lines.is_one() { "line" } else { "lines" };
        reasons.push(format!("{word} {lines}: {why}"));
    }
    let topic = shown(&options.topic);
    let why = format!("{lost} of {read} lines were not written to {topic}: {}", reasons.join("; "));
    if is_unavailable { Failure::Unavailable(why) } else { Failure::Refused(why) }
}

/// Reads standard input on its own thread, because reading blocks.
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

/// Submits a line. The producer reports its result with the line's number.
fn send(producer: &BaseProducer<Outcomes>, options: &Options, line: &[u8], number: u64) -> Result<(), Why> {
    let (key, value) = match &options.key_separator {
        None => (None, line),
        Some(separator) => split(line, separator.as_bytes()).ok_or(Why::NoKey)?,
    };
    let opaque = Box::new(number);
    let mut record: BaseRecord<'_, [u8], [u8], Box<u64>> =
        BaseRecord::with_opaque_to(&options.topic, opaque).payload(value);
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
            Err((error, _)) => return Err(Why::Failed(code_of(&error))),
        }
    }
}

fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}

/// Splits a line into key and value.
fn split<'a>(line: &'a [u8], separator: &[u8]) -> Option<(Option<&'a [u8]>, &'a [u8])> {
    let at = line.windows(separator.len()).position(|window| window == separator)?;
    Some((line.get(..at), line.get(at + separator.len()..)?))
}

#[derive(Default)]
struct Outcomes {
    complaint: LastComplaint,
    results: LineResults,
}

/// The results of the lines.
#[derive(Clone, Default)]
struct LineResults {
    written: Arc<AtomicU64>,
    missing: Arc<Mutex<Vec<Missing>>>,
}

/// Lines that were not written for the same reason.
#[derive(Clone, Debug)]
struct Missing {
    why: Why,
    lines: Numbers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    NoKey,
    Failed(RDKafkaErrorCode),
}

impl Why {
    /// Whether the error only concerns this line, and not the following ones.
    fn is_of_the_line(self) -> bool {
        match self {
            Why::NoKey => true,
            Why::Failed(code) => matches!(
                code,
                RDKafkaErrorCode::MessageSizeTooLarge
                    | RDKafkaErrorCode::InvalidMessage
                    | RDKafkaErrorCode::InvalidRecord
                    | RDKafkaErrorCode::InvalidTimestamp
            ),
        }
    }
}

impl LineResults {
    fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    fn missed(&self, line: u64, why: Why) {
        let mut missing = self.missing.lock().ignoring_poison();
        let at = missing.iter().position(|one| one.why == why).unwrap_or_else(|| {
            missing.push(Missing { why, lines: Numbers::default() });
            missing.len() - 1
        });
        if let Some(one) = missing.get_mut(at) {
            one.lines.add(line);
        }
    }

    fn missing(&self) -> Vec<Missing> {
        self.missing.lock().ignoring_poison().clone()
    }

    /// Whether the following lines would fail too.
    fn is_hopeless(&self) -> bool {
        let missing = self.missing.lock().ignoring_poison();
        missing.iter().any(|one| !one.why.is_of_the_line())
    }
}

/// Line numbers, shown as `3, 7-9`.
#[derive(Clone, Debug, Default)]
struct Numbers {
    /// The first and last number of each run, in the order of arrival.
    runs: Vec<(u64, u64)>,
}

impl Numbers {
    fn add(&mut self, number: u64) {
        match self.runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            Some(_) | None => self.runs.push((number, number)),
        }
    }

    fn is_one(&self) -> bool {
        matches!(self.runs[..], [(first, last)] if first == last)
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs = self.runs.clone();
        runs.sort_unstable();
        let mut joined = Numbers::default();
        for (first, last) in runs {
            match joined.runs.last_mut() {
                Some((_, end)) if *end + 1 >= first => *end = last.max(*end),
                Some(_) | None => joined.runs.push((first, last)),
            }
        }
        for (at, (first, last)) in joined.runs.into_iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl ClientContext for Outcomes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.complaint.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaint.error(error, reason);
    }
}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, line: Box<u64>) {
        match result {
            Ok(_) => {
                self.results.written.fetch_add(1, Ordering::SeqCst);
            }
            Err((error, _)) => self.results.missed(*line, Why::Failed(code_of(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_lines_are_shown_in_runs_whatever_order_they_came_in() {
        let shown = |numbers: &[u64]| {
            let mut all = Numbers::default();
            numbers.iter().for_each(|number| all.add(*number));
            all.to_string()
        };
        assert_eq!(shown(&[3]), "3");
        assert_eq!(shown(&[7, 8, 9, 3, 11, 10, 1]), "1, 3, 7-11");
    }

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
