//! `jackdaw topic|group|produce|consume|config` as a user sees them: the program, with a broker in this
//! process.
#![cfg(feature = "client")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};

use jackdaw::broker::Broker;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

struct Stage {
    broker: Broker,
    _runtime: tokio::runtime::Runtime,
}

/// The exit code and the output of a run.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Stage {
    fn new() -> Stage {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let builder = Broker::builder().ephemeral().set("group.initial.rebalance.delay.ms", "0");
        Stage { broker: runtime.block_on(builder.start()).unwrap(), _runtime: runtime }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
        command.args(arguments).env("JACKDAW_BOOTSTRAP", self.broker.bootstrap());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command that ends by itself.
    fn try_with(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut child = self.command(arguments).spawn().unwrap();
        // A command that fails at once does not read its input.
        let _ = child.stdin.take().unwrap().write_all(input);
        said(child.wait_with_output().unwrap())
    }

    fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let Said { code, out, err } = self.try_with(arguments, b"");
        assert_eq!(out, "", "{arguments:?} says nothing on standard output");
        (code, err)
    }

    fn run_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let Said { code, out, err } = self.try_with(arguments, input);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, b"")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[arguments, &["--json"]].concat())).unwrap()
    }

    fn produce(&self, topic: &str, lines: &[&str]) {
        self.run_with(&["produce", topic], (lines.join("\n") + "\n").as_bytes());
    }
}

fn said(Output { status, stdout, stderr }: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

/// A process that is killed at the end of the test, also if the test fails.
struct Running(Child);

impl Running {
    fn line(&mut self) -> String {
        let mut line = String::new();
        // Reads no more than one line.
        let out = self.0.stdout.as_mut().unwrap();
        let mut byte = [0];
        while out.read(&mut byte).unwrap() == 1 {
            line.push(byte[0].into());
            if byte[0] == b'\n' {
                break;
            }
        }
        line
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn end(mut self) -> (Option<i32>, String) {
        let mut err = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.0.wait().unwrap().code(), err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn topics_are_made_listed_described_and_deleted() {
    let stage = Stage::new();
    let made = stage.run(&[
        "topic",
        "create",
        "orders",
        "payments",
        "--partitions",
        "3",
        "--set",
        "retention.ms=5000",
    ]);
    assert_eq!(made, "created orders\ncreated payments\n");
    stage.produce("orders", &["one", "two"]);
    let listed = stage.run(&["topic", "list"]);
    assert_eq!(
        listed,
        "TOPIC     PARTITIONS  REPLICAS\norders             3         1\npayments           3         1\n"
    );
    let described = stage.json(&["topic", "describe", "orders"]);
    assert_eq!(described[0]["settings"], json!({ "retention.ms": "5000" }));
    let partitions = described[0]["partitions"].as_array().unwrap();
    let ends: i64 = partitions.iter().map(|partition| partition["end_offset"].as_i64().unwrap()).sum();
    assert_eq!((partitions.len(), ends), (3, 2));
    assert!(stage.run(&["topic", "describe", "orders"]).contains("\nretention.ms=5000\n"));
    assert_eq!(stage.run(&["topic", "delete", "orders"]), "deleted orders\n");
    assert_eq!(
        stage.json(&["topic", "list"]),
        json!([{ "topic": "payments", "partitions": 3, "replicas": 1 }])
    );
}

#[test]
fn lines_go_in_and_records_come_out_as_text_or_as_json_with_all_there_is() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "1"]);
    let input = b"k1=first\nk2=\xff\xfe\n=\n";
    let keyed = ["produce", "t", "--key-separator", "=", "--header", "trace=abc", "--compression", "zstd"];
    assert_eq!(stage.run_with(&keyed, input), "");
    let text = stage.try_bytes(&["consume", "t", "--count", "3", "--key-separator", ":"]);
    assert_eq!(text, b"k1:first\nk2:\xff\xfe\n:\n");
    let lines = stage.run(&["consume", "t", "--until-end", "--json"]);
    let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 3);
    let headers = json!([{ "key": "trace", "value": "abc" }]);
    let timestamp = &records[0]["timestamp"];
    assert!(timestamp.as_i64().unwrap() > 1_700_000_000_000);
    let first = json!({
        "topic": "t", "partition": 0, "offset": 0, "timestamp": timestamp, "key": "k1", "value": "first",
        "headers": headers,
    });
    assert_eq!(records[0], first);
    assert_eq!(records[1]["value"], json!({ "base64": "//4=" }));
    let sent = stage.run_with(&["produce", "t", "--json"], b"a\r\nb");
    assert_eq!(
        serde_json::from_str::<Value>(&sent).unwrap(),
        json!({ "topic": "t", "written": 2, "failed": 0 })
    );
    assert_eq!(stage.run(&["consume", "t", "--from", "3", "--until-end"]), "a\nb\n");
}

