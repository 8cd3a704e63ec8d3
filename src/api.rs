//! The table of API keys: one line per key, one file per key.
//!
//! A row decodes the request of its key, calls its [`Handler`] and encodes the response. The server
//! knows nothing else of an API. Keys and versions without a row do not exist: they are not
//! advertised, and a connection that sends one is closed.

mod admin;
mod api_versions;
pub mod client_metrics;
pub mod connection;
pub mod context;
mod describe_producers;
pub mod error;
mod faults;
mod features;
pub mod fetch;
mod find_coordinator;
mod group;
mod guard;
mod init_producer_id;
pub mod internal_topics;
mod leadership;
mod list_offsets;
pub mod metadata;
mod off_thread;
mod offset_for_leader_epoch;
mod produce;
mod queued;
mod replicas;
pub mod requests;
mod rights;
#[cfg(feature = "security")]
pub mod sasl;
pub mod session;
pub mod throttle;
mod transaction;

use std::future::{Future, ready};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::budget::{Budget, Room};
use crate::config::BrokerSettings;
use crate::protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AlterClientQuotasRequest, AlterConfigsRequest,
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, ApiVersion, ApiVersionsRequest,
    ApiVersionsResponse, CreateAclsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest,
    DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeAclsRequest,
    DescribeClientQuotasRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest,
    DescribeLogDirsRequest, DescribeProducersRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest,
    DescribeTransactionsRequest, ElectLeadersRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    GetTelemetrySubscriptionsRequest, HeartbeatRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListConfigResourcesRequest,
    ListGroupsRequest, ListOffsetsRequest, ListPartitionReassignmentsRequest, ListTransactionsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, PushTelemetryRequest, SyncGroupRequest,
    TxnOffsetCommitRequest, UnregisterBrokerRequest, UpdateFeaturesRequest, WriteTxnMarkersRequest,
};
#[cfg(feature = "security")]
use crate::protocol::messages::{
    AlterUserScramCredentialsRequest, CreateDelegationTokenRequest, DescribeDelegationTokenRequest,
    DescribeUserScramCredentialsRequest, ExpireDelegationTokenRequest, RenewDelegationTokenRequest,
    SaslAuthenticateRequest, SaslHandshakeRequest,
};
use crate::protocol::{Message, Reader, Request, RequestHeader, WireError, Writer, write_response_header};
use crate::security::tls::Tls;
use crate::types::Piece;
use connection::ConnectionInfo;
use context::{Context, Services};
use error::ErrorCode;
pub use guard::Guarded;
use requests::Requests;
use session::{Phase, Session};
use throttle::RequestMeter;

