//! The APIs of access control lists (keys 29–31), one file per key. They are stored by the broker, and followed by the
//! authorizer if the settings have one; without one every request gets Kafka's answer (rules Z10, Z12).
//!
//! As in Kafka, a request with UNKNOWN in a required field closes its connection (rule Z8).

mod create_acls;
mod delete_acls;
mod describe_acls;

use crate::api::context::{Cluster, Context};
use crate::api::error::{ErrorCode, Refusal};
use crate::security::operations::Operation;

/// Kafka's number for UNKNOWN, in all numeric fields of a list or a filter.
const UNKNOWN: i8 = 0;

const CLOSED: &str = "an access control list or a filter with an UNKNOWN element";

/// The memory of a binding in an answer, beside its names: the decoded and the encoded entry.
const IN_ANSWER: usize = 256;

/// The cluster, for a client that may change access control lists.
fn changeable(ctx: &Context) -> Result<Cluster<'_>, Refusal> {
    let cluster = ctx.cluster_or_reason(Operation::Alter)?;
    if ctx.has_authorizer() {
        Ok(cluster)
    } else {
        Err(Refusal::new(ErrorCode::SecurityDisabled, "No Authorizer is configured."))
    }
}
