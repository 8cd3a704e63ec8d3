//! Fetch sessions (KIP-227): the partitions that a client follows, with the last result of each. The
//! client need not repeat them, and only gets changes.
//!
//! A state machine without clock or randomness: the time and new ids are arguments. A session belongs to
//! its id, not to a connection. Its epoch counts requests. A request with another epoch is refused, and
//! the client starts again with a full fetch.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::api::context::TopicRef;
use crate::api::error::ErrorCode;
use crate::types::{IgnorePoison, LeaderEpoch, Offset, TopicId};

/// The time after which another session may take the slot of one that is idle, or old and smaller.
pub const EVICTABLE_AFTER: Duration = Duration::from_secs(120);
/// The maximum number of partitions of all sessions together, if there is memory for them.
pub const PARTITIONS: usize = 500_000;
/// The approximate memory for a partition of a session.
const PARTITION_BYTES: usize = 384;

/// A topic as in the request: by id since version 13.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FetchTopicRef {
    Name(Arc<str>),
    Id(TopicId),
}

impl FetchTopicRef {
    pub fn named(&self) -> TopicRef<'_> {
        match self {
            FetchTopicRef::Name(name) => TopicRef::Name(name),
            FetchTopicRef::Id(id) => TopicRef::Id(*id),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionRef {
    pub topic: FetchTopicRef,
    pub partition: i32,
}

/// A client's request for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub of: PartitionRef,
    /// The name of the topic when its id was last looked up.
    pub known_as: Option<Arc<str>>,
    pub offset: Offset,
    /// `None` if the client sent a negative limit.
    pub max_bytes: Option<usize>,
    pub current_epoch: Option<LeaderEpoch>,
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// The result of one partition, as far as a session has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionResult {
    pub of: PartitionRef,
    /// The topic that the name referred to.
    pub topic_id: TopicId,
    pub known_as: Option<Arc<str>>,
    pub high_watermark: Offset,
    pub log_start: Offset,
    pub has_records: bool,
    /// An error, a diverging epoch or a preferred replica: never left out.
    pub is_urgent: bool,
}

/// The request's session fields without their sentinels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The request has all partitions; an older session of this client ends.
    Full {
        ends: Option<i32>,
        wants_session: bool,
    },
    Incremental {
        id: i32,
        epoch: i32,
    },
}

impl Opening {
    pub fn of_request(session_id: i32, session_epoch: i32) -> Opening {
        let ends = (session_id != 0).then_some(session_id);
        match session_epoch {
            0 => Opening::Full { ends, wants_session: true },
            -1 => Opening::Full { ends, wants_session: false },
            epoch => Opening::Incremental { id: session_id, epoch },
        }
    }
}

/// The plan for one request: the partitions to read. [`Sessions::close`] then decides which ones to leave
/// out.
#[derive(Debug)]
pub struct Plan {
    pub asks: Vec<Ask>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    New { by_id: bool },
    Incremental { id: i32, session: Arc<Mutex<Session>> },
}

impl Plan {
    /// A plan for a request of a version without sessions, or one that wants none.
    pub fn sessionless(asks: Vec<Ask>) -> Plan {
        Plan { asks: last_of_each(asks), kind: Kind::Sessionless }
    }

    /// The session of the client; 0 if it has none yet.
    pub fn session_id(&self) -> i32 {
        match &self.kind {
            Kind::Sessionless | Kind::New { .. } => 0,
            Kind::Incremental { id, .. } => *id,
        }
    }
}

/// The sessions of a broker.
#[derive(Debug)]
pub struct Sessions {
    cache: Mutex<Cache>,
}

#[derive(Debug)]
struct Cache {
    /// The maximum number of sessions. Later requests are served without one.
    limit: usize,
    /// The maximum number of partitions of all sessions together.
    partition_limit: usize,
    slots: HashMap<i32, Slot>,
    partitions: usize,
}

#[derive(Debug)]
struct Slot {
    session: Arc<Mutex<Session>>,
    size: usize,
    created: Duration,
    used: Duration,
}

#[derive(Debug)]
struct Session {
    by_id: bool,
    epoch: i32,
    entries: HashMap<PartitionRef, Entry>,
    /// The order of reading. A partition that returned records moves to the end, so that a busy one does
    /// not starve the others (KIP-74).
    order: BTreeMap<u64, PartitionRef>,
    next_place: u64,
}

