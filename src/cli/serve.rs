//! `jackdaw serve`: reads the settings from all sources, starts, waits for a signal, and stops.

use std::future::pending;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::thread;

use clap::Args;
use clap::builder::PossibleValuesParser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tracing::{Level, info, warn};

use super::notify::{self, notify};
use super::sources::{Sources, refusal};
use super::{Exit, exit_of_open, fail, log_level, readiness};
use crate::broker::{Broker, Builder, StartError};
use crate::config::{self, BrokerSettings, Given, INITIAL_TOPICS, Meant, Origin};
use crate::telemetry::{self, Lines, LogFormat};

#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    sources: Sources,
    /// The address for clients: HOST:PORT, a port of localhost (9092), a port at every address (:9092), or
    /// listeners as in the setting (NAME://HOST:PORT) [default: localhost:9092, on IPv4 and IPv6; port 0 chooses a free one]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The data directory [default: log.dirs, else ./jackdaw-data]
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    data_dir: Option<PathBuf>,
    /// When a record is acknowledged: after its sync to disk (fsync), after the write with a sync soon
    /// after (interval), or after the write, as in Kafka (os) [default: fsync]
    #[arg(long, value_parser = PossibleValuesParser::new(["fsync", "interval", "os"]), value_name = "MODE")]
    durability: Option<String>,
    /// The number of virtual brokers, at ports that follow the first one's: for tests of replicated
    /// topics. It is one process with one copy of the data [default: 1]
    #[arg(long, value_name = "N")]
    brokers: Option<u16>,
    /// A topic to create at the start unless it exists; may be repeated
    #[arg(long, value_name = "NAME[:PARTITIONS[:REPLICAS]]")]
    topic: Vec<String>,
    /// Keep all data in memory; it is lost when the broker stops. Groups rebalance at once
    #[arg(long)]
    ephemeral: bool,
    /// A setting, with precedence over file and environment; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
    /// The HTTP address for health checks (/livez, /readyz, /health) and metrics (/metrics), as for --listen
    /// [default: none]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// Stop when standard input ends. A program that starts a broker keeps the pipe open: the broker then ends with
    /// it, even if it is killed
    #[arg(long)]
    stop_on_eof: bool,
    /// For tests of applications: hooks at the HTTP address that make requests fail, wait for records and groups, and more
    /// (docs/testing.md). Elsewhere than on localhost they need jackdaw.test.hooks.token
    #[arg(long)]
    test_hooks: bool,
    /// Print all settings with their values and sources, and do not start
    #[arg(long)]
    print_config: bool,
    /// The log level, on standard error [default: KAFKA_LOG4J_ROOT_LOGLEVEL, else info]
    #[arg(long, value_name = "LEVEL",
          value_parser = PossibleValuesParser::new(["error", "warn", "info", "debug", "trace"]))]
    log_level: Option<String>,
    /// The format of log lines: text, or JSON with one object per line [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(["text", "json"]))]
    log_format: Option<String>,
}

pub(super) fn name_and_value(written: &str) -> Result<(String, String), String> {
    let (name, value) = written.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

pub(super) fn run(options: Options) -> Exit {
    let _at_the_end = telemetry::Flushed;
    start(options)
}

fn start(options: Options) -> Exit {
    let variable = std::env::var(log_level::VARIABLE).ok();
    let level = log_level::of(options.log_level.as_deref(), variable.as_deref());
    let (ephemeral, print_config) = (options.ephemeral, options.print_config);
    let is_container = options.sources.container;
    let given = match settings(options.clone()) {
        Ok(given) => given,
        Err((exit, why)) => return fail(exit, why),
    };
    if let Err(error) = telemetry::start(*level.as_ref().unwrap_or(&Level::INFO), log_format(&given)) {
        return fail(Exit::InputOutput, format_args!("no thread to write the log: {error}"));
    }
    if print_config {
        return print_settings(&given);
    }
    if let Err(why) = level {
        warn!(why, "unknown log level, INFO is used");
    }
    warn_of_unknown_names(&given, |_| true);
    let is_about_kerberos = |name: &&str| name.starts_with("sasl.kerberos.");
    let (of_kerberos, idle): (Vec<_>, Vec<_>) = given.idle().into_iter().partition(is_about_kerberos);
    if !of_kerberos.is_empty() {
        warn!(
            names = of_kerberos.join(" "),
            "set, but without effect: Kerberos is not implemented; use SCRAM or OAUTHBEARER"
        );
    }
    if !idle.is_empty() {
        info!(names = idle.join(" "), "set, and without effect here");
    }
    warn_of_other_nodes(&given);
    // The broker may replace Kafka's image, so tools may wait for Kafka's log lines.
    let is_in_place_of_kafka = is_container || given.has_any_from(Origin::Environment);
    let mut builder = Broker::builder().set_all(given.clone());
    if ephemeral {
        builder = builder.ephemeral();
    }
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::InputOutput, format!("no threads to run in: {error}")),
    };
    let exit = runtime.block_on(serve(builder, options, &given, is_in_place_of_kafka));
    // After a signal during the start, a thread may still read the data directory. Like a killed process, it leaves
    // the directory as the next start needs it.
    runtime.shutdown_background();
    exit
}

