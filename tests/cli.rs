//! The program as a user or a service manager sees it: its readiness line, its signals, its exit codes.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use jackdaw::time::Clock;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

fn jackdaw(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command that ends by itself.
fn refused(arguments: &[&str]) -> (i32, String) {
    let Output { status, stderr, stdout } = jackdaw(arguments).output().unwrap();
    assert_eq!(stdout, b"", "{arguments:?} says nothing on standard output");
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

/// A broker that is ready; it is killed when dropped.
struct Running {
    child: Child,
    line: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        Running::spawn(&mut jackdaw(arguments))
    }

    fn spawn(command: &mut Command) -> Running {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Running { child, line }
    }

    fn port(&self) -> u16 {
        let (_, rest) = self.line.split_once("localhost:").expect("the line names the address");
        rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; returns the exit code and the log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn one_line_says_where_it_is_ready_where_the_data_is_and_how_durable() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let broker =
        Running::start(&["--listen", "localhost:0", "--data-dir", text(&data), "--durability", "os"]);
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "jackdaw {version} is ready at localhost:{}, data in {}, durability os\n",
        broker.port(),
        data.display()
    );
    assert_eq!(broker.line, expected);
    TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
}

#[test]
fn the_line_names_the_addresses_that_clients_are_given() {
    let at_every_address = Running::start(&["--listen", ":0", "--ephemeral"]);
    assert!(TcpStream::connect(("127.0.0.1", at_every_address.port())).is_ok(), "{}", at_every_address.line);
    let mut command =
        jackdaw(&["--ephemeral", "--set", "advertised.listeners=INSIDE://kafka:29092,HOST://localhost:9092"]);
    let command = command.env("KAFKA_LISTENERS", "INSIDE://localhost:0,HOST://localhost:0");
    let advertised = Running::spawn(
        command.env("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "INSIDE:PLAINTEXT,HOST:PLAINTEXT"),
    );
    assert!(advertised.line.contains(" is ready at kafka:29092 localhost:9092, "), "{}", advertised.line);
}

#[test]
fn the_line_is_json_where_log_lines_are_and_kafkas_words_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut command =
        jackdaw(&["--listen", "localhost:0", "--data-dir", text(dir.path()), "--log-format", "json"]);
    // A variable of Kafka's image: tools may wait for Kafka's words.
    let mut broker = Running::spawn(command.env("KAFKA_NODE_ID", "7"));
    let line: serde_json::Value = serde_json::from_str(&broker.line).unwrap();
    let message = line["message"].as_str().unwrap();
    assert!(
        message.contains(" is ready at localhost:") && message.ends_with(", durability fsync"),
        "{message}"
    );
    assert!(line["advertised"][0].as_str().unwrap().starts_with("localhost:"), "{line}");
    assert_eq!((&line["level"], &line["data_dir"]), (&"INFO".into(), &text(dir.path()).into()));
    assert!(line["timestamp"].is_string(), "{line}");
    let mut words = String::new();
    // The line may have been read with the first one, or not.
    broker.signal(Signal::TERM);
    broker.child.stdout.take().unwrap().read_to_string(&mut words).unwrap();
    assert!(
        words.is_empty() || words.contains("[KafkaServer id=7] started, Kafka Server started, "),
        "{words}"
    );
}

#[test]
fn an_ephemeral_broker_says_so_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = jackdaw(&["serve", "--listen", "localhost:0", "--ephemeral"]);
    let broker = Running::spawn(command.current_dir(dir.path()));
    assert!(broker.line.ends_with(", data in memory, gone when it stops\n"), "{}", broker.line);
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().0, Some(0));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_signal_stops_it_with_exit_code_0_and_the_next_start_has_the_directory_and_the_port() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let mut listen = "localhost:0".to_owned();
    for signal in [Signal::TERM, Signal::INT] {
        let broker = Running::start(&["--listen", &listen, "--data-dir", data]);
        listen = format!("localhost:{}", broker.port());
        // An open connection does not delay the stop.
        let _client = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
        broker.signal(signal);
        assert_eq!(broker.end().0, Some(0));
    }
}

#[test]
fn the_end_of_standard_input_stops_it_only_if_that_is_asked_for() {
    let mut child = Running::spawn(
        jackdaw(&["--ephemeral", "--listen", "localhost:0", "--stop-on-eof"]).stdin(Stdio::piped()),
    );
    let mut input = child.child.stdin.take().unwrap();
    input.write_all(b"what is written means nothing\n").unwrap();
    drop(TcpStream::connect(("127.0.0.1", child.port())).unwrap());
    drop(input);
    assert_eq!(child.end().0, Some(0));

    // Its standard input has ended before it starts.
    let other = Running::start(&["--ephemeral", "--listen", "localhost:0"]);
    drop(TcpStream::connect(("127.0.0.1", other.port())).unwrap());
    other.signal(Signal::TERM);
    assert_eq!(other.end().0, Some(0));
}

