//! Sends every admin request and every request about group members with one wrong field at a time. Whole
//! answers, field by field, must be those of Apache Kafka 4.4, which are in `facts/admin_refusals.tsv`. No
//! request changes anything.
//!
//! `ORACLE=HOST:PORT cargo test --test api admin_refusals` tests a running, fresh broker instead, and with
//! `UPDATE_FACTS=1` records its answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jackdaw::protocol::messages::alter_configs_request::{
    AlterConfigsRequest, AlterConfigsResource, AlterableConfig,
};
use jackdaw::protocol::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use jackdaw::protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use jackdaw::protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use jackdaw::protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use jackdaw::protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use jackdaw::protocol::messages::delete_acls_request::{DeleteAclsFilter, DeleteAclsRequest};
use jackdaw::protocol::messages::delete_groups_request::DeleteGroupsRequest;
use jackdaw::protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use jackdaw::protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use jackdaw::protocol::messages::describe_acls_request::DescribeAclsRequest;
use jackdaw::protocol::messages::describe_cluster_request::DescribeClusterRequest;
use jackdaw::protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use jackdaw::protocol::messages::describe_groups_request::DescribeGroupsRequest;
use jackdaw::protocol::messages::describe_log_dirs_request::{
    DescribableLogDirTopic, DescribeLogDirsRequest,
};
use jackdaw::protocol::messages::describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
use jackdaw::protocol::messages::describe_topic_partitions_request::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use jackdaw::protocol::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use jackdaw::protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use jackdaw::protocol::messages::heartbeat_request::HeartbeatRequest;
use jackdaw::protocol::messages::incremental_alter_configs_request::{
    self as incremental, IncrementalAlterConfigsRequest,
};
use jackdaw::protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use jackdaw::protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use jackdaw::protocol::messages::list_groups_request::ListGroupsRequest;
use jackdaw::protocol::messages::list_partition_reassignments_request::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};
use jackdaw::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use jackdaw::protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use jackdaw::protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use jackdaw::protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use jackdaw::protocol::messages::sync_group_request::SyncGroupRequest;
use jackdaw::protocol::messages::unregister_broker_request::UnregisterBrokerRequest;
use jackdaw::protocol::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use jackdaw::protocol::{Message, Reader, Request, Writer, read_response_header};
use jackdaw::time;
use jackdaw::types::{TopicId, Uuid};

use crate::alter_configs::{BROKER, CLIENT_METRICS, GROUP, LOGGER, TOPIC};
use crate::harness::{Client, Node, join};

/// One line per case: API and version, the change, the answer.
const FACTS: &str = include_str!("facts/admin_refusals.tsv");

/// Intended differences from Kafka, in the same columns. Each is also in docs/apis.md.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("AlterConfigs 0", TWICE, NAMED_TWICE),
    ("AlterConfigs 2", TWICE, NAMED_TWICE),
    (
        "IncrementalAlterConfigs 0",
        r#"alter(TOPIC, "t", "retention.ms"): r.resources[0].configs[0].config_operation = 4"#,
        r#"{ responses: [{ error_code: 42, error_message: Some("Unknown operations type 4"), resource_type: 2, resource_name: "t" }] }"#,
    ),
    (
        "IncrementalAlterConfigs 1",
        r#"alter(TOPIC, "t", "retention.ms"): r.resources[0].configs[0].config_operation = 4"#,
        r#"{ responses: [{ error_code: 42, error_message: Some("Unknown operations type 4"), resource_type: 2, resource_name: "t" }] }"#,
    ),
    (
        "IncrementalAlterConfigs 0",
        r#"alter(TOPIC, "t", "retention.ms"): r.resources[0].configs[0].config_operation = -1"#,
        r#"{ responses: [{ error_code: 42, error_message: Some("Unknown operations type -1"), resource_type: 2, resource_name: "t" }] }"#,
    ),
    (
        "IncrementalAlterConfigs 1",
        r#"alter(TOPIC, "t", "retention.ms"): r.resources[0].configs[0].config_operation = -1"#,
        r#"{ responses: [{ error_code: 42, error_message: Some("Unknown operations type -1"), resource_type: 2, resource_name: "t" }] }"#,
    ),
];

const TWICE: &str =
    r#"replace(TOPIC, "t", "retention.ms", Some("5")): r.resources.push(r.resources[0].clone())"#;
const NAMED_TWICE: &str = r#"{ responses: [{ error_code: 42, error_message: Some("Each resource must appear at most once."), resource_type: 2, resource_name: "t" }, { error_code: 42, error_message: Some("Each resource must appear at most once."), resource_type: 2, resource_name: "t" }] }"#;

/// Kafka does not answer some requests.
const PATIENCE: Duration = Duration::from_secs(10);

struct Case {
    api: String,
    wrong: String,
    key: i16,
    version: i16,
    body: Vec<u8>,
    read: fn(Reader, i16) -> String,
}

impl Case {
    fn new<R: Request>(version: i16, wrong: &str, request: &R) -> Case {
        let mut body = Writer::new();
        request.encode(&mut body, version).unwrap();
        Case {
            api: format!("{} {version}", R::NAME),
            wrong: wrong.split_whitespace().collect::<Vec<_>>().join(" "),
            key: R::KEY,
            version,
            body: body.into_bytes().to_vec(),
            read: |mut input, version| {
                read_response_header(&mut input, R::KEY, version).unwrap();
                let answer = R::Response::decode(&mut input, version).unwrap();
                input.finish().unwrap();
                format!("{answer:?}")
            },
        }
    }
}

/// Starts with a valid request and changes one thing in it per case; the text of the change is the case's
/// name.
macro_rules! wrong {
    ($cases:expr, $version:expr, |$request:ident| $right:expr; $($change:expr;)+) => {
        $({
            let mut $request = $right;
            $change;
            $cases.push(Case::new($version, concat!(stringify!($right), ": ", stringify!($change)), &$request));
        })+
    };
}

fn s(text: &str) -> String {
    text.to_owned()
}

fn all(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| s(text)).collect()
}

fn long() -> String {
    "x".repeat(250)
}

