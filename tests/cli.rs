//! The program as a user or a service manager sees it: its readiness line, its signals, its exit codes.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use jackdaw::time::Clock;
use rustix::fs::OFlags;
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
        rest.split_once(',').unwrap().0.parse().unwrap()
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
fn a_damaged_directory_is_refused_as_verify_predicts_and_repair_asks_before_it_gives_anything_up() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    drop(Running::start(&["--listen", "localhost:0", "--data-dir", data]));
    let run = |arguments: &[&str]| {
        let Output { status, stdout, stderr } = jackdaw(&[arguments, &[data]].concat()).output().unwrap();
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        (status.code().unwrap(), said)
    };
    let (code, said) = run(&["log", "verify"]);
    assert!(
        code == 0 && said.contains("the next start serves; out of service from the start: none"),
        "{said}"
    );
    assert_eq!(run(&["log", "repair"]).0, 0);

    let meta = dir.path().join("meta");
    let whole = fs::read_to_string(&meta).unwrap();
    fs::write(&meta, whole.replace("salt=", "salt=1")).unwrap();
    let (code, log) = refused(&["--listen", "localhost:0", "--data-dir", data]);
    assert!(
        code == 65 && log.contains("meta: its checksum is wrong") && log.contains("jackdaw log repair"),
        "{log}"
    );
    let (code, said) = run(&["log", "verify"]);
    assert!(code == 65 && said.contains("the next start is refused with exit code 65: "), "{said}");
    let (code, said) = run(&["log", "repair"]);
    assert!(code == 65 && said.contains("--accept-loss") && said.contains("nothing was changed"), "{said}");
    // Standard input is empty, so nobody can answer yes.
    let (code, said) = run(&["log", "repair", "--accept-loss"]);
    assert!(code == 65 && said.contains("nothing was changed"), "{said}");
    assert_ne!(fs::read_to_string(&meta).unwrap(), whole);
    let (code, said) = run(&["log", "repair", "--accept-loss", "--yes"]);
    assert!(code == 0 && said.contains("repair-1"), "{said}");
    assert_eq!(fs::read_to_string(&meta).unwrap(), whole);
    drop(Running::start(&["--listen", "localhost:0", "--data-dir", data]));
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
    let (code, log) = refused(&["--listen", &listen, "--data-dir", text(other.path())]);
    assert_eq!(code, 69);
    assert!(log.contains(&format!("cannot listen at {listen}")), "{log}");
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
        let said = format!(
            "{} cannot hold the data, because {} is a file: choose a directory with --data-dir",
            data.display(),
            file.display()
        );
        assert!(log.contains(&said), "{log}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "one");
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.properties");
    fs::write(&broken, "num.partitions=many\n").unwrap();
    let missing = dir.path().join("missing.properties");
    for (arguments, code, said) in [
        (&["--bogus"][..], 64, "--bogus"),
        (&["--set", "num.partitions"], 64, "expected NAME=VALUE"),
        (&["--durability", "maybe"], 64, "fsync"),
        (&["--ephemeral", "--data-dir", "x"], 64, "cannot be used with"),
        (&["--config", text(&missing)], 74, "missing.properties"),
        (&["--config", text(&broken)], 78, "Invalid value many for configuration num.partitions"),
        (&["--set", "listeners=SSL://:9093"], 78, "only PLAINTEXT is"),
        (&["--listen", "9092"], 78, "expected NAME://HOST:PORT"),
        (&["--http", "8080"], 78, "expected HOST:PORT"),
        (&["--http", "8080"], 78, "(flag --http)"),
        (&["--set", "process.roles=controller"], 78, "Jackdaw needs no controllers"),
        (&["--set", "advertised.listeners=OTHER://a:1"], 78, "there is no listener of this name"),
        (&["--set", "jackdaw.cluster.id=my\u{7}cluster"], 78, "without control characters"),
        (&["--set", "num.partitions=many", "--print-config"], 78, "Not a number of type INT (flag --set)"),
        (&["health", "--bootstrap-server", "127.0.0.1:1"], 69, "no broker answers at 127.0.0.1:1"),
    ] {
        let (found, log) = refused(arguments);
        assert_eq!(found, code, "{arguments:?}: {log}");
        assert!(log.contains(said), "{arguments:?}: {log}");
    }
}

