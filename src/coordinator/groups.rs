//! The handle that request handlers use: all groups, with one method per request.
//!
//! When a method returns, its command is decided and its records are queued for the journal. The
//! returned future waits for the rest: for other members (JoinGroup, SyncGroup), and until the
//! group's last record is durable. So two calls take effect in the order of the calls, no matter
//! when they are awaited. Calls that need the committed offsets (OffsetFetch, OffsetDelete) first wait for the
//! records of earlier calls, because offsets are read as they are published.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::group::{
    CheckedCommit, Command, Commit, Delete, DeleteOffsets, Description, Each, Group, GroupError,
    GroupRequest, GroupState, Heartbeat, Join, JoinRefusal, Joined, Leave, Leaver, OffsetToDelete, Rebalance,
    Request, Rules, StagedCommit, Sync, Synced, View,
};
use super::machine::{Keeper, Machine};
use super::reply::SettledAnswer;
use super::runtime::{Absent, Limits, PendingCommand, Runtime, Unserved};
use super::{GroupStore, NotStored, Settled};
use crate::kernel;
use crate::kernel::group::{Change, MemberId};
use crate::kernel::offsets::Offsets;
use crate::time::{self, Clock};

/// The resolution of timers, the same as Kafka's, so that a session ends as early as in Kafka.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

/// The longest string of the protocol, less the unique part of a member id.
const MEMBER_NAME_MAX: usize = 32_767 - "-00000000-0000-0000-0000-000000000000".len();

/// All groups of a broker; a handle, cheap to clone.
#[derive(Clone)]
pub struct Groups {
    runtime: Arc<Runtime<Group>>,
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn GroupStore>,
    rules: Rules,
}

/// A group in the answer to ListGroups.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupListing {
    pub group: String,
    pub state: GroupState,
    pub protocol_type: Option<String>,
}

/// A group as [`Groups::watch`] returns it.
#[derive(Clone, Debug)]
pub struct Watched {
    pub group: Arc<str>,
    pub state: GroupState,
    pub members: usize,
    pub offsets: Offsets,
}

impl Groups {
    /// Loads the groups from the store. The caller has to run [`Groups::run`].
    pub fn start(store: Arc<dyn GroupStore>, rules: Rules, clock: Clock) -> Groups {
        let limits = Limits { machines: rules.max_groups, bytes: rules.total_bytes };
        let shared = Arc::new(Shared { store, rules });
        let runtime = Runtime::load(Box::new(Arc::clone(&shared)), limits, clock);
        Groups { runtime: Arc::new(runtime), shared }
    }

    /// Fires timers and expires old offsets, as long as it is polled.
    pub async fn run(&self) {
        let every = self.rules().retention_check;
        let mut next_check = self.clock().monotonic() + every;
        loop {
            let now = self.clock().monotonic();
            if next_check <= now {
                self.expire().await;
                next_check = now + every;
            }
            let next_alarm = self.runtime.ring();
            let next = next_check.saturating_sub(self.clock().monotonic());
            let wait = next_alarm.map_or(next, |wait| wait.min(next)).max(TIMER_GRAIN);
            tokio::select! {
                () = time::sleep(wait) => {}
                () = self.runtime.alarm_moved() => {}
                () = self.runtime.jobs_ready() => self.runtime.start_workers(),
            }
        }
    }

    /// Ends what is overdue since a test turned the clock forward.
    pub async fn clock_turned(&self) {
        self.runtime.clock_turned();
        self.expire().await;
    }

    /// Whether groups can be served at all. If not, FindCoordinator returns no coordinator (rule
    /// M7).
    pub fn is_serving(&self) -> bool {
        self.runtime.is_serving()
    }

    /// Resolves after the next decision about any group. Its records may not be durable yet.
    pub fn changed(&self) -> impl Future<Output = ()> {
        self.runtime.changed()
    }

