//! The knowledge of clients about a store: acknowledged and shown records, and attempts with an unknown
//! outcome. [`History::check`] compares a store with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jackdaw::kernel::group::{Change, Generation, GroupRecord, Member, Opaque, Phase};
use jackdaw::kernel::offsets::{CommittedOffset, OffsetChange};
use jackdaw::storage::groups::{GroupStore, Settled};
use jackdaw::storage::{Partition, Store, Topic};
use jackdaw::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

use crate::disk::values;
use crate::tokens::TokenHistory;

/// The loss that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Everything acknowledged or shown is there.
    Nothing,
    /// The last records may be missing: a power cut in a mode without a sync before the acknowledgement.
    ATail,
}

#[derive(Default)]
pub struct History {
    pub topics: BTreeMap<String, TopicHistory>,
    /// Ids of topics whose deletion was acknowledged.
    pub deleted: BTreeSet<TopicId>,
    /// The highest offset that the group tried to commit.
    pub tried_to_commit: i64,
    pub statics: StaticHistory,
    pub tokens: TokenHistory,
}

/// A group with one static member, which comes back under a new member id again and again.
#[derive(Default)]
pub struct StaticHistory {
    /// All its ids, the first one first; empty before it has joined. Changes up to `acknowledged` are
    /// acknowledged, and later ones may or may not have happened.
    pub ids: Vec<String>,
    pub acknowledged: usize,
}

pub const STATIC_GROUP: &str = "static";
pub const INSTANCE: &str = "instance";

pub struct TopicHistory {
    pub id: TopicId,
    pub logs: Vec<LogHistory>,
    /// The highest number of partitions that was requested.
    pub tried_partitions: usize,
    /// The settings after the acknowledged changes, and the changes with an unknown outcome.
    pub overrides: BTreeMap<String, String>,
    pub tried_overrides: Vec<BTreeMap<String, String>>,
    /// A deletion was requested, and its outcome is unknown.
    pub may_be_gone: bool,
    /// The last offset that the group committed. It goes with the topic.
    pub committed: i64,
}

#[derive(Default)]
pub struct LogHistory {
    /// Acknowledged or shown records: offset and value.
    pub known: BTreeMap<i64, String>,
    pub tried: BTreeSet<String>,
    pub log_start: i64,
    pub tried_log_start: i64,
    /// The end and the leader epoch that were seen.
    pub end: i64,
    pub leader_epoch: LeaderEpoch,
    /// The idempotent producer's next sequence, and its unanswered batch.
    pub sequence: i32,
    pub epoch: i16,
    pub unanswered: Option<Vec<String>>,
}

impl History {
    /// Reads everything and compares it. Records that are read count as shown from now on.
    pub fn check(&mut self, store: &Store, promise: Promise, context: &str) {
        let topics = store.topics();
        match promise {
            Promise::Nothing => {
                let returned = self.deleted.iter().any(|id| topics.by_id(*id).is_some());
                assert!(!returned, "{context}: a deleted topic returned");
            }
            Promise::ATail => self.deleted.retain(|id| topics.by_id(*id).is_none()),
        }
        let mut gone = Vec::new();
        for (name, history) in &mut self.topics {
            let Some(topic) = topics.by_id(history.id) else {
                assert!(
                    history.may_be_gone || promise == Promise::ATail,
                    "{context}: topic {name} was acknowledged and is gone"
                );
                gone.push(name.clone());
                continue;
            };
            // A topic that is seen was not deleted.
            history.may_be_gone = false;
            history.check_shape(topic, promise, &format!("{context}, {name}"));
            let led = topic
                .placement
                .iter()
                .all(|placement| placement.leader.is_some_and(|leader| topics.running().contains(&leader)));
            assert!(led, "{context}: {name} has partitions without a leader that runs");
            for (log, partition) in history.logs.iter_mut().zip(&topic.partitions) {
                log.check(partition, promise, &format!("{context}, {name}-{}", partition.index));
            }
        }
        for name in gone {
            let history = self.topics.remove(&name).expect("it was just there");
            self.deleted.insert(history.id);
        }
        self.check_offsets(store, promise, context);
        self.statics.check(store, promise, context);
        self.tokens.check(store, promise, context);
    }
}

