//! Threads for reads that may wait for the disk. The operating system gives them a core only after the threads that serve clients:
//! a consumer that reads gigabytes of old records does not delay those that read the newest.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The priority of these threads, in steps of `nice`. With it they still get a tenth of a core that others want too.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// One pool for the whole process. Its threads end when they have had nothing to do for some seconds.
static THREADS: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let mut builder = Builder::new_current_thread();
    builder.thread_name("disk-reader");
    #[cfg(target_os = "linux")]
    builder.on_thread_start(|| {
        // Linux takes `None` for the thread and not for the process. If it is refused, the reads have the priority of
        // everything else.
        let _ = rustix::process::setpriority_process(None, NICE);
    });
    builder.build().ok()
});

/// Runs a job that reads from the disk.
pub fn read<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match &*THREADS {
        Some(threads) => threads.spawn_blocking(job),
        None => tokio::task::spawn_blocking(job),
    }
}
