//! ListGroups (key 16): the groups there are. v4 tells states and asks for some of them only, v5 the
//! same for types; both in any case of letters, and what nobody knows matches nothing.

use super::{code, coordinates, later};
use crate::api::context::Context;
use crate::api::{Handler, Reply, Size, Weight};
use crate::coordinator::GroupListing;
use crate::protocol::messages::list_groups_request::ListGroupsRequest;
use crate::protocol::messages::list_groups_response::{ListGroupsResponse, ListedGroup};

/// The only type of groups so far.
const CLASSIC: &str = "classic";

impl Handler for ListGroupsRequest {
    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        // As it is collected, as it is answered, and encoded.
        Weight::asked(size.echoed()).and_held(3 * ctx.services.groups.weigh_list())
    }

    async fn handle(self, ctx: Context) -> Reply<ListGroupsResponse> {
        let all = ctx.services.groups.list();
        later(async move {
            match all.await {
                Ok(all) => {
                    let wanted = all.into_iter().filter(|group| {
                        coordinates(&ctx, &group.group).is_ok()
                            && matches(&self.states_filter, group.state.name())
                            && matches(&self.types_filter, CLASSIC)
                    });
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

/// No filter lets everything through.
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
