//! DescribeConfigs and DescribeCluster.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::describe_cluster_request::DescribeClusterRequest;
use jackdaw::protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use jackdaw::protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};

use crate::harness::{Client, Node, code};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

async fn describe(client: &mut Client, kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect()),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
    };
    let mut results = client.call(4, request).await.results;
    assert_eq!(results.len(), 1);
    results.remove(0)
}

fn named<'a>(result: &'a DescribeConfigsResult, name: &str) -> &'a DescribeConfigsResourceResult {
    result.configs.iter().find(|config| config.name == name).expect("the setting is listed")
}

fn synonyms(config: &DescribeConfigsResourceResult) -> Vec<(&str, Option<&str>, i8)> {
    config.synonyms.iter().map(|one| (one.name.as_str(), one.value.as_deref(), one.source)).collect()
}

#[tokio::test]
async fn a8_a9_every_setting_of_a_topic_is_listed_with_its_true_source() {
    let node = Node::with(&[("log.segment.bytes", "2097152")]).await;
    node.topic_with("t", 1, &[("retention.ms", "1000")]).await;
    let result = describe(&mut node.client().await, TOPIC, "t", None).await;
    assert_eq!((result.error_code, result.error_message.as_deref()), (0, Some("")));

    let own = named(&result, "retention.ms");
    assert_eq!((own.value.as_deref(), own.config_source, own.config_type), (Some("1000"), 1, 5));
    assert_eq!(synonyms(own)[0], ("retention.ms", Some("1000"), 1));
    let of_the_broker = named(&result, "segment.bytes");
    assert_eq!((of_the_broker.value.as_deref(), of_the_broker.config_source), (Some("2097152"), 4));
    let default = named(&result, "cleanup.policy");
    assert_eq!(
        (default.value.as_deref(), default.config_source, default.config_type),
        (Some("delete"), 5, 7)
    );
    assert_eq!(synonyms(default), [("log.cleanup.policy", Some("delete"), 5)]);
    assert!(default.documentation.as_ref().is_some_and(|doc| !doc.is_empty()));
    // Nothing was altered, but Kafka always sets this one setting for the whole cluster.
    for config in &result.configs {
        let expected: &[i8] = if config.name == "min.insync.replicas" { &[3] } else { &[1, 4, 5] };
        assert!(expected.contains(&config.config_source), "{}", config.name);
    }
}

#[tokio::test]
async fn a7_a_topic_created_on_demand_has_the_normal_cleanup_policy() {
    let node = Node::start().await;
    let mut client = node.client().await;
    crate::metadata::known(&mut client, &["t"]).await;
    let result = describe(&mut client, TOPIC, "t", None).await;
    let policy = named(&result, "cleanup.policy");
    assert_eq!((policy.value.as_deref(), policy.config_source), (Some("delete"), 5));
    assert!(result.configs.iter().all(|config| config.config_source != 1), "it sets nothing itself");
}

#[tokio::test]
async fn a10_nothing_is_listed_that_kafka_does_not_have() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    for (kind, name) in [(TOPIC, "t"), (BROKER, "1")] {
        let result = describe(&mut client, kind, name, None).await;
        assert!(!result.configs.is_empty());
        assert!(result.configs.iter().all(|config| !config.name.starts_with("jackdaw.")));
        assert!(result.configs.iter().all(|config| !config.name.starts_with("internal.")));
    }
}

#[tokio::test]
async fn names_choose_settings_and_an_empty_list_means_all() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let some = describe(&mut client, TOPIC, "t", Some(&["retention.ms", "nope", "retention.ms"])).await;
    let names: Vec<_> = some.configs.iter().map(|config| config.name.as_str()).collect();
    assert_eq!(names, ["retention.ms"]);
    let all = describe(&mut client, TOPIC, "t", Some(&[])).await;
    assert_eq!(all.configs.len(), describe(&mut client, TOPIC, "t", None).await.configs.len());
}

