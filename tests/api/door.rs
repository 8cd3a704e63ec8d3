//! The door: every request for a topic, a group, a transactional id or the cluster asks for a right first. The answers
//! are those of Apache Kafka 4.4 with an authorizer, as far as they are listed here.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use jackdaw::api::TABLE;
use jackdaw::api::error::ErrorCode;
use jackdaw::hooks::Fault;
use jackdaw::protocol::messages::{
    AclCreation, AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AlterClientQuotasRequest,
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDir, AlterReplicaLogDirTopic,
    AlterReplicaLogDirsRequest, AlterUserScramCredentialsRequest, ApiVersionsRequest, CreatableTopic,
    CreateAclsRequest, CreatePartitionsRequest, CreatePartitionsTopic, CreateTopicsRequest, DeleteAclsFilter,
    DeleteAclsRequest, DeleteGroupsRequest, DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
    DeleteTopicState, DeleteTopicsRequest, DescribeAclsRequest, DescribeClientQuotasRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeConfigsResource, DescribeGroupsRequest,
    DescribeLogDirsRequest, DescribeProducersRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest,
    DescribeTransactionsRequest, DescribeUserScramCredentialsRequest, ElectLeadersRequest, EndTxnRequest,
    FetchRequest, FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListConfigResourcesRequest,
    ListGroupsRequest, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
    ListPartitionReassignmentsRequest, ListTransactionsRequest, MetadataRequest, MetadataRequestTopic,
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetDeleteRequest,
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetFetchRequest, OffsetFetchRequestGroup,
    OffsetFetchRequestTopics, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
    PartitionProduceData, ProduceRequest, ScramCredentialDeletion, SyncGroupRequest, TopicProduceData,
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    UnregisterBrokerRequest, UpdateFeaturesRequest, WritableTxnMarker, WritableTxnMarkerTopic,
    WriteTxnMarkersRequest, add_partitions_to_txn_request::AddPartitionsToTxnTopic,
    alter_client_quotas_request, alter_configs_request, describe_producers_request as producers_request,
    describe_topic_partitions_request::TopicRequest, fetch_request::FetchTopic,
    incremental_alter_configs_request,
};
#[cfg(feature = "security")]
use jackdaw::protocol::messages::{
    CreateDelegationTokenRequest, DescribeDelegationTokenRequest, ExpireDelegationTokenRequest,
    RenewDelegationTokenRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use jackdaw::protocol::{Request, Writer};
use jackdaw::record::BatchBuilder;
use jackdaw::security::operations::Operation;
use jackdaw::security::principal::{Authorizer, Principal, Resource};
use jackdaw::time::Clock;
use jackdaw::types::TopicId;

use crate::harness::{Client, HOOKED, Node, fetch_topics, partition_from, produce_to, the_partition};

const API_VERSIONS: i16 = 18;
const SASL_HANDSHAKE: i16 = 17;
const SASL_AUTHENTICATE: i16 = 36;
/// Refused without a login. `delegation_tokens` and the scripts of `tests/compare` have their rights.
const OF_TOKENS: [i16; 4] = [38, 39, 40, 41];
/// The client's own metrics need no right, as in Kafka.
const OF_CLIENT_METRICS: [i16; 2] = [71, 72];
const LIST_GROUPS: i16 = 16;
const DESCRIBE_CLUSTER: i16 = 60;
const LIST_TRANSACTIONS: i16 = 66;

/// The name of a topic and of a group that exist, and one that nothing has.
const THERE: &str = "there";
const NOWHERE: &str = "wheat";

/// Refuses the rights that a test names, such as `Read Topic there`, and lists the rights it was asked for.
#[derive(Default)]
struct Guard {
    refused: Mutex<BTreeSet<String>>,
    asked: Mutex<BTreeSet<String>>,
}

impl Authorizer for Guard {
    fn allows(
        &self,
        principal: &Principal,
        host: IpAddr,
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool {
        assert_eq!(principal.to_string(), "User:ANONYMOUS");
        assert!(host.is_loopback());
        self.ask(right(operation, resource))
    }

    fn allows_on_any_topic(&self, _: &Principal, _: IpAddr, operation: Operation) -> bool {
        self.ask(format!("{operation:?} any Topic"))
    }
}

fn right(operation: Operation, resource: Resource<'_>) -> String {
    match resource {
        Resource::Topic(name) => format!("{operation:?} Topic {name}"),
        Resource::Group(name) => format!("{operation:?} Group {name}"),
        Resource::TransactionalId(name) => format!("{operation:?} TransactionalId {name}"),
        Resource::Cluster => format!("{operation:?} Cluster"),
        Resource::DelegationToken(id) => format!("{operation:?} DelegationToken {id}"),
        Resource::User(principal) => format!("{operation:?} User {principal}"),
    }
}

impl Guard {
    fn refuse(&self, rights: &[String]) {
        *self.refused.lock().unwrap() = rights.iter().cloned().collect();
        self.asked.lock().unwrap().clear();
    }

    fn ask(&self, right: String) -> bool {
        let is_refused = self.refused.lock().unwrap().contains(&right);
        self.asked.lock().unwrap().insert(right);
        !is_refused
    }

    fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A broker with a topic and a group.
struct Stage {
    node: Node,
    guard: Arc<Guard>,
    client: Client,
    id: TopicId,
}

impl Stage {
    async fn new() -> Stage {
        Stage::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Stage {
        let guard = Arc::new(Guard::default());
        let authorizer: Arc<dyn Authorizer> = Arc::<Guard>::clone(&guard);
        let node = Node::guarded(authorizer, settings).await;
        let id = node.topic(THERE, 1).await;
        let mut client = node.client().await;
        client.call(9, commit(THERE, THERE)).await;
        Stage { node, guard, client, id }
    }

    /// The number of answers with this code so far.
    fn answered(&self, key: i16, code: ErrorCode) -> u64 {
        let of_key = self.node.requests.iter().find(|of| of.row.key == key).expect("the key is served");
        of_key.refused().find(|(counted, _)| *counted == code).map_or(0, |(_, times)| times)
    }

    /// The number of denials so far.
    fn denied(&self) -> u64 {
        self.node.requests.denials().values().sum()
    }

    /// The bytes of the answer behind the correlation id.
    async fn answer(&mut self, probe: &Probe) -> Vec<u8> {
        self.client.send_bytes(probe.key, probe.version, &probe.body).await;
        self.client.receive_bytes().await[4..].to_vec()
    }
}

/// A request for one subject, the rights whose lack refuses it, and the code of the refusal.
struct Probe {
    key: i16,
    version: i16,
    body: Vec<u8>,
    rights: Vec<String>,
    code: ErrorCode,
}

fn probe<R: Request>(version: i16, request: R, rights: &[&str], code: ErrorCode) -> Probe {
    let mut body = Writer::new();
    request.encode(&mut body, version).unwrap();
    let rights = rights.iter().map(|right| (*right).to_owned()).collect();
    Probe { key: R::KEY, version, body: body.into_bytes().to_vec(), rights, code }
}

#[tokio::test]
async fn every_key_that_names_something_asks_for_a_right_and_is_refused_without_it() {
    let mut stage = Stage::new().await;
    let mut probed = BTreeSet::from([
        API_VERSIONS,
        SASL_HANDSHAKE,
        SASL_AUTHENTICATE,
        LIST_GROUPS,
        DESCRIBE_CLUSTER,
        LIST_TRANSACTIONS,
    ]);
    probed.extend(OF_TOKENS);
    probed.extend(OF_CLIENT_METRICS);
    // Those of the cluster come first: later ones create topics of Kafka's own.
    let probes = of_the_cluster().into_iter().chain(by_name(THERE)).chain(by_id(stage.id));
    for probe in probes {
        probed.insert(probe.key);
        let about = format!("key {} v{} without {:?}", probe.key, probe.version, probe.rights);
        let before = stage.answered(probe.key, probe.code);
        let denied_before = stage.denied();
        stage.guard.refuse(&probe.rights);
        stage.answer(&probe).await;
        let denied = stage.denied() - denied_before;
        assert!((1..=probe.rights.len() as u64).contains(&denied), "{about}: {denied} denials are counted");
        let asked = stage.guard.asked();
        assert!(
            probe.rights.iter().all(|right| asked.contains(right)),
            "{about}: only {asked:?} were asked for"
        );
        let refused = stage.answered(probe.key, probe.code);
        assert!(refused > before, "{about}: {:?} is not in the answer", probe.code);
    }
    let served: BTreeSet<i16> = TABLE.iter().map(|row| row.key).collect();
    assert_eq!(probed, served, "each key has a probe here, or needs no right");
}

#[tokio::test]
async fn with_all_rights_nothing_is_refused_for_a_lack_of_rights() {
    let mut stage = Stage::new().await;
    let probes: Vec<Probe> =
        by_name(THERE).into_iter().chain(by_id(stage.id)).chain(of_the_cluster()).collect();
    // The last ones delete the subject.
    for probe in probes {
        let before = stage.answered(probe.key, probe.code);
        stage.answer(&probe).await;
        let refused = stage.answered(probe.key, probe.code) - before;
        assert_eq!(refused, 0, "key {} v{}: {:?}", probe.key, probe.version, probe.code);
    }
}

#[tokio::test]
async fn a_client_without_the_right_cannot_tell_what_exists() {
    let mut stage = Stage::new().await;
    for (there, nowhere) in by_name(THERE).into_iter().zip(by_name(NOWHERE)) {
        stage.guard.refuse(&[there.rights.clone(), nowhere.rights.clone()].concat());
        let (known, unknown) = (stage.answer(&there).await, stage.answer(&nowhere).await);
        let unknown = String::from_utf8_lossy(&unknown).replace(NOWHERE, THERE);
        let about = format!("key {} v{}", there.key, there.version);
        assert_eq!(String::from_utf8_lossy(&known), unknown, "{about}: the answers differ");
    }
}

/// See `faults.rs`.
#[tokio::test]
async fn a_fault_refuses_a_request_of_every_key_with_its_error_and_changes_nothing() {
    const CODE: ErrorCode = ErrorCode::BrokerNotAvailable;
    let mut stage = Stage::with(&[HOOKED, ("delegation.token.secret.key", "secret")]).await;
    let mut probes = of_the_cluster();
    probes.extend(by_name(THERE));
    probes.extend(by_id(stage.id));
    probes.extend(without_rights());
    let served: BTreeSet<i16> = TABLE.iter().map(|row| row.key).collect();
    let mut refused = BTreeSet::new();
    let before = stage.node.store.topics();
    for probe in probes {
        let name = TABLE.iter().find(|row| row.key == probe.key).expect("the key is served").name;
        let about = format!("{name} v{}", probe.version);
        let others = |stage: &Stage| -> u64 {
            let of_key = stage.node.requests.iter().find(|of| of.row.key == probe.key);
            let codes = of_key.into_iter().flat_map(|of| of.refused().collect::<Vec<_>>());
            codes.filter(|(code, _)| *code != CODE).map(|(_, times)| times).sum()
        };
        let (with_code, with_others) = (stage.answered(probe.key, CODE), others(&stage));
        stage.node.hooks().inject(Fault::of(name).error(CODE.name())).unwrap();
        stage.answer(&probe).await;
        assert!(stage.answered(probe.key, CODE) > with_code, "{about}: the code is not in the answer");
        assert_eq!(others(&stage), with_others, "{about}: another code is in the answer");
        assert_eq!(stage.node.hooks().faults(), [], "{about}");
        refused.insert(probe.key);
    }
    // Both need HTTP.
    refused.extend(OF_CLIENT_METRICS);
    assert_eq!(refused, served);
    let after = stage.node.store.topics();
    let names =
        |topics: &jackdaw::storage::Topics| topics.iter().map(|topic| topic.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    assert_eq!(listed(&mut stage.client).await, [THERE]);
    let offsets = stage.client.call(9, fetch_offsets(THERE, THERE, TopicId::ZERO)).await;
    assert_eq!(offsets.groups[0].topics[0].partitions[0].committed_offset, 0);
}

/// Requests of the keys that need no right.
fn without_rights() -> Vec<Probe> {
    let none = ErrorCode::None;
    let mut probes = vec![
        probe(4, ApiVersionsRequest::default(), &[], none),
        probe(4, ListGroupsRequest::default(), &[], none),
        probe(1, DescribeClusterRequest { endpoint_type: 1, ..Default::default() }, &[], none),
        probe(1, ListTransactionsRequest::default(), &[], none),
    ];
    #[cfg(feature = "security")]
    probes.extend([
        probe(1, SaslHandshakeRequest::default(), &[], none),
        probe(2, SaslAuthenticateRequest::default(), &[], none),
        probe(2, CreateDelegationTokenRequest::default(), &[], none),
        probe(2, RenewDelegationTokenRequest::default(), &[], none),
        probe(2, ExpireDelegationTokenRequest::default(), &[], none),
        probe(2, DescribeDelegationTokenRequest::default(), &[], none),
    ]);
    probes
}

#[tokio::test]
async fn hidden_topics_are_left_out_where_a_request_names_none() {
    let mut stage = Stage::new().await;
    stage.node.topic("hidden", 1).await;
    stage.guard.refuse(&["Describe Topic hidden".to_owned()]);
    let all = MetadataRequest { topics: None, ..Default::default() };
    let found = stage.client.call(12, all).await.topics;
    assert_eq!(found.iter().map(|topic| topic.name.as_deref().unwrap()).collect::<Vec<_>>(), [THERE]);
    let all = DescribeTopicPartitionsRequest { response_partition_limit: 10, ..Default::default() };
    let found = stage.client.call(0, all).await.topics;
    assert_eq!(found.iter().map(|topic| topic.name.as_deref().unwrap()).collect::<Vec<_>>(), [THERE]);
}

#[tokio::test]
async fn offsets_of_hidden_topics_are_left_out_where_a_request_asks_for_all() {
    let mut stage = Stage::new().await;
    stage.node.topic("hidden", 1).await;
    stage.client.call(9, commit(THERE, "hidden")).await;
    stage.guard.refuse(&["Describe Topic hidden".to_owned()]);
    let group = OffsetFetchRequestGroup { group_id: THERE.into(), topics: None, ..Default::default() };
    let all = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let found = &stage.client.call(8, all).await.groups[0].topics;
    assert_eq!(found.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), [THERE]);
}

#[tokio::test]
async fn groups_are_listed_with_the_right_to_describe_them_or_the_cluster() {
    let mut stage = Stage::new().await;
    stage.client.call(9, commit("hidden", THERE)).await;
    let hidden = "Describe Group hidden".to_owned();
    stage.guard.refuse(&[hidden.clone(), "Describe Cluster".to_owned()]);
    assert_eq!(listed(&mut stage.client).await, [THERE]);
    stage.guard.refuse(&[hidden]);
    assert_eq!(listed(&mut stage.client).await, ["hidden", THERE]);
}

#[tokio::test]
async fn transactional_ids_are_listed_with_the_right_to_describe_them() {
    let mut stage = Stage::new().await;
    for id in ["hidden", THERE] {
        let init = InitProducerIdRequest {
            transactional_id: Some(id.to_owned()),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        assert_eq!(stage.client.call(5, init).await.error_code, 0);
    }
    stage.guard.refuse(&["Describe TransactionalId hidden".to_owned()]);
    let all = ListTransactionsRequest { duration_filter: -1, ..Default::default() };
    let listed = stage.client.call(2, all).await.transaction_states;
    assert_eq!(listed.iter().map(|one| one.transactional_id.as_str()).collect::<Vec<_>>(), [THERE]);
}

#[tokio::test]
async fn a_two_phase_commit_needs_a_right_of_its_own_beside_that_to_write() {
    let settings = [("transaction.two.phase.commit.enable", "true")];
    let mut stage = Stage::with(&settings).await;
    let mut code_without = async |right: &str, enable2_pc: bool| {
        stage.guard.refuse(&[format!("{right} TransactionalId {THERE}")]);
        let init = InitProducerIdRequest {
            transactional_id: Some(THERE.to_owned()),
            transaction_timeout_ms: 60_000,
            enable2_pc,
            ..Default::default()
        };
        stage.client.call(6, init).await.error_code
    };
    let refused = ErrorCode::TransactionalIdAuthorizationFailed.code();
    assert_eq!(code_without("TwoPhaseCommit", true).await, refused);
    assert_eq!(code_without("Write", true).await, refused);
    assert_eq!(code_without("TwoPhaseCommit", false).await, 0);
    assert_eq!(code_without("Read", true).await, 0);
}

#[tokio::test]
async fn a_marker_needs_the_right_to_alter_the_cluster_or_to_act_for_it() {
    let mut stage = Stage::new().await;
    let mut code_without = async |rights: &[&str]| {
        stage.guard.refuse(&rights.iter().map(|right| (*right).to_owned()).collect::<Vec<_>>());
        stage.client.call(1, marker(THERE)).await.markers[0].topics[0].partitions[0].error_code
    };
    assert_eq!(code_without(&["Alter Cluster"]).await, 0);
    assert_eq!(code_without(&["ClusterAction Cluster"]).await, 0);
    let refused = ErrorCode::ClusterAuthorizationFailed.code();
    assert_eq!(code_without(&["Alter Cluster", "ClusterAction Cluster"]).await, refused);
}

#[tokio::test]
async fn a_transactional_batch_needs_the_right_to_its_id_and_refuses_the_whole_request() {
    let mut stage = Stage::new().await;
    stage.guard.refuse(&[format!("Write TransactionalId {THERE}")]);
    let now = Clock::machine().now();
    let mut code_of = async |batch: BatchBuilder| {
        let transactional_id = Some(THERE.to_owned());
        let request = ProduceRequest { transactional_id, ..produce_to(THERE, 0, batch.build()) };
        the_partition(stage.client.call(12, request).await).error_code
    };
    let refused = ErrorCode::TransactionalIdAuthorizationFailed.code();
    assert_eq!(code_of(BatchBuilder::new().value(now, "v").transactional()).await, refused);
    assert_eq!(
        code_of(BatchBuilder::new().value(now, "v")).await,
        0,
        "a plain batch needs no right to the id"
    );
}

async fn listed(client: &mut Client) -> Vec<String> {
    let groups = client.call(4, ListGroupsRequest::default()).await.groups;
    groups.into_iter().map(|group| group.group_id).collect()
}

#[tokio::test]
async fn authorized_operations_are_those_that_are_allowed() {
    let mut stage = Stage::new().await;
    let cluster = || DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        endpoint_type: 1,
        ..Default::default()
    };
    assert_eq!(stage.client.call(1, cluster()).await.cluster_authorized_operations, 8096);
    stage.guard.refuse(&["Alter Cluster".to_owned()]);
    assert_eq!(stage.client.call(1, cluster()).await.cluster_authorized_operations, 8096 - (1 << 7));
    stage.guard.refuse(&["Describe Cluster".to_owned()]);
    assert_eq!(stage.client.call(1, cluster()).await.cluster_authorized_operations, 0);
    stage.guard.refuse(&["Write Topic there".to_owned()]);
    let topic = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(THERE.into()), ..Default::default() }]),
        include_topic_authorized_operations: true,
        ..Default::default()
    };
    assert_eq!(stage.client.call(12, topic).await.topics[0].topic_authorized_operations, 3576 - (1 << 4));
}

