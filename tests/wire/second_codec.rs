//! An independent codec, the crate kafka-protocol, for random and chosen values. It reads our bytes and
//! writes the same bytes again. It is not used to check record batches. It implements Kafka 4.1; newer
//! versions are checked against the vectors.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use jackdaw::protocol::messages as ours;
use jackdaw::types::Uuid;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message, StrBytes};

use crate::inspect::{codec, decode, encode};
use crate::source::Source;

const DRAWS: u64 = 40;

/// Draws messages of every version that both codecs have, and returns the number of these versions.
fn agree<Theirs: Message + Decodable + Encodable + Debug>(name: &str) -> usize {
    let codec = codec(name).unwrap_or_else(|| panic!("no {name}"));
    let shared = codec
        .versions
        .clone()
        .filter(|version| (Theirs::VERSIONS.min..=Theirs::VERSIONS.max).contains(version));
    let mut versions = 0;
    for version in shared {
        versions += 1;
        for seed in 0..DRAWS {
            let bytes = (codec.draw)(&mut Source::new(seed), version);
            let read = their_decode::<Theirs>(&bytes, version);
            let written = their_encode(&read, version);
            assert_eq!(written, bytes, "{name} version {version} seed {seed}: {read:?}");
        }
    }
    versions
}

fn their_decode<Theirs: Decodable>(bytes: &Bytes, version: i16) -> Theirs {
    let mut rest = bytes.clone();
    let message = Theirs::decode(&mut rest, version).expect("the second codec reads it");
    assert!(rest.is_empty(), "the second codec leaves {} bytes", rest.len());
    message
}

fn their_encode<Theirs: Encodable>(message: &Theirs, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("the second codec writes it");
    out.freeze()
}

macro_rules! drawn {
    ($($test:ident: $message:ident, $versions:literal;)*) => { $(
        #[test]
        fn $test() {
            assert_eq!(agree::<theirs::$message>(stringify!($message)), $versions, "versions in both codecs");
        }
    )* };
}

/// Requests and responses of an API, and the number of versions that both codecs have.
macro_rules! both_directions {
    ($($api:ident: $request:ident $requests:literal, $response:ident $responses:literal;)*) => {
        $(mod $api {
            use super::{agree, theirs};
            drawn! { request: $request, $requests; response: $response, $responses; }
        })*
    };
}