impl History {
    fn check_offsets(&mut self, store: &Store, promise: Promise, context: &str) {
        let offsets = store.group("group").map(|kept| kept.offsets).unwrap_or_default();
        for history in self.topics.values_mut() {
            let committed =
                offsets.get(TopicPartition::new(history.id, 0)).map_or(0, |committed| committed.offset.0);
            assert!(committed <= self.tried_to_commit, "{context}: a commit nobody made");
            if promise == Promise::Nothing {
                assert!(committed >= history.committed, "{context}: a commit went back");
            }
            history.committed = committed;
        }
        let gone = offsets.topics().into_iter().find(|topic| self.deleted.contains(topic));
        assert_eq!(gone, None, "{context}: an offset outlives its topic");
    }
}

impl StaticHistory {
    /// The first generation, with the assignment from its leader, which is the member itself.
    pub fn join(&mut self, number: u64) -> Vec<Change> {
        let id = self.next(number);
        let member = Member { instance: Some(INSTANCE.to_owned()), ..Member::default() };
        let assignments = vec![(id.clone(), Opaque::copy_of(b"all"))];
        let (protocol, protocol_type) = ("range".to_owned(), "consumer".to_owned());
        let records = [
            GroupRecord::Joined { id: id.clone(), protocol_type, member },
            GroupRecord::GenerationBegun { generation: Generation(1), protocol, leader: id },
            GroupRecord::Assigned { assignments },
        ];
        records.map(Change::from).to_vec()
    }

    /// The member's process restarts.
    pub fn come_back(&mut self, store: &Store, number: u64) -> Option<Vec<Change>> {
        // The last outcome may be unknown, so it reads the current member id from the coordinator.
        let old = store.group(STATIC_GROUP)?.group.instance(INSTANCE)?.clone();
        Some(vec![GroupRecord::Replaced { old, new: self.next(number) }.into()])
    }

    /// `number` is unique, so that lost data cannot look like new data.
    fn next(&mut self, number: u64) -> String {
        let id = format!("{INSTANCE}-{number}");
        self.ids.push(id.clone());
        id
    }

    /// Checks that one id is the member, with its assignment and in its generation, and no other id is.
    fn check(&mut self, store: &Store, promise: Promise, context: &str) {
        let group = store.group(STATIC_GROUP).map(|kept| kept.group);
        let group = group.filter(|group| group.instance(INSTANCE).is_some());
        let Some(group) = group else {
            let is_lost = promise == Promise::Nothing && self.acknowledged > 0;
            assert!(!is_lost, "{context}: the static member is gone");
            *self = StaticHistory::default();
            return;
        };
        let holder = group.instance(INSTANCE).expect("it was just there");
        let nth = self.ids.iter().position(|id| id == holder);
        let nth = nth.unwrap_or_else(|| panic!("{context}: {holder} was never a member"));
        if promise == Promise::Nothing {
            assert!(nth + 1 >= self.acknowledged, "{context}: {holder} is back, and was fenced");
        }
        assert_eq!(group.members().size(), 1, "{context}: {:?}", group.members());
        assert_eq!((group.phase(), group.generation()), (Phase::Stable, Generation(1)), "{context}");
        assert_eq!(group.leader(), Some(holder), "{context}");
        assert_eq!(
            group.member(holder).expect("who holds an instance is a member").assignment.bytes(),
            "all"
        );
        // Later changes did not happen, and this result was shown.
        self.ids.truncate(nth + 1);
        self.acknowledged = self.ids.len();
    }
}

