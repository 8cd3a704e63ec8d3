//! `jackdaw produce` and `jackdaw consume` as a user sees them: the program, with a broker in this process.
//!
//! `BOOTSTRAP=host:port cargo test --test client_records` uses a running broker instead: all of these tests also pass
//! with Apache Kafka 4.4.
#![cfg(feature = "client")]

use std::io::{BufRead, BufReader, Seek, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jackdaw::broker::Broker;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(60);

struct Stage {
    bootstrap: String,
    _broker: Option<(Broker, tokio::runtime::Runtime)>,
}

struct Done {
    code: i32,
    out: Vec<u8>,
    err: String,
}

impl Done {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.out).unwrap()
    }
}

impl Stage {
    fn new() -> Stage {
        match std::env::var("BOOTSTRAP") {
            Ok(bootstrap) => Stage { bootstrap, _broker: None },
            Err(_) => Stage::with(&[]),
        }
    }

    /// A broker in this process with these settings.
    fn with(settings: &[(&str, &str)]) -> Stage {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let builder = Broker::builder().ephemeral().set("group.initial.rebalance.delay.ms", "0");
        let builder = settings.iter().fold(builder, |builder, (name, value)| builder.set(name, *value));
        let broker = runtime.block_on(builder.start()).unwrap();
        Stage { bootstrap: broker.bootstrap().to_owned(), _broker: Some((broker, runtime)) }
    }

    /// A new topic, with a name that no other test has, also on a shared broker.
    fn topic(&self, what: &str, partitions: u32, settings: &[&str]) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{what}-{}-{nth}", std::process::id());
        let count = partitions.to_string();
        let mut create = vec!["topic", "create", &name, "--partitions", &count];
        settings.iter().for_each(|setting| create.extend(["--set", setting]));
        self.run(&create, "");
        name
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
        command.args(arguments).env("JACKDAW_BOOTSTRAP", &self.bootstrap);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn spawn(&self, arguments: &[&str]) -> (Running, ChildStdin) {
        let mut child = self.command(arguments).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        (Running(Some(child)), input)
    }

    /// Runs a command that ends by itself.
    fn try_with(&self, arguments: &[&str], input: &[u8]) -> Done {
        let (running, mut stdin) = self.spawn(arguments);
        // A command that fails at once does not read its input.
        let _ = stdin.write_all(input);
        drop(stdin);
        running.end()
    }

    fn run_bytes(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let Done { code, out, err } = self.try_with(arguments, input);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {}", out.escape_ascii());
        out
    }

    fn run(&self, arguments: &[&str], input: &str) -> String {
        String::from_utf8(self.run_bytes(arguments, input.as_bytes())).unwrap()
    }

