//! The APIs of access control lists (keys 29–31), one file per key. There is no authorizer yet, so
//! nothing is stored. Every request gets Kafka's answer for a broker without one (rules Z10, Z12).

//! As in Kafka, a request with UNKNOWN in a required field closes its connection (rule Z8).

mod create_acls;
mod delete_acls;
mod describe_acls;

use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::operations::Operation;

/// Kafka's number for UNKNOWN, in all numeric fields of a list or a filter.
const UNKNOWN: i8 = 0;

const CLOSED: &str = "an access control list or a filter with an UNKNOWN element";

/// The refusal of every change.
fn refusal_of_a_change(ctx: &Context) -> Refusal {
    match ctx.cluster(Operation::Alter) {
        Ok(_) => Refusal::new(ErrorCode::SecurityDisabled, "No Authorizer is configured."),
        Err(forbidden) => forbidden.into(),
    }
}
