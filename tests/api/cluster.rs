//! The cluster APIs that tools use: DescribeQuorum, UpdateFeatures, UnregisterBroker.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::api_versions_request::ApiVersionsRequest;
use jackdaw::protocol::messages::describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
use jackdaw::protocol::messages::unregister_broker_request::UnregisterBrokerRequest;
use jackdaw::protocol::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use jackdaw::storage::Location;

use crate::harness::{Client, Node, batch, code};

/// Topics and their partitions.
type TopicPartitions<'a> = [(&'a str, &'a [i32])];

fn quorum(topics: &TopicPartitions<'_>) -> DescribeQuorumRequest {
    let topics = topics.iter().map(|(name, partitions)| TopicData {
        topic_name: (*name).to_owned(),
        partitions: partitions.iter().map(|index| PartitionData { partition_index: *index }).collect(),
    });
    DescribeQuorumRequest { topics: topics.collect() }
}

#[tokio::test]
async fn the_quorum_is_this_broker_and_its_offset_rises_with_what_is_written() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let mut last = -1;
    for version in 0..=2 {
        node.topic(&format!("t{version}"), 1).await;
        client.produce(&format!("t{version}"), 0, batch(&["a"])).await;
        let answer = client.call(version, quorum(&[("__cluster_metadata", &[0])])).await;
        assert_eq!((answer.error_code, answer.topics.len()), (0, 1));
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.partition_index, partition.error_code), (0, 0));
        assert_eq!((partition.leader_id, partition.leader_epoch), (1, 1));
        assert!(partition.high_watermark > last);
        last = partition.high_watermark;
        let [voter] = &partition.current_voters[..] else { panic!("one voter") };
        assert_eq!((voter.replica_id, voter.log_end_offset), (1, last));
        assert_eq!(voter.last_caught_up_timestamp > 0, version >= 1);
        assert_eq!(partition.observers, []);
        if version >= 2 {
            let [one] = &answer.nodes[..] else { panic!("one node") };
            let listener = &one.listeners[0];
            assert_eq!(
                (one.node_id, listener.host.as_str(), listener.port),
                (1, "127.0.0.1", node.address.port())
            );
        }
    }
}

#[tokio::test]
async fn there_is_one_quorum_and_it_is_asked_about_alone() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    let cases: [(&TopicPartitions<'_>, &[i16]); 5] = [
        (&[("__cluster_metadata", &[1])], &[unknown]),
        (&[("__cluster_metadata", &[0, 1])], &[unknown, unknown]),
        (&[("t", &[0])], &[unknown]),
        (&[("__cluster_metadata", &[0]), ("t", &[0])], &[unknown, unknown]),
        (&[], &[]),
    ];
    for (asked, expected) in cases {
        let answer = client.call(2, quorum(asked)).await;
        assert_eq!(answer.error_code, 0);
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        assert_eq!(partitions.map(|one| one.error_code).collect::<Vec<_>>(), expected);
    }
}

fn update(feature: &str, max_version_level: i16, upgrade_type: i8) -> FeatureUpdateKey {
    FeatureUpdateKey { feature: feature.to_owned(), max_version_level, upgrade_type, allow_downgrade: false }
}

async fn updated(client: &mut Client, version: i16, updates: Vec<FeatureUpdateKey>) -> (i16, Option<String>) {
    let request = UpdateFeaturesRequest { feature_updates: updates, ..Default::default() };
    let answer = client.call(version, request).await;
    (answer.error_code, answer.error_message)
}

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

fn versions() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1".to_owned(),
        ..Default::default()
    }
}

/// The finalized level of transaction.version, if it is in the list, and the epoch of the list.
async fn transaction_version(client: &mut Client) -> (Option<i16>, i64) {
    let answer = client.call(4, versions()).await;
    let mut features = answer.finalized_features.iter();
    let feature = features.find(|feature| feature.name == "transaction.version");
    (feature.map(|feature| feature.max_version_level), answer.finalized_features_epoch)
}

fn transactions(level: i16, upgrade_type: i8) -> FeatureUpdateKey {
    update("transaction.version", level, upgrade_type)
}

#[tokio::test]
async fn transaction_version_goes_down_to_0_and_up_again_and_each_change_raises_the_epoch() {
    let node = Node::start().await;
    let mut client = node.client().await;
    assert_eq!(transaction_version(&mut client).await, (Some(2), 0));
    let steps = [
        (1, SAFE_DOWNGRADE, Some(1), 1),
        (1, UPGRADE, Some(1), 1),
        (0, UNSAFE_DOWNGRADE, None, 2),
        (0, SAFE_DOWNGRADE, None, 2),
        (2, UPGRADE, Some(2), 3),
    ];
    for (level, upgrade_type, after, epoch) in steps {
        assert_eq!(updated(&mut client, 2, vec![transactions(level, upgrade_type)]).await, (0, None));
        assert_eq!(transaction_version(&mut client).await, (after, epoch), "{level}");
    }
    let twice = vec![transactions(1, SAFE_DOWNGRADE), transactions(0, SAFE_DOWNGRADE)];
    assert_eq!(updated(&mut client, 1, twice).await, (0, None));
    assert_eq!(transaction_version(&mut client).await, (None, 4), "the last update counts");
}