/// Before each case there are the topics `t` with three partitions and `a.b`, the group `g` with one member
/// that reads `t`, and the group `empty` with a committed offset.
fn cases(id: TopicId, member: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    topics(&mut cases, id);
    partitions(&mut cases);
    acls(&mut cases);
    settings(&mut cases);
    places(&mut cases);
    groups(&mut cases);
    members(&mut cases, member);
    cluster(&mut cases);
    cases
}

fn new_topic(name: &str) -> CreatableTopic {
    CreatableTopic { name: s(name), num_partitions: 1, replication_factor: 1, ..Default::default() }
}

fn create() -> CreateTopicsRequest {
    CreateTopicsRequest { topics: vec![new_topic("new")], timeout_ms: 30_000, validate_only: false }
}

fn assignment(partition_index: i32, brokers: &[i32]) -> CreatableReplicaAssignment {
    CreatableReplicaAssignment { partition_index, broker_ids: brokers.to_vec() }
}

fn place(assignments: &[(i32, &[i32])]) -> CreateTopicsRequest {
    let mut request = create();
    let topic = &mut request.topics[0];
    (topic.num_partitions, topic.replication_factor) = (-1, -1);
    topic.assignments = assignments.iter().map(|(index, brokers)| assignment(*index, brokers)).collect();
    request
}

fn setting(name: &str, value: Option<&str>) -> Vec<CreatableTopicConfig> {
    vec![CreatableTopicConfig { name: s(name), value: value.map(s) }]
}

fn delete(name: Option<&str>, topic_id: TopicId) -> DeleteTopicsRequest {
    let topics = vec![DeleteTopicState { name: name.map(s), topic_id }];
    DeleteTopicsRequest { topics, topic_names: vec![], timeout_ms: 30_000 }
}

fn delete_names(names: &[&str]) -> DeleteTopicsRequest {
    DeleteTopicsRequest { topics: vec![], topic_names: all(names), timeout_ms: 30_000 }
}

fn delete_before(topic: &str, partition_index: i32, offset: i64) -> DeleteRecordsRequest {
    let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
    DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic { name: s(topic), partitions }],
        timeout_ms: 30_000,
    }
}

fn topics(cases: &mut Vec<Case>, id: TopicId) {
    wrong! { cases, 7, |r| create();
        r.topics[0].name = s("");
        r.topics[0].name = s(".");
        r.topics[0].name = s("..");
        r.topics[0].name = s("a b");
        r.topics[0].name = s("a/b");
        r.topics[0].name = s("é");
        r.topics[0].name = s("a\0");
        r.topics[0].name = long();
        r.topics[0].name = s("__cluster_metadata");
        r.topics[0].name = s("t");
        r.topics[0].name = s("a_b");
        r.topics[0].num_partitions = 0;
        r.topics[0].num_partitions = -2;
        r.topics[0].num_partitions = i32::MIN;
        r.topics[0].num_partitions = 10_001;
        r.topics[0].num_partitions = i32::MAX;
        r.topics[0].replication_factor = 0;
        r.topics[0].replication_factor = -2;
        r.topics[0].replication_factor = i16::MIN;
        r.topics[0].replication_factor = 2;
        r.topics[0].replication_factor = i16::MAX;
        r.topics[0].configs = setting("", Some("1"));
        r.topics[0].configs = setting("no.such", Some("1"));
        r.topics[0].configs = setting("no.such", None);
        r.topics[0].configs = setting("retention.ms", None);
        r.topics[0].configs = setting("retention.ms", Some(""));
        r.topics[0].configs = setting("retention.ms", Some("x"));
        r.topics[0].configs = setting("retention.ms", Some("-2"));
        r.topics[0].configs = setting("retention.ms", Some("9223372036854775808"));
        r.topics[0].configs = setting("segment.bytes", Some("13"));
        r.topics[0].configs = setting("cleanup.policy", Some("x"));
        r.topics[0].configs = setting("min.insync.replicas", Some("0"));
        r.topics[0].configs = setting("compression.type", Some("x"));
        r.topics[0].configs = setting("log.retention.ms", Some("5"));
        r.topics.push(new_topic("new"));
        r.timeout_ms = 0;
        r.timeout_ms = -1;
    }
    wrong! { cases, 7, |r| place(&[(0, &[1])]);
        r.topics[0].num_partitions = 1;
        r.topics[0].replication_factor = 1;
        r.topics[0].assignments[0].partition_index = 1;
        r.topics[0].assignments[0].partition_index = -1;
        r.topics[0].assignments[0].broker_ids = vec![];
        r.topics[0].assignments[0].broker_ids = vec![2];
        r.topics[0].assignments[0].broker_ids = vec![-1];
        r.topics[0].assignments[0].broker_ids = vec![1, 1];
        r.topics[0].assignments[0].broker_ids = vec![1, i32::MAX];
        r.topics[0].assignments.push(assignment(0, &[1]));
        r.topics[0].assignments.push(assignment(2, &[1]));
        r.topics[0].assignments.push(assignment(1, &[1, 2]));
    }
    for version in [2, 4, 5] {
        wrong! { cases, version, |r| create();
            r.topics[0].name = s("a b");
            r.topics[0].num_partitions = 0;
            r.topics[0].configs = setting("no.such", Some("1"));
            r.topics[0].name = s("t");
        }
    }
    wrong! { cases, 7, |r| CreateTopicsRequest { validate_only: true, ..create() };
        r.topics[0].name = s("t");
        r.topics[0].num_partitions = 0;
        r.topics[0].replication_factor = 2;
        r.topics[0].configs = setting("retention.ms", Some("x"));
    }

    wrong! { cases, 6, |r| delete(Some("nope"), TopicId::ZERO);
        r.timeout_ms = 30_000;
        r.topics[0].name = s("").into();
        r.topics[0].name = s("a b").into();
        r.topics[0].name = long().into();
        r.topics[0].name = None;
        r.topics[0].topic_id = Uuid([3; 16]);
        r.topics[0] = DeleteTopicState { name: None, topic_id: Uuid([3; 16]) };
        r.topics[0] = DeleteTopicState { name: Some(s("t")), topic_id: id };
        r.topics = vec![r.topics[0].clone(), r.topics[0].clone()];
        r.topics = vec![DeleteTopicState { name: None, topic_id: id }; 2];
        r.timeout_ms = 0;
        r.timeout_ms = -1;
    }
    for version in [1, 3, 5] {
        wrong! { cases, version, |r| delete_names(&["nope"]);
            r.timeout_ms = 30_000;
            r.topic_names = all(&[""]);
            r.topic_names = all(&["t", "t"]);
            r.timeout_ms = 0;
        }
    }

    for version in [0, 2] {
        wrong! { cases, version, |r| delete_before("t", 0, 0);
            r.topics[0].name = s("");
            r.topics[0].name = s("nope");
            r.topics[0].name = s("a b");
            r.topics[0].partitions[0].partition_index = 3;
            r.topics[0].partitions[0].partition_index = -1;
            r.topics[0].partitions[0].offset = 1;
            r.topics[0].partitions[0].offset = -2;
            r.topics[0].partitions[0].offset = i64::MIN;
            r.topics[0].partitions[0].offset = i64::MAX;
            r.topics[0].partitions.clear();
            r.topics.clear();
        }
    }
}

