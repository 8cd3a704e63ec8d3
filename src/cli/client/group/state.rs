//! The state of groups: their members, and where they stand.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::no_group;
use crate::api::error::ErrorCode;
use crate::cli::client::brokers::{Brokers, OffsetOf, Topic};
use crate::cli::client::peer::{Peer, reason};
use crate::cli::client::plan::Wanted;
use crate::cli::client::{CommandOutcome, Failure, NamedPartition, shown};
use crate::protocol::messages::list_groups_response::ListedGroup;
use crate::protocol::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup};
use crate::protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, DescribeGroupsRequest, ListGroupsRequest,
    ShareGroupDescribeRequest, StreamsGroupDescribeRequest,
};
use crate::protocol::{Message, Reader};

/// A group as its coordinator lists it.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub name: String,
    pub state: String,
    /// `classic`, `consumer`, `share` or `streams`; `None` if the broker is too old to tell.
    pub kind: Option<String>,
    pub protocol: String,
    pub coordinator: i32,
}

/// The states of groups of all types.
const STATES: [&str; 8] = [
    "Empty",
    "Stable",
    "PreparingRebalance",
    "CompletingRebalance",
    "Assigning",
    "Reconciling",
    "NotReady",
    "Dead",
];

/// Kafka's name of a state. Upper and lower case are the same.
pub fn named(written: &str) -> Result<String, String> {
    let known = STATES.into_iter().find(|known| known.eq_ignore_ascii_case(written));
    known.map(str::to_owned).ok_or_else(|| format!("expected {}", STATES.join(", ")))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub client: String,
    pub host: String,
    pub partitions: Vec<NamedPartition>,
}

/// All groups, ordered by name.
pub fn all(brokers: &mut Brokers<'_>) -> CommandOutcome<Vec<Group>> {
    let mut groups = Vec::new();
    for id in brokers.ids() {
        let broker = brokers.broker(id)?;
        let answer = broker.call(0..=5, &ListGroupsRequest::default())?;
        broker.accept(answer.error_code)?;
        groups.extend(answer.groups.into_iter().map(|group| Group::of(group, id)));
    }
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(groups)
}

/// This group; fails if there is none.
pub fn one(brokers: &mut Brokers<'_>, name: &str) -> CommandOutcome<Group> {
    all(brokers)?.into_iter().find(|group| group.name == name).ok_or_else(|| no_group(name))
}

impl Group {
    fn of(listed: ListedGroup, coordinator: i32) -> Group {
        Group {
            name: listed.group_id,
            state: listed.group_state,
            kind: Some(listed.group_type).filter(|kind| !kind.is_empty()),
            protocol: listed.protocol_type,
            coordinator,
        }
    }

    pub fn members(&self, brokers: &mut Brokers<'_>) -> CommandOutcome<Vec<Member>> {
        let coordinator = brokers.broker(self.coordinator)?;
        match self.kind.as_deref() {
            Some("consumer") => self.consumers(coordinator),
            Some("share") => self.sharers(coordinator),
            Some("streams") => self.streams(coordinator),
            _ => self.classic(coordinator),
        }
    }

    fn classic(&self, coordinator: &mut Peer) -> CommandOutcome<Vec<Member>> {
        let request = DescribeGroupsRequest { groups: vec![self.name.clone()], ..Default::default() };
        let found = coordinator.call(0..=6, &request)?.groups.into_iter().next().unwrap_or_default();
        self.accept(found.error_code, found.error_message)?;
        let members = found.members.into_iter().map(|member| {
            let partitions = assigned(&member.member_assignment);
            Member::of(member.member_id, member.client_id, &member.client_host, partitions)
        });
        Ok(members.collect())
    }

    fn consumers(&self, coordinator: &mut Peer) -> CommandOutcome<Vec<Member>> {
        let request =
            ConsumerGroupDescribeRequest { group_ids: vec![self.name.clone()], ..Default::default() };
        let found = coordinator.call(0..=1, &request)?.groups.into_iter().next().unwrap_or_default();
        self.accept(found.error_code, found.error_message)?;
        let members = found.members.into_iter().map(|member| {
            let topics = member.assignment.topic_partitions.into_iter();
            let partitions = topics.flat_map(|topic| pairs(&topic.topic_name, &topic.partitions)).collect();
            Member::of(member.member_id, member.client_id, &member.client_host, partitions)
        });
        Ok(members.collect())
    }

    fn sharers(&self, coordinator: &mut Peer) -> CommandOutcome<Vec<Member>> {
        let request = ShareGroupDescribeRequest { group_ids: vec![self.name.clone()], ..Default::default() };
        let found = coordinator.call(1..=1, &request)?.groups.into_iter().next().unwrap_or_default();
        self.accept(found.error_code, found.error_message)?;
        let members = found.members.into_iter().map(|member| {
            let topics = member.assignment.topic_partitions.into_iter();
            let partitions = topics.flat_map(|topic| pairs(&topic.topic_name, &topic.partitions)).collect();
            Member::of(member.member_id, member.client_id, &member.client_host, partitions)
        });
        Ok(members.collect())
    }