    pub fn join(
        &self,
        group: &str,
        join: Join,
    ) -> impl Future<Output = Result<Joined, JoinRefusal>> + Send + use<> {
        let member = join.member.clone().unwrap_or_default();
        let absent = match join.member {
            None => Absent::Create,
            Some(_) => Absent::Refuse,
        };
        let new_id = member_id(join.instance.as_deref().unwrap_or(&join.client_id));
        let command = |request| Command::Join { request, new_id };
        let waiting = named(group).and_then(|()| self.ask(group, absent, join, command, UNKNOWN));
        async move {
            let refused = |error| Err(JoinRefusal { error, member });
            match waiting {
                Ok(waiting) => answer_of(waiting).await.unwrap_or_else(refused),
                Err(error) => refused(error),
            }
        }
    }

    pub fn sync(
        &self,
        group: &str,
        sync: Sync,
    ) -> impl Future<Output = Result<Synced, GroupError>> + Send + use<> {
        let waiting =
            named(group).and_then(|()| self.ask(group, Absent::Refuse, sync, Command::Sync, UNKNOWN));
        async move { answer_of(waiting?).await? }
    }

    pub fn heartbeat(
        &self,
        group: &str,
        beat: Heartbeat,
    ) -> impl Future<Output = Result<(), GroupError>> + Send + use<> {
        let waiting =
            named(group).and_then(|()| self.ask(group, Absent::Refuse, beat, Command::Heartbeat, UNKNOWN));
        async move { answer_of(waiting?).await? }
    }

    pub fn leave(
        &self,
        group: &str,
        leavers: Vec<Leaver>,
    ) -> impl Future<Output = Result<Each, GroupError>> + Send + use<> {
        let nobody_is_a_member = vec![Err(GroupError::UnknownMember); leavers.len()];
        let waiting = named(group)
            .and_then(|()| self.ask(group, Absent::Refuse, Leave(leavers), Command::Leave, UNKNOWN));
        async move {
            match waiting {
                Ok(waiting) => answer_of(waiting).await,
                Err(GroupError::UnknownMember) => Ok(nobody_is_a_member),
                Err(error) => Err(error),
            }
        }
    }

    /// Commits offsets. As in Kafka, this and other requests about offsets allow an empty group id.
    pub fn commit(
        &self,
        group: &str,
        commit: Commit,
    ) -> impl Future<Output = Result<Each, GroupError>> + Send + use<> {
        let (absent, error) = if_absent(&commit);
        let waiting = self.ask(group, absent, commit, Command::Commit, error);
        async move { answer_of(waiting?).await? }
    }

    /// Checks a commit that a transaction will store, and creates the group if it does not exist.
    pub fn check_commit(
        &self,
        group: &str,
        commit: Commit,
    ) -> impl Future<Output = Result<CheckedCommit, GroupError>> + Send + use<> {
        let (absent, error) = if_absent(&commit);
        let commit = StagedCommit(commit);
        let waiting =
            named(group).and_then(|()| self.ask(group, absent, commit, Command::CheckCommit, error));
        async move { answer_of(waiting?).await? }
    }

    /// The committed offsets, including those of earlier commits that have not settled yet. A group that does not
    /// exist has none (rule C19).
    pub fn offsets(&self, group: &str) -> impl Future<Output = Result<Offsets, GroupError>> + Send + use<> {
        let unsettled = self.runtime.unsettled(group);
        let (store, group) = (Arc::clone(&self.shared.store), group.to_owned());
        async move {
            all_durable(unsettled?).await?;
            // Only now, because coordinators have no copy of the offsets.
            Ok(store.offsets(&group))
        }
    }

    /// The memory that [`Groups::describe`] would take now.
    pub fn weigh_description(&self, group: &str) -> usize {
        self.runtime.peek(group, Group::weigh_description).unwrap_or(0)
    }

