//! The brokers of a cluster for requests that this program sends itself. A connection is made when it is first needed,
//! and requests go to the broker that can answer them: the leader of a partition, the coordinator of a group.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::peer::{Peer, bootstrap, reason};
use super::{CommandOutcome, Failure, NamedPartition, Session, shown};
use crate::api::error::ErrorCode;
use crate::protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use crate::protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use crate::protocol::messages::{
    DescribeLogDirsRequest, FindCoordinatorRequest, FindCoordinatorResponse, MetadataResponse,
};
use crate::time::{self, Moment};
use crate::types::{Uuid, host_and_port};

/// The codes of a coordinator that is only starting.
const STARTING: [i16; 3] = [
    ErrorCode::CoordinatorLoadInProgress.code(),
    ErrorCode::CoordinatorNotAvailable.code(),
    ErrorCode::NotCoordinator.code(),
];

/// The time between two questions about a coordinator that is starting.
const PAUSE: Duration = Duration::from_millis(100);

/// The kind of a coordinator in FindCoordinator.
#[derive(Clone, Copy, Debug)]
pub enum Coordinated {
    Group = 0,
    Transaction = 1,
}

/// The offset to look up in a partition.
#[derive(Clone, Copy, Debug)]
pub enum OffsetOf {
    Start,
    End,
    /// The first record that is not older, in milliseconds since 1970.
    Time(i64),
}

pub struct Brokers<'a> {
    session: &'a Session,
    any: Peer,
    pub controller: Option<i32>,
    known: BTreeMap<i32, String>,
    connected: BTreeMap<i32, Peer>,
}

/// A topic that exists.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    pub id: Option<Uuid>,
    /// Ordered by number.
    pub partitions: Vec<MetadataResponsePartition>,
}

/// The bytes of each replica: of a partition and a broker.
pub type Sizes = BTreeMap<(NamedPartition, i32), i64>;

impl<'a> Brokers<'a> {
    pub fn of(session: &'a Session) -> CommandOutcome<Brokers<'a>> {
        let mut any = bootstrap(session)?;
        let metadata = metadata(&mut any, Some(&[]))?;
        let brokers = metadata.brokers.iter();
        let known =
            brokers.map(|broker| (broker.node_id, host_and_port(&broker.host, broker.port))).collect();
        let controller = (metadata.controller_id >= 0).then_some(metadata.controller_id);
        Ok(Brokers { session, any, controller, known, connected: BTreeMap::new() })
    }

    /// The bootstrap broker, for requests that every broker answers or passes on.
    pub fn any(&mut self) -> &mut Peer {
        &mut self.any
    }

    pub fn ids(&self) -> Vec<i32> {
        self.known.keys().copied().collect()
    }

    /// Fails if there is no such broker.
    pub fn address(&self, id: i32) -> CommandOutcome<&str> {
        self.known.get(&id).map(String::as_str).ok_or_else(|| {
            let known: Vec<String> = self.known.keys().map(i32::to_string).collect();
            let are = if known.len() == 1 { "the only one is" } else { "there are" };
            Failure::refused(format_args!("there is no broker {id}; {are} {}", known.join(", ")))
        })
    }

    pub fn broker(&mut self, id: i32) -> CommandOutcome<&mut Peer> {
        let address = self.address(id)?.to_owned();
        match self.connected.entry(id) {
            Entry::Occupied(peer) => Ok(peer.into_mut()),
            Entry::Vacant(none) => Ok(none.insert(Peer::connect(self.session, &address)?)),
        }
    }

    /// All topics, ordered by name.
    pub fn topics(&mut self) -> CommandOutcome<Vec<Topic>> {
        let answer = metadata(&mut self.any, None)?;
        let mut topics: Vec<Topic> =
            answer.topics.into_iter().filter(|topic| topic.error_code == 0).map(Topic::from).collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(topics)
    }

    /// Each of these topics, in this order, or the refusal if it is missing.
    pub fn topics_named(&mut self, names: &[String]) -> CommandOutcome<Vec<(String, CommandOutcome<Topic>)>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let answer = metadata(&mut self.any, Some(names))?;
        let found = |name: &String| {
            let found = answer.topics.iter().find(|topic| topic.name.as_deref() == Some(name.as_str()));
            match found {
                Some(topic) if topic.error_code == 0 => Ok(Topic::from(topic.clone())),
                Some(topic) if topic.error_code != ErrorCode::UnknownTopicOrPartition.code() => {
                    let why = reason(topic.error_code, None);
                    Err(Failure::Refused(format!("{}: {why}", shown(name))))
                }
                Some(_) | None => Err(no_topic(name)),
            }
        };
        Ok(names.iter().map(|name| (name.clone(), found(name))).collect())
    }

