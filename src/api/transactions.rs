//! The refusal of transactional producers, until there are transactions.
//!
//! The error code must make the producer of every client fail. librdkafka retries the coordinator look-up
//! for ever after any code but CLUSTER_AUTHORIZATION_FAILED and TRANSACTIONAL_ID_AUTHORIZATION_FAILED.
//! After the latter, Java shows its own text instead of the message in the response, so the former is
//! used.

use tracing::warn;

use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::telemetry::Shown;

/// For `docs/apis.md`.
pub const GAP: &str = "A transactional id is CLUSTER_AUTHORIZATION_FAILED, the code that makes the producer of every client fail: no transactions yet.";

/// Refuses a transactional producer, and logs its client.
pub fn refuse(transactional_id: &str, ctx: &Context) -> Refusal {
    let software = ctx.connection.software.get();
    let (client, version) =
        software.map_or(("unknown", ""), |software| (software.name.as_str(), software.version.as_str()));
    warn!(
        peer = %ctx.connection.peer,
        client = %Shown(client),
        version = %Shown(version),
        client_id = %Shown(ctx.client_id.as_deref().unwrap_or_default()),
        transactional_id = %Shown(transactional_id),
        "a transactional producer was refused, because there are no transactions yet; \
         remove its transactional id"
    );
    Refusal::new(ErrorCode::ClusterAuthorizationFailed, "this broker has no transactions yet")
}
