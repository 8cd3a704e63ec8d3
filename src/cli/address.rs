//! The address of a broker, as librdkafka takes it: `[PROTOCOL://]HOST[:PORT]`.

use std::str::FromStr;

/// Kafka's port.
const PORT: u16 = 9092;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// In upper case.
    pub protocol: Option<String>,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(written: &str) -> Result<Address, String> {
        let (protocol, rest) = match written.split_once("://") {
            Some((protocol, rest)) => (Some(protocol.to_ascii_uppercase()), rest),
            None => (None, written),
        };
        // Several colons without brackets are an IPv6 address without a port.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            Some(_) | None => (rest, None),
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let expected = || {
            format!("{written} is no address of a broker: expected HOST, HOST:PORT or PROTOCOL://HOST:PORT")
        };
        if bare.contains(['/', '[', ']']) || bare.contains(char::is_whitespace) {
            return Err(expected());
        }
        let port =
            port.map_or(Ok(PORT), |port| port.parse().ok().filter(|port| *port > 0).ok_or_else(expected))?;
        let host = if bare.is_empty() { "localhost" } else { bare };
        Ok(Address { protocol, host: host.to_owned(), port })
    }
}

impl Address {
    /// Refuses an address with another protocol than that of the connection.
    pub fn fits(&self, protocol: &str) -> Result<(), String> {
        let protocol = protocol.to_ascii_uppercase();
        match &self.protocol {
            Some(written) if *written != protocol => {
                Err(format!("{written}://{}: the connection has security.protocol {protocol}", self.host))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The addresses of a list, which are separated by commas.
pub fn each(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|address| !address.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_parts_that_librdkafka_finds_in_it() {
        for (written, protocol, host, port) in [
            ("broker:9093", None, "broker", 9093),
            ("broker", None, "broker", 9092),
            ("127.0.0.1", None, "127.0.0.1", 9092),
            (":9093", None, "localhost", 9093),
            ("[::1]:9093", None, "::1", 9093),
            ("[::1]", None, "::1", 9092),
            ("::1", None, "::1", 9092),
            ("PLAINTEXT://broker:9093", Some("PLAINTEXT"), "broker", 9093),
            ("sasl_ssl://broker", Some("SASL_SSL"), "broker", 9092),
            ("ssl://[::1]:9093", Some("SSL"), "::1", 9093),
        ] {
            let expected = Address { protocol: protocol.map(str::to_owned), host: host.to_owned(), port };
            assert_eq!(written.parse(), Ok(expected), "{written}");
        }
        for wrong in
            ["broker:", "broker:port", "broker:0", "broker:65536", "a b:1", "http://broker:1/x", "[::1:9092"]
        {
            let why = wrong.parse::<Address>().unwrap_err();
            assert!(why.starts_with(wrong), "{why}");
        }
    }

    #[test]
    fn the_protocol_of_an_address_is_that_of_the_connection() {
        let fits = |written: &str, protocol| written.parse::<Address>().unwrap().fits(protocol);
        assert_eq!(fits("broker", "ssl"), Ok(()));
        assert_eq!(fits("SSL://broker", "ssl"), Ok(()));
        assert_eq!(fits("plaintext://broker:1", "PLAINTEXT"), Ok(()));
        let why = fits("SSL://broker", "plaintext").unwrap_err();
        assert_eq!(why, "SSL://broker: the connection has security.protocol PLAINTEXT");
    }

    #[test]
    fn addresses_of_a_list_are_separated_by_commas() {
        assert_eq!(each("a:1, b ,,c").collect::<Vec<_>>(), ["a:1", "b", "c"]);
    }
}
