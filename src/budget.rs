//! Memory for clients is charged to a budget, so that all clients together cannot exceed the broker's
//! limit. The server charges requests and encoded responses. The memory for serving a request is charged
//! to its [`Room`] before it is allocated.
//!
//! A charge that does not fit waits until another one is released. Bytes that are held until a *peer*
//! reads or sends (half a request, an unread response) may never be released. So while a charge waits,
//! the peers that have been inactive for the longest lose their connections.
//!
//! Requests that wait in a [`Room`] are served in the order of their arrival. Requests with large responses
//! do not begin while an earlier one waits. Small ones do, as long as all of them together hold less than an
//! eighth. So a request for much memory gets it once enough is released, whatever arrives meanwhile.

mod peers;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use self::peers::Peers;
use crate::time::{self, Moment};
use crate::types::IgnorePoison;

/// One eighth: the part of a budget that large requests leave to small ones, and the part that is freed
/// at a time.
const EIGHTH: usize = 8;
/// A long poll keeps its memory for at least this long before it gives way. Its client polls again at
/// once, and would otherwise do so in a loop while another request waits. It is much less than
/// [`peers::PATIENCE`], so that several polls can take turns before a connection that waits with half a request
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
    /// The part of `held` in charges of at most [`SMALL`].
    held_by_small: usize,
    /// Connections that wait for memory, to be woken when some is released.
    waiting: BTreeMap<ConnectionId, Waker>,
    /// The last turn that was given out.
    last_turn: Turn,
    /// Requests that wait in their rooms.
    rooms: BTreeMap<Turn, Waker>,
    /// The turns of connections whose requests have not begun yet.
    came: BTreeMap<ConnectionId, Turn>,
    /// Bytes that are held until a peer reads or sends. A connection may have several.
    peers: Peers,
    /// Long polls that hold memory; they are woken when a request waits for it.
    polls: BTreeMap<ConnectionId, Waker>,
}

pub type ConnectionId = u64;

/// A place in the order of arrival.
type Turn = u64;

/// Bytes that are released when this is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
    is_small: bool,
}

/// Memory of a connection that is held until its peer reads or sends, and no longer than this exists.
#[derive(Debug)]
pub struct AwaitedMemory {
    budget: Arc<Budget>,
    connection: ConnectionId,
    /// Its place among the peers; `None` while nothing waits for the peer.
    place: Option<Turn>,
}

/// A request that waits for memory until this is dropped. It gets a turn when it has to wait.
struct MemoryWait<'a> {
    budget: &'a Arc<Budget>,
    turn: Option<Turn>,
}

/// The memory for serving one request: the data that a handler collects, its response, and the encoded
/// response.
#[derive(Debug)]
pub struct Room {
    budget: Arc<Budget>,
    connection: ConnectionId,
    taken: Mutex<RoomCharge>,
}

#[derive(Debug, Default)]
struct RoomCharge {
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
        Some(self.charged(&mut state, bytes))
    }

    /// Whether work may begin that is charged once its size is known. Large requests leave an eighth of
    /// the budget to small ones, and wait for earlier requests.
    pub fn has_room(&self, asking: ConnectionId, is_large: bool, waker: &Waker) -> bool {
        let mut state = self.state();
        let (most, eighth) = (if is_large { self.most_of_large() } else { self.most }, self.most / EIGHTH);
        let yields = is_large || state.held_by_small >= eighth;
        if state.held >= most || yields && state.came_after_a_room(asking) {
            state.note_when_it_came(asking);
            state.wait(asking, eighth, waker);
            return false;
        }
        state.waiting.remove(&asking);
        state.came.remove(&asking);
        true
    }

    /// Charges as much of `wanted` as is free now, but at most a quarter of the free memory, so that many
    /// get some.
    pub fn take(self: &Arc<Budget>, wanted: usize) -> Charge {
        let mut state = self.state();
        let bytes = wanted.min(self.most_of_large().saturating_sub(state.held) / 4);
        self.charged(&mut state, bytes)
    }

    /// Charges memory that is already allocated.
    pub fn charge_at_once(self: &Arc<Budget>, bytes: usize) -> Charge {
        self.charged(&mut self.state(), bytes)
    }

    fn charged(self: &Arc<Budget>, state: &mut State, bytes: usize) -> Charge {
        let is_small = bytes <= SMALL;
        state.held = state.held.saturating_add(bytes);
        if is_small {
            state.held_by_small += bytes;
        }
        Charge { budget: Arc::clone(self), bytes, is_small }
    }

    /// Memory that `connection` holds until its peer sends or reads.
    pub fn awaited(self: &Arc<Budget>, connection: ConnectionId) -> AwaitedMemory {
        AwaitedMemory { budget: Arc::clone(self), connection, place: None }
    }

    pub fn forget(&self, connection: ConnectionId) {
        let mut state = self.state();
        state.waiting.remove(&connection);
        state.came.remove(&connection);
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
        self.state.lock().ignoring_poison()
    }
}

