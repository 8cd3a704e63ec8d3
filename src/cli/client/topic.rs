//! `jackdaw topic`: lists, describes, creates, alters and deletes topics.

use std::io::Write;

use clap::{Args, Subcommand};
use rdkafka::Offset;
use rdkafka::admin::{NewPartitions, NewTopic, ResourceSpecifier, TopicReplication, TopicResult};
use serde_json::{Value, json};

use super::table::Table;
use super::{
    CommandOutcome, Connect, Exit, Failure, NamedPartition, Output, Session, config, find, partitions_of,
    reason_of, run, shown,
};
use crate::cli::serve::name_and_value;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List topics
    List {
        /// Also list topics that begin with two underscores
        #[arg(long)]
        all: bool,
    },
    /// Partitions, offsets and settings of topics
    Describe {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
    },
    /// Create topics
    Create {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// [default: the broker's setting]
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// [default: the broker's setting]
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..=32767))]
        replication_factor: Option<i32>,
        /// A setting of the topic, such as retention.ms=3600000; may be repeated
        #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        set: Vec<(String, String)>,
    },
    /// Delete topics and all their records
    Delete {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
    },
    /// Change settings of a topic
    Alter {
        topic: String,
        /// Set a setting; may be repeated
        #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        set: Vec<(String, String)>,
        /// Reset a setting to the broker's value; may be repeated
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
    },
    /// Increase the number of partitions of a topic to COUNT
    Partitions { topic: String, count: u16 },
}

pub fn execute(options: Options) -> Exit {
    let Options { connect, command } = options;
    run(&connect, |session, out| match command {
        Command::List { all } => list(session, all, out),
        Command::Describe { topics } => describe(session, &topics, out),
        Command::Create { topics, partitions, replication_factor, set } => {
            create(session, &topics, partitions, replication_factor, &set, out)
        }
        Command::Delete { topics } => delete(session, &topics, out),
        Command::Alter { topic, set, unset } => {
            config::change(session, ResourceSpecifier::Topic(&topic), &set, &unset, out)
        }
        Command::Partitions { topic, count } => partitions(session, &topic, count, out),
    })
}

fn list(session: &Session, all: bool, out: &mut Output<'_>) -> CommandOutcome {
    let consumer = session.consumer(None, &[])?;
    let metadata = session.metadata(&consumer)?;
    let mut topics: Vec<_> =
        metadata.topics().iter().filter(|topic| all || !topic.name().starts_with("__")).collect();
    topics.sort_by_key(|topic| topic.name());
    let mut table = Table::new(&["topic", "partitions", "replicas"]);
    for topic in topics {
        let replicas = topic.partitions().first().map_or(0, |partition| partition.replicas().len());
        table.row([json!(topic.name()), json!(topic.partitions().len()), json!(replicas)]);
    }
    Ok(table.print(session.json(), out)?)
}

fn describe(session: &Session, names: &[String], out: &mut Output<'_>) -> CommandOutcome {
    let consumer = session.consumer(None, &[])?;
    let metadata = session.metadata(&consumer)?;
    let mut described = Vec::new();
    for name in names {
        let topic = find(&metadata, name)?;
        let asked = partitions_of(topic);
        let starts = session.offsets(&consumer, &asked, Offset::Beginning)?;
        let ends = session.offsets(&consumer, &asked, Offset::End)?;
        let offset_in = |offsets: &[(NamedPartition, Option<i64>)], partition: i32| {
            offsets.iter().find(|((_, known), _)| *known == partition).and_then(|(_, offset)| *offset)
        };
        let mut table =
            Table::new(&["partition", "leader", "replicas", "in_sync", "start_offset", "end_offset"]);
        let mut partitions: Vec<_> = topic.partitions().iter().collect();
        partitions.sort_by_key(|partition| partition.id());
        for partition in partitions {
            let leader = Some(partition.leader()).filter(|leader| *leader >= 0);
            table.row([
                json!(partition.id()),
                json!(leader),
                json!(partition.replicas()),
                json!(partition.isr()),
                json!(offset_in(&starts, partition.id())),
                json!(offset_in(&ends, partition.id())),
            ]);
        }
        let settings = config::entries(session, ResourceSpecifier::Topic(name))?;
        let own: Vec<_> = settings.into_iter().filter(config::is_own).collect();
        if session.json() {
            let settings: serde_json::Map<String, Value> =
                own.into_iter().map(|entry| (entry.name, json!(entry.value))).collect();
            described.push(json!({ "topic": name, "partitions": table.json(), "settings": settings }));
            continue;
        }
        if name != &names[0] {
            writeln!(out)?;
        }
        writeln!(out, "{}", shown(name))?;
        table.print(false, out)?;
        for entry in own {
            writeln!(out, "{}={}", entry.name, shown(&entry.value.unwrap_or_default()))?;
        }
    }
    if session.json() {
        writeln!(out, "{}", Value::Array(described))?;
    }
    Ok(())
}

fn create(
    session: &Session,
    names: &[String],
    partitions: Option<i32>,
    replication_factor: Option<i32>,
    set: &[(String, String)],
    out: &mut Output<'_>,
) -> CommandOutcome {
    // −1 means the broker's default.
    let (partitions, replicas) = (partitions.unwrap_or(-1), replication_factor.unwrap_or(-1));
    let new = |name| {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        set.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
    };
    let topics: Vec<NewTopic<'_>> = names.iter().map(|name| new(name)).collect();
    let admin = session.admin()?;
    let results = session.wait(admin.create_topics(&topics, &session.admin_options()))?;
    each(session, "created", results, out)
}

fn delete(session: &Session, names: &[String], out: &mut Output<'_>) -> CommandOutcome {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let admin = session.admin()?;
    let results = session.wait(admin.delete_topics(&names, &session.admin_options()))?;
    each(session, "deleted", results, out)
}

fn partitions(session: &Session, topic: &str, count: u16, out: &mut Output<'_>) -> CommandOutcome {
    let admin = session.admin()?;
    let more = NewPartitions::new(topic, count.into());
    let results = session.wait(admin.create_partitions(&[more], &session.admin_options()))?;
    each(session, "extended", results, out)
}

/// Prints the result for each, and fails if one was refused.
pub fn each(
    session: &Session,
    done: &str,
    results: Vec<TopicResult>,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let mut refused = Vec::new();
    let mut lines = Vec::new();
    for result in results {
        match result {
            Ok(name) if session.json() => lines.push(json!({ "name": name, "result": done })),
            Ok(name) => writeln!(out, "{done} {}", shown(&name))?,
            Err((name, code)) => {
                let why = reason_of(code);
                if session.json() {
                    lines.push(json!({ "name": name, "result": "refused", "error": why }));
                }
                refused.push(format!("{}: {why}", shown(&name)));
            }
        }
    }
    if session.json() {
        writeln!(out, "{}", Value::Array(lines))?;
    }
    if refused.is_empty() { Ok(()) } else { Err(Failure::Refused(refused.join("\njackdaw: "))) }
}
