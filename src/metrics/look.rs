//! The values of one scrape that are not counted as they happen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::process::Process;
use super::times::{TimeLookups, Times};
use super::{MOST_ROWS, Metrics, Serving, clients, label, table};
use crate::api::client_metrics::Pushed;
use crate::api::internal_topics::is_internal;
use crate::api::requests::OfKey;
use crate::budget::Budget;
use crate::coordinator::Watched;
use crate::coordinator::group::GroupState;
use crate::kernel::{Placement, Transactions};
use crate::security::tls::Tls;
use crate::storage::{Partition, Store, Topic, Topics};
use crate::types::{Offset, Timestamp, TopicPartition};

pub struct Look {
    pub broker: Arc<Metrics>,
    pub topics: Arc<Topics>,
    pub groups: Vec<Group>,
    pub transactions: Transactions,
    /// The age of the oldest open transaction of each partition, up to the limit of rows.
    pub oldest_open: BTreeMap<(Arc<str>, i32), Duration>,
    /// The metrics that clients have pushed.
    pub pushed: Pushed,
    pub process: Process,
    pub left_out: LeftOut,
}

/// The numbers of rows that exceeded the limit, and of values that could not be determined.
#[derive(Debug, Default)]
pub struct LeftOut {
    pub partitions: usize,
    pub transaction_partitions: usize,
    pub group_partitions: usize,
    pub lag_seconds: usize,
    /// Values of clients whose metric has another kind on the page.
    pub client_metrics: usize,
}

/// A group and its committed offsets.
pub struct Group {
    pub name: String,
    pub state: GroupState,
    pub members: usize,
    pub partitions: Vec<GroupLag>,
    /// The sum over all partitions of each topic, including partitions that exceed the limit of rows.
    pub topics: Vec<TopicSum>,
}

pub struct GroupLag {
    pub topic: Arc<str>,
    pub partition: i32,
    pub committed: Offset,
    pub lag: u64,
    /// `None` if it could not be determined.
    pub lag_seconds: Option<f64>,
}

pub struct TopicSum {
    pub topic: Arc<str>,
    pub committed: i64,
    pub lag: u64,
}

impl Look {
    pub fn at(broker: &Arc<Metrics>, times: &mut Times) -> Look {
        let services = &broker.first().services;
        let topics = broker.store.topics();
        let transactions = broker.store.transactions();
        let oldest = oldest_open(&transactions, &topics, services.clock.now());
        let mut look = Look {
            broker: Arc::clone(broker),
            groups: Vec::new(),
            transactions,
            oldest_open: oldest.ages,
            pushed: services.client_metrics.pushed(services.clock.monotonic()),
            process: Process::look(),
            left_out: LeftOut {
                partitions: shown(&topics)
                    .map(|topic| topic.partitions.len())
                    .sum::<usize>()
                    .saturating_sub(MOST_ROWS),
                transaction_partitions: oldest.left_out,
                ..LeftOut::default()
            },
            topics,
        };
        let mut watching = GroupWatch {
            asking: times.ask(),
            now: services.clock.now(),
            room: MOST_ROWS,
            left_out: 0,
            unknown: 0,
        };
        let topics = Arc::clone(&look.topics);
        broker.groups.watch(|group| look.groups.push(watching.group(group, &topics)));
        look.left_out.client_metrics = clients::left_out(&look.pushed.clients);
        look.left_out.group_partitions = watching.left_out;
        look.left_out.lag_seconds = watching.unknown;
        look
    }

    pub fn store(&self) -> &Store {
        &self.broker.store
    }

    pub fn servers(&self) -> &[Serving] {
        &self.broker.servers
    }

    /// The listeners with TLS of each broker, with its node id. The HTTP server is one of the first broker.
    pub fn tls(&self) -> impl Iterator<Item = (String, &Tls)> {
        let node = |serving: &Serving| serving.services.cluster.node_id.to_string();
        let brokers = self.servers().iter().map(move |serving| (node(serving), &*serving.services.tls));
        brokers.chain([(node(self.broker.first()), &*self.broker.http_tls)])
    }

    pub fn sum(&self, value: impl Fn(&Serving) -> usize) -> usize {
        self.servers().iter().map(value).sum()
    }

    pub fn requests(&self) -> impl Iterator<Item = &OfKey> {
        self.broker.first().services.requests.iter()
    }