/// All API keys that are served, in ascending order. A new handler adds its line here, such as
/// `row::<ProduceRequest>(0, 13).served_from(3).overlapping()`.
pub static TABLE: &[Row] = &[
    row::<ProduceRequest>(0, 13).served_from(3).overlapping(),
    row::<FetchRequest>(4, 18).large_answers(),
    row::<ListOffsetsRequest>(1, 11),
    row::<MetadataRequest>(0, 13),
    row::<OffsetCommitRequest>(2, 10),
    row::<OffsetFetchRequest>(1, 10),
    row::<FindCoordinatorRequest>(0, 6),
    row::<JoinGroupRequest>(0, 9),
    row::<HeartbeatRequest>(0, 4),
    row::<LeaveGroupRequest>(0, 5),
    row::<SyncGroupRequest>(0, 5),
    row::<DescribeGroupsRequest>(0, 6),
    row::<ListGroupsRequest>(0, 5),
    #[cfg(feature = "security")]
    row::<SaslHandshakeRequest>(0, 1).before_login(),
    row::<ApiVersionsRequest>(0, 5).before_login(),
    row::<CreateTopicsRequest>(2, 7),
    row::<DeleteTopicsRequest>(1, 6),
    row::<DeleteRecordsRequest>(0, 2),
    row::<InitProducerIdRequest>(0, 5).with_two_phase_commit(6),
    row::<OffsetForLeaderEpochRequest>(2, 4),
    row::<AddPartitionsToTxnRequest>(0, 5),
    row::<AddOffsetsToTxnRequest>(0, 4),
    row::<EndTxnRequest>(0, 5),
    row::<WriteTxnMarkersRequest>(1, 2),
    row::<TxnOffsetCommitRequest>(0, 6),
    row::<DescribeAclsRequest>(1, 3),
    row::<CreateAclsRequest>(1, 3),
    row::<DeleteAclsRequest>(1, 3),
    row::<DescribeConfigsRequest>(1, 4),
    row::<AlterConfigsRequest>(0, 2),
    row::<AlterReplicaLogDirsRequest>(1, 2),
    row::<DescribeLogDirsRequest>(1, 5),
    #[cfg(feature = "security")]
    row::<SaslAuthenticateRequest>(0, 2).before_login(),
    row::<CreatePartitionsRequest>(0, 3),
    #[cfg(feature = "security")]
    row::<CreateDelegationTokenRequest>(1, 3),
    #[cfg(feature = "security")]
    row::<RenewDelegationTokenRequest>(1, 2),
    #[cfg(feature = "security")]
    row::<ExpireDelegationTokenRequest>(1, 2),
    #[cfg(feature = "security")]
    row::<DescribeDelegationTokenRequest>(1, 3),
    row::<DeleteGroupsRequest>(0, 3),
    row::<ElectLeadersRequest>(0, 2),
    row::<IncrementalAlterConfigsRequest>(0, 1),
    row::<AlterPartitionReassignmentsRequest>(0, 1),
    row::<ListPartitionReassignmentsRequest>(0, 0),
    row::<OffsetDeleteRequest>(0, 0),
    row::<DescribeClientQuotasRequest>(0, 1),
    row::<AlterClientQuotasRequest>(0, 1),
    #[cfg(feature = "security")]
    row::<DescribeUserScramCredentialsRequest>(0, 0),
    #[cfg(feature = "security")]
    row::<AlterUserScramCredentialsRequest>(0, 0),
    row::<DescribeQuorumRequest>(0, 2),
    row::<UpdateFeaturesRequest>(0, 2),
    row::<DescribeClusterRequest>(0, 2),
    row::<DescribeProducersRequest>(0, 0),
    row::<UnregisterBrokerRequest>(0, 0),
    row::<DescribeTransactionsRequest>(0, 0),
    row::<ListTransactionsRequest>(0, 2),
    row::<GetTelemetrySubscriptionsRequest>(0, 0).with_a_page_of_metrics(),
    row::<PushTelemetryRequest>(0, 0).with_a_page_of_metrics(),
    row::<ListConfigResourcesRequest>(0, 1),
    row::<DescribeTopicPartitionsRequest>(0, 0),
];

/// The row of [`Api::row_of_tokens`].
#[cfg(feature = "security")]
const TOKENS: Option<&Row> = Some(&sasl::TOKENS);
#[cfg(not(feature = "security"))]
const TOKENS: Option<&Row> = None;

const API_VERSIONS: i16 = 18;
pub const SASL_HANDSHAKE: i16 = 17;
pub const SASL_AUTHENTICATE: i16 = 36;

