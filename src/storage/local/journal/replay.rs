//! Opening a journal: finds its entries, its synced mark and its end.
//!
//! The valid frames of all files, in the order of the generations, are a sequence of positions. Its first gap
//! ends the journal. If a frame after the gap says that the missing position was synced, the gap is damage.
//! Otherwise it is a torn tail, and the frames after the gap are made unreadable before anything is appended.
//! Invalid bytes between two consecutive frames are ignored: at most a mark was there.
//!
//! A frame of an earlier incarnation after one of a later incarnation is void (`frame.rs`).
//!
//! Kept entries above the synced mark may only be in the page cache (the process was killed, or a sync
//! failed). [`Replay::begin`] writes them again and syncs them; so does [`Replay::keep`], before anything else.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::super::fs::{self, Failure, Fs, Open};
use super::Replayed;
use super::file::{Behind, FileJournal, Options, Start};
use super::frame::{self, Frame, HEADER, Head, Kind, Stamp};
use super::pool::{self, Pool, Spare};
use super::witness::{self, SyncedMark};

/// A journal that is being read. It yields the entries from the requested position on.
pub struct Replay {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: Options,
    files: Vec<JournalFile>,
    /// The index of the first file that is read.
    start: usize,
    from: u64,
    /// The last entry that is kept.
    last: u64,
    mark: u64,
    /// The highest incarnation found.
    incarnation: u32,
    /// The frames found in the files from `start` on. A cut does not update it; a file that a cut affects has
    /// entries above the mark, so [`Replay::begin`] reads it again.
    surveyed: Vec<FileSurvey>,
    reading: FrameReader,
}

