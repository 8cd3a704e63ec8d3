//! The outcome of each record that was accepted: it is written, or it is refused and its line is named.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::super::record::{NewRecord, native};
use super::super::{LastComplaint, reason_of, shown};
use crate::types::IgnorePoison;

/// The maximum number of reasons with one code that are kept apart.
const MOST_REASONS: usize = 20;

/// The beginning of librdkafka's words for an error that a broker answered.
const OF_BROKER: &str = "Broker: ";

/// A record that was handed to librdkafka.
pub struct Job {
    pub number: u64,
    pub record: NewRecord,
    /// Whether it is the only record of its batch, so that no other record can be the reason of a refusal.
    pub is_alone: bool,
}

/// The reason why a record was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteFailure {
    /// `None` if the line itself is at fault.
    pub code: Option<Code>,
    pub words: String,
    /// Whether the record may be written nevertheless, because only the answer is missing.
    pub is_open: bool,
}

impl WriteFailure {
    pub fn of_line(words: String) -> WriteFailure {
        WriteFailure { code: None, words, is_open: false }
    }

    /// For a record that a signal or another failure kept from being sent again.
    pub fn of_rest() -> WriteFailure {
        WriteFailure::of_line("refused because of another record in the batch, and not sent again".to_owned())
    }

    /// For a line that a signal kept from being sent more often than this.
    pub fn of_repeats(sent: u64) -> WriteFailure {
        let times = if sent == 1 { "once".to_owned() } else { format!("{sent} times") };
        WriteFailure::of_line(format!("a signal came when it had been sent {times}"))
    }

    pub fn of_code(code: Code, record: &NewRecord, partition: i32) -> WriteFailure {
        let topic = record.topic.as_deref().unwrap_or_default();
        let words = match code {
            Code::UnknownTopic | Code::UnknownTopicOrPartition => {
                format!("there is no topic {}, and the broker does not create it", shown(topic))
            }
            Code::UnknownPartition => format!("{} has no partition {partition}", shown(topic)),
            Code::InvalidRecord if record.key.is_none() => {
                format!("{}; a compacted topic accepts no record without a key", reason_of(code))
            }
            code => reason_of(code),
        };
        WriteFailure { code: Some(code), words, is_open: false }
    }
}

/// Lines that were not written for the same reason.
#[derive(Clone, Debug)]
pub struct Missing {
    pub why: WriteFailure,
    pub lines: Numbers,
}

/// The outcomes so far.
#[derive(Clone, Default)]
pub struct Outcomes {
    complaint: LastComplaint,
    written: Arc<AtomicU64>,
    /// The number of all outcomes: a record that is sent again has several.
    all: Arc<AtomicU64>,
    missing: Arc<Mutex<Vec<Missing>>>,
    /// The broker's reason for its last refusal that librdkafka retries. It is reported if the time runs out.
    retried: Arc<Mutex<Option<String>>>,
    /// Records that were refused because of another record in their batch.
    again: Arc<Mutex<Vec<Arc<Job>>>>,
}

impl Outcomes {
    pub fn new(complaint: LastComplaint) -> Outcomes {
        Outcomes { complaint, ..Outcomes::default() }
    }

    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    pub fn all(&self) -> u64 {
        self.all.load(Ordering::SeqCst)
    }

    pub fn missed(&self, line: u64, mut why: WriteFailure) {
        let mut missing = self.missing.lock().ignoring_poison();
        let alike = missing.iter().filter(|one| one.why.code == why.code).count();
        if alike >= MOST_REASONS && missing.iter().all(|one| one.why != why) {
            why.words = "other reasons".to_owned();
        }
        if let Some(one) = missing.iter_mut().find(|one| one.why == why) {
            return one.lines.add(line);
        }
        let mut lines = Numbers::default();
        lines.add(line);
        missing.push(Missing { why, lines });
    }

    pub fn retried(&self) -> Option<String> {
        self.retried.lock().ignoring_poison().clone()
    }

    pub fn missing(&self) -> Vec<Missing> {
        self.missing.lock().ignoring_poison().clone()
    }

    pub fn any(&self, is: impl Fn(&WriteFailure) -> bool) -> bool {
        self.missing.lock().ignoring_poison().iter().any(|one| is(&one.why))
    }

    /// Takes the records that have to be sent again, in the order of their lines.
    pub fn take_again(&self) -> Vec<Arc<Job>> {
        let mut again = std::mem::take(&mut *self.again.lock().ignoring_poison());
        again.sort_by_key(|job| job.number);
        again
    }
}

