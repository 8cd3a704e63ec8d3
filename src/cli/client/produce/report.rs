//! The report at the end: a summary, and each line that was not written, with the reason.

use std::io::{self, IsTerminal, Write};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;
use serde_json::{Value, json};

use super::super::consume::only;
use super::super::{CommandOutcome, Failure, Output, shown};
use super::outcomes::Missing;
use super::{End, Work};

impl Work<'_> {
    pub fn report(&self, end: End, out: &mut Output<'_>) -> CommandOutcome {
        let written = self.outcomes.written();
        let refused = self.accepted - written;
        let (unsent, unread) = match end {
            End::Over => (None, None),
            End::Stopped(line) => (Some(line), None),
            End::Failed(error) => (None, Some(error)),
        };
        let reasons: Vec<(String, Reason)> =
            self.outcomes.missing().iter().map(|one| (one.lines.to_string(), self.reason(one))).collect();
        if self.session.json() {
            let refusals: Vec<Value> =
                reasons.iter().map(|(lines, why)| json!({ "lines": lines, "reason": why.words })).collect();
            let summary = json!({
                "topic": self.options.topic,
                "written": written,
                "refused": refused,
                "refusals": refusals,
                "unsent_from": unsent,
            });
            writeln!(out, "{summary}")?;
        } else if io::stderr().is_terminal() {
            eprintln!("{written} written, {refused} refused");
        }
        let mut sentences: Vec<String> = reasons.iter().map(|(_, why)| why.in_a_sentence.clone()).collect();
        if let Some(first) = sentences.first_mut() {
            first.insert_str(0, &self.headline(refused));
        }
        sentences.extend(unsent.map(|first| format!("nothing was sent from {} {first} on", self.unit())));
        if sentences.is_empty() {
            return unread.map_or(Ok(()), |error| Err(error.into()));
        }
        sentences.extend(unread.map(|error| format!("the input was not read to its end: {error}")));
        let is_unavailable = reasons.iter().any(|(_, why)| why.is_unavailable);
        let why = sentences.join("; ");
        Err(if is_unavailable { Failure::Unavailable(why) } else { Failure::Refused(why) })
    }

    fn unit(&self) -> &'static str {
        if self.options.files.is_empty() { "line" } else { "file" }
    }

    fn headline(&self, refused: u64) -> String {
        let to = self.options.topic.as_ref().map(|topic| format!(" to {}", shown(topic)));
        let unit = if self.options.repeat > 1 { "record" } else { self.unit() };
        format!("{refused} of {} {unit}s were not written{}: ", self.accepted, to.unwrap_or_default())
    }

    fn reason(&self, missing: &Missing) -> Reason {
        let Missing { why, lines } = missing;
        let code =
            why.code.filter(|code| *code != Code::MessageTimedOut || self.outcomes.retried().is_none());
        let failure = code.map(|code| {
            // A record runs into its timeout because the broker does not answer.
            let code = if code == Code::MessageTimedOut { Code::OperationTimedOut } else { code };
            self.session.failed(&KafkaError::MessageProduction(code))
        });
        let (mut words, is_unavailable) = match failure {
            Some(Failure::Unavailable(words)) => (words, true),
            _ if why.code == Some(Code::MessageTimedOut) => (self.refused_all_the_time(), false),
            _ => (why.words.clone(), false),
        };
        if why.is_open {
            words.push_str(", so they may be written nevertheless");
        }
        if why.code == Some(Code::UnknownPartition) {
            words.push_str(&self.partitions().unwrap_or_default());
        }
        let plural = if lines.is_one() { "" } else { "s" };
        Reason { in_a_sentence: format!("{}{plural} {lines}: {words}", self.unit()), words, is_unavailable }
    }

    fn refused_all_the_time(&self) -> String {
        let seconds = self.session.timeout().as_secs();
        let why = self.outcomes.retried().unwrap_or_default();
        format!("the broker did not accept it within {seconds} s: {why}")
    }

    /// The partitions that the topic has.
    fn partitions(&self) -> Option<String> {
        let topic = self.options.topic.as_deref()?;
        let metadata = self.producer.client().fetch_metadata(Some(topic), self.session.timeout()).ok()?;
        let count = metadata.topics().iter().find(|known| known.name() == topic)?.partitions().len();
        Some(only(count))
    }
}

struct Reason {
    words: String,
    /// With the numbers of the lines.
    in_a_sentence: String,
    is_unavailable: bool,
}
