//! The rows of the matrix with rskafka, in the way its users write it. All rows run at the same time.
//!
//! rskafka cannot do all of a row: it finds brokers and controller but does not show them, acks are always "all",
//! headers are a sorted map without repetition, and topics are described only by their partitions.

use rskafka::BackoffConfig;
use rskafka::chrono::{DateTime, Utc};
use rskafka::client::controller::ControllerClient;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{
    Client, ClientBuilder, Credentials, OauthBearerCredentials, OauthCallback, SaslConfig,
};
use rskafka::record::{Record, RecordAndOffset};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::collections::BTreeMap;
use std::future::ready;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(120); // for one row; generous, for busy machines
const WAIT: i32 = 500; // milliseconds that the broker may keep a fetch
const ADMIN_LIMIT: i32 = 60_000; // milliseconds for an admin request

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("no {name}"))
}

fn named(topic: &str) -> String {
    env("PREFIX") + topic
}

async fn connect() -> Client {
    ClientBuilder::new(vec![env("BOOTSTRAP")]).client_id("matrix").build().await.expect("connects")
}

/// A client that does not try again.
fn once(listener: &str) -> ClientBuilder {
    // Without a deadline rskafka tries a refused login again and again.
    let once = BackoffConfig { deadline: Some(Duration::ZERO), ..BackoffConfig::default() };
    ClientBuilder::new(vec![env(listener)]).client_id("matrix").backoff_config(once)
}

async fn log_in(login: SaslConfig) -> Result<Client, Error> {
    once("SASL_BOOTSTRAP").sasl_config(login).build().await
}

fn certificate(name: &str) -> String {
    format!("{}/{name}.pem", env("CERTIFICATES"))
}

/// TLS that trusts this authority, with the client's own certificate or without.
fn tls(authority: &str, certified: bool) -> Arc<ClientConfig> {
    let read = |name| CertificateDer::from_pem_file(certificate(name)).expect("a certificate");
    let mut trusted = RootCertStore::empty();
    trusted.add(read(authority)).expect("a certificate of an authority");
    let config = ClientConfig::builder().with_root_certificates(trusted);
    if !certified {
        return Arc::new(config.with_no_client_auth());
    }
    let key = PrivateKeyDer::from_pem_file(certificate("client-key")).expect("a key");
    Arc::new(config.with_client_auth_cert(vec![read("client")], key).expect("a certificate with its key"))
}

/// A user with TLS: SASL or ACL, as in the names of the environment.
async fn user(who: &str) -> Client {
    let login = Credentials::new(env(&format!("{who}_USER")), env(&format!("{who}_PASSWORD")));
    let builder = once("SASL_TLS_BOOTSTRAP").tls_config(tls("ca", false));
    builder.sasl_config(SaslConfig::ScramSha256(login)).build().await.expect("logs in with TLS")
}

/// A client with TLS that shows the token in this file.
async fn with_token(name: &str) -> Result<Client, Error> {
    let token = std::fs::read_to_string(format!("{}/{name}.jwt", env("CERTIFICATES"))).expect("a token");
    let callback: OauthCallback =
        Arc::new(move || Box::pin(ready(Ok(token.clone()))) as Pin<Box<dyn Future<Output = _> + Send>>);
    let login = OauthBearerCredentials { callback, authz_id: None, bearer_kvs: Vec::new() };
    let builder = once("SASL_TLS_BOOTSTRAP").tls_config(tls("ca", false));
    builder.sasl_config(SaslConfig::Oauthbearer(login)).build().await
}

/// A topic that only one row uses, and its first partition.
struct Log {
    client: Client,
    admin: ControllerClient,
    topic: String,
    first: PartitionClient,
}

impl Log {
    async fn create(name: &str, partitions: i32) -> Log {
        let client = connect().await;
        let admin = client.controller_client().expect("a controller");
        admin.create_topic(named(name), partitions, 1, ADMIN_LIMIT).await.expect("creates the topic");
        Log::open(client, admin, named(name)).await
    }

    async fn open(client: Client, admin: ControllerClient, topic: String) -> Log {
        let first = client.partition_client(&topic, 0, UnknownTopicHandling::Retry).await.expect("a leader");
        Log { client, admin, topic, first }
    }

    async fn produce(&self, records: Vec<Record>) -> Vec<i64> {
        self.first.produce(records, Compression::NoCompression).await.expect("produces")
    }

    /// Waits for `count` records from an offset on, which must be without gaps.
    async fn read(&self, from: i64, count: usize) -> Vec<Record> {
        let mut got: Vec<RecordAndOffset> = Vec::new();
        while got.len() < count {
            let next = from + got.len() as i64;
            let (records, _) = self.first.fetch_records(next, 1..50_000_000, WAIT).await.expect("fetches");
            got.extend(records);
        }
        for (offset, record) in (from..).zip(&got) {
            assert_eq!(record.offset, offset);
        }
        assert_eq!(got.len(), count);
        got.into_iter().map(|r| r.record).collect()
    }

