//! The journal files without needed entries: ready files for the next entries, and used files that are
//! recycled or removed.
//!
//! A file is written with zeros once, to its full length, and is then reused. So a sync only has to write
//! data, no metadata. Renaming a file to a new generation and syncing the directory makes its old frames
//! void.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::fs::{File, Fs, Open, TEMPORARY};
use super::file::Options;
use super::witness::{SyncedMark, Witness};

const EXTENSION: &str = ".journal";

pub fn path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{generation:020}{EXTENSION}"))
}

/// The generation in a file name; `None` if it is not a name from [`path`].
pub fn generation(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let written = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if written { digits.parse().ok() } else { None }
}

/// A file without frames of its generation. Its name is durable.
#[derive(Clone)]
pub struct Spare {
    pub generation: u64,
    pub file: Arc<dyn File>,
    pub len: u64,
}

pub struct Pool {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: Options,
    /// Held while files are created, renamed or removed, which is slow.
    work: Mutex<()>,
    held: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    /// Higher than the generation of any existing file.
    next_generation: u64,
    /// Sorted by generation.
    spares: Vec<Spare>,
    /// Generations of files whose entries are no longer needed.
    retired: Vec<u64>,
}

impl Pool {
    pub fn new(fs: Arc<dyn Fs>, dir: PathBuf, options: Options, next_generation: u64) -> Pool {
        let held = PoolState { next_generation, ..PoolState::default() };
        Pool { fs, dir, options, work: Mutex::new(()), held: Mutex::new(held) }
    }

    pub fn begin_witness(&self, salt: u64, synced: SyncedMark) -> Witness {
        Witness::begin(&*self.fs, &self.dir, salt, synced)
    }

    /// Adds a ready file; it is kept if it is needed, otherwise retired. Its generation must be above that of
    /// the file in use and of the files offered before.
    pub fn offer(&self, spare: Spare) {
        let mut held = self.held();
        let wanted = held.spares.len() < self.options.spare_files && spare.len == self.options.file_bytes;
        if wanted { held.spares.push(spare) } else { held.retired.push(spare.generation) }
    }

    /// Marks this generation as used.
    pub fn skip(&self, generation: u64) {
        let mut held = self.held();
        held.next_generation = held.next_generation.max(generation + 1);
    }

    pub fn retire(&self, generations: impl IntoIterator<Item = u64>) {
        self.held().retired.extend(generations);
    }

    pub fn has_room(&self, bytes: u64) -> bool {
        self.held().spares.first().is_some_and(|spare| bytes <= spare.len)
    }

    pub fn wants_work(&self) -> bool {
        let held = self.held();
        held.spares.is_empty() || !held.retired.is_empty()
    }

    /// Makes sure that the next file to be taken has at least n bytes.
    pub fn make_room(&self, bytes: u64) -> io::Result<()> {
        let spare = self.take(bytes)?;
        self.held().spares.insert(0, spare);
        Ok(())
    }

    /// A ready file with at least n bytes. It is created now if there is none.
    pub fn take(&self, bytes: u64) -> io::Result<Spare> {
        let ready = self.held().first_spare();
        let mut spare = match ready {
            Some(spare) => spare,
            None => {
                let _work = self.lock_work();
                // A background job may just have added one.
                let ready = self.held().first_spare();
                match ready {
                    Some(spare) => spare,
                    None => self.make(self.options.file_bytes.max(bytes))?,
                }
            }
        };
        if spare.len < bytes {
            let longer = write_zeros(&*spare.file, spare.len, bytes).and_then(|()| spare.file.sync_data());
            if let Err(error) = longer {
                self.held().spares.insert(0, spare);
                return Err(error);
            }
            spare.len = bytes;
        }
        Ok(spare)
    }

    /// Recycles as many used files as are needed, removes the others, and makes sure that one file is ready.
    pub fn work(&self) -> io::Result<()> {
        let _work = self.lock_work();
        loop {
            let (used, wanted) = {
                let mut held = self.held();
                let wanted = held.spares.len() < self.options.spare_files;
                (if held.retired.is_empty() { None } else { Some(held.retired.remove(0)) }, wanted)
            };
            let Some(used) = used else { break };
            let done = if wanted { self.recycle(used) } else { self.give_back(used) };
            if let Err(error) = done {
                self.held().retired.push(used);
                return Err(error);
            }
        }
        if self.held().spares.is_empty() {
            let made = self.make(self.options.file_bytes)?;
            self.held().spares.push(made);
        }
        Ok(())
    }

    /// Reuses a file at once, without allocating new space.
    pub fn take_used(&self, used: u64) -> io::Result<Spare> {
        let _work = self.lock_work();
        self.renew(used)
    }

    fn recycle(&self, used: u64) -> io::Result<()> {
        let len = match self.fs.metadata(&path(&self.dir, used)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?.len,
        };
        // The first file is small, and the file of a very large entry is too large to keep.
        if len != self.options.file_bytes {
            return self.give_back(used);
        }
        let spare = self.renew(used)?;
        self.held().spares.push(spare);
        Ok(())
    }

    fn renew(&self, used: u64) -> io::Result<Spare> {
        let generation = self.held().take_generation();
        let to = path(&self.dir, generation);
        self.fs.rename(&path(&self.dir, used), &to)?;
        self.fs.sync_dir(&self.dir)?;
        let file = self.fs.open(&to, Open::Write)?;
        let len = file.len()?;
        Ok(Spare { generation, file, len })
    }

    fn give_back(&self, used: u64) -> io::Result<()> {
        match self.fs.remove(&path(&self.dir, used)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.fs.sync_dir(&self.dir),
        }
    }

    fn make(&self, len: u64) -> io::Result<Spare> {
        let generation = self.held().take_generation();
        make(&*self.fs, &self.dir, generation, len)
    }

    fn held(&self) -> MutexGuard<'_, PoolState> {
        self.held.lock().expect("no panic while held")
    }

    fn lock_work(&self) -> MutexGuard<'_, ()> {
        self.work.lock().expect("no panic while held")
    }
}

impl PoolState {
    fn first_spare(&mut self) -> Option<Spare> {
        if self.spares.is_empty() { None } else { Some(self.spares.remove(0)) }
    }

    fn take_generation(&mut self) -> u64 {
        self.next_generation += 1;
        self.next_generation - 1
    }
}

/// Creates a file of zeros; its bytes and its name are durable when this returns.
pub fn make(fs: &dyn Fs, dir: &Path, generation: u64, len: u64) -> io::Result<Spare> {
    let to = path(dir, generation);
    let mut temporary = to.clone().into_os_string();
    temporary.push(TEMPORARY);
    let temporary = PathBuf::from(temporary);
    let made = (|| {
        let file = fs.open(&temporary, Open::WriteOrNew)?;
        file.truncate(0)?;
        write_zeros(&*file, 0, len)?;
        file.sync_data()?;
        fs.rename(&temporary, &to)?;
        fs.sync_dir(dir)?;
        Ok(file)
    })();
    match made {
        Ok(file) => Ok(Spare { generation, file, len }),
        Err(error) => {
            // The file only takes space. If it cannot be removed now, the next opening of the journal removes
            // it.
            let _ = fs.remove(&temporary);
            Err(error)
        }
    }
}

fn write_zeros(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = from;
    while at < to {
        let left = to - at;
        let some = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_at(&[IoSlice::new(&ZEROS[..some])], at)?;
        at += some as u64;
    }
    Ok(())
}