#[derive(Debug)]
struct Entry {
    place: u64,
    ask: Ask,
    last_sent: Option<(TopicId, Offset, Offset)>,
}

impl Sessions {
    /// Keeps at most `slots` sessions, and at most `bytes` of memory for all of them.
    pub fn new(slots: usize, bytes: usize) -> Sessions {
        let partition_limit = PARTITIONS.min(bytes / PARTITION_BYTES);
        let cache = Cache { limit: slots, partition_limit, slots: HashMap::new(), partitions: 0 };
        Sessions { cache: Mutex::new(cache) }
    }

    /// Begins a request: finds its session and applies the changes in the request.
    pub fn open(
        &self,
        opening: Opening,
        by_id: bool,
        asks: Vec<Ask>,
        forgotten: &[PartitionRef],
        now: Duration,
    ) -> Result<Plan, ErrorCode> {
        let (id, epoch) = match opening {
            Opening::Full { ends, wants_session } => {
                if let Some(id) = ends {
                    lock(&self.cache).remove(id);
                }
                let kind = if wants_session { Kind::New { by_id } } else { Kind::Sessionless };
                return Ok(Plan { asks: last_of_each(asks), kind });
            }
            Opening::Incremental { id, epoch } => (id, epoch),
        };
        let Some(session) = lock(&self.cache).slots.get(&id).map(|slot| slot.session.clone()) else {
            return Err(ErrorCode::FetchSessionIdNotFound);
        };
        let named = (!forgotten.is_empty()).then(|| asks.clone());
        let mut held = lock(&session);
        if held.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if held.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        for ask in asks {
            held.put(ask);
        }
        for gone in forgotten {
            held.forget(gone);
        }
        held.epoch = next_epoch(epoch);
        let asks = held.asks();
        drop(held);

        if asks.is_empty() {
            lock(&self.cache).remove(id);
            // As in Kafka, a partition that is both requested and forgotten is read if the session has no
            // other.
            return Ok(Plan::sessionless(named.unwrap_or_default()));
        }
        if !lock(&self.cache).touch(id, asks.len(), now) {
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        Ok(Plan { asks, kind: Kind::Incremental { id, session } })
    }

    /// Ends a request. Returns the session id for the response (0: none), and for each of `results` whether
    /// it is part of the response. `fresh_id` returns a random candidate for a new session's id.
    pub fn close(
        &self,
        plan: Plan,
        results: &[PartitionResult],
        now: Duration,
        fresh_id: impl FnMut() -> i32,
    ) -> (i32, Vec<bool>) {
        match plan.kind {
            Kind::Sessionless => (0, vec![true; results.len()]),
            Kind::New { by_id } => {
                let mut session = Session::new(by_id);
                for ask in plan.asks {
                    session.put(ask);
                }
                for one in results {
                    session.note(one);
                }
                (lock(&self.cache).insert(session, now, fresh_id), vec![true; results.len()])
            }
            Kind::Incremental { id, session } => {
                let mut session = lock(&session);
                (id, results.iter().map(|one| session.note(one)).collect())
            }
        }
    }

    /// The number of partitions of a session; 0 if there is no such session.
    pub fn partitions_of(&self, id: i32) -> usize {
        lock(&self.cache).slots.get(&id).map_or(0, |slot| slot.size)
    }

    /// Removes all sessions.
    pub fn clear(&self) {
        let mut cache = lock(&self.cache);
        cache.slots.clear();
        cache.partitions = 0;
    }

    /// The number of sessions.
    pub fn len(&self) -> usize {
        lock(&self.cache).slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Cache {
    fn insert(&mut self, session: Session, now: Duration, mut fresh_id: impl FnMut() -> i32) -> i32 {
        let size = session.entries.len();
        if !self.make_room(size, now) {
            return 0;
        }
        let mut id = fresh_id();
        while id <= 0 || self.slots.contains_key(&id) {
            id = fresh_id();
        }
        self.partitions += size;
        let session = Arc::new(Mutex::new(session));
        self.slots.insert(id, Slot { session, size, created: now, used: now });
        id
    }

    /// Frees a slot for a session of `size` partitions: one that has been idle for long, else the
    /// smallest old one that is smaller than the new session.
    fn make_room(&mut self, size: usize, now: Duration) -> bool {
        if self.limit == 0 || size > self.partition_limit {
            return false;
        }
        while self.slots.len() >= self.limit || self.partitions + size > self.partition_limit {
            let long = |since: Duration| now.saturating_sub(since) > EVICTABLE_AFTER;
            let idle = self.slots.iter().filter(|(_, slot)| long(slot.used));
            let idle = idle.min_by_key(|(id, slot)| (slot.used, **id));
            let small = self.slots.iter().filter(|(_, slot)| long(slot.created) && slot.size < size);
            let small = small.min_by_key(|(id, slot)| (slot.size, **id));
            let Some((id, _)) = idle.or(small) else { return false };
            self.remove(*id);
        }
        true
    }

    /// Updates the last use and size of a session. Returns `false` if it is gone, or if it has grown too
    /// large.
    fn touch(&mut self, id: i32, size: usize, now: Duration) -> bool {
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        self.partitions = self.partitions - slot.size + size;
        slot.size = size;
        slot.used = now;
        if self.partitions > self.partition_limit {
            self.remove(id);
            return false;
        }
        true
    }

    fn remove(&mut self, id: i32) {
        if let Some(slot) = self.slots.remove(&id) {
            self.partitions -= slot.size;
        }
    }
}

impl Session {
    fn new(by_id: bool) -> Session {
        Session { by_id, epoch: 1, entries: HashMap::new(), order: BTreeMap::new(), next_place: 0 }
    }

    /// Adds a partition that the client requests, or updates its position.
    fn put(&mut self, ask: Ask) {
        if let Some(entry) = self.entries.get_mut(&ask.of) {
            entry.ask = Ask { known_as: entry.ask.known_as.take(), ..ask };
            return;
        }
        let place = self.take_place();
        self.order.insert(place, ask.of.clone());
        self.entries.insert(ask.of.clone(), Entry { place, ask, last_sent: None });
    }

    fn forget(&mut self, gone: &PartitionRef) {
        if let Some(entry) = self.entries.remove(gone) {
            self.order.remove(&entry.place);
        }
    }

    fn asks(&self) -> Vec<Ask> {
        self.order.values().filter_map(|of| self.entries.get(of)).map(|entry| entry.ask.clone()).collect()
    }

    /// Stores the result of a partition. Returns whether it has to be in the response.
    fn note(&mut self, result: &PartitionResult) -> bool {
        let place = self.take_place();
        // The partition is gone: another request of the session dropped it. The client gets its result
        // once more.
        let Some(entry) = self.entries.get_mut(&result.of) else { return true };
        entry.ask.known_as.clone_from(&result.known_as);
        let now = (result.topic_id, result.high_watermark, result.log_start);
        let has_changed = entry.last_sent != Some(now);
        // After an error the partition is sent once more when the error is gone.
        entry.last_sent = (!result.is_urgent).then_some(now);
        if result.has_records {
            self.order.remove(&entry.place);
            entry.place = place;
            self.order.insert(place, result.of.clone());
        }
        result.has_records || result.is_urgent || has_changed
    }

    fn take_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }
}

/// As in Kafka, the last request counts if a partition is named twice.
fn last_of_each(asks: Vec<Ask>) -> Vec<Ask> {
    let mut places: HashMap<PartitionRef, usize> = HashMap::with_capacity(asks.len());
    let mut kept: Vec<Ask> = Vec::with_capacity(asks.len());
    for ask in asks {
        match places.get(&ask.of) {
            Some(place) => kept[*place] = ask,
            None => {
                places.insert(ask.of.clone(), kept.len());
                kept.push(ask);
            }
        }
    }
    kept
}

/// Epochs start at 1 and skip 0 and −1, which ask for a full fetch.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// After a panic under a session's lock the worst effect is a repeated partition for that session's
/// client.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().ignoring_poison()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: usize = 1_000;
    const START: Duration = Duration::from_secs(1_000);
    const LATER: Duration = Duration::from_secs(1_000 + 121);
    const NEW: Opening = Opening::Full { ends: None, wants_session: true };

    fn of(partition: i32) -> PartitionRef {
        PartitionRef { topic: FetchTopicRef::Name("t".into()), partition }
    }

    fn ask(partition: i32, offset: i64) -> Ask {
        Ask {
            of: of(partition),
            known_as: None,
            offset: Offset(offset),
            max_bytes: Some(1),
            current_epoch: None,
            last_fetched_epoch: None,
        }
    }

    fn result_of(partition: i32, high_watermark: i64) -> PartitionResult {
        PartitionResult {
            of: of(partition),
            topic_id: TopicId::ZERO,
            known_as: None,
            high_watermark: Offset(high_watermark),
            log_start: Offset(0),
            has_records: false,
            is_urgent: false,
        }
    }

    fn with_records(partition: i32, high_watermark: i64) -> PartitionResult {
        PartitionResult { has_records: true, ..result_of(partition, high_watermark) }
    }

    fn with_error(partition: i32) -> PartitionResult {
        PartitionResult { is_urgent: true, ..result_of(partition, -1) }
    }

    /// Ascending ids, which are easy to tell apart.
    fn ids(from: i32) -> impl FnMut() -> i32 {
        let mut last = from - 1;
        move || {
            last += 1;
            last
        }
    }

    /// Creates a session of `asks`, all of them answered with high watermark 0.
    fn create(sessions: &Sessions, id: i32, asks: Vec<Ask>, now: Duration) -> i32 {
        let all: Vec<PartitionResult> = asks.iter().map(|ask| result_of(ask.of.partition, 0)).collect();
        let plan = sessions.open(NEW, false, asks, &[], now).unwrap();
        let (given, is_sent) = sessions.close(plan, &all, now, ids(id));
        assert!(is_sent.iter().all(|one| *one), "a full fetch answers for every partition");
        given
    }

    fn go_on(sessions: &Sessions, id: i32, epoch: i32, asks: Vec<Ask>) -> Result<Plan, ErrorCode> {
        sessions.open(Opening::Incremental { id, epoch }, false, asks, &[], START)
    }

    /// One incremental request. Returns the partitions of `results` that are in the response.
    fn step(
        sessions: &Sessions,
        id: i32,
        epoch: i32,
        asks: Vec<Ask>,
        results: &[PartitionResult],
    ) -> Vec<i32> {
        let plan = go_on(sessions, id, epoch, asks).unwrap();
        let (answered, is_sent) = sessions.close(plan, results, START, ids(1));
        assert_eq!(answered, id);
        results.iter().zip(is_sent).filter(|(_, is_sent)| *is_sent).map(|(one, _)| one.of.partition).collect()
    }

    fn reads(plan: &Plan) -> Vec<(i32, i64)> {
        plan.asks.iter().map(|ask| (ask.of.partition, ask.offset.0)).collect()
    }

    #[test]
    fn f4_an_incremental_answer_holds_records_changed_ends_and_errors_and_nothing_else() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let id = create(&sessions, 7, vec![ask(0, 0), ask(1, 0), ask(2, 0)], START);
        assert_eq!(id, 7);

        assert_eq!(
            step(&sessions, id, 1, vec![], &[result_of(0, 0), result_of(1, 0), result_of(2, 0)]),
            [0; 0]
        );
        assert_eq!(
            step(&sessions, id, 2, vec![], &[result_of(0, 0), with_records(1, 0), result_of(2, 0)]),
            [1]
        );
        assert_eq!(step(&sessions, id, 3, vec![], &[result_of(0, 5), result_of(2, 0)]), [0]);
        assert_eq!(step(&sessions, id, 4, vec![], &[result_of(0, 5), result_of(2, 0)]), [0; 0]);
        let moved_start = PartitionResult { log_start: Offset(2), ..result_of(2, 0) };
        assert_eq!(step(&sessions, id, 5, vec![], &[result_of(0, 5), moved_start.clone()]), [2]);
        assert_eq!(step(&sessions, id, 6, vec![], &[result_of(0, 5), moved_start]), [0; 0]);
    }

