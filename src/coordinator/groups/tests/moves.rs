//! Groups of brokers that share a journal: the coordinator moves, and a former one goes on for a while. The journal
//! answers late, loses answers and stores entries twice, by a seed.

use std::time::Duration;

use super::kinds::{again, versatile, work_of};
use super::*;
use crate::coordinator::group::roster::Enlist;
use crate::storage::Store;
use crate::storage::cluster::Faults;
use crate::storage::conformance::subject::{Shared, Subject};
use crate::types::{NodeId, TopicPartition};

const SEEDS: u64 = 20;
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

/// Three brokers, each with its groups.
struct Cluster {
    shared: Shared,
    clock: Clock,
}

/// The groups of one broker.
struct Broker {
    groups: Groups,
    store: Store,
    clock: Clock,
}

impl Cluster {
    async fn new(seed: u64) -> Cluster {
        let faults = if seed == 0 { Faults::NONE } else { Faults::MANY };
        Cluster { shared: Shared::new(seed, faults).await, clock: Clock::manual(Timestamp(1_000_000)) }
    }

    /// The broker as it starts to look after its groups.
    async fn broker(&self, node: NodeId) -> Broker {
        let store = self.shared.client().store(node);
        store.barrier().await.unwrap();
        let groups = Groups::start(Arc::new(store.clone()), rules(), self.clock.clone());
        Broker { groups, store, clock: self.clock.clone() }
    }
}

impl Broker {
    /// Lets time pass until the future is ready.
    async fn until<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            if let Some(done) = peek(future.as_mut()) {
                return done;
            }
            self.clock.set(Timestamp(self.clock.now().0 + 100));
            while self.groups.runtime.ring() == Some(Duration::ZERO) {}
            tokio::task::yield_now().await;
        }
    }

    /// A group with one member in generation 1.
    async fn with_member(&self) -> MemberId {
        let member = self.until(self.groups.join("g", versatile("a"))).await.unwrap().member;
        self.groups.sync("g", sync(&member, 1, b"part")).await.unwrap();
        member
    }

    /// A group with two members in generation 1. The first one leads.
    async fn with_two_members(&self) -> [MemberId; 2] {
        let both = async {
            tokio::join!(self.groups.join("g", versatile("a")), self.groups.join("g", versatile("b")))
        };
        let (first, second) = self.until(both).await;
        let members = [first.unwrap().member, second.unwrap().member];
        for member in &members {
            self.groups.sync("g", sync(member, 1, b"part")).await.unwrap();
        }
        members
    }

    /// Lets time pass, and fires the timers that are due.
    fn wait(&self, seconds: i64) {
        self.clock.set(Timestamp(self.clock.now().0 + 1000 * seconds));
        while self.groups.runtime.ring() == Some(Duration::ZERO) {}
    }

    async fn enlist(&self, member: &str) -> Result<Generation, GroupError> {
        let enlist = Enlist(member.to_owned());
        answer_of(self.groups.ask("g", Absent::Create, enlist, Command::Enlist, UNKNOWN)?).await?
    }

    async fn state(&self) -> GroupState {
        self.groups.describe("g").await.unwrap().state
    }
}

fn commit_of(member: &str, value: i64) -> Commit {
    let who = Identity { member: member.to_owned(), instance: None };
    Commit { generation: Some(Generation(1)), who, ..commit(value) }
}

#[tokio::test]
async fn the_next_coordinator_goes_on_where_the_former_one_was() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::new(seed).await;
        let one = cluster.broker(ONE).await;
        let member = one.with_member().await;
        assert_eq!(one.groups.commit("g", commit_of(&member, 5)).await, Ok(vec![Ok(())]));
        cluster.shared.stop(ONE).await;
        let two = cluster.broker(TWO).await;
        assert_eq!(two.groups.heartbeat("g", beat(&member, 1)).await, Ok(()));
        let again = two.groups.sync("g", sync(&member, 1, b"")).await.unwrap();
        assert_eq!(again.assignment, Opaque::copy_of(b"part"), "no rebalance, and the assignment is there");
        let offsets = two.groups.offsets("g").await.unwrap();
        assert_eq!(offsets.get(TopicPartition::new(TOPIC, 0)).unwrap().offset, Offset(5));
        assert_eq!(two.groups.commit("g", commit_of(&member, 6)).await, Ok(vec![Ok(())]));
    }
}

