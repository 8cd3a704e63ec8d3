//! `jackdaw transaction`: lists and describes transactions, finds those that hang, and aborts one. librdkafka has no
//! requests for this, so the program sends them itself.

mod hanging;

use std::io::Write;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::json;

use super::answers::Refusals;
use super::brokers::{Brokers, Coordinated};
use super::peer::{Peer, reason};
use super::table::Table;
use super::{CommandOutcome, Connect, Exit, Failure, Output, Session, position, run, shown};
use crate::api::error::ErrorCode;
use crate::kernel::{ProducerAt, STATE_NAMES};
use crate::protocol::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use crate::protocol::messages::describe_producers_response::ProducerState;
use crate::protocol::messages::describe_transactions_response::TransactionState;
use crate::protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use crate::protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, ListTransactionsRequest,
};
use crate::time::Clock;
use crate::types::{ProducerEpoch, ProducerId, Timestamp};

/// The states of a transaction that has not ended.
const OPEN: [&str; 3] = ["Ongoing", "PrepareCommit", "PrepareAbort"];

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List transactional ids with their states
    #[command(after_help = "Example:\n  jackdaw transaction list --state Ongoing --longer-than 10m")]
    List(Filter),
    /// Show the transactions of transactional ids
    #[command(after_help = "Example:\n  jackdaw transaction describe billing-1")]
    Describe {
        #[arg(required = true, value_name = "TRANSACTIONAL_ID", value_parser = NonEmptyStringValueParser::new())]
        ids: Vec<String>,
    },
    /// Find transactions that no coordinator will ever end
    ///
    /// Consumers with isolation.level=read_committed wait in their partitions until `abort` ends them.
    #[command(after_help = "Example:\n  jackdaw transaction find-hanging --topic orders")]
    FindHanging(hanging::Search),
    /// Abort a transaction in a partition, although its producer may still be running
    ///
    /// For a transaction that its producer no longer ends and that no timeout ends, so that consumers with
    /// isolation.level=read_committed wait in the partition.
    #[command(after_help = "Example:\n  jackdaw transaction abort orders 0 --start-offset 42")]
    Abort {
        topic: String,
        partition: i32,
        #[command(flatten)]
        which: TransactionToAbort,
    },
}

#[derive(Debug, Args)]
struct Filter {
    /// Only ids in this state; may be repeated
    #[arg(long = "state", value_name = "STATE", value_parser = state)]
    states: Vec<String>,
    /// Only the id of this producer; may be repeated
    #[arg(long = "producer", value_name = "PRODUCER_ID")]
    producers: Vec<i64>,
    /// Only transactions that have been open for longer than this: a number and s, m, h or d
    #[arg(long, value_name = "TIME", value_parser = position::duration)]
    longer_than: Option<Duration>,
    /// Only ids that match this regular expression (of the broker's dialect)
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
}

/// Kafka's name of a state. Upper and lower case are the same.
fn state(written: &str) -> Result<String, String> {
    let known = STATE_NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(written));
    known.map(str::to_owned).ok_or_else(|| format!("expected {}", STATE_NAMES.join(", ")))
}

/// The transaction to abort.
#[derive(Debug, Args)]
struct TransactionToAbort {
    /// The offset at which the transaction begins in the partition
    #[arg(long, value_name = "OFFSET", required_unless_present = "producer", conflicts_with = "producer")]
    start_offset: Option<i64>,
    /// The producer of the transaction, as ID:EPOCH
    #[arg(long, value_name = "ID:EPOCH", value_parser = producer)]
    producer: Option<ProducerAt>,
}

fn producer(written: &str) -> Result<ProducerAt, &'static str> {
    let (id, epoch) = written.split_once(':').ok_or("expected ID:EPOCH")?;
    match (id.parse(), epoch.parse()) {
        (Ok(id), Ok(epoch)) if id >= 0 && epoch >= 0 => {
            Ok(ProducerAt { id: ProducerId(id), epoch: ProducerEpoch(epoch) })
        }
        _ => Err("expected ID:EPOCH, two numbers"),
    }
}

pub fn execute(options: Options) -> Exit {
    let Options { connect, command } = options;
    run(&connect, |session, out| {
        let mut brokers = Brokers::of(session)?;
        match command {
            Command::List(filter) => list(session, &mut brokers, &filter, out),
            Command::Describe { ids } => describe(session, &mut brokers, &ids, out),
            Command::FindHanging(search) => search.run(session, &mut brokers, out),
            Command::Abort { topic, partition, which } => {
                abort(session, &mut brokers, &topic, partition, &which, out)
            }
        }
    })
}

