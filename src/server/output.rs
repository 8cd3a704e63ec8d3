//! From answers to bytes: what is ready leaves with one vectored write, in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::api::budget::Charge;

/// Pieces that one write takes along.
const PIECES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Output {
    pieces: VecDeque<Piece>,
    unwritten: usize,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// With the last piece of an answer what it was charged is given back.
    charge: Option<Charge>,
}

impl Output {
    pub(super) fn push(&mut self, frame: Vec<Bytes>, charge: Charge) {
        self.unwritten += frame.iter().map(Bytes::len).sum::<usize>();
        self.pieces.extend(frame.into_iter().map(|bytes| Piece { bytes, charge: None }));
        if let Some(last) = self.pieces.back_mut() {
            last.charge = Some(charge);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn unwritten(&self) -> usize {
        self.unwritten
    }

    /// Writes once, as much as the socket takes.
    pub(super) fn poll_write(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(&piece.bytes);
        }
        let many = self.pieces.len().min(PIECES);
        let written = ready!(Pin::new(socket).poll_write_vectored(context, &slices[..many]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unwritten -= written;
        let mut left = written;
        while let Some(first) = self.pieces.front_mut() {
            if first.bytes.len() > left {
                first.bytes.advance(left);
                break;
            }
            left -= first.bytes.len();
            self.pieces.pop_front();
        }
        Poll::Ready(Ok(written))
    }
}
