//! What the broker says about itself: log lines, on standard error.
//!
//! What a client sends may stand in a log line only as [`Shown`]: one line, not too long.

use std::fmt;
use std::io::IsTerminal;

use tracing::Level;

/// Letters of a client's text that a log line takes.
const SHOWN: usize = 100;

/// Log lines from now on. Only the first call of a process does anything.
pub fn start(level: Level) {
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(level >= Level::DEBUG)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .finish();
    // Somebody else's subscriber, as in a test, stays.
    let _ = tracing::subscriber::set_global_default(lines);
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
