//! The composition root: builds every room, drains, stops.
//!
//! As a library: `Broker::builder().ephemeral().start().await?` starts a broker on a free loopback
//! port. It stops when it is dropped, and one process can have several. `.brokers(3)` runs three
//! virtual brokers, and tests can stop and start each of them.

mod addresses;
mod initial_topics;
#[cfg(feature = "security")]
mod token_keys;
mod virtual_broker;
mod virtual_brokers;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tracing::{error, info, warn};

use crate::api::context::Services;
use crate::config::machine::{self, OpenFiles};
use crate::config::{BrokerSettings, ConfigError, Difference, Durability, Given, INITIAL_TOPICS, Reloaded};
use crate::hooks::TestHooks;
#[cfg(feature = "security")]
use crate::http::Logins;
use crate::http::{Hooks, Http, Sources};
use crate::metrics::Metrics;
#[cfg(feature = "security")]
use crate::security::basic::KnownUser;
use crate::security::tls::{Replacement, Tls};
use crate::server::{BindError, Bound, Resources};
use crate::stop::Stop;
use crate::storage::{Location, OpenError, Store, StoreOptions};
use crate::telemetry;
use crate::time::{self, Clock, Moment};
use crate::types::NodeId;
#[cfg(feature = "security")]
use crate::types::ScramHash;
pub use virtual_broker::VirtualBrokerError;
use virtual_broker::{Common, VirtualBroker};
use virtual_brokers::VirtualBrokers;

/// Interval of the checks of disk and clock.
const WATCH: Duration = Duration::from_secs(30);

/// Interval of the checks for certificates that will expire.
const CERTIFICATES: Duration = Duration::from_secs(24 * 60 * 60);

/// The first retention run comes this long after the start, as in Kafka
/// (`log.initial.task.delay.ms`), or after `log.retention.check.interval.ms` if that is shorter.
/// Later runs follow at that interval.
const FIRST_RETENTION: Duration = Duration::from_secs(30);

/// Interval at which the scrub checks whether it has to read more.
const SCRUB_TICK: Duration = Duration::from_secs(1);

/// The shortest pause between two compaction runs, if `log.cleaner.backoff.ms` is shorter.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);

/// A running broker. When dropped it stops at once; [`Broker::stop`] lets it finish outstanding
/// work.
pub struct Broker {
    virtual_brokers: Arc<VirtualBrokers>,
    http: Option<Http>,
    hooks: Option<TestHooks>,
    /// The keys and certificates of the HTTP server.
    http_tls: Arc<Tls>,
    /// The background tasks; dropping the set ends them.
    _housekeeping: JoinSet<()>,
    stop: Stop,
    store: Store,
    /// The addresses of each virtual broker.
    brokers: Vec<(NodeId, Vec<String>)>,
    listening: Vec<String>,
    advertised: Vec<String>,
    bootstrap: String,
    settings: Arc<BrokerSettings>,
    data_dir: Option<PathBuf>,
}

/// The settings of a broker before it starts. Without a listener it uses a free loopback port.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    given: Given,
    ephemeral: bool,
}

/// The reasons why a broker did not start. The message says how to fix it.
#[derive(Debug)]
pub enum StartError {
    Settings(ConfigError),
    /// The process's limit of open files is too low.
    TooFewFiles {
        limit: usize,
        least: usize,
    },
    Open(OpenError),
    Bind(BindError),
}

