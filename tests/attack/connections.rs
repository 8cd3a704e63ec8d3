//! Connections in large numbers. The broker is a process of its own, whose memory and files the system counts, and
//! its clients have several addresses, which only Linux gives a machine without being told.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use jackdaw::time;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::descriptors::Limited;
use crate::harness::{Client, PATIENCE};
use crate::victim::{MEMORY, MOST, alone, is_served, serves};

const CONNECTIONS: usize = 20_000;
/// The number of connections that begin at the same time; fewer than may wait to be accepted.
const AT_A_TIME: usize = 200;

/// Memory and files of a process, as the system counts them.
pub struct Usage {
    pub peak_kib: usize,
    files: usize,
}

impl Usage {
    pub fn of(broker: &Limited) -> Usage {
        let process = format!("/proc/{}", broker.id());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak_kib = peak.trim().strip_suffix("kB").unwrap().trim().parse().unwrap();
        Usage { peak_kib, files: fs::read_dir(format!("{process}/fd")).unwrap().count() }
    }
}

/// A connection from an address of this machine; on Linux all of 127.0.0.0/8 are.
async fn connect_from(address: &str, to: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    socket.connect(to.parse().unwrap()).await.unwrap()
}

async fn is_closed(mut socket: TcpStream) -> bool {
    let read = time::within(PATIENCE, socket.read(&mut [0])).await;
    matches!(read, Some(Ok(0) | Err(_)))
}

#[test]
fn of_20_000_connections_those_above_the_limit_of_their_address_are_closed_and_others_are_served() {
    const ALLOWED: usize = 100;
    alone(async {
        let data = tempfile::tempdir().unwrap();
        let broker = Limited::with(1024, data.path(), &[&format!("max.connections.per.ip={ALLOWED}")]);
        let mut good = Client::over(connect_from("127.0.0.2", &broker.address).await);
        good.create_topic("t").await;
        is_served(&mut good).await;
        let before = Usage::of(&broker);
        let mut held = Vec::new();
        for _ in 0..ALLOWED {
            held.push(TcpStream::connect(&broker.address).await.unwrap());
        }
        // The last of them is served, so all of them are counted.
        let mut last = Client::over(held.pop().unwrap());
        is_served(&mut last).await;
        for _ in 0..CONNECTIONS / AT_A_TIME {
            let mut flood = JoinSet::new();
            for _ in 0..AT_A_TIME {
                let address = broker.address.clone();
                flood.spawn(async move { is_closed(TcpStream::connect(address).await.unwrap()).await });
            }
            while let Some(closed) = flood.join_next().await {
                assert!(closed.unwrap());
            }
            is_served(&mut good).await;
        }
        is_served(&mut Client::over(connect_from("127.0.0.3", &broker.address).await)).await;
        is_served(&mut last).await;
        let after = Usage::of(&broker);
        assert!(after.files <= before.files + ALLOWED + 10, "{} files, {} before", after.files, before.files);
        let grown = after.peak_kib - before.peak_kib;
        assert!(grown < 32 << 10, "{grown} KiB");
    });
}

#[test]
fn of_20_000_connections_that_are_given_up_at_once_nothing_is_left() {
    /// The beginnings of requests: nothing, a part of a length, of a header, a whole request for all metadata.
    const SENT: [&[u8]; 4] =
        [b"", b"\0\0", b"\0\0\0\x0e\0\x03\0", b"\0\0\0\x0e\0\x03\0\x01\0\0\0\x07\xff\xff\xff\xff\xff\xff"];
    alone(async {
        let data = tempfile::tempdir().unwrap();
        let broker = Limited::with(1024, data.path(), &[]);
        Client::of(&broker.address).await.create_topic("t").await;
        serves(&broker.address).await;
        let before = Usage::of(&broker);
        for _ in 0..CONNECTIONS / AT_A_TIME {
            let mut flood = JoinSet::new();
            for number in 0..AT_A_TIME {
                let address = broker.address.clone();
                flood.spawn(async move {
                    let mut socket = TcpStream::connect(address).await.unwrap();
                    // It may be closed already.
                    let _ = socket.write_all(SENT[number % SENT.len()]).await;
                });
            }
            while let Some(given_up) = flood.join_next().await {
                given_up.unwrap();
            }
            serves(&broker.address).await;
        }
        let all_are_gone = async {
            while Usage::of(&broker).files > before.files + 10 {
                time::sleep(Duration::from_millis(10)).await;
            }
        };
        time::within(PATIENCE, all_are_gone).await.expect("their descriptors are closed");
        let grown = Usage::of(&broker).peak_kib - before.peak_kib;
        assert!(grown < 32 << 10, "{grown} KiB");
    });
}

#[test]
fn a_thousand_halves_of_requests_leave_room_for_whole_ones() {
    const HALVES: usize = 1_000;
    const SENT: usize = 64 << 10;
    alone(async {
        let (files, halves) = Files::for_clients(HALVES, 1);
        let data = tempfile::tempdir().unwrap();
        let broker = Limited::with(4096, data.path(), &[&format!("jackdaw.memory.max.bytes={MEMORY}")]);
        Client::of(&broker.address).await.create_topic("t").await;
        serves(&broker.address).await;
        let before = Usage::of(&broker);
        let mut half = (20i32 << 20).to_be_bytes().to_vec();
        half.resize(SENT, 0);
        let mut open = Vec::new();
        for number in 0..halves {
            let socket = TcpStream::connect(&broker.address).await.unwrap();
            // The rest stays in the socket.
            let _ = socket.try_write(&half);
            open.push(socket);
            if number % 100 == 0 {
                serves(&broker.address).await;
            }
        }
        serves(&broker.address).await;
        let grown = Usage::of(&broker).peak_kib - before.peak_kib;
        assert!(grown < MOST >> 10, "{grown} KiB");
        drop((open, files));
    });
}

/// The open files that this process may have, until it is dropped.
pub struct Files {
    before: Rlimit,
    most: usize,
}

impl Files {
    /// Files for everything but the clients.
    const OTHERS: usize = 500;

    /// Raises the limit for this many clients with so many files each, or for as many as the system allows. Returns their
    /// number, too.
    pub fn for_clients(wanted: usize, each: usize) -> (Files, usize) {
        let before = getrlimit(Resource::Nofile);
        let all = (wanted * each + Files::OTHERS) as u64;
        let allowed = before.maximum.map_or(all, |maximum| maximum.min(all));
        let current = before.current.map(|current| current.max(allowed));
        setrlimit(Resource::Nofile, Rlimit { current, ..before }).expect("it is not above the hard limit");
        let files = Files { before, most: allowed as usize };
        let clients = files.most.saturating_sub(Files::OTHERS) / each;
        assert!(clients >= 100, "{} open files are too few for this test: raise ulimit -Hn", files.most);
        if clients < wanted {
            println!(
                "{clients} clients instead of {wanted}, because the hard limit of open files is {}",
                files.most
            );
        }
        (files, clients)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Nofile, self.before);
    }
}
