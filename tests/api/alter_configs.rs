//! IncrementalAlterConfigs, AlterConfigs and ListConfigResources: a change takes effect at once, is described
//! with its source, and survives a restart.

use jackdaw::api::error::ErrorCode;
use jackdaw::broker::Broker;
use jackdaw::protocol::messages::alter_configs_request::{self, AlterConfigsRequest};
use jackdaw::protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use jackdaw::protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use jackdaw::protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use jackdaw::protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use jackdaw::time::Clock;

use jackdaw::kernel::Scope;
use jackdaw::types::NodeId;

use crate::harness::{Client, Node, batch, batch_at, code};

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const LOGGER: i8 = 8;
pub const CLIENT_METRICS: i8 = 16;
pub const GROUP: i8 = 32;

pub const SET: i8 = 0;
pub const DELETE: i8 = 1;
pub const APPEND: i8 = 2;
pub const SUBTRACT: i8 = 3;

type Change<'a> = (&'a str, i8, Option<&'a str>);

fn resource(kind: i8, name: &str, changes: &[Change<'_>]) -> AlterConfigsResource {
    let configs = changes.iter().map(|(name, config_operation, value)| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: *config_operation,
        value: value.map(str::to_owned),
    });
    AlterConfigsResource { resource_type: kind, resource_name: name.to_owned(), configs: configs.collect() }
}

/// The code and the message for one resource.
pub async fn alter(
    client: &mut Client,
    kind: i8,
    name: &str,
    changes: &[Change<'_>],
) -> (i16, Option<String>) {
    let resources = vec![resource(kind, name, changes)];
    let answer = client.call(1, IncrementalAlterConfigsRequest { resources, validate_only: false }).await;
    let [one] = &answer.responses[..] else { panic!("one answer for one resource") };
    assert_eq!((one.resource_type, one.resource_name.as_str()), (kind, name));
    (one.error_code, one.error_message.clone())
}

pub async fn set(client: &mut Client, kind: i8, name: &str, setting: &str, value: &str) {
    let answer = alter(client, kind, name, &[(setting, SET, Some(value))]).await;
    assert_eq!(answer, (0, None), "{setting}={value}");
}

async fn replace(
    client: &mut Client,
    kind: i8,
    name: &str,
    all: &[(&str, Option<&str>)],
) -> (i16, Option<String>) {
    let configs = all.iter().map(|(name, value)| alter_configs_request::AlterableConfig {
        name: (*name).to_owned(),
        value: value.map(str::to_owned),
    });
    let resource = alter_configs_request::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configs: configs.collect(),
    };
    let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = client.call(2, request).await;
    (answer.responses[0].error_code, answer.responses[0].error_message.clone())
}

async fn described(
    client: &mut Client,
    kind: i8,
    name: &str,
    setting: &str,
) -> Option<DescribeConfigsResourceResult> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned(),
            configuration_keys: Some(vec![setting.to_owned()]),
        }],
        include_synonyms: true,
        include_documentation: false,
    };
    let mut results = client.call(4, request).await.results;
    assert_eq!(results[0].error_code, 0, "{name}: {:?}", results[0].error_message);
    results.remove(0).configs.pop()
}

/// Value and source; a setting that is not listed has neither.
pub async fn value(client: &mut Client, kind: i8, name: &str, setting: &str) -> (Option<String>, i8) {
    let setting = described(client, kind, name, setting).await;
    setting.map_or((None, -1), |setting| (setting.value, setting.config_source))
}

fn is(value: &str, source: i8) -> (Option<String>, i8) {
    (Some(value.to_owned()), source)
}

#[tokio::test]
async fn a_topics_setting_is_set_and_taken_away_again() {
    let node = Node::start().await;
    node.topic_with("t", 1, &[("segment.bytes", "2000000")]).await;
    let mut client = node.client().await;
    set(&mut client, TOPIC, "t", "retention.ms", "1000").await;
    assert_eq!(value(&mut client, TOPIC, "t", "retention.ms").await, is("1000", 1));
    assert_eq!(value(&mut client, TOPIC, "t", "segment.bytes").await, is("2000000", 1));
    let both = [("retention.ms", DELETE, None), ("max.message.bytes", SET, Some("77"))];
    assert_eq!(alter(&mut client, TOPIC, "t", &both).await, (0, None));
    assert_eq!(value(&mut client, TOPIC, "t", "retention.ms").await, is("604800000", 5));
    assert_eq!(value(&mut client, TOPIC, "t", "max.message.bytes").await, is("77", 1));
    // Deleting a setting that is not set is no error.
    assert_eq!(alter(&mut client, TOPIC, "t", &[("retention.ms", DELETE, None)]).await, (0, None));
}

