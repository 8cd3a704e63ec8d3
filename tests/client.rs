//! `jackdaw topic|group|transaction|cluster|quota|produce|consume|config|acl` as a user sees them: the program, with a broker in this
//! process.
#![cfg(feature = "client")]

#[path = "client/cluster.rs"]
mod cluster;
#[path = "client/groups.rs"]
mod groups;
#[path = "client/topics.rs"]
mod topics;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use jackdaw::Fault;
use jackdaw::broker::Broker;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(60);

struct Stage {
    broker: Broker,
    _runtime: tokio::runtime::Runtime,
}

/// The exit code and the output of a run.
struct RunResult {
    code: i32,
    out: String,
    err: String,
}

impl Stage {
    fn new() -> Stage {
        Stage::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Stage {
        Stage::of(Broker::builder(), settings)
    }

    fn virtual_brokers(count: u16) -> Stage {
        Stage::of(Broker::builder().brokers(count), &[])
    }

    fn of(builder: jackdaw::broker::Builder, settings: &[(&str, &str)]) -> Stage {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let builder = builder.ephemeral().set("group.initial.rebalance.delay.ms", "0");
        let builder = settings.iter().fold(builder, |builder, (name, value)| builder.set(name, *value));
        Stage { broker: runtime.block_on(builder.start()).unwrap(), _runtime: runtime }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
        command.args(arguments).env("JACKDAW_BOOTSTRAP", self.broker.bootstrap());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command that ends by itself.
    fn try_with(&self, arguments: &[&str], input: &[u8]) -> RunResult {
        let mut child = self.command(arguments).spawn().unwrap();
        // A command that fails at once does not read its input.
        let _ = child.stdin.take().unwrap().write_all(input);
        result_of(child.wait_with_output().unwrap())
    }

    fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let RunResult { code, out, err } = self.try_with(arguments, b"");
        assert_eq!(out, "", "{arguments:?} says nothing on standard output");
        (code, err)
    }

    fn run_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let RunResult { code, out, err } = self.try_with(arguments, input);
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

fn result_of(Output { status, stdout, stderr }: Output) -> RunResult {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    RunResult { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
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
#[cfg(feature = "security")]
fn users_are_added_listed_and_deleted_and_no_password_is_shown() {
    let stage = Stage::new();
    assert_eq!(stage.json(&["user", "list"]), json!([]));
    assert_eq!(stage.run_with(&["user", "add", "alice"], b"geheim\n"), "");
    let weaker = ["user", "add", "alice", "--mechanism", "SCRAM-SHA-256", "--iterations", "5000"];
    assert_eq!(stage.run_with(&weaker, b"geheim\n"), "");
    assert_eq!(stage.run_with(&["user", "add", "ben"], b"other"), "");
    let row = |user: &str, mechanism: &str, iterations: i32| json!({ "user": user, "mechanism": mechanism, "iterations": iterations });
    let alice = [row("alice", "SCRAM-SHA-256", 5000), row("alice", "SCRAM-SHA-512", 4096)];
    assert_eq!(stage.json(&["user", "list", "alice"]), json!(alice));
    assert!(!stage.run(&["user", "list"]).contains("geheim"));
    assert_eq!(stage.run(&["user", "delete", "alice", "--mechanism", "scram-sha-512"]), "");
    assert_eq!(stage.run(&["user", "delete", "ben"]), "");
    assert_eq!(stage.json(&["user", "list"]), json!([alice[0]]));
    let (code, why) = stage.refused(&["user", "delete", "ben"]);
    assert!(code == 1 && why.contains("does not exist"), "{why}");
    assert_eq!(stage.refused(&["user", "add", "cleo"]).0, 64, "there is no password");
}

#[test]
#[cfg(feature = "security")]
fn the_first_user_is_added_before_the_first_start_and_not_beside_a_broker() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let add = |user: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
        command.args(["user", "add", user, "--offline", "--data-dir", data]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"geheim\n").unwrap();
        result_of(child.wait_with_output().unwrap())
    };
    let RunResult { code, out, err } = add("alice");
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let builder = Broker::builder().data_dir(data);
    let stage = Stage { broker: runtime.block_on(builder.start()).unwrap(), _runtime: runtime };
    assert_eq!(stage.json(&["user", "list"])[0]["user"], json!("alice"));
    assert_eq!(add("ben").code, 75, "the directory is in use");
}

#[test]
#[cfg(all(feature = "security", not(feature = "client-tls")))]
fn a_build_without_openssl_names_what_it_lacks() {
    for setting in ["security.protocol=ssl", "sasl.mechanism=SCRAM-SHA-512"] {
        let (code, why) = Stage::new().refused(&["consume", "t", "-X", setting, "--user", "ann"]);
        assert_eq!(code, 64, "{why}");
        assert!(why.ends_with("build jackdaw with --features client-tls\n"), "{why}");
    }
}

/// A certificate for localhost that signs itself, with its key, both in PEM.
#[cfg(feature = "security")]
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A broker that is reached by TLS and a login, and a folder with its certificate.
#[cfg(feature = "security")]
fn secured() -> (Stage, tempfile::TempDir) {
    let (certificate, key) = certificate();
    let stage = Stage::with(&[
        ("listeners", "SASL_SSL://localhost:0"),
        ("ssl.keystore.type", "PEM"),
        ("ssl.keystore.certificate.chain", &certificate),
        ("ssl.keystore.key", &key),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512"),
        (
            "listener.name.sasl_ssl.plain.sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_admin=\"geheim\";",
        ),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:admin"),
    ]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), certificate).unwrap();
    std::fs::write(dir.path().join("password"), "geheim\n").unwrap();
    (stage, dir)
}

/// Runs a command as the super user, with options.
#[cfg(feature = "security")]
fn as_admin((stage, dir): &(Stage, tempfile::TempDir), arguments: &[&str], input: &str) -> String {
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (ca, password) = (path("ca.pem"), path("password"));
    let tls = ["--tls", "--ca", &ca];
    let login = ["--user", "admin", "--user-password-file", &password, "--user-mechanism", "PLAIN"];
    stage.run_with(&[arguments, &tls, &login].concat(), input.as_bytes())
}

/// Runs a command as the user ann, with a profile and variables in place of options.
#[cfg(feature = "security")]
fn as_ann(
    (stage, dir): &(Stage, tempfile::TempDir),
    password: &str,
    arguments: &[&str],
    input: &str,
) -> RunResult {
    let (profile, ca) = (dir.path().join("profile"), dir.path().join("ca.pem"));
    let settings = format!("security.protocol=SASL_SSL\nssl.ca.location={}\n", ca.display());
    std::fs::write(&profile, settings).unwrap();
    let mut command = stage.command(arguments);
    command.env("JACKDAW_PROFILE", profile).env("JACKDAW_USER", "ann").env("JACKDAW_PASSWORD", password);
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    result_of(child.wait_with_output().unwrap())
}

#[test]
#[cfg(feature = "security")]
fn every_command_of_administration_comes_in_with_tls_and_a_login_and_needs_no_openssl() {
    let secured = secured();
    let run = |arguments: &[&str], input: &str| as_admin(&secured, arguments, input);
    run(&["user", "add", "ann"], "secret\n");
    run(&["topic", "create", "t", "--partitions", "1"], "");
    run(&["acl", "add", "--allow-principal", "User:ann", "--producer", "--topic", "t"], "");
    run(&["config", "set", "topic", "t", "retention.ms=-1"], "");
    assert!(run(&["config", "get", "topic", "t"], "").contains("retention.ms"));
    assert!(run(&["group", "list"], "").starts_with("GROUP"));
    assert!(run(&["quota", "list"], "").starts_with("USER"));
    assert!(run(&["transaction", "list"], "").contains("COORDINATOR"));
    let listed = as_ann(&secured, "secret", &["topic", "list"], "");
    assert!(listed.code == 0 && listed.out.contains("\nt "), "{}{}", listed.out, listed.err);
    for command in [["topic", "list"], ["acl", "list"]] {
        let refused = as_ann(&secured, "wrong", &command, "");
        assert_ne!((refused.code, refused.err.as_str()), (0, ""), "{command:?}");
        assert!(refused.err.contains("uthentication failed"), "{}", refused.err);
    }
}

#[test]
#[cfg(feature = "security")]
fn a_profile_on_the_command_line_has_precedence_over_variables() {
    let (stage, dir) = secured();
    let (profile, ca) = (dir.path().join("profile"), dir.path().join("ca.pem"));
    let settings = format!(
        "bootstrap.servers={}\nsecurity.protocol=SASL_SSL\nssl.ca.location={}\n\
         sasl.mechanism=PLAIN\nsasl.username=admin\nsasl.password=geheim\n",
        stage.broker.bootstrap(),
        ca.display()
    );
    std::fs::write(&profile, settings).unwrap();
    let mut command = stage.command(&["acl", "list", "--profile", profile.to_str().unwrap()]);
    for (name, value) in [
        ("JACKDAW_BOOTSTRAP", "localhost:1"),
        ("JACKDAW_CA", "/not/there"),
        ("JACKDAW_USER", "ann"),
        ("JACKDAW_MECHANISM", "SCRAM-SHA-512"),
        ("JACKDAW_PASSWORD", "wrong"),
        ("JACKDAW_PROFILE", "/not/there"),
    ] {
        command.env(name, value);
    }
    let listed = result_of(command.output().unwrap());
    assert_eq!((listed.code, listed.err.as_str()), (0, ""));
}

#[test]
#[cfg(feature = "security")]
fn a_token_in_a_file_is_a_login_of_commands_that_administer() {
    /// Of the user ann, without a signature; it ends in the year 2100.
    const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.";
    const EXPIRED: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjEwMDAwMDAwMDB9.";
    let stage = Stage::with(&[
        ("listeners", "SASL_PLAINTEXT://localhost:0"),
        ("sasl.enabled.mechanisms", "OAUTHBEARER"),
        (
            "listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
        ),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let url = format!("sasl.oauthbearer.token.endpoint.url=file://{}", file.display());
    let login = ["-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanism=OAUTHBEARER", "-X", &url];
    let list = [&["acl", "list"], &login[..]].concat();
    std::fs::write(&file, TOKEN).unwrap();
    stage.run(&[&["topic", "list"], &login[..]].concat());
    std::fs::write(&file, EXPIRED).unwrap();
    let (code, why) = stage.refused(&list);
    assert_eq!(code, 1, "{why}");
    assert!(why.contains(r#"the token is refused: {"status":"invalid_token"}"#), "{why}");
}

#[test]
#[cfg(feature = "client-tls")]
fn records_are_written_and_read_with_tls_and_a_login() {
    let secured = secured();
    let run = |arguments: &[&str], input: &str| as_admin(&secured, arguments, input);
    run(&["user", "add", "ann"], "secret\n");
    run(&["topic", "create", "t", "--partitions", "1"], "");
    let rights =
        ["--allow-principal", "User:ann", "--producer", "--consumer", "--topic", "t", "--group", "g"];
    run(&[&["acl", "add"], &rights[..]].concat(), "");
    assert_eq!(as_ann(&secured, "secret", &["produce", "t"], "one\n").code, 0);
    let read = as_ann(&secured, "secret", &["consume", "t", "--from", "0", "--until-end"], "");
    assert_eq!((read.code, read.out.as_str(), read.err.as_str()), (0, "one\n", ""));
}

#[test]
#[cfg(feature = "security")]
fn a_broker_that_is_not_trusted_gets_no_password() {
    let (stage, dir) = secured();
    let other = dir.path().join("other.pem");
    std::fs::write(&other, certificate().0).unwrap();
    for command in [["topic", "list"], ["acl", "list"]] {
        let options =
            ["--tls", "--ca", other.to_str().unwrap(), "--timeout", "3", "-X", "sasl.password=geheim"];
        let (code, why) = stage.refused(&[&command[..], &options, &["--user", "admin"]].concat());
        assert_eq!(code, 69, "{command:?}: {why}");
        assert!(why.to_lowercase().contains("certificate"), "{why}");
    }
}

#[test]
#[cfg(feature = "security")]
fn a_certificate_of_the_client_is_its_login() {
    let ((certificate, key), (of_client, key_of_client)) = (certificate(), certificate());
    let stage = Stage::with(&[
        ("listeners", "SSL://localhost:0"),
        ("ssl.keystore.type", "PEM"),
        ("ssl.keystore.certificate.chain", &certificate),
        ("ssl.keystore.key", &key),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.certificates", &of_client),
        ("ssl.client.auth", "required"),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let written = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).to_str().unwrap().to_owned()
    };
    let (ca, certificate, key) = (
        written("ca.pem", &certificate),
        format!("ssl.certificate.location={}", written("client.pem", &of_client)),
        format!("ssl.key.location={}", written("key.pem", &key_of_client)),
    );
    for command in [["topic", "list"], ["quota", "list"]] {
        stage.run(&[&command[..], &["--tls", "--ca", &ca, "-X", &certificate, "-X", &key]].concat());
        let (code, _) = stage.refused(&[&command[..], &["--tls", "--ca", &ca, "--timeout", "3"]].concat());
        assert_eq!(code, 69, "{command:?}");
    }
}

#[test]
#[cfg(feature = "security")]
fn format_makes_a_directory_with_its_first_users_and_shows_no_password() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let format = |users: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
        command.args(["format", "-t", "cluster", "--data-dir", data, "--ignore-formatted"]);
        for user in users {
            command.args(["--add-scram", user]);
        }
        result_of(command.output().unwrap())
    };
    let wrong = format(&["SCRAM-SHA-256=[name=alice,password=geheim,iterations=1]"]);
    assert!(
        wrong.code == 64 && wrong.err.contains("iterations") && !wrong.err.contains("geheim"),
        "{}",
        wrong.err
    );
    let right = format(&[
        "SCRAM-SHA-256=[name=alice,password=geheim]",
        "SCRAM-SHA-512=[name=alice,password=geheim,iterations=8192]",
        "SCRAM-SHA-512=[name=ben,password=geheim]",
    ]);
    assert_eq!((right.code, right.out.as_str(), right.err.as_str()), (0, "", ""));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let builder = Broker::builder().data_dir(data).set("jackdaw.cluster.id", "cluster");
    let stage = Stage { broker: runtime.block_on(builder.start()).unwrap(), _runtime: runtime };
    let row = |user: &str, mechanism: &str, iterations: i32| json!({ "user": user, "mechanism": mechanism, "iterations": iterations });
    let expected = [
        row("alice", "SCRAM-SHA-256", 4096),
        row("alice", "SCRAM-SHA-512", 8192),
        row("ben", "SCRAM-SHA-512", 4096),
    ];
    assert_eq!(stage.json(&["user", "list"]), json!(expected));
}

#[test]
#[cfg(feature = "security")]
fn format_changes_nothing_in_a_formatted_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let format = |user: &str, more: &[&str]| {
        let user = format!("SCRAM-SHA-256=[name={user},password=geheim]");
        let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
        command.args(["format", "--add-scram", &user, "--data-dir", data.to_str().unwrap()]);
        result_of(command.args(more).output().unwrap())
    };
    let first = format("alice", &["--ignore-formatted"]);
    assert_eq!((first.code, first.out.as_str(), first.err.as_str()), (0, "", ""));
    let again = format("ben", &["--ignore-formatted"]);
    let done = "All of the log directories are already formatted.\n";
    assert_eq!((again.code, again.out.as_str(), again.err.as_str()), (0, done, ""));
    let refused = format("ben", &[]);
    let why = format!("Log directory {} is already formatted. Use --ignore-formatted", data.display());
    assert!(refused.code == 1 && refused.out.is_empty() && refused.err.contains(&why), "{}", refused.err);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let builder = Broker::builder().data_dir(&data);
    let stage = Stage { broker: runtime.block_on(builder.start()).unwrap(), _runtime: runtime };
    let alice = json!({ "user": "alice", "mechanism": "SCRAM-SHA-256", "iterations": 4096 });
    assert_eq!(stage.json(&["user", "list"]), json!([alice]));
}

#[test]
#[cfg(feature = "security")]
fn the_last_super_user_is_not_deleted() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let builder = Broker::builder()
        .ephemeral()
        .set("listeners", "OPEN://127.0.0.1:0,OUTSIDE://127.0.0.1:0")
        .set("listener.security.protocol.map", "OPEN:PLAINTEXT,OUTSIDE:SASL_PLAINTEXT")
        .set("sasl.enabled.mechanisms", "SCRAM-SHA-512")
        .set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .set("allow.everyone.if.no.acl.found", "true")
        .set("super.users", "User:alice");
    let stage = Stage { broker: runtime.block_on(builder.start()).unwrap(), _runtime: runtime };
    stage.run_with(&["user", "add", "alice"], b"geheim\n");
    stage.run_with(&["user", "add", "ben"], b"geheim\n");
    let (code, why) = stage.refused(&["user", "delete", "alice"]);
    assert!(code == 1 && why.contains("no super user could log in any more"), "{why}");
    assert_eq!(stage.run(&["user", "delete", "ben"]), "");
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
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines[0], "TOPIC     PARTITIONS  REPLICAS  BYTES");
    assert!(lines[1].starts_with("orders             3         1  "), "{listed}");
    assert_eq!(lines[2], "payments           3         1      0");
    let described = stage.json(&["topic", "describe", "orders"]);
    assert_eq!(own_settings(&stage, "orders"), json!({ "retention.ms": "5000" }));
    let partitions = described[0]["partitions"].as_array().unwrap();
    let ends: i64 = partitions.iter().map(|partition| partition["end_offset"].as_i64().unwrap()).sum();
    assert_eq!((partitions.len(), ends), (3, 2));
    assert_eq!(stage.run(&["topic", "delete", "orders"]), "deleted orders\n");
    assert_eq!(
        stage.json(&["topic", "list"]),
        json!([{ "topic": "payments", "partitions": 3, "replicas": 1, "bytes": 0 }])
    );
}

