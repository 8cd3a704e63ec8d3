//! Memory for clients is charged to a budget, so that all clients together cannot exceed the broker's
//! limit. The server charges requests and encoded responses. The memory for serving a request is charged
//! to its [`Room`] before it is allocated.
//!
//! A charge that does not fit waits until another one is released. Bytes that are held until a *peer*
//! reads or sends (half a request, an unread response) may never be released. So while a charge waits,
//! the peers that have been inactive for the longest lose their connections.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::time::{self, Moment};

/// A peer that was active within this time is not disconnected to free memory.
const PATIENCE: Duration = Duration::from_secs(2);
/// One eighth: the part of a budget that large requests leave to small ones, and the part that is freed
/// at a time.
const EIGHTH: usize = 8;
/// A long poll keeps its memory for at least this long before it gives way. Its client polls again at
/// once, and would otherwise do so in a loop while another request waits. It is much less than
/// [`PATIENCE`], so that several polls can take turns before a connection that waits with half a request
/// is closed.
pub const LEAST_POLL: Duration = Duration::from_millis(100);
/// The interval at which a waiting request checks whether an inactive peer has to be disconnected.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Requests up to this size are served without a charge, because each connection has only a few of them
/// at a time.
const UNCHARGED: usize = 4 << 10;
/// Requests up to this size do not wait: the server starts none while the budget is used up.
const SMALL: usize = 64 << 10;

/// A limit on the bytes held. There is one budget each for small requests, large requests and responses.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    /// Connections that wait for memory, to be woken when some is released.
    waiting: BTreeMap<ConnectionId, Waker>,
    /// Connections whose bytes are held until their peer reads or sends.
    peers: BTreeMap<ConnectionId, Peer>,
    /// Long polls that hold memory; they are woken when a request waits for it.
    polls: BTreeMap<ConnectionId, Waker>,
}

#[derive(Debug)]
struct Peer {
    bytes: usize,
    moved: Moment,
    shed: bool,
    waker: Waker,
}

pub type ConnectionId = u64;

/// Bytes that are released when this is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

/// The memory for serving one request: the data that a handler collects, its response, and the encoded
/// response.
#[derive(Debug)]
pub struct Room {
    budget: Arc<Budget>,
    connection: ConnectionId,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    /// The charge for the whole request; `None` if it is too small to be charged.
    charge: Option<Charge>,
}

impl Budget {
    pub fn new(most: usize) -> Arc<Budget> {
        Arc::new(Budget { most, state: Mutex::default() })
    }

    /// Charges `bytes`. If they do not fit, `waker` is woken when memory is released. The peers that hold
    /// it may stay inactive, so the caller also has to try again after a while.
    pub fn charge(self: &Arc<Budget>, asking: ConnectionId, bytes: usize, waker: &Waker) -> Option<Charge> {
        let mut state = self.state();
        // A charge larger than the whole budget is accepted if nothing else is held.
        if state.held > 0 && state.held.saturating_add(bytes) > self.most {
            state.wait(asking, bytes, waker);
            return None;
        }
        state.waiting.remove(&asking);
        state.held = state.held.saturating_add(bytes);
        Some(Charge { budget: Arc::clone(self), bytes })
    }

    /// Whether work may begin that is charged once its size is known. Large requests leave an eighth of
    /// the budget to small ones.
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

    /// Charges as much of `wanted` as is free now, but at most a quarter of the free memory, so that many
    /// get some.
    pub fn take(self: &Arc<Budget>, wanted: usize) -> Charge {
        let mut state = self.state();
        let bytes = wanted.min(self.most_of_large().saturating_sub(state.held) / 4);
        state.held += bytes;
        Charge { budget: Arc::clone(self), bytes }
    }

    /// Charges memory that is already allocated.
    pub fn charge_at_once(self: &Arc<Budget>, bytes: usize) -> Charge {
        let mut state = self.state();
        state.held = state.held.saturating_add(bytes);
        Charge { budget: Arc::clone(self), bytes }
    }

    /// Records that the peer of `connection` was active just now, and that `bytes` are held until it is
    /// active again.
    pub fn peer_moved(&self, connection: ConnectionId, bytes: usize, waker: &Waker) {
        let peer = Peer { bytes, moved: Moment::now(), shed: false, waker: waker.clone() };
        self.state().peers.insert(connection, peer);
    }

    /// Records that nothing of `connection` waits for its peer any more.
    pub fn settled(&self, connection: ConnectionId) {
        self.state().peers.remove(&connection);
    }

    /// Whether `connection` has to be closed to free memory.
    pub fn sheds(&self, connection: ConnectionId) -> bool {
        self.state().peers.get(&connection).is_some_and(|peer| peer.shed)
    }

    pub fn forget(&self, connection: ConnectionId) {
        let mut state = self.state();
        state.peers.remove(&connection);
        state.waiting.remove(&connection);
        state.polls.remove(&connection);
    }

    /// The limit for all large requests together, and therefore for one of them.
    pub fn most_of_large(&self) -> usize {
        self.most - self.most / EIGHTH
    }

    pub fn most(&self) -> usize {
        self.most
    }

