//! The page of `/metrics` of a broker that a real client uses, read by a strict parser.

mod exposition;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use exposition::{Families, Form, Sample};
use jackdaw::broker::Broker;
use jackdaw::time::Clock;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

const DEADLINE: Duration = Duration::from_secs(60);

struct Stage {
    broker: Broker,
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new() -> Stage {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let builder = Broker::builder().ephemeral().set("jackdaw.http.listener", "127.0.0.1:0");
        Stage { broker: runtime.block_on(builder.start()).unwrap(), _runtime: runtime }
    }

    fn client(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.broker.bootstrap());
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config
    }

    /// Produces ten records with timestamps of an hour ago to partition 0 of a topic that is created by it.
    fn produce(&self, topic: &str) {
        let producer: BaseProducer = self.client(&[]).create().unwrap();
        let an_hour_ago = Clock::machine().now().0 - 3_600_000;
        for number in 0..10 {
            let value = number.to_string();
            let record: BaseRecord<'_, [u8], str> =
                BaseRecord::to(topic).payload(value.as_str()).partition(0);
            producer.send(record.timestamp(an_hour_ago)).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(DEADLINE).unwrap();
    }

    fn commit(&self, group: &str, topic: &str, offset: i64) {
        let consumer: BaseConsumer = self.client(&[("group.id", group)]).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
        consumer.commit(&offsets, CommitMode::Sync).unwrap();
    }

    /// The content type and the page.
    fn get(&self, accept: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.broker.http().unwrap()).unwrap();
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, page) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let content_type = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
        (content_type.to_owned(), page.to_owned())
    }

    fn scrape(&self) -> Page {
        let (content_type, page) = self.get("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"), "{content_type}");
        Page(exposition::read(&page, Form::OpenMetrics).unwrap_or_else(|error| panic!("{error}\n{page}")))
    }
}

impl Stage {
    fn scrape_until(&self, is_so: impl Fn(&Page) -> bool) -> Page {
        let clock = Clock::machine();
        let give_up = clock.monotonic() + DEADLINE;
        loop {
            let page = self.scrape();
            if is_so(&page) {
                return page;
            }
            assert!(clock.monotonic() < give_up, "it did not come");
        }
    }
}

struct Page(Families);

impl Page {
    /// The sample with this name and exactly these labels.
    fn find(&self, family: &str, name: &str, labels: &[(&str, &str)]) -> Option<&Sample> {
        let wanted: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let family = self.0.get(family).unwrap_or_else(|| panic!("{family} is on the page"));
        family.samples.iter().find(|sample| {
            let labels = sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            sample.name == name && labels.collect::<BTreeMap<_, _>>() == wanted
        })
    }

    /// A counter or a gauge.
    fn any(&self, family: &str, labels: &[(&str, &str)]) -> Option<&Sample> {
        let is_counter = self.0.get(family).is_some_and(|family| family.kind == "counter");
        if is_counter {
            self.find(family, &format!("{family}_total"), labels)
        } else {
            self.find(family, family, labels)
        }
    }

    fn value(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.any(family, labels).unwrap_or_else(|| panic!("{family} {labels:?} is on the page")).value
    }

    fn is_there(&self, family: &str, labels: &[(&str, &str)]) -> bool {
        self.any(family, labels).is_some()
    }

    /// The number of observations of a histogram.
    fn count(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(family, &format!("{family}_count"), labels).expect("it is counted").value
    }
}

#[test]
fn c17_a_group_that_is_behind_shows_its_lag_in_records_and_in_seconds() {
    let stage = Stage::new();
    stage.produce("orders");
    stage.commit("kitchen", "orders", 4);
    stage.commit("done", "orders", 10);
    let page = stage.scrape();
    let of = |group| [("consumergroup", group), ("topic", "orders"), ("partition", "0")];
    assert_eq!(page.value("kafka_consumergroup_lag", &of("kitchen")), 6.0);
    assert_eq!(page.value("kafka_consumergroup_current_offset", &of("kitchen")), 4.0);
    assert_eq!(
        page.value("kafka_consumergroup_lag_sum", &[("consumergroup", "kitchen"), ("topic", "orders")]),
        6.0
    );
    assert!(page.value("jackdaw_consumergroup_lag_seconds", &of("kitchen")) >= 3600.0);
    assert_eq!(page.value("kafka_consumergroup_lag", &of("done")), 0.0);
    assert_eq!(page.value("jackdaw_consumergroup_lag_seconds", &of("done")), 0.0);
    assert_eq!(page.value("kafka_consumergroup_members", &[("consumergroup", "kitchen")]), 0.0);
    assert_eq!(
        page.value("kafka_topic_partition_current_offset", &[("topic", "orders"), ("partition", "0")]),
        10.0
    );
    assert_eq!(page.value("jackdaw_metrics_left_out", &[("what", "lag_seconds")]), 0.0);
}

