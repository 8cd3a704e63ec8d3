//! Requests that wait because their clients wish it: long polls, and members of groups that wait for others.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use jackdaw::api::connection::ConnectionInfo;
use jackdaw::api::context::Services;
use jackdaw::api::{Answer, Api, Guarded, Later, Reply, TABLE};
use jackdaw::config::{BrokerSettings, Given};
use jackdaw::protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use jackdaw::protocol::messages::fetch_request::FetchRequest;
use jackdaw::protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};
use jackdaw::protocol::{Message, Reader, Request, RequestHeader, Writer, read_response_header};
use jackdaw::stop::Stop;
use jackdaw::storage::{Location, NewTopic, Store, StoreOptions};
use jackdaw::time::{self, Clock};
use jackdaw::types::Piece;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::unconstrained;

use crate::counting::{self, Watch};
use crate::harness::{PATIENCE, batch, fetch_from, only, produce_to};
use crate::victim::{MEMORY, MOST, Victim, alone, framed_by, join};

const FETCH: i16 = 1;
const JOIN_GROUP: i16 = 11;
const ALTER_CLIENT_QUOTAS: i16 = 49;

/// A fetch that waits for the first record of a partition of `t`.
fn long_poll() -> FetchRequest {
    FetchRequest { max_wait_ms: 600_000, ..fetch_from("t", 1, 0) }
}

fn body<R: Request>(version: i16, request: &R) -> Bytes {
    let mut body = Writer::new();
    request.encode(&mut body, version).unwrap();
    body.into_bytes()
}

/// Sends each of these over a connection of its own, and waits until the broker has begun to serve all of them.
async fn begin_all(victim: &Victim, key: i16, frames: Vec<Vec<u8>>) -> Vec<TcpStream> {
    let requests = &victim.node.requests;
    let begun = || -> u64 {
        let of_key = requests.iter().find(|of_key| of_key.row.key == key).expect("it is served");
        of_key.versions().map(|(_, count)| count).sum()
    };
    let wanted = begun() + frames.len() as u64;
    let mut open = Vec::new();
    for frame in frames {
        let mut socket = TcpStream::connect(victim.address()).await.unwrap();
        socket.write_all(&frame).await.unwrap();
        open.push(socket);
    }
    let all = async {
        while begun() < wanted {
            time::sleep(Duration::from_millis(10)).await;
        }
    };
    time::within(PATIENCE, all).await.unwrap_or_else(|| panic!("{} of {wanted} are begun", begun()));
    open
}

#[test]
fn long_polls_with_long_names_leave_the_memory_for_small_requests_to_others() {
    const CLIENTS: usize = 400;
    alone(async {
        let victim = Victim::start().await;
        // Together they are larger than that memory.
        let poll = framed_by(Some(&"n".repeat(15_000)), FETCH, 12, &body(12, &long_poll()));
        assert!(poll.len() * CLIENTS > MEMORY / 8 / 8);
        let watch = Watch::new();
        let open = begin_all(&victim, FETCH, vec![poll; CLIENTS]).await;
        victim.serves_a_good_client().await;
        assert!(watch.most() < MOST, "{} bytes", watch.most());
        drop(open);
    });
}

#[test]
fn requests_behind_long_polls_leave_the_memory_for_small_requests_to_others() {
    const CLIENTS: usize = 400;
    alone(async {
        let victim = Victim::start().await;
        let poll = framed_by(None, FETCH, 12, &body(12, &long_poll()));
        let behind = framed_by(Some(&"n".repeat(15_000)), FETCH, 12, &body(12, &long_poll()));
        let open = begin_all(&victim, FETCH, vec![[poll, behind].concat(); CLIENTS]).await;
        victim.serves_a_good_client().await;
        drop(open);
    });
}

#[test]
fn members_that_wait_with_large_subscriptions_leave_the_memory_for_large_requests_to_others() {
    const MEMBERS: usize = 8;
    const SUBSCRIPTION: usize = 900_000;
    alone(async {
        let victim = Victim::with(&[("group.initial.rebalance.delay.ms", "300000")]).await;
        let frames = (0..MEMBERS).map(|number| {
            let join = join(&format!("g{number}"), &[7; SUBSCRIPTION]);
            framed_by(None, JOIN_GROUP, 3, &body(3, &join))
        });
        let watch = Watch::new();
        let open = begin_all(&victim, JOIN_GROUP, frames.collect()).await;
        let mut good = victim.node.client().await;
        let produced = good.produce("t", 0, batch(&[&"v".repeat(500_000)])).await;
        assert_eq!(produced.error_code, 0);
        assert!(watch.most() < MOST, "{} bytes", watch.most());
        drop(open);
    });
}

