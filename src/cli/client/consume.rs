//! `jackdaw consume TOPIC…`: prints the values of records, one per line, or whole records in a layout or as JSON.

mod choice;
mod reader;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValue};
use clap::{Args, ValueEnum};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use regex::bytes::Regex;

pub use self::choice::only;
use self::choice::{partitions_to_read, topics_to_read};
pub use self::reader::{Events, Reader};
use super::position::Position;
use super::record::layout::{self, Layout};
use super::record::{ReadRecord, json, native};
use super::{
    CommandOutcome, Connect, Exit, Failure, NamedPartition, Output, Progress, Session, reason_of, run,
};
use crate::time::Moment;

/// The time that the loop waits for records before it checks for other events.
const TICK: Duration = Duration::from_millis(100);
/// The longest time that printed records wait to be flushed, and with a group to be stored as read.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

const AUTO_COMMIT: &str = "enable.auto.commit";
/// Two settings that have to be as they are here.
const OFFSET_STORE: &str = "enable.auto.offset.store";
const PARTITION_EOF: &str = "enable.partition.eof";

const EXAMPLES: &str = "Examples:
  jackdaw consume orders -o -10 --until-end
  jackdaw consume orders payments -f '%t [%p] at %o: %k = %s\\n'
  jackdaw consume '^sales\\.' --follow --key-matches '^anna$'
  jackdaw consume orders -o @-1h --until-end --json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    /// The topics; one that begins with ^ is a regular expression
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Read as a member of this group, and commit the records that were printed
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    group: Option<String>,
    /// The position to start at; a group only starts there if it has no committed offset [default:
    /// beginning]
    #[arg(short = 'o', long, visible_alias = "offset", value_name = "POSITION", allow_hyphen_values = true,
          long_help = FROM)]
    from: Option<Position>,
    /// Only this partition; may be repeated
    #[arg(short, long = "partition", value_name = "NUMBER", conflicts_with = "group")]
    partitions: Vec<i32>,
    /// Stop after this many records
    #[arg(short, long)]
    count: Option<u64>,
    /// Stop at the ends of the partitions, instead of waiting for more records. Several topics are read
    /// one after the other
    #[arg(short = 'e', long)]
    until_end: bool,
    /// Print new records only, as they come: start at the end if there is no --from
    #[arg(long, conflicts_with = "until_end")]
    follow: bool,
    /// Print records in this format, such as '%k=%s\n', and not as JSON
    #[arg(short, long, value_name = "FORMAT", long_help = FORMAT, conflicts_with = "key_separator")]
    format: Option<Layout>,
    /// Also print the key, separated from the value by this text; \t is a tab
    #[arg(long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// Print this text for a key or value that is null [default: null; with --format nothing, and NULL in
    /// headers]
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// Which records of transactions to read [default: read_committed]
    #[arg(long, value_name = "LEVEL")]
    isolation: Option<Isolation>,
    /// Only print records with a key that this regular expression finds something in
    #[arg(long, value_name = "REGEX")]
    key_matches: Option<Regex>,
    /// Only print records with a value that this regular expression finds something in
    #[arg(long, value_name = "REGEX")]
    value_matches: Option<Regex>,
}

const FROM: &str = "The first record: beginning, end, an OFFSET, -N for the last N records of each partition, or \
                    @TIME: @2026-11-25T08:00:00Z, @-90m (s, m, h, d) or @ and milliseconds since 1970. A group \
                    begins there only where it has committed nothing, and takes beginning or end [default: beginning]";

const FORMAT: &str = "Print records in this format, such as '%k=%s\\n': %s value, %k key, %h headers (a=1,b=2), %t \
                      topic, %p partition, %o offset, %T timestamp (milliseconds since 1970), %S and %K length of \
                      value and key (-1 for null), %R length of the value as four bytes, %% a percent sign; \\n, \\r, \
                      \\t, \\xFF";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isolation {
    ReadCommitted,
    ReadUncommitted,
}