impl Replay {
    /// Opens the journal in `dir` (created if missing), to be replayed from the position `from` on, which is
    /// the one after the snapshot's. It only creates the directory and removes unfinished files.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: Options, from: u64) -> Result<Replay, OpenError> {
        let (files, start) = files(&*fs, dir, options, from)?;
        let synced = witness::read(&*fs, dir, options.salt).unwrap_or_default();
        let survey = survey(&*fs, &files[start..], from, synced.position)?;
        // Entries that are in the snapshot may be missing from the journal.
        if survey.mark > survey.last && survey.mark >= from {
            return Err(survey.damage(&*fs, dir, &files[start..], synced)?);
        }
        Ok(Replay::of(fs, dir, options, from, (files, start), survey))
    }

    /// Like [`Replay::open`], but if a synced entry is missing, the journal ends before it.
    pub fn open_what_is_left(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: Options,
        from: u64,
    ) -> Result<Replay, OpenError> {
        let (files, start) = files(&*fs, dir, options, from)?;
        let mut survey = survey(&*fs, &files[start..], from, 0)?;
        survey.mark = survey.mark.min(survey.last);
        Ok(Replay::of(fs, dir, options, from, (files, start), survey))
    }

    fn of(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: Options,
        from: u64,
        (files, start): (Vec<JournalFile>, usize),
        survey: Survey,
    ) -> Replay {
        let Survey { last, mark, incarnation, files: surveyed, .. } = survey;
        let reading = FrameReader::new(start, Sequence::new(from, last));
        let dir = dir.to_owned();
        Replay { fs, dir, options, files, start, from, last, mark, incarnation, surveyed, reading }
    }

    /// The position of the last entry. It is `from` - 1 if there are no entries from `from` on, and less if
    /// the journal ends before that.
    pub fn ends_at(&self) -> u64 {
        self.last
    }

    /// The position up to which everything is known to be durable.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// Ends the journal before this entry, because it refers to data that is not there.
    pub fn cut_at(&mut self, position: u64) {
        assert!(position > self.mark, "what is known to be durable is not cut");
        assert!(position >= self.from, "what a snapshot holds is not cut");
        self.last = self.last.min(position - 1);
        self.reading.sequence.last = self.last;
    }

    /// Ends the journal before this entry although it was durable: an operator has accepted the loss.
    pub fn give_up_from(&mut self, position: u64) {
        self.mark = self.mark.min(position - 1);
        self.cut_at(position);
    }

    /// Makes the kept entries durable, but leaves the synced mark where it is. [`Replay::begin`] does the same once
    /// more; this is for callers that have to do something else first.
    pub fn keep(&self) -> Result<(), OpenError> {
        self.settle_files().map(drop)
    }

    /// Makes the kept entries durable and the others unreadable.
    fn settle_files(&self) -> Result<SettledFiles, OpenError> {
        let Replay { fs, dir, files, start, from, last, mark, surveyed, .. } = self;
        // A process may have been killed between a rename and the sync of the directory.
        fs.sync_dir(dir).map_err(|error| OpenError::io(dir, error))?;

        let mut ends: Vec<Option<u64>> = vec![None; files.len()];
        let mut strays = vec![false; files.len()];
        let mut lasts: Vec<u64> = vec![0; files.len()];
        let mut sequence = Sequence::new(*from, *last);
        for (at, file) in files.iter().enumerate().skip(*start) {
            match surveyed.get(at - start) {
                // All frames of the file are kept and durable.
                Some(known) if !known.stray && known.reached <= *mark => {
                    ends[at] = known.end;
                    if known.end.is_some() {
                        sequence.expected = Some(known.reached.saturating_add(1));
                        sequence.incarnation = known.incarnation;
                    }
                }
                _ => {
                    let settled = settle(&**fs, file, &mut sequence, *mark);
                    (ends[at], strays[at]) = settled.map_err(|error| OpenError::io(&file.path, error))?;
                }
            }
            lasts[at] = sequence.reached();
        }
        // A file before `start` has only entries below the first entry of the next file.
        let mut before = *from;
        for at in (0..*start).rev() {
            before = files[at + 1].first.unwrap_or(before);
            lasts[at] = before.saturating_sub(1);
        }
        Ok(SettledFiles { ends, strays, lasts })
    }

    /// Makes the kept entries durable and the others unreadable. `next` is the position of the first entry to
    /// be appended: the one after the last entry, or after a snapshot that is ahead of this journal.
    pub fn begin(self, next: u64) -> Result<FileJournal, OpenError> {
        assert!(next > self.last, "no entry is replaced");
        let SettledFiles { ends, strays, lasts } = self.settle_files()?;
        let Replay { fs, dir, options, files, start, last, incarnation, .. } = self;
        let failed = |error| OpenError::io(&dir, error);

        let next_generation = files.last().map_or(1, |file| file.stamp.generation + 1);
        let pool = Arc::new(Pool::new(Arc::clone(&fs), dir.clone(), options, next_generation));
        let tail = ends.iter().rposition(Option::is_some);
        let unused = tail.map_or(start, |tail| tail + 1).min(files.len());
        let mut ready = Vec::new();
        for (file, stray) in files.iter().zip(&strays).skip(unused) {
            let spare = match stray {
                // The file has only frames that are not kept. A rename makes them void.
                true => pool.take_used(file.stamp.generation),
                false => file.spare(&*fs),
            };
            ready.push(spare.map_err(|error| OpenError::io(&file.path, error))?);
        }
        ready.sort_unstable_by_key(|spare| spare.generation);
        let mut ready = ready.into_iter();
        let mut behind = Vec::new();
        for (file, last) in files.iter().zip(&lasts).take(unused) {
            behind.push(Behind { generation: file.stamp.generation, last: *last, unsynced: None });
        }

        let follows = next == last + 1;
        let (current, at) = match tail {
            Some(tail) if follows => {
                behind.pop();
                let spare =
                    files[tail].spare(&*fs).map_err(|error| OpenError::io(&files[tail].path, error))?;
                (spare, ends[tail].expect("the tail has an end"))
            }
            _ => match (ready.next(), behind.pop()) {
                (Some(spare), popped) => {
                    behind.extend(popped);
                    (spare, 0)
                }
                // The snapshot is ahead of all files. A file is reused, so no new space is needed.
                (None, Some(popped)) => (pool.take_used(popped.generation).map_err(failed)?, 0),
                (None, None) => {
                    let made = pool::make(&*fs, &dir, next_generation, options.first_file_bytes);
                    pool.skip(next_generation);
                    (made.map_err(failed)?, 0)
                }
            },
        };
        for spare in ready {
            pool.offer(spare);
        }
        let incarnation = incarnation.saturating_add(1);
        let start = Start { behind, current, at, last: next - 1, incarnation };
        FileJournal::start(start, options.salt, pool).map_err(|error| failed(io::Error::other(error)))
    }
}