impl Stage {
    /// The output of a command, which need not be text.
    fn try_bytes(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        output.stdout
    }
}

#[test]
fn reading_begins_at_the_given_offset() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "1"]);
    stage.produce("t", &["0", "1", "2", "3"]);
    let from = |position| stage.run(&["consume", "t", "--until-end", "--from", position]);
    assert_eq!(from("beginning"), "0\n1\n2\n3\n");
    assert_eq!(from("2"), "2\n3\n");
    assert_eq!(from("-1"), "3\n");
    assert_eq!(from("-100"), "0\n1\n2\n3\n");
    assert_eq!(from("end"), "");
    assert_eq!(from("@0"), "0\n1\n2\n3\n");
    assert_eq!(from("@-1h"), "0\n1\n2\n3\n");
    assert_eq!(from("@2100-01-01T00:00:00Z"), "");
    assert_eq!(stage.run(&["consume", "t", "--from", "1", "--count", "2", "--partition", "0"]), "1\n2\n");
}

#[test]
fn a_group_goes_on_where_it_printed_to_and_is_described_set_back_and_deleted() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "1"]);
    stage.produce("t", &["0", "1", "2", "3"]);
    let read = |count| stage.run(&["consume", "t", "--group", "g", "--count", count]);
    assert_eq!(read("1"), "0\n");
    assert_eq!(read("2"), "1\n2\n");
    let described = stage.json(&["group", "describe", "g"]);
    let nobody = json!({
        "topic": "t", "partition": 0, "committed": 3, "end": 4, "lag": 1, "member": null, "client": null, "host": null,
    });
    assert_eq!(described, json!([{ "group": "g", "state": "Empty", "members": 0, "partitions": [nobody] }]));
    let groups = stage.run(&["group", "list"]);
    assert_eq!(groups, "GROUP  STATE  PROTOCOL  MEMBERS\ng      Empty  consumer        0\n");

    let dry = stage.json(&["group", "reset", "g", "--topic", "t", "--to", "beginning", "--dry-run"]);
    assert_eq!(dry, json!([{ "topic": "t", "partition": 0, "before": 3, "now": 0 }]));
    assert_eq!(stage.json(&["group", "describe", "g"])[0]["partitions"][0]["committed"], 3);
    stage.run(&["group", "reset", "g", "--topic", "t", "--to", "-2"]);
    assert_eq!(read("2"), "2\n3\n");

    assert_eq!(stage.run(&["group", "delete", "g"]), "deleted g\n");
    assert_eq!(stage.json(&["group", "list"]), json!([]));
    let (code, err) = stage.refused(&["group", "describe", "g"]);
    assert_eq!((code, err.as_str()), (1, "jackdaw: there is no group g\n"));
}

#[test]
fn who_reads_is_shown_and_not_set_back_and_ctrl_c_ends_it_with_what_was_printed_committed() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "2"]);
    stage.produce("t", &["one"]);
    let mut reader = Running(stage.command(&["consume", "t", "--group", "g"]).spawn().unwrap());
    assert_eq!(reader.line(), "one\n");
    let described = stage.json(&["group", "describe", "g"]);
    assert_eq!((&described[0]["state"], &described[0]["members"]), (&json!("Stable"), &json!(1)));
    let partitions = described[0]["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 2);
    assert!(
        partitions
            .iter()
            .all(|partition| partition["client"] == "jackdaw" && partition["member"].is_string())
    );
    let (code, err) = stage.refused(&["group", "reset", "g", "--topic", "t", "--to", "end"]);
    assert_eq!(code, 1);
    assert!(err.contains("g has 1 members: stop them first"), "{err}");
    reader.signal(Signal::INT);
    assert_eq!(reader.end(), (Some(0), String::new()));
    let described = stage.json(&["group", "describe", "g"]);
    let lag: i64 =
        described[0]["partitions"].as_array().unwrap().iter().filter_map(|of| of["lag"].as_i64()).sum();
    assert_eq!((described[0]["state"].as_str(), lag), (Some("Empty"), 0));
}

#[test]
fn a_topic_gets_more_partitions() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "1"]);
    assert_eq!(stage.run(&["topic", "partitions", "t", "3"]), "extended t\n");
    assert_eq!(stage.json(&["topic", "list"])[0]["partitions"], 3);
    let (code, _) = stage.refused(&["topic", "partitions", "t", "2"]);
    assert_eq!(code, 1);
}

