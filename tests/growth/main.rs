//! The cost of a change to one topic does not depend on the number of topics. It is counted in bytes
//! allocated by this thread, which are the same on every machine. The same holds for a commit to a group and for an
//! access control list. Also checks the memory of producers, groups, transactional ids, credentials, lists and tokens.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

use jackdaw::kernel::group::{GroupRecord, Member, Opaque};
use jackdaw::kernel::offsets::{CommittedOffset, OffsetChange};
use jackdaw::kernel::producers::PRODUCER_BYTES;
use jackdaw::kernel::{
    Applied, BatchFlags, Command, Commit, CreateTopic, CredentialChange, InitTransaction, JoinTransaction,
    Place, ProducerStamp, Shard,
};
use jackdaw::protocol::messages::MetadataRequest;
use jackdaw::protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use jackdaw::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use jackdaw::protocol::messages::delete_acls_request::{DeleteAclsFilter, DeleteAclsRequest};
use jackdaw::protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use jackdaw::protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use jackdaw::storage::Location;
use jackdaw::time::Clock;
use jackdaw::types::acl::{AclOperation, PatternType, Permission, ResourceType};
use jackdaw::types::{
    AclBinding, DelegationToken, LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId, ScramCredential,
    ScramHash, Secret, Timestamp, TopicPartition, Uuid,
};

#[path = "../counting/mod.rs"]
mod counting;
#[expect(dead_code, reason = "shared with tests/api, which uses all of it")]
#[path = "../api/harness.rs"]
mod harness;

use counting::Counting;
use harness::{Client, Node};

const THOUSAND: u32 = 1_000;
const MOST: u32 = 50_000;
const TOPIC: i8 = 2;

#[global_allocator]
static COUNTING: Counting = Counting(count);

thread_local! {
    /// All bytes that this thread ever allocated and freed.
    static ASKED: Cell<u64> = const { Cell::new(0) };
    static GIVEN_BACK: Cell<u64> = const { Cell::new(0) };
}

fn count(taken: usize, given: usize) {
    for (counter, bytes) in [(&ASKED, taken), (&GIVEN_BACK, given)] {
        // A thread that is ending has no counters any more, and no test that asks.
        let _ = counter.try_with(|counter| counter.set(counter.get() + bytes as u64));
    }
}

#[tokio::test]
async fn the_fiftieth_thousand_of_topics_costs_at_most_twice_what_the_first_did() {
    let (first, last) = first_and_last(|| ASKED.get()).await;
    for (change, (first, last)) in ["create", "alter", "delete"].into_iter().zip(first.into_iter().zip(last))
    {
        assert!(last <= 2 * first, "{change}: {first} bytes for the first thousand, {last} for the last");
    }
}

#[test]
fn producers_take_what_their_account_says() {
    const PRODUCERS: i64 = 20_000;
    let topic = Uuid([7; 16]);
    let mut shard = Shard::new(NodeId(1));
    let replicas = vec![vec![NodeId(1)]; 3];
    let create = CreateTopic { id: topic, name: "t".into(), overrides: BTreeMap::new(), replicas };
    shard.apply(Timestamp(0), &Command::CreateTopic(create)).unwrap();
    let before = ASKED.get() - GIVEN_BACK.get();
    // More batches than a window holds, in a mixed order of producers.
    for batch in 0..6 {
        for id in (0..PRODUCERS).map(|id| id * 7_919 % PRODUCERS) {
            let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), sequence: batch };
            let commit = Commit {
                topic,
                partition: (id % 3) as i32,
                bytes: 100,
                last_offset_delta: 0,
                max_timestamp: Timestamp(0),
                producer: Some(stamp),
                flags: BatchFlags::default(),
                leadership: LeaderEpoch(0),
                place: Place::Segment { roll: false, inline: true, crc: 0 },
            };
            shard.apply(Timestamp(id), &Command::Commit(commit)).unwrap();
        }
    }
    let held = (ASKED.get() - GIVEN_BACK.get() - before) / PRODUCERS as u64;
    assert_eq!(shard.producers().bytes(), PRODUCERS as u64 * PRODUCER_BYTES);
    // The system's allocator adds at least 8 bytes to each of the four allocations.
    assert!((PRODUCER_BYTES / 4 * 3..=PRODUCER_BYTES - 4 * 8).contains(&held), "{held} bytes each");
}

