//! The addresses for clients: `listeners`, `advertised.listeners` and related settings.

use std::net::IpAddr;

use super::ConfigError;

/// The security protocol of a listener, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encryption nor a login.
    Plaintext,
    /// TLS, with a client's certificate as its login.
    Ssl,
    /// A login without encryption.
    SaslPlaintext,
    /// A login over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    const ALL: [SecurityProtocol; 4] = [
        SecurityProtocol::Plaintext,
        SecurityProtocol::Ssl,
        SecurityProtocol::SaslPlaintext,
        SecurityProtocol::SaslSsl,
    ];

    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// Whether its connections begin with a TLS handshake.
    pub fn is_encrypted(self) -> bool {
        match self {
            SecurityProtocol::Ssl | SecurityProtocol::SaslSsl => true,
            SecurityProtocol::Plaintext | SecurityProtocol::SaslPlaintext => false,
        }
    }

    /// Whether its clients have to log in with SASL.
    pub fn needs_login(self) -> bool {
        match self {
            SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl => true,
            SecurityProtocol::Plaintext | SecurityProtocol::Ssl => false,
        }
    }

    /// The protocol of this name, or why this build does not have it.
    pub fn of_this_build(name: &str) -> Result<SecurityProtocol, String> {
        SecurityProtocol::named(name, Build::THIS)
    }

    fn named(name: &str, build: Build) -> Result<SecurityProtocol, String> {
        let Some(protocol) = SecurityProtocol::ALL.into_iter().find(|protocol| protocol.name() == name)
        else {
            let known = SecurityProtocol::ALL.map(SecurityProtocol::name).join(", ");
            return Err(format!("{name} is no security protocol; there are {known}"));
        };
        if protocol != SecurityProtocol::Plaintext {
            build.require_security(name)?;
        }
        Ok(protocol)
    }
}

/// What a program was built with. An argument, so that the refusals of a build without it are tested in every build.
#[derive(Clone, Copy, Debug)]
pub(super) struct Build {
    pub has_security: bool,
}

impl Build {
    pub const THIS: Build = Build { has_security: cfg!(feature = "security") };

    /// Fails for a thing that needs TLS or logins if the build has neither.
    pub fn require_security(self, thing: &str) -> Result<(), String> {
        if self.has_security {
            return Ok(());
        }
        Err(format!("{thing} is not in this build: it was built without the feature `security`"))
    }
}

/// One address that the broker listens at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Kafka's listener name, such as `PLAINTEXT`.
    pub name: String,
    pub protocol: SecurityProtocol,
    /// Empty means all addresses of the machine, `localhost` both loopback addresses.
    pub host: String,
    /// 0 chooses any free port.
    pub port: u16,
    /// The advertised host and port. Without it, or if the host is empty or the port 0, clients get the
    /// address that they have connected to.
    pub advertised: Option<(String, u16)>,
}

impl Listener {
    /// The advertised port, if this listener is bound to port `bound`.
    pub fn advertised_port(&self, bound: u16) -> u16 {
        match self.advertised {
            Some((_, port)) if port != 0 => port,
            Some(_) | None => bound,
        }
    }

    /// Whether the advertised host is a loopback address, which leads clients back to their own machine.
    pub fn advertises_loopback(&self) -> bool {
        is_loopback(self.advertised.as_ref().map_or(&self.host, |(host, _)| host))
    }

    /// Whether only this machine can reach it.
    pub fn is_on_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// The listener of the nth virtual broker; its port is offset by n. Port 0 stays 0, so that each gets
    /// its own free port.
    pub(super) fn behind(&self, nth: u16) -> Listener {
        let moved = |port| port_behind(port, nth);
        Listener {
            port: moved(self.port),
            advertised: self.advertised.as_ref().map(|(host, port)| (host.clone(), moved(*port))),
            ..self.clone()
        }
    }
}

fn port_behind(port: u16, nth: u16) -> u16 {
    if port == 0 { 0 } else { port.saturating_add(nth) }
}

/// A list of endpoints for the nth virtual broker, with ports offset by n.
pub(super) fn behind(written: &str, nth: u16) -> String {
    let endpoints = written.split(',').map(|endpoint| {
        let moved = endpoint.trim_end().rsplit_once(':').and_then(|(before, port)| {
            let port: u16 = port.parse().ok()?;
            Some(format!("{before}:{}", port_behind(port, nth)))
        });
        moved.unwrap_or_else(|| endpoint.to_owned())
    });
    endpoints.collect::<Vec<_>>().join(",")
}

/// Each virtual broker has its own port for each listener. Fails if these overlap.
pub(super) fn check_room(listeners: &[Listener], brokers: u16) -> Result<(), ConfigError> {
    let mut taken: Vec<&Listener> = Vec::new();
    for listener in listeners.iter().filter(|listener| listener.port != 0) {
        let refuse = |why: String| {
            let Listener { name, host, port, .. } = listener;
            Err(ConfigError::invalid("listeners", format!("{name}://{host}:{port}"), why))
        };
        let Some(last) = listener.port.checked_add(brokers - 1) else {
            return refuse(format!(
                "there are no {brokers} ports from {} on, one for each broker",
                listener.port
            ));
        };
        let meets = |other: &Listener| listener.port <= other.port + (brokers - 1) && other.port <= last;
        if brokers > 1
            && let Some(other) = taken.iter().find(|other| meets(other))
        {
            return refuse(format!(
                "{brokers} brokers take {brokers} ports for each listener, and those of {} are among them",
                other.name
            ));
        }
        taken.push(listener);
    }
    Ok(())
}

