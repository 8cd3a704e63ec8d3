//! `jackdaw cluster`: the brokers of a cluster, its controllers, features, APIs and log directories.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::answers::Refusals;
use super::brokers::Brokers;
use super::peer::reason;
use super::table::Table;
use super::{CommandOutcome, Connect, Exit, Failure, Output, Session, run, shown};
use crate::protocol::messages::describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
use crate::protocol::messages::describe_quorum_response::PartitionData as Quorum;
use crate::protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, DescribeLogDirsRequest, KafkaApi,
};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the id of the cluster, its controller and its brokers
    #[command(after_help = "Example:\n  jackdaw cluster describe")]
    Describe,
    /// List the features of the cluster with their levels
    #[command(after_help = "Example:\n  jackdaw cluster features")]
    Features,
    /// List the requests that a broker answers, with their versions
    #[command(after_help = "Example:\n  jackdaw cluster apis --broker 1")]
    Apis {
        /// The id of the broker [default: the bootstrap broker]
        #[arg(long, value_name = "ID")]
        broker: Option<i32>,
    },
    /// List log directories, with the sizes of their replicas
    #[command(after_help = "Example:\n  jackdaw cluster log-dirs --broker 1 --replicas")]
    LogDirs {
        /// Only those of this broker; may be repeated
        #[arg(long = "broker", value_name = "ID")]
        brokers: Vec<i32>,
        /// Show each replica instead of sums
        #[arg(long)]
        replicas: bool,
    },
    /// Show the controllers of the metadata quorum, with the lag of each behind the leader
    #[command(after_help = "Example:\n  jackdaw cluster quorum")]
    Quorum,
}

pub fn execute(options: Options) -> Exit {
    let Options { connect, command } = options;
    run(&connect, |session, out| {
        let mut brokers = Brokers::of(session)?;
        match command {
            Command::Describe => describe(session, &mut brokers, out),
            Command::Features => features(session, &mut brokers, out),
            Command::Apis { broker } => apis(session, &mut brokers, broker, out),
            Command::LogDirs { brokers: only, replicas } => {
                let only = if only.is_empty() { brokers.ids() } else { only };
                log_dirs(session, &mut brokers, &only, replicas, out)
            }
            Command::Quorum => quorum(session, &mut brokers, out),
        }
    })
}

fn describe(session: &Session, brokers: &mut Brokers<'_>, out: &mut Output<'_>) -> CommandOutcome {
    let controller = brokers.controller;
    let request =
        DescribeClusterRequest { include_fenced_brokers: true, ..DescribeClusterRequest::default() };
    let mut answer = brokers.any().call(0..=2, &request)?;
    if answer.error_code != 0 {
        return Err(Failure::Refused(reason(answer.error_code, answer.error_message)));
    }
    let controller = Some(answer.controller_id).filter(|id| *id >= 0).or(controller);
    answer.brokers.sort_by_key(|broker| broker.broker_id);
    let mut table = Table::new(&["broker", "host", "port", "rack", "state"]);
    for broker in answer.brokers {
        let state = if broker.is_fenced { "fenced" } else { "running" };
        table.row([
            json!(broker.broker_id),
            json!(broker.host),
            json!(broker.port),
            json!(broker.rack),
            json!(state),
        ]);
    }
    if session.json() {
        let cluster =
            json!({ "cluster_id": answer.cluster_id, "controller": controller, "brokers": table.json() });
        writeln!(out, "{cluster}")?;
        return Ok(());
    }
    let controller = controller.map_or("none".to_owned(), |id| id.to_string());
    writeln!(out, "cluster {}, controller {controller}", shown(&answer.cluster_id))?;
    Ok(table.print(false, out)?)
}

/// ApiVersions of the version that has features.
fn api_versions(brokers: &mut Brokers<'_>, broker: Option<i32>) -> CommandOutcome<ApiVersionsResponse> {
    let request = ApiVersionsRequest {
        client_software_name: "jackdaw".to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..ApiVersionsRequest::default()
    };
    let broker = match broker {
        Some(id) => brokers.broker(id)?,
        None => brokers.any(),
    };
    let answer = broker.call(3..=4, &request)?;
    broker.accept(answer.error_code)?;
    Ok(answer)
}

fn features(session: &Session, brokers: &mut Brokers<'_>, out: &mut Output<'_>) -> CommandOutcome {
    let mut answer = api_versions(brokers, None)?;
    answer.supported_features.sort_by(|one, other| one.name.cmp(&other.name));
    let mut table = Table::new(&["feature", "level", "lowest", "highest"]);
    for feature in answer.supported_features {
        let finalized = answer.finalized_features.iter().find(|known| known.name == feature.name);
        // A feature that is not in use has level 0.
        let level = finalized.map_or(0, |known| known.max_version_level);
        table.row([
            json!(feature.name),
            json!(level),
            json!(feature.min_version),
            json!(feature.max_version),
        ]);
    }
    Ok(table.print(session.json(), out)?)
}

fn apis(
    session: &Session,
    brokers: &mut Brokers<'_>,
    broker: Option<i32>,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let mut answer = api_versions(brokers, broker)?;
    answer.api_keys.sort_by_key(|api| api.api_key);
    let mut table = Table::new(&["key", "request", "first", "last"]);
    for api in answer.api_keys {
        let name = KafkaApi::find(api.api_key).map(|known| known.name);
        table.row([json!(api.api_key), json!(name), json!(api.min_version), json!(api.max_version)]);
    }
    Ok(table.print(session.json(), out)?)
}

