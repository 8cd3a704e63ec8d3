//! `jackdaw group delete-offsets`, and the commit that `reset` makes.

use std::collections::BTreeMap;

use super::state;
use crate::cli::client::answers::Answers;
use crate::cli::client::brokers::{Brokers, Coordinated};
use crate::cli::client::peer::reason;
use crate::cli::client::plan::TopicAndPartitions;
use crate::cli::client::{CommandOutcome, Failure, NamedPartition, Output, Session, shown};
use crate::protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteResponse};

pub fn delete(
    session: &Session,
    brokers: &mut Brokers<'_>,
    group: &str,
    wanted: &[TopicAndPartitions],
    out: &mut Output<'_>,
) -> CommandOutcome {
    let known = state::one(brokers, group)?;
    let committed = known.committed(brokers)?;
    let mut answers = Answers::new(session);
    let mut topics = Vec::new();
    for TopicAndPartitions { topic, partitions } in wanted {
        let of_topic = committed.keys().filter(|(name, _)| name == topic).map(|(_, partition)| *partition);
        let found: Vec<i32> =
            of_topic.filter(|partition| partitions.is_empty() || partitions.contains(partition)).collect();
        let missing = partitions.iter().find(|partition| !found.contains(partition));
        if found.is_empty() || missing.is_some() {
            let partition = missing.map(|number| format!(" {number}")).unwrap_or_default();
            let why =
                Failure::Refused(format!("{} has no offset in {}{partition}", shown(group), shown(topic)));
            answers.keep(topic, CommandOutcome::<()>::Err(why))?;
            continue;
        }
        let partitions =
            found.into_iter().map(|partition_index| OffsetDeleteRequestPartition { partition_index });
        topics.push(OffsetDeleteRequestTopic { name: topic.clone(), partitions: partitions.collect() });
    }
    if topics.is_empty() {
        return answers.end(out);
    }
    let request = OffsetDeleteRequest { group_id: group.to_owned(), topics };
    let (_, answer) = brokers.ask_coordinator(
        (Coordinated::Group, group),
        Some(known.coordinator),
        |answer: &OffsetDeleteResponse| answer.error_code,
        |broker| broker.call(0..=0, &request),
    )?;
    if answer.error_code != 0 {
        return Err(Failure::Refused(format!("{}: {}", shown(group), reason(answer.error_code, None))));
    }
    for topic in answer.topics {
        for partition in topic.partitions {
            let name = format!("{} {}", topic.name, partition.partition_index);
            match partition.error_code {
                0 => answers.done_as(&name, "deleted", "deleted the offset of", out)?,
                code => answers.refused(&name, reason(code, None)),
            }
        }
    }
    answers.end(out)
}

/// Commits these offsets for a group without members. Returns why the broker refused some of them.
pub fn commit(
    brokers: &mut Brokers<'_>,
    coordinator: i32,
    group: &str,
    offsets: &BTreeMap<NamedPartition, i64>,
) -> CommandOutcome<BTreeMap<NamedPartition, String>> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, partition), offset) in offsets {
        topics.entry(topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: *partition,
            committed_offset: *offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(String::new()),
        });
    }
    let topics = topics.into_iter().map(|(name, partitions)| OffsetCommitRequestTopic {
        name: name.to_owned(),
        partitions,
        ..OffsetCommitRequestTopic::default()
    });
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        topics: topics.collect(),
        ..OffsetCommitRequest::default()
    };
    let (_, answer) = brokers.ask_coordinator(
        (Coordinated::Group, group),
        Some(coordinator),
        |answer: &OffsetCommitResponse| {
            let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.next().map_or(0, |partition| partition.error_code)
        },
        |broker| broker.call(2..=9, &request),
    )?;
    let mut refused = BTreeMap::new();
    for topic in answer.topics {
        for partition in topic.partitions.iter().filter(|partition| partition.error_code != 0) {
            let name = (topic.name.clone(), partition.partition_index);
            refused.insert(name, reason(partition.error_code, None));
        }
    }
    Ok(refused)
}
