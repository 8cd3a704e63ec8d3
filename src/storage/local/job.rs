//! The jobs of the keeper.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::journal::{Prepare, SyncJob};
use super::segment::Segment;
use crate::kernel::Shard;

pub(super) enum Job {
    /// Syncs the segments, then writes a snapshot.
    Snapshot {
        shard: Box<Shard>,
        segments: Vec<Arc<Segment>>,
        /// The journal sync that must succeed before the snapshot is written.
        journal: Option<SyncJob>,
    },
    /// Removes files below the log start offset.
    Remove {
        segments: Vec<Arc<Segment>>,
    },
    EmptyTrash,
    /// Removes files that could not be removed before.
    RemoveLeft,
    /// Allocates space for the journal in advance.
    Prepare(Prepare),
    /// Syncs soon: something was written that no acknowledgement waits for.
    SyncSoon,
    /// Syncs at once, because much was written since the last sync.
    SyncNow,
    /// Sends a message once all earlier jobs are done.
    Notify(Sender<()>),
}
