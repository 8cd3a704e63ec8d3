//! All of Kafka's settings exist here and are described as in Kafka.

use std::collections::BTreeMap;

use jackdaw::protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use jackdaw::protocol::messages::describe_configs_response::DescribeConfigsResourceResult;

use crate::harness::Node;

/// The answers of Apache Kafka 4.4; the file describes its format.
const FACTS: &str = include_str!("facts/configs.tsv");

/// A setting as one line of the facts.
#[derive(Debug, PartialEq, Eq)]
struct Fact {
    kind: String,
    value: String,
    source: String,
    flags: String,
    synonyms: String,
}

fn facts(resource: &str) -> BTreeMap<String, Fact> {
    let lines = FACTS.lines().filter(|line| !line.starts_with('#'));
    let columns = lines.map(|line| line.split('\t').collect::<Vec<_>>());
    columns
        .filter(|columns| columns[0] == resource)
        .map(|columns| {
            let [_, name, kind, value, source, flags, synonyms] = columns[..] else {
                panic!("seven columns: {columns:?}");
            };
            let fact = Fact {
                kind: kind.to_owned(),
                value: value.to_owned(),
                source: source.to_owned(),
                flags: flags.to_owned(),
                synonyms: synonyms.to_owned(),
            };
            (name.to_owned(), fact)
        })
        .collect()
}

fn source(number: i8) -> &'static str {
    match number {
        3 => "cluster",
        4 => "static",
        5 => "default",
        other => panic!("nothing was altered: {other}"),
    }
}

fn seen(setting: &DescribeConfigsResourceResult) -> Fact {
    const KINDS: [&str; 10] =
        ["?", "boolean", "string", "int", "short", "long", "double", "list", "class", "password"];
    let synonyms: Vec<String> =
        setting.synonyms.iter().map(|one| format!("{}:{}", one.name, source(one.source))).collect();
    let flags = match (setting.read_only, setting.is_sensitive) {
        (true, true) => "rs",
        (true, false) => "r",
        (false, true) => "s",
        (false, false) => "-",
    };
    Fact {
        kind: KINDS[usize::try_from(setting.config_type).unwrap()].to_owned(),
        value: match setting.value.as_deref() {
            None => "null".to_owned(),
            Some("") => "\"\"".to_owned(),
            Some(value) => value.to_owned(),
        },
        source: source(setting.config_source).to_owned(),
        flags: flags.to_owned(),
        synonyms: if synonyms.is_empty() { "-".to_owned() } else { synonyms.join(" ") },
    }
}

/// The recorded Kafka broker had these settings in its file.
const STATIC: &[(&str, &str)] = &[
    ("advertised.listeners", "PLAINTEXT://127.0.0.1:9392"),
    ("controller.listener.names", "CONTROLLER"),
    ("controller.quorum.bootstrap.servers", "127.0.0.1:9492"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("inter.broker.listener.name", "PLAINTEXT"),
    ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
    ("log.dirs", "data"),
    ("num.io.threads", "8"),
    ("num.network.threads", "3"),
    ("offsets.topic.replication.factor", "1"),
    ("process.roles", "broker,controller"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.replication.factor", "1"),
];

/// Compares both ways: no setting is missing, none is extra, and each is described alike.
#[tokio::test]
async fn a8_a9_a10_every_setting_is_shown_as_kafka_shows_it() {
    let node = Node::with(STATIC).await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    for (resource, kind, name) in
        [("topic", 2, "t"), ("broker", 4, "1"), ("group", 32, "g"), ("client-metrics", 16, "m")]
    {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: kind,
                resource_name: name.to_owned(),
                configuration_keys: None,
            }],
            include_synonyms: true,
            include_documentation: true,
        };
        let answer = client.call(4, request).await.results.remove(0);
        assert_eq!(answer.error_code, 0, "{resource}");
        let mut facts = facts(resource);
        assert!(!facts.is_empty());
        for setting in &answer.configs {
            let mut fact = facts
                .remove(&setting.name)
                .unwrap_or_else(|| panic!("Kafka has no {} of a {resource}", setting.name));
            let seen = seen(setting);
            if fact.value == "?" {
                fact.value.clone_from(&seen.value);
            }
            assert_eq!(seen, fact, "{} of a {resource}", setting.name);
            assert!(setting.documentation.as_ref().is_some_and(|doc| doc.ends_with('.')), "{}", setting.name);
        }
        assert!(facts.is_empty(), "not shown of a {resource}: {:?}", facts.keys());
    }
}
