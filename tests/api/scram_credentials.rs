//! AlterUserScramCredentials and DescribeUserScramCredentials, with the answers of Apache Kafka 4.4.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::{
    AlterConfigsRequest, AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse, ScramCredentialDeletion,
    ScramCredentialUpsertion, UserName, alter_configs_request,
};
use jackdaw::types::{ScramHash, Secret};

use crate::alter_configs::{self, DELETE, SET};
use crate::harness::{Client, Node, code};

fn set(user: &str, mechanism: i8, iterations: i32) -> ScramCredentialUpsertion {
    ScramCredentialUpsertion {
        name: user.to_owned(),
        mechanism,
        iterations,
        salt: b"salt".to_vec().into(),
        salted_password: b"salted".to_vec().into(),
    }
}

fn remove(user: &str, mechanism: i8) -> ScramCredentialDeletion {
    ScramCredentialDeletion { name: user.to_owned(), mechanism }
}

async fn alter(
    client: &mut Client,
    deletions: Vec<ScramCredentialDeletion>,
    upsertions: Vec<ScramCredentialUpsertion>,
) -> Vec<(String, i16, String)> {
    let request = AlterUserScramCredentialsRequest { deletions, upsertions };
    let AlterUserScramCredentialsResponse { throttle_time_ms, mut results } = client.call(0, request).await;
    assert_eq!(throttle_time_ms, 0);
    results.sort_by(|one, other| one.user.cmp(&other.user));
    let all = results.into_iter();
    all.map(|result| (result.user, result.error_code, result.error_message.unwrap_or_default())).collect()
}

fn refused(user: &str, error: ErrorCode, why: &str) -> (String, i16, String) {
    (user.to_owned(), code(error), why.to_owned())
}

fn done(user: &str) -> (String, i16, String) {
    refused(user, ErrorCode::None, "")
}

async fn describe(client: &mut Client, users: Option<&[&str]>) -> DescribeUserScramCredentialsResponse {
    let users = users.map(|users| users.iter().map(|user| UserName { name: (*user).to_owned() }).collect());
    client.call(0, DescribeUserScramCredentialsRequest { users }).await
}

