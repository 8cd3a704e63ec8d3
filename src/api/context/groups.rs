//! Groups as one principal sees them.
//!
//! With virtual brokers, each group has one of the running brokers as its coordinator, and the others return
//! NOT_COORDINATOR. All of them share one coordinator, so a group that moves to another broker loses nothing.

use std::future::Future;

use super::Context;
use crate::coordinator::group::{
    Commit, Description, Each, GroupError, Heartbeat, Join, JoinRefusal, Joined, Leaver, OffsetToDelete,
    Sync, Synced,
};
use crate::coordinator::{GroupListing, Groups};
use crate::kernel::offsets::Offsets;
use crate::security::operations::Operation;
use crate::security::principal::{Forbidden, Resource};
use crate::types::NodeId;

/// The reason why a client does not get a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoGroup {
    Forbidden(Forbidden),
    /// Another broker coordinates the group.
    NotCoordinator,
}

/// A group name that the client may use here. A group with that name need not exist.
pub struct Group<'a> {
    name: &'a str,
    groups: &'a Groups,
}

impl Context {
    pub fn group<'a>(&'a self, name: &'a str, operation: Operation) -> Result<Group<'a>, NoGroup> {
        self.authorize(operation, Resource::Group(name))?;
        match self.coordinator_of(name) {
            Some(node) if node == self.node() => Ok(Group { name, groups: &self.services.groups }),
            Some(_) | None => Err(NoGroup::NotCoordinator),
        }
    }

    /// The broker that coordinates a group; `None` if no broker is running.
    pub fn find_coordinator(&self, group: &str) -> Result<Option<NodeId>, Forbidden> {
        self.authorize(Operation::Describe, Resource::Group(group))?;
        Ok(self.coordinator_of(group))
    }

    /// The groups that this broker coordinates, ordered by name. With the right to describe the cluster all of
    /// them, else those that the client may describe.
    pub fn list_groups(&self) -> impl Future<Output = Result<Vec<GroupListing>, GroupError>> + Send + use<> {
        let (listing, viewer) = (self.services.groups.list(), self.viewer());
        async move {
            let mut all = listing.await?;
            let here = viewer.services.cluster.node_id;
            let topics = viewer.services.store.topics();
            let may_describe = |what: Resource<'_>| viewer.may(Operation::Describe, what);
            let sees_all = may_describe(Resource::Cluster);
            all.retain(|GroupListing { group, .. }| {
                coordinator_among(group, topics.running()) == Some(here)
                    && (sees_all || may_describe(Resource::Group(group)))
            });
            Ok(all)
        }
    }

    /// The maximum memory that [`Context::list_groups`] would take now.
    pub fn weigh_groups(&self) -> usize {
        self.services.groups.weigh_list()
    }

    /// The right to use a group, whichever broker coordinates it.
    pub fn may_use_group(&self, name: &str, operation: Operation) -> Result<(), Forbidden> {
        self.authorize(operation, Resource::Group(name))
    }

    fn coordinator_of(&self, group: &str) -> Option<NodeId> {
        coordinator_among(group, self.services.store.topics().running())
    }
}

impl<'a> Group<'a> {
    /// Its name and the handle of all groups, for the other files of the door.
    pub(super) fn parts(&self) -> (&'a str, &'a Groups) {
        (self.name, self.groups)
    }
}

impl Group<'_> {
    pub fn join(&self, join: Join) -> impl Future<Output = Result<Joined, JoinRefusal>> + Send + use<> {
        self.groups.join(self.name, join)
    }

    pub fn sync(&self, sync: Sync) -> impl Future<Output = Result<Synced, GroupError>> + Send + use<> {
        self.groups.sync(self.name, sync)
    }

    pub fn heartbeat(&self, beat: Heartbeat) -> impl Future<Output = Result<(), GroupError>> + Send + use<> {
        self.groups.heartbeat(self.name, beat)
    }

    pub fn leave(
        &self,
        leavers: Vec<Leaver>,
    ) -> impl Future<Output = Result<Each, GroupError>> + Send + use<> {
        self.groups.leave(self.name, leavers)
    }

    pub fn commit(&self, commit: Commit) -> impl Future<Output = Result<Each, GroupError>> + Send + use<> {
        self.groups.commit(self.name, commit)
    }

    /// The committed offsets; none if the group does not exist.
    pub fn offsets(&self) -> impl Future<Output = Result<Offsets, GroupError>> + Send + use<> {
        self.groups.offsets(self.name)
    }

    pub fn describe(&self) -> impl Future<Output = Result<Description, GroupError>> + Send + use<> {
        self.groups.describe(self.name)
    }

    /// The memory that [`Group::describe`] would take now.
    pub fn weigh_description(&self) -> usize {
        self.groups.weigh_description(self.name)
    }

    pub fn delete(&self) -> impl Future<Output = Result<(), GroupError>> + Send + use<> {
        self.groups.delete(self.name)
    }

    pub fn delete_offsets(
        &self,
        offsets: Vec<OffsetToDelete>,
    ) -> impl Future<Output = Result<Each, GroupError>> + Send + use<> {
        self.groups.delete_offsets(self.name, offsets)
    }
}

impl From<Forbidden> for NoGroup {
    fn from(forbidden: Forbidden) -> NoGroup {
        NoGroup::Forbidden(forbidden)
    }
}

/// The coordinator of a group or a transactional id: the running broker with the largest hash of broker and name. So
/// a name only moves if its coordinator stops, or if a broker starts that has a larger hash.
pub(super) fn coordinator_among(name: &str, running: &[NodeId]) -> Option<NodeId> {
    let weight = |node: &NodeId| {
        let seeded = crc32c::crc32c(&node.0.to_be_bytes());
        // A checksum alone would order the brokers in the same way for all names.
        crc32c::crc32c_append(seeded, name.as_bytes()).wrapping_mul(0x9e37_79b1).rotate_left(15)
    };
    match running {
        [alone] => Some(*alone),
        running => running.iter().max_by_key(|node| (weight(node), **node)).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coordinators(running: &[i32], groups: u32) -> Vec<i32> {
        let running: Vec<NodeId> = running.iter().copied().map(NodeId).collect();
        let one = |group| coordinator_among(&format!("group-{group}"), &running).map_or(-1, |node| node.0);
        (0..groups).map(one).collect()
    }

    #[test]
    fn groups_are_spread_and_only_those_move_whose_coordinator_stops() {
        let all = coordinators(&[1, 2, 3], 300);
        for broker in 1..=3 {
            let share = all.iter().filter(|node| **node == broker).count();
            assert!((50..150).contains(&share), "{broker} has {share} of 300");
        }
        let left = coordinators(&[1, 3], 300);
        let stayed = |(before, after): (&i32, &i32)| *before == 2 || before == after;
        assert!(all.iter().zip(&left).all(stayed));
        assert_eq!(coordinators(&[], 1), [-1], "nobody is left");
    }
}
