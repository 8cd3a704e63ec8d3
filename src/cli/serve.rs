//! `jackdaw serve`: settings from file and flags, start, wait for a signal, stop.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{Level, info, warn};

use super::{Exit, fail};
use crate::broker::{Broker, Builder, StartError};
use crate::config::{ConfigError, Given, Properties};
use crate::storage::OpenError;
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where clients connect [default: localhost:9092, on IPv4 and IPv6; port 0 takes a free one]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where the data lies [default: log.dirs, else ./jackdaw-data]
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    data_dir: Option<PathBuf>,
    /// When a record is acknowledged: once it is synced to disk, once it is written and will be
    /// synced soon, or once the operating system has it, as in Kafka [default: fsync]
    #[arg(long, value_parser = PossibleValuesParser::new(["fsync", "interval", "os"]), value_name = "MODE")]
    durability: Option<String>,
    /// Keep everything in memory: gone when the broker stops
    #[arg(long)]
    ephemeral: bool,
    /// Settings in Kafka's syntax, as in its server.properties
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, over what the file says; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
    /// Where health checks are answered over HTTP (/livez, /readyz) [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// How much is logged, on standard error
    #[arg(long, value_name = "LEVEL", default_value = "info",
          value_parser = PossibleValuesParser::new(["error", "warn", "info", "debug", "trace"]))]
    log_level: String,
}

fn name_and_value(written: &str) -> Result<(String, String), String> {
    let (name, value) = written.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

pub(super) fn run(options: Options) -> Exit {
    telemetry::start(options.log_level.parse().unwrap_or(Level::INFO));
    let ephemeral = options.ephemeral;
    let given = match settings(options) {
        Ok(given) => given,
        Err((exit, why)) => return fail(exit, why),
    };
    for (name, nearest) in given.unknown() {
        match nearest {
            Some(nearest) => warn!(name, "unknown setting without effect; {nearest} is meant?"),
            None => warn!(name, "unknown setting without effect"),
        }
    }
    let mut builder = Broker::builder().set("listeners", "PLAINTEXT://localhost:9092").set_all(given);
    if ephemeral {
        builder = builder.ephemeral();
    }
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(builder)),
        Err(error) => fail(Exit::InputOutput, format!("no threads to run in: {error}")),
    }
}

/// Default < file < flags.
fn settings(options: Options) -> Result<Given, (Exit, String)> {
    let mut given = Given::default();
    if let Some(path) = &options.config {
        let text = std::fs::read_to_string(path)
            .map_err(|error| (Exit::InputOutput, format!("{}: {error}", path.display())))?;
        let file = Properties::parse(&text)
            .map_err(|error: ConfigError| (Exit::Settings, format!("{}: {error}", path.display())))?;
        given.set_all(&file);
    }
    for (name, value) in options.set {
        given.set(name, value);
    }
    if let Some(address) = options.listen {
        given.set("listeners", format!("PLAINTEXT://{address}"));
    }
    if let Some(path) = options.data_dir {
        given.set("log.dirs", path.to_string_lossy());
    }
    if let Some(durability) = options.durability {
        given.set("jackdaw.durability", durability);
    }
    if let Some(address) = options.http {
        given.set("jackdaw.http.listener", address);
    }
    Ok(given)
}

/// Each connection and each open segment is a file; systems set the limit low for programs that
/// would not know better.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it fails, the connections are limited to what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

async fn serve(builder: Builder) -> Exit {
    // Before the broker is ready, so that no signal after its line goes unheard.
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return fail(Exit::InputOutput, "signals cannot be listened for");
    };
    let broker = match builder.start().await {
        Ok(broker) => broker,
        Err(error) => return fail(exit_of(&error), error),
    };
    print_readiness(&broker);
    any(&mut terminate, &mut interrupt).await;
    info!("stopping; a second signal stops at once");
    tokio::select! {
        () = broker.stop() => info!("stopped"),
        () = any(&mut terminate, &mut interrupt) => warn!("stopped at once"),
    }
    Exit::Fine
}

async fn any(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// The one line on standard output, for people and for scripts that wait for it.
fn print_readiness(broker: &Broker) {
    let data = match broker.data_dir() {
        Some(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            format!("data in {}, durability {}", path.display(), broker.settings().durability)
        }
        None => "data in memory, gone when it stops".to_owned(),
    };
    let listening = broker.listening().join(" ");
    if let Some(address) = broker.http() {
        info!(%address, "health checks are answered over HTTP");
    }
    let mut out = std::io::stdout();
    // Nobody may be listening there any more; the broker serves all the same.
    let _ = writeln!(out, "jackdaw {} is ready at {listening}, {data}", env!("CARGO_PKG_VERSION"));
    let _ = out.flush();
}

fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Settings(_) => Exit::Settings,
        StartError::Open(OpenError::InUse { .. }) => Exit::InUse,
        StartError::Open(OpenError::Io { .. }) => Exit::InputOutput,
        StartError::Open(
            OpenError::NotOurs { .. }
            | OpenError::Newer { .. }
            | OpenError::OtherNode { .. }
            | OpenError::Damaged { .. },
        ) => Exit::Data,
        StartError::Bind(_) => Exit::Unavailable,
    }
}
