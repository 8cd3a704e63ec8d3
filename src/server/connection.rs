//! One connection: reads requests, starts them, and writes the answers in order.
//!
//! A connection serves **one request at a time**, as Kafka does, and clients rely on it: a request sees
//! the effect of all earlier ones of its connection (rule W19). The exception is Produce. Consecutive
//! Produce requests overlap: each is queued before the next one is decoded, so that they share a sync. Behind a
//! request whose client is held back by a quota none is read until the wait is over.
//! Responses are sent in the order of the requests (W12). Outstanding responses are written before a
//! connection is closed.
//!
//! It is one hand-written future instead of several tasks. All complete requests of a read are started
//! before it waits, and all responses that are ready are sent with one write.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{debug, error, warn};

use super::Shared;
use super::input::{Expected, FrameError, Input, LARGE, NextFrame, RawFrame, Stranger};
use super::output::Output;
use super::socket::{BufferedBytes, Socket};
use crate::api::connection::ConnectionInfo;
use crate::api::session::Phase;
use crate::api::{Answer, BegunRequest, Encoded, Failure, FoundRow, Frame, Guarded, Later, Reply, Row};
use crate::budget::{AwaitedMemory, Charge, ConnectionId};
use crate::protocol::{Reader, RequestHeader, WireError};
use crate::time::{self, Moment, Timer};
use crate::types::Piece;

/// The maximum number of requests of one connection that wait for their responses.
const IN_FLIGHT: usize = 100;
/// The maximum size of these requests, from the second large one on. More would not make a sync cheaper.
const IN_FLIGHT_BYTES: usize = 12 << 20;
/// A socket may keep this many bytes for each direction without a charge.
const KEPT_LEAST: usize = 2 << 10;
/// If a client has not read this much, no more of its requests are served.
const UNREAD: usize = 256 << 10;
/// A connection that is quiet for this long releases its large read buffer.
const REST: Duration = Duration::from_secs(5);
/// The interval at which a connection that waits for memory checks whether another one has to be closed.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The limits for reading on from a connection that is being closed, so that its last responses arrive.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_READS: usize = 64;

const HTTP_ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
    This port speaks the Kafka protocol, not HTTP.\n";

pub(super) struct Connection<S> {
    socket: S,
    id: ConnectionId,
    info: Arc<ConnectionInfo>,
    shared: Arc<Shared>,
    input: Input,
    /// Decoded but not begun: requests in flight have to be answered first.
    next: Option<Request>,
    /// The newest request is a long poll, or waits for other members of its group.
    is_long_poll: bool,
    /// The memory of `next` while it is behind such a request.
    behind: Option<AwaitedMemory>,
    /// The newest request, until the ordered part of its work is done.
    beginning: Option<StartedRequest>,
    /// Responses that are not in the output yet, in order.
    owed: VecDeque<OwedAnswer>,
    /// Requests without a response. They have no place among the responses (rule W11), but their bytes
    /// stay charged, and a failure closes the connection.
    silent: Vec<SilentRequest>,
    /// The key of the newest request.
    last_begun: Option<i16>,
    output: Output,
    /// Until then no request is read or begun, because the client used more than its quota.
    muted_until: Option<Moment>,
    /// The work done since other connections had their turn.
    turn: TurnWork,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    end: Option<End>,
    input_ended: bool,
    /// No request can be begun before more bytes arrive.
    wants_bytes: bool,
    /// No request can be begun before memory is released.
    wants_room: bool,
    /// The socket has not accepted, or not sent, all of the output.
    peer_is_slow: bool,
    /// The bytes that the socket keeps until the peer moves, beyond those that every connection may have.
    kept: Option<KeptBytes>,
    /// Responses that the peer has not read.
    unread: AwaitedMemory,
    timer: Timer,
    /// The time when a request was last begun or answered.
    active: Moment,
    /// Set while the rest of a frame is awaited.
    pace: Option<Pace>,
    /// While the peer is slow: the time since which it has read too little, and the bytes that the socket has accepted
    /// since then.
    stalled: Moment,
    written: u64,
}