#[test]
fn completions_and_man_pages_have_every_command() {
    for (shell, line) in
        [("bash", "complete -F _jackdaw"), ("zsh", "#compdef jackdaw"), ("fish", "complete -c jackdaw")]
    {
        let Output { status, stdout, .. } = jackdaw(&["generate", "completions", shell]).output().unwrap();
        let script = String::from_utf8(stdout).unwrap();
        assert!(
            status.success() && script.contains(line) && script.contains("data-dir"),
            "{shell}: {script}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    assert!(jackdaw(&["generate", "man", text(&pages)]).status().unwrap().success());
    for (page, content) in [("jackdaw.1", "Exit codes"), ("jackdaw-log-repair.1", "accept\\-loss")] {
        assert!(fs::read_to_string(pages.join(page)).unwrap().contains(content), "{page} has {content}");
    }
    // A folder cannot be made below a file.
    let (code, message) = refused(&["generate", "man", text(&pages.join("jackdaw.1/below"))]);
    assert_eq!((code, message.contains("jackdaw.1/below")), (74, true), "{message}");
}

#[test]
fn a_damaged_directory_is_refused_as_verify_predicts_and_repair_asks_before_it_gives_anything_up() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    drop(Running::start(&["--listen", "localhost:0", "--data-dir", data]));
    let run = |arguments: &[&str]| {
        let Output { status, stdout, stderr } = jackdaw(&[arguments, &[data]].concat()).output().unwrap();
        let message = String::from_utf8([stdout, stderr].concat()).unwrap();
        (status.code().unwrap(), message)
    };
    let (code, message) = run(&["log", "verify"]);
    assert!(
        code == 0 && message.contains("the next start serves; out of service from the start: none"),
        "{message}"
    );
    assert_eq!(run(&["log", "repair"]).0, 0);
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("server.properties");
    fs::write(&settings, format!("log.dirs={data}\n")).unwrap();
    let of_the_settings = jackdaw(&["log", "verify", "--config", text(&settings)]).output().unwrap();
    assert_eq!((of_the_settings.status.code(), of_the_settings.stderr), (Some(0), Vec::new()));

    let meta = dir.path().join("meta");
    let whole = fs::read_to_string(&meta).unwrap();
    fs::write(&meta, whole.replace("salt=", "salt=1")).unwrap();
    let (code, log) = refused(&["--listen", "localhost:0", "--data-dir", data]);
    assert!(
        code == 65 && log.contains("meta: its checksum is wrong") && log.contains("jackdaw log repair"),
        "{log}"
    );
    let (code, message) = run(&["log", "verify"]);
    assert!(code == 65 && message.contains("the next start is refused with exit code 65: "), "{message}");
    let (code, message) = run(&["log", "repair"]);
    assert!(
        code == 65 && message.contains("--accept-loss") && message.contains("nothing was changed"),
        "{message}"
    );
    // Standard input is empty, so nobody can answer yes.
    let (code, message) = run(&["log", "repair", "--accept-loss"]);
    assert!(code == 65 && message.contains("nothing was changed"), "{message}");
    assert_ne!(fs::read_to_string(&meta).unwrap(), whole);
    let (code, message) = run(&["log", "repair", "--accept-loss", "--yes"]);
    assert!(code == 0 && message.contains("repair-1"), "{message}");
    assert_eq!(fs::read_to_string(&meta).unwrap(), whole);
    drop(Running::start(&["--listen", "localhost:0", "--data-dir", data]));
}

#[test]
fn a_signal_during_a_long_start_ends_it_and_the_next_start_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let broker = Running::start(&["--listen", "localhost:0", "--data-dir", data]);
    let port = broker.port();
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().0, Some(0));

    // To open a pipe is to wait for the one who writes into it.
    let (meta, aside) = (dir.path().join("meta"), dir.path().join("aside"));
    fs::rename(&meta, &aside).unwrap();
    rustix::fs::mknodat(CWD, &meta, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let http = format!("localhost:{port}");
    let arguments = ["--listen", "localhost:0", "--http", &http, "--data-dir", data];
    let starting = Running { child: jackdaw(&arguments).spawn().unwrap(), line: String::new() };
    // The HTTP port listens before the directory is opened.
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::yield_now();
    }
    starting.signal(Signal::TERM);
    let (code, log) = starting.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopped before it was ready"), "{log}");

    fs::rename(&aside, &meta).unwrap();
    Running::start(&arguments);
}

#[test]
fn a_second_signal_does_not_wait_for_answers_that_are_owed() {
    let delay = "group.initial.rebalance.delay.ms=600000";
    let mut broker = Running::start(&["--listen", "localhost:0", "--ephemeral", "--set", delay]);
    let mut client = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
    // JoinGroup version 0, which waits for more members: the group "g" with one protocol "p".
    let join = b"\0\x0b\0\0\0\0\0\x01\xff\xff\0\x01g\0\0\x27\x10\0\0\0\x08consumer\0\0\0\x01\0\x01p\0\0\0\0";
    let api_versions = b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff";
    let length = u32::try_from(join.len()).unwrap().to_be_bytes();
    client.write_all(&[api_versions, &length[..], join].concat()).unwrap();
    // The request after an answered one is begun before the answer is written.
    client.read_exact(&mut [0; 4]).unwrap();
    let mut log = BufReader::new(broker.child.stderr.take().unwrap()).lines();
    broker.signal(Signal::TERM);
    assert!(log.any(|line| line.unwrap().contains("stopping")));
    broker.signal(Signal::TERM);
    assert!(log.any(|line| line.unwrap().contains("stopped at once")));
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
}

