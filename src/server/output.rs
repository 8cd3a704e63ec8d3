//! Sends responses in order: bytes in memory with vectored writes, bytes in files directly from the file
//! to the socket.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::task::JoinHandle;

use super::socket::Socket;
use crate::budget::{Budget, Charge};
use crate::disk_threads;
use crate::types::{FileRange, Piece};

/// The maximum number of pieces in one write.
const PIECES: usize = 64;

/// The number of bytes read at a time from a file that cannot be sent directly.
const READ_AT_ONCE: usize = 256 << 10;
/// The smaller number if responses fill the memory: each connection may be reading.
const LEAST_READ: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Output {
    pieces: VecDeque<QueuedPiece>,
    unwritten: usize,
    /// The memory that the pieces take until the peer reads them.
    memory: usize,
    /// The start of the next file range, while it is being read into memory.
    reading: Option<FileRead>,
    answers: Arc<Budget>,
}

#[derive(Debug)]
struct FileRead {
    bytes: JoinHandle<io::Result<Bytes>>,
    charge: Charge,
}

#[derive(Debug)]
struct QueuedPiece {
    piece: Piece,
    /// The last piece of a response has its charge, which is released with it.
    charge: Option<Charge>,
}

impl Output {
    pub(super) fn new(answers: Arc<Budget>) -> Output {
        Output { pieces: VecDeque::new(), unwritten: 0, memory: 0, reading: None, answers }
    }

    pub(super) fn push(&mut self, frame: Vec<Piece>, charge: Charge) {
        self.unwritten += frame.iter().map(Piece::len).sum::<usize>();
        self.memory += frame.iter().map(Piece::memory).sum::<usize>();
        self.pieces.extend(frame.into_iter().map(|piece| QueuedPiece { piece, charge: None }));
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

    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Whether the output waits for the disk and not for the peer.
    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Writes once, as much as the socket accepts.
    pub(super) fn poll_write(
        &mut self,
        socket: &mut impl Socket,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let Some(QueuedPiece { piece: Piece::File(range), .. }) = self.pieces.front() else {
                return self.poll_write_memory(socket, context);
            };
            if self.reading.is_none() {
                match ready!(socket.poll_send_file(context, range))? {
                    Some(sent) => {
                        self.wrote(sent);
                        return Poll::Ready(Ok(sent));
                    }
                    None => self.reading = Some(FileRead::begin(range.clone(), &self.answers)),
                }
            }
            ready!(self.poll_reading(context))?;
        }
    }

    fn poll_write_memory(
        &mut self,
        socket: &mut impl Socket,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let in_memory = self.pieces.iter().map_while(|queued| queued.piece.as_bytes());
        let mut many = 0;
        for (slice, bytes) in slices.iter_mut().zip(in_memory) {
            *slice = IoSlice::new(bytes);
            many += 1;
        }
        let written = ready!(Pin::new(socket).poll_write_vectored(context, &slices[..many]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.wrote(written);
        Poll::Ready(Ok(written))
    }

    /// Puts the bytes that were read in front of the rest of their range.
    fn poll_reading(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(Ok(())) };
        let read = ready!(Pin::new(&mut reading.bytes).poll(context));
        let Some(FileRead { mut charge, .. }) = self.reading.take() else { return Poll::Ready(Ok(())) };
        let bytes = read.map_err(io::Error::other)??;
        if let Some(QueuedPiece { piece: Piece::File(range), .. }) = self.pieces.front_mut() {
            range.advance(bytes.len());
            self.memory += bytes.len();
            charge.at_least(bytes.len());
            self.pieces.push_front(QueuedPiece { piece: Piece::Memory(bytes), charge: Some(charge) });
        }
        Poll::Ready(Ok(()))
    }

    /// Removes the bytes that the socket has accepted.
    fn wrote(&mut self, bytes: usize) {
        self.unwritten -= bytes;
        let mut left = bytes;
        while let Some(first) = self.pieces.front_mut() {
            let len = first.piece.len();
            let before = first.piece.memory();
            if len > left {
                match &mut first.piece {
                    Piece::Memory(bytes) => bytes.advance(left),
                    Piece::File(range) => range.advance(left),
                }
                self.memory -= before - first.piece.memory();
                break;
            }
            left -= len;
            self.memory -= before;
            self.pieces.pop_front();
        }
    }
}

impl FileRead {
    /// Reads the start of a range on a thread where waiting for the disk blocks nothing else.
    fn begin(range: FileRange, answers: &Arc<Budget>) -> FileRead {
        let charge = answers.take(READ_AT_ONCE.min(range.len()));
        let len = charge.bytes().max(LEAST_READ);
        FileRead { bytes: disk_threads::read(move || range.read(len)), charge }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncRead, AsyncReadExt, duplex};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::types::Source;

    /// A file that the page cache has completely or not at all.
    struct CachedFile {
        file: File,
        is_cached: bool,
        reads: AtomicUsize,
    }

    impl Source for CachedFile {
        fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            Some(self.file.as_fd())
        }

