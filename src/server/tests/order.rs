//! The order in which requests are begun and responses are sent.

use super::*;

#[tokio::test(start_paused = true)]
async fn w12_answers_leave_in_the_order_of_their_requests_whichever_is_ready_first() {
    let mut client = Stage::new().connect();
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    for (id, gate) in gates.iter().enumerate() {
        client.send(&ask(OVERLAPPING, id as i32, "later", gate)).await;
    }
    settle().await;
    gates[2].open();
    settle().await;
    gates[1].open();
    settle().await;
    gates[0].open();
    assert_eq!(client.correlations().await, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn w19_a_request_is_not_begun_before_the_one_ahead_of_it_is_answered() {
    let mut client = Stage::new().connect();
    let (first, second) = (Gate::new(), Gate::new());
    client.send(&[ask(ORDINARY, 1, "later", &first), ask(ORDINARY, 2, "now", &second)].concat()).await;
    settle().await;
    assert_eq!((first.begun(), second.begun()), (1, 0));
    first.open();
    assert_eq!(client.correlations().await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn w19_a_request_is_not_begun_before_the_one_ahead_of_it_has_its_place_in_line() {
    let mut client = Stage::new().connect();
    let (first, second) = (Gate::new(), Gate::new());
    client.send(&[ask(OVERLAPPING, 1, "slowly", &first), ask(OVERLAPPING, 2, "now", &second)].concat()).await;
    settle().await;
    assert_eq!((first.begun(), second.begun()), (1, 0));
    first.open();
    assert_eq!(client.correlations().await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn consecutive_produces_are_begun_together_and_any_other_request_waits_for_them() {
    let mut client = Stage::new().connect();
    let (produces, other, last) = (Gate::new(), Gate::new(), Gate::new());
    let mut bytes = Vec::new();
    for id in 0..5 {
        bytes.extend(ask(OVERLAPPING, id, "later", &produces));
    }
    bytes.extend(ask(ORDINARY, 5, "later", &other));
    bytes.extend(ask(OVERLAPPING, 6, "now", &last));
    client.send(&bytes).await;
    settle().await;
    assert_eq!((produces.begun(), other.begun(), last.begun()), (5, 0, 0));
    produces.open();
    assert_eq!(client.correlations().await, [0, 1, 2, 3, 4]);
    settle().await;
    assert_eq!((other.begun(), last.begun()), (1, 0));
    other.open();
    assert_eq!(client.correlations().await, [5, 6]);
}

#[tokio::test(start_paused = true)]
async fn w11_a_silent_request_has_no_answer_and_holds_up_none() {
    let mut client = Stage::new().connect();
    let (silent, loud) = (Gate::new(), Gate::new());
    client.send(&[ask(OVERLAPPING, 1, "silent", &silent), ask(OVERLAPPING, 2, "now", &loud)].concat()).await;
    assert_eq!(client.answer().await, (2, "now".to_owned()));
    client.send(&ask(ORDINARY, 3, "now", &loud)).await;
    assert_eq!(client.answer().await, (3, "now".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn w11_a_silent_request_that_fails_closes_the_connection_after_the_answers_it_is_owed() {
    let mut client = Stage::new().connect();
    let gate = Gate::new();
    let frames = [ask(OVERLAPPING, 1, "later", &gate), ask(OVERLAPPING, 2, "silent-failure", &gate)];
    client.send(&frames.concat()).await;
    settle().await;
    gate.open();
    assert_eq!(client.answer().await.0, 1);
    assert_eq!(client.end().await, End::ClosedByHandler { name: "Test", why: "it failed" });
}

#[tokio::test(start_paused = true)]
async fn w10_correlation_ids_come_back_as_they_were_sent() {
    let mut client = Stage::new().connect();
    let gate = Gate::new();
    for id in [7, 7, -1, i32::MIN, 3, 0] {
        client.send(&ask(ORDINARY, id, "now", &gate)).await;
    }
    assert_eq!(client.correlations().await, [7, 7, -1, i32::MIN, 3, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closed_its_side_still_gets_its_answers() {
    let mut client = Stage::new().connect();
    let (first, second) = (Gate::new(), Gate::new());
    client.send(&[ask(ORDINARY, 1, "later", &first), ask(ORDINARY, 2, "now", &second)].concat()).await;
    client.stream.shutdown().await.unwrap();
    settle().await;
    first.open();
    assert_eq!(client.correlations().await, [1, 2]);
    assert_eq!(client.end().await, End::Closed);
}

#[tokio::test(start_paused = true)]
async fn requests_are_the_same_however_the_network_cuts_them() {
    let gate = Gate::new();
    let requests = [ask(ORDINARY, 1, "now", &gate), ask(API_VERSIONS, 2, "now", &gate)].concat();
    let stage = Stage::new();
    for cut in 0..=requests.len() {
        let mut client = stage.connect();
        client.send(&requests[..cut]).await;
        settle().await;
        client.send(&requests[cut..]).await;
        assert_eq!(client.correlations().await, [1, 2], "cut after {cut} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn large_requests_are_whole_however_the_network_cuts_them() {
    let gate = Gate::new();
    // A large client id makes the frame a large one.
    let mut large = ask(ORDINARY, 1, "now", &gate);
    let name = vec![b'x'; 32_000];
    large.splice(12..14, (32_000u16).to_be_bytes().into_iter().chain(name));
    let length = i32::try_from(large.len() - 4).unwrap();
    large[..4].copy_from_slice(&length.to_be_bytes());
    let small = ask(ORDINARY, 2, "now", &gate);
    let requests = [large.clone(), small.clone(), large.clone(), large, small].concat();
    let stage = Stage::new();
    for piece in [1_000, 4_096, 5_000, 16_384, 33_000, 65_000, requests.len()] {
        let mut client = stage.connect();
        for bytes in requests.chunks(piece) {
            client.send(bytes).await;
            settle().await;
        }
        assert_eq!(client.correlations().await, [1, 2, 1, 1, 2], "in pieces of {piece}");
    }
    settle().await;
    assert_eq!((stage.shared.requests.small.held(), stage.shared.requests.large.held()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stopping_broker_answers_begun_requests_and_begins_none() {
    let stage = Stage::new();
    let mut client = stage.connect();
    let (first, second) = (Gate::new(), Gate::new());
    client.send(&[ask(ORDINARY, 1, "later", &first), ask(ORDINARY, 2, "now", &second)].concat()).await;
    settle().await;
    stage.stop.begin();
    settle().await;
    first.open();
    assert_eq!(client.answer().await.0, 1);
    assert_eq!(client.end().await, End::Stopping);
    assert_eq!(second.begun(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handler_costs_its_connection_only() {
    let stage = Stage::new();
    let mut bystander = stage.connect();
    let mut client = stage.connect();
    let gate = Gate::new();
    client.send(&[ask(OVERLAPPING, 1, "later", &gate), ask(OVERLAPPING, 2, "panic", &gate)].concat()).await;
    settle().await;
    gate.open();
    assert_eq!(client.answer().await.0, 1);
    assert_eq!(client.end().await, End::Failed { name: "Test", failure: Failure::Panicked });
    bystander.send(&ask(ORDINARY, 3, "now", &gate)).await;
    assert_eq!(bystander.answer().await.0, 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_much_to_do_leaves_others_a_turn() {
    let stage = Stage::new();
    let (mut busy, mut other) = (stage.connect(), stage.connect());
    let (much, little) = (Gate::new(), Gate::new());
    let requests: Vec<u8> = (0..1000).flat_map(|id| ask(ORDINARY, id, "now", &much)).collect();
    busy.send(&requests).await;
    other.send(&ask(ORDINARY, 1, "now", &little)).await;
    let begun_meanwhile = {
        let much = much.clone();
        tokio::spawn(async move {
            assert_eq!(other.answer().await.0, 1);
            much.begun()
        })
    };
    assert!(begun_meanwhile.await.unwrap() < 1000);
    for id in 0..1000 {
        assert_eq!(busy.answer().await.0, id);
    }
}