#[test]
fn after_a_kill_the_next_start_has_the_directory_and_the_port() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let broker = Running::start(&["--listen", "localhost:0", "--data-dir", data]);
    let listen = format!("localhost:{}", broker.port());
    let mut client = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
    client.write_all(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff").unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    broker.signal(Signal::KILL);
    assert_eq!(broker.end().0, None);
    let again = Running::start(&["--listen", &listen, "--data-dir", data]);
    assert_eq!(format!("localhost:{}", again.port()), listen);
}

#[test]
fn a_second_broker_is_refused_the_directory_and_the_port() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = text(dir.path());
    let first = Running::start(&["--listen", "localhost:0", "--data-dir", data]);
    let (code, log) = refused(&["--listen", "localhost:0", "--data-dir", data]);
    assert_eq!(code, 75);
    assert!(log.contains("is in use by another process"), "{log}");
    let listen = format!("localhost:{}", first.port());
    let data = other.path().join("data");
    let (code, log) = refused(&["--listen", &listen, "--data-dir", text(&data)]);
    assert_eq!(code, 69);
    assert!(log.contains(&format!("cannot listen at {listen}")) && log.contains("with --listen"), "{log}");
    if cfg!(target_os = "linux") {
        assert!(log.contains(&format!("process {} (jackdaw) uses the port", first.child.id())), "{log}");
    }
    let (code, log) = refused(&["--listen", "localhost:0", "--http", &listen, "--data-dir", text(&data)]);
    assert!(code == 69 && log.contains("with --http"), "{log}");
    assert!(!data.exists(), "nothing was made for a broker that does not start");
}

#[test]
fn a_directory_that_is_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), "chapter one").unwrap();
    let (code, log) = refused(&["--listen", "localhost:0", "--data-dir", text(dir.path())]);
    assert_eq!(code, 65);
    assert!(log.contains("not ours"), "{log}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_data_directory_that_is_a_file_or_below_one_is_refused_with_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes");
    fs::write(&file, "one").unwrap();
    for data in [file.clone(), file.join("data")] {
        let (code, log) = refused(&["--listen", "localhost:0", "--data-dir", text(&data)]);
        assert_eq!(code, 65, "{log}");
        let message = format!(
            "{} cannot hold the data, because {} is a file: choose a directory with --data-dir",
            data.display(),
            file.display()
        );
        assert!(log.contains(&message), "{log}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "one");
}

#[test]
fn wrong_arguments_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.properties");
    fs::write(&broken, "num.partitions=many\n").unwrap();
    let missing = dir.path().join("missing.properties");
    for (arguments, code, message) in [
        (&["--bogus"][..], 64, "--bogus"),
        (&["--set", "num.partitions"], 64, "expected NAME=VALUE"),
        (&["--durability", "maybe"], 64, "fsync"),
        (&["--ephemeral", "--data-dir", "x"], 64, "cannot be used with"),
        (&["--config", text(&missing)], 74, "missing.properties"),
        (&["--config", text(&broken)], 78, "Invalid value many for configuration num.partitions"),
        (&["--set", "listeners=SSL://:0", "--ephemeral"], 78, "null for configuration ssl.keystore.location"),
        (&["--set", "ssl.engine.factory.class=x"], 78, "x for configuration ssl.engine.factory.class"),
        (&["--listen", "localhost"], 78, "expected NAME://HOST:PORT"),
        (&["--listen", "90922"], 78, "expected NAME://HOST:PORT"),
        (&["--http", "localhost"], 78, "expected HOST:PORT"),
        (&["--http", "localhost"], 78, "(flag --http)"),
        (&["--topic", "or/ders"], 78, "other than ASCII alphanumerics"),
        (
            &["--topic", "orders:0"],
            78,
            "0 is no number of partitions from 1 to 10000; expected NAME[:PARTITIONS",
        ),
        (&["--topic", "orders:1:2"], 78, "(flag --topic)"),
        (&["--set", "process.roles=controller"], 78, "Jackdaw needs no controllers"),
        (&["--set", "advertised.listeners=OTHER://a:1"], 78, "there is no listener of this name"),
        (&["--set", "jackdaw.cluster.id=my\u{7}cluster"], 78, "without control characters"),
        (&["--set", "num.partitions=many", "--print-config"], 78, "Not a number of type INT (flag --set)"),
        (&["health", "--bootstrap-server", "127.0.0.1:1"], 69, "no answer from 127.0.0.1:1: "),
    ] {
        let (found, log) = refused(arguments);
        assert_eq!(found, code, "{arguments:?}: {log}");
        assert!(log.contains(message), "{arguments:?}: {log}");
    }
}

