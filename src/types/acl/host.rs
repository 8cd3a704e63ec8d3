//! The hosts of a binding: `*`, an address, or a range of addresses such as `10.0.0.0/8`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

const EVERY_HOST: &str = "*";

/// The host of a binding. The text is parsed once, and compared with the addresses of clients often.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    text: Arc<str>,
    /// Follows from the text, so it does not change the order.
    addresses: Addresses,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Addresses {
    Every,
    /// The text is a name, or a range that cannot be parsed.
    Nothing,
    One(IpAddr),
    Range(Range),
}

/// Fails with Kafka's words if a binding with this host must not be stored. As in Kafka, a name is stored, though it
/// matches no address.
pub fn check(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("Host pattern cannot be null or empty".to_owned());
    }
    if !host.contains('/') {
        return Ok(());
    }
    let range = host.parse::<Range>();
    range.map(drop).map_err(|why| format!("Invalid CIDR notation '{host}': {why}"))
}

impl Host {
    pub fn new(text: Arc<str>) -> Host {
        let addresses = if &*text == EVERY_HOST {
            Addresses::Every
        } else if text.contains('/') {
            text.parse().map_or(Addresses::Nothing, Addresses::Range)
        } else {
            let address = text.parse::<IpAddr>();
            address.map_or(Addresses::Nothing, |address| Addresses::One(address.to_canonical()))
        };
        Host { text, addresses }
    }

    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether the host is or contains an address.
    pub fn matches(&self, address: IpAddr) -> bool {
        // An IPv4 client of an IPv6 socket is an IPv4 client.
        let address = address.to_canonical();
        match self.addresses {
            Addresses::Every => true,
            Addresses::Nothing => false,
            Addresses::One(one) => one == address,
            Addresses::Range(range) => range.contains(address),
        }
    }
}

/// A range of addresses. As in Kafka, bits of the host may be set: `127.0.0.1/8` is all of `127.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    address: IpAddr,
    bits: u32,
}

impl Range {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let outside = u32::BITS - self.bits;
                (range.to_bits() ^ address.to_bits()).checked_shr(outside).unwrap_or(0) == 0
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let outside = u128::BITS - self.bits;
                (range.to_bits() ^ address.to_bits()).checked_shr(outside).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let (address, bits) = text.split_once('/').ok_or_else(|| not_parsed(text))?;
        if address.contains(':') { v6_range(text, address, bits) } else { v4_range(text, address, bits) }
    }
}

fn not_parsed(text: &str) -> String {
    format!("Could not parse [{text}]")
}

/// A number with at most `most_digits` digits; leading zeros are allowed.
fn number(digits: &str, most_digits: usize) -> Option<u32> {
    let are_digits =
        (1..=most_digits).contains(&digits.len()) && digits.bytes().all(|one| one.is_ascii_digit());
    digits.parse().ok().filter(|_| are_digits)
}

fn v4_range(text: &str, address: &str, bits: &str) -> Result<Range, String> {
    let parts: Option<Vec<u32>> = address.split('.').map(|part| number(part, 3)).collect();
    let parts: Option<[u32; 4]> = parts.and_then(|parts| parts.try_into().ok());
    let (Some(parts), Some(bits)) = (parts, number(bits, 2)) else { return Err(not_parsed(text)) };
    let is_within = |value: u32, most: u32| match value {
        value if value <= most => Ok(()),
        value => Err(format!("Value [{value}] not in range [0,{most}]")),
    };
    parts.iter().try_for_each(|part| is_within(*part, u8::MAX.into()))?;
    is_within(bits, u32::BITS)?;
    let address = parts.iter().fold(0, |address, part| address << u8::BITS | part);
    Ok(Range { address: Ipv4Addr::from_bits(address).into(), bits })
}

fn v6_range(text: &str, address: &str, bits: &str) -> Result<Range, String> {
    let bits = number(bits, 3).filter(|bits| *bits <= u128::BITS);
    let bits = bits.ok_or_else(|| not_parsed(text) + " - prefix length must be between 0 and 128")?;
    let written = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let parsed: Ipv6Addr = written.parse().map_err(|_| not_parsed(address))?;
    match parsed.to_ipv4_mapped() {
        Some(_) => Err(not_parsed(address) + " - not an IPv6 address"),
        None => Ok(Range { address: parsed.into(), bits }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_inside(host: &str, address: &str) -> bool {
        Host::new(host.into()).matches(address.parse().unwrap())
    }

    #[test]
    fn a_host_is_everyone_an_address_or_a_range_of_addresses() {
        for (host, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("0:0:0:0:0:0:0:1", "::1", "::2"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("127.0.0.1/8", "127.9.9.9", "126.0.0.1"),
            ("010.0.0.0/08", "10.1.1.1", "8.0.0.1"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
        ] {
            assert!(is_inside(host, inside) && !is_inside(host, outside), "{host}");
            assert!(is_inside("*", inside) && is_inside("*", outside));
        }
    }

    #[test]
    fn only_a_range_is_checked_before_it_is_stored() {
        for host in
            ["*", "localhost", "10.0.0.0/8", "127.0.0.1/8", "010.0.0.0/08", "::/0", "[::]/0", "::1/128"]
        {
            assert_eq!(check(host), Ok(()));
        }
        for (host, why) in [
            ("10.0.0.0/33", "Value [33] not in range [0,32]"),
            ("10.0.0.256/8", "Value [256] not in range [0,255]"),
            ("::/129", "Could not parse [::/129] - prefix length must be between 0 and 128"),
            ("1::2::3/8", "Could not parse [1::2::3]"),
            ("::ffff:10.0.0.0/104", "Could not parse [::ffff:10.0.0.0] - not an IPv6 address"),
            ("127.0/8", "Could not parse [127.0/8]"),
            ("/x", "Could not parse [/x]"),
            ("10.0.0.0/", "Could not parse [10.0.0.0/]"),
            ("10.0.0.0/+8", "Could not parse [10.0.0.0/+8]"),
            ("a/8", "Could not parse [a/8]"),
        ] {
            assert_eq!(check(host), Err(format!("Invalid CIDR notation '{host}': {why}")));
            assert!(!is_inside(host, "10.0.0.0"), "{host}");
        }
        assert!(check("").is_err());
    }
}
