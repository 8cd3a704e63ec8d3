//! The work of a broker that waits for the next entry. Work that the broker cannot do any more fails after the work
//! of the entry that is on its way.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::{Notify, oneshot};

use super::lock;
use crate::storage::Unavailable;
use crate::storage::line::Work;

/// The maximum number of work items and of record bytes in one entry. The rest waits for the next entry.
const MOST_WORK: usize = 4096;
const MOST_BYTES: usize = 1 << 20;

#[derive(Default)]
pub struct Queue {
    waiting: Mutex<QueuedWork>,
    pushed: Notify,
}

#[derive(Default)]
struct QueuedWork {
    work: VecDeque<Work>,
    barriers: Vec<Reached>,
    /// No more entries are composed.
    closed: bool,
    /// The outcome of the last entry is known, or nobody waits for it any more.
    ended: bool,
}

/// The other end of a barrier.
pub type Reached = oneshot::Sender<Result<(), Unavailable>>;

impl Queue {
    pub fn push(&self, work: Work) {
        let mut waiting = lock(&self.waiting);
        if waiting.ended {
            drop(waiting);
            return work.fail(Unavailable::Stopped.into());
        }
        waiting.work.push_back(work);
        drop(waiting);
        self.pushed.notify_one();
    }

    pub fn add_barrier(&self, reached: Reached) {
        let mut waiting = lock(&self.waiting);
        if !waiting.closed {
            waiting.barriers.push(reached);
            self.pushed.notify_one();
        }
    }

    /// The work for the next entry, and the barriers that end when everything up to it is published. `None` once the
    /// queue is closed.
    pub async fn take(&self) -> Option<(Vec<Work>, Vec<Reached>)> {
        loop {
            {
                let mut waiting = lock(&self.waiting);
                if waiting.closed {
                    return None;
                }
                if let Some(taken) = waiting.take() {
                    return Some(taken);
                }
            }
            self.pushed.notified().await;
        }
    }

    /// From now on no work is taken.
    pub fn close(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.closed = true;
        waiting.barriers.clear();
        drop(waiting);
        self.pushed.notify_one();
    }

    /// Fails the work that is in no entry, and all work that still comes. No entry may be on its way.
    pub fn end(&self) {
        self.close();
        loop {
            let left = {
                let mut waiting = lock(&self.waiting);
                waiting.ended = waiting.work.is_empty();
                std::mem::take(&mut waiting.work)
            };
            if left.is_empty() {
                return;
            }
            left.into_iter().for_each(|work| work.fail(Unavailable::Stopped.into()));
        }
    }
}

impl QueuedWork {
    fn take(&mut self) -> Option<(Vec<Work>, Vec<Reached>)> {
        let mut bytes = 0;
        let fits = |work: &&Work| {
            bytes += work.bytes();
            bytes <= MOST_BYTES
        };
        let fitting = self.work.iter().take(MOST_WORK).take_while(fits).count();
        let work: Vec<Work> = self.work.drain(..fitting.max(1).min(self.work.len())).collect();
        let barriers = std::mem::take(&mut self.barriers);
        (!work.is_empty() || !barriers.is_empty()).then_some((work, barriers))
    }
}
