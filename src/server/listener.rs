//! Listeners: the sockets, the limits of connections, and the handling of a lack of file descriptors.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, warn};

use super::connection::Connection;
use super::counts::Reason;
use super::{Shared, origin};
use crate::api::connection::ConnectionInfo;
use crate::config::{BrokerSettings, Listener};
use crate::time;
use crate::types::{IgnorePoison, NodeId};

/// Connections that can wait to be accepted.
const BACKLOG: u32 = 1024;
/// The pause in accepting when the system has no descriptor or memory for it.
const BACK_OFF: Duration = Duration::from_millis(200);
/// The delay after which an altered limit of connections is noticed while all of them are taken.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The number of tries to find a free port that both address families have.
const PORT_TRIES: usize = 16;

/// Binds all addresses of one listener; a name may have several. All have the same port, even if it is
/// any free one. Connections are refused until [`listen`].
pub(crate) async fn bind(listener: &Listener) -> io::Result<Vec<TcpSocket>> {
    let addresses = addresses(&listener.host).await?;
    let mut tries = PORT_TRIES;
    loop {
        match bind_all(&addresses, listener.port) {
            Err(error) if listener.port == 0 && error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {
                tries -= 1;
            }
            result => return result,
        }
    }
}

pub(crate) fn listen(sockets: Vec<TcpSocket>) -> io::Result<Vec<TcpListener>> {
    let listen = |socket: TcpSocket| {
        // Its connections inherit it, and may linger then: see `bind_one`.
        socket.set_reuseaddr(true)?;
        socket.listen(BACKLOG)
    };
    sockets.into_iter().map(listen).collect()
}

fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpSocket>> {
    let mut port = port;
    let mut sockets = Vec::new();
    let mut missing = None;
    for address in addresses {
        match bind_one(SocketAddr::new(*address, port)) {
            Ok(socket) => {
                port = socket.local_addr()?.port();
                sockets.push(socket);
            }
            // The machine may lack an address family; one is enough.
            Err(error) if is_missing(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if sockets.is_empty() => Err(error),
        Some(_) | None => Ok(sockets),
    }
}

/// Two sockets that both may reuse an address can be bound to it until one of them listens, and then two
/// brokers that start at once both recover. So it is tried without that first.
///
/// While old connections linger, this can still happen on Linux. Then the second broker recovers its own data
/// directory, which is locked, and only [`listen`] refuses it, with the same message. To listen here would
/// prevent that, but then clients would wait for the recovery instead of being refused.
fn bind_one(address: SocketAddr) -> io::Result<TcpSocket> {
    match bind_as(address, false) {
        // After a crash the old connections linger for a while; they are no reason not to start.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind_as(address, true),
        bound => bound,
    }
}

fn bind_as(address: SocketAddr, reuses: bool) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // Both families, whatever this machine's default is.
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(reuses)?;
    socket.bind(address)?;
    Ok(socket)
}

fn is_missing(error: &io::Error) -> bool {
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unsupported)
}

async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if host == "localhost" {
        // Clients may resolve the name to either address (rule M6).
        return Ok(vec![V4, V6]);
    }
    if ["", "0.0.0.0", "::"].contains(&host) {
        // As in Kafka, because Java treats them alike. The IPv6 socket also accepts IPv4. Without IPv6,
        // IPv4 is used.
        let has_v6 = TcpSocket::new_v6().is_ok();
        return Ok(vec![if has_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }]);
    }
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let mut addresses: Vec<IpAddr> = lookup_host((host, 0)).await?.map(|address| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Accepts and serves connections until the broker stops, then waits for all of them to end.
pub(super) async fn accept(socket: TcpListener, listener: Arc<Listener>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let place = Place { broker: shared.api.settings().node_id, listener: listener.name.as_str().into() };
    loop {
        let accepted = tokio::select! {
            () = shared.stopping.begun() => break,
            Some(ended) = connections.join_next() => {
                note_panic(ended);
                continue;
            }
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                back_off(&error).await;
                continue;
            }
        };
        let wait = shared.rates.wait(&listener.name, &shared.api.settings());
        if !wait.is_zero() && time::within(wait, shared.stopping.begun()).await.is_some() {
            break;
        }
        // If there are too many connections, this one waits until another ends, and so do all later ones.
        let slot = tokio::select! {
            () = shared.stopping.begun() => break,
            slot = shared.slots.take(&place, || shared.api.settings()) => slot,
        };
        let Some(admitted) = shared.slots.admit(peer.ip()) else {
            shared.counts.turn_away(Reason::TooManyFromAddress);
            debug!(%peer, "too many connections from one address; connection closed");
            continue;
        };
        if let Some(wait) = shared.api.too_many_connections(peer.ip()) {
            shared.counts.turn_away(Reason::TooFast);
            debug!(%peer, "connections of this address come too fast; connection closed after a wait");
            let stopping = shared.stopping.clone();
            // A client that is closed at once would only connect again.
            connections.spawn(async move {
                let _ = time::within(wait, stopping.begun()).await;
                drop((stream, slot, admitted));
            });
            continue;
        }
        serve(stream, peer, &listener, &shared, (slot, admitted), &mut connections);
    }
    drop(socket);
    while let Some(ended) = connections.join_next().await {
        note_panic(ended);
    }
}

fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    listener: &Arc<Listener>,
    shared: &Arc<Shared>,
    held: (Slot, SlotOfAddress),
    connections: &mut JoinSet<()>,
) {
    let Ok(local) = stream.local_addr() else { return };
    // A response is written once and as a whole; waiting for more data would only delay it.
    let _ = stream.set_nodelay(true);
    origin::look_at(peer, local, listener, shared);
    let id = shared.connections.fetch_add(1, Ordering::Relaxed);
    let mut info = ConnectionInfo::new(id, peer, local, Arc::clone(listener));
    if listener.protocol.needs_login() {
        info = info.before_login();
    }
    let mut opened = shared.counts.open_one();
    #[cfg(feature = "security")]
    if listener.protocol.is_encrypted() {
        let shared = Arc::clone(shared);
        connections.spawn(async move {
            match super::tls::serve(stream, info, shared).await {
                Ok(end) => opened.ends(&end),
                Err(super::tls::NoConnection) => opened.ends_in_handshake(),
            }
            drop((opened, held));
        });
        return;
    }
    let connection = Connection::new(stream, info, Arc::clone(shared));
    connections.spawn(async move {
        opened.ends(&connection.run().await);
        drop((opened, held));
    });
}

/// Reports a panic of the server itself. Panics in handlers are caught earlier.
fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!("a connection ended in a panic: this is a bug of the broker");
    }
}

/// Waits after a failed accept if the system lacks a resource; other errors say nothing about the next
/// accept.
async fn back_off(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    warn!(%error, "no connection could be accepted, trying again; perhaps raise the limit of open files");
    time::sleep(BACK_OFF).await;
}

/// Counts the connections, in total, for each listener and for each address. The limits are read each time, because
/// they can be altered while the broker runs.
pub(super) struct Slots {
    /// The limit that leaves enough file descriptors for writes.
    most_by_files: usize,
    settings: Box<dyn Fn() -> Arc<BrokerSettings> + Send + Sync>,
    used: Mutex<UsedSlots>,
    /// Notified when a connection ends. All listeners are woken, because each may have a limit of its own.
    freed: Notify,
}

#[derive(Default)]
struct UsedSlots {
    all: usize,
    per_listener: BTreeMap<Place, u32>,
    per_ip: BTreeMap<IpAddr, u32>,
}

/// A listener of one of the brokers in this process.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    broker: NodeId,
    listener: Arc<str>,
}

/// One of all connections and of those of its listener, until this is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    place: Place,
}

/// One connection of an address, until this is dropped.
pub(super) struct SlotOfAddress {
    slots: Arc<Slots>,
    ip: IpAddr,
}

impl Slots {
    pub(super) fn new(
        most_by_files: usize,
        settings: impl Fn() -> Arc<BrokerSettings> + Send + Sync + 'static,
    ) -> Arc<Slots> {
        let settings = Box::new(settings);
        Arc::new(Slots { most_by_files, settings, used: Mutex::default(), freed: Notify::new() })
    }

    /// Waits until another connection ends if there are too many, here or in total. `own` returns the settings of the
    /// broker that the listener is of.
    async fn take(self: &Arc<Slots>, place: &Place, own: impl Fn() -> Arc<BrokerSettings>) -> Slot {
        loop {
            let freed = self.freed.notified();
            let most = usize::try_from((self.settings)().max_connections).unwrap_or(usize::MAX);
            let most_here = own().max_connections_of(&place.listener).unwrap_or(u32::MAX);
            {
                let mut used = self.used();
                let here = used.per_listener.get(place).copied().unwrap_or(0);
                if used.all < most.min(self.most_by_files) && here < most_here {
                    used.all += 1;
                    used.per_listener.insert(place.clone(), here + 1);
                    return Slot { slots: Arc::clone(self), place: place.clone() };
                }
            }
            // A raised limit gives no notification, so it is checked after a while.
            let _ = time::within(LOOK_AGAIN, freed).await;
        }
    }

    fn admit(self: &Arc<Slots>, ip: IpAddr) -> Option<SlotOfAddress> {
        // An IPv6 socket shows IPv4 clients with mapped addresses.
        let ip = ip.to_canonical();
        let settings = (self.settings)();
        let most = *settings.connections_of.get(&ip).unwrap_or(&settings.max_connections_per_ip);
        let mut used = self.used();
        let count = used.per_ip.entry(ip).or_default();
        if *count >= most {
            if *count == 0 {
                used.per_ip.remove(&ip);
            }
            return None;
        }
        *count += 1;
        Some(SlotOfAddress { slots: Arc::clone(self), ip })
    }

    fn used(&self) -> MutexGuard<'_, UsedSlots> {
        self.used.lock().ignoring_poison()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut used = self.slots.used();
            used.all -= 1;
            if let Some(here) = used.per_listener.get_mut(&self.place) {
                *here -= 1;
            }
        }
        self.slots.freed.notify_waiters();
    }
}

impl Drop for SlotOfAddress {
    fn drop(&mut self) {
        let mut used = self.slots.used();
        match used.per_ip.get_mut(&self.ip) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(used.per_ip.remove(&self.ip)),
        }
    }
}