    /// The maximum memory that [`Groups::list`] would take now.
    pub fn weigh_list(&self) -> usize {
        const LISTING: usize = 256;
        // `held` counts every group's name four times and also its protocol type.
        self.runtime.count() * LISTING + self.runtime.held() / 4
    }

    pub fn describe(
        &self,
        group: &str,
    ) -> impl Future<Output = Result<Description, GroupError>> + Send + use<> {
        let found = self.runtime.read(group, Group::describe);
        async move { when_durable(found).await?.ok_or(GroupError::NoSuchGroup) }
    }

    /// All groups, ordered by name.
    pub fn list(&self) -> impl Future<Output = Result<Vec<GroupListing>, GroupError>> + Send + use<> {
        let serving = self.is_serving();
        let (mut listings, mut unsettled) = (Vec::new(), Vec::new());
        for found in self.runtime.all() {
            found.read(|name, group, settled| {
                unsettled.extend(settled.cloned());
                if group.exists() {
                    let protocol_type = group.hard().protocol_type().map(str::to_owned);
                    listings.push(GroupListing {
                        group: name.to_string(),
                        state: group.state(),
                        protocol_type,
                    });
                }
            });
        }
        async move {
            if !serving {
                return Err(GroupError::NotStored);
            }
            all_durable(unsettled).await?;
            Ok(listings)
        }
    }

    /// The current state of each group, durable or not, for metrics.
    pub fn watch(&self, see: impl FnMut(Watched)) {
        let kept = self.shared.store.groups();
        let copied = |name: &Arc<str>, group: &Group, _: Option<&Settled>| {
            group.exists().then(|| Watched {
                group: Arc::clone(name),
                state: group.state(),
                members: group.hard().members().size(),
                offsets: kept.offsets(name).cloned().unwrap_or_default(),
            })
        };
        self.runtime.all().into_iter().filter_map(|found| found.read(copied)).for_each(see);
    }

    /// The memory that all groups take, and its limit.
    pub fn memory(&self) -> (usize, usize) {
        (self.runtime.held(), self.rules().total_bytes)
    }

    pub fn delete(&self, group: &str) -> impl Future<Output = Result<(), GroupError>> + Send + use<> {
        let waiting = self.ask(group, Absent::Refuse, Delete, Command::Delete, GroupError::NoSuchGroup);
        async move { answer_of(waiting?).await? }
    }

    /// Makes all members of a group join again. Refused with [`GroupError::UnknownMember`] if it has none.
    pub fn rebalance(&self, group: &str) -> impl Future<Output = Result<(), GroupError>> + Send + use<> {
        let absent = GroupError::NoSuchGroup;
        let waiting = self.ask(group, Absent::Refuse, Rebalance, Command::Rebalance, absent);
        async move { answer_of(waiting?).await? }
    }

    /// Deletes offsets, including those of earlier commits that have not settled yet.
    pub fn delete_offsets(
        &self,
        group: &str,
        offsets: Vec<OffsetToDelete>,
    ) -> impl Future<Output = Result<Each, GroupError>> + Send + use<> {
        let earlier = named(group).and_then(|()| Ok(self.runtime.unsettled(group)?));
        let (groups, group) = (self.clone(), group.to_owned());
        async move {
            all_durable(earlier?).await?;
            let delete = DeleteOffsets(offsets);
            let absent = GroupError::NoSuchGroup;
            let waiting = groups.ask(&group, Absent::Refuse, delete, Command::DeleteOffsets, absent);
            answer_of(waiting?).await?
        }
    }

    /// A member's connection is held back for this time, which does not count for its session.
    pub fn hold(&self, group: &str, member: MemberId, time: Duration) {
        self.runtime.command(group, |_| Some(Command::Hold { member, time }));
    }

    /// Removes offsets that are too old and those of deleted topics. Fires timers meanwhile, because there may be very
    /// many groups.
    async fn expire(&self) {
        for name in self.runtime.keys() {
            let by_age_at = self.shared.store.now().trusted;
            self.runtime.command(&name, |_| Some(Command::Expire { by_age_at }));
            self.runtime.ring();
            tokio::task::yield_now().await;
        }
    }

