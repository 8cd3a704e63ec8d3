//! Threads of low priority, for work that nobody waits for at once: reading cold data, the scrub, compaction.
//!
//! Such work keeps a core busy for as long as there is data. The threads that serve requests go first.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// The nice value of the threads: they get about a tenth of a core that is also used by normal threads.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// A runtime only for its threads for blocking work. It is never shut down.
static THREADS: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    Builder::new_current_thread().thread_name("background").on_thread_start(lower_priority).build().ok()
});

/// Runs `work`, which may wait for the disk, on a thread of low priority.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match &*THREADS {
        Some(runtime) => runtime.spawn_blocking(work),
        None => Handle::current().spawn_blocking(work),
    }
}

/// On Linux a thread has a priority of its own. Elsewhere it keeps that of the process.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    // Where it is not allowed, the thread works at normal priority.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_at_a_lower_priority_than_the_caller() {
        let nice = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let before = nice();
        assert_eq!(spawn(nice).await.unwrap(), NICE.max(before));
        assert_eq!(nice(), before);
    }
}
