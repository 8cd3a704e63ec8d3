//! Every API answers at every advertised version, and two codecs can read the answer.

use bytes::Buf;
use jackdaw::api::TABLE;
use jackdaw::protocol::messages::api_versions_request::ApiVersionsRequest;
use jackdaw::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use jackdaw::protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use jackdaw::protocol::messages::describe_cluster_request::DescribeClusterRequest;
use jackdaw::protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use jackdaw::protocol::messages::fetch_request::FetchTopic;
use jackdaw::protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use jackdaw::protocol::messages::init_producer_id_request::InitProducerIdRequest;
use jackdaw::protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use jackdaw::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use jackdaw::protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use jackdaw::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use jackdaw::protocol::{Message, Reader, Request, read_response_header};
use jackdaw::types::TopicId;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Message as TheirMessage};

use crate::harness::{Client, Node, batch, fetch_topics, partition_from, produce_to};

/// The versions that Kafka 4.4 advertises, for the keys that this test knows.
const PROMISED: [(i16, i16, i16); 30] = [
    (0, 0, 13),
    (1, 4, 18),
    (2, 1, 11),
    (3, 0, 13),
    (8, 2, 10),
    (9, 1, 10),
    (10, 0, 6),
    (11, 0, 9),
    (12, 0, 4),
    (13, 0, 5),
    (14, 0, 5),
    (15, 0, 6),
    (16, 0, 5),
    (18, 0, 5),
    (19, 2, 7),
    (20, 1, 6),
    (22, 0, 5),
    (23, 2, 4),
    (24, 0, 5),
    (25, 0, 4),
    (26, 0, 5),
    (27, 1, 2),
    (28, 0, 6),
    (32, 1, 4),
    (42, 0, 3),
    (47, 0, 0),
    (60, 0, 2),
    (61, 0, 0),
    (65, 0, 0),
    (66, 0, 2),
];

#[test]
fn w13_the_ranges_are_those_of_kafka() {
    for (key, min, max) in PROMISED {
        let row = TABLE.iter().find(|row| row.key == key).expect("the key is served");
        assert_eq!((row.min_version, row.max_version), (min, max), "{}", row.name);
    }
}

/// Sends `request` at every version from `from` on, and reads each answer with both codecs.
pub async fn each<R: Request + Clone, Theirs: Decodable + TheirMessage>(
    client: &mut Client,
    from: i16,
    request: impl Fn(i16) -> R,
    judge: impl Fn(&R::Response, i16),
) {
    let row = TABLE.iter().find(|row| row.key == R::KEY).expect("the key is served");
    for version in from..=row.max_version {
        let sent = client.send(version, &request(version)).await;
        let answer = client.receive_bytes().await;

        let mut input = Reader::new(answer.clone());
        assert_eq!(read_response_header(&mut input, R::KEY, version), Ok(sent));
        let ours = R::Response::decode(&mut input, version).unwrap();
        input.finish().unwrap();
        judge(&ours, version);

        let known = Theirs::VERSIONS;
        if (known.min..=known.max).contains(&version) {
            let header = jackdaw::protocol::response_header_version(R::KEY, version);
            let mut rest = answer.slice(if header == 0 { 4.. } else { 5.. });
            Theirs::decode(&mut rest, version).expect("the second codec reads it");
            assert_eq!(rest.remaining(), 0, "the second codec reads all of {} v{version}", R::NAME);
        }
    }
}

fn no_error(code: i16, version: i16) {
    assert_eq!(code, 0, "version {version}");
}

