//! The ACL APIs, without an authorizer and with one. `tests/compare` has the answers to every request.

use std::collections::BTreeMap;

use jackdaw::api::error::ErrorCode;
use jackdaw::api::requests::Denial;
use jackdaw::protocol::messages::MetadataRequest;
use jackdaw::protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use jackdaw::protocol::messages::delete_acls_request::{DeleteAclsFilter, DeleteAclsRequest};
use jackdaw::protocol::messages::describe_acls_request::DescribeAclsRequest;

use jackdaw::security::operations::Operation;
use jackdaw::security::principal::{DenialReason, Forbidden};
use jackdaw::storage::Location;

use crate::harness::{Client, Node, batch, code};
use crate::log_lines;

const ANY: i8 = 1;
const TOPIC: i8 = 2;
const LITERAL: i8 = 3;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

/// An authorizer, and all rights where there is no list.
const OPEN: &[(&str, &str)] = &[
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("allow.everyone.if.no.acl.found", "true"),
];

/// A list for the topic `t` and the only principal of a listener without a login.
fn list(operation: Operation, permission_type: i8) -> AclCreation {
    AclCreation {
        resource_type: TOPIC,
        resource_name: "t".to_owned(),
        resource_pattern_type: LITERAL,
        principal: "User:ANONYMOUS".to_owned(),
        host: "*".to_owned(),
        operation: operation as i8,
        permission_type,
    }
}

async fn create(client: &mut Client, creations: Vec<AclCreation>) -> Vec<i16> {
    let answer = client.call(3, CreateAclsRequest { creations }).await;
    answer.results.iter().map(|result| result.error_code).collect()
}

fn every_list() -> DeleteAclsFilter {
    DeleteAclsFilter {
        resource_type_filter: ANY,
        resource_name_filter: None,
        pattern_type_filter: ANY,
        principal_filter: None,
        host_filter: None,
        operation: ANY,
        permission_type: ANY,
    }
}

#[tokio::test]
async fn z12_without_an_authorizer_describe_acls_says_so() {
    let node = Node::start().await;
    let mut client = node.client().await;
    for version in 1..=3 {
        let request = DescribeAclsRequest {
            resource_type_filter: ANY,
            pattern_type_filter: ANY,
            operation: ANY,
            permission_type: ANY,
            ..Default::default()
        };
        let answer = client.call(version, request).await;
        assert_eq!(answer.error_code, code(ErrorCode::SecurityDisabled));
        assert_eq!(answer.error_message.as_deref(), Some("No Authorizer is configured on the broker"));
        assert_eq!(answer.resources, []);
    }
}