impl Broker {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The value for a client's `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The virtual brokers of this process, each with its first address.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = (NodeId, &str)> {
        self.brokers.iter().map(|(id, addresses)| (*id, addresses.first().map_or("", String::as_str)))
    }

    /// Stops a virtual broker. Other brokers become leaders of its partitions and coordinators of
    /// its groups. Its connections are closed and its ports refuse new ones.
    pub async fn stop_one(&self, id: NodeId) -> Result<(), VirtualBrokerError> {
        self.virtual_brokers.stop_one(id).await
    }

    /// Starts a stopped virtual broker at its old addresses. It is in the ISR at once, and leads
    /// the partitions that had no leader.
    pub async fn start_one(&self, id: NodeId) -> Result<(), VirtualBrokerError> {
        self.virtual_brokers.start_one(id).await
    }

    /// All addresses that clients on this machine can use.
    pub fn listening(&self) -> &[String] {
        &self.listening
    }

    /// The addresses that clients are given to connect to: those of `advertised.listeners` if that is set.
    pub fn advertised(&self) -> &[String] {
        &self.advertised
    }

    /// The address of the HTTP server for health checks and metrics, if there is one.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(Http::address)
    }

    /// The hooks for tests of applications; `None` without [`Builder::test_hooks`].
    pub fn hooks(&self) -> Option<&TestHooks> {
        self.hooks.as_ref()
    }

    pub fn settings(&self) -> &BrokerSettings {
        &self.settings
    }

    /// The data directory; `None` if the data is only in memory.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// Applies all settings that can change while the broker runs. Logs the changes, the settings
    /// that need a restart, and errors.
    pub async fn reload(&self, mut written: Given) {
        // Before the certificates are read, so that none of them replaces a newer one.
        let turn = self.virtual_brokers.turn_to_reload().await;
        let certificates = self.read_certificates(&mut written).await;
        self.virtual_brokers.reload(&written);
        for (listener, replacement) in certificates {
            replacement.install();
            info!(listener, "keys and certificates were read again; new connections get them");
        }
        #[cfg(feature = "security")]
        warn_of_locked_out(
            &self.virtual_brokers.common().services,
            &self.virtual_brokers.tls_after(&written),
        );
        let store = self.store.clone();
        let Ok(Reloaded { changed, waiting, refused, .. }) =
            spawn_blocking(move || store.reload_settings(&written)).await
        else {
            return error!(
                "cannot reload the settings: this is a bug of the broker; restart it to apply them"
            );
        };
        drop(turn);
        for Difference { name, from, to, is_altered } in &changed {
            let [from, to] = [from, to].map(|value| value.as_deref().unwrap_or("its default"));
            if *is_altered {
                info!(
                    name,
                    from,
                    to,
                    "setting changed without effect: a client has altered it, and that takes precedence"
                );
            } else {
                info!(name, from, to, "setting changed");
            }
        }
        for name in &waiting {
            warn!(name, "setting changed; it takes effect at the next start");
        }
        for error in &refused {
            warn!(%error, "setting refused, the old value stays; correct it and send SIGHUP again");
        }
        info!(
            changed = changed.len(),
            waiting = waiting.len(),
            refused = refused.len(),
            "settings were read again"
        );
    }

    /// Reads keys and certificates again, with the settings after the reload. Returns those to install, with their
    /// listeners. If those of a listener are refused, its TLS settings in `written` are replaced by the present ones.
    async fn read_certificates(&self, written: &mut Given) -> Vec<(String, Replacement)> {
        let present = self.virtual_brokers.common().services.settings();
        let mut all = self.virtual_brokers.tls_after(written);
        all.push((Arc::clone(&self.http_tls), Arc::new(present.reloaded(written).settings)));
        let prepared = spawn_blocking(move || {
            all.iter().flat_map(|(tls, settings)| tls.prepare_all(settings)).collect::<Vec<_>>()
        });
        let Ok(prepared) = prepared.await else {
            error!("cannot read the certificates: this is a bug of the broker; restart it to use new ones");
            return Vec::new();
        };
        let mut replacements = Vec::new();
        let mut refused = Vec::new();
        for (listener, outcome) in prepared {
            match outcome {
                Ok(replacement) => replacements.push((listener, replacement)),
                Err(error) => {
                    warn!(
                        listener, %error,
                        "certificates refused, the old ones and their settings stay; correct them and send SIGHUP again"
                    );
                    written.keep_tls_of(&listener, &present.given);
                    refused.push(listener);
                }
            }
        }
        // Virtual brokers have listeners of the same names, and the same settings for them.
        replacements.retain(|(listener, _)| !refused.contains(listener));
        replacements
    }

    /// Stops gracefully: refuses new work, answers the requests in flight, and syncs all data to
    /// disk.
    pub async fn stop(self) {
        self.stop.begin();
        self.virtual_brokers.stop_all().await;
        let store = self.store.clone();
        // The only possible error is a panic, which was already logged.
        let _ = spawn_blocking(move || store.close()).await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Connections first: it is better to leave a request unanswered than to refuse it.
        self.virtual_brokers.cut_off();
        // Tasks end at their next await and hold handles of the store until then. Closing the store
        // now releases the directory at once.
        self.store.close();
    }
}

