//! The memory of batches that the broker wrote anew, with another codec or other timestamps, until they leave the queue
//! of the store. The bytes of a client are charged until it has its answer. These are other bytes, and there can be
//! ten thousand times as many of them. So all of them together have a limit, and a request waits before it adds more.
//! Each request can have one batch beyond it, which it wrote anew while others did.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The maximum number of their bytes, about those of one round. A larger batch waits until it is the only one.
const MOST: u32 = 16 << 20;

/// The memory of one such batch, which others get when this is dropped.
pub type CopyRoom = OwnedSemaphorePermit;

pub struct Copies(Arc<Semaphore>);

impl Default for Copies {
    fn default() -> Copies {
        Copies(Arc::new(Semaphore::new(MOST as usize)))
    }
}

impl Copies {
    /// Whether one more batch may be written anew now. Its size is not known before.
    pub fn has_room(&self) -> bool {
        self.0.available_permits() > 0
    }

    /// Resolves when one more batch may be written anew, in the order of the calls.
    pub async fn wait(&self) {
        drop(self.take(1).await);
    }

    /// Waits until there is memory for a batch of `bytes`.
    pub async fn hold(&self, bytes: usize) -> CopyRoom {
        self.take(u32::try_from(bytes).unwrap_or(MOST).min(MOST)).await
    }

    async fn take(&self, bytes: u32) -> CopyRoom {
        Arc::clone(&self.0).acquire_many_owned(bytes).await.expect("the semaphore is never closed")
    }
}
