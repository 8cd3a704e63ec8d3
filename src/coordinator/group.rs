//! A group in its coordinator. All kinds of group are one machine, because they share one map of names, and a
//! group may change its kind.
//!
//! *Hard* state is the kernel's group. A decision changes it only through `Group::apply`, with the records
//! that it returns. *Soft* state may be lost at any time: waiting requests and sessions.

mod command;
mod describe;
#[cfg(test)]
pub(super) mod roster;
mod rules;
mod step;
pub(super) mod weight;

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

pub use command::*;
pub use describe::{Description, GroupState, MemberDescription};
pub use rules::Rules;
pub use step::Step;

use super::classic;
use super::machine::{self, Machine, Occasion, Restored, Weight};
use crate::kernel;
use crate::kernel::group::{Change, KeptGroup};
use crate::kernel::offsets::{CommittedOffset, Offsets, PartitionKey};
use crate::storage::groups::SeenTopics;

pub type Decision = machine::Decision<Group>;

#[derive(Debug, Default)]
pub struct Group {
    kept: KeptGroup,
    kind: Kind,
}

/// The soft state of a group, which depends on its kind.
#[derive(Debug)]
pub enum Kind {
    Classic(classic::Soft),
    #[cfg(test)]
    Roster(roster::Roster),
}

/// The rules of one kind of group.
pub trait Rulebook {
    /// Decides a command, or changes the kind of the group and leaves the command to the other kind.
    fn decide(&mut self, step: &mut Step, command: Command) -> Flow;

    fn state(&self, hard: &kernel::Group) -> GroupState;

    fn describe(&self, hard: &kernel::Group) -> Description;

    /// The memory of a description, including the parts it shares with the group.
    fn weigh_description(&self, hard: &kernel::Group) -> usize;

    /// Whether ids were given to newcomers that have not joined yet.
    fn expects_members(&self) -> bool;

    /// The time of the next [`Command::Tick`] on the session clock, or a time before it.
    fn next_deadline(&self) -> Option<Duration>;

    /// The memory of the group without its name and its offsets.
    fn weigh(&self, hard: &kernel::Group) -> Weight;

    /// Drops all requests that wait.
    fn dismiss(&mut self);
}

/// What a kind of group did with a command.
#[derive(Debug)]
pub enum Flow {
    /// The command is decided.
    Done,
    /// The group has another kind now, which has to decide the command.
    Becomes(Box<(Kind, Command)>),
}

/// What a group may see of the rest of the broker at one time.
#[derive(Clone)]
pub struct View {
    pub rules: Arc<Rules>,
    pub topics: Arc<dyn SeenTopics>,
}

impl Group {
    pub fn hard(&self) -> &Arc<kernel::Group> {
        &self.kept.group
    }

    /// The committed offsets.
    pub fn offsets(&self) -> &Offsets {
        &self.kept.offsets
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    pub fn state(&self) -> GroupState {
        self.kind.rulebook().state(&self.kept.group)
    }

    pub fn describe(&self) -> Description {
        self.kind.rulebook().describe(&self.kept.group)
    }

    /// The memory of a description, including the parts it shares with the group.
    pub fn weigh_description(&self) -> usize {
        self.kind.rulebook().weigh_description(&self.kept.group)
    }

    /// The memory of the result of [`Group::fetch_offsets`].
    pub fn weigh_offsets(&self, of: Option<&[PartitionKey]>) -> usize {
        const OFFSET: usize = 128;
        let metadata = |committed: &CommittedOffset| committed.metadata.len();
        match of {
            Some(asked) => {
                let found = asked.iter().filter_map(|of| self.offsets().get(*of));
                asked.len() * OFFSET + found.map(metadata).sum::<usize>()
            }
            None => self.offsets().all().values().map(|committed| OFFSET + metadata(committed)).sum(),
        }
    }

    /// The committed offsets of some partitions, or of all that have one (OffsetFetch).
    pub fn fetch_offsets(&self, of: Option<&[PartitionKey]>) -> Vec<(PartitionKey, Option<CommittedOffset>)> {
        match of {
            Some(asked) => asked.iter().map(|of| (*of, self.offsets().get(*of).cloned())).collect(),
            None => {
                self.offsets().all().iter().map(|(of, committed)| (*of, Some(committed.clone()))).collect()
            }
        }
    }
}

impl Machine for Group {
    type Key = Arc<str>;
    type Kept = KeptGroup;
    /// All virtual brokers share one coordinator, so a group always has its home here.
    type Fence = ();
    type View = View;
    type Command = Command;
    type Change = Change;

    fn restored(_: &View, kept: KeptGroup, now: Duration) -> Restored<Group> {
        #[cfg(test)]
        if roster::is_roster(&kept.group) {
            return roster::restored(kept, now);
        }
        let kind = Kind::Classic(classic::Soft::restored(&kept.group, now));
        Restored::from(Group { kept, kind })
    }

    fn decide(&mut self, view: &View, occasion: Occasion, mut command: Command) -> Decision {
        let decision = Decision { after: self.kept.group.version(), ..Decision::default() };
        let mut step = Step { view, kept: &mut self.kept, occasion, decision };
        loop {
            match self.kind.rulebook_mut().decide(&mut step, command) {
                Flow::Done => {
                    step.kept.advance(&step.decision.changes);
                    return step.decision;
                }
                Flow::Becomes(other) => (self.kind, command) = *other,
            }
        }
    }

    fn tick() -> Command {
        Command::Tick
    }

    fn delete() -> Command {
        Command::MakeRoom
    }

    fn exists(&self) -> bool {
        self.is_kept() || self.kind.rulebook().expects_members()
    }

    fn is_kept(&self) -> bool {
        self.kept.group.exists()
    }

    fn is_dispensable(&self) -> bool {
        self.kept.group.members().is_empty() && self.kept.offsets.is_empty()
    }

    fn is_at_rest(&self) -> bool {
        self.kept.group.members().is_empty() && !self.kind.rulebook().expects_members()
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.kind.rulebook().next_deadline()
    }

    fn weigh(&self, name: &Arc<str>) -> Weight {
        weight::of_name(name)
            + weight::of_offsets(&self.kept.offsets)
            + self.kind.rulebook().weigh(&self.kept.group)
    }

    fn dismiss(&mut self) {
        self.kind.rulebook_mut().dismiss();
    }

    fn warn_not_stored(name: &Arc<str>) {
        warn!(group = %name.escape_debug(), "a change of the group was not stored, its members will join again");
    }
}

impl Kind {
    fn rulebook(&self) -> &dyn Rulebook {
        match self {
            Kind::Classic(soft) => soft,
            #[cfg(test)]
            Kind::Roster(roster) => roster,
        }
    }

    fn rulebook_mut(&mut self) -> &mut dyn Rulebook {
        match self {
            Kind::Classic(soft) => soft,
            #[cfg(test)]
            Kind::Roster(roster) => roster,
        }
    }
}

impl Default for Kind {
    fn default() -> Kind {
        Kind::Classic(classic::Soft::default())
    }
}
