//! Heartbeat (key 12): keeps a member's session alive and tells it when to rejoin.
//! v3 adds static members.

use super::code;
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::coordinator::group::{Heartbeat, Identity};
use crate::kernel::group::Generation;
use crate::protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use crate::security::operations::Operation;

impl Handler for HeartbeatRequest {
    async fn handle(self, ctx: Context) -> Reply<HeartbeatResponse> {
        let group = match ctx.group(&self.group_id, Operation::Read) {
            Ok(group) => group,
            Err(error) => return Reply::Now(answer(Err(error))),
        };
        let member = self.member_id.clone();
        let who = Identity { member: self.member_id, instance: self.group_instance_id };
        let beat = Heartbeat { who, generation: Generation(self.generation_id) };
        let beaten = group.heartbeat(beat);
        Reply::later(async move {
            let beaten = beaten.await;
            if beaten.is_ok() {
                ctx.note_member(&self.group_id, &member);
            }
            answer(beaten)
        })
    }
}

fn answer(beaten: Result<(), impl Into<ErrorCode>>) -> HeartbeatResponse {
    HeartbeatResponse { error_code: code(beaten), ..HeartbeatResponse::default() }
}