impl Builder {
    /// Keeps all data in memory. It is lost when the broker stops. Groups rebalance at once, as with
    /// `group.initial.rebalance.delay.ms=0`, unless that is set.
    #[must_use]
    pub fn ephemeral(mut self) -> Builder {
        self.ephemeral = true;
        self
    }

    /// `HOST:PORT`; port 0 chooses a free port.
    #[must_use]
    pub fn listen(self, address: &str) -> Builder {
        self.set("listeners", format!("PLAINTEXT://{address}"))
    }

    /// The number of virtual brokers. Their ports follow the first one's.
    #[must_use]
    pub fn brokers(self, brokers: u16) -> Builder {
        self.set("jackdaw.brokers", brokers.to_string())
    }

    #[must_use]
    pub fn data_dir(self, path: impl AsRef<Path>) -> Builder {
        self.set("log.dirs", path.as_ref().to_string_lossy())
    }

    #[must_use]
    pub fn durability(self, durability: Durability) -> Builder {
        self.set("jackdaw.durability", durability.to_string())
    }

    /// A topic to create at the start, unless it exists: `NAME[:PARTITIONS[:REPLICAS]]`, such as `orders:3`.
    #[must_use]
    pub fn topic(self, topic: &str) -> Builder {
        let others = self.given.get(INITIAL_TOPICS).map(|others| format!("{others},")).unwrap_or_default();
        self.set(INITIAL_TOPICS, others + topic)
    }

    /// Turns on [`Broker::hooks`], for tests of applications. With an HTTP address they are also reached over HTTP.
    #[must_use]
    pub fn test_hooks(self) -> Builder {
        self.set("jackdaw.test.hooks", "true")
    }

