//! A client that is turned away gets a line in the log, but a flood of them does not fill the disk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::time::Moment;

/// So many lines in so much time; what comes on top is counted.
const LINES: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Complaints(Mutex<Window>);

#[derive(Debug)]
struct Window {
    since: Moment,
    asked: u32,
}

impl Complaints {
    pub(super) fn new() -> Complaints {
        Complaints(Mutex::new(Window { since: Moment::now(), asked: 0 }))
    }

    /// Whether one more line is fine now.
    pub(super) fn may_speak(&self) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.since.elapsed() >= WINDOW {
            let unsaid = window.asked.saturating_sub(LINES);
            if unsaid > 0 {
                warn!(unsaid, "more connections were closed for such reasons");
            }
            *window = Window { since: Moment::now(), asked: 0 };
        }
        window.asked = window.asked.saturating_add(1);
        window.asked <= LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_complaints_is_cut_and_counted_until_it_is_over() {
        let complaints = Complaints::new();
        let said = (0..1000).filter(|_| complaints.may_speak()).count();
        assert_eq!(said, 50);
        crate::time::sleep(WINDOW).await;
        assert!(complaints.may_speak());
    }
}