/// Any other value is refused when the settings are loaded.
fn log_format(given: &Given) -> LogFormat {
    match given.get("jackdaw.log.format").map(str::trim) {
        Some("json") => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

/// In ascending order of precedence: defaults, file, environment, flags.
fn settings(options: Options) -> Result<Given, (Exit, String)> {
    let mut given = options.sources.read(std::env::vars_os())?;
    let mut flag = |flag: &str, name: &str, value: String| given.set_from(Origin::Flag, flag, name, value);
    for (name, value) in options.set {
        flag("--set", &name, value);
    }
    if let Some(address) = options.listen {
        flag("--listen", "listeners", config::listeners_at(&address));
    }
    if let Some(brokers) = options.brokers {
        flag("--brokers", "jackdaw.brokers", brokers.to_string());
    }
    if let Some(path) = options.data_dir {
        flag("--data-dir", "log.dirs", path.to_string_lossy().into_owned());
    }
    if !options.topic.is_empty() {
        flag("--topic", INITIAL_TOPICS, options.topic.join(","));
    }
    if let Some(durability) = options.durability {
        flag("--durability", "jackdaw.durability", durability);
    }
    if let Some(address) = options.http {
        flag("--http", "jackdaw.http.listener", config::with_host(&address));
    }
    if options.test_hooks {
        flag("--test-hooks", "jackdaw.test.hooks", "true".to_owned());
    }
    if let Some(format) = options.log_format {
        flag("--log-format", "jackdaw.log.format", format);
    }
    options.sources.finish(&mut given)?;
    if options.ephemeral {
        given.set_ephemeral_defaults();
    }
    Ok(given)
}

fn print_settings(given: &Given) -> Exit {
    let settings = match BrokerSettings::load(given.clone()) {
        Ok(settings) => settings,
        Err(error) => return fail(Exit::Settings, refusal(&error, given)),
    };
    // Ignored: the reader may stop reading.
    let _ = io::stdout().write_all(config::listing(&settings).as_bytes());
    Exit::Fine
}

/// Logs the new names that are no settings here. Those of ZooKeeper and of other vendors are one line each.
fn warn_of_unknown_names(given: &Given, is_new: impl Fn(&str) -> bool) {
    let (mut of_zookeeper, mut of_vendors) = (Vec::new(), Vec::new());
    for unknown in given.unknown().filter(|unknown| is_new(unknown.0)) {
        let name = unknown.0;
        let from = given.written(name).map(ToString::to_string).unwrap_or_default();
        match unknown.meant() {
            Meant::ZooKeeper => of_zookeeper.push(name),
            Meant::OtherVendor => of_vendors.push(name),
            Meant::Known(nearest) => {
                warn!(name, from, "unknown setting without effect; did you mean {nearest}?");
            }
            Meant::Nothing => warn!(name, from, "unknown setting without effect"),
        }
    }
    if !of_zookeeper.is_empty() {
        let names = of_zookeeper.join(" ");
        warn!(names, "ZooKeeper is not needed: remove these settings, and the ZooKeeper that they name");
    }
    if !of_vendors.is_empty() {
        info!(names = of_vendors.join(" "), "settings of other vendors, without effect here");
    }
}

/// Warns if the settings are those of a node in a larger cluster. They are accepted, but there is no
/// cluster.
fn warn_of_other_nodes(given: &Given) {
    for name in ["controller.quorum.voters", "controller.quorum.bootstrap.servers"] {
        let nodes = given
            .get(name)
            .map_or(0, |nodes| nodes.split(',').filter(|node| !node.trim().is_empty()).count());
        if nodes > 1 {
            warn!(
                name,
                nodes,
                "this broker is one alone: it shares nothing with other nodes, its clients see none of them"
            );
        }
    }
}

/// Raises the limit of open files, because each connection and each open segment is a file. Systems have
/// a low default.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If this fails, the connections are limited by the present limit.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

async fn serve(builder: Builder, options: Options, given: &Given, is_in_place_of_kafka: bool) -> Exit {
    // Before the broker is ready, so that no signal after its readiness line is missed.
    let signals =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        return fail(Exit::InputOutput, "signals cannot be listened for");
    };
    // The broker serves even if the line cannot be written.
    let out = match Lines::to(io::stdout(), |_| {}) {
        Ok(out) => out,
        Err(error) => return fail(Exit::InputOutput, format_args!("no thread to print in: {error}")),
    };
    let mut end_of_input = pin!(end_of_input(options.stop_on_eof));
    let stopped = async {
        tokio::select! {
            () = any(&mut terminate, &mut interrupt) => {}
            () = &mut end_of_input => {}
        }
    };
    let started = tokio::select! {
        started = builder.start() => started,
        () = stopped => {
            info!("stopped before it was ready");
            return Exit::Fine;
        }
    };
    let broker = match started {
        Ok(broker) => broker,
        Err(StartError::Settings(error)) => return fail(Exit::Settings, refusal(&error, given)),
        Err(error) => return fail(exit_of(&error), error),
    };
    if let Some(address) = broker.http() {
        info!(%address, "health checks and metrics are answered over HTTP");
    }
    out.say(readiness::line(&broker, log_format(given)).as_bytes());
    if is_in_place_of_kafka {
        out.say(readiness::in_words_of_kafka(&broker).as_bytes());
    }
    notify(notify::READY);
    loop {
        tokio::select! {
            () = any(&mut terminate, &mut interrupt) => break,
            () = &mut end_of_input => break,
            // A closed terminal sends SIGHUP too. It reloads the settings and does not stop the broker.
            Some(()) = hangup.recv() => tokio::select! {
                () = reload(&broker, options.clone()) => {}
                () = any(&mut terminate, &mut interrupt) => break,
            },
        }
    }
    notify(notify::STOPPING);
    info!("stopping; a second signal stops at once");
    tokio::select! {
        () = broker.stop() => info!("stopped"),
        () = any(&mut terminate, &mut interrupt) => warn!("stopped at once"),
    }
    out.flush(telemetry::FLUSH);
    Exit::Fine
}

/// Waits for the end of standard input if this is asked for, else forever.
async fn end_of_input(is_asked: bool) {
    if is_asked {
        let (at_the_end, end) = oneshot::channel();
        // Not a thread of the runtime, which waits for those when it stops.
        let reader = thread::Builder::new().name("standard input".to_owned()).spawn(move || {
            // An input that cannot be read ends too.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _: Result<(), ()> = at_the_end.send(());
        });
        if reader.is_ok() && end.await.is_ok() {
            return;
        }
    }
    pending().await
}

/// Reloads the dynamic settings from the file.
async fn reload(broker: &Broker, options: Options) {
    match spawn_blocking(|| settings(options)).await {
        Ok(Ok(given)) => {
            let before = &broker.settings().given;
            warn_of_unknown_names(&given, |name| before.get(name).is_none());
            broker.reload(given).await;
        }
        Ok(Err((_, why))) => warn!(why, "cannot reload the settings; they stay as they are"),
        Err(error) => warn!(%error, "cannot reload the settings; they stay as they are"),
    }
}

async fn any(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Settings(_) | StartError::TooFewFiles { .. } => Exit::Settings,
        StartError::Open(error) => exit_of_open(error),
        StartError::Bind(_) => Exit::Unavailable,
    }
}