/// The settings that a topic has of its own.
fn own_settings(stage: &Stage, topic: &str) -> Value {
    let described = stage.json(&["topic", "describe", topic]);
    let settings = described[0]["settings"].as_array().unwrap().iter();
    let own = settings.filter(|one| one["source"] == "topic");
    Value::Object(
        own.map(|one| (one["setting"].as_str().unwrap().to_owned(), one["value"].clone())).collect(),
    )
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
        json!({ "topic": "t", "written": 2, "refused": 0, "refusals": [], "unsent_from": null })
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
    let group = json!({
        "group": "g", "state": "Empty", "type": "classic", "coordinator": 1, "members": 0, "lag": 1,
        "partitions": [nobody],
    });
    assert_eq!(described, json!([group]));
    let groups = stage.run(&["group", "list"]);
    let expected =
        "GROUP  STATE  TYPE     PROTOCOL  MEMBERS  LAG\ng      Empty  classic  consumer        0    1\n";
    assert_eq!(groups, expected);

    let dry = stage.json(&["group", "reset", "g", "--topic", "t", "--to", "beginning", "--dry-run"]);
    assert_eq!(dry, json!([{ "topic": "t", "partition": 0, "before": 3, "now": 0, "lag": 4 }]));
    assert_eq!(stage.json(&["group", "describe", "g"])[0]["partitions"][0]["committed"], 3);
    stage.run(&["group", "reset", "g", "--topic", "t", "--to", "-2"]);
    assert_eq!(read("2"), "2\n3\n");

    assert_eq!(stage.run(&["group", "delete", "g"]), "deleted g\n");
    assert_eq!(stage.json(&["group", "list"]), json!([]));
    let (code, err) = stage.refused(&["group", "describe", "g"]);
    assert_eq!((code, err.as_str()), (1, "jackdaw: there is no group g\n"));
}

