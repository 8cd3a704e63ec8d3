//! `jackdaw group`: resets to every kind of position, a watched lag, and offsets that are deleted.

use jackdaw::broker::Broker;
use jackdaw::hooks::Fault;
use serde_json::{Value, json};

use super::{RunResult, Running, Signal, Stage};

/// A topic with one partition and four records, of which the group g has read one.
fn read_once(stage: &Stage) {
    stage.run(&["topic", "create", "t", "--partitions", "1"]);
    stage.produce("t", &["0", "1", "2", "3"]);
    assert_eq!(stage.run(&["consume", "t", "--group", "g", "--count", "1"]), "0\n");
}

fn committed(stage: &Stage, group: &str) -> Vec<(String, i64, i64)> {
    let described = stage.json(&["group", "describe", group]);
    let rows = described[0]["partitions"].as_array().unwrap().iter();
    rows.map(|row| {
        let number = |name: &str| row[name].as_i64().unwrap();
        (row["topic"].as_str().unwrap().to_owned(), number("partition"), number("committed"))
    })
    .collect()
}

#[test]
fn a_group_is_set_to_a_position_or_moved_from_where_it_stands() {
    let stage = Stage::new();
    read_once(&stage);
    let reset =
        |how: &[&str]| stage.json(&[&["group", "reset", "g", "--topic", "t"], how].concat())[0].clone();
    for (how, before, now) in [
        (&["--to", "latest"][..], 1, 4),
        (&["--to", "earliest"], 4, 0),
        (&["--to", "3"], 0, 3),
        (&["--to", "-2"], 3, 2),
        (&["--to", "1h"], 2, 0),
        (&["--to", "@2100-01-01T00:00:00Z"], 0, 4),
        (&["--shift", "-3"], 4, 1),
        (&["--shift", "+1"], 1, 2),
        (&["--shift", "100"], 2, 4),
    ] {
        let planned = reset(&[how, &["--dry-run"]].concat());
        let row = json!({ "topic": "t", "partition": 0, "before": before, "now": now, "lag": 4 - now });
        assert_eq!(planned, row, "{how:?}");
        assert_eq!(committed(&stage, "g")[0].2, before, "a dry run sets nothing");
        assert_eq!(reset(how), row, "{how:?}");
        assert_eq!(committed(&stage, "g")[0].2, now, "{how:?}");
    }
    for (wrong, code, why) in [
        (&["--topic", "t", "--to", "+5"][..], 64, "--shift +5"),
        (&["--topic", "t"], 64, "--to"),
        (&["--to", "0"], 64, "--topic"),
        (&["--topic", "t", "--to", "0", "--shift", "1"], 64, "cannot be used with"),
        (&["--topic", "t:9", "--to", "0"], 1, "t has no partition 9: the topic has 1 partition"),
        (&["--topic", "t:0", "--partition", "3", "--to", "0"], 64, "t: --topic names its partitions behind"),
        (&["--all-topics", "--partition", "9", "--to", "0"], 1, "g has no offset in a partition 9"),
        (&["--topic", "missing", "--to", "0"], 1, "there is no topic missing"),
    ] {
        let (found, err) = stage.refused(&[&["group", "reset", "g"], wrong].concat());
        assert!(found == code && err.contains(why), "{wrong:?}: {found} {err}");
    }
    let (code, err) = stage.refused(&["group", "reset", "new", "--topic", "t", "--shift", "1"]);
    assert_eq!((code, err.as_str()), (1, "jackdaw: new has no offset in t 0 to shift: use --to\n"));
    assert_eq!(stage.refused(&["group", "reset", "new", "--all-topics", "--to", "0"]).0, 1);
}

#[test]
fn a_coordinator_that_is_only_starting_is_waited_for() {
    let stage = Stage::of(Broker::builder().test_hooks(), &[]);
    stage.run(&["topic", "create", "t"]);
    let hooks = stage.broker.hooks().unwrap();
    let errors = [
        ("FindCoordinator", "COORDINATOR_NOT_AVAILABLE"),
        ("OffsetCommit", "COORDINATOR_LOAD_IN_PROGRESS"),
        ("OffsetCommit", "NOT_COORDINATOR"),
    ];
    for (api, error) in errors {
        hooks.inject(Fault::of(api).times(2).error(error)).unwrap();
    }
    stage.run(&["group", "reset", "g", "--topic", "t", "--to", "earliest"]);
    assert_eq!(committed(&stage, "g"), [("t".to_owned(), 0, 0)]);
    assert!(hooks.faults().is_empty(), "each was met");
    hooks.inject(Fault::of("DescribeTransactions").error("COORDINATOR_LOAD_IN_PROGRESS")).unwrap();
    let (code, err) = stage.refused(&["transaction", "describe", "nothing"]);
    assert_eq!((code, err.as_str()), (1, "jackdaw: there is no transactional id nothing\n"));
    hooks.inject(Fault::of("FindCoordinator").times(1000).error("COORDINATOR_NOT_AVAILABLE")).unwrap();
    let (code, err) =
        stage.refused(&["group", "reset", "g2", "--topic", "t", "--to", "earliest", "--timeout", "1"]);
    assert!(code == 1 && err.contains("no broker coordinates it yet"), "{code} {err}");
}

