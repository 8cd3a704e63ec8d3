//! From bytes to frames.
//!
//! Small frames are copied out of one read buffer that is reused; a frame of 16 KiB or more is read into
//! its own buffer. So every frame owns its bytes, and a slice of records never keeps much more than
//! itself alive. A buffer grows with the bytes that have arrived. The size that a client declares is
//! never allocated, unless the Produce request before was as large. Memory is charged before it is allocated.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::budget::{AwaitedMemory, Budget, Charge, ConnectionId};

/// A frame of at least this size has its own buffer.
pub(super) const LARGE: usize = 16 << 10;
/// The size of the read buffer of a quiet and of a busy connection.
const READ_LEAST: usize = 2 << 10;
const READ_MOST: usize = 64 << 10;
/// The memory for the first large frame of a connection before its bytes have arrived.
const FIRST_ROOM: usize = 64 << 10;
/// Memory for the start of the frame after a large one, which saves a read.
const SPILL: usize = 4 << 10;
/// The shortest request: key, version, correlation id.
const SHORTEST: usize = 8;
const PRODUCE: i16 = 0;
/// The maximum size of all requests but Produce.
const MOST_BUT_PRODUCE: usize = 8 << 20;
/// The memory of a decoded request as a multiple of its bytes. Records in Produce are not decoded.
const DECODED: usize = 8;

/// The budgets for requests. Large ones cannot take the memory of small ones, so that heartbeats still
/// arrive while a client fills the memory.
#[derive(Debug)]
pub(super) struct RequestBudgets {
    pub small: Arc<Budget>,
    pub large: Arc<Budget>,
}

/// The bytes of one connection that are not yet a request.
#[derive(Debug)]
pub(super) struct Input {
    id: ConnectionId,
    budgets: Arc<RequestBudgets>,
    most: usize,
    /// Bytes that do not belong to a large frame.
    read: BytesMut,
    /// The intended size of the read buffer, and the charge for it beyond the minimum.
    size: usize,
    grown: Charge,
    large: Option<Large>,
    /// The memory that a Produce request gets at once. It follows the size of the one before, so that the
    /// buffer of a steady producer is never copied to grow. Other requests are charged several times their
    /// size, so they get no memory in advance.
    produce_room: usize,
    /// The buffer of a small request, and that of a large one, while the rest is awaited.
    small_waits: AwaitedMemory,
    large_waits: AwaitedMemory,
    /// There was no memory to read into.
    starved: bool,
    /// The number of bytes that have arrived so far.
    pub(super) arrived: u64,
    any_frame: bool,
}

#[derive(Debug)]
struct Large {
    /// The frame without its length, and possibly some bytes after it.
    bytes: Vec<u8>,
    declared: usize,
    factor: usize,
    charge: Charge,
}

/// A whole frame without its length.
#[derive(Debug)]
pub(super) struct RawFrame {
    pub bytes: Bytes,
    pub charge: Charge,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum FrameError {
    Stranger(Stranger),
    TooShort { declared: i32 },
    TooLong { declared: usize, key: Option<i16>, most: usize },
    TooLongBeforeLogin { declared: usize, most: usize },
}

/// Traffic of another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    Tls,
    Http,
}

/// The kind of frame that comes next, which decides its size.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    Request,
    RequestBeforeLogin {
        most: usize,
    },
    /// A message of a login, without a header.
    Token {
        most: usize,
    },
}

/// The next frame, or the reason why there is none yet.
#[derive(Debug)]
pub(super) enum NextFrame {
    Frame(RawFrame),
    NeedsBytes,
    NeedsRoom,
}

impl Input {
    pub(super) fn new(id: ConnectionId, budgets: Arc<RequestBudgets>, most: usize) -> Input {
        Input {
            id,
            grown: budgets.small.take(0),
            small_waits: budgets.small.awaited(id),
            large_waits: budgets.large.awaited(id),
            budgets,
            most,
            read: BytesMut::new(),
            size: READ_LEAST,
            large: None,
            produce_room: FIRST_ROOM,
            starved: false,
            arrived: 0,
            any_frame: false,
        }
    }

    /// Whether a frame has begun but is not complete.
    pub(super) fn is_amid_frame(&self) -> bool {
        match &self.large {
            Some(large) => large.bytes.len() < large.declared,
            None => !self.read.is_empty(),
        }
    }

    /// Whether the incomplete frame has to free its memory.
    pub(super) fn is_shed(&self) -> bool {
        self.small_waits.is_shed() || self.large_waits.is_shed()
    }

    /// The bytes in the read buffer wait for as long as the peer wishes.
    pub(super) fn wait_behind(&mut self, context: &mut Context<'_>) {
        if self.grown.bytes() > 0 && !self.read.is_empty() {
            self.small_waits.moved(0, self.grown.bytes(), context.waker());
        }
    }

    pub(super) fn end_wait(&mut self) {
        self.small_waits.settle();
    }

