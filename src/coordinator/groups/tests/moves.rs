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
        let (first, second) = {
            let both = async {
                tokio::join!(one.groups.join("g", versatile("a")), one.groups.join("g", versatile("b")))
            };
            let (first, second) = one.until(both).await;
            (first.unwrap().member, second.unwrap().member)
        };
        for member in [&first, &second] {
            one.groups.sync("g", sync(member, 1, b"part")).await.unwrap();
        }
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