// Not in the second codec: StreamsGroupHeartbeat, StreamsGroupDescribe and
// StreamsGroupTopologyDescriptionUpdate (88, 89, 93).
both_directions! {
    produce: ProduceRequest 11, ProduceResponse 11;
    fetch: FetchRequest 15, FetchResponse 15;
    list_offsets: ListOffsetsRequest 10, ListOffsetsResponse 10;
    metadata: MetadataRequest 14, MetadataResponse 14;
    offset_commit: OffsetCommitRequest 8, OffsetCommitResponse 9;
    offset_fetch: OffsetFetchRequest 9, OffsetFetchResponse 10;
    find_coordinator: FindCoordinatorRequest 7, FindCoordinatorResponse 7;
    join_group: JoinGroupRequest 10, JoinGroupResponse 10;
    heartbeat: HeartbeatRequest 5, HeartbeatResponse 5;
    leave_group: LeaveGroupRequest 6, LeaveGroupResponse 6;
    sync_group: SyncGroupRequest 6, SyncGroupResponse 6;
    describe_groups: DescribeGroupsRequest 7, DescribeGroupsResponse 7;
    list_groups: ListGroupsRequest 6, ListGroupsResponse 6;
    sasl_handshake: SaslHandshakeRequest 2, SaslHandshakeResponse 2;
    api_versions: ApiVersionsRequest 5, ApiVersionsResponse 5;
    create_topics: CreateTopicsRequest 6, CreateTopicsResponse 6;
    delete_topics: DeleteTopicsRequest 6, DeleteTopicsResponse 6;
    delete_records: DeleteRecordsRequest 3, DeleteRecordsResponse 3;
    init_producer_id: InitProducerIdRequest 6, InitProducerIdResponse 7;
    offset_for_leader_epoch: OffsetForLeaderEpochRequest 3, OffsetForLeaderEpochResponse 3;
    add_partitions_to_txn: AddPartitionsToTxnRequest 6, AddPartitionsToTxnResponse 6;
    add_offsets_to_txn: AddOffsetsToTxnRequest 5, AddOffsetsToTxnResponse 5;
    end_txn: EndTxnRequest 6, EndTxnResponse 6;
    write_txn_markers: WriteTxnMarkersRequest 1, WriteTxnMarkersResponse 1;
    txn_offset_commit: TxnOffsetCommitRequest 6, TxnOffsetCommitResponse 6;
    describe_acls: DescribeAclsRequest 3, DescribeAclsResponse 3;
    create_acls: CreateAclsRequest 3, CreateAclsResponse 3;
    delete_acls: DeleteAclsRequest 3, DeleteAclsResponse 3;
    describe_configs: DescribeConfigsRequest 4, DescribeConfigsResponse 4;
    alter_configs: AlterConfigsRequest 3, AlterConfigsResponse 3;
    alter_replica_log_dirs: AlterReplicaLogDirsRequest 2, AlterReplicaLogDirsResponse 2;
    describe_log_dirs: DescribeLogDirsRequest 4, DescribeLogDirsResponse 4;
    sasl_authenticate: SaslAuthenticateRequest 3, SaslAuthenticateResponse 3;
    create_partitions: CreatePartitionsRequest 4, CreatePartitionsResponse 4;
    create_delegation_token: CreateDelegationTokenRequest 3, CreateDelegationTokenResponse 3;
    renew_delegation_token: RenewDelegationTokenRequest 2, RenewDelegationTokenResponse 2;
    expire_delegation_token: ExpireDelegationTokenRequest 2, ExpireDelegationTokenResponse 2;
    describe_delegation_token: DescribeDelegationTokenRequest 3, DescribeDelegationTokenResponse 3;
    delete_groups: DeleteGroupsRequest 3, DeleteGroupsResponse 3;
    elect_leaders: ElectLeadersRequest 3, ElectLeadersResponse 3;
    incremental_alter_configs: IncrementalAlterConfigsRequest 2, IncrementalAlterConfigsResponse 2;
    alter_partition_reassignments: AlterPartitionReassignmentsRequest 2, AlterPartitionReassignmentsResponse 2;
    list_partition_reassignments: ListPartitionReassignmentsRequest 1, ListPartitionReassignmentsResponse 1;
    offset_delete: OffsetDeleteRequest 1, OffsetDeleteResponse 1;
    describe_client_quotas: DescribeClientQuotasRequest 2, DescribeClientQuotasResponse 2;
    alter_client_quotas: AlterClientQuotasRequest 2, AlterClientQuotasResponse 2;
    describe_user_scram_credentials: DescribeUserScramCredentialsRequest 1, DescribeUserScramCredentialsResponse 1;
    alter_user_scram_credentials: AlterUserScramCredentialsRequest 1, AlterUserScramCredentialsResponse 1;
    describe_quorum: DescribeQuorumRequest 3, DescribeQuorumResponse 3;
    update_features: UpdateFeaturesRequest 3, UpdateFeaturesResponse 3;
    describe_cluster: DescribeClusterRequest 3, DescribeClusterResponse 3;
    describe_producers: DescribeProducersRequest 1, DescribeProducersResponse 1;
    unregister_broker: UnregisterBrokerRequest 1, UnregisterBrokerResponse 1;
    describe_transactions: DescribeTransactionsRequest 1, DescribeTransactionsResponse 1;
    list_transactions: ListTransactionsRequest 3, ListTransactionsResponse 3;
    consumer_group_heartbeat: ConsumerGroupHeartbeatRequest 2, ConsumerGroupHeartbeatResponse 2;
    consumer_group_describe: ConsumerGroupDescribeRequest 2, ConsumerGroupDescribeResponse 2;
    get_telemetry_subscriptions: GetTelemetrySubscriptionsRequest 1, GetTelemetrySubscriptionsResponse 1;
    push_telemetry: PushTelemetryRequest 1, PushTelemetryResponse 1;
    list_config_resources: ListConfigResourcesRequest 2, ListConfigResourcesResponse 2;
    describe_topic_partitions: DescribeTopicPartitionsRequest 1, DescribeTopicPartitionsResponse 1;
    share_group_heartbeat: ShareGroupHeartbeatRequest 1, ShareGroupHeartbeatResponse 1;
    share_group_describe: ShareGroupDescribeRequest 1, ShareGroupDescribeResponse 1;
    share_fetch: ShareFetchRequest 1, ShareFetchResponse 1;
    share_acknowledge: ShareAcknowledgeRequest 1, ShareAcknowledgeResponse 1;
    add_raft_voter: AddRaftVoterRequest 1, AddRaftVoterResponse 1;
    remove_raft_voter: RemoveRaftVoterRequest 1, RemoveRaftVoterResponse 1;
    describe_share_group_offsets: DescribeShareGroupOffsetsRequest 1, DescribeShareGroupOffsetsResponse 1;
    alter_share_group_offsets: AlterShareGroupOffsetsRequest 1, AlterShareGroupOffsetsResponse 1;
    delete_share_group_offsets: DeleteShareGroupOffsetsRequest 1, DeleteShareGroupOffsetsResponse 1;
}