#[test]
fn flags_go_before_the_file_and_unknown_names_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("server.properties"), dir.path().join("data"));
    let settings = format!(
        "# as in Kafka\nprocess.roles=broker\nnum.partition=3\njackdaw.durability=interval\nlog.dirs={}\n\
         listeners=PLAINTEXT://localhost:1\nsasl.mechanism.inter.broker.protocol=PLAIN\n\
         sasl.kerberos.service.name=kafka\n",
        data.display()
    );
    fs::write(&file, settings).unwrap();
    let broker = Running::start(&[
        "--config",
        text(&file),
        "--listen",
        "localhost:0",
        "--set",
        "jackdaw.durability=os",
    ]);
    assert!(broker.line.contains(text(&data)), "{}", broker.line);
    assert!(broker.line.ends_with("durability os\n"), "{}", broker.line);
    broker.signal(Signal::TERM);
    let (_, log) = broker.end();
    assert!(log.contains("did you mean num.partitions?"), "{log}");
    let of_logins: Vec<&str> = log.lines().filter(|line| line.contains("sasl.")).collect();
    let [kerberos, other] = of_logins[..] else { panic!("{log}") };
    assert!(kerberos.contains("WARN") && kerberos.contains("sasl.kerberos.service.name"), "{kerberos}");
    assert!(other.contains("INFO") && other.contains("sasl.mechanism.inter.broker.protocol"), "{other}");
}

#[test]
fn a_port_is_one_of_localhost_and_a_colon_means_every_address() {
    for (listen, listeners) in [
        ("9099", "PLAINTEXT://localhost:9099"),
        (":9099", "PLAINTEXT://:9099"),
        ("*:9099", "PLAINTEXT://:9099"),
        ("127.0.0.1:9099", "PLAINTEXT://127.0.0.1:9099"),
        ("PLAINTEXT://localhost:9099", "PLAINTEXT://localhost:9099"),
    ] {
        let arguments = ["--listen", listen, "--http", "9098", "--print-config"];
        let printed = String::from_utf8(jackdaw(&arguments).output().unwrap().stdout).unwrap();
        assert!(printed.contains(&format!("\nlisteners={listeners}  (flag --listen)\n")), "{printed}");
        assert!(printed.contains("\njackdaw.http.listener=localhost:9098  (flag --http)\n"), "{printed}");
    }
}

#[test]
fn settings_of_zookeeper_and_of_other_vendors_are_one_line_each_without_a_hint() {
    let mut command =
        jackdaw(&["--listen", "localhost:0", "--ephemeral", "--set", "redpanda.storage.mode=x"]);
    let broker = Running::spawn(command.envs([
        ("KAFKA_ZOOKEEPER_CONNECT", "zookeeper:2181"),
        ("KAFKA_CFG_ZOOKEEPER_CONNECTION_TIMEOUT_MS", "6000"),
        ("KAFKA_CONFLUENT_METRICS_ENABLE", "false"),
    ]));
    broker.signal(Signal::TERM);
    let (_, log) = broker.end();
    let [zookeeper] = log.lines().filter(|line| line.contains("ZooKeeper")).collect::<Vec<_>>()[..] else {
        panic!("{log}")
    };
    assert!(zookeeper.contains("ZooKeeper is not needed"), "{zookeeper}");
    assert!(zookeeper.contains("zookeeper.connect zookeeper.connection.timeout.ms"), "{zookeeper}");
    assert!(log.contains("confluent.metrics.enable redpanda.storage.mode"), "{log}");
    assert!(!log.contains("did you mean") && !log.contains("unknown setting"), "{log}");
}

#[test]
fn the_log_level_is_that_of_the_flag_else_that_of_kafkas_variable() {
    let log = |arguments: &[&str], level: &str| {
        let mut command = jackdaw(&[&["--listen", "localhost:0", "--ephemeral"], arguments].concat());
        let broker = Running::spawn(command.env("KAFKA_LOG4J_ROOT_LOGLEVEL", level));
        broker.signal(Signal::TERM);
        broker.end().1
    };
    assert!(log(&[], "INFO").contains("stopped"));
    assert!(!log(&[], "ERROR").contains("stopped"));
    assert!(log(&["--log-level", "info"], "ERROR").contains("stopped"));
    let unknown = log(&[], "LOUD");
    assert!(
        unknown.contains("KAFKA_LOG4J_ROOT_LOGLEVEL is LOUD") && unknown.contains("stopped"),
        "{unknown}"
    );
}

