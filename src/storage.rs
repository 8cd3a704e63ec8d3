//! The partition store that handlers use, and the engine behind it.
//!
//! [`Store`] is the handle. Every change is submitted to a *line* (`line.rs`), which an engine implements. Readers see
//! what is *published* (`published.rs`), through [`Topics`] and [`Partition`]. The engine on files is in [`local`].

mod cleaner;
mod clocks;
#[cfg(any(test, feature = "simulated-disk"))]
pub mod cluster;
#[cfg(test)]
pub(crate) mod conformance;
mod copies;
mod counts;
mod error;
pub mod extent;
mod failure;
pub mod groups;
mod line;
mod live;
pub mod local;
mod partition;
mod published;
mod retention;
#[cfg(any(test, feature = "simulated-disk"))]
mod seeded;
mod seen;
mod stalls;
mod store;
mod topics;
mod troubles;
mod upkeep;
mod waiter;

pub use clocks::Now;
pub use copies::{Copies, CopyRoom};
pub use counts::{Counts, Traffic};
pub use error::{AppendError, LogError, OpenError, StoreError, TopicError, Unavailable};
pub use failure::Failure;
pub use line::{Append, Appended, NewAppend};
pub use live::LiveSettings;
pub use local::Tuning;
pub use partition::{Ends, FoundRecord, Isolation, Partition, ReadAnswer, ReadRange};
pub use store::{Location, NewTopic, Store, StoreOptions};
pub use topics::{Topic, Topics};
pub use troubles::{Trouble, TroubleKind};
pub use upkeep::{LogDir, Space};
pub use waiter::{ChangeSignal, Waiter, Waiters};
