//! Repeated log lines are written once and then counted, so that a full disk or thousands of broken clients
//! do not fill the disk with lines. This applies to all log lines.
//!
//! The number of different lines is limited too, but only while the broker serves, and not at ERROR: such a
//! line names something that needs attention, for example a damaged partition, so each is written.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::time::Moment;
use crate::types::IgnorePoison;

/// Within this time a line is written once, and one place in the code writes at most [`LINES`].
pub const WINDOW: Duration = Duration::from_secs(10);
const LINES: usize = 50;
/// The same at ERROR and before the broker serves.
const MANY_LINES: usize = 100_000;

/// Leaves out repeated lines. Lines below INFO are never left out. Clones share their state.
#[derive(Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    places: HashMap<Identifier, Window>,
    /// [`Repeats::report`] was called.
    is_serving: bool,
}

/// The lines that one place in the code has written recently.
struct Window {
    since: Moment,
    /// The lines that were written, by their hash.
    written: HashSet<u64>,
    left_out: u64,
    /// The number of lines left out in earlier windows that no line has reported yet.
    unreported: u64,
    /// The message of the first line that was left out.
    like: String,
}

impl Window {
    fn is_over(&self) -> bool {
        self.since.elapsed() >= WINDOW
    }
}

impl Repeats {
    /// Whether a line is to be written.
    fn admits(&self, metadata: &Metadata<'_>, line: &Line) -> bool {
        let mut state = self.state();
        let most = if *metadata.level() == Level::ERROR || !state.is_serving { MANY_LINES } else { LINES };
        let fresh = || Window {
            since: Moment::now(),
            written: HashSet::new(),
            left_out: 0,
            unreported: 0,
            like: String::new(),
        };
        let window = match state.places.entry(metadata.callsite()) {
            Entry::Vacant(place) => place.insert(fresh()),
            Entry::Occupied(place) => place.into_mut(),
        };
        if window.is_over() {
            let unreported = window.unreported + window.left_out;
            *window = Window { unreported, like: std::mem::take(&mut window.like), ..fresh() };
        }
        if window.written.len() < most && window.written.insert(line.hash.finish()) {
            return true;
        }
        if window.left_out == 0 {
            window.like.clone_from(&line.message);
        }
        window.left_out += 1;
        false
    }

    /// Logs the number of lines that were left out, for each place whose window is over, or with `all` for every
    /// place. Called again and again while the broker serves.
    pub(super) fn report(&self, all: bool) {
        let mut due = Vec::new();
        {
            let mut state = self.state();
            state.is_serving = true;
            state.places.retain(|_, window| {
                if all || window.is_over() {
                    window.unreported += std::mem::take(&mut window.left_out);
                }
                if window.unreported > 0 {
                    due.push((std::mem::take(&mut window.unreported), window.like.clone()));
                }
                !window.is_over()
            });
        }
        // Without the lock, because these are log lines too.
        for (lines, like) in due {
            warn!(lines, like, "log lines were left out: they repeat, or too many came from one place");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().ignoring_poison()
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || is_the_count(metadata) {
            return true;
        }
        let mut line = Line { hash: DefaultHasher::new(), message: String::new() };
        event.record(&mut line);
        self.admits(metadata, &line)
    }
}

/// Whether this is the line that reports dropped lines. It is in this file, and must not be dropped
/// itself.
fn is_the_count(metadata: &Metadata<'_>) -> bool {
    metadata.module_path() == Some(module_path!())
}

/// All fields of a line, hashed, and its message.
struct Line {
    hash: DefaultHasher,
    message: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a string never fails.
            let _ = write!(self.message, "{value:?}");
            self.hash.write(self.message.as_bytes());
            return;
        }
        let _ = write!(HashWriter(&mut self.hash), "{}={value:?}", field.name());
    }
}

struct HashWriter<'a>(&'a mut DefaultHasher);

impl Write for HashWriter<'_> {
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

    const LEFT_OUT: &str = " WARN log lines were left out: they repeat, or too many came from one place";

    /// A closure whose log lines are collected. `serving`: the broker has started.
    fn logging(serving: bool) -> (Repeats, Lines, impl Fn(&dyn Fn())) {
        let (repeats, lines) = (Repeats::default(), Lines::default());
        if serving {
            repeats.report(false);
        }
        let layer = layer().without_time().with_ansi(false).with_target(false).with_writer(lines.clone());
        let subscriber = Arc::new(tracing_subscriber::registry().with(repeats.clone()).with(layer));
        (repeats, lines, move |work| with_default(Arc::clone(&subscriber), work))
    }

    fn full(free: u64) {
        warn!(free, "the disk is full");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_repeats_is_written_once() {
        let (_, lines, log) = logging(true);
        let flood = |free| log(&|| (0..1000).for_each(|_| full(free)));
        flood(1);
        log(&|| info!("something else"));
        assert_eq!(lines.take(), [" WARN the disk is full free=1", " INFO something else"]);
        (2..100).for_each(flood);
        assert_eq!(lines.take().len(), LINES - 1, "other lines of the same place");
        crate::time::sleep(WINDOW).await;
        flood(1);
        assert_eq!(lines.take(), [" WARN the disk is full free=1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_were_left_out_are_counted_once_at_the_end_of_the_time() {
        let (repeats, lines, log) = logging(true);
        log(&|| (0..1000).for_each(|_| full(1)));
        log(&|| repeats.report(false));
        assert_eq!(lines.take().len(), 1, "the time is not over");
        crate::time::sleep(WINDOW).await;
        log(&|| repeats.report(false));
        let line = format!("{LEFT_OUT} lines=999 like=\"the disk is full\"");
        assert_eq!(lines.take(), [line], "also if the place says nothing any more");
        log(&|| repeats.report(true));
        assert_eq!(lines.take(), [""; 0]);
        // Also if the place logs again before that.
        log(&|| (0..10).for_each(|_| full(1)));
        crate::time::sleep(WINDOW).await;
        log(&|| (0..20).for_each(|_| full(1)));
        lines.take();
        for (all, left_out) in [(false, 9), (true, 19)] {
            log(&|| repeats.report(all));
            assert_eq!(lines.take(), [format!("{LEFT_OUT} lines={left_out} like=\"the disk is full\"")]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_damaged_partition_is_named_and_at_the_start_everything_is() {
        let damaged = |partition: u64| tracing::error!(partition, "damaged");
        for (serving, named) in [(true, LINES), (false, 1000)] {
            let (_, lines, log) = logging(serving);
            log(&|| (0..1000).for_each(damaged));
            let logged = lines.take();
            assert_eq!((logged.len(), logged[999].as_str()), (1000, "ERROR damaged partition=999"));
            log(&|| (0..1000).for_each(full));
            assert_eq!(lines.take().len(), named);
        }
    }
}
