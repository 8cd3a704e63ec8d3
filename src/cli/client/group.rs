//! `jackdaw group`: members, offsets and lags of groups, and resetting them.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::Bytes;
use clap::{Args, Subcommand};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::groups::GroupList;
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::position::{self, Position};
use super::table::Table;
use super::{
    CommandOutcome, Connect, Exit, Failure, LastComplaint, NamedPartition, Output, Session, find, found,
    partitions_of, run, shown, topic,
};
use crate::protocol::messages::ConsumerProtocolAssignment;
use crate::protocol::{Message, Reader};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List groups
    List,
    /// Show offsets, lags and members of groups
    Describe {
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Set the offsets of a group without members
    Reset {
        group: String,
        /// A topic to reset; may be repeated
        #[arg(long = "topic", required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// Only this partition of the topics; may be repeated
        #[arg(long = "partition", value_name = "NUMBER")]
        partitions: Vec<i32>,
        #[arg(long, value_name = "POSITION", allow_hyphen_values = true, help = position::HELP)]
        to: Position,
        /// Only show the new offsets
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete groups without members, with their offsets
    Delete {
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
}

pub fn execute(options: Options) -> Exit {
    let Options { connect, command } = options;
    run(&connect, |session, out| match command {
        Command::List => list(session, out),
        Command::Describe { groups } => describe(session, &groups, out),
        Command::Reset { group, topics, partitions, to, dry_run } => {
            reset(session, &group, &ResetScope { topics, partitions }, to, dry_run, out)
        }
        Command::Delete { groups } => delete(session, &groups, out),
    })
}

fn list(session: &Session, out: &mut Output<'_>) -> CommandOutcome {
    let consumer = session.consumer(None, &[])?;
    let known = ask(session, &consumer, None)?;
    let mut groups: Vec<_> = known.groups().iter().collect();
    groups.sort_by_key(|group| group.name());
    let mut table = Table::new(&["group", "state", "protocol", "members"]);
    for group in groups {
        let protocol = Some(group.protocol_type()).filter(|protocol| !protocol.is_empty());
        table.row([json!(group.name()), json!(group.state()), json!(protocol), json!(group.members().len())]);
    }
    Ok(table.print(session.json(), out)?)
}

fn ask(
    session: &Session,
    consumer: &BaseConsumer<LastComplaint>,
    group: Option<&str>,
) -> CommandOutcome<GroupList> {
    consumer.fetch_group_list(group, session.timeout()).map_err(|error| {
        let _ = consumer.poll(std::time::Duration::ZERO);
        session.failed(&error)
    })
}

/// A member, as the table of partitions shows it.
#[derive(Clone)]
struct Owner {
    member: String,
    client: String,
    host: String,
}

fn describe(session: &Session, groups: &[String], out: &mut Output<'_>) -> CommandOutcome {
    let mut described = Vec::new();
    for name in groups {
        let consumer = session.consumer(Some(name), &[])?;
        let metadata = session.metadata(&consumer)?;
        let known = ask(session, &consumer, Some(name))?;
        let group = known.groups().iter().find(|group| group.name() == name);
        let committed = committed(session, &consumer, &all_partitions(&metadata))?;
        let group = group.filter(|group| group.state() != "Dead" || !committed.is_empty());
        let group =
            group.ok_or_else(|| Failure::refused(format_args!("there is no group {}", shown(name))))?;

        let mut owners: BTreeMap<NamedPartition, Owner> = BTreeMap::new();
        for member in group.members() {
            let owner = Owner {
                member: member.id().to_owned(),
                client: member.client_id().to_owned(),
                host: member.client_host().trim_start_matches('/').to_owned(),
            };
            let assigned = member.assignment().map(assigned).unwrap_or_default();
            owners.extend(assigned.into_iter().map(|partition| (partition, owner.clone())));
        }
        let rows: Vec<NamedPartition> = {
            let mut rows: Vec<_> = committed.keys().chain(owners.keys()).cloned().collect();
            rows.sort();
            rows.dedup();
            rows
        };
        let ends: BTreeMap<NamedPartition, Option<i64>> =
            session.offsets(&consumer, &rows, Offset::End)?.into_iter().collect();
        let mut table =
            Table::new(&["topic", "partition", "committed", "end", "lag", "member", "client", "host"]);
        for partition in rows {
            let committed = committed.get(&partition).copied();
            let end = ends.get(&partition).copied().flatten();
            let lag = committed.zip(end).map(|(committed, end)| (end - committed).max(0));
            let owner = owners.get(&partition);
            table.row([
                json!(partition.0),
                json!(partition.1),
                json!(committed),
                json!(end),
                json!(lag),
                json!(owner.map(|owner| &owner.member)),
                json!(owner.map(|owner| &owner.client)),
                json!(owner.map(|owner| &owner.host)),
            ]);
        }
        if session.json() {
            described.push(json!({
                "group": name,
                "state": group.state(),
                "members": group.members().len(),
                "partitions": table.json(),
            }));
            continue;
        }
        if name != &groups[0] {
            writeln!(out)?;
        }
        writeln!(out, "{}: {}, {} members", shown(name), group.state(), group.members().len())?;
        table.print(false, out)?;
    }
    if session.json() {
        writeln!(out, "{}", Value::Array(described))?;
    }
    Ok(())
}

fn all_partitions(metadata: &Metadata) -> Vec<NamedPartition> {
    metadata.topics().iter().flat_map(partitions_of).collect()
}

/// The partitions in a member's assignment. Only clients define its format, so bytes of another format
/// count as none.
fn assigned(bytes: &[u8]) -> Vec<NamedPartition> {
    let Some((version, rest)) = bytes.split_first_chunk::<2>() else { return Vec::new() };
    let version = i16::from_be_bytes(*version).clamp(0, *ConsumerProtocolAssignment::VERSIONS.end());
    let mut reader = Reader::new(Bytes::copy_from_slice(rest));
    let Ok(assignment) = ConsumerProtocolAssignment::decode(&mut reader, version) else { return Vec::new() };
    let topics = assignment.assigned_partitions.into_iter();
    topics
        .flat_map(|of| of.partitions.into_iter().map(move |partition| (of.topic.clone(), partition)))
        .collect()
}

/// The committed offsets of these partitions.
fn committed(
    session: &Session,
    consumer: &BaseConsumer<LastComplaint>,
    partitions: &[NamedPartition],
) -> CommandOutcome<BTreeMap<NamedPartition, i64>> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        asked.add_partition(topic, *partition);
    }
    let answered =
        consumer.committed_offsets(asked, session.timeout()).map_err(|error| session.failed(&error))?;
    let found = found(&answered).into_iter();
    Ok(found.filter_map(|(partition, offset)| Some((partition, offset?))).collect())
}

