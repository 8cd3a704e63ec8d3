//! Lasting problems of a store: states in which it does less than it should. Each one has a metric, is in
//! `/health` with its reason, and is logged repeatedly until it ends.

use std::collections::BTreeMap;
use std::time::Duration;

/// The interval at which a lasting state is logged again.
const AGAIN: Duration = Duration::from_mins(10);
/// The maximum number of partitions that a reason names.
const NAMED: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleKind {
    /// Nothing is written until a restart.
    JournalFailed,
    /// Writes are refused until there is space.
    DiskFull,
    /// Partitions whose files are damaged.
    PartitionsOutOfService,
    /// Partitions that refuse records until their segments can be written again.
    PartitionsNotWritable,
    ClockUntrusted,
    /// Expired or surplus data is not deleted.
    RetentionHalted,
    /// Files that are not needed any more wait for a backup that makes no progress.
    BackupStalled,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: TroubleKind,
    /// The number of affected things, such as partitions.
    pub count: usize,
    pub why: String,
}

impl TroubleKind {
    pub const ALL: [TroubleKind; 7] = [
        TroubleKind::JournalFailed,
        TroubleKind::DiskFull,
        TroubleKind::PartitionsOutOfService,
        TroubleKind::PartitionsNotWritable,
        TroubleKind::ClockUntrusted,
        TroubleKind::RetentionHalted,
        TroubleKind::BackupStalled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            TroubleKind::JournalFailed => "journal_failed",
            TroubleKind::DiskFull => "disk_full",
            TroubleKind::PartitionsOutOfService => "partitions_out_of_service",
            TroubleKind::PartitionsNotWritable => "partitions_not_writable",
            TroubleKind::ClockUntrusted => "clock_untrusted",
            TroubleKind::RetentionHalted => "retention_halted",
            TroubleKind::BackupStalled => "backup_stalled",
        }
    }
}

impl Trouble {
    pub(super) fn of_one(kind: TroubleKind, why: impl Into<String>) -> Trouble {
        Trouble { kind, count: 1, why: why.into() }
    }

    /// One trouble for partitions with these reasons; `None` if there are none.
    pub(super) fn of_partitions(kind: TroubleKind, reasons: impl Iterator<Item = String>) -> Option<Trouble> {
        let mut why = String::new();
        let mut count = 0;
        for one in reasons {
            match count {
                0 => why = one,
                1..NAMED => why = format!("{why}; {one}"),
                _ => {}
            }
            count += 1;
        }
        if count > NAMED {
            why = format!("{why}; and {} more", count - NAMED);
        }
        (count > 0).then_some(Trouble { kind, count, why })
    }
}

/// The log lines of lasting states so far.
#[derive(Debug, Default)]
pub(super) struct Reminders(BTreeMap<TroubleKind, LoggedTrouble>);

#[derive(Debug)]
struct LoggedTrouble {
    since: Duration,
    logged: Duration,
}

/// A log line to write for a state, and how long the state has lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reminder {
    Begins(TroubleKind),
    Lasts(TroubleKind, Duration),
    Ends(TroubleKind, Duration),
}

impl Reminders {
    pub(super) fn look(&mut self, now_in: &[TroubleKind], now: Duration) -> Vec<Reminder> {
        let mut reminders = Vec::new();
        for kind in TroubleKind::ALL {
            match (self.0.get_mut(&kind), now_in.contains(&kind)) {
                (None, true) => {
                    self.0.insert(kind, LoggedTrouble { since: now, logged: now });
                    reminders.push(Reminder::Begins(kind));
                }
                (Some(known), true) if now.saturating_sub(known.logged) >= AGAIN => {
                    known.logged = now;
                    reminders.push(Reminder::Lasts(kind, now.saturating_sub(known.since)));
                }
                (Some(known), false) => {
                    reminders.push(Reminder::Ends(kind, now.saturating_sub(known.since)));
                    self.0.remove(&kind);
                }
                (Some(_), true) | (None, false) => {}
            }
        }
        reminders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    use TroubleKind::{ClockUntrusted, DiskFull};

    #[test]
    fn a_state_is_logged_when_it_begins_each_ten_minutes_and_when_it_ends() {
        let mut reminders = Reminders::default();
        assert_eq!(reminders.look(&[], MINUTE), []);
        assert_eq!(reminders.look(&[DiskFull], 2 * MINUTE), [Reminder::Begins(DiskFull)]);
        assert_eq!(
            reminders.look(&[DiskFull, ClockUntrusted], 3 * MINUTE),
            [Reminder::Begins(ClockUntrusted)]
        );
        assert_eq!(reminders.look(&[DiskFull, ClockUntrusted], 11 * MINUTE), []);
        let lasts = [Reminder::Lasts(DiskFull, 10 * MINUTE)];
        assert_eq!(reminders.look(&[DiskFull, ClockUntrusted], 12 * MINUTE), lasts);
        let mut logged = reminders.look(&[ClockUntrusted], 13 * MINUTE);
        logged.sort_by_key(|one| matches!(one, Reminder::Lasts(..)));
        let lasts = Reminder::Lasts(ClockUntrusted, 10 * MINUTE);
        assert_eq!(logged, [Reminder::Ends(DiskFull, 11 * MINUTE), lasts]);
        assert_eq!(reminders.look(&[], 14 * MINUTE), [Reminder::Ends(ClockUntrusted, 11 * MINUTE)]);
    }

    #[test]
    fn a_reason_names_a_few_partitions_and_counts_all() {
        let kind = TroubleKind::PartitionsNotWritable;
        let of = |count: usize| Trouble::of_partitions(kind, (0..count).map(|index| format!("t-{index}")));
        assert_eq!(of(0), None);
        assert_eq!(of(2).unwrap().why, "t-0; t-1");
        assert_eq!(
            of(5).map(|trouble| (trouble.count, trouble.why)),
            Some((5, "t-0; t-1; t-2; and 2 more".into()))
        );
    }
}