impl Iterator for Replay {
    type Item = Result<Replayed, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.reading.sequence.reached() < self.last {
            let (frame, bytes, file) = match self.reading.next(&*self.fs, &self.files) {
                Ok(next) => next?,
                Err(error) => return Some(Err(error)),
            };
            let Frame { head, at, commands, data, .. } = frame;
            if !self.reading.sequence.take(&head) || head.kind == Kind::Mark || head.position < self.from {
                continue;
            }
            return Some(Ok(Replayed {
                position: head.position,
                time: head.time,
                hash: head.hash,
                commands: bytes.slice(commands),
                data: bytes.slice(data),
                above_mark: head.position > self.mark,
                file,
                at: at as u64,
            }));
        }
        None
    }
}

/// The files of a journal whose kept frames are durable.
struct SettledFiles {
    /// The end of its kept frames, for each file that has some.
    ends: Vec<Option<u64>>,
    /// Whether the file has other frames too.
    strays: Vec<bool>,
    /// The last position in the file or before it.
    lasts: Vec<u64>,
}

/// The reason why a journal is not opened.
#[derive(Debug)]
pub enum OpenError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// Something that was synced is missing or broken.
    Damage {
        file: PathBuf,
        at: u64,
        what: String,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, error: io::Error) -> OpenError {
        OpenError::Io { path: path.to_owned(), error }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            OpenError::Damage { file, at, what } => {
                write!(f, "{} is damaged at byte {at}: {what}", file.display())
            }
        }
    }
}

impl std::error::Error for OpenError {}

pub(super) struct JournalFile {
    path: PathBuf,
    pub stamp: Stamp,
    /// The first position in its first frame, if that frame is valid.
    first: Option<u64>,
}

/// The index of the first file that is needed for the entries from `from` on.
pub(super) fn first_needed(files: &[JournalFile], from: u64) -> usize {
    files.iter().rposition(|file| file.first.is_some_and(|first| first <= from)).unwrap_or(0)
}

impl JournalFile {
    pub fn find(fs: &dyn Fs, path: PathBuf, stamp: Stamp) -> Result<JournalFile, OpenError> {
        let first = peek(fs, &path, stamp).map_err(|error| unreadable(fs, &path, &error))?;
        Ok(JournalFile { path, stamp, first })
    }

    fn spare(&self, fs: &dyn Fs) -> io::Result<Spare> {
        let file = fs.open(&self.path, Open::Write)?;
        let len = file.len()?;
        Ok(Spare { generation: self.stamp.generation, file, len })
    }
}

/// Decides which frames belong to the journal.
pub(super) struct Sequence {
    from: u64,
    /// Entries above it are not kept.
    last: u64,
    expected: Option<u64>,
    incarnation: u32,
    stopped: bool,
}

impl Sequence {
    pub fn new(from: u64, last: u64) -> Sequence {
        Sequence { from, last, expected: None, incarnation: 0, stopped: false }
    }

    /// Whether the frame was left behind by an opening that could not clear it for good.
    pub fn is_void(&self, head: &Head) -> bool {
        head.incarnation < self.incarnation
    }

    /// Whether the frame continues the sequence.
    pub fn take(&mut self, head: &Head) -> bool {
        if self.is_void(head) {
            return false;
        }
        let (first, next) = match head.kind {
            Kind::Entry => (head.position, head.position.saturating_add(1)),
            Kind::Mark => (head.position.saturating_add(1), head.position.saturating_add(1)),
        };
        let expected = *self.expected.get_or_insert(first.min(self.from));
        self.stopped |= first != expected || head.position > self.last;
        if !self.stopped {
            self.expected = Some(next);
            self.incarnation = head.incarnation;
        }
        !self.stopped
    }

