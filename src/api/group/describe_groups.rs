//! DescribeGroups (key 15): the state and members of groups. A group that does not exist is "Dead",
//! without an error before v6. v3 has authorized operations, v4 instance ids.

use crate::api::context::{Context, NoGroup};
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply, Size, Weight};
use crate::coordinator::group::{Description, GroupError, MemberDescription};
use crate::protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroupMember,
    describe_groups_response::DescribedGroup,
};
use crate::security::operations::{NOT_ASKED, ON_GROUPS, Operation};
use crate::security::principal::Resource;

impl Handler for DescribeGroupsRequest {
    const GAPS: &'static [&'static str] = &[
        "An answer is limited to 7/8 of `jackdaw.answer.max.bytes`; groups beyond that are INVALID_REQUEST.",
    ];

    fn named(&self) -> usize {
        self.groups.len()
    }

    /// The memory of the groups is charged by [`allowed`].
    fn weigh(&self, size: Size, _: &Context) -> Weight {
        Weight::asked(size.echoed())
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeGroupsResponse> {
        let version = ctx.version;
        let allowed = allowed(&self.groups, &ctx).await;
        Reply::later(async move {
            let mut groups = Vec::with_capacity(self.groups.len());
            for (at, group) in self.groups.into_iter().enumerate() {
                let described = match ctx.group(&group, Operation::Describe) {
                    Err(NoGroup::Forbidden(forbidden)) => Err(forbidden.into()),
                    _ if at >= allowed => Err(ErrorCode::InvalidRequest),
                    Err(error) => Err(error.into()),
                    Ok(found) => match found.describe().await {
                        Ok(description) => Ok(Some(description)),
                        Err(GroupError::NoSuchGroup) => Ok(None),
                        Err(error) => Err(error.into()),
                    },
                };
                let operations = if self.include_authorized_operations {
                    ctx.allowed(ON_GROUPS, Resource::Group(&group))
                } else {
                    NOT_ASKED
                };
                groups.push(describe(group, described, version, operations));
            }
            DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() }
        })
    }
}

/// The number of groups that fit into the memory for the response. The memory is charged here.
async fn allowed(groups: &[String], ctx: &Context) -> usize {
    let mut bytes = 0;
    let mut allowed = 0;
    let quiet = ctx.quietly();
    for group in groups {
        // The collected description, including the data it shares with the group, and its encoded form.
        bytes += match quiet.group(group, Operation::Describe) {
            Ok(group) => 2 * group.weigh_description(),
            Err(_) => 0,
        };
        if bytes > ctx.room.left() && allowed > 0 {
            break;
        }
        allowed += 1;
    }
    ctx.room.hold(bytes.min(ctx.room.left())).await;
    allowed
}

fn describe(
    group_id: String,
    found: Result<Option<Description>, ErrorCode>,
    version: i16,
    operations: i32,
) -> DescribedGroup {
    let empty = DescribedGroup { group_id, ..DescribedGroup::default() };
    match found {
        Ok(Some(description)) => DescribedGroup {
            group_state: description.state.name().to_owned(),
            protocol_type: description.protocol_type.unwrap_or_default(),
            protocol_data: description.protocol.unwrap_or_default(),
            members: description.members.into_iter().map(member).collect(),
            authorized_operations: operations,
            ..empty
        },
        Ok(None) if version >= 6 => DescribedGroup {
            error_code: ErrorCode::GroupIdNotFound.code(),
            error_message: Some(format!("Group {} not found.", empty.group_id)),
            group_state: "Dead".to_owned(),
            ..empty
        },
        Ok(None) => {
            DescribedGroup { group_state: "Dead".to_owned(), authorized_operations: operations, ..empty }
        }
        Err(error) => DescribedGroup { error_code: error.code(), ..empty },
    }
}

fn member(member: MemberDescription) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: member.id,
        group_instance_id: member.instance,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: member.metadata.into_bytes(),
        member_assignment: member.assignment.into_bytes(),
    }
}
