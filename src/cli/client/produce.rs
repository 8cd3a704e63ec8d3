//! `jackdaw produce TOPIC`: writes a record for each line of standard input, or for each file.
//!
//! Nothing is lost in silence: each line that was read is written, or named with the reason why it was not. If the
//! input is not read to its end, the first line that was not sent is named, too.

mod again;
mod input;
mod outcomes;
mod patience;
mod report;
mod shape;

use std::io::{self, IsTerminal};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};

use self::again::Rounds;
use self::input::{Input, Item, Next};
use self::outcomes::{Job, Outcomes, WriteFailure, code_of};
use self::patience::{GiveUp, Patience};
use self::shape::Shape;
use super::record::NewRecord;
use super::record::layout::Layout;
use super::{CommandOutcome, Connect, Exit, Output, Progress, Session, run};
use crate::cli::serve::name_and_value;
use crate::time::Moment;

/// The time that the loop waits before it checks for other events.
const TICK: Duration = Duration::from_millis(50);
/// The step of a wait for outcomes. librdkafka's poll lasts for the whole of its time, also if it delivers outcomes.
const STEP: Duration = Duration::from_millis(1);
/// The minimum time after which a record is given up while others are written.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

const EXAMPLES: &str = "Examples:
  printf 'anna=one coffee\\n' | jackdaw produce orders --key-separator =
  jackdaw produce orders -f '%T|%h|%k|%s' < records.txt
  jackdaw consume orders --until-end --json | jackdaw produce copy --from-json
  jackdaw produce pictures --file cat.jpg --key cat";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    /// The topic of all records. Without it, each line has to name its own, in JSON or as %t of --format
    topic: Option<String>,
    /// The text between key and value in a line; without it the line is the value. \t is a tab
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// A line without the separator is a value without a key. Without this option it is refused
    #[arg(long, requires = "key_separator")]
    key_optional: bool,
    /// The fields of a line and the text between them, such as '%k=%s'
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "key_separator", long_help = FORMAT)]
    format: Option<Layout>,
    /// Each line is a record in JSON, as `consume --json` prints it
    #[arg(long, conflicts_with_all = ["key_separator", "format", "null"])]
    from_json: bool,
    /// Write a whole file as one record; - is standard input; may be repeated
    #[arg(long = "file", value_name = "FILE", conflicts_with_all = ["key_separator", "format", "from_json", "null"])]
    files: Vec<PathBuf>,
    /// The key of all records
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["key_separator", "from_json"])]
    key: Option<String>,
    /// A key, value or value of a header that is exactly this text is null. A null value is a tombstone
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// A header for all records; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = name_and_value)]
    headers: Vec<(String, String)>,
    /// The partition of all records [default: that of the line, else chosen by the key as Kafka's producer
    /// does, else any]
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Choose partitions by the key, and not those that lines of JSON name
    #[arg(long, conflicts_with = "partition")]
    repartition: bool,
    /// Write at most this many records per second
    #[arg(long, value_name = "RECORDS")]
    rate: Option<NonZeroU32>,
    /// Write each record this many times
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// After a record that cannot be written: go on with the next line, as long as that can be written, or stop
    #[arg(long, value_name = "ACTION", default_value = "skip")]
    on_error: OnError,
    #[arg(short = 'z', long, value_name = "CODEC", value_parser = ["none", "gzip", "snappy", "lz4", "zstd"],
          default_value = "none")]
    compression: String,
}

const FORMAT: &str = "The fields of a line and the text between them, such as '%k=%s': %s value, %k key, %h headers \
                      (a=1,b=2), %t topic, %p partition, %T timestamp (milliseconds since 1970), %% a percent sign; \
                      \\t, \\xFF";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnError {
    Stop,
    Skip,
}

pub fn execute(options: Options) -> Exit {
    let connect = options.connect.clone();
    run(&connect, |session, out| produce(session, options, out))
}

fn produce(session: &Session, options: Options, out: &mut Output<'_>) -> CommandOutcome {
    let shape = Shape::of(&options)?;
    let outcomes = Outcomes::new(session.complaint.clone());
    let producer = producer(session, &options, outcomes.clone())?;
    session.listen_for_signals();
    let reads_terminal = options.files.is_empty() && io::stdin().is_terminal();
    let input = match &options.files {
        files if files.is_empty() => Input::lines(&session.stopped)?,
        files => Input::files(files.clone()),
    };
    let pace = Pace { since: Moment::now(), rate: options.rate };
    let progress = Progress::new("records", None, !reads_terminal);
    let patience = Patience::new(session.timeout());
    let mut work = Work {
        session,
        options,
        shape,
        producer,
        outcomes,
        pace,
        progress,
        accepted: 0,
        is_cut: false,
        patience,
    };
    let end = work.write_all(&input);
    work.wait();
    work.progress.end();
    work.report(end, out)
}

