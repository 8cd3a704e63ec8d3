//! A round between its write and its end: its events, its sync, and its answers.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::directory::Directory;
use super::super::journal::SyncJob;
use super::super::segment::{Segment, SyncError};
use crate::kernel::{Applied, Command, Commit, Place, Placed, Refusal};
use crate::storage::line::{Appended, CommandDone};
use crate::storage::partition::{Partition, Pieces};
use crate::storage::{AppendError, StoreError, Unavailable};
use crate::types::{AbortedTransaction, Timestamp};

/// A round between its write and its end.
#[derive(Default)]
pub struct Round {
    pub events: Vec<Event>,
    pub sync: Option<Sync>,
    /// The position up to which the journal is durable since this round's sync.
    pub synced: Option<u64>,
    /// The journal position of the round; `None` if it changed nothing.
    pub position: Option<u64>,
    pub failed: Option<String>,
}

/// One piece of work, in the order of the round.
pub enum Event {
    Appended {
        /// A [`Command::Commit`].
        command: Command,
        batch: NewBatch,
        done: Answer<Appended, AppendError>,
    },
    NotAppended {
        done: Answer<Appended, AppendError>,
        outcome: Result<Appended, AppendError>,
    },
    /// Another command, of a requester or of the engine.
    Done {
        command: Command,
        applied: Applied,
        /// The markers that the command placed.
        markers: Vec<NewBatch>,
        done: CommandDone,
    },
    Refused {
        done: CommandDone,
        refusal: Refusal,
    },
}

/// A batch that was placed: the source of its bytes in the segment and in the journal.
pub struct NewBatch {
    pub partition: Arc<Partition>,
    pub placed: Placed,
    pub pieces: Pieces,
    pub max_timestamp: Timestamp,
    /// The transaction that this marker ends, if it is aborted and has records in the partition.
    pub aborted: Option<AbortedTransaction>,
    pub source: Source,
}

/// The place from which recovery can get a batch's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The data beside the journal entry.
    Journal,
    /// Only the segment.
    Segment,
    /// The entry's commands: it is a marker.
    Commands,
}

impl NewBatch {
    /// The journal entry gets the bytes, because the segment could not be written.
    fn set_inline(&mut self, of: &mut Command) {
        if let (Command::Commit(Commit { place: Place::Segment { inline, .. }, .. }), Source::Segment) =
            (of, self.source)
        {
            *inline = true;
            self.source = Source::Journal;
        }
    }
}

pub type Answer<T, E> = oneshot::Sender<Result<T, E>>;

/// The files to sync to make a round durable.
pub struct Sync {
    pub segments: Vec<Arc<Segment>>,
    pub journal: SyncJob,
    pub directory: Arc<Directory>,
}

impl Sync {
    /// Blocks until the disk is done. Returns the position up to which the journal is durable.
    pub fn run(self) -> Result<u64, SyncFailure> {
        match self.directory.sync(&self.segments) {
            Ok(()) => {}
            Err(SyncError::Open(error)) => return Err(SyncFailure::NotOpened(error)),
            Err(error @ SyncError::Sync(_)) => return Err(SyncFailure::Failed(error.to_string())),
        }
        self.journal.run().map_err(|error| SyncFailure::Failed(error.to_string()))
    }
}

/// The reason why a sync made nothing durable.
pub enum SyncFailure {
    /// Segments could not be opened. Nothing is lost, and the sync can be tried again.
    NotOpened(std::io::Error),
    /// A sync failed: nothing may be acknowledged any more.
    Failed(String),
}

impl Round {
    /// The commands of the round's journal entry.
    pub fn commands(&self) -> Vec<&Command> {
        self.events.iter().filter_map(Event::command).collect()
    }

    pub fn changes_something(&self) -> bool {
        self.events.iter().any(|event| event.command().is_some())
    }

    pub fn batches(&self) -> impl Iterator<Item = &NewBatch> {
        self.events.iter().flat_map(Event::batches)
    }

    pub fn wants_sync(&self) -> bool {
        self.sync.is_some()
    }

    pub fn sync(&mut self) {
        match self.sync.take().map(Sync::run) {
            Some(Ok(position)) => self.synced = Some(position),
            Some(Err(SyncFailure::Failed(why))) => self.failed = Some(why),
            // Only on systems without a sync of the whole volume, which need not open files.
            Some(Err(SyncFailure::NotOpened(error))) => self.failed = Some(error.to_string()),
            None => {}
        }
    }
}

impl Event {
    /// The command for the journal, if it changed something.
    fn command(&self) -> Option<&Command> {
        match self {
            Event::Appended { command, .. } => Some(command),
            Event::Done { command, applied, .. } => applied.changed_something().then_some(command),
            Event::NotAppended { .. } | Event::Refused { .. } => None,
        }
    }

    /// The batches that its command placed.
    pub fn batches(&self) -> &[NewBatch] {
        match self {
            Event::Appended { batch, .. } => std::slice::from_ref(batch),
            Event::Done { markers, .. } => markers,
            Event::NotAppended { .. } | Event::Refused { .. } => &[],
        }
    }

    /// The journal entry gets the batch's bytes, because the segment could not be written.
    pub fn set_inline(&mut self) {
        if let Event::Appended { command, batch, .. } = self {
            batch.set_inline(command);
        }
    }

    pub fn answer(self) {
        // If the requester gave up, the answer is dropped; that is no error.
        match self {
            Event::Appended { batch: NewBatch { placed, .. }, done, .. } => {
                let outcome = Appended {
                    base_offset: placed.base_offset,
                    log_start: placed.log_start,
                    repeated: false,
                };
                drop(done.send(Ok(outcome)));
            }
            Event::NotAppended { done, outcome } => drop(done.send(outcome)),
            Event::Done { applied, done, .. } => done(Ok(applied)),
            Event::Refused { done, refusal } => done(Err(StoreError::Refused(refusal))),
        }
    }

    pub fn fail(self, why: Unavailable) {
        match self {
            Event::Appended { done, .. } | Event::NotAppended { done, .. } => {
                drop(done.send(Err(why.into())));
            }
            Event::Done { done, .. } | Event::Refused { done, .. } => done(Err(why.into())),
        }
    }
}
