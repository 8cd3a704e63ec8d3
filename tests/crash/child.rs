//! The broker as a separate process that can be killed and started again with the same ports and data: the
//! binary, or [virtual brokers](crate::virtual_brokers), each of which can be stopped and started.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use jackdaw::time::Clock;

use crate::virtual_brokers;

/// Small enough that a round of kills has many segment rolls, snapshots and trims of the journal. A journal
/// file must hold everything that all producers can have in flight.
pub const SETTINGS: &[(&str, &str)] = &[
    ("group.initial.rebalance.delay.ms", "0"),
    ("internal.snapshot.bytes", "1000000"),
    ("internal.journal.file.bytes", "8000000"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "100"),
];

/// `JACKDAW=path` tests another binary than the one just built.
fn binary() -> String {
    std::env::var("JACKDAW").unwrap_or_else(|_| env!("CARGO_BIN_EXE_jackdaw").to_string())
}

/// A data directory and ports, whichever process serves them.
pub struct Home {
    folder: tempfile::TempDir,
    kind: Kind,
    /// The address of the first broker.
    address: Mutex<String>,
    /// The address that clients get, if it is another one.
    advertised: Option<String>,
    /// The duration of the last start.
    usual_start: Mutex<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Binary,
    VirtualBrokers,
}

impl Home {
    /// One broker, the built binary.
    pub fn of_one() -> Home {
        Home::new(Kind::Binary, "127.0.0.1:0".to_owned())
    }

    /// One broker whose clients connect to another address. The readiness line has that address, so the broker's own is
    /// chosen before the start.
    pub fn behind(advertised: String) -> Home {
        let mut home = Home::new(Kind::Binary, virtual_brokers::free_address());
        home.advertised = Some(advertised);
        home
    }

    /// Several virtual brokers in one process.
    pub fn of_virtual_brokers() -> Home {
        Home::new(Kind::VirtualBrokers, virtual_brokers::free_address())
    }

    fn new(kind: Kind, address: String) -> Home {
        Home {
            folder: tempfile::tempdir().unwrap(),
            kind,
            address: Mutex::new(address),
            advertised: None,
            usual_start: Mutex::new(Duration::from_millis(50)),
        }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn usual_start(&self) -> Duration {
        *self.usual_start.lock().unwrap()
    }

    pub fn start(&self) -> Starting<'_> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let address = self.address.lock().unwrap().clone();
        let mut command = match self.kind {
            Kind::VirtualBrokers => virtual_brokers::command(&address, &self.data()),
            Kind::Binary => {
                let mut command = Command::new(binary());
                command.arg("--listen").arg(address).arg("--data-dir").arg(self.data());
                if let Some(advertised) = &self.advertised {
                    command.arg("--set").arg(format!("advertised.listeners=PLAINTEXT://{advertised}"));
                }
                for (name, value) in SETTINGS {
                    command.arg("--set").arg(format!("{name}={value}"));
                }
                command
            }
        };
        let started = Clock::machine().monotonic();
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let output = BufReader::new(process.stdout.take().unwrap());
        let (say, lines) = mpsc::channel();
        // Ends when the process ends, because it reads its whole output.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        Starting { home: self, process: Process(process), lines, started }
    }

    /// `jackdaw log verify` finds no fault in the files.
    pub fn verifies(&self) {
        let output = self.verdict();
        assert!(output.status.success(), "log verify: {output:?}");
    }

    /// The result of `jackdaw log verify`.
    pub fn verdict(&self) -> Output {
        Command::new(binary()).args(["log", "verify"]).arg(self.data()).output().unwrap()
    }

    /// Makes the data directory of this home a backup of another one.
    pub fn becomes_a_backup_of(&self, other: &Home) {
        let mut command = Command::new(binary());
        let output = command.arg("backup").arg(self.data()).arg("--data-dir").arg(other.data()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "backup: {output:?}");
    }