    /// Any setting by its name, as in the configuration file.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Builder {
        self.given.set(name, value);
        self
    }

    /// Sets all of these, over earlier values.
    #[must_use]
    pub fn set_all(mut self, given: Given) -> Builder {
        self.given.merge(given);
        self
    }

    pub async fn start(mut self) -> Result<Broker, StartError> {
        if self.given.get("listeners").is_none() {
            self = self.listen("localhost:0");
        }
        if self.ephemeral {
            self.given.set_ephemeral_defaults();
        }
        let settings = Arc::new(BrokerSettings::load(self.given).map_err(StartError::Settings)?);
        // The ports are bound before the data directory is opened, which can take long after a
        // crash.
        let mut bound = Vec::new();
        for nth in 0..settings.brokers {
            bound
                .push(Bound::at(&settings.of_virtual_broker(nth).listeners).await.map_err(StartError::Bind)?);
        }
        let http_tls = Arc::new(Tls::load_for_http(&settings).map_err(StartError::Settings)?);
        let http = match &settings.http {
            None => None,
            Some(listener) => {
                let failed = |error| StartError::Bind(BindError::of_http(listener, error));
                Some(Http::start(&settings, listener, Arc::clone(&http_tls)).await.map_err(failed)?)
            }
        };
        let data_dir = (!self.ephemeral).then(|| settings.data_dir.clone());
        let location = data_dir.clone().map_or(Location::Memory, Location::Directory);
        let files = open_files(&settings)?;
        let clock = if settings.test_hooks { Clock::turnable() } else { Clock::machine() };
        let mut options = StoreOptions::new(location, Arc::clone(&settings));
        options.clock = clock.clone();
        options.tuning.open_segments = files.segments;
        let store = match spawn_blocking(|| Store::open(options)).await {
            Ok(opened) => opened.map_err(StartError::Open)?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };

        initial_topics::create(&store, &settings).await;
        let (stop, stopping) = Stop::new();
        let (services, coordinators) = Services::start(store.clone(), Arc::clone(&settings), clock, stopping);
        let mut housekeeping = JoinSet::new();
        #[cfg(feature = "security")]
        let services = {
            let keys = token_keys::start(&services.settings(), &mut housekeeping).await;
            services.with_token_keys(keys.map_err(StartError::Settings)?)
        };
        let services = Arc::new(services.with_http_tls(Arc::clone(&http_tls)));
        http_tls.load_again(&services.settings()).map_err(StartError::Settings)?;
        let live = Arc::clone(&services);
        let resources = Resources::of(&settings, move || live.settings());
        let common = Common { services, settings: Arc::clone(&settings), resources };
        let mut virtual_brokers = VirtualBroker::all(&common).map_err(StartError::Settings)?;
        let certificates: Vec<_> = virtual_brokers.iter().map(|one| one.tls(&common)).collect();
        let tls =
            certificates.iter().map(|(tls, _)| Arc::clone(tls)).chain([Arc::clone(&http_tls)]).collect();
        for (one, bound) in virtual_brokers.iter_mut().zip(bound) {
            one.start_at(bound, &common).map_err(StartError::Bind)?;
        }

        warn_of_strangers(&settings);
        #[cfg(feature = "security")]
        warn_of_locked_out(&common.services, &certificates);
        housekeeping.spawn(report_repeats());
        housekeeping.spawn(watch_certificates(tls));
        housekeeping.spawn(repeat(store.clone(), (WATCH, WATCH), Store::watch));
        let retention = (settings.retention_check.min(FIRST_RETENTION), settings.retention_check);
        housekeeping.spawn(repeat(store.clone(), retention, Store::housekeep));
        let expiry = (settings.token_check, settings.token_check);
        housekeeping.spawn(repeat(store.clone(), expiry, Store::expire_tokens));
        housekeeping.spawn(compact(store.clone(), Arc::clone(&common.services)));
        housekeeping.spawn(scrub(store.clone(), Arc::clone(&common.services)));
        let run = coordinators.clone();
        housekeeping.spawn(async move { run.run().await });
        let servers = || virtual_brokers.iter().filter_map(|one| Some((one.id, one.serving()?.1)));
        let advertised = servers().flat_map(|(_, server)| addresses::advertised(server)).collect();
        let brokers: Vec<_> = servers().map(|(id, server)| (id, addresses::listening(server))).collect();
        let first: Vec<&str> =
            brokers.iter().filter_map(|(_, all)| all.first()).map(String::as_str).collect();
        let serving = virtual_brokers.iter().filter_map(VirtualBroker::serving);
        let metrics =
            Metrics::new(store.clone(), coordinators.groups.clone(), serving, Arc::clone(&http_tls));
        let services = Arc::clone(&common.services);
        let virtual_brokers = Arc::new(VirtualBrokers::new(virtual_brokers, common, store.clone()));
        let hooks = services.faults.clone().map(|faults| {
            let brokers: Weak<VirtualBrokers> = Arc::downgrade(&virtual_brokers);
            TestHooks::new(faults, store.clone(), coordinators).with_brokers(brokers)
        });
        if let Some(http) = &http {
            #[cfg(feature = "security")]
            let logins = settings.http_login.then(|| logins_of_http(&services, store.clone()));
            let metrics = Arc::new(metrics);
            let store = store.clone();
            http.serve(Sources {
                troubles: Box::new(move || store.troubles()),
                metrics: Box::new(move |format| metrics.render(format)),
                #[cfg(feature = "security")]
                logins,
                hooks: hooks.clone().map(|hooks| Hooks::new(hooks, settings.test_hooks_token.clone())),
            });
        }
        Ok(Broker {
            bootstrap: first.join(","),
            listening: brokers.iter().flat_map(|(_, addresses)| addresses.clone()).collect(),
            advertised,
            brokers,
            virtual_brokers,
            http,
            hooks,
            http_tls,
            _housekeeping: housekeeping,
            stop,
            store,
            settings,
            data_dir,
        })
    }
}

/// The users of PLAIN of all listeners, and those with SCRAM credentials, as they are at each login.
#[cfg(feature = "security")]
fn logins_of_http(services: &Arc<Services>, store: Store) -> Logins {
    let (of_users, of_delay, counts) =
        (Arc::clone(services), Arc::clone(services), Arc::clone(&services.logins));
    let known = move |user: &str| {
        let settings = of_users.settings();
        let plain = settings.logins.values().filter_map(|logins| logins.plain_users.get(user).cloned());
        let credentials = store.credentials();
        let scram = credentials.of_user(user).into_iter().flatten();
        let scram = scram.filter_map(|(number, one)| Some((ScramHash::numbered(*number)?, one.clone())));
        KnownUser { passwords: plain.collect(), scram: scram.collect() }
    };
    let delay = move || of_delay.settings().login_failure_delay;
    Logins::new(known, delay, move |has_succeeded| counts.count_http(has_succeeded))
}

