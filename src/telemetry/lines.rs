//! A bounded queue of log lines for a reader that may be stalled, and a thread that writes them. Logging
//! never waits. A line that does not fit is dropped and counted, and a later line has the number of
//! dropped lines.
//!
//! `tracing-appender` was not chosen: it limits lines instead of bytes, does not log the number of
//! dropped lines, and cannot flush with a time limit.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::Count;
use crate::types::IgnorePoison;

/// The maximum number of bytes in the queue. They usually wait for a pipe of 64 KiB.
const MOST: usize = 1 << 20;

/// The number of dropped lines.
static DROPPED: Count = Count::new();

/// The number of lines that the process dropped because earlier lines were not read.
pub fn dropped_lines() -> u64 {
    DROPPED.get()
}

/// The queue that lines are added to. All clones share it.
#[derive(Clone, Default)]
pub struct Lines(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// The bytes of the lines that wait or are being written.
    bytes: usize,
    is_writing: bool,
    /// Lines that did not fit since that was last reported.
    dropped: u64,
}

impl Lines {
    /// Writes lines to `out` from now on. `report` reports the number of dropped lines.
    pub fn to(out: impl Write + Send + 'static, report: fn(u64)) -> io::Result<Lines> {
        let lines = Lines::default();
        let queue = Arc::clone(&lines.0);
        std::thread::Builder::new().name("lines".into()).spawn(move || queue.run(out, report))?;
        Ok(lines)
    }

    pub fn say(&self, line: &[u8]) {
        let mut state = self.0.lock();
        if state.bytes + line.len() > MOST {
            state.dropped += 1;
            DROPPED.one();
            return;
        }
        state.bytes += line.len();
        state.waiting.push_back(line.to_vec());
        self.0.changed.notify_all();
    }

    /// Waits until all lines are written, at most for `limit`. Returns whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        let is_behind = |state: &mut State| state.bytes > 0 || state.is_writing;
        let waited = self.0.changed.wait_timeout_while(self.0.lock(), limit, is_behind);
        !waited.ignoring_poison().1.timed_out()
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().ignoring_poison()
    }

    /// Writes the lines until the process ends.
    fn run(&self, mut out: impl Write, report: fn(u64)) {
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() {
                state = self.changed.wait(state).ignoring_poison();
            }
            let lines = std::mem::take(&mut state.waiting);
            state.is_writing = true;
            drop(state);
            for line in &lines {
                // A closed terminal accepts no more lines; the broker continues.
                if out.write_all(line).and_then(|()| out.flush()).is_err() {
                    DROPPED.one();
                }
                let mut state = self.lock();
                state.bytes -= line.len();
            }
            let mut state = self.lock();
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            if dropped > 0 {
                report(dropped);
            }
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }
}

/// Each write is one line, as `tracing` writes them.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    /// A pipe that accepts a line only when a test reads one.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            match self.0.send(line.to_vec()) {
                Ok(()) => Ok(line.len()),
                Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(report: fn(u64)) -> (Lines, Receiver<Vec<u8>>) {
        let (pipe, reader) = sync_channel(0);
        (Lines::to(Pipe(pipe), report).unwrap(), reader)
    }

    #[test]
    fn writing_a_line_does_not_wait_for_its_reader_and_reports_no_lost_one() {
        static REPORTED: Count = Count::new();
        let (lines, reader) = lines(|dropped| REPORTED.add(dropped));
        let line = vec![b'x'; MOST / 8];
        for _ in 0..20 {
            lines.say(&line);
        }
        assert!(!lines.flush(Duration::ZERO), "nobody has read a line");
        assert!(dropped_lines() >= 12);
        for _ in 0..8 {
            assert_eq!(reader.recv().unwrap().len(), line.len());
        }
        assert!(lines.flush(LONG));
        assert_eq!(REPORTED.get(), 12, "reported when there is room again");
        lines.say(b"more");
        assert_eq!(reader.recv().unwrap(), b"more");
        assert!(lines.flush(LONG));
        assert_eq!(REPORTED.get(), 12, "once");
    }

    #[test]
    fn a_closed_terminal_ends_nothing() {
        let (lines, reader) = lines(|_| {});
        drop(reader);
        let before = dropped_lines();
        lines.say(b"a");
        lines.say(b"b");
        assert!(lines.flush(LONG));
        assert!(dropped_lines() >= before + 2);
    }
}