#[tokio::test]
async fn a_former_coordinator_stores_nothing_and_then_knows_better() {
    for seed in 0..SEEDS {
        let cluster = Cluster::new(seed).await;
        let former = cluster.broker(ONE).await;
        let member = former.with_member().await;
        let next = cluster.broker(TWO).await;
        let leaver = Leaver::Member(Identity { member: member.clone(), instance: None });
        assert_eq!(next.groups.leave("g", vec![leaver]).await, Ok(vec![Ok(())]));
        let late = former.groups.commit("g", commit_of(&member, 5)).await;
        assert_eq!(late, Err(GroupError::NotStored), "it was decided on another state");
        let again = former.groups.commit("g", commit_of(&member, 5)).await;
        assert_eq!(again, Err(GroupError::UnknownMember), "its copy is that of the kernel");
        next.store.barrier().await.unwrap();
        assert!(next.groups.offsets("g").await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_waiting_join_goes_along_when_a_group_changes_its_kind() {
    for seed in 0..SEEDS {
        let cluster = Cluster::new(seed).await;
        let one = cluster.broker(ONE).await;
        let [first, second] = one.with_two_members().await;
        let mut joins = pin!(one.groups.join("g", again(&first)));
        assert!(peek(joins.as_mut()).is_none());
        assert_eq!(one.enlist("n").await, Ok(Generation(2)));
        assert!(peek(joins.as_mut()).is_none(), "the assignment is not computed");
        assert_eq!(work_of(&one.groups), 1);
        let joined = joins.await.unwrap();
        assert_eq!((joined.generation, joined.protocol.as_deref()), (Generation(2), Some("roster")));
        let two = cluster.broker(TWO).await;
        let own = two.groups.sync("g", sync(&second, 2, b"")).await.unwrap();
        assert_eq!(own.assignment, Opaque::copy_of(b"part 1 of generation 2"));
    }
}

#[tokio::test]
async fn a_waiting_sync_goes_along_when_a_group_changes_its_kind() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::new(seed).await;
        let one = cluster.broker(ONE).await;
        let [first, second] = one.with_two_members().await;
        let both =
            async { tokio::join!(one.groups.join("g", again(&first)), one.groups.join("g", again(&second))) };
        assert_eq!(one.until(both).await.1.unwrap().generation, Generation(2));
        let mut syncs = pin!(one.groups.sync("g", sync(&second, 2, b"")));
        assert!(peek(syncs.as_mut()).is_none(), "the leader has not assigned");
        assert_eq!(one.enlist("n").await, Ok(Generation(3)));
        assert!(peek(syncs.as_mut()).is_none(), "the assignment is not computed");
        assert_eq!(work_of(&one.groups), 1);
        let part = Opaque::copy_of(b"part 1 of generation 3");
        assert_eq!(syncs.await.unwrap().assignment, part);
        cluster.shared.stop(ONE).await;
        let two = cluster.broker(TWO).await;
        assert_eq!(two.groups.sync("g", sync(&second, 3, b"")).await.unwrap().assignment, part);
    }
}

#[tokio::test]
async fn a_group_becomes_classic_in_a_tick_while_requests_wait_and_its_job_comes_too_late() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::new(seed).await;
        let one = cluster.broker(ONE).await;
        let [first, second] = one.with_two_members().await;
        assert_eq!(one.enlist("n").await, Ok(Generation(2)));
        let late = one.groups.runtime.take_job().unwrap();
        let mut joins = pin!(one.groups.join("g", again(&first)));
        let mut syncs = pin!(one.groups.sync("g", sync(&second, 2, b"")));
        assert!(peek(joins.as_mut()).is_none() && peek(syncs.as_mut()).is_none());
        one.wait(46);
        assert_eq!(syncs.await, Err(GroupError::RebalanceInProgress), "the enlisted member is gone");
        let classic = one.store.group("g").unwrap();
        late.finish();
        one.store.barrier().await.unwrap();
        assert_eq!(one.store.group("g").unwrap(), classic, "the result has no effect");
        assert!(peek(joins.as_mut()).is_none(), "it waits for the other member");
        let (joined, of_other) = tokio::join!(joins, one.groups.join("g", again(&second)));
        let (joined, of_other) = (joined.unwrap(), of_other.unwrap());
        assert_eq!((joined.generation, of_other.generation), (Generation(3), Generation(3)));
        assert_eq!(joined.protocol.as_deref(), Some("range"));
        cluster.shared.stop(ONE).await;
        let two = cluster.broker(TWO).await;
        let leader = two.groups.sync("g", sync(&joined.leader, 3, b"part")).await.unwrap();
        assert_eq!(leader.assignment, Opaque::copy_of(b"part"), "the next coordinator has the classic group");
    }
}

