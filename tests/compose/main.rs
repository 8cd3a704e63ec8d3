//! Common compose files for the image `apache/kafka`: the binary is started with their variables and mounts,
//! and a client that uses only the advertised addresses works. `packaging/check` does the same inside the
//! image.

mod file;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use file::Service;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

/// Time limit of one operation on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);
/// If another process takes an address between the choice of a port and the start, another port is chosen.
const TRIES: usize = 5;
const ADDRESS_NOT_AVAILABLE: i32 = 69;

/// A broker in place of the container of a compose file.
struct Container {
    child: Child,
    /// Port of the container → port on this machine.
    ports: BTreeMap<u16, u16>,
    data: tempfile::TempDir,
}

impl Container {
    /// Starts with the settings of the file, except for ports, which must be free, and addresses, which must
    /// be this machine's.
    fn start(compose: &str, ports: &[u16]) -> Container {
        let service = Service::read(compose);
        for _ in 0..TRIES {
            if let Some(container) = Container::try_start(&service, ports) {
                return container;
            }
        }
        panic!("{compose}: no free ports");
    }

    fn try_start(service: &Service, ports: &[u16]) -> Option<Container> {
        let held: Vec<TcpListener> =
            ports.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let free = held.iter().map(|socket| socket.local_addr().unwrap().port());
        let ports: BTreeMap<u16, u16> = ports.iter().copied().zip(free).collect();
        let data = tempfile::tempdir().unwrap();
        let here = |text: &str| here(text, &ports, data.path());

        let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
        // Whatever KAFKA_LOG4J_ROOT_LOGLEVEL says, because the log is looked at.
        command.args(["serve", "--container", "--log-level", "info"]).env_clear();
        for (variable, value) in &service.environment {
            command.env(variable, here(value));
        }
        if let Some(folder) = service.mounts.get(Path::new("/mnt/shared/config")) {
            let settings = fs::read_to_string(folder.join("server.properties")).unwrap();
            let copy = data.path().join("server.properties");
            fs::write(&copy, here(&settings)).unwrap();
            command.arg("--config").arg(copy);
        } else if !service.environment.contains_key("KAFKA_LOG_DIRS") {
            command.arg("--data-dir").arg(data.path().join("data"));
        }
        drop(held);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut container = Container { child: child.unwrap(), ports, data };
        let lines = BufReader::new(container.child.stdout.as_mut().unwrap()).lines();
        let is_ready = lines.map_while(Result::ok).any(|line| {
            // The log lines that Testcontainers for Java and Go, Python, Rust and .NET wait for.
            ["Transitioning from RECOVERY to RUNNING", "Kafka Server started", "[KafkaServer id="]
                .iter()
                .all(|words| line.contains(words))
        });
        if is_ready {
            return Some(container);
        }
        let code = container.child.wait().unwrap().code();
        assert_eq!(code, Some(ADDRESS_NOT_AVAILABLE), "{}", container.log());
        None
    }

    fn at(&self, port: u16) -> String {
        format!("localhost:{}", self.ports[&port])
    }

    /// Stops the broker; its log must have no warning about a setting of the file.
    fn knows_every_setting(mut self) {
        let log = self.log();
        assert!(log.contains("INFO"), "there is a log: {log}");
        assert!(!log.contains("unknown setting"), "{log}");
    }