#[test]
fn settings_are_set_and_unset_one_by_one_and_the_others_stay() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--set", "flush.ms=7"]);
    let set = |settings: &[&str]| stage.run(&[&["config", "set", "topic", "t"], settings].concat());
    let own = || stage.json(&["topic", "describe", "t"])[0]["settings"].clone();
    assert_eq!(
        set(&["retention.ms=5000", "max.message.bytes=200"]),
        "set retention.ms=5000\nset max.message.bytes=200\n"
    );
    assert_eq!(own(), json!({ "flush.ms": "7", "max.message.bytes": "200", "retention.ms": "5000" }));
    let too_long = "x".repeat(300) + "\n";
    assert_eq!(stage.try_with(&["produce", "t"], too_long.as_bytes()).code, 1, "what was set holds");
    let unset = stage.run(&["config", "unset", "topic", "t", "max.message.bytes", "flush.ms"]);
    assert_eq!(unset, "unset max.message.bytes\nunset flush.ms\n");
    assert_eq!(own(), json!({ "retention.ms": "5000" }));
    stage.produce("t", &[&too_long]);
    let answer = stage.json(&["topic", "alter", "t", "--set", "segment.ms=60000", "--unset", "retention.ms"]);
    assert_eq!(answer, json!({ "set": { "segment.ms": "60000" }, "unset": ["retention.ms"] }));
    let got = stage.json(&["config", "get", "topic", "t"]);
    let got = got.as_array().unwrap();
    assert!(got.contains(&json!({ "setting": "segment.ms", "value": "60000", "source": "topic" })));
    // Kafka always sets this one for all brokers.
    assert!(
        got.contains(&json!({ "setting": "min.insync.replicas", "value": "1", "source": "all brokers" }))
    );
    assert_eq!(got.len(), 2);
    let all = stage.json(&["config", "get", "topic", "t", "--all"]);
    assert!(all.as_array().unwrap().len() > 30);
}

#[test]
fn settings_of_a_broker_are_its_own_until_they_are_unset() {
    let stage = Stage::new();
    let value = |setting: &str| {
        let got = stage.json(&["config", "get", "broker", "1", setting]);
        (got[0]["value"].as_str().unwrap().to_owned(), got[0]["source"].as_str().unwrap().to_owned())
    };
    let is = |value: &str, source: &str| (value.to_owned(), source.to_owned());
    let said = stage.run(&["config", "set", "broker", "1", "log.retention.ms=7200000"]);
    assert_eq!(said, "set log.retention.ms=7200000\n");
    assert_eq!(value("log.retention.ms"), is("7200000", "broker"));
    stage.run(&["config", "set", "broker", "1", "message.max.bytes=2000000"]);
    assert_eq!(value("log.retention.ms"), is("7200000", "broker"), "it stays");
    stage.run(&["config", "unset", "broker", "1", "message.max.bytes"]);
    assert_eq!(value("message.max.bytes"), is("1048588", "default"));
    assert_eq!(value("log.retention.ms"), is("7200000", "broker"));
}