#[test]
fn topics_of_flags_and_of_the_variable_are_there_before_the_first_client_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let start = |arguments: &[&str]| {
        let data = ["--listen", "localhost:0", "--data-dir", text(dir.path())];
        let mut command = jackdaw(&[&data, arguments].concat());
        let broker = Running::spawn(command.env("KAFKA_CREATE_TOPICS", "orders:3:1,users:1:1:compact"));
        let partitions = |topic| partitions(&broker, topic);
        let found = ["orders", "users", "invoices"].map(partitions);
        broker.signal(Signal::TERM);
        let (code, log) = broker.end();
        assert_eq!(code, Some(0));
        (found, log)
    };
    let (found, log) = start(&[]);
    assert_eq!(found, [Some(3), Some(1), None], "{log}");
    assert_eq!(log.lines().filter(|line| line.contains("topic created")).count(), 2, "{log}");
    let (found, log) = start(&[]);
    assert_eq!(found, [Some(3), Some(1), None], "{log}");
    assert!(!log.contains("topic created") && !log.contains("exists with"), "{log}");
    // As everywhere, flags have precedence over variables.
    let (found, log) = start(&["--topic", "invoices:2", "--topic", "orders:5"]);
    assert_eq!(found, [Some(3), Some(1), Some(2)], "{log}");
    assert!(log.contains("the topic exists with another number of partitions and was not changed"), "{log}");
    let (code, log) =
        refused(&["--listen", "localhost:0", "--data-dir", text(dir.path()), "--topic", "a.b,a_b"]);
    assert!(code == 78 && log.contains("a_b") && log.contains("its name collides with a.b"), "{log}");
    // A topic that a client may have created does not keep the broker from starting.
    start(&["--topic", "a.b"]);
    let (_, log) = start(&["--topic", "a_b"]);
    assert!(log.contains("topic not created") && log.contains("collides"), "{log}");
}

/// The number of partitions of a topic, by Metadata version 4, which creates nothing.
fn partitions(broker: &Running, topic: &str) -> Option<usize> {
    let mut client = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
    let name = [&u16::try_from(topic.len()).unwrap().to_be_bytes(), topic.as_bytes()].concat();
    client.write_all(&request(3, 4, &[b"\0\0\0\x01", &name[..], b"\0"].concat())).unwrap();
    let mut length = [0; 4];
    client.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    client.read_exact(&mut answer).unwrap();
    // The error code, the name, whether it is internal, and the number of partitions.
    let at = answer.windows(name.len()).position(|bytes| bytes == name).unwrap();
    let count = u32::from_be_bytes(*answer[at + name.len() + 1..].first_chunk().unwrap());
    (answer[at - 2..at] == [0, 0]).then_some(count as usize)
}

#[test]
fn print_config_shows_every_value_with_its_source_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("server.properties"), dir.path().join("data"));
    let settings = "num.partitions=1\nmessage.max.bytes=1\nlog.retention.hours=2\nssl.key.password=hush\n\
                    my.plugin.secret=hush\nssl.key.pasword=hush\nclient.passwords=hush\nnum.partition=3\n\
                    sasl.oauthbearer.jwks.endpoint.url=https://user:hush@localhost/keys?key=hush\n";
    fs::write(&file, format!("{settings}log.dir={}\n", data.display())).unwrap();
    let mut command = jackdaw(&["--config", text(&file), "--print-config", "--set", "message.max.bytes=3"]);
    let environment =
        [("KAFKA_NUM_PARTITIONS", "2"), ("KAFKA_MESSAGE_MAX_BYTES", "2"), ("KAFKA_HEAP_OPTS", "-Xmx1g")];
    let Output { status, stdout, .. } = command.env_clear().envs(environment).output().unwrap();
    assert_eq!(status.code(), Some(0));
    let printed = String::from_utf8(stdout).unwrap();
    let from_file = format!("(file {})", file.display());
    for line in [
        "num.partitions=2  (environment KAFKA_NUM_PARTITIONS)".to_owned(),
        "message.max.bytes=3  (flag --set)".to_owned(),
        format!("log.retention.hours=2  {from_file}"),
        format!("log.retention.ms=7200000  (log.retention.hours, file {})", file.display()),
        format!("log.dirs={}  (log.dir, file {})", data.display(), file.display()),
        "listeners=PLAINTEXT://localhost:9092  (default)".to_owned(),
        "auto.create.topics.enable=true  (default)".to_owned(),
    ] {
        assert!(printed.lines().any(|found| found == line), "no {line} in:\n{printed}");
    }
    for start in ["ssl.key.password=[hidden]  (", "my.plugin.secret=[hidden]  (", "num.partition=3  ("] {
        assert!(printed.lines().any(|found| found.starts_with(start)), "no {start} in:\n{printed}");
    }
    assert!(printed.contains("unknown and without effect; did you mean num.partitions?"), "{printed}");
    assert!(!printed.contains("hush") && !printed.contains("heap"), "{printed}");
    assert!(!data.exists(), "nothing was started");
}