#[test]
fn a_group_with_members_is_shown_and_not_reset_and_ctrl_c_commits_the_printed_records() {
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
    for more in [&[][..], &["--dry-run"]] {
        let reset = ["group", "reset", "g", "--topic", "t", "--to", "end"];
        let (code, err) = stage.refused(&[&reset, more].concat());
        assert_eq!(code, 1, "{more:?}");
        assert!(err.contains("g has 1 members: stop them first"), "{err}");
    }
    reader.signal(Signal::INT);
    assert_eq!(reader.end(), (Some(0), String::new()));
    let described = stage.json(&["group", "describe", "g"]);
    let lag: i64 =
        described[0]["partitions"].as_array().unwrap().iter().filter_map(|of| of["lag"].as_i64()).sum();
    assert_eq!((described[0]["state"].as_str(), lag), (Some("Empty"), 0));
}

#[test]
fn a_rebalance_neither_ends_reading_before_the_end_nor_shows_records_twice() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "2"]);
    // More than a pipe holds, in small batches, so that most of it is not read yet when the other member comes.
    let lines: String = (0..20_000).map(|number| format!("{number:019}\n")).collect();
    stage.run_with(&["produce", "t", "-p", "1", "-X", "batch.num.messages=500"], lines.as_bytes());
    let member = |id: &str, more: &[&str]| {
        let id = format!("client.id={id}");
        let consume = ["consume", "t", "--group", "g", "-X", "heartbeat.interval.ms=100", "-X", &id];
        Running(stage.command(&[&consume, more].concat()).spawn().unwrap())
    };
    // Partitions are assigned in the order of the members' ids, so the reader keeps the one with records.
    let mut reader =
        member("z", &["--until-end", "-X", "queued.min.messages=1", "-X", "fetch.message.max.bytes=1000"]);
    let mut read = reader.line();
    let _other = member("a", &[]);
    while stage.json(&["group", "describe", "g"])[0]["members"] != 2 {}
    reader.0.stdout.take().unwrap().read_to_string(&mut read).unwrap();
    assert_eq!(reader.end(), (Some(0), String::new()));
    assert_eq!(read.lines().count(), 20_000);
    assert_eq!(read, lines);
}

