//! A proxy between clients and the broker that makes a bad network: it holds requests up, sends them twice, loses answers,
//! and sends copies of old requests again, much later and over another connection.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jackdaw::protocol::{Reader, RequestHeader};
use jackdaw::time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::value::Random;

const PRODUCE: i16 = 0;
const END_TXN: i16 = 26;
/// InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn and TxnOffsetCommit.
const OTHERS: [i16; 4] = [22, 24, 25, 28];

/// Other requests, kills among them, overtake a request that is held up for so long.
const DELAY: Duration = Duration::from_millis(100);

/// Only an EndTxn is held up, and only copies of EndTxn 5 arrive after later requests.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    _runtime: Runtime,
}

struct Shared {
    broker: Mutex<String>,
    random: Mutex<Random>,
    counts: Mutex<Counts>,
    /// Copies of EndTxn that will be sent late.
    late: Mutex<Vec<Vec<u8>>>,
}

/// The events of a round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub delayed: usize,
    pub repeated: usize,
    pub lost: usize,
    pub late: usize,
}

/// The fate of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passes,
    /// It is passed on after a while.
    Delayed,
    /// It is sent twice, and the client gets the second answer.
    Repeated,
    /// The client gets no answer, and its connection is closed.
    AnswerLost,
}

impl Proxy {
    pub fn start(seed: u64) -> Proxy {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            broker: Mutex::default(),
            random: Mutex::new(Random::new(seed)),
            counts: Mutex::default(),
            late: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // An error on one side closes both.
                tokio::spawn(async move { drop(shared.serve(client).await) });
            }
        });
        Proxy { shared, port, _runtime: runtime }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The broker behind it, which listens only at this address.
    pub fn leads_to(&self, broker: &str) {
        broker.clone_into(&mut self.shared.broker.lock().unwrap());
    }

    pub fn counts(&self) -> Counts {
        *self.shared.counts.lock().unwrap()
    }
}

impl Shared {
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut broker = self.connect().await?;
        loop {
            let request = read(&mut client).await?;
            let fate = self.fate(&request)?;
            if fate == Fate::Delayed {
                time::sleep(DELAY).await;
            }
            if fate == Fate::Repeated {
                exchange(&mut broker, &request).await?;
            }
            let answer = exchange(&mut broker, &request).await?;
            if fate == Fate::AnswerLost {
                return Ok(());
            }
            write(&mut client, &answer).await?;
            self.send_late().await;
        }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let address = self.broker.lock().unwrap().clone();
        let broker = TcpStream::connect(address).await?;
        broker.set_nodelay(true)?;
        Ok(broker)
    }

    fn fate(&self, request: &[u8]) -> io::Result<Fate> {
        let header = RequestHeader::read(&mut Reader::new(Bytes::copy_from_slice(request)));
        let header = header.map_err(|error| io::Error::other(error.to_string()))?;
        let mut random = self.random.lock().unwrap();
        let mut counts = self.counts.lock().unwrap();
        let (key, chance) = (header.api_key, random.below(100));
        let is_end = key == END_TXN;
        // A late copy of version 1 ends the next transaction (KAFKA-17754, docs/transactions.md).
        if is_end && header.api_version >= 5 && random.below(10) == 0 {
            self.late.lock().unwrap().push(request.to_vec());
        }
        Ok(match chance {
            0..10 if is_end => {
                counts.repeated += 1;
                Fate::Repeated
            }
            10..15 if is_end => {
                counts.lost += 1;
                Fate::AnswerLost
            }
            15..25 if is_end => {
                counts.delayed += 1;
                Fate::Delayed
            }
            10..11 if key == PRODUCE || OTHERS.contains(&key) => {
                counts.lost += 1;
                Fate::AnswerLost
            }
            _ => Fate::Passes,
        })
    }

    /// Sends one of the late copies, sometimes. Nobody waits for its answer.
    async fn send_late(&self) {
        let copy = {
            let (mut random, mut late) = (self.random.lock().unwrap(), self.late.lock().unwrap());
            if late.is_empty() || random.below(20) > 0 {
                return;
            }
            let chosen = random.below(late.len());
            late.swap_remove(chosen)
        };
        let Ok(mut broker) = self.connect().await else { return };
        if exchange(&mut broker, &copy).await.is_ok() {
            self.counts.lock().unwrap().late += 1;
        }
    }
}

async fn exchange(broker: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    write(broker, request).await?;
    let limit = time::within(Duration::from_secs(30), read(broker)).await;
    limit.ok_or(io::ErrorKind::TimedOut)?
}

async fn read(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; socket.read_u32().await? as usize];
    socket.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write(socket: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).expect("a frame is small");
    socket.write_all(&[&length.to_be_bytes(), frame].concat()).await
}
