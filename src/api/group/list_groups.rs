//! ListGroups (key 16): lists the groups. v4 adds states and a filter for them, v5 the same for types.
//! Filters ignore case, and an unknown value matches nothing.

use super::code;
use crate::api::context::Context;
use crate::api::{Handler, Reply, Size, Weight};
use crate::coordinator::GroupListing;
use crate::coordinator::group::GroupState;
use crate::protocol::messages::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

/// The only type of groups so far.
const CLASSIC: &str = "classic";

impl Handler for ListGroupsRequest {
    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        // The collected listing, the response, and its encoded form.
        Weight::asked(size.echoed()).and_held(3 * ctx.weigh_groups())
    }

    async fn handle(self, ctx: Context) -> Reply<ListGroupsResponse> {
        let all = ctx.list_groups();
        Reply::later(async move {
            match all.await {
                Ok(all) => {
                    // The filters are applied to each state only once: they may be long, and there may be
                    // many groups.
                    let is_of_type = matches(&self.types_filter, CLASSIC);
                    let mut states = GroupState::ALL.to_vec();
                    states.retain(|state| is_of_type && matches(&self.states_filter, state.name()));
                    let wanted = all.into_iter().filter(|group| states.contains(&group.state));
                    ListGroupsResponse {
                        groups: wanted.map(listed).collect(),
                        ..ListGroupsResponse::default()
                    }
                }
                Err(error) => {
                    ListGroupsResponse { error_code: code(Err(error)), ..ListGroupsResponse::default() }
                }
            }
        })
    }
}

/// An empty filter matches all values.
fn matches(filter: &[String], value: &str) -> bool {
    filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
}

fn listed(group: GroupListing) -> ListedGroup {
    ListedGroup {
        group_id: group.group,
        protocol_type: group.protocol_type.unwrap_or_default(),
        group_state: group.state.name().to_owned(),
        group_type: CLASSIC.to_owned(),
    }
}
