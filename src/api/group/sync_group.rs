//! SyncGroup (key 14): the leader sends the assignments, and every member gets its own.
//! v3 adds static members; since v5 a member has to send the protocol.

use super::until_stopped;
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply, Size, Weight};
use crate::coordinator::group::{Identity, Sync};
use crate::kernel::group::{Generation, Opaque};
use crate::protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use crate::security::operations::Operation;

impl Handler for SyncGroupRequest {
    const GAPS: &'static [&'static str] = &[
        "A consumer that its leader gave nothing gets an assignment of no partitions; Kafka gives it no bytes at all.",
        "A group whose members say more than 1 MB together gets its assignment; Kafka cannot store it in one record and says UNKNOWN_SERVER_ERROR.",
    ];

    /// Nothing is charged now: the request may wait for long, and its data then belongs to the group. The
    /// response shares its bytes with the group.
    fn weigh(&self, _: Size, _: &Context) -> Weight {
        Weight::LATER
    }

    async fn handle(self, mut ctx: Context) -> Reply<SyncGroupResponse> {
        let says_what_it_means = self.protocol_type.is_some() && self.protocol_name.is_some();
        if ctx.version >= 5 && !says_what_it_means {
            return Reply::Now(refused(ErrorCode::InconsistentGroupProtocol));
        }
        let group = match ctx.group(&self.group_id, Operation::Read) {
            Ok(group) => group,
            Err(error) => return Reply::Now(refused(error.into())),
        };
        let member = self.member_id.clone();
        let sync = Sync {
            who: Identity { member: self.member_id, instance: self.group_instance_id },
            generation: Generation(self.generation_id),
            protocol_type: self.protocol_type,
            protocol: self.protocol_name,
            assignments: self
                .assignments
                .into_iter()
                .map(|given| (given.member_id, Opaque::copy_of(&given.assignment)))
                .collect(),
        };
        let answer = group.sync(sync);
        ctx.note_dropped_request();
        Reply::later(async move {
            match until_stopped(&ctx, answer).await {
                Some(Ok(synced)) => {
                    ctx.note_member(&self.group_id, &member);
                    SyncGroupResponse {
                        protocol_type: synced.protocol_type,
                        protocol_name: synced.protocol,
                        assignment: synced.assignment.into_bytes(),
                        ..SyncGroupResponse::default()
                    }
                }
                Some(Err(error)) => refused(error.into()),
                None => refused(ErrorCode::NotCoordinator),
            }
        })
    }
}

fn refused(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() }
}
