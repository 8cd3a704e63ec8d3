//! Bytes held for clients are charged to a budget, so that all of them together cannot make the
//! broker hold more than it was given. The server charges requests and answers; a handler whose
//! answer may be large asks how large.
//!
//! A charge that does not fit has to wait until another is given back. What is held until a *peer*
//! moves (half a request, an answer nobody reads) may never be given back; where somebody waits for
//! room, the peers that have not moved for the longest lose their connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::time::Moment;

/// A peer that moved within this time is not closed to make room.
const PATIENCE: Duration = Duration::from_secs(2);
/// What large things leave to small ones, and what is made room for at a time.
const EIGHTH: usize = 8;

/// So many bytes may be held: one budget each for small requests, large ones, and answers.
#[derive(Debug)]
pub struct Budget {
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
    bytes: usize,
    moved: Moment,
    shed: bool,
    waker: Waker,
}

pub type ConnectionId = u64;

/// Bytes that are given back when this is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub fn new(most: usize) -> Arc<Budget> {
        Arc::new(Budget { most, state: Mutex::default() })
    }

    /// Charges `bytes`. Without room `waker` is woken when some is given back; as the peers that
    /// are in the way may never move, the caller also has to ask again after a while.
    pub fn charge(self: &Arc<Budget>, asking: ConnectionId, bytes: usize, waker: &Waker) -> Option<Charge> {
        let mut state = self.state();
        // What is larger than the whole budget is let in when nothing else is.
        if state.held > 0 && state.held.saturating_add(bytes) > self.most {
            state.wait(asking, bytes, waker);
            return None;
        }
        state.waiting.remove(&asking);
        state.held = state.held.saturating_add(bytes);
        Some(Charge { budget: Arc::clone(self), bytes })
    }

    /// Whether something may be begun that will be charged when its size is known. Large things
    /// leave an eighth of the budget to small ones.
    pub fn has_room(&self, asking: ConnectionId, is_large: bool, waker: &Waker) -> bool {
        let mut state = self.state();
        let most = if is_large { self.most_of_large() } else { self.most };
        if state.held >= most {
            state.wait(asking, self.most / EIGHTH, waker);
            return false;
        }
        state.waiting.remove(&asking);
        true
    }

    /// Charges as much of `wanted` as may be had now: at most a quarter of what is left, so that
    /// many get something.
    pub fn take(self: &Arc<Budget>, wanted: usize) -> Charge {
        let mut state = self.state();
        let bytes = wanted.min(self.most_of_large().saturating_sub(state.held) / 4);
        state.held += bytes;
        Charge { budget: Arc::clone(self), bytes }
    }

    /// Charges what is there already.
    pub fn charge_at_once(self: &Arc<Budget>, bytes: usize) -> Charge {
        let mut state = self.state();
        state.held = state.held.saturating_add(bytes);
        Charge { budget: Arc::clone(self), bytes }
    }

    /// From now on `bytes` of `connection` are held until its peer moves, which it just did.
    pub fn peer_moved(&self, connection: ConnectionId, bytes: usize, waker: &Waker) {
        let peer = Peer { bytes, moved: Moment::now(), shed: false, waker: waker.clone() };
        self.state().peers.insert(connection, peer);
    }

    /// Nothing that `connection` holds waits for its peer any more.
    pub fn settled(&self, connection: ConnectionId) {
        self.state().peers.remove(&connection);
    }

    /// Whether `connection` has to go, to make room.
    pub fn sheds(&self, connection: ConnectionId) -> bool {
        self.state().peers.get(&connection).is_some_and(|peer| peer.shed)
    }

    pub fn forget(&self, connection: ConnectionId) {
        let mut state = self.state();
        state.peers.remove(&connection);
        state.waiting.remove(&connection);
    }

    fn most_of_large(&self) -> usize {
        self.most - self.most / EIGHTH
    }

    pub fn most(&self) -> usize {
        self.most
    }

    pub fn held(&self) -> usize {
        self.state().held
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock; if it did, the numbers would still be usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes who waits, and tells peers in the way to go until what they hold makes up for `bytes`.
    fn wait(&mut self, asking: ConnectionId, bytes: usize, waker: &Waker) {
        self.waiting.insert(asking, waker.clone());
        let mut idle: Vec<&mut Peer> = Vec::new();
        let mut room = 0;
        for (id, peer) in &mut self.peers {
            if peer.shed {
                room += peer.bytes;
            } else if *id != asking && peer.moved.elapsed() >= PATIENCE {
                idle.push(peer);
            }
        }
        idle.sort_by_key(|peer| peer.moved);
        for peer in idle {
            if room >= bytes {
                break;
            }
            room += peer.bytes;
            peer.shed = true;
            peer.waker.wake_by_ref();
        }
    }
}

impl Charge {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let more = self.bytes.saturating_sub(bytes);
        self.bytes -= more;
        drop(Charge { budget: Arc::clone(&self.budget), bytes: more });
    }

    /// What is held turned out to be so much. Nobody waits for the difference: it is held already.
    pub fn at_least(&mut self, bytes: usize) {
        if bytes > self.bytes {
            let more = self.budget.charge_at_once(bytes - self.bytes);
            self.absorb(more);
        }
    }

    /// Takes another charge of the same budget in.
    pub fn absorb(&mut self, mut other: Charge) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_a_quarter_of_what_is_left_and_an_eighth_stays_for_small_things() {
        let budget = Budget::new(800);
        let first = budget.take(1000);
        let second = budget.take(1000);
        assert_eq!((first.bytes(), second.bytes()), (175, 131));
        assert_eq!(budget.take(10).bytes(), 10);
        let rest: Vec<Charge> = (0..100).map(|_| budget.take(1000)).collect();
        assert!(budget.held() <= 700);
        assert!(budget.has_room(1, false, Waker::noop()));
        drop((first, second, rest));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_is_larger_than_the_budget_is_let_in_alone() {
        let budget = Budget::new(100);
        let small = budget.charge(1, 1, Waker::noop()).unwrap();
        assert!(budget.charge(2, 500, Waker::noop()).is_none());
        drop(small);
        let large = budget.charge(2, 500, Waker::noop()).unwrap();
        assert!(budget.charge(1, 1, Waker::noop()).is_none());
        drop(large);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_charge_can_grow_and_shrink() {
        let budget = Budget::new(100);
        let mut charge = budget.take(20);
        charge.at_least(50);
        charge.at_least(10);
        assert_eq!((charge.bytes(), budget.held()), (50, 50));
        charge.absorb(budget.charge_at_once(60));
        charge.shrink(30);
        assert_eq!((charge.bytes(), budget.held()), (30, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_have_not_moved_for_the_longest_go_first_and_no_more_than_it_takes() {
        let budget = Budget::new(1000);
        let _held = budget.charge_at_once(1000);
        for connection in [3, 1, 2] {
            budget.peer_moved(connection, 60, Waker::noop());
            crate::time::sleep(Duration::from_secs(3)).await;
        }
        budget.peer_moved(4, 60, Waker::noop());
        assert!(budget.charge(9, 100, Waker::noop()).is_none());
        let shed: Vec<ConnectionId> = (1..5).filter(|connection| budget.sheds(*connection)).collect();
        assert_eq!(shed, [1, 3]);
        // Asked again, what they will give back is counted.
        assert!(budget.charge(9, 100, Waker::noop()).is_none());
        assert!(!budget.sheds(2));
    }
}
