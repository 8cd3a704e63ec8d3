//! The witness: a file beside the journal with the synced mark. It is written after every sync, but itself
//! synced only when the journal is opened. With it recovery can tell a journal that lost its end (the file in
//! use is missing, zeroed or old) from one with a torn tail. After kill -9 it is exact. After a power cut its
//! mark may be too low, but never too high.
//!
//! 40 bytes, little-endian, within one sector: crc32c of the rest, a magic word, the salt of the data
//! directory, the synced position, the generation of the file in use, and the end of its frames.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::fs::{self, File, Fs, Open};

const LENGTH: usize = 40;
const MAGIC: &[u8; 4] = b"jdsy";

/// The content of the witness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncedMark {
    pub position: u64,
    pub generation: u64,
    pub at: u64,
}

/// The open file; `None` if it could not be written.
pub struct Witness {
    file: Option<Arc<dyn File>>,
    salt: u64,
}

/// `journal.synced` beside `journal/`.
pub fn path(journal: &Path) -> PathBuf {
    journal.with_extension("synced")
}

/// The content of the witness of this journal; `None` if there is no readable witness.
pub fn read(fs: &dyn Fs, journal: &Path, salt: u64) -> Option<SyncedMark> {
    let path = path(journal);
    let why = match fs::read_all(fs, &path, u64::MAX) {
        Ok(bytes) => match parse(&bytes, salt) {
            Some(synced) => return Some(synced),
            None => "it is damaged".to_owned(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => error.to_string(),
    };
    tracing::warn!(path = %path.display(), %why, "journal.synced cannot be read and is written again; the journal is complete without it");
    None
}

fn parse(bytes: &[u8], salt: u64) -> Option<SyncedMark> {
    let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
    let word = |at: usize| bytes[at..].first_chunk().map(|word| u64::from_le_bytes(*word));
    let sum = u32::from_le_bytes(*bytes.first_chunk()?);
    if sum != crc32c::crc32c(&bytes[4..]) || bytes[4..8] != *MAGIC || word(8)? != salt {
        return None;
    }
    Some(SyncedMark { position: word(16)?, generation: word(24)?, at: word(32)? })
}

impl Witness {
    /// Creates the file if it is missing and writes the known position; durable when this returns.
    pub fn begin(fs: &dyn Fs, journal: &Path, salt: u64, synced: SyncedMark) -> Witness {
        let path = path(journal);
        let begun = || {
            let file = fs.open(&path, Open::WriteOrNew)?;
            write(&*file, salt, synced)?;
            file.truncate(LENGTH as u64)?;
            file.sync_data()?;
            fs.sync_dir(fs::parent(&path))?;
            Ok(file)
        };
        let mut witness = Witness { file: None, salt };
        match begun() {
            Ok(file) => witness.file = Some(file),
            Err(error) => witness.give_up(&error),
        }
        witness
    }

    pub fn record(&mut self, synced: SyncedMark) {
        let Some(file) = &self.file else { return };
        if let Err(error) = write(&**file, self.salt, synced) {
            self.give_up(&error);
        }
    }

    /// The content of the file stays true, but its mark is no longer updated.
    fn give_up(&mut self, error: &io::Error) {
        tracing::warn!(%error, "cannot write journal.synced; it is tried again at the next start");
        self.file = None;
    }
}

fn write(file: &dyn File, salt: u64, synced: SyncedMark) -> io::Result<()> {
    let SyncedMark { position, generation, at } = synced;
    let mut bytes = [0; LENGTH];
    bytes[4..8].copy_from_slice(MAGIC);
    for (place, word) in [salt, position, generation, at].into_iter().enumerate() {
        bytes[8 + place * 8..16 + place * 8].copy_from_slice(&word.to_le_bytes());
    }
    let sum = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    file.write_at(&[IoSlice::new(&bytes)], 0)
}