fn producer(
    session: &Session,
    options: &Options,
    outcomes: Outcomes,
) -> CommandOutcome<BaseProducer<Outcomes>> {
    let mut settings = session.settings(&[
        ("enable.idempotence", "true"),
        ("compression.codec", &options.compression),
        // A long input waits for a slow network in librdkafka's queue. `Patience` ends the wait for a broker that is silent,
        // and this the wait for a partition that refuses its records while others are written.
        ("message.timeout.ms", &(session.timeout() * 30).max(LONGEST_WAIT).as_millis().to_string()),
        // A topic that is still unknown by then does not exist.
        ("topic.metadata.propagation.max.ms", &(session.timeout() / 2).as_millis().to_string()),
        // Keys go to the partitions where Kafka's own producer writes them.
        ("partitioner", "murmur2_random"),
        // The limit of the topic counts, and the broker says what it is.
        ("message.max.bytes", "100000000"),
        // More than a record may have, since a full queue has to become empty again.
        ("queue.buffering.max.kbytes", "131072"),
    ]);
    // Of a batch that is refused and sent again, only librdkafka's log has the reason.
    if settings.get("debug").is_none() {
        settings.set("debug", "msg");
    }
    settings.set_log_level(RDKafkaLogLevel::Debug);
    // The broker may create a missing topic, if its settings allow it.
    settings.remove("allow.auto.create.topics");
    settings.create_with_context(outcomes).map_err(|error| session.failed(&error))
}

struct Pace {
    since: Moment,
    rate: Option<NonZeroU32>,
}

impl Pace {
    /// The time until the next record may be sent.
    fn wait(&self, sent: u64) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| due(sent, rate).saturating_sub(self.since.elapsed()))
    }
}

/// The time after the start at which the next record may be sent.
fn due(sent: u64, rate: NonZeroU32) -> Duration {
    let rate = u64::from(rate.get());
    Duration::from_secs(sent / rate) + Duration::from_micros(sent % rate * 1_000_000 / rate)
}

/// The reason why no more input is read.
enum End {
    /// All input was read, or nothing was left to read at Ctrl-C or SIGTERM.
    Over,
    /// The first line that was not sent, because the lines after it would fail too or the user wants it so.
    Stopped(u64),
    Failed(io::Error),
}

struct Work<'a> {
    session: &'a Session,
    options: Options,
    shape: Shape,
    producer: BaseProducer<Outcomes>,
    outcomes: Outcomes,
    pace: Pace,
    progress: Progress,
    /// The number of records so far, those of refused lines included.
    accepted: u64,
    /// Whether a signal came before a line was repeated as often as it has to be.
    is_cut: bool,
    patience: Patience,
}

