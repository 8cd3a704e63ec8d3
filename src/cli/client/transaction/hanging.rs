//! `jackdaw transaction find-hanging`: transactions that are open in a partition, and that no coordinator knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::position;
use crate::cli::client::answers::Refusals;
use crate::cli::client::brokers::{Brokers, Coordinated, Topic};
use crate::cli::client::peer::reason;
use crate::cli::client::table::Table;
use crate::cli::client::{CommandOutcome, NamedPartition, Output, Session, shown};
use crate::protocol::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use crate::protocol::messages::describe_producers_response::ProducerState;
use crate::protocol::messages::{DescribeTransactionsRequest, ListTransactionsRequest};
use crate::time::Clock;
use crate::types::Timestamp;

#[derive(Debug, Args)]
pub struct Search {
    /// Only in this topic; may be repeated
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Only in partitions that this broker leads
    #[arg(long, value_name = "ID")]
    broker: Option<i32>,
    /// Only transactions whose last record is older than this: the longest that a coordinator lets one stay open
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = position::duration)]
    older_than: Duration,
}

/// A transaction that is open in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    partition: NamedPartition,
    producer_id: i64,
    epoch: i32,
    start_offset: i64,
    last_timestamp: i64,
}

/// The transaction of a producer id, as its coordinator describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct CoordinatorTransaction {
    epoch: i16,
    partitions: BTreeSet<NamedPartition>,
}

impl Search {
    pub fn run(&self, session: &Session, brokers: &mut Brokers<'_>, out: &mut Output<'_>) -> CommandOutcome {
        let now = Clock::machine().now();
        if let Some(id) = self.broker {
            brokers.broker(id)?;
        }
        let mut refusals = Refusals::default();
        let mut open = self.open(brokers, &mut refusals)?;
        open.retain(|one| now.since(Timestamp(one.last_timestamp)) > self.older_than);
        let known = known(brokers, &open)?;
        let mut table = Table::new(&[
            "topic",
            "partition",
            "producer_id",
            "epoch",
            "start_offset",
            "last_timestamp_ms",
            "idle_ms",
        ]);
        for one in open.iter().filter(|one| hangs(one, known.get(&one.producer_id))) {
            let idle = now.since(Timestamp(one.last_timestamp)).as_millis();
            table.row([
                json!(one.partition.0),
                json!(one.partition.1),
                json!(one.producer_id),
                json!(one.epoch),
                json!(one.start_offset),
                json!(one.last_timestamp),
                json!(u64::try_from(idle).unwrap_or(u64::MAX)),
            ]);
        }
        refusals.end_with(&table, session.json(), out)
    }

    /// The topics to search.
    fn searched(&self, brokers: &mut Brokers<'_>, refusals: &mut Refusals) -> CommandOutcome<Vec<Topic>> {
        if self.topics.is_empty() {
            return brokers.topics();
        }
        let mut topics = Vec::new();
        for (_, topic) in brokers.topics_named(&self.topics)? {
            topics.extend(refusals.keep(topic)?);
        }
        Ok(topics)
    }

    /// The open transactions in the partitions to search.
    fn open(&self, brokers: &mut Brokers<'_>, refusals: &mut Refusals) -> CommandOutcome<Vec<Open>> {
        let topics = self.searched(brokers, refusals)?;
        let mut by_leader: BTreeMap<i32, Vec<TopicRequest>> = BTreeMap::new();
        for topic in topics {
            let mut of_topic: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
            for partition in topic.partitions.iter().filter(|partition| partition.leader_id >= 0) {
                of_topic.entry(partition.leader_id).or_default().push(partition.partition_index);
            }
            for (leader, partition_indexes) in of_topic {
                let asked = TopicRequest { name: topic.name.clone(), partition_indexes };
                by_leader.entry(leader).or_default().push(asked);
            }
        }
        by_leader.retain(|leader, _| self.broker.is_none_or(|only| only == *leader));
        let mut open = Vec::new();
        for (leader, topics) in by_leader {
            let answer = brokers.broker(leader)?.call(0..=0, &DescribeProducersRequest { topics })?;
            for topic in answer.topics {
                for partition in topic.partitions {
                    let name = (topic.name.clone(), partition.partition_index);
                    if partition.error_code != 0 {
                        let why = reason(partition.error_code, partition.error_message);
                        refusals.add(format!("{} {}: {why}", shown(&name.0), name.1));
                        continue;
                    }
                    open.extend(partition.active_producers.iter().filter_map(|state| Open::of(&name, state)));
                }
            }
        }
        Ok(open)
    }
}

