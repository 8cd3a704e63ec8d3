//! `jackdaw topic|group|transaction|cluster|config|quota|acl|user|produce|consume`: a small client of any Kafka broker.
//! Records go through librdkafka; requests of administration are sent by this program itself ([`peer`], [`brokers`]).
//!
//! Results are tables, or JSON with `--json`, on standard output; all other text is on standard error. It
//! is no error if the reader of standard output stops reading.

mod access;
mod acl;
mod answers;
mod brokers;
mod cluster;
mod config;
mod consume;
mod group;
#[cfg(feature = "security")]
mod login;
mod output;
mod peer;
mod plan;
mod position;
mod produce;
mod quota;
mod reasons;
mod record;
mod table;
mod topic;
mod transaction;
#[cfg(feature = "security")]
mod user;

use std::fmt::{self, Display};
use std::io::{self, BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{Offset, TopicPartitionList as List};
use tokio::runtime::Runtime;

use self::access::{Access, Settings};
use self::consume::{Events, Reader};
use self::output::Json;
use super::address::{self, Address};
use super::{Exit, fail};
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::types::IgnorePoison;
pub(super) use acl::{Options as Acl, execute as acl};
pub(super) use cluster::{Options as Cluster, execute as cluster};
pub(super) use config::{Options as Config, execute as config};
pub(super) use consume::{Options as Consume, execute as consume};
pub(super) use group::{Options as Group, execute as group};
pub(super) use produce::{Options as Produce, execute as produce};
pub(super) use quota::{Options as Quota, execute as quota};
pub(super) use topic::{Options as Topic, execute as topic};
pub(super) use transaction::{Options as Transaction, execute as transaction};
#[cfg(feature = "security")]
pub(super) use user::{Options as User, execute as user};

/// librdkafka requires a group for a consumer; no offsets are committed to this one.
const NO_GROUP: &str = "jackdaw-client";

/// The options of the connection and of the output.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection and output")]
pub(super) struct Connect {
    #[command(flatten)]
    access: Access,
    /// The time limit for responses of the broker, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10, env = "JACKDAW_TIMEOUT",
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
    #[command(flatten)]
    json: Json,
}

impl Connect {
    /// These options, with this address if neither they nor their profile have one.
    pub(super) fn or_at<E>(&self, address: impl FnOnce() -> Result<String, E>) -> Result<Connect, E> {
        // A profile that cannot be read is refused later.
        if self.access.settings().map_or(true, |settings| settings.names_addresses()) {
            return Ok(self.clone());
        }
        Ok(Connect { access: self.access.at(address()?), ..self.clone() })
    }
}

/// `jackdaw health`: what the first broker that answers serves.
pub(super) fn first_broker(
    connect: &Connect,
    print: impl FnOnce(&str, &ApiVersionsResponse, bool, &mut Output<'_>) -> io::Result<()>,
) -> Exit {
    run(connect, |session, out| {
        let mut broker = peer::bootstrap(session)?;
        let answer = broker.call(0..=0, &ApiVersionsRequest::default())?;
        broker.accept(answer.error_code)?;
        Ok(print(broker.address(), &answer, session.json(), out)?)
    })
}

/// The reasons why a command failed.
#[derive(Debug)]
enum Failure {
    /// The broker refused all or a part of the request.
    Refused(String),
    /// The broker cannot be reached.
    Unavailable(String),
    Usage(String),
    InputOutput(io::Error),
}

type CommandOutcome<T = ()> = Result<T, Failure>;

/// A partition of a topic.
type NamedPartition = (String, i32);

impl Failure {
    fn refused(why: impl Display) -> Failure {
        Failure::Refused(why.to_string())
    }

    fn no_answer(address: &str, error: &io::Error) -> Failure {
        Failure::Unavailable(format!("no answer from {address}: {error}"))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(why) | Failure::Unavailable(why) | Failure::Usage(why) => f.write_str(why),
            Failure::InputOutput(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::InputOutput(error)
    }
}

/// Connects, runs `work`, and turns its result into an exit code.
fn run(connect: &Connect, work: impl FnOnce(&Session, &mut Output) -> CommandOutcome) -> Exit {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = Session::new(connect).and_then(|session| work(&session, &mut out));
    // Results that were found before a failure are shown too.
    let flushed = out.flush().map_err(Failure::from);
    match done.and(flushed) {
        Ok(()) => Exit::Fine,
        Err(Failure::InputOutput(error)) if error.kind() == ErrorKind::BrokenPipe => Exit::Fine,
        Err(Failure::InputOutput(error)) => fail(Exit::InputOutput, error),
        Err(Failure::Refused(why)) => fail(Exit::Refused, why),
        Err(Failure::Unavailable(why)) => fail(Exit::Unavailable, why),
        Err(Failure::Usage(why)) => fail(Exit::Usage, why),
    }
}

type Output<'a> = BufWriter<StdoutLock<'a>>;

/// The state of one run of the program.
struct Session {
    connect: Connect,
    /// The addresses of the cluster, separated by commas.
    bootstrap: String,
    settings: Settings,
    runtime: Runtime,
    complaint: LastComplaint,
    stopped: Arc<AtomicBool>,
}

/// The last complaint of librdkafka. Its errors say what failed, and this says why.
#[derive(Clone, Default)]
struct LastComplaint(Arc<Mutex<Option<String>>>);

impl Session {
    fn new(connect: &Connect) -> CommandOutcome<Session> {
        let settings = connect.access.settings()?;
        let bootstrap = settings.bootstrap();
        let protocol = settings.get(access::PROTOCOL).unwrap_or("plaintext");
        check(&bootstrap, protocol).map_err(Failure::Usage)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Session {
            connect: connect.clone(),
            bootstrap,
            settings,
            runtime,
            complaint: LastComplaint::default(),
            stopped: Arc::default(),
        })
    }

    fn json(&self) -> bool {
        self.connect.json.is_wanted
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.connect.timeout.into())
    }

    /// The time that a broker may take for a change.
    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout().as_millis()).unwrap_or(i32::MAX)
    }

    fn settings(&self, own: &[(&str, &str)]) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set(access::CLIENT_ID, "jackdaw");
        settings.set("allow.auto.create.topics", "false");
        // An OpenSSL that is built in does not know where this system keeps its certificates.
        let is_named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
        if cfg!(feature = "client-tls-vendored") && !is_named {
            settings.set("ssl.ca.location", "probe");
        }
        for (name, value) in own {
            settings.set(*name, *value);
        }
        for (name, value) in self.settings.iter() {
            settings.set(name, value);
        }
        settings.remove(access::OLD_BOOTSTRAP);
        settings.set(access::BOOTSTRAP, &self.bootstrap);
        settings
    }

    /// A consumer for queries and assigned partitions. It is a member of no group until it subscribes. Its own settings
    /// have precedence over those of a profile, but not over `-X`.
    fn consumer(&self, group: Option<&str>, own: &[(&str, &str)]) -> CommandOutcome<Reader> {
        let mut settings = self.settings(&[("group.id", group.unwrap_or(NO_GROUP))]);
        for (name, value) in own.iter().filter(|(name, _)| self.settings.on_command_line(name).is_none()) {
            settings.set(*name, *value);
        }
        settings.create_with_context(Events::new(self.complaint.clone())).map_err(|error| self.failed(&error))
    }

    /// The metadata of all topics. It creates none.
    fn metadata(&self, consumer: &Reader) -> CommandOutcome<Metadata> {
        consumer.fetch_metadata(None, self.timeout()).map_err(|error| {
            // A poll delivers librdkafka's messages about its connections.
            let _ = consumer.poll(Duration::ZERO);
            self.failed(&error)
        })
    }

    /// The failure for an error of librdkafka, as the user sees it.
    fn failed(&self, error: &KafkaError) -> Failure {
        let why = match error {
            KafkaError::ClientConfig(_, why, name, _) => {
                return Failure::Usage(format!("-X {name}: {why}{}", advice(why)));
            }
            KafkaError::ClientCreation(why) => {
                return Failure::Usage(format!("{why}{}", advice(why)));
            }
            KafkaError::AdminOp(code) => Some(*code),
            other => other.rdkafka_error_code(),
        };
        match why {
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::TimedOutQueue
                | RDKafkaErrorCode::Resolve,
            ) => {
                let complaint = self.complaint.take().map(|why| format!(": {why}")).unwrap_or_default();
                Failure::Unavailable(format!("no answer from {}{complaint}", self.bootstrap))
            }
            Some(code) => Failure::refused(reason_of(code)),
            None => Failure::refused(error),
        }
    }

    /// From now on the first Ctrl-C or SIGTERM ends the work at the next opportunity, and a second one
    /// ends it at once.
    fn listen_for_signals(&self) {
        use tokio::signal::unix::{SignalKind, signal};
        let stopped = Arc::clone(&self.stopped);
        // At once, and not when the task begins: a signal before that would be lost, or would end the program.
        let _within = self.runtime.enter();
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        self.runtime.spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if stopped.swap(true, Ordering::SeqCst) {
                    std::process::exit(130);
                }
            }
        });
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Looks up an offset in each partition: its start, its end, or the one for a time. A partition
    /// without a response is left out.
    fn offsets(
        &self,
        consumer: &Reader,
        partitions: &[NamedPartition],
        of: Offset,
    ) -> CommandOutcome<Vec<(NamedPartition, Option<i64>)>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut asked = List::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            asked.add_partition_offset(topic, *partition, of).map_err(|error| self.failed(&error))?;
        }
        let answered =
            consumer.offsets_for_times(asked, self.timeout()).map_err(|error| self.failed(&error))?;
        Ok(found(&answered))
    }
}