    /// The members of a group of Kafka Streams. They have tasks instead of partitions.
    fn streams(&self, coordinator: &mut Peer) -> CommandOutcome<Vec<Member>> {
        let request =
            StreamsGroupDescribeRequest { group_ids: vec![self.name.clone()], ..Default::default() };
        let found = coordinator.call(0..=0, &request)?.groups.into_iter().next().unwrap_or_default();
        self.accept(found.error_code, found.error_message)?;
        let members = found.members.into_iter();
        Ok(members
            .map(|one| Member::of(one.member_id, one.client_id, &one.client_host, Vec::new()))
            .collect())
    }

    fn accept(&self, code: i16, message: Option<String>) -> CommandOutcome {
        match code {
            0 => Ok(()),
            code if code == ErrorCode::GroupIdNotFound.code() => Err(no_group(&self.name)),
            code => Err(Failure::Refused(format!("{}: {}", shown(&self.name), reason(code, message)))),
        }
    }

    /// The committed offsets. A share group has none of this kind.
    pub fn committed(&self, brokers: &mut Brokers<'_>) -> CommandOutcome<BTreeMap<NamedPartition, i64>> {
        let mut committed = BTreeMap::new();
        if self.kind.as_deref() == Some("share") {
            return Ok(committed);
        }
        let group = OffsetFetchRequestGroup {
            group_id: self.name.clone(),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        };
        let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
        let answer = brokers.broker(self.coordinator)?.call(8..=9, &request)?;
        for group in answer.groups {
            self.accept(group.error_code, None)?;
            for topic in group.topics {
                for partition in
                    topic.partitions.into_iter().filter(|partition| partition.committed_offset >= 0)
                {
                    let name = (topic.name.clone(), partition.partition_index);
                    committed.insert(name, partition.committed_offset);
                }
            }
        }
        Ok(committed)
    }
}

impl Member {
    fn of(id: String, client: String, host: &str, partitions: Vec<NamedPartition>) -> Member {
        Member { id, client, host: host.trim_start_matches('/').to_owned(), partitions }
    }
}

fn pairs(topic: &str, partitions: &[i32]) -> Vec<NamedPartition> {
    partitions.iter().map(|partition| (topic.to_owned(), *partition)).collect()
}

/// The partitions in a member's assignment. Only clients define its format, so bytes of another format
/// count as none.
fn assigned(bytes: &[u8]) -> Vec<NamedPartition> {
    let Some((version, rest)) = bytes.split_first_chunk::<2>() else { return Vec::new() };
    let version = i16::from_be_bytes(*version).clamp(0, *ConsumerProtocolAssignment::VERSIONS.end());
    let mut reader = Reader::new(Bytes::copy_from_slice(rest));
    let Ok(assignment) = ConsumerProtocolAssignment::decode(&mut reader, version) else { return Vec::new() };
    let topics = assignment.assigned_partitions.into_iter();
    topics.flat_map(|of| pairs(&of.topic, &of.partitions)).collect()
}

/// The ends of the logs of these partitions, without those whose topic is gone.
pub fn ends<'n>(
    brokers: &mut Brokers<'_>,
    topics: &[Topic],
    partitions: impl IntoIterator<Item = &'n NamedPartition>,
) -> CommandOutcome<BTreeMap<NamedPartition, i64>> {
    let mut wanted: Wanted<'_> = Vec::new();
    for (name, index) in partitions {
        let topic = topics.iter().find(|topic| topic.name == *name);
        let partition = topic.and_then(|topic| {
            let found = topic.partitions.iter().find(|partition| partition.partition_index == *index);
            Some((topic.name.as_str(), found?))
        });
        wanted.extend(partition);
    }
    let ends = brokers.offsets(wanted, OffsetOf::End)?;
    Ok(ends.into_iter().filter_map(|(name, end)| Some((name, end?))).collect())
}

/// The records between a committed offset and the end of the log.
pub fn lag(committed: i64, end: i64) -> i64 {
    (end - committed).max(0)
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

    #[test]
    fn a_state_is_one_that_groups_have() {
        assert_eq!(named("completingrebalance"), Ok("CompletingRebalance".to_owned()));
        assert!(named("Emtpy").unwrap_err().starts_with("expected Empty, Stable"));
    }

    #[test]
    fn a_group_in_front_of_the_end_lags_by_nothing() {
        assert_eq!((lag(3, 5), lag(5, 5), lag(7, 5)), (2, 0, 0));
    }
}
