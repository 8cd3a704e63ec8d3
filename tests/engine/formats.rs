//! Data directories of every format that stays are opened by this version. `format-7/` was made by [`make`] below,
//! as it was then, in the state that kill -9 leaves: a snapshot and a journal behind it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use jackdaw::config::{BrokerSettings, Given};
use jackdaw::kernel::{CredentialChange, Refusal, Scope};
use jackdaw::record::BatchBuilder;
use jackdaw::storage::groups::GroupStore;
use jackdaw::storage::local::fs::{DiskFs, Fs};
use jackdaw::storage::local::inspect::{self, NextStart};
use jackdaw::storage::{AppendError, Location, OpenError, Store, StoreOptions, local::repair};
use jackdaw::types::{
    DelegationToken, EntityName, LeaderEpoch, NodeId, Offset, QuotaChanges, QuotaEntity, ScramCredential,
    Secret, Timestamp, TopicPartition,
};

use crate::disk::{SMALL, batch, batch_of, checked, make_topic, now, values};
use crate::history::{commit, submit};

const FORMAT_7: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/format-7");

fn open(dir: &Path) -> Store {
    try_open(dir).unwrap()
}

fn try_open(dir: &Path) -> Result<Store, OpenError> {
    let settings = BrokerSettings::load(Given::default()).unwrap();
    let options =
        StoreOptions { tuning: SMALL, ..StoreOptions::new(Location::Directory(dir.into()), settings.into()) };
    Store::open(options)
}

#[test]
fn i17_a_directory_of_format_7_is_opened_with_all_that_is_in_it() {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(Path::new(FORMAT_7), copy.path());
    let meta = fs::read_to_string(copy.path().join("meta")).unwrap();
    assert!(meta.starts_with("format=7\n") && meta.contains("\nchecksum="), "{meta}");
    check(copy.path());
    drop(check_end(copy.path()));
    // The witness knows that the journal was longer.
    let cut = tempfile::tempdir().unwrap();
    copy_tree(Path::new(FORMAT_7), cut.path());
    for journal in fs::read_dir(cut.path().join("journal")).unwrap() {
        fs::remove_file(journal.unwrap().path()).unwrap();
    }
    assert!(matches!(try_open(cut.path()), Err(OpenError::Damaged { .. })));
}

/// Formats 1 to 6 were written by builds before the first release only. The formats before 4 had no checksum.
#[test]
fn i17_a_directory_of_an_unreleased_format_is_refused_in_one_line_and_not_changed() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let meta = fs::read_to_string(made.path().join("meta")).unwrap();
    let (_, rest) = meta.split_once('\n').unwrap();
    let (rest, _) = rest.split_once("checksum=").unwrap();
    for format in 1..=6 {
        let covered = format!("format={format}\n{rest}");
        let checksum = format!("checksum={:08x}\n", crc32c::crc32c(covered.as_bytes()));
        let meta = if format < 4 { covered } else { covered + &checksum };
        fs::write(made.path().join("meta"), &meta).unwrap();
        let refused = try_open(made.path()).map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::Older { .. }), "{refused}");
        let message = refused.to_string();
        assert!(
            message.contains(&format!("has format {format}, ")) && message.lines().count() == 1,
            "{message}"
        );
        let disk: Arc<dyn Fs> = Arc::new(DiskFs);
        let report = inspect::verify(&disk, made.path()).unwrap();
        assert!(matches!(report.next_start, NextStart::Refused(OpenError::Older { .. })));
        assert!(matches!(repair::plan(&disk, made.path()), Err(OpenError::Older { .. })));
        assert_eq!(fs::read_to_string(made.path().join("meta")).unwrap(), meta);
    }
}

/// The version that introduces a format keeps such a directory: `KEEP_FORMAT=DIR cargo test --test
/// engine this_version`.
#[test]
fn this_version_opens_what_it_makes() {
    let copy = tempfile::tempdir().unwrap();
    make(copy.path());
    if let Some(kept) = std::env::var_os("KEEP_FORMAT") {
        copy_tree(copy.path(), Path::new(&kept));
    }
    check(copy.path());
    drop(check_end(copy.path()));
}

