//! The addresses of a server's listeners, as `HOST:PORT` and each once.

use std::net::{IpAddr, SocketAddr};

use crate::config::Listener;
use crate::server::Server;
use crate::types::host_and_port;

/// The addresses that programs on this machine can use.
pub(super) fn listening(server: &Server) -> Vec<String> {
    each_once(server.listening().map(|(listener, bound)| host_and_port(&host(listener, bound), bound.port())))
}

/// The addresses that clients get. A client of a listener at every address gets the one that it has reached, which is
/// `localhost` for a client on this machine.
pub(super) fn advertised(server: &Server) -> Vec<String> {
    each_once(server.listening().map(|(listener, bound)| {
        let advertised = listener.advertised.as_ref().map(|(host, _)| host.clone());
        let host = advertised.filter(|host| !host.is_empty()).unwrap_or_else(|| host(listener, bound));
        host_and_port(&host, listener.advertised_port(bound.port()))
    }))
}

/// The name of a listener's own address. A name that stands for several addresses stays a name.
fn host(listener: &Listener, bound: SocketAddr) -> String {
    if bound.ip().is_unspecified() {
        return "localhost".to_owned();
    }
    match listener.host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => listener.host.clone(),
    }
}

fn each_once(addresses: impl Iterator<Item = String>) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    for address in addresses {
        if !once.contains(&address) {
            once.push(address);
        }
    }
    once
}
