//! LeaveGroup (key 13): members leave, or an administrator removes them.
//! Up to v2 the request has one member; since v3 several, also by instance id only. v5 has reasons (for
//! logs).

use tracing::debug;

use super::code;
use crate::api::context::Context;
use crate::api::{Handler, Reply};
use crate::coordinator::group::{Identity, Leaver};
use crate::protocol::messages::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};
use crate::security::operations::Operation;

impl Handler for LeaveGroupRequest {
    async fn handle(self, ctx: Context) -> Reply<LeaveGroupResponse> {
        let version = ctx.version;
        let group = match ctx.group(&self.group_id, Operation::Read) {
            Ok(group) => group,
            Err(error) => {
                let error_code = code(Err(error));
                return Reply::Now(LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() });
            }
        };
        let asked = match version {
            0..=2 => vec![MemberIdentity { member_id: self.member_id, ..MemberIdentity::default() }],
            _ => self.members,
        };
        if let Some(reason) = asked.first().and_then(|first| first.reason.as_deref()) {
            debug!(group = %self.group_id.escape_debug(), reason = %reason.escape_debug(), "members leave");
        }
        let leaving = group.leave(asked.iter().map(leaver).collect());
        Reply::later(async move {
            let mut answer = LeaveGroupResponse::default();
            match leaving.await {
                Err(error) => answer.error_code = code(Err(error)),
                Ok(left) if version <= 2 => answer.error_code = left.into_iter().map(code).sum(),
                Ok(left) => {
                    let members = asked.into_iter().zip(left).map(|(member, left)| MemberResponse {
                        member_id: member.member_id,
                        group_instance_id: member.group_instance_id,
                        error_code: code(left),
                    });
                    answer.members = members.collect();
                }
            }
            answer
        })
    }
}

fn leaver(asked: &MemberIdentity) -> Leaver {
    match (asked.member_id.as_str(), asked.group_instance_id.clone()) {
        ("", None) => Leaver::Nobody,
        ("", Some(instance)) => Leaver::Instance(instance),
        (member, instance) => Leaver::Member(Identity { member: member.to_owned(), instance }),
    }
}