/// The work for a connection in one turn.
#[derive(Default)]
struct TurnWork {
    requests: usize,
    answered_bytes: usize,
}

/// A request that has not been begun.
enum Request {
    Serve { row: &'static Row, header: RequestHeader, body: Reader, charge: Charge },
    UnknownApiVersions { correlation_id: i32 },
}

struct StartedRequest {
    pending: PendingRequest,
    reply: Guarded<Reply<Answer>>,
    charge: Charge,
}

enum OwedAnswer {
    Waiting { pending: PendingRequest, answer: Later<Answer>, charge: Charge },
    Ready { answer: Encoded, charge: Charge },
}

struct SilentRequest {
    pending: PendingRequest,
    work: Later<Result<(), &'static str>>,
    charge: Charge,
}

/// The kind of a request, and the time when it was begun.
#[derive(Clone, Copy)]
struct PendingRequest {
    row: &'static Row,
    begun: Moment,
}

/// The start time of a measurement of an incoming frame's rate, and the bytes received by then.
struct Pace {
    since: Moment,
    arrived: u64,
}

/// Bytes in a socket that were charged.
struct KeptBytes {
    kept: BufferedBytes,
    incoming: Charge,
    outgoing: Charge,
    /// The rest of the incoming bytes is awaited.
    awaited: AwaitedMemory,
}

/// The reasons why a connection ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Broken(io::ErrorKind),
    Stopping,
    Idle,
    TooSlow,
    NotReading,
    MadeRoom,
    Refused(FrameError),
    NotServed { key: i16, version: i16 },
    NeedsLogin { key: i16, version: i16 },
    LoginFailed,
    Malformed { name: &'static str, version: i16, error: WireError },
    ClosedByHandler { name: &'static str, why: &'static str },
    Failed { name: &'static str, failure: Failure },
}

impl<S: Socket> Connection<S> {
    pub(super) fn new(socket: S, info: ConnectionInfo, shared: Arc<Shared>) -> Connection<S> {
        let id = info.id;
        let now = Moment::now();
        let stopping = shared.stopping.clone();
        Connection {
            socket,
            id,
            info: Arc::new(info),
            input: Input::new(id, Arc::clone(&shared.requests), shared.limits.max_request),
            next: None,
            behind: None,
            is_long_poll: false,
            beginning: None,
            owed: VecDeque::new(),
            silent: Vec::new(),
            last_begun: None,
            output: Output::new(Arc::clone(&shared.answers)),
            muted_until: None,
            turn: TurnWork::default(),
            stopping: Box::pin(async move { stopping.begun().await }),
            end: None,
            input_ended: false,
            wants_bytes: false,
            wants_room: false,
            peer_is_slow: false,
            kept: None,
            unread: shared.answers.awaited(id),
            timer: Timer::at(now.after(shared.limits.idle)),
            active: now,
            pace: None,
            stalled: now,
            written: 0,
            shared,
        }
    }

    /// Serves the connection until it ends.
    pub(super) async fn run(mut self) -> End {
        let end = std::future::poll_fn(|context| self.poll(context)).await;
        if end.is_ordinary() {
            debug!(peer = %self.info.peer, ?end, "connection ended");
        } else {
            complain(&end, &self.info);
        }
        self.say_goodbye(&end).await;
        end
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if self.stopping.as_mut().poll(context).is_ready() {
            self.stopping = Box::pin(std::future::pending());
            self.end.get_or_insert(End::Stopping);
        }
        self.turn = TurnWork::default();
        loop {
            let mut moved = self.poll_answers(context);
            moved |= self.begin_requests(context);
            match self.poll_write(context) {
                Ok(wrote) => moved |= wrote,
                Err(error) => return Poll::Ready(End::Broken(error.kind())),
            }
            if let Some(end) = self.take_end() {
                return Poll::Ready(end);
            }
            match self.poll_read(context) {
                Ok(read) => moved |= read,
                Err(error) => return Poll::Ready(End::Broken(error.kind())),
            }
            if self.turn_is_over() {
                // Other connections get their turn.
                context.waker().wake_by_ref();
                break;
            }
            if !moved {
                break;
            }
        }
        self.poll_limits(context)
    }

    /// The reason for the end, once all outstanding responses are written.
    fn take_end(&mut self) -> Option<End> {
        if self.beginning.is_some() || !self.owed.is_empty() || !self.output.is_empty() || self.peer_is_slow {
            return None;
        }
        if self.input_ended && self.next.is_none() && self.wants_bytes {
            self.end.get_or_insert(End::Closed);
        }
        self.end.take()
    }

    /// Moves responses on: from begun to owed, and from owed to the output.
    fn poll_answers(&mut self, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        if let Some(beginning) = &mut self.beginning {
            let reply = Pin::new(&mut beginning.reply).poll(context);
            self.is_long_poll |= release_dropped(&self.info, &mut beginning.charge);
            if let Poll::Ready(reply) = reply
                && let Some(StartedRequest { pending, charge, .. }) = self.beginning.take()
            {
                self.owe(pending, reply, charge);
                moved = true;
            }
        }
        for at in 0..self.owed.len() {
            let Some(OwedAnswer::Waiting { pending, answer, .. }) = self.owed.get_mut(at) else { continue };
            let pending = *pending;
            let Poll::Ready(answer) = answer.as_mut().poll(context) else { continue };
            moved = true;
            match answer {
                Ok(answer) => {
                    self.shared.answered(pending);
                    let charge = self.charge(&answer.frame);
                    self.owed[at] = OwedAnswer::Ready { answer, charge };
                }
                Err(failure) => {
                    // Later responses cannot be sent without this one.
                    self.owed.truncate(at);
                    self.fail(pending.row, failure);
                    break;
                }
            }
        }
        let (end, shared) = (&mut self.end, &self.shared);
        self.silent.retain_mut(|silent| match silent.work.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(done) => {
                moved = true;
                shared.answered(silent.pending);
                if let Err(why) = done {
                    end.get_or_insert(End::ClosedByHandler { name: silent.pending.row.name, why });
                }
                false
            }
        });
        while let Some(OwedAnswer::Ready { .. }) = self.owed.front()
            && let Some(OwedAnswer::Ready { answer, charge }) = self.owed.pop_front()
        {
            self.put_out(answer, charge);
            self.active = Moment::now();
        }
        moved
    }

    /// Handles a handler's reply, after the ordered part of its work.
    fn owe(&mut self, pending: PendingRequest, reply: Option<Reply<Answer>>, charge: Charge) {
        match reply.unwrap_or(Reply::Now(Err(Failure::Panicked))) {
            Reply::Silence { mute, work } => {
                self.mute(mute);
                self.silent.push(SilentRequest { pending, work, charge });
            }
            Reply::Now(Ok(answer)) => {
                self.shared.answered(pending);
                self.owe_encoded(answer);
            }
            Reply::Now(Err(failure)) => self.fail(pending.row, failure),
            Reply::Later(answer) => self.owed.push_back(OwedAnswer::Waiting { pending, answer, charge }),
            Reply::LaterAndHeld { mute, answer } => {
                self.mute(mute);
                self.owed.push_back(OwedAnswer::Waiting { pending, answer, charge });
            }
            Reply::Last(answer) => {
                self.owed.push_back(OwedAnswer::Waiting { pending, answer, charge });
                self.end = Some(End::LoginFailed);
            }
            Reply::LastThenCut(answer, why) => {
                self.owed.push_back(OwedAnswer::Waiting { pending, answer, charge });
                self.end = Some(End::ClosedByHandler { name: pending.row.name, why });
            }
            Reply::Close(why) => self.end = Some(End::ClosedByHandler { name: pending.row.name, why }),
        }
    }

    /// Sends a response that is ready, unless earlier ones are still outstanding.
    fn owe_encoded(&mut self, answer: Encoded) {
        let charge = self.charge(&answer.frame);
        if self.owed.is_empty() {
            self.put_out(answer, charge);
        } else {
            self.owed.push_back(OwedAnswer::Ready { answer, charge });
        }
    }

    fn put_out(&mut self, Encoded { frame, mute }: Encoded, charge: Charge) {
        self.mute(mute);
        let bytes = frame.iter().map(Piece::len).fold(0, usize::saturating_add);
        self.turn.answered_bytes = self.turn.answered_bytes.saturating_add(bytes);
        self.output.push(frame, charge);
    }

    /// Holds the client back. As in Kafka, the response that tells it is sent at once.
    fn mute(&mut self, time: Duration) {
        if time.is_zero() {
            return;
        }
        let now = Moment::now();
        let (before, until) = (self.muted_until.unwrap_or(now).max(now), now.after(time));
        if until > before {
            // Longer than this, no connection is held back: see `Connection::is_busy`.
            let held = until.since(before).min(self.shared.limits.idle);
            self.shared.api.hold_members(&self.info, held);
            self.muted_until = Some(until);
        }
    }

    /// Whether the client is held back now.
    fn is_muted(&mut self) -> bool {
        self.muted_until.take_if(|until| *until <= Moment::now());
        self.muted_until.is_some()
    }

    fn charge(&self, frame: &Frame) -> Charge {
        self.shared.answers.charge_at_once(frame.iter().map(Piece::memory).sum())
    }

    fn fail(&mut self, row: &'static Row, failure: Failure) {
        self.beginning = None;
        self.next = None;
        self.end = Some(End::Failed { name: row.name, failure });
    }

    fn turn_is_over(&self) -> bool {
        let limits = &self.shared.limits;
        self.turn.requests >= limits.turn_requests || self.turn.answered_bytes >= limits.turn_bytes
    }

    /// Begins all requests whose turn it is.
    fn begin_requests(&mut self, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        self.wants_bytes = false;
        self.wants_room = false;
        // A request that was read before the client was held back is served: it would hold its memory for as long.
        while self.end.is_none() && !self.turn_is_over() && (self.next.is_some() || !self.is_muted()) {
            let has_waited = self.next.is_some();
            // The next request is read even if none may be begun, because this is how the end of the
            // stream is noticed.
            if self.next.is_none() {
                if !self.may_read_ahead() {
                    break;
                }
                match self.read_request(context) {
                    Ok(read) => self.next = read,
                    Err(end) => {
                        self.end = Some(end);
                        return true;
                    }
                }
            }
            let Some(next) = self.next.take() else { break };
            if !self.may_begin(&next, context) {
                self.await_turn_of(&next, context);
                self.next = Some(next);
                break;
            }
            self.has_its_turn();
            if has_waited && let Some(end) = self.is_too_late(&next) {
                self.end = Some(end);
                return true;
            }
            self.begin(next, context);
            self.turn.requests += 1;
            moved = true;
        }
        moved
    }

    /// The request behind a login is judged when the login is done.
    fn may_read_ahead(&self) -> bool {
        let is_free = self.beginning.is_none() && self.owed.is_empty();
        is_free || self.shared.api.is_logged_in(&self.info.session)
    }

    /// A request that waited behind others is not served if the session has ended meanwhile.
    fn is_too_late(&self, next: &Request) -> Option<End> {
        let Request::Serve { row, header, .. } = next else { return None };
        let is_served = row.before_login || self.shared.api.is_logged_in(&self.info.session);
        (!is_served).then_some(End::NeedsLogin { key: row.key, version: header.api_version })
    }

    fn may_begin(&mut self, next: &Request, context: &mut Context<'_>) -> bool {
        let is_free = self.beginning.is_none()
            && self.owed.len() + self.silent.len() < IN_FLIGHT
            && self.output.unwritten() < UNREAD;
        if !is_free || !self.is_turn_of(next) || self.holds_too_much_for(next) {
            return false;
        }
        let is_large = matches!(next, Request::Serve { row, .. } if row.large_answers);
        self.wants_room = !self.shared.answers.has_room(self.id, is_large, context.waker());
        !self.wants_room
    }

    /// A request behind a long poll holds its memory for as long as the client wishes, and so do the bytes that were read
    /// with it. Until it begins, the connection may have to make room for others.
    fn await_turn_of(&mut self, next: &Request, context: &mut Context<'_>) {
        let Request::Serve { charge, .. } = next else { return };
        let waits = self.beginning.is_some() || !self.owed.is_empty();
        if waits && self.is_long_poll && !self.wants_room {
            let behind = self.behind.get_or_insert_with(|| charge.awaited(self.id));
            behind.moved(0, charge.bytes(), context.waker());
            self.input.wait_behind(context);
        } else {
            self.has_its_turn();
        }
    }

    /// The next request waits for its client no longer.
    fn has_its_turn(&mut self) {
        if self.behind.take().is_some() {
            self.input.end_wait();
        }
    }

    /// Only large requests are counted: small ones are limited by their number.
    fn holds_too_much_for(&self, next: &Request) -> bool {
        let Request::Serve { charge, .. } = next else { return false };
        if charge.bytes() < LARGE {
            return false;
        }
        let owed = self.owed.iter().map(|owed| match owed {
            OwedAnswer::Waiting { charge, .. } | OwedAnswer::Ready { charge, .. } => charge.bytes(),
        });
        let silent = self.silent.iter().map(|silent| silent.charge.bytes());
        let held: usize = owed.chain(silent).sum();
        held > 0 && held + charge.bytes() > IN_FLIGHT_BYTES
    }

    /// One request at a time; only overlapping requests of the same key do not wait for each other.
    fn is_turn_of(&self, next: &Request) -> bool {
        let Some(last) = self.last_begun.filter(|_| !self.owed.is_empty()) else { return true };
        match next {
            Request::Serve { row, .. } => row.overlapping && row.key == last,
            Request::UnknownApiVersions { .. } => false,
        }
    }

    fn begin(&mut self, request: Request, context: &mut Context<'_>) {
        self.active = Moment::now();
        match request {
            Request::Serve { row, header, body, mut charge } => {
                self.last_begun = Some(row.key);
                self.shared.api.requests().begun(row.key, header.api_version);
                let pending = PendingRequest { row, begun: self.active };
                let frame = body.remaining();
                let BegunRequest { decoded, mut reply } =
                    self.shared.api.serve(row, Arc::clone(&self.info), header, body);
                charge.at_least(frame.saturating_add(decoded));
                let begun = Pin::new(&mut reply).poll(context);
                self.is_long_poll = release_dropped(&self.info, &mut charge);
                match begun {
                    Poll::Ready(reply) => self.owe(pending, reply, charge),
                    Poll::Pending => self.beginning = Some(StartedRequest { pending, reply, charge }),
                }
            }
            Request::UnknownApiVersions { correlation_id } => {
                match self.shared.api.answer_unknown_api_versions(correlation_id) {
                    Ok(answer) => self.owe_encoded(answer),
                    Err(failure) => self.end = Some(End::Failed { name: "ApiVersions", failure }),
                }
            }
        }
    }

    /// The next request that has arrived. Its key and version are served; its body is not decoded yet.
    fn read_request(&mut self, context: &mut Context<'_>) -> Result<Option<Request>, End> {
        let expected = self.expected();
        let RawFrame { bytes, charge } = match self.input.next(expected, context) {
            Ok(NextFrame::Frame(frame)) => frame,
            Ok(NextFrame::NeedsBytes) => {
                self.wants_bytes = true;
                return Ok(None);
            }
            Ok(NextFrame::NeedsRoom) => {
                self.wants_room = true;
                return Ok(None);
            }
            Err(refused) => {
                if refused == FrameError::Stranger(Stranger::Http) {
                    self.output.push(
                        vec![Bytes::from_static(HTTP_ANSWER).into()],
                        self.shared.answers.charge_at_once(0),
                    );
                }
                return Err(End::Refused(refused));
            }
        };
        let mut body = Reader::new(bytes);
        if let (Expected::Token { .. }, Some(row)) = (expected, self.shared.api.row_of_tokens()) {
            return Ok(Some(Request::Serve { row, header: RequestHeader::default(), body, charge }));
        }
        let header = RequestHeader::read(&mut body).map_err(|error| End::Malformed {
            name: "request header",
            version: 0,
            error,
        })?;
        let (key, version) = (header.api_key, header.api_version);
        match self.shared.api.find(key, version, &self.info.session) {
            FoundRow::Row(row) => Ok(Some(Request::Serve { row, header, body, charge })),
            FoundRow::UnknownApiVersions => {
                Ok(Some(Request::UnknownApiVersions { correlation_id: header.correlation_id }))
            }
            FoundRow::Nothing => {
                self.shared.unserved.warn(&header, &self.info, &self.shared.api);
                Err(End::NotServed { key, version })
            }
            FoundRow::NeedsLogin => Err(End::NeedsLogin { key, version }),
        }
    }

    /// The kind of frame that comes next.
    fn expected(&self) -> Expected {
        let session = &self.info.session;
        if session.principal().is_some() {
            return Expected::Request;
        }
        let most = self.shared.api.settings().login_max_bytes_of(&self.info.listener.name);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        match session.phase() {
            Phase::SendsTokens => Expected::Token { most },
            Phase::Begins | Phase::KnowsVersions | Phase::Authenticates | Phase::LoggedIn => {
                Expected::RequestBeforeLogin { most }
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while !self.output.is_empty() {
            match self.output.poll_write(&mut self.socket, context) {
                Poll::Ready(written) => {
                    let written = written?;
                    // The peer has not read what the socket keeps: see `charge_kept`.
                    if self.peer_is_slow && !S::KEEPS {
                        self.peer_reads(written, context);
                    }
                    moved = true;
                }
                // The output waits for the disk, so the peer is not slow.
                Poll::Pending if self.output.is_reading() => break,
                Poll::Pending => {
                    self.peer_stalls(context);
                    return Ok(moved);
                }
            }
        }
        if !S::KEEPS {
            self.peer_caught_up();
            return Ok(moved);
        }
        match Pin::new(&mut self.socket).poll_flush(context) {
            Poll::Ready(flushed) => {
                flushed?;
                self.peer_caught_up();
            }
            Poll::Pending => self.peer_stalls(context),
        }
        Ok(moved)
    }

    fn peer_stalls(&mut self, context: &mut Context<'_>) {
        if !self.peer_is_slow {
            self.peer_is_slow = true;
            (self.stalled, self.written) = (Moment::now(), 0);
            self.peer_reads(0, context);
        }
        self.charge_kept(context);
    }

    /// A slow peer gets more time once it has read enough. Single bytes do not prolong the time.
    fn peer_reads(&mut self, bytes: usize, context: &mut Context<'_>) {
        let memory = self.output.memory() + self.socket.kept().outgoing;
        self.unread.moved(bytes, memory, context.waker());
        self.written = self.written.saturating_add(bytes as u64);
        if self.written >= self.shared.limits.pace_bytes {
            (self.stalled, self.written) = (Moment::now(), 0);
        }
    }

    fn peer_caught_up(&mut self) {
        if self.peer_is_slow {
            self.peer_is_slow = false;
            self.unread.settle();
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        if !self.wants_bytes || self.input_ended || self.end.is_some() {
            return Ok(false);
        }
        match self.input.poll_read(&mut self.socket, context) {
            Poll::Ready(Ok(0)) => self.input_ended = true,
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {
                self.wants_room |= self.input.is_starved();
                self.charge_kept(context);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Charges the bytes that the socket keeps until the peer moves. Small ones are part of every connection.
    fn charge_kept(&mut self, context: &mut Context<'_>) {
        if !S::KEEPS {
            return;
        }
        let kept = self.socket.kept();
        if kept.incoming.max(kept.outgoing) < KEPT_LEAST {
            self.kept = None;
            return;
        }
        let held = self.kept.get_or_insert_with(|| {
            let (requests, answers) = (&self.shared.requests.small, &self.shared.answers);
            KeptBytes {
                kept: BufferedBytes { sent: kept.sent, ..BufferedBytes::default() },
                incoming: requests.charge_at_once(0),
                outgoing: answers.charge_at_once(0),
                awaited: requests.awaited(self.id),
            }
        });
        let before = std::mem::replace(&mut held.kept, kept);
        if before == kept {
            return;
        }
        held.incoming.set(kept.incoming);
        held.outgoing.set(kept.outgoing);
        if kept.incoming >= KEPT_LEAST {
            let moved = before.incoming.abs_diff(kept.incoming);
            held.awaited.moved(moved, kept.incoming, context.waker());
        } else {
            held.awaited.settle();
        }
        if self.peer_is_slow && kept.sent > before.sent {
            self.peer_reads(usize::try_from(kept.sent - before.sent).unwrap_or(usize::MAX), context);
        }
    }

    /// Whether a request has begun to arrive that cannot be read yet.
    fn is_amid_input(&self) -> bool {
        self.input.is_amid_frame() || self.socket.kept().incoming > 0
    }

    /// Ends the connection if the client is too slow, or if memory has to be freed.
    fn poll_limits(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let kept_is_shed = self.kept.as_ref().is_some_and(|kept| kept.awaited.is_shed());
        let behind_is_shed = self.behind.as_ref().is_some_and(AwaitedMemory::is_shed);
        if self.unread.is_shed() || self.input.is_shed() || kept_is_shed || behind_is_shed {
            return Poll::Ready(End::MadeRoom);
        }
        let waits_for_frame = self.wants_bytes && !self.wants_room && self.is_amid_input();
        match &self.pace {
            Some(_) if !waits_for_frame => self.pace = None,
            None if waits_for_frame => {
                self.pace = Some(Pace { since: Moment::now(), arrived: self.input.arrived });
            }
            Some(_) | None => {}
        }
        loop {
            let due = self.due();
            if due < self.timer.when() {
                self.timer.set(due);
            }
            if self.timer.poll(context).is_pending() {
                return Poll::Pending;
            }
            if let Some(end) = self.overdue() {
                return Poll::Ready(end);
            }
            if self.active.elapsed() >= REST {
                self.input.rest();
            }
            let was_muted = self.muted_until.is_some();
            if self.wants_room || was_muted && !self.is_muted() {
                // Try again, because peers that hold memory may have to be closed.
                context.waker().wake_by_ref();
            }
            self.timer.set(self.due());
        }
    }

    /// The time of the next call of [`Connection::overdue`].
    fn due(&self) -> Moment {
        let limits = &self.shared.limits;
        let mut due = self.active.after(limits.idle);
        if self.is_busy() {
            due = due.max(Moment::now().after(limits.idle));
        }
        if let Some(pace) = &self.pace {
            due = due.min(pace.since.after(limits.pace_window));
        }
        if self.peer_is_slow {
            due = due.min(self.stalled.after(limits.write_stall));
        }
        if self.wants_room {
            due = due.min(Moment::now().after(ASK_AGAIN));
        }
        if let Some(until) = self.muted_until {
            due = due.min(until);
        }
        if self.input.can_rest() {
            due = due.min(Moment::now().after(REST));
        }
        due
    }

    fn overdue(&mut self) -> Option<End> {
        let limits = &self.shared.limits;
        if self.peer_is_slow && self.stalled.elapsed() >= limits.write_stall {
            return Some(End::NotReading);
        }
        if let Some(pace) = &mut self.pace
            && pace.since.elapsed() >= limits.pace_window
        {
            if self.input.arrived - pace.arrived < limits.pace_bytes {
                return Some(End::TooSlow);
            }
            *pace = Pace { since: Moment::now(), arrived: self.input.arrived };
        }
        if !self.is_busy() && self.active.elapsed() >= limits.idle {
            return Some(End::Idle);
        }
        None
    }

    /// Whether the client waits for us. A client that has ended its side of the stream, or is held back, may be gone, so
    /// its wait counts as idle.
    fn is_busy(&self) -> bool {
        let waits = self.beginning.is_some() || !self.owed.is_empty() || !self.output.is_empty();
        waits && !self.input_ended
    }

    /// Ends the sending side. A plain close with unread bytes from the client would make its system
    /// discard the last responses, so these bytes are read for a moment.
    async fn say_goodbye(mut self, end: &End) {
        match end {
            End::Closed | End::Broken(_) | End::NotReading | End::MadeRoom => return,
            End::Stopping
            | End::Idle
            | End::TooSlow
            | End::Refused(_)
            | End::NotServed { .. }
            | End::NeedsLogin { .. }
            | End::LoginFailed
            | End::Malformed { .. }
            | End::ClosedByHandler { .. }
            | End::Failed { .. } => {}
        }
        let mut rest = vec![0; 4 << 10];
        let _ = time::within(LINGER, async {
            self.socket.shutdown().await?;
            for _ in 0..LINGER_READS {
                if self.socket.read(&mut rest).await? == 0 {
                    break;
                }
            }
            io::Result::Ok(())
        })
        .await;
    }
}

impl Shared {
    fn answered(&self, PendingRequest { row, begun }: PendingRequest) {
        self.api.requests().answered(row.key, begun.elapsed());
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.shared.answers.forget(self.id);
        self.info.end();
    }
}

impl End {
    /// Whether the reason is of no interest to an operator.
    fn is_ordinary(&self) -> bool {
        match self {
            // The handler has logged a failed login.
            End::Closed
            | End::Broken(_)
            | End::Stopping
            | End::Idle
            | End::LoginFailed
            | End::ClosedByHandler { .. } => true,
            End::TooSlow
            | End::NotReading
            | End::MadeRoom
            | End::Refused(_)
            | End::NotServed { .. }
            | End::NeedsLogin { .. }
            | End::Malformed { .. }
            | End::Failed { .. } => false,
        }
    }
}

/// Releases the charge of a request that its handler has dropped, and returns whether it has.
fn release_dropped(info: &ConnectionInfo, charge: &mut Charge) -> bool {
    let is_dropped = info.take_dropped_request();
    if is_dropped {
        charge.shrink(0);
    }
    is_dropped
}

/// Logs what happened, and what to do if that is known.
fn complain(end: &End, info: &ConnectionInfo) {
    let peer = info.peer;
    match end {
        End::Closed
        | End::Broken(_)
        | End::Stopping
        | End::Idle
        | End::LoginFailed
        // See `unserved.rs`.
        | End::NotServed { .. }
        | End::ClosedByHandler { .. } => {}
        End::Refused(FrameError::Stranger(Stranger::Tls)) => warn!(
            %peer,
            "TLS arrived at a port without TLS: set security.protocol={} in the client, or let it connect to a listener \
             with TLS", info.listener.protocol.name()
        ),
        End::Refused(FrameError::Stranger(Stranger::Http)) => warn!(
            %peer,
            "HTTP arrived at a Kafka port: health checks are answered where --http says"
        ),
        End::Refused(FrameError::TooShort { declared }) => warn!(
            %peer, declared,
            "a client does not speak the Kafka protocol: the length of its request is impossible; connection closed"
        ),
        End::Refused(FrameError::TooLong { declared, key: Some(0), most }) => warn!(
            %peer, declared, most,
            "a Produce request is too large: raise socket.request.max.bytes, or let the client send smaller \
             requests; connection closed"
        ),
        End::Refused(FrameError::TooLong { declared, key, most }) => warn!(
            %peer, declared, key, most, "a request is too large, or not the Kafka protocol; connection closed"
        ),
        End::Refused(FrameError::TooLongBeforeLogin { declared, most }) => warn!(
            %peer, declared, most,
            "a request before the login is too large: raise sasl.server.max.receive.size if the tokens of clients are so \
             long; connection closed"
        ),
        End::NeedsLogin { key, version } => warn!(
            %peer, key, version,
            "a request before the login, or after the end of a session: set security.protocol and sasl.mechanism in \
             the client; connection closed"
        ),
        End::Malformed { name, version, error } => warn!(
            %peer, request = name, version, %error, "a malformed request; connection closed"
        ),
        End::Failed { name, failure: Failure::Malformed(error) } => warn!(
            %peer, request = name, %error, "a malformed request; connection closed"
        ),
        End::Failed { name, failure } => error!(
            %peer, request = name, ?failure,
            "a request could not be answered: this is a bug of the broker; connection closed"
        ),
        End::TooSlow => warn!(%peer, "a request comes in too slowly; connection closed"),
        End::NotReading => warn!(%peer, "the client does not read its answers; connection closed"),
        End::MadeRoom => warn!(
            %peer, "memory for requests and answers is used up and this client moves the least; connection closed"
        ),
    }
}