#[tokio::test]
async fn a14_lists_grow_and_shrink() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let name = "leader.replication.throttled.replicas";
    for (operation, change, after) in [
        (APPEND, "0:1,1:1", is("0:1,1:1", 1)),
        (APPEND, "1:1,2:1", is("0:1,1:1,2:1", 1)),
        (SUBTRACT, "1:1,9:9", is("0:1,2:1", 1)),
        (SUBTRACT, "0:1,2:1", is("", 1)),
    ] {
        assert_eq!(alter(&mut client, TOPIC, "t", &[(name, operation, Some(change))]).await, (0, None));
        assert_eq!(value(&mut client, TOPIC, "t", name).await, after);
    }
    // If the setting is not set, APPEND and SUBTRACT change the default.
    assert_eq!(
        alter(&mut client, TOPIC, "t", &[("cleanup.policy", APPEND, Some("delete"))]).await,
        (0, None)
    );
    assert_eq!(value(&mut client, TOPIC, "t", "cleanup.policy").await, is("delete", 1));
    assert_eq!(
        alter(&mut client, TOPIC, "t", &[("cleanup.policy", SUBTRACT, Some("delete"))]).await,
        (0, None)
    );
    assert_eq!(value(&mut client, TOPIC, "t", "cleanup.policy").await, is("", 1));
}

#[tokio::test]
async fn a8_alter_configs_replaces_all_that_was_set() {
    let node = Node::start().await;
    node.topic_with("t", 1, &[("retention.ms", "1000"), ("segment.ms", "5")]).await;
    let mut client = node.client().await;
    let all = [("retention.ms", Some("2000")), ("flush.ms", Some("7"))];
    assert_eq!(replace(&mut client, TOPIC, "t", &all).await, (0, None));
    assert_eq!(value(&mut client, TOPIC, "t", "retention.ms").await, is("2000", 1));
    assert_eq!(value(&mut client, TOPIC, "t", "flush.ms").await, is("7", 1));
    assert_eq!(value(&mut client, TOPIC, "t", "segment.ms").await, is("604800000", 5));
    let refused = replace(&mut client, TOPIC, "t", &[("retention.ms", Some("x"))]).await;
    assert_eq!(refused.0, code(ErrorCode::InvalidConfig));
    assert_eq!(value(&mut client, TOPIC, "t", "flush.ms").await, is("7", 1), "nothing was changed");
    assert_eq!(replace(&mut client, TOPIC, "t", &[]).await, (0, None));
    assert_eq!(value(&mut client, TOPIC, "t", "flush.ms").await.1, 5);
}

#[tokio::test]
async fn a_validated_request_changes_nothing() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let resources = vec![
        resource(TOPIC, "t", &[("retention.ms", SET, Some("1"))]),
        resource(BROKER, "", &[("log.retention.ms", SET, Some("1"))]),
        resource(GROUP, "g", &[("consumer.session.timeout.ms", SET, Some("46000"))]),
        resource(LOGGER, "1", &[("jackdaw::http", SET, Some("TRACE"))]),
        resource(TOPIC, "none", &[("retention.ms", SET, Some("1"))]),
    ];
    let answer = client.call(1, IncrementalAlterConfigsRequest { resources, validate_only: true }).await;
    let codes: Vec<i16> = answer.responses.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [0, 0, 0, 0, code(ErrorCode::UnknownTopicOrPartition)]);
    assert_eq!(value(&mut client, TOPIC, "t", "retention.ms").await, is("604800000", 5));
    assert_eq!(value(&mut client, BROKER, "", "log.retention.ms").await, (None, -1));
    assert_eq!(value(&mut client, GROUP, "g", "consumer.session.timeout.ms").await, is("45000", 5));
    assert_ne!(value(&mut client, LOGGER, "1", "jackdaw::http").await, is("TRACE", 6));
}

