//! The rate of new connections, of a broker and of each of its listeners (KIP-612). A connection beyond it waits to be
//! accepted, and so do all later ones of its listener.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::config::BrokerSettings;
use crate::security::quota::{Rate, Windows};
use crate::time::Moment;
use crate::types::IgnorePoison;

pub(super) struct Rates {
    begun: Moment,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    all: Rate,
    by_listener: BTreeMap<String, Rate>,
}

impl Rates {
    pub(super) fn new() -> Rates {
        Rates { begun: Moment::now(), state: Mutex::default() }
    }

    /// Counts a connection. Returns how long it waits: as in Kafka, at most a window.
    pub(super) fn wait(&self, listener: &str, settings: &BrokerSettings) -> Duration {
        self.state.lock().ignoring_poison().wait(listener, settings, self.begun.elapsed())
    }
}

impl State {
    fn wait(&mut self, listener: &str, settings: &BrokerSettings, now: Duration) -> Duration {
        let windows = Windows::of_quotas(settings);
        let count =
            |rate: &mut Rate, limit: u32| rate.use_up(1.0, limit.into(), now, windows).min(windows.size);
        let of_all = match settings.connection_rate {
            NO_LIMIT => Duration::ZERO,
            limit => count(&mut self.all, limit),
        };
        let of_listener = match settings.connection_rate_of(listener) {
            None | Some(NO_LIMIT) => Duration::ZERO,
            Some(limit) => count(self.by_listener.entry(listener.to_owned()).or_default(), limit),
        };
        of_all.max(of_listener)
    }
}

/// Kafka's default.
const NO_LIMIT: u32 = i32::MAX.cast_unsigned();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    fn waits(settings: &[(&str, &str)], listeners: &[&str]) -> Vec<u64> {
        let mut given = Given::default();
        settings.iter().for_each(|(name, value)| given.set(*name, *value));
        let settings = BrokerSettings::load(given).unwrap();
        let mut state = State::default();
        let wait = |listener: &&str| state.wait(listener, &settings, Duration::ZERO).as_millis() as u64;
        listeners.iter().map(wait).collect()
    }

    const RATE: &str = "max.connection.creation.rate";
    const RATE_OF_A: &str = "listener.name.a.max.connection.creation.rate";

    #[test]
    fn connections_beyond_the_rate_of_all_listeners_wait_for_at_most_a_window() {
        let one_second = [(RATE, "2"), ("quota.window.num", "2")];
        assert_eq!(waits(&one_second, &["A", "B", "A", "B"]), [0, 0, 500, 1_000]);
        assert_eq!(waits(&one_second, &["A"; 9])[8], 1_000);
        assert_eq!(waits(&[(RATE, "0")], &["A"]), [1_000]);
    }

    #[test]
    fn a_listener_may_have_a_rate_of_its_own() {
        let both = [(RATE_OF_A, "2"), ("quota.window.num", "2")];
        assert_eq!(waits(&both, &["A", "B", "A", "B", "A", "B"]), [0, 0, 0, 0, 500, 0]);
        assert_eq!(waits(&[], &["A"; 50]), [0; 50]);
    }
}