    /// The numbers from an offset to the end of the log.
    async fn numbers_from(&self, from: i64) -> Vec<i64> {
        let end = self.offset(OffsetAt::Latest).await;
        numbers_of(&self.read(from, (end - from) as usize).await)
    }

    async fn offset(&self, at: OffsetAt) -> i64 {
        self.first.get_offset(at).await.expect("an offset")
    }
}

fn at(milliseconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(milliseconds).expect("a time")
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

fn record(key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
    Record {
        key: key.map(Into::into),
        value: value.map(Into::into),
        headers: BTreeMap::new(),
        timestamp: at(now()),
    }
}

fn numbers(range: std::ops::Range<i64>) -> Vec<Record> {
    range.map(|n| record(None, Some(n.to_string().as_bytes()))).collect()
}

fn numbers_of(records: &[Record]) -> Vec<i64> {
    let text = |r: &Record| String::from_utf8(r.value.clone().expect("a value")).expect("text");
    records.iter().map(|r| text(r).parse().expect("a number")).collect()
}

/// The answer must be this error of the broker.
fn refused<T>(answer: Result<T, Error>, expected: ProtocolError) {
    match answer {
        Ok(_) => panic!("this succeeded, instead of {expected:?}"),
        Err(Error::ServerError { protocol_error, .. }) => assert_eq!(protocol_error, expected),
        Err(other) => panic!("instead of {expected:?}: {other}"),
    }
}

/// The partitions of a topic in the list of all topics, if it is listed.
async fn listed(client: &Client, topic: &str) -> Option<Vec<i32>> {
    let topics = client.list_topics().await.expect("lists topics");
    topics.into_iter().find(|t| t.name == topic).map(|t| t.partitions.into_iter().collect())
}

// --- the rows ---

async fn metadata() {
    let log = Log::create("metadata", 3).await;
    assert_eq!(listed(&log.client, &log.topic).await, Some(vec![0, 1, 2]));
    for partition in 0..3 {
        let client = log.client.partition_client(&log.topic, partition, UnknownTopicHandling::Retry).await;
        assert_eq!(client.expect("a leader").get_offset(OffsetAt::Latest).await.expect("an offset"), 0);
    }
    let unknown = log.client.partition_client(named("nowhere/"), 0, UnknownTopicHandling::Error).await;
    refused(unknown, ProtocolError::InvalidTopicException);
}

async fn topics() {
    let log = Log::create("topics", 2).await;
    assert_eq!(listed(&log.client, &log.topic).await, Some(vec![0, 1]));
    refused(log.admin.create_topic(&log.topic, 2, 1, ADMIN_LIMIT).await, ProtocolError::TopicAlreadyExists);
    refused(
        log.admin.create_topic("no/slashes", 1, 1, ADMIN_LIMIT).await,
        ProtocolError::InvalidTopicException,
    );
    log.admin.delete_topic(&log.topic, ADMIN_LIMIT).await.expect("deletes the topic");
    assert_eq!(listed(&log.client, &log.topic).await, None);
}

async fn codecs() {
    use Compression::{Gzip, Lz4, NoCompression, Snappy, Zstd};
    let log = Log::create("codecs", 1).await;
    let mut sent = Vec::new();
    for codec in [NoCompression, Gzip, Snappy, Lz4, Zstd] {
        let value = |n: i64| format!("{codec:?} {n} ").repeat(5);
        let records: Vec<_> = (0..200).map(|n| record(Some(b"key"), Some(value(n).as_bytes()))).collect();
        let offsets = log.first.produce(records.clone(), codec).await.expect("produces");
        let start = sent.len() as i64;
        assert_eq!(offsets, (start..start + 200).collect::<Vec<_>>());
        sent.extend(records);
    }
    assert_eq!(log.read(0, sent.len()).await, sent);
}

async fn values() {
    let log = Log::create("values", 1).await;
    let mut full = record(Some(b"key"), Some(&[0, 255, 128, 10]));
    full.timestamp = at(now() - 12_345);
    full.headers = [("a", "1"), ("b", "2"), ("empty", "")].map(|(k, v)| (k.to_owned(), v.into())).into();
    let sent = vec![
        full,
        record(None, Some(b"no key")),
        record(Some(b"deleted"), None),
        record(Some(b""), Some(b"")),
    ];
    assert_eq!(log.produce(sent.clone()).await, [0, 1, 2, 3]);
    assert_eq!(log.read(0, 4).await, sent);
}

async fn large() {
    let log = Log::create("large", 1).await;
    let big = record(None, Some(&vec![b'x'; 1_000_000]));
    log.produce(vec![big.clone()]).await;
    let larger = vec![record(None, Some(&vec![b'y'; 1_500_000]))];
    refused(log.first.produce(larger, Compression::NoCompression).await, ProtocolError::MessageTooLarge);
    let small = record(None, Some(b"small"));
    assert_eq!(log.produce(vec![small.clone()]).await, [1]);
    assert_eq!(log.read(0, 2).await, [big, small]);
}

async fn fetch() {
    let log = Log::create("fetch", 1).await;
    let start = now() - 1_000_000;
    let mut records = numbers(0..100);
    for (i, record) in (0..).zip(&mut records) {
        record.timestamp = at(start + i * 1000);
    }
    log.produce(records).await;
    assert_eq!(log.offset(OffsetAt::Earliest).await, 0);
    assert_eq!(log.offset(OffsetAt::Latest).await, 100);
    let stamped = log.offset(OffsetAt::Timestamp(at(start + 69_500))).await;
    assert_eq!(stamped, 70);
    for from in [0, 40, stamped] {
        assert_eq!(log.numbers_from(from).await, (from..100).collect::<Vec<_>>());
    }
    let (nothing, high) = log.first.fetch_records(100, 1..1_000_000, 1).await.expect("fetches at the end");
    assert_eq!((nothing.len(), high), (0, 100));
    // A fetch that waits at the end returns the records that are produced meanwhile.
    let (later, _) = tokio::join!(log.read(100, 1), log.produce(numbers(100..101)));
    assert_eq!(numbers_of(&later), [100]);
}

/// rskafka returns the error, and its user continues at any offset.
async fn range() {
    let log = Log::create("range", 1).await;
    log.produce(numbers(0..3)).await;
    refused(log.first.fetch_records(99, 1..1_000_000, WAIT).await, ProtocolError::OffsetOutOfRange);
    assert_eq!(log.numbers_from(log.offset(OffsetAt::Earliest).await).await, [0, 1, 2]);
}

async fn delete_records() {
    let log = Log::create("delete-records", 1).await;
    log.produce(numbers(0..10)).await;
    log.first.delete_records(6, ADMIN_LIMIT).await.expect("deletes records");
    assert_eq!(log.offset(OffsetAt::Earliest).await, 6);
    assert_eq!(log.offset(OffsetAt::Latest).await, 10);
    refused(log.first.fetch_records(5, 1..1_000_000, WAIT).await, ProtocolError::OffsetOutOfRange);
    assert_eq!(log.numbers_from(6).await, [6, 7, 8, 9]);
}

async fn sasl() {
    let log = Log::create("sasl", 1).await;
    let mechanisms = [SaslConfig::Plain, SaslConfig::ScramSha256, SaslConfig::ScramSha512];
    for (number, login) in (0..).zip(mechanisms) {
        let client =
            log_in(login(Credentials::new(env("SASL_USER"), env("SASL_PASSWORD")))).await.expect("logs in");
        let admin = client.controller_client().expect("a controller");
        let log = Log::open(client, admin, log.topic.clone()).await;
        assert_eq!(log.produce(numbers(number..number + 1)).await, [number]);
        assert_eq!(log.numbers_from(0).await, (0..=number).collect::<Vec<_>>());

        let Err(error) = log_in(login(Credentials::new(env("SASL_USER"), "wrong".to_owned()))).await else {
            panic!("a wrong password is accepted");
        };
        assert!(error.to_string().contains("SaslAuthenticationFailed"), "{error}");
    }
}

async fn with_tls() {
    let log = Log::create("tls", 1).await;
    // Only as `certified`, the name by a rule for that of the certificate, the client is a super user.
    let certified = once("CERTIFIED_BOOTSTRAP").tls_config(tls("ca", true));
    let plain = once("TLS_BOOTSTRAP").tls_config(tls("ca", false));
    let clients = [plain.build().await, certified.build().await, Ok(user("SASL").await)];
    for (number, client) in (0..).zip(clients) {
        let client = client.expect("connects with TLS");
        let admin = client.controller_client().expect("a controller");
        let log = Log::open(client, admin, log.topic.clone()).await;
        assert_eq!(log.produce(numbers(number..number + 1)).await, [number]);
        assert_eq!(log.numbers_from(0).await, (0..=number).collect::<Vec<_>>());
    }
    for (listener, authority) in [("TLS_BOOTSTRAP", "other-ca"), ("CERTIFIED_BOOTSTRAP", "ca")] {
        let Err(error) = once(listener).tls_config(tls(authority, false)).build().await else {
            panic!("{listener} and {authority} are accepted");
        };
        assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    }
}

async fn oauth() {
    let log = Log::create("oauth", 1).await;
    let client = with_token("good").await.expect("logs in with a token");
    let admin = client.controller_client().expect("a controller");
    let log = Log::open(client, admin, log.topic.clone()).await;
    assert_eq!(log.produce(numbers(0..1)).await, [0]);
    assert_eq!(log.numbers_from(0).await, [0]);
    for wrong in ["expired", "audience", "stranger"] {
        let Err(error) = with_token(wrong).await else { panic!("the token {wrong} is accepted") };
        // It has no callback for the broker's answer to a bad token, and ends the login there.
        assert!(error.to_string().contains("Sasl handshake failed"), "{wrong}: {error}");
    }
}

/// rskafka has no calls for ACLs, so Jackdaw's command makes them. BOOTSTRAP is of a super user.
async fn acls_enforced() {
    let log = Log::create("acls-enforced", 1).await;
    log.produce(numbers(0..1)).await;
    let acl = |verb: &str, who: &str, operation: &str| {
        let mut command = Command::new(env("JACKDAW"));
        command.args(["acl", verb, "--bootstrap", &env("BOOTSTRAP"), "--topic", &log.topic]);
        command.args([who, &format!("User:{}", env("ACL_USER")), "--operation", operation]);
        let status = command.stdout(Stdio::null()).status().expect("the command starts");
        assert!(status.success(), "jackdaw acl {verb} {who} {operation}");
    };
    let user = user("ACL").await;
    let open = || user.partition_client(&log.topic, 0, UnknownTopicHandling::Error);
    refused(open().await, ProtocolError::TopicAuthorizationFailed);

    acl("add", "--allow-principal", "describe");
    let partition = open().await.expect("a leader");
    let write = |number| partition.produce(numbers(number..number + 1), Compression::NoCompression);
    refused(write(1).await, ProtocolError::TopicAuthorizationFailed);
    refused(partition.fetch_records(0, 1..1_000_000, WAIT).await, ProtocolError::TopicAuthorizationFailed);
    acl("add", "--allow-principal", "read");
    let (read, _) = partition.fetch_records(0, 1..1_000_000, WAIT).await.expect("fetches");
    assert_eq!(read.len(), 1);
    refused(write(1).await, ProtocolError::TopicAuthorizationFailed);
    acl("add", "--allow-principal", "write");
    assert_eq!(write(1).await.expect("produces"), [1]);
    acl("add", "--deny-principal", "write");
    refused(write(2).await, ProtocolError::TopicAuthorizationFailed);
    acl("remove", "--deny-principal", "write");
    assert_eq!(write(2).await.expect("produces"), [2]);
    acl("remove", "--allow-principal", "write");
    refused(write(3).await, ProtocolError::TopicAuthorizationFailed);
}

async fn restart_before() {
    let log = Log::create("restart", 1).await;
    for start in (0..500).step_by(100) {
        log.produce(numbers(start..start + 100)).await;
    }
}

async fn restart_after() {
    let client = connect().await;
    let admin = client.controller_client().expect("a controller");
    let log = Log::open(client, admin, named("restart")).await;
    assert_eq!(log.numbers_from(0).await, (0..500).collect::<Vec<_>>());
    assert_eq!(log.produce(numbers(500..505)).await, [500, 501, 502, 503, 504]);
    assert_eq!(log.numbers_from(500).await, [500, 501, 502, 503, 504]);
}

async fn play(row: &str) {
    match row {
        "metadata" => metadata().await,
        "topics" => topics().await,
        "codecs" => codecs().await,
        "values" => values().await,
        "large" => large().await,
        "fetch" => fetch().await,
        "range" => range().await,
        "delete-records" => delete_records().await,
        "restart-before" => restart_before().await,
        "restart-after" => restart_after().await,
        "sasl" => sasl().await,
        "tls" => with_tls().await,
        "oauth" => oauth().await,
        "acls-enforced" => acls_enforced().await,
        _ => panic!("nobody wrote this row"),
    }
}

/// The line of a row; its reason is the failed assertion, in one line.
async fn said(row: String) -> String {
    let playing = {
        let row = row.clone();
        tokio::spawn(async move { tokio::time::timeout(LIMIT, play(&row)).await })
    };
    let reason = match playing.await {
        Ok(Ok(())) => return format!("ok {row}"),
        Ok(Err(_)) => "did not end".to_owned(),
        Err(failed) => {
            let panic = failed.into_panic();
            let text = panic.downcast_ref::<String>().map(String::as_str);
            text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("failed").replace('\n', " ")
        }
    };
    format!("FAIL {row} {reason}")
}

#[tokio::main]
async fn main() {
    let (without, rows): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|row| row == "acls");
    if !without.is_empty() {
        println!("none acls no calls for ACLs");
    }
    let mut rows: JoinSet<String> = rows.into_iter().map(said).collect();
    while let Some(line) = rows.join_next().await {
        println!("{}", line.expect("a row says something"));
    }
}