/// Checks everything that [`make`] wrote.
fn check(dir: &Path) {
    let store = open(dir);
    check_records(&store);
    check_placement(&store);
    let compacted = store.topics().by_name("compacted").cloned().unwrap();
    let left = values(compacted.partition(0).unwrap(), Offset(0)).unwrap();
    let offsets: Vec<i64> = left.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [8, 9, 10, 11], "the last segment is as it was");
    assert!(left[3].1.starts_with("11 "));
}

/// Placements, added partitions and settings.
fn check_placement(store: &Store) {
    let spread = store.topics().by_name("spread").cloned().unwrap();
    let replicas: Vec<_> = spread.placement.iter().map(|placement| placement.replicas.clone()).collect();
    assert_eq!(replicas, [[NodeId(2), NodeId(1)], [NodeId(1), NodeId(2)], [NodeId(1), NodeId(2)]]);
    // Broker 2 was the leader of the first partition until it stopped.
    assert_eq!(spread.placement[0].leader, Some(NodeId(1)));
    assert_eq!(spread.partitions[0].ends().leader_epoch, LeaderEpoch(1));
    assert_eq!(spread.overrides, BTreeMap::from([("retention.ms".into(), "1000".into())]));
    let stored = BTreeMap::from([("log.retention.ms".to_owned(), "7000".to_owned())]);
    assert_eq!(store.settings().get(&Scope::DefaultBroker), Some(&stored));
    assert_eq!(store.settings().scopes().len(), 1);
    let (entity, _) = quota();
    let values = BTreeMap::from([("producer_byte_rate".to_owned(), 1000.0)]);
    assert_eq!(store.quotas().iter().collect::<Vec<_>>(), [(&entity, &values)]);
    let credentials = store.credentials();
    assert_eq!(credentials.get("alice", 1), credential_of("alice", 1).credential.as_ref());
    assert_eq!(credentials.users().len(), 1, "ben was removed after the snapshot");
    let tokens = store.tokens();
    assert_eq!(tokens.get("kept"), Some(&DelegationToken { expires: Timestamp(8), ..token() }));
    assert_eq!(tokens.iter().len(), 1, "the other one was removed after the snapshot");
}

fn credential_of(user: &str, mechanism: i8) -> CredentialChange {
    let credential = ScramCredential {
        iterations: 4096,
        salt: Secret::new(user),
        stored_key: Secret::new([1; 32]),
        server_key: Secret::new([2; 32]),
    };
    CredentialChange { user: user.to_owned(), mechanism, credential: Some(credential) }
}

fn token() -> DelegationToken {
    let credential = credential_of("alice", 1).credential.unwrap();
    DelegationToken {
        owner: "User:alice".to_owned(),
        requester: "User:admin".to_owned(),
        renewers: vec!["User:ben".to_owned()],
        issued: Timestamp(1),
        expires: Timestamp(5),
        max: Timestamp(9),
        hmac_digest: Secret::new([3; 32]),
        sha_256: credential.clone(),
        sha_512: credential,
    }
}

/// Checks the directory again, after this version has opened and closed it.
fn check_end(dir: &Path) -> Store {
    let store = open(dir);
    let orders = store.topics().by_name("orders").cloned().unwrap();
    assert_eq!(values(orders.partition(0).unwrap(), Offset(30)).unwrap(), [(30, "goes on".to_owned())]);
    store
}

/// Topics, records, idempotent producers and groups.
fn check_records(store: &Store) {
    let topics = store.topics();
    let names: Vec<_> = topics.iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["compacted", "orders", "payments", "spread"]);

    let orders = topics.by_name("orders").unwrap();
    let first: Vec<_> = (3..30).map(|number| (number, format!("order {number}"))).collect();
    assert_eq!(values(orders.partition(0).unwrap(), Offset(3)).unwrap(), first);
    assert_eq!(orders.partition(0).unwrap().ends().log_start, Offset(3));
    let second = values(orders.partition(1).unwrap(), Offset(0)).unwrap();
    assert_eq!(second, [(0, "idempotent".to_owned()), (1, "twice".to_owned()), (2, "large".repeat(1000))]);

    let repeated =
        now(store.append(orders.partition(1).unwrap(), batch_of(7, 0, 0, &["idempotent", "twice"])));
    assert_eq!(repeated.unwrap().base_offset, Offset(0));
    let gap = now(store.append(orders.partition(1).unwrap(), batch_of(7, 0, 5, &["gap"])));
    assert_eq!(gap, Err(AppendError::Refused(Refusal::OutOfOrderSequence { expected: 2, got: 5 })));

    let group = store.group("group").unwrap();
    assert_eq!(group.offsets.get(TopicPartition::new(orders.id, 0)).unwrap().offset, Offset(17));
    assert!(now(store.append(orders.partition(0).unwrap(), batch(&["goes on"]))).is_ok());
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A quota, and how it is set.
fn quota() -> (QuotaEntity, QuotaChanges) {
    let entity = QuotaEntity::UserAndClientId(EntityName::named("ann"), EntityName::Default);
    (entity, QuotaChanges::from([("producer_byte_rate".to_owned(), Some(1000.0))]))
}

