//! Heartbeat (key 12): keeps a member's session alive and tells it when to rejoin.
//! v3 adds static members.

use super::{code, coordinates, later};
use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::coordinator::classic::{GroupError, Heartbeat, Identity};
use crate::kernel::group::Generation;
use crate::protocol::messages::heartbeat_request::HeartbeatRequest;
use crate::protocol::messages::heartbeat_response::HeartbeatResponse;

impl Handler for HeartbeatRequest {
    async fn handle(self, ctx: Context) -> Reply<HeartbeatResponse> {
        if let Err(error) = coordinates(&ctx, &self.group_id) {
            return Reply::Now(answer(Err(error)));
        }
        let who = Identity { member: self.member_id, instance: self.group_instance_id };
        let beat = Heartbeat { who, generation: Generation(self.generation_id) };
        let beaten = ctx.services.groups.heartbeat(&self.group_id, beat);
        later(async move { answer(beaten.await) })
    }
}

fn answer(beaten: Result<(), GroupError>) -> HeartbeatResponse {
    HeartbeatResponse { error_code: code(beaten), ..HeartbeatResponse::default() }
}
