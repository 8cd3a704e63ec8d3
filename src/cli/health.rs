//! `jackdaw health`: sends ApiVersions to a broker, for the health checks of containers. It does the same
//! as `kafka-broker-api-versions`, without a JVM.

use std::io::{self, BufWriter, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;

use super::sources::Sources;
use super::{Exit, fail};
use crate::config::{BrokerSettings, Listener};
use crate::protocol::messages::KafkaApi;
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::{Message, Reader, Request, RequestHeader, Writer, read_response_header};

/// The time limit of each step.
const PATIENCE: Duration = Duration::from_secs(5);
/// The maximum size of the response; a real one has less than a kilobyte.
const LONGEST: u32 = 64 << 10;
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
    let mut given = sources.read(std::env::vars_os())?;
    sources.complete(&mut given);
    let settings = BrokerSettings::load(given).map_err(|error| (Exit::Settings, error.to_string()))?;
    let first = settings.listeners.first().expect("settings without a listener are refused");
    Ok(here(first))
}

fn here(listener: &Listener) -> String {
    let Listener { host, port, .. } = listener;
    match host.as_str() {
        "" | "0.0.0.0" | "::" => format!("localhost:{port}"),
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    }
}

fn ask(address: &str) -> io::Result<ApiVersionsResponse> {
    let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut socket = connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let header = RequestHeader {
        api_key: ApiVersionsRequest::KEY,
        api_version: VERSION,
        correlation_id: 1,
        client_id: Some("jackdaw-health".to_owned()),
    };
    let mut out = Writer::new();
    let written =
        header.write(&mut out).and_then(|()| ApiVersionsRequest::default().encode(&mut out, VERSION));
    let frame = written.and_then(|()| out.into_request()).map_err(|error| bad(error.to_string()))?;
    socket.write_all(&frame)?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return Err(bad("this is no Kafka broker".to_owned()));
    }
    let mut body = vec![0; usize::try_from(length).unwrap_or_default()];
    socket.read_exact(&mut body)?;
    let mut input = Reader::new(body.into());
    let answer = read_response_header(&mut input, ApiVersionsRequest::KEY, VERSION)
        .and_then(|_| ApiVersionsResponse::decode(&mut input, VERSION))
        .map_err(|error| bad(error.to_string()))?;
    match answer.error_code {
        0 => Ok(answer),
        code => Err(bad(format!("the broker answers with error {code}"))),
    }
}

/// Connects to the first of the name's addresses that accepts it.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
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

    #[test]
    fn a_listener_at_every_address_is_asked_at_localhost() {
        for (host, asked) in [
            ("", "localhost:9092"),
            ("0.0.0.0", "localhost:9092"),
            ("::", "localhost:9092"),
            ("::1", "[::1]:9092"),
            ("broker", "broker:9092"),
        ] {
            let listener =
                Listener { name: "PLAINTEXT".into(), host: host.into(), port: 9092, advertised: None };
            assert_eq!(here(&listener), asked);
        }
    }
}