    pub fn topic(&mut self, name: &str) -> CommandOutcome<Topic> {
        let found = self.topics_named(&[name.to_owned()])?.pop();
        found.map_or_else(|| Err(no_topic(name)), |(_, found)| found)
    }

    /// The broker that leads a partition.
    pub fn leader(&mut self, topic: &str, partition: i32) -> CommandOutcome<&mut Peer> {
        let name = shown(topic);
        let topic = self.topic(topic)?;
        let found = topic.partitions.iter().find(|known| known.partition_index == partition);
        let leader = found.map(|found| found.leader_id);
        let leader =
            leader.ok_or_else(|| Failure::refused(format_args!("{name} has no partition {partition}")))?;
        if leader < 0 {
            return Err(Failure::refused(format_args!("{name} {partition} has no leader")));
        }
        self.broker(leader)
    }

    /// The id of the broker that coordinates a group or a transactional id.
    pub fn coordinator(&mut self, of: Coordinated, key: &str) -> CommandOutcome<i32> {
        let request = FindCoordinatorRequest {
            key_type: of as i8,
            coordinator_keys: vec![key.to_owned()],
            ..FindCoordinatorRequest::default()
        };
        let begun = Moment::now();
        let answer: FindCoordinatorResponse = loop {
            let answer = self.any.call(4..=4, &request)?;
            let code = answer.coordinators.first().map_or(0, |found| found.error_code);
            if !STARTING.contains(&code) || !self.may_ask_again(begun) {
                break answer;
            }
        };
        let found = answer.coordinators.into_iter().next();
        let found = found.ok_or_else(|| self.any.refused("it names no coordinator"))?;
        if found.error_code != 0 {
            let why = reason(found.error_code, found.error_message);
            return Err(Failure::Refused(format!("{}: {why}", shown(key))));
        }
        self.known.entry(found.node_id).or_insert_with(|| host_and_port(&found.host, found.port));
        Ok(found.node_id)
    }

    /// Asks the coordinator of a group or a transactional id. It is looked up first unless it is known. Returns its id, too.
    pub fn ask_coordinator<T>(
        &mut self,
        (of, key): (Coordinated, &str),
        known: Option<i32>,
        code: impl Fn(&T) -> i16,
        mut ask: impl FnMut(&mut Peer) -> CommandOutcome<T>,
    ) -> CommandOutcome<(i32, T)> {
        let begun = Moment::now();
        ask_until_ready(
            self,
            known,
            |brokers| brokers.coordinator(of, key),
            |brokers, id| ask(brokers.broker(id)?),
            code,
            |brokers| brokers.may_ask_again(begun),
        )
    }

    /// Waits for a moment before the next attempt. Returns `false` at once if the time of the command is over.
    fn may_ask_again(&self, begun: Moment) -> bool {
        let is_in_time = begun.elapsed() < self.session.timeout();
        if is_in_time {
            self.session.runtime.block_on(time::sleep(PAUSE));
        }
        is_in_time
    }