/// A broker without a server, so that more requests can wait than a process may have connections.
struct Served {
    api: Api,
    connection: Arc<ConnectionInfo>,
    _stop: Stop,
}

impl Served {
    async fn start() -> Served {
        let mut given = Given::default();
        given.set("jackdaw.memory.max.bytes", MEMORY.to_string());
        let settings = Arc::new(BrokerSettings::load(given).unwrap());
        let store = Store::open(StoreOptions::new(Location::Memory, Arc::clone(&settings))).unwrap();
        let new = NewTopic { name: "t".to_owned(), partitions: 2, overrides: BTreeMap::new() };
        store.create_topic(new).await.unwrap();
        let (stop, stopping) = Stop::new();
        let listener = Arc::new(settings.listeners[0].clone());
        let (services, _) = Services::start(store, settings, Clock::machine(), stopping);
        let (peer, local) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:9092".parse().unwrap());
        let connection = Arc::new(ConnectionInfo::new(1, peer, local, listener));
        Served { api: Api::new(Arc::new(services)), connection, _stop: stop }
    }

    fn begin(&self, key: i16, version: i16, body: Bytes) -> Guarded<Reply<Answer>> {
        self.begin_by("", key, version, body)
    }

    fn begin_by(&self, client: &str, key: i16, version: i16, body: Bytes) -> Guarded<Reply<Answer>> {
        let row = TABLE.iter().find(|row| row.key == key).unwrap();
        let client_id = Some(client.to_owned());
        let header =
            RequestHeader { api_key: key, api_version: version, client_id, ..RequestHeader::default() };
        self.api.serve(row, Arc::clone(&self.connection), header, Reader::new(body)).reply
    }

    /// Begins long polls, and returns them with the memory that each takes.
    async fn wait_all(&self, count: usize, client: &str) -> (Vec<Later<Answer>>, isize) {
        let poll = body(12, &long_poll());
        let before = counting::held();
        let mut waiting = Vec::with_capacity(count);
        for _ in 0..count {
            let reply = self.begin_by(client, FETCH, 12, poll.clone()).await;
            let Some(Reply::Later(mut answer)) = reply else { panic!("it waits for a record") };
            let waits = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context).is_pending()));
            assert!(waits.await);
            waiting.push(answer);
        }
        let each = (counting::held() - before) / count.cast_signed();
        (waiting, each)
    }
}

fn response<R: Message>(key: i16, version: i16, answer: Answer) -> R {
    let Ok(answer) = answer else { panic!("it is answered") };
    let frame: Vec<u8> = answer.frame.iter().filter_map(Piece::as_bytes).flatten().copied().collect();
    let mut input = Reader::new(Bytes::from(frame).slice(4..));
    read_response_header(&mut input, key, version).unwrap();
    R::decode(&mut input, version).unwrap()
}

#[test]
fn a_hundred_thousand_requests_that_wait_take_little_memory_and_one_record_ends_them_all() {
    const WAITING: usize = 100_000;
    alone(unconstrained(async {
        let served = Served::start().await;
        let (waiting, each) = served.wait_all(WAITING, "").await;
        println!("{each} bytes each");
        assert!(each < 2 << 10, "{each} bytes for each request that waits");

        let produced = served.begin(0, 12, body(12, &produce_to("t", 1, batch(&["at last"])))).await;
        let Some(Reply::Later(produced)) = produced else { panic!("it waits for the log") };
        assert!(produced.await.is_ok());
        let all = async {
            for answer in waiting {
                assert_eq!(only(response(FETCH, 12, answer.await)).high_watermark, 1);
            }
        };
        time::within(PATIENCE, all).await.expect("they end with the record, and not when their time is over");
    }));
}

#[test]
fn a_request_that_waits_keeps_no_client_id_while_there_are_quotas() {
    alone(unconstrained(async {
        let served = Served::start().await;
        let all_clients = EntityData { entity_type: "client-id".to_owned(), entity_name: None };
        let rate = OpData { key: "consumer_byte_rate".to_owned(), value: 1e6, remove: false };
        let entries = vec![EntryData { entity: vec![all_clients], ops: vec![rate] }];
        let alter = AlterClientQuotasRequest { entries, validate_only: false };
        let altered = served.begin(ALTER_CLIENT_QUOTAS, 1, body(1, &alter)).await;
        let Some(Reply::Now(altered)) = altered else { panic!("nothing else has to wait") };
        let altered: AlterClientQuotasResponse = response(ALTER_CLIENT_QUOTAS, 1, altered);
        assert_eq!(altered.entries[0].error_code, 0);
        let (waiting, each) = served.wait_all(100, &"n".repeat(30_000)).await;
        assert!(each < 2 << 10, "{each} bytes for each request that waits");
        drop(waiting);
    }));
}