#[test]
fn a_cluster_id_is_that_of_a_new_directory_and_has_to_be_that_of_an_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "localhost:0", "--data-dir", text(dir.path())];
    let with_id = |id| {
        let mut command = jackdaw(&arguments);
        command.env("CLUSTER_ID", id);
        command
    };
    drop(Running::spawn(&mut with_id("my-kafka-cluster")));
    let meta = fs::read_to_string(dir.path().join("meta")).unwrap();
    assert!(meta.contains("cluster.id=my-kafka-cluster\n"), "{meta}");
    drop(Running::spawn(&mut with_id("my-kafka-cluster")));
    drop(Running::start(&arguments));
    for (id, code, message) in [
        ("4L6g3nShT-eMCtK--X86sw", 65, "belongs to cluster my-kafka-cluster"),
        ("my\u{7}shop", 78, "(environment CLUSTER_ID)"),
    ] {
        let Output { status, stderr, .. } = with_id(id).output().unwrap();
        let log = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(code), "{log}");
        assert!(log.contains(message), "{log}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("meta")).unwrap(), meta);
}

#[test]
fn a_service_manager_is_notified_when_it_is_ready_and_when_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let notification = || {
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let mut command = jackdaw(&["--listen", "localhost:0", "--ephemeral"]);
    let broker = Running::spawn(command.env("NOTIFY_SOCKET", &path));
    assert_eq!(notification(), "READY=1");
    broker.signal(Signal::TERM);
    assert_eq!(notification(), "STOPPING=1");
    assert_eq!(broker.end().0, Some(0));
}

/// A frame with a request whose header has the client id `old-app`.
fn request(key: i16, version: i16, rest: &[u8]) -> Vec<u8> {
    let header = [&key.to_be_bytes()[..], &version.to_be_bytes(), b"\0\0\0\x01\0\x07old-app"].concat();
    let length = u32::try_from(header.len() + rest.len()).unwrap().to_be_bytes();
    [&length[..], &header, rest].concat()
}

#[test]
fn a_client_that_is_too_old_is_one_warning_for_each_request_that_is_not_served() {
    let broker = Running::start(&["--listen", "localhost:0", "--ephemeral"]);
    // ApiVersions version 3 with the software "sarama" "1.0".
    let api_versions = request(18, 3, b"\0\x07sarama\x041.0\0");
    for (key, version) in [(0, 2), (0, 2), (0, 1), (1, 3), (0, 2)] {
        let mut client = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
        client.write_all(&[&api_versions[..], &request(key, version, b"")].concat()).unwrap();
        // The broker closes the connection.
        client.read_to_end(&mut Vec::new()).unwrap();
    }
    broker.signal(Signal::TERM);
    let (_, log) = broker.end();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("too old")).collect();
    let [produce, fetch] = warnings[..] else { panic!("{log}") };
    for (warning, api) in
        [(produce, "api=\"Produce\" key=0 version=2"), (fetch, "api=\"Fetch\" key=1 version=3")]
    {
        let (client, software) = ("client_id=\"old-app\"", "software=\"sarama 1.0\"");
        let is_whole = [api, client, software, "update the client"].iter().all(|part| warning.contains(part));
        assert!(warning.contains(" WARN ") && is_whole, "{warning}");
    }
}

#[test]
fn a_topic_that_a_client_creates_is_one_line_with_the_topic_and_the_client() {
    let broker = Running::start(&["--listen", "localhost:0", "--ephemeral"]);
    let mut client = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
    // Metadata version 1 for the topic "orders", which is created on demand, until it is there.
    let metadata = request(3, 1, b"\0\0\0\x01\0\x06orders");
    loop {
        client.write_all(&metadata).unwrap();
        let mut length = [0; 4];
        client.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        client.read_exact(&mut answer).unwrap();
        // The error before the name of the topic.
        let name = answer.windows(8).position(|bytes| bytes == b"\0\x06orders").unwrap();
        if answer[name - 2..name] == [0, 0] {
            break;
        }
    }
    broker.signal(Signal::TERM);
    let (_, log) = broker.end();
    let created: Vec<&str> = log.lines().filter(|line| line.contains("orders")).collect();
    let [line] = created[..] else { panic!("{log}") };
    let parts = [
        " INFO ",
        "a client has created a topic",
        "topic=\"orders\"",
        "partitions=1",
        "client_id=\"old-app\"",
    ];
    assert!(parts.iter().all(|part| line.contains(part)), "{line}");
}

#[test]
fn health_lists_the_apis_of_a_broker_that_answers() {
    let broker = Running::start(&["--listen", "localhost:0", "--ephemeral"]);
    let address = format!("localhost:{}", broker.port());
    let Output { status, stdout, .. } =
        jackdaw(&["health", "--bootstrap-server", &format!("127.0.0.1:1,{address}")]).output().unwrap();
    let message = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(message.starts_with(&format!("{address} serves ")), "{message}");
    assert!(message.contains("  ApiVersions (18): 0 to "), "{message}");
    // Without an address it uses the listener of these settings.
    let mut command = jackdaw(&["health"]);
    command.env("KAFKA_LISTENERS", format!("PLAINTEXT://127.0.0.1:{}", broker.port()));
    assert_eq!(command.output().unwrap().status.code(), Some(0));
}

#[test]
fn health_finds_out_by_64_kib_that_a_server_is_no_broker() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(&(65_537_u32).to_be_bytes()).unwrap();
        // Until the program has closed it.
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let (code, message) = refused(&["health", "--bootstrap-server", &address]);
    assert_eq!(code, 69);
    assert!(message.contains("this is no Kafka broker"), "{message}");
    server.join().unwrap();
}

