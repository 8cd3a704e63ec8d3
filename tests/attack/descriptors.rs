//! Connections and segments share the files that a process may have open: more clients than fit wait, and
//! writing goes on.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use jackdaw::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use tokio::net::TcpStream;

use crate::harness::{Client, batch};
use crate::victim::alone;

pub struct Limited {
    process: Child,
    pub address: String,
}

/// A broker that may have `files` files open, or as many as the system allows.
fn command(files: u32, data: &Path) -> Command {
    let mut command = Command::new("sh");
    let listener = "--set listeners=PLAINTEXT://127.0.0.1:0";
    let serve = format!("ulimit -n {files} 2>/dev/null; exec \"$0\" serve {listener} --data-dir \"$@\"");
    command.args(["-c", &serve, env!("CARGO_BIN_EXE_jackdaw")]).arg(data);
    command
}

impl Limited {
    fn start(files: u32, data: &Path) -> Limited {
        Limited::with(files, data, &[])
    }

    pub fn with(files: u32, data: &Path, settings: &[&str]) -> Limited {
        let set = settings.iter().flat_map(|setting| ["--set", setting]);
        let mut process = command(files, data).args(set).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let address = ready.split_whitespace().find(|word| word.contains("127.0.0.1:"));
        let address = address.expect("a line that says where").trim_end_matches(',').to_owned();
        Limited { process, address }
    }

    #[cfg(target_os = "linux")]
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn check(files: u32) {
    const PARTITIONS: i32 = 150;
    let data = tempfile::tempdir().unwrap();
    let broker = Limited::start(files, data.path());
    let mut good = Client::of(&broker.address).await;
    let topic = CreatableTopic {
        name: "t".to_owned(),
        num_partitions: PARTITIONS,
        replication_factor: 1,
        ..Default::default()
    };
    let create = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    assert_eq!(good.call(7, create).await.topics[0].error_code, 0);

    let mut flood = Vec::new();
    for _ in 0..files + 100 {
        // Those whom the system itself turns away are no concern of ours.
        flood.extend(TcpStream::connect(&broker.address).await);
    }
    for round in 0..2 {
        for partition in 0..PARTITIONS {
            let produced = good.produce("t", partition, batch(&["a record"])).await;
            assert_eq!((produced.error_code, produced.base_offset), (0, round), "at {files} files");
        }
    }
    drop(flood);
    drop(broker);

    // A start writes to all of them again.
    let broker = Limited::start(files, data.path());
    let mut good = Client::of(&broker.address).await;
    for partition in 0..PARTITIONS {
        let fetched = good.fetch("t", partition, 0).await;
        assert_eq!((fetched.error_code, fetched.high_watermark), (0, 2), "at {files} files");
    }
}

#[test]
fn with_64_files_writing_goes_on() {
    alone(async {
        check(64).await;
    });
}

#[test]
fn with_128_files_writing_goes_on() {
    alone(async {
        check(128).await;
    });
}

#[test]
fn with_1024_files_writing_goes_on() {
    alone(async {
        check(1024).await;
    });
}

#[test]
fn with_too_few_files_the_start_is_refused_in_plain_words() {
    let data = tempfile::tempdir().unwrap();
    let mut process = command(40, data.path()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = String::new();
    process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(78), "{log}");
    assert!(log.contains("the limit of open files is 40, and the broker needs at least 60"), "{log}");
}
