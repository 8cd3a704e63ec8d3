//! The time for which transactions are open. The time in which the broker did not run does not count, and neither does
//! that in which the journal was stalled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::TransactionRules;
use crate::kernel::{ProducerAt, Transactions};
use crate::types::{ProducerId, Timestamp, TopicPartition};

/// When the open transactions were first seen. It is measured from then on with the monotonic clock, without the stalls
/// of the journal.
#[derive(Debug)]
pub(super) struct Timeouts {
    /// The journal's last entry at the start, and its time.
    resumed: (u64, Timestamp),
    /// The last look at the transactions; at first the start.
    looked: Duration,
    seen: HashMap<(ProducerId, u64), FirstSight>,
}

#[derive(Clone, Copy, Debug)]
struct FirstSight {
    at: Duration,
    /// The time for which it had been open by then.
    before: Duration,
    is_overdue: bool,
}

/// A transaction that is open for longer than its timeout. One in two phases, which has none, is here if it holds back
/// readers for longer than the longest timeout.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Overdue {
    pub id: Arc<str>,
    pub producer: ProducerAt,
    pub began: u64,
    pub open_for: Duration,
    pub two_phase: bool,
    /// A partition in which the transaction holds back the readers of committed records.
    pub held_back: Option<TopicPartition>,
    /// It was not overdue when it was last seen.
    pub is_news: bool,
}

impl Timeouts {
    pub fn start(position: u64, time: Timestamp, now: Duration) -> Timeouts {
        Timeouts { resumed: (position, time), looked: now, seen: HashMap::new() }
    }

    /// The transactions that are overdue at `now` by the monotonic clock without stalls. `time` is the time for new
    /// entries of the journal.
    pub fn overdue(
        &mut self,
        all: &Transactions,
        now: Duration,
        time: Timestamp,
        rules: &TransactionRules,
    ) -> Vec<Overdue> {
        let before = std::mem::take(&mut self.seen);
        let since_last_look = now.saturating_sub(self.looked);
        self.looked = now;
        let mut overdue = Vec::new();
        for (id, transaction) in all.open() {
            let Some(open) = transaction.ongoing() else { continue };
            let key = (transaction.producer.id, open.began);
            let started = transaction.started.unwrap_or(time);
            let first = before.get(&key).copied().unwrap_or_else(|| FirstSight {
                at: now,
                before: self.before_first_sight(open.began, started, time, since_last_look),
                is_overdue: false,
            });
            let open_for = first.before + now.saturating_sub(first.at);
            let two_phase = transaction.two_phase;
            let limit = if two_phase { *rules.timeout_ms.end() } else { transaction.timeout_ms };
            let is_late = open_for > Duration::from_millis(u64::try_from(limit).unwrap_or(0));
            let held_back = if is_late { open.first_written() } else { None };
            let is_overdue = is_late && (!two_phase || held_back.is_some());
            if is_overdue {
                let (producer, began, is_news) = (transaction.producer, open.began, !first.is_overdue);
                let id = Arc::clone(id);
                overdue.push(Overdue { id, producer, began, open_for, two_phase, held_back, is_news });
            }
            self.seen.insert(key, FirstSight { is_overdue, ..first });
        }
        overdue
    }