fn add(name: &str, count: i32, brokers: Option<&[&[i32]]>) -> CreatePartitionsRequest {
    let one = |brokers: &&[i32]| CreatePartitionsAssignment { broker_ids: brokers.to_vec() };
    let assignments = brokers.map(|brokers| brokers.iter().map(one).collect());
    let topics = vec![CreatePartitionsTopic { name: s(name), count, assignments }];
    CreatePartitionsRequest { topics, timeout_ms: 30_000, validate_only: false }
}

fn elect(topic: &str, partition: i32) -> ElectLeadersRequest {
    let topics = vec![TopicPartitions { topic: s(topic), partitions: vec![partition] }];
    ElectLeadersRequest { election_type: 0, topic_partitions: Some(topics), timeout_ms: 30_000 }
}

fn reassign(replicas: Option<&[i32]>) -> AlterPartitionReassignmentsRequest {
    let partitions =
        vec![ReassignablePartition { partition_index: 0, replicas: replicas.map(<[i32]>::to_vec) }];
    AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic { name: s("t"), partitions }],
        ..Default::default()
    }
}

fn under_way() -> ListPartitionReassignmentsRequest {
    let one = ListPartitionReassignmentsTopics { name: s("t"), partition_indexes: vec![0] };
    ListPartitionReassignmentsRequest { topics: Some(vec![one]), timeout_ms: 30_000 }
}

fn page() -> DescribeTopicPartitionsRequest {
    DescribeTopicPartitionsRequest {
        topics: vec![TopicRequest { name: s("nope") }],
        response_partition_limit: 2_000,
        cursor: None,
    }
}

fn cursor(topic_name: &str, partition_index: i32) -> Option<Cursor> {
    Some(Cursor { topic_name: s(topic_name), partition_index })
}

fn partitions(cases: &mut Vec<Case>) {
    for version in [0, 3] {
        wrong! { cases, version, |r| add("t", 4, None);
            r.topics[0].name = s("");
            r.topics[0].name = s("nope");
            r.topics[0].name = s("a b");
            r.topics[0].name = s("__cluster_metadata");
            r.topics[0].count = 3;
            r.topics[0].count = 2;
            r.topics[0].count = 0;
            r.topics[0].count = -1;
            r.topics[0].count = i32::MIN;
            r.topics[0].count = 10_004;
            r.topics[0].count = i32::MAX;
            r.topics.push(r.topics[0].clone());
            r.timeout_ms = 0;
            r.timeout_ms = -1;
        }
    }
    wrong! { cases, 3, |r| add("t", 4, Some(&[&[1]]));
        r.topics[0].count = 3;
        r.topics[0].count = 5;
        r.topics[0].assignments = Some(vec![]);
        r.topics[0].assignments.as_mut().unwrap()[0].broker_ids = vec![];
        r.topics[0].assignments.as_mut().unwrap()[0].broker_ids = vec![2];
        r.topics[0].assignments.as_mut().unwrap()[0].broker_ids = vec![-1];
        r.topics[0].assignments.as_mut().unwrap()[0].broker_ids = vec![1, 1];
    }
    wrong! { cases, 3, |r| CreatePartitionsRequest { validate_only: true, ..add("t", 4, None) };
        r.topics[0].name = s("nope");
        r.topics[0].count = 3;
        r.topics[0].assignments = Some(vec![]);
    }

    for version in [0, 1, 2] {
        wrong! { cases, version, |r| elect("t", 0);
            r.topic_partitions.as_mut().unwrap()[0].topic = s("");
            r.topic_partitions.as_mut().unwrap()[0].topic = s("nope");
            r.topic_partitions.as_mut().unwrap()[0].topic = s("a b");
            r.topic_partitions.as_mut().unwrap()[0].partitions = vec![3];
            r.topic_partitions.as_mut().unwrap()[0].partitions = vec![-1];
            r.topic_partitions.as_mut().unwrap()[0].partitions = vec![0, 0];
            r.topic_partitions.as_mut().unwrap()[0].partitions.clear();
            r.topic_partitions = Some(vec![]);
            r.timeout_ms = 0;
            r.timeout_ms = -1;
        }
    }
    for version in [1, 2] {
        wrong! { cases, version, |r| elect("t", 0);
            r.election_type = 2;
            r.election_type = -1;
            r.election_type = i8::MIN;
        }
    }

    for version in [0, 1] {
        wrong! { cases, version, |r| reassign(Some(&[1]));
            r.topics[0].name = s("");
            r.topics[0].name = s("nope");
            r.topics[0].name = s("a b");
            r.topics[0].partitions[0].partition_index = 3;
            r.topics[0].partitions[0].partition_index = -1;
            r.topics[0].partitions[0].replicas = Some(vec![]);
            r.topics[0].partitions[0].replicas = Some(vec![2]);
            r.topics[0].partitions[0].replicas = Some(vec![-1]);
            r.topics[0].partitions[0].replicas = Some(vec![1, 1]);
            r.topics[0].partitions[0].replicas = Some(vec![1, 2]);
            r.topics[0].partitions[0].replicas = None;
            r.topics[0].partitions.clear();
            r.topics.clear();
            r.timeout_ms = 0;
            r.timeout_ms = -1;
        }
    }
    wrong! { cases, 1, |r| reassign(Some(&[1]));
        { r.allow_replication_factor_change = false; r.topics[0].partitions[0].replicas = Some(vec![1, 2]) };
        { r.allow_replication_factor_change = false; r.topics[0].partitions[0].replicas = None };
    }

    wrong! { cases, 0, |r| under_way();
        r.topics.as_mut().unwrap()[0].name = s("");
        r.topics.as_mut().unwrap()[0].name = s("nope");
        r.topics.as_mut().unwrap()[0].name = s("a b");
        r.topics.as_mut().unwrap()[0].partition_indexes = vec![3];
        r.topics.as_mut().unwrap()[0].partition_indexes = vec![-1];
        r.topics.as_mut().unwrap()[0].partition_indexes.clear();
        r.topics = Some(vec![]);
        r.timeout_ms = 0;
        r.timeout_ms = -1;
    }

    wrong! { cases, 0, |r| page();
        r.response_partition_limit = 2_000;
        r.topics[0].name = s("");
        r.topics[0].name = s(".");
        r.topics[0].name = s("a b");
        r.topics[0].name = long();
        r.topics[0].name = s("__cluster_metadata");
        r.topics.push(TopicRequest { name: s("") });
        r.response_partition_limit = 0;
        r.response_partition_limit = -1;
        r.cursor = cursor("nope", -1);
        r.cursor = cursor("nope", 0);
        r.cursor = cursor("nope", 7);
        r.cursor = cursor("", 0);
        r.cursor = cursor("", -1);
        r.cursor = cursor("a b", 0);
        r.cursor = cursor("zzz", 0);
        { r.topics = vec![]; r.cursor = cursor("zzz", 0) };
        { r.topics = vec![]; r.cursor = cursor("zzz", -1) };
        { r.topics[0].name = s(""); r.cursor = cursor("", 0) };
    }
}