    /// Stops the broker and returns its log.
    fn log(&mut self) -> String {
        let _ = self.child.kill();
        let log = BufReader::new(self.child.stderr.take().unwrap()).lines();
        log.map_while(Result::ok).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn here(text: &str, ports: &BTreeMap<u16, u16>, data: &Path) -> String {
    let mut text = text
        .replace("://0.0.0.0:", "://127.0.0.1:")
        .replace("://:", "://localhost:")
        .replace("/tmp/kraft-combined-logs", &data.join("data").to_string_lossy());
    for (port, free) in ports {
        text = text.replace(&format!(":{port}"), &format!(":{free}"));
    }
    text
}

/// Produces and consumes with this address only. Returns the brokers in Metadata and the number of partitions
/// of a topic.
fn works(bootstrap: &str) -> SeenCluster {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "compose");
    let producer: BaseProducer = config.create().unwrap();
    producer.send(BaseRecord::to("orders").key("a").payload("one coffee").partition(0)).ok().unwrap();
    producer.flush(DEADLINE).unwrap();
    let consumer: BaseConsumer = config.create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("orders", 0, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let message = consumer.poll(DEADLINE).expect("the record is there").unwrap();
    assert_eq!(message.payload(), Some(&b"one coffee"[..]));
    drop(message);
    cluster_of(bootstrap)
}

struct SeenCluster {
    brokers: Vec<(i32, String)>,
    partitions: usize,
    cluster_id: Option<String>,
}

fn cluster_of(bootstrap: &str) -> SeenCluster {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let metadata = consumer.fetch_metadata(None, DEADLINE).unwrap();
    let brokers = metadata.brokers().iter();
    let orders = metadata.topics().iter().find(|topic| topic.name() == "orders");
    SeenCluster {
        brokers: brokers
            .map(|broker| (broker.id(), format!("{}:{}", broker.host(), broker.port())))
            .collect(),
        partitions: orders.map_or(0, |topic| topic.partitions().len()),
        cluster_id: consumer.client().fetch_cluster_id(DEADLINE),
    }
}

#[test]
fn a_minimal_node_serves_where_it_is_advertised() {
    let container = Container::start("minimal.yml", &[9092, 9093]);
    let seen = works(&container.at(9092));
    assert_eq!(seen.brokers, [(1, container.at(9092))]);
    assert_eq!(seen.partitions, 3);
    // The controller's listener is not bound, so its port is free.
    TcpListener::bind(("127.0.0.1", container.ports[&9093])).unwrap();
    container.knows_every_setting();
}

#[test]
fn each_network_gets_its_own_name() {
    let container = Container::start("two-networks.yml", &[29092, 19092, 29093]);
    let outside = works(&container.at(29092));
    assert_eq!(outside.brokers, [(1, container.at(29092))]);
    let inside = cluster_of(&container.at(19092));
    assert_eq!(inside.brokers, [(1, format!("broker:{}", container.ports[&19092]))]);
    TcpListener::bind(("127.0.0.1", container.ports[&29093])).unwrap();
    assert!(container.data.path().join("data/meta").exists());
    container.knows_every_setting();
}

#[test]
fn a_mounted_file_is_taken_and_the_environment_goes_before_it() {
    let container = Container::start("mounted.yml", &[9092, 19092, 29093]);
    let seen = works(&container.at(9092));
    assert_eq!(seen.brokers, [(4, container.at(9092))]);
    assert_eq!(seen.partitions, 2);
    assert_eq!(seen.cluster_id.as_deref(), Some("4L6g3nShT-eMCtK--X86sw"));
    let meta = fs::read_to_string(container.data.path().join("data/meta")).unwrap();
    assert!(meta.contains("cluster.id=4L6g3nShT-eMCtK--X86sw\n"), "{meta}");
    container.knows_every_setting();
}

#[test]
fn the_log_warns_of_an_unknown_setting() {
    let mut service = Service::read("minimal.yml");
    service.environment.insert("KAFKA_NUM_PARTITION".to_owned(), "3".to_owned());
    let mut started = (0..TRIES).find_map(|_| Container::try_start(&service, &[9092, 9093])).unwrap();
    let log = started.log();
    assert!(log.contains("unknown setting") && log.contains("did you mean num.partitions?"), "{log}");
}

#[test]
fn with_only_advertised_listeners_it_listens_there() {
    // Not one of the files above, because it would listen at every address of this machine.
    let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
    command.env_clear().env("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://kafka:9092").arg("--print-config");
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let line = "listeners=PLAINTEXT://:9092  (environment KAFKA_ADVERTISED_LISTENERS)";
    assert!(printed.lines().any(|found| found == line), "{printed}");
}
