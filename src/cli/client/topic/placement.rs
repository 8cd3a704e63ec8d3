//! `jackdaw topic elect`, `reassign` and `reassignments`: which broker leads a partition, and which have a replica.

use clap::Args;
use serde_json::json;

use crate::api::error::ErrorCode;
use crate::cli::client::answers::{Answers, Refusals};
use crate::cli::client::brokers::{Brokers, Topic};
use crate::cli::client::peer::reason;
use crate::cli::client::table::Table;
use crate::cli::client::{CommandOutcome, Failure, Output, Session};
use crate::protocol::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use crate::protocol::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use crate::protocol::messages::list_partition_reassignments_request::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};

#[derive(Debug, Args)]
pub struct Elect {
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Only this partition of the topics; may be repeated
    #[arg(long = "partition", value_name = "NUMBER")]
    partitions: Vec<i32>,
    /// For partitions without a leader: elect a replica that is not in sync. Records may be lost
    #[arg(long)]
    unclean: bool,
}

impl Elect {
    const PREFERRED: i8 = 0;
    const UNCLEAN: i8 = 1;

    pub fn run(&self, session: &Session, brokers: &mut Brokers<'_>, out: &mut Output<'_>) -> CommandOutcome {
        let mut answers = Answers::new(session);
        let mut asked = Vec::new();
        for (name, topic) in brokers.topics_named(&self.topics)? {
            let Some(topic) = answers.keep(&name, topic)? else { continue };
            let Some(partitions) = answers.keep(&name, topic.only(&self.partitions))? else { continue };
            let partitions = partitions.iter().map(|known| known.partition_index).collect();
            asked.push(TopicPartitions { topic: name, partitions });
        }
        if asked.is_empty() {
            return answers.end(out);
        }
        let request = ElectLeadersRequest {
            election_type: if self.unclean { Self::UNCLEAN } else { Self::PREFERRED },
            topic_partitions: Some(asked),
            timeout_ms: session.timeout_ms(),
        };
        let answer = brokers.any().call(1..=2, &request)?;
        if answer.error_code != 0 {
            return Err(Failure::Refused(reason(answer.error_code, None)));
        }
        for topic in answer.replica_election_results {
            for partition in topic.partition_result {
                let name = format!("{} {}", topic.topic, partition.partition_id);
                match partition.error_code {
                    0 => answers.done_as(&name, "elected", "elected a leader for", out)?,
                    code if code == ErrorCode::ElectionNotNeeded.code() => {
                        answers.done_as(&name, "no election needed", "no election needed for", out)?;
                    }
                    code => answers.refused(&name, reason(code, partition.error_message)),
                }
            }
        }
        answers.end(out)
    }
}

#[derive(Debug, Args)]
pub struct Reassign {
    topic: String,
    /// The ids of the brokers, separated by commas. The first one leads partition 0, the second one partition 1, and
    /// so on
    #[arg(long, value_name = "IDS", value_delimiter = ',', required_unless_present = "cancel")]
    replicas: Vec<i32>,
    /// Only this partition; may be repeated. Its replicas are in the order of --replicas
    #[arg(long = "partition", value_name = "NUMBER")]
    partitions: Vec<i32>,
    /// End a move, and go back to the replicas before it
    #[arg(long, conflicts_with = "replicas")]
    cancel: bool,
    /// Only show the new replicas
    #[arg(long, conflicts_with = "cancel")]
    dry_run: bool,
}