#[test]
fn settings_of_librdkafka_have_precedence_also_for_a_group() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "1"]);
    stage.produce("t", &["0", "1"]);
    let read = |group, more: &[&str]| stage.run(&[&["consume", "t", "--group", group], more].concat());
    assert_eq!(read("g", &["--count", "1"]), "0\n");
    for _ in 0..2 {
        assert_eq!(
            read("g", &["--count", "1", "-X", "enable.auto.commit=false"]),
            "1\n",
            "nothing is committed"
        );
    }
    assert_eq!(read("late", &["--until-end", "-X", "auto.offset.reset=latest"]), "");
    // An option has precedence over a profile.
    let profile = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&profile, "auto.offset.reset=latest\nenable.auto.commit=false\n").unwrap();
    let profile = ["--profile", profile.path().to_str().unwrap(), "--from", "beginning", "--count", "1"];
    assert_eq!(read("new", &profile), "0\n");
    assert_eq!(read("new", &profile), "1\n");
}

#[test]
fn quotas_are_set_listed_and_removed() {
    let stage = Stage::new();
    let set = ["quota", "set", "--for-user", "ann", "--for-default-client-id", "producer_byte_rate=1024"];
    assert_eq!(stage.run(&set), "altered the quotas of user ann, client-id <default>\n");
    stage.run(&[
        "quota",
        "set",
        "--for-default-user",
        "request_percentage=12.5",
        "controller_mutation_rate=3",
    ]);
    stage.run(&["quota", "set", "--for-ip", "192.0.2.1", "connection_creation_rate=10"]);
    let all = "USER       CLIENT ID  IP         QUOTA                      VALUE\n\
               -          -          192.0.2.1  connection_creation_rate    10.0\n\
               <default>  -          -          controller_mutation_rate     3.0\n\
               <default>  -          -          request_percentage          12.5\n\
               ann        <default>  -          producer_byte_rate        1024.0\n";
    assert_eq!(stage.run(&["quota", "list"]), all);
    let of_all = json!([{ "user": "<default>", "client_id": null, "ip": null, "quota": "request_percentage", "value": 12.5 }]);
    stage.run(&["quota", "remove", "--for-default-user", "controller_mutation_rate"]);
    assert_eq!(stage.json(&["quota", "list", "--for-default-user"]), of_all);
    assert_eq!(stage.json(&["quota", "list", "--for-user", "ann"]), json!([]), "that is another entity");
    stage.run(&["quota", "remove", "--for-default-user", "request_percentage"]);
    assert_eq!(stage.json(&["quota", "list", "--for-default-user"]), json!([]));

    let (code, err) = stage.refused(&["quota", "set", "--for-user", "ann", "producer_byte_rate=0.5"]);
    assert_eq!(code, 1);
    assert!(err.ends_with("producer_byte_rate cannot be a fractional value.\n"), "{err}");
    let (code, err) = stage.refused(&["quota", "set", "producer_byte_rate=1"]);
    assert_eq!((code, err.as_str()), (64, "jackdaw: name a user, a client id or an address: see --help\n"));
}

