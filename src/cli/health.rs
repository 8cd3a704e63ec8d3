//! `jackdaw health`: sends ApiVersions to a broker, for the health checks of containers. It does the same
//! as `kafka-broker-api-versions`, without a JVM.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;

#[cfg(feature = "client")]
use self::with_client::{Connect, run_at};
#[cfg(not(feature = "client"))]
use self::without_client::{Connect, run_at};
use super::sources::Sources;
use super::{Exit, fail};
use crate::config::Listener;
use crate::protocol::messages::{ApiVersionsResponse, KafkaApi};
use crate::types::host_and_port;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  jackdaw health --bootstrap localhost:9092")]
pub(super) struct Options {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    connect: Connect,
}

/// Without an address it asks the first listener in the settings, else localhost:9092.
pub(super) fn run(options: &Options) -> Exit {
    match options.connect.or_at(|| configured(&options.sources)) {
        Ok(connect) => run_at(&connect),
        Err((exit, why)) => fail(exit, why),
    }
}

/// The address of the broker with these settings, for a client on the same machine.
fn configured(sources: &Sources) -> Result<String, (Exit, String)> {
    let listeners = sources.listeners(std::env::vars_os())?;
    let first = listeners.first().expect("settings without a listener are refused");
    Ok(here(first))
}

fn here(listener: &Listener) -> String {
    let Listener { host, port, .. } = listener;
    match host.as_str() {
        "" | "0.0.0.0" | "::" => format!("localhost:{port}"),
        host => host_and_port(host, port),
    }
}

fn print(address: &str, answer: &ApiVersionsResponse, json: bool, out: &mut impl Write) -> io::Result<()> {
    let name = |key| KafkaApi::find(key).map(|known| known.name);
    if json {
        let apis = answer.api_keys.iter().map(|api| {
            json!({ "key": api.api_key, "request": name(api.api_key), "first": api.min_version, "last": api.max_version })
        });
        return writeln!(out, "{}", json!({ "address": address, "apis": apis.collect::<Vec<_>>() }));
    }
    writeln!(out, "{address} serves {} APIs", answer.api_keys.len())?;
    for api in &answer.api_keys {
        let name = name(api.api_key).unwrap_or("unknown");
        writeln!(out, "  {name} ({}): {} to {}", api.api_key, api.min_version, api.max_version)?;
    }
    Ok(())
}

/// The options of the connection and the way to the broker are those of all commands of the client.
#[cfg(feature = "client")]
mod with_client {
    use crate::cli::Exit;
    pub(in crate::cli) use crate::cli::client::Connect;
    use crate::cli::client::first_broker;

    pub(in crate::cli) fn run_at(connect: &Connect) -> Exit {
        first_broker(connect, |address, answer, json, out| super::print(address, answer, json, out))
    }
}

/// A build without the client has neither TLS nor a login for it.
#[cfg(not(feature = "client"))]
mod without_client {
    use std::io;
    use std::time::Duration;

    use clap::Args;

    use super::{Exit, fail};
    use crate::cli::address;
    use crate::cli::wire::Wire;
    use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

    /// The version that all brokers support.
    const VERSION: i16 = 0;

    #[derive(Clone, Debug, Args)]
    pub struct Connect {
        /// The broker to ask, or several separated by commas [default: JACKDAW_BOOTSTRAP, else the first listener in
        /// the settings, else localhost:9092]
        #[arg(short = 'b', long, visible_aliases = ["bootstrap-server", "brokers"], value_name = "HOST:PORT")]
        bootstrap: Option<String>,
        /// The time limit of each step, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
        timeout: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    }

    impl Connect {
        pub fn or_at<E>(&self, configured: impl FnOnce() -> Result<String, E>) -> Result<Connect, E> {
            let variable =
                || std::env::var("JACKDAW_BOOTSTRAP").ok().filter(|addresses| !addresses.is_empty());
            let address = match self.bootstrap.clone().or_else(variable) {
                Some(addresses) => addresses,
                None => configured()?,
            };
            Ok(Connect { bootstrap: Some(address), ..self.clone() })
        }
    }

    pub(in crate::cli) fn run_at(connect: &Connect) -> Exit {
        let mut failure = "--bootstrap has no address".to_owned();
        for address in address::each(connect.bootstrap.as_deref().unwrap_or_default()) {
            match ask(address, Duration::from_secs(connect.timeout)) {
                Ok(answer) => {
                    // Ignored: the reader may stop reading, and the result is already known.
                    let _ = super::print(address, &answer, connect.json, &mut io::stdout().lock());
                    return Exit::Fine;
                }
                Err(error) => failure = format!("no answer from {address}: {error}"),
            }
        }
        fail(Exit::Unavailable, failure)
    }

    fn ask(address: &str, patience: Duration) -> io::Result<ApiVersionsResponse> {
        address::Address::fits(&address.parse().map_err(io::Error::other)?, "PLAINTEXT")
            .map_err(io::Error::other)?;
        let mut wire = Wire::connect(address, "jackdaw", patience)?;
        let answer = wire.call(VERSION, &ApiVersionsRequest::default())?;
        match answer.error_code {
            0 => Ok(answer),
            code => Err(io::Error::other(format!("the broker answers with error {code}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecurityProtocol;

    #[test]
    fn a_listener_at_every_address_is_asked_at_localhost() {
        for (host, asked) in [
            ("", "localhost:9092"),
            ("0.0.0.0", "localhost:9092"),
            ("::", "localhost:9092"),
            ("::1", "[::1]:9092"),
            ("broker", "broker:9092"),
        ] {
            let listener = Listener {
                name: "PLAINTEXT".into(),
                protocol: SecurityProtocol::Plaintext,
                host: host.into(),
                port: 9092,
                advertised: None,
            };
            assert_eq!(here(&listener), asked);
        }
    }
}
