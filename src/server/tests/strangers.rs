//! Input that is not a request which the server serves.

use super::*;
use crate::protocol::WireError;
use crate::server::input::{FrameError, Stranger};

#[tokio::test(start_paused = true)]
async fn w1_an_unknown_version_of_api_versions_is_answered_in_version_0_and_the_connection_stays() {
    let mut client = Stage::new().connect();
    let gate = Gate::new();
    // A header of version 2, tagged fields, and an unknown body.
    client.send(&frame(API_VERSIONS, 99, 7, b"\x00\x05what?")).await;
    assert_eq!(client.raw_answer().await, unknown_api_versions(7));
    client.send(&ask(API_VERSIONS, 8, "now", &gate)).await;
    assert_eq!(client.answer().await.0, 8);
}

#[tokio::test(start_paused = true)]
async fn w12_also_the_answer_to_an_unknown_version_of_api_versions_waits_its_turn() {
    let mut client = Stage::new().connect();
    let gate = Gate::new();
    client.send(&[ask(OVERLAPPING, 1, "later", &gate), frame(API_VERSIONS, -1, 2, b"")].concat()).await;
    settle().await;
    gate.open();
    assert_eq!(client.answer().await.0, 1);
    assert_eq!(client.raw_answer().await[..4], 2i32.to_be_bytes());
}

#[tokio::test(start_paused = true)]
async fn w17_a_key_or_version_that_is_not_served_closes_the_connection_after_the_answers_before_it() {
    let stage = Stage::new();
    let gate = Gate::new();
    for (key, version) in [(UNKNOWN, 0), (-1, 0), (ORDINARY, 6), (ORDINARY, -1), (17, 1), (36, 0)] {
        let mut client = stage.connect();
        let first = ask(OVERLAPPING, 1, "now", &gate);
        client.send(&[first, frame(key, version, 2, b""), ask(ORDINARY, 3, "now", &gate)].concat()).await;
        assert_eq!(client.answer().await.0, 1);
        assert_eq!(client.end().await, End::NotServed { key, version });
    }
}

#[tokio::test(start_paused = true)]
async fn w4_produce_is_advertised_from_0_and_refused_below_3() {
    let stage = Stage::new();
    for version in 0..3 {
        let mut client = stage.connect();
        client.send(&frame(OVERLAPPING, version, 1, b"")).await;
        assert_eq!(client.end().await, End::NotServed { key: OVERLAPPING, version });
    }
}

#[tokio::test(start_paused = true)]
async fn http_clients_get_an_answer_in_http() {
    for request in ["GET / HTTP/1.1\r\n\r\n", "POST /topics HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut client = Stage::new().connect();
        client.send(request.as_bytes()).await;
        let (answer, end) = client.rest().await;
        assert_eq!(end, End::Refused(FrameError::Stranger(Stranger::Http)));
        assert!(answer.starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tls_client_hello_is_recognised() {
    let mut client = Stage::new().connect();
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    assert_eq!(client.end().await, End::Refused(FrameError::Stranger(Stranger::Tls)));
}

#[tokio::test(start_paused = true)]
async fn w9_an_impossible_length_closes_the_connection_before_anything_is_read() {
    for length in [-1, i32::MIN, 0, 7] {
        let mut client = Stage::new().connect();
        client.send(&length.to_be_bytes()).await;
        assert_eq!(client.end().await, End::Refused(FrameError::TooShort { declared: length }));
    }
}

#[tokio::test(start_paused = true)]
async fn only_produce_may_be_larger_than_8_mib_and_that_up_to_its_limit() {
    let most = 100 << 20;
    let refused = |declared, key, most| End::Refused(FrameError::TooLong { declared, key, most });
    for (key, length, end) in [
        (ORDINARY, 8 << 20, None),
        (ORDINARY, (8 << 20) + 1, Some(refused((8 << 20) + 1, Some(ORDINARY), 8 << 20))),
        (OVERLAPPING, most, None),
        (OVERLAPPING, most + 1, Some(refused(most + 1, Some(OVERLAPPING), most))),
    ] {
        let mut client = Stage::new().connect();
        let declared = i32::try_from(length).unwrap().to_be_bytes();
        client.send(&[&declared[..], &key.to_be_bytes()].concat()).await;
        settle().await;
        match end {
            Some(end) => assert_eq!(client.end().await, end),
            None => assert!(!client.served.is_finished(), "{length} bytes of key {key} are awaited"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_read_closes_the_connection_after_the_answers_before_it() {
    let gate = Gate::new();
    let broken = Failure::Malformed(WireError::Truncated);
    let left_over = Failure::Malformed(WireError::LeftOver(1));
    let mut too_much = script("now", &gate);
    too_much.push(0);
    for (body, failure) in [(vec![0, 9], broken), (too_much, left_over)] {
        let mut client = Stage::new().connect();
        client.send(&[ask(OVERLAPPING, 1, "later", &gate), frame(OVERLAPPING, 3, 2, &body)].concat()).await;
        settle().await;
        gate.open();
        assert_eq!(client.answer().await.0, 1);
        assert_eq!(client.end().await, End::Failed { name: "Test", failure });
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_cannot_be_read_closes_the_connection() {
    let mut client = Stage::new().connect();
    // A client id of 5 bytes in a frame that ends before it.
    client.send(b"\0\0\0\x0a\0\x03\0\0\0\0\0\x01\0\x05").await;
    let error = WireError::Truncated;
    assert_eq!(client.end().await, End::Malformed { name: "request header", version: 0, error });
}