    /// Makes the data directory of this home a plain copy of another one. Files that disappear meanwhile are missing.
    pub fn becomes_a_copy_of(&self, other: &Home) {
        let copied = Command::new("cp").arg("-r").arg(other.data()).arg(self.data()).output().unwrap();
        assert!(self.data().is_dir(), "{copied:?}");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the broker's last words:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}

/// A child process that is killed when the test ends, also if the test fails.
struct Process(Child);

impl Process {
    /// kill -9; the process is gone when this returns.
    fn kill(&mut self) -> ExitStatus {
        self.0.kill().unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            self.kill();
        }
    }
}

/// A process that is not ready yet.
pub struct Starting<'a> {
    home: &'a Home,
    process: Process,
    lines: Receiver<String>,
    started: Duration,
}

impl Starting<'_> {
    pub fn ready(self, limit: Duration) -> Running {
        match self.ready_within(limit) {
            Ok(running) => running,
            Err(mut starting) => {
                starting.kill();
                panic!("the broker did not become ready within {limit:?}");
            }
        }
    }

    /// Returns itself if the process is not ready within this time.
    pub fn ready_within(mut self, limit: Duration) -> Result<Running, Self> {
        let clock = Clock::machine();
        let give_up = clock.monotonic() + limit;
        loop {
            match self.lines.recv_timeout(give_up.saturating_sub(clock.monotonic())) {
                Ok(line) => {
                    if let Some(mut addresses) = addresses_in(&line) {
                        if self.home.advertised.is_some() {
                            addresses = self.home.address.lock().unwrap().clone();
                        }
                        *self.home.usual_start.lock().unwrap() = clock.monotonic() - self.started;
                        let first = addresses.split(',').next().unwrap_or_default();
                        *self.home.address.lock().unwrap() = first.to_owned();
                        let input = self.process.0.stdin.take().expect("it was piped");
                        let (process, lines, kind) = (self.process, self.lines, self.home.kind);
                        return Ok(Running { process, input, lines, addresses, kind });
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => return Err(self),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    panic!("the broker ended at its start: {:?}", self.process.0.wait());
                }
            }
        }
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// "127.0.0.1:PORT,127.0.0.1:PORT" in the readiness line of the brokers.
fn addresses_in(line: &str) -> Option<String> {
    let from = &line[line.find("127.0.0.1:")?..];
    let is_part = |letter: &char| letter.is_ascii_digit() || matches!(letter, '.' | ':' | ',');
    let addresses: String = from.chars().take_while(is_part).collect();
    Some(addresses.trim_end_matches(',').to_owned())
}

pub struct Running {
    process: Process,
    input: ChildStdin,
    lines: Receiver<String>,
    addresses: String,
    kind: Kind,
}

impl Running {
    /// The addresses of all brokers.
    pub fn addresses(&self) -> &str {
        &self.addresses
    }

    /// Begins to stop or to start one of the virtual brokers.
    pub fn send(&mut self, order: virtual_brokers::Order, broker: usize) {
        writeln!(self.input, "{} {broker}", order.word()).unwrap();
    }

    /// Waits until that is done.
    pub fn has_done(&self, order: virtual_brokers::Order, broker: usize, limit: Duration) {
        let done = virtual_brokers::done(order, broker);
        let next_line = || self.lines.recv_timeout(limit).expect("the brokers say that it is done");
        // The test harness of the child prints lines of its own, such as its running time.
        let line = std::iter::repeat_with(next_line).find(|line| virtual_brokers::is_done(line));
        assert_eq!(line, Some(done));
    }

    /// kill -9; the process is gone when this returns.
    pub fn kill(&mut self) {
        let status = self.process.kill();
        assert_eq!(status.code(), None, "the broker had ended by itself: {status}");
    }

    /// Sends SIGTERM, or ends the input of the virtual brokers; the process then exits with code 0.
    pub fn stops_cleanly(mut self, limit: Duration) {
        match self.kind {
            Kind::VirtualBrokers => drop(self.input),
            Kind::Binary => {
                let pid = self.process.0.id().to_string();
                assert!(Command::new("kill").arg(&pid).status().unwrap().success());
            }
        }
        let (say, ended) = mpsc::channel();
        std::thread::spawn(move || say.send(self.process.0.wait()));
        let status = ended.recv_timeout(limit).expect("the broker stops").unwrap();
        assert!(status.success(), "{status}");
    }
}
