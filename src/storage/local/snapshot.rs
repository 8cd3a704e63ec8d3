//! Snapshots: the kernel's state at a position, in a file, so that replay is bounded. Two are kept, so that
//! damage to one only makes the replay longer.
//!
//! `snapshot/<position, 20 digits>.snapshot`: magic; level of the form, length and CRC-32C of the state; the
//! state. A snapshot is renamed into place, so it is never incomplete.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::fs::{self, Failure, Fs};
use crate::kernel::{Level, Levels, Shard};

const MAGIC: &[u8; 8] = b"jackdaws";
const HEADER: usize = 24;
/// Larger than any state that fits into memory together with its own bytes.
const LARGEST: u64 = 8 << 30;
const SUFFIX: &str = ".snapshot";
/// The extension of snapshot files.
pub const ENDING: &str = "snapshot";

/// The number of snapshots that are kept.
pub const KEPT: usize = 2;

/// The snapshots found in a directory.
#[derive(Default)]
pub struct NewestSnapshot {
    pub newest: Option<Shard>,
    /// The newest one has the name of its position.
    is_in_place: bool,
    /// Snapshots that are damaged or do not match their names.
    pub wrong: Vec<Wrong>,
}

/// A snapshot that is damaged, or has the name of another position.
pub struct Wrong {
    pub path: PathBuf,
    pub why: String,
    /// The position in the snapshot, or the one in its name if it cannot be read. Its state was durable.
    pub position: u64,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

/// Writes the state at the level in force; it is durable when this returns.
pub fn write(fs: &dyn Fs, dir: &Path, levels: Levels, shard: &Shard) -> io::Result<()> {
    let state = levels.current().write_state(shard);
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&u32::from(levels.in_force().0).to_be_bytes());
    header.extend_from_slice(&u64::try_from(state.len()).unwrap_or(u64::MAX).to_be_bytes());
    header.extend_from_slice(&crc32c::crc32c(&state).to_be_bytes());
    let pieces = [&header[..], &state].map(IoSlice::new);
    fs::replace(fs, &path_of(dir, shard.position()), &pieces)
}

/// Reads the newest valid snapshot. The position inside it decides, because the checksum covers it.
pub fn read_newest(fs: &dyn Fs, dir: &Path, levels: Levels) -> io::Result<NewestSnapshot> {
    let mut found = NewestSnapshot::default();
    for position in positions(fs, dir)?.into_iter().rev() {
        let path = path_of(dir, position);
        let bytes = match fs::read_all(fs, &path, LARGEST) {
            // No other file could be opened either.
            Err(error) if Failure::of(&error) == Failure::NoDescriptors => return Err(error),
            read => read.map_err(|error| error.to_string()),
        };
        match bytes.and_then(|bytes| parse(&bytes, levels)) {
            Ok(shard) => {
                let held = shard.position();
                if found.newest.as_ref().is_none_or(|newest| newest.position() < held) {
                    (found.newest, found.is_in_place) = (Some(shard), held == position);
                }
                if held == position {
                    break;
                }
                let why = format!("it holds the state at {held}");
                found.wrong.push(Wrong { path, why, position: held });
            }
            Err(why) => found.wrong.push(Wrong { path, why, position }),
        }
    }
    Ok(found)
}

/// After a start from the snapshot in `found`: makes sure that there is a durable snapshot of the state, and
/// removes wrong, unfinished and old ones. Returns the same as [`trim`].
pub fn renew(
    fs: &dyn Fs,
    dir: &Path,
    levels: Levels,
    shard: &Shard,
    found: &NewestSnapshot,
) -> io::Result<u64> {
    let of_now = path_of(dir, shard.position());
    if !found.is_in_place || found.newest.as_ref().map(Shard::position) != Some(shard.position()) {
        write(fs, dir, levels, shard)?;
    }
    remove_useless(fs, dir, found, &of_now)?;
    trim(fs, dir)
}

/// Removes wrong and unfinished snapshots after a start that writes no new one. Otherwise a wrong one would count as one of
/// those that [`trim`] keeps, instead of the last sound one.
pub fn remove_wrong(fs: &dyn Fs, dir: &Path, found: &NewestSnapshot) -> io::Result<()> {
    // The state of this start may only be in the file that has the name of another position.
    if !found.is_in_place {
        return Ok(());
    }
    let newest = found.newest.as_ref().map_or(0, Shard::position);
    remove_useless(fs, dir, found, &path_of(dir, newest))
}