#[tokio::test]
async fn a_topic_is_auto_created_only_with_the_right_to_create_it() {
    let mut stage = Stage::new().await;
    let ask = || MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some("new".into()), ..Default::default() }]),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    stage.guard.refuse(&["Create Cluster".to_owned(), "Create Topic new".to_owned()]);
    let refused = stage.client.call(12, ask()).await.topics[0].error_code;
    assert_eq!(refused, ErrorCode::TopicAuthorizationFailed.code());
    stage.guard.refuse(&["Create Cluster".to_owned()]);
    let unknown = stage.client.call(12, ask()).await.topics[0].error_code;
    assert_eq!(unknown, ErrorCode::UnknownTopicOrPartition.code(), "it is created behind the answer");
    while stage.client.call(12, ask()).await.topics[0].error_code != 0 {}
}

#[tokio::test]
async fn a_look_up_of_a_coordinator_without_the_right_creates_no_topic_of_offsets() {
    let mut stage = Stage::new().await;
    let find = || FindCoordinatorRequest { coordinator_keys: vec![THERE.to_owned()], ..Default::default() };
    let stored = |node: &Node| node.store.topics().by_name("__consumer_offsets").is_some();
    stage.guard.refuse(&[format!("Describe Group {THERE}")]);
    let refused = stage.client.call(4, find()).await.coordinators[0].error_code;
    assert_eq!(refused, ErrorCode::GroupAuthorizationFailed.code());
    assert!(!stored(&stage.node));
    stage.guard.refuse(&[]);
    assert_eq!(stage.client.call(4, find()).await.coordinators[0].error_code, 0);
    assert!(stored(&stage.node));
}

