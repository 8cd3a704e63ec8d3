//! CreateTopics and DeleteTopics; error messages are Kafka's, word for word.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use jackdaw::protocol::messages::create_topics_response::CreatableTopicResult;
use jackdaw::protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use jackdaw::protocol::messages::delete_topics_response::DeletableTopicResult;
use jackdaw::types::{TopicId, Uuid};

use crate::harness::{Client, Node, code};

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions, replication_factor, ..Default::default() }
}

fn with_settings(name: &str, settings: &[(&str, Option<&str>)]) -> CreatableTopic {
    let configs = settings.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: value.map(str::to_owned),
    });
    CreatableTopic { configs: configs.collect(), ..topic(name, 1, 1) }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = assignments.iter().map(|(partition_index, brokers)| CreatableReplicaAssignment {
        partition_index: *partition_index,
        broker_ids: brokers.to_vec(),
    });
    CreatableTopic { assignments: assignments.collect(), ..topic(name, -1, -1) }
}

fn request(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest { topics, timeout_ms: 30_000, validate_only: false }
}

async fn create(client: &mut Client, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    client.call(7, request(topics)).await.topics
}

/// Creates one topic and expects a refusal.
async fn refused(client: &mut Client, topic: CreatableTopic) -> (i16, String) {
    let [result] = &create(client, vec![topic]).await[..] else { panic!("one result per topic") };
    assert_ne!(result.error_code, 0);
    assert!(result.topic_id.is_zero());
    assert_eq!((result.num_partitions, result.replication_factor), (-1, -1));
    assert_eq!(result.configs, Some(vec![]), "m9: empty, never null");
    (result.error_code, result.error_message.clone().expect("a refusal has words"))
}

fn failure(error: ErrorCode, message: &str) -> (i16, String) {
    (code(error), message.to_owned())
}

#[tokio::test]
async fn many_topics_are_made_at_once_and_those_whose_settings_fit_into_the_answer_have_them() {
    let node = Node::with(&[("jackdaw.answer.max.bytes", "2097152")]).await;
    let mut client = node.client().await;
    let names = |letter| (0..400).map(move |number| topic(&format!("{letter}{number}"), 1, 1));
    let results = create(&mut client, names("t").collect()).await;
    assert_eq!(results.len(), 400);
    let described = results.partition_point(|result| result.topic_config_error_code == 0);
    assert!((50..300).contains(&described), "{described}");
    for (at, result) in results.iter().enumerate() {
        assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 1, 1));
        assert_eq!(result.topic_config_error_code == 0, at < described);
        assert_eq!(result.configs.as_ref().map(Vec::is_empty), Some(at >= described));
        assert!(node.store.topics().by_name(&result.name).is_some());
    }
    let refused = results[399].topic_config_error_code;
    assert_eq!(refused, code(ErrorCode::InvalidRequest));
    // Answers of old versions have no settings.
    let old = client.call(4, request(names("u").collect())).await.topics;
    assert!(old.iter().all(|result| result.error_code == 0));
}

#[tokio::test]
async fn a_topic_is_made_as_asked_and_returned_with_its_settings() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let asked = CreatableTopic {
        num_partitions: 3,
        ..with_settings("t", &[("retention.ms", Some("1000")), ("retention.ms", Some(" 2000 "))])
    };
    let made = &create(&mut client, vec![asked]).await[0];
    assert_eq!((made.error_code, made.error_message.as_deref()), (0, None));
    assert_eq!((made.num_partitions, made.replication_factor), (3, 1));
    let topics = node.store.topics();
    let there = topics.by_name("t").unwrap();
    assert_eq!((there.id, there.partitions.len()), (made.topic_id, 3));
    assert_eq!(there.overrides["retention.ms"].trim(), "2000", "what was said last holds");
    let configs = made.configs.as_ref().unwrap();
    let retention = configs.iter().find(|config| config.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("2000"), 1));
    let policy = configs.iter().find(|config| config.name == "cleanup.policy").unwrap();
    assert_eq!((policy.value.as_deref(), policy.config_source, policy.read_only), (Some("delete"), 5, false));
}

#[tokio::test]
async fn minus_one_takes_the_defaults() {
    let node = Node::with(&[("num.partitions", "4")]).await;
    let made = &create(&mut node.client().await, vec![topic("t", -1, -1)]).await[0];
    assert_eq!((made.error_code, made.num_partitions, made.replication_factor), (0, 4, 1));
    assert_eq!(node.store.topics().by_name("t").unwrap().partitions.len(), 4);
}

