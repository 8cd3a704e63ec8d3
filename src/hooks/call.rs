//! The hooks by their paths: JSON in, JSON out.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::spawn;

use super::{Fault, FaultId, HookError, TestHooks};
use crate::coordinator::group::GroupState;
use crate::types::NodeId;

/// The longest wait of one call, less than the time limit of an HTTP connection. A test can call again.
const MOST_WAIT: Duration = Duration::from_secs(50);
const USUAL_WAIT: Duration = Duration::from_secs(10);

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Delete,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitForFault {
    fault: FaultId,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitForRecords {
    topic: String,
    records: u64,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitForGroup {
    group: String,
    #[serde(default = "stable")]
    state: String,
    members: Option<usize>,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitForNoLag {
    group: String,
    topic: Option<String>,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfGroup {
    group: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfMember {
    group: String,
    member: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTransactionalId {
    transactional_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfBroker {
    broker: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveLeader {
    topic: String,
    partition: i32,
    broker: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnClock {
    by_ms: u64,
}

fn stable() -> String {
    GroupState::Stable.name().to_owned()
}

/// Calls the hook at a path without its prefix, such as `faults`.
pub async fn call(hooks: &TestHooks, method: Method, path: &str, body: &[u8]) -> Result<Value, HookError> {
    match (method, path) {
        (Method::Get, "faults") => Ok(json!({ "faults": hooks.faults() })),
        (Method::Post, "faults") => {
            let fault = hooks.inject(read::<Fault>(body)?)?;
            Ok(json!({ "fault": fault }))
        }
        (Method::Delete, "faults") => {
            hooks.remove_all_faults();
            done()
        }
        (Method::Delete, path) => {
            let id = path.strip_prefix("faults/").ok_or(HookError::Unknown)?;
            let id: FaultId = read(id.as_bytes())?;
            Ok(json!({ "removed": hooks.remove_fault(id) }))
        }
        (Method::Post, "wait/fault") => {
            let WaitForFault { fault, timeout_ms } = read(body)?;
            hooks.wait_for_fault(fault, limit(timeout_ms)?).await?;
            done()
        }
        (Method::Post, "wait/records") => {
            let WaitForRecords { topic, records, timeout_ms } = read(body)?;
            let records = hooks.wait_for_records(&topic, records, limit(timeout_ms)?).await?;
            Ok(json!({ "records": records }))
        }
        (Method::Post, "wait/group") => {
            let WaitForGroup { group, state, members, timeout_ms } = read(body)?;
            hooks.wait_for_group(&group, &state, members, limit(timeout_ms)?).await?;
            done()
        }
        (Method::Post, "wait/no-lag") => {
            let WaitForNoLag { group, topic, timeout_ms } = read(body)?;
            hooks.wait_for_no_lag(&group, topic.as_deref(), limit(timeout_ms)?).await?;
            done()
        }
        (Method::Post, path) => {
            // In a task of its own, so that it is completed even if the client disconnects.
            let (hooks, path, body) = (hooks.clone(), path.to_owned(), body.to_vec());
            let ended = spawn(async move { act(&hooks, &path, &body).await }).await;
            let failed = |_| HookError::Refused("the action failed: this is a bug of the broker".to_owned());
            ended.map_err(failed)?
        }
        (Method::Get, _) => Err(HookError::Unknown),
    }
}

/// Does what happens to a cluster.
async fn act(hooks: &TestHooks, path: &str, body: &[u8]) -> Result<Value, HookError> {
    match path {
        "rebalance" => {
            let OfGroup { group } = read(body)?;
            hooks.rebalance(&group).await?;
        }
        "expire-session" => {
            let OfMember { group, member } = read(body)?;
            hooks.expire_session(&group, &member).await?;
        }
        "fence-producer" => {
            let OfTransactionalId { transactional_id } = read(body)?;
            hooks.fence_producer(&transactional_id).await?;
        }
        "abort-transaction" => {
            let OfTransactionalId { transactional_id } = read(body)?;
            hooks.abort_transaction(&transactional_id).await?;
        }
        "stop-broker" => {
            let OfBroker { broker } = read(body)?;
            hooks.stop_broker(NodeId(broker)).await?;
        }
        "start-broker" => {
            let OfBroker { broker } = read(body)?;
            hooks.start_broker(NodeId(broker)).await?;
        }
        "move-leader" => {
            let MoveLeader { topic, partition, broker } = read(body)?;
            hooks.move_leader(&topic, partition, NodeId(broker)).await?;
        }
        "fill-disk" => hooks.fill_disk(),
        "free-disk" => hooks.free_disk(),
        "turn-clock" => {
            let TurnClock { by_ms } = read(body)?;
            hooks.turn_clock(Duration::from_millis(by_ms)).await?;
        }
        _ => return Err(HookError::Unknown),
    }
    done()
}

fn done() -> Result<Value, HookError> {
    Ok(json!({}))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, HookError> {
    serde_json::from_slice(body).map_err(|error| HookError::Wrong(error.to_string()))
}

fn limit(timeout_ms: Option<u64>) -> Result<Duration, HookError> {
    let limit = timeout_ms.map_or(USUAL_WAIT, Duration::from_millis);
    if limit > MOST_WAIT {
        let most = MOST_WAIT.as_millis();
        return Err(HookError::Wrong(format!("timeout_ms is at most {most}; wait again after it")));
    }
    Ok(limit)
}
