//! The output of `jackdaw log verify` and `jackdaw log dump` for data directories.

use std::path::Path;
use std::sync::Arc;

use jackdaw::kernel::{CredentialChange, Scope};
use jackdaw::storage::local::fs::{Fs, Open, SimFs, read_all};
use jackdaw::storage::local::inspect::{Account, Finding, NextStart, dump, verify};
use jackdaw::storage::{OpenError, Store};
use jackdaw::types::{DelegationToken, ScramCredential, Secret, Timestamp};

use crate::disk::{batch, files, look, make_topic, now, open};

/// Two topics, several segments, snapshots and journal files.
fn filled(fs: &SimFs) -> Store {
    let store = open(fs).unwrap();
    for name in ["a", "b"] {
        let topic = make_topic(&store, name, 2);
        for number in 0..60 {
            let value = format!("{name} {number} {}", "x".repeat(200));
            let partition = topic.partition(number % 2).unwrap();
            now(store.append(partition, batch(&[&value, "second"]))).unwrap();
            store.run_background();
        }
    }
    store
}

#[test]
fn a_directory_that_was_closed_is_sound() {
    let fs = SimFs::new(1);
    filled(&fs).close();
    let report = look(&fs);
    assert_eq!(report.findings, []);
    assert_eq!((report.partitions, report.batches), (4, 120));
    assert!(report.segments > 4 && report.snapshots == 2, "{report:?}");
    assert!(matches!(report.next_start, NextStart::Serves(account) if account == Account::default()));
}

#[test]
fn beside_a_running_broker_only_its_topics_are_looked_at() {
    let fs = SimFs::new(1);
    let store = filled(&fs);
    let report = look(&fs);
    assert!(report.is_sound(), "{report:?}");
    assert!(report.batches == 120 && matches!(report.next_start, NextStart::InUse));
    drop(store);
    assert!(matches!(look(&fs).next_start, NextStart::Serves(_)));
}

#[test]
fn the_leftovers_of_a_crash_are_no_damage() {
    for seed in 0..100 {
        let fs = SimFs::new(seed);
        let store = filled(&fs);
        let fs = if seed % 4 == 0 { fs.kill() } else { fs.crash(seed) };
        let report = look(&fs);
        assert!(report.is_sound(), "seed {seed}: {:?}", report.findings);
        drop(store);
    }
}

#[test]
fn looking_changes_nothing() {
    let fs = SimFs::new(1);
    drop(filled(&fs));
    let fs = fs.kill();
    let before = fs.changes();
    look(&fs);
    dump(&fs, Path::new("data"), true, &mut Vec::new()).unwrap();
    assert_eq!(fs.changes(), before);
}

#[test]
fn i9_a_flipped_bit_is_found_wherever_it_matters() {
    let fs = SimFs::new(1);
    filled(&fs).close();
    let mut found = 0;
    for path in files(&fs, Path::new("data")) {
        let kind = path.extension().and_then(|extension| extension.to_str()).unwrap_or("none").to_owned();
        let bytes = read_all(&fs, &path, u64::MAX).unwrap();
        let step = if kind == "log" { 23 } else { 61 };
        for byte in (0..bytes.len()).step_by(step) {
            let flipped = fs.fork();
            flipped.flip_bit(&path, (byte * 8 + byte % 8) as u64).unwrap();
            let Ok(report) = verify(&(Arc::new(flipped.clone()) as Arc<dyn Fs>), Path::new("data")) else {
                found += 1;
                continue;
            };
            match kind.as_str() {
                "log" | "snapshot" => {
                    // No checksum covers a batch's leader epoch, as in Kafka.
                    let is_epoch = kind == "log" && in_leader_epoch(&bytes, byte);
                    // There is another snapshot, so this one is no loss.
                    let counts = kind == "log";
                    let is_hit = |finding: &&Finding| finding.path == path && finding.damage == counts;
                    assert!(
                        report.findings.iter().any(|finding| is_hit(&finding)) || is_epoch,
                        "{} byte {byte}",
                        path.display()
                    );
                    found += 1;
                }
                // Damage before the snapshot, or in unused space, has no effect.
                _ => found += usize::from(!report.is_sound()),
            }
        }
    }
    assert!(found > 1000, "{found}");
}

#[test]
fn a_file_that_is_missing_or_cut_short_is_found() {
    let fs = SimFs::new(1);
    filled(&fs).close();
    for path in files(&fs, Path::new("data/topics")) {
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let missing = fs.fork();
        missing.remove(&path).unwrap();
        assert!(!look(&missing).is_sound(), "{}", path.display());
        let len = fs.metadata(&path).unwrap().len;
        for left in [0, len / 2, len - 1] {
            let cut = fs.fork();
            cut.open(&path, Open::Write).unwrap().truncate(left).unwrap();
            assert!(!look(&cut).is_sound(), "{} at {left}", path.display());
        }
    }
}

#[test]
fn foreign_files_are_not_inspected() {
    let fs = SimFs::new(1);
    fs.create_dir(Path::new("data")).unwrap();
    let fs: Arc<dyn Fs> = Arc::new(fs);
    assert!(matches!(verify(&fs, Path::new("data")), Err(OpenError::NotOurs { .. })));
}

