//! Group coordinators: they decide, the kernel applies.
//!
//! [`group`] is a group as a pure state machine (`decide`), and [`classic`] is the classic protocol, with one
//! file per command. `runtime.rs` runs the machines: it keeps each behind its own lock, passes the decisions
//! to the store, and sends no response before the machine's last record is durable. Handlers use [`Groups`].
//! [`Transactions`] has no machine: the kernel decides.
//!
//! Invariants: a group's generation never decreases. A partition has one owner per generation.
//! Every waiting request is answered, at the latest by a timer. A problem in one group does not
//! affect other groups.

mod classic;
mod deadlines;
pub mod group;
mod groups;
mod idle;
mod jobs;
pub mod machine;
pub mod reply;
mod runtime;
mod session_clock;
mod transactions;

#[doc(hidden)]
pub use classic::subscribed_topics;
pub use groups::{GroupListing, Groups, Watched};
pub use transactions::{StagedOffsets, TimeLimit, TransactionError, TransactionRules, Transactions};

pub use crate::storage::Now;
pub use crate::storage::groups::{GroupStore, NotStored, Settled, Settler};