mod consumer_protocol {
    use super::{agree, theirs};
    drawn! {
        subscription: ConsumerProtocolSubscription, 4;
        assignment: ConsumerProtocolAssignment, 4;
    }
}

// Chosen instead of random values: both codecs use the same bytes for the same fields.

#[test]
fn a_produce_request_of_theirs_is_read_field_by_field() {
    let partition = theirs::produce_request::PartitionProduceData::default()
        .with_index(3)
        .with_records(Some(Bytes::from_static(b"one batch")));
    let topic = theirs::produce_request::TopicProduceData::default()
        .with_name(StrBytes::from_static_str("orders").into())
        .with_partition_data(vec![partition]);
    let request = theirs::ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(-1)
        .with_timeout_ms(1500)
        .with_topic_data(vec![topic]);
    for version in 3..=12 {
        let read: ours::produce_request::ProduceRequest =
            decode(their_encode(&request, version), version).expect("ours reads it");
        assert_eq!((read.transactional_id, read.acks, read.timeout_ms), (None, -1, 1500));
        let [topic] = read.topic_data.as_slice() else { panic!("one topic") };
        let [partition] = topic.partition_data.as_slice() else { panic!("one partition") };
        assert_eq!((topic.name.as_str(), topic.topic_id, partition.index), ("orders", Uuid::ZERO, 3));
        assert_eq!(partition.records.clone().map(|records| records.into_bytes()), Some("one batch".into()));
    }
}