#[test]
fn settings_that_are_refused_change_nothing() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--set", "retention.ms=5000"]);
    for (arguments, said) in [
        (
            &["config", "set", "topic", "t", "segment.ms=60000", "retention.ms=soon"][..],
            "jackdaw: Invalid value soon for configuration retention.ms: Not a number of type LONG\n",
        ),
        (&["config", "set", "topic", "t", "no.such=1"], "jackdaw: Unknown topic config name: no.such\n"),
        (&["config", "set", "broker", "1", "node.id=7"], "jackdaw: Cannot update these configs dynamically"),
        (
            &["config", "set", "topic", "missing", "retention.ms=1"],
            "jackdaw: The topic 'missing' does not exist.\n",
        ),
        (&["config", "unset", "topic", "t", "no.such"], "jackdaw: there is no setting no.such\n"),
        (&["config", "get", "topic", "missing"], "jackdaw: there is no topic missing\n"),
        (&["topic", "alter", "t", "--set", "retention.ms=soon"], "jackdaw: Invalid value soon for "),
        (&["topic", "alter", "missing", "--unset", "retention.ms"], "jackdaw: there is no topic missing\n"),
    ] {
        let (code, err) = stage.refused(arguments);
        assert_eq!(code, 1, "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    let settings = stage.json(&["topic", "describe", "t"])[0]["settings"].clone();
    assert_eq!(settings, json!({ "retention.ms": "5000" }));
}

#[test]
fn what_cannot_be_done_is_said_in_one_line_with_an_exit_code_for_each_kind() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t"]);
    for (arguments, code, said) in [
        (&["topic", "create", "t"][..], 1, "jackdaw: t: "),
        (&["topic", "create", "a/b"], 1, "jackdaw: a/b: "),
        (&["topic", "delete", "missing"], 1, "jackdaw: missing: Unknown topic or partition\n"),
        (&["topic", "describe", "missing"], 1, "jackdaw: there is no topic missing\n"),
        (&["consume", "missing"], 1, "jackdaw: there is no topic missing\n"),
        (&["consume", "t", "--partition", "7"], 1, "jackdaw: t has no partition 7\n"),
        (&["consume", "t", "--group", "g", "--from", "5"], 64, "jackdaw: a group begins at"),
        (&["consume", "t", "--from", "yesterday"], 64, "expected beginning, end"),
        (&["config", "get", "broker", "one"], 64, "jackdaw: a broker is named by its number\n"),
        (&["topic", "alter", "t"], 64, "jackdaw: nothing to set or unset\n"),
        (&["topic", "list", "-X", "colour=red"], 64, "jackdaw: -X colour: "),
        (&["topic"], 64, "Usage"),
    ] {
        let (found, err) = stage.refused(arguments);
        assert_eq!(found, code, "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    // Nothing listens at port 1.
    for arguments in [
        &["topic", "list"][..],
        &["group", "list"],
        &["config", "get", "topic", "t"],
        &["consume", "t"],
        &["config", "set", "topic", "t", "retention.ms=1"],
    ] {
        let (code, err) =
            stage.refused(&[arguments, &["--bootstrap", "127.0.0.1:1", "--timeout", "1"]].concat());
        assert_eq!(code, 69, "{arguments:?}: {err}");
        assert!(err.starts_with("jackdaw: no answer from 127.0.0.1:1"), "{err}");
    }
    let Said { code, err, .. } =
        stage.try_with(&["produce", "t", "--bootstrap", "127.0.0.1:1", "--timeout", "1"], b"lost\n");
    assert_eq!(code, 69);
    assert!(err.contains("1 of 1 lines were not written to t: line 1: no answer from 127.0.0.1:1"), "{err}");
    let Said { code, err, .. } = stage.try_with(&["produce", "t", "--partition", "7"], b"lost\n");
    assert_eq!(code, 1, "{err}");
    let Said { code, err, .. } = stage.try_with(&["produce", "t", "--key-separator", ":"], b"no key\n");
    let said = "jackdaw: 1 of 1 lines were not written to t: line 1: without \":\" there is no key\n";
    assert_eq!((code, err.as_str()), (1, said));
}

#[test]
fn lines_that_cannot_be_written_are_named_and_all_others_are_delivered() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "1"]);
    let mut lines: Vec<String> = (1..=20_001).map(|number| format!("{number}=v")).collect();
    lines[9_999] = "no key".into();
    lines[14_999] = "nor here".into();
    lines[15_000] = "or here".into();
    let (input, produce) = (lines.join("\n"), ["produce", "t", "--key-separator", "="]);
    let Said { code, err, .. } = stage.try_with(&produce, input.as_bytes());
    let said =
        "3 of 20001 lines were not written to t: lines 10000, 15000-15001: without \"=\" there is no key";
    assert_eq!((code, err.as_str()), (1, format!("jackdaw: {said}\n").as_str()));
    let keys = stage.run(&["consume", "t", "--until-end", "--key-separator", "="]);
    assert_eq!(keys.lines().count(), 19_998);

    // A record that the broker refuses: the others of its batch are not written either, and all are named.
    stage.run(&["config", "set", "topic", "t", "max.message.bytes=100000"]);
    let large = format!("large={}", "x".repeat(200_000));
    let alone = stage.try_with(&[&produce[..], &["-X", "linger.ms=0"]].concat(), large.as_bytes());
    assert_eq!(alone.code, 1);
    assert!(alone.err.contains("1 of 1 lines were not written to t: line 1: "), "{}", alone.err);
}

#[test]
fn who_stops_reading_ends_it_without_an_error() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "1"]);
    let mut reader = Running(stage.command(&["consume", "t"]).spawn().unwrap());
    stage.produce("t", &["first"]);
    let mut out = BufReader::new(reader.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    drop(out);
    stage.produce("t", &["second"]);
    assert_eq!(reader.end(), (Some(0), String::new()));
}