/// Commits an offset of each of these partitions for the group.
fn group(shard: &mut Shard, group: &str, after: u64, partitions: Range<i32>) {
    let topic = Uuid([7; 16]);
    let committed = |partition| {
        let metadata = "host-17".to_owned();
        let (offset, committed_at) = (Offset(5), Timestamp(0));
        let (leader_epoch, expires_at) = (None, None);
        (
            TopicPartition::new(topic, partition),
            CommittedOffset { offset, leader_epoch, metadata, committed_at, expires_at },
        )
    };
    let changes = vec![OffsetChange::Committed(partitions.map(committed).collect()).into()];
    shard.apply(Timestamp(0), &Command::Group { group: group.to_owned(), after, changes }).unwrap();
}

/// Readers hold an image of the groups during each commit.
#[test]
fn a_commit_to_a_group_with_ten_thousand_offsets_does_not_copy_them() {
    let cost = |offsets: i32| {
        let mut shard = Shard::new(NodeId(1));
        group(&mut shard, "g", 0, 0..offsets);
        let before = ASKED.get();
        for partition in 0..10 {
            let published = shard.groups().clone();
            group(&mut shard, "g", 0, partition..partition + 1);
            assert_eq!(published.len(), 1);
        }
        ASKED.get() - before
    };
    let (few, many) = (cost(10), cost(10_000));
    assert!(many <= 3 * few, "{few} bytes with ten offsets, {many} with ten thousand");
}

#[test]
fn groups_take_no_more_memory_than_the_kernel_counts() {
    let mut shard = Shard::new(NodeId(1));
    let before = ASKED.get() - GIVEN_BACK.get();
    for number in 0..2_000 {
        let name = format!("group-{number}");
        group(&mut shard, &name, 0, 0..10);
        let joined = |id: &str| {
            let protocols = vec![("range".to_owned(), Opaque::copy_of(&[7; 100]))];
            let member = Member { client_id: "client".to_owned(), protocols, ..Member::default() };
            GroupRecord::Joined { id: id.to_owned(), protocol_type: "consumer".to_owned(), member }.into()
        };
        let changes = ["a", "b"].map(joined).into();
        shard.apply(Timestamp(0), &Command::Group { group: name, after: 0, changes }).unwrap();
    }
    let held = usize::try_from(ASKED.get() - GIVEN_BACK.get() - before).unwrap();
    let account = shard.groups().bytes();
    // The system's allocator takes more than it was asked for.
    assert!((account / 3 * 2..=account).contains(&held), "{held} bytes are held, {account} are counted");
    for number in 0..2_000 {
        let (group, after) = (format!("group-{number}"), shard.groups().get(&format!("group-{number}")));
        let after = after.map_or(0, |kept| kept.group.version());
        let changes = vec![GroupRecord::Deleted.into()];
        shard.apply(Timestamp(0), &Command::Group { group, after, changes }).unwrap();
    }
    assert_eq!(shard.groups().bytes(), 0);
}

#[test]
fn credentials_take_no_more_memory_than_the_kernel_counts() {
    let mut shard = Shard::new(NodeId(1));
    let before = ASKED.get() - GIVEN_BACK.get();
    let mut alter = |credential: Option<&ScramCredential>| {
        for number in 0..2_000 {
            let user = format!("user-{number}");
            let change = |hash: &ScramHash| {
                let (user, mechanism) = (user.clone(), hash.number());
                CredentialChange { user, mechanism, credential: credential.cloned() }
            };
            let changes = ScramHash::ALL.iter().map(change).collect();
            shard.apply(Timestamp(0), &Command::AlterCredentials { changes }).unwrap();
        }
        shard.credentials().bytes()
    };
    let (salt, key) = (Secret::new([7; 32]), Secret::new([7; 64]));
    let credential = ScramCredential { iterations: 4_096, salt, stored_key: key.clone(), server_key: key };
    let account = alter(Some(&credential));
    let held = usize::try_from(ASKED.get() - GIVEN_BACK.get() - before).unwrap();
    // The system's allocator takes more than it was asked for.
    assert!((account / 3 * 2..=account).contains(&held), "{held} bytes are held, {account} are counted");
    assert_eq!(alter(None), 0);
}

