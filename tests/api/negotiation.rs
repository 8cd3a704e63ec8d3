//! Rules W: the advertised versions, and the order of the answers.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::Request;
use jackdaw::protocol::messages::api_versions_request::ApiVersionsRequest;
use jackdaw::protocol::messages::fetch_request::FetchRequest;
use jackdaw::protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use jackdaw::protocol::messages::metadata_request::MetadataRequest;
use jackdaw::protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use jackdaw::protocol::messages::produce_request::ProduceRequest;

use crate::harness::{Node, batch, code, fetch_from, produce_to};

fn software(name: &str, version: &str) -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: name.to_owned(),
        client_software_version: version.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn w1_an_unknown_api_versions_version_is_answered_in_v0_and_the_connection_stays() {
    let node = Node::start().await;
    let mut client = node.client().await;
    for version in [6, 99, i16::MAX] {
        client.send_bytes(18, version, b"whatever a later version holds").await;
        let (_, answer) = client.receive::<ApiVersionsRequest>(0).await;
        assert_eq!(answer.error_code, code(ErrorCode::UnsupportedVersion));
        let keys: Vec<_> =
            answer.api_keys.iter().map(|key| (key.api_key, key.min_version, key.max_version)).collect();
        assert_eq!(keys, [(18, 0, 5)]);
    }
    assert_eq!(client.call(3, software("a", "1")).await.error_code, 0);
}

#[tokio::test]
async fn w2_w3_the_answer_to_api_versions_has_a_bare_header_and_no_tag_at_its_default() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let id = client.send(3, &software("a", "1")).await;
    let answer = client.receive_bytes().await;
    // The correlation id and directly after it the error code: no tag section between them.
    assert_eq!(answer[..6], [&id.to_be_bytes()[..], &[0, 0]].concat());
    // After the keys (a length, then 7 bytes each) and the throttle time: features, epoch, levels.
    let keys = usize::from(answer[6]) - 1;
    let tags = &answer[7 + 7 * keys + 4..];
    assert_eq!(tags[0], 3, "the number of tags");
    assert_eq!(tags[1], 0, "the first tag");

    let id = client.send(3, &software("", "")).await;
    let refused = client.receive_bytes().await;
    assert_eq!(refused, [&id.to_be_bytes()[..], &[0, 42, 1, 0, 0, 0, 0, 0]].concat(), "no tag at all");
}

#[tokio::test]
async fn w4_w8_w16_w17_requests_that_are_not_served_close_the_connection_without_an_answer() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let answer = client.call(0, ApiVersionsRequest::default()).await;
    let produce = answer.api_keys.iter().find(|key| key.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 13));

    let unserved =
        [(0, 0), (0, 2), (0, 14), (1, 3), (1, 19), (2, 0), (3, 14), (3, -1), (200, 0), (-1, 0), (80, 0)];
    for (key, version) in unserved {
        let mut client = node.client().await;
        client.send_bytes(key, version, &[0; 32]).await;
        assert!(client.is_closed().await, "key {key} version {version}");
    }
}

#[tokio::test]
async fn w14_keys_that_name_topics_by_id_stand_beside_a_metadata_that_tells_ids() {
    let node = Node::start().await;
    let answer = node.client().await.call(0, ApiVersionsRequest::default()).await;
    let max = |key| answer.api_keys.iter().find(|row| row.api_key == key).map(|row| row.max_version);
    assert!(max(FetchRequest::KEY) >= Some(13) && max(ProduceRequest::KEY) >= Some(13));
    assert!(max(MetadataRequest::KEY) >= Some(12));
}

#[tokio::test]
async fn w15_odd_software_names_are_an_invalid_request_and_the_connection_stays() {
    let node = Node::start().await;
    let mut client = node.client().await;
    for (name, version) in
        [("", ""), ("a", ""), ("", "1"), ("-a", "1"), ("a b", "1"), ("ä", "1"), ("a", "1_0")]
    {
        let answer = client.call(3, software(name, version)).await;
        assert_eq!(answer.error_code, code(ErrorCode::InvalidRequest), "{name:?} {version:?}");
        assert!(answer.api_keys.is_empty());
    }
    assert_eq!(client.call(4, software("a.b-c", "1.0")).await.error_code, 0);
}

