//! Whether a backup that keeps files from being removed still makes progress.

use std::time::Duration;

/// From this time without progress on, the backup is a trouble.
const STALLED: Duration = Duration::from_mins(1);

/// After this time without progress the files are taken away. A sync of a copied segment may take minutes.
const PATIENCE: Duration = Duration::from_mins(5);

/// The longest time that counts between two looks: after a machine has slept, a backup needs time to go on.
const LONGEST_STEP: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(in super::super) struct Watch(Option<Seen>);

#[derive(Debug)]
struct Seen {
    progress: u64,
    at: Duration,
    /// The time without progress.
    idle: Duration,
}

impl Watch {
    /// A look at the progress of the backup that files wait for; `None` if none wait. Returns whether its time is over.
    pub fn look(&mut self, progress: Option<u64>, now: Duration) -> bool {
        let idle = match (&self.0, progress) {
            (Some(seen), Some(progress)) if seen.progress == progress => {
                seen.idle + now.saturating_sub(seen.at).min(LONGEST_STEP)
            }
            _ => Duration::ZERO,
        };
        self.0 = progress.map(|progress| Seen { progress, at: now, idle });
        idle >= PATIENCE
    }

    /// The time without progress, if the backup has stalled.
    pub fn stalled(&self) -> Option<Duration> {
        self.0.as_ref().map(|seen| seen.idle).filter(|idle| *idle >= STALLED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_backup_without_progress_is_stalled_after_a_minute_and_over_after_five() {
        let mut watch = Watch::default();
        let over: Vec<bool> = (0..6).map(|minute| watch.look(Some(7), minute * MINUTE)).collect();
        assert_eq!(over, [false, false, false, false, false, true]);
        assert_eq!(watch.stalled(), Some(5 * MINUTE));

        assert!(!watch.look(Some(8), 6 * MINUTE), "it goes on");
        assert_eq!(watch.stalled(), None);
        watch.look(Some(8), 7 * MINUTE);
        assert_eq!(watch.stalled(), Some(MINUTE));
        watch.look(None, 8 * MINUTE);
        assert_eq!(watch.stalled(), None, "nothing waits for it");
    }

    #[test]
    fn the_sleep_of_the_machine_is_not_time_without_progress() {
        let mut watch = Watch::default();
        assert!(!watch.look(Some(7), Duration::ZERO));
        assert!(!watch.look(Some(7), 600 * MINUTE));
        assert_eq!(watch.stalled(), Some(MINUTE));
    }
}
