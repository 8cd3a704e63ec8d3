//! `jackdaw consume TOPIC`: prints the values of records, one per line, or whole records as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::group::resolve;
use super::position::Position;
use super::{
    CommandOutcome, Connect, Exit, Failure, LastComplaint, NamedPartition, Output, Progress, Session, find,
    partitions_of, reason_of, run, shown,
};

/// The time that the loop waits for records before it checks for other events.
const TICK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    topic: String,
    /// Read as a member of this group, and commit the records that were printed
    #[arg(long)]
    group: Option<String>,
    /// The position to start at; a group only starts there if it has no committed offset [default:
    /// beginning]
    #[arg(long, value_name = "POSITION", allow_hyphen_values = true, long_help = FROM)]
    from: Option<Position>,
    /// Only this partition; may be repeated
    #[arg(long = "partition", value_name = "NUMBER", conflicts_with = "group")]
    partitions: Vec<i32>,
    /// Stop after this many records
    #[arg(long)]
    count: Option<u64>,
    /// Stop at the ends of the partitions, instead of waiting for more records
    #[arg(long)]
    until_end: bool,
    /// Also print the key, separated from the value by this text
    #[arg(long, value_name = "TEXT")]
    key_separator: Option<String>,
}

const FROM: &str = "The first record: beginning, end, an OFFSET, -N for the last N records of each partition, or \
                    @TIME: @2026-11-25T08:00:00Z, @-90m (s, m, h, d) or @ and milliseconds since 1970. A group \
                    begins there only where it has committed nothing, and takes beginning or end [default: beginning]";

pub fn execute(options: Options) -> Exit {
    let connect = options.connect.clone();
    run(&connect, |session, out| consume(session, &options, out))
}

fn consume(session: &Session, options: &Options, out: &mut Output<'_>) -> CommandOutcome {
    let from = options.from.unwrap_or(Position::Beginning);
    let reset = match (&options.group, from) {
        (None, _) => "error",
        (Some(_), Position::Beginning) => "earliest",
        (Some(_), Position::End) => "latest",
        (Some(_), _) => {
            let why = "a group begins at the beginning or the end; `jackdaw group reset` sets it elsewhere";
            return Err(Failure::Usage(why.to_owned()));
        }
    };
    session.listen_for_signals();
    let own = [
        ("auto.offset.reset", reset),
        ("enable.auto.commit", if options.group.is_some() { "true" } else { "false" }),
        // Only printed records count as read.
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
    ];
    let consumer = session.consumer(options.group.as_deref(), &own)?;
    let metadata = session.metadata(&consumer)?;
    let partitions = partitions_of(find(&metadata, &options.topic)?);
    if options.group.is_some() {
        consumer.subscribe(&[&options.topic]).map_err(|error| session.failed(&error))?;
    } else {
        let mut assigned = TopicPartitionList::new();
        for ((topic, partition), offset) in starts(session, &consumer, options, &partitions, from)? {
            let added = assigned.add_partition_offset(&topic, partition, Offset::Offset(offset));
            added.map_err(|error| session.failed(&error))?;
        }
        consumer.assign(&assigned).map_err(|error| session.failed(&error))?;
    }
    let done = read(session, &consumer, options, out);
    // The offsets of printed records are committed even after a failure.
    if options.group.is_some() {
        match consumer.commit_consumer_state(CommitMode::Sync) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => return done.and(Err(session.failed(&error))),
        }
    }
    done
}

fn starts(
    session: &Session,
    consumer: &BaseConsumer<LastComplaint>,
    options: &Options,
    all: &[NamedPartition],
    from: Position,
) -> CommandOutcome<Vec<(NamedPartition, i64)>> {
    if let Some(missing) =
        options.partitions.iter().find(|wanted| all.iter().all(|(_, partition)| partition != *wanted))
    {
        return Err(Failure::refused(format_args!("{} has no partition {missing}", shown(&options.topic))));
    }
    let is_wanted = |partition: i32| options.partitions.is_empty() || options.partitions.contains(&partition);
    let wanted: Vec<NamedPartition> =
        all.iter().filter(|(_, partition)| is_wanted(*partition)).cloned().collect();
    resolve(session, consumer, &wanted, from)
}

