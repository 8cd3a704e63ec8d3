//! Small requests with large answers.

use jackdaw::protocol::messages::describe_acls_request::DescribeAclsRequest;
use jackdaw::protocol::messages::list_groups_request::ListGroupsRequest;
use jackdaw::protocol::messages::metadata_request::MetadataRequest;
use jackdaw::protocol::{Request, Writer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

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
    const CLIENTS: usize = 9;
    /// More than the kernel keeps for a connection.
    const ASKED: usize = 7 * MIB;
    alone(async {
        let answers = ANSWERS.to_string();
        let victim = Victim::furnished_with(&[("jackdaw.answer.max.bytes", &answers)]).await;
        victim.node.topic("wide", 20_000).await;
        let mut lists = Vec::new();
        for attack in long_lists() {
            let request = framed(attack.key, attack.version, &attack.body);
            let answer = play(victim.address(), request.clone().into()).await.expect("it is answered");
            assert!(answer > 10_000, "{} is answered with {answer} bytes", attack.name);
            let asked = ASKED / answer;
            lists.push((request.repeat(asked), asked * (answer + 4)));
        }
        let watch = Watch::new();
        let mut idle = Vec::new();
        for (requests, _) in lists.iter().cycle().take(CLIENTS) {
            idle.push(unread(victim.address(), requests).await);
        }
        victim.serves_a_good_client().await;
        // By the time another client has everything, the others have had their turns.
        for (requests, answers) in lists {
            let mut reader = TcpStream::connect(victim.address()).await.expect("the broker listens");
            reader.write_all(&requests).await.expect("the broker reads");
            read_all(reader, answers).await;
        }
        let cost = watch.most();
        println!("{cost:>10} bytes for {CLIENTS} clients");
        assert!(cost < BOUND, "{cost} bytes");
    });
}

/// Requests with the longest answers.
fn long_lists() -> Vec<Attack> {
    const ANY: i8 = 1;
    let acls = DescribeAclsRequest {
        resource_type_filter: ANY,
        resource_name_filter: None,
        pattern_type_filter: ANY,
        principal_filter: None,
        host_filter: None,
        operation: ANY,
        permission_type: ANY,
    };
    vec![
        list(12, MetadataRequest { topics: None, ..Default::default() }),
        list(5, ListGroupsRequest::default()),
        list(3, acls),
    ]
}

fn list<M: Request>(version: i16, message: M) -> Attack {
    let mut body = Writer::new();
    message.encode(&mut body, version).expect("it can be written");
    let name = format!("key {} v{version}", M::KEY);
    Attack { name, key: M::KEY, version, body: body.into_bytes().to_vec() }
}
