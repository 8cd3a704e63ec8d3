//! What the broker says about itself: log lines, on standard error, and what its rooms count.
//!
//! What a client sends may stand in a log line only as [`Shown`]: one line, not too long.

mod count;
pub mod levels;
mod repeats;

use std::fmt;
use std::io::IsTerminal;

pub use count::{Count, Durations};
use tracing::Level;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;

/// Letters of a client's text that a log line takes.
const SHOWN: usize = 100;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// Log lines from now on. Only the first call of a process does anything.
pub fn start(level: Level, format: LogFormat) {
    let is_json = format == LogFormat::Json;
    let text = layer().with_ansi(std::io::stderr().is_terminal());
    let json = layer().json().flatten_event(true).with_ansi(false);
    let with_target = level >= Level::DEBUG;
    let text = (!is_json).then(|| text.with_target(with_target).with_writer(std::io::stderr));
    let json = is_json.then(|| json.with_target(with_target).with_writer(std::io::stderr));
    let lines = tracing_subscriber::registry().with(levels::filter(level));
    let lines = lines.with(repeats::Repeats::default()).with(text).with(json);
    // Somebody else's subscriber, as in a test, stays.
    let is_ours = tracing::subscriber::set_global_default(lines).is_ok();
    if is_ours && is_json {
        // What panics would write lines of another kind.
        std::panic::set_hook(Box::new(
            |panic| tracing::error!(%panic, "a panic, which is a fault of this broker"),
        ));
    }
}

/// A client's text in a log line: control characters escaped, cut where it gets long.
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
    fn a_clients_text_stays_on_one_line_and_short() {
        assert_eq!(Shown("a\nb\x1b[31m").to_string(), "a\\nb\\u{1b}[31m");
        assert_eq!(Shown("grüße").to_string(), "grüße");
        let long = Shown(&"é".repeat(32 << 10)).to_string();
        assert_eq!(long, format!("{}… (65536 bytes)", "é".repeat(SHOWN)));
    }
}
