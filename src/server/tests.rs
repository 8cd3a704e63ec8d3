//! Tests of the server with handlers of their own, over pipes and sockets whose other end the test holds.
//! Time only passes when a test lets it.

mod keeping;
mod limits;
mod login;
mod mute;
mod order;
mod sockets;
mod strangers;
#[cfg(feature = "security")]
mod tls;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::connection::{Connection, End};
use super::socket::Socket;
use super::*;
use crate::api::connection::ConnectionInfo;
use crate::api::context::Services;
use crate::api::requests::Requests;
use crate::api::{Answer, BegunRequest, Call, Encoded, Failure, Later, Reply, Row, encode};
use crate::protocol::Message;
use crate::protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};
use crate::security::principal::Principal;
use crate::stop::Stop;

/// Overlapping like Produce, and refused below version 3.
const OVERLAPPING: i16 = 0;
const ORDINARY: i16 = 3;
const API_VERSIONS: i16 = 18;
/// Its responses may be large, like those of Fetch.
const BULKY: i16 = 1;
/// Not in the table.
const UNKNOWN: i16 = 200;

static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| {
    vec![
        Row::for_test(OVERLAPPING, 0, 8, scripted).served_from(3).overlapping(),
        Row::for_test(BULKY, 0, 5, scripted).large_answers(),
        Row::for_test(ORDINARY, 0, 5, scripted),
        Row::for_test(API_VERSIONS, 0, 3, scripted).before_login(),
    ]
});

/// A handler that does what the request says (see [`ask`]).
fn scripted(mut call: Call) -> BegunRequest<Later<Reply<Answer>>> {
    let reply: Later<Reply<Answer>> = Box::pin(async move {
        let asked = SaslHandshakeRequest::decode(&mut call.body, 1);
        let asked = asked.and_then(|asked| {
            if asked.mechanism.starts_with("heavy") {
                // The rest of the frame only adds size.
                Ok(asked)
            } else {
                call.body.finish().map(|()| asked)
            }
        });
        let asked = match asked {
            Ok(asked) => asked.mechanism,
            Err(error) => return Reply::Now(Err(Failure::Malformed(error))),
        };
        let (what, gate) = asked.split_once(' ').expect("a word, a space, a gate");
        let gate = Gate::find(gate.parse().expect("the number of a gate"));
        gate.0.begun.fetch_add(1, Ordering::SeqCst);
        let answer = SaslHandshakeResponse { mechanisms: vec![asked.clone()], ..Default::default() };
        let answer = encode(&answer, ORDINARY, 0, call.correlation_id, &Requests::new());
        match what {
            "now" => Reply::Now(answer),
            "later" | "heavy" => Reply::Later(Box::pin(async move {
                gate.passed().await;
                answer
            })),
            "later-throttled" => Reply::LaterAndHeld {
                mute: MUTE,
                answer: Box::pin(async move {
                    gate.passed().await;
                    answer
                }),
            },
            "at-will" => {
                call.context.note_dropped_request();
                gate.passed().await;
                Reply::Now(answer)
            }
            "later-at-will" => {
                call.context.note_dropped_request();
                Reply::Later(Box::pin(async move {
                    gate.passed().await;
                    answer
                }))
            }
            "slowly" => {
                gate.passed().await;
                Reply::Now(answer)
            }
            "silent" | "silent-throttled" => Reply::Silence {
                mute: if what == "silent" { Duration::ZERO } else { MUTE },
                work: Box::pin(async move {
                    gate.passed().await;
                    Ok(())
                }),
            },
            "throttled" => Reply::Now(answer.map(|answer| Encoded { mute: MUTE, ..answer })),
            "silent-failure" => {
                Reply::Silence { mute: Duration::ZERO, work: Box::pin(async { Err("it failed") }) }
            }
            "log-in" => {
                gate.passed().await;
                let logged_in = call.context.connection.session.log_in(Principal::user("alice"), None);
                logged_in.expect("the same principal each time");
                Reply::Now(answer)
            }
            "session-ends" => {
                gate.passed().await;
                let session = &call.context.connection.session;
                let same = session.principal().expect("it is logged in").clone();
                session.log_in(same, Some(Duration::ZERO)).expect("the same principal");
                Reply::Now(answer)
            }
            "who" => {
                let principal = call.context.connection.session.principal().expect("it is known");
                let frame = [&[0; 4], principal.to_string().as_bytes()].concat();
                let frame =
                    [&u32::try_from(frame.len()).expect("it is short").to_be_bytes()[..], &frame].concat();
                Reply::Now(Ok(Encoded { frame: vec![Bytes::from(frame).into()], mute: Duration::ZERO }))
            }
            "keep" => {
                call.context.connection.keep(GateWaiter::at(&gate));
                Reply::Now(answer)
            }
            "close" => Reply::Close("it was asked to"),
            "panic" => panic!("a handler panics in a test"),
            "large" => {
                let frame = vec![Bytes::from(vec![0; LARGE_ANSWER]).into()];
                Reply::Now(Ok(Encoded { frame, mute: Duration::ZERO }))
            }
            other => unreachable!("no script: {other}"),
        }
    });
    BegunRequest { decoded: 0, reply }
}

