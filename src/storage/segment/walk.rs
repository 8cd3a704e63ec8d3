//! From batch to batch through a segment file, whatever its owner knows of it: for tools.

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::super::fs::{Fs, Open};
use crate::kernel;
use crate::record::{self, Header};
use crate::types::Offset;

/// Where a walk ended, and why there where it was not at the end of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    pub at: u64,
    pub len: u64,
    pub why: Option<String>,
}

/// Shows `visit` the place, the header and the bytes of every batch, checksum right or not, until
/// something is none or `visit` fails.
pub fn walk(
    fs: &dyn Fs,
    path: &Path,
    mut visit: impl FnMut(u64, &Header, &Bytes) -> io::Result<()>,
) -> io::Result<End> {
    let file = fs.open(path, Open::Read)?;
    let len = file.len()?;
    let mut at = 0;
    let mut head = [0; Header::LENGTH];
    let why = loop {
        if at == len {
            break None;
        }
        if file.read_at(&mut head, at)? < head.len() {
            break Some("too short for a batch".to_owned());
        }
        let header = match Header::parse(&head) {
            Ok(header) => header,
            Err(error) => break Some(error.to_string()),
        };
        let size = header.size() as u64;
        if size > len - at {
            break Some(format!("a batch of {size} bytes, of which {} are there", len - at));
        }
        let mut batch = vec![0; header.size()];
        if file.read_at(&mut batch, at)? < batch.len() {
            break Some("the file got shorter".to_owned());
        }
        visit(at, &header, &Bytes::from(batch))?;
        at += size;
    };
    Ok(End { at, len, why })
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
    let follows = |next: Offset, offset: Offset| offset == next || gaps && offset > next;
    // Nobody reads it, but where there are gaps it is checked on the way to an offset.
    let is_below_the_start = |header: &Header| {
        let last = header.last_offset().filter(|last| *last >= header.base_offset);
        !gaps && last.is_some_and(|last| last < log_start)
    };
    let mut held = Held::default();
    let mut next = base;
    let walked = walk(fs, path, |at, header, batch| {
        if at >= bytes {
            return Ok(());
        }
        held.batches += 1;
        held.bytes += batch.len() as u64;
        if at + batch.len() as u64 > bytes {
            held.wrong.push((at, "a batch runs past the end of what was appended".to_owned()));
        } else if record::crc_of(batch) != header.crc && !is_below_the_start(header) {
            held.wrong.push((at, format!("the batch of offset {next}: its checksum is wrong")));
        } else if !follows(next, header.base_offset) {
            held.wrong.push((at, format!("offset {} where {next} follows", header.base_offset)));
        }
        next = header.next_offset().unwrap_or(next);
        Ok(())
    })?;
    match walked.why {
        Some(why) if walked.at < bytes => held.wrong.push((walked.at, why)),
        _ if walked.len < bytes => {
            held.wrong.push((walked.len, format!("the last {} bytes are missing", bytes - walked.len)));
        }
        _ if !follows(next, end) => {
            held.wrong.push((bytes, format!("it ends with offset {next}, not {end}")))
        }
        _ => {}
    }
    Ok(held)
}
