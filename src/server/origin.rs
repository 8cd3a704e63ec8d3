//! Detects clients on other machines: an advertised `localhost` leads them to their own machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

use tracing::warn;

use super::Shared;
use crate::config::Listener;

/// Warns once about a listener whose advertised host leads clients of other machines to themselves.
pub(super) fn look_at(peer: SocketAddr, local: SocketAddr, listener: &Listener, shared: &Shared) {
    if !listener.advertises_loopback() || shared.sent_astray.load(Ordering::Relaxed) {
        return;
    }
    if is_here(peer.ip().to_canonical(), local.ip().to_canonical(), gateway) {
        return;
    }
    if !shared.sent_astray.swap(true, Ordering::Relaxed) {
        let advertised = listener.advertised.as_ref().map_or(listener.host.as_str(), |(host, _)| host);
        warn!(
            %peer,
            listener = listener.name,
            "a client on another machine gets the address {advertised}, which is that machine itself: set \
             advertised.listeners (KAFKA_ADVERTISED_LISTENERS) to a name it can reach this broker by"
        );
    }
}

/// In a container with a published port, clients on the host appear as the gateway.
fn is_here(peer: IpAddr, local: IpAddr, gateway: impl Fn() -> Option<Ipv4Addr>) -> bool {
    peer.is_loopback() || peer == local || gateway().is_some_and(|gateway| peer == gateway)
}

/// The default gateway.
fn gateway() -> Option<Ipv4Addr> {
    read_gateway(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// The gateway in the line with destination and mask 0. Addresses are hexadecimal, in the machine's byte
/// order.
fn read_gateway(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let mask = fields.nth(4)?;
        let is_default = destination == "00000000" && mask == "00000000";
        let gateway = u32::from_str_radix(gateway, 16).ok().filter(|gateway| *gateway != 0)?;
        is_default.then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_gateway_is_where_packets_to_anywhere_go() {
        assert_eq!(read_gateway(ROUTES), Some(Ipv4Addr::new(172, 18, 0, 1)));
        assert_eq!(read_gateway("Iface\tDestination\n"), None);
        assert_eq!(read_gateway("x"), None);
    }

    #[test]
    fn loopback_our_own_address_and_the_gateway_are_this_machine() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let is_here = |peer| is_here(ip(peer), ip("172.18.0.2"), || Some(Ipv4Addr::new(172, 18, 0, 1)));
        for peer in ["127.0.0.1", "::1", "172.18.0.2", "172.18.0.1"] {
            assert!(is_here(peer), "{peer}");
        }
        assert!(!is_here("172.18.0.3") && !is_here("fd00::7"));
    }
}
