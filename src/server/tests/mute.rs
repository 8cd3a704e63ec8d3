//! Clients that are held back after a response.

use super::*;

const NEARLY: Duration = Duration::from_millis(4_900);
const THE_REST: Duration = Duration::from_millis(200);

#[tokio::test(start_paused = true)]
async fn z4_z5_a_throttled_client_gets_its_answer_at_once_and_is_served_again_when_its_time_is_over() {
    for what in ["throttled", "silent-throttled"] {
        let (throttled, next) = (Gate::new(), Gate::new());
        let mut client = Stage::new().connect();
        client.send(&ask(ORDINARY, 1, what, &throttled)).await;
        if what == "throttled" {
            assert_eq!(client.correlations().await, [1]);
        }
        settle().await;
        client.send(&ask(ORDINARY, 2, "now", &next)).await;
        pass(NEARLY).await;
        assert_eq!((throttled.begun(), next.begun()), (1, 0), "{what}");
        pass(THE_REST).await;
        assert_eq!(next.begun(), 1, "{what}");
        assert_eq!(client.correlations().await, [2]);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_were_begun_before_are_answered_while_a_client_is_held_back() {
    let (throttled, behind) = (Gate::new(), Gate::new());
    let mut client = Stage::new().connect();
    let both = [ask(OVERLAPPING, 1, "later", &behind), ask(OVERLAPPING, 2, "throttled", &throttled)].concat();
    client.send(&both).await;
    settle().await;
    behind.open();
    assert_eq!(client.correlations().await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_client_is_held_back_overlaps_with_no_other() {
    let (throttled, behind) = (Gate::new(), Gate::new());
    let mut client = Stage::new().connect();
    let both =
        [ask(OVERLAPPING, 1, "later-throttled", &throttled), ask(OVERLAPPING, 2, "now", &behind)].concat();
    client.send(&both).await;
    settle().await;
    assert_eq!((throttled.begun(), behind.begun()), (1, 0), "its answer is not there yet");
    throttled.open();
    assert_eq!(client.correlations().await, [1]);
    pass(NEARLY).await;
    assert_eq!(behind.begun(), 0);
    pass(THE_REST).await;
    assert_eq!(client.correlations().await, [2]);
}

#[tokio::test(start_paused = true)]
async fn other_connections_are_served_while_one_is_held_back() {
    let (throttled, other) = (Gate::new(), Gate::new());
    let stage = Stage::new();
    let (mut held, mut free) = (stage.connect(), stage.connect());
    held.send(&ask(ORDINARY, 1, "throttled", &throttled)).await;
    assert_eq!(held.correlations().await, [1]);
    free.send(&ask(ORDINARY, 2, "now", &other)).await;
    assert_eq!(free.correlations().await, [2]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_it_is_held_back_is_noticed_afterwards() {
    let throttled = Gate::new();
    let mut client = Stage::new().connect();
    client.send(&ask(ORDINARY, 1, "throttled", &throttled)).await;
    assert_eq!(client.correlations().await, [1]);
    let Client { stream, served, _stop } = client;
    drop(stream);
    assert_eq!(served.await.unwrap(), End::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_read_before_a_client_is_held_back_does_not_hold_its_memory_until_the_end() {
    let (throttled, behind, next) = (Gate::new(), Gate::new(), Gate::new());
    let mut client = Stage::new().connect();
    let all = [
        ask(OVERLAPPING, 1, "later", &behind),
        ask(OVERLAPPING, 2, "throttled", &throttled),
        ask(ORDINARY, 3, "now", &next),
    ];
    client.send(&all.concat()).await;
    settle().await;
    assert_eq!(next.begun(), 0, "it waits for the answers to the requests before it");
    behind.open();
    settle().await;
    assert_eq!(next.begun(), 1);
    assert_eq!(client.correlations().await, [1, 2, 3]);
}
