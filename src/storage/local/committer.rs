//! The queue of appends and commands, and the one writer of a data directory. The writer is a role rather
//! than a thread. A thread that submits work while the role is free takes it and runs rounds until the queue
//! is empty. In `fsync` mode the sync and the rest of the round move to the sync thread, so no thread of the
//! runtime waits for a sync.
//!
//! A round: take the queued work → apply → write → sync → publish, answer. Work that arrives meanwhile is the
//! next round; there is no timer.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};

use super::engine::{Engine, Round};
use crate::storage::Unavailable;
use crate::storage::line::Work;
use crate::storage::published::Published;
use crate::time::Moment;
use crate::types::IgnorePoison;

/// The maximum number of work items and of record bytes in one round. The rest waits for the next round.
const ROUND_WORK: usize = 4096;
const ROUND_BYTES: usize = 16 << 20;

/// After this many rounds a submitting thread passes the role to the sync thread, if there is one.
const ROUNDS_FOR_OTHERS: usize = 16;

pub struct Committer {
    queue: Mutex<Queue>,
    /// Notified when the role is free and the queue is closed.
    rested: Condvar,
    engine: Mutex<Engine>,
    published: Arc<Published>,
    /// `None` if rounds end on the thread that runs them, in tests that need a fixed order of events.
    sync_thread: Option<mpsc::Sender<Round>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    running: bool,
    closed: bool,
    /// Work that came after the close, while earlier work was not done. It fails after that.
    late: Vec<Work>,
}

impl Committer {
    /// With `threads`, syncs run on a thread of their own, which ends with the committer.
    pub(super) fn start(engine: Engine, threads: bool) -> std::io::Result<Arc<Committer>> {
        let (sync_thread, rounds) = mpsc::channel();
        let committer = Arc::new(Committer {
            queue: Mutex::default(),
            rested: Condvar::new(),
            published: Arc::clone(&engine.published),
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

    /// Queues the work, and runs rounds if no thread does so yet.
    pub(super) fn submit(&self, work: Work) {
        {
            let mut queue = self.queue();
            if queue.closed && queue.running {
                return queue.late.push(work);
            }
            if queue.closed {
                drop(queue);
                return work.fail(Unavailable::Stopped.into());
            }
            queue.waiting.push_back(work);
            if std::mem::replace(&mut queue.running, true) {
                return;
            }
        }
        self.run_rounds(self.sync_thread.as_ref());
    }

    /// Runs rounds until the queue is empty. A round that needs a sync, or the one after
    /// [`ROUNDS_FOR_OTHERS`] rounds, is passed to `sync_thread` together with the role.
    fn run_rounds(&self, sync_thread: Option<&mpsc::Sender<Round>>) {
        for count in 0.. {
            let Some(work) = self.take_work() else { return };
            self.published.stalls.round_begins();
            let round = self.engine().begin(work);
            let hand_over = round.wants_sync() || count == ROUNDS_FOR_OTHERS;
            match sync_thread.filter(|_| hand_over) {
                // The thread lives as long as the committer, so this send does not fail.
                Some(thread) => return drop(thread.send(round)),
                None => self.finish(round),
            }
        }
    }

    /// Syncs and finishes a round. The sync does not hold the engine's lock, so the engine can be used
    /// meanwhile.
    fn finish(&self, mut round: Round) {
        if round.wants_sync() {
            self.timed(|| round.sync());
        }
        self.published.stalls.round_ends();
        self.engine().finish(round);
    }

    /// Runs a sync and counts its duration.
    pub(super) fn timed<T>(&self, sync: impl FnOnce() -> T) -> T {
        let begun = Moment::now();
        let outcome = sync();
        self.published.counts.syncs.add(begun.elapsed());
        outcome
    }

    /// The work of the next round. If there is none, the role is free again.
    fn take_work(&self) -> Option<Vec<Work>> {
        loop {
            let mut queue = self.queue();
            let fitting = queue.fitting();
            if fitting > 0 {
                return Some(queue.waiting.drain(..fitting).collect());
            }
            drop(queue);
            self.engine().idle();
            if self.rest() {
                return None;
            }
        }
    }

    /// Frees the role, unless work has come. Returns whether the role is free.
    fn rest(&self) -> bool {
        let mut queue = self.queue();
        if !queue.waiting.is_empty() {
            return false;
        }
        if queue.late.is_empty() {
            queue.running = false;
            if queue.closed {
                self.rested.notify_all();
            }
            return true;
        }
        let late = std::mem::take(&mut queue.late);
        drop(queue);
        late.into_iter().for_each(|work| work.fail(Unavailable::Stopped.into()));
        false
    }

    /// Refuses new work and waits until the queued work is done. Returns `false` if it was already closed.
    pub(super) fn close(&self) -> bool {
        let mut queue = self.queue();
        if std::mem::replace(&mut queue.closed, true) {
            return false;
        }
        while queue.running {
            queue = self.rested.wait(queue).ignoring_poison();
        }
        true
    }

    pub(super) fn engine(&self) -> MutexGuard<'_, Engine> {
        // A panic inside a round ends the process (see `Engine::begin`), so a poisoned lock is never seen.
        self.engine.lock().ignoring_poison()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().ignoring_poison()
    }
}

impl Queue {
    /// The number of work items that fit into one round.
    fn fitting(&self) -> usize {
        let mut bytes = 0;
        let mut taken = 0;
        for work in self.waiting.iter().take(ROUND_WORK) {
            bytes += work.bytes();
            if taken > 0 && bytes > ROUND_BYTES {
                break;
            }
            taken += 1;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerSettings;
    use crate::kernel::Command;
    use crate::storage::{Location, Store, StoreError, StoreOptions};

    /// The numbers of the work that is done, in that order, and whether it was stored.
    type StoredWork = Arc<Mutex<Vec<(u32, bool)>>>;

    fn work(number: u32, done: &StoredWork, then: impl FnOnce() + Send + 'static) -> Work {
        let done = Arc::clone(done);
        let done = Box::new(move |outcome: Result<_, StoreError>| {
            done.lock().unwrap().push((number, outcome.is_ok()));
            then();
        });
        Work::Command { command: Command::NewProducer, done }
    }

    #[test]
    fn work_that_comes_while_the_store_closes_fails_after_earlier_work() {
        let options = StoreOptions::new(Location::Memory, Arc::new(BrokerSettings::default()));
        let (_store, local) = Store::with_local(options).unwrap();
        let committer = Arc::clone(local.committer());
        let (done, closing) = (StoredWork::default(), Arc::new(Mutex::new(None)));
        let (others, of_first, thread) = (Arc::clone(&done), Arc::clone(&committer), Arc::clone(&closing));
        // All of this happens before the first round ends.
        let during_the_round = move || {
            of_first.submit(work(2, &others, || ()));
            let closes = Arc::clone(&of_first);
            *thread.lock().unwrap() = Some(std::thread::spawn(move || closes.close()));
            while !of_first.queue().closed {
                std::thread::yield_now();
            }
            of_first.submit(work(3, &others, || ()));
        };
        committer.submit(work(1, &done, during_the_round));
        assert!(closing.lock().unwrap().take().unwrap().join().unwrap());
        committer.submit(work(4, &done, || ()));
        assert_eq!(*done.lock().unwrap(), [(1, true), (2, true), (3, false), (4, false)]);
    }
}