/// A valid request.
fn describe_acls() -> DescribeAclsRequest {
    DescribeAclsRequest {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..Default::default()
    }
}

fn create_acls() -> CreateAclsRequest {
    let one = AclCreation {
        resource_type: 2,
        resource_name: s("t"),
        resource_pattern_type: 3,
        principal: s("User:a"),
        host: s("*"),
        operation: 3,
        permission_type: 3,
    };
    CreateAclsRequest { creations: vec![one] }
}

fn delete_acls() -> DeleteAclsRequest {
    let one = DeleteAclsFilter {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..Default::default()
    };
    DeleteAclsRequest { filters: vec![one] }
}

fn acls(cases: &mut Vec<Case>) {
    for version in [1, 3] {
        wrong! { cases, version, |r| describe_acls();
            r.resource_type_filter = 0;
            r.resource_type_filter = 99;
            r.resource_type_filter = -1;
            r.resource_name_filter = Some(s(""));
            r.pattern_type_filter = 0;
            r.pattern_type_filter = 99;
            r.pattern_type_filter = -1;
            r.principal_filter = Some(s(""));
            r.principal_filter = Some(s("nobody"));
            r.host_filter = Some(s(""));
            r.operation = 0;
            r.operation = 99;
            r.operation = -1;
            r.permission_type = 0;
            r.permission_type = 99;
            r.permission_type = -1;
        }
        wrong! { cases, version, |r| create_acls();
            r.creations[0].resource_type = 0;
            r.creations[0].resource_type = 1;
            r.creations[0].resource_type = 99;
            r.creations[0].resource_name = s("");
            r.creations[0].resource_pattern_type = 0;
            r.creations[0].resource_pattern_type = 1;
            r.creations[0].resource_pattern_type = 2;
            r.creations[0].resource_pattern_type = 99;
            r.creations[0].principal = s("");
            r.creations[0].principal = s("nobody");
            r.creations[0].host = s("");
            r.creations[0].operation = 0;
            r.creations[0].operation = 1;
            r.creations[0].operation = 99;
            r.creations[0].permission_type = 0;
            r.creations[0].permission_type = 1;
            r.creations[0].permission_type = 99;
            r.creations.clear();
        }
        wrong! { cases, version, |r| delete_acls();
            r.filters[0].resource_type_filter = 0;
            r.filters[0].resource_type_filter = 99;
            r.filters[0].resource_name_filter = Some(s(""));
            r.filters[0].pattern_type_filter = 0;
            r.filters[0].pattern_type_filter = 99;
            r.filters[0].principal_filter = Some(s(""));
            r.filters[0].host_filter = Some(s(""));
            r.filters[0].operation = 0;
            r.filters[0].operation = 99;
            r.filters[0].permission_type = 0;
            r.filters[0].permission_type = 99;
            r.filters.clear();
        }
    }
}

fn describe_setting(resource_type: i8, name: &str) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: s(name),
        configuration_keys: Some(all(&["no.such"])),
    };
    DescribeConfigsRequest { resources: vec![resource], ..Default::default() }
}

fn replace(resource_type: i8, name: &str, setting: &str, value: Option<&str>) -> AlterConfigsRequest {
    let configs = vec![AlterableConfig { name: s(setting), value: value.map(s) }];
    let resource = AlterConfigsResource { resource_type, resource_name: s(name), configs };
    AlterConfigsRequest { resources: vec![resource], validate_only: false }
}

fn alter(resource_type: i8, name: &str, setting: &str) -> IncrementalAlterConfigsRequest {
    let change = incremental::AlterableConfig { name: s(setting), config_operation: 0, value: Some(s("5")) };
    let resource =
        incremental::AlterConfigsResource { resource_type, resource_name: s(name), configs: vec![change] };
    IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
}