#[tokio::test]
async fn validating_makes_nothing() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let validate = |topic| CreateTopicsRequest { validate_only: true, ..request(vec![topic]) };
    let answer = client.call(7, validate(topic("t", 3, -1))).await;
    assert_eq!((answer.topics[0].error_code, answer.topics[0].num_partitions), (0, 3));
    assert!(answer.topics[0].configs.as_ref().is_some_and(|configs| !configs.is_empty()));
    assert!(!answer.topics[0].topic_id.is_zero(), "an id that never comes into being, as in Kafka");
    assert_eq!(node.store.topics().iter().count(), 0);
    let answer = client.call(7, validate(topic("t", 0, -1))).await;
    assert_eq!(answer.topics[0].error_code, code(ErrorCode::InvalidPartitions));
}

#[tokio::test]
async fn who_waits_for_nothing_gets_nothing() {
    let node = Node::start().await;
    node.topic("there", 1).await;
    let mut client = node.client().await;
    let late = code(ErrorCode::RequestTimedOut);
    for timeout_ms in [0, -1, i32::MIN] {
        let asked = CreateTopicsRequest { timeout_ms, ..request(vec![topic("t", 1, 1), topic("a b", 1, 1)]) };
        let results = client.call(7, asked).await.topics;
        assert!(results.iter().all(|one| one.error_code == late && one.error_message.is_none()));
        let topics = vec![by_name("there"), by_name("nope")];
        let asked = DeleteTopicsRequest { topics, topic_names: vec![], timeout_ms };
        let results = client.call(6, asked).await.responses;
        assert!(results.iter().all(|one| one.error_code == late && one.error_message.is_none()));
        assert_eq!(
            node.store.topics().iter().map(|topic| topic.name.to_string()).collect::<Vec<_>>(),
            ["there"]
        );
    }
}

#[tokio::test]
async fn m9_a_topic_that_exists_is_not_made_again() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let expected = failure(ErrorCode::TopicAlreadyExists, "Topic 't' already exists.");
    assert_eq!(refused(&mut client, topic("t", 1, 1)).await, expected);
}

#[tokio::test]
async fn illegal_names_are_refused() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let invalid =
        |why: &str| failure(ErrorCode::InvalidTopicException, &format!("Topic name is invalid: {why}"));
    let cases = [
        ("", "the empty string is not allowed"),
        (".", "'.' is not allowed"),
        ("..", "'..' is not allowed"),
        ("a b", "'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
    ];
    for (name, why) in cases {
        assert_eq!(refused(&mut client, topic(name, 1, 1)).await, invalid(why));
    }
    let long = "x".repeat(250);
    let why = format!("the length of '{long}' is longer than the max allowed length 249");
    assert_eq!(refused(&mut client, topic(&long, 1, 1)).await, invalid(&why));
    let expected =
        failure(ErrorCode::InvalidRequest, "Creation of internal topic __cluster_metadata is prohibited.");
    assert_eq!(refused(&mut client, topic("__cluster_metadata", 1, 1)).await, expected);
    assert_eq!(create(&mut client, vec![topic(&long[..249], 1, 1)]).await[0].error_code, 0);
}

#[tokio::test]
async fn a17_colliding_names_and_zero_partitions_are_refused() {
    let node = Node::start().await;
    node.topic("a.b", 1).await;
    let mut client = node.client().await;
    let expected = failure(ErrorCode::InvalidTopicException, "Topic 'a_b' collides with existing topic: a.b");
    assert_eq!(refused(&mut client, topic("a_b", 1, 1)).await, expected);
    // Also within one request, where Kafka creates both.
    let both = create(&mut client, vec![topic("c.d", 1, 1), topic("c_d", 1, 1)]).await;
    let errors: Vec<_> = both.iter().map(|one| one.error_code).collect();
    assert_eq!(errors, [0, code(ErrorCode::InvalidTopicException)]);

    let expected = failure(
        ErrorCode::InvalidPartitions,
        "Number of partitions was set to an invalid non-positive value.",
    );
    for partitions in [0, -2, i32::MIN] {
        assert_eq!(refused(&mut client, topic("z", partitions, 1)).await, expected);
    }
}

#[tokio::test]
async fn one_replica_is_all_there_is() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let expected = failure(
        ErrorCode::InvalidReplicationFactor,
        "Replication factor must be larger than 0, or -1 to use the default value.",
    );
    assert_eq!(refused(&mut client, topic("t", 1, 0)).await, expected);
    assert_eq!(refused(&mut client, topic("t", 1, -2)).await, expected);
    let (error, message) = refused(&mut client, topic("t", 1, 3)).await;
    assert_eq!(error, code(ErrorCode::InvalidReplicationFactor));
    assert_eq!(
        message,
        "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned."
    );
}

#[tokio::test]
async fn a_topic_named_twice_is_refused_once_and_the_others_are_made() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let results = create(&mut client, vec![topic("d", 1, 1), topic("e", 1, 1), topic("d", 2, 1)]).await;
    let seen: Vec<_> = results.iter().map(|one| (one.name.as_str(), one.error_code)).collect();
    assert_eq!(seen, [("d", code(ErrorCode::InvalidRequest)), ("e", 0)]);
    assert_eq!(results[0].error_message.as_deref(), Some("Duplicate topic name."));
    assert!(node.store.topics().by_name("d").is_none());
}