#[test]
fn the_empty_partitions_of_consumer_offsets_have_no_rows_but_are_counted() {
    let stage = Stage::new();
    stage.produce("orders");
    // The first look-up of a coordinator creates the topic.
    stage.commit("kitchen", "orders", 4);
    let page = stage.scrape();
    assert_eq!(page.value("kafka_topic_partitions", &[("topic", "__consumer_offsets")]), 50.0);
    assert_eq!(page.value("kafka_server_replicamanager_partitioncount", &[]), 51.0);
    let rows = page.0.values().flat_map(|family| &family.samples).filter(|sample| {
        let has = |is: fn(&str, &str) -> bool| sample.labels.iter().any(|(name, value)| is(name, value));
        has(|name, value| name == "topic" && value == "__consumer_offsets")
            && has(|name, _| name == "partition")
    });
    assert_eq!(rows.count(), 0);
    assert_eq!(page.0["kafka_log_log_size"].samples.len(), 1);
}

#[test]
fn requests_are_counted_and_a_deleted_topic_still_counts_in_the_sum() {
    let stage = Stage::new();
    stage.produce("orders");
    stage.produce("orders");
    let page = stage.scrape();
    for topic in ["orders", ""] {
        assert_eq!(page.value("kafka_server_brokertopicmetrics_messagesin", &[("topic", topic)]), 20.0);
        assert!(page.value("kafka_server_brokertopicmetrics_bytesin", &[("topic", topic)]) > 200.0);
        assert_eq!(page.value("kafka_server_brokertopicmetrics_bytesout", &[("topic", topic)]), 0.0);
    }
    assert!(page.count("jackdaw_request_duration_seconds", &[("request", "Produce")]) >= 2.0);
    assert!(page.value("jackdaw_connections_opened", &[]) >= 2.0);
    assert_eq!(page.value("kafka_brokers", &[]), 1.0);
    assert_eq!(page.value("jackdaw_writable", &[]), 1.0);

    let admin: rdkafka::admin::AdminClient<_> = stage.client(&[]).create().unwrap();
    let gone = admin.delete_topics(&["orders"], &rdkafka::admin::AdminOptions::new());
    stage._runtime.block_on(gone).unwrap();
    let page = stage.scrape();
    assert!(!page.is_there("kafka_server_brokertopicmetrics_messagesin", &[("topic", "orders")]));
    assert_eq!(page.value("kafka_server_brokertopicmetrics_messagesin", &[("topic", "")]), 20.0);
}

#[test]
fn every_refusal_is_counted_by_api_and_code_or_by_the_reason_of_the_close() {
    let stage = Stage::new();
    // ListOffsets of version 1, partition 0 of a topic that does not exist.
    let request =
        b"\0\0\0\x28\0\x02\0\x01\0\0\0\x01\xff\xff\xff\xff\xff\xff\0\0\0\x01\0\x04none\0\0\0\x01\0\0\0\0\
                    \xff\xff\xff\xff\xff\xff\xff\xff";
    let mut client = TcpStream::connect(stage.broker.bootstrap()).unwrap();
    client.write_all(request).unwrap();
    client.read_exact(&mut [0; 8]).unwrap();
    let mut stranger = TcpStream::connect(stage.broker.bootstrap()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    stranger.read_to_string(&mut String::new()).unwrap();
    drop(stranger);
    // The connection is counted when the broker has finished with it, a moment after the client sees its end.
    let page =
        stage.scrape_until(|page| page.value("jackdaw_connections_closed", &[("reason", "http")]) == 1.0);
    let refused = [("request", "ListOffsets"), ("error", "UNKNOWN_TOPIC_OR_PARTITION")];
    assert_eq!(page.value("kafka_network_requestmetrics_errors", &refused), 1.0);
    assert_eq!(
        page.value("kafka_network_requestmetrics_requests", &[("request", "ListOffsets"), ("version", "1")]),
        1.0
    );
    assert_eq!(page.value("jackdaw_connections_closed", &[("reason", "tls")]), 0.0);
}

#[test]
fn hostile_names_break_no_page() {
    let stage = Stage::new();
    stage.produce("orders");
    let names =
        ["\"", "\\", "a\nb", "a\",topic=\"b", "} 1\nfake_metric 1", "\u{1}\rx", "ü支💥", "a b", "# EOF"];
    for group in names {
        stage.commit(group, "orders", 4);
    }
    let page = stage.scrape();
    for group in names.iter().filter(|name| !name.contains('\r')) {
        let of = [("consumergroup", *group), ("topic", "orders"), ("partition", "0")];
        assert_eq!(page.value("kafka_consumergroup_lag", &of), 6.0, "{group:?}");
    }
    assert!(!page.0.contains_key("fake_metric"));
    assert_eq!(page.0["kafka_consumergroup_lag_sum"].samples.len(), names.len());
}

#[test]
fn a_scraper_that_does_not_ask_for_openmetrics_gets_prometheus_text() {
    let stage = Stage::new();
    stage.produce("orders");
    let (content_type, page) = stage.get("*/*");
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    let read = exposition::read(&page, Form::Prometheus).unwrap_or_else(|error| panic!("{error}\n{page}"));
    let family = &read["kafka_server_brokertopicmetrics_messagesin_total"];
    assert_eq!(family.kind, "counter");
    assert_eq!(family.samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), [10.0, 10.0]);
}