impl Open {
    fn of(partition: &NamedPartition, state: &ProducerState) -> Option<Open> {
        (state.current_txn_start_offset >= 0).then(|| Open {
            partition: partition.clone(),
            producer_id: state.producer_id,
            epoch: state.producer_epoch,
            start_offset: state.current_txn_start_offset,
            last_timestamp: state.last_timestamp,
        })
    }
}

/// The transactions of these producers, by their ids, as their coordinators describe them.
fn known(brokers: &mut Brokers<'_>, open: &[Open]) -> CommandOutcome<BTreeMap<i64, CoordinatorTransaction>> {
    let mut known = BTreeMap::new();
    let producers: BTreeSet<i64> = open.iter().map(|one| one.producer_id).collect();
    if producers.is_empty() {
        return Ok(known);
    }
    let mut ids = BTreeSet::new();
    for broker in brokers.ids() {
        let request = ListTransactionsRequest {
            producer_id_filters: producers.iter().copied().collect(),
            ..ListTransactionsRequest::default()
        };
        let broker = brokers.broker(broker)?;
        let answer = broker.call(0..=2, &request)?;
        broker.accept(answer.error_code)?;
        ids.extend(answer.transaction_states.into_iter().map(|state| state.transactional_id));
    }
    for id in ids {
        let coordinator = brokers.coordinator(Coordinated::Transaction, &id)?;
        let broker = brokers.broker(coordinator)?;
        let request = DescribeTransactionsRequest { transactional_ids: vec![id] };
        for state in broker.call(0..=0, &request)?.transaction_states {
            broker.accept(state.error_code)?;
            let partitions = state.topics.into_iter().flat_map(|topic| {
                let name = topic.topic;
                topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
            });
            let one =
                CoordinatorTransaction { epoch: state.producer_epoch, partitions: partitions.collect() };
            known.insert(state.producer_id, one);
        }
    }
    Ok(known)
}

/// Whether no coordinator will end the transaction: none knows its producer, its newest transaction is another one, or
/// the partition is no part of it.
fn hangs(open: &Open, known: Option<&CoordinatorTransaction>) -> bool {
    known.is_none_or(|known| {
        i32::from(known.epoch) != open.epoch || !known.partitions.contains(&open.partition)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_hangs_if_no_coordinator_will_end_it_in_the_partition() {
        let open = Open {
            partition: ("t".to_owned(), 0),
            producer_id: 7,
            epoch: 3,
            start_offset: 42,
            last_timestamp: 0,
        };
        let known = |epoch, partition| CoordinatorTransaction {
            epoch,
            partitions: BTreeSet::from([("t".to_owned(), partition)]),
        };
        assert!(hangs(&open, None), "nobody knows the producer");
        assert!(!hangs(&open, Some(&known(3, 0))));
        assert!(hangs(&open, Some(&known(4, 0))), "the producer goes on with another transaction");
        assert!(hangs(&open, Some(&known(3, 1))), "the partition is no part of it");
    }

    #[test]
    fn a_producer_without_a_transaction_has_none_open() {
        let state = |current_txn_start_offset| ProducerState {
            current_txn_start_offset,
            producer_id: 7,
            ..ProducerState::default()
        };
        let partition = ("t".to_owned(), 0);
        assert_eq!(Open::of(&partition, &state(-1)), None);
        assert_eq!(Open::of(&partition, &state(5)).map(|open| open.start_offset), Some(5));
    }
}
