//! The broker's clock, which a test turns forward.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::{HookError, TestHooks, refused};

/// The longest step.
const MOST: Duration = Duration::from_hours(10 * 365 * 24);

impl TestHooks {
    /// Turns the broker's clock forward, as if this much time had passed without a request. Returns when everything has
    /// ended that is overdue then: sessions and rebalances of groups, transactions, records, committed offsets, producer ids,
    /// transactional ids and delegation tokens. Compaction follows within `log.cleaner.backoff.ms`.
    ///
    /// Time that the runtime measures does not change: waits of requests and hooks, and idle connections.
    pub async fn turn_clock(&self, by: Duration) -> Result<(), HookError> {
        if by > MOST {
            let most = MOST.as_millis();
            return Err(HookError::Wrong(format!("the clock can be turned by at most {most} ms at a time")));
        }
        self.coordinators.transactions.turn_clock(by).await;
        self.coordinators.groups.clock_turned().await;
        let store = self.store.clone();
        let Ok(expired) = spawn_blocking(move || store.clock_turned()).await else {
            return Err(HookError::Refused("the removal of what has expired failed".to_owned()));
        };
        expired.await.map_err(|error| refused((&error).into()))
    }
}
