//! Iteration over the batches of a segment file: a part of it for readers, or all of it for tools.

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use super::super::fs::{File, Fs, Open};
use super::verified::follows;
use crate::kernel;
use crate::record::{CHECKED_FROM, Header};
use crate::types::Offset;

/// A batch found by a walk.
pub struct FoundBatch {
    pub at: u64,
    pub header: Header,
    /// Its checksum is valid.
    pub is_sound: bool,
}

/// The reason why a walk ended early.
pub enum Stop {
    Io(io::Error),
    /// The next bytes are not in the page cache.
    MustWait,
    /// Damage: the position and the reason.
    Flaw {
        at: u64,
        why: String,
    },
}

impl Stop {
    pub fn flaw(at: u64, why: &str) -> Stop {
        Stop::Flaw { at, why: why.to_owned() }
    }

    /// The position and the reason, if it is damage.
    fn damage(self) -> io::Result<(u64, String)> {
        match self {
            Stop::Flaw { at, why } => Ok((at, why)),
            Stop::Io(error) => Err(error),
            Stop::MustWait => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

/// The bytes that are read at once.
const BLOCK: usize = 64 << 10;

/// Calls `visit` with every batch of `range` until it returns `Break`. Returns the position after the last
/// batch.
pub fn walk(
    file: &dyn File,
    range: Range<u64>,
    may_wait: bool,
    mut visit: impl FnMut(FoundBatch) -> Result<ControlFlow<()>, Stop>,
) -> Result<u64, Stop> {
    let mut window = Window { file, may_wait, end: range.end, start: range.start, bytes: Vec::new() };
    let mut at = range.start;
    while at < range.end {
        let header = Header::parse(window.bytes(at, Header::LENGTH)?)
            .map_err(|error| Stop::flaw(at, &error.to_string()))?;
        let end = at + header.size() as u64;
        if end > range.end {
            return Err(Stop::flaw(at, "a batch runs past the end of the file"));
        }
        let (mut place, mut crc) = (at + CHECKED_FROM as u64, 0);
        while place < end {
            let bytes = window.bytes(place, 1)?;
            let take = usize::try_from(end - place).unwrap_or(usize::MAX).min(bytes.len());
            crc = crc32c::crc32c_append(crc, &bytes[..take]);
            place += take as u64;
        }
        let is_sound = crc == header.crc;
        let flow = visit(FoundBatch { at, header, is_sound })?;
        at = end;
        if flow.is_break() {
            break;
        }
    }
    Ok(at)
}

/// The bytes of a file, one block at a time.
struct Window<'a> {
    file: &'a dyn File,
    may_wait: bool,
    /// The end of the readable range.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The loaded bytes from `at` on, at least `least` of them.
    fn bytes(&mut self, at: u64, least: usize) -> Result<&[u8], Stop> {
        let skip = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        if self.bytes.len().saturating_sub(skip) >= least {
            return Ok(&self.bytes[skip..]);
        }
        let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
        self.start = at;
        // Only new space of the buffer is zeroed, and it grows only once.
        self.bytes.resize(left.min(BLOCK), 0);
        let read = if self.may_wait {
            self.file.read_at(&mut self.bytes, at).map(Some)
        } else {
            self.file.read_cached_at(&mut self.bytes, at)
        };
        let read = read.map_err(|error| io::Error::new(error.kind(), format!("byte {at}: {error}")))?;
        let read = read.ok_or(Stop::MustWait)?;
        self.bytes.truncate(read);
        if read < least {
            return Err(Stop::flaw(at, "it is cut short"));
        }
        Ok(&self.bytes)
    }
}

/// The end of a walk through a whole file, with the reason if it is not the end of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    pub at: u64,
    pub len: u64,
    pub why: Option<String>,
}

/// Calls `visit` with every batch of a file, whether it belongs to the log or not, until something is not a
/// batch or `visit` fails.
pub fn walk_file(
    fs: &dyn Fs,
    path: &Path,
    mut visit: impl FnMut(&dyn File, FoundBatch) -> io::Result<()>,
) -> io::Result<End> {
    let file = fs.open(path, Open::Read)?;
    let len = file.len()?;
    match walk(&*file, 0..len, true, |met| Ok(ControlFlow::Continue(visit(&*file, met)?))) {
        Ok(at) => Ok(End { at, len, why: None }),
        Err(stop) => stop.damage().map(|(at, why)| End { at, len, why: Some(why) }),
    }
}

/// The expected content of a segment.
pub struct Expected {
    pub base: Offset,
    /// The offset after its last batch.
    pub end: Offset,
    pub bytes: u64,
    /// Compaction has rewritten it, so offsets may be missing.
    pub gaps: bool,
    /// Records before it are never read.
    pub log_start: Offset,
}

impl Expected {
    /// The segment as it is in the kernel's state; the next one begins at `end`.
    pub fn of(segment: &kernel::Extent, end: Offset, log_start: Offset) -> Expected {
        let (base, bytes, gaps) = (segment.base, segment.bytes, segment.id().generation > 0);
        Expected { base, end, bytes, gaps, log_start }
    }
}

/// The result of checking a segment's content.
#[derive(Debug, Default)]
pub struct SegmentCheck {
    pub batches: u64,
    pub bytes: u64,
    /// The positions and descriptions of the errors.
    pub wrong: Vec<(u64, String)>,
}

/// Reads the expected bytes of a segment and checks the checksums and offsets of its batches. Bytes after
/// them are ignored.
pub fn check(fs: &dyn Fs, path: &Path, expected: &Expected) -> io::Result<SegmentCheck> {
    let Expected { base, end, bytes, gaps, log_start } = *expected;
    let file = fs.open(path, Open::Read)?;
    let len = file.len()?;
    let mut held = SegmentCheck::default();
    let mut next = base;
    let walked = walk(&*file, 0..len.min(bytes), true, |FoundBatch { at, header, is_sound }| {
        held.batches += 1;
        held.bytes += header.size() as u64;
        // The batch is never read. But in a segment with gaps it is checked on the way to an offset.
        let last = header.last_offset().filter(|last| *last >= header.base_offset);
        let is_below_the_start = !gaps && last.is_some_and(|last| last < log_start);
        if !is_sound && !is_below_the_start {
            held.wrong.push((at, format!("the batch of offset {next}: its checksum is wrong")));
        } else if !follows(header.base_offset, next, !gaps) {
            held.wrong.push((at, format!("offset {} where {next} follows", header.base_offset)));
        }
        next = header.next_offset().unwrap_or(next);
        Ok(ControlFlow::Continue(()))
    });
    match walked {
        Err(stop) => held.wrong.push(stop.damage()?),
        Ok(_) if len < bytes => {
            held.wrong.push((len, format!("the last {} bytes are missing", bytes - len)));
        }
        Ok(_) if !follows(end, next, !gaps) => {
            held.wrong.push((bytes, format!("it ends with offset {next}, not {end}")));
        }
        Ok(_) => {}
    }
    Ok(held)
}
