//! Group coordinators: they decide, the kernel applies.
//!
//! [`classic`] is the classic protocol as a pure state machine (`decide`), with one file per
//! command. Handlers use [`Groups`]. It keeps each group behind its own lock, passes the decisions
//! to the store, and sends no response before the group's last record is durable.
//!
//! Invariants: a group's generation never decreases. A partition has one owner per generation.
//! Every waiting request is answered, at the latest by a timer. A problem in one group does not
//! affect other groups.

pub mod classic;
mod groups;
mod session_clock;
mod slots;

pub use groups::{Each, GroupListing, Groups, Watched};

pub use crate::storage::Now;
pub use crate::storage::groups::{GroupStore, NotStored, Settled, Settler};
