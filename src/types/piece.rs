//! Bytes of a response, in memory or still in their file.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::Bytes;

/// A piece of a response. The response is the concatenation of its pieces.
#[derive(Clone, Debug)]
pub enum Piece {
    Memory(Bytes),
    File(FileRange),
}

/// A range of an open file. The bytes do not change, and stay readable as long as the range exists, even
/// if the file is renamed or deleted.
#[derive(Clone)]
pub struct FileRange {
    file: Arc<dyn Source>,
    at: u64,
    len: usize,
}

/// An open file that responses are sent from.
pub trait Source: Send + Sync {
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// Whether the bytes can probably be read without waiting for the disk. Only a cheap check.
    fn is_cached(&self, at: u64, len: usize) -> io::Result<bool>;

    /// The bytes from `at` on; fewer only at the end of the file. May wait for the disk.
    fn read(&self, at: u64, len: usize) -> io::Result<Bytes>;
}

/// The approximate memory of a range of a file.
const RANGE_MEMORY: usize = 256;

impl Piece {
    pub fn len(&self) -> usize {
        match self {
            Piece::Memory(bytes) => bytes.len(),
            Piece::File(range) => range.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory that the piece takes.
    pub fn memory(&self) -> usize {
        match self {
            Piece::Memory(bytes) => bytes.len(),
            Piece::File(_) => RANGE_MEMORY,
        }
    }

    /// The bytes, if they are in memory.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Piece::Memory(bytes) => Some(bytes),
            Piece::File(_) => None,
        }
    }

    /// The bytes, read from the file if necessary. May wait for the disk.
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        match self {
            Piece::Memory(bytes) => Ok(bytes.clone()),
            Piece::File(range) => range.read(range.len),
        }
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Piece {
        Piece::Memory(bytes)
    }
}

/// Bytes are compared by content, ranges by position.
impl PartialEq for Piece {
    fn eq(&self, other: &Piece) -> bool {
        match (self, other) {
            (Piece::Memory(one), Piece::Memory(other)) => one == other,
            (Piece::File(one), Piece::File(other)) => {
                Arc::ptr_eq(&one.file, &other.file) && (one.at, one.len) == (other.at, other.len)
            }
            (Piece::Memory(_), Piece::File(_)) | (Piece::File(_), Piece::Memory(_)) => false,
        }
    }
}

impl FileRange {
    pub fn new(file: Arc<dyn Source>, at: u64, len: usize) -> FileRange {
        FileRange { file, at, len }
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.descriptor()
    }

    /// Removes the first `len` bytes from the range.
    pub fn advance(&mut self, len: usize) {
        let len = len.min(self.len);
        self.at = self.at.saturating_add(len as u64);
        self.len -= len;
    }

    /// Whether the first `len` bytes can be read without waiting for the disk.
    pub fn is_cached(&self, len: usize) -> io::Result<bool> {
        self.file.is_cached(self.at, len.min(self.len))
    }

    /// Reads the first `len` bytes; fewer are an error. May wait for the disk.
    pub fn read(&self, len: usize) -> io::Result<Bytes> {
        let len = len.min(self.len);
        let bytes = self.file.read(self.at, len)?;
        if bytes.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

impl fmt::Debug for FileRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRange").field("at", &self.at).field("len", &self.len).finish_non_exhaustive()
    }
}