#[tokio::test]
async fn a_join_that_makes_the_group_classic_waits_there_for_the_others() {
    for seed in 0..SEEDS {
        let cluster = Cluster::new(seed).await;
        let one = cluster.broker(ONE).await;
        let [first, second] = one.with_two_members().await;
        assert_eq!(one.enlist("n").await, Ok(Generation(2)));
        assert_eq!(work_of(&one.groups), 1);
        assert_eq!(one.state().await, GroupState::Stable);
        let mut causes = pin!(one.groups.join("g", newcomer("c")));
        assert!(peek(causes.as_mut()).is_none());
        assert_eq!(one.state().await, GroupState::PreparingRebalance);
        let joins = [&first, &second].map(|member| one.groups.join("g", again(member)));
        assert_eq!(causes.await.unwrap().generation, Generation(3));
        for joined in joins {
            assert_eq!(joined.await.unwrap().generation, Generation(3));
        }
        let two = cluster.broker(TWO).await;
        assert_eq!(two.state().await, GroupState::CompletingRebalance);
        assert_eq!(two.store.group("g").unwrap().group.members().size(), 3, "the enlisted member is gone");
    }
}

#[tokio::test]
async fn a_job_of_a_former_coordinator_has_no_effect_and_the_next_one_does_it_again() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::new(seed).await;
        let one = cluster.broker(ONE).await;
        assert_eq!(one.enlist("n").await, Ok(Generation(1)));
        let late = one.groups.runtime.take_job().unwrap();
        cluster.shared.stop(ONE).await;
        let two = cluster.broker(TWO).await;
        assert_eq!(two.state().await, GroupState::CompletingRebalance);
        late.finish();
        two.store.barrier().await.unwrap();
        assert_eq!(two.state().await, GroupState::CompletingRebalance);
        assert_eq!(work_of(&two.groups), 1);
        assert_eq!(two.state().await, GroupState::Stable);
        let own = two.groups.sync("g", sync("n", 1, b"")).await.unwrap();
        assert_eq!(own.assignment, Opaque::copy_of(b"part 0 of generation 1"));
    }
}

#[tokio::test]
async fn groups_that_another_broker_creates_and_deletes_are_counted() {
    for seed in 0..SEEDS {
        let cluster = Cluster::new(seed).await;
        let (one, two) = (cluster.broker(ONE).await, cluster.broker(TWO).await);
        assert_eq!(one.groups.commit("g", commit(1)).await, Ok(vec![Ok(())]));
        two.store.barrier().await.unwrap();
        assert_eq!(two.groups.runtime.count(), 1);
        assert_eq!(one.groups.delete("g").await, Ok(()));
        two.store.barrier().await.unwrap();
        assert_eq!(two.groups.runtime.count(), 0);
    }
}