/// The result of a handler. It is returned when the ordered part of the work is done: all later
/// requests of the connection see its effect.
pub enum Reply<T> {
    /// No response (acks=0). The request's bytes and their budget are held until the work is done.
    /// If the work fails, the connection is closed; the error is the text for the log. The client is held back at
    /// once.
    Silence {
        mute: Duration,
        work: Later<Result<(), &'static str>>,
    },
    Now(T),
    /// The response has to wait for the disk or for new records.
    Later(Later<T>),
    /// The same, but the client is held back at once and not from the answer on. A request that is decoded already is
    /// begun all the same.
    LaterAndHeld {
        mute: Duration,
        answer: Later<T>,
    },
    /// The last response of the connection, because a login failed.
    Last(Later<T>),
    /// The last response of the connection, for another reason, which is for the log.
    LastThenCut(Later<T>, &'static str),
    /// The connection is closed instead of a response, after all earlier requests were answered.
    /// The text is the reason, for the log.
    Close(&'static str),
}

impl<T> Reply<T> {
    /// A reply whose rest does not delay later requests of the connection.
    pub fn later(rest: impl Future<Output = T> + Send + 'static) -> Reply<T> {
        Reply::Later(Box::pin(rest))
    }
}

pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The maximum number of topics, partitions or keys in one request. The response takes several
/// times as much memory as the request.
pub const MOST_NAMED: usize = 100_000;

/// The most memory that one element of a request takes in the answer, without its names: the data that
/// the handler collects, the entry in the answer, and the encoded entry.
const ELEMENT: usize = 384;
/// The memory for the rest of an answer.
const ANSWER: usize = 1 << 10;

/// The size of a decoded request.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Bytes that it holds beside its frame.
    pub decoded: usize,
    /// Elements of all of its arrays.
    pub elements: usize,
}

/// The memory that serving a request takes, without the request itself. It is known before it is
/// allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// The part whose size the client decides. If it exceeds [`crate::budget::Room::most`], the request is
    /// refused.
    pub asked: usize,
    /// The part whose size the broker's state decides. It is always served, alone if necessary.
    pub held: usize,
}

impl Weight {
    /// For a handler that reserves memory itself, once it knows how much it needs.
    pub const LATER: Weight = Weight { asked: 0, held: 0 };

    pub fn asked(bytes: usize) -> Weight {
        Weight { asked: bytes, held: 0 }
    }

    /// Adds parts of the broker's state to the response. The largest is always served, so that a client can ask for each
    /// part alone.
    #[must_use]
    pub fn and_parts(self, parts: impl Iterator<Item = usize>) -> Weight {
        let (all, largest) =
            parts.fold((0_usize, 0), |(all, largest), part| (all.saturating_add(part), part.max(largest)));
        Weight { asked: self.asked.saturating_add(all - largest), ..self }.and_held(largest)
    }

    /// Adds `bytes` of the broker's state to the response.
    #[must_use]
    pub fn and_held(self, bytes: usize) -> Weight {
        Weight { held: self.held.saturating_add(bytes), ..self }
    }
}

impl Size {
    /// For a response with one entry for each element of the request, and nothing else.
    pub fn echoed(self) -> usize {
        ANSWER + self.elements.saturating_mul(ELEMENT).saturating_add(self.decoded.saturating_mul(3))
    }
}

/// Differences from Apache Kafka that every key has, for `docs/apis.md`.
pub const GAPS: &[&str] = &[
    "A request other than Produce that is larger than 8 MiB closes its connection; Kafka reads up to socket.request.max.bytes.",
    "A request whose answer could take more than 7/8 of `jackdaw.answer.max.bytes` closes its connection, except where an API below names another answer.",
    "A request that names more than 100,000 topics, partitions or keys closes its connection, unless it commits or asks for a group's offsets.",
];

/// One per API key: `impl Handler for MetadataRequest` is in `api/metadata.rs`.
pub trait Handler: Request<Response: Send + 'static> + Send + 'static {
    /// Differences from Apache Kafka, one sentence each, for `docs/apis.md`.
    const GAPS: &'static [&'static str] = &[];

    /// The number of topics, partitions or keys in the request. Each gets an entry in the response,
    /// so a request with more than [`MOST_NAMED`] is refused.
    fn named(&self) -> usize {
        0
    }

    /// The memory that serving the request takes. The request waits until that much is free.
    /// Override it if the response has more than one entry for each element of the request.
    fn weigh(&self, size: Size, _: &Context) -> Weight {
        Weight::asked(size.echoed())
    }

    fn handle(self, ctx: Context) -> impl Future<Output = Reply<Self::Response>> + Send;
}

