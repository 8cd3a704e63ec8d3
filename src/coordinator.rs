//! Group coordinators: they decide, the kernel applies.
//!
//! [`classic`] is the classic protocol as a pure state machine (`decide`), one file per command.
//! [`Groups`] is what handlers hold: it keeps each group behind its own lock, gives what was decided
//! to the store and lets no answer go before the group's last record is durable.
//!
//! Invariants: a group's generation never goes back; a partition has one owner per generation; who
//! waits is answered, at the latest by a timer; a group's troubles are its own.

pub mod classic;
mod groups;
mod session_clock;
mod slots;

pub use groups::{Each, GroupListing, Groups, Watched};

pub use crate::storage::Now;
pub use crate::storage::groups::{GroupStore, NotStored, Settled, Settler};