impl ValueEnum for Isolation {
    fn value_variants<'a>() -> &'a [Isolation] {
        &[Isolation::ReadCommitted, Isolation::ReadUncommitted]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let short = match self {
            Isolation::ReadCommitted => "committed",
            Isolation::ReadUncommitted => "uncommitted",
        };
        Some(PossibleValue::new(self.name()).alias(short))
    }
}

impl Isolation {
    fn name(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

pub fn execute(options: Options) -> Exit {
    let connect = options.connect.clone();
    run(&connect, |session, out| consume(session, &options, out))
}

fn consume(session: &Session, options: &Options, out: &mut Output<'_>) -> CommandOutcome {
    let shape = Shape::of(options)?;
    let default = if options.follow { Position::End } else { Position::Beginning };
    let from = options.from.unwrap_or(default);
    let consumer = consumer(session, options, from)?;
    session.listen_for_signals();
    let choice = topics_to_read(session, &consumer, &options.topics)?;
    let mut work = Work {
        session,
        consumer: &consumer,
        options,
        shape,
        commits: commits(session, options),
        progress: Progress::new("records", options.count, !io::stdout().is_terminal()),
        printed: 0,
        flushed: Moment::now(),
        unstored: BTreeMap::new(),
        out,
    };
    if options.group.is_none() {
        // The end of a partition is reported without its topic, so that one topic after the other is read to its end.
        let topics = &choice.topics;
        let rounds = if options.until_end { topics.chunks(1) } else { topics.chunks(topics.len().max(1)) };
        for topics in rounds {
            let partitions = partitions_to_read(topics, &options.partitions)?;
            work.assign(&partitions, from)?;
            work.read()?;
        }
        return choice.end();
    }
    consumer.context().begin_loop();
    consumer.subscribe(&choice.names).map_err(|error| session.failed(&error))?;
    let done = work.read().and_then(|()| choice.end());
    consumer.context().end_loop();
    if !work.commits {
        return done;
    }
    // The offsets of printed records are committed even after a failure.
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => done,
        Err(error) => done.and(Err(session.failed(&error))),
    }
}

fn consumer(session: &Session, options: &Options, from: Position) -> CommandOutcome<Reader> {
    let reset = match (&options.group, from) {
        (None, _) => "error",
        (Some(_), Position::Beginning) => "earliest",
        (Some(_), Position::End) => "latest",
        (Some(_), _) => {
            let why = "a group begins at the beginning or the end; `jackdaw group reset` sets it elsewhere";
            return Err(Failure::Usage(why.to_owned()));
        }
    };
    let may_be_several =
        options.topics.len() > 1 || options.topics.iter().any(|topic| topic.starts_with('^'));
    if options.group.is_some() && options.until_end && may_be_several {
        let why = "a group reads one topic until its end: name one topic, or leave out --until-end";
        return Err(Failure::Usage(why.to_owned()));
    }
    for name in [OFFSET_STORE, PARTITION_EOF] {
        if session.settings.on_command_line(name).is_some() {
            return Err(Failure::Usage(format!("-X {name}: consume needs its own value of it")));
        }
    }
    let mut own = vec![
        ("auto.offset.reset", reset),
        (AUTO_COMMIT, if options.group.is_some() { "true" } else { "false" }),
        // Only printed records count as read.
        (OFFSET_STORE, "false"),
        (PARTITION_EOF, "true"),
    ];
    own.extend(options.isolation.map(|isolation| ("isolation.level", isolation.name())));
    session.consumer(options.group.as_deref(), &own)
}

/// Whether records that were printed are committed: those of a group, unless `-X` turns that off.
fn commits(session: &Session, options: &Options) -> bool {
    let is_off = |value: &str| ["false", "f", "0"].iter().any(|off| off.eq_ignore_ascii_case(value));
    options.group.is_some() && !session.settings.on_command_line(AUTO_COMMIT).is_some_and(is_off)
}

/// How records are printed.
enum Shape {
    Json,
    Text { layout: Layout, null: Vec<u8> },
}

impl Shape {
    fn of(options: &Options) -> CommandOutcome<Shape> {
        let json = options.connect.json;
        let of_text = [
            ("--format", options.format.is_some()),
            ("--key-separator", options.key_separator.is_some()),
            ("--null", options.null.is_some()),
        ];
        match of_text.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) if json.is_given => {
                let why = format!(
                    "--json prints whole records, for which {option} means nothing: leave out one of them"
                );
                return Err(Failure::Usage(why));
            }
            None if json.is_wanted => return Ok(Shape::Json),
            // A variable asks for JSON in general, and the option for text here.
            Some(_) | None => {}
        }
        let usage = |why: String| Failure::Usage(format!("--key-separator: {why}"));
        let separator = options.key_separator.as_deref().map(layout::unescaped).transpose().map_err(usage)?;
        let (layout, default) = match &options.format {
            Some(layout) => (layout.clone(), ""),
            // As Kafka's console consumer.
            None => (Layout::line(separator.as_deref()), "null"),
        };
        let null = options.null.as_deref().unwrap_or(default).as_bytes().to_vec();
        Ok(Shape::Text { layout, null })
    }

    fn print(&self, record: &ReadRecord<'_>, out: &mut Output<'_>) -> io::Result<()> {
        match self {
            Shape::Json => writeln!(out, "{}", json::written(record)),
            Shape::Text { layout, null } => layout.print(record, null, out),
        }
    }
}