#[tokio::test]
async fn z8_a_filter_or_a_list_that_says_unknown_closes_its_connection() {
    let node = Node::start().await;
    let filter = DescribeAclsRequest {
        resource_type_filter: ANY,
        pattern_type_filter: ANY,
        operation: ANY,
        permission_type: ANY,
        ..Default::default()
    };
    let unknown = [
        DescribeAclsRequest { resource_type_filter: 0, ..filter.clone() },
        DescribeAclsRequest { pattern_type_filter: 0, ..filter.clone() },
        DescribeAclsRequest { operation: 0, ..filter.clone() },
        DescribeAclsRequest { permission_type: 0, ..filter.clone() },
    ];
    for request in unknown {
        let mut client = node.client().await;
        client.send(3, &request).await;
        assert!(client.is_closed().await);
    }
    let mut client = node.client().await;
    let creations = vec![AclCreation { resource_pattern_type: LITERAL, ..Default::default() }];
    client.send(3, &CreateAclsRequest { creations }).await;
    assert!(client.is_closed().await);
    let mut client = node.client().await;
    client.send(3, &DeleteAclsRequest { filters: vec![DeleteAclsFilter::default()] }).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn z10_no_list_is_accepted_that_would_not_be_kept() {
    let node = Node::start().await;
    let mut client = node.client().await;
    let disabled = (code(ErrorCode::SecurityDisabled), Some("No Authorizer is configured."));
    for version in 1..=3 {
        let one = AclCreation {
            resource_type: TOPIC,
            resource_name: "t".to_owned(),
            resource_pattern_type: LITERAL,
            principal: "User:a".to_owned(),
            host: "*".to_owned(),
            operation: 3,
            permission_type: ALLOW,
        };
        let answer = client.call(version, CreateAclsRequest { creations: vec![one.clone(), one] }).await;
        let results = answer.results.iter().map(|one| (one.error_code, one.error_message.as_deref()));
        assert_eq!(results.collect::<Vec<_>>(), [disabled, disabled]);

        let filter = every_list();
        let answer = client.call(version, DeleteAclsRequest { filters: vec![filter.clone(), filter] }).await;
        let results = answer.filter_results.iter();
        let results =
            results.map(|one| (one.error_code, one.error_message.as_deref(), one.matching_acls.len()));
        let disabled = (disabled.0, disabled.1, 0);
        assert_eq!(results.collect::<Vec<_>>(), [disabled, disabled]);
    }
}

#[tokio::test]
async fn a_list_is_followed_from_its_answer_on_until_it_is_deleted() {
    let node = Node::with(OPEN).await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    let forbidden = code(ErrorCode::TopicAuthorizationFailed);
    assert_eq!(client.fetch("t", 0, 0).await.error_code, 0);
    assert_eq!(create(&mut client, vec![list(Operation::Read, DENY)]).await, [0]);
    assert_eq!(client.fetch("t", 0, 0).await.error_code, forbidden);
    assert_eq!(create(&mut client, vec![list(Operation::Read, ALLOW)]).await, [0]);
    assert_eq!(client.fetch("t", 0, 0).await.error_code, forbidden, "a deny wins");
    let denies = DeleteAclsFilter { permission_type: DENY, ..every_list() };
    let deleted = client.call(3, DeleteAclsRequest { filters: vec![denies] }).await;
    assert_eq!(deleted.filter_results[0].matching_acls.len(), 1);
    assert_eq!(client.fetch("t", 0, 0).await.error_code, 0);
}

#[tokio::test]
async fn lists_outlive_the_broker() {
    let directory = tempfile::tempdir().unwrap();
    for (run, expected) in [(0, 0), (1, code(ErrorCode::TopicAuthorizationFailed))] {
        let node = Node::at(Location::Directory(directory.path().to_owned()), OPEN).await;
        let mut client = node.client().await;
        if run == 0 {
            node.topic("t", 1).await;
            assert_eq!(client.fetch("t", 0, 0).await.error_code, expected);
            assert_eq!(create(&mut client, vec![list(Operation::Read, DENY)]).await, [0]);
        } else {
            assert_eq!(client.fetch("t", 0, 0).await.error_code, expected);
        }
        node.store.close();
    }
}

#[tokio::test]
async fn denials_are_counted_but_not_what_is_only_left_out() {
    let node = Node::with(OPEN).await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    create(&mut client, vec![list(Operation::Read, DENY), list(Operation::Describe, DENY)]).await;
    let denials = || node.requests.denials();
    let all = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(client.call(12, all).await.topics, []);
    assert!(denials().is_empty());
    client.fetch("t", 0, 0).await;
    client.fetch("t", 0, 0).await;
    let (listener, forbidden, reason) = ("PLAINTEXT".to_owned(), Forbidden::Topic, DenialReason::Denied);
    assert_eq!(denials(), BTreeMap::from([(Denial { listener, forbidden, reason }, 2)]));
}

#[tokio::test]
async fn a_denial_is_logged_with_principal_operation_resource_host_and_reason_but_not_what_is_only_left_out()
{
    log_lines::begin();
    let denials = || log_lines::with("denied: ");
    let node = Node::with(OPEN).await;
    node.topic("t", 1).await;
    let mut client = node.client().await;
    create(&mut client, vec![list(Operation::Read, DENY), list(Operation::Describe, DENY)]).await;
    client.call(12, MetadataRequest { topics: None, ..Default::default() }).await;
    assert!(denials().is_empty(), "{:?}", denials());
    client.fetch("t", 0, 0).await;
    client.produce("t", 0, batch(&["v"])).await;
    let expected =
        [("READ", "an access control list denies it"), ("WRITE", "no access control list allows it")];
    let lines = denials();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, (operation, reason)) in lines.iter().zip(expected) {
        let operation = format!("operation=\"{operation}\"");
        let fields =
            ["principal=User:ANONYMOUS", "resource=TOPIC t", "host=127.0.0.1", "listener=\"PLAINTEXT\""];
        for part in fields.into_iter().chain([" INFO ", reason, &operation]) {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
}

#[tokio::test]
async fn the_memory_for_lists_is_limited() {
    // 1 MiB for the lists.
    let settings = [OPEN, &[("jackdaw.memory.max.bytes", "16777216")]].concat();
    let node = Node::with(&settings).await;
    let mut client = node.client().await;
    let of_host = |number: usize| AclCreation { host: number.to_string(), ..list(Operation::Read, ALLOW) };
    let refused = code(ErrorCode::PolicyViolation);
    let mut created = 0;
    while create(&mut client, (created..created + 100).map(of_host).collect()).await[0] == 0 {
        created += 100;
    }
    assert!((1000..10_000).contains(&created), "{created}");
    let more: Vec<AclCreation> = (created..created + 100).map(of_host).collect();
    assert_eq!(create(&mut client, more.clone()).await, [refused; 100]);
    // So many do not fit into an answer.
    let read = DeleteAclsFilter { operation: Operation::Read as i8, ..every_list() };
    let result = &client.call(3, DeleteAclsRequest { filters: vec![read] }).await.filter_results[0];
    assert_eq!((result.error_code, result.matching_acls.len()), (code(ErrorCode::InvalidRequest), 0));
    let of_one = |host: usize| DeleteAclsFilter { host_filter: Some(host.to_string()), ..every_list() };
    let results =
        client.call(3, DeleteAclsRequest { filters: (0..100).map(of_one).collect() }).await.filter_results;
    assert!(results.iter().all(|result| result.matching_acls.len() == 1));
    assert_eq!(create(&mut client, more).await, [0; 100]);
}