#[tokio::test]
async fn x17_the_coordinator_of_a_transactional_id_is_named_only_with_the_right_to_describe_the_id() {
    let mut stage = Stage::new().await;
    let find = |version| {
        let (key, coordinator_keys) =
            if version < 4 { ("tx".to_owned(), Vec::new()) } else { (String::new(), vec!["tx".to_owned()]) };
        FindCoordinatorRequest { key_type: 1, key, coordinator_keys }
    };
    let refused = (ErrorCode::TransactionalIdAuthorizationFailed.code(), -1);
    for (rights, expected) in [(vec!["Describe TransactionalId tx".to_owned()], refused), (vec![], (0, 1))] {
        stage.guard.refuse(&rights);
        for version in 1..=6 {
            let answer = stage.client.call(version, find(version)).await;
            let found = answer.coordinators.first().map(|one| (one.error_code, one.node_id));
            let found = found.unwrap_or((answer.error_code, answer.node_id));
            assert_eq!(found, expected, "version {version} without {rights:?}");
        }
    }
}

#[tokio::test]
async fn z6_an_idempotent_producer_needs_no_right_to_the_cluster_if_it_may_write_to_any_topic() {
    let mut stage = Stage::new().await;
    let refused = ErrorCode::ClusterAuthorizationFailed.code();
    let (to_cluster, to_topics) = ("IdempotentWrite Cluster".to_owned(), "Write any Topic".to_owned());
    for (lacking, expected) in [(vec![to_cluster.clone()], 0), (vec![to_cluster, to_topics], refused)] {
        stage.guard.refuse(&lacking);
        for version in 0..=5 {
            let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
            let answer = stage.client.call(version, request).await;
            assert_eq!(answer.error_code, expected, "version {version} without {lacking:?}");
        }
    }
}

