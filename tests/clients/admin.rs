//! Topics and settings with librdkafka's admin client.

use rdkafka::Offset;
use rdkafka::admin::{
    AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use crate::support::{DEADLINE, Record, Server, numbered, values};

const ONE: TopicReplication<'static> = TopicReplication::Fixed(1);

#[test]
fn a_created_topic_has_its_partitions_and_its_leader() {
    let server = Server::start();
    let topic = server.topic("created", 5);
    let metadata = server.consumer(&[]).fetch_metadata(Some(&topic), DEADLINE).unwrap();
    let described = &metadata.topics()[0];
    assert_eq!((described.name(), described.error()), (topic.as_str(), None));
    let ids: Vec<i32> = described.partitions().iter().map(|partition| partition.id()).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    let node = metadata.brokers()[0].id();
    for partition in described.partitions() {
        assert_eq!(
            (partition.leader(), partition.replicas(), partition.isr()),
            (node, &[node][..], &[node][..])
        );
    }
}

#[test]
fn one_request_makes_what_it_can_and_names_what_it_cannot() {
    let server = Server::start();
    let taken = server.topic("taken", 1);
    let (good, bad_setting, bad_value) = (server.name("good"), server.name("setting"), server.name("value"));
    let made = server.admin().create(&[
        NewTopic::new(&taken, 1, ONE),
        NewTopic::new(&good, 2, ONE),
        NewTopic::new("no/slashes", 1, ONE),
        NewTopic::new(&bad_setting, 1, ONE).set("no.such.setting", "1"),
        NewTopic::new(&bad_value, 1, ONE).set("retention.ms", "soon"),
    ]);
    assert_eq!(
        made,
        [
            Err(RDKafkaErrorCode::TopicAlreadyExists),
            Ok(()),
            Err(RDKafkaErrorCode::InvalidTopic),
            Err(RDKafkaErrorCode::InvalidConfig),
            Err(RDKafkaErrorCode::InvalidConfig),
        ]
    );
    let known = server.consumer(&[]).fetch_metadata(None, DEADLINE).unwrap();
    let known: Vec<&str> = known.topics().iter().map(|topic| topic.name()).collect();
    assert!(known.contains(&good.as_str()));
    assert!(!known.contains(&bad_setting.as_str()) && !known.contains(&bad_value.as_str()));
}

#[test]
fn validate_only_checks_and_makes_nothing() {
    let server = Server::start();
    let (good, bad) = (server.name("good"), server.name("bad"));
    let checked = server.admin().create_with(
        &[NewTopic::new(&good, 1, ONE), NewTopic::new(&bad, 1, ONE).set("retention.ms", "soon")],
        &AdminOptions::new().validate_only(true),
    );
    assert_eq!(checked, [Ok(()), Err(RDKafkaErrorCode::InvalidConfig)]);
    assert_eq!(server.admin().create(&[NewTopic::new(&good, 1, ONE)]), [Ok(())]);
}

#[test]
fn replicas_may_be_assigned_by_hand() {
    let server = Server::start();
    let node = server.consumer(&[]).fetch_metadata(None, DEADLINE).unwrap().brokers()[0].id();
    let topic = server.name("assigned");
    let by_hand = [&[node][..], &[node][..]];
    let new = NewTopic::new(&topic, 2, TopicReplication::Variable(&by_hand));
    assert_eq!(server.admin().create(&[new]), [Ok(())]);
    let nowhere = server.name("nowhere");
    let by_hand = [&[node + 1000][..]];
    let new = NewTopic::new(&nowhere, 1, TopicReplication::Variable(&by_hand));
    assert_eq!(server.admin().create(&[new]), [Err(RDKafkaErrorCode::InvalidReplicaAssignment)]);
}

#[test]
fn a17_a_name_that_collides_with_another_is_refused() {
    let server = Server::start();
    let dotted = format!("{}.x", server.name("collides"));
    let underlined = dotted.replace(".x", "_x");
    assert_eq!(server.admin().create(&[NewTopic::new(&dotted, 1, ONE)]), [Ok(())]);
    let refused = server.admin().create(&[NewTopic::new(&underlined, 1, ONE)]);
    assert_eq!(refused, [Err(RDKafkaErrorCode::InvalidTopic)]);
}

#[test]
fn a9_describe_tells_set_values_and_defaults_apart() {
    let server = Server::start();
    let topic = server.name("described");
    let new = NewTopic::new(&topic, 1, ONE).set("retention.ms", "86400000").set("segment.bytes", "2000000");
    assert_eq!(server.admin().create(&[new]), [Ok(())]);
    let described = server.admin().configs(ResourceSpecifier::Topic(&topic)).unwrap();

    let set = described.get("retention.ms").unwrap();
    assert_eq!((set.value.as_deref(), &set.source), (Some("86400000"), &ConfigSource::DynamicTopic));
    assert!(!set.is_default);
    let default = described.get("max.message.bytes").unwrap();
    assert_eq!((default.value.as_deref(), &default.source), (Some("1048588"), &ConfigSource::Default));
    assert!(default.is_default && !default.is_sensitive && !default.is_read_only);
    assert_eq!(described.get("cleanup.policy").unwrap().value.as_deref(), Some("delete"));
    // rdkafka hides the error of a single resource; for an unknown topic it returns no entries.
    let unknown = server.admin().configs(ResourceSpecifier::Topic(&server.name("unknown"))).unwrap();
    assert!(unknown.entries.is_empty());
}

#[test]
fn the_brokers_settings_are_described() {
    let server = Server::start();
    let node = server.consumer(&[]).fetch_metadata(None, DEADLINE).unwrap().brokers()[0].id();
    let described = server.admin().configs(ResourceSpecifier::Broker(node)).unwrap();
    assert_eq!(described.get("message.max.bytes").unwrap().value.as_deref(), Some("1048588"));
    assert!(described.get("num.partitions").is_some());
}

#[test]
fn a_topics_own_limit_counts() {
    let server = Server::start();
    let topic = server.name("limit");
    let new = NewTopic::new(&topic, 1, ONE).set("max.message.bytes", "1000");
    assert_eq!(server.admin().create(&[new]), [Ok(())]);
    let outcomes = server.producer(&[]).send(&topic, 0, &[Record::of("x".repeat(1000))]);
    assert_eq!(outcomes, [Err(RDKafkaErrorCode::MessageSizeTooLarge)]);
    assert_eq!(server.producer(&[]).send(&topic, 0, &[Record::of("x".repeat(900))]), [Ok((0, 0))]);
}

#[test]
fn a8_altering_replaces_earlier_values_and_takes_effect_at_once() {
    let server = Server::start();
    let topic = server.name("altered");
    let new = NewTopic::new(&topic, 1, ONE).set("max.message.bytes", "1000").set("segment.bytes", "2000000");
    assert_eq!(server.admin().create(&[new]), [Ok(())]);
    let of_topic = || ResourceSpecifier::Topic(&topic);
    let change = AlterConfig::new(of_topic()).set("max.message.bytes", "2000").set("retention.ms", "-1");
    assert_eq!(server.admin().alter(change), Ok(()));
    let described = server.admin().configs(of_topic()).unwrap();
    let shown = |name: &str| {
        let setting = described.get(name).unwrap();
        (setting.value.clone().unwrap(), setting.is_default)
    };
    assert_eq!(shown("max.message.bytes"), ("2000".to_owned(), false));
    assert_eq!(shown("retention.ms"), ("-1".to_owned(), false));
    assert_eq!(shown("segment.bytes"), ("1073741824".to_owned(), true));
    let sent = server.producer(&[]).send(&topic, 0, &[Record::of("x".repeat(1500))]);
    assert_eq!(sent, [Ok((0, 0))]);

    // rdkafka hides the error of a single resource; the setting is unchanged.
    let _ = server.admin().alter(AlterConfig::new(of_topic()).set("retention.ms", "soon"));
    let described = server.admin().configs(of_topic()).unwrap();
    assert_eq!(described.get("max.message.bytes").unwrap().value.as_deref(), Some("2000"));
}

#[test]
fn a13_delete_answers_for_each_topic_asked() {
    let server = Server::start();
    let (one, two, unknown) = (server.topic("one", 1), server.topic("two", 3), server.name("unknown"));
    let gone = server.admin().delete(&[&one, &unknown, &two]);
    assert_eq!(gone, [Ok(()), Err(RDKafkaErrorCode::UnknownTopicOrPartition), Ok(())]);
    let left = server.consumer(&[]).fetch_metadata(None, DEADLINE).unwrap();
    assert!(!left.topics().iter().any(|topic| topic.name() == one || topic.name() == two));
}

#[test]
fn p11_a_topic_made_again_starts_empty_and_takes_new_producers() {
    let server = Server::start();
    let topic = server.topic("again", 1);
    for round in 0..3 {
        let producer = server.producer(&[("enable.idempotence", "true")]);
        let sent = numbered(&format!("{round}-"), 5);
        assert_eq!(producer.send_all(&topic, 0, &sent), [0, 1, 2, 3, 4]);
        assert_eq!(values(&server.read(&topic, 0, Offset::Beginning, 5))[0], format!("{round}-0"));
        assert_eq!(server.admin().delete(&[&topic]), [Ok(())]);
        assert_eq!(server.admin().create(&[NewTopic::new(&topic, 1, ONE)]), [Ok(())]);
        assert_eq!(server.ends(&topic, 0), (0, 0));
    }
}

#[test]
fn a11_a12_partitions_are_added_behind_the_last_one_and_every_topic_has_its_result() {
    let server = Server::start();
    let (topic, unknown) = (server.topic("grows", 2), server.name("unknown"));
    for count in [3, 5] {
        let grown =
            server.admin().grow(&[NewPartitions::new(&topic, count), NewPartitions::new(&unknown, 3)]);
        assert_eq!(grown, [Ok(()), Err(RDKafkaErrorCode::UnknownTopicOrPartition)]);
        let metadata = server.consumer(&[]).fetch_metadata(Some(&topic), DEADLINE).unwrap();
        let mut ids: Vec<i32> = metadata.topics()[0].partitions().iter().map(|one| one.id()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..count as i32).collect::<Vec<_>>());
    }
    let less = server.admin().grow(&[NewPartitions::new(&topic, 4)]);
    assert_eq!(less, [Err(RDKafkaErrorCode::InvalidPartitions)]);
    assert_eq!(server.producer(&[]).send_all(&topic, 4, &numbered("new-", 2)), [0, 1]);
    assert_eq!(values(&server.read(&topic, 4, Offset::Beginning, 2)), ["new-0", "new-1"]);
}

#[test]
fn o4_deleted_records_are_gone_and_the_rest_keeps_its_offsets() {
    let server = Server::start();
    let topic = server.topic("shrinks", 2);
    let producer = server.producer(&[]);
    for partition in 0..2 {
        producer.send_all(&topic, partition, &numbered("v-", 10));
    }
    let deleted = server.admin().delete_records(&[(&topic, 0, Offset::Offset(4)), (&topic, 1, Offset::End)]);
    let expected = [(topic.clone(), 0, Ok(Offset::Offset(4))), (topic.clone(), 1, Ok(Offset::Offset(10)))];
    assert_eq!(deleted, expected);
    assert_eq!((server.ends(&topic, 0), server.ends(&topic, 1)), ((4, 10), (10, 10)));
    assert_eq!(values(&server.read(&topic, 0, Offset::Beginning, 6))[0], "v-4");
    let beyond = server.admin().delete_records(&[(&topic, 0, Offset::Offset(11))]);
    assert_eq!(beyond, [(topic.clone(), 0, Err(RDKafkaErrorCode::OffsetOutOfRange))]);
    assert_eq!(producer.send_all(&topic, 1, &numbered("w-", 1)), [10]);
}