fn settings(cases: &mut Vec<Case>) {
    for version in [1, 4] {
        wrong! { cases, version, |r| describe_setting(TOPIC, "t");
            r.resources[0].configuration_keys = Some(all(&["no.such"]));
            r.resources[0].configuration_keys = Some(all(&[""]));
            r.resources[0].resource_name = s("");
            r.resources[0].resource_name = s("nope");
            r.resources[0].resource_name = s("a b");
            r.resources[0].resource_name = long();
            r.resources[0].resource_type = 0;
            r.resources[0].resource_type = 1;
            r.resources[0].resource_type = 3;
            r.resources[0].resource_type = 99;
            r.resources[0].resource_type = -1;
            r.resources.push(r.resources[0].clone());
            r.resources.clear();
        }
        wrong! { cases, version, |r| describe_setting(BROKER, "1");
            r.resources[0].configuration_keys = Some(all(&["no.such"]));
            r.resources[0].resource_name = s("2");
            r.resources[0].resource_name = s("-1");
            r.resources[0].resource_name = s("x");
            r.resources[0].resource_name = s(" 1");
            r.resources[0].resource_name = s("+1");
            r.resources[0].resource_name = s("01");
            r.resources[0].resource_name = s("99999999999");
        }
        wrong! { cases, version, |r| describe_setting(LOGGER, "1");
            r.resources[0].resource_name = s("");
            r.resources[0].resource_name = s("2");
            r.resources[0].resource_name = s("x");
        }
        wrong! { cases, version, |r| describe_setting(CLIENT_METRICS, "m");
            r.resources[0].resource_name = s("");
            r.resources[0].resource_name = s("nope");
        }
        wrong! { cases, version, |r| describe_setting(GROUP, "g");
            r.resources[0].resource_name = s("");
            r.resources[0].resource_name = s("nope");
        }
    }

    for version in [0, 2] {
        wrong! { cases, version, |r| replace(TOPIC, "t", "retention.ms", Some("5"));
            r.resources[0].resource_name = s("");
            r.resources[0].resource_name = s("nope");
            r.resources[0].resource_name = s("a b");
            r.resources[0].resource_name = long();
            r.resources[0].resource_type = 0;
            r.resources[0].resource_type = 1;
            r.resources[0].resource_type = 3;
            r.resources[0].resource_type = 99;
            r.resources[0].resource_type = -1;
            r.resources[0].configs[0].name = s("");
            r.resources[0].configs[0].name = s("no.such");
            r.resources[0].configs[0].value = None;
            r.resources[0].configs[0].value = Some(s(""));
            r.resources[0].configs[0].value = Some(s("x"));
            r.resources[0].configs[0].value = Some(s("-2"));
            r.resources[0].configs = vec![r.resources[0].configs[0].clone(); 2];
            r.resources.push(r.resources[0].clone());
            r.resources.clear();
        }
        wrong! { cases, version, |r| replace(BROKER, "1", "log.retention.ms", Some("5"));
            r.resources[0].resource_name = s("2");
            r.resources[0].resource_name = s("-1");
            r.resources[0].resource_name = s("x");
            r.resources[0].configs[0].name = s("broker.id");
            r.resources[0].configs[0].name = s("process.roles");
            r.resources[0].configs[0].value = None;
            r.resources[0].configs[0].value = Some(s("x"));
        }
        wrong! { cases, version, |r| replace(LOGGER, "1", "root", Some("INFO"));
            r.resources[0].resource_name = s("1");
            r.resources[0].resource_name = s("x");
        }
        wrong! { cases, version, |r| replace(CLIENT_METRICS, "m", "interval.ms", Some("1000"));
            r.resources[0].resource_name = s("");
            r.resources[0].configs[0].name = s("no.such");
            r.resources[0].configs[0].value = None;
            r.resources[0].configs[0].value = Some(s("1"));
        }
        wrong! { cases, version, |r| replace(GROUP, "g", "consumer.session.timeout.ms", Some("46000"));
            r.resources[0].resource_name = s("");
            r.resources[0].configs[0].name = s("no.such");
            r.resources[0].configs[0].value = None;
            r.resources[0].configs[0].value = Some(s("1"));
        }
    }
    wrong! { cases, 2, |r| AlterConfigsRequest {
            validate_only: true, ..replace(TOPIC, "t", "retention.ms", Some("5"))
        };
        r.resources[0].resource_name = s("nope");
        r.resources[0].configs[0].value = Some(s("x"));
    }

    // The other values of this key are in config_refusals.rs.
    for version in [0, 1] {
        wrong! { cases, version, |r| alter(TOPIC, "t", "retention.ms");
            r.resources[0].resource_name = s("");
            r.resources[0].resource_name = s("nope");
            r.resources[0].resource_name = s("a b");
            r.resources[0].resource_name = long();
            r.resources[0].resource_type = 0;
            r.resources[0].resource_type = 1;
            r.resources[0].resource_type = 3;
            r.resources[0].resource_type = 99;
            r.resources[0].resource_type = -1;
            r.resources[0].configs[0].name = s("");
            r.resources[0].configs[0].value = None;
            r.resources[0].configs[0].config_operation = 4;
            r.resources[0].configs[0].config_operation = -1;
            r.resources[0].configs = vec![r.resources[0].configs[0].clone(); 2];
            r.resources.push(r.resources[0].clone());
            r.resources.clear();
        }
    }
    wrong! { cases, 1, |r| ListConfigResourcesRequest { resource_types: vec![CLIENT_METRICS] };
        r.resource_types = vec![0];
        r.resource_types = vec![1];
        r.resource_types = vec![3];
        r.resource_types = vec![99];
        r.resource_types = vec![-1];
        r.resource_types = vec![CLIENT_METRICS, 99];
        r.resource_types = vec![CLIENT_METRICS, CLIENT_METRICS];
    }
}

fn move_to(path: &str) -> AlterReplicaLogDirsRequest {
    let topics = vec![AlterReplicaLogDirTopic { name: s("t"), partitions: vec![0] }];
    AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: s(path), topics }] }
}

fn sizes() -> DescribeLogDirsRequest {
    let topics = vec![DescribableLogDirTopic { topic: s("t"), partitions: vec![0] }];
    DescribeLogDirsRequest { topics: Some(topics) }
}

