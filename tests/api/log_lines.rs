//! The log of one test. Every test of this process has the same subscriber, because `tracing` decides once for each
//! log line whether anybody reads it, and may ask a thread that has no subscriber of its own.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

thread_local! {
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Writes to the log of its thread, if that was begun.
struct OfThisThread;

impl io::Write for OfThisThread {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.iter_mut().for_each(|log| log.extend_from_slice(text)));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on, the log lines of this thread are kept.
pub fn begin() {
    static SUBSCRIBED: Once = Once::new();
    SUBSCRIBED.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| OfThisThread).init());
    LOG.set(Some(Vec::new()));
}

/// The log lines of this thread that contain the text.
pub fn with(text: &str) -> Vec<String> {
    let log = LOG.with_borrow(Clone::clone).unwrap_or_default();
    let lines = String::from_utf8(log).unwrap();
    lines.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}