/// A producer with an open transaction that has a record in partition 0 of the topic.
fn open_transaction(stage: &Stage, id: &str, topic: &str) -> BaseProducer {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", stage.broker.bootstrap()).set("transactional.id", id);
    let producer: BaseProducer = settings.create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    let record: BaseRecord<'_, [u8], str> = BaseRecord::to(topic).payload("x").partition(0);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(DEADLINE).unwrap();
    producer
}

#[test]
fn transactions_are_listed_by_state_producer_age_and_pattern_and_described() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "orders"]);
    let _open = open_transaction(&stage, "billing-1", "orders");
    let ended = open_transaction(&stage, "billing-2", "orders");
    ended.commit_transaction(DEADLINE).unwrap();
    let ids = |filter: &[&str]| -> Vec<String> {
        let listed = stage.json(&[&["transaction", "list"], filter].concat());
        let listed = listed.as_array().unwrap().iter();
        listed.map(|one| one["transactional_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&[]), ["billing-1", "billing-2"]);
    assert_eq!(ids(&["--state", "ongoing"]), ["billing-1"]);
    assert_eq!(ids(&["--state", "Ongoing", "--state", "CompleteCommit"]), ["billing-1", "billing-2"]);
    assert_eq!(ids(&["--longer-than", "1h"]), [""; 0]);
    assert_eq!(ids(&["--pattern", ".*-2"]), ["billing-2"]);
    let listed = &stage.json(&["transaction", "list", "--state", "Ongoing"])[0];
    assert_eq!((&listed["coordinator"], &listed["state"]), (&json!(1), &json!("Ongoing")));
    let producer = listed["producer_id"].as_i64().unwrap();
    assert_eq!(ids(&["--producer", &producer.to_string()]), ["billing-1"]);

    let described = stage.json(&["transaction", "describe", "billing-1", "billing-2"]);
    let open = &described[0];
    assert_eq!((&open["producer_id"], &open["state"]), (&json!(producer), &json!("Ongoing")));
    assert_eq!((&open["timeout_ms"], &open["partitions"]), (&json!(60_000), &json!(["orders-0"])));
    assert!(open["open_ms"].is_u64() && open["started_ms"].is_u64(), "{open}");
    let ended = &described[1];
    assert_eq!((&ended["state"], &ended["open_ms"]), (&json!("CompleteCommit"), &Value::Null));
    let partly = stage.try_with(&["transaction", "describe", "nope", "billing-1"], b"");
    assert_eq!((partly.code, partly.err.as_str()), (1, "jackdaw: there is no transactional id nope\n"));
    assert!(partly.out.contains("\nbilling-1 "), "{}", partly.out);
    let table = stage.run(&["transaction", "describe", "billing-1"]);
    assert!(table.starts_with("TRANSACTIONAL ID  COORDINATOR  PRODUCER ID  EPOCH  STATE"), "{table}");
}

#[test]
fn a_transaction_is_aborted_in_a_partition_and_another_one_is_not() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "orders"]);
    let abort = |which: &[&'static str]| [&["transaction", "abort", "orders", "0"], which].concat();
    let none = "jackdaw: orders 0 has no open transaction\n".to_owned();
    assert_eq!(stage.refused(&abort(&["--start-offset", "0"])), (1, none.clone()));
    let _open = open_transaction(&stage, "billing-1", "orders");
    let listed = stage.json(&["transaction", "describe", "billing-1"]);
    let (producer, epoch) = (&listed[0]["producer_id"], &listed[0]["epoch"]);
    let (code, err) = stage.refused(&abort(&["--start-offset", "1"]));
    let open = format!("no such transaction; open ones begin at 0, of producer {producer}:{epoch}\n");
    assert_eq!((code, err), (1, format!("jackdaw: orders 0 has {open}")));
    assert_eq!(
        stage.run(&abort(&["--start-offset", "0"])),
        format!("aborted the transaction of producer {producer}, epoch {epoch}, in orders 0\n")
    );
    assert_eq!(stage.refused(&abort(&["--start-offset", "0"])), (1, none));
    // Only the marker is left, and no record.
    let committed = ["consume", "orders", "--until-end", "-X", "isolation.level=read_committed"];
    assert_eq!(stage.run(&committed), "");
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
    let own = || own_settings(&stage, "t");
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
    let message = stage.run(&["config", "set", "broker", "1", "log.retention.ms=7200000"]);
    assert_eq!(message, "set log.retention.ms=7200000\n");
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
    for (arguments, message) in [
        (
            &["config", "set", "topic", "t", "segment.ms=60000", "retention.ms=soon"][..],
            "jackdaw: Invalid value soon for configuration retention.ms: Not a number of type LONG\n",
        ),
        (&["config", "set", "topic", "t", "no.such=1"], "jackdaw: Unknown topic config name: no.such\n"),
        (&["config", "set", "broker", "1", "node.id=7"], "jackdaw: Cannot update these configs dynamically"),
        (&["config", "set", "topic", "missing", "retention.ms=1"], "jackdaw: there is no topic missing\n"),
        (&["config", "unset", "topic", "t", "no.such"], "jackdaw: there is no setting no.such\n"),
        (
            &["config", "get", "topic", "t", "retention.mss"],
            "jackdaw: there is no setting retention.mss; is it retention.ms?\n",
        ),
        (&["config", "get", "broker", "7"], "jackdaw: there is no broker 7; the only one is 1\n"),
        (&["config", "set", "broker", "7", "log.retention.ms=1"], "jackdaw: there is no broker 7; "),
        (&["config", "get", "topic", "missing"], "jackdaw: there is no topic missing\n"),
        (&["topic", "alter", "t", "--set", "retention.ms=soon"], "jackdaw: Invalid value soon for "),
        (&["topic", "alter", "missing", "--unset", "retention.ms"], "jackdaw: there is no topic missing\n"),
    ] {
        let (code, err) = stage.refused(arguments);
        assert_eq!(code, 1, "{arguments:?}: {err}");
        assert!(err.contains(message), "{arguments:?}: {err}");
    }
    assert_eq!(own_settings(&stage, "t"), json!({ "retention.ms": "5000" }));
}