struct Work<'a, 'o> {
    session: &'a Session,
    consumer: &'a Reader,
    options: &'a Options,
    shape: Shape,
    /// Whether the group's offsets are committed.
    commits: bool,
    progress: Progress,
    printed: u64,
    /// The time of the last flush.
    flushed: Moment,
    /// The newest record of each partition in the output buffer, by topic.
    unstored: BTreeMap<String, BTreeMap<i32, i64>>,
    out: &'a mut Output<'o>,
}

impl Work<'_, '_> {
    fn assign(&self, partitions: &[NamedPartition], from: Position) -> CommandOutcome {
        let mut assigned = TopicPartitionList::new();
        for ((topic, partition), offset) in start::offsets(self.session, self.consumer, partitions, from)? {
            let added = assigned.add_partition_offset(&topic, partition, Offset::Offset(offset));
            added.map_err(|error| self.session.failed(&error))?;
        }
        self.consumer.assign(&assigned).map_err(|error| self.session.failed(&error))
    }

    fn is_full(&self) -> bool {
        self.options.count.is_some_and(|count| self.printed >= count)
    }

    /// Prints records until there are enough, the partitions are at their ends, or a signal comes.
    fn read(&mut self) -> CommandOutcome {
        let mut at_end: BTreeSet<i32> = BTreeSet::new();
        while !self.session.is_stopped() && !self.is_full() {
            let next = match self.consumer.poll(Duration::ZERO) {
                None => {
                    if self.rebalance()? {
                        at_end.clear();
                        continue;
                    }
                    // No more records at the moment: flush the output.
                    self.flush()?;
                    if self.options.until_end && self.is_over(&at_end) {
                        break;
                    }
                    self.consumer.poll(TICK)
                }
                next => next,
            };
            if self.rebalance()? {
                at_end.clear();
            }
            match next {
                None => {}
                Some(Ok(record)) => {
                    at_end.remove(&record.partition());
                    self.take(&record)?;
                    // A backlog leaves no other pause for it.
                    if self.flushed.elapsed() >= FLUSH_EVERY {
                        self.flush()?;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(at_end.insert(partition)),
                // Without a group, librdkafka asks for a coordinator nevertheless, and nobody needs it.
                Some(Err(error))
                    if self.options.group.is_none()
                        && error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                }
                Some(Err(error)) => {
                    self.flush()?;
                    tolerate(self.session, &error)?;
                }
            }
        }
        self.progress.end();
        self.flush()
    }

    /// Carries out a rebalance that is waiting, after the offsets of the printed records are stored. Returns whether
    /// there was one.
    fn rebalance(&mut self) -> CommandOutcome<bool> {
        let Some(rebalance) = self.consumer.context().take_rebalance() else { return Ok(false) };
        let flushed = self.flush();
        // Also after a failure, because librdkafka waits for it.
        let done = rebalance.carry_out(self.consumer).map_err(|error| self.session.failed(&error));
        flushed.and(done).map(|()| true)
    }

    /// Whether all assigned partitions are at their ends. They are of one topic.
    fn is_over(&self, at_end: &BTreeSet<i32>) -> bool {
        let Ok(assigned) = self.consumer.assignment() else { return false };
        let assigned = assigned.elements();
        !assigned.is_empty() && assigned.iter().all(|one| at_end.contains(&one.partition()))
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) -> CommandOutcome {
        let record = ReadRecord {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: native::headers(message),
        };
        if self.options.matches(&record) {
            self.shape.print(&record, self.out)?;
            self.printed += 1;
            self.progress.at(self.printed);
        }
        if self.commits {
            self.read_to(record.topic, record.partition, record.offset);
        }
        Ok(())
    }

    fn read_to(&mut self, topic: &str, partition: i32, offset: i64) {
        if let Some(partitions) = self.unstored.get_mut(topic) {
            partitions.insert(partition, offset);
        } else {
            self.unstored.insert(topic.to_owned(), BTreeMap::from([(partition, offset)]));
        }
    }

    fn flush(&mut self) -> CommandOutcome {
        self.flushed = Moment::now();
        self.out.flush()?;
        for (topic, partitions) in std::mem::take(&mut self.unstored) {
            for (partition, offset) in partitions {
                // Ignored: the partition may have moved to another member in the meantime.
                let _ = self.consumer.store_offset(&topic, partition, offset);
            }
        }
        Ok(())
    }
}

impl Options {
    /// Whether the filters let a record through. Null matches no pattern.
    fn matches(&self, record: &ReadRecord<'_>) -> bool {
        let is_found = |pattern: &Option<Regex>, bytes: Option<&[u8]>| {
            pattern.as_ref().is_none_or(|pattern| bytes.is_some_and(|bytes| pattern.is_match(bytes)))
        };
        is_found(&self.key_matches, record.key) && is_found(&self.value_matches, record.value)
    }
}

/// Ignores errors of connections, which librdkafka opens again. All other errors end the command.
fn tolerate(session: &Session, error: &KafkaError) -> CommandOutcome {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::Resolve,
        ) => Ok(()),
        Some(code) => Err(Failure::Refused(reason_of(code))),
        None => Err(session.failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::record::EXAMPLE;
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Result<Options, clap::Error> {
        Line::try_parse_from([&["jackdaw", "orders"], arguments].concat()).map(|line| line.options)
    }

    #[test]
    fn filters_look_into_keys_and_values_and_find_nothing_in_null() {
        let null = ReadRecord { key: None, value: None, ..EXAMPLE };
        for (arguments, finds, finds_null) in [
            (&[][..], true, true),
            (&["--key-matches", "nn"], true, false),
            (&["--key-matches", "^nn"], false, false),
            (&["--value-matches", "coffee$"], true, false),
            (&["--value-matches", ""], true, false),
            (&["--key-matches", "anna", "--value-matches", "tea"], false, false),
        ] {
            let options = options(arguments).unwrap();
            assert_eq!(
                (options.matches(&EXAMPLE), options.matches(&null)),
                (finds, finds_null),
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn options_have_the_letters_of_kcat() {
        let given = options(&["-o", "-10", "-e", "-c", "5", "-p", "3", "-f", "%s"]).unwrap();
        assert_eq!((given.from, given.until_end, given.count), (Some(Position::Last(10)), true, Some(5)));
        assert_eq!((given.partitions, given.format), (vec![3], Some("%s".parse().unwrap())));
        assert_eq!(
            options(&["--isolation", "uncommitted"]).unwrap().isolation,
            Some(Isolation::ReadUncommitted)
        );
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for arguments in [
            &["--follow", "--until-end"][..],
            &["-f", "%s", "--key-separator", "="],
            &["--group", "g", "-p", "1"],
            &["-f", "%x"],
            &["--key-matches", "("],
        ] {
            assert!(options(arguments).is_err(), "{arguments:?}");
        }
    }
}
