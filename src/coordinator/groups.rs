//! The handle that request handlers use: all groups, with one method per request.
//!
//! When a method returns, its command is decided and its records are queued for the journal. The
//! returned future waits for the rest: for other members (JoinGroup, SyncGroup), and until the
//! group's last record is durable. So two calls take effect in the order of the calls, no matter
//! when they are awaited.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::GroupStore;
use super::classic::{
    Answer, ClassicGroup, Command, Commit, Description, GroupError, GroupState, Heartbeat, Join, JoinRefusal,
    Joined, Leaver, OffsetToDelete, Rules, Sync, Synced,
};
use super::slots::{Absent, Slots, all_durable};
use crate::kernel::group::{CommittedOffset, MemberId, PartitionKey};
use crate::time::{self, Clock};
use crate::types::{Offset, TopicId};

/// The resolution of timers. A finer one would only cost CPU time.
const TIMER_GRAIN: Duration = Duration::from_millis(10);

/// The longest string of the protocol, less the unique part of a member id.
const MEMBER_NAME_MAX: usize = 32_767 - "-00000000-0000-0000-0000-000000000000".len();

/// All groups of a broker; a handle, cheap to clone.
#[derive(Clone)]
pub struct Groups(Arc<Slots>);

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
    /// In the order of the topic ids.
    pub offsets: Vec<(PartitionKey, Offset)>,
}

/// One result for each part of the request, in the same order; or one error for the whole request.
pub type Each = Result<Vec<Result<(), GroupError>>, GroupError>;

impl Groups {
    /// Loads all groups from the store. The caller has to run [`Groups::run`].
    pub fn start(store: Arc<dyn GroupStore>, rules: Rules, clock: Clock) -> Groups {
        Groups(Arc::new(Slots::load(store, rules, clock)))
    }

    /// Fires timers and expires old offsets, as long as it is polled.
    pub async fn run(&self) {
        let every = self.0.rules().retention_check;
        let mut next_check = self.0.clock().monotonic() + every;
        loop {
            let next_alarm = self.0.fire_due();
            let now = self.0.clock().monotonic();
            if next_check <= now {
                self.expire().await;
                next_check = now + every;
            }
            let next_pass = self.0.gone_due();
            if next_pass.is_some_and(|due| due <= now) {
                self.forget_gone().await;
                continue;
            }
            let next = next_pass.map_or(next_check, |due| due.min(next_check)).saturating_sub(now);
            let wait = next_alarm.map_or(next, |wait| wait.min(next)).max(TIMER_GRAIN);
            tokio::select! {
                () = time::sleep(wait) => {}
                () = self.0.alarm_moved() => {}
            }
        }
    }

    /// Whether groups can be served at all. If not, FindCoordinator returns no coordinator (rule
    /// M7).
    pub fn is_serving(&self) -> bool {
        self.0.is_serving()
    }

    pub fn join(
        &self,
        group: &str,
        join: Join,
    ) -> impl Future<Output = Result<Joined, JoinRefusal>> + Send + use<> {
        let told = join.member.clone().unwrap_or_default();
        let absent = match join.member {
            None => Absent::Create,
            Some(_) => Absent::Refuse(GroupError::UnknownMember),
        };
        let new_id = member_id(join.instance.as_deref().unwrap_or(&join.client_id));
        let asked = match named(group) {
            Ok(()) => self.0.ask(group, absent, Command::Join { join, new_id }),
            Err(error) => Err(error),
        };
        async move {
            let answer = match asked {
                Ok(pending) => pending.answer(join_answer).await,
                Err(error) => Err(error),
            };
            answer.unwrap_or_else(|error| Err(JoinRefusal { error, member: told }))
        }
    }

    pub fn sync(
        &self,
        group: &str,
        sync: Sync,
    ) -> impl Future<Output = Result<Synced, GroupError>> + Send + use<> {
        let absent = Absent::Refuse(GroupError::UnknownMember);
        let asked = named(group).and_then(|()| self.0.ask(group, absent, Command::Sync(sync)));
        async move {
            let taken = |answer| if let Answer::Sync(answer) = answer { Some(answer) } else { None };
            asked?.answer(taken).await?
        }
    }

    pub fn heartbeat(
        &self,
        group: &str,
        beat: Heartbeat,
    ) -> impl Future<Output = Result<(), GroupError>> + Send + use<> {
        let absent = Absent::Refuse(GroupError::UnknownMember);
        let asked = named(group).and_then(|()| self.0.ask(group, absent, Command::Heartbeat(beat)));
        async move {
            let taken = |answer| if let Answer::Heartbeat(answer) = answer { Some(answer) } else { None };
            asked?.answer(taken).await?
        }
    }

    pub fn leave(&self, group: &str, leavers: Vec<Leaver>) -> impl Future<Output = Each> + Send + use<> {
        let nobody_is_a_member = vec![Err(GroupError::UnknownMember); leavers.len()];
        let absent = Absent::Refuse(GroupError::UnknownMember);
        let asked = named(group).and_then(|()| self.0.ask(group, absent, Command::Leave(leavers)));
        async move {
            let taken = |answer| if let Answer::Leave(answers) = answer { Some(answers) } else { None };
            match asked {
                Ok(pending) => pending.answer(taken).await,
                Err(GroupError::UnknownMember) => Ok(nobody_is_a_member),
                Err(error) => Err(error),
            }
        }
    }

    /// Commits offsets. As in Kafka, this and other requests about offsets allow an empty group id.
    pub fn commit(&self, group: &str, commit: Commit) -> impl Future<Output = Each> + Send + use<> {
        let absent = match (commit.generation, commit.knows_group_not_found) {
            (None, _) => Absent::Create,
            (Some(_), true) => Absent::Refuse(GroupError::NoSuchGroup),
            (Some(_), false) => Absent::Refuse(GroupError::IllegalGeneration),
        };
        let asked = self.0.ask(group, absent, Command::Commit(commit));
        async move { asked?.answer(offsets_answer).await? }
    }