    /// Decides a request now. `unknown` is the answer for a group that does not exist.
    fn ask<Q: Request>(
        &self,
        group: &str,
        absent: Absent,
        body: Q,
        command: impl FnOnce(GroupRequest<Q>) -> Command,
        unknown: GroupError,
    ) -> Result<PendingCommand<Group, Q::Answer>, GroupError> {
        let waiting = self.runtime.ask(group, absent, |reply| command(GroupRequest { body, reply }));
        waiting.map_err(|unserved| match unserved {
            Unserved::Absent => unknown,
            other => other.into(),
        })
    }

    fn rules(&self) -> &Rules {
        &self.shared.rules
    }

    fn clock(&self) -> &Clock {
        self.runtime.clock()
    }
}

impl Keeper<Group> for Arc<Shared> {
    fn all(&self) -> Vec<(Arc<str>, Arc<kernel::Group>)> {
        self.store.groups().iter().map(|(name, kept)| (Arc::clone(name), kept.group)).collect()
    }

    fn find(&self, name: &str) -> Option<Arc<kernel::Group>> {
        self.store.group(name).map(|kept| kept.group)
    }

    fn count(&self) -> usize {
        self.store.groups().len()
    }

    fn bytes(&self) -> usize {
        self.store.group_bytes()
    }

    fn home(&self, _: &str) -> Option<()> {
        Some(())
    }

    fn submit(&self, name: &str, after: u64, changes: Vec<Change>) -> Settled {
        self.store.submit(name, after, changes)
    }

    fn is_serving(&self) -> bool {
        self.store.is_serving()
    }

    fn view<'a>(&'a self, name: &'a str) -> View<'a> {
        View::new(name, &self.rules, &*self.store)
    }
}

impl From<Unserved> for GroupError {
    fn from(unserved: Unserved) -> GroupError {
        match unserved {
            Unserved::Absent => GroupError::NoSuchGroup,
            Unserved::NotHome => GroupError::NotCoordinator,
            Unserved::NoRoom => GroupError::NoRoom,
            Unserved::NotStored => GroupError::NotStored,
        }
    }
}

/// The effect of a commit on a group that does not exist, and the error if the commit is refused.
fn if_absent(commit: &Commit) -> (Absent, GroupError) {
    match (commit.generation, commit.knows_group_not_found) {
        (None, _) => (Absent::Create, GroupError::NoSuchGroup),
        (Some(_), true) => (Absent::Refuse, GroupError::NoSuchGroup),
        (Some(_), false) => (Absent::Refuse, GroupError::IllegalGeneration),
    }
}

/// The answer of a member's request to a group that does not exist.
const UNKNOWN: GroupError = GroupError::UnknownMember;

async fn answer_of<A>(waiting: PendingCommand<Group, A>) -> Result<A, GroupError> {
    Ok(waiting.answer().await?)
}

async fn when_durable<T>(found: Result<SettledAnswer<Option<T>>, Unserved>) -> Result<Option<T>, GroupError> {
    Ok(found?.when_durable().await?)
}

/// Waits until all of these are durable.
async fn all_durable(unsettled: impl IntoIterator<Item = Settled>) -> Result<(), GroupError> {
    for settled in unsettled {
        settled.await.map_err(|NotStored| GroupError::NotStored)?;
    }
    Ok(())
}

fn named(group: &str) -> Result<(), GroupError> {
    if group.is_empty() { Err(GroupError::NoGroupId) } else { Ok(()) }
}

/// A new unique member id: the client's name and a random part in Java's format.
fn member_id(called: &str) -> MemberId {
    let called = &called[..called.floor_char_boundary(MEMBER_NAME_MAX)];
    let mut bytes: [u8; 16] = time::random_bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{called}-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests;
