//! `jackdaw topic`: deletion by a pattern, deleted records, elections and moved replicas.

use serde_json::{Value, json};

use super::Stage;

fn names(listed: &Value) -> Vec<&str> {
    listed.as_array().unwrap().iter().map(|topic| topic["topic"].as_str().unwrap()).collect()
}

#[test]
fn topics_are_deleted_by_a_pattern_after_somebody_has_agreed() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "test-1", "test-2", "orders"]);
    assert_eq!(names(&stage.json(&["topic", "list", "--pattern", "test-.*"])), ["test-1", "test-2"]);
    let delete = ["topic", "delete", "--pattern", "test-.*"];
    let (code, err) = stage.refused(&delete);
    assert_eq!(code, 64);
    assert!(err.contains("there is no terminal to ask on: add --yes"), "{err}");
    let shown = stage.run(&[&delete[..], &["--dry-run"]].concat());
    assert_eq!(shown, "would delete test-1\nwould delete test-2\n");
    assert_eq!(stage.run(&[&delete[..], &["--yes"]].concat()), "deleted test-1\ndeleted test-2\n");
    assert_eq!(names(&stage.json(&["topic", "list"])), ["orders"]);
    assert_eq!(stage.run(&[&delete[..], &["--yes"]].concat()), "", "none is left");
    assert_eq!(stage.refused(&["topic", "delete", "--pattern", "(", "--yes"]).0, 64);
    assert_eq!(stage.refused(&["topic", "delete"]).0, 64);
}

#[test]
fn a_dry_run_of_a_deletion_is_refused_where_the_deletion_is() {
    let stage = Stage::with(&[("delete.topic.enable", "false")]);
    stage.run(&["topic", "create", "t"]);
    for arguments in [&["topic", "delete", "t"][..], &["topic", "delete", "t", "--dry-run"]] {
        let (code, err) = stage.refused(arguments);
        assert!(code == 1 && err.starts_with("jackdaw: t: delete.topic.enable "), "{arguments:?}: {err}");
    }
}

#[test]
fn a_topic_is_described_with_its_id_offsets_sizes_and_the_source_of_every_setting() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "1", "--set", "retention.ms=5000"]);
    stage.produce("t", &["one", "two"]);
    let described = stage.json(&["topic", "describe", "t"])[0].clone();
    assert_eq!(described["id"].as_str().unwrap().len(), 22);
    assert!(described["bytes"].as_i64().unwrap() > 0, "{described}");
    let partition = &described["partitions"][0];
    assert_eq!((&partition["start_offset"], &partition["end_offset"]), (&json!(0), &json!(2)));
    assert_eq!(partition["bytes"], described["bytes"]);
    let settings = described["settings"].as_array().unwrap();
    assert!(settings.len() > 30);
    assert_eq!(settings[1], json!({ "setting": "retention.ms", "value": "5000", "source": "topic" }));
    let text = stage.run(&["topic", "describe", "t"]);
    assert!(text.starts_with("t: 1 partition, id ") && text.contains("retention.ms"), "{text}");
}

#[test]
fn a_refused_topic_is_refused_in_the_brokers_words() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "3"]);
    for (arguments, why) in [
        (&["topic", "create", "t"][..], "t: Topic 't' already exists.\n"),
        (&["topic", "create", "u", "--set", "retention.mss=1"], "retention.mss"),
        (&["topic", "create", "u", "--replication-factor", "3"], "replication factor"),
        (&["topic", "partitions", "t", "2"], "3 partition"),
        (&["topic", "partitions", "missing", "2"], "missing: "),
    ] {
        let (code, err) = stage.refused(arguments);
        assert!(code == 1 && err.contains(why), "{arguments:?}: {err}");
    }
    assert_eq!(stage.run(&["topic", "create", "t", "--if-not-exists"]), "t exists already\n");
    assert_eq!(stage.run(&["topic", "create", "u", "--dry-run"]), "would create u\n");
    assert_eq!(names(&stage.json(&["topic", "list"])), ["t"]);
    let refused = stage.try_with(&["topic", "create", "t", "u", "--json"], b"");
    let rows: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!((refused.code, &rows[1]), (1, &json!({ "name": "u", "result": "created" })));
    assert_eq!(rows[0]["error"], json!("Topic 't' already exists."));
}

