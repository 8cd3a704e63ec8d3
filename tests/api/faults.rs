//! Faults by request, as a client meets them. `door.rs` has a refusal of each key.

use std::time::Duration;

use jackdaw::api::error::ErrorCode;
use jackdaw::hooks::{CutAt, Fault, HookError, TestHooks};
use jackdaw::protocol::messages::produce_request::ProduceRequest;

use crate::harness::{Client, Node, PATIENCE, batch, code, fetch_from, produce_to};

/// The client id of the harness.
const CLIENT: &str = "api test";
const LONG: Duration = Duration::from_secs(600);

async fn stage() -> (Node, Client) {
    let node = Node::with_hooks().await;
    node.topic("t", 1).await;
    let client = node.client().await;
    (node, client)
}

fn stored(node: &Node) -> i64 {
    node.partition("t", 0).ends().high_watermark.0
}

fn met(hooks: &TestHooks, fault: Fault) -> impl Future<Output = ()> {
    let id = hooks.inject(fault).unwrap();
    let hooks = hooks.clone();
    async move { hooks.wait_for_fault(id, PATIENCE).await.unwrap() }
}

#[tokio::test]
async fn the_next_requests_of_a_client_fail_and_store_nothing() {
    let (node, mut client) = stage().await;
    let fault = Fault::of("Produce").times(2).error("NOT_LEADER_OR_FOLLOWER");
    node.hooks().inject(fault.clone().client("another client")).unwrap();
    node.hooks().inject(fault.client(CLIENT)).unwrap();
    for _ in 0..2 {
        let answer = client.produce("t", 0, batch(&["v"])).await;
        assert_eq!((answer.error_code, answer.base_offset), (code(ErrorCode::NotLeaderOrFollower), -1));
    }
    let answer = client.produce("t", 0, batch(&["v"])).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 0));
    let left: Vec<_> = node.hooks().faults().into_iter().map(|fault| (fault.client, fault.left)).collect();
    assert_eq!(left, [(Some("another client".to_owned()), 2)]);
    node.hooks().remove_all_faults();
    assert_eq!(node.hooks().faults(), []);
}

#[tokio::test]
async fn a_cut_before_the_request_stores_nothing_and_before_the_answer_stores_it() {
    for (cut, records) in [(CutAt::BeforeRequest, 0), (CutAt::BeforeAnswer, 1)] {
        let (node, mut client) = stage().await;
        node.hooks().inject(Fault::of("Produce").cut(cut)).unwrap();
        client.send(12, &produce_to("t", 0, batch(&["v"]))).await;
        assert!(client.is_closed().await, "{cut:?}");
        assert_eq!(stored(&node), records, "{cut:?}");
    }
}

#[tokio::test]
async fn a_cut_after_the_answer_closes_the_connection_behind_it() {
    let (node, mut client) = stage().await;
    node.hooks().inject(Fault::of("Produce").cut(CutAt::AfterAnswer)).unwrap();
    assert_eq!(client.produce("t", 0, batch(&["v"])).await.base_offset, 0);
    assert!(client.is_closed().await);
    node.hooks().inject(Fault::of("Fetch").error("KAFKA_STORAGE_ERROR").cut(CutAt::AfterAnswer)).unwrap();
    let mut next = node.client().await;
    assert_eq!(next.fetch("t", 0, 0).await.error_code, code(ErrorCode::KafkaStorageError));
    assert!(next.is_closed().await);
}

#[tokio::test]
async fn a_delayed_request_has_no_effect_yet_and_a_delayed_answer_comes_after_it() {
    let (node, mut client) = stage().await;
    let delayed = met(node.hooks(), Fault::of("Produce").delay(LONG));
    client.send(12, &produce_to("t", 0, batch(&["v"]))).await;
    delayed.await;
    assert_eq!(stored(&node), 0);
    assert!(!client.has_received());

    let (node, mut client) = stage().await;
    node.hooks().inject(Fault::of("Produce").answer_delay(LONG)).unwrap();
    client.send(12, &produce_to("t", 0, batch(&["v"]))).await;
    let partition = node.partition("t", 0);
    while stored(&node) == 0 {
        let waiter = jackdaw::storage::Waiter::new();
        partition.watch(&waiter);
        if stored(&node) == 0 {
            waiter.woken().await;
        }
    }
    assert!(!client.has_received());
    // A broker that stops does not wait.
    node.begin_to_stop();
    assert_eq!(client.receive::<ProduceRequest>(12).await.1.responses.len(), 1);
}

#[tokio::test]
async fn a_refused_request_without_an_answer_closes_the_connection() {
    let (node, mut client) = stage().await;
    node.hooks().inject(Fault::of("Produce").error("MESSAGE_TOO_LARGE")).unwrap();
    client.send(12, &ProduceRequest { acks: 0, ..produce_to("t", 0, batch(&["v"])) }).await;
    assert!(client.is_closed().await);
    assert_eq!(stored(&node), 0);
}

#[tokio::test]
async fn an_error_of_a_fetch_session_is_that_of_the_whole_answer_and_others_are_those_of_partitions() {
    let (node, mut client) = stage().await;
    for (name, whole, partition) in [
        ("FETCH_SESSION_ID_NOT_FOUND", code(ErrorCode::FetchSessionIdNotFound), None),
        ("OFFSET_OUT_OF_RANGE", 0, Some(code(ErrorCode::OffsetOutOfRange))),
    ] {
        node.hooks().inject(Fault::of("Fetch").error(name)).unwrap();
        let answer = client.call(12, fetch_from("t", 0, 0)).await;
        let found = answer.responses.first().map(|topic| topic.partitions[0].error_code);
        assert_eq!((answer.error_code, found), (whole, partition), "{name}");
    }
}

#[tokio::test]
async fn a_wait_for_a_fault_says_how_many_requests_are_missing() {
    let (node, mut client) = stage().await;
    let id = node.hooks().inject(Fault::of("Produce").times(2).error("NOT_LEADER_OR_FOLLOWER")).unwrap();
    client.produce("t", 0, batch(&["v"])).await;
    let waited = node.hooks().wait_for_fault(id, Duration::ZERO).await;
    assert_eq!(waited, Err(HookError::TimedOut("the fault still waits for 1 requests".into())));
    assert!(node.hooks().remove_fault(id) && !node.hooks().remove_fault(id));
    node.hooks().wait_for_fault(id, Duration::ZERO).await.unwrap();

    // The second fault of another broker.
    let (other, _) = stage().await;
    let [_, second] =
        [(); 2].map(|()| other.hooks().inject(Fault::of("Produce").error("NOT_LEADER_OR_FOLLOWER")).unwrap());
    let waited = node.hooks().wait_for_fault(second, Duration::ZERO).await;
    assert_eq!(waited, Err(HookError::Wrong("there was no such fault".into())));
}