fn places(cases: &mut Vec<Case>) {
    for version in [1, 2] {
        wrong! { cases, version, |r| move_to("/elsewhere");
            r.dirs[0].path = s("/elsewhere");
            r.dirs[0].path = s("");
            r.dirs[0].path = s("relative");
            r.dirs[0].topics[0].name = s("");
            r.dirs[0].topics[0].name = s("nope");
            r.dirs[0].topics[0].name = s("a b");
            r.dirs[0].topics[0].name = "x".repeat(213);
            r.dirs[0].topics[0].name = "x".repeat(214);
            r.dirs[0].topics[0].partitions = vec![3];
            r.dirs[0].topics[0].partitions = vec![-1];
            r.dirs[0].topics[0].partitions = vec![0, 0];
            r.dirs[0].topics[0].partitions.clear();
            r.dirs[0].topics.clear();
            r.dirs.clear();
        }
    }
    for version in [1, 5] {
        wrong! { cases, version, |r| sizes();
            r.topics.as_mut().unwrap()[0].topic = s("");
            r.topics.as_mut().unwrap()[0].topic = s("nope");
            r.topics.as_mut().unwrap()[0].topic = s("a b");
            r.topics.as_mut().unwrap()[0].partitions = vec![3];
            r.topics.as_mut().unwrap()[0].partitions = vec![-1];
            r.topics.as_mut().unwrap()[0].partitions = vec![0, 0, 9];
            r.topics.as_mut().unwrap()[0].partitions.clear();
            r.topics = Some(vec![]);
        }
    }
}

fn forget(group: &str, topic: &str, partition_index: i32) -> OffsetDeleteRequest {
    let partitions = vec![OffsetDeleteRequestPartition { partition_index }];
    OffsetDeleteRequest {
        group_id: s(group),
        topics: vec![OffsetDeleteRequestTopic { name: s(topic), partitions }],
    }
}

fn list_groups() -> ListGroupsRequest {
    ListGroupsRequest::default()
}

fn groups(cases: &mut Vec<Case>) {
    for version in [0, 5, 6] {
        wrong! { cases, version, |r| DescribeGroupsRequest { groups: all(&["nope"]), ..Default::default() };
            r.groups = all(&["nope"]);
            r.groups = all(&[""]);
            r.groups = all(&["nope", "nope"]);
            r.groups.clear();
        }
    }
    wrong! { cases, 6, |r| DescribeGroupsRequest { groups: all(&["nope"]), ..Default::default() };
        r.include_authorized_operations = true;
    }
    wrong! { cases, 5, |r| list_groups();
        r.states_filter = all(&[""]);
        r.states_filter = all(&["no such state"]);
        r.types_filter = all(&[""]);
        r.types_filter = all(&["no such type"]);
    }
    for version in [0, 2, 3] {
        wrong! { cases, version, |r| DeleteGroupsRequest { groups_names: all(&["nope"]) };
            r.groups_names = all(&["nope"]);
            r.groups_names = all(&[""]);
            r.groups_names = all(&["g"]);
            r.groups_names = all(&["nope", "nope"]);
            r.groups_names.clear();
        }
    }
    wrong! { cases, 0, |r| forget("empty", "t", 0);
        r.group_id = s("");
        r.group_id = s("nope");
        r.group_id = s("g");
        r.topics[0].name = s("");
        r.topics[0].name = s("nope");
        r.topics[0].name = s("a b");
        r.topics[0].partitions[0].partition_index = 3;
        r.topics[0].partitions[0].partition_index = -1;
        r.topics[0].partitions.clear();
        r.topics.clear();
        { r.topics[0].name = s("nope"); r.topics[0].partitions.clear() };
        { r.group_id = s("nope"); r.topics.clear() };
        { r.group_id = s("nope"); r.topics[0].name = s("nope") };
        { r.group_id = s("g"); r.topics[0].name = s("nope") };
    }
}

fn commit() -> OffsetCommitRequest {
    let partition =
        OffsetCommitRequestPartition { partition_index: 0, committed_offset: 0, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: s("t"), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequest {
        group_id: s("empty"),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn committed() -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics { name: s("t"), partition_indexes: vec![1], ..Default::default() };
    let group = OffsetFetchRequestGroup {
        group_id: s("empty"),
        member_epoch: -1,
        topics: Some(vec![topic]),
        ..Default::default()
    };
    OffsetFetchRequest { groups: vec![group], ..Default::default() }
}

fn coordinator(key_type: i8) -> FindCoordinatorRequest {
    FindCoordinatorRequest { key_type, coordinator_keys: all(&["g"]), ..Default::default() }
}

fn beat(member: &str) -> HeartbeatRequest {
    HeartbeatRequest { group_id: s("g"), generation_id: 1, member_id: s(member), ..Default::default() }
}

fn sync(member: &str) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: s("g"),
        generation_id: 1,
        member_id: s(member),
        protocol_type: Some(s("consumer")),
        protocol_name: Some(s("range")),
        ..Default::default()
    }
}

fn leave(member: &str) -> LeaveGroupRequest {
    LeaveGroupRequest {
        group_id: s("g"),
        member_id: s(member),
        members: vec![MemberIdentity { member_id: s(member), ..Default::default() }],
    }
}