#[tokio::test]
async fn a_session_of_fetches_reports_a_lost_right_each_time() {
    let mut stage = Stage::new().await;
    let mut first = fetch(THERE, TopicId::ZERO);
    first.session_epoch = 0;
    let session = stage.client.call(12, first).await.session_id;
    stage.guard.refuse(&[format!("Read Topic {THERE}")]);
    for epoch in 1..3 {
        let next = FetchRequest { session_id: session, session_epoch: epoch, ..fetch_topics(Vec::new()) };
        let found = stage.client.call(12, next).await;
        let code = found.responses[0].partitions[0].error_code;
        assert_eq!(code, ErrorCode::TopicAuthorizationFailed.code());
    }
}

fn commit(group: &str, topic: &str) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn commit_by_id(group: &str, topic_id: TopicId) -> OffsetCommitRequest {
    let mut request = commit(group, "");
    request.topics[0].topic_id = topic_id;
    request
}

fn produce(name: &str, topic_id: TopicId) -> ProduceRequest {
    let partition_data = vec![PartitionProduceData { index: 0, records: None }];
    ProduceRequest {
        acks: -1,
        topic_data: vec![TopicProduceData { name: name.into(), topic_id, partition_data }],
        ..Default::default()
    }
}

fn fetch(topic: &str, topic_id: TopicId) -> FetchRequest {
    let partitions = vec![partition_from(0, 0)];
    fetch_topics(vec![FetchTopic { topic: topic.into(), topic_id, partitions }])
}

