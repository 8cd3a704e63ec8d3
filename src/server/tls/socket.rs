//! The socket of a connection with TLS.
//!
//! TLS keeps bytes: those of a record that has not arrived completely, and those that are encrypted and not sent yet.
//! They are charged like other bytes that wait for the client, so it says how many it keeps.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::server::socket::{BufferedBytes, Socket};

/// The maximum number of bytes that are encrypted before they are sent: rustls's limit, and the record that exceeds it.
const OUTGOING: usize = (64 << 10) + (16 << 10);
/// Type, version and length of a record.
const HEADER: usize = 5;

pub(super) struct TlsSocket(TlsStream<Wire>);

/// The network socket below TLS. It follows the records of the client.
pub(super) struct Wire {
    stream: TcpStream,
    /// The start of the client's stream, which has been read already.
    ahead: Bytes,
    records: Records,
    sent: u64,
}

/// The place in the client's stream of records.
#[derive(Debug, Default)]
struct Records {
    header: Vec<u8>,
    /// The bytes of the record that are still to come, once its header is complete.
    left: usize,
    /// The bytes of the incomplete record that have arrived.
    held: usize,
}

impl TlsSocket {
    pub(super) fn new(stream: TlsStream<Wire>) -> TlsSocket {
        TlsSocket(stream)
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream, ahead: Bytes) -> Wire {
        Wire { stream, ahead, records: Records::default(), sent: 0 }
    }
}

impl Socket for TlsSocket {
    const KEEPS: bool = true;

    fn kept(&self) -> BufferedBytes {
        let (wire, session) = self.0.get_ref();
        let outgoing = if session.wants_write() { OUTGOING } else { 0 };
        BufferedBytes { incoming: wire.records.held, outgoing, sent: wire.sent }
    }
}

impl Records {
    fn arrived(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let (header, rest) = bytes.split_at(bytes.len().min(HEADER - self.header.len()));
                self.header.extend_from_slice(header);
                self.held += header.len();
                bytes = rest;
                let [_, _, _, high, low] = self.header[..] else { return };
                self.left = usize::from(u16::from_be_bytes([high, low]));
            } else {
                let len = bytes.len().min(self.left);
                self.left -= len;
                self.held += len;
                bytes = &bytes[len..];
            }
            if self.left == 0 {
                self.header.clear();
                self.held = 0;
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = if self.ahead.is_empty() {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        } else {
            let len = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(len));
            Poll::Ready(Ok(()))
        };
        self.records.arrived(&buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Wire {
    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.sent += *bytes as u64;
        }
        written
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(context, buffer) {
            // Many clients close without the end of TLS. Kafka's frames have lengths, so nothing is cut off unnoticed.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => read,
        }
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_an_incomplete_record_are_counted_until_it_is_complete() {
        let mut records = Records::default();
        let first = [0x17, 3, 3, 0, 4, 1, 2, 3, 4];
        let second = [0x17, 3, 3, 1, 0];
        records.arrived(&first[..3]);
        assert_eq!(records.held, 3);
        records.arrived(&first[3..8]);
        assert_eq!(records.held, 8);
        records.arrived(&[&first[8..], &second[..]].concat());
        assert_eq!(records.held, 5);
        records.arrived(&[0; 255]);
        assert_eq!(records.held, 260);
        records.arrived(&[&[0][..], &[0x15, 3, 3, 0, 0]].concat());
        assert_eq!(records.held, 0);
    }
}
