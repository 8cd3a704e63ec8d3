//! A broker in this process, and a client that sends exactly the given requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jackdaw::api::Api;
use jackdaw::api::client_metrics::ClientMetrics;
use jackdaw::api::context::Services;
use jackdaw::api::error::ErrorCode;
use jackdaw::api::requests::Requests;
#[cfg(feature = "security")]
use jackdaw::api::sasl::TokenKeys;
use jackdaw::api::throttle::Throttles;
use jackdaw::config::{BrokerSettings, Given};
#[cfg(feature = "security")]
use jackdaw::config::{KeyPlace, TokenSettings};
use jackdaw::hooks::TestHooks;
use jackdaw::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use jackdaw::protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use jackdaw::protocol::messages::fetch_response::{FetchResponse, PartitionData};
use jackdaw::protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use jackdaw::protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use jackdaw::protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use jackdaw::protocol::{Message, Reader, Request, RequestHeader, Writer, read_response_header};
use jackdaw::record::BatchBuilder;
#[cfg(feature = "security")]
use jackdaw::security::jwt;
use jackdaw::security::principal::Authorizer;
use jackdaw::server::Server;
use jackdaw::stop::Stop;
use jackdaw::storage::{Location, NewTopic, Partition, Store, StoreOptions};
use jackdaw::time::{self, Clock};
use jackdaw::types::{Timestamp, TopicId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Long enough for everything; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Turns on test hooks.
pub const HOOKED: (&str, &str) = ("jackdaw.test.hooks", "true");

pub struct Node {
    pub store: Store,
    /// Counts the error codes of all answers.
    pub requests: Arc<Requests>,
    pub throttles: Arc<Throttles>,
    pub client_metrics: Arc<ClientMetrics>,
    /// With the setting `jackdaw.test.hooks`.
    hooks: Option<TestHooks>,
    pub address: SocketAddr,
    server: Server,
    stop: Stop,
}

impl Node {
    pub async fn start() -> Node {
        Node::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Node {
        Node::at(Location::Memory, settings).await
    }

    pub async fn at(place: Location, settings: &[(&str, &str)]) -> Node {
        Node::timed(place, settings, Clock::machine()).await
    }

    pub async fn timed(place: Location, settings: &[(&str, &str)], clock: Clock) -> Node {
        Node::built(place, settings, clock, None).await
    }

    /// A broker that asks this authorizer for every right.
    pub async fn guarded(authorizer: Arc<dyn Authorizer>, settings: &[(&str, &str)]) -> Node {
        Node::built(Location::Memory, settings, Clock::machine(), Some(authorizer)).await
    }

    async fn built(
        place: Location,
        settings: &[(&str, &str)],
        clock: Clock,
        authorizer: Option<Arc<dyn Authorizer>>,
    ) -> Node {
        let mut given = Given::default();
        given.set("listeners", "PLAINTEXT://127.0.0.1:0");
        for (name, value) in settings {
            given.set(*name, *value);
        }
        let settings = Arc::new(BrokerSettings::load(given).unwrap());
        let options =
            StoreOptions { clock: clock.clone(), ..StoreOptions::new(place, Arc::clone(&settings)) };
        let store = Store::open(options).unwrap();
        let (stop, stopping) = Stop::new();
        let (services, coordinators) =
            Services::start(store.clone(), Arc::clone(&settings), clock, stopping.clone());
        let services = match authorizer {
            Some(authorizer) => services.with_authorizer(authorizer),
            None => services,
        };
        #[cfg(feature = "security")]
        let services = services
            .with_token_keys(Arc::new(token_keys(&settings)))
            .with_tls(Arc::new(jackdaw::security::tls::Tls::load(&settings).unwrap()));
        let (requests, throttles) = (Arc::clone(&services.requests), Arc::clone(&services.throttles));
        let client_metrics = Arc::clone(&services.client_metrics);
        let hooks = services.faults.clone();
        let hooks = hooks.map(|faults| TestHooks::new(faults, store.clone(), coordinators.clone()));
        tokio::spawn(async move { coordinators.run().await });
        let server = Server::start(&settings, Api::new(Arc::new(services)), stopping).await.unwrap();
        let (_, address) = server.listening().next().unwrap();
        Node { store, requests, throttles, client_metrics, hooks, address, server, stop }
    }

    /// A broker with test hooks.
    pub async fn with_hooks() -> Node {
        Node::with(&[HOOKED]).await
    }

    pub fn hooks(&self) -> &TestHooks {
        self.hooks.as_ref().expect("the test sets HOOKED")
    }

    /// The addresses of all listeners.
    pub fn listening(&self) -> impl Iterator<Item = SocketAddr> {
        self.server.listening().map(|(_, address)| address)
    }

    /// Answers the requests that wait.
    pub fn begin_to_stop(&self) {
        self.stop.begin();
    }

    pub async fn client(&self) -> Client {
        Client::of(&self.address.to_string()).await
    }

    pub async fn topic(&self, name: &str, partitions: u32) -> TopicId {
        self.topic_with(name, partitions, &[]).await
    }

    pub async fn topic_with(&self, name: &str, partitions: u32, settings: &[(&str, &str)]) -> TopicId {
        let overrides: BTreeMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let new = NewTopic { name: name.to_owned(), partitions, overrides };
        self.store.create_topic(new).await.unwrap().id
    }

    pub fn partition(&self, topic: &str, index: i32) -> Arc<Partition> {
        Arc::clone(self.store.topics().by_name(topic).unwrap().partition(index).unwrap())
    }
}

/// How the listeners verify tokens, with keys from their files.
#[cfg(feature = "security")]
fn token_keys(settings: &BrokerSettings) -> TokenKeys {
    let rules = settings.logins.iter().filter_map(|(name, logins)| Some((name, logins.tokens.clone()?)));
    TokenKeys::new(rules.map(|(listener, rules)| {
        let keys = match &rules {
            TokenSettings::Unsecured(_) => None,
            TokenSettings::Signed(signed) => match &signed.keys.place {
                KeyPlace::File(path) => Some(jwt::read_file(path).unwrap()),
                KeyPlace::Https(_) => panic!("this harness reads files only"),
            },
        };
        (listener.clone(), rules, keys)
    }))
}

pub struct Client<S = TcpStream> {
    socket: S,
    last: i32,
}

impl Client {
    pub async fn of(address: &str) -> Client {
        Client::over(TcpStream::connect(address).await.unwrap())
    }

    /// Whether an answer or a close has arrived.
    pub fn has_received(&self) -> bool {
        let mut byte = [0];
        let ready = self.socket.try_read(&mut byte);
        assert!(!matches!(ready, Ok(1)), "an answer came too early");
        ready.is_ok()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn over(socket: S) -> Client<S> {
        Client { socket, last: 0 }
    }

    /// One partition and no settings.
    pub async fn create_topic(&mut self, name: &str) {
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        assert_eq!(self.call(7, request).await.topics[0].error_code, 0);
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request>(&mut self, version: i16, request: R) -> R::Response {
        let id = self.send(version, &request).await;
        let (answered, answer) = self.receive::<R>(version).await;
        assert_eq!(answered, id, "w10: the correlation id comes back as it was sent");
        answer
    }

    /// Sends a request and returns its correlation id.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let mut body = Writer::new();
        request.encode(&mut body, version).unwrap();
        self.send_bytes(R::KEY, version, &body.into_bytes()).await
    }

    /// Any key and version with any body.
    pub async fn send_bytes(&mut self, api_key: i16, api_version: i16, body: &[u8]) -> i32 {
        // Neither small nor consecutive: the broker must accept any correlation id.
        self.last = self.last.wrapping_mul(-7).wrapping_add(0x1234_5678);
        let header = RequestHeader {
            api_key,
            api_version,
            correlation_id: self.last,
            client_id: Some("api test".to_owned()),
        };
        let mut out = Writer::new();
        header.write(&mut out).unwrap();
        out.put(body);
        self.socket.write_all(&out.into_request().unwrap()).await.unwrap();
        self.last
    }

    /// A frame without a header, as in a login by handshake v0.
    pub async fn send_token(&mut self, token: &[u8]) {
        let length = u32::try_from(token.len()).unwrap().to_be_bytes();
        self.socket.write_all(&[&length[..], token].concat()).await.unwrap();
    }

    /// The next answer; all of its bytes must be decoded.
    pub async fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let mut input = Reader::new(self.receive_bytes().await);
        let id = read_response_header(&mut input, R::KEY, version).unwrap();
        let answer = R::Response::decode(&mut input, version).unwrap();
        input.finish().unwrap();
        (id, answer)
    }

    /// The next answer with its header, without its length.
    pub async fn receive_bytes(&mut self) -> Bytes {
        self.receive_bytes_or_close().await.expect("the connection is open")
    }

    /// The same, or `None` if the broker closes the connection.
    pub async fn receive_bytes_or_close(&mut self) -> Option<Bytes> {
        let read = async {
            let length = self.socket.read_u32().await.ok()?;
            let mut frame = vec![0; length as usize];
            self.socket.read_exact(&mut frame).await.expect("the answer is whole");
            Some(Bytes::from(frame))
        };
        time::within(PATIENCE, read).await.expect("there is an answer")
    }

    /// Whether the broker closes the connection without sending another byte.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = time::within(PATIENCE, self.socket.read(&mut byte)).await;
        matches!(read.expect("the broker answers or closes"), Ok(0) | Err(_))
    }

    /// One batch to one partition, by name at version 12.
    pub async fn produce(
        &mut self,
        topic: &str,
        index: i32,
        batch: impl Into<Bytes>,
    ) -> PartitionProduceResponse {
        let answer = self.call(12, produce_to(topic, index, batch)).await;
        the_partition(answer)
    }

    /// One partition from `offset` on, by name at version 12, without a session and without waiting.
    pub async fn fetch(&mut self, topic: &str, index: i32, offset: i64) -> PartitionData {
        let answer = self.call(12, fetch_from(topic, index, offset)).await;
        only(answer)
    }
}

pub fn produce_to(topic: &str, index: i32, batch: impl Into<Bytes>) -> ProduceRequest {
    let records = Some(batch.into().into());
    ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![PartitionProduceData { index, records }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The answer for the only partition of a Produce.
pub fn the_partition(answer: ProduceResponse) -> PartitionProduceResponse {
    let mut partitions = answer.responses.into_iter().flat_map(|topic| topic.partition_responses);
    let partition = partitions.next().expect("there is an answer for the partition");
    assert!(partitions.next().is_none(), "there is one answer for one partition");
    partition
}

pub fn fetch_from(topic: &str, index: i32, offset: i64) -> FetchRequest {
    fetch_topics(vec![FetchTopic {
        topic: topic.to_owned(),
        partitions: vec![partition_from(index, offset)],
        ..Default::default()
    }])
}

/// A fetch that waits for nothing and wants no session.
pub fn fetch_topics(topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_id: 0,
        session_epoch: -1,
        topics,
        ..Default::default()
    }
}

pub fn partition_from(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        current_leader_epoch: -1,
        fetch_offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    }
}

/// The only partition of a Fetch answer.
pub fn only(answer: FetchResponse) -> PartitionData {
    assert_eq!(answer.error_code, 0);
    let mut partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
    let partition = partitions.next().expect("the partition is in the answer");
    assert!(partitions.next().is_none(), "no other partition is in the answer");
    partition
}

/// A batch of values, all with the current time.
pub fn batch(values: &[&str]) -> Bytes {
    let now = Clock::machine().now();
    values.iter().fold(BatchBuilder::new(), |batch, value| batch.value(now, value)).build()
}

/// A batch with one value per timestamp.
pub fn batch_at(times: &[i64]) -> Bytes {
    times.iter().fold(BatchBuilder::new(), |batch, time| batch.value(Timestamp(*time), "v")).build()
}

/// The bytes of a fetched partition; null would break rule F2.
pub fn records(data: &PartitionData) -> Bytes {
    data.records.clone().expect("records are never null").into_bytes()
}

/// Base offsets and record counts of the fetched batches.
pub fn batches(data: &PartitionData) -> Vec<(i64, i32)> {
    jackdaw::record::batches(&records(data))
        .map(|batch| batch.expect("whole batches"))
        .map(|(header, _)| (header.base_offset.0, header.count))
        .collect()
}

pub fn code(error: ErrorCode) -> i16 {
    error.code()
}

/// A consumer that subscribes to `t`.
pub fn join(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"),
        }],
        ..Default::default()
    }
}
