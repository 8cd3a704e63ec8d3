//! The changes of a request that names several things. All of them are queued before the first wait, so that they
//! share a sync. Each succeeds or fails on its own.

use std::future::{Future, ready};
use std::panic::resume_unwind;
use std::time::Duration;

use tokio::task::spawn;

use super::Later;
use super::error::{ErrorCode, Refusal};
use crate::time::{Moment, within};

/// One change: refused before it began, or queued.
pub type QueuedChange<T = ()> = Result<Later<Result<T, Refusal>>, Refusal>;

/// Queues a change whose error becomes a refusal.
pub fn queue<T, E>(change: impl Future<Output = Result<T, E>> + Send + 'static) -> QueuedChange<T>
where
    for<'a> Refusal: From<&'a E>,
{
    Ok(Box::pin(async move { change.await.map_err(|error| Refusal::from(&error)) }))
}

/// A change that is done already, for example because nothing changes.
pub fn done<T: Send + 'static>(outcome: T) -> QueuedChange<T> {
    Ok(Box::pin(ready(Ok(outcome))))
}

/// Waits for all changes, in their order.
pub async fn outcomes<K, T>(queued: Vec<(K, QueuedChange<T>)>) -> Vec<(K, Result<T, Refusal>)> {
    wait(queued, None).await
}

/// Waits for queued changes, also if the client goes away meanwhile: they happen all the same, so the work that follows them
/// has to be done. The turn is given back afterwards.
pub async fn to_the_end<T: Send + 'static>(
    changes: impl Future<Output = T> + Send + 'static,
    turn: impl Send + 'static,
) -> T {
    let ended = spawn(async move {
        let outcome = changes.await;
        drop(turn);
        outcome
    });
    ended.await.unwrap_or_else(|panic| resume_unwind(panic.into_panic()))
}

/// The time that a request gives its changes.
#[derive(Clone, Copy)]
pub struct Deadline {
    begun: Moment,
    timeout: Duration,
}

impl Deadline {
    pub fn of_request(timeout_ms: i32) -> Deadline {
        let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
        Deadline { begun: Moment::now(), timeout }
    }

    /// As in Kafka, a request with a timeout of 0 or less starts nothing.
    pub fn starts_nothing(self) -> bool {
        self.timeout.is_zero()
    }

    /// Waits for all changes. Those that take too long are REQUEST_TIMED_OUT; they may still be done later.
    pub async fn outcomes<K, T>(self, queued: Vec<(K, QueuedChange<T>)>) -> Vec<(K, Result<T, Refusal>)> {
        wait(queued, Some(self)).await
    }

    fn left(self) -> Duration {
        self.timeout.saturating_sub(self.begun.elapsed())
    }
}

async fn wait<K, T>(
    queued: Vec<(K, QueuedChange<T>)>,
    deadline: Option<Deadline>,
) -> Vec<(K, Result<T, Refusal>)> {
    let mut outcomes = Vec::with_capacity(queued.len());
    for (of, change) in queued {
        let outcome = match (change, deadline) {
            (Err(refusal), _) => Err(refusal),
            (Ok(change), None) => change.await,
            (Ok(change), Some(deadline)) => {
                let in_time = within(deadline.left(), change).await;
                in_time.unwrap_or_else(|| Err(ErrorCode::RequestTimedOut.into()))
            }
        };
        outcomes.push((of, outcome));
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    use tokio::sync::{Mutex, oneshot};

    use super::*;

    #[tokio::test]
    async fn the_work_after_a_change_is_done_and_the_turn_kept_until_then_also_if_the_client_goes_away() {
        let (durable, change) = oneshot::channel::<()>();
        let (done, work) = oneshot::channel();
        let turns = Arc::new(Mutex::new(()));
        let turn = Arc::clone(&turns).lock_owned().await;
        let changes = async move {
            change.await.unwrap();
            done.send(()).unwrap();
        };
        let mut waiting = Box::pin(to_the_end(changes, turn));
        assert!(poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await);
        drop(waiting);
        assert!(turns.try_lock().is_err());
        durable.send(()).unwrap();
        work.await.unwrap();
        drop(turns.lock().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_takes_too_long_is_refused_and_those_that_are_done_keep_their_outcome() {
        let slow: QueuedChange = Ok(Box::pin(async {
            crate::time::sleep(Duration::from_secs(2)).await;
            Ok(())
        }));
        let refused: QueuedChange = Err(ErrorCode::InvalidRequest.into());
        let queued = vec![("slow", slow), ("refused", refused), ("done", done(()))];
        let outcomes = Deadline::of_request(1_000).outcomes(queued).await;
        let codes = outcomes.into_iter().map(|(name, outcome)| (name, outcome.err().map(|error| error.code)));
        let expected = [
            ("slow", Some(ErrorCode::RequestTimedOut)),
            ("refused", Some(ErrorCode::InvalidRequest)),
            ("done", None),
        ];
        assert_eq!(codes.collect::<Vec<_>>(), expected);
    }
}
