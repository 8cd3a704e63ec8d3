//! The ACL APIs, without an authorizer.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use jackdaw::protocol::messages::delete_acls_request::{DeleteAclsFilter, DeleteAclsRequest};
use jackdaw::protocol::messages::describe_acls_request::DescribeAclsRequest;

use crate::harness::{Node, code};

const ANY: i8 = 1;
const TOPIC: i8 = 2;
const LITERAL: i8 = 3;
const ALLOW: i8 = 3;

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

        let filter = DeleteAclsFilter {
            resource_type_filter: ANY,
            pattern_type_filter: ANY,
            operation: ANY,
            permission_type: ANY,
            ..Default::default()
        };
        let answer = client.call(version, DeleteAclsRequest { filters: vec![filter.clone(), filter] }).await;
        let results = answer.filter_results.iter();
        let results =
            results.map(|one| (one.error_code, one.error_message.as_deref(), one.matching_acls.len()));
        let disabled = (disabled.0, disabled.1, 0);
        assert_eq!(results.collect::<Vec<_>>(), [disabled, disabled]);
    }
}
