//! The queue of jobs: one of a key at a time, and keys take turns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use super::machine::Job;
use crate::types::IgnorePoison;

pub(super) struct Jobs<K, C> {
    queues: Mutex<Queues<K, C>>,
    ready: Notify,
}

struct Queues<K, C> {
    /// The waiting jobs of each key that has any, or that has one at work.
    waiting: BTreeMap<K, VecDeque<Job<C>>>,
    /// The keys with a waiting job and none at work, in the order of their turns.
    turns: VecDeque<K>,
}

impl<K: Ord + Clone, C> Jobs<K, C> {
    pub fn new() -> Jobs<K, C> {
        let queues = Queues { waiting: BTreeMap::new(), turns: VecDeque::new() };
        Jobs { queues: Mutex::new(queues), ready: Notify::new() }
    }

    pub fn push(&self, key: &K, job: Job<C>) {
        let mut queues = self.lock();
        match queues.waiting.get_mut(key) {
            Some(waiting) => waiting.push_back(job),
            None => {
                queues.waiting.insert(key.clone(), VecDeque::from([job]));
                self.take_turn(&mut queues, key.clone());
            }
        }
    }

    /// The next job. Its key gets no other one before [`Jobs::done`].
    pub fn take(&self) -> Option<(K, Job<C>)> {
        let mut queues = self.lock();
        while let Some(key) = queues.turns.pop_front() {
            if let Some(job) = queues.waiting.get_mut(&key).and_then(VecDeque::pop_front) {
                return Some((key, job));
            }
        }
        None
    }

    pub fn done(&self, key: &K) {
        let mut queues = self.lock();
        if queues.waiting.get(key).is_some_and(|waiting| !waiting.is_empty()) {
            self.take_turn(&mut queues, key.clone());
        } else {
            queues.waiting.remove(key);
        }
    }

    /// Ready when a job may be waiting.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Wakes the task that waits for [`Jobs::ready`] if there is a job to take.
    pub fn look_again(&self) {
        if !self.lock().turns.is_empty() {
            self.ready.notify_one();
        }
    }

    fn take_turn(&self, queues: &mut Queues<K, C>, key: K) {
        queues.turns.push_back(key);
        self.ready.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queues<K, C>> {
        self.queues.lock().ignoring_poison()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(jobs: &Jobs<&'static str, u32>) -> Option<(&'static str, u32)> {
        jobs.take().map(|(key, job)| (key, job.work()))
    }

    #[test]
    fn a_key_has_one_job_at_work_and_others_do_not_wait_for_it() {
        let jobs = Jobs::new();
        for number in [1, 2, 3] {
            jobs.push(&"a", Job::new(move || number));
        }
        jobs.push(&"b", Job::new(|| 4));
        assert_eq!(taken(&jobs), Some(("a", 1)));
        assert_eq!(taken(&jobs), Some(("b", 4)));
        assert_eq!(taken(&jobs), None, "the second one of `a` has to wait");
        jobs.done(&"b");
        assert_eq!(taken(&jobs), None);
        jobs.done(&"a");
        assert_eq!(taken(&jobs), Some(("a", 2)));
        jobs.done(&"a");
        jobs.push(&"b", Job::new(|| 5));
        assert_eq!([taken(&jobs), taken(&jobs)], [Some(("a", 3)), Some(("b", 5))]);
        jobs.done(&"a");
        jobs.done(&"b");
        assert!(jobs.lock().waiting.is_empty());
    }
}
