//! Clients that read slowly from a socket that keeps bytes for itself, as one with TLS does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::budget::Budget;
use crate::server::socket::BufferedBytes;

/// The most bytes that the socket keeps.
const MOST: usize = 64 << 10;

struct Keeping {
    stream: DuplexStream,
    kept: Vec<u8>,
    sent: u64,
}

impl Socket for Keeping {
    const KEEPS: bool = true;

    fn kept(&self) -> BufferedBytes {
        let outgoing = if self.kept.is_empty() { 0 } else { MOST };
        BufferedBytes { incoming: 0, outgoing, sent: self.sent }
    }
}

impl Keeping {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.kept))?;
            self.kept.drain(..sent);
            self.sent += sent as u64;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Keeping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Keeping {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(error)) = self.poll_send(context) {
            return Poll::Ready(Err(error));
        }
        let taken = bytes.len().min(MOST - self.kept.len());
        self.kept.extend_from_slice(&bytes[..taken]);
        if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(taken)) }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn connect(stage: &Stage) -> Client {
    let (stream, theirs) = duplex(4 << 10);
    stage.serve(Keeping { stream: theirs, kept: Vec::new(), sent: 0 }, stream, |info| info)
}

async fn read_each_second(client: &mut Client, bytes: usize, seconds: usize) {
    for _ in 0..seconds {
        pass(Duration::from_secs(1)).await;
        client.stream.read_exact(&mut vec![0; bytes]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_byte_by_byte_is_given_up() {
    let mut client = connect(&Stage::new());
    client.send(&ask(ORDINARY, 1, "large", &Gate::new())).await;
    read_each_second(&mut client, 1, 60).await;
    assert_eq!(client.rest().await.1, End::NotReading);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_byte_by_byte_makes_room_for_one_that_is_read() {
    let stage = Stage::with(|shared| shared.answers = Budget::new(LARGE_ANSWER));
    let gate = Gate::new();
    let mut stuck = connect(&stage);
    stuck.send(&ask(BULKY, 1, "large", &gate)).await;
    settle().await;
    let mut good = stage.connect();
    good.send(&ask(BULKY, 2, "now", &gate)).await;
    read_each_second(&mut stuck, 1, 5).await;
    assert_eq!(good.answer().await.0, 2);
    assert_eq!(stuck.rest().await.1, End::MadeRoom);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_answer_makes_no_room_while_it_is_read_from_the_bytes_that_the_socket_keeps() {
    const BUDGET: usize = 1 << 20;
    const LEFT: usize = 56 << 10;
    let stage = Stage::with(|shared| shared.answers = Budget::new(BUDGET));
    let gate = Gate::new();
    let mut slow = connect(&stage);
    slow.send(&ask(BULKY, 1, "large", &gate)).await;
    slow.stream.read_exact(&mut vec![0; LARGE_ANSWER - LEFT]).await.unwrap();
    settle().await;
    let others = stage.shared.answers.charge_at_once(BUDGET);
    let mut good = stage.connect();
    good.send(&ask(BULKY, 2, "now", &gate)).await;
    read_each_second(&mut slow, LEFT / 4, 4).await;
    assert!(!slow.served.is_finished(), "it reads enough");
    drop(others);
    assert_eq!(good.answer().await.0, 2);
}