/// An encoded response with its length in front, as the pieces of one frame.
pub type Frame = Vec<Piece>;

/// The reason why there is no response to encode. The connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Malformed(WireError),
    /// Our response cannot be encoded in this version. This is a bug of the broker.
    Unencodable(WireError),
    /// The handler panicked. This is a bug of the broker.
    Panicked,
}

/// A response that is ready to be sent.
pub struct Encoded {
    pub frame: Frame,
    /// The time for which the client is held back when the response is sent, because it used more than its quota.
    /// Handlers set it as the throttle time of the response.
    pub mute: Duration,
}

pub type Answer = Result<Encoded, Failure>;

/// One request whose header is decoded and whose body is not yet.
pub struct Call {
    pub context: Context,
    pub correlation_id: i32,
    pub body: Reader,
}

/// One line of the table.
pub struct Row {
    pub key: i16,
    pub name: &'static str,
    /// The lowest version that ApiVersions advertises.
    pub min_version: i16,
    pub max_version: i16,
    /// A higher version that is there if `transaction.two.phase.commit.enable` is set.
    pub of_two_phase_commit: Option<i16>,
    /// The settings with which the key is served; `None`: with all.
    pub only_if: Option<fn(&BrokerSettings) -> bool>,
    /// Lower versions are advertised but refused, as Kafka does with Produce 0–2.
    pub served_from: i16,
    /// [`Handler::GAPS`]
    pub gaps: &'static [&'static str],
    /// A request of this key need not wait for the responses to earlier requests of the same key.
    pub overlapping: bool,
    /// Served to a client that has not logged in yet.
    pub before_login: bool,
    /// Responses may be large. No new one is begun while large responses fill the memory.
    pub large_answers: bool,
    serve: fn(Call) -> BegunRequest<Later<Reply<Answer>>>,
}

/// A request that was decoded and can be polled now.
pub struct BegunRequest<T> {
    /// The bytes that the request takes in memory beside its frame.
    pub decoded: usize,
    pub reply: T,
}

/// The result of looking up a key and version in the table.
#[derive(Clone, Copy)]
pub enum FoundRow {
    Row(&'static Row),
    /// ApiVersions in a version that does not exist: the only case that is answered, also before the login
    /// (rule W1).
    UnknownApiVersions,
    /// Not served: the connection is closed (rule W17).
    Nothing,
    /// The client has to log in first: the connection is closed.
    NeedsLogin,
}

/// The table and the services that its handlers use.
#[derive(Clone)]
pub struct Api {
    table: &'static [Row],
    services: Arc<Services>,
}

impl Api {
    pub fn new(services: Arc<Services>) -> Api {
        Api { table: TABLE, services }
    }

    /// The broker's current settings.
    pub fn settings(&self) -> Arc<BrokerSettings> {
        self.services.settings()
    }

    /// The keys and certificates of the listeners.
    pub fn tls(&self) -> &Tls {
        &self.services.tls
    }

    /// The memory budget for responses, shared by all clients.
    pub fn answers(&self) -> &Arc<Budget> {
        &self.services.answers
    }

    /// The client of a connection is held back for this time: its members of groups cannot send heartbeats, so their
    /// sessions last longer (rule C18).
    pub fn hold_members(&self, connection: &ConnectionInfo, time: Duration) {
        self.services.hold_members(connection, time);
    }

    /// `Some` if there are too many new connections from an address: the time after which this one is closed.
    pub fn too_many_connections(&self, ip: IpAddr) -> Option<Duration> {
        self.services.too_many_connections(ip)
    }

    /// Counters of requests.
    pub fn requests(&self) -> &Arc<Requests> {
        &self.services.requests
    }

    /// The row that serves the messages of a login by handshake v0, which have no header.
    pub fn row_of_tokens(&self) -> Option<&'static Row> {
        TOKENS
    }

    #[cfg(test)]
    pub(crate) fn with_table(table: &'static [Row], services: Arc<Services>) -> Api {
        Api { table, services }
    }