fn warn_of_strangers(settings: &BrokerSettings) {
    if settings.is_http_unprotected() {
        warn!(
            "everyone who reaches the HTTP port can read health and metrics: set jackdaw.http.tls or \
             jackdaw.http.login, or listen on localhost"
        );
    }
    if settings.is_http_login_in_the_open() {
        warn!(
            "passwords of users pass the HTTP port unencrypted: set jackdaw.http.tls=true, or listen on localhost"
        );
    }
    if settings.test_hooks {
        match &settings.http {
            Some(_) => warn!(
                "test hooks are on: clients of the HTTP port can make requests fail; not for production"
            ),
            None => info!("test hooks are on, for this process only: no HTTP address is set"),
        }
    }
    let unprotected = settings.unprotected_listeners();
    if unprotected.is_empty() {
        return;
    }
    let shown = unprotected.iter().map(|listener| {
        let host = if listener.host.is_empty() { "*" } else { &listener.host };
        format!("{}://{host}:{}", listener.name, listener.port)
    });
    warn!(
        listeners = shown.collect::<Vec<_>>().join(" "),
        "everyone who reaches these addresses can read, change and delete everything: there is no login, and no \
         authorizer that refuses strangers. Listen on localhost, or set up TLS, users and rights as docs/security.md shows"
    );
}

#[cfg(feature = "security")]
fn warn_of_locked_out(services: &Services, brokers: &[(Arc<Tls>, Arc<BrokerSettings>)]) {
    if brokers.iter().all(|(tls, settings)| services.are_super_users_locked_out(settings, tls)) {
        warn!(
            "no user in super.users can log in: correct super.users, the trust store, or the users of PLAIN and SCRAM; \
             until then nobody can administer this broker"
        );
    }
}

/// With a lower limit a busy broker keeps opening and closing segments, and refuses clients.
const FEW_FILES: usize = 1024;

fn open_files(settings: &BrokerSettings) -> Result<OpenFiles, StartError> {
    let limit = machine::open_files();
    let files = settings.open_files().map_err(|least| StartError::TooFewFiles { limit, least })?;
    if limit < FEW_FILES {
        let OpenFiles { connections, segments, .. } = files;
        warn!(
            limit,
            connections,
            segments,
            "the limit of open files is low, so there can be few connections: raise ulimit -n"
        );
    }
    Ok(files)
}

/// Runs `work` after the first duration, and then repeatedly after the second.
async fn repeat(store: Store, (first, every): (Duration, Duration), work: fn(&Store)) {
    time::sleep(first).await;
    loop {
        let store = store.clone();
        if spawn_blocking(move || work(&store)).await.is_err() {
            error!("housekeeping failed: this is a bug of the broker; it is tried again");
        }
        time::sleep(every).await;
    }
}

/// Warns at the start and once a day of certificates that will expire soon.
async fn watch_certificates(all: Vec<Arc<Tls>>) {
    loop {
        let now = Clock::machine().now();
        all.iter().flat_map(|tls| tls.warnings(now)).for_each(|warning| warn!("{warning}"));
        time::sleep(CERTIFICATES).await;
    }
}

async fn report_repeats() {
    loop {
        telemetry::report_repeats();
        time::sleep(telemetry::WINDOW).await;
    }
}

async fn compact(store: Store, services: Arc<Services>) {
    loop {
        // Read each time: the setting can be altered at any time, also to 0.
        time::sleep(services.settings().cleaner_backoff.max(SHORTEST_BACKOFF)).await;
        let store = store.clone();
        if spawn_blocking(move || store.compact()).await.is_err() {
            error!("compaction failed: this is a bug of the broker; it is tried again");
        }
    }
}

async fn scrub(store: Store, services: Arc<Services>) {
    let mut last = Moment::now();
    loop {
        time::sleep(SCRUB_TICK).await;
        let elapsed = last.elapsed();
        last = Moment::now();
        // Read each time: the setting can be altered at any time, also to 0.
        let interval = services.settings().scrub_interval;
        if interval.is_zero() {
            continue;
        }
        let store = store.clone();
        if spawn_blocking(move || store.scrub(interval, elapsed)).await.is_err() {
            error!("the scrub failed: this is a bug of the broker; it is tried again");
        }
    }
}

