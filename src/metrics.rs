//! The metrics of a running broker, in Prometheus's format. Every metric is declared once, in
//! `table.rs`. The scraped page and `docs/metrics.md` are both made from it.
//!
//! The rooms count while they work ([`crate::telemetry::Count`]). All other values are read from
//! their state during a scrape. A scrape blocks no other work: it holds a lock only while it copies
//! the data behind it, and never takes the engine's lock. A page has at most [`MOST_ROWS`] rows for
//! partitions, and as many for the partitions of groups.

mod clients;
mod family;
mod label;
mod look;
mod page;
mod process;
mod table;
mod times;

use std::sync::{Arc, Mutex};

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use crate::api::context::Services;
use crate::budget::Budget;
use crate::coordinator::Groups;
use crate::security::tls::Tls;
use crate::server::{Connections, Server};
use crate::storage::Store;
use crate::types::{IgnorePoison, Timestamp};
use family::Kind;
use look::Look;
pub use page::page;
use times::Times;

/// The limit of rows. More would be useless, and a page of a gigabyte would do harm.
const MOST_ROWS: usize = 200_000;

/// The sources of the metrics.
pub struct Metrics {
    store: Store,
    groups: Groups,
    servers: Vec<Serving>,
    http_tls: Arc<Tls>,
    started: Timestamp,
    /// Allows one scrape at a time, and keeps its results for the next one.
    times: Mutex<Times>,
}