impl State {
    fn take_turn(&mut self) -> Turn {
        self.last_turn += 1;
        self.last_turn
    }

    fn note_when_it_came(&mut self, asking: ConnectionId) {
        if !self.came.contains_key(&asking) {
            let turn = self.take_turn();
            self.came.insert(asking, turn);
        }
    }

    /// Whether a request waits in its room that came before `asking`.
    fn came_after_a_room(&self, asking: ConnectionId) -> bool {
        let Some((first, _)) = self.rooms.first_key_value() else { return false };
        self.came.get(&asking).is_none_or(|turn| first < turn)
    }

    /// Ends the wait of a request, and wakes those behind it.
    fn leave(&mut self, turn: &mut Option<Turn>) {
        if let Some(turn) = turn.take() {
            self.rooms.remove(&turn);
            self.wake();
        }
    }

    /// Wakes the waiting connections and, of the requests in their rooms, the first.
    fn wake(&mut self) {
        std::mem::take(&mut self.waiting).into_values().for_each(Waker::wake);
        if let Some((_, first)) = self.rooms.first_key_value() {
            first.wake_by_ref();
        }
    }

    /// Adds a waiting connection and starts to free memory for it.
    fn wait(&mut self, asking: ConnectionId, bytes: usize, waker: &Waker) {
        self.waiting.insert(asking, waker.clone());
        self.make_room(asking, bytes);
    }

    /// Wakes long polls, and marks inactive peers to be closed until they free `bytes`.
    fn make_room(&mut self, asking: ConnectionId, bytes: usize) {
        std::mem::take(&mut self.polls).into_values().for_each(Waker::wake);
        self.peers.shed(asking, bytes);
    }
}

impl AwaitedMemory {
    /// Records that the peer has sent or read `moved` bytes, and that `held` are held until it goes on. A wait that
    /// begins gives it the whole [`peers::PATIENCE`].
    pub fn moved(&mut self, moved: usize, held: usize, waker: &Waker) {
        let mut state = self.budget.state();
        let place = *self.place.get_or_insert_with(|| state.take_turn());
        state.peers.moved((place, self.connection), moved, held, waker);
    }

    /// Records that nothing waits for the peer any more.
    pub fn settle(&mut self) {
        if let Some(place) = self.place.take() {
            self.budget.state().peers.remove(place);
        }
    }

    pub fn is_waiting(&self) -> bool {
        self.place.is_some()
    }

    /// Whether the connection has to be closed to free memory.
    pub fn is_shed(&self) -> bool {
        self.place.is_some_and(|place| self.budget.state().peers.is_shed(place))
    }
}

impl Drop for AwaitedMemory {
    fn drop(&mut self) {
        self.settle();
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
        let charge = if all <= SMALL { self.budget.charge_at_once(all) } else { self.wait_for(all).await };
        self.taken().charge = Some(charge);
    }

    /// A charge above the limit for large requests only waits for that limit, because small requests
    /// never cease.
    async fn wait_for(&self, bytes: usize) -> Charge {
        let needed = bytes.min(self.most());
        let mut waiting = MemoryWait { budget: &self.budget, turn: None };
        loop {
            let charged = poll_fn(|context| self.poll_charge(&mut waiting, needed, context.waker()));
            // Peers may have become inactive meanwhile, so they are checked again.
            if let Some(mut charge) = time::within(ASK_AGAIN, charged).await {
                charge.at_least(bytes);
                return charge;
            }
        }
    }