    pub fn held(&self) -> usize {
        self.state().held
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics under the lock; if it did, the numbers would still be valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds a waiting connection, and marks inactive peers to be closed until they free `bytes`.
    fn wait(&mut self, asking: ConnectionId, bytes: usize, waker: &Waker) {
        self.waiting.insert(asking, waker.clone());
        std::mem::take(&mut self.polls).into_values().for_each(Waker::wake);
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

impl Room {
    pub fn new(budget: &Arc<Budget>, connection: ConnectionId) -> Room {
        Room { budget: Arc::clone(budget), connection, taken: Mutex::default() }
    }

    /// The most memory for a response whose size the client decides.
    pub fn most(&self) -> usize {
        self.budget.most_of_large()
    }

    /// The part of [`Room::most`] that is still free.
    pub fn left(&self) -> usize {
        self.most().saturating_sub(self.taken().bytes)
    }

    /// Waits until `bytes` more are charged for this request. Call it before allocating them. A caller
    /// should hold almost nothing while it waits; otherwise two requests that each hold half of the
    /// memory would wait for each other.
    pub async fn hold(&self, bytes: usize) {
        let (all, charged) = {
            let mut taken = self.taken();
            taken.bytes = taken.bytes.saturating_add(bytes);
            (taken.bytes, taken.charge.as_ref().map_or(UNCHARGED, Charge::bytes))
        };
        if all <= charged {
            return;
        }
        let given_back = self.taken().charge.take();
        drop(given_back);
        let charge = match all <= SMALL {
            true => self.budget.charge_at_once(all),
            false => self.wait_for(all).await,
        };
        self.taken().charge = Some(charge);
    }

    /// A charge above the limit for large requests only waits for that limit, because small requests
    /// never cease.
    async fn wait_for(&self, bytes: usize) -> Charge {
        let needed = bytes.min(self.most());
        loop {
            let charged =
                poll_fn(|context| match self.budget.charge(self.connection, needed, context.waker()) {
                    Some(charge) => Poll::Ready(charge),
                    None => Poll::Pending,
                });
            // Inactive peers are checked again at each try.
            if let Some(mut charge) = time::within(ASK_AGAIN, charged).await {
                charge.at_least(bytes);
                return charge;
            }
        }
    }

    /// Waits until another request needs memory that this one holds, and at least [`LEAST_POLL`] has
    /// passed `since` it began. A long poll then answers. A request that is too small to be charged waits
    /// for ever.
    pub async fn is_wanted(&self, since: Moment) {
        if self.taken().charge.is_none() {
            return std::future::pending().await;
        }
        time::sleep(LEAST_POLL.saturating_sub(since.elapsed())).await;
        poll_fn(|context| {
            let mut state = self.budget.state();
            if self.taken().charge.is_some() && !state.waiting.is_empty() {
                return Poll::Ready(());
            }
            state.polls.insert(self.connection, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Charge {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Releases all but `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let more = self.bytes.saturating_sub(bytes);
        self.bytes -= more;
        drop(Charge { budget: Arc::clone(&self.budget), bytes: more });
    }

    /// Raises the charge to `bytes` without waiting: the memory is already allocated.
    pub fn at_least(&mut self, bytes: usize) {
        if bytes > self.bytes {
            let more = self.budget.charge_at_once(bytes - self.bytes);
            self.absorb(more);
        }
    }

    /// Merges another charge of the same budget into this one.
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

    /// A future that a test polls by hand.
    struct Polled<F>(std::pin::Pin<Box<F>>);

    fn by_hand<F: Future<Output = ()>>(future: F) -> Polled<F> {
        Polled(Box::pin(future))
    }

    impl<F: Future<Output = ()>> Polled<F> {
        async fn is_ready(&mut self) -> bool {
            poll_fn(|context| Poll::Ready(self.0.as_mut().poll(context).is_ready())).await
        }
    }

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
    async fn a_request_holds_nothing_before_there_is_room_for_all_it_takes() {
        let budget = Budget::new(1 << 20);
        let (first, second) = (Room::new(&budget, 1), Room::new(&budget, 2));
        first.hold(700 << 10).await;
        second.hold(300 << 10).await;
        let mut more = by_hand(second.hold(300 << 10));
        assert!(!more.is_ready().await);
        assert_eq!(budget.held(), 700 << 10, "who waits holds nothing");
        drop(first);
        assert!(more.is_ready().await);
        assert_eq!(budget.held(), 600 << 10);
        drop(more);
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_budget_waits_for_large_things_and_not_for_small_ones() {
        let budget = Budget::new(1 << 20);
        let [small, large, huge] = [1, 2, 3].map(|connection| Room::new(&budget, connection));
        small.hold(SMALL).await;
        large.hold(200 << 10).await;
        let mut waits = by_hand(huge.hold(3 << 20));
        assert!(!waits.is_ready().await);
        drop(large);
        assert!(waits.is_ready().await);
        assert_eq!(budget.held(), SMALL + (3 << 20), "all of it counts");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_poll_is_told_when_its_room_is_wanted_and_only_then() {
        let budget = Budget::new(1 << 20);
        let (poll, other) = (Room::new(&budget, 1), Room::new(&budget, 2));
        poll.hold(1 << 20).await;
        let mut wanted = by_hand(poll.is_wanted(Moment::now()));
        time::sleep(LEAST_POLL).await;
        assert!(!wanted.is_ready().await);
        let mut waits = by_hand(other.hold(100 << 10));
        assert!(!waits.is_ready().await);
        assert!(wanted.is_ready().await);
        let mut newer = by_hand(poll.is_wanted(Moment::now()));
        assert!(!newer.is_ready().await, "who asked again at once is not answered at once");
        time::sleep(LEAST_POLL).await;
        assert!(newer.is_ready().await);
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
        // Charged again: the bytes that the closed peers will release are counted.
        assert!(budget.charge(9, 100, Waker::noop()).is_none());
        assert!(!budget.sheds(2));
    }
}
