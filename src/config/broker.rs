//! The settings of the broker, each as a row. `load.rs` gives them their values.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::authorizer::{self, AuthorizerSettings};
use super::check::numbers_per_address;
use super::initial_topics::{INITIAL_TOPICS, InitialTopic};
use super::prefix::base_of;
use super::row::{Row, boolean, class, int, list, long, password, settings, short, text};
use super::value::Value;
use super::{Given, Listener, Logins, Overrides, jaas, logins, oauth, providers, table, topic};
use crate::types::{ClusterId, NodeId, Secret, Timestamp};

const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// Java's largest `int`, Kafka's value for "no limit".
const NO_BOUND: u32 = i32::MAX.cast_unsigned();
/// The cost of a rebalance grows with the square of the members, so a group has a limit. Kafka's default
/// has none.
const GROUP_MAX_SIZE: u32 = 5000;

settings! {
    /// The settings of the broker, each from one row, with Kafka's names and defaults.
    ///
    /// Some values are secrets, so the `Debug` form has none.
    #[derive(Clone)]
    pub struct BrokerSettings {
        /// The id of this broker. With only one broker, any number is fine.
        node_id: NodeId = |v| NodeId(v.number()),
            int("node.id", "1").at_least(0).or(&[("broker.id", 1)]);
        /// The rack or zone of this broker, which Metadata returns to clients.
        rack: Option<String> = Value::text_if_any, text("broker.rack", "").null();
        /// The data directory. Only one is supported.
        data_dir: PathBuf = |v| v.list().into_iter().next().unwrap_or_default().into(),
            list("log.dirs", "").null().or(&[("log.dir", 1)]);
        /// The default number of partitions of a new topic.
        num_partitions: i32 = Value::number, int("num.partitions", "1").at_least(1);
        /// The default replication factor of a new topic.
        default_replication: u16 = Value::number, int("default.replication.factor", "1").at_least(1);
        /// The number of virtual brokers in this process. Their ids and ports follow the first one's. For
        /// tests that need several brokers: there is only one process and one copy of the data. The defaults of topics and
        /// groups are those of all brokers, or of the first one: altered for another one, they have no effect.
        brokers: u16 = Value::number, int(BROKERS, "1").between(1, MOST_BROKERS);
        /// Whether a topic is created when a client asks for its metadata by name.
        auto_create_topics: bool = Value::flag, boolean("auto.create.topics.enable", "true");
        /// Whether clients may delete topics.
        delete_topics: bool = Value::flag, boolean("delete.topic.enable", "true");
        /// The maximum size of a Produce request. All other requests are limited to 8 MiB.
        max_request_bytes: u32 = Value::number, int("socket.request.max.bytes", "104857600").at_least(1);
        /// The memory for requests of all clients that are not answered yet. When it is used up, the
        /// broker stops reading. −1 means an eighth of `jackdaw.memory.max.bytes`, at most 128 MiB. A
        /// request larger than 7/8 of it is not read.
        request_budget: Option<u64> = Value::limit, long("queued.max.request.bytes", "-1");
        /// The memory for responses of all clients, from their creation until they are read. When it is
        /// used up, the broker serves no further requests. −1 means an eighth of
        /// `jackdaw.memory.max.bytes`, at most 128 MiB. A request is refused if the client asks for a
        /// response of more than 7/8 of it.
        answer_budget: Option<u64> = Value::limit, long("jackdaw.answer.max.bytes", "-1");
        /// The memory that the broker divides among its parts. −1 means the limit of its control group
        /// (of a container), or the memory of the machine. Requests, responses, groups and the keys of
        /// compaction get an eighth each, fetch sessions, transactional ids and access control lists a
        /// sixteenth each. The rest is for topics, recent records and the overhead of the allocator.
        memory: Option<u64> = Value::limit, long("jackdaw.memory.max.bytes", "-1");
        /// The number of requests of one connection that are served before other connections have their
        /// turn.
        turn_requests: usize = Value::number, int("jackdaw.turn.max.requests", "32").at_least(1);
        /// The number of bytes of responses that one connection gets before other connections have their
        /// turn. The response that exceeds it is still sent.
        turn_bytes: usize = Value::number, int("jackdaw.turn.max.bytes", "262144").at_least(1);
        /// The time after which a connection without a request is closed. −1 means never.
        max_idle: Duration = |v| v.limit().map_or(Duration::MAX, Duration::from_millis),
            long("connections.max.idle.ms", "600000");
        /// The maximum number of connections. The process's limit of open files is another limit:
        /// segments get half of it, up to 512, the broker itself a small part, and connections the rest.
        /// `listener.name.NAME.max.connections` is the maximum of one listener. Beyond it a connection waits until another
        /// one ends.
        max_connections: u32 = Value::number, int(MAX_CONNECTIONS, "2147483647").dynamic().at_least(0);
        /// The maximum number of connections from one IP address.
        max_connections_per_ip: u32 = Value::number,
            int(CONNECTIONS_PER_IP, "2147483647").dynamic().at_least(0);
        /// Exceptions for single addresses, as `ADDRESS:NUMBER,…`. Names other than `localhost` are not
        /// resolved and have no effect.
        connections_of: BTreeMap<IpAddr, u32> = |v| numbers_per_address("", &v.text()).unwrap_or_default(),
            text(CONNECTIONS_OF, "").dynamic().per_address();
        /// The rate of new connections per second, of all listeners together. Beyond it a listener accepts the next
        /// connection later, by at most one window of `quota.window.size.seconds`.
        /// `listener.name.NAME.max.connection.creation.rate` is the rate of one listener.
        connection_rate: u32 = Value::number, int(CONNECTION_RATE, "2147483647").dynamic().at_least(0);
        /// The number of windows over which the use of quotas is measured. More than 1000 count as 1000. A client that
        /// used nothing before may use the quota of all windows but one at once.
        quota_windows: u32 = |v| v.number::<u32>().min(MOST_WINDOWS),
            int("quota.window.num", "11").at_least(1);
        /// The length of a window of quotas.
        quota_window: Duration = |v| Duration::from_secs(v.number()),
            int("quota.window.size.seconds", "1").at_least(1);
        /// As `quota.window.num`, for the quota of created and deleted partitions (`controller_mutation_rate`).
        mutation_windows: u32 = |v| v.number::<u32>().min(MOST_WINDOWS),
            int("controller.quota.window.num", "11").at_least(1);
        /// As `quota.window.size.seconds`, for the quota of created and deleted partitions.
        mutation_window: Duration = |v| Duration::from_secs(v.number()),
            int("controller.quota.window.size.seconds", "1").at_least(1);
        /// The time for which a failed login waits for its answer, before its connection is closed.
        login_failure_delay: Duration = Value::millis,
            int("connection.failed.authentication.delay.ms", "100").at_least(0);
        /// The secret that the HMACs of delegation tokens are made with. Without it there are no delegation tokens. Tokens
        /// that were made with another secret can no longer be used.
        token_secret: Option<Secret> = |v| v.text_if_any().map(Secret::new),
            password("delegation.token.secret.key");
        /// The longest time for which a delegation token can be used, with all renewals.
        token_max_lifetime: Duration = Value::millis,
            long("delegation.token.max.lifetime.ms", "604800000").at_least(1);
        /// The time after which a delegation token expires if it is not renewed.
        token_lifetime: Duration = Value::millis, long("delegation.token.expiry.time.ms", "86400000").at_least(1);
        /// The time between two checks for expired delegation tokens, which are then removed.
        token_check: Duration = Value::millis,
            long("delegation.token.expiry.check.interval.ms", "3600000").at_least(1);
        /// The maximum size of a request before the login. May have a listener in front.
        login_max_bytes: u32 = Value::number, int(LOGIN_MAX_BYTES, "524288").at_least(1);
        /// The time in which a client has to complete its TLS handshake.
        handshake_timeout: Duration = Value::millis, int("jackdaw.tls.handshake.timeout.ms", "10000").at_least(1);
        /// The maximum number of TLS handshakes at a time, from the whole first message of the client on. Others wait. The
        /// more wait, the less time each handshake has: from a second down to a tenth. −1 means as many as fit into a
        /// sixteenth of `jackdaw.memory.max.bytes`, at most 256.
        max_handshakes: Option<u64> = Value::limit, int("jackdaw.tls.handshakes.max", "-1").at_least(-1);
        /// Whether `/health` and `/metrics` ask for a user and a password (HTTP basic authentication). The users are those
        /// of PLAIN, of any listener, and those with a SCRAM credential. `/livez` and `/readyz` never ask.
        http_login: bool = Value::flag, boolean(HTTP_LOGIN, "false");
        /// Whether the HTTP server has hooks for tests of applications, below `/hooks/`. Their callers can make the requests
        /// of all clients fail, so they are not for production.
        test_hooks: bool = Value::flag, boolean(TEST_HOOKS, "false");
        /// The token that a request for a test hook needs, as `Authorization: Bearer TOKEN`. Without one, test hooks are
        /// only allowed if the HTTP address is on loopback and needs no login.
        test_hooks_token: Option<Secret> = |v| v.text_if_any().map(Secret::new),
            password(TEST_HOOKS_TOKEN);
        /// The maximum size of the records in a Fetch response, whatever the client allows.
        fetch_max_bytes: u32 = Value::number, int("fetch.max.bytes", "57671680").at_least(1024);
        /// The maximum number of incremental fetch sessions.
        fetch_session_slots: usize = Value::number,
            int("max.incremental.fetch.session.cache.slots", "1000").at_least(0);
        /// The shortest session timeout that a member of a classic group may use.
        group_min_session: Duration = Value::millis, int("group.min.session.timeout.ms", "6000").at_least(1);
        /// The longest session timeout that a member of a classic group may use.
        group_max_session: Duration = Value::millis, int("group.max.session.timeout.ms", "1800000").at_least(1);
        /// The time that a new group waits for more members before its first rebalance. 0 is the default of an
        /// ephemeral broker (`--ephemeral`).
        group_initial_delay: Duration = Value::millis,
            int("group.initial.rebalance.delay.ms", "3000").at_least(0);
        /// The maximum number of members of a group. 2147483647 means the broker's own limit, which is
        /// 5000.
        group_max_size: u32 = |v| match v.number() {
                NO_BOUND => GROUP_MAX_SIZE,
                most => most,
            },
            int("group.max.size", "2147483647").at_least(1);
        /// The time for which the offsets of a group without members are kept.
        offsets_retention: Duration = Value::minutes, int("offsets.retention.minutes", "10080").at_least(1);
        /// The interval of the checks for expired offsets.
        offsets_retention_check: Duration = Value::millis,
            long("offsets.retention.check.interval.ms", "600000").at_least(1);
        /// The maximum length of the metadata that a client may store with an offset.
        offset_metadata_max: u32 = Value::number, int("offset.metadata.max.bytes", "4096").at_least(0);
        /// The memory for all groups, with their members and offsets. When it is used up, new members,
        /// groups and offsets are refused. −1 means an eighth of `jackdaw.memory.max.bytes`, at most 128
        /// MiB.
        groups_budget: Option<u64> = Value::limit, long("jackdaw.groups.max.bytes", "-1");
        /// The number of partitions of `__consumer_offsets`. No data is stored in it.
        offsets_topic_partitions: i32 = Value::number,
            int("offsets.topic.num.partitions", "50").at_least(1);
        /// The replication factor of `__consumer_offsets`, at most the number of brokers. No data is
        /// stored in it.
        offsets_topic_replication: u16 = Value::number,
            short("offsets.topic.replication.factor", "3").at_least(1);
        /// The `segment.bytes` that is shown for `__consumer_offsets`, at least 1048576. No data is
        /// stored in it.
        offsets_topic_segment_bytes: i32 = |v| v.number::<i32>().max(1 << 20),
            int("offsets.topic.segment.bytes", "104857600").at_least(1);
        /// The longest timeout that a transactional producer may ask for.
        transaction_max_timeout: Duration = Value::millis,
            int("transaction.max.timeout.ms", "900000").at_least(1);
        /// The interval of the checks for transactions that are open for longer than their timeout.
        transaction_timeout_check: Duration = Value::millis,
            int("transaction.abort.timed.out.transaction.cleanup.interval.ms", "10000").at_least(1);
        /// The time after which a transactional id without a transaction is forgotten, while the clock is trusted.
        transactional_id_expiration: Duration = Value::millis,
            int("transactional.id.expiration.ms", "604800000").at_least(1);
        /// The interval of the checks for transactional ids to forget.
        transactional_id_check: Duration = Value::millis,
            int("transaction.remove.expired.transaction.cleanup.interval.ms", "3600000").at_least(1);
        /// Whether a producer may ask for transactions that no timeout ends (KIP-939). Another system decides then, as
        /// a database does in a two-phase commit. The next producer with the same transactional id still aborts such
        /// a transaction. InitProducerId 6 is advertised with it.
        two_phase_commit: bool = Value::flag, boolean("transaction.two.phase.commit.enable", "false");
        /// The memory for all transactional ids, with the partitions and groups of their transactions. When it is
        /// used up, new partitions and groups are refused with a retriable error; new ids are refused when three
        /// quarters of it are used. −1 means a sixteenth of `jackdaw.memory.max.bytes`, at most 128 MiB.
        transactions_budget: Option<u64> = Value::limit, long("jackdaw.transactions.max.bytes", "-1");
        /// The largest push of metrics that a client may send, and the largest size of its metrics when they are
        /// decompressed (KIP-714).
        telemetry_max_bytes: u32 = Value::number, int("telemetry.max.bytes", "1048576").at_least(1);
        /// The memory for the metrics that clients push. When it is used up, further metrics are left out of
        /// `/metrics`. −1 means a thirty-second of `jackdaw.memory.max.bytes`, at most 16 MiB.
        client_metrics_budget: Option<u64> = Value::limit, long("jackdaw.client.metrics.max.bytes", "-1");
        /// The number of partitions of `__transaction_state`. No data is stored in it.
        transaction_topic_partitions: i32 = Value::number,
            int("transaction.state.log.num.partitions", "50").at_least(1);
        /// The replication factor of `__transaction_state`, at most the number of brokers. No data is stored
        /// in it.
        transaction_topic_replication: u16 = Value::number,
            short("transaction.state.log.replication.factor", "3").at_least(1);
        /// The `min.insync.replicas` that is shown for `__transaction_state`. No data is stored in it.
        transaction_topic_min_isr: i32 = Value::number,
            int("transaction.state.log.min.isr", "2").at_least(1);
        /// The `segment.bytes` that is shown for `__transaction_state`, at least 1048576. No data is stored in
        /// it.
        transaction_topic_segment_bytes: i32 = |v| v.number::<i32>().max(1 << 20),
            int("transaction.state.log.segment.bytes", "104857600").at_least(1);
        /// The time after which an idle idempotent producer is forgotten. The retention checks look for them
        /// (`log.retention.check.interval.ms`); Kafka's internal setting `producer.id.expiration.check.interval.ms`
        /// therefore does not exist here.
        producer_expiration: Duration = Value::millis,
            int("producer.id.expiration.ms", "86400000").dynamic().at_least(1);
        /// The memory for idempotent producers of all partitions, 336 bytes for each producer of each partition.
        /// When it is used up, the producer that has been silent longest is forgotten, but never one that wrote
        /// within the last 15 minutes. If all did, or the clock is not trusted, a new producer is refused with a retriable
        /// error.
        producers_budget: u64 = Value::number,
            long("jackdaw.producers.max.bytes", "33554432").at_least(1024 * 1024);
        /// The interval of the retention checks.
        retention_check: Duration = Value::millis, long("log.retention.check.interval.ms", "300000").at_least(1);
        /// Whether topics with `cleanup.policy=compact` are compacted.
        cleaner_enabled: bool = Value::flag, boolean("log.cleaner.enable", "true");
        /// The pause between two checks for logs to compact.
        cleaner_backoff: Duration = Value::millis, long("log.cleaner.backoff.ms", "15000").dynamic().at_least(0);
        /// The memory that compaction may use for the keys of a log, at least 1 MiB and at most an eighth
        /// of `jackdaw.memory.max.bytes`. It is allocated as needed. If it cannot hold all keys, the next
        /// run compacts the rest of the log.
        cleaner_memory: u64 = |v| u64::try_from(v.number::<i64>()).unwrap_or(0).max(1 << 20),
            long("log.cleaner.dedupe.buffer.size", "134217728").dynamic();
        /// The time in which the broker reads all stored data once and checks it against its checksums,
        /// to find damage where no client reads. Only time in which the broker runs counts. At most 64
        /// MiB are read per second. 0 turns it off.
        scrub_interval: Duration = Value::millis,
            long("jackdaw.scrub.interval.ms", "604800000").dynamic().at_least(0);
        /// The moment of an acknowledgement: `fsync` after the sync to stable storage, `interval` after
        /// the write, with a sync soon after, `os` after the write, as in Kafka.
        durability: Durability = |v| Durability::parse(&v.text()).expect("the row takes no other word"),
            text("jackdaw.durability", "fsync").one_of(&["fsync", "interval", "os"]);
        /// Confirms a clock that the broker does not trust, because it was set forward by more than a
        /// day, or because it was more than 30 days ahead at start. The value is the current time in
        /// milliseconds since 1970; a clock within a day of it is trusted. −1 confirms nothing.
        clock_confirmed: Option<Timestamp> = Value::time,
            long("jackdaw.clock.confirmed.ms", "-1").dynamic().at_least(-1);
        /// A snapshot of the state is taken after this many bytes of journal. For tests.
        snapshot_bytes: u64 = Value::number, long("internal.snapshot.bytes", "67108864").at_least(1);
        /// The size of a journal file. For tests.
        journal_file_bytes: u64 = Value::number,
            long("internal.journal.file.bytes", "33554432").at_least(64 * 1024);
    }
    more {
        /// The addresses for clients, and their advertised forms.
        listeners: Vec<Listener>,
        /// How clients log in, by the name of the listener. Listeners without a login are not in it.
        logins: BTreeMap<String, Arc<Logins>>,
        /// The address of the HTTP server for health checks and metrics.
        http: Option<Listener>,
        /// The id that a new data directory gets, and that an existing one must have.
        cluster_id: Option<ClusterId>,
        /// The topics to create at the start.
        initial_topics: Vec<InitialTopic>,
        /// The authorizer; `None` if everyone may do everything.
        authorizer: Option<AuthorizerSettings>,
        /// The settings from before the start, with their sources.
        given: Given,
        /// The settings that were altered since.
        altered: Altered,
        /// Both together, by name: the source of all fields above.
        set: BTreeMap<&'static str, String>,
    }
    const ACTING
}