    fn poll_charge(&self, waiting: &mut MemoryWait<'_>, bytes: usize, waker: &Waker) -> Poll<Charge> {
        let mut state = self.budget.state();
        let first = state.rooms.first_key_value().map(|(first, _)| *first);
        let is_next = first.is_none() || first == waiting.turn;
        if is_next && (state.held == 0 || state.held.saturating_add(bytes) <= self.budget.most) {
            let charge = self.budget.charged(&mut state, bytes);
            state.leave(&mut waiting.turn);
            return Poll::Ready(charge);
        }
        let turn = *waiting.turn.get_or_insert_with(|| state.take_turn());
        state.rooms.insert(turn, waker.clone());
        state.make_room(self.connection, bytes);
        Poll::Pending
    }

    /// Ready when this request has held memory for [`LEAST_POLL`] since `since` and another request waits for
    /// memory: a long poll then answers. Never ready for a request that is too small to be charged.
    pub async fn is_wanted(&self, since: Moment) {
        if self.taken().charge.is_none() {
            return std::future::pending().await;
        }
        // Boxed: most requests do not get here, and need no memory for a timer.
        Box::pin(time::sleep(LEAST_POLL.saturating_sub(since.elapsed()))).await;
        poll_fn(|context| {
            let mut state = self.budget.state();
            let somebody_waits = !state.waiting.is_empty() || !state.rooms.is_empty();
            if self.taken().charge.is_some() && somebody_waits {
                return Poll::Ready(());
            }
            state.polls.insert(self.connection, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn taken(&self) -> MutexGuard<'_, RoomCharge> {
        self.taken.lock().ignoring_poison()
    }
}

impl Charge {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Marks this memory as held until the peer of `connection` sends or reads.
    pub fn awaited(&self, connection: ConnectionId) -> AwaitedMemory {
        self.budget.awaited(connection)
    }

    /// Releases all but `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let more = self.bytes.saturating_sub(bytes);
        self.bytes -= more;
        drop(Charge { budget: Arc::clone(&self.budget), bytes: more, is_small: self.is_small });
    }

    /// Changes the charge to `bytes` without waiting: the memory is already allocated, or released.
    pub fn set(&mut self, bytes: usize) {
        self.at_least(bytes);
        self.shrink(bytes);
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
        if self.is_small != other.is_small {
            let small = &mut self.budget.state().held_by_small;
            *small = if self.is_small { *small + other.bytes } else { *small - other.bytes };
        }
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
        if self.is_small {
            state.held_by_small = state.held_by_small.saturating_sub(self.bytes);
        }
        state.wake();
    }
}

impl Drop for MemoryWait<'_> {
    fn drop(&mut self) {
        if self.turn.is_some() {
            self.budget.state().leave(&mut self.turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::peers::{ACTIVE_BYTES, ACTIVE_PART, LITTLE, PATIENCE};
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
    fn no_client_takes_more_than_a_quarter_of_the_rest_and_an_eighth_stays_for_small_things() {
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
    fn a_charge_larger_than_the_budget_is_admitted_alone() {
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
    async fn a_charge_larger_than_the_budget_waits_for_large_things_and_not_for_small_ones() {
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
    async fn a_large_request_gets_its_room_while_small_ones_keep_coming() {
        let budget = Budget::new(1 << 20);
        let mut small = Vec::new();
        while budget.has_room(small.len() as u64, false, Waker::noop()) {
            small.push(Room::new(&budget, small.len() as u64));
            small.last().unwrap().hold(SMALL).await;
        }
        assert_eq!(small.len(), 16);
        let large = Room::new(&budget, 100);
        let mut waits = by_hand(large.hold(700 << 10));
        let mut rounds = 0;
        while !waits.is_ready().await {
            // Each of them ends and the next one of its connection begins, where it may.
            for (connection, room) in small.iter_mut().enumerate() {
                *room = Room::new(&budget, connection as u64);
                if budget.has_room(connection as u64, false, Waker::noop()) {
                    room.hold(SMALL).await;
                }
            }
            assert!(budget.held() > 0, "some small ones are always served");
            rounds += 1;
            assert!(rounds < 10, "it starves");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rooms_are_had_in_the_order_in_which_they_were_asked_for() {
        let budget = Budget::new(1 << 20);
        let [held, first, second, third] = [1, 2, 3, 4].map(|connection| Room::new(&budget, connection));
        held.hold(500 << 10).await;
        assert!(budget.has_room(5, true, Waker::noop()));
        let mut first = Box::new(by_hand(first.hold(700 << 10)));
        assert!(!first.is_ready().await);
        let mut second = by_hand(second.hold(300 << 10));
        assert!(!second.is_ready().await, "it would fit, but came later");
        assert!(!budget.has_room(5, true, Waker::noop()), "the same for what begins now");
        assert!(budget.has_room(6, false, Waker::noop()), "but small ones are served");
        let mut third = by_hand(third.hold(100 << 10));
        assert!(!third.is_ready().await);
        drop(first);
        assert!(!third.is_ready().await, "the second one is before it");
        assert!(second.is_ready().await);
        assert!(budget.has_room(5, true, Waker::noop()), "it came before the third one");
        assert!(third.is_ready().await);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_behind_one_that_had_its_turn_or_went_away_are_woken_at_once() {
        let budget = Budget::new(1 << 20);
        let began = Moment::now();
        let _held = budget.charge_at_once(200 << 10);
        let wait = |connection, bytes| {
            let room = Room::new(&budget, connection);
            tokio::spawn(async move {
                room.hold(bytes).await;
                room
            })
        };
        let first = wait(0, 900 << 10);
        let behind = [1, 2, 3, 4].map(|connection| wait(connection, 200 << 10));
        tokio::task::yield_now().await;
        assert_eq!(budget.state().rooms.len(), 5);
        first.abort();
        let mut rooms = Vec::new();
        for one in behind {
            rooms.push(one.await.unwrap());
        }
        assert_eq!((budget.held(), began.elapsed()), (1000 << 10, Duration::ZERO));
        drop(rooms);
        assert_eq!((budget.held(), budget.state().held_by_small), (200 << 10, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_poll_is_woken_when_its_memory_is_wanted_and_only_then() {
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
    async fn the_peers_that_were_idle_for_the_longest_are_cut_off_first_and_no_more_than_needed() {
        let budget = Budget::new(100_000);
        let _held = budget.charge_at_once(100_000);
        let mut peers = [1, 2, 3, 4, 5].map(|connection| budget.awaited(connection));
        // The peer that holds little is never cut off.
        peers[4].moved(0, LITTLE - 1, Waker::noop());
        for connection in [3, 1, 2] {
            peers[connection - 1].moved(0, 6_000, Waker::noop());
            crate::time::sleep(Duration::from_secs(3)).await;
        }
        peers[3].moved(0, 6_000, Waker::noop());
        assert!(budget.charge(9, 10_000, Waker::noop()).is_none());
        let shed: Vec<usize> = (1..6).filter(|connection| peers[connection - 1].is_shed()).collect();
        assert_eq!(shed, [1, 3]);
        // Charged again: the bytes that the closed peers will release are counted.
        assert!(budget.charge(9, 10_000, Waker::noop()).is_none());
        assert!(!peers[1].is_shed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_moves_one_byte_at_a_time_is_not_active() {
        const HELD: usize = 1 << 20;
        let budget = Budget::new(HELD);
        let _held = budget.charge_at_once(HELD);
        for (bytes_each_second, is_shed) in
            [(1, true), (HELD / ACTIVE_PART / 4, true), (HELD / ACTIVE_PART, false), (HELD, false)]
        {
            let mut peer = budget.awaited(1);
            peer.moved(0, HELD, Waker::noop());
            for _ in 0..10 {
                crate::time::sleep(Duration::from_secs(1)).await;
                peer.moved(bytes_each_second, HELD, Waker::noop());
                // Another connection waits for memory all the time.
                assert!(budget.charge(9, 100, Waker::noop()).is_none());
            }
            assert_eq!(peer.is_shed(), is_shed, "{bytes_each_second} bytes each second");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_with_much_memory_is_active_at_the_speed_of_a_slow_network() {
        const HELD: usize = 100 << 20;
        let budget = Budget::new(HELD);
        let _held = budget.charge_at_once(HELD);
        for (bytes, is_shed) in [(ACTIVE_BYTES - 1, true), (ACTIVE_BYTES, false)] {
            let mut peer = budget.awaited(1);
            peer.moved(0, HELD, Waker::noop());
            crate::time::sleep(PATIENCE - Duration::from_millis(1)).await;
            peer.moved(bytes, HELD, Waker::noop());
            crate::time::sleep(Duration::from_millis(1)).await;
            assert!(budget.charge(9, 100, Waker::noop()).is_none());
            assert_eq!(peer.is_shed(), is_shed, "{bytes}");
        }
    }
}