    /// The position that is missing or would be next.
    fn missing(&self) -> u64 {
        self.expected.unwrap_or(self.from)
    }

    /// The last position in the sequence.
    pub fn reached(&self) -> u64 {
        self.missing().saturating_sub(1)
    }
}

/// Reads the frames of all files in order.
struct FrameReader {
    file: usize,
    bytes: Bytes,
    /// The byte up to which the file was read; `None` before it is loaded.
    at: Option<usize>,
    sequence: Sequence,
}

impl FrameReader {
    fn new(file: usize, sequence: Sequence) -> FrameReader {
        FrameReader { file, bytes: Bytes::new(), at: None, sequence }
    }

    fn next(&mut self, fs: &dyn Fs, files: &[JournalFile]) -> Result<Option<(Frame, Bytes, u64)>, OpenError> {
        while let Some(file) = files.get(self.file) {
            let at = match self.at {
                Some(at) => at,
                None => {
                    self.bytes = file.read(fs)?.into();
                    0
                }
            };
            if let Some(frame) = frame::next(&self.bytes, at, file.stamp) {
                self.at = Some(frame.next);
                return Ok(Some((frame, self.bytes.clone(), file.stamp.generation)));
            }
            self.file += 1;
            self.at = None;
        }
        Ok(None)
    }
}

impl JournalFile {
    pub fn read(&self, fs: &dyn Fs) -> Result<Vec<u8>, OpenError> {
        fs::read_all(fs, &self.path, u64::MAX).map_err(|error| unreadable(fs, &self.path, &error))
    }
}

/// The error for a file that cannot be read, with the first such byte and the next step.
fn unreadable(fs: &dyn Fs, path: &Path, error: &io::Error) -> OpenError {
    const BLOCK: usize = 4096;
    let mut at = 0;
    if let Ok(file) = fs.open(path, Open::Read) {
        while file.read_at(&mut [0; BLOCK], at).is_ok_and(|read| read == BLOCK) {
            at += BLOCK as u64;
        }
    }
    let failure = Failure::of(error);
    let next_step = failure.next_step();
    let else_repair = match failure {
        Failure::Device => {
            "; if it stays unreadable, copy the data directory to another disk with zeros in place of what is lost, \
             and run `jackdaw log repair` there"
        }
        _ => ", then restart",
    };
    let what = format!("it cannot be read at byte {at}: {error}; {next_step}{else_repair}");
    OpenError::io(path, io::Error::new(error.kind(), what))
}

/// The first position in the first frame of a file.
fn peek(fs: &dyn Fs, path: &Path, stamp: Stamp) -> io::Result<Option<u64>> {
    let file = fs.open(path, Open::Read)?;
    let mut bytes = vec![0; HEADER];
    if file.read_at(&mut bytes, 0)? < HEADER || !frame::begins(&bytes, 0, stamp) {
        return Ok(None);
    }
    let length = u64::from(frame::length(&bytes));
    if length > file.len()? {
        return Ok(None);
    }
    bytes.resize(usize::try_from(length).unwrap_or(HEADER), 0);
    file.read_at(&mut bytes, 0)?;
    Ok(frame::parse(&bytes, 0, stamp).map(|frame| match frame.head.kind {
        Kind::Entry => frame.head.position,
        Kind::Mark => frame.head.position.saturating_add(1),
    }))
}

struct Survey {
    last: u64,
    mark: u64,
    incarnation: u32,
    files: Vec<FileSurvey>,
    /// The file and byte at which the kept frames end.
    ended: (usize, usize),
}

struct FileSurvey {
    /// The end of its kept frames; `None` if it has none.
    end: Option<u64>,
    /// The last position that is kept, in it or before it.
    reached: u64,
    incarnation: u32,
    /// The file has frames that are not kept.
    stray: bool,
}