fn read(
    session: &Session,
    consumer: &BaseConsumer<LastComplaint>,
    options: &Options,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let mut progress = Progress::new("records", options.count, !io::stdout().is_terminal());
    let mut printed: u64 = 0;
    // The newest record of each partition in the output buffer.
    let mut unstored: BTreeMap<i32, i64> = BTreeMap::new();
    let mut at_end: BTreeSet<i32> = BTreeSet::new();
    while !session.is_stopped() && options.count.is_none_or(|count| printed < count) {
        let next = match consumer.poll(Duration::ZERO) {
            None => {
                // No more records at the moment: flush the output.
                flush(consumer, options, &mut unstored, out)?;
                if options.until_end && is_over(consumer, &at_end) {
                    break;
                }
                consumer.poll(TICK)
            }
            next => next,
        };
        match next {
            None => {}
            Some(Ok(record)) => {
                print(session, options, &record, out)?;
                at_end.remove(&record.partition());
                unstored.insert(record.partition(), record.offset());
                printed += 1;
                progress.at(printed);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(at_end.insert(partition)),
            // Without a group, librdkafka asks for a coordinator nevertheless, and nobody needs it.
            Some(Err(error))
                if options.group.is_none()
                    && error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {}
            Some(Err(error)) => tolerate(session, &error)?,
        }
    }
    progress.end();
    flush(consumer, options, &mut unstored, out)
}

/// Ignores errors of connections, which librdkafka opens again. All other errors end the command.
fn tolerate(session: &Session, error: &KafkaError) -> CommandOutcome {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::Resolve,
        ) => Ok(()),
        Some(code) => Err(Failure::Refused(reason_of(code))),
        None => Err(session.failed(error)),
    }
}

/// Whether all assigned partitions are at their ends.
fn is_over(consumer: &BaseConsumer<LastComplaint>, at_end: &BTreeSet<i32>) -> bool {
    let assigned = consumer.assignment().map(|assigned| assigned.count()).unwrap_or(0);
    assigned > 0 && at_end.len() >= assigned
}

fn flush(
    consumer: &BaseConsumer<LastComplaint>,
    options: &Options,
    unstored: &mut BTreeMap<i32, i64>,
    out: &mut Output<'_>,
) -> CommandOutcome {
    out.flush()?;
    let printed = std::mem::take(unstored);
    if options.group.is_some() {
        for (partition, offset) in printed {
            // Ignored: the partition may have moved to another member in the meantime.
            let _ = consumer.store_offset(&options.topic, partition, offset);
        }
    }
    Ok(())
}

fn print(
    session: &Session,
    options: &Options,
    record: &BorrowedMessage<'_>,
    out: &mut Output<'_>,
) -> CommandOutcome {
    if session.json() {
        writeln!(out, "{}", as_json(record))?;
        return Ok(());
    }
    if let Some(separator) = &options.key_separator {
        out.write_all(record.key().unwrap_or_default())?;
        out.write_all(separator.as_bytes())?;
    }
    out.write_all(record.payload().unwrap_or_default())?;
    out.write_all(b"\n")?;
    Ok(())
}

fn as_json(record: &BorrowedMessage<'_>) -> Value {
    let headers = record.headers().into_iter().flat_map(Headers::iter);
    let headers: Vec<Value> =
        headers.map(|header| json!({ "key": header.key, "value": bytes(header.value) })).collect();
    json!({
        "topic": record.topic(),
        "partition": record.partition(),
        "offset": record.offset(),
        "timestamp": record.timestamp().to_millis(),
        "key": bytes(record.key()),
        "value": bytes(record.payload()),
        "headers": headers,
    })
}

/// Text as a string; other bytes as base64, so that nothing is lost.
fn bytes(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => json!(text),
        Some((bytes, Err(_))) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}