/// Refuses addresses that librdkafka would ignore.
fn check(addresses: &str, protocol: &str) -> Result<(), String> {
    address::each(addresses).try_for_each(|one| one.parse::<Address>()?.fits(protocol))
}

/// Advice for a librdkafka without OpenSSL.
fn advice(why: &str) -> &'static str {
    if why.to_ascii_lowercase().contains("openssl") {
        "; build jackdaw with --features client-tls"
    } else {
        ""
    }
}

/// The offsets in a list of partitions, without partitions that have an error.
fn found(list: &TopicPartitionList) -> Vec<(NamedPartition, Option<i64>)> {
    let elements = list.elements();
    let sound = elements.iter().filter(|element| element.error().is_ok());
    sound
        .map(|element| {
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            ((element.topic().to_owned(), element.partition()), offset)
        })
        .collect()
}

/// The topic in the metadata; fails if it is not there.
fn find<'a>(metadata: &'a Metadata, topic: &str) -> CommandOutcome<&'a MetadataTopic> {
    let known = metadata.topics().iter().find(|known| known.name() == topic);
    let known = known.filter(|known| !known.partitions().is_empty());
    known.ok_or_else(|| Failure::refused(format_args!("there is no topic {}", shown(topic))))
}

fn partitions_of(topic: &MetadataTopic) -> Vec<NamedPartition> {
    let mut partitions: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
    partitions.sort_unstable();
    partitions.into_iter().map(|partition| (topic.name().to_owned(), partition)).collect()
}