#[test]
fn a_dump_has_a_line_for_every_batch_record_and_entry() {
    let fs = SimFs::new(1);
    let store = open(&fs).unwrap();
    let topic = make_topic(&store, "t", 1);
    now(store.append(topic.partition(0).unwrap(), batch(&["one", "two"]))).unwrap();
    now(store.append(topic.partition(0).unwrap(), batch(&["three"]))).unwrap();
    let text = dumped(&fs, "data/topics/t-0", true);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "# data/topics/t-0/00000000000000000000.log");
    assert!(lines[1].starts_with("at=0 offset=0 last=1 count=2 size="), "{text}");
    assert_eq!(lines[2], "  offset=0 timestamp=999000 key=null value=\"one\"");
    assert_eq!(lines[5], "  offset=2 timestamp=999000 key=null value=\"three\"");
    assert_eq!(lines.len(), 6);
    let shallow = dumped(&fs, "data/topics/t-0/00000000000000000000.log", false);
    assert_eq!(shallow.lines().count(), 3);

    let journal = dumped(&fs, "data/journal", true);
    assert!(journal.contains("at=80 entry=1 synced=0 time=1000000"), "{journal}");
    assert!(
        journal.contains("CreateTopic") && journal.contains("Commit") && journal.contains("mark synced=")
    );
}

#[test]
fn a_dump_of_a_snapshot_has_a_line_for_the_state_and_for_every_topic() {
    let fs = SimFs::new(1);
    let store = filled(&fs);
    store.request_snapshot();
    store.run_background();
    store.close();
    let newest = || fs.list(Path::new("data/snapshot")).unwrap().pop().unwrap().name;
    let path = format!("data/snapshot/{}", newest());
    let text = dumped(&fs, &path, true);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].starts_with("entry=") && lines[1].contains(" topics="), "{text}");
    assert!(lines[2..].iter().any(|line| line.starts_with("  topic=\"a\" id=")), "{text}");
    assert_eq!(dumped(&fs, &path, false).lines().count(), 2);
    assert!(dumped(&fs, "data", false).contains(&format!("# {path}\nentry=")));
    fs.flip_bit(Path::new(&path), 8 * 40).unwrap();
    let mut out = Vec::new();
    assert!(!dump(&fs, Path::new(&path), true, &mut out).unwrap());
    assert!(String::from_utf8(out).unwrap().contains("WRONG its checksum is wrong"));
}

#[test]
fn a_dump_hides_passwords_and_keys() {
    let fs = SimFs::new(1);
    let store = filled(&fs);
    let jaas = "listener.name.outside.plain.sasl.jaas.config".to_owned();
    let changes = [(&*jaas, "geheim"), ("my.plugin.passwords", "geheim"), ("num.partitions", "77")];
    let changes =
        changes.into_iter().map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).collect();
    now(store.alter_settings(Scope::DefaultBroker, changes)).unwrap();
    let secret = Secret::new("geheim");
    let credential = ScramCredential {
        iterations: 4096,
        salt: secret.clone(),
        stored_key: secret.clone(),
        server_key: secret,
    };
    let user = "alice".to_owned();
    let change = CredentialChange { user, mechanism: 1, credential: Some(credential.clone()) };
    now(store.alter_credentials(vec![change])).unwrap();
    let token = DelegationToken {
        owner: "User:alice".to_owned(),
        requester: "User:alice".to_owned(),
        renewers: Vec::new(),
        issued: Timestamp(1),
        expires: Timestamp(5),
        max: Timestamp(9),
        hmac_digest: Secret::new("geheim"),
        sha_256: credential.clone(),
        sha_512: credential,
    };
    now(store.create_token("token".to_owned(), token)).unwrap();
    let journal = dumped(&fs, "data/journal", true);
    assert!(journal.contains(&jaas) && journal.contains("alice"), "{journal}");
    // Neither as text nor as a list of bytes.
    assert!(!journal.contains("geheim") && !journal.contains("103, 101, 104"), "{journal}");
    assert!(journal.contains("77"), "no secret: {journal}");
    assert_eq!(journal.matches("[hidden]").count(), 4 + 8, "{journal}");
}

#[test]
fn a_dump_of_something_damaged_says_so_and_shows_the_rest() {
    let fs = SimFs::new(1);
    filled(&fs).close();
    let path = Path::new("data/topics/a-0/00000000000000000000.log");
    let mut out = Vec::new();
    assert!(dump(&fs, path, true, &mut out).unwrap());
    fs.flip_bit(path, 70 * 8).unwrap();
    let mut out = Vec::new();
    assert!(!dump(&fs, path, false, &mut out).unwrap());
    let text = String::from_utf8(out).unwrap();
    assert!(text.lines().nth(1).unwrap().contains("WRONG") && text.lines().count() > 3, "{text}");
    fs.open(path, Open::Write).unwrap().truncate(100).unwrap();
    let mut out = Vec::new();
    assert!(!dump(&fs, path, true, &mut out).unwrap());
    assert!(String::from_utf8(out).unwrap().contains("ends here"));
}

fn dumped(fs: &SimFs, path: &str, deep: bool) -> String {
    let mut out = Vec::new();
    assert!(dump(fs, Path::new(path), deep, &mut out).unwrap());
    String::from_utf8(out).unwrap()
}

/// Whether the byte of a segment belongs to a batch's leader epoch.
fn in_leader_epoch(segment: &[u8], byte: usize) -> bool {
    let mut at = 0;
    while at < segment.len() {
        let length = i32::from_be_bytes(segment[at + 8..at + 12].try_into().unwrap()) as usize;
        if (at + 12..at + 16).contains(&byte) {
            return true;
        }
        at += 12 + length;
    }
    false
}