fn members(cases: &mut Vec<Case>, member: &str) {
    for version in [0, 3, 9] {
        wrong! { cases, version, |r| join("g", "");
            r.group_id = s("");
            r.session_timeout_ms = 0;
            r.session_timeout_ms = -1;
            r.session_timeout_ms = 5_999;
            r.session_timeout_ms = 1_800_001;
            r.protocol_type = s("");
            r.protocol_type = s("other");
            r.protocols.clear();
            r.protocols[0].name = s("other");
            r.member_id = s("stranger");
            { r.group_id = s("nope"); r.member_id = s("stranger") };
            { r.group_id = s("nope"); r.protocols.clear() };
            { r.group_id = s("nope"); r.protocol_type = s("") };
        }
    }
    wrong! { cases, 9, |r| join("g", "stranger");
        r.group_instance_id = Some(s("nobody"));
    }
    for version in [0, 3, 5] {
        wrong! { cases, version, |r| sync(member);
            r.group_id = s("");
            r.group_id = s("nope");
            r.member_id = s("");
            r.member_id = s("stranger");
            r.generation_id = 7;
            r.generation_id = -1;
        }
    }
    wrong! { cases, 5, |r| sync(member);
        r.group_instance_id = Some(s("nobody"));
        r.protocol_type = Some(s("other"));
        r.protocol_type = None;
        r.protocol_name = Some(s("other"));
        r.protocol_name = None;
    }
    for version in [0, 4] {
        wrong! { cases, version, |r| beat(member);
            r.group_id = s("");
            r.group_id = s("nope");
            r.member_id = s("");
            r.member_id = s("stranger");
            r.generation_id = 7;
            r.generation_id = -1;
        }
    }
    wrong! { cases, 4, |r| beat(member);
        r.group_instance_id = Some(s("nobody"));
    }
    for version in [0, 2] {
        wrong! { cases, version, |r| leave(member);
            r.group_id = s("");
            r.group_id = s("nope");
            r.member_id = s("");
            r.member_id = s("stranger");
        }
    }
    for version in [3, 5] {
        wrong! { cases, version, |r| leave(member);
            r.group_id = s("");
            r.group_id = s("nope");
            r.members.clear();
            r.members[0].member_id = s("");
            r.members[0].member_id = s("stranger");
            r.members[0].group_instance_id = Some(s("nobody"));
        }
    }
    for version in [2, 9] {
        wrong! { cases, version, |r| commit();
            r.topics[0].name = s("");
            r.topics[0].name = s("nope");
            r.topics[0].name = s("a b");
            r.topics[0].partitions[0].partition_index = 3;
            r.topics[0].partitions[0].partition_index = -1;
            r.topics[0].partitions[0].committed_metadata = Some("x".repeat(4097));
            r.group_id = s("g");
            r.generation_id_or_member_epoch = 1;
            { r.group_id = s("g"); r.member_id = s("stranger") };
            { r.group_id = s("g"); r.member_id = s("stranger"); r.generation_id_or_member_epoch = 1 };
            { r.group_id = s("g"); r.member_id = s(member); r.generation_id_or_member_epoch = 7 };
            { r.group_id = s("nobody"); r.generation_id_or_member_epoch = 1 };
            { r.topics[0].name = s("nope"); r.topics[0].partitions.clear() };
            r.topics[0].partitions.clear();
            r.topics.clear();
        }
    }
    wrong! { cases, 9, |r| OffsetCommitRequest { group_id: s("g"), member_id: s(member), ..commit() };
        r.group_instance_id = Some(s("nobody"));
    }
    for version in [8, 9] {
        wrong! { cases, version, |r| committed();
            r.groups[0].group_id = s("");
            r.groups[0].group_id = s("nope");
            r.groups[0].topics.as_mut().unwrap()[0].name = s("");
            r.groups[0].topics.as_mut().unwrap()[0].name = s("nope");
            r.groups[0].topics.as_mut().unwrap()[0].name = s("a b");
            r.groups[0].topics.as_mut().unwrap()[0].partition_indexes = vec![3];
            r.groups[0].topics.as_mut().unwrap()[0].partition_indexes = vec![-1];
            r.groups[0].topics.as_mut().unwrap()[0].partition_indexes.clear();
            r.groups[0].topics = Some(vec![]);
            r.groups.clear();
        }
    }
    wrong! { cases, 9, |r| committed();
        r.groups[0].member_epoch = 1;
        r.groups[0].member_id = Some(s("stranger"));
        { r.groups[0].member_id = Some(s("stranger")); r.groups[0].member_epoch = 1 };
        { r.groups[0].group_id = s("nope"); r.groups[0].member_epoch = 1 };
    }
    for version in [4, 6] {
        wrong! { cases, version, |r| coordinator(0);
            r.key_type = 3;
            r.key_type = -1;
            r.coordinator_keys.clear();
        }
    }
}

fn quorum() -> DescribeQuorumRequest {
    let partitions = vec![PartitionData { partition_index: 0 }];
    DescribeQuorumRequest { topics: vec![TopicData { topic_name: s("__cluster_metadata"), partitions }] }
}

fn feature(name: &str, max_version_level: i16) -> UpdateFeaturesRequest {
    let update =
        FeatureUpdateKey { feature: s(name), max_version_level, upgrade_type: 1, allow_downgrade: false };
    UpdateFeaturesRequest { feature_updates: vec![update], timeout_ms: 30_000, validate_only: false }
}

fn brokers() -> DescribeClusterRequest {
    DescribeClusterRequest::default()
}

fn unregister() -> UnregisterBrokerRequest {
    UnregisterBrokerRequest::default()
}

fn cluster(cases: &mut Vec<Case>) {
    for version in [0, 1, 2] {
        wrong! { cases, version, |r| quorum();
            r.topics[0].topic_name = s("");
            r.topics[0].topic_name = s("t");
            r.topics[0].topic_name = s("a b");
            r.topics[0].partitions[0].partition_index = 1;
            r.topics[0].partitions[0].partition_index = -1;
            r.topics[0].partitions.push(PartitionData { partition_index: 0 });
            r.topics[0].partitions.clear();
            r.topics.push(r.topics[0].clone());
            r.topics.clear();
        }
    }
    for version in [1, 2] {
        wrong! { cases, version, |r| feature("metadata.version", 33);
            r.feature_updates[0].feature = s("");
            r.feature_updates[0].feature = s("nope");
            r.feature_updates[0].max_version_level = -1;
            r.feature_updates[0].max_version_level = i16::MIN;
            r.feature_updates[0].max_version_level = 0;
            r.feature_updates[0].max_version_level = 6;
            r.feature_updates[0].max_version_level = 34;
            r.feature_updates[0].max_version_level = i16::MAX;
            r.feature_updates[0].max_version_level = 32;
            r.feature_updates[0].upgrade_type = 0;
            r.feature_updates[0].upgrade_type = 4;
            r.feature_updates[0].upgrade_type = -1;
            r.feature_updates.push(r.feature_updates[0].clone());
            { r.feature_updates[0].feature = s("nope"); r.feature_updates[0].max_version_level = 0 };
            { r.feature_updates[0].upgrade_type = 2; r.feature_updates[0].max_version_level = 32 };
            { r.feature_updates[0].upgrade_type = 3; r.feature_updates[0].max_version_level = 32 };
        }
        wrong! { cases, version, |r| feature("nope", 1);
            r.validate_only = true;
            r.timeout_ms = 0;
            r.timeout_ms = -1;
            r.feature_updates.clear();
        }
    }
    wrong! { cases, 0, |r| feature("metadata.version", 33);
        r.feature_updates[0].feature = s("nope");
        r.feature_updates[0].max_version_level = 32;
        { r.feature_updates[0].allow_downgrade = true; r.feature_updates[0].max_version_level = 32 };
        { r.feature_updates[0].allow_downgrade = true; r.feature_updates[0].max_version_level = 0 };
        { r.feature_updates[0].allow_downgrade = true; r.feature_updates[0].max_version_level = 34 };
    }
    for version in [1, 2] {
        wrong! { cases, version, |r| brokers();
            r.endpoint_type = 0;
            r.endpoint_type = 2;
            r.endpoint_type = 3;
            r.endpoint_type = -1;
            { r.endpoint_type = 2; r.include_cluster_authorized_operations = true };
        }
    }
    wrong! { cases, 0, |r| unregister();
        r.broker_id = 2;
        r.broker_id = -1;
        r.broker_id = i32::MIN;
        r.broker_id = i32::MAX;
    }
}