/// A list for a topic and a principal of its own.
fn acl(number: u32) -> AclBinding {
    AclBinding {
        resource_type: ResourceType::TOPIC,
        pattern_type: if number.is_multiple_of(2) { PatternType::LITERAL } else { PatternType::PREFIXED },
        name: format!("team.{}_orders.{number}", number % 7).into(),
        principal: format!("User:user-{number}").into(),
        host: "10.0.0.0/8".into(),
        operation: AclOperation::READ,
        permission: Permission::ALLOW,
    }
}

#[test]
fn access_control_lists_take_no_more_memory_than_the_kernel_counts() {
    // With names and principals of their own, and all for one topic and one principal.
    let alone: fn(u32) -> AclBinding = acl;
    let shared: fn(u32) -> AclBinding =
        |number| AclBinding { host: format!("10.0.{}.{}", number / 256, number % 256).into(), ..acl(0) };
    for (is_alone, binding) in [(true, alone), (false, shared)] {
        let mut shard = Shard::new(NodeId(1));
        let before = ASKED.get() - GIVEN_BACK.get();
        for number in 0..2_000 {
            let bindings = vec![binding(number)];
            shard.apply(Timestamp(0), &Command::AddAcls { bindings }).unwrap();
        }
        let account = shard.acls().bytes();
        let held = usize::try_from(ASKED.get() - GIVEN_BACK.get() - before).unwrap();
        // The system's allocator takes more than it was asked for.
        let least = if is_alone { account / 3 * 2 } else { 0 };
        assert!((least..=account).contains(&held), "{held} bytes are held, {account} are counted");
        let bindings = (0..2_000).map(binding).collect();
        shard.apply(Timestamp(0), &Command::RemoveAcls { bindings }).unwrap();
        assert_eq!((shard.acls().bytes(), shard.acls().all().len()), (0, 0));
    }
}

#[tokio::test]
async fn an_access_control_list_costs_at_most_twice_as_much_among_ten_thousand_as_among_a_hundred() {
    let settings = [
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("allow.everyone.if.no.acl.found", "true"),
    ];
    let node = Node::with(&settings).await;
    let mut client = node.client().await;
    let changed = 20_000..20_100;
    // One-time allocations happen here.
    create_and_delete_acls(&mut client, changed.clone()).await;
    let mut costs = Vec::new();
    for others in [0..100, 100..10_000] {
        node.store.add_acls(others.clone().map(acl).collect()).await.unwrap();
        assert_eq!(node.store.acls().all().len(), others.end as usize);
        costs.push(create_and_delete_acls(&mut client, changed.clone()).await);
    }
    for (change, (few, many)) in ["create", "delete"].into_iter().zip(costs[0].into_iter().zip(costs[1])) {
        assert!(many <= 2 * few, "{change}: {few} bytes among a hundred, {many} among ten thousand");
    }
}

/// The cost of creating and of deleting lists one by one, including the client.
async fn create_and_delete_acls(client: &mut Client, numbers: Range<u32>) -> [u64; 2] {
    let begun = ASKED.get();
    for number in numbers.clone() {
        let AclBinding { resource_type, pattern_type, name, principal, host, operation, permission } =
            acl(number);
        let creation = AclCreation {
            resource_type: resource_type.0,
            resource_name: name.to_string(),
            resource_pattern_type: pattern_type.0,
            principal: principal.to_string(),
            host: host.to_string(),
            operation: operation.0,
            permission_type: permission.0,
        };
        let created = client.call(3, CreateAclsRequest { creations: vec![creation] }).await;
        assert_eq!(created.results[0].error_code, 0);
    }
    let created = ASKED.get();
    for number in numbers {
        let AclBinding { resource_type, pattern_type, name, operation, permission, .. } = acl(number);
        let filter = DeleteAclsFilter {
            resource_type_filter: resource_type.0,
            resource_name_filter: Some(name.to_string()),
            pattern_type_filter: pattern_type.0,
            principal_filter: None,
            host_filter: None,
            operation: operation.0,
            permission_type: permission.0,
        };
        let deleted = client.call(3, DeleteAclsRequest { filters: vec![filter] }).await;
        assert_eq!(deleted.filter_results[0].matching_acls.len(), 1);
    }
    [created - begun, ASKED.get() - created]
}