fn make(target: &Path) {
    let made = tempfile::tempdir().unwrap();
    let store = open(made.path());
    let orders = make_topic(&store, "orders", 2);
    let (one, two) = (NodeId(1), NodeId(2));
    now(store.set_brokers(vec![one, two])).unwrap();
    let spread = now(store.create_placed_topic("spread".into(), BTreeMap::new(), vec![vec![two, one]]));
    let spread = spread.unwrap().id;
    let set = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let settings = [set("log.retention.ms", "7000"), set("log.retention.bytes", "1")];
    now(store.alter_settings(Scope::DefaultBroker, settings.into())).unwrap();
    now(store.alter_credentials(vec![credential_of("alice", 1), credential_of("ben", 2)])).unwrap();
    for id in ["kept", "gone"] {
        now(store.create_token(id.to_owned(), token())).unwrap();
    }
    let gone = make_topic(&store, "gone", 1);
    now(store.append(gone.partition(0).unwrap(), batch(&["gone"]))).unwrap();
    for number in 0..20 {
        now(store.append(orders.partition(0).unwrap(), batch(&[&format!("order {number}")]))).unwrap();
    }
    now(store.append(orders.partition(1).unwrap(), batch_of(7, 0, 0, &["idempotent", "twice"]))).unwrap();
    let given = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];
    let overrides = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let compacted = now(store.create_placed_topic("compacted".into(), overrides, vec![vec![one]])).unwrap();
    for number in 0..12 {
        // Two alternating keys, five records per segment.
        let value = format!("{number} {}", "x".repeat(700));
        let key = [b'a' + number % 2];
        let record = BatchBuilder::new().record(Timestamp(1), Some(&key), Some(value.as_bytes()), &[]);
        now(store.append(compacted.partition(0).unwrap(), checked(record.build()))).unwrap();
    }
    store.compact();
    store.close();
    drop(store);
    let store = open(made.path());
    let orders = store.topics().by_name("orders").cloned().unwrap();
    now(store.create_placed_topic("payments".into(), BTreeMap::new(), vec![vec![one]])).unwrap();
    now(store.delete_topic(store.topics().by_name("gone").unwrap().id)).unwrap();
    for number in 20..30 {
        now(store.append(orders.partition(0).unwrap(), batch(&[&format!("order {number}")]))).unwrap();
    }
    now(store.append(orders.partition(1).unwrap(), batch(&[&"large".repeat(1000)]))).unwrap();
    now(store.delete_before(orders.partition(0).unwrap(), Offset(3))).unwrap();
    now(submit(&store, "group", commit(orders.id, 17))).unwrap();
    now(store.add_partitions(spread, 1, vec![vec![one, two], vec![one, two]])).unwrap();
    now(store.alter_topic(spread, [set("retention.ms", "1000")].into())).unwrap();
    let gone = [("log.retention.bytes".to_owned(), None)];
    now(store.alter_settings(Scope::DefaultBroker, gone.into())).unwrap();
    now(store.alter_credentials(vec![CredentialChange { credential: None, ..credential_of("ben", 2) }]))
        .unwrap();
    now(store.change_token("kept".to_owned(), Some(Timestamp(8)))).unwrap();
    now(store.change_token("gone".to_owned(), None)).unwrap();
    now(store.set_brokers(vec![NodeId(1)])).unwrap();
    now(store.alter_quotas(vec![quota()])).unwrap();
    copy_tree(made.path(), target);
}
