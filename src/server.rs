//! The sockets: listeners, connections (read, order, answer), limits, drain.
//!
//! The server knows frames and headers; `api` knows the meaning of requests. Invariant: bad input
//! from a client can only cost that client its connection. Other clients are not affected.

mod connection;
mod counts;
mod holder;
mod input;
mod listener;
mod origin;
mod output;
mod rates;
mod socket;
#[cfg(test)]
mod tests;
#[cfg(feature = "security")]
mod tls;
mod unserved;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::api::Api;
use crate::budget::Budget;
use crate::config::{BrokerSettings, Listener};
use crate::stop::Stopping;
use crate::time;
use crate::types::host_and_port;
pub use counts::{Connections, Reason};
pub use holder::Holder;
use input::RequestBudgets;
use listener::Slots;
pub(crate) use listener::{bind, listen};
use rates::Rates;
#[cfg(feature = "security")]
pub(crate) use tls::accept_for_http;
use unserved::Unserved;

/// Small requests have this fraction (1/8) of the request memory for themselves.
const SMALL_SHARE: usize = 8;

/// Budgets and limits shared by all servers of the process.
#[derive(Clone)]
pub struct Resources {
    requests: Arc<RequestBudgets>,
    slots: Arc<Slots>,
    /// The number of connections so far, which numbers each connection.
    connections: Arc<AtomicU64>,
    counts: Arc<Connections>,
    unserved: Arc<Unserved>,
    #[cfg(feature = "security")]
    handshakes: Arc<tls::Turns>,
}

/// A running server. It stops at once when dropped, and gently with [`Server::drain`].
pub struct Server {
    listening: Vec<(Arc<Listener>, SocketAddr)>,
    acceptors: JoinSet<()>,
    shared: Arc<Shared>,
}

/// The state shared by all connections of a server.
struct Shared {
    api: Api,
    limits: Limits,
    requests: Arc<RequestBudgets>,
    answers: Arc<Budget>,
    slots: Arc<Slots>,
    rates: Rates,
    stopping: Stopping,
    /// Whether a warning was logged about clients that get an advertised address of their own
    /// machine.
    sent_astray: AtomicBool,
    connections: Arc<AtomicU64>,
    counts: Arc<Connections>,
    unserved: Arc<Unserved>,
    #[cfg(feature = "security")]
    handshakes: Arc<tls::Turns>,
}

/// Limits on how much a client may take and how slow it may be.
#[derive(Clone, Debug)]
struct Limits {
    /// The largest Produce request. Other requests may have at most 8 MiB.
    max_request: usize,
    /// A connection without a request for this long is closed.
    idle: Duration,
    /// A client that has begun a frame must send at least this many bytes per `pace_window`.
    pace_bytes: u64,
    pace_window: Duration,
    /// The number of requests of a connection, or bytes of responses, after which other connections
    /// have their turn.
    turn_requests: usize,
    turn_bytes: usize,
    /// A client that waits for a response must read some bytes of it within this time.
    write_stall: Duration,
    /// A client has to complete its TLS handshake within this time.
    #[cfg(feature = "security")]
    handshake: Duration,
}

/// The listener that could not be opened, and the error.
#[derive(Debug)]
pub struct BindError {
    pub host: String,
    pub port: u16,
    pub error: io::Error,
    /// The process that has the port, if that is the error and the process is known.
    pub holder: Option<Holder>,
    /// The flag that chooses the address.
    pub flag: &'static str,
}

/// Listeners that are bound but do not serve yet. A port in use is found before the data directory is
/// opened, and clients that connect early are refused instead of left waiting.
pub struct Bound(Vec<(Listener, Vec<TcpSocket>)>);

impl Bound {
    pub async fn at(listeners: &[Listener]) -> Result<Bound, BindError> {
        let mut bound = Vec::new();
        for listener in listeners {
            let sockets = listener::bind(listener).await.map_err(|error| BindError::of(listener, error))?;
            bound.push((listener.clone(), sockets));
        }
        Ok(Bound(bound))
    }
}

impl Server {
    /// Opens every listener and serves `api` there until `stopping` begins.
    pub async fn start(settings: &BrokerSettings, api: Api, stopping: Stopping) -> Result<Server, BindError> {
        let live = api.clone();
        let resources = Resources::of(settings, move || live.settings());
        let bound = Bound::at(&settings.listeners).await?;
        Server::start_beside(&resources, settings, bound, api, stopping)
    }

