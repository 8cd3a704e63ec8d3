//! The work of a broker that waits for the next entry.

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
    waiting: Mutex<Waiting>,
    pushed: Notify,
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<Work>,
    barriers: Vec<Reached>,
    closed: bool,
}

/// The other end of a barrier.
pub type Reached = oneshot::Sender<Result<(), Unavailable>>;

impl Queue {
    pub fn push(&self, work: Work) {
        let mut waiting = lock(&self.waiting);
        if waiting.closed {
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

    /// The work for the next entry, and the barriers that end when everything up to it is published.
    pub async fn take(&self) -> (Vec<Work>, Vec<Reached>) {
        loop {
            let taken = lock(&self.waiting).take();
            if let Some(taken) = taken {
                return taken;
            }
            self.pushed.notified().await;
        }
    }

    /// Refuses new work, and fails the work that is in no entry yet.
    pub fn close(&self) {
        let left = {
            let mut waiting = lock(&self.waiting);
            waiting.closed = true;
            waiting.barriers.clear();
            std::mem::take(&mut waiting.work)
        };
        left.into_iter().for_each(|work| work.fail(Unavailable::Stopped.into()));
    }
}

impl Waiting {
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
