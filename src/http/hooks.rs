//! Test hooks over HTTP, below `/hooks/`: who may call them, and the forms of requests and answers.
//!
//! A page in a browser must not reach them through its user. A browser always sends `Origin` with a request that changes
//! something, so a request with that header is refused. A page whose name was given the address of this machine (DNS
//! rebinding) may read without that header, but its name is in `Host`. So without a token, `Host` must mean this machine.

use std::net::IpAddr;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE,
};
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Page, text};
use crate::hooks::{self, HookError, TestHooks};
use crate::types::Secret;

/// The maximum size of a request.
const MOST_BYTES: usize = 64 << 10;
/// The maximum number of calls at a time. They may wait long, and leave connections for health checks.
const MOST_CALLS: usize = 8;

const PREFIX: &str = "/hooks/";

/// The test hooks, and who may call them.
pub struct Hooks {
    hooks: TestHooks,
    /// `None`: everyone who reaches the server.
    token: Option<Secret>,
    free: Semaphore,
}

impl Hooks {
    pub fn new(hooks: TestHooks, token: Option<Secret>) -> Hooks {
        Hooks { hooks, token, free: Semaphore::new(MOST_CALLS) }
    }

    /// The answer, if the request is for a hook.
    pub(super) async fn answer(&self, request: &mut Request<Incoming>) -> Option<Response<Page>> {
        let path = request.uri().path().strip_prefix(PREFIX)?.to_owned();
        let mut response = match self.serve(&path, request).await {
            Ok(answer) => json_of(StatusCode::OK, &answer),
            Err((status, why)) => json_of(status, &json!({ "error": why })),
        };
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // A connection is closed after a minute, perhaps in the middle of its next call.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Some(response)
    }

    async fn serve(
        &self,
        path: &str,
        request: &mut Request<Incoming>,
    ) -> Result<Value, (StatusCode, String)> {
        let refused = |status, why: &str| Err((status, why.to_owned()));
        if request.headers().contains_key(ORIGIN) {
            return refused(StatusCode::FORBIDDEN, "a page in a browser may not call test hooks");
        }
        if self.token.is_none() && !is_of_this_machine(request.headers()) {
            return refused(
                StatusCode::FORBIDDEN,
                "the header Host must be localhost or a loopback address; with another name, set jackdaw.test.hooks.token",
            );
        }
        if !self.is_admitted(request.headers()) {
            return refused(
                StatusCode::UNAUTHORIZED,
                "the header Authorization: Bearer TOKEN is missing or wrong",
            );
        }
        let method = match *request.method() {
            hyper::Method::GET => hooks::Method::Get,
            hyper::Method::POST => hooks::Method::Post,
            hyper::Method::DELETE => hooks::Method::Delete,
            _ => return refused(StatusCode::METHOD_NOT_ALLOWED, "only GET, POST and DELETE"),
        };
        let Ok(_turn) = self.free.try_acquire() else {
            return refused(StatusCode::TOO_MANY_REQUESTS, "too many hooks are called at the same time");
        };
        let Ok(body) = Limited::new(request.body_mut(), MOST_BYTES).collect().await else {
            return refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the request is too large, or was not sent to its end",
            );
        };
        hooks::call(&self.hooks, method, path, &body.to_bytes())
            .await
            .map_err(|error| (status_of(&error), error.to_string()))
    }

    fn is_admitted(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let given = headers.get(AUTHORIZATION).and_then(|header| header.as_bytes().strip_prefix(b"Bearer "));
        given.is_some_and(|given| token.is(given))
    }
}

fn is_of_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn status_of(error: &HookError) -> StatusCode {
    match error {
        HookError::Unknown => StatusCode::NOT_FOUND,
        HookError::Wrong(_) => StatusCode::BAD_REQUEST,
        HookError::TimedOut(_) => StatusCode::REQUEST_TIMEOUT,
        HookError::Refused(_) => StatusCode::CONFLICT,
    }
}

