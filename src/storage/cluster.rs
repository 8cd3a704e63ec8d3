//! The engine of several brokers over one shared journal. Only tests use it so far.
//!
//! All brokers apply all entries of the journal, their own and those of others, in the same order, so all have the same
//! state. A change is appended, read back, applied, published and answered, in this order. The outcome of an append can
//! be unknown. Then the same entry is appended again, and the kernel passes over the second copy.
//!
//! Record bytes are beside the entries, and each broker keeps all of them in memory. A broker that starts reads the
//! whole journal. A silent broker is not noticed here: the caller declares it gone. Brokers without work write no beats
//! yet. Once they do, `kernel/members.rs` has the rule for their interval.

mod broker;
mod extent;
mod journal;
mod line;
mod logs;
mod queue;
mod sim;

use std::sync::{Mutex, MutexGuard};

pub use journal::{Answer, DataRange, JournalError, SharedJournal, StoredEntry};
pub use line::{Cluster, ClusterOptions};
pub use sim::{Faults, SimJournal};

use crate::types::IgnorePoison;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().ignoring_poison()
}