fn metadata(name: Option<&str>, topic_id: TopicId) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: name.map(str::to_owned), topic_id };
    MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: false, ..Default::default() }
}

fn fetch_offsets(group: &str, name: &str, topic_id: TopicId) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics { name: name.into(), topic_id, partition_indexes: vec![0] };
    let group_id = group.to_owned();
    let group = OffsetFetchRequestGroup { group_id, topics: Some(vec![topic]), ..Default::default() };
    OffsetFetchRequest { groups: vec![group], ..Default::default() }
}

fn describe_configs(resource_type: i8, name: &str) -> DescribeConfigsRequest {
    let resource_name = name.to_owned();
    let resource = DescribeConfigsResource { resource_type, resource_name, configuration_keys: None };
    DescribeConfigsRequest { resources: vec![resource], ..Default::default() }
}

fn alter_configs(resource_type: i8, name: &str) -> AlterConfigsRequest {
    let resource_name = name.to_owned();
    let resource =
        alter_configs_request::AlterConfigsResource { resource_type, resource_name, configs: Vec::new() };
    AlterConfigsRequest { resources: vec![resource], validate_only: true }
}

fn incremental(resource_type: i8, name: &str) -> IncrementalAlterConfigsRequest {
    let resource_name = name.to_owned();
    let resource = incremental_alter_configs_request::AlterConfigsResource {
        resource_type,
        resource_name,
        configs: Vec::new(),
    };
    IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: true }
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