impl TopicHistory {
    pub fn new(id: TopicId, partitions: usize) -> TopicHistory {
        TopicHistory {
            id,
            logs: (0..partitions).map(|_| LogHistory::default()).collect(),
            tried_partitions: partitions,
            overrides: BTreeMap::new(),
            tried_overrides: Vec::new(),
            may_be_gone: false,
            committed: 0,
        }
    }

    /// Checks its partitions and its settings.
    fn check_shape(&mut self, topic: &Topic, promise: Promise, context: &str) {
        let there = topic.partitions.len();
        assert!(
            there <= self.tried_partitions,
            "{context}: {there} partitions, and nobody asked for so many"
        );
        let numbers: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
        assert_eq!(numbers, (0..there as i32).collect::<Vec<_>>(), "{context}");
        if promise == Promise::Nothing {
            assert!(there >= self.logs.len(), "{context}: partitions that were acknowledged are gone");
            let known = topic.overrides == self.overrides || self.tried_overrides.contains(&topic.overrides);
            assert!(known, "{context}: {:?} instead of {:?}", topic.overrides, self.overrides);
        }
        self.logs.resize_with(there, LogHistory::default);
        (self.tried_partitions, self.overrides) = (there, topic.overrides.clone());
        self.tried_overrides.clear();
    }
}

impl LogHistory {
    fn check(&mut self, partition: &Arc<Partition>, promise: Promise, context: &str) {
        let ends = partition.ends();
        let found = values(partition, ends.log_start)
            .unwrap_or_else(|error| panic!("{context}: cannot be read: {error:?}"));
        assert!(ends.log_start.0 <= self.tried_log_start, "{context}: the log start moved by itself");
        if promise == Promise::Nothing {
            assert!(ends.log_start.0 >= self.log_start, "{context}: the log start went back");
            assert!(ends.high_watermark.0 >= self.end, "{context}: the end went back");
            assert!(ends.leader_epoch >= self.leader_epoch, "{context}: the leader epoch went back");
            for (offset, value) in self.known.range(ends.log_start.0..) {
                let there = found.iter().any(|(at, text)| at == offset && text == value);
                assert!(there, "{context}: lost {value:.12} at {offset}");
            }
        }
        let mut seen = BTreeSet::new();
        for (nth, (offset, value)) in found.iter().enumerate() {
            assert_eq!(*offset, ends.log_start.0 + nth as i64, "{context}: a gap");
            assert!(self.tried.contains(value), "{context}: {value:.12} was never sent");
            assert!(seen.insert(value), "{context}: {value:.12} stands there twice");
            if let Some(known) = self.known.get(offset) {
                assert_eq!(known, value, "{context}: another record at {offset}");
            }
        }
        if promise == Promise::ATail {
            // Its window may be older than the producer's state, so the producer begins a new epoch.
            (self.epoch, self.sequence, self.unanswered) = (self.epoch + 1, 0, None);
        }
        self.log_start = ends.log_start.0;
        self.tried_log_start = ends.log_start.0;
        self.end = ends.high_watermark.0;
        self.leader_epoch = ends.leader_epoch;
        self.known = found.into_iter().collect();
    }
}

/// The highest offset that the group has committed, for any topic. Every commit is higher than the earlier
/// ones.
pub fn committed(store: &Store) -> i64 {
    let group = store.group("group");
    let offset = group.and_then(|kept| kept.offsets.all().values().map(|offset| offset.offset).max());
    offset.unwrap_or(Offset(0)).0
}

/// Submits changes to the group as it is now.
pub fn submit(store: &Store, group: &str, changes: Vec<Change>) -> Settled {
    let after = store.group(group).map_or(0, |kept| kept.group.version());
    store.submit(group, after, changes)
}

pub fn commit(topic: TopicId, offset: i64) -> Vec<Change> {
    let committed = CommittedOffset {
        offset: Offset(offset),
        leader_epoch: None,
        metadata: String::new(),
        committed_at: jackdaw::types::Timestamp(0),
        expires_at: None,
    };
    vec![OffsetChange::Committed(vec![(TopicPartition::new(topic, 0), committed)]).into()]
}
