//! Small requests with large answers.

use crate::amplify::{Attack, every_array};
use crate::counting::Watch;
use crate::victim::{MEMORY, MIB, MOST, Victim, alone, framed, play, read_all, unread};

/// The memory for the answers of all clients together.
const ALL_ANSWERS: usize = MEMORY / 8;

#[test]
fn no_array_of_any_request_takes_more_memory_than_is_planned() {
    alone(async {
        let victim = Victim::start_furnished().await;
        let mut costs = Vec::new();
        for attack in every_array(&victim.names, MIB / 4) {
            let cost = victim.cost_of(&attack, 1).await;
            costs.push((cost, attack.name));
        }
        costs.sort();
        let worst: Vec<String> =
            costs.iter().rev().take(12).map(|(cost, name)| format!("{cost:>10} {name}")).collect();
        println!("{}", worst.join("\n"));
        assert!(costs.len() > 100, "every array is attacked");
        assert!(costs.last().is_some_and(|(cost, _)| *cost < MOST), "{}", worst.join("\n"));
    });
}

/// The attack of `every_array` on one key, array and resource, in its last version.
fn one(victim: &Victim, name: &str, bytes: usize) -> Attack {
    let mut attacks = every_array(&victim.names, bytes);
    attacks.retain(|attack| attack.name.starts_with(name) && !attack.name.ends_with("null"));
    attacks.pop().unwrap_or_else(|| panic!("no array is called {name}"))
}

#[test]
fn many_large_requests_for_the_largest_answers_wait_for_each_other() {
    alone(async {
        let victim = Victim::start_furnished().await;
        // As large as may be, and as large as is still served.
        for (name, bytes) in [
            ("OffsetFetch v10 groups.topics.partition_indexes", 900 << 10),
            ("OffsetFetch v10 groups.topics.partition_indexes", 10 << 10),
            ("OffsetFetch v10 groups (", 900 << 10),
            ("DescribeConfigs v4 resources ((4", 600),
            ("DescribeConfigs v4 resources ((2", 5 << 10),
            ("DescribeGroups v6 groups", 200),
            ("FindCoordinator v6", 150 << 10),
            ("CreateTopics v7 topics (", 900 << 10),
            ("OffsetCommit v10 topics.partitions", 900 << 10),
            ("Fetch v18 topics.partitions", 900 << 10),
        ] {
            let attack = one(&victim, name, bytes);
            let cost = victim.cost_of(&attack, 8).await;
            println!("{cost:>10} {}", attack.name);
            assert!(cost < ALL_ANSWERS + 8 * 2 * MIB, "{cost} bytes for {}", attack.name);
        }
    });
}

#[test]
fn many_clients_that_request_everything_and_read_late_hold_no_more_than_answers_may() {
    const ANSWERS: usize = 2 * MIB;
    /// The memory for the answers, and for everything else.
    const BOUND: usize = ANSWERS + 4 * MIB;
    const CLIENTS: usize = 8;
    /// More than the kernel keeps for a connection.
    const ASKED: usize = 7 * MIB;
    alone(async {
        let answers = ANSWERS.to_string();
        let victim = Victim::with(&[("jackdaw.answer.max.bytes", &answers)]).await;
        victim.node.topic("wide", 20_000).await;
        let request = framed(3, 12, b"\0\x01\x01\0");
        let answer = play(victim.address(), request.clone().into()).await.expect("it is answered");
        let asked = ASKED / answer;
        let watch = Watch::new();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(unread(victim.address(), &request.repeat(asked)).await);
        }
        victim.serves_a_good_client().await;
        // By the time the last one has everything, the others have had their turns.
        let last = clients.pop().expect("there are some");
        read_all(last, asked * (answer + 4)).await;
        let cost = watch.most();
        println!("{cost:>10} {asked} times {answer} bytes for each of {CLIENTS}");
        assert!(cost < BOUND, "{cost} bytes");
    });
}
