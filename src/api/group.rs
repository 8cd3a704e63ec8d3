//! The APIs of groups, one file per key: 8, 9, 11–16, 42, 47. The rules of groups are in the coordinator.
//! These files turn requests into its commands, and its answers into responses.
//!
//! A request takes effect when it is handled. The response may still wait, for other members or for the
//! disk (rules W12, W19). COORDINATOR_LOAD_IN_PROGRESS is never returned (M8), because a broker that
//! still recovers has no listener yet.

mod delete_groups;
mod describe_groups;
mod heartbeat;
mod join_group;
mod leave_group;
mod list_groups;
pub mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod sync_group;

use std::future::Future;
use std::net::IpAddr;

use super::context::Context;
use super::error::ErrorCode;

/// Waits for other members; `None` if the broker stops first.
async fn until_stopped<T>(ctx: &Context, answer: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        answer = answer => Some(answer),
        () = ctx.services.stopping.begun() => None,
    }
}

/// The error code of a result; 0 for success.
fn code(outcome: Result<(), impl Into<ErrorCode>>) -> i16 {
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            let error: ErrorCode = error.into();
            error.code()
        }
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

    #[test]
    fn addresses_are_shown_as_java_shows_them() {
        let shown = |address: &str| java_address(address.parse().unwrap());
        assert_eq!(shown("127.0.0.1"), "/127.0.0.1");
        assert_eq!(shown("::ffff:10.0.0.5"), "/10.0.0.5");
        assert_eq!(shown("::1"), "/0:0:0:0:0:0:0:1");
        assert_eq!(shown("fe80::a1:0"), "/fe80:0:0:0:0:0:a1:0");
    }
}
