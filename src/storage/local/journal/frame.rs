//! The format of an entry in a journal file. Little-endian:
//!
//! ```text
//!  0 crc32c of the rest of the header and of the commands
//!                                     4 length of the frame, header included
//!  8 generation of the file          16 salt of the data directory
//! 24 position                        32 synced mark
//! 40 time, ms since 1970             48 hash of the kernel's state
//! 56 length of the commands          60 length of the data
//! 64 kind: 1 entry, 2 mark           68 incarnation
//! 72 crc32c of the data             76 zeros
//! 80 commands, then data; the next frame begins at the next multiple of 8
//! ```
//!
//! A file is recycled without being cleared: its old frames have an old generation. Recovery searches for
//! frames after an invalid one, so bytes in a client's records could look like a frame. The salt prevents
//! that, because no client ever sees it.
//!
//! Each opening starts a new incarnation with a mark, which is synced before anything else is written. (If
//! there is no space for the mark, the first entry starts the incarnation.) After it, frames of an earlier
//! incarnation are void. Recovery clears the frames that it cuts, but if the process is killed in the middle,
//! the page cache may show the cleared bytes while the disk still has the old ones. Files that contain only
//! cut frames get a new generation.

use std::ops::Range;

use bytes::Bytes;

use crate::types::Timestamp;

pub const HEADER: usize = 80;
pub const ALIGNMENT: usize = 8;

/// The maximum bytes (commands and data) of one frame. It is far above the size of a round of the committer,
/// and below the maximum of the length field.
pub const LARGEST_ENTRY: u64 = 1 << 31;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Entry,
    /// A frame that only contains the synced mark; its position is that of the entry before it.
    Mark,
}

/// The fields that tell the frames of one file from all other bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub generation: u64,
    pub salt: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    pub position: u64,
    /// The position up to which the journal was durable when the frame was written.
    pub synced: u64,
    pub time: Timestamp,
    pub hash: u64,
    /// The number of the opening that wrote the frame.
    pub incarnation: u32,
}

/// The header of a frame with these commands and data; `data_crc` is the CRC-32C of the data.
pub fn encode(stamp: Stamp, head: &Head, commands: &[u8], data: &[Bytes], data_crc: u32) -> [u8; HEADER] {
    let data_length: usize = data.iter().map(Bytes::len).sum();
    let length = HEADER + commands.len() + data_length;
    let small = |length: usize| u32::try_from(length).expect("an entry has at most LARGEST_ENTRY bytes");
    let kind: u32 = match head.kind {
        Kind::Entry => 1,
        Kind::Mark => 2,
    };
    let mut header = [0; HEADER];
    header[4..8].copy_from_slice(&small(length).to_le_bytes());
    header[8..16].copy_from_slice(&stamp.generation.to_le_bytes());
    header[16..24].copy_from_slice(&stamp.salt.to_le_bytes());
    header[24..32].copy_from_slice(&head.position.to_le_bytes());
    header[32..40].copy_from_slice(&head.synced.to_le_bytes());
    header[40..48].copy_from_slice(&head.time.0.to_le_bytes());
    header[48..56].copy_from_slice(&head.hash.to_le_bytes());
    header[56..60].copy_from_slice(&small(commands.len()).to_le_bytes());
    header[60..64].copy_from_slice(&small(data_length).to_le_bytes());
    header[64..68].copy_from_slice(&kind.to_le_bytes());
    header[68..72].copy_from_slice(&head.incarnation.to_le_bytes());
    header[72..76].copy_from_slice(&data_crc.to_le_bytes());
    seal(&mut header, commands);
    header
}

/// Sets the checksum of a header in front of these commands.
pub fn seal(header: &mut [u8; HEADER], commands: &[u8]) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[4..]), commands);
    header[..4].copy_from_slice(&crc.to_le_bytes());
}

/// A complete frame in the bytes of a file, with a valid checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub head: Head,
    /// The byte position of the frame in the file.
    pub at: usize,
    /// The byte position at which the next frame may begin.
    pub next: usize,
    pub commands: Range<usize>,
    pub data: Range<usize>,
}

/// The frame at exactly this byte of the file; `None` if there is no valid one.
pub fn parse(file: &[u8], at: usize, stamp: Stamp) -> Option<Frame> {
    let rest = file.get(at..)?;
    let header: &[u8; HEADER] = rest.first_chunk()?;
    if u64_at(header, 8) != stamp.generation || u64_at(header, 16) != stamp.salt {
        return None;
    }
    let length = usize::try_from(u32_at(header, 4)).ok()?;
    let frame = rest.get(..length)?;
    let commands = usize::try_from(u32_at(header, 56)).ok()?;
    let data = usize::try_from(u32_at(header, 60)).ok()?;
    if HEADER.checked_add(commands)?.checked_add(data)? != length {
        return None;
    }
    let (covered, data_bytes) = frame.split_at(HEADER + commands);
    if crc32c::crc32c(&covered[4..]) != u32_at(header, 0) || crc32c::crc32c(data_bytes) != u32_at(header, 72)
    {
        return None;
    }
    let kind = match u32_at(header, 64) {
        1 => Kind::Entry,
        2 => Kind::Mark,
        _ => return None,
    };
    let head = Head {
        kind,
        position: u64_at(header, 24),
        synced: u64_at(header, 32),
        time: Timestamp(u64_at(header, 40).cast_signed()),
        hash: u64_at(header, 48),
        incarnation: u32_at(header, 68),
    };
    let body = at + HEADER;
    Some(Frame {
        head,
        at,
        next: at + padded(length),
        commands: body..body + commands,
        data: body + commands..body + commands + data,
    })
}

/// Whether a frame of this file seems to begin here, valid or not.
pub fn begins(file: &[u8], at: usize, stamp: Stamp) -> bool {
    let Some(header) = file.get(at..).and_then(|rest| rest.first_chunk::<HEADER>()) else { return false };
    u64_at(header, 8) == stamp.generation || u64_at(header, 16) == stamp.salt
}

/// The stamp of a file's frames, taken from the first valid frame.
pub fn stamp_of(file: &[u8], generation: u64) -> Option<Stamp> {
    (0..file.len()).step_by(ALIGNMENT).find_map(|at| {
        let header = file.get(at..)?.first_chunk::<HEADER>()?;
        let stamp = Stamp { generation, salt: u64_at(header, 16) };
        parse(file, at, stamp).map(|_| stamp)
    })
}

/// The length in the frame header at the start of these bytes.
pub fn length(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |header| u32_at(header, 4))
}

/// The first valid frame at or after this byte of the file.
pub fn next(file: &[u8], from: usize, stamp: Stamp) -> Option<Frame> {
    (from..file.len()).step_by(ALIGNMENT).find_map(|at| parse(file, at, stamp))
}

/// All valid frames of the file, in order. Invalid bytes between them are skipped.
pub fn all<'a>(file: &'a [u8], stamp: Stamp) -> impl Iterator<Item = Frame> + 'a {
    let mut at = 0;
    std::iter::from_fn(move || {
        let frame = next(file, at, stamp)?;
        at = frame.next;
        Some(frame)
    })
}

/// The space that a frame of this length takes in a file.
pub fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

fn u32_at(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes(header[at..at + 4].try_into().expect("within the header"))
}

fn u64_at(header: &[u8; HEADER], at: usize) -> u64 {
    u64::from_le_bytes(header[at..at + 8].try_into().expect("within the header"))
}