#[tokio::test]
async fn an_update_that_is_refused_or_only_validated_leaves_transaction_version_as_it_is() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let downgrade = transactions(1, SAFE_DOWNGRADE);
    let validate = UpdateFeaturesRequest {
        feature_updates: vec![downgrade.clone()],
        validate_only: true,
        ..Default::default()
    };
    assert_eq!(client.call(2, validate).await.error_code, 0);
    let (error, _) = updated(&mut client, 2, vec![downgrade, update("nope", 1, UPGRADE)]).await;
    assert_eq!(error, code(ErrorCode::InvalidUpdateVersion));
    assert_eq!(transaction_version(&mut client).await, (Some(2), 0));
}

#[tokio::test]
async fn the_level_of_transaction_version_is_still_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let start = || Node::at(Location::Directory(dir.path().to_owned()), &[]);
    let node = start().await;
    let downgrade = vec![transactions(1, SAFE_DOWNGRADE)];
    assert_eq!(updated(&mut node.client().await, 2, downgrade).await, (0, None));
    node.store.close();
    drop(node);
    let node = start().await;
    assert_eq!(transaction_version(&mut node.client().await).await, (Some(1), 1));
}

#[tokio::test]
async fn a_feature_may_be_updated_to_the_level_it_has() {
    let node = Node::start().await;
    let mut client = node.client().await;
    for feature in client.call(4, versions()).await.finalized_features {
        for version in 0..=2 {
            let update = update(&feature.name, feature.max_version_level, UPGRADE);
            assert_eq!(updated(&mut client, version, vec![update]).await, (0, None));
        }
    }
    assert_eq!(updated(&mut client, 2, vec![]).await, (0, None));
}

#[tokio::test]
async fn every_field_of_an_update_that_is_wrong_has_its_refusal() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let cases = [
        (
            update("nope", 1, UPGRADE),
            "Invalid update version 1 for feature nope. Local controller 1 does not support this feature.",
        ),
        (
            update("metadata.version", -1, UPGRADE),
            "Invalid update version -1 for feature metadata.version. A feature version cannot be less than 0.",
        ),
        (
            update("metadata.version", 33, 0),
            "Invalid update version 33 for feature metadata.version. The controller does not support the given upgrade type.",
        ),
        (
            update("metadata.version", 33, 9),
            "Invalid update version 33 for feature metadata.version. The controller does not support the given upgrade type.",
        ),
        (
            update("metadata.version", 30, UPGRADE),
            "Invalid update version 30 for feature metadata.version. Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
        ),
    ];
    let more = [
        (
            update("nope", 0, SAFE_DOWNGRADE),
            "Invalid update version 0 for feature nope. Feature nope not found.",
        ),
        (
            update("kraft.version", 2, UPGRADE),
            "Invalid update version 2 for feature kraft.version. Local controller 1 only supports versions 0-1",
        ),
        (
            update("transaction.version", 3, UPGRADE),
            "Invalid update version 3 for feature transaction.version. Local controller 1 only supports versions 0-2",
        ),
        (
            update("transaction.version", 1, UPGRADE),
            "Invalid update version 1 for feature transaction.version. Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
        ),
        (
            update("kraft.version", 0, SAFE_DOWNGRADE),
            "Invalid update version 0 for feature kraft.version. Can't downgrade the version of this feature.",
        ),
        (
            update("metadata.version", 32, SAFE_DOWNGRADE),
            "Unsupported metadata.version downgrade from 33 to 32. Refusing to perform the requested downgrade because it might delete metadata information.",
        ),
        (
            update("metadata.version", 32, UNSAFE_DOWNGRADE),
            "Unsupported metadata.version downgrade from 33 to 32. Unsafe metadata downgrade is not supported in this version.",
        ),
    ];
    for (update, why) in cases.into_iter().chain(more) {
        let (error, message) = updated(&mut client, 2, vec![update]).await;
        assert_eq!(error, code(ErrorCode::InvalidUpdateVersion));
        assert_eq!(
            message.as_deref().and_then(|message| message.strip_prefix(
                "The update failed for all features since the following feature had an error: "
            )),
            Some(why)
        );
    }
    // A difference: Kafka accepts this downgrade.
    let (error, _) =
        updated(&mut client, 2, vec![update("eligible.leader.replicas.version", 0, SAFE_DOWNGRADE)]).await;
    assert_eq!(error, code(ErrorCode::InvalidUpdateVersion));
}

#[tokio::test]
async fn only_unknown_brokers_could_be_unregistered() {
    let node = Node::start().await;
    let mut client = node.client().await;
    for broker_id in [2, -1, i32::MAX] {
        let answer = client.call(0, UnregisterBrokerRequest { broker_id }).await;
        let message = format!("Broker ID {broker_id} is not currently registered");
        assert_eq!(
            (answer.error_code, answer.error_message),
            (code(ErrorCode::BrokerIdNotRegistered), Some(message))
        );
    }
    let answer = client.call(0, UnregisterBrokerRequest { broker_id: 1 }).await;
    assert_eq!(answer.error_code, code(ErrorCode::InvalidRequest));
    assert!(answer.error_message.is_some());
}