/// All settings of listeners.
pub(super) const SETTINGS: &[&str] =
    &["listeners", "advertised.listeners", "listener.security.protocol.map", "controller.listener.names"];

/// Reads the listeners from their four settings.
pub(super) fn listeners(
    row: impl Fn(&str) -> Vec<String>,
    build: Build,
) -> Result<Vec<Listener>, ConfigError> {
    let entries = |name| row(name).into_iter().filter(|entry| !entry.is_empty());
    let mut advertised = Vec::new();
    for written in entries("advertised.listeners") {
        let (name, host, port) = endpoint("advertised.listeners", &written)?;
        if is_any_address(&host) {
            return Err(ConfigError::invalid(
                "advertised.listeners",
                &written,
                "clients cannot connect to every address; name one",
            ));
        }
        advertised.push((name, host, port));
    }
    let controllers: Vec<String> =
        entries("controller.listener.names").map(|name| name.to_ascii_uppercase()).collect();
    let protocols: Vec<String> =
        entries("listener.security.protocol.map").map(|entry| entry.to_ascii_uppercase()).collect();
    let mut found: Vec<Listener> = Vec::new();
    for written in entries("listeners") {
        let (name, host, port) = endpoint("listeners", &written)?;
        if controllers.contains(&name) {
            continue;
        }
        if found.iter().any(|other| other.name == name) {
            return Err(ConfigError::invalid("listeners", &written, "each listener has a name of its own"));
        }
        let protocol = protocols.iter().find_map(|entry| {
            let (listener, protocol) = entry.split_once(':')?;
            (listener.trim() == name).then(|| protocol.trim())
        });
        let Some(protocol) = protocol else {
            let why = "listener.security.protocol.map does not say the security protocol of this name";
            return Err(ConfigError::invalid("listeners", &written, why));
        };
        let protocol = SecurityProtocol::named(protocol, build)
            .map_err(|why| ConfigError::invalid("listeners", &written, why))?;
        let advertised_at = advertised.iter().find(|(other, _, _)| *other == name);
        let advertised_at = advertised_at.map(|(_, host, port)| (host.clone(), *port));
        found.push(Listener { name, protocol, host, port, advertised: advertised_at });
    }
    let is_there =
        |name: &String| controllers.contains(name) || found.iter().any(|other| other.name == *name);
    if let Some((name, host, port)) = advertised.iter().find(|(name, _, _)| !is_there(name)) {
        let names: Vec<&str> = found.iter().map(|listener| listener.name.as_str()).collect();
        let why = format!("there is no listener of this name, only {}", names.join(", "));
        return Err(ConfigError::invalid("advertised.listeners", format!("{name}://{host}:{port}"), why));
    }
    if found.is_empty() {
        return Err(ConfigError::Listeners("listeners names no place for clients to connect to".to_owned()));
    }
    Ok(found)
}

/// The address of the HTTP server, if there is one.
pub(super) fn http(
    written: Option<String>,
    tls: bool,
    build: Build,
) -> Result<Option<Listener>, ConfigError> {
    let Some(written) = written else { return Ok(None) };
    let protocol = if tls { SecurityProtocol::Ssl } else { SecurityProtocol::Plaintext };
    SecurityProtocol::named(protocol.name(), build)
        .map_err(|why| ConfigError::invalid("jackdaw.http.tls", "true", why))?;
    let (host, port) = split_address(&written)
        .ok_or_else(|| ConfigError::invalid("jackdaw.http.listener", &written, "expected HOST:PORT"))?;
    Ok(Some(Listener { name: "HTTP".to_owned(), protocol, host, port, advertised: None }))
}

/// `NAME://HOST:PORT`; an IPv6 address is in brackets.
fn endpoint(row: &str, written: &str) -> Result<(String, String, u16), ConfigError> {
    let parts = || {
        let (name, address) = written.split_once("://")?;
        let (host, port) = split_address(address)?;
        Some((name.to_ascii_uppercase(), host, port))
    };
    parts().ok_or_else(|| ConfigError::invalid(row, written, "expected NAME://HOST:PORT"))
}

/// The listeners that a flag means: addresses with their names stay, and one without a name is of plain text.
pub fn listeners_at(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("PLAINTEXT://{}", with_host(address)) }
}

/// The address that a flag means: `9092` is a port of this machine alone, as the default address is. `:9092` and
/// `*:9092` are the port at every address.
pub fn with_host(address: &str) -> String {
    if let Some(port) = address.trim().strip_prefix("*:") {
        return format!(":{port}");
    }
    let is_port = address.trim().parse::<u16>().is_ok();
    if is_port { format!("localhost:{}", address.trim()) } else { address.to_owned() }
}

/// `HOST:PORT`, `[::1]:PORT` or `:PORT`.
fn split_address(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return None;
    }
    Some((bare.unwrap_or(host).to_owned(), port.parse().ok()?))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_any_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
}
