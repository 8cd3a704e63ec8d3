//! Opening a journal: which entries it holds, which of them may be doubted, where it ends.
//!
//! The frames that hold, file by file in the order of the generations, give a sequence of
//! positions. Its first gap ends the journal. A frame behind the gap that calls the missing
//! position synced shows that it is damage; otherwise it was a torn tail, and what lies behind the
//! gap is made unreadable before anything is appended. Bytes between two frames that follow each
//! other mean nothing: at most a mark was there.
//!
//! A frame of an earlier incarnation behind one of a later is void (`frame.rs`).
//!
//! What is kept above the synced mark may live in the page cache only (the process was killed, or a
//! sync had failed): [`Replay::begin`] writes it again and syncs it.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::super::fs::{self, Fs, Open};
use super::Replayed;
use super::file::{Behind, FileJournal, Options, Start};
use super::frame::{self, Frame, HEADER, Head, Kind, Stamp};
use super::pool::{self, Pool, Spare};
use super::witness::{self, Synced};

/// A journal that is being read again. It yields the entries from the wished position on.
pub struct Replay {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: Options,
    files: Vec<Found>,
    /// The first of the files that is looked into.
    start: usize,
    from: u64,
    /// The last entry that is kept.
    last: u64,
    mark: u64,
    /// The newest one there is.
    incarnation: u32,
    /// What the files from the start on hold. A cut leaves it as it is: where that hits a file, it
    /// reaches above the mark.
    surveyed: Vec<Surveyed>,
    reading: Reading,
}