/// Requests that name a topic by its id. Another id is unknown to everybody.
fn by_id(id: TopicId) -> Vec<Probe> {
    let code = ErrorCode::TopicAuthorizationFailed;
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name: None, topic_id: id }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    vec![
        probe(13, produce("", id), &["Write Topic there"], code),
        probe(13, fetch("", id), &["Read Topic there"], code),
        probe(12, metadata(None, id), &["Describe Topic there"], code),
        probe(10, commit_by_id(THERE, id), &["Read Topic there"], code),
        probe(10, fetch_offsets(THERE, "", id), &["Describe Topic there"], code),
        probe(6, delete, &["Delete Cluster", "Delete Topic there"], code),
    ]
}

/// Requests that name a topic, a group or a transactional id, all with the same name.
fn by_name(name: &str) -> Vec<Probe> {
    let mut probes = of_topics(name);
    probes.extend(of_groups(name));
    probes.extend(of_transactional_ids(name));
    probes
}

fn of_topics(name: &str) -> Vec<Probe> {
    let (owned, none) = (name.to_owned(), TopicId::ZERO);
    let topic = |operation: &str| format!("{operation} Topic {name}");
    let code = ErrorCode::TopicAuthorizationFailed;
    let mut probes = Vec::new();
    let mut put = |probe: Probe| probes.push(probe);
    put(probe(12, produce(name, none), &[&topic("Write")], code));
    put(probe(12, fetch(name, none), &[&topic("Read")], code));
    let partitions = vec![ListOffsetsPartition { timestamp: -1, ..Default::default() }];
    let topics = vec![ListOffsetsTopic { name: owned.clone(), partitions }];
    let offsets = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    put(probe(9, offsets, &[&topic("Describe")], code));
    put(probe(12, metadata(Some(name), none), &[&topic("Describe")], code));
    put(probe(9, commit(THERE, name), &[&topic("Read")], code));
    put(probe(9, fetch_offsets(THERE, name, none), &[&topic("Describe")], code));
    let new = CreatableTopic {
        name: owned.clone(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let create = CreateTopicsRequest { topics: vec![new], timeout_ms: 10_000, validate_only: true };
    put(probe(7, create, &["Create Cluster", &topic("Create")], code));
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 0 }];
    let topics = vec![DeleteRecordsTopic { name: owned.clone(), partitions }];
    put(probe(2, DeleteRecordsRequest { topics, timeout_ms: 10_000 }, &[&topic("Delete")], code));
    let partitions = vec![OffsetForLeaderPartition::default()];
    let topics = vec![OffsetForLeaderTopic { topic: owned.clone(), partitions }];
    put(probe(
        4,
        OffsetForLeaderEpochRequest { replica_id: -1, topics },
        &["ClusterAction Cluster", &topic("Describe")],
        code,
    ));
    put(probe(4, describe_configs(TOPIC, name), &[&topic("DescribeConfigs")], code));
    put(probe(2, alter_configs(TOPIC, name), &[&topic("AlterConfigs")], code));
    put(probe(1, incremental(TOPIC, name), &[&topic("AlterConfigs")], code));
    let more = CreatePartitionsTopic { name: owned.clone(), count: 2, assignments: None };
    let more = CreatePartitionsRequest { topics: vec![more], timeout_ms: 10_000, validate_only: true };
    put(probe(3, more, &[&topic("Alter")], code));
    let partitions = vec![OffsetDeleteRequestPartition::default()];
    let topics = vec![OffsetDeleteRequestTopic { name: owned.clone(), partitions }];
    put(probe(0, OffsetDeleteRequest { group_id: THERE.into(), topics }, &[&topic("Read")], code));
    let topics = vec![TopicRequest { name: owned.clone() }];
    let add = add_partitions("tx", name);
    put(probe(3, add, &[&topic("Write")], code));
    put(probe(5, commit_in("tx", THERE, name), &[&topic("Read")], code));
    let partitions = producers_request::TopicRequest { name: owned.clone(), partition_indexes: vec![0] };
    put(probe(0, DescribeProducersRequest { topics: vec![partitions] }, &[&topic("Read")], code));
    let describe =
        DescribeTopicPartitionsRequest { topics, response_partition_limit: 10, ..Default::default() };
    put(probe(0, describe, &[&topic("Describe")], code));
    let delete = DeleteTopicsRequest { topic_names: vec![owned], timeout_ms: 10_000, ..Default::default() };
    put(probe(5, delete, &["Delete Cluster", &topic("Describe")], code));
    probes
}