/// The settings that were altered while the broker ran, by name: for all brokers of the cluster, and for
/// this one. Values may be secrets, so the `Debug` form has only the names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Altered {
    pub cluster: Overrides,
    pub broker: Overrides,
}

impl Altered {
    pub(super) fn layer(&mut self, is_cluster: bool) -> &mut Overrides {
        if is_cluster { &mut self.cluster } else { &mut self.broker }
    }

    /// The values of settings that exist, each with whether it is for the cluster; and all others.
    pub(super) fn split_known(self) -> (Vec<(bool, String, String)>, Altered) {
        let (mut known, mut others) = (Vec::new(), Altered::default());
        for (is_cluster, layer) in [(true, self.cluster), (false, self.broker)] {
            for (name, value) in layer {
                if row(base_of(&name)).is_some() {
                    known.push((is_cluster, name, value));
                } else {
                    others.layer(is_cluster).insert(name, value);
                }
            }
        }
        (known, others)
    }
}

/// The maximum number of virtual brokers.
const MOST_BROKERS: i64 = 100;

/// The moment of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Fsync,
    Interval,
    Os,
}

/// Rows without a field of their own: several of them make one value, or topics inherit them.
const OTHERS: &[Row] = &[
    list("listeners", "PLAINTEXT://localhost:9092")
        .per_broker()
        .doc("The addresses that clients connect to, as `NAME://HOST:PORT`. `localhost` means both address families, port 0 any free port."),
    text("jackdaw.http.listener", "")
        .doc("The address for health checks (`/livez`, `/readyz`, `/health`) and metrics (`/metrics`) over HTTP, as `HOST:PORT`. Empty: none."),
    boolean("jackdaw.http.tls", "false").doc(
        "Whether the HTTP server has TLS. Its key store is that of `ssl.keystore.location`, or of the same name after \
         `listener.name.http.`.",
    ),
    text("jackdaw.log.format", "text")
        .one_of(&["text", "json"])
        .doc("The format of log lines: `text` for people, or `json` with one object per line. Text has colours on a terminal, unless `NO_COLOR` is set."),
    text("jackdaw.cluster.id", "").doc(
        "The cluster id of a new data directory, any word of at most 255 bytes; an existing one must have it. Empty \
         means a random one. The environment variable is `CLUSTER_ID`.",
    ),
    text(INITIAL_TOPICS, "").doc(
        "Topics that are created at the start unless they exist, separated by commas or blanks: `NAME[:PARTITIONS[:REPLICAS]]`, \
         with the defaults of new topics for numbers that are left out. A fourth field `compact` or `delete` is the \
         `cleanup.policy`. The flag is `--topic`, the environment variable `KAFKA_CREATE_TOPICS`.",
    ),
    list("advertised.listeners", "")
        .null()
        .doc("The addresses that clients are given, for each listener name. By default the address that the client connected to."),
    text("listener.security.protocol.map", "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT")
        .per_broker()
        .doc("The security protocol of each listener name: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."),
    list(logins::MECHANISMS, "GSSAPI").per_broker().doc(
        "The mechanisms that clients of SASL listeners may log in with: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER. May \
         have a listener in front (`listener.name.outside.`); then it acts at once when it is altered, except that \
         OAUTHBEARER has to be there at the start.",
    ),
    password(jaas::JAAS).per_broker().doc(
        "The users of PLAIN: `org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"…\";`, or the \
         options of OAUTHBEARER. As in \
         Kafka it needs a listener and a mechanism in front, as in `listener.name.outside.plain.sasl.jaas.config`, and \
         has no effect without them. When it is altered, it acts at once; the options of OAUTHBEARER cannot be altered.",
    ),
    text(jaas::JAAS_FILE, "").doc(
        "A JAAS file in the syntax of Java, whose context `KafkaServer`, or `outside.KafkaServer` for one listener, has the \
         users of PLAIN. `KAFKA_OPTS` with `-Djava.security.auth.login.config=` sets it, too.",
    ),
    long(logins::MAX_REAUTH, "0").doc(
        "The longest time from one login to the next: a client that has not logged in again is disconnected at its next \
         request. 0 means any. May have a listener in front, and also a mechanism.",
    ),
    list(providers::PROVIDERS, "").dynamic().doc(
        "The names of providers, whose values replace references such as `${file:/run/secrets/tls.properties:password}` in \
         the values of the file, the environment and the flags. `config.providers.NAME.class` is Kafka's FileConfigProvider, \
         DirectoryConfigProvider or EnvVarConfigProvider, with `param.allowed.paths` or `param.allowlist.pattern`.",
    ),
    class(logins::CALLBACK).doc(
        "With OAUTHBEARER, `org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler` verifies the \
         signatures of tokens; without this setting tokens have none. It needs a listener and the mechanism in front: \
         `listener.name.outside.oauthbearer.sasl.server.callback.handler.class`. Every other class is refused.",
    ),
    text(oauth::KEYS_URL, "").null().doc(
        "The keys of the issuer of tokens (JWKS), as `https://HOST/PATH` or `file:///PATH`. The broker does not start \
         without them. This and all other settings of OAUTHBEARER may have a listener in front, and also the mechanism.",
    ),
    long(oauth::REFRESH, "3600000").at_least(0).doc(
        "The time after which the keys at an HTTPS address are read again. They are also read again, at most every 10 \
         seconds, when a token names an unknown key. A file is read again when it changes.",
    ),
    long(oauth::RETRY, "100").at_least(0).doc("The pause after the keys could not be read. It doubles with each attempt."),
    long(oauth::RETRY_MOST, "10000").at_least(0).doc("The longest pause between two attempts to read the keys."),
    list(oauth::AUDIENCE, "").doc("The audiences of which a token needs one in its claim `aud`."),
    boolean(oauth::ANY_AUDIENCE, "false")
        .doc("Whether tokens may be for any audience, if `sasl.oauthbearer.expected.audience` is not set."),
    text(oauth::ISSUER, "").null().doc("The issuer that a token needs in its claim `iss`."),
    boolean(oauth::ANY_ISSUER, "false")
        .doc("Whether tokens may be from any issuer, if `sasl.oauthbearer.expected.issuer` is not set."),
    int(oauth::CLOCK_SKEW, "30")
        .at_least(0)
        .doc("The difference of clocks that is allowed when the times in a token are checked."),
    text(oauth::SCOPE_CLAIM, "scope").doc("The claim with the scopes of a token."),
    text(oauth::SUBJECT_CLAIM, "sub").doc("The claim with the name of the user."),
    class(oauth::VALIDATOR)
        .default(oauth::DEFAULT_VALIDATOR)
        .doc("Kafka's default, or `BrokerJwtValidator` of the same package, which means the same here. Others are refused."),
    list("controller.listener.names", "")
        .null()
        .doc("The names of listeners for Kafka's controllers. Jackdaw does not open them."),
    long("log.retention.ms", "")
        .null()
        .dynamic()
        .or(&[("log.retention.minutes", MINUTE_MS), ("log.retention.hours", HOUR_MS)])
        .doc("The value of `retention.ms` for topics that do not set it."),
    int("log.retention.minutes", "").null().doc("As `log.retention.ms`, in minutes."),
    int("log.retention.hours", "168").doc("As `log.retention.ms`, in hours."),
    long("log.roll.ms", "")
        .null()
        .dynamic()
        .or(&[("log.roll.hours", HOUR_MS)])
        .doc("The value of `segment.ms` for topics that do not set it."),
    int("log.roll.hours", "168").at_least(1).doc("As `log.roll.ms`, in hours."),
    long("log.roll.jitter.ms", "")
        .null()
        .dynamic()
        .or(&[("log.roll.jitter.hours", HOUR_MS)])
        .doc("The value of `segment.jitter.ms` for topics that do not set it."),
    int("log.roll.jitter.hours", "0").at_least(0).doc("As `log.roll.jitter.ms`, in hours."),
    long("log.flush.interval.ms", "")
        .null()
        .dynamic()
        .or(&[("log.flush.scheduler.interval.ms", 1)])
        .doc("The value of `flush.ms` that is shown for topics that do not set it. It has no effect: the broker's durability applies."),
    long("log.flush.scheduler.interval.ms", "9223372036854775807")
        .doc("As `log.flush.interval.ms`."),
    text(authorizer::CLASS, "").doc(
        "`org.apache.kafka.metadata.authorizer.StandardAuthorizer` turns access control lists on. Empty: everyone may do \
         everything. No other class can be used.",
    ),
    text(authorizer::SUPER_USERS, "").doc(
        "The principals that may do everything if there is an authorizer, separated by semicolons, for example \
         `User:admin;User:other`.",
    ),
    boolean(authorizer::ALLOW_EVERYONE, "false").doc(
        "Whether everyone may use a resource that no access control list is for. A list that only denies is one, too.",
    ),
    text("ssl.keystore.type", "JKS").per_listener().doc(
        "The form of the key store: `JKS`, `PKCS12` or `PEM`. As in Java, the first two are told apart by the file itself.",
    ),
    text("ssl.keystore.location", "")
        .null()
        .per_listener()
        .doc("The file with the private key and the certificates of the server. It is read again at SIGHUP, or when the setting is set again."),
    password("ssl.keystore.password").per_listener().doc("The password of the key store, if it is `JKS` or `PKCS12`."),
    password("ssl.key.password")
        .per_listener()
        .doc("The password of the private key: of a `JKS` key store where it differs from the store's, or of an encrypted PEM key."),
    password("ssl.keystore.certificate.chain")
        .per_listener()
        .doc("The server's certificates as PEM text in place of a file, the server's own first."),
    password("ssl.keystore.key").per_listener().doc("The private key (PKCS#8) as PEM text in place of a file."),
    text("ssl.truststore.type", "JKS").per_listener().doc("The form of the trust store, as `ssl.keystore.type`."),
    text("ssl.truststore.location", "")
        .null()
        .per_listener()
        .doc("The file with the certificates by which clients are verified."),
    password("ssl.truststore.password").per_listener().doc(
        "The password of the trust store. A `JKS` store is read without it, but its integrity is not checked then.",
    ),
    password("ssl.truststore.certificates")
        .per_listener()
        .doc("The certificates by which clients are verified as PEM text in place of a file."),
    list("ssl.enabled.protocols", "TLSv1.2,TLSv1.3")
        .per_broker()
        .doc("The versions of TLS that are served: `TLSv1.2` and `TLSv1.3`. Older ones are left out with a warning."),
    list("ssl.cipher.suites", "").per_broker().doc(
        "The cipher suites that are served, by Java's names. Empty means all that are known here; others are left out with a warning.",
    ),
    text("ssl.client.auth", "none")
        .per_broker()
        .one_of(&["required", "requested", "none"])
        .doc("Whether a client has to show a certificate (`required`), may show one (`requested`), or is not asked for one (`none`)."),
    text("ssl.principal.mapping.rules", "DEFAULT").doc(
        "Rules that turn the name in a client's certificate into its principal: `RULE:PATTERN/REPLACEMENT/` with `L` \
         or `U` after it for lower or upper case, or `DEFAULT` for the whole name. The first that matches counts.",
    ),
    boolean("ssl.allow.dn.changes", "false")
        .doc("Whether a certificate that replaces another while the broker runs may have another name."),
    boolean("ssl.allow.san.changes", "false")
        .doc("Whether a certificate that replaces another while the broker runs may lack one of its alternative names."),
    int("broker.id", "-1").doc("The old name of `node.id`."),
    list("log.dir", "jackdaw-data").doc("The old name of `log.dirs`."),
];

