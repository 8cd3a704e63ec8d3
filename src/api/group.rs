//! The APIs of groups, one file per key: 8, 9, 11–16, 42, 47. The rules of groups are in the coordinator.
//! These files turn requests into its commands, and its answers into responses.
//!
//! A request takes effect when it is handled. The response may still wait, for other members or for the
//! disk (rules W12, W19). COORDINATOR_LOAD_IN_PROGRESS is never returned (M8), because a broker that
//! still recovers has no listener yet.
//!
//! With virtual brokers, each group has one of the running brokers as its coordinator, and the others
//! return NOT_COORDINATOR. All of them share one coordinator, so a group that moves to another broker
//! loses nothing.

mod delete_groups;
mod describe_groups;
mod heartbeat;
mod join_group;
mod leave_group;
mod list_groups;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod sync_group;

use std::future::Future;
use std::net::IpAddr;

use super::context::Context;
use super::{Later, Reply};
use crate::coordinator::classic::GroupError;
use crate::storage::Topics;
use crate::types::NodeId;

/// The coordinator of a group: the running broker with the largest hash of broker and group. So a group
/// only moves if its coordinator stops, or if a broker starts that has a larger hash.
pub(super) fn coordinator_of(group: &str, topics: &Topics) -> Option<NodeId> {
    coordinator_among(group, topics.running())
}

fn coordinator_among(group: &str, running: &[NodeId]) -> Option<NodeId> {
    let weight = |node: &NodeId| {
        let seeded = crc32c::crc32c(&node.0.to_be_bytes());
        // A checksum alone would order the brokers in the same way for all groups.
        crc32c::crc32c_append(seeded, group.as_bytes()).wrapping_mul(0x9e37_79b1).rotate_left(15)
    };
    match running {
        [alone] => Some(*alone),
        running => running.iter().max_by_key(|node| (weight(node), **node)).copied(),
    }
}

/// Fails if this broker is not the group's coordinator.
fn coordinates(ctx: &Context, group: &str) -> Result<(), GroupError> {
    match coordinator_of(group, &ctx.services.store.topics()) == Some(ctx.node()) {
        true => Ok(()),
        false => Err(GroupError::NotCoordinator),
    }
}

/// A reply whose rest does not delay later requests of the connection.
fn later<T>(rest: impl Future<Output = T> + Send + 'static) -> Reply<T> {
    let rest: Later<T> = Box::pin(rest);
    Reply::Later(rest)
}

/// Waits for other members; `None` if the broker stops first.
async fn until_stopped<T>(ctx: &Context, answer: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        answer = answer => Some(answer),
        () = ctx.services.stopping.begun() => None,
    }
}

/// The error code of a result; 0 for success.
fn code(outcome: Result<(), GroupError>) -> i16 {
    match outcome {
        Ok(()) => 0,
        Err(error) => super::error::ErrorCode::from(error).code(),
    }
}

/// An address in Java's format, as Kafka's tools show members.
fn java_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("/{address}"),
        IpAddr::V6(address) => {
            let parts = address.segments().map(|part| format!("{part:x}"));
            format!("/{}", parts.join(":"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coordinators(running: &[i32], groups: u32) -> Vec<i32> {
        let running: Vec<NodeId> = running.iter().copied().map(NodeId).collect();
        let one = |group| coordinator_among(&format!("group-{group}"), &running).map_or(-1, |node| node.0);
        (0..groups).map(one).collect()
    }

    #[test]
    fn groups_are_spread_and_only_those_move_whose_coordinator_stops() {
        let all = coordinators(&[1, 2, 3], 300);
        for broker in 1..=3 {
            let share = all.iter().filter(|node| **node == broker).count();
            assert!((50..150).contains(&share), "{broker} has {share} of 300");
        }
        let left = coordinators(&[1, 3], 300);
        let stayed = |(before, after): (&i32, &i32)| *before == 2 || before == after;
        assert!(all.iter().zip(&left).all(stayed));
        assert_eq!(coordinators(&[], 1), [-1], "nobody is left");
    }

    #[test]
    fn addresses_are_shown_as_java_shows_them() {
        let shown = |address: &str| java_address(address.parse().unwrap());
        assert_eq!(shown("127.0.0.1"), "/127.0.0.1");
        assert_eq!(shown("::ffff:10.0.0.5"), "/10.0.0.5");
        assert_eq!(shown("::1"), "/0:0:0:0:0:0:0:1");
        assert_eq!(shown("fe80::a1:0"), "/fe80:0:0:0:0:0:a1:0");
    }
}