    /// All records of a topic.
    fn records(&self, topic: &str) -> Vec<Value> {
        let lines = self.run(&["consume", topic, "--until-end", "--json"], "");
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// All values of a topic with one partition.
    fn values(&self, topic: &str) -> String {
        self.run(&["consume", topic, "--until-end"], "")
    }
}

/// A process that is killed at the end of the test, also if the test fails.
struct Running(Option<Child>);

impl Running {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(self.child()), signal).unwrap();
    }

    fn end(mut self) -> Done {
        let Output { status, stdout, stderr } = self.0.take().unwrap().wait_with_output().unwrap();
        Done { code: status.code().unwrap(), out: stdout, err: String::from_utf8(stderr).unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

// --- nothing is lost ------------------------------------------------------------------------------

#[test]
fn a_line_that_the_broker_refuses_is_named_with_the_reason_and_all_others_are_written() {
    let stage = Stage::new();
    let topic = stage.topic("compacted", 1, &["cleanup.policy=compact"]);
    // All of them are in one batch, which the broker refuses as a whole.
    let lines: Vec<String> =
        (1..=300).map(|n| if n % 100 == 0 { "no key".into() } else { format!("{n}=v") }).collect();
    let produce =
        ["produce", &topic, "--key-separator", "=", "--key-optional", "-X", "linger.ms=200", "--json"];
    let done = stage.try_with(&produce, lines.join("\n").as_bytes());
    let summary = done.json();
    assert_eq!((done.code, &summary["written"], &summary["refused"]), (1, &json!(297), &json!(3)));
    assert_eq!(summary["refusals"][0]["lines"], "100, 200, 300", "{summary}");
    let reason = summary["refusals"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("a compacted topic accepts no record without a key"), "{reason}");
    assert!(
        done.err.contains("3 of 300 lines were not written") && done.err.contains(reason),
        "{}",
        done.err
    );
    assert_eq!(stage.records(&topic).len(), 297);
}

#[test]
fn a_batch_that_is_too_large_is_written_record_by_record() {
    let stage = Stage::new();
    let topic = stage.topic("small", 1, &["max.message.bytes=2000"]);
    let mut lines: Vec<String> = (0..100).map(|n| format!("{n:0100}")).collect();
    lines[50] = "x".repeat(3000);
    let done = stage.try_with(&["produce", &topic, "--json"], lines.join("\n").as_bytes());
    let summary = done.json();
    assert_eq!(
        (done.code, &summary["written"], &summary["refused"]),
        (1, &json!(99), &json!(1)),
        "{summary}"
    );
    assert_eq!(summary["refusals"][0]["lines"], "51");
    let mut values: Vec<String> = stage.values(&topic).lines().map(str::to_owned).collect();
    values.sort();
    lines.remove(50);
    assert_eq!(values, lines);
}

#[test]
fn with_stop_nothing_is_sent_after_a_refused_line_and_the_first_unsent_line_is_named() {
    let stage = Stage::new();
    let topic = stage.topic("stop", 1, &[]);
    let mut lines: Vec<String> = (1..=5000).map(|n| format!("{n}=v")).collect();
    lines[9] = "no key".to_owned();
    let produce = ["produce", &topic, "--key-separator", "=", "--json", "--on-error", "stop"];
    let done = stage.try_with(&produce, lines.join("\n").as_bytes());
    let expected = json!({
        "topic": topic, "written": 9, "refused": 1, "unsent_from": 11,
        "refusals": [{ "lines": "10", "reason": "without \"=\" there is no key" }],
    });
    assert_eq!((done.code, done.json()), (1, expected));
    let end = "line 10: without \"=\" there is no key; nothing was sent from line 11 on\n";
    assert!(done.err.ends_with(end), "{}", done.err);
    assert_eq!(stage.values(&topic), "v\n".repeat(9));
}

#[test]
fn an_error_that_all_lines_have_stops_it_and_names_the_first_unsent_line() {
    let stage = Stage::new();
    let topic = stage.topic("two", 2, &[]);
    let (producer, mut input) = stage.spawn(&["produce", &topic, "-p", "7", "--json"]);
    // Until it stops reading.
    while input.write_all(&b"line\n".repeat(1000)).is_ok() {}
    let done = producer.end();
    let summary = done.json();
    let (refused, unsent) = (summary["refused"].as_u64().unwrap(), summary["unsent_from"].as_u64().unwrap());
    assert_eq!((done.code, summary["written"].as_u64(), refused + 1), (1, Some(0), unsent));
    assert!(done.err.contains(&format!("{topic} has no partition 7, only 0 to 1")), "{}", done.err);
}

#[test]
fn a_topic_that_is_not_there_is_named_and_not_taken_for_a_missing_answer() {
    let stage = Stage::with(&[("auto.create.topics.enable", "false")]);
    let done = stage.try_with(&["produce", "missing", "--timeout", "4"], b"a\nb\n");
    let why = "2 of 2 lines were not written to missing: lines 1-2: there is no topic missing, and the broker does \
               not create it\n";
    assert_eq!((done.code, done.err), (1, format!("jackdaw: {why}")));
    let stage = Stage::new();
    for _ in 0..2 {
        let done = stage.try_with(&["consume", "no-such-topic", "-e"], b"");
        let why = "jackdaw: there is no topic no-such-topic\n";
        assert_eq!((done.code, done.err.as_str()), (1, why), "reading creates no topic");
    }
}

#[test]
fn lines_that_were_read_before_ctrl_c_are_written() {
    let stage = Stage::new();
    let topic = stage.topic("interrupted", 1, &[]);
    let (mut producer, mut input) = stage.spawn(&["produce", &topic, "--rate", "1", "--json"]);
    let lines: String = (0..200).map(|n| format!("{n}\n")).collect();
    input.write_all(lines.as_bytes()).unwrap();
    // The first line goes out only after all of them were read: they fit into one read.
    assert_eq!(stage.run(&["consume", &topic, "--count", "1"], ""), "0\n");
    producer.signal(Signal::INT);
    let done = producer.end();
    assert_eq!((done.code, &done.json()["written"]), (0, &json!(200)), "{}", done.err);
    assert_eq!(stage.values(&topic), lines);
    drop(input);
}

#[test]
fn after_a_signal_the_first_line_of_the_input_that_was_not_read_is_named() {
    let stage = Stage::new();
    let topic = stage.topic("cut", 1, &[]);
    let lines: Vec<String> = (0..10_000).map(|n| format!("{n:020}\n")).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(lines.concat().as_bytes()).unwrap();
    file.rewind().unwrap();
    let mut produce = stage.command(&["produce", &topic, "--rate", "1", "--json"]);
    let mut producer = Running(Some(produce.stdin(file).spawn().unwrap()));
    stage.run(&["consume", &topic, "--count", "1"], "");
    producer.signal(Signal::TERM);
    let done = producer.end();
    let (written, unsent) = (done.json()["written"].as_u64().unwrap(), done.json()["unsent_from"].as_u64());
    assert_eq!((done.code, unsent), (1, Some(written + 1)), "{}", done.err);
    assert_eq!(done.err, format!("jackdaw: nothing was sent from line {} on\n", written + 1));
    assert_eq!(stage.values(&topic), lines[..usize::try_from(written).unwrap()].concat());

    // Half a line in a pipe that stays open.
    let (mut producer, mut input) = stage.spawn(&["produce", &topic, "--json"]);
    input.write_all(b"whole\nhalf").unwrap();
    stage.run(&["consume", &topic, "-o", "-1", "--value-matches", "whole", "--count", "1"], "");
    producer.signal(Signal::TERM);
    let done = producer.end();
    assert_eq!((done.code, &done.json()["written"], &done.json()["unsent_from"]), (1, &json!(1), &json!(2)));
    drop(input);
}

#[test]
fn a_line_that_a_signal_kept_from_being_repeated_is_named() {
    let stage = Stage::new();
    let topic = stage.topic("unrepeated", 1, &[]);
    let (mut producer, mut input) =
        stage.spawn(&["produce", &topic, "--repeat", "100", "--rate", "1", "--json"]);
    input.write_all(b"a\nb\n").unwrap();
    drop(input);
    stage.run(&["consume", &topic, "--count", "1"], "");
    producer.signal(Signal::TERM);
    let done = producer.end();
    let summary = done.json();
    let (written, refused) = (summary["written"].as_u64().unwrap(), summary["refused"].as_u64().unwrap());
    assert_eq!((done.code, written + refused), (1, 100), "{summary}");
    assert_eq!((&summary["refusals"][0]["lines"], &summary["unsent_from"]), (&json!("1"), &json!(2)));
    assert!(done.err.contains("line 1: a signal came when it had been sent "), "{}", done.err);
}

// --- a copy by a pipe -----------------------------------------------------------------------------

/// A sequence of numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        const ODD: [&[u8]; 6] = [
            b"",
            b"null",
            b"{\"base64\":\"eA==\"}",
            b"a\nb\r\n\t\0\"\\",
            "ключ 🐦".as_bytes(),
            b"\xff\xfe\xc3",
        ];
        match self.below(4) {
            0 => None,
            1 => Some(ODD[self.below(ODD.len())].to_vec()),
            _ => Some((0..self.below(40)).map(|_| u8::try_from(self.below(256)).unwrap()).collect()),
        }
    }
}

