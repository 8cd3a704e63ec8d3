//! Small requests with large answers.

use crate::amplify::{Attack, every_array};
use crate::victim::{MEMORY, MIB, MOST, Victim, alone};

/// What answers take of all clients together.
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

/// What `every_array` has of a key, an array and a resource, of its last version.
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
            let cost = victim.cost_of(&attack, 16).await;
            println!("{cost:>10} {}", attack.name);
            assert!(cost < ALL_ANSWERS + 16 * 2 * MIB, "{cost} bytes for {}", attack.name);
        }
    });
}

#[test]
fn many_who_ask_for_everything_wait_for_each_other() {
    alone(async {
        let victim = Victim::start_furnished().await;
        victim.node.topic("wide", 20_000).await;
        for (name, key, version, body) in [
            ("ListGroups", 16, 5, &b"\x01\x01\0"[..]),
            ("Metadata", 3, 12, b"\0\x01\x01\0"),
            ("DescribeLogDirs", 35, 4, b"\0\0"),
            ("ListConfigResources", 74, 1, b"\x01\0"),
            ("DescribeTopicPartitions", 75, 0, b"\x01\0\0\x07\xd0\xff\0"),
        ] {
            let attack = Attack { name: name.to_owned(), key, version, body: body.to_vec() };
            let cost = victim.cost_of(&attack, 64).await;
            println!("{cost:>10} {}", attack.name);
            assert!(cost < ALL_ANSWERS + 16 * MIB, "{cost} bytes for {name}");
        }
    });
}
