//! ElectLeaders (key 43): makes the first replica of a partition the leader again (a preferred election),
//! or a replica that may have missed records (an unclean one). v1 has the type of the election.

use crate::api::context::{Context, TopicRef, TopicView};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::queued::{self, QueuedChange};
use crate::api::{Handler, Reply, Size, Weight, replicas};
use crate::protocol::messages::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
    elect_leaders_request::TopicPartitions,
};
use crate::security::operations::Operation;
use crate::storage::StoreError;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Election {
    Preferred,
    Unclean,
}

impl Handler for ElectLeadersRequest {
    const GAPS: &'static [&'static str] = &[
        "`unclean.leader.election.enable` has its effect as soon as it is set; Kafka checks every five minutes.",
        "A partition without a leader keeps its eligible leader replicas when `min.insync.replicas` is raised; Kafka removes them, and no replica can become leader.",
    ];

    fn named(&self) -> usize {
        let topics = self.topic_partitions.iter().flatten();
        topics.map(|topic| 1 + topic.partitions.len()).sum()
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        let all = || replicas::weigh_all(ctx);
        Weight::asked(size.echoed()).and_held(if self.topic_partitions.is_none() { all() } else { 0 })
    }

    async fn handle(self, ctx: Context) -> Reply<ElectLeadersResponse> {
        let topics = match ctx.cluster_or_reason(Operation::Alter) {
            Ok(cluster) => cluster.topics(),
            Err(refusal) => return Reply::Now(refuse(self, refusal)),
        };
        let election = match self.election_type {
            0 => Election::Preferred,
            1 => Election::Unclean,
            other => {
                let why = format!("Unknown election type {other}");
                return Reply::Now(refuse(self, Refusal::new(ErrorCode::InvalidRequest, why)));
            }
        };
        // As in Kafka, a request with a timeout of 0 or less starts nothing.
        if self.timeout_ms <= 0 {
            return Reply::Now(refuse(self, ErrorCode::RequestTimedOut.into()));
        }
        // A request for all partitions only gets results for partitions that needed an election.
        let (asked, all) = match self.topic_partitions {
            Some(asked) => (asked, false),
            None => (everything(&topics), true),
        };
        // All are queued before the first wait, so that they share a sync.
        let begun: Vec<_> = asked
            .into_iter()
            .map(|TopicPartitions { topic, partitions }| {
                let elections = partitions
                    .into_iter()
                    .map(|index| (index, begin(&topics, &topic, index, election, &ctx)));
                let elections: Vec<_> = elections.collect();
                (topic, elections)
            })
            .collect();
        let mut answer = ElectLeadersResponse::default();
        for (topic, elections) in begun {
            let mut partition_result = Vec::with_capacity(elections.len());
            for (partition_id, outcome) in queued::outcomes(elections).await {
                let refusal = outcome.err().unwrap_or_else(|| ErrorCode::None.into());
                if all && refusal.code == ErrorCode::ElectionNotNeeded {
                    continue;
                }
                let (error_code, error_message) = (refusal.code.code(), refusal.message);
                partition_result.push(PartitionResult { partition_id, error_code, error_message });
            }
            answer.replica_election_results.push(ReplicaElectionResult { topic, partition_result });
        }
        Reply::Now(answer)
    }
}

fn everything(topics: &TopicView) -> Vec<TopicPartitions> {
    let all = topics.visible(Operation::Describe).map(|topic| TopicPartitions {
        topic: topic.name.to_string(),
        partitions: topic.partitions.iter().map(|partition| partition.index).collect(),
    });
    all.collect()
}

fn begin(topics: &TopicView, name: &str, index: i32, election: Election, ctx: &Context) -> QueuedChange {
    let unknown = |why| Refusal::new(ErrorCode::UnknownTopicOrPartition, why);
    let topic = topics.topic(TopicRef::Name(name), Operation::Describe);
    let topic = topic.map_err(|_| unknown(format!("No such topic as {name}")))?;
    let placement =
        topic.placement(index).ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
    let is_needed = match election {
        Election::Preferred => {
            placement.leader.is_none() || placement.leader != placement.replicas.first().copied()
        }
        Election::Unclean => placement.leader.is_none(),
    };
    if !is_needed {
        let why = "Leader election not needed for topic partition.";
        return Err(Refusal::new(ErrorCode::ElectionNotNeeded, why));
    }
    Ok(match election {
        Election::Preferred => Box::pin(outcome(ctx.elect_preferred(topic, index))),
        Election::Unclean => Box::pin(outcome(ctx.elect_unclean(topic, index))),
    })
}

/// The result with Kafka's messages. It is no error if the right broker already leads.
async fn outcome(elected: impl Future<Output = Result<bool, StoreError>>) -> Result<(), Refusal> {
    let Err(error) = elected.await else { return Ok(()) };
    Err(match ErrorCode::from(&error) {
        code @ ErrorCode::PreferredLeaderNotAvailable => {
            Refusal::new(code, "The preferred leader was not available.")
        }
        code @ ErrorCode::EligibleLeadersNotAvailable => {
            Refusal::new(code, "Eligible topic partition leaders are not available.")
        }
        other => other.into(),
    })
}

/// The same error for all partitions in the request.
fn refuse(request: ElectLeadersRequest, refusal: Refusal) -> ElectLeadersResponse {
    let topics = request.topic_partitions.into_iter().flatten().map(|topic| ReplicaElectionResult {
        topic: topic.topic,
        partition_result: topic
            .partitions
            .into_iter()
            .map(|partition_id| PartitionResult {
                partition_id,
                error_code: refusal.code.code(),
                error_message: refusal.message.clone(),
            })
            .collect(),
    });
    ElectLeadersResponse {
        error_code: refusal.code.code(),
        replica_election_results: topics.collect(),
        ..ElectLeadersResponse::default()
    }
}
