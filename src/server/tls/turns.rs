//! The turns of handshakes: only a limited number are under way at a time. If all turns are taken and others wait, the
//! slow ones are cut off, so that clients which do not answer keep no others out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::time::{self, Moment};

/// The time that a handshake has if hardly any others wait. On a good network it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time that it has whatever number of others wait, and the interval at which it looks for them.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(in crate::server) struct Turns {
    free: Arc<Semaphore>,
    most: usize,
    waiting: AtomicUsize,
}

/// One turn, until this is dropped.
#[derive(Debug)]
pub(in crate::server) struct Turn {
    turns: Arc<Turns>,
    begun: Moment,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A handshake that waits for its turn, until this is dropped.
struct HandshakeWait<'a>(&'a Turns);

impl Turns {
    pub(in crate::server) fn new(most: usize) -> Arc<Turns> {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Turns { free: Arc::new(Semaphore::new(most)), most, waiting: AtomicUsize::new(0) })
    }

    /// Waits for a turn, in the order of the calls.
    pub(in crate::server) async fn take(self: &Arc<Turns>) -> Turn {
        let waiting = HandshakeWait::new(self);
        // The semaphore is never closed.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        drop(waiting);
        Turn { turns: Arc::clone(self), begun: Moment::now(), _permit: permit }
    }

    /// The time that each handshake has now. `None` while no other one waits.
    ///
    /// The more wait, the less it is, so that the last of them has its turn after about [`PATIENCE`], too.
    fn patience(&self) -> Option<Duration> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let share = self.most as f64 / (self.most as f64 + waiting as f64);
        (waiting > 0).then(|| PATIENCE.mul_f64(share).max(LEAST_PATIENCE))
    }
}

impl HandshakeWait<'_> {
    fn new(turns: &Turns) -> HandshakeWait<'_> {
        turns.waiting.fetch_add(1, Ordering::Relaxed);
        HandshakeWait(turns)
    }
}

impl Drop for HandshakeWait<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turn {
    /// Ready when the turn is needed by others.
    pub(in crate::server) async fn is_cut_off(&self) {
        while self.turns.patience().is_none_or(|patience| self.begun.elapsed() < patience) {
            time::sleep(LEAST_PATIENCE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_handshake_keeps_its_turn_until_another_waits_for_it() {
        let turns = Turns::new(1);
        let slow = turns.take().await;
        let is_cut_off = time::within(Duration::from_secs(60), slow.is_cut_off());
        assert!(is_cut_off.await.is_none(), "nobody waits");
        let (_next, ()) = tokio::join!(turns.take(), async {
            slow.is_cut_off().await;
            drop(slow);
        });
        assert_eq!(turns.patience(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_has_nearly_a_second_for_itself_if_few_wait() {
        let turns = Turns::new(100);
        let mut taken = Vec::new();
        for _ in 0..100 {
            taken.push(turns.take().await);
        }
        let begun = Moment::now();
        let last = taken.pop().unwrap();
        let (_next, ()) = tokio::join!(turns.take(), async {
            last.is_cut_off().await;
            drop(last);
        });
        assert!(begun.elapsed() >= PATIENCE.mul_f64(0.99) && begun.elapsed() <= PATIENCE + LEAST_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_do_not_answer_the_next_has_its_turn_soon() {
        let turns = Turns::new(100);
        for _ in 0..2_000 {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                let turn = turns.take().await;
                turn.is_cut_off().await;
            });
        }
        tokio::task::yield_now().await;
        let begun = Moment::now();
        turns.take().await;
        assert!(begun.elapsed() <= 3 * PATIENCE, "{:?}", begun.elapsed());
    }
}
