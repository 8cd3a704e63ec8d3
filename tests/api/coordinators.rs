//! FindCoordinator and InitProducerId.

use std::collections::BTreeSet;

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use jackdaw::protocol::messages::init_producer_id_request::InitProducerIdRequest;
use jackdaw::protocol::messages::metadata_request::MetadataRequest;

use crate::harness::{Node, code};

fn of(key_type: i8, keys: &[&str]) -> FindCoordinatorRequest {
    let coordinator_keys = keys.iter().map(|key| (*key).to_owned()).collect();
    FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() }
}

#[tokio::test]
async fn m7_groups_are_served_here_and_every_key_is_answered() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let answer = client.call(6, of(0, &["g", "", "g"])).await;
    let keys: Vec<_> = answer.coordinators.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["g", "", "g"]);
    for found in &answer.coordinators {
        assert_eq!((found.error_code, found.node_id, found.host.as_str()), (0, 1, "127.0.0.1"));
        assert_eq!(found.port, i32::from(node.address.port()));
        assert_eq!(found.error_message.as_deref(), Some(""));
    }
    let old = client.call(3, FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() }).await;
    assert_eq!((old.error_code, old.node_id, old.error_message.as_deref()), (0, 1, Some("NONE")));
}

#[tokio::test]
async fn m7_unknown_types_of_coordinators_are_refused_with_a_code_that_clients_do_not_retry() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let unknown = &client.call(6, of(9, &["x"])).await.coordinators[0];
    assert_eq!(unknown.error_code, code(ErrorCode::InvalidRequest));
    assert_eq!((unknown.node_id, unknown.host.as_str(), unknown.port), (-1, "", -1));
}

#[tokio::test]
async fn a_bare_group_id_names_no_share_coordinator() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let answer = client.call(6, of(2, &["g", "g:AAAAAAAAAAAAAAAAAAAAAQ:0"])).await;
    let invalid = code(ErrorCode::InvalidRequest);
    assert!(answer.coordinators.iter().all(|one| one.error_code == invalid));
}

#[tokio::test]
async fn m10_the_offsets_topic_is_there_once_a_group_was_asked_for_and_is_internal() {
    let node = Node::with(&[("offsets.topic.num.partitions", "7")]).await;
    let mut client = node.client().await;
    let all = MetadataRequest { topics: None, ..Default::default() };
    assert!(client.call(12, all.clone()).await.topics.is_empty());
    client.call(6, of(0, &["g"])).await;
    client.call(6, of(0, &["h"])).await;
    let topics = client.call(12, all).await.topics;
    let seen: Vec<_> =
        topics.iter().map(|one| (one.name.as_deref(), one.is_internal, one.partitions.len())).collect();
    assert_eq!(seen, [(Some("__consumer_offsets"), true, 7)]);
}

#[tokio::test]
async fn every_idempotent_producer_gets_an_id_of_its_own() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let mut ids = BTreeSet::new();
    let before = [(-1, -1), (-1, -1), (5, 1), (5, 1)];
    for (producer_id, producer_epoch) in before {
        // As in Kafka, a producer that sends its former id gets a new one.
        let request = InitProducerIdRequest {
            transactional_id: None,
            producer_id,
            producer_epoch,
            ..Default::default()
        };
        let answer = client.call(4, request).await;
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        assert!(answer.producer_id >= 0 && ids.insert(answer.producer_id));
    }
}

#[tokio::test]
async fn invalid_idempotent_producers_are_refused() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let cases = [
        (Some(""), -1, -1, ErrorCode::InvalidRequest),
        (None, 5, -1, ErrorCode::InvalidRequest),
        (None, -1, 5, ErrorCode::InvalidRequest),
    ];
    for (transactional_id, producer_id, producer_epoch, expected) in cases {
        let request = InitProducerIdRequest {
            transactional_id: transactional_id.map(str::to_owned),
            transaction_timeout_ms: 1_000,
            producer_id,
            producer_epoch,
            ..Default::default()
        };
        let answer = client.call(4, request).await;
        assert_eq!(answer.error_code, code(expected), "{transactional_id:?}");
        assert_eq!((answer.producer_id, answer.producer_epoch), (-1, -1));
    }
}
