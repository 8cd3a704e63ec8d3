//! `jackdaw topic list` and `describe`.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::client::answers::Refusals;
use crate::cli::client::brokers::{Brokers, OffsetOf, Sizes, Topic, counted};
use crate::cli::client::config::{self, Resource};
use crate::cli::client::table::Table;
use crate::cli::client::{CommandOutcome, Failure, Output, Session, shown};
use crate::types::WholePattern;

pub fn list(
    session: &Session,
    brokers: &mut Brokers<'_>,
    all: bool,
    pattern: Option<&str>,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let topics = matching(brokers.topics()?, pattern, all)?;
    let sizes = brokers.sizes()?;
    let mut table = Table::new(&["topic", "partitions", "replicas", "bytes"]);
    for topic in topics {
        let bytes = size(&topic, &sizes);
        table.row([json!(topic.name), json!(topic.partitions.len()), json!(topic.replicas()), json!(bytes)]);
    }
    Ok(table.print(session.json(), out)?)
}

/// The topics whose whole names match the pattern; hidden ones only if they are wanted.
pub fn matching(topics: Vec<Topic>, pattern: Option<&str>, hidden: bool) -> CommandOutcome<Vec<Topic>> {
    let pattern = pattern.map(WholePattern::of_operator).transpose();
    let pattern = pattern.map_err(|why| Failure::Usage(format!("--pattern: {why}")))?;
    let is_meant = |topic: &Topic| {
        (hidden || !topic.is_hidden()) && pattern.as_ref().is_none_or(|pattern| pattern.matches(&topic.name))
    };
    Ok(topics.into_iter().filter(is_meant).collect())
}

/// The bytes of one copy of the topic, as its leaders have them; `None` if one of them is not known.
fn size(topic: &Topic, sizes: &Sizes) -> Option<i64> {
    topic
        .partitions
        .iter()
        .map(|partition| sizes.get(&((topic.name.clone(), partition.partition_index), partition.leader_id)))
        .sum::<Option<i64>>()
}

pub fn describe(
    session: &Session,
    brokers: &mut Brokers<'_>,
    names: &[String],
    out: &mut Output<'_>,
) -> CommandOutcome {
    let topics = brokers.topics_named(names)?;
    let sizes = brokers.sizes()?;
    let mut refusals = Refusals::default();
    let (mut described, mut is_first) = (Vec::new(), true);
    for (name, topic) in topics {
        let Some(topic) = &refusals.keep(topic)? else { continue };
        let Some(partitions) = refusals.keep(partitions(brokers, topic, &sizes))? else { continue };
        let settings = config::entries(brokers, &Resource::Topic(name));
        let Some(settings) = refusals.keep(settings)? else { continue };
        let settings = config::table(&settings);
        if session.json() {
            described.push(json!({
                "topic": topic.name,
                "id": topic.id.map(|id| id.to_string()),
                "bytes": size(topic, &sizes),
                "partitions": partitions.json(),
                "settings": settings.json(),
            }));
            continue;
        }
        if !std::mem::take(&mut is_first) {
            writeln!(out)?;
        }
        writeln!(out, "{}", heading(topic, size(topic, &sizes)))?;
        partitions.print(false, out)?;
        writeln!(out)?;
        settings.print(false, out)?;
    }
    if session.json() {
        writeln!(out, "{}", Value::Array(described))?;
    }
    refusals.end()
}

fn heading(topic: &Topic, bytes: Option<i64>) -> String {
    let count = counted(topic.partitions.len(), "partition");
    let id = topic.id.map(|id| format!(", id {id}")).unwrap_or_default();
    let bytes = bytes.map(|bytes| format!(", {bytes} bytes")).unwrap_or_default();
    format!("{}: {count}{id}{bytes}", shown(&topic.name))
}

fn partitions(brokers: &mut Brokers<'_>, topic: &Topic, sizes: &Sizes) -> CommandOutcome<Table> {
    let asked = || topic.partitions.iter().map(|partition| (topic.name.as_str(), partition));
    let starts = brokers.offsets(asked(), OffsetOf::Start)?;
    let ends = brokers.offsets(asked(), OffsetOf::End)?;
    let mut table = Table::new(&[
        "partition",
        "leader",
        "epoch",
        "replicas",
        "in_sync",
        "start_offset",
        "end_offset",
        "bytes",
    ]);
    for partition in &topic.partitions {
        let leader = Some(partition.leader_id).filter(|leader| *leader >= 0);
        let name = (topic.name.clone(), partition.partition_index);
        table.row([
            json!(partition.partition_index),
            json!(leader),
            json!(Some(partition.leader_epoch).filter(|epoch| *epoch >= 0)),
            json!(partition.replica_nodes),
            json!(partition.isr_nodes),
            json!(starts.get(&name).copied().flatten()),
            json!(ends.get(&name).copied().flatten()),
            json!(leader.and_then(|leader| sizes.get(&(name, leader)))),
        ]);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::metadata_response::MetadataResponsePartition;

    fn topic(name: &str) -> Topic {
        let partition = |partition_index| MetadataResponsePartition {
            partition_index,
            leader_id: 1,
            ..MetadataResponsePartition::default()
        };
        Topic { name: name.to_owned(), id: None, partitions: vec![partition(0), partition(1)] }
    }

    #[test]
    fn a_pattern_is_about_whole_names_and_hidden_topics_are_named_on_demand() {
        let names = |pattern, hidden| -> Vec<String> {
            let topics = ["__offsets", "a", "ab"].map(topic).to_vec();
            matching(topics, pattern, hidden).unwrap().into_iter().map(|topic| topic.name).collect()
        };
        assert_eq!(names(None, false), ["a", "ab"]);
        assert_eq!(names(None, true), ["__offsets", "a", "ab"]);
        assert_eq!(names(Some("a"), false), ["a"]);
        assert_eq!(names(Some(".*"), false), ["a", "ab"]);
        assert_eq!(names(Some("_.*"), true), ["__offsets"]);
        assert!(matches!(matching(Vec::new(), Some("("), false), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_topic_has_a_size_if_the_leaders_of_all_partitions_tell_theirs() {
        let of = |partition| (("t".to_owned(), partition), 1);
        let mut sizes = Sizes::from([(of(0), 5), ((("t".to_owned(), 0), 2), 100)]);
        assert_eq!(size(&topic("t"), &sizes), None);
        sizes.insert(of(1), 7);
        assert_eq!(size(&topic("t"), &sizes), Some(12));
        assert_eq!(heading(&topic("t"), Some(12)), "t: 2 partitions, 12 bytes");
    }
}
