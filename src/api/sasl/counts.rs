//! The logins at each listener, for metrics.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::security::sasl::Mechanism;
use crate::types::IgnorePoison;

/// The listener and the mechanism of logins at the HTTP port.
const HTTP: &str = "HTTP";
const BASIC: &str = "BASIC";

/// The numbers of logins since the start, by listener and mechanism.
#[derive(Debug, Default)]
pub struct LoginCounts(Mutex<BTreeMap<(String, &'static str), Logins>>);

/// Successful and failed logins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    pub succeeded: u64,
    pub failed: u64,
}

impl LoginCounts {
    pub(super) fn count(&self, listener: &str, mechanism: Mechanism, has_succeeded: bool) {
        self.add(listener, mechanism.name(), has_succeeded);
    }

    /// Counts a request to the HTTP port that had a user and a password.
    pub fn count_http(&self, has_succeeded: bool) {
        self.add(HTTP, BASIC, has_succeeded);
    }

    fn add(&self, listener: &str, mechanism: &'static str, has_succeeded: bool) {
        let mut all = self.0.lock().ignoring_poison();
        let logins = all.entry((listener.to_owned(), mechanism)).or_default();
        *(if has_succeeded { &mut logins.succeeded } else { &mut logins.failed }) += 1;
    }

    /// The numbers so far.
    pub fn all(&self) -> Vec<((String, &'static str), Logins)> {
        self.0.lock().ignoring_poison().iter().map(|(of, logins)| (of.clone(), *logins)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_counted_by_listener_mechanism_and_outcome() {
        let counts = LoginCounts::default();
        for (listener, has_succeeded) in [("A", true), ("A", false), ("A", true), ("B", false)] {
            counts.count(listener, Mechanism::Plain, has_succeeded);
        }
        counts.count_http(true);
        let of = |listener: &str, mechanism| (listener.to_owned(), mechanism);
        let expected = [
            (of("A", "PLAIN"), Logins { succeeded: 2, failed: 1 }),
            (of("B", "PLAIN"), Logins { succeeded: 0, failed: 1 }),
            (of("HTTP", "BASIC"), Logins { succeeded: 1, failed: 0 }),
        ];
        assert_eq!(counts.all(), expected);
    }
}