#[tokio::test]
async fn w18_api_versions_5_names_the_cluster_and_the_node_that_the_client_means() {
    let node = Node::start().await;
    let ours = node.store.cluster_id().to_string();
    let mut client = node.client().await;
    let cases = [
        (None, -1, ErrorCode::None),
        (Some(ours.as_str()), 1, ErrorCode::None),
        (Some(&ours), 2, ErrorCode::RebootstrapRequired),
        (Some("another"), 1, ErrorCode::RebootstrapRequired),
        (Some(""), 1, ErrorCode::RebootstrapRequired),
        (Some(&ours), -2, ErrorCode::RebootstrapRequired),
        (Some(&ours), -1, ErrorCode::InvalidRequest),
        (None, 1, ErrorCode::InvalidRequest),
    ];
    for (cluster_id, node_id, expected) in cases {
        let cluster_id = cluster_id.map(str::to_owned);
        let request = ApiVersionsRequest { cluster_id: cluster_id.clone(), node_id, ..software("a", "1") };
        let answer = client.call(5, request).await;
        assert_eq!(answer.error_code, code(expected), "{cluster_id:?} {node_id}");
        assert_eq!(answer.api_keys.is_empty(), expected != ErrorCode::None);
    }
}

#[tokio::test]
async fn w11_acks_0_is_never_answered_and_the_next_request_is() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    for _ in 0..3 {
        client.send(9, &ProduceRequest { acks: 0, ..produce_to("t", 0, batch(&["a"])) }).await;
    }
    assert_eq!(client.produce("t", 0, batch(&["b"])).await.base_offset, 3);
}

#[tokio::test]
async fn w11_an_error_on_acks_0_closes_the_connection() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    for (topic, index) in [("unknown", 0), ("t", 1), ("a b", 0)] {
        let mut client = node.client().await;
        client.send(9, &ProduceRequest { acks: 0, ..produce_to(topic, index, batch(&["a"])) }).await;
        assert!(client.is_closed().await, "{topic} {index}");
    }
}

#[tokio::test]
async fn bytes_behind_a_request_are_passed_over() {
    let node = Node::start().await;
    let mut client = node.client().await;
    // librdkafka does this in the very first request of many programs.
    let mut body = jackdaw::protocol::Writer::new();
    let all = MetadataRequest { topics: None, ..Default::default() };
    jackdaw::protocol::Message::encode(&all, &mut body, 12).unwrap();
    let body = [&body.into_bytes()[..], &[0, 0, 0]].concat();
    client.send_bytes(3, 12, &body).await;
    assert_eq!(client.receive::<MetadataRequest>(12).await.1.brokers.len(), 1);
    assert_eq!(client.call(12, all).await.brokers.len(), 1);
}

#[tokio::test]
async fn w12_w19_requests_sent_at_once_are_answered_in_order_and_see_each_other() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let latest = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: "t".to_owned(),
            partitions: vec![ListOffsetsPartition {
                partition_index: 0,
                current_leader_epoch: -1,
                timestamp: -1,
            }],
        }],
        ..Default::default()
    };
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(client.send(9, &produce_to("t", 0, batch(&["a", "b"]))).await);
        sent.push(client.send(9, &produce_to("t", 0, batch(&["c"]))).await);
        sent.push(client.send(9, &latest).await);
        sent.push(client.send(12, &fetch_from("t", 0, 0)).await);
    }
    let mut sent = sent.into_iter();
    for round in 1..=5 {
        for base in [(round - 1) * 3, (round - 1) * 3 + 2] {
            let (id, answer) = client.receive::<ProduceRequest>(9).await;
            assert_eq!(Some(id), sent.next());
            assert_eq!(answer.responses[0].partition_responses[0].base_offset, base);
        }
        let (id, answer) = client.receive::<ListOffsetsRequest>(9).await;
        assert_eq!(Some(id), sent.next());
        assert_eq!(answer.topics[0].partitions[0].offset, round * 3);
        let (id, answer) = client.receive::<FetchRequest>(12).await;
        assert_eq!(Some(id), sent.next());
        assert_eq!(answer.responses[0].partitions[0].high_watermark, round * 3);
    }
}

#[tokio::test]
async fn a_request_that_names_too_much_closes_its_connection_and_no_other() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut good = node.client().await;
    let partition = OffsetForLeaderPartition { partition: 0, current_leader_epoch: -1, leader_epoch: 0 };
    for (count, served) in [(100_000, true), (100_001, false)] {
        let request = OffsetForLeaderEpochRequest {
            replica_id: -1,
            topics: vec![OffsetForLeaderTopic {
                topic: "t".to_owned(),
                partitions: vec![partition.clone(); count],
            }],
        };
        let mut client = node.client().await;
        client.send(4, &request).await;
        if served {
            let (_, answer) = client.receive::<OffsetForLeaderEpochRequest>(4).await;
            assert_eq!(answer.topics[0].partitions.len(), count);
        } else {
            assert!(client.is_closed().await);
        }
        assert_eq!(good.produce("t", 0, batch(&["a"])).await.error_code, 0);
    }
}