/// The files of the journal, and the index of the first one to read. Removes files whose creation was not
/// finished.
fn files(
    fs: &dyn Fs,
    dir: &Path,
    options: Options,
    from: u64,
) -> Result<(Vec<JournalFile>, usize), OpenError> {
    assert!(from > 0, "positions begin with 1");
    let failed = |error| OpenError::io(dir, error);
    fs::create_dirs(fs, dir).map_err(failed)?;
    let mut files = Vec::new();
    for entry in fs.list(dir).map_err(failed)? {
        let path = dir.join(&entry.name);
        if entry.name.ends_with(fs::TEMPORARY) && !entry.is_dir {
            fs.remove(&path).map_err(|error| OpenError::io(&path, error))?;
        } else if let Some(generation) = pool::generation(&entry.name) {
            files.push(JournalFile::find(fs, path, Stamp { generation, salt: options.salt })?);
        }
    }
    // Names have a fixed width, but `list` need not sort.
    files.sort_unstable_by_key(|file| file.stamp.generation);
    let start = first_needed(&files, from);
    Ok((files, start))
}

/// Reads all frames once. Finds the last entry of the sequence and the synced mark: the highest of `known`
/// and the marks in the frames.
fn survey(fs: &dyn Fs, files: &[JournalFile], from: u64, known: u64) -> Result<Survey, OpenError> {
    let mut sequence = Sequence::new(from, u64::MAX);
    let (mut mark, mut incarnation) = (known, 0);
    let mut ended = (0, 0);
    let mut surveyed = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let bytes = file.read(fs)?;
        let (mut end, mut stray) = (None, false);
        for frame in frame::all(&bytes, file.stamp) {
            incarnation = incarnation.max(frame.head.incarnation);
            if !sequence.is_void(&frame.head) {
                mark = mark.max(frame.head.synced);
            }
            if sequence.take(&frame.head) {
                end = Some(frame.next);
            } else {
                stray = true;
            }
        }
        ended = end.map_or(ended, |end| (at, end));
        let end = end.map(|end| end as u64);
        surveyed.push(FileSurvey {
            end,
            reached: sequence.reached(),
            incarnation: sequence.incarnation,
            stray,
        });
    }
    let last = sequence.missing().saturating_sub(1);
    Ok(Survey { last, mark, incarnation, files: surveyed, ended })
}

impl Survey {
    /// The error for the missing entry, with the place where it should be.
    fn damage(
        &self,
        fs: &dyn Fs,
        dir: &Path,
        files: &[JournalFile],
        synced: SyncedMark,
    ) -> Result<OpenError, OpenError> {
        let (file, at) = if synced.position == self.mark {
            blame_by(synced, fs, dir, files, self.ended)?
        } else {
            blame(fs, files, self.ended)?
        };
        let (missing, mark) = (self.last + 1, self.mark);
        let what = format!("entry {missing} is missing, though the journal was synced up to entry {mark}");
        Ok(OpenError::Damage { file, at, what })
    }
}

/// Like [`blame`], if the witness knows the file in use.
fn blame_by(
    synced: SyncedMark,
    fs: &dyn Fs,
    dir: &Path,
    files: &[JournalFile],
    ended: (usize, usize),
) -> Result<(PathBuf, u64), OpenError> {
    let in_use = files.iter().position(|file| file.stamp.generation == synced.generation);
    match in_use {
        None => Ok((pool::path(dir, synced.generation), 0)),
        Some(in_use) if in_use == ended.0 => Ok((files[in_use].path.clone(), ended.1 as u64)),
        Some(_) => blame(fs, files, ended),
    }
}

/// The file and byte at which the next frame is, or should be.
fn blame(
    fs: &dyn Fs,
    files: &[JournalFile],
    (file, at): (usize, usize),
) -> Result<(PathBuf, u64), OpenError> {
    let ended = files.get(file).expect("a frame was found in one of the files");
    let next = files.get(file + 1);
    match next {
        Some(next) if !frame::begins(&ended.read(fs)?, at, ended.stamp) => Ok((next.path.clone(), 0)),
        _ => Ok((ended.path.clone(), at as u64)),
    }
}

