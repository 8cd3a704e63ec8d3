//! The composition root: builds every room, drains, stops.
//!
//! As a library: `Broker::builder().ephemeral().start().await?` is a broker on a free loopback port
//! that stops when it is dropped; there may be several in one process.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::api::context::{ClusterFacts, Services};
use crate::api::fetch::session::Sessions;
use crate::api::{Api, Stop};
use crate::config::{BrokerSettings, ConfigError, Durability, Given};
use crate::server::{BindError, Server};
use crate::time::{self, Clock};

/// How long answers that are owed may take when the broker stops.
const DRAIN: Duration = Duration::from_secs(10);

/// A running broker. Dropped, it stops at once; [`Broker::stop`] lets it finish what it owes.
pub struct Broker {
    server: Server,
    stop: Stop,
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
    Bind(BindError),
}

impl Broker {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What a client's `bootstrap.servers` takes.
    pub fn bootstrap(&self) -> String {
        self.listening().into_iter().next().unwrap_or_default()
    }

    /// One address a listener, as clients may use it.
    pub fn listening(&self) -> Vec<String> {
        let mut addresses: Vec<String> = Vec::new();
        for (listener, address) in self.server.listening() {
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

    pub fn settings(&self) -> &BrokerSettings {
        &self.settings
    }

    /// Where the data lies; `None` where it is gone with the broker.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// Stops gently: nothing new is accepted or begun, what is owed is answered.
    pub async fn stop(self) {
        self.stop.begin();
        self.server.drain(DRAIN).await;
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
        let (stop, stopping) = Stop::new();
        let services = Arc::new(Services {
            cluster: ClusterFacts { cluster_id: time::random_uuid(), node_id: settings.node_id },
            settings: Arc::clone(&settings),
            clock: Clock::machine(),
            fetch_sessions: Sessions::new(settings.fetch_session_slots),
            stopping: stopping.clone(),
        });
        let server =
            Server::start(&settings, Api::new(services), stopping).await.map_err(StartError::Bind)?;
        let data_dir = (!self.ephemeral).then(|| settings.data_dir.clone());
        Ok(Broker { server, stop, settings, data_dir })
    }
}

impl std::error::Error for StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Settings(error) => error.fmt(f),
            StartError::Bind(error) => error.fmt(f),
        }
    }
}
