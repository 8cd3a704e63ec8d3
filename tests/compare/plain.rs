//! Values that differ from broker to broker, by API and field, each with a reason. They are replaced before
//! the comparison. A value that the script has named is replaced by that name everywhere, so a change of it
//! is still seen.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

/// The replacement of a field.
#[derive(Clone, Copy)]
enum As {
    /// The address of the connection.
    Host,
    Port,
    Cluster,
    /// The name of a named value, otherwise this text; empty, zero and negative values stay as they are.
    Own(&'static str),
    /// Any number from zero up.
    Counter,
}

/// API, field, replacement, reason.
#[rustfmt::skip]
const VOLATILE: &[(&str, &str, As, &str)] = &[
    ("ApiVersions", "finalized_features_epoch", As::Counter, "the position of the newest metadata"),
    ("Metadata", "brokers.host", As::Host, "where the broker listens"),
    ("Metadata", "brokers.port", As::Port, "where the broker listens"),
    ("Metadata", "cluster_id", As::Cluster, "every cluster has its own"),
    ("Metadata", "topics.topic_id", As::Own("a topic id"), "drawn by the broker"),
    ("Produce", "responses.topic_id", As::Own("a topic id"), "drawn by the broker"),
    ("Fetch", "responses.topic_id", As::Own("a topic id"), "drawn by the broker"),
    ("Fetch", "session_id", As::Own("a session id"), "drawn by the broker"),
    ("DescribeCluster", "brokers.host", As::Host, "where the broker listens"),
    ("DescribeCluster", "brokers.port", As::Port, "where the broker listens"),
    ("DescribeCluster", "cluster_id", As::Cluster, "every cluster has its own"),
    ("FindCoordinator", "host", As::Host, "where the broker listens"),
    ("FindCoordinator", "port", As::Port, "where the broker listens"),
    ("FindCoordinator", "coordinators.host", As::Host, "where the broker listens"),
    ("FindCoordinator", "coordinators.port", As::Port, "where the broker listens"),
    ("OffsetCommit", "topics.topic_id", As::Own("a topic id"), "drawn by the broker"),
    ("OffsetFetch", "groups.topics.topic_id", As::Own("a topic id"), "drawn by the broker"),
    ("DescribeGroups", "groups.members.member_id", As::Own("a member id"), "drawn by the broker"),
    ("JoinGroup", "member_id", As::Own("a member id"), "drawn by the broker"),
    ("JoinGroup", "leader", As::Own("a member id"), "drawn by the broker"),
    ("JoinGroup", "members.member_id", As::Own("a member id"), "drawn by the broker"),
    ("LeaveGroup", "members.member_id", As::Own("a member id"), "drawn by the broker"),
    ("CreateTopics", "topics.topic_id", As::Own("a topic id"), "drawn by the broker"),
    ("DeleteTopics", "responses.topic_id", As::Own("a topic id"), "drawn by the broker"),
    ("DescribeTopicPartitions", "topics.topic_id", As::Own("a topic id"), "drawn by the broker"),
    ("DescribeQuorum", "nodes.listeners.host", As::Host, "where the controller listens"),
    ("DescribeQuorum", "nodes.listeners.port", As::Counter, "where the controller listens"),
    ("DescribeQuorum", "topics.partitions.leader_epoch", As::Counter, "the elections so far"),
    ("DescribeQuorum", "topics.partitions.high_watermark", As::Counter, "the position of the newest metadata"),
    ("DescribeQuorum", "topics.partitions.current_voters.log_end_offset", As::Counter, "the position of the newest metadata"),
    ("DescribeQuorum", "topics.partitions.current_voters.last_fetch_timestamp", As::Counter, "now"),
    ("DescribeQuorum", "topics.partitions.current_voters.last_caught_up_timestamp", As::Counter, "now"),
    ("DescribeQuorum", "topics.partitions.current_voters.replica_directory_id", As::Own("a directory id"), "drawn by the broker"),
    ("DescribeLogDirs", "results.log_dir", As::Own("a directory"), "where the broker keeps its logs"),
    ("DescribeLogDirs", "results.total_bytes", As::Counter, "the size of the disk"),
    ("DescribeLogDirs", "results.usable_bytes", As::Counter, "what is free on the disk"),
    ("InitProducerId", "producer_id", As::Own("a producer id"), "handed out in turn"),
];

/// Lists that Kafka keeps in hash tables or reads from directories: API, list, reason.
const UNORDERED: &[(&str, &str, &str)] = &[
    ("Produce", "responses", "Kafka walks a hash table"),
    ("Produce", "responses.partition_responses", "Kafka walks a hash table"),
    ("ListOffsets", "topics", "Kafka walks a hash table"),
    ("ListOffsets", "topics.partitions", "Kafka puts those that failed first"),
    ("CreateTopics", "topics", "Kafka answers in an order of its own"),
    ("CreateTopics", "topics.configs", "Kafka walks a hash table"),
    ("DeleteTopics", "responses", "Kafka shuffles them"),
    ("DescribeLogDirs", "results.topics", "Kafka walks a hash table"),
    ("DescribeLogDirs", "results.topics.partitions", "Kafka walks a hash table"),
    ("ElectLeaders", "replica_election_results", "Kafka walks a hash table"),
    ("OffsetDelete", "topics.partitions", "Kafka puts those that failed first"),
    ("ListConfigResources", "config_resources", "Kafka walks a hash table"),
    ("DescribeConfigs", "results.configs", "Kafka walks a hash table"),
    ("CreatePartitions", "results", "Kafka answers in an order of its own"),
    ("DeleteGroups", "results", "Kafka asks each part of its coordinator, and takes what comes first"),
    ("DescribeGroups", "groups", "Kafka asks each part of its coordinator, and takes what comes first"),
    ("JoinGroup", "members", "Kafka keeps them in a hash table by their drawn ids"),
    ("Metadata", "topics", "Kafka walks a hash table where all are asked for, or names are refused"),
];

pub struct Plain {
    pub host: String,
    pub port: i64,
    pub cluster: String,
    /// From value to name.
    known: BTreeMap<String, String>,
    /// The rows that were used, by API and path.
    used: BTreeSet<(&'static str, &'static str)>,
}

impl Plain {
    pub fn new(host: &str, port: i64) -> Plain {
        Plain {
            host: host.to_owned(),
            port,
            cluster: String::new(),
            known: BTreeMap::new(),
            used: BTreeSet::new(),
        }
    }

