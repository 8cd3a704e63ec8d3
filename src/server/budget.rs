//! Bytes held for clients are charged to a budget, so that all of them together cannot make the
//! broker hold more than it was given.
//!
//! A charge that does not fit has to wait until another is given back. What is held until a *peer*
//! moves (half a request, an answer nobody reads) may never be given back; where somebody waits for
//! room, the peer that has not moved for the longest loses its connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::time::Moment;

/// A peer that moved within this time is not closed to make room.
const PATIENCE: Duration = Duration::from_secs(2);

/// One for requests, one for answers.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    /// Connections that wait for room, to be woken when there is some.
    waiting: BTreeMap<ConnectionId, Waker>,
    /// Connections whose bytes are held until their peer moves.
    peers: BTreeMap<ConnectionId, Peer>,
}

#[derive(Debug)]
struct Peer {
    moved: Moment,
    shed: bool,
    waker: Waker,
}

pub(super) type ConnectionId = u64;

/// Bytes that are given back when this is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Arc<Budget> {
        Arc::new(Budget { most, state: Mutex::default() })
    }

    /// Charges `bytes`. Without room `waker` is woken when some is given back; as the peers that
    /// are in the way may never move, the caller also has to ask again after a while.
    pub(super) fn charge(
        self: &Arc<Budget>,
        asking: ConnectionId,
        bytes: usize,
        waker: &Waker,
    ) -> Option<Charge> {
        let mut state = self.state();
        // What is larger than the whole budget is let in when nothing else is.
        if state.held > 0 && state.held.saturating_add(bytes) > self.most {
            state.wait(asking, waker);
            return None;
        }
        state.waiting.remove(&asking);
        state.held = state.held.saturating_add(bytes);
        Some(Charge { budget: Arc::clone(self), bytes })
    }

    /// Whether anything may be begun that will be charged when its size is known.
    pub(super) fn has_room(&self, asking: ConnectionId, waker: &Waker) -> bool {
        let mut state = self.state();
        if state.held >= self.most {
            state.wait(asking, waker);
            return false;
        }
        state.waiting.remove(&asking);
        true
    }

    /// Charges what is there already.
    pub(super) fn charge_at_once(self: &Arc<Budget>, bytes: usize) -> Charge {
        let mut state = self.state();
        state.held = state.held.saturating_add(bytes);
        Charge { budget: Arc::clone(self), bytes }
    }

    /// From now on what `connection` holds is held until its peer moves, which it just did.
    pub(super) fn peer_moved(&self, connection: ConnectionId, waker: &Waker) {
        let peer = Peer { moved: Moment::now(), shed: false, waker: waker.clone() };
        self.state().peers.insert(connection, peer);
    }

    /// Nothing that `connection` holds waits for its peer any more.
    pub(super) fn settled(&self, connection: ConnectionId) {
        self.state().peers.remove(&connection);
    }

    /// Whether `connection` has to go, to make room.
    pub(super) fn sheds(&self, connection: ConnectionId) -> bool {
        self.state().peers.get(&connection).is_some_and(|peer| peer.shed)
    }

    pub(super) fn forget(&self, connection: ConnectionId) {
        let mut state = self.state();
        state.peers.remove(&connection);
        state.waiting.remove(&connection);
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.state().held
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock; if it did, the numbers would still be usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, asking: ConnectionId, waker: &Waker) {
        self.waiting.insert(asking, waker.clone());
        let others = self.peers.iter_mut().filter(|(id, peer)| **id != asking && !peer.shed);
        let slowest = others.min_by_key(|(_, peer)| peer.moved);
        if let Some((_, peer)) = slowest
            && peer.moved.elapsed() >= PATIENCE
        {
            peer.shed = true;
            peer.waker.wake_by_ref();
        }
    }
}

impl Charge {
    /// What is held turned out to be so much. Nobody waits for the difference: it is held already.
    pub(super) fn at_least(&mut self, bytes: usize) {
        if bytes > self.bytes {
            let more = self.budget.charge_at_once(bytes - self.bytes);
            self.absorb(more);
        }
    }

    /// Takes another charge of the same budget in.
    pub(super) fn absorb(&mut self, mut other: Charge) {
        self.bytes = self.bytes.saturating_add(std::mem::take(&mut other.bytes));
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut state = self.budget.state();
        state.held = state.held.saturating_sub(self.bytes);
        for (_, waker) in std::mem::take(&mut state.waiting) {
            waker.wake();
        }
    }
}