#[test]
fn a_reset_that_is_partly_refused_shows_what_was_done_and_each_refusal() {
    let stage = Stage::with(&[
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("allow.everyone.if.no.acl.found", "true"),
    ]);
    stage.run(&["topic", "create", "mine", "yours", "--partitions", "1"]);
    // With a right on the topic, there are no others any more.
    stage.run(&[
        "acl",
        "add",
        "--allow-principal",
        "User:ANONYMOUS",
        "--operation",
        "describe",
        "--topic",
        "yours",
    ]);
    let reset = |more: &[&str]| {
        let RunResult { code, out, err } =
            stage.try_with(&[&["group", "reset", "g", "--to", "earliest"], more].concat(), b"");
        (code, out, err)
    };
    let why = "the user has no right to this on the topic (TOPIC_AUTHORIZATION_FAILED)";
    let refused = format!("jackdaw: yours 0: {why}\n");
    let done = "TOPIC  PARTITION  BEFORE  NOW  LAG\nmine           0       -    0    0\n";
    assert_eq!(reset(&["--topic", "mine", "--topic", "yours"]), (1, done.to_owned(), refused.clone()));
    assert_eq!(committed(&stage, "g"), [("mine".to_owned(), 0, 0)]);
    let (code, out, err) = reset(&["--topic", "mine", "--topic", "yours", "--json"]);
    let rows = json!([
        { "topic": "mine", "partition": 0, "before": 0, "now": 0, "lag": 0 },
        { "topic": "yours", "partition": 0, "result": "refused", "error": why },
    ]);
    assert_eq!((code, serde_json::from_str::<Value>(&out).unwrap(), err), (1, rows, refused.clone()));
    assert_eq!(reset(&["--topic", "yours"]), (1, String::new(), refused));
}

#[test]
fn all_topics_of_a_group_are_reset_and_no_others_and_its_offsets_are_deleted() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "a", "b", "unread", "--partitions", "2"]);
    stage.run(&["group", "reset", "g", "--topic", "a", "--topic", "b:1", "--to", "earliest"]);
    stage.produce("a", &["1", "2", "3"]);
    stage.produce("b", &["1", "2", "3"]);
    stage.run(&["group", "reset", "g", "--all-topics", "--to", "latest"]);
    let committed_of =
        |group| committed(&stage, group).into_iter().map(|(topic, partition, _)| (topic, partition));
    let of = |topic: &str, partition: i64| (topic.to_owned(), partition);
    assert_eq!(committed_of("g").collect::<Vec<_>>(), [of("a", 0), of("a", 1), of("b", 1)]);
    let all = stage.json(&["group", "list"]);
    assert_eq!((&all[0]["group"], &all[0]["lag"]), (&json!("g"), &json!(0)));
    assert_eq!(stage.json(&["group", "list", "--state", "stable"]), json!([]));

    assert_eq!(stage.run(&["group", "delete-offsets", "g", "--topic", "a:1"]), "deleted the offset of a 1\n");
    assert_eq!(committed_of("g").collect::<Vec<_>>(), [of("a", 0), of("b", 1)]);
    let (code, err) = stage.refused(&["group", "delete-offsets", "g", "--topic", "unread"]);
    assert_eq!((code, err.as_str()), (1, "jackdaw: g has no offset in unread\n"));
    let (code, err) = stage.refused(&["group", "delete-offsets", "nobody", "--topic", "a"]);
    assert_eq!((code, err.as_str()), (1, "jackdaw: there is no group nobody\n"));
}

#[test]
fn a_group_with_members_is_not_deleted_and_keeps_its_offsets() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "1"]);
    stage.produce("t", &["one", "two"]);
    assert_eq!(stage.run(&["consume", "t", "--group", "g", "--count", "1"]), "one\n");
    let mut reader = Running(stage.command(&["consume", "t", "--group", "g"]).spawn().unwrap());
    assert_eq!(reader.line(), "two\n");
    let (code, err) = stage.refused(&["group", "delete", "g"]);
    assert!(code == 1 && err.starts_with("jackdaw: g: ") && err.len() > "jackdaw: g: \n".len(), "{err}");
    let (code, err) = stage.refused(&["group", "delete-offsets", "g", "--topic", "t"]);
    let why = "jackdaw: t 0: members of the group read the topic (GROUP_SUBSCRIBED_TO_TOPIC)\n";
    assert!(code == 1 && err.ends_with(why), "{err}");
    reader.signal(Signal::INT);
    assert_eq!(reader.end(), (Some(0), String::new()));
}

#[test]
fn a_watched_group_is_a_line_of_json_for_each_round_with_rates_from_the_second_on() {
    let stage = Stage::new();
    read_once(&stage);
    let lines = stage.run(&["group", "watch", "g", "--every", "0s", "--count", "2", "--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!((&line["group"], &line["state"], &line["lag"]), (&json!("g"), &json!("Empty"), &json!(3)));
    }
    assert_eq!(lines[0]["partitions"][0]["lag_per_s"], Value::Null);
    assert_eq!(lines[1]["partitions"][0]["lag_per_s"], json!(0.0));
    let table = stage.run(&["group", "watch", "g", "--count", "1"]);
    assert!(table.starts_with("g: Empty, lag 3\nTOPIC"), "{table}");
    let (code, err) = stage.refused(&["group", "watch", "nobody"]);
    assert_eq!((code, err.as_str()), (1, "jackdaw: there is no group nobody\n"));

    let mut watch = Running(stage.command(&["group", "watch", "g", "--every", "1h"]).spawn().unwrap());
    assert_eq!(watch.line(), "g: Empty, lag 3\n");
    watch.signal(Signal::INT);
    assert_eq!(watch.end(), (Some(0), String::new()));
}