    pub fn begin(&mut self) {
        self.known.clear();
    }

    pub fn learn(&mut self, name: &str, value: &str) {
        self.known.insert(value.to_owned(), format!("${name}"));
    }

    pub fn of(&mut self, api: &str, answer: Json) -> Json {
        self.walk(api, "", answer)
    }

    /// Rows that were never used.
    pub fn unused(&self) -> Vec<String> {
        let rows = VOLATILE.iter().map(|(api, path, ..)| (*api, *path));
        let rows = rows.chain(UNORDERED.iter().map(|(api, path, _)| (*api, *path)));
        rows.filter(|row| !self.used.contains(row)).map(|(api, path)| format!("{api} {path}")).collect()
    }

    fn walk(&mut self, api: &str, path: &str, value: Json) -> Json {
        match value {
            Json::Object(fields) => {
                let walked = fields.into_iter().map(|(name, value)| {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    (name, self.walk(api, &path, value))
                });
                Json::Object(walked.collect())
            }
            Json::Array(items) => {
                let mut items: Vec<Json> = items.into_iter().map(|item| self.walk(api, path, item)).collect();
                if let Some(row) = UNORDERED.iter().find(|row| (row.0, row.1) == (api, path)) {
                    self.used.insert((row.0, row.1));
                    items.sort_by_key(Json::to_string);
                }
                Json::Array(items)
            }
            value => {
                let row = VOLATILE.iter().find(|row| (row.0, row.1) == (api, path));
                let value = match row {
                    None => value,
                    Some((api, path, how, _)) => {
                        self.used.insert((api, path));
                        self.written(*how, value)
                    }
                };
                self.named(value)
            }
        }
    }

    fn written(&self, how: As, value: Json) -> Json {
        match how {
            As::Host if value == json!(self.host) => json!("<host>"),
            As::Port if value == json!(self.port) => json!("<port>"),
            As::Cluster if value == json!(self.cluster) => json!("<cluster id>"),
            As::Counter if value.as_i64().is_some_and(|number| number >= 0) => json!("<a counter>"),
            As::Host | As::Port | As::Cluster | As::Counter => value,
            As::Own(what) => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let is_nothing = ["", "0", "-1", "null", "AAAAAAAAAAAAAAAAAAAAAA"].contains(&text.as_str());
                match self.known.get(&text) {
                    _ if is_nothing => value,
                    Some(name) => json!(name),
                    None => json!(format!("<{what}>")),
                }
            }
        }
    }

    /// Values that the broker drew at random are also replaced inside a text.
    fn named(&self, value: Json) -> Json {
        let Some(text) = value.as_str() else { return value };
        let long = self.known.iter().filter(|(known, _)| known.len() > 12);
        json!(long.fold(text.to_owned(), |text, (known, name)| text.replace(known, name)))
    }
}