/// The most windows for each client's use of a quota.
const MOST_WINDOWS: u32 = 1000;

pub(super) const BROKERS: &str = "jackdaw.brokers";

pub(super) const HTTP_LOGIN: &str = "jackdaw.http.login";

pub(super) const TEST_HOOKS: &str = "jackdaw.test.hooks";
const TEST_HOOKS_TOKEN: &str = "jackdaw.test.hooks.token";

pub(super) const LOGIN_MAX_BYTES: &str = "sasl.server.max.receive.size";

pub(super) const MAX_CONNECTIONS: &str = "max.connections";

pub(super) const CONNECTION_RATE: &str = "max.connection.creation.rate";

pub(super) const CONNECTIONS_PER_IP: &str = "max.connections.per.ip";
pub(super) const CONNECTIONS_OF: &str = "max.connections.per.ip.overrides";

/// As in Kafka, always set for the whole cluster, because elections depend on it (KIP-966).
pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

impl std::fmt::Debug for BrokerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BrokerSettings { node_id, given, altered, .. } = self;
        f.debug_struct("BrokerSettings")
            .field("node_id", node_id)
            .field("given", given)
            .field("altered", altered)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Altered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |layer: &Overrides| layer.keys().cloned().collect::<Vec<_>>();
        let Altered { cluster, broker } = self;
        f.debug_struct("Altered").field("cluster", &names(cluster)).field("broker", &names(broker)).finish()
    }
}