    /// Returns the next complete frame and removes it from the buffer.
    pub(super) fn next(
        &mut self,
        expected: Expected,
        context: &mut Context<'_>,
    ) -> Result<NextFrame, FrameError> {
        let next = self.next_frame(expected, context)?;
        // Bytes alone do not end the wait for a small request. Without memory the peer cannot go on.
        if self.large.is_some() || !matches!(next, NextFrame::NeedsBytes) {
            self.small_waits.settle();
        }
        Ok(next)
    }

    fn next_frame(&mut self, expected: Expected, context: &mut Context<'_>) -> Result<NextFrame, FrameError> {
        if self.large.is_some() {
            return Ok(self.next_large());
        }
        let Some(declared) = self.read.first_chunk::<4>().copied() else { return Ok(NextFrame::NeedsBytes) };
        if !self.any_frame
            && let Some(stranger) = recognise(&self.read)
        {
            return Err(FrameError::Stranger(stranger));
        }
        let declared = i32::from_be_bytes(declared);
        let key = self.read.get(4..6).map(|key| i16::from_be_bytes([key[0], key[1]]));
        let length = self.bounded(declared, key, expected)?;
        let is_whole = self.read.len() - 4 >= length;
        if length < LARGE {
            if !is_whole {
                return Ok(NextFrame::NeedsBytes);
            }
            let charge = self.budgets.small.charge(self.id, length, context.waker());
            if charge.is_none() && self.grown.bytes() == 0 {
                return Ok(NextFrame::NeedsRoom);
            }
            self.read.advance(4);
            let bytes = Bytes::copy_from_slice(&self.read[..length]);
            self.read.advance(length);
            self.any_frame = true;
            let charge = charge.unwrap_or_else(|| self.give_up_growth(length));
            return Ok(NextFrame::Frame(RawFrame { bytes, charge }));
        }
        let Some(key) = key else { return Ok(NextFrame::NeedsBytes) };
        let (factor, first) = if key == PRODUCE { (1, self.produce_room) } else { (DECODED, FIRST_ROOM) };
        let room = if is_whole { length } else { (length + SPILL).min(first) };
        let Some(charge) = self.budgets.large.charge(self.id, room * factor, context.waker()) else {
            return Ok(NextFrame::NeedsRoom);
        };
        let mut bytes = Vec::with_capacity(room);
        self.read.advance(4);
        let here = self.read.len().min(length);
        bytes.extend_from_slice(&self.read[..here]);
        self.read.advance(here);
        if here < length {
            // A client that sends only the beginning also holds memory.
            self.large_waits.moved(0, charge.bytes(), context.waker());
        }
        self.large = Some(Large { bytes, declared: length, factor, charge });
        self.any_frame = true;
        Ok(self.next_large())
    }

    /// Makes the read buffer small again in favour of a frame of this length. Connections whose buffers have used up all
    /// memory would otherwise wait for each other.
    fn give_up_growth(&mut self, length: usize) -> Charge {
        self.budgets.small.forget(self.id);
        self.read = BytesMut::from(&self.read[..]);
        self.size = READ_LEAST;
        let rest = self.read.len().saturating_sub(READ_LEAST);
        let charge = self.budgets.small.charge_at_once(length.min(self.grown.bytes().saturating_sub(rest)));
        self.grown.shrink(rest);
        charge
    }

    fn next_large(&mut self) -> NextFrame {
        match self.large.take() {
            Some(mut large) if large.bytes.len() >= large.declared => {
                self.read.extend_from_slice(&large.bytes[large.declared..]);
                large.bytes.truncate(large.declared);
                if large.factor == 1 {
                    self.produce_room = (large.declared + SPILL).max(FIRST_ROOM);
                }
                self.large_waits.settle();
                NextFrame::Frame(RawFrame { bytes: large.bytes.into(), charge: large.charge })
            }
            large => {
                self.large = large;
                NextFrame::NeedsBytes
            }
        }
    }

    fn bounded(&self, declared: i32, key: Option<i16>, expected: Expected) -> Result<usize, FrameError> {
        let Ok(length) = usize::try_from(declared) else { return Err(FrameError::TooShort { declared }) };
        let (shortest, most) = match expected {
            Expected::Request => (SHORTEST, self.most),
            Expected::RequestBeforeLogin { most } => (SHORTEST, self.most.min(most)),
            Expected::Token { most } => (0, self.most.min(most)),
        };
        if length < shortest {
            return Err(FrameError::TooShort { declared });
        }
        let most = match key {
            Some(PRODUCE) | None => most,
            Some(_) => most.min(MOST_BUT_PRODUCE),
        };
        if length <= most {
            return Ok(length);
        }
        Err(match expected {
            Expected::Request => FrameError::TooLong { declared: length, key, most },
            Expected::RequestBeforeLogin { .. } | Expected::Token { .. } => {
                FrameError::TooLongBeforeLogin { declared: length, most }
            }
        })
    }