impl Replay {
    /// Opens the journal in `dir` (made where missing), to be replayed from the position `from` on:
    /// the one behind the snapshot's. Writes nothing that matters.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: Options, from: u64) -> Result<Replay, OpenError> {
        let (files, start) = files(&*fs, dir, options, from)?;
        let synced = witness::read(&*fs, dir, options.salt).unwrap_or_default();
        let survey = survey(&*fs, &files[start..], from, synced.position)?;
        // What a snapshot has need not be in the journal.
        if survey.mark > survey.last && survey.mark >= from {
            return Err(survey.damage(&*fs, dir, &files[start..], synced)?);
        }
        Ok(Replay::of(fs, dir, options, from, (files, start), survey))
    }

    /// As [`Replay::open`], but where something that was synced is missing the journal ends before it.
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
        (files, start): (Vec<Found>, usize),
        survey: Survey,
    ) -> Replay {
        let Survey { last, mark, incarnation, files: surveyed, .. } = survey;
        let reading = Reading::new(start, Sequence::new(from, last));
        let dir = dir.to_owned();
        Replay { fs, dir, options, files, start, from, last, mark, incarnation, surveyed, reading }
    }

    /// The last entry there is; the one before the wished position where there is none, and less
    /// than that where the journal ends before it.
    pub fn ends_at(&self) -> u64 {
        self.last
    }

    /// Everything up to here is known to be durable.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// Ends the journal before this entry, because what it refers to does not hold.
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

    /// Makes what is kept durable and what is not kept unreadable. The first entry to be appended
    /// has the position `next`: the one behind the last, or behind that of a snapshot which is
    /// ahead of this journal.
    pub fn begin(self, next: u64) -> Result<FileJournal, OpenError> {
        assert!(next > self.last, "no entry is replaced");
        let Replay { fs, dir, options, files, start, from, last, mark, incarnation, surveyed, .. } = self;
        let failed = |error| OpenError::io(&dir, error);
        // A process may have been killed between a rename and this.
        fs.sync_dir(&dir).map_err(failed)?;

        // Where the kept frames end in each file, and whether it holds others.
        let mut ends: Vec<Option<u64>> = vec![None; files.len()];
        let mut strays = vec![false; files.len()];
        let mut lasts: Vec<u64> = vec![0; files.len()];
        let mut sequence = Sequence::new(from, last);
        for (at, file) in files.iter().enumerate().skip(start) {
            match surveyed.get(at - start) {
                // Nothing in it is to be done away with or made durable.
                Some(known) if !known.stray && known.reached <= mark => {
                    ends[at] = known.end;
                    if known.end.is_some() {
                        sequence.expected = Some(known.reached.saturating_add(1));
                        sequence.incarnation = known.incarnation;
                    }
                }
                _ => {
                    let settled = settle(&*fs, file, &mut sequence, mark);
                    (ends[at], strays[at]) = settled.map_err(|error| OpenError::io(&file.path, error))?;
                }
            }
            lasts[at] = sequence.reached();
        }
        // Files before the start hold at most what lies before the next known first entry.
        let mut before = from;
        for at in (0..start).rev() {
            before = files[at + 1].first.unwrap_or(before);
            lasts[at] = before.saturating_sub(1);
        }

        let next_generation = files.last().map_or(1, |file| file.stamp.generation + 1);
        let pool = Arc::new(Pool::new(Arc::clone(&fs), dir.clone(), options, next_generation));
        let tail = ends.iter().rposition(Option::is_some);
        let unused = tail.map_or(start, |tail| tail + 1).min(files.len());
        let mut ready = Vec::new();
        for (file, stray) in files.iter().zip(&strays).skip(unused) {
            let spare = match stray {
                // A file of nothing but frames that are not kept: under another name they mean nothing.
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
                // The snapshot is ahead of everything here: no need for new space.
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

/// Why a journal is not opened.
#[derive(Debug)]
pub enum OpenError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// Something that was synced is not there any more.
    Damage {
        file: PathBuf,
        at: u64,
        what: String,
    },
}

impl OpenError {
    fn io(path: &Path, error: io::Error) -> OpenError {
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

struct Found {
    path: PathBuf,
    stamp: Stamp,
    /// The position its first frame speaks of, where that holds.
    first: Option<u64>,
}

impl Found {
    fn spare(&self, fs: &dyn Fs) -> io::Result<Spare> {
        let file = fs.open(&self.path, Open::Write)?;
        let len = file.len()?;
        Ok(Spare { generation: self.stamp.generation, file, len })
    }
}

/// Which frames belong to the journal.
struct Sequence {
    from: u64,
    /// Entries above it are not kept.
    last: u64,
    expected: Option<u64>,
    incarnation: u32,
    stopped: bool,
}

impl Sequence {
    fn new(from: u64, last: u64) -> Sequence {
        Sequence { from, last, expected: None, incarnation: 0, stopped: false }
    }

    /// Left behind by an opening that could not clear it for good.
    fn is_void(&self, head: &Head) -> bool {
        head.incarnation < self.incarnation
    }

    /// Whether the frame follows the ones before it.
    fn take(&mut self, head: &Head) -> bool {
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

    /// The position that is missing, or would be next.
    fn missing(&self) -> u64 {
        self.expected.unwrap_or(self.from)
    }

    /// The last position seen.
    fn reached(&self) -> u64 {
        self.missing().saturating_sub(1)
    }
}

/// The frames of the files, one after the other.
struct Reading {
    file: usize,
    bytes: Bytes,
    /// How far the file was read; none before it is.
    at: Option<usize>,
    sequence: Sequence,
}

impl Reading {
    fn new(file: usize, sequence: Sequence) -> Reading {
        Reading { file, bytes: Bytes::new(), at: None, sequence }
    }

    fn next(&mut self, fs: &dyn Fs, files: &[Found]) -> Result<Option<(Frame, Bytes, u64)>, OpenError> {
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

impl Found {
    fn read(&self, fs: &dyn Fs) -> Result<Vec<u8>, OpenError> {
        fs::read_all(fs, &self.path, u64::MAX).map_err(|error| OpenError::io(&self.path, error))
    }
}

/// The position that the first frame of a file speaks of.
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
    files: Vec<Surveyed>,
    /// The file and byte where the kept frames end.
    ended: (usize, usize),
}

struct Surveyed {
    /// Where its kept frames end, if it has any.
    end: Option<u64>,
    /// The last position that is kept, in it or before it.
    reached: u64,
    incarnation: u32,
    /// It holds frames that are not kept.
    stray: bool,
}

/// The files of the journal, and the first of them that is looked into. Removes those that were never
/// finished.
fn files(fs: &dyn Fs, dir: &Path, options: Options, from: u64) -> Result<(Vec<Found>, usize), OpenError> {
    assert!(from > 0, "positions begin with 1");
    let failed = |error| OpenError::io(dir, error);
    fs::create_dirs(fs, dir).map_err(failed)?;
    let mut files = Vec::new();
    for entry in fs.list(dir).map_err(failed)? {
        let path = dir.join(&entry.name);
        if entry.name.ends_with(fs::TEMPORARY) && !entry.is_dir {
            fs.remove(&path).map_err(|error| OpenError::io(&path, error))?;
        } else if let Some(generation) = pool::generation(&entry.name) {
            let stamp = Stamp { generation, salt: options.salt };
            let first = peek(fs, &path, stamp).map_err(|error| OpenError::io(&path, error))?;
            files.push(Found { path, stamp, first });
        }
    }
    // Names have a fixed width, but `list` need not sort.
    files.sort_unstable_by_key(|file| file.stamp.generation);
    let start = files.iter().rposition(|file| file.first.is_some_and(|first| first <= from)).unwrap_or(0);
    Ok((files, start))
}

/// Walks over everything once: the last entry that follows the ones before it, and how far the journal
/// was synced: up to `known`, or as the newest frame says.
fn survey(fs: &dyn Fs, files: &[Found], from: u64, known: u64) -> Result<Survey, OpenError> {
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
            match sequence.take(&frame.head) {
                true => end = Some(frame.next),
                false => stray = true,
            }
        }
        ended = end.map_or(ended, |end| (at, end));
        let end = end.map(|end| end as u64);
        surveyed.push(Surveyed {
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
    /// The missing entry, and its place.
    fn damage(
        &self,
        fs: &dyn Fs,
        dir: &Path,
        files: &[Found],
        synced: Synced,
    ) -> Result<OpenError, OpenError> {
        let (file, at) = match synced.position == self.mark {
            true => blame_by(synced, fs, dir, files, self.ended)?,
            false => blame(fs, files, self.ended)?,
        };
        let (missing, mark) = (self.last + 1, self.mark);
        let what = format!("entry {missing} is missing, though the journal was synced up to entry {mark}");
        Ok(OpenError::Damage { file, at, what })
    }
}

/// The same where the witness knows which file was in use.
fn blame_by(
    synced: Synced,
    fs: &dyn Fs,
    dir: &Path,
    files: &[Found],
    ended: (usize, usize),
) -> Result<(PathBuf, u64), OpenError> {
    let in_use = files.iter().position(|file| file.stamp.generation == synced.generation);
    match in_use {
        None => Ok((pool::path(dir, synced.generation), 0)),
        Some(in_use) if in_use == ended.0 => Ok((files[in_use].path.clone(), ended.1 as u64)),
        Some(_) => blame(fs, files, ended),
    }
}

/// The byte where the frame lies, or should lie, that would follow.
fn blame(fs: &dyn Fs, files: &[Found], (file, at): (usize, usize)) -> Result<(PathBuf, u64), OpenError> {
    let ended = files.get(file).expect("a frame was found in one of the files");
    let next = files.get(file + 1);
    match next {
        Some(next) if !frame::begins(&ended.read(fs)?, at, ended.stamp) => Ok((next.path.clone(), 0)),
        _ => Ok((ended.path.clone(), at as u64)),
    }
}

/// Makes the kept frames of a file durable where that is not known, and the others behind them
/// unreadable. Returns where the kept ones end, and whether there are others.
fn settle(fs: &dyn Fs, file: &Found, sequence: &mut Sequence, mark: u64) -> io::Result<(Option<u64>, bool)> {
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

/// The salt of the journal in the directory, as its frames show it.
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

/// What a journal file holds, frame by frame, whether or not anybody needs it: for people to read.
/// An entry is given with its position, the others are marks.
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
    /// The position up to which the journal was durable when it was written.
    pub synced: u64,
    pub entry: Option<Replayed>,
}