#[test]
fn records_before_a_position_are_deleted() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "1"]);
    stage.produce("t", &["0", "1", "2", "3"]);
    let delete = |before: &str, more: &[&str]| {
        stage.json(&[&["topic", "delete-records", "t", "--before", before], more].concat())[0].clone()
    };
    let row = |before: i64, now: i64| json!({ "topic": "t", "partition": 0, "before": before, "now": now, "end": 4 });
    assert_eq!(delete("2", &["--dry-run"]), row(0, 2));
    assert_eq!(delete("1", &["--yes"]), row(0, 1));
    assert_eq!(delete("-2", &["--yes"]), row(1, 2));
    assert_eq!(stage.run(&["consume", "t", "--until-end"]), "2\n3\n");
    let (code, err) = stage.refused(&["topic", "delete-records", "t", "--before", "2"]);
    assert!(code == 64 && err.contains("--yes"), "{err}");
    for how in ["--yes", "--dry-run"] {
        let why = "jackdaw: t 0, which ends at 4: the offset is outside of the log (OFFSET_OUT_OF_RANGE)\n";
        let beyond = stage.refused(&["topic", "delete-records", "t", "--before", "9", how]);
        assert_eq!(beyond, (1, why.to_owned()), "{how}");
    }
    stage.run(&["topic", "create", "c", "--partitions", "1", "--set", "cleanup.policy=compact"]);
    let [done, dry] = ["--yes", "--dry-run"]
        .map(|how| stage.refused(&["topic", "delete-records", "c", "--before", "end", how]));
    assert!(done.0 == 1 && done.1.contains("POLICY_VIOLATION"), "{}", done.1);
    assert_eq!(dry, done);
    assert_eq!(
        stage.refused(&["topic", "delete-records", "t", "--before", "0", "--partition", "7", "--yes"]).0,
        1
    );
}

#[test]
fn leaders_are_elected_and_replicas_are_moved_among_virtual_brokers() {
    let stage = Stage::virtual_brokers(3);
    stage.run(&["topic", "create", "t", "--partitions", "3", "--replication-factor", "2"]);
    let elected = stage.run(&["topic", "elect", "t", "--partition", "1"]);
    assert_eq!(elected, "no election needed for t 1\n");
    let elected = stage.json(&["topic", "elect", "t", "--partition", "1"]);
    assert_eq!(elected, json!([{ "name": "t 1", "result": "no election needed" }]));
    let (code, err) = stage.refused(&["topic", "elect", "t", "--partition", "9"]);
    assert_eq!((code, err.as_str()), (1, "jackdaw: t has no partition 9: the topic has 3 partitions\n"));

    let planned = stage.json(&["topic", "reassign", "t", "--replicas", "1,2,3", "--dry-run"]);
    let replicas: Vec<&Value> = planned.as_array().unwrap().iter().map(|row| &row["now"]).collect();
    assert_eq!(replicas, [&json!([1, 2, 3]), &json!([2, 3, 1]), &json!([3, 1, 2])]);
    let (code, err) = stage.refused(&["topic", "reassign", "t", "--replicas", "1,9", "--partition", "0"]);
    assert!(code == 1 && err.starts_with("jackdaw: t 0: ") && err.contains('9'), "{err}");
    for (replicas, why) in
        [("1,9", "there is no broker 9; there are 1, 2, 3"), ("1,1", "broker 1 is named twice")]
    {
        let (code, err) = stage.refused(&["topic", "reassign", "t", "--replicas", replicas, "--dry-run"]);
        assert!(code == 1 && err.contains(why), "{err}");
    }
    assert_eq!(stage.json(&["topic", "reassignments", "t"]), json!([]));
}

#[test]
fn one_wrong_name_among_several_is_refused_and_all_else_is_done() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "a", "b", "--partitions", "1"]);
    stage.produce("a", &["one"]);
    stage.run(&["consume", "a", "--group", "g", "--count", "1"]);
    stage.run(&["group", "reset", "g", "--topic", "b", "--to", "end"]);
    let partly = |arguments: &[&str]| {
        let done = stage.try_with(arguments, b"");
        assert_eq!(done.code, 1, "{arguments:?}: {}", done.out);
        assert!(done.err.contains("nope") || done.err.contains("broker 9"), "{arguments:?}: {}", done.err);
        done.out
    };
    let names = ["a", "nope", "b"];
    let described = partly(&[&["topic", "describe"], &names[..]].concat());
    assert!(
        described.starts_with("a: 1 partition") && described.contains("\n\nb: 1 partition"),
        "{described}"
    );
    assert_eq!(partly(&[&["topic", "elect"], &names[..]].concat()).lines().count(), 2);
    partly(&[&["topic", "reassignments"], &names[..]].concat());
    let would = partly(&[&["topic", "delete", "--dry-run"], &names[..]].concat());
    assert_eq!(would, "would delete a\nwould delete b\n");
    assert!(partly(&["group", "describe", "nope", "g"]).starts_with("g: Empty"));
    let reset = ["group", "reset", "g", "--topic", "nope", "--topic", "a", "--to", "earliest"];
    assert!(partly(&reset).contains("\na "));
    let deleted = partly(&["group", "delete-offsets", "g", "--topic", "nope", "--topic", "a"]);
    assert_eq!(deleted, "deleted the offset of a 0\n");
    partly(&["transaction", "find-hanging", "--topic", "nope", "--topic", "a"]);
    assert!(partly(&["config", "get", "topic", "a", "nope", "retention.ms"]).contains("retention.ms"));
    let id = stage.json(&["cluster", "describe"])["brokers"][0]["broker"].to_string();
    assert_eq!(partly(&["cluster", "log-dirs", "--broker", "9", "--broker", &id]).lines().count(), 2);
}
