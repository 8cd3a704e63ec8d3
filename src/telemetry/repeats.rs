//! Repeated log lines are written once and then counted, so that a full disk or thousands of broken
//! clients do not fill the disk with lines. This applies to all log lines.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::time::Moment;

/// Within this time a line is written once, and one place in the code writes at most `LINES`.
const WINDOW: Duration = Duration::from_secs(10);
const LINES: usize = 50;

/// Drops repeated lines. Lines below INFO are never dropped.
#[derive(Default)]
pub(super) struct Repeats(Mutex<HashMap<Identifier, Window>>);

/// The lines that one place in the code has written recently.
struct Window {
    since: Moment,
    /// The hashes of the lines that were written.
    written: Vec<u64>,
    unsaid: u64,
}

impl Repeats {
    /// Returns `None` if the line must be dropped, else the number of lines of its place that were
    /// dropped before.
    fn look_at(&self, place: Identifier, line: u64) -> Option<u64> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Window { since: Moment::now(), written: Vec::new(), unsaid: 0 };
        let window = places.entry(place).or_insert_with(fresh);
        let mut unsaid = 0;
        if window.since.elapsed() >= WINDOW {
            unsaid = window.unsaid;
            *window = fresh();
        } else if window.written.len() >= LINES || window.written.contains(&line) {
            window.unsaid += 1;
            return None;
        }
        window.written.push(line);
        Some(unsaid)
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || is_the_count(metadata) {
            return true;
        }
        let mut line = Line(DefaultHasher::new());
        event.record(&mut line);
        match self.look_at(metadata.callsite(), line.0.finish()) {
            None => false,
            Some(0) => true,
            Some(unsaid) => {
                warn!(unsaid, "lines like the next one were left out since it was last written");
                true
            }
        }
    }
}

/// Whether this is the line that reports dropped lines. It is in this file, and must not be dropped
/// itself.
fn is_the_count(metadata: &Metadata<'_>) -> bool {
    metadata.module_path() == Some(module_path!())
}

/// A hash of all fields of a line.
struct Line(DefaultHasher);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a hash never fails.
        let _ = write!(self, "{}={value:?}", field.name());
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tracing::info;
    use tracing::subscriber::with_default;
    use tracing_subscriber::fmt::{MakeWriter, layer};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Lines;

        fn make_writer(&self) -> Lines {
            self.clone()
        }
    }

    impl Lines {
        fn take(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock().unwrap());
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
        }
    }

    fn full(free: u64) {
        warn!(free, "the disk is full");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_repeats_is_written_once() {
        let lines = Lines::default();
        let layer = layer().without_time().with_ansi(false).with_target(false).with_writer(lines.clone());
        let subscriber = Arc::new(tracing_subscriber::registry().with(Repeats::default()).with(layer));
        let flood = |free| with_default(Arc::clone(&subscriber), || (0..1000).for_each(|_| full(free)));
        flood(1);
        with_default(Arc::clone(&subscriber), || info!("something else"));
        assert_eq!(lines.take(), [" WARN the disk is full free=1", " INFO something else"]);
        (2..100).for_each(flood);
        assert_eq!(lines.take().len(), LINES - 1, "other lines of the same place");
        crate::time::sleep(WINDOW).await;
        flood(1);
        assert_eq!(lines.take().last().map(String::as_str), Some(" WARN the disk is full free=1"));
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_are_left_out_are_counted_until_one_is_written_again() {
        let repeats = Repeats::default();
        let place = tracing::callsite! { name: "a place", kind: tracing::metadata::Kind::EVENT, fields: };
        let place = || Identifier(place);
        assert_eq!(repeats.look_at(place(), 1), Some(0));
        assert!((0..1000).all(|_| repeats.look_at(place(), 1).is_none()));
        assert_eq!(repeats.look_at(place(), 2), Some(0));
        crate::time::sleep(WINDOW).await;
        assert_eq!(repeats.look_at(place(), 1), Some(1000));
        crate::time::sleep(WINDOW).await;
        assert_eq!(repeats.look_at(place(), 1), Some(0));
    }
}
