//! Log lines on standard error, and the counters of the rooms. Logging never waits for a reader: see
//! `lines.rs`.
//!
//! Log lines contain text from a client only as [`Shown`]: on one line, and not too long.

mod count;
pub mod levels;
mod lines;
mod repeats;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::Duration;

pub use count::{Count, Durations};
pub use lines::{Lines, dropped_lines};
pub use repeats::WINDOW;
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;

/// The maximum number of characters of a client's text in a log line.
const SHOWN: usize = 100;

/// The time that a process waits at its end until its log lines are read.
pub const FLUSH: Duration = Duration::from_secs(1);

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The log writer, once it is started.
static LOG: OnceLock<Lines> = OnceLock::new();
static REPEATS: OnceLock<repeats::Repeats> = OnceLock::new();

/// Starts the log. Only the first call in a process has an effect.
pub fn start(level: Level, format: LogFormat) -> io::Result<()> {
    let is_json = format == LogFormat::Json;
    let log = Lines::to(io::stderr(), |dropped| {
        tracing::warn!(dropped, "log lines were dropped, because earlier lines were not read");
    })?;
    let writer = log.clone();
    let writer = move || writer.clone();
    let is_coloured = has_colours(io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
    let text = layer().with_ansi(is_coloured);
    let json = layer().json().flatten_event(true).with_ansi(false);
    let with_target = level >= Level::DEBUG;
    let text = (!is_json).then(|| text.with_target(with_target).with_writer(writer.clone()));
    let json = is_json.then(|| json.with_target(with_target).with_writer(writer));
    let repeats = repeats::Repeats::default();
    let lines = tracing_subscriber::registry().with(levels::filter(level));
    let lines = lines.with(repeats.clone()).with(text).with(json);
    // An existing subscriber, such as a test's, is kept.
    if tracing::subscriber::set_global_default(lines).is_ok() && LOG.set(log).is_ok() {
        let _ = REPEATS.set(repeats);
        // The default panic hook would wait for the reader of standard error, and would print in
        // another format.
        std::panic::set_hook(Box::new(|panic| {
            let backtrace = Backtrace::capture();
            let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
            let backtrace = backtrace.as_ref().map(tracing::field::display);
            tracing::error!(%panic, backtrace, "panic: this is a bug of the broker");
        }));
    }
    Ok(())
}

/// Whether log lines have colours: only on a terminal, and not if the user sets `NO_COLOR` (<https://no-color.org>).
fn has_colours(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

/// The current time as in log lines.
pub fn timestamp() -> String {
    let mut text = String::new();
    // Writing to a string never fails.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// Prints a line of our own on standard error, whether the log was started or not.
pub fn say(line: &str) {
    match LOG.get() {
        Some(log) => log.say(format!("{line}\n").as_bytes()),
        None => eprintln!("{line}"),
    }
}

/// Logs the number of repeated lines that were left out. A running broker calls it every [`WINDOW`].
pub fn report_repeats() {
    if let Some(repeats) = REPEATS.get() {
        repeats.report(false);
    }
}

/// Waits until the log is written, but only for a short time, because its reader may be stalled.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.flush(FLUSH);
    }
}

/// Flushes the log when it is dropped, also on a panic.
pub struct Flushed;

impl Drop for Flushed {
    fn drop(&mut self) {
        if let Some(repeats) = REPEATS.get() {
            repeats.report(true);
        }
        flush();
    }
}

/// A client's text in a log line: control characters are escaped, and a long text is cut.
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars().take(SHOWN) {
            write!(f, "{}", letter.escape_debug())?;
        }
        if self.0.chars().nth(SHOWN).is_some() {
            write!(f, "… ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_of_users_who_do_not_refuse_them() {
        assert!(has_colours(true, None) && has_colours(true, Some("".as_ref())));
        assert!(!has_colours(true, Some("1".as_ref())) && !has_colours(false, None));
    }

    #[test]
    fn a_clients_text_stays_on_one_line_and_short() {
        assert_eq!(Shown("a\nb\x1b[31m").to_string(), "a\\nb\\u{1b}[31m");
        assert_eq!(Shown("grüße").to_string(), "grüße");
        let long = Shown(&"é".repeat(32 << 10)).to_string();
        assert_eq!(long, format!("{}… (65536 bytes)", "é".repeat(SHOWN)));
    }
}
