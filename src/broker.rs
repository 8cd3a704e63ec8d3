//! The composition root: builds every room, drains, stops.
//!
//! As a library: `Broker::builder().ephemeral().start().await?` is a broker on a free loopback port
//! that stops when it is dropped; there may be several in one process. With `.brokers(3)` it poses as
//! three brokers, of which tests may stop and start each.

mod posed;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{error, info, warn};

use crate::api::Stop;
use crate::api::context::Services;
use crate::config::machine::{self, OpenFiles};
use crate::config::{BrokerSettings, ConfigError, Difference, Durability, Given, Reloaded};
use crate::http::{Asked, Http};
use crate::metrics::Metrics;
use crate::server::{BindError, Bound, Resources, Server};
use crate::storage::{OpenError, Place, Store, StoreOptions};
use crate::telemetry;
use crate::time::{self, Clock, Moment};
use crate::types::NodeId;
pub use posed::PoseError;
use posed::{Common, Posed};

/// How often the disk and the clock are looked at.
const WATCH: Duration = Duration::from_secs(30);

/// Retention is first applied so long after the start, as in Kafka (`log.initial.task.delay.ms`), or
/// earlier where `log.retention.check.interval.ms` is shorter; from then on at that interval.
const FIRST_RETENTION: Duration = Duration::from_secs(30);

/// How often the scrub checks whether it has to read more.
const SCRUB_TICK: Duration = Duration::from_secs(1);

/// Compaction is looked for no more often, whatever `log.cleaner.backoff.ms` says.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);
/// How long answers that are owed may take when the broker stops.
const DRAIN: Duration = Duration::from_secs(10);

/// A running broker. Dropped, it stops at once; [`Broker::stop`] lets it finish what it owes.
pub struct Broker {
    posed: Mutex<Vec<Posed>>,
    common: Common,
    http: Option<Http>,
    /// Ends with the broker.
    _housekeeping: JoinSet<()>,
    stop: Stop,
    store: Store,
    /// The addresses of each broker, and all together.
    brokers: Vec<(NodeId, Vec<String>)>,
    listening: Vec<String>,
    bootstrap: String,
    settings: Arc<BrokerSettings>,
    data_dir: Option<PathBuf>,
}

/// What is to be known before a broker starts. Without a listener it takes a free loopback port.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    given: Given,
    ephemeral: bool,
}

