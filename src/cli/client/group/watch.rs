//! `jackdaw group watch`: a table of the lag of a group that is drawn again and again.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::state::{self, lag};
use crate::cli::client::brokers::Brokers;
use crate::cli::client::table::Table;
use crate::cli::client::{CommandOutcome, NamedPartition, Output, Session, shown};
use crate::time::{self, Moment};

/// Where a group stands in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GroupPosition {
    committed: i64,
    end: i64,
}

type Snapshot = BTreeMap<NamedPartition, GroupPosition>;

pub fn watch(
    session: &Session,
    brokers: &mut Brokers<'_>,
    name: &str,
    every: Duration,
    count: Option<u64>,
    out: &mut Output<'_>,
) -> CommandOutcome {
    session.listen_for_signals();
    let redraws = io::stdout().is_terminal() && !session.json();
    let mut before: Option<(Moment, Snapshot)> = None;
    let mut shown_tables = 0;
    while !session.is_stopped() && count.is_none_or(|count| shown_tables < count) {
        if before.is_some() && !pause(session, every) {
            break;
        }
        let group = state::one(brokers, name)?;
        let (at, now) = (Moment::now(), snapshot(brokers, &group)?);
        let since = before.as_ref().map(|(moment, snapshot)| (at.since(*moment), snapshot));
        let table = rates(&now, since);
        if session.json() {
            let line = json!({ "group": name, "state": group.state, "lag": total(&now), "partitions": table.json() });
            writeln!(out, "{line}")?;
        } else {
            let clear = if redraws { "\u{1b}[H\u{1b}[2J" } else { "" };
            writeln!(out, "{clear}{}: {}, lag {}", shown(name), group.state, total(&now))?;
            table.print(false, out)?;
            if !redraws {
                writeln!(out)?;
            }
        }
        out.flush()?;
        before = Some((at, now));
        shown_tables += 1;
    }
    Ok(())
}

fn snapshot(brokers: &mut Brokers<'_>, group: &state::Group) -> CommandOutcome<Snapshot> {
    let committed = group.committed(brokers)?;
    let topics = brokers.topics()?;
    let ends = state::ends(brokers, &topics, committed.keys())?;
    let both = committed.into_iter().filter_map(|(name, committed)| {
        let end = *ends.get(&name)?;
        Some((name, GroupPosition { committed, end }))
    });
    Ok(both.collect())
}

fn total(now: &Snapshot) -> i64 {
    now.values().map(|at| lag(at.committed, at.end)).fold(0, i64::saturating_add)
}

/// Waits; false if the program is to end.
fn pause(session: &Session, how_long: Duration) -> bool {
    const TICK: Duration = Duration::from_millis(100);
    let begun = Moment::now();
    while begun.elapsed() < how_long {
        if session.is_stopped() {
            return false;
        }
        session.runtime.block_on(time::sleep(TICK.min(how_long)));
    }
    true
}

/// The lag in each partition, and how many records a second were written and committed since the snapshot before.
fn rates(now: &Snapshot, before: Option<(Duration, &Snapshot)>) -> Table {
    let mut table = Table::new(&[
        "topic",
        "partition",
        "committed",
        "end",
        "lag",
        "written_per_s",
        "committed_per_s",
        "lag_per_s",
    ]);
    for (name, at) in now {
        let since = before.and_then(|(elapsed, snapshot)| Some((elapsed, *snapshot.get(name)?)));
        let rate = |of: fn(&GroupPosition) -> i64| match since {
            Some((elapsed, earlier)) => per_second(of(at) - of(&earlier), elapsed),
            None => Value::Null,
        };
        table.row([
            json!(name.0),
            json!(name.1),
            json!(at.committed),
            json!(at.end),
            json!(lag(at.committed, at.end)),
            rate(|at| at.end),
            rate(|at| at.committed),
            rate(|at| lag(at.committed, at.end)),
        ]);
    }
    table
}

/// Rounded to one digit behind the point, where −0 becomes 0; null if no time has passed.
fn per_second(change: i64, elapsed: Duration) -> Value {
    let rate = change as f64 / elapsed.as_secs_f64();
    if rate.is_finite() { json!((rate * 10.0).round() / 10.0 + 0.0) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot_of(partitions: &[(i32, i64, i64)]) -> Snapshot {
        let at = |(partition, committed, end): &(i32, i64, i64)| {
            (("t".to_owned(), *partition), GroupPosition { committed: *committed, end: *end })
        };
        partitions.iter().map(at).collect()
    }

    #[test]
    fn rates_are_records_a_second_since_the_snapshot_before() {
        let before = snapshot_of(&[(0, 10, 100)]);
        let now = snapshot_of(&[(0, 30, 105), (1, 7, 7)]);
        assert_eq!(total(&now), 75);
        let row = |of: &Value| {
            ["lag", "written_per_s", "committed_per_s", "lag_per_s"].map(|name| of[name].clone())
        };
        let rows = rates(&now, Some((Duration::from_secs(2), &before))).json();
        assert_eq!(row(&rows[0]), [json!(75), json!(2.5), json!(10.0), json!(-7.5)]);
        assert_eq!(row(&rows[1]), [json!(0), Value::Null, Value::Null, Value::Null]);
        assert_eq!(row(&rates(&now, None).json()[0])[1], Value::Null, "there is nothing to compare with");
        assert_eq!(per_second(5, Duration::ZERO), Value::Null);
        assert_eq!(per_second(1, Duration::from_secs(3)), json!(0.3));
    }
}