const LARGE_ANSWER: usize = 300 << 10;
/// The time for which a throttled client is held back.
const MUTE: Duration = Duration::from_secs(5);

/// A gate that handlers wait for; it counts the handlers that have begun.
#[derive(Clone)]
struct Gate(Arc<GateState>);

struct GateState {
    id: u64,
    begun: AtomicUsize,
    waiting: AtomicUsize,
    open: Semaphore,
}

static GATES: Mutex<BTreeMap<u64, Gate>> = Mutex::new(BTreeMap::new());

impl Gate {
    fn new() -> Gate {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::SeqCst);
        let gate = Gate(Arc::new(GateState {
            id,
            begun: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            open: Semaphore::new(0),
        }));
        GATES.lock().unwrap().insert(id, gate.clone());
        gate
    }

    fn find(id: u64) -> Gate {
        GATES.lock().unwrap()[&id].clone()
    }

    fn open(&self) {
        self.0.open.add_permits(1000);
    }

    async fn passed(&self) {
        let _here = Here::new(self);
        self.0.open.acquire().await.unwrap().forget();
    }

    /// The number of handlers that are waiting at the gate.
    fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::SeqCst)
    }

    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::SeqCst)
    }
}

/// Counts a handler that waits at a gate, until it stops waiting.
struct Here<'a>(&'a Gate);

impl Here<'_> {
    fn new(gate: &Gate) -> Here<'_> {
        gate.0.waiting.fetch_add(1, Ordering::SeqCst);
        Here(gate)
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Something that ends with a connection; it counts as waiting at a gate.
struct GateWaiter(Gate);

impl GateWaiter {
    fn at(gate: &Gate) -> GateWaiter {
        gate.0.waiting.fetch_add(1, Ordering::SeqCst);
        GateWaiter(gate.clone())
    }
}