    /// The memory budgets: name, memory in use, and limit.
    pub fn budgets(&self) -> [(&'static str, usize, usize); 7] {
        let of = |budget: fn(&Serving) -> &Budget| {
            // All servers of a process share the same budgets.
            let budget = budget(self.broker.first());
            (budget.held(), budget.most())
        };
        let (small, small_most) = of(|server| &server.small_requests);
        let (large, large_most) = of(|server| &server.large_requests);
        let (answers, answers_most) = of(|server| &server.services.answers);
        let services = &self.broker.first().services;
        let (groups, groups_most) = self.broker.groups.memory();
        let producers = self.broker.store.counts().producer_bytes.load(Ordering::Relaxed);
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        [
            ("small_requests", small, small_most),
            ("large_requests", large, large_most),
            ("answers", answers, answers_most),
            ("groups", groups, groups_most),
            ("producers", bytes(producers), bytes(services.settings().producers_budget)),
            ("transactions", self.transactions.bytes(), services.settings().transaction_memory()),
            ("client_metrics", self.pushed.bytes, services.settings().client_metrics_memory()),
        ]
    }

    /// The partitions that have rows, up to their limit, ordered by topic name.
    pub fn partitions(&self) -> impl Iterator<Item = (&Partition, &Placement)> {
        shown(&self.topics).flat_map(partitions_of).take(MOST_ROWS)
    }

    pub fn all_partitions(&self) -> impl Iterator<Item = (&Partition, &Placement)> {
        self.topics.iter().flat_map(|topic| partitions_of(topic))
    }
}

/// The topics whose partitions have rows. Kafka's own topics are always empty here, and would be 50 rows in each metric.
fn shown(topics: &Topics) -> impl Iterator<Item = &Topic> {
    topics.iter().map(AsRef::as_ref).filter(|topic| !is_internal(&topic.name))
}

fn partitions_of(topic: &Topic) -> impl Iterator<Item = (&Partition, &Placement)> {
    let partitions = topic.partitions.iter().map(AsRef::as_ref);
    partitions.zip(topic.placement.iter().map(AsRef::as_ref))
}

struct OldestOpen {
    ages: BTreeMap<(Arc<str>, i32), Duration>,
    left_out: usize,
}

/// The age of the oldest transaction that has records in a partition, for each of those partitions.
fn oldest_open(transactions: &Transactions, topics: &Topics, now: Timestamp) -> OldestOpen {
    let mut oldest = OldestOpen { ages: BTreeMap::new(), left_out: 0 };
    for (_, transaction) in transactions.open() {
        let (Some(ongoing), Some(started)) = (transaction.ongoing(), transaction.started) else { continue };
        let written = ongoing.partitions.iter().filter(|(_, first)| first.is_some());
        for (TopicPartition { topic, partition }, _) in written {
            let Some(topic) = topics.by_id(*topic) else { continue };
            let key = (Arc::clone(&topic.name), *partition);
            if oldest.ages.len() == MOST_ROWS && !oldest.ages.contains_key(&key) {
                oldest.left_out += 1;
                continue;
            }
            let age = oldest.ages.entry(key).or_default();
            *age = now.since(started).max(*age);
        }
    }
    oldest
}

/// The state that collecting the groups needs.
struct GroupWatch<'a> {
    asking: TimeLookups<'a>,
    now: Timestamp,
    room: usize,
    left_out: usize,
    unknown: usize,
}

impl GroupWatch<'_> {
    fn group(&mut self, watched: Watched, topics: &Topics) -> Group {
        let Watched { group, state, members, offsets } = watched;
        let name = label::shown(&group);
        let mut seen = Group { name, state, members, partitions: Vec::new(), topics: Vec::new() };
        for (TopicPartition { topic, partition }, committed) in offsets.all() {
            let committed = committed.offset;
            // Deleted topics and partitions have no lag.
            let Some(topic) = topics.by_id(*topic) else { continue };
            let Some(partition) = topic.partition(*partition) else { continue };
            let end = partition.ends().high_watermark;
            let lag = u64::try_from(end.0.saturating_sub(committed.0)).unwrap_or(0);
            // The offsets of a topic are consecutive.
            match seen.topics.last_mut() {
                Some(sum) if sum.topic == topic.name => sum.add(committed, lag),
                _ => {
                    seen.topics.push(TopicSum { topic: Arc::clone(&topic.name), committed: committed.0, lag })
                }
            }
            if self.room == 0 {
                self.left_out += 1;
                continue;
            }
            self.room -= 1;
            let lag_seconds = self.lag_seconds(partition, committed, lag);
            self.unknown += usize::from(lag_seconds.is_none());
            let (topic, partition) = (Arc::clone(&topic.name), partition.index);
            seen.partitions.push(GroupLag { topic, partition, committed, lag, lag_seconds });
        }
        seen
    }

    fn lag_seconds(&mut self, partition: &Partition, committed: Offset, lag: u64) -> Option<f64> {
        if lag == 0 {
            return Some(0.0);
        }
        // The producer may not have set a timestamp.
        let time = self.asking.time_of(partition, committed).filter(|time| time.0 >= 0)?;
        Some(self.now.since(time).as_secs_f64())
    }
}

impl TopicSum {
    fn add(&mut self, committed: Offset, lag: u64) {
        self.committed = self.committed.saturating_add(committed.0);
        self.lag = self.lag.saturating_add(lag);
    }
}

impl Collector for Look {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
        table::families().try_for_each(|family| family.write(self, &mut page))?;
        clients::write(&self.pushed.clients, &mut page)
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").field("left_out", &self.left_out).finish_non_exhaustive()
    }
}
