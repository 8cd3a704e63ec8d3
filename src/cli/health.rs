//! `jackdaw health`: sends ApiVersions to a broker, for the health checks of containers. It does the same
//! as `kafka-broker-api-versions`, without a JVM.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use clap::Args;

use super::sources::Sources;
use super::wire::Wire;
use super::{Exit, fail};
use crate::config::Listener;
use crate::protocol::messages::KafkaApi;
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::types::host_and_port;

/// The time limit of each step.
const PATIENCE: Duration = Duration::from_secs(5);
/// The version that all brokers support.
const VERSION: i16 = 0;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    sources: Sources,
    /// The broker to ask [default: the first listener in the settings, else localhost:9092]
    #[arg(long, visible_alias = "bootstrap-server", value_name = "HOST:PORT")]
    bootstrap: Option<String>,
}

pub(super) fn run(options: &Options) -> Exit {
    let address = match &options.bootstrap {
        // As in Kafka's tools there may be several; one that answers is enough.
        Some(addresses) => addresses.clone(),
        None => match configured(&options.sources) {
            Ok(address) => address,
            Err((exit, why)) => return fail(exit, why),
        },
    };
    let mut failure = None;
    for one in address.split(',') {
        match ask(one.trim()) {
            Ok(answer) => return print(one.trim(), &answer),
            Err(error) => failure = Some(format!("{one}: {error}")),
        }
    }
    fail(Exit::Unavailable, format_args!("no broker answers at {}", failure.unwrap_or(address)))
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

fn ask(address: &str) -> io::Result<ApiVersionsResponse> {
    let mut wire = Wire::connect(address, "jackdaw-health", PATIENCE)?;
    let answer = wire.call(VERSION, &ApiVersionsRequest::default())?;
    match answer.error_code {
        0 => Ok(answer),
        code => Err(io::Error::other(format!("the broker answers with error {code}"))),
    }
}

fn print(address: &str, answer: &ApiVersionsResponse) -> Exit {
    let mut out = BufWriter::new(io::stdout().lock());
    // Ignored: the reader may stop reading, and the result is already known.
    let _ = writeln!(out, "{address} serves {} APIs", answer.api_keys.len());
    for api in &answer.api_keys {
        let name = KafkaApi::find(api.api_key).map_or("unknown", |known| known.name);
        let _ = writeln!(out, "  {name} ({}): {} to {}", api.api_key, api.min_version, api.max_version);
    }
    let _ = out.flush();
    Exit::Fine
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