#[tokio::test]
async fn each_resource_succeeds_or_fails_for_itself_and_one_named_twice_fails() {
    let node = Node::start().await;
    node.topic("one", 1).await;
    node.topic("two", 1).await;
    let mut client = node.client().await;
    let resources = vec![
        resource(TOPIC, "one", &[("retention.ms", SET, Some("1"))]),
        resource(TOPIC, "two", &[("retention.ms", SET, Some("1"))]),
        resource(TOPIC, "none", &[("retention.ms", SET, Some("1"))]),
        resource(TOPIC, "one", &[("retention.ms", SET, Some("2"))]),
    ];
    let answer = client.call(0, IncrementalAlterConfigsRequest { resources, validate_only: false }).await;
    let seen: Vec<_> =
        answer.responses.iter().map(|one| (one.resource_name.as_str(), one.error_code)).collect();
    let (twice, unknown) = (code(ErrorCode::InvalidRequest), code(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(seen, [("one", twice), ("two", 0), ("none", unknown), ("one", twice)]);
    assert_eq!(value(&mut client, TOPIC, "one", "retention.ms").await.1, 5);
    assert_eq!(value(&mut client, TOPIC, "two", "retention.ms").await, is("1", 1));
}

#[tokio::test]
async fn settings_of_one_broker_precede_those_of_all_and_these_precede_those_of_the_start() {
    let node = Node::with(&[("log.retention.hours", "3"), ("message.max.bytes", "5000")]).await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    assert_eq!(value(&mut client, TOPIC, "t", "max.message.bytes").await, is("5000", 4));
    set(&mut client, BROKER, "", "message.max.bytes", "6000").await;
    assert_eq!(value(&mut client, TOPIC, "t", "max.message.bytes").await, is("6000", 3));
    assert_eq!(value(&mut client, BROKER, "", "message.max.bytes").await, is("6000", 3));
    set(&mut client, BROKER, "1", "message.max.bytes", "7000").await;
    let shown = described(&mut client, TOPIC, "t", "max.message.bytes").await.unwrap();
    let synonyms: Vec<_> =
        shown.synonyms.iter().map(|one| (one.name.as_str(), one.value.as_deref(), one.source)).collect();
    let name = "message.max.bytes";
    assert_eq!(
        synonyms,
        [
            (name, Some("7000"), 2),
            (name, Some("6000"), 3),
            (name, Some("5000"), 4),
            (name, Some("1048588"), 5)
        ]
    );
    assert_eq!((shown.value.as_deref(), shown.config_source), (Some("7000"), 2));
    for broker in ["1", ""] {
        let gone = [("message.max.bytes", DELETE, None)];
        assert_eq!(alter(&mut client, BROKER, broker, &gone).await, (0, None));
    }
    assert_eq!(value(&mut client, TOPIC, "t", "max.message.bytes").await, is("5000", 4));
    // An altered setting in milliseconds takes precedence over the hours in the file.
    set(&mut client, BROKER, "", "log.retention.ms", "9").await;
    assert_eq!(value(&mut client, TOPIC, "t", "retention.ms").await, is("9", 3));
}

#[tokio::test]
async fn a_limit_holds_from_the_next_batch_on() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    node.topic_with("own", 1, &[("max.message.bytes", "1000")]).await;
    let mut client = node.client().await;
    let long = "x".repeat(500);
    let too_large = code(ErrorCode::MessageTooLarge);
    set(&mut client, TOPIC, "t", "max.message.bytes", "200").await;
    assert_eq!(client.produce("t", 0, batch(&[&long])).await.error_code, too_large);
    assert_eq!(alter(&mut client, TOPIC, "t", &[("max.message.bytes", DELETE, None)]).await, (0, None));
    assert_eq!(client.produce("t", 0, batch(&[&long])).await.error_code, 0);
    // The broker's limit applies to topics without one.
    set(&mut client, BROKER, "", "message.max.bytes", "200").await;
    assert_eq!(client.produce("t", 0, batch(&[&long])).await.error_code, too_large);
    assert_eq!(client.produce("own", 0, batch(&[&long])).await.error_code, 0);
}

#[tokio::test]
async fn bounds_of_timestamps_and_replicas_hold_from_the_next_batch_on() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let old = Clock::machine().now().0 - 3_600_000;
    assert_eq!(client.produce("t", 0, batch_at(&[old])).await.error_code, 0);
    set(&mut client, TOPIC, "t", "message.timestamp.before.max.ms", "1000").await;
    let refused = client.produce("t", 0, batch_at(&[old])).await;
    assert_eq!(refused.error_code, code(ErrorCode::InvalidTimestamp));
    // One of two replicas is not running.
    node.store.set_brokers(vec![NodeId(1), NodeId(2)]).await.unwrap();
    let topic = node.store.topics().by_name("t").unwrap().id;
    node.store.set_replicas(topic, 0, vec![NodeId(1), NodeId(2)]).await.unwrap();
    node.store.set_brokers(vec![NodeId(1)]).await.unwrap();
    assert_eq!(client.produce("t", 0, batch(&["v"])).await.error_code, 0);
    set(&mut client, TOPIC, "t", "min.insync.replicas", "2").await;
    let refused = client.produce("t", 0, batch(&["v"])).await;
    assert_eq!(refused.error_code, code(ErrorCode::NotEnoughReplicas));
}