    /// Reads once. `Ready(Ok(0))` is the end of the stream.
    pub(super) fn poll_read(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.starved = !self.make_room(context);
        if self.starved {
            return Poll::Pending;
        }
        let read = self.poll_read_into_room(socket, context);
        match (&read, &self.large) {
            (Poll::Ready(Ok(bytes)), large) => {
                self.arrived += *bytes as u64;
                if self.small_waits.is_waiting() {
                    self.small_waits.moved(*bytes, self.grown.bytes(), context.waker());
                }
                if let Some(large) = large.as_ref().filter(|large| large.bytes.len() < large.declared) {
                    self.large_waits.moved(*bytes, large.charge.bytes(), context.waker());
                }
            }
            // The rest of a small request is awaited.
            (Poll::Pending, None) if self.grown.bytes() > 0 && !self.read.is_empty() => {
                if !self.small_waits.is_waiting() {
                    self.small_waits.moved(0, self.grown.bytes(), context.waker());
                }
            }
            (Poll::Pending | Poll::Ready(Err(_)), _) => {}
        }
        read
    }

    fn poll_read_into_room(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match &mut self.large {
            Some(large) => {
                let room = large.bytes.capacity().min(large.declared + SPILL) - large.bytes.len();
                pin!(socket.read_buf(&mut (&mut large.bytes).limit(room))).poll(context)
            }
            None => {
                let room = self.read.capacity() - self.read.len();
                let read = pin!(socket.read_buf(&mut (&mut self.read).limit(room))).poll(context);
                match read {
                    Poll::Ready(Ok(bytes)) if bytes == room => self.size = (self.size * 2).min(READ_MOST),
                    Poll::Ready(Ok(bytes)) if bytes < self.size / 4 => {
                        self.size = (self.size / 2).max(READ_LEAST);
                    }
                    Poll::Ready(_) | Poll::Pending => {}
                }
                read
            }
        }
    }

    /// Whether reading waits for memory.
    pub(super) fn is_starved(&self) -> bool {
        self.starved
    }

    /// Whether the buffers have grown and [`Input::rest`] makes them small again.
    pub(super) fn can_rest(&self) -> bool {
        self.read.is_empty() && (self.grown.bytes() > 0 || self.produce_room > FIRST_ROOM)
    }

    pub(super) fn rest(&mut self) {
        if self.can_rest() {
            self.produce_room = FIRST_ROOM;
            self.read = BytesMut::new();
            self.size = READ_LEAST;
            self.grown.shrink(0);
        }
    }

    fn make_room(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(large) = &mut self.large {
            return large.make_room(self.id, &self.budgets.large, context);
        }
        // A frame that has begun must fit; a larger buffer is better for a busy connection.
        let frame = match self.read.first_chunk::<4>() {
            Some(declared) => 4 + (i32::from_be_bytes(*declared).unsigned_abs() as usize).min(LARGE),
            None => 0,
        };
        let needed = frame.saturating_sub(READ_LEAST + self.grown.bytes());
        if needed > 0 {
            let Some(charge) = self.budgets.small.charge(self.id, needed, context.waker()) else {
                return false;
            };
            self.grown.absorb(charge);
        }
        let wished = self.size.saturating_sub(READ_LEAST + self.grown.bytes());
        if wished > 0 {
            self.grown.absorb(self.budgets.small.take(wished));
        }
        let size = READ_LEAST + self.grown.bytes();
        self.read.reserve(size.saturating_sub(self.read.len()).max(1));
        true
    }
}

impl Large {
    /// Doubles the capacity if the buffer is full, up to the size of the whole frame.
    fn make_room(&mut self, id: ConnectionId, budget: &Arc<Budget>, context: &mut Context<'_>) -> bool {
        if self.bytes.len() < self.bytes.capacity() {
            return true;
        }
        let most = self.declared + SPILL;
        let wanted = (self.bytes.capacity() * 2).min(most);
        let more = wanted.saturating_sub(self.bytes.capacity());
        let Some(charge) = budget.charge(id, more * self.factor, context.waker()) else { return false };
        self.charge.absorb(charge);
        self.bytes.reserve_exact(wanted - self.bytes.len());
        true
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.budgets.small.forget(self.id);
        self.budgets.large.forget(self.id);
    }
}

/// Recognises the first bytes of other protocols. As the length of a frame they would be 369 MB for TLS
/// and more than 1 GB for HTTP.
pub(super) fn recognise(first: &[u8]) -> Option<Stranger> {
    const METHODS: [&[u8; 4]; 8] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE", b"PRI ", b"CONN"];
    match first {
        [0x16, 0x03, 0x00..=0x04, _, ..] => Some(Stranger::Tls),
        [a, b, c, d, ..] if METHODS.contains(&&[*a, *b, *c, *d]) => Some(Stranger::Http),
        _ => None,
    }
}