/// Why a broker did not start, with what to do about it.
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

    /// What a client's `bootstrap.servers` takes.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The brokers that this process poses as, each with the first of its addresses.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = (NodeId, &str)> {
        self.brokers.iter().map(|(id, addresses)| (*id, addresses.first().map_or("", String::as_str)))
    }

    /// Stops one of the brokers that this process poses as: what it leads is led by others, its
    /// groups get other coordinators, its connections end and its ports are refused.
    pub async fn stop_one(&self, id: NodeId) -> Result<(), PoseError> {
        let mut posed = self.posed.lock().await;
        let others = posed.iter().filter(|one| one.is_running() && one.id != id).map(|one| one.id).collect();
        let one = posed.iter_mut().find(|one| one.id == id).ok_or(PoseError::Unknown(id))?;
        if one.is_running() {
            self.store.set_brokers(others).await.map_err(PoseError::Store)?;
            one.stop(DRAIN).await;
        }
        Ok(())
    }

    /// Starts it again, where it was before. It is in step at once and leads what nobody else does.
    pub async fn start_one(&self, id: NodeId) -> Result<(), PoseError> {
        let mut posed = self.posed.lock().await;
        let mut running: Vec<NodeId> =
            posed.iter().filter(|one| one.is_running()).map(|one| one.id).collect();
        let one = posed.iter_mut().find(|one| one.id == id).ok_or(PoseError::Unknown(id))?;
        if one.is_running() {
            return Ok(());
        }
        one.start(&self.common).await.map_err(PoseError::Bind)?;
        running.push(id);
        if let Err(error) = self.store.set_brokers(running).await {
            one.stop(DRAIN).await;
            return Err(PoseError::Store(error));
        }
        Ok(())
    }

    /// Every address clients may use.
    pub fn listening(&self) -> &[String] {
        &self.listening
    }

    /// Where health checks and metrics are answered, if anywhere.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(Http::address)
    }

    pub fn settings(&self) -> &BrokerSettings {
        &self.settings
    }

    /// Where the data lies; `None` where it is gone with the broker.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// Takes the settings as they are written now, as far as they may change while the broker runs, and
    /// logs the changes, the settings that need a restart, and errors.
    pub async fn reload(&self, written: Given) {
        let mut posed = self.posed.lock().await;
        posed.iter_mut().for_each(|one| one.reload(&written));
        self.common.services.reload(&written);
        let store = self.store.clone();
        let Ok(Reloaded { changed, waiting, refused, .. }) =
            spawn_blocking(move || store.reload_settings(&written)).await
        else {
            return error!(
                "cannot reload the settings: this is a bug of the broker; restart it to apply them"
            );
        };
        for Difference { name, from, to, is_altered } in &changed {
            let [from, to] = [from, to].map(|value| value.as_deref().unwrap_or("its default"));
            match is_altered {
                true => info!(
                    name,
                    from,
                    to,
                    "setting changed without effect: a client has altered it, and that takes precedence"
                ),
                false => info!(name, from, to, "setting changed"),
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

    /// Stops gently: nothing new is accepted or begun, what is owed is answered, all is on disk.
    pub async fn stop(mut self) {
        self.stop.begin();
        let posed = self.posed.get_mut();
        posed.iter().for_each(Posed::begin_to_stop);
        for one in posed {
            one.stop(DRAIN).await;
        }
        let store = self.store.clone();
        // Only a panic in there could come back, and it was reported.
        let _ = spawn_blocking(move || store.close()).await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Connections first, so that nothing is refused that could be left unanswered.
        self.posed.get_mut().clear();
        // Tasks end at their next chance and hold handles of the store until then; the directory
        // is given back now.
        self.store.close();
    }
}

impl Builder {
    /// Keeps everything in memory: gone when the broker stops.
    #[must_use]
    pub fn ephemeral(mut self) -> Builder {
        self.ephemeral = true;
        self
    }

    /// `HOST:PORT`; port 0 takes a free one.
    #[must_use]
    pub fn listen(self, address: &str) -> Builder {
        self.set("listeners", format!("PLAINTEXT://{address}"))
    }

    /// As how many brokers the process poses; their ports follow the first one's.
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

    /// Any setting by its name, as in the configuration file.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Builder {
        self.given.set(name, value);
        self
    }

    /// All of these, over what was set before.
    #[must_use]
    pub fn set_all(mut self, given: Given) -> Builder {
        self.given.merge(given);
        self
    }

    pub async fn start(mut self) -> Result<Broker, StartError> {
        if self.given.get("listeners").is_none() {
            self = self.listen("localhost:0");
        }
        let settings = Arc::new(BrokerSettings::load(self.given).map_err(StartError::Settings)?);
        // Before the data directory is created or opened, which can take long after a crash.
        let mut bound = Vec::new();
        for nth in 0..settings.brokers {
            bound.push(Bound::at(&settings.posing_as(nth).listeners).await.map_err(StartError::Bind)?);
        }
        let http = match &settings.http {
            None => None,
            Some(listener) => {
                let failed = |error| StartError::Bind(BindError::of(listener, error));
                Some(Http::start(listener).await.map_err(failed)?)
            }
        };
        let data_dir = (!self.ephemeral).then(|| settings.data_dir.clone());
        let place = data_dir.clone().map_or(Place::Memory, Place::Directory);
        let files = open_files(&settings)?;
        let mut options = StoreOptions::new(place, Arc::clone(&settings));
        options.tuning.open_segments = files.segments;
        let store = match spawn_blocking(|| Store::open(options)).await {
            Ok(opened) => opened.map_err(StartError::Open)?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };

        let (stop, stopping) = Stop::new();
        let services =
            Arc::new(Services::new(store.clone(), Arc::clone(&settings), Clock::machine(), stopping));
        let groups = services.groups.clone();
        let live = Arc::clone(&services);
        let resources = Resources::of(&settings, move || live.settings());
        let common = Common { services, settings: Arc::clone(&settings), resources };
        let mut posed = Posed::all(&common);
        for (one, bound) in posed.iter_mut().zip(bound) {
            one.start_at(bound, &common).map_err(StartError::Bind)?;
        }

        let mut housekeeping = JoinSet::new();
        housekeeping.spawn(tell_of_repeats());
        housekeeping.spawn(repeat(store.clone(), (WATCH, WATCH), Store::watch));
        let retention = (settings.retention_check.min(FIRST_RETENTION), settings.retention_check);
        housekeeping.spawn(repeat(store.clone(), retention, Store::housekeep));
        housekeeping.spawn(compact(store.clone(), Arc::clone(&common.services)));
        housekeeping.spawn(scrub(store.clone(), Arc::clone(&common.services)));
        housekeeping.spawn(async move { groups.run().await });
        if let Some(http) = &http {
            let store = store.clone();
            let metrics = Arc::new(Metrics::new(posed.iter().filter_map(Posed::serving)));
            http.serve(Asked {
                troubles: Box::new(move || store.troubles()),
                metrics: Box::new(move |format| metrics.render(format)),
            });
        }
        let servers = posed.iter().filter_map(|one| Some((one.id, one.serving()?.1)));
        let brokers: Vec<_> = servers.map(|(id, server)| (id, listening(server))).collect();
        let first: Vec<&str> =
            brokers.iter().filter_map(|(_, all)| all.first()).map(String::as_str).collect();
        Ok(Broker {
            bootstrap: first.join(","),
            listening: brokers.iter().flat_map(|(_, addresses)| addresses.clone()).collect(),
            brokers,
            posed: Mutex::new(posed),
            common,
            http,
            _housekeeping: housekeeping,
            stop,
            store,
            settings,
            data_dir,
        })
    }
}

/// With fewer open files a busy broker opens and closes segments all the time, and refuses clients.
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

/// Runs `work` after the first of the two times, and then again and again after the second.
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

async fn tell_of_repeats() {
    loop {
        telemetry::tell_of_repeats();
        time::sleep(telemetry::WINDOW).await;
    }
}

async fn compact(store: Store, services: Arc<Services>) {
    loop {
        // It may be altered at any time, also to nothing.
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
        // It may be altered at any time, also to nothing.
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

/// One address a listener, as clients may use it.
fn listening(server: &Server) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    for (listener, address) in server.listening() {
        let named = match listener.host.as_str() {
            "localhost" => format!("localhost:{}", address.port()),
            _ => address.to_string(),
        };
        if !addresses.contains(&named) {
            addresses.push(named);
        }
    }
    addresses
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

    /// Whether ApiVersions is answered.
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

    #[tokio::test(start_paused = true)]
    async fn retention_is_applied_at_its_own_interval_and_not_sooner() {
        let broker = Broker::builder().ephemeral().start().await.unwrap();
        let new = NewTopic { name: "t".into(), partitions: 1, overrides: BTreeMap::new() };
        let topic = broker.store.create_topic(new).await.unwrap();
        let log = topic.partition(0).unwrap();
        // The first time is over; the next one is 300 s later.
        time::sleep(Duration::from_secs(31)).await;
        let of_1970 = BatchBuilder::new().value(Timestamp(1), "v").build();
        let header = Header::parse(&of_1970).unwrap();
        log.append(Checked { bytes: of_1970, header, newest: Some(0) }).await.unwrap();
        let log_start = async || {
            // A command behind those of retention: they are done when it is.
            broker.store.alter_topic(topic.id, BTreeMap::new()).await.unwrap();
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
    async fn no_http_without_being_asked_for() {
        assert_eq!(Broker::builder().ephemeral().start().await.unwrap().http(), None);
    }
}