#[tokio::test]
async fn a6_retention_is_altered_for_existing_records() {
    let node = Node::start().await;
    node.topic_with("t", 1, &[("internal.segment.bytes", "100")]).await;
    let mut client = node.client().await;
    for _ in 0..3 {
        assert_eq!(client.produce("t", 0, batch(&["v"])).await.error_code, 0);
    }
    node.store.housekeep();
    assert_eq!(node.partition("t", 0).ends().log_start.0, 0);
    set(&mut client, BROKER, "", "log.retention.bytes", "100").await;
    node.store.housekeep();
    // The command is queued; a later command sees its effect.
    set(&mut client, TOPIC, "t", "flush.ms", "1").await;
    assert!(node.partition("t", 0).ends().log_start.0 > 0);
}

#[tokio::test]
async fn a16_groups_and_client_metrics_are_altered_described_and_listed() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    set(&mut client, GROUP, "g", "consumer.session.timeout.ms", "50000").await;
    set(&mut client, CLIENT_METRICS, "m", "interval.ms", "1000").await;
    let shown = described(&mut client, GROUP, "g", "consumer.session.timeout.ms").await.unwrap();
    let sources: Vec<_> = shown.synonyms.iter().map(|one| (one.name.as_str(), one.source)).collect();
    assert_eq!((shown.value.as_deref(), shown.config_source), (Some("50000"), 8));
    assert_eq!(sources, [("consumer.session.timeout.ms", 8), ("group.consumer.session.timeout.ms", 5)]);
    assert_eq!(value(&mut client, CLIENT_METRICS, "m", "interval.ms").await, is("1000", 7));

    let list = |types: &[i8]| ListConfigResourcesRequest { resource_types: types.to_vec() };
    let named = |answer: &jackdaw::protocol::messages::list_config_resources_response::ListConfigResourcesResponse| {
        let named = answer.config_resources.iter();
        named.map(|one| (one.resource_type, one.resource_name.clone())).collect::<Vec<_>>()
    };
    let all = client.call(1, list(&[])).await;
    let expected = [(TOPIC, "t"), (BROKER, "1"), (LOGGER, "1"), (CLIENT_METRICS, "m"), (GROUP, "g")];
    assert_eq!(named(&all), expected.map(|(kind, name)| (kind, name.to_owned())));
    assert_eq!(named(&client.call(1, list(&[GROUP])).await), [(GROUP, "g".to_owned())]);
    assert_eq!(named(&client.call(0, list(&[])).await), [(CLIENT_METRICS, "m".to_owned())]);
    let unknown = client.call(1, list(&[GROUP, 99])).await;
    assert_eq!(
        (unknown.error_code, unknown.config_resources.len()),
        (code(ErrorCode::UnsupportedVersion), 0)
    );

    assert_eq!(
        alter(&mut client, GROUP, "g", &[("consumer.session.timeout.ms", DELETE, None)]).await,
        (0, None)
    );
    assert_eq!(named(&client.call(1, list(&[GROUP])).await), []);
}

#[tokio::test]
async fn settings_beyond_1_mib_of_one_resource_and_16_mib_together_are_refused() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let policy = code(ErrorCode::PolicyViolation);
    // A string of a request has at most 32 KiB.
    let mut appended: u32 = 0;
    let refused = loop {
        let all = (0..3_000).map(|number| format!("{}:1", 1_000_000 + appended * 3_000 + number));
        let more = all.collect::<Vec<_>>().join(",");
        let change = ("follower.replication.throttled.replicas", APPEND, Some(&*more));
        match alter(&mut client, TOPIC, "t", &[change]).await {
            (0, _) => appended += 1,
            refused => break refused,
        }
    };
    assert_eq!((refused.0, appended), (policy, 34), "{:?}", refused.1);

    let value = "m".repeat(32_000);
    let mut kept = 0;
    let refused = loop {
        let change = ("metrics", SET, Some(&*value));
        match alter(&mut client, CLIENT_METRICS, &kept.to_string(), &[change]).await {
            (0, _) => kept += 1,
            refused => break refused,
        }
    };
    assert_eq!((refused.0, kept), (policy, 524), "{:?}", refused.1);
    assert_eq!(alter(&mut client, CLIENT_METRICS, "0", &[("metrics", DELETE, None)]).await, (0, None));
    set(&mut client, CLIENT_METRICS, "another", "metrics", &value).await;
}