struct ResetScope {
    topics: Vec<String>,
    partitions: Vec<i32>,
}

fn reset(
    session: &Session,
    group: &str,
    wanted: &ResetScope,
    to: Position,
    dry_run: bool,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let consumer = session.consumer(Some(group), &[])?;
    let metadata = session.metadata(&consumer)?;
    let mut partitions = Vec::new();
    for topic in &wanted.topics {
        let all = partitions_of(find(&metadata, topic)?);
        if let Some(missing) =
            wanted.partitions.iter().find(|wanted| all.iter().all(|(_, partition)| partition != *wanted))
        {
            return Err(Failure::refused(format_args!("{} has no partition {missing}", shown(topic))));
        }
        let is_wanted =
            |partition: i32| wanted.partitions.is_empty() || wanted.partitions.contains(&partition);
        partitions.extend(all.into_iter().filter(|(_, partition)| is_wanted(*partition)));
    }
    let known = ask(session, &consumer, Some(group))?;
    let members: usize = known.groups().iter().map(|known| known.members().len()).sum();
    if members > 0 && !dry_run {
        return Err(Failure::refused(format_args!(
            "{} has {members} members: stop them first, or they go on where they are",
            shown(group)
        )));
    }
    let before = committed(session, &consumer, &partitions)?;
    let targets = resolve(session, &consumer, &partitions, to)?;
    if !dry_run {
        let mut offsets = TopicPartitionList::with_capacity(targets.len());
        for ((topic, partition), offset) in &targets {
            let set = offsets.add_partition_offset(topic, *partition, Offset::Offset(*offset));
            set.map_err(|error| session.failed(&error))?;
        }
        consumer.commit(&offsets, CommitMode::Sync).map_err(|error| session.failed(&error))?;
    }
    let mut table = Table::new(&["topic", "partition", "before", "now"]);
    for (partition, offset) in targets {
        let before = before.get(&partition);
        table.row([json!(partition.0), json!(partition.1), json!(before), json!(offset)]);
    }
    Ok(table.print(session.json(), out)?)
}

/// The offset of a position in each partition, limited to the range of its log.
pub fn resolve(
    session: &Session,
    consumer: &BaseConsumer<LastComplaint>,
    partitions: &[NamedPartition],
    to: Position,
) -> CommandOutcome<Vec<(NamedPartition, i64)>> {
    let ask = |of: Offset| -> CommandOutcome<BTreeMap<NamedPartition, Option<i64>>> {
        Ok(session.offsets(consumer, partitions, of)?.into_iter().collect())
    };
    let (starts, ends) = (ask(Offset::Beginning)?, ask(Offset::End)?);
    let at = match to.timestamp() {
        Some(time) => ask(Offset::Offset(time.0))?,
        None => BTreeMap::new(),
    };
    let mut resolved = Vec::new();
    for partition in partitions {
        let offset_in =
            |offsets: &BTreeMap<NamedPartition, Option<i64>>| offsets.get(partition).copied().flatten();
        let (Some(start), Some(end)) = (offset_in(&starts), offset_in(&ends)) else {
            let (topic, partition) = partition;
            return Err(Failure::refused(format_args!("no offsets of {} {partition}", shown(topic))));
        };
        let offset = match to {
            Position::Beginning => start,
            Position::End => end,
            Position::Offset(offset) => offset,
            Position::Last(count) => end.saturating_sub(count),
            // No record is as new as that.
            Position::At(_) | Position::Ago(_) => offset_in(&at).unwrap_or(end),
        };
        resolved.push((partition.clone(), offset.clamp(start, end)));
    }
    Ok(resolved)
}

fn delete(session: &Session, groups: &[String], out: &mut Output<'_>) -> CommandOutcome {
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    let admin = session.admin()?;
    let results = session.wait(admin.delete_groups(&names, &session.admin_options()))?;
    topic::each(session, "deleted", results, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_other_bytes_have_no_partitions() {
        let bytes = b"\0\x01\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x05\xff\xff\xff\xff";
        assert_eq!(assigned(bytes), [("t".to_owned(), 0), ("t".to_owned(), 5)]);
        assert!(assigned(b"").is_empty() && assigned(b"\0\0connect").is_empty());
    }
}