#[test]
fn flags_go_before_the_file_and_unknown_names_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("server.properties"), dir.path().join("data"));
    let settings = format!(
        "# as in Kafka\nprocess.roles=broker\nnum.partition=3\njackdaw.durability=interval\nlog.dirs={}\n\
         listeners=PLAINTEXT://localhost:1\n",
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
    assert!(log.contains("num.partitions is meant"), "{log}");
}

#[test]
fn print_config_shows_every_value_with_its_source_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("server.properties"), dir.path().join("data"));
    let settings = "num.partitions=1\nmessage.max.bytes=1\nlog.retention.hours=2\nssl.key.password=hush\n\
                    my.plugin.secret=hush\nnum.partition=3\n";
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
    assert!(printed.contains("unknown and without effect; num.partitions is meant?"), "{printed}");
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
    for (id, code, said) in [
        ("4L6g3nShT-eMCtK--X86sw", 65, "belongs to cluster my-kafka-cluster"),
        ("my\u{7}shop", 78, "(environment CLUSTER_ID)"),
    ] {
        let Output { status, stderr, .. } = with_id(id).output().unwrap();
        let log = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(code), "{log}");
        assert!(log.contains(said), "{log}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("meta")).unwrap(), meta);
}

#[test]
fn a_service_manager_is_notified_when_it_is_ready_and_when_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let heard = || {
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let mut command = jackdaw(&["--listen", "localhost:0", "--ephemeral"]);
    let broker = Running::spawn(command.env("NOTIFY_SOCKET", &path));
    assert_eq!(heard(), "READY=1");
    broker.signal(Signal::TERM);
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(broker.end().0, Some(0));
}

#[test]
fn health_lists_the_apis_of_a_broker_that_answers() {
    let broker = Running::start(&["--listen", "localhost:0", "--ephemeral"]);
    let address = format!("localhost:{}", broker.port());
    let Output { status, stdout, .. } =
        jackdaw(&["health", "--bootstrap-server", &format!("127.0.0.1:1,{address}")]).output().unwrap();
    let said = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(said.starts_with(&format!("{address} serves ")), "{said}");
    assert!(said.contains("  ApiVersions (18): 0 to "), "{said}");
    // Without an address it uses the listener of these settings.
    let mut command = jackdaw(&["health"]);
    command.env("KAFKA_LISTENERS", format!("PLAINTEXT://127.0.0.1:{}", broker.port()));
    assert_eq!(command.output().unwrap().status.code(), Some(0));
}

#[test]
fn a_transactional_producer_is_named_in_the_log_when_it_is_refused() {
    let broker = Running::start(&["--listen", "localhost:0", "--ephemeral"]);
    let mut client = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
    // ApiVersions 3 from "shop-client" 1.2, then FindCoordinator 1 for the transactional id "tx".
    let versions = b"\0\x12\0\x03\0\0\0\x01\0\x02me\0\x0cshop-client\x041.2\0";
    let coordinator = b"\0\x0a\0\x01\0\0\0\x02\0\x02me\0\x02tx\x01";
    for request in [&versions[..], coordinator] {
        client.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
        client.write_all(request).unwrap();
        let mut length = [0; 4];
        client.read_exact(&mut length).unwrap();
        client.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize]).unwrap();
    }
    broker.signal(Signal::TERM);
    let (_, log) = broker.end();
    let line = log.lines().find(|line| line.contains("a transactional producer was refused"));
    let named = format!(
        "peer={} client=shop-client version=1.2 client_id=me transactional_id=tx",
        client.local_addr().unwrap()
    );
    assert!(line.is_some_and(|line| line.contains(" WARN ") && line.contains(&named)), "{log}");
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
    let mut until = |said: &str| log.find(|line| line.as_ref().unwrap().contains(said)).unwrap().unwrap();
    fs::write(&file, "max.connections=8\nnum.partitions=3\n").unwrap();
    broker.signal(Signal::HUP);
    let line = until("max.connections");
    assert!(line.contains("from=\"7\" to=\"8\""), "{line}");
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
fn a_log_that_nobody_reads_holds_up_neither_clients_nor_the_end() {
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
    let give_up = clock.monotonic() + Duration::from_secs(60);
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
    for said in ["--listen", "--data-dir", "Exit codes:", "  75  "] {
        assert!(help.contains(said), "{said} stands in the help");
    }
    let version = String::from_utf8(jackdaw(&["--version"]).output().unwrap().stdout).unwrap();
    assert_eq!(version, format!("jackdaw {}\n", env!("CARGO_PKG_VERSION")));
}
