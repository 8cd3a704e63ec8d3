//! The one writer of a data directory: a role rather than a thread. Whoever brings work and finds
//! the role free takes it and runs rounds until nothing waits; in `fsync` mode the wait for the
//! disk, and what is left to do after it, moves to the sync thread, so that no thread of the
//! runtime ever waits for a disk.
//!
//! A round: take what waits → apply → write → sync → publish, answer. What arrives meanwhile is
//! the next round; there is no timer.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use tokio::sync::oneshot;

use super::counts::Counts;
use super::engine::{Engine, Round};
use super::partition::{Appended, Partition};
use super::{AppendError, StoreError};
use crate::kernel::{Applied, Command};
use crate::record::Checked;
use crate::time::Moment;

/// A round takes at most this many pieces of work and this many record bytes; the rest is the
/// next round.
const ROUND_WORK: usize = 4096;
const ROUND_BYTES: usize = 16 << 20;

/// After this many rounds for others the role goes to the sync thread, where there is one.
const ROUNDS_FOR_OTHERS: usize = 16;

pub(super) enum Work {
    Append(AppendWork),
    Command { command: Command, done: Done },
}

/// Told the outcome of a command, once it is durable.
pub(super) type Done = Box<dyn FnOnce(Result<Applied, StoreError>) + Send>;

pub(super) struct AppendWork {
    pub(super) partition: Arc<Partition>,
    pub(super) batch: Checked,
    pub(super) done: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Work::Append(append) => append.batch.bytes.len(),
            Work::Command { .. } => 0,
        }
    }

    /// Nobody waits for an answer that was given up; that is no error.
    pub(super) fn fail(self, error: StoreError) {
        match self {
            Work::Append(append) => drop(append.done.send(Err(error.into()))),
            Work::Command { done, .. } => done(Err(error)),
        }
    }
}

pub struct Committer {
    queue: Mutex<Queue>,
    /// The role became free.
    rested: Condvar,
    engine: Mutex<Engine>,
    counts: Arc<Counts>,
    /// Absent where rounds end on the thread that runs them: in memory, and in tests that want
    /// one order of events.
    sync_thread: Option<mpsc::Sender<Round>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    running: bool,
    closed: bool,
}

impl Committer {
    /// With `threads`, syncs run on a thread of their own that ends when the committer does.
    pub(super) fn start(engine: Engine, threads: bool) -> std::io::Result<Arc<Committer>> {
        let (sync_thread, rounds) = mpsc::channel();
        let committer = Arc::new(Committer {
            queue: Mutex::default(),
            rested: Condvar::new(),
            counts: Arc::clone(&engine.counts),
            engine: Mutex::new(engine),
            sync_thread: threads.then_some(sync_thread),
        });
        if threads {
            let held = Arc::downgrade(&committer);
            std::thread::Builder::new().name("sync".into()).spawn(move || {
                for round in rounds {
                    let Some(committer) = held.upgrade() else { return };
                    committer.finish(round);
                    committer.run_rounds(None);
                }
            })?;
        }
        Ok(committer)
    }

    /// Puts the work in line and, where nobody does it yet, does it.
    pub(super) fn submit(&self, work: Work) {
        {
            let mut queue = self.queue();
            if queue.closed {
                drop(queue);
                return work.fail(StoreError::Stopped);
            }
            queue.waiting.push_back(work);
            if std::mem::replace(&mut queue.running, true) {
                return;
            }
        }
        self.run_rounds(self.sync_thread.as_ref());
    }

    /// Puts a command in line; the future resolves when its outcome is durable.
    pub(super) fn command(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Applied, StoreError>> + Send + use<> {
        let (told, answer) = oneshot::channel();
        // Who gave up waiting is told nothing; that is no error.
        let done = Box::new(|outcome| drop(told.send(outcome)));
        self.submit(Work::Command { command, done });
        async move { answer.await.unwrap_or(Err(StoreError::Stopped)) }
    }

    /// Runs rounds until nothing waits. A round that wants a sync, or one too many for others, is
    /// handed to `sync_thread` together with the role.
    fn run_rounds(&self, sync_thread: Option<&mpsc::Sender<Round>>) {
        for count in 0.. {
            let Some(work) = self.take_work() else { return };
            let round = self.engine().begin(work);
            let hand_over = round.wants_sync() || count == ROUNDS_FOR_OTHERS;
            match sync_thread.filter(|_| hand_over) {
                // The thread lives as long as the committer: it is only gone when we are.
                Some(thread) => return drop(thread.send(round)),
                None => self.finish(round),
            }
        }
    }

    /// The sync, without the engine's lock: what arrives now can be looked at meanwhile.
    fn finish(&self, mut round: Round) {
        if round.wants_sync() {
            self.timed(|| round.sync());
        }
        self.engine().finish(round);
    }

    /// Runs a sync and counts how long it took.
    pub(super) fn timed<T>(&self, sync: impl FnOnce() -> T) -> T {
        let begun = Moment::now();
        let outcome = sync();
        self.counts.syncs.add(begun.elapsed());
        outcome
    }

    fn take_work(&self) -> Option<Vec<Work>> {
        let mut queue = self.queue();
        let mut bytes = 0;
        let mut taken = 0;
        for work in queue.waiting.iter().take(ROUND_WORK) {
            bytes += work.bytes();
            if taken > 0 && bytes > ROUND_BYTES {
                break;
            }
            taken += 1;
        }
        if taken == 0 {
            drop(queue);
            self.engine().idle();
            queue = self.queue();
            if queue.waiting.is_empty() {
                queue.running = false;
                if queue.closed {
                    self.rested.notify_all();
                }
                return None;
            }
            drop(queue);
            return self.take_work();
        }
        Some(queue.waiting.drain(..taken).collect())
    }

    /// Refuses all that comes, and returns when what was in line is done. `false`: it was closed
    /// already.
    pub(super) fn close(&self) -> bool {
        let mut queue = self.queue();
        if std::mem::replace(&mut queue.closed, true) {
            return false;
        }
        while queue.running {
            queue = self.rested.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    pub(super) fn engine(&self) -> MutexGuard<'_, Engine> {
        // A panic inside a round ends the process (see `Engine::begin`): a poisoned lock is never seen.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