impl Reassign {
    pub fn run(&self, session: &Session, brokers: &mut Brokers<'_>, out: &mut Output<'_>) -> CommandOutcome {
        let topic = brokers.topic(&self.topic)?;
        let plan = self.plan(&topic)?;
        let mut table = Table::new(&["topic", "partition", "before", "now"]);
        for partition in topic.only(&self.partitions)? {
            let index = partition.partition_index;
            let now = plan.iter().find(|planned| planned.partition_index == index);
            let now = now.and_then(|planned| planned.replicas.as_ref());
            table.row([json!(self.topic), json!(index), json!(partition.replica_nodes), json!(now)]);
        }
        if self.dry_run {
            self.check(brokers)?;
            return Ok(table.print(session.json(), out)?);
        }
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: session.timeout_ms(),
            topics: vec![ReassignableTopic { name: self.topic.clone(), partitions: plan }],
            ..AlterPartitionReassignmentsRequest::default()
        };
        let answer = brokers.any().call(0..=1, &request)?;
        if answer.error_code != 0 {
            return Err(Failure::Refused(reason(answer.error_code, answer.error_message)));
        }
        let mut answers = Answers::new(session);
        for topic in answer.responses {
            for partition in topic.partitions {
                let name = format!("{} {}", topic.name, partition.partition_index);
                let (result, words) =
                    if self.cancel { ("cancelled", "cancelled the move of") } else { ("moves", "moves") };
                match partition.error_code {
                    0 => answers.done_as(&name, result, words, out)?,
                    code => answers.refused(&name, reason(code, partition.error_message)),
                }
            }
        }
        answers.end(out)
    }

    /// Fails if a broker does not exist or is named twice, which the broker would refuse.
    fn check(&self, brokers: &Brokers<'_>) -> CommandOutcome {
        for (nth, id) in self.replicas.iter().enumerate() {
            brokers.address(*id)?;
            if self.replicas[..nth].contains(id) {
                return Err(Failure::Refused(format!("broker {id} is named twice: it can have one replica")));
            }
        }
        Ok(())
    }

    fn plan(&self, topic: &Topic) -> CommandOutcome<Vec<ReassignablePartition>> {
        let in_order = !self.partitions.is_empty();
        let partitions = topic.only(&self.partitions)?.into_iter().map(|partition| {
            let index = partition.partition_index;
            let first = if in_order { 0 } else { usize::try_from(index).unwrap_or_default() };
            let replicas = (!self.cancel).then(|| rotated(&self.replicas, first));
            ReassignablePartition { partition_index: index, replicas }
        });
        Ok(partitions.collect())
    }
}

/// The ids in their order, beginning with the one at this place, so that each of them leads some partitions.
fn rotated(ids: &[i32], first: usize) -> Vec<i32> {
    let mut ids = ids.to_vec();
    let first = first.checked_rem(ids.len()).unwrap_or_default();
    ids.rotate_left(first);
    ids
}

pub fn list(
    session: &Session,
    brokers: &mut Brokers<'_>,
    names: &[String],
    out: &mut Output<'_>,
) -> CommandOutcome {
    let mut refusals = Refusals::default();
    let mut topics = Vec::new();
    for (name, topic) in brokers.topics_named(names)? {
        let Some(topic) = refusals.keep(topic)? else { continue };
        let partition_indexes = topic.partitions.iter().map(|partition| partition.partition_index).collect();
        topics.push(ListPartitionReassignmentsTopics { name, partition_indexes });
    }
    if topics.is_empty() && !names.is_empty() {
        return refusals.end();
    }
    let request = ListPartitionReassignmentsRequest {
        timeout_ms: session.timeout_ms(),
        topics: (!names.is_empty()).then_some(topics),
    };
    let answer = brokers.any().call(0..=0, &request)?;
    if answer.error_code != 0 {
        return Err(Failure::Refused(reason(answer.error_code, answer.error_message)));
    }
    let mut table = Table::new(&["topic", "partition", "replicas", "adding", "removing"]);
    for topic in answer.topics {
        for partition in topic.partitions {
            table.row([
                json!(topic.name),
                json!(partition.partition_index),
                json!(partition.replicas),
                json!(partition.adding_replicas),
                json!(partition.removing_replicas),
            ]);
        }
    }
    refusals.end_with(&table, session.json(), out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broker_leads_some_partitions() {
        let leaders: Vec<i32> = (0..5).map(|partition| rotated(&[4, 5, 6], partition)[0]).collect();
        assert_eq!(leaders, [4, 5, 6, 4, 5]);
        assert_eq!(rotated(&[4, 5, 6], 1), [5, 6, 4]);
        assert_eq!(rotated(&[], 1), [0; 0]);
    }
}