#[tokio::test]
async fn every_version_of_every_key_answers_and_two_codecs_read_it() {
    let node = Node::start().await;
    let id = node.topic("t", 2).await;
    let mut client = node.client().await;

    let produce = |version| {
        let mut request = produce_to("t", 0, batch(&["a", "b"]));
        request.topic_data[0].topic_id = id;
        request.acks = if version % 2 == 0 { -1 } else { 1 };
        request
    };
    each::<_, theirs::ProduceResponse>(&mut client, 3, produce, |answer, version| {
        no_error(answer.responses[0].partition_responses[0].error_code, version);
    })
    .await;

    let fetch = |_| {
        let partitions = vec![partition_from(0, 0), partition_from(1, 0)];
        fetch_topics(vec![FetchTopic { topic: "t".to_owned(), topic_id: id, partitions }])
    };
    each::<_, theirs::FetchResponse>(&mut client, 4, fetch, |answer, version| {
        no_error(answer.error_code, version);
        no_error(answer.responses[0].partitions[0].error_code, version);
        assert!(answer.responses[0].partitions[0].records.as_ref().is_some_and(|r| !r.is_empty()));
    })
    .await;

    let offsets = |_| {
        let partition = ListOffsetsPartition { current_leader_epoch: -1, timestamp: -1, partition_index: 0 };
        let topics = vec![ListOffsetsTopic { name: "t".to_owned(), partitions: vec![partition] }];
        ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }
    };
    each::<_, theirs::ListOffsetsResponse>(&mut client, 1, offsets, |answer, version| {
        no_error(answer.topics[0].partitions[0].error_code, version);
    })
    .await;

    let metadata = |version| {
        let name = (version < 12).then(|| "t".to_owned());
        let topic_id = if version < 12 { TopicId::ZERO } else { id };
        let topics = Some(vec![MetadataRequestTopic { name, topic_id }]);
        let (include_cluster_authorized_operations, include_topic_authorized_operations) = (true, true);
        MetadataRequest {
            topics,
            include_cluster_authorized_operations,
            include_topic_authorized_operations,
            ..Default::default()
        }
    };
    each::<_, theirs::MetadataResponse>(&mut client, 0, metadata, |answer, version| {
        no_error(answer.topics[0].error_code, version);
        assert_eq!(answer.topics[0].partitions.len(), 2);
    })
    .await;

    let coordinator = |version| FindCoordinatorRequest {
        key: if version < 4 { "g".to_owned() } else { String::new() },
        coordinator_keys: if version < 4 { Vec::new() } else { vec!["g".to_owned(), "h".to_owned()] },
        ..Default::default()
    };
    each::<_, theirs::FindCoordinatorResponse>(&mut client, 0, coordinator, |answer, version| {
        no_error(answer.error_code, version);
        assert_eq!(answer.coordinators.len(), if version < 4 { 0 } else { 2 });
    })
    .await;

    let versions = |_| ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1".to_owned(),
        ..Default::default()
    };
    each::<_, theirs::ApiVersionsResponse>(&mut client, 0, versions, |answer, version| {
        no_error(answer.error_code, version);
        assert_eq!(answer.api_keys.len(), TABLE.iter().filter(|row| row.only_if.is_none()).count());
    })
    .await;

    let create = |version: i16| {
        let name = format!("made-{version}");
        let (num_partitions, replication_factor) = (1, 1);
        let topics = vec![CreatableTopic { name, num_partitions, replication_factor, ..Default::default() }];
        CreateTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() }
    };
    each::<_, theirs::CreateTopicsResponse>(&mut client, 2, create, |answer, version| {
        no_error(answer.topics[0].error_code, version);
        assert_eq!(answer.topics[0].topic_id.is_zero(), version < 7);
    })
    .await;

    let delete = |version: i16| {
        let name = format!("made-{}", version.max(2));
        let (topics, topic_names) = match version {
            ..6 => (Vec::new(), vec![name]),
            _ => (vec![DeleteTopicState { name: Some(name), topic_id: TopicId::ZERO }], Vec::new()),
        };
        DeleteTopicsRequest { topics, topic_names, timeout_ms: 10_000 }
    };
    each::<_, theirs::DeleteTopicsResponse>(&mut client, 1, delete, |answer, version| {
        // The request of version 2 names the topic that version 1 has deleted.
        let expected = if version == 2 { 3 } else { 0 };
        assert_eq!(answer.responses[0].error_code, expected, "version {version}");
    })
    .await;

    let producer = |_| InitProducerIdRequest { transactional_id: None, ..Default::default() };
    each::<_, theirs::InitProducerIdResponse>(&mut client, 0, producer, |answer, version| {
        no_error(answer.error_code, version);
        assert_eq!(answer.producer_epoch, 0);
    })
    .await;

    let epochs = |_| {
        let partitions =
            vec![OffsetForLeaderPartition { partition: 0, current_leader_epoch: -1, leader_epoch: 0 }];
        let topics = vec![OffsetForLeaderTopic { topic: "t".to_owned(), partitions }];
        OffsetForLeaderEpochRequest { replica_id: -2, topics }
    };
    each::<_, theirs::OffsetForLeaderEpochResponse>(&mut client, 2, epochs, |answer, version| {
        no_error(answer.topics[0].partitions[0].error_code, version);
    })
    .await;

    let configs = |_| {
        let resource = |resource_type, resource_name: &str| DescribeConfigsResource {
            resource_type,
            resource_name: resource_name.to_owned(),
            configuration_keys: None,
        };
        DescribeConfigsRequest {
            resources: vec![resource(2, "t"), resource(4, "1")],
            include_synonyms: true,
            include_documentation: true,
        }
    };
    each::<_, theirs::DescribeConfigsResponse>(&mut client, 1, configs, |answer, version| {
        no_error(answer.results[0].error_code, version);
        no_error(answer.results[1].error_code, version);
    })
    .await;

    let cluster = |_| DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        endpoint_type: 1,
        ..Default::default()
    };
    each::<_, theirs::DescribeClusterResponse>(&mut client, 0, cluster, |answer, version| {
        no_error(answer.error_code, version);
        assert_eq!(answer.brokers.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_partition_named_without_bytes_is_refused_and_the_connection_goes_on() {
    let node = Node::start().await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let mut request = produce_to("t", 0, batch(&["a"]));
    request.topic_data = vec![TopicProduceData {
        name: "t".to_owned(),
        partition_data: vec![PartitionProduceData { index: 0, records: None }],
        ..Default::default()
    }];
    let answer = client.call(9, request).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 87);
    assert_eq!(client.produce("t", 0, batch(&["a"])).await.error_code, 0);
}
