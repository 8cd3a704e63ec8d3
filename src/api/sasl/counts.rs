//! The logins at each listener, for metrics.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::security::sasl::Mechanism;
use crate::types::IgnorePoison;

/// The numbers of logins since the start, by listener and mechanism.
#[derive(Debug, Default)]
pub struct LoginCounts(Mutex<BTreeMap<(String, Mechanism), Logins>>);

/// Successful and failed logins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    pub succeeded: u64,
    pub failed: u64,
}

impl LoginCounts {
    pub(super) fn count(&self, listener: &str, mechanism: Mechanism, has_succeeded: bool) {
        let mut all = self.0.lock().ignoring_poison();
        let logins = all.entry((listener.to_owned(), mechanism)).or_default();
        *(if has_succeeded { &mut logins.succeeded } else { &mut logins.failed }) += 1;
    }

    /// The numbers so far.
    pub fn all(&self) -> Vec<((String, Mechanism), Logins)> {
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
        let of = |listener: &str| (listener.to_owned(), Mechanism::Plain);
        let expected =
            [(of("A"), Logins { succeeded: 2, failed: 1 }), (of("B"), Logins { succeeded: 0, failed: 1 })];
        assert_eq!(counts.all(), expected);
    }
}