/// The server of one node id, with its budgets.
struct Serving {
    services: Arc<Services>,
    connections: Arc<Connections>,
    small_requests: Arc<Budget>,
    large_requests: Arc<Budget>,
}

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format, which all scrapers can read.
    Text,
    /// The format that Prometheus prefers.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` header asks for.
    pub fn accepted(accept: &str) -> Format {
        if accept.contains("application/openmetrics-text") { Format::OpenMetrics } else { Format::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => prometheus_text::CONTENT_TYPE,
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The names of all samples that a page can have, without those that clients push.
pub fn sample_names() -> impl Iterator<Item = String> {
    table::families().flat_map(|family| match family.kind {
        Kind::Counter | Kind::Gauge => vec![family.shown_name()],
        Kind::Histogram => ["bucket", "count", "sum"].map(|part| format!("{}_{part}", family.name)).to_vec(),
    })
}

impl Metrics {
    /// The metrics of a broker with these servers; there is at least one.
    pub fn new<'a>(
        store: Store,
        groups: Groups,
        serving: impl IntoIterator<Item = (Arc<Services>, &'a Server)>,
        http_tls: Arc<Tls>,
    ) -> Metrics {
        let servers: Vec<Serving> = serving
            .into_iter()
            .map(|(services, server)| {
                let (small, large) = server.request_budgets();
                Serving {
                    services,
                    connections: Arc::clone(server.connections()),
                    small_requests: Arc::clone(small),
                    large_requests: Arc::clone(large),
                }
            })
            .collect();
        let started = servers.first().expect("a broker serves").services.clock.now();
        Metrics { store, groups, servers, http_tls, started, times: Mutex::default() }
    }

    /// Renders the page from the current state. Blocks, maybe for the disk.
    pub fn render(self: &Arc<Metrics>, format: Format) -> String {
        let mut times = self.times.lock().ignoring_poison();
        let look = Look::at(self, &mut times);
        drop(times);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(look));
        let mut page = String::new();
        let written = match format {
            Format::Text => prometheus_text::encode(&mut page, &registry),
            Format::OpenMetrics => text::encode(&mut page, &registry),
        };
        written.expect("a string takes everything");
        page
    }
}

impl Metrics {
    fn first(&self) -> &Serving {
        self.servers.first().expect("a broker serves")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::Api;
    use crate::config::{BrokerSettings, Given};
    use crate::coordinator::group::{Commit, Identity, OffsetToCommit};
    use crate::kernel::{Command, EndTransaction, EndedBy, InitTransaction, JoinTransaction, ProducerAt};
    use crate::record::{BatchBuilder, Producer, Rules, check_produced};
    use crate::stop::Stop;
    use crate::storage::{Location, NewTopic, StoreOptions};
    use crate::time::Clock;
    use crate::types::{Offset, TopicPartition, TransactionEnd};

    /// Creates a topic and a group with a committed offset in it, and counts a refused request.
    async fn work(store: &Store, groups: &Groups, services: &Services) {
        let new = NewTopic { name: "t".into(), partitions: 1, overrides: Default::default() };
        let topic = store.create_topic(new).await.unwrap();
        let offset = OffsetToCommit {
            partition: TopicPartition::new(topic.id, 0),
            offset: Offset(0),
            leader_epoch: None,
            metadata: String::new(),
        };
        let commit = Commit {
            generation: None,
            who: Identity::default(),
            knows_group_not_found: true,
            retention: None,
            offsets: vec![offset],
        };
        groups.commit("g", commit).await.unwrap();
        services.requests.begun(18, 0);
        services.requests.refused(18, 35, 1);
    }

    /// Ends a transaction in each way, and leaves one open with a record in the topic.
    async fn transact(store: &Store) {
        let topic = store.topics().by_name("t").cloned().unwrap();
        let (id, rolls) = ("shop".to_owned(), Vec::new());
        let init = InitTransaction {
            id: id.clone(),
            known: None,
            timeout_ms: 60_000,
            two_phase: false,
            rolls: rolls.clone(),
        };
        store.transact(Command::InitTransaction(init)).await.unwrap();
        let producer = || store.transactions().get("shop").unwrap().producer;
        for (end, by) in [
            (TransactionEnd::Commit, EndedBy::Client),
            (TransactionEnd::Abort, EndedBy::Client),
            (TransactionEnd::Abort, EndedBy::Timeout),
        ] {
            let (id, producer, rolls) = (id.clone(), producer(), rolls.clone());
            let (partitions, groups) = (vec![TopicPartition::new(topic.id, 0)], Vec::new());
            let join = JoinTransaction { id: id.clone(), producer, partitions, groups };
            store.transact(Command::JoinTransaction(join)).await.unwrap();
            let ended = EndTransaction { id, producer, began: None, end, by, rolls };
            store.transact(Command::EndTransaction(ended)).await.unwrap();
        }
        let ProducerAt { id, epoch } = producer();
        let batch = BatchBuilder::new().producer(Producer { id, epoch, base_sequence: 0 }).transactional();
        let batch = check_produced(batch.value(Timestamp(1), "a").build(), &Rules::LENIENT).unwrap();
        store.append_and_join(topic.partition(0).unwrap(), batch).await.unwrap();
    }

    /// The metrics of a broker at which everything that has metrics has happened.
    async fn of_a_busy_broker() -> (Arc<Metrics>, Server, Stop) {
        let (stop, stopping) = Stop::new();
        let mut given = Given::default();
        given.set("listeners", "PLAINTEXT://127.0.0.1:0");
        if cfg!(feature = "security") {
            given.set("listeners", "PLAINTEXT://127.0.0.1:0,SSL://127.0.0.1:0");
            given.set("ssl.keystore.location", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/server.jks"));
            given.set("ssl.keystore.password", "changeit");
        }
        let settings = Arc::new(BrokerSettings::load(given).unwrap());
        let tls = Arc::new(Tls::load(&settings).unwrap());
        let store = Store::open(StoreOptions::new(Location::Memory, Arc::clone(&settings))).unwrap();
        let (services, crate::api::context::Coordinators { groups, .. }) =
            Services::start(store.clone(), Arc::clone(&settings), Clock::machine(), stopping.clone());
        let services = Arc::new(services.with_tls(tls));
        work(&store, &groups, &services).await;
        transact(&store).await;
        let server = Server::start(&settings, Api::new(Arc::clone(&services)), stopping).await.unwrap();
        (Arc::new(Metrics::new(store, groups, [(services, &server)], Arc::default())), server, stop)
    }

    #[tokio::test]
    async fn open_and_ended_transactions_are_counted_and_an_open_one_has_its_age_where_it_has_records() {
        let (metrics, _server, _stop) = of_a_busy_broker().await;
        let page = metrics.render(Format::Text);
        for row in [
            "jackdaw_transactional_ids 1",
            "jackdaw_transactions_open 1",
            "jackdaw_transactions_ended_total{how=\"committed\"} 1",
            "jackdaw_transactions_ended_total{how=\"aborted\"} 1",
            "jackdaw_transactions_ended_total{how=\"timed_out\"} 1",
            "kafka_cluster_partition_laststableoffsetlag{topic=\"t\",partition=\"0\"} 1",
            "kafka_server_replicamanager_partitionswithlatetransactionscount 0",
        ] {
            assert!(page.lines().any(|line| line == row), "{row}:\n{page}");
        }
        let age = "jackdaw_transaction_oldest_open_seconds{topic=\"t\",partition=\"0\"} ";
        assert_eq!(page.lines().filter(|line| line.starts_with(age)).count(), 1, "{page}");
    }

    #[tokio::test]
    async fn everything_that_is_declared_is_on_the_page_in_both_formats_and_nothing_else() {
        let (metrics, _server, _stop) = of_a_busy_broker().await;
        for (format, ending) in [(Format::OpenMetrics, "# EOF\n"), (Format::Text, "\n")] {
            let page = metrics.render(format);
            assert!(page.ends_with(ending));
            let typed = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
            let typed: BTreeSet<String> = typed.map(str::to_owned).collect();
            let is_elsewhere = |name: &str| {
                // Of a disk, and of a listener with a login.
                name == "jackdaw_logins"
                    || name.starts_with("jackdaw_disk_") && name.ends_with("bytes")
                    || name == "jackdaw_scrub_last_pass_timestamp_seconds"
            };
            let is_of_tls = |name: &str| name.starts_with("jackdaw_tls_");
            let declared: BTreeSet<String> = table::families()
                .filter(|family| !is_elsewhere(family.name))
                .filter(|family| cfg!(feature = "security") || !is_of_tls(family.name))
                .map(|family| match format {
                    Format::OpenMetrics => format!("{} {}", family.name, family.kind.name()),
                    Format::Text => format!("{} {}", family.shown_name(), family.kind.name()),
                })
                .collect();
            assert_eq!(typed, declared);
        }
    }

    #[test]
    fn the_format_is_what_the_scraper_asks_for() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Text);
        assert_eq!(Format::accepted(""), Format::Text);
    }
}
