//! Sends all requests of the vectors, and mutations of them, to a running broker. It must answer or close the
//! connection, its answers must be readable, nothing in it may panic, and another client is always served.

use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use jackdaw::api::{Row, TABLE};
use jackdaw::broker::Broker;
use jackdaw::protocol::messages::api_versions_request::ApiVersionsRequest;
use jackdaw::protocol::messages::api_versions_response::ApiVersionsResponse;
use jackdaw::protocol::{
    Message, Reader, Request, RequestHeader, Writer, read_response_header, request_header_version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::inspect::{Codec, Kind, all, decode};
use crate::source::Source;
use crate::vectors::{self, Vector};

const CALM: RequestHeader =
    RequestHeader { api_key: ApiVersionsRequest::KEY, api_version: 0, correlation_id: 2, client_id: None };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_under_hostile_requests_serves_the_others_and_answers_readably() {
    watch_panics();
    let mut answered = 0;
    let mut closed = 0;
    for row in TABLE {
        // A broker for each key, because the requests may create anything.
        let broker = Broker::builder().ephemeral().start().await.expect("a broker");
        let mut attackers = JoinSet::new();
        for body in bodies(row) {
            let address = broker.bootstrap().to_owned();
            attackers.spawn(async move { attack(&address, row, body).await });
        }
        for _ in 0..20 {
            calm(broker.bootstrap()).await;
        }
        // Requests that wait for something that never comes are answered now.
        broker.stop().await;
        while let Some(outcome) = attackers.join_next().await {
            match outcome.expect("an attacker that finds all as it should be") {
                Outcome::Answered => answered += 1,
                Outcome::Closed => closed += 1,
            }
        }
    }
    assert!(answered > 100 && closed > 100, "{answered} answered, {closed} closed");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "panics in the broker");
}

enum Outcome {
    Answered,
    Closed,
}

/// Some vectors of each version unchanged, and two mutations of each.
fn bodies(row: &Row) -> Vec<(i16, Bytes)> {
    const KINDS: [&str; 3] = ["full", "mixed", "default"];
    let wanted = |vector: &&Vector| {
        vector.key == Some(row.key)
            && vector.name.ends_with("Request")
            && (row.served_from..=row.max_version).contains(&vector.version)
            && KINDS.contains(&vector.kind.as_str())
    };
    let mut bodies = Vec::new();
    let mut source = Source::new(4);
    for vector in vectors::all().iter().filter(wanted) {
        bodies.push((vector.version, vector.known.clone()));
        for _ in 0..2 {
            let mut data = vector.bytes.to_vec();
            source.mutate(&mut data);
            bodies.push((vector.version, data.into()));
        }
    }
    bodies
}

/// Sends the body and then a harmless request, and reads until the broker closes the connection.
async fn attack(address: &str, row: &'static Row, (version, body): (i16, Bytes)) -> Outcome {
    let mut out = Writer::new();
    let header = RequestHeader { api_key: row.key, api_version: version, correlation_id: 1, client_id: None };
    header.write(&mut out).expect("a header");
    out.put(&body);
    let mut bytes = out.into_request().expect("a frame").to_vec();
    bytes.extend(calm_frame());

    let mut socket = TcpStream::connect(address).await.expect("a connection");
    // The broker may close it before all is sent.
    if socket.write_all(&bytes).await.is_err() || socket.shutdown().await.is_err() {
        return Outcome::Closed;
    }
    let codecs = all();
    let answer = |codec: &&Codec| codec.kind == Kind::Response && codec.key == Some(row.key);
    let codec = codecs.iter().find(answer).expect("every request has a response");
    let mut outcome = Outcome::Closed;
    while let Some(frame) = read_frame(&mut socket).await {
        let mut input = Reader::new(frame.clone());
        let correlation = i32::from_be_bytes(frame[..4].try_into().expect("4 bytes"));
        if correlation == 1 {
            read_response_header(&mut input, row.key, version).expect("a header");
            let body = frame.slice(frame.len() - input.remaining()..);
            let read = (codec.recode)(body.clone(), version);
            assert_eq!(read, Ok(body), "{} {version}", row.name);
            outcome = Outcome::Answered;
        } else {
            assert_eq!(correlation, CALM.correlation_id, "{} {version}", row.name);
        }
    }
    outcome
}

/// A client with valid requests gets its answer.
async fn calm(address: &str) {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(&calm_frame()).await.expect("the broker reads");
    let frame = read_frame(&mut socket).await.expect("an answer");
    let answer: ApiVersionsResponse = decode(frame.slice(4..), 0).expect("an answer that can be read");
    let served = TABLE.iter().filter(|row| row.only_if.is_none()).count();
    assert_eq!((answer.error_code, answer.api_keys.len()), (0, served));
}

fn calm_frame() -> Vec<u8> {
    assert_eq!(request_header_version(CALM.api_key, CALM.api_version), Some(1));
    let mut out = Writer::new();
    CALM.write(&mut out).expect("a header");
    ApiVersionsRequest::default().encode(&mut out, 0).expect("a request");
    out.into_request().expect("a frame").to_vec()
}

/// `None` at the end of the stream, however it ends.
async fn read_frame(socket: &mut TcpStream) -> Option<Bytes> {
    let length = socket.read_i32().await.ok()?;
    let mut frame = vec![0; usize::try_from(length).expect("a length")];
    socket.read_exact(&mut frame).await.ok()?;
    Some(frame.into())
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// The broker survives a panic of a handler, so panics are detected here.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.location().is_some_and(|location| location.file().starts_with("src/")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
}