fn json_of(status: StatusCode, value: &Value) -> Response<Page> {
    let mut response = text(status, &format!("{value}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use tokio::task::spawn_blocking;

    use super::*;
    use crate::broker::{Broker, Builder};

    fn builder() -> Builder {
        Broker::builder().ephemeral().test_hooks().set("jackdaw.http.listener", "127.0.0.1:0")
    }

    /// The status and the JSON of an answer.
    async fn call(broker: &Broker, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        call_as(broker, "localhost", method, path, headers, body).await
    }

    /// The same, under this name of the server.
    async fn call_as(
        broker: &Broker,
        host: &str,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> (u16, Value) {
        let address = broker.http().unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            // The server closes the connection behind its answer, perhaps before it has read the whole call.
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8(answer).unwrap()
        });
        let answer = answer.await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
    }

    #[tokio::test]
    async fn a_fault_is_added_listed_and_removed() {
        let broker = builder().start().await.unwrap();
        let call = async |method, path, body| call(&broker, method, path, "", body).await;
        let fault = r#"{"api": "Produce", "client": "shop", "error": "NOT_COORDINATOR", "times": 2}"#;
        assert_eq!(call("POST", "/hooks/faults", fault).await, (200, json!({ "fault": 1 })));
        let listed = json!({ "faults": [{
            "fault": 1, "api": "Produce", "client": "shop", "broker": null, "left": 2, "error": "NOT_COORDINATOR",
            "delay_ms": 0, "answer_delay_ms": 0, "cut": null,
        }] });
        assert_eq!(call("GET", "/hooks/faults", "").await, (200, listed));
        let waits = call("POST", "/hooks/wait/fault", r#"{"fault": 1, "timeout_ms": 0}"#).await;
        assert_eq!(waits, (408, json!({ "error": "the fault still waits for 2 requests" })));
        assert_eq!(call("DELETE", "/hooks/faults/1", "").await, (200, json!({ "removed": true })));
        assert_eq!(call("DELETE", "/hooks/faults/1", "").await, (200, json!({ "removed": false })));
        assert_eq!(call("DELETE", "/hooks/faults", "").await, (200, json!({})));
        assert_eq!(call("GET", "/hooks/faults", "").await, (200, json!({ "faults": [] })));
    }

    #[tokio::test]
    async fn a_wrong_call_is_refused_with_the_reason() {
        let broker = builder().start().await.unwrap();
        let refused = async |method, path, body: &str| {
            let (status, answer) = call(&broker, method, path, "", body).await;
            (status, answer["error"].as_str().unwrap_or_default().to_owned())
        };
        for (path, body, expected, why) in [
            ("/hooks/faults", "{}", 400, "missing field `api`"),
            ("/hooks/faults", r#"{"api": "Produce", "error": "X"}"#, 400, "X is no error of Kafka"),
            (
                "/hooks/wait/records",
                r#"{"topic": "t", "records": 1, "timeout_ms": 60000}"#,
                400,
                "at most 50000",
            ),
            ("/hooks/wait/group", r#"{"group": "g", "timeout_ms": 0}"#, 408, "g does not exist"),
            ("/hooks/nothing", "{}", 404, "no such hook"),
        ] {
            let (status, answer) = refused("POST", path, body).await;
            assert_eq!(status, expected, "{path} {body}: {answer}");
            assert!(answer.contains(why), "{path} {body}: {answer}");
        }
        assert_eq!(refused("PUT", "/hooks/faults", "").await.0, 405);
        assert_eq!(refused("POST", "/hooks/faults", &" ".repeat(MOST_BYTES + 1)).await.0, 413);
    }

    #[tokio::test]
    async fn the_token_is_asked_for_and_a_page_in_a_browser_is_refused() {
        let broker = builder().set("jackdaw.test.hooks.token", "geheim").start().await.unwrap();
        let status = async |headers: &str| call(&broker, "GET", "/hooks/faults", headers, "").await.0;
        for wrong in [
            "",
            "Authorization: Bearer geheimer\r\n",
            "Authorization: Basic geheim\r\n",
            "Authorization: Bearer \r\n",
        ] {
            assert_eq!(status(wrong).await, 401, "{wrong}");
        }
        assert_eq!(status("Authorization: Bearer geheim\r\n").await, 200);
        assert_eq!(status("Authorization: Bearer geheim\r\nOrigin: http://localhost:8080\r\n").await, 403);
    }

    #[tokio::test]
    async fn without_a_token_another_name_than_that_of_this_machine_is_refused() {
        let broker = builder().start().await.unwrap();
        let status = async |host: &str| call_as(&broker, host, "GET", "/hooks/faults", "", "").await.0;
        for own in ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "[::1]"] {
            assert_eq!(status(own).await, 200, "{own}");
        }
        for other in
            ["rebound.example:8080", "localhost.example", "127.0.0.1.example", "10.0.0.1", "[::2]", "", "a b"]
        {
            assert_eq!(status(other).await, 403, "{other}");
        }
        let guarded = builder().set("jackdaw.test.hooks.token", "geheim").start().await.unwrap();
        let token = "Authorization: Bearer geheim\r\n";
        assert_eq!(call_as(&guarded, "kafka:8080", "GET", "/hooks/faults", token, "").await.0, 200);
    }

    #[tokio::test]
    async fn actions_are_called_by_their_paths() {
        let broker = builder().topic("orders:1").set("jackdaw.brokers", "2").start().await.unwrap();
        let post = async |path: &str, body: &str| {
            let (status, answer) = call(&broker, "POST", &format!("/hooks/{path}"), "", body).await;
            (status, answer["error"].as_str().unwrap_or_default().to_owned())
        };
        let done = (200, String::new());
        for (path, body) in [
            ("move-leader", r#"{"topic": "orders", "partition": 0, "broker": 2}"#),
            ("stop-broker", r#"{"broker": 1}"#),
            ("start-broker", r#"{"broker": 1}"#),
            ("fill-disk", ""),
            ("free-disk", ""),
            ("turn-clock", r#"{"by_ms": 3600000}"#),
        ] {
            assert_eq!(post(path, body).await, done, "{path}");
        }
        for (path, body, status, why) in [
            ("rebalance", r#"{"group": "g"}"#, 409, "the group g does not exist"),
            ("expire-session", r#"{"group": "g", "member": "m"}"#, 409, "the group g does not exist"),
            ("fence-producer", r#"{"transactional_id": "t"}"#, 409, "there is no transactional id t"),
            ("abort-transaction", r#"{"transactional_id": "t"}"#, 409, "there is no transactional id t"),
            ("stop-broker", r#"{"broker": 7}"#, 409, "this process has no broker 7"),
            ("turn-clock", r#"{"by_ms": 1000000000000}"#, 400, "the clock can be turned by at most"),
            ("rebalance", r#"{"groups": "g"}"#, 400, "unknown field `groups`"),
        ] {
            let (answered, error) = post(path, body).await;
            assert_eq!(answered, status, "{path} {body}: {error}");
            assert!(error.starts_with(why), "{path} {body}: {error}");
        }
    }

    #[tokio::test]
    async fn without_the_setting_there_is_no_hook() {
        let broker =
            Broker::builder().ephemeral().set("jackdaw.http.listener", "127.0.0.1:0").start().await.unwrap();
        let close = "Connection: close\r\n";
        assert_eq!(call(&broker, "POST", "/hooks/faults", close, "{}").await.0, 404);
        assert!(broker.hooks().is_none());
    }
}