fn of_groups(name: &str) -> Vec<Probe> {
    let group_id = name.to_owned();
    let group = |operation: &str| format!("{operation} Group {name}");
    let (read, describe, delete) = (group("Read"), group("Describe"), group("Delete"));
    let code = ErrorCode::GroupAuthorizationFailed;
    let join = JoinGroupRequest {
        group_id: group_id.clone(),
        session_timeout_ms: 10_000,
        member_id: "m".into(),
        ..Default::default()
    };
    let heartbeat = HeartbeatRequest { group_id: group_id.clone(), ..Default::default() };
    let leave = LeaveGroupRequest { group_id: group_id.clone(), ..Default::default() };
    let sync = SyncGroupRequest { group_id: group_id.clone(), ..Default::default() };
    let described = DescribeGroupsRequest { groups: vec![group_id.clone()], ..Default::default() };
    let find = FindCoordinatorRequest { coordinator_keys: vec![group_id.clone()], ..Default::default() };
    let delete_offsets = OffsetDeleteRequest { group_id: group_id.clone(), topics: Vec::new() };
    let add_offsets = AddOffsetsToTxnRequest {
        transactional_id: "tx".into(),
        group_id: group_id.clone(),
        ..Default::default()
    };
    vec![
        probe(9, commit(name, THERE), &[&read], code),
        probe(8, fetch_offsets(name, THERE, TopicId::ZERO), &[&describe], code),
        probe(4, find, &[&describe], code),
        probe(4, add_offsets, &[&read], code),
        probe(5, commit_in("tx", name, THERE), &[&read], code),
        probe(7, join, &[&read], code),
        probe(4, heartbeat, &[&read], code),
        probe(5, leave, &[&read], code),
        probe(4, sync, &[&read], code),
        probe(6, described, &[&describe], code),
        probe(4, describe_configs(GROUP, name), &[&group("DescribeConfigs")], code),
        probe(2, alter_configs(GROUP, name), &[&group("AlterConfigs")], code),
        probe(1, incremental(GROUP, name), &[&group("AlterConfigs")], code),
        probe(0, delete_offsets, &[&delete], code),
        probe(2, DeleteGroupsRequest { groups_names: vec![group_id] }, &[&delete], code),
    ]
}