impl std::error::Error for StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Settings(error) => error.fmt(f),
            StartError::TooFewFiles { limit, least } => write!(
                f,
                "the limit of open files is {limit}, and the broker needs at least {least}: raise it \
                 (ulimit -n, LimitNOFILE of systemd, --ulimit nofile of containers)"
            ),
            StartError::Open(error) => error.fmt(f),
            StartError::Bind(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::record::{BatchBuilder, Checked, Header};
    use crate::storage::NewTopic;
    use crate::types::{Offset, Timestamp};

    /// Whether the broker answers an ApiVersions request.
    async fn is_served(broker: &Broker) -> bool {
        let Ok(mut stream) = TcpStream::connect(broker.bootstrap()).await else { return false };
        stream.write_all(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff").await.is_ok()
            && stream.read_exact(&mut [0; 4]).await.is_ok()
    }

    async fn get(broker: &Broker, path: &str) -> String {
        let mut stream = TcpStream::connect(broker.http().unwrap()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn two_brokers_live_in_one_process_each_at_a_port_of_its_own() {
        let first = Broker::builder().ephemeral().start().await.unwrap();
        let second = Broker::builder().ephemeral().start().await.unwrap();
        assert_ne!(first.bootstrap(), second.bootstrap());
        assert!(is_served(&first).await && is_served(&second).await);
    }

    #[tokio::test]
    async fn clients_on_this_machine_use_localhost_and_are_given_the_advertised_address() {
        let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
        let everywhere = Broker::builder().ephemeral().listen(":0").start().await.unwrap();
        let address = everywhere.bootstrap();
        assert_eq!(address, format!("localhost:{}", port(address)));
        assert_eq!(everywhere.advertised(), [address]);
        assert!(is_served(&everywhere).await);
        let builder =
            Broker::builder().ephemeral().set("listeners", "A://:0,B://127.0.0.1:0,C://localhost:0");
        let builder = builder.set("listener.security.protocol.map", "A:PLAINTEXT,B:PLAINTEXT,C:PLAINTEXT");
        let broker =
            builder.set("advertised.listeners", "A://kafka:29092,B://[::1]:0").start().await.unwrap();
        let bound: Vec<String> = broker.listening().iter().map(|address| port(address)).collect();
        let [_, b, c] = &bound[..] else { panic!("{bound:?}") };
        assert_eq!(
            broker.advertised(),
            ["kafka:29092".to_owned(), format!("[::1]:{b}"), format!("localhost:{c}")]
        );
    }

    #[tokio::test]
    async fn a_dropped_broker_gives_its_directory_back_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let broker = Broker::builder().data_dir(dir.path()).start().await.unwrap();
            assert!(is_served(&broker).await);
        }
    }

    #[tokio::test]
    async fn a_stopped_broker_gives_everything_back() {
        let dir = tempfile::tempdir().unwrap();
        let first = Broker::builder().data_dir(dir.path()).start().await.unwrap();
        let address = first.bootstrap().to_owned();
        assert!(is_served(&first).await);
        first.stop().await;
        let second = Broker::builder().data_dir(dir.path()).listen(&address).start().await.unwrap();
        assert_eq!(second.bootstrap(), address);
        assert!(is_served(&second).await);
    }

    /// Waits on another thread. A paused clock stands still meanwhile; otherwise it leaps to the next timer whenever
    /// the runtime waits for a thread of the store.
    async fn without_time_passing<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = tokio::runtime::Handle::current();
        spawn_blocking(move || runtime.block_on(work)).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn retention_is_applied_at_its_own_interval_and_not_sooner() {
        let broker = Broker::builder().ephemeral().start().await.unwrap();
        let new = NewTopic { name: "t".into(), partitions: 1, overrides: BTreeMap::new() };
        let topic = without_time_passing(broker.store.create_topic(new)).await.unwrap();
        let log = topic.partition(0).unwrap();
        // The first run is over; the next one is 300 s later.
        time::sleep(Duration::from_secs(31)).await;
        let of_1970 = BatchBuilder::new().value(Timestamp(1), "v").build();
        let header = Header::parse(&of_1970).unwrap();
        let batch = Checked { bytes: of_1970, header, newest: Some(0), is_copy: false, opened: 0 };
        let append = broker.store.append(log, batch);
        without_time_passing(append).await.unwrap();
        let log_start = async || {
            // This command comes after those of retention, so they are done when it is done.
            let altered = broker.store.alter_topic(topic.id, BTreeMap::new());
            without_time_passing(altered).await.unwrap();
            log.ends().log_start
        };
        time::sleep(Duration::from_secs(298)).await;
        assert_eq!(log_start().await, Offset(0));
        time::sleep(Duration::from_secs(2)).await;
        assert_eq!(log_start().await, Offset(1));
    }

    #[tokio::test]
    async fn health_is_answered_over_http_where_it_is_asked_for() {
        let broker = Broker::builder().ephemeral().set("jackdaw.http.listener", "127.0.0.1:0");
        let broker = broker.start().await.unwrap();
        for (path, status) in
            [("/livez", "200 OK"), ("/readyz", "200 OK"), ("/health", "200 OK"), ("/", "404 Not Found")]
        {
            let answer = get(&broker, path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}: {answer}");
        }
    }

    #[cfg(feature = "security")]
    #[tokio::test]
    async fn metrics_ask_for_a_user_of_scram_until_it_is_deleted() {
        use std::num::NonZeroU32;

        use crate::kernel::CredentialChange;
        use crate::security::sasl::scram;

        let builder = Broker::builder().ephemeral().set("jackdaw.http.listener", "127.0.0.1:0");
        let builder = builder.set("connection.failed.authentication.delay.ms", "0");
        let broker = builder.set("jackdaw.http.login", "true").start().await.unwrap();
        // ann:pencil
        let login = " HTTP/1.1\r\nAuthorization: Basic YW5uOnBlbmNpbA==\r\nX: ";
        let metrics = format!("/metrics{login}");
        let is_served = async || get(&broker, &metrics).await.starts_with("HTTP/1.1 200 OK\r\n");
        assert!(!is_served().await);
        let iterations = NonZeroU32::new(4096).unwrap();
        let credential = scram::credential(ScramHash::Sha512, "pencil", b"salt", iterations);
        let change = |credential| {
            vec![CredentialChange { user: "ann".into(), mechanism: ScramHash::Sha512.number(), credential }]
        };
        broker.store.alter_credentials(change(Some(credential))).await.unwrap();
        assert!(is_served().await && is_served().await);
        assert!(get(&broker, "/metrics").await.starts_with("HTTP/1.1 401 "));
        assert!(get(&broker, "/readyz").await.starts_with("HTTP/1.1 200 "));
        // One request failed, and two were served before this one.
        let page = get(&broker, &metrics).await;
        for row in ["outcome=\"succeeded\",reason=\"\"} 3", "outcome=\"failed\",reason=\"credentials\"} 1"] {
            let row = format!("jackdaw_logins_total{{listener=\"HTTP\",mechanism=\"BASIC\",{row}");
            assert!(page.lines().any(|line| line == row), "{row}:\n{page}");
        }
        broker.store.alter_credentials(change(None)).await.unwrap();
        assert!(!is_served().await);
    }

    #[tokio::test]
    async fn a_port_in_use_is_found_before_a_data_directory_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let first = Broker::builder().ephemeral().set("jackdaw.http.listener", "127.0.0.1:0").start();
        let first = first.await.unwrap();
        let taken = [
            ("listeners", format!("PLAINTEXT://{}", first.bootstrap())),
            ("jackdaw.http.listener", first.http().unwrap().to_string()),
        ];
        for (name, value) in taken {
            let data = dir.path().join(name);
            let second = Broker::builder().data_dir(&data).set(name, value).start().await;
            assert!(matches!(second, Err(StartError::Bind(_))), "{name}");
            assert!(!data.exists(), "{name}");
        }
    }

    #[tokio::test]
    async fn groups_of_an_ephemeral_broker_rebalance_at_once_unless_that_is_set() {
        const DELAY: &str = "group.initial.rebalance.delay.ms";
        let delay = async |builder: Builder| {
            let broker = builder.start().await.unwrap();
            broker.settings().group_initial_delay
        };
        let (seconds, dir) = (Duration::from_secs, tempfile::tempdir().unwrap());
        assert_eq!(delay(Broker::builder().ephemeral()).await, seconds(0));
        assert_eq!(delay(Broker::builder().ephemeral().set(DELAY, "2000")).await, seconds(2));
        assert_eq!(delay(Broker::builder().data_dir(dir.path())).await, seconds(3));
    }

    #[tokio::test]
    async fn no_http_without_being_asked_for() {
        assert_eq!(Broker::builder().ephemeral().start().await.unwrap().http(), None);
    }
}