/// Sends one case over its own connection.
async fn ask(address: &str, case: &Case) -> String {
    let mut client = Client::of(address).await;
    client.send_bytes(case.key, case.version, &case.body).await;
    match time::within(PATIENCE, client.receive_bytes_or_close()).await {
        Some(Some(answer)) => (case.read)(Reader::new(answer), case.version),
        Some(None) => s("closes the connection"),
        None => s("does not answer"),
    }
}

/// Replaces values that differ between brokers, and removes fields that say nothing.
fn plain(answer: &str, id: TopicId, member: &str) -> String {
    let answer = answer
        .replace(&format!("{:?}", TopicId::ZERO), "0")
        .replace(&format!("{:?}", Uuid([3; 16])), "3")
        .replace(&format!("{id:?}"), "id of t")
        .replace(member, "id of the member")
        .replace("throttle_time_ms: 0, ", "")
        .replace(&long(), "long()");
    let mut plain = String::new();
    // `Name { field: …` without the name.
    for (nth, piece) in answer.split(" {").enumerate() {
        if nth > 0 {
            plain.push('{');
        }
        let name = piece.rsplit(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
        let is_type = name.starts_with(|letter: char| letter.is_ascii_uppercase());
        plain.push_str(if is_type { &piece[..piece.len() - name.len()] } else { piece });
    }
    for field in ["log_dir", "total_bytes", "usable_bytes"] {
        plain = masked(&plain, field);
    }
    plain
}

/// Replaces the value of a field that depends on the machine.
fn masked(answer: &str, field: &str) -> String {
    let mut out = String::new();
    let key = format!("{field}: ");
    let mut pieces = answer.split(&key);
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let value = piece.split([',', '}']).next().unwrap_or_default();
        let _ = write!(out, "{key}…{}", &piece[value.len()..]);
    }
    out
}

/// Creates the topics and offsets that the cases need; returns the id of `t`.
async fn furnish(client: &mut Client) -> TopicId {
    let of_three = CreatableTopic { num_partitions: 3, ..new_topic("t") };
    let topics = vec![of_three, new_topic("a.b")];
    let made = client.call(7, CreateTopicsRequest { topics, ..create() }).await.topics;
    assert!(made.iter().all(|one| [0, 36].contains(&one.error_code)), "{made:?}");
    let asked = vec![MetadataRequestTopic { name: Some(s("t")), topic_id: TopicId::ZERO }];
    let request = MetadataRequest { topics: Some(asked), ..Default::default() };
    let id = client.call(12, request).await.topics[0].topic_id;
    // Kafka creates the topic of its coordinators at the first request, and its client has to retry.
    while client.call(6, coordinator(0)).await.coordinators[0].error_code != 0 {}
    while client.call(8, commit()).await.topics[0].partitions[0].error_code != 0 {}
    id
}

/// A member of the group `g`, which reads `t`.
async fn member(client: &mut Client) -> String {
    let member = client.call(3, join("g", "")).await;
    assert_eq!(member.error_code, 0);
    let sync = SyncGroupRequest {
        group_id: s("g"),
        generation_id: member.generation_id,
        member_id: member.member_id.clone(),
        ..Default::default()
    };
    assert_eq!(client.call(3, sync).await.error_code, 0);
    member.member_id
}

#[tokio::test]
async fn whatever_is_wrong_in_an_admin_request_is_answered_as_kafka_does_and_changes_nothing() {
    let node = Node::with(&[("group.initial.rebalance.delay.ms", "0")]).await;
    let elsewhere = std::env::var("ORACLE").ok();
    let address = elsewhere.clone().unwrap_or_else(|| node.address.to_string());
    let mut client = Client::of(&address).await;
    let id = furnish(&mut client).await;
    let member_id = member(&mut client).await;

    let facts = FACTS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let [api, wrong, answer] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("three columns: {line}");
        };
        ((s(api), s(wrong)), s(answer))
    });
    let facts = facts.collect::<Vec<_>>();
    let mut facts_by_case: BTreeMap<_, _> = facts.iter().cloned().collect();
    if elsewhere.is_none() {
        for (api, wrong, answer) in DIFFERENCES {
            let known = facts_by_case.insert((s(api), s(wrong)), s(answer));
            assert!(known.is_some_and(|kafkas| kafkas != *answer), "a difference: {api} {wrong}");
        }
    }
    let (mut told, mut wrong) = (String::new(), String::new());
    let cases = cases(id, &member_id);
    for case in &cases {
        let before = node.store.position();
        let answer = plain(&ask(&address, case).await, id, &member_id);
        let _ = writeln!(told, "{}\t{}\t{answer}", case.api, case.wrong);
        let fact = facts_by_case.remove(&(case.api.clone(), case.wrong.clone()));
        if fact.as_deref() != Some(&answer) {
            let fact = fact.as_deref().unwrap_or("(no fact)");
            let _ = writeln!(wrong, "{}: {}\n  here  {answer}\n  there {fact}", case.api, case.wrong);
        }
        if node.store.position() != before {
            let _ = writeln!(wrong, "{}: {} has changed something", case.api, case.wrong);
        }
    }
    client.call(3, leave(&member_id)).await;
    if std::env::var_os("UPDATE_FACTS").is_some() {
        assert!(elsewhere.is_some(), "facts are Kafka's: ORACLE says where one runs");
        let head = FACTS.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n"));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/facts/admin_refusals.tsv");
        std::fs::write(path, format!("{}{told}", head.collect::<String>())).unwrap();
        return;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(facts_by_case.is_empty(), "facts without a case: {:?}", facts_by_case.keys());
}
