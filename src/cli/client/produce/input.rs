//! The input of `produce`: lines of standard input, or whole files. It is read on a thread of its own, because reading
//! blocks.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::TICK;

/// The maximum number of lines that are read ahead.
const AHEAD: usize = 1000;

/// A line without its end, or a file. The first one has the number 1.
#[derive(Debug)]
pub struct Item {
    pub number: u64,
    pub bytes: Vec<u8>,
}

pub enum Next {
    Item(Item),
    /// Nothing came within the time.
    Quiet,
    Over,
    /// A signal came before the end of the input.
    Cut,
    Failed(io::Error),
}

/// An item, or `None` at the end of the input. Without that the input was not read to its end.
type Reading = io::Result<Option<Item>>;

pub struct Input(Receiver<Reading>);

impl Input {
    /// Reads lines until `stopped`. Lines that were read by then still come.
    pub fn lines(stopped: &Arc<AtomicBool>) -> io::Result<Input> {
        // Not `Stdin`: its buffer could not be looked into.
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let watched = input.try_clone()?;
        let stopped = Arc::clone(stopped);
        let is_ready = move || is_ready(&watched);
        Ok(Input::on_a_thread(move |items| read_lines(BufReader::new(input), is_ready, items, &stopped)))
    }

    /// Reads files; `-` is standard input.
    pub fn files(files: Vec<PathBuf>) -> Input {
        Input::on_a_thread(move |items| {
            for (number, file) in (1..).zip(files) {
                let item = read_file(&file).map(|bytes| Some(Item { number, bytes }));
                let is_over = item.is_err();
                if items.send(item).is_err() || is_over {
                    return;
                }
            }
            let _ = items.send(Ok(None));
        })
    }

    fn on_a_thread(work: impl FnOnce(&SyncSender<Reading>) + Send + 'static) -> Input {
        let (items, input) = mpsc::sync_channel(AHEAD);
        std::thread::spawn(move || work(&items));
        Input(input)
    }

    pub fn next(&self, wait: Duration) -> Next {
        match self.0.recv_timeout(wait) {
            Ok(Ok(Some(item))) => Next::Item(item),
            Ok(Ok(None)) => Next::Over,
            Ok(Err(error)) => Next::Failed(error),
            Err(RecvTimeoutError::Timeout) => Next::Quiet,
            Err(RecvTimeoutError::Disconnected) => Next::Cut,
        }
    }
}

/// Whether a read would not block. It waits some time for that.
fn is_ready(input: &File) -> bool {
    let mut polled = [PollFd::new(input, PollFlags::IN)];
    // After an error, the read has the reason.
    event::poll(&mut polled, Timespec::try_from(TICK).ok().as_ref())
        .map_or_else(|error| error != Errno::INTR, |ready| ready > 0)
}

fn read_lines(
    mut input: BufReader<impl Read>,
    is_ready: impl Fn() -> bool,
    items: &SyncSender<Reading>,
    stopped: &AtomicBool,
) {
    for number in 1.. {
        let item = match next_line(&mut input, &is_ready, stopped) {
            Ok(Line::Text(bytes)) => Ok(Some(Item { number, bytes })),
            Ok(Line::Over) => Ok(None),
            Ok(Line::Cut) => return,
            Err(error) => Err(error),
        };
        let is_over = !matches!(item, Ok(Some(_)));
        if items.send(item).is_err() || is_over {
            return;
        }
    }
}

enum Line {
    Text(Vec<u8>),
    /// The end of the input, or nothing was left to read at a signal.
    Over,
    /// At a signal, a part of a line was read, or there was more to read.
    Cut,
}

fn next_line(
    input: &mut BufReader<impl Read>,
    is_ready: impl Fn() -> bool,
    stopped: &AtomicBool,
) -> io::Result<Line> {
    let mut line = Vec::new();
    loop {
        // Looked at before the wait, so that what was there at the signal is seen.
        let is_stopped = stopped.load(Ordering::SeqCst);
        let was_read = !input.buffer().is_empty();
        if !was_read && !is_ready() {
            match (is_stopped, line.is_empty()) {
                (false, _) => continue,
                (true, true) => return Ok(Line::Over),
                (true, false) => return Ok(Line::Cut),
            }
        }
        let bytes = match input.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        let count = bytes.len() as u64;
        if count == 0 {
            return Ok(if line.is_empty() { Line::Over } else { Line::Text(without_end(line)) });
        }
        if is_stopped && !(was_read && bytes.contains(&b'\n')) {
            return Ok(Line::Cut);
        }
        input.take(count).read_until(b'\n', &mut line)?;
        if line.last() == Some(&b'\n') {
            return Ok(Line::Text(without_end(line)));
        }
    }
}

fn read_file(file: &Path) -> io::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    std::fs::read(file).map_err(named)
}

fn without_end(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines, and whether the end of the input came.
    fn read(input: BufReader<&[u8]>, is_ready: bool, stopped: bool) -> (Vec<(u64, String)>, bool) {
        let (items, out) = mpsc::sync_channel(AHEAD);
        read_lines(input, || is_ready, &items, &AtomicBool::new(stopped));
        drop(items);
        let mut items: Vec<Option<Item>> = out.into_iter().map(Result::unwrap).collect();
        let is_over = items.pop_if(|last| last.is_none()).is_some();
        let line = |item: Item| (item.number, String::from_utf8(item.bytes).unwrap());
        (items.into_iter().flatten().map(line).collect(), is_over)
    }

    fn lines(text: &[&str]) -> Vec<(u64, String)> {
        (1..).zip(text).map(|(number, text)| (number, (*text).to_owned())).collect()
    }

    #[test]
    fn lines_are_numbered_and_lose_their_ends() {
        let whole = |text: &'static str| read(BufReader::with_capacity(2, text.as_bytes()), true, false);
        assert_eq!(whole("a\nb\r\n\nc\r"), (lines(&["a", "b", "", "c\r"]), true));
        assert_eq!(whole("long line\nb\n"), (lines(&["long line", "b"]), true));
        assert_eq!(whole(""), (vec![], true));
    }

    #[test]
    fn after_a_stop_only_lines_that_were_read_come_and_an_input_with_more_has_no_end() {
        let of = |text: &'static str, is_read: bool| {
            let mut input = BufReader::new(text.as_bytes());
            if is_read {
                input.fill_buf().unwrap();
            }
            input
        };
        assert_eq!(read(of("a\nb\n", false), true, true), (vec![], false), "nothing was read yet");
        assert_eq!(read(of("", false), true, true), (vec![], true), "there is nothing to read");
        assert_eq!(read(of("a\n", false), false, true), (vec![], true), "nobody wrote anything yet");
        for is_ready in [false, true] {
            assert_eq!(read(of("a\nb\n", true), is_ready, true), (lines(&["a", "b"]), true));
            assert_eq!(
                read(of("a\nb\nhalf", true), is_ready, true),
                (lines(&["a", "b"]), false),
                "half a line"
            );
        }
    }
}