/// Writes random records, past this program.
fn write_random(stage: &Stage, topic: &str, seed: u64, count: usize) {
    let mut random = Random(seed);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &stage.bootstrap).create().unwrap();
    for _ in 0..count {
        let (key, value) = (random.bytes(), random.bytes());
        let mut headers = OwnedHeaders::new();
        for _ in 0..random.below(4) {
            let name = ["a", "", "ключ", "many"][random.below(4)];
            headers = headers.insert(Header { key: name, value: random.bytes().as_ref() });
        }
        let timestamp = 1 + i64::try_from(random.below(1_700_000_000_000)).unwrap();
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(topic).timestamp(timestamp).headers(headers);
        record.partition = Some(i32::try_from(random.below(3)).unwrap());
        record.key = key.as_deref();
        record.payload = value.as_deref();
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
}

#[test]
fn a_topic_is_copied_by_a_pipe_byte_for_byte() {
    let stage = Stage::new();
    for seed in [7, 8, 9] {
        let (from, to) =
            (stage.topic("from", 3, &["retention.ms=-1"]), stage.topic("to", 3, &["retention.ms=-1"]));
        write_random(&stage, &from, seed, 300);
        let lines = stage.run_bytes(&["consume", &from, "--until-end", "--json"], b"");
        let copied = stage.try_with(&["produce", &to, "--from-json", "--json"], &lines);
        assert_eq!((copied.code, &copied.json()["written"]), (0, &json!(300)), "seed {seed}: {}", copied.err);

        // Compared as bytes, by another path than JSON.
        let all = |topic: &str| -> Vec<Vec<u8>> {
            let format = "%o|%T|%K|%k|%S|%R%s|%h\\n";
            let read = |partition: &str| {
                stage.run_bytes(&["consume", topic, "-p", partition, "-e", "-f", format], b"")
            };
            ["0", "1", "2"].map(read).to_vec()
        };
        assert_eq!(all(&from), all(&to), "seed {seed}");
        let without_topic = |topic: &str| -> Vec<Value> {
            let mut records = stage.records(topic);
            records.iter_mut().for_each(|record| record["topic"] = Value::Null);
            records.sort_by_key(|record| (record["partition"].as_i64(), record["offset"].as_i64()));
            records
        };
        assert_eq!(without_topic(&from), without_topic(&to), "seed {seed}");
    }
}