#[tokio::test]
async fn a15_an_invalid_setting_is_refused_at_creation() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let cases = [
        ("nope", Some("1"), "Unknown topic config name: nope"),
        (
            "retention.ms",
            Some("abc"),
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            "retention.ms",
            Some(""),
            "Invalid value  for configuration retention.ms: Not a number of type LONG",
        ),
        (
            "retention.ms",
            Some("-2"),
            "Invalid value -2 for configuration retention.ms: Value must be at least -1",
        ),
        ("retention.ms", None, "Null value not supported for topic configs: retention.ms"),
        (
            "segment.bytes",
            Some("13"),
            "Invalid value 13 for configuration segment.bytes: Value must be at least 1048576",
        ),
    ];
    for (name, value, message) in cases {
        let asked = with_settings("t", &[(name, value)]);
        assert_eq!(refused(&mut client, asked).await, failure(ErrorCode::InvalidConfig, message));
    }
}

#[tokio::test]
async fn assignments_name_this_broker_and_a_sequence_of_partitions() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let made = &create(&mut client, vec![assigned("t", &[(1, &[1]), (0, &[1])])]).await[0];
    assert_eq!((made.error_code, made.num_partitions), (0, 2));

    let bad = |why: &str| failure(ErrorCode::InvalidReplicaAssignment, why);
    let cases: [(CreatableTopic, (i16, String)); 10] = [
        (
            assigned("u", &[(0, &[7])]),
            bad("The manual partition assignment includes broker 7, but no such broker is registered."),
        ),
        (
            assigned("u", &[(0, &[1]), (1, &[1, 2])]),
            bad("The manual partition assignment includes broker 2, but no such broker is registered."),
        ),
        (
            assigned("u", &[(0, &[1, 1])]),
            bad("The manual partition assignment includes the broker 1 more than once."),
        ),
        // The smallest duplicate is named, because Kafka sorts the replicas first.
        (
            assigned("u", &[(0, &[7, 1, 1])]),
            bad("The manual partition assignment includes the broker 1 more than once."),
        ),
        (assigned("u", &[(0, &[])]), bad("The manual partition assignment includes an empty replica list.")),
        (
            assigned("u", &[(0, &[1]), (2, &[1])]),
            bad("partitions should be a consecutive 0-based integer sequence"),
        ),
        (assigned("u", &[(-1, &[1])]), bad("partitions should be a consecutive 0-based integer sequence")),
        (
            assigned("u", &[(0, &[1]), (0, &[1])]),
            bad("Found multiple manual partition assignments for partition 0"),
        ),
        (
            CreatableTopic { num_partitions: 1, ..assigned("u", &[(0, &[1])]) },
            failure(
                ErrorCode::InvalidRequest,
                "A manual partition assignment was specified, but numPartitions was not set to -1.",
            ),
        ),
        (
            CreatableTopic { replication_factor: 1, ..assigned("u", &[(0, &[1])]) },
            failure(
                ErrorCode::InvalidRequest,
                "A manual partition assignment was specified, but replication factor was not set to -1.",
            ),
        ),
    ];
    for (asked, expected) in cases {
        assert_eq!(refused(&mut client, asked).await, expected);
    }
}

#[tokio::test]
async fn a18_more_than_ten_thousand_partitions_at_once_are_refused() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let expected = failure(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.");
    assert_eq!(refused(&mut client, topic("t", 10_001, 1)).await, expected);
    assert_eq!(refused(&mut client, topic("t", i32::MAX, 1)).await, expected);
    let two = create(&mut client, vec![topic("t", 6_000, 1), topic("u", 6_000, 1)]).await;
    assert!(two.iter().all(|one| one.error_code == code(ErrorCode::PolicyViolation)));
    // All topics get the error for the excess, except those that are named twice.
    let (many, twice) = (topic("t", 10_001, 1), topic("u", 1, 1));
    let all = create(&mut client, vec![many, topic("/", 1, 1), twice.clone(), twice]).await;
    let codes: Vec<(&str, i16)> = all.iter().map(|one| (&*one.name, one.error_code)).collect();
    let policy = code(ErrorCode::PolicyViolation);
    assert_eq!(codes, [("t", policy), ("/", policy), ("u", code(ErrorCode::InvalidRequest))]);
    for spoilt in [topic("/", 10_001, 1), topic("t", 10_001, 99)] {
        assert_eq!(refused(&mut client, spoilt).await, expected);
    }
    let illegal = (0..10_001).map(|number| topic(&format!("/{number}"), 1, 1)).collect();
    assert!(create(&mut client, illegal).await.iter().all(|one| one.error_code == policy));
    assert_eq!(node.store.topics().iter().count(), 0);
}

