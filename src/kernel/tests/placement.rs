//! Tests of brokers that stop and start, and the resulting placements.

use super::*;

const RACK: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

fn ids(numbers: &[i32]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

/// Three running brokers, and a topic with these replicas.
fn with_replicas(replicas: &[&[i32]]) -> Shard {
    let mut shard = Shard::new(BROKER);
    runs(&mut shard, &[1, 2, 3]);
    shard.apply(at(0), &placed(TOPIC, "orders", replicas)).unwrap();
    shard
}

fn placed(id: TopicId, name: &str, replicas: &[&[i32]]) -> Command {
    let replicas = replicas.iter().map(|one| ids(one)).collect();
    let (name, overrides) = (name.to_owned(), BTreeMap::new());
    Command::CreateTopic(CreateTopic { id, name, overrides, replicas })
}

fn runs(shard: &mut Shard, running: &[i32]) {
    let run = Command::SetBrokers { running: ids(running), election: shard.election() };
    assert_eq!(shard.apply(at(1), &run), Ok(Applied::BrokersSet));
}

/// Leader (0: none), ISR and leader epoch of a partition.
fn shown(shard: &Shard, index: i32) -> (i32, Vec<i32>, i32) {
    let topic = shard.topic(TOPIC).unwrap();
    let placement = &topic.placement()[index as usize];
    let isr = placement.isr.iter().map(|node| node.0).collect();
    (placement.leader.map_or(0, |leader| leader.0), isr, topic.partition(index).unwrap().epoch().0)
}

pub fn check(topic: &Topic, running: &[NodeId]) {
    assert_eq!(topic.partitions().len(), topic.placement().len());
    for placement in topic.placement() {
        let Placement { replicas, leader, isr, elr, last_leader } = &**placement;
        assert!(!replicas.is_empty());
        assert!(elr.is_sorted_by(|one, next| one < next));
        assert!(elr.iter().all(|node| replicas.contains(node) && !running.contains(node)));
        match leader {
            Some(leader) => {
                assert!(isr.contains(leader));
                assert_eq!(*isr, super::super::placement::among(replicas, running));
                assert_eq!(*last_leader, None);
            }
            None => assert!(isr.is_empty() && !elr.is_empty() && last_leader.is_some()),
        }
    }
}

#[test]
fn the_first_replica_leads_and_all_that_run_are_in_step() {
    let shard = with_replicas(&[&[2, 3, 1], &[3, 1]]);
    assert_eq!(shown(&shard, 0), (2, vec![2, 3, 1], 0));
    assert_eq!(shown(&shard, 1), (3, vec![3, 1], 0));
}

#[test]
fn where_a_broker_stops_the_next_in_step_leads_in_a_new_epoch_and_only_there() {
    let mut shard = with_replicas(&[&[2, 3, 1], &[3, 2]]);
    runs(&mut shard, &[1, 3]);
    assert_eq!(shown(&shard, 0), (3, vec![3, 1], 1));
    assert_eq!(shown(&shard, 1), (3, vec![3], 0), "the leader stays, only the ISR shrinks");
    runs(&mut shard, &[1, 2, 3]);
    assert_eq!(shown(&shard, 0), (3, vec![2, 3, 1], 1), "who comes back is in step and follows");
}

#[test]
fn a_partition_has_no_leader_until_an_in_sync_replica_comes_back() {
    let mut shard = with_replicas(&[&[1, 2]]);
    runs(&mut shard, &[2, 3]);
    runs(&mut shard, &[3]);
    assert_eq!(shown(&shard, 0), (0, vec![], 2));
    runs(&mut shard, &[1, 3]);
    assert_eq!(shown(&shard, 0), (0, vec![], 2), "1 was not in step when the last one stopped");
    runs(&mut shard, &[1, 2, 3]);
    assert_eq!(shown(&shard, 0), (2, vec![1, 2], 3));
}

#[test]
fn all_may_stop_and_any_that_was_in_step_may_lead_when_it_comes_back() {
    let mut shard = with_replicas(&[&[1, 2]]);
    runs(&mut shard, &[]);
    assert_eq!(shown(&shard, 0), (0, vec![], 1));
    runs(&mut shard, &[2]);
    assert_eq!(shown(&shard, 0), (2, vec![2], 2));
}

/// A partition's replicas, `min.insync.replicas`, `unclean.leader.election.enable`, and its state after
/// each step: leader, leader epoch, ISR, ELR and `lastKnownElr`.
type Story = (&'static [i32], i32, bool, &'static [&'static str]);

/// Recorded from Apache Kafka 4.4 with a separate controller, by stopping (−) and starting its brokers 1
/// to 3 one by one.
const ALL_STOP: (&[i32], &[Story]) = (
    &[-1, -2, -3, 1, 2, 3],
    &[
        (
            &[1],
            1,
            false,
            &[
                "1 0 [1] [] []",
                "-1 1 [] [1] [1]",
                "-1 1 [] [1] [1]",
                "-1 1 [] [1] [1]",
                "1 2 [1] [] []",
                "1 2 [1] [] []",
                "1 2 [1] [] []",
            ],
        ),
        (
            &[1, 2],
            1,
            false,
            &[
                "1 0 [1, 2] [] []",
                "2 1 [2] [] []",
                "-1 2 [] [2] [2]",
                "-1 2 [] [2] [2]",
                "-1 2 [] [2] [2]",
                "2 3 [1, 2] [] []",
                "2 3 [1, 2] [] []",
            ],
        ),
        (
            &[1, 2],
            1,
            true,
            &[
                "1 0 [1, 2] [] []",
                "2 1 [2] [] []",
                "-1 2 [] [2] [2]",
                "-1 2 [] [2] [2]",
                "1 3 [1] [] []",
                "1 3 [1, 2] [] []",
                "1 3 [1, 2] [] []",
            ],
        ),
        (
            &[1, 2],
            2,
            false,
            &[
                "1 0 [1, 2] [] []",
                "2 1 [2] [1] []",
                "-1 2 [] [1, 2] [2]",
                "-1 2 [] [1, 2] [2]",
                "1 3 [1] [2] []",
                "1 3 [1, 2] [] []",
                "1 3 [1, 2] [] []",
            ],
        ),
        (
            &[1, 2],
            2,
            true,
            &[
                "1 0 [1, 2] [] []",
                "2 1 [2] [1] []",
                "-1 2 [] [1, 2] [2]",
                "-1 2 [] [1, 2] [2]",
                "1 3 [1] [2] []",
                "1 3 [1, 2] [] []",
                "1 3 [1, 2] [] []",
            ],
        ),
        (
            &[1, 2, 3],
            1,
            true,
            &[
                "1 0 [1, 2, 3] [] []",
                "2 1 [2, 3] [] []",
                "3 2 [3] [] []",
                "-1 3 [] [3] [3]",
                "1 4 [1] [] []",
                "1 4 [1, 2] [] []",
                "1 4 [1, 2, 3] [] []",
            ],
        ),
        (
            &[1, 2, 3],
            2,
            false,
            &[
                "1 0 [1, 2, 3] [] []",
                "2 1 [2, 3] [] []",
                "3 2 [3] [2] []",
                "-1 3 [] [2, 3] [3]",
                "-1 3 [] [2, 3] [3]",
                "2 4 [1, 2] [] []",
                "2 4 [1, 2, 3] [] []",
            ],
        ),
        (
            &[1, 2, 3],
            2,
            true,
            &[
                "1 0 [1, 2, 3] [] []",
                "2 1 [2, 3] [] []",
                "3 2 [3] [2] []",
                "-1 3 [] [2, 3] [3]",
                "1 4 [1] [] []",
                "1 4 [1, 2] [] []",
                "1 4 [1, 2, 3] [] []",
            ],
        ),
        (
            &[1, 2, 3],
            3,
            false,
            &[
                "1 0 [1, 2, 3] [] []",
                "2 1 [2, 3] [1] []",
                "3 2 [3] [1, 2] []",
                "-1 3 [] [1, 2, 3] [3]",
                "1 4 [1] [2, 3] []",
                "1 4 [1, 2] [3] []",
                "1 4 [1, 2, 3] [] []",
            ],
        ),
    ],
);
const TWO_STOP: (&[i32], &[Story]) = (
    &[-1, -2, 1, 2],
    &[
        (
            &[1],
            1,
            false,
            &["1 0 [1] [] []", "-1 1 [] [1] [1]", "-1 1 [] [1] [1]", "1 2 [1] [] []", "1 2 [1] [] []"],
        ),
        (
            &[1, 2],
            1,
            false,
            &["1 0 [1, 2] [] []", "2 1 [2] [] []", "-1 2 [] [2] [2]", "-1 2 [] [2] [2]", "2 3 [1, 2] [] []"],
        ),
        (
            &[1, 2],
            1,
            true,
            &["1 0 [1, 2] [] []", "2 1 [2] [] []", "-1 2 [] [2] [2]", "1 3 [1] [] []", "1 3 [1, 2] [] []"],
        ),
        (
            &[1, 2],
            2,
            false,
            &[
                "1 0 [1, 2] [] []",
                "2 1 [2] [1] []",
                "-1 2 [] [1, 2] [2]",
                "1 3 [1] [2] []",
                "1 3 [1, 2] [] []",
            ],
        ),
        (
            &[1, 2, 3],
            1,
            true,
            &[
                "1 0 [1, 2, 3] [] []",
                "2 1 [2, 3] [] []",
                "3 2 [3] [] []",
                "3 2 [1, 3] [] []",
                "3 2 [1, 2, 3] [] []",
            ],
        ),
        (
            &[1, 2, 3],
            2,
            false,
            &[
                "1 0 [1, 2, 3] [] []",
                "2 1 [2, 3] [] []",
                "3 2 [3] [2] []",
                "3 2 [1, 3] [] []",
                "3 2 [1, 2, 3] [] []",
            ],
        ),
        (
            &[1, 2, 3],
            3,
            false,
            &[
                "1 0 [1, 2, 3] [] []",
                "2 1 [2, 3] [1] []",
                "3 2 [3] [1, 2] []",
                "3 2 [1, 3] [2] []",
                "3 2 [1, 2, 3] [] []",
            ],
        ),
    ],
);

#[test]
fn leaders_isr_and_elr_are_kafkas_while_brokers_stop_and_start_one_by_one() {
    for (steps, stories) in [ALL_STOP, TWO_STOP] {
        for (replicas, min_insync, unclean, expected) in stories {
            let mut shard = with_replicas(&[replicas]);
            elect_by(&mut shard, &min_insync.to_string(), *unclean);
            let mut running = vec![1, 2, 3];
            let mut seen = vec![state_of(&shard)];
            for step in steps {
                running.retain(|broker| *broker != step.abs());
                running.extend((*step > 0).then_some(*step));
                runs(&mut shard, &running);
                check(shard.topic(TOPIC).unwrap(), shard.running());
                seen.push(state_of(&shard));
            }
            assert_eq!(seen, *expected, "{replicas:?}, {min_insync} in step, unclean: {unclean}");
        }
    }
}

/// Sets the topic's settings for elections.
fn elect_by(shard: &mut Shard, min_insync: &str, unclean: bool) {
    let set = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let unclean = if unclean { "true" } else { "false" };
    let changes = [set("min.insync.replicas", min_insync), set("unclean.leader.election.enable", unclean)];
    shard.apply(at(1), &Command::AlterTopic { topic: TOPIC, changes: changes.into() }).unwrap();
}

fn state_of(shard: &Shard) -> String {
    let topic = shard.topic(TOPIC).unwrap();
    let Placement { leader, isr, elr, last_leader, .. } = &*topic.placement()[0];
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    let leader = leader.map_or(-1, |leader| leader.0);
    let epoch = topic.partition(0).unwrap().epoch();
    format!("{leader} {epoch} {:?} {:?} {:?}", numbers(isr), numbers(elr), numbers(last_leader.as_slice()))
}

#[test]
fn a_requested_unclean_election_lets_any_running_replica_lead_a_partition_without_a_leader() {
    let mut shard = with_replicas(&[&[1, 2]]);
    let elect = Command::ElectUnclean { topic: TOPIC, partition: 0 };
    assert_eq!(shard.apply(at(1), &elect), Ok(Applied::LeaderElected { topic: TOPIC, moved: false }));
    runs(&mut shard, &[2, 3]);
    runs(&mut shard, &[3]);
    assert_eq!(shard.apply(at(1), &elect), Err(Refusal::NoEligibleLeader));
    runs(&mut shard, &[1, 3]);
    assert_eq!(state_of(&shard), "-1 2 [] [2] [2]");
    assert_eq!(shard.apply(at(1), &elect), Ok(Applied::LeaderElected { topic: TOPIC, moved: true }));
    assert_eq!(state_of(&shard), "1 3 [1] [] []");
}

#[test]
fn a_leader_is_elected_as_soon_as_a_setting_allows_it_of_the_topic_or_of_all_brokers() {
    let unclean = |value: Option<&str>| {
        BTreeMap::from([("unclean.leader.election.enable".to_owned(), value.map(Into::into))])
    };
    for of_all in [false, true] {
        let mut shard = with_replicas(&[&[1, 2]]);
        for running in [[2, 3], [3, 3], [1, 3]] {
            runs(&mut shard, &running);
        }
        let alter = |value| {
            if of_all {
                Command::AlterSettings { scope: Scope::DefaultBroker, changes: unclean(value) }
            } else {
                Command::AlterTopic { topic: TOPIC, changes: unclean(value) }
            }
        };
        shard.apply(at(1), &alter(Some("false"))).unwrap();
        assert_eq!(state_of(&shard), "-1 2 [] [2] [2]");
        shard.apply(at(1), &alter(Some("TRUE"))).unwrap();
        assert_eq!(state_of(&shard), "1 3 [1] [] []");
    }
    let mut shard = with_replicas(&[&[1, 2]]);
    let election = Election { min_insync: 2, unclean: false };
    shard.apply(at(1), &Command::SetBrokers { running: ids(&[2, 3]), election }).unwrap();
    assert_eq!(state_of(&shard), "2 1 [2] [1] []", "what the brokers were started with");
    elect_by(&mut shard, "1", false);
    assert_eq!(state_of(&shard), "2 1 [2] [] []", "the topic's own settings come first");
}

#[test]
fn eligible_replicas_stay_eligible_when_more_are_asked_for_and_not_when_enough_are_in_step() {
    let mut shard = with_replicas(&[&[1, 2, 3]]);
    elect_by(&mut shard, "2", false);
    runs(&mut shard, &[2, 3]);
    runs(&mut shard, &[3]);
    assert_eq!(state_of(&shard), "3 2 [3] [2] []");
    elect_by(&mut shard, "1", false);
    assert_eq!(state_of(&shard), "3 2 [3] [] []");
    runs(&mut shard, &[]);
    elect_by(&mut shard, "3", false);
    assert_eq!(state_of(&shard), "-1 3 [] [3] [3]", "Kafka forgets 3 here");
}

#[test]
fn the_preferred_replica_leads_again_when_asked_to() {
    let mut shard = with_replicas(&[&[1, 2]]);
    let elect = Command::ElectPreferred { topic: TOPIC, partition: 0 };
    assert_eq!(shard.apply(at(1), &elect), Ok(Applied::LeaderElected { topic: TOPIC, moved: false }));
    runs(&mut shard, &[2, 3]);
    assert_eq!(shard.apply(at(1), &elect), Err(Refusal::PreferredNotAvailable));
    runs(&mut shard, &[1, 2, 3]);
    assert_eq!(shard.apply(at(1), &elect), Ok(Applied::LeaderElected { topic: TOPIC, moved: true }));
    assert_eq!(shown(&shard, 0), (1, vec![1, 2], 2));
}

#[test]
fn a_reassignment_keeps_a_leader_that_remains_and_begins_an_epoch_where_a_replica_goes() {
    let mut shard = with_replicas(&[&[1, 2]]);
    let mut moved = |replicas: &[i32]| {
        let set = Command::SetReplicas { topic: TOPIC, partition: 0, replicas: ids(replicas) };
        shard.apply(at(1), &set).map(|_| shown(&shard, 0))
    };
    assert_eq!(moved(&[3, 2, 1]), Ok((1, vec![3, 2, 1], 0)), "one more");
    assert_eq!(moved(&[3, 1]), Ok((1, vec![3, 1], 1)), "one less");
    assert_eq!(moved(&[3, 2]), Ok((3, vec![3, 2], 2)), "the leader goes");
    assert_eq!(moved(&[4]), Err(Refusal::NoReplicaRuns));
    assert_eq!(moved(&[2, 2]), Err(Refusal::Malformed));
    assert_eq!(moved(&[]), Err(Refusal::Malformed));
}

#[test]
fn new_partitions_are_empty_and_stand_behind_the_last() {
    let mut shard = with_replicas(&[&[1]]);
    offset_of(&mut shard, batch(3)).unwrap();
    let add = |first, replicas: &[&[i32]]| Command::AddPartitions {
        topic: TOPIC,
        first,
        replicas: replicas.iter().map(|one| ids(one)).collect(),
    };
    assert_eq!(shard.apply(at(1), &add(1, &[&[2], &[3, 1]])), Ok(Applied::PartitionsAdded { topic: TOPIC }));
    // A command with an outdated number is refused.
    let late = shard.apply(at(1), &add(1, &[&[2]]));
    assert_eq!(late, Err(Refusal::NotTheNextPartition { next: 3 }));
    assert_eq!(shard.topic(TOPIC).unwrap().partitions().len(), 3);
    assert_eq!(shown(&shard, 2), (3, vec![3, 1], 0));
    assert_eq!(shard.partition(TOPIC, 0).unwrap().end(), Offset(3));
    assert_eq!(shard.partition(TOPIC, 2).unwrap().end(), Offset(0));
    assert_eq!(shard.apply(at(1), &add(3, &[])), Err(Refusal::Malformed));
    assert_eq!(shard.apply(at(1), &add(3, &[&[9]])), Err(Refusal::NoReplicaRuns));
}

#[test]
fn settings_are_merged_so_that_two_alterations_both_count() {
    let mut shard = with_replicas(&[&[1]]);
    let changes = |name: &str, value: Option<&str>| BTreeMap::from([(name.into(), value.map(Into::into))]);
    for (name, value) in [("a", Some("1")), ("b", Some("2")), ("a", None), ("c", None)] {
        let changes = changes(name, value);
        shard.apply(at(1), &Command::AlterTopic { topic: TOPIC, changes: changes.clone() }).unwrap();
        shard.apply(at(1), &Command::AlterSettings { scope: Scope::DefaultBroker, changes }).unwrap();
    }
    let left = BTreeMap::from([("b".to_owned(), "2".to_owned())]);
    assert_eq!(shard.topic(TOPIC).unwrap().overrides, left);
    assert_eq!(shard.settings(&Scope::DefaultBroker), Some(&left));
    assert_eq!(shard.all_settings().bytes(), 2);
    let last = Command::AlterSettings { scope: Scope::DefaultBroker, changes: changes("b", None) };
    shard.apply(at(1), &last).unwrap();
    assert!(*shard.all_settings() == Arc::default(), "nothing is kept where nothing is set");
}

#[test]
fn equal_placements_are_one_in_memory() {
    let shard = with_replicas(&[&[1, 2], &[2, 1], &[1, 2]]);
    let placement = shard.topic(TOPIC).unwrap().placement();
    assert!(Arc::ptr_eq(&placement[0], &placement[2]));
}

#[test]
fn spread_gives_every_broker_as_many_leaders_and_replicas_as_the_others() {
    for (partitions, factor, start) in [(9, 1, 0), (9, 2, 1), (12, 3, 2), (3, 3, 7)] {
        let placed = spread(&RACK, partitions, factor, start);
        for broker in RACK {
            let leads = placed.iter().filter(|replicas| replicas[0] == broker).count();
            assert_eq!(leads, partitions as usize / 3);
            let holds = placed.iter().filter(|replicas| replicas.contains(&broker)).count();
            assert_eq!(holds, partitions as usize * factor / 3);
        }
        let distinct = |replicas: &Vec<NodeId>| {
            replicas.iter().collect::<std::collections::BTreeSet<_>>().len() == factor
        };
        assert!(placed.iter().all(distinct));
    }
    assert_eq!(spread(&RACK, 2, 1, 4), [ids(&[2]), ids(&[3])], "who begins is the caller's choice");
    assert_eq!(spread(&RACK[..1], 2, 1, 4), [ids(&[1]), ids(&[1])]);
}
