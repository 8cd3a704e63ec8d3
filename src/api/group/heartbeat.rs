//! Heartbeat (key 12): a member is alive, and learns whether it is to join again.
//! v3 knows static members.

use super::{code, later};
use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::coordinator::classic::{Heartbeat, Identity};
use crate::kernel::group::Generation;
use crate::protocol::messages::heartbeat_request::HeartbeatRequest;
use crate::protocol::messages::heartbeat_response::HeartbeatResponse;

impl Handler for HeartbeatRequest {
    async fn handle(self, ctx: Context) -> Reply<HeartbeatResponse> {
        let who = Identity { member: self.member_id, instance: self.group_instance_id };
        let beat = Heartbeat { who, generation: Generation(self.generation_id) };
        let answer = ctx.services.groups.heartbeat(&self.group_id, beat);
        later(
            async move { HeartbeatResponse { error_code: code(answer.await), ..HeartbeatResponse::default() } },
        )
    }
}