#[test]
fn delegation_tokens_take_no_more_memory_than_the_kernel_counts() {
    let mut shard = Shard::new(NodeId(1));
    let before = ASKED.get() - GIVEN_BACK.get();
    let (salt, key) = (Secret::new([7; 32]), Secret::new([7; 64]));
    let credential = ScramCredential { iterations: 4_096, salt, stored_key: key.clone(), server_key: key };
    for number in 0..2_000 {
        let owner = format!("User:user-{number}");
        let token = DelegationToken {
            requester: owner.clone(),
            renewers: vec!["User:renewer".to_owned(); number % 5],
            owner,
            issued: Timestamp(0),
            expires: Timestamp(1),
            max: Timestamp(2),
            hmac_digest: Secret::new([7; 32]),
            sha_256: credential.clone(),
            sha_512: credential.clone(),
        };
        let create = Command::CreateToken { id: format!("{number:022}"), token: Box::new(token) };
        shard.apply(Timestamp(0), &create).unwrap();
    }
    let account = shard.tokens().bytes();
    let held = usize::try_from(ASKED.get() - GIVEN_BACK.get() - before).unwrap();
    // The system's allocator takes more than it was asked for.
    assert!((account / 3 * 2..=account).contains(&held), "{held} bytes are held, {account} are counted");
    shard.apply(Timestamp(0), &Command::ExpireTokens { now: Timestamp(2) }).unwrap();
    assert_eq!(shard.tokens().bytes(), 0);
}

/// Opens a transaction of this id, with a partition for each of these.
fn open_transaction(shard: &mut Shard, id: &str, partitions: Range<i32>, groups: &[&str]) {
    let (known, rolls) = (None, Vec::new());
    let init = InitTransaction { id: id.to_owned(), known, timeout_ms: 60_000, two_phase: false, rolls };
    shard.apply(Timestamp(0), &Command::InitTransaction(init)).unwrap();
    let producer = shard.transactions().get(id).unwrap().producer;
    let partitions = partitions.map(|index| TopicPartition::new(Uuid([7; 16]), index)).collect();
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let join = JoinTransaction { id: id.to_owned(), producer, partitions, groups };
    shard.apply(Timestamp(0), &Command::JoinTransaction(join)).unwrap();
}

#[test]
fn transactional_ids_take_what_their_account_says_and_a_hundred_thousand_open_ones_fit_into_the_default() {
    // With many partitions, with groups, and with one partition.
    let shapes =
        [(5_000, 20, &["group-with-a-name"][..]), (5_000, 0, &["a", "b", "c"][..]), (100_000, 1, &[][..])];
    for (ids, partitions, groups) in shapes {
        let mut shard = Shard::new(NodeId(1));
        let replicas = vec![vec![NodeId(1)]; 20];
        let create =
            CreateTopic { id: Uuid([7; 16]), name: "t".into(), overrides: BTreeMap::new(), replicas };
        shard.apply(Timestamp(0), &Command::CreateTopic(create)).unwrap();
        let before = ASKED.get() - GIVEN_BACK.get();
        for number in 0..ids {
            open_transaction(&mut shard, &format!("billing-{number}"), 0..partitions, groups);
        }
        let held = usize::try_from(ASKED.get() - GIVEN_BACK.get() - before).unwrap();
        let account = shard.transactions().bytes();
        // The system's allocator takes more than it was asked for.
        let is_right = (account / 3 * 2..=account).contains(&held);
        assert!(
            is_right,
            "{partitions} partitions, {groups:?}: {held} bytes are held, {account} are counted"
        );
        assert_eq!(shard.transactions().count_open(), ids);
        assert!(account < 128 << 20, "{account} bytes are counted for {ids} ids");
    }
}