/// Removes wrong snapshots, except the file `but`, which is sound by now, and unfinished ones.
fn remove_useless(fs: &dyn Fs, dir: &Path, found: &NewestSnapshot, but: &Path) -> io::Result<()> {
    let wrong = found.wrong.iter().map(|wrong| wrong.path.clone()).filter(|path| path != but);
    let unfinished = fs.list(dir)?.into_iter().filter(|entry| entry.name.ends_with(fs::TEMPORARY));
    let useless: Vec<PathBuf> = wrong.chain(unfinished.map(|entry| dir.join(entry.name))).collect();
    useless.iter().try_for_each(|path| fs.remove(path))?;
    if !useless.is_empty() {
        fs.sync_dir(dir)?;
    }
    Ok(())
}

/// All snapshots, the oldest first, each with its state or the reason why it is wrong.
pub fn read_all(
    fs: &dyn Fs,
    dir: &Path,
    levels: Levels,
) -> io::Result<Vec<(PathBuf, Result<Shard, String>)>> {
    let state_at = |position| {
        let path = path_of(dir, position);
        let shard = read(fs, &path, levels).and_then(|shard| match shard.position() {
            held if held == position => Ok(shard),
            held => Err(format!("it holds the state at {held}")),
        });
        (path, shard)
    };
    Ok(positions(fs, dir)?.into_iter().map(state_at).collect())
}

/// Reads one snapshot. Fails with the reason why it is wrong.
pub fn read(fs: &dyn Fs, path: &Path, levels: Levels) -> Result<Shard, String> {
    let bytes = fs::read_all(fs, path, LARGEST).map_err(|error| error.to_string())?;
    parse(&bytes, levels)
}

/// Removes all but the newest [`KEPT`] and returns the position of the oldest one that stays. The journal
/// after it is still needed.
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
        // With a single snapshot the whole journal is kept as the second copy of the state.
        _ => 0,
    })
}

/// The positions of all snapshots, ascending.
pub fn positions(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<u64>> {
    let mut positions: Vec<u64> =
        fs.list(dir)?.iter().filter_map(|entry| entry.name.strip_suffix(SUFFIX)?.parse().ok()).collect();
    positions.sort_unstable();
    Ok(positions)
}

pub fn path_of(dir: &Path, position: u64) -> PathBuf {
    dir.join(format!("{position:020}{SUFFIX}"))
}

fn parse(bytes: &[u8], levels: Levels) -> Result<Shard, String> {
    let (header, state) = bytes.split_at_checked(HEADER).ok_or("it is cut short")?;
    let rest = header.strip_prefix(MAGIC).ok_or("it is not a snapshot")?;
    let (format, rest) = rest.split_first_chunk::<4>().expect("the header's length is fixed");
    let (length, crc) = rest.split_first_chunk::<8>().expect("the header's length is fixed");
    let format = u32::from_be_bytes(*format);
    if u64::try_from(state.len()) != Ok(u64::from_be_bytes(*length)) {
        return Err("it is cut short".into());
    }
    if crc32c::crc32c(state).to_be_bytes() != *crc {
        return Err("its checksum is wrong".into());
    }
    let level = u16::try_from(format).map(Level);
    match level.ok().and_then(|level| levels.read_state(level, state)) {
        Some(Ok(shard)) if !shard.is_in_files() => Err("it is the state of a shared journal".into()),
        Some(read) => read.map_err(|error| error.to_string()),
        None => Err(format!("it has format {format}, this version reads {levels:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::local::fs::SimFs;
    use crate::types::NodeId;

    #[test]
    fn the_state_of_a_shared_journal_is_no_snapshot_of_a_data_directory() {
        let (fs, dir) = (SimFs::new(1), Path::new("snapshot"));
        fs::create_dirs(&fs, dir).unwrap();
        write(&fs, dir, Levels::KNOWN, &Shard::new(NodeId(1))).unwrap();
        assert!(read_newest(&fs, dir, Levels::KNOWN).unwrap().newest.is_some());
        write(&fs, dir, Levels::KNOWN, &Shard::shared()).unwrap();
        let found = read_newest(&fs, dir, Levels::KNOWN).unwrap();
        assert!(found.newest.is_none() && found.wrong[0].why.contains("shared journal"));
    }
}