    /// Starts one of several servers of a process, at its own listeners.
    pub fn start_beside(
        resources: &Resources,
        settings: &BrokerSettings,
        bound: Bound,
        api: Api,
        stopping: Stopping,
    ) -> Result<Server, BindError> {
        let shared = Arc::new(Shared::new(resources, settings, api, stopping));
        let mut server =
            Server { listening: Vec::new(), acceptors: JoinSet::new(), shared: Arc::clone(&shared) };
        for (listener, sockets) in bound.0 {
            let listener = Arc::new(listener);
            let failed = |error| BindError::of(&listener, error);
            for socket in listener::listen(sockets).map_err(failed)? {
                server.listening.push((Arc::clone(&listener), socket.local_addr().map_err(failed)?));
                server.acceptors.spawn(listener::accept(socket, Arc::clone(&listener), Arc::clone(&shared)));
            }
        }
        Ok(server)
    }

    /// The listeners and their addresses, with the ports that were chosen.
    pub fn listening(&self) -> impl Iterator<Item = (&Listener, SocketAddr)> {
        self.listening.iter().map(|(listener, address)| (listener.as_ref(), *address))
    }

    /// Counters of the server's connections.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.shared.counts
    }

    /// The budgets for small and for large requests.
    pub fn request_budgets(&self) -> (&Arc<Budget>, &Arc<Budget>) {
        (&self.shared.requests.small, &self.shared.requests.large)
    }

    /// Waits until all connections are closed after `stopping` has begun, at most for `limit`. The
    /// remaining connections are cut off.
    pub async fn drain(mut self, limit: Duration) {
        let all = async { while self.acceptors.join_next().await.is_some() {} };
        // The drop cuts off the remaining connections.
        let _ = time::within(limit, all).await;
    }
}

impl Resources {
    /// `live` returns the current values of the settings that change while the servers run.
    pub fn of(
        settings: &BrokerSettings,
        live: impl Fn() -> Arc<BrokerSettings> + Send + Sync + 'static,
    ) -> Resources {
        Resources {
            requests: RequestBudgets::of(settings.request_memory()),
            slots: Slots::new(most_by_files(settings), live),
            connections: Arc::default(),
            counts: Arc::default(),
            unserved: Arc::default(),
            #[cfg(feature = "security")]
            handshakes: tls::Turns::new(settings.handshakes()),
        }
    }
}

/// The number of connections that the process's limit of open files allows.
fn most_by_files(settings: &BrokerSettings) -> usize {
    settings.open_files().map_or(1, |files| files.connections)
}

impl Shared {
    fn new(resources: &Resources, settings: &BrokerSettings, api: Api, stopping: Stopping) -> Shared {
        let Resources {
            requests,
            slots,
            connections,
            counts,
            unserved,
            #[cfg(feature = "security")]
            handshakes,
        } = resources.clone();
        let mut limits = Limits::of(settings);
        // A request that is too large for the budget is refused at its first bytes.
        limits.max_request = limits.max_request.min(requests.large.most());
        Shared {
            answers: Arc::clone(api.answers()),
            api,
            limits,
            requests,
            slots,
            rates: Rates::new(),
            stopping,
            sent_astray: AtomicBool::new(false),
            connections,
            counts,
            unserved,
            #[cfg(feature = "security")]
            handshakes,
        }
    }
}

impl Limits {
    fn of(settings: &BrokerSettings) -> Limits {
        Limits {
            max_request: usize::try_from(settings.max_request_bytes).unwrap_or(usize::MAX),
            idle: settings.max_idle,
            pace_bytes: 30 << 10,
            pace_window: Duration::from_secs(30),
            turn_requests: settings.turn_requests,
            turn_bytes: settings.turn_bytes,
            write_stall: Duration::from_secs(60),
            #[cfg(feature = "security")]
            handshake: settings.handshake_timeout,
        }
    }
}

impl RequestBudgets {
    fn of(all: usize) -> Arc<RequestBudgets> {
        let small = all / SMALL_SHARE;
        Arc::new(RequestBudgets { small: Budget::new(small), large: Budget::new(all - small) })
    }
}

impl BindError {
    pub fn of(listener: &Listener, error: io::Error) -> BindError {
        let holder = if is_in_use(&error) { Holder::of(listener.port) } else { None };
        BindError { host: listener.host.clone(), port: listener.port, error, holder, flag: "--listen" }
    }

    /// The same for the HTTP server.
    pub fn of_http(listener: &Listener, error: io::Error) -> BindError {
        BindError { flag: "--http", ..BindError::of(listener, error) }
    }
}

fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

impl std::error::Error for BindError {}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BindError { host, port, error, holder, flag } = self;
        write!(f, "cannot listen at {}: {error}", host_and_port(host, port))?;
        match holder {
            Some(holder) => {
                write!(f, ": {holder} uses the port; stop it, or choose another port with {flag}")
            }
            None if is_in_use(error) => {
                let list = if cfg!(target_os = "linux") { "ss -ltnp" } else { "lsof -nP -iTCP -sTCP:LISTEN" };
                write!(
                    f,
                    ": stop the process that uses the port (`{list}` as root shows it), or choose another port with {flag}"
                )
            }
            None => Ok(()),
        }
    }
}