#[test]
fn lines_of_json_may_name_their_topics() {
    let stage = Stage::new();
    let (one, two) = (stage.topic("one", 1, &[]), stage.topic("two", 1, &[]));
    let line = |topic: &str, value: &str| json!({ "topic": topic, "value": value }).to_string() + "\n";
    let input = line(&one, "1") + "\n" + &line(&two, "2") + "{\"value\":\"3\"}\n" + &line(&one, "4");
    let done = stage.try_with(&["produce", "--from-json", "--json"], input.as_bytes());
    assert_eq!((done.code, &done.json()["written"]), (1, &json!(3)));
    assert!(done.err.ends_with("1 of 4 lines were not written: line 4: it names no topic\n"), "{}", done.err);
    assert_eq!((stage.values(&one).as_str(), stage.values(&two).as_str()), ("1\n4\n", "2\n"));
    assert_eq!(stage.try_with(&["produce"], b"x\n").code, 64);
}

// --- what a line can say --------------------------------------------------------------------------

#[test]
fn lines_have_keys_headers_timestamps_and_tombstones_of_their_own() {
    let stage = Stage::new();
    let topic = stage.topic("layout", 1, &["retention.ms=-1"]);
    let produce = ["produce", &topic, "-f", "%T|%h|%k|%s", "--null", "NULL", "--header", "z=9"];
    stage.run(&produce, "1700000000000|a=1,b=NULL|k|v\n1700000000001||NULL|\n1700000000002||k|NULL\n");
    let format = "%T %h %k %s %K %S\\n";
    let all = "1700000000000 a=1,b=NULL,z=9 k v 1 1\n1700000000001 z=9   -1 0\n1700000000002 z=9 k  1 -1\n";
    assert_eq!(stage.run(&["consume", &topic, "-e", "-f", format], ""), all);
    // A tombstone is not an empty value in plain text, too.
    assert_eq!(stage.run(&["consume", &topic, "-e", "--key-separator", ":"], ""), "k:v\nnull:\nk:null\n");
    assert_eq!(stage.run(&["consume", &topic, "-e", "--null", "-"], ""), "v\n\n-\n");
}