#[test]
fn a_fetch_answer_of_ours_joins_its_pieces_for_them() {
    use ours::fetch_response::{AbortedTransaction, FetchResponse, FetchableTopicResponse, PartitionData};
    let partition = PartitionData {
        partition_index: 7,
        high_watermark: 42,
        aborted_transactions: Some(vec![AbortedTransaction { producer_id: 9, first_offset: 40 }]),
        records: Some(vec![Bytes::from(vec![1; 600]).into(), Bytes::from(vec![2; 3]).into()].into()),
        ..Default::default()
    };
    let topic = FetchableTopicResponse {
        topic: "orders".to_owned(),
        topic_id: Uuid([5; 16]),
        partitions: vec![partition],
    };
    let answer = FetchResponse { session_id: 11, responses: vec![topic], ..Default::default() };
    for version in 4..=18 {
        let read: theirs::FetchResponse =
            their_decode(&encode(&answer, version).expect("an answer"), version);
        let topic = &read.responses[0];
        assert_eq!(topic.topic.as_str(), if version <= 12 { "orders" } else { "" });
        assert_eq!(topic.topic_id.as_bytes(), &if version <= 12 { [0; 16] } else { [5; 16] });
        assert_eq!(read.session_id, if version >= 7 { 11 } else { 0 });
        let partition = &topic.partitions[0];
        assert_eq!((partition.partition_index, partition.high_watermark), (7, 42));
        assert_eq!(partition.aborted_transactions.as_ref().map(|all| all[0].first_offset), Some(40));
        assert_eq!(partition.records.as_deref(), Some([[1; 600].as_slice(), &[2; 3]].concat().as_slice()));
    }
}

#[test]
fn a_metadata_answer_of_ours_names_the_same_things_to_them() {
    use ours::metadata_response::{
        MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };
    let broker = MetadataResponseBroker { node_id: 1, host: "localhost".to_owned(), port: 9092, rack: None };
    let partition = MetadataResponsePartition {
        leader_id: 1,
        leader_epoch: 5,
        replica_nodes: vec![1],
        ..Default::default()
    };
    let topic = MetadataResponseTopic {
        name: Some("t".to_owned()),
        partitions: vec![partition],
        ..Default::default()
    };
    let answer = MetadataResponse {
        brokers: vec![broker],
        controller_id: 1,
        topics: vec![topic],
        ..Default::default()
    };
    for version in 0..=13 {
        let read: theirs::MetadataResponse =
            their_decode(&encode(&answer, version).expect("an answer"), version);
        assert_eq!((read.brokers[0].host.as_str(), read.brokers[0].port), ("localhost", 9092));
        let partition = &read.topics[0].partitions[0];
        assert_eq!(partition.leader_epoch, if version >= 7 { 5 } else { -1 });
        assert_eq!((partition.leader_id.0, partition.replica_nodes[0].0), (1, 1));
    }
}

#[test]
fn a_join_of_theirs_is_read_field_by_field() {
    let protocol = theirs::join_group_request::JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(b"\0\x01"));
    let request = theirs::JoinGroupRequest::default()
        .with_group_id(StrBytes::from_static_str("g").into())
        .with_session_timeout_ms(45_000)
        .with_member_id(StrBytes::from_static_str("m"))
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    for version in 0..=9 {
        let read: ours::join_group_request::JoinGroupRequest =
            decode(their_encode(&request, version), version).expect("ours reads it");
        assert_eq!((read.group_id.as_str(), read.member_id.as_str()), ("g", "m"));
        assert_eq!((read.session_timeout_ms, read.rebalance_timeout_ms), (45_000, -1));
        assert_eq!(
            (read.protocols[0].name.as_str(), &read.protocols[0].metadata[..]),
            ("range", &b"\0\x01"[..])
        );
    }
}

#[test]
fn request_headers_agree() {
    for (key, version) in [(3, 8), (3, 9), (18, 0), (18, 3), (17, 1), (0, 9)] {
        let header = jackdaw::protocol::RequestHeader {
            api_key: key,
            api_version: version,
            correlation_id: 77,
            client_id: Some("kcat".to_owned()),
        };
        let mut out = jackdaw::protocol::Writer::new();
        header.write(&mut out).expect("a header");
        let theirs_version = jackdaw::protocol::request_header_version(key, version).expect("a known key");
        let read: theirs::RequestHeader = their_decode(&out.into_bytes(), theirs_version);
        assert_eq!((read.request_api_key, read.request_api_version, read.correlation_id), (key, version, 77));
        assert_eq!(read.client_id.as_deref(), Some("kcat"));
    }
}