#[test]
fn a_file_for_a_cluster_of_several_is_taken_with_a_warning() {
    let voters = "controller.quorum.voters=1@kafka-1:9093,2@kafka-2:9093,3@kafka-3:9093";
    let broker = Running::start(&["--listen", "localhost:0", "--ephemeral", "--set", voters]);
    broker.signal(Signal::TERM);
    let (code, log) = broker.end();
    assert_eq!(code, Some(0));
    assert!(log.contains("this broker is one alone"), "{log}");
}

#[test]
fn references_to_secrets_are_replaced_before_the_start_and_their_values_are_not_shown() {
    let providers = [
        "config.providers=env",
        "config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider",
        "jackdaw.cluster.id=${env:MY_CLUSTER}",
    ];
    let mut arguments = vec!["--print-config"];
    providers.iter().for_each(|setting| arguments.extend(["--set", *setting]));
    let (code, why) = refused(&arguments);
    assert_eq!(code, 78);
    assert!(why.contains("jackdaw.cluster.id") && why.contains("${env:MY_CLUSTER}"), "{why}");
    let output = jackdaw(&arguments).env("MY_CLUSTER", "hush").output().unwrap();
    let listing = String::from_utf8(output.stdout).unwrap();
    assert!(listing.contains("jackdaw.cluster.id=[hidden]  (flag --set)\n"), "{listing}");
    assert!(
        listing.contains("\nconfig.providers.env.class=org.apache") && !listing.contains("hush"),
        "{listing}"
    );
    // The environment has references as well.
    let output =
        jackdaw(&arguments).env("MY_CLUSTER", "hush").env("KAFKA_NODE_ID", "${env:MY_CLUSTER}").output();
    let why = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(why.contains("node.id") && why.contains("KAFKA_NODE_ID") && !why.contains("hush"), "{why}");
}

#[test]
fn a_broker_that_everyone_on_a_network_can_use_says_so_once() {
    let warnings = |listeners: &str| {
        let listeners = format!("listeners={listeners}");
        let protocols = "listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT";
        let broker = Running::start(&["--ephemeral", "--set", &listeners, "--set", protocols]);
        broker.signal(Signal::TERM);
        let (_, log) = broker.end();
        log.lines().filter(|line| line.contains("everyone who reaches these addresses")).count()
    };
    // 127.1 is 127.0.0.1, written so that it does not look like it.
    assert_eq!(warnings("A://127.1:0,B://127.1:0"), 1);
    assert_eq!(warnings("A://localhost:0,B://127.0.0.1:0"), 0);
}

#[test]
fn log_lines_are_json_where_that_is_asked_for_whatever_stands_in_them() {
    let hostile = "\"}\n{\u{1b}[31m\\";
    let setting = format!("{hostile}=1");
    let broker = Running::start(&[
        "--listen",
        "localhost:0",
        "--ephemeral",
        "--log-format",
        "json",
        "--log-level",
        "debug",
        "--set",
        &setting,
    ]);
    let _client = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
    broker.signal(Signal::TERM);
    let (_, log) = broker.end();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let warned = lines.iter().find(|line| line["name"] == hostile).expect("the name comes through as it is");
    assert_eq!(
        (&warned["level"], &warned["message"]),
        (&"WARN".into(), &"unknown setting without effect".into())
    );
    assert!(lines.iter().all(|line| line["timestamp"].is_string()), "{log}");
    assert!(lines.iter().any(|line| line["message"] == "stopped"), "{log}");
}

#[test]
fn a_closed_terminal_or_sighup_reads_the_settings_again_and_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.properties");
    fs::write(&file, "max.connections=7\n").unwrap();
    let mut broker = Running::start(&["--config", text(&file), "--listen", "localhost:0", "--ephemeral"]);
    let mut log = BufReader::new(broker.child.stderr.take().unwrap()).lines();
    let mut until =
        |message: &str| log.find(|line| line.as_ref().unwrap().contains(message)).unwrap().unwrap();
    let of_listener = "listener.name.plaintext.max.connection.creation.rate=9";
    fs::write(&file, format!("max.connections=8\nnum.partitions=3\nmax.connection=1\n{of_listener}\n"))
        .unwrap();
    broker.signal(Signal::HUP);
    assert!(until("unknown setting without effect").contains("did you mean max.connections?"));
    let line = until("max.connections");
    assert!(line.contains("from=\"7\" to=\"8\""), "{line}");
    assert!(until("listener.name.plaintext.max.connection.creation.rate").contains("to=\"9\""));
    assert!(until("num.partitions").contains("next start"));
    fs::write(&file, "max.connections=many\n").unwrap();
    broker.signal(Signal::HUP);
    assert!(until("old value stays").contains("many"));
    fs::remove_file(&file).unwrap();
    broker.signal(Signal::HUP);
    until("stay as they are");
    // Without a settings file there is nothing to reload.
    let other = Running::start(&["--listen", "localhost:0", "--ephemeral"]);
    other.signal(Signal::HUP);
    for broker in [broker, other] {
        let mut client = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
        client.write_all(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        broker.signal(Signal::TERM);
        let mut broker = broker;
        assert_eq!(broker.child.wait().unwrap().code(), Some(0));
    }
}

