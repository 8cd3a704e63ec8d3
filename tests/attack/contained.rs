//! The worst of the attacks on a process that a control group limits to 256 MiB: the kernel kills it if it takes more.
//! If no group can be made, they are played against a broker in this process, whose bytes are counted.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use jackdaw::protocol::messages::metadata_request::MetadataRequest;

use crate::amplify::{Attack, Names, every_array};
use crate::harness::Client;
use crate::victim::{MEMORY, MOST, Victim, alone, commit, framed, play, serves};

/// The clients that play an attack at the same time.
const CLIENTS: usize = 8;

/// A control group with a limit of memory, gone when it is dropped.
struct Group(PathBuf);

impl Group {
    /// Below the group of this process; `None` where that is not allowed or has no limits.
    fn make() -> Option<Group> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (root, limits) = match parts.next()? {
                "" => ("/sys/fs/cgroup", &["memory.max", "memory.swap.max"]),
                "memory" => {
                    ("/sys/fs/cgroup/memory", &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"])
                }
                _ => return None,
            };
            let own = parts.next()?.trim_start_matches('/').to_owned();
            let path = Path::new(root).join(own).join(format!("jackdaw-attack-{}", std::process::id()));
            fs::create_dir(&path).ok()?;
            let group = Group(path);
            fs::write(group.0.join(limits[0]), MEMORY.to_string()).ok()?;
            // Swap is not there everywhere.
            let most_with_swap = if root.ends_with("memory") { MEMORY } else { 0 };
            let _ = fs::write(group.0.join(limits[1]), most_with_swap.to_string());
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

struct Contained {
    process: Child,
    address: String,
    group: Option<Group>,
    _data: tempfile::TempDir,
}

impl Contained {
    fn start(group: Group) -> Contained {
        let data = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_jackdaw"))
            .args(["serve", "--listen", "127.0.0.1:0", "--durability", "os", "--data-dir"])
            .arg(data.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        fs::write(group.0.join("cgroup.procs"), process.id().to_string()).unwrap();
        let mut ready = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let address = ready.split_whitespace().find(|word| word.contains("127.0.0.1:"));
        let address = address.expect("a line that says where").trim_end_matches(',').to_owned();
        Contained { process, address, group: Some(group), _data: data }
    }

    fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        drop(self.group.take());
    }
}

#[test]
fn a_broker_of_256_mib_outlives_them_all() {
    alone(async {
        match Group::make() {
            Some(group) => outlives(Contained::start(group)).await,
            None => {
                println!("no control group can be made here, so the bytes of a broker are counted");
                takes_little(&Victim::start().await).await;
            }
        }
    });
}

async fn outlives(mut broker: Contained) {
    let mut client = Client::of(&broker.address).await;
    client.create_topic("t").await;
    for attack in worst(&mut client).await {
        let request = Bytes::from(framed(attack.key, attack.version, &attack.body));
        let address = broker.address.parse().unwrap();
        let playing: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(play(address, request.clone()))).collect();
        for played in playing {
            played.await.unwrap();
        }
        assert!(broker.is_alive(), "it was killed: {}", attack.name);
    }
    serves(&broker.address).await;
    assert!(broker.is_alive());
}

async fn takes_little(victim: &Victim) {
    for attack in worst(&mut victim.node.client().await).await {
        let cost = victim.cost_of(&attack, CLIENTS).await;
        assert!(cost < MOST, "{cost} bytes for {}", attack.name);
    }
}

/// The attacks that take most, on the topic `t` and a group with an offset that has a long text.
async fn worst(client: &mut Client) -> Vec<Attack> {
    let metadata = client.call(12, MetadataRequest { topics: None, ..Default::default() }).await;
    let topic_id = metadata.topics[0].topic_id;
    let long = "m".repeat(4096);
    assert_eq!(client.call(8, commit("g", -1, "", &long)).await.topics[0].partitions[0].error_code, 0);
    let mut attacks = every_array(&Names::of("t", topic_id, "g"), 900 << 10);
    attacks.retain(|attack| {
        ["OffsetFetch", "DescribeConfigs", "DescribeGroups", "FindCoordinator", "OffsetCommit", "Fetch"]
            .iter()
            .any(|key| attack.name.starts_with(&format!("{key} v")))
    });
    assert!(!attacks.is_empty());
    attacks
}