    /// The offsets of these partitions, in the same order, or all offsets of the group. An unknown
    /// group has none (rule C19).
    pub fn fetch_offsets(
        &self,
        group: &str,
        of: Option<Vec<PartitionKey>>,
    ) -> impl Future<Output = Result<Vec<(PartitionKey, Option<CommittedOffset>)>, GroupError>> + Send + use<>
    {
        let found = self.0.look_at(group, |group| group.offsets(of.as_deref()));
        async move {
            let none_of_them = || of.into_iter().flatten().map(|of| (of, None)).collect();
            Ok(found?.when_durable().await?.unwrap_or_else(none_of_them))
        }
    }

    /// The memory that [`Groups::fetch_offsets`] would take now.
    pub fn weigh_offsets(&self, group: &str, of: Option<&[PartitionKey]>) -> usize {
        self.0.peek_at(group, |group| group.weigh_offsets(of)).unwrap_or(0)
    }

    /// The memory that [`Groups::describe`] would take now.
    pub fn weigh_description(&self, group: &str) -> usize {
        self.0.peek_at(group, ClassicGroup::weigh_description).unwrap_or(0)
    }

    /// The maximum memory that [`Groups::list`] would take now.
    pub fn weigh_list(&self) -> usize {
        const LISTING: usize = 256;
        // `held` counts every group's name four times and also its protocol type.
        self.0.len() * LISTING + self.0.held() / 4
    }

    pub fn describe(
        &self,
        group: &str,
    ) -> impl Future<Output = Result<Description, GroupError>> + Send + use<> {
        let found = self.0.look_at(group, ClassicGroup::describe);
        async move { found?.when_durable().await?.ok_or(GroupError::NoSuchGroup) }
    }

    /// All groups, ordered by name.
    pub fn list(&self) -> impl Future<Output = Result<Vec<GroupListing>, GroupError>> + Send + use<> {
        let serving = self.is_serving();
        let (mut listings, mut unsettled) = (Vec::new(), Vec::new());
        self.0.look_at_all(|name, group, settled| {
            unsettled.extend(settled.cloned());
            if group.exists() {
                let protocol_type = group.hard().protocol_type().map(str::to_owned);
                listings.push(GroupListing { group: name.to_owned(), state: group.state(), protocol_type });
            }
        });
        async move {
            if !serving {
                return Err(GroupError::NotStored);
            }
            all_durable(unsettled).await?;
            Ok(listings)
        }
    }

    /// The current state of each group, durable or not, for metrics. Locks each group while its
    /// offsets are copied.
    pub fn watch(&self, see: impl FnMut(Watched)) {
        let copied = |name: &Arc<str>, group: &ClassicGroup| {
            let hard = group.hard();
            group.exists().then(|| Watched {
                group: Arc::clone(name),
                state: group.state(),
                members: hard.members().len(),
                offsets: hard.offsets().iter().map(|(of, committed)| (*of, committed.offset)).collect(),
            })
        };
        self.0.each(copied).flatten().for_each(see);
    }

    /// The memory that all groups take, and its limit.
    pub fn memory(&self) -> (usize, usize) {
        (self.0.held(), self.0.rules().total_bytes)
    }

    pub fn delete(&self, group: &str) -> impl Future<Output = Result<(), GroupError>> + Send + use<> {
        let asked = self.0.ask(group, Absent::Refuse(GroupError::NoSuchGroup), Command::Delete);
        async move {
            let taken = |answer| if let Answer::Delete(answer) = answer { Some(answer) } else { None };
            asked?.answer(taken).await?
        }
    }

    pub fn delete_offsets(
        &self,
        group: &str,
        offsets: Vec<OffsetToDelete>,
    ) -> impl Future<Output = Each> + Send + use<> {
        let absent = Absent::Refuse(GroupError::NoSuchGroup);
        let asked = named(group).and_then(|()| self.0.ask(group, absent, Command::DeleteOffsets(offsets)));
        async move { asked?.answer(offsets_answer).await? }
    }

    /// Removes the offsets of deleted topics, within about a second. Their ids are never used again, and offsets
    /// that a crash leaves behind are removed by the next check.
    pub fn forget_topics(&self, gone: BTreeSet<TopicId>) {
        self.0.note_gone(gone);
    }

    /// One pass over all groups for all topics that were deleted lately: a pass for each would make
    /// deleting topics cost more the more groups there are.
    async fn forget_gone(&self) {
        let gone = Arc::new(self.0.take_gone());
        for name in self.0.names() {
            self.0.tell(&name, |group| {
                let has_some = group.hard().topics().iter().any(|topic| gone.contains(topic));
                has_some.then(|| Command::ForgetTopics(gone.clone()))
            });
            tokio::task::yield_now().await;
        }
    }

    /// Removes offsets that are too old and those of deleted topics.
    async fn expire(&self) {
        for name in self.0.names() {
            self.0.tell(&name, |group| {
                let topics = group.hard().topics().into_iter();
                let topics = topics.map(|topic| (topic, self.0.topic_name(topic))).collect();
                Some(Command::Expire { topics, by_age_at: self.0.believed_time() })
            });
            tokio::task::yield_now().await;
        }
    }
}

fn join_answer(answer: Answer) -> Option<Result<Joined, JoinRefusal>> {
    if let Answer::Join(answer) = answer { Some(answer) } else { None }
}

fn offsets_answer(answer: Answer) -> Option<Each> {
    if let Answer::Offsets(answer) = answer { Some(answer) } else { None }
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