    /// The gate: every request passes it. A client that has not logged in only gets the rows of
    /// [`Row::before_login`], and the answer to an unknown version of ApiVersions, as from Kafka.
    pub fn find(&self, key: i16, version: i16, session: &Session) -> FoundRow {
        let row = find(self.table, key);
        let served = row.filter(|row| {
            let is_usual = (row.served_from..=row.max_version).contains(&version);
            let is_version =
                is_usual || row.of_two_phase_commit == Some(version) && self.settings().two_phase_commit;
            is_version && row.only_if.is_none_or(|is_served| is_served(&self.settings()))
        });
        let is_logged_in = self.is_logged_in(session);
        if served.is_none() && row.is_some_and(|row| row.key == API_VERSIONS) {
            let is_early = matches!(session.phase(), Phase::Begins | Phase::KnowsVersions);
            return if is_logged_in || is_early {
                FoundRow::UnknownApiVersions
            } else {
                FoundRow::NeedsLogin
            };
        }
        let is_open = |row: &Row| row.before_login && session.may_send(row.key);
        if !is_logged_in && !served.is_some_and(is_open) {
            return FoundRow::NeedsLogin;
        }
        served.map_or(FoundRow::Nothing, FoundRow::Row)
    }

    /// The versions of a key that are served; `None` if the key is not.
    pub fn served_versions(&self, key: i16) -> Option<RangeInclusive<i16>> {
        let row = find(self.table, key)?;
        row.advertised(&self.settings()).map(|(_, highest)| row.served_from..=highest)
    }

    /// Whether the client has logged in, or needs no login.
    pub fn is_logged_in(&self, session: &Session) -> bool {
        session.is_logged_in(|| self.services.clock.monotonic())
    }

    /// Serves one request. When the future is ready, the ordered part of the work is done.
    pub fn serve(
        &self,
        row: &'static Row,
        connection: Arc<ConnectionInfo>,
        header: RequestHeader,
        body: Reader,
    ) -> BegunRequest<Guarded<Reply<Answer>>> {
        let size = header.size().saturating_add(body.remaining());
        let RequestHeader { api_version, correlation_id, client_id, .. } = header;
        let context = Context::new(&self.services, connection, row.name, api_version, client_id, size);
        let BegunRequest { decoded, reply } = (row.serve)(Call { context, correlation_id, body });
        BegunRequest { decoded, reply: Guarded(reply) }
    }

    /// The response to an ApiVersions version that does not exist. It is encoded as version 0 and
    /// has the supported range, so that the client can ask again (rule W1).
    pub fn answer_unknown_api_versions(&self, correlation_id: i32) -> Answer {
        let row = find(self.table, API_VERSIONS);
        let api_keys = row.map(|row| ApiVersion {
            api_key: row.key,
            min_version: row.min_version,
            max_version: row.max_version,
        });
        let answer = ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion as i16,
            api_keys: api_keys.into_iter().collect(),
            ..ApiVersionsResponse::default()
        };
        encode(&answer, API_VERSIONS, 0, correlation_id, &self.services.requests)
    }
}

