//! Three virtual brokers, each of which is stopped and started while clients work. Only the library can do
//! this. So the process is this test binary, which uses the library as its users do and gets its orders from
//! the round that kills it.

use std::io::BufRead;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use jackdaw::broker::Broker;
use jackdaw::time;
use jackdaw::types::NodeId;

use crate::child::SETTINGS;

/// The number of brokers; their ids are 1, 2 and 3.
pub const BROKERS: u16 = 3;

const ADDRESS: &str = "CRASH_VIRTUAL_ADDRESS";
const DATA: &str = "CRASH_VIRTUAL_DATA";

/// An order of a round to one of the brokers.
#[derive(Clone, Copy)]
pub enum Order {
    Stop,
    Start,
}

impl Order {
    pub fn word(self) -> &'static str {
        match self {
            Order::Stop => "stop",
            Order::Start => "start",
        }
    }
}

const DONE: &str = "done: ";

/// The line that reports that an order was carried out.
pub fn done(order: Order, broker: usize) -> String {
    format!("{DONE}{} {broker}", order.word())
}

pub fn is_done(line: &str) -> bool {
    line.starts_with(DONE)
}

/// The command of the process that serves at this address.
pub fn command(address: &str, data: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "virtual_brokers::serves_until_its_input_ends", "--ignored", "--nocapture"]);
    command.env(ADDRESS, address).env(DATA, data);
    command
}

/// A port with free ports after it, below the range from which the system assigns ports.
pub fn free_address() -> String {
    loop {
        let port = 20_000 + u16::from_be_bytes(time::random_bytes()) % 12_000;
        let free = (port..port + BROKERS).map(|port| TcpListener::bind(("127.0.0.1", port)));
        if free.collect::<Result<Vec<_>, _>>().is_ok() {
            return format!("127.0.0.1:{port}");
        }
    }
}

#[test]
#[ignore = "not a test: the process that a round starts, gives orders to and kills"]
fn serves_until_its_input_ends() {
    let (Ok(address), Some(data)) = (std::env::var(ADDRESS), std::env::var_os(DATA)) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let builder = Broker::builder().listen(&address).brokers(BROKERS).data_dir(PathBuf::from(data));
    let builder = SETTINGS.iter().fold(builder, |builder, (name, value)| builder.set(name, *value));
    let broker = runtime.block_on(builder.start()).unwrap_or_else(|error| panic!("{error}"));
    println!("serving at {}", broker.bootstrap());
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (word, number) = line.split_once(' ').expect("an order");
        let number: i32 = number.parse().expect("a number");
        let done = match word {
            "stop" => runtime.block_on(broker.stop_one(NodeId(number))),
            "start" => runtime.block_on(broker.start_one(NodeId(number))),
            other => panic!("{other}"),
        };
        done.unwrap_or_else(|error| panic!("{line}: {error}"));
        println!("{DONE}{line}");
    }
    runtime.block_on(broker.stop());
}
