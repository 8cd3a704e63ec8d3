//! The queue of jobs: one of a key at a time, and keys take turns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use super::machine::Job;
use crate::types::IgnorePoison;

pub(super) struct Jobs<K, C> {
    queues: Mutex<Queues<K, C>>,
    ready: Notify,
    /// The memory of the jobs that wait or are at work.
    bytes: AtomicUsize,
}

struct Queues<K, C> {
    /// The jobs of each key that has any.
    by_key: BTreeMap<K, OfKey<C>>,
    /// The keys with a waiting job and none at work, in the order of their turns.
    turns: VecDeque<K>,
}

struct OfKey<C> {
    waiting: Option<Job<C>>,
    /// The memory of the job at work.
    at_work: Option<usize>,
}

impl<K: Ord + Clone, C> Jobs<K, C> {
    pub fn new() -> Jobs<K, C> {
        let queues = Queues { by_key: BTreeMap::new(), turns: VecDeque::new() };
        Jobs { queues: Mutex::new(queues), ready: Notify::new(), bytes: AtomicUsize::new(0) }
    }

    /// The memory of all jobs that are not done.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Queues a job. It replaces one of the key that waits, because that was decided on an older state.
    pub fn push(&self, key: &K, job: Job<C>) {
        self.bytes.fetch_add(job.bytes(), Ordering::Relaxed);
        let mut queues = self.lock();
        match queues.by_key.get_mut(key) {
            Some(of_key) => {
                if let Some(replaced) = of_key.waiting.replace(job) {
                    self.bytes.fetch_sub(replaced.bytes(), Ordering::Relaxed);
                }
            }
            None => {
                queues.by_key.insert(key.clone(), OfKey { waiting: Some(job), at_work: None });
                self.take_turn(&mut queues, key.clone());
            }
        }
    }

    /// The next job. Its key gets no other one before [`Jobs::done`].
    pub fn take(&self) -> Option<(K, Job<C>)> {
        let mut queues = self.lock();
        while let Some(key) = queues.turns.pop_front() {
            if let Some(of_key) = queues.by_key.get_mut(&key)
                && let Some(job) = of_key.waiting.take()
            {
                of_key.at_work = Some(job.bytes());
                return Some((key, job));
            }
        }
        None
    }

    pub fn done(&self, key: &K) {
        let mut queues = self.lock();
        let Some(of_key) = queues.by_key.get_mut(key) else { return };
        self.bytes.fetch_sub(of_key.at_work.take().unwrap_or(0), Ordering::Relaxed);
        if of_key.waiting.is_some() {
            self.take_turn(&mut queues, key.clone());
        } else {
            queues.by_key.remove(key);
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
        jobs.push(&"a", Job::new(0, || 1));
        jobs.push(&"b", Job::new(0, || 2));
        assert_eq!(taken(&jobs), Some(("a", 1)));
        jobs.push(&"a", Job::new(0, || 3));
        assert_eq!(taken(&jobs), Some(("b", 2)));
        assert_eq!(taken(&jobs), None, "the second one of `a` has to wait");
        jobs.done(&"b");
        assert_eq!(taken(&jobs), None);
        jobs.done(&"a");
        jobs.push(&"b", Job::new(0, || 4));
        assert_eq!([taken(&jobs), taken(&jobs)], [Some(("a", 3)), Some(("b", 4))]);
        jobs.done(&"a");
        jobs.done(&"b");
        assert!(jobs.lock().by_key.is_empty());
    }

    #[test]
    fn a_newer_job_replaces_one_that_waits_and_jobs_count_until_they_are_done() {
        let jobs = Jobs::new();
        jobs.push(&"a", Job::new(100, || 1));
        jobs.push(&"b", Job::new(10, || 2));
        jobs.push(&"a", Job::new(200, || 3));
        assert_eq!(jobs.bytes(), 210);
        assert_eq!(taken(&jobs), Some(("a", 3)), "in the turn of the one that it replaced");
        jobs.push(&"a", Job::new(1, || 4));
        assert_eq!(jobs.bytes(), 211, "it is at work");
        jobs.done(&"a");
        assert_eq!(jobs.bytes(), 11);
        assert_eq!([taken(&jobs), taken(&jobs)], [Some(("b", 2)), Some(("a", 4))]);
        jobs.done(&"a");
        jobs.done(&"b");
        assert_eq!(jobs.bytes(), 0);
    }
}