fn find(table: &'static [Row], key: i16) -> Option<&'static Row> {
    let at = table.binary_search_by_key(&key, |row| row.key).ok()?;
    table.get(at)
}

/// `row::<MetadataRequest>(0, 13)`: the versions that are advertised and served.
const fn row<R: Handler>(min_version: i16, max_version: i16) -> Row {
    Row {
        key: R::KEY,
        name: R::NAME,
        min_version,
        max_version,
        of_two_phase_commit: None,
        only_if: None,
        served_from: min_version,
        gaps: R::GAPS,
        overlapping: false,
        before_login: false,
        large_answers: false,
        serve: begin::<R>,
    }
}

impl Row {
    #[cfg(test)]
    pub(crate) const fn for_test(
        key: i16,
        min_version: i16,
        max_version: i16,
        serve: fn(Call) -> BegunRequest<Later<Reply<Answer>>>,
    ) -> Row {
        Row {
            key,
            name: "Test",
            min_version,
            max_version,
            of_two_phase_commit: None,
            only_if: None,
            served_from: min_version,
            overlapping: false,
            before_login: false,
            large_answers: false,
            gaps: &[],
            serve,
        }
    }

    const fn with_two_phase_commit(mut self, version: i16) -> Row {
        self.of_two_phase_commit = Some(version);
        self
    }

    /// The key is served if there is a page of metrics.
    const fn with_a_page_of_metrics(mut self) -> Row {
        self.only_if = Some(|settings| settings.http.is_some());
        self
    }

    /// The highest version with any settings.
    pub fn highest(&self) -> i16 {
        self.of_two_phase_commit.unwrap_or(self.max_version)
    }

    /// The lowest and highest version with these settings; `None` if the key is not served.
    pub fn advertised(&self, settings: &BrokerSettings) -> Option<(i16, i16)> {
        let highest = if settings.two_phase_commit { self.highest() } else { self.max_version };
        let is_served = self.only_if.is_none_or(|is_served| is_served(settings));
        is_served.then_some((self.min_version, highest))
    }

    /// Versions below `version` are advertised and refused.
    pub(crate) const fn served_from(mut self, version: i16) -> Row {
        self.served_from = version;
        self
    }

    pub(crate) const fn overlapping(mut self) -> Row {
        self.overlapping = true;
        self
    }

    pub(crate) const fn before_login(mut self) -> Row {
        self.before_login = true;
        self
    }

    pub(crate) const fn large_answers(mut self) -> Row {
        self.large_answers = true;
        self
    }
}

fn begin<R: Handler>(call: Call) -> BegunRequest<Later<Reply<Answer>>> {
    let Call { context, correlation_id, mut body } = call;
    let (budget, elements) = (body.budget(), body.elements_read());
    // Bytes after the request are ignored, as in Kafka: librdkafka leaves some after Metadata.
    match R::decode(&mut body, context.version) {
        Ok(request) => {
            let size = Size {
                decoded: budget.saturating_sub(body.budget()),
                elements: body.elements_read().saturating_sub(elements),
            };
            let metered = context.metered.clone();
            let fault = context.fault(R::KEY).map(|effect| (effect, context.services.stopping.clone()));
            let refusal = fault.as_ref().and_then(|(effect, _)| effect.error);
            let reply: Later<Reply<Answer>> =
                Box::pin(serve(request, size, context, correlation_id, refusal));
            let reply = match fault {
                None => reply,
                Some((effect, stopping)) => Box::pin(faults::serve(effect, reply, stopping)),
            };
            BegunRequest {
                decoded: size.decoded,
                reply: match metered {
                    None => reply,
                    Some(metered) => throttle::timed(metered, reply),
                },
            }
        }
        Err(error) => {
            BegunRequest { decoded: 0, reply: Box::pin(ready(Reply::Now(Err(Failure::Malformed(error))))) }
        }
    }
}

#[expect(clippy::manual_async_fn, reason = "an async fn would hold its arguments twice")]
fn serve<R: Handler>(
    request: R,
    size: Size,
    mut context: Context,
    correlation_id: i32,
    refusal: Option<i16>,
) -> impl Future<Output = Reply<Answer>> + Send {
    async move {
        let version = context.version;
        let requests = Arc::clone(&context.services.requests);
        if request.named() > MOST_NAMED {
            return Reply::Close("the request names more than 100,000 topics, partitions or keys");
        }
        // Released when the response is encoded; the encoded bytes are charged separately.
        let room = Arc::clone(&context.room);
        context.set_quiet(true);
        let Weight { asked, held } = request.weigh(size, &context);
        context.set_quiet(false);
        if asked > room.most() {
            return Reply::Close(
                "the answer could take more memory than jackdaw.answer.max.bytes allows for one answer",
            );
        }
        room.hold(asked.saturating_add(held)).await;
        let metered = context.metered.clone();
        let reply = match refusal {
            None => request.handle(context).await,
            Some(code) => faults::refuse(request, context, code).await,
        };
        match reply {
            Reply::Silence { mute, work } => {
                let work = async move { Guarded(work).await.unwrap_or(Err("the handler panicked")) };
                Reply::Silence { mute, work: Box::pin(work) }
            }
            Reply::Now(answer) => {
                Reply::Now(finish::<R>(answer, metered.as_deref(), version, correlation_id, &requests))
            }
            Reply::Later(answer) => {
                Reply::Later(finished::<R>(answer, (room, metered), version, correlation_id, requests))
            }
            Reply::LaterAndHeld { mute, answer } => Reply::LaterAndHeld {
                mute,
                answer: finished::<R>(answer, (room, metered), version, correlation_id, requests),
            },
            Reply::Last(answer) => {
                Reply::Last(finished::<R>(answer, (room, metered), version, correlation_id, requests))
            }
            Reply::LastThenCut(answer, why) => {
                let answer = finished::<R>(answer, (room, metered), version, correlation_id, requests);
                Reply::LastThenCut(answer, why)
            }
            Reply::Close(why) => Reply::Close(why),
        }
    }
}

/// Encodes a response. It has the throttle time of a client that takes too much of the threads' time. Other brokers
/// are never held back, as in Kafka.
fn finish<R: Handler>(
    mut answer: R::Response,
    metered: Option<&RequestMeter>,
    version: i16,
    correlation_id: i32,
    requests: &Requests,
) -> Answer {
    let Some(metered) = metered.filter(|metered| !metered.is_exempt()) else {
        return encode(&answer, R::KEY, version, correlation_id, requests);
    };
    let held = metered.time();
    answer.hold_back(throttle::ms(held));
    let encoded = encode(&answer, R::KEY, version, correlation_id, requests)?;
    // Also after a response without a field for it.
    Ok(Encoded { mute: encoded.mute.max(held), ..encoded })
}

/// The encoded form of a response that has to wait. Until then its room is held.
fn finished<R: Handler>(
    answer: Later<R::Response>,
    (room, metered): (Arc<Room>, Option<Arc<RequestMeter>>),
    version: i16,
    correlation_id: i32,
    requests: Arc<Requests>,
) -> Later<Answer> {
    Box::pin(async move {
        let _room = room;
        match Guarded(answer).await {
            Some(answer) => finish::<R>(answer, metered.as_deref(), version, correlation_id, &requests),
            None => Err(Failure::Panicked),
        }
    })
}

/// Encodes a response as a frame and counts its error codes.
pub(crate) fn encode<M: Message>(
    answer: &M,
    key: i16,
    version: i16,
    correlation_id: i32,
    requests: &Requests,
) -> Answer {
    let mut out = Writer::new();
    write_response_header(&mut out, key, version, correlation_id);
    answer.encode(&mut out, version).map_err(Failure::Unencodable)?;
    for (code, times) in out.error_codes() {
        requests.refused(key, *code, *times);
    }
    let mute = Duration::from_millis(u64::try_from(answer.throttle_time_ms()).unwrap_or(0));
    Ok(Encoded { frame: out.into_frame().map_err(Failure::Unencodable)?, mute })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::HeartbeatResponse;

    #[test]
    fn a_throttled_client_is_held_back_also_in_versions_that_do_not_tell_it() {
        let answer = HeartbeatResponse { throttle_time_ms: 250, ..HeartbeatResponse::default() };
        let mute = |answer: &HeartbeatResponse, version| {
            encode(answer, 12, version, 0, &Requests::new()).map(|encoded| encoded.mute)
        };
        assert_eq!(mute(&answer, 0), Ok(Duration::from_millis(250)));
        assert_eq!(mute(&answer, 4), Ok(Duration::from_millis(250)));
        assert_eq!(mute(&HeartbeatResponse::default(), 4), Ok(Duration::ZERO));
    }
}