/// Makes the kept frames of a file durable if they may not be, and clears the headers of the others. Returns
/// the end of the kept frames, and whether there are others.
fn settle(
    fs: &dyn Fs,
    file: &JournalFile,
    sequence: &mut Sequence,
    mark: u64,
) -> io::Result<(Option<u64>, bool)> {
    let bytes = fs::read_all(fs, &file.path, u64::MAX)?;
    let mut end = None;
    let mut doubtful = None;
    let mut dropped = Vec::new();
    for frame in frame::all(&bytes, file.stamp) {
        if !sequence.take(&frame.head) {
            dropped.push(frame.at as u64);
            continue;
        }
        end = Some(frame.next);
        if frame.head.position > mark {
            doubtful.get_or_insert(frame.at);
        }
    }
    let stray = !dropped.is_empty();
    let Some(end) = end else { return Ok((None, stray)) };
    if doubtful.is_some() || stray {
        let opened = fs.open(&file.path, Open::Write)?;
        for at in dropped {
            opened.write_at(&[IoSlice::new(&[0; HEADER])], at)?;
        }
        if let Some(from) = doubtful {
            opened.write_at(&[IoSlice::new(&bytes[from..end.min(bytes.len())])], from as u64)?;
        }
        opened.sync_data()?;
    }
    Ok((Some(end as u64), stray))
}

/// The salt of the journal in the directory, taken from its frames.
pub fn salt_of(fs: &dyn Fs, dir: &Path) -> io::Result<Option<u64>> {
    for entry in fs.list(dir)? {
        let Some(generation) = pool::generation(&entry.name) else { continue };
        let bytes = fs::read_all(fs, &dir.join(&entry.name), u64::MAX)?;
        if let Some(stamp) = frame::stamp_of(&bytes, generation) {
            return Ok(Some(stamp.salt));
        }
    }
    Ok(None)
}

/// All frames of a journal file, needed or not, for the `jackdaw log` commands. A frame without an `entry` is
/// a mark.
pub fn frames(fs: &dyn Fs, path: &Path) -> io::Result<Vec<FoundFrame>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let generation = pool::generation(name)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a journal file"))?;
    let bytes = Bytes::from(fs::read_all(fs, path, u64::MAX)?);
    let Some(stamp) = frame::stamp_of(&bytes, generation) else { return Ok(Vec::new()) };
    let found = frame::all(&bytes, stamp).map(|frame| FoundFrame {
        at: frame.at as u64,
        synced: frame.head.synced,
        entry: (frame.head.kind == Kind::Entry).then(|| Replayed {
            position: frame.head.position,
            time: frame.head.time,
            hash: frame.head.hash,
            commands: bytes.slice(frame.commands),
            data: bytes.slice(frame.data),
            above_mark: false,
            file: generation,
            at: frame.at as u64,
        }),
    });
    Ok(found.collect())
}

/// One frame of a journal file.
pub struct FoundFrame {
    pub at: u64,
    /// The position up to which the journal was durable when the frame was written.
    pub synced: u64,
    pub entry: Option<Replayed>,
}

/// Replaces the commands of an entry by others of the same length. Durable when this returns; after a crash the file
/// is as it was or as it shall be.
pub fn replace_commands(fs: &dyn Fs, dir: &Path, entry: &Replayed, commands: &[u8]) -> io::Result<()> {
    assert_eq!(commands.len(), entry.commands.len(), "the frame keeps its length");
    let path = pool::path(dir, entry.file);
    let mut bytes = fs::read_all(fs, &path, u64::MAX)?;
    let frame = usize::try_from(entry.at).ok().and_then(|at| bytes.get_mut(at..)?.split_first_chunk_mut());
    let Some((header, rest)) = frame else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    frame::seal(header, commands);
    rest[..commands.len()].copy_from_slice(commands);
    fs::replace(fs, &path, &[IoSlice::new(&bytes)])
}