    #[test]
    fn f4_an_error_is_always_returned_and_once_more_when_it_is_gone() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let id = create(&sessions, 7, vec![ask(0, 0)], START);
        assert_eq!(step(&sessions, id, 1, vec![], &[with_error(0)]), [0]);
        assert_eq!(step(&sessions, id, 2, vec![], &[with_error(0)]), [0]);
        assert_eq!(step(&sessions, id, 3, vec![], &[result_of(0, 0)]), [0]);
        assert_eq!(step(&sessions, id, 4, vec![], &[result_of(0, 0)]), [0; 0]);
    }

    #[test]
    fn f5_a_name_that_stands_for_another_topic_now_is_returned_again() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let id = create(&sessions, 7, vec![ask(0, 0)], START);
        let new_topic = PartitionResult { topic_id: crate::types::Uuid([9; 16]), ..result_of(0, 0) };
        assert_eq!(step(&sessions, id, 1, vec![], std::slice::from_ref(&new_topic)), [0]);
        assert_eq!(step(&sessions, id, 2, vec![], &[new_topic]), [0; 0]);
    }

    #[test]
    fn f5_a_session_by_name_and_a_request_by_id_do_not_go_together() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let id = create(&sessions, 7, vec![ask(0, 0)], START);
        let opening = Opening::Incremental { id, epoch: 1 };
        let refused = sessions.open(opening, true, vec![], &[], START).unwrap_err();
        assert_eq!(refused, ErrorCode::FetchSessionTopicIdError);
        assert!(go_on(&sessions, id, 1, vec![]).is_ok(), "the session is as it was");
    }

    #[test]
    fn an_incremental_request_adds_moves_and_forgets_partitions() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let id = create(&sessions, 7, vec![ask(0, 0), ask(1, 0)], START);
        let plan = go_on(&sessions, id, 1, vec![ask(1, 4), ask(2, 9)]).unwrap();
        assert_eq!(reads(&plan), [(0, 0), (1, 4), (2, 9)]);

        let opening = Opening::Incremental { id, epoch: 2 };
        // As in Kafka, forgotten wins if a partition is also requested. Unknown partitions are no error.
        let plan = sessions.open(opening, false, vec![ask(0, 3)], &[of(0), of(77)], START).unwrap();
        assert_eq!(reads(&plan), [(1, 4), (2, 9)]);
    }

    #[test]
    fn a_session_without_partitions_ends() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let id = create(&sessions, 7, vec![ask(0, 0)], START);
        let opening = Opening::Incremental { id, epoch: 1 };
        let plan = sessions.open(opening, false, vec![], &[of(0)], START).unwrap();
        assert_eq!(sessions.close(plan, &[], START, ids(1)), (0, vec![]));
        assert_eq!(go_on(&sessions, id, 2, vec![]).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_partition_that_is_named_and_forgotten_is_served_once_if_nothing_else_is_left() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let id = create(&sessions, 7, vec![ask(0, 0)], START);
        let opening = Opening::Incremental { id, epoch: 1 };
        let plan = sessions.open(opening, false, vec![ask(0, 4)], &[of(0)], START).unwrap();
        assert_eq!(reads(&plan), [(0, 4)]);
        assert_eq!(sessions.close(plan, &[result_of(0, 5)], START, ids(1)), (0, vec![true]));
        assert!(sessions.is_empty());
    }

    #[test]
    fn f5_a_session_remembers_what_a_topic_was_called() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let id = create(&sessions, 7, vec![ask(0, 0)], START);
        let names = |plan: &Plan| plan.asks.iter().map(|ask| ask.known_as.clone()).collect::<Vec<_>>();
        assert_eq!(names(&go_on(&sessions, id, 1, vec![]).unwrap()), [None]);
        let called = PartitionResult { known_as: Some("t".into()), ..result_of(0, 0) };
        step(&sessions, id, 2, vec![], &[called]);
        assert_eq!(names(&go_on(&sessions, id, 3, vec![ask(0, 4)]).unwrap()), [Some("t".into())]);
    }

    #[test]
    fn a_repeated_or_skipped_epoch_is_refused_and_changes_nothing() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let id = create(&sessions, 7, vec![ask(0, 0)], START);
        go_on(&sessions, id, 1, vec![]).unwrap();
        for wrong in [1, 3, -5, i32::MAX] {
            let refused = go_on(&sessions, id, wrong, vec![ask(5, 5)]).unwrap_err();
            assert_eq!(refused, ErrorCode::InvalidFetchSessionEpoch);
        }
        assert_eq!(reads(&go_on(&sessions, id, 2, vec![]).unwrap()), [(0, 0)]);
    }

    #[test]
    fn epochs_run_round_without_the_ones_that_mean_a_full_fetch() {
        assert_eq!(next_epoch(1), 2);
        assert_eq!(next_epoch(i32::MAX), 1);
        assert_eq!(Opening::of_request(0, 0), NEW);
        assert_eq!(Opening::of_request(3, -1), Opening::Full { ends: Some(3), wants_session: false });
        assert_eq!(Opening::of_request(3, -2), Opening::Incremental { id: 3, epoch: -2 });
    }

    #[test]
    fn a_full_fetch_ends_the_session_it_names() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let id = create(&sessions, 7, vec![ask(0, 0)], START);
        let opening = Opening::Full { ends: Some(id), wants_session: false };
        let plan = sessions.open(opening, false, vec![ask(0, 0)], &[], START).unwrap();
        assert_eq!(sessions.close(plan, &[result_of(0, 0)], START, ids(1)), (0, vec![true]));
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_partition_that_gave_records_is_read_after_the_others() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let id = create(&sessions, 7, vec![ask(0, 0), ask(1, 0), ask(2, 0)], START);
        let results = [with_records(0, 9), result_of(1, 0), result_of(2, 0)];
        step(&sessions, id, 1, vec![], &results);
        assert_eq!(reads(&go_on(&sessions, id, 2, vec![]).unwrap()), [(1, 0), (2, 0), (0, 0)]);
    }

    #[test]
    fn a_partition_named_twice_counts_once_with_its_last_fields() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let plan = sessions.open(NEW, false, vec![ask(0, 1), ask(1, 0), ask(0, 2)], &[], START).unwrap();
        assert_eq!(reads(&plan), [(0, 2), (1, 0)]);
    }

    #[test]
    fn an_id_that_is_taken_or_not_positive_is_drawn_again() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        assert_eq!(create(&sessions, -2, vec![ask(0, 0)], START), 1);
        assert_eq!(create(&sessions, 1, vec![ask(0, 0)], START), 2);
    }

    #[test]
    fn f6_with_all_slots_taken_a_new_client_is_served_without_a_session() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        for id in 1..=1_000 {
            assert_eq!(create(&sessions, id, vec![ask(0, 0)], START), id);
        }
        assert_eq!(create(&sessions, 5_000, vec![ask(0, 0), ask(1, 0)], START), 0);
        assert_eq!(sessions.len(), SLOTS);
    }

    #[test]
    fn f6_an_idle_session_gives_way_to_anyone_a_used_one_only_to_a_larger() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        for id in 1..=1_000 {
            create(&sessions, id, vec![ask(0, 0), ask(1, 0)], START);
        }
        // All but the fifth session are used again.
        for id in (1..=1_000).filter(|id| *id != 5) {
            let opening = Opening::Incremental { id, epoch: 1 };
            sessions.open(opening, false, vec![], &[], LATER).unwrap();
        }
        assert_eq!(create(&sessions, 5_000, vec![ask(0, 0)], LATER), 5_000);
        assert_eq!(go_on(&sessions, 5, 1, vec![]).unwrap_err(), ErrorCode::FetchSessionIdNotFound);

        // Only the smallest old session is evicted, and only for a larger one.
        assert_eq!(create(&sessions, 6_000, vec![ask(0, 0), ask(1, 0)], LATER), 0);
        assert_eq!(create(&sessions, 6_000, vec![ask(0, 0), ask(1, 0), ask(2, 0)], LATER), 6_000);
        assert_eq!(go_on(&sessions, 1, 2, vec![]).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
        assert_eq!(sessions.len(), SLOTS);
    }

    #[test]
    fn sessions_hold_no_more_partitions_than_their_bound() {
        let sessions = Sessions::new(SLOTS, usize::MAX);
        let half = i32::try_from(PARTITIONS / 2).unwrap();
        let many = |count: i32| (0..count).map(|partition| ask(partition, 0)).collect::<Vec<Ask>>();
        assert_eq!(create(&sessions, 1, many(half), START), 1);
        assert_eq!(create(&sessions, 2, many(half), START), 2);
        assert_eq!(create(&sessions, 3, many(1), START), 0, "no room for one more");

        // A session that grows beyond the limit ends; its client continues without one.
        let refused = go_on(&sessions, 2, 1, vec![ask(half, 0)]).unwrap_err();
        assert_eq!(refused, ErrorCode::FetchSessionIdNotFound);
        assert_eq!(sessions.len(), 1);
        assert_eq!(create(&sessions, 3, many(1), START), 3);
    }
}