fn log_dirs(
    session: &Session,
    brokers: &mut Brokers<'_>,
    only: &[i32],
    replicas: bool,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let mut sums =
        Table::new(&["broker", "log_dir", "replicas", "bytes", "disk_bytes", "free_bytes", "error"]);
    let mut each = Table::new(&["broker", "log_dir", "topic", "partition", "bytes", "lag", "is_future"]);
    let mut refusals = Refusals::default();
    for id in only {
        let described = brokers.broker(*id).and_then(|broker| {
            let answer = broker.call(1..=4, &DescribeLogDirsRequest { topics: None })?;
            broker.accept(answer.error_code)?;
            Ok(answer.results)
        });
        for dir in refusals.keep(described)?.into_iter().flatten() {
            let (mut count, mut bytes) = (0, 0);
            for topic in &dir.topics {
                for replica in &topic.partitions {
                    (count, bytes) = (count + 1, bytes + replica.partition_size);
                    each.row([
                        json!(id),
                        json!(dir.log_dir),
                        json!(topic.name),
                        json!(replica.partition_index),
                        json!(replica.partition_size),
                        json!(replica.offset_lag),
                        json!(replica.is_future_key),
                    ]);
                }
            }
            let known = |bytes: i64| (bytes >= 0).then_some(bytes);
            sums.row([
                json!(id),
                json!(dir.log_dir),
                json!(count),
                json!(bytes),
                json!(known(dir.total_bytes)),
                json!(known(dir.usable_bytes)),
                json!((dir.error_code != 0).then(|| reason(dir.error_code, None))),
            ]);
        }
    }
    let table = if replicas { each } else { sums };
    refusals.end_with(&table, session.json(), out)
}

/// The topic with the metadata of the cluster.
const METADATA: &str = "__cluster_metadata";

fn quorum(session: &Session, brokers: &mut Brokers<'_>, out: &mut Output<'_>) -> CommandOutcome {
    let topic =
        TopicData { topic_name: METADATA.to_owned(), partitions: vec![PartitionData { partition_index: 0 }] };
    let broker = brokers.any();
    let answer = broker.call(0..=2, &DescribeQuorumRequest { topics: vec![topic] })?;
    broker.accept_with(answer.error_code, answer.error_message)?;
    let found = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let found = found.ok_or_else(|| broker.refused("it describes nothing"))?;
    broker.accept_with(found.error_code, found.error_message.clone())?;
    let nodes = replicas_of(&found);
    if session.json() {
        let quorum = json!({
            "leader": found.leader_id,
            "epoch": found.leader_epoch,
            "high_watermark": found.high_watermark,
            "replicas": nodes.json(),
        });
        writeln!(out, "{quorum}")?;
        return Ok(());
    }
    let Quorum { leader_id, leader_epoch, high_watermark, .. } = found;
    writeln!(out, "leader {leader_id}, epoch {leader_epoch}, high watermark {high_watermark}")?;
    Ok(nodes.print(false, out)?)
}

/// The voters and the observers, each with how far it is behind the leader.
fn replicas_of(quorum: &Quorum) -> Table {
    let all = || quorum.current_voters.iter().chain(&quorum.observers);
    let leader_end = all().find(|node| node.replica_id == quorum.leader_id).map(|node| node.log_end_offset);
    let voters = quorum.current_voters.iter().map(|node| (node, "voter"));
    let observers = quorum.observers.iter().map(|node| (node, "observer"));
    let mut table =
        Table::new(&["node", "directory", "role", "end_offset", "lag", "last_fetch_ms", "last_caught_up_ms"]);
    for (node, role) in voters.chain(observers) {
        let role = if node.replica_id == quorum.leader_id { "leader" } else { role };
        let known = |number: i64| (number >= 0).then_some(number);
        let lag =
            leader_end.map(|end| (end - node.log_end_offset).max(0)).filter(|_| node.log_end_offset >= 0);
        table.row([
            json!(node.replica_id),
            json!((!node.replica_directory_id.is_zero()).then(|| node.replica_directory_id.to_string())),
            json!(role),
            json!(known(node.log_end_offset)),
            json!(lag),
            json!(known(node.last_fetch_timestamp)),
            json!(known(node.last_caught_up_timestamp)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::describe_quorum_response::ReplicaState;

    #[test]
    fn controllers_and_brokers_are_shown_with_what_they_lag_behind_the_leader() {
        let node = |replica_id, log_end_offset| ReplicaState {
            replica_id,
            log_end_offset,
            ..ReplicaState::default()
        };
        let quorum = Quorum {
            leader_id: 2,
            current_voters: vec![node(1, 90), node(2, 100)],
            observers: vec![node(7, -1)],
            ..Quorum::default()
        };
        let rows = replicas_of(&quorum).json();
        let of = |at: usize| (rows[at]["node"].clone(), rows[at]["role"].clone(), rows[at]["lag"].clone());
        assert_eq!(of(0), (json!(1), json!("voter"), json!(10)));
        assert_eq!(of(1), (json!(2), json!("leader"), json!(0)));
        assert_eq!(of(2), (json!(7), json!("observer"), json!(null)));
    }
}