#[test]
fn a_whole_file_is_one_record() {
    let stage = Stage::new();
    let topic = stage.topic("files", 1, &[]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("two lines");
    std::fs::write(&path, "one\ntwo\n").unwrap();
    let file = path.to_str().unwrap();
    stage.run(&["produce", &topic, "--file", file, "--file", "-", "--key", "k"], "standard\ninput");
    let format = "%k:%S:%s;";
    assert_eq!(
        stage.run(&["consume", &topic, "-e", "-f", format], ""),
        "k:8:one\ntwo\n;k:14:standard\ninput;"
    );
    let missing = stage.try_with(&["produce", &topic, "--file", file, "--file", "/no/such"], b"");
    assert_eq!(missing.code, 74);
    assert!(missing.err.contains("/no/such"), "{}", missing.err);
    assert_eq!(stage.records(&topic).len(), 3, "the file before it is written");
}

#[test]
fn records_are_repeated() {
    let stage = Stage::new();
    let topic = stage.topic("repeated", 1, &[]);
    let done = stage.try_with(&["produce", &topic, "--repeat", "3", "--rate", "1000", "--json"], b"a\nb\n");
    assert_eq!((done.code, &done.json()["written"]), (0, &json!(6)));
    assert_eq!(stage.values(&topic), "a\na\na\nb\nb\nb\n");
}

#[test]
fn a_key_goes_to_the_partition_where_kafkas_own_producer_writes_it() {
    let stage = Stage::new();
    let topic = stage.topic("keyed", 10, &[]);
    stage.run(&["produce", &topic, "--key-separator", "="], "foobar=1\n21=2\n");
    let mut found: Vec<String> =
        stage.run(&["consume", &topic, "-e", "-f", "%k %p\\n"], "").lines().map(str::to_owned).collect();
    found.sort();
    // murmur2 of the keys as Kafka's own tests have it (-790332482 and -973932308), without the sign, modulo 10.
    assert_eq!(found, ["21 0", "foobar 6"]);
}

// --- what is read ---------------------------------------------------------------------------------

#[test]
fn reading_begins_where_kcat_would_begin() {
    let stage = Stage::new();
    let topic = stage.topic("offsets", 1, &["retention.ms=-1"]);
    stage.run(&["produce", &topic, "-f", "%T %s"], "1000 0\n2000 1\n3000 2\n4000 3\n");
    for (from, values) in [
        ("beginning", "0\n1\n2\n3\n"),
        ("end", ""),
        ("2", "2\n3\n"),
        ("-1", "3\n"),
        ("-10", "0\n1\n2\n3\n"),
        ("@2500", "2\n3\n"),
        ("@1970-01-01T00:00:04Z", "3\n"),
        ("@-1h", ""),
    ] {
        assert_eq!(stage.run(&["consume", &topic, "-e", "-o", from], ""), values, "{from}");
    }
    assert_eq!(stage.run(&["consume", &topic, "-o", "1", "-c", "2"], ""), "1\n2\n");
}

#[test]
fn a_variable_asks_for_json_in_general_and_a_format_for_text_here() {
    let stage = Stage::new();
    let topic = stage.topic("formatted", 1, &[]);
    stage.run(&["produce", &topic], "tea\n");
    let read = |format: &[&str]| {
        let mut command = stage.command(&[&["consume", &topic, "-e"], format].concat());
        String::from_utf8(command.env("JACKDAW_JSON", "1").output().unwrap().stdout).unwrap()
    };
    assert_eq!(read(&["-f", "%s!\\n"]), "tea!\n");
    assert!(read(&[]).starts_with('{'), "{}", read(&[]));
}

#[test]
fn several_topics_and_patterns_are_read_each_topic_once() {
    let stage = Stage::new();
    let (b, a) = (stage.topic("several-b", 3, &[]), stage.topic("several-a", 2, &[]));
    for (topic, partition, value) in [(&b, "0", "b0"), (&b, "2", "b2"), (&a, "0", "a0"), (&a, "1", "a1")] {
        stage.run(&["produce", topic, "-p", partition], &format!("{value}\n"));
    }
    let pattern = format!("^several-.-{}-", std::process::id());
    let read = |arguments: &[&str]| -> Vec<String> {
        let lines = stage.run(&[&["consume"], arguments].concat(), "");
        let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let all = ["a0", "a1", "b0", "b2"];
    assert_eq!(read(&[&a, &b, "--until-end"]), all);
    assert_eq!(read(&[&pattern, "--until-end"]), all);
    assert_eq!(read(&[&pattern, &b, "--count", "4"]), all, "no topic is read twice");
    assert_eq!(read(&[&pattern, "-p", "0", "-e"]), ["a0", "b0"]);
    assert_eq!(read(&[&pattern, "--group", &format!("g{pattern}"), "--count", "4"]), all);
    for how in [&["-e"][..], &["-c", "2"], &["-c", "2", "-g", &format!("some{pattern}")]] {
        let done =
            stage.try_with(&[&["consume", &a, "no-such-topic", "^no-such-pattern"], how].concat(), b"");
        let lines = String::from_utf8(done.out).unwrap();
        let why = "jackdaw: there is no topic no-such-topic\njackdaw: no topic matches ^no-such-pattern\n\
                   jackdaw: 2 of 3 topics were not read\n";
        assert_eq!((done.code, lines.lines().count(), done.err.as_str()), (1, 2, why), "{how:?}");
    }
    let none = stage.try_with(&["consume", "^no-such-topic$"], b"");
    assert_eq!((none.code, none.err.as_str()), (1, "jackdaw: no topic matches ^no-such-topic$\n"));
    let ended = stage.try_with(&["consume", &a, &b, "-g", "g", "-e"], b"");
    assert_eq!(ended.code, 64, "{}", ended.err);
}

#[test]
fn filters_count_only_the_records_that_they_let_through() {
    let stage = Stage::new();
    let topic = stage.topic("filtered", 1, &[]);
    let lines = "anna=tea\nbert=coffee\nanna=coffee\ncleo=coffee\n";
    stage.run(&["produce", &topic, "--key-separator", "="], lines);
    let read = |arguments: &[&str]| {
        stage.run(&[&["consume", &topic, "--key-separator", "="], arguments].concat(), "")
    };
    assert_eq!(read(&["-e", "--key-matches", "^a"]), "anna=tea\nanna=coffee\n");
    assert_eq!(read(&["-c", "2", "--value-matches", "^c.*e$"]), "bert=coffee\nanna=coffee\n");
    // A group passes over the others.
    let group = format!("g-{topic}");
    assert_eq!(read(&["-g", &group, "-c", "1", "--key-matches", "bert"]), "bert=coffee\n");
    assert_eq!(read(&["-g", &group, "-c", "1"]), "anna=coffee\n");
}

#[test]
fn follow_begins_at_the_end() {
    let stage = Stage::new();
    let topic = stage.topic("followed", 1, &[]);
    stage.run(&["produce", &topic], "old\n");
    let (mut reader, _input) = stage.spawn(&["consume", &topic, "--follow", "--count", "1"]);
    while reader.child().try_wait().unwrap().is_none() {
        stage.run(&["produce", &topic], "new\n");
    }
    assert_eq!(reader.end().out, b"new\n");
    let (mut reader, _input) = stage.spawn(&["consume", &topic, "--follow", "-o", "0"]);
    let mut line = String::new();
    BufReader::new(reader.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "old\n");
}

#[test]
fn records_of_open_and_aborted_transactions_are_shown_on_request() {
    let stage = Stage::new();
    let topic = stage.topic("isolation", 1, &[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &stage.bootstrap)
        .set("transactional.id", &topic)
        .create()
        .unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    for (value, commits) in [("aborted", false), ("committed", true)] {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), str>::to(&topic).payload(value)).unwrap();
        producer.flush(DEADLINE).unwrap();
        let ended = if commits {
            producer.commit_transaction(DEADLINE)
        } else {
            producer.abort_transaction(DEADLINE)
        };
        ended.unwrap();
    }
    let read = |arguments: &[&str]| stage.run(&[&["consume", &topic, "-e"], arguments].concat(), "");
    assert_eq!(read(&[]), "committed\n");
    assert_eq!(read(&["--isolation", "read_committed"]), "committed\n");
    assert_eq!(read(&["--isolation", "uncommitted"]), "aborted\ncommitted\n");
}

#[test]
fn each_verb_shows_an_example() {
    let stage = Stage::new();
    for verb in ["produce", "consume"] {
        let help = stage.run(&[verb, "--help"], "");
        assert!(help.contains("Examples:\n  ") && help.contains(&format!("jackdaw {verb} ")), "{help}");
    }
}