fn list(
    session: &Session,
    brokers: &mut Brokers<'_>,
    filter: &Filter,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let request = filter.request();
    let mut found = Vec::new();
    for node in brokers.ids() {
        let broker = brokers.broker(node)?;
        let answer = broker.call(filter.least_version()..=2, &request)?;
        broker.accept(answer.error_code)?;
        found.extend(answer.transaction_states.into_iter().map(|state| (node, state)));
    }
    found.sort_by(|(_, one), (_, other)| one.transactional_id.cmp(&other.transactional_id));
    let mut table = Table::new(&["transactional_id", "coordinator", "producer_id", "state"]);
    for (node, state) in found {
        let (id, producer) = (state.transactional_id, state.producer_id);
        table.row([json!(id), json!(node), json!(producer), json!(state.transaction_state)]);
    }
    Ok(table.print(session.json(), out)?)
}

impl Filter {
    fn request(&self) -> ListTransactionsRequest {
        let states = match self.longer_than {
            // Kafka counts ids without a transaction among those of any duration.
            Some(_) if self.states.is_empty() => OPEN.map(str::to_owned).to_vec(),
            Some(_) | None => self.states.clone(),
        };
        ListTransactionsRequest {
            state_filters: states,
            producer_id_filters: self.producers.clone(),
            duration_filter: self
                .longer_than
                .map_or(-1, |longer| i64::try_from(longer.as_millis()).unwrap_or(i64::MAX)),
            transactional_id_pattern: self.pattern.clone(),
        }
    }

    /// The first version that has all filters.
    fn least_version(&self) -> i16 {
        match (self.longer_than, &self.pattern) {
            (_, Some(_)) => 2,
            (Some(_), None) => 1,
            (None, None) => 0,
        }
    }
}

fn describe(
    session: &Session,
    brokers: &mut Brokers<'_>,
    ids: &[String],
    out: &mut Output<'_>,
) -> CommandOutcome {
    let now = Clock::machine().now();
    let mut table = Table::new(&[
        "transactional_id",
        "coordinator",
        "producer_id",
        "epoch",
        "state",
        "timeout_ms",
        "started_ms",
        "open_ms",
        "partitions",
    ]);
    let mut refusals = Refusals::default();
    for id in ids {
        let Some((node, state)) = refusals.keep(state_of(brokers, id))? else { continue };
        let started = (state.transaction_start_time_ms >= 0).then_some(state.transaction_start_time_ms);
        let is_open = OPEN.contains(&state.transaction_state.as_str());
        let open = started.filter(|_| is_open).map(|started| now.since(Timestamp(started)).as_millis());
        let partitions = state.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| format!("{}-{partition}", topic.topic))
        });
        table.row([
            json!(id),
            json!(node),
            json!(state.producer_id),
            json!(state.producer_epoch),
            json!(state.transaction_state),
            json!(state.transaction_timeout_ms),
            json!(started),
            json!(open.map(|open| u64::try_from(open).unwrap_or(u64::MAX))),
            json!(partitions.collect::<Vec<_>>()),
        ]);
    }
    refusals.end_with(&table, session.json(), out)
}

/// The coordinator of the id, and what it knows of it.
fn state_of(brokers: &mut Brokers<'_>, id: &str) -> CommandOutcome<(i32, TransactionState)> {
    let request = DescribeTransactionsRequest { transactional_ids: vec![id.to_owned()] };
    let (node, answer) = brokers.ask_coordinator(
        (Coordinated::Transaction, id),
        None,
        |answer: &DescribeTransactionsResponse| {
            answer.transaction_states.first().map_or(0, |state| state.error_code)
        },
        |broker| broker.call(0..=0, &request),
    )?;
    let state = answer.transaction_states.into_iter().next();
    let state = state.ok_or_else(|| Failure::refused("the broker describes nothing"))?;
    if state.error_code == ErrorCode::TransactionalIdNotFound.code() {
        return Err(Failure::refused(format_args!("there is no transactional id {}", shown(id))));
    }
    if state.error_code != 0 {
        return Err(Failure::Refused(format!("{}: {}", shown(id), reason(state.error_code, None))));
    }
    Ok((node, state))
}