impl ClientContext for Outcomes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match error_of_attempt(facility, message) {
            // All other errors are errors of the connection.
            Some(why) => {
                *self.retried.lock().ignoring_poison() = why.strip_prefix(OF_BROKER).map(str::to_owned);
            }
            None => self.complaint.log(level, facility, message),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The connection to the broker failed later than its refusal.
        *self.retried.lock().ignoring_poison() = None;
        self.complaint.error(error, reason);
    }
}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = Arc<Job>;

    fn delivery(&self, result: &DeliveryResult<'_>, job: Arc<Job>) {
        self.all.fetch_add(1, Ordering::SeqCst);
        let (error, record) = match result {
            Ok(_) => {
                self.written.fetch_add(1, Ordering::SeqCst);
                *self.retried.lock().ignoring_poison() = None;
                return;
            }
            Err((error, record)) => (error, record),
        };
        let code = match code_of(error) {
            // The command gave it up, because the broker did not answer.
            Code::PurgeQueue | Code::PurgeInflight => Code::MessageTimedOut,
            code => code,
        };
        // The broker refuses a batch as a whole. Its records are sent again in smaller ones.
        let is_of_the_batch = matches!(code, Code::InvalidDifferentRecord | Code::MessageSizeTooLarge);
        if is_of_the_batch && !job.is_alone {
            self.again.lock().ignoring_poison().push(job);
            return;
        }
        let why = WriteFailure::of_code(code, &job.record, record.partition());
        self.missed(job.number, WriteFailure { is_open: native::may_be_written(record), ..why });
    }
}

/// The error in the line that librdkafka logs before it tries again: to send a batch, or to get the id of a producer. No
/// callback has it.
fn error_of_attempt<'m>(facility: &str, message: &'m str) -> Option<&'m str> {
    match facility {
        "MSGSET" => {
            let (_, rest) = message.split_once("encountered error: ")?;
            rest.split_once(" (actions ")
                .filter(|(_, actions)| actions.contains("Retry"))
                .map(|(error, _)| error)
        }
        "GETPID" => {
            let failed = message.strip_suffix(": retrying")?;
            let begin = failed.find(OF_BROKER).or_else(|| failed.find("Local: "))?;
            Some(&failed[begin..])
        }
        _ => None,
    }
}

pub fn code_of(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Unknown)
}

/// Line numbers, shown as `3, 7-9`.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// The first and last number of each run, in the order of arrival.
    runs: Vec<(u64, u64)>,
}

impl Numbers {
    fn add(&mut self, number: u64) {
        match self.runs.last_mut() {
            // A line that is sent repeatedly has one number.
            Some((_, last)) if *last == number => {}
            Some((_, last)) if *last + 1 == number => *last = number,
            Some(_) | None => self.runs.push((number, number)),
        }
    }

    pub fn is_one(&self) -> bool {
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
        assert_eq!(shown(&[2, 2, 3, 2]), "2-3");
    }

    #[test]
    fn the_reason_of_an_attempt_that_is_made_again_is_in_the_log_of_librdkafka() {
        let line = "[thrd:b:1/1]: b:1/1: t [0]: MessageSet with 2 message(s) (MsgId 1, BaseSeq 0) encountered error: \
                    Broker: Not enough in-sync replicas (actions Retry,MsgNotPersisted)";
        assert_eq!(error_of_attempt("MSGSET", line), Some("Broker: Not enough in-sync replicas"));
        assert_eq!(error_of_attempt("PRODUCE", line), None);
        assert_eq!(error_of_attempt("MSGSET", "t [0]: MessageSet with 1 message(s) delivered"), None);
        let line_of_id =
            "[thrd:main]: Failed to acquire idempotence PID from broker b:1/1: Broker: Disk error: retrying";
        assert_eq!(error_of_attempt("GETPID", line_of_id), Some("Broker: Disk error"));
        let outcomes = Outcomes::default();
        let log = |line: &str| {
            outcomes.log(RDKafkaLogLevel::Debug, "MSGSET", line);
            outcomes.retried()
        };
        assert_eq!(log(line).as_deref(), Some("Not enough in-sync replicas"));
        assert_eq!(
            log(&line.replace("Broker: Not", "Local: Not")),
            None,
            "the connection is the newer reason"
        );
    }

    #[test]
    fn lines_are_grouped_by_reason_and_each_is_named_however_many_reasons_there_are() {
        let outcomes = Outcomes::default();
        for line in 1..=100 {
            outcomes.missed(line, WriteFailure::of_line(format!("reason {}", line.min(50))));
        }
        let missing = outcomes.missing();
        assert_eq!(missing.len(), MOST_REASONS + 1);
        assert_eq!(
            (missing[0].why.words.as_str(), missing[0].lines.to_string()),
            ("reason 1", "1".to_owned())
        );
        let others = &missing[MOST_REASONS];
        assert_eq!(
            (others.why.words.as_str(), others.lines.to_string()),
            ("other reasons", "21-100".to_owned())
        );
    }
}