#[test]
fn each_kind_of_failure_is_one_line_with_an_exit_code_of_its_own() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t"]);
    for (arguments, code, message) in [
        (&["topic", "create", "t"][..], 1, "jackdaw: t: "),
        (&["topic", "create", "a/b"], 1, "jackdaw: a/b: "),
        (&["topic", "delete", "missing"], 1, "jackdaw: missing: there is no such topic\n"),
        (&["topic", "describe", "missing"], 1, "jackdaw: there is no topic missing\n"),
        (&["consume", "missing"], 1, "jackdaw: there is no topic missing\n"),
        (&["consume", "t", "--partition", "7"], 1, "jackdaw: t has no partition 7, only 0\n"),
        (&["consume", "t", "--group", "g", "--from", "5"], 64, "jackdaw: a group begins at"),
        (&["consume", "t", "--from", "yesterday"], 64, "expected beginning, end"),
        (&["config", "get", "broker", "one"], 64, "jackdaw: a broker is named by its number, or"),
        (&["topic", "alter", "t"], 64, "jackdaw: nothing to set or unset\n"),
        (&["topic", "list", "-X", "colour=red"], 64, "jackdaw: -X colour: "),
        (&["topic"], 64, "Usage"),
        (&["transaction", "list", "-X", "linger.ms=5"], 64, "jackdaw: -X linger.ms: "),
        (&["transaction", "list", "--state", "Open"], 64, "expected Empty, Ongoing"),
        (&["transaction", "list", "--longer-than", "5"], 64, "expected a number and s, m, h or d"),
        (&["transaction", "abort", "t", "0"], 64, "--start-offset"),
        (&["transaction", "abort", "t", "0", "--producer", "7"], 64, "expected ID:EPOCH"),
        (
            &["transaction", "abort", "missing", "0", "--start-offset", "0"],
            1,
            "jackdaw: there is no topic missing\n",
        ),
        (&["transaction", "abort", "t", "7", "--start-offset", "0"], 1, "jackdaw: t has no partition 7\n"),
        (&["transaction", "describe", "nope"], 1, "jackdaw: there is no transactional id nope\n"),
        (&["transaction", "describe", ""], 64, "a value is required"),
        (&["transaction", "list", "--pattern", "["], 1, "this is no regular expression"),
        (&["group", "list", "--state", "Emtpy"], 64, "expected Empty, Stable"),
        (&["consume", "t", "--group", ""], 64, "a value is required"),
        (
            &["consume", "t", "-X", "enable.partition.eof=false"],
            64,
            "jackdaw: -X enable.partition.eof: consume",
        ),
        (
            &["consume", "t", "-X", "enable.auto.offset.store=true"],
            64,
            "jackdaw: -X enable.auto.offset.store: ",
        ),
        (&["consume", "t", "--json", "-f", "%s"], 64, "for which --format means nothing"),
        (&["consume", "t", "--json", "--key-separator", "="], 64, "for which --key-separator means nothing"),
    ] {
        let (found, err) = stage.refused(arguments);
        assert_eq!(found, code, "{arguments:?}: {err}");
        assert!(err.contains(message), "{arguments:?}: {err}");
    }
    if cfg!(feature = "security") {
        let login = ["topic", "list", "--user", "ann", "-X", "sasl.password=x"];
        let (code, err) = stage.refused(&login);
        assert!(code == 1 && err.contains("the login is refused: the port has no login"), "{err}");
    }
    // Nothing listens at port 1.
    for arguments in [
        &["topic", "list"][..],
        &["group", "list"],
        &["transaction", "list"],
        &["config", "get", "topic", "t"],
        &["consume", "t"],
        &["config", "set", "topic", "t", "retention.ms=1"],
    ] {
        let (code, err) =
            stage.refused(&[arguments, &["--bootstrap", "127.0.0.1:1", "--timeout", "1"]].concat());
        assert_eq!(code, 69, "{arguments:?}: {err}");
        assert!(err.starts_with("jackdaw: no answer from 127.0.0.1:1"), "{err}");
    }
    let RunResult { code, err, .. } =
        stage.try_with(&["produce", "t", "--bootstrap", "127.0.0.1:1", "--timeout", "1"], b"lost\n");
    assert_eq!(code, 69);
    assert!(err.contains("1 of 1 lines were not written to t: line 1: no answer from 127.0.0.1:1"), "{err}");
    let RunResult { code, err, .. } = stage.try_with(&["produce", "t", "--partition", "7"], b"lost\n");
    assert_eq!(code, 1, "{err}");
    let RunResult { code, err, .. } = stage.try_with(&["produce", "t", "--key-separator", ":"], b"no key\n");
    let message = "jackdaw: 1 of 1 lines were not written to t: line 1: without \":\" there is no key\n";
    assert_eq!((code, err.as_str()), (1, message));
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
    let RunResult { code, err, .. } = stage.try_with(&produce, input.as_bytes());
    let message =
        "3 of 20001 lines were not written to t: lines 10000, 15000-15001: without \"=\" there is no key";
    assert_eq!((code, err.as_str()), (1, format!("jackdaw: {message}\n").as_str()));
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
fn a_record_that_the_broker_refuses_until_the_time_is_over_has_its_reason() {
    let stage = Stage::of(Broker::builder().test_hooks(), &[]);
    stage.run(&["topic", "create", "t"]);
    stage.broker.hooks().unwrap().fill_disk();
    let done = stage.try_with(&["produce", "t", "--timeout", "2"], b"a\n");
    let why = "line 1: the broker did not accept it within 2 s: Disk error when trying to access log file on disk\n";
    assert!(done.code == 1 && done.err.ends_with(why), "{} {}", done.code, done.err);
}