#[tokio::test]
async fn thousands_of_open_transactions_time_out_together() {
    const IDS: usize = 3_000;
    let clock = Clock::manual(Timestamp(1_790_000_000_000));
    let settings = [("transaction.abort.timed.out.transaction.cleanup.interval.ms", "100")];
    let node = Node::timed(Location::Memory, &settings, clock.clone()).await;
    node.topic("t", 1).await;
    let partitions = vec![TopicPartition::new(node.store.topics().by_name("t").unwrap().id, 0)];
    for number in 0..IDS {
        let (id, known, rolls) = (format!("billing-{number}"), None, Vec::new());
        let init = InitTransaction { id: id.clone(), known, timeout_ms: 60_000, two_phase: false, rolls };
        let begun = node.store.transact(Command::InitTransaction(init)).await.unwrap();
        let Applied::TransactionInitialized { producer } = begun else { panic!("{begun:?}") };
        let join = JoinTransaction { id, producer, partitions: partitions.clone(), groups: Vec::new() };
        node.store.transact(Command::JoinTransaction(join)).await.unwrap();
    }
    assert_eq!(node.store.transactions().count_open(), IDS);
    let mut client = node.client().await;
    while node.store.transactions().count_open() > 0 {
        clock.set(Timestamp(clock.now().0 + 10_000));
        // The broker serves others meanwhile.
        assert_eq!(client.call(12, MetadataRequest::default()).await.brokers.len(), 1);
    }
    assert_eq!(node.store.counts().transactions_timed_out.get(), IDS as u64);
    let markers = node.partition("t", 0).ends();
    assert_eq!((markers.last_stable.0, markers.high_watermark.0), (IDS as i64, IDS as i64));
}

/// `cargo test --release --test growth -- --ignored --nocapture`
#[tokio::test]
#[ignore = "prints nanoseconds of CPU, which nothing can be asserted of"]
async fn nanoseconds_of_cpu() {
    let (first, last) = first_and_last(|| {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel keeps it");
        stat.split(' ').next().and_then(|on_cpu| on_cpu.parse().ok()).expect("it begins with a number")
    })
    .await;
    println!("create, alter, delete: {first:?} for the first thousand, {last:?} for the fiftieth");
}

/// The cost of creating, altering and deleting a thousand topics one by one, including the client: without
/// other topics, and with 49,000 others.
async fn first_and_last(cost: impl Fn() -> u64) -> ([u64; 3], [u64; 3]) {
    let node = Node::start().await;
    let mut client = node.client().await;
    // One-time allocations happen here.
    one_by_one(&mut client, 0..10, &cost).await;
    let first = one_by_one(&mut client, 0..THOUSAND, &cost).await;
    for topic in THOUSAND..MOST {
        node.topic(&name(topic), 1).await;
    }
    assert_eq!(node.store.topics().partitions(), (MOST - THOUSAND) as usize);
    (first, one_by_one(&mut client, 0..THOUSAND, &cost).await)
}

async fn one_by_one(client: &mut Client, topics: Range<u32>, cost: &impl Fn() -> u64) -> [u64; 3] {
    let begun = cost();
    for topic in topics.clone() {
        assert_eq!(client.call(7, create(topic)).await.topics[0].error_code, 0);
    }
    let created = cost();
    for topic in topics.clone() {
        let answer = client.call(1, alter(topic)).await;
        assert_eq!(answer.responses[0].error_code, 0);
    }
    let altered = cost();
    for topic in topics {
        let topics = vec![DeleteTopicState { name: Some(name(topic)), ..Default::default() }];
        let delete = DeleteTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
        assert_eq!(client.call(6, delete).await.responses[0].error_code, 0);
    }
    [created - begun, altered - created, cost() - altered]
}

fn create(topic: u32) -> CreateTopicsRequest {
    let topic =
        CreatableTopic { name: name(topic), num_partitions: 1, replication_factor: 1, ..Default::default() };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() }
}

fn alter(topic: u32) -> IncrementalAlterConfigsRequest {
    let value = Some((60_000 + topic).to_string());
    let set = AlterableConfig { name: "retention.ms".to_owned(), config_operation: 0, value };
    let resource =
        AlterConfigsResource { resource_type: TOPIC, resource_name: name(topic), configs: vec![set] };
    IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() }
}

/// Names with both letters that can make names collide.
fn name(topic: u32) -> String {
    format!("team.{}_orders.{topic}", topic % 7)
}