    /// Looks up an offset in each partition. Partitions without a leader are left out; `None` means that no record is
    /// as new as the time.
    pub fn offsets<'t>(
        &mut self,
        partitions: impl IntoIterator<Item = (&'t str, &'t MetadataResponsePartition)>,
        of: OffsetOf,
    ) -> CommandOutcome<BTreeMap<NamedPartition, Option<i64>>> {
        let timestamp = match of {
            OffsetOf::Start => -2,
            OffsetOf::End => -1,
            OffsetOf::Time(ms) => ms,
        };
        let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<ListOffsetsPartition>>> = BTreeMap::new();
        for (topic, partition) in partitions.into_iter().filter(|(_, partition)| partition.leader_id >= 0) {
            let asked = ListOffsetsPartition {
                partition_index: partition.partition_index,
                timestamp,
                ..ListOffsetsPartition::default()
            };
            by_leader.entry(partition.leader_id).or_default().entry(topic).or_default().push(asked);
        }
        let mut found = BTreeMap::new();
        for (leader, topics) in by_leader {
            let topics = topics
                .into_iter()
                .map(|(name, partitions)| ListOffsetsTopic { name: name.to_owned(), partitions });
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics: topics.collect(),
                ..ListOffsetsRequest::default()
            };
            for topic in self.broker(leader)?.call(1..=7, &request)?.topics {
                for partition in topic.partitions {
                    let index = partition.partition_index;
                    if partition.error_code != 0 {
                        let why = reason(partition.error_code, None);
                        return Err(Failure::Refused(format!("{} {index}: {why}", shown(&topic.name))));
                    }
                    let offset = (partition.offset >= 0).then_some(partition.offset);
                    found.insert((topic.name.clone(), index), offset);
                }
            }
        }
        Ok(found)
    }

    /// The sizes of all replicas on all brokers. A broker that refuses to tell is left out, because sizes are only
    /// shown beside other things.
    pub fn sizes(&mut self) -> CommandOutcome<Sizes> {
        let mut sizes = Sizes::new();
        for id in self.ids() {
            let answer = match self.broker(id)?.call(1..=4, &DescribeLogDirsRequest { topics: None }) {
                Err(Failure::Refused(_)) => continue,
                answer => answer?,
            };
            for topic in answer.results.into_iter().flat_map(|dir| dir.topics) {
                for partition in topic.partitions.into_iter().filter(|partition| !partition.is_future_key) {
                    let name = (topic.name.clone(), partition.partition_index);
                    sizes.insert((name, id), partition.partition_size);
                }
            }
        }
        Ok(sizes)
    }
}

/// Asks a coordinator again while it is only starting, and looks it up again if it has moved. In a new cluster the first
/// question about a coordinator creates its topic, which takes the brokers a moment.
fn ask_until_ready<C, T>(
    context: &mut C,
    known: Option<i32>,
    look_up: impl Fn(&mut C) -> CommandOutcome<i32>,
    mut ask: impl FnMut(&mut C, i32) -> CommandOutcome<T>,
    code: impl Fn(&T) -> i16,
    may_ask_again: impl Fn(&C) -> bool,
) -> CommandOutcome<(i32, T)> {
    let mut coordinator = match known {
        Some(id) => id,
        None => look_up(context)?,
    };
    loop {
        let answer = ask(context, coordinator)?;
        let code = code(&answer);
        if !STARTING.contains(&code) || !may_ask_again(context) {
            return Ok((coordinator, answer));
        }
        if code == ErrorCode::NotCoordinator.code() {
            coordinator = look_up(context)?;
        }
    }
}

pub fn no_topic(name: &str) -> Failure {
    Failure::refused(format_args!("there is no topic {}", shown(name)))
}

/// A number with the word for the things, such as `1 member` and `2 members`.
pub fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

impl Topic {
    pub fn is_hidden(&self) -> bool {
        self.name.starts_with("__")
    }

    pub fn replicas(&self) -> usize {
        self.partitions.first().map_or(0, |partition| partition.replica_nodes.len())
    }