fn abort(
    session: &Session,
    brokers: &mut Brokers<'_>,
    topic: &str,
    partition: i32,
    which: &TransactionToAbort,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let broker = brokers.leader(topic, partition)?;
    let found = find(broker, topic, partition, which)?;
    let epoch =
        i16::try_from(found.producer_epoch).map_err(|_| broker.refused("its epoch is not a number"))?;
    let marker = WritableTxnMarker {
        producer_id: found.producer_id,
        producer_epoch: epoch,
        transaction_result: false,
        topics: vec![WritableTxnMarkerTopic { name: topic.to_owned(), partition_indexes: vec![partition] }],
        // As Kafka's tool: a producer without an earlier marker has no epoch of a coordinator yet.
        coordinator_epoch: found.coordinator_epoch.max(0),
        ..WritableTxnMarker::default()
    };
    let answer = broker.call(1..=1, &WriteTxnMarkersRequest { markers: vec![marker] })?;
    let topics = answer.markers.iter().flat_map(|marker| &marker.topics);
    let written = topics.flat_map(|topic| &topic.partitions).next();
    broker.accept(written.ok_or_else(|| broker.refused("it wrote nothing"))?.error_code)?;
    let (name, id) = (shown(topic), found.producer_id);
    if session.json() {
        let done = json!({ "topic": topic, "partition": partition, "producer_id": id, "epoch": epoch });
        writeln!(out, "{done}")?;
    } else {
        writeln!(out, "aborted the transaction of producer {id}, epoch {epoch}, in {name} {partition}")?;
    }
    Ok(())
}

/// The producer whose transaction in the partition is meant.
fn find(
    broker: &mut Peer,
    topic: &str,
    partition: i32,
    which: &TransactionToAbort,
) -> CommandOutcome<ProducerState> {
    let asked = TopicRequest { name: topic.to_owned(), partition_indexes: vec![partition] };
    let answer = broker.call(0..=0, &DescribeProducersRequest { topics: vec![asked] })?;
    let mut partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    let described = partitions.next().ok_or_else(|| broker.refused("it describes nothing"))?;
    broker.accept_with(described.error_code, described.error_message)?;
    let producers = described.active_producers.into_iter();
    let open: Vec<ProducerState> =
        producers.filter(|producer| producer.current_txn_start_offset >= 0).collect();
    let is_meant = |producer: &&ProducerState| match (which.start_offset, which.producer) {
        (_, Some(ProducerAt { id, epoch })) => {
            producer.producer_id == id.0 && producer.producer_epoch == i32::from(epoch.0)
        }
        (Some(offset), None) => producer.current_txn_start_offset == offset,
        (None, None) => false,
    };
    let found = open.iter().find(is_meant).cloned();
    found.ok_or_else(|| Failure::Refused(none_is_meant(&shown(topic), partition, &open)))
}

fn none_is_meant(topic: &str, partition: i32, open: &[ProducerState]) -> String {
    if open.is_empty() {
        return format!("{topic} {partition} has no open transaction");
    }
    let open: Vec<String> = open
        .iter()
        .map(|producer| {
            let ProducerState { current_txn_start_offset: start, producer_id, producer_epoch, .. } = producer;
            format!("at {start}, of producer {producer_id}:{producer_epoch}")
        })
        .collect();
    format!("{topic} {partition} has no such transaction; open ones begin {}", open.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_is_an_id_and_an_epoch() {
        let known = ProducerAt { id: ProducerId(4000), epoch: ProducerEpoch(12) };
        assert_eq!(producer("4000:12"), Ok(known));
        for written in ["", "4", "4:", ":1", "-1:0", "4:-1", "4:32768", "4:1:2"] {
            assert!(producer(written).is_err(), "{written}");
        }
    }

    #[test]
    fn a_filter_by_duration_asks_for_open_transactions_unless_states_are_named() {
        let longer_than = Some(Duration::from_secs(90));
        let filter = Filter { states: vec![], producers: vec![7], longer_than, pattern: None };
        let request = filter.request();
        assert_eq!((request.duration_filter, filter.least_version()), (90_000, 1));
        assert_eq!(request.state_filters, OPEN);
        let named = Filter { states: vec!["Empty".to_owned()], ..filter };
        assert_eq!(named.request().state_filters, ["Empty"]);
    }
}
