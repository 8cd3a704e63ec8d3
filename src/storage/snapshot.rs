//! Snapshots: the kernel's state at a position, written aside so that replay is bounded. Two are
//! kept, so that damage to one costs a longer replay and nothing else.
//!
//! `snapshot/<position, 20 digits>.snapshot`: magic, format, length and CRC-32C of what follows; the
//! time by which the clock was believed last (-1: never); the state. A name without its content cannot be: the file is put in place by a rename.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::fs::{self, Fs};
use crate::kernel::Shard;
use crate::types::{NodeId, Timestamp};

const MAGIC: &[u8; 8] = b"jackdaws";
/// What this version writes; older ones are read.
const FORMAT: u32 = 4;
const OLDEST: u32 = 1;
const HEADER: usize = 24;
/// The first format that has the time.
const WITH_TIME: u32 = 4;
/// Larger than any state that fits into memory beside its own bytes.
const LARGEST: u64 = 8 << 30;
const SUFFIX: &str = ".snapshot";

/// How many are kept.
pub const KEPT: usize = 2;

/// What a directory of snapshots holds.
pub struct Found {
    /// The newest one that could be read, and the positions of those that could not.
    pub newest: Option<Shard>,
    pub unreadable: Vec<Unreadable>,
}

pub struct Unreadable {
    pub path: PathBuf,
    pub why: String,
}

/// Writes the state and returns once it is safe.
pub fn write(fs: &dyn Fs, dir: &Path, shard: &Shard) -> io::Result<()> {
    let believed = shard.clock_believed().map_or(-1, |time| time.0).to_be_bytes();
    let state = postcard::to_stdvec(shard).map_err(io::Error::other)?;
    let length = believed.len() + state.len();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&believed), &state);
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&FORMAT.to_be_bytes());
    header.extend_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
    header.extend_from_slice(&crc.to_be_bytes());
    let pieces = [&header[..], &believed, &state].map(IoSlice::new);
    fs::replace(fs, &path_of(dir, shard.position()), &pieces)
}

/// Reads the newest one that is whole. `broker` is whose directory it is.
pub fn read_newest(fs: &dyn Fs, dir: &Path, broker: NodeId) -> io::Result<Found> {
    let mut found = Found { newest: None, unreadable: Vec::new() };
    for position in positions(fs, dir)?.into_iter().rev() {
        let path = path_of(dir, position);
        match fs::read_all(fs, &path, LARGEST)
            .map_err(|error| error.to_string())
            .and_then(|bytes| parse(&bytes, broker))
        {
            Ok(shard) if shard.position() == position => {
                found.newest = Some(shard);
                return Ok(found);
            }
            Ok(shard) => {
                let why = format!("it holds the state at {}", shard.position());
                found.unreadable.push(Unreadable { path, why });
            }
            Err(why) => found.unreadable.push(Unreadable { path, why }),
        }
    }
    Ok(found)
}

/// Every one there is, oldest first, with what it holds or why it cannot be read.
pub fn read_all(
    fs: &dyn Fs,
    dir: &Path,
    broker: NodeId,
) -> io::Result<Vec<(PathBuf, Result<Shard, String>)>> {
    let read = |position| {
        let path = path_of(dir, position);
        let bytes = fs::read_all(fs, &path, LARGEST).map_err(|error| error.to_string());
        let shard = bytes.and_then(|bytes| parse(&bytes, broker)).and_then(|shard| match shard.position() {
            held if held == position => Ok(shard),
            held => Err(format!("it holds the state at {held}")),
        });
        (path, shard)
    };
    Ok(positions(fs, dir)?.into_iter().map(read).collect())
}

/// Removes all but the newest [`KEPT`] and returns the position of the oldest one that stays:
/// the journal after it is still needed.
pub fn trim(fs: &dyn Fs, dir: &Path) -> io::Result<u64> {
    let positions = positions(fs, dir)?;
    let (old, kept) = positions.split_at(positions.len().saturating_sub(KEPT));
    for position in old {
        fs.remove(&path_of(dir, *position))?;
    }
    if !old.is_empty() {
        fs.sync_dir(dir)?;
    }
    Ok(match kept {
        [oldest, _] => *oldest,
        // With a single snapshot the journal from its beginning is the second witness.
        _ => 0,
    })
}

/// Ascending.
fn positions(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<u64>> {
    let mut positions: Vec<u64> =
        fs.list(dir)?.iter().filter_map(|entry| entry.name.strip_suffix(SUFFIX)?.parse().ok()).collect();
    positions.sort_unstable();
    Ok(positions)
}

fn path_of(dir: &Path, position: u64) -> PathBuf {
    dir.join(format!("{position:020}{SUFFIX}"))
}

fn parse(bytes: &[u8], broker: NodeId) -> Result<Shard, String> {
    let (header, state) = bytes.split_at_checked(HEADER).ok_or("it is cut short")?;
    let rest = header.strip_prefix(MAGIC).ok_or("it is not a snapshot")?;
    let (format, rest) = rest.split_first_chunk::<4>().expect("the header's length is fixed");
    let (length, crc) = rest.split_first_chunk::<8>().expect("the header's length is fixed");
    let format = u32::from_be_bytes(*format);
    if !(OLDEST..=FORMAT).contains(&format) {
        return Err(format!("it has format {format}, this version reads {OLDEST} to {FORMAT}"));
    }
    if u64::try_from(state.len()) != Ok(u64::from_be_bytes(*length)) {
        return Err("it is cut short".into());
    }
    if crc32c::crc32c(state).to_be_bytes() != *crc {
        return Err("its checksum is wrong".into());
    }
    let (believed, state) = match format {
        WITH_TIME.. => state.split_first_chunk::<8>().ok_or("it has no time")?,
        _ => (&(-1i64).to_be_bytes(), state),
    };
    let believed = Some(i64::from_be_bytes(*believed)).filter(|time| *time >= 0).map(Timestamp);
    let shard = Shard::from_snapshot(format, state, broker).map_err(|error| error.to_string())?;
    Ok(shard.with_clock_believed(believed))
}
