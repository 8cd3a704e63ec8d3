//! A client's connection: its addresses, its listener, and what the client has said about itself.

use std::any::Any;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::rights::Rights;
use super::session::Session;
use crate::budget::ConnectionId;
use crate::config::Listener;
use crate::security::principal::Principal;
use crate::telemetry::Shown;
use crate::types::IgnorePoison;

/// A client's connection.
pub struct ConnectionInfo {
    pub id: ConnectionId,
    pub peer: SocketAddr,
    /// The server's address of the connection, which the client connected to.
    pub local: SocketAddr,
    /// The listener of the connection, as it was configured.
    pub listener: Arc<Listener>,
    /// The client's name from its ApiVersions request, if there was one.
    pub software: OnceLock<ClientSoftware>,
    pub session: Session,
    /// The decisions of the authorizer so far. They hold for the whole connection, whose client and address stay.
    pub(super) rights: Rights,
    /// The members of groups that use the connection, while there are quotas: group and member id.
    members: Mutex<VecDeque<(String, String)>>,
    /// The newest request waits, and its handler has dropped its bytes.
    has_dropped_request: AtomicBool,
    /// The exchange of a login.
    #[cfg(feature = "security")]
    pub(super) login: super::sasl::Login,
    /// Dropped when the connection ends.
    ends_with: Mutex<Vec<Box<dyn Any + Send>>>,
}

/// An address in the form that clients get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSoftware {
    pub name: String,
    pub version: String,
}

impl std::fmt::Display for ClientSoftware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", Shown(&self.name), Shown(&self.version))
    }
}

impl ConnectionInfo {
    /// A new connection whose client needs no login.
    pub fn new(
        id: ConnectionId,
        peer: SocketAddr,
        local: SocketAddr,
        listener: Arc<Listener>,
    ) -> ConnectionInfo {
        ConnectionInfo {
            id,
            peer,
            local,
            listener,
            software: OnceLock::new(),
            session: Session::anonymous(),
            rights: Rights::default(),
            members: Mutex::default(),
            has_dropped_request: AtomicBool::new(false),
            #[cfg(feature = "security")]
            login: super::sasl::Login::default(),
            ends_with: Mutex::default(),
        }
    }

    /// A new connection whose client has to log in.
    pub fn before_login(self) -> ConnectionInfo {
        ConnectionInfo { session: Session::before_login(), ..self }
    }

    /// The same connection without a principal.
    pub(super) fn of_a_stranger(&self) -> ConnectionInfo {
        ConnectionInfo::new(self.id, self.peer, self.local, Arc::clone(&self.listener)).before_login()
    }

    /// Remembers a member of a group that uses the connection. Of many, the newest are remembered.
    pub fn note_member(&self, group: &str, member: &str) {
        const MOST: usize = 8;
        const LONGEST: usize = 1 << 10;
        let is_known = |known: &(String, String)| known.0 == group && known.1 == member;
        let mut members = self.members.lock().ignoring_poison();
        if group.len().saturating_add(member.len()) > LONGEST || members.iter().any(is_known) {
            return;
        }
        if members.len() == MOST {
            members.pop_front();
        }
        members.push_back((group.to_owned(), member.to_owned()));
    }

    pub fn members(&self) -> Vec<(String, String)> {
        self.members.lock().ignoring_poison().iter().cloned().collect()
    }

    /// The handler of the newest request has dropped its bytes and will wait.
    pub(super) fn note_dropped_request(&self) {
        self.has_dropped_request.store(true, Ordering::Relaxed);
    }

    /// Whether a handler has dropped its request since the last call. The connection itself polls the handler, so it
    /// learns of it at once.
    pub fn take_dropped_request(&self) -> bool {
        self.has_dropped_request.load(Ordering::Relaxed)
            && self.has_dropped_request.swap(false, Ordering::Relaxed)
    }

    /// A new connection of a client whose principal is known, by its certificate.
    pub fn of(self, principal: Principal) -> ConnectionInfo {
        ConnectionInfo { session: Session::of(principal), ..self }
    }

    /// Keeps something that ends with the connection, such as a session of its client. It is dropped by
    /// [`ConnectionInfo::end`], although responses that are still being made may hold the connection for longer.
    pub fn keep(&self, thing: impl Any + Send) {
        self.ends_with.lock().ignoring_poison().push(Box::new(thing));
    }

    /// The server calls this when the connection ends.
    pub fn end(&self) {
        self.ends_with.lock().ignoring_poison().clear();
    }

    /// The address that this client should use: the advertised host, else the host that the listener is
    /// bound to, else the address that the client has connected to. Never an unspecified address (rule
    /// M6).
    pub fn advertised(&self) -> HostPort {
        let port = self.listener.advertised_port(self.local.port());
        match &self.listener.advertised {
            Some((host, _)) if !host.is_empty() => return HostPort { host: host.clone(), port },
            Some(_) | None => {}
        }
        let bound_to_all = match self.listener.host.parse::<IpAddr>() {
            Ok(address) => address.is_unspecified(),
            Err(_) => self.listener.host.is_empty(),
        };
        if !bound_to_all {
            return HostPort { host: self.listener.host.clone(), port };
        }
        let reached = self.local.ip().to_canonical();
        // Some clients cannot parse a bare IPv6 address. A listener on all addresses serves both
        // families.
        let host = if reached == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST) {
            "localhost".to_owned()
        } else {
            reached.to_string()
        };
        HostPort { host, port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecurityProtocol;

    fn endpoint_of(host: &str, advertised: Option<(&str, u16)>, local: &str) -> (String, u16) {
        let listener = Listener {
            name: "PLAINTEXT".into(),
            protocol: SecurityProtocol::Plaintext,
            host: host.into(),
            port: 0,
            advertised: advertised.map(|(host, port)| (host.to_owned(), port)),
        };
        let (peer, local) = ("192.0.2.9:5000".parse().unwrap(), local.parse().unwrap());
        let connection = ConnectionInfo::new(0, peer, local, Arc::new(listener));
        let endpoint = connection.advertised();
        (endpoint.host, endpoint.port)
    }

    #[test]
    fn m6_a_client_gets_the_advertised_address_else_the_one_it_reached_and_never_an_unspecified_one() {
        assert_eq!(
            endpoint_of("0.0.0.0", Some(("kafka.example", 19092)), "10.0.0.5:9092"),
            ("kafka.example".into(), 19092)
        );
        assert_eq!(endpoint_of("", Some(("", 19092)), "10.0.0.5:9092"), ("10.0.0.5".into(), 19092));
        assert_eq!(
            endpoint_of("", Some(("kafka.example", 0)), "10.0.0.5:40001"),
            ("kafka.example".into(), 40001)
        );
        assert_eq!(endpoint_of("localhost", None, "[::1]:9092"), ("localhost".into(), 9092));
        assert_eq!(endpoint_of("127.0.0.1", None, "127.0.0.1:40001"), ("127.0.0.1".into(), 40001));
        assert_eq!(endpoint_of("0.0.0.0", None, "10.0.0.5:9092"), ("10.0.0.5".into(), 9092));
        assert_eq!(endpoint_of("::", None, "[::ffff:10.0.0.5]:9092"), ("10.0.0.5".into(), 9092));
        assert_eq!(endpoint_of("", None, "[::1]:9092"), ("localhost".into(), 9092));
    }
}
