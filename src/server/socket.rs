//! The transport of a connection: a network socket, or a pipe in tests.

use std::io;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::types::FileRange;

pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Sends some bytes from the start of a range, directly from its file. `None` if the socket cannot do
    /// this, or if the bytes are not cached: they have to be read first.
    fn poll_send_file(&mut self, _: &mut Context<'_>, _: &FileRange) -> Poll<io::Result<Option<usize>>> {
        Poll::Ready(Ok(None))
    }

    /// Whether the socket keeps bytes for itself, as TLS does. A network socket keeps none.
    const KEEPS: bool = false;

    /// The bytes that the socket keeps for itself.
    fn kept(&self) -> BufferedBytes {
        BufferedBytes::default()
    }
}

/// The bytes that a socket keeps until its peer sends or reads more. A network socket keeps none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BufferedBytes {
    /// The bytes that have arrived and cannot be read before more arrive.
    pub incoming: usize,
    /// The memory for bytes that were accepted from us and not sent yet.
    pub outgoing: usize,
    /// The bytes that were sent so far.
    pub sent: u64,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::task::{Context, Poll, ready};

    use rustix::io::Errno;
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    use super::Socket;
    use crate::types::FileRange;

    /// The maximum number of bytes in one call, so that other connections have their turn.
    const AT_ONCE: usize = 1 << 20;

    impl Socket for TcpStream {
        fn poll_send_file(
            &mut self,
            context: &mut Context<'_>,
            range: &FileRange,
        ) -> Poll<io::Result<Option<usize>>> {
            loop {
                ready!(self.poll_write_ready(context))?;
                match self.try_io(Interest::WRITABLE, || send_file(self, range)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    sent => return Poll::Ready(sent),
                }
            }
        }
    }

    fn send_file(socket: &TcpStream, range: &FileRange) -> io::Result<Option<usize>> {
        let len = range.len().min(AT_ONCE);
        let Some(file) = range.descriptor() else { return Ok(None) };
        // The call waits for the disk even on a non-blocking socket, and would block all connections.
        if !range.is_cached(len)? {
            return Ok(None);
        }
        loop {
            let mut at = range.at();
            match rustix::fs::sendfile(socket, file, Some(&mut at), len) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(sent) => return Ok(Some(sent)),
                Err(Errno::INTR) => {}
                // The file system does not support it.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Socket for tokio::net::TcpStream {}

#[cfg(test)]
impl Socket for tokio::io::DuplexStream {}