    /// The time for which a transaction had been open when it was first seen. One from before the start counts up
    /// to the last entry of the journal. Another one began after the last look, whatever the clock shows.
    fn before_first_sight(
        &self,
        began: u64,
        started: Timestamp,
        time: Timestamp,
        since_last_look: Duration,
    ) -> Duration {
        let (position, resumed_at) = self.resumed;
        let resumed_at = if cfg!(feature = "bug-timeout-counts-downtime") { time } else { resumed_at };
        if began <= position { resumed_at.since(started) } else { time.since(started).min(since_last_look) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kernel::{
        BatchFlags, Command, Commit, CreateTopic, EndTransaction, EndedBy, InitTransaction, JoinTransaction,
        Place, ProducerStamp, Shard,
    };
    use crate::types::{LeaderEpoch, NodeId, TopicId, TransactionEnd, Uuid};

    const TIMEOUT: i64 = 60;
    const TOPIC: TopicId = Uuid([7; 16]);
    const RULES: TransactionRules = TransactionRules {
        timeout_ms: 1..=900_000,
        most_bytes: usize::MAX,
        timeout_check: Duration::from_secs(10),
        expiration: Duration::MAX,
        expiration_check: Duration::MAX,
    };

    /// A broker with one transactional id, whose timeout is a minute. Times are in seconds.
    struct Play {
        shard: Shard,
        producer: ProducerAt,
        timeouts: Timeouts,
    }

    fn time(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    impl Play {
        /// A transaction that was opened at 1000.
        fn new(two_phase: bool) -> Play {
            let mut shard = Shard::new(NodeId(1));
            let init = InitTransaction {
                id: "tx".to_owned(),
                known: None,
                timeout_ms: i32::try_from(TIMEOUT * 1000).unwrap(),
                two_phase,
                rolls: Vec::new(),
            };
            shard.apply(time(900), &Command::InitTransaction(init)).unwrap();
            let producer = shard.transactions().get("tx").unwrap().producer;
            let mut play = Play { shard, producer, timeouts: Timeouts::start(0, time(0), Duration::ZERO) };
            play.open(1000);
            play
        }

        fn open(&mut self, at: i64) {
            let (partitions, groups) = (Vec::new(), Vec::new());
            let join = JoinTransaction { id: "tx".to_owned(), producer: self.producer, partitions, groups };
            self.shard.apply(time(at), &Command::JoinTransaction(join)).unwrap();
        }

        /// Writes a record of the transaction.
        fn write(&mut self, at: i64) {
            let (id, replicas) = (TOPIC, vec![vec![NodeId(1)]]);
            let topic = CreateTopic { id, name: "t".into(), overrides: BTreeMap::new(), replicas };
            self.shard.apply(time(at), &Command::CreateTopic(topic)).unwrap();
            let ProducerAt { id, epoch } = self.producer;
            let commit = Commit {
                topic: TOPIC,
                partition: 0,
                bytes: 100,
                last_offset_delta: 0,
                max_timestamp: time(at),
                producer: Some(ProducerStamp { id, epoch, sequence: 0 }),
                flags: BatchFlags(BatchFlags::TRANSACTIONAL.0 | BatchFlags::JOINS.0),
                leadership: LeaderEpoch(0),
                place: Place::Segment { roll: false, inline: true, crc: 0 },
            };
            self.shard.apply(time(at), &Command::Commit(commit)).unwrap();
        }

        fn end(&mut self, at: i64) {
            let end = EndTransaction {
                id: "tx".to_owned(),
                producer: self.producer,
                began: None,
                end: TransactionEnd::Commit,
                by: EndedBy::Client,
                rolls: Vec::new(),
            };
            self.shard.apply(time(at), &Command::EndTransaction(end)).unwrap();
        }

        /// A check at this time of the monotonic clock and of the journal: for how long the transaction is open if
        /// that is too long, and whether that is news.
        fn look(&mut self, ran: u64, wall: i64) -> Option<(u64, bool)> {
            let now = Duration::from_secs(ran);
            let overdue = self.timeouts.overdue(self.shard.transactions(), now, time(wall), &RULES);
            overdue.first().map(|one| (one.open_for.as_secs(), one.is_news))
        }
    }

    #[test]
    fn a_transaction_is_overdue_after_its_timeout_and_is_news_once() {
        let mut play = Play::new(false);
        assert_eq!(play.look(5, 1005), None);
        assert_eq!(play.look(60, 1060), None);
        assert_eq!(play.look(61, 1061), Some((61, true)));
        assert_eq!(play.look(70, 1070), Some((70, false)));
    }

    #[test]
    fn x11_the_time_in_which_the_broker_did_not_run_does_not_count() {
        let mut play = Play::new(false);
        play.timeouts = Timeouts::start(1, time(1050), Duration::ZERO);
        assert_eq!(play.look(0, 9000), None);
        assert_eq!(play.look(10, 9010), None, "open for 60 s");
        assert_eq!(play.look(11, 9011), Some((61, true)));
    }

    #[test]
    fn a_step_of_the_wall_clock_makes_no_transaction_older() {
        let mut play = Play::new(false);
        assert_eq!(play.look(5, 9000), None, "at most the time since the last look has passed");
        assert_eq!(play.look(60, 99_000), None);
        assert_eq!(play.look(61, 0), Some((61, true)));
    }

    #[test]
    fn the_next_transaction_of_an_id_has_its_own_time() {
        let mut play = Play::new(false);
        assert_eq!(play.look(50, 1050), None);
        play.end(1055);
        assert_eq!(play.look(55, 1055), None);
        play.open(1056);
        assert_eq!(play.look(60, 1060), None);
        assert_eq!(play.look(100, 1100), None);
        assert_eq!(play.look(117, 1117), Some((61, true)));
    }

    #[test]
    fn a_transaction_in_two_phases_is_news_once_it_holds_back_readers_for_longer_than_the_longest_timeout() {
        let mut play = Play::new(true);
        assert_eq!(play.look(0, 1000), None);
        assert_eq!(play.look(1_000_000, 1_001_000), None, "it has no records");
        play.write(1_001_000);
        let Some((1_000_001, true)) = play.look(1_000_001, 1_001_001) else { panic!("it is no news") };
        assert_eq!(play.look(1_000_002, 1_001_002), Some((1_000_002, false)));
        let mut play = Play::new(true);
        play.write(1000);
        assert_eq!(play.look(0, 1000), None);
        assert_eq!(play.look(900, 1900), None);
        assert_eq!(play.look(901, 1901), Some((901, true)));
    }

    #[test]
    fn a_partition_with_records_is_named_and_one_without_them_is_not() {
        for is_written in [false, true] {
            let mut play = Play::new(false);
            if is_written {
                play.write(1000);
            }
            play.look(0, 1000);
            let now = Duration::from_secs(61);
            let overdue = play.timeouts.overdue(play.shard.transactions(), now, time(1061), &RULES);
            let held_back = is_written.then(|| TopicPartition::new(TOPIC, 0));
            assert_eq!(overdue[0].held_back, held_back);
        }
    }
}
