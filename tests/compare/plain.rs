//! Values that differ from broker to broker, by API and field, each with a reason. They are replaced before
//! the comparison. A value that the script has named is replaced by that name everywhere, so a change of it
//! is still seen.

use std::collections::{BTreeMap, BTreeSet};

use jackdaw::time::Clock;
use serde_json::{Value as Json, json};

const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// The replacement of a field.
#[derive(Clone, Copy)]
enum As {
    /// The address of the connection.
    Host,
    Port,
    Cluster,
    /// The name of a named value, otherwise this text; empty, zero and negative values stay as they are.
    Own(&'static str),
    /// The name of a named value, otherwise the value.
    Named,
    /// Any number from zero up.
    Counter,
    /// The name of a named value, or that it is a time of the last hour, otherwise the value.
    Time,
    /// The minutes from now until a time. Zero and negative values stay as they are.
    Minutes,
    /// The most minutes that a time may be long. Whole minutes stay as they are.
    Length,
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
    ("Produce", "responses.partition_responses.log_append_time_ms", As::Time, "a time that the script has made from now"),
    ("Fetch", "responses.topic_id", As::Own("a topic id"), "drawn by the broker"),
    ("Fetch", "session_id", As::Own("a session id"), "drawn by the broker"),
    ("GetTelemetrySubscriptions", "client_instance_id", As::Named, "drawn by the broker if the client has none"),
    ("GetTelemetrySubscriptions", "subscription_id", As::Named, "it depends on the id"),
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
    ("EndTxn", "producer_id", As::Own("a producer id"), "handed out in turn"),
    ("DescribeTransactions", "transaction_states.producer_id", As::Own("a producer id"), "handed out in turn"),
    ("DescribeTransactions", "transaction_states.transaction_start_time_ms", As::Time, "now"),
    ("ListTransactions", "transaction_states.producer_id", As::Own("a producer id"), "handed out in turn"),
    ("DescribeProducers", "topics.partitions.active_producers.producer_id", As::Own("a producer id"), "handed out in turn"),
    ("DescribeProducers", "topics.partitions.active_producers.last_timestamp", As::Time, "the time of a marker"),
    ("CreateDelegationToken", "issue_timestamp_ms", As::Minutes, "a time that follows from now"),
    ("CreateDelegationToken", "expiry_timestamp_ms", As::Minutes, "a time that follows from now"),
    ("CreateDelegationToken", "max_timestamp_ms", As::Minutes, "a time that follows from now"),
    ("CreateDelegationToken", "token_id", As::Own("a token id"), "drawn by the broker"),
    ("CreateDelegationToken", "hmac", As::Own("an HMAC"), "made from the token id"),
    ("RenewDelegationToken", "expiry_timestamp_ms", As::Minutes, "a time that follows from now"),
    ("ExpireDelegationToken", "expiry_timestamp_ms", As::Minutes, "a time that follows from now"),
    ("DescribeDelegationToken", "tokens.issue_timestamp", As::Minutes, "a time that follows from now"),
    ("DescribeDelegationToken", "tokens.expiry_timestamp", As::Minutes, "a time that follows from now"),
    ("DescribeDelegationToken", "tokens.max_timestamp", As::Minutes, "a time that follows from now"),
    ("DescribeDelegationToken", "tokens.token_id", As::Own("a token id"), "drawn by the broker"),
    ("DescribeDelegationToken", "tokens.hmac", As::Own("an HMAC"), "made from the token id"),
    ("SaslAuthenticate", "session_lifetime_ms", As::Length, "a token ends at a second"),
    ("WriteTxnMarkers", "markers.producer_id", As::Named, "handed out in turn"),
    ("Fetch", "responses.partitions.aborted_transactions.producer_id", As::Named, "handed out in turn"),
    ("Fetch", "responses.partitions.records.producer", As::Named, "handed out in turn"),
    ("Fetch", "responses.partitions.records.base_timestamp", As::Time, "the time of a marker"),
    ("Fetch", "responses.partitions.records.max_timestamp", As::Time, "the time of a marker"),
    ("ListOffsets", "topics.partitions.timestamp", As::Time, "the time of a marker"),
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
    ("ListTransactions", "transaction_states", "Kafka walks a hash table"),
    ("DescribeTransactions", "transaction_states.topics", "Kafka walks a hash table"),
    ("DescribeTransactions", "transaction_states.topics.partitions", "Kafka walks a hash table"),
    ("AddPartitionsToTxn", "results_by_transaction", "Kafka walks a hash table"),
    ("AddPartitionsToTxn", "results_by_transaction.topic_results", "Kafka walks a hash table"),
    (
        "AddPartitionsToTxn",
        "results_by_transaction.topic_results.results_by_partition",
        "Kafka walks a hash table",
    ),
    ("AddPartitionsToTxn", "results_by_topic_v3_and_below", "Kafka walks a hash table"),
    ("AddPartitionsToTxn", "results_by_topic_v3_and_below.results_by_partition", "Kafka walks a hash table"),
    ("WriteTxnMarkers", "markers", "Kafka walks a hash table"),
    ("WriteTxnMarkers", "markers.topics", "Kafka walks a hash table"),
    ("WriteTxnMarkers", "markers.topics.partitions", "Kafka walks a hash table"),
    ("DescribeProducers", "topics.partitions.active_producers", "Kafka walks a hash table"),
    ("DescribeUserScramCredentials", "results", "Kafka walks a hash table"),
    ("DescribeUserScramCredentials", "results.credential_infos", "Kafka walks a hash table"),
    ("AlterUserScramCredentials", "results", "Kafka walks a hash table"),
    ("DescribeDelegationToken", "tokens", "Kafka walks a hash table"),
    ("TxnOffsetCommit", "topics", "Kafka puts those that failed first"),
    ("TxnOffsetCommit", "topics.partitions", "Kafka puts those that failed first"),
    ("DescribeClientQuotas", "entries", "Kafka walks a hash table"),
    ("DescribeClientQuotas", "entries.values", "Kafka walks a hash table"),
    ("AlterClientQuotas", "entries", "Kafka walks a hash table"),
    ("JoinGroup", "members", "Kafka keeps them in a hash table by their drawn ids"),
    ("AlterReplicaLogDirs", "results", "Kafka walks a hash table"),
    ("DeleteRecords", "topics", "Kafka puts those that failed first"),
    ("DescribeConfigs", "results", "Kafka puts those that a right is missing for last"),
    ("DescribeTopicPartitions", "topics", "Kafka puts those that a right is missing for last"),
    ("ListGroups", "groups", "Kafka walks a hash table"),
    ("OffsetFetch", "topics", "Kafka puts those that a right is missing for last"),
    ("OffsetFetch", "groups.topics", "Kafka puts those that a right is missing for last"),
    ("OffsetForLeaderEpoch", "topics", "Kafka puts those that a right is missing for last"),
    ("SaslHandshake", "mechanisms", "Kafka walks a hash table"),
    ("DescribeAcls", "resources", "Kafka walks a hash table"),
    ("DescribeAcls", "resources.acls", "Kafka walks a hash table"),
    ("DeleteAcls", "filter_results.matching_acls", "Kafka walks a hash table"),
    ("Metadata", "topics", "Kafka walks a hash table where all are asked for, or names are refused"),
];

pub struct Plain {
    pub host: String,
    pub port: i64,
    pub cluster: String,
    /// From value to name.
    known: BTreeMap<String, String>,
    /// The rows that were used, by API and path.
    pub used: BTreeSet<(&'static str, &'static str)>,
}

/// API and path of each row.
pub fn rows() -> BTreeSet<(&'static str, &'static str)> {
    let volatile = VOLATILE.iter().map(|(api, path, ..)| (*api, *path));
    volatile.chain(UNORDERED.iter().map(|(api, path, _)| (*api, *path))).collect()
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
                if (api, path) == ("ListTransactions", "transaction_states") {
                    // The ids of other scripts are there for ever.
                    items.retain(|one| {
                        one["transactional_id"].as_str().is_some_and(|id| id.starts_with("$own"))
                    });
                }
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
            As::Named | As::Time => match self.known.get(&value.to_string()) {
                Some(name) => json!(name),
                None if matches!(how, As::Time) && value.as_i64().is_some_and(is_now) => json!("<now>"),
                None => value,
            },
            As::Minutes => match value.as_i64() {
                Some(time) if time > 0 => {
                    let minutes = (time - Clock::machine().now().0 + MINUTE_MS / 2).div_euclid(MINUTE_MS);
                    json!(format!("<in {minutes} minutes>"))
                }
                _ => value,
            },
            As::Length => match value.as_i64() {
                Some(length) if length % MINUTE_MS != 0 => {
                    json!(format!("<at most {} minutes>", length.div_euclid(MINUTE_MS) + 1))
                }
                _ => value,
            },
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
        if let Some((_, right)) = text.strip_prefix("Request ").and_then(|rest| rest.rsplit_once(" needs ")) {
            // Kafka prints an object of its own in place of the request.
            return json!(format!("Request <request> needs {right}"));
        }
        let long = self.known.iter().filter(|(known, _)| known.len() > 12);
        json!(long.fold(text.to_owned(), |text, (known, name)| text.replace(known, name)))
    }
}

fn is_now(time: i64) -> bool {
    let now = Clock::machine().now().0;
    (now - HOUR_MS..=now).contains(&time)
}
