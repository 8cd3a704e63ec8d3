//! Walks from batch to batch through a segment file: through a part of it for readers, or all of it for tools.

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use super::super::fs::{File, Fs, Open};
use super::verified::follows;
use crate::kernel;
use crate::record::{CHECKED_FROM, Header};
use crate::types::Offset;

/// A batch that a walk came to.
pub struct Met {
    pub at: u64,
    pub header: Header,
    /// Its checksum is right.
    pub is_sound: bool,
}

/// Why a walk ended before its end.
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

/// How much is read at a time.
const BLOCK: usize = 64 << 10;

/// Shows `visit` every batch of `range` until it has enough, and says where it ended.
pub fn walk(
    file: &dyn File,
    range: Range<u64>,
    may_wait: bool,
    mut visit: impl FnMut(Met) -> Result<ControlFlow<()>, Stop>,
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
        let flow = visit(Met { at, header, is_sound })?;
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
    /// Nothing from here on is read.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The bytes from `at` on that are at hand, at least so many.
    fn bytes(&mut self, at: u64, least: usize) -> Result<&[u8], Stop> {
        let skip = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        if self.bytes.len().saturating_sub(skip) >= least {
            return Ok(&self.bytes[skip..]);
        }
        let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
        self.start = at;
        // Cleared only where the buffer grows: once.
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

/// Where a walk through a whole file ended, and why there where it was not at its end.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    pub at: u64,
    pub len: u64,
    pub why: Option<String>,
}

/// Shows `visit` every batch of a file, whatever its owner knows of it, until something is none or `visit` fails.
pub fn walk_file(
    fs: &dyn Fs,
    path: &Path,
    mut visit: impl FnMut(&dyn File, Met) -> io::Result<()>,
) -> io::Result<End> {
    let file = fs.open(path, Open::Read)?;
    let len = file.len()?;
    match walk(&*file, 0..len, true, |met| Ok(ControlFlow::Continue(visit(&*file, met)?))) {
        Ok(at) => Ok(End { at, len, why: None }),
        Err(stop) => stop.damage().map(|(at, why)| End { at, len, why: Some(why) }),
    }
}

/// What a segment should hold.
pub struct Expected {
    pub base: Offset,
    /// The offset behind its last batch.
    pub end: Offset,
    pub bytes: u64,
    /// Compaction was there: offsets may be missing.
    pub gaps: bool,
    /// Records before it are never read.
    pub log_start: Offset,
}

impl Expected {
    /// The segment as the state has it; the next one begins at `end`.
    pub fn of(segment: &kernel::Segment, end: Offset, log_start: Offset) -> Expected {
        let (base, bytes, gaps) = (segment.base, segment.bytes, segment.generation > 0);
        Expected { base, end, bytes, gaps, log_start }
    }
}

/// What a segment holds of what it should.
#[derive(Debug, Default)]
pub struct Held {
    pub batches: u64,
    pub bytes: u64,
    /// The places where it is something else, and what.
    pub wrong: Vec<(u64, String)>,
}

/// Reads all that should be in a segment and holds it against the checksums of its batches. What lies
/// behind it is not looked at.
pub fn check(fs: &dyn Fs, path: &Path, expected: &Expected) -> io::Result<Held> {
    let Expected { base, end, bytes, gaps, log_start } = *expected;
    let file = fs.open(path, Open::Read)?;
    let len = file.len()?;
    let mut held = Held::default();
    let mut next = base;
    let walked = walk(&*file, 0..len.min(bytes), true, |Met { at, header, is_sound }| {
        held.batches += 1;
        held.bytes += header.size() as u64;
        // It is never read; but in a segment with gaps it is checked on the way to an offset.
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
