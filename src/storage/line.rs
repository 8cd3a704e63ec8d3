//! The line is the way into a store: every change is submitted to it, and it gives the changes their order.
//!
//! An engine implements it. On local files a change is applied, written, synced and published. In a cluster it is
//! appended to the shared journal, applied and published. In both cases the outcome is the result of
//! [`Shard::apply`](crate::kernel::Shard::apply) at the place of the change in the order. The outcome is returned only
//! once it is durable.

use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::copies::CopyRoom;
use super::partition::Partition;
use super::{AppendError, StoreError, Unavailable};
use crate::kernel::{Applied, BatchFlags, Command, Commit, Place, ProducerStamp, Refusal};
use crate::record::Checked;
use crate::types::{LeaderEpoch, Offset};

/// The result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub log_start: Offset,
    /// The batch is a duplicate of an earlier attempt of its producer.
    pub repeated: bool,
}

/// A queued append; resolves when it is durable.
pub struct Append(pub(super) Result<oneshot::Receiver<Result<Appended, AppendError>>, AppendError>);

impl Future for Append {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Err(refused) => Poll::Ready(Err(refused.clone())),
            // If the line is gone, there is no answer.
            Ok(answer) => Pin::new(answer)
                .poll(task)
                .map(|answered| answered.unwrap_or(Err(AppendError::Unavailable(Unavailable::Stopped)))),
        }
    }
}

/// Appends to one partition take effect in the order in which they were submitted, and so do commands. A command may
/// overtake an append. Their outcomes are known in the same order, so what is published when an outcome is known has
/// all that was submitted before.
pub trait Line: Send + Sync {
    /// Queues the work without waiting. The requester gets the outcome once it is durable and published.
    fn submit(&self, work: Work);

    /// Resolves once everything that any broker acknowledged before this call is published here.
    #[cfg(any(test, feature = "simulated-disk"))]
    fn barrier(&self) -> Barrier;

    /// Finishes or fails the accepted work, and then fails the work that came after this call. May block. A second
    /// call does nothing.
    fn close(&self);
}

#[cfg(any(test, feature = "simulated-disk"))]
pub type Barrier = Pin<Box<dyn Future<Output = Result<(), Unavailable>> + Send>>;

pub enum Work {
    Append(AppendWork),
    Command { command: Command, done: CommandDone },
}

/// Called with the outcome of a command, once the outcome is durable.
pub type CommandDone = Box<dyn FnOnce(Result<Applied, StoreError>) + Send>;

/// A batch to append.
pub struct NewAppend {
    pub batch: Checked,
    /// The leader epoch in which the batch was accepted.
    pub leadership: LeaderEpoch,
    /// Whether a transactional batch adds its partition to the transaction (Produce from version 12 on).
    pub joins: bool,
    /// The memory of a batch that the broker wrote anew.
    pub room: Option<CopyRoom>,
}

impl NewAppend {
    /// A batch that is accepted now.
    pub(super) fn now(partition: &Partition, batch: Checked, joins: bool) -> NewAppend {
        NewAppend { batch, leadership: partition.ends().leader_epoch, joins, room: None }
    }
}

pub struct AppendWork {
    pub partition: Arc<Partition>,
    pub batch: Checked,
    /// The leader epoch in which the batch was accepted.
    pub leadership: LeaderEpoch,
    /// Whether a transactional batch adds its partition to the transaction (Produce from version 12 on).
    pub joins: bool,
    /// Given back when the work leaves the queue: rounds have limits of their own.
    pub room: Option<CopyRoom>,
    pub done: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Work {
    /// The number of record bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Work::Append(append) => append.batch.bytes.len(),
            Work::Command { .. } => 0,
        }
    }

    /// Answers with the error. If the requester no longer waits, the answer is dropped.
    pub fn fail(self, error: StoreError) {
        match self {
            Work::Append(append) => drop(append.done.send(Err(error.into()))),
            Work::Command { done, .. } => done(Err(error)),
        }
    }
}

impl AppendWork {
    /// As in Kafka, a batch without a producer is a plain one.
    fn flags(&self) -> BatchFlags {
        let header = &self.batch.header;
        let is_plain = !header.attributes.transactional() || header.producer().is_none();
        match (is_plain, self.joins) {
            (true, _) => BatchFlags::default(),
            (false, false) => BatchFlags::TRANSACTIONAL,
            (false, true) => BatchFlags::TRANSACTIONAL.with(BatchFlags::JOINS),
        }
    }

    /// The command that commits the batch, with its bytes at this place.
    pub fn commit(&self, place: Place) -> Commit {
        let header = &self.batch.header;
        Commit {
            topic: self.partition.topic,
            partition: self.partition.index,
            bytes: u32::try_from(self.batch.bytes.len()).unwrap_or(u32::MAX),
            last_offset_delta: header.last_offset_delta,
            max_timestamp: header.max_timestamp,
            producer: header.producer().map(|producer| ProducerStamp {
                id: producer.id,
                epoch: producer.epoch,
                sequence: producer.base_sequence,
            }),
            flags: self.flags(),
            leadership: self.leadership,
            place,
        }
    }
}

impl Appended {
    /// The answer to an append whose commit has this outcome.
    pub fn from_outcome(outcome: Result<Applied, Refusal>) -> Result<Appended, AppendError> {
        match outcome {
            Ok(Applied::Appended(placed)) => {
                let (base_offset, log_start) = (placed.base_offset, placed.log_start);
                Ok(Appended { base_offset, log_start, repeated: false })
            }
            Ok(Applied::Duplicate { base_offset, log_start }) => {
                Ok(Appended { base_offset, log_start, repeated: true })
            }
            Ok(other) => unreachable!("a commit is not answered by {other:?}"),
            Err(Refusal::UnknownTopic | Refusal::UnknownPartition) => Err(AppendError::NotServing),
            Err(refusal) => Err(AppendError::Refused(refusal)),
        }
    }
}

impl dyn Line + '_ {
    /// Submits a command. The future resolves once its outcome is durable.
    pub fn command(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Applied, StoreError>> + Send + use<> {
        let (sender, answer) = oneshot::channel();
        // If the requester no longer waits, the answer is dropped.
        let done = Box::new(|outcome| drop(sender.send(outcome)));
        self.submit(Work::Command { command, done });
        async move { answer.await.unwrap_or(Err(Unavailable::Stopped.into())) }
    }

    /// Submits a command. The returned function blocks until its outcome is durable.
    pub fn command_blocking(&self, command: Command) -> impl FnOnce() -> Result<Applied, StoreError> + use<> {
        let (sender, answer) = mpsc::channel();
        let done = Box::new(move |outcome| drop(sender.send(outcome)));
        self.submit(Work::Command { command, done });
        move || answer.recv().unwrap_or(Err(Unavailable::Stopped.into()))
    }

    /// Submits a command and ignores its outcome.
    pub fn command_unanswered(&self, command: Command) {
        self.submit(Work::Command { command, done: Box::new(|_| {}) });
    }
}