/// An error code as the broker's message, without librdkafka's name for it.
fn reason_of(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    let text = text.split_once(": ").map_or(text.as_str(), |(_, words)| words);
    text.trim_end_matches(')').to_owned()
}

/// A name for a terminal, with control characters escaped.
fn shown(name: &str) -> String {
    name.chars()
        .flat_map(|letter| {
            let is_odd = letter.is_control();
            is_odd.then(|| letter.escape_default()).into_iter().flatten().chain((!is_odd).then_some(letter))
        })
        .collect()
}

impl LastComplaint {
    fn take(&self) -> Option<String> {
        self.0.lock().ignoring_poison().take()
    }

    fn note(&self, complaint: &str) {
        *self.0.lock().ignoring_poison() = Some(complaint.to_owned());
    }
}

impl ClientContext for LastComplaint {
    fn log(&self, level: RDKafkaLogLevel, _: &str, message: &str) {
        if (level as i32) <= RDKafkaLogLevel::Error as i32 {
            self.note(message);
        }
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.note(reason);
    }
}

/// The progress of long work. It is only shown on a terminal.
struct Progress {
    what: &'static str,
    most: Option<u64>,
    shown: Option<crate::time::Moment>,
    watched: bool,
}

impl Progress {
    const EVERY: Duration = Duration::from_millis(200);

    /// `aside`: whether standard output is not on the same terminal.
    fn new(what: &'static str, most: Option<u64>, aside: bool) -> Progress {
        Progress { what, most, shown: None, watched: aside && io::stderr().is_terminal() }
    }

    fn at(&mut self, done: u64) {
        if !self.watched || self.shown.is_some_and(|shown| shown.elapsed() < Self::EVERY) {
            return;
        }
        self.shown = Some(crate::time::Moment::now());
        let of = self.most.map(|most| format!(" of {most}")).unwrap_or_default();
        eprint!("\r{done}{of} {}\u{1b}[K", self.what);
    }

    /// Clears the line.
    fn end(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r\u{1b}[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