#[tokio::test]
async fn a_logger_gets_a_level_and_loses_it() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let logger = "jackdaw::config";
    set(&mut client, LOGGER, "1", logger, "TRACE").await;
    let shown = described(&mut client, LOGGER, "1", logger).await.unwrap();
    assert_eq!((shown.value.as_deref(), shown.config_source, shown.config_type), (Some("TRACE"), 6, 0));
    assert_eq!(alter(&mut client, LOGGER, "1", &[(logger, DELETE, None)]).await, (0, None));
    assert_ne!(value(&mut client, LOGGER, "1", logger).await, is("TRACE", 6));
}

#[tokio::test]
async fn a_logger_of_kafka_is_another_name_of_the_room_that_does_its_work() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let (kafkas, ours) =
        ("org.apache.kafka.coordinator.group.GroupCoordinatorService", "jackdaw::coordinator");
    set(&mut client, LOGGER, "1", kafkas, "TRACE").await;
    assert_eq!(value(&mut client, LOGGER, "1", kafkas).await, is("TRACE", 6));
    assert_eq!(value(&mut client, LOGGER, "1", ours).await, is("TRACE", 6));
    assert_eq!(alter(&mut client, LOGGER, "1", &[(kafkas, DELETE, None)]).await, (0, None));
    assert_ne!(value(&mut client, LOGGER, "1", ours).await, is("TRACE", 6));
    let (error, message) =
        alter(&mut client, LOGGER, "1", &[("kafka.server.NoSuchClass", SET, Some("TRACE"))]).await;
    assert_eq!(error, code(ErrorCode::InvalidConfig), "{message:?}");
}

#[tokio::test]
async fn altered_settings_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let start = || Broker::builder().data_dir(dir.path()).start();
    for round in 0..3 {
        let broker = start().await.unwrap();
        let mut client = Client::of(broker.bootstrap()).await;
        if round == 0 {
            client.create_topic("t").await;
            set(&mut client, TOPIC, "t", "max.message.bytes", "200").await;
            set(&mut client, BROKER, "", "log.segment.bytes", "3000000").await;
            set(&mut client, BROKER, "1", "log.retention.ms", "4000000").await;
            set(&mut client, GROUP, "g", "share.auto.offset.reset", "earliest").await;
        }
        assert_eq!(value(&mut client, TOPIC, "t", "max.message.bytes").await, is("200", 1), "round {round}");
        assert_eq!(value(&mut client, TOPIC, "t", "segment.bytes").await, is("3000000", 3));
        assert_eq!(value(&mut client, TOPIC, "t", "retention.ms").await, is("4000000", 2));
        assert_eq!(value(&mut client, GROUP, "g", "share.auto.offset.reset").await, is("earliest", 8));
        let refused = client.produce("t", 0, batch(&[&"x".repeat(500)])).await;
        assert_eq!(refused.error_code, code(ErrorCode::MessageTooLarge));
        // Once the setting comes from a snapshot, once from the journal.
        match round {
            0 => drop(broker),
            _ => broker.stop().await,
        }
    }
}

#[tokio::test]
async fn a_stored_value_that_is_no_longer_valid_is_removed_and_holds_up_no_other_change() {
    let node = Node::start().await;
    let mut client = node.client().await;
    for (scope, name) in [(Scope::DefaultBroker, ""), (Scope::Broker(NodeId(1)), "1")] {
        let change = |value: Option<&str>| [("max.connections".to_owned(), value.map(str::to_owned))].into();
        node.store.alter_settings(scope.clone(), change(Some("0"))).await.unwrap();
        set(&mut client, BROKER, name, "log.retention.ms", "77").await;
        let is_stored =
            || node.store.settings().get(&scope).is_some_and(|own| own.contains_key("max.connections"));
        assert!(is_stored(), "only ignored");
        let removed = alter(&mut client, BROKER, name, &[("max.connections", DELETE, None)]).await;
        assert_eq!(removed, (0, None));
        assert!(!is_stored());
    }
}
