//! JoinGroup (key 11): a member asks to be in the next generation.
//! v1 adds a rebalance timeout, v4 confirms a newcomer's id first, v5 adds static members, v7 returns
//! the protocol type, v8 has a reason (for logs), v9 lets a leader keep the assignment.

use std::time::Duration;

use tracing::debug;

use super::{java_address, until_stopped};
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply, Size, Weight};
use crate::coordinator::group::{Join, JoinRefusal, Joined};
use crate::kernel::group::{MemberId, Opaque};
use crate::protocol::messages::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use crate::security::operations::Operation;

impl Handler for JoinGroupRequest {
    const GAPS: &'static [&'static str] = &[
        "A member may say 1 MiB of itself, over at most 64 protocols; more is INVALID_REQUEST.",
        "Of two protocols of one name the first counts; Kafka never answers who sends them.",
        "Of two requests of one member that wait at the same time, the earlier one is answered REBALANCE_IN_PROGRESS; Kafka never answers it.",
        "group.max.size is 5,000 unless it is set; there are at most 100,000 groups, of jackdaw.groups.max.bytes in all, and over that COORDINATOR_NOT_AVAILABLE.",
        "A broker that stops answers who waits with NOT_COORDINATOR.",
    ];

    /// Nothing is charged now: the request may wait for long, and its data then belongs to the group. See
    /// [`weigh`].
    fn weigh(&self, _: Size, _: &Context) -> Weight {
        Weight::LATER
    }

    async fn handle(self, mut ctx: Context) -> Reply<JoinGroupResponse> {
        let name = self.group_id.clone();
        if let Some(reason) = self.reason.as_deref().filter(|reason| !reason.is_empty()) {
            debug!(group = %name.escape_debug(), reason = %reason.escape_debug(), "a member joins");
        }
        let member_id = self.member_id.clone();
        let version = ctx.version;
        let answer = match ctx.group(&name, Operation::Read) {
            Ok(group) => group.join(join(self, &ctx)),
            Err(error) => return Reply::Now(fit(refused(error.into(), member_id), version)),
        };
        ctx.note_dropped_request();
        Reply::later(async move {
            match until_stopped(&ctx, answer).await {
                Some(Ok(joined)) => {
                    ctx.room.hold(weigh(&joined)).await;
                    fit(accepted(joined), version)
                }
                Some(Err(JoinRefusal { error, member })) => fit(refused(error.into(), member), version),
                None => fit(refused(ErrorCode::NotCoordinator, member_id), version),
            }
        })
    }
}

fn join(request: JoinGroupRequest, ctx: &Context) -> Join {
    let session_timeout = millis(request.session_timeout_ms);
    Join {
        member: Some(request.member_id).filter(|id| !id.is_empty()),
        instance: request.group_instance_id,
        confirms_its_id: ctx.version >= 4,
        can_skip_assignment: ctx.version >= 9,
        client_id: ctx.client_id.clone().unwrap_or_default(),
        client_host: java_address(ctx.connection.peer.ip()),
        session_timeout,
        rebalance_timeout: match ctx.version {
            0 => session_timeout,
            _ => millis(request.rebalance_timeout_ms),
        },
        protocol_type: request.protocol_type,
        protocols: request
            .protocols
            .into_iter()
            .map(|protocol| (protocol.name, Opaque::copy_of(&protocol.metadata)))
            .collect(),
    }
}

fn millis(sent: i32) -> Duration {
    Duration::from_millis(u64::try_from(sent).unwrap_or(0))
}

/// The memory for the leader's response, which has all members.
fn weigh(joined: &Joined) -> usize {
    const MEMBER: usize = 256;
    let members = joined.members.iter().map(|member| {
        let instance = member.instance.as_ref().map_or(0, String::len);
        MEMBER + 2 * (member.id.len() + instance + member.metadata.len())
    });
    members.sum()
}

fn accepted(joined: Joined) -> JoinGroupResponse {
    JoinGroupResponse {
        generation_id: joined.generation.0,
        protocol_type: joined.protocol_type,
        protocol_name: joined.protocol,
        leader: joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: joined.member,
        members: joined
            .members
            .into_iter()
            .map(|member| JoinGroupResponseMember {
                member_id: member.id,
                group_instance_id: member.instance,
                metadata: member.metadata.into_bytes(),
            })
            .collect(),
        ..JoinGroupResponse::default()
    }
}

fn refused(error: ErrorCode, member_id: MemberId) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: error.code(),
        protocol_name: None,
        member_id,
        ..JoinGroupResponse::default()
    }
}

/// Before v7 a missing protocol name is an empty string.
fn fit(mut answer: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    if version < 7 && answer.protocol_name.is_none() {
        answer.protocol_name = Some(String::new());
    }
    answer
}