/// A full pipe without a reader, and the end that keeps it open.
fn stalled_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

#[test]
fn an_unread_log_holds_up_neither_clients_nor_the_end() {
    let (_reader, pipe) = stalled_pipe();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (listen, http) = (free.to_string(), TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.properties");
    fs::write(&file, "").unwrap();
    let (file_name, http_name) = (text(&file), http.to_string());
    let arguments = ["--listen", &listen, "--ephemeral", "--http", &http_name, "--config", file_name];
    let mut command = jackdaw(&arguments);
    command.stdout(pipe.try_clone().unwrap()).stderr(pipe);
    let mut broker = Running { child: command.spawn().unwrap(), line: String::new() };
    let clock = Clock::machine();
    let give_up = clock.monotonic() + Duration::from_secs(120);
    let mut client = loop {
        match TcpStream::connect(free) {
            Ok(client) => break client,
            Err(error) => assert!(clock.monotonic() < give_up, "{error}"),
        }
    };
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // More than the log's queue holds: each reload of the settings logs a line with this value.
    fs::write(&file, format!("max.connections={}", "x".repeat(300 << 10))).unwrap();
    let mut dropped = false;
    while !dropped {
        assert!(clock.monotonic() < give_up, "no line was dropped");
        broker.signal(Signal::HUP);
        client.write_all(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff").unwrap();
        let mut length = [0; 4];
        client.read_exact(&mut length).unwrap();
        client.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize]).unwrap();
        let mut scrape = TcpStream::connect(http).unwrap();
        scrape.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        scrape.read_to_string(&mut page).unwrap();
        let row = page.lines().find_map(|line| line.strip_prefix("jackdaw_log_lines_dropped_total "));
        dropped = row.expect("the metric is there") != "0";
    }
    broker.signal(Signal::TERM);
    loop {
        if let Some(status) = broker.child.try_wait().unwrap() {
            return assert_eq!(status.code(), Some(0));
        }
        assert!(clock.monotonic() < give_up, "it does not end");
    }
}

#[test]
fn help_lists_the_exit_codes_and_version_is_one_line() {
    let help = String::from_utf8(jackdaw(&["--help"]).output().unwrap().stdout).unwrap();
    for message in ["--listen", "--data-dir", "Exit codes:", "  75  "] {
        assert!(help.contains(message), "{message} stands in the help");
    }
    let version = String::from_utf8(jackdaw(&["--version"]).output().unwrap().stdout).unwrap();
    assert_eq!(version, format!("jackdaw {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_running_broker_and_a_stopped_one_are_backed_up_and_the_copies_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let [data, first, second] = ["data", "first", "second"].map(|name| path(&folder, name));
    let backup = |to: &str| {
        let output = jackdaw(&["backup", to, "--data-dir", &data]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.starts_with(&format!("{to} is complete: 1 topics, 3 partitions,")), "{said}");
    };
    let broker = Running::start(&["--listen", "localhost:0", "--data-dir", &data, "--topic", "orders:3"]);
    backup(&first);
    let (code, why) = refused(&["backup", &first, "--data-dir", &data]);
    assert_eq!(code, 64);
    assert!(why.contains("first is not empty"), "{why}");
    let (code, why) = refused(&["backup", &format!("{data}/copy"), "--data-dir", &data]);
    assert_eq!(code, 64);
    assert!(why.contains("is in the data directory"), "{why}");
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().0, Some(0));
    backup(&second);
    for copy in [first, second] {
        let restored = Running::start(&["--listen", "localhost:0", "--data-dir", &copy]);
        assert_eq!(partitions(&restored, "orders"), Some(3));
        restored.signal(Signal::TERM);
        assert_eq!(restored.end().0, Some(0));
    }
    let (code, why) = refused(&["backup", &path(&folder, "third"), "--data-dir", &path(&folder, "nothing")]);
    assert_eq!(code, 65);
    assert!(why.ends_with("nothing is no data directory\n"), "{why}");
}

#[test]
fn dashboards_and_alert_rules_are_written_as_files() {
    let folder = tempfile::tempdir().unwrap();
    let made = path(&folder, "made/here");
    let output = jackdaw(&["generate", "dashboards", &made]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let dashboard = fs::read_to_string(format!("{made}/jackdaw-dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert_eq!(dashboard["title"], "Jackdaw");
    let rules = fs::read_to_string(format!("{made}/jackdaw-alerts.yml")).unwrap();
    assert!(rules.starts_with("groups:\n") && rules.contains("alert: JackdawDiskFull\n"), "{rules}");
    let file = format!("{made}/jackdaw-alerts.yml");
    let (code, why) = refused(&["generate", "dashboards", &file]);
    assert_eq!(code, 74);
    assert!(why.contains(&file), "{why}");
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}