impl Drop for GateWaiter {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A request for [`scripted`].
fn ask(key: i16, correlation: i32, what: &str, gate: &Gate) -> Vec<u8> {
    let version = if key == OVERLAPPING { 3 } else { 0 };
    frame(key, version, correlation, &script(what, gate))
}

fn script(what: &str, gate: &Gate) -> Vec<u8> {
    let script = format!("{what} {}", gate.0.id);
    let mut body = u16::try_from(script.len()).unwrap().to_be_bytes().to_vec();
    body.extend(script.as_bytes());
    body
}

/// A frame whose header has no client id.
fn frame(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = i32::try_from(10 + body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(correlation.to_be_bytes());
    frame.extend((-1i16).to_be_bytes());
    frame.extend(body);
    frame
}

/// A server without sockets. It stops when the stage and its clients are dropped.
struct Stage {
    shared: Arc<Shared>,
    stop: Arc<Stop>,
}

/// The client's end of a connection, and the task that serves it.
struct Client {
    stream: DuplexStream,
    served: JoinHandle<End>,
    _stop: Arc<Stop>,
}

impl Stage {
    fn new() -> Stage {
        Stage::with(|_| {})
    }

    /// A server with limits that the test has changed.
    fn with(change: impl FnOnce(&mut Shared)) -> Stage {
        let (stop, stopping) = Stop::new();
        let settings = BrokerSettings::default();
        let services = Arc::new(Services::in_memory(stopping.clone()));
        let live = Arc::clone(&services);
        let resources = Resources::of(&settings, move || live.settings());
        let mut shared = Shared::new(&resources, &settings, Api::with_table(&TABLE, services), stopping);
        change(&mut shared);
        Stage { shared: Arc::new(shared), stop: Arc::new(stop) }
    }

    fn connect(&self) -> Client {
        self.connect_through(1 << 20)
    }

    /// A connection whose client has to log in.
    fn connect_before_login(&self) -> Client {
        self.connect_as(1 << 20, ConnectionInfo::before_login)
    }

    /// A connection whose socket buffers this many unread bytes.
    fn connect_through(&self, socket_buffer: usize) -> Client {
        self.connect_as(socket_buffer, |info| info)
    }

    fn connect_as(&self, socket_buffer: usize, change: fn(ConnectionInfo) -> ConnectionInfo) -> Client {
        let (stream, theirs) = duplex(socket_buffer);
        self.serve(theirs, stream, change)
    }

    /// Serves a connection over this socket, whose other end the client has.
    fn serve<S: Socket + Send + 'static>(
        &self,
        theirs: S,
        stream: DuplexStream,
        change: fn(ConnectionInfo) -> ConnectionInfo,
    ) -> Client {
        let id = self.shared.connections.fetch_add(1, Ordering::SeqCst);
        let (peer, local) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:9092".parse().unwrap());
        let listener = Arc::new(BrokerSettings::default().listeners[0].clone());
        let info = change(ConnectionInfo::new(id, peer, local, listener));
        let connection = Connection::new(theirs, info, Arc::clone(&self.shared));
        Client { stream, served: tokio::spawn(connection.run()), _stop: Arc::clone(&self.stop) }
    }
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next response: its correlation id and the word of the request.
    async fn answer(&mut self) -> (i32, String) {
        let frame = self.raw_answer().await;
        let (correlation, body) = frame.split_first_chunk::<4>().unwrap();
        let mut body = crate::protocol::Reader::new(Bytes::copy_from_slice(body));
        let answer = SaslHandshakeResponse::decode(&mut body, 1).unwrap();
        let word = answer.mechanisms[0].split_once(' ').unwrap().0.to_owned();
        (i32::from_be_bytes(*correlation), word)
    }

    /// The next frame without its length.
    async fn raw_answer(&mut self) -> Vec<u8> {
        let length = self.stream.read_u32().await.unwrap();
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut frame).await.unwrap();
        frame
    }

    /// The correlation ids of the next responses.
    async fn correlations<const N: usize>(&mut self) -> [i32; N] {
        let mut ids = [0; N];
        for id in &mut ids {
            *id = self.answer().await.0;
        }
        ids
    }

    /// The remaining bytes up to the end of the stream, and the reason for the end.
    async fn rest(mut self) -> (Vec<u8>, End) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        drop(self.stream);
        (rest, self.served.await.unwrap())
    }

    /// The reason why the server ended the connection. No more bytes may arrive.
    async fn end(self) -> End {
        let (rest, end) = self.rest().await;
        assert_eq!(rest, b"", "no bytes before the end ({end:?})");
        end
    }
}

/// The answer to an unknown version of ApiVersions.
fn unknown_api_versions(correlation_id: i32) -> Vec<u8> {
    let parts = [
        &correlation_id.to_be_bytes()[..], // the header is version 0
        &35i16.to_be_bytes(),              // UNSUPPORTED_VERSION
        &1i32.to_be_bytes(),               // one key: this one, and its versions
        &[0, 18, 0, 0, 0, 3],
    ];
    parts.concat()
}

/// Lets all tasks run without time passing.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Lets time pass.
async fn pass(how_long: Duration) {
    time::sleep(how_long).await;
    settle().await;
}