    /// Its partitions, or those with these numbers if there are any; fails if one of them is missing.
    pub fn only(&self, numbers: &[i32]) -> CommandOutcome<Vec<&MetadataResponsePartition>> {
        let is_there = |number: &i32| self.partitions.iter().any(|known| known.partition_index == *number);
        if let Some(missing) = numbers.iter().find(|number| !is_there(number)) {
            let (name, count) = (shown(&self.name), counted(self.partitions.len(), "partition"));
            return Err(Failure::refused(format_args!(
                "{name} has no partition {missing}: the topic has {count}"
            )));
        }
        let is_wanted = |known: &&MetadataResponsePartition| {
            numbers.is_empty() || numbers.contains(&known.partition_index)
        };
        Ok(self.partitions.iter().filter(is_wanted).collect())
    }
}

impl From<MetadataResponseTopic> for Topic {
    fn from(topic: MetadataResponseTopic) -> Topic {
        let mut partitions = topic.partitions;
        partitions.sort_by_key(|partition| partition.partition_index);
        let id = Some(topic.topic_id).filter(|id| !id.is_zero());
        Topic { name: topic.name.unwrap_or_default(), id, partitions }
    }
}

/// The metadata of these topics, or of all. It creates none.
fn metadata(broker: &mut Peer, topics: Option<&[String]>) -> CommandOutcome<MetadataResponse> {
    let named =
        |name: &String| MetadataRequestTopic { name: Some(name.clone()), ..MetadataRequestTopic::default() };
    let request = MetadataRequest {
        topics: topics.map(|names| names.iter().map(named).collect()),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    broker.call(4..=12, &request)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_HERE: i16 = ErrorCode::NotCoordinator.code();
    const LOADING: i16 = ErrorCode::CoordinatorLoadInProgress.code();
    const OTHER: i16 = ErrorCode::NonEmptyGroup.code();

    /// A cluster that answers with these codes in turn, and in which each look-up finds the next of these coordinators.
    struct Cluster {
        codes: Vec<i16>,
        coordinators: Vec<i32>,
        asked: Vec<i32>,
    }

    /// The coordinators that were asked, and the last answer.
    fn asked(
        known: Option<i32>,
        codes: &[i16],
        coordinators: &[i32],
        pauses: usize,
    ) -> (Vec<i32>, (i32, i16)) {
        let (codes, coordinators) = (codes.to_vec(), coordinators.to_vec());
        let mut cluster = Cluster { codes, coordinators, asked: Vec::new() };
        let last = ask_until_ready(
            &mut cluster,
            known,
            |cluster| Ok(cluster.coordinators.remove(0)),
            |cluster, id| {
                cluster.asked.push(id);
                Ok(cluster.codes.remove(0))
            },
            |code| *code,
            |cluster| cluster.asked.len() <= pauses,
        );
        (cluster.asked, last.unwrap())
    }

    #[test]
    fn a_coordinator_that_moves_is_looked_up_again_and_one_that_starts_is_asked_again() {
        assert_eq!(asked(None, &[0], &[1], 9), (vec![1], (1, 0)));
        assert_eq!(asked(Some(7), &[0], &[], 9), (vec![7], (7, 0)), "it is known");
        assert_eq!(asked(None, &[NOT_HERE, 0], &[1, 2], 9), (vec![1, 2], (2, 0)));
        assert_eq!(asked(Some(7), &[LOADING, NOT_HERE, LOADING, 0], &[2], 9), (vec![7, 7, 2, 2], (2, 0)));
        assert_eq!(asked(None, &[OTHER], &[1], 9), (vec![1], (1, OTHER)), "the answer does not change");
        assert_eq!(
            asked(None, &[NOT_HERE, NOT_HERE], &[1, 2], 1),
            (vec![1, 2], (2, NOT_HERE)),
            "time is over"
        );
    }
}