impl Work<'_> {
    fn write_all(&mut self, input: &Input) -> End {
        let mut last = 0;
        loop {
            self.send_again();
            self.give_up_in_time();
            let must_stop = self.must_stop();
            match input.next(TICK) {
                Next::Item(item) if must_stop => return End::Stopped(item.number),
                Next::Quiet if must_stop => return End::Stopped(last + 1),
                Next::Item(item) => {
                    last = item.number;
                    self.take(&item);
                }
                // The reader of a file does not know of the signal.
                Next::Quiet if self.session.is_stopped() && !self.options.files.is_empty() => {
                    return End::Stopped(last + 1);
                }
                Next::Quiet => self.producer.poll(Duration::ZERO),
                Next::Over => return End::Over,
                Next::Cut => return End::Stopped(last + 1),
                Next::Failed(error) => return End::Failed(error),
            }
            self.progress.at(self.outcomes.written());
        }
    }

    /// Gives up records when it is time. librdkafka reports them as failures.
    fn give_up_in_time(&mut self) {
        let are_under_way = self.producer.in_flight_count() > 0;
        let queue = PurgeConfig::default().queue();
        match self.patience.look(self.pace.since.elapsed(), self.outcomes.all(), are_under_way) {
            None => {}
            Some(GiveUp::Queued) => self.producer.purge(queue),
            Some(GiveUp::All) => self.producer.purge(queue.inflight()),
        }
    }

    /// Whether no more lines may be sent.
    fn must_stop(&self) -> bool {
        self.is_cut
            || match self.options.on_error {
                OnError::Stop => self.outcomes.any(|_| true),
                OnError::Skip => self.outcomes.any(|why| !self.is_of_the_line(why)),
            }
    }

    /// Whether the error only concerns some lines, and others can be written.
    fn is_of_the_line(&self, why: &WriteFailure) -> bool {
        match why.code {
            None => true,
            Some(Code::UnknownPartition) => self.options.partition.is_none(),
            Some(
                Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::InvalidTopic
                | Code::TopicAuthorizationFailed,
            ) => self.options.topic.is_none(),
            Some(code) => matches!(
                code,
                Code::MessageSizeTooLarge
                    | Code::InvalidMessage
                    | Code::InvalidRecord
                    | Code::InvalidDifferentRecord
                    | Code::InvalidTimestamp
            ),
        }
    }

    fn take(&mut self, item: &Item) {
        let is_blank = item.bytes.iter().all(u8::is_ascii_whitespace);
        if is_blank && matches!(self.shape, Shape::Json) {
            return;
        }
        let record = match self.shape.record(&item.bytes, &self.options) {
            Ok(record) => record,
            Err(words) => {
                self.accepted += 1;
                self.outcomes.missed(item.number, WriteFailure::of_line(words));
                return;
            }
        };
        let job = Arc::new(Job { number: item.number, record, is_alone: false });
        for time in 0..self.options.repeat {
            if time > 0 && self.must_stop() {
                return;
            }
            if time > 0 && self.session.is_stopped() {
                self.accepted += self.options.repeat - time;
                self.is_cut = true;
                return self.outcomes.missed(item.number, WriteFailure::of_repeats(time));
            }
            self.wait_for_pace();
            self.accepted += 1;
            self.send(&job);
            self.progress.at(self.outcomes.written());
        }
    }

    /// After Ctrl-C, records that were read go out at once.
    fn wait_for_pace(&mut self) {
        loop {
            let wait = self.pace.wait(self.accepted);
            if wait.is_zero() || self.session.is_stopped() {
                return;
            }
            self.producer.poll(wait.min(TICK));
            self.give_up_in_time();
        }
    }

    /// Hands a record to librdkafka, which reports its outcome later.
    fn send(&mut self, job: &Arc<Job>) {
        let NewRecord { topic, partition, timestamp, key, value, headers } = &job.record;
        let topic = topic.as_deref().unwrap_or_default();
        let mut record: BaseRecord<'_, [u8], [u8], Arc<Job>> =
            BaseRecord::with_opaque_to(topic, Arc::clone(job));
        record.key = key.as_deref();
        record.payload = value.as_deref();
        record.partition = *partition;
        record.timestamp = *timestamp;
        if !headers.is_empty() {
            let all = headers.iter().map(|(name, value)| Header { key: name, value: value.as_ref() });
            record.headers = Some(all.fold(OwnedHeaders::new(), OwnedHeaders::insert));
        }
        loop {
            self.producer.poll(Duration::ZERO);
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(Code::QueueFull), again)) => {
                    self.producer.poll(TICK);
                    self.give_up_in_time();
                    record = again;
                }
                Err((error, _)) => {
                    let why = WriteFailure::of_code(code_of(&error), &job.record, partition.unwrap_or(-1));
                    return self.outcomes.missed(job.number, why);
                }
            }
        }
    }

    /// Sends records again that were refused because of others in their batch. The records after them may be written
    /// before them.
    fn send_again(&mut self) {
        let mut refused = self.outcomes.take_again();
        if refused.is_empty() {
            return;
        }
        self.flush();
        refused.extend(self.outcomes.take_again());
        let mut rounds = Rounds::of(refused);
        while let Some(mut round) = rounds.next(self.session.is_stopped()) {
            if let [job] = &mut round[..] {
                *job = Arc::new(Job { number: job.number, record: job.record.clone(), is_alone: true });
            }
            for job in &round {
                self.send(job);
            }
            self.flush();
            rounds.refused(self.outcomes.take_again());
            if self.outcomes.any(|why| !self.is_of_the_line(why)) {
                break;
            }
        }
        rounds.rest().for_each(|job| self.outcomes.missed(job.number, WriteFailure::of_rest()));
    }

    /// Waits until each record has its outcome. Those that are given up have one, too.
    fn flush(&mut self) {
        while self.producer.in_flight_count() > 0 {
            // An error is a timeout. A flush waits for records only, and leaves other events to the poll.
            let _ = self.producer.flush(STEP);
            self.producer.poll(Duration::ZERO);
            self.give_up_in_time();
            self.progress.at(self.outcomes.written());
        }
    }

    fn wait(&mut self) {
        self.flush();
        self.send_again();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_at_even_distances() {
        let rate = NonZeroU32::new(4).unwrap();
        let due: Vec<u128> = (0..=5).map(|sent| due(sent, rate).as_millis()).collect();
        assert_eq!(due, [0, 250, 500, 750, 1000, 1250]);
    }
}