/// In Kafka a topic, each of its settings and each of its partitions is one record.
#[tokio::test]
async fn a18_more_than_ten_thousand_records_at_once_are_refused() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let expected =
        failure(ErrorCode::PolicyViolation, "Unable to perform excessively large batch operation.");
    let large = |partitions| CreatableTopic {
        num_partitions: partitions,
        ..with_settings("t", &[("retention.ms", Some("1"))])
    };
    assert_eq!(refused(&mut client, large(9_999)).await, expected);
    let many = (0..5_001).map(|number| topic(&number.to_string(), 1, 1)).chain([topic("/", 1, 1)]);
    let refused = create(&mut client, many.collect()).await;
    assert_eq!(refused.len(), 5_002);
    assert!(refused.iter().all(|one| one.error_code == code(ErrorCode::PolicyViolation)));
    assert_eq!(node.store.topics().iter().count(), 0);
    assert_eq!(create(&mut client, vec![large(9_998)]).await[0].error_code, 0);
}

fn by_name(name: &str) -> DeleteTopicState {
    DeleteTopicState { name: Some(name.to_owned()), topic_id: TopicId::ZERO }
}

fn by_id(topic_id: TopicId) -> DeleteTopicState {
    DeleteTopicState { name: None, topic_id }
}

async fn delete(client: &mut Client, topics: Vec<DeleteTopicState>) -> Vec<DeletableTopicResult> {
    client.call(6, DeleteTopicsRequest { topics, topic_names: vec![], timeout_ms: 30_000 }).await.responses
}

fn outcomes(results: &[DeletableTopicResult]) -> Vec<(Option<&str>, TopicId, i16, Option<&str>)> {
    results
        .iter()
        .map(|one| (one.name.as_deref(), one.topic_id, one.error_code, one.error_message.as_deref()))
        .collect()
}

#[tokio::test]
async fn a13_every_topic_to_be_deleted_has_its_result_by_name_and_by_id() {
    let node = Node::start().await;
    let (i, j) = (node.topic("i", 1).await, node.topic("j", 1).await);
    let mut client = node.client().await;
    let stranger = Uuid([3; 16]);
    let asked = vec![by_id(i), by_name("j"), by_name("none"), by_id(stranger), by_id(TopicId::ZERO)];
    let results = delete(&mut client, asked).await;
    let zero = TopicId::ZERO;
    let expected = [
        (Some("i"), i, 0, None),
        (Some("j"), j, 0, None),
        (
            Some("none"),
            zero,
            code(ErrorCode::UnknownTopicOrPartition),
            Some("This server does not host this topic-partition."),
        ),
        (None, stranger, code(ErrorCode::UnknownTopicId), Some("This server does not host this topic ID.")),
        (None, zero, code(ErrorCode::InvalidRequest), Some("Neither topic name nor id were specified.")),
    ];
    assert_eq!(outcomes(&results), expected);
    assert_eq!(node.store.topics().iter().count(), 0);
    assert_eq!(outcomes(&delete(&mut client, vec![]).await), []);
}

#[tokio::test]
async fn a_topic_named_in_two_ways_is_not_deleted() {
    let node = Node::start().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    let invalid = code(ErrorCode::InvalidRequest);
    let both = DeleteTopicState { name: Some("t".to_owned()), topic_id: id };
    let cases = [
        (vec![both], (Some("t"), id, "You may not specify both topic name and topic id.")),
        (vec![by_name("t"), by_name("t")], (Some("t"), TopicId::ZERO, "Duplicate topic name.")),
        (vec![by_id(id), by_id(id)], (None, id, "Duplicate topic id.")),
        (
            vec![by_name("t"), by_id(id)],
            (Some("t"), id, "The provided topic name maps to an ID that was already supplied."),
        ),
        (
            vec![by_id(id), by_name("t")],
            (Some("t"), id, "The provided topic name maps to an ID that was already supplied."),
        ),
    ];
    for (asked, (name, id, message)) in cases {
        let results = delete(&mut client, asked).await;
        assert_eq!(outcomes(&results), [(name, id, invalid, Some(message))]);
    }
    assert!(node.store.topics().by_name("t").is_some());
}

#[tokio::test]
async fn deletion_can_be_switched_off() {
    let node = Node::with(&[("delete.topic.enable", "false")]).await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    for (version, expected) in [(1, ErrorCode::InvalidRequest), (5, ErrorCode::TopicDeletionDisabled)] {
        let topic_names = vec!["t".to_owned()];
        let answer = client.call(version, DeleteTopicsRequest { topic_names, ..Default::default() }).await;
        assert_eq!(answer.responses[0].error_code, code(expected));
    }
    assert!(node.store.topics().by_name("t").is_some());
}