fn of_transactional_ids(name: &str) -> Vec<Probe> {
    let code = ErrorCode::TransactionalIdAuthorizationFailed;
    let id = |operation: &str| format!("{operation} TransactionalId {name}");
    let find =
        FindCoordinatorRequest { key_type: 1, coordinator_keys: vec![name.to_owned()], ..Default::default() };
    let init = InitProducerIdRequest {
        transactional_id: Some(name.to_owned()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let add_offsets = AddOffsetsToTxnRequest {
        transactional_id: name.to_owned(),
        group_id: THERE.into(),
        ..Default::default()
    };
    let end = EndTxnRequest { transactional_id: name.to_owned(), ..Default::default() };
    let described = DescribeTransactionsRequest { transactional_ids: vec![name.to_owned()] };
    let (write, describe) = (&[id("Write")], &[id("Describe")]);
    let [write, describe] = [write, describe].map(|right| [right[0].as_str()]);
    vec![
        probe(4, find, &describe, code),
        probe(5, init, &write, code),
        probe(3, add_partitions(name, THERE), &write, code),
        probe(4, add_offsets, &write, code),
        probe(5, end, &write, code),
        probe(5, commit_in(name, THERE, THERE), &write, code),
        probe(0, described, &describe, code),
    ]
}

fn add_partitions(id: &str, topic: &str) -> AddPartitionsToTxnRequest {
    let topics = vec![AddPartitionsToTxnTopic { name: topic.to_owned(), partitions: vec![0] }];
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.to_owned(),
        v3_and_below_topics: topics,
        ..Default::default()
    }
}

fn commit_in(id: &str, group: &str, topic: &str) -> TxnOffsetCommitRequest {
    TxnOffsetCommitRequest {
        transactional_id: id.to_owned(),
        group_id: group.to_owned(),
        generation_id_or_member_epoch: -1,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: topic.to_owned(),
            partitions: vec![TxnOffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn marker(topic: &str) -> WriteTxnMarkersRequest {
    let topics = vec![WritableTxnMarkerTopic { name: topic.to_owned(), partition_indexes: vec![0] }];
    WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker { producer_id: 77, topics, ..Default::default() }],
    }
}

fn of_the_cluster() -> Vec<Probe> {
    let code = ErrorCode::ClusterAuthorizationFailed;
    let (alter, describe) = (&["Alter Cluster"], &["Describe Cluster"]);
    let producer = InitProducerIdRequest { transactional_id: None, ..Default::default() };
    let may_write_nowhere = &["IdempotentWrite Cluster", "Write any Topic"];
    let filter = DescribeAclsRequest {
        resource_type_filter: 2,
        pattern_type_filter: 3,
        operation: 3,
        permission_type: 3,
        ..Default::default()
    };
    let acl = AclCreation {
        resource_type: 2,
        resource_pattern_type: 3,
        operation: 3,
        permission_type: 3,
        ..Default::default()
    };
    let acl_filter = DeleteAclsFilter {
        resource_type_filter: 2,
        pattern_type_filter: 3,
        operation: 3,
        permission_type: 3,
        ..Default::default()
    };
    let topics = vec![AlterReplicaLogDirTopic { name: THERE.into(), partitions: vec![0] }];
    let deletions = vec![ScramCredentialDeletion { name: "alice".into(), mechanism: 1 }];
    let altered_users = AlterUserScramCredentialsRequest { deletions, upsertions: Vec::new() };
    let dirs = vec![AlterReplicaLogDir { path: "/elsewhere".into(), topics }];
    vec![
        probe(4, producer, may_write_nowhere, code),
        probe(5, AddPartitionsToTxnRequest::default(), &["ClusterAction Cluster"], code),
        probe(1, marker(THERE), &["Alter Cluster", "ClusterAction Cluster"], code),
        probe(2, filter, describe, code),
        probe(2, CreateAclsRequest { creations: vec![acl] }, alter, code),
        probe(2, DeleteAclsRequest { filters: vec![acl_filter] }, alter, code),
        probe(4, describe_configs(BROKER, ""), &["DescribeConfigs Cluster"], code),
        probe(2, alter_configs(BROKER, ""), &["AlterConfigs Cluster"], code),
        probe(1, incremental(BROKER, ""), &["AlterConfigs Cluster"], code),
        probe(2, AlterReplicaLogDirsRequest { dirs }, alter, code),
        probe(4, DescribeLogDirsRequest::default(), describe, code),
        probe(2, ElectLeadersRequest::default(), alter, code),
        probe(0, AlterPartitionReassignmentsRequest::default(), alter, code),
        probe(0, ListPartitionReassignmentsRequest::default(), describe, code),
        probe(1, DescribeQuorumRequest::default(), describe, code),
        probe(0, DescribeClientQuotasRequest::default(), &["DescribeConfigs Cluster"], code),
        probe(0, quota(), &["AlterConfigs Cluster"], code),
        probe(1, UpdateFeaturesRequest::default(), alter, code),
        probe(0, DescribeUserScramCredentialsRequest::default(), &["Describe Cluster"], code),
        probe(0, altered_users, alter, code),
        probe(0, UnregisterBrokerRequest { broker_id: 99 }, alter, code),
        probe(1, ListConfigResourcesRequest::default(), &["DescribeConfigs Cluster"], code),
    ]
}

fn quota() -> AlterClientQuotasRequest {
    let entity = alter_client_quotas_request::EntityData { entity_type: "user".into(), entity_name: None };
    let value =
        alter_client_quotas_request::OpData { key: "request_percentage".into(), value: 1.0, remove: false };
    let entries = vec![alter_client_quotas_request::EntryData { entity: vec![entity], ops: vec![value] }];
    AlterClientQuotasRequest { entries, ..AlterClientQuotasRequest::default() }
}
