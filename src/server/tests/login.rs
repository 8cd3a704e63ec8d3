//! Connections whose client has to log in, and what ends with a connection.

use super::*;
use crate::server::input::FrameError;

#[tokio::test(start_paused = true)]
async fn before_the_login_only_the_keys_of_a_login_are_served() {
    let gate = Gate::new();
    let mut client = Stage::new().connect_before_login();
    client.send(&ask(API_VERSIONS, 1, "now", &gate)).await;
    assert_eq!(client.correlations().await, [1]);
    client.send(&ask(ORDINARY, 2, "now", &gate)).await;
    assert_eq!(client.end().await, End::NeedsLogin { key: ORDINARY, version: 0 });
    assert_eq!(gate.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn before_the_login_a_key_that_does_not_exist_is_no_other_than_one_that_does() {
    let mut client = Stage::new().connect_before_login();
    // The header of an unknown version ends with its tagged fields.
    client.send(&frame(UNKNOWN, 0, 1, b"\0")).await;
    assert_eq!(client.end().await, End::NeedsLogin { key: UNKNOWN, version: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_large_before_the_login_has_a_reason_of_its_own() {
    let most = 512 << 10;
    for declared in [most, most + 1] {
        let mut client = Stage::new().connect_before_login();
        let length = i32::try_from(declared).unwrap().to_be_bytes();
        client.send(&[&length[..], &API_VERSIONS.to_be_bytes()].concat()).await;
        settle().await;
        if declared == most {
            assert!(!client.served.is_finished(), "the rest of it is awaited");
        } else {
            assert_eq!(client.end().await, End::Refused(FrameError::TooLongBeforeLogin { declared, most }));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w1_an_unknown_version_of_api_versions_is_answered_before_the_login_and_the_connection_stays() {
    let gate = Gate::new();
    let mut client = Stage::new().connect_before_login();
    for version in [99, 4, -1] {
        client.send(&frame(API_VERSIONS, version, 7, b"\0")).await;
        assert_eq!(client.raw_answer().await, unknown_api_versions(7));
    }
    client.send(&ask(API_VERSIONS, 8, "now", &gate)).await;
    assert_eq!(client.correlations().await, [8]);
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_the_login_is_served_when_the_login_is_done() {
    let (login, behind) = (Gate::new(), Gate::new());
    let mut client = Stage::new().connect_before_login();
    let both = [ask(API_VERSIONS, 1, "log-in", &login), ask(ORDINARY, 2, "now", &behind)].concat();
    client.send(&both).await;
    settle().await;
    assert_eq!((login.begun(), behind.begun()), (1, 0));
    login.open();
    assert_eq!(client.correlations().await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_until_the_session_has_ended_is_not_served() {
    let (first, behind) = (Gate::new(), Gate::new());
    let mut client = Stage::new().connect();
    client.send(&[ask(ORDINARY, 1, "session-ends", &first), ask(ORDINARY, 2, "now", &behind)].concat()).await;
    settle().await;
    first.open();
    assert_eq!(client.correlations().await, [1]);
    assert_eq!(client.end().await, End::NeedsLogin { key: ORDINARY, version: 0 });
    assert_eq!(behind.begun(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_thing_that_is_kept_for_a_connection_ends_with_it() {
    let gate = Gate::new();
    let mut client = Stage::new().connect();
    client.send(&ask(ORDINARY, 1, "keep", &gate)).await;
    assert_eq!(client.correlations().await, [1]);
    assert_eq!(gate.waiting(), 1);
    let Client { stream, served, _stop } = client;
    drop(stream);
    assert_eq!(served.await.unwrap(), End::Closed);
    assert_eq!(gate.waiting(), 0);
}
