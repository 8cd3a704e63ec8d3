//! The input of `produce`: lines of standard input, or whole files. It is read on a thread of its own, because reading
//! blocks.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

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
    Failed(io::Error),
}

pub struct Input(Receiver<io::Result<Item>>);

impl Input {
    /// Reads lines until `stopped`. Lines that were read by then still come.
    pub fn lines(stopped: &Arc<AtomicBool>) -> io::Result<Input> {
        // Not `Stdin`: its buffer could not be looked into.
        let input = BufReader::new(File::from(io::stdin().as_fd().try_clone_to_owned()?));
        let stopped = Arc::clone(stopped);
        Ok(Input::on_a_thread(move |items| read_lines(input, items, &stopped)))
    }

    /// Reads files; `-` is standard input.
    pub fn files(files: Vec<PathBuf>) -> Input {
        Input::on_a_thread(move |items| {
            for (number, file) in (1..).zip(files) {
                let item = read_file(&file).map(|bytes| Item { number, bytes });
                let is_over = item.is_err();
                if items.send(item).is_err() || is_over {
                    return;
                }
            }
        })
    }

    fn on_a_thread(work: impl FnOnce(&SyncSender<io::Result<Item>>) + Send + 'static) -> Input {
        let (items, input) = mpsc::sync_channel(AHEAD);
        std::thread::spawn(move || work(&items));
        Input(input)
    }

    pub fn next(&self, wait: Duration) -> Next {
        match self.0.recv_timeout(wait) {
            Ok(Ok(item)) => Next::Item(item),
            Ok(Err(error)) => Next::Failed(error),
            Err(RecvTimeoutError::Timeout) => Next::Quiet,
            Err(RecvTimeoutError::Disconnected) => Next::Over,
        }
    }
}

fn read_lines(mut input: BufReader<impl Read>, items: &SyncSender<io::Result<Item>>, stopped: &AtomicBool) {
    for number in 1.. {
        if stopped.load(Ordering::SeqCst) && !input.buffer().contains(&b'\n') {
            return;
        }
        let mut bytes = Vec::new();
        let item = match input.read_until(b'\n', &mut bytes) {
            Ok(0) => return,
            Ok(_) => Ok(Item { number, bytes: without_end(bytes) }),
            Err(error) => Err(error),
        };
        let is_over = item.is_err();
        if items.send(item).is_err() || is_over {
            return;
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

    fn read(text: &'static str, stopped: bool) -> Vec<(u64, String)> {
        let input = Input::on_a_thread(move |items| {
            read_lines(BufReader::new(text.as_bytes()), items, &AtomicBool::new(stopped));
        });
        let items = input.0.into_iter().map(Result::unwrap);
        items.map(|item| (item.number, String::from_utf8(item.bytes).unwrap())).collect()
    }

    #[test]
    fn lines_are_numbered_and_lose_their_ends() {
        let line = |number, text: &str| (number, text.to_owned());
        assert_eq!(read("a\nb\r\n\nc\r", false), [line(1, "a"), line(2, "b"), line(3, ""), line(4, "c\r")]);
        assert_eq!(read("", false), []);
    }

    #[test]
    fn after_a_stop_only_lines_that_were_read_come() {
        assert_eq!(read("a\nb\n", true), [], "nothing was read yet");
        let mut input = BufReader::new(&b"a\nb\nhalf"[..]);
        input.fill_buf().unwrap();
        let (items, out) = mpsc::sync_channel(AHEAD);
        read_lines(input, &items, &AtomicBool::new(true));
        drop(items);
        let read: Vec<Vec<u8>> = out.into_iter().map(|item| item.unwrap().bytes).collect();
        assert_eq!(read, [b"a", b"b"]);
    }
}
