//! Actions on groups: a rebalance, and members whose sessions end.

use super::{HookError, TestHooks, refused};
use crate::coordinator::group::{Description, GroupError, Identity, Leaver};

impl TestHooks {
    /// Makes all members of a group join again. They learn of it with their next heartbeat. A rebalance that is under way
    /// goes on.
    pub async fn rebalance(&self, group: &str) -> Result<(), HookError> {
        self.coordinators.groups.rebalance(group).await.map_err(|error| refusal(group, error))
    }

    /// Ends the session of a member, as if it had sent no heartbeat for its session timeout: its partitions get other
    /// owners, and its next request fails. `member` is its member id, its `group.instance.id` or its client id; a client
    /// id may be that of several members.
    pub async fn expire_session(&self, group: &str, member: &str) -> Result<(), HookError> {
        let groups = &self.coordinators.groups;
        let found = groups.describe(group).await.map_err(|error| refusal(group, error))?;
        let leavers = leavers(&found, member);
        if leavers.is_empty() {
            return Err(HookError::Refused(format!("the group {group} has no member {member}")));
        }
        // One that has left since is gone, too.
        groups.leave(group, leavers).await.map(drop).map_err(|error| refusal(group, error))
    }
}

fn leavers(group: &Description, member: &str) -> Vec<Leaver> {
    let meant = group.members.iter().filter(|known| {
        [Some(&known.id), known.instance.as_ref(), Some(&known.client_id)]
            .into_iter()
            .flatten()
            .any(|name| name == member)
    });
    meant.map(|known| Leaver::Member(Identity { member: known.id.clone(), instance: None })).collect()
}

fn refusal(group: &str, error: GroupError) -> HookError {
    match error {
        GroupError::NoSuchGroup => HookError::Refused(format!("the group {group} does not exist")),
        GroupError::UnknownMember => HookError::Refused(format!("the group {group} has no members")),
        other => refused(other.into()),
    }
}