        fn is_cached(&self, _: u64, _: usize) -> io::Result<bool> {
            Ok(self.is_cached)
        }

        fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let mut bytes = vec![0; len];
            let read = self.file.read_at(&mut bytes, at)?;
            bytes.truncate(read);
            Ok(bytes.into())
        }
    }

    const LEN: usize = 3_000_000;

    fn stored(is_cached: bool) -> (Arc<CachedFile>, Vec<u8>) {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        (Arc::new(CachedFile { file, is_cached, reads: AtomicUsize::new(0) }), bytes)
    }

    /// Queues two responses with pieces in memory and in the file. Returns their bytes.
    fn answers(output: &mut Output, file: &Arc<CachedFile>, bytes: &[u8]) -> Vec<u8> {
        let range = |at: usize, len| FileRange::new(Arc::clone(file) as Arc<dyn Source>, at as u64, len);
        let small = Bytes::from_static(b"header");
        let mut expected = Vec::new();
        for (at, len) in [(7, 2_000_000), (LEN - 100_000, 100_000)] {
            let frame = vec![small.clone().into(), Piece::File(range(at, len)), small.clone().into()];
            let charge = output.answers.charge_at_once(frame.iter().map(Piece::memory).sum());
            output.push(frame, charge);
            expected.extend([&small, &bytes[at..at + len], &small].concat());
        }
        expected
    }

    async fn send(output: &mut Output, socket: &mut impl Socket) -> io::Result<()> {
        while !output.is_empty() {
            std::future::poll_fn(|context| output.poll_write(socket, context)).await?;
        }
        Ok(())
    }

    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, client) = tokio::join!(listener.accept(), client);
        (accepted.unwrap().0, client.unwrap())
    }

    /// Checks the bytes that arrive. Returns how often the file was read into memory.
    async fn received(is_cached: bool, mut ours: impl Socket, mut theirs: impl AsyncRead + Unpin) -> usize {
        let (file, bytes) = stored(is_cached);
        let budget = Budget::new(1 << 30);
        let mut output = Output::new(Arc::clone(&budget));
        let expected = answers(&mut output, &file, &bytes);
        assert_eq!(output.unwritten(), expected.len());
        let mut read = vec![0; expected.len()];
        let (sent, arrived) = tokio::join!(send(&mut output, &mut ours), theirs.read_exact(&mut read));
        sent.unwrap();
        arrived.unwrap();
        assert!(read == expected, "the bytes arrive in order");
        assert_eq!((output.unwritten(), output.memory(), budget.held()), (0, 0, 0));
        file.reads.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn bytes_of_a_file_go_straight_to_the_socket_where_they_are_at_hand() {
        let (ours, theirs) = sockets().await;
        let reads = received(true, ours, theirs).await;
        assert_eq!(reads > 0, cfg!(not(target_os = "linux")));
    }

    #[tokio::test]
    async fn bytes_that_the_disk_has_to_be_asked_for_are_read_first_bit_by_bit() {
        let (ours, theirs) = sockets().await;
        assert_eq!(received(false, ours, theirs).await, 2_000_000usize.div_ceil(READ_AT_ONCE) + 1);
    }

    #[tokio::test]
    async fn where_answers_fill_the_memory_little_of_a_file_is_read_at_a_time() {
        let (mut ours, mut theirs) = sockets().await;
        let (file, bytes) = stored(false);
        let budget = Budget::new(1 << 20);
        let _others = budget.charge_at_once(1 << 20);
        let mut output = Output::new(budget);
        let expected = answers(&mut output, &file, &bytes);
        let mut read = vec![0; expected.len()];
        let (sent, arrived) = tokio::join!(send(&mut output, &mut ours), theirs.read_exact(&mut read));
        sent.unwrap();
        arrived.unwrap();
        assert!(read == expected);
        let reads = 2_000_000usize.div_ceil(LEAST_READ) + 100_000usize.div_ceil(LEAST_READ);
        assert_eq!(file.reads.load(Ordering::SeqCst), reads);
    }

    #[tokio::test]
    async fn other_streams_than_sockets_of_the_system_get_bytes_of_files_too() {
        let (ours, theirs) = duplex(10_000);
        assert!(received(true, ours, theirs).await > 0);
    }

    #[tokio::test]
    async fn a_file_that_got_shorter_ends_the_connection_instead_of_the_answer() {
        for is_cached in [true, false] {
            let (mut ours, mut theirs) = sockets().await;
            let (file, bytes) = stored(is_cached);
            let mut output = Output::new(Budget::new(1 << 30));
            answers(&mut output, &file, &bytes);
            file.file.set_len(1_000_000).unwrap();
            let mut read = Vec::new();
            let sending = async {
                let sent = send(&mut output, &mut ours).await;
                drop(ours);
                sent
            };
            let (sent, arrived) = tokio::join!(sending, theirs.read_to_end(&mut read));
            assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            arrived.unwrap();
            assert!(read.len() <= 1_000_006 && bytes[7..].starts_with(&read[6..]));
        }
    }
}