#[tokio::test]
async fn the_broker_is_described_by_its_own_id_only() {
    let node = Node::with(&[("num.partitions", "3")]).await;
    let mut client = node.client().await;
    let broker = describe(&mut client, BROKER, "1", None).await;
    let partitions = named(&broker, "num.partitions");
    assert_eq!(
        (partitions.value.as_deref(), partitions.config_source, partitions.read_only),
        (Some("3"), 4, true)
    );
    assert_eq!(synonyms(partitions), [("num.partitions", Some("3"), 4), ("num.partitions", Some("1"), 5)]);
    let for_all = describe(&mut client, BROKER, "", None).await;
    let names: Vec<_> = for_all.configs.iter().map(|config| config.name.as_str()).collect();
    assert_eq!((for_all.error_code, &names[..]), (0, &["min.insync.replicas"][..]));
    let cases = [
        ("2", "Unexpected broker id, expected 1 or empty string, but received 2"),
        ("x", "Broker id must be an integer, but it is: x"),
    ];
    for (name, message) in cases {
        let refused = describe(&mut client, BROKER, name, None).await;
        assert_eq!(refused.error_code, code(ErrorCode::InvalidRequest));
        assert_eq!(refused.error_message.as_deref(), Some(message));
        assert!(refused.configs.is_empty());
    }
}

#[tokio::test]
async fn unknown_topics_illegal_names_and_other_resources_are_refused() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let cases = [
        (TOPIC, "none", ErrorCode::UnknownTopicOrPartition),
        (TOPIC, "a b", ErrorCode::InvalidTopicException),
        (TOPIC, "", ErrorCode::InvalidTopicException),
        (0, "x", ErrorCode::InvalidRequest),
        (8, "", ErrorCode::InvalidRequest),
        (8, "2", ErrorCode::InvalidRequest),
        (8, "x", ErrorCode::InvalidRequest),
        (16, "", ErrorCode::InvalidRequest),
        (32, "", ErrorCode::InvalidRequest),
        (99, "x", ErrorCode::InvalidRequest),
    ];
    for (kind, name, expected) in cases {
        let refused = describe(&mut client, kind, name, None).await;
        assert_eq!((refused.error_code, refused.configs.len()), (code(expected), 0), "{kind} {name}");
        assert_eq!((refused.resource_type, refused.resource_name.as_str()), (kind, name));
    }
}

#[tokio::test]
async fn the_cluster_is_this_broker_and_it_is_no_controller() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let ask = |endpoint_type| DescribeClusterRequest { endpoint_type, ..Default::default() };
    let answer = client.call(2, ask(1)).await;
    assert_eq!((answer.error_code, answer.endpoint_type, answer.controller_id), (0, 1, 1));
    assert_eq!(answer.cluster_id, node.store.cluster_id().to_string());
    let broker = &answer.brokers[0];
    assert_eq!((broker.broker_id, broker.port, broker.is_fenced), (1, i32::from(node.address.port()), false));
    assert_eq!(answer.cluster_authorized_operations, i32::MIN);
    for (kind, expected) in [(2, ErrorCode::MismatchedEndpointType), (3, ErrorCode::UnsupportedEndpointType)]
    {
        let answer = client.call(2, ask(kind)).await;
        assert_eq!((answer.error_code, answer.controller_id, answer.brokers.len()), (code(expected), -1, 0));
        assert_eq!(answer.cluster_id, "");
    }
}

#[tokio::test]
async fn a_resource_named_again_and_again_does_not_fill_the_memory() {
    let node = Node::with(&[("jackdaw.answer.max.bytes", "33554432")]).await;
    let resource = DescribeConfigsResource {
        resource_type: BROKER,
        resource_name: "00000001".to_owned(),
        configuration_keys: None,
    };
    let resources = vec![resource; 20_000];
    let request = DescribeConfigsRequest { resources, ..Default::default() };
    let answer = node.client().await.call(4, request).await;
    let rows: usize = answer.results.iter().map(|result| result.configs.len()).sum();
    assert!((10_000..100_000).contains(&rows), "{rows}");
    assert_eq!(answer.results.last().unwrap().error_code, code(ErrorCode::InvalidRequest));
    assert_eq!(answer.results.len(), 20_000);
}

#[tokio::test]
async fn only_the_settings_that_are_asked_for_are_weighed() {
    let node = Node::with(&[("jackdaw.answer.max.bytes", "2097152")]).await;
    let resource = |keys: Option<&str>| DescribeConfigsResource {
        resource_type: BROKER,
        resource_name: "1".to_owned(),
        configuration_keys: keys.map(|key| vec![key.to_owned()]),
    };
    let mut client = node.client().await;
    let mut fit = async |resource: DescribeConfigsResource| {
        let request = DescribeConfigsRequest { resources: vec![resource; 400], ..Default::default() };
        let results = client.call(4, request).await.results;
        results.iter().filter(|result| result.error_code == 0 && !result.configs.is_empty()).count()
    };
    assert!(fit(resource(None)).await < 100);
    assert_eq!(fit(resource(Some("log.retention.ms"))).await, 400);
}