/// `user mechanism:iterations …`, or `user code`.
fn shown(answer: &DescribeUserScramCredentialsResponse) -> Vec<String> {
    let mut all: Vec<String> = answer
        .results
        .iter()
        .map(|result| {
            let infos =
                result.credential_infos.iter().map(|info| format!(" {}:{}", info.mechanism, info.iterations));
            let error =
                if result.error_code == 0 { String::new() } else { format!(" {}", result.error_code) };
            format!("{}{error}{}", result.user, infos.collect::<String>())
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn credentials_are_set_described_without_secrets_and_removed() {
    let node = Node::start().await;
    let mut client = node.client().await;
    assert_eq!(shown(&describe(&mut client, None).await), [""; 0]);
    let answer = alter(&mut client, vec![], vec![set("alice", 1, 4096), set("ben", 2, 16384)]).await;
    assert_eq!(answer, [done("alice"), done("ben")]);
    assert_eq!(alter(&mut client, vec![], vec![set("alice", 2, 5000)]).await, [done("alice")]);
    for all in [None, Some(&[][..])] {
        assert_eq!(shown(&describe(&mut client, all).await), ["alice 1:4096 2:5000", "ben 2:16384"]);
    }
    let answer = alter(&mut client, vec![remove("alice", 1)], vec![set("ben", 2, 4096)]).await;
    assert_eq!(answer, [done("alice"), done("ben")]);
    assert_eq!(shown(&describe(&mut client, None).await), ["alice 2:5000", "ben 2:4096"]);
    assert!(alter(&mut client, vec![], vec![]).await.is_empty());
}

#[tokio::test]
async fn the_broker_keeps_the_keys_and_not_the_salted_password() {
    let node = Node::start().await;
    alter(&mut node.client().await, vec![], vec![set("alice", 1, 4096)]).await;
    let kept = node.store.credentials().get("alice", ScramHash::Sha256.number()).cloned().unwrap();
    assert_eq!((kept.salt.clone(), kept.iterations), (Secret::new("salt"), 4096));
    let secrets = [&kept.stored_key, &kept.server_key];
    assert!(secrets.iter().all(|secret| secret.bytes().len() == 32));
    assert_ne!(kept.stored_key, kept.server_key);
}

#[tokio::test]
async fn each_wrong_change_is_refused_and_the_others_are_done() {
    let node = Node::start().await;
    let mut client = node.client().await;
    alter(&mut client, vec![], vec![set("alice", 1, 4096)]).await;
    let deletions = vec![remove("nobody", 1), remove("alice", 2), remove("zoe", 3)];
    let upsertions = vec![
        set("", 1, 4096),
        set("few", 1, 4095),
        set("many", 2, 16385),
        set("odd", 0, 4096),
        set("right", 1, 4096),
    ];
    let unknown = (ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism");
    let missing = (ErrorCode::ResourceNotFound, "Attempt to delete a user credential that does not exist");
    assert_eq!(
        alter(&mut client, deletions, upsertions).await,
        [
            refused("", ErrorCode::UnacceptableCredential, "Username must not be empty"),
            refused("alice", missing.0, missing.1),
            refused("few", ErrorCode::UnacceptableCredential, "Too few iterations"),
            refused("many", ErrorCode::UnacceptableCredential, "Too many iterations"),
            refused("nobody", missing.0, missing.1),
            refused("odd", unknown.0, unknown.1),
            done("right"),
            refused("zoe", unknown.0, unknown.1),
        ]
    );
    assert_eq!(shown(&describe(&mut client, None).await), ["alice 1:4096", "right 1:4096"]);
}

#[tokio::test]
async fn a_user_is_named_once_in_a_request_also_with_two_mechanisms() {
    let node = Node::start().await;
    let mut client = node.client().await;
    alter(&mut client, vec![], vec![set("ben", 1, 4096)]).await;
    let twice = |user| {
        refused(
            user,
            ErrorCode::DuplicateResource,
            "A user credential cannot be altered twice in the same request",
        )
    };
    let upsertions =
        vec![set("alice", 1, 4096), set("alice", 2, 4096), set("ben", 1, 5000), set("alice", 1, 4096)];
    assert_eq!(alter(&mut client, vec![remove("ben", 1)], upsertions).await, [twice("alice"), twice("ben")]);
    assert_eq!(shown(&describe(&mut client, None).await), ["ben 1:4096"]);
}

#[tokio::test]
async fn users_that_are_unknown_or_named_twice_are_refused_one_by_one() {
    let node = Node::start().await;
    let mut client = node.client().await;
    alter(&mut client, vec![], vec![set("alice", 1, 4096)]).await;
    let answer = describe(&mut client, Some(&["alice", "nobody", "ben", "ben"])).await;
    assert_eq!((answer.error_code, answer.error_message.as_deref()), (0, Some("")));
    assert_eq!(shown(&answer), ["alice 1:4096", "ben 92", "nobody 91"]);
    let why = |user: &str| {
        let result = answer.results.iter().find(|result| result.user == user).unwrap();
        result.error_message.clone().unwrap()
    };
    assert_eq!(why("nobody"), "Attempt to describe a user credential that does not exist: nobody");
    assert_eq!(
        why("ben"),
        "Cannot describe SCRAM credentials for the same user twice in a single request: ben"
    );
}

const ANN_AND_BEN: [(&str, &str); 6] = [
    ("listeners", "OPEN://127.0.0.1:0,OUTSIDE://127.0.0.1:0"),
    ("listener.security.protocol.map", "OPEN:PLAINTEXT,OUTSIDE:SASL_PLAINTEXT"),
    ("sasl.enabled.mechanisms", "SCRAM-SHA-256"),
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("allow.everyone.if.no.acl.found", "true"),
    ("super.users", "User:ann;User:ben"),
];

#[tokio::test]
async fn two_requests_at_a_time_do_not_delete_both_super_users() {
    let node = Node::with(&ANN_AND_BEN).await;
    let (mut one, mut other) = (node.client().await, node.client().await);
    for _ in 0..20 {
        alter(&mut one, vec![], vec![set("ann", 1, 4096), set("ben", 1, 4096)]).await;
        tokio::join!(
            alter(&mut one, vec![remove("ann", 1)], vec![]),
            alter(&mut other, vec![remove("ben", 1)], vec![])
        );
        assert_eq!(shown(&describe(&mut one, None).await).len(), 1);
    }
}

#[tokio::test]
async fn the_last_credential_of_the_last_super_user_is_not_deleted() {
    let node = Node::with(&ANN_AND_BEN).await;
    let mut client = node.client().await;
    let all = vec![set("ann", 1, 4096), set("ben", 1, 4096), set("cleo", 1, 4096)];
    alter(&mut client, vec![], all).await;
    alter(&mut client, vec![], vec![set("ben", 2, 4096)]).await;
    let why = "without this credential no super user could log in any more; give another user of super.users a \
               credential before ben loses the last one";
    let last = refused("ben", ErrorCode::PolicyViolation, why);
    // The credential for SCRAM-SHA-512 does not help, because no listener offers it.
    let answer =
        alter(&mut client, vec![remove("ann", 1), remove("ben", 1), remove("cleo", 1)], vec![]).await;
    assert_eq!(answer, [done("ann"), last.clone(), done("cleo")]);
    assert_eq!(
        alter(&mut client, vec![remove("ben", 1)], vec![set("cleo", 1, 4096)]).await,
        [last, done("cleo")]
    );
    assert_eq!(alter(&mut client, vec![remove("ben", 2)], vec![]).await, [done("ben")]);
    // Another super user may take over in the same request.
    let answer = alter(&mut client, vec![remove("ben", 1)], vec![set("ann", 1, 4096)]).await;
    assert_eq!(answer, [done("ann"), done("ben")]);
    assert_eq!(shown(&describe(&mut client, None).await), ["ann 1:4096", "cleo 1:4096"]);
}

const MECHANISMS: &str = "listener.name.outside.sasl.enabled.mechanisms";

/// Alters the settings of the broker, and returns the code.
async fn alter_broker(client: &mut Client, changes: &[(&str, i8, Option<&str>)]) -> i16 {
    alter_configs::alter(client, alter_configs::BROKER, "1", changes).await.0
}

#[tokio::test]
async fn settings_with_which_no_super_user_could_log_in_are_not_stored() {
    let node = Node::with(&ANN_AND_BEN).await;
    let mut client = node.client().await;
    let refused = code(ErrorCode::PolicyViolation);
    let sha_512 = [(MECHANISMS, SET, Some("SCRAM-SHA-512"))];
    let delete = [(MECHANISMS, DELETE, None)];
    assert_eq!(alter_broker(&mut client, &sha_512).await, 0, "nobody can log in: there is nothing to keep");
    assert_eq!(alter_broker(&mut client, &delete).await, 0);

    alter(&mut client, vec![], vec![set("ann", 1, 4096), set("cleo", 2, 4096)]).await;
    assert_eq!(alter_broker(&mut client, &sha_512).await, refused);
    assert_eq!(
        alter_broker(&mut client, &[("sasl.enabled.mechanisms", SET, Some("SCRAM-SHA-512"))]).await,
        refused
    );
    let both = [(MECHANISMS, SET, Some("SCRAM-SHA-512,SCRAM-SHA-256"))];
    assert_eq!(alter_broker(&mut client, &both).await, 0);
    assert_eq!(alter_broker(&mut client, &sha_512).await, refused);

    alter(&mut client, vec![], vec![set("ben", 2, 4096)]).await;
    assert_eq!(alter_broker(&mut client, &sha_512).await, 0, "ben logs in");
    // As in the legacy API, settings that are not named are removed.
    let resource = alter_configs_request::AlterConfigsResource {
        resource_type: alter_configs::BROKER,
        resource_name: "1".to_owned(),
        configs: vec![],
    };
    alter(&mut client, vec![remove("ann", 1)], vec![]).await;
    let replace = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call(2, replace).await.responses[0].error_code, refused);
    assert_eq!(alter_broker(&mut client, &delete).await, refused);
}

#[tokio::test]
async fn a_deletion_and_a_change_of_mechanisms_at_a_time_do_not_lock_super_users_out() {
    let node = Node::with(&ANN_AND_BEN).await;
    let (mut one, mut other) = (node.client().await, node.client().await);
    for _ in 0..20 {
        let both = [(MECHANISMS, SET, Some("SCRAM-SHA-256,SCRAM-SHA-512"))];
        assert_eq!(alter_broker(&mut one, &both).await, 0);
        alter(&mut one, vec![], vec![set("ann", 1, 4096), set("ben", 2, 4096)]).await;
        let sha_256 = [(MECHANISMS, SET, Some("SCRAM-SHA-256"))];
        let (deleted, altered) =
            tokio::join!(alter(&mut one, vec![remove("ann", 1)], vec![]), alter_broker(&mut other, &sha_256));
        assert!((deleted[0].1 == 0) != (altered == 0), "one of them is refused: {deleted:?} {altered}");
    }
}

#[tokio::test]
async fn without_an_authorizer_every_credential_can_be_deleted() {
    let node = Node::with(&[("super.users", "User:ann")]).await;
    let mut client = node.client().await;
    alter(&mut client, vec![], vec![set("ann", 1, 4096)]).await;
    assert_eq!(alter(&mut client, vec![remove("ann", 1)], vec![]).await, [done("ann")]);
}

#[tokio::test]
async fn credentials_beyond_64_mib_are_refused_until_some_are_removed() {
    const USERS: usize = 240;
    let node = Node::start().await;
    let mut client = node.client().await;
    // About 7 MB a request.
    let users = |request: usize| {
        (0..USERS).map(move |number| format!("{request} {number}{}", "x".repeat(30_000))).collect::<Vec<_>>()
    };
    let codes = |results: Vec<(String, i16, String)>| -> Vec<i16> {
        let mut codes: Vec<i16> = results.into_iter().map(|(_, code, _)| code).collect();
        assert_eq!(codes.len(), USERS);
        codes.dedup();
        codes
    };
    let mut request = 0;
    let refused = loop {
        let upsertions = users(request).iter().map(|user| set(user, 1, 4096)).collect();
        let codes = codes(alter(&mut client, vec![], upsertions).await);
        if codes != [0] {
            break codes;
        }
        request += 1;
    };
    assert_eq!(refused, [code(ErrorCode::PolicyViolation)]);
    assert_eq!(request, 9, "more than 7 MB in each, and the last one may go beyond the limit");
    for removed in 0..2 {
        let deletions = users(removed).iter().map(|user| remove(user, 1)).collect();
        assert_eq!(codes(alter(&mut client, deletions, vec![]).await), [0]);
    }
    let upsertions = users(request).iter().map(|user| set(user, 1, 4096)).collect();
    assert_eq!(codes(alter(&mut client, vec![], upsertions).await), [0]);
}