#[test]
fn a_slow_broker_gets_all_records_however_long_they_take_together() {
    let stage = Stage::of(Broker::builder().test_hooks(), &[]);
    stage.run(&["topic", "create", "t"]);
    let late = Fault::of("Produce").times(6).answer_delay(Duration::from_millis(500));
    stage.broker.hooks().unwrap().inject(late).unwrap();
    let one_by_one = ["-X", "batch.num.messages=1", "-X", "max.in.flight=1"];
    let produce = [&["produce", "t", "--timeout", "2"], &one_by_one[..]].concat();
    let done = stage.try_with(&produce, b"1\n2\n3\n4\n5\n6\n");
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert_eq!(stage.run(&["consume", "t", "--until-end"]), "1\n2\n3\n4\n5\n6\n");
}

#[test]
fn a_reader_that_stops_ends_it_without_an_error() {
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

#[test]
fn access_control_lists_are_added_listed_and_removed() {
    let stage = Stage::with(&[
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:ANONYMOUS"),
    ]);
    let listed = |arguments: &[&str]| -> Vec<String> {
        let listed = stage.json(&[&["acl"], arguments].concat());
        let words = |one: &Value| {
            let words = ["resource", "pattern", "name", "permission", "principal", "host", "operation"];
            words.map(|word| one[word].as_str().unwrap().to_owned()).join(" ")
        };
        listed.as_array().unwrap().iter().map(words).collect()
    };
    let reader = ["add", "--allow-principal", "User:ann", "--consumer", "--topic", "orders", "--group", "g"];
    let of_reader = [
        "TOPIC LITERAL orders ALLOW User:ann * READ",
        "TOPIC LITERAL orders ALLOW User:ann * DESCRIBE",
        "GROUP LITERAL g ALLOW User:ann * READ",
    ];
    assert_eq!(listed(&reader), of_reader);
    let writer = ["add", "--allow-principal", "User:ben", "--producer", "--idempotent", "--topic", "orders"];
    assert_eq!(listed(&writer).len(), 4);
    let denied = [
        "--deny-principal",
        "User:*",
        "--deny-host",
        "10.0.0.0/8",
        "--operation",
        "DescribeConfigs",
        "--operation",
        "Delete",
        "--topic",
        "ord",
        "--resource-pattern-type",
        "prefixed",
    ];
    let of_all = [
        "TOPIC PREFIXED ord DENY User:* 10.0.0.0/8 DELETE",
        "TOPIC PREFIXED ord DENY User:* 10.0.0.0/8 DESCRIBE_CONFIGS",
    ];
    assert_eq!(listed(&[&["add"], &denied[..]].concat()), of_all);
    assert_eq!(listed(&["list"]).len(), 9);
    assert_eq!(listed(&["list", "--principal", "User:ann"]), of_reader);
    assert_eq!(listed(&["list", "--topic", "orders"]).len(), 5);
    assert_eq!(listed(&["list", "--topic", "orders", "--resource-pattern-type", "match"]).len(), 7);
    let table = stage.run(&["acl", "list", "--cluster"]);
    assert!(
        table.contains("CLUSTER   LITERAL  kafka-cluster  ALLOW       User:ben   *     IDEMPOTENT_WRITE"),
        "{table}"
    );
    assert_eq!(listed(&[&["remove"], &denied[..]].concat()), of_all);
    let of_all_readers = ["TOPIC LITERAL orders ALLOW User:ann * READ"];
    assert_eq!(listed(&["remove", "--topic", "orders", "--operation", "Read"]), of_all_readers);
    assert_eq!(listed(&["remove", "--topic", "orders"]).len(), 4);
    assert_eq!(listed(&["remove", "--topic", "orders"]), [""; 0]);
    assert_eq!(listed(&["list"]).len(), 2);

    for (wrong, why) in [
        (&["add", "--topic", "t"][..], "--allow-principal"),
        (&["add", "--allow-principal", "User:a"], "--topic"),
        (&["add", "--allow-principal", "ann", "--topic", "t"], "TYPE:NAME"),
        (&["add", "--allow-principal", "User:a", "--topic", "t", "--operation", "fly"], "READ"),
        (
            &["add", "--allow-principal", "User:a", "--topic", "t", "--resource-pattern-type", "match"],
            "literal",
        ),
        (&["remove"], "--topic"),
        (&["remove", "--topic", "t", "--producer"], "--allow-principal"),
        (&["remove", "--topic", "t", "--consumer"], "--allow-principal"),
        (&["remove", "--topic", "t", "--operation", "ClusterAction"], "there is no CLUSTER_ACTION on TOPIC"),
    ] {
        let (code, message) = stage.refused(&[&["acl"], wrong].concat());
        assert!(code == 64 && message.contains(why), "{wrong:?}: {message}");
    }
    let (code, message) =
        stage.refused(&["acl", "add", "--allow-principal", "User:a", "--topic", "t", "--allow-host", "/x"]);
    assert!(code == 1 && message.contains("/x"), "{message}");
    let (code, message) = Stage::new().refused(&["acl", "list"]);
    assert!(code == 1 && message.contains("No Authorizer is configured"), "{message}");
}