impl Durability {
    pub fn parse(word: &str) -> Option<Durability> {
        match word {
            "fsync" => Some(Durability::Fsync),
            "interval" => Some(Durability::Interval),
            "os" => Some(Durability::Os),
            _ => None,
        }
    }
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Durability::Fsync => "fsync",
            Durability::Interval => "interval",
            Durability::Os => "os",
        })
    }
}

/// All settings of the broker, by name: its own, and the defaults of topic settings.
pub(super) fn rows() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
        let mut rows = [ACTING, OTHERS].concat();
        for idle in table::rows(table::BROKER) {
            if !rows.iter().any(|row| row.name == idle.name) {
                rows.push(idle);
            }
        }
        for topic in topic::rows() {
            let Some(twin) = topic.twin else { continue };
            if !rows.iter().any(|row| row.name == twin) {
                rows.push(Row { name: twin, twin: Some(topic.name), ..*topic });
            }
        }
        rows.sort_by_key(|row| row.name);
        rows
    });
    &ROWS
}

pub(super) fn row(name: &str) -> Option<&'static Row> {
    let at = rows().binary_search_by_key(&name, |row| row.name).ok()?;
    rows().get(at)
}

/// The text that is set under this name: altered for this broker, else for the cluster, else given at the start.
pub(super) fn current<'a>(name: &str, altered: &'a Altered, given: &'a Given) -> Option<&'a str> {
    let altered = altered.broker.get(name).or_else(|| altered.cluster.get(name));
    altered.map(String::as_str).or_else(|| given.get(name))
}
