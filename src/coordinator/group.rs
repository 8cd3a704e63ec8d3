//! A group in its coordinator. All kinds of group are one machine, because they share one map of names, and a
//! group may change its kind.
//!
//! *Hard* state is a copy of the kernel's group. A decision changes it only through `Group::change`, with the
//! changes that it returns. *Soft* state may be lost at any time: waiting requests and sessions. Committed offsets
//! have no copy here: they are in the view, and they may also change without the group.

mod command;
mod describe;
#[cfg(test)]
pub(super) mod made;
#[cfg(test)]
pub(super) mod roster;
mod rules;
mod step;
mod view;
pub(super) mod weight;

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

pub use command::*;
pub use describe::{Description, GroupState, MemberDescription};
pub use rules::Rules;
pub use step::Step;
pub use view::View;

use super::classic;
use super::machine::{self, Machine, Occasion, Restored};
use crate::kernel;
use crate::kernel::group::Change;

pub type Decision = machine::Decision<Group>;

#[derive(Debug, Default)]
pub struct Group {
    hard: Arc<kernel::Group>,
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

    /// The memory of the soft state.
    fn weigh(&self, hard: &kernel::Group) -> usize;

    /// Drops all requests that wait.
    fn dismiss(&mut self);
}

/// The result of a command in a kind of group.
#[derive(Debug)]
pub enum Flow {
    /// The command is decided.
    Done,
    /// The group has another kind now, which has to decide the command.
    Becomes(Box<(Kind, Command)>),
}

impl Group {
    pub fn hard(&self) -> &Arc<kernel::Group> {
        &self.hard
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    pub fn state(&self) -> GroupState {
        self.kind.rulebook().state(&self.hard)
    }

    pub fn describe(&self) -> Description {
        self.kind.rulebook().describe(&self.hard)
    }

    /// The memory of a description, including the parts it shares with the group.
    pub fn weigh_description(&self) -> usize {
        self.kind.rulebook().weigh_description(&self.hard)
    }
}

impl Machine for Group {
    type Key = Arc<str>;
    type Name = str;
    type KernelState = Arc<kernel::Group>;
    /// All virtual brokers share one coordinator, so a group always has its home here.
    type Fence = ();
    type View<'a> = View<'a>;
    type Command = Command;
    type Change = Change;

    fn key(name: &str) -> Arc<str> {
        name.into()
    }

    fn restored(_: &View<'_>, hard: Arc<kernel::Group>, now: Duration) -> Restored<Group> {
        #[cfg(test)]
        if roster::is_roster(&hard) {
            return roster::restored(hard, now);
        }
        let kind = Kind::Classic(classic::Soft::restored(&hard, now));
        Restored::from(Group { hard, kind })
    }

    fn decide(&mut self, view: &View<'_>, occasion: Occasion, mut command: Command) -> Decision {
        let decision = Decision { after: self.hard.version(), ..Decision::default() };
        let mut step = Step { view, hard: &mut self.hard, occasion, decision };
        loop {
            match self.kind.rulebook_mut().decide(&mut step, command) {
                Flow::Done => return step.done(),
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
        self.hard.exists()
    }

    fn is_unused(&self) -> bool {
        self.hard.members().is_empty()
    }

    fn has_nothing_beside(&self, view: &View<'_>) -> bool {
        view.offsets().is_empty()
    }

    fn is_at_rest(&self) -> bool {
        self.hard.members().is_empty() && !self.kind.rulebook().expects_members()
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.kind.rulebook().next_deadline()
    }

    fn weigh(&self, name: &str) -> usize {
        weight::of_slot(name, &self.hard) + self.kind.rulebook().weigh(&self.hard)
    }

    fn weigh_new(name: &str) -> usize {
        Group::default().weigh(name) + weight::of_new_group(name)
    }

    fn dismiss(&mut self) {
        self.kind.rulebook_mut().dismiss();
    }

    fn warn_not_stored(name: &str) {
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
